/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe commands and completions as values: reading SQEs, checking them, building them, building
 * CQEs, naming both. Pure; the target and the initiator share it. "status" is the 15-bit form of
 * enum nvme_status, perhaps with NVME_STATUS_DNR; 0 is success.
 */
#ifndef SLUICE_NVME_COMMAND_H
#define SLUICE_NVME_COMMAND_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>

#include <sluice/nvme_tcp.h>

/* ---- names, for logs; never NULL ---- */

const char *nvme_opcode_name(const struct nvme_sqe *sqe, bool admin);
/*
 * Ignores DNR and More. 0x180 .. 0x184 mean other things in I/O commands; they are named as
 * Connect's.
 */
const char *nvme_status_name(__u16 status);

/* ---- reading ---- */

/* Which way a command's data go: the low two bits of its opcode or fctype. */
enum nvme_direction {
	NVME_DIR_NONE	= 0,
	NVME_DIR_H2C	= 1,
	NVME_DIR_C2H	= 2,
	NVME_DIR_BIDI	= 3,
};

enum nvme_direction nvme_direction(const struct nvme_sqe *sqe);

/* Where a command's data are, from its SGL. */
struct nvme_transfer {
	bool	in_capsule;	/* at `offset` of the capsule's data; else by R2T / C2H_DATA */
	__u32	offset;
	__u32	len;		/* bytes; 0: no data */
};

/*
 * capsule_len: data bytes that the capsule carried. max_len: most bytes that one command may
 * transfer (MDTS), 0 for no limit. Statuses, with DNR: INVALID_FIELD (PSDT, over max_len), SGL_TYPE
 * (also in-capsule for data to the host), SGL_OFFSET (past the capsule's data). A command of
 * direction NONE has no transfer, whatever its SGL says.
 */
__u16 nvme_transfer_read(const struct nvme_sqe *sqe, __u32 capsule_len, __u32 max_len,
			 struct nvme_transfer *ret_transfer);

/* NVME_SQE_FUSE_*; 3 is reserved, 0 in Fabrics commands, whose flags mean nothing. */
__u8 nvme_fuse(const struct nvme_sqe *sqe);

/* A namespace as commands see it. */
struct nvme_space {
	__u64	blocks;		/* capacity in logical blocks */
	__u8	block_shift;	/* log2 of the logical block's bytes: 9 or 12 */
	bool	readonly;
};

/* A run of logical blocks, within the namespace once checked. */
struct nvme_extent {
	__u64	slba;
	__u32	blocks;		/* NOT 0-based */
	__u64	offset;		/* bytes from the start of the namespace */
	__u64	len;		/* bytes */
};

/*
 * Read, Write, Compare, Write Zeroes, Write Uncorrectable, Verify: LBA_RANGE past the end,
 * INVALID_PI for protection information, which no namespace has, NS_WRITE_PROTECTED for what writes
 * on a read-only namespace. Statuses are with DNR.
 */
__u16 nvme_rw_check(const struct nvme_sqe *sqe, const struct nvme_space *space,
		    struct nvme_extent *ret_extent);

/*
 * As nvme_rw_check(), and that `transfer` covers exactly the extent, else SGL_DATA_LEN: Read,
 * Write, Compare.
 */
__u16 nvme_rw_check_data(const struct nvme_sqe *sqe, const struct nvme_space *space,
			 const struct nvme_transfer *transfer, struct nvme_extent *ret_extent);

/*
 * One range of Dataset Management as it stands in the data. Not in sluice/nvme_tcp.h because
 * the kernel has a struct of this name.
 */
struct nvme_dsm_range {
	__le32	attributes;
	__le32	nlb;		/* blocks, NOT 0-based */
	__le64	slba;
};

_Static_assert(sizeof(struct nvme_dsm_range) == 16, "DSM range: hosts send them 16 bytes apart");

/* Dataset Management: number of ranges (1 .. 256), and whether it asks to deallocate. */
__u32 nvme_dsm_ranges(const struct nvme_sqe *sqe);
bool nvme_dsm_deallocates(const struct nvme_sqe *sqe);
/* One range, which may have length 0; LBA_RANGE past the end, NS_WRITE_PROTECTED. */
__u16 nvme_dsm_check(const struct nvme_dsm_range *range, const struct nvme_space *space,
		     struct nvme_extent *ret_extent);

