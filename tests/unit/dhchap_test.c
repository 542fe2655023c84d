// SPDX-License-Identifier: Apache-2.0
/*
 * DH-HMAC-CHAP without a connection: keys in text, vectors that an independent program made, both ends against each
 * other over every hash and group, and each wrong message with the failure that it gets.
 */
#include <criterion/criterion.h>
#include <endian.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <string.h>

#include "base/util.h"
#include "dhchap_pair.h"
#include "nvme/dhchap_message.h"

struct vector {
	uint8_t hash, group;
	const char *host, *controller; /* keys as text */
	const char *c1, *c2, *prime, *secret, *r1, *r2;
};

#include "dhchap_vectors.h"

/* ---- keys ---- */

static const struct {
	const char *text, *fault; /* NULL: it is good */
	uint8_t len, hash;
} key_rows[] = {
	{"DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", NULL, 32, 0},
	{"DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", NULL, 32, 1},
	{"DHHC-1:03:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", NULL, 32, 3},
	{"", "does not begin", 0, 0},
	{"NVMeTLSkey-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", "does not begin", 0, 0},
	{"DHHC-1", "does not begin", 0, 0},
	{"DHHC-1:", "00, 01, 02 or 03", 0, 0},
	{"DHHC-1:04:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", "00, 01, 02 or 03", 0, 0},
	{"DHHC-1:1:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", "00, 01, 02 or 03", 0, 0},
	{"DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n", "end in a colon", 0, 0},
	{"DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n: ", "end in a colon", 0, 0},
	{"DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2m:", "checksum", 0, 0},
	{"DHHC-1:00:Ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", "checksum", 0, 0},
	{"DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2:", "base64", 0, 0},
	{"DHHC-1:00:ia6z=odOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:", "base64", 0, 0},
	{"DHHC-1:00::", "base64", 0, 0},
	{"DHHC-1:00:AAAA:", "base64", 0, 0},
	{"DHHC-1:00:AQIDBAUGBwg9yVeHYw==:", "checksum", 0, 0},
	{"DHHC-1:00:AAECAwQFBgcICQoLDA0OD4bMzv4=:", "checksum", 0, 0},
};

Test(dhchap, keys)
{
	for (size_t i = 0; i < ARRAY_SIZE(key_rows); i++) {
		struct dhchap_key key = {.len = 99};
		struct error err = {0};
		int r = dhchap_key_parse(key_rows[i].text, &key, &err);

		if (!key_rows[i].fault) {
			cr_expect_eq(r, 0, "%s: %s", key_rows[i].text, err.text);
			cr_expect_eq(key.len, key_rows[i].len);
			cr_expect_eq(key.hash, key_rows[i].hash);
			continue;
		}
		cr_expect_eq(r, -EINVAL, "%s", key_rows[i].text);
		cr_expect(strstr(err.text, key_rows[i].fault), "%s: %s", key_rows[i].text, err.text);
		cr_expect_eq(key.len, 99, "touched on failure");
		/* An error goes to logs: no part of the key may stand in it. */
		cr_expect_not(strstr(err.text, "ia6z"));
	}
}

static struct dhchap_key key_of(const char *text)
{
	struct dhchap_key key;
	struct error err;

	cr_assert_eq(dhchap_key_parse(text, &key, &err), 0, "%s", err.text);
	return key;
}

Test(dhchap, names)
{
	for (uint8_t i = DHCHAP_SHA256; i <= DHCHAP_SHA512; i++)
		cr_expect_eq(dhchap_hash_number(dhchap_hash_name(i)), i);
	for (uint8_t i = 0; i < DHCHAP_GROUPS; i++)
		cr_expect_eq(dhchap_group_number(dhchap_group_name(i)), i);
	cr_expect_eq(dhchap_hash_number("md5"), -EINVAL);
	cr_expect_eq(dhchap_group_number("ffdhe1024"), -EINVAL);
	cr_expect_str_eq(dhchap_fault_name(0x99), "unknown");
}

