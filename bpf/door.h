/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Denials at the door: a packet like one that the rules have denied just now is dropped before anything else is done for
 * it. Asked first by sluice_xdp, for plain packets: IPv4 without options, tag or fragment, TCP or UDP, nothing malformed.
 * Each CPU keeps its own: sets of two, the older one replaced.
 *
 * A denial that is kept must be what the packet would get now. It says which generation denied the packet, at which
 * interface, and whether it opened a connection, since strays are judged otherwise. What can change within a generation:
 *
 *   a flow    that another packet has made since, perhaps on another CPU, perhaps from the other end. `flow_marks`
 *             counts the flows made by a hash that is the same for both ends, before a flow can be found. The count was
 *             read before the flow was looked for (flow.h), and must be the same now.
 *   failsafe  depends on this host's addresses: what names a failsafe service is never kept.
 *   pickup    ends, and then denies more, not less.
 *
 * It is worth asking only while packets that were denied come again. Where sources are many and each is seen once, or where
 * nothing is denied, all that the door does is to read and write cold memory: then it is closed, but for one packet in 16,
 * which finds out when that has changed (`door_watch`).
 *
 * Not kept: what is logged, audited, rejected or counted by audit rules; it has more to do than to be dropped.
 */
#ifndef SLUICE_BPF_DOOR_H
#define SLUICE_BPF_DOOR_H

#include "account.h"
#include "parse.h"
#include "pkt.h"
#include "table.h"

/* What a plain packet is known by. No padding: compared as three words. */
struct door_key {
	__be32 source;
	__be32 dest;
	__be16 source_port;
	__be16 dest_port;
	__u32 ifindex;
	__u32 protocol;
	__u32 opens; /* 1: a SYN, or no TCP; 0: as within a connection, so pickup is for it; 2: no such segment */
};

struct denial {
	struct door_key key;
	__u64 generation; /* 0: none */
	__u32 flows_made; /* low half of the flow mark */
	__u32 slot;	  /* of the rule that denied it */
	__u32 reason;
	__u32 reserved;
};

#define DOOR_SETS 4096

struct door_set {
	struct denial denial[2];
	__u32 oldest;
	__u32 reserved;
};

/* By door_number(). Writer, reader: this file. 4096 sets: a thousand active sources seldom meet in one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DOOR_SETS);
	__type(key, __u32);
	__type(value, struct door_set);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} door SEC(".maps");

/* A hit is worth some misses; as many misses close the door as a few hits have made up for. */
#define DOOR_HIT    8
#define DOOR_CREDIT 64
#define DOOR_SAMPLE 16 /* power of two */

struct door_watch {
	__u32 credit;  /* 0: closed */
	__u32 packets; /* that came to the closed door */
};

/* Each CPU's. Writer, reader: this file. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct door_watch);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} door_watch SEC(".maps");

static __always_inline struct door_watch *door_watch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&door_watch, &zero);
}

/* Whether the door is open for the packet that comes to it now. */
static __always_inline bool door_opens(struct door_watch *watch)
{
	return watch->credit || !(watch->packets++ & (DOOR_SAMPLE - 1));
}

/* Whether it was open for that packet, which has been denied after all: a miss. */
static __always_inline bool door_was_open(struct door_watch *watch)
{
	if (!watch->credit)
		return (watch->packets & (DOOR_SAMPLE - 1)) == 1;
	watch->credit--;
	return true;
}

/* Whether an IPv4 header without options adds up: RFC 1071, as in parse.h. */
static __always_inline bool ip4_adds_up(const struct iphdr *ip)
{
	const __u32 *word = (const __u32 *)ip;
	__u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

static __always_inline bool tcp_is_plain(const struct tcphdr *tcp, __u32 left, __u32 *ret_opens)
{
	__u8 flags = ((const __u8 *)tcp)[13] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_PSH | TCP_ACK | TCP_URG);

	*ret_opens = 2;
	if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN)
		*ret_opens = 1;
	else if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK)
		*ret_opens = 0;
	return tcp->doff >= 5 && tcp->doff * 4 <= left && flags && !(flags & TCP_SYN && flags & (TCP_FIN | TCP_RST));
}

static __always_inline bool ip4_is_plain(const struct iphdr *ip, __u32 room)
{
	__u32 total = bpf_ntohs(ip->tot_len);

	return *(const __u8 *)ip == 0x45 && !(ip->frag_off & bpf_htons(IP4_OFFSET | IP4_MORE)) &&
	       (__u8)ip->saddr < 224 && total >= sizeof(*ip) + sizeof(struct udphdr) && total <= room && ip4_adds_up(ip);
}

/* The key of a packet that no check of parse.h would refuse; anything else is left to parse.h. */
static __always_inline bool door_read(struct xdp_md *ctx, struct door_key *ret_key)
{
	const struct ethhdr *ethernet = (void *)(long)ctx->data;
	const struct iphdr *ip = (void *)(ethernet + 1);
	const struct udphdr *udp = (void *)(ip + 1);
	const struct tcphdr *tcp = (void *)(ip + 1);
	const void *end = (void *)(long)ctx->data_end;
	__u32 left;

	if ((void *)(udp + 1) > end || ethernet->h_proto != bpf_htons(ETHERTYPE_IPV4) ||
	    !ip4_is_plain(ip, end - (void *)ip))
		return false;
	left = bpf_ntohs(ip->tot_len) - sizeof(*ip);
	ret_key->opens = 1;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end || !tcp_is_plain(tcp, left, &ret_key->opens))
			return false;
	} else if (ip->protocol != IPPROTO_UDP || bpf_ntohs(udp->len) != left) {
		return false;
	}
	ret_key->source = ip->saddr;
	ret_key->dest = ip->daddr;
	ret_key->source_port = udp->source;
	ret_key->dest_port = udp->dest;
	ret_key->ifindex = ctx->ingress_ifindex;
	ret_key->protocol = ip->protocol;
	return true;
}

