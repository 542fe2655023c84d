/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses to address classes: some two or three steps in a trie, however many prefixes there are. For tenant.h, classify.h. */
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

/* Number of the class of an address of the tuple's tenant, or -1. */
static __always_inline int prefix_lookup(struct words *w, const struct sluice_policy *p, const struct tuple *t,
					 const __u8 address[16])
{
	bool ipv4 = t->version == 4;
	__u32 root;

	if (words_get(w, p->tenants_at + 2 * t->tenant + !ipv4, &root))
		return -1;
	if (ipv4)
		return trie_leaf(w, root, (__u64)addr_word(address + 12) << 32, 0, SLUICE_TRIE_STEPS4);
	return trie_leaf(w, root, addr_bits(address), addr_bits(address + 8), SLUICE_TRIE_STEPS6);
}

/* The class itself, or NULL. */
static __always_inline const struct sluice_class *class_find(struct words *w, const struct sluice_policy *p,
							     const struct tuple *t, const __u8 address[16])
{
	int class = prefix_lookup(w, p, t, address);

	return class < 0 ? NULL : words_part(w, p->classes_at + (__u32)class * (sizeof(struct sluice_class) / 4));
}

#endif
