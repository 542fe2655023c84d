// SPDX-License-Identifier: Apache-2.0
/*
 * What one thread's commands take: an I/O queue on every live path, the choice among them, and a waiting line for
 * commands that have none just now. Called by whoever drives I/O; the state of paths is multipath_path.c's, and a lane
 * looks at it whenever multipath.version has changed.
 *
 * What always holds: a command of the caller's is in one queue or in the waiting line; lane->outstanding counts both.
 * Queues are as deep as the lane, so that a queue always has room. Fused pairs are one command here, as far as
 * possible: the first half waits and is sent with the second behind it; what becomes of the two is multipath_pair.c's.
 * Whether a command is sent again is multipath_again.c's.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "storage/multipath_lane.h"

#define WAIT_MS 100

/* ---- choosing ---- */

#define RANK_BEST 3

/* 0: it cannot go there. By the path that it came back from only if there is no other. */
static int rank(const struct lane *lane, const struct path_io *io, unsigned int path)
{
	uint8_t state = path_ana(&lane->m->paths[path], io->ns);

	if (state != NVME_ANA_OPTIMIZED && state != NVME_ANA_NON_OPTIMIZED)
		return 0;
	if (io->elsewhere && path == io->path)
		return 1;
	return state == NVME_ANA_OPTIMIZED ? RANK_BEST : 2;
}

/* The path for a command; NULL: none just now. */
static struct lane_path *choose(struct lane *lane, const struct path_io *io)
{
	unsigned int best = 0, at = lane->turn;
	int best_rank = 0;

	for (unsigned int k = 0; k < lane->n_paths && best_rank < RANK_BEST; k++, at++) {
		struct lane_path *lp;
		int r;

		if (at >= lane->n_paths)
			at = 0;
		lp = &lane->paths[at];
		if (!lp->q || lp->failed)
			continue;
		r = rank(lane, io, at);
		if (r > best_rank) {
			best = at;
			best_rank = r;
		}
	}
	if (!best_rank)
		return NULL;
	if (lane->m->options.round_robin)
		lane->turn = best + 1 < lane->n_paths ? best + 1 : 0;
	return &lane->paths[best];
}

/* ---- one command ---- */

static void finish_one(struct lane *lane, struct path_io *io)
{
	io->io.submitted_ns = io->first_ns;
	lane->outstanding--;
	lane->moved++;
	if (io->done)
		io->done(io);
}

void lane_finish(struct lane *lane, struct path_io *io)
{
	struct path_io *second = io->other;

	io->other = NULL;
	if (second)
		second->other = NULL;
	finish_one(lane, io);
	if (second)
		finish_one(lane, second);
}

/* Ends a command, or pair, that no queue has, with what it has come to so far. */
static void finish_unsent(struct lane *lane, struct path_io *io, int errnum)
{
	for (struct path_io *half = io; half; half = half == io ? io->other : NULL) {
		half->io.finished_ns = time_now_ns();
		half->io.finished = true;
		if (!half->io.error && !half->io.status)
			half->io.error = -errnum;
	}
	lane_finish(lane, io);
}

void lane_wait(struct lane *lane, struct path_io *io, uint64_t pause_ns)
{
	io->io.finished = false;
	if (io->other)
		io->other->io.finished = false;
	io->due_ns = time_now_ns() + pause_ns;
	lane->moved++;
	io->next = NULL;
	*lane->waiting_end = io;
	lane->waiting_end = &io->next;
}

static void io_done(struct initiator_io *inner)
{
	struct path_io *io = (struct path_io *)((char *)inner - offsetof(struct path_io, io));
	struct lane *lane = inner->owner;
	uint64_t pause_ns;

	if (io->other) {
		pair_done(lane, io);
		return;
	}
	if (lane_again(lane, io, &pause_ns)) {
		lane->paths[io->path].resubmitted++;
		lane_wait(lane, io, pause_ns);
		return;
	}
	lane->paths[io->path].commands++;
	lane_finish(lane, io);
}

static int submit(struct lane_path *lp, unsigned int path, struct path_io *io)
{
	int r;

	io->path = (uint8_t)path;
	io->elsewhere = false;
	r = initiator_queue_submit(lp->q, &io->io);
	if (!r && !io->first_ns)
		io->first_ns = io->io.submitted_ns;
	return r;
}

