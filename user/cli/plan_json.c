// SPDX-License-Identifier: Apache-2.0
/* A plan for programs; docs/json.md. Field names are part of the interface: added to, never changed. */
#include <arpa/inet.h>
#include <string.h>

#include "cli/json.h"
#include "cli/plan.h"
#include "policy/values.h"

static struct json_object *place(size_t i)
{
	return i == POLICY_DIFF_NOWHERE ? NULL : json_number(i + 1);
}

static struct json_object *entry_object(const struct policy_diff_entry *e)
{
	struct json_object *o = json_object_new_object(), *notes = json_object_new_array();
	size_t i;

	json_add(o, "change", json_object_new_string(policy_change_name(e->change)));
	json_add(o, "name", json_object_new_string(e->name));
	json_add(o, "before", place(e->before));
	json_add(o, "after", place(e->after));
	json_add(o, "moved", json_object_new_boolean(e->moved || e->change == POLICY_MOVED));
	json_add(o, "prefixes_added", json_number(e->prefixes_added));
	json_add(o, "prefixes_removed", json_number(e->prefixes_removed));
	for (i = 0; i < e->n_notes; i++)
		json_object_array_add(notes, json_object_new_string(e->notes[i]));
	json_add(o, "notes", notes);
	json_add(o, "unsaid", json_number(e->n_unsaid));
	return o;
}

static struct json_object *part_object(const struct policy_diff_list *l)
{
	struct json_object *o = json_object_new_object(), *entries = json_object_new_array();
	size_t i;

	for (i = 0; i < POLICY_CHANGES; i++)
		json_add(o, policy_change_name((enum policy_change)i), json_number(l->changes[i]));
	for (i = 0; i < l->count; i++)
		json_object_array_add(entries, entry_object(&l->entries[i]));
	json_add(o, "entries", entries);
	return o;
}

static struct json_object *address(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	bool v4 = !memcmp(addr, mapped, sizeof(mapped));
	char text[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + 12 : addr, text, sizeof(text));
	return json_object_new_string(text);
}

static struct json_object *flow_object(const struct plan_flow *f, const struct policy_tables *tables)
{
	struct json_object *o = json_object_new_object();
	char number[VALUE_ITEM_LEN];

	json_add(o, "source", address(f->source));
	json_add(o, "source_port", json_number(f->source_port));
	json_add(o, "dest", address(f->dest));
	json_add(o, "dest_port", json_number(f->dest_port));
	json_add(o, "protocol", json_object_new_string(value_protocol_text(f->protocol, number)));
	json_add(o, "tenant", json_object_new_string(f->tenant));
	json_add(o, "rule", f->rule < tables->n_rules ? json_object_new_string(plan_flow_rule(tables, f->rule)) : NULL);
	return o;
}

static struct json_object *flows_object(const struct plan_cuts *c, const struct policy_tables *tables)
{
	struct json_object *o = json_object_new_object(), *rules = json_object_new_array();
	struct json_object *first = json_object_new_array(), *rule;
	size_t i;

	json_add(o, "live", json_number(c->asked));
	json_add(o, "cut", json_number(c->cut));
	for (i = 0; i < c->n_rules; i++) {
		if (!c->by_rule[i])
			continue;
		rule = json_object_new_object();
		json_add(rule, "rule", json_object_new_string(plan_flow_rule(tables, i)));
		json_add(rule, "flows", json_number(c->by_rule[i]));
		json_object_array_add(rules, rule);
	}
	json_add(o, "by_rule", rules);
	json_add(o, "tenant_gone", json_number(c->tenant_gone));
	for (i = 0; i < c->n_first; i++)
		json_object_array_add(first, flow_object(&c->first[i], tables));
	json_add(o, "first", first);
	return o;
}

static struct json_object *live_object(const struct dataplane_live *live)
{
	struct json_object *o;

	if (!live->generation)
		return NULL;
	o = json_object_new_object();
	json_add(o, "policy", json_object_new_string(live->head.name));
	json_add(o, "generation", json_number(live->generation));
	json_add(o, "digest", json_hex(live->head.digest, sizeof(live->head.digest)));
	json_add(o, "on_trial", json_object_new_boolean(live->trial.state == DATAPLANE_TRIAL_PENDING));
	return o;
}

struct json_object *plan_json(const struct plan *plan, const struct policy_tables *tables)
{
	struct json_object *o = json_object_new_object();
	size_t part;

	json_add(o, "policy", json_object_new_string(tables->head.name));
	json_add(o, "digest", json_hex(tables->head.digest, sizeof(tables->head.digest)));
	json_add(o, "live", live_object(&plan->live));
	json_add(o, "different", json_object_new_boolean(plan_differs(plan)));
	json_add(o, "rules_only", json_name(plan->diff->rules_only ? plan->model_missing.text : NULL));
	for (part = 0; part < POLICY_DIFF_PARTS; part++)
		json_add(o, policy_diff_part_name((enum policy_diff_part)part), part_object(&plan->diff->part[part]));
	json_add(o, "flows", flows_object(&plan->cuts, tables));
	return o;
}
