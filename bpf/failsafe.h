/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 4: services of this host that no policy can lock out. Inwards the packet must be for this host and name the
 * service as its destination; outwards it must come from this host and name it as its source. No flow is created.
 */
#ifndef SLUICE_BPF_FAILSAFE_H
#define SLUICE_BPF_FAILSAFE_H

#include "pkt.h"
#include "words.h"

#define AF_INET	 2
#define AF_INET6 10

/* Whether failsafe names the protocol and the port (host order): abi.h, "struct sluice_protocol". */
static __always_inline bool failsafe_match(__u32 bank, __u32 protocol, __u32 port)
{
	const struct sluice_policy *p = policy_live(bank);
	const __u32 *part;
	struct words w;
	__u32 at, ports, word;

	if (!p)
		return false;
	words_open(&w, bank);
	at = p->protocols_at + protocol * (sizeof(struct sluice_protocol) / 4);
	part = words_part(&w, at);
	if (!part)
		return false;
	ports = ((const struct sluice_protocol *)(part + (at & 4)))->failsafe;
	if (!ports || ports == SLUICE_NO_TABLE)
		return ports;
	return !words_get(&w, ports + port / 32, &word) && word >> (port & 31) & 1;
}

/* A capture does not know whose host it was taken on. Global: its loop is verified once. */
__noinline int replay_is_for_host(const struct pkt *pkt)
{
	if (!pkt || !replay_state.n_hosts)
		return 1;
	for (__u32 i = 0; i < SLUICE_REPLAY_HOSTS && i < replay_state.n_hosts; i++)
		if (!addr_compare(replay_state.hosts[i], pkt->tuple.dest))
			return 1;
	return 0;
}

/* What the kernel's own route lookup says of the packet: BPF_FIB_LKUP_RET_*, or negative. */
static __noinline long packet_route(void *ctx, const struct pkt *pkt)
{
	struct bpf_fib_lookup fib = {};

	fib.ifindex = pkt->ifindex;
	fib.l4_protocol = pkt->tuple.protocol;
	if (pkt->tuple.version == 4) {
		fib.family = AF_INET;
		fib.ipv4_src = *(const __be32 *)&pkt->tuple.source[12];
		fib.ipv4_dst = *(const __be32 *)&pkt->tuple.dest[12];
	} else {
		fib.family = AF_INET6;
		addr_copy((__u8 *)fib.ipv6_src, pkt->tuple.source);
		addr_copy((__u8 *)fib.ipv6_dst, pkt->tuple.dest);
	}
	return bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
}

/*
 * Whether the stack would deliver the packet here: a local destination is "not forwarded", and where forwarding is off
 * nothing can be for anybody else.
 */
static __always_inline bool packet_is_for_host(void *ctx, const struct pkt *pkt)
{
	long r;

	if (pkt->for_group)
		return true;
	if (replay)
		return replay_is_for_host(pkt);
	r = packet_route(ctx, pkt);
	return r == BPF_FIB_LKUP_RET_NOT_FWDED || r == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline int failsafe_decide(void *ctx, struct pkt *pkt)
{
	bool egress = pkt->hook == SLUICE_HOOK_TC_EGRESS;
	bool icmp = pkt->tuple.protocol == IPPROTO_ICMP || pkt->tuple.protocol == IPPROTO_ICMPV6;
	__be16 port = egress && !icmp ? pkt->tuple.source_port : pkt->tuple.dest_port;

	if (pkt->fragment == FRAGMENT_LATER)
		return UNDECIDED;
	if (!egress && (pkt->interface_flags & SLUICE_IF_WIRE)) /* goes to the other end, whatever its address */
		return UNDECIDED;
	if (!failsafe_match(pkt->tuple.bank, pkt->tuple.protocol, bpf_ntohs(port)))
		return UNDECIDED;
	pkt->failsafe = 1;
	if (egress ? !pkt->from_here : !packet_is_for_host(ctx, pkt))
		return UNDECIDED;
	return SLUICE_R_PASS_FAILSAFE;
}

#endif
