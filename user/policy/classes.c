// SPDX-License-Identifier: Apache-2.0
/*
 * The addresses of one tenant → equivalence classes. A sweep over the edges of all sets that the tenant's rules and
 * antispoof lists name yields intervals of addresses that nothing tells apart; equal intervals get one class. As a
 * source only `from` counts, as a destination only `to`: these are reduced separately, so that a class names a row and
 * a column of the pair table. Called by compile.c once a tenant.
 *
 * Destination classes are numbered from 0 in every tenant: a row of `pairs` belongs to one tenant (its source class
 * does), so that columns can be shared.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/compile.h"

/* One role: as source or as destination. Elements are the distinct sets, in order of first use. */
struct role {
	uint32_t *sets; /* address set of each element */
	size_t n_sets;
	uint32_t *of_rule; /* element of each rule of the policy, SET_ANY, or SET_NONE: not in this tenant */
	uint32_t *first;   /* of each element: where its rules begin in `rules`; one more at the end */
	uint32_t *rules;   /* rules by element */
	uint64_t *any;	   /* bitmap of the rules with `any` */
	uint64_t *bitmap;  /* scratch */
	struct active active;
	struct fingerprint_index by_fingerprint;
	struct rule_sets *classes;
};

/* An antispoof list, as an element of the sweep beyond those of the roles. */
struct guard {
	uint32_t set;
	uint32_t slot;
};

struct walk {
	struct compiler *compiler;
	uint16_t tenant;
	struct role from;
	struct role to;
	struct guard *guards;
	size_t n_guards;
	uint64_t antispoof; /* mask of the addresses at the sweep */
	struct interval *intervals;
	size_t n_intervals;
	size_t intervals_capacity;
	struct hash_index by_class;
};

static void role_done(struct role *role)
{
	free(role->sets);
	free(role->of_rule);
	free(role->first);
	free(role->rules);
	free(role->any);
	free(role->bitmap);
	active_done(&role->active);
	fingerprint_index_done(&role->by_fingerprint);
}

static void walk_done(struct walk *w)
{
	role_done(&w->from);
	role_done(&w->to);
	free(w->guards);
	free(w->intervals);
	hash_index_done(&w->by_class);
}

/* ------------------------------------------------------------------------- roles */

static size_t bitmap_words(const struct compiler *c)
{
	return (c->policy->n_rules + 63) / 64;
}

static int role_begin(struct compiler *c, struct role *role)
{
	role->of_rule = calloc(c->policy->n_rules + 1, sizeof(*role->of_rule));
	role->rules = calloc(c->policy->n_rules + 1, sizeof(*role->rules));
	role->any = calloc(bitmap_words(c) + 1, sizeof(*role->any));
	role->bitmap = calloc(bitmap_words(c) + 1, sizeof(*role->bitmap));
	return role->of_rule && role->rules && role->any && role->bitmap ? 0 : -ENOMEM;
}

static int role_element(struct role *role, struct hash_index *elements, uint32_t set, uint32_t *ret_element)
{
	uint32_t *slot, element = hash_index_find(elements, hash_mix(set), NULL, NULL, NULL);

	if (element == HASH_NONE) {
		element = (uint32_t)role->n_sets;
		slot = array_add(&role->sets, &role->n_sets, sizeof(*slot));
		if (!slot || hash_index_add(elements, hash_mix(set), element))
			return -ENOMEM;
		*slot = set;
	}
	*ret_element = element;
	return 0;
}

/* Notes what rule i names on this side, and makes it part of the rule's identity and the policy's digest. */
static int role_add_rule(struct compiler *c, struct role *role, struct hash_index *elements, size_t i,
			 const struct policy_side *side, uint16_t tenant)
{
	static const uint8_t any_digest[32];
	const uint8_t *digest = any_digest;
	uint32_t set;
	int r;

	if (side->any) {
		role->of_rule[i] = SET_ANY;
		role->any[i / 64] |= 1ull << i % 64;
	} else {
		r = address_set_add(c, side->segments, side->n_segments, tenant, &set);
		if (!r)
			r = role_element(role, elements, set, &role->of_rule[i]);
		if (r)
			return r;
		digest = c->addresses.items[set].digest;
	}
	c->rule_hash[i] = hash_mix(c->rule_hash[i] ^ hash_bytes(digest, sizeof(any_digest)));
	digest_bytes(c->digest, digest, sizeof(any_digest));
	return 0;
}

