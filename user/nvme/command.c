// SPDX-License-Identifier: Apache-2.0
/*
 * Reading, checking and building NVMe commands and completions. The target calls the reading half
 * before it touches a backend, the initiator the building half. Pure: values in, values out. What
 * always holds: an extent that leaves here lies within its namespace, and its byte offset and
 * length cannot overflow.
 */
#include "nvme/command.h"

#include <string.h>

#define DNR(status)	((__u16)((status) | NVME_STATUS_DNR))

static const struct nvme_rw_sqe *rw(const struct nvme_sqe *sqe)
{
	return (const struct nvme_rw_sqe *)sqe;
}

static __u8 fctype(const struct nvme_sqe *sqe)
{
	return ((const struct nvme_fabrics_sqe *)sqe)->fctype;
}

enum nvme_direction nvme_direction(const struct nvme_sqe *sqe)
{
	__u8 opcode = sqe->opcode == NVME_FABRICS ? fctype(sqe) : sqe->opcode;

	return opcode & 3;
}

__u16 nvme_transfer_read(const struct nvme_sqe *sqe, __u32 capsule_len, __u32 max_len,
			 struct nvme_transfer *ret_transfer)
{
	struct nvme_transfer transfer = { .len = le32toh(sqe->sgl.len) };
	__u64 offset = le64toh(sqe->sgl.addr);

	if (nvme_direction(sqe) == NVME_DIR_NONE) {
		*ret_transfer = (struct nvme_transfer){ 0 };
		return NVME_ST_SUCCESS;
	}
	/* The flags byte is reserved in Fabrics commands. */
	if (sqe->opcode != NVME_FABRICS && (sqe->flags & NVME_SQE_PSDT_MASK) != NVME_SQE_PSDT_SGL)
		return DNR(NVME_ST_INVALID_FIELD);
	switch (sqe->sgl.id) {
	case NVME_SGL_IN_CAPSULE:
		if (nvme_direction(sqe) != NVME_DIR_H2C)
			return DNR(NVME_ST_SGL_TYPE);
		if (offset > capsule_len || transfer.len > capsule_len - offset)
			return DNR(NVME_ST_SGL_OFFSET);
		transfer.in_capsule = true;
		transfer.offset = offset;
		break;
	case NVME_SGL_TRANSPORT:
		break;
	default:
		return DNR(NVME_ST_SGL_TYPE);
	}
	if (max_len && transfer.len > max_len)
		return DNR(NVME_ST_INVALID_FIELD); /* Base 2.0, figure 275, MDTS */
	*ret_transfer = transfer;
	return NVME_ST_SUCCESS;
}

__u8 nvme_fuse(const struct nvme_sqe *sqe)
{
	return sqe->opcode == NVME_FABRICS ? 0 : sqe->flags & NVME_SQE_FUSE_MASK;
}

static __u16 extent_make(__u64 slba, __u32 blocks, const struct nvme_space *space,
			 struct nvme_extent *ret_extent)
{
	if (slba > space->blocks || blocks > space->blocks - slba)
		return DNR(NVME_ST_LBA_RANGE);
	*ret_extent = (struct nvme_extent){
		.slba = slba,
		.blocks = blocks,
		.offset = slba << space->block_shift,
		.len = (__u64)blocks << space->block_shift,
	};
	return NVME_ST_SUCCESS;
}

__u16 nvme_rw_check(const struct nvme_sqe *sqe, const struct nvme_space *space,
		    struct nvme_extent *ret_extent)
{
	bool writes = sqe->opcode == NVME_IO_WRITE || sqe->opcode == NVME_IO_WRITE_ZEROES ||
		      sqe->opcode == NVME_IO_WRITE_UNCOR;

	/* Write Uncorrectable has no such field. */
	if (sqe->opcode != NVME_IO_WRITE_UNCOR && le16toh(rw(sqe)->control) & NVME_RW_PRINFO_MASK)
		return DNR(NVME_ST_INVALID_PI);
	if (writes && space->readonly)
		return DNR(NVME_ST_NS_WRITE_PROTECTED);
	return extent_make(le64toh(rw(sqe)->slba), le16toh(rw(sqe)->nlb) + 1U, space, ret_extent);
}

