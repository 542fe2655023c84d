/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of an initiator's controller (initiator_admin.c, _discovery.c, _abort.c, _auth.c) share, and what
 * they need of initiator_queue.c beyond initiator.h: a queue before its Fabrics Connect.
 */
#ifndef SLUICE_STORAGE_INITIATOR_INTERNAL_H
#define SLUICE_STORAGE_INITIATOR_INTERNAL_H

#include "storage/initiator.h"

struct initiator {
	struct initiator_options options;
	struct initiator_queue *admin;
	uint64_t cap;
	uint16_t cntlid;
	struct nvme_ctrl_view view;
	unsigned int aborts; /* under way */
	uint64_t last_admin_ns, last_alive_ns; /* last_alive_ns: Keep Alive, or what else starts its time anew */
	struct tls_psk generated;	       /* options.psk, with concat; a secret */
	/* for admin commands with data, one at a time */
	uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(64)));
};

/* timeout_ms of an admin command: longer than the keep-alive timeout the controller does not wait either. */
uint32_t initiator_admin_limit_ms(const struct initiator *i);

/* One admin command, and its answer; not waited for longer than the keep-alive timeout. */
int initiator_execute(struct initiator *i, struct initiator_io *io, struct error *err);

/*
 * TCP connection, ICReq, ICResp. in_capsule: most data bytes that a command may carry in its capsule; Connect's
 * do in any case. depth <= INITIATOR_DEPTH_MAX.
 */
int queue_connect(const struct initiator_options *options, uint16_t qid, unsigned int depth, uint32_t in_capsule,
		  struct initiator_queue **ret_queue, struct error *err);

/*
 * initiator_auth.c: authenticates a queue that is connected. connect_result is its Connect's. 0 also when the
 * controller does not ask for it and need not prove itself.
 */
int queue_authenticate(const struct initiator_options *options, struct initiator_queue *q, uint64_t connect_result,
		       struct error *err);

/*
 * Authenticates an admin queue that is connected, and makes a key for TLS by it. how: DHCHAP_NEWTLSPSK on a connection
 * without TLS, DHCHAP_REPLACETLSPSK on one by TLS. *ret_psk is a secret.
 */
int queue_concatenate(const struct initiator_options *options, struct initiator_queue *q, uint8_t how,
		      struct tls_psk *ret_psk, struct error *err);

#endif
