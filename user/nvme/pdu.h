/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe/TCP PDU codec: bytes in, validated PDUs out, and the reverse. Knows no descriptor and
 * allocates nothing. The target and the initiator share it; the role says which PDUs a decoder
 * expects.
 *
 * Receiving is a loop over whatever bytes have arrived, split anywhere:
 *
 *	while (len) {
 *		if (pdu_data_left(d)) {			// data of the current PDU
 *			size_t n = min(len, pdu_data_left(d));
 *			pdu_data_take(d, in, n);	// or pdu_data_copy()
 *		} else if (pdu_digest_left(d)) {	// its data digest
 *			size_t n = pdu_digest_take(d, in, len);
 *		} else switch (pdu_decode(d, in, len, &n, &pdu)) {
 *			PDU_DONE: the header stands validated in pdu;
 *			PDU_MORE: all of len was taken, and the header is not whole yet;
 *			PDU_BAD:  send pdu_encode_term() with d->error, close;
 *		}
 *		in += n, len -= n;
 *		if (pdu_body_done(d)) the PDU is complete, its data intact if pdu_digest_ok(d);
 *	}
 *
 * A whole header in one piece is decoded where it lies; one in pieces is gathered in the decoder.
 * Data are never buffered here, and may be received straight into their destination before
 * pdu_data_take().
 */
#ifndef SLUICE_NVME_PDU_H
#define SLUICE_NVME_PDU_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>

#include <sluice/nvme_tcp.h>

/* Which end decodes: a controller receives what hosts send, and the reverse. */
enum pdu_role {
	PDU_ROLE_HOST,
	PDU_ROLE_CONTROLLER,
};

/*
 * What ICReq and ICResp settled for one direction. All zero but align (4) before they are
 * exchanged.
 */
struct pdu_framing {
	bool	hdgst;		/* every PDU carries a header digest */
	bool	ddgst;		/* every PDU with data carries a data digest */
	__u8	align;		/* data starts at a multiple of this many bytes: 4, 8 .. 128 */
};

/* Alignment in bytes of the wire's 0-based dwords (HPDA, CPDA; at most PDU_PDA_MAX). */
static inline __u8 pdu_align(__u8 pda)
{
	return (pda + 1) * 4;
}

enum pdu_result {
	PDU_MORE,
	PDU_DONE,
	PDU_BAD,
};

/* Why a PDU was refused: what the TermReq says, and words for the log. */
struct pdu_error {
	__u16		fes;	/* enum pdu_fes; 0: no error */
	__u32		fei;	/* host order; meaning by fes */
	const char	*text;	/* static */
};

union pdu_header {
	struct pdu_ch		ch;
	struct pdu_icreq	icreq;
	struct pdu_icresp	icresp;
	struct pdu_term		term;
	struct pdu_capsule_cmd	cmd;
	struct pdu_capsule_resp	resp;
	struct pdu_data		data;	/* H2C_DATA, C2H_DATA, R2T */
};

/*
 * One validated header. Lengths agree with each other and with the negotiation; handlers do not
 * re-check them.
 */
struct pdu {
	__u8			type;		/* enum pdu_type */
	__u8			flags;		/* PDU_F_* */
	bool			ddgst;		/* a data digest follows the data */
	__u16			data_offset;	/* bytes before the data: header, digest, padding */
	__u32			data_len;	/* bytes of data, without padding and digest */
	__u32			total_len;	/* PLEN */
	union pdu_header	header;		/* wire order; only HLEN bytes of it are set */
};

/*
 * One direction of one connection. The owner may read `error` and change `framing`, `max_data` and
 * `expect_ic` between PDUs (pdu_decoder_ready() does it all); the rest is private.
 */
struct pdu_decoder {
	enum pdu_role		role;
	bool			expect_ic;	/* only ICReq / ICResp (or a TermReq) may come */
	struct pdu_framing	framing;	/* of what arrives here */
	__u32			max_in_capsule;	/* controller: most data bytes in a CAPSULE_CMD */
	__u32			max_data;	/* most data bytes in an H2C_DATA / C2H_DATA */
	struct pdu_error	error;		/* valid after PDU_BAD */

	/* private */
	__u32			data_left;
	__u8			digest_left;
	bool			digest_ok;
	__u32			crc;		/* running CRC32C of the data, not inverted */
	__u8			digest[PDU_DIGEST_LEN];
	__u16			have;		/* bytes in buf */
	__u8			buf[256];	/* a header in pieces, or the offending one */
};

/* Starts at ICReq / ICResp: no digests, no data PDUs allowed yet. */
void pdu_decoder_init(struct pdu_decoder *d, enum pdu_role role);

/*
 * From here on all other PDUs. `framing` is what the peer was told (controller: CPDA, digests of
 * the ICResp it sent; host: HPDA of its ICReq, digests of the ICResp it got). Byte limits:
 * max_in_capsule for CAPSULE_CMD (controller; 8192 on admin queues is customary), max_data for one
 * H2C_DATA (MAXH2CDATA) or C2H_DATA (0: only PLEN bounds it).
 */
