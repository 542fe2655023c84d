// SPDX-License-Identifier: Apache-2.0
/*
 * Sets of boxes and which of them contain which; see cover.h. Called by shadow.c. A set that contains another has a box
 * over the first point of the other's first box, so only the sets found there, by a tree over all boxes, are compared.
 */
#include "policy/cover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static uint64_t boxes_hash(const struct box *boxes, size_t count)
{
	uint64_t hash = hash_mix(count);
	size_t i;

	for (i = 0; i < count; i++) {
		hash = hash_mix(hash ^ (uint64_t)boxes[i].first);
		hash = hash_mix(hash ^ (uint64_t)(boxes[i].first >> 64) ^ (uint64_t)boxes[i].last);
		hash = hash_mix(hash ^ (uint64_t)(boxes[i].last >> 64));
		hash = hash_mix(hash ^ ((uint64_t)boxes[i].low << 32 | boxes[i].high));
	}
	return hash;
}

static bool box_equal(const struct box *a, const struct box *b)
{
	return a->first == b->first && a->last == b->last && a->low == b->low && a->high == b->high;
}

static bool box_contains(const struct box *outer, const struct box *inner)
{
	return outer->first <= inner->first && inner->last <= outer->last && outer->low <= inner->low &&
	       inner->high <= outer->high;
}

struct boxes {
	const struct box *items;
	size_t count;
};

static bool set_is(const void *space, const void *key, uint32_t i)
{
	const struct cover_space *s = space;
	const struct boxes *boxes = key;
	size_t k;

	if (s->sets[i].count != boxes->count)
		return false;
	for (k = 0; k < boxes->count; k++) {
		if (!box_equal(&s->boxes[s->sets[i].first + k], &boxes->items[k]))
			return false;
	}
	return true;
}

int cover_space_intern(struct cover_space *s, const struct box *boxes, size_t count, uint32_t *ret_set)
{
	const struct boxes key = {boxes, count};
	uint64_t hash = boxes_hash(boxes, count);
	uint32_t id = hash_index_find(&s->index, hash, set_is, s, &key);
	struct box_span *span;

	if (id == HASH_NONE) {
		id = (uint32_t)s->n_sets;
		if (array_reserve(&s->boxes, &s->boxes_capacity, s->n_boxes, count, sizeof(*boxes)) ||
		    hash_index_add(&s->index, hash, id))
			return -ENOMEM;
		span = array_add(&s->sets, &s->n_sets, sizeof(*span));
		if (!span)
			return -ENOMEM;
		*span = (struct box_span){s->n_boxes, count};
		memcpy(s->boxes + s->n_boxes, boxes, count * sizeof(*boxes));
		s->n_boxes += count;
	}
	*ret_set = id;
	return 0;
}

void cover_space_done(struct cover_space *s)
{
	hash_index_done(&s->index);
	free(s->boxes);
	free(s->sets);
	free(s->covers);
	free(s->covers_first);
	*s = (struct cover_space){};
}

/* --------------------------------------------------------------------- the tree */

/* All boxes of a space by `first`, under a complete binary tree of the largest `last` below each node. */
struct tree {
	struct tree_box {
		struct box box;
		uint32_t set;
	} * boxes;
	size_t count;
	address_t *largest; /* node 1 is the root, node `width` + i is box i */
	size_t width;	    /* power of two */
};

static void tree_done(struct tree *t)
{
	free(t->boxes);
	free(t->largest);
}

static int tree_box_compare(const void *a, const void *b)
{
	const struct tree_box *x = a, *y = b;

	return x->box.first < y->box.first ? -1 : x->box.first > y->box.first;
}

