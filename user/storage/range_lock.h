/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps commands on the same blocks of a namespace apart: any number that read, or one that writes. That is what makes
 * a write atomic for those who read meanwhile, and a fused Compare and Write atomic for everyone. Never blocks: who
 * cannot have its range is queued, in order of arrival, and told later.
 *
 * A range is a run of 4 KiB units, and a unit is a word of a table that units of the whole namespace share; a range
 * takes all of its words or none. So two ranges may seem to overlap that do not, which costs time and nothing else.
 *
 * Whoever holds a range must be able to finish without another range, a buffer or a slot: then nobody waits for ever.
 */
#ifndef SLUICE_STORAGE_RANGE_LOCK_H
#define SLUICE_STORAGE_RANGE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define RANGE_LOCK_WORDS 4096
#define RANGE_LOCK_SHIFT 12 /* log2 of the bytes of a unit */

/* One range, held or wanted; the caller's, untouched while it is either. */
struct range_hold {
	uint64_t first, last; /* units, inclusive */
	bool exclusive;
	struct range_hold *next;
	/* Called once, by the thread that made way, under the lock's mutex: must not call back. */
	void (*granted)(struct range_hold *hold, void *by);
};

struct range_locks {
	uint32_t words[RANGE_LOCK_WORDS]; /* how many read, or RANGE_LOCK_WRITER */
	uint32_t n_waiting;		  /* written under the mutex, read by all */
	pthread_mutex_t mutex;		  /* of the queue */
	struct range_hold *queue, **tail;
};

int range_locks_make(struct range_locks **ret_locks); /* -ENOMEM */
void range_locks_free(struct range_locks *l);	      /* nobody holds or waits; NULL is fine */

/* The bytes offset .. offset + len (len > 0). */
void range_hold_set(struct range_hold *h, uint64_t offset, uint64_t len, bool exclusive);

/* true: it is held. false: h->granted() will say when. `by` goes to granted() of those whom this call lets go on. */
bool range_lock(struct range_locks *l, struct range_hold *h, void *by);
void range_unlock(struct range_locks *l, struct range_hold *h, void *by);

#endif