/* Sorts rules by element: counts, then places. */
static int role_index(struct compiler *c, struct role *role)
{
	_cleanup_free_ uint32_t *next = calloc(role->n_sets + 1, sizeof(*next));
	size_t i;

	role->first = calloc(role->n_sets + 2, sizeof(*role->first));
	if (!next || !role->first)
		return -ENOMEM;
	for (i = 0; i < c->policy->n_rules; i++) {
		if (role->of_rule[i] < SET_NONE)
			role->first[role->of_rule[i] + 1]++;
	}
	for (i = 0; i < role->n_sets; i++) {
		role->first[i + 1] += role->first[i];
		next[i] = role->first[i];
	}
	for (i = 0; i < c->policy->n_rules; i++) {
		if (role->of_rule[i] < SET_NONE)
			role->rules[next[role->of_rule[i]]++] = (uint32_t)i;
	}
	return active_begin(&role->active, role->n_sets);
}

static int rules_collect(struct walk *w, struct hash_index *from, struct hash_index *to)
{
	struct compiler *c = w->compiler;
	const struct policy_rule *rule;
	size_t i;
	int r = 0;

	for (i = 0; i < c->policy->n_rules && !r; i++) {
		rule = &c->policy->rules[i];
		if (!policy_rule_in_tenant(rule, w->tenant)) {
			w->from.of_rule[i] = SET_NONE;
			w->to.of_rule[i] = SET_NONE;
			continue;
		}
		c->rule_hash[i] = hash_mix(c->rule_hash[i] ^ hash_string(c->policy->tenants[w->tenant]));
		digest_number(c->digest, (uint64_t)w->tenant << 32 | i);
		r = role_add_rule(c, &w->from, from, i, &rule->from, w->tenant);
		if (!r)
			r = role_add_rule(c, &w->to, to, i, &rule->to, w->tenant);
	}
	return r;
}

static int guards_collect(struct walk *w)
{
	const struct policy *p = w->compiler->policy;
	struct guard *guard;
	uint32_t set;
	size_t i;
	int r;

	for (i = 0; i < p->n_interfaces; i++) {
		if (!p->interfaces[i].antispoof)
			continue;
		r = address_set_add(w->compiler, p->interfaces[i].antispoof_segments,
				    p->interfaces[i].n_antispoof_segments, w->tenant, &set);
		if (r)
			return r;
		guard = array_add(&w->guards, &w->n_guards, sizeof(*guard));
		if (!guard)
			return -ENOMEM;
		*guard = (struct guard){set, (uint32_t)i};
		digest_bytes(w->compiler->digest, w->compiler->addresses.items[set].digest, 32);
	}
	return 0;
}

/* ------------------------------------------------------------------------- sweep */

/* Elements of the sweep: sets of `from`, then sets of `to`, then guards. */
static void element_toggle(void *arg, uint32_t element, bool on)
{
	struct walk *w = arg;

	if (element < w->from.n_sets) {
		active_toggle(&w->from.active, element, on);
		return;
	}
	element -= (uint32_t)w->from.n_sets;
	if (element < w->to.n_sets)
		active_toggle(&w->to.active, element, on);
	else
		w->antispoof ^= 1ull << w->guards[element - w->to.n_sets].slot;
}

/* The class of the sets that are on, in this role; a new one notes the rules that name it. */
static int role_class(struct compiler *c, struct role *role, uint32_t *ret_class)
{
	uint32_t class = fingerprint_find(&role->by_fingerprint, &role->active.fingerprint);
	size_t i, k;
	int r;

	if (class == HASH_NONE) {
		class = (uint32_t)role->classes->count;
		memcpy(role->bitmap, role->any, bitmap_words(c) * sizeof(*role->any));
		for (i = 0; i < role->active.count; i++) {
			for (k = role->first[role->active.members[i]]; k < role->first[role->active.members[i] + 1];
			     k++)
				role->bitmap[role->rules[k] / 64] |= 1ull << role->rules[k] % 64;
		}
		r = rule_sets_add(c, role->classes, role->bitmap, bitmap_words(c));
		if (r)
			return r;
		if (fingerprint_number(&role->by_fingerprint, &role->active.fingerprint))
			return -ENOMEM;
	}
	*ret_class = class;
	return 0;
}

static bool class_is(const void *tables, const void *class, uint32_t i)
{
	return !memcmp(&((const struct policy_tables *)tables)->classes[i], class, sizeof(struct sluice_class));
}

static int class_intern(struct walk *w, const struct sluice_class *class, uint32_t *ret_class)
{
	struct policy_tables *t = w->compiler->tables;
	uint64_t hash = hash_bytes(class, sizeof(*class));
	uint32_t id = hash_index_find(&w->by_class, hash, class_is, t, class);

	if (id == HASH_NONE) {
		id = (uint32_t)t->n_classes;
		if (array_reserve(&t->classes, &w->compiler->classes_capacity, t->n_classes, 1, sizeof(*class)) ||
		    hash_index_add(&w->by_class, hash, id))
			return -ENOMEM;
		t->classes[t->n_classes++] = *class;
	}
	*ret_class = id;
	return 0;
}

