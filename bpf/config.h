/* SPDX-License-Identifier: Apache-2.0 */
/* Knobs: set between open and load of the skeleton, constant to the verifier afterwards. Each with its meaning. */
#ifndef SLUICE_BPF_CONFIG_H
#define SLUICE_BPF_CONFIG_H

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <sluice/replay.h>

/* A flow's last_seen_ns is stored again only when it is older than this: the cache line of a busy flow stays shared. */
const volatile __u64 flow_touch_ns = 1000000;

/* Also report drops that no rule decided (malformed, anti-spoof, ...) as events; by default they are only counted. */
const volatile bool log_all_drops = false;

/* Packets come from a capture, by test run: their time, length and this host's addresses are those in replay_state. */
const volatile bool replay = false;
struct sluice_replay replay_state;

#endif
