/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every map of the kernel half. All are pinned by name and outlive whoever made them; "Writer" and "Reader" say which
 * side touches a map, so that nobody has to search. Sizes that userspace may change before load say so.
 */
#ifndef SLUICE_BPF_MAPS_H
#define SLUICE_BPF_MAPS_H

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <sluice/abi.h>

/*
 * Which bank is live. Writers: dataplane (attach, apply), confirm.h. Reader: pkt.h, once a packet. One entry, mmapable.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_control);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} control SEC(".maps");

/*
 * The policy, twice. Outer maps: one inner array a bank. Writer: dataplane (apply), the spare bank only. Readers:
 * words.h, classify.h, account.h. The inner map here is the template that the kernel holds real ones against: type, flags
 * and value must match, the number of entries need not where BPF_F_INNER_MAP says so.
 */
#define BANK_TABLE(table, value_type, entries)                                                                         \
	struct bank_##table {                                                                                          \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(map_flags, BPF_F_MMAPABLE | ((entries) ? 0 : BPF_F_INNER_MAP));                                 \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, value_type);                                                                             \
	};                                                                                                             \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                                              \
		__uint(max_entries, 2);                                                                                \
		__type(key, __u32);                                                                                    \
		__uint(pinning, LIBBPF_PIN_BY_NAME);                                                                   \
		__array(values, struct bank_##table);                                                                  \
	} table SEC(".maps");
SLUICE_BANK_TABLES(BANK_TABLE)
#undef BANK_TABLE

/*
 * Keeps the value types whole in BTF. clang 14 emits a struct that is reached only through a member of an inner map's
 * template as a forward declaration, and libbpf then says "map 'policy.inner': can't determine value size". Never read.
 */
union inner_values {
	struct bpf_cpumap_val cpu_table;
#define BANK_VALUE(table, value_type, entries) value_type table;
	SLUICE_BANK_TABLES(BANK_VALUE)
#undef BANK_VALUE
};
union inner_values *const inner_values_in_btf __attribute__((used)) = 0;

/*
 * Tenant of an interface and VLAN, both banks. Writer: dataplane (apply). Reader: tenant.h. 8192: interfaces times
 * VLANs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct sluice_interface_key);
	__type(value, struct sluice_interface);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} interfaces SEC(".maps");

/* See abi.h. Writer: dataplane (apply). Reader: tenant.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLUICE_UNTAGGED * 2);
	__type(key, __u32);
	__type(value, struct sluice_interface);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} untagged SEC(".maps");

/* See abi.h. Writer: dataplane (apply). Reader: tunnel.h. 65536: interfaces times VNIs, both banks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sluice_tunnel_key);
	__type(value, struct sluice_tunnel);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} tunnels SEC(".maps");

/* See abi.h. Writer: dataplane (apply). Reader: forward.h. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, SLUICE_PORTS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ports SEC(".maps");

/* The coarse clock as each CPU has read it last. Writer, reader: pkt.h. One entry. */
struct tick {
	__u64 jiffies; /* 0: never */
	__u64 now_ns;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tick);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ticks SEC(".maps");

/* By enum sluice_forward. Writer: forward.h. Reader: dataplane (status). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_FORWARD_COUNT);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} forwards SEC(".maps");

/* A policy on trial. Writer: confirm.h. Reader: dataplane (apply, status). One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_confirm);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} confirm SEC(".maps");

/*
 * Live flows, by bucket: flow.h of the contract. Writer: table.h. Readers: table.h, dataplane. Userspace sets the size
 * before load, and the knob `flow_buckets` to the same.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_flow_bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");

/* See flow.h of the contract. Writer: table.h. Readers: flow.h, door.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLUICE_FLOW_MARKS);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_marks SEC(".maps");

/* How many flows there are. Writer: table.h. Reader: table.h, dataplane (status). One entry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_flow_totals);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_totals SEC(".maps");

/* The timer that ends flows. Writer, reader: expiry.h. One entry. */
struct flow_clock {
	struct bpf_timer timer;
	__u32 phase; /* enum clock_phase */
	__u32 next;  /* bucket that it looks at next */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_clock);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flow_clock SEC(".maps");

/* What the first fragment of a datagram got. Writer, reader: fragment.h. 64 Ki: 30 s of datagrams, oldest evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_FRAGMENTS);
	__type(key, struct sluice_fragment_key);
	__type(value, struct sluice_fragment);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fragments SEC(".maps");

/* See abi.h. Writer: dataplane (apply). Reader: limit.h. 4 MiB. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2 * SLUICE_MAX_RULES);
	__type(key, __u32);
	__type(value, struct sluice_limit);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} limits SEC(".maps");

/* See abi.h. Writers: limit.h, dataplane (apply: full buckets for new rules). 1 MiB. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_MAX_RULES);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} limit_buckets SEC(".maps");

/* See abi.h. Writer, reader: limit.h. 2 MiB; mmapable so that sets begin with cache lines. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_LIMIT_SETS);
	__type(key, __u32);
	__type(value, struct sluice_limit_set);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} limit_sources SEC(".maps");

/* By counter slot. Writer: account.h. Reader: dataplane (status). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_MAX_RULES);
	__type(key, __u32);
	__type(value, struct sluice_rule_counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} rule_counters SEC(".maps");

/* By reason. Writer: account.h. Readers: dataplane (status), tests. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_REASON_COUNT);
	__type(key, __u32);
	__type(value, struct sluice_reason_counter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} reason_counters SEC(".maps");

/* Time of a rule's last event by counter slot, CLOCK_MONOTONIC ns. Writer, reader: account.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLUICE_MAX_RULES);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} rule_logs SEC(".maps");

/* Logged verdicts, struct sluice_event. Writer: account.h. Reader: dataplane (events). 1 MiB: some 11,000 events. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

/* Events that found the ring full. Writer: account.h. Reader: dataplane (status). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} lost_events SEC(".maps");

/* Answers to rejected packets, and those that got none. Writer: reject.h. Reader: dataplane (status). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_answers);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} answers SEC(".maps");

/* The rate of answers, and how our own are known. Writer: dataplane (when loaded), reject.h. Reader: reject.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_answer_state);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} answer_state SEC(".maps");

/* Reactor of a connection. Writer: sluice target. Reader: steer.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SLUICE_MAX_QUEUES);
	__type(key, struct sluice_steer_key);
	__type(value, struct sluice_steer);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} steering SEC(".maps");

/* Packets of a queue by the CPU that processed them. Writer: steer.h. Reader: dataplane (steering). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_MAX_QUEUES);
	__type(key, __u32);
	__type(value, struct sluice_queue_packets);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} queue_packets SEC(".maps");

/*
 * Its one entry is the table of where steered packets move to, by CPU number; an entry of that has the program
 * sluice_cpumap. Writer: dataplane (steering). Reader: steer.h. Userspace makes the table, as long as there are
 * possible CPUs: the kernel refuses more than it has.
 *
 * A map within a map, because a program that names a cpumap owns it: from then on the kernel lets only its like into
 * the entries. Since 2024 (6.12, and Debian's 6.1) what a program replaces counts for that too, and behind libxdp's
 * dispatcher sluice_xdp replaces a function. No program for cpumaps does, so none was let in.
 */
struct cpu_table {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1); /* a pattern: lengths may differ */
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__array(values, struct cpu_table);
} cpus SEC(".maps");

#endif
