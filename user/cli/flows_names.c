// SPDX-License-Identifier: Apache-2.0
/*
 * What the numbers in a flow mean: rules by counter slot, tenants, and the text of the live policy where segments are
 * asked for. Taken once for a picture of the table, so that all of it speaks of one policy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/flows.h"
#include "control/history.h"

void flow_names_done(struct flow_names *n)
{
	dataplane_live_done(&n->live);
	free(n->rule_of_slot);
	policy_free(n->model);
	free(n->model_tenant);
	memset(n, 0, sizeof(*n));
}

static int rules_index(struct flow_names *n)
{
	size_t i;

	n->rule_of_slot = malloc(SLUICE_MAX_RULES * sizeof(*n->rule_of_slot));
	if (!n->rule_of_slot)
		return -ENOMEM;
	for (i = 0; i < SLUICE_MAX_RULES; i++)
		n->rule_of_slot[i] = SLUICE_NO_RULE;
	for (i = 0; i < n->live.n_rules; i++)
		if (n->live.rules[i].slot < SLUICE_MAX_RULES)
			n->rule_of_slot[n->live.rules[i].slot] = (uint32_t)i;
	for (i = 1; i < n->live.n_tenants; i++)
		n->tenants |= *n->live.tenants[i].name != 0;
	return 0;
}

/* A policy numbers its tenants as it lists them, the kernel as it has known them longest. */
static int tenants_index(struct flow_names *n)
{
	size_t i, k;

	n->model_tenant = calloc(n->live.n_tenants + 1, sizeof(*n->model_tenant));
	if (!n->model_tenant)
		return -ENOMEM;
	for (i = 1; i < n->live.n_tenants; i++) {
		n->model_tenant[i] = FLOW_NO_TENANT;
		for (k = 1; *n->live.tenants[i].name && k < n->model->n_tenants; k++)
			if (!strncmp(n->live.tenants[i].name, n->model->tenants[k], SLUICE_NAME_LEN))
				n->model_tenant[i] = (uint16_t)k;
	}
	return 0;
}

static int model_get(struct flow_names *n, struct error *err)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(history_closep) struct history *history = NULL;
	struct history_entry entry = {};
	int r;

	if (!n->live.generation)
		return error_set(err, ENOENT, "%s: no policy is in force, so there is no segment", cli_options.root);
	r = history_open(cli_options.state_dir, cli_options.root, err, &history);
	if (!r)
		r = history_find(history, n->live.head.digest, err, &entry);
	if (!r)
		r = history_load(history, &entry, err, &n->model, &tables);
	free(entry.source);
	if (r == -EINVAL) /* no option of the caller's is wrong */
		r = -EBADMSG;
	return r ? r : tenants_index(n);
}

int flow_names_get(struct dataplane *dp, bool model, struct error *err, struct flow_names *ret_names)
{
	_cleanup_(flow_names_done) struct flow_names n = {};
	int r = dataplane_live(dp, err, &n.live);

	if (!r)
		r = rules_index(&n);
	if (!r && model)
		r = model_get(&n, err);
	if (r == -ENOMEM)
		return error_set(err, ENOMEM, "flows: out of memory");
	if (r)
		return r;
	*ret_names = n;
	memset(&n, 0, sizeof(n));
	return 0;
}

const struct sluice_rule *flow_rule(const struct flow_names *n, const struct dataplane_flow *flow)
{
	uint32_t i = flow->rule < SLUICE_MAX_RULES ? n->rule_of_slot[flow->rule] : SLUICE_NO_RULE;

	return i < n->live.n_rules ? &n->live.rules[i] : NULL;
}

const char *flow_tenant(const struct flow_names *n, const struct dataplane_flow *flow)
{
	uint16_t tenant = flow->key.tenant;

	if (!tenant)
		return "";
	return tenant < n->live.n_tenants && *n->live.tenants[tenant].name ? n->live.tenants[tenant].name : "?";
}

bool flow_is_stale(const struct flow_names *n, const struct dataplane_flow *flow)
{
	return flow->generation != (uint32_t)n->live.generation;
}