/* ---- vectors ---- */

static BIGNUM *group_prime(struct dhchap_session *s)
{
	BIGNUM *p = NULL;

	cr_assert_eq(dhchap_dh_make(s), 0);
	cr_assert(EVP_PKEY_get_bn_param(s->dh, OSSL_PKEY_PARAM_FFC_P, &p) > 0);
	return p;
}

/* A key with this private value; also its public value, padded. */
static EVP_PKEY *private_key(uint8_t group, const BIGNUM *p, const char *private, uint8_t *ret_public)
{
	BIGNUM *x = BN_bin2bn((const uint8_t *)private, 32, NULL), *g = BN_new(), *v = BN_new();
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	BN_CTX *numbers = BN_CTX_new();
	EVP_PKEY *key = NULL;
	OSSL_PARAM *params;

	cr_assert(BN_set_word(g, 2) && BN_mod_exp(v, g, x, p, numbers));
	cr_assert(BN_bn2binpad(v, ret_public, (int)dhchap_dh_len(group)) > 0);
	cr_assert(OSSL_PARAM_BLD_push_utf8_string(build, "group", dhchap_group_name(group), 0) &&
		  OSSL_PARAM_BLD_push_BN(build, "priv", x) && OSSL_PARAM_BLD_push_BN(build, "pub", v));
	params = OSSL_PARAM_BLD_to_param(build);
	cr_assert(EVP_PKEY_fromdata_init(context) > 0 &&
		  EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, params) > 0);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(context);
	BN_CTX_free(numbers);
	BN_free(x);
	BN_free(g);
	BN_free(v);
	return key;
}

static void agree(struct dhchap_session *s, const struct vector *v)
{
	uint8_t own[DHCHAP_DH_MAX], peer[DHCHAP_DH_MAX], prime[DHCHAP_DH_MAX], digest[32], public[DHCHAP_DH_MAX];
	BIGNUM *p = group_prime(s);
	int len = (int)dhchap_dh_len(s->group);

	cr_assert_eq(BN_bn2binpad(p, prime, len), len);
	cr_assert(EVP_Digest(prime, len, digest, NULL, EVP_sha256(), NULL));
	cr_expect_arr_eq(digest, v->prime, 32, "the prime of %s", dhchap_group_name(s->group));
	EVP_PKEY_free(private_key(s->group, p, VECTOR_Y, peer));
	EVP_PKEY_free(s->dh);
	s->dh = private_key(s->group, p, VECTOR_X, own);
	cr_expect_eq(dhchap_dh_public(s, public), 0);
	cr_expect_arr_eq(public, own, len);
	cr_expect_eq(dhchap_dh_agree(s, peer, len), 0);
	cr_expect_null(s->dh);
	cr_expect_arr_eq(s->secret, v->secret, s->hash_len, "%s", dhchap_group_name(s->group));
	BN_free(p);
}

Test(dhchap, vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct dhchap_key host = key_of(v->host), controller = key_of(v->controller);
		uint8_t response[DHCHAP_HASH_MAX];
		struct dhchap_session s = {
			.parties = {VECTOR_HOST, VECTOR_SUBSYSTEM, &host, &controller},
			.tid = VECTOR_TID,
			.hash = v->hash,
			.group = v->group,
			.hash_len = (uint8_t)dhchap_hash_len(v->hash),
			.s1 = VECTOR_S1,
			.s2 = VECTOR_S2,
		};

		memcpy(s.c1, v->c1, s.hash_len);
		memcpy(s.c2, v->c2, s.hash_len);
		if (s.group)
			agree(&s, v);
		cr_expect_eq(dhchap_response_host(&s, response), 0);
		cr_expect_arr_eq(response, v->r1, s.hash_len, "R1 of row %zu", i);
		cr_expect_eq(dhchap_response_controller(&s, response), 0);
		cr_expect_arr_eq(response, v->r2, s.hash_len, "R2 of row %zu", i);
		dhchap_session_wipe(&s);
	}
}

