// SPDX-License-Identifier: Apache-2.0
/*
 * The I/O commands beyond Read and Write, against a target in this process: Compare, fused Compare and Write, Verify,
 * Copy, Write Uncorrectable, their checks and their statuses, and that commands on the same blocks are kept apart. Two
 * reactors, so that queues meet on different threads.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage_client.h"

#define MAX_LEN (256u << 10) /* MDTS */

static struct fixture fixture;
static struct client admin, io;

static void start(void)
{
	fixture_start(&fixture, 2, 0);
	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
}

static void stop(void)
{
	client_close(&io);
	client_close(&admin);
	fixture_stop(&fixture);
}

TestSuite(io_commands, .init = start, .fini = stop, .timeout = 60);

static uint32_t block_of(uint32_t nsid)
{
	return nsid == NS_MEMORY ? 512 : NS_BLOCK;
}

static void fill(uint8_t *data, size_t len, uint32_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (seed = seed * 1664525 + 1013904223) >> 24;
}

static int rw(uint8_t opcode, uint32_t nsid, uint64_t slba, void *data, uint32_t len)
{
	return client_rw(&io, opcode, nsid, slba, len / block_of(nsid), data, len, false);
}

/* A command without data. */
static int plain(uint8_t opcode, uint32_t nsid, uint64_t slba, uint32_t blocks)
{
	return client_rw(&io, opcode, nsid, slba, blocks, NULL, 0, false);
}

/* ---- Compare, Verify ---- */

Test(io_commands, compare)
{
	static const uint32_t kept[] = {NS_MEMORY, NS_FILE}, sizes[] = {4096, 8192, 65536, MAX_LEN};
	static uint8_t data[MAX_LEN];
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(kept); i++)
		for (n = 0; n < ARRAY_SIZE(sizes); n++) {
			bool in_capsule = sizes[n] <= 8192;

			fill(data, sizes[n], i + n);
			cr_assert_eq(rw(NVME_IO_WRITE, kept[i], 8, data, sizes[n]), 0);
			cr_expect_eq(rw(NVME_IO_COMPARE, kept[i], 8, data, sizes[n]), 0, "%u bytes", sizes[n]);
			data[sizes[n] - 1] ^= 1;
			cr_expect_eq(rw(NVME_IO_COMPARE, kept[i], 8, data, sizes[n]), NVME_ST_COMPARE_FAILED);
			cr_expect_eq(client_rw(&io, NVME_IO_COMPARE, kept[i], 8, sizes[n] / block_of(kept[i]), data,
					       sizes[n], in_capsule),
				     NVME_ST_COMPARE_FAILED, "%u bytes in the capsule", sizes[n]);
			data[sizes[n] - 1] ^= 1;
			data[0] ^= 0x80;
			cr_expect_eq(rw(NVME_IO_COMPARE, kept[i], 8, data, sizes[n]), NVME_ST_COMPARE_FAILED);
		}
	memset(data, 0, sizeof(data));
	cr_expect_eq(rw(NVME_IO_COMPARE, NS_NULL, 0, data, MAX_LEN), 0, "null reads zeroes");
	data[77] = 1;
	cr_expect_eq(rw(NVME_IO_COMPARE, NS_NULL, 0, data, 4096), NVME_ST_COMPARE_FAILED);
	cr_expect_eq(rw(NVME_IO_COMPARE, NS_READONLY, 0, data, 4096), NVME_ST_COMPARE_FAILED, "read-only is read");
}

Test(io_commands, verify)
{
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_FILE, 0, NS_SIZE / NS_BLOCK), 0, "the whole namespace");
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_MEMORY, 0, NS_SIZE / 512), 0, "the whole namespace");
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_NULL, 1, 1), 0);
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_READONLY, 0, 1), 0);
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_FILE, 1, NS_SIZE / NS_BLOCK), NVME_ST_LBA_RANGE);
}

/* ---- Copy ---- */

