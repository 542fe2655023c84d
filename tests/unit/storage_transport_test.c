// SPDX-License-Identifier: Apache-2.0
/*
 * What ICReq and ICResp, Connect and `storage: transport:` settle for a connection, seen from the wire: alignment,
 * digests, MAXH2CDATA, several R2Ts, in-capsule data, queue sizes, command identifiers, and the share of the buffers
 * that one connection may hold. TCP Transport 1.0, sections 3.3 and 3.6.2; Base 2.0, section 3.3.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage/buffer.h"
#include "storage_client.h"

TestSuite(storage_transport, .timeout = 60);

static struct fixture fixture;

static void start_with(struct policy_transport transport)
{
	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .transport = transport});
}

/* A controller with I/O queue `io` of `entries`, whose ICReq says so. */
static void queue_open(struct client *admin, struct client *io, uint32_t entries, uint8_t dgst, uint8_t hpda,
		       uint32_t maxr2t)
{
	struct pdu_icresp icresp;

	client_admin(admin, &fixture, 0);
	client_open_as(io, fixture.port, dgst, hpda, maxr2t, &icresp);
	io->cntlid = admin->cntlid;
	cr_assert_eq(client_connect(io, &(struct client_connect){.qid = 1, .entries = entries}), 0);
}

static void queue_close(struct client *admin, struct client *io)
{
	client_close(io);
	client_close(admin);
}

static void fill(uint8_t *data, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

/* ---- ICReq and ICResp ---- */

Test(storage_transport, icresp_says_what_the_policy_does)
{
	static const struct policy_transport rows[] = {
		POLICY_TRANSPORT_DEFAULT,
		{.in_capsule = 8192, .max_h2c_data = 4096, .r2t = 4096, .r2ts = 1, .alignment = 128},
		{.in_capsule = 8192, .max_h2c_data = 65536, .r2t = 4096, .r2ts = 1, .alignment = 64},
	};
	struct pdu_icresp icresp;
	struct client c;
	uint8_t dgst;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start_with(rows[i]);
		for (dgst = 0; dgst <= (PDU_DGST_HEADER | PDU_DGST_DATA); dgst++) {
			client_open_as(&c, fixture.port, dgst, 0, 0, &icresp);
			cr_expect_eq(le16toh(icresp.pfv), PDU_PFV_1_0);
			cr_expect_eq(icresp.dgst, dgst, "digests are those that the host asks for");
			cr_expect_eq(le32toh(icresp.maxh2cdata), rows[i].max_h2c_data, "row %zu", i);
			cr_expect_eq((icresp.cpda + 1) * 4u, rows[i].alignment, "row %zu", i);
			client_close(&c);
		}
		fixture_stop(&fixture);
	}
}

/* HPDA: where data begin in each C2HData, with a header digest before them and without. */
Test(storage_transport, hpda)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 1, NS_MEMORY, 0, 8);
	uint8_t data[4096], dgst;
	struct client admin, io;
	unsigned int hpda;
	struct pdu pdu;

	sqe.sgl = nvme_sgl_transport(sizeof(data));
	start_with((struct policy_transport){});
	for (dgst = 0; dgst <= PDU_DGST_HEADER; dgst += PDU_DGST_HEADER) {
		unsigned int head = sizeof(struct pdu_data) + (dgst ? PDU_DIGEST_LEN : 0);

		for (hpda = 0; hpda <= PDU_PDA_MAX; hpda++) {
			unsigned int align = (hpda + 1) * 4;

			queue_open(&admin, &io, 32, dgst, hpda, 0);
			cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
			cr_assert_eq(client_receive(&io, &pdu, data, sizeof(data)), 0);
			cr_expect_eq(pdu.type, PDU_C2H_DATA);
			cr_expect_eq(pdu.data_offset, (head + align - 1) / align * align, "hpda %u: data at %u", hpda,
				     pdu.data_offset);
			queue_close(&admin, &io);
		}
	}
	fixture_stop(&fixture);
}

