/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a rejected packet is answered with: read off the packet, put together in a draft, stored over the packet. Called
 * by reject.h, which says whether, and sends it. TC only, see there.
 *
 * A draft is written whole before the packet changes, so whatever fails leaves a packet that is only dropped. What is
 * stored bears all its checksums, and no device has any left to fill in.
 */
#ifndef SLUICE_BPF_ANSWER_H
#define SLUICE_BPF_ANSWER_H

#include "maps.h"
#include "parse.h"
#include "pkt.h"

/* linux/bpf.h; not in the kernel's BTF that vmlinux.h is made of */
#define BPF_ADJ_ROOM_MAC      1
#define BPF_F_INVALIDATE_HASH 2

#define ETHERNET_BYTES 14

#define ANSWER_TTL 64

/* Bytes quoted at most: an answer has no more than 576 of IPv4 (RFC 1812, 4.3.2.3), 1280 of IPv6 (RFC 4443, 2.4). */
#define QUOTE4_MAX (576 - sizeof(struct iphdr) - sizeof(struct icmphdr))
#define QUOTE6_MAX (1280 - sizeof(struct ipv6hdr) - sizeof(struct icmphdr))

#define SUM_BYTES 512			/* that bpf_csum_diff() adds up in one call, on older kernels */
#define BODY_ROOM (3 * SUM_BYTES)	/* holds the longest answer, for sums of whole pieces */

/*
 * More than lies before any checksum that a device was to fill in: taking that many bytes off the front makes the
 * kernel forget it (skb_postpull_rcsum()). Otherwise it would be filled in, in the middle of the answer.
 */
#define ANSWER_PULL 128

#define ICMP4_UNREACHABLE 3
#define ICMP4_PROHIBITED  13
#define ICMP6_UNREACHABLE 1
#define ICMP6_PROHIBITED  1

/* Where an answer is put together: too much for the stack. */
struct answer {
	struct ethhdr asked_ethernet; /* of the packet that is answered */
	struct ethhdr ethernet;
	struct tcphdr asked_tcp;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	};
	union {
		struct tcphdr tcp;
		struct {
			struct icmphdr icmp;
			__u8 quote[BODY_ROOM - sizeof(struct icmphdr)];
		};
		__u8 bytes[BODY_ROOM];
	} body;
};

/* One a CPU: nothing interrupts a TC program with another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} answer_drafts SEC(".maps");

/* Where an answer goes: back to the sender of the packet, or on to whom it was for. */
enum answer_way {
	ANSWER_BACK,
	ANSWER_ON,
};

/* ------------------------------------------------------------------- checksums */

static __always_inline __sum16 answer_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * Of the pseudo header, the same both ways. Addresses are summed as they are kept: what makes an IPv4 address IPv4-mapped
 * adds 0xffff, which is nothing in a ones' complement sum.
 */
static __always_inline __u64 pseudo_sum(const struct pkt *pkt, __u8 protocol, __u32 length)
{
	const __u32 *s = (const __u32 *)pkt->tuple.source, *d = (const __u32 *)pkt->tuple.dest;
	__u64 sum = bpf_htonl(protocol + length);

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)s[i] + d[i];
	return sum;
}

/* Of what lies from `at` on, at most SUM_BYTES, added to `sum`. */
static __always_inline __u32 piece_sum(struct answer *a, __u32 at, __u32 length, __u32 sum)
{
	__u32 piece = length - at;

	if (length <= at)
		return sum;
	barrier_var(piece); /* or clang compares `length`, and kernel 6.1 does not know that they are the same */
	if (piece > SUM_BYTES)
		piece = SUM_BYTES;
	return bpf_csum_diff(NULL, 0, (__be32 *)(a->body.bytes + at), piece, sum);
}

/* Of `length` bytes of the body, and of up to 3 behind them, which must be 0. */
static __always_inline __u64 body_sum(struct answer *a, __u32 length)
{
	__u32 whole = (length + 3) & ~3u, sum;

	sum = piece_sum(a, 0, whole, 0);
	sum = piece_sum(a, SUM_BYTES, whole, sum);
	return piece_sum(a, 2 * SUM_BYTES, whole, sum);
}

/* ------------------------------------------------------------------- the draft */

/*
 * The header of a RST. `seq` and `ack_seq`: as on the wire; `ack`: the latter means something.
 */
