/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last step of sluice_xdp, of a packet that passes: where it goes from here. Without it every packet goes up to the
 * kernel's stack. Two kinds of interfaces have a way of their own:
 *
 *   wire     everything leaves by the interface at the other end, as it came: tags, addresses and TTL untouched
 *   forward  a packet of an established flow that the kernel would route out by another such interface
 *
 * What is done with a packet here is counted by outcome in `forwards`, beside its reason and its rule.
 *
 * Frames of a veth's far end may come with a checksum that is left to a device to fill in; the note that says so does
 * not survive a redirect of native XDP. Such frames are recognised, since the field then holds just the sum of the
 * pseudo header, and finished here. Userspace says which interfaces may see them (SLUICE_IF_UNFINISHED). In generic
 * mode the note survives, and they must be left alone.
 */
#ifndef SLUICE_BPF_FORWARD_H
#define SLUICE_BPF_FORWARD_H

#include "failsafe.h"
#include "parse.h"
#include "pkt.h"
#include "tenant.h"

static __always_inline void forward_count(enum sluice_forward outcome)
{
	__u32 number = outcome;
	__u64 *packets = bpf_map_lookup_elem(&forwards, &number);

	if (packets)
		*packets += 1;
}

/* ------------------------------------------------------------------- unfinished checksums */

#define SUM_CHUNK  64
#define SUM_CHUNKS 160 /* 10 KiB: no frame that is sent out again is longer, but for devices with an MTU above 10,000  \
			*/

/* A TCP or UDP packet, whole in its frame. Offsets from the start of the frame, lengths in bytes. */
struct segment {
	__u32 at;     /* of the TCP or UDP header */
	__u32 length; /* of header and data */
	__u32 field;  /* of the checksum */
	__u32 pseudo; /* sum of the pseudo header, RFC 1071, folded */
};

static __always_inline __u32 sum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline bool segment_of_ip4(struct cursor *c, struct segment *s, __u8 *ret_protocol)
{
	const struct iphdr *ip = cursor_take(c, sizeof(*ip));

	if (!ip || *(const __u8 *)ip != 0x45 || ip->frag_off & bpf_htons(IP4_OFFSET | IP4_MORE))
		return false;
	s->length = bpf_ntohs(ip->tot_len) - sizeof(*ip);
	s->pseudo = sum_fold((__u64)ip->saddr + ip->daddr + bpf_htons(ip->protocol) + bpf_htons(s->length));
	*ret_protocol = ip->protocol;
	return true;
}

static __always_inline bool segment_of_ip6(struct cursor *c, struct segment *s, __u8 *ret_protocol)
{
	const struct ipv6hdr *ip = cursor_take(c, sizeof(*ip));
	const __u32 *word;

	if (!ip)
		return false;
	word = (const __u32 *)&ip->saddr; /* both addresses, eight words */
	s->length = bpf_ntohs(ip->payload_len);
	s->pseudo = sum_fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4] + word[5] + word[6] + word[7] +
			     bpf_htons(ip->nexthdr) + bpf_htons(s->length));
	*ret_protocol = ip->nexthdr;
	return true;
}

/* Whether the frame's checksum is left to a device. Of what has options, extension headers or two tags, nobody asks. */
static __always_inline bool segment_unfinished(struct xdp_md *ctx, struct segment *s)
{
	void *data = (void *)(long)ctx->data;
	struct cursor c = {data, (void *)(long)ctx->data_end};
	const struct ethhdr *ethernet = cursor_take(&c, sizeof(*ethernet));
	const struct vlan_tag *tag;
	const __be16 *transport;
	__be16 ethertype, sum;
	__u8 protocol;

	if (!ethernet)
		return false;
	ethertype = ethernet->h_proto;
	if (ethertype == bpf_htons(ETHERTYPE_8021Q) || ethertype == bpf_htons(ETHERTYPE_8021AD)) {
		tag = cursor_take(&c, sizeof(*tag));
		if (!tag)
			return false;
		ethertype = tag->ethertype;
	}
	if (ethertype == bpf_htons(ETHERTYPE_IPV4)
		    ? !segment_of_ip4(&c, s, &protocol)
		    : ethertype != bpf_htons(ETHERTYPE_IPV6) || !segment_of_ip6(&c, s, &protocol))
		return false;
	s->at = c.pos - data;
	if (protocol == IPPROTO_TCP) {
		transport = cursor_take(&c, sizeof(struct tcphdr));
		if (!transport)
			return false;
		s->field = s->at + offsetof(struct tcphdr, check);
		sum = transport[offsetof(struct tcphdr, check) / 2];
	} else if (protocol == IPPROTO_UDP) {
		transport = cursor_take(&c, sizeof(struct udphdr));
		if (!transport)
			return false;
		s->field = s->at + offsetof(struct udphdr, check);
		sum = transport[offsetof(struct udphdr, check) / 2];
	} else {
		return false;
	}
	return sum == s->pseudo;
}

