// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * What a lookup costs by test run: the very functions of bpf/, over the tables of an applied policy, for tuples that
 * lookup.c has put into an array in random order. Each program does LOOKUP_BATCH of them a run; `empty` does all of it but the
 * lookup. `drive` writes each tuple into the frame and jumps into the real sluice_xdp.
 */
#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "classify.h"
#include "config.h"
#include "lookup.h"
#include "pkt.h"
#include "prefix.h"
#include "words.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LOOKUP_TUPLES);
	__type(key, __u32);
	__type(value, struct tuple);
} tuples SEC(".maps");

struct lpm4_key {
	__u32 length;
	__u8 address[4];
};

struct lpm6_key {
	__u32 length;
	__u8 address[16];
};

#define LPM(name, key_type)                                                                                            \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                                                   \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                  \
		__uint(max_entries, 1 << 20);                                                                          \
		__type(key, key_type);                                                                                 \
		__type(value, __u32);                                                                                  \
	} name SEC(".maps")

LPM(trie4, struct lpm4_key);
LPM(trie6, struct lpm6_key);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} jump SEC(".maps");

__u32 position = 0;
__u32 sink = 0; /* so that no lookup is for nothing */

/* Each global, so that it is verified once and costs a call; the empty one too. */
__noinline int look_empty(const struct tuple *t)
{
	return t ? t->source[15] : 0;
}

__noinline int look_prefix(const struct tuple *t)
{
	const struct sluice_policy *p;
	struct words w;

	if (!t)
		return 0;
	p = policy_live(t->bank);
	words_open(&w, t->bank);
	return p ? prefix_lookup(&w, p, t, t->source) : 0;
}

__noinline int look_lpm4(const struct tuple *t)
{
	struct lpm4_key key = {.length = 32};
	const __u32 *found;

	if (!t)
		return 0;
	__builtin_memcpy(key.address, t->source + 12, 4);
	found = bpf_map_lookup_elem(&trie4, &key);
	return found ? *found : 0;
}

__noinline int look_lpm6(const struct tuple *t)
{
	struct lpm6_key key = {.length = 128};
	const __u32 *found;

	if (!t)
		return 0;
	addr_copy(key.address, t->source);
	found = bpf_map_lookup_elem(&trie6, &key);
	return found ? *found : 0;
}

__noinline int look_decide(const struct tuple *t)
{
	struct decision d = {};

	if (!t || classify(t, &d))
		return 0;
	return d.rule;
}

#define PROGRAM(name)                                                                                                  \
	SEC("xdp") int name(struct xdp_md *ctx)                                                                        \
	{                                                                                                              \
		__u32 at = position;                                                                                   \
                                                                                                                       \
		for (int i = 0; i < LOOKUP_BATCH; i++) {                                                               \
			__u32 number = (at + i) & (LOOKUP_TUPLES - 1);                                                 \
			const struct tuple *t = bpf_map_lookup_elem(&tuples, &number);                                 \
                                                                                                                       \
			if (t)                                                                                         \
				sink += look_##name(t);                                                                \
		}                                                                                                      \
		position = at + LOOKUP_BATCH;                                                                          \
		return XDP_PASS;                                                                                       \
	}

PROGRAM(empty)
PROGRAM(prefix)
PROGRAM(lpm4)
PROGRAM(lpm6)
PROGRAM(decide)

struct drive_frame {
	struct ethhdr ethernet;
	__u16 head[10]; /* IPv4 */
	__u16 rest[15]; /* TCP or UDP */
};

/* The next tuple as a frame, a SYN or a datagram, into the real program. Returns XDP_ABORTED where there is none. */
SEC("xdp.frags")
int drive(struct xdp_md *ctx)
{
	struct drive_frame *f = (void *)(long)ctx->data;
	__u32 number = position++ & (LOOKUP_TUPLES - 1), sum = 0;
	const struct tuple *t = bpf_map_lookup_elem(&tuples, &number);

	if (!t || (void *)(f + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	f->head[4] = bpf_htons(64 << 8 | t->protocol);
	f->head[5] = 0;
	f->head[6] = *(const __u16 *)(t->source + 12);
	f->head[7] = *(const __u16 *)(t->source + 14);
	f->head[8] = *(const __u16 *)(t->dest + 12);
	f->head[9] = *(const __u16 *)(t->dest + 14);
	for (int i = 0; i < 10; i++)
		sum += f->head[i];
	sum = (sum & 0xffff) + (sum >> 16);
	f->head[5] = ~((sum & 0xffff) + (sum >> 16));
	f->rest[0] = t->source_port;
	f->rest[1] = t->dest_port;
	f->rest[2] = bpf_htons(sizeof(f->rest));
	f->rest[6] = bpf_htons(5 << 12 | TCP_SYN);
	bpf_tail_call(ctx, &jump, 0);
	return XDP_ABORTED;
}
