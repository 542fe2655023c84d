// SPDX-License-Identifier: Apache-2.0
/*
 * ANA groups and states. Tables are made by catalog.c and update.c, on no reactor; the questions come from reactors,
 * the log from the admin queue's. A controller has the states of the portal that its admin queue came to.
 */
#include "storage/ana.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/reactor.h"

struct log_header {
	__le64 changes;
	__le16 groups;
	__u8 reserved[6];
};

struct log_group {
	__le32 group;
	__le32 namespaces;
	__le64 changes;
	__u8 state;
	__u8 reserved[15];
} __attribute__((packed, aligned(4))); /* they follow one another, 4 bytes a namespace between */

_Static_assert(sizeof(struct log_header) == 16, "hosts find the first group there");
_Static_assert(sizeof(struct log_group) == 32, "hosts find namespaces behind it");

/* As the wire has them (Base 2.0, section 5.16.1.13), and what a command gets. */
static const struct {
	uint8_t wire;
	uint16_t status;
} states[] = {
	[POLICY_ANA_OPTIMIZED] = {0x1, NVME_ST_SUCCESS},
	[POLICY_ANA_NON_OPTIMIZED] = {0x2, NVME_ST_SUCCESS},
	[POLICY_ANA_INACCESSIBLE] = {0x3, NVME_ST_ANA_INACCESSIBLE},
	[POLICY_ANA_PERSISTENT_LOSS] = {0x4, NVME_ST_ANA_PERSISTENT_LOSS},
	[POLICY_ANA_CHANGE] = {0xf, NVME_ST_ANA_TRANSITION},
};

/* ---- tables ---- */

/* The portal of the policy that listens as number i of the target, or NULL: it waits for a restart, or went. */
static const struct policy_portal *portal_of(const struct target *t, const struct policy_storage *storage,
					     unsigned int i)
{
	const struct policy_portal *is = &t->options.storage->portals[i];
	size_t k;

	for (k = 0; k < storage->n_portals; k++)
		if (storage->portals[k].port == is->port && !strcmp(storage->portals[k].address, is->address))
			return &storage->portals[k];
	return NULL;
}

static uint8_t state_of(const struct policy_subsystem *config, uint32_t group, const char *portal)
{
	uint8_t state = POLICY_ANA_OPTIMIZED;
	size_t i;

	for (i = 0; i < config->n_ana; i++) {
		if (config->ana[i].group != group)
			continue;
		if (!config->ana[i].portal)
			state = config->ana[i].state;
		else if (portal && !strcmp(config->ana[i].portal, portal))
			return config->ana[i].state;
	}
	return state;
}

static void count_changes(const struct ana_table *before, struct ana_table *table)
{
	bool any = false;
	uint32_t g;

	table->changes = before->changes;
	for (g = 1; g <= POLICY_ANA_GROUPS; g++) {
		bool differs = memcmp(before->states[g], table->states[g], sizeof(table->states[g]));

		table->group_changes[g] = before->group_changes[g] + differs;
		any |= differs;
	}
	table->changes += any;
}

int ana_table_make(const struct target *t, const struct policy_storage *storage, const struct policy_subsystem *config,
		   const struct ana_table *before, struct ana_table **ret_table)
{
	struct ana_table *table;
	unsigned int p;
	uint32_t g;

	*ret_table = NULL;
	if (!config->has_ana)
		return 0;
	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (p = 0; p < min(t->options.storage->n_portals, (size_t)TARGET_MAX_PORTALS); p++) {
		const struct policy_portal *portal = portal_of(t, storage, p);

		for (g = 1; g <= POLICY_ANA_GROUPS; g++)
			table->states[g][p] = state_of(config, g, portal ? portal->name : NULL);
	}
	if (before)
		count_changes(before, table);
	*ret_table = table;
	return 0;
}

bool ana_differs(const struct ana_table *a, const struct ana_table *b, unsigned int portal)
{
	uint32_t g;

	if (!a || !b)
		return a != b;
	for (g = 1; g <= POLICY_ANA_GROUPS; g++)
		if (a->states[g][portal] != b->states[g][portal])
			return true;
	return false;
}

/* ---- questions ---- */

uint16_t ana_status(const struct controller *c, uint32_t group)
{
	const struct ana_table *table = subsystem_now(c->subsystem)->ana;

	return table ? states[table->states[group][c->portal]].status : NVME_ST_SUCCESS;
}

/* Whether the policy names the group, or a namespace is of it. */
static bool exists(const struct subsystem_state *s, uint32_t group)
{
	size_t i;

	for (i = 0; i < s->config->n_ana; i++)
		if (s->config->ana[i].group == group)
			return true;
	for (i = 0; i < s->n_namespaces; i++)
		if (s->namespaces[i]->group == group)
			return true;
	return false;
}

/* One group; answers how long it is. */
static size_t log_one(const struct controller *c, const struct subsystem_state *s, uint32_t group, bool groups_only,
		      void *out)
{
	struct log_group *one = out;
	__le32 *nsids = (__le32 *)(one + 1);
	unsigned int i, n = 0;

	for (i = 0; i < s->n_namespaces && !groups_only; i++)
		if (s->namespaces[i]->group == group)
			nsids[n++] = htole32(s->namespaces[i]->config->id);
	*one = (struct log_group){
		.group = htole32(group),
		.namespaces = htole32(n),
		.changes = htole64(s->ana->group_changes[group]),
		.state = states[s->ana->states[group][c->portal]].wire,
	};
	return sizeof(*one) + n * sizeof(*nsids);
}

size_t ana_log(const struct controller *c, bool groups_only, void *out)
{
	const struct subsystem_state *s = subsystem_now(c->subsystem);
	struct log_header *header = out;
	size_t len = sizeof(*header);
	unsigned int n = 0;
	uint32_t g;

	for (g = 1; g <= POLICY_ANA_GROUPS; g++)
		if (exists(s, g)) {
			len += log_one(c, s, g, groups_only, (uint8_t *)out + len);
			n++;
		}
	*header = (struct log_header){.changes = htole64(s->ana->changes), .groups = htole16(n)};
	return len;
}
