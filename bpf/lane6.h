/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane of established flows (lane.h) for IPv6: TCP or UDP right behind the header, nothing malformed. Of interfaces that forward
 * only wires have it.
 *
 * A flow's addresses are in the second unit, so one line more is read than for IPv4.
 */
#ifndef SLUICE_BPF_LANE6_H
#define SLUICE_BPF_LANE6_H

#include "lane.h"

/* A packet as the flow table knows it. */
struct lane6 {
	struct sluice_flow_probe probe;
	__u64 address[4]; /* of the flow's key, in its order */
	bool second;	  /* the sender is the second end of the key */
	bool tcp;
	__u32 length;	  /* of the frame, in bytes */
};

/* Whether the segment is whole and sound, as parse.h would say. */
static __always_inline bool lane6_is_sound(const struct ipv6hdr *ip, const void *end, __u32 left)
{
	const struct udphdr *udp = (const void *)(ip + 1);
	const struct tcphdr *tcp = (const void *)(ip + 1);

	if (ip->nexthdr == IPPROTO_UDP)
		return left >= sizeof(*udp) && bpf_ntohs(udp->len) == left;
	return ip->nexthdr == IPPROTO_TCP && (const void *)(tcp + 1) <= end && left >= sizeof(*tcp) && tcp->doff >= 5 &&
	       tcp->doff * 4 <= left;
}

/* As key_fill() and probe_fill() would. */
static __always_inline void lane6_place(struct lane6 *l, const struct ipv6hdr *ip, __be16 source_port, __be16 dest_port,
					__u16 tenant)
{
	const __u32 *word = (const __u32 *)&ip->saddr;
	__u64 source[2] = {word[0] | (__u64)word[1] << 32, word[2] | (__u64)word[3] << 32};
	__u64 dest[2] = {word[4] | (__u64)word[5] << 32, word[6] | (__u64)word[7] << 32};
	__u64 x = bpf_be64_to_cpu(source[0]), y = bpf_be64_to_cpu(dest[0]);
	__u32 kind = ip->nexthdr << 24 | (__u32)tenant << 8 | 6;

	if (x == y) {
		x = bpf_be64_to_cpu(source[1]);
		y = bpf_be64_to_cpu(dest[1]);
	}
	l->second = x > y || (x == y && bpf_ntohs(source_port) > bpf_ntohs(dest_port));
	l->address[0] = l->second ? dest[0] : source[0];
	l->address[1] = l->second ? dest[1] : source[1];
	l->address[2] = l->second ? source[0] : dest[0];
	l->address[3] = l->second ? source[1] : dest[1];
	l->probe.word[0] = 0;
	l->probe.word[1] = sluice_flow_word1(l->second ? dest_port : source_port, l->second ? source_port : dest_port, kind);
	sluice_flow_place(&l->probe, sluice_flow_hash6(l->address, flow_seed), SLUICE_TAG_LIVE6, flow_buckets);
}

/* False: no packet of this lane. */
static __always_inline bool lane6_read(struct xdp_md *ctx, __u16 tenant, struct lane6 *ret)
{
	const struct ipv6hdr *ip = (void *)(long)ctx->data + sizeof(struct ethhdr);
	const struct udphdr *ports = (const void *)(ip + 1);
	const void *end = (void *)(long)ctx->data_end;
	__u32 left;

	if ((const void *)(ports + 1) > end || ip->version != 6 || ip->saddr.in6_u.u6_addr8[0] == 0xff)
		return false;
	left = bpf_ntohs(ip->payload_len);
	if (left > end - (const void *)ports || !lane6_is_sound(ip, end, left))
		return false;
	ret->tcp = ip->nexthdr == IPPROTO_TCP;
	ret->length = sizeof(struct ethhdr) + (end - (const void *)ip);
	lane6_place(ret, ip, ports->source, ports->dest, tenant);
	return true;
}

/* The flow, if it is at home where it likes to be. One that has ended may still be found: its state says so. */
static __always_inline struct sluice_flow *lane6_find(const struct lane6 *l)
{
	struct sluice_flow_bucket *home = bucket_at(l->probe.bucket[0]);
	__u32 unit = sluice_flow_liked6(l->probe.tag);
	const volatile __u64 *address;

	barrier_var(unit); /* as in unit_liked() */
	if (!home || *unit_published(home, unit) != l->probe.word[1])
		return NULL;
	home = (void *)home + zero_of(unit_published(home, unit)); /* as in lane_match() */
	address = unit_addresses6(home, unit);
	if (*(const volatile __u64 *)&home->unit[unit] || address[0] != l->address[0] || address[1] != l->address[1] ||
	    address[2] != l->address[2] || address[3] != l->address[3])
		return NULL;
	return &home->unit[unit].flow;
}

/* As lane_ask(), of a frame that says it holds IPv6. */
__noinline int lane6_ask(struct xdp_md *ctx)
{
	const struct sluice_interface *interface;
	const struct tcphdr *tcp = NULL;
	const struct sluice_control *c;
	struct sluice_flow *flow;
	__u64 generation;
	__u32 zero = 0;
	struct lane6 l;

	c = bpf_map_lookup_elem(&control, &zero);
	if (!c)
		return LANE_NONE;
	generation = *(volatile __u64 *)&c->generation;
	interface = lane_interface(ctx->ingress_ifindex, generation & 1);
	if (!interface || interface->flags & SLUICE_IF_FORWARD || !lane6_read(ctx, interface->tenant, &l) ||
	    (c->steered && l.tcp))
		return LANE_NONE;
	flow = lane6_find(&l);
	if (!flow)
		return LANE_NONE;
	barrier_var(ctx); /* or clang adds to it what the branch says */
	if (l.tcp) {
		tcp = (void *)(long)ctx->data + sizeof(struct ethhdr) + sizeof(struct ipv6hdr);
		if ((const void *)(tcp + 1) > (void *)(long)ctx->data_end)
			return LANE_NONE;
	}
	if (!lane_take(flow, generation, l.second, tcp, l.length, clock_now()))
		return LANE_NONE;
	if (interface->flags & SLUICE_IF_WIRE)
		return wire_move(ctx, interface, l.length, interface->flags & SLUICE_IF_UNFINISHED);
	return XDP_PASS;
}

#endif
