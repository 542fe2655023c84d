// SPDX-License-Identifier: Apache-2.0
/* A policy of the reference as YAML, and a question as a command line; see reference.h. What is off is not written. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "reference.h"

static void address_text(const uint8_t addr[16], char text[INET6_ADDRSTRLEN])
{
	bool ipv4 = reference_is_ipv4(addr);

	if (!inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? addr + 12 : addr, text, INET6_ADDRSTRLEN))
		abort();
}

static void prefixes_write(FILE *out, const struct reference_prefixes *list)
{
	const struct reference_prefix *p;
	char text[INET6_ADDRSTRLEN];

	for (p = list->items; p < list->items + list->count; p++) {
		if (p->off)
			continue;
		inet_ntop(p->ipv4 ? AF_INET : AF_INET6, p->addr + (p->ipv4 ? 12 : 0), text, sizeof(text));
		fprintf(out, "\"%s/%u\", ", text, p->length);
	}
}

static void segment_names_write(FILE *out, const struct reference_policy *p, const struct reference_names *names)
{
	unsigned int i;

	for (i = 0; i < names->count; i++) {
		if (!names->items[i].off && !p->segments[names->items[i].number].off)
			fprintf(out, "s%u, ", names->items[i].number);
	}
}

static void segments_write(FILE *out, const struct reference_policy *p)
{
	const struct reference_segment *s;
	const char *head = "segments:\n";
	unsigned int i;

	for (i = 0; i < p->n_segments; i++) {
		s = &p->segments[i];
		if (s->off)
			continue;
		fputs(head, out);
		head = "";
		fprintf(out, "  s%u: {segments: [", i);
		segment_names_write(out, p, &s->members);
		fprintf(out, "], include: [");
		prefixes_write(out, &s->include);
		fprintf(out, "]");
		if (s->except.count) {
			fprintf(out, ", except: [");
			prefixes_write(out, &s->except);
			fprintf(out, "]");
		}
		if (s->tenant > 0)
			fprintf(out, ", tenant: t%d", s->tenant);
		fprintf(out, "}\n");
	}
}

static void typed_write(FILE *out, const struct reference_item *item)
{
	const char *name = item->protocol == 1 ? "icmp" : "icmpv6";

	if (!item->dest_first && item->dest_last == 65535)
		fprintf(out, "%s, ", name);
	else if (item->dest_first != item->dest_last)
		fprintf(out, "%s/%u, ", name, item->dest_first >> 8);
	else
		fprintf(out, "%s/%u.%u, ", name, item->dest_first >> 8, item->dest_first & 255);
}

static void item_write(FILE *out, const struct reference_item *item)
{
	if (item->protocol == -1) {
		fprintf(out, "any, ");
	} else if (item->protocol == 1 || item->protocol == 58) {
		typed_write(out, item);
	} else if (!item->source_first && !item->dest_first) {
		fprintf(out, "%d, ", item->protocol);
	} else {
		fprintf(out, "{protocol: %d", item->protocol);
		if (item->dest_first)
			fprintf(out, ", ports: %u-%u", item->dest_first, item->dest_last);
		if (item->source_first)
			fprintf(out, ", source-ports: %u-%u", item->source_first, item->source_last);
		fprintf(out, "}, ");
	}
}

static void items_write(FILE *out, const struct reference_service *s)
{
	unsigned int i;

	for (i = 0; i < s->count; i++) {
		if (!s->items[i].off)
			item_write(out, &s->items[i]);
	}
}

static void services_write(FILE *out, const struct reference_policy *p)
{
	const char *head = "services:\n";
	unsigned int i;

	for (i = 0; i < p->n_services; i++) {
		if (p->services[i].off)
			continue;
		fputs(head, out);
		head = "";
		fprintf(out, "  svc%u: [", i);
		items_write(out, &p->services[i]);
		fprintf(out, "]\n");
	}
}

static void side_write(FILE *out, const struct reference_policy *p, const char *key, const struct reference_side *side)
{
	fprintf(out, "    %s: [", key);
	if (side->any) {
		fprintf(out, "any");
	} else {
		segment_names_write(out, p, &side->segments);
		prefixes_write(out, &side->literals);
	}
	fprintf(out, "]\n");
}

static void rule_service_write(FILE *out, const struct reference_policy *p, const struct reference_rule *rule)
{
	unsigned int i;

	if (rule->any_service)
		return; /* the default */
	fprintf(out, "    service: [");
	for (i = 0; i < rule->services.count; i++) {
		if (!rule->services.items[i].off && !p->services[rule->services.items[i].number].off)
			fprintf(out, "svc%u, ", rule->services.items[i].number);
	}
	items_write(out, &rule->items);
	fprintf(out, "]\n");
}

