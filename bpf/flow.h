/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages 6 and 7, second half: live flows. One entry holds both directions; what was seen of it is a set of bits that
 * only grows, so that CPUs need no lock: the TCP state is derived from the bits, never stored.
 *
 * An ICMP message that is no echo makes no flow: its key would hold every other type between the same two hosts.
 */
#ifndef SLUICE_BPF_FLOW_H
#define SLUICE_BPF_FLOW_H

#include "config.h"
#include "expiry.h"
#include "half_open.h"
#include "pkt.h"

#define DECIDE_TRIES 4

/* Facts that this packet adds, seen from direction `dir` (0: the originator's). */
static __always_inline __u32 flow_facts(const struct pkt *pkt, __u32 dir)
{
	__u32 facts = dir ? SLUICE_FLOW_REPLIED : 0;

	if (pkt->tcp_flags & TCP_SYN)
		facts |= SLUICE_FLOW_SYN(dir);
	if (pkt->tcp_flags & TCP_ACK)
		facts |= SLUICE_FLOW_ACK(dir);
	if ((pkt->tcp_flags & (TCP_FIN | TCP_ACK)) == (TCP_FIN | TCP_ACK)) /* RFC 9293, 3.10.7.4: without ACK it is dropped */
		facts |= SLUICE_FLOW_FIN(dir);
	if (pkt->tcp_flags & TCP_RST)
		facts |= SLUICE_FLOW_RST;
	return facts;
}

/* TCP: notes how far the sender has acknowledged. */
static __always_inline void flow_acked(struct sluice_flow_side *side, __u32 acked, bool before)
{
	if (!before || (__s32)(acked - *(volatile __u32 *)&side->acked) > 0)
		*(volatile __u32 *)&side->acked = acked;
}

static __always_inline void flow_count(struct sluice_flow_side *side, __u32 length)
{
	__u64 traffic = __sync_fetch_and_add(&side->traffic, 1ull << SLUICE_FLOW_BYTES | length);

	if (traffic >> SLUICE_FLOW_BYTES == (1 << (64 - SLUICE_FLOW_BYTES)) - 1)
		__sync_fetch_and_add(&side->packets_high, 1);
}

/* Its handshake is done. With a frame of its own: that of flow_find() is part of the deepest chain of calls. */
static __noinline void flow_opened(const struct pkt *pkt, __u32 facts)
{
	half_open_add(-1);
	syn_completed(pkt, facts & SLUICE_FLOW_SECOND ? pkt->key.addr[1] : pkt->key.addr[0]);
}

/* Counts the packet for its flow and notes what it shows. Stores shared words only when they change. */
static __always_inline void flow_touch(struct pkt *pkt, struct sluice_flow *flow)
{
	__u32 before = flow_facts_seen(flow), dir = pkt->from != !!(before & SLUICE_FLOW_SECOND), facts;
	struct sluice_flow_side *side = dir ? &flow->side[1] : &flow->side[0];

	flow_count(side, pkt->length);
	flow_seen_at(flow, pkt_now(pkt));
	if (pkt->tcp_flags & TCP_ACK)
		flow_acked(side, pkt->acked, before & SLUICE_FLOW_ACK(dir));
	facts = flow_facts(pkt, dir);
	if ((before & facts) == facts)
		return;
	before = __sync_fetch_and_or(&flow->state, facts);
	if (before & SLUICE_FLOW_ENDED || !flow_is_half_open(pkt->key.protocol, before & SLUICE_FLOW_FACTS) ||
	    flow_is_half_open(pkt->key.protocol, (before | facts) & SLUICE_FLOW_FACTS))
		return;
	flow_opened(pkt, before);
}

/*
 * A RST counts only where the other end would take it: not before what that end has acknowledged, nor beyond the
 * largest window (RFC 9293, 3.5.2; RFC 7323, 2.3). Of an end that has acknowledged nothing, nothing is known.
 */
static __always_inline bool reset_is_astray(const struct pkt *pkt, const struct sluice_flow *flow)
{
	__u32 facts = flow_facts_seen(flow), dir = pkt->from != !!(facts & SLUICE_FLOW_SECOND);
	const struct sluice_flow_side *peer = dir ? &flow->side[0] : &flow->side[1];

	if (!(pkt->tcp_flags & TCP_RST) || !(facts & SLUICE_FLOW_ACK(!dir)))
		return false;
	return pkt->seq - *(const volatile __u32 *)&peer->acked > 1u << 30;
}

