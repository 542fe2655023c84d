// SPDX-License-Identifier: Apache-2.0
/*
 * Differences of everything that is not a rule. Parts are compared as canonical text (write.c), in which things are
 * called by their names: the numbers of tenants and segments differ from policy to policy and mean nothing here.
 * Segments are compared prefix by prefix, because they grow long. Called by diff.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/diff_internal.h"
#include "policy/model.h"
#include "policy/values.h"
#include "policy/write.h"

/* One kind of named things. compare() notes what differs into an entry that is only kept if there is something. */
struct kind {
	enum policy_diff_part part;
	diff_name_fn name;
	size_t (*count)(const struct policy *p);
	int (*compare)(const struct policy *old, size_t before, const struct policy *new, size_t after,
		       struct policy_diff_entry *e, bool *ret_differ);
	/* Of an entry that is added or removed; may be NULL. */
	void (*size)(const struct policy *p, size_t i, size_t *ret_prefixes);
};

/* ------------------------------------------------------------------- by text */

static int part_compare(enum policy_part part, const struct policy *old, size_t before, const struct policy *new,
			size_t after, struct policy_diff_entry *e, bool *ret_differ)
{
	_cleanup_free_ char *was = NULL, *is = NULL;
	int r = policy_part_text(old, part, before, &was);

	if (!r)
		r = policy_part_text(new, part, after, &is);
	if (r)
		return r;
	*ret_differ = strcmp(was, is) != 0;
	if (*ret_differ)
		r = diff_note_lines(e, was, is);
	if (!r && *ret_differ && !e->n_notes)
		r = diff_note(e, '~', "the order of its lines");
	return r;
}

static int service_compare(const struct policy *old, size_t before, const struct policy *new, size_t after,
			   struct policy_diff_entry *e, bool *ret_differ)
{
	return part_compare(POLICY_PART_SERVICE, old, before, new, after, e, ret_differ);
}

static int interface_compare(const struct policy *old, size_t before, const struct policy *new, size_t after,
			     struct policy_diff_entry *e, bool *ret_differ)
{
	return part_compare(POLICY_PART_INTERFACE, old, before, new, after, e, ret_differ);
}

static int tenant_compare(const struct policy *old, size_t before, const struct policy *new, size_t after,
			  struct policy_diff_entry *e, bool *ret_differ)
{
	*ret_differ = false; /* a tenant is nothing but its name */
	return 0;
}

static const char *segment_name(const void *p, size_t i)
{
	return ((const struct policy *)p)->segments[i].name;
}

static const char *service_name(const void *p, size_t i)
{
	return ((const struct policy *)p)->services[i].name;
}

static const char *interface_name(const void *p, size_t i)
{
	return ((const struct policy *)p)->interfaces[i].name;
}

static const char *tenant_name(const void *p, size_t i)
{
	const char *name = ((const struct policy *)p)->tenants[i];

	return *name ? name : NULL;
}

static size_t segment_count(const struct policy *p)
{
	return p->n_segments;
}

static size_t service_count(const struct policy *p)
{
	return p->n_services;
}

static size_t interface_count(const struct policy *p)
{
	return p->n_interfaces;
}

static size_t tenant_count(const struct policy *p)
{
	return p->n_tenants;
}

/* ------------------------------------------------------------------- segments */

static int prefix_compare(const void *a, const void *b)
{
	const struct policy_prefix *x = a, *y = b;
	int order = memcmp(x->addr, y->addr, sizeof(x->addr));

	if (order)
		return order;
	if (x->ipv4 != y->ipv4)
		return x->ipv4 ? -1 : 1;
	return (int)x->length - (int)y->length;
}

struct prefixes {
	struct policy_prefix *items;
	size_t count;
};

static void prefixes_done(struct prefixes *p)
{
	free(p->items);
}

static int prefixes_sorted(const struct policy_prefix *items, size_t count, struct prefixes *ret)
{
	ret->items = calloc(count + 1, sizeof(*items));
	if (!ret->items)
		return -ENOMEM;
	if (count)
		memcpy(ret->items, items, count * sizeof(*items));
	qsort(ret->items, count, sizeof(*items), prefix_compare);
	ret->count = count;
	return 0;
}

