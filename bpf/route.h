/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's routes have just said of plain packets, so that the next ones need not ask again: a question to
 * bpf_fib_lookup() costs 100 ns and more. Each CPU keeps its own, in a table where a newer answer takes the place of an
 * older one.
 *
 * An answer holds for packets that are the same in all that it depends on, under the same generation of the policy, and
 * within the tick of the coarse clock in which it was given: a route, a neighbour or an MTU that has changed is followed
 * within one tick (4 ms where HZ is 250). The length is not part of the question: the answer says the way's MTU.
 * Only ways out are kept. What the kernel must be left to deal with is asked again every time.
 *
 * The kernel's tables know destinations, DSCP, and, to choose among several ways, sources. Ports and protocols matter to
 * rules (`ip rule`) and to some ways of choosing (sysctl fib_multipath_hash_policy): where the namespace of the interface
 * has neither, or rather where this kernel lets us find out that it has neither, one answer serves all flows between two
 * addresses.
 *
 * Used by lane_move.h.
 */
#ifndef SLUICE_BPF_ROUTE_H
#define SLUICE_BPF_ROUTE_H

#include <bpf/bpf_core_read.h>

#include "door.h"
#include "forward.h"

/* What an answer depends on. No padding: compared as words. */
struct route_key {
	__be32 source;
	__be32 dest;
	__u64 now_ns; /* the tick */
	__u32 generation;
	__u32 ifindex;
	__be16 source_port; /* from here on: as far as struct route cares */
	__be16 dest_port;
	__u8 protocol;
	__u8 tos;
	__u16 reserved;
};

struct route {
	struct route_key key;
	__u64 care;   /* bits of the key's last word */
	__u8 mac[12]; /* as a frame begins: the next hop's, the interface's */
	__u32 out;
	__u32 mtu;
	__u32 reserved;
};
_Static_assert(sizeof(struct route) == 64, "a route has no padding");

#define ROUTES 4096 /* power of two */

/* By route_at(). Writer, reader: this file. 256 KiB a CPU: 1,000 pairs of addresses seldom meet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ROUTES);
	__type(key, __u32);
	__type(value, struct route);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} routes SEC(".maps");

#define CARE_ALL (~0ull)

static const struct route_key care_tos = {.tos = 0xff};

/* What the last answer cared for: whether flows of the same addresses shall have places of their own. */
__u64 route_care;

static __always_inline const __u64 *route_words(const struct route_key *key)
{
	return (const __u64 *)key;
}

static __always_inline struct route *route_at(const struct route_key *key)
{
	const __u64 *word = route_words(key);
	__u64 hash = (word[0] ^ (word[3] & *(volatile __u64 *)&route_care) * 0x9e3779b97f4a7c15ull) * 0xc2b2ae3d27d4eb4full;
	__u32 number = hash >> 52;

	return bpf_map_lookup_elem(&routes, &number);
}

static __always_inline bool route_fits(const struct route *r, const struct route_key *key)
{
	const __u64 *a = route_words(&r->key), *b = route_words(key);

	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | ((a[3] ^ b[3]) & r->care));
}

/* ------------------------------------------------------------------- what answers depend on */

/* Of the kernel's own structs, what is read here; relocated at load. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct netns_ipv4___route {
	bool fib_has_custom_rules;
	__u8 sysctl_fib_multipath_hash_policy;
};
struct net___route {
	struct netns_ipv4___route ipv4;
};
struct net_device___route {
	struct {
		struct net___route *net;
	} nd_net;
};
struct xdp_rxq_info___route {
	struct net_device___route *dev;
};
struct xdp_buff___route {
	struct xdp_rxq_info___route *rxq;
};
#pragma clang attribute pop

/* Kernel 6.2: the context as the kernel has it. The knob `kernel_context` says whether this kernel has it. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

/* Whether answers to packets of this interface depend on ports and protocols. */
static __always_inline bool ports_matter(struct xdp_md *ctx)
{
	const struct netns_ipv4___route *ip;
	const struct xdp_buff___route *xdp;

	if (!kernel_context)
		return true;
	xdp = bpf_cast_to_kern_ctx(ctx);
	ip = &xdp->rxq->dev->nd_net.net->ipv4;
	if (bpf_core_field_exists(ip->fib_has_custom_rules) && ip->fib_has_custom_rules)
		return true;
	return bpf_core_field_exists(ip->sysctl_fib_multipath_hash_policy) && ip->sysctl_fib_multipath_hash_policy;
}

/* ------------------------------------------------------------------- asking */

static __always_inline void route_keep(struct xdp_md *ctx, const struct route_key *key, const struct bpf_fib_lookup *fib,
				       struct route *r)
{
	r->key = *key;
	r->care = ports_matter(ctx) ? CARE_ALL : route_words(&care_tos)[3];
	__builtin_memcpy(r->mac, fib->dmac, sizeof(fib->dmac));
	__builtin_memcpy(r->mac + sizeof(fib->dmac), fib->smac, sizeof(fib->smac));
	r->out = fib->ifindex;
	r->mtu = fib->mtu_result;
	if (*(volatile __u64 *)&route_care != r->care)
		*(volatile __u64 *)&route_care = r->care;
}

/*
 * Asks the kernel, of a packet that may be forwarded, and keeps the answer at *r if it is a way out. Answers an enum
 * sluice_forward. Global: verified once, with a frame of its own.
 */
__noinline int route_ask(struct xdp_md *ctx, const struct route_key *key, struct route *r)
{
	struct bpf_fib_lookup fib = {};
	enum sluice_forward outcome;

	if (!key || !r)
		return SLUICE_FORWARD_KERNEL_ROUTE;
	if (octet_is_odd(bpf_ntohl(key->source) >> 24) || octet_is_odd(bpf_ntohl(key->dest) >> 24))
		return SLUICE_FORWARD_KERNEL_UNUSUAL;
	fib.family = AF_INET;
	fib.l4_protocol = key->protocol;
	fib.tos = key->tos;
	fib.ifindex = key->ifindex;
	fib.ipv4_src = key->source;
	fib.ipv4_dst = key->dest;
	fib.sport = key->source_port;
	fib.dport = key->dest_port;
	outcome = route_answer(ctx, key->generation & 1, &fib);
	if (outcome == SLUICE_FORWARD_ROUTED)
		route_keep(ctx, key, &fib, r);
	return outcome;
}

#endif
