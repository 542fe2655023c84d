// SPDX-License-Identifier: Apache-2.0
/*
 * user/policy/lines.c, region.c and lists.c by themselves: random intervals against a walk over all of them, every node
 * against the description in abi.h, the bound of steps, and memory that stays linear.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"
#include "reference.h"
#include "line_reader.h"

#define INTERVALS 3000

struct bench {
	struct compiler compiler;
	struct error err;
	struct interval intervals[INTERVALS];
	size_t count;
	unsigned int bits;
	uint32_t root;
};

static void bench_done(struct bench *b)
{
	free(b->compiler.lines.items);
}

static void bench_begin(struct bench *b, unsigned int bits)
{
	memset(b, 0, sizeof(*b));
	b->bits = bits;
	b->compiler.err = &b->err;
	b->compiler.words_max = COMPILE_WORDS_MAX;
}

static address_t address_max(unsigned int bits)
{
	return bits == 32 ? ADDRESS_MAX4 : ADDRESS_MAX6;
}

/* Appends; an interval of the same class as the one before becomes part of it, as classes.c does it. */
static void interval_put(struct bench *b, address_t last, uint32_t class)
{
	if (b->count && b->intervals[b->count - 1].class == class)
		b->intervals[b->count - 1].last = last;
	else
		b->intervals[b->count++] = (struct interval){last, class};
}

static uint32_t class_of(const struct bench *b, address_t at)
{
	size_t i;

	for (i = 0; b->intervals[i].last < at; i++)
		;
	return b->intervals[i].class;
}

static void address_check(struct bench *b, struct line_reader *t, address_t at)
{
	uint32_t class = line_read(t, b->root, b->bits == 32 ? at << 96 : at), expected = class_of(b, at);

	cr_assert_null(t->broken, "%s", t->broken);
	cr_assert_eq(class, expected, "address %llx%016llx: class %u, not %u", (unsigned long long)(at >> 64),
		     (unsigned long long)at, class, expected);
	cr_assert_leq(t->steps, b->bits / SLUICE_LINE_BITS + 1);
	cr_assert_leq(t->steps, SLUICE_LINE_STEPS);
}

static address_t address_random(uint64_t *state, unsigned int bits)
{
	address_t at = (address_t)reference_random(state) << 64 | reference_random(state);

	return bits == 32 ? at & ADDRESS_MAX4 : at;
}

/* At every edge, beside it, and anywhere. */
static struct line_reader trie_check(struct bench *b, uint64_t *state)
{
	struct line_reader t = {.bits = b->bits};
	size_t i;

	cr_assert_eq(lines_build(&b->compiler, b->intervals, b->count, b->bits, &b->root), 0, "%s", b->err.text);
	t.words = b->compiler.lines.items;
	t.n_words = b->compiler.lines.count;
	for (i = 0; i < b->count; i++) {
		address_check(b, &t, b->intervals[i].last);
		address_check(b, &t, i ? b->intervals[i - 1].last + 1 : 0);
		address_check(b, &t, b->intervals[i].last - (b->intervals[i].last > 0));
	}
	for (i = 0; i < 300; i++)
		address_check(b, &t, address_random(state, b->bits));
	return t;
}

/* ------------------------------------------------------------------------------ tries */

static int address_compare(const void *a, const void *b)
{
	address_t x = *(const address_t *)a, y = *(const address_t *)b;

	return x < y ? -1 : x > y;
}

/* Edges at random, or close to one another, or at the ends of prefixes around one address. */
static address_t edge_random(uint64_t *state, unsigned int bits, address_t centre, unsigned int how)
{
	unsigned int shift = reference_below(state, bits);

	switch (how) {
	case 0:
		return address_random(state, bits);
	case 1:
		return (centre + reference_below(state, 5000)) & address_max(bits);
	default:
		return (centre >> shift << shift) + (reference_one_in(state, 2) ? (((address_t)1 << shift) - 1) : 0);
	}
}

