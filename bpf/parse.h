/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 1: bytes to struct pkt. Every parser has one shape: it takes its header off the cursor and answers UNDECIDED,
 * or the reason why the packet is malformed. Lengths are believed only after they were compared: a header must lie
 * within the linear part of the frame (cursor) and within what the IP header says there is (`left`).
 *
 * Not verified: TCP, UDP and ICMP checksums. On virtual links and at egress they are partial, to be finished by a
 * device. Frames may be far longer than the wire allows (GSO super-frames, BIG TCP) and longer than the packet (padding
 * to 60).
 */
#ifndef SLUICE_BPF_PARSE_H
#define SLUICE_BPF_PARSE_H

#include "pkt.h"

#define ETHERTYPE_IPV4	 0x0800
#define ETHERTYPE_IPV6	 0x86dd
#define ETHERTYPE_8021Q	 0x8100
#define ETHERTYPE_8021AD 0x88a8

#define VLAN_ID_MASK  0x0fff
#define VLAN_TAGS_MAX 2

#define IP4_OFFSET	   0x1fff
#define IP4_MORE	   0x2000
#define IP6_OFFSET	   0xfff8
#define IP6_MORE	   0x0001
#define IP6_EXTENSIONS_MAX 8
#define IP_LENGTH_MAX	   65535 /* what the 16-bit length fields can say; above it they hold 0 */

#define IP4_OPTIONS_MAX 40
#define OPTION_END	0
#define OPTION_NOTHING	1
#define OPTION_LOOSE	131 /* loose and strict source route */
#define OPTION_STRICT	137

#define TCP_HEADER_MIN	20
#define SCTP_HEADER	12

#define LOOPBACK_IFINDEX 1 /* in every network namespace */

#define NEXT_HOP_BY_HOP	 0
#define NEXT_ROUTING	 43
#define NEXT_FRAGMENT	 44
#define NEXT_AUTH	 51
#define NEXT_NONE	 59
#define NEXT_DESTINATION 60

struct vlan_tag {
	__be16 tci;
	__be16 ethertype;
};

/* The first 8 bytes of any extension header; the last 6 mean this in a fragment header only. */
struct ip6_extension {
	__u8 next;
	__u8 length;
	__be16 fragment;
	__be32 id;
};

/* First 4 bytes of TCP, UDP and SCTP. */
struct ports {
	__be16 source;
	__be16 dest;
};

/* Bytes beyond the linear part too; the hook is a constant at each call, so only one of the two calls is compiled. */
static __always_inline int frame_load(void *ctx, enum sluice_hook hook, __u32 offset, void *to, __u32 size)
{
	if (hook == SLUICE_HOOK_XDP)
		return bpf_xdp_load_bytes(ctx, offset, to, size);
	return bpf_skb_load_bytes(ctx, offset, to, size);
}

/*
 * From 1 to `most` bytes; any other `size` is an error. Kernel 6.1 learns nothing from "not 0" and refuses "invalid zero-sized
 * read": so what it sees is one less, compared, and 1 added again.
 */
static __always_inline int frame_load_some(void *ctx, enum sluice_hook hook, __u32 offset, void *to, __u32 size, __u32 most)
{
	__u32 less = size - 1;

	barrier_var(less);
	return less >= most ? -1 : frame_load(ctx, hook, offset, to, less + 1);
}

/*
 * The next `size` bytes, which the cursor then has passed; NULL when they are not there. The barrier keeps the sum in
 * its own register: clang 19 turns a run of such checks into arithmetic on the end of the packet, which kernel 6.18 refuses
 * ("pointer arithmetic on pkt_end prohibited").
 */
static __always_inline void *cursor_take(struct cursor *c, __u32 size)
{
	void *taken = c->pos, *next = taken + size;

	barrier_var(next);
	if (next > c->end)
		return NULL;
	c->pos = next;
	return taken;
}

static __always_inline int parse_ethernet(struct cursor *c, struct pkt *pkt)
{
	const struct ethhdr *eth = cursor_take(c, sizeof(*eth));
	const __u8 *mac;

	if (!eth)
		return SLUICE_R_SHORT;
	pkt->ethertype = eth->h_proto;
	mac = eth->h_dest;
	pkt->link_local = mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] && mac[5] < 0x10;
	return UNDECIDED;
}

