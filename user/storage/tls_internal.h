/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a TLS connection, shared by tls.c (bytes) and tls_psk_session.c (who it is) only. */
#ifndef SLUICE_STORAGE_TLS_INTERNAL_H
#define SLUICE_STORAGE_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "storage/tls.h"

#define TLS_RECORD 16384 /* most plain bytes in one record */

struct tls_server {
	SSL_CTX *context;
	tls_find_fn find;
	void *arg;
};

struct tls {
	SSL *ssl;
	const struct tls_server *server; /* NULL: a client */
	struct tls_client client;	 /* whose key it is; of a client, its own psk alone */
	bool known;			 /* client is there */
	const char *fault;		 /* NULL: OpenSSL knows better */
	char openssl_fault[128];
	/* what is being received; of the call of tls_receive() under way */
	const uint8_t *in;
	size_t in_len;
	/* what is to be sent: one is filled, the other may be in the kernel's hands */
	struct {
		uint8_t *bytes;
		size_t len, room;
	} out[2];
	unsigned int filling;
	size_t answers;	 /* bytes of it that tls_receive() had to say */
	bool out_failed; /* no memory */
	uint8_t plain[TLS_RECORD];
	uint8_t gather[TLS_RECORD]; /* small pieces become one record */
};

/* A context for either side that knows keys and no certificates; NULL: OpenSSL failed. */
SSL_CTX *tls_context_new(bool server);
/* The suites of a hash, as OpenSSL names them. */
const char *tls_suite(uint8_t hash);

#endif
