/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 with pre-shared keys between a stream of bytes and a connection, for both ends (TCP Transport 1.0, section
 * 3.6.1). Knows no socket: what has arrived goes in by tls_receive(), what is to be sent comes out by tls_output().
 * Nothing waits here. OpenSSL does the work; TLS_AES_128_GCM_SHA256 and TLS_AES_256_GCM_SHA384, always with (EC)DHE.
 *
 *	while (used < len)
 *		switch (tls_receive(t, in + used, len - used, &n, &plain, &plain_len)) ... used += n
 *	tls_send(t, iov, n_iov);
 *	if (tls_output(t, &piece)) send(piece)			// also after tls_receive(): the handshake
 *
 * Memory of a connection: some 90 KiB, and twice the most that is sent between two calls of tls_output().
 */
#ifndef SLUICE_STORAGE_TLS_H
#define SLUICE_STORAGE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"
#include "nvme/fabrics.h"
#include "nvme/tls_psk.h"

#define TLS_FIRST_BYTE 0x16 /* of a ClientHello: no PDU begins with it, so a portal can tell the two apart */

/* ---- a server ---- */

/* Whose key an identity is. A secret. */
struct tls_client {
	struct tls_psk psk;
	char hostnqn[NVME_NQN_MAX + 1], subnqn[NVME_NQN_MAX + 1];
	bool generated; /* by an authentication, not retained from a file */
};

/* Asked during a handshake, by its thread. false: nobody's. */
typedef bool (*tls_find_fn)(void *arg, const char *identity, size_t len, struct tls_client *ret_client);

struct tls_server;

/* err: there is no memory. */
int tls_server_open(tls_find_fn find, void *arg, struct tls_server **ret_server, struct error *err);
void tls_server_close(struct tls_server *s); /* NULL is fine; connections are to be freed before */

/* ---- a connection ---- */

struct tls;

/* The server's side of a connection that has just come. -ENOMEM. */
int tls_accept(const struct tls_server *s, struct tls **ret_tls);
/* The client's; there is output at once. psk is copied. -ENOMEM, -EIO. */
int tls_connect(const struct tls_psk *psk, struct tls **ret_tls);
void tls_free(struct tls *t); /* NULL is fine */

enum tls_result {
	TLS_DATA, /* *ret_plain, *ret_plain_len: until the next call; call again, even if all was used */
	TLS_MORE, /* all of it was used */
	TLS_END,  /* the peer sends nothing more */
	TLS_BAD,  /* tls_fault() says why; there may be output, an alert */
};

enum tls_result tls_receive(struct tls *t, const void *in, size_t len, size_t *ret_used, const uint8_t **ret_plain,
			    size_t *ret_plain_len);

/* Whether the handshake is done, so that tls_send() may be called. */
bool tls_ready(const struct tls *t);

/* Encrypts; the data may go when it returns. -ENOMEM, -EIO: the connection is of no use any more. */
int tls_send(struct tls *t, const struct iovec *iov, unsigned int n_iov);

/* Says that nothing more will be sent. */
void tls_finish(struct tls *t);

/* What is to be sent, which stays where it is until the next call. false: nothing. */
bool tls_output(struct tls *t, struct iovec *ret_piece);

/* Why it is TLS_BAD; never NULL. */
const char *tls_fault(const struct tls *t);

/* The server's side, once ready: whose key it was. */
const struct tls_client *tls_client(const struct tls *t);

#endif
