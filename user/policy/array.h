/* SPDX-License-Identifier: Apache-2.0 */
/* Growing arrays and hash indices: what the parser and the compiler intern things with. Internal to user/policy. */
#ifndef SLUICE_POLICY_ARRAY_H
#define SLUICE_POLICY_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Appends one zeroed element to the array *items of *count elements of `size` bytes and returns it; NULL: no memory and
 * nothing changed. The capacity is the next power of two of the count, so no array that this grows may be made
 * otherwise.
 */
void *array_add(void *items, size_t *count, size_t size);

/* Makes room for `more` elements beyond `count`; 0 or -ENOMEM. *capacity is the caller's. */
int array_reserve(void *items, size_t *capacity, size_t count, size_t more, size_t size);

/* From a 64-bit hash to the numbers stored under it. Zero-initialise. */
struct hash_index {
	struct hash_slot {
		uint64_t hash;
		uint32_t id; /* number + 1; 0: free */
	} * slots;
	size_t capacity; /* power of two */
	size_t count;
};

/* Says whether number `id` is the thing looked for. */
typedef bool (*hash_equal_fn)(const void *arg, const void *key, uint32_t id);

#define HASH_NONE UINT32_MAX

/* The number stored under `hash` for which equal(arg, key, number) holds (equal NULL: the hash decides), or HASH_NONE.
 */
uint32_t hash_index_find(const struct hash_index *h, uint64_t hash, hash_equal_fn equal, const void *arg,
			 const void *key);
int hash_index_add(struct hash_index *h, uint64_t hash, uint32_t id);
void hash_index_done(struct hash_index *h);

/* Mixes all bits of x into all bits of the result. A bijection. */
uint64_t hash_mix(uint64_t x);
uint64_t hash_bytes(const void *data, size_t length);
uint64_t hash_string(const char *text);

/*
 * The fingerprint of a set of numbers: the sum of one fixed 128-bit key per member, so that a member comes and goes in
 * O(1). Two different sets share one with a probability of 2^-128.
 */
struct fingerprint {
	uint64_t low;
	uint64_t high;
};

/* Numbers sets, in order of first sight. Zero-initialise. */
struct fingerprint_index {
	struct hash_index index;
	struct fingerprint *items;
	size_t count;
};

/* The number of a set, or HASH_NONE; and giving it the next number. */
uint32_t fingerprint_find(const struct fingerprint_index *f, const struct fingerprint *set);
int fingerprint_number(struct fingerprint_index *f, const struct fingerprint *set);
void fingerprint_index_done(struct fingerprint_index *f);

void fingerprint_add(struct fingerprint *f, uint32_t member);
void fingerprint_remove(struct fingerprint *f, uint32_t member);

#endif
