// SPDX-License-Identifier: Apache-2.0
/*
 * What an initiator's queue receives. One receive is under way; it goes to a staging buffer and is decoded from there,
 * or, in the middle of long data, straight into the command's buffer with a short tail behind it. The codec
 * has checked that a header agrees with itself; here it is checked against the command that it names. Whatever does not
 * fit ends the connection with a TermReq and a sentence.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/initiator_private.h"

int rx_open(struct initiator_queue *q)
{
	pdu_decoder_init(&q->rx.decoder, PDU_ROLE_HOST);
	q->rx.slot = SLOT_NONE;
	q->rx.stage = aligned_alloc(4096, RX_STAGE);
	return q->rx.stage ? 0 : -ENOMEM;
}

void rx_close(struct initiator_queue *q)
{
	free(q->rx.stage);
}

/* Where the next data byte of the PDU under way belongs; NULL if nowhere. */
static uint8_t *data_destination(const struct initiator_queue *q)
{
	const struct slot *s;

	if (q->rx.slot == SLOT_NONE)
		return NULL;
	s = &q->slots[q->rx.slot];
	return (uint8_t *)s->io->data + s->received;
}

void rx_arm(struct initiator_queue *q)
{
	struct rx *rx = &q->rx;
	uint8_t *destination = data_destination(q);
	struct io_uring_sqe *sqe;

	if (rx->busy || q->connecting || q->state == QUEUE_DEAD)
		return;
	rx->place =
		destination && !q->tls && pdu_data_left(&rx->decoder) >= RX_PLACE_MIN ? pdu_data_left(&rx->decoder) : 0;
	sqe = ring_sqe(&q->ring);
	if (rx->place) {
		rx->iov[0] = (struct iovec){.iov_base = destination, .iov_len = rx->place};
		rx->iov[1] = (struct iovec){.iov_base = rx->stage, .iov_len = RX_TAIL};
		rx->msg = (struct msghdr){.msg_iov = rx->iov, .msg_iovlen = 2};
		io_uring_prep_recvmsg(sqe, ring_file_fd(&q->file), &rx->msg, 0);
	} else {
		io_uring_prep_recv(sqe, ring_file_fd(&q->file), rx->stage, RX_STAGE, 0);
	}
	/* Unless the last receive left something behind, trying at once is in vain. */
	if (!rx->more)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	ring_file_flag(sqe, &q->file);
	ring_push(sqe, (struct token){.op = OP_RECV});
	rx->busy = true;
}

/* ---- refusing ---- */

static int refuse(struct initiator_queue *q, enum pdu_fes fes, uint32_t fei, const char *text)
{
	const struct pdu_error error = {.fes = fes, .fei = fei, .text = text};
	const struct pdu_ch *ch = &q->rx.pdu.header.ch;

	tx_term(q, &error, ch, ch->hlen);
	return queue_fail(q, EPROTO, "the target sent a wrong %s: %s; the connection ends", pdu_type_name(ch->type),
			  text);
}

static int refuse_undecoded(struct initiator_queue *q)
{
	const struct pdu_error *error = &q->rx.decoder.error;
	size_t len;
	const void *header = pdu_bad_header(&q->rx.decoder, &len);

	tx_term(q, error, header, len);
	return queue_fail(q, EPROTO, "the target sent a PDU that cannot be read: %s; %s", error->text,
			  q->state == QUEUE_CONNECTING ? "is this an NVMe/TCP portal?" : "the connection ends");
}

/* ---- headers, one function a type ---- */

/* The outstanding command that the PDU names, SLOT_NONE if there is none. */
static uint16_t find_slot(const struct initiator_queue *q, __le16 cid)
{
	uint16_t slot = le16toh(cid) & ((1 << SLOT_BITS) - 1);

	if (slot >= q->depth || !q->slots[slot].io || q->slots[slot].responded || slot_cid(q, slot) != cid)
		return SLOT_NONE;
	return slot;
}

static enum nvme_direction io_direction(const struct initiator_io *io)
{
	return io->len ? nvme_direction(&io->sqe) : NVME_DIR_NONE;
}

