/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stage 7, first half: what the rules say of a new packet. A fixed number of array reads, whatever the number of rules:
 * addresses and service become classes, classes become the number of the first matching rule (abi.h, "bank tables").
 */
#ifndef SLUICE_BPF_CLASSIFY_H
#define SLUICE_BPF_CLASSIFY_H

#include "pkt.h"
#include "prefix.h"

static __always_inline int service_class(const struct tuple *t, __u32 *ret_class)
{
	void *protocols_table = bank_table(protocols, t->bank);
	void *ports_table = bank_table(ports, t->bank);
	void *services_table = bank_table(services, t->bank);
	__u32 protocol = t->protocol, dport = 0, sport = 0;
	const struct sluice_protocol *p;

	if (!protocols_table || !ports_table || !services_table)
		return -1;
	p = bpf_map_lookup_elem(protocols_table, &protocol);
	if (!p)
		return -1;
	if (p->dport_table != SLUICE_NO_TABLE &&
	    page_word(ports_table, p->dport_table << 16 | bpf_ntohs(t->dest_port), &dport))
		return -1;
	if (p->sport_table != SLUICE_NO_TABLE &&
	    page_word(ports_table, p->sport_table << 16 | bpf_ntohs(t->source_port), &sport))
		return -1;
	return page_word(services_table, p->service + dport * p->source_classes + sport, ret_class);
}

/* Word of `verdicts` for the tuple. */
static __always_inline int verdict_word(const struct tuple *t, __u32 *ret_word)
{
	const struct sluice_class *source = class_find(t, false), *dest = class_find(t, true);
	const struct sluice_policy *p = policy_live(t->bank);
	void *pairs_table = bank_table(pairs, t->bank);
	void *verdicts_table = bank_table(verdicts, t->bank);
	__u32 service, pair;

	if (!source || !dest || !p || !pairs_table || !verdicts_table || service_class(t, &service))
		return -1;
	if (page_word(pairs_table, source->source * p->dest_classes + dest->dest, &pair))
		return -1;
	return page_word(verdicts_table, pair * p->service_classes + service, ret_word);
}

/* Follows a chain past its audit rules to the rule that decides. */
static __always_inline int chain_end(__u32 bank, __u32 start, __u32 *ret_rule)
{
	void *audits_table = bank_table(audits, bank);
	__u32 word;

	if (!audits_table)
		return -1;
	for (__u32 i = 0; i <= SLUICE_AUDITS_MAX; i++) {
		if (page_word(audits_table, start + i, &word))
			return -1;
		if (!(word & SLUICE_VERDICT_CHAIN)) {
			*ret_rule = word;
			return 0;
		}
	}
	return -1;
}

__noinline int classify(const struct tuple *t, struct decision *ret)
{
	const struct sluice_rule *rule;
	__u32 index, chain = NO_CHAIN;
	void *rules_table;

	if (!t || !ret)
		return -1;
	rules_table = bank_table(rules, t->bank);
	if (!rules_table || verdict_word(t, &index))
		return -1;
	if (index & SLUICE_VERDICT_CHAIN) {
		chain = index & ~SLUICE_VERDICT_CHAIN;
		if (chain_end(t->bank, chain, &index))
			return -1;
	}
	rule = bpf_map_lookup_elem(rules_table, &index);
	if (!rule)
		return -1;
	ret->action = rule->action;
	ret->flags = rule->flags;
	ret->slot = rule->slot;
	ret->rule = index;
	ret->chain = chain;
	return 0;
}

static __always_inline bool decision_keeps_flow(const struct decision *d)
{
	return d->action == SLUICE_ACTION_ALLOW && (d->flags & SLUICE_RULE_STATEFUL);
}

/* Whether so little time has passed since the first attach that a TCP stray may belong to an older connection. */
static __always_inline bool pickup_is_open(const struct pkt *pkt)
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);
	const struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	return p && c && pkt->now < c->attached_ns + p->timeout_ns[SLUICE_T_PICKUP];
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
	pickup = stray && !(pkt->tcp_flags & (TCP_SYN | TCP_RST)) && pickup_is_open(pkt);
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
