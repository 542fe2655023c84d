// SPDX-License-Identifier: Apache-2.0
/*
 * The target as hosts see it: Connect, admin commands, I/O on every backend. One target a test, on a port of the
 * system's choice on 127.0.0.1. What is malformed is in storage_abuse_test.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage_client.h"

static struct fixture fixture;

static void start(void)
{
	fixture_start(&fixture, 1, 0);
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_target, .init = start, .fini = stop, .timeout = 60);

static void fill(uint8_t *data, size_t len, uint32_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (seed = seed * 1664525 + 1013904223) >> 24;
}

/* ---- Connect ---- */

Test(storage_target, connect_refusals)
{
	static const struct {
		const char *name;
		struct client_connect how;
		int status;
	} rows[] = {
		{"good", {}, 0},
		{"discovery", {.subnqn = NVME_DISCOVERY_NQN}, 0},
		{"no such subsystem", {.subnqn = "nqn.2026-11.io.example:absent"}, NVME_ST_CONNECT_PARAM},
		{"host not in the list", {.subnqn = TEST_PRIVATE}, NVME_ST_CONNECT_HOST},
		{"host in the list", {.subnqn = TEST_PRIVATE, .hostnqn = TEST_OTHER}, 0},
		{"static controller id", {.cntlid = 7}, NVME_ST_CONNECT_PARAM},
		{"I/O queue of no controller", {.qid = 1, .cntlid = 99}, NVME_ST_CONNECT_PARAM},
	};
	struct client c;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		client_open(&c, fixture.port, 0);
		cr_expect_eq(client_connect(&c, &rows[i].how), rows[i].status, "%s", rows[i].name);
		client_close(&c);
	}
}

Test(storage_target, connect_io_checks)
{
	struct client admin, io;

	client_open(&admin, fixture.port, 0);
	cr_assert_eq(client_connect(&admin, &(struct client_connect){}), 0);
	client_open(&io, fixture.port, 0);
	io.cntlid = admin.cntlid;
	cr_expect_neq(client_connect(&io, &(struct client_connect){.qid = 1}), 0, "before queues were granted");
	cr_expect_eq(client_enable(&admin), 0);
	cr_expect_eq(client_run(&admin, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 1 << 16 | 1),
				NULL, 0, false, NULL),
		     0);
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 3}), NVME_ST_CONNECT_PARAM,
		     "beyond the grant");
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1, .hostnqn = TEST_OTHER}),
		     NVME_ST_CONNECT_PARAM, "another host");
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1}), 0);
	cr_expect_eq(client_connect(&io, &(struct client_connect){.qid = 1}), NVME_ST_SEQUENCE,
		     "twice on one connection");
	client_close(&io);
	client_close(&admin);
}

Test(storage_target, properties)
{
	uint64_t value = 0;
	struct client c;

	client_open(&c, fixture.port, 0);
	cr_assert_eq(client_connect(&c, &(struct client_connect){}), 0);
	cr_expect_eq(client_property_get(&c, NVME_PROP_CAP, 8, &value), 0);
	cr_expect_eq(NVME_CAP_MQES(value), 1023);
	cr_expect_eq(client_property_get(&c, NVME_PROP_VS, 4, &value), 0);
	cr_expect_geq(value, NVME_VS_1_3);
	cr_expect_eq(client_property_get(&c, 0x40, 4, &value), NVME_ST_INVALID_FIELD);
	cr_expect_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), NULL, 0, false, NULL), NVME_ST_SEQUENCE,
		     "Identify before CC.EN");
	cr_expect_eq(client_enable(&c), 0);
	cr_expect_eq(client_property_set(&c, NVME_PROP_CC, NVME_CC_EN | 6 << 16 | 4 << 20 | NVME_CC_SHN_NORMAL), 0);
	cr_expect_eq(client_property_get(&c, NVME_PROP_CSTS, 4, &value), 0);
	cr_expect_eq(value & NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_DONE);
	client_close(&c);
}

/* ---- admin ---- */

