/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane of established flows: a plain packet, as door.h knows it, of a live flow that it tells nothing new. It gets
 * what the stages would give it, with what they would count, but without struct pkt and most of their calls. Everything
 * else takes the long way, and so does any doubt: another generation, an interface with more to do than to name a tenant,
 * limits, a flow away from its home bucket, a TCP packet that is no mere ACK.
 *
 * IPv4 at XDP here, IPv6 in lane6.h. A failsafe service passes without a flow, so its packets are not met here, unless a flow of the same
 * ports was made before it became one: those count for the flow.
 */
#ifndef SLUICE_BPF_LANE_H
#define SLUICE_BPF_LANE_H

#include "account.h"
#include "door.h"
#include "flow.h"
#include "lane_move.h"
#include "tenant.h"

/* A packet as the flow table knows it. */
struct lane {
	struct sluice_flow_probe probe;
	bool second; /* the sender is the second end of the key */
};

/* As key_fill() and probe_fill() would. */
static __always_inline void lane_place(struct lane *l, const struct door_key *key, __u16 tenant)
{
	__u32 source = bpf_ntohl(key->source), dest = bpf_ntohl(key->dest);
	__u32 kind = key->protocol << 24 | (__u32)tenant << 8 | 4;

	l->second = source > dest || (source == dest && bpf_ntohs(key->source_port) > bpf_ntohs(key->dest_port));
	if (l->second) {
		l->probe.word[0] = key->dest | (__u64)key->source << 32;
		l->probe.word[1] = sluice_flow_word1(key->dest_port, key->source_port, kind);
	} else {
		l->probe.word[0] = key->source | (__u64)key->dest << 32;
		l->probe.word[1] = sluice_flow_word1(key->source_port, key->dest_port, kind);
	}
	sluice_flow_place(&l->probe, l->probe.word[0] ^ flow_seed, SLUICE_TAG_LIVE, flow_buckets);
}

/* The flow in a unit, if it is the packet's. What is read of it then is no older than the word by which it was found. */
static __always_inline struct sluice_flow *lane_match(const struct lane *l, struct sluice_flow_bucket *b, __u32 unit)
{
	struct sluice_flow *flow = &b->unit[unit].flow;

	if (*unit_published(b, unit) != l->probe.word[1])
		return NULL;
	flow = (void *)flow + zero_of(unit_published(b, unit));
	return *(const volatile __u64 *)flow == l->probe.word[0] ? flow : NULL;
}

static __always_inline bool lane_may_be(const struct door_key *key)
{
	__u64 mark;

	return !door_mark(key, &mark) || mark_lives(mark);
}

/*
 * The flow, if it is at home, where it likes to be or where nothing else has its tag. One that has ended may still be
 * found: its state says so.
 */
static __always_inline struct sluice_flow *lane_find(const struct lane *l, const struct door_key *key)
{
	struct sluice_flow_bucket *home = bucket_at(l->probe.bucket[0]);
	struct sluice_flow *flow;
	__u32 mask, unit;

	if (!home)
		return NULL;
	unit = sluice_flow_liked(l->probe.tag);
	barrier_var(unit); /* as in unit_liked() */
	flow = lane_match(l, home, unit);
	if (flow || !lane_may_be(key))
		return flow;
	mask = bucket_mask(home, l->probe.tag, ~SLUICE_TAG_AWAY);
	unit = mask_first(mask);
	if (!mask || unit >= SLUICE_FLOW_UNITS)
		return NULL;
	return lane_match(l, home, unit);
}

/* Facts that the packet would add, or ~0: it is of a kind that takes the long way. No `tcp`: UDP. */
static __always_inline __u32 lane_facts(const struct tcphdr *tcp, __u32 dir)
{
	__u32 facts = dir ? SLUICE_FLOW_REPLIED : 0;
	__u8 flags;

	if (!tcp)
		return facts;
	flags = ((const __u8 *)tcp)[13];
	return (flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK)) == TCP_ACK ? facts | SLUICE_FLOW_ACK(dir) : ~0u;
}

