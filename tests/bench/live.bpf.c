// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The bench's packet generator and its floor.
 *
 * live.c runs `generate` with BPF_F_TEST_XDP_LIVE_FRAMES: the kernel gives it recycled pages, millions a second, and the
 * redirect puts each on a veth whose peer is the device under test. A recycled page holds whatever the last receiver
 * left in it, so every frame is written anew from the template. `drop` is the floor: what any XDP program costs at least;
 * `redirect` is that of whoever sends frames on: it does nothing else.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "live.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct live_config shape = {}; /* set before load, constant from then on */

__u32 next = 0; /* one test run at a time: no other writer */

struct live_frame {
	__u8 ethernet[14];
	__u8 ip_head[10]; /* up to the checksum */
	__be16 ip_checksum;
	__be32 source;
	__be32 dest;
	__be16 source_port;
	__be16 dest_port;
	__u8 rest[LIVE_FRAME - 38];
} __attribute__((packed));

static __always_inline __be16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__be16)~sum;
}

static __always_inline __u32 mix(__u32 x)
{
	x = (x ^ x >> 16) * 0x85ebca6bu;
	x = (x ^ x >> 13) * 0xc2b2ae35u;
	return x ^ x >> 16;
}

static __always_inline __u32 flow_number(__u32 n)
{
	if (shape.order == LIVE_EACH_NEW)
		return shape.first + n;
	if (shape.order == LIVE_AT_RANDOM)
		return shape.first + ((__u64)mix(n) * shape.flows >> 32);
	return shape.first + n % shape.flows;
}

/* Puts in the end that varies; returns its address. */
static __always_inline __be32 flow_end(struct live_frame *f, __u32 number)
{
	__be32 address = bpf_htonl(shape.source + LIVE_FLOW_ADDRESS(number));
	__be16 port = bpf_htons(LIVE_FLOW_PORT(number));

	if (shape.mirror) {
		f->dest = address;
		f->dest_port = port;
	} else {
		f->source = address;
		f->source_port = port;
	}
	return address;
}

static __always_inline __be32 source_end(struct live_frame *f, __u32 n)
{
	__u32 number = n * 0x9e3779b1u >> 12;

	f->source = bpf_htonl(shape.scatter ? LIVE_SCATTERED(number) : shape.source + (n & shape.source_mask));
	f->source_port = bpf_htons(shape.port + (n & shape.port_mask));
	return f->source;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct live_frame *f = (void *)(long)ctx->data;
	__u32 n = next++;
	__be32 address;

	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(f, shape.frame, sizeof(*f));
	address = shape.flows ? flow_end(f, flow_number(n)) : source_end(f, n);
	f->ip_checksum = fold(shape.checksum + (address & 0xffff) + (address >> 16));
	return bpf_redirect(shape.ifindex, 0);
}

struct syn_frame {
	__u8 ethernet[14];
	__u8 ip_head[10];
	__be16 ip_checksum;
	__be32 source;
	__be32 dest;
	__be16 source_port;
	__be16 dest_port;
	__be32 number;
	__u8 tcp_rest[8]; /* acknowledgment, offset, flags, window */
	__be16 tcp_checksum;
	__u8 rest[LIVE_FRAME - 52];
} __attribute__((packed));

/* A SYN flood: source, port and sequence number are random, and every frame is a sound SYN. */
SEC("xdp")
int generate_syn(struct xdp_md *ctx)
{
	struct syn_frame *f = (void *)(long)ctx->data;
	__u32 x = mix(next++), y = mix(x ^ 0x9e3779b1u);
	__be32 source = bpf_htonl(shape.source + (x & shape.source_mask)), number = bpf_htonl(mix(y));
	__be16 port = bpf_htons(shape.port + (y & shape.port_mask));
	__u32 sum = (source & 0xffff) + (source >> 16);

	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(f, shape.frame, sizeof(*f));
	f->source = source;
	f->source_port = port;
	f->number = number;
	f->ip_checksum = fold(shape.checksum + sum);
	f->tcp_checksum = fold(shape.tcp_checksum + sum + port + (number & 0xffff) + (number >> 16));
	return bpf_redirect(shape.ifindex, 0);
}

/* Stands for the rest of the network at a generator's device: takes what is sent to anybody but the device's own host. */
SEC("xdp")
int catch(struct xdp_md *ctx)
{
	const struct live_frame *f = (const void *)(long)ctx->data;

	if ((const void *)(f + 1) > (const void *)(long)ctx->data_end)
		return XDP_PASS;
	return f->ethernet[12] == 8 && !f->ethernet[13] && f->dest != shape.own ? XDP_DROP : XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} way_out SEC(".maps");

SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&way_out, 0, XDP_ABORTED);
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}
