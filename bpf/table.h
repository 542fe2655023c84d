/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of live flows: finding, making, ending an entry. What a flow means is flow.h's, when it ends expiry.h's.
 * The layout, and who may write what when, is told in the contract's flow.h.
 */
#ifndef SLUICE_BPF_TABLE_H
#define SLUICE_BPF_TABLE_H

#include "config.h"
#include "flow_state.h"
#include "order.h"
#include "pkt.h"

#define UNIT_NONE SLUICE_FLOW_UNITS

#define HOME_CROWDED 8	/* units in use at home from which on a new flow looks at its other bucket, too */
#define CANDIDATES   3	/* units of a bucket with the same 28 bits of hash: one in 10^17 buckets would have a fourth */
#define CLAIM_TRIES  4	/* of units that another CPU may take at the same moment */

#define MARK_MADE  1ull
#define MARK_ENDED (1ull << 32)

/* A flow that was found or made. flow == NULL: none. Its tag is bucket->tag[unit]. */
struct flow_ref {
	struct sluice_flow *flow;
	struct sluice_flow_bucket *bucket;
	__u32 unit;
};

static __always_inline struct sluice_flow_bucket *bucket_at(__u32 number)
{
	return bpf_map_lookup_elem(&flows, &number);
}

static __always_inline struct sluice_flow_totals *totals(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_totals, &zero);
}

/* The contract's flow.h, map `flow_marks`. With the old value used, the addition is also a barrier on every architecture. */
static __always_inline void flow_mark_add(__u32 mark, __u64 what)
{
	__u32 number = mark & (SLUICE_FLOW_MARKS - 1);
	__u64 *word = bpf_map_lookup_elem(&flow_marks, &number);
	__u64 old;

	if (!word)
		return;
	old = __sync_fetch_and_add(word, what);
	barrier_var(old);
}

/* How a mark reads now; false: there is none. */
static __always_inline bool flow_mark_read(__u32 mark, __u64 *ret_now)
{
	__u32 number = mark & (SLUICE_FLOW_MARKS - 1);
	const volatile __u64 *word = bpf_map_lookup_elem(&flow_marks, &number);

	if (!word)
		return false;
	*ret_now = *word;
	return true;
}

/* Whether some flow is alive of a mark that reads so. */
static __always_inline bool mark_lives(__u64 mark)
{
	return (__u32)mark != mark >> 32;
}

static __always_inline bool probe_is6(const struct sluice_flow_probe *p)
{
	return (p->tag & SLUICE_TAG_STATE) == SLUICE_TAG_LIVE6;
}

static __always_inline void probe_fill(struct sluice_flow_probe *p, const struct sluice_flow_key *key)
{
	sluice_flow_probe(key, flow_seed, flow_buckets, p);
}

/* ------------------------------------------------------------------- find */

/* A flow's second word is written last: see flow_begin(). Whatever else is read, of it or by its number, is no older. */
static __always_inline const volatile __u64 *unit_published(const struct sluice_flow_bucket *b, __u32 i)
{
	return (const volatile __u64 *)&b->unit[i] + 1;
}

static __always_inline bool unit_is(const struct sluice_flow_bucket *b, __u32 i, const struct sluice_flow_key *key,
				    const struct sluice_flow_probe *p)
{
	const __u64 *word, *wanted = (const __u64 *)key->addr;

	if (*unit_published(b, i) != p->word[1])
		return false;
	b = (const void *)b + zero_of(unit_published(b, i));
	word = (const __u64 *)&b->unit[i];
	if (word[0] != p->word[0])
		return false;
	if (!probe_is6(p))
		return true;
	if (i + 1 >= SLUICE_FLOW_UNITS)
		return false;
	word = (const __u64 *)b->unit[i + 1].addr;
	return word[0] == wanted[0] && word[1] == wanted[1] && word[2] == wanted[2] && word[3] == wanted[3];
}

/*
 * Sets of units are masks, filled and read without branches: which of 15 tags is the one wanted is what no CPU predicts,
 * and a verifier that follows every way out of a loop multiplies what comes after it by 15.
 */
static __always_inline __u32 is_zero(__u32 x)
{
	x |= -x;
	barrier_var(x); /* or the compiler sees through it and branches */
	return ~x >> 31;
}

