// SPDX-License-Identifier: Apache-2.0
/*
 * Reads Identify data for the initiator. The data come from another machine: every field is checked
 * before it is believed, and what leaves here is NUL-terminated, printable and within the ranges
 * that identify.h names. Pure.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "nvme/identify.h"

#define CAPSULE_UNIT	16
#define NIDT_UUID	3
#define CMIC_ANA	(1 << 3)

/* A space-padded field as a string. */
static void text_read(const char *field, size_t size, char *ret_text)
{
	size_t len = strnlen(field, size);

	while (len && field[len - 1] == ' ')
		len--;
	for (size_t i = 0; i < len; i++)
		ret_text[i] = field[i] < ' ' || field[i] == 0x7f ? '?' : field[i];
	ret_text[len] = 0;
}

/*
 * MDTS counts in the controller's smallest page, which is at least NVME_PAGE_SHIFT: this is safe
 * for all.
 */
static __u64 max_transfer(__u8 mdts)
{
	return mdts && mdts < 64 - NVME_PAGE_SHIFT ? 1ULL << (mdts + NVME_PAGE_SHIFT) : 0;
}

int nvme_ctrl_read(const void *identify, struct nvme_ctrl_view *ret_ctrl)
{
	const struct nvme_id_ctrl *id = identify;
	__u64 capsule = (__u64)le32toh(id->ioccsz) * CAPSULE_UNIT;
	struct nvme_ctrl_view ctrl = {
		.cntlid = le16toh(id->cntlid),
		.type = id->cntrltype,
		.version = le32toh(id->ver),
		.nn = le32toh(id->nn),
		.max_transfer = max_transfer(id->mdts),
		.max_cmds = le16toh(id->maxcmd),
		.aborts = id->acl + 1,
		.kas_100ms = le16toh(id->kas),
		.oaes = le32toh(id->oaes),
		.crdt = { le16toh(id->crdt[0]), le16toh(id->crdt[1]), le16toh(id->crdt[2]) },
		.ana = id->cmic & CMIC_ANA,
		.anatt = id->anatt,
		.tbkas = le32toh(id->ctratt) & NVME_CTRATT_TBKAS,
		.oncs = le16toh(id->oncs),
		.fuses = le16toh(id->fuses),
		.write_cache = id->vwc & 1,
		.dsm = le16toh(id->oncs) & NVME_ONCS_DSM,
		.write_zeroes = le16toh(id->oncs) & NVME_ONCS_WRITE_ZEROES,
	};

	/* Discovery controllers have no I/O capsules; older ones leave type and size 0. */
	if (ctrl.type == NVME_CNTRLTYPE_IO || capsule) {
		if (capsule < sizeof(struct nvme_sqe) || capsule > 0xffffffffU)
			return -EPROTO;
		ctrl.in_capsule = capsule - sizeof(struct nvme_sqe);
	}
	text_read(id->sn, sizeof(id->sn), ctrl.serial);
	text_read(id->mn, sizeof(id->mn), ctrl.model);
	text_read(id->fr, sizeof(id->fr), ctrl.firmware);
	text_read(id->subnqn, NVME_NQN_MAX, ctrl.subnqn);
	*ret_ctrl = ctrl;
	return 0;
}

void nvme_dsm_limits_read(const void *identify, struct nvme_dsm_limits *ret_limits)
{
	const struct nvme_id_ctrl_nvm *id = identify;
	const struct nvme_dsm_limits none = NVME_DSM_NO_LIMITS, said = {
		.ranges = id->dmrl ? id->dmrl : none.ranges,
		.range_blocks = id->dmrsl ? le32toh(id->dmrsl) : none.range_blocks,
		.blocks = id->dmsl ? le64toh(id->dmsl) : none.blocks,
	};

	*ret_limits = said;
}

int nvme_ns_read(const void *identify, struct nvme_ns_view *ret_ns)
{
	const struct nvme_id_ns *id = identify;
	unsigned int format = (id->flbas & 0xf) | (id->flbas >> 5 & 3) << 4;
	struct nvme_ns_view ns = {
		.blocks = le64toh(id->nsze),
		.readonly = id->nsattr & 1,
		.copy_blocks = le32toh(id->mcl),
		.copy_range_blocks = le16toh(id->mssrl),
		.copy_ranges = id->msrc + 1,
	};

	if (ns.blocks) {
		if (format >= 16 || format > id->nlbaf)
			return -EPROTO;
		ns.block_shift = id->lbaf[format].lbads;
		ns.metadata = le16toh(id->lbaf[format].ms);
		if (ns.block_shift < 9 || ns.block_shift > 16 ||
		    ns.blocks > ~0ULL >> ns.block_shift)
			return -EPROTO;
	}
	memcpy(ns.nguid, id->nguid, sizeof(ns.nguid));
	memcpy(ns.eui64, id->eui64, sizeof(ns.eui64));
	*ret_ns = ns;
	return 0;
}

int nvme_descs_uuid(const void *identify, __u8 ret_uuid[16])
{
	const __u8 *list = identify;
	size_t at = 0;

	while (at + 4 <= NVME_IDENTIFY_LEN && list[at + 1]) {
		__u8 type = list[at], len = list[at + 1];

		if (at + 4 + len > NVME_IDENTIFY_LEN || (type == NIDT_UUID && len != 16))
			return -EPROTO;
		if (type == NIDT_UUID) {
			memcpy(ret_uuid, list + at + 4, 16);
			return 0;
		}
		at += 4 + len;
	}
	return -ENOENT;
}

size_t nvme_active_read(const void *identify, __u32 *ret_nsids, size_t max)
{
	const __le32 *list = identify;
	size_t n = 0;

	while (n < max && n < NVME_IDENTIFY_LEN / sizeof(*list) && list[n]) {
		ret_nsids[n] = le32toh(list[n]);
		n++;
	}
	return n;
}
