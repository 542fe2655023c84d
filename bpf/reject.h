/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Step 9: whether a packet that a rule rejects is answered, how many are, and how the answer gets to where it belongs;
 * answer.h puts it together. TCP gets a RST (RFC 9293, 3.10.7.1), all else ICMP "administratively prohibited" (RFC 792
 * and 1812 type 3 code 13, RFC 4443 type 1 code 1) in the name of the packet's destination, which works on a router, a
 * bridge and the host itself alike. The rejected packet is turned into its answer, and goes back where it came from: out
 * of its interface, or to the local stack if this host has sent it. A packet of a live TCP connection that a new policy
 * rejects resets the other end too: it goes on, turned into a RST of its own sequence number.
 *
 * All of that is done at TC. XDP_TX would be shorter, but it loses the answer without a word where the far end of a veth
 * has no NAPI, and on devices without queues to spare. So sluice_xdp marks the packet and passes it on, and sluice_answer
 * behind it at TC ingress finds the mark. Should that program be missing, the packet goes nowhere either: it bears the
 * sender's own MAC address as its destination, which no stack takes for its own and no bridge sends on.
 *
 * What is put into the ingress of an interface passes its programs like any packet, generic XDP even, and is not to be
 * judged as one: a RST of no known connection would be dropped. It is told by a source MAC address that only this host
 * knows, which is looked at before a packet is dropped; so packets that pass pay nothing for it.
 *
 * Not answered: what RFC 1122 3.2.2 and RFC 4443 2.4 forbid (ICMP errors, groups, later fragments, senders that are no
 * single host), RST, what came in a tunnel, frames with two VLAN tags, and what is over the limit.
 */
#ifndef SLUICE_BPF_REJECT_H
#define SLUICE_BPF_REJECT_H

#include "answer.h"
#include "maps.h"
#include "pkt.h"
#include "tenant.h"

/*
 * The limit: at most 1,000 in any second. A bucket that fills by 900 a second and holds 95 grants at most 995 in any
 * second, and with a clock that is a tick of 4 ms old, 1,000.
 */
#define ANSWER_NS     (1000000000ull / 900)
#define ANSWERS_AHEAD 95

#define ANSWER_MARK 0x51c1a45e /* of a packet to be answered */

#define BPF_F_INGRESS 1 /* linux/bpf.h, see answer.h */

#define ICMP4_QUENCH   4
#define ICMP4_REDIRECT 5
#define ICMP6_REDIRECT 137

/* What is known of a rejected packet besides struct pkt. */
enum reject_flags {
	REJECT_CUTS = 1,       /* it belonged to a live flow */
	REJECT_BEHIND_XDP = 2, /* sluice_answer has it: sluice_xdp was there first */
	ANSWER_SYN = 4,	       /* not rejected: a SYN that gets a cookie, syn.h */
};

struct answer_mark {
	__u32 mark;
	__u8 dest[6]; /* MAC address that the packet was sent to */
	__u16 flags;  /* enum reject_flags */
};

/*
 * What sluice_xdp leaves in front of a packet; a multiple of 4, as the kernel wants it. Twice, because generic XDP since
 * kernel 6.8 forgets how long the MAC header is (skb_pp_cow_data() leaves mac_len 0): a TC program behind it takes the
 * MAC header for the end of this, and sees the last half only, 2 bytes from where it looks.
 */
struct answer_marks {
	struct answer_mark mark;
	__u32 reserved;
	struct answer_mark again;
};

/* ------------------------------------------------------------------- whether */

/* RFC 1122 3.2.2: the source must define a single host. Groups are malformed already. */
static __always_inline bool source_is_host(const struct pkt *pkt)
{
	const __be32 *word = (const __be32 *)pkt->tuple.source;
	__u8 first = pkt->tuple.source[12];

	if (pkt->tuple.version == 4)
		return first && first != 127 && first < 224;
	return word[0] || word[1] || word[2] || (word[3] && word[3] != bpf_htonl(1));
}

static __always_inline bool icmp_may_be_answered(const struct pkt *pkt)
{
	__u8 type = bpf_ntohs(pkt->tuple.dest_port) >> 8;

	if (pkt->tuple.version == 6)
		return type >= 128 && type != ICMP6_REDIRECT;
	return !pkt->icmp_error && type != ICMP4_QUENCH && type != ICMP4_REDIRECT;
}