static int interval_add(struct walk *w, address_t last, uint32_t class)
{
	if (w->n_intervals && w->intervals[w->n_intervals - 1].class == class) {
		w->intervals[w->n_intervals - 1].last = last;
		return 0;
	}
	if (array_reserve(&w->intervals, &w->intervals_capacity, w->n_intervals, 1, sizeof(*w->intervals)))
		return -ENOMEM;
	w->intervals[w->n_intervals++] = (struct interval){last, class};
	return 0;
}

static int interval_class(void *arg, address_t first, address_t last)
{
	struct walk *w = arg;
	struct compiler *c = w->compiler;
	struct sluice_class class = {.antispoof = w->antispoof};
	uint32_t id;
	int r;

	r = role_class(c, &w->from, &class.source);
	if (!r)
		r = role_class(c, &w->to, &class.dest);
	if (r)
		return r;
	class.source += (uint32_t)c->tenants[w->tenant].first_source;
	r = class_intern(w, &class, &id);
	return r ? r : interval_add(w, last, id);
}

/* ---------------------------------------------------------------------- families */

static const struct range_list *set_list(const struct compiler *c, uint32_t set, bool ipv4)
{
	const struct ranges *ranges = &c->addresses.items[set].ranges;

	return ipv4 ? &ranges->v4 : &ranges->v6;
}

static int list_add(struct sweep *sweep, uint32_t element, const struct range_list *list)
{
	size_t i;
	int r = 0;

	for (i = 0; i < list->count && !r; i++)
		r = sweep_add(sweep, element, list->items[i]);
	return r;
}

static int edges_collect(struct walk *w, bool ipv4, struct sweep *sweep)
{
	uint32_t element = 0;
	size_t i;
	int r = 0;

	for (i = 0; i < w->from.n_sets && !r; i++)
		r = list_add(sweep, element++, set_list(w->compiler, w->from.sets[i], ipv4));
	for (i = 0; i < w->to.n_sets && !r; i++)
		r = list_add(sweep, element++, set_list(w->compiler, w->to.sets[i], ipv4));
	for (i = 0; i < w->n_guards && !r; i++)
		r = list_add(sweep, element++, set_list(w->compiler, w->guards[i].set, ipv4));
	return r;
}

/* Everything off: an interface without antispoof lets every source in. */
static void walk_rewind(struct walk *w)
{
	size_t i;

	w->from.active.count = 0;
	w->from.active.fingerprint = (struct fingerprint){};
	w->to.active.count = 0;
	w->to.active.fingerprint = (struct fingerprint){};
	w->antispoof = ~0ull;
	for (i = 0; i < w->n_guards; i++)
		w->antispoof &= ~(1ull << w->guards[i].slot);
	w->n_intervals = 0;
}

static int family_compile(struct walk *w, bool ipv4, struct words *words, struct hash_index *pages, uint32_t *ret_root)
{
	static const struct sweep_ops ops = {element_toggle, interval_class};
	_cleanup_(sweep_done) struct sweep sweep = {};
	int r;

	walk_rewind(w);
	r = edges_collect(w, ipv4, &sweep);
	if (!r)
		r = sweep_run(&sweep, ipv4 ? ADDRESS_MAX4 : ADDRESS_MAX6, &ops, w);
	if (!r)
		r = trie_build(w->compiler, words, pages, w->intervals, w->n_intervals, ipv4 ? 32 : 128, ret_root);
	return r;
}

static int roles_compile(struct walk *w)
{
	struct hash_index from = {}, to = {};
	int r;

	r = role_begin(w->compiler, &w->from);
	if (!r)
		r = role_begin(w->compiler, &w->to);
	if (!r)
		r = rules_collect(w, &from, &to);
	if (!r)
		r = role_index(w->compiler, &w->from);
	if (!r)
		r = role_index(w->compiler, &w->to);
	hash_index_done(&from);
	hash_index_done(&to);
	return r;
}

int classes_compile(struct compiler *c, uint16_t tenant)
{
	_cleanup_(walk_done) struct walk w = {.compiler = c, .tenant = tenant};
	struct tenant_classes *classes = &c->tenants[tenant];
	struct sluice_tenant *t = &c->tables->tenants[tenant];
	int r;

	classes->first_source = c->n_sources;
	w.from.classes = &classes->sources;
	w.to.classes = &classes->dests;
	r = roles_compile(&w);
	if (!r)
		r = guards_collect(&w);
	if (!r)
		r = family_compile(&w, true, &c->prefix4, &c->pages4, &t->root4);
	if (!r)
		r = family_compile(&w, false, &c->prefix6, &c->pages6, &t->root6);
	if (r)
		return r;
	c->n_sources += classes->sources.count;
	if (c->dest_classes < classes->dests.count)
		c->dest_classes = classes->dests.count;
	return 0;
}
