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

	if (h->fault == DHCHAP_NO_CONCATENATION && h->fault_is_theirs)
		return error_set(err, EACCES, "%s: the target ends the authentication: %s; %s", o->addr.text, why,
				 h->concatenation
					 ? "it makes no key for TLS for this host: leave --concat out, or let it "
					   "(psk: generated)"
					 : "it wants a key for TLS made by it: use --concat");
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

static struct dhchap_host host_of(const struct initiator_options *o)
{
	return (struct dhchap_host){
		.parties = {.hostnqn = o->hostnqn,
			    .subnqn = o->subnqn,
			    .host = &o->auth->host,
			    .controller = o->auth->controller.len ? &o->auth->controller : NULL},
		.hashes = o->auth->hashes,
		.groups = o->auth->groups,
		.tid = next_transaction(),
	};
}

/* dhchap_host_end() is the caller's. */
static int authenticate(const struct initiator_options *o, struct initiator_queue *q, struct dhchap_host *h,
			struct error *err)
{
	uint8_t buf[RECEIVE_LEN] __attribute__((aligned(8)));
	int r = 0;

	while (!r && h->step != DHCHAP_DONE && h->step != DHCHAP_FAILED)
		r = exchange(q, h, buf, err);
	if (h->step == DHCHAP_FAILED)
		r = refused(o, h, err);
	secret_wipe(buf, sizeof(buf));
	return r;
}

/* The identity and key that a connection begins with. */
static int derive(const struct initiator_options *o, const struct dhchap_psk *psk, struct tls_psk *ret_psk,
		  struct error *err)
{
	int r = tls_psk_generated(psk->bytes, psk->len, o->hostnqn, o->subnqn, o->auth->psk_version, ret_psk);

	if (r == -ENAMETOOLONG)
		return error_set(
			err, EINVAL,
			"%s: TLS identities of version 0 have no room for NQNs as long as these; use --psk-identity 1",
			o->addr.text);
	return r ? error_system(err, -r, "%s: the key for TLS", o->addr.text) : 0;
}

int queue_concatenate(const struct initiator_options *o, struct initiator_queue *q, uint8_t how,
		      struct tls_psk *ret_psk, struct error *err)
{
	struct dhchap_host h = host_of(o);
	int r;

	h.concatenation = how;
	h.hashes &= DHCHAP_CONCATENATION_HASHES;
	h.groups &= DHCHAP_CONCATENATION_GROUPS;
	if (!h.hashes || !h.groups)
		return error_set(err, EINVAL,
				 "%s: keys for TLS are made with sha256 or sha384, and a group that is not null; offer "
				 "such (--dhchap-hash, --dhchap-group)",
				 o->addr.text);
	r = authenticate(o, q, &h, err);
	if (!r)
		r = derive(o, &h.psk, ret_psk, err);
	dhchap_host_end(&h);
	return r;
}

int queue_authenticate(const struct initiator_options *o, struct initiator_queue *q, uint64_t connect_result,
		       struct error *err)
{
	struct dhchap_host h;
	int r;

	if (connect_result & NVME_CONNECT_ASCR)
		return error_set(err, EACCES,
				 "%s: the target wants a key for TLS made by authentication; use --concat, with the "
				 "host's key (--dhchap-key)",
				 o->addr.text);
	if (connect_result & NVME_CONNECT_ATR) {
		if (!o->auth)
			return error_set(err, EACCES,
					 "%s: the target wants authentication; give the host's key with --dhchap-key",
					 o->addr.text);
		h = host_of(o);
		r = authenticate(o, q, &h, err);
		dhchap_host_end(&h);
		return r;
	}
	/* A generated key is of an authentication in which it did. */
	if (o->auth && o->auth->controller.len && !o->psk)
		return error_set(err, EACCES,
				 "%s: the target does not ask for authentication, so it does not prove who it is; "
				 "give it the keys, or leave --dhchap-controller-key out",
				 o->addr.text);
	return 0;
}
