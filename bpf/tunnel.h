/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VXLAN (RFC 7348) and Geneve (RFC 8926) carry, on interfaces that list VNIs. The outer packet is judged as any
 * other; if it passes, struct pkt is filled anew with the packet inside, which is judged in the tenant of its VNI, keeps
 * flows of its own, and is counted on its own. A tunnel within the tunnel is not looked into.
 *
 * Anti-spoof, failsafe and VLANs belong to the interface, so to the outer packet: a tag inside is stepped over.
 */
#ifndef SLUICE_BPF_TUNNEL_H
#define SLUICE_BPF_TUNNEL_H

#include "parse.h"
#include "pkt.h"

#define PORT_VXLAN  4789
#define PORT_GENEVE 6081

#define VXLAN_HAS_VNI	   0x08 /* the I flag */
#define GENEVE_VERSION	   0xc0
#define GENEVE_OPTIONS	   0x3f /* words */
#define ETHERTYPE_BRIDGING 0x6558

/* Both headers are 8 bytes, with the VNI at the same place. */
struct tunnel_header {
	__u8 first; /* VXLAN: flags; Geneve: version and length of options */
	__u8 second;
	__be16 protocol; /* Geneve: ethertype of what is inside */
	__be32 vni;	 /* in the upper three bytes */
};

static __always_inline bool tunnel_carries(const struct pkt *pkt)
{
	return (pkt->interface_flags & SLUICE_IF_TUNNELS) && pkt->tuple.protocol == IPPROTO_UDP && pkt->fragment == FRAGMENT_NONE &&
	       (pkt->tuple.dest_port == bpf_htons(PORT_VXLAN) || pkt->tuple.dest_port == bpf_htons(PORT_GENEVE));
}

/* In pieces: what it carries could not be judged, and the stack would put it together behind our back. RFC 7348, 4.3. */
static __always_inline bool tunnel_is_split(const struct pkt *pkt)
{
	return (pkt->interface_flags & SLUICE_IF_TUNNELS) && pkt->tuple.protocol == IPPROTO_UDP && pkt->fragment == FRAGMENT_FIRST &&
	       (pkt->tuple.dest_port == bpf_htons(PORT_VXLAN) || pkt->tuple.dest_port == bpf_htons(PORT_GENEVE));
}

/* Length of the header and its options, or 0: none that is valid. */
static __always_inline __u32 tunnel_length(const struct tunnel_header *h, bool geneve)
{
	if (!geneve)
		return h->first & VXLAN_HAS_VNI ? sizeof(*h) : 0;
	return h->first & GENEVE_VERSION ? 0 : sizeof(*h) + (h->first & GENEVE_OPTIONS) * 4;
}

/* Makes of what is known of the outer packet what is known of the inner one before it is parsed. */
static __always_inline void pkt_enter(struct pkt *pkt, __u32 length)
{
	__u64 generation = pkt->generation, now = pkt->now;
	__u8 hook = pkt->hook, action = pkt->policy_action;
	__u16 flags = pkt->policy_flags;
	__u32 ifindex = pkt->ifindex;

	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->generation = generation;
	pkt->now = now;
	pkt->ifindex = ifindex;
	pkt->hook = hook;
	pkt->policy_flags = flags;
	pkt->policy_action = action;
	pkt->tuple.bank = generation & 1;
	pkt->vlan = SLUICE_VLAN_NONE;
	pkt->decision.slot = SLUICE_NO_RULE;
	pkt->decision.rule = SLUICE_NO_RULE;
	pkt->length = length;
}

/*
 * Takes the tunnel's header off: `pkt` is then what is inside, not yet parsed, its frame beginning at pkt->payload; 0:
 * there is no frame to parse. UNDECIDED, or why it is dropped. `data`, `end`: the linear part of the frame.
 */
static __always_inline int tunnel_open(void *data, void *end, struct pkt *pkt)
{
	bool geneve = pkt->tuple.dest_port == bpf_htons(PORT_GENEVE);
	struct sluice_tunnel_key key = {.ifindex = pkt->ifindex};
	__u32 offset = (pkt->payload - sizeof(struct udphdr)) & 0x7ff, length, header;
	struct cursor c = {data + offset, end};
	const struct sluice_tunnel *tunnel;
	const struct tunnel_header *h;
	const struct udphdr *udp;
	__be16 protocol;

	udp = cursor_take(&c, sizeof(*udp));
	offset += sizeof(*udp);
	length = pkt->length - offset;
	if (udp && udp->len) /* 0: a super-frame, as parse_udp() has checked */
		length = bpf_ntohs(udp->len) - sizeof(*udp);
	h = cursor_take(&c, sizeof(*h));
	header = h ? tunnel_length(h, geneve) : 0;
	if (!h || !header || header > length) {
		pkt_enter(pkt, length);
		return SLUICE_R_TUNNEL_HEADER;
	}
	protocol = geneve ? h->protocol : bpf_htons(ETHERTYPE_BRIDGING);
	key.vni_bank = (bpf_ntohl(h->vni) & 0xffffff00) | pkt->tuple.bank;
	pkt_enter(pkt, length - header);
	tunnel = bpf_map_lookup_elem(&tunnels, &key);
	if (!tunnel)
		return SLUICE_R_UNKNOWN_TENANT;
	pkt->tuple.tenant = tunnel->tenant;
	if (protocol == bpf_htons(ETHERTYPE_BRIDGING))
		pkt->payload = offset + header;
	else
		pkt->ethertype = protocol; /* judged as what is not IP */
	return UNDECIDED;
}

/* Global: verified once. */
__noinline int tunnel_open_xdp(struct xdp_md *ctx, struct pkt *pkt)
{
	if (!pkt)
		return SLUICE_R_INTERNAL;
	return tunnel_open((void *)(long)ctx->data, (void *)(long)ctx->data_end, pkt);
}

__noinline int tunnel_open_skb(struct __sk_buff *ctx, struct pkt *pkt)
{
	if (!pkt)
		return SLUICE_R_INTERNAL;
	/* The headers inside may lie outside the linear part. */
	if (ctx->data_end - ctx->data < ctx->len && bpf_skb_pull_data(ctx, ctx->len < 2048 ? ctx->len : 2048))
		return SLUICE_R_INTERNAL;
	barrier_var(ctx); /* or the compiler computes where its fields are, which the verifier forbids */
	return tunnel_open((void *)(long)ctx->data, (void *)(long)ctx->data_end, pkt);
}

#endif