Test(storage_target, identify)
{
	static uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ctrl_view ctrl;
	struct nvme_ns_view ns;
	__u32 ids[1024];
	__u8 uuid[16];
	struct client c;

	client_admin(&c, &fixture, 0);
	cr_assert_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), page, sizeof(page), false, NULL), 0);
	cr_assert_eq(nvme_ctrl_read(page, &ctrl), 0);
	cr_expect_str_eq(ctrl.subnqn, TEST_SUBNQN);
	cr_expect_eq(ctrl.cntlid, c.cntlid);
	cr_expect_eq(ctrl.nn, TARGET_MAX_NSID);
	cr_expect_eq(ctrl.in_capsule, 8192);
	cr_expect(ctrl.write_cache && ctrl.dsm && ctrl.write_zeroes);
	cr_assert_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_ACTIVE_NS, 0), page, sizeof(page), false, NULL), 0);
	cr_expect_eq(nvme_active_read(page, ids, 1024), NS_COUNT);
	cr_assert_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_ACTIVE_NS, 2), page, sizeof(page), false, NULL), 0);
	cr_expect_eq(nvme_active_read(page, ids, 1024), 2);
	cr_expect_eq(ids[0], 3);
	cr_assert_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_NS, NS_MEMORY), page, sizeof(page), false, NULL), 0);
	cr_assert_eq(nvme_ns_read(page, &ns), 0);
	cr_expect_eq(ns.blocks, NS_SIZE / 512);
	cr_expect_eq(ns.block_shift, 9);
	cr_assert_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_NS, NS_READONLY), page, sizeof(page), false, NULL),
		     0);
	cr_assert_eq(nvme_ns_read(page, &ns), 0);
	cr_expect(ns.readonly);
	cr_assert_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_NS_DESCS, 1), page, sizeof(page), false, NULL), 0);
	cr_expect_eq(nvme_descs_uuid(page, uuid), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_NS, 77), page, sizeof(page), false, NULL), 0);
	cr_assert_eq(nvme_ns_read(page, &ns), 0);
	cr_expect_eq(ns.blocks, 0, "an inactive namespace is all zeroes");
	cr_expect_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_NS, TARGET_MAX_NSID + 1), page, sizeof(page), false,
				NULL),
		     NVME_ST_INVALID_NS);
	cr_expect_eq(client_run(&c, nvme_sqe_identify(0, 0xfe, 0), page, sizeof(page), false, NULL),
		     NVME_ST_INVALID_FIELD);
	client_close(&c);
}

Test(storage_target, discovery_log)
{
	static uint8_t page[4096] __attribute__((aligned(8)));
	struct nvme_discovery_entry entry;
	const struct nvme_discovery_header *header = (void *)page;
	struct client c;

	client_open(&c, fixture.port, 0);
	cr_assert_eq(client_connect(&c, &(struct client_connect){.subnqn = NVME_DISCOVERY_NQN}), 0);
	cr_assert_eq(client_enable(&c), 0);
	cr_assert_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_DISCOVERY, 0, 4096), page, 4096, false, NULL), 0);
	/* The private subsystem is not this host's to see. */
	cr_expect_eq(le64toh(header->numrec), 2);
	cr_assert_eq(nvme_discovery_decode((void *)(page + 2048), &entry), 0);
	cr_expect_str_eq(entry.subnqn, TEST_SUBNQN);
	cr_expect_str_eq(entry.traddr, "127.0.0.1");
	cr_expect_eq(atoi(entry.trsvcid), fixture.port);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_SMART, 0, 512), page, 512, false, NULL),
		     NVME_ST_INVALID_LOG_PAGE);
	client_close(&c);
}

Test(storage_target, logs_and_features)
{
	static uint8_t page[4096] __attribute__((aligned(8)));
	static const struct {
		uint8_t fid;
		int status;
		uint64_t value;
	} rows[] = {
		{NVME_FID_NUM_QUEUES, 0, 3 << 16 | 3},
		{NVME_FID_WRITE_CACHE, 0, 1},
		{NVME_FID_ASYNC_EVENT, 0, 0},
		{NVME_FID_KATO, 0, 0},
		{NVME_FID_ARBITRATION, 0, 7},
	};
	uint64_t value;
	struct client c;
	size_t i;

	client_admin(&c, &fixture, 0);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		value = 0;
		cr_expect_eq(client_run(&c, nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, rows[i].fid, 0), NULL, 0, false,
					&value),
			     rows[i].status, "feature %02x", rows[i].fid);
		if (!rows[i].status)
			cr_expect_eq(value, rows[i].value, "feature %02x", rows[i].fid);
	}
	cr_expect_eq(
		client_run(&c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_KATO, 1500), NULL, 0, false, NULL),
		0);
	client_run(&c, nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, NVME_FID_KATO, 0), NULL, 0, false, &value);
	cr_expect_eq(value, 2000, "rounded up to the granularity");
	cr_expect_eq(client_run(&c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_WRITE_CACHE, 0), NULL, 0,
				false, NULL),
		     NVME_ST_FEATURE_NOT_CHANGEABLE);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_SMART, 0, 512), page, 512, false, NULL), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_FIRMWARE, 0, 512), page, 512, false, NULL), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_ERROR, 0, 64), page, 64, false, NULL), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_EFFECTS, 0, 4096), page, 4096, false, NULL), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_CHANGED_NS, 0, 4096), page, 4096, false, NULL), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_get_log(0, 0xee, 0, 512), page, 512, false, NULL),
		     NVME_ST_INVALID_LOG_PAGE);
	client_close(&c);
}

