/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `sluice replay` and a private instance of the programs tell each other, a packet at a time: a variable in the
 * object's own memory, never pinned, so that nothing of it is part of the ABI. Only written and read where the knob
 * `replay` (bpf/config.h) is set.
 */
#ifndef SLUICE_REPLAY_H
#define SLUICE_REPLAY_H

#include <sluice/abi.h>

#define SLUICE_REPLAY_HOSTS 16

/* What became of a packet. One that carries another (a tunnel) is reported again: the last word is the packet's. */
struct sluice_replay_result {
	__u32 judged;  /* how often something was reported: 0: nothing, 2: what the packet carries was judged too */
	__u32 reason;  /* enum sluice_reason */
	__u32 verdict; /* enum sluice_verdict: what the policy says */
	__u32 audited; /* 1: passes in spite of it, the policy is in audit mode */
	__u32 slot;    /* counter slot of the deciding rule, for a packet of a flow the flow's; or SLUICE_NO_RULE */
	__u16 tenant;
	__u8 protocol;
	__u8 version;	 /* 4 or 6; 0: not IP, or malformed before addresses were known */
	__u8 source[16]; /* IPv4-mapped */
	__u8 dest[16];
	__be16 source_port;
	__be16 dest_port;		 /* ICMP: type << 8 | code */
	__u32 n_audits;			 /* audit rules that it matched before the deciding one: */
	__u32 audits[SLUICE_AUDITS_MAX]; /* their slots */
};

struct sluice_replay {
	/* written by userspace before each run */
	__u64 now_ns; /* the packet's time: takes the place of CLOCK_MONOTONIC */
	__u32 length; /* bytes of the frame on the wire; there may be fewer in the run */
	__u32 n_hosts;
	__u8 hosts[SLUICE_REPLAY_HOSTS][16]; /* addresses of this host, IPv4-mapped; none: every packet is for it */

	/* written by the programs */
	struct sluice_replay_result result;
};

#endif
