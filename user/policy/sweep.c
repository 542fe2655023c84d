// SPDX-License-Identifier: Apache-2.0
/*
 * The sweep line: ranges of numbered elements → consecutive intervals on which the set of elements does not change.
 * Called with addresses by classes.c and with ports by services.c. O(n log n) in the ranges, whatever they overlap.
 */
#include "policy/compile.h"

#include <errno.h>
#include <stdlib.h>

static int edge_add(struct sweep *s, address_t at, uint32_t element, bool on)
{
	if (array_reserve(&s->edges, &s->capacity, s->count, 1, sizeof(*s->edges)))
		return -ENOMEM;
	s->edges[s->count++] = (struct sweep_edge){at, element, on};
	return 0;
}

int sweep_add(struct sweep *s, uint32_t element, struct range range)
{
	int r = edge_add(s, range.first, element, true);

	/* A range that reaches the last address never ends. */
	if (r || range.last == ADDRESS_MAX6)
		return r;
	return edge_add(s, range.last + 1, element, false);
}

/* At one place, ends come before beginnings, so that two touching ranges of one element leave it on. */
static int edge_compare(const void *a, const void *b)
{
	const struct sweep_edge *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	if (x->on != y->on)
		return x->on < y->on ? -1 : 1;
	return x->element < y->element ? -1 : x->element > y->element;
}

int sweep_run(struct sweep *s, address_t last, const struct sweep_ops *ops, void *arg)
{
	address_t first = 0;
	size_t i;
	int r;

	if (s->count)
		qsort(s->edges, s->count, sizeof(*s->edges), edge_compare);
	for (i = 0; i < s->count && s->edges[i].at <= last; i++) {
		if (s->edges[i].at != first) {
			r = ops->interval(arg, first, s->edges[i].at - 1);
			if (r)
				return r;
			first = s->edges[i].at;
		}
		ops->toggle(arg, s->edges[i].element, s->edges[i].on);
	}
	return ops->interval(arg, first, last);
}

void sweep_done(struct sweep *s)
{
	free(s->edges);
	*s = (struct sweep){};
}

int active_begin(struct active *a, size_t elements)
{
	a->members = calloc(elements + 1, sizeof(*a->members));
	a->position = calloc(elements + 1, sizeof(*a->position));
	return a->members && a->position ? 0 : -ENOMEM;
}

void active_toggle(struct active *a, uint32_t element, bool on)
{
	uint32_t last;

	if (on) {
		a->position[element] = a->count;
		a->members[a->count++] = element;
		fingerprint_add(&a->fingerprint, element);
		return;
	}
	last = a->members[--a->count];
	a->members[a->position[element]] = last;
	a->position[last] = a->position[element];
	fingerprint_remove(&a->fingerprint, element);
}

void active_done(struct active *a)
{
	free(a->members);
	free(a->position);
	*a = (struct active){};
}
