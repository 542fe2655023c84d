// SPDX-License-Identifier: Apache-2.0
/*
 * Prefixes → sorted disjoint ranges. Called by the compiler for every set of addresses that a rule or an antispoof list
 * names, and by the checks. Two sets with the same addresses always have the same ranges, however they were written.
 */
#include "policy/ranges.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "policy/array.h"

address_t address_number(const uint8_t addr[16])
{
	address_t number = 0;
	size_t i;

	for (i = policy_address_is_ipv4(addr) ? 12 : 0; i < 16; i++)
		number = number << 8 | addr[i];
	return number;
}

static struct range prefix_range(const struct policy_prefix *prefix)
{
	unsigned int host = (prefix->ipv4 ? 32u : 128u) - prefix->length;
	struct range range = {.first = 0};
	size_t i;

	for (i = prefix->ipv4 ? 12 : 0; i < 16; i++)
		range.first = range.first << 8 | prefix->addr[i];
	range.last = host == 128 ? ADDRESS_MAX6 : range.first | (((address_t)1 << host) - 1);
	return range;
}

static int range_add(struct range_list *list, struct range range)
{
	if (array_reserve(&list->items, &list->capacity, list->count, 1, sizeof(range)))
		return -ENOMEM;
	list->items[list->count++] = range;
	return 0;
}

static int range_compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorts and merges what overlaps or touches. */
static void list_normalise(struct range_list *list)
{
	struct range *kept = list->items;
	size_t i;

	if (!list->count)
		return;
	qsort(list->items, list->count, sizeof(*list->items), range_compare);
	for (i = 1; i < list->count; i++) {
		if (list->items[i].first <= kept->last || list->items[i].first - kept->last == 1)
			kept->last = max(kept->last, list->items[i].last);
		else
			*++kept = list->items[i];
	}
	list->count = (size_t)(kept - list->items) + 1;
}

/* *ret += include − except, both in normal form. */
static int list_subtract(const struct range_list *include, const struct range_list *except, struct range_list *ret)
{
	size_t i, k = 0;
	struct range left;
	bool gone;

	for (i = 0; i < include->count; i++) {
		left = include->items[i];
		gone = false;
		while (k < except->count && except->items[k].last < left.first)
			k++;
		for (; k < except->count && except->items[k].first <= left.last; k++) {
			if (except->items[k].first > left.first &&
			    range_add(ret, (struct range){left.first, except->items[k].first - 1}))
				return -ENOMEM;
			gone = except->items[k].last >= left.last;
			if (gone)
				break;
			left.first = except->items[k].last + 1;
		}
		if (!gone && range_add(ret, left))
			return -ENOMEM;
	}
	return 0;
}

static int prefixes_add(const struct policy_prefix *prefixes, size_t count, struct ranges *ranges)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (range_add(prefixes[i].ipv4 ? &ranges->v4 : &ranges->v6, prefix_range(&prefixes[i])))
			return -ENOMEM;
	}
	return 0;
}

static void ranges_normalise(struct ranges *ranges)
{
	list_normalise(&ranges->v4);
	list_normalise(&ranges->v6);
}

/* Adds include − except of one segment, without its members. */
static int segment_own_add(const struct policy_segment *s, struct ranges *ranges)
{
	struct ranges include = {}, except = {};
	int r;

	if (!s->n_except)
		return prefixes_add(s->include, s->n_include, ranges);
	r = prefixes_add(s->include, s->n_include, &include);
	if (!r)
		r = prefixes_add(s->except, s->n_except, &except);
	ranges_normalise(&include);
	ranges_normalise(&except);
	if (!r)
		r = list_subtract(&include.v4, &except.v4, &ranges->v4);
	if (!r)
		r = list_subtract(&include.v6, &except.v6, &ranges->v6);
	ranges_done(&include);
	ranges_done(&except);
	return r;
}

static int segment_add(const struct policy *p, size_t segment, struct ranges *ranges)
{
	const struct policy_segment *s = &p->segments[segment];
	int r = segment_own_add(s, ranges);
	size_t i;

	for (i = 0; i < s->n_members && !r; i++)
		r = segment_own_add(&p->segments[s->members[i]], ranges);
	return r;
}

int ranges_of_segment(const struct policy *p, size_t segment, struct ranges *ranges)
{
	int r = segment_add(p, segment, ranges);

	ranges_normalise(ranges);
	return r;
}

int ranges_of_segments(const struct policy *p, const size_t *segments, size_t count, uint16_t tenant,
		       struct ranges *ranges)
{
	size_t i;
	int r = 0;

	for (i = 0; i < count && !r; i++) {
		if (policy_segment_in_tenant(p, segments[i], tenant))
			r = segment_add(p, segments[i], ranges);
	}
	ranges_normalise(ranges);
	return r;
}

void ranges_done(struct ranges *ranges)
{
	free(ranges->v4.items);
	free(ranges->v6.items);
	*ranges = (struct ranges){};
}

static bool list_covers(const struct range_list *outer, const struct range_list *inner)
{
	size_t i, k = 0;

	for (i = 0; i < inner->count; i++) {
		while (k < outer->count && outer->items[k].last < inner->items[i].first)
			k++;
		if (k == outer->count || outer->items[k].first > inner->items[i].first ||
		    outer->items[k].last < inner->items[i].last)
			return false;
	}
	return true;
}

bool ranges_cover(const struct ranges *outer, const struct ranges *inner)
{
	return list_covers(&outer->v4, &inner->v4) && list_covers(&outer->v6, &inner->v6);
}
