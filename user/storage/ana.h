/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asymmetric Namespace Access (Base 2.0, section 8.1): the state of each group of namespaces at each portal, as the
 * policy says, and what of it hosts are told. A table is part of struct subsystem_state and immutable like it.
 */
#ifndef SLUICE_STORAGE_ANA_H
#define SLUICE_STORAGE_ANA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"
#include "storage/target.h"

#define ANA_TRANSITION_S 10 /* ANATT: a state of "change" lasts at most so long, by the administrator's word */
#define ANA_LOG_MAX	 (16 + POLICY_ANA_GROUPS * 32 + TARGET_MAX_NSID * 4)

struct target;
struct controller;
struct subsystem_state;

struct ana_table {
	uint64_t changes;			       /* tables of this subsystem before this one that differed */
	uint64_t group_changes[POLICY_ANA_GROUPS + 1]; /* the same of one group */
	uint8_t states[POLICY_ANA_GROUPS + 1][TARGET_MAX_PORTALS]; /* enum policy_ana_state */
};

/*
 * The table of a subsystem by the policy that `storage` is, or NULL if it has no `ana`. before: of the state that it
 * follows, or NULL. -ENOMEM.
 */
int ana_table_make(const struct target *t, const struct policy_storage *storage, const struct policy_subsystem *config,
		   const struct ana_table *before, struct ana_table **ret_table);

/* Whether hosts of this portal are to be told of a change. Either may be NULL. */
bool ana_differs(const struct ana_table *a, const struct ana_table *b, unsigned int portal);

/* Status of a command to a namespace of the group at the controller's portal: 0, or why this path does not do. */
uint16_t ana_status(const struct controller *c, uint32_t group);

/* The log page, ANA_LOG_MAX bytes at most: its length. groups_only: without namespaces. */
size_t ana_log(const struct controller *c, bool groups_only, void *out);

#endif
