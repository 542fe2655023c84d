// SPDX-License-Identifier: Apache-2.0
/*
 * Intervals of addresses → the trie of cache lines that abi.h, "Addresses" describes. Called by classes.c once a tenant
 * and family.
 *
 * What a lookup costs is the cold lines that it reads, so a line takes all that fits into it: some fifteen intervals of
 * the last 15 bits, or four prefixes. Before them stands a branch as wide as makes most of them fit, so that the way to
 * one of 1,000,000 prefixes is a word of the first branch and one line. Where a lot fits nowhere else, branches follow.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "policy/compile.h"
#include "policy/region.h"

/* Intervals that a branch leaves to each of its children, at least: what then still fits into a line. */
#define FILL_LIST  10
#define FILL_MATCH 6

#define LISTS_MOST   (SLUICE_LIST_EDGES << SLUICE_LINE_GROUP)
#define MATCHES_MOST (2 * SLUICE_MATCH_PREFIXES << SLUICE_LINE_GROUP)
_Static_assert(MATCHES_MOST <= LISTS_MOST, "more intervals than in the longest list are looked at no further");

struct builder {
	struct compiler *compiler;
	const struct interval *intervals;
	int failed;
};

static uint32_t region_build(struct builder *b, const struct region *r);

/* Adds a node of whole lines, and says which child word leads to it. */
static uint32_t node_add(struct builder *b, unsigned int kind, size_t lines, size_t *ret_first)
{
	size_t line = 0;

	if (!b->failed)
		b->failed = lines_add(b->compiler, lines, &line);
	*ret_first = line * SLUICE_LINE_WORDS;
	return SLUICE_TRIE_CHILD | kind << SLUICE_TRIE_STRIDE | (uint32_t)line;
}

/* ------------------------------------------------------------------------- groups */

/* Part i of 2^bits. */
static struct region region_part(const struct builder *b, const struct region *r, unsigned int bits, size_t i)
{
	struct region part = {.bits = r->bits - bits, .low = r->low, .high = r->high};

	part.first = r->first + (part.bits < 128 ? (address_t)i << part.bits : 0); /* all of IPv6 is its only part */
	region_narrow(b->intervals, &part);
	return part;
}

static bool classes_are_short(const struct builder *b, const struct region *r)
{
	size_t i;

	for (i = r->low; i <= r->high; i++) {
		if (b->intervals[i].class > UINT16_MAX)
			return false;
	}
	return true;
}

/* -------------------------------------------------------------------------- lists */

static bool list_fits(const struct builder *b, const struct region *r, unsigned int group)
{
	struct region part;
	size_t i;

	for (i = 0; i < (size_t)1 << group; i++) {
		part = region_part(b, r, group, i);
		if (part.high - part.low > SLUICE_LIST_EDGES)
			return false;
	}
	return true;
}

static void list_fill(const struct builder *b, const struct region *r, struct sluice_line_list *ret)
{
	size_t i, at = r->low + 1;
	uint64_t edge;

	for (i = 0; i < 4 * ARRAY_SIZE(ret->edges); i++, at++) {
		edge = SLUICE_NO_EDGE;
		if (at <= r->high)
			edge = (uint64_t)(interval_first(b->intervals, at) - r->first) << (SLUICE_LIST_BITS - r->bits);
		ret->edges[i / 4] |= edge << 16 * (i % 4);
		if (r->low + i <= r->high)
			ret->class[i] = (uint16_t)b->intervals[r->low + i].class;
	}
}

/* 0: the region is too large, or a part of it has too many intervals. */
static uint32_t list_build(struct builder *b, const struct region *r)
{
	struct sluice_line_list line;
	unsigned int group = 0;
	struct region part;
	size_t first, i;
	uint32_t word;

	if (r->bits > SLUICE_LIST_BITS)
		return 0;
	while (group < SLUICE_LINE_GROUP && group < r->bits && !list_fits(b, r, group))
		group++;
	if (!list_fits(b, r, group))
		return 0;
	word = node_add(b, SLUICE_LINE_LIST + group, (size_t)1 << group, &first);
	for (i = 0; i < (size_t)1 << group && !b->failed; i++) {
		part = region_part(b, r, group, i);
		line = (struct sluice_line_list){};
		list_fill(b, &part, &line);
		memcpy(b->compiler->lines.items + first + i * SLUICE_LINE_WORDS, &line, sizeof(line));
	}
	return word;
}

/* -------------------------------------------------------------- matches and skips */

/* The next 64 bits of a key in `prefix`, when the first `used` of the region are used up. */
static uint64_t prefix_bits(const struct region *r, const struct region *prefix, unsigned int used)
{
	return (uint64_t)(prefix->first << (128 - r->bits) << used >> 64);
}

/* The first of n bits, from the top. */
static uint64_t bits_keep(uint64_t bits, unsigned int n)
{
	return n ? bits >> (64 - n) << (64 - n) : 0;
}