/* CPDA: data at the alignment that ICResp asks for are taken, in capsules and in H2CData; others are an error. */
Test(storage_transport, cpda)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 9, NS_MEMORY, 0, 8);
	uint8_t data[4096], back[4096], buf[PDU_ENCODE_MAX];
	struct client admin, io;
	bool in_capsule;
	struct pdu pdu;
	unsigned int align;

	for (align = 4; align <= 128; align += 4) {
		struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;

		transport.alignment = align;
		start_with(transport);
		queue_open(&admin, &io, 32, PDU_DGST_HEADER | PDU_DGST_DATA, 0, 0);
		for (in_capsule = false;; in_capsule = true) {
			fill(data, sizeof(data), align + in_capsule);
			cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_MEMORY, 0, 8, data, 4096, in_capsule), 0);
			cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_MEMORY, 0, 8, back, 4096, false), 0);
			cr_expect_arr_eq(back, data, sizeof(data), "align %u", align);
			if (in_capsule)
				break;
		}
		io.framing.align = 4;
		sqe.sgl = nvme_sgl_in_capsule(4096);
		pdu_encode_capsule_cmd(buf, &io.framing, &sqe, 4096);
		if (76 % align) {
			cr_assert_eq(client_send(&io, buf, 76), 0);
			cr_assert_eq(client_receive(&io, &pdu, data, sizeof(data)), 0);
			cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ);
			cr_expect_eq(le16toh(pdu.header.term.fes), FES_INVALID_HEADER);
			cr_expect_eq(le32toh(pdu.header.term.fei), offsetof(struct pdu_ch, pdo));
		}
		queue_close(&admin, &io);
		fixture_stop(&fixture);
	}
}

Test(storage_transport, max_h2c_data)
{
	struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 9, NS_FILE, 0, 4);
	uint8_t buf[PDU_ENCODE_MAX], data[152];
	struct client admin, io;
	struct pdu pdu;
	size_t n;

	transport.max_h2c_data = 8192;
	start_with(transport);
	queue_open(&admin, &io, 32, 0, 0, 0);
	sqe.sgl = nvme_sgl_transport(4 * NS_BLOCK);
	cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_R2T);
	cr_expect_eq(le32toh(pdu.header.data.len), 4 * NS_BLOCK, "an R2T may ask for more than one H2CData brings");
	n = pdu_encode_h2c_data(buf, &io.framing, sqe.cid, le16toh(pdu.header.data.ttag), 0, 8196, 0);
	cr_assert_eq(client_send(&io, buf, n), 0);
	cr_assert_eq(client_receive(&io, &pdu, data, sizeof(data)), 0);
	cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ);
	cr_expect_eq(le16toh(pdu.header.term.fes), FES_LIMIT);
	queue_close(&admin, &io);
	fixture_stop(&fixture);
}

/* ---- R2Ts ---- */

#define WRITE_LEN 65536u
#define R2T_LEN	  4096u

struct asked {
	uint16_t ttag;
	uint32_t offset, len;
};

/* One R2T of command `cid`, or none: the target has said all that it will until it is answered. */
static bool next_r2t(struct client *c, uint16_t cid, struct asked *ret_asked)
{
	struct pollfd readable = {.fd = c->fd, .events = POLLIN};
	struct pdu pdu;

	if (poll(&readable, 1, 0) != 1)
		return false;
	cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_R2T, "type %u", pdu.type);
	cr_assert_eq(le16toh(pdu.header.data.cccid), cid);
	ret_asked->ttag = le16toh(pdu.header.data.ttag);
	ret_asked->offset = le32toh(pdu.header.data.offset);
	ret_asked->len = le32toh(pdu.header.data.len);
	return true;
}

static void answer(struct client *c, uint16_t cid, const struct asked *a, const uint8_t *data, uint32_t piece)
{
	uint8_t buf[PDU_ENCODE_MAX];
	uint32_t done, n;
	size_t head;

	for (done = 0; done < a->len; done += n) {
		n = min(piece, a->len - done);
		head = pdu_encode_h2c_data(buf, &c->framing, htole16(cid), a->ttag, a->offset + done, n,
					   done + n == a->len ? PDU_F_LAST : 0);
		cr_assert_eq(client_send(c, buf, head) | client_send(c, data + a->offset + done, n), 0);
	}
}

/* A command behind the write, answered at once: when its answer is here, all R2Ts that were due have come before. */
static void barrier(struct client *c, uint16_t cid, struct asked *asked, unsigned int *n)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE_ZEROES, 99, NS_NULL, 0, 1);
	struct pdu pdu;

	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
	for (;;) {
		cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
		if (pdu.type == PDU_CAPSULE_RESP)
			break;
		cr_assert_eq(pdu.type, PDU_R2T);
		asked[*n].ttag = le16toh(pdu.header.data.ttag);
		asked[*n].offset = le32toh(pdu.header.data.offset);
		asked[(*n)++].len = le32toh(pdu.header.data.len);
	}
	cr_assert_eq(le16toh(pdu.header.resp.cqe.cid), 99);
	cr_assert_not(next_r2t(c, cid, &asked[*n]));
}

