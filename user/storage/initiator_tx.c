// SPDX-License-Identifier: Apache-2.0
/*
 * What an initiator's queue sends. Commands and the answers to R2Ts wait in one ring of items, in order; tx_pump()
 * turns as many as fit into one sendmsg of header pieces (from an arena) and data pieces (the callers' own buffers). At
 * most one send is under way, so the byte stream keeps its order.
 *
 * A send is first tried without blocking and without a completion: if the submission brings none, it went out whole,
 * which is the common case and saves a wake-up. What did not fit is sent again with a completion.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "storage/initiator_private.h"

int tx_open(struct initiator_queue *q)
{
	struct tx *tx = &q->tx;
	uint32_t n = 1;

	while (n < q->depth * (1 + R2T_MAX))
		n <<= 1;
	tx->n_items = n;
	tx->items = calloc(n, sizeof(*tx->items));
	tx->sent = calloc(n, sizeof(*tx->sent));
	tx->arena = malloc(TX_ARENA);
	return tx->items && tx->sent && tx->arena ? 0 : -ENOMEM;
}

void tx_close(struct initiator_queue *q)
{
	free(q->tx.items);
	free(q->tx.sent);
	free(q->tx.arena);
}

void tx_put(struct initiator_queue *q, struct tx_item item)
{
	q->tx.items[q->tx.tail++ & (q->tx.n_items - 1)] = item;
	q->slots[item.slot].tx_refs++;
}

/* ---- building one send ---- */

static bool has_room(const struct tx *tx)
{
	return tx->n_iov + 3 <= TX_IOV && tx->arena_used + PDU_ENCODE_MAX + PDU_DIGEST_LEN <= TX_ARENA &&
	       tx->data_bytes < TX_BATCH_DATA;
}

static void add_piece(struct tx *tx, void *base, size_t len)
{
	struct iovec *last = tx->n_iov ? &tx->iov[tx->n_iov - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == base)
		last->iov_len += len;
	else
		tx->iov[tx->n_iov++] = (struct iovec){.iov_base = base, .iov_len = len};
}

static void add_header(struct tx *tx, size_t len)
{
	add_piece(tx, tx->arena + tx->arena_used, len);
	tx->arena_used += len;
}

static void add_data(struct initiator_queue *q, void *data, uint32_t len)
{
	struct tx *tx = &q->tx;
	__le32 digest;

	add_piece(tx, data, len);
	tx->data_bytes += len;
	if (!pdu_has_ddgst(&q->framing_out, len))
		return;
	digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, len));
	memcpy(tx->arena + tx->arena_used, &digest, sizeof(digest));
	add_header(tx, sizeof(digest));
}

static void encode_capsule(struct initiator_queue *q, const struct tx_item *item)
{
	struct initiator_io *io = q->slots[item->slot].io;
	uint32_t len = io->sqe.sgl.id == NVME_SGL_IN_CAPSULE ? io->len : 0;

	add_header(&q->tx, pdu_encode_capsule_cmd(q->tx.arena + q->tx.arena_used, &q->framing_out, &io->sqe, len));
	if (len)
		add_data(q, io->data, len);
}

/* One H2C_DATA of what is left of an R2T; advances the item. */
static void encode_h2c(struct initiator_queue *q, struct tx_item *item)
{
	struct initiator_io *io = q->slots[item->slot].io;
	uint32_t len = min(item->len, q->max_h2c);

	add_header(&q->tx, pdu_encode_h2c_data(q->tx.arena + q->tx.arena_used, &q->framing_out, io->sqe.cid, item->ttag,
					       item->offset, len, len == item->len ? PDU_F_LAST : 0));
	add_data(q, (uint8_t *)io->data + item->offset, len);
	item->offset += len;
	item->len -= len;
}

static void encode_item(struct initiator_queue *q, struct tx_item *item)
{
	if (item->len)
		encode_h2c(q, item);
	else
		encode_capsule(q, item);
	q->info.pdus_out++;
	if (item->len)
		return;
	q->tx.sent[q->tx.n_sent++] = item->slot;
	q->tx.head++;
}

/* ---- sending ---- */

static void send_pieces(struct initiator_queue *q, bool blocking)
{
	const int flags = MSG_NOSIGNAL | MSG_WAITALL;
	struct io_uring_sqe *sqe = ring_sqe(&q->ring);
	struct tx *tx = &q->tx;

	tx->busy = true;
	tx->blocking = blocking;
	tx->msg.msg_iov = tx->iov + tx->iov_at;
	tx->msg.msg_iovlen = tx->n_iov - tx->iov_at;
	if (tx->msg.msg_iovlen == 1)
		io_uring_prep_send(sqe, ring_file_fd(&q->file), tx->msg.msg_iov->iov_base, tx->msg.msg_iov->iov_len,
				   flags | (blocking ? 0 : MSG_DONTWAIT));
	else
		io_uring_prep_sendmsg(sqe, ring_file_fd(&q->file), &tx->msg,
				      (unsigned int)(flags | (blocking ? 0 : MSG_DONTWAIT)));
	ring_file_flag(sqe, &q->file);
	if (!blocking)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	ring_push(sqe, (struct token){.op = OP_SEND});
}

