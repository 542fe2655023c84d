// SPDX-License-Identifier: Apache-2.0
/*
 * A namespace in anonymous memory: fast, and gone with the target. Data go straight between socket and mapping (lend),
 * so it needs no buffers; a write that is given up half-way leaves part of its data, as NVMe allows for a failed write.
 * Reactors write the mapping concurrently; a host that reads a block while it writes it gets either or a mixture.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "storage/backend.h"

struct memory {
	struct backend base;
	uint8_t *start;
};

static struct memory *memory_of(struct backend *b)
{
	return (struct memory *)b;
}

static int memory_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	_cleanup_free_ struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	if (!config->size)
		return error_set(err, EINVAL, "namespace %u: backend memory has no size of its own; give `size`",
				 config->id);
	m->start = mmap(NULL, config->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->start == MAP_FAILED)
		return error_system(err, errno, "namespace %u: %llu bytes of memory; give a smaller `size`", config->id,
				    (unsigned long long)config->size);
	/* Fewer page faults; a kernel without huge pages does as well, so the answer does not matter. */
	(void)madvise(m->start, config->size, MADV_HUGEPAGE);
	m->base = (struct backend){
		.ops = &backend_memory,
		.size = config->size,
		.zeroes = true,
		.details = "anonymous memory",
	};
	*ret_backend = &TAKE_PTR(m)->base;
	return 0;
}

static void memory_close(struct backend *b)
{
	munmap(memory_of(b)->start, b->size);
	free(b);
}

static void memory_lend(struct backend *b, struct backend_io *io)
{
	io->data = memory_of(b)->start + io->offset;
}

/* Whole pages go back to the kernel and read as zeroes; if it refuses (locked memory), they are written. */
static void zero(uint8_t *start, uint64_t len)
{
	if ((uintptr_t)start % 4096 || len % 4096 || madvise(start, len, MADV_DONTNEED))
		memset(start, 0, len);
}

static int memory_start(struct backend *b, struct backend_io *io)
{
	uint8_t *place = memory_of(b)->start + io->offset;

	switch (io->op) {
	case BACKEND_READ:
		if (!io->lent)
			memcpy(io->data, place, io->len);
		return 0;
	case BACKEND_WRITE:
		if (!io->lent)
			memcpy(place, io->data, io->len);
		return 0;
	case BACKEND_ZERO:
	case BACKEND_DEALLOCATE:
		zero(place, io->len);
		return 0;
	case BACKEND_FLUSH:
		return 0;
	}
	return -EOPNOTSUPP;
}

const struct backend_ops backend_memory = {
	.name = "memory",
	.open = memory_open,
	.close = memory_close,
	.start = memory_start,
	.lend = memory_lend,
};
