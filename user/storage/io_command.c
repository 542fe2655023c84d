// SPDX-License-Identifier: Apache-2.0
/*
 * I/O commands: what is checked of them, and their way through the backend. conn_command.c calls io_check() when the
 * header is there, io_run() when the data are whole, and the reactor command_io_done() when an SQE has completed. What
 * always holds: a command whose io has a ring is known to the reactor by its slot, and gives it back before it is
 * answered.
 */
#include <errno.h>

#include "storage/reactor.h"

/* ---- checks ---- */

static uint16_t find_namespace(struct conn *c, struct command *cmd)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (!c->last_ns || c->last_ns->config->id != nsid)
		c->last_ns = subsystem_namespace(c->controller->subsystem, nsid);
	cmd->ns = c->last_ns;
	return cmd->ns ? NVME_ST_SUCCESS : NVME_ST_INVALID_NS | NVME_STATUS_DNR;
}

uint16_t io_check(struct conn *c, struct command *cmd)
{
	uint16_t status;

	if (!__atomic_load_n(&c->controller->ready, __ATOMIC_RELAXED))
		return NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	switch (cmd->sqe.opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
		status = find_namespace(c, cmd);
		return status ? status : nvme_rw_check_data(&cmd->sqe, &cmd->ns->space, &cmd->transfer, &cmd->extent);
	case NVME_IO_WRITE_ZEROES:
		status = find_namespace(c, cmd);
		return status ? status : nvme_rw_check(&cmd->sqe, &cmd->ns->space, &cmd->extent);
	case NVME_IO_DSM:
		if (cmd->transfer.len < nvme_dsm_ranges(&cmd->sqe) * sizeof(struct nvme_dsm_range))
			return NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR;
		return find_namespace(c, cmd);
	case NVME_IO_FLUSH:
		return find_namespace(c, cmd);
	default:
		return NVME_ST_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}

/* ---- place for data ---- */

static void io_prepare(struct command *cmd, enum backend_op op)
{
	cmd->io = (struct backend_io){
		.op = op,
		.offset = cmd->extent.offset,
		.len = cmd->extent.len,
		.buffer_index = -1,
	};
}

bool io_borrow(struct command *cmd, enum backend_op op)
{
	struct backend *b = cmd->ns->backend;

	io_prepare(cmd, op);
	/* A digest is sent after the data it was made over: those must not change meanwhile. */
	if (!b->ops->lend || (op == BACKEND_READ && cmd->conn->tx_framing.ddgst && !b->stable))
		return false;
	b->ops->lend(b, &cmd->io);
	cmd->io.lent = true;
	cmd->data = cmd->io.data;
	return true;
}

/* ---- I/O ---- */

static void io_finish(struct command *cmd, int ret)
{
	command_reply(cmd, ret ? backend_status(cmd->io.op, -ret) : NVME_ST_SUCCESS);
}

static const struct nvme_dsm_range *dsm_range(const struct command *cmd, uint32_t i)
{
	return (const struct nvme_dsm_range *)cmd->data + i;
}

/* The next range of Dataset Management that is not empty, as cmd->io; false: there is none. */
static bool dsm_next(struct command *cmd)
{
	struct nvme_extent extent;

	while (cmd->dsm_next < nvme_dsm_ranges(&cmd->sqe)) {
		nvme_dsm_check(dsm_range(cmd, cmd->dsm_next++), &cmd->ns->space, &extent);
		if (!extent.len)
			continue;
		cmd->extent = extent;
		io_prepare(cmd, BACKEND_DEALLOCATE);
		return true;
	}
	return false;
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

/* What start() or resume() answered. */
static void io_step(struct command *cmd, int ret)
{
	struct conn *c = cmd->conn;

	while (ret != BACKEND_PENDING) {
		if (cmd->io.ring)
			reactor_io_give(c->reactor, cmd);
		if (ret || cmd->sqe.opcode != NVME_IO_DSM || !dsm_next(cmd)) {
			io_finish(cmd, ret);
			return;
		}
		if (cmd->ns->backend->ops->resume && !reactor_io_take(c->reactor, cmd)) {
			io_finish(cmd, -EAGAIN);
			return;
		}
		ret = cmd->ns->backend->ops->start(cmd->ns->backend, &cmd->io);
	}
	cmd->state = COMMAND_BACKEND;
}

/* cmd->io is set: goes to the backend; false: no I/O slot is free. */
static bool io_start(struct command *cmd)
{
	struct backend *b = cmd->ns->backend;

	/* Only a backend that may stay pending needs a slot. */
	if (b->ops->resume && !reactor_io_take(cmd->conn->reactor, cmd))
		return false;
	io_step(cmd, b->ops->start(b, &cmd->io));
	return true;
}

void command_io_done(struct command *cmd, int32_t result)
{
	struct backend *b = cmd->ns->backend;

	io_step(cmd, b->ops->resume(b, &cmd->io, result));
}

static bool run_read(struct command *cmd)
{
	if (!cmd->data && !command_place(cmd, BACKEND_READ))
		return false;
	if (cmd->io.lent) {
		command_reply(cmd, NVME_ST_SUCCESS);
		return true;
	}
	cmd->io.data = cmd->data;
	return io_start(cmd);
}

static bool run_write(struct command *cmd)
{
	if (!cmd->io.lent) {
		io_prepare(cmd, BACKEND_WRITE);
		cmd->io.data = cmd->data;
	}
	cmd->io.fua = le16toh(((struct nvme_rw_sqe *)&cmd->sqe)->control) & NVME_RW_FUA;
	return io_start(cmd);
}

static bool run_dsm(struct command *cmd)
{
	uint16_t status = dsm_check(cmd);

	/* Other attributes are hints; so is deallocation, but this one can be of use. */
	if (status || !nvme_dsm_deallocates(&cmd->sqe) || !dsm_next(cmd)) {
		command_reply(cmd, status);
		return true;
	}
	if (io_start(cmd))
		return true;
	cmd->dsm_next--; /* the same range again */
	return false;
}

bool io_run(struct command *cmd)
{
	uint16_t control = le16toh(((struct nvme_rw_sqe *)&cmd->sqe)->control);

	switch (cmd->sqe.opcode) {
	case NVME_IO_READ:
		return run_read(cmd);
	case NVME_IO_WRITE:
		return run_write(cmd);
	case NVME_IO_WRITE_ZEROES:
		io_prepare(cmd, BACKEND_ZERO);
		cmd->io.fua = control & NVME_RW_FUA;
		cmd->io.deallocate = control & NVME_RW_DEAC;
		return io_start(cmd);
	case NVME_IO_DSM:
		return run_dsm(cmd);
	default: /* Flush: io_check() lets nothing else through */
		io_prepare(cmd, BACKEND_FLUSH);
		return io_start(cmd);
	}
}
