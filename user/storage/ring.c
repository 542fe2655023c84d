// SPDX-License-Identifier: Apache-2.0
/*
 * io_uring with what liburing 2.3 leaves to its users: fallbacks of set-up flags, a shared ring of provided buffers,
 * tokens. Called by reactors and by the initiator, each with its own ring in its own thread; nothing here is shared,
 * so nothing locks. It always holds that user_data is written by token_encode() alone.
 */
#include "storage/ring.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

#define LET_GO_MS 20 /* that a file which left the table may take to be closed */

/* ---- set-up ---- */

/* From best to least. SINGLE_ISSUER and DEFER_TASKRUN came with 6.0 and 6.1, COOP_TASKRUN with 5.19. */
static const unsigned int setup_flags[] = {
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG, /* the flag is what ring_pending() reads */
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
	IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
	0,
};

static int setup(struct ring *r, unsigned int entries, struct error *err)
{
	int ret = -EINVAL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(setup_flags) && ret == -EINVAL; i++) {
		struct io_uring_params params = {
			.flags = setup_flags[i] | IORING_SETUP_CQSIZE,
			.cq_entries = entries * 4,
		};

		ret = io_uring_queue_init_params(entries, &r->uring, &params);
		if (ret)
			continue;
		r->features.submit_all = params.flags & IORING_SETUP_SUBMIT_ALL;
		r->features.coop_taskrun = params.flags & IORING_SETUP_COOP_TASKRUN;
		r->features.single_issuer = params.flags & IORING_SETUP_SINGLE_ISSUER;
		r->features.defer_taskrun = params.flags & IORING_SETUP_DEFER_TASKRUN;
		return 0;
	}
	if (ret == -EPERM)
		return error_set(err, EPERM,
				 "io_uring: the kernel refuses it to this user; "
				 "see sysctl kernel.io_uring_disabled (0 allows) and seccomp filters");
	if (ret == -ENOSYS)
		return error_set(err, ENOSYS, "io_uring: this kernel has none; use 6.1 or later with CONFIG_IO_URING");
	if (ret == -ENOMEM)
		return error_set(err, ENOMEM,
				 "io_uring: no memory for the ring; raise the locked-memory limit (ulimit -l)");
	return error_system(err, -ret, "io_uring: set-up of %u entries", entries);
}

static void register_files(struct ring *r, unsigned int files)
{
	unsigned int i;
	int ret;

	if (!files)
		return;
	r->free_files = calloc(files, sizeof(*r->free_files));
	/* Not more than the process may have descriptors: where there are more, the rest is not registered. */
	while ((ret = io_uring_register_files_sparse(&r->uring, files)) == -EMFILE && files > 1)
		files /= 2;
	if (!r->free_files || ret) {
		free(r->free_files);
		r->free_files = NULL;
		return;
	}
	for (i = 0; i < files; i++)
		r->free_files[i] = files - 1 - i;
	r->n_free_files = files;
}

/* A multishot receive is tried on a socket pair, for no probe tells. */
static void probe_multishot(struct ring *r)
{
	const struct token probe = {.op = UINT8_MAX};
	struct ring_completion c = {0};
	struct ring_buffers b = {0};
	struct ring_file f;
	int pair[2];

	r->features.recv_multishot = true;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return;
	if (!ring_buffers_open(r, UINT16_MAX, 1, 64, NULL, &b)) {
		f = (struct ring_file){.fd = pair[0], .index = -1};
		ring_recv(r, &f, &b, probe);
		if (write(pair[1], "x", 1) == 1 && !ring_wait(r, NSEC_PER_SEC) && ring_next(r, &c))
			r->features.recv_multishot = c.result == 1;
		shutdown(pair[1], SHUT_RDWR);
		/* The end of stream, or ENOBUFS for want of a second buffer, ends the operation: drain it. */
		while (ring_more(&c) && !ring_wait(r, NSEC_PER_SEC) && ring_next(r, &c))
			;
		ring_buffers_close(&b);
	}
	close(pair[0]);
	close(pair[1]);
	/* Multishot accept is one release older (5.19) than multishot receive (6.0). */
	r->features.accept_multishot = r->features.recv_multishot;
}

