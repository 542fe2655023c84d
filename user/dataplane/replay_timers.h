/* SPDX-License-Identifier: Apache-2.0 */
/* The timers of flows in a replay: a heap by deadline. Pure. Only replay.c and its test include this. */
#ifndef SLUICE_DATAPLANE_REPLAY_TIMERS_H
#define SLUICE_DATAPLANE_REPLAY_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

struct replay_timer {
	uint64_t end_ns;
	struct sluice_flow_key key;
};

/* Zero-initialise. The parent of item i is item (i - 1) / 2 and no later than it. */
struct replay_timers {
	struct replay_timer *items;
	size_t count;
	size_t room;
};

/* A flow may have several: one that fires early finds so and is armed again. -ENOMEM. */
int replay_timers_add(struct replay_timers *t, uint64_t end_ns, const struct sluice_flow_key *key);
/* The earliest, if it is due at `now_ns`; false: none is. */
bool replay_timers_take(struct replay_timers *t, uint64_t now_ns, struct sluice_flow_key *ret_key);
void replay_timers_done(struct replay_timers *t);

#endif
