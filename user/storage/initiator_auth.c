// SPDX-License-Identifier: Apache-2.0
/*
 * The initiator's part of authentication: the messages of nvme/dhchap_host.c in Authentication Send and Receive, one
 * after the other on a queue that has nothing else to do. Called after each Connect, and for authentication again. What
 * always holds: with a key of the controller's at hand no queue is used whose controller has not proved to have it.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/secret.h"
#include "base/util.h"
#include "storage/initiator_internal.h"

#define RECEIVE_LEN 4096 /* more than any message; what the Linux host asks for, too */

_Static_assert(RECEIVE_LEN >= DHCHAP_MESSAGE_MAX, "a message fits one Authentication Receive");

/* Transactions are numbered over all queues of the process. */
static uint16_t next_transaction(void)
{
	static _Atomic uint16_t last;

	return atomic_fetch_add(&last, 1) + 1;
}

/* One message, there or back. */
static int exchange(struct initiator_queue *q, struct dhchap_host *h, uint8_t *buf, struct error *err)
{
	bool speaks = dhchap_host_speaks(h);
	uint32_t len = speaks ? (uint32_t)dhchap_host_give(h, buf) : RECEIVE_LEN;
	struct initiator_io io = {
		.sqe = nvme_auth_sqe_make(speaks ? NVME_FC_AUTH_SEND : NVME_FC_AUTH_RECV, 0, len),
		.data = buf,
		.len = len,
	};
	int r = initiator_queue_execute(q, &io, err);

	if (!r && !speaks)
		dhchap_host_take(h, buf, RECEIVE_LEN);
	return r;
}

/* What a failure means to the user. */
static int refused(const struct initiator_options *o, const struct dhchap_host *h, struct error *err)
{
	const char *why = dhchap_fault_name(h->fault);

	if (h->fault != DHCHAP_REJECTED)
		return error_set(err, EACCES, "%s: %s: %s", o->addr.text,
				 h->fault_is_theirs ? "the target ends the authentication"
						    : "the target's side of the authentication is wrong",
				 why);
	if (h->fault_is_theirs)
		return error_set(err, EACCES,
				 "%s: the target does not accept the key of %s; give it the same as the target has "
				 "(--dhchap-key)",
				 o->addr.text, o->hostnqn);
	return error_set(err, EACCES,
			 "%s: the target has not the key that --dhchap-controller-key gives: this is not the target "
			 "that it should be, or one of the two keys is old",
			 o->addr.text);
}

static int authenticate(const struct initiator_options *o, struct initiator_queue *q, struct error *err)
{
	uint8_t buf[RECEIVE_LEN] __attribute__((aligned(8)));
	struct dhchap_host h = {
		.parties = {.hostnqn = o->hostnqn,
			    .subnqn = o->subnqn,
			    .host = &o->auth->host,
			    .controller = o->auth->controller.len ? &o->auth->controller : NULL},
		.hashes = o->auth->hashes,
		.groups = o->auth->groups,
		.tid = next_transaction(),
	};
	int r = 0;

	while (!r && h.step != DHCHAP_DONE && h.step != DHCHAP_FAILED)
		r = exchange(q, &h, buf, err);
	if (h.step == DHCHAP_FAILED)
		r = refused(o, &h, err);
	dhchap_host_end(&h);
	secret_wipe(buf, sizeof(buf));
	return r;
}

int queue_authenticate(const struct initiator_options *o, struct initiator_queue *q, uint64_t connect_result,
		       struct error *err)
{
	if (connect_result & NVME_CONNECT_ASCR)
		return error_set(
			err, EACCES,
			"%s: the target wants a secure channel made by authentication (ASCR), which sluice does "
			"not have; let it ask for authentication alone",
			o->addr.text);
	if (connect_result & NVME_CONNECT_ATR) {
		if (!o->auth)
			return error_set(err, EACCES,
					 "%s: the target wants authentication; give the host's key with --dhchap-key",
					 o->addr.text);
		return authenticate(o, q, err);
	}
	if (o->auth && o->auth->controller.len)
		return error_set(err, EACCES,
				 "%s: the target does not ask for authentication, so it does not prove who it is; "
				 "give it the keys, or leave --dhchap-controller-key out",
				 o->addr.text);
	return 0;
}
