// SPDX-License-Identifier: Apache-2.0
/*
 * Limits and the commands that are more than one Read or Write: what Copy, fused pairs and others count as, what they
 * wait for, and Abort of those that wait. storage_limit_test.c has rates, shares and changes.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage_client.h"

TestSuite(storage_qos, .timeout = 60);

#define MS 1000000ull

static struct fixture fixture;
static struct client admin, io;
static uint8_t data[NS_BLOCK], other_data[NS_BLOCK];

static void start_as(uint64_t iops, uint64_t bandwidth, struct fixture_options how)
{
	static struct policy_storage_limit limit;

	limit = (struct policy_storage_limit){
		.name = (char *)"all", .any_host = true, .iops = iops, .bandwidth = bandwidth};
	how.reactors = how.n_limits = 1;
	how.limits = &limit;
	fixture_start_as(&fixture, &how);
	client_admin(&admin, &fixture, 0);
	client_open(&io, fixture.port, 0);
	io.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&io, &(struct client_connect){.qid = 1, .entries = 128}), 0);
}

static void start(uint64_t iops, uint64_t bandwidth, unsigned int pool_part)
{
	start_as(iops, bandwidth, (struct fixture_options){.pool_part = pool_part});
}

static void stop(void)
{
	client_close(&io);
	client_close(&admin);
	fixture_stop(&fixture);
}

/* ---- what the target says of it ---- */

static int64_t count(const char *key)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "limits");
	int64_t value = json_object_get_int64(json_object_object_get(json_object_array_get_idx(list, 0), key));

	json_object_put(all);
	return value;
}

static bool queue_says(const char *receive)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "queues");
	bool says = false;
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *q = json_object_array_get_idx(list, i);

		if (json_object_get_int(json_object_object_get(q, "qid")) == 1)
			says = !strcmp(json_object_get_string(json_object_object_get(q, "receive")), receive);
	}
	json_object_put(all);
	return says;
}

static bool waits(const char *n)
{
	return count("waiting") == strtol(n, NULL, 10);
}

static bool comes_true(bool (*condition)(const char *), const char *what)
{
	uint64_t end = time_now_ns() + 10000 * MS;

	while (!condition(what))
		if (time_now_ns() > end)
			return false;
	return true;
}

/* ---- commands ---- */

static void submit(uint8_t opcode, uint8_t fuse, uint16_t cid, const uint8_t *capsule)
{
	struct nvme_sqe sqe = nvme_sqe_rw(opcode, cid, NS_FILE, 0, 1);

	sqe.flags = NVME_SQE_PSDT_SGL | fuse;
	sqe.sgl = capsule ? nvme_sgl_in_capsule(NS_BLOCK) : nvme_sgl_transport(NS_BLOCK);
	cr_assert_eq(client_capsule(&io, &sqe, capsule, capsule ? NS_BLOCK : 0), 0);
}

/* The next response; data before it are taken and forgotten. */
static uint16_t response(uint16_t *ret_status)
{
	static uint8_t sink[256 << 10];
	struct pdu pdu;

	do
		cr_assert_eq(client_receive(&io, &pdu, sink, sizeof(sink)), 0);
	while (pdu.type == PDU_C2H_DATA);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	*ret_status = nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE;
	return le16toh(pdu.header.resp.cqe.cid);
}

static void expect_response(uint16_t cid, uint16_t status)
{
	uint16_t got_status, got = response(&got_status);

	cr_expect_eq(got, cid, "command %u, not %u", got, cid);
	cr_expect_eq(got_status, status, "command %u: 0x%x, not 0x%x", got, got_status, status);
}

/* Whether it says that it did. */
static bool abort_one(uint16_t cid)
{
	uint64_t result = 1;

	cr_assert_eq(client_run(&admin, nvme_sqe_make(NVME_ADM_ABORT, 0, 0, (uint32_t)cid << 16 | 1, 0), NULL, 0, false,
				&result),
		     0);
	return !(result & 1);
}

/* ---- Abort of what is throttled ---- */

#define NEVER 64 /* bytes a second: after one block nothing passes while a test lasts */