int lane_send(struct lane *lane, struct path_io *io)
{
	struct lane_path *lp = choose(lane, io);
	unsigned int path;
	int r;

	if (!lp)
		return -ENOTCONN;
	path = (unsigned int)(lp - lane->paths);
	r = submit(lp, path, io);
	if (!r && io->other && submit(lp, path, io->other)) {
		/* cannot be: the queue has room, and took the first just now. The target aborts a half that is alone */
		io->other->io.error = -ENOTCONN;
		io->other->io.finished = true;
	}
	return r;
}

void lane_begin(struct lane *lane, struct path_io *io)
{
	io->io.done = io_done;
	io->io.owner = lane;
	io->io.error = 0;
	io->io.status = 0;
	io->io.finished = io->io.lost = false;
	io->other = NULL;
	io->retries = 0;
	io->elsewhere = false;
	io->first_ns = io->ana_ns = 0;
	lane->outstanding++;
}

int lane_submit(struct lane *lane, struct path_io *io)
{
	if (lane->dead)
		return -ENOTCONN;
	if (lane->outstanding == lane->depth)
		return -EAGAIN;
	lane_begin(lane, io);
	if (!lane_send(lane, io))
		return 0;
	io->first_ns = time_now_ns();
	lane_wait(lane, io, 0);
	return 0;
}

unsigned int lane_outstanding(const struct lane *lane)
{
	return lane->outstanding;
}

/* ---- the waiting line ---- */

/* Takes the line; what is pushed meanwhile begins a new one. */
static struct path_io *waiting_take(struct lane *lane)
{
	struct path_io *first = lane->waiting;

	lane->waiting = NULL;
	lane->waiting_end = &lane->waiting;
	return first;
}

/* Sends what is due and can be sent, and ends what has waited for longer than a path may be away. */
static void drain(struct lane *lane)
{
	uint64_t limit = lane_patience_ns(lane), now = time_now_ns();
	struct path_io *io = waiting_take(lane), *next;

	for (; io; io = next) {
		next = io->next;
		if (now >= io->due_ns && !lane_send(lane, io))
			continue;
		if (now >= io->due_ns && now - io->due_ns > limit) {
			finish_unsent(lane, io, ETIMEDOUT);
			continue;
		}
		io->next = NULL;
		*lane->waiting_end = io;
		lane->waiting_end = &io->next;
	}
}

/* Until when a lane that has nothing else to do may sleep: what waits for a path may be due, at most WAIT_MS. */
static uint64_t sleep_until(const struct lane *lane)
{
	uint64_t now = time_now_ns(), until = now + WAIT_MS * 1000000ull;

	for (const struct path_io *io = lane->waiting; io; io = io->next)
		if (io->due_ns > now)
			until = min(until, io->due_ns);
	return until;
}

/* No path is left: everything ends. */
static void die(struct lane *lane, int errnum, const struct error *why)
{
	struct path_io *io, *next;

	lane->dead = true;
	lane->fault_errno = errnum;
	lane->fault = *why;
	for (io = waiting_take(lane); io; io = next) {
		next = io->next;
		finish_unsent(lane, io, errnum);
	}
}

/* ---- keeping up with the paths ---- */

static void drop_queue(struct lane_path *lp)
{
	struct initiator_queue *q = lp->q;

	lp->failed = true; /* what comes back from it must not go to it again */
	initiator_queue_close(q);
	lp->q = NULL;
	lp->failed = false;
}

static bool call_back(void *owner, uint16_t cid)
{
	const struct lane_path *lp = owner;
	struct lane *lane = lp->lane;

	return path_abort(&lane->m->paths[lp - lane->paths], lp->generation, lane->qid, cid);
}

/* The queue of a connection that is new to the lane. */
static void open_queue(struct lane *lane, unsigned int k, const struct initiator *i, unsigned int generation)
{
	struct lane_path *lp = &lane->paths[k];
	struct initiator_queue *q = NULL;
	struct error err = {0};
	int r;

	lp->generation = generation;
	r = initiator_queue_open(i, lane->qid, lane->depth, &q, &err);
	if (!r && lane->wake >= 0)
		r = initiator_queue_notify(q, lane->wake, &err);
	if (r) {
		initiator_queue_close(q);
		path_report(&lane->m->paths[k], generation, true, -r, &err);
	} else {
		initiator_queue_spin(q, lane->spin_us);
		initiator_queue_on_timeout(q, call_back, lp);
		memcpy(lp->crdt, initiator_controller(i)->crdt, sizeof(lp->crdt));
		lp->q = q;
	}
}

