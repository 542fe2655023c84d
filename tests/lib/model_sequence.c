// SPDX-License-Identifier: Apache-2.0
/* Sequences of frames, and how a failing one is made small; see model_sequence.h. */
#include "model_sequence.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "judge.h"
#include "reference.h"

struct sequence_totals sequence_totals;

void sequence_met(const struct model_verdict *v)
{
	sequence_totals.packets++;
	sequence_totals.reasons[v->reason]++;
}

bool sequence_goes_on(uint64_t wanted, const enum sluice_reason *reasons, size_t n)
{
	size_t i;

	for (i = 0; i < n && sequence_totals.reasons[reasons[i]]; i++)
		;
	return sequence_totals.packets < (i < n ? 8 * wanted : wanted);
}

void sequence_check(const enum sluice_reason *reasons, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		judge_check(judge_reason(reasons[i]), sequence_totals.reasons[reasons[i]], "no packet had this reason");
}

void sequence_draw(struct sequence *s, uint64_t *state)
{
	size_t i;

	for (i = 0; i < STEPS; i++) {
		s->steps[i] = (struct step){};
		traffic_draw(state, &s->steps[i].frame);
		if (reference_one_in(state, 12))
			traffic_wrap(state, &s->steps[i].frame);
	}
}

/* Tries without a part of it; puts that back if all is well then. */
static void part_leave_out(struct sequence *s, size_t first, size_t n)
{
	size_t end = min(first + n, (size_t)STEPS), i, on = 0;
	bool before[STEPS];

	for (i = first; i < end; i++) {
		before[i] = s->steps[i].off;
		on += !before[i];
		s->steps[i].off = true;
	}
	if (!on || s->fails(s))
		return;
	for (i = first; i < end; i++)
		s->steps[i].off = before[i];
}

static void pause_leave_out(struct sequence *s, struct step *step)
{
	uint64_t pause = step->pause_ns;

	step->pause_ns = 0;
	if (!step->off && pause && !s->fails(s))
		step->pause_ns = pause;
}

/* Leaves out ever smaller parts, as long as it still fails. */
static void sequence_shrink(struct sequence *s)
{
	size_t part, i;

	for (i = s->failed + 1; i < STEPS; i++)
		s->steps[i].off = true;
	for (part = STEPS / 2; part; part /= 2)
		for (i = 0; i < STEPS; i += part)
			part_leave_out(s, i, part);
	for (i = 0; i < STEPS; i++)
		pause_leave_out(s, &s->steps[i]);
	s->fails(s);
}

static void sequence_print(const struct sequence *s)
{
	const struct model_policy *in_force = NULL;
	size_t i;

	for (i = 0; i < STEPS; i++) {
		const struct step *step = &s->steps[i];
		_cleanup_free_ char *yaml = NULL;

		if (step->off)
			continue;
		if (in_force != &s->policies[step->policy]) {
			in_force = &s->policies[step->policy];
			yaml = model_policy_yaml(in_force, "wire");
			printf("# policy:\n%s", yaml);
		}
		printf("# +%llu ns%s: %s\n", (unsigned long long)step->pause_ns, step->tc ? " tc" : "",
		       traffic_text(step->frame.byte, step->frame.length));
	}
}

bool sequence_run(struct sequence *s, uint64_t seed)
{
	char first[sizeof(s->why)];

	if (!s->fails(s))
		return false;
	snprintf(first, sizeof(first), "%s", s->why);
	sequence_shrink(s);
	sequence_print(s);
	judge_check("programs agree with the model", false, "seed %llu: %s; of those above: %s",
		    (unsigned long long)seed, first, s->why);
	return true;
}
