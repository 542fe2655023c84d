/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe/TCP and NVMe as they stand on the wire: what the tracker in bpf/ and the codec in user/nvme
 * both read.
 *
 * Specifications: NVM Express TCP Transport 1.0 (PDUs), NVM Express Base 2.0 (commands, status,
 * properties, Fabrics), NVM Command Set 1.0 (I/O commands). Every multi-byte field is little
 * endian, as its type says; "0-based" means that the value 0 stands for one. Only layouts and
 * numbers live here, no code.
 *
 * Names keep clear of the kernel's own (nvme_command, NVME_SC_*, NVME_TCP_F_*): a vmlinux.h taken
 * from a kernel with nvme built in defines those.
 */
#ifndef SLUICE_NVME_TCP_H
#define SLUICE_NVME_TCP_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/* ---- PDUs (TCP Transport 1.0, section 3.6) --------------------------------------------------- */

/* "H2C" is host (initiator) to controller (target), "C2H" the reverse. */
enum pdu_type {
	PDU_ICREQ		= 0x00,	/* H2C: opens the connection, before anything else */
	PDU_ICRESP		= 0x01,	/* C2H: its answer; no digest on either */
	PDU_H2C_TERM_REQ	= 0x02,	/* H2C: fatal error, connection ends; never digested */
	PDU_C2H_TERM_REQ	= 0x03,	/* C2H: the same the other way */
	PDU_CAPSULE_CMD		= 0x04,	/* H2C: one SQE, perhaps with in-capsule data */
	PDU_CAPSULE_RESP	= 0x05,	/* C2H: one CQE */
	PDU_H2C_DATA		= 0x06,	/* H2C: data that an R2T asked for */
	PDU_C2H_DATA		= 0x07,	/* C2H: data of a read-like command */
	PDU_R2T			= 0x09,	/* C2H: ready to transfer */
};

#define PDU_F_HDGST	(1 << 0)	/* a header digest follows the header */
#define PDU_F_DDGST	(1 << 1)	/* a data digest follows the data */
#define PDU_F_LAST	(1 << 2)	/* data PDUs: last one of this R2T / this command */
#define PDU_F_SUCCESS	(1 << 3)	/* C2H_DATA with LAST: success, no CAPSULE_RESP follows */

#define PDU_DIGEST_LEN		4	/* CRC32C, header and data alike */
#define PDU_PFV_1_0		0	/* PDU format version of ICReq and ICResp */
#define PDU_PDA_MAX		31	/* HPDA, CPDA: 0-based dwords, so 4 .. 128 bytes */
#define PDU_TERM_LEN_MAX	152	/* TermReq: 24 bytes, at most 128 of the bad header */
#define PDU_MAXH2CDATA_MIN	4096	/* ICResp.maxh2cdata is at least this, and whole dwords */

/* Bits of ICReq.dgst and ICResp.dgst. */
#define PDU_DGST_HEADER	(1 << 0)
#define PDU_DGST_DATA	(1 << 1)

/* Common header: the first 8 bytes of every PDU. */
struct pdu_ch {
	__u8	type;		/* enum pdu_type */
	__u8	flags;		/* PDU_F_* */
	__u8	hlen;		/* this and the type-specific part, without digest and padding */
	__u8	pdo;		/* where data start, from the start of the PDU; else reserved */
	__le32	plen;		/* the whole PDU: header, digests, padding, data */
};

struct pdu_icreq {
	struct pdu_ch	ch;
	__le16		pfv;		/* PDU_PFV_1_0 */
	__u8		hpda;		/* alignment of data to the host, 0-based dwords */
	__u8		dgst;		/* PDU_DGST_* that the host asks for */
	__le32		maxr2t;		/* outstanding R2Ts a command that it takes, 0-based */
	__u8		reserved[112];
};

struct pdu_icresp {
	struct pdu_ch	ch;
	__le16		pfv;
	__u8		cpda;		/* alignment of data to the controller, 0-based dwords */
	__u8		dgst;		/* PDU_DGST_* in use from here on */
	__le32		maxh2cdata;	/* most data bytes in one H2C_DATA */
	__u8		reserved[112];
};

