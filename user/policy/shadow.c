// SPDX-License-Identifier: Apache-2.0
/*
 * Warns of rules that never match: because a side is empty, or because earlier rules take everything that they would.
 * Called by check.c, once every rule knows its tenants. Holds: a rule that is warned of decides no packet at all; the
 * other way round, a rule that several earlier ones cover together is found in small policies only.
 *
 * Earlier rules are kept in cells, one for each pair of address sets that some rule has. A rule is covered by one in a
 * cell of two sets that contain its own, and those cells are looked up, not searched for: the cost of a rule is how
 * many sets contain its sets, not how many rules there are.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/check.h"
#include "policy/diagnostics.h"
#include "policy/shadow.h"

#define WORK_MAX	   (128u << 20) /* look-ups; a second or two */
#define TOGETHER_RULES_MAX 1000		/* of a small policy */
#define BLOOM_BITS	   (1u << 20)
#define NAMED_MAX	   3 /* rules that a warning names */

struct cell {
	uint32_t tenant;
	uint32_t family;
	uint32_t from;
	uint32_t to;
};

struct cells {
	struct cell *items;
	size_t count;
	struct hash_index index;
	struct hash_index first_rule; /* cell << 32 | service, mixed → the first rule that has them */
	uint8_t *bloom;		      /* most cells asked for do not exist, and this says so from the cache */
};

static void cells_done(struct cells *c)
{
	hash_index_done(&c->index);
	hash_index_done(&c->first_rule);
	free(c->items);
	free(c->bloom);
}

static uint64_t cell_hash(const struct cell *c)
{
	return hash_mix(((uint64_t)c->from << 32 | c->to) ^ hash_mix((uint64_t)c->family << 32 | c->tenant));
}

static bool cell_is(const void *cells, const void *key, uint32_t i)
{
	return !memcmp(&((const struct cells *)cells)->items[i], key, sizeof(struct cell));
}

static uint32_t cell_find(const struct cells *c, const struct cell *key, uint64_t hash)
{
	uint64_t bit = hash >> 32 & (BLOOM_BITS - 1);

	if (!(c->bloom[bit / 8] & 1 << bit % 8))
		return HASH_NONE;
	return hash_index_find(&c->index, hash, cell_is, c, key);
}

static int cell_add(struct cells *c, const struct cell *key, uint32_t *ret_cell)
{
	uint64_t hash = cell_hash(key), bit = hash >> 32 & (BLOOM_BITS - 1);
	uint32_t id = cell_find(c, key, hash);
	struct cell *cell;

	if (id == HASH_NONE) {
		id = (uint32_t)c->count;
		cell = array_add(&c->items, &c->count, sizeof(*cell));
		if (!cell || hash_index_add(&c->index, hash, id))
			return -ENOMEM;
		*cell = *key;
		c->bloom[bit / 8] |= (uint8_t)(1 << bit % 8);
	}
	*ret_cell = id;
	return 0;
}

/* The mix is a bijection, so the hash alone tells the pair. */
static uint64_t pair_hash(uint32_t cell, uint32_t service)
{
	return hash_mix((uint64_t)cell << 32 | service);
}

/* --------------------------------------------------------------------- covered by */

struct search {
	struct shadow shadow;
	struct cells cells;
	struct remainder *remainder; /* NULL: the policy is not small */
};

static void search_done(struct search *s)
{
	shadow_sets_done(&s->shadow);
	cells_done(&s->cells);
	remainder_free(s->remainder);
}

#define COVERS_EACH(space, set, i) for ((i) = (space)->covers_first[set]; (i) < (space)->covers_first[(set) + 1]; (i)++)

/* The first rule of a cell whose service contains `service`. */
static uint32_t cell_first_rule(struct search *s, uint32_t cell, uint32_t service)
{
	const struct cover_space *services = &s->shadow.services;
	uint32_t rule, best = SHADOW_NONE;
	size_t i;

	COVERS_EACH(services, service, i)
	{
		work_take(&s->shadow.work, 1);
		rule = hash_index_find(&s->cells.first_rule, pair_hash(cell, services->covers[i]), NULL, NULL, NULL);
		best = min(best, rule);
	}
	return best;
}

