// SPDX-License-Identifier: Apache-2.0
/*
 * Every bit of every header that a host sends, turned over: what the target answers, by field. Rows say which bits of
 * which bytes, and why (TCP Transport 1.0, section 3.6 for the fields, 3.5 for what is fatal). What no row names must
 * not be there: each test counts the bits that its rows cover, and they must be all. Then the same with digests: a
 * header's is fatal, data's fails the command and nothing else.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "storage_client.h"

#define IN_CAPSULE 8192u /* of the fixture */

static struct fixture fixture;

static void start(void)
{
	fixture_start(&fixture, 1, 0);
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_fields, .init = start, .fini = stop, .timeout = 120);

/* ---- a PDU to be changed, and where it stands ---- */

enum subject { ICREQ, CAPSULE, CAPSULE_DATA, H2C_DATA, TERM_REQ };

#define BLOCK 512
#define CID   21

struct scene {
	struct client admin, c;
	bool open;
	uint8_t pdu[PDU_ENCODE_MAX + BLOCK + PDU_DIGEST_LEN];
	size_t head, len; /* of its header with digest; of all of it */
};

static void scene_close(struct scene *s)
{
	if (s->open) {
		client_close(&s->c);
		if (s->admin.fd >= 0)
			client_close(&s->admin);
	}
	s->open = false;
}

static void scene_open(struct scene *s, enum subject subject, uint8_t dgst)
{
	if (s->open)
		return;
	s->open = true;
	s->admin.fd = -1;
	if (subject == ICREQ) {
		client_dial(&s->c, fixture.port);
	} else {
		client_admin(&s->admin, &fixture, 0);
		client_io(&s->c, &fixture, &s->admin, dgst, false);
	}
}

static void add_data(struct scene *s)
{
	uint8_t *data = s->pdu + s->head;
	__le32 digest;

	memset(data, 0x5a, BLOCK);
	s->len = s->head + BLOCK;
	if (!pdu_has_ddgst(&s->c.framing, BLOCK))
		return;
	digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, BLOCK));
	memcpy(s->pdu + s->len, &digest, sizeof(digest));
	s->len += sizeof(digest);
}

/* The R2T of a write of one block. */
static uint16_t ask_for_r2t(struct client *c)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, CID, NS_MEMORY, 0, 1);
	struct pdu pdu;

	sqe.sgl = nvme_sgl_transport(BLOCK);
	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_R2T);
	return le16toh(pdu.header.data.ttag);
}

/* Builds the good PDU; for H2CData a write is begun first. */
static void scene_build(struct scene *s, enum subject subject)
{
	struct nvme_sqe sqe = nvme_sqe_rw(subject == CAPSULE ? NVME_IO_READ : NVME_IO_WRITE, CID, NS_MEMORY, 0, 1);
	const struct pdu_error error = {.fes = FES_SEQUENCE};
	const uint8_t quoted[24] = {PDU_R2T};

	switch (subject) {
	case ICREQ:
		s->head = s->len = pdu_encode_icreq(s->pdu, 0, 0, 0);
		return;
	case CAPSULE:
		sqe.sgl = nvme_sgl_transport(BLOCK);
		s->head = s->len = pdu_encode_capsule_cmd(s->pdu, &s->c.framing, &sqe, 0);
		return;
	case CAPSULE_DATA:
		sqe.sgl = nvme_sgl_in_capsule(BLOCK);
		s->head = pdu_encode_capsule_cmd(s->pdu, &s->c.framing, &sqe, BLOCK);
		add_data(s);
		return;
	case H2C_DATA:
		s->head = pdu_encode_h2c_data(s->pdu, &s->c.framing, htole16(CID), ask_for_r2t(&s->c), 0, BLOCK,
					      PDU_F_LAST);
		add_data(s);
		return;
	case TERM_REQ:
		s->head = s->len = pdu_encode_term(s->pdu, PDU_H2C_TERM_REQ, &error, quoted, sizeof(quoted));
		return;
	}
}

