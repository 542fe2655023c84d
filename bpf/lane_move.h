/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a packet that the lane passes goes from here: what forward.h does, for a plain packet whose interface is at hand, without
 * struct pkt. Counted by the same outcomes.
 */
#ifndef SLUICE_BPF_LANE_MOVE_H
#define SLUICE_BPF_LANE_MOVE_H

#include "door.h"
#include "forward.h"
#include "route.h"

/* Whether the packet's checksum may be left to a device: segment_unfinished(), at a glance. */
static __always_inline bool plain_unfinished(struct xdp_md *ctx, const struct door_key *key)
{
	const struct iphdr *ip = (void *)(long)ctx->data + sizeof(struct ethhdr);
	const void *transport = ip + 1, *end = (void *)(long)ctx->data_end;
	__be16 sum;

	if (key->protocol == IPPROTO_TCP) {
		if (transport + sizeof(struct tcphdr) > end)
			return true;
		sum = ((const struct tcphdr *)transport)->check;
	} else {
		if (transport + sizeof(struct udphdr) > end)
			return true;
		sum = ((const struct udphdr *)transport)->check;
	}
	return sum == sum_fold((__u64)key->source + key->dest + bpf_htons(key->protocol) +
			       bpf_htons(bpf_ntohs(ip->tot_len) - sizeof(*ip)));
}

static __always_inline bool lane_unfinished(struct xdp_md *ctx, const struct door_key *key,
					    const struct sluice_interface *interface)
{
	return interface->flags & SLUICE_IF_UNFINISHED && plain_unfinished(ctx, key);
}

/* Sends the packet to where `r` says. */
static __always_inline enum sluice_forward route_follow(struct xdp_md *ctx, const struct route *r, bool unfinished)
{
	const __u32 *mac = (const __u32 *)r->mac;
	__u32 *ethernet;
	struct iphdr *ip;

	if (bpf_redirect_map(&ports, r->out, XDP_PASS) != XDP_REDIRECT)
		return SLUICE_FORWARD_KERNEL_PORT;
	if (unfinished && checksum_finish(ctx))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	ethernet = (void *)(long)ctx->data;
	ip = (void *)ethernet + sizeof(struct ethhdr);
	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	ttl_lower(ip);
	ethernet[0] = mac[0];
	ethernet[1] = mac[1];
	ethernet[2] = mac[2];
	return SLUICE_FORWARD_ROUTED;
}

static __always_inline enum sluice_forward lane_route_try(struct xdp_md *ctx, const struct door_key *key,
							  const struct sluice_interface *interface, __u32 generation,
							  __u64 now)
{
	const struct ethhdr *ethernet = (void *)(long)ctx->data;
	const struct iphdr *ip = (void *)(ethernet + 1);
	struct route_key question = {.now_ns = now, .generation = generation};
	enum sluice_forward outcome;
	struct route *r;
	__u32 length;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end || !mac_is(ethernet->h_dest, interface->mac))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	if (ip->ttl < TTL_LEAST)
		return SLUICE_FORWARD_KERNEL_TTL;
	question.source = key->source;
	question.dest = key->dest;
	question.ifindex = key->ifindex;
	question.source_port = key->source_port;
	question.dest_port = key->dest_port;
	question.protocol = key->protocol;
	question.tos = ip->tos;
	length = bpf_ntohs(ip->tot_len);
	r = route_at(&question);
	if (!r)
		return SLUICE_FORWARD_KERNEL_ROUTE;
	if (!route_fits(r, &question)) {
		outcome = route_ask(ctx, &question, r);
		if (outcome != SLUICE_FORWARD_ROUTED)
			return outcome;
	}
	if (length > r->mtu)
		return SLUICE_FORWARD_KERNEL_LONG;
	if (route_refreshes(now, key->source_port, key->dest_port))
		return SLUICE_FORWARD_KERNEL_REFRESH;
	return route_follow(ctx, r, lane_unfinished(ctx, key, interface));
}

static __always_inline int lane_route(struct xdp_md *ctx, const struct door_key *key,
				      const struct sluice_interface *interface, __u32 generation, __u64 now)
{
	enum sluice_forward outcome = lane_route_try(ctx, key, interface, generation, now);

	forward_count(outcome);
	return outcome == SLUICE_FORWARD_ROUTED ? XDP_REDIRECT : XDP_PASS;
}

static __always_inline int lane_move(struct xdp_md *ctx, const struct door_key *key,
				     const struct sluice_interface *interface, __u32 generation, __u64 now)
{
	if (interface->flags & SLUICE_IF_WIRE)
		return wire_move(ctx, interface, ctx->data_end - ctx->data, lane_unfinished(ctx, key, interface));
	if (interface->flags & SLUICE_IF_FORWARD)
		return lane_route(ctx, key, interface, generation, now);
	return XDP_PASS;
}

#endif
