// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice status --json`: one document. Field names are part of the interface: added to, never changed. Counters are
 * sums over CPUs; times are nanoseconds of CLOCK_MONOTONIC.
 */
#include <errno.h>
#include <stdio.h>

#include "base/util.h"
#include "cli/json.h"
#include "cli/status.h"

static struct json_object *number(uint64_t n)
{
	return json_object_new_uint64(n);
}

static void add_counters(struct json_object *o, uint64_t packets, uint64_t bytes, uint64_t audit_packets)
{
	json_object_object_add(o, "packets", number(packets));
	json_object_object_add(o, "bytes", number(bytes));
	json_object_object_add(o, "audit_packets", number(audit_packets));
}

static struct json_object *policy_object(const struct dataplane_status *s)
{
	struct json_object *o = json_object_new_object();
	char digest[2 * sizeof(s->policy.digest) + 1];
	size_t i;

	for (i = 0; i < sizeof(s->policy.digest); i++)
		snprintf(digest + 2 * i, 3, "%02x", s->policy.digest[i]);
	json_object_object_add(o, "name", json_object_new_string(s->policy.name));
	json_object_object_add(o, "digest", json_object_new_string(digest));
	json_object_object_add(o, "mode",
			       json_object_new_string(s->policy.flags & SLUICE_MODE_AUDIT ? "audit" : "enforce"));
	json_object_object_add(o, "default", json_object_new_string(status_action(s->policy.default_action)));
	json_object_object_add(o, "attached_ns", number(s->control.attached_ns));
	return o;
}

static struct json_object *interface_object(const struct dataplane_interface *i)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(i->name));
	json_object_object_add(o, "ifindex", number(i->ifindex));
	json_object_object_add(o, "mode", json_object_new_string(i->mode));
	json_object_object_add(o, "dispatcher", json_object_new_boolean(i->dispatcher));
	json_object_object_add(o, "egress_mode", i->egress ? json_object_new_string(i->egress_mode) : NULL);
	json_object_object_add(o, "wire", i->wire[0] ? json_object_new_string(i->wire) : NULL);
	json_object_object_add(o, "cookies", i->cookies[0] ? json_object_new_string(i->cookies) : NULL);
	json_object_object_add(o, "forward", json_object_new_string(i->forward ? "xdp" : "kernel"));
	json_object_object_add(o, "trouble", i->trouble[0] ? json_object_new_string(i->trouble) : NULL);
	return o;
}

static struct json_object *forwards_array(const struct dataplane_status *s)
{
	struct json_object *list = json_object_new_array(), *o;
	int i;

	for (i = 0; i < SLUICE_FORWARD_COUNT; i++) {
		o = json_object_new_object();
		json_object_object_add(o, "name", json_object_new_string(forward_name((enum sluice_forward)i)));
		json_object_object_add(o, "what", json_object_new_string(forward_what((enum sluice_forward)i)));
		json_object_object_add(o, "text", json_object_new_string(forward_text((enum sluice_forward)i)));
		json_object_object_add(o, "packets", number(s->forwards[i]));
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *rule_object(const struct dataplane_rule *r)
{
	const struct policy_limit limit = policy_limit_of(&r->rule);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(r->rule.name));
	json_object_object_add(o, "action", json_object_new_string(status_action(r->rule.action)));
	json_object_object_add(o, "stateful", json_object_new_boolean(r->rule.flags & SLUICE_RULE_STATEFUL));
	json_object_object_add(o, "audit", json_object_new_boolean(r->rule.flags & SLUICE_RULE_AUDIT));
	json_object_object_add(o, "default", json_object_new_boolean(r->rule.flags & SLUICE_RULE_DEFAULT));
	json_object_object_add(o, "slot", number(r->rule.slot));
	json_object_object_add(o, "limit", json_limit(&limit));
	json_object_object_add(o, "limited_packets", number(r->counter.limited_packets));
	add_counters(o, r->counter.packets, r->counter.bytes, r->counter.audit_packets);
	return o;
}

static struct json_object *reason_object(const struct sluice_reason_counter *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(reason_name(c->reason)));
	json_object_object_add(o, "verdict", json_object_new_string(status_reason_verdict(c->reason)));
	json_object_object_add(o, "text", json_object_new_string(reason_text(c->reason)));
	add_counters(o, c->packets, c->bytes, c->audit_packets);
	return o;
}

