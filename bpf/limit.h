/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 8, limits: what a rule allows passes up to its rate, packets of flows included, both ways. A bucket is a word
 * (abi.h, struct sluice_limit), of the rule or of each end that opens conversations under it.
 *
 * The clock is the fine one: on the coarse one a bucket that holds less than a tick's worth would lose the rest. A
 * packet that is over the limit writes nothing, so a flood costs the CPUs no cache line of each other, however many
 * they are; what passes moves one line, at most as often as the limit says.
 */
#ifndef SLUICE_BPF_LIMIT_H
#define SLUICE_BPF_LIMIT_H

#include "config.h"
#include "pkt.h"

#define LIMIT_TRIES 4

static __always_inline __u64 limit_now(void)
{
	return (replay ? replay_state.now_ns : bpf_ktime_get_ns()) << SLUICE_LIMIT_TICK_SHIFT;
}

/* What the bucket owes, in ticks. */
static __always_inline __u64 bucket_debt(__u64 due, __u64 now)
{
	__u64 debt = due - now;

	return debt > SLUICE_LIMIT_FAR ? 0 : debt; /* behind now is far ahead, too */
}

/* What no bucket of that size can hold passes when it is full, and is owed. */
static __always_inline bool bucket_has(__u64 debt, __u64 cost, __u64 burst)
{
	return !debt || debt + cost <= burst;
}

/*
 * Takes `cost`, or says that there is not so much. Where others are faster every time there was room a moment ago, so
 * it is taken all the same: what is too much is owed.
 */
static __always_inline bool bucket_take(__u64 *due, __u64 now, __u64 cost, __u64 burst)
{
	__u64 before, debt;

	for (int i = 0; i < LIMIT_TRIES; i++) {
		before = *(volatile __u64 *)due;
		debt = bucket_debt(before, now);
		if (!bucket_has(debt, cost, burst))
			return false;
		if (__sync_val_compare_and_swap(due, before, now + debt + cost) == before)
			return true;
	}
	__sync_fetch_and_add(due, cost);
	return true;
}

/* ---- buckets of sources ---- */

/* NH (Black et al., UMAC, 1999): who does not know the key cannot choose addresses that meet. */
static __always_inline __u64 nh(__u32 a, __u32 b, __u64 key)
{
	return (__u64)(a + (__u32)key) * (__u32)(b + (__u32)(key >> 32));
}

static __always_inline __u64 source_tag(const struct pkt *pkt, const struct sluice_limit *l, const __u64 *seed)
{
	const __u32 *word = (const __u32 *)(pkt_opener(pkt) ? pkt->key.addr[1] : pkt->key.addr[0]);
	__u64 tag = nh(word[0], word[1], seed[0]) + nh(word[2], word[3], seed[1]);

	tag += nh(pkt->decision.slot, pkt->tuple.tenant << 16 | l->mark, seed[0] ^ seed[1] >> 7);
	tag *= 0x9e3779b97f4a7c15ull;
	return (tag ^ tag >> 32) | 1;
}

/*
 * The bucket of a source, its own or taken over; NULL: all of its set owe more than would be let through. Two CPUs that
 * take over at once share one, or the source has two until one of them is empty again.
 */
static __always_inline __u64 *source_bucket(struct sluice_limit_set *set, __u64 tag, __u64 now, __u64 cost, __u64 burst)
{
	__u64 debt, least = ~0ull, before = 0;
	struct sluice_limit_source *way;
	__u32 place = 0;

	for (__u32 i = 0; i < SLUICE_LIMIT_WAYS; i++) {
		way = &set->way[i];
		if (way->tag == tag)
			return &way->due;
		debt = bucket_debt(*(volatile __u64 *)&way->due, now);
		if (debt < least) {
			least = debt;
			place = i;
			before = way->tag;
		}
	}
	if (!bucket_has(least, cost, burst))
		return NULL;
	way = &set->way[place & (SLUICE_LIMIT_WAYS - 1)];
	__sync_val_compare_and_swap(&way->tag, before, tag);
	return &way->due;
}

static __always_inline bool source_take(const struct pkt *pkt, const struct sluice_limit *l, __u64 now, __u64 cost)
{
	const struct sluice_control *c;
	struct sluice_limit_set *set;
	__u32 zero = 0, number;
	__u64 tag, *due;

	c = bpf_map_lookup_elem(&control, &zero);
	if (!c)
		return false;
	tag = source_tag(pkt, l, c->seed);
	number = tag >> 40 & (SLUICE_LIMIT_SETS - 1);
	set = bpf_map_lookup_elem(&limit_sources, &number);
	if (!set)
		return false;
	due = source_bucket(set, tag, now, cost, l->burst);
	return due && bucket_take(due, now, cost, l->burst);
}

/* ---- the stage ---- */

static __always_inline bool rule_take(const struct pkt *pkt, const struct sluice_limit *l, __u64 now, __u64 cost)
{
	__u32 number = sluice_limit_bucket(pkt->decision.slot);
	__u64 *due = bpf_map_lookup_elem(&limit_buckets, &number);

	return due && bucket_take(due, now, cost, l->burst);
}

static __always_inline const struct sluice_limit *limit_find(const struct pkt *pkt)
{
	__u32 number = (pkt->tuple.bank & 1) * SLUICE_MAX_RULES + pkt->decision.slot;

	return pkt->decision.slot < SLUICE_MAX_RULES ? bpf_map_lookup_elem(&limits, &number) : NULL;
}

/*
 * Whether the packet, which the stages before let pass with `reason` or are about to (UNDECIDED), is of a rule with a
 * limit. Asked only where the policy has limits; inline, so that the packets of other rules are spared a call.
 */
static __always_inline bool limit_applies(const struct pkt *pkt, int reason)
{
	const struct sluice_limit *l;

	if (reason != UNDECIDED && reason_drops(reason))
		return false;
	l = limit_find(pkt);
	return l && l->cost;
}

/* RATE_LIMITED if the packet is over the limit of its rule, else UNDECIDED. Global: verified once. */
__noinline int limit_decide(struct pkt *pkt)
{
	const struct sluice_limit *l;
	__u64 now, cost;
	__u32 units;

	if (!pkt)
		return SLUICE_R_INTERNAL;
	l = limit_find(pkt);
	if (!l)
		return UNDECIDED;
	units = !l->bytes ? 1 : pkt->length < SLUICE_LIMIT_BYTES_MAX ? pkt->length : SLUICE_LIMIT_BYTES_MAX;
	cost = units * l->cost >> SLUICE_LIMIT_COST_SHIFT;
	now = limit_now();
	return (l->per_source ? source_take(pkt, l, now, cost) : rule_take(pkt, l, now, cost)) ? UNDECIDED
											       : SLUICE_R_RATE_LIMITED;
}

#endif
