// SPDX-License-Identifier: Apache-2.0
/*
 * policy_compile(): model → the tables of a bank. Owns the order of the steps and the limits; the steps are in sets.c,
 * services.c, classes.c, lines.c and decide.c. Called by the CLI and the tests. Pure and deterministic: numbers are
 * given in order of first use, and nothing depends on addresses in memory.
 */
#include "policy/compile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

/* ------------------------------------------------------------------------- words */

static int table_add(struct compiler *c, struct words *w, size_t more, size_t *ret_first)
{
	size_t needed = c->words.count + c->lines.count + more;

	if (needed > c->words_max)
		return error_set(c->err, E2BIG,
				 "the policy needs %zu words of table space or more, of at most %zu; name fewer distinct "
				 "sets of addresses and ports, or split the policy",
				 needed, c->words_max);
	if (array_reserve(&w->items, &w->capacity, w->count, more, sizeof(*w->items)))
		return -ENOMEM;
	memset(w->items + w->count, 0, more * sizeof(*w->items));
	*ret_first = w->count;
	w->count += more;
	return 0;
}

int words_add(struct compiler *c, size_t more, size_t *ret_first)
{
	return table_add(c, &c->words, more, ret_first);
}

int lines_add(struct compiler *c, size_t more, size_t *ret_first)
{
	size_t first = 0;
	int r = table_add(c, &c->lines, more * SLUICE_LINE_WORDS, &first);

	if (!r)
		*ret_first = first / SLUICE_LINE_WORDS;
	return r;
}

int words_node(struct compiler *c, size_t more, size_t *ret_first)
{
	size_t padding = -c->words.count % WORDS_NODE, first = 0;
	int r = words_add(c, padding + more, &first);

	if (!r)
		*ret_first = first + padding;
	return r;
}

static void words_finish(struct compiler *c)
{
	c->tables->words.words = c->words.count;
	c->tables->words.word = TAKE_PTR(c->words.items);
	c->tables->lines.words = c->lines.count;
	c->tables->lines.word = TAKE_PTR(c->lines.items);
}

/* ------------------------------------------------------------------------ limits */

static int limits_check(const struct compiler *c)
{
	const struct policy *p = c->policy;
	const struct {
		const char *what;
		size_t count;
		size_t most;
	} limits[] = {
		{"rules", p->n_rules, SLUICE_MAX_RULES - 1},
		{"tenants", p->n_tenants - 1, SLUICE_MAX_TENANTS - 1},
		{"interfaces", p->n_interfaces, SLUICE_MAX_INTERFACES},
		{"failsafe items", p->failsafe->n_items, ARRAY_SIZE(c->tables->head.failsafe)},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		if (limits[i].count > limits[i].most)
			return error_set(c->err, E2BIG, "%zu %s are %zu more than the %zu that fit; remove some",
					 limits[i].count, limits[i].what, limits[i].count - limits[i].most,
					 limits[i].most);
	}
	return 0;
}

/* ------------------------------------------------------------------ head and rules */

static void failsafe_fill(struct sluice_policy *head, const struct policy_service *failsafe)
{
	const struct policy_item *item;
	size_t i;

	head->failsafes = (uint32_t)failsafe->n_items;
	for (i = 0; i < failsafe->n_items; i++) {
		item = &failsafe->items[i];
		head->failsafe[i].protocol = item->protocol;
		head->failsafe[i].any_port = item->dest_first == 0 && item->dest_last == 65535;
		head->failsafe[i].port = htons(item->dest_first);
		head->failsafe[i].port_last = htons(item->dest_last);
	}
}

static bool ports_any(const struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_interfaces; i++)
		if (p->interfaces[i].wire || p->interfaces[i].forward)
			return true;
	return false;
}

/*
 * A flood cannot begin above half of the table, nor can half-open flows that get no cookie take more than that: the rest
 * is for connections.
 */
static void syn_fill(struct sluice_policy *head, const struct policy_conntrack *c)
{
	if (c->syn_cookies != POLICY_COOKIES_NEVER)
		head->flags |= SLUICE_SYN_COOKIES;
	if (c->syn_cookies == POLICY_COOKIES_ALWAYS)
		head->flags |= SLUICE_SYN_ALWAYS;
	head->syn_max = max(c->max / 2, 1u);
	head->syn_threshold = min(c->syn_threshold, head->syn_max);
	head->syn_step_ns = c->timeout_ns[SLUICE_T_TCP_OPENING] / c->syn_per_source;
}