/*
 * Up to two tags. The outermost with an id is the tenant's: id 0 is a mere priority mark, and the kernel skips it too.
 */
static __always_inline int parse_vlans(struct cursor *c, struct pkt *pkt)
{
	const struct vlan_tag *tag;
	__u16 id;

#pragma unroll
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		if (pkt->ethertype != bpf_htons(ETHERTYPE_8021Q) && pkt->ethertype != bpf_htons(ETHERTYPE_8021AD))
			return UNDECIDED;
		tag = cursor_take(c, sizeof(*tag));
		if (!tag)
			return SLUICE_R_SHORT;
		id = bpf_ntohs(tag->tci) & VLAN_ID_MASK;
		if (id && pkt->vlan == SLUICE_VLAN_NONE)
			pkt->vlan = id;
		pkt->ethertype = tag->ethertype;
	}
	return UNDECIDED;
}

/* Adds up the header: the sum with its checksum field is all ones when intact. RFC 1071. */
static __always_inline int parse_ipv4_checksum(struct cursor *c, const struct iphdr *ip, __u32 options)
{
	const __u32 *word = (const __u32 *)ip;
	__u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

	for (__u32 i = 0; i < 10; i++) {
		if (i * 4 >= options)
			break;
		word = cursor_take(c, sizeof(*word));
		if (!word)
			return SLUICE_R_SHORT;
		sum += *word;
	}
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? UNDECIDED : SLUICE_R_IP_CHECKSUM;
}

/*
 * Reads the options: they must lie within the header, and a packet whose sender chooses its way is one whose destination
 * address says nothing about where it goes (RFC 7126, 4.3 and 4.4).
 */
static __always_inline int check_options(void *ctx, enum sluice_hook hook, __u32 offset, __u32 size)
{
	__u8 option[IP4_OPTIONS_MAX + 1] = {}; /* the last byte ends a list whose last option has no room for a length */
	__u32 at = 0;

	if (frame_load_some(ctx, hook, offset, option, size, IP4_OPTIONS_MAX))
		return SLUICE_R_SHORT;
	for (int i = 0; i < IP4_OPTIONS_MAX; i++) {
		asm volatile("%0 ^= %1; %0 ^= %1" : "+r"(at) : "r"(size)); /* one state a round, not one a way to it */
		if (at >= IP4_OPTIONS_MAX || at >= size || option[at] == OPTION_END)
			return UNDECIDED;
		if (option[at] == OPTION_LOOSE || option[at] == OPTION_STRICT)
			return SLUICE_R_SOURCE_ROUTE;
		if (option[at] == OPTION_NOTHING) {
			at++;
			continue;
		}
		if (option[at + 1] < 2 || at + option[at + 1] > size)
			return SLUICE_R_IP_OPTIONS;
		at += option[at + 1];
	}
	return UNDECIDED;
}

/* Global, once a context type: verified once, and with a frame of its own for the options. */
__noinline int check_options_xdp(struct xdp_md *ctx, __u32 offset, __u32 size)
{
	return check_options(ctx, SLUICE_HOOK_XDP, offset, size);
}

__noinline int check_options_skb(struct __sk_buff *ctx, __u32 offset, __u32 size)
{
	return check_options(ctx, SLUICE_HOOK_TC_INGRESS, offset, size);
}

/* Only a host that talks to itself sends to its own address, and that does not leave it. */
static __always_inline bool is_within_host(const struct pkt *pkt)
{
	return !replay && pkt->ifindex == LOOPBACK_IFINDEX;
}

/* Of a later fragment: it may neither reach into a transport header (RFC 1858, RFC 3128) nor past the largest datagram. */
static __always_inline int check_later(const struct pkt *pkt, __u32 left)
{
	if ((pkt->fragment_protocol == IPPROTO_TCP && pkt->fragment_span < TCP_HEADER_MIN) ||
	    (pkt->fragment_protocol == IPPROTO_SCTP && pkt->fragment_span < SCTP_HEADER))
		return SLUICE_R_FRAGMENT_TINY;
	return pkt->fragment_span + left > IP_LENGTH_MAX ? SLUICE_R_FRAGMENT_OVERLAP : UNDECIDED;
}

