// SPDX-License-Identifier: Apache-2.0
/*
 * The NVMe/TCP PDU decoder and the CRC32C that it and the encoder (pdu_encode.c) share. Connections
 * of the target and of the initiator call it with whatever bytes arrived. What always holds: a
 * struct pdu that leaves pdu_decode() has lengths that agree with each other, with the negotiated
 * framing and with the limits; what is refused, and with which FES and FEI, does not depend on how
 * the bytes were cut (TCP Transport 1.0, section 3.6; the FES of each case stands beside its
 * check).
 *
 * Checks run in two steps. The common header alone decides how many header bytes follow, so it is
 * checked as soon as its 8 bytes are there; the rest, header digest first, when the header is
 * whole. Reserved fields are not checked: the specification asks receivers not to.
 */
#include "nvme/pdu.h"

#include <assert.h>
#include <isa-l/crc.h>
#include <string.h>

#include "nvme/pdu_layout.h"

/* crc32_iscsi() counts in int. */
#define CRC_PIECE	(1U << 30)

/*
 * Copying and digesting in turns: one block of source and destination stay in a 32 KiB first-level
 * cache.
 */
#define COPY_BLOCK	8192

/* FEI of a field of the common header. */
#define CH(field)	offsetof(struct pdu_ch, field)

const struct pdu_layout pdu_layouts[PDU_LAYOUTS] = {
	[PDU_ICREQ]		= { "ICReq", 128, PDU_ROLE_HOST, LAYOUT_IC },
	[PDU_ICRESP]		= { "ICResp", 128, PDU_ROLE_CONTROLLER, LAYOUT_IC },
	[PDU_H2C_TERM_REQ]	= { "H2CTermReq", 24, PDU_ROLE_HOST, LAYOUT_TERM },
	[PDU_C2H_TERM_REQ]	= { "C2HTermReq", 24, PDU_ROLE_CONTROLLER, LAYOUT_TERM },
	[PDU_CAPSULE_CMD]	= { "CapsuleCmd", 72, PDU_ROLE_HOST, LAYOUT_MAYBE_DATA },
	[PDU_CAPSULE_RESP]	= { "CapsuleResp", 24, PDU_ROLE_CONTROLLER, LAYOUT_BARE },
	[PDU_H2C_DATA]		= { "H2CData", 24, PDU_ROLE_HOST, LAYOUT_DATA },
	[PDU_C2H_DATA]		= { "C2HData", 24, PDU_ROLE_CONTROLLER, LAYOUT_DATA },
	[PDU_R2T]		= { "R2T", 24, PDU_ROLE_CONTROLLER, LAYOUT_BARE },
};

const char *pdu_type_name(__u8 type)
{
	const struct pdu_layout *layout = pdu_layout(type);

	return layout ? layout->name : "unknown PDU";
}

const char *pdu_fes_name(__u16 fes)
{
	static const char *const names[] = {
		[FES_INVALID_HEADER]	= "invalid PDU header field",
		[FES_SEQUENCE]		= "PDU sequence error",
		[FES_HEADER_DIGEST]	= "header digest error",
		[FES_OUT_OF_RANGE]	= "data transfer out of range",
		[FES_LIMIT]		= "data transfer or R2T limit exceeded",
		[FES_UNSUPPORTED]	= "unsupported parameter",
	};

	if (fes >= sizeof(names) / sizeof(names[0]) || !names[fes])
		return "unknown fatal error status";
	return names[fes];
}

__u32 pdu_crc_update(__u32 crc, const void *bytes, size_t len)
{
	/* ISA-L takes a pointer to non-const, but only reads; it neither presets nor inverts. */
	unsigned char *at = (unsigned char *)bytes;

	while (len) {
		size_t n = len < CRC_PIECE ? len : CRC_PIECE;

		crc = crc32_iscsi(at, (int)n, crc);
		at += n;
		len -= n;
	}
	return crc;
}

void pdu_decoder_init(struct pdu_decoder *d, enum pdu_role role)
{
	*d = (struct pdu_decoder){
		.role = role,
		.expect_ic = true,
		.framing.align = 4,
		.digest_ok = true,
	};
}