Test(storage_qos, abort)
{
	unsigned int i;

	start(0, NEVER, 0);
	for (i = 0; i < 40; i++)
		submit(NVME_IO_READ, 0, i, NULL);
	expect_response(0, 0);
	cr_assert(comes_true(waits, "39"), "%lld wait", (long long)count("waiting"));
	cr_expect(abort_one(20));
	expect_response(20, NVME_ST_ABORTED);
	cr_expect(!abort_one(20), "it is gone");
	cr_expect(abort_one(39), "the last in line");
	expect_response(39, NVME_ST_ABORTED);
	cr_expect(abort_one(1), "the first in line");
	expect_response(1, NVME_ST_ABORTED);
	cr_expect_eq(count("waiting"), 36);
	submit(NVME_IO_READ, 0, 40, NULL);
	cr_assert(comes_true(waits, "37"));
	for (i = 2; i <= 40; i++) {
		if (i == 20 || i == 39)
			continue;
		cr_expect(abort_one(i), "%u", i);
		expect_response(i, NVME_ST_ABORTED);
	}
	cr_expect_eq(count("waiting"), 0);
	cr_expect_eq(count("throttled"), 40);
	cr_expect_eq(count("commands"), 1);
	stop();
}

/* What an aborted Write had in its capsule makes room: the connection, which was not read any more, is. */
Test(storage_qos, abort_gives_the_capsule_back)
{
	unsigned int i;

	start(0, NEVER, 32); /* 64 buffers for in-capsule data, of which a throttled connection has 4 */
	submit(NVME_IO_READ, 0, 0, NULL);
	expect_response(0, 0);
	for (i = 1; i <= 5; i++)
		submit(NVME_IO_WRITE, 0, i, data);
	cr_assert(comes_true(queue_says, "waits for its turn under a limit"));
	cr_expect(!abort_one(5), "it is still in the stream");
	cr_expect(abort_one(4));
	expect_response(4, NVME_ST_ABORTED);
	cr_expect(comes_true(queue_says, "receives"));
	cr_expect(abort_one(5));
	expect_response(5, NVME_ST_ABORTED);
	stop();
}

/* A pair of which the first half is aborted fails; without its second the first is a Compare like any other. */
Test(storage_qos, abort_of_a_pair)
{
	uint16_t status[5] = {}, cid, i;

	start(0, NEVER, 0);
	submit(NVME_IO_READ, 0, 0, NULL);
	expect_response(0, 0);
	submit(NVME_IO_COMPARE, NVME_SQE_FUSE_FIRST, 1, data);
	submit(NVME_IO_WRITE, NVME_SQE_FUSE_SECOND, 2, other_data);
	submit(NVME_IO_COMPARE, NVME_SQE_FUSE_FIRST, 3, data);
	submit(NVME_IO_WRITE, NVME_SQE_FUSE_SECOND, 4, other_data);
	cr_assert(comes_true(waits, "4"));
	cr_expect(abort_one(1));
	for (i = 0; i < 2; i++) {
		cid = response(&status[0]);
		cr_assert_lt(cid, ARRAY_SIZE(status));
		status[cid] = status[0];
	}
	cr_expect_eq(status[1], NVME_ST_ABORTED, "0x%x", status[1]);
	cr_expect_eq(status[2], NVME_ST_FUSED_FAILED, "0x%x", status[2]);
	cr_expect(abort_one(4));
	expect_response(4, NVME_ST_ABORTED);
	cr_expect_eq(count("waiting"), 1);
	/* A target that stops lets all go that waits. */
	fixture_stop(&fixture);
	expect_response(3, 0);
	client_close(&io);
	client_close(&admin);
}

/* ---- what counts as what ---- */

static void expect_counts(const char *what, unsigned int commands, unsigned int bytes)
{
	static int64_t commands_before, bytes_before;
	int64_t n = count("commands"), b = count("bytes");

	if (what) {
		cr_expect_eq(n - commands_before, commands, "%s: %lld commands", what, (long long)(n - commands_before));
		cr_expect_eq(b - bytes_before, bytes, "%s: %lld bytes", what, (long long)(b - bytes_before));
	}
	commands_before = n;
	bytes_before = b;
}

static int copy(uint64_t to, unsigned int blocks)
{
	struct nvme_copy_range range = {.slba = 0, .nlb = htole16(blocks - 1)};

	return client_run(&io, nvme_sqe_copy(0, NS_FILE, to, 1), &range, sizeof(range), true, NULL);
}

