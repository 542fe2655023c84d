/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identify data and small log pages: filled for the target, read for the initiator. Pure. Base 2.0,
 * sections 5.16 (logs) and 5.17 (Identify); NVM Command Set 1.0, section 4.1.5. All structs are
 * wire order.
 */
#ifndef SLUICE_NVME_IDENTIFY_H
#define SLUICE_NVME_IDENTIFY_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/nvme_tcp.h>

#include "nvme/dsm.h"

#define NVME_IDENTIFY_LEN	4096	/* bytes, every Identify data structure */
#define NVME_PAGE_SHIFT		12	/* CAP.MPSMIN: the unit of MDTS */

/* ---- wire ---- */

struct nvme_id_ctrl {
	__le16	vid;
	__le16	ssvid;
	char	sn[20];		/* text, space padded, as mn and fr */
	char	mn[40];
	char	fr[8];
	__u8	rab;
	__u8	ieee[3];
	__u8	cmic;
	__u8	mdts;		/* log2 of the pages a command may move; 0: no limit */
	__le16	cntlid;
	__le32	ver;
	__le32	rtd3r;
	__le32	rtd3e;
	__le32	oaes;
	__le32	ctratt;
	__le16	rrls;
	__u8	reserved102[9];
	__u8	cntrltype;	/* NVME_CNTRLTYPE_* */
	__u8	fguid[16];
	__le16	crdt[3];
	__u8	reserved134[122];
	__le16	oacs;
	__u8	acl;
	__u8	aerl;
	__u8	frmw;
	__u8	lpa;
	__u8	elpe;
	__u8	npss;
	__u8	avscc;
	__u8	apsta;
	__le16	wctemp;
	__le16	cctemp;
	__le16	mtfa;
	__le32	hmpre;
	__le32	hmmin;
	__u8	tnvmcap[16];
	__u8	unvmcap[16];
	__le32	rpmbs;
	__le16	edstt;
	__u8	dsto;
	__u8	fwug;
	__le16	kas;		/* granularity of the keep-alive timeout, 100 ms */
	__u8	reserved322[20];
	__u8	anatt;		/* seconds */
	__u8	anacap;
	__le32	anagrpmax;
	__le32	nanagrpid;
	__u8	reserved352[160];
	__u8	sqes;
	__u8	cqes;
	__le16	maxcmd;
	__le32	nn;
	__le16	oncs;
	__le16	fuses;
	__u8	fna;
	__u8	vwc;
	__le16	awun;
	__le16	awupf;
	__u8	icsvscc;
	__u8	nwpc;
	__le16	acwu;
	__le16	ocfs;
	__le32	sgls;
	__le32	mnan;
	__u8	reserved544[224];
	char	subnqn[NVME_NQN_FIELD];
	__u8	reserved1024[768];
	__le32	ioccsz;		/* capsule sizes in units of 16 bytes */
	__le32	iorcsz;
	__le16	icdoff;
	__u8	fcatt;
	__u8	msdbd;
	__le16	ofcs;
	__u8	reserved1806[242];
	__u8	psd[32][32];
	__u8	vs[1024];
};

#define NVME_CNTRLTYPE_IO		1
#define NVME_CNTRLTYPE_DISCOVERY	2
#define NVME_CTRATT_TBKAS		(1 << 6)
#define NVME_ONCS_COMPARE		(1 << 0)
#define NVME_ONCS_WRITE_UNCOR		(1 << 1)
#define NVME_ONCS_DSM			(1 << 2)
#define NVME_ONCS_WRITE_ZEROES		(1 << 3)
#define NVME_ONCS_SELECT		(1 << 4)	/* Select of Get Features, Save of Set Features */
#define NVME_ONCS_RESERVATIONS		(1 << 5)
#define NVME_ONCS_TIMESTAMP		(1 << 6)
#define NVME_ONCS_VERIFY		(1 << 7)
#define NVME_ONCS_COPY			(1 << 8)
#define NVME_FUSES_COMPARE_WRITE	(1 << 0)
#define NVME_OCFS_FORMAT_0		(1 << 0)
#define NVME_OAES_NS_ATTR		(1U << 8)
#define NVME_OAES_ANA			(1U << 11)
#define NVME_OAES_DISCOVERY		(1U << 31)
#define NVME_SGLS_SUPPORTED		(1 << 0)
#define NVME_SGLS_OFFSET		(1 << 20)	/* in-capsule data */
#define NVME_SGLS_TRANSPORT		(1 << 21)