static int prefix_note(struct policy_diff_entry *e, char sign, const char *key, const struct policy_prefix *prefix)
{
	char text[VALUE_PREFIX_LEN];

	if (sign == '+')
		e->prefixes_added++;
	else
		e->prefixes_removed++;
	return diff_note(e, sign, "%s%s", key, value_prefix_text(prefix, text));
}

/* Merges two sorted lists; only what one of them has is noted. */
static int prefixes_note(struct policy_diff_entry *e, const char *key, const struct prefixes *old,
			 const struct prefixes *new)
{
	size_t i = 0, k = 0;
	int order, r = 0;

	while (!r && (i < old->count || k < new->count)) {
		if (i == old->count)
			order = 1;
		else if (k == new->count)
			order = -1;
		else
			order = prefix_compare(&old->items[i], &new->items[k]);
		if (order < 0)
			r = prefix_note(e, '-', key, &old->items[i]);
		if (order > 0)
			r = prefix_note(e, '+', key, &new->items[k]);
		i += order <= 0;
		k += order >= 0;
	}
	return r;
}

static int prefixes_compare(struct policy_diff_entry *e, const char *key, const struct policy_prefix *before,
			    size_t n_before, const struct policy_prefix *after, size_t n_after)
{
	_cleanup_(prefixes_done) struct prefixes old = {}, new = {};
	int r = prefixes_sorted(before, n_before, &old);

	if (!r)
		r = prefixes_sorted(after, n_after, &new);
	return r ? r : prefixes_note(e, key, &old, &new);
}

/* Notes the members of `from` that `in` lacks. */
static int members_note(struct policy_diff_entry *e, char sign, const struct policy *from,
			const struct policy_segment *s, const struct policy *in, const struct policy_segment *other)
{
	const char *name;
	size_t i, k;
	int r = 0;

	for (i = 0; !r && i < s->n_members; i++) {
		name = from->segments[s->members[i]].name;
		for (k = 0; k < other->n_members && strcmp(in->segments[other->members[k]].name, name); k++)
			;
		if (k == other->n_members)
			r = diff_note(e, sign, "segment %s", name);
	}
	return r;
}

static const char *segment_tenant(const struct policy *p, const struct policy_segment *s)
{
	return s->tenant == POLICY_TENANT_UNSAID ? "unsaid"
	       : *p->tenants[s->tenant]		 ? p->tenants[s->tenant]
						 : "the host's";
}

static int segment_compare(const struct policy *old, size_t before, const struct policy *new, size_t after,
			   struct policy_diff_entry *e, bool *ret_differ)
{
	const struct policy_segment *was = &old->segments[before], *is = &new->segments[after];
	const char *tenant = segment_tenant(old, was);
	int r = 0;

	if (strcmp(tenant, segment_tenant(new, is)))
		r = diff_note(e, '-', "tenant %s", tenant) ?: diff_note(e, '+', "tenant %s", segment_tenant(new, is));
	if (!r)
		r = members_note(e, '-', old, was, new, is);
	if (!r)
		r = members_note(e, '+', new, is, old, was);
	if (!r)
		r = prefixes_compare(e, "", was->include, was->n_include, is->include, is->n_include);
	if (!r)
		r = prefixes_compare(e, "except ", was->except, was->n_except, is->except, is->n_except);
	*ret_differ = e->n_notes > 0;
	return r;
}

static void segment_size(const struct policy *p, size_t i, size_t *ret_prefixes)
{
	*ret_prefixes = p->segments[i].n_include + p->segments[i].n_except;
}

/* ------------------------------------------------------------------- lists of named things */

static const struct kind kinds[] = {
	{POLICY_DIFF_SEGMENTS, segment_name, segment_count, segment_compare, segment_size},
	{POLICY_DIFF_SERVICES, service_name, service_count, service_compare, NULL},
	{POLICY_DIFF_INTERFACES, interface_name, interface_count, interface_compare, NULL},
	{POLICY_DIFF_TENANTS, tenant_name, tenant_count, tenant_compare, NULL},
};

