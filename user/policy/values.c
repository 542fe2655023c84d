// SPDX-License-Identifier: Apache-2.0
/*
 * Scalars of the policy language: numbers with units, prefixes, names. Called by the reader for every leaf of a file
 * and by the query parser for the arguments of explain. Pure; nothing is accepted that is not wholly understood.
 * Service items are in items.c.
 */
#include "policy/values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

/* ------------------------------------------------------------- numbers and units */

/* The leading decimal number of text; *ret_end is what follows. False: no digit, or more than 64 bits. */
static bool digits_read(const char *text, uint64_t *ret_number, const char **ret_end)
{
	uint64_t number = 0;
	const char *c = text;

	for (; isdigit((unsigned char)*c); c++) {
		if (number > (UINT64_MAX - (uint64_t)(*c - '0')) / 10)
			return false;
		number = number * 10 + (uint64_t)(*c - '0');
	}
	if (c == text)
		return false;
	*ret_number = number;
	*ret_end = c;
	return true;
}

int value_number(const char *what, const char *text, uint64_t low, uint64_t high, uint64_t *ret_number,
		 struct error *err)
{
	uint64_t number;
	const char *end;

	if (!digits_read(text, &number, &end) || *end)
		return error_set(err, EINVAL, "%s '%.40s' is not a number; use %llu-%llu", what, text,
				 (unsigned long long)low, (unsigned long long)high);
	if (number < low || number > high)
		return error_set(err, EINVAL, "%s %.40s is out of range; use %llu-%llu", what, text,
				 (unsigned long long)low, (unsigned long long)high);
	*ret_number = number;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {{"us", 1000},
					     {"ms", 1000 * 1000},
					     {"s", NSEC_PER_SEC},
					     {"m", 60 * NSEC_PER_SEC},
					     {"h", 3600 * NSEC_PER_SEC},
					     {"d", 86400 * NSEC_PER_SEC},
					     {}};

static const struct unit size_units[] = {
	{"", 1}, {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}, {}};

static const struct unit count_units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {}};

/* A number and one of `units`. `noun` and `remedy` are the halves of the message. */
static int scaled_read(const char *text, const struct unit *units, const char *noun, const char *remedy,
		       uint64_t *ret_value, struct error *err)
{
	const struct unit *u;
	uint64_t number;
	const char *end;

	if (!digits_read(text, &number, &end))
		return error_set(err, EINVAL, "'%.40s' is no %s; %s", text, noun, remedy);
	for (u = units; u->name; u++) {
		if (strcmp(end, u->name))
			continue;
		if (number > UINT64_MAX / u->factor)
			return error_set(err, EINVAL, "%s %.40s is too large; %s", noun, text, remedy);
		*ret_value = number * u->factor;
		return 0;
	}
	return error_set(err, EINVAL, "'%.40s' is no %s; %s", text, noun, remedy);
}

int value_duration(const char *text, uint64_t *ret_ns, struct error *err)
{
	if (!strcmp(text, "0")) {
		*ret_ns = 0;
		return 0;
	}
	return scaled_read(text, duration_units, "duration", "write a whole number and us, ms, s, m, h or d, as in 30s",
			   ret_ns, err);
}

int value_size(const char *text, uint64_t *ret_bytes, struct error *err)
{
	return scaled_read(text, size_units, "size", "write a whole number and B, KiB, MiB, GiB or TiB, as in 10GiB",
			   ret_bytes, err);
}

int value_count(const char *text, uint64_t *ret_count, struct error *err)
{
	return scaled_read(text, count_units, "count", "write a whole number, or one with k, M or G, as in 10k",
			   ret_count, err);
}

#define RATE_REMEDY "write it as in 10k pps or 1M bit/s"

/* The unit of a rate, behind its number and k, M or G; -EINVAL: it is none. */
static int rate_unit(const char *unit, const char *text, bool *ret_bits, struct error *err)
{
	if (!*unit)
		return error_set(err, EINVAL, "'%.40s' has no unit; write %.40s pps or %.40s bit/s", text, text, text);
	if (!strcmp(unit, "B/s"))
		return error_set(err, EINVAL, "'%.40s' is in bytes; write eight times as many bit/s", text);
	if (strcmp(unit, "pps") && strcmp(unit, "bit/s"))
		return error_set(err, EINVAL, "'%.40s' is no rate; " RATE_REMEDY, text);
	*ret_bits = *unit == 'b';
	return 0;
}

