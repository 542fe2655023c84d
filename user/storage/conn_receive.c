// SPDX-License-Identifier: Apache-2.0
/*
 * What comes in: receive buffers → PDU decoder → commands. The reactor calls conn_recv_done() for each piece. When a
 * PDU cannot be handled yet, the connection is blocked: the decoder stands behind the PDU's header, what follows is
 * kept in its receive buffers, and after a few of them the receive is cancelled, so that TCP slows the peer down.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

/* ---- PDUs ---- */

static void refuse(struct conn *c, uint16_t fes, uint32_t fei, const char *text)
{
	const struct pdu_error error = {.fes = fes, .fei = fei, .text = text};

	conn_fail(c, &error, &c->pdu.header, c->pdu.header.ch.hlen);
}

/* R2T number r2t of the command has been sent, and more data are to come for it. */
static bool r2t_is_open(const struct command *cmd, unsigned int r2t)
{
	return cmd->state == COMMAND_H2C && r2t < cmd->r2ts && cmd->r2ts - r2t <= CONN_R2TS_MAX &&
	       cmd->r2t_left[r2t % CONN_R2TS_MAX];
}

/*
 * The command that asked for these data, or NULL after refusing them (TCP Transport 1.0, section 3.3.1.4). The data of
 * one R2T come in order; of several R2Ts the host may answer any first.
 */
static struct command *h2c_command(struct conn *c)
{
	const struct pdu_data *h = &c->pdu.header.data;
	unsigned int index = le16toh(h->ttag) & ((1 << CONN_TAG_SHIFT) - 1), r2t = le16toh(h->ttag) >> CONN_TAG_SHIFT;
	struct command *cmd = index < c->n_commands ? conn_command(c, index) : NULL;
	uint32_t begin, left;

	if (!cmd || !r2t_is_open(cmd, r2t)) {
		refuse(c, FES_INVALID_HEADER, offsetof(struct pdu_data, ttag), "no R2T has this transfer tag");
		return NULL;
	}
	if (h->cccid != cmd->sqe.cid) {
		refuse(c, FES_INVALID_HEADER, offsetof(struct pdu_data, cccid), "the transfer is of another command");
		return NULL;
	}
	begin = r2t * c->reactor->target->transport.r2t;
	left = cmd->r2t_left[r2t % CONN_R2TS_MAX];
	c->rx_at = le32toh(h->offset);
	if (c->rx_at < begin || (uint64_t)c->rx_at + c->pdu.data_len > begin + command_r2t_len(cmd, r2t)) {
		refuse(c, FES_OUT_OF_RANGE, 0, "data outside what was asked for");
		return NULL;
	}
	if (c->rx_at != begin + command_r2t_len(cmd, r2t) - left) {
		refuse(c, FES_INVALID_HEADER, offsetof(struct pdu_data, offset), "data out of order");
		return NULL;
	}
	if (!(c->pdu.flags & PDU_F_LAST) != (c->pdu.data_len < left)) {
		refuse(c, FES_INVALID_HEADER, offsetof(struct pdu_ch, flags), "the LAST flag contradicts the lengths");
		return NULL;
	}
	return cmd;
}

/* A header has been decoded. false: it must wait. */
static bool pdu_begin(struct conn *c)
{
	c->rx_command = NULL;
	c->rx_at = 0;
	switch (c->pdu.type) {
	case PDU_CAPSULE_CMD:
		return command_begin(c);
	case PDU_H2C_DATA:
		c->rx_command = h2c_command(c);
		return true;
	default:
		return true;
	}
}

