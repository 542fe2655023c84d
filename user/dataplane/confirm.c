// SPDX-License-Identifier: Apache-2.0
/*
 * Policies on trial, seen from here: asks the program of bpf/confirm.h, which alone writes the map. Called by apply,
 * `sluice confirm`, `sluice rollback` and status. What always holds: while a trial is pending, the bank that it would
 * go back to is not written; so whoever writes a bank has asked trial_refuse() first, under the folder's lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

/* ------------------------------------------------------------------- asking the kernel half */

static int confirm_ask(const struct dataplane *dp, struct sluice_confirm_call *call)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = call, .ctx_size_in = sizeof(*call));
	_cleanup_close_ int fd = program_get(dp, PROGRAM_CONFIRM);

	if (fd < 0)
		return fd;
	if (bpf_prog_test_run_opts(fd, &opts))
		return -errno;
	return call->result;
}

int trial_prepare(struct dataplane *dp, struct error *err)
{
	struct sluice_confirm_call call = {.op = SLUICE_CONFIRM_PREPARE};
	int r = programs_load_confirm(dp, err);

	if (r)
		return r;
	r = confirm_ask(dp, &call);
	if (r == -ENOMEM)
		return error_set(
			err, ENOMEM,
			"%s: the kernel has no memory for a timer at this moment; nothing has changed, try again",
			dp->root);
	return r ? error_system(err, -r, "%s: the kernel gives no timer for --confirm", dp->root) : 0;
}

int trial_begin(struct dataplane *dp, uint64_t generation, uint64_t previous, uint64_t delay_ns, struct error *err)
{
	struct sluice_confirm_call call = {
		.op = SLUICE_CONFIRM_BEGIN,
		.generation = generation,
		.previous = previous,
		.delay_ns = delay_ns,
	};
	int r = confirm_ask(dp, &call);

	if (r)
		return error_system(err, -r, "%s: cannot start the timer for --confirm", dp->root);
	return bank_settle(dp, err);
}

static int trial_end(struct dataplane *dp, enum sluice_confirm_op op, uint64_t generation)
{
	struct sluice_confirm_call call = {.op = op, .generation = generation};

	return confirm_ask(dp, &call);
}

int trial_take_back(struct dataplane *dp, uint64_t generation, struct error *err)
{
	int r = trial_end(dp, SLUICE_CONFIRM_REVERT, generation);

	if (r && r != -ESTALE) /* stale: the timer has done it */
		return error_system(err, -r, "%s: cannot take generation %llu back", dp->root,
				    (unsigned long long)generation);
	return bank_settle(dp, err);
}

/* ------------------------------------------------------------------- reading */

int trial_read(const struct dataplane *dp, uint64_t live, struct dataplane_trial *ret)
{
	struct dataplane_trial trial = {};
	struct sluice_confirm c = {};
	uint64_t now = time_now_ns();
	__u32 zero = 0;

	if (bpf_map_lookup_elem(dp->map[MAP_confirm], &zero, &c))
		return -errno;
	trial.generation = c.word >> SLUICE_CONFIRM_SHIFT;
	trial.previous = c.previous;
	switch (c.word & SLUICE_CONFIRM_PHASE) {
	case SLUICE_CONFIRM_PENDING:
		trial.state = live == trial.generation ? DATAPLANE_TRIAL_PENDING : DATAPLANE_TRIAL_NONE;
		trial.left_ns = c.deadline_ns > now ? c.deadline_ns - now : 0;
		break;
	case SLUICE_CONFIRM_EXPIRED:
		trial.state = live == trial.previous ? DATAPLANE_TRIAL_EXPIRED : DATAPLANE_TRIAL_NONE;
		trial.ago_ns = now > c.ended_ns ? now - c.ended_ns : 0;
		break;
	}
	*ret = trial;
	return 0;
}

int trial_refuse(struct dataplane *dp, struct error *err)
{
	struct dataplane_trial trial;
	int r = trial_read(dp, dp->control->generation, &trial);

	if (r)
		return error_system(err, -r, "%s/confirm: read", dp->root);
	if (trial.state == DATAPLANE_TRIAL_PENDING)
		return error_set(
			err, EBUSY,
			"%s: generation %llu is on trial for another %llu s; `sluice confirm` keeps it, `sluice "
			"rollback` ends it now",
			dp->root, (unsigned long long)trial.generation,
			(unsigned long long)(trial.left_ns / NSEC_PER_SEC));
	/* The timer moves its word before it moves the generation: once it has returned, both are as they stay. */
	return bank_settle(dp, err);
}

/* ------------------------------------------------------------------- the two ends of a trial */

static int nothing_on_trial(const struct dataplane *dp, const struct dataplane_trial *trial, struct error *err)
{
	if (trial->state == DATAPLANE_TRIAL_EXPIRED)
		return error_set(
			err, ESTALE,
			"%s: too late: generation %llu was not confirmed in time, and %llu s ago generation %llu "
			"came back; apply again",
			dp->root, (unsigned long long)trial->generation,
			(unsigned long long)(trial->ago_ns / NSEC_PER_SEC), (unsigned long long)trial->previous);
	return error_set(err, ESTALE, "%s: no policy is on trial; `sluice apply --confirm TIME` begins one", dp->root);
}

/* Takes the programs off every interface that the live policy does not name. */
static int detach_unnamed(const struct dataplane *dp, struct error *err)
{
	_cleanup_(resolved_done) struct resolved keep = {};
	_cleanup_free_ uint32_t *ifindex = NULL;
	uint64_t live = dp->control->generation;
	size_t count = 0, i;
	int r = live ? interfaces_of_bank(dp, live & 1, &ifindex, &count) : 0;

	if (!r)
		keep.items = calloc(count + 1, sizeof(*keep.items));
	if (r || !keep.items)
		return error_system(err, r ? -r : ENOMEM, "%s: cannot list the interfaces in force", dp->root);
	for (i = 0; i < count; i++)
		keep.items[i].ifindex = ifindex[i];
	keep.count = count;
	return interfaces_detach_others(dp, &keep, err);
}

static int trial_finish(struct dataplane *dp, enum sluice_confirm_op op, struct error *err, struct dataplane_trial *ret)
{
	_cleanup_close_ int lock = -1;
	struct dataplane_trial trial;
	int r = folder_lock(dp->root, err, &lock);

	if (!r)
		r = netns_check(dp->root, err);
	if (r)
		return r;
	r = trial_read(dp, dp->control->generation, &trial);
	if (r)
		return error_system(err, -r, "%s/confirm: read", dp->root);
	if (trial.state != DATAPLANE_TRIAL_PENDING)
		return nothing_on_trial(dp, &trial, err);
	r = trial_end(dp, op, trial.generation);
	if (r == -ESTALE) { /* its time has come meanwhile */
		r = bank_settle(dp, err);
		if (!r)
			r = trial_read(dp, dp->control->generation, &trial);
		return r ? r : nothing_on_trial(dp, &trial, err);
	}
	if (r)
		return error_system(err, -r, "%s: the kernel refused to end the trial", dp->root);
	*ret = trial;
	r = bank_settle(dp, err);
	return r ? r : detach_unnamed(dp, err);
}

int dataplane_confirm(struct dataplane *dp, struct error *err, struct dataplane_trial *ret_trial)
{
	return trial_finish(dp, SLUICE_CONFIRM_KEEP, err, ret_trial);
}

int dataplane_withdraw(struct dataplane *dp, struct error *err, struct dataplane_trial *ret_trial)
{
	return trial_finish(dp, SLUICE_CONFIRM_REVERT, err, ret_trial);
}
