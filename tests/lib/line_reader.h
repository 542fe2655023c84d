/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads tries of lines as abi.h, "Addresses" describes them, and holds every node on the way against that description.
 * Shares no code with user/policy or bpf/.
 */
#ifndef SLUICE_TESTS_LINE_READER_H
#define SLUICE_TESTS_LINE_READER_H

#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

struct line_reader {
	const uint32_t *words;
	size_t n_words;
	unsigned int bits;  /* of the key: 32 or 128, in the top of `key` */
	const char *broken; /* what is wrong with the trie; NULL: nothing was met */
	unsigned int steps; /* of the last walk */
	unsigned int most_steps;
	uint32_t kinds; /* bit n: a node of kind n was met */
};

/* The leaf for a key; any number if the trie is broken. */
uint32_t line_read(struct line_reader *t, uint32_t root, unsigned __int128 key);

#endif
