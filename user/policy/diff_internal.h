/* SPDX-License-Identifier: Apache-2.0 */
/* What diff.c (rules, the whole) and diff_model.c (everything else) share. Internal to user/policy. */
#ifndef SLUICE_POLICY_DIFF_INTERNAL_H
#define SLUICE_POLICY_DIFF_INTERNAL_H

#include "policy/diff.h"

/* Appends an entry, counted; NULL: no memory. */
struct policy_diff_entry *diff_add(struct policy_diff_list *l, enum policy_change change, const char *name,
				   size_t before, size_t after);
/* One line, `sign` first; beyond POLICY_DIFF_NOTES only counted. */
int diff_note(struct policy_diff_entry *e, char sign, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Notes the lines that only one of the texts has. *ret_differ: there are some, or the texts differ otherwise. */
int diff_note_lines(struct policy_diff_entry *e, const char *before, const char *after);

/* Names of a list of things, sorted for search. */
struct diff_names {
	struct diff_name {
		const char *name;
		size_t place;
	} * items;
	size_t count;
};
typedef const char *(*diff_name_fn)(const void *things, size_t i); /* NULL: nameless, left out */

int diff_names_get(const void *things, size_t count, diff_name_fn name, struct diff_names *ret);
size_t diff_names_find(const struct diff_names *names, const char *name); /* place, or POLICY_DIFF_NOWHERE */
void diff_names_done(struct diff_names *names);

/* Segments, services, interfaces, tenants, settings. `old` NULL: no policy. */
int diff_models(const struct policy *old, const struct policy *new, struct policy_diff *d);

#endif