/* x, of which the verifier knows nothing any more: one state goes on from here, not one a unit. */
static __always_inline __u32 forget(__u32 x, __u32 anything)
{
	asm volatile("%0 ^= %1; %0 ^= %1" : "+r"(x) : "r"(anything));
	return x;
}

/* Number of the lowest unit of a mask that is not empty. */
static __always_inline __u32 mask_first(__u32 mask)
{
	__u32 bit = mask & -mask, number;

	number = !is_zero(bit & 0xff00) << 3 | !is_zero(bit & 0xf0f0) << 2 | !is_zero(bit & 0xcccc) << 1 |
		 !is_zero(bit & 0xaaaa);
	barrier_var(number); /* before kernel 6.10, `|` of two unknowns is unknown in all 64 bits: bounded here, ... */
	number &= 15;
	barrier_var(number); /* ... and compared, by who asked, with "less" and not with "is not 15" */
	return number;
}

/* Units whose tag is `wanted` in the bits of `care`. */
static __always_inline __u32 bucket_mask(const struct sluice_flow_bucket *b, __u32 wanted, __u32 care)
{
	__u32 mask = 0, i;

#pragma unroll
	for (i = 0; i < SLUICE_FLOW_UNITS; i++)
		mask |= is_zero((*(const volatile __u32 *)&b->tag[i] ^ wanted) & care) << i;
	return mask;
}

/* A unit that was found, for who will read of it. */
static __always_inline __u32 unit_found(const struct sluice_flow_bucket *b, __u32 i, const struct sluice_flow_probe *p)
{
	return forget(i + (__u32)zero_of(unit_published(b, i)), p->tag);
}

/* The unit of the live flow in one bucket, not `but`; or UNIT_NONE. */
static __always_inline __u32 bucket_find(const struct sluice_flow_bucket *b, const struct sluice_flow_key *key,
					 const struct sluice_flow_probe *p, __u32 but)
{
	__u32 mask = bucket_mask(b, p->tag, ~SLUICE_TAG_AWAY) & ~(1u << but), i, unit;

#pragma unroll
	for (i = 0; i < CANDIDATES; i++) {
		unit = mask_first(mask);
		if (mask && unit < SLUICE_FLOW_UNITS && unit_is(b, unit, key, p))
			return unit_found(b, unit, p);
		mask &= mask - 1;
	}
	return UNIT_NONE;
}

static __always_inline struct flow_ref flow_ref(struct sluice_flow_bucket *b, __u32 unit)
{
	struct flow_ref none = {};

	barrier_var(unit); /* as in mask_first(): "less than 15" bounds it for kernel 6.1, "is not 15" would not */
	if (unit >= SLUICE_FLOW_UNITS)
		return none;
	return (struct flow_ref){&b->unit[unit].flow, b, unit};
}

/* What is at a place: bucket << 4 | unit. */
static __always_inline struct flow_ref table_at(__u32 place)
{
	struct sluice_flow_bucket *b = bucket_at(place >> 4);

	return b ? flow_ref(b, place & 15) : flow_ref(NULL, UNIT_NONE);
}

/* The place of the live flow with that key, if it is not at home; or UNIT_NONE. Seldom asked. Global: verified once. */
__noinline __u32 table_find_away(const struct sluice_flow_key *key, const struct sluice_flow_probe *p)
{
	struct sluice_flow_bucket *b;
	__u32 unit;
	int i;

	if (!key || !p)
		return UNIT_NONE;
	for (i = 1; i < SLUICE_FLOW_PLACES; i++) {
		b = bucket_at(p->bucket[i]);
		unit = b ? bucket_find(b, key, p, UNIT_NONE) : UNIT_NONE;
		if (unit < SLUICE_FLOW_UNITS)
			return p->bucket[i] << 4 | unit;
	}
	return UNIT_NONE;
}

static __always_inline __u32 unit_liked(const struct sluice_flow_probe *p)
{
	__u32 unit = probe_is6(p) ? sluice_flow_liked6(p->tag) : sluice_flow_liked(p->tag);

	barrier_var(unit); /* or clang 16 joins its last shift with that of an address, and the bound is lost */
	return unit;
}

