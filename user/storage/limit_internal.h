/* SPDX-License-Identifier: Apache-2.0 */
/* What limit.c and limit_turns.c share: the limits, and the queues that wait for them. Nobody else includes this. */
#ifndef SLUICE_STORAGE_LIMIT_INTERNAL_H
#define SLUICE_STORAGE_LIMIT_INTERNAL_H

#include "storage/limit.h"
#include "storage/reactor.h"

/* How much the queue whose turn is next on a reactor was served. LIMIT_NEVER: none waits there. */
struct limit_line {
	uint64_t served; /* atomic; ns of cost */
} __attribute__((aligned(64)));

/* What a limit has counted: shared by reactors, and by the tables of one policy after another. All words are atomic. */
struct limit_meter {
	uint64_t commands_at, bytes_at; /* ns; see limit.c */
	uint64_t served;		/* of the queue that was served last: where a newcomer begins */
	uint64_t waiting;		/* commands */
	uint64_t commands, bytes, throttled;
	uint64_t window_ns, window_commands, window_bytes; /* begin of the window, and what was counted until then */
	uint64_t command_rate, byte_rate;		   /* of the window before, a second */
	unsigned int users;				   /* tables; under the target's `changing` mutex */
	struct limit_line lines[];			   /* one a reactor */
};

struct limit {
	const struct policy_storage_limit *config;
	struct limit_meter *meter;
	uint64_t command_cost; /* ns of one command at the rate; 0: commands are not counted */
	double bandwidth;      /* bytes a second; 0: bytes are not counted */
};

/* One queue under one limit. */
struct limit_entry {
	struct conn *conn;
	struct limit_turns *turns;
	uint64_t served;	     /* ns of cost, beginning with what others had when it came */
	struct command *head, **tail; /* throttled, in order of arrival */
	unsigned int place;	      /* in the heap, while head is set */
};

/* The queues of one reactor that wait under one limit: a heap, the least served first. */
struct limit_turns {
	const struct limit *limit;
	struct limit_entry **heap;
	unsigned int n, room;
	unsigned int n_entries; /* queues that may come to wait: never more than room */
};

/* The limits of one I/O queue. */
struct conn_limits {
	unsigned int n;
	unsigned int n_capsules; /* buffers for in-capsule data that its throttled commands hold */
	struct limit_entry entries[];
};

struct limit_table {
	unsigned int n;
	struct limit_turns *turns[TARGET_MAX_REACTORS]; /* n each; the reactor's thread's own */
	struct limit limits[];				/* the narrowest first */
};

bool limit_matches(const struct limit *l, const struct queue *q);
/* ns of the limit that a command takes. */
uint64_t limit_cost(const struct limit *l, uint64_t bytes);
/* When the next command may pass; 0: any time. */
uint64_t limit_release(const struct limit *l);
/* They pass. waited: in the limit's line. */
void limit_count(const struct limit *l, uint64_t commands, uint64_t bytes, uint64_t now, bool waited);

#endif
