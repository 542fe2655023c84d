// SPDX-License-Identifier: Apache-2.0
/*
 * user/policy/dag.c by itself: functions as diagrams against the same functions as plain arrays. Combining, canonical
 * form (equal functions are one reference), what is emitted as tries, and the limit.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/dag.h"
#include "reference.h"
#include "trie_reader.h"

#define KEYS_MAX  1024
#define FUNCTIONS 120

struct bench {
	struct dag dag;
	struct compiler compiler;
	struct error err;
	unsigned int bits;
	size_t keys;
	uint32_t refs[FUNCTIONS];
	uint32_t values[FUNCTIONS][KEYS_MAX];
};

static uint32_t combined(const struct dag *d, uint32_t a, uint32_t b)
{
	if (d->minimum)
		return min(a, b);
	return a | b;
}

/* Sets of bits: the union is commutative, associative and idempotent, and the empty set leaves all alone. */
static int union_of(void *arg, uint32_t a, uint32_t b, uint32_t *ret_leaf)
{
	*ret_leaf = a | b;
	return 0;
}

static void bench_begin(struct bench *b, uint64_t *state, bool minimum, size_t functions)
{
	static const unsigned int shapes[][5] = {{10}, {2, 1, 3}, {1, 1, 1, 1, 1}, {5, 5}, {3, 4, 2}, {1}, {4, 1, 1}};
	const unsigned int *strides = shapes[reference_below(state, ARRAY_SIZE(shapes))];
	unsigned int levels = 0;
	size_t none;

	memset(b, 0, sizeof(*b));
	for (; levels < 5 && strides[levels]; levels++)
		b->bits += strides[levels];
	b->keys = (size_t)1 << b->bits;
	b->dag.minimum = minimum;
	b->dag.none = minimum ? 1000 : 0;
	b->dag.combine = minimum ? NULL : union_of;
	b->compiler.err = &b->err;
	b->compiler.words_max = COMPILE_WORDS_MAX;
	cr_assert_eq(dag_begin(&b->dag, strides, levels, functions, COMPILE_REFS_MAX), 0);
	cr_assert_eq(words_add(&b->compiler, 8, &none), 0);
}

static void bench_done(struct bench *b)
{
	dag_done(&b->dag);
	free(b->compiler.words.items);
}

static unsigned int bits_from(const struct dag *d, unsigned int level)
{
	unsigned int bits = 0;

	for (; level < d->levels; level++)
		bits += d->level[level].stride;
	return bits;
}

/* Ascending numbers below 1 << bits, or all of them. */
static struct dag_keys keys_random(uint64_t *state, unsigned int bits, uint32_t *numbers)
{
	struct dag_keys keys = {.items = numbers, .all = reference_one_in(state, 4)};
	unsigned int sparse = 1 + reference_below(state, 12);
	uint32_t i;

	for (i = 0; !keys.all && i < 1u << bits; i++) {
		if (reference_one_in(state, sparse))
			numbers[keys.count++] = i;
	}
	return keys;
}

static bool keys_have(const struct dag_keys *keys, uint32_t number)
{
	size_t i;

	for (i = 0; i < keys->count; i++) {
		if (keys->items[i] == number)
			return true;
	}
	return keys->all;
}

/* `leaf` on the product of two sets of keys. */
static void function_product(struct bench *b, uint64_t *state, unsigned int n)
{
	unsigned int split = reference_below(state, b->dag.levels + 1), low = bits_from(&b->dag, split);
	uint32_t outer_numbers[KEYS_MAX], inner_numbers[KEYS_MAX], inside, key;
	struct dag_keys outer = keys_random(state, b->bits - low, outer_numbers);
	struct dag_keys inner = keys_random(state, low, inner_numbers);
	uint32_t leaf = b->dag.minimum ? reference_below(state, 12) : 1u << reference_below(state, 12);

	cr_assert_eq(dag_keys(&b->dag, split, b->dag.levels, &inner, leaf, &inside), 0);
	cr_assert_eq(dag_keys(&b->dag, 0, split, &outer, inside, &b->refs[n]), 0);
	for (key = 0; key < b->keys; key++)
		b->values[n][key] = keys_have(&outer, key >> low) && keys_have(&inner, key & ((1u << low) - 1))
					    ? leaf
					    : b->dag.none;
}

static void function_combine(struct bench *b, uint64_t *state, unsigned int n)
{
	unsigned int x = reference_below(state, n), y = reference_below(state, n);
	size_t key;

	cr_assert_eq(dag_apply(&b->dag, 0, b->refs[x], b->refs[y], &b->refs[n]), 0);
	for (key = 0; key < b->keys; key++)
		b->values[n][key] = combined(&b->dag, b->values[x][key], b->values[y][key]);
}