static __always_inline __u32 reset_write(const struct pkt *pkt, struct answer *a, enum answer_way way, __be32 seq,
					 __be32 ack_seq, bool ack)
{
	struct tcphdr *tcp = &a->body.tcp;

	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = way == ANSWER_BACK ? pkt->tuple.dest_port : pkt->tuple.source_port;
	tcp->dest = way == ANSWER_BACK ? pkt->tuple.source_port : pkt->tuple.dest_port;
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	tcp->ack = ack;
	tcp->seq = seq;
	tcp->ack_seq = ack_seq;
	tcp->check = answer_fold(body_sum(a, sizeof(*tcp)) + pseudo_sum(pkt, IPPROTO_TCP, sizeof(*tcp)));
	return sizeof(*tcp);
}

/* RFC 9293, 3.10.7.1, CLOSED. `left`: bytes of the segment. Answers the length of the body, or 0. */
static __always_inline __u32 answer_tcp(struct __sk_buff *ctx, const struct pkt *pkt, struct answer *a, __u32 left)
{
	struct tcphdr *asked = &a->asked_tcp;
	__u32 next;

	if (bpf_skb_load_bytes(ctx, pkt->payload - sizeof(*asked), asked, sizeof(*asked)))
		return 0;
	if (asked->ack)
		return reset_write(pkt, a, ANSWER_BACK, asked->ack_seq, 0, false);
	next = bpf_ntohl(asked->seq) + left - asked->doff * 4 + asked->syn + asked->fin;
	return reset_write(pkt, a, ANSWER_BACK, 0, bpf_htonl(next), true);
}

/* Quotes as much of the packet of `total` bytes as is allowed. Answers the length of the body, or 0. */
static __always_inline __u32 answer_icmp(struct __sk_buff *ctx, const struct pkt *pkt, struct answer *a, __u32 total)
{
	bool v4 = pkt->tuple.version == 4;
	__u32 most = v4 ? QUOTE4_MAX : QUOTE6_MAX;
	struct icmphdr *icmp = &a->body.icmp;
	__u64 sum;

	if (total > most)
		total = most;
	if (frame_load_some(ctx, SLUICE_HOOK_TC_INGRESS, ETHERNET_BYTES, a->body.quote, total, QUOTE6_MAX))
		return 0;
	__builtin_memset(a->body.quote + total, 0, 3);
	__builtin_memset(icmp, 0, sizeof(*icmp));
	icmp->type = v4 ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE;
	icmp->code = v4 ? ICMP4_PROHIBITED : ICMP6_PROHIBITED;
	total += sizeof(*icmp);
	sum = body_sum(a, total);
	if (!v4)
		sum += pseudo_sum(pkt, IPPROTO_ICMPV6, total);
	icmp->checksum = answer_fold(sum);
	return total;
}

