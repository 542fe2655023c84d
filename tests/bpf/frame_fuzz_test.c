// SPDX-License-Identifier: Apache-2.0
/*
 * Random and damaged frames through sluice_xdp, and through a strict reader and a naive host (tests/lib/frame_model.h,
 * flow_model.h): none passes that the model drops, nor the other way round. Frames are those of model_damage.h. The programs
 * have the clock of a replay, and neither door nor lane; those are frame_live_test.c's.
 *
 * FRAMES=10000000 asks for so many, JOBS=2 shares them between processes; the seed is printed, and SLUICE_SEED runs it
 * again. A failure prints the frame in hexadecimal, and the flows that the model remembers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "judge.h"
#include "model_damage.h"
#include "model_replay.h"
#include "reference.h"

#define one_in reference_one_in
#define below  reference_below

#define FRAMES	   100000 /* unless asked for more */
#define PER_POLICY 100000 /* frames, a tenth in a short run: to load the programs takes as long as 50,000 */

static struct {
	uint64_t frames, passed, malformed, reasons[SLUICE_REASON_COUNT];
} met;

static void failure_print(const struct model_replay *r, const struct traffic_frame *f, uint64_t seed, const char *why)
{
	char *yaml = model_policy_yaml(&r->policy, "wire");

	printf("# policy:\n%s", yaml);
	free(yaml);
	damage_print(f);
	judge_check("no frame passes that the model drops", false, "seed %llu, frame %llu, %zu flows: %s",
		    (unsigned long long)seed, (unsigned long long)met.frames, r->host.n_flows, why);
}

static bool frame_run(struct model_replay *r, const struct traffic_frame *f, uint64_t *state, uint64_t seed)
{
	uint64_t pause = one_in(state, 200) ? below(state, 2000000000) : below(state, 2000000);
	const char *why = model_replay_frame(r, pause, f->byte, f->length);

	met.frames++;
	met.reasons[r->expected.reason]++;
	met.passed += r->expected.verdict == SLUICE_PASS;
	met.malformed += damage_explains(r->expected.reason);
	if (!why || (r->got_verdict == r->expected.verdict && damage_explains(r->expected.reason) && damage_explains(r->got_reason)))
		return true;
	failure_print(r, f, seed, why);
	return false;
}

static bool policy_run(uint64_t seed, uint64_t frames)
{
	struct model_replay r = {};
	struct traffic_frame f;
	uint64_t state = seed;
	bool fine = true;

	model_policy_random(&r.policy, (unsigned int)seed, &state, true);
	model_replay_open(&r);
	for (; frames && fine; frames--) {
		damage_draw(&state, &f);
		fine = frame_run(&r, &f, &state, seed);
	}
	model_replay_close(&r);
	return fine;
}

static uint64_t number_from(const char *name, uint64_t none)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : none;
}

/* One process: every `jobs`-th seed. */
static int job_run(uint64_t seed, unsigned int jobs, uint64_t frames)
{
	uint64_t start = time_now_ns(), each = frames > 10 * PER_POLICY ? PER_POLICY : PER_POLICY / 10;
	bool fine = true;
	int i;

	for (; met.frames < frames && fine; seed += jobs)
		fine = policy_run(seed, min(each, frames - met.frames));
	if (fine)
		judge_check("no frame passes that the model drops", met.passed && met.malformed, "%llu passed",
			    (unsigned long long)met.passed);
	printf("# %llu frames, %llu passed, %llu malformed, %.1f s:", (unsigned long long)met.frames,
	       (unsigned long long)met.passed, (unsigned long long)met.malformed, (double)(time_now_ns() - start) / 1e9);
	for (i = 0; i < SLUICE_REASON_COUNT; i++)
		if (met.reasons[i])
			printf(" %s %llu", judge_reason((enum sluice_reason)i), (unsigned long long)met.reasons[i]);
	printf("\n");
	return judge_failed();
}

int main(void)
{
	uint64_t seed = reference_seed(), frames = number_from("FRAMES", FRAMES);
	unsigned int jobs = (unsigned int)number_from("JOBS", 1), i;
	int status, failed = 0;

	judge_name("frame fuzz");
	for (i = 1; i < jobs; i++) {
		pid_t child = fork();

		if (child < 0) {
			judge_check("processes", false, "%s", strerror(errno));
			return 1;
		}
		if (!child)
			return job_run(seed + i, jobs, frames / jobs);
	}
	failed = job_run(seed, jobs, frames / jobs);
	while (wait(&status) > 0)
		failed |= !WIFEXITED(status) || WEXITSTATUS(status);
	return failed;
}