static void refresh_path(struct lane *lane, unsigned int k)
{
	struct lane_path *lp = &lane->paths[k];
	struct path *p = &lane->m->paths[k];
	unsigned int generation;
	struct initiator *i = path_take(p, &generation);

	if (lp->q && (!i || lp->generation != generation))
		drop_queue(lp);
	if (i && lp->generation != generation)
		open_queue(lane, k, i, generation);
	if (i)
		path_give(p);
}

/* Whether all paths are given up, and why the last one was. */
static bool all_lost(struct multipath *m, int *ret_errnum, struct error *ret_why)
{
	bool lost = true;

	pthread_mutex_lock(&m->lock);
	for (unsigned int k = 0; k < m->options.n_addrs && lost; k++) {
		lost = m->paths[k].state == PATH_LOST;
		*ret_errnum = m->paths[k].why_errno;
		*ret_why = m->paths[k].why;
	}
	pthread_mutex_unlock(&m->lock);
	return lost;
}

static void refresh(struct lane *lane)
{
	unsigned int version = __atomic_load_n(&lane->m->version, __ATOMIC_ACQUIRE);
	struct error why;
	int errnum = ENOTCONN;

	if (version == lane->seen)
		return;
	lane->seen = version;
	for (unsigned int k = 0; k < lane->n_paths; k++)
		refresh_path(lane, k);
	if (all_lost(lane->m, &errnum, &why))
		die(lane, errnum, &why);
}

/* ---- the loop ---- */

/* Until a path changes, or something is due. */
static void wait_change(struct lane *lane)
{
	uint64_t until = sleep_until(lane);
	const struct timespec ts = {.tv_sec = (time_t)(until / NSEC_PER_SEC), .tv_nsec = (long)(until % NSEC_PER_SEC)};
	struct multipath *m = lane->m;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	while (!r && __atomic_load_n(&m->version, __ATOMIC_RELAXED) == lane->seen)
		r = pthread_cond_timedwait(&m->changed, &m->lock, &ts);
	pthread_mutex_unlock(&m->lock);
}

static void poll_path(struct lane *lane, unsigned int k, bool wait)
{
	struct lane_path *lp = &lane->paths[k];
	struct error why = {0};
	int r = initiator_queue_poll(lp->q, wait, &why);

	if (!r)
		return;
	path_report(&lane->m->paths[k], lp->generation, false, -r, &why);
	drop_queue(lp);
}

/* All queues without waiting. Whether something may be slept for: each is armed and has brought nothing. */
static bool poll_all(struct lane *lane)
{
	uint64_t before = lane->moved;
	bool armed = true;

	for (unsigned int k = 0; k < lane->n_paths; k++) {
		if (!lane->paths[k].q)
			continue;
		poll_path(lane, k, false);
		armed &= lane->paths[k].q && initiator_queue_armed(lane->paths[k].q);
	}
	return armed && lane->moved == before;
}

/* Several queues have commands: all are looked at, and slept for together. */
static void poll_several(struct lane *lane, bool wait)
{
	uint64_t until = time_now_ns() + lane->spin_us * 1000ull;
	struct pollfd fd = {.fd = lane->wake, .events = POLLIN};
	eventfd_t ignored;

	do {
		eventfd_read(lane->wake, &ignored); /* what comes from here on is not missed */
		if (!poll_all(lane) || !wait)
			return;
	} while (time_now_ns() < until);
	until = sleep_until(lane);
	poll(&fd, 1, (int)((until - min(until, time_now_ns())) / 1000000) + 1);
	poll_all(lane);
}

/* The queues that have commands: how many, and one of them. */
static unsigned int busy_queues(const struct lane *lane, unsigned int *ret_one)
{
	unsigned int n = 0;

	for (unsigned int k = 0; k < lane->n_paths; k++) {
		if (lane->paths[k].q && initiator_queue_outstanding(lane->paths[k].q)) {
			*ret_one = k;
			n++;
		}
	}
	return n;
}

