// SPDX-License-Identifier: Apache-2.0
/*
 * The PDU codec. Each row of the tables is decoded four ways: whole, byte by byte, cut in two at
 * every place of its header, and whole but flush against a page that must not be read. All must
 * agree.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nvme/pdu.h"

#define DATA_LEN	520	/* bytes of data in the PDUs that carry any */
#define MAX_DATA	4096
#define MAX_IN_CAPSULE	8192
#define PDU_MAX		1024

enum { NONE, HDGST = 1, DDGST = 2 };

static struct pdu_framing framing_of(int digests, __u8 align)
{
	return (struct pdu_framing){
		.hdgst = digests & HDGST,
		.ddgst = digests & DDGST,
		.align = align ? align : 4,
	};
}

static enum pdu_role receiver(__u8 type)
{
	switch (type) {
	case PDU_ICREQ:
	case PDU_H2C_TERM_REQ:
	case PDU_CAPSULE_CMD:
	case PDU_H2C_DATA:
		return PDU_ROLE_CONTROLLER;
	default:
		return PDU_ROLE_HOST;
	}
}

/* A valid header of each type. */
static size_t header_make(__u8 *buf, __u8 type, const struct pdu_framing *framing, __u32 data_len)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_WRITE, .cid = htole16(0x1234) };
	struct nvme_cqe cqe = { .cid = htole16(0x1234), .sqhd = htole16(7) };
	struct pdu_error error = { .fes = FES_SEQUENCE };

	switch (type) {
	case PDU_ICREQ:
		return pdu_encode_icreq(buf, 0, PDU_DGST_HEADER, 0);
	case PDU_ICRESP:
		return pdu_encode_icresp(buf, 0, PDU_DGST_HEADER, 131072);
	case PDU_CAPSULE_CMD:
		return pdu_encode_capsule_cmd(buf, framing, &sqe, data_len);
	case PDU_CAPSULE_RESP:
		return pdu_encode_capsule_resp(buf, framing, &cqe);
	case PDU_H2C_DATA:
		return pdu_encode_h2c_data(buf, framing, htole16(0x1234), 5, 4096, data_len,
					   PDU_F_LAST);
	case PDU_C2H_DATA:
		return pdu_encode_c2h_data(buf, framing, htole16(0x1234), 4096, data_len,
					   PDU_F_LAST | PDU_F_SUCCESS);
	case PDU_R2T:
		return pdu_encode_r2t(buf, framing, htole16(0x1234), 5, 4096, 8192);
	default:
		return pdu_encode_term(buf, type, &error, "0123456789", 10);
	}
}

/* A whole valid PDU with data and data digest; returns its length. */
static size_t pdu_make(__u8 *buf, __u8 type, const struct pdu_framing *framing, __u32 data_len)
{
	size_t len = header_make(buf, type, framing, data_len);
	__le32 digest;

	if (type != PDU_CAPSULE_CMD && type != PDU_H2C_DATA && type != PDU_C2H_DATA)
		return len;
	for (__u32 i = 0; i < data_len; i++)
		buf[len + i] = i * 31 + type;
	if (pdu_has_ddgst(framing, data_len)) {
		digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, buf + len, data_len));
		memcpy(buf + len + data_len, &digest, sizeof(digest));
		len += sizeof(digest);
	}
	return len + data_len;
}

static struct pdu_decoder decoder_make(enum pdu_role role, bool ready,
				       const struct pdu_framing *framing)
{
	struct pdu_decoder d;

	pdu_decoder_init(&d, role);
	if (ready)
		pdu_decoder_ready(&d, framing, MAX_IN_CAPSULE, MAX_DATA);
	return d;
}

/* What came of decoding one PDU. */
struct outcome {
	enum pdu_result	result;
	struct pdu	pdu;
	__u16		fes;
	__u32		fei;
	size_t		bad_len;	/* header bytes offered for the TermReq */
	size_t		data;		/* data bytes taken */
	bool		digest_ok;
	size_t		consumed;	/* of all */
};

