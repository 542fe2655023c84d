/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the Asymmetric Namespace Access log page (0Ch; Base 2.0, section 5.16.1.13) for the initiator. Pure.
 */
#ifndef SLUICE_NVME_ANA_H
#define SLUICE_NVME_ANA_H

#include <stddef.h>

#include <sluice/nvme_tcp.h>

enum nvme_ana_state {
	NVME_ANA_OPTIMIZED = 0x1,
	NVME_ANA_NON_OPTIMIZED = 0x2,
	NVME_ANA_INACCESSIBLE = 0x3,
	NVME_ANA_PERSISTENT_LOSS = 0x4,
	NVME_ANA_CHANGE = 0xf,
};

/* "optimized"; "unknown" for a number that is none. */
const char *nvme_ana_name(__u8 state);

/*
 * The state of the group that nsid is in, from the log's first len bytes. -EAGAIN: the answer lies past them, and
 * *ret_need says how many bytes the log has at least. -ENOENT: in no group. -EPROTO: it contradicts itself.
 */
int nvme_ana_find(const void *log, size_t len, __u32 nsid, __u8 *ret_state, size_t *ret_need);

/* Change count of the whole log; len is at least 8. Two readings with the same count are of the same log. */
__u64 nvme_ana_count(const void *log);

#endif /* SLUICE_NVME_ANA_H */
