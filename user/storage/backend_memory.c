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
#include "base/util.h"
#include "storage/backend.h"

#define RESERVE_TIMES 16
#define RESERVE_MIN   (64ull << 30)

struct memory {
	struct backend base;
	uint8_t *start;
	uint64_t reserved; /* bytes of address space; those from base.size on cannot be touched */
};

static struct memory *memory_of(struct backend *b)
{
	return (struct memory *)b;
}

/* Much address space and no memory: so that it can grow where it lies. All that the machine gives, if it has little. */
static uint8_t *reserve(uint64_t size, uint64_t *ret_reserved)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t wanted = max(size * RESERVE_TIMES, RESERVE_MIN);
	uint8_t *start = wanted > size ? mmap(NULL, wanted, PROT_NONE, flags, -1, 0) : MAP_FAILED;

	*ret_reserved = start == MAP_FAILED ? size : wanted;
	return start == MAP_FAILED ? mmap(NULL, size, PROT_NONE, flags, -1, 0) : start;
}

static uint64_t page_up(uint64_t size)
{
	return (size + 4095) / 4096 * 4096;
}

/* Makes the first `size` bytes usable. */
static int memory_grant(struct memory *m, uint64_t size)
{
	if (mprotect(m->start, page_up(size), PROT_READ | PROT_WRITE))
		return -errno;
	/* Fewer page faults; a kernel without huge pages does as well, so the answer does not matter. */
	(void)madvise(m->start, page_up(size), MADV_HUGEPAGE);
	return 0;
}

static int memory_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	_cleanup_free_ struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	if (!config->size)
		return error_set(err, EINVAL, "namespace %u: backend memory has no size of its own; give `size`",
				 config->id);
	m->start = reserve(config->size, &m->reserved);
	if (m->start == MAP_FAILED || memory_grant(m, config->size))
		return error_system(err, errno, "namespace %u: %llu bytes of memory; give a smaller `size`", config->id,
				    (unsigned long long)config->size);
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
	munmap(memory_of(b)->start, memory_of(b)->reserved);
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

/* What lies beyond a smaller size is forgotten when it comes back, since I/O may still be under way there before. */
static int memory_resize(struct backend *b, const struct policy_namespace *config, struct error *err)
{
	struct memory *m = memory_of(b);
	int ret;

	if (config->size > m->reserved)
		return error_set(err, EBUSY,
				 "namespace %u: can grow to %llu bytes while it is served; restart the target for more",
				 config->id, (unsigned long long)m->reserved);
	if (config->size > b->size) {
		ret = memory_grant(m, config->size);
		if (ret)
			return error_system(err, -ret, "namespace %u: %llu bytes of memory; give a smaller `size`",
					    config->id, (unsigned long long)config->size);
		zero(m->start + b->size, config->size - b->size);
	}
	b->size = config->size;
	return 0;
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
	.resize = memory_resize,
};
