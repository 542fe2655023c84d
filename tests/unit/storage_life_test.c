// SPDX-License-Identifier: Apache-2.0
/*
 * Life of controllers and queues: reset, shutdown, Disconnect, Abort over reactors, keep alive, and as many of both as
 * the target has room for. One target of two reactors a test.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage_client.h"

static struct fixture fixture;

static void start(void)
{
	fixture_start(&fixture, 2, 0);
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_life, .init = start, .fini = stop, .timeout = 120);

#define CC_ENABLED (NVME_CC_EN | 6 << 16 | 4 << 20)

/* Reads CSTS until the bits of mask have this value; the client's timeouts end it otherwise. */
static bool csts_becomes(struct client *c, uint64_t mask, uint64_t value)
{
	uint64_t csts = ~value, until = time_now_ns() + 10 * NSEC_PER_SEC;

	while ((csts & mask) != value && time_now_ns() < until)
		if (client_property_get(c, NVME_PROP_CSTS, 4, &csts))
			return false;
	return (csts & mask) == value;
}

static bool ends(struct client *c)
{
	struct pdu pdu;

	return client_receive(c, &pdu, NULL, 0) == -ECONNRESET;
}

static void set_queues(struct client *c, unsigned int n)
{
	cr_assert_eq(
		client_run(c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, (n - 1) << 16 | (n - 1)),
			   NULL, 0, false, NULL),
		0);
}

/* Queues on every reactor, so that one of them is elsewhere than the admin queue. */
static void open_queues(struct client *admin, struct client *io, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		client_open(&io[i], fixture.port, 0);
		io[i].cntlid = admin->cntlid;
		cr_assert_eq(client_connect(&io[i], &(struct client_connect){.qid = i + 1}), 0);
	}
}

static void close_all(struct client *c, unsigned int n)
{
	while (n--)
		client_close(&c[n]);
}

/* ---- reset and shutdown ---- */

Test(storage_life, reset)
{
	const struct nvme_property disable = {.offset = NVME_PROP_CC, .size = 4};
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, 1000, 0, 0, 0);
	uint8_t data[4096];
	struct client admin, io[4];
	uint64_t value;
	struct pdu pdu;
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	open_queues(&admin, io, 4);
	cr_assert_eq(client_run(&admin, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_TEMPERATURE, 300), NULL, 0,
				false, NULL),
		     0);
	cr_assert_eq(client_capsule(&admin, &sqe, NULL, 0), 0);
	sqe = nvme_property_set_make(2000, &disable);
	cr_assert_eq(client_capsule(&admin, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(&admin, &pdu, NULL, 0), 0);
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 1000, "the event request first");
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_ABORTED);
	cr_assert_eq(client_receive(&admin, &pdu, NULL, 0), 0);
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 2000);
	for (i = 0; i < 4; i++)
		cr_expect(ends(&io[i]), "queue %u", i + 1);
	cr_expect(csts_becomes(&admin, NVME_CSTS_RDY, 0));
	close_all(io, 4);
	cr_expect_eq(client_run(&admin, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), NULL, 0, false, NULL), NVME_ST_SEQUENCE,
		     "the admin queue is there, but disabled");
	cr_expect_eq(client_enable(&admin), 0);
	client_run(&admin, nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, NVME_FID_TEMPERATURE, 0), NULL, 0, false,
		   &value);
	cr_expect_eq(value, 343, "features are the defaults");
	set_queues(&admin, 4);
	open_queues(&admin, io, 4);
	for (i = 0; i < 4; i++)
		cr_expect_eq(client_rw(&io[i], NVME_IO_READ, NS_MEMORY, 0, 8, data, 4096, false), 0);
	close_all(io, 4);
	client_close(&admin);
}

