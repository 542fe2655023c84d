/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to a policy in words, and files of them with the answers that are expected (POLICY.cases.yaml):
 *
 *	cases:
 *	  - {from: 10.10.1.1, to: 10.20.0.5, service: tcp/4420, verdict: allow, rule: trainers-to-storage}
 *	  - {name: a scan, from: 10.66.0.1, to: 10.20.0.5, service: tcp/22, verdict: deny}
 *
 * from, to, service and verdict (allow, deny, reject) are required; source-port, tenant, rule (`default` when no rule
 *matches) and name are not. A case is judged twice, by the rules as written and by the compiled tables, and both must
 *agree.
 */
#ifndef SLUICE_POLICY_CASES_H
#define SLUICE_POLICY_CASES_H

#include "base/error.h"
#include "policy/policy.h"

struct question {
	const char *from;
	const char *to;
	const char *service;
	const char *source_port; /* NULL: 0 */
	const char *tenant;	 /* NULL: the host's */
};

/* -EINVAL with err: a word is not understood. */
int question_read(const struct question *q, const struct policy *p, struct policy_query *ret_query, struct error *err);

struct case_result {
	struct policy_place place; /* file is the `path` that was given */
	char *name;		   /* as given, or "from > to service" */
	char *expected;		   /* "allow by rule-name" */
	char *happened;
	bool ok;
};

struct case_results {
	struct case_result *items;
	size_t count;
	size_t failed;
};

/*
 * Judges every case of a file. -EINVAL: the file is not understood, diagnostics say where; -errno with err: it could
 * not be read.
 */
int cases_run(const char *path, const struct policy *p, const struct policy_tables *t, struct policy_diagnostics *d,
	      struct error *err, struct case_results *ret);
void case_results_done(struct case_results *r);

#endif
