// SPDX-License-Identifier: Apache-2.0
/* Pattern: what is filled checks good; each kind of damage is told apart from the others. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "storage/pattern.h"

#define BLOCK  512
#define BLOCKS 8

static const struct pattern pattern = {.seed = 77, .nsid = 3, .block = BLOCK};
static uint64_t words[BLOCKS * BLOCK / 8];
static uint8_t *const bytes = (uint8_t *)words;

static void setup(void)
{
	pattern_fill(&pattern, 1 << 20, words, sizeof(words));
}

TestSuite(pattern, .init = setup);

Test(pattern, filled_is_good)
{
	struct pattern_fault fault;

	cr_assert_eq(pattern_check(&pattern, 1 << 20, words, sizeof(words), &fault), 0);
}

Test(pattern, filling_does_not_depend_on_how_it_is_cut)
{
	static uint64_t again[BLOCKS * BLOCK / 8];

	for (int i = BLOCKS - 1; i >= 0; i--)
		pattern_fill(&pattern, (1 << 20) + (uint64_t)i * BLOCK, (uint8_t *)again + i * BLOCK, BLOCK);
	cr_assert_arr_eq(words, again, sizeof(words));
}

Test(pattern, blocks_differ_from_each_other)
{
	for (int i = 1; i < BLOCKS; i++)
		for (size_t at = 32; at < BLOCK; at += 8)
			cr_assert_neq(words[at / 8], words[((size_t)i * BLOCK + at) / 8]);
}

static void expect(enum pattern_kind kind, const char *words_of_text)
{
	struct pattern_fault fault;
	char text[160];

	cr_assert_eq(pattern_check(&pattern, 1 << 20, words, sizeof(words), &fault), 1);
	cr_assert_eq(fault.kind, kind, "kind %d", fault.kind);
	cr_assert_eq(fault.address, (1 << 20) + 2 * BLOCK);
	pattern_fault_text(&fault, text, sizeof(text));
	cr_assert(strstr(text, words_of_text), "%s", text);
}

Test(pattern, every_single_bit_matters)
{
	for (size_t bit = 0; bit < BLOCK * 8; bit++) {
		struct pattern_fault fault;

		bytes[2 * BLOCK + bit / 8] ^= 1 << bit % 8;
		cr_assert_eq(pattern_check(&pattern, 1 << 20, words, sizeof(words), &fault), 1, "bit %zu", bit);
		bytes[2 * BLOCK + bit / 8] ^= 1 << bit % 8;
	}
}

Test(pattern, zeroes)
{
	memset(bytes + 2 * BLOCK, 0, BLOCK);
	expect(PATTERN_ZERO, "all zeroes");
}

Test(pattern, foreign)
{
	memset(bytes + 2 * BLOCK, 0x55, BLOCK);
	expect(PATTERN_FOREIGN, "not written by verify");
}

Test(pattern, misplaced)
{
	memcpy(bytes + 2 * BLOCK, bytes + 5 * BLOCK, BLOCK);
	expect(PATTERN_MISPLACED, "belongs at byte 1051136");
}

Test(pattern, other_seed)
{
	struct pattern other = pattern;

	other.seed = 78;
	pattern_fill(&other, (1 << 20) + 2 * BLOCK, bytes + 2 * BLOCK, BLOCK);
	expect(PATTERN_SEED, "seed 78");
}

Test(pattern, other_namespace)
{
	struct pattern other = pattern;

	other.nsid = 4;
	pattern_fill(&other, (1 << 20) + 2 * BLOCK, bytes + 2 * BLOCK, BLOCK);
	expect(PATTERN_NAMESPACE, "namespace 4");
}

Test(pattern, damage_is_located)
{
	bytes[2 * BLOCK + 100] ^= 0xff;
	bytes[2 * BLOCK + 200] ^= 0x01;
	expect(PATTERN_DAMAGED, "2 wrong bytes, the first at byte 100");
}

Test(pattern, damaged_checksum_is_damage)
{
	bytes[2 * BLOCK + 28] ^= 1;
	expect(PATTERN_DAMAGED, "the first at byte 28");
}