/* The first rule so far of `tenant` that covers the instance's packets of a family. */
static uint32_t first_cover(struct search *s, const struct instance *in, unsigned int family, uint32_t tenant)
{
	const struct cover_space *space = &s->shadow.addresses[family];
	struct cell key = {.tenant = tenant, .family = family};
	uint32_t cell, best = SHADOW_NONE;
	size_t i, k;

	COVERS_EACH(space, in->from[family], i)
	{
		key.from = space->covers[i];
		COVERS_EACH(space, in->to[family], k)
		{
			if (!work_take(&s->shadow.work, 1))
				return SHADOW_NONE;
			key.to = space->covers[k];
			cell = cell_find(&s->cells, &key, cell_hash(&key));
			if (cell != HASH_NONE)
				best = min(best, cell_first_rule(s, cell, s->shadow.service[in->rule]));
		}
	}
	return best;
}

static bool instance_covered(struct search *s, const struct instance *in, unsigned int family, struct takers *takers)
{
	uint32_t rule = first_cover(s, in, family, in->tenant);

	if (in->tenant != s->shadow.all_tenants)
		rule = min(rule, first_cover(s, in, family, s->shadow.all_tenants));
	if (rule != SHADOW_NONE)
		return !takers_add(takers, rule);
	return s->remainder && remainder_is_empty(s->remainder, &s->shadow, in, family, takers);
}

static bool instance_live(const struct instance *in, unsigned int family)
{
	return in->from[family] != SHADOW_NONE && in->to[family] != SHADOW_NONE;
}

static int rule_insert(struct search *s, uint32_t rule)
{
	const struct instance *in;
	unsigned int family;
	struct cell key;
	uint32_t cell;
	size_t i;

	for (i = s->shadow.first_instance[rule]; i < s->shadow.first_instance[rule + 1]; i++) {
		in = &s->shadow.instances[i];
		for (family = 0; family < FAMILIES; family++) {
			uint64_t hash;

			if (!instance_live(in, family))
				continue;
			key = (struct cell){in->tenant, family, in->from[family], in->to[family]};
			if (cell_add(&s->cells, &key, &cell))
				return -ENOMEM;
			hash = pair_hash(cell, s->shadow.service[rule]);
			if (hash_index_find(&s->cells.first_rule, hash, NULL, NULL, NULL) == HASH_NONE &&
			    hash_index_add(&s->cells.first_rule, hash, rule))
				return -ENOMEM;
		}
	}
	return 0;
}

/* -------------------------------------------------------------------- what is said */

static int warn(const struct search *s, struct policy_place place, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int warn(const struct search *s, struct policy_place place, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return diagnostics_add(s->shadow.diagnostics, POLICY_WARNING, place, "%s", text);
}

/* A rule of which no instance has addresses of one family on both sides, or that has no service. */
static int warn_empty(const struct search *s, uint32_t i)
{
	const struct policy_rule *rule = &s->shadow.policy->rules[i];
	bool from = false, to = false;
	const struct instance *in;
	size_t k;

	if (s->shadow.service[i] == SHADOW_NONE)
		return warn(s, rule->place,
			    "rule '%s' never matches: its services have no item; add one, or remove the rule",
			    rule->name);
	for (k = s->shadow.first_instance[i]; k < s->shadow.first_instance[i + 1]; k++) {
		in = &s->shadow.instances[k];
		from |= in->from[FAMILY_V4] != SHADOW_NONE || in->from[FAMILY_V6] != SHADOW_NONE;
		to |= in->to[FAMILY_V4] != SHADOW_NONE || in->to[FAMILY_V6] != SHADOW_NONE;
	}
	if (from && to)
		return warn(s, rule->to.place,
			    "rule '%s' never matches: 'from' has no address of the family (IPv4 or IPv6) of those in "
			    "'to'; add some, or remove the rule",
			    rule->name);
	return warn(s, from ? rule->to.place : rule->from.place,
		    "rule '%s' never matches: its '%s' contains no address; add one, or remove the rule", rule->name,
		    from ? "to" : "from");
}

static const char *action_text(enum sluice_action action)
{
	return action == SLUICE_ACTION_ALLOW ? "allows" : action == SLUICE_ACTION_DENY ? "denies" : "rejects";
}

static const char *action_infinitive(enum sluice_action action)
{
	return action == SLUICE_ACTION_ALLOW ? "allow" : action == SLUICE_ACTION_DENY ? "deny" : "reject";
}

static int warn_covered_by_one(const struct search *s, uint32_t inner, uint32_t outer)
{
	const struct policy_rule *i = &s->shadow.policy->rules[inner], *o = &s->shadow.policy->rules[outer];
	bool opposite = (i->action == SLUICE_ACTION_ALLOW) != (o->action == SLUICE_ACTION_ALLOW);

	if (opposite && !i->audit)
		return warn(s, i->place,
			    "rule '%s' never matches: it contradicts rule '%s' (%s:%u), which %s all that it would "
			    "%s; reorder or remove one",
			    i->name, o->name, o->place.file, o->place.line, action_text(o->action),
			    action_infinitive(i->action));
	if (i->action == o->action && i->stateful == o->stateful && !i->audit)
		return warn(s, i->place,
			    "rule '%s' never matches: it repeats rule '%s' (%s:%u), which %s all that it would; remove "
			    "it, or put it before",
			    i->name, o->name, o->place.file, o->place.line, action_text(o->action));
	return warn(s, i->place,
		    "rule '%s' never matches: rule '%s' (%s:%u) takes all that it would; reorder or remove one",
		    i->name, o->name, o->place.file, o->place.line);
}

static int taker_compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int warn_covered(const struct search *s, uint32_t inner, const struct takers *takers)
{
	const struct policy_rule *rules = s->shadow.policy->rules, *o;
	char names[NAMED_MAX * (SLUICE_NAME_LEN + 160)] = "";
	size_t i, n = 0, named = min(takers->count, (size_t)NAMED_MAX);

	if (takers->count == 1)
		return warn_covered_by_one(s, inner, takers->items[0]);
	qsort(takers->items, takers->count, sizeof(*takers->items), taker_compare);
	for (i = 0; i < named && n < sizeof(names); i++) {
		o = &rules[takers->items[i]];
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s'%s' (%.120s:%u)",
				      !i		       ? ""
				      : i + 1 == takers->count ? " and "
							       : ", ",
				      o->name, o->place.file, o->place.line);
	}
	if (takers->count > named && n < sizeof(names))
		snprintf(names + n, sizeof(names) - n, " and %zu more", takers->count - named);
	return warn(s, rules[inner].place,
		    "rule '%s' never matches: rules %s together take all that it would; reorder or remove some",
		    rules[inner].name, names);
}

