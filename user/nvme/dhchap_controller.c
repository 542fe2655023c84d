// SPDX-License-Identifier: Apache-2.0
/*
 * The controller's side of DH-HMAC-CHAP: what Authentication Send brings is taken, what Authentication Receive fetches
 * is given. Called by the target, for each queue on its own. What always holds: a message that is not due or does not
 * read leads to FAILURE1, never to a state in between; `authenticated` is set in one place for either way to succeed.
 */
#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "base/util.h"
#include "nvme/dhchap_message.h"

static void fail(struct dhchap_controller *c, uint8_t fault)
{
	c->fault = fault;
	c->step = DHCHAP_FAILURE;
	c->authenticated = false;
}

/* All has been said; what there is to keep of it is kept. -EIO. */
static int succeed(struct dhchap_controller *c)
{
	int r = c->session.concatenation ? dhchap_psk_make(&c->session, &c->psk) : 0;

	if (r)
		return r;
	c->step = DHCHAP_DONE;
	dhchap_session_wipe(&c->session);
	c->authenticated = true;
	return 0;
}

/* ---- NEGOTIATE ---- */

/* The best of what is offered in ids[n] and allowed; -1: there is none. */
static int choose(const uint8_t *order, size_t n_order, unsigned int allowed, const uint8_t *ids, size_t n)
{
	for (size_t i = 0; i < n_order; i++) {
		if (allowed & 1u << order[i] && memchr(ids, order[i], n))
			return order[i];
	}
	return -1;
}

/* A longer hash costs nothing here; larger groups than 3072 bits cost more than they add to keys of 256 bits. */
static const uint8_t hash_order[] = {DHCHAP_SHA512, DHCHAP_SHA384, DHCHAP_SHA256};
static const uint8_t group_order[] = {DHCHAP_FFDHE3072, DHCHAP_FFDHE2048, DHCHAP_FFDHE4096,
				      DHCHAP_FFDHE6144, DHCHAP_FFDHE8192, DHCHAP_NULL};

static uint8_t take_descriptor(struct dhchap_controller *c, const struct dhchap_descriptor *d)
{
	unsigned int hashes = c->hashes, groups = c->groups;
	int hash, group;

	if (d->n_hashes > sizeof(d->hashes) || d->n_groups > sizeof(d->groups))
		return DHCHAP_BAD_PAYLOAD;
	if (c->session.concatenation) {
		hashes &= DHCHAP_CONCATENATION_HASHES;
		groups &= DHCHAP_CONCATENATION_GROUPS;
	}
	hash = choose(hash_order, sizeof(hash_order), hashes, d->hashes, d->n_hashes);
	group = choose(group_order, sizeof(group_order), groups, d->groups, d->n_groups);
	if (hash < 0)
		return DHCHAP_NO_HASH;
	if (group < 0)
		return DHCHAP_NO_GROUP;
	c->session.hash = (uint8_t)hash;
	c->session.group = (uint8_t)group;
	c->session.hash_len = (uint8_t)dhchap_hash_len((uint8_t)hash);
	return DHCHAP_FINE;
}

static bool concatenates(const struct dhchap_controller *c, uint8_t concatenation)
{
	unsigned int taken = c->concatenations ? c->concatenations : 1u << DHCHAP_NOSC;

	return concatenation <= DHCHAP_REPLACETLSPSK && taken & 1u << concatenation;
}

/* A transaction begins; one that was under way is forgotten. */
static uint8_t take_negotiate(struct dhchap_controller *c, const uint8_t *message, size_t len)
{
	const struct dhchap_negotiate *m = (const void *)message;
	size_t head = offsetof(struct dhchap_negotiate, descriptors);

	dhchap_session_wipe(&c->session);
	OPENSSL_cleanse(&c->psk, sizeof(c->psk));
	c->session.parties = c->parties;
	c->session.tid = le16toh(m->head.tid);
	if (len < head || len < head + m->n_descriptors * sizeof(struct dhchap_descriptor))
		return DHCHAP_BAD_PAYLOAD;
	if (!concatenates(c, m->concatenation))
		return DHCHAP_NO_CONCATENATION;
	c->session.concatenation = m->concatenation;
	for (size_t i = 0; i < m->n_descriptors; i++) {
		const struct dhchap_descriptor *d = (const void *)(message + head + i * sizeof(*d));

		if (d->protocol == DHCHAP_PROTOCOL)
			return take_descriptor(c, d);
	}
	return DHCHAP_NO_PROTOCOL;
}

