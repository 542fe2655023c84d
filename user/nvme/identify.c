// SPDX-License-Identifier: Apache-2.0
/*
 * Fills Identify data for the target. Its controllers call it with descriptions of what they really
 * are: what is not implemented is not advertised. Pure. What always holds: every answer is 4096
 * bytes with everything not named here zero, and identifiers depend on nothing but subsystem NQN
 * and nsid. Log pages are in logs.c, the initiator's reading side in identify_read.c.
 */
#include "nvme/identify.h"

#include <endian.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "nvme/command.h"

#define DNR(status)	((__u16)((status) | NVME_STATUS_DNR))

#define MODEL		"sluice NVMe/TCP target"

#define CMIC_MULTI_CTRL	(1 << 1)	/* several hosts may connect, each gets its controller */
#define CMIC_ANA	(1 << 3)
#define ANACAP_STATES	0x1f	/* all five */
#define ANACAP_STEADY	(1 << 6)	/* a namespace's group does not change with its state */
#define CTRATT_HOSTID	(1 << 0)	/* 128-bit host identifier, as Fabrics demands */
#define FRMW_ONE_SLOT	((1 << 1) | 1)	/* one slot, read-only */
#define LPA_EFFECTS	(1 << 1)	/* Commands Supported and Effects log page */
#define LPA_EXTENDED	(1 << 2)	/* NUMDU and the offset are honoured */
#define LPA_LISTS	(1 << 5)	/* log pages 00h and 12h */
#define ONE_ENTRY_SIZE(n) ((n) << 4 | (n))	/* required and maximum entry size, log2 */
#define OFCS_DISCONNECT	(1 << 0)
#define VWC_PRESENT	(1 << 0)
#define VWC_NO_BROADCAST (2 << 1)	/* Flush takes one nsid, not 0xffffffff */

#define NSFEAT_ATOMIC	(1 << 1)	/* NAWUN, NAWUPF and NACWU are set */
#define NSFEAT_OPTPERF	(1 << 4)	/* NPWG and the like are set */
#define NMIC_SHARED	(1 << 0)
#define RESCAP_PTPL	(1 << 0)
#define RESCAP_ALL	0xfe		/* all six types; IEKEY as defined since 1.3 */
#define DLFEAT_ZEROES	1		/* deallocated blocks read as zeroes */
#define DLFEAT_WZ_DEAC	(1 << 3)	/* Write Zeroes takes DEAC */
#define NSATTR_PROTECTED (1 << 0)
#define NSTAT_READY	(1 << 0)

#define NIDT_EUI64	1
#define NIDT_NGUID	2
#define NIDT_UUID	3
#define NIDT_CSI	4

#define BACKEND_PAGE	4096U		/* what backends write without reading first */

static void text_put(char *field, size_t size, const char *text)
{
	memset(field, ' ', size);
	memcpy(field, text, strnlen(text, size));
}

static __u8 log2_of(__u32 value)
{
	return value ? 31 - __builtin_clz(value) : 0;
}

/* The label keeps the three kinds of identifiers apart; the NQN's NUL ends it unambiguously. */
static void identity(const char *label, const char *subnqn, __u32 nsid,
		     __u8 ret[SHA256_DIGEST_LENGTH])
{
	char text[NVME_NQN_MAX + 64];
	int len = snprintf(text, sizeof(text), "sluice %s %u %.*s", label, nsid, NVME_NQN_MAX,
			   subnqn);

	SHA256((const unsigned char *)text, len + 1, ret);
}

void nvme_ns_nguid(const char *subnqn, __u32 nsid, __u8 ret_nguid[16])
{
	__u8 hash[SHA256_DIGEST_LENGTH];

	identity("nguid", subnqn, nsid, hash);
	memcpy(ret_nguid, hash, 16);
	/* Bytes 8 .. 10 are the OUI: locally administered, not a group. */
	ret_nguid[8] = (ret_nguid[8] & ~1) | 2;
}

void nvme_ns_eui64(const char *subnqn, __u32 nsid, __u8 ret_eui64[8])
{
	__u8 hash[SHA256_DIGEST_LENGTH];

	identity("eui64", subnqn, nsid, hash);
	memcpy(ret_eui64, hash, 8);
	/* Bytes 0 .. 2 are the OUI: locally administered, not a group. */
	ret_eui64[0] = (ret_eui64[0] & ~1) | 2;
}

void nvme_ns_uuid(const char *subnqn, __u32 nsid, __u8 ret_uuid[16])
{
	__u8 hash[SHA256_DIGEST_LENGTH];

	identity("uuid", subnqn, nsid, hash);
	memcpy(ret_uuid, hash, 16);
	ret_uuid[6] = (ret_uuid[6] & 0x0f) | 0x80;
	ret_uuid[8] = (ret_uuid[8] & 0x3f) | 0x80;
}

