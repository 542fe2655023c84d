// SPDX-License-Identifier: Apache-2.0
/*
 * The smallest backend: reads are zeroes, writes are dropped. The tutorial for writing another, and the floor of what
 * the target costs, for benchmarks. Opened by target.c through backend_open(); everything else is called by reactors.
 *
 * A backend embeds `struct backend` first, fills it in open(), and from then on only reads it: all reactors share it.
 * This one lends memory both ways, so it needs no buffers: reads send from one page-aligned run of zeroes that is never
 * written, and writes are lent NULL, which means that nobody wants the data. So start() has little left to do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/backend.h"
#include "storage/buffer.h"

static uint8_t zeroes[BUFFER_MAX_LEN] __attribute__((aligned(BUFFER_ALIGN)));

static int null_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	struct backend *b;

	if (!config->size)
		return error_set(err, EINVAL, "namespace %u: backend null has no size of its own; give `size`",
				 config->id);
	b = calloc(1, sizeof(*b));
	if (!b)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	*b = (struct backend){
		.ops = &backend_null,
		.size = config->size,
		.zeroes = true,
		.stable = true,
		.details = "keeps nothing",
	};
	*ret_backend = b;
	return 0;
}

static void null_close(struct backend *b)
{
	free(b);
}

static void null_lend(struct backend *b, struct backend_io *io)
{
	io->data = io->op == BACKEND_READ ? zeroes : NULL;
}

static int null_start(struct backend *b, struct backend_io *io)
{
	/* Where the data are worked on (Compare, Verify, Copy), nothing was lent. */
	if (io->op == BACKEND_READ && !io->lent)
		memset(io->data, 0, io->len);
	return 0;
}

static int null_resize(struct backend *b, const struct policy_namespace *config, struct error *err)
{
	b->size = config->size;
	return 0;
}

const struct backend_ops backend_null = {
	.name = "null",
	.open = null_open,
	.close = null_close,
	.start = null_start,
	.resize = null_resize,
	.lend = null_lend,
};
