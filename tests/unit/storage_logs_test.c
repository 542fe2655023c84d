// SPDX-License-Identifier: Apache-2.0
/*
 * What a controller says of itself: every CNS value of Identify, every log page, every feature, with what must hold
 * between them. One target a test; storage_client.h.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage_client.h"

static struct fixture fixture;
static uint8_t page[4096] __attribute__((aligned(8)));

static void start(void)
{
	fixture_start(&fixture, 2, 0);
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_logs, .init = start, .fini = stop, .timeout = 60);

static int get_log(struct client *c, uint8_t lid, uint32_t len)
{
	memset(page, 0xee, sizeof(page));
	return client_run(c, nvme_sqe_get_log(0, lid, 0, len), page, len, false, NULL);
}

static void discovery(struct client *c)
{
	client_open(c, fixture.port, 0);
	cr_assert_eq(client_connect(c, &(struct client_connect){.subnqn = NVME_DISCOVERY_NQN}), 0);
	cr_assert_eq(client_enable(c), 0);
}

/* ---- Identify ---- */

static int identify(struct client *c, uint32_t cdw10, uint32_t nsid, uint8_t csi)
{
	struct nvme_sqe sqe = nvme_sqe_identify(0, 0, nsid);

	sqe.cdw10 = htole32(cdw10);
	sqe.cdw11 = htole32((uint32_t)csi << 24);
	memset(page, 0xee, sizeof(page));
	return client_run(c, sqe, page, sizeof(page), false, NULL);
}

Test(storage_logs, every_cns)
{
	static const struct {
		uint8_t cns, csi;
		uint32_t nsid;
		int status, discovery;
	} rows[] = {
		{NVME_CNS_NS, 0, 1, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS, 0, 77, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS, 0, 0, NVME_ST_INVALID_NS, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS, 0, UINT32_MAX, NVME_ST_INVALID_NS, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CTRL, 0, 0, 0, 0},
		{NVME_CNS_ACTIVE_NS, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_ACTIVE_NS, 0, 0xfffffffe, NVME_ST_INVALID_NS, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS_DESCS, 0, 2, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_NS, 0, 1, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_NS, 2, 1, NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_CTRL, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_CTRL, 1, 0, NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_ACTIVE_NS, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS_INDEP, 0, 1, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_ALLOCATED_NS, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS_ALLOCATED, 0, 1, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS_CTRLS, 0, 1, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_NS_CTRLS, 0, 0, NVME_ST_INVALID_NS, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CTRLS, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_PRIMARY, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_SECONDARY, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_ALLOCATED_NS, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_CSI_NS_ALLOCATED, 0, 1, 0, NVME_ST_INVALID_FIELD},
		{NVME_CNS_COMMAND_SETS, 0, 0, 0, NVME_ST_INVALID_FIELD},
		{0x16, 0, 0, NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD},
		{0xff, 0, 0, NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD},
	};
	struct client c, d;
	size_t i;

	client_admin(&c, &fixture, 0);
	discovery(&d);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(identify(&c, rows[i].cns, rows[i].nsid, rows[i].csi), rows[i].status, "CNS %02x of %x",
			     rows[i].cns, rows[i].nsid);
		cr_expect_eq(identify(&d, rows[i].cns, rows[i].nsid, rows[i].csi), rows[i].discovery,
			     "CNS %02x of %x, discovery", rows[i].cns, rows[i].nsid);
	}
	client_close(&d);
	client_close(&c);
}