/*
 * Before 6.13 the kernel keeps every file that leaves the table until all operations that began before have ended, on
 * whichever file: with a receive that waits for days, closed sockets stay, unreset and in memory. No probe tells, so
 * one is closed beside an operation that waits.
 */
static bool files_are_let_go(struct ring *r, const int waits[2], int goes[2])
{
	struct ring_completion c;
	struct ring_file waiting, going;
	struct io_uring_sqe *sqe;
	struct pollfd end = {.fd = goes[1], .events = POLLIN};
	bool gone;

	ring_file_add(r, waits[0], &waiting);
	sqe = ring_sqe(r);
	io_uring_prep_poll_add(sqe, ring_file_fd(&waiting), POLLIN);
	ring_file_flag(sqe, &waiting);
	ring_push(sqe, (struct token){.op = UINT8_MAX});
	ring_submit(r);
	ring_file_add(r, goes[0], &going);
	ring_file_remove(r, &going);
	close(goes[0]);
	goes[0] = -1;
	gone = poll(&end, 1, LET_GO_MS) == 1;
	shutdown(waits[1], SHUT_RDWR);
	while (!ring_next(r, &c) && !ring_wait(r, NSEC_PER_SEC))
		;
	ring_file_remove(r, &waiting);
	return gone;
}

/* A table of one file needs no probe: that stays until the ring is closed. */
static void probe_files(struct ring *r)
{
	int waits[2] = {-1, -1}, goes[2] = {-1, -1};

	r->features.registered_files =
		r->n_free_files == 1 ||
		(r->n_free_files > 1 && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, waits) &&
		 !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, goes) && files_are_let_go(r, waits, goes));
	for (int i = 0; i < 2; i++) {
		if (waits[i] >= 0)
			close(waits[i]);
		if (goes[i] >= 0)
			close(goes[i]);
	}
	if (r->features.registered_files || !r->free_files)
		return;
	io_uring_unregister_files(&r->uring);
	free(r->free_files);
	r->free_files = NULL;
	r->n_free_files = 0;
}

int ring_open(struct ring *r, const struct ring_options *options, struct error *err)
{
	int ret;

	memset(r, 0, sizeof(*r));
	ret = setup(r, options->entries, err);
	if (ret)
		return ret;
	/* Until a registration is refused. */
	r->features.buffer_ring = !(options->without & RING_WITHOUT_BUFFER_RING);
	r->features.registered_ring = io_uring_register_ring_fd(&r->uring) == 1;
	register_files(r, options->without & RING_WITHOUT_FILES ? 0 : options->files);
	probe_files(r);
	if (!(options->without & RING_WITHOUT_MULTISHOT))
		probe_multishot(r);
	if (options->without & RING_DEAF && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->deaf))
		return error_system(err, errno, "a pair of sockets");
	return 0;
}

void ring_close(struct ring *r)
{
	if (r->uring.sq.sqes)
		io_uring_queue_exit(&r->uring);
	if (r->deaf[0]) {
		close(r->deaf[0]);
		close(r->deaf[1]);
	}
	free(r->free_files);
	memset(r, 0, sizeof(*r));
}

void ring_features_print(const struct ring *r, char *ret_text, size_t len)
{
	const struct {
		bool on;
		const char *name;
	} list[] = {
		{r->features.single_issuer, "single-issuer"},	  {r->features.defer_taskrun, "defer-taskrun"},
		{r->features.coop_taskrun, "coop-taskrun"},	  {r->features.submit_all, "submit-all"},
		{r->features.registered_ring, "registered-ring"}, {r->features.registered_files, "registered-files"},
		{r->features.buffer_ring, "buffer-ring"},	  {r->features.accept_multishot, "accept-multishot"},
		{r->features.recv_multishot, "recv-multishot"},
	};
	size_t i, used = 0;

	ret_text[0] = 0;
	for (i = 0; i < ARRAY_SIZE(list) && used < len; i++)
		used += snprintf(ret_text + used, len - used, "%s%s%s", i ? " " : "", list[i].on ? "" : "no-",
				 list[i].name);
}

