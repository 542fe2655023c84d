// SPDX-License-Identifier: Apache-2.0
/*
 * What goes out: answers and R2Ts of a turn, gathered to one sendmsg. Headers are copied to the batch's arena, data are
 * sent from where they lie, so a command keeps its buffer until its batch is out. One batch is under way at a time;
 * what is answered meanwhile waits on the send list. A peer that reads nothing holds one batch and its own commands, no
 * more.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

void conn_queue(struct conn *c, struct command *cmd)
{
	cmd->next = NULL;
	*c->tx_tail = cmd;
	c->tx_tail = &cmd->next;
	conn_mark(c);
}

/* ---- building a batch ---- */

/* Room for one more PDU: its header as the encoder may build it, and header, data, digest as vectors. */
static bool batch_has_room(const struct conn_batch *b)
{
	return b->used + PDU_ENCODE_MAX + PDU_DIGEST_LEN <= CONN_BATCH_ARENA && b->n_iov + 3 <= CONN_BATCH_IOV;
}

static void batch_add(struct conn_batch *b, const void *data, size_t len)
{
	struct iovec *last = b->n_iov ? &b->iov[b->n_iov - 1] : NULL;

	/* Headers that follow one another in the arena are one vector. */
	if (last && (uint8_t *)last->iov_base + last->iov_len == data)
		last->iov_len += len;
	else
		b->iov[b->n_iov++] = (struct iovec){.iov_base = (void *)data, .iov_len = len};
	b->bytes += len;
}

static uint8_t *batch_arena(struct conn_batch *b)
{
	return b->arena + b->used;
}

/* The header that an encoder has just written at batch_arena(). */
static void batch_add_header(struct conn_batch *b, size_t len)
{
	batch_add(b, batch_arena(b), len);
	b->used += len;
}

static void add_data(struct conn *c, const uint8_t *data, uint32_t len)
{
	struct conn_batch *b = &c->batch;
	__le32 digest;

	batch_add(b, data, len);
	if (!pdu_has_ddgst(&c->tx_framing, len))
		return;
	digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, len));
	memcpy(batch_arena(b), &digest, sizeof(digest));
	batch_add_header(b, sizeof(digest));
}

static void account(struct conn *c, const struct command *cmd)
{
	static const uint8_t kinds[256] = {
		[NVME_IO_READ] = IO_READ, [NVME_IO_WRITE] = IO_WRITE,	      [NVME_IO_FLUSH] = IO_FLUSH,
		[NVME_IO_DSM] = IO_DSM,	  [NVME_IO_WRITE_ZEROES] = IO_ZEROES,
	};
	uint64_t latency = c->reactor->now_ns - cmd->start_ns;
	enum io_kind kind = c->qid ? kinds[cmd->sqe.opcode] : IO_OTHER;
	struct io_stats *stats[2] = {&c->queue->stats, NULL};
	unsigned int i;

	if (cmd->ns)
		stats[1] = &c->reactor->namespaces[cmd->ns->index].stats;
	for (i = 0; i < 2 && stats[i]; i++) {
		stats_add(&stats[i]->commands[kind], 1);
		if (cmd->status)
			stats_add(&stats[i]->errors, 1);
		else if (kind == IO_READ)
			stats_add(&stats[i]->read_bytes, cmd->extent.len);
		else if (kind == IO_WRITE)
			stats_add(&stats[i]->written_bytes, cmd->extent.len);
		histogram_add(&stats[i]->latency, latency);
	}
}

static void add_response(struct conn *c, struct command *cmd)
{
	struct conn_batch *b = &c->batch;
	struct nvme_cqe cqe = nvme_cqe_make(cmd->sqe.cid, c->sq_flow ? c->sqhd : UINT16_MAX, cmd->status, cmd->result);

	batch_add_header(b, pdu_encode_capsule_resp(batch_arena(b), &c->tx_framing, &cqe));
}

/* The command's data, a C2HData at a time. false: the batch is full. *ret_success: the last one said it all. */
static bool add_reply_data(struct conn *c, struct command *cmd, bool *ret_success)
{
	struct conn_batch *b = &c->batch;
	uint32_t len = cmd->status || cmd->direction != NVME_DIR_C2H ? 0 : cmd->transfer.len;

	*ret_success = false;
	while (cmd->sent < len) {
		uint32_t piece = min(len - cmd->sent, CONN_C2H_MAX);
		bool last = cmd->sent + piece == len;
		/* A response says more than success only by SQHD and result (TCP Transport 1.0, section 3.3.2.1). */
		bool success = last && !c->sq_flow && !cmd->result;
		size_t n;

		if (!batch_has_room(b) || (b->bytes && b->bytes + piece > c->batch_bytes))
			return false;
		n = pdu_encode_c2h_data(batch_arena(b), &c->tx_framing, cmd->sqe.cid, cmd->sent, piece,
					(last ? PDU_F_LAST : 0) | (success ? PDU_F_SUCCESS : 0));
		batch_add_header(b, n);
		add_data(c, cmd->data + cmd->sent, piece);
		cmd->sent += piece;
		*ret_success = success;
	}
	return true;
}

