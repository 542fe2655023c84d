/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a packet, independent of the hook that met it. parse.h fills it, every later stage reads it and adds
 * its own finding; after parsing nobody touches packet bytes any more.
 *
 * A stage answers with the one reason that decides the packet, or UNDECIDED, and then the next stage is asked.
 * Structs here have no padding and are zeroed as a whole, since they are handed to global functions by address: the
 * verifier wants every byte of them written.
 */
#ifndef SLUICE_BPF_PKT_H
#define SLUICE_BPF_PKT_H

#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <sluice/abi.h>

#include "config.h"
#include "maps.h"

#define UNDECIDED (-1) /* 0 is a reason */

#define TC_ACT_UNSPEC (-1) /* next program, if any; TCX_NEXT under tcx */
#define TC_ACT_SHOT   2

/* Where a parser stands. It moves only over headers that were checked to be there. */
struct cursor {
	void *pos;
	void *end;
};

/* What rules match on: one direction of a conversation. */
struct tuple {
	__u8 source[16]; /* IPv4-mapped */
	__u8 dest[16];
	__be16 source_port;
	__be16 dest_port; /* ICMP: type << 8 | code */
	__u16 tenant;
	__u8 protocol;
	__u8 version; /* 4 or 6 */
	__u32 bank;   /* which copy of the policy is asked */
};
_Static_assert(sizeof(struct tuple) == 44, "tuple has no padding: the verifier wants every byte written");

/* What the rules said of a tuple. */
struct decision {
	__u16 action; /* enum sluice_action */
	__u16 flags;  /* SLUICE_RULE_*, DECISION_SECOND */
	__u32 slot;   /* counter slot of the rule that the packet counts for, or SLUICE_NO_RULE */
	__u32 rule;   /* index in `rules` of the bank; SLUICE_NO_RULE: no rule was asked */
	__u32 audits; /* place in `words` of the list of audit rules that match too, or 0 */
};

/* No rule was asked, since the flow was: key.addr[1], not key.addr[0], is the end that opened it. */
#define DECISION_SECOND (1u << 15)

