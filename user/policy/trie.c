// SPDX-License-Identifier: Apache-2.0
/*
 * Intervals of addresses → level- and path-compressed trie; the nodes are those of abi.h, "Tries". Called by classes.c
 * once a tenant and family.
 *
 * A branch gets as many bits as the number of intervals below it can fill to a half, so that the first node of many
 * prefixes is wide and takes most of the way in one step; a stretch of bits in which nothing happens becomes a skip.
 * Hence a lookup takes some two or three steps however many prefixes there are, and memory is linear in them.
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "policy/compile.h"

#define BRANCH_FILL 2 /* words of a branch for each interval below it */

struct builder {
	struct compiler *compiler;
	const struct interval *intervals;
	int failed;
};

/* The 2^bits addresses from `first`; intervals[low..high] cover them. */
struct region {
	address_t first;
	unsigned int bits;
	size_t low;
	size_t high;
};

static address_t interval_first(const struct builder *b, size_t i)
{
	return i ? b->intervals[i - 1].last + 1 : 0;
}

static address_t region_last(const struct region *r)
{
	return r->bits == 128 ? ADDRESS_MAX6 : r->first + (((address_t)1 << r->bits) - 1);
}

/* The last interval up to r->high that begins at or before `at`. */
static size_t interval_at(const struct builder *b, const struct region *r, address_t at)
{
	size_t low = r->low, high = r->high, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (b->intervals[middle].last < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t region_build(struct builder *b, const struct region *r);

/* ------------------------------------------------------------------------- skips */

static unsigned int bits_of(address_t x)
{
	uint64_t high = (uint64_t)(x >> 64), low = (uint64_t)x;

	if (high)
		return 128 - (unsigned int)__builtin_clzll(high);
	return low ? 64 - (unsigned int)__builtin_clzll(low) : 0;
}

/*
 * The smallest block that holds all that is not uniform, if around it there is one class; its size in bits, or that of
 * the region if there is none.
 */
static unsigned int core_bits(const struct builder *b, const struct region *r, address_t *ret_first)
{
	address_t first = interval_first(b, r->low + 1), last = b->intervals[r->high - 1].last;
	unsigned int bits;

	if (b->intervals[r->low].class != b->intervals[r->high].class || first > last)
		return r->bits;
	bits = bits_of(first ^ last);
	*ret_first = bits == 128 ? 0 : first >> bits << bits;
	return bits;
}

uint32_t trie_skip_add(struct compiler *c, const struct sluice_skip *skip, int *failed)
{
	size_t first;
	int r = words_node(c, sizeof(*skip) / sizeof(uint32_t), &first);

	if (r) {
		*failed = r;
		return 0;
	}
	memcpy(c->words.items + first, skip, sizeof(*skip));
	return SLUICE_TRIE_CHILD | (uint32_t)(first / WORDS_NODE);
}

/* Skips from the region down to the block of `bits` bits at `first`, at most 64 bits each. */
static uint32_t skip_build(struct builder *b, const struct region *r, address_t first, unsigned int bits)
{
	struct region inner = {first, bits, 0, 0};
	struct sluice_skip skip = {.bits = r->bits - bits, .other = b->intervals[r->low].class};
	address_t left;

	if (skip.bits > 64) { /* the first 64 here, the rest in the next node */
		skip.bits = 64;
		inner.bits = r->bits - 64;
		inner.first = first >> inner.bits << inner.bits;
	}
	inner.low = interval_at(b, r, inner.first);
	inner.high = interval_at(b, r, region_last(&inner));
	skip.equal = region_build(b, &inner);
	left = first << (128 - r->bits); /* the region's bits to the top */
	skip.value = (uint64_t)(left >> 64);
	if (skip.bits < 64)
		skip.value = skip.value >> (64 - skip.bits) << (64 - skip.bits);
	return b->failed ? 0 : trie_skip_add(b->compiler, &skip, &b->failed);
}

/* ----------------------------------------------------------------------- branches */

static unsigned int stride_choose(const struct region *r)
{
	size_t words = (r->high - r->low + 1) * BRANCH_FILL;
	unsigned int stride = SLUICE_STRIDE_MIN;

	while (stride < SLUICE_STRIDE_MAX && (size_t)2 << stride <= words)
		stride++;
	return min(stride, r->bits);
}

static uint32_t branch_build(struct builder *b, const struct region *r)
{
	unsigned int stride = stride_choose(r);
	struct region child = {.bits = r->bits - stride, .low = r->low};
	size_t first, i;
	uint32_t word;

	b->failed = words_node(b->compiler, (size_t)1 << stride, &first);
	for (i = 0; !b->failed && i < (size_t)1 << stride; i++) {
		child.first = r->first + ((address_t)i << child.bits);
		child.high = r->high;
		child.low = interval_at(b, &child, child.first);
		child.high = interval_at(b, &child, region_last(&child));
		word = region_build(b, &child);
		b->compiler->words.items[first + i] = word;
	}
	return SLUICE_TRIE_CHILD | stride << SLUICE_TRIE_STRIDE | (uint32_t)(first / WORDS_NODE);
}

/* The trie word of a region. */
static uint32_t region_build(struct builder *b, const struct region *r)
{
	address_t first;
	unsigned int bits;

	if (r->low == r->high)
		return b->intervals[r->low].class;
	bits = core_bits(b, r, &first);
	if (r->bits - bits >= SLUICE_STRIDE_MIN)
		return skip_build(b, r, first, bits);
	return branch_build(b, r);
}

int trie_build(struct compiler *c, const struct interval *intervals, size_t count, unsigned int bits,
	       uint32_t *ret_root)
{
	struct builder b = {.compiler = c, .intervals = intervals};
	uint32_t root = region_build(&b, &(struct region){.bits = bits, .high = count - 1});

	if (!b.failed)
		*ret_root = root;
	return b.failed;
}
