// SPDX-License-Identifier: Apache-2.0
/* A plan for people: a line a difference, + new, - gone, ~ changed, > moved; parts without one are left out. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/plan.h"
#include "cli/status.h"
#include "cli/table.h"
#include "policy/values.h"

struct plan_counts plan_counts(const struct policy_diff_list *l)
{
	struct plan_counts c = {};
	size_t i, n = 0;

	for (i = 0; i < POLICY_CHANGES; i++)
		if (l->changes[i])
			n += (size_t)snprintf(c.text + n, sizeof(c.text) - n, "%s%zu %s", n ? ", " : "", l->changes[i],
					      policy_change_name((enum policy_change)i));
	if (!n)
		snprintf(c.text, sizeof(c.text), "no change");
	return c;
}

static void print_entry(const struct policy_diff_entry *e)
{
	static const char signs[] = {
		[POLICY_ADDED] = '+', [POLICY_REMOVED] = '-', [POLICY_CHANGED] = '~', [POLICY_MOVED] = '>'};
	size_t i;

	printf("  %c %s", signs[e->change], e->name);
	if (e->prefixes_added || e->prefixes_removed)
		printf(": +%zu -%zu prefixes", e->prefixes_added, e->prefixes_removed);
	if (e->moved || e->change == POLICY_MOVED)
		printf(": moved from place %zu to %zu", e->before + 1, e->after + 1);
	printf("\n");
	for (i = 0; i < e->n_notes; i++)
		printf("      %s\n", e->notes[i]);
	if (e->n_unsaid)
		printf("      and %zu more\n", e->n_unsaid);
}

static void print_parts(const struct policy_diff *d)
{
	size_t part, i;

	for (part = 0; part < POLICY_DIFF_PARTS; part++) {
		const struct policy_diff_list *l = &d->part[part];

		if (!l->count)
			continue;
		printf("%s: %s\n", policy_diff_part_name((enum policy_diff_part)part), plan_counts(l).text);
		for (i = 0; i < l->count; i++)
			print_entry(&l->entries[i]);
	}
}

static void print_flow(const struct plan_flow *f, const struct policy_tables *tables)
{
	char number[VALUE_ITEM_LEN];

	printf("    %s %s to %s", value_protocol_text(f->protocol, number),
	       status_end(f->source, htons(f->source_port)).text, status_end(f->dest, htons(f->dest_port)).text);
	printf("%s%s: %s\n", *f->tenant ? " in " : "", f->tenant, plan_flow_rule(tables, f->rule));
}

static void print_flows(const struct plan_cuts *c, const struct policy_tables *tables)
{
	size_t i;

	printf("flows: %s live, %s would be cut\n", number_text(c->asked).text, number_text(c->cut).text);
	for (i = 0; i < c->n_rules; i++)
		if (c->by_rule[i])
			printf("  %s by %s%s\n", number_text(c->by_rule[i]).text,
			       tables->rules[i].flags & SLUICE_RULE_DEFAULT ? "" : "rule ", plan_flow_rule(tables, i));
	if (c->tenant_gone)
		printf("  %s whose tenant is gone\n", number_text(c->tenant_gone).text);
	if (c->n_first)
		printf("  %s\n", c->n_first < c->cut ? "the first of them:" : "these:");
	for (i = 0; i < c->n_first; i++)
		print_flow(&c->first[i], tables);
}

void plan_text(const struct plan *plan, const struct policy_tables *tables)
{
	const struct dataplane_live *live = &plan->live;

	if (!live->generation)
		printf("no policy is in force: all of %s is new\n", tables->head.name);
	else
		printf("%s against %s, which is in force as generation %llu\n", tables->head.name, live->head.name,
		       (unsigned long long)live->generation);
	if (live->trial.state == DATAPLANE_TRIAL_PENDING)
		printf("which is on trial: apply will be refused until `sluice confirm` or `sluice rollback`\n");
	if (plan->diff->rules_only)
		printf("only rules, mode and default are compared: %s\n", plan->model_missing.text);
	if (policy_diff_is_empty(plan->diff))
		printf("no difference\n");
	print_parts(plan->diff);
	if (live->generation)
		print_flows(&plan->cuts, tables);
}
