// SPDX-License-Identifier: Apache-2.0
/*
 * Connections that cannot go on, and those beside them: whoever is blocked by limits, by answers that it does not read,
 * or by half of a fused pair takes nothing that others need; statistics say why a queue is not read; and a receive that
 * the kernel forgets is found and begun again.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/util.h"
#include "fault_backend.h"
#include "storage/ring.h"
#include "storage_client.h"

TestSuite(storage_stall, .timeout = 60);

#define MS	 1000000ull
#define CAPSULE	 8192
#define RECEIVES 16 /* buffers */

static struct fixture fixture;
static uint8_t data[256 << 10];

static void admin_open(struct client *admin, const char *hostnqn, uint8_t host)
{
	client_open(admin, fixture.port, 0);
	cr_assert_eq(client_connect(admin, &(struct client_connect){.hostnqn = hostnqn, .host = host}), 0);
	cr_assert_eq(client_enable(admin), 0);
	cr_assert_eq(client_run(admin, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 0), NULL, 0,
				false, NULL),
		     0);
}

static void queue_open(struct client *c, const struct client *admin, const char *hostnqn, uint8_t host,
		       unsigned int entries)
{
	client_open(c, fixture.port, 0);
	c->cntlid = admin->cntlid;
	cr_assert_eq(client_connect(c, &(struct client_connect){
					       .qid = 1, .hostnqn = hostnqn, .host = host, .entries = entries}),
		     0);
}

/* A queue of another host than all others here. */
static void bystander_open(struct client *admin, struct client *io)
{
	admin_open(admin, TEST_HOSTNQN, 0);
	queue_open(io, admin, TEST_HOSTNQN, 0, 32);
}

static void bystander_works(struct client *io)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		cr_assert_eq(client_rw(io, NVME_IO_WRITE, NS_FILE, i, 2, data, CAPSULE, true), 0);
		cr_assert_eq(client_rw(io, NVME_IO_WRITE, NS_FILE, i, 64, data, sizeof(data), false), 0);
		cr_assert_eq(client_rw(io, NVME_IO_READ, NS_FILE, i, 64, data, sizeof(data), false), 0);
	}
}

static struct nvme_sqe capsule_write(uint16_t cid)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, cid, NS_FILE, 0, CAPSULE / NS_BLOCK);

	sqe.sgl = nvme_sgl_in_capsule(CAPSULE);
	return sqe;
}

static struct nvme_sqe transfer(uint8_t opcode, uint16_t cid, uint32_t nsid)
{
	struct nvme_sqe sqe = nvme_sqe_rw(opcode, cid, nsid, 0, sizeof(data) / (nsid == NS_MEMORY ? 512 : NS_BLOCK));

	sqe.sgl = nvme_sgl_transport(sizeof(data));
	return sqe;
}

/* The next response; R2Ts before it are counted, data forgotten. */
static uint16_t response(struct client *c, uint16_t *ret_status, unsigned int *ret_r2ts)
{
	static uint8_t sink[1 << 20];
	struct pdu pdu;

	for (;;) {
		cr_assert_eq(client_receive(c, &pdu, sink, sizeof(sink)), 0);
		if (pdu.type == PDU_CAPSULE_RESP)
			break;
		*ret_r2ts += pdu.type == PDU_R2T;
	}
	*ret_status = nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE;
	return le16toh(pdu.header.resp.cqe.cid);
}

/* ---- statistics ---- */

static int64_t reactor_count(const char *key)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "reactors");
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++)
		sum += json_object_get_int64(json_object_object_get(json_object_array_get_idx(list, i), key));
	json_object_put(all);
	return sum;
}

/* Queues of which "receive" says this. */
static unsigned int queues_that(const char *receive)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "queues");
	unsigned int n = 0;
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *queue = json_object_array_get_idx(list, i);

		n += !strcmp(json_object_get_string(json_object_object_get(queue, "receive")), receive);
	}
	json_object_put(all);
	return n;
}

/* What the target does meanwhile brings it about: then at once. */
static bool comes_to(unsigned int (*count)(const char *), const char *what, unsigned int wanted)
{
	uint64_t end = time_now_ns() + 10000 * MS;

	while (count(what) < wanted)
		if (time_now_ns() > end)
			return false;
	return true;
}

/* ---- blocked by a limit ---- */

/*
 * Four times as many throttled connections as there are receive buffers, each with more in its capsules than may wait:
 * none of them is read any more, and a host without limits does not notice.
 */