/* As many bytes as its PLEN now says, if that could be right: a target that waits for them would never answer. */
static int scene_send(struct scene *s)
{
	static uint8_t stream[sizeof(struct pdu_ch) + 256 + IN_CAPSULE];
	struct pdu_ch ch;
	uint32_t plen;
	size_t n;

	memcpy(&ch, s->pdu, sizeof(ch));
	plen = le32toh(ch.plen);
	n = plen >= sizeof(ch) && plen <= sizeof(stream) ? plen : s->len;
	memset(stream, 0, sizeof(stream));
	memcpy(stream, s->pdu, min(n, s->len));
	return client_send(&s->c, stream, n);
}

/* ---- what comes back ---- */

enum answer {
	GOOD,	  /* as if nothing had been changed */
	ANSWERED, /* the command it names is answered: by a status, data, or an R2T */
	TERM,	  /* C2HTermReq with this FES and FEI, then the end */
	CLOSED,	  /* the end, and nothing before it */
};

struct row {
	const char *name;
	uint8_t from, to, bits; /* of each of these bytes */
	enum answer answer;
	uint16_t fes;
	uint32_t fei;
};

static bool is_closed(struct client *c)
{
	uint8_t byte;
	ssize_t n = recv(c->fd, &byte, 1, 0);

	return !n || (n < 0 && errno == ECONNRESET);
}

static void expect_term(struct scene *s, const struct row *row, const char *what)
{
	uint8_t quoted[256];
	struct pdu pdu;
	int r = client_receive(&s->c, &pdu, quoted, sizeof(quoted));

	cr_expect_eq(r, 0, "%s: %d", what, r);
	if (r)
		return;
	cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ, "%s: type %u", what, pdu.type);
	cr_expect_eq(le16toh(pdu.header.term.fes), row->fes, "%s: fes %u", what, le16toh(pdu.header.term.fes));
	cr_expect_eq(le32toh(pdu.header.term.fei), row->fei, "%s: fei %u", what, le32toh(pdu.header.term.fei));
	cr_expect_eq(memcmp(quoted, s->pdu, sizeof(struct pdu_ch)), 0, "%s: quotes the header", what);
	cr_expect(is_closed(&s->c), "%s: closed", what);
}

static uint16_t cid_of(const struct scene *s)
{
	uint16_t cid;

	memcpy(&cid, s->pdu + 8 + offsetof(struct nvme_sqe, cid), sizeof(cid));
	return le16toh(cid);
}

/* true: the connection can be used again. */
static bool expect_answer(struct scene *s, enum subject subject, enum answer wanted, const char *what)
{
	uint16_t cid = subject == H2C_DATA ? CID : cid_of(s), status;
	uint8_t data[BLOCK];
	struct pdu pdu;
	int r = client_receive(&s->c, &pdu, data, sizeof(data));

	cr_expect_eq(r, 0, "%s: %d", what, r);
	if (r)
		return false;
	if (subject == ICREQ) {
		cr_expect_eq(pdu.type, PDU_ICRESP, "%s: type %u", what, pdu.type);
		return false;
	}
	if (pdu.type == PDU_C2H_DATA || pdu.type == PDU_R2T)
		cr_expect_eq(le16toh(pdu.header.data.cccid), cid, "%s", what);
	if (pdu.type == PDU_C2H_DATA)
		cr_expect_eq(client_receive(&s->c, &pdu, data, sizeof(data)), 0, "%s", what);
	if (pdu.type != PDU_CAPSULE_RESP) {
		cr_expect(wanted == ANSWERED && pdu.type == PDU_R2T, "%s: type %u", what, pdu.type);
		return false;
	}
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), cid, "%s", what);
	status = nvme_cqe_status(&pdu.header.resp.cqe);
	if (wanted == GOOD)
		cr_expect_eq(status, 0, "%s: status %x", what, status);
	return true;
}