/* Takes the last entry away again. */
static void entry_drop(struct policy_diff_list *l)
{
	struct policy_diff_entry *e = &l->entries[--l->count];

	l->changes[e->change]--;
	free(e->name);
	free(e->notes);
}

static int thing_compare(const struct kind *kind, const struct policy *old, size_t before, const struct policy *new,
			 size_t after, struct policy_diff_list *l)
{
	struct policy_diff_entry *e = diff_add(l, POLICY_CHANGED, kind->name(new, after), before, after);
	bool differ = false;
	int r = e ? kind->compare(old, before, new, after, e, &differ) : -ENOMEM;

	if (!r && !differ)
		entry_drop(l);
	return r;
}

/* What `p` has and the other side lacks. */
static int things_alone(const struct kind *kind, const struct policy *p, const struct diff_names *others,
			enum policy_change change, struct policy_diff_list *l)
{
	size_t i, count = p ? kind->count(p) : 0;
	struct policy_diff_entry *e;
	const char *name;

	for (i = 0; i < count; i++) {
		name = kind->name(p, i);
		if (!name || diff_names_find(others, name) != POLICY_DIFF_NOWHERE)
			continue;
		e = diff_add(l, change, name, change == POLICY_REMOVED ? i : POLICY_DIFF_NOWHERE,
			     change == POLICY_ADDED ? i : POLICY_DIFF_NOWHERE);
		if (!e)
			return -ENOMEM;
		if (kind->size)
			kind->size(p, i, change == POLICY_ADDED ? &e->prefixes_added : &e->prefixes_removed);
	}
	return 0;
}

static int kind_diff(const struct kind *kind, const struct policy *old, const struct policy *new,
		     struct policy_diff_list *l)
{
	_cleanup_(diff_names_done) struct diff_names before = {}, after = {};
	size_t i, place, count = kind->count(new);
	int r = old ? diff_names_get(old, kind->count(old), kind->name, &before) : 0;

	if (!r)
		r = diff_names_get(new, count, kind->name, &after);
	if (!r)
		r = things_alone(kind, old, &after, POLICY_REMOVED, l);
	if (!r)
		r = things_alone(kind, new, &before, POLICY_ADDED, l);
	for (i = 0; !r && i < count; i++) {
		if (!kind->name(new, i))
			continue;
		place = diff_names_find(&before, kind->name(new, i));
		if (place != POLICY_DIFF_NOWHERE)
			r = thing_compare(kind, old, place, new, i, l);
	}
	return r;
}

/* ------------------------------------------------------------------- settings */

static int setting_diff(const char *name, enum policy_part part, const struct policy *old, const struct policy *new,
			struct policy_diff_list *l)
{
	_cleanup_free_ char *is = NULL;
	struct policy_diff_entry *e;
	bool differ = false;
	int r;

	if (!old) { /* defaults are no news */
		r = policy_part_text(new, part, 0, &is);
		if (!r && *is && !diff_add(l, POLICY_ADDED, name, POLICY_DIFF_NOWHERE, POLICY_DIFF_NOWHERE))
			r = -ENOMEM;
		return r;
	}
	e = diff_add(l, POLICY_CHANGED, name, POLICY_DIFF_NOWHERE, POLICY_DIFF_NOWHERE);
	r = e ? part_compare(part, old, 0, new, 0, e, &differ) : -ENOMEM;
	if (!r && !differ)
		entry_drop(l);
	return r;
}

int diff_models(const struct policy *old, const struct policy *new, struct policy_diff *d)
{
	static const struct {
		const char *name;
		enum policy_part part;
	} settings[] = {
		{"failsafe", POLICY_PART_FAILSAFE},
		{"conntrack", POLICY_PART_CONNTRACK},
		{"storage", POLICY_PART_STORAGE},
	};
	size_t i;
	int r = 0;

	for (i = 0; !r && i < ARRAY_SIZE(kinds); i++)
		r = kind_diff(&kinds[i], old, new, &d->part[kinds[i].part]);
	for (i = 0; !r && i < ARRAY_SIZE(settings); i++)
		r = setting_diff(settings[i].name, settings[i].part, old, new, &d->part[POLICY_DIFF_SETTINGS]);
	return r;
}