/* What is gathered becomes records; they are what is sent. */
static int seal(struct initiator_queue *q)
{
	struct tx *tx = &q->tx;

	if (tx->n_iov && tls_send(q->tls, tx->iov, tx->n_iov))
		return queue_fail(q, EIO, "TLS: %s", tls_fault(q->tls));
	tx->n_iov = tls_output(q->tls, &tx->iov[0]);
	tx->iov_at = 0;
	return 0;
}

void tx_tls(struct initiator_queue *q)
{
	struct tx *tx = &q->tx;

	if (tx->busy || tx->broken || q->state == QUEUE_DEAD)
		return;
	tx->n_iov = tx->iov_at = tx->n_sent = 0;
	tx->arena_used = tx->data_bytes = 0;
	if (!seal(q) && tx->n_iov)
		send_pieces(q, false);
}

void tx_pump(struct initiator_queue *q)
{
	struct tx *tx = &q->tx;

	if (tx->busy || tx->broken)
		return;
	if (tx->head == tx->tail || q->state != QUEUE_READY) {
		if (q->icreq_due)
			tx_icreq(q);
		else if (q->tls && !q->connecting)
			tx_tls(q);
		return;
	}
	tx->n_iov = tx->iov_at = tx->n_sent = 0;
	tx->arena_used = tx->data_bytes = 0;
	while (tx->head != tx->tail && has_room(tx))
		encode_item(q, &tx->items[tx->head & (tx->n_items - 1)]);
	if (!q->tls || !seal(q))
		send_pieces(q, false);
}

/* All of the send has left: what it carried is the callers' again, once answered. */
static void sent(struct initiator_queue *q)
{
	struct tx *tx = &q->tx;
	unsigned int n = tx->n_sent;

	tx->busy = false;
	tx->n_sent = 0;
	for (unsigned int i = 0; i < n; i++) {
		struct slot *s = &q->slots[tx->sent[i]];

		s->tx_refs--;
		if (s->r2ts)
			s->r2ts--;
		if (s->responded)
			queue_finish(q, tx->sent[i]);
	}
}

static bool completion_waits(struct ring *r, uint8_t op)
{
	struct io_uring_cqe *cqe;
	unsigned int head;

	io_uring_for_each_cqe(&r->uring, head, cqe)
	{
		if (token_decode(cqe->user_data).op == op)
			return true;
	}
	return false;
}

void tx_submitted(struct initiator_queue *q)
{
	if (q->tx.busy && !q->tx.blocking && !ring_queued(&q->ring) && !completion_waits(&q->ring, OP_SEND))
		sent(q);
}

static void advance(struct tx *tx, size_t n)
{
	while (tx->iov_at < tx->n_iov && n >= tx->iov[tx->iov_at].iov_len)
		n -= tx->iov[tx->iov_at++].iov_len;
	if (n) {
		tx->iov[tx->iov_at].iov_base = (uint8_t *)tx->iov[tx->iov_at].iov_base + n;
		tx->iov[tx->iov_at].iov_len -= n;
	}
}

void tx_complete(struct initiator_queue *q, int result)
{
	struct tx *tx = &q->tx;

	tx->busy = false;
	if (q->state == QUEUE_DEAD)
		return;
	if (result < 0 && result != -EAGAIN && result != -EINTR) {
		/*
		 * The peer has gone. Why may stand in what it sent before: nothing more is sent, and the receive, which
		 * gets a TermReq, an end or an error, has the last word; the command timeout bounds it.
		 */
		tx->broken = true;
		return;
	}
	if (result > 0)
		advance(tx, (size_t)result);
	if (tx->iov_at < tx->n_iov)
		send_pieces(q, true);
	else
		sent(q);
}

/* ---- outside the flow of items ---- */

void tx_icreq(struct initiator_queue *q)
{
	uint8_t dgst = (q->options.header_digest ? PDU_DGST_HEADER : 0) | (q->options.data_digest ? PDU_DGST_DATA : 0);

	q->icreq_due = false;
	q->tx.n_iov = q->tx.iov_at = q->tx.n_sent = 0;
	q->tx.arena_used = 0;
	add_header(&q->tx, pdu_encode_icreq(q->tx.arena, q->options.hpda, dgst, R2T_MAX - 1));
	if (!q->tls || !seal(q))
		send_pieces(q, false);
}

void tx_term(struct initiator_queue *q, const struct pdu_error *error, const void *header, size_t len)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct iovec piece = {.iov_base = buf};

	if (q->tx.busy)
		return; /* in the middle of a PDU a TermReq would be taken for its data */
	piece.iov_len = pdu_encode_term(buf, PDU_H2C_TERM_REQ, error, header, len);
	if (q->tls && (tls_send(q->tls, &piece, 1) || !tls_output(q->tls, &piece)))
		return;
	if (send(q->fd, piece.iov_base, piece.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return; /* the connection ends anyway; the caller reports why */
}
