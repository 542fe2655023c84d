// SPDX-License-Identifier: Apache-2.0
/*
 * NVMe commands: where their data are, which blocks they touch, what is refused and how; and that
 * built commands read back.
 */
#include <criterion/criterion.h>
#include <stddef.h>

#include "nvme/command.h"

#define DNR(status)	((status) | NVME_STATUS_DNR)

struct transfer_row {
	const char	*name;
	__u8		opcode;
	__u8		flags;
	__u8		sgl;
	__u64		addr;
	__u32		len;
	__u32		capsule;	/* data bytes the capsule carried */
	__u32		max;
	__u16		status;
};

#define SGL	NVME_SQE_PSDT_SGL
#define IN	NVME_SGL_IN_CAPSULE
#define TR	NVME_SGL_TRANSPORT

static const struct transfer_row transfer_rows[] = {
	{ "write by R2T", NVME_IO_WRITE, SGL, TR, 0, 4096, 0, 0, 0 },
	{ "write in capsule", NVME_IO_WRITE, SGL, IN, 0, 4096, 4096, 0, 0 },
	{ "write in capsule, offset", NVME_IO_WRITE, SGL, IN, 512, 3584, 4096, 0, 0 },
	{ "read", NVME_IO_READ, SGL, TR, 0, 131072, 0, 131072, 0 },
	{ "flush has none", NVME_IO_FLUSH, SGL, 0xff, 7, 4096, 0, 0, 0 },
	{ "over MDTS", NVME_IO_READ, SGL, TR, 0, 131073, 0, 131072, DNR(NVME_ST_INVALID_FIELD) },
	{ "past the capsule", NVME_IO_WRITE, SGL, IN, 0, 4097, 4096, 0, DNR(NVME_ST_SGL_OFFSET) },
	{ "both past it", NVME_IO_WRITE, SGL, IN, 512, 4096, 4096, 0, DNR(NVME_ST_SGL_OFFSET) },
	{ "offset past it", NVME_IO_WRITE, SGL, IN, 4097, 0, 4096, 0, DNR(NVME_ST_SGL_OFFSET) },
	{ "offset wraps", NVME_IO_WRITE, SGL, IN, ~0ULL, 2, 4096, 0, DNR(NVME_ST_SGL_OFFSET) },
	{ "offset 4 GiB", NVME_IO_WRITE, SGL, IN, 1ULL << 32, 8, 8, 0, DNR(NVME_ST_SGL_OFFSET) },
	{ "read into a capsule", NVME_IO_READ, SGL, IN, 0, 8, 8, 0, DNR(NVME_ST_SGL_TYPE) },
	{ "keyed SGL", NVME_IO_READ, SGL, 0x40, 0, 8, 0, 0, DNR(NVME_ST_SGL_TYPE) },
	{ "segment SGL", NVME_IO_WRITE, SGL, 0x20, 0, 8, 0, 0, DNR(NVME_ST_SGL_TYPE) },
	{ "PRP", NVME_IO_WRITE, 0, TR, 0, 8, 0, 0, DNR(NVME_ST_INVALID_FIELD) },
	{ "fused", NVME_IO_WRITE, SGL | 1, TR, 0, 8, 0, 0, 0 },
};

Test(nvme_command, transfer)
{
	for (size_t i = 0; i < sizeof(transfer_rows) / sizeof(transfer_rows[0]); i++) {
		const struct transfer_row *row = &transfer_rows[i];
		struct nvme_sqe sqe = nvme_sqe_make(row->opcode, 1, 1, 0, 0);
		struct nvme_transfer got = { .len = 0xdead };
		bool none = row->opcode == NVME_IO_FLUSH;
		__u16 status;

		sqe.flags = row->flags;
		sqe.sgl.id = row->sgl;
		sqe.sgl.addr = htole64(row->addr);
		sqe.sgl.len = htole32(row->len);
		status = nvme_transfer_read(&sqe, row->capsule, row->max, &got);
		cr_expect(status == row->status, "%s: status %x (%s)", row->name, status,
			  nvme_status_name(status));
		if (status) {
			cr_expect(got.len == 0xdead, "%s: output touched", row->name);
			continue;
		}
		cr_expect(got.len == (none ? 0 : row->len), "%s: %u bytes", row->name, got.len);
		cr_expect(got.in_capsule == (!none && row->sgl == IN), "%s: place", row->name);
		cr_expect(got.offset == (got.in_capsule ? row->addr : 0), "%s: offset", row->name);
	}
}

