// SPDX-License-Identifier: Apache-2.0
/*
 * Hosts that do what they should not: malformed PDUs, silence, floods, resets. The target answers with the right
 * C2HTermReq, closes, and goes on serving others; under ASan nothing leaks. Each row says what is sent after a state
 * was reached, and what must come back.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "storage_client.h"

static struct fixture fixture;

static void start(void)
{
	fixture_start(&fixture, 2, 300);
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_abuse, .init = start, .fini = stop, .timeout = 60);

/* The target still serves: the last thing that each test asks. */
static void still_serves(void)
{
	uint8_t data[4096];
	struct client admin, io;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_NULL, 0, 1, data, 4096, false), 0);
	client_close(&io);
	client_close(&admin);
}

/* Whether the peer closes, whatever it sends before. */
static bool is_closed(struct client *c)
{
	uint8_t sink[4096];
	ssize_t n;

	do
		n = recv(c->fd, sink, sizeof(sink), 0);
	while (n > 0);
	return !n || errno == ECONNRESET;
}

/* ---- malformed PDUs ---- */

enum stage { DIALLED, NEGOTIATED, ADMIN, IO_QUEUE };

struct row {
	const char *name;
	enum stage stage;
	union pdu_header header; /* sent: hlen bytes, or `send` of them */
	uint16_t send;
	uint16_t fes;
	uint32_t fei;
};

#define CH(type_, flags_, hlen_, pdo_, plen_)                                                                          \
	{                                                                                                              \
		.type = type_, .flags = flags_, .hlen = hlen_, .pdo = pdo_, .plen = htole32(plen_)                     \
	}

static void reach(struct client *admin, struct client *c, enum stage stage)
{
	memset(admin, 0, sizeof(*admin));
	admin->fd = -1;
	if (stage == DIALLED) {
		client_dial(c, fixture.port);
	} else if (stage == NEGOTIATED) {
		client_open(c, fixture.port, 0);
	} else if (stage == ADMIN) {
		client_admin(c, &fixture, 0);
	} else {
		client_admin(admin, &fixture, 0);
		client_io(c, &fixture, admin, 0, false);
	}
}

Test(storage_abuse, malformed)
{
	const struct row rows[] = {
		{"command before ICReq", DIALLED, {.ch = CH(PDU_CAPSULE_CMD, 0, 72, 0, 72)}, 72, FES_SEQUENCE, 0},
		{"unknown type", DIALLED, {.ch = CH(0x42, 0, 24, 0, 24)}, 24, FES_INVALID_HEADER, 0},
		{"ICReq of wrong HLEN", DIALLED, {.ch = CH(PDU_ICREQ, 0, 64, 0, 128)}, 128, FES_INVALID_HEADER, 2},
		{"ICReq of wrong PLEN", DIALLED, {.ch = CH(PDU_ICREQ, 0, 128, 0, 256)}, 128, FES_INVALID_HEADER, 4},
		{"ICReq of another format",
		 DIALLED,
		 {.icreq = {.ch = CH(PDU_ICREQ, 0, 128, 0, 128), .pfv = htole16(9)}},
		 128,
		 FES_UNSUPPORTED,
		 8},
		{"second ICReq", NEGOTIATED, {.ch = CH(PDU_ICREQ, 0, 128, 0, 128)}, 128, FES_SEQUENCE, 0},
		{"PDU of the other direction",
		 NEGOTIATED,
		 {.ch = CH(PDU_CAPSULE_RESP, 0, 24, 0, 24)},
		 24,
		 FES_INVALID_HEADER,
		 0},
		{"capsule of wrong HLEN",
		 IO_QUEUE,
		 {.ch = CH(PDU_CAPSULE_CMD, 0, 24, 0, 72)},
		 72,
		 FES_INVALID_HEADER,
		 2},
		{"capsule that claims a digest",
		 IO_QUEUE,
		 {.ch = CH(PDU_CAPSULE_CMD, PDU_F_HDGST, 72, 0, 76)},
		 76,
		 FES_INVALID_HEADER,
		 1},
		{"capsule with PDO inside its header",
		 IO_QUEUE,
		 {.ch = CH(PDU_CAPSULE_CMD, 0, 72, 8, 584)},
		 72,
		 FES_INVALID_HEADER,
		 3},
		{"capsule with too much data",
		 IO_QUEUE,
		 {.ch = CH(PDU_CAPSULE_CMD, 0, 72, 72, 1 << 20)},
		 72,
		 FES_LIMIT,
		 0},
		{"PLEN of 4 GiB", IO_QUEUE, {.ch = CH(PDU_CAPSULE_CMD, 0, 72, 72, 0xffffffff)}, 72, FES_LIMIT, 0},
		{"H2CData without R2T",
		 IO_QUEUE,
		 {.data = {.ch = CH(PDU_H2C_DATA, PDU_F_LAST, 24, 24, 536), .ttag = htole16(3), .len = htole32(512)}},
		 24,
		 FES_INVALID_HEADER,
		 10},
		{"H2CData of an absurd tag",
		 ADMIN,
		 {.data = {.ch = CH(PDU_H2C_DATA, PDU_F_LAST, 24, 24, 536),
			   .ttag = htole16(0xffff),
			   .len = htole32(512)}},
		 24,
		 FES_INVALID_HEADER,
		 10},
		{"H2CData whose lengths disagree",
		 IO_QUEUE,
		 {.data = {.ch = CH(PDU_H2C_DATA, PDU_F_LAST, 24, 24, 536), .len = htole32(100)}},
		 24,
		 FES_INVALID_HEADER,
		 16},
	};
	struct client admin, c;
	struct pdu pdu;
	uint8_t quoted[256];
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];

		reach(&admin, &c, row->stage);
		cr_assert_eq(client_send(&c, &row->header, row->send), 0, "%s", row->name);
		/* Before ICResp a host's decoder expects that alone, but a TermReq may always come. */
		r = client_receive(&c, &pdu, quoted, sizeof(quoted));
		cr_expect_eq(r, 0, "%s: %d", row->name, r);
		if (!r) {
			cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ, "%s: type %u", row->name, pdu.type);
			cr_expect_eq(le16toh(pdu.header.term.fes), row->fes, "%s: fes %u", row->name,
				     le16toh(pdu.header.term.fes));
			cr_expect_eq(le32toh(pdu.header.term.fei), row->fei, "%s: fei %u", row->name,
				     le32toh(pdu.header.term.fei));
			cr_expect_eq(memcmp(quoted, &row->header, 8), 0, "%s: quotes the header", row->name);
		}
		cr_expect(is_closed(&c), "%s: closed", row->name);
		client_close(&c);
		if (admin.fd >= 0)
			client_close(&admin);
	}
	still_serves();
}