/* ---- CHALLENGE ---- */

static int make_challenge(struct dhchap_session *s)
{
	int r = dhchap_random(s->c1, s->hash_len);

	if (!r)
		r = dhchap_sequence(&s->s1);
	return r ? r : dhchap_dh_make(s);
}

static int give_challenge(struct dhchap_controller *c, uint8_t *buf, size_t len, size_t *ret_len)
{
	struct dhchap_session *s = &c->session;
	size_t dh_len = dhchap_dh_len(s->group), whole = sizeof(struct dhchap_challenge) + s->hash_len + dh_len;
	struct dhchap_challenge m = {
		.head = dhchap_head_make(DHCHAP_TYPE_DHCHAP, DHCHAP_ID_CHALLENGE, s->tid),
		.hash_len = s->hash_len,
		.hash = s->hash,
		.group = s->group,
		.dh_len = htole16(dh_len),
	};

	if (len < whole)
		return -EMSGSIZE;
	if (make_challenge(s) || (dh_len && dhchap_dh_public(s, buf + sizeof(m) + s->hash_len)))
		return -EIO;
	m.s1 = htole32(s->s1);
	memcpy(buf, &m, sizeof(m));
	memcpy(buf + sizeof(m), s->c1, s->hash_len);
	c->step = DHCHAP_REPLY;
	*ret_len = whole;
	return 0;
}

/* ---- REPLY ---- */

/* Lengths: then R1, C2 and the DH value lie where they should. */
static bool reply_reads(const struct dhchap_session *s, const struct dhchap_reply *m, size_t len)
{
	size_t dh_len;

	if (len < sizeof(*m) || m->hash_len != s->hash_len || m->has_c2 > 1)
		return false;
	dh_len = le16toh(m->dh_len);
	return dh_len <= dhchap_dh_len(s->group) && !dh_len == (s->group == DHCHAP_NULL) &&
	       len >= sizeof(*m) + 2u * s->hash_len + dh_len;
}

static uint8_t take_reply(struct dhchap_controller *c, const uint8_t *message, size_t len)
{
	const struct dhchap_reply *m = (const void *)message;
	struct dhchap_session *s = &c->session;
	uint8_t expected[DHCHAP_HASH_MAX];
	bool same;
	int r;

	if (!reply_reads(s, m, len) || (s->concatenation && !m->has_c2))
		return DHCHAP_BAD_PAYLOAD;
	s->s2 = le32toh(m->s2);
	/* There may be a C2 for the PSK alone; without concatenation it is always to be answered. */
	s->mutual = m->has_c2 && (s->s2 || !s->concatenation);
	memcpy(s->c2, m->values + s->hash_len, s->hash_len);
	r = s->group ? dhchap_dh_agree(s, m->values + 2 * s->hash_len, le16toh(m->dh_len)) : 0;
	if (r)
		return r == -EINVAL ? DHCHAP_BAD_PAYLOAD : DHCHAP_REJECTED;
	r = dhchap_response_host(s, expected);
	same = !r && dhchap_same(expected, m->values, s->hash_len);
	OPENSSL_cleanse(expected, sizeof(expected));
	/* Who sends a challenge back as his own wants it answered for him. */
	if (!same || (m->has_c2 && dhchap_same(s->c1, s->c2, s->hash_len)) || (s->mutual && !s->parties.controller))
		return DHCHAP_REJECTED;
	return DHCHAP_FINE;
}

/* ---- SUCCESS1 ---- */

