/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs when packets come from a capture: the knob `replay` says so, and everywhere else all of this is dead
 * code that the verifier removes. Time comes with the packet (pkt_start()); so no timer ends flows but userspace, on the
 * capture's time, by the program sluice_sweep. And nobody can be asked which addresses are this host's but the
 * user.
 */
#ifndef SLUICE_BPF_REPLAY_H
#define SLUICE_BPF_REPLAY_H

#include "config.h"
#include "expiry.h"
#include "pkt.h"

static __always_inline void replay_report(const struct pkt *pkt, __u32 reason, __u32 verdict, bool audited)
{
	struct sluice_replay_result *r = &replay_state.result;

	r->judged++;
	r->reason = reason;
	r->verdict = verdict;
	r->audited = audited;
	r->slot = pkt->decision.slot;
	r->tenant = pkt->tuple.tenant;
	r->protocol = pkt->tuple.protocol;
	r->version = pkt->tuple.version;
	addr_copy(r->source, pkt->tuple.source);
	addr_copy(r->dest, pkt->tuple.dest);
	r->source_port = pkt->tuple.source_port;
	r->dest_port = pkt->tuple.dest_port;
}

static __always_inline void replay_audit(__u32 slot)
{
	struct sluice_replay_result *r = &replay_state.result;
	__u32 n = r->n_audits;

	if (n >= SLUICE_AUDITS_MAX)
		return;
	r->audits[n] = slot;
	r->n_audits = n + 1;
}

#endif
