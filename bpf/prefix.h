/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses to address classes: two or three steps in a trie of cache lines, however many prefixes there are. For tenant.h
 * and classify.h.
 */
#ifndef SLUICE_BPF_PREFIX_H
#define SLUICE_BPF_PREFIX_H

#include "pkt.h"
#include "words.h"

/* 4 and 8 bytes of an address as a number, the first byte the highest. */
static __always_inline __u32 addr_word(const __u8 *byte)
{
	return bpf_ntohl(*(const __be32 *)byte);
}

static __always_inline __u64 addr_bits(const __u8 *byte)
{
	return (__u64)addr_word(byte) << 32 | addr_word(byte + 4);
}

/* ---- lines: abi.h, "Addresses" ---- */

#define LANES 0x0001000100010001ull
#define EDGES 0x8000800080008000ull

/*
 * Edges at or below the next 15 bits. Each lane of 16 bits is 0x8000 + bits - edge: its top bit says whether the edge
 * is at or below. No branch depends on what was read, so that the CPU goes on while the line is on its way.
 */
static __always_inline __u32 list_place(const struct sluice_line_list *list, __u64 bits)
{
	__u64 digits = bits * LANES | EDGES, places = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		places += (digits - list->edges[i] & EDGES) >> 15;
	return places * LANES >> 48 & 15;
}

/*
 * The first prefix that fits, SLUICE_MATCH_PREFIXES where none does. Few instructions, too: what waits for the line shall
 * fit into the CPU's queue with what comes after it, which does not wait.
 */
static __always_inline __u32 match_place(const struct sluice_line_match *match, const struct trie_key *key)
{
	__u64 rest = key->high << 63 | key->low >> 1, found = 0, place = SLUICE_MATCH_PREFIXES, differs;

#pragma unroll
	for (int i = 0; i < SLUICE_MATCH_PREFIXES; i++) {
		differs = (key->high ^ match->value[i]) >> (match->shift[i] & 63);
		if (i < SLUICE_MATCH_TAILS)
			differs |= (rest ^ match->tail[i]) >> (match->tail_shift[i] & 63) >> 1;
		found |= (differs - 1) >> 63; /* 1 if nothing differs */
		place -= found;
	}
	barrier_var(place); /* the compiler would know its bounds, count in negative numbers, and lose the verifier */
	return place & 7;
}

/* One step from a child word. */
static __always_inline int line_step(struct words *w, __u32 lines_at, __u32 *word, struct trie_key *key)
{
	__u32 at = lines_at + ((*word & SLUICE_TRIE_PLACE) << SLUICE_LINE_SHIFT), group;
	__u32 kind = *word >> SLUICE_TRIE_STRIDE & 31;
	const struct sluice_line_match *match;
	const struct sluice_line_list *list;
	const void *line;

	if (kind <= SLUICE_STRIDE_MAX) {
		if (words_get(w, at + (__u32)(key->high >> (64 - kind & 63)), word))
			return -1;
		trie_key_use(key, kind);
		return 0;
	}
	group = kind - SLUICE_LINE_LIST & SLUICE_LINE_GROUP;
	if (kind != SLUICE_LINE_SKIP) {
		at += (__u32)(key->high >> 1 >> (63 - group)) << SLUICE_LINE_SHIFT;
		trie_key_use(key, group);
	}
	line = words_line(w, at);
	if (!line)
		return -1;
	if (kind < SLUICE_LINE_MATCH) {
		list = line;
		*word = list->class[list_place(list, key->high >> (64 - SLUICE_LIST_BITS))];
	} else if (kind < SLUICE_LINE_SKIP) {
		match = line;
		*word = match->class[match_place(match, key)];
	} else {
		skip_step(line, word, key);
	}
	return 0;
}

/* Number of the class of an address of the tuple's tenant, or -1: the lines are broken, which only a bug can do. */
static __always_inline int prefix_lookup(struct words *w, const struct sluice_policy *p, const struct tuple *t,
					 const __u8 address[16])
{
	bool ipv4 = t->version == 4;
	struct trie_key key;
	__u32 word;

	if (words_get(w, p->tenants_at + 2 * t->tenant + !ipv4, &word))
		return -1;
	/* One walk for both: the program is shorter, and needs less stack, by half. */
	key.high = ipv4 ? (__u64)addr_word(address + 12) << 32 : addr_bits(address);
	key.low = ipv4 ? 0 : addr_bits(address + 8);
#pragma clang loop unroll(disable)
	for (int i = 0; i < SLUICE_LINE_STEPS; i++) {
		if (!(word & SLUICE_TRIE_CHILD))
			break;
		if (line_step(w, p->lines_at, &word, &key))
			return -1;
	}
	return word; /* a child here is negative */
}

/* The class of a number of prefix_lookup(), or NULL. */
static __always_inline const struct sluice_class *class_get(struct words *w, const struct sluice_policy *p, int class)
{
	return class < 0 ? NULL : words_part(w, p->classes_at + (__u32)class * (sizeof(struct sluice_class) / 4));
}

#endif