static int handle_icresp(struct initiator_queue *q, const struct pdu *pdu)
{
	const struct pdu_icresp *icresp = &pdu->header.icresp;
	uint8_t asked = (q->options.header_digest ? PDU_DGST_HEADER : 0) | (q->options.data_digest ? PDU_DGST_DATA : 0);
	struct pdu_framing in;

	if (icresp->dgst & ~asked)
		return refuse(q, FES_INVALID_HEADER, offsetof(struct pdu_icresp, dgst),
			      "it switches digests on that were not asked for");
	in = (struct pdu_framing){
		.hdgst = icresp->dgst & PDU_DGST_HEADER,
		.ddgst = icresp->dgst & PDU_DGST_DATA,
		.align = pdu_align(q->options.hpda),
	};
	q->framing_out = in;
	q->framing_out.align = pdu_align(icresp->cpda);
	q->max_h2c = le32toh(icresp->maxh2cdata);
	pdu_decoder_ready(&q->rx.decoder, &in, 0, 0);
	q->state = QUEUE_READY;
	return 0;
}

static int handle_term(struct initiator_queue *q, const struct pdu *pdu)
{
	uint16_t fes = le16toh(pdu->header.term.fes);
	uint32_t fei;

	memcpy(&fei, &pdu->header.term.fei, sizeof(fei));
	fei = le32toh(fei);
	if (fes == FES_INVALID_HEADER || fes == FES_UNSUPPORTED)
		return queue_fail(q, ECONNABORTED,
				  "the target ended the connection (C2HTermReq): %s, byte %" PRIu32
				  " of what was sent to it",
				  pdu_fes_name(fes), fei);
	return queue_fail(q, ECONNABORTED, "the target ended the connection (C2HTermReq): %s", pdu_fes_name(fes));
}

static int handle_response(struct initiator_queue *q, const struct pdu *pdu)
{
	uint16_t slot = find_slot(q, pdu->header.resp.cqe.cid);

	if (slot == SLOT_NONE)
		return refuse(q, FES_INVALID_HEADER, offsetof(struct pdu_capsule_resp, cqe.cid),
			      "no outstanding command has this identifier");
	q->slots[slot].cqe = pdu->header.resp.cqe;
	q->slots[slot].responded = true;
	queue_finish(q, slot);
	return 0;
}

static int handle_c2h_data(struct initiator_queue *q, const struct pdu *pdu)
{
	uint16_t slot = find_slot(q, pdu->header.data.cccid);
	uint32_t offset = le32toh(pdu->header.data.offset);
	struct slot *s;

	if (slot == SLOT_NONE)
		return refuse(q, FES_INVALID_HEADER, offsetof(struct pdu_data, cccid),
			      "no outstanding command has this identifier");
	s = &q->slots[slot];
	if (io_direction(s->io) != NVME_DIR_C2H)
		return refuse(q, FES_SEQUENCE, 0, "the command takes no data from the target");
	if (offset != s->received)
		return refuse(q, FES_INVALID_HEADER, offsetof(struct pdu_data, offset), "data out of order");
	if (pdu->data_len > s->io->len - s->received)
		return refuse(q, FES_OUT_OF_RANGE, 0, "data beyond the end of the command's buffer");
	q->rx.slot = slot;
	return 0;
}

static int handle_r2t(struct initiator_queue *q, const struct pdu *pdu)
{
	const struct pdu_data *r2t = &pdu->header.data;
	uint32_t offset = le32toh(r2t->offset), len = le32toh(r2t->len);
	uint16_t slot = find_slot(q, r2t->cccid);
	struct slot *s;

	if (slot == SLOT_NONE)
		return refuse(q, FES_INVALID_HEADER, offsetof(struct pdu_data, cccid),
			      "no outstanding command has this identifier");
	s = &q->slots[slot];
	if (io_direction(s->io) != NVME_DIR_H2C || s->io->sqe.sgl.id == NVME_SGL_IN_CAPSULE)
		return refuse(q, FES_SEQUENCE, 0, "the command has no data to ask for");
	if (offset != s->requested)
		return refuse(q, FES_INVALID_HEADER, offsetof(struct pdu_data, offset),
			      "it asks for data out of order");
	if (!len || len > s->io->len - offset)
		return refuse(q, FES_OUT_OF_RANGE, 0, "it asks for data beyond the end of the command's buffer");
	if (s->r2ts == R2T_MAX)
		return refuse(q, FES_LIMIT, 0, "more R2Ts than ICReq allowed");
	s->r2ts++;
	s->requested += len;
	tx_put(q, (struct tx_item){.slot = slot, .ttag = le16toh(r2t->ttag), .offset = offset, .len = len});
	return 0;
}

static int handle_header(struct initiator_queue *q)
{
	const struct pdu *pdu = &q->rx.pdu;

	q->info.pdus_in++;
	q->rx.open = true;
	q->rx.slot = SLOT_NONE;
	switch (pdu->type) {
	case PDU_ICRESP:
		return handle_icresp(q, pdu);
	case PDU_CAPSULE_RESP:
		return handle_response(q, pdu);
	case PDU_C2H_DATA:
		return handle_c2h_data(q, pdu);
	case PDU_R2T:
		return handle_r2t(q, pdu);
	default: /* the codec lets only C2HTermReq through besides */
		return handle_term(q, pdu);
	}
}

