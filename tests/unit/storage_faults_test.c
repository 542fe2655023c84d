// SPDX-License-Identifier: Apache-2.0
/*
 * Good PDUs at the wrong moment, and peers that behave badly: one row a case, with what it does, what the target
 * answers, and why. Fields that are wrong in themselves are in storage_fields_test.c, floods in storage_abuse_test.c.
 * Sections are of TCP Transport 1.0 ("TCP") and Base 2.0 ("Base").
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "storage_client.h"

static struct fixture fixture;

static void start(void)
{
	fixture_start_as(&fixture,
			 &(struct fixture_options){.reactors = 2, .connect_timeout_ms = 2000, .stall_timeout_ms = 500});
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_faults, .init = start, .fini = stop, .timeout = 120);

/* ---- what every case begins and ends with ---- */

enum stage { DIALLED, NEGOTIATED, ADMIN, IO_QUEUE };

struct pair {
	struct client admin, c; /* admin.fd -1: c is all there is */
};

static void reach(struct pair *p, enum stage stage)
{
	p->admin.fd = -1;
	if (stage == DIALLED) {
		client_dial(&p->c, fixture.port);
	} else if (stage == NEGOTIATED) {
		client_open(&p->c, fixture.port, 0);
	} else if (stage == ADMIN) {
		client_admin(&p->c, &fixture, 0);
	} else {
		client_admin(&p->admin, &fixture, 0);
		client_io(&p->c, &fixture, &p->admin, 0, false);
	}
}

static void leave(struct pair *p)
{
	client_close(&p->c);
	if (p->admin.fd >= 0)
		client_close(&p->admin);
}

static void still_serves(void)
{
	uint8_t data[NS_BLOCK];
	struct pair p;

	reach(&p, IO_QUEUE);
	cr_expect_eq(client_rw(&p.c, NVME_IO_READ, NS_FILE, 0, 1, data, NS_BLOCK, false), 0);
	leave(&p);
}

static void send_all(struct client *c, const void *bytes, size_t len)
{
	cr_assert_eq(client_send(c, bytes, len), 0);
}

/* ---- PDUs at the wrong moment ---- */

static void capsule(struct client *c, struct nvme_sqe sqe, uint16_t cid)
{
	sqe.cid = htole16(cid);
	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
}

static void write_begin(struct client *c, uint16_t cid, uint32_t len, struct pdu *ret_r2t)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_FILE, 0, len / NS_BLOCK);

	sqe.sgl = nvme_sgl_transport(len);
	capsule(c, sqe, cid);
	cr_assert_eq(client_receive(c, ret_r2t, NULL, 0), 0);
	cr_assert_eq(ret_r2t->type, PDU_R2T);
}

/* `len` bytes at `offset`, with CID and tag as in the R2T. */
static void h2c(struct client *c, const struct pdu *r2t, int tag_by, uint32_t offset, uint32_t len, uint8_t flags)
{
	static const uint8_t zeros[1 << 16];
	uint8_t buf[PDU_ENCODE_MAX];

	send_all(c, buf,
		 pdu_encode_h2c_data(buf, &c->framing, r2t->header.data.cccid, le16toh(r2t->header.data.ttag) + tag_by,
				     offset, len, flags));
	/* The target may close at the header already. */
	client_send(c, zeros, len);
}

static void icreq(struct client *c)
{
	uint8_t buf[PDU_ENCODE_MAX];

	send_all(c, buf, pdu_encode_icreq(buf, 0, 0, 0));
}

static void command_first(struct client *c)
{
	capsule(c, nvme_sqe_keep_alive(0), 1);
}

static void data_before_command(struct client *c)
{
	const struct pdu r2t = {.header.data = {.cccid = htole16(1)}};

	h2c(c, &r2t, 0, 0, 512, PDU_F_LAST);
}

static void data_for_a_read(struct client *c)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 0, NS_FILE, 0, 1);
	const struct pdu r2t = {.header.data = {.cccid = htole16(3)}};
	uint8_t data[NS_BLOCK];
	struct pdu pdu;

	sqe.sgl = nvme_sgl_transport(NS_BLOCK);
	capsule(c, sqe, 3);
	cr_assert_eq(client_receive(c, &pdu, data, sizeof(data)), 0);
	cr_assert_eq(client_receive(c, &pdu, data, sizeof(data)), 0);
	h2c(c, &r2t, 0, 0, NS_BLOCK, PDU_F_LAST);
}

