// SPDX-License-Identifier: Apache-2.0
/*
 * The bytes of a TLS connection. OpenSSL reads from and writes to a BIO of our own: it takes what tls_receive() was
 * given, record by record, and appends to one of two buffers, of which the other may be with the kernel. Called by
 * the target's connections and by the initiator's queues, from the one thread that owns each.
 */
#include "storage/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/util.h"
#include "storage/tls_internal.h"

#define OUT_STEP    (32u << 10) /* what the buffers grow by: they are to be no larger than they must */
#define ANSWERS_MAX (32u << 10) /* bytes of answers to requests for new keys that the peer has not taken */

/* ---- between OpenSSL and the stream ---- */

static int stream_read(BIO *bio, char *buf, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = min((size_t)len, t->in_len);

	BIO_clear_retry_flags(bio);
	if (!n) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(buf, t->in, n);
	t->in += n;
	t->in_len -= n;
	return (int)n;
}

static int stream_write(BIO *bio, const char *buf, int len)
{
	struct tls *t = BIO_get_data(bio);
	size_t n = (size_t)len, room;
	uint8_t *bytes;

	if (t->out[t->filling].room - t->out[t->filling].len < n) {
		room = (t->out[t->filling].len + n + OUT_STEP - 1) / OUT_STEP * OUT_STEP;
		bytes = realloc(t->out[t->filling].bytes, room);
		if (!bytes) {
			t->out_failed = true;
			return -1;
		}
		t->out[t->filling].bytes = bytes;
		t->out[t->filling].room = room;
	}
	memcpy(t->out[t->filling].bytes + t->out[t->filling].len, buf, n);
	t->out[t->filling].len += n;
	return len;
}

static long stream_control(BIO *bio, int command, long number, void *pointer)
{
	return command == BIO_CTRL_FLUSH; /* the one that is asked for, and there is nothing to do */
}

static BIO_METHOD *stream_method;

/* Once, and for good: connections of all threads share it. */
__attribute__((constructor)) static void stream_method_make(void)
{
	stream_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice stream");
	if (!stream_method)
		return;
	BIO_meth_set_read(stream_method, stream_read);
	BIO_meth_set_write(stream_method, stream_write);
	BIO_meth_set_ctrl(stream_method, stream_control);
}

/* ---- life ---- */

static int tls_make(SSL_CTX *context, struct tls **ret_tls)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *bio = stream_method ? BIO_new(stream_method) : NULL;

	if (t && bio)
		t->ssl = SSL_new(context);
	if (!t || !bio || !t->ssl) {
		BIO_free(bio);
		free(t);
		return -ENOMEM;
	}
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	*ret_tls = t;
	return 0;
}

int tls_accept(const struct tls_server *s, struct tls **ret_tls)
{
	struct tls *t;
	int r = tls_make(s->context, &t);

	if (r)
		return r;
	t->server = s;
	SSL_set_accept_state(t->ssl);
	*ret_tls = t;
	return 0;
}

int tls_connect(const struct tls_psk *psk, struct tls **ret_tls)
{
	SSL_CTX *context = tls_context_new(false);
	struct tls *t;
	int r = context ? tls_make(context, &t) : -ENOMEM;

	SSL_CTX_free(context); /* the connection holds it */
	if (r)
		return r;
	t->client.psk = *psk;
	SSL_set_connect_state(t->ssl);
	ERR_clear_error();
	if (!SSL_set_ciphersuites(t->ssl, tls_suite(psk->hash)) || SSL_do_handshake(t->ssl) > 0 ||
	    !t->out[t->filling].len) {
		tls_free(t);
		return -EIO;
	}
	*ret_tls = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t->out[0].bytes);
	free(t->out[1].bytes);
	secret_wipe(t, sizeof(*t));
	free(t);
}

/* ---- what comes in ---- */

static enum tls_result bad(struct tls *t)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = error ? ERR_reason_error_string(error) : NULL;

	if (t->fault)
		return TLS_BAD;
	snprintf(t->openssl_fault, sizeof(t->openssl_fault), "%s",
		 reason		 ? reason
		 : t->out_failed ? "no memory"
				 : "the handshake or a record is wrong");
	t->fault = t->openssl_fault;
	return TLS_BAD;
}

enum tls_result tls_receive(struct tls *t, const void *in, size_t len, size_t *ret_used, const uint8_t **ret_plain,
			    size_t *ret_plain_len)
{
	size_t before = t->out[t->filling].len;
	int n;

	if (t->fault)
		return TLS_BAD;
	t->in = in;
	t->in_len = len;
	ERR_clear_error();
	n = SSL_read(t->ssl, t->plain, sizeof(t->plain));
	*ret_used = len - t->in_len;
	t->in = NULL;
	t->in_len = 0;
	t->answers += t->out[t->filling].len - before;
	if (t->answers > ANSWERS_MAX) {
		t->fault = "the peer asks for new keys again and again, and takes no answer";
		return TLS_BAD;
	}
	if (n > 0) {
		*ret_plain = t->plain;
		*ret_plain_len = (size_t)n;
		return TLS_DATA;
	}
	switch (SSL_get_error(t->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		return TLS_MORE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_END;
	default:
		return bad(t);
	}
}

bool tls_ready(const struct tls *t)
{
	/* A client that talked to somebody with a certificate has failed already; this is said twice. */
	return SSL_is_init_finished(t->ssl) && SSL_session_reused(t->ssl);
}

const char *tls_fault(const struct tls *t)
{
	return t->fault ? t->fault : "nothing is wrong";
}

const struct tls_client *tls_client(const struct tls *t)
{
	return &t->client;
}

/* ---- what goes out ---- */

static int put(struct tls *t, const void *bytes, size_t len)
{
	if (!len)
		return 0;
	ERR_clear_error();
	if (SSL_write(t->ssl, bytes, (int)len) == (int)len)
		return 0;
	bad(t);
	return t->out_failed ? -ENOMEM : -EIO;
}

int tls_send(struct tls *t, const struct iovec *iov, unsigned int n_iov)
{
	size_t gathered = 0, n;
	int r = 0;

	for (unsigned int i = 0; i < n_iov && !r; i++) {
		const uint8_t *at = iov[i].iov_base;
		size_t left = iov[i].iov_len;

		while (left && !r) {
			/* Whole records from where the data lie, the rest together with what follows. */
			if (!gathered && left >= TLS_RECORD) {
				n = TLS_RECORD;
				r = put(t, at, n);
			} else {
				n = min(left, TLS_RECORD - gathered);
				memcpy(t->gather + gathered, at, n);
				gathered += n;
			}
			at += n;
			left -= n;
			if (gathered == TLS_RECORD) {
				r = put(t, t->gather, gathered);
				gathered = 0;
			}
		}
	}
	return r ? r : put(t, t->gather, gathered);
}

void tls_finish(struct tls *t)
{
	if (!t->fault && SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
}

bool tls_output(struct tls *t, struct iovec *ret_piece)
{
	unsigned int full = t->filling;

	if (!t->out[full].len)
		return false;
	*ret_piece = (struct iovec){.iov_base = t->out[full].bytes, .iov_len = t->out[full].len};
	t->filling = !full;
	t->out[t->filling].len = t->answers = 0;
	return true;
}
