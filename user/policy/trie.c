// SPDX-License-Identifier: Apache-2.0
/*
 * Intervals of addresses → multibit trie: a root of 16 bits, then nodes of 8 bits, one page each; see abi.h. Called by
 * classes.c once a tenant and family. Equal nodes are stored once, over all tenants: a page is found by its content.
 */
#include <errno.h>
#include <string.h>

#include "policy/compile.h"

struct builder {
	struct compiler *compiler;
	struct words *words;
	struct hash_index *pages;  /* by content; numbers are pages */
	const struct interval *at; /* the interval that holds the address built next; only moves forward */
	int failed;
};

static bool page_is(const void *words, const void *page, uint32_t number)
{
	return !memcmp(((const struct words *)words)->items + (size_t)number * SLUICE_PAGE_WORDS, page,
		       sizeof(struct sluice_page));
}

static uint32_t page_intern(struct builder *b, const struct sluice_page *page)
{
	uint64_t hash = hash_bytes(page, sizeof(*page));
	uint32_t number = hash_index_find(b->pages, hash, page_is, b->words, page);
	size_t first;

	if (number != HASH_NONE)
		return number;
	b->failed = words_add(b->compiler, b->words, SLUICE_PAGE_WORDS, &first);
	if (b->failed)
		return 0;
	memcpy(b->words->items + first, page, sizeof(*page));
	number = (uint32_t)(first / SLUICE_PAGE_WORDS);
	b->failed = hash_index_add(b->pages, hash, number);
	return number;
}

/* The trie word of the 2^shift addresses from `first`. Recurses once every 8 bits. */
static uint32_t word_build(struct builder *b, address_t first, unsigned int shift)
{
	struct sluice_page page;
	unsigned int i;

	while (b->at->last < first)
		b->at++;
	/* shift 0 is one address, and always ends here. */
	if (b->at->last - first >= ((address_t)1 << shift) - 1)
		return b->at->class;
	for (i = 0; i < SLUICE_PAGE_WORDS && !b->failed; i++)
		page.word[i] = word_build(b, first | (address_t)i << (shift - 8), shift - 8);
	return b->failed ? 0 : SLUICE_TRIE_CHILD | page_intern(b, &page);
}

int trie_build(struct compiler *c, struct words *w, struct hash_index *pages, const struct interval *intervals,
	       size_t count, unsigned int bits, uint32_t *ret_root)
{
	struct builder b = {.compiler = c, .words = w, .pages = pages, .at = intervals};
	size_t first, i, root_words = 256 * SLUICE_PAGE_WORDS;
	uint32_t word;
	int r;

	if (count == 1) {
		*ret_root = intervals->class;
		return 0;
	}
	r = words_add(c, w, root_words, &first);
	for (i = 0; i < root_words && !r; i++) {
		word = word_build(&b, (address_t)i << (bits - 16), bits - 16);
		w->items[first + i] = word;
		r = b.failed;
	}
	if (!r)
		*ret_root = SLUICE_TRIE_CHILD | (uint32_t)(first / SLUICE_PAGE_WORDS);
	return r;
}