static void functions_make(struct bench *b, uint64_t *state)
{
	unsigned int n;

	for (n = 0; n < FUNCTIONS; n++) {
		if (n < 10 || reference_one_in(state, 3))
			function_product(b, state, n);
		else
			function_combine(b, state, n);
	}
}

/* Equal functions have equal references, and only they. */
static void canonical_check(const struct bench *b)
{
	unsigned int x, y;
	bool equal;

	for (x = 0; x < FUNCTIONS; x++) {
		for (y = 0; y < x; y++) {
			equal = !memcmp(b->values[x], b->values[y], b->keys * sizeof(uint32_t));
			cr_assert_eq(equal, b->refs[x] == b->refs[y], "functions %u and %u", x, y);
		}
	}
}

static void emitted_check(struct bench *b, const uint32_t *leaf_word)
{
	struct trie_reader t = {.bits = b->bits};
	uint32_t roots[FUNCTIONS], expected, n, leaf;
	size_t key;

	for (n = 0; n < FUNCTIONS; n++)
		cr_assert_eq(dag_emit(&b->dag, &b->compiler, leaf_word, 0, b->refs[n], &roots[n]), 0);
	t.words = b->compiler.words.items;
	t.n_words = b->compiler.words.count;
	for (n = 0; n < FUNCTIONS; n++) {
		for (key = 0; key < b->keys; key++) {
			leaf = trie_read(&t, roots[n], (unsigned __int128)key << (128 - b->bits));
			expected = leaf_word ? leaf_word[b->values[n][key]] : b->values[n][key];
			cr_assert_null(t.broken, "%s", t.broken);
			cr_assert_eq(leaf, expected, "function %u, key %zu: %u, not %u", n, key, leaf, expected);
		}
	}
}

static void emitted_once_check(struct bench *b)
{
	size_t before = b->compiler.words.count;
	uint32_t word, n;

	for (n = 0; n < FUNCTIONS; n++)
		cr_assert_eq(dag_emit(&b->dag, &b->compiler, NULL, 0, b->refs[n], &word), 0);
	cr_assert_eq(b->compiler.words.count, before, "what is there already is written again");
}

static void run(bool minimum, const uint32_t *leaf_word)
{
	static const size_t sizes[] = {1, 100000};
	uint64_t state = reference_seed();
	static struct bench b;
	unsigned int i;

	for (i = 0; i < 12; i++) {
		bench_begin(&b, &state, minimum, sizes[i % 2]); /* the memo's */
		functions_make(&b, &state);
		canonical_check(&b);
		emitted_check(&b, leaf_word);
		emitted_once_check(&b);
		bench_done(&b);
	}
}

Test(policy_dag, minima_are_those_of_plain_arrays)
{
	run(true, NULL);
}

Test(policy_dag, unions_are_those_of_plain_arrays)
{
	static uint32_t words[4096];
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = 7 * i + 3;
	run(false, words);
}

/* Rules of one source and many destinations: the shared part is not built again for each. */
Test(policy_dag, what_is_equal_is_shared)
{
	static const unsigned int strides[] = {5, 5};
	struct dag d = {.none = 1000, .minimum = true};
	uint32_t common, own, row, all[1024], i;
	size_t before;

	cr_assert_eq(dag_begin(&d, strides, ARRAY_SIZE(strides), 64, COMPILE_REFS_MAX), 0);
	for (i = 0; i < 512; i++)
		all[i] = 2 * i;
	cr_assert_eq(dag_keys(&d, 0, 2, &(struct dag_keys){all, 512, false}, 500, &common), 0);
	before = d.n_refs;
	for (i = 0; i < 32; i++) {
		uint32_t key = 32 * i + 1;

		cr_assert_eq(dag_keys(&d, 0, 2, &(struct dag_keys){&key, 1, false}, i, &own), 0);
		cr_assert_eq(dag_apply(&d, 0, common, own, &row), 0);
	}
	cr_assert_leq(d.n_refs - before, 32 * (2 * 32 + 2 * 32));
	dag_done(&d);
}

Test(policy_dag, more_references_than_the_limit_are_refused)
{
	static const unsigned int strides[] = {4, 4};
	struct dag d = {.none = 1000, .minimum = true};
	uint32_t ref = 5, key, i;
	int r = 0;

	cr_assert_eq(dag_begin(&d, strides, ARRAY_SIZE(strides), 64, 100), 0);
	for (i = 0; i < 100 && !r; i++) {
		key = i;
		r = dag_keys(&d, 0, 2, &(struct dag_keys){&key, 1, false}, i, &ref);
	}
	cr_assert_eq(r, -E2BIG);
	cr_assert_gt(i, 2);
	dag_done(&d);
}