static void data_twice(struct client *c)
{
	struct pdu r2t, pdu;

	write_begin(c, 3, NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, 0, NS_BLOCK, PDU_F_LAST);
	cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	h2c(c, &r2t, 0, 0, NS_BLOCK, PDU_F_LAST);
}

static void data_of_the_next_command(struct client *c)
{
	struct pdu first, second;

	write_begin(c, 3, NS_BLOCK, &first);
	write_begin(c, 4, NS_BLOCK, &second);
	second.header.data.cccid = first.header.data.cccid;
	h2c(c, &second, 0, 0, NS_BLOCK, PDU_F_LAST);
}

static void tag_of_a_later_r2t(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, NS_BLOCK, &r2t);
	h2c(c, &r2t, 1 << 10, 0, NS_BLOCK, PDU_F_LAST);
}

static void data_beyond(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, NS_BLOCK, NS_BLOCK, PDU_F_LAST);
}

static void data_too_long(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, 0, 2 * NS_BLOCK, PDU_F_LAST);
}

static void data_with_a_gap(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, 2 * NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, NS_BLOCK, NS_BLOCK, PDU_F_LAST);
}

static void data_again(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, 2 * NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, 0, NS_BLOCK, 0);
	h2c(c, &r2t, 0, 0, NS_BLOCK, 0);
}

static void last_too_early(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, 2 * NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, 0, NS_BLOCK, PDU_F_LAST);
}

static void last_missing(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 3, NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, 0, NS_BLOCK, 0);
}

static void answer_of_a_target(struct client *c)
{
	const struct nvme_cqe cqe = {};
	uint8_t buf[PDU_ENCODE_MAX];

	send_all(c, buf, pdu_encode_capsule_resp(buf, &c->framing, &cqe));
}

static void r2t_of_a_host(struct client *c)
{
	uint8_t buf[PDU_ENCODE_MAX];

	send_all(c, buf, pdu_encode_r2t(buf, &c->framing, 0, 0, 0, 512));
}

static void noise(struct client *c)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: target\r\n\r\n";

	send_all(c, text, sizeof(text) - 1);
}