static void rule_write(FILE *out, const struct reference_policy *p, unsigned int number)
{
	static const char *const actions[] = {
		[SLUICE_ACTION_DENY] = "deny",
		[SLUICE_ACTION_ALLOW] = "allow",
		[SLUICE_ACTION_REJECT] = "reject",
	};
	static const char *const limits[REFERENCE_LIMITS] = {
		"rate: 1G pps, burst: 1G",
		"rate: 100M pps, burst: 1G, per: source",
		"rate: 1000G bit/s, per: source",
	};
	const struct reference_rule *rule = &p->rules[number];

	fprintf(out, "  - name: r%u\n", number);
	if (rule->tenant > 0)
		fprintf(out, "    tenant: t%d\n", rule->tenant);
	side_write(out, p, "from", &rule->from);
	side_write(out, p, "to", &rule->to);
	rule_service_write(out, p, rule);
	fprintf(out, "    action: %s\n", actions[rule->action]);
	if (rule->audit)
		fprintf(out, "    mode: audit\n");
	if (rule->stateless)
		fprintf(out, "    stateful: false\n");
	if (rule->log == 1)
		fprintf(out, "    log: true\n");
	else if (rule->log)
		fprintf(out, "    log: {every: %us}\n", rule->log);
	if (rule->limit)
		fprintf(out, "    limit: {%s}\n", limits[rule->limit - 1]);
}

static void tenants_write(FILE *out, const struct reference_policy *p, const char *key, unsigned int base)
{
	unsigned int i;

	for (i = 1; i < p->n_tenants; i++)
		fprintf(out, i == 1 ? ", %s: {%u: t%u" : ", %.0s%u: t%u", key, base + i, i);
	fprintf(out, p->n_tenants > 1 ? "}" : "");
}

/* Interface 0 has a VLAN and a VNI for every tenant. */
static void interfaces_write(FILE *out, const struct reference_policy *p)
{
	unsigned int i;

	fprintf(out, "interfaces:\n");
	for (i = 0; i < p->n_interfaces; i++) {
		if (i)
			fprintf(out, "  - {name: if%u", i - 1);
		else
			fprintf(out, "  - {name: %s", p->device);
		if (!i) {
			tenants_write(out, p, "vlans", 0);
			tenants_write(out, p, "vnis", 7000);
		}
		if (p->interfaces[i].antispoof) {
			fprintf(out, ", antispoof: [");
			segment_names_write(out, p, &p->interfaces[i].segments);
			fprintf(out, "]");
		}
		fprintf(out, "}\n");
	}
}

char *reference_yaml(const struct reference_policy *p)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned int i;

	if (!out)
		abort();
	fprintf(out, "sluice: 1\nname: random\nfailsafe: []\ndefault: %s\n", p->default_allow ? "allow" : "deny");
	fprintf(out, "mode: %s\ntenants: [", p->audit ? "audit" : "enforce");
	for (i = 1; i < p->n_tenants; i++)
		fprintf(out, "t%u, ", i);
	fprintf(out, "]\nconntrack: {pickup: 0s}\n");
	interfaces_write(out, p);
	segments_write(out, p);
	services_write(out, p);
	if (reference_rules_on(p))
		fprintf(out, "rules:\n");
	for (i = 0; i < p->n_rules; i++) {
		if (!p->rules[i].off)
			rule_write(out, p, i);
	}
	if (fclose(out))
		abort();
	return text;
}

char *reference_command(const struct policy_query *q)
{
	bool typed = q->protocol == 1 || q->protocol == 58, ports = q->dest_port && !typed;
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN], service[32], tenant[32] = "";
	char *text;

	address_text(q->source, from);
	address_text(q->dest, to);
	if (typed)
		snprintf(service, sizeof(service), "%s/%u.%u", q->protocol == 1 ? "icmp" : "icmpv6", q->dest_port >> 8,
			 q->dest_port & 255);
	else
		snprintf(service, sizeof(service), ports ? "%u/%u" : "%u", q->protocol, q->dest_port);
	if (q->tenant)
		snprintf(tenant, sizeof(tenant), " --tenant t%u", q->tenant);
	if (asprintf(&text, "sluice explain POLICY --from %s --to %s --service %s --source-port %u%s", from, to,
		     service, q->source_port, tenant) < 0)
		abort();
	return text;
}
