// SPDX-License-Identifier: Apache-2.0
/* The reader of trie_reader.h. Called by the tests of the parts of the compiler that write tries. */
#include "trie_reader.h"

#include <string.h>

static uint32_t complain(struct trie_reader *t, const char *what)
{
	if (!t->broken)
		t->broken = what;
	return 0;
}

static uint32_t branch_read(struct trie_reader *t, size_t place, unsigned int stride, unsigned int left,
			    unsigned __int128 key)
{
	if (stride > SLUICE_STRIDE_MAX || stride > left)
		return complain(t, "a branch takes more bits than there are");
	if (place + ((size_t)1 << stride) > t->n_words)
		return complain(t, "a branch lies outside");
	return t->words[place + (size_t)(key >> (128 - stride))];
}

/* *ret_bits: how many of the key are used up. */
static uint32_t skip_read(struct trie_reader *t, size_t place, unsigned int left, unsigned __int128 key,
			  unsigned int *ret_bits)
{
	struct sluice_skip skip;
	unsigned int bit;

	if (place + sizeof(skip) / 4 > t->n_words)
		return complain(t, "a skip lies outside");
	memcpy(&skip, t->words + place, sizeof(skip));
	if (!skip.bits || skip.bits > 64 || skip.bits > left)
		return complain(t, "a skip takes no bits, or more than there are");
	if (skip.bits < 64 && skip.value << skip.bits)
		return complain(t, "a skip has a value below its bits");
	for (bit = 0; bit < skip.bits; bit++) {
		if ((skip.value >> (63 - bit) & 1) != (uint64_t)(key >> (127 - bit) & 1))
			return skip.other;
	}
	*ret_bits = skip.bits;
	return skip.equal;
}

uint32_t trie_read(struct trie_reader *t, uint32_t root, unsigned __int128 key)
{
	uint32_t word = root, stride, bits;
	unsigned int left = t->bits;
	size_t place;

	for (t->steps = 0; word & 0x80000000u; t->steps++) {
		stride = word >> 26 & 31;
		place = (size_t)(word & 0x03ffffffu) * 8;
		bits = stride;
		if (!place || t->steps > 128)
			return complain(t, "a child at word 0, or a circle");
		word = stride ? branch_read(t, place, stride, left, key) : skip_read(t, place, left, key, &bits);
		if (t->broken)
			return 0;
		left -= bits;
		key = bits < 128 ? key << bits : 0;
	}
	if (t->steps > t->most_steps)
		t->most_steps = t->steps;
	return word;
}
