// SPDX-License-Identifier: Apache-2.0
/*
 * Rules → products of numbered sets: for shadow.c, which compares numbers from then on. A set is computed once however
 * many rules name it, so the cost is that of the text, not of its use.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/shadow.h"

/* Sides and services that were seen, by what they name; to find the sets again without computing them. */
struct seen {
	struct shadow *shadow;
	struct seen_side {
		const struct policy_side *side;
		uint16_t tenant;
		uint32_t sets[FAMILIES];
	} * sides;
	size_t n_sides;
	struct hash_index by_side;
	uint32_t *services; /* rules, one of each distinct list of services */
	size_t n_services;
	struct hash_index by_services;
	struct box *boxes; /* scratch */
	size_t boxes_capacity;
};

static void seen_done(struct seen *seen)
{
	hash_index_done(&seen->by_side);
	hash_index_done(&seen->by_services);
	free(seen->sides);
	free(seen->services);
	free(seen->boxes);
}

/* ------------------------------------------------------------------------- sides */

/* The next segment of a side that holds in the tenant, from *k on; NULL at the end. */
static const size_t *side_next(const struct policy *p, const struct policy_side *side, uint16_t tenant, size_t *k)
{
	while (*k < side->n_segments) {
		if (policy_segment_in_tenant(p, side->segments[(*k)++], tenant))
			return &side->segments[*k - 1];
	}
	return NULL;
}

struct side_key {
	const struct policy_side *side;
	uint16_t tenant;
};

static uint64_t side_hash(const struct policy *p, const struct side_key *key)
{
	uint64_t hash = key->side->any;
	const size_t *segment;
	size_t k = 0;

	while ((segment = side_next(p, key->side, key->tenant, &k)))
		hash = hash_mix(hash ^ (*segment + 2));
	return hash_mix(hash);
}

static bool side_is(const void *arg, const void *key, uint32_t id)
{
	const struct seen *seen = arg;
	const struct side_key *wanted = key;
	const struct seen_side *known = &seen->sides[id];
	const struct policy *p = seen->shadow->policy;
	const size_t *a, *b;
	size_t i = 0, k = 0;

	if (known->side->any != wanted->side->any)
		return false;
	do {
		a = side_next(p, known->side, known->tenant, &i);
		b = side_next(p, wanted->side, wanted->tenant, &k);
	} while (a && b && *a == *b);
	return !a && !b;
}

static int list_intern(struct seen *seen, const struct range_list *list, unsigned int family, uint32_t *ret_set)
{
	size_t i;

	*ret_set = SHADOW_NONE;
	if (!list->count)
		return 0;
	if (array_reserve(&seen->boxes, &seen->boxes_capacity, 0, list->count, sizeof(*seen->boxes)))
		return -ENOMEM;
	for (i = 0; i < list->count; i++)
		seen->boxes[i] = (struct box){list->items[i].first, list->items[i].last, 0, 0};
	return cover_space_intern(&seen->shadow->addresses[family], seen->boxes, list->count, ret_set);
}

static int side_compute(struct seen *seen, const struct side_key *key, uint32_t ret_sets[FAMILIES])
{
	struct range full[FAMILIES] = {{0, ADDRESS_MAX4}, {0, ADDRESS_MAX6}};
	struct ranges ranges = {};
	int r;

	if (key->side->any) {
		r = list_intern(seen, &(struct range_list){&full[FAMILY_V4], 1, 1}, FAMILY_V4, &ret_sets[FAMILY_V4]);
		return r ? r
			 : list_intern(seen, &(struct range_list){&full[FAMILY_V6], 1, 1}, FAMILY_V6,
				       &ret_sets[FAMILY_V6]);
	}
	r = ranges_of_segments(seen->shadow->policy, key->side->segments, key->side->n_segments, key->tenant, &ranges);
	if (!r)
		r = list_intern(seen, &ranges.v4, FAMILY_V4, &ret_sets[FAMILY_V4]);
	if (!r)
		r = list_intern(seen, &ranges.v6, FAMILY_V6, &ret_sets[FAMILY_V6]);
	ranges_done(&ranges);
	return r;
}

static int side_sets(struct seen *seen, const struct policy_side *side, uint16_t tenant, uint32_t ret_sets[FAMILIES])
{
	const struct side_key key = {side, tenant};
	uint64_t hash = side_hash(seen->shadow->policy, &key);
	uint32_t id = hash_index_find(&seen->by_side, hash, side_is, seen, &key);
	struct seen_side *known;
	int r;

	if (id == HASH_NONE) {
		known = array_add(&seen->sides, &seen->n_sides, sizeof(*known));
		if (!known)
			return -ENOMEM;
		known->side = side;
		known->tenant = tenant;
		r = side_compute(seen, &key, known->sets);
		if (r || hash_index_add(&seen->by_side, hash, (uint32_t)seen->n_sides - 1))
			return -ENOMEM;
		id = (uint32_t)seen->n_sides - 1;
	}
	memcpy(ret_sets, seen->sides[id].sets, sizeof(seen->sides[id].sets));
	return 0;
}

/* ---------------------------------------------------------------------- services */

static bool services_are(const void *arg, const void *key, uint32_t id)
{
	const struct seen *seen = arg;
	const struct policy_rule *wanted = key, *known = &seen->shadow->policy->rules[seen->services[id]];

	return known->any_service == wanted->any_service && known->n_services == wanted->n_services &&
	       (!known->n_services ||
		!memcmp(known->services, wanted->services, known->n_services * sizeof(*known->services)));
}

static struct box item_box(const struct policy_item *item)
{
	address_t protocol = (address_t)item->protocol << 16;

