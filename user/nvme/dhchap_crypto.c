// SPDX-License-Identifier: Apache-2.0
/*
 * The cryptography of DH-HMAC-CHAP over OpenSSL: Diffie-Hellman in the groups of RFC 7919, the hash of what it agrees
 * on, the responses of both ends, and a PSK for TLS. Called by dhchap_controller.c and dhchap_host.c. What always
 * holds: no secret is left behind in memory that goes out of use.
 */
#include <endian.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/dh.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "nvme/dhchap_message.h"

static void pkey_freep(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static void context_freep(EVP_PKEY_CTX **context)
{
	EVP_PKEY_CTX_free(*context);
}

#define _cleanup_pkey_	  _cleanup_(pkey_freep)
#define _cleanup_context_ _cleanup_(context_freep)
#define _cleanup_mac_	  _cleanup_(mac_freep)

static const EVP_MD *hash_function(uint8_t hash)
{
	switch (hash) {
	case DHCHAP_SHA256:
		return EVP_sha256();
	case DHCHAP_SHA384:
		return EVP_sha384();
	default:
		return EVP_sha512();
	}
}

/* ---- Diffie-Hellman ---- */

size_t dhchap_dh_len(uint8_t group)
{
	static const uint16_t lengths[DHCHAP_GROUPS] = {
		[DHCHAP_FFDHE2048] = 256, [DHCHAP_FFDHE3072] = 384,  [DHCHAP_FFDHE4096] = 512,
		[DHCHAP_FFDHE6144] = 768, [DHCHAP_FFDHE8192] = 1024,
	};

	return group < DHCHAP_GROUPS ? lengths[group] : 0;
}

static OSSL_PARAM group_param(uint8_t group)
{
	return OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)dhchap_group_name(group), 0);
}

int dhchap_dh_make(struct dhchap_session *s)
{
	_cleanup_context_ EVP_PKEY_CTX *context = NULL;
	const OSSL_PARAM params[] = {group_param(s->group), OSSL_PARAM_construct_end()};

	if (s->group == DHCHAP_NULL)
		return 0;
	context = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	if (!context || EVP_PKEY_keygen_init(context) <= 0 || EVP_PKEY_CTX_set_params(context, params) <= 0 ||
	    EVP_PKEY_keygen(context, &s->dh) <= 0)
		return -EIO;
	return 0;
}

int dhchap_dh_public(const struct dhchap_session *s, void *ret_value)
{
	int len = (int)dhchap_dh_len(s->group), ret = -EIO;
	BIGNUM *value = NULL;

	if (EVP_PKEY_get_bn_param(s->dh, OSSL_PKEY_PARAM_PUB_KEY, &value) > 0 &&
	    BN_bn2binpad(value, ret_value, len) == len)
		ret = 0;
	BN_free(value);
	return ret;
}

/* The peer's public value as a key of the group. -EINVAL: 0, 1, p - 1, or more: it would give the secret away. */
static int peer_key(uint8_t group, const void *value, size_t len, EVP_PKEY **ret_key)
{
	_cleanup_context_ EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	_cleanup_context_ EVP_PKEY_CTX *check = NULL;
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	uint8_t native[DHCHAP_DH_MAX];
	OSSL_PARAM params[3];
	size_t i;

	/* OpenSSL takes numbers in the machine's own byte order. */
	for (i = 0; i < len; i++)
		native[i] = ((const uint8_t *)value)[__BYTE_ORDER == __LITTLE_ENDIAN ? len - 1 - i : i];
	params[0] = group_param(group);
	params[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PUB_KEY, native, len);
	params[2] = OSSL_PARAM_construct_end();
	if (!context || EVP_PKEY_fromdata_init(context) <= 0 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		return -EINVAL;
	check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	if (!check)
		return -EIO;
	if (EVP_PKEY_public_check_quick(check) <= 0)
		return -EINVAL;
	*ret_key = TAKE_PTR(key);
	return 0;
}

static int derive(const struct dhchap_session *s, EVP_PKEY *peer, uint8_t ret_shared[DHCHAP_DH_MAX])
{
	_cleanup_context_ EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, s->dh, NULL);
	size_t len = DHCHAP_DH_MAX;

	if (!context || EVP_PKEY_derive_init(context) <= 0 || EVP_PKEY_CTX_set_dh_pad(context, 1) <= 0 ||
	    EVP_PKEY_derive_set_peer(context, peer) <= 0 || EVP_PKEY_derive(context, ret_shared, &len) <= 0 ||
	    len != dhchap_dh_len(s->group))
		return -EIO;
	return 0;
}

int dhchap_dh_agree(struct dhchap_session *s, const void *peer, size_t len)
{
	_cleanup_pkey_ EVP_PKEY *key = NULL;
	uint8_t shared[DHCHAP_DH_MAX];
	int r;

	r = peer_key(s->group, peer, len, &key);
	if (!r)
		r = derive(s, key, shared);
	if (!r && EVP_Digest(shared, dhchap_dh_len(s->group), s->secret, NULL, hash_function(s->hash), NULL) <= 0)
		r = -EIO;
	OPENSSL_cleanse(shared, sizeof(shared));
	EVP_PKEY_free(s->dh);
	s->dh = NULL;
	return r;
}