/* H2C_TERM_REQ and C2H_TERM_REQ; the offending header follows as data. */
struct pdu_term {
	struct pdu_ch	ch;
	__le16		fes;		/* enum pdu_fes */
	__le32		fei;		/* by fes: offset in the bad header, or digest received */
	__u8		reserved[10];
} __attribute__((packed));

/* Fatal error status of a TermReq, and what fei then holds. */
enum pdu_fes {
	FES_INVALID_HEADER	= 0x01,	/* invalid PDU header field; fei: its byte offset */
	FES_SEQUENCE		= 0x02,	/* PDU out of order; fei reserved (0) */
	FES_HEADER_DIGEST	= 0x03,	/* header digest wrong; fei: the digest received */
	FES_OUT_OF_RANGE	= 0x04,	/* data outside the R2T or the command; fei reserved (0) */
	FES_LIMIT		= 0x05,	/* C2H: data transfer limit; H2C: R2T limit; fei 0 */
	FES_UNSUPPORTED		= 0x06,	/* unsupported parameter; fei: byte offset of the field */
};

/* ---- SGL descriptor, SQE, CQE (Base 2.0, sections 4.1.2, 3.3.3) ------------------------------ */

/*
 * NVMe/TCP uses two kinds of SGL data block; type in the high nibble of `id`, sub type in the low
 * one.
 */
#define NVME_SGL_IN_CAPSULE	0x01	/* data block; addr: offset into the in-capsule data */
#define NVME_SGL_TRANSPORT	0x5a	/* transport data block: data by R2T/H2C_DATA or C2H_DATA */

struct nvme_sgl {
	__le64	addr;		/* NVME_SGL_IN_CAPSULE: byte offset; NVME_SGL_TRANSPORT: 0 */
	__le32	len;		/* bytes */
	__u8	reserved[3];
	__u8	id;		/* NVME_SGL_* */
};

#define NVME_SQE_FUSE_MASK	0x03	/* flags: fused operation, 0 for none */
#define NVME_SQE_FUSE_FIRST	0x01
#define NVME_SQE_FUSE_SECOND	0x02
#define NVME_SQE_PSDT_MASK	0xc0	/* flags: PRP or SGL */
#define NVME_SQE_PSDT_SGL	0x40	/* flags: SGL, the only kind over Fabrics */

/* Submission queue entry, the general form. */
struct nvme_sqe {
	__u8		opcode;		/* NVME_ADM_*, NVME_IO_* or NVME_FABRICS */
	__u8		flags;		/* NVME_SQE_* */
	__le16		cid;
	__le32		nsid;
	__le32		cdw2;
	__le32		cdw3;
	__le64		mptr;
	struct nvme_sgl	sgl;
	__le32		cdw10;
	__le32		cdw11;
	__le32		cdw12;
	__le32		cdw13;
	__le32		cdw14;
	__le32		cdw15;
};

/* Read, Write, Compare, Write Zeroes, Verify (NVM Command Set 1.0, section 3.2). */
struct nvme_rw_sqe {
	__u8		opcode;
	__u8		flags;
	__le16		cid;
	__le32		nsid;
	__le32		cdw2;
	__le32		cdw3;
	__le64		mptr;
	struct nvme_sgl	sgl;
	__le64		slba;		/* first logical block */
	__le16		nlb;		/* blocks, 0-based */
	__le16		control;	/* NVME_RW_* */
	__le32		dsm;
	__le32		reftag;
	__le16		apptag;
	__le16		appmask;
};

#define NVME_RW_DEAC		(1 << 9)	/* control, Write Zeroes only: deallocate */
#define NVME_RW_PRINFO_MASK	(0xf << 10)	/* control: protection information */
#define NVME_RW_FUA		(1 << 14)	/* control: force unit access */
#define NVME_RW_LR		(1 << 15)	/* control: limited retry */

/* Copy (NVM Command Set 1.0, section 3.2.2): the SDLBA is in cdw10 and 11, the rest in cdw12. */
#define NVME_COPY_RANGES(cdw12)	(((cdw12) & 0xff) + 1)
#define NVME_COPY_FORMAT(cdw12)	(((cdw12) >> 8) & 0xf)
#define NVME_COPY_PRINFO_MASK	(0xfU << 12 | 0xfU << 26)	/* of reading and of writing */
#define NVME_COPY_FUA		(1U << 30)