/* Digests are as the host asks, alignment as each receiver does, and of its R2Ts no more than it takes. */
static void icreq(struct conn *c)
{
	const struct policy_transport *transport = &c->reactor->target->transport;
	const struct pdu_icreq *req = &c->pdu.header.icreq;
	struct pdu_framing rx = {
		.hdgst = req->dgst & PDU_DGST_HEADER,
		.ddgst = req->dgst & PDU_DGST_DATA,
		.align = transport->alignment,
	};

	c->control_len = pdu_encode_icresp(c->control, transport->alignment / 4 - 1,
					   req->dgst & (PDU_DGST_HEADER | PDU_DGST_DATA), transport->max_h2c_data);
	c->tx_framing = rx;
	c->tx_framing.align = pdu_align(req->hpda);
	c->r2ts = min((uint64_t)le32toh(req->maxr2t) + 1, (uint64_t)transport->r2ts);
	/* Until Connect the rule of admin queues holds for all: 8192 bytes (TCP Transport 1.0, section 3.3.1.1). */
	pdu_decoder_ready(&c->decoder, &rx, BUFFER_CAPSULE_LEN, transport->max_h2c_data);
	conn_set_state(c, CONN_CONNECT);
	conn_mark(c);
}

/* The current PDU is whole. */
static void pdu_end(struct conn *c)
{
	bool digest_ok = pdu_digest_ok(&c->decoder);
	struct command *cmd = c->rx_command;

	c->rx_command = NULL;
	switch (c->pdu.type) {
	case PDU_ICREQ:
		icreq(c);
		return;
	case PDU_CAPSULE_CMD:
		command_capsule(cmd, digest_ok);
		return;
	case PDU_H2C_DATA:
		command_h2c(cmd, le16toh(c->pdu.header.data.ttag) >> CONN_TAG_SHIFT, c->pdu.data_len, digest_ok);
		return;
	case PDU_H2C_TERM_REQ:
		log_warn(c->name, "the host ends the connection: %s", pdu_fes_name(le16toh(c->pdu.header.term.fes)));
		conn_close(c, NULL);
		return;
	}
}

/* ---- the stream ---- */

static void take_data(struct conn *c, const uint8_t *in, size_t n)
{
	struct command *cmd = c->rx_command;

	if (cmd && cmd->data)
		pdu_data_copy(&c->decoder, cmd->data + c->rx_at, in, n);
	else
		pdu_data_take(&c->decoder, in, n);
	c->rx_at += n;
}

static void block(struct conn *c)
{
	c->pdu_pending = true;
	if (c->is_blocked)
		return;
	c->is_blocked = true;
	c->next_blocked = c->reactor->blocked;
	c->reactor->blocked = c;
}

size_t conn_stream(struct conn *c, const uint8_t *in, size_t len)
{
	struct pdu_decoder *d = &c->decoder;
	size_t pos = 0, n;

	while (pos < len && c->state < CONN_TERM) {
		if (pdu_data_left(d)) {
			n = min(len - pos, (size_t)pdu_data_left(d));
			take_data(c, in + pos, n);
			pos += n;
		} else if (pdu_digest_left(d)) {
			pos += pdu_digest_take(d, in + pos, len - pos);
		} else {
			enum pdu_result result = pdu_decode(d, in + pos, len - pos, &n, &c->pdu);

			if (result == PDU_MORE)
				return len;
			if (result == PDU_BAD) {
				const void *header = pdu_bad_header(d, &n);

				conn_fail(c, &d->error, header, n);
				return len;
			}
			pos += n;
			if (!pdu_begin(c)) {
				block(c);
				return pos;
			}
		}
		if (c->state < CONN_TERM && pdu_body_done(d))
			pdu_end(c);
	}
	/* From CONN_TERM on what comes is thrown away. */
	return c->state < CONN_TERM ? pos : len;
}

/* What arrived by the socket. */
static size_t arrive(struct conn *c, const uint8_t *in, size_t len)
{
	return c->channel == CONN_PLAIN ? conn_stream(c, in, len) : conn_tls_arrive(c, in, len);
}

/* ---- receive buffers ---- */

