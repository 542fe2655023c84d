// SPDX-License-Identifier: Apache-2.0
/* The reader of line_reader.h. Called by the tests of the part of the compiler that writes lines. */
#include "line_reader.h"

#include <stdbool.h>
#include <string.h>

/* What is left of a key. */
struct rest {
	unsigned __int128 key;
	unsigned int bits;
};

static uint32_t complain(struct line_reader *t, const char *what)
{
	if (!t->broken)
		t->broken = what;
	return 0;
}

/* The next n bits as a number, zeros behind the last; uses up those that there are. */
static uint64_t take(struct rest *rest, unsigned int n)
{
	uint64_t number = 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		number = number << 1 | (uint64_t)(rest->key >> 127 & 1);
		rest->key <<= 1;
	}
	rest->bits -= n < rest->bits ? n : rest->bits;
	return number;
}

static uint32_t list_read(struct line_reader *t, const struct sluice_line_list *list, struct rest rest)
{
	uint64_t digit, edge, before = 0;
	unsigned int i, place = 0;

	if (rest.bits > SLUICE_LIST_BITS)
		return complain(t, "a list of more bits than it compares");
	digit = take(&rest, SLUICE_LIST_BITS);
	for (i = 0; i < 16; i++) {
		edge = list->edges[i / 4] >> 16 * (i % 4) & 0xffff;
		if (edge > SLUICE_NO_EDGE || (edge <= before && i) || (i == 15 && edge != SLUICE_NO_EDGE))
			return complain(t, "edges that do not ascend, or one too many");
		before = edge == SLUICE_NO_EDGE ? edge - 1 : edge;
		place += edge <= digit;
	}
	return list->class[place];
}

/* Whether the next bits begin with a value that ends before its last one; *ret_bits: how long it is. */
static bool value_read(uint64_t value, uint64_t bits, unsigned int *ret_bits)
{
	unsigned int n = 63, i;

	while (!(value >> (63 - n) & 1))
		n--;
	*ret_bits = n;
	for (i = 0; i < n; i++) {
		if ((value >> (63 - i) & 1) != (bits >> (63 - i) & 1))
			return false;
	}
	return true;
}

static uint32_t match_read(struct line_reader *t, const struct sluice_line_match *match, struct rest *rest)
{
	uint64_t high = (uint64_t)(rest->key >> 64), low = (uint64_t)rest->key;
	unsigned int i, bits;
	bool fits;

	if (match->reserved || match->word[SLUICE_MATCH_PREFIXES] & 0x80000000u)
		return complain(t, "a match that ends in a child, or whose last word is not 0");
	for (i = 0; i < SLUICE_MATCH_PREFIXES; i++) {
		if (!i && match->tail) {
			fits = value_read(match->tail, low, &bits) && match->value[0] == high;
			bits += 64;
			if (match->word[0] & 0x80000000u)
				return complain(t, "a long prefix leads to a child");
		} else {
			if (!match->value[i])
				return complain(t, "a value without an end");
			fits = value_read(match->value[i], high, &bits);
		}
		if (bits > rest->bits)
			return complain(t, "a prefix is longer than what is left");
		if (!fits)
			continue;
		if (match->word[i] & 0x80000000u)
			take(rest, bits);
		return match->word[i];
	}
	return match->word[SLUICE_MATCH_PREFIXES];
}

static uint32_t skip_read(struct line_reader *t, const struct sluice_skip *skip, struct rest *rest)
{
	struct rest copy = *rest;
	uint64_t value;

	if (skip->bits < 4 || skip->bits > 64 || skip->bits > rest->bits)
		return complain(t, "a skip takes too few bits, or more than there are");
	value = take(&copy, skip->bits);
	if (skip->bits < 64)
		value <<= 64 - skip->bits;
	if (value != skip->value)
		return skip->other;
	*rest = copy;
	return skip->equal;
}

static uint32_t node_read(struct line_reader *t, uint32_t word, struct rest *rest)
{
	size_t place = (size_t)(word & 0x03ffffff) * 16;
	uint32_t kind = word >> 26 & 31;
	union {
		uint32_t word[16];
		struct sluice_line_list list;
		struct sluice_line_match match;
		struct sluice_skip skip;
	} line;

	t->kinds |= 1u << kind;
	if (!kind || kind > 29 || (kind <= 20 && kind > rest->bits))
		return complain(t, "no kind of node, or a branch of more bits than there are");
	if (kind <= 20) {
		place += take(rest, kind);
		return place < t->n_words ? t->words[place] : complain(t, "a branch lies outside");
	}
	if (kind < 29)
		place += take(rest, (kind - 21) % 4) * 16;
	if (place + 16 > t->n_words)
		return complain(t, "a line lies outside");
	memcpy(&line, t->words + place, sizeof(line));
	if (kind == 29)
		return skip_read(t, &line.skip, rest);
	return kind < 25 ? list_read(t, &line.list, *rest) : match_read(t, &line.match, rest);
}

uint32_t line_read(struct line_reader *t, uint32_t root, unsigned __int128 key)
{
	struct rest rest = {key, t->bits};
	uint32_t word = root;

	for (t->steps = 0; word & 0x80000000u; t->steps++) {
		if (t->steps > 128)
			return complain(t, "a circle");
		word = node_read(t, word, &rest);
		if (t->broken)
			return 0;
	}
	if (t->steps > t->most_steps)
		t->most_steps = t->steps;
	return word;
}