/* Feeds pieces of `first`, then `step` bytes each, to the decoder; data go to `sink`. */
static struct outcome decode_cut(struct pdu_decoder d, const __u8 *bytes, size_t len, size_t first,
				 size_t step, __u8 *sink)
{
	struct outcome o = { .result = PDU_MORE };
	size_t at = 0, piece = first ? first : step;

	while (at < len) {
		size_t end = at + piece < len ? at + piece : len;

		while (at < end) {
			size_t n = end - at;

			if (pdu_data_left(&d)) {
				n = n < pdu_data_left(&d) ? n : pdu_data_left(&d);
				pdu_data_copy(&d, sink + o.data, bytes + at, n);
				o.data += n;
			} else if (pdu_digest_left(&d)) {
				n = pdu_digest_take(&d, bytes + at, n);
			} else {
				o.result = pdu_decode(&d, bytes + at, n, &n, &o.pdu);
				if (o.result == PDU_BAD) {
					o.fes = d.error.fes;
					o.fei = d.error.fei;
					pdu_bad_header(&d, &o.bad_len);
					return o;
				}
			}
			at += n;
			if (o.result == PDU_DONE && pdu_body_done(&d)) {
				o.digest_ok = pdu_digest_ok(&d);
				o.consumed = at;
				return o;
			}
		}
		piece = step;
	}
	o.consumed = at;
	return o;
}

/* The input placed so that its last byte is the last before a page that must not be touched. */
struct guarded {
	__u8	*map;
	__u8	*bytes;
	size_t	page;
};

static struct guarded guard_make(const void *bytes, size_t len)
{
	struct guarded g = { .page = sysconf(_SC_PAGESIZE) };

