/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The naive host beside the real programs, in a private instance of them whose clock is the test's (dataplane.h,
 * "replay"): the same frames to both. What cannot be set up ends the process with a "not ok" line.
 */
#ifndef SLUICE_TESTS_MODEL_REPLAY_H
#define SLUICE_TESTS_MODEL_REPLAY_H

#include "flow_model.h"

struct policy;
struct policy_tables;
struct dataplane_replay;

struct model_replay {
	struct model_policy policy;
	struct model_host host;
	struct policy *parsed;
	struct policy_tables *tables;
	struct dataplane_replay *kernel;
	struct model_verdict expected; /* of the last frame */
	enum sluice_verdict got_verdict;
	enum sluice_reason got_reason;
};

/* r->policy is set, all else zero. */
void model_replay_open(struct model_replay *r);
void model_replay_close(struct model_replay *r);
/* The next frame, so long after the one before. NULL: both agree; or in what they do not, in a static buffer. */
const char *model_replay_frame(struct model_replay *r, uint64_t pause_ns, const uint8_t *frame, size_t length);
/* Whether as many flows are alive in both. */
const char *model_replay_count(struct model_replay *r);
/* Lets all that is remembered run out. */
void model_replay_forget(struct model_replay *r);

#endif
