/* SPDX-License-Identifier: Apache-2.0 */
/* An import and the policy that it made, loaded and compiled: what the tests of the importers ask. */
#ifndef SLUICE_TESTS_IMPORTING_H
#define SLUICE_TESTS_IMPORTING_H

#include "policy/import.h"
#include "policy/policy.h"

struct importing {
	struct import_result result;
	struct error err;
	int r; /* of import_text() */
	struct policy *policy;
	struct policy_tables *tables;
};

/* Imports and, if that worked, loads and compiles: a policy that is refused ends the program with its text. */
void importing_begin(struct importing *i, const struct import_options *o, const char *text);
void importing_done(struct importing *i);

/* "allow", "deny", "reject" or "allow-stateless"; by the tables, and by explain, which must agree. */
const char *importing_verdict(const struct importing *i, const char *from, const char *to, const char *service,
			      unsigned int source_port);
const char *importing_query(const struct importing *i, const struct policy_query *q);

/* The first dropped line at `line`, or NULL. */
const struct import_dropped *importing_dropped(const struct importing *i, unsigned int line);

#endif