/* ---- both ends ---- */

#define KEY_A "DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"

static void pair_make(struct pair *p, unsigned int hash, unsigned int group, bool mutual)
{
	*p = (struct pair){.host_key = key_of(KEY_A),
			   .controller_key = key_of(vectors[2].host),
			   .other_key = key_of(vectors[0].host)};
	p->controller.parties =
		(struct dhchap_parties){VECTOR_HOST, VECTOR_SUBSYSTEM, &p->host_key, &p->controller_key};
	p->host.parties = p->controller.parties;
	if (!mutual)
		p->host.parties.controller = NULL;
	p->controller.hashes = DHCHAP_ALL_HASHES;
	p->controller.groups = DHCHAP_ALL_GROUPS;
	p->host.hashes = 1u << hash;
	p->host.groups = 1u << group;
	p->host.tid = 0x1234;
}

Test(dhchap, agree_on_everything)
{
	for (unsigned int hash = DHCHAP_SHA256; hash <= DHCHAP_SHA512; hash++) {
		for (unsigned int group = 0; group < DHCHAP_GROUPS; group++) {
			for (int mutual = 0; mutual < 2; mutual++) {
				struct pair p;

				pair_make(&p, hash, group, mutual);
				pair_run(&p);
				cr_expect_eq(p.host.step, DHCHAP_DONE, "%s %s", dhchap_hash_name(hash),
					     dhchap_group_name(group));
				cr_expect_eq(p.controller.step, DHCHAP_DONE);
				cr_expect(p.controller.authenticated);
				pair_end(&p);
			}
		}
	}
}

Test(dhchap, wrong_keys)
{
	static const struct {
		const char *name;
		bool mutual, wrong_host, wrong_controller, no_controller, theirs;
	} rows[] = {
		{"the host's key", false, true, false, false, true},
		{"the controller's key", true, false, true, false, false},
		{"the controller has no key", true, false, false, true, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pair p;

		pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, rows[i].mutual);
		if (rows[i].wrong_host)
			p.host.parties.host = &p.other_key;
		if (rows[i].wrong_controller)
			p.controller.parties.controller = &p.other_key;
		if (rows[i].no_controller)
			p.controller.parties.controller = NULL;
		pair_run(&p);
		cr_expect_eq(p.host.step, DHCHAP_FAILED, "%s", rows[i].name);
		cr_expect_eq(p.host.fault, DHCHAP_REJECTED, "%s", rows[i].name);
		cr_expect_eq(p.host.fault_is_theirs, rows[i].theirs, "%s", rows[i].name);
		cr_expect_eq(p.controller.step, DHCHAP_FAILED, "%s", rows[i].name);
		cr_expect_not(p.controller.authenticated, "%s", rows[i].name);
		pair_end(&p);
	}
}

/* Another NQN than the key's makes another response. */
Test(dhchap, other_names)
{
	struct pair p;

	pair_make(&p, DHCHAP_SHA384, DHCHAP_NULL, false);
	p.host.parties.hostnqn = "nqn.2026-11.io.example:another";
	pair_run(&p);
	cr_expect_eq(p.host.fault, DHCHAP_REJECTED);
	cr_expect_not(p.controller.authenticated);
	pair_end(&p);
}

Test(dhchap, choice)
{
	struct pair p;

	pair_make(&p, DHCHAP_SHA256, DHCHAP_NULL, false);
	p.host.hashes = DHCHAP_ALL_HASHES;
	p.host.groups = DHCHAP_ALL_GROUPS;
	p.controller.hashes = 1 << DHCHAP_SHA384;
	p.controller.groups = DHCHAP_ALL_GROUPS & ~(1 << DHCHAP_FFDHE3072);
	pair_step(&p);
	cr_expect_eq(p.controller.session.hash, DHCHAP_SHA384);
	cr_expect_eq(p.controller.session.group, DHCHAP_FFDHE2048, "null only if there is nothing else");
	pair_end(&p);
}

