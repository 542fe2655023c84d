/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moves packets of an NVMe/TCP queue to the CPU of the reactor that serves it, and counts on which CPU they were really
 * processed: here if they stay, in sluice_cpumap if they move.
 */
#ifndef SLUICE_BPF_STEER_H
#define SLUICE_BPF_STEER_H

#include "pkt.h"

/* With a frame of its own, for its key. */
static __noinline struct sluice_steer *steer_find(const struct pkt *pkt)
{
	struct sluice_steer_key key = {};

	if (pkt->tuple.protocol != IPPROTO_TCP || pkt->fragment == FRAGMENT_LATER)
		return NULL;
	addr_copy(key.source, pkt->tuple.source);
	addr_copy(key.dest, pkt->tuple.dest);
	key.source_port = pkt->tuple.source_port;
	key.dest_port = pkt->tuple.dest_port;
	return bpf_map_lookup_elem(&steering, &key);
}

/* The packet is processed on this CPU. */
static __always_inline void steer_count(const struct pkt *pkt, const struct sluice_steer *steer)
{
	__u32 slot = steer->slot;
	struct sluice_queue_packets *q = bpf_map_lookup_elem(&queue_packets, &slot);

	if (!q)
		return;
	q->packets++;
	q->bytes += pkt->length;
}

/* For hooks that cannot move packets. */
static __always_inline void steer_stay(const struct pkt *pkt)
{
	const struct sluice_steer *steer = steer_find(pkt);

	if (steer)
		steer_count(pkt, steer);
}

/* XDP_REDIRECT when the packet moves; XDP_PASS when it stays, also where that CPU has no entry in `cpus`. */
static __always_inline int steer_move(const struct pkt *pkt)
{
	const struct sluice_steer *steer = steer_find(pkt);
	int action = XDP_PASS;
	__u32 zero = 0;
	void *table;

	if (!steer)
		return XDP_PASS;
	if (steer->redirect && steer->cpu != bpf_get_smp_processor_id()) {
		table = bpf_map_lookup_elem(&cpus, &zero);
		if (table)
			action = bpf_redirect_map(table, steer->cpu, XDP_PASS);
	}
	if (action == XDP_PASS)
		steer_count(pkt, steer);
	return action;
}

#endif