/* The tuple that opened the flow, for asking the rules again. */
static __always_inline void flow_tuple(const struct pkt *pkt, const struct sluice_flow *flow, struct tuple *t)
{
	bool second = flow_facts_seen(flow) & SLUICE_FLOW_SECOND;

	t->version = pkt->tuple.version;
	t->protocol = pkt->key.protocol;
	t->tenant = pkt->key.tenant;
	t->bank = pkt->tuple.bank;
	addr_copy(t->source, second ? pkt->key.addr[1] : pkt->key.addr[0]);
	addr_copy(t->dest, second ? pkt->key.addr[0] : pkt->key.addr[1]);
	t->source_port = second ? pkt->key.port[1] : pkt->key.port[0];
	t->dest_port = second ? pkt->key.port[0] : pkt->key.port[1];
	if (t->protocol == IPPROTO_ICMP || t->protocol == IPPROTO_ICMPV6) {
		t->source_port = 0;
		t->dest_port = bpf_htons((t->version == 4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST) << 8);
	}
}

/*
 * Removes a flow that the packet's policy ends, unless that policy has itself been replaced while the packet was under
 * way: then the flow may have been decided under the newer one, and the next packet asks that.
 */
static __always_inline void flow_end(struct pkt *pkt, const struct flow_ref *ref)
{
	const struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	if (c && *(volatile __u64 *)&c->generation == pkt->generation)
		flow_retire(ref->bucket, ref->unit, pkt_now(pkt));
}

/*
 * The flow bears what the policy says of it now. Facts that another CPU adds meanwhile stay; if it is too busy with that,
 * the next packet asks again.
 */
static __always_inline void flow_mark_decided(const struct pkt *pkt, struct sluice_flow *flow, __u32 slot, bool denied)
{
	__u32 before, after;
	int i;

	for (i = 0; i < DECIDE_TRIES; i++) {
		before = *(volatile __u32 *)&flow->state;
		after = slot << SLUICE_FLOW_SLOT | (before & SLUICE_FLOW_FACTS & ~SLUICE_FLOW_AUDIT_DENY) |
			(denied ? SLUICE_FLOW_AUDIT_DENY : 0);
		if (__sync_val_compare_and_swap(&flow->state, before, after) != before)
			continue;
		flow->generation = pkt->generation;
		return;
	}
}

/* Of ICMP only echoes are of a flow: every other type has the key of an echo with identifier 0. */
static __always_inline bool flow_is_possible(const struct pkt *pkt)
{
	__u8 type = bpf_ntohs(pkt->tuple.dest_port) >> 8;

	if (pkt->tuple.protocol == IPPROTO_ICMP)
		return type == ICMP4_ECHO_REQUEST || type == ICMP4_ECHO_REPLY;
	if (pkt->tuple.protocol == IPPROTO_ICMPV6)
		return type == ICMP6_ECHO_REQUEST || type == ICMP6_ECHO_REPLY;
	return true;
}

/*
 * Whether there may be a flow with that key: most packets that are denied learn here that there is none. Also notes how
 * many flows of the mark were ever made, for door.h.
 */
static __always_inline bool flow_may_be(struct pkt *pkt)
{
	__u64 now;

	if (!flow_mark_read(sluice_flow_mark(&pkt->key), &now))
		return true;
	pkt->flows_made = now;
	return mark_lives(now);
}

/*
 * Whether a SYN opens a new connection between the ports of one that ends. The other end may do that only when the
 * old one is over for both: else anybody could end a half-closed one with a SYN that no rule allows.
 */
static __always_inline bool flow_is_reused(const struct pkt *pkt, const struct sluice_flow *flow)
{
	__u32 facts = flow_facts_seen(flow);

	if (pkt->icmp_error || !tcp_opens(pkt) || !(facts & FLOW_CLOSING))
		return false;
	return flow_is_closed(facts) || pkt->from == !!(facts & SLUICE_FLOW_SECOND);
}

/*
 * Whether a flow that was found is none: its time is over, or its ports are used anew. A flow that was seen within the
 * same tick is not asked.
 */
static __always_inline bool flow_is_past(struct pkt *pkt, const struct sluice_flow *flow)
{
	__u64 now = pkt_now(pkt);

	if (flow_is_reused(pkt, flow))
		return true;
	return (replay || flow_tick(now) != *(const volatile __u32 *)&flow->last) &&
	       flow_is_over(flow, now, pkt->tuple.bank);
}