/* Again on a queue that is authenticated: it stays so meanwhile, and no longer once it fails. */
Test(dhchap, again)
{
	struct pair p;

	pair_make(&p, DHCHAP_SHA512, DHCHAP_FFDHE2048, true);
	pair_run(&p);
	cr_assert(p.controller.authenticated);
	p.host.step = DHCHAP_NEGOTIATE;
	p.host.tid++;
	pair_step(&p);
	cr_expect(p.controller.authenticated, "while it is done again");
	pair_run(&p);
	cr_expect_eq(p.host.step, DHCHAP_DONE);
	cr_expect(p.controller.authenticated);
	p.host.step = DHCHAP_NEGOTIATE;
	p.host.parties.host = &p.other_key;
	pair_run(&p);
	cr_expect_eq(p.host.step, DHCHAP_FAILED);
	cr_expect_not(p.controller.authenticated);
	pair_end(&p);
}

/* ---- what is malformed ---- */

enum { AT_NEGOTIATE, AT_REPLY, AT_SUCCESS2 }; /* the host's messages */
enum { AT_CHALLENGE, AT_SUCCESS1 };	      /* the controller's */

struct damage {
	const char *name;
	int at;
	size_t offset;
	uint8_t value;
	size_t cut; /* bytes that are missing at the end */
	uint8_t fault;
};

static const struct damage host_damages[] = {
	{"empty", AT_NEGOTIATE, 0, 0, 72, DHCHAP_BAD_PAYLOAD},
	{"no whole head", AT_NEGOTIATE, 0, 0, 67, DHCHAP_BAD_PAYLOAD},
	{"no descriptor", AT_NEGOTIATE, 0, 0, 64, DHCHAP_BAD_PAYLOAD},
	{"descriptor cut", AT_NEGOTIATE, 0, 0, 1, DHCHAP_BAD_PAYLOAD},
	{"two descriptors, one there", AT_NEGOTIATE, 7, 2, 0, DHCHAP_BAD_PAYLOAD},
	{"no protocol at all", AT_NEGOTIATE, 7, 0, 0, DHCHAP_NO_PROTOCOL},
	{"another protocol", AT_NEGOTIATE, 8, 2, 0, DHCHAP_NO_PROTOCOL},
	{"concatenation", AT_NEGOTIATE, 6, 1, 0, DHCHAP_NO_CONCATENATION},
	{"31 hashes", AT_NEGOTIATE, 10, 31, 0, DHCHAP_BAD_PAYLOAD},
	{"31 groups", AT_NEGOTIATE, 11, 31, 0, DHCHAP_BAD_PAYLOAD},
	{"no hash", AT_NEGOTIATE, 10, 0, 0, DHCHAP_NO_HASH},
	{"unknown hash", AT_NEGOTIATE, 12, 4, 0, DHCHAP_NO_HASH},
	{"no group", AT_NEGOTIATE, 11, 0, 0, DHCHAP_NO_GROUP},
	{"unknown group", AT_NEGOTIATE, 42, 6, 0, DHCHAP_NO_GROUP},
	{"unknown message", AT_NEGOTIATE, 1, 5, 0, DHCHAP_BAD_MESSAGE},
	{"unknown type", AT_NEGOTIATE, 0, 2, 0, DHCHAP_BAD_MESSAGE},
	{"of a vendor", AT_NEGOTIATE, 0, 0xff, 0, DHCHAP_BAD_MESSAGE},
	{"REPLY: another transaction", AT_REPLY, 4, 0xff, 0, DHCHAP_BAD_MESSAGE},
	{"REPLY: as SUCCESS2", AT_REPLY, 1, 4, 0, DHCHAP_BAD_MESSAGE},
	{"REPLY: as CHALLENGE", AT_REPLY, 1, 1, 0, DHCHAP_BAD_MESSAGE},
	{"REPLY: common", AT_REPLY, 0, 0, 0, DHCHAP_BAD_MESSAGE},
	{"REPLY: another hash length", AT_REPLY, 6, 48, 0, DHCHAP_BAD_PAYLOAD},
	{"REPLY: C2 perhaps", AT_REPLY, 8, 2, 0, DHCHAP_BAD_PAYLOAD},
	{"REPLY: DH value too long", AT_REPLY, 11, 2, 0, DHCHAP_BAD_PAYLOAD},
	{"REPLY: no DH value", AT_REPLY, 11, 0, 0, DHCHAP_BAD_PAYLOAD},
	{"REPLY: cut", AT_REPLY, 0, 1, 1, DHCHAP_BAD_PAYLOAD},
	{"REPLY: head only", AT_REPLY, 0, 1, 320, DHCHAP_BAD_PAYLOAD},
	{"REPLY: less than a head", AT_REPLY, 0, 1, 321, DHCHAP_BAD_PAYLOAD},
	{"REPLY: another R1", AT_REPLY, 16, 0, 0, DHCHAP_REJECTED},
	{"REPLY: another S2 is no fault of R1", AT_REPLY, 12, 1, 0, DHCHAP_FINE},
	{"SUCCESS2: another transaction", AT_SUCCESS2, 4, 0xff, 0, DHCHAP_BAD_MESSAGE},
	{"SUCCESS2: as REPLY", AT_SUCCESS2, 1, 2, 0, DHCHAP_BAD_MESSAGE},
	{"SUCCESS2: cut", AT_SUCCESS2, 0, 1, 1, DHCHAP_BAD_PAYLOAD},
};

