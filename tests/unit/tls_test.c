// SPDX-License-Identifier: Apache-2.0
/*
 * TLS without sockets: a client and a server of storage/tls.h with the bytes carried between them by hand, whole and
 * one by one; keys that do not fit, clients that come otherwise, records that were damaged on the way.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/tls_internal.h"

#define HOST "nqn.2026-11.io.example:host"
#define SUB  "nqn.2026-11.io.example:sub"

static const char *const keys[] = {
	"NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:",
	"NVMeTLSkey-1:02:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwP/w0S89ELi3W2LxIcLXVsDn8kXZQ==:",
};

static struct tls_psk psk_of(int key, int version)
{
	struct tls_psk_key k;
	struct tls_psk psk;
	struct error err;

	cr_assert_eq(tls_psk_parse(keys[key], &k, &err), 0, "%s", err.text);
	cr_assert_eq(tls_psk_derive(&k, HOST, SUB, version, &psk), 0);
	return psk;
}

/* What the server knows: both keys, in both versions. */
static bool find(void *arg, const char *identity, size_t len, struct tls_client *ret_client)
{
	for (int key = 0; key < 2; key++) {
		for (int version = 0; version < TLS_PSK_VERSIONS; version++) {
			struct tls_psk psk = psk_of(key, version);

			if (strlen(psk.identity) != len || memcmp(psk.identity, identity, len))
				continue;
			ret_client->psk = psk;
			strcpy(ret_client->hostnqn, HOST);
			strcpy(ret_client->subnqn, SUB);
			return true;
		}
	}
	return false;
}

/* One end, what it has received, and how it stands. */
struct end {
	struct tls *tls;
	uint8_t *plain;
	size_t len;
	enum tls_result result;
};

struct pair {
	struct tls_server *server;
	struct end client, target;
	size_t chunk;  /* bytes at a time; 0: all */
	size_t damage; /* this byte, counted over what is carried from the client, is flipped; 0: none */
	size_t carried;
};

static void pair_open(struct pair *p, const struct tls_psk *psk)
{
	struct error err;

	memset(p, 0, sizeof(*p));
	cr_assert_eq(tls_server_open(find, NULL, &p->server, &err), 0);
	cr_assert_eq(tls_accept(p->server, &p->target.tls), 0);
	if (psk)
		cr_assert_eq(tls_connect(psk, &p->client.tls), 0);
	p->client.result = p->target.result = TLS_MORE;
}

static void pair_close(struct pair *p)
{
	tls_free(p->client.tls);
	tls_free(p->target.tls);
	tls_server_close(p->server);
	free(p->client.plain);
	free(p->target.plain);
}

static void take(struct end *to, const uint8_t *in, size_t len)
{
	const uint8_t *plain;
	size_t used, n;

	do {
		to->result = tls_receive(to->tls, in, len, &used, &plain, &n);
		cr_assert_leq(used, len);
		in += used;
		len -= used;
		if (to->result != TLS_DATA)
			break;
		to->plain = realloc(to->plain, to->len + n);
		memcpy(to->plain + to->len, plain, n);
		to->len += n;
	} while (1);
	if (to->result == TLS_MORE)
		cr_assert_eq(len, 0, "TLS_MORE, and not all was used");
}

/* Carries what one has to say to the other, at the end of a page of its own so that ASan sees reads behind it. */
static bool carry(struct pair *p, struct end *from, struct end *to)
{
	struct iovec piece;
	size_t at, n;

	if (!tls_output(from->tls, &piece))
		return false;
	for (at = 0; at < piece.iov_len && to->result == TLS_MORE; at += n) {
		uint8_t *copy;

		n = p->chunk ? min(p->chunk, piece.iov_len - at) : piece.iov_len;
		copy = malloc(n);
		memcpy(copy, (uint8_t *)piece.iov_base + at, n);
		if (from == &p->client) {
			if (p->damage && p->damage > p->carried && p->damage <= p->carried + n)
				copy[p->damage - p->carried - 1] ^= 0x40;
			p->carried += n;
		}
		take(to, copy, n);
		free(copy);
	}
	return true;
}

static void exchange(struct pair *p)
{
	while (carry(p, &p->client, &p->target) | carry(p, &p->target, &p->client))
		;
}

static void say(struct end *e, const void *bytes, size_t len)
{
	const struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};

	cr_assert_eq(tls_send(e->tls, &iov, 1), 0);
}

