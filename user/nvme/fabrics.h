/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe over Fabrics as values: NQNs, Connect, properties, discovery records. Pure; target and
 * initiator share it. Base 2.0, sections 4.5 (NQN), 3.1.3 (properties), 5.16.1.23 (discovery log
 * page), 6 (Fabrics commands).
 */
#ifndef SLUICE_NVME_FABRICS_H
#define SLUICE_NVME_FABRICS_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/nvme_tcp.h>

/* ---- NQNs ---- */

#define NVME_DISCOVERY_NQN	"nqn.2014-08.org.nvmexpress.discovery"
#define NVME_NQN_UUID_PREFIX	"nqn.2014-08.org.nvmexpress:uuid:"

/*
 * NULL for a valid NQN (at most 223 bytes; "nqn.yyyy-mm.reverse.domain:name" or the uuid form, or
 * the discovery NQN), else what is wrong with it, as words that fit behind "hostnqn: ". Bytes above
 * 0x20 only, UTF-8 unchecked.
 */
const char *nvme_nqn_fault(const char *nqn);

/*
 * A wire field (256 bytes, NUL padded) as a string; -EINVAL unless it is NUL-terminated and a valid
 * NQN.
 */
int nvme_nqn_read(const char field[NVME_NQN_FIELD], char ret_nqn[NVME_NQN_MAX + 1]);

/* ---- Connect ---- */

/* A Connect that has passed the checks; host order. */
struct nvme_connect {
	__u16	qid;		/* 0: admin queue */
	__u32	entries;	/* submission queue entries, 2 .. max_entries, NOT 0-based */
	__u16	cntlid;		/* NVME_CNTLID_DYNAMIC on admin queues, another on I/O queues */
	__u32	kato_ms;	/* 0: no keep-alive */
	bool	no_sq_flow;	/* the host asked for SQ flow control to be off */
	__u8	hostid[16];
	char	subnqn[NVME_NQN_MAX + 1];
	char	hostnqn[NVME_NQN_MAX + 1];
};

/*
 * Checks a Connect command and its data (data_len bytes as they arrived). On a status other than 0
 * ret_connect is untouched and *ret_result is the CQE's result: for CONNECT_PARAM the place (IPO,
 * IATTR). Whether the subsystem exists, the host may connect and the cntlid is live is the caller's
 * to say, with NVME_REFUSE_DATA(). Statuses: SGL_DATA_LEN, CONNECT_FORMAT, CONNECT_PARAM, all with
 * DNR.
 */
__u16 nvme_connect_read(const struct nvme_sqe *sqe, const void *data, size_t data_len,
			__u32 max_entries, struct nvme_connect *ret_connect, __u64 *ret_result);

/*
 * CQE result of CONNECT_PARAM that points at a field of struct nvme_connect_data /
 * nvme_connect_sqe.
 */
#define NVME_REFUSE_DATA(field)	\
	(offsetof(struct nvme_connect_data, field) | NVME_CONNECT_IATTR_DATA)
#define NVME_REFUSE_SQE(field)	(offsetof(struct nvme_connect_sqe, field))

/* Builds Connect and its 1024 bytes of data, which go in the capsule. entries NOT 0-based. */
struct nvme_sqe nvme_connect_sqe_make(__u16 cid, const struct nvme_connect *connect);
void nvme_connect_data_make(const struct nvme_connect *connect, struct nvme_connect_data *ret_data);

/* What a refusal's result points at, e.g. "data.subnqn"; for logs, never NULL. */
const char *nvme_connect_fault(__u64 result);

struct nvme_sqe nvme_disconnect_sqe_make(__u16 cid);

/* fctype NVME_FC_AUTH_SEND or NVME_FC_AUTH_RECV, with len bytes of data; the caller sets sqe.sgl. */
struct nvme_sqe nvme_auth_sqe_make(__u8 fctype, __u16 cid, __u32 len);

/* ---- properties ---- */

struct nvme_property {
	__u32	offset;		/* NVME_PROP_* */
	__u8	size;		/* 4 or 8 */
	__u64	value;		/* Set; 0 in Get */
};

/* Reads Property Get or Set; INVALID_FIELD|DNR for an unknown size. */
__u16 nvme_property_read(const struct nvme_sqe *sqe, struct nvme_property *ret_property);
struct nvme_sqe nvme_property_get_make(__u16 cid, __u32 offset, __u8 size);
struct nvme_sqe nvme_property_set_make(__u16 cid, const struct nvme_property *property);

