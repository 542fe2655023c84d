/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When flows end. Part of the flow stage: only flow.h includes it.
 *
 * Every flow carries a timer, armed when it is made. The timer looks at the flow when it fires and either finds that
 * the deadline has moved, and sleeps until the new one, or removes the flow. Expiry thus needs no daemon, and a packet
 * touches the timer only when it brings the deadline closer (FIN, RST, a changed policy).
 *
 * The kernel may have no memory for a timer at that moment. On 6.18, in a memory cgroup without limit and with
 * gigabytes free, bpf_timer_init() was seen to answer -ENOMEM for tens of milliseconds on end. Such a flow goes into
 * arrears: a queue that one timer of its own works through, ten times a second.
 */
#ifndef SLUICE_BPF_EXPIRY_H
#define SLUICE_BPF_EXPIRY_H

#include "pkt.h"

#define CLOCK_MONOTONIC 1

#define FLOW_CLOSING	 (SLUICE_FLOW_FIN(0) | SLUICE_FLOW_FIN(1) | SLUICE_FLOW_RST)
#define FLOW_SHOOK_HANDS (SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1))

#define EBUSY 16

#define TIMER_LEAST_NS 1000000ull /* never re-arm for less: a deadline of now would spin */

#define ARREARS_PERIOD_NS 100000000ull
#define ARREARS_BATCH	  1024 /* flows looked at each period */

static __always_inline enum sluice_timeout flow_timeout_kind(__u8 protocol, __u32 seen)
{
	switch (protocol) {
	case IPPROTO_TCP:
		if (seen & FLOW_CLOSING)
			return SLUICE_T_TCP_CLOSING;
		if ((seen & FLOW_SHOOK_HANDS) == FLOW_SHOOK_HANDS || seen & SLUICE_FLOW_PICKED_UP)
			return SLUICE_T_TCP_ESTABLISHED;
		return SLUICE_T_TCP_OPENING;
	case IPPROTO_UDP:
		return seen & SLUICE_FLOW_REPLIED ? SLUICE_T_UDP_STREAM : SLUICE_T_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return SLUICE_T_ICMP;
	}
	return SLUICE_T_OTHER;
}

/* Nanoseconds without a packet after which the flow is dead, by the policy that is live now. 0: no policy. */
static __always_inline __u64 flow_timeout(__u8 protocol, __u32 seen, __u32 bank)
{
	const struct sluice_policy *p = policy_live(bank);
	__u32 kind = flow_timeout_kind(protocol, seen);

	return p && kind < SLUICE_TIMEOUT_COUNT ? p->timeout_ns[kind] : 0;
}

static __always_inline void flow_count_add(__s64 n)
{
	__u32 zero = 0;
	__s64 *count = bpf_map_lookup_elem(&flow_count, &zero);

	if (count)
		*count += n;
}

#define MARK_MADE  1ull
#define MARK_ENDED (1ull << 32)

/* abi.h, map `flow_marks`. With the old value used, the addition is also a barrier on every architecture. */
static __always_inline void flow_mark_add(const struct sluice_flow_key *key, __u64 what)
{
	__u32 number = sluice_flow_mark(key) & (SLUICE_FLOW_MARKS - 1);
	__u64 *mark = bpf_map_lookup_elem(&flow_marks, &number);
	__u64 old;

	if (!mark)
		return;
	old = __sync_fetch_and_add(mark, what);
	barrier_var(old);
}

static __always_inline void flow_remove(const struct sluice_flow_key *key)
{
	if (bpf_map_delete_elem(&flows, key))
		return;
	flow_mark_add(key, MARK_ENDED);
	flow_count_add(-1);
}

/* CLOCK_MONOTONIC ns after which the flow is dead. Asks for the live bank itself: timers run without a packet. */
static __always_inline __u64 flow_deadline(const struct sluice_flow_key *key, const struct sluice_flow *flow)
{
	__u64 generation = 0;
	struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	if (c)
		generation = *(volatile __u64 *)&c->generation;
	return flow->last_seen_ns + flow_timeout(key->protocol, flow->seen, generation & 1);
}

/* Timer of a flow. */
static int flow_expire(void *map, struct sluice_flow_key *key, struct sluice_flow *flow)
{
	__u64 now = bpf_ktime_get_ns(), deadline;
	struct sluice_flow_key copy = *key;

	deadline = flow_deadline(&copy, flow);
	if (deadline > now + TIMER_LEAST_NS)
		bpf_timer_start(&flow->timer, deadline - now, 0);
	else
		flow_remove(&copy);
	return 0;
}

/* Timers run on this machine's time: in a replay userspace keeps them instead, told of each that is to be armed. */
static __always_inline void replay_arm(const struct sluice_flow_key *key, __u64 end_ns)
{
	replay_state.result.armed = 1;
	replay_state.result.key = *key;
	replay_state.result.end_ns = end_ns;
}

/* ---- arrears ---- */

/* One flow of the queue: ended, or queued again. A flow that has ended otherwise and come back with a timer leaves it.
 */
static long arrears_visit(__u32 i, void *now)
{
	struct sluice_flow_key key;
	struct sluice_flow *flow;

	if (bpf_map_pop_elem(&arrears, &key))
		return 1;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || !(flow->seen & SLUICE_FLOW_ARREARS))
		return 0;
	if (flow_deadline(&key, flow) <= *(__u64 *)now || bpf_map_push_elem(&arrears, &key, 0))
		flow_remove(&key);
	return 0;
}

/* The timer of all flows in arrears. Once started it never stops: a look at an empty queue costs nothing. */
static int arrears_expire(void *map, __u32 *key, struct arrears_clock *clock)
{
	__u64 now = bpf_ktime_get_ns();

	bpf_loop(ARREARS_BATCH, arrears_visit, &now, 0);
	bpf_timer_start(&clock->timer, ARREARS_PERIOD_NS, 0);
	return 0;
}

/*
 * Starts the clock with the first flow ever, long before it is needed, and tries again with each flow until it runs.
 * True if it runs.
 */
static __always_inline bool arrears_ready(void)
{
	__u32 zero = 0;
	struct arrears_clock *clock = bpf_map_lookup_elem(&arrears_clock, &zero);
	long r;

	if (!clock)
		return false;
	if (clock->runs)
		return true;
	r = bpf_timer_init(&clock->timer, &arrears_clock, CLOCK_MONOTONIC);
	if (r) /* -EBUSY: another CPU is at it */
		return r == -EBUSY;
	if (bpf_timer_set_callback(&clock->timer, arrears_expire) ||
	    bpf_timer_start(&clock->timer, ARREARS_PERIOD_NS, 0))
		return false;
	clock->runs = 1;
	return true;
}

/*
 * Makes sure that a new flow will end. 0, or negative: nothing would end it, and it must not stay. -EBUSY is another
 * CPU that was faster with the same flow.
 */
static __always_inline long expiry_begin(const struct sluice_flow_key *key, struct sluice_flow *flow, __u64 timeout)
{
	bool ready;
	long r;

	if (replay) {
		replay_arm(key, flow->last_seen_ns + timeout);
		return 0;
	}
	ready = arrears_ready();
	r = bpf_timer_init(&flow->timer, &flows, CLOCK_MONOTONIC);
	if (r == -EBUSY)
		return 0;
	if (!r)
		return bpf_timer_set_callback(&flow->timer, flow_expire) ?: bpf_timer_start(&flow->timer, timeout, 0);
	__sync_fetch_and_or(&flow->seen, SLUICE_FLOW_ARREARS);
	return ready ? bpf_map_push_elem(&arrears, key, 0) : r;
}

#endif
