// SPDX-License-Identifier: Apache-2.0
/*
 * Cuts spans of blocks into Dataset Management commands within a controller's limits. Called by whoever deallocates. A
 * controller may leave undone what goes beyond its limits, and say success, since the command is advice: so the host
 * must not. What always holds: each block of the spans is in exactly one range, and no range is empty.
 */
#include "nvme/dsm.h"

#include "base/util.h"

void nvme_dsm_limits_both(struct nvme_dsm_limits *limits, const struct nvme_dsm_limits *other)
{
	limits->ranges = min(limits->ranges, other->ranges);
	limits->range_blocks = min(limits->range_blocks, other->range_blocks);
	limits->blocks = min(limits->blocks, other->blocks);
}

__u32 nvme_dsm_next(const struct nvme_dsm_span *spans, size_t n, const struct nvme_dsm_limits *limits,
		    struct nvme_dsm_cursor *cursor, struct nvme_dsm_range ret_ranges[NVME_DSM_RANGES_MAX],
		    __u64 *ret_blocks)
{
	__u64 blocks = 0;
	__u32 used = 0;

	while (cursor->span < n && used < limits->ranges && blocks < limits->blocks) {
		const struct nvme_dsm_span *span = &spans[cursor->span];
		__u64 len = min(span->blocks - cursor->done, (__u64)limits->range_blocks);

		if (!len) {
			*cursor = (struct nvme_dsm_cursor){ .span = cursor->span + 1 };
			continue;
		}
		len = min(len, limits->blocks - blocks);
		ret_ranges[used++] = (struct nvme_dsm_range){
			.nlb = htole32((__u32)len),
			.slba = htole64(span->slba + cursor->done),
		};
		cursor->done += len;
		blocks += len;
	}
	*ret_blocks = blocks;
	return used;
}
