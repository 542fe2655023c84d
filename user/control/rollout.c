// SPDX-License-Identifier: Apache-2.0
/*
 * The order of steps of a rollout. The history is written before the flip, under the lock of the pinned folder, so that
 * whatever is in force was written down before; entries are removed after it, and not while a policy is on trial,
 * because the one before it may come back. Called by apply and rollback.
 */
#include "control/rollout.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

void rollout_done(struct rollout *r)
{
	dataplane_status_done(&r->status);
	plan_done(&r->plan);
}

__attribute__((format(printf, 2, 3))) static void warn(struct rollout *r, const char *fmt, ...)
{
	va_list ap;

	if (r->n_warnings == ROLLOUT_WARNINGS)
		return;
	va_start(ap, fmt);
	vsnprintf(r->warnings[r->n_warnings].text, sizeof(r->warnings->text), fmt, ap);
	va_end(ap);
	r->n_warnings++;
}

/* ------------------------------------------------------------------- the history */

struct keeper {
	struct history *history;
	struct dataplane *dp;
	const struct policy *policy;
	const char *source;
	struct rollout *rollout;
};

static int live_get(struct dataplane *dp, struct error *err, struct history_live *ret)
{
	struct dataplane_live live;
	int r = dataplane_live(dp, err, &live);

	if (r)
		return r;
	ret->generation = live.generation;
	memcpy(ret->digest, live.head.digest, sizeof(ret->digest));
	dataplane_live_done(&live);
	return 0;
}

static void policy_keep(void *arg, const struct policy_tables *tables)
{
	const struct keeper *k = arg;
	struct history_about about = {.head = &tables->head, .source = k->source};
	struct history_live live = {};
	struct error err = {};
	int r = live_get(k->dp, &err, &live);

	if (!r)
		r = history_add(k->history, &live, k->policy, &about, &err);
	if (r)
		warn(k->rollout, "%s", err.text);
}

int rollout_settled(struct dataplane *dp, const char *root, const char *state_dir, struct error *err)
{
	_cleanup_(history_closep) struct history *history = NULL;
	struct history_live live = {};
	int r = history_open(state_dir, root, err, &history);

	if (!r)
		r = live_get(dp, err, &live);
	return r ? r : history_prune(history, &live, err);
}

/* ------------------------------------------------------------------- what may be a surprise */

static void warn_of_surprises(struct rollout *r, const struct policy *p)
{
	size_t i;

	for (i = 0; i < r->status.n_interfaces; i++)
		if (r->status.interfaces[i].trouble[0])
			warn(r, "%s: %s", r->status.interfaces[i].name, r->status.interfaces[i].trouble);
	if (r->status.max_flows < p->conntrack.max)
		warn(r,
		     "conntrack.max is %u, the size the flow table was loaded with, instead of %u; `sluice detach` "
		     "first to change it",
		     r->status.max_flows, p->conntrack.max);
	if (r->status.control.build != dataplane_build())
		warn(r, "the programs in force are those of another build of sluice and stay; `sluice detach` first to "
			"load this one's");
}

static void plan_try(struct dataplane *dp, const struct policy *p, const struct policy_tables *tables,
		     struct rollout *r)
{
	const struct plan_question question = {.policy = p, .tables = tables, .dp = dp};
	struct error err = {};

	if (plan_make(&question, &err, &r->plan))
		warn(r, "cannot say what changes: %s", err.text);
}

static int rollout_run(struct keeper *k, struct policy_tables *tables, const struct rollout_options *options,
		       struct error *err, struct rollout *r)
{
	const struct dataplane_apply_options apply = {
		.confirm_ns = options->confirm_ns,
		.before_flip = policy_keep,
		.arg = k,
	};
	struct error tidy = {};
	int s = dataplane_apply_with(k->dp, k->policy, tables, &apply, err, &r->applied);

	if (s)
		return s;
	if (!options->confirm_ns && rollout_settled(k->dp, options->root, options->state_dir, &tidy))
		warn(r, "%s", tidy.text);
	memcpy(r->name, tables->head.name, sizeof(r->name));
	memcpy(r->digest, tables->head.digest, sizeof(r->digest));
	r->audit = tables->head.flags & SLUICE_MODE_AUDIT;
	s = dataplane_status(k->dp, err, &r->status);
	if (!s)
		warn_of_surprises(r, k->policy);
	return s;
}

int rollout(const struct policy *p, struct policy_tables *tables, const struct rollout_options *options,
	    struct error *err, struct rollout *ret_rollout)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	_cleanup_(history_closep) struct history *history = NULL;
	struct keeper k = {.policy = p, .source = options->source, .rollout = ret_rollout};
	int r;

	memset(ret_rollout, 0, sizeof(*ret_rollout));
	r = history_open(options->state_dir, options->root, err, &history);
	if (!r)
		r = dataplane_open_or_load(options->root, p->conntrack.max, err, &dp);
	if (r)
		return r;
	plan_try(dp, p, tables, ret_rollout);
	k.history = history;
	k.dp = dp;
	r = rollout_run(&k, tables, options, err, ret_rollout);
	if (r)
		rollout_done(ret_rollout);
	return r;
}
