// SPDX-License-Identifier: Apache-2.0
/*
 * Differences of rules, and of the whole. Rules are compared by what a bank says of them, name and identity, so that
 * this works without the old model too. Of the rules that both sides have, a longest increasing subsequence has kept
 * its order; the others have moved: no fewer moves lead from one order to the other. Called by plan and apply.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/array.h"
#include "policy/diff_internal.h"
#include "policy/write.h"

/* ------------------------------------------------------------------- lists of entries */

struct policy_diff_entry *diff_add(struct policy_diff_list *l, enum policy_change change, const char *name,
				   size_t before, size_t after)
{
	char *copy = strdup(name);
	struct policy_diff_entry *e = copy ? array_add(&l->entries, &l->count, sizeof(*e)) : NULL;

	if (!e) {
		free(copy);
		return NULL;
	}
	e->change = change;
	e->name = copy;
	e->before = before;
	e->after = after;
	l->changes[change]++;
	return e;
}

int diff_note(struct policy_diff_entry *e, char sign, const char *fmt, ...)
{
	char *text = NULL, **notes;
	va_list ap;
	int n;

	if (e->n_notes == POLICY_DIFF_NOTES) {
		e->n_unsaid++;
		return 0;
	}
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	notes = n < 0 ? NULL : reallocarray(e->notes, e->n_notes + 1, sizeof(*notes));
	if (notes)
		e->notes = notes;
	if (!notes || asprintf(&notes[e->n_notes], "%c%s", sign, text) < 0) {
		if (n >= 0)
			free(text);
		return -ENOMEM;
	}
	free(text);
	e->n_notes++;
	return 0;
}

/* Whether `text` has the line of `length` bytes, indent and all. */
static bool text_has_line(const char *text, const char *line, size_t length)
{
	const char *end;

	for (; *text; text = *end ? end + 1 : end) {
		end = strchrnul(text, '\n');
		if ((size_t)(end - text) == length && !memcmp(text, line, length))
			return true;
	}
	return false;
}

static int note_missing(struct policy_diff_entry *e, char sign, const char *text, const char *other)
{
	const char *end, *line;
	int r = 0;

	for (line = text; !r && *line; line = *end ? end + 1 : end) {
		end = strchrnul(line, '\n');
		if (end == line || text_has_line(other, line, (size_t)(end - line)))
			continue;
		line += strspn(line, " ");
		r = diff_note(e, sign, "%.*s", (int)(end - line), line);
	}
	return r;
}

int diff_note_lines(struct policy_diff_entry *e, const char *before, const char *after)
{
	int r = note_missing(e, '-', before, after);

	return r ? r : note_missing(e, '+', after, before);
}

/* ------------------------------------------------------------------- names */

static int name_compare(const void *a, const void *b)
{
	return strcmp(((const struct diff_name *)a)->name, ((const struct diff_name *)b)->name);
}

int diff_names_get(const void *things, size_t count, diff_name_fn name, struct diff_names *ret)
{
	struct diff_name *items = calloc(count + 1, sizeof(*items));
	size_t i, n = 0;

	if (!items)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		items[n].name = name(things, i);
		items[n].place = i;
		n += items[n].name != NULL;
	}
	qsort(items, n, sizeof(*items), name_compare);
	*ret = (struct diff_names){items, n};
	return 0;
}

size_t diff_names_find(const struct diff_names *names, const char *name)
{
	const struct diff_name key = {.name = name}, *found;

	found = names->count ? bsearch(&key, names->items, names->count, sizeof(key), name_compare) : NULL;
	return found ? found->place : POLICY_DIFF_NOWHERE;
}

void diff_names_done(struct diff_names *names)
{
	free(names->items);
}

/* ------------------------------------------------------------------- order */