/* The property set of one controller. Only the functions below write it. */
struct nvme_properties {
	__u64	cap;
	__u32	vs;
	__u32	cc;
	__u32	csts;
};

/* A controller as it stands after Connect: disabled. max_entries per queue, NOT 0-based. */
void nvme_properties_init(struct nvme_properties *props, __u32 max_entries);

/* INVALID_FIELD|DNR for a property that does not exist or has another size. */
__u16 nvme_properties_get(const struct nvme_properties *props, const struct nvme_property *property,
			  __u64 *ret_value);

/*
 * Sets CC, the only writable property, and moves CSTS as it demands: enable makes ready, disable
 * resets, a shutdown notification completes at once (nothing is cached here). INVALID_FIELD|DNR for
 * a wrong property, size, or entry sizes other than 64 and 16 on enabling.
 */
__u16 nvme_properties_set(struct nvme_properties *props, const struct nvme_property *property);

static inline bool nvme_properties_ready(const struct nvme_properties *props)
{
	return props->csts & NVME_CSTS_RDY;
}

/* ---- discovery log page ---- */

#define NVME_TRTYPE_TCP		3
#define NVME_ADRFAM_IPV4	1
#define NVME_ADRFAM_IPV6	2
#define NVME_SUBTYPE_REFERRAL	1	/* another discovery subsystem */
#define NVME_SUBTYPE_NVM	2
#define NVME_SUBTYPE_CURRENT	3	/* the discovery subsystem that answers */
#define NVME_TREQ_UNSPECIFIED	0
#define NVME_TREQ_SECURE	1	/* a secure channel is required */
#define NVME_TREQ_NO_SECURE	2	/* a secure channel is not required */
#define NVME_SECTYPE_NONE	0
#define NVME_SECTYPE_TLS13	2

/* First 1024 bytes of the log page; entries of 1024 bytes follow. */
struct nvme_discovery_header {
	__le64	genctr;
	__le64	numrec;
	__le16	recfmt;
	__u8	reserved[1006];
};

struct nvme_discovery_wire {
	__u8	trtype;
	__u8	adrfam;
	__u8	subtype;
	__u8	treq;
	__le16	portid;
	__le16	cntlid;
	__le16	asqsz;
	__le16	eflags;
	__u8	reserved12[20];
	char	trsvcid[32];	/* text, padded; both NUL and space are met */
	__u8	reserved64[192];
	char	subnqn[NVME_NQN_FIELD];
	char	traddr[256];
	__u8	tsas[256];	/* TCP: byte 0 SECTYPE, 0 for none */
};

_Static_assert(sizeof(struct nvme_discovery_header) == 1024, "entries start at byte 1024");
_Static_assert(sizeof(struct nvme_discovery_wire) == 1024, "hosts read entries 1024 bytes apart");

/* One record, host order, strings NUL-terminated. Transport TCP. */
struct nvme_discovery_entry {
	__u8	adrfam;		/* NVME_ADRFAM_* */
	__u8	subtype;	/* NVME_SUBTYPE_* */
	__u8	treq;		/* NVME_TREQ_* */
	__u16	portid;
	__u16	cntlid;		/* NVME_CNTLID_DYNAMIC */
	__u16	asqsz;		/* admin queue entries */
	__u8	sectype;	/* NVME_SECTYPE_* that the portal has */
	char	trsvcid[33];	/* port, decimal */
	char	traddr[257];	/* address, text */
	char	subnqn[NVME_NQN_MAX + 1];
};

void nvme_discovery_encode(const struct nvme_discovery_entry *entry,
			   struct nvme_discovery_wire *ret_wire);

/* -EPROTONOSUPPORT for another transport than TCP, -EPROTO for unterminated or invalid strings. */
int nvme_discovery_decode(const struct nvme_discovery_wire *wire,
			  struct nvme_discovery_entry *ret_entry);

/* Bytes of the whole log page with n entries. */
static inline size_t nvme_discovery_log_len(size_t n)
{
	return (n + 1) * sizeof(struct nvme_discovery_wire);
}

/* Any part of the log page: len bytes from `offset` on, zeros past its end. */
void nvme_discovery_log_read(const struct nvme_discovery_entry *entries, size_t n, __u64 genctr,
			     __u64 offset, void *dst, size_t len);

#endif /* SLUICE_NVME_FABRICS_H */
