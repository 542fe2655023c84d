// SPDX-License-Identifier: Apache-2.0
/*
 * A command from capsule to answer: checks, place for its data, backend. Everything about a command is checked when its
 * header comes (command_begin), before any of its data: what is refused then has its data thrown away and is answered
 * when the capsule is whole. From then on nothing re-checks. Once their data are whole, I/O commands go to io_command.c,
 * admin and Fabrics commands to controller_admin.c.
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

static uint16_t check(struct conn *c, struct command *cmd, uint32_t capsule_len)
{
	uint16_t status = nvme_transfer_read(&cmd->sqe, capsule_len, BUFFER_MAX_LEN, &cmd->transfer);

	if (status)
		return status;
	if (c->state == CONN_CONNECT)
		return is_fabrics(cmd) ? NVME_ST_SUCCESS : NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	if (!conn_auth_passed(c->auth) && !is_fabrics(cmd))
		return NVME_ST_AUTH_REQUIRED | NVME_STATUS_DNR;
	/* What a host sends to the controller fits one small buffer in every command but Write. */
	if ((!c->qid || cmd->sqe.opcode != NVME_IO_WRITE) && cmd->direction == NVME_DIR_H2C &&
	    cmd->transfer.len > BUFFER_CAPSULE_LEN)
		return NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR;
	return c->qid && !is_fabrics(cmd) ? io_check(c, cmd) : NVME_ST_SUCCESS;
}

/* ---- place for data ---- */

/* Place for in-capsule data, which are right behind: false if there is none. */
static bool place_capsule(struct command *cmd, uint32_t capsule_len)
{
	bool whole = !cmd->transfer.offset && cmd->transfer.len == capsule_len;

	if (cmd->ns && cmd->sqe.opcode == NVME_IO_WRITE && whole && io_borrow(cmd, BACKEND_WRITE))
		return true;
	cmd->data = cmd->buffer = buf_take_capsule(&cmd->conn->reactor->pool);
	return cmd->buffer;
}

bool command_place(struct command *cmd, enum backend_op op)
{
	if (cmd->ns && (op == BACKEND_READ || cmd->sqe.opcode == NVME_IO_WRITE) && io_borrow(cmd, op))
		return true;
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

/* ---- stages ---- */

static bool run_admin(struct command *cmd)
{
	struct conn *c = cmd->conn;

	if (cmd->direction == NVME_DIR_C2H && cmd->transfer.len && !cmd->data) {
		if (!command_place(cmd, BACKEND_FLUSH))
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
		if (!command_place(cmd, BACKEND_WRITE))
			return false;
		cmd->state = COMMAND_H2C;
		cmd->send_r2t = true;
		conn_queue(cmd->conn, cmd);
		return true;
	}
	return cmd->ns ? io_run(cmd) : run_admin(cmd);
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
