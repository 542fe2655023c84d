/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a multipath: multipath.c (life), multipath_path.c (a path's thread), multipath_lane.c (I/O) only. */
#ifndef SLUICE_STORAGE_MULTIPATH_PRIVATE_H
#define SLUICE_STORAGE_MULTIPATH_PRIVATE_H

#include <pthread.h>

#include "nvme/ana.h"
#include "storage/multipath.h"

#define PATIENCE_MS 1000u /* least time that a command waits for a path; a path that is given up ends it sooner */
#define ABORTS_MAX  64 /* of one path, that wait to be sent; and under way at most */
#define ANA_STALE 0 /* a command said that the state is not what the log said; not used until the log was read again */

/* A command that is to be aborted. */
struct abort_request {
	unsigned int generation; /* of the connection that it belongs to */
	uint16_t qid, cid;
};

struct path {
	struct multipath *m;
	struct initiator_options options;
	pthread_t thread;
	bool started;
	int wake; /* eventfd: the admin queue, a lane's report, or the end */
	/* under m->lock */
	enum path_state state;
	bool tried;		 /* the first attempt is over */
	unsigned int generation; /* counts connections */
	unsigned int users;	 /* lanes that are opening a queue with i */
	struct initiator *i;	 /* LIVE only */
	bool failed;		 /* a lane lost its queue, or could open none: */
	bool unusable;
	int why_errno;
	struct error why;
	uint64_t reconnects, commands, resubmitted, ana_timeouts;
	struct retry_count retries[MULTIPATH_STATUSES];
	struct abort_request requests[ABORTS_MAX]; /* of lanes; the oldest first */
	unsigned int n_requests;
	uint64_t aborts_sent, aborted;
	/* atomic; written by the path's thread, set stale by lanes */
	uint8_t ana[MULTIPATH_NAMESPACES];
	/* the thread's */
	struct initiator_io event;
	bool event_armed, ana_unsettled;
	struct initiator_abort aborts[ABORTS_MAX]; /* owner NULL: free */
	uint64_t ana_read_ns, live_ns;
	uint64_t lost_ns; /* since when it is away, or of no use */
	uint64_t change_ns; /* when a namespace was first seen in a change of state that goes on; 0: none is */
	unsigned int attempts; /* since then */
	uint8_t *log;
	size_t log_size;
};

/* What a namespace is known by, whatever the path. */
struct identity {
	struct nvme_ns_view view;
	uint8_t uuid[16]; /* zeros: none */
};

struct multipath {
	struct multipath_options options;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int version; /* atomic; counts every change that a lane must look at */
	bool stop;	      /* atomic */
	bool known;	      /* identities, under lock */
	uint32_t max_transfer;
	struct nvme_dsm_limits dsm; /* under lock */
	uint32_t patience_ms; /* atomic; how long a command waits for a path */
	struct identity identities[MULTIPATH_NAMESPACES];
	struct path paths[MULTIPATH_MAX];
};

/* Adds to the entry of this status, or to the last one. */
void multipath_count(struct retry_count counts[MULTIPATH_STATUSES], uint16_t status, uint64_t n);

/* Tells all lanes to look. With m->lock held. */
void multipath_changed(struct multipath *m);

/* Compares with what is known, or makes it known. -ESTALE. */
int multipath_identify(struct multipath *m, const char *place, const struct identity *found, uint32_t max_transfer,
		       struct error *err);

/* A controller's limits, too, are limits from now on. */
void multipath_limit(struct multipath *m, const struct nvme_dsm_limits *dsm);

void *path_main(void *path);

/*
 * The pause before the next attempt: doubled each time, and up to a quarter more or less, as `random` (all its bits)
 * says, so that many hosts spread out.
 */
uint64_t path_pause_ns(uint32_t first_ms, unsigned int attempts, uint32_t random);

/* ---- for lanes ---- */

/* The controller to open a queue of, and the number of its connection; NULL: not live. Give it back. */
struct initiator *path_take(struct path *p, unsigned int *ret_generation);
void path_give(struct path *p);

/* The connection of this number is lost for a lane, or has no queue for it: the whole path connects again. */
void path_report(struct path *p, unsigned int generation, bool unusable, int errnum, const struct error *why);

/* Has a command aborted that came by the connection of this number. False: that is not possible. */
bool path_abort(struct path *p, unsigned int generation, uint16_t qid, uint16_t cid);

/* multipath_abort.c, for the path's thread: sends what lanes want aborted, as far as the controller takes it. */
void path_send_aborts(struct path *p);

/* A command was answered with a status of the path. */
void path_stale(struct path *p, unsigned int ns);

static inline uint8_t path_ana(const struct path *p, unsigned int ns)
{
	return __atomic_load_n(&p->ana[ns], __ATOMIC_RELAXED);
}

#endif