enum fragment {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

/* A TCP packet that is no SYN, but may become a flow: of a connection older than sluice, or made with a SYN cookie. */
enum pickup {
	PICKUP_NO,
	PICKUP_FORWARD, /* as if its sender had opened the connection */
	PICKUP_REVERSE, /* as if its receiver had */
	PICKUP_COOKIE,	/* its sender has, and shows the SYN cookie for it: syn.h */
};

struct pkt {
	struct tuple tuple;
	struct sluice_flow_key key; /* of its flow; for an ICMP error, of the flow that it quotes */
	struct decision decision;
	__u64 generation; /* read once; the bank is its lowest bit */
	__u64 now;	  /* CLOCK_MONOTONIC ns, a tick old; 0: not asked yet, see pkt_now() */
	__u32 length;	  /* frame bytes */
	__u32 ifindex;
	__be32 fragment_id;
	__u16 policy_flags;	/* SLUICE_MODE_*, SLUICE_ON_FULL_* */
	__u8 interface_flags;	/* SLUICE_IF_* of where it entered; 0 before that is known, and of what a tunnel carried */
	__u8 policy_action;	/* default action: enum sluice_action */
	__be16 ethertype;	/* after VLAN tags */
	__u16 vlan;		/* outermost non-zero VLAN id, or SLUICE_VLAN_NONE */
	__u8 from;		/* key.addr[from] is the sender */
	__u8 hook;		/* enum sluice_hook */
	__u8 fragment;		/* enum fragment */
	__u8 fragment_protocol; /* as the IP or fragment header says it: the same in every fragment */
	union {
		__u32 seq;	/* TCP sequence number, host order */
		__be16 icmp_id; /* of an echo */
	};
	__u32 acked;	  /* TCP acknowledgment number, host order */
	__u32 flows_made; /* low half of its flow mark, read before the flow was looked for */
	__u8 tcp_flags;
	__u8 icmp_error : 1; /* carries a quotation */
	__u8 quote_bad : 1;  /* the quotation is unreadable or not from the packet's destination */
	__u8 link_local : 1; /* destination MAC 01:80:c2:00:00:0x, never forwarded by a bridge */
	__u8 for_group : 1;  /* destination IP is multicast or broadcast */
	__u8 from_here : 1;  /* leaves, and did not come in by any interface: this host sends it */
	__u8 failsafe : 1;   /* names a failsafe service, though not of this host */
	__u8 pickup : 2;     /* enum pickup */
	union {
		__u16 payload;	     /* offset of what follows the transport header, from the start of the frame */
		__u16 fragment_span; /* of a first fragment: how many bytes of the datagram it holds; of a later: before it */
	};
};
_Static_assert(sizeof(struct pkt) == 160, "pkt has no padding: the verifier wants every byte written");

#define IPPROTO_ICMPV6 58 /* the kernel's BTF has no in6.h */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define ICMP4_ECHO_REPLY   0
#define ICMP4_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY   129

static __always_inline bool tcp_opens(const struct pkt *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* As every segment of a connection that is past its handshake and not reset: what a scan sends mostly is not. */
static __always_inline bool tcp_is_within(const struct pkt *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK;
}

/* The tables of one bank. The inner maps' type is the template in maps.h; NULL when no policy was ever loaded. */
#define bank_table(table, bank)                                                                                        \
	({                                                                                                             \
		__u32 bank_ = (bank)&1; /* in a scope of its own: compilers reuse the stack slot */                    \
		(struct bank_##table *)bpf_map_lookup_elem(&table, &bank_);                                            \
	})

static __always_inline struct sluice_policy *policy_live(__u32 bank)
{
	__u32 zero = 0;
	void *table = bank_table(policy, bank);

	return table ? bpf_map_lookup_elem(table, &zero) : NULL;
}

/*
 * Starts a packet: reads the generation, once. Answers PASS_NO_POLICY while nothing has been applied. With a frame of
 * its own: an entry point's frame shall hold struct pkt and little else, since kernels before 6.13 allow a chain of
 * calls 512 bytes of stack, each frame rounded up to 32.
 */
static __noinline int pkt_start(struct pkt *pkt, enum sluice_hook hook, __u32 ifindex, __u32 length)
{
	const struct sluice_control *c;
	const struct sluice_policy *p;
	__u32 zero = 0;

	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->hook = hook;
	pkt->ifindex = ifindex;
	pkt->length = replay ? replay_state.length : length;
	pkt->decision.slot = SLUICE_NO_RULE;
	pkt->vlan = SLUICE_VLAN_NONE;
	pkt->decision.rule = SLUICE_NO_RULE;
	c = bpf_map_lookup_elem(&control, &zero);
	if (!c)
		return SLUICE_R_INTERNAL;
	pkt->generation = *(volatile __u64 *)&c->generation;
	if (!pkt->generation)
		return SLUICE_R_PASS_NO_POLICY;
	pkt->tuple.bank = pkt->generation & 1;
	p = policy_live(pkt->tuple.bank);
	if (!p)
		return SLUICE_R_INTERNAL;
	pkt->policy_flags = p->flags;
	pkt->policy_action = p->default_action;
	return UNDECIDED;
}

/* Index in key.addr of the end that opened the conversation. */
static __always_inline __u8 pkt_opener(const struct pkt *pkt)
{
	if (pkt->decision.rule == SLUICE_NO_RULE)
		return !!(pkt->decision.flags & DECISION_SECOND);
	return pkt->from ^ (pkt->pickup == PICKUP_REVERSE);
}

/*
 * CLOCK_MONOTONIC ns, a tick old. The clock, some 20 ns a reading, is read once a tick: it moves with the jiffies, and these
 * cost nothing, since the verifier makes the call a load.
 */
static __always_inline __u64 clock_now(void)
{
	__u64 jiffies = bpf_jiffies64(), now;
	struct tick *tick;
	__u32 zero = 0;

	tick = bpf_map_lookup_elem(&ticks, &zero);
	if (tick && tick->jiffies == jiffies)
		return tick->now_ns;
	now = bpf_ktime_get_coarse_ns();
	if (tick) {
		tick->now_ns = now;
		tick->jiffies = jiffies;
	}
	return now;
}

/* The same. Global: in the loops that ask, its branches would be verified once for each way through them. */
__noinline __u64 clock_ask(void)
{
	return replay ? replay_state.now_ns : clock_now();
}

/* The time of the packet, asked for once. */
static __always_inline __u64 pkt_now(struct pkt *pkt)
{
	if (!pkt->now)
		pkt->now = clock_ask();
	return pkt->now;
}

/*
 * First match of the live policy for a tuple; classify.h. Declared here since three stages ask it: classification
 * itself, a flow whose policy has changed, and the pickup of connections older than sluice. 0, or -1: a table entry is
 * missing.
 */
int classify(const struct tuple *t, struct decision *ret);

static __always_inline void addr_set4(__u8 addr[16], __be32 v4)
{
	__u32 *word = (__u32 *)addr;

	word[0] = 0;
	word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = v4;
}

static __always_inline void addr_copy(__u8 to[16], const void *from)
{
	__builtin_memcpy(to, from, 16);
}

/* Below 0, 0, above 0, as memcmp() would say. */
static __always_inline int addr_compare(const __u8 a[16], const __u8 b[16])
{
	const __u32 *x = (const __u32 *)a, *y = (const __u32 *)b;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 p = bpf_ntohl(x[i]), q = bpf_ntohl(y[i]);

		if (p != q)
			return p < q ? -1 : 1;
	}
	return 0;
}

/*
 * Fills `key` for a conversation between source and dest: the end with the lower (address, port) comes first. Returns
 * the index of the source's end.
 */
static __always_inline __u8 key_fill(struct sluice_flow_key *key, const struct tuple *t, __be16 sport, __be16 dport)
{
	int order = addr_compare(t->source, t->dest);

	if (!order)
		order = bpf_ntohs(sport) <= bpf_ntohs(dport) ? -1 : 1;
	if (order < 0) {
		addr_copy(key->addr[0], t->source);
		addr_copy(key->addr[1], t->dest);
		key->port[0] = sport;
		key->port[1] = dport;
	} else {
		addr_copy(key->addr[0], t->dest);
		addr_copy(key->addr[1], t->source);
		key->port[0] = dport;
		key->port[1] = sport;
	}
	key->tenant = t->tenant;
	key->protocol = t->protocol;
	key->version = t->version;
	return order >= 0;
}

/* Puts the ends of a key in their order. Returns where the one is that was the first. */
static __always_inline __u8 key_sort(struct sluice_flow_key *key)
{
	__u64 *a = (__u64 *)key->addr[0], *b = (__u64 *)key->addr[1], word;
	int order = addr_compare(key->addr[0], key->addr[1]);
	__be16 port = key->port[0];

	if (order < 0 || (!order && bpf_ntohs(port) <= bpf_ntohs(key->port[1])))
		return 0;
	key->port[0] = key->port[1];
	key->port[1] = port;
	word = a[0], a[0] = b[0], b[0] = word;
	word = a[1], a[1] = b[1], b[1] = word;
	return 1;
}

static __always_inline bool icmp_is_query(__u8 type)
{
	return type == ICMP4_ECHO_REQUEST || type == ICMP6_ECHO_REQUEST;
}

/* What a key has as the port of the end that answers: not what that end has when it asks with the same identifier. */
static __always_inline __be16 echo_answerer(__be16 id)
{
	return id ? 0 : 0xffff;
}

/* Key of the packet's own flow. Tenant is filled by tenant.h later. */
static __always_inline void pkt_fill_key(struct pkt *pkt)
{
	__be16 sport = pkt->tuple.source_port, dport = pkt->tuple.dest_port;
	bool asks;

	if (pkt->tuple.protocol == IPPROTO_ICMP || pkt->tuple.protocol == IPPROTO_ICMPV6) {
		asks = icmp_is_query(bpf_ntohs(dport) >> 8);
		sport = asks ? pkt->icmp_id : echo_answerer(pkt->icmp_id);
		dport = asks ? echo_answerer(pkt->icmp_id) : pkt->icmp_id;
	}
	pkt->from = key_fill(&pkt->key, &pkt->tuple, sport, dport);
}

static __always_inline bool reason_drops(__u32 reason)
{
	switch (reason) {
#define PASS 0
#define DROP 1
#define R(NAME, name, kind, text)                                                                                      \
	case SLUICE_R_##NAME:                                                                                          \
		return kind == DROP;
#include <sluice/reasons.def>
#undef R
#undef DROP
#undef PASS
	}
	return true;
}

#endif