static void check_bit(struct scene *s, enum subject subject, const struct row *row, unsigned int byte, uint8_t bit)
{
	char what[96];

	snprintf(what, sizeof(what), "%s, byte %u bit 0x%02x", row->name, byte, bit);
	scene_open(s, subject, 0);
	scene_build(s, subject);
	s->pdu[byte] ^= bit;
	cr_assert_eq(scene_send(s), 0, "%s", what);
	if (row->answer == TERM)
		expect_term(s, row, what);
	else if (row->answer == CLOSED)
		cr_expect(is_closed(&s->c), "%s", what);
	else if (expect_answer(s, subject, row->answer, what))
		return;
	scene_close(s);
}

static void check_rows(enum subject subject, const struct row *rows, size_t n, unsigned int hlen)
{
	struct scene s = {.open = false};
	uint8_t covered[128] = {0};
	unsigned int byte, bit;
	size_t i;

	for (i = 0; i < n; i++)
		for (byte = rows[i].from; byte <= rows[i].to; byte++) {
			cr_assert_eq(covered[byte] & rows[i].bits, 0, "%s: byte %u is in two rows", rows[i].name, byte);
			covered[byte] |= rows[i].bits;
			for (bit = 1; bit < 0x100; bit <<= 1)
				if (rows[i].bits & bit)
					check_bit(&s, subject, &rows[i], byte, bit);
		}
	for (byte = 0; byte < hlen; byte++)
		cr_expect_eq(covered[byte], 0xff, "byte %u is covered by %02x only", byte, covered[byte]);
	scene_close(&s);
}

#define CHECK(subject, rows, hlen) check_rows(subject, rows, ARRAY_SIZE(rows), hlen)
#define HEADER(fei)		   TERM, FES_INVALID_HEADER, fei

/* ---- the tables ---- */

Test(storage_fields, icreq)
{
	static const struct row rows[] = {
		{"type: ICResp, which hosts do not send", 0, 0, 0x01, HEADER(0)},
		{"type: H2CTermReq, which has another HLEN", 0, 0, 0x02, HEADER(2)},
		{"type: a command before ICReq", 0, 0, 0x04, TERM, FES_SEQUENCE, 0},
		{"type: unknown", 0, 0, 0xf8, HEADER(0)},
		{"flags: reserved", 1, 1, 0xff, GOOD, 0, 0},
		{"HLEN is 128", 2, 2, 0xff, HEADER(2)},
		{"PDO: reserved", 3, 3, 0xff, GOOD, 0, 0},
		{"PLEN is 128", 4, 7, 0xff, HEADER(4)},
		{"PFV: only 0 is known", 8, 9, 0xff, TERM, FES_UNSUPPORTED, 8},
		{"HPDA: 0 to 31", 10, 10, 0x1f, GOOD, 0, 0},
		{"HPDA: over 31", 10, 10, 0xe0, HEADER(10)},
		{"digests: as asked for", 11, 11, 0x03, GOOD, 0, 0},
		{"DGST: reserved bits", 11, 11, 0xfc, GOOD, 0, 0},
		{"MAXR2T: any", 12, 15, 0xff, GOOD, 0, 0},
		{"reserved", 16, 127, 0xff, GOOD, 0, 0},
	};

	CHECK(ICREQ, rows, sizeof(struct pdu_icreq));
}

Test(storage_fields, capsule)
{
	static const struct row rows[] = {
		{"type: CapsuleResp, which hosts do not send", 0, 0, 0x01, HEADER(0)},
		{"type: H2CData, which has another HLEN", 0, 0, 0x02, HEADER(2)},
		{"type: a second ICReq", 0, 0, 0x04, TERM, FES_SEQUENCE, 0},
		{"type: unknown", 0, 0, 0xf8, HEADER(0)},
		{"HDGST: not negotiated", 1, 1, 0x01, HEADER(1)},
		{"flags: DDGST without data, and reserved bits", 1, 1, 0xfe, GOOD, 0, 0},
		{"HLEN is 72", 2, 2, 0xff, HEADER(2)},
		{"PDO: reserved without data", 3, 3, 0xff, GOOD, 0, 0},
		{"PLEN under HLEN", 4, 4, 0x48, HEADER(4)},
		{"PLEN over HLEN, but PDO says nowhere", 4, 4, 0xb7, HEADER(3)},
		{"PLEN over HLEN, but PDO says nowhere", 5, 7, 0xff, HEADER(3)},
		{"SQE: the controller's to judge", 8, 71, 0xff, ANSWERED, 0, 0},
	};

	CHECK(CAPSULE, rows, sizeof(struct pdu_capsule_cmd));
}