Test(storage_stall, throttled_connections_leave_receives_to_others)
{
	enum { CONNS = 4 * RECEIVES, EACH = 30 };
	struct policy_storage_limit limit = {.name = (char *)"slow", .iops = 1};
	char *throttled = (char *)TEST_OTHER;
	static struct client admins[CONNS], slow[CONNS];
	struct client admin, io;
	unsigned int i, k;

	limit.hosts = &throttled;
	limit.n_hosts = 1;
	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1,
							     .rx_buffers = RECEIVES,
							     .limits = &limit,
							     .n_limits = 1});
	for (i = 0; i < CONNS; i++) {
		admin_open(&admins[i], TEST_OTHER, i + 1);
		queue_open(&slow[i], &admins[i], TEST_OTHER, i + 1, 32);
		for (k = 0; k < EACH; k++) {
			struct nvme_sqe sqe = capsule_write(k);

			cr_assert_eq(client_capsule(&slow[i], &sqe, data, CAPSULE), 0);
		}
	}
	cr_expect(comes_to(queues_that, "waits for its turn under a limit", RECEIVES + 1), "%u",
		  queues_that("waits for its turn under a limit"));
	bystander_open(&admin, &io);
	bystander_works(&io);
	cr_expect_gt(queues_that("waits for its turn under a limit"), RECEIVES);
	cr_expect_gt(reactor_count("blocked"), RECEIVES);
	for (i = 0; i < CONNS; i++) {
		client_close(&slow[i]);
		client_close(&admins[i]);
	}
	bystander_works(&io);
	client_close(&io);
	client_close(&admin);
	fixture_stop(&fixture);
}

/* ---- blocked by itself ---- */

/* Sends n writes, or as many as sockets take. */
static void flood(struct client *c, unsigned int n)
{
	uint8_t header[PDU_ENCODE_MAX];
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct nvme_sqe sqe = capsule_write(1000 + i);
		size_t len = pdu_encode_capsule_cmd(header, &c->framing, &sqe, CAPSULE);

		if (send(c->fd, header, len, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE) < (ssize_t)len ||
		    send(c->fd, data, CAPSULE, MSG_DONTWAIT | MSG_NOSIGNAL) < CAPSULE)
			return;
	}
}

/* Until neither end's socket takes more: for so long nothing comes (SIOCINQ), or leaves (SIOCOUTQ). */
static void wait_full(const struct client *c, unsigned long direction)
{
	int before, now = -1;

	do {
		before = now;
		poll(NULL, 0, 200);
		cr_assert_eq(ioctl(c->fd, direction, &now), 0);
	} while (now != before);
}

#define UNANSWERED "waits for its answers to leave"

/*
 * Takes no answer, and sends more commands than it may: as many as are being answered. Then none is free, and what it
 * goes on to send cannot be worked off.
 */
static void deaf_open(struct client *deaf, struct client *deaf_admin)
{
	enum { ENTRIES = 128, READS = ENTRIES - 1 }; /* 32 MiB: more than sockets take */
	unsigned int i;

	admin_open(deaf_admin, TEST_OTHER, 1);
	queue_open(deaf, deaf_admin, TEST_OTHER, 1, ENTRIES);
	for (i = 0; i < READS; i++) {
		struct nvme_sqe sqe = transfer(NVME_IO_READ, i, NS_NULL);

		cr_assert_eq(client_capsule(deaf, &sqe, NULL, 0), 0);
	}
	wait_full(deaf, SIOCINQ);
	for (i = 0; i < ENTRIES && !queues_that(UNANSWERED); i++) {
		flood(deaf, 1);
		poll(NULL, 0, 10);
	}
	cr_assert_eq(queues_that(UNANSWERED), 1, "after %u", i);
}

Test(storage_stall, who_reads_nothing_leaves_receives_to_others)
{
	struct client admin, io, deaf_admin, deaf;

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .rx_buffers = RECEIVES});
	deaf_open(&deaf, &deaf_admin);
	flood(&deaf, 8 * RECEIVES);
	bystander_open(&admin, &io);
	bystander_works(&io);
	cr_expect_eq(queues_that(UNANSWERED), 1);
	client_close(&deaf);
	client_close(&deaf_admin);
	bystander_works(&io);
	client_close(&io);
	client_close(&admin);
	fixture_stop(&fixture);
}