/* Damaged so that it differs, unless it is only cut. */
static void damage(struct pair *p, const struct damage *d)
{
	if (d->offset)
		p->message[d->offset] = p->message[d->offset] == d->value ? ~d->value : d->value;
	else if (!d->cut)
		p->message[0] = d->value;
	p->len -= d->cut;
}

static void expect_failure1(struct pair *p, const char *name, uint8_t fault)
{
	const struct dhchap_failure *m = (const void *)p->message;

	cr_expect_eq(p->controller.step, DHCHAP_FAILURE, "%s: step %d", name, p->controller.step);
	cr_expect_eq(dhchap_controller_give(&p->controller, p->message, sizeof(p->message), &p->len), 0);
	cr_expect_eq(p->len, 8, "%s", name);
	cr_expect(!m->head.type && m->head.id == DHCHAP_ID_FAILURE1 && m->reason == 1, "%s", name);
	cr_expect_eq(m->explanation, fault, "%s: %s", name, dhchap_fault_name(m->explanation));
	cr_expect_eq(p->controller.step, DHCHAP_FAILED, "%s", name);
	cr_expect_not(p->controller.authenticated, "%s", name);
}

Test(dhchap, damaged_by_the_host)
{
	for (size_t i = 0; i < ARRAY_SIZE(host_damages); i++) {
		const struct damage *d = &host_damages[i];
		struct pair p;

		pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, true);
		for (int k = 0; k < 2 * d->at; k++)
			pair_step(&p);
		p.len = dhchap_host_give(&p.host, p.message);
		damage(&p, d);
		dhchap_controller_take(&p.controller, p.message, p.len);
		if (d->fault)
			expect_failure1(&p, d->name, d->fault);
		else
			cr_expect_eq(p.controller.step, DHCHAP_SUCCESS1, "%s", d->name);
		pair_end(&p);
	}
}

