// SPDX-License-Identifier: Apache-2.0
/*
 * Random policies for the naive host, and their YAML. Called by the tests that use flow_model.h. Few addresses, few
 * services: what matters here is what follows from the first packet, and rules have a differential test of their own.
 */
#include "flow_model.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "reference.h"

#define one_in reference_one_in
#define below  reference_below

#define SECOND_NS 1000000000ull
#define NEVER_NS  (11 * 86400 * SECOND_NS) /* no clock here gets that far */

static const struct model_rule services[] = {
	{.service = "any", .low = MODEL_ANY},
	{.service = "tcp", .protocol = 6, .low = MODEL_ANY},
	{.service = "tcp/80", .protocol = 6, .low = 80, .high = 80},
	{.service = "tcp/80-90", .protocol = 6, .low = 80, .high = 90},
	{.service = "tcp/22", .protocol = 6, .low = 22, .high = 22},
	{.service = "udp", .protocol = 17, .low = MODEL_ANY},
	{.service = "udp/80-90", .protocol = 17, .low = 80, .high = 90},
	{.service = "udp/4789", .protocol = 17, .low = 4789, .high = 4789},
	{.service = "udp/6081", .protocol = 17, .low = 6081, .high = 6081},
	{.service = "sctp", .protocol = 132, .low = MODEL_ANY},
	{.service = "sctp/80", .protocol = 132, .low = 80, .high = 80},
	{.service = "gre", .protocol = 47, .low = MODEL_ANY},
	{.service = "icmp/8", .protocol = 1, .low = 0x800, .high = 0x8ff},
	{.service = "icmpv6/128", .protocol = 58, .low = 0x8000, .high = 0x80ff},
	{.service = "icmp", .protocol = 1, .low = MODEL_ANY},
	{.service = "icmpv6", .protocol = 58, .low = MODEL_ANY},
};

static int zone_draw(uint64_t *state)
{
	static const int zones[] = {ZONE_CLIENTS, ZONE_CLIENTS, ZONE_CLIENTS, ZONE_SERVERS,
				    ZONE_SERVERS, ZONE_OTHERS,	MODEL_ANY,    MODEL_ANY};

	return zones[below(state, ARRAY_SIZE(zones))];
}

static void rule_draw(struct model_rule *r, bool red, uint64_t *state)
{
	*r = services[below(state, ARRAY_SIZE(services))];
	r->from = zone_draw(state);
	r->to = one_in(state, 2) ? ZONE_SERVERS : zone_draw(state);
	r->action = SLUICE_ACTION_ALLOW;
	if (one_in(state, 4))
		r->action = one_in(state, 2) ? SLUICE_ACTION_REJECT : SLUICE_ACTION_DENY;
	r->stateful = r->action == SLUICE_ACTION_ALLOW && !one_in(state, 6);
	r->audit = one_in(state, 10);
	r->red = red && one_in(state, 3);
}

static void timeouts_draw(uint64_t *timeout, uint64_t *state)
{
	static const uint64_t choice[] = {SECOND_NS / 100, SECOND_NS / 2, 7 * SECOND_NS, 30 * SECOND_NS, 3600 * SECOND_NS};
	unsigned int i;

	for (i = MODEL_ESTABLISHED; i < MODEL_TIMEOUTS; i++)
		timeout[i] = choice[below(state, ARRAY_SIZE(choice))];
}

