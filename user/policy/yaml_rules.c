// SPDX-License-Identifier: Apache-2.0
/*
 * The `rules` section. Called by yaml.c after every segment and service is known. Literals of a rule become one
 * nameless segment a side and one nameless service, so that all else sees indices only.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/reader.h"
#include "policy/values.h"

struct rule_text {
	const struct node *name, *tenant, *from, *to, *service, *stateful, *log, *limit;
	int action;
	int audit;
};

static const struct choice action_choices[] = {
	{"allow", SLUICE_ACTION_ALLOW}, {"deny", SLUICE_ACTION_DENY}, {"reject", SLUICE_ACTION_REJECT}, {}};

static const struct choice mode_choices[] = {{"enforce", false}, {"audit", true}, {}};

static const struct field rule_fields[] = {
	FIELD("name", read_node, struct rule_text, name, REQUIRED),
	FIELD("tenant", read_node, struct rule_text, tenant),
	FIELD("from", read_node, struct rule_text, from, REQUIRED),
	FIELD("to", read_node, struct rule_text, to, REQUIRED),
	FIELD("service", read_node, struct rule_text, service),
	FIELD("action", read_choice, struct rule_text, action, REQUIRED, .arg = action_choices),
	FIELD("stateful", read_node, struct rule_text, stateful),
	FIELD("mode", read_choice, struct rule_text, audit, .arg = mode_choices),
	FIELD("log", read_node, struct rule_text, log),
	FIELD("limit", read_node, struct rule_text, limit),
	FIELD_NOT_YET("cross-tenant"),
	{}};

/* ------------------------------------------------------------------- from and to */

/* Where a list of names and literals goes; `literals` is the nameless one once there is a literal. */
struct target {
	size_t **indices;
	size_t *n_indices;
	bool *any;
	size_t literals;
	struct policy_place place;
};

static void index_add(struct reader *r, struct target *t, size_t id)
{
	size_t *slot = reader_add(r, t->indices, t->n_indices, sizeof(*slot));

	if (slot)
		*slot = id;
}

static struct policy_segment *literals_segment(struct reader *r, struct target *t)
{
	struct policy_segment *s;

	if (t->literals != NAME_UNDEFINED)
		return &r->policy->segments[t->literals];
	s = reader_add(r, &r->policy->segments, &r->policy->n_segments, sizeof(*s));
	if (!s)
		return NULL;
	s->place = t->place;
	s->tenant = POLICY_TENANT_UNSAID;
	s->used = true;
	t->literals = r->policy->n_segments - 1;
	index_add(r, t, t->literals);
	return s;
}

static void side_part_read(struct reader *r, const struct node *node, void *arg)
{
	struct target *t = arg;
	struct policy_segment *s;
	size_t id;

	if (!strcmp(node->text, "any")) {
		*t->any = true;
	} else if (value_looks_like_prefix(node->text)) {
		s = literals_segment(r, t);
		if (s)
			reader_add_prefix(r, node, &s->include, &s->n_include);
	} else {
		id = reader_find(r, NAME_SEGMENT, node);
		if (id == NAME_UNDEFINED)
			return;
		r->policy->segments[id].used = true;
		index_add(r, t, id);
	}
}

static void any_alone(struct reader *r, const struct node *node, const struct target *t, const char *what)
{
	if (*t->any && node->kind == NODE_LIST && node->n_children > 1)
		reader_error(r, node, "'%s' lists any beside others; write 'any' alone, or remove it", what);
}

void read_side(struct reader *r, const struct node *node, const char *what, struct policy_side *side)
{
	struct target t = {&side->segments, &side->n_segments, &side->any, NAME_UNDEFINED, node->place};

	side->place = node->place;
	reader_each(r, node, what, false, side_part_read, &t);
	any_alone(r, node, &t, what);
}

/* ----------------------------------------------------------------------- service */

static struct policy_service *items_service(struct reader *r, struct target *t)
{
	struct policy_service *s;

	if (t->literals != NAME_UNDEFINED)
		return &r->policy->services[t->literals];
	s = reader_add(r, &r->policy->services, &r->policy->n_services, sizeof(*s));
	if (!s)
		return NULL;
	s->place = t->place;
	s->used = true;
	t->literals = r->policy->n_services - 1;
	index_add(r, t, t->literals);
	return s;
}

/* A name holds none of these characters and begins with no digit, and a protocol alone ("tcp", "47") is only an item
 * where no service has that name. */
static bool means_item(struct reader *r, const struct node *node)
{
	struct policy_item item;

	if (node->kind == NODE_MAPPING || strpbrk(node->text, "/: ,") || isdigit((unsigned char)node->text[0]))
		return true;
	return !reader_knows(r, NAME_SERVICE, node->text) && !value_item(node->text, &item, NULL);
}

static void service_part_read(struct reader *r, const struct node *node, void *arg)
{
	struct target *t = arg;
	struct policy_service *s;
	size_t id;

	if (node->kind == NODE_SCALAR && !strcmp(node->text, "any")) {
		*t->any = true;
	} else if (means_item(r, node)) {
		s = items_service(r, t);
		if (s)
			reader_add_item(r, node, &s->items, &s->n_items);
	} else {
		id = reader_find(r, NAME_SERVICE, node);
		if (id == NAME_UNDEFINED)
			return;
		r->policy->services[id].used = true;
		index_add(r, t, id);
	}
}

