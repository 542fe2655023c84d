// SPDX-License-Identifier: Apache-2.0
/* See cut_backend.h. One follower for the process: tests have one file namespace. */
#include "cut_backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

#define FLUSHES_MAX 64

struct cut_backend {
	struct backend base;
	struct backend *inner;
};

static struct {
	pthread_mutex_t mutex;
	uint32_t written[CUT_BLOCKS]; /* by operations that have ended */
	uint32_t survives[CUT_BLOCKS];
	struct {
		const struct backend_io *io;  /* NULL: free */
		uint32_t written[CUT_BLOCKS]; /* when it began */
	} flushes[FLUSHES_MAX];
	struct cut_counts counts;
	bool lies_fua, lies_flush;
} cut = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- tests ---- */

uint32_t cut_survives(unsigned int block)
{
	uint32_t version;

	pthread_mutex_lock(&cut.mutex);
	version = cut.survives[block];
	pthread_mutex_unlock(&cut.mutex);
	return version;
}

void cut_lie(bool about_fua, bool about_flush)
{
	pthread_mutex_lock(&cut.mutex);
	cut.lies_fua = about_fua;
	cut.lies_flush = about_flush;
	pthread_mutex_unlock(&cut.mutex);
}

struct cut_counts cut_counts(void)
{
	struct cut_counts counts;

	pthread_mutex_lock(&cut.mutex);
	counts = cut.counts;
	pthread_mutex_unlock(&cut.mutex);
	return counts;
}

/* ---- following; the mutex is held ---- */

static void keep(unsigned int block, uint32_t version)
{
	cut.survives[block] = max(cut.survives[block], version);
}

static void flush_begun(const struct backend_io *io)
{
	unsigned int i = 0;

	while (cut.flushes[i].io)
		if (++i == FLUSHES_MAX)
			abort();
	cut.flushes[i].io = io;
	memcpy(cut.flushes[i].written, cut.written, sizeof(cut.written));
}

static void flush_ended(const struct backend_io *io, int ret)
{
	unsigned int i = 0, block;

	while (cut.flushes[i].io != io)
		if (++i == FLUSHES_MAX)
			abort();
	cut.flushes[i].io = NULL;
	for (block = 0; block < CUT_BLOCKS && !ret && !cut.lies_flush; block++)
		keep(block, cut.flushes[i].written[block]);
}

static void write_ended(const struct backend_io *io)
{
	uint64_t offset;
	uint32_t version;

	for (offset = io->offset; offset < io->offset + io->len; offset += CUT_BLOCK) {
		unsigned int block = offset / CUT_BLOCK;

		if (block >= CUT_BLOCKS)
			return;
		memcpy(&version, io->data + (offset - io->offset), sizeof(version));
		cut.written[block] = max(cut.written[block], version);
		if (io->fua && !cut.lies_fua)
			keep(block, version);
	}
}

static void begun(const struct backend_io *io)
{
	unsigned int *counts = io->fua ? cut.counts.fua : cut.counts.plain;

	pthread_mutex_lock(&cut.mutex);
	if (io->op == BACKEND_FLUSH) {
		flush_begun(io);
		cut.counts.flushes++;
	}
	if (io->op == BACKEND_WRITE || io->op == BACKEND_ZERO)
		counts[io->op == BACKEND_ZERO]++;
	pthread_mutex_unlock(&cut.mutex);
}

static int ended(const struct backend_io *io, int ret)
{
	if (ret == BACKEND_PENDING)
		return ret;
	pthread_mutex_lock(&cut.mutex);
	if (io->op == BACKEND_FLUSH)
		flush_ended(io, ret);
	if (io->op == BACKEND_WRITE && !ret)
		write_ended(io);
	pthread_mutex_unlock(&cut.mutex);
	return ret;
}

/* ---- the backend ---- */

static struct backend *inner_of(const struct backend *b)
{
	return ((const struct cut_backend *)b)->inner;
}

static int cut_start(struct backend *b, struct backend_io *io)
{
	begun(io);
	return ended(io, inner_of(b)->ops->start(inner_of(b), io));
}

static int cut_resume(struct backend *b, struct backend_io *io, int32_t result)
{
	return ended(io, inner_of(b)->ops->resume(inner_of(b), io, result));
}

static void cut_close(struct backend *b)
{
	backend_close(inner_of(b));
	free(b);
}

static int cut_descriptor(const struct backend *b)
{
	return inner_of(b)->ops->descriptor(inner_of(b));
}

static const struct backend_ops cut_ops = {
	.name = "cut", .close = cut_close, .start = cut_start, .resume = cut_resume, .descriptor = cut_descriptor};

int cut_backend_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	_cleanup_free_ struct cut_backend *c = calloc(1, sizeof(*c));
	int ret;

	if (config->backend != POLICY_BACKEND_FILE)
		return backend_open(config, err, ret_backend);
	if (!c)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	ret = backend_open(config, err, &c->inner);
	if (ret)
		return ret;
	c->base = *c->inner;
	c->base.ops = &cut_ops;
	c->inner->locks = NULL; /* the outer one's now */
	*ret_backend = &TAKE_PTR(c)->base;
	return 0;
}
