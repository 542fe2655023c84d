// SPDX-License-Identifier: Apache-2.0
/*
 * Derivation of TLS PSKs over OpenSSL's HMAC. Called by storage/host_keys.c and the initiator. What always holds: keys
 * in between are wiped on every way out.
 */
#include "nvme/tls_psk.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "nvme/secret_text.h"

#define KEY_FORM    "write it as in NVMeTLSkey-1:01:...:, as `nvme gen-tls-key` does"
#define CONTEXT_MAX 255 /* RFC 8446, 7.1 */

/* ---- text ---- */

int tls_psk_parse(const char *text, struct tls_psk_key *ret_key, struct error *err)
{
	static const char prefix[] = "NVMeTLSkey-1:";
	struct tls_psk_key key = {0};
	const char *fault;
	size_t len;
	int hash;

	if (strncmp(text, prefix, sizeof(prefix) - 1))
		return error_set(err, EINVAL, "no TLS key: it does not begin with NVMeTLSkey-1: ; " KEY_FORM);
	text += sizeof(prefix) - 1;
	hash = secret_text_hash(text, TLS_PSK_SHA384);
	if (hash < 0)
		return error_set(err, EINVAL, "no TLS key: behind NVMeTLSkey-1: stands 00, 01 or 02; " KEY_FORM);
	fault = secret_text_decode(text + 3, key.bytes, sizeof(key.bytes), &len);
	if (!fault && len != 32 && len != 48)
		fault = "it has a length of its own; keys have 32 or 48 bytes";
	if (!fault && hash && len != (hash == TLS_PSK_SHA256 ? 32 : 48))
		fault = "its length is not that of its hash (01: 32 bytes, 02: 48)";
	if (fault) {
		secret_wipe(&key, sizeof(key));
		return error_set(err, EINVAL, "no TLS key: %s; make a new one with `nvme gen-tls-key`", fault);
	}
	key.len = (uint8_t)len;
	key.hash = (uint8_t)hash;
	*ret_key = key;
	secret_wipe(&key, sizeof(key));
	return 0;
}

/* ---- derivation ---- */

static const EVP_MD *hash_function(uint8_t hash)
{
	return hash == TLS_PSK_SHA256 ? EVP_sha256() : EVP_sha384();
}

static size_t hash_len(uint8_t hash)
{
	return hash == TLS_PSK_SHA256 ? 32 : 48;
}

/*
 * HKDF-Extract (RFC 5869) without salt, then HKDF-Expand-Label (RFC 8446, 7.1) of one hash's length. `bare`: as nvme-cli
 * 2.13 has the label, without the lengths of its parts, and with the low byte of the key's length first.
 */
static int derive(uint8_t hash, const uint8_t *key, size_t key_len, const char *label, const char *context, bool bare,
		  uint8_t ret_key[TLS_PSK_MAX])
{
	static const uint8_t salt[TLS_PSK_MAX];
	size_t len = hash_len(hash), label_len = strlen(label), context_len = strlen(context);
	uint8_t info[2 + 1 + 32 + 1 + CONTEXT_MAX + 1], *at = info, prk[EVP_MAX_MD_SIZE];
	int r = 0;

	if (context_len > CONTEXT_MAX)
		return -ENAMETOOLONG;
	*at++ = bare ? (uint8_t)len : (uint8_t)(len >> 8);
	*at++ = bare ? (uint8_t)(len >> 8) : (uint8_t)len;
	if (!bare)
		*at++ = (uint8_t)(6 + label_len);
	at = (uint8_t *)mempcpy(at, "tls13 ", 6);
	at = (uint8_t *)mempcpy(at, label, label_len);
	if (!bare)
		*at++ = (uint8_t)context_len;
	at = (uint8_t *)mempcpy(at, context, context_len);
	*at++ = 1; /* the first and only block */
	if (!HMAC(hash_function(hash), salt, (int)len, key, key_len, prk, NULL) ||
	    !HMAC(hash_function(hash), prk, (int)len, info, (size_t)(at - info), ret_key, NULL))
		r = -EIO;
	secret_wipe(prk, sizeof(prk));
	return r;
}

