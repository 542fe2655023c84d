// SPDX-License-Identifier: Apache-2.0
/*
 * A command from capsule to answer: checks, place for its data, backend. Everything about a command is checked when its
 * header comes (command_begin), before any of its data: what is refused then has its data thrown away and is answered
 * when the capsule is whole. From then on nothing re-checks. Once their data are whole, I/O commands go to
 * io_command.c, admin and Fabrics commands to controller_admin.c.
 *
 * What a command needs may be short for a moment: a data buffer or an I/O slot. Then it waits on the reactor's list and
 * conn_retry() takes it up where it stood, which is what its state says. One that is over a limit waits before all that,
 * in limit_turns.c.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

/* ---- answers ---- */

/* Its buffer goes back to the pool. */
static void give_buffer(struct command *cmd)
{
	struct conn *c = cmd->conn;

	if (cmd->held)
		c->held -= buf_size(&c->reactor->pool, cmd->buffer);
	buf_give(&c->reactor->pool, cmd->buffer);
	cmd->buffer = NULL;
	cmd->held = false;
}

void command_reply(struct command *cmd, uint16_t status)
{
	cmd->status = status;
	cmd->state = COMMAND_REPLY;
	/* What came from the host is of no more use; others may wait for the place. */
	if (cmd->direction != NVME_DIR_C2H)
		give_buffer(cmd);
	conn_queue(cmd->conn, cmd);
}

void command_answered(struct command *cmd)
{
	uint16_t cid = le16toh(cmd->sqe.cid);

	cmd->conn->n_open--;
	if (cmd->owns_cid)
		cmd->conn->cids[cid / 64] &= ~(1ull << cid % 64);
	cmd->owns_cid = false;
}

void command_drop(struct command *cmd)
{
	give_buffer(cmd);
	buf_give(&cmd->conn->reactor->pool, cmd->scratch);
	cmd->scratch = NULL;
	fused_forget(cmd);
}