void pdu_decoder_ready(struct pdu_decoder *d, const struct pdu_framing *framing,
		       __u32 max_in_capsule, __u32 max_data)
{
	assert(framing->align && framing->align % 4 == 0 && framing->align <= 128);
	d->expect_ic = false;
	d->framing = *framing;
	d->max_in_capsule = max_in_capsule;
	d->max_data = max_data;
}

static bool fault(struct pdu_decoder *d, enum pdu_fes fes, __u32 fei, const char *text)
{
	d->error = (struct pdu_error){ .fes = fes, .fei = fei, .text = text };
	return false;
}

static bool field_fault(struct pdu_decoder *d, size_t offset, const char *text)
{
	return fault(d, FES_INVALID_HEADER, (__u32)offset, text);
}

/* Type, direction, order, HLEN: all that does not depend on the lengths. */
static bool check_kind(struct pdu_decoder *d, const struct pdu_ch *ch)
{
	const struct pdu_layout *layout = pdu_layout(ch->type);

	if (!layout)
		return field_fault(d, CH(type), "unknown PDU type");
	if (layout->sender == d->role)
		return field_fault(d, CH(type), "PDU type of the other direction");
	if (d->expect_ic && layout->kind != LAYOUT_IC && layout->kind != LAYOUT_TERM)
		return fault(d, FES_SEQUENCE, 0, "PDU before the connection is initialised");
	if (!d->expect_ic && layout->kind == LAYOUT_IC)
		return fault(d, FES_SEQUENCE, 0, "connection initialised twice");
	if (ch->hlen != layout->hlen)
		return field_fault(d, CH(hlen), "HLEN does not fit the PDU type");
	return true;
}

/* PDO, DDGST and PLEN of a PDU with data; `head` is where the header with its digest ends. */
static bool check_data_place(struct pdu_decoder *d, const struct pdu_ch *ch, __u8 head,
			     struct pdu *pdu)
{
	__u32 digest = d->framing.ddgst ? PDU_DIGEST_LEN : 0;

	if (!(ch->flags & PDU_F_DDGST) != !d->framing.ddgst)
		return field_fault(d, CH(flags), "DDGST flag is not as negotiated");
	if (ch->pdo < head)
		return field_fault(d, CH(pdo), "PDO points into the header");
	if (ch->pdo % d->framing.align)
		return field_fault(d, CH(pdo), "PDO is not aligned as negotiated");
	if (pdu->total_len <= ch->pdo + digest)
		return field_fault(d, CH(plen), "PLEN leaves no room for data");
	pdu->ddgst = d->framing.ddgst;
	pdu->data_offset = ch->pdo;
	pdu->data_len = pdu->total_len - ch->pdo - digest;
	return true;
}

/* How much data one PDU may bring. The spec gives FES 05h this meaning in C2HTermReq only. */
static bool check_data_limit(struct pdu_decoder *d, const struct pdu *pdu)
{
	if (pdu->type == PDU_CAPSULE_CMD && pdu->data_len > d->max_in_capsule)
		return fault(d, FES_LIMIT, 0, "more in-capsule data than the capsule may carry");
	if (pdu->type == PDU_H2C_DATA && d->max_data && pdu->data_len > d->max_data)
		return fault(d, FES_LIMIT, 0, "H2CData longer than MAXH2CDATA");
	if (pdu->type == PDU_C2H_DATA && d->max_data && pdu->data_len > d->max_data)
		return fault(d, FES_OUT_OF_RANGE, 0, "C2HData longer than any transfer");
	return true;
}

static bool check_lengths(struct pdu_decoder *d, const struct pdu_ch *ch, struct pdu *pdu)
{
	enum pdu_layout_kind kind = pdu_layout(ch->type)->kind;
	__u8 head = pdu_head_len(ch->type, &d->framing);

	pdu->total_len = le32toh(ch->plen);
	pdu->data_offset = head;
	if (kind == LAYOUT_TERM) {
		if (pdu->total_len < head || pdu->total_len > PDU_TERM_LEN_MAX)
			return field_fault(d, CH(plen), "PLEN outside 24 .. 152");
		pdu->data_len = pdu->total_len - head;
		return true;
	}
	if (kind != LAYOUT_IC && !(ch->flags & PDU_F_HDGST) != !d->framing.hdgst)
		return field_fault(d, CH(flags), "HDGST flag is not as negotiated");
	if (pdu->total_len < head)
		return field_fault(d, CH(plen), "PLEN shorter than the header");
	if (kind == LAYOUT_IC || kind == LAYOUT_BARE) {
		if (pdu->total_len != head)
			return field_fault(d, CH(plen), "PLEN of a PDU without data");
		return true;
	}
	if (kind == LAYOUT_MAYBE_DATA && pdu->total_len == head)
		return true;
	return check_data_place(d, ch, head, pdu) && check_data_limit(d, pdu);
}

