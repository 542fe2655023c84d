// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes the PDU decoder. The first bytes of an input choose role, digests, alignment and the sizes
 * of the pieces; the rest is a stream of PDUs. It is decoded whole and in pieces, each in an
 * allocation of its own so that AddressSanitizer sees a byte read too many. Aborts when the two
 * disagree, or when a decoded PDU does not survive encoding and decoding again.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/pdu.h"

#define STREAM_MAX	65536
#define OPTION_LEN	4

#define CHECK(condition)								\
	do {										\
		if (!(condition)) {							\
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);	\
			abort();							\
		}									\
	} while (0)

struct options {
	enum pdu_role		role;
	bool			ready;		/* past ICReq and ICResp */
	bool			repair;		/* make digests right, to get behind them */
	struct pdu_framing	framing;
	__u32			seed;		/* of piece sizes */
};

/* Everything that a decoding said, independent of how data were cut. */
struct trace {
	__u64	hash;
	__u64	pdus;
	__u64	data;
	__u16	fes;
	__u32	fei;
};

static void trace_bytes(struct trace *t, const void *bytes, size_t len)
{
	const __u8 *at = bytes;

	for (size_t i = 0; i < len; i++)
		t->hash = (t->hash ^ at[i]) * 0x100000001b3ULL;
}

static struct options options_read(const __u8 *bytes)
{
	return (struct options){
		.role = bytes[0] & 1 ? PDU_ROLE_CONTROLLER : PDU_ROLE_HOST,
		.ready = bytes[0] & 2,
		.repair = bytes[0] & 4,
		.framing = {
			.hdgst = bytes[0] & 8,
			.ddgst = bytes[0] & 16,
			.align = pdu_align(bytes[1] & PDU_PDA_MAX),
		},
		.seed = bytes[2] | bytes[3] << 8,
	};
}

static void digest_put(__u8 *at, const __u8 *bytes, size_t len)
{
	__le32 digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, bytes, len));

	memcpy(at, &digest, sizeof(digest));
}

/* Walks the stream by PLEN and writes the digests that the flags promise. */
static void stream_repair(__u8 *stream, size_t len)
{
	size_t at = 0;

	while (len - at >= sizeof(struct pdu_ch)) {
		struct pdu_ch ch;
		__u32 plen;

		memcpy(&ch, stream + at, sizeof(ch));
		plen = le32toh(ch.plen);
		if (plen < sizeof(ch) || plen > len - at)
			break;
		if (ch.flags & PDU_F_DDGST && plen >= (__u32)ch.pdo + PDU_DIGEST_LEN)
			digest_put(stream + at + plen - PDU_DIGEST_LEN, stream + at + ch.pdo,
				   plen - ch.pdo - PDU_DIGEST_LEN);
		if (ch.flags & PDU_F_HDGST && plen >= (__u32)ch.hlen + PDU_DIGEST_LEN)
			digest_put(stream + at + ch.hlen, stream + at, ch.hlen);
		at += plen;
	}
}

static size_t encode_again(__u8 *buf, const struct pdu *pdu, const struct pdu_framing *framing)
{
	const union pdu_header *h = &pdu->header;
	struct pdu_error error = { 0 };

	switch (pdu->type) {
	case PDU_ICREQ:
		return pdu_encode_icreq(buf, h->icreq.hpda, h->icreq.dgst,
					le32toh(h->icreq.maxr2t));
	case PDU_ICRESP:
		return pdu_encode_icresp(buf, h->icresp.cpda, h->icresp.dgst,
					 le32toh(h->icresp.maxh2cdata));
	case PDU_CAPSULE_CMD:
		return pdu_encode_capsule_cmd(buf, framing, &h->cmd.sqe, pdu->data_len);
	case PDU_CAPSULE_RESP:
		return pdu_encode_capsule_resp(buf, framing, &h->resp.cqe);
	case PDU_H2C_DATA:
		return pdu_encode_h2c_data(buf, framing, h->data.cccid, le16toh(h->data.ttag),
					   le32toh(h->data.offset), le32toh(h->data.len),
					   pdu->flags);
	case PDU_C2H_DATA:
		return pdu_encode_c2h_data(buf, framing, h->data.cccid, le32toh(h->data.offset),
					   le32toh(h->data.len), pdu->flags);
	case PDU_R2T:
		return pdu_encode_r2t(buf, framing, h->data.cccid, le16toh(h->data.ttag),
				      le32toh(h->data.offset), le32toh(h->data.len));
	default:
		error.fes = le16toh(h->term.fes);
		error.fei = le32toh(h->term.fei);
		/* What a TermReq quotes is data here; any bytes of that length will do. */
		return pdu_encode_term(buf, pdu->type, &error, buf + 160, pdu->data_len);
	}
}

