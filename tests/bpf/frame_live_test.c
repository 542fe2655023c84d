// SPDX-License-Identifier: Apache-2.0
/*
 * Random and damaged frames (model_damage.h) through the attached sluice_xdp, with its door and its lane, and through the
 * strict reader and the naive host of flow_model.h: none passes that the model drops, nor the other way round. Only whether
 * a frame passes is compared here, for speed. Each comes several times, since door and lane are for what comes again.
 *
 * FRAMES=1000000 asks for so many; the seed is printed, and SLUICE_SEED runs it again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "judge.h"
#include "model_damage.h"
#include "flow_model.h"
#include "reference.h"

#define FRAMES	   60000 /* unless asked for more */
#define PER_POLICY 5000	 /* so few that no time passes: the clock is the kernel's, the model's stands */
#define RECENT	   64

static uint64_t frames, passed;

/* Whether the frame passes. */
static bool frame_passes(int program, const struct traffic_frame *f)
{
	struct xdp_md md = {.data_end = (uint32_t)f->length, .ingress_ifindex = judge_ifindex()};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->byte, .data_size_in = (uint32_t)f->length, .ctx_in = &md,
		    .ctx_size_in = sizeof(md), .repeat = 1);

	if (bpf_prog_test_run_opts(program, &opts)) {
		printf("not ok - frame live: test run of %zu bytes\n", f->length);
		exit(1);
	}
	return opts.retval != XDP_DROP;
}

static bool frame_run(int program, struct model_host *h, const struct traffic_frame *f, uint64_t seed)
{
	struct model_verdict want;
	bool passes = frame_passes(program, f), wanted;

	model_host_judge(h, f->byte, f->length, &want);
	wanted = want.verdict == SLUICE_PASS || want.audited;
	frames++;
	passed += passes;
	if (passes == wanted)
		return true;
	damage_print(f);
	judge_check("no frame passes that the model drops", false, "seed %llu, frame %llu: %s, the model says %s",
		    (unsigned long long)seed, (unsigned long long)frames, passes ? "passes" : "dropped",
		    judge_reason(want.reason));
	return false;
}

/* Without `reject`: its answers would pass. */
static void policy_draw(struct model_policy *p, uint64_t seed, uint64_t *state)
{
	unsigned int i;

	model_policy_random(p, (unsigned int)seed, state, false);
	for (i = 0; i < p->n_rules; i++)
		if (p->rules[i].action == SLUICE_ACTION_REJECT)
			p->rules[i].action = SLUICE_ACTION_DENY;
}

static bool policy_run(uint64_t seed)
{
	_cleanup_(model_host_done) struct model_host host = {};
	struct traffic_frame recent[RECENT] = {}, *f;
	_cleanup_free_ char *yaml = NULL;
	struct model_policy policy;
	uint64_t state = seed;
	bool fine = true;
	unsigned int i;
	int program;

	policy_draw(&policy, seed, &state);
	yaml = model_policy_yaml(&policy, JUDGE_DEV);
	judge_flows_clear();
	judge_apply(yaml);
	program = judge_map("programs/sluice_xdp");
	model_host_apply(&host, &policy);
	for (i = 0; i < PER_POLICY && fine; i++) {
		f = &recent[reference_below(&state, RECENT)];
		if (!f->length || reference_one_in(&state, 3))
			damage_draw(&state, f);
		fine = frame_run(program, &host, f, seed);
	}
	if (!fine)
		printf("# policy:\n%s", yaml);
	return fine;
}

int main(void)
{
	uint64_t seed = reference_seed(), start = time_now_ns(), wanted;
	const char *text = getenv("FRAMES");
	bool fine = true;

	wanted = text && *text ? strtoull(text, NULL, 0) : FRAMES;
	judge_start("frame-live", 4096);
	judge_apply("default: deny\n");
	for (; frames < wanted && fine; seed++)
		fine = policy_run(seed);
	if (fine)
		judge_check("no frame passes that the model drops", passed && passed < frames, "%llu passed",
			    (unsigned long long)passed);
	printf("# %llu frames, %llu passed, %.1f s\n", (unsigned long long)frames, (unsigned long long)passed,
	       (double)(time_now_ns() - start) / 1e9);
	return judge_end();
}