/* ---- submission and completion ---- */

struct io_uring_sqe *ring_sqe(struct ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

	while (!sqe) {
		/* Interrupted or short of memory for a moment: what the kernel took is gone from the queue, try again.
		 */
		io_uring_submit(&r->uring);
		sqe = io_uring_get_sqe(&r->uring);
	}
	return sqe;
}

int ring_reserve(struct ring *r, unsigned int n)
{
	int ret;

	while (io_uring_sq_space_left(&r->uring) < n) {
		ret = io_uring_submit(&r->uring);
		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
			return ret;
	}
	return 0;
}

void ring_submit(struct ring *r)
{
	io_uring_submit(&r->uring);
}

/* What does not harm the ring: nothing in time, a signal, or completions that must be taken first. */
static int harmless(int ret)
{
	return ret >= 0 || ret == -ETIME || ret == -EINTR || ret == -EAGAIN || ret == -EBUSY ? 0 : ret;
}

int ring_poll(struct ring *r)
{
	return harmless(io_uring_submit_and_get_events(&r->uring));
}

int ring_wait(struct ring *r, int64_t timeout_ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = timeout_ns / (int64_t)NSEC_PER_SEC,
		.tv_nsec = timeout_ns % (int64_t)NSEC_PER_SEC,
	};
	struct io_uring_cqe *cqe;

	if (timeout_ns < 0)
		return harmless(io_uring_submit_and_wait(&r->uring, 1));
	return harmless(io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &ts, NULL));
}

bool ring_spin(struct ring *r, uint64_t until_ns)
{
	while (!ring_pending(r)) {
		if (time_now_ns() > until_ns)
			return false;
		cpu_relax();
	}
	return true;
}

bool ring_next(struct ring *r, struct ring_completion *ret_completion)
{
	struct io_uring_cq *cq = &r->uring.cq;
	unsigned int head = *cq->khead;

	while (head != io_uring_smp_load_acquire(cq->ktail)) {
		const struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];
		struct ring_completion c = {
			.token = token_decode(cqe->user_data),
			.result = cqe->res,
			.flags = cqe->flags,
		};

		io_uring_smp_store_release(cq->khead, ++head);
		if (c.token.op == RING_OP_NONE)
			continue;
		*ret_completion = c;
		return true;
	}
	return false;
}

void ring_cancel(struct ring *r, struct token t)
{
	struct io_uring_sqe *sqe = ring_sqe(r);

	io_uring_prep_cancel64(sqe, token_encode(t), 0);
	ring_push(sqe, (struct token){.op = RING_OP_NONE});
}

/* ---- files ---- */

void ring_file_add(struct ring *r, int fd, struct ring_file *ret_file)
{
	int index;

	*ret_file = (struct ring_file){.fd = fd, .index = -1};
	if (!r->n_free_files)
		return;
	index = r->free_files[r->n_free_files - 1];
	if (io_uring_register_files_update(&r->uring, index, &fd, 1) != 1)
		return;
	r->n_free_files--;
	ret_file->index = index;
}

void ring_file_remove(struct ring *r, struct ring_file *f)
{
	int none = -1;

	if (f->index < 0)
		return;
	/* An entry that cannot be cleared is not used again; it goes with the ring. */
	if (io_uring_register_files_update(&r->uring, f->index, &none, 1) == 1)
		r->free_files[r->n_free_files++] = f->index;
	f->index = -1;
}

/* ---- provided buffers ---- */

