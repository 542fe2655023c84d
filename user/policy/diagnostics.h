/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting what is wrong with a policy. Internal to user/policy. */
#ifndef SLUICE_POLICY_DIAGNOSTICS_H
#define SLUICE_POLICY_DIAGNOSTICS_H

#include "policy/policy.h"

/* More than this is noise: the list ends with a line that says so. */
#define DIAGNOSTICS_MAX 1000

/*
 * Adds one finding; the text is "fact; remedy" and must not name the place. place.file is copied. `d` may be NULL:
 * nothing is kept. 0, or -ENOMEM.
 */
int diagnostics_add(struct policy_diagnostics *d, enum policy_severity severity, struct policy_place place,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Sorts by file order, line and column, so that findings of later passes stand where a reader expects them. */
void diagnostics_sort(struct policy_diagnostics *d);

/*
 * The nearest of names to a misspelt word, by edit distance; feed every candidate to suggestion_try(). `best` stays
 * NULL when nothing is near enough to be meant.
 */
struct suggestion {
	const char *word;
	const char *best;
	size_t distance;
};

void suggestion_try(struct suggestion *s, const char *candidate);

/* "; did you mean 'best'?" or "" in buf, which it returns. */
const char *suggestion_text(const struct suggestion *s, char *buf, size_t size);

#endif
