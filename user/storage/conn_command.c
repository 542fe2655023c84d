// SPDX-License-Identifier: Apache-2.0
/*
 * A command from capsule to answer: checks, place for its data, backend. Everything about a command is checked when its
 * header comes (command_begin), before any of its data: what is refused then has its data thrown away and is answered
 * when the capsule is whole. From then on nothing re-checks. I/O goes to backends from here; admin and Fabrics commands
 * go to controller.c once their data are whole.
 *
 * What a command needs may be short for a moment: a data buffer or an I/O slot. Then it waits on the reactor's list and
 * command_retry() takes it up where it stood, which is what its state says.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

/* ---- answers ---- */

void command_reply(struct command *cmd, uint16_t status)
{
	cmd->status = status;
	cmd->state = COMMAND_REPLY;
	conn_queue(cmd->conn, cmd);
}

void command_free(struct command *cmd)
{
	struct conn *c = cmd->conn;

	buf_give(&c->reactor->pool, cmd->buffer);
	cmd->buffer = NULL;
	cmd->state = COMMAND_FREE;
	cmd->next = c->free;
	c->free = cmd;
	c->n_busy--;
}

/* ---- checks ---- */

static bool is_fabrics(const struct command *cmd)
{
	return cmd->sqe.opcode == NVME_FABRICS;
}

static uint16_t find_namespace(struct conn *c, struct command *cmd)
{
	uint32_t nsid = le32toh(cmd->sqe.nsid);

	if (!c->last_ns || c->last_ns->config->id != nsid)
		c->last_ns = subsystem_namespace(c->controller->subsystem, nsid);
	cmd->ns = c->last_ns;
	return cmd->ns ? NVME_ST_SUCCESS : NVME_ST_INVALID_NS | NVME_STATUS_DNR;
}

/* An I/O command on a live I/O queue: namespace, range, lengths. */
static uint16_t check_io(struct conn *c, struct command *cmd)
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

static uint16_t check(struct conn *c, struct command *cmd, uint32_t capsule_len)
{
	uint16_t status = nvme_transfer_read(&cmd->sqe, capsule_len, BUFFER_MAX_LEN, &cmd->transfer);

	if (status)
		return status;
	if (c->state == CONN_CONNECT)
		return is_fabrics(cmd) ? NVME_ST_SUCCESS : NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	/* What a host sends to the controller fits one small buffer in every command but Write. */
	if ((!c->qid || cmd->sqe.opcode != NVME_IO_WRITE) && cmd->direction == NVME_DIR_H2C &&
	    cmd->transfer.len > BUFFER_CAPSULE_LEN)
		return NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR;
	return c->qid && !is_fabrics(cmd) ? check_io(c, cmd) : NVME_ST_SUCCESS;
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

/* Whether the backend's own memory serves: then there is nothing to allocate. */
static bool borrow(struct command *cmd, enum backend_op op)
{
	struct backend *b = cmd->ns->backend;

	/* A digest is sent after the data it was made over: those must not change meanwhile. */
	if (!b->ops->lend || (op == BACKEND_READ && cmd->conn->tx_framing.ddgst && !b->stable))
		return false;
	b->ops->lend(b, &cmd->io);
	cmd->io.lent = true;
	cmd->data = cmd->io.data;
	return true;
}

/* Place for in-capsule data, which are right behind: false if there is none. */
static bool place_capsule(struct command *cmd, uint32_t capsule_len)
{
	bool whole = !cmd->transfer.offset && cmd->transfer.len == capsule_len;

	if (cmd->ns && cmd->sqe.opcode == NVME_IO_WRITE && whole) {
		io_prepare(cmd, BACKEND_WRITE);
		if (borrow(cmd, BACKEND_WRITE))
			return true;
	}
	cmd->data = cmd->buffer = buf_take_capsule(&cmd->conn->reactor->pool);
	return cmd->buffer;
}

/* Place for transfer.len bytes: borrowed, or a buffer; false: none is free. */
static bool place(struct command *cmd, enum backend_op op)
{
	if (cmd->ns && (op == BACKEND_READ || cmd->sqe.opcode == NVME_IO_WRITE)) {
		io_prepare(cmd, op);
		if (borrow(cmd, op))
			return true;
	}
	cmd->data = cmd->buffer = buf_take(&cmd->conn->reactor->pool, cmd->transfer.len);
	return cmd->buffer;
}

/* ---- the capsule ---- */

static struct command *take(struct conn *c)
{
	struct command *cmd = c->free;
	uint16_t index = cmd->index;

	c->free = cmd->next;
	c->n_busy++;
	memset(cmd, 0, sizeof(*cmd));
	cmd->conn = c;
	cmd->index = index;
	cmd->start_ns = c->reactor->now_ns;
	return cmd;
}

bool command_begin(struct conn *c)
{
	const struct pdu *pdu = &c->pdu;
	struct command *cmd;

	if (c->reactor->stopping)
		return false;
	if (!c->free) {
		/* Answers on their way out free commands; without one the host has overrun the queue it asked for. */
		if (!c->sending && !c->tx)
			conn_close(c, "more commands than the queue has entries");
		return false;
	}
	cmd = take(c);
	cmd->sqe = pdu->header.cmd.sqe;
	cmd->state = COMMAND_CAPSULE;
	cmd->direction = nvme_direction(&cmd->sqe);
	cmd->status = check(c, cmd, pdu->data_len);
	if (!cmd->status && pdu->data_len && cmd->transfer.in_capsule && !place_capsule(cmd, pdu->data_len)) {
		command_free(cmd);
		return false;
	}
	c->rx_command = cmd;
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
	if (!cmd->data && !place(cmd, BACKEND_READ))
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

static bool run_io(struct command *cmd)
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
	default: /* Flush: check_io() lets nothing else through */
		io_prepare(cmd, BACKEND_FLUSH);
		return io_start(cmd);
	}
}