static int head_fill(struct compiler *c)
{
	struct sluice_policy *head = &c->tables->head;
	const struct policy *p = c->policy;

	head->flags |=
		(p->audit ? SLUICE_MODE_AUDIT : 0) | (p->conntrack.on_full_stateless ? SLUICE_ON_FULL_STATELESS : 0) |
		(ports_any(p) ? SLUICE_HAS_PORTS : 0);
	head->default_action = p->default_allow ? SLUICE_ACTION_ALLOW : SLUICE_ACTION_DENY;
	head->rules = (uint32_t)c->tables->n_rules;
	head->max_flows = p->conntrack.max;
	memcpy(head->timeout_ns, p->conntrack.timeout_ns, sizeof(head->timeout_ns));
	syn_fill(head, &p->conntrack);
	failsafe_fill(head, p->failsafe);
	strncpy(head->name, p->name, sizeof(head->name) - 1);
	return digest_finish(c->digest, head->digest);
}

static void rule_fill_limit(struct compiler *c, const struct policy_limit *limit, struct sluice_rule *r)
{
	if (!limit->rate)
		return;
	r->limit_rate = limit->rate;
	r->limit_burst = limit->burst;
	r->identity = hash_mix(hash_mix(r->identity ^ r->limit_rate) ^ r->limit_burst);
	digest_number(c->digest, r->limit_rate);
	digest_number(c->digest, r->limit_burst);
	c->tables->head.flags |= SLUICE_HAS_LIMITS;
}

static uint32_t rule_flags(const struct policy_rule *rule)
{
	uint32_t flags = 0;

	flags |= rule->stateful ? SLUICE_RULE_STATEFUL : 0;
	flags |= rule->log ? SLUICE_RULE_LOG : 0;
	flags |= rule->audit ? SLUICE_RULE_AUDIT : 0;
	flags |= rule->limit.rate ? SLUICE_RULE_LIMIT : 0;
	flags |= rule->limit.bits ? SLUICE_RULE_LIMIT_BITS : 0;
	flags |= rule->limit.per_source ? SLUICE_RULE_LIMIT_SOURCE : 0;
	return flags;
}

static void rule_fill(struct compiler *c, size_t i)
{
	const struct policy_rule *rule = &c->policy->rules[i];
	struct sluice_rule *r = &c->tables->rules[i];
	static const uint8_t any_service[32];
	const uint8_t *service = any_service;

	r->action = rule->action;
	r->flags = rule_flags(rule);
	r->slot = (uint32_t)i;
	r->log_period_ns = rule->log_period_ns;
	strncpy(r->name, rule->name, sizeof(r->name) - 1);
	if (c->rule_service[i] != SET_ANY)
		service = c->services.items[c->rule_service[i]].digest;
	r->identity = hash_mix(c->rule_hash[i] ^ hash_bytes(service, sizeof(any_service)));
	r->identity = hash_mix(r->identity ^ ((uint64_t)r->action << 32 | r->flags));
	r->identity = hash_mix(r->identity ^ r->log_period_ns);
	digest_string(c->digest, r->name);
	digest_bytes(c->digest, service, sizeof(any_service));
	digest_number(c->digest, (uint64_t)r->action << 32 | r->flags);
	digest_number(c->digest, r->log_period_ns);
	rule_fill_limit(c, &rule->limit, r);
}

static void rules_fill(struct compiler *c)
{
	struct sluice_rule *last = &c->tables->rules[c->policy->n_rules];
	size_t i;

	for (i = 0; i < c->policy->n_rules; i++)
		rule_fill(c, i);
	last->action = c->policy->default_allow ? SLUICE_ACTION_ALLOW : SLUICE_ACTION_DENY;
	last->flags = SLUICE_RULE_DEFAULT | SLUICE_RULE_STATEFUL;
	last->slot = (uint32_t)c->policy->n_rules;
	last->identity = hash_mix(last->action);
	strncpy(last->name, policy_rule_name(c->policy, c->policy->n_rules), sizeof(last->name) - 1);
}

/* ------------------------------------------------------------------------- steps */

static int tables_allocate(struct compiler *c)
{
	const struct policy *p = c->policy;
	struct policy_tables *t = c->tables;

	t->n_tenants = p->n_tenants;
	t->n_rules = p->n_rules + 1;
	t->tenants = calloc(t->n_tenants, sizeof(*t->tenants));
	t->rules = calloc(t->n_rules, sizeof(*t->rules));
	c->tenants = calloc(p->n_tenants, sizeof(*c->tenants));
	c->rule_service = calloc(t->n_rules, sizeof(*c->rule_service));
	c->rule_hash = calloc(t->n_rules, sizeof(*c->rule_hash));
	c->digest = digest_new();
	if (!t->tenants || !t->rules || !c->tenants || !c->rule_service || !c->rule_hash || !c->digest)
		return -ENOMEM;
	return sets_begin(c);
}

