/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which statuses of an I/O command a host takes on itself to send again (Base 2.0, figures 92 to 99). Pure; one table,
 * in retry.c.
 */
#ifndef SLUICE_NVME_RETRY_H
#define SLUICE_NVME_RETRY_H

#include <stdbool.h>

#include <sluice/nvme_tcp.h>

/* Where it may do better. */
enum nvme_retry_where {
	NVME_RETRY_NEVER,     /* the caller's */
	NVME_RETRY_HERE,      /* at the same controller, after a pause */
	NVME_RETRY_ELSEWHERE, /* by another path; by this one, if there is no other, once its state is known anew */
	NVME_RETRY_ANA,	      /* the same, and as long as the state is on its way to another: not counted, but timed */
};

struct nvme_retry {
	enum nvme_retry_where where;
	__u32 pause_ms;
};

/*
 * status: as in the completion, with DNR and CRD. attempts: how often it was sent again already. crdt: Identify's
 * Command Retry Delay Times, units of 100 ms; zeros unless Advanced Command Retry is enabled.
 */
struct nvme_retry nvme_retry_of(__u16 status, unsigned int attempts, const __u16 crdt[3]);

/* Whether a status that passes also says that nothing of the command was done, not even in part. */
bool nvme_retry_unbegun(__u16 status);

#endif /* SLUICE_NVME_RETRY_H */
