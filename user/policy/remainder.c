// SPDX-License-Identifier: Apache-2.0
/*
 * What is left of a rule when the rules before it have taken theirs: exact set arithmetic on products of box sets.
 * Called by shadow.c for small policies, for rules that no single earlier rule covers. Everything lives in one arena of
 * fixed size; a question that does not fit is answered "something may be left".
 */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "policy/model.h"
#include "policy/shadow.h"

#define ARENA_BOXES 16384
#define PIECES_MAX  128
#define SET_MAX	    256		/* boxes of a set; a rule with a larger one is let be */
#define STEPS_MAX   (64u << 20) /* pairs of boxes that one policy may cost */

struct box_set {
	const struct box *boxes;
	size_t count;
};

enum { FROM, TO, SERVICE, DIMENSIONS };

struct piece {
	struct box_set in[DIMENSIONS];
};

struct remainder {
	struct box arena[ARENA_BOXES];
	size_t used;
	bool full; /* the arena, or the pieces */
	struct work work;
	struct piece pieces[PIECES_MAX];
	size_t n_pieces;
};

struct remainder *remainder_new(void)
{
	struct remainder *r = malloc(sizeof(*r));

	if (r)
		r->work.left = STEPS_MAX;
	return r;
}

void remainder_free(struct remainder *r)
{
	free(r);
}

