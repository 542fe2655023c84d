// SPDX-License-Identifier: Apache-2.0
/*
 * See fault_backend.h. A held operation is a read of an eventfd in the reactor's ring, under the operation's own token:
 * the reactor goes on meanwhile, as it does with a slow disk.
 */
#include "fault_backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define STEP_HELD 0xff /* no real backend has so many */

struct fault_backend {
	struct backend base;
	struct backend *inner;
};

static struct {
	pthread_mutex_t mutex;
	enum backend_op op;
	int errnum;
	unsigned int after, times, done;
	bool armed, late;
	bool holds;
	enum backend_op held_op;
	unsigned int n_held;
	int fd; /* of the eventfd; 0: none yet */
} faults = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static uint64_t sink; /* what eventfds are read into; nobody looks */

/* ---- tests ---- */

void fault_set(enum backend_op op, int errnum, unsigned int after, unsigned int times, bool late)
{
	pthread_mutex_lock(&faults.mutex);
	faults.op = op;
	faults.errnum = errnum;
	faults.after = after;
	faults.times = times;
	faults.late = late;
	faults.done = 0;
	faults.armed = true;
	pthread_mutex_unlock(&faults.mutex);
}

unsigned int fault_clear(void)
{
	unsigned int done;

	pthread_mutex_lock(&faults.mutex);
	faults.armed = false;
	done = faults.done;
	pthread_mutex_unlock(&faults.mutex);
	return done;
}

void fault_hold(enum backend_op op)
{
	pthread_mutex_lock(&faults.mutex);
	if (!faults.fd)
		faults.fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	faults.held_op = op;
	faults.holds = faults.fd > 0;
	pthread_mutex_unlock(&faults.mutex);
}

unsigned int fault_held(void)
{
	unsigned int n;

	pthread_mutex_lock(&faults.mutex);
	n = faults.n_held;
	pthread_mutex_unlock(&faults.mutex);
	return n;
}

void fault_release(void)
{
	uint64_t n;

	pthread_mutex_lock(&faults.mutex);
	faults.holds = false;
	n = faults.n_held;
	faults.n_held = 0;
	if (n && write(faults.fd, &n, sizeof(n)) < 0)
		abort();
	pthread_mutex_unlock(&faults.mutex);
}

/* ---- the backend ---- */

static struct fault_backend *fault_of(struct backend *b)
{
	return (struct fault_backend *)b;
}

/* 0, or what this operation fails with. */
static int strike(const struct backend_io *io, bool late)
{
	int ret = 0;

	pthread_mutex_lock(&faults.mutex);
	if (faults.armed && faults.op == io->op && faults.late == late) {
		if (faults.after) {
			faults.after--;
		} else if (faults.times) {
			faults.times--;
			faults.done++;
			ret = -faults.errnum;
		}
	}
	pthread_mutex_unlock(&faults.mutex);
	return ret;
}

static bool hold(const struct backend_io *io)
{
	bool holds;

	pthread_mutex_lock(&faults.mutex);
	holds = faults.holds && faults.held_op == io->op;
	faults.n_held += holds;
	pthread_mutex_unlock(&faults.mutex);
	return holds;
}

/* What the real backend has answered. */
static int passed(const struct backend_io *io, int ret)
{
	return ret ? ret : strike(io, true);
}

static int fault_start(struct backend *b, struct backend_io *io)
{
	struct backend *inner = fault_of(b)->inner;
	struct io_uring_sqe *sqe;
	int ret = strike(io, false);

	if (ret)
		return ret;
	if (!hold(io))
		return passed(io, inner->ops->start(inner, io));
	io->step = STEP_HELD;
	sqe = ring_sqe(io->ring);
	io_uring_prep_read(sqe, faults.fd, &sink, sizeof(sink), 0);
	ring_push(sqe, io->token);
	return BACKEND_PENDING;
}

static int fault_resume(struct backend *b, struct backend_io *io, int32_t result)
{
	struct backend *inner = fault_of(b)->inner;

	if (io->step == STEP_HELD) {
		io->step = 0;
		return passed(io, inner->ops->start(inner, io));
	}
	return passed(io, inner->ops->resume(inner, io, result));
}

static void fault_close(struct backend *b)
{
	backend_close(fault_of(b)->inner);
	free(b);
}

static int fault_descriptor(const struct backend *b)
{
	const struct backend *inner = ((const struct fault_backend *)b)->inner;

	return inner->ops->descriptor(inner);
}

/* One for backends with a descriptor, one for those without. */
static const struct backend_ops plain_ops = {
	.name = "fault", .close = fault_close, .start = fault_start, .resume = fault_resume};
static const struct backend_ops file_ops = {.name = "fault",
					    .close = fault_close,
					    .start = fault_start,
					    .resume = fault_resume,
					    .descriptor = fault_descriptor};

int fault_backend_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	_cleanup_free_ struct fault_backend *f = calloc(1, sizeof(*f));
	int ret;

	if (!f)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	ret = backend_open(config, err, &f->inner);
	if (ret)
		return ret;
	f->base = *f->inner;
	f->base.ops = f->inner->ops->descriptor ? &file_ops : &plain_ops;
	f->inner->locks = NULL; /* the outer one's now */
	*ret_backend = &TAKE_PTR(f)->base;
	return 0;
}
