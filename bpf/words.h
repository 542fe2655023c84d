/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Table `words` of a bank: reading words of it, and walking the tries of decisions in it (abi.h, "Tries"). Used by
 * prefix.h, classify.h, failsafe.h and account.h.
 *
 * To get at a page is a function call, and with the mitigations of today's CPUs each call is some 8 ns; a word of a page
 * at hand is a load. So the page at hand is kept, and everything here is inline.
 */
#ifndef SLUICE_BPF_WORDS_H
#define SLUICE_BPF_WORDS_H

#include "pkt.h"

#define PAGE_MASK (SLUICE_PAGE_WORDS - 1)

struct words {
	void *table; /* of the bank; NULL: no policy was ever loaded */
	const struct sluice_page *page;
	__u32 number; /* of the page, if there is one */
};

static __always_inline void words_open(struct words *w, __u32 bank)
{
	w->table = bank_table(words, bank);
	w->page = NULL;
	w->number = 0;
}

/* The page of word `at`, or NULL: the table is shorter, which only a bug can bring about. */
static __always_inline const struct sluice_page *words_page(struct words *w, __u32 at)
{
	__u32 number = at >> SLUICE_PAGE_SHIFT;

	if (!w->table)
		return NULL;
	if (!w->page || w->number != number) {
		w->page = bpf_map_lookup_elem(w->table, &number);
		w->number = number;
	}
	return w->page;
}

static __always_inline int words_get(struct words *w, __u32 at, __u32 *ret_word)
{
	const struct sluice_page *page = words_page(w, at);

	if (!page)
		return -1;
	barrier_var(page); /* the compiler would index first and look for NULL afterwards */
	*ret_word = page->word[at & PAGE_MASK];
	return 0;
}

/* The 8 words at a multiple of 8, or NULL. */
static __always_inline const void *words_part(struct words *w, __u32 at)
{
	const struct sluice_page *page = words_page(w, at);

	if (!page)
		return NULL;
	barrier_var(page);
	return &page->word[at & PAGE_MASK & ~7];
}

/* The line at a multiple of 16, or NULL. */
static __always_inline const void *words_line(struct words *w, __u32 at)
{
	const struct sluice_page *page = words_page(w, at);

	if (!page)
		return NULL;
	barrier_var(page);
	return &page->word[at & PAGE_MASK & ~(SLUICE_LINE_WORDS - 1)];
}

/* ---- tries ---- */

/* The next bits of a key, at the top of `high`. */
struct trie_key {
	__u64 high;
	__u64 low;
};

static __always_inline void trie_key_use(struct trie_key *key, __u32 bits)
{
	if (bits > 63) {
		key->high = key->low;
		key->low = 0;
		return;
	}
	key->high = key->high << bits | key->low >> 1 >> (63 - bits);
	key->low <<= bits;
}

static __always_inline void skip_step(const struct sluice_skip *skip, __u32 *word, struct trie_key *key)
{
	if ((key->high ^ skip->value) >> (64 - skip->bits & 63)) {
		*word = skip->other;
		return;
	}
	*word = skip->equal;
	trie_key_use(key, skip->bits);
}

/* One step from a child word. */
static __always_inline int trie_step(struct words *w, __u32 *word, struct trie_key *key)
{
	__u32 stride = *word >> SLUICE_TRIE_STRIDE & 31, at = (*word & SLUICE_TRIE_PLACE) << 3;
	const struct sluice_skip *skip;

	if (stride) {
		if (words_get(w, at + (__u32)(key->high >> (64 - stride)), word))
			return -1;
		trie_key_use(key, stride);
		return 0;
	}
	skip = words_part(w, at);
	if (!skip)
		return -1;
	skip_step(skip, word, key);
	return 0;
}

/* The leaf that a walk of at most `steps` from `word` leads to, or -1: the trie is broken, which only a bug can do. */
static __always_inline int trie_leaf(struct words *w, __u32 word, __u64 high, __u64 low, int steps)
{
	struct trie_key key = {high, low};

#pragma clang loop unroll(disable)
	for (int i = 0; i < steps; i++) {
		if (!(word & SLUICE_TRIE_CHILD))
			break;
		if (trie_step(w, &word, &key))
			return -1;
	}
	return word; /* a child here is negative */
}

#endif