	g.map = mmap(NULL, 2 * g.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(g.map != MAP_FAILED);
	cr_assert(len <= g.page);
	cr_assert(!mprotect(g.map + g.page, g.page, PROT_NONE));
	g.bytes = g.map + g.page - len;
	memcpy(g.bytes, bytes, len);
	return g;
}

static void guard_drop(struct guarded *g)
{
	munmap(g->map, 2 * g->page);
}

static void same(const char *name, const char *way, const struct outcome *a,
		 const struct outcome *b)
{
	cr_expect(a->result == b->result, "%s, %s: result %d, whole gave %d", name, way, b->result,
		  a->result);
	cr_expect(a->fes == b->fes, "%s, %s: FES %u, whole gave %u", name, way, b->fes, a->fes);
	cr_expect(a->fei == b->fei, "%s, %s: FEI %u, whole gave %u", name, way, b->fei, a->fei);
	cr_expect(a->bad_len == b->bad_len, "%s, %s: offending header of %zu bytes", name, way,
		  b->bad_len);
	cr_expect(a->data == b->data, "%s, %s: %zu bytes of data", name, way, b->data);
	cr_expect(a->digest_ok == b->digest_ok, "%s, %s: digest verdict differs", name, way);
	cr_expect(a->consumed == b->consumed, "%s, %s: consumed %zu", name, way, b->consumed);
}

/* Decodes in all ways, checks that they agree, returns the one of them all. */
static struct outcome decode_all_ways(const char *name, const struct pdu_decoder *d,
				      const __u8 *bytes, size_t len, __u8 sink[PDU_MAX])
{
	struct guarded g = guard_make(bytes, len);
	struct outcome whole, other;

	whole = decode_cut(*d, g.bytes, len, 0, len, sink);
	other = decode_cut(*d, g.bytes, len, 0, 1, sink);
	same(name, "by bytes", &whole, &other);
	for (size_t cut = 1; cut < len && cut < 160; cut++) {
		other = decode_cut(*d, g.bytes, len, cut, len, sink);
		same(name, "cut in two", &whole, &other);
	}
	guard_drop(&g);
	return whole;
}

struct good_row {
	const char	*name;
	__u8		type;
	int		digests;
	__u8		align;
	__u32		data_len;
	__u16		data_offset;	/* expected */
};

static const struct good_row good_rows[] = {
	{ "ICReq", PDU_ICREQ, NONE, 4, 0, 128 },
	{ "ICResp", PDU_ICRESP, NONE, 4, 0, 128 },
	{ "command", PDU_CAPSULE_CMD, NONE, 4, 0, 72 },
	{ "command, digests", PDU_CAPSULE_CMD, HDGST | DDGST, 4, 0, 76 },
	{ "command, data", PDU_CAPSULE_CMD, NONE, 4, DATA_LEN, 72 },
	{ "command, data, header digest", PDU_CAPSULE_CMD, HDGST, 4, DATA_LEN, 76 },
	{ "command, data, digests", PDU_CAPSULE_CMD, HDGST | DDGST, 4, DATA_LEN, 76 },
	{ "command, data, aligned 64", PDU_CAPSULE_CMD, NONE, 64, DATA_LEN, 128 },
	{ "command, data, aligned, digests", PDU_CAPSULE_CMD, HDGST | DDGST, 128, DATA_LEN, 128 },
	{ "command, one byte of data", PDU_CAPSULE_CMD, DDGST, 4, 1, 72 },
	{ "response", PDU_CAPSULE_RESP, NONE, 4, 0, 24 },
	{ "response, digests", PDU_CAPSULE_RESP, HDGST | DDGST, 4, 0, 28 },
	{ "H2CData", PDU_H2C_DATA, NONE, 4, DATA_LEN, 24 },
	{ "H2CData, digests", PDU_H2C_DATA, HDGST | DDGST, 4, DATA_LEN, 28 },
	{ "H2CData, data digest, aligned 32", PDU_H2C_DATA, DDGST, 32, DATA_LEN, 32 },
	{ "C2HData", PDU_C2H_DATA, NONE, 4, DATA_LEN, 24 },
	{ "C2HData, digests, aligned 128", PDU_C2H_DATA, HDGST | DDGST, 128, DATA_LEN, 128 },
	{ "R2T", PDU_R2T, NONE, 4, 0, 24 },
	{ "R2T, digests", PDU_R2T, HDGST | DDGST, 4, 0, 28 },
};

Test(pdu, good)
{
	for (size_t i = 0; i < sizeof(good_rows) / sizeof(good_rows[0]); i++) {
		const struct good_row *row = &good_rows[i];
		bool ic = row->type == PDU_ICREQ || row->type == PDU_ICRESP;
		struct pdu_framing framing = framing_of(row->digests, row->align);
		struct pdu_decoder d = decoder_make(receiver(row->type), !ic, &framing);
		__u8 bytes[PDU_MAX], sink[PDU_MAX];
		size_t len = pdu_make(bytes, row->type, &framing, row->data_len);
		struct outcome o = decode_all_ways(row->name, &d, bytes, len, sink);

		cr_expect(o.result == PDU_DONE, "%s: FES %u FEI %u", row->name, o.fes, o.fei);
		cr_expect(o.pdu.type == row->type, "%s: type", row->name);
		cr_expect(o.pdu.data_offset == row->data_offset, "%s: data at %u", row->name,
			  o.pdu.data_offset);
		cr_expect(o.pdu.data_len == row->data_len, "%s: %u bytes", row->name,
			  o.pdu.data_len);
		cr_expect(o.pdu.total_len == len && o.consumed == len, "%s: length", row->name);
		cr_expect(o.digest_ok, "%s: data digest", row->name);
		cr_expect(!memcmp(&o.pdu.header, bytes, bytes[2]), "%s: header bytes", row->name);
		cr_expect(!memcmp(sink, bytes + row->data_offset, row->data_len), "%s: data",
			  row->name);
	}
}

/* Up to two little-endian fields of a valid PDU are overwritten. */
struct patch {
	__u8	offset;
	__u8	size;
	__u32	value;
};

struct bad_row {
	const char	*name;
	__u8		type;
	bool		before_ic;	/* the decoder still expects ICReq / ICResp */
	int		digests;
	__u8		align;
	__u32		data_len;
	struct patch	patches[2];
	enum pdu_fes	fes;
	__u32		fei;
};

#define CMD	PDU_CAPSULE_CMD
#define H2C	PDU_H2C_DATA
#define C2H	PDU_C2H_DATA
#define FIELD	FES_INVALID_HEADER

static const struct bad_row bad_rows[] = {
	{ "type 08h", CMD, false, 0, 4, 0, { { 0, 1, 0x08 } }, FIELD, 0 },
	{ "type 0ah", CMD, false, 0, 4, 0, { { 0, 1, 0x0a } }, FIELD, 0 },
	{ "type ffh", CMD, false, 0, 4, 0, { { 0, 1, 0xff } }, FIELD, 0 },
	{ "C2HData to a controller", CMD, false, 0, 4, 0, { { 0, 1, PDU_C2H_DATA } }, FIELD, 0 },
	{ "R2T to a controller", H2C, false, 0, 4, 8, { { 0, 1, PDU_R2T } }, FIELD, 0 },
	{ "C2HTermReq to a controller", CMD, false, 0, 4, 0, { { 0, 1, 3 } }, FIELD, 0 },
	{ "H2CData to a host", C2H, false, 0, 4, 8, { { 0, 1, PDU_H2C_DATA } }, FIELD, 0 },
	{ "ICReq to a host", PDU_ICRESP, true, 0, 4, 0, { { 0, 1, PDU_ICREQ } }, FIELD, 0 },
	{ "command before ICReq", CMD, true, 0, 4, 0, { { 0 } }, FES_SEQUENCE, 0 },
	{ "H2CData before ICReq", H2C, true, 0, 4, 8, { { 0 } }, FES_SEQUENCE, 0 },
	{ "response before ICResp", PDU_CAPSULE_RESP, true, 0, 4, 0, { { 0 } }, FES_SEQUENCE, 0 },
	{ "ICReq twice", PDU_ICREQ, false, 0, 4, 0, { { 0 } }, FES_SEQUENCE, 0 },
	{ "ICResp twice", PDU_ICRESP, false, 0, 4, 0, { { 0 } }, FES_SEQUENCE, 0 },
	{ "ICReq HLEN 127", PDU_ICREQ, true, 0, 4, 0, { { 2, 1, 127 } }, FIELD, 2 },
	{ "ICReq PLEN 132", PDU_ICREQ, true, 0, 4, 0, { { 4, 4, 132 } }, FIELD, 4 },
	{ "ICReq PLEN 0", PDU_ICREQ, true, 0, 4, 0, { { 4, 4, 0 } }, FIELD, 4 },
	{ "ICReq PFV 1", PDU_ICREQ, true, 0, 4, 0, { { 8, 2, 1 } }, FES_UNSUPPORTED, 8 },
	{ "ICReq HPDA 32", PDU_ICREQ, true, 0, 4, 0, { { 10, 1, 32 } }, FIELD, 10 },
	{ "ICResp PFV 256", PDU_ICRESP, true, 0, 4, 0, { { 8, 2, 256 } }, FES_UNSUPPORTED, 8 },
	{ "ICResp CPDA 255", PDU_ICRESP, true, 0, 4, 0, { { 10, 1, 255 } }, FIELD, 10 },
	{ "ICResp MAXH2CDATA 4092", PDU_ICRESP, true, 0, 4, 0, { { 12, 4, 4092 } }, FIELD, 12 },
	{ "ICResp MAXH2CDATA 4098", PDU_ICRESP, true, 0, 4, 0, { { 12, 4, 4098 } }, FIELD, 12 },
	{ "TermReq PLEN 23", PDU_H2C_TERM_REQ, false, 0, 4, 0, { { 4, 4, 23 } }, FIELD, 4 },
	{ "TermReq PLEN 153", PDU_C2H_TERM_REQ, false, 0, 4, 0, { { 4, 4, 153 } }, FIELD, 4 },
	{ "TermReq HLEN 28", PDU_H2C_TERM_REQ, false, 0, 4, 0, { { 2, 1, 28 } }, FIELD, 2 },
	{ "command HLEN 0", CMD, false, 0, 4, 0, { { 2, 1, 0 } }, FIELD, 2 },
	{ "command HLEN 73", CMD, false, 0, 4, 0, { { 2, 1, 73 } }, FIELD, 2 },
	{ "command PLEN 71", CMD, false, 0, 4, 0, { { 4, 4, 71 } }, FIELD, 4 },
	{ "command PLEN without its digest", CMD, false, HDGST, 4, 0, { { 4, 4, 72 } }, FIELD, 4 },
	{ "digest flag not negotiated", CMD, false, 0, 4, 0, { { 1, 1, PDU_F_HDGST } }, FIELD, 1 },
	{ "digest flag missing", CMD, false, HDGST, 4, 0, { { 1, 1, 0 } }, FIELD, 1 },
	{ "data digest flag not negotiated", CMD, false, 0, 4, 8, { { 1, 1, 2 } }, FIELD, 1 },
	{ "data digest flag missing", CMD, false, DDGST, 4, 8, { { 1, 1, 0 } }, FIELD, 1 },
	{ "PDO in the header", CMD, false, 0, 4, 8, { { 3, 1, 68 } }, FIELD, 3 },
	{ "PDO 0 with data", CMD, false, 0, 4, 8, { { 3, 1, 0 } }, FIELD, 3 },
	{ "PDO in the header digest", CMD, false, HDGST, 4, 8, { { 3, 1, 72 } }, FIELD, 3 },
	{ "PDO odd", CMD, false, 0, 4, 8, { { 3, 1, 73 } }, FIELD, 3 },
	{ "PDO not aligned to 64", CMD, false, 0, 64, 8, { { 3, 1, 72 } }, FIELD, 3 },
	{ "PDO at PLEN", CMD, false, 0, 4, 8, { { 3, 1, 80 } }, FIELD, 4 },
	{ "no room but for the digest", CMD, false, DDGST, 4, 8, { { 4, 4, 76 } }, FIELD, 4 },
	{ "too much in-capsule data", CMD, false, 0, 4, 8, { { 4, 4, 72 + 8193 } }, FES_LIMIT, 0 },
	{ "command PLEN 4 GiB", CMD, false, 0, 4, 8, { { 4, 4, 0xffffffff } }, FES_LIMIT, 0 },
	{ "H2CData over MAXH2CDATA", H2C, false, 0, 4, 8,
	  { { 4, 4, 24 + 4100 }, { 16, 4, 4100 } }, FES_LIMIT, 0 },
	{ "H2CData without data", H2C, false, 0, 4, 8, { { 4, 4, 24 }, { 16, 4, 0 } }, FIELD, 4 },
	{ "H2CData DATAL under PLEN", H2C, false, 0, 4, 8, { { 16, 4, 4 } }, FIELD, 16 },
	{ "H2CData DATAL over PLEN", H2C, false, 0, 4, 8, { { 16, 4, 12 } }, FIELD, 16 },
	{ "H2CData DATAL 0", H2C, false, 0, 4, 8, { { 16, 4, 0 } }, FIELD, 16 },
	{ "H2CData DATAO odd", H2C, false, 0, 4, 8, { { 12, 4, 4098 } }, FIELD, 12 },
	{ "H2C past 4 GiB", H2C, false, 0, 4, 8, { { 12, 4, 0xfffffffc } }, FES_OUT_OF_RANGE, 0 },
	{ "H2CData HLEN 72", H2C, false, 0, 4, 8, { { 2, 1, 72 } }, FIELD, 2 },
	{ "SUCCESS without LAST", C2H, false, 0, 4, 8, { { 1, 1, PDU_F_SUCCESS } }, FIELD, 1 },
	{ "C2HData beyond any transfer", C2H, false, 0, 4, 8,
	  { { 4, 4, 24 + 4100 }, { 16, 4, 4100 } }, FES_OUT_OF_RANGE, 0 },
	{ "C2HData PDO beyond PLEN", C2H, false, 0, 4, 8, { { 3, 1, 252 } }, FIELD, 4 },
	{ "response PLEN 28", PDU_CAPSULE_RESP, false, 0, 4, 0, { { 4, 4, 28 } }, FIELD, 4 },
	{ "R2T PLEN 25", PDU_R2T, false, 0, 4, 0, { { 4, 4, 25 } }, FIELD, 4 },
	{ "R2T R2TL 0", PDU_R2T, false, 0, 4, 0, { { 16, 4, 0 } }, FIELD, 16 },
	{ "R2T R2TO odd", PDU_R2T, false, 0, 4, 0, { { 12, 4, 1 } }, FIELD, 12 },
};

static void patch_apply(__u8 *bytes, const struct patch *patch)
{
	__le32 value = htole32(patch->value);

	memcpy(bytes + patch->offset, &value, patch->size);
}

Test(pdu, bad)
{
	for (size_t i = 0; i < sizeof(bad_rows) / sizeof(bad_rows[0]); i++) {
		const struct bad_row *row = &bad_rows[i];
		struct pdu_framing framing = framing_of(row->digests, row->align);
		struct pdu_decoder d = decoder_make(receiver(row->type), !row->before_ic, &framing);
		__u8 bytes[PDU_MAX], sink[PDU_MAX];
		size_t len = pdu_make(bytes, row->type, &framing, row->data_len);
		struct outcome o;

		patch_apply(bytes, &row->patches[0]);
		patch_apply(bytes, &row->patches[1]);
		o = decode_all_ways(row->name, &d, bytes, len, sink);
		cr_expect(o.result == PDU_BAD, "%s: accepted", row->name);
		cr_expect(o.fes == row->fes, "%s: FES %u, not %u", row->name, o.fes, row->fes);
		cr_expect(o.fei == row->fei, "%s: FEI %u, not %u", row->name, o.fei, row->fei);
		cr_expect(o.bad_len >= 8, "%s: %zu header bytes kept", row->name, o.bad_len);
	}
}

Test(pdu, refused_before_the_rest_arrives)
{
	/*
	 * The first 8 bytes suffice to refuse a PDU that claims 4 GiB: nobody waits for the rest.
	 */
	static const __u8 bytes[8] = { PDU_CAPSULE_CMD, 0, 72, 72, 0xff, 0xff, 0xff, 0xff };
	struct pdu_framing framing = framing_of(NONE, 4);
	struct pdu_decoder d = decoder_make(PDU_ROLE_CONTROLLER, true, &framing);
	struct pdu pdu;
	size_t n, len;

	cr_assert(pdu_decode(&d, bytes, 8, &n, &pdu) == PDU_BAD);
	cr_expect(!memcmp(pdu_bad_header(&d, &len), bytes, 8));
	cr_expect(len == 8);
	cr_expect(pdu_decode(&d, bytes, 8, &n, &pdu) == PDU_BAD, "a spent decoder stays spent");
}

Test(pdu, header_digest_wrong)
{
	struct pdu_framing framing = framing_of(HDGST, 4);
	struct pdu_decoder d = decoder_make(PDU_ROLE_CONTROLLER, true, &framing);
	__u8 bytes[PDU_MAX], sink[PDU_MAX];
	size_t len = pdu_make(bytes, PDU_CAPSULE_CMD, &framing, 0);
	__le32 digest;
	struct outcome o;

	memcpy(&digest, bytes + 72, 4);
	for (size_t at = 8; at < 72; at++) {
		bytes[at] ^= 0x10;
		o = decode_all_ways("header bit", &d, bytes, len, sink);
		bytes[at] ^= 0x10;
		cr_expect(o.fes == FES_HEADER_DIGEST, "byte %zu: FES %u", at, o.fes);
		cr_expect(o.fei == le32toh(digest), "byte %zu: FEI is the digest received", at);
		cr_expect(o.bad_len == 72, "byte %zu: the whole header is kept", at);
	}
	bytes[73] ^= 1;
	memcpy(&digest, bytes + 72, 4);
	o = decode_all_ways("digest bit", &d, bytes, len, sink);
	cr_expect(o.fes == FES_HEADER_DIGEST && o.fei == le32toh(digest));
}

Test(pdu, data_digest_wrong)
{
	struct pdu_framing framing = framing_of(DDGST, 4);
	struct pdu_decoder d = decoder_make(PDU_ROLE_CONTROLLER, true, &framing);
	__u8 bytes[PDU_MAX], sink[PDU_MAX];
	size_t len = pdu_make(bytes, PDU_H2C_DATA, &framing, DATA_LEN);

	for (size_t at = 24; at < len; at += 7) {
		struct outcome o;

		bytes[at] ^= 0x80;
		o = decode_all_ways("data bit", &d, bytes, len, sink);
		bytes[at] ^= 0x80;
		cr_expect(o.result == PDU_DONE, "byte %zu: not fatal", at);
		cr_expect(!o.digest_ok, "byte %zu: passed", at);
	}
}

Test(pdu, one_decoder_many_pdus)
{
	static const __u8 types[] = { PDU_CAPSULE_CMD, PDU_H2C_DATA, PDU_H2C_DATA,
				      PDU_CAPSULE_CMD };
	struct pdu_framing framing = framing_of(HDGST | DDGST, 32);
	__u8 stream[4 * PDU_MAX], sink[PDU_MAX];
	size_t len = 0;

	for (size_t i = 0; i < sizeof(types); i++)
		len += pdu_make(stream + len, types[i], &framing, i * 40 + 4);
	for (size_t step = 1; step < 300; step += 3) {
		struct pdu_decoder d = decoder_make(PDU_ROLE_CONTROLLER, true, &framing);
		size_t at = 0, done = 0;

		while (at < len) {
			size_t n = len - at < step ? len - at : step;
			struct pdu pdu;

			if (pdu_data_left(&d)) {
				n = n < pdu_data_left(&d) ? n : pdu_data_left(&d);
				pdu_data_copy(&d, sink, stream + at, n);
			} else if (pdu_digest_left(&d)) {
				n = pdu_digest_take(&d, stream + at, n);
				cr_expect(!pdu_body_done(&d) || pdu_digest_ok(&d), "step %zu",
					  step);
			} else if (pdu_decode(&d, stream + at, n, &n, &pdu) == PDU_DONE) {
				cr_expect(pdu.type == types[done], "step %zu, PDU %zu", step, done);
				cr_expect(pdu.data_len == done * 40 + 4, "step %zu, PDU %zu", step,
					  done);
				done++;
			}
			at += n;
		}
		cr_expect(done == sizeof(types), "step %zu: %zu PDUs", step, done);
	}
}

Test(pdu, term_req_round_trip)
{
	struct pdu_error error = { .fes = FES_INVALID_HEADER, .fei = 4 };
	struct pdu_decoder d = decoder_make(PDU_ROLE_HOST, false, NULL);
	__u8 bytes[PDU_ENCODE_MAX], header[200], sink[PDU_MAX];
	struct outcome o;
	size_t len;

	memset(header, 0xa5, sizeof(header));
	len = pdu_encode_term(bytes, PDU_C2H_TERM_REQ, &error, header, sizeof(header));
	cr_assert(len == PDU_TERM_LEN_MAX);
	o = decode_all_ways("TermReq", &d, bytes, len, sink);
	cr_expect(o.result == PDU_DONE && o.data == 128);
	cr_expect(le16toh(o.pdu.header.term.fes) == FES_INVALID_HEADER);
	cr_expect(le32toh(o.pdu.header.term.fei) == 4);
	cr_expect(!memcmp(sink, header, 128));
}

/* RFC 3720, appendix B.4; the digest is sent with its low byte first. */
Test(pdu, crc32c_known_answers)
{
	static const __u8 read_cmd[48] = {
		[0] = 0x01, [1] = 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18,
		[32] = 0x28, [40] = 0x02,
	};
	static const __u8 wire[][4] = {
		{ 0xaa, 0x36, 0x91, 0x8a }, { 0x43, 0xab, 0xa8, 0x62 }, { 0x4e, 0x79, 0xdd, 0x46 },
		{ 0x5c, 0xdb, 0x3f, 0x11 }, { 0x56, 0x3a, 0x96, 0xd9 },
	};
	__u8 in[5][48] = { { 0 } };
	static const size_t len[] = { 32, 32, 32, 32, 48 };

	memset(in[1], 0xff, 32);
	for (int i = 0; i < 32; i++) {
		in[2][i] = i;
		in[3][i] = 31 - i;
	}
	memcpy(in[4], read_cmd, sizeof(read_cmd));
	for (int i = 0; i < 5; i++) {
		__le32 whole = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, in[i], len[i]));
		__u32 crc = PDU_CRC_INIT;
		__le32 parts;

		for (size_t at = 0; at < len[i]; at++)
			crc = pdu_crc_update(crc, in[i] + at, 1);
		parts = pdu_ddgst_final(crc);
		cr_expect(!memcmp(&whole, wire[i], 4), "vector %d", i);
		cr_expect(!memcmp(&parts, wire[i], 4), "vector %d, by bytes", i);
	}
}

Test(pdu, names)
{
	cr_expect_str_eq(pdu_type_name(PDU_R2T), "R2T");
	cr_expect_str_eq(pdu_type_name(8), "unknown PDU");
	cr_expect_str_eq(pdu_type_name(200), "unknown PDU");
	cr_expect_str_eq(pdu_fes_name(FES_SEQUENCE), "PDU sequence error");
	cr_expect_str_eq(pdu_fes_name(0), "unknown fatal error status");
	cr_expect_str_eq(pdu_fes_name(999), "unknown fatal error status");
}
