// SPDX-License-Identifier: Apache-2.0
/*
 * The reference classifier; see reference.h. Called by tests. Written for obviousness: every question walks every rule,
 * every segment and every bit.
 */
#include "reference.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* ------------------------------------------------------------------------- chance */

uint64_t reference_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

unsigned int reference_below(uint64_t *state, unsigned int n)
{
	return (unsigned int)(reference_random(state) % n);
}

bool reference_one_in(uint64_t *state, unsigned int n)
{
	return reference_below(state, n) == 0;
}

uint64_t reference_seed(void)
{
	const char *text = getenv("SLUICE_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : time_now_ns();

	fprintf(stderr, "SLUICE_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

uint64_t reference_packets(void)
{
	const char *text = getenv("SLUICE_DIFFERENTIAL");

	return text ? strtoull(text, NULL, 0) : 0;
}

/* ------------------------------------------------------------------------- memory */

struct reference_block {
	struct reference_block *next;
	_Alignas(16) unsigned char bytes[];
};

void *reference_alloc(struct reference_policy *p, size_t count, size_t size)
{
	struct reference_block *block = calloc(1, sizeof(*block) + count * size);

	if (!block)
		abort();
	block->next = p->blocks;
	p->blocks = block;
	return block->bytes;
}

void reference_done(struct reference_policy *p)
{
	struct reference_block *next;

	for (; p->blocks; p->blocks = next) {
		next = p->blocks->next;
		free(p->blocks);
	}
}

/* ----------------------------------------------------------------------- addresses */

bool reference_is_ipv4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

static bool prefix_has(const struct reference_prefix *p, const uint8_t addr[16])
{
	unsigned int bit;

	if (p->off || p->ipv4 != reference_is_ipv4(addr))
		return false;
	for (bit = 0; bit < (p->ipv4 ? 96 + p->length : p->length); bit++) {
		if ((p->addr[bit / 8] ^ addr[bit / 8]) & 0x80 >> bit % 8)
			return false;
	}
	return true;
}

static bool prefixes_have(const struct reference_prefixes *list, const uint8_t addr[16])
{
	unsigned int i;

	for (i = 0; i < list->count; i++) {
		if (prefix_has(&list->items[i], addr))
			return true;
	}
	return false;
}

static bool segment_has(const struct reference_policy *p, unsigned int number, const uint8_t addr[16])
{
	const struct reference_segment *s = &p->segments[number];
	unsigned int i;

	if (s->off)
		return false;
	for (i = 0; i < s->members.count; i++) {
		if (!s->members.items[i].off && segment_has(p, s->members.items[i].number, addr))
			return true;
	}
	return prefixes_have(&s->include, addr) && !prefixes_have(&s->except, addr);
}

/* ------------------------------------------------------------------------ tenants */

int reference_segment_tenant(const struct reference_policy *p, unsigned int number)
{
	const struct reference_segment *s = &p->segments[number];
	int tenant = s->tenant;
	unsigned int i;

	for (i = 0; i < s->members.count && tenant == REFERENCE_UNSAID; i++) {
		if (!s->members.items[i].off && !p->segments[s->members.items[i].number].off)
			tenant = reference_segment_tenant(p, s->members.items[i].number);
	}
	return tenant;
}

static unsigned int side_tenants(const struct reference_policy *p, const struct reference_side *side)
{
	unsigned int i, tenants = 0;
	int tenant;

	for (i = 0; i < side->segments.count && !side->any; i++) { /* beside `any` nothing is written */
		if (side->segments.items[i].off || p->segments[side->segments.items[i].number].off)
			continue;
		tenant = reference_segment_tenant(p, side->segments.items[i].number);
		if (tenant != REFERENCE_UNSAID)
			tenants |= 1u << tenant;
	}
	return tenants;
}

unsigned int reference_rule_tenants(const struct reference_policy *p, const struct reference_rule *rule)
{
	unsigned int from = side_tenants(p, &rule->from), to = side_tenants(p, &rule->to);

	if (rule->tenant != REFERENCE_UNSAID)
		return 1u << rule->tenant;
	if (from | to)
		return from ? from : to;
	return rule->from.any && rule->to.any ? ~0u : 1;
}

/* A segment of one tenant says nothing in another. */
static bool named_segment_has(const struct reference_policy *p, const struct reference_name *name, uint16_t tenant,
			      const uint8_t addr[16])
{
	int of;

	if (name->off || p->segments[name->number].off)
		return false;
	of = reference_segment_tenant(p, name->number);
	return (of == REFERENCE_UNSAID || of == tenant) && segment_has(p, name->number, addr);
}

/* -------------------------------------------------------------------------- rules */

static bool side_has(const struct reference_policy *p, const struct reference_side *side, uint16_t tenant,
		     const uint8_t addr[16])
{
	unsigned int i;

	for (i = 0; i < side->segments.count; i++) {
		if (named_segment_has(p, &side->segments.items[i], tenant, addr))
			return true;
	}
	return side->any || prefixes_have(&side->literals, addr);
}

static bool service_has(const struct reference_service *s, const struct policy_query *q)
{
	const struct reference_item *item;
	unsigned int i;

	for (i = 0; i < s->count && !s->off; i++) {
		item = &s->items[i];
		if (item->off)
			continue;
		if (item->protocol == -1)
			return true;
		if (item->protocol == q->protocol && q->dest_port >= item->dest_first &&
		    q->dest_port <= item->dest_last && q->source_port >= item->source_first &&
		    q->source_port <= item->source_last)
			return true;
	}
	return false;
}

static bool rule_has(const struct reference_policy *p, const struct reference_rule *rule, const struct policy_query *q)
{
	unsigned int i;

	if (!(reference_rule_tenants(p, rule) >> q->tenant & 1))
		return false;
	if (!side_has(p, &rule->from, q->tenant, q->source) || !side_has(p, &rule->to, q->tenant, q->dest))
		return false;
	for (i = 0; i < rule->services.count; i++) {
		if (!rule->services.items[i].off && service_has(&p->services[rule->services.items[i].number], q))
			return true;
	}
	return rule->any_service || service_has(&rule->items, q);
}

static void answer_set(struct reference_answer *a, unsigned int number, const struct reference_rule *rule)
{
	a->rule = number;
	a->decides = rule;
	a->action = rule->action;
	a->stateful = rule->action == SLUICE_ACTION_ALLOW && !rule->stateless;
}

void reference_ask(const struct reference_policy *p, const struct policy_query *q, struct reference_answer *ret)
{
	unsigned int i, number = 0;

	*ret = (struct reference_answer){
		.rule = reference_rules_on(p),
		.action = p->default_allow ? SLUICE_ACTION_ALLOW : SLUICE_ACTION_DENY,
		.stateful = p->default_allow,
	};
	for (i = 0; i < p->n_rules; i++) {
		if (p->rules[i].off)
			continue;
		if (!rule_has(p, &p->rules[i], q)) {
			number++;
			continue;
		}
		if (p->rules[i].audit && ret->n_audits < ARRAY_SIZE(ret->audits)) {
			ret->audits[ret->n_audits++] = number++;
			continue;
		}
		answer_set(ret, number++, &p->rules[i]);
		if (!p->reversed)
			return;
	}
}

unsigned int reference_lookup(const struct reference_policy *p, const struct policy_query *q, uint32_t *ret_audits,
			      size_t *ret_n)
{
	struct reference_answer answer;

	reference_ask(p, q, &answer);
	memcpy(ret_audits, answer.audits, answer.n_audits * sizeof(*ret_audits));
	*ret_n = answer.n_audits;
	return answer.rule;
}

bool reference_may_enter(const struct reference_policy *p, const struct policy_query *q, unsigned int interface)
{
	const struct reference_interface *f = &p->interfaces[interface];
	unsigned int i;

	for (i = 0; i < f->segments.count; i++) {
		if (named_segment_has(p, &f->segments.items[i], q->tenant, q->source))
			return true;
	}
	return !f->antispoof;
}

unsigned int reference_rules_on(const struct reference_policy *p)
{
	unsigned int i, count = 0;

	for (i = 0; i < p->n_rules; i++)
		count += !p->rules[i].off;
	return count;
}
