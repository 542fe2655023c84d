// SPDX-License-Identifier: Apache-2.0
/*
 * Reading what dhchap_key.c and tls_psk.c have in common. Pure. What always holds: bytes of a secret are on the stack
 * only while they are looked at, and wiped on every way out.
 */
#include "nvme/secret_text.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <openssl/crypto.h>
#include <stdbool.h>
#include <string.h>

#define CRC_LEN	   4
#define SECRET_MAX 64

int secret_text_hash(const char *text, int max)
{
	if (text[0] != '0' || text[1] < '0' || text[1] > '0' + max || text[2] != ':')
		return -EINVAL;
	return text[1] - '0';
}

/* A digit of base64; 64: it is none. */
static uint8_t digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint8_t)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (uint8_t)(c - 'a' + 26);
	if (c >= '0' && c <= '9')
		return (uint8_t)(c - '0' + 52);
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Four characters to one to three bytes; 0: they are no base64. */
static size_t quantum(const char *text, uint8_t *ret_bytes)
{
	uint8_t d[4] = {digit(text[0]), digit(text[1]), digit(text[2]), digit(text[3])};
	size_t n = text[3] != '=' ? 3 : text[2] != '=' ? 2 : 1;

	for (size_t i = 0; i < 4; i++) {
		if (i <= n && d[i] > 63)
			return 0;
		if (i > n)
			d[i] = 0;
	}
	ret_bytes[0] = (uint8_t)(d[0] << 2 | d[1] >> 4);
	ret_bytes[1] = (uint8_t)(d[1] << 4 | d[2] >> 2);
	ret_bytes[2] = (uint8_t)(d[2] << 6 | d[3]);
	return n;
}

/* *ret_len: bytes. false: it is no base64, or longer than max. */
static bool base64(const char *text, size_t len, uint8_t *ret_bytes, size_t max, size_t *ret_len)
{
	size_t n = 0, part;
	uint8_t bytes[3];
	bool good = len && !(len % 4);

	for (size_t i = 0; good && i < len; i += 4) {
		part = quantum(text + i, bytes);
		good = part && n + part <= max && (part == 3 || i + 4 == len);
		if (good)
			memcpy(ret_bytes + n, bytes, part);
		n += part;
	}
	OPENSSL_cleanse(bytes, sizeof(bytes));
	*ret_len = n;
	return good;
}

const char *secret_text_decode(const char *text, uint8_t *ret_secret, size_t max, size_t *ret_len)
{
	const char *colon = strchr(text, ':');
	uint8_t bytes[SECRET_MAX + CRC_LEN];
	const char *fault = NULL;
	uint32_t crc;
	size_t len;

	if (!colon || colon[1])
		return "it does not end in a colon";
	if (!base64(text, (size_t)(colon - text), bytes, sizeof(bytes), &len) || len <= CRC_LEN ||
	    len - CRC_LEN > max) {
		fault = "what stands before its last colon is no base64 of a secret";
	} else {
		len -= CRC_LEN;
		crc = crc32_gzip_refl(0, bytes, len);
		if (bytes[len] != (uint8_t)crc || bytes[len + 1] != (uint8_t)(crc >> 8) ||
		    bytes[len + 2] != (uint8_t)(crc >> 16) || bytes[len + 3] != (uint8_t)(crc >> 24))
			fault = "its checksum is wrong, so a character of it is";
	}
	if (!fault) {
		memcpy(ret_secret, bytes, len);
		*ret_len = len;
	}
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return fault;
}