struct nvme_id_ns {
	__le64	nsze;		/* logical blocks, as ncap and nuse */
	__le64	ncap;
	__le64	nuse;
	__u8	nsfeat;
	__u8	nlbaf;		/* LBA formats, 0-based */
	__u8	flbas;
	__u8	mc;
	__u8	dpc;
	__u8	dps;
	__u8	nmic;
	__u8	rescap;
	__u8	fpi;
	__u8	dlfeat;
	__le16	nawun;
	__le16	nawupf;
	__le16	nacwu;
	__le16	nabsn;
	__le16	nabo;
	__le16	nabspf;
	__le16	noiob;
	__u8	nvmcap[16];
	__le16	npwg;
	__le16	npwa;
	__le16	npdg;
	__le16	npda;
	__le16	nows;
	__le16	mssrl;		/* blocks of one source range of Copy */
	__le32	mcl;		/* blocks of one Copy */
	__u8	msrc;		/* source ranges of one Copy, 0-based */
	__u8	reserved81[11];
	__le32	anagrpid;
	__u8	reserved96[3];
	__u8	nsattr;
	__le16	nvmsetid;
	__le16	endgid;
	__u8	nguid[16];
	__u8	eui64[8];
	struct {
		__le16	ms;
		__u8	lbads;	/* log2 of the block's bytes */
		__u8	rp;
	} lbaf[16];
	__u8	reserved192[3904];
};

/* CNS 06h of the NVM command set (1.0, figure 118). 0: no limit. */
struct nvme_id_ctrl_nvm {
	__u8	vsl;
	__u8	wzsl;
	__u8	wusl;
	__u8	dmrl;		/* Dataset Management: ranges of one command */
	__le32	dmrsl;		/* blocks of one range */
	__le64	dmsl;		/* blocks of one command */
	__u8	reserved16[4080];
};

_Static_assert(sizeof(struct nvme_id_ctrl_nvm) == NVME_IDENTIFY_LEN, "hosts read exactly so much");
_Static_assert(sizeof(struct nvme_id_ctrl) == NVME_IDENTIFY_LEN, "hosts read exactly so much");
_Static_assert(sizeof(struct nvme_id_ns) == NVME_IDENTIFY_LEN, "hosts read exactly so much");

/* ---- filling (target) ---- */

/* What the target knows of one controller. Limits NOT 0-based. */
struct nvme_ctrl_desc {
	bool		discovery;	/* a discovery controller: no I/O, no namespaces */
	const char	*subnqn;
	const char	*firmware;	/* up to 8 characters, sluice's version */
	__u16		cntlid;
	__u32		nn;		/* highest namespace id */
	__u32		max_transfer;	/* bytes per command, a power of two >= 4096; 0: no limit */
	__u32		in_capsule;	/* bytes of data in an I/O capsule, a multiple of 16 */
	__u16		max_cmds;	/* per I/O queue */
	__u16		kas_100ms;
	__u16		crdt_100ms;	/* CRDT1: delay of a command that is to be sent again; 0: no advanced retry */
	__u8		aborts;		/* concurrent Aborts, at least 1 */
	__u8		events;		/* concurrent Asynchronous Event Requests, at least 1 */
	__u8		errors;		/* entries of the error log, at least 1 */
	__u32		oaes;		/* NVME_OAES_* that the target does send */
	__u32		ana_groups;	/* the highest group id; 0: no ANA reporting */
	__u8		ana_transition;	/* ANATT, seconds */
	bool		write_cache;	/* Flush matters: some backend has a volatile cache */
	bool		write_uncor;	/* some namespace takes Write Uncorrectable */
};

struct nvme_ns_desc {
	const char	*subnqn;	/* with nsid the source of NGUID and UUID */
	__u32		nsid;
	__u64		blocks;
	__u8		block_shift;	/* 9 or 12 */
	bool		readonly;
	bool		zeroes;		/* deallocated blocks read as zeroes */
	__u32		max_transfer;	/* optimal I/O size in bytes; 0: not reported */
	__u32		ana_group;	/* 0: no ANA reporting */
	/*
	 * Bytes that one Write, or a fused Compare and Write, changes at once for all who read meanwhile;
	 * one block across a loss of power, which is the least that can be said.
	 */
	__u32		atomic;
	bool		ptpl;		/* reservations can be kept across a restart */
};

/*
 * Each fills NVME_IDENTIFY_LEN bytes at out, which is aligned to 8. CNS 05h and 06h are those of
 * the NVM command set (CSI 0), the only one there is. CNS 00h of NULL is an inactive namespace.
 */
void nvme_identify_ctrl(void *out, const struct nvme_ctrl_desc *ctrl);	/* CNS 01h */
void nvme_identify_ns(void *out, const struct nvme_ns_desc *ns);	/* CNS 00h; or NULL */
void nvme_identify_descs(void *out, const struct nvme_ns_desc *ns);	/* CNS 03h */
void nvme_identify_csi_ns(void *out);					/* CNS 05h */
void nvme_identify_csi_ctrl(void *out);					/* CNS 06h */
void nvme_identify_ns_indep(void *out, const struct nvme_ns_desc *ns);	/* CNS 08h */
void nvme_identify_command_sets(void *out);				/* CNS 1Ch: NVM alone */
/*
 * CNS 02h: those of nsids (ascending, n of them) above `after`; zero-padded, 1024 at most.
 * INVALID_NS|DNR for after >= 0xfffffffe.
 */
__u16 nvme_identify_active(void *out, const __u32 *nsids, size_t n, __u32 after);

