/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When flows end. Part of the flow stage.
 *
 * One timer walks the table, all of it once a second, in slices: it retires flows whose time is over and frees what was
 * retired before. Expiry thus needs no daemon, and no packet pays for it. A packet that finds a flow whose time is over
 * treats it as ended (flow.h), so that the timer's pace is seen by nobody. The timer sleeps while there is no flow.
 */
#ifndef SLUICE_BPF_EXPIRY_H
#define SLUICE_BPF_EXPIRY_H

#include "table.h"

#define CLOCK_MONOTONIC 1

#define EBUSY 16

#define SWEEP_SLICES	20
#define SWEEP_PERIOD_NS (1000000000ull / SWEEP_SLICES)

enum clock_phase {
	CLOCK_NONE,  /* no timer yet */
	CLOCK_SETUP, /* a CPU is at it */
	CLOCK_STOPPED,
	CLOCK_RUNS,
};

struct sweep {
	__u64 now_ns;
	__u32 bank;
	__u32 first; /* bucket */
};

/* CLOCK_MONOTONIC ns, or the capture's. */
static __always_inline __u64 sweep_now(void)
{
	return replay ? replay_state.now_ns : bpf_ktime_get_ns();
}

static __always_inline void sweep_unit(struct sluice_flow_bucket *b, __u32 i, const struct sweep *s)
{
	__u32 tag = *(volatile __u32 *)&b->tag[i], state = tag & SLUICE_TAG_STATE;

	if (state == SLUICE_TAG_LIVE || state == SLUICE_TAG_LIVE6) {
		if (flow_is_over(&b->unit[i].flow, s->now_ns, s->bank))
			flow_retire(b, i, s->now_ns);
	} else if (state >= SLUICE_TAG_RETIRED) {
		unit_release(b, i, tag, s->now_ns);
	}
}

static long sweep_bucket(__u32 n, void *arg)
{
	const struct sweep *s = arg;
	__u32 number = s->first + n, i;
	struct sluice_flow_bucket *b;

	b = bucket_at(number < flow_buckets ? number : number - flow_buckets);
	if (!b)
		return 1;
	for (i = 0; i < SLUICE_FLOW_UNITS; i++)
		sweep_unit(b, i, s);
	return 0;
}

/* Looks at `count` buckets from `first` on, by the timeouts of the policy that is live now. */
static __noinline void sweep(__u32 first, __u32 count)
{
	struct sweep s = {.now_ns = sweep_now(), .first = first};
	struct sluice_control *c;
	__u32 zero = 0;

	c = bpf_map_lookup_elem(&control, &zero);
	if (!c)
		return;
	s.bank = *(volatile __u64 *)&c->generation & 1;
	bpf_loop(count, sweep_bucket, &s, 0);
}

static __always_inline bool clock_move(struct flow_clock *clock, enum clock_phase from, enum clock_phase to)
{
	return __sync_val_compare_and_swap(&clock->phase, from, to) == from;
}

/*
 * The timer. It stops when there is no flow, and only then: who makes one counts it first and looks at the clock
 * afterwards, and this looks again after it has stopped. A second without flows still frees what was retired.
 */
static int clock_fire(void *map, __u32 *key, struct flow_clock *clock)
{
	__u32 slice = flow_buckets / SWEEP_SLICES + 1, next = clock->next;
	struct sluice_flow_totals *t = totals();

	sweep(next, slice);
	next += slice;
	clock->next = next < flow_buckets ? next : 0;
	if (t && !clock->next && !*(volatile __u32 *)&t->flows && clock_move(clock, CLOCK_RUNS, CLOCK_STOPPED) &&
	    (!*(volatile __u32 *)&t->flows || !clock_move(clock, CLOCK_STOPPED, CLOCK_RUNS)))
		return 0;
	bpf_timer_start(&clock->timer, SWEEP_PERIOD_NS, 0);
	return 0;
}

static __always_inline void clock_make(struct flow_clock *clock)
{
	long r;

	if (!clock_move(clock, CLOCK_NONE, CLOCK_SETUP))
		return;
	r = bpf_timer_init(&clock->timer, &flow_clock, CLOCK_MONOTONIC);
	if (!r || r == -EBUSY)
		r = bpf_timer_set_callback(&clock->timer, clock_fire);
	clock_move(clock, CLOCK_SETUP, r ? CLOCK_NONE : CLOCK_STOPPED);
}

/*
 * Called for every new flow, after it was counted. Where the kernel has no memory for the timer now, the next flow asks
 * again; meanwhile flows end when they are met.
 */
static __always_inline void clock_run(void)
{
	struct flow_clock *clock;
	__u32 zero = 0;

	clock = bpf_map_lookup_elem(&flow_clock, &zero);
	if (!clock || replay || *(volatile __u32 *)&clock->phase == CLOCK_RUNS)
		return;
	clock_make(clock);
	if (clock_move(clock, CLOCK_STOPPED, CLOCK_RUNS))
		bpf_timer_start(&clock->timer, SWEEP_PERIOD_NS, 0);
}

#endif
