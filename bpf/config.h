/* SPDX-License-Identifier: Apache-2.0 */
/* Knobs: set between open and load of the skeleton, constant to the verifier afterwards. Each with its meaning. */
#ifndef SLUICE_BPF_CONFIG_H
#define SLUICE_BPF_CONFIG_H

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <sluice/replay.h>

/* Buckets of the flow table and the secret of its hash, of the folder that this object is loaded for. */
const volatile __u32 flow_buckets = 1;
const volatile __u64 flow_seed = 0;

/* Also report drops that no rule decided (malformed, anti-spoof, ...) as events; by default they are only counted. */
const volatile bool log_all_drops = false;

/* The kernel has bpf_cast_to_kern_ctx(): see route.h. */
const volatile bool kernel_context = false;

/* Packets come from a capture, by test run: their time, length and this host's addresses are those in replay_state. */
const volatile bool replay = false;
struct sluice_replay replay_state;

#endif
