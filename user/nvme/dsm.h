/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dataset Management from the host's side: any number of spans of blocks as commands that a controller takes. Pure. NVM
 * Command Set 1.0, sections 3.2.3 and 4.1.5.4.
 */
#ifndef SLUICE_NVME_DSM_H
#define SLUICE_NVME_DSM_H

#include <stddef.h>

#include "nvme/command.h"

/* What a controller takes of one command (DMRL, DMRSL, DMSL), and without it what fits one. Never 0. */
struct nvme_dsm_limits {
	__u32	ranges;		/* up to NVME_DSM_RANGES_MAX */
	__u32	range_blocks;	/* of one range */
	__u64	blocks;		/* of all ranges together */
};

#define NVME_DSM_NO_LIMITS { NVME_DSM_RANGES_MAX, ~0U, ~0ULL }

/* Of two controllers, what both take. */
void nvme_dsm_limits_both(struct nvme_dsm_limits *limits, const struct nvme_dsm_limits *other);

struct nvme_dsm_span {
	__u64	slba;
	__u64	blocks;		/* 0 is fine: nothing */
};

/* Where in a list of spans the next command begins; zeros at first. */
struct nvme_dsm_cursor {
	size_t	span;
	__u64	done;		/* blocks of it */
};

/*
 * The ranges of the next command: as many as the limits allow, in the order of the spans; a span that is longer than a
 * range may be goes on in the next one. Returns their number, 0 when all is done; *ret_blocks: of them all.
 */
__u32 nvme_dsm_next(const struct nvme_dsm_span *spans, size_t n, const struct nvme_dsm_limits *limits,
		    struct nvme_dsm_cursor *cursor, struct nvme_dsm_range ret_ranges[NVME_DSM_RANGES_MAX],
		    __u64 *ret_blocks);

#endif /* SLUICE_NVME_DSM_H */