/* ---- stages ---- */

static bool run_admin(struct command *cmd)
{
	struct conn *c = cmd->conn;

	if (cmd->direction == NVME_DIR_C2H && cmd->transfer.len && !cmd->data) {
		if (!place(cmd, BACKEND_FLUSH))
			return false;
		/* What a handler leaves alone is 0, never what another command left there. */
		memset(cmd->data, 0, cmd->transfer.len);
	}
	if (c->qid && is_fabrics(cmd)) {
		controller_fabrics_io(c, cmd);
		command_reply(cmd, cmd->status);
	} else if (controller_admin(c, cmd)) {
		cmd->state = COMMAND_PARKED;
		c->n_parked++;
	} else {
		command_reply(cmd, cmd->status);
	}
	return true;
}

/* Takes the command as far as it goes; false: it must wait. */
static bool advance(struct command *cmd)
{
	bool wants_data = cmd->direction == NVME_DIR_H2C && cmd->transfer.len && !cmd->transfer.in_capsule;

	if (wants_data && !cmd->received) {
		if (!place(cmd, BACKEND_WRITE))
			return false;
		cmd->state = COMMAND_H2C;
		cmd->send_r2t = true;
		conn_queue(cmd->conn, cmd);
		return true;
	}
	return cmd->ns ? run_io(cmd) : run_admin(cmd);
}

/* Commands that wait are served in order: who comes while others wait waits behind them. */
static void proceed(struct command *cmd)
{
	struct reactor *r = cmd->conn->reactor;

	if (advance(cmd))
		return;
	cmd->state = COMMAND_WAITING;
	cmd->next = NULL;
	*r->waiting_tail = cmd;
	r->waiting_tail = &cmd->next;
	stats_add(&r->no_buffer, 1);
}

bool command_retry(struct command *cmd)
{
	return advance(cmd);
}

void command_capsule(struct command *cmd, bool digest_ok)
{
	if (!cmd->status && !digest_ok)
		cmd->status = NVME_ST_TRANSIENT_TRANSPORT;
	if (cmd->status) {
		command_reply(cmd, cmd->status);
		return;
	}
	if (cmd->buffer && cmd->transfer.offset)
		memmove(cmd->buffer, (uint8_t *)cmd->buffer + cmd->transfer.offset, cmd->transfer.len);
	if (!cmd->transfer.in_capsule)
		cmd->received = 0; /* capsule data that its SGL does not mean were thrown away */
	proceed(cmd);
}

void command_h2c(struct command *cmd, bool digest_ok)
{
	if (!digest_ok)
		cmd->status = NVME_ST_TRANSIENT_TRANSPORT;
	if (cmd->received < cmd->transfer.len)
		return;
	/* The host may send no more of it, so the transfer has ended. */
	if (cmd->status)
		command_reply(cmd, cmd->status);
	else
		proceed(cmd);
}
