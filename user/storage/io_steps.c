// SPDX-License-Identifier: Apache-2.0
/*
 * See io_steps.h. Called by io_command.c on the thread of the command's reactor. `walk` of a command says how far it
 * is; it is zero before the first operation. What always holds: an operation lies within the namespace, since all
 * extents were checked, those in a command's data by io_answered().
 */
#include "storage/io_steps.h"

#include <string.h>

#include "base/util.h"
#include "storage/reactor.h"

void io_prepare(struct command *cmd, enum backend_op op, uint64_t offset, uint64_t len, void *data)
{
	struct backend_io *io = &cmd->io;

	io->op = op;
	io->fua = io->deallocate = io->lent = false;
	io->data = data;
	io->offset = offset;
	io->len = len;
	io->buffer_index = data && cmd->conn->reactor->pool_registered ? 0 : -1;
	io->progress = 0;
	io->step = 0;
}

static uint16_t control(const struct command *cmd)
{
	return le16toh(((const struct nvme_rw_sqe *)&cmd->sqe)->control);
}

/* ---- one operation ---- */

static bool next_single(struct command *cmd)
{
	static const enum backend_op ops[] = {
		[NVME_IO_READ] = BACKEND_READ,	       [NVME_IO_WRITE] = BACKEND_WRITE,
		[NVME_IO_FLUSH] = BACKEND_FLUSH,       [NVME_IO_WRITE_ZEROES] = BACKEND_ZERO,
		[NVME_IO_WRITE_UNCOR] = BACKEND_SPOIL,
	};

	if (cmd->walk.step++)
		return false;
	/* What was lent stays as it was lent. */
	if (!cmd->io.lent)
		io_prepare(cmd, ops[cmd->sqe.opcode], cmd->extent.offset, cmd->extent.len, cmd->data);
	if (cmd->sqe.opcode == NVME_IO_WRITE || cmd->sqe.opcode == NVME_IO_WRITE_ZEROES)
		cmd->io.fua = control(cmd) & NVME_RW_FUA;
	if (cmd->sqe.opcode == NVME_IO_WRITE_ZEROES)
		cmd->io.deallocate = control(cmd) & NVME_RW_DEAC;
	return true;
}

/* ---- Verify and Compare: piece by piece into the scratch ---- */

/* The next piece of the extent; false: all was read. */
static bool read_piece(struct command *cmd)
{
	uint64_t left = cmd->extent.len - cmd->walk.done;

	if (!left)
		return false;
	io_prepare(cmd, BACKEND_READ, cmd->extent.offset + cmd->walk.done, min(left, (uint64_t)BUFFER_MAX_LEN),
		   cmd->scratch);
	return true;
}

static bool next_verify(struct command *cmd)
{
	if (cmd->walk.step++)
		cmd->walk.done += cmd->io.len;
	return read_piece(cmd);
}

/* The second half of a fused pair; its data were checked to be as long. */
static bool write_fused(struct command *cmd)
{
	io_prepare(cmd, BACKEND_WRITE, cmd->extent.offset, cmd->extent.len, cmd->fused->data);
	cmd->io.fua = control(cmd->fused) & NVME_RW_FUA;
	return true;
}

static bool next_compare(struct command *cmd)
{
	cmd->hold_whole = true;
	cmd->hold_exclusive = cmd->fused;
	if (cmd->walk.step++) {
		if (cmd->io.op == BACKEND_WRITE)
			return false;
		if (memcmp(cmd->data + cmd->walk.done, cmd->scratch, cmd->io.len)) {
			cmd->status = NVME_ST_COMPARE_FAILED | NVME_STATUS_DNR;
			return false;
		}
		cmd->walk.done += cmd->io.len;
	}
	return read_piece(cmd) || (cmd->fused && write_fused(cmd));
}

/* ---- Dataset Management ---- */

static const struct nvme_dsm_range *dsm_range(const struct command *cmd, uint32_t i)
{
	return (const struct nvme_dsm_range *)cmd->data + i;
}

