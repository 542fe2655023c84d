/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policies that were applied: the live one and the ten before it, as canonical YAML, one file each, in
 * /var/lib/sluice/ROOT (SLUICE_STATE_DIR or an argument overrides the first part). What `rollback`, `show` and `plan`
 * read.
 *
 * The kernel, not the store, says what is live: an entry is the live one if generation and digest are those of the live
 * bank. So a crash between writing and flipping leaves an entry that nobody asks for, and the next one that is written
 * removes it. Entries that say the same as a later one are not listed: all that are differ.
 *
 * Writers of one root exclude each other by a lock on the folder. A reader sees whole entries only.
 */
#ifndef SLUICE_CONTROL_HISTORY_H
#define SLUICE_CONTROL_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "policy/policy.h"

#define HISTORY_DIR  "/var/lib/sluice"
#define HISTORY_KEPT 10 /* beside the live one */

struct history;

/*
 * The store of the pinned folder `root` below `state_dir` (NULL: the usual one). Touches nothing yet: that it does not
 * exist is an empty history.
 */
int history_open(const char *state_dir, const char *root, struct error *err, struct history **ret_history);
void history_close(struct history *h);
void history_closep(struct history **h);
const char *history_path(const struct history *h);

/* What the kernel says is in force. Generation 0: nothing. */
struct history_live {
	uint64_t generation;
	uint8_t digest[32];
};

struct history_entry {
	uint64_t file;	     /* number in the file's name: later ones are higher */
	uint64_t generation; /* that it was applied as; numbers start again after a detach */
	uint8_t digest[32];
	uint64_t applied; /* seconds since 1970 */
	size_t rules;	  /* the default not counted */
	char name[SLUICE_NAME_LEN];
	char *source; /* path that it was read from; owned */
};

struct history_list {
	struct history_entry *items; /* latest first; owned */
	size_t count;
	bool has_live; /* items[0] is the live policy; else all were applied before it */
};

/* The live policy, if it is there, and at most HISTORY_KEPT different ones before it. */
int history_list(const struct history *h, const struct history_live *live, struct error *err,
		 struct history_list *ret_list);
void history_list_done(struct history_list *l);
/* The policy `back` before the live one, or NULL. 0: the live one. */
const struct history_entry *history_back(const struct history_list *l, size_t back);
/* The latest entry with this digest, whatever its generation; *ret_entry.source is the caller's. -ENOENT. */
int history_find(const struct history *h, const uint8_t digest[32], struct error *err, struct history_entry *ret_entry);

/* What is told of a policy beside its text. */
struct history_about {
	const struct sluice_policy *head; /* generation, digest, name, number of rules: as they will be in force */
	const char *source;
};

/*
 * Writes an entry that is complete or absent after a crash at any point, and durable on return. To be called before the
 * flip; `live` is what is in force until then. -errno with err, which has a remedy.
 */
int history_add(struct history *h, const struct history_live *live, const struct policy *p,
		const struct history_about *about, struct error *err);
/* Removes what a list does not show any more, once `live` is in force for good. */
int history_prune(struct history *h, const struct history_live *live, struct error *err);

/*
 * The stored policy, read and compiled. -EBADMSG: what is stored is not what was applied, by its digest; -EINVAL: it
 * cannot be read as a policy. Both outputs are the caller's.
 */
int history_load(const struct history *h, const struct history_entry *entry, struct error *err,
		 struct policy **ret_policy, struct policy_tables **ret_tables);

/* The steps of writing, for tests that let one fail or die there: returns 0 to go on, or -errno. NULL: none. */
enum history_step {
	HISTORY_CLEAN,
	HISTORY_CREATE,
	HISTORY_WRITE,
	HISTORY_SYNC,
	HISTORY_RENAME,
	HISTORY_SYNC_FOLDER,
	HISTORY_PRUNE,
	HISTORY_STEPS
};
extern int (*history_fault)(enum history_step step);

#endif
