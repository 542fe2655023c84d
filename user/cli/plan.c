// SPDX-License-Identifier: Apache-2.0
/* `sluice plan`: what would change if a policy were applied now. Changes nothing. */
#include "cli/plan.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/json.h"

bool plan_differs(const struct plan *plan)
{
	return !policy_diff_is_empty(plan->diff) || plan->cuts.cut;
}

const char *plan_flow_rule(const struct policy_tables *tables, size_t rule)
{
	if (rule >= tables->n_rules)
		return "its tenant is gone";
	return tables->rules[rule].flags & SLUICE_RULE_DEFAULT ? "default" : tables->rules[rule].name;
}

/* The policy itself is fine, and that much can be said without the kernel. */
static int cannot_compare(bool json, const struct policy *p, const char *path, int r, const struct error *err)
{
	if (!json)
		printf("%s: policy %s is fine, %zu rules; it cannot be compared with what is live\n", path, p->name,
		       p->n_rules);
	return json_fail(json, "plan", r, err);
}

static int plan_run(const struct policy *p, const struct policy_tables *tables, struct error *err, struct plan *ret)
{
	_cleanup_(history_closep) struct history *history = NULL;
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	struct plan_question question = {.policy = p, .tables = tables};
	int r = history_open(cli_options.state_dir, cli_options.root, err, &history);

	if (!r)
		r = dataplane_open(cli_options.root, err, &dp);
	if (r && r != -ENOENT)
		return r;
	question.dp = dp;
	question.history = history;
	return plan_make(&question, err, ret);
}

static int plan(const struct policy *p, const char *path, bool json)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(plan_done) struct plan answer = {};
	struct error err = {};
	int r = policy_compile(p, &err, &tables);

	if (r)
		return json_fail(json, "plan", r, &err);
	r = plan_run(p, tables, &err, &answer);
	if (r)
		return cannot_compare(json, p, path, r, &err);
	if (json)
		json_print(plan_json(&answer, tables));
	else
		plan_text(&answer, tables);
	return plan_differs(&answer) ? EXIT_NO : EXIT_FINE;
}

int cmd_plan(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(policy_freep) struct policy *p = NULL;
	bool json = false;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage("plan", "unknown option");
		json = true;
	}
	if (optind + 1 != argc)
		return cli_usage("plan", "takes one policy");
	r = cli_load_policy("plan", argv[optind], &p);
	if (r)
		return json ? json_rejected(argv[optind], r) : r;
	return plan(p, argv[optind], json);
}