Test(storage_life, shutdown)
{
	struct client admin, io[4], late;
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	open_queues(&admin, io, 4);
	cr_assert_eq(client_property_set(&admin, NVME_PROP_CC, CC_ENABLED | NVME_CC_SHN_NORMAL), 0);
	for (i = 0; i < 4; i++)
		cr_expect(ends(&io[i]), "queue %u", i + 1);
	cr_expect(csts_becomes(&admin, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_DONE));
	client_open(&late, fixture.port, 0);
	late.cntlid = admin.cntlid;
	cr_expect_eq(client_connect(&late, &(struct client_connect){.qid = 1}), NVME_ST_SEQUENCE, "until a reset");
	client_close(&late);
	close_all(io, 4);
	cr_assert_eq(client_property_set(&admin, NVME_PROP_CC, 0), 0);
	cr_expect(csts_becomes(&admin, NVME_CSTS_RDY | NVME_CSTS_SHST_MASK, 0));
	cr_expect_eq(client_enable(&admin), 0);
	set_queues(&admin, 1);
	open_queues(&admin, io, 1);
	close_all(io, 1);
	client_close(&admin);
}

/* ---- Disconnect ---- */

Test(storage_life, disconnect)
{
	struct nvme_sqe sqe = nvme_disconnect_sqe_make(0);
	uint8_t data[4096];
	struct client admin, io[2];

	client_admin(&admin, &fixture, 0);
	open_queues(&admin, io, 2);
	cr_expect_eq(client_run(&admin, sqe, NULL, 0, false, NULL), NVME_ST_INVALID_QUEUE_TYPE);
	((struct nvme_disconnect_sqe *)&sqe)->recfmt = htole16(1);
	cr_expect_eq(client_run(&io[0], sqe, NULL, 0, false, NULL), NVME_ST_CONNECT_FORMAT);
	cr_expect_eq(client_run(&io[0], nvme_disconnect_sqe_make(0), NULL, 0, false, NULL), 0);
	cr_expect(ends(&io[0]));
	client_close(&io[0]);
	cr_expect_eq(client_rw(&io[1], NVME_IO_READ, NS_NULL, 0, 1, data, 4096, false), 0, "the other queue stays");
	open_queues(&admin, io, 1);
	close_all(io, 2);
	client_close(&admin);
}

/* ---- Abort ---- */

/*
 * Writes whose data the host keeps back take all room that one connection gets; what comes then waits, and is what an
 * Abort finds, whichever reactor has the queue.
 */
static void abort_a_waiting_read(struct client *admin, unsigned int qid)
{
	struct nvme_sqe sqe;
	uint64_t result = 2;
	struct client io;
	unsigned int i;
	struct pdu pdu;

	client_open(&io, fixture.port, 0);
	io.cntlid = admin->cntlid;
	cr_assert_eq(client_connect(&io, &(struct client_connect){.qid = qid, .entries = 256}), 0);
	for (i = 0; i < 120; i++) {
		sqe = nvme_sqe_rw(NVME_IO_WRITE, 1000 + i, NS_FILE, 64 * (i % 60), 64);
		sqe.sgl = nvme_sgl_transport(64 * NS_BLOCK);
		cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	}
	sqe = nvme_sqe_rw(NVME_IO_READ, 2000, NS_FILE, 0, 1);
	sqe.sgl = nvme_sgl_transport(NS_BLOCK);
	cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0); /* the first R2T: all have arrived by the last one */
	for (i = 0; result && i < 1000; i++)
		cr_assert_eq(client_run(admin, nvme_sqe_make(NVME_ADM_ABORT, 0, 0, 2000u << 16 | qid, 0), NULL, 0,
					false, &result),
			     0);
	cr_expect_eq(result, 0, "queue %u: the read was aborted", qid);
	do
		cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	while (pdu.type == PDU_R2T);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 2000);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_ABORTED);
	cr_expect_eq(
		client_run(admin, nvme_sqe_make(NVME_ADM_ABORT, 0, 0, 2000u << 16 | qid, 0), NULL, 0, false, &result),
		0);
	cr_expect_eq(result, 1, "it is no longer there");
	client_close(&io);
}