/* Writes WRITE_LEN bytes and never has more than `window` R2Ts open; answers the last of those first if backwards. */
static void write_by_r2ts(struct client *c, unsigned int window, bool backwards, const uint8_t *data)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 5, NS_FILE, 16, WRITE_LEN / NS_BLOCK);
	struct asked asked[WRITE_LEN / R2T_LEN + 1];
	unsigned int n = 0, done = 0, i;
	uint32_t total = 0;
	struct pdu pdu;

	sqe.sgl = nvme_sgl_transport(WRITE_LEN);
	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
	while (total < WRITE_LEN) {
		barrier(c, 5, asked, &n);
		cr_assert_gt(n, done, "the target goes on asking");
		cr_assert_leq(n - done, window, "%u R2Ts are open", n - done);
		if (!done)
			cr_assert_eq(n, window, "it uses what it may");
		for (i = 0; i < n - done; i++) {
			const struct asked *a = &asked[backwards ? n - 1 - i : done + i];

			cr_expect_eq(a->len, R2T_LEN);
			answer(c, 5, a, data, 1024);
			total += a->len;
		}
		for (i = done; i < n; i++)
			cr_expect_eq(asked[i].offset, i * R2T_LEN, "R2Ts ask in order");
		done = n;
	}
	cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
}

Test(storage_transport, r2ts)
{
	static const struct {
		unsigned int policy, maxr2t, window;
		bool backwards;
	} rows[] = {
		{1, 0, 1, false}, {4, 0, 1, false}, {4, 1, 2, false}, {4, 3, 4, false},		{4, 100, 4, false},
		{8, 7, 8, false}, {8, 7, 8, true},  {3, 2, 3, true},  {8, UINT32_MAX, 8, true},
	};
	uint8_t *data = malloc(WRITE_LEN), *back = malloc(WRITE_LEN);
	struct client admin, io;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;

		transport.r2ts = rows[i].policy;
		transport.r2t = R2T_LEN;
		start_with(transport);
		queue_open(&admin, &io, 32, 0, 0, rows[i].maxr2t);
		fill(data, WRITE_LEN, i);
		write_by_r2ts(&io, rows[i].window, rows[i].backwards, data);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 16, WRITE_LEN / NS_BLOCK, back, WRITE_LEN, false),
			     0);
		cr_expect_arr_eq(back, data, WRITE_LEN, "row %zu", i);
		queue_close(&admin, &io);
		fixture_stop(&fixture);
	}
	free(data);
	free(back);
}

/* Answers to several R2Ts may be mixed: each R2T has its own tag, and its data come in its own order. */
Test(storage_transport, r2ts_interleaved)
{
	struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 5, NS_FILE, 0, 4);
	uint8_t data[4 * NS_BLOCK], back[4 * NS_BLOCK], buf[PDU_ENCODE_MAX];
	struct client admin, io;
	struct asked asked[5];
	unsigned int n = 0, at, i;
	struct pdu pdu;
	size_t head;

	transport.r2t = NS_BLOCK;
	start_with(transport);
	queue_open(&admin, &io, 32, 0, 0, 3);
	fill(data, sizeof(data), 77);
	sqe.sgl = nvme_sgl_transport(sizeof(data));
	cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	barrier(&io, 5, asked, &n);
	cr_assert_eq(n, 4);
	for (at = 0; at < NS_BLOCK; at += 512)
		for (i = 0; i < 4; i++) {
			head = pdu_encode_h2c_data(buf, &io.framing, sqe.cid, asked[i].ttag, i * NS_BLOCK + at, 512,
						   at + 512 == NS_BLOCK ? PDU_F_LAST : 0);
			cr_assert_eq(client_send(&io, buf, head) | client_send(&io, data + i * NS_BLOCK + at, 512), 0);
		}
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 0, 4, back, sizeof(back), false), 0);
	cr_expect_arr_eq(back, data, sizeof(data));
	queue_close(&admin, &io);
	fixture_stop(&fixture);
}