static __always_inline void answer_ip4(const struct pkt *pkt, struct answer *a, enum answer_way way, __u8 protocol,
				       __u32 body)
{
	const __be32 *source = (const __be32 *)&pkt->tuple.source[12], *dest = (const __be32 *)&pkt->tuple.dest[12];
	struct iphdr *ip = &a->ip4;
	const __u32 *word = (const __u32 *)ip;

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = bpf_htons(sizeof(*ip) + body);
	ip->frag_off = bpf_htons(0x4000); /* RFC 6864: never fragmented, so it needs no identification */
	ip->ttl = ANSWER_TTL;
	ip->protocol = protocol;
	ip->saddr = way == ANSWER_BACK ? *dest : *source;
	ip->daddr = way == ANSWER_BACK ? *source : *dest;
	ip->check = answer_fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

static __always_inline void answer_ip6(const struct pkt *pkt, struct answer *a, enum answer_way way, __u8 protocol,
				       __u32 body)
{
	struct ipv6hdr *ip = &a->ip6;

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = bpf_htons(body);
	ip->nexthdr = protocol;
	ip->hop_limit = ANSWER_TTL;
	addr_copy((__u8 *)&ip->saddr, way == ANSWER_BACK ? pkt->tuple.dest : pkt->tuple.source);
	addr_copy((__u8 *)&ip->daddr, way == ANSWER_BACK ? pkt->tuple.source : pkt->tuple.dest);
}

static __always_inline void answer_ip(const struct pkt *pkt, struct answer *a, enum answer_way way, __u8 protocol,
				      __u32 body)
{
	if (pkt->tuple.version == 4)
		answer_ip4(pkt, a, way, protocol, body);
	else
		answer_ip6(pkt, a, way, protocol, body);
}

/* Bytes of the packet from its IP header on, by its own word: a frame may be padded. 0: not known. */
static __always_inline __u32 packet_total(struct __sk_buff *ctx, const struct pkt *pkt)
{
	__be16 length = 0;

	if (bpf_skb_load_bytes(ctx, ETHERNET_BYTES + (pkt->tuple.version == 4 ? 2 : 4), &length, sizeof(length)))
		return 0;
	if (!length) /* a super-frame */
		return pkt->length - ETHERNET_BYTES;
	return bpf_ntohs(length) + (pkt->tuple.version == 4 ? 0 : sizeof(struct ipv6hdr));
}

/* The Ethernet header of the answer, if there may be one: to a frame that was for one host, without a tag inside. */
static __always_inline bool answer_ethernet(struct __sk_buff *ctx, const struct pkt *pkt, struct answer *a)
{
	if (bpf_skb_load_bytes(ctx, 0, &a->asked_ethernet, ETHERNET_BYTES))
		return false;
	if ((a->asked_ethernet.h_dest[0] & 1) || a->asked_ethernet.h_proto != pkt->ethertype)
		return false;
	__builtin_memcpy(a->ethernet.h_dest, a->asked_ethernet.h_source, 6);
	__builtin_memcpy(a->ethernet.h_source, a->asked_ethernet.h_dest, 6);
	a->ethernet.h_proto = a->asked_ethernet.h_proto;
	return true;
}

/* Reads all that the answer needs of the packet, and writes the answer. The length of its body, or 0: none. */
static __always_inline __u32 answer_write(struct __sk_buff *ctx, const struct pkt *pkt, struct answer *a)
{
	bool tcp = pkt->tuple.protocol == IPPROTO_TCP;
	__u32 total = packet_total(ctx, pkt), body;
	__u8 protocol = pkt->tuple.protocol;

	if (!answer_ethernet(ctx, pkt, a))
		return 0;
	if (tcp) {
		body = answer_tcp(ctx, pkt, a, total + ETHERNET_BYTES + sizeof(struct tcphdr) - pkt->payload);
	} else {
		body = answer_icmp(ctx, pkt, a, total);
		protocol = pkt->tuple.version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	}
	answer_ip(pkt, a, ANSWER_BACK, protocol, body);
	return body;
}

/*
 * After answer_write() of a TCP packet: what its receiver gets in its place, as if the sender had reset the connection.
 * The length of its body.
 */
static __always_inline __u32 onward_write(const struct pkt *pkt, struct answer *a)
{
	const struct tcphdr *asked = &a->asked_tcp;
	__u32 body = reset_write(pkt, a, ANSWER_ON, asked->seq, asked->ack ? asked->ack_seq : 0, asked->ack);

	a->ethernet = a->asked_ethernet;
	answer_ip(pkt, a, ANSWER_ON, IPPROTO_TCP, body);
	return body;
}

/* ------------------------------------------------------------------- the packet */

static __always_inline __u32 answer_ip_bytes(const struct pkt *pkt)
{
	return pkt->tuple.version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* Makes the packet as long as the answer. Its VLAN tag stays, nothing else of it does. 0, or what the kernel refused. */
static __always_inline long answer_make_room(struct __sk_buff *ctx, const struct pkt *pkt, __u32 body)
{
	__u32 ip = answer_ip_bytes(pkt);
	long r = bpf_skb_change_tail(ctx, ETHERNET_BYTES + ANSWER_PULL + ip, 0);

	if (!r)
		r = bpf_skb_adjust_room(ctx, -ANSWER_PULL, BPF_ADJ_ROOM_MAC, 0);
	return r ? r : bpf_skb_change_tail(ctx, ETHERNET_BYTES + ip + body, 0);
}

/* The draft over a packet of its length. 0, or what the kernel refused. */
static __always_inline long answer_store(struct __sk_buff *ctx, const struct pkt *pkt, struct answer *a, __u32 body)
{
	__u32 ip = answer_ip_bytes(pkt);
	long r = bpf_skb_store_bytes(ctx, 0, &a->ethernet, ETHERNET_BYTES, 0);

	if (!r)
		r = bpf_skb_store_bytes(ctx, ETHERNET_BYTES, &a->ip4, ip, 0);
	return r ? r : bpf_skb_store_bytes(ctx, ETHERNET_BYTES + ip, &a->body, body, BPF_F_INVALIDATE_HASH);
}

#endif
