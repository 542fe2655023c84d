// SPDX-License-Identifier: Apache-2.0
/*
 * Growing arrays, hash indices and set fingerprints; see array.h. Used by the parser for names and by the compiler for
 * everything that it interns. Hash functions are fixed, never seeded: tables must be the same bytes on every machine.
 */
#include "policy/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *array_add(void *items, size_t *count, size_t size)
{
	void **array = items;
	void *grown;
	char *fresh;

	if ((*count & (*count - 1)) == 0) {
		grown = reallocarray(*array, *count ? *count * 2 : 1, size);
		if (!grown)
			return NULL;
		*array = grown;
	}
	fresh = (char *)*array + *count * size;
	memset(fresh, 0, size);
	++*count;
	return fresh;
}

int array_reserve(void *items, size_t *capacity, size_t count, size_t more, size_t size)
{
	void **array = items;
	size_t wanted = *capacity ? *capacity : 16;
	void *grown;

	if (count + more <= *capacity)
		return 0;
	while (wanted < count + more)
		wanted *= 2;
	grown = reallocarray(*array, wanted, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = wanted;
	return 0;
}

uint32_t hash_index_find(const struct hash_index *h, uint64_t hash, hash_equal_fn equal, const void *arg,
			 const void *key)
{
	size_t i;

	if (!h->capacity)
		return HASH_NONE;
	for (i = hash & (h->capacity - 1); h->slots[i].id; i = (i + 1) & (h->capacity - 1)) {
		if (h->slots[i].hash == hash && (!equal || equal(arg, key, h->slots[i].id - 1)))
			return h->slots[i].id - 1;
	}
	return HASH_NONE;
}

static void slot_put(struct hash_slot *slots, size_t capacity, uint64_t hash, uint32_t id)
{
	size_t i = hash & (capacity - 1);

	while (slots[i].id)
		i = (i + 1) & (capacity - 1);
	slots[i].hash = hash;
	slots[i].id = id;
}

int hash_index_add(struct hash_index *h, uint64_t hash, uint32_t id)
{
	size_t i, capacity = h->capacity ? h->capacity * 2 : 64;
	struct hash_slot *slots;

	if (h->count * 2 >= h->capacity) {
		slots = calloc(capacity, sizeof(*slots));
		if (!slots)
			return -ENOMEM;
		for (i = 0; i < h->capacity; i++) {
			if (h->slots[i].id)
				slot_put(slots, capacity, h->slots[i].hash, h->slots[i].id);
		}
		free(h->slots);
		h->slots = slots;
		h->capacity = capacity;
	}
	slot_put(h->slots, h->capacity, hash, id + 1);
	h->count++;
	return 0;
}

void hash_index_done(struct hash_index *h)
{
	free(h->slots);
	*h = (struct hash_index){};
}

/* The finaliser of SplitMix64. */
uint64_t hash_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t hash_bytes(const void *data, size_t length)
{
	const unsigned char *byte = data;
	uint64_t word, hash = hash_mix(length);

	for (; length >= sizeof(word); byte += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, byte, sizeof(word));
		hash = hash_mix(hash ^ word);
	}
	word = 0;
	if (length)
		memcpy(&word, byte, length);
	return hash_mix(hash ^ word);
}

uint64_t hash_string(const char *text)
{
	return hash_bytes(text, strlen(text));
}

void fingerprint_add(struct fingerprint *f, uint32_t member)
{
	f->low += hash_mix(member);
	f->high += hash_mix(member | 1ull << 40);
}

void fingerprint_remove(struct fingerprint *f, uint32_t member)
{
	f->low -= hash_mix(member);
	f->high -= hash_mix(member | 1ull << 40);
}

static bool fingerprint_is(const void *items, const void *key, uint32_t i)
{
	const struct fingerprint *set = &((const struct fingerprint *)items)[i], *k = key;

	return set->low == k->low && set->high == k->high;
}

uint32_t fingerprint_find(const struct fingerprint_index *f, const struct fingerprint *set)
{
	return hash_index_find(&f->index, set->low, fingerprint_is, f->items, set);
}

int fingerprint_number(struct fingerprint_index *f, const struct fingerprint *set)
{
	struct fingerprint *slot = array_add(&f->items, &f->count, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	*slot = *set;
	return hash_index_add(&f->index, set->low, (uint32_t)f->count - 1);
}

void fingerprint_index_done(struct fingerprint_index *f)
{
	hash_index_done(&f->index);
	free(f->items);
	*f = (struct fingerprint_index){};
}
