// SPDX-License-Identifier: Apache-2.0
/* Lists of numbers, packed: classes and the elements that make them up, both ways round. Used by classes.c, decide.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile.h"

int lists_add(struct compiler *c, struct lists *l, const uint32_t *members, size_t count)
{
	struct list_span *span;

	if (l->n_members + count > COMPILE_MEMBERS_MAX)
		return error_set(c->err, E2BIG,
				 "segments overlap too much: address classes have over %u members in all; name fewer "
				 "segments that contain the same addresses",
				 COMPILE_MEMBERS_MAX);
	/* One more, so that even an empty list has a place to point to. */
	if (array_reserve(&l->members, &l->members_capacity, l->n_members, count + 1, sizeof(*l->members)))
		return -ENOMEM;
	span = array_add(&l->spans, &l->count, sizeof(*span));
	if (!span)
		return -ENOMEM;
	*span = (struct list_span){l->n_members, count};
	if (count)
		memcpy(l->members + l->n_members, members, count * sizeof(*members));
	l->n_members += count;
	return 0;
}

/* Counts, then places. */
int lists_invert(const struct lists *l, size_t members, struct lists *ret_inverse)
{
	struct lists inverse = {.count = members, .n_members = l->n_members};
	const struct list_span *span;
	size_t i, k;

	inverse.members = calloc(l->n_members + 1, sizeof(*inverse.members));
	inverse.spans = calloc(members + 1, sizeof(*inverse.spans));
	if (!inverse.members || !inverse.spans) {
		lists_done(&inverse);
		return -ENOMEM;
	}
	for (i = 0; i < l->n_members; i++)
		inverse.spans[l->members[i] + 1].first++; /* becomes the place of the next list */
	for (i = 0; i < members; i++)
		inverse.spans[i + 1].first += inverse.spans[i].first;
	for (i = 0; i < l->count; i++) {
		span = &l->spans[i];
		for (k = span->first; k < span->first + span->count; k++) {
			struct list_span *to = &inverse.spans[l->members[k]];

			inverse.members[to->first + to->count++] = (uint32_t)i;
		}
	}
	*ret_inverse = inverse;
	return 0;
}

void lists_done(struct lists *l)
{
	free(l->members);
	free(l->spans);
	*l = (struct lists){};
}
