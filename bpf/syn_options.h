/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP options in a handshake by SYN cookie. A cookie has room for the MSS only. What else the SYN offered comes
 * back in the time stamp that its sender echoes: its lowest 6 bits are set to say it, as the kernel does and as it
 * reads them (cookie_init_timestamp(), cookie_timestamp_decode() in net/ipv4/syncookies.c).
 *
 * The kernel adds a secret offset to time stamps, by pair of addresses, unless net.ipv4.tcp_timestamps is 2. It
 * would take the offset off our bits too, and read nonsense. So time stamps, and with them window scaling, SACK and
 * ECN, are offered with 2 only; a connection without them works, in smaller windows. The settings are read off the
 * listener's namespace each time.
 */
#ifndef SLUICE_BPF_SYN_OPTIONS_H
#define SLUICE_BPF_SYN_OPTIONS_H

#include <bpf/bpf_core_read.h>

#include "pkt.h"

#define TCP_OPTIONS_MAX 40

#define TCP_ECE 0x40
#define TCP_CWR 0x80
#define TCP_AE	0x01 /* of the byte before the flags: accurate ECN, RFC 9768 */

#define OPTION_END	 0
#define OPTION_NOP	 1
#define OPTION_WSCALE	 3
#define OPTION_SACK	 4
#define OPTION_TIMESTAMP 8

#define STAMP_NO_WSCALE 0xf
#define STAMP_SACK	0x10
#define STAMP_ECN	0x20
#define STAMP_OPTIONS	0x3f
#define WSCALE_MAX	14

#define SOCK_RCVBUF_SET 2 /* SOCK_RCVBUF_LOCK: setsockopt() has said how large */

/* As much of the kernel's types as is read here; found by name when the program is loaded. */
#define KERNEL_TYPE __attribute__((preserve_access_index))
struct netns_ipv4___syn {
	__u8 sysctl_tcp_timestamps;
	__u8 sysctl_tcp_sack;
	__u8 sysctl_tcp_window_scaling;
	__u8 sysctl_tcp_ecn;
	int sysctl_tcp_rmem[3];
} KERNEL_TYPE;
struct net___syn {
	struct netns_ipv4___syn ipv4;
} KERNEL_TYPE;
typedef struct {
	struct net___syn *net;
} possible_net_t___syn;
struct sock_common___syn {
	possible_net_t___syn skc_net;
} KERNEL_TYPE;
struct sock___syn {
	struct sock_common___syn __sk_common;
	__u8 sk_userlocks : 4;
} KERNEL_TYPE;
struct inet_sock___syn {
	struct sock___syn sk;
} KERNEL_TYPE;
struct inet_connection_sock___syn {
	struct inet_sock___syn icsk_inet;
} KERNEL_TYPE;
struct tcp_sock___syn {
	struct inet_connection_sock___syn inet_conn;
	__u32 window_clamp;
} KERNEL_TYPE;
#undef KERNEL_TYPE

/* What the SYN offers, and of that what the answer takes. */
struct syn_options {
	__be32 stamp; /* its time stamp, to be echoed */
	__u32 at;     /* where in the options the reading is */
	__u32 length; /* of the options */
	__u8 stamped;
	__u8 sack;
	__u8 ecn;
	__u8 scaled;
	__u8 scale; /* of its windows */
	__u8 our_scale;
	__u8 reserved[2];
};

/* log2 of a window's size, without loops. */
static __always_inline __u32 log2_of(__u32 x)
{
	__u32 r = (x > 0xffff) << 4, s;

	x >>= r;
	s = (x > 0xff) << 3;
	x >>= s;
	r |= s;
	s = (x > 0xf) << 2;
	x >>= s;
	r |= s;
	s = (x > 3) << 1;
	return r | s | (x >> s) >> 1;
}

/*
 * The scale that the kernel will assume to have announced, as tcp_select_initial_window() finds it. `rmem_max`:
 * net.core.rmem_max, as userspace has read it.
 */
static __always_inline __u32 syn_our_scale(const struct netns_ipv4___syn *ipv4, __u32 rmem_max)
{
	__u32 space = ipv4->sysctl_tcp_rmem[2], bits;

	space = space > rmem_max ? space : rmem_max;
	bits = log2_of(space);
	return bits < 15 ? 0 : bits - 15 > WSCALE_MAX ? WSCALE_MAX : bits - 15;
}

/* Takes out of `o` what the kernel behind the listener would not make of the time stamp. */
static __always_inline void syn_options_settle(const struct tcp_sock___syn *listener, __u32 rmem_max,
					       struct syn_options *o)
{
	const struct sock___syn *sk = &listener->inet_conn.icsk_inet.sk;
	const struct netns_ipv4___syn *ipv4 = &sk->__sk_common.skc_net.net->ipv4;

	/* A listener whose windows are bounded announces another scale. */
	if (ipv4->sysctl_tcp_timestamps != 2 || listener->window_clamp ||
	    (BPF_CORE_READ_BITFIELD(sk, sk_userlocks) & SOCK_RCVBUF_SET))
		o->stamped = 0;
	if (!o->stamped || !ipv4->sysctl_tcp_sack)
		o->sack = 0;
	if (!o->stamped || !ipv4->sysctl_tcp_ecn)
		o->ecn = 0;
	if (!o->stamped || !ipv4->sysctl_tcp_window_scaling)
		o->scaled = 0;
	o->our_scale = syn_our_scale(ipv4, rmem_max);
}

/* The time stamp that says what was agreed, not later than now. */
static __always_inline __u32 syn_stamp(const struct syn_options *o)
{
	__u32 now = bpf_ktime_get_ns() / 1000000, stamp;

	stamp = (now & ~STAMP_OPTIONS) | (o->scaled ? o->scale : STAMP_NO_WSCALE);
	stamp |= (o->sack ? STAMP_SACK : 0) | (o->ecn ? STAMP_ECN : 0);
	return stamp > now ? stamp - (STAMP_OPTIONS + 1) : stamp;
}

/* Writes the options of the answer: at most 20 bytes, whose number is returned. */
static __always_inline __u32 syn_options_write(const struct syn_options *o, __u32 mss, __be32 to[5])
{
	to[0] = bpf_htonl(0x02040000 | mss);
	if (!o->stamped)
		return 4;
	to[1] = bpf_htonl((o->sack ? OPTION_SACK << 24 | 2 << 16 : OPTION_NOP << 24 | OPTION_NOP << 16) |
			  OPTION_TIMESTAMP << 8 | 10);
	to[2] = bpf_htonl(syn_stamp(o));
	to[3] = o->stamp;
	if (!o->scaled)
		return 16;
	to[4] = bpf_htonl(OPTION_NOP << 24 | OPTION_WSCALE << 16 | 3 << 8 | o->our_scale);
	return 20;
}

#endif