#define NVME_DSM_DEALLOCATE	(1 << 2)	/* cdw11 of Dataset Management */
#define NVME_DSM_RANGES_MAX	256

/* Completion queue entry. Over Fabrics the SQ identifier is reserved and the phase bit is 0. */
struct nvme_cqe {
	__le64	result;		/* DW0 and DW1; most commands use DW0 alone */
	__le16	sqhd;		/* submission queue head; 0xffff when SQ flow control is off */
	__le16	sqid;
	__le16	cid;
	__le16	status;		/* bit 0 phase, bits 15:1 the status as in enum nvme_status */
};

/* ---- opcodes --------------------------------------------------------------------------------- */

enum nvme_adm_op {
	NVME_ADM_DELETE_SQ	= 0x00,
	NVME_ADM_CREATE_SQ	= 0x01,
	NVME_ADM_GET_LOG_PAGE	= 0x02,
	NVME_ADM_DELETE_CQ	= 0x04,
	NVME_ADM_CREATE_CQ	= 0x05,
	NVME_ADM_IDENTIFY	= 0x06,
	NVME_ADM_ABORT		= 0x08,
	NVME_ADM_SET_FEATURES	= 0x09,
	NVME_ADM_GET_FEATURES	= 0x0a,
	NVME_ADM_ASYNC_EVENT	= 0x0c,
	NVME_ADM_NS_MANAGEMENT	= 0x0d,
	NVME_ADM_FW_COMMIT	= 0x10,
	NVME_ADM_FW_DOWNLOAD	= 0x11,
	NVME_ADM_SELF_TEST	= 0x14,
	NVME_ADM_NS_ATTACH	= 0x15,
	NVME_ADM_KEEP_ALIVE	= 0x18,
	NVME_ADM_DIRECTIVE_SEND	= 0x19,
	NVME_ADM_DIRECTIVE_RECV	= 0x1a,
	NVME_ADM_FORMAT_NVM	= 0x80,
	NVME_ADM_SECURITY_SEND	= 0x81,
	NVME_ADM_SECURITY_RECV	= 0x82,
	NVME_ADM_SANITIZE	= 0x84,
};

enum nvme_io_op {
	NVME_IO_FLUSH		= 0x00,
	NVME_IO_WRITE		= 0x01,
	NVME_IO_READ		= 0x02,
	NVME_IO_WRITE_UNCOR	= 0x04,
	NVME_IO_COMPARE		= 0x05,
	NVME_IO_WRITE_ZEROES	= 0x08,
	NVME_IO_DSM		= 0x09,
	NVME_IO_VERIFY		= 0x0c,
	NVME_IO_RESV_REGISTER	= 0x0d,
	NVME_IO_RESV_REPORT	= 0x0e,
	NVME_IO_RESV_ACQUIRE	= 0x11,
	NVME_IO_RESV_RELEASE	= 0x15,
	NVME_IO_COPY		= 0x19,
};

#define NVME_FABRICS	0x7f	/* opcode of every Fabrics command, on admin and I/O queues */

enum nvme_fctype {
	NVME_FC_PROPERTY_SET	= 0x00,
	NVME_FC_CONNECT		= 0x01,
	NVME_FC_PROPERTY_GET	= 0x04,
	NVME_FC_AUTH_SEND	= 0x05,
	NVME_FC_AUTH_RECV	= 0x06,
	NVME_FC_DISCONNECT	= 0x08,
};

/* ---- status: SC in bits 7:0, SCT in 10:8, as in CQE.status without its phase bit ------------- */

#define NVME_STATUS_DNR		(1 << 14)	/* do not retry */
#define NVME_STATUS_MORE	(1 << 13)	/* more in the error log */
#define NVME_STATUS_CRD(status) ((status) >> 11 & 3)	/* which of CRDT1 .. 3 to wait for; 0: none */
#define NVME_STATUS_CRDT1	(1 << 11)
#define NVME_STATUS_CODE	0x7ff		/* SCT and SC alone */
#define NVME_STATUS_SCT		0x700
#define NVME_STATUS_SCT_MEDIA	0x200		/* media and data integrity errors */
#define NVME_STATUS_SCT_PATH	0x300		/* the path's: another one may do */