static int give_success1(struct dhchap_controller *c, uint8_t *buf, size_t len, size_t *ret_len)
{
	struct dhchap_session *s = &c->session;
	const struct dhchap_success1 m = {
		.head = dhchap_head_make(DHCHAP_TYPE_DHCHAP, DHCHAP_ID_SUCCESS1, s->tid),
		.hash_len = s->hash_len,
		.has_r2 = s->mutual,
	};
	uint8_t response[DHCHAP_HASH_MAX] = {0};

	if (len < sizeof(m) + s->hash_len)
		return -EMSGSIZE;
	if (s->mutual && dhchap_response_controller(s, response))
		return -EIO;
	memcpy(buf, &m, sizeof(m));
	memcpy(buf + sizeof(m), response, s->hash_len);
	*ret_len = sizeof(m) + s->hash_len;
	if (!s->mutual)
		return succeed(c);
	c->step = DHCHAP_SUCCESS2;
	return 0;
}

/* ---- what comes and goes ---- */

static bool is_failure2(const struct dhchap_head *head, size_t len)
{
	return head->type == DHCHAP_TYPE_COMMON && head->id == DHCHAP_ID_FAILURE2 &&
	       len >= sizeof(struct dhchap_failure);
}

static void take_failure2(struct dhchap_controller *c, const struct dhchap_failure *m)
{
	c->fault = m->explanation ? m->explanation : DHCHAP_REJECTED;
	c->step = DHCHAP_FAILED;
	c->authenticated = false;
}

/* A message of the transaction under way. */
static void take_step(struct dhchap_controller *c, const struct dhchap_head *head, size_t len)
{
	bool right = head->type == DHCHAP_TYPE_DHCHAP && le16toh(head->tid) == c->session.tid;
	uint8_t fault;

	if (right && head->id == DHCHAP_ID_REPLY && c->step == DHCHAP_REPLY) {
		fault = take_reply(c, (const void *)head, len);
		if (fault)
			fail(c, fault);
		else
			c->step = DHCHAP_SUCCESS1;
	} else if (right && head->id == DHCHAP_ID_SUCCESS2 && c->step == DHCHAP_SUCCESS2) {
		if (len < sizeof(struct dhchap_success2))
			fail(c, DHCHAP_BAD_PAYLOAD);
		else if (succeed(c))
			fail(c, DHCHAP_REJECTED);
	} else {
		fail(c, DHCHAP_BAD_MESSAGE);
	}
}

void dhchap_controller_take(struct dhchap_controller *c, const void *message, size_t len)
{
	const struct dhchap_head *head = message;
	uint8_t fault;

	if (c->step == DHCHAP_FAILURE || c->step == DHCHAP_FAILED)
		return; /* what is said after a failure changes nothing */
	if (len < sizeof(*head)) {
		fail(c, DHCHAP_BAD_PAYLOAD);
	} else if (head->type == DHCHAP_TYPE_COMMON && head->id == DHCHAP_ID_NEGOTIATE) {
		fault = take_negotiate(c, message, len);
		if (fault)
			fail(c, fault);
		else
			c->step = DHCHAP_CHALLENGE;
	} else if (is_failure2(head, len)) {
		take_failure2(c, message);
	} else {
		take_step(c, head, len);
	}
}

int dhchap_controller_give(struct dhchap_controller *c, void *buf, size_t len, size_t *ret_len)
{
	int r = 0;

	*ret_len = 0;
	if (c->step == DHCHAP_CHALLENGE)
		r = give_challenge(c, buf, len, ret_len);
	else if (c->step == DHCHAP_SUCCESS1)
		r = give_success1(c, buf, len, ret_len);
	if (r == -EIO) /* OpenSSL: no random numbers, or no memory */
		fail(c, DHCHAP_REJECTED);
	else if (r)
		return r;
	if (c->step != DHCHAP_FAILURE)
		return 0;
	if (len < sizeof(struct dhchap_failure))
		return -EMSGSIZE;
	*ret_len = dhchap_failure_make(DHCHAP_ID_FAILURE1, c->session.tid, c->fault, buf);
	c->step = DHCHAP_FAILED;
	return 0;
}

bool dhchap_controller_waits(const struct dhchap_controller *c)
{
	return c->step != DHCHAP_NEGOTIATE && c->step != DHCHAP_DONE;
}

void dhchap_controller_end(struct dhchap_controller *c)
{
	OPENSSL_cleanse(&c->psk, sizeof(c->psk));
	dhchap_session_wipe(&c->session);
}