static int tree_build(const struct cover_space *s, struct tree *t)
{
	size_t i, k;

	for (t->width = 1; t->width < s->n_boxes; t->width *= 2)
		;
	t->boxes = calloc(s->n_boxes + 1, sizeof(*t->boxes));
	t->largest = calloc(2 * t->width, sizeof(*t->largest));
	if (!t->boxes || !t->largest)
		return -ENOMEM;
	for (i = 0; i < s->n_sets; i++) {
		for (k = 0; k < s->sets[i].count; k++)
			t->boxes[t->count++] = (struct tree_box){s->boxes[s->sets[i].first + k], (uint32_t)i};
	}
	qsort(t->boxes, t->count, sizeof(*t->boxes), tree_box_compare);
	for (i = 0; i < t->count; i++)
		t->largest[t->width + i] = t->boxes[i].box.last;
	for (i = t->width - 1; i; i--)
		t->largest[i] = max(t->largest[2 * i], t->largest[2 * i + 1]);
	return 0;
}

/* How many boxes begin at or before `at`. */
static size_t tree_begun(const struct tree *t, address_t at)
{
	size_t low = 0, high = t->count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (t->boxes[middle].box.first <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* -------------------------------------------------------------------- relations */

struct relating {
	struct cover_space *space;
	struct tree tree;
	struct work *work;
	const struct box *inner; /* of the set that is asked about */
	size_t n_inner;
	size_t begun;
	int failed;
};

/* Whether some box of set `outer` contains the box. */
static bool set_contains_box(const struct cover_space *s, uint32_t outer, const struct box *box)
{
	const struct box *boxes = &s->boxes[s->sets[outer].first];
	size_t low = 0, high = s->sets[outer].count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (boxes[middle].first <= box->first)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low; low--) {
		if (box_contains(&boxes[low - 1], box))
			return true;
		if (s->disjoint)
			return false;
	}
	return false;
}

/* `box` is of set `outer` and lies over the first point of the inner set. */
static void candidate_try(struct relating *r, const struct box *box, uint32_t outer)
{
	struct cover_space *s = r->space;
	size_t i;

	work_take(r->work, 1);
	if (!box_contains(box, r->inner))
		return;
	for (i = 1; i < r->n_inner; i++) {
		work_take(r->work, 4);
		if (!set_contains_box(s, outer, &r->inner[i]))
			return;
	}
	if (array_reserve(&s->covers, &s->covers_capacity, s->n_covers, 1, sizeof(*s->covers))) {
		r->failed = -ENOMEM;
		return;
	}
	s->covers[s->n_covers++] = outer;
}

/* Visits the boxes below a node, which stands for `span` boxes from `first` on, that reach over the inner box. */
static void node_visit(struct relating *r, size_t node, size_t first, size_t span)
{
	if (first >= r->begun || r->tree.largest[node] < r->inner->last || !r->work->left || r->failed)
		return;
	if (span == 1) {
		candidate_try(r, &r->tree.boxes[first].box, r->tree.boxes[first].set);
		return;
	}
	node_visit(r, 2 * node, first, span / 2);
	node_visit(r, 2 * node + 1, first + span / 2, span / 2);
}

static void set_relate(struct relating *r, uint32_t set)
{
	struct cover_space *s = r->space;
	size_t before = s->n_covers;

	r->inner = &s->boxes[s->sets[set].first];
	r->n_inner = s->sets[set].count;
	r->begun = tree_begun(&r->tree, r->inner->first);
	if (r->work->left)
		node_visit(r, 1, 0, r->tree.width);
	if (r->work->left || r->failed)
		return;
	s->n_covers = before;
	if (array_reserve(&s->covers, &s->covers_capacity, s->n_covers, 1, sizeof(*s->covers)))
		r->failed = -ENOMEM;
	else
		s->covers[s->n_covers++] = set;
}

int cover_space_relate(struct cover_space *s, struct work *work)
{
	struct relating r = {.space = s, .work = work};
	uint32_t i;

	s->covers_first = calloc(s->n_sets + 1, sizeof(*s->covers_first));
	r.failed = s->covers_first ? tree_build(s, &r.tree) : -ENOMEM;
	for (i = 0; i < s->n_sets && !r.failed; i++) {
		set_relate(&r, i);
		s->covers_first[i + 1] = s->n_covers;
	}
	tree_done(&r.tree);
	return r.failed;
}
