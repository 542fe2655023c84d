// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The bench's packet generator and its floor.
 *
 * live.c runs `generate` with BPF_F_TEST_XDP_LIVE_FRAMES: the kernel gives it recycled pages, millions a second, and the
 * redirect puts each on a veth whose peer is the device under test. A recycled page holds whatever the last receiver
 * left in it, so every frame is written anew from the template. `drop` is the floor: what any XDP program costs at least.
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
	__u8 rest[LIVE_FRAME - 36];
} __attribute__((packed));

static __always_inline __be16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__be16)~sum;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct live_frame *f = (void *)(long)ctx->data;
	__u32 n = next++;
	__u32 number = n * 0x9e3779b1u >> 12;
	__be32 source = bpf_htonl(shape.scatter ? LIVE_SCATTERED(number) : shape.source + (n & shape.source_mask));

	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(f, shape.frame, sizeof(*f));
	f->source = source;
	f->source_port = bpf_htons(shape.port + (n & shape.port_mask));
	f->ip_checksum = fold(shape.checksum + (source & 0xffff) + (source >> 16));
	return bpf_redirect(shape.ifindex, 0);
}

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}
