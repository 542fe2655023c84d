// SPDX-License-Identifier: Apache-2.0
/*
 * Random policies for the reference; see reference.h. Called by tests. Small alphabets, so that prefixes nest, touch
 * and repeat, ports meet at their edges, and rules stand in one another's way.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "reference.h"

#define one_in reference_one_in
#define below  reference_below

/* How much of everything a kind has, at most. */
static const struct shape {
	unsigned int segments, services, rules, rules_least, list;
} shapes[REFERENCE_KINDS] = {
	[REFERENCE_MIXED] = {12, 6, REFERENCE_RULES, 0, 5},
	[REFERENCE_FIREWALL] = {8, 8, 160, 30, 5},
	[REFERENCE_MANY_RULES] = {40, 12, 700, 300, 4},
	[REFERENCE_PREFIXES] = {6, 4, 16, 4, 5},
	[REFERENCE_NESTED] = {20, 4, 40, 4, 6},
};

struct maker {
	struct reference_policy *policy;
	uint64_t *state;
	enum reference_kind kind;
	const struct shape *shape;
	uint8_t deep[2][16]; /* NESTED: what all prefixes lie around, IPv4 and IPv6 */
	bool reject;	     /* the language has it */
};

/* ----------------------------------------------------------------------- prefixes */

static void bits_clear(struct reference_prefix *p)
{
	unsigned int bit = p->ipv4 ? 96 + p->length : p->length;

	for (; bit < 128; bit++)
		p->addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static void addr_ipv4(uint8_t addr[16])
{
	memset(addr, 0, 10);
	memset(addr + 10, 0xff, 2);
}

/* Few distinct bytes, so that prefixes nest, touch and repeat. */
struct reference_prefix reference_prefix_random(uint64_t *state)
{
	static const uint8_t bytes[] = {0, 1, 127, 128, 254, 255};
	struct reference_prefix p = {.ipv4 = below(state, 2)};
	unsigned int i;

	for (i = 0; i < 16; i++)
		p.addr[i] = bytes[below(state, sizeof(bytes))];
	if (p.ipv4) {
		addr_ipv4(p.addr);
		p.addr[12] = 10;
		p.addr[13] &= 1;
		p.length = one_in(state, 12) ? below(state, 9) : 8 + below(state, 25);
	} else {
		p.addr[0] = 0xfd;
		p.addr[1] = 0;
		memset(p.addr + 2, 0, 5);
		p.length = one_in(state, 12) ? below(state, 16) : 48 + below(state, 81);
	}
	bits_clear(&p);
	return p;
}

/* Around one address: any length, and half of them the sibling, which touches. */
static struct reference_prefix prefix_nested(struct maker *m)
{
	struct reference_prefix p = {.ipv4 = below(m->state, 2)};
	unsigned int bits = p.ipv4 ? 32 : 128, bit;

	memcpy(p.addr, m->deep[!p.ipv4], 16);
	p.length = one_in(m->state, 6) ? bits : one_in(m->state, 12) ? 0 : below(m->state, bits + 1);
	if (p.length && one_in(m->state, 2)) {
		bit = (p.ipv4 ? 96 : 0) + p.length - 1;
		p.addr[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
	}
	bits_clear(&p);
	return p;
}

/* Drawn over all addresses of a /9 or a /40. */
static struct reference_prefix prefix_spread(struct maker *m)
{
	struct reference_prefix p = {.ipv4 = !one_in(m->state, 3)};
	unsigned int i;

	for (i = 5; i < 16; i++)
		p.addr[i] = (uint8_t)reference_random(m->state);
	if (p.ipv4) {
		addr_ipv4(p.addr);
		p.addr[12] = 10;
		p.addr[13] &= 127;
		p.length = 12 + below(m->state, 21);
	} else {
		p.addr[0] = 0xfd;
		p.length = 44 + below(m->state, 85);
	}
	bits_clear(&p);
	return p;
}

static struct reference_prefix prefix_draw(struct maker *m)
{
	if (m->kind == REFERENCE_NESTED)
		return prefix_nested(m);
	if (m->kind == REFERENCE_PREFIXES && !one_in(m->state, 8))
		return prefix_spread(m);
	return reference_prefix_random(m->state);
}

static void prefixes_draw(struct maker *m, struct reference_prefixes *list, unsigned int count)
{
	unsigned int i;

	list->items = reference_alloc(m->policy, count + 1, sizeof(*list->items));
	list->count = count;
	for (i = 0; i < count; i++)
		list->items[i] = prefix_draw(m);
}

static unsigned int list_length(struct maker *m, unsigned int least)
{
	return least + below(m->state, m->shape->list + 1 - least);
}

/* ----------------------------------------------------------------------- segments */

static void name_add(struct reference_names *names, unsigned int number)
{
	names->items[names->count++] = (struct reference_name){.number = number};
}

static void names_begin(struct maker *m, struct reference_names *names, unsigned int most)
{
	*names = (struct reference_names){reference_alloc(m->policy, most + 1, sizeof(*names->items)), 0};
}

/* A union of segments of one tenant, or of none. */
static void members_draw(struct maker *m, unsigned int number)
{
	struct reference_segment *s = &m->policy->segments[number];
	unsigned int i, n = below(m->state, 4), member;
	int mine, its;

	names_begin(m, &s->members, n);
	for (i = 0; number && i < n; i++) {
		member = below(m->state, number);
		mine = reference_segment_tenant(m->policy, number);
		its = reference_segment_tenant(m->policy, member);
		if (its == REFERENCE_UNSAID || its == mine || mine == REFERENCE_UNSAID)
			name_add(&s->members, member);
	}
}

static void segment_draw(struct maker *m, unsigned int number)
{
	struct reference_segment *s = &m->policy->segments[number];
	bool large = m->kind == REFERENCE_PREFIXES && number < 3;

	s->tenant = (int)below(m->state, m->policy->n_tenants);
	if (!s->tenant)
		s->tenant = REFERENCE_UNSAID;
	prefixes_draw(m, &s->include, large ? 1 + below(m->state, 1700) : list_length(m, 0));
	if (s->include.count && one_in(m->state, 2))
		prefixes_draw(m, &s->except, large ? below(m->state, 100) : list_length(m, 0));
	members_draw(m, number);
}

/* ------------------------------------------------------------------------ services */

/* Not the ports of tunnels: what such a packet gets is another question. */
static unsigned int port_random(uint64_t *state)
{
	static const unsigned int ports[] = {1, 2, 22, 80, 81, 443, 1023, 1024, 4420, 8080, 32767, 32768, 65534, 65535};
	unsigned int port = 1 + below(state, 65535);

	return one_in(state, 6) && port != 4789 && port != 6081 ? port : ports[below(state, ARRAY_SIZE(ports))];
}

static void ports_random(uint64_t *state, unsigned int *first, unsigned int *last)
{
	unsigned int a = port_random(state), b = one_in(state, 2) ? a : port_random(state);

	*first = min(a, b);
	*last = max(a, b);
}

static void type_random(uint64_t *state, struct reference_item *item)
{
	unsigned int type = one_in(state, 4) ? 8 * (1 + 15 * (item->protocol == 58)) : below(state, 5) * 3;

	if (one_in(state, 10))
		type = 255;
	item->dest_first = type << 8 | (one_in(state, 2) ? 0 : below(state, 5));
	item->dest_last = item->dest_first;
	if (one_in(state, 2)) {
		item->dest_first = type << 8;
		item->dest_last = type << 8 | 255;
	}
}

struct reference_item reference_item_random(uint64_t *state)
{
	static const int protocols[] = {6, 6, 6, 17, 17, 132, 1, 58, 47, 50, 99, -1};
	struct reference_item item = {
		.protocol = protocols[below(state, ARRAY_SIZE(protocols))], .dest_last = 65535, .source_last = 65535};
	bool ports = item.protocol == 6 || item.protocol == 17 || item.protocol == 132;

	if (ports && !one_in(state, 8))
		ports_random(state, &item.dest_first, &item.dest_last);
	if (ports && one_in(state, 4))
		ports_random(state, &item.source_first, &item.source_last);
	if ((item.protocol == 1 || item.protocol == 58) && !one_in(state, 4))
		type_random(state, &item);
	return item;
}

static void items_draw(struct maker *m, struct reference_service *s, unsigned int count)
{
	unsigned int i;

	s->items = reference_alloc(m->policy, count, sizeof(*s->items));
	s->count = count;
	for (i = 0; i < count; i++)
		s->items[i] = reference_item_random(m->state);
}

/* --------------------------------------------------------------------------- rules */

/* Segments of `tenant` and of none; more than one tenant if `tenants` says so. */
static void side_draw(struct maker *m, struct reference_side *side, unsigned int tenants)
{
	unsigned int i, number;
	int of;

	names_begin(m, &side->segments, 3);
	if (one_in(m->state, 5)) {
		side->any = true;
		return;
	}
	for (i = 0; i < 3; i++) {
		number = below(m->state, m->policy->n_segments);
		of = reference_segment_tenant(m->policy, number);
		if (of == REFERENCE_UNSAID || tenants >> of & 1)
			name_add(&side->segments, number);
	}
	if (!side->segments.count || one_in(m->state, 4))
		prefixes_draw(m, &side->literals, list_length(m, 1));
}

/* One prefix, and a narrow one mostly. */
static void side_narrow(struct maker *m, struct reference_side *side)
{
	struct reference_prefix *p;

	prefixes_draw(m, &side->literals, 1);
	p = &side->literals.items[0];
	if (!one_in(m->state, 4))
		p->length = p->ipv4 ? 32 - below(m->state, 4) : 128 - below(m->state, 8);
	bits_clear(p);
}

static void sides_draw(struct maker *m, struct reference_rule *rule, unsigned int tenants)
{
	bool firewall = m->kind == REFERENCE_FIREWALL || (m->kind == REFERENCE_MANY_RULES && one_in(m->state, 2));

	names_begin(m, &rule->from.segments, 0);
	names_begin(m, &rule->to.segments, 0);
	if (firewall && !one_in(m->state, 6)) {
		bool any_source = one_in(m->state, 2);

		rule->from.any = any_source;
		rule->to.any = !any_source;
		side_narrow(m, any_source ? &rule->to : &rule->from);
		return;
	}
	side_draw(m, &rule->from, tenants);
	side_draw(m, &rule->to, tenants);
}

/* The tenant of a rule, and what must be said for it: both sides name the same tenants, or one side none. */
static void tenants_draw(struct maker *m, struct reference_rule *rule)
{
	unsigned int tenant = below(m->state, m->policy->n_tenants), other = below(m->state, m->policy->n_tenants);
	unsigned int from, to;
	struct reference_side *sides[] = {&rule->from, &rule->to};
	size_t i;

	rule->tenant = REFERENCE_UNSAID;
	sides_draw(m, rule, 1u << tenant | (one_in(m->state, 6) ? 1u << other : 0));
	from = reference_rule_tenants(m->policy,
				      &(struct reference_rule){.tenant = REFERENCE_UNSAID, .from = rule->from});
	to = reference_rule_tenants(m->policy, &(struct reference_rule){.tenant = REFERENCE_UNSAID, .to = rule->to});
	if (from > 1 && to > 1 && from != to) { /* would cross: literals in place of the segments */
		for (i = 0; i < ARRAY_SIZE(sides); i++) {
			sides[i]->segments.count = 0;
			if (!sides[i]->any)
				prefixes_draw(m, &sides[i]->literals, list_length(m, 1));
		}
		from = to = 1;
	}
	if (tenant && one_in(m->state, 2) && (from | to | 1u << tenant | 1) == (1u << tenant | 1))
		rule->tenant = (int)tenant;
}

static void services_draw(struct maker *m, struct reference_rule *rule)
{
	unsigned int i, n = below(m->state, 4);

	rule->any_service = one_in(m->state, 4);
	names_begin(m, &rule->services, n);
	if (rule->any_service)
		return;
	for (i = 0; i < n; i++)
		name_add(&rule->services, below(m->state, m->policy->n_services));
	if (!n || one_in(m->state, 4))
		items_draw(m, &rule->items, 1 + below(m->state, m->shape->list));
	for (i = 0; i < rule->items.count; i++) /* in a rule, `any` stands alone */
		rule->any_service |= rule->items.items[i].protocol == -1;
}

static void rule_draw(struct maker *m, struct reference_rule *rule)
{
	tenants_draw(m, rule);
	services_draw(m, rule);
	rule->action = one_in(m->state, 2) ? SLUICE_ACTION_ALLOW : SLUICE_ACTION_DENY;
	if (m->reject && one_in(m->state, 6))
		rule->action = SLUICE_ACTION_REJECT;
	rule->audit = one_in(m->state, 6);
	rule->stateless = rule->action == SLUICE_ACTION_ALLOW && one_in(m->state, 5);
	rule->log = one_in(m->state, 8) ? 1 + below(m->state, 3) : 0;
	if (rule->action == SLUICE_ACTION_ALLOW && !rule->audit && one_in(m->state, 4))
		rule->limit = 1 + below(m->state, REFERENCE_LIMITS);
}

/* ------------------------------------------------------------------------ policies */

/* Interface 0 carries every tenant, and its antispoof may name all their segments. */
static void interface_draw(struct maker *m, unsigned int i)
{
	struct reference_interface *interface = &m->policy->interfaces[i];
	unsigned int k, number;

	names_begin(m, &interface->segments, 4);
	if (!i || one_in(m->state, 2))
		return;
	for (k = 0; k < 3; k++) {
		number = below(m->state, m->policy->n_segments);
		if (reference_segment_tenant(m->policy, number) == REFERENCE_UNSAID)
			name_add(&interface->segments, number);
	}
	interface->antispoof = interface->segments.count;
}

size_t reference_padding(uint64_t *state)
{
	static const unsigned int most[] = {400, 20000, 600000}; /* words that stay on the first page */

	if (!one_in(state, 6))
		return 0;
	return SLUICE_PAGE_WORDS - 8 * (1 + below(state, most[below(state, ARRAY_SIZE(most))] / 8));
}

static bool language_has_reject(void)
{
	static const char text[] = "sluice: 1\nrules: [{name: a, from: any, to: any, action: reject}]\n";
	static int known = -1;
	struct policy_diagnostics d = {};
	struct policy *p = NULL;

	if (known < 0) {
		known = !policy_load_text("reject.yaml", text, sizeof(text) - 1, &d, &p);
		policy_diagnostics_done(&d);
		policy_free(p);
	}
	return known;
}

static void counts_draw(struct maker *m)
{
	struct reference_policy *p = m->policy;

	p->n_tenants = one_in(m->state, 3) ? 3 : 1 + below(m->state, REFERENCE_TENANTS);
	p->n_segments = 1 + below(m->state, m->shape->segments);
	p->n_services = 1 + below(m->state, m->shape->services);
	p->n_rules = m->shape->rules_least + below(m->state, m->shape->rules - m->shape->rules_least + 1);
	p->n_interfaces = 1 + below(m->state, 5);
	p->segments = reference_alloc(p, p->n_segments, sizeof(*p->segments));
	p->services = reference_alloc(p, p->n_services, sizeof(*p->services));
	p->rules = reference_alloc(p, p->n_rules, sizeof(*p->rules));
	p->interfaces = reference_alloc(p, p->n_interfaces, sizeof(*p->interfaces));
}

static void parts_draw(struct maker *m)
{
	struct reference_policy *p = m->policy;
	unsigned int i, audits = 0;

	for (i = 0; i < p->n_segments; i++)
		segment_draw(m, i);
	for (i = 0; i < p->n_services; i++)
		items_draw(m, &p->services[i], list_length(m, 1));
	for (i = 0; i < p->n_rules; i++) {
		rule_draw(m, &p->rules[i]);
		/* A packet may pass only so many. */
		p->rules[i].audit = p->rules[i].audit && audits++ < SLUICE_AUDITS_MAX;
	}
	for (i = 0; i < p->n_interfaces; i++)
		interface_draw(m, i);
}

void reference_generate_kind(struct reference_policy *p, enum reference_kind kind, uint64_t *state)
{
	struct maker m = {p, state, kind, &shapes[kind], .reject = language_has_reject()};
	unsigned int i;

	*p = (struct reference_policy){.default_allow = one_in(state, 2), .device = "carrier"};
	for (i = 0; i < 16; i++)
		m.deep[0][i] = m.deep[1][i] = (uint8_t)reference_random(state);
	addr_ipv4(m.deep[0]);
	counts_draw(&m);
	parts_draw(&m);
}

void reference_generate(struct reference_policy *p, uint64_t *state)
{
	reference_generate_kind(p, REFERENCE_MIXED, state);
}

enum reference_kind reference_generate_any(struct reference_policy *p, uint64_t *state)
{
	static const unsigned int weights[REFERENCE_KINDS] = {24, 6, 1, 2, 8};
	unsigned int kind = 0, sum = 0, at;

	for (kind = 0; kind < REFERENCE_KINDS; kind++)
		sum += weights[kind];
	at = below(state, sum);
	for (kind = 0; at >= weights[kind]; kind++)
		at -= weights[kind];
	reference_generate_kind(p, (enum reference_kind)kind, state);
	return (enum reference_kind)kind;
}