static __always_inline __u32 home_find(const struct sluice_flow_bucket *home, const struct sluice_flow_key *key,
				       const struct sluice_flow_probe *p)
{
	__u32 unit = unit_liked(p);

	if (*(const volatile __u32 *)&home->tag[unit] == p->tag && unit_is(home, unit, key, p))
		return unit_found(home, unit, p);
	return bucket_find(home, key, p, UNIT_NONE);
}

/* The place of the live flow with that key, or UNIT_NONE. */
static __always_inline __u32 table_find(const struct sluice_flow_key *key, const struct sluice_flow_probe *p)
{
	struct sluice_flow_bucket *home = bucket_at(p->bucket[0]);
	__u32 unit;

	if (!home)
		return UNIT_NONE;
	unit = home_find(home, key, p);
	if (unit < SLUICE_FLOW_UNITS || !*(volatile __u32 *)&home->away)
		return p->bucket[0] << 4 | unit;
	return table_find_away(key, p);
}

/* ------------------------------------------------------------------- end */

/* The addresses of the flow in a unit, if it is of IPv6: what the next unit holds. */
static __always_inline const __u64 *unit_addresses6(const struct sluice_flow_bucket *b, __u32 i)
{
	__u32 second = i + 1;

	barrier_var(second); /* the bound below is for the verifier, of this very register */
	if (second >= SLUICE_FLOW_UNITS)
		second = 0;
	return (const __u64 *)b->unit[second].addr;
}

/* sluice_flow_mark() of the flow in a unit. */
static __always_inline __u32 unit_mark(const struct sluice_flow *flow, bool is6, const __u64 *addresses6)
{
	__u64 all = is6 ? addresses6[0] ^ addresses6[1] ^ addresses6[2] ^ addresses6[3] : flow->addr[0] ^ flow->addr[1];

	return sluice_flow_mark_of((__u32)all ^ (__u32)(all >> 32), flow->port[0], flow->port[1]);
}

/* One flow less: it has ended, or there was no room to make it. */
static __always_inline void table_uncount(__u32 mark)
{
	struct sluice_flow_totals *t = totals();

	flow_mark_add(mark, MARK_ENDED);
	if (t)
		__sync_fetch_and_sub(&t->flows, 1);
}

static __always_inline void half_open_add(__s32 n)
{
	struct sluice_flow_totals *t = totals();

	if (t)
		__sync_fetch_and_add(&t->half_open, n);
}

/* One flow more, or less, that lives away from its home. */
static __always_inline void away_add(const struct sluice_flow_probe *p, __s32 n)
{
	struct sluice_flow_bucket *home = bucket_at(p->bucket[0]);

	if (home)
		__sync_fetch_and_add(&home->away, n);
}

/* What follows from the end of a flow, for the one that has ended it: `tag` is what it was. Global: verified once. */
__noinline int flow_forget(struct sluice_flow_bucket *b, __u32 i, __u32 tag)
{
	const __u64 *addresses6;
	struct sluice_flow_probe probe;
	struct sluice_flow *flow;
	__u32 facts;
	bool is6;

	if (!b || i >= SLUICE_FLOW_UNITS)
		return 0;
	flow = &b->unit[i].flow;
	is6 = (tag & SLUICE_TAG_STATE) == SLUICE_TAG_LIVE6;
	addresses6 = unit_addresses6(b, i);
	facts = __sync_fetch_and_or(&flow->state, SLUICE_FLOW_ENDED) & SLUICE_FLOW_FACTS;
	if (flow_is_half_open(flow_protocol(flow), facts))
		half_open_add(-1);
	if (tag & SLUICE_TAG_AWAY) {
		probe.word[0] = ((const __u64 *)flow)[0];
		probe.word[1] = ((const __u64 *)flow)[1];
		sluice_flow_place(&probe, is6 ? sluice_flow_hash6(addresses6, flow_seed) : probe.word[0] ^ flow_seed,
				  tag & SLUICE_TAG_STATE, flow_buckets);
		away_add(&probe, -1);
	}
	table_uncount(unit_mark(flow, is6, addresses6));
	return 0;
}

