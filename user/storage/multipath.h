/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A subsystem through one or more controllers ("paths"), which may go and come back. Each path has a thread that
 * connects, keeps alive, hears of events and connects again with growing pauses; each thread that does I/O has a lane:
 * one I/O queue on every path. A command goes to the best path for its namespace, and, if the connection is lost or the
 * answer is a path's status, to another path or to the same one once it is back, so that the caller sees it done once.
 *
 *	multipath_open()	all paths try; one must come up
 *	lane_open()		in the thread that uses it
 *	lane_submit(), lane_poll()
 *	lane_close()
 *	multipath_close()
 *
 * What is sent again after its connection was lost, when nobody knows whether it was executed: Read, Write, Flush,
 * Write Zeroes, Write Uncorrectable, Dataset Management and Verify, not fused; as the host of Linux does. Everything
 * else is done with the error. A command that comes back with a status that passes (nvme/retry.h), or whose data came
 * with a wrong digest, is sent again whatever it is; of fused pairs see lane_submit_pair(). A command that is not
 * answered in time is called back (Abort), and then sent again if it would be after a lost connection. Each at most
 * MULTIPATH_RETRIES times, those that an ANA state holds back as long as a path may be away. Other statuses are the
 * caller's.
 */
#ifndef SLUICE_STORAGE_MULTIPATH_H
#define SLUICE_STORAGE_MULTIPATH_H

#include "storage/initiator.h"

#define MULTIPATH_MAX	     8
#define MULTIPATH_NAMESPACES 64
#define MULTIPATH_RETRIES    5
#define MULTIPATH_STATUSES   8 /* that are told apart in the counts */

struct multipath_options {
	struct initiator_options target; /* without addr */
	struct initiator_addr addrs[MULTIPATH_MAX]; /* of equally good paths the first is taken */
	unsigned int n_addrs;
	unsigned int queues; /* lanes */
	uint32_t nsids[MULTIPATH_NAMESPACES];
	unsigned int n_nsids;
	uint32_t reconnect_delay_ms; /* the first pause; doubled after each attempt up to MULTIPATH_DELAY_MAX_MS */
	uint32_t ctrl_loss_ms;	     /* a path that is away for longer is given up. 0: at once */
	bool round_robin;	     /* over all paths of the best state; else the first one */
};

#define MULTIPATH_DELAY_MAX_MS 10000

struct multipath;

/*
 * Connects all paths; at least one must succeed, the others go on trying. -ESTALE: a path leads to another subsystem,
 * or a namespace is not the same one there. With several that fail, err is the first address's.
 */
int multipath_open(const struct multipath_options *options, struct multipath **ret_multipath, struct error *err);

/* Close the lanes first. NULL is fine. */
void multipath_close(struct multipath *m);

/* As found on the first path that came up; ns is an index of options.nsids. */
const struct nvme_ns_view *multipath_namespace(const struct multipath *m, unsigned int ns);

/* Bytes that one command may carry. */
uint32_t multipath_max_transfer(const struct multipath *m);

/* What one Dataset Management command may carry, whichever of the paths that have been live so far it takes. */
struct nvme_dsm_limits multipath_dsm_limits(struct multipath *m);

enum path_state {
	PATH_CONNECTING,
	PATH_LIVE,
	PATH_LOST, /* given up */
};

/* Commands sent again because of a status, with all bits but DNR and CRD left out: -EBADMSG's are 0x022. */
struct retry_count {
	uint16_t status;
	uint64_t count; /* 0: no entry */
};

struct multipath_info {
	const char *addr;
	enum path_state state;
	uint8_t ana[MULTIPATH_NAMESPACES]; /* enum nvme_ana_state, by index of options.nsids */
	uint64_t reconnects;
	uint64_t commands;    /* done by way of it; of lanes that are closed */
	uint64_t resubmitted; /* taken from it, to be sent again; for whatever reason */
	struct retry_count retries[MULTIPATH_STATUSES]; /* of these, by status; the last one counts all further ones */
	uint64_t aborts;       /* Abort commands sent, for commands that were not answered in time */
	uint64_t aborted;      /* of these, how many had the command aborted */
	uint64_t ana_timeouts; /* connected again, because a change of ANA state took longer than the controller says */
	struct error why;     /* not live: the last failure */
};

unsigned int multipath_paths(const struct multipath *m);
const char *path_state_name(enum path_state state);
void multipath_path_info(struct multipath *m, unsigned int path, struct multipath_info *ret_info);

/* ---- lanes ---- */

struct lane;

/* The caller's from submit until done. io.sqe, io.data and io.len are set by the caller, the rest of io by the lane. */
struct path_io {
	struct initiator_io io; /* submitted_ns: of the first attempt */
	unsigned int ns;	/* index of options.nsids */
	/* Called once from lane_poll(); may submit. NULL: the caller looks at io.finished. */
	void (*done)(struct path_io *io);
	void *owner;
	/* the lane's */
	struct path_io *next;
	struct path_io *other; /* of a pair that is under way: the other half */
	uint64_t first_ns, due_ns, ana_ns;
	uint8_t path, retries;
	bool elsewhere; /* it came back from `path`, and is sent again by another one if there is one */
};

/* index: 0 .. options.queues - 1, each once. Succeeds if one path works. Only the calling thread may use the lane. */
int lane_open(struct multipath *m, unsigned int index, unsigned int depth, unsigned int spin_us, struct lane **ret_lane,
	      struct error *err);

/* -EAGAIN: depth commands are outstanding. -ENOTCONN: no path is left; io is untouched in both cases. */
int lane_submit(struct lane *lane, struct path_io *io);

unsigned int lane_outstanding(const struct lane *lane);

/*
 * As initiator_queue_poll(). A failure means that no path is left: every command is done with an error, and the lane
 * is good for lane_close() alone.
 */
int lane_poll(struct lane *lane, bool wait, struct error *err);

/* Submits io and polls until it is done; its done must be NULL. */
int lane_execute(struct lane *lane, struct path_io *io, struct error *err);

/*
 * Two commands as one: a fused Compare and Write, first and second half. By one path, one right behind the other. Sent
 * again, both halves, when a status that passes says that nothing was written; not when a connection was lost. Both are
 * done at the same time, the first one's done() first; until then io.finished and the rest mean nothing, and `other` is
 * not NULL. As lane_submit(); -EAGAIN unless the lane has room for two.
 */
int lane_submit_pair(struct lane *lane, struct path_io *first, struct path_io *second);

/* What became of a pair that is done: 0, it was written; else the error of the half that failed, or that nobody knows. */
int lane_pair_check(const struct lane *lane, const struct path_io *first, const struct path_io *second,
		    struct error *err);

/* Submits a pair and polls until it is done; error as lane_pair_check(). The statuses say more (COMPARE_FAILED). */
int lane_execute_pair(struct lane *lane, struct path_io *first, struct path_io *second, struct error *err);

/* NULL is fine. Outstanding commands are done with -ECANCELED. */
void lane_close(struct lane *lane);

#endif
