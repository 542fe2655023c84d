/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One io_uring and what it needs around it: set-up with fallbacks, tokens, registered files, provided buffers.
 * Knows no PDU; the target's reactors and the initiator share it. A ring belongs to the thread that opened it:
 * every call here is made by that thread (the kernel enforces it: IORING_SETUP_SINGLE_ISSUER).
 *
 *	ring_open(); ring_buffers_open();
 *	for (;;) {
 *		while (ring_next(r, &done))
 *			handle(done.token, done.result);	// queues new SQEs with ring_sqe() + ring_push()
 *		ring_wait(r, timeout_ns);			// submits all that was queued
 *	}
 */
#ifndef SLUICE_STORAGE_RING_H
#define SLUICE_STORAGE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <liburing.h>

#include "base/error.h"

/* ---- tokens: the only owner of user_data ---- */

/* Operation 0: nobody waits for this completion, ring_next() swallows it. The others are the user's to number. */
#define RING_OP_NONE 0

/* Says what a completion belongs to. A generation that differs from its slot's is a late completion. */
struct token {
	uint8_t op;
	uint16_t slot;
	uint32_t gen;
};

_Static_assert(sizeof(struct token) <= sizeof(uint64_t), "a token travels in user_data, which has 8 bytes");

static inline uint64_t token_encode(struct token t)
{
	return (uint64_t)t.op << 56 | (uint64_t)t.slot << 32 | t.gen;
}

static inline struct token token_decode(uint64_t user_data)
{
	return (struct token){.op = user_data >> 56, .slot = user_data >> 32, .gen = user_data};
}

/* ---- the ring ---- */

/* What the kernel granted; probed once by ring_open(). */
struct ring_features {
	bool single_issuer;
	bool defer_taskrun; /* completions are made only while this thread waits: no interrupts of its work */
	bool coop_taskrun;
	bool submit_all;      /* a bad SQE does not stop those behind it */
	bool registered_ring; /* the ring's own descriptor is registered */
	bool registered_files;
	bool buffer_ring; /* provided buffers by a shared ring; else by IORING_OP_PROVIDE_BUFFERS */
	bool accept_multishot;
	bool recv_multishot;
};

/* What is not to be used though the kernel has it: so tests run what older kernels get. */
enum ring_without {
	RING_WITHOUT_BUFFER_RING = 1 << 0,
	RING_WITHOUT_MULTISHOT = 1 << 1,
	RING_WITHOUT_FILES = 1 << 2,
	RING_DEAF = 1 << 3, /* every 8th receive hears nothing until it is cancelled: what a bug below would look like */
};

struct ring_options {
	unsigned int entries; /* submission queue; completions get four times as many */
	unsigned int files;   /* room for registered files; 0: none */
	unsigned int without; /* enum ring_without */
};

struct ring {
	struct io_uring uring;
	struct ring_features features;
	int deaf[2];	    /* RING_DEAF: a socket that nobody sends to, and its other end; else 0 */
	unsigned int n_receives; /* RING_DEAF */
	int *free_files; /* stack of free indices of the registered table */
	unsigned int n_free_files;
};

/* Opens in the calling thread. -EPERM, -ENOSYS, -ENOMEM...: err says what to do. */
int ring_open(struct ring *r, const struct ring_options *options, struct error *err);
void ring_close(struct ring *r); /* a zeroed or already closed ring is fine */

/* "single-issuer defer-taskrun ... (not: registered-files)", NUL-terminated, cut to len. */
void ring_features_print(const struct ring *r, char *ret_text, size_t len);

/* A free SQE, never NULL: a full queue is submitted first. The caller preps it, then sets the token. */
struct io_uring_sqe *ring_sqe(struct ring *r);

static inline void ring_push(struct io_uring_sqe *sqe, struct token t)
{
	sqe->user_data = token_encode(t);
}

/* At least n free SQEs, so that linked ones are submitted together. */
int ring_reserve(struct ring *r, unsigned int n);

/* SQEs queued and not yet submitted. */
static inline unsigned int ring_queued(const struct ring *r)
{
	return io_uring_sq_ready(&r->uring);
}