static void range_set(struct nvme_copy_range *range, uint64_t slba, uint32_t blocks)
{
	*range = (struct nvme_copy_range){.slba = htole64(slba), .nlb = htole16(blocks - 1)};
}

static int copy(uint32_t nsid, uint64_t sdlba, struct nvme_copy_range *ranges, uint32_t n, uint64_t *ret_result)
{
	return client_run(&io, nvme_sqe_copy(0, nsid, sdlba, n), ranges, n * sizeof(*ranges), n % 2, ret_result);
}

Test(io_commands, copy)
{
	static const uint32_t kept[] = {NS_MEMORY, NS_FILE};
	static uint8_t data[1 << 20], got[MAX_LEN];
	struct nvme_copy_range ranges[256];
	uint64_t result = 1;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(kept); i++) {
		uint32_t block = block_of(kept[i]);
		uint64_t dst = (8 << 20) / block;

		fill(data, sizeof(data), i);
		for (n = 0; n < sizeof(data) / MAX_LEN; n++)
			cr_assert_eq(rw(NVME_IO_WRITE, kept[i], n * MAX_LEN / block, data + n * MAX_LEN, MAX_LEN), 0);
		/* The blocks in reverse: what is read must be where its range says. */
		for (n = 0; n < 256; n++)
			range_set(&ranges[n], 255 - n, 1);
		cr_expect_eq(copy(kept[i], dst, ranges, 256, &result), 0);
		cr_expect_eq(result, 0);
		cr_assert_eq(rw(NVME_IO_READ, kept[i], dst, got, min(256 * block, MAX_LEN)), 0);
		for (n = 0; n < min(256 * block, MAX_LEN) / block; n++)
			cr_expect_arr_eq(got + n * block, data + (255 - n) * block, block, "block %zu", n);
		/* More than fits the scratch, in ranges that end within it. */
		range_set(&ranges[0], 0, 640 * 1024 / block);
		range_set(&ranges[1], 640 * 1024 / block, 384 * 1024 / block);
		cr_expect_eq(copy(kept[i], dst, ranges, 2, &result), 0);
		for (n = 0; n < sizeof(data) / MAX_LEN; n++) {
			cr_assert_eq(rw(NVME_IO_READ, kept[i], dst + n * MAX_LEN / block, got, MAX_LEN), 0);
			cr_expect_arr_eq(got, data + n * MAX_LEN, MAX_LEN);
		}
	}
}

Test(io_commands, copy_refusals)
{
	const uint64_t end = NS_SIZE / 512;
	struct nvme_copy_range ranges[2];
	struct nvme_sqe sqe;

	range_set(&ranges[0], 0, 8);
	range_set(&ranges[1], end - 7, 8);
	cr_expect_eq(copy(NS_MEMORY, 0, ranges, 2, NULL), NVME_ST_LBA_RANGE, "source");
	cr_expect_eq(copy(NS_MEMORY, end - 7, ranges, 1, NULL), NVME_ST_LBA_RANGE, "destination");
	cr_expect_eq(copy(NS_MEMORY, UINT64_MAX, ranges, 1, NULL), NVME_ST_LBA_RANGE, "far destination");
	cr_expect_eq(copy(NS_READONLY, 8, ranges, 1, NULL), NVME_ST_NS_WRITE_PROTECTED);
	range_set(&ranges[0], 0, 65536);
	cr_expect_eq(copy(NS_MEMORY, 0, ranges, 1, NULL), NVME_ST_COPY_LIMIT, "65536 blocks in one range");
	range_set(&ranges[0], 0, 8);
	sqe = nvme_sqe_copy(0, NS_MEMORY, 0, 2);
	cr_expect_eq(client_run(&io, sqe, ranges, 32, true, NULL), NVME_ST_SGL_DATA_LEN, "one range of two");
	sqe = nvme_sqe_copy(0, NS_MEMORY, 0, 1);
	sqe.cdw12 |= htole32(1 << 8);
	cr_expect_eq(client_run(&io, sqe, ranges, 32, true, NULL), NVME_ST_INVALID_FIELD, "descriptor format 1");
	sqe.cdw12 = htole32(1 << 12);
	cr_expect_eq(client_run(&io, sqe, ranges, 32, true, NULL), NVME_ST_INVALID_PI, "checks while reading");
	sqe.cdw12 = htole32(1 << 29);
	cr_expect_eq(client_run(&io, sqe, ranges, 32, true, NULL), NVME_ST_INVALID_PI, "protection while writing");
}