/* --------------------------------------------------------------------------- walk */

static int rule_judge(struct search *s, uint32_t rule)
{
	_cleanup_free_ uint32_t *owned = NULL;
	struct takers takers = {};
	bool covered = true, live = false;
	unsigned int family;
	size_t i;

	for (i = s->shadow.first_instance[rule]; i < s->shadow.first_instance[rule + 1] && covered; i++) {
		for (family = 0; family < FAMILIES && covered; family++) {
			if (!instance_live(&s->shadow.instances[i], family) || s->shadow.service[rule] == SHADOW_NONE)
				continue;
			live = true;
			covered = instance_covered(s, &s->shadow.instances[i], family, &takers);
		}
	}
	owned = takers.items;
	if (!live)
		return warn_empty(s, rule);
	if (covered)
		return warn_covered(s, rule, &takers);
	return s->shadow.policy->rules[rule].audit ? 0 : rule_insert(s, rule);
}

/* Says that there may be more to find, if so; rule `end` was the first not to be looked at. */
static int warn_partial(const struct search *s, size_t end)
{
	const struct policy *p = s->shadow.policy;

	if (!s->shadow.work.left && end < p->n_rules)
		return warn(s, p->rules[end].place,
			    "from here on no rules that never match were looked for: too many sets of addresses or "
			    "services contain one another; there is nothing to mend");
	if (!s->shadow.partial)
		return 0;
	return warn(s, p->rules[0].place,
		    "not all rules that never match were looked for: too many sets of addresses or services contain "
		    "one another; there is nothing to mend");
}

int policy_check_shadowed(const struct policy *p, struct policy_diagnostics *d)
{
	_cleanup_(search_done) struct search s = {.shadow = {.policy = p, .diagnostics = d, .work = {WORK_MAX}}};
	size_t i;
	int r;

	if (!d)
		return 0;
	r = shadow_sets_begin(&s.shadow);
	s.cells.bloom = calloc(BLOOM_BITS / 8, 1);
	if (p->n_rules <= TOGETHER_RULES_MAX)
		s.remainder = remainder_new();
	if (r || !s.cells.bloom || (p->n_rules <= TOGETHER_RULES_MAX && !s.remainder))
		return -ENOMEM;
	for (i = 0; i < p->n_rules && !r && s.shadow.work.left && d->count <= DIAGNOSTICS_MAX; i++)
		r = rule_judge(&s, (uint32_t)i);
	return r ? r : warn_partial(&s, i);
}