/* Submits what is queued, and collects nothing. An error that lasts comes again from ring_poll(). */
void ring_submit(struct ring *r);

/*
 * Submits what is queued and collects completions. ring_poll() never blocks; ring_wait() blocks until there is at
 * least one, or timeout_ns has passed (< 0: no limit). 0 also on a timeout or signal; -errno is fatal for the ring.
 */
int ring_poll(struct ring *r);
int ring_wait(struct ring *r, int64_t timeout_ns);

/*
 * Whether completions are there or can be had by ring_poll(), told from memory alone: what a spinning loop asks.
 * Without defer_taskrun it is always "maybe", that is true.
 */
static inline bool ring_pending(struct ring *r)
{
	return !r->features.defer_taskrun || io_uring_cq_ready(&r->uring) ||
	       __atomic_load_n(r->uring.sq.kflags, __ATOMIC_ACQUIRE) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Looks until then (time_now_ns()) without asking the kernel: whether ring_poll() has something to bring. */
bool ring_spin(struct ring *r, uint64_t until_ns);

struct ring_completion {
	struct token token;
	int32_t result; /* >= 0, or -errno */
	uint32_t flags; /* IORING_CQE_F_* */
};

/* Takes one completion. false: none is there. */
bool ring_next(struct ring *r, struct ring_completion *ret_completion);

/* The multishot operation goes on by itself. */
static inline bool ring_more(const struct ring_completion *c)
{
	return c->flags & IORING_CQE_F_MORE;
}

/* Cancels what carries this token; the cancelled operation completes with -ECANCELED, or had just finished. */
void ring_cancel(struct ring *r, struct token t);

/* ---- files ---- */

/* A descriptor and its index in the registered table; index -1: not registered, the descriptor is used. */
struct ring_file {
	int fd;
	int index;
};

/* Registers fd where possible; it stays the caller's. ring_file_remove() does not close it. */
void ring_file_add(struct ring *r, int fd, struct ring_file *ret_file);
void ring_file_remove(struct ring *r, struct ring_file *f);

/* What goes into the prep functions' fd, and then, after them, the flag. */
static inline int ring_file_fd(const struct ring_file *f)
{
	return f->index >= 0 ? f->index : f->fd;
}

static inline void ring_file_flag(struct io_uring_sqe *sqe, const struct ring_file *f)
{
	if (f->index >= 0)
		sqe->flags |= IOSQE_FIXED_FILE;
}

/* ---- provided buffers ---- */

/* `count` (a power of two) buffers of `size` bytes, lent to the kernel until a completion names one. */
struct ring_buffers {
	struct ring *ring;
	struct io_uring_buf_ring *shared; /* NULL: IORING_OP_PROVIDE_BUFFERS is used */
	uint8_t *memory;
	unsigned int count;
	unsigned int size;
	uint16_t group;
	uint16_t tail;
};

int ring_buffers_open(struct ring *r, uint16_t group, unsigned int count, unsigned int size, struct error *err,
		      struct ring_buffers *ret_buffers);
void ring_buffers_close(struct ring_buffers *b); /* while the ring is open; a zeroed one is fine */

static inline void *ring_buffer_at(const struct ring_buffers *b, unsigned int id)
{
	return b->memory + (size_t)id * b->size;
}

/* Which buffer a completion with IORING_CQE_F_BUFFER brought. The user then owes ring_buffer_give(). */
static inline unsigned int ring_buffer_id(const struct ring_completion *c)
{
	return c->flags >> IORING_CQE_BUFFER_SHIFT;
}

/* Lends the buffer to the kernel again. */
void ring_buffer_give(struct ring_buffers *b, unsigned int id);

/* ---- sockets ---- */

/* Multishot where the kernel has it; without ring_more() in the completion the user arms it again. */
void ring_accept(struct ring *r, const struct ring_file *listener, struct token t);
void ring_recv(struct ring *r, const struct ring_file *socket, const struct ring_buffers *b, struct token t);
/* One buffer at most, whatever the kernel has. */
void ring_recv_once(struct ring *r, const struct ring_file *socket, const struct ring_buffers *b, struct token t);

#endif