/* ---- Write Uncorrectable ---- */

Test(io_commands, write_uncorrectable)
{
	static uint8_t data[16384];
	struct nvme_copy_range ranges[2];
	struct nvme_dsm_range dsm = {.slba = htole64(100), .nlb = htole32(1)};
	uint64_t result = 0;

	cr_expect_eq(plain(NVME_IO_WRITE_UNCOR, NS_FILE, 0, 1), NVME_ST_INVALID_OPCODE, "a file cannot");
	cr_expect_eq(plain(NVME_IO_WRITE_UNCOR, NS_NULL, 0, 1), NVME_ST_INVALID_OPCODE);
	cr_expect_eq(plain(NVME_IO_WRITE_UNCOR, NS_READONLY, 0, 1), NVME_ST_NS_WRITE_PROTECTED);
	cr_assert_eq(rw(NVME_IO_WRITE, NS_MEMORY, 96, data, sizeof(data)), 0);
	cr_expect_eq(plain(NVME_IO_WRITE_UNCOR, NS_MEMORY, 100, 2), 0);
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 96, data, 2048), 0, "the blocks before");
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 102, data, 2048), 0, "the blocks behind");
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 96, data, 2560), NVME_ST_READ_ERROR);
	cr_expect_eq(rw(NVME_IO_COMPARE, NS_MEMORY, 101, data, 512), NVME_ST_READ_ERROR);
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_MEMORY, 101, 1), NVME_ST_READ_ERROR);
	range_set(&ranges[0], 96, 4);
	range_set(&ranges[1], 99, 2);
	cr_expect_eq(copy(NS_MEMORY, 200, ranges, 2, &result), NVME_ST_READ_ERROR);
	cr_expect_eq(result, 0, "nothing was copied yet");
	cr_expect_eq(rw(NVME_IO_WRITE, NS_MEMORY, 101, data, 512), 0);
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 101, data, 512), 0, "written again");
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 100, data, 512), NVME_ST_READ_ERROR);
	cr_expect_eq(client_run(&io, nvme_sqe_deallocate(0, NS_MEMORY, 1), &dsm, sizeof(dsm), true, NULL), 0);
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 100, data, 512), 0, "deallocated");
	cr_expect_eq(plain(NVME_IO_WRITE_UNCOR, NS_MEMORY, 100, 1), 0);
	cr_expect_eq(plain(NVME_IO_WRITE_ZEROES, NS_MEMORY, 100, 1), 0);
	cr_expect_eq(rw(NVME_IO_READ, NS_MEMORY, 100, data, 512), 0, "zeroed");
}

/* ---- checks ---- */

