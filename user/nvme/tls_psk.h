/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pre-shared keys of NVMe/TCP over TLS 1.3: from the text that users carry about to the identity and the key of a
 * handshake (TCP Transport 1.0, section 3.6.1; TP 8018 for version 1). Pure; the target and the initiator share it.
 *
 *	configured key --(HostNQN)--> retained key --+
 *						     +--(identity)--> TLS PSK
 *	DH-HMAC-CHAP ---------------> generated key -+
 */
#ifndef SLUICE_NVME_TLS_PSK_H
#define SLUICE_NVME_TLS_PSK_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define TLS_PSK_MAX 48
/* "NVMe1R02 HOSTNQN SUBNQN DIGEST" and its NUL */
#define TLS_PSK_IDENTITY_MAX (8 + 1 + 223 + 1 + 223 + 1 + 64 + 1)
#define TLS_PSK_VERSIONS     2
/* Not a version: 1 as nvme-cli 2.13 derives it from retained keys, which has another digest in its identity. */
#define TLS_PSK_BARE 2

enum tls_psk_hash { TLS_PSK_SHA256 = 1, TLS_PSK_SHA384 };

/* A secret as configured; secret_wipe() when it is no longer needed. */
struct tls_psk_key {
	uint8_t bytes[TLS_PSK_MAX];
	uint8_t len;  /* 32 or 48; 0: none */
	uint8_t hash; /* that makes the retained key; 0: it is the retained key */
};

/* "NVMeTLSkey-1:01:BASE64:" as nvme gen-tls-key writes it. err: fact and remedy; it never quotes the text. -EINVAL. */
int tls_psk_parse(const char *text, struct tls_psk_key *ret_key, struct error *err);

/* What a handshake needs; a secret. */
struct tls_psk {
	char identity[TLS_PSK_IDENTITY_MAX];
	uint8_t bytes[TLS_PSK_MAX];
	uint8_t len;
	uint8_t hash; /* enum tls_psk_hash: that of the cipher suite, too */
};

/*
 * For one host and one subsystem (or the discovery NQN); version of the identity: 0 ("NVMe0R...", which every peer
 * knows), 1 ("NVMe1R...", with a digest of the key in it) or TLS_PSK_BARE. -ENAMETOOLONG: version 0 has no room for NQNs as long as
 * these. -EIO: OpenSSL failed.
 */
int tls_psk_derive(const struct tls_psk_key *key, const char *hostnqn, const char *subnqn, int version,
		   struct tls_psk *ret_psk);

/*
 * As above, of a key that an authentication made (secure channel concatenation): 32 bytes for SHA-256, 48 for SHA-384.
 * Its identities begin with "NVMe0G", "NVMe1G". -EINVAL: no cipher suite goes with another length.
 */
int tls_psk_generated(const void *key, size_t len, const char *hostnqn, const char *subnqn, int version,
		      struct tls_psk *ret_psk);

#endif