Test(tls, handshakes)
{
	static const size_t chunks[] = {0, 1, 2, 5, 100, 1000};

	for (int key = 0; key < 2; key++) {
		for (int version = 0; version < TLS_PSK_VERSIONS; version++) {
			for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
				struct tls_psk psk = psk_of(key, version);
				struct pair p;

				pair_open(&p, &psk);
				p.chunk = chunks[i];
				cr_expect_not(tls_ready(p.client.tls));
				cr_expect_not(tls_ready(p.target.tls));
				exchange(&p);
				cr_expect(tls_ready(p.client.tls) && tls_ready(p.target.tls), "%s / %s",
					  tls_fault(p.client.tls), tls_fault(p.target.tls));
				cr_expect_str_eq(tls_client(p.target.tls)->hostnqn, HOST);
				say(&p.client, "request", 7);
				say(&p.target, "answer", 6);
				exchange(&p);
				cr_expect(p.target.len == 7 && !memcmp(p.target.plain, "request", 7));
				cr_expect(p.client.len == 6 && !memcmp(p.client.plain, "answer", 6));
				tls_finish(p.client.tls);
				exchange(&p);
				cr_expect_eq(p.target.result, TLS_END);
				pair_close(&p);
			}
		}
	}
}

/* Pieces of every size, both ways: the bytes are the same, and small ones share records. */
Test(tls, data)
{
	enum { BYTES = 3 << 20 };
	struct tls_psk psk = psk_of(1, 1);
	uint8_t *bytes = malloc(BYTES);
	struct iovec iov[64];
	uint32_t seed = 7;
	struct pair p;
	size_t at = 0;

	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (seed = seed * 1664525 + 1013904223) >> 24;
	pair_open(&p, &psk);
	exchange(&p);
	p.chunk = 7000;
	while (at < BYTES) {
		unsigned int n = 0;

		for (; n < ARRAY_SIZE(iov) && at < BYTES; n++) {
			size_t len = (seed = seed * 1664525 + 1013904223) >> 8 & (n % 3 ? 0x3f : 0xffff);

			len = min(len, BYTES - at);
			iov[n] = (struct iovec){.iov_base = bytes + at, .iov_len = len};
			at += len;
		}
		cr_assert_eq(tls_send(p.client.tls, iov, n), 0);
		cr_assert_eq(tls_send(p.target.tls, iov, n), 0);
		exchange(&p);
	}
	cr_assert_eq(p.target.len, BYTES);
	cr_assert_eq(p.client.len, BYTES);
	cr_expect_arr_eq(p.target.plain, bytes, BYTES);
	cr_expect_arr_eq(p.client.plain, bytes, BYTES);
	free(bytes);
	pair_close(&p);
}

/* While a piece is with the kernel, what is sent goes elsewhere. */
Test(tls, output_stays)
{
	struct tls_psk psk = psk_of(0, 0);
	struct iovec first, second;
	uint8_t copy[4096];
	struct pair p;

	pair_open(&p, &psk);
	exchange(&p);
	say(&p.client, "one", 3);
	cr_assert(tls_output(p.client.tls, &first));
	memcpy(copy, first.iov_base, first.iov_len);
	for (int i = 0; i < 1000; i++)
		say(&p.client, copy, sizeof(copy));
	cr_expect_arr_eq(copy, first.iov_base, first.iov_len);
	take(&p.target, first.iov_base, first.iov_len);
	cr_assert(tls_output(p.client.tls, &second));
	take(&p.target, second.iov_base, second.iov_len);
	cr_expect_eq(p.target.len, 3 + 1000 * sizeof(copy));
	cr_expect_not(tls_output(p.client.tls, &second));
	pair_close(&p);
}

static void expect_refused(struct pair *p, const char *target_says, const char *client_says)
{
	exchange(p);
	cr_expect_eq(p->target.result, TLS_BAD);
	cr_expect_not(tls_ready(p->target.tls));
	cr_expect(strstr(tls_fault(p->target.tls), target_says), "%s", tls_fault(p->target.tls));
	if (!client_says)
		return;
	cr_expect_eq(p->client.result, TLS_BAD);
	cr_expect_not(tls_ready(p->client.tls));
	cr_expect(strstr(tls_fault(p->client.tls), client_says), "%s", tls_fault(p->client.tls));
}

Test(tls, wrong_keys)
{
	struct tls_psk psk = psk_of(0, 0);
	struct pair p;

	psk.bytes[5] ^= 1; /* the identity is the same, the key is not */
	pair_open(&p, &psk);
	expect_refused(&p, "binder", "alert");
	pair_close(&p);

	psk = psk_of(0, 1);
	psk.identity[20] ^= 1;
	pair_open(&p, &psk);
	expect_refused(&p, "no host of the policy has the TLS identity", "unknown psk identity");
	pair_close(&p);
}