static const struct damage controller_damages[] = {
	{"empty", AT_CHALLENGE, 0, 0, 304, DHCHAP_BAD_PAYLOAD},
	{"no values", AT_CHALLENGE, 0, 0, 288, DHCHAP_BAD_PAYLOAD},
	{"cut", AT_CHALLENGE, 0, 0, 1, DHCHAP_BAD_PAYLOAD},
	{"another transaction", AT_CHALLENGE, 5, 0xff, 0, DHCHAP_BAD_MESSAGE},
	{"not yet due", AT_CHALLENGE, 1, 3, 0, DHCHAP_BAD_MESSAGE},
	{"a hash that was not offered", AT_CHALLENGE, 8, 2, 0, DHCHAP_NO_HASH},
	{"no such hash", AT_CHALLENGE, 8, 77, 0, DHCHAP_NO_HASH},
	{"a group that was not offered", AT_CHALLENGE, 9, 2, 0, DHCHAP_NO_GROUP},
	{"no such group", AT_CHALLENGE, 9, 40, 0, DHCHAP_NO_GROUP},
	{"another hash length", AT_CHALLENGE, 6, 64, 0, DHCHAP_BAD_PAYLOAD},
	{"DH value too long", AT_CHALLENGE, 11, 2, 0, DHCHAP_BAD_PAYLOAD},
	{"no DH value", AT_CHALLENGE, 11, 0, 0, DHCHAP_BAD_PAYLOAD},
	{"SUCCESS1: no R2", AT_SUCCESS1, 8, 0, 0, DHCHAP_REJECTED},
	{"SUCCESS1: another R2", AT_SUCCESS1, 16, 0, 0, DHCHAP_REJECTED},
	{"SUCCESS1: another hash length", AT_SUCCESS1, 6, 16, 0, DHCHAP_BAD_PAYLOAD},
	{"SUCCESS1: cut", AT_SUCCESS1, 0, 1, 1, DHCHAP_BAD_PAYLOAD},
	{"SUCCESS1: again a challenge", AT_SUCCESS1, 1, 1, 0, DHCHAP_BAD_MESSAGE},
	{"SUCCESS1: another transaction", AT_SUCCESS1, 4, 0, 0, DHCHAP_BAD_MESSAGE},
};

Test(dhchap, damaged_by_the_controller)
{
	for (size_t i = 0; i < ARRAY_SIZE(controller_damages); i++) {
		const struct damage *d = &controller_damages[i];
		const struct dhchap_failure *m;
		struct pair p;

		pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, true);
		for (int k = 0; k < 1 + 2 * d->at; k++)
			pair_step(&p);
		cr_assert_eq(dhchap_controller_give(&p.controller, p.message, sizeof(p.message), &p.len), 0);
		damage(&p, d);
		dhchap_host_take(&p.host, p.message, p.len);
		cr_expect_eq(p.host.step, DHCHAP_FAILURE, "%s", d->name);
		cr_expect_eq(p.host.fault, d->fault, "%s: %s", d->name, dhchap_fault_name(p.host.fault));
		p.len = dhchap_host_give(&p.host, p.message);
		m = (const void *)p.message;
		cr_expect(p.len == 8 && !m->head.type && m->head.id == DHCHAP_ID_FAILURE2, "%s", d->name);
		dhchap_controller_take(&p.controller, p.message, p.len);
		cr_expect_eq(p.controller.step, DHCHAP_FAILED, "%s", d->name);
		cr_expect_eq(p.controller.fault, d->fault, "%s", d->name);
		pair_end(&p);
	}
}

/* 0, 1, p - 1, p and more are no values of the group: they would fix what is agreed on. */
Test(dhchap, degenerate_values)
{
	for (int row = 0; row < 5; row++) {
		struct pair p;
		struct dhchap_session s = {.group = DHCHAP_FFDHE2048};
		BIGNUM *v = group_prime(&s);
		uint8_t *at;

		pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, false);
		pair_step(&p);
		pair_step(&p);
		p.len = dhchap_host_give(&p.host, p.message);
		at = p.message + p.len - 256;
		if (row == 0 || row == 1)
			BN_set_word(v, row);
		else if (row == 2)
			BN_sub_word(v, 1);
		else if (row == 4)
			BN_add_word(v, 2);
		BN_bn2binpad(v, at, 256);
		dhchap_controller_take(&p.controller, p.message, p.len);
		expect_failure1(&p, "degenerate", DHCHAP_BAD_PAYLOAD);
		BN_free(v);
		dhchap_session_wipe(&s);
		pair_end(&p);
	}
}