void pdu_decoder_ready(struct pdu_decoder *d, const struct pdu_framing *framing,
		       __u32 max_in_capsule, __u32 max_data);

/*
 * Takes at most one PDU's header, with its digest and the padding up to the data. Call only between
 * PDUs (pdu_data_left() and pdu_digest_left() are 0). PDU_MORE: all of len was taken. PDU_DONE:
 * *ret_consumed bytes were taken and *ret_pdu is set; data and data digest follow. PDU_BAD:
 * d->error is set, the decoder is spent, outputs untouched. A wrong field is reported as soon as
 * the common header shows it, however the bytes arrive.
 */
enum pdu_result pdu_decode(struct pdu_decoder *d, const void *bytes, size_t len,
			   size_t *ret_consumed, struct pdu *ret_pdu);

/* Data bytes of the current PDU still to come. */
static inline __u32 pdu_data_left(const struct pdu_decoder *d)
{
	return d->data_left;
}

/* Accounts n <= pdu_data_left() data bytes, adding them to the running digest if there is one. */
void pdu_data_take(struct pdu_decoder *d, const void *bytes, size_t n);

/*
 * The same, and copies them to dst: in blocks, so that the digest reads what the cache still holds.
 */
void pdu_data_copy(struct pdu_decoder *d, void *dst, const void *bytes, size_t n);

/* Data digest bytes still to come, after the data. */
static inline __u8 pdu_digest_left(const struct pdu_decoder *d)
{
	return d->digest_left;
}

/* Takes up to pdu_digest_left() bytes of the data digest and returns how many. */
size_t pdu_digest_take(struct pdu_decoder *d, const void *bytes, size_t len);

/* Nothing of the current PDU is still to come, its data digest included. */
static inline bool pdu_body_done(const struct pdu_decoder *d)
{
	return !d->data_left && !d->digest_left;
}

/*
 * After pdu_body_done(): the data digest was right, or there was none. A wrong one is no fatal
 * error: a controller completes the command with NVME_ST_TRANSIENT_TRANSPORT (TCP Transport 1.0,
 * section 3.3.1.2).
 */
static inline bool pdu_digest_ok(const struct pdu_decoder *d)
{
	return d->digest_ok;
}

/*
 * After PDU_BAD: the header bytes that go into the TermReq, valid until the decoder is initialised
 * again.
 */
const void *pdu_bad_header(const struct pdu_decoder *d, size_t *ret_len);

/* ---- encoding ---- */

/*
 * Room that every pdu_encode_*() may need: the longest header with digest and padding, or a
 * TermReq.
 */
#define PDU_ENCODE_MAX	256

/*
 * Each builds one header at buf (PDU_ENCODE_MAX bytes), with its digest and, if data follow, zero
 * padding, and returns its length: data start exactly there. `framing` is of what is sent. The
 * caller sends data_len bytes of data behind it and, if pdu_has_ddgst(), the 4 bytes of
 * pdu_ddgst_final().
 */
size_t pdu_encode_icreq(void *buf, __u8 hpda, __u8 dgst, __u32 maxr2t);
size_t pdu_encode_icresp(void *buf, __u8 cpda, __u8 dgst, __u32 maxh2cdata);
size_t pdu_encode_capsule_cmd(void *buf, const struct pdu_framing *framing,
			      const struct nvme_sqe *sqe, __u32 data_len);
size_t pdu_encode_capsule_resp(void *buf, const struct pdu_framing *framing,
			       const struct nvme_cqe *cqe);
/*
 * cccid as in the SQE (wire order); ttag, offset, len in host order; flags PDU_F_LAST and
 * PDU_F_SUCCESS only.
 */
size_t pdu_encode_h2c_data(void *buf, const struct pdu_framing *framing, __le16 cccid, __u16 ttag,
			   __u32 offset, __u32 len, __u8 flags);
size_t pdu_encode_c2h_data(void *buf, const struct pdu_framing *framing, __le16 cccid, __u32 offset,
			   __u32 len, __u8 flags);
size_t pdu_encode_r2t(void *buf, const struct pdu_framing *framing, __le16 cccid, __u16 ttag,
		      __u32 offset, __u32 len);
/*
 * type PDU_H2C_TERM_REQ or PDU_C2H_TERM_REQ; whole PDU, with at most 128 bytes of the offending
 * header.
 */
size_t pdu_encode_term(void *buf, __u8 type, const struct pdu_error *error, const void *header,
		       size_t len);

/* Whether data of this length are followed by a digest. */
static inline bool pdu_has_ddgst(const struct pdu_framing *framing, __u32 data_len)
{
	return framing->ddgst && data_len;
}

/* Data digest in steps: start with PDU_CRC_INIT, update over each piece, final is ready to send. */
#define PDU_CRC_INIT	0xffffffffU
__u32 pdu_crc_update(__u32 crc, const void *bytes, size_t len);
static inline __le32 pdu_ddgst_final(__u32 crc)
{
	return htole32(~crc);
}

/* Both for logs; never NULL. */
const char *pdu_type_name(__u8 type);
const char *pdu_fes_name(__u16 fes);

#endif /* SLUICE_NVME_PDU_H */