Test(storage_faults, out_of_phase)
{
	static const struct {
		const char *name;
		enum stage stage;
		void (*play)(struct client *c);
		uint16_t fes;
		uint32_t fei;
		const char *why;
	} rows[] = {
		{"a command before ICReq", DIALLED, command_first, FES_SEQUENCE, 0,
		 "TCP 3.1: the first PDU of a host is ICReq"},
		{"H2CData before ICReq", DIALLED, data_before_command, FES_SEQUENCE, 0, "TCP 3.1: the same"},
		{"ICReq twice", NEGOTIATED, icreq, FES_SEQUENCE, 0, "TCP 3.6.2.2: once a connection"},
		{"ICReq on a live queue", IO_QUEUE, icreq, FES_SEQUENCE, 0, "TCP 3.6.2.2: the same"},
		{"another protocol", DIALLED, noise, FES_INVALID_HEADER, 0, "TCP 3.6.1: no PDU has this type"},
		{"CapsuleResp from a host", IO_QUEUE, answer_of_a_target, FES_INVALID_HEADER, 0,
		 "TCP 3.6.2.7: controllers send it"},
		{"R2T from a host", IO_QUEUE, r2t_of_a_host, FES_INVALID_HEADER, 0,
		 "TCP 3.6.2.10: controllers send it"},
		{"H2CData before any command", IO_QUEUE, data_before_command, FES_INVALID_HEADER, 10,
		 "TCP 3.3.2.2: data follow an R2T and carry its tag"},
		{"H2CData before Connect", NEGOTIATED, data_before_command, FES_INVALID_HEADER, 10, "the same"},
		{"H2CData for a read", IO_QUEUE, data_for_a_read, FES_INVALID_HEADER, 10, "the same"},
		{"H2CData of a finished write", IO_QUEUE, data_twice, FES_INVALID_HEADER, 10,
		 "a tag ends with the data that it asked for"},
		{"H2CData with another command's tag", IO_QUEUE, data_of_the_next_command, FES_INVALID_HEADER, 8,
		 "TCP 3.6.2.8: CCCID is that of the tag's command"},
		{"H2CData of an R2T to come", IO_QUEUE, tag_of_a_later_r2t, FES_INVALID_HEADER, 10,
		 "it has not been sent"},
		{"H2CData beyond the transfer", IO_QUEUE, data_beyond, FES_OUT_OF_RANGE, 0,
		 "TCP 3.6.2.5: data transfer out of range"},
		{"H2CData longer than the transfer", IO_QUEUE, data_too_long, FES_OUT_OF_RANGE, 0, "the same"},
		{"H2CData with a gap", IO_QUEUE, data_with_a_gap, FES_INVALID_HEADER, 12,
		 "TCP 3.3.2.2: the data of an R2T come in order"},
		{"H2CData twice the same", IO_QUEUE, data_again, FES_INVALID_HEADER, 12, "the same"},
		{"LAST before the end", IO_QUEUE, last_too_early, FES_INVALID_HEADER, 1,
		 "TCP 3.6.2.8: LAST_PDU is on the last of an R2T"},
		{"no LAST at the end", IO_QUEUE, last_missing, FES_INVALID_HEADER, 1, "the same"},
	};
	uint8_t quoted[256];
	struct pair p;
	struct pdu pdu;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		reach(&p, rows[i].stage);
		rows[i].play(&p.c);
		r = client_receive(&p.c, &pdu, quoted, sizeof(quoted));
		cr_expect_eq(r, 0, "%s: %d", rows[i].name, r);
		if (!r) {
			cr_expect_eq(pdu.type, PDU_C2H_TERM_REQ, "%s: type %u (%s)", rows[i].name, pdu.type,
				     rows[i].why);
			cr_expect_eq(le16toh(pdu.header.term.fes), rows[i].fes, "%s: fes %u (%s)", rows[i].name,
				     le16toh(pdu.header.term.fes), rows[i].why);
			cr_expect_eq(le32toh(pdu.header.term.fei), rows[i].fei, "%s: fei %u (%s)", rows[i].name,
				     le32toh(pdu.header.term.fei), rows[i].why);
		}
		/* Nothing follows a C2HTermReq (TCP 3.6.2.5), whatever else is sent. */
		client_send(&p.c, quoted, sizeof(quoted));
		r = client_receive(&p.c, &pdu, quoted, sizeof(quoted));
		cr_expect_eq(r, -ECONNRESET, "%s: %d", rows[i].name, r);
		leave(&p);
	}
	still_serves();
}

/* ---- commands at the wrong moment, or on the wrong queue ---- */

static struct nvme_sqe fused(struct nvme_sqe sqe, uint8_t flags)
{
	sqe.flags = flags;
	return sqe;
}

static struct nvme_sqe with_sgl(struct nvme_sqe sqe, struct nvme_sgl sgl)
{
	sqe.sgl = sgl;
	return sqe;
}

