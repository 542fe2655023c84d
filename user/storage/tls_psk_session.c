// SPDX-License-Identifier: Apache-2.0
/*
 * Who is at the other end of a TLS connection: a server finds the key by the identity in the ClientHello and picks the
 * cipher suite that the key is for; a client offers the one that it has. Called by OpenSSL during handshakes, and by
 * tls.c to open either side. What always holds: without a key that both ends have there is no connection; certificates
 * are neither offered nor believed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/tls_internal.h"

static const struct {
	const char *name;
	unsigned char id[2];
} suites[] = {
	[TLS_PSK_SHA256] = {"TLS_AES_128_GCM_SHA256", {0x13, 0x01}},
	[TLS_PSK_SHA384] = {"TLS_AES_256_GCM_SHA384", {0x13, 0x02}},
};

const char *tls_suite(uint8_t hash)
{
	return suites[hash].name;
}

/* An external key as OpenSSL wants it; NULL: no memory. */
static SSL_SESSION *session_of(SSL *ssl, const struct tls_psk *psk)
{
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suites[psk->hash].id);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session && cipher && SSL_SESSION_set1_master_key(session, psk->bytes, psk->len) &&
	    SSL_SESSION_set_cipher(session, cipher) && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

/* ---- server ---- */

/* The first known one of the identities that pre_shared_key (RFC 8446, 4.2.11) offers. OpenSSL checks the rest of it.
 */
static bool find_offered(const struct tls_server *s, const uint8_t *at, size_t len, struct tls_client *ret_client)
{
	const uint8_t *end = at + len;
	size_t n;

	if (len < 2)
		return false;
	n = (size_t)at[0] << 8 | at[1];
	at += 2;
	if (n > (size_t)(end - at))
		return false;
	for (end = at + n; end - at >= 2; at += n + 4) {
		n = (size_t)at[0] << 8 | at[1];
		at += 2;
		if (n + 4 > (size_t)(end - at))
			return false;
		if (s->find(s->arg, (const char *)at, n, ret_client))
			return true;
	}
	return false;
}

static int client_hello(SSL *ssl, int *ret_alert, void *arg)
{
	struct tls *t = SSL_get_app_data(ssl);
	const unsigned char *extension;
	size_t len;

	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_psk, &extension, &len)) {
		t->fault = "the host offers no pre-shared key (or no TLS 1.3)";
		*ret_alert = SSL_AD_HANDSHAKE_FAILURE;
		return SSL_CLIENT_HELLO_ERROR;
	}
	t->known = find_offered(t->server, extension, len, &t->client);
	if (!t->known) {
		t->fault = "no host of the policy has the TLS identity that is offered; give the host a `psk`, the "
			   "same at both ends, or, if it was generated, authenticate again: its time was over";
		*ret_alert = SSL_AD_UNKNOWN_PSK_IDENTITY;
		return SSL_CLIENT_HELLO_ERROR;
	}
	/* A key is for one hash, and OpenSSL would pick a suite before it looks at keys. */
	if (!SSL_set_ciphersuites(ssl, tls_suite(t->client.psk.hash))) {
		*ret_alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

static int find_session(SSL *ssl, const unsigned char *identity, size_t len, SSL_SESSION **ret_session)
{
	const struct tls *t = SSL_get_app_data(ssl);

	*ret_session = NULL;
	if (!t->known || len != strlen(t->client.psk.identity) || memcmp(identity, t->client.psk.identity, len))
		return 1; /* another of those that are offered */
	*ret_session = session_of(ssl, &t->client.psk);
	return *ret_session != NULL;
}

/* ---- client ---- */

static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **ret_identity, size_t *ret_len,
		       SSL_SESSION **ret_session)
{
	const struct tls *t = SSL_get_app_data(ssl);

	*ret_session = session_of(ssl, &t->client.psk);
	*ret_identity = (const unsigned char *)t->client.psk.identity;
	*ret_len = strlen(t->client.psk.identity);
	return *ret_session != NULL;
}

/* ---- contexts ---- */

SSL_CTX *tls_context_new(bool server)
{
	SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (!context)
		return NULL;
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	/* Kernels that take over a connection's keys know no tickets, which come after the handshake. */
	if (!SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) || !SSL_CTX_set_num_tickets(context, 0) ||
	    !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")) {
		SSL_CTX_free(context);
		return NULL;
	}
	if (server) {
		SSL_CTX_set_client_hello_cb(context, client_hello, NULL);
		SSL_CTX_set_psk_find_session_callback(context, find_session);
	} else {
		/* There is nobody whose certificate would do. */
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set_psk_use_session_callback(context, use_session);
	}
	return context;
}

int tls_server_open(tls_find_fn find, void *arg, struct tls_server **ret_server, struct error *err)
{
	struct tls_server *s = calloc(1, sizeof(*s));

	if (s)
		s->context = tls_context_new(true);
	if (!s || !s->context) {
		free(s);
		return error_set(err, ENOMEM, "TLS: OpenSSL cannot be set up; is there memory left?");
	}
	s->find = find;
	s->arg = arg;
	*ret_server = s;
	return 0;
}

void tls_server_close(struct tls_server *s)
{
	if (s)
		SSL_CTX_free(s->context);
	free(s);
}
