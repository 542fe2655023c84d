// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes both sides of DH-HMAC-CHAP and the text forms of keys. The first byte of an input says how many good messages
 * come first, of which group, and whether a PSK is to be made; then follow messages, each behind its length, to the controller and to the host. Each
 * lies in an allocation of its own. Aborts if anybody is taken for who he is by what the fuzzer made up.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/dhchap.h"
#include "nvme/tls_psk.h"

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static const struct dhchap_key keys[2] = {{.bytes = {1, 2, 3}, .len = 32, .hash = 1}, {.bytes = {4}, .len = 48}};

/* Both ends after so many good messages. */
static void begin(struct dhchap_controller *c, struct dhchap_host *h, unsigned int steps, unsigned int group,
		  uint8_t concatenation)
{
	uint8_t message[DHCHAP_MESSAGE_MAX];
	size_t len;

	*c = (struct dhchap_controller){
		.parties = {"nqn.2026-11.io.example:h", "nqn.2026-11.io.example:s", &keys[0], &keys[1]},
		.hashes = DHCHAP_ALL_HASHES,
		.groups = 1u << group,
		.concatenations = 1u << concatenation};
	*h = (struct dhchap_host){.parties = c->parties,
				  .hashes = concatenation ? DHCHAP_CONCATENATION_HASHES : DHCHAP_ALL_HASHES,
				  .groups = 1u << group,
				  .concatenation = concatenation,
				  .tid = 1};
	while (steps--) {
		if (dhchap_host_speaks(h)) {
			len = dhchap_host_give(h, message);
			dhchap_controller_take(c, message, len);
		} else {
			CHECK(!dhchap_controller_give(c, message, sizeof(message), &len));
			dhchap_host_take(h, message, len);
		}
	}
}

static void message(struct dhchap_controller *c, struct dhchap_host *h, const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len + !len), answer[DHCHAP_MESSAGE_MAX];
	size_t n;

	memcpy(exact, bytes, len);
	dhchap_controller_take(c, exact, len);
	dhchap_host_take(h, exact, len);
	free(exact);
	CHECK(!c->authenticated && !c->psk.len && !h->psk.len);
	CHECK(h->step != DHCHAP_DONE);
	CHECK(!dhchap_controller_give(c, answer, sizeof(answer), &n));
	CHECK(n <= sizeof(answer));
	if (dhchap_host_speaks(h))
		CHECK(dhchap_host_give(h, answer) <= sizeof(answer));
}

static void texts(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct dhchap_key key;
	struct tls_psk_key psk_key;
	struct tls_psk psk;
	struct error err;

	memcpy(text, data, size);
	text[size] = 0;
	if (!dhchap_key_parse(text, &key, &err))
		CHECK(key.len == 32 || key.len == 48 || key.len == 64);
	if (!tls_psk_parse(text, &psk_key, &err))
		CHECK(!tls_psk_derive(&psk_key, "nqn.2026-11.io.example:h", "nqn.2026-11.io.example:s", size & 1,
				      &psk));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dhchap_controller c;
	struct dhchap_host h;
	size_t at = 1, len;
	bool dh;

	texts(data, size);
	if (!size)
		return 0;
	/* Not as far as SUCCESS1: what is good there authenticates. */
	dh = data[0] & 0x80;
	begin(&c, &h, data[0] % 3, dh ? DHCHAP_FFDHE2048 : DHCHAP_NULL,
	      dh && data[0] & 0x40 ? DHCHAP_NEWTLSPSK : DHCHAP_NOSC);
	while (at < size) {
		len = data[at++];
		len = len < size - at ? len : size - at;
		message(&c, &h, data + at, len);
		at += len;
	}
	dhchap_controller_end(&c);
	dhchap_host_end(&h);
	return 0;
}