	if (item->any_protocol)
		return (struct box){0, (256 << 16) - 1, 0, 65535};
	return (struct box){protocol | item->dest_first, protocol | item->dest_last, item->source_first,
			    item->source_last};
}

static int box_compare(const void *a, const void *b)
{
	const struct box *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	if (x->last != y->last)
		return x->last < y->last ? -1 : 1;
	if (x->low != y->low)
		return x->low < y->low ? -1 : 1;
	return x->high < y->high ? -1 : x->high > y->high;
}

/* Sorts, and merges what touches within a protocol and has the same source ports. */
static size_t boxes_normalise(struct box *boxes, size_t count)
{
	size_t i, kept = 0;
	struct box *last;

	if (count)
		qsort(boxes, count, sizeof(*boxes), box_compare);
	for (i = 0; i < count; i++) {
		last = kept ? &boxes[kept - 1] : NULL;
		if (last && last->low == boxes[i].low && last->high == boxes[i].high &&
		    last->first >> 16 == boxes[i].first >> 16 && last->last + 1 >= boxes[i].first)
			last->last = max(last->last, boxes[i].last);
		else
			boxes[kept++] = boxes[i];
	}
	return kept;
}

static int services_compute(struct seen *seen, const struct policy_rule *rule, uint32_t *ret_set)
{
	const struct policy_item any = {.any_protocol = true};
	const struct policy_service *service;
	size_t i, k, count = 0;

	*ret_set = SHADOW_NONE;
	if (array_reserve(&seen->boxes, &seen->boxes_capacity, 0, 1, sizeof(*seen->boxes)))
		return -ENOMEM;
	if (rule->any_service)
		seen->boxes[count++] = item_box(&any);
	for (i = 0; i < rule->n_services; i++) {
		service = &seen->shadow->policy->services[rule->services[i]];
		if (array_reserve(&seen->boxes, &seen->boxes_capacity, count, service->n_items, sizeof(*seen->boxes)))
			return -ENOMEM;
		for (k = 0; k < service->n_items; k++)
			seen->boxes[count++] = item_box(&service->items[k]);
	}
	count = boxes_normalise(seen->boxes, count);
	return count ? cover_space_intern(&seen->shadow->services, seen->boxes, count, ret_set) : 0;
}

static int rule_service(struct seen *seen, uint32_t i)
{
	const struct policy_rule *rule = &seen->shadow->policy->rules[i];
	uint64_t hash =
		hash_mix(hash_bytes(rule->services, rule->n_services * sizeof(*rule->services)) + rule->any_service);
	uint32_t id = hash_index_find(&seen->by_services, hash, services_are, seen, rule), *slot;
	int r;

	if (id != HASH_NONE) {
		seen->shadow->service[i] = seen->shadow->service[seen->services[id]];
		return 0;
	}
	r = services_compute(seen, rule, &seen->shadow->service[i]);
	slot = r ? NULL : array_add(&seen->services, &seen->n_services, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = i;
	return hash_index_add(&seen->by_services, hash, (uint32_t)seen->n_services - 1);
}

/* ------------------------------------------------------------------------- rules */

static int instance_add(struct seen *seen, uint32_t i, uint32_t tenant)
{
	struct shadow *s = seen->shadow;
	const struct policy_rule *rule = &s->policy->rules[i];
	struct instance *in = array_add(&s->instances, &s->n_instances, sizeof(*in));
	int r;

	if (!in)
		return -ENOMEM;
	in->rule = i;
	in->tenant = tenant;
	r = side_sets(seen, &rule->from, (uint16_t)tenant, in->from);
	return r ? r : side_sets(seen, &rule->to, (uint16_t)tenant, in->to);
}

static int rule_add(struct seen *seen, uint32_t i)
{
	const struct policy_rule *rule = &seen->shadow->policy->rules[i];
	int r = rule_service(seen, i);
	size_t k;

	if (rule->all_tenants)
		return r ? r : instance_add(seen, i, seen->shadow->all_tenants);
	for (k = 0; k < rule->n_tenants && !r; k++)
		r = instance_add(seen, i, rule->tenants[k]);
	return r;
}

#define RELATE_STEPS_MAX (32u << 20) /* of one space; some tenths of a second */

static int space_relate(struct shadow *s, struct cover_space *space)
{
	struct work work = {RELATE_STEPS_MAX};
	int r = cover_space_relate(space, &work);

	s->partial |= !work.left;
	return r;
}

int shadow_sets_begin(struct shadow *s)
{
	_cleanup_(seen_done) struct seen seen = {.shadow = s};
	size_t i;
	int r = 0;

	s->all_tenants = (uint32_t)s->policy->n_tenants;
	s->addresses[FAMILY_V4].disjoint = true;
	s->addresses[FAMILY_V6].disjoint = true;
	s->service = calloc(s->policy->n_rules + 1, sizeof(*s->service));
	s->first_instance = calloc(s->policy->n_rules + 1, sizeof(*s->first_instance));
	if (!s->service || !s->first_instance)
		return -ENOMEM;
	for (i = 0; i < s->policy->n_rules && !r; i++) {
		r = rule_add(&seen, (uint32_t)i);
		s->first_instance[i + 1] = s->n_instances;
	}
	for (i = 0; i < FAMILIES && !r; i++)
		r = space_relate(s, &s->addresses[i]);
	return r ? r : space_relate(s, &s->services);
}

void shadow_sets_done(struct shadow *s)
{
	cover_space_done(&s->addresses[FAMILY_V4]);
	cover_space_done(&s->addresses[FAMILY_V6]);
	cover_space_done(&s->services);
	free(s->service);
	free(s->instances);
	free(s->first_instance);
}