void nvme_subsystem_serial(const char *subnqn, char ret_serial[21])
{
	__u8 hash[SHA256_DIGEST_LENGTH];

	identity("serial", subnqn, 0, hash);
	for (int i = 0; i < 10; i++)
		snprintf(ret_serial + 2 * i, 3, "%02X", hash[i]);
}

/* What controllers of both types say. */
static void ctrl_common(struct nvme_id_ctrl *id, const struct nvme_ctrl_desc *ctrl)
{
	char serial[21];

	nvme_subsystem_serial(ctrl->subnqn, serial);
	text_put(id->sn, sizeof(id->sn), serial);
	text_put(id->mn, sizeof(id->mn), MODEL);
	text_put(id->fr, sizeof(id->fr), ctrl->firmware);
	memcpy(id->subnqn, ctrl->subnqn, strnlen(ctrl->subnqn, NVME_NQN_MAX));
	id->mdts = ctrl->max_transfer ? log2_of(ctrl->max_transfer) - NVME_PAGE_SHIFT : 0;
	id->cntlid = htole16(ctrl->cntlid);
	id->ver = htole32(NVME_VS_2_0);
	id->oaes = htole32(ctrl->oaes);
	id->ctratt = htole32(CTRATT_HOSTID);
	id->cntrltype = ctrl->discovery ? NVME_CNTRLTYPE_DISCOVERY : NVME_CNTRLTYPE_IO;
	id->aerl = ctrl->events - 1;
	id->lpa = LPA_EXTENDED | LPA_EFFECTS | LPA_LISTS;
	id->elpe = ctrl->errors - 1;
	id->kas = htole16(ctrl->kas_100ms);
	id->maxcmd = htole16(ctrl->max_cmds);
	id->sgls = htole32(NVME_SGLS_SUPPORTED | NVME_SGLS_OFFSET | NVME_SGLS_TRANSPORT);
}

static void ctrl_io(struct nvme_id_ctrl *id, const struct nvme_ctrl_desc *ctrl)
{
	id->rab = 6;
	id->cmic = CMIC_MULTI_CTRL | (ctrl->ana_groups ? CMIC_ANA : 0);
	if (ctrl->ana_groups) {
		id->anatt = ctrl->ana_transition;
		id->anacap = ANACAP_STATES | ANACAP_STEADY;
		id->anagrpmax = id->nanagrpid = htole32(ctrl->ana_groups);
	}
	id->crdt[0] = htole16(ctrl->crdt_100ms);
	id->acl = ctrl->aborts - 1;
	id->frmw = FRMW_ONE_SLOT;
	/* Required since 1.2; no sensor stands behind them: the customary 70 and 100 degrees. */
	id->wctemp = htole16(343);
	id->cctemp = htole16(373);
	id->sqes = ONE_ENTRY_SIZE(6);
	id->cqes = ONE_ENTRY_SIZE(4);
	id->nn = id->mnan = htole32(ctrl->nn);
	id->oncs = htole16(NVME_ONCS_COMPARE | NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES |
			   NVME_ONCS_RESERVATIONS | NVME_ONCS_VERIFY | NVME_ONCS_COPY | NVME_ONCS_SELECT | NVME_ONCS_TIMESTAMP |
			   (ctrl->write_uncor ? NVME_ONCS_WRITE_UNCOR : 0));
	id->fuses = htole16(NVME_FUSES_COMPARE_WRITE);
	id->ofcs = htole16(OFCS_DISCONNECT);
	id->ocfs = htole16(NVME_OCFS_FORMAT_0);
	/* AWUN, AWUPF and ACWU stay 0, one block: what a namespace gives beyond that, it says itself. */
	id->vwc = VWC_NO_BROADCAST | (ctrl->write_cache ? VWC_PRESENT : 0);
	id->ioccsz = htole32((sizeof(struct nvme_sqe) + ctrl->in_capsule) / 16);
	id->iorcsz = htole32(sizeof(struct nvme_cqe) / 16);
	id->msdbd = 1;
}

void nvme_identify_ctrl(void *out, const struct nvme_ctrl_desc *ctrl)
{
	struct nvme_id_ctrl *id = out;

	memset(id, 0, sizeof(*id));
	ctrl_common(id, ctrl);
	if (!ctrl->discovery)
		ctrl_io(id, ctrl);
}

/* A 0-based number of blocks for `bytes`, as far as the field holds it. */
static __le16 blocks_field(__u32 bytes, __u8 block_shift)
{
	__u32 blocks = bytes >> block_shift;

	if (!blocks)
		return 0;
	return htole16(blocks > 0x10000 ? 0xffff : blocks - 1);
}

