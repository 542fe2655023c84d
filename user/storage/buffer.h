/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data buffers of one reactor: one mapping, cut into classes of equal buffers, each class a stack (the last given is
 * the first taken, so that the cache still holds it). No locks: a pool belongs to one thread. Pages cost nothing until
 * they are used.
 *
 * In-capsule data have a class of their own: such data must be taken from the stream before anything behind them, so
 * they may never wait for buffers whose data are behind them.
 */
#ifndef SLUICE_STORAGE_BUFFER_H
#define SLUICE_STORAGE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUFFER_CAPSULE_LEN 8192 /* bytes of an admin capsule's data, and of other data that admin commands bring */
#define BUFFER_MAX_LEN	   (256u << 10) /* bytes of a command's data: MDTS */
#define BUFFER_ALIGN	   4096		/* of every buffer: enough for O_DIRECT */

enum buffer_class { BUFFER_CAPSULE, BUFFER_SMALL, BUFFER_MEDIUM, BUFFER_LARGE, BUFFER_SCRATCH, BUFFER_CLASSES };

struct buffer_pool {
	uint8_t *memory;
	size_t len; /* bytes of the mapping */
	bool given; /* set by buf_give(), cleared by whoever looks after those that wait */
	struct {
		uint8_t *start;
		size_t size; /* bytes of a buffer */
		unsigned int count;
		unsigned int free;
		uint16_t *stack; /* free buffers by number */
	} class[BUFFER_CLASSES];
};

/*
 * in_capsule: most bytes of data in a capsule of an I/O queue, up to BUFFER_MAX_LEN. part: so many times fewer buffers
 * than usual, which tests want; 1: the usual.
 */
int buffer_pool_open(size_t in_capsule, unsigned int part, struct buffer_pool *ret_pool);
void buffer_pool_close(struct buffer_pool *p); /* a zeroed one is fine */

/* Smallest free buffer of at least len (<= BUFFER_MAX_LEN) bytes, or NULL: wait for a buf_give(). */
void *buf_take(struct buffer_pool *p, size_t len);

/* One for in-capsule data: of BUFFER_CAPSULE_LEN bytes, or `in_capsule` where that is more. NULL: wait. */
void *buf_take_capsule(struct buffer_pool *p);

/* Bytes that a buffer of the pool's holds. */
size_t buf_size(const struct buffer_pool *p, const void *buffer);

/*
 * One of BUFFER_MAX_LEN bytes for what a command works with while it runs, or NULL. A class of its own, too: whoever
 * has one gives it back without waiting for anybody's data.
 */
void *buf_take_scratch(struct buffer_pool *p);

void buf_give(struct buffer_pool *p, void *buffer); /* from any take; NULL does nothing */

#endif