void model_policy_random(struct model_policy *p, unsigned int number, uint64_t *state, bool virtual)
{
	unsigned int i;

	*p = (struct model_policy){
		.n_rules = 1 + below(state, MODEL_RULES),
		.default_allow = number % 5 == 4,
		.audit = number % 6 == 5,
		.full_stateless = number % 4 == 1,
		.failsafe = virtual && number % 4 == 3,
		.red = number % 3 == 1,
		.antispoof = number % 7 == 6 ? ZONE_CLIENTS : MODEL_ANY,
		.max_flows = virtual && (number % 5 == 2 || number % 10 == 4) ? 4 + below(state, 12) : 4096,
		.pickup_ns = number % 8 < 3 ? NEVER_NS : 0,
		.timeout_ns = {[MODEL_OPENING] = 30 * SECOND_NS, [MODEL_OTHER] = 30 * SECOND_NS},
	};
	for (i = MODEL_ESTABLISHED; i < MODEL_TIMEOUTS; i++)
		p->timeout_ns[i] = 3600 * SECOND_NS;
	if (virtual)
		timeouts_draw(p->timeout_ns, state);
	for (i = 0; i < p->n_rules; i++)
		rule_draw(&p->rules[i], p->red, state);
}

/* ----------------------------------------------------------------------------- YAML */

static void side_print(FILE *f, const char *key, int zone)
{
	if (zone == MODEL_ANY)
		fprintf(f, "    %s: any\n", key);
	else
		fprintf(f, "    %s: [10.%d.0.0/16, \"fd%02x::/16\"]\n", key, zone, zone);
}

static void rule_print(FILE *f, const struct model_rule *r, unsigned int number)
{
	static const char *const actions[] = {
		[SLUICE_ACTION_ALLOW] = "allow", [SLUICE_ACTION_DENY] = "deny", [SLUICE_ACTION_REJECT] = "reject"};

	fprintf(f, "  - name: r%u\n", number);
	side_print(f, "from", r->from);
	side_print(f, "to", r->to);
	fprintf(f, "    service: %s\n    action: %s\n", r->service, actions[r->action]);
	if (r->action == SLUICE_ACTION_ALLOW && !r->stateful)
		fprintf(f, "    stateful: false\n");
	if (r->audit)
		fprintf(f, "    mode: audit\n");
	if (r->red)
		fprintf(f, "    tenant: red\n");
}

static void conntrack_print(FILE *f, const struct model_policy *p)
{
	static const char *const keys[] = {
		[MODEL_ESTABLISHED] = "tcp-established", [MODEL_CLOSING] = "tcp-closing", [MODEL_UDP] = "udp",
		[MODEL_STREAM] = "udp-stream",		 [MODEL_ICMP] = "icmp",
	};
	unsigned int i;

	fprintf(f, "conntrack:\n  max: %u\n  on-full: %s\n  pickup: %llus\n", p->max_flows,
		p->full_stateless ? "stateless" : "drop", (unsigned long long)(p->pickup_ns / SECOND_NS));
	for (i = MODEL_ESTABLISHED; i < MODEL_TIMEOUTS; i++)
		fprintf(f, "  %s: %llums\n", keys[i], (unsigned long long)(p->timeout_ns[i] / (SECOND_NS / 1000)));
}

char *model_policy_yaml(const struct model_policy *p, const char *interface)
{
	char *text = NULL;
	size_t length;
	FILE *f = open_memstream(&text, &length);
	unsigned int i;

	if (!f)
		abort();
	fprintf(f, "sluice: 1\nname: model\nmode: %s\ndefault: %s\nfailsafe: [%s]\n", p->audit ? "audit" : "enforce",
		p->default_allow ? "allow" : "deny", p->failsafe ? "tcp/22" : "");
	if (p->red)
		fprintf(f, "tenants: [red]\n");
	fprintf(f, "interfaces:\n  - name: %s\n", interface);
	if (p->red)
		fprintf(f, "    vlans: {%d: red}\n    vnis: {%d: red}\n", MODEL_RED_VLAN, MODEL_RED_VNI);
	if (p->antispoof != MODEL_ANY)
		fprintf(f, "    antispoof: [zone]\nsegments:\n  zone: [10.%d.0.0/16, \"fd%02x::/16\"]\n", p->antispoof,
			p->antispoof);
	conntrack_print(f, p);
	fprintf(f, "rules:\n");
	for (i = 0; i < p->n_rules; i++)
		rule_print(f, &p->rules[i], i);
	fclose(f);
	return text;
}