static __always_inline bool may_be_answered(const struct pkt *pkt)
{
	if (pkt->fragment == FRAGMENT_LATER || pkt->for_group || !source_is_host(pkt))
		return false;
	switch (pkt->tuple.protocol) {
	case IPPROTO_TCP: /* of a fragment, the length that a RST has to acknowledge is not known */
		return !(pkt->tcp_flags & TCP_RST) && pkt->fragment == FRAGMENT_NONE;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return icmp_may_be_answered(pkt);
	}
	return true;
}

static __always_inline struct sluice_answer_state *answer_state_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&answer_state, &zero);
}

/* One word for all CPUs, written only for answers that are sent: when the bucket will be full again. */
static __always_inline bool answer_is_due(struct pkt *pkt)
{
	struct sluice_answer_state *state = answer_state_get();
	__u64 before, now = pkt_now(pkt), start;

	if (!state)
		return false;
	for (int i = 0; i < 4; i++) {
		before = *(volatile __u64 *)&state->full_ns;
		start = before > now ? before : now;
		if (start - now > (ANSWERS_AHEAD - 1) * ANSWER_NS)
			return false;
		if (__sync_val_compare_and_swap(&state->full_ns, before, start + ANSWER_NS) == before)
			return true;
	}
	return false; /* other CPUs answer just now */
}

static __always_inline void answer_count(bool sent)
{
	__u32 zero = 0;
	struct sluice_answers *a = bpf_map_lookup_elem(&answers, &zero);

	if (!a)
		return;
	a->sent += sent;
	a->suppressed += !sent;
}

/* 1: a rejected packet gets an answer. Global: verified once. */
__noinline int reject_is_answered(struct pkt *pkt)
{
	if (!pkt || replay)
		return 0;
	if (may_be_answered(pkt) && answer_is_due(pkt))
		return 1;
	answer_count(false);
	return 0;
}

/* ------------------------------------------------------------------- XDP */

static __always_inline void mark_set(struct answer_mark *mark, const struct ethhdr *ethernet, __u32 flags)
{
	mark->mark = ANSWER_MARK;
	mark->flags = flags;
	__builtin_memcpy(mark->dest, ethernet->h_dest, sizeof(mark->dest));
}

/* Marks a rejected packet, to be answered by sluice_answer. With a frame of its own. */
static __noinline int answer_later(struct xdp_md *ctx, __u32 flags)
{
	struct answer_marks *marks;
	struct ethhdr *ethernet;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*marks))) { /* the driver has no room for it */
		answer_count(false);
		return XDP_DROP;
	}
	ethernet = (void *)(long)ctx->data;
	marks = (void *)(long)ctx->data_meta;
	if ((void *)(marks + 1) > (void *)ethernet || (void *)(ethernet + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	mark_set(&marks->mark, ethernet, flags);
	marks->reserved = 0;
	mark_set(&marks->again, ethernet, flags);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, sizeof(ethernet->h_dest));
	return XDP_PASS;
}

static __always_inline __u32 reject_flags(int reason)
{
	return reason == SLUICE_R_STALE_DENY ? REJECT_CUTS : 0;
}

static __always_inline int reject_xdp(struct xdp_md *ctx, struct pkt *pkt, int reason)
{
	return reject_is_answered(pkt) ? answer_later(ctx, reject_flags(reason)) : XDP_DROP;
}

/* ------------------------------------------------------------------- TC */

/* Or whoever gets the answer might see them. */
static __always_inline void marks_clear(struct __sk_buff *ctx)
{
	struct answer_marks *marks = (void *)(long)ctx->data_meta;

	if ((void *)(marks + 1) > (void *)(long)ctx->data)
		return;
	marks->mark.mark = 0;
	marks->again.mark = 0;
}

/* Of a packet without its MAC header, see struct answer_marks: puts it back. */
static __always_inline bool ethernet_restore(struct __sk_buff *ctx, const struct answer_mark *mark)
{
	const struct ethhdr *lost = (const void *)(mark + 1);
	struct ethhdr ethernet = *lost;

	__builtin_memcpy(ethernet.h_dest, mark->dest, sizeof(ethernet.h_dest));
	if (bpf_skb_change_head(ctx, sizeof(ethernet), 0) || bpf_skb_store_bytes(ctx, 0, &ethernet, sizeof(ethernet), 0))
		return false;
	marks_clear(ctx);
	return true;
}