/* What is kept is bounded for all connections of a reactor together, and who sends still more is reset. */
Test(storage_stall, who_sends_still_more_is_reset)
{
	enum { CONNS = 8, EACH = 20 };
	struct policy_storage_limit limit = {.name = (char *)"slow", .iops = 1};
	char *throttled = (char *)TEST_HOSTNQN;
	static struct client admins[CONNS], slow[CONNS];
	struct client deaf_admin, deaf;
	unsigned int i, k;

	limit.hosts = &throttled;
	limit.n_hosts = 1;
	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1,
							     .pool_part = 32,
							     .kept_max = 1,
							     .limits = &limit,
							     .n_limits = 1});
	deaf_open(&deaf, &deaf_admin);
	for (i = 0; i < CONNS; i++) {
		admin_open(&admins[i], TEST_HOSTNQN, i);
		queue_open(&slow[i], &admins[i], TEST_HOSTNQN, i, 32);
		for (k = 0; k < EACH; k++) {
			struct nvme_sqe sqe = capsule_write(k);

			cr_assert_eq(client_capsule(&slow[i], &sqe, data, CAPSULE), 0);
		}
	}
	cr_assert(comes_to(queues_that, "waits for its turn under a limit", CONNS));
	flood(&deaf, 8 * RECEIVES);
	wait_full(&deaf, SIOCOUTQ);
	cr_expect_eq(queues_that(UNANSWERED), 0);
	for (i = 0; i < CONNS; i++) {
		client_close(&slow[i]);
		client_close(&admins[i]);
	}
	client_close(&deaf);
	client_close(&deaf_admin);
	fixture_stop(&fixture);
}

/* ---- fused ---- */

/* A Compare of 256 KiB, first half of a pair, and its data. Whether it was accepted: else *ret_status says why not. */
static bool first_half(struct client *c, uint16_t cid, uint16_t *ret_status)
{
	struct nvme_sqe sqe = transfer(NVME_IO_COMPARE, cid, NS_FILE);
	static uint8_t none[16];
	struct pdu pdu;

	sqe.flags |= NVME_SQE_FUSE_FIRST;
	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
	for (;;) {
		cr_assert_eq(client_receive(c, &pdu, none, sizeof(none)), 0);
		if (pdu.type == PDU_CAPSULE_RESP) {
			*ret_status = nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE;
			return false;
		}
		cr_assert_eq(pdu.type, PDU_R2T);
		cr_assert_eq(client_answer_r2t(c, &pdu.header.data, data, sizeof(data)), 0);
		if (le32toh(pdu.header.data.offset) + le32toh(pdu.header.data.len) == sizeof(data))
			return true;
	}
}

/*
 * First halves with a large buffer each, whose second halves do not come: there are 128 such buffers a reactor, and
 * half of them stay for others. In the end the hosts are told that the second half is missing.
 */
Test(storage_stall, halves_of_pairs_leave_buffers_to_others)
{
	enum { CONNS = 140, ACCEPTED = 64 };
	static struct client admins[CONNS], c[CONNS];
	static bool accepted[CONNS];
	unsigned int i, n = 0, r2ts = 0;
	struct client admin, io;
	uint16_t status;

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .stall_timeout_ms = 4000});
	for (i = 0; i < CONNS; i++) {
		admin_open(&admins[i], TEST_OTHER, i + 1);
		queue_open(&c[i], &admins[i], TEST_OTHER, i + 1, 32);
	}
	for (i = 0; i < CONNS; i++) {
		accepted[i] = first_half(&c[i], 7, &status);
		n += accepted[i];
		if (!accepted[i])
			cr_assert_eq(status, NVME_ST_INTERNAL, "0x%x", status); /* without ACRE: to be sent again */
	}
	cr_expect_eq(n, ACCEPTED, "%u", n);
	bystander_open(&admin, &io);
	bystander_works(&io);
	for (i = 0; i < CONNS; i++) {
		if (!accepted[i])
			continue;
		cr_assert_eq(response(&c[i], &status, &r2ts), 7);
		cr_expect_eq(status, NVME_ST_FUSED_MISSING, "0x%x", status);
	}
	/* Its second half, when it comes after all, fails as it would have with a first one that failed. */
	for (i = 0; !accepted[i]; i++)
		;
	struct nvme_sqe late = transfer(NVME_IO_WRITE, 8, NS_FILE);
	late.flags |= NVME_SQE_FUSE_SECOND;
	cr_assert_eq(client_capsule(&c[i], &late, NULL, 0), 0);
	cr_expect_eq(response(&c[i], &status, &r2ts), 8);
	cr_expect_eq(status, NVME_ST_FUSED_FAILED, "0x%x", status);
	cr_expect_eq(r2ts, 0);
	/* And there is room for other pairs. */
	cr_expect(first_half(&c[i], 9, &status));
	bystander_works(&io);
	for (i = 0; i < CONNS; i++) {
		client_close(&c[i]);
		client_close(&admins[i]);
	}
	client_close(&io);
	client_close(&admin);
	fixture_stop(&fixture);
}

