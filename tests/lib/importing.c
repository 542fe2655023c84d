// SPDX-License-Identifier: Apache-2.0
/* What tests of the importers share; see importing.h. A broken expectation of its own aborts: it is a bug, not a case.
 */
#include "importing.h"

#include <stdlib.h>
#include <string.h>

#define MUST(what, ...)                                                                                                \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, __VA_ARGS__);                                                                  \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

void importing_begin(struct importing *i, const struct import_options *o, const char *text)
{
	struct policy_diagnostics d = {};

	*i = (struct importing){};
	i->r = import_text(o, text, strlen(text), &i->err, &i->result);
	if (i->r)
		return;
	if (policy_load_text("imported.yaml", i->result.policy, strlen(i->result.policy), &d, &i->policy)) {
		policy_diagnostics_print(&d, stderr);
		MUST(false, "the imported policy is refused:\n%.20000s\n", i->result.policy);
	}
	policy_diagnostics_done(&d);
	MUST(!policy_compile(i->policy, &i->err, &i->tables), "does not compile: %s\n", i->err.text);
}

void importing_done(struct importing *i)
{
	policy_tables_free(i->tables);
	policy_free(i->policy);
	import_result_done(&i->result);
}

const char *importing_query(const struct importing *i, const struct policy_query *q)
{
	static const char *const names[] = {
		[SLUICE_ACTION_ALLOW] = "allow", [SLUICE_ACTION_DENY] = "deny", [SLUICE_ACTION_REJECT] = "reject"};
	size_t rule = policy_tables_lookup(i->tables, q);
	struct policy_answer answer;
	bool stateless;

	MUST(!policy_explain(i->policy, q, &answer), "explain fails\n");
	free(answer.earlier);
	MUST(answer.rule == rule, "tables say rule %zu, explain says %zu\n", rule, answer.rule);
	stateless = answer.action == SLUICE_ACTION_ALLOW && !answer.by_default &&
		    strstr(i->result.policy, ", stateful: false");
	return stateless ? "allow-stateless" : names[answer.action];
}

const char *importing_verdict(const struct importing *i, const char *from, const char *to, const char *service,
			      unsigned int source_port)
{
	struct policy_query q = {.source_port = (uint16_t)source_port};
	struct error err = {};

	MUST(!policy_query_address(from, q.source, &err) && !policy_query_address(to, q.dest, &err) &&
		     !policy_query_service(service, &q, &err),
	     "%s %s %s: %s\n", from, to, service, err.text);
	return importing_query(i, &q);
}

const struct import_dropped *importing_dropped(const struct importing *i, unsigned int line)
{
	size_t n;

	for (n = 0; n < i->result.n_dropped; n++)
		if (i->result.dropped[n].line == line)
			return &i->result.dropped[n];
	return NULL;
}