Test(storage_logs, controller_lists)
{
	const __le16 *list = (const __le16 *)page;
	struct client a, b, d;

	client_admin(&a, &fixture, 0);
	discovery(&d);
	client_admin(&b, &fixture, 0);
	cr_assert_eq(identify(&a, NVME_CNS_CTRLS, 0, 0), 0);
	cr_expect_eq(le16toh(list[0]), 2, "the discovery controller is of another subsystem");
	cr_expect_eq(le16toh(list[1]), a.cntlid);
	cr_expect_eq(le16toh(list[2]), b.cntlid);
	cr_expect_eq(list[3], 0);
	cr_assert_eq(identify(&a, NVME_CNS_NS_CTRLS | (uint32_t)(a.cntlid + 1) << 16, 1, 0), 0);
	cr_expect_eq(le16toh(list[0]), 1);
	cr_expect_eq(le16toh(list[1]), b.cntlid);
	cr_assert_eq(identify(&a, NVME_CNS_NS_CTRLS, 99, 0), 0);
	cr_expect_eq(le16toh(list[0]), 0, "an inactive namespace is attached to none");
	cr_assert_eq(identify(&a, NVME_CNS_SECONDARY, 0, 0), 0);
	cr_expect_eq(page[0], 0);
	client_close(&d);
	client_close(&b);
	client_close(&a);
}

/* The same over a restart, different between namespaces, and the same wherever it is asked for. */
Test(storage_logs, identifiers)
{
	const struct nvme_id_ns *ns = (const void *)page;
	uint8_t eui64[2][8], nguid[2][16], uuid[2][16], again[16];
	struct client c;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		client_admin(&c, &fixture, 0);
		cr_assert_eq(identify(&c, NVME_CNS_NS, 1, 0), 0);
		memcpy(eui64[i], ns->eui64, 8);
		memcpy(nguid[i], ns->nguid, 16);
		cr_assert_eq(identify(&c, NVME_CNS_NS_DESCS, 1, 0), 0);
		cr_assert_eq(nvme_descs_uuid(page, uuid[i]), 0);
		cr_expect_arr_eq(page + 4, eui64[i], 8, "the first descriptor is the EUI64");
		client_close(&c);
		if (!i) {
			fixture_stop(&fixture);
			fixture_start(&fixture, 1, 0);
		}
	}
	cr_expect_arr_eq(eui64[0], eui64[1], 8);
	cr_expect_arr_eq(nguid[0], nguid[1], 16);
	cr_expect_arr_eq(uuid[0], uuid[1], 16);
	client_admin(&c, &fixture, 0);
	cr_assert_eq(identify(&c, NVME_CNS_NS, 2, 0), 0);
	cr_expect_neq(memcmp(ns->eui64, eui64[0], 8), 0);
	cr_assert_eq(identify(&c, NVME_CNS_NS_DESCS, 2, 0), 0);
	cr_assert_eq(nvme_descs_uuid(page, again), 0);
	cr_expect_neq(memcmp(again, uuid[0], 16), 0);
	client_close(&c);
}

/* ---- logs ---- */

/* What the list of supported pages names can be read, and nothing else. */
static void supported_pages(struct client *c)
{
	const __le32 *list = (const __le32 *)page;
	bool there[256];
	unsigned int lid;

	cr_assert_eq(get_log(c, NVME_LID_SUPPORTED, 1024), 0);
	for (lid = 0; lid < 256; lid++)
		there[lid] = le32toh(list[lid]) & 1;
	for (lid = 0; lid < 256; lid++)
		cr_expect_eq(get_log(c, lid, 512), there[lid] ? 0 : NVME_ST_INVALID_LOG_PAGE, "page %02x", lid);
	cr_expect(there[NVME_LID_SUPPORTED] && there[NVME_LID_ERROR] && there[NVME_LID_EFFECTS]);
}

Test(storage_logs, supported)
{
	struct client c, d;

	client_admin(&c, &fixture, 0);
	supported_pages(&c);
	discovery(&d);
	supported_pages(&d);
	cr_expect_eq(get_log(&d, NVME_LID_DISCOVERY, 1024), 0);
	client_close(&d);
	client_close(&c);
}