/* Ends a flow. False: another CPU was faster. */
static __always_inline bool flow_retire(struct sluice_flow_bucket *b, __u32 i, __u64 now_ns)
{
	__u32 tag, over = flow_tick(now_ns) << SLUICE_TAG_SHIFT;

	if (i >= SLUICE_FLOW_UNITS)
		return false;
	tag = *(volatile __u32 *)&b->tag[i];
	if ((tag & SLUICE_TAG_STATE) == SLUICE_TAG_LIVE)
		over |= SLUICE_TAG_RETIRED;
	else if ((tag & SLUICE_TAG_STATE) == SLUICE_TAG_LIVE6)
		over |= SLUICE_TAG_RETIRED6;
	else
		return false;
	if (__sync_val_compare_and_swap(&b->tag[i], tag, over) != tag)
		return false;
	flow_forget(b, i, tag);
	return true;
}

/* Gives a retired unit away again once no packet can be under way with it. Called by the sweep. */
static __always_inline void unit_release(struct sluice_flow_bucket *b, __u32 i, __u32 tag, __u64 now_ns)
{
	__u32 since = (flow_tick(now_ns) - (tag >> SLUICE_TAG_SHIFT)) << SLUICE_TAG_SHIFT;

	if (since < SLUICE_FLOW_RETIRED_NS >> SLUICE_FLOW_LAST_SHIFT << SLUICE_TAG_SHIFT || i >= SLUICE_FLOW_UNITS)
		return;
	if (__sync_val_compare_and_swap(&b->tag[i], tag, SLUICE_TAG_BUSY) != tag)
		return;
	if ((tag & SLUICE_TAG_STATE) == SLUICE_TAG_RETIRED6 && i + 1 < SLUICE_FLOW_UNITS)
		*(volatile __u32 *)&b->tag[i + 1] = SLUICE_TAG_FREE;
	*(volatile __u32 *)&b->tag[i] = SLUICE_TAG_FREE;
}

/* ------------------------------------------------------------------- make */

#define PAIRS 0x1555u /* units at which a flow of IPv6 may begin */

static __always_inline __u32 mask_last(__u32 mask)
{
	mask |= mask >> 1;
	mask |= mask >> 2;
	mask |= mask >> 4;
	mask |= mask >> 8;
	return mask_first(mask ^ mask >> 1);
}

static __always_inline __u32 mask_count(__u32 mask)
{
	mask -= mask >> 1 & 0x5555;
	mask = (mask & 0x3333) + (mask >> 2 & 0x3333);
	mask = (mask + (mask >> 4)) & 0x0f0f;
	return (mask + (mask >> 8)) & 31;
}

/*
 * A unit that a new flow may take, or UNIT_NONE: the one that it likes, or else IPv4 fills from the end and IPv6 from the
 * beginning, which leaves pairs whole. If nothing is free, one of a flow that has ended just now.
 */
static __always_inline __u32 bucket_room(const struct sluice_flow_bucket *b, const struct sluice_flow_probe *p,
					 __u32 *ret_used)
{
	__u32 room = bucket_mask(b, SLUICE_TAG_FREE, ~0u), liked = unit_liked(p);
	bool is6 = probe_is6(p);

	*ret_used = SLUICE_FLOW_UNITS - mask_count(room);
	if (is6)
		room &= room >> 1 & PAIRS;
	if (room >> liked & 1)
		return liked;
	if (!room)
		room = bucket_mask(b, is6 ? SLUICE_TAG_RETIRED6 : SLUICE_TAG_RETIRED, SLUICE_TAG_STATE);
	if (!room)
		return UNIT_NONE;
	return is6 ? mask_first(room) : mask_last(room);
}

/* Moves a unit that bucket_room() has named to busy. False: another CPU was faster. */
static __always_inline bool unit_claim(struct sluice_flow_bucket *b, __u32 i, bool is6)
{
	__u32 tag;

	if (i >= SLUICE_FLOW_UNITS)
		return false;
	tag = *(volatile __u32 *)&b->tag[i];
	if (tag && (tag & SLUICE_TAG_STATE) != (is6 ? SLUICE_TAG_RETIRED6 : SLUICE_TAG_RETIRED))
		return false;
	if (__sync_val_compare_and_swap(&b->tag[i], tag, SLUICE_TAG_BUSY) != tag)
		return false;
	if (!is6 || (tag & SLUICE_TAG_STATE) == SLUICE_TAG_RETIRED6) /* that one has its second already */
		return true;
	if (i + 1 < SLUICE_FLOW_UNITS &&
	    __sync_val_compare_and_swap(&b->tag[i + 1], SLUICE_TAG_FREE, SLUICE_TAG_SECOND) == SLUICE_TAG_FREE)
		return true;
	*(volatile __u32 *)&b->tag[i] = SLUICE_TAG_FREE;
	return false;
}