Test(io_commands, limits_and_protection)
{
	static const struct {
		const char *name;
		uint8_t opcode;
		uint32_t len;
	} rows[] = {
		{"Read", NVME_IO_READ, 4096},	     {"Write", NVME_IO_WRITE, 4096}, {"Compare", NVME_IO_COMPARE, 4096},
		{"Zeroes", NVME_IO_WRITE_ZEROES, 0}, {"Verify", NVME_IO_VERIFY, 0},
	};
	static uint8_t data[MAX_LEN + 4096];
	struct nvme_sqe sqe;
	unsigned int bit;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		for (bit = 10; bit < 14; bit++) {
			sqe = nvme_sqe_rw(rows[i].opcode, 0, NS_FILE, 0, 1);
			((struct nvme_rw_sqe *)&sqe)->control = htole16(1 << bit);
			cr_expect_eq(client_run(&io, sqe, data, rows[i].len, false, NULL), NVME_ST_INVALID_PI,
				     "%s with PRINFO bit %u", rows[i].name, bit);
		}
		if (rows[i].len)
			cr_expect_eq(client_rw(&io, rows[i].opcode, NS_FILE, 0, 65, data, MAX_LEN + 4096, false),
				     NVME_ST_INVALID_FIELD, "%s over MDTS", rows[i].name);
		cr_expect_eq(client_rw(&io, rows[i].opcode, NS_FILE, NS_SIZE / NS_BLOCK, 1, data, rows[i].len, false),
			     NVME_ST_LBA_RANGE, "%s at the end", rows[i].name);
		cr_expect_eq(client_rw(&io, rows[i].opcode, 99, 0, 1, data, rows[i].len, false), NVME_ST_INVALID_NS,
			     "%s of no namespace", rows[i].name);
	}
	/* Zeroes and Verify move no data, so MDTS says nothing of them. */
	cr_expect_eq(plain(NVME_IO_WRITE_ZEROES, NS_FILE, 0, NS_SIZE / NS_BLOCK), 0);
	cr_expect_eq(plain(NVME_IO_WRITE_ZEROES, NS_MEMORY, 0, NS_SIZE / 512), 0, "in pieces");
}

Test(io_commands, identify)
{
	static struct nvme_id_ctrl ctrl;
	static struct nvme_id_ns ns;
	static uint8_t effects[NVME_LOG_EFFECTS_LEN];

	cr_assert_eq(client_run(&admin, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), &ctrl, sizeof(ctrl), false, NULL), 0);
	cr_expect(le16toh(ctrl.oncs) & NVME_ONCS_COMPARE && le16toh(ctrl.oncs) & NVME_ONCS_COPY);
	cr_expect(le16toh(ctrl.oncs) & NVME_ONCS_WRITE_UNCOR, "the memory namespace can");
	cr_expect_eq(le16toh(ctrl.fuses), NVME_FUSES_COMPARE_WRITE);
	cr_expect_eq(ctrl.awun | ctrl.awupf | ctrl.acwu, 0);
	cr_assert_eq(client_run(&admin, nvme_sqe_identify(0, NVME_CNS_NS, NS_FILE), &ns, sizeof(ns), false, NULL), 0);
	cr_expect(ns.nsfeat & 2);
	cr_expect_eq(le16toh(ns.nawun), MAX_LEN / NS_BLOCK - 1);
	cr_expect_eq(le16toh(ns.nacwu), MAX_LEN / NS_BLOCK - 1);
	cr_expect_eq(ns.nawupf, 0);
	cr_expect_eq(le32toh(ns.mcl), (64 << 20) / NS_BLOCK);
	cr_expect_eq(le16toh(ns.mssrl), (64 << 20) / NS_BLOCK);
	cr_expect_eq(ns.msrc, 255);
	cr_assert_eq(client_run(&admin, nvme_sqe_get_log(0, NVME_LID_EFFECTS, 0, 4096), effects, 4096, false, NULL), 0);
	cr_expect_eq(effects[1024 + 4 * NVME_IO_WRITE_UNCOR], 3);
	cr_expect_eq(effects[1024 + 4 * NVME_IO_COMPARE], 1);
}

/* ---- fused ---- */

struct half {
	struct nvme_sqe sqe;
	uint8_t *data;
	uint32_t len;
	bool in_capsule;
	int status; /* answered; -1: not yet */
};

static struct half half(uint8_t opcode, uint8_t fuse, uint32_t nsid, uint64_t slba, void *data, uint32_t len)
{
	struct half h = {nvme_sqe_rw(opcode, 0, nsid, slba, len / block_of(nsid)), data, len, false, -1};

	h.sqe.flags = NVME_SQE_PSDT_SGL | fuse;
	return h;
}

