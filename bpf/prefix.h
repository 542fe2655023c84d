/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address to address class: the walk of a multibit trie, at most 3 (IPv4) or 15 (IPv6) array reads however many
 * prefixes there are. Used by the stages tenant.h (anti-spoof) and classify.h.
 */
#ifndef SLUICE_BPF_PREFIX_H
#define SLUICE_BPF_PREFIX_H

#include "pkt.h"

/* Word `i` of a flat table: abi.h, "bank tables". -1: the table is shorter, which only a bug can bring about. */
static __always_inline int page_word(void *table, __u32 i, __u32 *ret_word)
{
	__u32 number = i >> 8;
	const struct sluice_page *page;

	page = bpf_map_lookup_elem(table, &number);
	if (!page)
		return -1;
	*ret_word = page->word[i & 255];
	return 0;
}

/*
 * Walks from `word` with addr[first..15] and answers the leaf. A root node is 256 pages, indexed with two bytes; below,
 * a node is one page and each byte a step.
 */
static __always_inline int trie_walk(void *table, __u32 word, const __u8 *addr, int first)
{
	__u32 page;

	if (word & SLUICE_TRIE_CHILD) {
		page = (word & ~SLUICE_TRIE_CHILD) + addr[first];
		if (page_word(table, page << 8 | addr[first + 1], &word))
			return -1;
	}
	for (int i = first + 2; i < 16; i++) {
		if (!(word & SLUICE_TRIE_CHILD))
			break;
		if (page_word(table, word << 8 | addr[i], &word))
			return -1;
	}
	return word; /* a child here is negative: the trie ends in a node, which only a bug can bring about */
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
	if (t->version == 4) {
		table = bank_table(prefix4, t->bank);
		return table ? trie_walk(table, tenant->root4, dest ? t->dest : t->source, 12) : -1;
	}
	table = bank_table(prefix6, t->bank);
	return table ? trie_walk(table, tenant->root6, dest ? t->dest : t->source, 0) : -1;
}

/* Entry of `classes` for an address of the tuple, or NULL. */
static __always_inline const struct sluice_class *class_find(const struct tuple *t, bool dest)
{
	void *table = bank_table(classes, t->bank);
	__u32 index = prefix_lookup(t, dest);

	return table ? bpf_map_lookup_elem(table, &index) : NULL;
}

#endif
