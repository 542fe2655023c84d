// SPDX-License-Identifier: Apache-2.0
/* The naive host beside the real programs; see model_replay.h. */
#include "model_replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/replay.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"
#include "policy/compile.h"
#include "policy/policy.h"

#define START_NS  (86400 * NSEC_PER_SEC)
#define FORGET_NS (3601 * NSEC_PER_SEC) /* longer than any timeout of a model_policy */

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
	printf("not ok - model: %s: %s\n", what, why);
	exit(1);
}

void model_replay_open(struct model_replay *r)
{
	struct policy_diagnostics diagnostics = {};
	_cleanup_free_ char *yaml = model_policy_yaml(&r->policy, "wire");
	struct error err = {};
	struct dataplane_replay_options options = {};

	if (policy_load_text("model.yaml", yaml, strlen(yaml), &diagnostics, &r->parsed)) {
		policy_diagnostics_print(&diagnostics, stdout);
		die("policy rejected", yaml);
	}
	policy_diagnostics_done(&diagnostics);
	if (policy_compile(r->parsed, &err, &r->tables))
		die("policy", err.text);
	options.policy = r->parsed;
	options.tables = r->tables;
	if (dataplane_replay_open(&options, &err, &r->kernel))
		die("replay", err.text);
	r->host.now_ns = START_NS;
	model_host_apply(&r->host, &r->policy);
}

void model_replay_close(struct model_replay *r)
{
	dataplane_replay_close(r->kernel);
	policy_tables_free(r->tables);
	policy_free(r->parsed);
	model_host_done(&r->host);
}

static int rule_of(const struct model_replay *r, const struct sluice_replay_result *got)
{
	return got->slot < r->tables->n_rules ? (int)got->slot : -1;
}

static const char *differ(const struct model_replay *r, const struct sluice_replay_result *got)
{
	static const char *const verdicts[] = {
		[SLUICE_PASS] = "pass", [SLUICE_DROP] = "drop", [SLUICE_REJECT] = "reject"};
	const struct model_verdict *want = &r->expected;
	static char why[300];

	if (got->verdict == want->verdict && got->reason == want->reason && got->audited == want->audited &&
	    rule_of(r, got) == want->rule)
		return NULL;
	snprintf(why, sizeof(why), "the programs say %s (%s%s) by rule %d, the model %s (%s%s) by rule %d",
		 verdicts[got->verdict], judge_reason((enum sluice_reason)got->reason), got->audited ? ", audited" : "",
		 rule_of(r, got), verdicts[want->verdict], judge_reason(want->reason), want->audited ? ", audited" : "",
		 want->rule);
	return why;
}

const char *model_replay_frame(struct model_replay *r, uint64_t pause_ns, const uint8_t *frame, size_t length)
{
	struct dataplane_replay_packet packet = {.frame = frame, .length = length, .wire_length = length};
	struct sluice_replay_result got;
	struct error err = {};

	r->host.now_ns += pause_ns;
	packet.time_ns = r->host.now_ns;
	if (dataplane_replay_packet(r->kernel, &packet, &err, &got))
		die("test run", err.text);
	r->got_verdict = (enum sluice_verdict)got.verdict;
	r->got_reason = (enum sluice_reason)got.reason;
	model_host_judge(&r->host, frame, length, &r->expected);
	return differ(r, &got);
}

const char *model_replay_count(struct model_replay *r)
{
	static char why[100];
	struct error err = {};
	uint64_t flows;

	if (dataplane_replay_flows(r->kernel, &err, &flows))
		die("flows", err.text);
	model_host_expire(&r->host);
	if (flows == r->host.n_flows)
		return NULL;
	snprintf(why, sizeof(why), "%llu flows are live, not %zu", (unsigned long long)flows, r->host.n_flows);
	return why;
}

void model_replay_forget(struct model_replay *r)
{
	r->host.now_ns += FORGET_NS;
}
