// SPDX-License-Identifier: Apache-2.0
/*
 * Service items: "tcp/443", "icmp/echo-request", "gre", "47", "any" → struct policy_item. Called by the reader and by
 * the query parser of explain. ICMP types stand where ports stand: type << 8 | code.
 */
#include "policy/values.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/util.h"

struct named_number {
	const char *name;
	uint8_t number;
};

static const struct named_number protocols[] = {
	{"icmp", IPPROTO_ICMP}, {"igmp", IPPROTO_IGMP}, {"ipip", IPPROTO_IPIP},
	{"tcp", IPPROTO_TCP},	{"udp", IPPROTO_UDP},	{"gre", IPPROTO_GRE},
	{"esp", IPPROTO_ESP},	{"ah", IPPROTO_AH},	{"icmpv6", IPPROTO_ICMPV6},
	{"ospf", 89},		{"pim", IPPROTO_PIM},	{"vrrp", 112},
	{"l2tp", 115},		{"sctp", IPPROTO_SCTP},
};

static const struct named_number icmp_types[] = {
	{"echo-reply", 0},     {"destination-unreachable", 3}, {"redirect", 5},		  {"echo-request", 8},
	{"time-exceeded", 11}, {"parameter-problem", 12},      {"timestamp-request", 13}, {"timestamp-reply", 14},
};

static const struct named_number icmpv6_types[] = {
	{"destination-unreachable", 1},
	{"packet-too-big", 2},
	{"time-exceeded", 3},
	{"parameter-problem", 4},
	{"echo-request", 128},
	{"echo-reply", 129},
	{"router-solicitation", 133},
	{"router-advertisement", 134},
	{"neighbour-solicitation", 135},
	{"neighbor-solicitation", 135},
	{"neighbour-advertisement", 136},
	{"neighbor-advertisement", 136},
	{"redirect", 137},
};

static bool named_find(const struct named_number *names, size_t count, const char *text, uint8_t *ret_number)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (!strcmp(names[i].name, text)) {
			*ret_number = names[i].number;
			return true;
		}
	}
	return false;
}

bool value_protocol_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

int value_protocol(const char *text, uint8_t *ret_protocol, struct error *err)
{
	uint64_t number;

	if (named_find(protocols, ARRAY_SIZE(protocols), text, ret_protocol))
		return 0;
	if (isdigit((unsigned char)text[0])) {
		if (value_number("IP protocol", text, 0, 255, &number, err))
			return -EINVAL;
		*ret_protocol = (uint8_t)number;
		return 0;
	}
	return error_set(err, EINVAL,
			 "'%.40s' is no protocol; use tcp, udp, sctp, icmp, icmpv6, gre, esp or a number 0-255", text);
}

/* "echo-request", "3" or "3.4" → the range of type << 8 | code. */
static int icmp_read(uint8_t protocol, const char *text, struct policy_item *item, struct error *err)
{
	const struct named_number *names = protocol == IPPROTO_ICMP ? icmp_types : icmpv6_types;
	size_t count = protocol == IPPROTO_ICMP ? ARRAY_SIZE(icmp_types) : ARRAY_SIZE(icmpv6_types);
	const char *dot = strchr(text, '.');
	char type_text[4] = "";
	uint64_t type = 0, code = 0;
	uint8_t named;

	if (named_find(names, count, text, &named)) {
		type = named;
	} else {
		if (!isdigit((unsigned char)text[0]) ||
		    (dot ? (size_t)(dot - text) : strlen(text)) >= sizeof(type_text))
			return error_set(err, EINVAL,
					 "'%.40s' is no ICMP type; use a name as in echo-request, a type as in 3, or "
					 "type.code as in 3.4",
					 text);
		memcpy(type_text, text, dot ? (size_t)(dot - text) : strlen(text));
		if (value_number("ICMP type", type_text, 0, 255, &type, err) ||
		    (dot && value_number("ICMP code", dot + 1, 0, 255, &code, err)))
			return -EINVAL;
	}
	item->dest_first = (uint16_t)(type << 8 | code);
	item->dest_last = (uint16_t)(type << 8 | (dot ? code : 255));
	return 0;
}

int value_item(const char *text, struct policy_item *ret_item, struct error *err)
{
	struct policy_item item = {.dest_last = 65535, .source_last = 65535};
	const char *slash = strchr(text, '/');
	char protocol[24] = "";
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	int r = 0;

	if (!strcmp(text, "any")) {
		*ret_item = (struct policy_item){.any_protocol = true, .dest_last = 65535, .source_last = 65535};
		return 0;
	}
	memcpy(protocol, text, min(n, sizeof(protocol) - 1));
	if (value_protocol(protocol, &item.protocol, err))
		return -EINVAL;
	if (slash && value_protocol_has_ports(item.protocol))
		r = value_ports(slash + 1, &item.dest_first, &item.dest_last, err);
	else if (slash && (item.protocol == IPPROTO_ICMP || item.protocol == IPPROTO_ICMPV6))
		r = icmp_read(item.protocol, slash + 1, &item, err);
	else if (slash)
		r = error_set(err, EINVAL, "protocol '%s' has no ports; write %s alone", protocol, protocol);
	if (r)
		return r;
	*ret_item = item;
	return 0;
}