static __always_inline struct door_set *door_set(const struct door_key *key)
{
	__u32 hash = key->source * 0x9e3779b1u ^ key->dest * 0x85ebca6bu;
	__u32 number;

	hash ^= ((__u32)key->source_port << 16 | key->dest_port) * 0xc2b2ae35u;
	number = hash * 0x27d4eb2fu >> 20;
	return bpf_map_lookup_elem(&door, &number);
}

static __always_inline bool denial_fits(const struct denial *d, const struct door_key *key, __u64 generation,
					__u32 flows_made)
{
	const __u64 *x = (const __u64 *)&d->key, *y = (const __u64 *)key;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && d->generation == generation &&
	       d->flows_made == flows_made;
}

static __always_inline void door_drop(const struct denial *d, __u32 length)
{
	struct door_watch *watch = door_watch_get(); /* again: kept, it would cost the entry point stack */

	if (watch && watch->credit < DOOR_CREDIT)
		watch->credit += DOOR_HIT;
	reason_add(d->reason, length, false);
	rule_add(d->slot, length, false, false);
}

enum door_answer {
	DOOR_OTHER,  /* the long way */
	DOOR_PLAIN,  /* a plain packet that may be of a live flow: its key is in the scratch */
	DOOR_PLAIN6, /* a frame of IPv6 that may be: nothing was read of it */
	DOOR_DENIED, /* and counted */
};

static __always_inline bool flows_exist(void)
{
	const struct sluice_flow_totals *t;
	__u32 zero = 0;

	t = bpf_map_lookup_elem(&flow_totals, &zero);
	return t && *(const volatile __u32 *)&t->flows;
}

/* True: denied before and still. `made`: as in struct denial. */
static __always_inline bool door_knows(const struct door_key *key, __u32 made, __u32 length)
{
	const struct door_set *set = door_set(key);
	const struct sluice_control *c;
	__u64 generation;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	if (!c || !set)
		return false;
	generation = *(volatile __u64 *)&c->generation;
	if (denial_fits(&set->denial[0], key, generation, made))
		door_drop(&set->denial[0], length);
	else if (denial_fits(&set->denial[1], key, generation, made))
		door_drop(&set->denial[1], length);
	else
		return false;
	return true;
}

static __always_inline bool frame_is6(struct xdp_md *ctx)
{
	const struct ethhdr *ethernet = (void *)(long)ctx->data;

	return (const void *)(ethernet + 1) <= (void *)(long)ctx->data_end && ethernet->h_proto == bpf_htons(ETHERTYPE_IPV6);
}

/* How the mark of the packet's flow reads now; false: there is none. */
static __always_inline bool door_mark(const struct door_key *key, __u64 *ret_mark)
{
	return flow_mark_read(sluice_flow_mark_of(key->source ^ key->dest, key->source_port, key->dest_port), ret_mark);
}

/*
 * What can be said of the packet at the door. `scratch` is the entry point's packet, which has not begun yet: a key beside
 * it would make the deepest chain of calls too long for the stack.
 */
static __always_inline enum door_answer door_ask(struct xdp_md *ctx, struct pkt *scratch)
{
	struct door_key *key = (void *)scratch;
	struct door_watch *watch = door_watch_get();
	bool open = watch && door_opens(watch), flows = flows_exist();
	__u64 mark;

	if (replay || !(open || flows))
		return DOOR_OTHER;
	if (!door_read(ctx, key))
		return flows && frame_is6(ctx) ? DOOR_PLAIN6 : DOOR_OTHER;
	if (!open)
		return DOOR_PLAIN;
	if (!door_mark(key, &mark))
		return DOOR_OTHER;
	if (door_knows(key, mark, ctx->data_end - ctx->data))
		return DOOR_DENIED;
	return mark_lives(mark) ? DOOR_PLAIN : DOOR_OTHER;
}

static __always_inline bool denial_is_kept(const struct pkt *pkt, int reason)
{
	if (replay || (reason != SLUICE_R_DENY_RULE && reason != SLUICE_R_DENY_DEFAULT))
		return false;
	return pkt->decision.action == SLUICE_ACTION_DENY && !(pkt->decision.flags & SLUICE_RULE_LOG) &&
	       !pkt->decision.audits && !pkt->failsafe && !(pkt->policy_flags & SLUICE_MODE_AUDIT);
}

/* Keeps what the rules said of a packet, to be said again at the door. With a frame of its own, for its key. */
static __noinline void door_keep(struct xdp_md *ctx, const struct pkt *pkt, int reason)
{
	struct door_watch *watch = door_watch_get();
	struct door_key key;
	struct door_set *set;
	struct denial *d;

	if (!watch || !denial_is_kept(pkt, reason) || !door_was_open(watch) || !door_read(ctx, &key))
		return;
	set = door_set(&key);
	if (!set)
		return;
	d = set->oldest & 1 ? &set->denial[1] : &set->denial[0];
	set->oldest++;
	d->key = key;
	d->generation = pkt->generation;
	d->flows_made = pkt->flows_made;
	d->slot = pkt->decision.slot;
	d->reason = reason;
}

#endif
