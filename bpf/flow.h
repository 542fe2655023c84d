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
#include "pkt.h"

/* Facts that this packet adds, seen from direction `dir` (0: the originator's). */
static __always_inline __u32 flow_facts(const struct pkt *pkt, __u32 dir)
{
	__u32 facts = dir ? SLUICE_FLOW_REPLIED : 0;

	if (pkt->tcp_flags & TCP_SYN)
		facts |= SLUICE_FLOW_SYN(dir);
	if (pkt->tcp_flags & TCP_ACK)
		facts |= SLUICE_FLOW_ACK(dir);
	if (pkt->tcp_flags & TCP_FIN)
		facts |= SLUICE_FLOW_FIN(dir);
	if (pkt->tcp_flags & TCP_RST)
		facts |= SLUICE_FLOW_RST;
	return facts;
}

/* Counts the packet for its flow and notes what it shows. Stores shared words only when they change. */
static __always_inline void flow_touch(struct pkt *pkt, struct sluice_flow *flow)
{
	__u32 dir = pkt->from != flow->originator, facts, seen;
	struct sluice_flow_side *side = dir ? &flow->side[1] : &flow->side[0];
	__u64 before, after;

	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, pkt->length);
	if (pkt_now(pkt) > flow->last_seen_ns + flow_touch_ns)
		flow->last_seen_ns = pkt->now;
	facts = flow_facts(pkt, dir);
	if ((flow->seen & facts) == facts)
		return;
	seen = __sync_fetch_and_or(&flow->seen, facts);
	before = flow_timeout(pkt->key.protocol, seen, pkt->tuple.bank);
	after = flow_timeout(pkt->key.protocol, seen | facts, pkt->tuple.bank);
	if (after < before && replay)
		replay_arm(&pkt->key, pkt_now(pkt) + after);
	else if (after < before) /* mostly a FIN or RST */
		bpf_timer_start(&flow->timer, after, 0);
}

/* The tuple that opened the flow, for asking the rules again. */
static __always_inline void flow_tuple(const struct pkt *pkt, const struct sluice_flow *flow, struct tuple *t)
{
	bool second = flow->originator;

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
static __always_inline void flow_end(const struct pkt *pkt, const struct sluice_flow_key *key)
{
	const struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	if (c && *(volatile __u64 *)&c->generation == pkt->generation)
		flow_remove(key);
}

/*
 * The policy has changed since the flow was decided. Allowed again: the flow goes on. Allowed statelessly: the flow
 * ends and each packet is judged alone from now on. Denied: the flow ends, in audit mode it is only marked.
 */
static __noinline int flow_decide_again(struct pkt *pkt, const struct sluice_flow_key *key, struct sluice_flow *flow)
{
	struct decision d = {};
	struct tuple t = {};

	flow_tuple(pkt, flow, &t);
	if (classify(&t, &d))
		return SLUICE_R_INTERNAL;
	if (d.action == SLUICE_ACTION_ALLOW && !(d.flags & SLUICE_RULE_STATEFUL)) {
		flow_end(pkt, key);
		return UNDECIDED;
	}
	if (d.action != SLUICE_ACTION_ALLOW && !(pkt->policy_flags & SLUICE_MODE_AUDIT)) {
		flow_end(pkt, key);
		pkt->decision = d;
		return SLUICE_R_STALE_DENY;
	}
	if (d.action != SLUICE_ACTION_ALLOW)
		__sync_fetch_and_or(&flow->seen, SLUICE_FLOW_AUDIT_DENY);
	else
		__sync_fetch_and_and(&flow->seen, ~SLUICE_FLOW_AUDIT_DENY);
	flow->rule = d.slot;
	flow->generation = pkt->generation;
	bpf_timer_start(&flow->timer, flow_timeout(key->protocol, flow->seen, t.bank), 0);
	return SLUICE_R_PASS_FLOW;
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
	__u32 number = sluice_flow_mark(&pkt->key) & (SLUICE_FLOW_MARKS - 1);
	__u64 *mark = bpf_map_lookup_elem(&flow_marks, &number), now;

	if (!mark)
		return true;
	now = *(volatile __u64 *)mark;
	pkt->flows_made = now;
	return pkt->flows_made != now >> 32;
}

/* Stage 6, of a packet for which there may be a flow. Global: verified once. */
__noinline int flow_find(struct pkt *pkt)
{
	struct sluice_flow_key key;
	struct sluice_flow *flow;
	int reason;

	if (!pkt)
		return SLUICE_R_INTERNAL;
	key = pkt->key; /* on the stack: before 6.2 the verifier takes no other memory of ours as a key */
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED;
	if (!pkt->icmp_error && tcp_opens(pkt) && (flow->seen & FLOW_CLOSING)) {
		flow_remove(&key); /* the ports are used anew */
		return UNDECIDED;
	}
	if (flow->generation != pkt->generation) { /* also a later one, which was taken back */
		reason = flow_decide_again(pkt, &key, flow);
		if (reason == UNDECIDED && pkt->icmp_error)
			return SLUICE_R_ICMP_UNRELATED;
		if (reason != SLUICE_R_PASS_FLOW)
			return reason;
	}
	pkt->decision.slot = flow->rule;
	if (flow->originator)
		pkt->decision.flags |= DECISION_SECOND;
	if (flow->seen & SLUICE_FLOW_AUDIT_DENY)
		return SLUICE_R_STALE_DENY;
	if (pkt->icmp_error)
		return SLUICE_R_PASS_ICMP_RELATED;
	flow_touch(pkt, flow);
	return SLUICE_R_PASS_FLOW;
}

/* Stage 6. */
static __always_inline int flow_decide(struct pkt *pkt)
{
	if (pkt->icmp_error && pkt->quote_bad)
		return SLUICE_R_ICMP_UNRELATED;
	if (!pkt->icmp_error && !flow_is_possible(pkt))
		return UNDECIDED;
	if (flow_may_be(pkt))
		return flow_find(pkt);
	return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED;
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

/* Stage 7, second half: makes the flow that the rules allow. 0, or -1 when there is no room. */
static __noinline int flow_insert(struct pkt *pkt)
{
	struct sluice_flow_key key = pkt->key;
	struct sluice_flow fresh = {};
	struct sluice_flow *flow;
	__u8 reverse = pkt->pickup == PICKUP_REVERSE;
	long r;

	fresh.generation = pkt->generation;
	fresh.created_ns = pkt_now(pkt);
	fresh.last_seen_ns = pkt->now;
	fresh.rule = pkt->decision.slot;
	fresh.originator = pkt->from ^ reverse;
	fresh.seen = pkt->pickup == PICKUP_NO ? 0 : SLUICE_FLOW_PICKED_UP;
	flow_mark_add(&key, MARK_MADE);
	r = bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST);
	if (r)
		flow_mark_add(&key, MARK_ENDED);
	if (r && r != -17) /* -EEXIST: the same connection on another CPU */
		return -1;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return -1;
	if (!r) {
		flow_count_add(1);
		if (expiry_begin(&key, flow, flow_timeout(key.protocol, fresh.seen, pkt->tuple.bank))) {
			flow_remove(&key);
			return -1;
		}
	}
	flow_touch(pkt, flow);
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