/* The sum of the segment's bytes, folded, or -1: longer than SUM_CHUNKS, or not in the frame. */
static __always_inline int segment_sum(struct xdp_md *ctx, const struct segment *s)
{
	__u32 chunk[SUM_CHUNK / 4], offset = 0, left;
	__s64 sum = 0;

	for (__u32 i = 0; i < SUM_CHUNKS; i++) {
		left = s->length - offset;
		if (left < SUM_CHUNK)
			break;
		if (bpf_xdp_load_bytes(ctx, s->at + offset, chunk, SUM_CHUNK))
			return -1;
		sum = bpf_csum_diff(NULL, 0, chunk, SUM_CHUNK, sum);
		if (sum < 0)
			return -1;
		offset += SUM_CHUNK;
	}
	left = s->length - offset;
	if (left >= SUM_CHUNK)
		return -1;
	__builtin_memset(chunk, 0, sizeof(chunk));
	if (left && frame_load_some(ctx, SLUICE_HOOK_XDP, s->at + offset, chunk, left, SUM_CHUNK - 1))
		return -1;
	sum = bpf_csum_diff(NULL, 0, chunk, SUM_CHUNK, sum);
	return sum < 0 ? -1 : sum_fold(sum);
}

/*
 * Fills in a checksum that was left to a device. 0: there is none to fill in, or it is done; -1: it cannot be. A
 * finished checksum is by chance what it would be unfinished once in 65,536 packets: then it adds up, and stays.
 * Global: its loop is verified once.
 */
__noinline int checksum_finish(struct xdp_md *ctx)
{
	struct segment s = {};
	__u16 sum;
	int all;

	if (!segment_unfinished(ctx, &s))
		return 0;
	all = segment_sum(ctx, &s);
	if (all < 0)
		return -1;
	if (sum_fold((__u64)all + s.pseudo) == 0xffff)
		return 0;
	sum = ~all;
	if (!sum)
		sum = 0xffff; /* the same number, and to UDP 0 means that there is none */
	forward_count(SLUICE_FORWARD_FINISHED);
	return bpf_xdp_store_bytes(ctx, s.field, &sum, sizeof(sum)) ? -1 : 0;
}

/* ------------------------------------------------------------------- wires */

#define MTU_EXCEEDED 1 /* BPF_MTU_CHK_RET_FRAG_NEEDED */

/* Whether the other end would not send it: the kernel would drop it unseen. One tag does not count, as for the kernel.
 */
static __always_inline bool wire_is_exceeded(struct xdp_md *ctx, const struct sluice_interface *interface, __u32 length)
{
	length -= sizeof(struct ethhdr) + sizeof(struct vlan_tag);
	if ((__s32)length <= interface->peer_mtu)
		return false;
	return bpf_check_mtu(ctx, interface->peer, &length, 0, 0) == MTU_EXCEEDED;
}

/* `length` is the frame's; `unfinished`: its checksum may be left to a device. */
static __always_inline int wire_move(struct xdp_md *ctx, const struct sluice_interface *interface, __u32 length,
				     bool unfinished)
{
	enum sluice_forward outcome = SLUICE_FORWARD_WIRED;
	int action = XDP_DROP;

	if (wire_is_exceeded(ctx, interface, length))
		outcome = SLUICE_FORWARD_WIRE_LONG;
	else if (unfinished && checksum_finish(ctx))
		outcome = SLUICE_FORWARD_WIRE_SUM;
	else
		action = bpf_redirect_map(&ports, interface->peer, XDP_DROP);
	if (action == XDP_DROP && outcome == SLUICE_FORWARD_WIRED)
		outcome = SLUICE_FORWARD_WIRE_GONE;
	forward_count(outcome);
	return action;
}

/* ------------------------------------------------------------------- routing */

#define TTL_LEAST   2	   /* what arrives with less ends here */
#define REFRESH_BIT 0x1fff /* see route_refreshes() */

static __always_inline bool mac_is(const __u8 *mac, const __u8 *other)
{
	return !((*(const __u32 *)mac ^ *(const __u32 *)other) | (*(const __u16 *)(mac + 4) ^ *(const __u16 *)(other + 4)));
}

/* IPv4 addresses that a router does not forward, by their first octet. */
static __always_inline bool octet_is_odd(__u8 first)
{
	return !first || first == 127 || first >= 224;
}

