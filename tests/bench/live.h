/* SPDX-License-Identifier: Apache-2.0 */
/* What live.c tells live.bpf.c: the frame to send and which of its fields to vary. */
#ifndef SLUICE_BENCH_LIVE_H
#define SLUICE_BENCH_LIVE_H

#define LIVE_FRAME 64 /* bytes: Ethernet 14, IPv4 20, UDP 8, payload 22 */

struct live_config {
	__u8 frame[LIVE_FRAME]; /* source address, source port and IP checksum are filled in per frame */
	__u32 source;		/* first source address, host order */
	__u32 source_mask;	/* number of sources - 1, a power of two - 1 */
	__u32 port;		/* first source port, host order */
	__u32 port_mask;	/* number of source ports - 1, likewise */
	__u32 checksum;		/* unfolded sum of the IPv4 header with source address 0, network order words */
	__u32 ifindex;		/* where to send, in the namespace of the test run */
};

#endif