/* Base64 of the digest that version 1 has in its identity. */
static int digest(uint8_t hash, const uint8_t *key, const char *hostnqn, const char *subnqn,
		  char ret_text[EVP_MAX_MD_SIZE * 2])
{
	char text[2 * 224 + 32];
	uint8_t value[EVP_MAX_MD_SIZE];
	int len = snprintf(text, sizeof(text), "%s %s NVMe-over-Fabrics", hostnqn, subnqn);

	if (len >= (int)sizeof(text))
		return -ENAMETOOLONG;
	if (!HMAC(hash_function(hash), key, (int)hash_len(hash), (const uint8_t *)text, (size_t)len, value, NULL))
		return -EIO;
	EVP_EncodeBlock((unsigned char *)ret_text, value, (int)hash_len(hash));
	return 0;
}

/* Identity and context of the PSK; kind: 'R'etained or 'G'enerated. */
static int name(char kind, uint8_t hash, const uint8_t *key, const char *hostnqn, const char *subnqn, int version,
		char ret_identity[TLS_PSK_IDENTITY_MAX], char ret_context[TLS_PSK_IDENTITY_MAX])
{
	char text[EVP_MAX_MD_SIZE * 2];
	int r, n;

	if (version == 0) {
		n = snprintf(ret_identity, TLS_PSK_IDENTITY_MAX, "NVMe0%c%02u %s %s", kind, hash, hostnqn, subnqn);
		strcpy(ret_context, ret_identity);
		return n < TLS_PSK_IDENTITY_MAX ? 0 : -ENAMETOOLONG;
	}
	r = digest(hash, key, hostnqn, subnqn, text);
	if (r)
		return r;
	n = snprintf(ret_identity, TLS_PSK_IDENTITY_MAX, "NVMe1%c%02u %s %s %s", kind, hash, hostnqn, subnqn, text);
	snprintf(ret_context, TLS_PSK_IDENTITY_MAX, "%02u %s", hash, text);
	return n < TLS_PSK_IDENTITY_MAX ? 0 : -ENAMETOOLONG;
}

/* From a retained or generated key, which has the length of its hash, on. */
static int finish(char kind, uint8_t hash, const uint8_t *key, const char *hostnqn, const char *subnqn, int version,
		  struct tls_psk *ret_psk)
{
	struct tls_psk psk = {.hash = hash, .len = (uint8_t)hash_len(hash)};
	bool bare = version == TLS_PSK_BARE;
	char context[TLS_PSK_IDENTITY_MAX];
	int r = name(kind, hash, key, hostnqn, subnqn, version, psk.identity, context);

	if (!r)
		r = derive(hash, key, psk.len, "nvme-tls-psk", context, bare, psk.bytes);
	if (!r)
		*ret_psk = psk;
	secret_wipe(&psk, sizeof(psk));
	return r;
}

int tls_psk_generated(const void *key, size_t len, const char *hostnqn, const char *subnqn, int version,
		      struct tls_psk *ret_psk)
{
	if (len != 32 && len != 48)
		return -EINVAL;
	return finish('G', len == 32 ? TLS_PSK_SHA256 : TLS_PSK_SHA384, key, hostnqn, subnqn, version, ret_psk);
}

int tls_psk_derive(const struct tls_psk_key *key, const char *hostnqn, const char *subnqn, int version,
		   struct tls_psk *ret_psk)
{
	uint8_t hash = key->hash ? key->hash : key->len == 32 ? TLS_PSK_SHA256 : TLS_PSK_SHA384;
	uint8_t retained[TLS_PSK_MAX];
	int r = 0;

	if (key->hash)
		r = derive(hash, key->bytes, key->len, "HostNQN", hostnqn, version == TLS_PSK_BARE, retained);
	else
		memcpy(retained, key->bytes, key->len);
	if (!r)
		r = finish('R', hash, retained, hostnqn, subnqn, version, ret_psk);
	secret_wipe(retained, sizeof(retained));
	return r;
}
