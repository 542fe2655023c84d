// SPDX-License-Identifier: Apache-2.0
/*
 * The host's side of DH-HMAC-CHAP. Called by the initiator, for each queue on its own: give, take, give, ... until DONE
 * or FAILED. What always holds: with a key of the controller's in `parties`, DONE means that the controller has proved
 * to have it; a message that does not fit leads to FAILURE2.
 */
#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "base/util.h"
#include "nvme/dhchap_message.h"

static void fail(struct dhchap_host *h, uint8_t fault)
{
	h->fault = fault;
	h->step = DHCHAP_FAILURE;
}

/* ---- what is said ---- */

static uint8_t list(unsigned int set, unsigned int n, uint8_t *ret_ids)
{
	uint8_t count = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (set & 1u << i)
			ret_ids[count++] = (uint8_t)i;
	}
	return count;
}

static size_t give_negotiate(struct dhchap_host *h, void *buf)
{
	struct dhchap_negotiate m = {
		.head = dhchap_head_make(DHCHAP_TYPE_COMMON, DHCHAP_ID_NEGOTIATE, h->tid),
		.concatenation = h->concatenation,
		.n_descriptors = 1,
		.descriptors = {{.protocol = DHCHAP_PROTOCOL}},
	};
	struct dhchap_descriptor *d = &m.descriptors[0];

	d->n_hashes = list(h->hashes, DHCHAP_SHA512 + 1, d->hashes);
	d->n_groups = list(h->groups, DHCHAP_GROUPS, d->groups);
	dhchap_session_wipe(&h->session);
	h->session.parties = h->parties;
	h->session.tid = h->tid;
	h->session.concatenation = h->concatenation;
	h->step = DHCHAP_CHALLENGE;
	memcpy(buf, &m, sizeof(m));
	return sizeof(m);
}

static size_t give_reply(struct dhchap_host *h, uint8_t *buf)
{
	struct dhchap_session *s = &h->session;
	size_t dh_len = dhchap_dh_len(s->group);
	const struct dhchap_reply m = {
		.head = dhchap_head_make(DHCHAP_TYPE_DHCHAP, DHCHAP_ID_REPLY, s->tid),
		.hash_len = s->hash_len,
		.has_c2 = s->mutual || s->concatenation,
		.dh_len = htole16(dh_len),
		.s2 = htole32(s->s2),
	};
	uint8_t response[DHCHAP_HASH_MAX];

	if (dhchap_response_host(s, response)) {
		fail(h, DHCHAP_REJECTED);
		return 0;
	}
	memcpy(buf, &m, sizeof(m));
	memcpy(buf + sizeof(m), response, s->hash_len);
	memcpy(buf + sizeof(m) + s->hash_len, s->c2, s->hash_len);
	/* The public value was put there when the challenge was taken, while the private one was still there. */
	h->step = DHCHAP_SUCCESS1;
	memcpy(buf + sizeof(m) + 2 * s->hash_len, h->dh_public, dh_len);
	return sizeof(m) + 2 * s->hash_len + dh_len;
}

static size_t give_success2(struct dhchap_host *h, void *buf)
{
	const struct dhchap_success2 m = {
		.head = dhchap_head_make(DHCHAP_TYPE_DHCHAP, DHCHAP_ID_SUCCESS2, h->session.tid)};

	memcpy(buf, &m, sizeof(m));
	h->step = DHCHAP_DONE;
	return sizeof(m);
}

bool dhchap_host_speaks(const struct dhchap_host *h)
{
	return h->step == DHCHAP_NEGOTIATE || h->step == DHCHAP_REPLY || h->step == DHCHAP_SUCCESS2 ||
	       h->step == DHCHAP_FAILURE;
}

size_t dhchap_host_give(struct dhchap_host *h, void *buf)
{
	size_t n = 0;

	if (h->step == DHCHAP_NEGOTIATE)
		n = give_negotiate(h, buf);
	else if (h->step == DHCHAP_REPLY)
		n = give_reply(h, buf);
	else if (h->step == DHCHAP_SUCCESS2)
		n = give_success2(h, buf);
	if (h->step != DHCHAP_FAILURE)
		return n;
	h->step = DHCHAP_FAILED;
	return dhchap_failure_make(DHCHAP_ID_FAILURE2, h->session.tid, h->fault, buf);
}

/* ---- what is heard ---- */

