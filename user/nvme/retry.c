// SPDX-License-Identifier: Apache-2.0
/*
 * Statuses and what a host does about them. Called by storage/multipath_lane.c for every command that failed. What
 * always holds: with Do Not Retry the answer is never; what the table does not know is the caller's, unless the
 * controller itself names a delay, which says that it is to be sent again.
 */
#include "nvme/retry.h"

#include <stddef.h>

#define TRANSIENT_HERE 3 /* from the fourth transient transport error on the path is at fault */
#define PAUSE_SHIFT    5 /* pauses are doubled at most so often */

/*
 * What a command says that was not executed, or not to the end, for a reason that passes. Left out on purpose: media
 * errors, which the controller has retried itself; reservation conflicts; an abort that the host asked for; what a half
 * of a fused pair says of the other (multipath_pair.c looks at the half that says why).
 */
static const struct rule {
	__u16 status;
	enum nvme_retry_where where;
	__u16 pause_ms; /* the first; doubled each time */
	bool unbegun;	/* nothing of it was done; else it may have been, in part */
} rules[] = {
	{NVME_ST_DATA_TRANSFER, NVME_RETRY_HERE, 0, false},
	{NVME_ST_POWER_LOSS, NVME_RETRY_ELSEWHERE, 0, false},
	{NVME_ST_INTERNAL, NVME_RETRY_HERE, 20, false},
	{NVME_ST_ABORTED_SQ_DELETED, NVME_RETRY_ELSEWHERE, 0, false},
	{NVME_ST_INTERRUPTED, NVME_RETRY_HERE, 1, false},
	{NVME_ST_TRANSIENT_TRANSPORT, NVME_RETRY_HERE, 0, false},
	{NVME_ST_NS_NOT_READY, NVME_RETRY_HERE, 50, true},
	{NVME_ST_ANA_PERSISTENT_LOSS, NVME_RETRY_ANA, 0, true},
	{NVME_ST_ANA_INACCESSIBLE, NVME_RETRY_ANA, 0, true},
	{NVME_ST_ANA_TRANSITION, NVME_RETRY_ANA, 0, true},
};

static const struct rule other_path = {NVME_STATUS_SCT_PATH, NVME_RETRY_ELSEWHERE, 0, false};

static const struct rule *find(__u16 code)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].status == code)
			return &rules[i];
	return (code & NVME_STATUS_SCT) == NVME_STATUS_SCT_PATH ? &other_path : NULL;
}

struct nvme_retry nvme_retry_of(__u16 status, unsigned int attempts, const __u16 crdt[3])
{
	unsigned int crd = NVME_STATUS_CRD(status);
	__u32 delay_ms = crd ? crdt[crd - 1] * 100u : 0;
	const struct rule *rule = find(status & NVME_STATUS_CODE);
	struct nvme_retry retry = {.where = NVME_RETRY_NEVER};

	if (!(status & NVME_STATUS_CODE) || status & NVME_STATUS_DNR)
		return retry;
	if (rule) {
		retry.where = rule->where;
		retry.pause_ms = (__u32)rule->pause_ms << (attempts < PAUSE_SHIFT ? attempts : PAUSE_SHIFT);
		if (rule->status == NVME_ST_TRANSIENT_TRANSPORT && attempts >= TRANSIENT_HERE)
			retry.where = NVME_RETRY_ELSEWHERE;
	} else if (delay_ms) {
		retry.where = NVME_RETRY_HERE;
	}
	if (delay_ms && retry.where == NVME_RETRY_HERE)
		retry.pause_ms = delay_ms;
	return retry;
}

bool nvme_retry_unbegun(__u16 status)
{
	const struct rule *rule = find(status & NVME_STATUS_CODE);

	return rule && rule->unbegun;
}