static void intervals_random(struct bench *b, uint64_t *state)
{
	static address_t edges[INTERVALS];
	size_t i, n = reference_below(state, reference_one_in(state, 4) ? INTERVALS - 1 : 40);
	unsigned int how = reference_below(state, 4), classes = 1 + reference_below(state, 6);
	address_t centre = address_random(state, b->bits);

	for (i = 0; i < n; i++)
		edges[i] = edge_random(state, b->bits, centre, how < 3 ? how : reference_below(state, 3));
	qsort(edges, n, sizeof(*edges), address_compare);
	for (i = 0; i < n; i++) {
		if ((i && edges[i] == edges[i - 1]) || edges[i] == address_max(b->bits))
			continue;
		interval_put(b, edges[i], reference_below(state, classes));
	}
	interval_put(b, address_max(b->bits), reference_below(state, classes));
}

Test(policy_lines, random_intervals_come_out_as_they_went_in)
{
	uint64_t state = reference_seed();
	static struct bench b;
	uint32_t kinds = 0;
	unsigned int i;

	for (i = 0; i < 200; i++) {
		bench_begin(&b, i % 2 ? 32 : 128);
		intervals_random(&b, &state);
		kinds |= trie_check(&b, &state).kinds;
		bench_done(&b);
	}
	for (i = SLUICE_LINE_LIST; i <= SLUICE_LINE_SKIP; i++)
		cr_expect(kinds >> i & 1, "no line of kind %u was made", i);
}

/* 2048 classes side by side: a branch, and eight in the two lines of a group. */
Test(policy_lines, many_even_prefixes_take_two_steps)
{
	uint64_t state = 1;
	static struct bench b;
	struct line_reader t;
	unsigned int i;

	bench_begin(&b, 32);
	for (i = 0; i < 2048; i++)
		interval_put(&b, ((address_t)i << 21) + ((1 << 21) - 1), i);
	t = trie_check(&b, &state);
	cr_assert_eq(t.most_steps, 2);
	cr_assert_eq(b.compiler.lines.count, 256 + 2048 / 8 * 2 * SLUICE_LINE_WORDS);
	bench_done(&b);
}

/* Each prefix holds all that follow: the deepest way that there is. */
Test(policy_lines, nested_prefixes_stay_within_the_bound_of_steps)
{
	static const unsigned int families[] = {32, 128};
	uint64_t state = 1;
	static struct bench b;
	struct line_reader t;
	unsigned int i, k;

	for (k = 0; k < ARRAY_SIZE(families); k++) {
		unsigned int bits = families[k];

		bench_begin(&b, bits);
		for (i = bits - 1; i > 0; i--) /* ends of /31, /30 ... around the lowest address but one */
			interval_put(&b, ((address_t)1 << (bits - i)) - 1, i % 7);
		interval_put(&b, address_max(bits), 7);
		t = trie_check(&b, &state);
		cr_assert_geq(t.most_steps, bits / 20);
		cr_assert_leq(b.compiler.lines.count, bits * 64);
		bench_done(&b);
	}
}

Test(policy_lines, one_class_is_no_node)
{
	static struct bench b;

	bench_begin(&b, 128);
	interval_put(&b, ADDRESS_MAX6, 5);
	cr_assert_eq(lines_build(&b.compiler, b.intervals, b.count, 128, &b.root), 0);
	cr_assert_eq(b.root, 5);
	cr_assert_eq(b.compiler.lines.count, 0);
	bench_done(&b);
}

Test(policy_lines, one_address_costs_four_lines)
{
	uint64_t state = 1;
	static struct bench b;

	bench_begin(&b, 128);
	interval_put(&b, ((address_t)0xfd << 120) + 41, 1);
	interval_put(&b, ((address_t)0xfd << 120) + 42, 2);
	interval_put(&b, ADDRESS_MAX6, 1);
	trie_check(&b, &state);
	cr_assert_eq(b.compiler.lines.count, 4 * SLUICE_LINE_WORDS); /* of 126 bits each */
	bench_done(&b);
}

