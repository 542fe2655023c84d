/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one policy changes against another. Pure: two sides in, a list of differences out. Everything is matched by
 * name, tenants too; of the rules that both sides have, as few as possible are called moved.
 */
#ifndef SLUICE_POLICY_DIFF_H
#define SLUICE_POLICY_DIFF_H

#include "policy/policy.h"

#define POLICY_DIFF_NOTES   8	 /* lines that say what changed, an entry */
#define POLICY_DIFF_NOTED   1000 /* rules that get any */
#define POLICY_DIFF_NOWHERE SIZE_MAX

enum policy_change { POLICY_ADDED, POLICY_REMOVED, POLICY_CHANGED, POLICY_MOVED, POLICY_CHANGES };

struct policy_diff_entry {
	enum policy_change change;
	bool moved;    /* of a change: it has moved too */
	char *name;    /* owned, like the notes */
	size_t before; /* place in its list on the old side, from 0, or POLICY_DIFF_NOWHERE */
	size_t after;
	size_t prefixes_added; /* of a segment: include and except */
	size_t prefixes_removed;
	char **notes; /* "+..." is new, "-..." is gone */
	size_t n_notes;
	size_t n_unsaid; /* notes that are left out */
};

struct policy_diff_list {
	struct policy_diff_entry *entries; /* those removed first, in the old order, then by the new order */
	size_t count;
	size_t changes[POLICY_CHANGES]; /* entries by change; a rule both changed and moved counts for both */
};

/* The parts of a policy that are lists of named things; settings are the rest: name, mode, default, failsafe, ... */
enum policy_diff_part {
	POLICY_DIFF_RULES,
	POLICY_DIFF_SEGMENTS,
	POLICY_DIFF_SERVICES,
	POLICY_DIFF_INTERFACES,
	POLICY_DIFF_TENANTS,
	POLICY_DIFF_SETTINGS,
	POLICY_DIFF_PARTS
};

struct policy_diff {
	struct policy_diff_list part[POLICY_DIFF_PARTS];
	bool rules_only; /* the old model is not known: rules, name, mode and default were compared, nothing else */
};

/* One side: what a bank holds, and the model it came from if that is known. All zero: no policy at all. */
struct policy_diff_side {
	const struct policy *model;	  /* NULL: not known */
	const struct sluice_policy *head; /* NULL: no policy */
	const struct sluice_rule *rules;  /* head->rules of them, the default last */
};

/* The new side has a model. -ENOMEM. */
int policy_diff(const struct policy_diff_side *old, const struct policy_diff_side *new, struct policy_diff **ret_diff);
void policy_diff_free(struct policy_diff *d);
void policy_diff_freep(struct policy_diff **d);
bool policy_diff_is_empty(const struct policy_diff *d);

/* "rules", "segments", ...; "added", "removed", ... */
const char *policy_diff_part_name(enum policy_diff_part part);
const char *policy_change_name(enum policy_change change);

#endif
