/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy on trial: it is in force at once, and a timer puts the previous one back unless somebody keeps it. All of it
 * happens in here, so that the way back needs no process: neither a daemon nor the shell that applied. The flip and the
 * start of the timer are one run of one program, which nothing interrupts halfway.
 *
 * Three may want to end the trial at once: the timer, `sluice confirm`, `sluice rollback`. Whoever moves the word has
 * decided, the others find it moved.
 */
#ifndef SLUICE_BPF_CONFIRM_H
#define SLUICE_BPF_CONFIRM_H

#include "expiry.h"
#include "maps.h"

#define ENOENT 2
#define EINVAL 22
#define ESTALE 116

static __always_inline struct sluice_confirm *confirm_entry(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&confirm, &zero);
}

static __always_inline __u64 confirm_word(__u64 generation, enum sluice_confirm_phase phase)
{
	return generation << SLUICE_CONFIRM_SHIFT | phase;
}

/* True for the one who ends the trial of `generation`. */
static __always_inline bool confirm_end(struct sluice_confirm *c, __u64 generation, enum sluice_confirm_phase phase)
{
	__u64 pending = confirm_word(generation, SLUICE_CONFIRM_PENDING);

	if (__sync_val_compare_and_swap(&c->word, pending, confirm_word(generation, phase)) != pending)
		return false;
	c->ended_ns = bpf_ktime_get_ns();
	return true;
}

/* Ends the trial and goes back. The bank of the previous generation is whole: no apply writes it while this is pending.
 */
static __always_inline bool confirm_take_back(struct sluice_confirm *c, __u64 generation,
					      enum sluice_confirm_phase phase)
{
	struct sluice_control *live;
	__u32 zero = 0;

	live = bpf_map_lookup_elem(&control, &zero);
	if (!live || !confirm_end(c, generation, phase))
		return false;
	__sync_val_compare_and_swap(&live->generation, generation, c->previous);
	return true;
}

/* The timer. One of an earlier trial, still under way, would find a deadline that has not come. */
static int confirm_expire(void *map, __u32 *key, struct sluice_confirm *c)
{
	__u64 word = *(volatile __u64 *)&c->word;

	if ((word & SLUICE_CONFIRM_PHASE) == SLUICE_CONFIRM_PENDING && bpf_ktime_get_ns() >= c->deadline_ns)
		confirm_take_back(c, word >> SLUICE_CONFIRM_SHIFT, SLUICE_CONFIRM_EXPIRED);
	return 0;
}

static __always_inline int confirm_prepare(struct sluice_confirm *c)
{
	int r = bpf_timer_init(&c->timer, &confirm, CLOCK_MONOTONIC);

	if (r && r != -EBUSY) /* busy: it is there from an earlier trial */
		return r;
	return bpf_timer_set_callback(&c->timer, confirm_expire);
}

static __always_inline int confirm_begin(struct sluice_confirm *c, const struct sluice_confirm_call *call)
{
	struct sluice_control *live;
	__u32 zero = 0;
	int r;

	live = bpf_map_lookup_elem(&control, &zero);
	if (!live)
		return -ENOENT;
	c->previous = call->previous;
	c->ended_ns = 0;
	c->deadline_ns = bpf_ktime_get_ns() + call->delay_ns;
	*(volatile __u64 *)&c->word = confirm_word(call->generation, SLUICE_CONFIRM_PENDING);
	*(volatile __u64 *)&live->generation = call->generation;
	/* Last: it must not find a trial that has not begun. */
	r = bpf_timer_start(&c->timer, call->delay_ns, 0);
	if (r)
		confirm_take_back(c, call->generation, SLUICE_CONFIRM_WITHDRAWN);
	return r;
}

static __noinline int confirm_answer(const struct sluice_confirm_call *call)
{
	struct sluice_confirm *c = confirm_entry();

	if (!c)
		return -ENOENT;
	switch (call->op) {
	case SLUICE_CONFIRM_PREPARE:
		return confirm_prepare(c);
	case SLUICE_CONFIRM_BEGIN:
		return confirm_begin(c, call);
	case SLUICE_CONFIRM_KEEP:
		if (!confirm_end(c, call->generation, SLUICE_CONFIRM_KEPT))
			return -ESTALE;
		bpf_timer_cancel(&c->timer);
		return 0;
	case SLUICE_CONFIRM_REVERT:
		if (!confirm_take_back(c, call->generation, SLUICE_CONFIRM_WITHDRAWN))
			return -ESTALE;
		bpf_timer_cancel(&c->timer);
		return 0;
	}
	return -EINVAL;
}

#endif