Test(storage_target, events_and_abort)
{
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, 1000, 0, 0, 0);
	uint64_t result = 0;
	struct pdu pdu;
	struct client c;
	unsigned int i;

	client_admin(&c, &fixture, 0);
	for (i = 0; i < 4; i++) {
		sqe.cid = htole16(1000 + i);
		cr_assert_eq(client_capsule(&c, &sqe, NULL, 0), 0);
	}
	cr_expect_eq(client_run(&c, sqe, NULL, 0, false, NULL), NVME_ST_AER_LIMIT, "the fifth");
	/* The aborted event is answered before the Abort. */
	sqe = nvme_sqe_make(NVME_ADM_ABORT, 2000, 0, 1001 << 16, 0);
	cr_assert_eq(client_capsule(&c, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(&c, &pdu, NULL, 0), 0);
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 1001);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_ABORTED);
	cr_assert_eq(client_receive(&c, &pdu, NULL, 0), 0);
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 2000);
	cr_expect_eq(le64toh(pdu.header.resp.cqe.result), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_make(NVME_ADM_ABORT, 0, 0, 999 << 16, 0), NULL, 0, false, &result), 0);
	cr_expect_eq(result, 1, "nothing to abort");
	client_close(&c);
}

Test(storage_target, unknown_opcodes)
{
	struct client admin, io;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	cr_expect_eq(client_run(&admin, nvme_sqe_make(0x55, 0, 0, 0, 0), NULL, 0, false, NULL), NVME_ST_INVALID_OPCODE);
	cr_expect_eq(client_run(&admin, nvme_sqe_make(NVME_ADM_CREATE_SQ, 0, 0, 0, 0), NULL, 0, false, NULL),
		     NVME_ST_INVALID_OPCODE);
	cr_expect_eq(client_run(&io, nvme_sqe_make(0xc1, 0, 1, 0, 0), NULL, 0, false, NULL), NVME_ST_INVALID_OPCODE);
	cr_expect_eq(client_rw(&io, NVME_IO_FLUSH, 1, 0, 1, NULL, 0, false), 0, "and the queue still works");
	client_close(&io);
	client_close(&admin);
}

/* ---- I/O ---- */

/* Writes and reads back, on a namespace that keeps what it gets, with data of `len` bytes at block `slba`. */
static void round_trip(struct client *io, uint32_t nsid, uint64_t slba, uint32_t len, bool in_capsule)
{
	static uint8_t out[256 << 10], in[256 << 10];
	uint32_t block = nsid == NS_MEMORY ? 512 : NS_BLOCK;

	fill(out, len, slba + len);
	memset(in, 0xee, len);
	cr_expect_eq(client_rw(io, NVME_IO_WRITE, nsid, slba, len / block, out, len, in_capsule), 0, "write of %u",
		     len);
	cr_expect_eq(client_rw(io, NVME_IO_READ, nsid, slba, len / block, in, len, false), 0, "read of %u", len);
	cr_expect_arr_eq(in, out, len, "%u bytes at block %lu of namespace %u", len, (unsigned long)slba, nsid);
}