/* Short ones, one that is just not, and the longest that a line can say. */
Test(policy_lines, nested_prefixes_of_up_to_127_bits_are_one_step)
{
	static const unsigned int lengths[] = {20, 63, 64, 126};
	uint64_t state = 1;
	static struct bench b;
	struct line_reader t;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		address_t inner = (address_t)1 << (128 - lengths[i + 1]), outer = (address_t)1 << (128 - lengths[i]);

		bench_begin(&b, 128);
		interval_put(&b, inner - 1, 1);
		interval_put(&b, outer - 1, 2);
		interval_put(&b, ADDRESS_MAX6, 3);
		t = trie_check(&b, &state);
		cr_assert_eq(t.most_steps, 1, "lengths %u and %u: %u steps", lengths[i], lengths[i + 1], t.most_steps);
		bench_done(&b);
	}
}

/* Classes beyond 16 bits: no list or match can hold them. */
Test(policy_lines, large_classes_are_branched_to)
{
	uint64_t state = 1;
	static struct bench b;
	struct line_reader t;
	unsigned int i;

	bench_begin(&b, 32);
	for (i = 0; i < 1000; i++)
		interval_put(&b, ((address_t)10 << 24) + 3 * i, 0x10000 + i % 7);
	interval_put(&b, ADDRESS_MAX4, 0x7fffffff);
	t = trie_check(&b, &state);
	cr_assert_eq(t.kinds >> SLUICE_LINE_LIST & 0xff, 0);
	bench_done(&b);
}

Test(policy_lines, a_trie_that_does_not_fit_is_refused)
{
	uint64_t state = 1;
	static struct bench b;
	unsigned int i;

	bench_begin(&b, 32);
	for (i = 0; i < 1000; i++)
		interval_put(&b, (address_t)i * 70000 + reference_below(&state, 60000), i);
	interval_put(&b, ADDRESS_MAX4, 0);
	b.compiler.words_max = 1000;
	b.root = 77;
	cr_assert_eq(lines_build(&b.compiler, b.intervals, b.count, 32, &b.root), -E2BIG);
	cr_assert_eq(b.root, 77);
	cr_assert(strstr(b.err.text, "1000"), "%s", b.err.text);
	bench_done(&b);
}

/* ------------------------------------------------------------------------------ lists */

Test(policy_lines, lists_turned_round_twice_are_the_same)
{
	uint64_t state = reference_seed();
	struct compiler c = {};
	struct lists l = {}, inverse, back;
	uint32_t members[64];
	size_t i, k, n;

	for (i = 0; i < 200; i++) {
		for (k = n = 0; k < 64; k++) {
			if (reference_one_in(&state, 1 + (unsigned int)i % 9))
				members[n++] = (uint32_t)k;
		}
		cr_assert_eq(lists_add(&c, &l, members, n), 0);
	}
	cr_assert_eq(lists_invert(&l, 64, &inverse), 0);
	cr_assert_eq(inverse.count, 64);
	for (i = 0; i < 64; i++) {
		for (k = 1; k < inverse.spans[i].count; k++)
			cr_assert_lt(inverse.members[inverse.spans[i].first + k - 1],
				     inverse.members[inverse.spans[i].first + k]);
	}
	cr_assert_eq(lists_invert(&inverse, 200, &back), 0);
	for (i = 0; i < 200; i++) {
		cr_assert_eq(back.spans[i].count, l.spans[i].count);
		cr_assert(!memcmp(back.members + back.spans[i].first, l.members + l.spans[i].first,
				  l.spans[i].count * sizeof(*members)));
	}
	lists_done(&l);
	lists_done(&inverse);
	lists_done(&back);
}