/* One try at a busy unit in one of the flow's buckets: its place, UNIT_NONE for none. Global: verified once. */
__noinline __u32 table_claim(const struct sluice_flow_probe *p)
{
	struct sluice_flow_bucket *home, *other;
	__u32 unit, there, used, used_there;

	if (!p)
		return UNIT_NONE;
	home = bucket_at(p->bucket[0]);
	other = bucket_at(p->bucket[1]);
	if (!home || !other)
		return UNIT_NONE;
	unit = bucket_room(home, p, &used);
	if (used < HOME_CROWDED && unit < UNIT_NONE)
		return unit_claim(home, unit, probe_is6(p)) ? p->bucket[0] << 4 | unit : UNIT_NONE;
	there = bucket_room(other, p, &used_there);
	if (there < UNIT_NONE && (used_there < used || unit == UNIT_NONE))
		return unit_claim(other, there, probe_is6(p)) ? p->bucket[1] << 4 | there : UNIT_NONE;
	if (unit < UNIT_NONE)
		return unit_claim(home, unit, probe_is6(p)) ? p->bucket[0] << 4 | unit : UNIT_NONE;
	other = bucket_at(p->bucket[2]);
	there = other ? bucket_room(other, p, &used_there) : UNIT_NONE;
	return other && unit_claim(other, there, probe_is6(p)) ? p->bucket[2] << 4 | there : UNIT_NONE;
}

/* The same flow's place, other than `mine`; or UNIT_NONE. Global: verified once. */
__noinline __u32 table_find_twin(const struct sluice_flow_key *key, const struct sluice_flow_probe *p, __u32 mine)
{
	struct sluice_flow_bucket *b;
	__u32 unit, number;
	int i;

	if (!key || !p)
		return UNIT_NONE;
	for (i = 0; i < SLUICE_FLOW_PLACES; i++) {
		number = p->bucket[i];
		b = bucket_at(number);
		if (!b)
			continue;
		unit = bucket_find(b, key, p, number == mine >> 4 ? mine & 15 : UNIT_NONE);
		if (unit < SLUICE_FLOW_UNITS)
			return number << 4 | unit;
	}
	return UNIT_NONE;
}

/* The same where both must be at home. */
static __always_inline __u32 home_find_twin(const struct sluice_flow_bucket *home, const struct sluice_flow_key *key,
					    const struct sluice_flow_probe *p, __u32 mine)
{
	return p->bucket[0] << 4 | bucket_find(home, key, p, mine & 15);
}

/*
 * Lets the flow at `mine` be found. Another CPU may have made the same one at the same moment: each looks for a twin
 * after its own can be found, so at least one of them sees both, and both would end the same one, that in the higher
 * place. One away from home has counted itself there before it can be found, so that a home which counts none has not
 * missed it: it will see this one. Returns the place of what is left.
 */
static __always_inline __u32 table_publish(struct sluice_flow_bucket *b, __u32 mine, const struct sluice_flow_key *key,
					   const struct sluice_flow_probe *p, bool away, __u64 now_ns)
{
	__u32 unit = (mine & 15) < SLUICE_FLOW_UNITS ? mine & 15 : 0, twin;
	struct flow_ref other;

	__sync_val_compare_and_swap(&b->tag[unit], SLUICE_TAG_BUSY, p->tag | (away ? SLUICE_TAG_AWAY : 0));
	twin = away || *(volatile __u32 *)&b->away ? table_find_twin(key, p, mine) : home_find_twin(b, key, p, mine);
	if ((twin & 15) == UNIT_NONE)
		return mine;
	if (mine > twin) {
		flow_retire(b, unit, now_ns);
		return twin;
	}
	other = table_at(twin);
	if (other.flow)
		flow_retire(other.bucket, other.unit, now_ns);
	return mine;
}

#endif
