// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * Gives each new connection of a portal to the next reactor in turn. `sluice target` loads one instance a portal and
 * attaches it to the SO_REUSEPORT group of that portal's listening sockets, one socket a reactor; nothing is pinned: it
 * lives with the target.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#define REACTORS_MAX 256

/* Listening sockets of the portal, by reactor: entries 0 to reactors - 1 are filled. */
const volatile __u32 reactors = 1;

/* Listening sockets. Writer: dataplane (steering). Reader: here. One a reactor. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, REACTORS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

/* Connections given out so far. Writer and reader: here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} turns SEC(".maps");

/* SK_PASS without a selected socket leaves the choice to the kernel's hash: a connection is never refused here. */
SEC("sk_reuseport")
int sluice_reuseport(struct sk_reuseport_md *ctx)
{
	__u32 zero = 0, reactor;
	__u64 *turn = bpf_map_lookup_elem(&turns, &zero);

	if (!turn || !reactors)
		return SK_PASS;
	reactor = __sync_fetch_and_add(turn, 1) % reactors;
	bpf_sk_select_reuseport(ctx, &listeners, &reactor, 0);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