static struct json_object *queue_object(const struct dataplane_queue *q)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "peer", json_object_new_string(status_end(q->key.source, q->key.source_port).text));
	json_object_object_add(o, "portal", json_object_new_string(status_end(q->key.dest, q->key.dest_port).text));
	json_object_object_add(o, "cpu", number(q->steer.cpu));
	json_object_object_add(o, "moved", json_object_new_boolean(q->steer.redirect));
	json_object_object_add(o, "slot", number(q->steer.slot));
	json_object_object_add(o, "packets", number(q->packets_all));
	json_object_object_add(o, "packets_there", number(q->packets_there));
	json_object_object_add(o, "bytes", number(q->bytes_all));
	return o;
}

static struct json_object *answers_object(const struct sluice_answers *a)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "sent", number(a->sent));
	json_object_object_add(o, "suppressed", number(a->suppressed));
	return o;
}

static struct json_object *setting(int value)
{
	return value < 0 ? NULL : json_object_new_int(value);
}

static struct json_object *syn_object(const struct dataplane_status *s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "half_open", number(s->half_open));
	json_object_object_add(o, "threshold", number(s->policy.syn_threshold));
	json_object_object_add(o, "max", number(s->policy.syn_max));
	json_object_object_add(o, "cookies", json_object_new_string(status_cookies(s)));
	json_object_object_add(o, "tcp_syncookies", setting(s->syn.tcp_syncookies));
	json_object_object_add(o, "tcp_timestamps", setting(s->syn.tcp_timestamps));
	return o;
}

static struct json_object *flows_object(const struct dataplane_status *s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "live", number(s->flows));
	json_object_object_add(o, "half_open", number(s->half_open));
	json_object_object_add(o, "max", number(status_max_flows(s)));
	return o;
}

#define ADD_ARRAY(object, key, items, count, make)                                                                     \
	do {                                                                                                           \
		struct json_object *list_ = json_object_new_array();                                                   \
		for (size_t i_ = 0; i_ < (count); i_++)                                                                \
			json_object_array_add(list_, make(&(items)[i_]));                                              \
		json_object_object_add(object, key, list_);                                                            \
	} while (0)

int status_json(const struct status_report *r)
{
	const struct dataplane_status *s = &r->dataplane;
	struct json_object *o = json_object_new_object();
	const char *text;

	json_object_object_add(o, "root", json_object_new_string(cli_options.root));
	json_object_object_add(o, "abi", number(s->control.abi_version));
	json_object_object_add(o, "generation", number(s->control.generation));
	json_object_object_add(o, "policy", policy_object(s));
	json_object_object_add(o, "confirm", json_trial(&s->trial));
	ADD_ARRAY(o, "interfaces", s->interfaces, s->n_interfaces, interface_object);
	ADD_ARRAY(o, "rules", s->rules, s->n_rules, rule_object);
	ADD_ARRAY(o, "reasons", s->reasons, ARRAY_SIZE(s->reasons), reason_object);
	json_object_object_add(o, "forwards", forwards_array(s));
	json_object_object_add(o, "flows", flows_object(s));
	json_object_object_add(o, "syn", syn_object(s));
	json_object_object_add(o, "answers", answers_object(&s->answers));
	json_object_object_add(o, "lost_events", number(s->lost_events));
	ADD_ARRAY(o, "queues", r->queues, r->n_queues, queue_object);
	json_object_object_add(o, "targets", json_object_get(r->targets));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(o);
	return text ? 0 : -ENOMEM;
}
