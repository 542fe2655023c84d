// SPDX-License-Identifier: Apache-2.0
/*
 * Hosts that do too much or too little: silence, floods, queues overrun. The target closes and goes on serving others;
 * under ASan nothing leaks. What is wrong with single PDUs is in storage_fields_test.c and storage_faults_test.c.
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

enum stage { DIALLED, NEGOTIATED, ADMIN, IO_QUEUE };

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
	cr_expect(client_is_closed(&c));
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
	cr_expect(client_is_closed(&c));
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
	cr_expect(client_is_closed(&silent), "no ICReq");
	cr_expect(client_is_closed(&half), "no Connect");
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
	cr_expect(client_is_closed(&admin), "the controller ends");
	cr_expect(client_is_closed(&io), "and its I/O queue, perhaps on another reactor");
	client_close(&admin);
	client_close(&io);
	still_serves();
}

Test(storage_abuse, admin_queue_gone)
{
	struct client admin, io;

	reach(&admin, &io, IO_QUEUE);
	client_close(&admin);
	cr_expect(client_is_closed(&io), "its I/O queues go with it");
	client_close(&io);
	still_serves();
}

/* ---- floods and resets ---- */

static void reset(struct client *c)
{
	const struct linger now = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	client_close(c);
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
	cr_expect(client_is_closed(&c));
	cr_expect(client_is_closed(&admin));
	client_close(&c);
	client_close(&admin);
}
