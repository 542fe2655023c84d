// SPDX-License-Identifier: Apache-2.0
/*
 * The pool behind buf_take() and buf_give(); see buffer.h. Reactors own one each and are the only callers. A buffer's
 * class follows from its address, so a buffer is just a pointer.
 */
#include "storage/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"

#define CAPSULE_BYTES (16u << 20) /* of all buffers for in-capsule data, where they are not very large */
#define CAPSULE_LEAST 128

struct layout {
	size_t size;
	unsigned int count;
};

static struct layout capsule_layout(size_t in_capsule)
{
	size_t size = in_capsule > BUFFER_CAPSULE_LEN ? in_capsule : BUFFER_CAPSULE_LEN;

	size = (size + BUFFER_ALIGN - 1) / BUFFER_ALIGN * BUFFER_ALIGN;
	return (struct layout){size, CAPSULE_BYTES / size > CAPSULE_LEAST ? CAPSULE_BYTES / size : CAPSULE_LEAST};
}

int buffer_pool_open(size_t in_capsule, unsigned int part, struct buffer_pool *ret_pool)
{
	struct layout layout[BUFFER_CLASSES] = {
		[BUFFER_CAPSULE] = capsule_layout(in_capsule),
		[BUFFER_SMALL] = {4096, 2048},
		[BUFFER_MEDIUM] = {32768, 512},
		[BUFFER_LARGE] = {BUFFER_MAX_LEN, 128},
		[BUFFER_SCRATCH] = {BUFFER_MAX_LEN, 32},
	};
	struct buffer_pool p = {0};
	uint8_t *next;
	unsigned int i, n;

	for (i = 0; i < BUFFER_CLASSES; i++) {
		layout[i].count = max(layout[i].count / part, 1u);
		p.len += layout[i].size * layout[i].count;
	}
	p.memory = mmap(NULL, p.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p.memory == MAP_FAILED)
		return -errno;
	next = p.memory;
	for (i = 0; i < BUFFER_CLASSES; i++) {
		p.class[i].start = next;
		p.class[i].size = layout[i].size;
		p.class[i].count = p.class[i].free = layout[i].count;
		p.class[i].stack = calloc(layout[i].count, sizeof(uint16_t));
		if (!p.class[i].stack) {
			buffer_pool_close(&p);
			return -ENOMEM;
		}
		for (n = 0; n < layout[i].count; n++)
			p.class[i].stack[n] = layout[i].count - 1 - n;
		next += layout[i].size * layout[i].count;
	}
	*ret_pool = p;
	return 0;
}

void buffer_pool_close(struct buffer_pool *p)
{
	unsigned int i;

	if (!p->memory)
		return;
	for (i = 0; i < BUFFER_CLASSES; i++)
		free(p->class[i].stack);
	munmap(p->memory, p->len);
	memset(p, 0, sizeof(*p));
}

static void *class_take(struct buffer_pool *p, unsigned int i)
{
	if (!p->class[i].free)
		return NULL;
	return p->class[i].start + p->class[i].stack[--p->class[i].free] * p->class[i].size;
}

void *buf_take(struct buffer_pool *p, size_t len)
{
	void *buffer = NULL;
	unsigned int i;

	for (i = BUFFER_SMALL; i <= BUFFER_LARGE && !buffer; i++)
		if (len <= p->class[i].size)
			buffer = class_take(p, i);
	return buffer;
}

void *buf_take_capsule(struct buffer_pool *p)
{
	return class_take(p, BUFFER_CAPSULE);
}

void *buf_take_scratch(struct buffer_pool *p)
{
	return class_take(p, BUFFER_SCRATCH);
}

static unsigned int class_of(const struct buffer_pool *p, const void *buffer)
{
	unsigned int i = BUFFER_CLASSES;

	while ((const uint8_t *)buffer < p->class[--i].start)
		;
	return i;
}

size_t buf_size(const struct buffer_pool *p, const void *buffer)
{
	return p->class[class_of(p, buffer)].size;
}

void buf_give(struct buffer_pool *p, void *buffer)
{
	unsigned int i;

	if (!buffer)
		return;
	i = class_of(p, buffer);
	p->class[i].stack[p->class[i].free++] = ((uint8_t *)buffer - p->class[i].start) / p->class[i].size;
	p->given = true;
}
