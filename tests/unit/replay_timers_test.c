// SPDX-License-Identifier: Apache-2.0
/* The heap of replay's timers against the plainest of models: an array that is searched whole. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "dataplane/replay_timers.h"

#define TIMERS 5000

static void key_number(struct sluice_flow_key *key, uint32_t n)
{
	*key = (struct sluice_flow_key){.port = {(uint16_t)n, (uint16_t)(n >> 16)}};
}

static uint32_t number_of(const struct sluice_flow_key *key)
{
	return key->port[0] | (uint32_t)key->port[1] << 16;
}

Test(replay_timers, none_is_due)
{
	struct replay_timers t = {};
	struct sluice_flow_key key;

	cr_assert_not(replay_timers_take(&t, UINT64_MAX, &key));
	replay_timers_done(&t);
}

Test(replay_timers, due_at_its_time_and_not_before)
{
	struct replay_timers t = {};
	struct sluice_flow_key key;

	key_number(&key, 7);
	cr_assert_eq(replay_timers_add(&t, 100, &key), 0);
	cr_assert_not(replay_timers_take(&t, 99, &key));
	key_number(&key, 0);
	cr_assert(replay_timers_take(&t, 100, &key));
	cr_assert_eq(number_of(&key), 7);
	cr_assert_not(replay_timers_take(&t, 100, &key));
	replay_timers_done(&t);
}

/* Adds and takes at random; what is taken is always one of the earliest, and nothing is lost. */
Test(replay_timers, random_orders)
{
	static uint64_t end[TIMERS];
	struct replay_timers t = {};
	struct sluice_flow_key key;
	uint32_t added = 0, taken = 0, i, earliest;

	srandom(1);
	while (taken < TIMERS) {
		if (added < TIMERS && (added == taken || random() % 3)) {
			end[added] = 1 + (uint64_t)random() % 1000;
			key_number(&key, added);
			cr_assert_eq(replay_timers_add(&t, end[added++], &key), 0);
			continue;
		}
		for (i = 0, earliest = TIMERS; i < added; i++)
			if (end[i] && (earliest == TIMERS || end[i] < end[earliest]))
				earliest = i;
		cr_assert_not(replay_timers_take(&t, end[earliest] - 1, &key));
		cr_assert(replay_timers_take(&t, end[earliest], &key));
		i = number_of(&key);
		cr_assert(i < added && end[i] == end[earliest], "timer %u of %lu, the earliest is %lu", i, end[i],
			  end[earliest]);
		end[i] = 0;
		taken++;
	}
	cr_assert_eq(t.count, 0);
	replay_timers_done(&t);
}