static int tenant_add_rule(struct compiler *c, size_t tenant, size_t rule)
{
	struct tenant_classes *t = &c->tenants[tenant];
	uint32_t *slot;

	if (c->n_pairs++ == COMPILE_MEMBERS_MAX)
		return error_set(c->err, E2BIG,
				 "over %u pairs of a rule and a tenant; give rules without a tenant one, or remove tenants",
				 COMPILE_MEMBERS_MAX);
	slot = array_add(&t->rules, &t->n_rules, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = (uint32_t)rule;
	return 0;
}

/* The rules of every tenant. */
static int rules_spread(struct compiler *c)
{
	const struct policy *p = c->policy;
	const struct policy_rule *rule;
	size_t i, k, n;
	int r = 0;

	for (i = 0; i < p->n_rules; i++) {
		rule = &p->rules[i];
		n = rule->all_tenants ? p->n_tenants : rule->n_tenants;
		for (k = 0; k < n && !r; k++)
			r = tenant_add_rule(c, rule->all_tenants ? k : rule->tenants[k], i);
		if (r)
			return r;
	}
	return 0;
}

static int tenants_compile(struct compiler *c)
{
	size_t i;
	int r = rules_spread(c);

	for (i = 0; i < c->policy->n_tenants && !r; i++) {
		strncpy(c->tables->tenants[i].name, c->policy->tenants[i], SLUICE_NAME_LEN - 1);
		r = classes_compile(c, (uint16_t)i);
	}
	return r;
}

static int steps_run(struct compiler *c)
{
	size_t i, none;
	int r;

	r = limits_check(c);
	if (!r)
		r = tables_allocate(c);
	if (!r)
		r = words_add(c, WORDS_NODE + c->shape.padding, &none); /* word 0 is part of nothing */
	if (r)
		return r;
	digest_policy(c->digest, c->policy);
	for (i = 0; i < c->policy->n_rules && !r; i++)
		r = service_set_add(c, &c->policy->rules[i], &c->rule_service[i]);
	if (!r)
		r = services_compile(c);
	if (!r)
		r = tenants_compile(c);
	if (!r)
		r = decide_compile(c);
	if (r)
		return r;
	rules_fill(c);
	r = head_fill(c);
	if (!r)
		words_finish(c);
	return r;
}

static void compiler_done(struct compiler *c)
{
	size_t i;

	sets_done(c);
	for (i = 0; c->tenants && i < c->policy->n_tenants; i++)
		tenant_classes_done(&c->tenants[i]);
	free(c->words.items);
	free(c->lines.items);
	free(c->tenants);
	free(c->rule_service);
	free(c->rule_hash);
	digest_free(c->digest);
}

static const struct compile_shape usual_shape;

static int compile(const struct policy *p, size_t words_max, const struct compile_shape *shape, struct error *err,
		   struct policy_tables **ret_tables)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = calloc(1, sizeof(*tables));
	_cleanup_(compiler_done) struct compiler c = {
		.policy = p,
		.err = err,
		.words_max = words_max,
		.shape = *shape,
		.tables = tables,
	};
	int r = tables ? steps_run(&c) : -ENOMEM;

	if (r == -ENOMEM)
		return error_set(err, ENOMEM, "not enough memory to compile the policy");
	if (!r)
		*ret_tables = TAKE_PTR(tables);
	return r;
}

int policy_compile_limited(const struct policy *p, size_t words_max, struct error *err,
			   struct policy_tables **ret_tables)
{
	return compile(p, words_max, &usual_shape, err, ret_tables);
}

int policy_compile_shaped(const struct policy *p, const struct compile_shape *shape, struct error *err,
			  struct policy_tables **ret_tables)
{
	return compile(p, COMPILE_WORDS_MAX, shape, err, ret_tables);
}

int policy_compile(const struct policy *p, struct error *err, struct policy_tables **ret_tables)
{
	return compile(p, COMPILE_WORDS_MAX, &usual_shape, err, ret_tables);
}

void policy_tables_free(struct policy_tables *t)
{
	if (!t)
		return;
	free(t->tenants);
	free(t->words.word);
	free(t->lines.word);
	free(t->classes);
	free(t->rules);
	free(t);
}

void policy_tables_freep(struct policy_tables **t)
{
	policy_tables_free(*t);
}