Test(storage_fields, capsule_with_data)
{
	static const struct row rows[] = {
		{"type: CapsuleResp, which hosts do not send", 0, 0, 0x01, HEADER(0)},
		{"type: H2CData, which has another HLEN", 0, 0, 0x02, HEADER(2)},
		{"type: a second ICReq", 0, 0, 0x04, TERM, FES_SEQUENCE, 0},
		{"type: unknown", 0, 0, 0xf8, HEADER(0)},
		{"digests: not negotiated", 1, 1, 0x03, HEADER(1)},
		{"flags: reserved", 1, 1, 0xfc, GOOD, 0, 0},
		{"HLEN is 72", 2, 2, 0xff, HEADER(2)},
		{"PDO: not whole dwords", 3, 3, 0x03, HEADER(3)},
		{"PDO: within the header", 3, 3, 0x48, HEADER(3)},
		{"PDO: further on, so that data are fewer", 3, 3, 0xb4, ANSWERED, 0, 0},
		{"PLEN: more data than the SGL says, or fewer", 4, 4, 0xff, ANSWERED, 0, 0},
		{"PLEN: more data than the SGL says, or fewer", 5, 5, 0x1f, ANSWERED, 0, 0},
		{"PLEN: more data than a capsule may carry", 5, 5, 0xe0, TERM, FES_LIMIT, 0},
		{"PLEN: more data than a capsule may carry", 6, 7, 0xff, TERM, FES_LIMIT, 0},
		{"SQE: the controller's to judge", 8, 71, 0xff, ANSWERED, 0, 0},
	};

	CHECK(CAPSULE_DATA, rows, sizeof(struct pdu_capsule_cmd));
}

Test(storage_fields, h2c_data)
{
	static const struct row rows[] = {
		{"type: C2HData, which hosts do not send", 0, 0, 0x01, HEADER(0)},
		{"type: a command, which has another HLEN", 0, 0, 0x02, HEADER(2)},
		{"type: H2CTermReq, which is not so long", 0, 0, 0x04, HEADER(4)},
		{"type: unknown", 0, 0, 0xf8, HEADER(0)},
		{"digests: not negotiated", 1, 1, 0x03, HEADER(1)},
		{"LAST: missing on all the data", 1, 1, 0x04, HEADER(1)},
		{"flags: reserved", 1, 1, 0xf8, GOOD, 0, 0},
		{"HLEN is 24", 2, 2, 0xff, HEADER(2)},
		{"PDO: not whole dwords", 3, 3, 0x03, HEADER(3)},
		{"PDO: within the header", 3, 3, 0x18, HEADER(3)},
		{"PDO: data are fewer than DATAL", 3, 3, 0xe4, HEADER(16)},
		{"PLEN: data are not DATAL", 4, 4, 0xff, HEADER(16)},
		{"PLEN: no data", 5, 5, 0x02, HEADER(4)},
		{"PLEN: data are not DATAL", 5, 5, 0xfd, HEADER(16)},
		{"PLEN: data are not DATAL", 6, 6, 0x03, HEADER(16)},
		{"PLEN: over MAXH2CDATA", 6, 6, 0xfc, TERM, FES_LIMIT, 0},
		{"PLEN: over MAXH2CDATA", 7, 7, 0xff, TERM, FES_LIMIT, 0},
		{"CCCID: another command", 8, 9, 0xff, HEADER(8)},
		{"TTAG: no R2T has it", 10, 11, 0xff, HEADER(10)},
		{"DATAO: not whole dwords", 12, 12, 0x03, HEADER(12)},
		{"DATAO: outside what was asked for", 12, 12, 0xfc, TERM, FES_OUT_OF_RANGE, 0},
		{"DATAO: outside what was asked for", 13, 15, 0xff, TERM, FES_OUT_OF_RANGE, 0},
		{"DATAL: not what PLEN says", 16, 19, 0xff, HEADER(16)},
		{"reserved", 20, 23, 0xff, GOOD, 0, 0},
	};

	CHECK(H2C_DATA, rows, sizeof(struct pdu_data));
}