/* DH and C2; h->dh_public is what REPLY will say. */
static uint8_t prepare_reply(struct dhchap_host *h, const uint8_t *dh, size_t dh_len)
{
	struct dhchap_session *s = &h->session;
	int r = 0;

	s->mutual = s->parties.controller;
	if (s->mutual || s->concatenation)
		r = dhchap_random(s->c2, s->hash_len);
	if (!r && s->mutual)
		r = dhchap_sequence(&s->s2);
	if (!r && s->group)
		r = dhchap_dh_make(s);
	if (!r && s->group)
		r = dhchap_dh_public(s, h->dh_public);
	if (!r && s->group)
		r = dhchap_dh_agree(s, dh, dh_len);
	if (r)
		return r == -EINVAL ? DHCHAP_BAD_PAYLOAD : DHCHAP_REJECTED;
	return DHCHAP_FINE;
}

static uint8_t take_challenge(struct dhchap_host *h, const uint8_t *message, size_t len)
{
	const struct dhchap_challenge *m = (const void *)message;
	struct dhchap_session *s = &h->session;
	size_t dh_len;

	if (len < sizeof(*m))
		return DHCHAP_BAD_PAYLOAD;
	if (m->hash > DHCHAP_SHA512 || !(h->hashes & 1u << m->hash))
		return DHCHAP_NO_HASH;
	if (m->group >= DHCHAP_GROUPS || !(h->groups & 1u << m->group))
		return DHCHAP_NO_GROUP;
	dh_len = le16toh(m->dh_len);
	if (m->hash_len != dhchap_hash_len(m->hash) || dh_len > dhchap_dh_len(m->group) ||
	    !dh_len != (m->group == DHCHAP_NULL) || len < sizeof(*m) + m->hash_len + dh_len)
		return DHCHAP_BAD_PAYLOAD;
	s->hash = m->hash;
	s->group = m->group;
	s->hash_len = m->hash_len;
	s->s1 = le32toh(m->s1);
	memcpy(s->c1, m->values, s->hash_len);
	return prepare_reply(h, m->values + s->hash_len, dh_len);
}

static uint8_t take_success1(struct dhchap_host *h, const uint8_t *message, size_t len)
{
	const struct dhchap_success1 *m = (const void *)message;
	struct dhchap_session *s = &h->session;
	uint8_t expected[DHCHAP_HASH_MAX];
	bool same;

	if (len < sizeof(*m) || m->hash_len != s->hash_len || (m->has_r2 && len < sizeof(*m) + s->hash_len))
		return DHCHAP_BAD_PAYLOAD;
	same = !s->mutual ||
	       (m->has_r2 && !dhchap_response_controller(s, expected) && dhchap_same(expected, m->values, s->hash_len));
	OPENSSL_cleanse(expected, sizeof(expected));
	if (!same || (s->concatenation && dhchap_psk_make(s, &h->psk)))
		return DHCHAP_REJECTED;
	return DHCHAP_FINE;
}

static bool is_failure1(const struct dhchap_head *head, size_t len)
{
	return head->type == DHCHAP_TYPE_COMMON && head->id == DHCHAP_ID_FAILURE1 &&
	       len >= sizeof(struct dhchap_failure);
}

static void take_step(struct dhchap_host *h, const struct dhchap_head *head, size_t len)
{
	bool right = head->type == DHCHAP_TYPE_DHCHAP && le16toh(head->tid) == h->session.tid;
	uint8_t fault = DHCHAP_BAD_MESSAGE;

	if (right && head->id == DHCHAP_ID_CHALLENGE && h->step == DHCHAP_CHALLENGE) {
		fault = take_challenge(h, (const void *)head, len);
		h->step = DHCHAP_REPLY;
	} else if (right && head->id == DHCHAP_ID_SUCCESS1 && h->step == DHCHAP_SUCCESS1) {
		fault = take_success1(h, (const void *)head, len);
		h->step = h->session.mutual ? DHCHAP_SUCCESS2 : DHCHAP_DONE;
	}
	if (fault)
		fail(h, fault);
}

void dhchap_host_take(struct dhchap_host *h, const void *message, size_t len)
{
	const struct dhchap_head *head = message;

	if (dhchap_host_speaks(h) || h->step == DHCHAP_DONE || h->step == DHCHAP_FAILED)
		return;
	if (len < sizeof(*head)) {
		fail(h, DHCHAP_BAD_PAYLOAD);
	} else if (is_failure1(head, len)) {
		h->fault = ((const struct dhchap_failure *)message)->explanation;
		h->fault_is_theirs = true;
		h->step = DHCHAP_FAILED;
	} else {
		take_step(h, head, len);
	}
}

void dhchap_host_end(struct dhchap_host *h)
{
	OPENSSL_cleanse(&h->psk, sizeof(h->psk));
	dhchap_session_wipe(&h->session);
}
