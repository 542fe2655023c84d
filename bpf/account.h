/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is told about a packet: counters by reason and by rule, audit rules that it passed, events. `packets` counts
 * every packet with that reason or rule, `audit_packets` those of them that passed although they would have been
 * dropped.
 */
#ifndef SLUICE_BPF_ACCOUNT_H
#define SLUICE_BPF_ACCOUNT_H

#include "config.h"
#include "pkt.h"
#include "words.h"
#include "replay.h"

static __always_inline void reason_add(__u32 reason, __u32 length, bool audited)
{
	struct sluice_reason_counter *c = bpf_map_lookup_elem(&reason_counters, &reason);

	if (!c)
		return;
	c->packets++;
	c->bytes += length;
	c->audit_packets += audited;
}

static __always_inline void rule_add(__u32 slot, __u32 length, bool audited, bool limited)
{
	struct sluice_rule_counter *c = bpf_map_lookup_elem(&rule_counters, &slot);

	if (!c)
		return;
	c->packets++;
	c->bytes += length;
	c->audit_packets += audited;
	c->limited_packets += limited;
}

static __always_inline void event_lose(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&lost_events, &zero);

	if (lost)
		*lost += 1;
}

static __noinline void event_send(struct pkt *pkt, __u32 slot, __u32 reason, __u32 verdict, bool audited)
{
	struct sluice_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		event_lose();
		return;
	}
	e->time_ns = pkt_now(pkt);
	e->generation = pkt->generation;
	addr_copy(e->source, pkt->tuple.source);
	addr_copy(e->dest, pkt->tuple.dest);
	e->source_port = pkt->tuple.source_port;
	e->dest_port = pkt->tuple.dest_port;
	e->rule = slot;
	e->ifindex = pkt->ifindex;
	e->length = pkt->length;
	e->tenant = pkt->tuple.tenant;
	e->vlan = pkt->vlan;
	e->protocol = pkt->tuple.protocol;
	e->hook = pkt->hook;
	e->verdict = verdict;
	e->audited = audited;
	e->reason = reason;
	e->reserved = 0;
	bpf_ringbuf_submit(e, 0);
}

/* Whether the rule's period has passed; of several CPUs that ask at once one gets a yes. */
static __always_inline bool log_is_due(struct pkt *pkt, const struct sluice_rule *rule)
{
	__u32 slot = rule->slot;
	__u64 *last = bpf_map_lookup_elem(&rule_logs, &slot);
	__u64 before;

	if (!last)
		return false;
	before = *(volatile __u64 *)last;
	if (before && pkt_now(pkt) - before < rule->log_period_ns)
		return false;
	return __sync_val_compare_and_swap(last, before, pkt_now(pkt)) == before;
}

/* Logs a rule by its index in `rules`, if it wants that now. */
static __always_inline void rule_log(struct pkt *pkt, const struct sluice_rule *rule, __u32 reason, __u32 verdict,
				     bool audited)
{
	if ((rule->flags & SLUICE_RULE_LOG) && log_is_due(pkt, rule))
		event_send(pkt, rule->slot, reason, verdict, audited);
}

/* Audit rules that the packet passed on its way to the rule that decided it. */
static __noinline void audits_account(struct pkt *pkt)
{
	void *rules_table = bank_table(rules, pkt->tuple.bank);
	struct words w;
	__u32 count, index;

	words_open(&w, pkt->tuple.bank);
	if (!rules_table || words_get(&w, pkt->decision.audits, &count))
		return;
	for (__u32 i = 0; i < SLUICE_AUDITS_MAX; i++) {
		const struct sluice_rule *rule;
		bool denies;

		if (i >= count || words_get(&w, pkt->decision.audits + 1 + i, &index))
			return;
		if (index >= pkt->decision.rule) /* comes after the rule that decided */
			return;
		rule = bpf_map_lookup_elem(rules_table, &index);
		if (!rule)
			return;
		denies = rule->action != SLUICE_ACTION_ALLOW;
		rule_add(rule->slot, pkt->length, denies, false);
		if (replay)
			replay_audit(rule->slot);
		rule_log(pkt, rule, denies ? SLUICE_R_DENY_RULE : SLUICE_R_PASS_RULE,
			 denies ? SLUICE_DROP : SLUICE_PASS, denies);
	}
}

static __always_inline void decision_log(struct pkt *pkt, __u32 reason, __u32 verdict, bool audited)
{
	void *rules_table = bank_table(rules, pkt->tuple.bank);
	__u32 index = pkt->decision.rule;
	const struct sluice_rule *rule;

	if (!rules_table)
		return;
	rule = bpf_map_lookup_elem(rules_table, &index);
	if (rule)
		rule_log(pkt, rule, reason, verdict, audited);
}

/* The last stage of every packet. What becomes of it: SLUICE_PASS, also in audit mode, DROP or REJECT. Global: verified once. */
__noinline int account(struct pkt *pkt, int reason)
{
	__u32 verdict = SLUICE_PASS;
	bool audited = false;

	if (!pkt)
		return SLUICE_DROP;
	if (reason < 0 || reason >= SLUICE_REASON_COUNT)
		reason = SLUICE_R_INTERNAL;
	if (reason_drops(reason)) {
		verdict = pkt->decision.action == SLUICE_ACTION_REJECT ? SLUICE_REJECT : SLUICE_DROP;
		audited = pkt->policy_flags & SLUICE_MODE_AUDIT;
	}
	reason_add(reason, pkt->length, audited);
	if (pkt->decision.slot != SLUICE_NO_RULE)
		rule_add(pkt->decision.slot, pkt->length, audited, reason == SLUICE_R_RATE_LIMITED);
	if (pkt->decision.audits)
		audits_account(pkt);
	if (pkt->decision.slot != SLUICE_NO_RULE && pkt->decision.rule != SLUICE_NO_RULE) {
		if (pkt->decision.flags & SLUICE_RULE_LOG)
			decision_log(pkt, reason, verdict, audited);
	} else if (verdict != SLUICE_PASS && log_all_drops) {
		event_send(pkt, SLUICE_NO_RULE, reason, verdict, audited);
	}
	if (replay)
		replay_report(pkt, reason, verdict, audited);
	return audited ? SLUICE_PASS : verdict;
}

#endif