/* Addresses that a router does not forward, or not without asking further. */
static __always_inline bool address_is_odd(const struct tuple *t, const __u8 addr[16])
{
	const __u32 *word = (const __u32 *)addr;

	if (t->version == 4)
		return octet_is_odd(addr[12]);
	return (!word[0] && !word[1]) || (word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) || addr[0] == 0xff;
}

/* Whether the packet may be forwarded as far as it was parsed already. */
static __always_inline enum sluice_forward route_admits(const struct pkt *pkt, int reason)
{
	if (reason != SLUICE_R_PASS_FLOW || (pkt->tcp_flags & TCP_SYN) || !(pkt->interface_flags & SLUICE_IF_FORWARD))
		return SLUICE_FORWARD_KERNEL_NEW; /* SYN: a connection that the host's own firewall denies does not open
						   */
	if (pkt->fragment != FRAGMENT_NONE || pkt->vlan != SLUICE_VLAN_NONE || pkt->length > IP_LENGTH_MAX ||
	    address_is_odd(&pkt->tuple, pkt->tuple.source) || address_is_odd(&pkt->tuple, pkt->tuple.dest))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	return SLUICE_FORWARD_ROUTED;
}

static __always_inline enum sluice_forward route_ask_ip4(const struct iphdr *ip, struct bpf_fib_lookup *fib)
{
	if (*(const __u8 *)ip != 0x45)
		return SLUICE_FORWARD_KERNEL_UNUSUAL; /* options */
	if (ip->ttl < TTL_LEAST)
		return SLUICE_FORWARD_KERNEL_TTL;
	fib->family = AF_INET;
	fib->tos = ip->tos;
	fib->tot_len = bpf_ntohs(ip->tot_len);
	fib->ipv4_src = ip->saddr;
	fib->ipv4_dst = ip->daddr;
	return SLUICE_FORWARD_ROUTED;
}

static __always_inline enum sluice_forward route_ask_ip6(const struct ipv6hdr *ip, const struct pkt *pkt,
							 struct bpf_fib_lookup *fib)
{
	if (ip->nexthdr != pkt->tuple.protocol)
		return SLUICE_FORWARD_KERNEL_UNUSUAL; /* extension headers */
	if (ip->hop_limit < TTL_LEAST)
		return SLUICE_FORWARD_KERNEL_TTL;
	fib->family = AF_INET6;
	fib->flowinfo = *(const __be32 *)ip & bpf_htonl(0x0fffffff);
	fib->tot_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	addr_copy((__u8 *)fib->ipv6_src, &ip->saddr);
	addr_copy((__u8 *)fib->ipv6_dst, &ip->daddr);
	return SLUICE_FORWARD_ROUTED;
}

/* What the headers say, and the question to the kernel's routes. The frame must be for this very interface. */
static __always_inline enum sluice_forward route_question(struct xdp_md *ctx, const struct pkt *pkt,
							  const struct sluice_interface *interface,
							  struct bpf_fib_lookup *fib)
{
	struct cursor c = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	const struct ethhdr *ethernet = cursor_take(&c, sizeof(*ethernet));
	const struct ipv6hdr *ip6;
	const struct iphdr *ip;

	if (!ethernet || !mac_is(ethernet->h_dest, interface->mac))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	fib->ifindex = pkt->ifindex;
	fib->l4_protocol = pkt->tuple.protocol;
	fib->sport = pkt->tuple.source_port;
	fib->dport = pkt->tuple.dest_port;
	if (ethernet->h_proto == bpf_htons(ETHERTYPE_IPV4)) {
		ip = cursor_take(&c, sizeof(*ip));
		return ip ? route_ask_ip4(ip, fib) : SLUICE_FORWARD_KERNEL_UNUSUAL;
	}
	ip6 = cursor_take(&c, sizeof(*ip6));
	if (!ip6 || ethernet->h_proto != bpf_htons(ETHERTYPE_IPV6))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	return route_ask_ip6(ip6, pkt, fib);
}

/* The kernel's answer. Whatever it would not simply send on is the kernel's: it answers, asks for neighbours, or drops.
 */