/* Place of the first of `tails` (ends of increasing subsequences, ascending) whose value is not below `value`. */
static size_t tail_find(const size_t *tails, size_t count, const size_t *values, size_t value)
{
	size_t low = 0, high = count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (values[tails[middle]] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Marks a longest increasing subsequence of values, skipping POLICY_DIFF_NOWHERE. Patience sorting: tails[k] ends the
 * best subsequence of length k + 1, and each element remembers the one before it.
 */
static int order_keep(const size_t *values, size_t count, bool *kept)
{
	_cleanup_free_ size_t *tails = calloc(count + 1, sizeof(*tails));
	_cleanup_free_ size_t *before = calloc(count + 1, sizeof(*before));
	size_t length = 0, i, k;

	if (!tails || !before)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		if (values[i] == POLICY_DIFF_NOWHERE)
			continue;
		k = tail_find(tails, length, values, values[i]);
		before[i] = k ? tails[k - 1] : POLICY_DIFF_NOWHERE;
		tails[k] = i;
		length = max(length, k + 1);
	}
	for (i = length ? tails[length - 1] : POLICY_DIFF_NOWHERE; i != POLICY_DIFF_NOWHERE; i = before[i])
		kept[i] = true;
	return 0;
}

/* ------------------------------------------------------------------- rules */

struct rules_diff {
	const struct policy_diff_side *old;
	const struct policy_diff_side *new;
	size_t n_old; /* defaults not counted */
	size_t n_new;
	size_t *before; /* of each new rule: its place on the old side */
	bool *kept;	/* of each new rule: its order among the others */
	bool *stays;	/* of each old rule: the new side has it */
	struct policy_diff_list *list;
};

static const char *rule_name(const void *rules, size_t i)
{
	return ((const struct sluice_rule *)rules)[i].name;
}

static int rules_match(struct rules_diff *r)
{
	_cleanup_(diff_names_done) struct diff_names names = {};
	size_t i;

	r->before = calloc(r->n_new + 1, sizeof(*r->before));
	r->kept = calloc(r->n_new + 1, sizeof(*r->kept));
	r->stays = calloc(r->n_old + 1, sizeof(*r->stays));
	if (!r->before || !r->kept || !r->stays || diff_names_get(r->old->rules, r->n_old, rule_name, &names))
		return -ENOMEM;
	for (i = 0; i < r->n_new; i++) {
		r->before[i] = diff_names_find(&names, r->new->rules[i].name);
		if (r->before[i] != POLICY_DIFF_NOWHERE)
			r->stays[r->before[i]] = true;
	}
	return order_keep(r->before, r->n_new, r->kept);
}

/* What the rule says is the same: what its segments or services hold is not. */
static int rule_note(const struct rules_diff *d, struct policy_diff_entry *e)
{
	_cleanup_free_ char *before = NULL, *after = NULL;
	int r;

	if (!d->old->model || d->list->changes[POLICY_CHANGED] > POLICY_DIFF_NOTED)
		return 0;
	r = policy_part_text(d->old->model, POLICY_PART_RULE, e->before, &before);
	if (!r)
		r = policy_part_text(d->new->model, POLICY_PART_RULE, e->after, &after);
	if (!r)
		r = diff_note_lines(e, before, after);
	if (!r && !e->n_notes)
		r = diff_note(e, '~', "what its segments or services hold");
	return r;
}

static int rule_compare(const struct rules_diff *d, size_t i)
{
	const struct sluice_rule *rule = &d->new->rules[i];
	size_t before = d->before[i];
	struct policy_diff_entry *e;
	bool changed;

	if (before == POLICY_DIFF_NOWHERE)
		return diff_add(d->list, POLICY_ADDED, rule->name, before, i) ? 0 : -ENOMEM;
	changed = d->old->rules[before].identity != rule->identity;
	if (!changed && d->kept[i])
		return 0;
	e = diff_add(d->list, changed ? POLICY_CHANGED : POLICY_MOVED, rule->name, before, i);
	if (!e)
		return -ENOMEM;
	if (!changed)
		return 0;
	e->moved = !d->kept[i];
	d->list->changes[POLICY_MOVED] += e->moved;
	return rule_note(d, e);
}

static int rules_compare(const struct rules_diff *d)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < d->n_old; i++)
		if (!d->stays[i] && !diff_add(d->list, POLICY_REMOVED, d->old->rules[i].name, i, POLICY_DIFF_NOWHERE))
			r = -ENOMEM;
	for (i = 0; !r && i < d->n_new; i++)
		r = rule_compare(d, i);
	return r;
}

static int rules_diff(const struct policy_diff_side *old, const struct policy_diff_side *new, struct policy_diff *d)
{
	struct rules_diff rules = {
		.old = old,
		.new = new,
		.n_old = old->head && old->head->rules ? old->head->rules - 1 : 0,
		.n_new = new->head->rules - 1,
		.list = &d->part[POLICY_DIFF_RULES],
	};
	int r = rules_match(&rules);

	if (!r)
		r = rules_compare(&rules);
	free(rules.before);
	free(rules.kept);
	free(rules.stays);
	return r;
}

