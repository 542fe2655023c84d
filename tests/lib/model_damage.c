// SPDX-License-Identifier: Apache-2.0
/* Damaged frames; see model_damage.h. */
#include "model_damage.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "reference.h"

#define one_in reference_one_in
#define below  reference_below

static void put16(uint8_t *p, unsigned int value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

/* Where the IP header is, or 0. */
static size_t ip_at(const struct traffic_frame *f)
{
	size_t at = 12;

	while (at + 4 < f->length && ((f->byte[at] == 0x81 && !f->byte[at + 1]) || (f->byte[at] == 0x88 && f->byte[at + 1] == 0xa8)))
		at += 4;
	if (at + 22 > f->length)
		return 0;
	return (f->byte[at] == 8 && !f->byte[at + 1]) || (f->byte[at] == 0x86 && f->byte[at + 1] == 0xdd) ? at + 2 : 0;
}

/* Makes the IPv4 header add up again, so that what is behind it gets its turn. */
static void checksum_mend(struct traffic_frame *f)
{
	size_t at = ip_at(f), bytes, i;
	uint32_t sum = 0;

	if (!at || f->byte[at] >> 4 != 4)
		return;
	bytes = (f->byte[at] & 15) * 4u;
	if (bytes < 20 || at + bytes > f->length)
		return;
	put16(f->byte + at + 10, 0);
	for (i = 0; i < bytes; i += 2)
		sum += (uint32_t)(f->byte[at + i] << 8 | f->byte[at + i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(f->byte + at + 10, ~sum & 0xffff);
}

/* Room of `n` bytes at an offset; false: there is none. */
static bool insert(struct traffic_frame *f, size_t at, size_t n)
{
	if (f->length + n > TRAFFIC_MAX)
		return false;
	memmove(f->byte + at + n, f->byte + at, f->length - at);
	memset(f->byte + at, 0, n);
	f->length += n;
	return true;
}

static void options_insert(struct traffic_frame *f, size_t ip, uint64_t *state)
{
	static const uint8_t kinds[] = {0, 1, 1, 7, 68, 131, 137, 148, 130};
	size_t bytes = 4 * (1 + below(state, 10)), at = 0;
	uint8_t *p = f->byte + ip;

	if ((p[0] & 15) != 5 || !insert(f, ip + 20, bytes))
		return;
	p[0] = (uint8_t)(0x45 + bytes / 4);
	put16(p + 2, (unsigned int)(p[2] << 8 | p[3]) + (unsigned int)bytes);
	while (at < bytes) {
		p[20 + at] = kinds[below(state, ARRAY_SIZE(kinds))];
		if (p[20 + at] > 1 && at + 1 < bytes) {
			p[21 + at] = (uint8_t)(one_in(state, 12) ? below(state, 42) : 2 + below(state, 6));
			at += p[21 + at] ? p[21 + at] - 1u : 0;
		}
		at++;
	}
}

static void extensions_insert(struct traffic_frame *f, size_t ip, uint64_t *state)
{
	static const uint8_t kinds[] = {0, 43, 44, 51, 60, 60, 60, 135};
	unsigned int n = 1 + below(state, one_in(state, 6) ? 10 : 3), units;
	uint8_t *p = f->byte + ip, kind;

	for (; n; n--) {
		kind = kinds[below(state, ARRAY_SIZE(kinds))];
		units = kind == 44 ? 1 : 1 + below(state, 2);
		if (ip + 40 > f->length || !insert(f, ip + 40, 8 * units))
			return;
		p[40] = p[6];
		p[41] = (uint8_t)(kind == 51 ? 2 * units - 2 : units - 1);
		p[42] = (uint8_t)below(state, 4);
		p[43] = (uint8_t)below(state, 3);
		if (kind == 44) {
			p[41] = 0;
			put16(p + 42, one_in(state, 2) ? 0 : one_in(state, 2) ? 1 : 8 * below(state, 20) + 1);
			p[47] = (uint8_t)below(state, 3);
		}
		p[6] = kind;
		put16(p + 4, (unsigned int)(p[4] << 8 | p[5]) + 8 * units);
	}
}

static void bits_flip(struct traffic_frame *f, uint64_t *state)
{
	unsigned int n = 1 + below(state, 4), room = (unsigned int)min(f->length, (size_t)120);

	for (; n; n--)
		f->byte[below(state, room)] ^= (uint8_t)(1u << below(state, 8));
}

static void words_write(struct traffic_frame *f, uint64_t *state)
{
	static const uint16_t words[] = {0, 1, 0xffff, 0x8000, 0x7fff, 8, 20, 40, 0x0800, 0x86dd, 0x2000, 0x1fff, 0x4500};
	unsigned int n = 1 + below(state, 2);

	for (; n && f->length > 2; n--)
		put16(f->byte + 2 * below(state, (unsigned int)min(f->length, (size_t)120) / 2),
		      words[below(state, ARRAY_SIZE(words))]);
}

static void end_move(struct traffic_frame *f, uint64_t *state)
{
	size_t i, to = one_in(state, 3) ? f->length + below(state, 30) : 14 + below(state, (unsigned int)f->length);

	to = min(to, (size_t)TRAFFIC_MAX);
	for (i = f->length; i < to; i++)
		f->byte[i] = (uint8_t)reference_random(state);
	f->length = max(to, (size_t)14);
}

static void noise(struct traffic_frame *f, uint64_t *state)
{
	size_t i;

	f->length = 14 + below(state, 200);
	for (i = 0; i < f->length; i++)
		f->byte[i] = (uint8_t)reference_random(state);
	put16(f->byte + 12, one_in(state, 2) ? 0x0800 : 0x86dd);
	f->byte[14] = one_in(state, 2) ? 0x45 : 0x60;
}

void damage_draw(uint64_t *state, struct traffic_frame *f)
{
	static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 10, 1, 0, 1};
	size_t ip;

	traffic_draw(state, f);
	ip = ip_at(f);
	if (ip && f->byte[ip] >> 4 == 4 && one_in(state, 12))
		options_insert(f, ip, state);
	else if (ip && f->byte[ip] >> 4 == 6 && one_in(state, 8))
		extensions_insert(f, ip, state);
	else if (ip && f->byte[ip] >> 4 == 6 && one_in(state, 20) && ip + 40 <= f->length)
		memcpy(f->byte + ip + (one_in(state, 2) ? 8 : 24), mapped, sizeof(mapped));
	if (one_in(state, 2))
		checksum_mend(f);
	if (one_in(state, 8)) {
		if (one_in(state, 2)) {
			bits_flip(f, state);
			checksum_mend(f);
		}
		traffic_wrap(state, f);
	}
	if (one_in(state, 3))
		bits_flip(f, state);
	if (one_in(state, 8))
		words_write(f, state);
	if (one_in(state, 16))
		end_move(f, state);
	if (one_in(state, 50))
		noise(f, state);
	if (!one_in(state, 3))
		checksum_mend(f);
}

bool damage_explains(enum sluice_reason reason)
{
	switch (reason) {
	case SLUICE_R_SHORT:
	case SLUICE_R_IP_IHL:
	case SLUICE_R_IP_VERSION:
	case SLUICE_R_IP_LENGTH:
	case SLUICE_R_IP_CHECKSUM:
	case SLUICE_R_IP_SOURCE:
	case SLUICE_R_IP6_EXTENSION:
	case SLUICE_R_TCP_OFFSET:
	case SLUICE_R_TCP_FLAGS:
	case SLUICE_R_UDP_LENGTH:
	case SLUICE_R_FRAGMENT_TINY:
	case SLUICE_R_LAND:
	case SLUICE_R_PORT_ZERO:
	case SLUICE_R_IP_OPTIONS:
	case SLUICE_R_SOURCE_ROUTE:
	case SLUICE_R_IP6_MAPPED:
	case SLUICE_R_FRAGMENT_OVERLAP:
		return true;
	default:
		return false;
	}
}

void damage_print(const struct traffic_frame *f)
{
	size_t i;

	printf("# %s\n# ", traffic_text(f->byte, f->length));
	for (i = 0; i < f->length; i++)
		printf("%02x", f->byte[i]);
	printf("\n");
}
