/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that are cut by hand, one a call. Retiring a flow is all there is to it, but while strays may be picked up:
 * then its next TCP packet would be taken for one of a connection older than sluice, and the flow would be back. So
 * until that is over the entry stays, marked: no packet is of it, a SYN opens anew, and the timer forgets it.
 */
#ifndef SLUICE_BPF_CUT_H
#define SLUICE_BPF_CUT_H

#include "classify.h"
#include "confirm.h"
#include "table.h"

/* Looks as reset from now on: a SYN may have its place (flow.h). */
static __always_inline int cut_mark(struct sluice_flow *flow, __u64 now_ns)
{
	__u32 before;

	flow_seen_at(flow, now_ns);
	before = __sync_fetch_and_or(&flow->state, SLUICE_FLOW_CUT | SLUICE_FLOW_RST);
	if (before & (SLUICE_FLOW_CUT | SLUICE_FLOW_ENDED))
		return -ENOENT;
	if (flow_is_half_open(IPPROTO_TCP, before & SLUICE_FLOW_FACTS))
		half_open_add(-1);
	return 0;
}

static __noinline int cut_answer(const struct sluice_cut_call *call)
{
	struct sluice_flow_key key __attribute__((aligned(8))) = call->key;
	const struct sluice_control *c;
	struct sluice_flow_probe probe;
	__u64 now = bpf_ktime_get_ns();
	struct flow_ref ref;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	probe_fill(&probe, &key);
	ref = table_at(table_find(&key, &probe));
	if (!c || !ref.flow || *(volatile __u32 *)&ref.flow->first != call->first)
		return -ENOENT;
	if (key.protocol == IPPROTO_TCP && pickup_is_open(now, *(volatile __u64 *)&c->generation & 1))
		return cut_mark(ref.flow, now);
	return flow_retire(ref.bucket, ref.unit, now) ? 0 : -ENOENT;
}

#endif