/* What sluice_xdp has marked the packet with, which then is again as it came; 0: nothing. With a frame of its own. */
static __noinline __u32 marks_take(struct __sk_buff *ctx)
{
	struct answer_marks *marks = (void *)(long)ctx->data_meta;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct answer_mark *shifted = (void *)marks + 2;
	__u32 flags;

	if ((void *)(marks + 1) > (void *)ethernet)
		return 0;
	if (shifted->mark == ANSWER_MARK) {
		flags = shifted->flags;
		return ethernet_restore(ctx, shifted) ? flags | REJECT_BEHIND_XDP : 0;
	}
	if (marks->mark.mark != ANSWER_MARK || (void *)(ethernet + 1) > (void *)(long)ctx->data_end)
		return 0;
	flags = marks->mark.flags;
	__builtin_memcpy(ethernet->h_dest, marks->mark.dest, sizeof(ethernet->h_dest));
	marks_clear(ctx);
	return flags | REJECT_BEHIND_XDP;
}

/* For the ingress of an interface, where answer_arrives() knows the frame by it. */
static __always_inline long answer_sign(struct answer *a)
{
	const struct sluice_answer_state *state = answer_state_get();

	if (!state)
		return -1;
	__builtin_memcpy(a->ethernet.h_source, state->mac, sizeof(a->ethernet.h_source));
	return 0;
}

/* Makes the packet its answer, whose length of body is returned; 0: there is none. */
static __always_inline __u32 answer_make(struct __sk_buff *ctx, struct pkt *pkt, struct answer *a)
{
	__u32 body = answer_write(ctx, pkt, a);

	if (!body || body > BODY_ROOM || (pkt->hook == SLUICE_HOOK_TC_EGRESS && answer_sign(a)) ||
	    answer_make_room(ctx, pkt, body) || answer_store(ctx, pkt, a, body))
		return 0;
	return body;
}

/*
 * Of a packet that is its answer already: sends that as a copy, and makes the packet the RST for its receiver. Behind
 * sluice_xdp that comes in once more, for the kernel to see by its MAC address whom it is for: it had the sender's. On a
 * wire it leaves at the other end.
 */
static __always_inline int cut_send(struct __sk_buff *ctx, struct pkt *pkt, struct answer *a, __u32 flags)
{
	const struct sluice_interface *interface = interface_find(pkt->ifindex, SLUICE_VLAN_NONE, pkt->tuple.bank);
	bool behind = flags & REJECT_BEHIND_XDP;
	bool wire = behind && interface && (interface->flags & SLUICE_IF_WIRE);
	__u32 body;
	long r;

	r = bpf_clone_redirect(ctx, ctx->ifindex, pkt->hook == SLUICE_HOOK_TC_EGRESS ? BPF_F_INGRESS : 0);
	answer_count(!r);
	body = onward_write(pkt, a);
	r = behind && !wire ? answer_sign(a) : 0;
	if (!r)
		r = answer_store(ctx, pkt, a, body);
	answer_count(!r);
	if (r)
		return TC_ACT_SHOT;
	if (wire)
		return bpf_redirect(interface->peer, 0);
	return behind ? bpf_redirect(ctx->ifindex, BPF_F_INGRESS) : TC_ACT_UNSPEC;
}

/* Turns a rejected packet, which is to be answered, into its answer and sends that. Global: verified once. */
__noinline int answer_send(struct __sk_buff *ctx, struct pkt *pkt, __u32 flags)
{
	__u32 zero = 0;
	struct answer *a = bpf_map_lookup_elem(&answer_drafts, &zero);

	if (!pkt || !a)
		return TC_ACT_SHOT;
	if (!answer_make(ctx, pkt, a)) {
		answer_count(false);
		return TC_ACT_SHOT;
	}
	if ((flags & REJECT_CUTS) && pkt->tuple.protocol == IPPROTO_TCP && answer_is_due(pkt))
		return cut_send(ctx, pkt, a, flags);
	answer_count(true);
	return bpf_redirect(ctx->ifindex, pkt->hook == SLUICE_HOOK_TC_EGRESS ? BPF_F_INGRESS : 0);
}

static __always_inline int reject_skb(struct __sk_buff *ctx, struct pkt *pkt, int reason)
{
	return reject_is_answered(pkt) ? answer_send(ctx, pkt, reject_flags(reason)) : TC_ACT_SHOT;
}

/* ------------------------------------------------------------------- its arrival */

/* Whether a frame is of our own making, see above; asked of frames that would be dropped. */
static __always_inline bool answer_arrives(__u32 data, __u32 data_end)
{
	const struct ethhdr *ethernet = (void *)(long)data;
	const struct sluice_answer_state *state;
	const __u16 *x, *y;

	if (replay || (void *)(ethernet + 1) > (void *)(long)data_end)
		return false;
	state = answer_state_get();
	if (!state)
		return false;
	x = (const __u16 *)ethernet->h_source;
	y = (const __u16 *)state->mac;
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

#endif