/* Of a flow that is there and passes nothing. One that was cut is as good as none. */
static __always_inline int flow_refuse(struct pkt *pkt, __u32 state)
{
	if (!(state & SLUICE_FLOW_CUT))
		return SLUICE_R_STALE_DENY;
	pkt->decision.slot = SLUICE_NO_RULE;
	return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : SLUICE_R_TCP_NO_FLOW;
}

/* A packet of a live flow whose rule stands. */
static __always_inline int flow_follow(struct pkt *pkt, struct sluice_flow *flow)
{
	__u32 state = *(volatile __u32 *)&flow->state;

	pkt->decision.slot = state >> SLUICE_FLOW_SLOT;
	if (state & SLUICE_FLOW_SECOND)
		pkt->decision.flags |= DECISION_SECOND;
	if (state & (SLUICE_FLOW_AUDIT_DENY | SLUICE_FLOW_CUT))
		return flow_refuse(pkt, state);
	if (pkt->icmp_error)
		return SLUICE_R_PASS_ICMP_RELATED;
	if (reset_is_astray(pkt, flow))
		return SLUICE_R_TCP_RST;
	flow_touch(pkt, flow);
	return SLUICE_R_PASS_FLOW;
}

/*
 * Stage 6, of a packet of the flow at `place` whose rule was decided under another policy. Allowed again: the flow goes
 * on. Allowed statelessly: the flow ends and each packet is judged alone from now on. Denied: the flow ends, in audit mode
 * it is only marked. Global, and asked by the entry program: it would not fit below flow_find() on the stack.
 */
__noinline int flow_decide_again(struct pkt *pkt, __u32 place)
{
	struct flow_ref ref = table_at(place);
	struct decision d = {};
	struct tuple t = {};

	if (!pkt || !ref.flow)
		return SLUICE_R_INTERNAL;
	flow_tuple(pkt, ref.flow, &t);
	if (classify(&t, &d))
		return SLUICE_R_INTERNAL;
	if (d.action == SLUICE_ACTION_ALLOW && !(d.flags & SLUICE_RULE_STATEFUL)) {
		flow_end(pkt, &ref);
		return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED;
	}
	if (d.action != SLUICE_ACTION_ALLOW && !(pkt->policy_flags & SLUICE_MODE_AUDIT)) {
		flow_end(pkt, &ref);
		pkt->decision = d;
		return SLUICE_R_STALE_DENY;
	}
	flow_mark_decided(pkt, ref.flow, d.slot, d.action != SLUICE_ACTION_ALLOW);
	return flow_follow(pkt, ref.flow);
}

#define FLOW_STALE 0x40000000 /* flow_find() found one that must be decided again: its place, below this bit */

/* Stage 6, of a packet for which there may be a flow. Global: verified once. */
__noinline int flow_find(struct pkt *pkt)
{
	struct sluice_flow_probe probe;
	struct flow_ref ref;
	__u32 place;

	if (!pkt)
		return SLUICE_R_INTERNAL;
	probe_fill(&probe, &pkt->key);
	place = table_find(&pkt->key, &probe);
	ref = table_at(place);
	if (ref.flow && flow_is_past(pkt, ref.flow)) {
		flow_retire(ref.bucket, ref.unit, pkt->now);
		ref.flow = NULL;
	}
	if (!ref.flow)
		return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED;
	if (!replay && ref.flow->generation != (__u32)pkt->generation) /* also a later one, which was taken back */
		return FLOW_STALE | place;
	return flow_follow(pkt, ref.flow);
}

/* Stage 6. */
static __always_inline int flow_decide(struct pkt *pkt)
{
	int reason;

	if (pkt->icmp_error && pkt->quote_bad)
		return SLUICE_R_ICMP_UNRELATED;
	if (!pkt->icmp_error && !flow_is_possible(pkt))
		return UNDECIDED;
	if (!flow_may_be(pkt))
		return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED;
	reason = flow_find(pkt);
	if (reason > 0 && reason & FLOW_STALE)
		return flow_decide_again(pkt, reason & ~FLOW_STALE);
	return reason;
}

static __always_inline bool flow_is_kept(const struct pkt *pkt)
{
	__u8 protocol = pkt->tuple.protocol;

	if (protocol == IPPROTO_ICMP)
		return pkt->tuple.dest_port == bpf_htons(ICMP4_ECHO_REQUEST << 8);
	if (protocol == IPPROTO_ICMPV6)
		return pkt->tuple.dest_port == bpf_htons(ICMP6_ECHO_REQUEST << 8);
	return true;
}