/* A wrong digest ends the asking: what was asked for may still come, then the command fails and the queue lives. */
Test(storage_transport, r2ts_and_a_wrong_digest)
{
	struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 5, NS_FILE, 0, 4);
	uint8_t data[4 * NS_BLOCK] = {0}, buf[PDU_ENCODE_MAX];
	struct client admin, io;
	struct asked asked[5];
	unsigned int n = 0, i;
	__le32 digest;
	struct pdu pdu;
	size_t head;

	transport.r2t = NS_BLOCK;
	start_with(transport);
	queue_open(&admin, &io, 32, PDU_DGST_DATA, 0, 1);
	sqe.sgl = nvme_sgl_transport(sizeof(data));
	cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	barrier(&io, 5, asked, &n);
	cr_assert_eq(n, 2);
	for (i = 0; i < 2; i++) {
		head = pdu_encode_h2c_data(buf, &io.framing, sqe.cid, asked[i].ttag, i * NS_BLOCK, NS_BLOCK,
					   PDU_F_LAST);
		digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, NS_BLOCK)) ^ (i ? 0 : htole32(1));
		cr_assert_eq(client_send(&io, buf, head) | client_send(&io, data, NS_BLOCK) |
				     client_send(&io, &digest, sizeof(digest)),
			     0);
	}
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP, "no third R2T: %u", pdu.type);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_TRANSIENT_TRANSPORT);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, 4, data, sizeof(data), false), 0);
	queue_close(&admin, &io);
	fixture_stop(&fixture);
}

/* ---- in-capsule data ---- */

Test(storage_transport, in_capsule)
{
	static const uint32_t sizes[] = {0, 4096, 8192, 65536, BUFFER_MAX_LEN};
	uint8_t *data = malloc(BUFFER_MAX_LEN), *back = malloc(BUFFER_MAX_LEN), page[NVME_IDENTIFY_LEN];
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 3, NS_FILE, 0, 1);
	struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;
	uint8_t buf[PDU_ENCODE_MAX];
	struct client admin, io;
	struct pdu pdu;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		transport.in_capsule = sizes[i];
		start_with(transport);
		queue_open(&admin, &io, 32, 0, 0, 0);
		cr_assert_eq(
			client_run(&admin, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), page, sizeof(page), false, NULL), 0);
		cr_expect_eq(le32toh(((struct nvme_id_ctrl *)page)->ioccsz), (64 + sizes[i]) / 16, "IOCCSZ");
		fill(data, sizes[i], i);
		if (sizes[i]) {
			cr_expect_eq(
				client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, sizes[i] / NS_BLOCK, data, sizes[i], true),
				0);
			cr_expect_eq(
				client_rw(&io, NVME_IO_READ, NS_FILE, 0, sizes[i] / NS_BLOCK, back, sizes[i], false),
				0);
			cr_expect_arr_eq(back, data, sizes[i], "%u bytes", sizes[i]);
		}
		/* One dword more than a capsule may carry. */
		sqe.sgl = nvme_sgl_in_capsule(sizes[i] + 4);
		cr_assert_eq(client_send(&io, buf, pdu_encode_capsule_cmd(buf, &io.framing, &sqe, sizes[i] + 4)), 0);
		cr_assert_eq(client_receive(&io, &pdu, page, sizeof(page)), 0);
		cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ);
		cr_expect_eq(le16toh(pdu.header.term.fes), FES_LIMIT);
		queue_close(&admin, &io);
		fixture_stop(&fixture);
	}
	free(data);
	free(back);
}

/* ---- queues and identifiers ---- */

/* `n` writes that wait for their data, with identifiers from `first`; then the data. */
static void many_writes(struct client *c, unsigned int first, unsigned int n)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_MEMORY, 0, 1);
	static struct asked asked[1024];
	static const uint8_t data[512];
	static uint16_t cids[1024];
	unsigned int i;
	struct pdu pdu;

	sqe.sgl = nvme_sgl_transport(sizeof(data));
	for (i = 0; i < n; i++) {
		sqe.cid = htole16(first + i);
		cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
	}
	for (i = 0; i < n; i++) {
		cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
		cr_assert_eq(pdu.type, PDU_R2T);
		cids[i] = le16toh(pdu.header.data.cccid);
		asked[i] = (struct asked){.ttag = le16toh(pdu.header.data.ttag), .len = sizeof(data)};
	}
	for (i = 0; i < n; i++)
		answer(c, cids[i], &asked[i], data, sizeof(data));
	for (i = 0; i < n; i++) {
		cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
		cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
		cr_assert_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
	}
}

Test(storage_transport, queue_sizes)
{
	static const uint32_t sizes[] = {2, 3, 32, 33, 100, 512, 1023, 1024};
	struct client admin, io;
	size_t i;

	start_with((struct policy_transport){});
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		queue_open(&admin, &io, sizes[i], 0, 0, 0);
		many_writes(&io, 1000 * i, sizes[i]);
		many_writes(&io, 1000 * i, sizes[i]); /* the same identifiers again: they are free */
		queue_close(&admin, &io);
	}
	client_admin(&admin, &fixture, 0);
	client_open(&io, fixture.port, 0);
	io.cntlid = admin.cntlid;
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1, .entries = 1025}), NVME_ST_CONNECT_PARAM);
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1, .entries = 1}), NVME_ST_CONNECT_PARAM);
	/* Refused for what it joins, after the larger queue's commands were made; then a still larger one. */
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1, .entries = 100, .cntlid = 77}),
		     NVME_ST_CONNECT_PARAM);
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1, .entries = 1024}), 0);
	many_writes(&io, 64000, 1024);
	queue_close(&admin, &io);
	fixture_stop(&fixture);
}

