// SPDX-License-Identifier: Apache-2.0
/*
 * What rules name, each distinct thing once: sets of addresses and services, interned by their content. Called by
 * compile.c for every rule; a segment or service that is used alone, the usual case, is resolved once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"

int sets_begin(struct compiler *c)
{
	size_t i;

	c->addresses.of_segment = calloc(c->policy->n_segments + 1, sizeof(uint32_t));
	c->services.of_service = calloc(c->policy->n_services + 1, sizeof(uint32_t));
	if (!c->addresses.of_segment || !c->services.of_service)
		return -ENOMEM;
	for (i = 0; i < c->policy->n_segments; i++)
		c->addresses.of_segment[i] = SET_NONE;
	for (i = 0; i < c->policy->n_services; i++)
		c->services.of_service[i] = SET_NONE;
	return 0;
}

void sets_done(struct compiler *c)
{
	size_t i;

	for (i = 0; i < c->addresses.count; i++)
		ranges_done(&c->addresses.items[i].ranges);
	for (i = 0; i < c->services.count; i++)
		service_set_done(&c->services.items[i]);
	free(c->addresses.items);
	free(c->addresses.of_segment);
	hash_index_done(&c->addresses.by_digest);
	free(c->services.items);
	free(c->services.of_service);
	hash_index_done(&c->services.by_digest);
}

static uint64_t digest_head(const uint8_t digest[32])
{
	uint64_t head;

	memcpy(&head, digest, sizeof(head));
	return head;
}

/* --------------------------------------------------------------------- addresses */

static bool address_set_is(const void *sets, const void *digest, uint32_t i)
{
	return !memcmp(((const struct address_sets *)sets)->items[i].digest, digest, 32);
}

static int ranges_digest(const struct ranges *ranges, uint8_t ret_digest[32])
{
	const struct range_list *lists[] = {&ranges->v4, &ranges->v6};
	_cleanup_(digest_freep) struct digest *d = digest_new();
	size_t i, k;

	if (!d)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		digest_number(d, lists[i]->count);
		for (k = 0; k < lists[i]->count; k++) {
			digest_number(d, (uint64_t)(lists[i]->items[k].first >> 64));
			digest_number(d, (uint64_t)lists[i]->items[k].first);
			digest_number(d, (uint64_t)(lists[i]->items[k].last >> 64));
			digest_number(d, (uint64_t)lists[i]->items[k].last);
		}
	}
	return digest_finish(d, ret_digest);
}

/* Interns a set; takes the ranges in any case. */
static int ranges_intern(struct compiler *c, struct ranges *ranges, uint32_t *ret_set)
{
	struct address_sets *sets = &c->addresses;
	struct address_set *set;
	uint8_t digest[32];
	uint32_t id;
	int r = ranges_digest(ranges, digest);

	if (r)
		return r;
	id = hash_index_find(&sets->by_digest, digest_head(digest), address_set_is, sets, digest);
	if (id == HASH_NONE) {
		id = (uint32_t)sets->count;
		set = array_add(&sets->items, &sets->count, sizeof(*set));
		if (!set || hash_index_add(&sets->by_digest, digest_head(digest), id))
			return -ENOMEM;
		set->ranges = *ranges;
		*ranges = (struct ranges){};
		memcpy(set->digest, digest, sizeof(digest));
	}
	*ret_set = id;
	return 0;
}

int address_set_add(struct compiler *c, const size_t *segments, size_t count, uint16_t tenant, uint32_t *ret_set)
{
	_cleanup_(ranges_done) struct ranges ranges = {};
	bool alone = count == 1 && policy_segment_in_tenant(c->policy, segments[0], tenant);
	uint32_t *cached = alone ? &c->addresses.of_segment[segments[0]] : NULL;
	int r;

	if (cached && *cached != SET_NONE) {
		*ret_set = *cached;
		return 0;
	}
	r = ranges_of_segments(c->policy, segments, count, tenant, &ranges);
	if (!r)
		r = ranges_intern(c, &ranges, ret_set);
	if (!r && cached)
		*cached = *ret_set;
	return r;
}

/* ---------------------------------------------------------------------- services */

static bool service_set_is(const void *sets, const void *digest, uint32_t i)
{
	return !memcmp(((const struct service_sets *)sets)->items[i].digest, digest, 32);
}