static uint16_t dsm_check(const struct command *cmd)
{
	struct nvme_extent extent;
	uint16_t status = 0;
	uint32_t i;

	for (i = 0; i < nvme_dsm_ranges(&cmd->sqe) && !status; i++)
		status = nvme_dsm_check(dsm_range(cmd, i), &cmd->ns->space, &extent);
	return status;
}

static bool next_dsm(struct command *cmd)
{
	struct nvme_extent extent;

	while (cmd->walk.range < nvme_dsm_ranges(&cmd->sqe)) {
		nvme_dsm_check(dsm_range(cmd, cmd->walk.range++), &cmd->ns->space, &extent);
		if (!extent.len)
			continue;
		io_prepare(cmd, BACKEND_DEALLOCATE, extent.offset, extent.len, NULL);
		return true;
	}
	return false;
}

/* ---- Copy ---- */

/* Sources are gathered in the scratch and written when it is full, so that a short Copy is one write. */
static bool next_copy(struct command *cmd)
{
	const struct nvme_copy_range *ranges = (const struct nvme_copy_range *)cmd->data;
	struct command_walk *w = &cmd->walk;
	struct nvme_extent source;
	uint64_t len;

	if (w->step++) {
		if (cmd->io.op == BACKEND_WRITE) {
			w->done += w->fill;
			w->fill = 0;
			/* The first range that is not yet there: what a failure answers. */
			cmd->result = w->range < w->n_ranges ? w->range : 0;
		} else {
			w->fill += cmd->io.len;
			w->range_done += cmd->io.len;
			if (w->range_done == nvme_copy_source(&ranges[w->range], &cmd->ns->space).len) {
				w->range++;
				w->range_done = 0;
			}
		}
	}
	if (w->range < w->n_ranges && w->fill < BUFFER_MAX_LEN) {
		source = nvme_copy_source(&ranges[w->range], &cmd->ns->space);
		len = min(source.len - w->range_done, (uint64_t)BUFFER_MAX_LEN - w->fill);
		io_prepare(cmd, BACKEND_READ, source.offset + w->range_done, len, cmd->scratch + w->fill);
		return true;
	}
	if (!w->fill)
		return false;
	io_prepare(cmd, BACKEND_WRITE, cmd->extent.offset + w->done, w->fill, cmd->scratch);
	cmd->io.fua = le32toh(cmd->sqe.cdw12) & NVME_COPY_FUA;
	return true;
}

/* ---- table ---- */

bool io_answered(struct command *cmd)
{
	switch (cmd->sqe.opcode) {
	case NVME_IO_READ:
		return cmd->io.lent;
	case NVME_IO_DSM:
		cmd->status = dsm_check(cmd);
		/* Other attributes are hints; so is deallocation, but this one can be of use. */
		return cmd->status || !nvme_dsm_deallocates(&cmd->sqe);
	case NVME_IO_COPY:
		cmd->status = nvme_copy_check_ranges(&cmd->sqe, (const struct nvme_copy_range *)cmd->data,
						     cmd->walk.n_ranges, &cmd->ns->space, &cmd->extent);
		return cmd->status;
	default:
		return false;
	}
}

bool io_scratch(const struct command *cmd)
{
	return cmd->sqe.opcode == NVME_IO_COMPARE || cmd->sqe.opcode == NVME_IO_VERIFY ||
	       cmd->sqe.opcode == NVME_IO_COPY;
}

bool io_several(const struct command *cmd)
{
	return io_scratch(cmd) || cmd->sqe.opcode == NVME_IO_DSM;
}

bool io_next(struct command *cmd)
{
	switch (cmd->sqe.opcode) {
	case NVME_IO_COMPARE:
		return next_compare(cmd);
	case NVME_IO_VERIFY:
		return next_verify(cmd);
	case NVME_IO_COPY:
		return next_copy(cmd);
	case NVME_IO_DSM:
		return next_dsm(cmd);
	default:
		return next_single(cmd);
	}
}
