// SPDX-License-Identifier: Apache-2.0
/*
 * Who and where: addresses in text, and this host's NQN and identifier. Called by the command line before anything is
 * connected. Nothing is resolved and nothing is written; the identity is the same at each call on one machine.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "storage/initiator.h"

/* ---- addresses ---- */

static int parse_port(const char *text, uint16_t *ret_port)
{
	unsigned long port;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end || !port || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

/* Cuts "HOST:PORT", "[HOST]:PORT", "HOST" or "[HOST]" in two; port stays NULL if there is none. */
static int split(char *text, char **ret_host, char **ret_port)
{
	char *close = strchr(text, ']'), *colon = strrchr(text, ':');

	if (*text == '[') {
		if (!close || (close[1] && close[1] != ':'))
			return -EINVAL;
		*ret_host = text + 1;
		*ret_port = close[1] ? close + 2 : NULL;
		*close = 0;
		return 0;
	}
	*ret_host = text;
	*ret_port = NULL;
	if (colon && strchr(text, ':') == colon) { /* more than one: a bare IPv6 address */
		*colon = 0;
		*ret_port = colon + 1;
	}
	return 0;
}

static int fill(struct initiator_addr *addr, const char *host, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&addr->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&addr->sa;
	char canonical[INET6_ADDRSTRLEN];

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		addr->len = sizeof(*v4);
		inet_ntop(AF_INET, &v4->sin_addr, canonical, sizeof(canonical));
		snprintf(addr->text, sizeof(addr->text), "%s:%u", canonical, port);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		addr->len = sizeof(*v6);
		inet_ntop(AF_INET6, &v6->sin6_addr, canonical, sizeof(canonical));
		snprintf(addr->text, sizeof(addr->text), "[%s]:%u", canonical, port);
		return 0;
	}
	return -EINVAL;
}

int initiator_addr_parse(const char *text, uint16_t default_port, struct initiator_addr *ret_addr, struct error *err)
{
	struct initiator_addr addr = {0};
	uint16_t port = default_port;
	char copy[80], *host, *port_text;

	if (strlen(text) >= sizeof(copy))
		return error_set(err, EINVAL, "address: too long; use 10.0.0.1:4420 or [fd00::1]:4420");
	strcpy(copy, text);
	if (split(copy, &host, &port_text))
		return error_set(err, EINVAL, "address '%s': bracket without its pair; use [fd00::1]:4420", text);
	if (port_text && parse_port(port_text, &port))
		return error_set(err, EINVAL, "address '%s': port '%s'; use 1-65535", text, port_text);
	if (fill(&addr, host, port))
		return error_set(err, EINVAL,
				 "address '%s': not an IPv4 or IPv6 address; use 10.0.0.1:4420 or "
				 "[fd00::1]:4420 (names are not resolved)",
				 text);
	*ret_addr = addr;
	return 0;
}

/* ---- identity ---- */

/* 32 hexadecimal digits, dashes between them or not. */
static int parse_uuid(const char *text, uint8_t ret_uuid[16])
{
	uint8_t uuid[16] = {0};
	unsigned int digits = 0;

	for (; *text; text++) {
		if (*text == '-')
			continue;
		if (!isxdigit((unsigned char)*text) || digits == 32)
			return -EINVAL;
		uuid[digits / 2] |= (uint8_t)((isdigit((unsigned char)*text) ? *text - '0' : (*text | 32) - 'a' + 10)
					      << (digits % 2 ? 0 : 4));
		digits++;
	}
	if (digits != 32)
		return -EINVAL;
	memcpy(ret_uuid, uuid, sizeof(uuid));
	return 0;
}

/* A UUID version 8 (RFC 9562): what is left of a hash after version and variant. */
static void derive_uuid(const char *from, uint8_t ret_uuid[16])
{
	uint8_t hash[SHA256_DIGEST_LENGTH];

	SHA256((const uint8_t *)from, strlen(from), hash);
	memcpy(ret_uuid, hash, 16);
	ret_uuid[6] = (ret_uuid[6] & 0x0f) | 0x80;
	ret_uuid[8] = (ret_uuid[8] & 0x3f) | 0x80;
}

static void format_uuid_nqn(const uint8_t u[16], char ret_nqn[NVME_NQN_MAX + 1])
{
	snprintf(ret_nqn, NVME_NQN_MAX + 1,
		 NVME_NQN_UUID_PREFIX "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		 u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

/* The first line of a file, without white space at its end. */
static int read_line(const char *path, char *ret_line, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	if (!fgets(ret_line, (int)size, f))
		return -ENODATA;
	ret_line[strcspn(ret_line, " \t\r\n")] = 0;
	return *ret_line ? 0 : -ENODATA;
}

void initiator_hostid(const char *hostnqn, uint8_t ret_hostid[16])
{
	const char *colon = strrchr(hostnqn, ':');

	if (!colon || parse_uuid(colon + 1, ret_hostid))
		derive_uuid(hostnqn, ret_hostid);
}

/* What names this machine: for good, or in a container or initramfs that has no such file, until it boots again. */
static int read_machine(char *ret_line, size_t size)
{
	int r = read_line("/etc/machine-id", ret_line, size);

	return r ? read_line("/proc/sys/kernel/random/boot_id", ret_line, size) : 0;
}

int initiator_identity(char ret_hostnqn[NVME_NQN_MAX + 1], uint8_t ret_hostid[16], struct error *err)
{
	char line[256], seed[280];
	uint8_t uuid[16];

	if (!read_line("/etc/nvme/hostnqn", line, sizeof(line)) && !nvme_nqn_fault(line)) {
		snprintf(ret_hostnqn, NVME_NQN_MAX + 1, "%.*s", NVME_NQN_MAX, line);
	} else {
		if (read_machine(line, sizeof(line)))
			return error_set(err, ENOENT,
					 "host NQN: none of /etc/nvme/hostnqn, /etc/machine-id and the kernel's "
					 "boot_id can be read; give --hostnqn");
		/* hashed with a name of its own: machine-id(5) asks not to show the id itself on a network */
		snprintf(seed, sizeof(seed), "sluice-host:%s", line);
		derive_uuid(seed, uuid);
		format_uuid_nqn(uuid, ret_hostnqn);
	}
	if (read_line("/etc/nvme/hostid", line, sizeof(line)) || parse_uuid(line, ret_hostid))
		initiator_hostid(ret_hostnqn, ret_hostid);
	return 0;
}
