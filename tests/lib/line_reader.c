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

/* Whether the n bits of a key from `from` on are those of the number, from the top; the number has no others. */
static bool bits_are(struct line_reader *t, unsigned __int128 key, unsigned int from, uint64_t number, unsigned int n)
{
	unsigned int i;

	if (n < 64 && number << n)
		complain(t, "bits behind a prefix");
	for (i = 0; i < n; i++) {
		if ((uint64_t)(key >> (127 - from - i) & 1) != (number >> (63 - i) & 1))
			return false;
	}
	return true;
}

static uint32_t match_read(struct line_reader *t, const struct sluice_line_match *match, struct rest rest)
{
	unsigned int i, value, tail;

	for (i = 0; i < SLUICE_MATCH_PREFIXES; i++) {
		if (!match->shift[i] || match->shift[i] > 63)
			return complain(t, "a value of no bits, or too many");
		value = 64 - match->shift[i];
		tail = 0;
		if (i < SLUICE_MATCH_TAILS && match->tail_shift[i] > 63)
			return complain(t, "a tail of less than no bits");
		if (i < SLUICE_MATCH_TAILS)
			tail = 63 - match->tail_shift[i];
		if (tail && value != 63)
			return complain(t, "a tail behind a value that has room");
		if (value + tail > rest.bits && match->class[i] != match->class[SLUICE_MATCH_PREFIXES])
			return complain(t, "a prefix is longer than what is left");
		if (bits_are(t, rest.key, 0, match->value[i], value) &&
		    (!tail || bits_are(t, rest.key, 63, match->tail[i], tail)))
			return match->class[i];
	}
	return match->class[SLUICE_MATCH_PREFIXES];
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
	return kind < 25 ? list_read(t, &line.list, *rest) : match_read(t, &line.match, *rest);
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