__u16 nvme_rw_check_data(const struct nvme_sqe *sqe, const struct nvme_space *space,
			 const struct nvme_transfer *transfer, struct nvme_extent *ret_extent)
{
	struct nvme_extent extent;
	__u16 status = nvme_rw_check(sqe, space, &extent);

	if (status)
		return status;
	if (transfer->len != extent.len)
		return DNR(NVME_ST_SGL_DATA_LEN);
	*ret_extent = extent;
	return NVME_ST_SUCCESS;
}

__u32 nvme_dsm_ranges(const struct nvme_sqe *sqe)
{
	return (le32toh(sqe->cdw10) & 0xff) + 1;
}

bool nvme_dsm_deallocates(const struct nvme_sqe *sqe)
{
	return le32toh(sqe->cdw11) & NVME_DSM_DEALLOCATE;
}

__u16 nvme_dsm_check(const struct nvme_dsm_range *range, const struct nvme_space *space,
		     struct nvme_extent *ret_extent)
{
	if (space->readonly)
		return DNR(NVME_ST_NS_WRITE_PROTECTED);
	return extent_make(le64toh(range->slba), le32toh(range->nlb), space, ret_extent);
}

__u32 nvme_copy_max_blocks(__u8 block_shift)
{
	return NVME_COPY_MAX_BYTES >> block_shift;
}

__u16 nvme_copy_max_range(__u8 block_shift)
{
	__u32 blocks = nvme_copy_max_blocks(block_shift);

	return blocks < 0xffff ? blocks : 0xffff;
}

__u16 nvme_copy_check(const struct nvme_sqe *sqe, const struct nvme_space *space, __u32 data_len,
		      __u32 *ret_ranges)
{
	__u32 cdw12 = le32toh(sqe->cdw12), n = NVME_COPY_RANGES(cdw12);

	if (NVME_COPY_FORMAT(cdw12))
		return DNR(NVME_ST_INVALID_FIELD);
	if (cdw12 & NVME_COPY_PRINFO_MASK)
		return DNR(NVME_ST_INVALID_PI);
	if (space->readonly)
		return DNR(NVME_ST_NS_WRITE_PROTECTED);
	if (data_len < n * sizeof(struct nvme_copy_range))
		return DNR(NVME_ST_SGL_DATA_LEN);
	*ret_ranges = n;
	return NVME_ST_SUCCESS;
}

struct nvme_extent nvme_copy_source(const struct nvme_copy_range *range,
				    const struct nvme_space *space)
{
	__u32 blocks = le16toh(range->nlb) + 1U;
	__u64 slba = le64toh(range->slba);

	return (struct nvme_extent){
		.slba = slba,
		.blocks = blocks,
		.offset = slba << space->block_shift,
		.len = (__u64)blocks << space->block_shift,
	};
}

__u16 nvme_copy_check_ranges(const struct nvme_sqe *sqe, const struct nvme_copy_range *ranges,
			     __u32 n, const struct nvme_space *space, struct nvme_extent *ret_extent)
{
	__u64 sdlba = le64toh(((const struct nvme_rw_sqe *)sqe)->slba);
	struct nvme_extent extent;
	__u32 total = 0;
	__u16 status;

	for (__u32 i = 0; i < n; i++) {
		__u32 blocks = le16toh(ranges[i].nlb) + 1U;

		if (blocks > nvme_copy_max_range(space->block_shift))
			return DNR(NVME_ST_COPY_LIMIT);
		status = extent_make(le64toh(ranges[i].slba), blocks, space, &extent);
		if (status)
			return status;
		total += blocks;
	}
	if (total > nvme_copy_max_blocks(space->block_shift))
		return DNR(NVME_ST_COPY_LIMIT);
	return extent_make(sdlba, total, space, ret_extent);
}

__u64 nvme_log_len(const struct nvme_sqe *sqe)
{
	__u32 numdl = le32toh(sqe->cdw10) >> 16, numdu = le32toh(sqe->cdw11) & 0xffff;

	return ((__u64)(numdu << 16 | numdl) + 1) * 4;
}

