// SPDX-License-Identifier: Apache-2.0
/* `sluice status` for people: what is in force first, then what it has counted; empty tables are left out. */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/status.h"
#include "cli/table.h"

static void print_trial(const struct dataplane_trial *t)
{
	if (t->state == DATAPLANE_TRIAL_PENDING && t->previous)
		printf("trial  generation %llu comes back in %llu s unless `sluice confirm` is said\n",
		       (unsigned long long)t->previous, (unsigned long long)(t->left_ns / NSEC_PER_SEC));
	else if (t->state == DATAPLANE_TRIAL_PENDING)
		printf("trial  it ends in %llu s unless `sluice confirm` is said\n",
		       (unsigned long long)(t->left_ns / NSEC_PER_SEC));
	else if (t->state == DATAPLANE_TRIAL_EXPIRED)
		printf("trial  generation %llu was not confirmed in time; this came back by itself %llu s ago\n",
		       (unsigned long long)t->generation, (unsigned long long)(t->ago_ns / NSEC_PER_SEC));
}

/* What would be done about a SYN flood now, in words that say what to set for more. */
static const char *cookies_text(const struct dataplane_status *s)
{
	if (!(s->policy.flags & SLUICE_SYN_COOKIES))
		return "no cookies, as the policy says; sources are limited";
	switch (s->syn.tcp_syncookies) {
	case 1:
		return "cookies once a listener's own queue is full; net.ipv4.tcp_syncookies=2: at once";
	case 2:
		return "cookies at once";
	case 0:
		return "no cookies: net.ipv4.tcp_syncookies is 0; sources are limited";
	}
	return "no cookies: this kernel has none; sources are limited";
}

static void print_syn(const struct dataplane_status *s)
{
	printf("SYNs   %s unfinished handshakes, %s from %s on", number_text(s->half_open).text,
	       s->policy.flags & SLUICE_SYN_ALWAYS ? "sources limited" : "a flood", number_text(s->policy.syn_threshold).text);
	printf("; %s%s\n", s->policy.flags & SLUICE_SYN_ALWAYS ? "always " : "then ", cookies_text(s));
}

static void print_head(const struct dataplane_status *s)
{
	size_t i;

	if (!s->control.generation) {
		printf("no policy in force; everything passes\n");
		print_trial(&s->trial);
		return;
	}
	printf("policy %s, generation %llu, mode %s, default %s\n", s->policy.name,
	       (unsigned long long)s->control.generation, s->policy.flags & SLUICE_MODE_AUDIT ? "audit" : "enforce",
	       status_action(s->policy.default_action));
	printf("digest ");
	for (i = 0; i < sizeof(s->policy.digest); i++)
		printf("%02x", s->policy.digest[i]);
	printf("\nflows  %s of %s\n", number_text(s->flows).text, number_text(status_max_flows(s)).text);
	print_syn(s);
	print_trial(&s->trial);
	if (s->answers.sent || s->answers.suppressed)
		printf("answers to rejected packets: %s sent, %s suppressed (at most 1,000 a second)\n",
		       number_text(s->answers.sent).text, number_text(s->answers.suppressed).text);
	if (s->lost_events)
		printf("events %s lost: the ring was full; read them with `sluice events -f`\n",
		       number_text(s->lost_events).text);
}

/* Where what passes goes from here: filled only if the policy says so of some interface. */
static void print_way(struct table *t, const struct dataplane_interface *n)
{
	if (n->wire[0])
		table_cell(t, "wire to %s", n->wire);
	else
		table_cell(t, "%s", n->forward ? "forwards in xdp" : "kernel");
}

