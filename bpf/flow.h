/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages 6 and 7, second half: live flows. One entry holds both directions; what was seen of it is a set of bits that
 * only grows, so that CPUs need no lock: the TCP state is derived from the bits, never stored.
 *
 * Every flow carries a timer, armed when it is made. The timer looks at the flow when it fires and either finds that
 * the deadline has moved, and sleeps until the new one, or removes the flow. Expiry thus needs no daemon, and a packet
 * touches the timer only when it brings the deadline closer (FIN, RST, a changed policy).
 *
 * An ICMP message that is no echo makes no flow: its key would hold every other type between the same two hosts.
 */
#ifndef SLUICE_BPF_FLOW_H
#define SLUICE_BPF_FLOW_H

#include "config.h"
#include "pkt.h"

#define CLOCK_MONOTONIC 1

#define FLOW_CLOSING	 (SLUICE_FLOW_FIN(0) | SLUICE_FLOW_FIN(1) | SLUICE_FLOW_RST)
#define FLOW_SHOOK_HANDS (SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1))

#define TIMER_LEAST_NS 1000000ull /* never re-arm for less: a deadline of now would spin */

static __always_inline enum sluice_timeout flow_timeout_kind(__u8 protocol, __u32 seen)
{
	switch (protocol) {
	case IPPROTO_TCP:
		if (seen & FLOW_CLOSING)
			return SLUICE_T_TCP_CLOSING;
		if ((seen & FLOW_SHOOK_HANDS) == FLOW_SHOOK_HANDS || seen & SLUICE_FLOW_PICKED_UP)
			return SLUICE_T_TCP_ESTABLISHED;
		return SLUICE_T_TCP_OPENING;
	case IPPROTO_UDP:
		return seen & SLUICE_FLOW_REPLIED ? SLUICE_T_UDP_STREAM : SLUICE_T_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return SLUICE_T_ICMP;
	}
	return SLUICE_T_OTHER;
}

/* Nanoseconds without a packet after which the flow is dead, by the policy that is live now. 0: no policy. */
static __always_inline __u64 flow_timeout(__u8 protocol, __u32 seen, __u32 bank)
{
	const struct sluice_policy *p = policy_live(bank);
	__u32 kind = flow_timeout_kind(protocol, seen);

	return p && kind < SLUICE_TIMEOUT_COUNT ? p->timeout_ns[kind] : 0;
}

static __always_inline void flow_count_add(__s64 n)
{
	__u32 zero = 0;
	__s64 *count = bpf_map_lookup_elem(&flow_count, &zero);

	if (count)
		*count += n;
}

static __always_inline void flow_remove(const struct sluice_flow_key *key)
{
	if (!bpf_map_delete_elem(&flows, key))
		flow_count_add(-1);
}

/* Timer of a flow. Runs without any packet: reads the generation for itself. */
static int flow_expire(void *map, struct sluice_flow_key *key, struct sluice_flow *flow)
{
	__u64 now = bpf_ktime_get_ns(), deadline, generation = 0;
	struct sluice_flow_key copy = *key;
	struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	if (c)
		generation = *(volatile __u64 *)&c->generation;
	deadline = flow->last_seen_ns + flow_timeout(copy.protocol, flow->seen, generation & 1);
	if (deadline > now + TIMER_LEAST_NS)
		bpf_timer_start(&flow->timer, deadline - now, 0);
	else
		flow_remove(&copy);
	return 0;
}

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
static __always_inline void flow_touch(const struct pkt *pkt, struct sluice_flow *flow)
{
	__u32 dir = pkt->from != flow->originator, facts, seen;
	struct sluice_flow_side *side = dir ? &flow->side[1] : &flow->side[0];
	__u64 before, after;

	__sync_fetch_and_add(&side->packets, 1);
	__sync_fetch_and_add(&side->bytes, pkt->length);
	if (pkt->now > flow->last_seen_ns + flow_touch_ns)
		flow->last_seen_ns = pkt->now;
	facts = flow_facts(pkt, dir);
	if ((flow->seen & facts) == facts)
		return;
	seen = __sync_fetch_and_or(&flow->seen, facts);
	before = flow_timeout(pkt->key.protocol, seen, pkt->tuple.bank);
	after = flow_timeout(pkt->key.protocol, seen | facts, pkt->tuple.bank);
	if (after < before) /* mostly a FIN or RST */
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
		flow_remove(key);
		return UNDECIDED;
	}
	if (d.action != SLUICE_ACTION_ALLOW && !(pkt->policy_flags & SLUICE_MODE_AUDIT)) {
		flow_remove(key);
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

/* Stage 6. Global: verified once. */
__noinline int flow_decide(struct pkt *pkt)
{
	struct sluice_flow_key key;
	struct sluice_flow *flow;
	int reason;

	if (!pkt)
		return SLUICE_R_INTERNAL;
	if (pkt->icmp_error && pkt->quote_bad)
		return SLUICE_R_ICMP_UNRELATED;
	key = pkt->key; /* on the stack: before 6.2 the verifier takes no other memory of ours as a key */
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return pkt->icmp_error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED;
	if (!pkt->icmp_error && tcp_opens(pkt) && (flow->seen & FLOW_CLOSING)) {
		flow_remove(&key); /* the ports are used anew */
		return UNDECIDED;
	}
	if (flow->generation < pkt->generation) {
		reason = flow_decide_again(pkt, &key, flow);
		if (reason == UNDECIDED && pkt->icmp_error)
			return SLUICE_R_ICMP_UNRELATED;
		if (reason != SLUICE_R_PASS_FLOW)
			return reason;
	}
	pkt->decision.slot = flow->rule;
	if (flow->seen & SLUICE_FLOW_AUDIT_DENY)
		return SLUICE_R_STALE_DENY;
	if (pkt->icmp_error)
		return SLUICE_R_PASS_ICMP_RELATED;
	flow_touch(pkt, flow);
	return SLUICE_R_PASS_FLOW;
}

/*
 * A flow without a running timer would never end, so it is taken back. -EBUSY (-16): another CPU was faster, all is
 * well.
 */
static __always_inline int flow_arm(struct sluice_flow *flow, __u64 timeout)
{
	long r = bpf_timer_init(&flow->timer, &flows, CLOCK_MONOTONIC);

	if (r)
		return r == -16 ? 0 : r;
	r = bpf_timer_set_callback(&flow->timer, flow_expire);
	return r ?: bpf_timer_start(&flow->timer, timeout, 0);
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
	fresh.created_ns = pkt->now;
	fresh.last_seen_ns = pkt->now;
	fresh.rule = pkt->decision.slot;
	fresh.originator = pkt->from ^ reverse;
	fresh.seen = pkt->pickup == PICKUP_NO ? 0 : SLUICE_FLOW_PICKED_UP;
	r = bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST);
	if (r && r != -17) /* -EEXIST: the same connection on another CPU */
		return -1;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		return -1;
	if (!r) {
		flow_count_add(1);
		if (flow_arm(flow, flow_timeout(key.protocol, fresh.seen, pkt->tuple.bank))) {
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