static void service_read(struct reader *r, const struct node *node, struct policy_rule *rule)
{
	struct target t = {.indices = &rule->services,
			   .n_indices = &rule->n_services,
			   .any = &rule->any_service,
			   .literals = NAME_UNDEFINED};

	if (!node) {
		rule->any_service = true;
		return;
	}
	t.place = node->place;
	reader_each(r, node, "service", true, service_part_read, &t);
	any_alone(r, node, &t, "service");
}

/* --------------------------------------------------------------------- the rest */

static void log_read(struct reader *r, const struct node *node, struct policy_rule *rule)
{
	static const struct field on = {.key = "log"};
	static const struct field fields[] = {
		FIELD("every", read_duration, struct policy_rule, log_period_ns, REQUIRED), {}};

	if (!node)
		return;
	if (node->kind == NODE_MAPPING)
		rule->log = reader_mapping(r, node, "log", fields, rule);
	else
		read_bool(r, &on, node, &rule->log);
}

struct limit_text {
	const struct node *rate, *burst;
	int per_source;
};

static const struct choice per_choices[] = {{"rule", false}, {"source", true}, {}};

static const struct field limit_fields[] = {
	FIELD("rate", read_node, struct limit_text, rate, REQUIRED),
	FIELD("burst", read_node, struct limit_text, burst),
	FIELD("per", read_choice, struct limit_text, per_source, .arg = per_choices),
	{}};

/* A burst that no frame fits into, or that takes hours to flow back, is a slip of the pen. */
static void burst_read(struct reader *r, const struct node *node, struct policy_limit *limit)
{
	const char *text = reader_scalar(r, node, "burst"), *unit = limit->bits ? "bits" : "packets";
	uint64_t burst, most = limit->rate * POLICY_BURST_MAX_S;
	struct error err;

	if (!text)
		return;
	if (value_count(text, &burst, &err))
		reader_error(r, node, "burst: %s", err.text);
	else if (limit->bits && burst < POLICY_BURST_MIN_BITS)
		reader_error(r, node, "a burst of %.40s bits has no room for a frame of %d bytes; write %d or more",
			     text, POLICY_BURST_MIN_BITS / 8, POLICY_BURST_MIN_BITS);
	else if (!burst)
		reader_error(r, node, "a burst of 0 packets lets nothing through; write 1 or more");
	else if (burst > most)
		reader_error(r, node, "a burst of %.40s %s is more than passes in an hour; write %llu or less", text,
			     unit, (unsigned long long)most);
	else
		limit->burst = burst;
}

static void limit_read(struct reader *r, const struct node *node, struct policy_rule *rule)
{
	struct policy_limit limit = {};
	struct limit_text text = {};
	const char *rate;
	struct error err;

	if (!node)
		return;
	if (rule->action != SLUICE_ACTION_ALLOW)
		reader_error(r, node, "'limit' has a meaning on 'action: allow' only; remove it");
	else if (rule->audit)
		reader_error(r, node,
			     "'limit' has no meaning with 'mode: audit', where the rule decides nothing; remove one");
	if (!reader_mapping(r, node, "limit", limit_fields, &text) || !text.rate)
		return;
	rate = reader_scalar(r, text.rate, "rate");
	if (!rate)
		return;
	if (value_rate(rate, &limit.rate, &limit.bits, &err)) {
		reader_error(r, text.rate, "rate: %s", err.text);
		return;
	}
	limit.per_source = text.per_source;
	limit.burst = policy_burst_default(&limit);
	if (text.burst)
		burst_read(r, text.burst, &limit);
	rule->limit = limit;
}

static void stateful_read(struct reader *r, const struct node *node, struct policy_rule *rule)
{
	static const struct field f = {.key = "stateful"};

	rule->stateful = rule->action == SLUICE_ACTION_ALLOW;
	if (!node)
		return;
	if (rule->action == SLUICE_ACTION_ALLOW)
		read_bool(r, &f, node, &rule->stateful);
	else
		reader_error(r, node, "'stateful' has a meaning on 'action: allow' only; remove it");
}

static void rule_name_read(struct reader *r, const struct node *node, struct policy_rule *rule)
{
	if (!node || !reader_declare(r, NAME_RULE, node, r->policy->n_rules - 1))
		return;
	if (!strcmp(node->text, "default"))
		reader_error(r, node, "'default' is what the end of the rules is called; choose another name");
	free(rule->name);
	rule->name = reader_strdup(r, node->text);
}

static void rule_read(struct reader *r, const struct node *node)
{
	static const struct field tenant = {.key = "tenant"};
	struct rule_text text = {.action = SLUICE_ACTION_DENY};
	struct policy_rule *rule = reader_add(r, &r->policy->rules, &r->policy->n_rules, sizeof(*rule));

	if (!rule)
		return;
	rule->place = node->place;
	rule->tenant = POLICY_TENANT_UNSAID;
	rule->name = reader_strdup(r, "");
	if (!reader_mapping(r, node, "rule", rule_fields, &text))
		return;
	rule->action = (enum sluice_action)text.action;
	rule->audit = text.audit;
	rule_name_read(r, text.name, rule);
	if (text.tenant) {
		rule->tenant_place = text.tenant->place;
		read_tenant(r, &tenant, text.tenant, &rule->tenant);
	}
	if (text.from)
		read_side(r, text.from, "from", &rule->from);
	if (text.to)
		read_side(r, text.to, "to", &rule->to);
	service_read(r, text.service, rule);
	stateful_read(r, text.stateful, rule);
	log_read(r, text.log, rule);
	limit_read(r, text.limit, rule);
}

void read_rules(struct reader *r, const struct node *node)
{
	size_t i;

	if (!reader_is_list(r, node, "rules"))
		return;
	for (i = 0; i < node->n_children; i++)
		rule_read(r, &node->children[i]);
}