/* Clients of plain OpenSSL, who do not know how it is done here. */
static void other_client(const char *name, int max_version, const char *says)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	uint8_t *hello;
	struct pair p;
	BIO *out = BIO_new(BIO_s_mem()), *in = BIO_new(BIO_s_mem());
	SSL *ssl;
	long len;

	cr_assert(SSL_CTX_set_max_proto_version(context, max_version));
	ssl = SSL_new(context);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	SSL_do_handshake(ssl);
	len = BIO_get_mem_data(out, &hello);
	pair_open(&p, NULL);
	take(&p.target, hello, (size_t)len);
	cr_expect_eq(p.target.result, TLS_BAD, "%s", name);
	cr_expect(strstr(tls_fault(p.target.tls), says), "%s: %s", name, tls_fault(p.target.tls));
	cr_expect(tls_output(p.target.tls, &(struct iovec){}), "%s: no alert", name);
	SSL_free(ssl);
	SSL_CTX_free(context);
	pair_close(&p);
}

Test(tls, other_clients)
{
	other_client("certificates only", TLS1_3_VERSION, "offers no pre-shared key");
	other_client("TLS 1.2", TLS1_2_VERSION, "offers no pre-shared key");
}

/* Every bit of what the client says matters: nothing that was changed is taken for what it was. */
Test(tls, damaged_on_the_way)
{
	struct tls_psk psk = psk_of(0, 0);
	struct pair p;
	size_t whole, at;

	pair_open(&p, &psk);
	exchange(&p);
	say(&p.client, "something", 9);
	exchange(&p);
	whole = p.carried;
	pair_close(&p);
	for (at = 1; at <= whole; at++) {
		pair_open(&p, &psk);
		p.damage = at;
		exchange(&p);
		if (tls_ready(p.client.tls) && p.client.result == TLS_MORE) {
			const struct iovec iov = {.iov_base = (void *)"something", .iov_len = 9};

			cr_expect_eq(tls_send(p.client.tls, &iov, 1), 0);
			exchange(&p);
		}
		/* The record's version is the one thing that no one looks at (RFC 8446, 5.1). */
		if (p.target.len)
			cr_expect(at <= 3, "byte %zu of %zu was changed, and its data were taken", at, whole);
		pair_close(&p);
	}
}

Test(tls, garbage)
{
	uint32_t seed = 3;

	for (int round = 0; round < 500; round++) {
		struct pair p;
		uint8_t bytes[600];

		pair_open(&p, NULL);
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (seed = seed * 1664525 + 1013904223) >> 24;
		bytes[0] = 0x16;
		bytes[1] = 3;
		bytes[2] = 1;
		bytes[3] = round % 3;
		bytes[5] = round % 2 ? 1 : bytes[5];
		take(&p.target, bytes, sizeof(bytes));
		cr_expect_not(tls_ready(p.target.tls));
		cr_expect_eq(p.target.len, 0);
		pair_close(&p);
	}
}

/* New keys in the middle of it: OpenSSL answers, and nothing is lost. */
Test(tls, key_update)
{
	struct tls_psk psk = psk_of(0, 0);
	struct pair p;

	pair_open(&p, &psk);
	exchange(&p);
	for (int i = 0; i < 5; i++) {
		cr_assert(SSL_key_update(p.client.tls->ssl, SSL_KEY_UPDATE_REQUESTED));
		say(&p.client, "a", 1);
		say(&p.target, "b", 1);
		exchange(&p);
	}
	cr_expect_eq(p.target.len, 5);
	cr_expect_eq(p.client.len, 5);
	pair_close(&p);
}

/* Each request for new keys has an answer. Who takes none of them does not fill the memory with them. */
static size_t asks_for_keys(struct end *asker, struct end *asked, struct pair *p, unsigned int n)
{
	for (unsigned int i = 0; i < n && asked->result == TLS_MORE; i++) {
		cr_assert_eq(SSL_key_update(asker->tls->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		cr_assert_eq(SSL_do_handshake(asker->tls->ssl), 1);
		carry(p, asker, asked);
	}
	return asked->tls->out[asked->tls->filling].len;
}

Test(tls, endless_key_updates)
{
	struct tls_psk psk = psk_of(1, 1);

	for (int at_target = 0; at_target < 2; at_target++) {
		struct pair p;
		struct end *asker = at_target ? &p.client : &p.target, *asked = at_target ? &p.target : &p.client;
		size_t unsent;

		pair_open(&p, &psk);
		exchange(&p);
		/* As many as one may like, where they are taken. */
		for (int i = 0; i < 40; i++) {
			cr_assert_leq(asks_for_keys(asker, asked, &p, 50), 50 * 64);
			exchange(&p);
		}
		cr_assert_eq(asked->result, TLS_MORE, "%s", tls_fault(asked->tls));
		unsent = asks_for_keys(asker, asked, &p, 4000);
		cr_expect_eq(asked->result, TLS_BAD, "%zu bytes wait to be sent", unsent);
		cr_expect_leq(unsent, 64u << 10, "%zu", unsent);
		pair_close(&p);
	}
}