Test(storage_logs, errors)
{
	struct __attribute__((packed)) {
		__le64 count;
		__le16 sqid, cid, status, location;
		__le64 lba;
		__le32 nsid;
		__u8 rest[36];
	} const *entry = (const void *)page;
	struct client admin, io;
	uint8_t data[4096];
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	cr_assert_eq(get_log(&admin, NVME_LID_ERROR, 64), 0);
	cr_expect_eq(entry->count, 0, "none yet");
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_NULL, 1 << 20, 1, data, 4096, false), NVME_ST_LBA_RANGE);
	cr_expect_eq(identify(&admin, 0xfe, 0, 0), NVME_ST_INVALID_FIELD);
	cr_assert_eq(get_log(&admin, NVME_LID_ERROR, 192), 0);
	cr_expect_eq(le64toh(entry[0].count), 2, "the latest first");
	cr_expect_eq(le16toh(entry[0].sqid), 0);
	cr_expect_eq(le16toh(entry[0].status) >> 1 & NVME_STATUS_CODE, NVME_ST_INVALID_FIELD);
	cr_expect_eq(le64toh(entry[1].count), 1);
	cr_expect_eq(le16toh(entry[1].sqid), 1);
	cr_expect_eq(le16toh(entry[1].cid), io.cid);
	cr_expect_eq(le16toh(entry[1].status) >> 1 & NVME_STATUS_CODE, NVME_ST_LBA_RANGE);
	cr_expect_eq(le64toh(entry[1].lba), 1 << 20);
	cr_expect_eq(le32toh(entry[1].nsid), NS_NULL);
	cr_expect_eq(entry[2].count, 0);
	for (i = 0; i < 70; i++)
		client_rw(&io, NVME_IO_READ, NS_NULL, (1 << 20) + i, 1, data, 4096, false);
	cr_assert_eq(get_log(&admin, NVME_LID_ERROR, 4096), 0);
	for (i = 0; i < 64; i++)
		cr_expect_eq(le64toh(entry[i].count), 72 - i);
	cr_assert_eq(get_log(&admin, NVME_LID_SMART, 512), 0);
	cr_expect_eq(le64toh(*(__le64 *)(page + 176)), 72, "SMART counts them");
	client_close(&io);
	client_close(&admin);
}

Test(storage_logs, smart_counts_traffic)
{
	static uint8_t data[65536];
	struct client admin, io;
	struct nvme_sqe sqe = nvme_sqe_get_log(0, NVME_LID_SMART, 0, 512);
	unsigned int i;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	for (i = 0; i < 20; i++)
		cr_assert_eq(client_rw(&io, NVME_IO_READ, NS_NULL, 0, 16, data, sizeof(data), false), 0);
	for (i = 0; i < 10; i++)
		cr_assert_eq(client_rw(&io, NVME_IO_WRITE, NS_MEMORY, 0, 128, data, sizeof(data), false), 0);
	sqe.nsid = htole32(UINT32_MAX);
	cr_assert_eq(client_run(&admin, sqe, page, 512, false, NULL), 0);
	cr_expect_eq(le64toh(*(__le64 *)(page + 32)), 3, "20 * 64 KiB in units of 512,000");
	cr_expect_eq(le64toh(*(__le64 *)(page + 48)), 2);
	cr_expect_eq(le64toh(*(__le64 *)(page + 64)), 20);
	cr_expect_eq(le64toh(*(__le64 *)(page + 80)), 10);
	sqe.nsid = htole32(1);
	cr_expect_eq(client_run(&admin, sqe, page, 512, false, NULL), NVME_ST_INVALID_FIELD, "not by namespace");
	client_close(&io);
	client_close(&admin);
}

