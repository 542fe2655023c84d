/* SPDX-License-Identifier: Apache-2.0 */
/* What live.c tells live.bpf.c: the frame to send and which of its fields to vary. */
#ifndef SLUICE_BENCH_LIVE_H
#define SLUICE_BENCH_LIVE_H

/* Source number n of 1 << 20, one in every /24 from 16.0.0.0 on; run.sh's policy of 1,000,000 prefixes has them all. */
#define LIVE_SCATTERED(n) (0x10000000u + (n) * 256 + ((n) * 7 & 255))

#define LIVE_FRAME 64 /* bytes: Ethernet 14, IPv4 20, UDP 8, payload 22; or TCP 20, MSS option 4, padding 6 */

/* Flow number n: one end is this address, added to the first one, and this port; the other end is fixed. */
#define LIVE_FLOW_PORTS	     16384
#define LIVE_FLOW_ADDRESS(n) ((n) / LIVE_FLOW_PORTS)
#define LIVE_FLOW_PORT(n)    (1024 + (n) % LIVE_FLOW_PORTS)

enum live_order {
	LIVE_IN_TURN,
	LIVE_AT_RANDOM,
	LIVE_EACH_NEW, /* the number only grows: every frame is of a flow that was never seen */
};

struct live_config {
	__u8 frame[LIVE_FRAME]; /* source address, source port and IP checksum are filled in per frame */
	__u32 source;		/* first source address, host order */
	__u32 source_mask;	/* number of sources - 1, a power of two - 1 */
	__u32 port;		/* first source port, host order */
	__u32 port_mask;	/* number of source ports - 1, likewise */
	__u32 checksum;		/* unfolded sum of the IPv4 header with source address 0, network order words */
	__u32 ifindex;		/* where to send, in the namespace of the test run */
	__u32 scatter;		/* 1: sources are LIVE_SCATTERED() of random numbers instead */
	__u32 flows;		/* not 0: so many flows, instead of sources and ports */
	__u32 order;		/* of flows: enum live_order */
	__u32 first;		/* number of the first flow */
	__u32 mirror;		/* 1: what the fixed end of the flows sends */
	__u32 tcp_checksum;	/* of a SYN: unfolded sum of pseudo header and header, without source, port and number */
	__be32 own;		/* program `catch`: the address whose frames pass */
};

#endif