static void pair(const uint8_t *old, const uint8_t *new, uint16_t compared, uint16_t written)
{
	submit(NVME_IO_COMPARE, NVME_SQE_FUSE_FIRST, 1, old);
	submit(NVME_IO_WRITE, NVME_SQE_FUSE_SECOND, 2, new);
	expect_response(1, compared);
	expect_response(2, written);
}

Test(storage_qos, counts)
{
	start(1000000, 1ull << 30, 0);
	memset(other_data, 1, sizeof(other_data));
	expect_counts(NULL, 0, 0);
	cr_assert_eq(client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, 1, data, NS_BLOCK, true), 0);
	expect_counts("Write", 1, NS_BLOCK);
	cr_assert_eq(copy(512, 16), 0);
	expect_counts("Copy: its ranges, and what it copies", 1, sizeof(struct nvme_copy_range) + 16 * NS_BLOCK);
	pair(data, other_data, 0, 0);
	expect_counts("a pair", 2, 2 * NS_BLOCK);
	pair(data, other_data, NVME_ST_COMPARE_FAILED, NVME_ST_FUSED_FAILED);
	expect_counts("a pair that differs", 2, 2 * NS_BLOCK);
	cr_assert_eq(client_rw(&io, NVME_IO_VERIFY, NS_FILE, 0, 8, NULL, 0, false), 0);
	expect_counts("Verify: what it reads", 1, 8 * NS_BLOCK);
	cr_assert_eq(client_rw(&io, NVME_IO_WRITE_ZEROES, NS_FILE, 0, 8, NULL, 0, false), 0);
	expect_counts("Write Zeroes moves nothing", 1, 0);
	cr_assert_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 1u << 30, 1, data, NS_BLOCK, false), NVME_ST_LBA_RANGE);
	expect_counts("what is refused", 0, 0);
	cr_expect_eq(count("throttled"), 0);
	stop();
}

/* ---- and waits ---- */

/* What Copy moved is known when it begins: who comes after it waits for that. */
Test(storage_qos, after_a_copy)
{
	uint64_t began;

	start(0, 4 << 20, 0);
	began = time_now_ns();
	cr_assert_eq(copy(512, 256), 0);
	cr_assert_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 0, 1, data, NS_BLOCK, false), 0);
	/* 1 MiB is 250 ms, of which 20 may be had in advance. */
	cr_expect_geq(time_now_ns() - began, 225 * MS, "%llu ms", (time_now_ns() - began) / MS);
	cr_expect_eq(count("throttled"), 1);
	stop();
}

/* Halves wait one by one and run together: a counter that pairs count up misses nothing. */
Test(storage_qos, pairs_wait)
{
	enum { PAIRS = 6 };
	static uint8_t values[PAIRS + 1][NS_BLOCK];
	uint64_t began;
	unsigned int i;

	start(10, 0, 0);
	for (i = 0; i <= PAIRS; i++)
		memset(values[i], i, NS_BLOCK);
	began = time_now_ns();
	for (i = 0; i < PAIRS; i++) {
		submit(NVME_IO_COMPARE, NVME_SQE_FUSE_FIRST, 2 * i, values[i]);
		submit(NVME_IO_WRITE, NVME_SQE_FUSE_SECOND, 2 * i + 1, values[i + 1]);
	}
	for (i = 0; i < 2 * PAIRS; i++)
		expect_response(i, 0);
	/* 12 commands, the first at once, one every 100 ms, of which 20 may be had in advance. */
	cr_expect_geq(time_now_ns() - began, 1075 * MS, "%llu ms", (time_now_ns() - began) / MS);
	cr_expect_eq(count("commands"), 2 * PAIRS);
	cr_expect_eq(count("throttled"), 2 * PAIRS - 1);
	stop();
}

/* A reactor that looks for work without sleeping looks at the clock, too. */
Test(storage_qos, spinning)
{
	uint64_t began;
	unsigned int i;

	start_as(100, 0, (struct fixture_options){.spin_us = 1000000});
	began = time_now_ns();
	for (i = 0; i < 25; i++)
		cr_assert_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 0, 1, data, NS_BLOCK, false), 0);
	/* 10 ms each; none waits for the second after which the reactor would sleep. */
	cr_expect_leq(time_now_ns() - began, 1000 * MS, "%llu ms", (time_now_ns() - began) / MS);
	stop();
}
