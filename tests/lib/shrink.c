// SPDX-License-Identifier: Apache-2.0
/*
 * The shrinker of shrink.h. Called by the differential tests when they have found a difference. What always holds: the
 * case fails after each step, for a step after which it does not is taken back.
 */
#include "shrink.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct shrinker {
	struct reference_policy *policy;
	struct policy_query *query;
	shrink_fails_fn fails;
	void *arg;
	unsigned int asked;
	bool **parts; /* flags `off` of what is still on and can be reached */
	size_t n_parts;
	size_t capacity;
};

static bool still_fails(struct shrinker *s)
{
	s->asked++;
	return s->fails(s->arg, s->policy, s->query);
}

/* --------------------------------------------------------------------------- parts */

static void part_add(struct shrinker *s, bool *off)
{
	if (*off)
		return;
	if (s->n_parts == s->capacity) {
		s->capacity = 2 * s->capacity + 64;
		s->parts = reallocarray(s->parts, s->capacity, sizeof(*s->parts));
		if (!s->parts)
			abort();
	}
	s->parts[s->n_parts++] = off;
}

static void prefixes_add(struct shrinker *s, struct reference_prefixes *list)
{
	unsigned int i;

	for (i = 0; i < list->count; i++)
		part_add(s, &list->items[i].off);
}

static void names_add(struct shrinker *s, struct reference_names *names)
{
	unsigned int i;

	for (i = 0; i < names->count; i++)
		part_add(s, &names->items[i].off);
}

static void items_add(struct shrinker *s, struct reference_service *service)
{
	unsigned int i;

	for (i = 0; i < service->count; i++)
		part_add(s, &service->items[i].off);
}

static void side_add(struct shrinker *s, struct reference_side *side)
{
	if (side->any)
		return;
	names_add(s, &side->segments);
	prefixes_add(s, &side->literals);
}

static void rule_parts_add(struct shrinker *s, struct reference_rule *rule)
{
	side_add(s, &rule->from);
	side_add(s, &rule->to);
	if (rule->any_service)
		return;
	names_add(s, &rule->services);
	items_add(s, &rule->items);
}

static void segment_parts_add(struct shrinker *s, struct reference_segment *segment)
{
	names_add(s, &segment->members);
	prefixes_add(s, &segment->include);
	prefixes_add(s, &segment->except);
}

/* Rules first, then what is in them: the largest come first. */
static void parts_collect(struct shrinker *s)
{
	struct reference_policy *p = s->policy;
	unsigned int i;

	s->n_parts = 0;
	for (i = 0; i < p->n_rules; i++)
		part_add(s, &p->rules[i].off);
	for (i = 0; i < p->n_segments; i++)
		part_add(s, &p->segments[i].off);
	for (i = 0; i < p->n_services; i++)
		part_add(s, &p->services[i].off);
	for (i = 0; i < p->n_interfaces; i++)
		names_add(s, &p->interfaces[i].segments);
	for (i = 0; i < p->n_rules; i++) {
		if (!p->rules[i].off)
			rule_parts_add(s, &p->rules[i]);
	}
	for (i = 0; i < p->n_segments; i++) {
		if (!p->segments[i].off)
			segment_parts_add(s, &p->segments[i]);
	}
	for (i = 0; i < p->n_services; i++) {
		if (!p->services[i].off)
			items_add(s, &p->services[i]);
	}
}

static void parts_set(struct shrinker *s, size_t first, size_t count, bool off)
{
	size_t i;

	for (i = first; i < first + count; i++)
		*s->parts[i] = off;
}

/* Tries without each `chunk` of parts; true if some went. */
static bool parts_sweep(struct shrinker *s, size_t chunk)
{
	bool some = false;
	size_t i, n;

	parts_collect(s);
	for (i = 0; i < s->n_parts; i += n) {
		n = min(chunk, s->n_parts - i);
		parts_set(s, i, n, true);
		if (still_fails(s))
			some = true;
		else
			parts_set(s, i, n, false);
	}
	return some;
}