static int item_compare(const void *a, const void *b)
{
	const struct policy_item *x = a, *y = b;
	uint64_t left = (uint64_t)x->protocol << 32 | (uint64_t)x->source_first << 16 | x->source_last;
	uint64_t right = (uint64_t)y->protocol << 32 | (uint64_t)y->source_first << 16 | y->source_last;

	if (left != right)
		return left < right ? -1 : 1;
	return (int)x->dest_first - (int)y->dest_first;
}

static bool items_mergeable(const struct policy_item *a, const struct policy_item *b)
{
	return a->protocol == b->protocol && a->source_first == b->source_first && a->source_last == b->source_last &&
	       b->dest_first <= (uint32_t)a->dest_last + 1;
}

/* Sorts and merges touching destination ranges; returns the new count. */
static size_t items_normalise(struct policy_item *items, size_t count)
{
	size_t i, kept = 0;

	if (!count)
		return 0;
	qsort(items, count, sizeof(*items), item_compare);
	for (i = 1; i < count; i++) {
		if (items_mergeable(&items[kept], &items[i]))
			items[kept].dest_last = max(items[kept].dest_last, items[i].dest_last);
		else
			items[++kept] = items[i];
	}
	return kept + 1;
}

static int items_digest(const struct policy_item *items, size_t count, uint8_t ret_digest[32])
{
	_cleanup_(digest_freep) struct digest *d = digest_new();
	size_t i;

	if (!d)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		digest_number(d, items[i].protocol);
		digest_number(d, (uint64_t)items[i].dest_first << 48 | (uint64_t)items[i].dest_last << 32 |
					 (uint64_t)items[i].source_first << 16 | items[i].source_last);
	}
	return digest_finish(d, ret_digest);
}

/* All items of a rule's services in normal form; *ret_any: one of them is `any`. */
static int rule_items(const struct policy *p, const struct policy_rule *rule, struct policy_item **ret_items,
		      size_t *ret_count, bool *ret_any)
{
	_cleanup_free_ struct policy_item *items = NULL;
	const struct policy_service *s;
	struct policy_item *slot;
	size_t i, k, count = 0;
	bool any = false;

	for (i = 0; i < rule->n_services; i++) {
		s = &p->services[rule->services[i]];
		for (k = 0; k < s->n_items; k++) {
			slot = array_add(&items, &count, sizeof(*slot));
			if (!slot)
				return -ENOMEM;
			*slot = s->items[k];
			any |= slot->any_protocol;
		}
	}
	*ret_count = items_normalise(items, count);
	*ret_items = TAKE_PTR(items);
	*ret_any = any;
	return 0;
}

static int items_intern(struct compiler *c, struct policy_item **items, size_t count, uint32_t *ret_set)
{
	struct service_sets *sets = &c->services;
	struct service_set *set;
	uint8_t digest[32];
	uint32_t id;
	int r = items_digest(*items, count, digest);

	if (r)
		return r;
	id = hash_index_find(&sets->by_digest, digest_head(digest), service_set_is, sets, digest);
	if (id == HASH_NONE) {
		id = (uint32_t)sets->count;
		set = array_add(&sets->items, &sets->count, sizeof(*set));
		if (!set || hash_index_add(&sets->by_digest, digest_head(digest), id))
			return -ENOMEM;
		set->items = TAKE_PTR(*items);
		set->n_items = count;
		memcpy(set->digest, digest, sizeof(digest));
	}
	*ret_set = id;
	return 0;
}

int service_set_add(struct compiler *c, const struct policy_rule *rule, uint32_t *ret_set)
{
	uint32_t *cached = rule->n_services == 1 ? &c->services.of_service[rule->services[0]] : NULL;
	_cleanup_free_ struct policy_item *items = NULL;
	size_t count;
	bool any;
	int r;

	if (rule->any_service) {
		*ret_set = SET_ANY;
		return 0;
	}
	if (cached && *cached != SET_NONE) {
		*ret_set = *cached;
		return 0;
	}
	r = rule_items(c->policy, rule, &items, &count, &any);
	if (r)
		return r;
	*ret_set = SET_ANY;
	if (!any)
		r = items_intern(c, &items, count, ret_set);
	if (!r && cached)
		*cached = *ret_set;
	return r;
}