/*
 * First step: the 8 bytes at `head`, which may be unaligned. Sets all of *ret_pdu but its header.
 */
static bool check_common(struct pdu_decoder *d, const __u8 *head, struct pdu *ret_pdu)
{
	struct pdu_ch ch;

	memcpy(&ch, head, sizeof(ch));
	if (!check_kind(d, &ch))
		return false;
	ret_pdu->type = ch.type;
	ret_pdu->flags = ch.flags;
	ret_pdu->ddgst = false;
	ret_pdu->data_len = 0;
	if (!check_lengths(d, &ch, ret_pdu))
		return false;
	if (ch.type == PDU_C2H_DATA && (ch.flags & PDU_F_SUCCESS) && !(ch.flags & PDU_F_LAST))
		return field_fault(d, CH(flags), "SUCCESS without LAST_PDU");
	return true;
}

static bool check_header_digest(struct pdu_decoder *d, const __u8 *head, const struct pdu *pdu)
{
	__u8 hlen = pdu_layout(pdu->type)->hlen;
	__le32 digest;

	if (pdu_head_len(pdu->type, &d->framing) == hlen)
		return true;
	memcpy(&digest, head + hlen, sizeof(digest));
	if (digest != pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, head, hlen)))
		return fault(d, FES_HEADER_DIGEST, le32toh(digest), "header digest does not match");
	return true;
}

static bool check_icreq(struct pdu_decoder *d, const struct pdu_icreq *icreq)
{
	if (le16toh(icreq->pfv) != PDU_PFV_1_0)
		return fault(d, FES_UNSUPPORTED, offsetof(struct pdu_icreq, pfv),
			     "unsupported PFV");
	if (icreq->hpda > PDU_PDA_MAX)
		return field_fault(d, offsetof(struct pdu_icreq, hpda), "HPDA over 31");
	return true;
}

static bool check_icresp(struct pdu_decoder *d, const struct pdu_icresp *icresp)
{
	__u32 max = le32toh(icresp->maxh2cdata);

	if (le16toh(icresp->pfv) != PDU_PFV_1_0)
		return fault(d, FES_UNSUPPORTED, offsetof(struct pdu_icresp, pfv),
			     "unsupported PFV");
	if (icresp->cpda > PDU_PDA_MAX)
		return field_fault(d, offsetof(struct pdu_icresp, cpda), "CPDA over 31");
	if (max < PDU_MAXH2CDATA_MIN || max % 4)
		return field_fault(d, offsetof(struct pdu_icresp, maxh2cdata),
				   "MAXH2CDATA under 4096 or not whole dwords");
	return true;
}

/* H2C_DATA and C2H_DATA say their length twice; R2T says what it asks for. */
static bool check_range(struct pdu_decoder *d, const struct pdu *pdu)
{
	const struct pdu_data *data = &pdu->header.data;
	__u32 offset = le32toh(data->offset), len = le32toh(data->len);

	if (offset % 4)
		return field_fault(d, offsetof(struct pdu_data, offset),
				   "offset is not whole dwords");
	if (!len)
		return field_fault(d, offsetof(struct pdu_data, len), "length 0");
	if (pdu->type != PDU_R2T && len != pdu->data_len)
		return field_fault(d, offsetof(struct pdu_data, len), "DATAL disagrees with PLEN");
	if (offset + len < offset)
		return fault(d, FES_OUT_OF_RANGE, 0, "offset and length pass 4 GiB");
	return true;
}