static void send_half(struct client *c, struct half *h)
{
	h->sqe.cid = htole16(++c->cid);
	h->sqe.sgl = h->in_capsule ? nvme_sgl_in_capsule(h->len) : nvme_sgl_transport(h->len);
	cr_assert_eq(client_capsule(c, &h->sqe, h->data, h->in_capsule ? h->len : 0), 0);
}

/* Until all n are answered. */
static void answers(struct client *c, struct half *h, unsigned int n)
{
	unsigned int left = n, i;
	uint8_t data[8];
	struct pdu pdu;

	while (left) {
		cr_assert_eq(client_receive(c, &pdu, data, sizeof(data)), 0);
		for (i = 0; i < n; i++) {
			if (pdu.type == PDU_R2T && pdu.header.data.cccid == h[i].sqe.cid)
				cr_assert_eq(client_answer_r2t(c, &pdu.header.data, h[i].data, h[i].len), 0);
			if (pdu.type != PDU_CAPSULE_RESP || pdu.header.resp.cqe.cid != h[i].sqe.cid)
				continue;
			cr_expect_eq(h[i].status, -1, "one answer each");
			h[i].status = nvme_cqe_status(&pdu.header.resp.cqe) & ~(NVME_STATUS_DNR | NVME_STATUS_MORE);
			left--;
		}
	}
}

static void run_halves(struct client *c, struct half *h, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		send_half(c, &h[i]);
	answers(c, h, n);
}

static void compare_and_write(uint32_t nsid, uint32_t len, bool in_capsule)
{
	static uint8_t old[MAX_LEN], new[MAX_LEN], got[MAX_LEN];
	struct half h[2];

	fill(old, len, len);
	fill(new, len, len + 1);
	cr_assert_eq(rw(NVME_IO_WRITE, nsid, 0, old, len), 0);
	h[0] = half(NVME_IO_COMPARE, 1, nsid, 0, old, len);
	h[1] = half(NVME_IO_WRITE, 2, nsid, 0, new, len);
	h[0].in_capsule = h[1].in_capsule = in_capsule;
	run_halves(&io, h, 2);
	cr_expect(!h[0].status && !h[1].status, "%u bytes: %x %x", len, h[0].status, h[1].status);
	cr_assert_eq(rw(NVME_IO_READ, nsid, 0, got, len), 0);
	cr_expect_arr_eq(got, new, len);
	h[0].status = h[1].status = -1;
	run_halves(&io, h, 2);
	cr_expect_eq(h[0].status, NVME_ST_COMPARE_FAILED);
	cr_expect_eq(h[1].status, NVME_ST_FUSED_FAILED);
	cr_assert_eq(rw(NVME_IO_READ, nsid, 0, got, len), 0);
	cr_expect_arr_eq(got, new, len, "nothing is written when the Compare fails");
}

Test(io_commands, fused)
{
	static const uint32_t kept[] = {NS_MEMORY, NS_FILE};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kept); i++) {
		compare_and_write(kept[i], 4096, true);
		compare_and_write(kept[i], 8192, true);
		compare_and_write(kept[i], 4096, false);
		compare_and_write(kept[i], MAX_LEN, false);
	}
}

