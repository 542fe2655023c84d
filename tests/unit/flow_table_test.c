// SPDX-License-Identifier: Apache-2.0
/*
 * The shape of the flow table (include/sluice/flow.h): that a table sized for some number of flows takes them all, of
 * either family and mixed, that few live away from home, and that a key survives the way into a unit and back. The choice
 * of a unit is bpf/table.h's, told once more in plain words.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/abi.h>

#define HOME_CROWDED 8 /* bpf/table.h */

static uint64_t random_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void bytes_random(void *at, size_t n, uint64_t *state)
{
	for (uint8_t *p = at; n--; p++)
		*p = (uint8_t)random_next(state);
}

/* A client of one network that talks to few servers: keys that differ in few bits. */
static struct sluice_flow_key key_random(bool is6, uint64_t *state)
{
	struct sluice_flow_key key = {.protocol = 6, .version = is6 ? 6 : 4};
	uint16_t port = (uint16_t)(random_next(state) | 1024);

	if (is6) {
		memcpy(key.addr[0], "\xfd\x10", 2);
		memcpy(key.addr[1], "\xfd\x20", 2);
	} else {
		memcpy(key.addr[0] + 10, "\xff\xff\x0a\x01", 4);
		memcpy(key.addr[1] + 10, "\xff\xff\x0a\x02", 4);
	}
	bytes_random(key.addr[0] + 14, 2, state);
	key.addr[1][15] = (uint8_t)random_next(state) & 7;
	key.port[0] = (__be16)port;
	key.port[1] = 0x4411;
	return key;
}

struct table {
	uint16_t *used; /* units in use, a bit each */
	uint32_t buckets;
	uint32_t away;
	uint32_t liked; /* flows at home where they like to be */
};

static int room_find(uint16_t used, bool is6, int liked)
{
	if (!(used >> liked & (is6 ? 3 : 1)))
		return liked;
	for (int i = 0; is6 && i + 1 < SLUICE_FLOW_UNITS; i += 2)
		if (!(used >> i & 3))
			return i;
	for (int i = SLUICE_FLOW_UNITS - 1; !is6 && i >= 0; i--)
		if (!(used >> i & 1))
			return i;
	return -1;
}

static bool table_add(struct table *t, const struct sluice_flow_key *key)
{
	bool is6 = key->version == 6;
	struct sluice_flow_probe p;
	uint16_t *home, *other, *b;
	int room, there, liked;

	sluice_flow_probe(key, 0x5eed, t->buckets, &p);
	liked = (int)(is6 ? sluice_flow_liked6(p.tag) : sluice_flow_liked(p.tag));
	b = home = &t->used[p.bucket[0]];
	other = &t->used[p.bucket[1]];
	room = room_find(*home, is6, liked);
	if (room < 0 || __builtin_popcount(*home) >= HOME_CROWDED) {
		there = room_find(*other, is6, liked);
		if (there >= 0 && (room < 0 || __builtin_popcount(*other) < __builtin_popcount(*home))) {
			b = other;
			room = there;
			t->away++;
		}
	}
	if (room < 0) {
		b = &t->used[p.bucket[2]];
		room = room_find(*b, is6, liked);
	}
	if (room < 0)
		return false;
	*b |= (uint16_t)((is6 ? 3 : 1) << room);
	t->liked += b == home && room == liked;
	return true;
}

enum mix { ALL_4, ALL_6, BOTH };

/* Fills a table with as many flows as it was sized for. How many found no room; the first of them. */
static uint32_t fill(uint32_t max, enum mix mix, uint64_t seed, uint32_t *ret_first)
{
	struct table t = {.buckets = sluice_flow_buckets(max)};
	uint32_t i, refused = 0;

	t.used = calloc(t.buckets, sizeof(*t.used));
	cr_assert(t.used);
	*ret_first = max;
	for (i = 0; i < max; i++) {
		struct sluice_flow_key key = key_random(mix == ALL_6 || (mix == BOTH && random_next(&seed) & 1), &seed);

		if (table_add(&t, &key))
			continue;
		*ret_first = refused++ ? *ret_first : i;
	}
	free(t.used);
	return refused;
}

Test(flow_table, takes_what_it_was_sized_for)
{
	static const uint32_t sizes[] = {64, 1000, 65536, 1 << 20};
	static const char *const names[] = {"IPv4", "IPv6", "both"};
	uint32_t first, refused;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int mix = ALL_4; mix <= BOTH; mix++)
			for (uint64_t seed = 1; seed <= (sizes[i] > 65536 ? 1 : 20); seed++) {
				refused = fill(sizes[i], mix, seed, &first);
				cr_expect(refused <= (mix == ALL_6 ? 2 + sizes[i] / 10000 : 0),
					  "%u flows of %s, seed %llu: %u found no room, the first after %u", sizes[i],
					  names[mix], (unsigned long long)seed, refused, first);
			}
}

Test(flow_table, few_flows_live_away_while_it_is_half_full)
{
	uint32_t away, refused, max = 1 << 18;
	struct table t = {.buckets = sluice_flow_buckets(max)};
	uint64_t seed = 7;

	t.used = calloc(t.buckets, sizeof(*t.used));
	for (refused = 0, away = 0; away < max / 2; away++) {
		struct sluice_flow_key key = key_random(true, &seed);

		refused += !table_add(&t, &key);
	}
	free(t.used);
	cr_expect(!refused && t.away < max / 2 / 10, "%u of %u away, %u refused", t.away, max / 2, refused);
}

/* Which is what lets a packet find its flow by one line of memory. */
Test(flow_table, most_flows_live_where_they_like_to)
{
	for (int is6 = 0; is6 <= 1; is6++) {
		uint32_t max = 1 << 18, i;
		struct table t = {.buckets = sluice_flow_buckets(max)};
		uint64_t seed = 11;

		t.used = calloc(t.buckets, sizeof(*t.used));
		for (i = 0; i < max / 2; i++) {
			struct sluice_flow_key key = key_random(is6, &seed);

			table_add(&t, &key);
		}
		free(t.used);
		cr_expect(t.liked >= (is6 ? max / 2 / 4 * 3 : max / 2 / 10 * 9), "IPv%d: %u of %u", is6 ? 6 : 4, t.liked, max / 2);
	}
}

Test(flow_table, fits_the_budget)
{
	uint64_t bytes = (uint64_t)sluice_flow_buckets(1 << 20) * sizeof(struct sluice_flow_bucket);

	cr_expect(bytes <= 192ull << 20, "a million flows take %llu bytes", (unsigned long long)bytes);
}

Test(flow_table, key_survives)
{
	uint64_t seed = 3;

	for (int i = 0; i < 1000; i++) {
		struct sluice_flow_key key = key_random(i & 1, &seed), again;
		union sluice_flow_unit unit[2] = {};
		struct sluice_flow_probe p;

		key.tenant = (uint16_t)(random_next(&seed) & 4095);
		key.protocol = (uint8_t)random_next(&seed);
		sluice_flow_probe(&key, seed, 1000, &p);
		memcpy(unit, p.word, sizeof(p.word));
		memcpy(unit[1].addr, key.addr, sizeof(key.addr));
		sluice_flow_key_of(&unit[0].flow, unit[1].addr, &again);
		cr_assert(!memcmp(&key, &again, sizeof(key)), "key %d", i);
		cr_assert(p.bucket[0] < 1000 && p.bucket[1] < 1000 && (p.tag & SLUICE_TAG_STATE) != SLUICE_TAG_FREE);
	}
}
