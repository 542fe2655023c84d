// SPDX-License-Identifier: Apache-2.0
/*
 * Tenant numbers across policies. A policy numbers its tenants as it lists them, but flows bear the number: a tenant
 * that the live policy has too keeps its live number, whatever stands before it in the new one, or its connections
 * would not be found any more. Nothing else in a compiled policy holds the number: only its place in table `tenants`,
 * and the interfaces. Called by apply; the caller's policy and tables stay as they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

/* Names of the live tenants by number; an empty one: not in use. */
struct live_names {
	struct table_view view;
	size_t count;
};

static void live_names_done(struct live_names *l)
{
	table_unview(&l->view);
}

static int live_names_get(const struct dataplane *dp, struct live_names *l)
{
	uint64_t live = dp->control->generation;
	int r = live ? table_view(dp, TABLE_tenants, live & 1, PROT_READ, &l->view) : 0;

	l->count = r || !live ? 0 : min(l->view.count, (size_t)SLUICE_MAX_TENANTS);
	return r;
}

static const char *live_name(const struct live_names *l, size_t i)
{
	return i < l->count ? ((const struct sluice_tenant *)l->view.address)[i].name : "";
}

static size_t live_find(const struct live_names *l, const char *name)
{
	size_t i;

	for (i = 1; i < l->count; i++)
		if (!strncmp(live_name(l, i), name, SLUICE_NAME_LEN))
			return i;
	return 0;
}

/* The lowest free number; one that no live tenant bears if there is any. */
static size_t number_free(const struct live_names *l, const bool *taken)
{
	size_t i, spare = 0;

	for (i = SLUICE_MAX_TENANTS - 1; i; i--)
		if (!taken[i] && (!*live_name(l, i) || !spare || *live_name(l, spare)))
			spare = i;
	return spare;
}

static void numbers_give(const struct live_names *l, const struct policy_tables *t, bool *taken, uint16_t *number)
{
	size_t i, kept;

	for (i = 1; i < t->n_tenants; i++) {
		kept = live_find(l, t->tenants[i].name);
		number[i] = (uint16_t)kept;
		taken[kept] = true;
	}
	for (i = 1; i < t->n_tenants; i++) {
		if (number[i])
			continue;
		number[i] = (uint16_t)number_free(l, taken);
		taken[number[i]] = true;
	}
}

/* ------------------------------------------------------------------- the renumbered copies */

void numbered_done(struct numbered *n)
{
	size_t i;

	for (i = 0; n->policy.interfaces && i < n->policy.n_interfaces; i++) {
		free(n->policy.interfaces[i].vlans);
		free(n->policy.interfaces[i].vnis);
	}
	free(n->policy.interfaces);
	free(n->tables.tenants);
}

static int interface_number(struct policy_interface *i, const struct policy_interface *from, const uint16_t *number)
{
	size_t k;

	*i = *from;
	i->vlans = calloc(from->n_vlans + 1, sizeof(*i->vlans));
	i->vnis = calloc(from->n_vnis + 1, sizeof(*i->vnis));
	if (!i->vlans || !i->vnis)
		return -ENOMEM;
	i->tenant = number[from->tenant];
	for (k = 0; k < from->n_vlans; k++)
		i->vlans[k] = (struct policy_vlan){from->vlans[k].id, number[from->vlans[k].tenant]};
	for (k = 0; k < from->n_vnis; k++)
		i->vnis[k] = (struct policy_vni){from->vnis[k].id, number[from->vnis[k].tenant]};
	return 0;
}

static int copies_make(const struct policy *p, const struct policy_tables *t, const uint16_t *number,
		       struct numbered *n)
{
	size_t i, count = 0;
	int r = 0;

	n->policy = *p;
	n->tables = *t;
	for (i = 0; i < t->n_tenants; i++)
		count = max(count, (size_t)number[i] + 1);
	n->tables.tenants = calloc(count + 1, sizeof(*n->tables.tenants));
	n->tables.n_tenants = count;
	n->policy.interfaces = calloc(p->n_interfaces + 1, sizeof(*p->interfaces));
	if (!n->tables.tenants || !n->policy.interfaces)
		return -ENOMEM;
	for (i = 0; i < t->n_tenants; i++)
		n->tables.tenants[number[i]] = t->tenants[i];
	for (i = 0; !r && i < p->n_interfaces; i++)
		r = interface_number(&n->policy.interfaces[i], &p->interfaces[i], number);
	return r;
}

int tenants_number(const struct dataplane *dp, const struct policy *p, const struct policy_tables *t, struct error *err,
		   struct numbered *ret)
{
	_cleanup_(live_names_done) struct live_names live = {};
	_cleanup_free_ bool *taken = calloc(SLUICE_MAX_TENANTS, sizeof(*taken));
	_cleanup_free_ uint16_t *number = calloc(t->n_tenants + 1, sizeof(*number));
	int r = taken && number ? live_names_get(dp, &live) : -ENOMEM;

	if (!r) {
		numbers_give(&live, t, taken, number);
		r = copies_make(p, t, number, ret);
	}
	return r ? error_system(err, -r, "%s: cannot number the tenants", dp->root) : 0;
}
