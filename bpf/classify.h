/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 7, first half: what the rules say of a new packet. A bounded number of array reads, whatever the number of
 * rules: addresses and service become classes, classes become the number of the first matching rule (abi.h, "struct
 * sluice_class").
 */
#ifndef SLUICE_BPF_CLASSIFY_H
#define SLUICE_BPF_CLASSIFY_H

#include "pkt.h"
#include "prefix.h"
#include "words.h"

#define DECISION_STEPS 18 /* levels of a decision and exceptions before it: user/policy/decide.c */

/* Classes of the packet's ports. */
static __always_inline int port_classes(struct words *w, const struct sluice_policy *p, const struct tuple *t,
					__u32 *ret_port, __u32 *ret_source)
{
	const struct sluice_protocol *protocol;
	__u32 dports, sports, at = p->protocols_at + t->protocol * (sizeof(*protocol) / 4);
	const __u32 *part = words_part(w, at);

	if (!part)
		return -1;
	protocol = (const void *)(part + (at & 4)); /* two to a part */
	dports = protocol->dports;
	sports = protocol->sports;
	*ret_port = protocol->port_class;
	*ret_source = 0;
	if (dports != SLUICE_NO_TABLE && words_get(w, dports + bpf_ntohs(t->dest_port), ret_port))
		return -1;
	return sports != SLUICE_NO_TABLE && words_get(w, sports + bpf_ntohs(t->source_port), ret_source) ? -1 : 0;
}

/* Key of the decision: abi.h, "struct sluice_class". */
static __always_inline int decision_key(struct words *w, const struct sluice_policy *p, const struct tuple *t,
					int dest_class, __u64 *ret_key)
{
	const struct sluice_class *dest = class_get(w, p, dest_class);
	__u32 port, source;
	__u64 key;

	if (!dest)
		return -1;
	key = dest->dest;
	if (port_classes(w, p, t, &port, &source))
		return -1;
	key = (key << p->port_bits | port) << p->source_bits | source;
	/* In two shifts: all of the bits may be unused, and a shift by 64 is none. */
	*ret_key = key << 1 << (63 - p->dest_bits - p->port_bits - p->source_bits & 63);
	return 0;
}

/* Index of the first matching rule, and the list of the audit rules that match too, 0 if there are none. */
static __always_inline int decision_find(struct words *w, const struct sluice_policy *p, const struct tuple *t,
					 __u32 *ret_rule, __u32 *ret_audits)
{
	/* First of all: what is cold is in there, and little has to be kept over it. */
	int source_class = prefix_lookup(w, p, t, t->source), dest_class = prefix_lookup(w, p, t, t->dest);
	const struct sluice_class *source;
	__u32 best = p->rules - 1, rule;
	__u64 key;

	if (decision_key(w, p, t, dest_class, &key))
		return -1;
	source = class_get(w, p, source_class);
	if (!source)
		return -1;
	for (int i = 0; i < SLUICE_PLANE_AUDIT; i++) {
		if (i >= p->planes)
			break;
		rule = trie_leaf(w, source->row[i], key, 0, DECISION_STEPS);
		best = rule < best ? rule : best; /* a broken trie's -1 is no rule */
	}
	*ret_rule = best;
	*ret_audits = 0;
	if (p->flags & SLUICE_HAS_AUDITS)
		*ret_audits = trie_leaf(w, source->row[SLUICE_PLANE_AUDIT], key, 0, DECISION_STEPS);
	return 0;
}

__noinline int classify(const struct tuple *t, struct decision *ret)
{
	const struct sluice_policy *p;
	const struct sluice_rule_head *rule;
	__u32 index, audits, at;
	const __u32 *part;
	struct words w;

	if (!t || !ret)
		return -1;
	p = policy_live(t->bank);
	words_open(&w, t->bank);
	if (!p || decision_find(&w, p, t, &index, &audits))
		return -1;
	at = p->rules_at + index * (sizeof(*rule) / 4);
	part = words_part(&w, at);
	if (!part)
		return -1;
	rule = (const void *)(part + (at & 6)); /* four to a part */
	ret->action = rule->action;
	ret->flags = rule->flags;
	ret->slot = rule->slot;
	ret->rule = index;
	ret->audits = audits;
	return 0;
}

static __always_inline bool decision_keeps_flow(const struct decision *d)
{
	return d->action == SLUICE_ACTION_ALLOW && (d->flags & SLUICE_RULE_STATEFUL);
}

/* Whether so little time has passed since the first attach that a TCP stray may belong to an older connection. */
static __always_inline bool pickup_is_open(__u64 now_ns, __u32 bank)
{
	const struct sluice_policy *p = policy_live(bank);
	const struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	return p && c && now_ns < c->attached_ns + p->timeout_ns[SLUICE_T_PICKUP];
}

/* The rules deny a stray in its own direction: would they allow the connection opened from the other end? */
static __always_inline bool pickup_reverse(struct pkt *pkt)
{
	struct decision reverse = {};
	struct tuple t = pkt->tuple;

	addr_copy(t.source, pkt->tuple.dest);
	addr_copy(t.dest, pkt->tuple.source);
	t.source_port = pkt->tuple.dest_port;
	t.dest_port = pkt->tuple.source_port;
	if (classify(&t, &reverse) || !decision_keeps_flow(&reverse))
		return false;
	pkt->decision = reverse;
	pkt->pickup = PICKUP_REVERSE;
	return true;
}

static __always_inline int decision_reason(const struct decision *d)
{
	bool is_default = d->flags & SLUICE_RULE_DEFAULT;

	if (d->action == SLUICE_ACTION_ALLOW)
		return is_default ? SLUICE_R_PASS_DEFAULT : SLUICE_R_PASS_RULE;
	return is_default ? SLUICE_R_DENY_DEFAULT : SLUICE_R_DENY_RULE;
}

/*
 * Decides unless the answer is "allow, and keep a flow": that is left to flow_create(). Global: it holds two more
 * copies of the tuple, and is verified once.
 */
__noinline int classify_decide(struct pkt *pkt)
{
	bool stray, pickup;

	if (!pkt)
		return SLUICE_R_INTERNAL;
	if (classify(&pkt->tuple, &pkt->decision))
		return SLUICE_R_INTERNAL;
	stray = pkt->tuple.protocol == IPPROTO_TCP && !tcp_opens(pkt);
	pickup = stray && tcp_is_within(pkt) && pickup_is_open(pkt_now(pkt), pkt->tuple.bank);
	if (!decision_keeps_flow(&pkt->decision)) {
		if (pkt->decision.action != SLUICE_ACTION_ALLOW && pickup && pickup_reverse(pkt))
			return UNDECIDED;
		return decision_reason(&pkt->decision);
	}
	if (stray && !pickup) {
		pkt->decision.slot = SLUICE_NO_RULE; /* the rule would have let it through: not its doing */
		return SLUICE_R_TCP_NO_FLOW;
	}
	pkt->pickup = stray ? PICKUP_FORWARD : PICKUP_NO;
	return UNDECIDED;
}

#endif