enum nvme_status {
	NVME_ST_SUCCESS			= 0x000,
	NVME_ST_INVALID_OPCODE		= 0x001,
	NVME_ST_INVALID_FIELD		= 0x002,
	NVME_ST_CID_CONFLICT		= 0x003,
	NVME_ST_DATA_TRANSFER		= 0x004,
	NVME_ST_POWER_LOSS		= 0x005,
	NVME_ST_INTERNAL		= 0x006,
	NVME_ST_ABORTED			= 0x007,
	NVME_ST_ABORTED_SQ_DELETED	= 0x008,
	NVME_ST_FUSED_FAILED		= 0x009,
	NVME_ST_FUSED_MISSING		= 0x00a,
	NVME_ST_INVALID_NS		= 0x00b,	/* invalid namespace or format */
	NVME_ST_SEQUENCE		= 0x00c,	/* command sequence error */
	NVME_ST_SGL_INVALID_LAST	= 0x00d,
	NVME_ST_SGL_INVALID_COUNT	= 0x00e,
	NVME_ST_SGL_DATA_LEN		= 0x00f,	/* data SGL length invalid */
	NVME_ST_SGL_META_LEN		= 0x010,
	NVME_ST_SGL_TYPE		= 0x011,	/* SGL descriptor type invalid */
	NVME_ST_SGL_OFFSET		= 0x016,	/* SGL offset invalid */
	NVME_ST_HOSTID_FORMAT		= 0x018,
	NVME_ST_KATO_EXPIRED		= 0x019,
	NVME_ST_KATO_INVALID		= 0x01a,
	NVME_ST_ABORTED_PREEMPT		= 0x01b,
	NVME_ST_NS_WRITE_PROTECTED	= 0x020,
	NVME_ST_INTERRUPTED		= 0x021,	/* may be sent again */
	NVME_ST_TRANSIENT_TRANSPORT	= 0x022,	/* e.g. a wrong data digest */
	NVME_ST_LBA_RANGE		= 0x080,
	NVME_ST_CAPACITY		= 0x081,
	NVME_ST_NS_NOT_READY		= 0x082,
	NVME_ST_RESERVATION_CONFLICT	= 0x083,
	/* SCT 1: command specific */
	NVME_ST_INVALID_QID		= 0x101,
	NVME_ST_QUEUE_SIZE		= 0x102,
	NVME_ST_ABORT_LIMIT		= 0x103,
	NVME_ST_AER_LIMIT		= 0x105,
	NVME_ST_INVALID_LOG_PAGE	= 0x109,
	NVME_ST_INVALID_FORMAT		= 0x10a,
	NVME_ST_FEATURE_NOT_SAVEABLE	= 0x10d,
	NVME_ST_FEATURE_NOT_CHANGEABLE	= 0x10e,
	NVME_ST_FEATURE_NOT_PER_NS	= 0x10f,
	/* SCT 1 from 0x180 on: one meaning in I/O commands, another in Fabrics commands */
	NVME_ST_INVALID_PI		= 0x181,	/* protection information */
	NVME_ST_COPY_LIMIT		= 0x183,	/* command size limit exceeded */
	NVME_ST_CONNECT_FORMAT		= 0x180,	/* incompatible format (RECFMT) */
	NVME_ST_CONNECT_BUSY		= 0x181,
	NVME_ST_CONNECT_PARAM		= 0x182,	/* the result says where */
	NVME_ST_CONNECT_RESTART		= 0x183,	/* restart discovery */
	NVME_ST_CONNECT_HOST		= 0x184,	/* invalid host */
	NVME_ST_INVALID_QUEUE_TYPE	= 0x185,
	NVME_ST_DISCOVERY_RESTART	= 0x190,
	NVME_ST_AUTH_REQUIRED		= 0x191,
	/* SCT 2: media and data integrity */
	NVME_ST_WRITE_FAULT		= 0x280,
	NVME_ST_READ_ERROR		= 0x281,
	NVME_ST_COMPARE_FAILED		= 0x285,
	NVME_ST_ACCESS_DENIED		= 0x286,
	/* SCT 3: path related */
	NVME_ST_PATH_INTERNAL		= 0x300,
	NVME_ST_ANA_PERSISTENT_LOSS	= 0x301,
	NVME_ST_ANA_INACCESSIBLE	= 0x302,
	NVME_ST_ANA_TRANSITION		= 0x303,
	NVME_ST_HOST_ABORTED		= 0x371,
};