/* The controller's own challenge sent back: it is not answered for whoever does that. */
Test(dhchap, reflected)
{
	struct pair p;

	pair_make(&p, DHCHAP_SHA256, DHCHAP_NULL, true);
	pair_step(&p);
	pair_step(&p);
	p.len = dhchap_host_give(&p.host, p.message);
	memcpy(p.message + 16 + 32, p.controller.session.c1, 32);
	dhchap_controller_take(&p.controller, p.message, p.len);
	expect_failure1(&p, "reflected", DHCHAP_REJECTED);
	pair_end(&p);
}

/* A message that the controller is not due to give is none, and short room changes nothing. */
Test(dhchap, turns)
{
	struct pair p;
	size_t len = 1;

	pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, true);
	cr_expect_eq(dhchap_controller_give(&p.controller, p.message, sizeof(p.message), &len), 0);
	cr_expect_eq(len, 0, "before NEGOTIATE");
	cr_expect_not(dhchap_controller_waits(&p.controller));
	pair_step(&p);
	cr_expect(dhchap_controller_waits(&p.controller));
	cr_expect_eq(dhchap_controller_give(&p.controller, p.message, 303, &len), -EMSGSIZE);
	cr_expect_eq(p.controller.step, DHCHAP_CHALLENGE);
	cr_expect_eq(dhchap_controller_give(&p.controller, p.message, 304, &len), 0);
	cr_expect_eq(len, 304);
	cr_expect_eq(dhchap_controller_give(&p.controller, p.message + 400, 304, &len), 0);
	cr_expect_eq(len, 0, "twice");
	dhchap_host_take(&p.host, p.message, 304);
	pair_run(&p);
	cr_expect_eq(p.controller.step, DHCHAP_DONE);
	cr_expect_not(dhchap_controller_waits(&p.controller));
	pair_end(&p);
}

/* The host may begin anew at any time but after a failure. */
Test(dhchap, begins_anew)
{
	struct pair p;

	pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, true);
	pair_step(&p);
	pair_step(&p);
	p.host.step = DHCHAP_NEGOTIATE;
	p.host.tid = 9;
	pair_run(&p);
	cr_expect(p.controller.authenticated);
	pair_end(&p);

	pair_make(&p, DHCHAP_SHA256, DHCHAP_FFDHE2048, true);
	p.host.parties.host = &p.other_key;
	pair_run(&p);
	p.host.step = DHCHAP_NEGOTIATE;
	p.host.parties.host = &p.host_key;
	pair_step(&p);
	cr_expect_eq(p.controller.step, DHCHAP_FAILED);
	pair_end(&p);
}

/* Any bytes in any step: nothing is read past the end (ASan), and no garbage authenticates. */
Test(dhchap, garbage)
{
	uint32_t seed = 1;

	for (int round = 0; round < 3000; round++) {
		struct pair p;
		int steps = round % 4;
		size_t len = round % 97;
		uint8_t *exact;

		pair_make(&p, DHCHAP_SHA256, DHCHAP_NULL, true);
		for (int k = 0; k < steps; k++)
			pair_step(&p);
		exact = malloc(len + 1);
		for (size_t i = 0; i < len; i++)
			exact[i] = (seed = seed * 1664525 + 1013904223) >> 24;
		if (len > 1 && round % 3) {
			exact[0] = round % 2;
			exact[1] = round % 5;
		}
		if (len > 5 && round % 7) {
			exact[4] = 0x34;
			exact[5] = 0x12;
		}
		dhchap_controller_take(&p.controller, exact, len);
		cr_expect_not(p.controller.authenticated);
		dhchap_host_take(&p.host, exact, len);
		cr_expect_neq(p.host.step, DHCHAP_DONE);
		free(exact);
		pair_end(&p);
	}
}