static void print_interfaces(const struct dataplane_status *s)
{
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{"interface", 0},
						      {"ingress", 0},
						      {"egress", 0},
						      {"libxdp dispatcher", 0},
						      {"SYN cookies", 0},
						      {s->ports ? "what passes" : NULL, 0},
						      {}});
	for (i = 0; i < s->n_interfaces; i++) {
		const struct dataplane_interface *n = &s->interfaces[i];

		table_row(&t, "%s", n->name);
		table_cell(&t, "%s", n->mode);
		table_cell(&t, "%s", n->egress ? n->egress_mode : "not attached");
		table_cell(&t, "%s", strncmp(n->mode, "xdp", 3) ? "-" : n->dispatcher ? "yes" : "no, single program");
		table_cell(&t, "%s", n->cookies[0] ? n->cookies : "-");
		if (s->ports)
			print_way(&t, n);
	}
	printf("\n");
	table_print(&t, stdout);
	table_done(&t);
	for (i = 0; i < s->n_interfaces; i++)
		if (s->interfaces[i].trouble[0])
			printf("%s: %s\n", s->interfaces[i].name, s->interfaces[i].trouble);
}

static void print_forwards(const struct dataplane_status *s)
{
	struct table t;
	int i;

	table_start(&t, (const struct table_column[]){
				{"forwarding", 0}, {"what", 0}, {"packets", 1}, {"meaning", 0}, {}});
	for (i = 0; i < SLUICE_FORWARD_COUNT; i++) {
		if (!s->forwards[i])
			continue;
		table_row(&t, "%s", forward_name((enum sluice_forward)i));
		table_cell(&t, "%s", forward_what((enum sluice_forward)i));
		table_cell(&t, "%s", number_text(s->forwards[i]).text);
		table_cell(&t, "%s", forward_text((enum sluice_forward)i));
	}
	if (t.n_cells)
		printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

static void limit_cells(struct table *t, const struct dataplane_rule *r)
{
	const struct policy_limit limit = policy_limit_of(&r->rule);
	char text[POLICY_LIMIT_LEN];

	if (!limit.rate)
		return;
	table_cell(t, "%s", number_text(r->counter.limited_packets).text);
	table_cell(t, "%s", policy_limit_text(&limit, text));
}

static void print_rules(const struct dataplane_status *s)
{
	bool limits = s->policy.flags & SLUICE_HAS_LIMITS;
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{"rule", 0},
						      {"action", 0},
						      {"packets", 1},
						      {"bytes", 1},
						      {"audited", 1},
						      {limits ? "limited" : NULL, 1},
						      {"limit", 0},
						      {}});
	for (i = 0; i < s->n_rules; i++) {
		const struct dataplane_rule *r = &s->rules[i];

		table_row(&t, "%s", r->rule.name);
		table_cell(&t, "%s%s", status_action(r->rule.action),
			   r->rule.flags & SLUICE_RULE_AUDIT ? " (audit)" : "");
		table_cell(&t, "%s", number_text(r->counter.packets).text);
		table_cell(&t, "%s", number_text(r->counter.bytes).text);
		table_cell(&t, "%s", number_text(r->counter.audit_packets).text);
		limit_cells(&t, r);
	}
	printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

static void print_reasons(const struct dataplane_status *s)
{
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{"reason", 0},
						      {"verdict", 0},
						      {"packets", 1},
						      {"bytes", 1},
						      {"audited", 1},
						      {"meaning", 0},
						      {}});
	for (i = 0; i < ARRAY_SIZE(s->reasons); i++) {
		const struct sluice_reason_counter *c = &s->reasons[i];

		if (!c->packets && !c->audit_packets)
			continue;
		table_row(&t, "%s", reason_name(c->reason));
		table_cell(&t, "%s", status_reason_verdict(c->reason));
		table_cell(&t, "%s", number_text(c->packets).text);
		table_cell(&t, "%s", number_text(c->bytes).text);
		table_cell(&t, "%s", number_text(c->audit_packets).text);
		table_cell(&t, "%s", reason_text(c->reason));
	}
	if (t.n_cells)
		printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

