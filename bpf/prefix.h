/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tries and what is looked up in them: an address becomes an address class in some two or three array reads however
 * many prefixes there are. Used by the stages tenant.h (anti-spoof) and classify.h.
 */
#ifndef SLUICE_BPF_PREFIX_H
#define SLUICE_BPF_PREFIX_H

#include "pkt.h"

/* Word `i` of table `words`. -1: the table is shorter, which only a bug can bring about. */
static __always_inline int page_word(void *words, __u32 i, __u32 *ret_word)
{
	__u32 number = i >> 8;
	const struct sluice_page *page;

	page = bpf_map_lookup_elem(words, &number);
	if (!page)
		return -1;
	*ret_word = page->word[i & 255];
	return 0;
}

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

/* One step from a child word: abi.h, "Tries". */
static __always_inline int trie_step(void *words, __u32 *word, struct trie_key *key)
{
	__u32 stride = *word >> SLUICE_TRIE_STRIDE & 31, at = (*word & SLUICE_TRIE_PLACE) << 3, number;
	const struct sluice_page *page;
	const struct sluice_skip *skip;

	if (stride)
		at += key->high >> (64 - stride);
	number = at >> 8;
	page = bpf_map_lookup_elem(words, &number);
	if (!page)
		return -1;
	if (stride) {
		*word = page->word[at & 255];
		trie_key_use(key, stride);
		return 0;
	}
	skip = (const struct sluice_skip *)&page->word[at & 248];
	if ((key->high ^ skip->value) >> (64 - skip->bits & 63)) {
		*word = skip->other;
		return 0;
	}
	*word = skip->equal;
	trie_key_use(key, skip->bits);
	return 0;
}

/*
 * The leaf that a walk from `word` leads to, or -1: the trie is broken, which only a bug can bring about. A global
 * function: the verifier checks its loop once.
 */
__noinline int trie_leaf(__u32 bank, __u32 word, __u64 high, __u64 low)
{
	struct trie_key key = {high, low};
	void *table = bank_table(words, bank);

	if (!table)
		return -1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SLUICE_TRIE_STEPS6; i++) {
		if (!(word & SLUICE_TRIE_CHILD))
			return word;
		if (trie_step(table, &word, &key))
			return -1;
	}
	return word & SLUICE_TRIE_CHILD ? -1 : word;
}

/* 4 and 8 bytes of an address as a number, the first byte the highest. */
static __always_inline __u32 addr_word(const __u8 *byte)
{
	return bpf_ntohl(*(const __be32 *)byte);
}

static __always_inline __u64 addr_bits(const __u8 *byte)
{
	return (__u64)addr_word(byte) << 32 | addr_word(byte + 4);
}

/*
 * Index in `classes` of an address of tuple `t` (its dest or its source), or -1. A global function: the verifier checks
 * it once, not once for every path that leads here.
 */
__noinline int prefix_lookup(const struct tuple *t, bool dest)
{
	struct sluice_tenant *tenant;
	void *table;
	__u32 number;

	if (!t)
		return -1;
	table = bank_table(tenants, t->bank);
	if (!table)
		return -1;
	number = t->tenant;
	tenant = bpf_map_lookup_elem(table, &number);
	if (!tenant)
		return -1;
	if (t->version == 4)
		return trie_leaf(t->bank, tenant->root4, (__u64)addr_word(dest ? t->dest + 12 : t->source + 12) << 32, 0);
	return trie_leaf(t->bank, tenant->root6, addr_bits(dest ? t->dest : t->source),
			 addr_bits(dest ? t->dest + 8 : t->source + 8));
}

/* Entry of `classes` for an address of the tuple, or NULL. */
static __always_inline const struct sluice_class *class_find(const struct tuple *t, bool dest)
{
	void *table = bank_table(classes, t->bank);
	__u32 index = prefix_lookup(t, dest);

	return table ? bpf_map_lookup_elem(table, &index) : NULL;
}

#endif