/* Data that differ are no fault of the medium; blocks that cannot be read are. */
Test(storage_logs, smart_counts_media_errors)
{
	static uint8_t data[512];
	struct nvme_sqe sqe = nvme_sqe_get_log(0, NVME_LID_SMART, 0, 512);
	struct client admin, io;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	cr_assert_eq(client_rw(&io, NVME_IO_WRITE, NS_MEMORY, 0, 1, data, sizeof(data), true), 0);
	data[0] ^= 1;
	cr_expect_eq(client_rw(&io, NVME_IO_COMPARE, NS_MEMORY, 0, 1, data, sizeof(data), true),
		     NVME_ST_COMPARE_FAILED);
	cr_assert_eq(client_run(&admin, sqe, page, 512, false, NULL), 0);
	cr_expect_eq(le64toh(*(__le64 *)(page + 160)), 0);
	cr_assert_eq(client_run(&io, nvme_sqe_rw(NVME_IO_WRITE_UNCOR, 0, NS_MEMORY, 0, 1), NULL, 0, false, NULL), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_MEMORY, 0, 1, data, sizeof(data), false), NVME_ST_READ_ERROR);
	cr_assert_eq(client_run(&admin, sqe, page, 512, false, NULL), 0);
	cr_expect_eq(le64toh(*(__le64 *)(page + 160)), 1);
	client_close(&io);
	client_close(&admin);
}

/* ---- features ---- */

static int get_feature(struct client *c, uint8_t fid, unsigned int select, uint64_t *ret_value)
{
	struct nvme_sqe sqe = nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, fid | select << 8, 0);

	sqe.cdw10 = htole32(fid | select << 8);
	sqe.cdw11 = htole32(fid == NVME_FID_HOST_ID);
	memset(page, 0, sizeof(page));
	return client_run(c, sqe, page, 512, false, ret_value);
}

static int set_feature(struct client *c, uint8_t fid, uint32_t value)
{
	return client_run(c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, fid, value), page, 512, true, NULL);
}

/* Set changes the current value and not the default; what cannot change says so. */
Test(storage_logs, features)
{
	static const struct {
		uint8_t fid;
		uint32_t set;
		int status;
		uint64_t value, by_default;
	} rows[] = {
		{NVME_FID_ARBITRATION, 3, 0, 3, 7},
		{NVME_FID_POWER, 0, 0, 0, 0},
		{NVME_FID_POWER, 1, NVME_ST_INVALID_FIELD, 0, 0},
		{NVME_FID_TEMPERATURE, 300, 0, 300, 343},
		{NVME_FID_ERROR_RECOVERY, 20, 0, 20, 0},
		{NVME_FID_ERROR_RECOVERY, 1 << 16, NVME_ST_INVALID_FIELD, 20, 0},
		{NVME_FID_WRITE_CACHE, 0, NVME_ST_FEATURE_NOT_CHANGEABLE, 1, 1},
		{NVME_FID_WRITE_CACHE, 1, 0, 1, 1},
		{NVME_FID_NUM_QUEUES, 7 << 16 | 7, 0, 7 << 16 | 7, 127 << 16 | 127},
		{NVME_FID_WRITE_ATOMIC, 1, 0, 1, 0},
		{NVME_FID_ASYNC_EVENT, NVME_OAES_NS_ATTR | 0xff, 0, NVME_OAES_NS_ATTR | 0xff, 0},
		{NVME_FID_KATO, 5500, 0, 6000, 0},
		{NVME_FID_HOST_ID, 0, NVME_ST_SEQUENCE, 0, 0},
		{0x7c, 0, NVME_ST_INVALID_FIELD, 0, 0},
	};
	struct nvme_sqe sqe;
	uint64_t value;
	struct client c;
	size_t i;

	client_admin(&c, &fixture, 0);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t fid = rows[i].fid;
		bool there = fid != 0x7c;

		cr_expect_eq(set_feature(&c, fid, rows[i].set), rows[i].status, "set %02x", fid);
		sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, fid, rows[i].set);
		sqe.cdw10 |= htole32(1u << 31);
		cr_expect_eq(client_run(&c, sqe, NULL, 0, false, NULL),
			     there ? NVME_ST_FEATURE_NOT_SAVEABLE : NVME_ST_INVALID_FIELD, "save %02x", fid);
		value = 0;
		cr_expect_eq(get_feature(&c, fid, 0, &value), there ? 0 : NVME_ST_INVALID_FIELD, "get %02x", fid);
		cr_expect_eq(value, rows[i].value, "feature %02x is %lx", fid, (unsigned long)value);
		if (!there)
			continue;
		cr_expect_eq(get_feature(&c, fid, 1, &value), 0, "default of %02x", fid);
		cr_expect_eq(value, rows[i].by_default, "default of %02x is %lx", fid, (unsigned long)value);
		cr_expect_eq(get_feature(&c, fid, 2, &value), 0, "saved %02x", fid);
		cr_expect_eq(value, rows[i].by_default, "nothing is saved");
		cr_expect_eq(get_feature(&c, fid, 3, &value), 0, "capabilities of %02x", fid);
		cr_expect_eq(value & 3, 0, "neither saveable nor of a namespace");
		cr_expect_eq(get_feature(&c, fid, 4, &value), NVME_ST_INVALID_FIELD);
	}
	sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_ARBITRATION, 1);
	sqe.nsid = htole32(1);
	cr_expect_eq(client_run(&c, sqe, NULL, 0, false, NULL), NVME_ST_FEATURE_NOT_PER_NS);
	client_close(&c);
}