static void io_on_every_backend(uint8_t dgst, bool no_sq_flow, size_t chunk)
{
	static const uint32_t sizes[] = {4096, 8192, 65536, 131072, 256 << 10};
	static const uint32_t kept[] = {NS_MEMORY, NS_FILE};
	static uint8_t data[256 << 10], zero[256 << 10];
	struct client admin, io;
	size_t i, n;

	client_admin(&admin, &fixture, dgst);
	client_io(&io, &fixture, &admin, dgst, no_sq_flow);
	io.chunk = chunk;
	for (i = 0; i < ARRAY_SIZE(sizes) && (!chunk || sizes[i] <= 65536); i++) {
		for (n = 0; n < ARRAY_SIZE(kept); n++) {
			round_trip(&io, kept[n], 8 * i, sizes[i], false);
			if (sizes[i] <= 8192)
				round_trip(&io, kept[n], 8 * i, sizes[i], true);
		}
		fill(data, sizes[i], 1);
		cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_NULL, 0, sizes[i] / NS_BLOCK, data, sizes[i], false), 0);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_NULL, 0, sizes[i] / NS_BLOCK, data, sizes[i], false), 0);
		cr_expect_arr_eq(data, zero, sizes[i], "null reads zeroes");
	}
	cr_expect_eq(io.success_flags > 0, no_sq_flow, "the SUCCESS flag needs SQ flow control off");
	client_close(&io);
	client_close(&admin);
}

Test(storage_target, io)
{
	io_on_every_backend(0, false, 0);
}

Test(storage_target, io_success_flag)
{
	io_on_every_backend(0, true, 0);
}

Test(storage_target, io_header_digest)
{
	io_on_every_backend(PDU_DGST_HEADER, false, 0);
}

Test(storage_target, io_both_digests)
{
	io_on_every_backend(PDU_DGST_HEADER | PDU_DGST_DATA, true, 0);
}

Test(storage_target, io_in_odd_pieces)
{
	io_on_every_backend(PDU_DGST_HEADER | PDU_DGST_DATA, false, 1009);
}

Test(storage_target, io_byte_at_a_time)
{
	struct client admin, io;

	client_admin(&admin, &fixture, PDU_DGST_HEADER | PDU_DGST_DATA);
	client_io(&io, &fixture, &admin, PDU_DGST_HEADER | PDU_DGST_DATA, false);
	io.chunk = 1;
	round_trip(&io, NS_MEMORY, 3, 4096, true);
	round_trip(&io, NS_FILE, 3, 4096, false);
	client_close(&io);
	client_close(&admin);
}

Test(storage_target, sq_head)
{
	uint8_t data[512];
	struct client admin, io;
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	for (i = 0; i < 70; i++) {
		cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_MEMORY, i, 1, data, 512, false), 0);
		/* Connect was the first command of the queue of 32. */
		cr_expect_eq(io.sqhd, (i + 2) % 32, "command %u", i);
	}
	client_close(&io);
	client_close(&admin);
}

Test(storage_target, io_refusals)
{
	static uint8_t data[8192];
	const struct {
		const char *name;
		struct nvme_sqe sqe;
		uint32_t len;
		int status;
	} rows[] = {
		{"read past the end", nvme_sqe_rw(NVME_IO_READ, 0, NS_NULL, NS_SIZE / NS_BLOCK, 1), 4096,
		 NVME_ST_LBA_RANGE},
		{"read over the end", nvme_sqe_rw(NVME_IO_READ, 0, NS_NULL, NS_SIZE / NS_BLOCK - 1, 2), 8192,
		 NVME_ST_LBA_RANGE},
		{"read at 2^64-1", nvme_sqe_rw(NVME_IO_READ, 0, NS_NULL, UINT64_MAX, 1), 4096, NVME_ST_LBA_RANGE},
		{"write past the end", nvme_sqe_rw(NVME_IO_WRITE, 0, NS_MEMORY, NS_SIZE / 512, 1), 512,
		 NVME_ST_LBA_RANGE},
		{"no such namespace", nvme_sqe_rw(NVME_IO_READ, 0, 9, 0, 1), 4096, NVME_ST_INVALID_NS},
		{"flush of no namespace", nvme_sqe_flush(0, 0), 0, NVME_ST_INVALID_NS},
		{"read-only write", nvme_sqe_rw(NVME_IO_WRITE, 0, NS_READONLY, 0, 1), 4096, NVME_ST_NS_WRITE_PROTECTED},
		{"read-only zeroes", nvme_sqe_rw(NVME_IO_WRITE_ZEROES, 0, NS_READONLY, 0, 1), 0,
		 NVME_ST_NS_WRITE_PROTECTED},
		{"too little data", nvme_sqe_rw(NVME_IO_WRITE, 0, NS_NULL, 0, 2), 4096, NVME_ST_SGL_DATA_LEN},
		{"too little room", nvme_sqe_rw(NVME_IO_READ, 0, NS_NULL, 0, 2), 4096, NVME_ST_SGL_DATA_LEN},
		{"read-only read", nvme_sqe_rw(NVME_IO_READ, 0, NS_READONLY, 0, 1), 4096, 0},
	};
	struct client admin, io;
	size_t i;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(client_run(&io, rows[i].sqe, data, rows[i].len, false, NULL), rows[i].status, "%s",
			     rows[i].name);
		if (rows[i].sqe.opcode == NVME_IO_WRITE)
			cr_expect_eq(client_run(&io, rows[i].sqe, data, rows[i].len, true, NULL), rows[i].status,
				     "%s, in capsule", rows[i].name);
	}
	client_close(&io);
	client_close(&admin);
}