/* ---- a word from another reactor ---- */

/* Of I/O queues that are here so far, by controller. */
static int64_t queue_number(const struct client *c, const char *key)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "queues");
	int64_t number = -1;
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *q = json_object_array_get_idx(list, i);

		if (json_object_get_int(json_object_object_get(q, "cntlid")) == c->cntlid &&
		    json_object_get_int(json_object_object_get(q, "qid")) == 1)
			number = json_object_get_int64(json_object_object_get(q, key));
	}
	json_object_put(all);
	return number;
}

static void send_write(struct client *c)
{
	struct nvme_sqe sqe = capsule_write(1);

	cr_assert_eq(client_capsule(c, &sqe, data, CAPSULE), 0);
}

static void *stop_target(void *arg)
{
	(void)arg;
	fixture_stop(&fixture);
	return NULL;
}

/*
 * A command waits for blocks that one on another reactor has. The target stops, and only then is the other one done:
 * the word that the blocks are free comes to a reactor that stops, and must still be heard.
 */
Test(storage_stall, blocks_are_free_when_the_target_stops)
{
	enum { CONNS = 24 };
	struct client admins[CONNS], c[CONNS];
	unsigned int i, first = 0, second = 0, idle = 0;
	uint16_t status;
	pthread_t stopper;

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 2, .open_backend = fault_backend_open});
	for (i = 0; i < CONNS; i++) {
		admin_open(&admins[i], TEST_OTHER, i + 1);
		queue_open(&c[i], &admins[i], TEST_OTHER, i + 1, 32);
		if (queue_number(&c[i], "reactor") != queue_number(&c[0], "reactor"))
			second = idle, idle = i;
	}
	/* On a machine with one CPU all are on one reactor: then stopping is what is tested. */
	second = second ? second : 1;
	idle = idle ? idle : 2;
	fault_hold(BACKEND_WRITE);
	send_write(&c[first]);
	while (fault_held() < 1)
		cr_assert_eq(client_run(&admins[first], nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	send_write(&c[second]);
	while (queue_number(&c[second], "open") < 1)
		cr_assert_eq(client_run(&admins[second], nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	cr_assert_eq(pthread_create(&stopper, NULL, stop_target, NULL), 0);
	cr_assert(client_is_closed(&c[idle]), "its reactor stops");
	fault_release();
	cr_assert_eq(pthread_join(stopper, NULL), 0);
	for (i = first; i != UINT_MAX; i = i == first ? second : UINT_MAX) {
		unsigned int r2ts = 0;

		cr_expect_eq(response(&c[i], &status, &r2ts), 1);
		cr_expect_eq(status, 0, "0x%x", status);
	}
	for (i = 0; i < CONNS; i++) {
		client_close(&c[i]);
		client_close(&admins[i]);
	}
}

/* ---- receives that bring nothing ---- */

/* Every 8th receive hears nothing. Each is found, ended and followed by another; no command is lost. */
Test(storage_stall, lost_receives)
{
	static const unsigned int without[] = {RING_DEAF, RING_DEAF | RING_WITHOUT_MULTISHOT};
	enum { CONNS = 6 };
	struct client admins[CONNS], c[CONNS];
	unsigned int i, k;

	for (k = 0; k < ARRAY_SIZE(without); k++) {
		fixture_start_as(&fixture, &(struct fixture_options){
						   .reactors = 1, .ring_without = without[k], .stall_timeout_ms = 1000});
		for (i = 0; i < CONNS; i++) {
			admin_open(&admins[i], TEST_OTHER, i + 1);
			queue_open(&c[i], &admins[i], TEST_OTHER, i + 1, 32);
		}
		for (i = 0; i < CONNS; i++)
			cr_assert_eq(client_rw(&c[i], NVME_IO_WRITE, NS_FILE, i, 2, data, CAPSULE, i % 2), 0);
		cr_expect_geq(reactor_count("lost_receives"), 1, "%lld", (long long)reactor_count("lost_receives"));
		for (i = 0; i < CONNS; i++) {
			client_close(&c[i]);
			client_close(&admins[i]);
		}
		fixture_stop(&fixture);
	}
}