static bool parts_shrink(struct shrinker *s)
{
	bool some = false;
	size_t chunk;

	parts_collect(s);
	for (chunk = s->n_parts / 2; chunk > 1; chunk /= 2)
		some |= parts_sweep(s, chunk);
	while (parts_sweep(s, 1))
		some = true;
	return some;
}

/* -------------------------------------------------------------------------- values */

/* Puts a value in place of another if the case still fails with it. */
static bool value_try(struct shrinker *s, void *at, const void *value, size_t size)
{
	uint8_t saved[sizeof(struct reference_prefix)];

	if (!memcmp(at, value, size))
		return false;
	memcpy(saved, at, size);
	memcpy(at, value, size);
	if (still_fails(s))
		return true;
	memcpy(at, saved, size);
	return false;
}

#define VALUE_TRY(s, at, ...) value_try(s, at, &(__typeof__(*(at))){__VA_ARGS__}, sizeof(*(at)))

static bool prefix_simplify(struct shrinker *s, struct reference_prefix *p)
{
	static const unsigned int lengths[] = {0, 8, 16, 24, 32, 64, 96, 112};
	struct reference_prefix wider;
	unsigned int i, bit;

	for (i = 0; !p->off && i < ARRAY_SIZE(lengths) && lengths[i] < p->length; i++) {
		wider = *p;
		wider.length = lengths[i];
		for (bit = (p->ipv4 ? 96 : 0) + wider.length; bit < 128; bit++)
			wider.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		if (value_try(s, p, &wider, sizeof(wider)))
			return true;
	}
	return false;
}

static bool prefixes_simplify(struct shrinker *s, struct reference_prefixes *list)
{
	bool some = false;
	unsigned int i;

	for (i = 0; i < list->count; i++)
		some |= prefix_simplify(s, &list->items[i]);
	return some;
}

static bool items_simplify(struct shrinker *s, struct reference_service *service)
{
	struct reference_item *item;
	bool some = false;
	unsigned int i;

	for (i = 0; i < service->count; i++) {
		item = &service->items[i];
		if (item->off)
			continue;
		if (item->source_first || item->source_last != 65535)
			some |= VALUE_TRY(s, item, false, item->protocol, item->dest_first, item->dest_last, 0, 65535);
		if (item->dest_first || item->dest_last != 65535)
			some |= VALUE_TRY(s, item, false, item->protocol, 0, 65535, item->source_first,
					  item->source_last);
	}
	return some;
}

static bool rule_simplify(struct shrinker *s, struct reference_rule *rule)
{
	bool some = VALUE_TRY(s, &rule->audit, false);

	some |= VALUE_TRY(s, &rule->stateless, false);
	some |= VALUE_TRY(s, &rule->log, 0);
	some |= VALUE_TRY(s, &rule->limit, 0);
	some |= VALUE_TRY(s, &rule->tenant, REFERENCE_UNSAID);
	some |= VALUE_TRY(s, &rule->any_service, true);
	some |= VALUE_TRY(s, &rule->from.any, true);
	some |= VALUE_TRY(s, &rule->to.any, true);
	some |= prefixes_simplify(s, &rule->from.literals);
	some |= prefixes_simplify(s, &rule->to.literals);
	return some | items_simplify(s, &rule->items);
}

static bool segment_simplify(struct shrinker *s, struct reference_segment *segment)
{
	bool some = VALUE_TRY(s, &segment->tenant, REFERENCE_UNSAID);

	some |= prefixes_simplify(s, &segment->include);
	return some | prefixes_simplify(s, &segment->except);
}

/* From the last byte on to 0; of IPv4 only its own four. */
static bool address_simplify(struct shrinker *s, uint8_t addr[16])
{
	int i, first = reference_is_ipv4(addr) ? 12 : 0;
	bool some = false;

	for (i = 15; i >= first; i--)
		some |= VALUE_TRY(s, &addr[i], 0);
	return some;
}

