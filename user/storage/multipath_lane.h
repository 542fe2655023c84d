/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a lane: multipath_lane.c, multipath_again.c and multipath_pair.c (fused pairs) only. */
#ifndef SLUICE_STORAGE_MULTIPATH_LANE_H
#define SLUICE_STORAGE_MULTIPATH_LANE_H

#include "storage/multipath_private.h"

struct lane_path {
	struct lane *lane;
	struct initiator_queue *q; /* NULL: none now */
	unsigned int generation;   /* of the path's connection that q, or the last failure to open one, belongs to */
	bool failed;		   /* q is good for closing alone */
	uint16_t crdt[3];	   /* of the controller that q leads to */
	uint64_t commands, resubmitted;
	struct retry_count retries[MULTIPATH_STATUSES];
};

struct lane {
	struct multipath *m;
	uint16_t qid;
	unsigned int depth, spin_us;
	unsigned int n_paths;
	struct lane_path paths[MULTIPATH_MAX];
	struct path_io *waiting, **waiting_end;
	unsigned int outstanding;
	unsigned int seen; /* multipath.version */
	int wake;	   /* eventfd of all queues; -1: there is one path, and its queue can be waited for */
	unsigned int turn; /* round robin: where the next search begins */
	uint64_t moved;	   /* counts commands that were done, and that were put into the waiting line */
	bool dead, closing;
	int fault_errno;
	struct error fault;
};

/* A command, or a half of a pair, that has just come; counted as outstanding from then on. */
void lane_begin(struct lane *lane, struct path_io *io);

/* io, or the pair whose first half it is, by the best path. -ENOTCONN: there is none just now. */
int lane_send(struct lane *lane, struct path_io *io);

/* Into the waiting line: a command, or the first half of a pair for both. */
void lane_wait(struct lane *lane, struct path_io *io, uint64_t pause_ns);

/* Back to its caller; of a pair both halves, of which io is the first. */
void lane_finish(struct lane *lane, struct path_io *io);

/* How long a command waits for a path. */
static inline uint64_t lane_patience_ns(const struct lane *lane)
{
	return __atomic_load_n(&lane->m->patience_ms, __ATOMIC_RELAXED) * 1000000ull;
}

/* Whether a command that came back is sent again, and after which pause. */
bool lane_again(struct lane *lane, struct path_io *io, uint64_t *ret_pause_ns);

/* Whether what was answered so is sent again, and after which pause; io counts. */
bool lane_again_status(struct lane *lane, struct path_io *io, uint16_t status, uint64_t *ret_pause_ns);

/* Whether a command came back aborted, and whether it, or its pair, is sent again; io counts. */
bool lane_aborted(const struct initiator_io *io);
bool lane_again_aborted(struct lane *lane, struct path_io *io);

/* Why nothing was submitted, in words. */
int lane_refuse(const struct lane *lane, int r, struct error *err);

/* A half of a pair has come back. */
void pair_done(struct lane *lane, struct path_io *half);

#endif