/* H2CData that answers a live R2T wrongly: what is changed, and what comes back. */
Test(storage_abuse, wrong_answers_to_r2t)
{
	static const struct {
		const char *name;
		int cid, ttag, offset, len;
		uint8_t flags;
		uint16_t fes;
		uint32_t fei;
	} rows[] = {
		{"another command", 1, 0, 0, 4096, PDU_F_LAST, FES_INVALID_HEADER, 8},
		{"another tag", 0, 1, 0, 4096, PDU_F_LAST, FES_INVALID_HEADER, 10},
		{"beyond the end", 0, 0, 4096, 4096, PDU_F_LAST, FES_OUT_OF_RANGE, 0},
		{"too long", 0, 0, 0, 8192, PDU_F_LAST, FES_OUT_OF_RANGE, 0},
		{"a gap", 0, 0, 2048, 2048, PDU_F_LAST, FES_INVALID_HEADER, 12},
		{"LAST too early", 0, 0, 0, 2048, PDU_F_LAST, FES_INVALID_HEADER, 1},
		{"LAST missing", 0, 0, 0, 4096, 0, FES_INVALID_HEADER, 1},
	};
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 40, NS_FILE, 0, 1);
	uint8_t buf[PDU_ENCODE_MAX], quoted[256];
	struct client admin, c;
	struct pdu pdu;
	size_t i, n;

	sqe.sgl = nvme_sgl_transport(4096);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		reach(&admin, &c, IO_QUEUE);
		cr_assert_eq(client_capsule(&c, &sqe, NULL, 0), 0);
		cr_assert_eq(client_receive(&c, &pdu, NULL, 0), 0);
		cr_assert_eq(pdu.type, PDU_R2T);
		n = pdu_encode_h2c_data(buf, &c.framing, htole16(40 + rows[i].cid),
					le16toh(pdu.header.data.ttag) + rows[i].ttag, rows[i].offset, rows[i].len,
					rows[i].flags);
		cr_assert_eq(client_send(&c, buf, n), 0);
		cr_assert_eq(client_receive(&c, &pdu, quoted, sizeof(quoted)), 0, "%s", rows[i].name);
		cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ, "%s", rows[i].name);
		cr_expect_eq(le16toh(pdu.header.term.fes), rows[i].fes, "%s: fes %u", rows[i].name,
			     le16toh(pdu.header.term.fes));
		cr_expect_eq(le32toh(pdu.header.term.fei), rows[i].fei, "%s: fei %u", rows[i].name,
			     le32toh(pdu.header.term.fei));
		cr_expect(is_closed(&c), "%s", rows[i].name);
		client_close(&c);
		client_close(&admin);
	}
	still_serves();
}

