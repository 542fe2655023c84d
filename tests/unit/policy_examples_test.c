// SPDX-License-Identifier: Apache-2.0
/*
 * Every policy of policies/, file or folder, loads without a finding, compiles, and says to the packets of its cases
 * what they expect.
 */
#include <criterion/criterion.h>
#include <glob.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/cases.h"

static void cases_check(const char *path, const struct policy *p, const struct policy_tables *t)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	struct case_results results = {};
	struct error err = {};
	char cases[256];
	size_t i;
	int r;

	snprintf(cases, sizeof(cases), "%.*s.cases.yaml",
		 (int)(strlen(path) - (strstr(path, ".yaml") ? strlen(".yaml") : 0)), path);
	r = cases_run(cases, p, t, &d, &err, &results);
	policy_diagnostics_print(&d, stderr);
	cr_assert_eq(r, 0, "%s: %s", cases, err.text);
	cr_assert_gt(results.count, 0, "%s", cases);
	for (i = 0; i < results.count; i++)
		cr_expect(results.items[i].ok, "%s:%u: %s: expected %s, got %s", cases, results.items[i].place.line,
			  results.items[i].name, results.items[i].expected, results.items[i].happened);
	case_results_done(&results);
}

static void policy_examine(const char *path)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(policy_tables_freep) struct policy_tables *t = NULL;
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct error err = {};

	cr_assert_eq(policy_load(path, &d, &p), 0, "%s", path);
	policy_diagnostics_print(&d, stderr);
	cr_assert_eq(d.count, 0, "%s has findings", path);
	cr_assert_eq(policy_compile(p, &err, &t), 0, "%s: %s", path, err.text);
	cases_check(path, p, t);
}

/* Tests run in the repository's root, as tests/run.sh does. */
Test(policy_examples, load_and_pass_their_cases)
{
	size_t i, examined = 0;
	glob_t found;

	cr_assert_eq(glob("policies/*", 0, NULL, &found), 0, "no policies here; run in the root of the repository");
	for (i = 0; i < found.gl_pathc; i++) {
		if (strstr(found.gl_pathv[i], ".cases.yaml"))
			continue;
		policy_examine(found.gl_pathv[i]);
		examined++;
	}
	globfree(&found);
	cr_assert_geq(examined, 9);
}