Test(storage_faults, commands)
{
	const struct nvme_sqe read = nvme_sqe_rw(NVME_IO_READ, 0, NS_NULL, 0, 1);
	const struct nvme_sqe write = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_NULL, 0, 1);
	const struct nvme_sgl block = nvme_sgl_transport(NS_BLOCK);
	struct nvme_sgl past = nvme_sgl_in_capsule(NS_BLOCK), keyed = block;

	past.addr = htole64(8);
	keyed.id = 0x40;
	const struct {
		const char *name;
		enum stage stage;
		struct nvme_sqe sqe;
		uint16_t status;
		const char *why;
	} rows[] = {
		{"Keep Alive before Connect", NEGOTIATED, nvme_sqe_keep_alive(0), NVME_ST_SEQUENCE,
		 "Base 6.3: Connect first"},
		{"Read before Connect", NEGOTIATED, with_sgl(read, block), NVME_ST_SEQUENCE, "the same"},
		{"Property Get before Connect", NEGOTIATED, nvme_property_get_make(0, NVME_PROP_CSTS, 4),
		 NVME_ST_SEQUENCE, "the same"},
		{"Property Get on an I/O queue", IO_QUEUE, nvme_property_get_make(0, NVME_PROP_CSTS, 4),
		 NVME_ST_INVALID_OPCODE, "Base 6.1: an admin queue's"},
		{"Keep Alive on an I/O queue", IO_QUEUE, nvme_sqe_keep_alive(0), NVME_ST_INVALID_OPCODE,
		 "Base 5: an admin queue's"},
		{"Flush on the admin queue", ADMIN, nvme_sqe_flush(0, NS_NULL), NVME_ST_INVALID_OPCODE,
		 "an I/O queue's"},
		{"data pointer of PRPs", IO_QUEUE, fused(with_sgl(read, block), 0), NVME_ST_INVALID_FIELD,
		 "Base 3.3.3.1: Fabrics know SGLs only"},
		{"a keyed SGL", IO_QUEUE, with_sgl(read, keyed), NVME_ST_SGL_TYPE, "TCP 3.3: two kinds of descriptor"},
		{"a read into the capsule", IO_QUEUE, with_sgl(read, nvme_sgl_in_capsule(NS_BLOCK)), NVME_ST_SGL_TYPE,
		 "capsules go to the controller"},
		{"in-capsule data that are not there", IO_QUEUE, with_sgl(write, nvme_sgl_in_capsule(NS_BLOCK)),
		 NVME_ST_SGL_OFFSET, "Base 4.1.2.1: within the capsule"},
		{"in-capsule data past the end", IO_QUEUE, with_sgl(write, past), NVME_ST_SGL_OFFSET, "the same"},
		{"more than MDTS", IO_QUEUE,
		 with_sgl(nvme_sqe_rw(NVME_IO_READ, 0, NS_NULL, 0, 65), nvme_sgl_transport(65 * NS_BLOCK)),
		 NVME_ST_INVALID_FIELD, "Base 5.17.2.1: MDTS, here 256 KiB"},
	};
	struct pair p;
	struct pdu pdu;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		reach(&p, rows[i].stage);
		capsule(&p.c, rows[i].sqe, 900 + i);
		cr_assert_eq(client_receive(&p.c, &pdu, NULL, 0), 0, "%s", rows[i].name);
		cr_assert_eq(pdu.type, PDU_CAPSULE_RESP, "%s: type %u", rows[i].name, pdu.type);
		cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 900 + i, "%s", rows[i].name);
		cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, rows[i].status,
			     "%s: status %x (%s)", rows[i].name, nvme_cqe_status(&pdu.header.resp.cqe), rows[i].why);
		leave(&p);
	}
	still_serves();
}

/* Connect: each refused with what is wrong, and the connection may try again (Base 6.3). */
Test(storage_faults, connect)
{
	static const struct {
		const char *name;
		struct client_connect how;
		int status;
		const char *why;
	} rows[] = {
		{"queue 0 of a controller that exists",
		 {.qid = 0, .cntlid = 1},
		 NVME_ST_CONNECT_PARAM,
		 "dynamic controllers only"},
		{"queue beyond the grant", {.qid = 5}, NVME_ST_CONNECT_PARAM, "Set Features granted four"},
		{"queue 129", {.qid = 129}, NVME_ST_CONNECT_PARAM, "128 at most"},
		{"queue 65535", {.qid = 65535}, NVME_ST_CONNECT_PARAM, "the same"},
		{"a controller that is not there",
		 {.qid = 1, .cntlid = 0xffe0},
		 NVME_ST_CONNECT_PARAM,
		 "unknown CNTLID"},
		{"a reserved controller id",
		 {.qid = 1, .cntlid = 0xfff5},
		 NVME_ST_CONNECT_PARAM,
		 "Base 3.1.2: reserved"},
		{"controller 0xffff for an I/O queue",
		 {.qid = 1, .cntlid = 0xffff},
		 NVME_ST_CONNECT_PARAM,
		 "admin queues only"},
		{"one entry", {.qid = 1, .entries = 1}, NVME_ST_CONNECT_PARAM, "SQSIZE 0 is invalid"},
		{"1025 entries", {.qid = 1, .entries = 1025}, NVME_ST_CONNECT_PARAM, "over CAP.MQES"},
		{"another subsystem",
		 {.qid = 1, .subnqn = TEST_PRIVATE, .hostnqn = TEST_OTHER},
		 NVME_ST_CONNECT_PARAM,
		 "not the controller's"},
		{"another host", {.qid = 1, .hostnqn = TEST_OTHER}, NVME_ST_CONNECT_PARAM, "not the controller's"},
		{"a queue that is in use", {.qid = 2}, NVME_ST_SEQUENCE, "Base 6.3: command sequence error"},
		{"at last", {.qid = 1}, 0, ""},
		{"Connect on a live I/O queue", {.qid = 3}, NVME_ST_SEQUENCE, "once a connection"},
	};
	struct client admin, second, c;
	size_t i;
	int r;

	client_admin(&admin, &fixture, 0);
	client_open(&second, fixture.port, 0);
	client_open(&c, fixture.port, 0);
	second.cntlid = c.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&second, &(struct client_connect){.qid = 2}), 0);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		r = client_connect(&c, &rows[i].how);
		cr_expect_eq(r, rows[i].status, "%s: %x (%s)", rows[i].name, r, rows[i].why);
	}
	cr_expect_eq(client_connect(&admin, &(struct client_connect){}), NVME_ST_SEQUENCE, "twice on an admin queue");
	cr_expect_eq(client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0, "which lives on");
	client_close(&c);
	client_close(&second);
	client_close(&admin);
	still_serves();
}