Test(storage_abuse, digests)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 1, NS_MEMORY, 0, 1);
	uint8_t buf[PDU_ENCODE_MAX], data[512] = {1}, quoted[256];
	const uint8_t wrong[4] = {0xde, 0xad, 0xbe, 0xef};
	struct client admin, c;
	struct pdu pdu;
	size_t n;

	client_admin(&admin, &fixture, PDU_DGST_HEADER | PDU_DGST_DATA);
	client_io(&c, &fixture, &admin, PDU_DGST_HEADER | PDU_DGST_DATA, false);
	/* A wrong data digest fails the command and nothing else. */
	sqe.sgl = nvme_sgl_in_capsule(512);
	n = pdu_encode_capsule_cmd(buf, &c.framing, &sqe, 512);
	cr_assert_eq(client_send(&c, buf, n) | client_send(&c, data, 512) | client_send(&c, wrong, 4), 0);
	cr_assert_eq(client_receive(&c, &pdu, NULL, 0), 0);
	cr_expect_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_TRANSIENT_TRANSPORT);
	cr_expect_eq(client_rw(&c, NVME_IO_READ, NS_MEMORY, 0, 1, data, 512, false), 0, "the queue lives on");
	/* A wrong header digest ends the connection. */
	n = pdu_encode_capsule_cmd(buf, &c.framing, &sqe, 512);
	buf[73] ^= 0xff;
	cr_assert_eq(client_send(&c, buf, n), 0);
	cr_assert_eq(client_receive(&c, &pdu, quoted, sizeof(quoted)), 0);
	cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ);
	cr_expect_eq(le16toh(pdu.header.term.fes), FES_HEADER_DIGEST);
	cr_expect(is_closed(&c));
	client_close(&c);
	client_close(&admin);
	still_serves();
}

/* ---- order of things ---- */

Test(storage_abuse, commands_out_of_order)
{
	struct client c;

	client_open(&c, fixture.port, 0);
	cr_expect_eq(client_run(&c, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), NVME_ST_SEQUENCE, "before Connect");
	cr_expect_eq(client_property_set(&c, NVME_PROP_CC, NVME_CC_EN), NVME_ST_SEQUENCE, "before Connect");
	cr_expect_eq(client_connect(&c, &(struct client_connect){}), 0);
	cr_expect_eq(
		client_run(&c, nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, NVME_FID_KATO, 0), NULL, 0, false, NULL),
		NVME_ST_SEQUENCE, "before CC.EN");
	client_close(&c);
	still_serves();
}

Test(storage_abuse, host_term_request)
{
	const struct pdu_error error = {.fes = FES_SEQUENCE};
	uint8_t buf[PDU_ENCODE_MAX], header[24] = {PDU_C2H_DATA};
	struct client c;

	client_admin(&c, &fixture, 0);
	cr_assert_eq(client_send(&c, buf, pdu_encode_term(buf, PDU_H2C_TERM_REQ, &error, header, sizeof(header))), 0);
	cr_expect(is_closed(&c));
	client_close(&c);
	still_serves();
}

Test(storage_abuse, more_commands_than_the_queue_has)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_MEMORY, 0, 8);
	struct client admin, c;
	unsigned int i;

	reach(&admin, &c, IO_QUEUE);
	sqe.sgl = nvme_sgl_transport(4096);
	/* Every one waits for data that never come; the queue has 32 entries. */
	for (i = 0; i < 40; i++) {
		sqe.cid = htole16(i);
		if (client_capsule(&c, &sqe, NULL, 0))
			break;
	}
	cr_expect(is_closed(&c));
	client_close(&c);
	client_close(&admin);
	still_serves();
}

/* ---- silence ---- */

Test(storage_abuse, connect_timeout)
{
	struct client silent, half;

	client_dial(&silent, fixture.port);
	client_open(&half, fixture.port, 0);
	cr_expect(is_closed(&silent), "no ICReq");
	cr_expect(is_closed(&half), "no Connect");
	client_close(&silent);
	client_close(&half);
	still_serves();
}

