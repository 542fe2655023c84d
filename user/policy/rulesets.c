// SPDX-License-Identifier: Apache-2.0
/*
 * Collections of rule sets, each the non-zero blocks of a bitmap. Filled by classes.c, intersected by verdicts.c: most
 * classes are named by few of many rules, so a set costs what it holds and not what the policy has.
 */
#include "policy/compile.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

static int blocks_reserve(struct compiler *c, struct rule_sets *s, size_t more)
{
	if (s->n_blocks + more > COMPILE_BLOCKS_MAX)
		return error_set(
			c->err, E2BIG,
			"too many combinations of rules: over %u blocks of 64; name fewer distinct sets of addresses",
			COMPILE_BLOCKS_MAX);
	/* One more, so that even an empty set has a place to point to. */
	return array_reserve(&s->blocks, &s->blocks_capacity, s->n_blocks, more + 1, sizeof(*s->blocks));
}

static int span_add(struct rule_sets *s, size_t first)
{
	struct rule_span *span = array_add(&s->sets, &s->count, sizeof(*span));

	if (!span)
		return -ENOMEM;
	*span = (struct rule_span){first, s->n_blocks - first};
	return 0;
}

int rule_sets_add(struct compiler *c, struct rule_sets *s, const uint64_t *bitmap, size_t n)
{
	size_t i, used = 0, first = s->n_blocks;
	int r;

	for (i = 0; i < n; i++)
		used += bitmap[i] != 0;
	r = blocks_reserve(c, s, used);
	if (r)
		return r;
	for (i = 0; i < n; i++) {
		if (bitmap[i])
			s->blocks[s->n_blocks++] = (struct rule_block){(uint32_t)i, bitmap[i]};
	}
	return span_add(s, first);
}

int rule_sets_add_blocks(struct compiler *c, struct rule_sets *s, const struct rule_block *blocks, size_t count)
{
	size_t i, first = s->n_blocks;
	int r = blocks_reserve(c, s, count);

	if (r)
		return r;
	for (i = 0; i < count; i++)
		s->blocks[s->n_blocks++] = blocks[i];
	return span_add(s, first);
}

void rule_sets_done(struct rule_sets *s)
{
	free(s->blocks);
	free(s->sets);
	*s = (struct rule_sets){};
}
