// SPDX-License-Identifier: Apache-2.0
/*
 * DH-HMAC-CHAP keys: their text form and what is made of them for an NQN; and the names of algorithms and failures.
 * Called by whoever reads key files and by dhchap_crypto.c. Pure; nothing here says a word of a secret.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/util.h"
#include "nvme/dhchap.h"
#include "nvme/secret_text.h"

#define KEY_FORM "write it as in DHHC-1:01:...:, as `nvme gen-dhchap-key` does"

/* ---- names ---- */

static const char *const hash_names[] = {
	[DHCHAP_SHA256] = "sha256", [DHCHAP_SHA384] = "sha384", [DHCHAP_SHA512] = "sha512"};
static const char *const group_names[] = {
	[DHCHAP_NULL] = "null",		  [DHCHAP_FFDHE2048] = "ffdhe2048", [DHCHAP_FFDHE3072] = "ffdhe3072",
	[DHCHAP_FFDHE4096] = "ffdhe4096", [DHCHAP_FFDHE6144] = "ffdhe6144", [DHCHAP_FFDHE8192] = "ffdhe8192"};
static const char *const fault_names[] = {
	[DHCHAP_FINE] = "no failure",
	[DHCHAP_REJECTED] = "authentication failed",
	[DHCHAP_NO_PROTOCOL] = "authentication protocol not usable",
	[DHCHAP_NO_CONCATENATION] = "secure channel concatenation mismatch",
	[DHCHAP_NO_HASH] = "hash function not usable",
	[DHCHAP_NO_GROUP] = "DH group not usable",
	[DHCHAP_BAD_PAYLOAD] = "incorrect payload",
	[DHCHAP_BAD_MESSAGE] = "incorrect protocol message",
};

static const char *name(const char *const *names, size_t n, uint8_t number)
{
	return number < n && names[number] ? names[number] : "unknown";
}

static int number(const char *const *names, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		if (names[i] && !strcmp(names[i], text))
			return (int)i;
	}
	return -EINVAL;
}

const char *dhchap_fault_name(uint8_t fault)
{
	return name(fault_names, ARRAY_SIZE(fault_names), fault);
}

const char *dhchap_hash_name(uint8_t hash)
{
	return name(hash_names, ARRAY_SIZE(hash_names), hash);
}

const char *dhchap_group_name(uint8_t group)
{
	return name(group_names, ARRAY_SIZE(group_names), group);
}

int dhchap_hash_number(const char *text)
{
	return number(hash_names, ARRAY_SIZE(hash_names), text);
}

int dhchap_group_number(const char *text)
{
	return number(group_names, ARRAY_SIZE(group_names), text);
}

size_t dhchap_hash_len(uint8_t hash)
{
	static const uint8_t lengths[] = {[DHCHAP_SHA256] = 32, [DHCHAP_SHA384] = 48, [DHCHAP_SHA512] = 64};

	return hash < ARRAY_SIZE(lengths) ? lengths[hash] : 0;
}

/* ---- text ---- */

int dhchap_key_parse(const char *text, struct dhchap_key *ret_key, struct error *err)
{
	static const char prefix[] = "DHHC-1:";
	struct dhchap_key key = {0};
	const char *fault;
	size_t len;
	int hash;

	if (strncmp(text, prefix, sizeof(prefix) - 1))
		return error_set(err, EINVAL, "no DH-HMAC-CHAP key: it does not begin with DHHC-1: ; " KEY_FORM);
	text += sizeof(prefix) - 1;
	hash = secret_text_hash(text, DHCHAP_SHA512);
	if (hash < 0)
		return error_set(err, EINVAL, "no DH-HMAC-CHAP key: behind DHHC-1: stands 00, 01, 02 or 03; " KEY_FORM);
	fault = secret_text_decode(text + 3, key.bytes, sizeof(key.bytes), &len);
	if (!fault && len != 32 && len != 48 && len != 64)
		fault = "it has a length of its own; keys have 32, 48 or 64 bytes";
	if (fault) {
		dhchap_key_wipe(&key);
		return error_set(err, EINVAL, "no DH-HMAC-CHAP key: %s; make a new one with `nvme gen-dhchap-key`",
				 fault);
	}
	key.len = (uint8_t)len;
	key.hash = (uint8_t)hash;
	*ret_key = key;
	dhchap_key_wipe(&key);
	return 0;
}

/* ---- transformation (Base 2.0, section 8.13.5.8) ---- */

int dhchap_key_transform(const struct dhchap_key *key, const char *nqn, struct dhchap_key *ret_key)
{
	static const char suffix[] = "NVMe-over-Fabrics";
	const EVP_MD *const hashes[] = {NULL, EVP_sha256(), EVP_sha384(), EVP_sha512()};
	size_t nqn_len = strlen(nqn);
	struct dhchap_key key_of_nqn = {0};
	uint8_t text[256 + sizeof(suffix)];
	unsigned int len;

	if (!key->hash) {
		*ret_key = *key;
		return 0;
	}
	if (key->hash >= ARRAY_SIZE(hashes) || nqn_len > 256)
		return -EINVAL;
	memcpy(text, nqn, nqn_len);
	memcpy(text + nqn_len, suffix, sizeof(suffix) - 1);
	if (!HMAC(hashes[key->hash], key->bytes, key->len, text, nqn_len + sizeof(suffix) - 1, key_of_nqn.bytes, &len))
		return -EIO;
	key_of_nqn.len = (uint8_t)len;
	*ret_key = key_of_nqn;
	dhchap_key_wipe(&key_of_nqn);
	return 0;
}

void dhchap_key_wipe(struct dhchap_key *key)
{
	OPENSSL_cleanse(key, sizeof(*key));
}
