/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 4: services of this host that no policy can lock out. Inwards the packet must be for this host and name the
 * service as its destination; outwards it must come from this host and name it as its source. No flow is created.
 */
#ifndef SLUICE_BPF_FAILSAFE_H
#define SLUICE_BPF_FAILSAFE_H

#include "pkt.h"

#define AF_INET	 2
#define AF_INET6 10

/* 1 if a failsafe entry names the protocol and the port (host order). Global: its loop is verified once. */
__noinline int failsafe_match(__u32 bank, __u32 protocol, __u32 port)
{
	const struct sluice_policy *p = policy_live(bank);

	if (!p)
		return 0;
	for (__u32 i = 0; i < sizeof(p->failsafe) / sizeof(p->failsafe[0]); i++) {
		if (i >= p->failsafes)
			break;
		if (p->failsafe[i].protocol != protocol)
			continue;
		if (p->failsafe[i].any_port)
			return 1;
		if (port >= bpf_ntohs(p->failsafe[i].port) && port <= bpf_ntohs(p->failsafe[i].port_last))
			return 1;
	}
	return 0;
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

/*
 * Whether the stack would deliver the packet here. The kernel's own route lookup says so: a local destination is "not
 * forwarded", and where forwarding is off nothing can be for anybody else.
 */
static __noinline bool packet_is_for_host(void *ctx, const struct pkt *pkt)
{
	struct bpf_fib_lookup fib = {};
	long r;

	if (pkt->for_group)
		return true;
	if (replay)
		return replay_is_for_host(pkt);
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
	r = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	return r == BPF_FIB_LKUP_RET_NOT_FWDED || r == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline int failsafe_decide(void *ctx, const struct pkt *pkt)
{
	bool egress = pkt->hook == SLUICE_HOOK_TC_EGRESS;
	bool icmp = pkt->tuple.protocol == IPPROTO_ICMP || pkt->tuple.protocol == IPPROTO_ICMPV6;
	__be16 port = egress && !icmp ? pkt->tuple.source_port : pkt->tuple.dest_port;

	if (pkt->fragment == FRAGMENT_LATER)
		return UNDECIDED;
	if (!failsafe_match(pkt->tuple.bank, pkt->tuple.protocol, bpf_ntohs(port)))
		return UNDECIDED;
	if (egress ? !pkt->from_here : !packet_is_for_host(ctx, pkt))
		return UNDECIDED;
	return SLUICE_R_PASS_FAILSAFE;
}

#endif