/* As many R2Ts of the command as may be outstanding; false: they do not all fit. */
static bool add_r2ts(struct conn *c, struct command *cmd)
{
	struct conn_batch *b = &c->batch;
	size_t n;

	while (command_wants_r2t(cmd)) {
		if (!batch_has_room(b))
			return false;
		n = pdu_encode_r2t(batch_arena(b), &c->tx_framing, cmd->sqe.cid,
				   cmd->index | cmd->r2ts << CONN_TAG_SHIFT,
				   cmd->r2ts * c->reactor->target->transport.r2t, command_r2t_len(cmd, cmd->r2ts));
		batch_add_header(b, n);
		cmd->r2t_left[cmd->r2ts % CONN_R2TS_MAX] = command_r2t_len(cmd, cmd->r2ts);
		cmd->r2ts++;
		cmd->r2ts_open++;
	}
	cmd->send_r2t = false;
	return true;
}

/* What SMART counts: blocks that cannot be read or written. That data differ (Compare) is no fault of theirs. */
static bool is_media_error(uint16_t status)
{
	status &= NVME_STATUS_CODE;
	return (status & NVME_STATUS_SCT) == NVME_STATUS_SCT_MEDIA && status != NVME_ST_COMPARE_FAILED &&
	       status != NVME_ST_ACCESS_DENIED;
}

/* The log says more than the response does. */
static void note_error(struct controller *ctrl, struct command *cmd)
{
	uint64_t *media = ctrl->subsystem ? (uint64_t *)&ctrl->subsystem->media_errors : NULL;

	if (media && is_media_error(cmd->status))
		__atomic_fetch_add(media, 1, __ATOMIC_RELAXED);
	if (error_log_add(&ctrl->errors, cmd))
		cmd->status |= NVME_STATUS_MORE;
}

/* One command of the send list; false: it does not fit whole. */
static bool add_command(struct conn *c, struct command *cmd)
{
	struct conn_batch *b = &c->batch;
	bool success;

	if (!batch_has_room(b))
		return false;
	if (cmd->send_r2t && cmd->status && !cmd->r2ts_open)
		command_abandon(cmd); /* it failed before its first R2T went out */
	if (cmd->send_r2t)
		return add_r2ts(c, cmd);
	if (!cmd->replied) {
		if (!add_reply_data(c, cmd, &success))
			return false;
		if (cmd->status && c->controller)
			note_error(c->controller, cmd);
		cmd->replied = true; /* all data are in; only the response may be missing */
		command_answered(cmd);
		if (c->sq_flow)
			c->sqhd = (c->sqhd + 1) % c->entries;
		account(c, cmd);
		if (success)
			return true;
	}
	if (!batch_has_room(b))
		return false;
	add_response(c, cmd);
	return true;
}

static void build(struct conn *c)
{
	struct conn_batch *b = &c->batch;
	struct command *cmd;

	b->n_iov = b->used = b->bytes = 0;
	b->done = NULL;
	if (c->control_len) {
		memcpy(b->arena, c->control, c->control_len);
		batch_add_header(b, c->control_len);
		c->control_len = 0;
		b->last = c->state == CONN_TERM;
	}
	while (c->state < CONN_TERM && (cmd = c->tx)) {
		if (!add_command(c, cmd))
			break;
		c->tx = cmd->next;
		if (!c->tx)
			c->tx_tail = &c->tx;
		if (!cmd->replied) /* R2Ts */
			continue;
		cmd->next = b->done;
		b->done = cmd;
	}
}

/* ---- sending ---- */

static void submit(struct conn *c)
{
	struct conn_batch *b = &c->batch;
	struct io_uring_sqe *sqe = ring_sqe(&c->reactor->ring);

	io_uring_prep_sendmsg(sqe, ring_file_fd(&c->file), &b->msg, MSG_NOSIGNAL | MSG_WAITALL);
	ring_file_flag(sqe, &c->file);
	ring_push(sqe, conn_token(c, REACTOR_OP_SEND));
	c->sending = true;
}

void conn_flush(struct conn *c)
{
	struct conn_batch *b = &c->batch;

	if (c->sending)
		return;
	build(c);
	if (c->tls && !conn_tls_seal(c))
		return;
	if (!b->bytes)
		return;
	b->msg = (struct msghdr){.msg_iov = b->iov, .msg_iovlen = b->n_iov};
	c->send_ns = c->reactor->now_ns;
	submit(c);
}

/* Moves the vectors past what was sent. */
static void batch_advance(struct conn_batch *b, size_t sent)
{
	b->bytes -= sent;
	while (sent) {
		struct iovec *v = b->msg.msg_iov;
		size_t n = min(sent, v->iov_len);

		v->iov_base = (uint8_t *)v->iov_base + n;
		v->iov_len -= n;
		sent -= n;
		if (!v->iov_len) {
			b->msg.msg_iov++;
			b->msg.msg_iovlen--;
		}
	}
}

static void batch_done(struct conn *c)
{
	struct command *cmd, *next;

	for (cmd = c->batch.done; cmd; cmd = next) {
		next = cmd->next;
		command_free(cmd);
	}
	c->batch.done = NULL;
	if (!c->batch.last || c->state != CONN_TERM)
		return;
	if (c->ended) {
		conn_close(c, NULL);
	} else {
		conn_set_state(c, CONN_LINGER);
		shutdown(c->fd, SHUT_WR);
	}
}

void conn_send_done(struct conn *c, int32_t result)
{
	c->sending = false;
	conn_mark(c);
	if (c->state == CONN_CLOSING)
		return;
	if (result < 0 && result != -EINTR && result != -EAGAIN) {
		conn_close(c, result == -EPIPE || result == -ECONNRESET ? NULL : strerror(-result));
		return;
	}
	if (result > 0)
		batch_advance(&c->batch, result);
	if (c->batch.bytes)
		submit(c);
	else
		batch_done(c);
}
