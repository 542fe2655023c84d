// SPDX-License-Identifier: Apache-2.0
/*
 * Reads the ANA log for the initiator. The log comes from another machine and may be cut anywhere: nothing is read
 * beyond what is there, and sizes are compared before they are added. Pure.
 */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "nvme/ana.h"

#define NAMESPACES_MAX (1u << 20) /* in one group; more is a broken log */

struct ana_header {
	__le64 chgcnt;
	__le16 groups;
	__u8 reserved10[6];
};

struct ana_group {
	__le32 id;
	__le32 namespaces;
	__le64 chgcnt;
	__u8 state; /* low four bits */
	__u8 reserved17[15];
	__le32 nsids[];
};

_Static_assert(sizeof(struct ana_header) == 16, "the first group is looked for behind it");
_Static_assert(sizeof(struct ana_group) == 32, "namespace ids are looked for behind it");

const char *nvme_ana_name(__u8 state)
{
	switch (state) {
	case NVME_ANA_OPTIMIZED:
		return "optimized";
	case NVME_ANA_NON_OPTIMIZED:
		return "non-optimized";
	case NVME_ANA_INACCESSIBLE:
		return "inaccessible";
	case NVME_ANA_PERSISTENT_LOSS:
		return "persistent-loss";
	case NVME_ANA_CHANGE:
		return "change";
	default:
		return "unknown";
	}
}

__u64 nvme_ana_count(const void *log)
{
	__le64 count;

	memcpy(&count, log, sizeof(count));
	return le64toh(count);
}

static bool group_has(const __u8 *nsids, __u32 n, __u32 nsid)
{
	__le32 id;

	for (__u32 i = 0; i < n; i++) {
		memcpy(&id, nsids + (size_t)i * sizeof(id), sizeof(id));
		if (le32toh(id) == nsid)
			return true;
	}
	return false;
}

static int need(size_t bytes, size_t *ret_need)
{
	*ret_need = bytes;
	return -EAGAIN;
}

int nvme_ana_find(const void *log, size_t len, __u32 nsid, __u8 *ret_state, size_t *ret_need)
{
	const __u8 *bytes = log;
	size_t at = sizeof(struct ana_header);
	struct ana_header header;
	struct ana_group group;

	if (len < at)
		return need(at, ret_need);
	memcpy(&header, bytes, sizeof(header));
	for (unsigned int i = 0; i < le16toh(header.groups); i++) {
		__u32 n;

		if (len - at < sizeof(group))
			return need(at + sizeof(group), ret_need);
		memcpy(&group, bytes + at, sizeof(group));
		n = le32toh(group.namespaces);
		if (n > NAMESPACES_MAX)
			return -EPROTO;
		at += sizeof(group);
		if (len - at < (size_t)n * sizeof(__le32))
			return need(at + (size_t)n * sizeof(__le32), ret_need);
		if (group_has(bytes + at, n, nsid)) {
			*ret_state = group.state & 0xf;
			return 0;
		}
		at += (size_t)n * sizeof(__le32);
	}
	return -ENOENT;
}