Test(io_commands, fused_statuses)
{
	static uint8_t zero[8192], data[8192];
	const struct {
		const char *name;
		struct half half[3];
		unsigned int n;
		int status[3];
	} rows[] = {
		{"a first and another command",
		 {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512), half(NVME_IO_COMPARE, 0, NS_MEMORY, 0, zero, 512)},
		 2,
		 {NVME_ST_FUSED_MISSING, 0}},
		{"a first, a first and its second",
		 {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512), half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512),
		  half(NVME_IO_WRITE, 2, NS_MEMORY, 0, zero, 512)},
		 3,
		 {NVME_ST_FUSED_MISSING, 0, 0}},
		{"a second alone", {half(NVME_IO_WRITE, 2, NS_MEMORY, 0, data, 512)}, 1, {NVME_ST_FUSED_MISSING}},
		{"other blocks",
		 {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512), half(NVME_IO_WRITE, 2, NS_MEMORY, 1, data, 512)},
		 2,
		 {NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD}},
		{"more blocks",
		 {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512), half(NVME_IO_WRITE, 2, NS_MEMORY, 0, data, 1024)},
		 2,
		 {NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD}},
		{"another namespace",
		 {half(NVME_IO_COMPARE, 1, NS_NULL, 0, zero, 4096), half(NVME_IO_WRITE, 2, NS_FILE, 0, data, 4096)},
		 2,
		 {NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD}},
		{"Write and Write",
		 {half(NVME_IO_WRITE, 1, NS_MEMORY, 0, data, 512), half(NVME_IO_WRITE, 2, NS_MEMORY, 0, data, 512)},
		 2,
		 {NVME_ST_INVALID_FIELD, NVME_ST_FUSED_FAILED}},
		{"Compare and Read",
		 {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512), half(NVME_IO_READ, 2, NS_MEMORY, 0, data, 512)},
		 2,
		 {NVME_ST_INVALID_FIELD, NVME_ST_INVALID_FIELD}},
		{"reserved", {half(NVME_IO_COMPARE, 3, NS_MEMORY, 0, zero, 512)}, 1, {NVME_ST_INVALID_FIELD}},
		{"a Compare past the end",
		 {half(NVME_IO_COMPARE, 1, NS_MEMORY, NS_SIZE / 512, zero, 512),
		  half(NVME_IO_WRITE, 2, NS_MEMORY, NS_SIZE / 512, data, 512)},
		 2,
		 {NVME_ST_LBA_RANGE, NVME_ST_FUSED_FAILED}},
		{"a read-only namespace",
		 {half(NVME_IO_COMPARE, 1, NS_READONLY, 0, zero, 4096),
		  half(NVME_IO_WRITE, 2, NS_READONLY, 0, data, 4096)},
		 2,
		 {0, NVME_ST_NS_WRITE_PROTECTED}},
		{"a read-only namespace that differs",
		 {half(NVME_IO_COMPARE, 1, NS_READONLY, 0, data, 4096),
		  half(NVME_IO_WRITE, 2, NS_READONLY, 0, data, 4096)},
		 2,
		 {NVME_ST_COMPARE_FAILED, NVME_ST_NS_WRITE_PROTECTED}},
	};
	struct half h[3];
	unsigned int way, n;
	size_t i;

	memset(data, 0xaa, sizeof(data));
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		for (way = 0; way < 8; way++) { /* which of them have their data in the capsule */
			memcpy(h, rows[i].half, sizeof(h));
			for (n = 0; n < rows[i].n; n++)
				h[n].in_capsule = way >> n & 1 && h[n].sqe.opcode != NVME_IO_READ;
			run_halves(&io, h, rows[i].n);
			for (n = 0; n < rows[i].n; n++)
				cr_expect_eq(h[n].status, rows[i].status[n], "%s (way %u): half %u: %x", rows[i].name,
					     way, n, h[n].status);
		}
	cr_expect_eq(rw(NVME_IO_COMPARE, NS_MEMORY, 0, zero, 8192), 0, "nothing was written");
}

/* The second comes when the first has long been there, and the queue serves others meanwhile only by ending it. */
Test(io_commands, fused_first_waits)
{
	static uint8_t zero[512];
	struct half h[2] = {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512),
			    half(NVME_IO_WRITE, 2, NS_MEMORY, 0, zero, 512)};
	struct client other;

	h[0].in_capsule = true;
	send_half(&io, &h[0]);
	client_open(&other, fixture.port, 0);
	other.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&other, &(struct client_connect){.qid = 2}), 0);
	cr_expect_eq(client_rw(&other, NVME_IO_WRITE, NS_MEMORY, 0, 1, zero, 512, true), 0,
		     "a first half holds no blocks");
	client_close(&other);
	send_half(&io, &h[1]);
	answers(&io, h, 2);
	cr_expect(!h[0].status && !h[1].status);
}

