/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads tries as abi.h, "Tries" describes them, and holds every node on the way against that description. Shares no
 * code with user/policy or bpf/.
 */
#ifndef SLUICE_TESTS_TRIE_READER_H
#define SLUICE_TESTS_TRIE_READER_H

#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

struct trie_reader {
	const uint32_t *words;
	size_t n_words;
	unsigned int bits;  /* of the key, up to 128, in the top of `key` */
	const char *broken; /* what is wrong with the trie; NULL: nothing was met */
	unsigned int steps; /* of the last walk */
	unsigned int most_steps;
};

/* The leaf for a key; any number if the trie is broken. */
uint32_t trie_read(struct trie_reader *t, uint32_t root, unsigned __int128 key);

#endif
