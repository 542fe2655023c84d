/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sequence of frames that goes through the programs and the flow model; if they disagree somewhere on the way, it is cut
 * down to those frames without which they do not, and printed.
 */
#ifndef SLUICE_TESTS_MODEL_SEQUENCE_H
#define SLUICE_TESTS_MODEL_SEQUENCE_H

#include "flow_model.h"
#include "model_traffic.h"

#define STEPS 400

struct step {
	uint64_t pause_ns; /* before it */
	struct traffic_frame frame;
	bool tc, off;
	unsigned int policy; /* in force from here on */
};

struct sequence {
	struct step steps[STEPS];
	const struct model_policy *policies;
	/* Runs the steps that are not off, from nothing; true: something differs, told in `why`, at step `failed`. */
	bool (*fails)(struct sequence *s);
	void *arg;
	size_t failed; /* STEPS: what was left in the end */
	char why[400];
};

/* Draws new steps; the caller sets pauses, hooks and policies. */
void sequence_draw(struct sequence *s, uint64_t *state);
/* Runs it. If it fails, it is shrunk and printed, with a "not ok" line, and true is returned. */
bool sequence_run(struct sequence *s, uint64_t seed);

/* What the runs met; sequence_met() in each. */
extern struct sequence_totals {
	uint64_t packets, reasons[SLUICE_REASON_COUNT];
} sequence_totals;
void sequence_met(const struct model_verdict *v);
/* Whether there is reason to go on: too few packets, or, up to eight times as many, a reason that none of them had. */
bool sequence_goes_on(uint64_t wanted, const enum sluice_reason *reasons, size_t n);
/* An "ok" line for each of those reasons that was met: a test that misses one has gone blind. */
void sequence_check(const enum sluice_reason *reasons, size_t n);

#endif