void nvme_identify_ns(void *out, const struct nvme_ns_desc *ns)
{
	struct nvme_id_ns *id = out;
	__le64 bytes;

	memset(id, 0, sizeof(*id));
	if (!ns)
		return;
	id->nsze = id->ncap = id->nuse = htole64(ns->blocks);
	id->nsfeat = NSFEAT_OPTPERF | (ns->atomic ? NSFEAT_ATOMIC : 0);
	id->nawun = id->nacwu = blocks_field(ns->atomic, ns->block_shift);
	id->mssrl = htole16(nvme_copy_max_range(ns->block_shift));
	id->mcl = htole32(nvme_copy_max_blocks(ns->block_shift));
	id->msrc = NVME_COPY_MAX_RANGES - 1;
	id->nmic = NMIC_SHARED;
	id->anagrpid = htole32(ns->ana_group);
	id->rescap = RESCAP_ALL | (ns->ptpl ? RESCAP_PTPL : 0);
	id->dlfeat = ns->zeroes ? DLFEAT_ZEROES | DLFEAT_WZ_DEAC : 0;
	bytes = htole64(ns->blocks << ns->block_shift);
	memcpy(id->nvmcap, &bytes, sizeof(bytes));
	id->npwg = id->npwa = id->npdg = id->npda = blocks_field(BACKEND_PAGE, ns->block_shift);
	id->nows = blocks_field(ns->max_transfer, ns->block_shift);
	id->nsattr = ns->readonly ? NSATTR_PROTECTED : 0;
	nvme_ns_nguid(ns->subnqn, ns->nsid, id->nguid);
	nvme_ns_eui64(ns->subnqn, ns->nsid, id->eui64);
	id->lbaf[0].lbads = ns->block_shift;
}

static __u8 *desc_put(__u8 *at, __u8 type, const void *value, __u8 len)
{
	at[0] = type;
	at[1] = len;
	memcpy(at + 4, value, len);
	return at + 4 + len;
}

void nvme_identify_descs(void *out, const struct nvme_ns_desc *ns)
{
	static const __u8 csi_nvm;
	__u8 eui64[8], nguid[16], uuid[16], *at = out;

	memset(out, 0, NVME_IDENTIFY_LEN);
	nvme_ns_nguid(ns->subnqn, ns->nsid, nguid);
	nvme_ns_uuid(ns->subnqn, ns->nsid, uuid);
	nvme_ns_eui64(ns->subnqn, ns->nsid, eui64);
	at = desc_put(at, NIDT_EUI64, eui64, sizeof(eui64));
	at = desc_put(at, NIDT_NGUID, nguid, sizeof(nguid));
	at = desc_put(at, NIDT_UUID, uuid, sizeof(uuid));
	desc_put(at, NIDT_CSI, &csi_nvm, sizeof(csi_nvm));
}

__u16 nvme_identify_active(void *out, const __u32 *nsids, size_t n, __u32 after)
{
	__le32 *list = out;
	size_t used = 0;

	if (after >= 0xfffffffe)
		return DNR(NVME_ST_INVALID_NS);
	memset(out, 0, NVME_IDENTIFY_LEN);
	for (size_t i = 0; i < n && used < NVME_IDENTIFY_LEN / sizeof(*list); i++)
		if (nsids[i] > after)
			list[used++] = htole32(nsids[i]);
	return NVME_ST_SUCCESS;
}

/* No protection information, no storage tags: all zero. */
void nvme_identify_csi_ns(void *out)
{
	memset(out, 0, NVME_IDENTIFY_LEN);
}

/* No limits beyond MDTS on Verify, Write Zeroes and Dataset Management: all zero. */
void nvme_identify_csi_ctrl(void *out)
{
	memset(out, 0, NVME_IDENTIFY_LEN);
}

void nvme_identify_ns_indep(void *out, const struct nvme_ns_desc *ns)
{
	__u8 *id = out;

	memset(out, 0, NVME_IDENTIFY_LEN);
	id[1] = NMIC_SHARED;
	id[4] = ns->ana_group;	/* 4 bytes; groups are less than 256 */
	id[2] = RESCAP_ALL | (ns->ptpl ? RESCAP_PTPL : 0);
	id[8] = ns->readonly ? NSATTR_PROTECTED : 0;
	id[14] = NSTAT_READY;
}

void nvme_identify_command_sets(void *out)
{
	__le64 *vectors = out;

	memset(out, 0, NVME_IDENTIFY_LEN);
	vectors[0] = htole64(1);	/* combination 0: the NVM command set, CSI 0 */
}