/* A half that waits can be aborted, and takes its other half along. */
Test(io_commands, fused_first_aborted)
{
	static uint8_t zero[512];
	struct half h[2] = {half(NVME_IO_COMPARE, 1, NS_MEMORY, 0, zero, 512),
			    half(NVME_IO_WRITE, 2, NS_MEMORY, 0, zero, 512)};
	uint64_t result = 1;

	h[0].in_capsule = h[1].in_capsule = true;
	send_half(&io, &h[0]);
	/* It may not have arrived yet: then there is nothing to abort. */
	while (result & 1)
		cr_assert_eq(
			client_run(&admin,
				   nvme_sqe_make(NVME_ADM_ABORT, 0, 0, (uint32_t)le16toh(h[0].sqe.cid) << 16 | 1, 0),
				   NULL, 0, false, &result),
			0);
	send_half(&io, &h[1]);
	answers(&io, h, 2);
	cr_expect_eq(h[0].status, NVME_ST_ABORTED);
	cr_expect_eq(h[1].status, NVME_ST_FUSED_FAILED);
	cr_expect_eq(plain(NVME_IO_VERIFY, NS_MEMORY, 0, 1), 0, "the queue goes on");
}

/* More first halves than the target keeps: the rest may be sent again, and nothing is lost. */
static void too_many(uint16_t expected)
{
	static uint8_t zero[512];
	struct half h[60];
	unsigned int i, again = 0;
	struct client wide;

	for (i = 0; i < 60; i += 2) {
		h[i] = half(NVME_IO_COMPARE, 1, NS_MEMORY, i, zero, 512);
		h[i + 1] = half(NVME_IO_WRITE, 2, NS_MEMORY, i, zero, 512);
	}
	/* 60 of a queue of 64, R2Ts all open until the last capsule is there. */
	client_open(&wide, fixture.port, 0);
	wide.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&wide, &(struct client_connect){.qid = 3, .entries = 64}), 0);
	run_halves(&wide, h, 60);
	client_close(&wide);
	for (i = 0; i < 60; i += 2) {
		cr_expect_eq(h[i].status ? NVME_ST_FUSED_FAILED : 0, h[i + 1].status);
		cr_expect(!h[i].status || h[i].status == expected, "0x%x", h[i].status);
		again += !!h[i].status;
	}
	cr_expect_eq(again, 30 - 16, "no R2T was answered before all were sent");
}

Test(io_commands, fused_many)
{
	too_many(NVME_ST_INTERNAL);
}

Test(io_commands, fused_many_of_a_host_that_takes_delays)
{
	uint8_t behavior[NVME_BEHAVIOR_LEN] = {NVME_BEHAVIOR_ACRE};
	struct nvme_sqe sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_HOST_BEHAVIOR, 0);

	cr_assert_eq(client_run(&admin, sqe, behavior, sizeof(behavior), false, NULL), 0);
	too_many(NVME_ST_INTERRUPTED | NVME_STATUS_CRDT1);
}

/* ---- apart ---- */

#define ROUNDS 300

struct worker {
	pthread_t thread;
	struct client own, *client;
	uint32_t nsid, len;
	unsigned int number, mixtures, done;
};

static void worker_open(struct worker *w, unsigned int number, uint32_t nsid, uint32_t len)
{
	memset(w, 0, sizeof(*w));
	w->number = number;
	w->nsid = nsid;
	w->len = len;
	w->client = &io;
	if (number == 1) /* the queue that is there */
		return;
	w->client = &w->own;
	client_open(w->client, fixture.port, 0);
	w->client->cntlid = admin.cntlid;
	cr_assert_eq(client_connect(w->client, &(struct client_connect){.qid = number}), 0);
}

static void worker_close(struct worker *w)
{
	if (w->client == &w->own)
		client_close(w->client);
}

