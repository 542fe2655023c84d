// SPDX-License-Identifier: Apache-2.0
/*
 * What comes in: receive buffers → PDU decoder → commands. The reactor calls conn_recv_done() for each piece. When a
 * PDU cannot be handled yet, the connection is blocked: the decoder stands behind the PDU's header, what follows is
 * copied out of the receive buffers, which are for all, and after a few of them the receive is cancelled, so that TCP
 * slows the peer down. A connection under limits, where being blocked may last, receives one buffer at a time.
 *
 * What always holds at the end of a turn: a connection that may receive has a receive with the kernel, or is on
 * reactor.blocked; and who keeps something is blocked. Those blocked are tried again each turn, and what they wait for
 * brings a turn: a free command, the end of a send; a buffer, an answer to whoever has it; a turn under a limit, its
 * time (limits.wake_ns). A receive that ends, for whatever reason, marks its connection, and conn_settle() begins
 * another. conn_watch.c looks after all that.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
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
	conn_note(c);
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
				stats_add(&c->reactor->blockings, 1);
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

/* ---- what is kept ---- */

/* Pieces of the stream that cannot be worked off yet, in their order. */
struct kept {
	struct kept *next;
	uint32_t offset, len; /* what is left of it */
	uint8_t data[];
};

static void stop_receiving(struct conn *c)
{
	if (!c->receiving || c->cancelling)
		return;
	c->cancelling = true;
	ring_cancel(&c->reactor->ring, conn_token(c, REACTOR_OP_RECV));
}

/* One piece anybody may have; more of them only while there is room for all, and these count. */
static bool may_keep(const struct conn *c, uint32_t len)
{
	return !c->kept || c->reactor->kept_bytes + len <= c->reactor->target->options.kept_max;
}

static void keep(struct conn *c, const uint8_t *in, uint32_t len)
{
	struct kept *k = may_keep(c, len) ? malloc(sizeof(*k) + len) : NULL;

	if (!k) {
		conn_reset(c, "it cannot go on, and there is no memory for all it sends");
		return;
	}
	*k = (struct kept){.len = len};
	memcpy(k->data, in, len);
	if (c->kept)
		c->reactor->kept_bytes += len;
	*c->kept_tail = k;
	c->kept_tail = &k->next;
	if (++c->n_kept < CONN_KEPT_MAX)
		return;
	/* What comes at once when it has gone on may be as much again. */
	c->receives_singly = true;
	stop_receiving(c);
}

static void unkeep(struct conn *c)
{
	struct kept *k = c->kept;

	c->kept = k->next;
	if (c->kept)
		c->reactor->kept_bytes -= c->kept->len; /* it is the first now */
	else
		c->kept_tail = &c->kept;
	c->n_kept--;
	free(k);
}

void conn_drop_kept(struct conn *c)
{
	while (c->kept)
		unkeep(c);
}

void conn_resume(struct conn *c)
{
	struct kept *k;
	uint32_t n;

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
	while ((k = c->kept) && !c->is_blocked) {
		n = arrive(c, k->data + k->offset, k->len);
		/* Closing drops what is kept. */
		if (c->kept != k)
			break;
		k->offset += n;
		k->len -= n;
		if (!k->len)
			unkeep(c);
	}
	conn_mark(c);
}

/* ---- receives ---- */

void conn_recv_arm(struct conn *c)
{
	struct reactor *r = c->reactor;

	if (c->ended)
		return;
	c->receiving = true;
	if (c->limits || c->receives_singly)
		ring_recv_once(&r->ring, &c->file, &r->rx, conn_token(c, REACTOR_OP_RECV));
	else
		ring_recv(&r->ring, &c->file, &r->rx, conn_token(c, REACTOR_OP_RECV));
}

void conn_recv_again(struct conn *c)
{
	stop_receiving(c);
}

static void receive(struct conn *c, const uint8_t *in, uint32_t len)
{
	size_t n = 0;

	c->rx_ns = c->reactor->now_ns;
	if (!c->is_blocked || c->state >= CONN_TERM)
		n = arrive(c, in, len);
	if (n < len && c->state < CONN_TERM)
		keep(c, in + n, len - n);
}

void conn_recv_done(struct conn *c, const struct ring_completion *done)
{
	if (!ring_more(done)) {
		c->receiving = c->cancelling = false;
		conn_mark(c);
	}
	if (done->flags & IORING_CQE_F_BUFFER) {
		struct ring_buffers *rx = &c->reactor->rx;

		if (done->result > 0)
			receive(c, ring_buffer_at(rx, ring_buffer_id(done)), done->result);
		ring_buffer_give(rx, ring_buffer_id(done));
	}
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