/* ---- Fabrics commands (Base 2.0, section 6) -------------------------------------------------- */

/* What all Fabrics commands share; fctype stands where the nsid begins. */
struct nvme_fabrics_sqe {
	__u8	opcode;		/* NVME_FABRICS */
	__u8	flags;
	__le16	cid;
	__u8	fctype;		/* enum nvme_fctype */
	__u8	reserved[59];
};

struct nvme_connect_sqe {
	__u8		opcode;
	__u8		flags;
	__le16		cid;
	__u8		fctype;		/* NVME_FC_CONNECT */
	__u8		reserved5[19];
	struct nvme_sgl	sgl;
	__le16		recfmt;		/* 0 */
	__le16		qid;		/* 0: admin queue */
	__le16		sqsize;		/* entries, 0-based */
	__u8		cattr;		/* NVME_CATTR_* */
	__u8		reserved47;
	__le32		kato;		/* keep-alive timeout in milliseconds, 0: none */
	__u8		reserved52[12];
};

#define NVME_CATTR_NO_SQ_FLOW	(1 << 2)	/* the host asks for SQ flow control to be off */
#define NVME_CNTLID_DYNAMIC	0xffff		/* the controller hands out cntlid */
#define NVME_NQN_FIELD		256		/* bytes of an NQN field, NUL padded */
#define NVME_NQN_MAX		223		/* bytes of an NQN, without NUL */

struct nvme_connect_data {
	__u8	hostid[16];
	__le16	cntlid;
	__u8	reserved18[238];
	char	subnqn[NVME_NQN_FIELD];
	char	hostnqn[NVME_NQN_FIELD];
	__u8	reserved768[256];
};

/*
 * Connect response, CQE DW0. Success: cntlid in bits 15:0, authentication requirements in 31:16.
 * NVME_ST_CONNECT_PARAM: offset of the parameter in bits 15:0, bit 16 set when it lies in the data.
 */
#define NVME_CONNECT_IATTR_DATA	(1 << 16)

struct nvme_property_sqe {
	__u8	opcode;
	__u8	flags;
	__le16	cid;
	__u8	fctype;		/* NVME_FC_PROPERTY_GET or NVME_FC_PROPERTY_SET */
	__u8	reserved5[35];
	__u8	attrib;		/* bits 2:0: 0 for 4 bytes, 1 for 8 */
	__u8	reserved41[3];
	__le32	offset;		/* NVME_PROP_* */
	__le64	value;		/* Set only */
	__u8	reserved56[8];
};

struct nvme_disconnect_sqe {
	__u8	opcode;
	__u8	flags;
	__le16	cid;
	__u8	fctype;		/* NVME_FC_DISCONNECT */
	__u8	reserved5[35];
	__le16	recfmt;		/* 0 */
	__u8	reserved42[22];
};

/* Authentication Send and Authentication Receive. */
struct nvme_auth_sqe {
	__u8		opcode;
	__u8		flags;
	__le16		cid;
	__u8		fctype;		/* NVME_FC_AUTH_SEND or NVME_FC_AUTH_RECV */
	__u8		reserved5[19];
	struct nvme_sgl	sgl;
	__u8		reserved40;
	__u8		spsp0, spsp1;	/* 1 */
	__u8		secp;		/* NVME_SECP_AUTH */
	__le32		len;		/* bytes of the data: TL, AL */
	__u8		reserved48[16];
};

#define NVME_SECP_AUTH		0xe9
#define NVME_CONNECT_ATR	(1 << 17)	/* Connect's result: authentication is required */
#define NVME_CONNECT_ASCR	(1 << 18)	/* and a secure channel made by it */