/* The log of features names those that can be got. */
Test(storage_logs, feature_effects)
{
	const __le32 *list = (const __le32 *)page;
	bool there[256];
	unsigned int fid;
	uint64_t value;
	struct client c;

	client_admin(&c, &fixture, 0);
	cr_assert_eq(get_log(&c, NVME_LID_FEATURES, 1024), 0);
	for (fid = 0; fid < 256; fid++)
		there[fid] = le32toh(list[fid]) & 1;
	for (fid = 0; fid < 256; fid++)
		cr_expect_eq(get_feature(&c, fid, 3, &value), there[fid] ? 0 : NVME_ST_INVALID_FIELD, "feature %02x",
			     fid);
	client_close(&c);
}

Test(storage_logs, features_with_data)
{
	const uint64_t now = 1795000000000;
	__le64 wire = htole64(now);
	uint64_t value;
	struct client c;

	client_admin(&c, &fixture, 0);
	cr_expect_eq(get_feature(&c, NVME_FID_TIMESTAMP, 0, NULL), 0);
	value = le64toh(*(__le64 *)page);
	cr_expect_eq(value >> 49 & 7, 0, "counted from the controller's start");
	cr_expect_lt(value & 0xffffffffffff, 60000);
	memcpy(page, &wire, sizeof(wire));
	cr_expect_eq(set_feature(&c, NVME_FID_TIMESTAMP, 0), 0);
	cr_expect_eq(get_feature(&c, NVME_FID_TIMESTAMP, 0, NULL), 0);
	value = le64toh(*(__le64 *)page);
	cr_expect_eq(value >> 49 & 7, 1, "set by the host");
	cr_expect(value << 16 >> 16 >= now && (value & 0xffffffffffff) < now + 60000);
	memset(page, 0, 512);
	page[0] = 1;
	cr_expect_eq(set_feature(&c, NVME_FID_HOST_BEHAVIOR, 0), 0);
	cr_expect_eq(get_feature(&c, NVME_FID_HOST_BEHAVIOR, 0, NULL), 0);
	cr_expect_eq(page[0], 1);
	cr_expect_eq(get_feature(&c, NVME_FID_HOST_ID, 0, NULL), 0);
	cr_expect(page[0] == 1 && page[1] == 2 && page[2] == 3, "as in Connect");
	client_close(&c);
}

Test(storage_logs, queues_stand_once_there_is_one)
{
	struct client admin, io;

	client_admin(&admin, &fixture, 0);
	cr_expect_eq(set_feature(&admin, NVME_FID_NUM_QUEUES, 1 << 16 | 1), 0);
	client_io(&io, &fixture, &admin, 0, false);
	cr_expect_eq(set_feature(&admin, NVME_FID_NUM_QUEUES, 7 << 16 | 7), NVME_ST_SEQUENCE);
	client_close(&io);
	client_close(&admin);
}