/* ---- peers ---- */

/* Until the target has no connection left: ends are noticed in their own time. */
static int64_t connections_left(void)
{
	struct json_object *all, *list;
	int64_t open = 1;
	size_t i, n;

	for (i = 0; i < 1000 && open; i++) {
		all = target_stats(fixture.target);
		list = json_object_object_get(all, "reactors");
		for (open = 0, n = 0; n < json_object_array_length(list); n++)
			open += json_object_get_int64(
				json_object_object_get(json_object_array_get_idx(list, n), "connections"));
		json_object_put(all);
		if (open)
			poll(NULL, 0, 10);
	}
	return open;
}

static void half_close(struct client *c)
{
	cr_assert_eq(shutdown(c->fd, SHUT_WR), 0);
	cr_expect(client_is_closed(c), "the target closes, too");
}

static void hard_reset(struct client *c)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* Large reads under way. */
static void reads(struct client *c)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 0, NS_FILE, 0, 64);
	uint16_t i;

	sqe.sgl = nvme_sgl_transport(64 * NS_BLOCK);
	for (i = 0; i < 30; i++)
		capsule(c, sqe, i);
}

static void half_a_write(struct client *c)
{
	struct pdu r2t;

	write_begin(c, 7, 2 * NS_BLOCK, &r2t);
	h2c(c, &r2t, 0, 0, NS_BLOCK, 0);
}

static void half_a_pdu(struct client *c)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_FILE, 0, 1);
	uint8_t buf[PDU_ENCODE_MAX];

	sqe.sgl = nvme_sgl_in_capsule(NS_BLOCK);
	pdu_encode_capsule_cmd(buf, &c->framing, &sqe, NS_BLOCK);
	send_all(c, buf, 72);
	send_all(c, buf, 60); /* of its data */
}

static void half_a_header(struct client *c)
{
	uint8_t byte = PDU_CAPSULE_CMD;

	send_all(c, &byte, 1);
}

static void nothing(struct client *c)
{
}

/* In each stage, in the middle of each thing: a half-closed connection is closed, a reset one is forgotten. */
Test(storage_faults, ends)
{
	static const struct {
		const char *name;
		enum stage stage;
		void (*play)(struct client *c);
	} rows[] = {
		{"before ICReq", DIALLED, nothing},	  {"in ICReq", DIALLED, half_a_header},
		{"before Connect", NEGOTIATED, nothing},  {"in Connect", NEGOTIATED, half_a_pdu},
		{"an idle admin queue", ADMIN, nothing},  {"an idle I/O queue", IO_QUEUE, nothing},
		{"in a header", IO_QUEUE, half_a_header}, {"in in-capsule data", IO_QUEUE, half_a_pdu},
		{"in H2CData", IO_QUEUE, half_a_write},	  {"while reads are sent", IO_QUEUE, reads},
	};
	struct pair p;
	size_t i;
	int how;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		for (how = 0; how < 2; how++) {
			reach(&p, rows[i].stage);
			rows[i].play(&p.c);
			if (how)
				hard_reset(&p.c);
			else
				half_close(&p.c);
			leave(&p);
			cr_expect_eq(connections_left(), 0, "%s, %s", rows[i].name, how ? "reset" : "half-closed");
		}
	still_serves();
}