/* liburing 2.3 lacks io_uring_setup_buf_ring(): map the shared ring, register it, here. */
static int register_buffer_ring(struct ring_buffers *b)
{
	struct io_uring_buf_reg reg = {.ring_entries = b->count, .bgid = b->group};
	void *shared = mmap(NULL, b->count * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	int ret;

	if (shared == MAP_FAILED)
		return -errno;
	reg.ring_addr = (uintptr_t)shared;
	ret = io_uring_register_buf_ring(&b->ring->uring, &reg, 0);
	if (ret) {
		munmap(shared, b->count * sizeof(struct io_uring_buf));
		return ret;
	}
	b->shared = shared;
	return 0;
}

int ring_buffers_open(struct ring *r, uint16_t group, unsigned int count, unsigned int size, struct error *err,
		      struct ring_buffers *ret_buffers)
{
	struct ring_buffers b = {.ring = r, .count = count, .size = size, .group = group};
	unsigned int i;

	b.memory = mmap(NULL, (size_t)count * size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (b.memory == MAP_FAILED)
		return error_system(err, errno, "io_uring: %u receive buffers of %u bytes", count, size);
	if (r->features.buffer_ring && register_buffer_ring(&b))
		r->features.buffer_ring = false;
	for (i = 0; i < count; i++)
		ring_buffer_give(&b, i);
	*ret_buffers = b;
	return 0;
}

void ring_buffers_close(struct ring_buffers *b)
{
	if (!b->memory)
		return;
	if (b->shared) {
		io_uring_unregister_buf_ring(&b->ring->uring, b->group);
		munmap(b->shared, b->count * sizeof(struct io_uring_buf));
	}
	munmap(b->memory, (size_t)b->count * b->size);
	memset(b, 0, sizeof(*b));
}

void ring_buffer_give(struct ring_buffers *b, unsigned int id)
{
	struct io_uring_sqe *sqe;
	struct io_uring_buf *slot;

	if (!b->shared) {
		sqe = ring_sqe(b->ring);
		io_uring_prep_provide_buffers(sqe, ring_buffer_at(b, id), b->size, 1, b->group, id);
		ring_push(sqe, (struct token){.op = RING_OP_NONE});
		return;
	}
	slot = &b->shared->bufs[b->tail & (b->count - 1)];
	slot->addr = (uintptr_t)ring_buffer_at(b, id);
	slot->len = b->size;
	slot->bid = id;
	/* The kernel must see the slot before the tail that covers it. */
	io_uring_smp_store_release(&b->shared->tail, ++b->tail);
}

/* ---- sockets ---- */

void ring_accept(struct ring *r, const struct ring_file *listener, struct token t)
{
	struct io_uring_sqe *sqe = ring_sqe(r);

	io_uring_prep_accept(sqe, ring_file_fd(listener), NULL, NULL, SOCK_CLOEXEC);
	if (r->features.accept_multishot)
		sqe->ioprio |= IORING_ACCEPT_MULTISHOT;
	ring_file_flag(sqe, listener);
	ring_push(sqe, t);
}

static void receive(struct ring *r, const struct ring_file *socket, const struct ring_buffers *b, struct token t,
		    bool multishot)
{
	const struct ring_file deaf = {.fd = r->deaf[0], .index = -1};
	struct io_uring_sqe *sqe = ring_sqe(r);

	if (deaf.fd && ++r->n_receives % 8 == 0)
		socket = &deaf;
	io_uring_prep_recv(sqe, ring_file_fd(socket), NULL, multishot ? 0 : b->size, 0);
	if (multishot)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = b->group;
	ring_file_flag(sqe, socket);
	ring_push(sqe, t);
}

void ring_recv(struct ring *r, const struct ring_file *socket, const struct ring_buffers *b, struct token t)
{
	receive(r, socket, b, t, r->features.recv_multishot);
}

void ring_recv_once(struct ring *r, const struct ring_file *socket, const struct ring_buffers *b, struct token t)
{
	receive(r, socket, b, t, false);
}