struct range_row {
	const char	*name;
	__u8		opcode;
	__u64		slba;
	__u32		blocks;
	__u64		size;
	bool		readonly;
	__u16		status;
};

static const struct range_row range_rows[] = {
	{ "first block", NVME_IO_READ, 0, 1, 100, false, 0 },
	{ "last block", NVME_IO_READ, 99, 1, 100, false, 0 },
	{ "all", NVME_IO_WRITE, 0, 100, 100, false, 0 },
	{ "most blocks", NVME_IO_READ, 0, 65536, 65536, false, 0 },
	{ "behind the end", NVME_IO_READ, 100, 1, 100, false, DNR(NVME_ST_LBA_RANGE) },
	{ "across the end", NVME_IO_READ, 99, 2, 100, false, DNR(NVME_ST_LBA_RANGE) },
	{ "wrapping", NVME_IO_READ, ~0ULL, 1, 100, false, DNR(NVME_ST_LBA_RANGE) },
	{ "wrapping to the start", NVME_IO_WRITE, ~0ULL, 2, 100, false, DNR(NVME_ST_LBA_RANGE) },
	{ "empty namespace", NVME_IO_READ, 0, 1, 0, false, DNR(NVME_ST_LBA_RANGE) },
	{ "read of a read-only one", NVME_IO_READ, 0, 1, 100, true, 0 },
	{ "write to it", NVME_IO_WRITE, 0, 1, 100, true, DNR(NVME_ST_NS_WRITE_PROTECTED) },
	{ "zeroes to it", NVME_IO_WRITE_ZEROES, 0, 1, 100, true, DNR(NVME_ST_NS_WRITE_PROTECTED) },
};

Test(nvme_command, extent)
{
	for (size_t i = 0; i < sizeof(range_rows) / sizeof(range_rows[0]); i++) {
		const struct range_row *row = &range_rows[i];
		struct nvme_space space = { row->size, 12, row->readonly };
		struct nvme_sqe sqe = nvme_sqe_rw(row->opcode, 1, 1, row->slba, row->blocks);
		struct nvme_extent got = { 0 };
		__u16 status = nvme_rw_check(&sqe, &space, &got);

		cr_expect(status == row->status, "%s: status %x", row->name, status);
		if (status)
			continue;
		cr_expect(got.slba == row->slba && got.blocks == row->blocks, "%s: blocks",
			  row->name);
		cr_expect(got.offset == row->slba * 4096, "%s: offset", row->name);
		cr_expect(got.len == row->blocks * 4096ULL, "%s: length", row->name);
	}
}

Test(nvme_command, protection_information_is_refused)
{
	struct nvme_space space = { 100, 9, false };
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 1, 1, 0, 1);
	struct nvme_extent got;

	((struct nvme_rw_sqe *)&sqe)->control = htole16(1 << 13);
	cr_expect(nvme_rw_check(&sqe, &space, &got) == DNR(NVME_ST_INVALID_PI));
	((struct nvme_rw_sqe *)&sqe)->control = htole16(NVME_RW_FUA | NVME_RW_LR);
	cr_expect(nvme_rw_check(&sqe, &space, &got) == 0);
}

Test(nvme_command, data_must_cover_the_extent)
{
	struct nvme_space space = { 100, 9, false };
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 1, 1, 10, 8);
	struct nvme_transfer transfer = { .len = 4096 };
	struct nvme_extent got;

	cr_expect(nvme_rw_check_data(&sqe, &space, &transfer, &got) == 0);
	cr_expect(got.offset == 5120 && got.len == 4096);
	transfer.len = 4095;
	cr_expect(nvme_rw_check_data(&sqe, &space, &transfer, &got) == DNR(NVME_ST_SGL_DATA_LEN));
	transfer.len = 8192;
	cr_expect(nvme_rw_check_data(&sqe, &space, &transfer, &got) == DNR(NVME_ST_SGL_DATA_LEN));
}

