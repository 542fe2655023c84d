// SPDX-License-Identifier: Apache-2.0
/*
 * policy_write(): model → YAML, the way back of yaml.c. Called by `sluice show` and by whoever keeps applied policies.
 * Holds: the text reads back to a policy with the same digest. Deterministic, and every default of the language is left
 * out, so that what stands there is what somebody meant.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/array.h"
#include "policy/model.h"
#include "policy/values.h"
#include "policy/write.h"

struct writer {
	const struct policy *policy;
	FILE *out;
	struct hash_index services; /* names, to tell `service: tcp` the item from a service called tcp */
};

static const struct write_unit count_units[] = {{"G", 1000000000}, {"M", 1000000}, {"k", 1000}, {"", 1}};

/* ---------------------------------------------------------------------- services */

static bool service_is(const void *policy, const void *name, uint32_t i)
{
	return !strcmp(((const struct policy *)policy)->services[i].name, name);
}

/* The item as it stands in a list; in that of a rule, the name of a service means the service. */
static const char *item_text(const struct writer *w, const struct policy_item *item, bool in_rule,
			     char buf[VALUE_ITEM_LEN * 2])
{
	char number[VALUE_ITEM_LEN], ports[VALUE_ITEM_LEN];
	const char *protocol = value_protocol_text(item->protocol, number);
	bool suspect = value_item_is_protocol(item) && !item->any_protocol && value_item_suspect(protocol);
	bool taken = in_rule && value_item_is_protocol(item) && !item->any_protocol &&
		     hash_index_find(&w->services, hash_string(protocol), service_is, w->policy, protocol) != HASH_NONE;
	size_t n;

	if (value_item_any_source(item) && !taken && !suspect)
		return value_item_text(item, buf);
	n = (size_t)snprintf(buf, VALUE_ITEM_LEN * 2, "{protocol: %s", protocol);
	if (!value_item_is_protocol(item))
		n += (size_t)snprintf(buf + n, VALUE_ITEM_LEN * 2 - n, ", ports: %s",
				      value_ports_text(item->dest_first, item->dest_last, ports));
	if (!value_item_any_source(item))
		n += (size_t)snprintf(buf + n, VALUE_ITEM_LEN * 2 - n, ", source-ports: %s",
				      value_ports_text(item->source_first, item->source_last, ports));
	snprintf(buf + n, VALUE_ITEM_LEN * 2 - n, "}");
	return buf;
}

static void list_add_items(const struct writer *w, struct list *l, const struct policy_service *s, bool in_rule)
{
	char text[VALUE_ITEM_LEN * 2];
	size_t i;

	for (i = 0; i < s->n_items; i++)
		list_add(l, item_text(w, &s->items[i], in_rule, text));
}

static void service_write(const struct writer *w, const struct policy_service *s)
{
	char head[SLUICE_NAME_LEN + 8];
	struct list l;

	snprintf(head, sizeof(head), "  %s: ", s->name);
	list_begin(&l, w->out, 4, head, "[]");
	list_add_items(w, &l, s, false);
	list_end(&l);
}

static void services_write(const struct writer *w)
{
	const struct policy_service *s;
	bool any = false;
	size_t i;

	for (i = 0; i < w->policy->n_services; i++) {
		s = &w->policy->services[i];
		if (!s->name)
			continue;
		if (!any)
			fputs("\nservices:\n", w->out);
		any = true;
		service_write(w, s);
	}
}

static bool items_equal(const struct policy_service *a, const struct policy_service *b)
{
	return a->n_items == b->n_items && (!a->n_items || !memcmp(a->items, b->items, a->n_items * sizeof(*a->items)));
}

static int failsafe_write(const struct writer *w)
{
	_cleanup_(policy_service_freep) struct policy_service *usual = calloc(1, sizeof(*usual));
	int r = usual ? policy_failsafe_default(usual) : -ENOMEM;
	struct list l;

	if (r || items_equal(w->policy->failsafe, usual))
		return r;
	list_begin(&l, w->out, 2, "failsafe: ", "[]");
	list_add_items(w, &l, w->policy->failsafe, false);
	list_end(&l);
	return 0;
}

/* ---------------------------------------------------------------------- segments */

