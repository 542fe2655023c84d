// SPDX-License-Identifier: Apache-2.0
/*
 * Regions, and the fewest prefixes that say the same as a few intervals: ORTC (Draves, King, Venkatachary and Zill,
 * "Constructing Optimal IP Routing Tables", 1999) over the binary trie of the region, in which stretches with one class
 * beside them are one node. Called by lines.c.
 *
 * From the leaves upwards each node gets the classes that are best to be inherited below it: what both halves would
 * have, or else what either would. From the top downwards a prefix is needed where what is inherited is not among them.
 */
#include "policy/region.h"

#include <string.h>

#include "base/util.h"

#define INTERVALS_MOST (2 * SLUICE_MATCH_PREFIXES + 1) /* more cannot come of so many prefixes */
#define NODES_MOST     512
#define BITS_MOST      (2 * SLUICE_MATCH_BITS) /* of a prefix, beyond the region's */

static address_t region_last(const struct region *r)
{
	return r->bits == 128 ? ADDRESS_MAX6 : r->first + (((address_t)1 << r->bits) - 1);
}

/* The interval from low to high that `at` lies in. */
static size_t interval_at(const struct interval *intervals, size_t low, size_t high, address_t at)
{
	size_t middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (intervals[middle].last < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void region_narrow(const struct interval *intervals, struct region *r)
{
	r->low = interval_at(intervals, r->low, r->high, r->first);
	r->high = interval_at(intervals, r->low, r->high, region_last(r));
}

static unsigned int bits_of(address_t x)
{
	uint64_t high = (uint64_t)(x >> 64), low = (uint64_t)x;

	if (high)
		return 128 - (unsigned int)__builtin_clzll(high);
	return low ? 64 - (unsigned int)__builtin_clzll(low) : 0;
}

bool region_core(const struct interval *intervals, const struct region *r, unsigned int longer,
		 struct region *ret_core)
{
	address_t first = interval_first(intervals, r->low + 1), last = intervals[r->high - 1].last;
	struct region core = {.low = r->low, .high = r->high};

	if (intervals[r->low].class != intervals[r->high].class)
		return false;
	core.bits = bits_of(first ^ last);
	if (core.bits + longer < r->bits)
		core.bits = r->bits - longer;
	if (core.bits == r->bits)
		return false;
	core.first = first >> core.bits << core.bits;
	region_narrow(intervals, &core);
	*ret_core = core;
	return true;
}

/* --------------------------------------------------------------------------- cover */

/*
 * A node without children is uniform. With one, it has one class but for a block somewhere in it, the child. With two, they
 * are its halves.
 */
struct node {
	struct region region;
	unsigned int n_children;
	unsigned int child[2];
	size_t n_classes;
	uint32_t classes[INTERVALS_MOST];
};

struct tree {
	const struct interval *intervals;
	const struct region *top;
	struct cover *cover;
	bool failed;
	unsigned int n_nodes;
	struct node nodes[NODES_MOST];
};

static bool node_has(const struct node *n, uint32_t class)
{
	size_t i;

	for (i = 0; i < n->n_classes; i++) {
		if (n->classes[i] == class)
			return true;
	}
	return false;
}

static void classes_merge(struct node *n, const struct node *a, const struct node *b)
{
	size_t i;

	for (i = 0; i < a->n_classes; i++) {
		if (node_has(b, a->classes[i]))
			n->classes[n->n_classes++] = a->classes[i];
	}
	if (n->n_classes)
		return;
	memcpy(n->classes, a->classes, a->n_classes * sizeof(*a->classes));
	memcpy(n->classes + a->n_classes, b->classes, b->n_classes * sizeof(*b->classes));
	n->n_classes = a->n_classes + b->n_classes;
}

static unsigned int node_build(struct tree *t, const struct region *r);

static void halves_build(struct tree *t, struct node *n)
{
	struct region half = n->region;
	unsigned int i;

	half.bits--;
	n->n_children = 2;
	for (i = 0; i < 2; i++) {
		half.first = n->region.first + ((address_t)i << half.bits);
		half.low = n->region.low;
		half.high = n->region.high;
		region_narrow(t->intervals, &half);
		n->child[i] = node_build(t, &half);
	}
	if (!t->failed)
		classes_merge(n, &t->nodes[n->child[0]], &t->nodes[n->child[1]]);
}

/* The number of the region's node; any if t->failed. */
static unsigned int node_build(struct tree *t, const struct region *r)
{
	unsigned int number = t->n_nodes, depth = t->top->bits - r->bits;
	struct node *n = &t->nodes[number];
	struct region core;

	if (t->failed || number == NODES_MOST) {
		t->failed = true;
		return 0;
	}
	t->n_nodes++;
	*n = (struct node){.region = *r, .n_classes = 1, .classes[0] = t->intervals[r->low].class};
	if (r->low == r->high)
		return number;
	if (depth == BITS_MOST) {
		t->failed = true;
	} else if (region_core(t->intervals, r, BITS_MOST - depth, &core) && r->bits - core.bits > 1) {
		n->n_children = 1;
		n->child[0] = node_build(t, &core);
	} else {
		n->n_classes = 0;
		halves_build(t, n);
	}
	return number;
}

/* Interval `low` of the prefix is one of the class. What else is in it, longer prefixes say, which stand before it. */
static void prefix_add(struct tree *t, const struct region *r, uint32_t class)
{
	struct region *prefix = &t->cover->prefix[t->cover->count];

	if (t->cover->count == SLUICE_MATCH_PREFIXES) {
		t->failed = true;
		return;
	}
	t->cover->count++;
	*prefix = *r;
	while (t->intervals[prefix->low].class != class)
		prefix->low++;
}

static void node_emit(struct tree *t, const struct node *n, uint32_t inherited)
{
	uint32_t class = node_has(n, inherited) ? inherited : n->classes[0];
	unsigned int i;

	for (i = 0; i < n->n_children && !t->failed; i++)
		node_emit(t, &t->nodes[n->child[i]], class);
	if (class != inherited && !t->failed)
		prefix_add(t, &n->region, class);
}

static bool tree_cover(struct tree *t, const struct interval *intervals, const struct region *r,
		       struct cover *ret_cover)
{
	t->intervals = intervals;
	t->top = r;
	t->cover = ret_cover;
	t->failed = false;
	t->n_nodes = 0;
	node_build(t, r);
	if (t->failed)
		return false;
	*ret_cover = (struct cover){.other = t->nodes[0].classes[0]};
	node_emit(t, &t->nodes[0], ret_cover->other);
	return !t->failed;
}

/* Moves the long prefixes before the others, which lie around them or elsewhere. False: there are too many. */
static bool cover_sort(const struct region *r, struct cover *cover)
{
	struct region moved;
	size_t i, n = 0;

	for (i = 0; i < cover->count; i++) {
		if (r->bits - cover->prefix[i].bits <= SLUICE_MATCH_BITS)
			continue;
		moved = cover->prefix[i];
		memmove(&cover->prefix[n + 1], &cover->prefix[n], (i - n) * sizeof(moved));
		cover->prefix[n++] = moved;
	}
	return n <= SLUICE_MATCH_TAILS;
}

bool cover_find(const struct interval *intervals, const struct region *r, struct cover *ret_cover)
{
	struct cover cover;
	struct tree t; /* large: only what is used is set */

	if (r->high - r->low + 1 > INTERVALS_MOST)
		return false;
	if (r->low == r->high)
		cover = (struct cover){.other = intervals[r->low].class};
	else if (!tree_cover(&t, intervals, r, &cover) || !cover_sort(r, &cover))
		return false;
	*ret_cover = cover;
	return true;
}
