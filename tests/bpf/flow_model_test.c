// SPDX-License-Identifier: Apache-2.0
/*
 * Random sequences of packets through the real programs, with a clock of the test's, and through an independent model of a
 * host that remembers flows (tests/lib/flow_model.h): verdict, reason and rule of every packet, timeouts to the nanosecond,
 * full tables, fragments that die, and how many flows are live in the end.
 *
 * A sequence that shows a difference is cut down to those packets without which it goes away, and printed. Run it again
 * with the SLUICE_SEED that is printed; ask for more with SLUICE_DIFFERENTIAL=PACKETS.
 */
#include <stdio.h>

#include "base/util.h"
#include "judge.h"
#include "model_replay.h"
#include "model_sequence.h"
#include "reference.h"

#define PACKETS	  64000 /* unless asked for more */
#define SEQUENCES 10	 /* with one policy */

static bool replay_fails(struct sequence *s)
{
	struct model_replay *r = s->arg;
	const char *why = NULL;
	bool any = false;
	size_t i;

	model_replay_forget(r);
	for (i = 0; i < STEPS && !why; i++) {
		if (s->steps[i].off)
			continue;
		why = model_replay_frame(r, s->steps[i].pause_ns, s->steps[i].frame.byte, s->steps[i].frame.length);
		sequence_met(&r->expected);
		s->failed = i;
		any = true;
	}
	if (!why && any) {
		s->failed = STEPS;
		why = model_replay_count(r);
	}
	if (why)
		snprintf(s->why, sizeof(s->why), "%s", why);
	return why;
}

/* Mostly at once, sometimes at the very edge of a timeout. */
static uint64_t pause_draw(const struct model_policy *p, uint64_t *state)
{
	uint64_t edge;

	if (!reference_one_in(state, 5))
		return reference_below(state, 1000000);
	if (reference_one_in(state, 2))
		return reference_below(state, 1000000000);
	edge = p->timeout_ns[reference_below(state, MODEL_TIMEOUTS)];
	return edge - 1 + reference_below(state, 3);
}

static bool policy_run(uint64_t seed)
{
	static struct sequence s;
	struct model_replay r = {};
	uint64_t state = seed;
	bool failed = false;
	unsigned int i, k;

	model_policy_random(&r.policy, (unsigned int)seed, &state, true);
	model_replay_open(&r);
	s.policies = &r.policy;
	s.fails = replay_fails;
	s.arg = &r;
	for (i = 0; i < SEQUENCES && !failed; i++) {
		sequence_draw(&s, &state);
		for (k = 0; k < STEPS; k++)
			s.steps[k].pause_ns = pause_draw(&r.policy, &state);
		failed = sequence_run(&s, seed);
	}
	model_replay_close(&r);
	return failed;
}

static const enum sluice_reason met[] = {
	SLUICE_R_PASS_FLOW,	 SLUICE_R_PASS_RULE,	    SLUICE_R_PASS_DEFAULT,   SLUICE_R_PASS_FAILSAFE,
	SLUICE_R_PASS_LINK,	 SLUICE_R_PASS_NON_IP,	    SLUICE_R_PASS_FRAGMENT,  SLUICE_R_PASS_ICMP_RELATED,
	SLUICE_R_DENY_RULE,	 SLUICE_R_DENY_DEFAULT,	    SLUICE_R_DENY_NON_IP,    SLUICE_R_TCP_FLAGS,
	SLUICE_R_FRAGMENT_TINY,	 SLUICE_R_FRAGMENT_UNKNOWN, SLUICE_R_UNKNOWN_TENANT, SLUICE_R_ANTISPOOF,
	SLUICE_R_ICMP_UNRELATED, SLUICE_R_TCP_NO_FLOW,	    SLUICE_R_CONNTRACK_FULL, SLUICE_R_LAND,
	SLUICE_R_TUNNEL_HEADER,	 SLUICE_R_TCP_RST,	    SLUICE_R_FRAGMENT_OVERLAP,
};

int main(void)
{
	uint64_t seed = reference_seed(), wanted = reference_packets(), start = time_now_ns(), policies = 0;
	bool failed = false;

	judge_name("flow model");
	wanted = wanted ? wanted : PACKETS;
	for (; sequence_goes_on(wanted, met, ARRAY_SIZE(met)) && !failed; seed++, policies++)
		failed = policy_run(seed);
	if (!failed) {
		judge_check("programs agree with the model", true, "%s", "");
		sequence_check(met, ARRAY_SIZE(met));
	}
	printf("# %llu packets, %llu policies, %.1f s\n", (unsigned long long)sequence_totals.packets,
	       (unsigned long long)policies, (double)(time_now_ns() - start) / 1e9);
	return judge_failed();
}