/* The end of the stream is mostly read together with what is refused. */
Test(storage_faults, refusal_reaches_who_has_shut_down)
{
	const uint8_t icreq[128] = {PDU_ICREQ, [2] = 128, [4] = 128, [8] = 9 /* PFV */};
	uint8_t answer[256];
	struct client c;
	ssize_t n;

	for (int i = 0; i < 50; i++) {
		client_dial(&c, fixture.port);
		send_all(&c, icreq, sizeof(icreq));
		cr_assert_eq(shutdown(c.fd, SHUT_WR), 0);
		n = recv(c.fd, answer, sizeof(answer), MSG_WAITALL);
		cr_expect(n > 24 && answer[0] == PDU_C2H_TERM_REQ, "time %d: %zd bytes, type %u", i, n, answer[0]);
		client_close(&c);
	}
	cr_expect_eq(connections_left(), 0);
	still_serves();
}

/* After the stall timeout a peer that reads nothing is closed, with all that it asked for; others are served on. */
Test(storage_faults, peer_that_reads_nothing)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 0, NS_FILE, 0, 64);
	struct client admin, c;
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	client_open(&c, fixture.port, 0);
	c.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&c, &(struct client_connect){.qid = 1, .entries = 1024}), 0);
	sqe.sgl = nvme_sgl_transport(64 * NS_BLOCK);
	for (i = 0; i < 1000; i++)
		capsule(&c, sqe, i);
	still_serves();
	/* The admin queue's end is not the reason: it is alive. */
	for (i = 0; i < 1000 && client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL) == 0; i++) {
		struct pollfd ended = {.fd = c.fd}; /* POLLERR, POLLHUP */

		if (poll(&ended, 1, 10) == 1)
			break;
	}
	cr_expect_lt(i, 1000, "the target closes it");
	cr_expect_eq(client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	client_close(&c);
	client_close(&admin);
	cr_expect_eq(connections_left(), 0);
	still_serves();
}

/* Slow is not wrong: once connected, a byte at a time with others served in between is a command like any other. */
Test(storage_faults, peer_that_sends_a_byte_at_a_time)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 5, NS_FILE, 0, 1);
	uint8_t buf[PDU_ENCODE_MAX + NS_BLOCK] = {0};
	struct pair slow, other;
	struct pdu pdu;
	size_t n, i;

	reach(&slow, IO_QUEUE);
	reach(&other, ADMIN);
	sqe.sgl = nvme_sgl_in_capsule(NS_BLOCK);
	n = pdu_encode_capsule_cmd(buf, &slow.c.framing, &sqe, NS_BLOCK) + NS_BLOCK;
	for (i = 0; i < n; i++) {
		send_all(&slow.c, buf + i, 1);
		cr_assert_eq(client_run(&other.c, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	}
	cr_assert_eq(client_receive(&slow.c, &pdu, NULL, 0), 0);
	cr_expect_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
	leave(&other);
	leave(&slow);
	still_serves();
}

/* Not so before Connect: there the whole must be there in time, however busy the peer is. */
Test(storage_faults, peer_that_connects_a_byte_at_a_time)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct pollfd ended;
	struct client c;
	size_t i = 0;

	client_dial(&c, fixture.port);
	pdu_encode_icreq(buf, 0, 0, 0);
	ended = (struct pollfd){.fd = c.fd, .events = POLLRDHUP};
	/* 127 bytes of ICReq over more than the two seconds that there are. */
	while (i < 127 && poll(&ended, 1, 50) == 0)
		client_send(&c, &buf[i++], 1);
	cr_expect_gt(i, 20, "not at once");
	cr_expect_lt(i, 127, "closed before ICReq was whole");
	client_close(&c);
	still_serves();
}