/* Second step: the whole header at `head`. Sets ret_pdu->header. */
static bool check_rest(struct pdu_decoder *d, const __u8 *head, struct pdu *pdu)
{
	if (!check_header_digest(d, head, pdu))
		return false;
	memcpy(&pdu->header, head, pdu_layout(pdu->type)->hlen);
	switch (pdu->type) {
	case PDU_ICREQ:
		return check_icreq(d, &pdu->header.icreq);
	case PDU_ICRESP:
		return check_icresp(d, &pdu->header.icresp);
	case PDU_H2C_DATA:
	case PDU_C2H_DATA:
	case PDU_R2T:
		return check_range(d, pdu);
	default:
		return true;
	}
}

/*
 * `need` header bytes in one piece: where they arrived if they did so whole, else gathered in
 * d->buf. NULL if they are not all there yet; all input is then taken. *used counts what was taken
 * of the input.
 */
static const __u8 *gather(struct pdu_decoder *d, const __u8 *in, size_t len, size_t need,
			  size_t *used)
{
	size_t n;

	if (!d->have && len >= need) {
		*used = need;
		return in;
	}
	/* A common header that was read in place is not taken yet: start over with it. */
	if (!d->have)
		*used = 0;
	n = need - d->have;
	if (n > len - *used)
		n = len - *used;
	memcpy(d->buf + d->have, in + *used, n);
	d->have += n;
	*used += n;
	return d->have == need ? d->buf : NULL;
}

/* Keeps the offending header for the TermReq. It may already lie in d->buf. */
static enum pdu_result refuse(struct pdu_decoder *d, const __u8 *head, size_t len)
{
	memmove(d->buf, head, len);
	d->have = len;
	return PDU_BAD;
}

enum pdu_result pdu_decode(struct pdu_decoder *d, const void *bytes, size_t len,
			   size_t *ret_consumed, struct pdu *ret_pdu)
{
	struct pdu pdu;
	const __u8 *head;
	size_t used = 0;

	assert(pdu_body_done(d));
	if (d->error.fes)
		return PDU_BAD;
	if (d->have >= sizeof(struct pdu_ch))
		head = d->buf;
	else
		head = gather(d, bytes, len, sizeof(struct pdu_ch), &used);
	if (!head)
		goto more;
	if (!check_common(d, head, &pdu))
		return refuse(d, head, sizeof(struct pdu_ch));
	head = gather(d, bytes, len, pdu.data_offset, &used);
	if (!head)
		goto more;
	if (!check_rest(d, head, &pdu))
		return refuse(d, head, pdu_layout(pdu.type)->hlen);

	d->have = 0;
	d->data_left = pdu.data_len;
	d->digest_left = pdu.ddgst ? PDU_DIGEST_LEN : 0;
	d->digest_ok = !pdu.ddgst;
	d->crc = PDU_CRC_INIT;
	*ret_consumed = used;
	memcpy(ret_pdu, &pdu, offsetof(struct pdu, header) + pdu_layout(pdu.type)->hlen);
	return PDU_DONE;
more:
	*ret_consumed = used;
	return PDU_MORE;
}

void pdu_data_take(struct pdu_decoder *d, const void *bytes, size_t n)
{
	assert(n <= d->data_left);
	if (d->digest_left)
		d->crc = pdu_crc_update(d->crc, bytes, n);
	d->data_left -= n;
}

void pdu_data_copy(struct pdu_decoder *d, void *dst, const void *bytes, size_t n)
{
	const __u8 *from = bytes;
	__u8 *to = dst;

	while (n) {
		size_t block = d->digest_left && n > COPY_BLOCK ? COPY_BLOCK : n;

		memcpy(to, from, block);
		pdu_data_take(d, to, block);
		to += block;
		from += block;
		n -= block;
	}
}

size_t pdu_digest_take(struct pdu_decoder *d, const void *bytes, size_t len)
{
	size_t n = len < d->digest_left ? len : d->digest_left;
	__le32 digest;

	assert(!d->data_left);
	if (!n)
		return 0;
	memcpy(d->digest + PDU_DIGEST_LEN - d->digest_left, bytes, n);
	d->digest_left -= n;
	if (!d->digest_left) {
		memcpy(&digest, d->digest, sizeof(digest));
		d->digest_ok = digest == pdu_ddgst_final(d->crc);
	}
	return n;
}

const void *pdu_bad_header(const struct pdu_decoder *d, size_t *ret_len)
{
	*ret_len = d->error.fes ? d->have : 0;
	return d->buf;
}