/* ------------------------------------------------------------------- the head */

/* A setting in two words; they may be equal. `before` NULL: no policy. */
static int setting_compare(struct policy_diff *d, const char *name, const char *before, const char *after)
{
	struct policy_diff_entry *e;
	int r = 0;

	if (before && !strcmp(before, after))
		return 0;
	e = diff_add(&d->part[POLICY_DIFF_SETTINGS], before ? POLICY_CHANGED : POLICY_ADDED, name, POLICY_DIFF_NOWHERE,
		     POLICY_DIFF_NOWHERE);
	if (!e)
		return -ENOMEM;
	if (before)
		r = diff_note(e, '-', "%s", before);
	return r ? r : diff_note(e, '+', "%s", after);
}

static const char *mode_word(const struct sluice_policy *head)
{
	return !head ? NULL : head->flags & SLUICE_MODE_AUDIT ? "audit" : "enforce";
}

static const char *default_word(const struct sluice_policy *head)
{
	return !head ? NULL : head->default_action == SLUICE_ACTION_ALLOW ? "allow" : "deny";
}

static int heads_diff(const struct sluice_policy *old, const struct sluice_policy *new, struct policy_diff *d)
{
	int r = setting_compare(d, "name", old ? old->name : NULL, new->name);

	if (!r)
		r = setting_compare(d, "mode", mode_word(old), mode_word(new));
	return r ? r : setting_compare(d, "default", default_word(old), default_word(new));
}

/* What no entry tells but the digest does. */
static int order_diff(const struct policy_diff_side *old, const struct policy_diff_side *new, struct policy_diff *d)
{
	struct policy_diff_entry *e;

	if (!old->head || !policy_diff_is_empty(d) || !memcmp(old->head->digest, new->head->digest, 32))
		return 0;
	e = diff_add(&d->part[POLICY_DIFF_SETTINGS], POLICY_CHANGED, "digest", POLICY_DIFF_NOWHERE,
		     POLICY_DIFF_NOWHERE);
	if (!e)
		return -ENOMEM;
	return diff_note(e, '~', "%s",
			 d->rules_only ? "something other than rules" : "the order of tenants, interfaces or items");
}

/* ------------------------------------------------------------------- the whole */

int policy_diff(const struct policy_diff_side *old, const struct policy_diff_side *new, struct policy_diff **ret_diff)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->rules_only = old->head && !old->model;
	r = rules_diff(old, new, d);
	if (!r)
		r = heads_diff(old->head, new->head, d);
	if (!r && !d->rules_only)
		r = diff_models(old->model, new->model, d);
	if (!r)
		r = order_diff(old, new, d);
	if (!r)
		*ret_diff = TAKE_PTR(d);
	return r;
}

static void entry_done(struct policy_diff_entry *e)
{
	size_t i;

	for (i = 0; i < e->n_notes; i++)
		free(e->notes[i]);
	free(e->notes);
	free(e->name);
}

void policy_diff_free(struct policy_diff *d)
{
	size_t part, i;

	if (!d)
		return;
	for (part = 0; part < POLICY_DIFF_PARTS; part++) {
		for (i = 0; i < d->part[part].count; i++)
			entry_done(&d->part[part].entries[i]);
		free(d->part[part].entries);
	}
	free(d);
}

void policy_diff_freep(struct policy_diff **d)
{
	policy_diff_free(*d);
}

bool policy_diff_is_empty(const struct policy_diff *d)
{
	size_t part;

	for (part = 0; part < POLICY_DIFF_PARTS; part++)
		if (d->part[part].count)
			return false;
	return true;
}

const char *policy_diff_part_name(enum policy_diff_part part)
{
	static const char *const names[] = {
		[POLICY_DIFF_RULES] = "rules",	     [POLICY_DIFF_SEGMENTS] = "segments",
		[POLICY_DIFF_SERVICES] = "services", [POLICY_DIFF_INTERFACES] = "interfaces",
		[POLICY_DIFF_TENANTS] = "tenants",   [POLICY_DIFF_SETTINGS] = "settings",
	};

	return names[part];
}

const char *policy_change_name(enum policy_change change)
{
	static const char *const names[] = {
		[POLICY_ADDED] = "added",
		[POLICY_REMOVED] = "removed",
		[POLICY_CHANGED] = "changed",
		[POLICY_MOVED] = "moved",
	};

	return names[change];
}