int takers_add(struct takers *t, uint32_t rule)
{
	uint32_t *slot;
	size_t i;

	for (i = 0; i < t->count; i++) {
		if (t->items[i] == rule)
			return 0;
	}
	slot = array_add(&t->items, &t->count, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = rule;
	return 0;
}

/* --------------------------------------------------------------------- box sets */

static bool boxes_meet(const struct box *a, const struct box *b)
{
	return a->first <= b->last && b->first <= a->last && a->low <= b->high && b->low <= a->high;
}

static bool sets_meet(const struct box_set *a, const struct box_set *b)
{
	size_t i, k;

	for (i = 0; i < a->count; i++) {
		for (k = 0; k < b->count; k++) {
			if (boxes_meet(&a->boxes[i], &b->boxes[k]))
				return true;
		}
	}
	return false;
}

static void box_put(struct remainder *r, struct box box)
{
	if (r->used == ARENA_BOXES)
		r->full = true;
	else
		r->arena[r->used++] = box;
}

static struct box_set set_since(const struct remainder *r, size_t begin)
{
	return (struct box_set){r->arena + begin, r->used - begin};
}

static struct box_set sets_intersect(struct remainder *r, const struct box_set *a, const struct box_set *b)
{
	size_t i, k, begin = r->used;

	for (i = 0; i < a->count; i++) {
		for (k = 0; k < b->count; k++) {
			const struct box *x = &a->boxes[i], *y = &b->boxes[k];

			if (boxes_meet(x, y))
				box_put(r, (struct box){max(x->first, y->first), min(x->last, y->last),
							max(x->low, y->low), min(x->high, y->high)});
		}
	}
	return set_since(r, begin);
}

/* Up to four boxes: beside `y` on both sides, then above and below it. */
static void box_subtract(struct remainder *r, struct box x, const struct box *y)
{
	if (x.first < y->first) {
		box_put(r, (struct box){x.first, y->first - 1, x.low, x.high});
		x.first = y->first;
	}
	if (x.last > y->last) {
		box_put(r, (struct box){y->last + 1, x.last, x.low, x.high});
		x.last = y->last;
	}
	if (x.low < y->low)
		box_put(r, (struct box){x.first, x.last, x.low, y->low - 1});
	if (x.high > y->high)
		box_put(r, (struct box){x.first, x.last, y->high + 1, x.high});
}

static struct box_set sets_subtract(struct remainder *r, struct box_set a, const struct box_set *b)
{
	size_t i, k, begin;

	for (k = 0; k < b->count && !r->full; k++) {
		if (!sets_meet(&a, &(struct box_set){&b->boxes[k], 1}))
			continue;
		begin = r->used;
		for (i = 0; i < a.count; i++) {
			if (boxes_meet(&a.boxes[i], &b->boxes[k]))
				box_subtract(r, a.boxes[i], &b->boxes[k]);
			else
				box_put(r, a.boxes[i]);
		}
		a = set_since(r, begin);
	}
	return a;
}

/* ----------------------------------------------------------------------- pieces */

static struct box_set set_of(const struct cover_space *space, uint32_t set)
{
	return (struct box_set){&space->boxes[space->sets[set].first], space->sets[set].count};
}

static struct piece instance_piece(const struct shadow *s, const struct instance *in, unsigned int family)
{
	return (struct piece){{[FROM] = set_of(&s->addresses[family], in->from[family]),
			       [TO] = set_of(&s->addresses[family], in->to[family]),
			       [SERVICE] = set_of(&s->services, s->service[in->rule])}};
}

static void piece_put(struct remainder *r, struct piece piece)
{
	if (!piece.in[FROM].count || !piece.in[TO].count || !piece.in[SERVICE].count)
		return;
	if (r->n_pieces == PIECES_MAX)
		r->full = true;
	else
		r->pieces[r->n_pieces++] = piece;
}

static bool pieces_meet(struct remainder *r, const struct piece *a, const struct piece *b)
{
	size_t d;

	for (d = 0; d < DIMENSIONS; d++)
		work_take(&r->work, a->in[d].count * b->in[d].count);
	return r->work.left && sets_meet(&a->in[FROM], &b->in[FROM]) && sets_meet(&a->in[TO], &b->in[TO]) &&
	       sets_meet(&a->in[SERVICE], &b->in[SERVICE]);
}

/* x − y: the part beside y in the first dimension, then, of the part within, beside it in the next, and so on. */
static void piece_subtract(struct remainder *r, struct piece x, const struct piece *y)
{
	struct piece beside;
	size_t d;

	for (d = 0; d < DIMENSIONS && !r->full; d++) {
		beside = x;
		beside.in[d] = sets_subtract(r, x.in[d], &y->in[d]);
		piece_put(r, beside);
		x.in[d] = sets_intersect(r, &x.in[d], &y->in[d]);
	}
}

/* Takes `y` from every piece; whether it took anything. */
static bool taken(struct remainder *r, const struct piece *y)
{
	size_t i, kept = 0, count = r->n_pieces;
	bool any = false;

	for (i = 0; i < count && !r->full; i++) {
		if (!pieces_meet(r, &r->pieces[i], y)) {
			r->pieces[kept++] = r->pieces[i];
			continue;
		}
		any = true;
		piece_subtract(r, r->pieces[i], y);
	}
	for (i = count; i < r->n_pieces; i++)
		r->pieces[kept++] = r->pieces[i];
	r->n_pieces = kept;
	return any;
}

static bool piece_small(const struct piece *piece)
{
	return piece->in[FROM].count <= SET_MAX && piece->in[TO].count <= SET_MAX &&
	       piece->in[SERVICE].count <= SET_MAX;
}

static bool instance_before_takes(const struct shadow *s, const struct instance *before, const struct instance *in,
				  unsigned int family)
{
	return !s->policy->rules[before->rule].audit && s->service[before->rule] != SHADOW_NONE &&
	       (before->tenant == in->tenant || before->tenant == s->all_tenants) &&
	       before->from[family] != SHADOW_NONE && before->to[family] != SHADOW_NONE;
}

bool remainder_is_empty(struct remainder *r, const struct shadow *s, const struct instance *in, unsigned int family,
			struct takers *takers)
{
	size_t k, end = s->first_instance[in->rule];
	struct piece piece;

	r->used = 0;
	r->full = false;
	r->n_pieces = 0;
	piece = instance_piece(s, in, family);
	if (!piece_small(&piece))
		return false;
	piece_put(r, piece);
	for (k = 0; k < end && r->n_pieces && !r->full && r->work.left; k++) {
		if (!instance_before_takes(s, &s->instances[k], in, family))
			continue;
		piece = instance_piece(s, &s->instances[k], family);
		if (piece_small(&piece) && taken(r, &piece) && takers_add(takers, s->instances[k].rule))
			return false;
	}
	return !r->n_pieces && !r->full;
}