/* ---- controller properties (Base 2.0, section 3.1.3) ----------------------------------------- */

#define NVME_PROP_CAP	0x00	/* 8 bytes */
#define NVME_PROP_VS	0x08	/* 4 bytes */
#define NVME_PROP_CC	0x14	/* 4 bytes */
#define NVME_PROP_CSTS	0x1c	/* 4 bytes */
#define NVME_PROP_NSSR	0x20	/* 4 bytes */
#define NVME_PROP_CRTO	0x68	/* 4 bytes */

#define NVME_CAP_MQES(cap)	((cap) & 0xffff)		/* queue entries, 0-based */
#define NVME_CAP_CQR		(1ULL << 16)
#define NVME_CAP_TO(cap)	(((cap) >> 24) & 0xff)		/* ready timeout in 500 ms */
#define NVME_CAP_CSS_NVM	(1ULL << 37)
#define NVME_CAP_CRWMS		(1ULL << 59)			/* ready means that media are, too */

#define NVME_VS_1_3		0x00010300
#define NVME_VS_1_4		0x00010400
#define NVME_VS_2_0		0x00020000

#define NVME_CC_EN		(1 << 0)
#define NVME_CC_SHN_MASK	(3 << 14)
#define NVME_CC_SHN_NORMAL	(1 << 14)
#define NVME_CC_SHN_ABRUPT	(2 << 14)
#define NVME_CC_IOSQES(cc)	(((cc) >> 16) & 0xf)		/* log2 of the SQE size: 6 */
#define NVME_CC_IOCQES(cc)	(((cc) >> 20) & 0xf)		/* log2 of the CQE size: 4 */

#define NVME_CSTS_RDY		(1 << 0)
#define NVME_CSTS_CFS		(1 << 1)
#define NVME_CSTS_SHST_MASK	(3 << 2)
#define NVME_CSTS_SHST_BUSY	(1 << 2)
#define NVME_CSTS_SHST_DONE	(2 << 2)

/* ---- selectors of admin commands ------------------------------------------------------------- */

enum nvme_cns {		/* Identify cdw10 bits 7:0 */
	NVME_CNS_NS		= 0x00,
	NVME_CNS_CTRL		= 0x01,
	NVME_CNS_ACTIVE_NS	= 0x02,
	NVME_CNS_NS_DESCS	= 0x03,
	NVME_CNS_CSI_NS		= 0x05,
	NVME_CNS_CSI_CTRL	= 0x06,
	NVME_CNS_CSI_ACTIVE_NS	= 0x07,
	NVME_CNS_NS_INDEP	= 0x08,
	NVME_CNS_ALLOCATED_NS	= 0x10,
	NVME_CNS_NS_ALLOCATED	= 0x11,
	NVME_CNS_NS_CTRLS	= 0x12,
	NVME_CNS_CTRLS		= 0x13,
	NVME_CNS_PRIMARY	= 0x14,
	NVME_CNS_SECONDARY	= 0x15,
	NVME_CNS_CSI_ALLOCATED_NS = 0x1a,
	NVME_CNS_CSI_NS_ALLOCATED = 0x1b,
	NVME_CNS_COMMAND_SETS	= 0x1c,
};

#define NVME_BEHAVIOR_LEN	512	/* bytes of Host Behavior Support's data */
#define NVME_BEHAVIOR_ACRE	1	/* its first byte: Advanced Command Retry is enabled */

#define NVME_LOG_RGO	(1 << 8)	/* cdw10 of Get Log Page, ANA: groups only */
#define NVME_LOG_RAE	(1 << 15)	/* cdw10 of Get Log Page: retain the asynchronous event */

enum nvme_lid {		/* Get Log Page cdw10 bits 7:0 */
	NVME_LID_SUPPORTED	= 0x00,
	NVME_LID_ERROR		= 0x01,
	NVME_LID_SMART		= 0x02,
	NVME_LID_FIRMWARE	= 0x03,
	NVME_LID_CHANGED_NS	= 0x04,
	NVME_LID_EFFECTS	= 0x05,
	NVME_LID_ANA		= 0x0c,
	NVME_LID_FEATURES	= 0x12,
	NVME_LID_DISCOVERY	= 0x70,
	NVME_LID_RESERVATION	= 0x80,
};