/* ---- responses ---- */

/* What of a challenge goes into a response: itself, or with a DH group its HMAC under the secret. */
static int augment(const struct dhchap_session *s, const uint8_t *challenge, uint8_t ret_value[DHCHAP_HASH_MAX])
{
	if (s->group == DHCHAP_NULL) {
		memcpy(ret_value, challenge, s->hash_len);
		return 0;
	}
	return HMAC(hash_function(s->hash), s->secret, s->hash_len, challenge, s->hash_len, ret_value, NULL) ? 0 : -EIO;
}

/* Appends to what an HMAC is made over; there is room. */
static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

/* One end's response: the key's owner is `nqn`, `other` is at the other end. */
static int respond(const struct dhchap_session *s, const struct dhchap_key *key, const uint8_t *challenge,
		   uint32_t sequence, uint8_t concatenation, const char *label, const char *nqn, const char *other,
		   uint8_t ret_response[DHCHAP_HASH_MAX])
{
	uint8_t text[DHCHAP_HASH_MAX + 32 + 2 * 256], *at = text;
	const __le32 sequence_le = htole32(sequence);
	const __le16 tid_le = htole16(s->tid);
	struct dhchap_key of_nqn;
	int r;

	if (strlen(nqn) > 256 || strlen(other) > 256)
		return -EINVAL;
	r = dhchap_key_transform(key, nqn, &of_nqn);
	if (!r)
		r = augment(s, challenge, text);
	if (r)
		return r;
	at += s->hash_len;
	at = put(at, &sequence_le, sizeof(sequence_le));
	at = put(at, &tid_le, sizeof(tid_le));
	*at++ = concatenation;
	at = put(at, label, strlen(label));
	at = put(at, nqn, strlen(nqn));
	*at++ = 0;
	at = put(at, other, strlen(other));
	if (!HMAC(hash_function(s->hash), of_nqn.bytes, of_nqn.len, text, (size_t)(at - text), ret_response, NULL))
		r = -EIO;
	dhchap_key_wipe(&of_nqn);
	OPENSSL_cleanse(text, s->hash_len);
	return r;
}

int dhchap_response_host(const struct dhchap_session *s, uint8_t ret_response[DHCHAP_HASH_MAX])
{
	const struct dhchap_parties *p = &s->parties;

	return respond(s, p->host, s->c1, s->s1, s->concatenation, "HostHost", p->hostnqn, p->subnqn, ret_response);
}

int dhchap_response_controller(const struct dhchap_session *s, uint8_t ret_response[DHCHAP_HASH_MAX])
{
	const struct dhchap_parties *p = &s->parties;

	/* What was asked for stands in the host's response alone. */
	return respond(s, p->controller, s->c2, s->s2, 0, "Controller", p->subnqn, p->hostnqn, ret_response);
}

/* ---- the PSK of a concatenation (Base 2.1, section 8.3.4.5.9) ---- */

int dhchap_psk_make(const struct dhchap_session *s, struct dhchap_psk *ret_psk)
{
	uint8_t text[2 * DHCHAP_HASH_MAX];
	struct dhchap_psk psk = {.len = s->hash_len};
	int r = 0;

	put(put(text, s->c1, s->hash_len), s->c2, s->hash_len);
	if (!HMAC(hash_function(s->hash), s->secret, s->hash_len, text, 2u * s->hash_len, psk.bytes, NULL))
		r = -EIO;
	if (!r)
		*ret_psk = psk;
	OPENSSL_cleanse(&psk, sizeof(psk));
	return r;
}

/* ---- the rest ---- */

int dhchap_random(void *ret_bytes, size_t len)
{
	return RAND_bytes(ret_bytes, (int)len) > 0 ? 0 : -EIO;
}

int dhchap_sequence(uint32_t *ret_number)
{
	uint32_t number = 0;
	int r = 0;

	/* 0 means something else (no response is wanted); a random number does not repeat sooner than a counter. */
	while (!r && !number)
		r = dhchap_random(&number, sizeof(number));
	if (!r)
		*ret_number = number;
	return r;
}

bool dhchap_same(const void *a, const void *b, size_t len)
{
	return !CRYPTO_memcmp(a, b, len);
}

void dhchap_session_wipe(struct dhchap_session *s)
{
	EVP_PKEY_free(s->dh);
	OPENSSL_cleanse(s, sizeof(*s));
}

/* ---- messages that both ends make ---- */

struct dhchap_head dhchap_head_make(uint8_t type, uint8_t id, uint16_t tid)
{
	return (struct dhchap_head){.type = type, .id = id, .tid = htole16(tid)};
}

size_t dhchap_failure_make(uint8_t id, uint16_t tid, uint8_t fault, void *buf)
{
	const struct dhchap_failure failure = {
		.head = dhchap_head_make(DHCHAP_TYPE_COMMON, id, tid),
		.reason = DHCHAP_REASON,
		.explanation = fault,
	};

	memcpy(buf, &failure, sizeof(failure));
	return sizeof(failure);
}