__u64 nvme_log_offset(const struct nvme_sqe *sqe)
{
	return (__u64)le32toh(sqe->cdw13) << 32 | le32toh(sqe->cdw12);
}

struct nvme_cqe nvme_cqe_make(__le16 cid, __u16 sqhd, __u16 status, __u64 result)
{
	return (struct nvme_cqe){
		.result = htole64(result),
		.sqhd = htole16(sqhd),
		.cid = cid,
		.status = htole16(status << 1),
	};
}

static struct nvme_sgl sgl_make(__u8 id, __u32 len)
{
	return (struct nvme_sgl){ .len = htole32(len), .id = id };
}

struct nvme_sgl nvme_sgl_in_capsule(__u32 len)
{
	return sgl_make(NVME_SGL_IN_CAPSULE, len);
}

struct nvme_sgl nvme_sgl_transport(__u32 len)
{
	return sgl_make(NVME_SGL_TRANSPORT, len);
}

struct nvme_sqe nvme_sqe_make(__u8 opcode, __u16 cid, __u32 nsid, __u32 cdw10, __u32 cdw11)
{
	return (struct nvme_sqe){
		.opcode = opcode,
		.flags = NVME_SQE_PSDT_SGL,
		.cid = htole16(cid),
		.nsid = htole32(nsid),
		.sgl = nvme_sgl_transport(0),
		.cdw10 = htole32(cdw10),
		.cdw11 = htole32(cdw11),
	};
}

struct nvme_sqe nvme_sqe_identify(__u16 cid, __u8 cns, __u32 nsid)
{
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_IDENTIFY, cid, nsid, cns, 0);

	sqe.sgl = nvme_sgl_transport(4096);
	return sqe;
}

struct nvme_sqe nvme_sqe_get_log(__u16 cid, __u8 lid, __u64 offset, __u32 len)
{
	__u32 numd = len / 4 - 1;
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_GET_LOG_PAGE, cid, 0, lid | numd << 16,
					    numd >> 16);

	sqe.cdw12 = htole32((__u32)offset);
	sqe.cdw13 = htole32((__u32)(offset >> 32));
	sqe.sgl = nvme_sgl_transport(len);
	return sqe;
}

struct nvme_sqe nvme_sqe_features(__u8 opcode, __u16 cid, __u8 fid, __u32 cdw11)
{
	return nvme_sqe_make(opcode, cid, 0, fid, cdw11);
}

struct nvme_sqe nvme_sqe_keep_alive(__u16 cid)
{
	return nvme_sqe_make(NVME_ADM_KEEP_ALIVE, cid, 0, 0, 0);
}

struct nvme_sqe nvme_sqe_abort(__u16 cid, __u16 qid, __u16 of)
{
	return nvme_sqe_make(NVME_ADM_ABORT, cid, 0, qid | (__u32)of << 16, 0);
}

struct nvme_sqe nvme_sqe_flush(__u16 cid, __u32 nsid)
{
	return nvme_sqe_make(NVME_IO_FLUSH, cid, nsid, 0, 0);
}

struct nvme_sqe nvme_sqe_rw(__u8 opcode, __u16 cid, __u32 nsid, __u64 slba, __u32 blocks)
{
	struct nvme_sqe sqe = nvme_sqe_make(opcode, cid, nsid, (__u32)slba, (__u32)(slba >> 32));

	sqe.cdw12 = htole32(blocks - 1);
	return sqe;
}

struct nvme_sqe nvme_sqe_copy(__u16 cid, __u32 nsid, __u64 sdlba, __u32 ranges)
{
	return nvme_sqe_rw(NVME_IO_COPY, cid, nsid, sdlba, ranges);
}

struct nvme_sqe nvme_sqe_deallocate(__u16 cid, __u32 nsid, __u32 ranges)
{
	return nvme_sqe_make(NVME_IO_DSM, cid, nsid, ranges - 1, NVME_DSM_DEALLOCATE);
}
