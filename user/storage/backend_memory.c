// SPDX-License-Identifier: Apache-2.0
/*
 * A namespace in anonymous memory: fast, and gone with the target. Data are copied between the mapping and the buffers
 * of the commands, whole, while the command holds its blocks: so nobody reads half of a write. (Lending the mapping
 * would save the copy, and let a block be read while it arrives.) What takes long is done in pieces, a turn of the
 * reactor each.
 *
 * It can also spoil blocks (Write Uncorrectable): a bit a block, in a mapping that costs nothing until it is used.
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
#define PIECE_LEN     (2ull << 20) /* zeroed in one turn; a huge page */

struct memory {
	struct backend base;
	uint8_t *start;
	uint64_t reserved; /* bytes of address space; those from base.size on cannot be touched */
	uint8_t *spoilt;   /* a bit a block */
	size_t spoilt_len;
	uint32_t block;
	bool any_spoilt; /* since the start; relaxed */
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

/* The bits of the blocks that it could ever have. */
static int memory_mark(struct memory *m)
{
	m->spoilt_len = m->reserved / m->block / 8 + 1;
	m->spoilt =
		mmap(NULL, m->spoilt_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return m->spoilt == MAP_FAILED ? -errno : 0;
}

static int memory_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	_cleanup_free_ struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	if (!config->size)
		return error_set(err, EINVAL, "namespace %u: backend memory has no size of its own; give `size`",
				 config->id);
	m->block = config->block ? config->block : 4096;
	m->start = reserve(config->size, &m->reserved);
	if (m->start == MAP_FAILED || memory_grant(m, config->size) || memory_mark(m))
		return error_system(err, errno, "namespace %u: %llu bytes of memory; give a smaller `size`", config->id,
				    (unsigned long long)config->size);
	m->base = (struct backend){
		.ops = &backend_memory,
		.size = config->size,
		.zeroes = true,
		.keeps = true,
		.spoils = true,
		.details = "anonymous memory",
	};
	*ret_backend = &TAKE_PTR(m)->base;
	return 0;
}

static void memory_close(struct backend *b)
{
	struct memory *m = memory_of(b);

	munmap(m->start, m->reserved);
	munmap(m->spoilt, m->spoilt_len);
	free(b);
}

/* ---- spoilt blocks ---- */

static bool any_spoilt(const struct memory *m)
{
	return __atomic_load_n(&m->any_spoilt, __ATOMIC_RELAXED);
}

/* The command holds its blocks, but their bits share bytes with those of others. */
static void spoil(struct memory *m, uint64_t offset, uint64_t len, bool on)
{
	uint64_t block = offset / m->block, end = block + len / m->block;

	if (on)
		__atomic_store_n(&m->any_spoilt, true, __ATOMIC_RELAXED);
	for (; block < end; block++)
		if (on)
			__atomic_fetch_or(&m->spoilt[block / 8], 1 << block % 8, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(&m->spoilt[block / 8], ~(1 << block % 8), __ATOMIC_RELAXED);
}

static bool is_spoilt(const struct memory *m, const struct backend_io *io)
{
	uint64_t block = io->offset / m->block, end = block + io->len / m->block;

	for (; block < end; block++)
		if (__atomic_load_n(&m->spoilt[block / 8], __ATOMIC_RELAXED) >> block % 8 & 1)
			return true;
	return false;
}

/* ---- I/O ---- */

/* Whole pages go back to the kernel and read as zeroes; if it refuses (locked memory), they are written. */
static void zero(uint8_t *start, uint64_t len)
{
	if ((uintptr_t)start % 4096 || len % 4096 || madvise(start, len, MADV_DONTNEED))
		memset(start, 0, len);
}

/* One piece; the rest after a turn of the reactor. */
static int zero_piece(struct memory *m, struct backend_io *io)
{
	uint64_t len = min(io->len - io->progress, PIECE_LEN);
	struct io_uring_sqe *sqe;

	zero(m->start + io->offset + io->progress, len);
	if (any_spoilt(m))
		spoil(m, io->offset + io->progress, len, false);
	io->progress += len;
	if (io->progress == io->len)
		return 0;
	sqe = ring_sqe(io->ring);
	io_uring_prep_nop(sqe);
	ring_push(sqe, io->token);
	return BACKEND_PENDING;
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
		if (any_spoilt(m))
			spoil(m, b->size, config->size - b->size, false);
	}
	b->size = config->size;
	return 0;
}

static int memory_start(struct backend *b, struct backend_io *io)
{
	struct memory *m = memory_of(b);
	uint8_t *place = m->start + io->offset;

	switch (io->op) {
	case BACKEND_READ:
		if (any_spoilt(m) && is_spoilt(m, io))
			return -EIO;
		memcpy(io->data, place, io->len);
		return 0;
	case BACKEND_WRITE:
		memcpy(place, io->data, io->len);
		if (any_spoilt(m))
			spoil(m, io->offset, io->len, false);
		return 0;
	case BACKEND_ZERO:
	case BACKEND_DEALLOCATE:
		return zero_piece(m, io);
	case BACKEND_SPOIL:
		spoil(m, io->offset, io->len, true);
		return 0;
	case BACKEND_FLUSH:
		return 0;
	}
	return -EOPNOTSUPP;
}

static int memory_resume(struct backend *b, struct backend_io *io, int32_t result)
{
	return result < 0 ? result : zero_piece(memory_of(b), io);
}

const struct backend_ops backend_memory = {
	.name = "memory",
	.open = memory_open,
	.close = memory_close,
	.start = memory_start,
	.resume = memory_resume,
	.resize = memory_resize,
};
