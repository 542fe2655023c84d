// SPDX-License-Identifier: Apache-2.0
/*
 * I/O commands: what is checked of them, and their way through the backend. conn_command.c calls io_check() when the
 * header is there, io_run() when the data are whole, and the reactor command_io_done() when an SQE has completed.
 *
 * A command is a row of backend operations: one for Read, Write and the like, several for Compare, Verify, Copy and
 * Dataset Management. io_steps.c says which comes next; here they are run. Each holds its blocks (range_lock.h) while
 * it is under way; what a command needs besides, a slot and scratch, it has before. So whoever holds blocks can finish.
 */
#include <errno.h>

#include "base/util.h"
#include "storage/io_steps.h"
#include "storage/reservations.h"

/* Bytes that a command may work off without the ring, before others have their turn. */
#define TURN_BYTES (1u << 20)

#define CONFLICT (NVME_ST_RESERVATION_CONFLICT | NVME_STATUS_DNR)

/* ---- checks ---- */

static uint16_t find_namespace(struct conn *c, struct command *cmd)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (!c->last_ns || c->last_ns->config->id != nsid)
		c->last_ns = subsystem_namespace(c->controller->subsystem, nsid);
	cmd->ns = c->last_ns;
	if (!cmd->ns)
		return NVME_ST_INVALID_NS | NVME_STATUS_DNR;
	return cmd->ns->group ? ana_status(c->controller, cmd->ns->group) : NVME_ST_SUCCESS;
}