Test(nvme_command, deallocate)
{
	struct nvme_sqe sqe = nvme_sqe_deallocate(1, 1, 256);
	struct nvme_dsm_range range = { .nlb = htole32(0), .slba = htole64(100) };
	struct nvme_space space = { 100, 12, false };
	struct nvme_extent got;

	cr_expect(nvme_dsm_ranges(&sqe) == 256);
	cr_expect(nvme_dsm_deallocates(&sqe));
	cr_expect(nvme_dsm_check(&range, &space, &got) == 0, "empty range at the end");
	cr_expect(got.len == 0);
	range.nlb = htole32(1);
	cr_expect(nvme_dsm_check(&range, &space, &got) == DNR(NVME_ST_LBA_RANGE));
	range.slba = htole64(0);
	range.nlb = htole32(0xffffffff);
	cr_expect(nvme_dsm_check(&range, &space, &got) == DNR(NVME_ST_LBA_RANGE));
	range.nlb = htole32(100);
	cr_expect(nvme_dsm_check(&range, &space, &got) == 0 && got.len == 409600);
	space.readonly = true;
	cr_expect(nvme_dsm_check(&range, &space, &got) == DNR(NVME_ST_NS_WRITE_PROTECTED));
}

Test(nvme_command, log_page_numbers)
{
	static const struct {
		__u64 offset;
		__u32 len;
	} rows[] = {
		{ 0, 4 }, { 0, 16 }, { 1024, 1024 }, { 0, 1 << 20 }, { 5ULL << 32, 0xfffffffc }
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_sqe sqe = nvme_sqe_get_log(9, NVME_LID_DISCOVERY, rows[i].offset,
						       rows[i].len);

		cr_expect(nvme_log_len(&sqe) == rows[i].len, "row %zu", i);
		cr_expect(nvme_log_offset(&sqe) == rows[i].offset, "row %zu", i);
		cr_expect((le32toh(sqe.cdw10) & 0xff) == NVME_LID_DISCOVERY, "row %zu", i);
		cr_expect(le32toh(sqe.sgl.len) == rows[i].len, "row %zu", i);
	}
}

Test(nvme_command, direction)
{
	struct nvme_sqe sqe = { .opcode = NVME_FABRICS };

	((struct nvme_fabrics_sqe *)&sqe)->fctype = NVME_FC_CONNECT;
	cr_expect(nvme_direction(&sqe) == NVME_DIR_H2C);
	((struct nvme_fabrics_sqe *)&sqe)->fctype = NVME_FC_PROPERTY_GET;
	cr_expect(nvme_direction(&sqe) == NVME_DIR_NONE);
	sqe.opcode = NVME_ADM_IDENTIFY;
	cr_expect(nvme_direction(&sqe) == NVME_DIR_C2H);
	sqe.opcode = NVME_IO_DSM;
	cr_expect(nvme_direction(&sqe) == NVME_DIR_H2C);
	sqe.opcode = NVME_IO_WRITE_ZEROES;
	cr_expect(nvme_direction(&sqe) == NVME_DIR_NONE);
}

Test(nvme_command, completion_bytes)
{
	struct nvme_cqe cqe = nvme_cqe_make(htole16(0xbeef), 0x1234, DNR(NVME_ST_LBA_RANGE), 0x55);
	static const __u8 wire[16] = { 0x55, [8] = 0x34, 0x12, 0, 0, 0xef, 0xbe, 0x00, 0x81 };

	cr_expect_arr_eq(&cqe, wire, 16);
	cr_expect(nvme_cqe_status(&cqe) == DNR(NVME_ST_LBA_RANGE));
}

Test(nvme_command, sqe_bytes)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_READ, 0x0102, 3, 0x1122334455667788ULL, 16);
	static const __u8 wire[64] = {
		2, 0x40, 2, 1, 3, [39] = 0x5a,
		[40] = 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 15,
	};

	cr_expect_arr_eq(&sqe, wire, 64);
}

Test(nvme_command, names)
{
	struct nvme_sqe sqe = { .opcode = 0x02 };

	cr_expect_str_eq(nvme_opcode_name(&sqe, false), "Read");
	cr_expect_str_eq(nvme_opcode_name(&sqe, true), "Get Log Page");
	sqe.opcode = 0xc0;
	cr_expect_str_eq(nvme_opcode_name(&sqe, false), "unknown I/O command");
	sqe.opcode = NVME_FABRICS;
	((struct nvme_fabrics_sqe *)&sqe)->fctype = NVME_FC_CONNECT;
	cr_expect_str_eq(nvme_opcode_name(&sqe, false), "Connect");
	cr_expect_str_eq(nvme_status_name(DNR(NVME_ST_LBA_RANGE)), "LBA out of range");
	cr_expect_str_eq(nvme_status_name(0), "success");
	cr_expect_str_eq(nvme_status_name(0x7ff), "unknown status");
}
