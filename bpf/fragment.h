/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 5: later fragments carry no ports, so they get what their first one got, for 30 s and within one policy. None may
 * begin before the end of the first: what was judged there would not be what the receiver puts together (RFC 1858,
 * RFC 5722). Of two first fragments of one datagram the newer counts, since identifiers are used anew.
 */
#ifndef SLUICE_BPF_FRAGMENT_H
#define SLUICE_BPF_FRAGMENT_H

#include "pkt.h"

static __always_inline void fragment_key(const struct pkt *pkt, struct sluice_fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	addr_copy(key->addr[0], pkt->tuple.source);
	addr_copy(key->addr[1], pkt->tuple.dest);
	key->id = pkt->fragment_id;
	key->tenant = pkt->tuple.tenant;
	key->protocol = pkt->fragment_protocol;
}

/*
 * Both halves of this stage keep a frame of their own: their keys do not fit beside struct pkt in 512 bytes of stack.
 */
static __noinline int fragment_later(struct pkt *pkt)
{
	const struct sluice_fragment *first;
	struct sluice_fragment_key key;

	fragment_key(pkt, &key);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first || first->generation != pkt->generation || pkt_now(pkt) - first->seen_ns > SLUICE_FRAGMENT_NS)
		return SLUICE_R_FRAGMENT_UNKNOWN;
	if (pkt->fragment_span < first->end)
		return SLUICE_R_FRAGMENT_OVERLAP;
	pkt->decision.slot = first->rule;
	if (first->opener)
		pkt->decision.flags |= DECISION_SECOND;
	return first->verdict == SLUICE_PASS ? SLUICE_R_PASS_FRAGMENT : first->reason;
}

static __always_inline int fragment_decide(struct pkt *pkt)
{
	return pkt->fragment == FRAGMENT_LATER ? fragment_later(pkt) : UNDECIDED;
}

/* Keeps what a first fragment got. */
static __noinline void fragment_keep(struct pkt *pkt, int reason)
{
	struct sluice_fragment first = {
		.seen_ns = pkt_now(pkt),
		.generation = pkt->generation,
		.verdict = reason_drops(reason) ? SLUICE_DROP : SLUICE_PASS,
		.opener = pkt_opener(pkt),
		.reason = reason,
		.rule = pkt->decision.slot,
		.end = pkt->fragment_span,
	};
	struct sluice_fragment_key key;

	fragment_key(pkt, &key);
	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
}

static __always_inline void fragment_remember(struct pkt *pkt, int reason)
{
	if (pkt->fragment == FRAGMENT_FIRST)
		fragment_keep(pkt, reason);
}

#endif