Test(storage_target, zeroes_and_deallocate)
{
	static const uint32_t kept[] = {NS_MEMORY, NS_FILE};
	static uint8_t data[65536], zero[65536];
	struct nvme_dsm_range ranges[2] = {};
	struct client admin, io;
	size_t i;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	for (i = 0; i < ARRAY_SIZE(kept); i++) {
		uint32_t block = kept[i] == NS_MEMORY ? 512 : NS_BLOCK, n = sizeof(data) / block;

		fill(data, sizeof(data), i);
		cr_assert_eq(client_rw(&io, NVME_IO_WRITE, kept[i], 0, n, data, sizeof(data), false), 0);
		cr_expect_eq(client_rw(&io, NVME_IO_WRITE_ZEROES, kept[i], 0, n / 2, NULL, 0, false), 0);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, kept[i], 0, n / 2, data, sizeof(data) / 2, false), 0);
		cr_expect_arr_eq(data, zero, sizeof(data) / 2);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, kept[i], n / 2, 1, data, block, false), 0);
		cr_expect_neq(memcmp(data, zero, block), 0, "only the range that was named");
		ranges[0] = (struct nvme_dsm_range){.slba = htole64(n / 2), .nlb = htole32(n / 4)};
		ranges[1] = (struct nvme_dsm_range){.slba = htole64(n * 3 / 4), .nlb = htole32(n / 4)};
		cr_expect_eq(client_run(&io, nvme_sqe_deallocate(0, kept[i], 2), ranges, sizeof(ranges), true, NULL),
			     0);
		cr_expect_eq(client_run(&io, nvme_sqe_deallocate(0, kept[i], 2), ranges, sizeof(ranges), false, NULL),
			     0);
		ranges[1].slba = htole64(NS_SIZE);
		cr_expect_eq(client_run(&io, nvme_sqe_deallocate(0, kept[i], 2), ranges, sizeof(ranges), true, NULL),
			     NVME_ST_LBA_RANGE);
		cr_expect_eq(client_run(&io, nvme_sqe_flush(0, kept[i]), NULL, 0, false, NULL), 0);
	}
	client_close(&io);
	client_close(&admin);
}

Test(storage_target, statistics)
{
	static uint8_t data[8192];
	struct json_object *all, *namespaces, *queues, *ns;
	struct client admin, io;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, 2, data, 8192, false), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 0, 1, data, 4096, false), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 1 << 20, 1, data, 4096, false), NVME_ST_LBA_RANGE);
	all = target_stats(fixture.target);
	namespaces = json_object_object_get(all, "namespaces");
	queues = json_object_object_get(all, "queues");
	cr_assert_eq(json_object_array_length(namespaces), NS_COUNT + 1);
	cr_assert_eq(json_object_array_length(queues), 2);
	ns = json_object_array_get_idx(namespaces, NS_FILE - 1);
	cr_expect_eq(json_object_get_int64(json_object_object_get(ns, "read_bytes")), 4096);
	cr_expect_eq(json_object_get_int64(json_object_object_get(ns, "written_bytes")), 8192);
	cr_expect_eq(json_object_get_int64(json_object_object_get(ns, "errors")), 1);
	json_object_put(all);
	client_close(&io);
	client_close(&admin);
}