/* One flow more, if there may be: no more than the policy says, however many the table would hold. */
static __always_inline bool table_count(const struct pkt *pkt, __u32 mark)
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);
	struct sluice_flow_totals *t = totals();

	if (!p || !t)
		return false;
	flow_mark_add(mark, MARK_MADE);
	if (__sync_fetch_and_add(&t->flows, 1) < p->max_flows)
		return true;
	table_uncount(mark);
	return false;
}

/* What is known of a flow before its first packet is counted. */
static __always_inline __u32 flow_first_facts(const struct pkt *pkt)
{
	if (pkt->pickup == PICKUP_COOKIE)
		return SLUICE_FLOW_SYN(0) | SLUICE_FLOW_SYN(1) | SLUICE_FLOW_ACK(1) | SLUICE_FLOW_REPLIED;
	return pkt->pickup == PICKUP_NO ? 0 : SLUICE_FLOW_PICKED_UP;
}

/* The second unit of a flow of IPv6. */
static __always_inline void flow_begin_second(const struct pkt *pkt, struct sluice_flow_bucket *b, __u32 i)
{
	if (i >= SLUICE_FLOW_UNITS)
		return;
	*(volatile __u64 *)&b->unit[i].none[0] = 0;
	*(volatile __u64 *)&b->unit[i].none[1] = 0;
	barrier();
	__builtin_memcpy(b->unit[i].addr, pkt->key.addr, sizeof(pkt->key.addr));
}

/*
 * What a unit says of a flow that is about to begin. What it is found by comes last, since lane.h asks no tag; until then it
 * is nobody's. The exchange is a barrier.
 */
static __always_inline void flow_begin(struct pkt *pkt, struct sluice_flow_bucket *b, __u32 i,
				       const struct sluice_flow_probe *p)
{
	struct sluice_flow *flow = &b->unit[i].flow;
	__u32 facts = flow_first_facts(pkt);
	__u64 *word = (__u64 *)flow;

	if (pkt->from ^ (pkt->pickup == PICKUP_REVERSE))
		facts |= SLUICE_FLOW_SECOND;
	store_first(&word[1], 0);
	word[0] = p->word[0];
	flow->state = pkt->decision.slot << SLUICE_FLOW_SLOT | facts;
	flow->generation = pkt->generation;
	flow->first = pkt_now(pkt) >> SLUICE_FLOW_FIRST_SHIFT;
	flow_seen_at(flow, pkt->now);
	__builtin_memset(flow->side, 0, sizeof(flow->side));
	if (pkt->pickup == PICKUP_COOKIE)
		flow->side[1].acked = pkt->seq; /* by the SYN-ACK that bore the cookie */
	if (probe_is6(p))
		flow_begin_second(pkt, b, i + 1);
	__sync_lock_test_and_set(&word[1], p->word[1]);
	if (flow_is_half_open(pkt->key.protocol, facts))
		half_open_add(1);
}

/* Stage 7, second half: makes the flow that the rules allow. 0, or -1 when there is no room. */
static __always_inline int flow_insert(struct pkt *pkt)
{
	__u32 mark = sluice_flow_mark(&pkt->key);
	struct sluice_flow_probe probe;
	__u32 place = UNIT_NONE;
	struct flow_ref ref;
	bool away;
	int i;

	if (!table_count(pkt, mark))
		return -1;
	probe_fill(&probe, &pkt->key);
	for (i = 0; i < CLAIM_TRIES && (place & 15) == UNIT_NONE; i++)
		place = table_claim(&probe);
	ref = table_at(place);
	if (!ref.flow) {
		table_uncount(mark);
		return -1;
	}
	flow_begin(pkt, ref.bucket, ref.unit, &probe);
	away = place >> 4 != probe.bucket[0];
	if (away)
		away_add(&probe, 1);
	place = table_publish(ref.bucket, place, &pkt->key, &probe, away, pkt->now);
	clock_run();
	ref = table_at(place);
	if (ref.flow)
		flow_touch(pkt, ref.flow);
	return 0;
}

/* Global: verified once. */
__noinline int flow_create(struct pkt *pkt)
{
	if (!pkt)
		return SLUICE_R_INTERNAL;
	if (flow_is_kept(pkt) && flow_insert(pkt) && !(pkt->policy_flags & SLUICE_ON_FULL_STATELESS)) {
		pkt->decision.slot = SLUICE_NO_RULE;
		return SLUICE_R_CONNTRACK_FULL;
	}
	return pkt->decision.flags & SLUICE_RULE_DEFAULT ? SLUICE_R_PASS_DEFAULT : SLUICE_R_PASS_RULE;
}

#endif