/* `data`: start of the frame. */
static __always_inline int parse_ipv4(void *ctx, enum sluice_hook hook, void *data, struct cursor *c, struct pkt *pkt,
				      __u32 room, __u32 *ret_left)
{
	const struct iphdr *ip = cursor_take(c, sizeof(*ip));
	__u32 header, total, offset = c->pos - data;
	__u16 fragment;
	int reason;

	if (!ip)
		return SLUICE_R_SHORT;
	if (ip->version != 4)
		return SLUICE_R_IP_VERSION;
	header = ip->ihl * 4;
	if (header < sizeof(*ip))
		return SLUICE_R_IP_IHL;
	total = bpf_ntohs(ip->tot_len);
	if (!total && room > IP_LENGTH_MAX)
		total = room;
	if (header > room)
		return SLUICE_R_SHORT;
	if (total < header || total > room)
		return SLUICE_R_IP_LENGTH;
	reason = parse_ipv4_checksum(c, ip, header - sizeof(*ip));
	if (reason != UNDECIDED)
		return reason;

	addr_set4(pkt->tuple.source, ip->saddr);
	addr_set4(pkt->tuple.dest, ip->daddr);
	pkt->tuple.version = 4;
	pkt->tuple.protocol = pkt->fragment_protocol = ip->protocol;
	pkt->for_group = (ip->daddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || ip->daddr == 0xffffffff;
	fragment = bpf_ntohs(ip->frag_off);
	pkt->fragment = fragment & IP4_OFFSET ? FRAGMENT_LATER : fragment & IP4_MORE ? FRAGMENT_FIRST : FRAGMENT_NONE;
	pkt->fragment_id = ip->id;
	*ret_left = total - header;
	if ((ip->saddr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || ip->saddr == 0xffffffff)
		return SLUICE_R_IP_SOURCE;
	if (ip->saddr == ip->daddr && (__u8)ip->saddr != 127 && !is_within_host(pkt))
		return SLUICE_R_LAND;
	if (pkt->fragment != FRAGMENT_NONE) {
		pkt->fragment_span = pkt->fragment == FRAGMENT_FIRST ? total - header : (fragment & IP4_OFFSET) * 8;
		reason = pkt->fragment == FRAGMENT_LATER ? check_later(pkt, total - header) : UNDECIDED;
	}
	if (reason != UNDECIDED || header == sizeof(*ip))
		return reason;
	if (hook == SLUICE_HOOK_XDP)
		return check_options_xdp(ctx, offset, header - sizeof(*ip));
	return check_options_skb(ctx, offset, header - sizeof(*ip));
}

static __always_inline bool ip6_is_extension(__u8 next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT || next == NEXT_AUTH ||
	       next == NEXT_DESTINATION;
}

/* Extension headers by number that this version cannot walk: mobility, HIP, shim6, experiments. */
static __always_inline bool ip6_is_unknown(__u8 next)
{
	return next == 135 || next == 139 || next == 140 || next == 253 || next == 254;
}

/* `left`: bytes behind the header. */
static __always_inline void parse_ip6_fragment(struct pkt *pkt, const struct ip6_extension *extension, __u32 left)
{
	__u16 fragment = bpf_ntohs(extension->fragment);

	if (fragment & IP6_OFFSET)
		pkt->fragment = FRAGMENT_LATER;
	else if (fragment & IP6_MORE)
		pkt->fragment = FRAGMENT_FIRST;
	pkt->fragment_span = fragment & IP6_OFFSET ? fragment & IP6_OFFSET : left;
	pkt->fragment_id = extension->id;
	pkt->fragment_protocol = extension->next;
}

/* RFC 5095: the header by which a sender chooses the way, unless that is behind it. */
static __always_inline bool ip6_is_source_route(const struct ip6_extension *extension)
{
	__u16 type_and_left = bpf_ntohs(extension->fragment);

	return !(type_and_left >> 8) && type_and_left;
}

static __always_inline __u32 ip6_extension_size(__u8 kind, const struct ip6_extension *extension)
{
	if (kind == NEXT_FRAGMENT)
		return sizeof(*extension);
	if (kind == NEXT_AUTH)
		return (extension->length + 2) * 4;
	return (extension->length + 1) * 8;
}

/*
 * Walks from `offset` to the transport header, or just past the fragment header of a later fragment: behind that lies
 * mere data. Answers the bytes walked, or minus the reason (none of these reasons is 0).
 *
 * Copies each header out instead of moving the cursor: with a packet pointer that moves by a variable step, eight
 * rounds cost the verifier (6.18) 200,000 instructions, with an offset 2,000.
 */
static __always_inline int walk_extensions(void *ctx, enum sluice_hook hook, struct pkt *pkt, __u32 offset, __u32 left)
{
	struct ip6_extension extension;
	__u8 next = pkt->tuple.protocol;
	__u32 walked = 0, size;
	bool fragmented = false;

	for (int i = 0; i < IP6_EXTENSIONS_MAX; i++) {
		if (!ip6_is_extension(next) || pkt->fragment == FRAGMENT_LATER)
			break;
		if (frame_load(ctx, hook, offset + walked, &extension, sizeof(extension)))
			return -SLUICE_R_SHORT;
		size = ip6_extension_size(next, &extension);
		if (walked + size > left)
			return -SLUICE_R_SHORT;
		if ((next == NEXT_HOP_BY_HOP && i) || (next == NEXT_FRAGMENT && fragmented))
			return -SLUICE_R_IP6_EXTENSION;
		if (next == NEXT_ROUTING && ip6_is_source_route(&extension))
			return -SLUICE_R_SOURCE_ROUTE;
		if (next == NEXT_FRAGMENT) {
			parse_ip6_fragment(pkt, &extension, left - walked - size);
			fragmented = true;
		}
		next = extension.next;
		walked += size;
	}
	pkt->tuple.protocol = next;
	if (pkt->fragment != FRAGMENT_LATER && (ip6_is_extension(next) || ip6_is_unknown(next)))
		return -SLUICE_R_IP6_EXTENSION;
	return walked;
}

/* Global, once a context type: verified once, not on each way through the parser. */
__noinline int walk_extensions_xdp(struct xdp_md *ctx, struct pkt *pkt, __u32 offset, __u32 left)
{
	return pkt ? walk_extensions(ctx, SLUICE_HOOK_XDP, pkt, offset, left) : -SLUICE_R_INTERNAL;
}

__noinline int walk_extensions_skb(struct __sk_buff *ctx, struct pkt *pkt, __u32 offset, __u32 left)
{
	return pkt ? walk_extensions(ctx, SLUICE_HOOK_TC_INGRESS, pkt, offset, left) : -SLUICE_R_INTERNAL;
}

static __always_inline int parse_ip6_extensions(void *ctx, enum sluice_hook hook, struct cursor *c, struct pkt *pkt,
						__u32 offset, __u32 *left)
{
	int walked;

	if (ip6_is_unknown(pkt->tuple.protocol))
		return SLUICE_R_IP6_EXTENSION;
	if (!ip6_is_extension(pkt->tuple.protocol))
		return UNDECIDED;
	if (hook == SLUICE_HOOK_XDP)
		walked = walk_extensions_xdp(ctx, pkt, offset, *left);
	else
		walked = walk_extensions_skb(ctx, pkt, offset, *left);
	if (walked < 0)
		return -walked;
	if (walked > IP6_EXTENSIONS_MAX * 2048)
		return SLUICE_R_INTERNAL;
	*left -= walked;
	c->pos += walked; /* maybe past the end: the next cursor_take() sees that */
	return pkt->fragment == FRAGMENT_LATER ? check_later(pkt, *left) : UNDECIDED;
}

static __always_inline bool addr_is_mapped(const __u8 addr[16])
{
	const __u32 *word = (const __u32 *)addr;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

static __always_inline bool addr_is_loopback6(const __u8 addr[16])
{
	const __u32 *word = (const __u32 *)addr;

	return !word[0] && !word[1] && !word[2] && word[3] == bpf_htonl(1);
}

/*
 * What no IPv6 source and destination can be. IPv4-mapped addresses are for programs, not for the wire (RFC 4291,
 * 2.5.5.2; RFC 4942, 2.2), and every table here holds IPv4 addresses in that form.
 */
static __always_inline int check_addresses6(const struct pkt *pkt)
{
	if (pkt->tuple.source[0] == 0xff)
		return SLUICE_R_IP_SOURCE;
	if (addr_is_mapped(pkt->tuple.source) || addr_is_mapped(pkt->tuple.dest))
		return SLUICE_R_IP6_MAPPED;
	if (!addr_compare(pkt->tuple.source, pkt->tuple.dest) && !addr_is_loopback6(pkt->tuple.source) &&
	    !is_within_host(pkt))
		return SLUICE_R_LAND;
	return UNDECIDED;
}

/* `data`: start of the frame. */
static __always_inline int parse_ipv6(void *ctx, enum sluice_hook hook, void *data, struct cursor *c, struct pkt *pkt,
				      __u32 room, __u32 *ret_left)
{
	const struct ipv6hdr *ip = cursor_take(c, sizeof(*ip));
	__u32 left;
	int reason;

	if (!ip)
		return SLUICE_R_SHORT;
	if (ip->version != 6)
		return SLUICE_R_IP_VERSION;
	if (room < sizeof(*ip))
		return SLUICE_R_SHORT;
	room -= sizeof(*ip);
	left = bpf_ntohs(ip->payload_len);
	if (!left && room > IP_LENGTH_MAX)
		left = room;
	if (left > room || (!left && ip->nexthdr != NEXT_NONE))
		return SLUICE_R_IP_LENGTH;

	addr_copy(pkt->tuple.source, &ip->saddr);
	addr_copy(pkt->tuple.dest, &ip->daddr);
	pkt->tuple.version = 6;
	pkt->for_group = ip->daddr.in6_u.u6_addr8[0] == 0xff;
	pkt->tuple.protocol = pkt->fragment_protocol = ip->nexthdr;
	*ret_left = left;
	reason = check_addresses6(pkt);
	if (reason != UNDECIDED)
		return reason;
	return parse_ip6_extensions(ctx, hook, c, pkt, c->pos - data, ret_left);
}

static __always_inline int short_reason(const struct pkt *pkt)
{
	return pkt->fragment == FRAGMENT_FIRST ? SLUICE_R_FRAGMENT_TINY : SLUICE_R_SHORT;
}

static __always_inline int parse_tcp(struct cursor *c, struct pkt *pkt, __u32 left)
{
	const struct tcphdr *tcp = cursor_take(c, sizeof(*tcp));
	__u8 flags;

	if (!tcp || left < sizeof(*tcp))
		return short_reason(pkt);
	if (tcp->doff < 5)
		return SLUICE_R_TCP_OFFSET;
	if (tcp->doff * 4 > left)
		return pkt->fragment == FRAGMENT_FIRST ? SLUICE_R_FRAGMENT_TINY : SLUICE_R_TCP_OFFSET;
	flags = ((const __u8 *)tcp)[13] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG);
	if (!flags || (flags & TCP_SYN && flags & (TCP_FIN | TCP_RST)))
		return SLUICE_R_TCP_FLAGS;
	if (!tcp->source || !tcp->dest)
		return SLUICE_R_PORT_ZERO;
	pkt->tuple.source_port = tcp->source;
	pkt->tuple.dest_port = tcp->dest;
	pkt->tcp_flags = flags;
	pkt->seq = bpf_ntohl(tcp->seq);
	pkt->acked = bpf_ntohl(tcp->ack_seq);
	return UNDECIDED;
}

static __always_inline int parse_udp(struct cursor *c, struct pkt *pkt, __u32 left)
{
	const struct udphdr *udp = cursor_take(c, sizeof(*udp));
	__u32 length;

	if (!udp || left < sizeof(*udp))
		return short_reason(pkt);
	length = bpf_ntohs(udp->len);
	if (!length && left > IP_LENGTH_MAX)
		length = left;
	if (pkt->fragment == FRAGMENT_FIRST ? length < sizeof(*udp) : length != left)
		return SLUICE_R_UDP_LENGTH;
	if (!udp->dest) /* as a source it says that nobody awaits an answer: RFC 768 */
		return SLUICE_R_PORT_ZERO;
	pkt->tuple.source_port = udp->source;
	pkt->tuple.dest_port = udp->dest;
	return UNDECIDED;
}

static __always_inline int parse_sctp(struct cursor *c, struct pkt *pkt, __u32 left)
{
	const struct ports *sctp = cursor_take(c, SCTP_HEADER);

	if (!sctp || left < SCTP_HEADER)
		return short_reason(pkt);
	if (!sctp->source || !sctp->dest)
		return SLUICE_R_PORT_ZERO;
	pkt->tuple.source_port = sctp->source;
	pkt->tuple.dest_port = sctp->dest;
	return UNDECIDED;
}

static __always_inline bool icmp_is_error(__u8 version, __u8 type)
{
	if (version == 4)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

static __always_inline bool icmp_is_echo(__u8 version, __u8 type)
{
	if (version == 4)
		return type == ICMP4_ECHO_REQUEST || type == ICMP4_ECHO_REPLY;
	return type == ICMP6_ECHO_REQUEST || type == ICMP6_ECHO_REPLY;
}

/* ICMP and ICMPv6 start alike: type, code, checksum, and in an echo the identifier. */
static __always_inline int parse_icmp(struct cursor *c, struct pkt *pkt, __u32 left)
{
	const struct icmphdr *icmp = cursor_take(c, sizeof(*icmp));

	if (!icmp || left < sizeof(*icmp))
		return short_reason(pkt);
	pkt->tuple.dest_port = bpf_htons(icmp->type << 8 | icmp->code);
	pkt->icmp_error = icmp_is_error(pkt->tuple.version, icmp->type);
	if (icmp_is_echo(pkt->tuple.version, icmp->type))
		pkt->icmp_id = icmp->un.echo.id;
	return UNDECIDED;
}

static __always_inline int parse_transport(struct cursor *c, struct pkt *pkt, __u32 left)
{
	__u8 protocol = pkt->tuple.protocol;

	if (pkt->fragment == FRAGMENT_LATER)
		return UNDECIDED;
	if (protocol == IPPROTO_TCP)
		return parse_tcp(c, pkt, left);
	if (protocol == IPPROTO_UDP)
		return parse_udp(c, pkt, left);
	if (protocol == IPPROTO_SCTP)
		return parse_sctp(c, pkt, left);
	if ((protocol == IPPROTO_ICMP && pkt->tuple.version == 4) ||
	    (protocol == IPPROTO_ICMPV6 && pkt->tuple.version == 6))
		return parse_icmp(c, pkt, left);
	return UNDECIDED;
}

/* ---- what an ICMP error quotes. Rare, and it may lie anywhere, so it is copied out of the frame ---- */

/* One buffer for all of them: two functions' worth of headers side by side do not fit on the stack. */
union quote_buffer {
	struct iphdr ip4;
	struct ipv6hdr ip6;
	struct ip6_extension extension;
	__be16 word[4];
};

/* Where a quotation is read, and where the message that holds it ends: what lies behind is no part of it. */
struct quotation {
	__u32 offset;
	__u32 end;
};

static __always_inline int quote_load(void *ctx, enum sluice_hook hook, const struct quotation *q, void *to, __u32 size)
{
	return q->offset + size > q->end ? -1 : frame_load(ctx, hook, q->offset, to, size);
}

/* The two below fill in `key` who has sent the quoted packet to whom, in this order, and move to its transport header. */
static __always_inline int quote_ipv4(void *ctx, enum sluice_hook hook, union quote_buffer *buffer, struct quotation *q,
				      struct sluice_flow_key *key)
{
	const struct iphdr *ip = &buffer->ip4;

	if (quote_load(ctx, hook, q, buffer, sizeof(*ip)))
		return -1;
	if (ip->version != 4 || ip->ihl < 5 || (ip->frag_off & bpf_htons(IP4_OFFSET)))
		return -1;
	addr_set4(key->addr[0], ip->saddr);
	addr_set4(key->addr[1], ip->daddr);
	key->protocol = ip->protocol;
	q->offset += ip->ihl * 4;
	return 0;
}

static __always_inline int quote_ipv6(void *ctx, enum sluice_hook hook, union quote_buffer *buffer, struct quotation *q,
				      struct sluice_flow_key *key)
{
	const struct ip6_extension *extension = &buffer->extension;
	__u8 next;

	if (quote_load(ctx, hook, q, buffer, sizeof(buffer->ip6)))
		return -1;
	if (buffer->ip6.version != 6)
		return -1;
	addr_copy(key->addr[0], &buffer->ip6.saddr);
	addr_copy(key->addr[1], &buffer->ip6.daddr);
	next = buffer->ip6.nexthdr;
	q->offset += sizeof(buffer->ip6);
	for (int i = 0; i < IP6_EXTENSIONS_MAX; i++) {
		if (!ip6_is_extension(next))
			break;
		if (quote_load(ctx, hook, q, buffer, sizeof(*extension)))
			return -1;
		if (next == NEXT_FRAGMENT && (extension->fragment & bpf_htons(IP6_OFFSET)))
			return -1;
		q->offset += ip6_extension_size(next, extension);
		next = extension->next;
	}
	key->protocol = next;
	return ip6_is_extension(next) ? -1 : 0;
}

static __always_inline bool protocol_has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Ports of what is quoted. Of ICMP only a query has a flow, and no error is about an error. */
static __always_inline int quote_ports(const union quote_buffer *buffer, struct sluice_flow_key *key)
{
	__u8 type = bpf_ntohs(buffer->word[0]) >> 8;

	if (protocol_has_ports(key->protocol)) {
		key->port[0] = buffer->word[0];
		key->port[1] = buffer->word[1];
		return 0;
	}
	if (key->protocol != (key->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) || !icmp_is_echo(key->version, type))
		return -1;
	key->port[0] = icmp_is_query(type) ? buffer->word[2] : echo_answerer(buffer->word[2]);
	key->port[1] = icmp_is_query(type) ? echo_answerer(buffer->word[2]) : buffer->word[2];
	return 0;
}

/* Fills pkt->key with the quoted flow. The quoted packet must have come from where the error goes: RFC 5927. */
static __always_inline int parse_quote(void *ctx, enum sluice_hook hook, __u32 offset, __u32 end, struct pkt *pkt)
{
	struct quotation at = {.offset = offset, .end = end};
	struct sluice_flow_key *key = &pkt->key;
	union quote_buffer buffer;
	int r;

	key->version = pkt->tuple.version;
	if (key->version == 4)
		r = quote_ipv4(ctx, hook, &buffer, &at, key);
	else
		r = quote_ipv6(ctx, hook, &buffer, &at, key);
	if (r || addr_compare(key->addr[0], pkt->tuple.dest))
		return -1;
	if (protocol_has_ports(key->protocol) || key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6) {
		if (quote_load(ctx, hook, &at, buffer.word, sizeof(buffer.word)) || quote_ports(&buffer, key))
			return -1;
	}
	pkt->from = !key_sort(key);
	return 0;
}

/* Global, for the same reason as walk_extensions_xdp(). */
__noinline int parse_quote_xdp(struct xdp_md *ctx, struct pkt *pkt, __u32 offset, __u32 end)
{
	return pkt ? parse_quote(ctx, SLUICE_HOOK_XDP, offset, end, pkt) : -1;
}

__noinline int parse_quote_skb(struct __sk_buff *ctx, struct pkt *pkt, __u32 offset, __u32 end)
{
	return pkt ? parse_quote(ctx, SLUICE_HOOK_TC_INGRESS, offset, end, pkt) : -1;
}

/*
 * The whole of stage 1, for all hooks, of the frame that begins `offset` bytes from `data` and is pkt->length bytes long.
 * `data`, `end`: the linear part; `hook` is a constant at each call.
 */
static __always_inline int parse_frame(void *ctx, enum sluice_hook hook, void *data, __u32 offset, void *end,
				       struct pkt *pkt)
{
	struct cursor c = {data + offset, end};
	__u32 left = 0, room;
	int reason;

	reason = parse_ethernet(&c, pkt);
	if (reason == UNDECIDED)
		reason = parse_vlans(&c, pkt);
	if (reason != UNDECIDED)
		return reason;
	room = offset + pkt->length - (__u32)(c.pos - data);
	if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV4))
		reason = parse_ipv4(ctx, hook, data, &c, pkt, room, &left);
	else if (pkt->ethertype == bpf_htons(ETHERTYPE_IPV6))
		reason = parse_ipv6(ctx, hook, data, &c, pkt, room, &left);
	else
		return UNDECIDED;
	if (reason == UNDECIDED)
		reason = parse_transport(&c, pkt, left);
	if (reason != UNDECIDED)
		return reason;
	offset = c.pos - data;
	if (pkt->fragment == FRAGMENT_NONE)
		pkt->payload = offset;
	left += offset - sizeof(struct icmphdr); /* of an ICMP message: where it ends */
	if (!pkt->icmp_error)
		pkt_fill_key(pkt);
	else if (hook == SLUICE_HOOK_XDP)
		pkt->quote_bad = !!parse_quote_xdp(ctx, pkt, offset, left);
	else
		pkt->quote_bad = !!parse_quote_skb(ctx, pkt, offset, left);
	return UNDECIDED;
}

#endif