/*
 * Deterministic identifiers: SHA-256 over the subsystem NQN and the nsid, so that every target that
 * exports the same subsystem, and each restart, answers alike. NGUID and EUI64 are marked as locally
 * administered (no OUI is claimed), the UUID is version 8 (RFC 9562).
 */
void nvme_ns_nguid(const char *subnqn, __u32 nsid, __u8 ret_nguid[16]);
void nvme_ns_eui64(const char *subnqn, __u32 nsid, __u8 ret_eui64[8]);
void nvme_ns_uuid(const char *subnqn, __u32 nsid, __u8 ret_uuid[16]);
void nvme_subsystem_serial(const char *subnqn, char ret_serial[21]);

/* ---- log pages (target) ---- */

#define NVME_LOG_SUPPORTED_LEN	1024
#define NVME_LOG_FEATURES_LEN	1024
#define NVME_LOG_SMART_LEN	512
#define NVME_LOG_FIRMWARE_LEN	512
#define NVME_LOG_EFFECTS_LEN	4096
#define NVME_LOG_CHANGED_LEN	4096
#define NVME_LOG_MAX_LEN	8448	/* ANA's, with all groups and namespaces */
#define NVME_LOG_RESERVATION_LEN 64

/* Host traffic of a controller or subsystem, for SMART. */
struct nvme_usage {
	__u64	read_bytes;
	__u64	write_bytes;
	__u64	read_cmds;
	__u64	write_cmds;
	__u64	uptime_hours;
	__u64	media_errors;
	__u64	error_entries;
};

/* Each fills its NVME_LOG_*_LEN bytes at out, which is aligned to 8. */
void nvme_log_supported(void *out, const __u8 *lids, size_t n);
void nvme_log_features(void *out, const bool known[256]); /* by feature identifier */
void nvme_log_smart(void *out, const struct nvme_usage *usage);
void nvme_log_firmware(void *out, const char *firmware);
void nvme_log_effects(void *out, bool discovery, bool write_uncor);

/*
 * Copies a part of a log page as Get Log Page asks: len bytes from `offset`, zeros past its end.
 * INVALID_FIELD|DNR for an offset past its end.
 */
__u16 nvme_log_slice(const void *page, size_t page_len, __u64 offset, void *dst, size_t len);

/* ---- reading (initiator) ---- */

struct nvme_ctrl_view {
	char	serial[21];	/* without padding, as model and firmware; '?' for unprintables */
	char	model[41];
	char	firmware[9];
	char	subnqn[NVME_NQN_MAX + 1];
	__u16	cntlid;
	__u8	type;		/* NVME_CNTRLTYPE_*; 0 from controllers before 1.4 */
	__u32	version;	/* as NVME_VS_* */
	__u32	nn;
	__u64	max_transfer;	/* bytes per command; 0: no limit */
	__u32	in_capsule;	/* bytes of in-capsule data on I/O queues */
	__u16	max_cmds;	/* per queue; 0: not said */
	__u16	aborts;		/* Abort commands that may be under way (ACL, here NOT 0-based) */
	__u16	kas_100ms;
	__u32	oaes;		/* NVME_OAES_* that it may send */
	__u16	crdt[3];	/* Command Retry Delay Times, units of 100 ms; 0: no advanced retry */
	bool	ana;		/* reports Asymmetric Namespace Access */
	__u8	anatt;		/* seconds that a change of its states takes at most; 0: not said */
	bool	tbkas;		/* any command keeps it alive, not only Keep Alive */
	__u16	oncs, fuses;	/* NVME_ONCS_*, NVME_FUSES_* */
	bool	write_cache;
	bool	dsm;
	bool	write_zeroes;
};

struct nvme_ns_view {
	__u64	blocks;		/* 0: inactive */
	__u8	block_shift;
	bool	readonly;
	__u16	metadata;	/* bytes a block; not supported by sluice's initiator unless 0 */
	__u8	nguid[16];	/* zeros: none */
	__u8	eui64[8];	/* zeros: none */
	/* one Copy: blocks in all (0: not said), blocks of one source range, source ranges */
	__u32	copy_blocks;
	__u16	copy_range_blocks;
	__u16	copy_ranges;
};

/* CNS 06h, as far as it is about Dataset Management. */
void nvme_dsm_limits_read(const void *identify, struct nvme_dsm_limits *ret_limits);

/*
 * -EPROTO when the data contradict the specification (block size, capsule size); outputs then
 * untouched.
 */
int nvme_ctrl_read(const void *identify, struct nvme_ctrl_view *ret_ctrl);
int nvme_ns_read(const void *identify, struct nvme_ns_view *ret_ns);

/* UUID of a CNS 03h answer; -ENOENT when it has none, -EPROTO when the list is broken. */
int nvme_descs_uuid(const void *identify, __u8 ret_uuid[16]);

/* Number of ids in a CNS 02h answer (up to 1024), copied in host order. */
size_t nvme_active_read(const void *identify, __u32 *ret_nsids, size_t max);

#endif /* SLUICE_NVME_IDENTIFY_H */