static bool index_among(const size_t *sorted, size_t count, size_t wanted)
{
	size_t low = 0, high = count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (sorted[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && sorted[low] == wanted;
}

/* Whether member k of s comes along with another: members are flat, and only the topmost need be named. */
static bool member_implied(const struct policy *p, const struct policy_segment *s, size_t k)
{
	const struct policy_segment *other;
	size_t i;

	for (i = 0; i < s->n_members; i++) {
		other = &p->segments[s->members[i]];
		if (i != k && index_among(other->members, other->n_members, s->members[k]))
			return true;
	}
	return false;
}

/* Whether the tenant of a segment needs no saying, because a member says it. */
static bool tenant_inherited(const struct policy *p, const struct policy_segment *s)
{
	size_t i;

	for (i = 0; i < s->n_members; i++) {
		if (p->segments[s->members[i]].tenant == s->tenant)
			return true;
	}
	return s->tenant == POLICY_TENANT_UNSAID;
}

static void segment_prefixes_write(const struct writer *w, const char *key, const struct policy_prefix *prefixes,
				   size_t count)
{
	struct list l;

	if (!count)
		return;
	list_begin(&l, w->out, 6, key, "[]");
	list_add_prefixes(&l, prefixes, count);
	list_end(&l);
}

static void segment_parts_write(const struct writer *w, const struct policy_segment *s)
{
	struct list l;
	size_t i;

	fputs("\n", w->out);
	if (s->n_members) {
		list_begin(&l, w->out, 6, "    segments: ", "[]");
		for (i = 0; i < s->n_members; i++) {
			if (!member_implied(w->policy, s, i))
				list_add(&l, w->policy->segments[s->members[i]].name);
		}
		list_end(&l);
	}
	segment_prefixes_write(w, "    include: ", s->include, s->n_include);
	segment_prefixes_write(w, "    except: ", s->except, s->n_except);
	if (!tenant_inherited(w->policy, s))
		fprintf(w->out, "    tenant: %s\n", w->policy->tenants[s->tenant]);
}

static void segment_write(const struct writer *w, const struct policy_segment *s)
{
	char head[SLUICE_NAME_LEN + 8];
	struct list l;

	snprintf(head, sizeof(head), "  %s: ", s->name);
	if (s->n_members || s->n_except || s->tenant != POLICY_TENANT_UNSAID) {
		fprintf(w->out, "  %s:", s->name);
		segment_parts_write(w, s);
		return;
	}
	list_begin(&l, w->out, 4, head, "[]");
	list_add_prefixes(&l, s->include, s->n_include);
	list_end(&l);
}

static void segments_write(const struct writer *w)
{
	bool any = false;
	size_t i;

	for (i = 0; i < w->policy->n_segments; i++) {
		if (!w->policy->segments[i].name)
			continue;
		if (!any)
			fputs("\nsegments:\n", w->out);
		any = true;
		segment_write(w, &w->policy->segments[i]);
	}
}

/* ------------------------------------------------------------------------- rules */

static size_t side_parts(const struct policy *p, const struct policy_side *side)
{
	size_t i, count = 0;

	for (i = 0; i < side->n_segments; i++)
		count += p->segments[side->segments[i]].name ? 1 : p->segments[side->segments[i]].n_include;
	return count;
}

static void side_write(const struct writer *w, const char *head, const struct policy_side *side)
{
	const struct policy_segment *s;
	size_t i, count = side_parts(w->policy, side);
	struct list l;

	if (side->any) {
		fprintf(w->out, "%sany\n", head);
		return;
	}
	list_begin(&l, w->out, 6, head, count == 1 ? "" : "[]");
	for (i = 0; i < side->n_segments; i++) {
		s = &w->policy->segments[side->segments[i]];
		if (s->name)
			list_add(&l, s->name);
		else
			list_add_prefixes(&l, s->include, s->n_include);
	}
	list_end(&l);
}

static void rule_service_write(const struct writer *w, const struct policy_rule *rule)
{
	const struct policy_service *s;
	size_t i, count = 0;
	struct list l;

	if (rule->any_service)
		return;
	for (i = 0; i < rule->n_services; i++) {
		s = &w->policy->services[rule->services[i]];
		count += s->name ? 1 : s->n_items;
	}
	list_begin(&l, w->out, 6, "    service: ", count == 1 ? "" : "[]");
	for (i = 0; i < rule->n_services; i++) {
		s = &w->policy->services[rule->services[i]];
		if (s->name)
			list_add(&l, s->name);
		else
			list_add_items(w, &l, s, true);
	}
	list_end(&l);
}

static void limit_write(const struct writer *w, const struct policy_limit *limit)
{
	fputs("    limit: {rate: ", w->out);
	scaled_write(w->out, count_units, limit->rate);
	fputs(limit->bits ? " bit/s" : " pps", w->out);
	if (limit->burst != policy_burst_default(limit)) {
		fputs(", burst: ", w->out);
		scaled_write(w->out, count_units, limit->burst);
	}
	fputs(limit->per_source ? ", per: source}\n" : "}\n", w->out);
}

static void rule_write(const struct writer *w, const struct policy_rule *rule)
{
	static const char *const actions[] = {
		[SLUICE_ACTION_ALLOW] = "allow", [SLUICE_ACTION_DENY] = "deny", [SLUICE_ACTION_REJECT] = "reject"};

	fprintf(w->out, "\n  - name: %s\n", rule->name);
	if (rule->tenant != POLICY_TENANT_UNSAID)
		fprintf(w->out, "    tenant: %s\n", w->policy->tenants[rule->tenant]);
	side_write(w, "    from: ", &rule->from);
	side_write(w, "    to: ", &rule->to);
	rule_service_write(w, rule);
	fprintf(w->out, "    action: %s\n", actions[rule->action]);
	if (rule->action == SLUICE_ACTION_ALLOW && !rule->stateful)
		fputs("    stateful: false\n", w->out);
	if (rule->audit)
		fputs("    mode: audit\n", w->out);
	if (rule->log && rule->log_period_ns)
		duration_write(w->out, "    log: {every: ", rule->log_period_ns, "}\n");
	else if (rule->log)
		fputs("    log: true\n", w->out);
	if (rule->limit.rate)
		limit_write(w, &rule->limit);
}

static void rules_write(const struct writer *w)
{
	size_t i;

	if (w->policy->n_rules)
		fputs("\nrules:", w->out);
	for (i = 0; i < w->policy->n_rules; i++)
		rule_write(w, &w->policy->rules[i]);
}

/* -------------------------------------------------------------------- interfaces */

static void antispoof_write(const struct writer *w, const struct policy_interface *interface)
{
	struct list l;
	size_t i;

	list_begin(&l, w->out, 6, "    antispoof: ", "[]");
	for (i = 0; i < interface->n_antispoof_segments; i++)
		list_add(&l, w->policy->segments[interface->antispoof_segments[i]].name);
	list_end(&l);
}

static void interface_write(const struct writer *w, const struct policy_interface *interface)
{
	static const char *const ways[] = {
		[POLICY_ATTACH_XDP] = "xdp", [POLICY_ATTACH_XDP_GENERIC] = "xdp-generic", [POLICY_ATTACH_TC] = "tc"};
	char *const *tenants = w->policy->tenants;
	struct list l;
	size_t i;

	fputs("  - name: ", w->out);
	scalar_write(w->out, interface->name);
	fputs("\n", w->out);
	if (interface->attach != POLICY_ATTACH_AUTO)
		fprintf(w->out, "    attach: %s\n", ways[interface->attach]);
	if (interface->tenant)
		fprintf(w->out, "    tenant: %s\n", tenants[interface->tenant]);
	if (interface->n_vlans) {
		list_begin(&l, w->out, 6, "    vlans: ", "{}");
		for (i = 0; i < interface->n_vlans; i++)
			list_add_number(&l, interface->vlans[i].id, tenants[interface->vlans[i].tenant]);
		list_end(&l);
	}
	if (interface->n_vnis) {
		list_begin(&l, w->out, 6, "    vnis: ", "{}");
		for (i = 0; i < interface->n_vnis; i++)
			list_add_number(&l, interface->vnis[i].id, tenants[interface->vnis[i].tenant]);
		list_end(&l);
	}
	if (interface->antispoof)
		antispoof_write(w, interface);
	if (interface->wire) {
		fputs("    wire: ", w->out);
		scalar_write(w->out, interface->wire);
		fputs("\n", w->out);
	}
	if (interface->forward)
		fputs("    forward: xdp\n", w->out);
}

static void interfaces_write(const struct writer *w)
{
	size_t i;

	if (w->policy->n_interfaces)
		fputs("\ninterfaces:\n", w->out);
	for (i = 0; i < w->policy->n_interfaces; i++)
		interface_write(w, &w->policy->interfaces[i]);
}

/* --------------------------------------------------------------------- conntrack */

static void count_write(const struct writer *w, const char *key, uint32_t count, uint32_t usual)
{
	if (count == usual)
		return;
	fputs(key, w->out);
	scaled_write(w->out, count_units, count);
	fputs("\n", w->out);
}

static int conntrack_write(const struct writer *w)
{
	static const struct {
		const char *key;
		enum sluice_timeout index;
	} timeouts[] = {
		{"  pickup: ", SLUICE_T_PICKUP},	   {"  tcp-established: ", SLUICE_T_TCP_ESTABLISHED},
		{"  tcp-closing: ", SLUICE_T_TCP_CLOSING}, {"  udp: ", SLUICE_T_UDP},
		{"  udp-stream: ", SLUICE_T_UDP_STREAM},   {"  icmp: ", SLUICE_T_ICMP},
	};
	static const char *const cookies[] = {[POLICY_COOKIES_ALWAYS] = "always", [POLICY_COOKIES_NEVER] = "never"};
	_cleanup_(policy_freep) struct policy *usual = policy_new();
	const struct policy_conntrack *c = &w->policy->conntrack;
	size_t i;

	if (!usual)
		return -ENOMEM;
	if (!memcmp(c, &usual->conntrack, sizeof(*c)))
		return 0;
	fputs("\nconntrack:\n", w->out);
	count_write(w, "  max: ", c->max, usual->conntrack.max);
	if (c->on_full_stateless)
		fputs("  on-full: stateless\n", w->out);
	for (i = 0; i < ARRAY_SIZE(timeouts); i++) {
		if (c->timeout_ns[timeouts[i].index] != usual->conntrack.timeout_ns[timeouts[i].index])
			duration_write(w->out, timeouts[i].key, c->timeout_ns[timeouts[i].index], "\n");
	}
	if (c->syn_cookies != POLICY_COOKIES_AUTO)
		fprintf(w->out, "  syn-cookies: %s\n", cookies[c->syn_cookies]);
	count_write(w, "  syn-threshold: ", c->syn_threshold, usual->conntrack.syn_threshold);
	count_write(w, "  syn-per-source: ", c->syn_per_source, usual->conntrack.syn_per_source);
	return 0;
}

/* ----------------------------------------------------------------------- storage */

static const struct write_unit size_units[] = {
	{"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}};

static void namespace_write(const struct writer *w, const struct policy_namespace *n)
{
	static const char *const backends[] = {
		[POLICY_BACKEND_NULL] = "null", [POLICY_BACKEND_MEMORY] = "memory", [POLICY_BACKEND_FILE] = "file"};

	fprintf(w->out, "        - {id: %u, backend: %s", n->id, backends[n->backend]);
	if (n->path) {
		fputs(", path: ", w->out);
		scalar_write(w->out, n->path);
	}
	if (n->size) {
		fputs(", size: ", w->out);
		scaled_write(w->out, size_units, n->size);
	}
	if (n->block != 4096)
		fprintf(w->out, ", block: %u", n->block);
	if (n->ana > 1)
		fprintf(w->out, ", ana: %u", n->ana);
	fprintf(w->out, "%s}\n", n->readonly ? ", readonly: true" : "");
}

static void subsystem_write(const struct writer *w, const struct policy_subsystem *s)
{
	size_t i;

	fputs("    - nqn: ", w->out);
	scalar_write(w->out, s->nqn);
	fputs("\n", w->out);
	if (!s->any_host)
		hosts_write(w->out, s);
	ana_write(w->out, s);
	fprintf(w->out, "      namespaces:%s\n", s->n_namespaces ? "" : " []");
	for (i = 0; i < s->n_namespaces; i++)
		namespace_write(w, &s->namespaces[i]);
}

static void portals_write(const struct writer *w, const struct policy_storage *s)
{
	static const char *const tls[] = {
		[POLICY_TLS_NONE] = "", [POLICY_TLS_ALLOWED] = ", tls: allowed", [POLICY_TLS_REQUIRED] = ", tls: required"};
	size_t i;

	fprintf(w->out, "  portals:%s\n", s->n_portals ? "" : " []");
	for (i = 0; i < s->n_portals; i++) {
		fputs("    - {address: ", w->out);
		scalar_write(w->out, s->portals[i].address);
		fprintf(w->out, ", port: %u%s", s->portals[i].port, tls[s->portals[i].tls]);
		if (s->portals[i].name) {
			fputs(", name: ", w->out);
			scalar_write(w->out, s->portals[i].name);
		}
		fputs("}\n", w->out);
	}
}

static void transport_write(const struct writer *w, const struct policy_transport *t)
{
	const struct policy_transport usual = POLICY_TRANSPORT_DEFAULT;
	const struct {
		const char *key;
		uint32_t is, usual;
	} sizes[] = {
		{"in-capsule", t->in_capsule, usual.in_capsule},
		{"max-h2c-data", t->max_h2c_data, usual.max_h2c_data},
		{"r2t", t->r2t, usual.r2t},
	};
	const char *between = "";
	size_t i;

	if (!memcmp(t, &usual, sizeof(usual)))
		return;
	fputs("  transport: {", w->out);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (sizes[i].is == sizes[i].usual)
			continue;
		fprintf(w->out, "%s%s: ", between, sizes[i].key);
		scaled_write(w->out, size_units, sizes[i].is);
		between = ", ";
	}
	if (t->r2ts != usual.r2ts) {
		fprintf(w->out, "%sr2ts: %u", between, t->r2ts);
		between = ", ";
	}
	if (t->alignment != usual.alignment)
		fprintf(w->out, "%salignment: %u", between, t->alignment);
	fputs("}\n", w->out);
}

static void storage_write(const struct writer *w, const struct policy_storage *s)
{
	static const char *const ways[] = {
		[POLICY_STEER_REUSEPORT] = "reuseport", [POLICY_STEER_CPUMAP] = "cpumap", [POLICY_STEER_NONE] = "none"};
	struct list l;
	size_t i;

	if (!s->present)
		return;
	fputs("\nstorage:\n", w->out);
	portals_write(w, s);
	if (s->steering != POLICY_STEER_AUTO)
		fprintf(w->out, "  steering: %s\n", ways[s->steering]);
	if (!s->reactors_auto) {
		list_begin(&l, w->out, 4, "  reactors: ", "[]");
		for (i = 0; i < s->n_reactors; i++)
			list_add_number(&l, s->reactors[i], NULL);
		list_end(&l);
	}
	transport_write(w, &s->transport);
	referrals_write(w->out, s);
	fprintf(w->out, "  subsystems:%s\n", s->n_subsystems ? "" : " []");
	for (i = 0; i < s->n_subsystems; i++)
		subsystem_write(w, &s->subsystems[i]);
	limits_write(w->out, w->policy);
}

/* ------------------------------------------------------------------------- whole */

static int head_write(const struct writer *w)
{
	const struct policy *p = w->policy;
	struct list l;
	size_t i;

	fputs("sluice: 1\n", w->out);
	if (*p->name)
		fprintf(w->out, "name: %s\n", p->name);
	if (p->audit)
		fputs("mode: audit\n", w->out);
	fprintf(w->out, "default: %s\n", p->default_allow ? "allow" : "deny");
	if (p->n_tenants > 1) {
		list_begin(&l, w->out, 2, "tenants: ", "[]");
		for (i = 1; i < p->n_tenants; i++)
			list_add(&l, p->tenants[i]);
		list_end(&l);
	}
	return failsafe_write(w);
}

static int writer_begin(struct writer *w)
{
	size_t i;

	for (i = 0; i < w->policy->n_services; i++) {
		if (w->policy->services[i].name &&
		    hash_index_add(&w->services, hash_string(w->policy->services[i].name), (uint32_t)i))
			return -ENOMEM;
	}
	return 0;
}

int policy_write(const struct policy *p, FILE *out)
{
	struct writer w = {.policy = p, .out = out};
	int r = writer_begin(&w);

	if (!r)
		r = head_write(&w);
	if (!r) {
		interfaces_write(&w);
		segments_write(&w);
		services_write(&w);
		rules_write(&w);
		r = conntrack_write(&w);
	}
	if (!r)
		storage_write(&w, &p->storage);
	hash_index_done(&w.services);
	if (!r && fflush(out))
		return errno ? -errno : -EIO;
	return r ? r : ferror(out) ? -EIO : 0;
}

static int part_write(struct writer *w, enum policy_part part, size_t i)
{
	const struct policy *p = w->policy;
	int r;

	switch (part) {
	case POLICY_PART_INTERFACE:
		interface_write(w, &p->interfaces[i]);
		return 0;
	case POLICY_PART_SEGMENT:
		segment_write(w, &p->segments[i]);
		return 0;
	case POLICY_PART_SERVICE:
		service_write(w, &p->services[i]);
		return 0;
	case POLICY_PART_RULE:
		r = writer_begin(w);
		if (!r)
			rule_write(w, &p->rules[i]);
		return r;
	case POLICY_PART_FAILSAFE:
		return failsafe_write(w);
	case POLICY_PART_CONNTRACK:
		return conntrack_write(w);
	case POLICY_PART_STORAGE:
		storage_write(w, &p->storage);
		return 0;
	}
	return -EINVAL;
}

int policy_part_text(const struct policy *p, enum policy_part part, size_t i, char **ret_text)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	struct writer w = {.policy = p, .out = out};
	int r = out ? part_write(&w, part, i) : -ENOMEM;

	hash_index_done(&w.services);
	if (out && fclose(out) && !r)
		r = -ENOMEM;
	if (!r)
		*ret_text = TAKE_PTR(text);
	return r;
}