void command_free(struct command *cmd)
{
	struct conn *c = cmd->conn;

	command_drop(cmd);
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

/* The command's identifier becomes one of an open command; false: it is already. */
static bool claim_cid(struct conn *c, struct command *cmd)
{
	uint16_t cid = le16toh(cmd->sqe.cid);
	uint64_t *word = &c->cids[cid / 64], bit = 1ull << cid % 64;

	cmd->owns_cid = !(*word & bit);
	*word |= bit;
	return cmd->owns_cid;
}

/* Whether its data are blocks, up to MDTS. */
static bool moves_blocks(const struct command *cmd)
{
	return cmd->conn->qid && (cmd->sqe.opcode == NVME_IO_WRITE || cmd->sqe.opcode == NVME_IO_COMPARE);
}

static uint16_t check(struct conn *c, struct command *cmd, uint32_t capsule_len)
{
	uint16_t status = nvme_transfer_read(&cmd->sqe, capsule_len, BUFFER_MAX_LEN, &cmd->transfer);

	if (!claim_cid(c, cmd))
		return NVME_ST_CID_CONFLICT | NVME_STATUS_DNR;
	if (status)
		return status;
	if (c->state == CONN_CONNECT)
		return is_fabrics(cmd) ? NVME_ST_SUCCESS : NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	if (!conn_auth_passed(c->auth) && !is_fabrics(cmd))
		return NVME_ST_AUTH_REQUIRED | NVME_STATUS_DNR;
	if (!c->qid && nvme_fuse(&cmd->sqe))
		return NVME_ST_INVALID_FIELD | NVME_STATUS_DNR;
	/* What a host sends to the controller fits one small buffer in every command but Write and Compare. */
	if (!moves_blocks(cmd) && cmd->direction == NVME_DIR_H2C && cmd->transfer.len > BUFFER_CAPSULE_LEN)
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

/* A buffer for transfer.len bytes. One connection has at most a quarter of the pool: others must live beside it. */
static bool take_buffer(struct command *cmd)
{
	struct conn *c = cmd->conn;
	struct buffer_pool *pool = &c->reactor->pool;

	if (c->held > pool->len / 4)
		return false;
	cmd->data = cmd->buffer = buf_take(pool, cmd->transfer.len);
	if (!cmd->buffer)
		return false;
	c->held += buf_size(pool, cmd->buffer);
	cmd->held = true;
	return true;
}

bool command_place(struct command *cmd, enum backend_op op)
{
	if (cmd->ns && (op == BACKEND_READ || cmd->sqe.opcode == NVME_IO_WRITE) && io_borrow(cmd, op))
		return true;
	return take_buffer(cmd);
}

/* ---- the capsule ---- */

static struct command *take(struct conn *c)
{
	struct command *cmd = c->free;
	uint16_t index = cmd->index;

	c->free = cmd->next;
	c->n_busy++;
	c->n_open++;
	memset(cmd, 0, sizeof(*cmd));
	cmd->conn = c;
	cmd->index = index;
	cmd->start_ns = c->reactor->now_ns;
	return cmd;
}

static bool put_off(struct conn *c, enum conn_receive why)
{
	c->blocked_by = why;
	return false;
}

bool command_begin(struct conn *c)
{
	const struct pdu *pdu = &c->pdu;
	struct command *cmd;

	if (c->reactor->stopping)
		return put_off(c, CONN_STOPS);
	if (c->n_open >= c->entries) {
		conn_close(c, "more commands than the queue has entries");
		return false;
	}
	if (c->limits && pdu->data_len && limits_full(c))
		return put_off(c, CONN_WAITS_TURN);
	if (!c->free)
		return put_off(c, CONN_WAITS_COMMAND);
	cmd = take(c);
	cmd->sqe = pdu->header.cmd.sqe;
	cmd->state = COMMAND_CAPSULE;
	cmd->direction = nvme_direction(&cmd->sqe);
	cmd->status = check(c, cmd, pdu->data_len);
	if (c->qid)
		fused_begin(c, cmd);
	if (!cmd->status && pdu->data_len && cmd->transfer.in_capsule && !place_capsule(cmd, pdu->data_len)) {
		command_answered(cmd); /* it will come again */
		fused_undo(c, cmd);
		command_free(cmd);
		return put_off(c, CONN_WAITS_CAPSULE);
	}
	c->rx_command = cmd;
	return true;
}

/* ---- asking for data ---- */

uint32_t command_r2t_len(const struct command *cmd, unsigned int r2t)
{
	uint32_t each = cmd->conn->reactor->target->transport.r2t;

	return min(each, cmd->transfer.len - r2t * each);
}

bool command_wants_r2t(const struct command *cmd)
{
	const struct conn *c = cmd->conn;

	return !cmd->status && cmd->r2ts * c->reactor->target->transport.r2t < cmd->transfer.len &&
	       cmd->r2ts_open < c->r2ts && !cmd->r2t_left[cmd->r2ts % CONN_R2TS_MAX];
}

static void ask(struct command *cmd)
{
	cmd->send_r2t = true;
	conn_queue(cmd->conn, cmd);
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
		/* An event request, if it is not an Abort on its way. */
		if (cmd->state != COMMAND_ABORTING) {
			cmd->state = COMMAND_PARKED;
			c->n_parked++;
		}
	} else {
		command_reply(cmd, cmd->status);
	}
	return true;
}

static void refuse(struct command *cmd)
{
	if (cmd->fuse)
		fused_refused(cmd);
	command_reply(cmd, cmd->status);
}

/* Takes the command as far as it goes. */
static bool advance(struct command *cmd)
{
	bool wants_data = cmd->direction == NVME_DIR_H2C && cmd->transfer.len && !cmd->transfer.in_capsule;

	if (cmd->status) { /* its other half has failed meanwhile, or its namespace has gone */
		refuse(cmd);
		return true;
	}
	if (cmd->conn->limits && !limits_admit(cmd))
		return true; /* it comes again when it is its turn */
	if (wants_data && !cmd->received) {
		if (!command_place(cmd, BACKEND_WRITE))
			return false;
		cmd->state = COMMAND_H2C;
		cmd->conn->n_h2c++;
		ask(cmd);
		return true;
	}
	if (cmd->fuse)
		return fused_run(cmd);
	return cmd->ns ? io_run(cmd) : run_admin(cmd);
}

static void wait_first(struct conn *c, struct command *cmd)
{
	cmd->next = c->waiting;
	c->waiting = cmd;
	if (!cmd->next)
		c->waiting_tail = &cmd->next;
}

static void wait_last(struct conn *c, struct command *cmd)
{
	cmd->next = NULL;
	*c->waiting_tail = cmd;
	c->waiting_tail = &cmd->next;
}

/*
 * Commands of a connection that wait are served in order: who comes while others wait waits behind them. But one that
 * has its data goes ahead of all that have not: they may be waiting for its buffer.
 */
void command_proceed(struct command *cmd)
{
	struct conn *c = cmd->conn;
	struct reactor *r = c->reactor;

	if ((cmd->data || !c->waiting) && advance(cmd))
		return;
	cmd->state = COMMAND_WAITING;
	if (cmd->data)
		wait_first(c, cmd);
	else
		wait_last(c, cmd);
	stats_add(&r->no_buffer, 1);
	if (c->is_waiting)
		return;
	c->is_waiting = true;
	c->next_waiting = NULL;
	*r->waiting_tail = c;
	r->waiting_tail = &c->next_waiting;
}

bool conn_retry(struct conn *c)
{
	struct command *cmd = c->waiting;

	if (!cmd) /* all were aborted */
		return true;
	/* Off the list first: advance() puts it on another. */
	c->waiting = cmd->next;
	if (!c->waiting)
		c->waiting_tail = &c->waiting;
	if (advance(cmd))
		return true;
	wait_first(c, cmd);
	return false;
}

void command_capsule(struct command *cmd, bool digest_ok)
{
	if (!cmd->status && !digest_ok)
		cmd->status = NVME_ST_TRANSIENT_TRANSPORT;
	if (cmd->status) {
		refuse(cmd);
		return;
	}
	if (cmd->buffer && cmd->transfer.offset)
		memmove(cmd->buffer, (uint8_t *)cmd->buffer + cmd->transfer.offset, cmd->transfer.len);
	command_proceed(cmd);
}

/* All that was asked for is there, and nothing more will be asked for. */
static bool h2c_done(const struct command *cmd)
{
	return cmd->received == cmd->transfer.len || (cmd->status && !cmd->r2ts_open);
}

static void h2c_end(struct command *cmd)
{
	cmd->state = COMMAND_WAITING;
	cmd->conn->n_h2c--;
	if (!cmd->status) {
		command_proceed(cmd);
		return;
	}
	if (cmd->fuse)
		fused_refused(cmd);
	if (!cmd->send_r2t) {
		command_reply(cmd, cmd->status);
		return;
	}
	/* It stands on the send list for an R2T that is not to be sent any more: the place is its answer's. */
	cmd->send_r2t = false;
	cmd->state = COMMAND_REPLY;
	give_buffer(cmd);
}

void command_abandon(struct command *cmd)
{
	h2c_end(cmd);
}

void command_fail(struct command *cmd, uint16_t status)
{
	cmd->status = status;
	if (cmd->state == COMMAND_LIMITED) {
		limits_withdraw(cmd);
		refuse(cmd);
	} else if (cmd->state == COMMAND_FUSED) {
		refuse(cmd);
	} else if (cmd->state == COMMAND_H2C && h2c_done(cmd)) {
		h2c_end(cmd);
	}
	/* Else when its capsule or its data are whole, or when its turn comes. */
}

void command_h2c(struct command *cmd, unsigned int r2t, uint32_t len, bool digest_ok)
{
	uint32_t *left = &cmd->r2t_left[r2t % CONN_R2TS_MAX];

	if (!digest_ok)
		cmd->status = NVME_ST_TRANSIENT_TRANSPORT;
	cmd->received += len;
	*left -= len;
	if (!*left)
		cmd->r2ts_open--;
	if (!h2c_done(cmd)) {
		if (!cmd->send_r2t && command_wants_r2t(cmd))
			ask(cmd);
		return;
	}
	h2c_end(cmd);
}