static void print_queues(const struct status_report *r)
{
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{"queue from", 0},
						      {"portal", 0},
						      {"reactor CPU", 1},
						      {"steering", 0},
						      {"packets there", 1},
						      {"elsewhere", 1},
						      {"share", 1},
						      {}});
	for (i = 0; i < r->n_queues; i++) {
		const struct dataplane_queue *q = &r->queues[i];

		table_row(&t, "%s", status_end(q->key.source, q->key.source_port).text);
		table_cell(&t, "%s", status_end(q->key.dest, q->key.dest_port).text);
		table_cell(&t, "%u", q->steer.cpu);
		table_cell(&t, "%s", q->steer.redirect ? "cpumap" : "counted");
		table_cell(&t, "%s", number_text(q->packets_there).text);
		table_cell(&t, "%s", number_text(q->packets_all - q->packets_there).text);
		if (q->packets_all)
			table_cell(&t, "%.1f %%", 100.0 * (double)q->packets_there / (double)q->packets_all);
	}
	if (t.n_cells)
		printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

/* ------------------------------------------------------------------- targets */

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

static uint64_t count(struct json_object *o, const char *key)
{
	return json_object_get_uint64(member(o, key));
}

static const char *word(struct json_object *o, const char *key)
{
	const char *text = json_object_get_string(member(o, key));

	return text ? text : "-";
}

/* Namespaces and queues count alike; `first` and `second` say what names a row, `last` what ends it (NULL: nothing). */
static void print_io(struct json_object *list, const char *title, const char *first, const char *second,
		     const char *last)
{
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{title, 0},
						      {second, 0},
						      {"reads", 1},
						      {"writes", 1},
						      {"read", 1},
						      {"written", 1},
						      {"errors", 1},
						      {"p50 us", 1},
						      {"p99 us", 1},
						      {last, 0},
						      {}});
	for (i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i), *latency = member(o, "latency_us");
		struct json_object *commands = member(o, "commands");

		table_row(&t, "%s", word(o, first));
		table_cell(&t, "%s", word(o, second));
		table_cell(&t, "%s", number_text(count(commands, "read")).text);
		table_cell(&t, "%s", number_text(count(commands, "write")).text);
		table_cell(&t, "%s", bytes_text(count(o, "read_bytes")).text);
		table_cell(&t, "%s", bytes_text(count(o, "written_bytes")).text);
		table_cell(&t, "%s", number_text(count(o, "errors")).text);
		table_cell(&t, "%.1f", json_object_get_double(member(latency, "p50")));
		table_cell(&t, "%.1f", json_object_get_double(member(latency, "p99")));
		if (last)
			table_cell(&t, "%s", word(o, last));
	}
	if (t.n_cells)
		printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

static void print_limits(struct json_object *list)
{
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{"limit", 0},
						      {"iops", 1},
						      {"bandwidth", 1},
						      {"now a second", 1},
						      {"bytes", 1},
						      {"commands", 1},
						      {"throttled", 1},
						      {"waiting", 1},
						      {}});
	for (i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		table_row(&t, "%s", word(o, "name"));
		table_cell(&t, "%s", member(o, "iops") ? number_text(count(o, "iops")).text : "-");
		table_cell(&t, "%s", member(o, "bandwidth") ? bytes_text(count(o, "bandwidth")).text : "-");
		table_cell(&t, "%s", number_text(count(o, "commands_per_second")).text);
		table_cell(&t, "%s", bytes_text(count(o, "bytes_per_second")).text);
		table_cell(&t, "%s", number_text(count(o, "commands")).text);
		table_cell(&t, "%s", number_text(count(o, "throttled")).text);
		table_cell(&t, "%s", number_text(count(o, "waiting")).text);
	}
	if (t.n_cells)
		printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

static void print_targets(struct json_object *targets)
{
	size_t i;

	for (i = 0; i < json_object_array_length(targets); i++) {
		struct json_object *target = json_object_array_get_idx(targets, i);

		printf("\ntarget at %s\n", word(target, "socket"));
		print_io(member(target, "namespaces"), "namespace", "nsid", "backend", NULL);
		print_limits(member(target, "limits"));
		print_io(member(target, "queues"), "queue from", "peer", "reactor", "receive");
	}
}

void status_text(const struct status_report *r)
{
	print_head(&r->dataplane);
	print_interfaces(&r->dataplane);
	print_rules(&r->dataplane);
	print_reasons(&r->dataplane);
	print_forwards(&r->dataplane);
	print_queues(r);
	print_targets(r->targets);
}