/* What must survive of the type-specific part: all but fields that are reserved. */
static size_t meaning(const struct pdu *pdu, const __u8 **ret_bytes)
{
	*ret_bytes = (const __u8 *)&pdu->header + sizeof(struct pdu_ch);
	switch (pdu->type) {
	case PDU_ICREQ:
	case PDU_ICRESP:
		return 8;
	case PDU_CAPSULE_CMD:
		return sizeof(struct nvme_sqe);
	case PDU_CAPSULE_RESP:
		return sizeof(struct nvme_cqe);
	case PDU_C2H_DATA:
		*ret_bytes += 4;
		return 8;
	case PDU_H2C_DATA:
	case PDU_R2T:
		return 12;
	default:
		return 6;
	}
}

static void round_trip(const struct options *o, const struct pdu *pdu)
{
	bool ic = pdu->type == PDU_ICREQ || pdu->type == PDU_ICRESP;
	struct pdu_framing framing = o->framing;
	const __u8 *before, *after;
	struct pdu_decoder d;
	struct pdu again;
	__u8 buf[PDU_ENCODE_MAX + 128] = { 0 };
	size_t len, taken;

	len = encode_again(buf, pdu, &framing);
	pdu_decoder_init(&d, o->role);
	if (!ic)
		pdu_decoder_ready(&d, &framing, ~0U, 0);
	CHECK(pdu_decode(&d, buf, len, &taken, &again) == PDU_DONE);
	CHECK(again.type == pdu->type);
	CHECK(again.data_len == pdu->data_len);
	CHECK(again.ddgst == pdu->ddgst);
	CHECK(taken == again.data_offset);
	len = meaning(pdu, &before);
	CHECK(meaning(&again, &after) == len);
	CHECK(!memcmp(before, after, len));
}

/* One allocation per piece; false when the stream was refused. */
static bool piece_decode(struct pdu_decoder *d, const struct options *o, const __u8 *in, size_t len,
			 struct trace *t)
{
	__u8 sink[4096];
	struct pdu pdu;
	bool ended = false;

	while (len) {
		size_t n = len;

		if (pdu_data_left(d)) {
			n = n < pdu_data_left(d) ? n : pdu_data_left(d);
			n = n < sizeof(sink) ? n : sizeof(sink);
			pdu_data_copy(d, sink, in, n);
			CHECK(!memcmp(sink, in, n));
			trace_bytes(t, sink, n);
			t->data += n;
			ended = pdu_body_done(d);
		} else if (pdu_digest_left(d)) {
			n = pdu_digest_take(d, in, n);
			CHECK(n);
			ended = pdu_body_done(d);
		} else switch (pdu_decode(d, in, n, &n, &pdu)) {
		case PDU_BAD:
			CHECK(d->error.fes && d->error.text);
			pdu_bad_header(d, &n);
			CHECK(n >= 8 && n <= 128);
			t->fes = d->error.fes;
			t->fei = d->error.fei;
			return false;
		case PDU_MORE:
			CHECK(n == len);
			break;
		case PDU_DONE:
			CHECK(n && n <= len);
			CHECK(pdu.total_len ==
			      pdu.data_offset + pdu.data_len + (pdu.ddgst ? 4 : 0));
			trace_bytes(t, &pdu.header, pdu.header.ch.hlen);
			t->pdus++;
			round_trip(o, &pdu);
			ended = pdu_body_done(d);
			break;
		}
		if (ended) {
			__u8 ok = pdu_digest_ok(d);

			trace_bytes(t, &ok, 1);
			ended = false;
		}
		in += n;
		len -= n;
	}
	return true;
}

static struct trace stream_decode(const struct options *o, const __u8 *stream, size_t len,
				  __u32 seed)
{
	struct trace t = { .hash = 0xcbf29ce484222325ULL };
	struct pdu_decoder d;
	bool alive = true;
	size_t at = 0;

	pdu_decoder_init(&d, o->role);
	if (o->ready)
		pdu_decoder_ready(&d, &o->framing, 8192, 131072);
	while (alive && at < len) {
		size_t n = len - at;
		__u8 *piece;

		if (seed) {
			seed = seed * 1103515245 + 12345;
			n = 1 + (seed >> 16) % ((seed >> 8) & 1 ? 3 : 97);
			n = n < len - at ? n : len - at;
		}
		piece = malloc(n);
		CHECK(piece);
		memcpy(piece, stream + at, n);
		alive = piece_decode(&d, o, piece, n, &t);
		free(piece);
		at += n;
	}
	return t;
}

int LLVMFuzzerTestOneInput(const __u8 *bytes, size_t len);

int LLVMFuzzerTestOneInput(const __u8 *bytes, size_t len)
{
	struct options o;
	struct trace whole, cut;
	__u8 *stream;

	if (len < OPTION_LEN || len > STREAM_MAX)
		return 0;
	o = options_read(bytes);
	len -= OPTION_LEN;
	stream = malloc(len + 1);
	CHECK(stream);
	memcpy(stream, bytes + OPTION_LEN, len);
	if (o.repair)
		stream_repair(stream, len);
	whole = stream_decode(&o, stream, len, 0);
	cut = stream_decode(&o, stream, len, o.seed | 1);
	CHECK(whole.hash == cut.hash);
	CHECK(whole.pdus == cut.pdus);
	CHECK(whole.data == cut.data);
	CHECK(whole.fes == cut.fes && whole.fei == cut.fei);
	free(stream);
	return 0;
}
