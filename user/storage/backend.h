/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a namespace is made of. One `struct backend` a namespace, shared by all reactors, which never look at what
 * resize() may write; what changes per I/O is in the `struct backend_io` that the caller owns. backend_null.c is the
 *tutorial.
 *
 * Completion contract. start() answers one of
 *	0		done, now;
 *	-errno		failed, now;
 *	BACKEND_PENDING	one SQE with io->token was queued on io->ring. When it completes, the reactor calls resume()
 *with its result on the same thread, and resume() answers in the same three ways (PENDING: another SQE). At most one
 *SQE of an I/O is under way. io and io->data stay untouched by others until the I/O is done. Ranges were checked
 *against the namespace: a backend does not check them again.
 */
#ifndef SLUICE_STORAGE_BACKEND_H
#define SLUICE_STORAGE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"
#include "storage/range_lock.h"
#include "storage/ring.h"

#define BACKEND_PENDING 1

enum backend_op {
	BACKEND_READ,
	BACKEND_WRITE,
	BACKEND_FLUSH,	    /* what was completed before is durable */
	BACKEND_ZERO,	    /* the range reads as zeroes afterwards */
	BACKEND_DEALLOCATE, /* advice: the range is not needed; may do nothing */
	BACKEND_SPOIL,	    /* reading the range fails until it is written; only where the backend can */
};

struct backend_io {
	enum backend_op op;
	bool fua;	 /* WRITE, ZERO: durable on completion */
	bool deallocate; /* ZERO: room may be freed */
	bool lent;	 /* data came from lend() */
	uint8_t *data;	 /* READ, WRITE: len bytes, aligned to BUFFER_ALIGN unless lent */
	uint64_t offset; /* bytes from the start of the namespace; FLUSH: 0 */
	uint64_t len;	 /* bytes; FLUSH: 0 */

	/* Of the reactor, for those that queue SQEs. */
	struct ring *ring;
	struct token token;
	const struct ring_file *file; /* of descriptor(), as this ring knows it */
	int buffer_index;	      /* registered buffer that data lies in; -1: none */

	/* The backend's own, zero at start(). */
	uint64_t progress; /* bytes done */
	uint8_t step;
};

struct backend;

struct backend_ops {
	const char *name; /* as in the policy */

	/* Required. Makes one from its policy entry; err says what is wrong and what to do. */
	int (*open)(const struct policy_namespace *config, struct error *err, struct backend **ret_backend);
	/* Required. No I/O is under way. */
	void (*close)(struct backend *b);
	/* Required. */
	int (*start)(struct backend *b, struct backend_io *io);
	/* Required if start() ever answers BACKEND_PENDING. */
	int (*resume)(struct backend *b, struct backend_io *io, int32_t result);
	/*
	 * Optional: lends the backend's own memory for a READ or WRITE, so that data go from socket to place without a
	 * buffer. Sets io->data. A READ is then done; a WRITE puts its data there (NULL: nobody wants them) before
	 * start(). Called before any data have arrived; a WRITE may still be given up half-way.
	 */
	void (*lend)(struct backend *b, struct backend_io *io);
	/*
	 * Optional: the size that another policy entry of the same backend, path and block gives, while I/O within the
	 * old size goes on, which stays good. Sets b->size. Nothing beyond the old size shows what was there before.
	 */
	int (*resize)(struct backend *b, const struct policy_namespace *config, struct error *err);
	/* Optional: the descriptor that I/O uses, so that each reactor can register it with its ring. */
	int (*descriptor)(const struct backend *b);
};

struct backend {
	const struct backend_ops *ops;
	uint64_t size;		   /* bytes, a multiple of the block */
	bool write_cache;	   /* Flush matters */
	bool keeps;		   /* what is written is read again: commands on the same blocks are kept apart */
	struct range_locks *locks; /* by these; made by backend_open() for a backend that keeps, else NULL */
	bool spoils;		   /* has BACKEND_SPOIL */
	bool zeroes;		   /* a deallocated range reads as zeroes */
	bool stable;		   /* lent READ memory never changes: a digest over it stays right while it is sent */
	const char *details;	   /* for people: "O_DIRECT", static */
};

extern const struct backend_ops backend_null;
extern const struct backend_ops backend_memory;
extern const struct backend_ops backend_file;

/* By config->backend. */
int backend_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend);

/* No I/O is under way. NULL is fine. */
void backend_close(struct backend *b);

/* NVMe status of a failed I/O: what a host can make use of. */
uint16_t backend_status(enum backend_op op, int errnum);

#endif
