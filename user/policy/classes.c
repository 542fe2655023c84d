// SPDX-License-Identifier: Apache-2.0
/*
 * The addresses of one tenant → equivalence classes. A sweep over the edges of all sets that the tenant's rules and
 * antispoof lists name yields intervals of addresses that nothing tells apart; equal intervals get one class. As a
 * source only `from` counts, as a destination only `to`: these are reduced separately, so that a class names a row and
 * a part of the key. Called by compile.c once a tenant.
 *
 * Destination classes are numbered from 0 in every tenant: a row belongs to one tenant (its source class does), so that
 * the numbers can be shared.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"

/* One side of the sweep. */
struct side {
	struct role *role;
	struct hash_index elements; /* by address set */
	struct active active;
	struct fingerprint_index by_fingerprint;
};

/* An antispoof list, as an element of the sweep beyond those of the roles. */
struct guard {
	uint32_t set;
	uint32_t slot;
};

struct walk {
	struct compiler *compiler;
	uint16_t tenant;
	struct side from;
	struct side to;
	struct guard *guards;
	size_t n_guards;
	uint64_t antispoof; /* mask of the addresses at the sweep */
	struct interval *intervals;
	size_t n_intervals;
	size_t intervals_capacity;
	struct hash_index by_class;
};

static void side_done(struct side *side)
{
	hash_index_done(&side->elements);
	active_done(&side->active);
	fingerprint_index_done(&side->by_fingerprint);
}

static void walk_done(struct walk *w)
{
	side_done(&w->from);
	side_done(&w->to);
	free(w->guards);
	free(w->intervals);
	hash_index_done(&w->by_class);
}

static void role_done(struct role *role)
{
	free(role->element);
	free(role->sets);
	lists_done(&role->classes);
}

void tenant_classes_done(struct tenant_classes *t)
{
	free(t->rules);
	role_done(&t->from);
	role_done(&t->to);
}

/* ------------------------------------------------------------------------- roles */

static int element_of(struct side *side, uint32_t set, uint32_t *ret_element)
{
	struct role *role = side->role;
	uint32_t *slot, element = hash_index_find(&side->elements, hash_mix(set), NULL, NULL, NULL);

	if (element == HASH_NONE) {
		element = (uint32_t)role->n_elements;
		slot = array_add(&role->sets, &role->n_elements, sizeof(*slot));
		if (!slot || hash_index_add(&side->elements, hash_mix(set), element))
			return -ENOMEM;
		*slot = set;
	}
	*ret_element = element;
	return 0;
}

/* Notes what the tenant's rule k names on this side, and makes it part of the rule's identity and the policy's digest. */
static int side_add_rule(struct walk *w, struct side *side, size_t k, const struct policy_side *named)
{
	static const uint8_t any_digest[32];
	struct compiler *c = w->compiler;
	uint32_t set, rule = c->tenants[w->tenant].rules[k];
	const uint8_t *digest = any_digest;
	int r;

	if (named->any) {
		side->role->element[k] = SET_ANY;
	} else {
		r = address_set_add(c, named->segments, named->n_segments, w->tenant, &set);
		if (!r)
			r = element_of(side, set, &side->role->element[k]);
		if (r)
			return r;
		digest = c->addresses.items[set].digest;
	}
	c->rule_hash[rule] = hash_mix(c->rule_hash[rule] ^ hash_bytes(digest, sizeof(any_digest)));
	digest_bytes(c->digest, digest, sizeof(any_digest));
	return 0;
}

static int side_begin(struct side *side, struct role *role, size_t n_rules)
{
	side->role = role;
	role->element = calloc(n_rules + 1, sizeof(*role->element));
	return role->element ? 0 : -ENOMEM;
}

static int rules_collect(struct walk *w)
{
	struct compiler *c = w->compiler;
	struct tenant_classes *t = &c->tenants[w->tenant];
	const struct policy_rule *rule;
	size_t k;
	int r;

	r = side_begin(&w->from, &t->from, t->n_rules);
	if (!r)
		r = side_begin(&w->to, &t->to, t->n_rules);
	for (k = 0; k < t->n_rules && !r; k++) {
		rule = &c->policy->rules[t->rules[k]];
		c->rule_hash[t->rules[k]] =
			hash_mix(c->rule_hash[t->rules[k]] ^ hash_string(c->policy->tenants[w->tenant]));
		digest_number(c->digest, (uint64_t)w->tenant << 32 | t->rules[k]);
		r = side_add_rule(w, &w->from, k, &rule->from);
		if (!r)
			r = side_add_rule(w, &w->to, k, &rule->to);
	}
	if (!r)
		r = active_begin(&w->from.active, t->from.n_elements);
	return r ? r : active_begin(&w->to.active, t->to.n_elements);
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

	if (element < w->from.role->n_elements) {
		active_toggle(&w->from.active, element, on);
		return;
	}
	element -= (uint32_t)w->from.role->n_elements;
	if (element < w->to.role->n_elements)
		active_toggle(&w->to.active, element, on);
	else
		w->antispoof ^= 1ull << w->guards[element - w->to.role->n_elements].slot;
}

/* The class of the sets that are on, on this side. */
static int side_class(struct compiler *c, struct side *side, uint32_t *ret_class)
{
	uint32_t class = fingerprint_find(&side->by_fingerprint, &side->active.fingerprint);
	int r;

	if (class == HASH_NONE) {
		class = (uint32_t)side->role->classes.count;
		r = lists_add(c, &side->role->classes, side->active.members, side->active.count);
		if (r)
			return r;
		if (fingerprint_number(&side->by_fingerprint, &side->active.fingerprint))
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

	r = side_class(c, &w->from, &class.reserved);
	if (!r)
		r = side_class(c, &w->to, &class.dest);
	if (r)
		return r;
	class.reserved += (uint32_t)c->tenants[w->tenant].first_source;
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

	for (i = 0; i < w->from.role->n_elements && !r; i++)
		r = list_add(sweep, element++, set_list(w->compiler, w->from.role->sets[i], ipv4));
	for (i = 0; i < w->to.role->n_elements && !r; i++)
		r = list_add(sweep, element++, set_list(w->compiler, w->to.role->sets[i], ipv4));
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

static int family_compile(struct walk *w, bool ipv4, uint32_t *ret_root)
{
	static const struct sweep_ops ops = {element_toggle, interval_class};
	_cleanup_(sweep_done) struct sweep sweep = {};
	int r;

	walk_rewind(w);
	r = edges_collect(w, ipv4, &sweep);
	if (!r)
		r = sweep_run(&sweep, ipv4 ? ADDRESS_MAX4 : ADDRESS_MAX6, &ops, w);
	if (!r)
		r = lines_build(w->compiler, w->intervals, w->n_intervals, ipv4 ? 32 : 128, ret_root);
	return r;
}

int classes_compile(struct compiler *c, uint16_t tenant)
{
	_cleanup_(walk_done) struct walk w = {.compiler = c, .tenant = tenant};
	struct tenant_classes *classes = &c->tenants[tenant];
	struct sluice_tenant *t = &c->tables->tenants[tenant];
	int r;

	classes->first_source = c->n_sources;
	r = rules_collect(&w);
	if (!r)
		r = guards_collect(&w);
	if (!r)
		r = family_compile(&w, true, &t->root4);
	if (!r)
		r = family_compile(&w, false, &t->root6);
	if (r)
		return r;
	c->n_sources += classes->from.classes.count;
	c->n_dests = max(c->n_dests, classes->to.classes.count);
	return 0;
}