int value_rate(const char *text, uint64_t *ret_rate, bool *ret_bits, struct error *err)
{
	const struct unit *u = count_units;
	const char *end;
	uint64_t number;
	bool bits = false;
	int r;

	if (!digits_read(text, &number, &end))
		return error_set(err, EINVAL, "'%.40s' is no rate; " RATE_REMEDY, text);
	end += strspn(end, " ");
	while (u->name && (!*u->name || *u->name != *end))
		u++;
	if (u->name)
		end += 1 + strspn(end + 1, " ");
	r = rate_unit(end, text, &bits, err);
	if (r)
		return r;
	if (u->name)
		number = number > UINT64_MAX / u->factor ? UINT64_MAX : number * u->factor;
	if (bits && (number < POLICY_RATE_MIN_BITS || number > POLICY_RATE_MAX_BITS))
		return error_set(err, EINVAL, "%.40s is out of range; use 1k bit/s to 1000G bit/s", text);
	if (!bits && (!number || number > POLICY_RATE_MAX))
		return error_set(err, EINVAL, "%.40s is out of range; use 1 pps to 1G pps", text);
	*ret_rate = number;
	*ret_bits = bits;
	return 0;
}

int value_ports(const char *text, uint16_t *ret_first, uint16_t *ret_last, struct error *err)
{
	const char *end, *first_end;
	uint64_t first, last;

	if (!digits_read(text, &first, &end))
		return error_set(err, EINVAL, "%s'%.40s' is no port; use 1-65535, or a range as in 8000-8999",
				 *text ? "" : "nothing stands behind '/': ", text);
	first_end = end;
	last = first;
	if (*end == '-' && !digits_read(end + 1, &last, &end))
		return error_set(err, EINVAL, "'%.40s' is no port range; write it as in 8000-8999", text);
	if (*end)
		return error_set(err, EINVAL, "'%.40s' is no port; use 1-65535, or a range as in 8000-8999", text);
	/* Port 0 is nobody's service, but ranges of other filters begin there and packets may carry it. */
	if ((!first && *first_end != '-') || first > 65535 || last > 65535)
		return error_set(err, EINVAL, "port %.40s is out of range; use 1-65535", text);
	if (last < first)
		return error_set(err, EINVAL, "port range %.40s ends before it begins; write %llu-%llu", text,
				 (unsigned long long)last, (unsigned long long)first);
	*ret_first = (uint16_t)first;
	*ret_last = (uint16_t)last;
	return 0;
}

/* -------------------------------------------------------------------- prefixes */

bool value_looks_like_prefix(const char *text)
{
	return strchr(text, ':') || strchr(text, '/') || isdigit((unsigned char)text[0]);
}

/* Splits "address/length"; -EINVAL if the address does not fit. *ret_length is the text behind the slash or NULL. */
static int prefix_split(const char *text, char *ret_address, size_t size, const char **ret_length)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);

	if (n >= size)
		return -EINVAL;
	memcpy(ret_address, text, n);
	ret_address[n] = '\0';
	*ret_length = slash ? slash + 1 : NULL;
	return 0;
}

static int address_read(const char *address, struct policy_prefix *prefix)
{
	if (inet_pton(AF_INET, address, prefix->addr + 12) == 1) {
		memset(prefix->addr, 0, 10);
		memset(prefix->addr + 10, 0xff, 2);
		prefix->ipv4 = true;
		return 0;
	}
	prefix->ipv4 = false;
	return inet_pton(AF_INET6, address, prefix->addr) == 1 ? 0 : -EINVAL;
}

/* Clears the host bits and says whether any was set. */
static bool host_bits_clear(struct policy_prefix *prefix)
{
	unsigned int bit = prefix->ipv4 ? 96u + prefix->length : prefix->length;
	bool any = false;
	uint8_t mask;

	for (; bit < 128; bit++) {
		mask = (uint8_t)(0x80 >> bit % 8);
		any |= prefix->addr[bit / 8] & mask;
		prefix->addr[bit / 8] &= (uint8_t)~mask;
	}
	return any;
}