Test(storage_abuse, keep_alive_timeout)
{
	struct client admin, io;

	client_open(&admin, fixture.port, 0);
	cr_assert_eq(client_connect(&admin, &(struct client_connect){.kato_ms = 1000}), 0);
	cr_assert_eq(client_enable(&admin), 0);
	cr_assert_eq(client_run(&admin, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 0), NULL, 0,
				false, NULL),
		     0);
	client_open(&io, fixture.port, 0);
	io.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&io, &(struct client_connect){.qid = 1}), 0);
	cr_assert_eq(client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	cr_expect(is_closed(&admin), "the controller ends");
	cr_expect(is_closed(&io), "and its I/O queue, perhaps on another reactor");
	client_close(&admin);
	client_close(&io);
	still_serves();
}

Test(storage_abuse, admin_queue_gone)
{
	struct client admin, io;

	reach(&admin, &io, IO_QUEUE);
	client_close(&admin);
	cr_expect(is_closed(&io), "its I/O queues go with it");
	client_close(&io);
	still_serves();
}

/* ---- floods and resets ---- */

/* A host that asks for much and reads nothing: it is not served on, and others are. */
Test(storage_abuse, peer_that_never_reads)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 0, NS_FILE, 0, 64);
	struct client admin, c;
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	client_open(&c, fixture.port, 0);
	c.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&c, &(struct client_connect){.qid = 1, .entries = 1024}), 0);
	sqe.sgl = nvme_sgl_transport(64 * NS_BLOCK);
	for (i = 0; i < 1000; i++) {
		sqe.cid = htole16(i);
		cr_assert_eq(client_capsule(&c, &sqe, NULL, 0), 0);
	}
	still_serves();
	client_close(&c);
	client_close(&admin);
	still_serves();
}

static void reset(struct client *c)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	client_close(c);
}

Test(storage_abuse, resets_mid_transfer)
{
	static const uint32_t cuts[] = {1, 8, 71, 72, 73, 500, 4000};
	struct nvme_sqe read = nvme_sqe_rw(NVME_IO_READ, 1, NS_FILE, 0, 64);
	struct nvme_sqe write = nvme_sqe_rw(NVME_IO_WRITE, 2, NS_FILE, 0, 1);
	uint8_t buf[72 + 4096] = {0};
	struct client admin, c;
	size_t i;

	read.sgl = nvme_sgl_transport(64 * NS_BLOCK);
	write.sgl = nvme_sgl_in_capsule(4096);
	for (i = 0; i < ARRAY_SIZE(cuts); i++) {
		reach(&admin, &c, IO_QUEUE);
		pdu_encode_capsule_cmd(buf, &c.framing, &write, 4096);
		/* Reads under way, and half a write. */
		cr_assert_eq(client_capsule(&c, &read, NULL, 0) | client_send(&c, buf, cuts[i]), 0);
		if (i & 1)
			reset(&c);
		else
			client_close(&c);
		client_close(&admin);
	}
	still_serves();
}

Test(storage_abuse, many_connections)
{
	enum { ROUNDS = 5, COUNT = 100 };
	static struct client clients[COUNT];
	struct json_object *all, *list;
	int64_t open = 0;
	size_t i, n;

	for (i = 0; i < ROUNDS; i++) {
		for (n = 0; n < COUNT; n++)
			client_admin(&clients[n], &fixture, 0);
		for (n = 0; n < COUNT; n++)
			n & 1 ? reset(&clients[n]) : client_close(&clients[n]);
	}
	still_serves();
	/* Ends are noticed in their own time; the statistics are asked until they show it. */
	for (i = 0; i < 500; i++) {
		all = target_stats(fixture.target);
		list = json_object_object_get(all, "reactors");
		for (open = 0, n = 0; n < json_object_array_length(list); n++)
			open += json_object_get_int64(
				json_object_object_get(json_object_array_get_idx(list, n), "connections"));
		json_object_put(all);
		if (!open)
			break;
		poll(NULL, 0, 10);
	}
	cr_expect_eq(open, 0, "%ld connections left", (long)open);
}

/* Stopping with I/O under way ends every connection, and ends itself. */
Test(storage_stop, under_load, .timeout = 60)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 0, NS_FILE, 0, 64);
	struct client admin, c;
	unsigned int i;

	fixture_start(&fixture, 2, 0);
	reach(&admin, &c, IO_QUEUE);
	sqe.sgl = nvme_sgl_transport(64 * NS_BLOCK);
	for (i = 0; i < 30; i++) {
		sqe.cid = htole16(i);
		cr_assert_eq(client_capsule(&c, &sqe, NULL, 0), 0);
	}
	fixture_stop(&fixture);
	cr_expect(is_closed(&c));
	cr_expect(is_closed(&admin));
	client_close(&c);
	client_close(&admin);
}