Test(storage_fields, h2c_term_req)
{
	static const struct row rows[] = {
		{"type: C2HTermReq, which hosts do not send", 0, 0, 0x01, HEADER(0)},
		{"type: a second ICReq", 0, 0, 0x02, TERM, FES_SEQUENCE, 0},
		{"type: H2CData, which has a PDO", 0, 0, 0x04, HEADER(3)},
		{"type: unknown", 0, 0, 0xf8, HEADER(0)},
		{"flags: reserved", 1, 1, 0xff, CLOSED, 0, 0},
		{"HLEN is 24", 2, 2, 0xff, HEADER(2)},
		{"PDO: reserved", 3, 3, 0xff, CLOSED, 0, 0},
		{"PLEN: 24 to 152", 4, 4, 0x5f, CLOSED, 0, 0},
		{"PLEN: under 24 or over 152", 4, 4, 0xa0, HEADER(4)},
		{"PLEN: over 152", 5, 7, 0xff, HEADER(4)},
		{"FES, FEI: for the log", 8, 13, 0xff, CLOSED, 0, 0},
		{"reserved", 14, 23, 0xff, CLOSED, 0, 0},
	};

	CHECK(TERM_REQ, rows, sizeof(struct pdu_term));
}

/* ---- digests ---- */

/* What the digest covers and the common header does not show: section 3.3.1.1, a wrong header digest is fatal. */
static void check_header_digest(enum subject subject, unsigned int hlen)
{
	struct row row = {.answer = TERM, .fes = FES_HEADER_DIGEST};
	struct scene s = {.open = false};
	unsigned int byte, bit;
	char what[64];

	for (byte = sizeof(struct pdu_ch); byte < hlen + PDU_DIGEST_LEN; byte++)
		for (bit = 1; bit < 0x100; bit <<= 1) {
			snprintf(what, sizeof(what), "byte %u bit 0x%02x", byte, bit);
			scene_open(&s, subject, PDU_DGST_HEADER | PDU_DGST_DATA);
			scene_build(&s, subject);
			s.pdu[byte] ^= bit;
			memcpy(&row.fei, s.pdu + hlen, sizeof(row.fei)); /* FEI is the digest received */
			row.fei = le32toh(row.fei);
			cr_assert_eq(scene_send(&s), 0);
			expect_term(&s, &row, what);
			scene_close(&s);
		}
}

Test(storage_fields, header_digest_of_capsule)
{
	check_header_digest(CAPSULE, sizeof(struct pdu_capsule_cmd));
}

Test(storage_fields, header_digest_of_h2c_data)
{
	check_header_digest(H2C_DATA, sizeof(struct pdu_data));
}

/* Section 3.3.1.2: the command ends with Transient Transport Error, and the connection goes on. */
static void check_data_digest(enum subject subject)
{
	struct scene s = {.open = false};
	uint8_t data[BLOCK];
	struct pdu pdu;
	size_t at;

	scene_open(&s, subject, PDU_DGST_HEADER | PDU_DGST_DATA);
	for (at = 0; at < BLOCK + PDU_DIGEST_LEN; at++) {
		scene_build(&s, subject);
		s.pdu[s.head + at] ^= 1 << at % 8;
		cr_assert_eq(scene_send(&s), 0);
		cr_assert_eq(client_receive(&s.c, &pdu, NULL, 0), 0, "byte %zu", at);
		cr_assert_eq(pdu.type, PDU_CAPSULE_RESP, "byte %zu: type %u", at, pdu.type);
		cr_assert_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_TRANSIENT_TRANSPORT);
	}
	scene_build(&s, subject);
	cr_assert_eq(scene_send(&s), 0);
	cr_expect(expect_answer(&s, subject, GOOD, "the right digest at last"));
	cr_expect_eq(client_rw(&s.c, NVME_IO_READ, NS_MEMORY, 0, 1, data, BLOCK, false), 0);
	cr_expect_eq(data[7], 0x5a);
	scene_close(&s);
}

