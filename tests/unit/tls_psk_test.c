// SPDX-License-Identifier: Apache-2.0
/*
 * TLS PSKs of NVMe/TCP: their text, vectors that an independent program made, and the identities that nvme-cli's own
 * tests state for a key.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "nvme/tls_psk.h"

struct vector {
	const char *key;
	int version, hash;
	const char *hostnqn, *subnqn, *identity, *psk;
};

#include "tls_psk_vectors.h"

#define KEY_32 "VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:"
#define KEY_48 "VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwP/w0S89ELi3W2LxIcLXVsDn8kXZQ==:"

static const struct {
	const char *text, *fault; /* NULL: it is good */
	uint8_t len, hash;
} rows[] = {
	{"NVMeTLSkey-1:00:" KEY_32, NULL, 32, 0},
	{"NVMeTLSkey-1:01:" KEY_32, NULL, 32, 1},
	{"NVMeTLSkey-1:00:" KEY_48, NULL, 48, 0},
	{"NVMeTLSkey-1:02:" KEY_48, NULL, 48, 2},
	{"NVMeTLSkey-1:02:" KEY_32, "not that of its hash", 0, 0},
	{"NVMeTLSkey-1:01:" KEY_48, "not that of its hash", 0, 0},
	{"NVMeTLSkey-1:03:" KEY_48, "00, 01 or 02", 0, 0},
	{"NVMeTLSkey-2:01:" KEY_32, "does not begin", 0, 0},
	{"DHHC-1:01:" KEY_32, "does not begin", 0, 0},
	{"NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrY:", "checksum", 0, 0},
	{"NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ", "colon", 0, 0},
	{"NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9Lr:", "base64", 0, 0},
	{"NVMeTLSkey-1:00:"
	 "iaqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq:",
	 "base64", 0, 0},
	{"NVMeTLSkey-1:00:AQIDBAUGBwg+yVeHYw==:", "checksum", 0, 0},
};

Test(tls_psk, texts)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tls_psk_key key = {.len = 99};
		struct error err = {0};
		int r = tls_psk_parse(rows[i].text, &key, &err);

		if (!rows[i].fault) {
			cr_expect_eq(r, 0, "%s: %s", rows[i].text, err.text);
			cr_expect_eq(key.len, rows[i].len);
			cr_expect_eq(key.hash, rows[i].hash);
			continue;
		}
		cr_expect_eq(r, -EINVAL, "%s", rows[i].text);
		cr_expect(strstr(err.text, rows[i].fault), "%s: %s", rows[i].text, err.text);
		cr_expect_eq(key.len, 99, "touched on failure");
		cr_expect_not(strstr(err.text, "VRLb"), "it says the secret");
	}
}

static struct tls_psk_key key_of(const char *text)
{
	struct tls_psk_key key;
	struct error err;

	cr_assert_eq(tls_psk_parse(text, &key, &err), 0, "%s", err.text);
	return key;
}

Test(tls_psk, vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct tls_psk_key key = key_of(v->key);
		struct tls_psk psk;

		cr_assert_eq(tls_psk_derive(&key, v->hostnqn, v->subnqn, v->version, &psk), 0);
		cr_expect_str_eq(psk.identity, v->identity);
		cr_expect_eq(psk.hash, v->hash);
		cr_expect_eq(psk.len, v->hash == TLS_PSK_SHA256 ? 32 : 48);
		cr_expect_arr_eq(psk.bytes, v->psk, psk.len, "row %zu", i);
	}
}

/* What nvme-cli's library states for this key and these names. */
Test(tls_psk, known_identities)
{
	struct tls_psk_key key = key_of("NVMeTLSkey-1:01:" KEY_32);
	struct tls_psk psk;

	cr_assert_eq(tls_psk_derive(&key, "nqn.psk-test-host", "nqn.psk-test-subsys", 1, &psk), 0);
	cr_expect_str_eq(psk.identity, "NVMe1R01 nqn.psk-test-host nqn.psk-test-subsys "
				       "iSbjiStwJ/1TrTvDlt2fjFmzvsytOJelidNnA+X5lEU=");
	key = key_of("NVMeTLSkey-1:02:" KEY_48);
	cr_assert_eq(tls_psk_derive(&key, "nqn.psk-test-host", "nqn.psk-test-subsys", 1, &psk), 0);
	cr_expect_str_eq(psk.identity, "NVMe1R02 nqn.psk-test-host nqn.psk-test-subsys "
				       "QhW2+Rp6RzHlNtCslyRxMnwJ11tKKhz8JCAQpQ+XUD8f9td1VeH5h53yz2wKJG1a");
}

/* The longest NQNs: version 1 has room for them, version 0 only for 255 bytes in all. */
Test(tls_psk, long_names)
{
	struct tls_psk_key key = key_of("NVMeTLSkey-1:02:" KEY_48);
	char host[224], sub[224];
	struct tls_psk psk;

	memset(host, 'h', 223);
	memset(sub, 's', 223);
	host[223] = sub[223] = 0;
	cr_expect_eq(tls_psk_derive(&key, host, sub, 1, &psk), 0);
	cr_expect_eq(strlen(psk.identity), TLS_PSK_IDENTITY_MAX - 1);
	cr_expect_eq(tls_psk_derive(&key, host, sub, 0, &psk), -ENAMETOOLONG);
	host[122] = sub[123] = 0;
	cr_expect_eq(tls_psk_derive(&key, host, sub, 0, &psk), 0);
	cr_expect_eq(strlen(psk.identity), 255);
	host[122] = 'h';
	host[123] = 0;
	cr_expect_eq(tls_psk_derive(&key, host, sub, 0, &psk), -ENAMETOOLONG);
}

/* What nvme-cli 2.13 (Debian 13) says of this key. That the PSK behind it is the same is seen by tests/vm/cases/tls.sh. */
Test(tls_psk, as_nvme_cli_2_13_derives_it)
{
	struct tls_psk_key key;
	struct tls_psk psk, own;
	struct error err;

	cr_assert_eq(tls_psk_parse("NVMeTLSkey-1:01:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+KfiaR:", &key, &err), 0);
	cr_assert_eq(tls_psk_derive(&key, "nqn.2014-08.io.example:host", "nqn.2014-08.io.example:sub", TLS_PSK_BARE, &psk), 0);
	cr_expect_str_eq(psk.identity, "NVMe1R01 nqn.2014-08.io.example:host nqn.2014-08.io.example:sub "
				       "zaADpMjO2mvyQYWAbuc/wobDf1BiXcD9ONBDdWtY448=");
	cr_assert_eq(tls_psk_derive(&key, "nqn.2014-08.io.example:host", "nqn.2014-08.io.example:sub", 1, &own), 0);
	cr_expect_str_neq(psk.identity, own.identity);
}