static void match_put(struct sluice_line_match *line, size_t i, const struct region *r, const struct region *prefix)
{
	unsigned int bits = r->bits - prefix->bits, value = min(bits, (unsigned int)SLUICE_MATCH_BITS);

	line->value[i] = bits_keep(prefix_bits(r, prefix, 0), value);
	line->shift[i] = (uint8_t)(64 - value);
	if (bits == value)
		return;
	line->tail[i] = bits_keep(prefix_bits(r, prefix, value), bits - value);
	line->tail_shift[i] = (uint8_t)(63 - (bits - value));
}

static struct sluice_line_match match_fill(const struct builder *b, const struct region *r, const struct cover *cover)
{
	struct sluice_line_match line = {.class[SLUICE_MATCH_PREFIXES] = (uint16_t)cover->other};
	size_t i;

	memset(line.tail_shift, 63, sizeof(line.tail_shift));
	for (i = 0; i < cover->count; i++) {
		match_put(&line, i, r, &cover->prefix[i]);
		line.class[i] = (uint16_t)b->intervals[cover->prefix[i].low].class;
	}
	for (; i < SLUICE_MATCH_PREFIXES; i++) {
		line.shift[i] = 1;
		line.class[i] = (uint16_t)cover->other;
	}
	return line;
}

/* Prefixes of each of the 2^group parts of the region. */
static bool covers_find(const struct builder *b, const struct region *r, unsigned int group, struct cover *covers)
{
	struct region part;
	size_t i;

	for (i = 0; i < (size_t)1 << group; i++) {
		part = region_part(b, r, group, i);
		if (!cover_find(b->intervals, &part, &covers[i]))
			return false;
	}
	return true;
}

/* 0: the region needs more prefixes. */
static uint32_t match_build(struct builder *b, const struct region *r)
{
	struct cover covers[1 << SLUICE_LINE_GROUP];
	unsigned int group = 0, most = min((unsigned int)SLUICE_LINE_GROUP, r->bits);
	struct sluice_line_match line;
	struct region part;
	size_t first, i;
	uint32_t word;

	if (r->high - r->low > MATCHES_MOST)
		return 0;
	while (!covers_find(b, r, group, covers)) {
		if (group++ == most)
			return 0;
	}
	word = node_add(b, SLUICE_LINE_MATCH + group, (size_t)1 << group, &first);
	for (i = 0; i < (size_t)1 << group && !b->failed; i++) {
		part = region_part(b, r, group, i);
		line = match_fill(b, &part, &covers[i]);
		memcpy(b->compiler->lines.items + first + i * SLUICE_LINE_WORDS, &line, sizeof(line));
	}
	return word;
}

/* 0: there is no block that all is in that is not uniform, with one class around it, or the way to it is too short. */
static uint32_t skip_build(struct builder *b, const struct region *r)
{
	struct sluice_skip skip = {.other = b->intervals[r->low].class};
	struct region core;
	uint32_t word;
	size_t first;

	if (!region_core(b->intervals, r, 64, &core) || r->bits - core.bits < SLUICE_LINE_BITS)
		return 0;
	skip.bits = r->bits - core.bits;
	skip.value = bits_keep(prefix_bits(r, &core, 0), skip.bits);
	word = node_add(b, SLUICE_LINE_SKIP, 1, &first);
	skip.equal = region_build(b, &core);
	if (!b->failed)
		memcpy(b->compiler->lines.items + first, &skip, sizeof(skip));
	return word;
}

/* ----------------------------------------------------------------------- branches */

static unsigned int stride_for(const struct region *r, size_t fill)
{
	size_t children = (r->high - r->low + 1) / fill;
	unsigned int stride = SLUICE_LINE_BITS;

	while (stride < SLUICE_STRIDE_MAX && (size_t)2 << stride <= children)
		stride++;
	return min(stride, r->bits);
}

static unsigned int stride_choose(const struct region *r)
{
	unsigned int stride = stride_for(r, FILL_LIST);

	return r->bits - stride <= SLUICE_LIST_BITS ? stride : stride_for(r, FILL_MATCH);
}

static uint32_t branch_build(struct builder *b, const struct region *r)
{
	unsigned int stride = stride_choose(r);
	size_t i, first, n = (size_t)1 << stride;
	struct region child;
	uint32_t built, word = node_add(b, stride, (n + SLUICE_LINE_WORDS - 1) / SLUICE_LINE_WORDS, &first);

	for (i = 0; i < n && !b->failed; i++) {
		child = region_part(b, r, stride, i);
		built = region_build(b, &child);
		if (!b->failed)
			b->compiler->lines.items[first + i] = built;
	}
	return word;
}

/* The word of a region. */
static uint32_t region_build(struct builder *b, const struct region *r)
{
	uint32_t word = 0;

	if (r->low == r->high || b->failed)
		return b->intervals[r->low].class;
	if (r->high - r->low <= LISTS_MOST && classes_are_short(b, r)) {
		word = list_build(b, r);
		if (!word)
			word = match_build(b, r);
	}
	if (!word)
		word = skip_build(b, r);
	return word ? word : branch_build(b, r);
}

int lines_build(struct compiler *c, const struct interval *intervals, size_t count, unsigned int bits,
		uint32_t *ret_root)
{
	struct builder b = {.compiler = c, .intervals = intervals};
	uint32_t root = region_build(&b, &(struct region){.bits = bits, .high = count - 1});

	if (!b.failed)
		*ret_root = root;
	return b.failed;
}