static void keep(struct conn *c, unsigned int id, uint32_t offset, uint32_t len)
{
	struct reactor *r = c->reactor;

	r->rx_kept[id].next = CONN_NO_BUFFER;
	r->rx_kept[id].offset = offset;
	r->rx_kept[id].len = len;
	if (c->kept_head == CONN_NO_BUFFER)
		c->kept_head = id;
	else
		r->rx_kept[c->kept_tail].next = id;
	c->kept_tail = id;
	r->rx_held++;
	/* Under a limit it may last: others need the buffers. */
	if (++c->n_kept >= (c->limits ? 1 : CONN_KEPT_MAX) && c->receiving && !c->cancelling) {
		c->cancelling = true;
		ring_cancel(&r->ring, (struct token){.op = REACTOR_OP_RECV, .slot = c->slot, .gen = c->gen});
	}
}

/* Gives the first kept buffer back. */
static void unkeep(struct conn *c)
{
	struct reactor *r = c->reactor;
	unsigned int id = c->kept_head;

	c->kept_head = r->rx_kept[id].next;
	c->n_kept--;
	r->rx_held--;
	ring_buffer_give(&r->rx, id);
}

void conn_drop_kept(struct conn *c)
{
	while (c->kept_head != CONN_NO_BUFFER)
		unkeep(c);
}

void conn_resume(struct conn *c)
{
	struct reactor *r = c->reactor;

	if (c->pdu_pending && c->state < CONN_TERM) {
		if (!pdu_begin(c)) {
			block(c);
			return;
		}
		c->pdu_pending = false;
		if (c->state < CONN_TERM && pdu_body_done(&c->decoder))
			pdu_end(c);
	}
	if (c->tls && !c->is_blocked)
		conn_tls_arrive(c, NULL, 0); /* what is decrypted already */
	while (c->kept_head != CONN_NO_BUFFER && !c->is_blocked) {
		unsigned int id = c->kept_head;
		uint32_t len = r->rx_kept[id].len;
		uint32_t n = arrive(c, (uint8_t *)ring_buffer_at(&r->rx, id) + r->rx_kept[id].offset, len);

		if (n < len) {
			r->rx_kept[id].offset += n;
			r->rx_kept[id].len -= n;
			break;
		}
		/* Closing drops what is kept. */
		if (c->kept_head == id)
			unkeep(c);
	}
	conn_mark(c);
}

void conn_recv_arm(struct conn *c)
{
	struct reactor *r = c->reactor;

	if (c->ended || r->rx_held == r->rx.count || c->n_kept)
		return; /* conn_tick() tries again */
	c->receiving = true;
	ring_recv(&r->ring, &c->file, &r->rx, (struct token){.op = REACTOR_OP_RECV, .slot = c->slot, .gen = c->gen});
}

static void receive(struct conn *c, unsigned int id, uint32_t len)
{
	struct reactor *r = c->reactor;
	size_t n;

	c->rx_ns = r->now_ns;
	if (c->is_blocked && c->state < CONN_TERM) {
		keep(c, id, 0, len);
		return;
	}
	n = arrive(c, ring_buffer_at(&r->rx, id), len);
	if (n < len)
		keep(c, id, n, len - n);
	else
		ring_buffer_give(&r->rx, id);
}

void conn_recv_done(struct conn *c, const struct ring_completion *done)
{
	if (!ring_more(done)) {
		c->receiving = c->cancelling = false;
		conn_mark(c);
	}
	if (done->flags & IORING_CQE_F_BUFFER && done->result > 0)
		receive(c, ring_buffer_id(done), done->result);
	else if (done->flags & IORING_CQE_F_BUFFER)
		ring_buffer_give(&c->reactor->rx, ring_buffer_id(done));
	/* All buffers are in use: conn_settle() arms it again when this turn has given some back. */
	if (done->result == -ENOBUFS)
		stats_add(&c->reactor->no_rx_buffer, 1);
	if (done->result > 0 || done->result == -ENOBUFS || done->result == -ECANCELED || done->result == -EINTR)
		return;
	/* A host that has only shut down its side still learns why it was refused. */
	if (!done->result && c->state == CONN_TERM && (c->control_len || c->batch.last)) {
		c->ended = true;
		return;
	}
	/* End of stream: what was kept before it is still to be worked off, but nobody is there for the answers. */
	conn_close(c, NULL);
}