/* One source range of Copy, descriptor format 0. */
struct nvme_copy_range {
	__u8	reserved0[8];
	__le64	slba;
	__le16	nlb;		/* blocks, 0-based */
	__u8	reserved18[14];
};

_Static_assert(sizeof(struct nvme_copy_range) == 32, "copy range: hosts send them 32 bytes apart");

/* What one Copy may ask for. */
#define NVME_COPY_MAX_RANGES	256
#define NVME_COPY_MAX_BYTES	(64U << 20)	/* MCL, in bytes */
/* MCL and MSSRL in blocks. */
__u32 nvme_copy_max_blocks(__u8 block_shift);
__u16 nvme_copy_max_range(__u8 block_shift);

/*
 * Copy without its ranges: INVALID_FIELD (descriptor format), INVALID_PI, NS_WRITE_PROTECTED,
 * SGL_DATA_LEN (fewer bytes than ranges). *ret_ranges is their number.
 */
__u16 nvme_copy_check(const struct nvme_sqe *sqe, const struct nvme_space *space, __u32 data_len,
		      __u32 *ret_ranges);
/*
 * With its ranges, n of them: LBA_RANGE (source or destination past the end), COPY_LIMIT (a range,
 * or all together, longer than may be). *ret_extent is the destination.
 */
__u16 nvme_copy_check_ranges(const struct nvme_sqe *sqe, const struct nvme_copy_range *ranges,
			     __u32 n, const struct nvme_space *space, struct nvme_extent *ret_extent);
/* One source range that has been checked. */
struct nvme_extent nvme_copy_source(const struct nvme_copy_range *range,
				    const struct nvme_space *space);

/*
 * Get Log Page: bytes asked for (NUMD, dwords 0-based, spread over cdw10 and cdw11) and the offset.
 */
__u64 nvme_log_len(const struct nvme_sqe *sqe);
__u64 nvme_log_offset(const struct nvme_sqe *sqe);

/* ---- completions ---- */

/* `result` is DW0 and DW1 in host order; sqhd in host order; cid as in the SQE. */
struct nvme_cqe nvme_cqe_make(__le16 cid, __u16 sqhd, __u16 status, __u64 result);

static inline __u16 nvme_cqe_status(const struct nvme_cqe *cqe)
{
	return le16toh(cqe->status) >> 1;
}

/* ---- building commands (initiator); cid, nsid and numbers in host order ---- */

struct nvme_sgl nvme_sgl_in_capsule(__u32 len);
struct nvme_sgl nvme_sgl_transport(__u32 len);

/* General: opcode, PSDT, cid, nsid, cdw10 and cdw11, and an empty transport SGL; the rest 0. */
struct nvme_sqe nvme_sqe_make(__u8 opcode, __u16 cid, __u32 nsid, __u32 cdw10, __u32 cdw11);
/* Data by transport SGL: 4096 bytes of Identify, len (whole dwords) of a log page. */
struct nvme_sqe nvme_sqe_identify(__u16 cid, __u8 cns, __u32 nsid);
struct nvme_sqe nvme_sqe_get_log(__u16 cid, __u8 lid, __u64 offset, __u32 len);
struct nvme_sqe nvme_sqe_features(__u8 opcode, __u16 cid, __u8 fid, __u32 cdw11);
struct nvme_sqe nvme_sqe_keep_alive(__u16 cid);
/* Of command `of` of queue qid. Result bit 0: it was NOT aborted (Base 2.0, section 5.1). */
struct nvme_sqe nvme_sqe_abort(__u16 cid, __u16 qid, __u16 of);
struct nvme_sqe nvme_sqe_flush(__u16 cid, __u32 nsid);
/*
 * Read, Write, Compare, Write Zeroes, Verify of `blocks` (1 .. 65536); the caller sets sqe.sgl for
 * data.
 */
struct nvme_sqe nvme_sqe_rw(__u8 opcode, __u16 cid, __u32 nsid, __u64 slba, __u32 blocks);
/* Copy of `ranges` (1 .. 256) to sdlba; they go as data, the caller sets sqe.sgl. */
struct nvme_sqe nvme_sqe_copy(__u16 cid, __u32 nsid, __u64 sdlba, __u32 ranges);
/*
 * Deallocate `ranges` (1 .. 256), which go as data of ranges * 16 bytes; the caller sets sqe.sgl.
 */
struct nvme_sqe nvme_sqe_deallocate(__u16 cid, __u32 nsid, __u32 ranges);

#endif /* SLUICE_NVME_COMMAND_H */