static void *write_often(void *arg)
{
	static __thread uint8_t data[MAX_LEN];
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		memset(data, w->number * 64 + i % 64, w->len);
		if (client_rw(w->client, NVME_IO_WRITE, w->nsid, 0, w->len / block_of(w->nsid), data, w->len,
			      w->len <= 8192))
			break;
		w->done++;
	}
	return NULL;
}

static void *read_often(void *arg)
{
	static __thread uint8_t data[MAX_LEN];
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		if (client_rw(w->client, NVME_IO_READ, w->nsid, 0, w->len / block_of(w->nsid), data, w->len, false))
			break;
		w->mixtures += !!memcmp(data, data + 1, w->len - 1);
		w->done++;
	}
	return NULL;
}

/* Two write the same blocks, two read them: no read may see a part of one write and a part of another. */
static void atomic_writes(uint32_t nsid, uint32_t len)
{
	static struct worker w[4];
	static uint8_t zero[MAX_LEN];
	unsigned int i;

	cr_assert_eq(rw(NVME_IO_WRITE, nsid, 0, zero, len), 0);
	for (i = 0; i < 4; i++)
		worker_open(&w[i], i + 1, nsid, len);
	for (i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&w[i].thread, NULL, i < 2 ? write_often : read_often, &w[i]), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		cr_expect_eq(w[i].done, ROUNDS, "worker %u", i);
		cr_expect_eq(w[i].mixtures, 0, "namespace %u, %u bytes: %u reads of %u saw a mixture", nsid, len,
			     w[i].mixtures, ROUNDS);
		worker_close(&w[i]);
	}
}

Test(io_commands, atomic_memory_block)
{
	atomic_writes(NS_MEMORY, 512);
}

Test(io_commands, atomic_memory)
{
	atomic_writes(NS_MEMORY, MAX_LEN);
}

Test(io_commands, atomic_file_block)
{
	atomic_writes(NS_FILE, 4096);
}

Test(io_commands, atomic_file)
{
	atomic_writes(NS_FILE, MAX_LEN);
}

/* Adds 1 to a number in a block, by Compare and Write, until it has done so ROUNDS times. */
static void *count_up(void *arg)
{
	static __thread uint8_t old[4096], new[4096];
	struct worker *w = arg;
	struct half h[2];
	uint64_t value;

	while (w->done < ROUNDS) {
		memcpy(&value, old, sizeof(value));
		memcpy(new, old, sizeof(new));
		value++;
		memcpy(new, &value, sizeof(value));
		h[0] = half(NVME_IO_COMPARE, 1, w->nsid, 3, old, w->len);
		h[1] = half(NVME_IO_WRITE, 2, w->nsid, 3, new, w->len);
		h[0].in_capsule = h[1].in_capsule = w->done % 2;
		run_halves(w->client, h, 2);
		if (!h[0].status && !h[1].status)
			w->done++;
		else if (h[0].status != NVME_ST_COMPARE_FAILED || h[1].status != NVME_ST_FUSED_FAILED)
			break;
		if (client_rw(w->client, NVME_IO_READ, w->nsid, 3, 1, old, w->len, false))
			break;
	}
	return NULL;
}

static void counters(uint32_t nsid)
{
	static struct worker w[4];
	static uint8_t data[4096];
	uint64_t value;
	unsigned int i;

	for (i = 0; i < 4; i++)
		worker_open(&w[i], i + 1, nsid, block_of(nsid));
	for (i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&w[i].thread, NULL, count_up, &w[i]), 0);
	for (i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		cr_expect_eq(w[i].done, ROUNDS, "worker %u", i);
	}
	cr_assert_eq(client_rw(&io, NVME_IO_READ, nsid, 3, 1, data, block_of(nsid), false), 0);
	memcpy(&value, data, sizeof(value));
	cr_expect_eq(value, 4 * ROUNDS, "no update was lost");
	for (i = 0; i < 4; i++)
		worker_close(&w[i]);
}

Test(io_commands, fused_counters_memory)
{
	counters(NS_MEMORY);
}

Test(io_commands, fused_counters_file)
{
	counters(NS_FILE);
}