Test(storage_life, aborts_on_every_reactor)
{
	struct client admin;
	uint64_t result = 0;
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	for (i = 1; i <= 4; i++)
		abort_a_waiting_read(&admin, i);
	cr_expect_eq(client_run(&admin, nvme_sqe_make(NVME_ADM_ABORT, 0, 0, 1u << 16 | 99, 0), NULL, 0, false, &result),
		     0);
	cr_expect_eq(result, 1, "no such queue");
	client_close(&admin);
}

/* ---- keep alive ---- */

Test(storage_life, keep_alive)
{
	struct client kept, lost;
	struct pollfd p;
	unsigned int i;

	client_open(&kept, fixture.port, 0);
	client_open(&lost, fixture.port, 0);
	cr_assert_eq(client_connect(&kept, &(struct client_connect){.kato_ms = 1000}), 0);
	cr_assert_eq(client_connect(&lost, &(struct client_connect){.kato_ms = 1000}), 0);
	p = (struct pollfd){.fd = lost.fd, .events = POLLIN};
	for (i = 0; i < 20 && !poll(&p, 1, 200); i++)
		cr_assert_eq(client_run(&kept, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	cr_expect_geq(i, 4, "not before the time is over");
	cr_expect(ends(&lost), "who says nothing is let go");
	cr_expect_eq(client_run(&kept, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	client_close(&lost);
	client_close(&kept);
}

/* Identify does not say that any traffic keeps a controller alive (TBKAS): so it does not, and not for long either. */
Test(storage_life, only_keep_alive_keeps_alive)
{
	struct nvme_sqe sqe = nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, NVME_FID_KATO, 0);
	uint64_t before = time_now_ns();
	struct client c;
	double seconds;

	client_open(&c, fixture.port, 0);
	cr_assert_eq(client_connect(&c, &(struct client_connect){.kato_ms = 1000}), 0);
	cr_assert_eq(client_enable(&c), 0);
	while (!client_run(&c, sqe, NULL, 0, false, NULL) && time_now_ns() - before < 10 * NSEC_PER_SEC)
		usleep(20000);
	seconds = (double)(time_now_ns() - before) / 1e9;
	cr_expect(seconds >= 1 && seconds < 3, "%g s", seconds); /* a loaded machine takes its time */
	client_close(&c);
}

/* ---- many ---- */

static void raise_files(void)
{
	struct rlimit limit = {.rlim_cur = 8192, .rlim_max = 8192};

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0, "this test needs 8,192 descriptors: ulimit -Hn");
}

Test(storage_life, queues_128_and_no_more)
{
	static struct client io[128];
	uint8_t data[4096];
	struct client admin, more;
	unsigned int i;

	raise_files();
	client_admin(&admin, &fixture, 0);
	set_queues(&admin, 200);
	open_queues(&admin, io, 128);
	for (i = 0; i < 128; i++)
		cr_expect_eq(client_rw(&io[i], NVME_IO_READ, NS_MEMORY, i, 8, data, 4096, false), 0, "queue %u", i + 1);
	client_open(&more, fixture.port, 0);
	more.cntlid = admin.cntlid;
	cr_expect_eq(client_connect(&more, &(struct client_connect){.qid = 129}), NVME_ST_CONNECT_PARAM);
	client_close(&more);
	close_all(io, 128);
	client_close(&admin);
}

Test(storage_life, controllers_1024)
{
	struct client *admins = calloc(1024, sizeof(*admins)), *io = calloc(1024, sizeof(*io));
	uint8_t data[4096];
	unsigned int i;

	cr_assert(admins && io);
	raise_files();
	for (i = 0; i < 1024; i++) {
		client_admin(&admins[i], &fixture, 0);
		client_io(&io[i], &fixture, &admins[i], 0, false);
	}
	for (i = 0; i < 1024; i++)
		cr_expect_eq(client_rw(&io[i], NVME_IO_READ, NS_MEMORY, i, 8, data, 4096, false), 0, "controller %u",
			     i);
	close_all(io, 1024);
	close_all(admins, 1024);
	free(admins);
	free(io);
}
