/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing a policy into force the whole way: plan, keep it in the history, apply, tidy the history. What apply and
 * rollback do. What goes wrong beside the way is a warning, and the policy is in force all the same.
 */
#ifndef SLUICE_CONTROL_ROLLOUT_H
#define SLUICE_CONTROL_ROLLOUT_H

#include "control/plan.h"

#define ROLLOUT_WARNINGS 8

struct rollout_options {
	const char *root;
	const char *state_dir; /* NULL: the usual one */
	const char *source;    /* where the policy comes from, for the history */
	uint64_t confirm_ns;   /* on trial for so long; 0: for good */
};

struct rollout {
	struct dataplane_applied applied;
	char name[SLUICE_NAME_LEN];
	uint8_t digest[32];
	bool audit;
	struct dataplane_status status; /* afterwards */
	struct plan plan;		/* of rules only; no diff: it could not be made, and a warning says why */
	struct error warnings[ROLLOUT_WARNINGS];
	size_t n_warnings;
};

/* `tables` are those of `p`; their generation and slots are set. On failure nothing has changed. */
int rollout(const struct policy *p, struct policy_tables *tables, const struct rollout_options *options,
	    struct error *err, struct rollout *ret_rollout);
/* Once what is live is there for good: removes what the history need not keep. */
int rollout_settled(struct dataplane *dp, const char *root, const char *state_dir, struct error *err);
void rollout_done(struct rollout *r);

#endif
