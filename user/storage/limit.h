/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `storage: limits:`: how many commands and bytes a second hosts, subsystems and namespaces may have. A command counts
 * against each limit that it matches and passes them one after the other, the narrowest first. What is over a limit
 * waits in its queue's own line there; queues have turns by how much they were served, so that they share alike,
 * whatever their depth, their commands' sizes and the reactor they are on.
 */
#ifndef SLUICE_STORAGE_LIMIT_H
#define SLUICE_STORAGE_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "base/error.h"

struct command;
struct conn;
struct conn_limits;
struct limit_turns;
struct policy_storage;
struct reactor;
struct storage_version;
struct target;

#define LIMIT_NEVER UINT64_MAX

/* What of limits a reactor has; its thread's own. */
struct reactor_limits {
	struct limit_turns *turns; /* one a limit of the table in force; NULL: there are none */
	unsigned int n_turns;
	unsigned int n_capsules; /* buffers for in-capsule data that throttled commands hold */
	uint64_t wake_ns;	 /* when to look again; LIMIT_NEVER: nobody waits */
};

/* All limits of one policy. Made and freed under the target's `changing` mutex. */
struct limit_table;

/* The limits of v, which is held; those that `old` (or NULL) has by the same name go on counting. -ENOMEM. */
int limit_table_make(struct target *t, struct storage_version *v, struct limit_table *old,
		     struct limit_table **ret_table);
/* No reactor uses it any more. NULL does nothing. */
void limit_table_free(struct limit_table *table);

/* Tells of each limit that one has and the other has not, or has otherwise. */
void limit_changes(const struct policy_storage *old, const struct policy_storage *new,
		   void (*tell)(void *arg, const char *change, const char *name), void *arg);

/* The `changing` mutex is held. {"name", "iops", "bandwidth", "commands", "bytes", "throttled", "waiting", "commands_per_second", ...} of each. */
struct json_object *limit_stats(const struct target *t);

/* ---- the rest is the reactor's thread's ---- */

/* From now on these limits hold: what waits is sorted in again. */
void limits_switch(struct reactor *r, struct limit_table *table);
/* conn has become an I/O queue. -ENOMEM. */
int limits_join(struct conn *conn);
/* It is none of those that share any more, and nothing of it waits. */
void limits_leave(struct conn *conn);

/* Of a command of a connection that has limits: true, it may go on; false: it waits, and will be taken up again. */
bool limits_admit(struct command *cmd);
/* It waits and ends before its turn: out of the line. */
void limits_withdraw(struct command *cmd);
/* It was admitted, and turns out to move so many bytes more. */
void limits_charge(struct command *cmd, uint64_t bytes);
/* Whether throttled commands hold as many buffers for in-capsule data as they may. */
bool limits_full(const struct conn *conn);

/* Takes up all whose turn it is, and sets wake_ns. */
void limits_serve(struct reactor *r);

#endif