static bool query_simplify(struct shrinker *s)
{
	bool some = VALUE_TRY(s, &s->query->tenant, 0), ports;

	some |= VALUE_TRY(s, &s->query->protocol, 47); /* no ports, no types */
	ports = s->query->protocol == 6 || s->query->protocol == 17 || s->query->protocol == 132;
	some |= VALUE_TRY(s, &s->query->source_port, 0);
	some |= VALUE_TRY(s, &s->query->dest_port, ports); /* nobody can ask about port 0 */
	some |= address_simplify(s, s->query->source);
	return some | address_simplify(s, s->query->dest);
}

static bool values_shrink(struct shrinker *s)
{
	struct reference_policy *p = s->policy;
	bool some = VALUE_TRY(s, &p->default_allow, false);
	unsigned int i;

	some |= VALUE_TRY(s, &p->audit, false);
	some |= VALUE_TRY(s, &p->n_interfaces, 1);
	some |= VALUE_TRY(s, &p->n_tenants, 1);
	for (i = 0; i < p->n_interfaces; i++)
		some |= VALUE_TRY(s, &p->interfaces[i].antispoof, false);
	for (i = 0; i < p->n_rules; i++)
		some |= !p->rules[i].off && rule_simplify(s, &p->rules[i]);
	for (i = 0; i < p->n_segments; i++)
		some |= !p->segments[i].off && segment_simplify(s, &p->segments[i]);
	for (i = 0; i < p->n_services; i++)
		some |= !p->services[i].off && items_simplify(s, &p->services[i]);
	return some | query_simplify(s);
}

/* ---------------------------------------------------------------------------- all */

unsigned int shrink(struct reference_policy *p, struct policy_query *q, shrink_fails_fn fails, void *arg)
{
	struct shrinker s = {.policy = p, .query = q, .fails = fails, .arg = arg};

	do {
		parts_shrink(&s);
	} while (values_shrink(&s));
	free(s.parts);
	return s.asked;
}

static unsigned int prefixes_on(const struct reference_prefixes *list)
{
	unsigned int i, n = 0;

	for (i = 0; i < list->count; i++)
		n += !list->items[i].off;
	return n;
}

static unsigned int items_on(const struct reference_service *s)
{
	unsigned int i, n = 0;

	for (i = 0; i < s->count; i++)
		n += !s->items[i].off;
	return n;
}

static unsigned int names_on(const struct reference_names *names)
{
	unsigned int i, n = 0;

	for (i = 0; i < names->count; i++)
		n += !names->items[i].off;
	return n;
}

static void side_measure(const struct reference_side *side, struct shrink_size *ret)
{
	if (side->any)
		return;
	ret->names += names_on(&side->segments);
	ret->prefixes += prefixes_on(&side->literals);
}

static void rule_measure(const struct reference_rule *rule, struct shrink_size *ret)
{
	ret->rules++;
	side_measure(&rule->from, ret);
	side_measure(&rule->to, ret);
	if (!rule->any_service) {
		ret->names += names_on(&rule->services);
		ret->items += items_on(&rule->items);
	}
}

void shrink_measure(const struct reference_policy *p, struct shrink_size *ret)
{
	const struct reference_segment *s;
	unsigned int i;

	*ret = (struct shrink_size){};
	for (i = 0; i < p->n_rules; i++) {
		if (!p->rules[i].off)
			rule_measure(&p->rules[i], ret);
	}
	for (i = 0; i < p->n_segments; i++) {
		s = &p->segments[i];
		if (s->off)
			continue;
		ret->segments++;
		ret->names += names_on(&s->members);
		ret->prefixes += prefixes_on(&s->include) + prefixes_on(&s->except);
	}
	for (i = 0; i < p->n_services; i++) {
		if (p->services[i].off)
			continue;
		ret->services++;
		ret->items += items_on(&p->services[i]);
	}
}