/* ---- bodies ---- */

static void take_data(struct initiator_queue *q, const uint8_t *in, uint32_t n)
{
	uint8_t *destination = data_destination(q);

	if (!destination) {
		pdu_data_take(&q->rx.decoder, in, n);
		return;
	}
	if (destination == in) {
		pdu_data_take(&q->rx.decoder, in, n);
		q->info.bytes_placed += n;
	} else {
		pdu_data_copy(&q->rx.decoder, destination, in, n);
		q->info.bytes_copied += n;
	}
	q->slots[q->rx.slot].received += n;
}

/* The PDU under way is complete. */
static void end_pdu(struct initiator_queue *q)
{
	uint16_t slot = q->rx.slot;
	struct slot *s;

	q->rx.open = false;
	q->rx.slot = SLOT_NONE;
	if (slot == SLOT_NONE)
		return;
	s = &q->slots[slot];
	if (!pdu_digest_ok(&q->rx.decoder))
		s->digest_bad = true;
	if (!(q->rx.pdu.flags & PDU_F_SUCCESS))
		return;
	s->cqe = nvme_cqe_make(slot_cid(q, slot), UINT16_MAX, NVME_ST_SUCCESS, 0);
	s->responded = true;
	queue_finish(q, slot);
}

/* Everything that has arrived; fails the queue at the first wrong byte. */
static void consume(struct initiator_queue *q, const uint8_t *in, size_t len)
{
	struct pdu_decoder *d = &q->rx.decoder;
	size_t n = 0;

	while (len && q->state != QUEUE_DEAD) {
		if (pdu_data_left(d)) {
			n = min(len, (size_t)pdu_data_left(d));
			take_data(q, in, (uint32_t)n);
		} else if (pdu_digest_left(d)) {
			n = pdu_digest_take(d, in, len);
		} else {
			switch (pdu_decode(d, in, len, &n, &q->rx.pdu)) {
			case PDU_MORE:
				return;
			case PDU_BAD:
				refuse_undecoded(q);
				return;
			case PDU_DONE:
				if (handle_header(q))
					return;
			}
		}
		in += n;
		len -= n;
		if (q->rx.open && pdu_body_done(d))
			end_pdu(q);
	}
}

/* Records as they arrived. */
static void consume_tls(struct initiator_queue *q, const uint8_t *in, size_t len)
{
	bool was_ready = tls_ready(q->tls);
	enum tls_result result = TLS_DATA;
	const uint8_t *plain;
	size_t used, n;

	while (result == TLS_DATA && q->state != QUEUE_DEAD) {
		result = tls_receive(q->tls, in, len, &used, &plain, &n);
		in += used;
		len -= used;
		if (result == TLS_DATA)
			consume(q, plain, n);
	}
	if (q->state == QUEUE_DEAD)
		return;
	if (result == TLS_END)
		queue_fail(q, ECONNRESET, "the target closed the connection");
	else if (result == TLS_BAD)
		queue_fail(q, EACCES,
			   "TLS: %s; is the key (--psk) the one that the target has for this host and this subsystem?",
			   tls_fault(q->tls));
	else if (!was_ready && tls_ready(q->tls))
		q->icreq_due = true; /* tx_pump() sends it, and what else there is */
}

static void ended(struct initiator_queue *q, int result)
{
	if (result)
		queue_fail(q, -result, "the connection broke: %s", strerror(-result));
	else if (q->state == QUEUE_CONNECTING && !q->tls)
		queue_fail(q, ECONNRESET,
			   "the target closed the connection before it said anything; does its portal require TLS "
			   "(--psk)?");
	else
		queue_fail(q, ECONNRESET, "the target closed the connection");
}

void rx_complete(struct initiator_queue *q, const struct ring_completion *c)
{
	size_t placed, n = c->result > 0 ? (size_t)c->result : 0;

	q->rx.busy = false;
	q->rx.more = c->flags & IORING_CQE_F_SOCK_NONEMPTY;
	if (q->state == QUEUE_DEAD || c->result == -EINTR || c->result == -EAGAIN)
		return;
	if (!n) {
		ended(q, c->result);
		return;
	}
	if (q->tls) {
		consume_tls(q, q->rx.stage, n);
		return;
	}
	placed = min(n, (size_t)q->rx.place);
	if (placed)
		consume(q, data_destination(q), placed);
	consume(q, q->rx.stage, n - placed);
}