static __always_inline enum sluice_forward route_answer(struct xdp_md *ctx, __u32 bank, struct bpf_fib_lookup *fib)
{
	const struct sluice_interface *out;
	__u32 in = fib->ifindex;

	switch (bpf_fib_lookup(ctx, fib, sizeof(*fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return SLUICE_FORWARD_KERNEL_NEIGHBOUR;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return SLUICE_FORWARD_KERNEL_LONG;
	default:
		return SLUICE_FORWARD_KERNEL_ROUTE;
	}
	if (fib->ifindex == in) /* the kernel may want to tell the sender of a shorter way */
		return SLUICE_FORWARD_KERNEL_ROUTE;
	out = interface_find(fib->ifindex, SLUICE_VLAN_NONE, bank);
	return out && (out->flags & SLUICE_IF_FORWARD) ? SLUICE_FORWARD_ROUTED : SLUICE_FORWARD_KERNEL_PORT;
}

/*
 * One packet in some 8,000 takes the kernel's way although it need not: the kernel confirms only neighbours that it
 * sends to itself, and one that has moved would otherwise never be found out. Drawn from the time, so that a flow of
 * equal packets is not left out.
 */
static __always_inline bool route_refreshes(__u64 now, __be16 source_port, __be16 dest_port)
{
	__u32 draw = (__u32)(now >> 10) ^ source_port ^ (__u32)dest_port << 16;

	return (draw * 0x9e3779b1u >> 16 & REFRESH_BIT) == 0;
}

static __always_inline void ttl_lower(struct iphdr *ip)
{
	__u32 sum = (__u32)ip->check + bpf_htons(0x0100); /* RFC 1624 */

	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
}

/* Hop limit, IPv4 checksum and addresses of the link, as the kernel's own forwarding would have it. */
static __always_inline int route_rewrite(struct xdp_md *ctx, const struct bpf_fib_lookup *fib)
{
	struct cursor c = {(void *)(long)ctx->data, (void *)(long)ctx->data_end};
	struct ethhdr *ethernet = cursor_take(&c, sizeof(*ethernet));
	struct ipv6hdr *ip6;
	struct iphdr *ip;

	if (!ethernet)
		return -1;
	if (fib->family == AF_INET) {
		ip = cursor_take(&c, sizeof(*ip));
		if (!ip)
			return -1;
		ttl_lower(ip);
	} else {
		ip6 = cursor_take(&c, sizeof(*ip6));
		if (!ip6)
			return -1;
		ip6->hop_limit--;
	}
	__builtin_memcpy(ethernet->h_dest, fib->dmac, sizeof(fib->dmac));
	__builtin_memcpy(ethernet->h_source, fib->smac, sizeof(fib->smac));
	return 0;
}

static __always_inline enum sluice_forward route_try(struct xdp_md *ctx, struct pkt *pkt,
						     const struct sluice_interface *interface, int reason)
{
	struct bpf_fib_lookup fib = {};
	enum sluice_forward outcome = route_admits(pkt, reason);

	if (outcome == SLUICE_FORWARD_ROUTED)
		outcome = route_question(ctx, pkt, interface, &fib);
	if (outcome == SLUICE_FORWARD_ROUTED)
		outcome = route_answer(ctx, pkt->tuple.bank, &fib);
	if (outcome != SLUICE_FORWARD_ROUTED)
		return outcome;
	if (route_refreshes(pkt->now, pkt->tuple.source_port, pkt->tuple.dest_port))
		return SLUICE_FORWARD_KERNEL_REFRESH;
	if (bpf_redirect_map(&ports, fib.ifindex, XDP_PASS) != XDP_REDIRECT)
		return SLUICE_FORWARD_KERNEL_PORT;
	/* Only of what is certain to go: the stack would have a device fill it in once more. */
	if ((interface->flags & SLUICE_IF_UNFINISHED) && checksum_finish(ctx))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	return route_rewrite(ctx, &fib) ? SLUICE_FORWARD_KERNEL_UNUSUAL : SLUICE_FORWARD_ROUTED;
}

static __always_inline int route_move(struct xdp_md *ctx, struct pkt *pkt, const struct sluice_interface *interface,
				      int reason)
{
	enum sluice_forward outcome = route_try(ctx, pkt, interface, reason);

	forward_count(outcome);
	return outcome == SLUICE_FORWARD_ROUTED ? XDP_REDIRECT : XDP_PASS;
}

/* What becomes of a packet that passes for `reason`: XDP_PASS, up the stack; XDP_REDIRECT; XDP_DROP. Global: verified
 * once. */
__noinline int forward_move(struct xdp_md *ctx, struct pkt *pkt, int reason)
{
	const struct sluice_interface *interface;

	if (!pkt || replay)
		return XDP_PASS;
	interface = interface_find(pkt->ifindex, SLUICE_VLAN_NONE, pkt->tuple.bank);
	if (!interface)
		return XDP_PASS;
	if (interface->flags & SLUICE_IF_WIRE)
		return wire_move(ctx, interface, bpf_xdp_get_buff_len(ctx), interface->flags & SLUICE_IF_UNFINISHED);
	if (interface->flags & SLUICE_IF_FORWARD)
		return route_move(ctx, pkt, interface, reason);
	return XDP_PASS;
}

#endif