/* An admin queue may be as long as an I/O queue. */
Test(storage_transport, long_admin_queue)
{
	struct nvme_sqe sqe = nvme_sqe_keep_alive(0);
	struct client admin;
	unsigned int i;
	struct pdu pdu;

	start_with((struct policy_transport){});
	client_open(&admin, fixture.port, 0);
	cr_assert_eq(client_connect(&admin, &(struct client_connect){.entries = 1024}), 0);
	for (i = 0; i < 1024; i++) {
		sqe.cid = htole16(i);
		cr_assert_eq(client_capsule(&admin, &sqe, NULL, 0), 0);
	}
	for (i = 0; i < 1024; i++) {
		cr_assert_eq(client_receive(&admin, &pdu, NULL, 0), 0);
		cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	}
	client_close(&admin);
	fixture_stop(&fixture);
}

/* Base 2.0, figure 102: an identifier that is in use is a Command ID Conflict, and the first command goes on. */
Test(storage_transport, identifier_in_use)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 7, NS_MEMORY, 0, 1);
	struct client admin, io;
	uint8_t data[512] = {1};
	struct asked asked[2];
	unsigned int n = 0, i;
	struct pdu pdu;

	start_with((struct policy_transport){});
	queue_open(&admin, &io, 32, 0, 0, 0);
	sqe.sgl = nvme_sgl_transport(sizeof(data));
	cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	barrier(&io, 7, asked, &n);
	cr_assert_eq(n, 1);
	for (i = 0; i < 3; i++) { /* each is refused, and does not free the identifier */
		cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
		cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
		cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
		cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 7);
		cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_CID_CONFLICT);
	}
	answer(&io, 7, &asked[0], data, sizeof(data));
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
	io.cid = 6; /* the next is 7 again */
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_MEMORY, 0, 1, data, sizeof(data), false), 0);
	queue_close(&admin, &io);
	fixture_stop(&fixture);
}

/* ---- shares of the buffers ---- */

/* Asks to write as much as it may, and never sends a byte of it. */
static void hog_open(struct client *admin, struct client *io)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_FILE, 0, BUFFER_MAX_LEN / NS_BLOCK);
	unsigned int i;

	queue_open(admin, io, 1024, 0, 0, 0);
	sqe.sgl = nvme_sgl_transport(BUFFER_MAX_LEN);
	for (i = 0; i < 1000; i++) {
		sqe.cid = htole16(i);
		cr_assert_eq(client_capsule(io, &sqe, NULL, 0), 0);
	}
}

Test(storage_transport, one_connection_leaves_buffers_to_others)
{
	uint8_t *data = calloc(1, BUFFER_MAX_LEN);
	struct client hog_admin, hog, admin, io;

	start_with((struct policy_transport){});
	hog_open(&hog_admin, &hog);
	queue_open(&admin, &io, 32, 0, 0, 0);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, BUFFER_MAX_LEN / NS_BLOCK, data, BUFFER_MAX_LEN, false),
		     0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 0, 1, data, NS_BLOCK, false), 0);
	queue_close(&admin, &io);
	queue_close(&hog_admin, &hog);
	fixture_stop(&fixture);
	free(data);
}

/* Many that do so take all the buffers there are, for as long as the stall timeout; then they are closed. */
Test(storage_transport, hogs_are_closed_when_others_wait)
{
	enum { HOGS = 8 };
	static struct client admins[HOGS], hogs[HOGS];
	uint8_t *data = calloc(1, BUFFER_MAX_LEN);
	struct client admin, io;
	unsigned int i;

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .stall_timeout_ms = 500});
	for (i = 0; i < HOGS; i++)
		hog_open(&admins[i], &hogs[i]);
	queue_open(&admin, &io, 32, 0, 0, 0);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, BUFFER_MAX_LEN / NS_BLOCK, data, BUFFER_MAX_LEN, false),
		     0);
	queue_close(&admin, &io);
	for (i = 0; i < HOGS; i++)
		queue_close(&admins[i], &hogs[i]);
	fixture_stop(&fixture);
	free(data);
}