Test(storage_fields, data_digest_of_capsule)
{
	check_data_digest(CAPSULE_DATA);
}

Test(storage_fields, data_digest_of_h2c_data)
{
	check_data_digest(H2C_DATA);
}

/* ---- cuts ---- */

/* Something of another connection's is asked and answered: the reactor has been round, and taken what was sent. */
static void round_trip(struct client *other)
{
	cr_assert_eq(client_run(other, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
}

/* Each PDU in two pieces, cut at every byte, with both digests. */
static void check_cuts(enum subject subject)
{
	struct scene s = {.open = false};
	struct client other;
	size_t cut, len = 1;
	char what[32];

	client_admin(&other, &fixture, 0);
	for (cut = 1; cut < len || cut == 1; cut++) {
		snprintf(what, sizeof(what), "cut at %zu", cut);
		scene_open(&s, subject, PDU_DGST_HEADER | PDU_DGST_DATA);
		scene_build(&s, subject);
		len = s.len;
		cr_assert_eq(client_send(&s.c, s.pdu, cut), 0);
		round_trip(&other);
		cr_assert_eq(client_send(&s.c, s.pdu + cut, len - cut), 0);
		if (subject == TERM_REQ)
			cr_expect(is_closed(&s.c), "%s", what);
		else if (expect_answer(&s, subject, GOOD, what))
			continue;
		scene_close(&s);
	}
	scene_close(&s);
	client_close(&other);
}

Test(storage_fields, cut_at_every_byte)
{
	enum subject subject;

	for (subject = ICREQ; subject <= TERM_REQ; subject++)
		check_cuts(subject);
}

/* Many PDUs in one send, of all kinds, and the same one byte a segment. */
Test(storage_fields, coalesced)
{
	enum { N = 15 };
	static uint8_t stream[N * 3 * 1024];
	size_t chunk, len, n, i;
	struct scene s;
	uint16_t ttag;
	struct pdu pdu;

	for (chunk = 0; chunk < 2; chunk++) {
		s.open = false;
		scene_open(&s, CAPSULE, PDU_DGST_HEADER | PDU_DGST_DATA);
		ttag = ask_for_r2t(&s.c);
		s.head = pdu_encode_h2c_data(s.pdu, &s.c.framing, htole16(CID), ttag, 0, BLOCK, PDU_F_LAST);
		add_data(&s);
		memcpy(stream, s.pdu, s.len);
		len = s.len;
		for (i = 0; i < 2 * N; i++) {
			struct nvme_sqe sqe =
				nvme_sqe_rw(i % 2 ? NVME_IO_FLUSH : NVME_IO_WRITE, 100 + i, NS_MEMORY, 0, 1);

			sqe.sgl = i % 2 ? nvme_sgl_transport(0) : nvme_sgl_in_capsule(BLOCK);
			s.head = s.len = pdu_encode_capsule_cmd(s.pdu, &s.c.framing, &sqe, i % 2 ? 0 : BLOCK);
			if (!(i % 2))
				add_data(&s);
			memcpy(stream + len, s.pdu, s.len);
			len += s.len;
		}
		s.c.chunk = chunk;
		cr_assert_eq(client_send(&s.c, stream, len), 0);
		for (n = 0; n < 2 * N + 1; n++) {
			cr_assert_eq(client_receive(&s.c, &pdu, NULL, 0), 0, "answer %zu", n);
			cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
			cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
		}
		scene_close(&s);
	}
}