int lane_poll(struct lane *lane, bool wait, struct error *err)
{
	unsigned int one = 0, n;

	refresh(lane);
	if (lane->waiting && !lane->dead)
		drain(lane);
	n = busy_queues(lane, &one);
	if (n == 1)
		poll_path(lane, one, wait);
	else if (n)
		poll_several(lane, wait);
	else if (wait && lane->waiting)
		wait_change(lane);
	return lane->dead ? error_set(err, lane->fault_errno, "%s", lane->fault.text) : 0;
}

int lane_refuse(const struct lane *lane, int r, struct error *err)
{
	if (r == -ENOTCONN)
		return error_set(err, lane->fault_errno, "%s", lane->fault.text);
	return error_set(err, EAGAIN, "%u commands are outstanding already", lane->depth);
}

static int await(struct lane *lane, const struct path_io *io, struct error *err)
{
	int r = 0;

	while (!r && !io->io.finished)
		r = lane_poll(lane, true, err);
	return r ? r : initiator_io_check(&io->io, lane->m->paths[io->path].options.addr.text, false, err);
}

int lane_execute(struct lane *lane, struct path_io *io, struct error *err)
{
	int r = lane_submit(lane, io);

	return r ? lane_refuse(lane, r, err) : await(lane, io, err);
}

/* ---- opening and closing ---- */

void lane_close(struct lane *lane)
{
	struct error closed = {"closed"};

	if (!lane)
		return;
	lane->closing = true;
	for (unsigned int k = 0; k < lane->n_paths; k++) {
		struct path *p = &lane->m->paths[k];

		if (lane->paths[k].q)
			drop_queue(&lane->paths[k]);
		pthread_mutex_lock(&lane->m->lock);
		p->commands += lane->paths[k].commands;
		p->resubmitted += lane->paths[k].resubmitted;
		for (const struct retry_count *c = lane->paths[k].retries;
		     c < lane->paths[k].retries + MULTIPATH_STATUSES; c++)
			if (c->count)
				multipath_count(p->retries, c->status, c->count);
		pthread_mutex_unlock(&lane->m->lock);
	}
	die(lane, ECANCELED, &closed);
	if (lane->wake >= 0)
		close(lane->wake);
	free(lane);
}

/* Of the paths that are live, the first one's failure. */
static int open_failure(struct lane *lane, struct error *err)
{
	struct multipath *m = lane->m;
	struct error why = {"no path is live"};
	int errnum = ENOTCONN;

	pthread_mutex_lock(&m->lock);
	for (unsigned int k = lane->n_paths; k-- > 0;) {
		if (!m->paths[k].why_errno)
			continue;
		why = m->paths[k].why;
		errnum = m->paths[k].why_errno;
	}
	pthread_mutex_unlock(&m->lock);
	return error_set(err, errnum, "%s", why.text);
}

int lane_open(struct multipath *m, unsigned int index, unsigned int depth, unsigned int spin_us, struct lane **ret_lane,
	      struct error *err)
{
	struct lane *lane = calloc(1, sizeof(*lane));
	bool open = false;
	int r;

	if (!lane)
		return error_set(err, ENOMEM, "no memory for a lane");
	*lane = (struct lane){
		.m = m,
		.qid = (uint16_t)(index + 1),
		.depth = depth,
		.spin_us = spin_us,
		.n_paths = m->options.n_addrs,
		.wake = -1,
		.seen = __atomic_load_n(&m->version, __ATOMIC_ACQUIRE) - 1,
	};
	lane->waiting_end = &lane->waiting;
	for (unsigned int k = 0; k < lane->n_paths; k++)
		lane->paths[k].lane = lane;
	if (lane->n_paths > 1) {
		lane->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (lane->wake < 0) {
			r = error_system(err, errno, "eventfd");
			lane_close(lane);
			return r;
		}
	}
	refresh(lane);
	for (unsigned int k = 0; k < lane->n_paths; k++)
		open |= lane->paths[k].q != NULL;
	if (!open) {
		r = open_failure(lane, err);
		lane_close(lane);
		return r;
	}
	*ret_lane = lane;
	return 0;
}