/* Its namespace, its range, its lengths. */
static uint16_t check_command(struct conn *c, struct command *cmd)
{
	uint16_t status;

	switch (cmd->sqe.opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_COMPARE:
		status = find_namespace(c, cmd);
		return status ? status : nvme_rw_check_data(&cmd->sqe, &cmd->ns->space, &cmd->transfer, &cmd->extent);
	case NVME_IO_WRITE_ZEROES:
	case NVME_IO_VERIFY:
		status = find_namespace(c, cmd);
		return status ? status : nvme_rw_check(&cmd->sqe, &cmd->ns->space, &cmd->extent);
	case NVME_IO_WRITE_UNCOR:
		status = find_namespace(c, cmd);
		if (!status && !cmd->ns->backend->spoils)
			return NVME_ST_INVALID_OPCODE | NVME_STATUS_DNR;
		return status ? status : nvme_rw_check(&cmd->sqe, &cmd->ns->space, &cmd->extent);
	case NVME_IO_DSM:
		if (cmd->transfer.len < nvme_dsm_ranges(&cmd->sqe) * sizeof(struct nvme_dsm_range))
			return NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR;
		return find_namespace(c, cmd);
	case NVME_IO_COPY:
		status = find_namespace(c, cmd);
		return status ? status
			      : nvme_copy_check(&cmd->sqe, &cmd->ns->space, cmd->transfer.len, &cmd->walk.n_ranges);
	case NVME_IO_FLUSH:
		return find_namespace(c, cmd);
	case NVME_IO_RESV_REGISTER:
	case NVME_IO_RESV_REPORT:
	case NVME_IO_RESV_ACQUIRE:
	case NVME_IO_RESV_RELEASE:
		status = find_namespace(c, cmd);
		return status ? status : reservation_check(cmd);
	default:
		return NVME_ST_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}

uint16_t io_check(struct conn *c, struct command *cmd)
{
	uint16_t status;

	if (!__atomic_load_n(&c->controller->ready, __ATOMIC_RELAXED))
		return NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	status = check_command(c, cmd);
	if (!status && !reservation_is_command(cmd->sqe.opcode) && !reservation_admits(cmd))
		return CONFLICT;
	return status;
}

/* ---- place for data ---- */

bool io_borrow(struct command *cmd, enum backend_op op)
{
	struct backend *b = cmd->ns->backend;

	/* A digest is sent after the data it was made over: those must not change meanwhile. */
	if (!b->ops->lend || (op == BACKEND_READ && cmd->conn->tx_framing.ddgst && !b->stable))
		return false;
	io_prepare(cmd, op, cmd->extent.offset, cmd->extent.len, NULL);
	b->ops->lend(b, &cmd->io);
	cmd->io.lent = true;
	cmd->data = cmd->io.data;
	return true;
}

/* ---- blocks ---- */

static void granted(struct range_hold *hold, void *by)
{
	struct command *cmd = (struct command *)((char *)hold - offsetof(struct command, hold));

	reactor_grant(cmd->conn->reactor, cmd, by);
}

/* The blocks of cmd->io; false: they will be granted. */
static bool hold_blocks(struct command *cmd)
{
	const struct namespace *ns = cmd->ns;
	bool reads = cmd->io.op == BACKEND_READ && !cmd->hold_exclusive;

	if (cmd->is_holding || !ns->backend->locks || cmd->io.op == BACKEND_FLUSH)
		return true;
	/* Compare keeps all of its blocks until it has its answer. */
	if (cmd->hold_whole)
		range_hold_set(&cmd->hold, cmd->extent.offset, cmd->extent.len, !reads);
	else
		range_hold_set(&cmd->hold, cmd->io.offset, cmd->io.len, !reads);
	cmd->hold.granted = granted;
	cmd->is_holding = true;
	/* Before it can be granted: its connection stays until then. */
	cmd->state = COMMAND_LOCKED;
	cmd->conn->backend_ios++;
	if (!range_lock(ns->backend->locks, &cmd->hold, cmd->conn->reactor))
		return false;
	cmd->conn->backend_ios--;
	return true;
}

static void give_blocks(struct command *cmd)
{
	if (!cmd->is_holding)
		return;
	cmd->is_holding = false;
	range_unlock(cmd->ns->backend->locks, &cmd->hold, cmd->conn->reactor);
}

/* ---- running ---- */

static void finish(struct command *cmd, int ret)
{
	uint16_t status = ret ? backend_status(cmd->io.op, -ret) : cmd->status;

	give_blocks(cmd);
	if (cmd->io.ring)
		reactor_io_give(cmd->conn->reactor, cmd);
	buf_give(&cmd->conn->reactor->pool, cmd->scratch);
	cmd->scratch = NULL;
	if (cmd->fused)
		fused_finish(cmd, status);
	else
		command_reply(cmd, status);
}

/* Others have their turn: the rest when the ring comes back. */
static void yield(struct command *cmd)
{
	struct io_uring_sqe *sqe = ring_sqe(cmd->io.ring);

	io_uring_prep_nop(sqe);
	ring_push(sqe, cmd->io.token);
	cmd->turn_bytes = 0;
	cmd->is_yielding = true;
	cmd->state = COMMAND_BACKEND;
}

/* What start() or resume() answered; true: the operation is done. */
static bool operation_done(struct command *cmd, int ret)
{
	if (ret == BACKEND_PENDING) {
		reactor_io_queued(cmd->conn->reactor);
		cmd->state = COMMAND_BACKEND;
		return false;
	}
	if (!cmd->hold_whole)
		give_blocks(cmd);
	if (ret)
		finish(cmd, ret);
	return !ret;
}

static bool start(struct command *cmd)
{
	struct backend *b = cmd->ns->backend;

	cmd->turn_bytes += min(cmd->io.len, (uint64_t)TURN_BYTES);
	return operation_done(cmd, b->ops->start(b, &cmd->io));
}

/* The operations that are left, as far as they go now. */
static void proceed(struct command *cmd)
{
	while (!cmd->ends_with && io_next(cmd)) {
		if (cmd->conn->state == CONN_CLOSING) {
			finish(cmd, -ECANCELED); /* nobody waits for its answer */
			return;
		}
		if (!hold_blocks(cmd) || !start(cmd))
			return;
		if (cmd->turn_bytes >= TURN_BYTES && cmd->io.ring) {
			yield(cmd);
			return;
		}
	}
	if (cmd->ends_with)
		cmd->status = cmd->ends_with;
	finish(cmd, 0);
}

void io_granted(struct command *cmd)
{
	cmd->conn->backend_ios--;
	conn_mark(cmd->conn);
	if (cmd->conn->state == CONN_CLOSING)
		finish(cmd, -ECANCELED);
	else if (cmd->ends_with || start(cmd))
		proceed(cmd);
}

void command_io_done(struct command *cmd, int32_t result)
{
	struct backend *b = cmd->ns->backend;
	bool was_yielding = cmd->is_yielding;

	cmd->is_yielding = false;
	if (!was_yielding)
		reactor_io_back(cmd->conn->reactor);
	if (was_yielding || operation_done(cmd, b->ops->resume(b, &cmd->io, result)))
		proceed(cmd);
}

/* Before it has anything. */
static void refuse(struct command *cmd)
{
	if (cmd->fused)
		fused_finish(cmd, CONFLICT);
	else
		command_reply(cmd, CONFLICT);
}

bool io_run(struct command *cmd)
{
	struct reactor *r = cmd->conn->reactor;
	bool several = io_several(cmd);

	if (reservation_is_command(cmd->sqe.opcode))
		return reservation_run(cmd);
	/* Again: it may have been acquired while the data came. */
	if (!reservation_admits(cmd)) {
		refuse(cmd);
		return true;
	}
	if (cmd->sqe.opcode == NVME_IO_READ && !cmd->data && !command_place(cmd, BACKEND_READ))
		return false;
	if (io_answered(cmd)) {
		command_reply(cmd, cmd->status);
		return true;
	}
	/* How much is copied is known only now. */
	if (cmd->conn->limits && cmd->sqe.opcode == NVME_IO_COPY && !cmd->is_charged) {
		limits_charge(cmd, cmd->extent.len);
		cmd->is_charged = true;
	}
	if (io_scratch(cmd) && !cmd->scratch && !(cmd->scratch = buf_take_scratch(&r->pool)))
		return false;
	/* One operation that never stays pending needs no slot. */
	if ((several || cmd->ns->backend->ops->resume) && !reactor_io_take(r, cmd))
		return false;
	proceed(cmd);
	return true;
}
