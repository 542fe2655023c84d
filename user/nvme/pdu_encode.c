// SPDX-License-Identifier: Apache-2.0
/*
 * Builds PDU headers: the mirror of pdu.c. Connections of the target and of the initiator call it
 * with a buffer of PDU_ENCODE_MAX bytes. What always holds: what leaves here is accepted by
 * pdu_decode() at the other end under the same framing (the fuzz harness checks it), and data start
 * right behind the returned length.
 */
#include <assert.h>
#include <string.h>

#include "nvme/pdu.h"
#include "nvme/pdu_layout.h"

static const struct pdu_framing plain = { .align = 4 };

/*
 * Common header, header digest and padding around a type-specific part that already stands in buf.
 */
static size_t seal(__u8 *buf, __u8 type, __u8 flags, const struct pdu_framing *framing,
		   __u32 data_len)
{
	const struct pdu_layout *layout = pdu_layout(type);
	size_t head = pdu_head_len(type, framing), start = head;
	struct pdu_ch ch = { .type = type, .flags = flags, .hlen = layout->hlen };
	__u32 plen = head;
	__le32 digest;

	if (data_len) {
		start = (head + framing->align - 1) / framing->align * framing->align;
		memset(buf + head, 0, start - head);
		ch.pdo = start;
		plen = start + data_len + (framing->ddgst ? PDU_DIGEST_LEN : 0);
		ch.flags |= framing->ddgst ? PDU_F_DDGST : 0;
	}
	if (head != layout->hlen)
		ch.flags |= PDU_F_HDGST;
	ch.plen = htole32(plen);
	memcpy(buf, &ch, sizeof(ch));
	if (head != layout->hlen) {
		digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, buf, layout->hlen));
		memcpy(buf + layout->hlen, &digest, sizeof(digest));
	}
	return start;
}

size_t pdu_encode_icreq(void *buf, __u8 hpda, __u8 dgst, __u32 maxr2t)
{
	struct pdu_icreq icreq = {
		.pfv = htole16(PDU_PFV_1_0),
		.hpda = hpda,
		.dgst = dgst,
		.maxr2t = htole32(maxr2t),
	};

	memcpy(buf, &icreq, sizeof(icreq));
	return seal(buf, PDU_ICREQ, 0, &plain, 0);
}

size_t pdu_encode_icresp(void *buf, __u8 cpda, __u8 dgst, __u32 maxh2cdata)
{
	struct pdu_icresp icresp = {
		.pfv = htole16(PDU_PFV_1_0),
		.cpda = cpda,
		.dgst = dgst,
		.maxh2cdata = htole32(maxh2cdata),
	};

	memcpy(buf, &icresp, sizeof(icresp));
	return seal(buf, PDU_ICRESP, 0, &plain, 0);
}

size_t pdu_encode_capsule_cmd(void *buf, const struct pdu_framing *framing,
			      const struct nvme_sqe *sqe, __u32 data_len)
{
	memcpy((__u8 *)buf + offsetof(struct pdu_capsule_cmd, sqe), sqe, sizeof(*sqe));
	return seal(buf, PDU_CAPSULE_CMD, 0, framing, data_len);
}

size_t pdu_encode_capsule_resp(void *buf, const struct pdu_framing *framing,
			       const struct nvme_cqe *cqe)
{
	memcpy((__u8 *)buf + offsetof(struct pdu_capsule_resp, cqe), cqe, sizeof(*cqe));
	return seal(buf, PDU_CAPSULE_RESP, 0, framing, 0);
}

static void range_put(void *buf, __le16 cccid, __u16 ttag, __u32 offset, __u32 len)
{
	struct pdu_data data = {
		.cccid = cccid,
		.ttag = htole16(ttag),
		.offset = htole32(offset),
		.len = htole32(len),
	};

	memcpy(buf, &data, sizeof(data));
}

size_t pdu_encode_h2c_data(void *buf, const struct pdu_framing *framing, __le16 cccid, __u16 ttag,
			   __u32 offset, __u32 len, __u8 flags)
{
	range_put(buf, cccid, ttag, offset, len);
	return seal(buf, PDU_H2C_DATA, flags & PDU_F_LAST, framing, len);
}

size_t pdu_encode_c2h_data(void *buf, const struct pdu_framing *framing, __le16 cccid, __u32 offset,
			   __u32 len, __u8 flags)
{
	range_put(buf, cccid, 0, offset, len);
	return seal(buf, PDU_C2H_DATA, flags & (PDU_F_LAST | PDU_F_SUCCESS), framing, len);
}

size_t pdu_encode_r2t(void *buf, const struct pdu_framing *framing, __le16 cccid, __u16 ttag,
		      __u32 offset, __u32 len)
{
	range_put(buf, cccid, ttag, offset, len);
	return seal(buf, PDU_R2T, 0, framing, 0);
}

size_t pdu_encode_term(void *buf, __u8 type, const struct pdu_error *error, const void *header,
		       size_t len)
{
	struct pdu_term term;
	size_t n = len;

	assert(type == PDU_H2C_TERM_REQ || type == PDU_C2H_TERM_REQ);
	if (n > PDU_TERM_LEN_MAX - sizeof(term))
		n = PDU_TERM_LEN_MAX - sizeof(term);
	term = (struct pdu_term){
		.ch = {
			.type = type,
			.hlen = sizeof(term),
			.plen = htole32(sizeof(term) + n),
		},
		.fes = htole16(error->fes),
		.fei = htole32(error->fei),
	};
	memcpy(buf, &term, sizeof(term));
	if (n)
		memcpy((__u8 *)buf + sizeof(term), header, n);
	return sizeof(term) + n;
}
