/* SPDX-License-Identifier: Apache-2.0 */
/* What the facts that were seen of a flow amount to. Included by the flow stage only. */
#ifndef SLUICE_BPF_FLOW_STATE_H
#define SLUICE_BPF_FLOW_STATE_H

#include "config.h"
#include "pkt.h"

#define FLOW_CLOSING	 (SLUICE_FLOW_FIN(0) | SLUICE_FLOW_FIN(1) | SLUICE_FLOW_RST)
#define FLOW_SHOOK_HANDS (SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1))

/* For both ends. Half-closed is open: the other direction may go on for as long as it likes (RFC 9293, 3.6). */
static __always_inline bool flow_is_closed(__u32 facts)
{
	return facts & SLUICE_FLOW_RST || (facts & FLOW_CLOSING) == (SLUICE_FLOW_FIN(0) | SLUICE_FLOW_FIN(1));
}

static __always_inline enum sluice_timeout flow_timeout_kind(__u8 protocol, __u32 facts)
{
	switch (protocol) {
	case IPPROTO_TCP:
		if (flow_is_closed(facts)) /* a cut one is remembered for as long as it could be picked up */
			return facts & SLUICE_FLOW_CUT ? SLUICE_T_PICKUP : SLUICE_T_TCP_CLOSING;
		if ((facts & FLOW_SHOOK_HANDS) == FLOW_SHOOK_HANDS || facts & SLUICE_FLOW_PICKED_UP)
			return SLUICE_T_TCP_ESTABLISHED;
		return SLUICE_T_TCP_OPENING;
	case IPPROTO_SCTP: /* answered: heartbeats come every 30 s and a little more, RFC 9260, 8.3 */
		return facts & SLUICE_FLOW_REPLIED ? SLUICE_T_UDP_STREAM : SLUICE_T_OTHER;
	case IPPROTO_UDP:
		return facts & SLUICE_FLOW_REPLIED ? SLUICE_T_UDP_STREAM : SLUICE_T_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return SLUICE_T_ICMP;
	}
	return SLUICE_T_OTHER;
}

/* TCP, and the handshake is not done. */
static __always_inline bool flow_is_half_open(__u8 protocol, __u32 facts)
{
	return protocol == IPPROTO_TCP && flow_timeout_kind(protocol, facts) == SLUICE_T_TCP_OPENING;
}

static __always_inline __u8 flow_protocol(const struct sluice_flow *flow)
{
	return flow->kind >> 24;
}

static __always_inline __u32 flow_facts_seen(const struct sluice_flow *flow)
{
	return *(const volatile __u32 *)&flow->state & SLUICE_FLOW_FACTS;
}

/* Nanoseconds without a packet after which the flow is dead, by the policy of that bank. 0: no policy. */
static __always_inline __u64 flow_timeout(__u8 protocol, __u32 facts, __u32 bank)
{
	const struct sluice_policy *p = policy_live(bank);
	__u32 kind = flow_timeout_kind(protocol, facts);

	return p && kind < SLUICE_TIMEOUT_COUNT ? p->timeout_ns[kind] : 0;
}

static __always_inline __u32 flow_tick(__u64 now_ns)
{
	return now_ns >> SLUICE_FLOW_LAST_SHIFT;
}

#define TICK_REST ((1u << SLUICE_FLOW_LAST_SHIFT) - 1)

/*
 * Notes a packet's time. In a replay there is one generation only, and its place takes the nanoseconds below a tick: what
 * a capture gets does not depend on how it falls on ticks.
 */
static __always_inline void flow_seen_at(struct sluice_flow *flow, __u64 now_ns)
{
	__u32 tick = flow_tick(now_ns);

	if (replay)
		flow->generation = now_ns & TICK_REST;
	if (*(volatile __u32 *)&flow->last != tick)
		*(volatile __u32 *)&flow->last = tick;
}

#define TICK_AHEAD (~0u << 16) /* another CPU's clock may be a little ahead, but not by days */

/* Whether its time is over. */
static __always_inline bool flow_is_over(const struct sluice_flow *flow, __u64 now_ns, __u32 bank)
{
	__u32 idle = flow_tick(now_ns) - *(const volatile __u32 *)&flow->last;

	if (replay)
		return ((__u64)idle << SLUICE_FLOW_LAST_SHIFT) + (now_ns & TICK_REST) - flow->generation >=
		       flow_timeout(flow_protocol(flow), flow_facts_seen(flow), bank);
	if (!idle || idle >= TICK_AHEAD)
		return false;
	return idle >= flow_tick(flow_timeout(flow_protocol(flow), flow_facts_seen(flow), bank));
}

#endif