enum nvme_fid {		/* Get and Set Features cdw10 bits 7:0 */
	NVME_FID_ARBITRATION	= 0x01,
	NVME_FID_POWER		= 0x02,
	NVME_FID_TEMPERATURE	= 0x04,
	NVME_FID_ERROR_RECOVERY	= 0x05,
	NVME_FID_WRITE_CACHE	= 0x06,
	NVME_FID_NUM_QUEUES	= 0x07,
	NVME_FID_WRITE_ATOMIC	= 0x0a,
	NVME_FID_ASYNC_EVENT	= 0x0b,
	NVME_FID_TIMESTAMP	= 0x0e,
	NVME_FID_KATO		= 0x0f,
	NVME_FID_HOST_BEHAVIOR	= 0x16,
	NVME_FID_HOST_ID	= 0x81,
	NVME_FID_RESV_MASK	= 0x82,
	NVME_FID_RESV_PERSIST	= 0x83,
	NVME_FID_WRITE_PROTECT	= 0x84,
};

/* ---- what a changed size would break --------------------------------------------------------- */

_Static_assert(sizeof(struct pdu_ch) == 8, "common header: every PDU boundary is found through it");
_Static_assert(sizeof(struct pdu_icreq) == 128, "ICReq: peers refuse another HLEN than 128");
_Static_assert(sizeof(struct pdu_icresp) == 128, "ICResp: peers refuse another HLEN than 128");
_Static_assert(sizeof(struct pdu_term) == 24, "TermReq: the offending header starts at byte 24");
_Static_assert(sizeof(struct nvme_sgl) == 16, "SGL: it is bytes 24..39 of every SQE");
_Static_assert(sizeof(struct nvme_sqe) == 64, "SQE: the capsule header is 8 + 64 bytes");
_Static_assert(sizeof(struct nvme_rw_sqe) == 64, "I/O SQE: it overlays the general SQE");
_Static_assert(sizeof(struct nvme_fabrics_sqe) == 64, "Fabrics SQE: it overlays the general SQE");
_Static_assert(sizeof(struct nvme_connect_sqe) == 64, "Connect: it overlays the general SQE");
_Static_assert(sizeof(struct nvme_property_sqe) == 64, "Property: it overlays the general SQE");
_Static_assert(sizeof(struct nvme_auth_sqe) == 64, "Authentication: it overlays the general SQE");
_Static_assert(sizeof(struct nvme_disconnect_sqe) == 64, "Disconnect: it overlays the general SQE");
_Static_assert(sizeof(struct nvme_cqe) == 16, "CQE: the response header is 8 + 16 bytes");
_Static_assert(sizeof(struct nvme_connect_data) == 1024, "Connect data: their length is fixed");

/*
 * PDU headers that carry an entry or describe data; below the asserts because they are built from
 * the above.
 */

struct pdu_capsule_cmd {
	struct pdu_ch	ch;
	struct nvme_sqe	sqe;
};

struct pdu_capsule_resp {
	struct pdu_ch	ch;
	struct nvme_cqe	cqe;
};

/*
 * H2C_DATA; in C2H_DATA `ttag` is reserved; in R2T `offset` and `len` say what the controller asks
 * for.
 */
struct pdu_data {
	struct pdu_ch	ch;
	__le16		cccid;		/* command identifier of the capsule */
	__le16		ttag;		/* transfer tag: chosen in R2T, echoed in H2C_DATA */
	__le32		offset;		/* DATAO, R2TO: within the command's data, whole dwords */
	__le32		len;		/* DATAL, R2TL: bytes */
	__u8		reserved[4];
};

_Static_assert(sizeof(struct pdu_capsule_cmd) == 72, "CapsuleCmd: HLEN is fixed at 72");
_Static_assert(sizeof(struct pdu_capsule_resp) == 24, "CapsuleResp: HLEN is fixed at 24");
_Static_assert(sizeof(struct pdu_data) == 24, "H2CData, C2HData, R2T: HLEN is fixed at 24");

#endif /* SLUICE_NVME_TCP_H */
