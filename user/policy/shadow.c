// SPDX-License-Identifier: Apache-2.0
/*
 * Warns of rules that can never match because one earlier rule takes everything they would. Called by check.c. Only
 * what is cheap to know is said: a rule shadowed by several earlier ones together is not found, and beyond
 * SHADOW_RULES_MAX rules, where comparing all pairs stops being cheap, nothing is looked for.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "policy/array.h"
#include "policy/check.h"
#include "policy/diagnostics.h"
#include "policy/ranges.h"

#define SHADOW_RULES_MAX 1000

struct extent {
	struct ranges from;
	struct ranges to;
};

struct shadow {
	const struct policy *policy;
	struct extent *extents; /* of each rule, in its first tenant */
	size_t count;
};

static void shadow_done(struct shadow *s)
{
	size_t i;

	for (i = 0; i < s->count; i++) {
		ranges_done(&s->extents[i].from);
		ranges_done(&s->extents[i].to);
	}
	free(s->extents);
}

static bool item_covers(const struct policy_item *outer, const struct policy_item *inner)
{
	if (outer->any_protocol || inner->any_protocol)
		return outer->any_protocol;
	return outer->protocol == inner->protocol && outer->dest_first <= inner->dest_first &&
	       inner->dest_last <= outer->dest_last && outer->source_first <= inner->source_first &&
	       inner->source_last <= outer->source_last;
}

static bool rule_covers_item(const struct policy *p, const struct policy_rule *rule, const struct policy_item *item)
{
	const struct policy_service *s;
	size_t i, k;

	for (i = 0; i < rule->n_services; i++) {
		s = &p->services[rule->services[i]];
		for (k = 0; k < s->n_items; k++) {
			if (item_covers(&s->items[k], item))
				return true;
		}
	}
	return false;
}

static bool services_cover(const struct policy *p, const struct policy_rule *outer, const struct policy_rule *inner)
{
	const struct policy_service *s;
	size_t i, k;

	if (outer->any_service || inner->any_service)
		return outer->any_service;
	for (i = 0; i < inner->n_services; i++) {
		s = &p->services[inner->services[i]];
		for (k = 0; k < s->n_items; k++) {
			if (!rule_covers_item(p, outer, &s->items[k]))
				return false;
		}
	}
	return true;
}

static bool side_covers(const struct policy_side *outer, const struct ranges *outer_ranges,
			const struct policy_side *inner, const struct ranges *inner_ranges)
{
	if (outer->any || inner->any)
		return outer->any;
	return ranges_cover(outer_ranges, inner_ranges);
}

/* Rules of several tenants are compared only with rules of all tenants: segments may differ from tenant to tenant. */
static bool tenants_cover(const struct policy_rule *outer, const struct policy_rule *inner)
{
	if (outer->all_tenants)
		return true;
	return !inner->all_tenants && outer->n_tenants == 1 && inner->n_tenants == 1 &&
	       outer->tenants[0] == inner->tenants[0];
}

static bool rule_shadows(const struct shadow *s, size_t outer, size_t inner)
{
	const struct policy_rule *o = &s->policy->rules[outer], *i = &s->policy->rules[inner];

	return !o->audit && tenants_cover(o, i) &&
	       side_covers(&o->from, &s->extents[outer].from, &i->from, &s->extents[inner].from) &&
	       side_covers(&o->to, &s->extents[outer].to, &i->to, &s->extents[inner].to) &&
	       services_cover(s->policy, o, i);
}

static int rule_warn(const struct shadow *s, struct policy_diagnostics *d, size_t inner)
{
	const struct policy_rule *rules = s->policy->rules;
	size_t outer;

	for (outer = 0; outer < inner; outer++) {
		if (rule_shadows(s, outer, inner))
			return diagnostics_add(
				d, POLICY_WARNING, rules[inner].place,
				"rule '%s' never matches: rule '%s' on line %u takes all that it would; reorder or "
				"remove one",
				rules[inner].name, rules[outer].name, rules[outer].place.line);
	}
	return 0;
}

static int extent_fill(const struct policy *p, const struct policy_rule *rule, struct extent *e)
{
	uint16_t tenant = rule->n_tenants ? rule->tenants[0] : 0;
	int r = ranges_of_segments(p, rule->from.segments, rule->from.n_segments, tenant, &e->from);

	return r ? r : ranges_of_segments(p, rule->to.segments, rule->to.n_segments, tenant, &e->to);
}

int policy_check_shadowed(const struct policy *p, struct policy_diagnostics *d)
{
	_cleanup_(shadow_done) struct shadow s = {.policy = p};
	size_t i;
	int r = 0;

	if (p->n_rules > SHADOW_RULES_MAX)
		return 0;
	s.extents = calloc(p->n_rules + 1, sizeof(*s.extents));
	if (!s.extents)
		return -ENOMEM;
	s.count = p->n_rules;
	for (i = 0; i < p->n_rules && !r; i++)
		r = extent_fill(p, &p->rules[i], &s.extents[i]);
	for (i = 1; i < p->n_rules && !r; i++)
		r = rule_warn(&s, d, i);
	return r;
}