static int host_bits_error(const struct policy_prefix *prefix, const char *text, struct error *err)
{
	char shown[INET6_ADDRSTRLEN];

	inet_ntop(prefix->ipv4 ? AF_INET : AF_INET6, prefix->addr + (prefix->ipv4 ? 12 : 0), shown, sizeof(shown));
	return error_set(err, EINVAL, "prefix %.60s has host bits set; write %s/%u", text, shown, prefix->length);
}

/* The length of a netmask as in 255.255.0.0, or -1. */
static int netmask_length(const char *text)
{
	struct in_addr mask;
	uint32_t bits;

	if (inet_pton(AF_INET, text, &mask) != 1)
		return -1;
	bits = ntohl(mask.s_addr);
	if (bits & (~bits >> 1))
		return -1;
	return __builtin_popcount(bits);
}

/* What looks like addresses of other notations; 0: nothing of the kind. */
static int prefix_shape_refuse(const char *text, struct error *err)
{
	const char *slash = strchr(text, '/');
	int length = slash ? netmask_length(slash + 1) : -1;

	if (strpbrk(text, " ,;"))
		return error_set(err, EINVAL,
				 "'%.60s' is more than one prefix; write a list, as in [10.0.0.0/8, 10.1.2.3]", text);
	if (length >= 0)
		return error_set(err, EINVAL, "prefix %.60s has a netmask; write %.*s/%d", text,
				 (int)min(slash - text, (ptrdiff_t)40), text, length);
	if (strchr(text, '-') && strspn(text, "0123456789abcdefABCDEF:.-") == strlen(text))
		return error_set(err, EINVAL, "'%.60s' is a range; write the prefixes that it is made of", text);
	return 0;
}

int value_prefix(const char *text, struct policy_prefix *ret_prefix, struct error *err)
{
	struct policy_prefix prefix = {};
	char address[INET6_ADDRSTRLEN];
	const char *length_text;
	uint64_t length;
	int r = prefix_shape_refuse(text, err);

	if (r)
		return r;
	if (prefix_split(text, address, sizeof(address), &length_text) || address_read(address, &prefix))
		return error_set(err, EINVAL, "'%.60s' is no address or prefix; write it as in 10.0.0.0/8 or fd00::/64",
				 text);
	length = prefix.ipv4 ? 32 : 128;
	if (length_text) {
		r = value_number("prefix length", length_text, 0, length, &length, err);
		if (r)
			return r;
	}
	prefix.length = (uint8_t)length;
	if (!prefix.ipv4 && prefix.length >= 96 && policy_address_is_ipv4(prefix.addr))
		return error_set(err, EINVAL, "%.60s is an IPv4-mapped address; write the IPv4 address", text);
	if (host_bits_clear(&prefix))
		return host_bits_error(&prefix, text, err);
	*ret_prefix = prefix;
	return 0;
}

const char *value_prefix_text(const struct policy_prefix *prefix, char buf[VALUE_PREFIX_LEN])
{
	size_t n;

	inet_ntop(prefix->ipv4 ? AF_INET : AF_INET6, prefix->addr + (prefix->ipv4 ? 12 : 0), buf, VALUE_PREFIX_LEN);
	n = strlen(buf);
	if (prefix->length != (prefix->ipv4 ? 32 : 128))
		snprintf(buf + n, VALUE_PREFIX_LEN - n, "/%u", prefix->length);
	return buf;
}

/* ----------------------------------------------------------------------- names */

int value_name(const char *what, const char *text, struct error *err)
{
	const char *c;

	if (!*text)
		return error_set(err, EINVAL, "%s name is empty; give it one", what);
	if (strlen(text) >= SLUICE_NAME_LEN)
		return error_set(err, EINVAL, "%s name has %zu characters; use at most %d", what, strlen(text),
				 SLUICE_NAME_LEN - 1);
	if (!strcmp(text, "any"))
		return error_set(err, EINVAL, "%s cannot be named 'any', which means everything; choose another name",
				 what);
	for (c = text; *c; c++) {
		if (isalpha((unsigned char)*c) || *c == '_' ||
		    (c > text && (isdigit((unsigned char)*c) || strchr("-.", *c))))
			continue;
		return error_set(err, EINVAL,
				 "%s name '%.63s' is not usable; begin with a letter, then letters, digits, - _ .",
				 what, text);
	}
	return 0;
}