/*
 * Counts a packet of a flow that was found, sent by the second end of its key or not, for flow, reason and rule. False: nothing was
 * counted, the long way.
 */
static __always_inline bool lane_take(struct sluice_flow *flow, __u64 generation, bool second, const struct tcphdr *tcp,
				      __u32 length, __u64 now)
{
	__u32 state = *(volatile __u32 *)&flow->state, dir = second != !!(state & SLUICE_FLOW_SECOND), facts;
	struct sluice_flow_side *side = dir ? &flow->side[1] : &flow->side[0];

	facts = lane_facts(tcp, dir);
	if (flow->generation != (__u32)generation ||
	    state & (SLUICE_FLOW_AUDIT_DENY | SLUICE_FLOW_CUT | SLUICE_FLOW_ENDED) || (state & facts) != facts)
		return false;
	if (flow_tick(now) != *(volatile __u32 *)&flow->last && flow_is_over(flow, now, generation & 1))
		return false;
	flow_count(side, length);
	flow_seen_at(flow, now);
	if (tcp)
		flow_acked(side, bpf_ntohl(tcp->ack_seq), true);
	reason_add(SLUICE_R_PASS_FLOW, length, false);
	rule_add(state >> SLUICE_FLOW_SLOT, length, false, false);
	return true;
}

#define LANE_FORWARDS (SLUICE_IF_WIRE | SLUICE_IF_FORWARD | SLUICE_IF_UNFINISHED)
#define LANE_IGNORES  (LANE_FORWARDS | SLUICE_IF_BACK | SLUICE_IF_BOUNCE) /* the latter are of answers to SYNs */

/* The interface, if it does no more than name a tenant and forward. */
static __always_inline const struct sluice_interface *lane_interface(__u32 ifindex, __u32 bank)
{
	__u32 number = ifindex << 1 | bank;
	const struct sluice_interface *interface;

	if (ifindex >= SLUICE_UNTAGGED)
		return NULL;
	interface = bpf_map_lookup_elem(&untagged, &number);
	return interface && (interface->flags & ~LANE_IGNORES) == SLUICE_IF_NAMED ? interface : NULL;
}

#define LANE_NONE (-1) /* the long way; otherwise an XDP action, and the packet is counted */

/* What becomes of the packet here and now. Global: verified once, with a frame of its own. */
__noinline int lane_ask(struct xdp_md *ctx, const struct door_key *key)
{
	const struct sluice_interface *interface;
	const struct tcphdr *tcp = NULL;
	const struct sluice_control *c;
	__u64 generation, now;
	struct sluice_flow *flow;
	struct lane l;
	__u32 zero = 0, length = ctx->data_end - ctx->data;

	barrier_var(length); /* as in skb_parse() */
	c = bpf_map_lookup_elem(&control, &zero);
	if (!key || !c)
		return LANE_NONE;
	generation = *(volatile __u64 *)&c->generation;
	interface = lane_interface(key->ifindex, generation & 1);
	if (!interface || (c->steered && key->protocol == IPPROTO_TCP))
		return LANE_NONE;
	lane_place(&l, key, interface->tenant);
	flow = lane_find(&l, key);
	if (!flow)
		return LANE_NONE;
	if (key->protocol == IPPROTO_TCP) {
		tcp = (void *)(long)ctx->data + sizeof(struct ethhdr) + sizeof(struct iphdr);
		if ((const void *)(tcp + 1) > (void *)(long)ctx->data_end)
			return LANE_NONE;
	}
	now = clock_now();
	if (!lane_take(flow, generation, l.second, tcp, length, now))
		return LANE_NONE;
	return interface->flags & LANE_FORWARDS ? lane_move(ctx, key, interface, generation, now) : XDP_PASS;
}

#endif
