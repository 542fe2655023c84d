/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What applying a policy would do to what is live: differences, and live flows that would be cut. Changes nothing. Used
 * by plan, apply and rollback.
 */
#ifndef SLUICE_CONTROL_PLAN_H
#define SLUICE_CONTROL_PLAN_H

#include "control/history.h"
#include "dataplane/dataplane.h"
#include "policy/diff.h"

#define PLAN_FLOWS_LISTED 20

/* A live flow that the new policy would end. */
struct plan_flow {
	uint8_t source[16]; /* who opened it; IPv4-mapped */
	uint8_t dest[16];
	uint16_t source_port; /* host order; ICMP: the identifier, in both */
	uint16_t dest_port;
	uint8_t protocol;
	char tenant[SLUICE_NAME_LEN];
	size_t rule; /* deciding, in the new tables; SIZE_MAX: its tenant is gone */
};

struct plan_cuts {
	uint64_t asked; /* live flows */
	uint64_t cut;
	uint64_t *by_rule; /* of the new tables; owned */
	size_t n_rules;
	uint64_t tenant_gone;
	struct plan_flow first[PLAN_FLOWS_LISTED];
	size_t n_first;
};

struct plan {
	struct dataplane_live live; /* generation 0: nothing is in force */
	struct policy_diff *diff;
	struct plan_cuts cuts;
	struct error model_missing; /* why the live policy's text is not known; empty: it is, or is not needed */
};

struct plan_question {
	const struct policy *policy;
	const struct policy_tables *tables;
	struct dataplane *dp;	       /* NULL: nothing is pinned */
	const struct history *history; /* NULL: compare rules only */
};

int plan_make(const struct plan_question *question, struct error *err, struct plan *ret_plan);
void plan_done(struct plan *plan);

#endif
