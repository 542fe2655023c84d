// SPDX-License-Identifier: Apache-2.0
/*
 * Asks the live bank, the history and the flow table. A flow is judged as the kernel will when its next packet comes:
 * by the tuple that opened it (bpf/flow.h, flow_decide_again()), in the tenant of the same name. Called by plan, and by
 * rollout.c before every apply.
 */
#include "control/plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

#define ICMP4_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128
#define TENANT_GONE	   UINT32_MAX

void plan_done(struct plan *plan)
{
	dataplane_live_done(&plan->live);
	policy_diff_free(plan->diff);
	free(plan->cuts.by_rule);
	memset(plan, 0, sizeof(*plan));
}

/* ------------------------------------------------------------------- flows */

struct flow_judge {
	const struct policy_tables *tables;
	const struct dataplane_live *live;
	uint32_t *tenant; /* new number of each live tenant */
	struct plan_cuts *cuts;
};

static int tenants_match(struct flow_judge *j)
{
	const struct dataplane_live *live = j->live;
	size_t i, k;

	j->tenant = calloc(live->n_tenants + 1, sizeof(*j->tenant));
	if (!j->tenant)
		return -ENOMEM;
	for (i = 0; i < live->n_tenants; i++) {
		j->tenant[i] = TENANT_GONE;
		for (k = 0; k < j->tables->n_tenants; k++)
			if (!strncmp(live->tenants[i].name, j->tables->tenants[k].name, SLUICE_NAME_LEN) &&
			    (*live->tenants[i].name || i == k))
				j->tenant[i] = (uint32_t)k;
	}
	return 0;
}

static bool address_is_ipv4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

static void flow_query(const struct plan_flow *f, uint32_t tenant, struct policy_query *q)
{
	memcpy(q->source, f->source, sizeof(q->source));
	memcpy(q->dest, f->dest, sizeof(q->dest));
	q->tenant = (uint16_t)tenant;
	q->protocol = f->protocol;
	q->source_port = f->source_port;
	q->dest_port = f->dest_port;
	if (f->protocol != IPPROTO_ICMP && f->protocol != IPPROTO_ICMPV6)
		return;
	q->source_port = 0;
	q->dest_port = (uint16_t)((address_is_ipv4(f->source) ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST) << 8);
}

static void flow_cut(struct plan_cuts *cuts, const struct plan_flow *f)
{
	cuts->cut++;
	if (f->rule == SIZE_MAX)
		cuts->tenant_gone++;
	else
		cuts->by_rule[f->rule]++;
	if (cuts->n_first < PLAN_FLOWS_LISTED)
		cuts->first[cuts->n_first++] = *f;
}

static int flow_judge(void *arg, const struct dataplane_flow *flow)
{
	const struct sluice_flow_key *key = &flow->key;
	struct flow_judge *j = arg;
	unsigned int from = flow->originator & 1;
	struct plan_flow f = {
		.protocol = key->protocol,
		.source_port = ntohs(key->port[from]),
		.dest_port = ntohs(key->port[!from]),
		.rule = SIZE_MAX,
	};
	uint32_t tenant = key->tenant < j->live->n_tenants ? j->tenant[key->tenant] : TENANT_GONE;
	struct policy_query q = {};

	if (dataplane_flow_state(flow) == FLOW_CUT) /* over, and only kept from coming back */
		return 0;
	j->cuts->asked++;
	memcpy(f.source, key->addr[from], sizeof(f.source));
	memcpy(f.dest, key->addr[!from], sizeof(f.dest));
	if (key->tenant < j->live->n_tenants)
		memcpy(f.tenant, j->live->tenants[key->tenant].name, sizeof(f.tenant));
	if (tenant != TENANT_GONE) {
		flow_query(&f, tenant, &q);
		f.rule = policy_tables_lookup(j->tables, &q);
		if (j->tables->rules[f.rule].action == SLUICE_ACTION_ALLOW)
			return 0;
	}
	flow_cut(j->cuts, &f);
	return 0;
}

static int flows_judge(const struct plan_question *question, struct error *err, struct plan *plan)
{
	struct flow_judge j = {.tables = question->tables, .live = &plan->live, .cuts = &plan->cuts};
	int r;

	plan->cuts.n_rules = question->tables->n_rules;
	plan->cuts.by_rule = calloc(plan->cuts.n_rules + 1, sizeof(*plan->cuts.by_rule));
	if (!plan->cuts.by_rule)
		return -ENOMEM;
	if (!plan->live.generation || question->tables->head.flags & SLUICE_MODE_AUDIT) /* audit cuts nothing */
		return 0;
	r = tenants_match(&j);
	if (!r)
		r = dataplane_flows(question->dp, flow_judge, &j, err);
	free(j.tenant);
	return r;
}

/* ------------------------------------------------------------------- differences */

/* The live policy's text, if the history has it; why not is for the reader of the plan. */
static void model_load(const struct plan_question *question, struct plan *plan, struct policy **ret_model)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	struct history_entry entry = {};

	if (!question->history || !plan->live.generation)
		return;
	if (!history_find(question->history, plan->live.head.digest, &plan->model_missing, &entry))
		history_load(question->history, &entry, &plan->model_missing, ret_model, &tables);
	free(entry.source);
}

static int differences_find(const struct plan_question *question, struct plan *plan)
{
	_cleanup_(policy_freep) struct policy *model = NULL;
	struct policy_diff_side old = {}, new = {
						  .model = question->policy,
						  .head = &question->tables->head,
						  .rules = question->tables->rules,
					  };

	model_load(question, plan, &model);
	if (plan->live.generation)
		old = (struct policy_diff_side){model, &plan->live.head, plan->live.rules};
	return policy_diff(&old, &new, &plan->diff);
}

int plan_make(const struct plan_question *question, struct error *err, struct plan *ret_plan)
{
	_cleanup_(plan_done) struct plan plan = {};
	int r = question->dp ? dataplane_live(question->dp, err, &plan.live) : 0;

	if (!r)
		r = differences_find(question, &plan);
	if (!r)
		r = flows_judge(question, err, &plan);
	if (r == -ENOMEM)
		return error_set(err, ENOMEM, "plan: out of memory");
	if (r)
		return r;
	*ret_plan = plan;
	memset(&plan, 0, sizeof(plan));
	return 0;
}
