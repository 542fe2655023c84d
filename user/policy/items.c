// SPDX-License-Identifier: Apache-2.0
/*
 * Service items: "tcp/443", "icmp/echo-request", "gre", "47", "any" → struct policy_item. Called by the reader and by
 * the query parser of explain. ICMP types stand where ports stand: type << 8 | code.
 */
#include "policy/values.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "policy/diagnostics.h"

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

/* Not part of the language, where nothing is defined that the policy does not define: only to say what to write. */
static const struct {
	const char *name;
	const char *item;
} usual_items[] = {
	{"ssh", "tcp/22"},
	{"telnet", "tcp/23"},
	{"smtp", "tcp/25"},
	{"dns", "udp/53"},
	{"domain", "udp/53"},
	{"dhcp", "udp/67-68"},
	{"tftp", "udp/69"},
	{"http", "tcp/80"},
	{"web", "tcp/80"},
	{"ntp", "udp/123"},
	{"snmp", "udp/161"},
	{"bgp", "tcp/179"},
	{"ldap", "tcp/389"},
	{"https", "tcp/443"},
	{"syslog", "udp/514"},
	{"nfs", "tcp/2049"},
	{"mysql", "tcp/3306"},
	{"rdp", "tcp/3389"},
	{"nvme", "tcp/4420"},
	{"nvme-tcp", "tcp/4420"},
	{"vxlan", "udp/4789"},
	{"postgres", "tcp/5432"},
	{"geneve", "udp/6081"},
	{"redis", "tcp/6379"},
	{"ping", "icmp/echo-request"},
	{"ftp", "tcp/21"},
	{"imap", "tcp/143"},
	{"ike", "udp/500"},
};

bool value_item_suspect(const char *text)
{
	static const char *const ports[] = {"20", "21", "22",  "23",  "25",  "53",  "67",  "68",  "69",
					    "80", "88", "110", "123", "143", "161", "162", "179", "194"};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		if (!strcmp(ports[i], text))
			return true;
	}
	return false;
}

const char *value_item_usual(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(usual_items); i++) {
		if (!strcasecmp(usual_items[i].name, name))
			return usual_items[i].item;
	}
	return NULL;
}

bool value_protocol_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

int value_protocol(const char *text, uint8_t *ret_protocol, struct error *err)
{
	struct suggestion s = {.word = text};
	char near[SLUICE_NAME_LEN + 32];
	uint64_t number;
	size_t i;

	if (named_find(protocols, ARRAY_SIZE(protocols), text, ret_protocol))
		return 0;
	if (isdigit((unsigned char)text[0])) {
		if (value_number("IP protocol", text, 0, 255, &number, NULL))
			return error_set(err, EINVAL,
					 "'%.40s' is no IP protocol, which is a number 0-255; a port is written with "
					 "its protocol, as in tcp/443",
					 text);
		*ret_protocol = (uint8_t)number;
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(protocols); i++)
		suggestion_try(&s, protocols[i].name);
	if (s.best)
		return error_set(err, EINVAL, "'%.40s' is no protocol%s", text,
				 suggestion_text(&s, near, sizeof(near)));
	if (value_item_usual(text))
		return error_set(err, EINVAL, "'%.40s' is no protocol; write %s", text, value_item_usual(text));
	return error_set(err, EINVAL,
			 "'%.40s' is no protocol; use tcp, udp, sctp, icmp, icmpv6, gre, esp or a number 0-255", text);
}

/* "echo-request", "3" or "3.4" → the range of type << 8 | code. */
static int icmp_read(uint8_t protocol, const char *text, struct policy_item *item, struct error *err)
{
	const struct named_number *names = protocol == IPPROTO_ICMP ? icmp_types : icmpv6_types;
	size_t count = protocol == IPPROTO_ICMP ? ARRAY_SIZE(icmp_types) : ARRAY_SIZE(icmpv6_types);
	const char *dot = strchr(text, '.');
	struct suggestion s = {.word = text};
	char type_text[4] = "", near[SLUICE_NAME_LEN + 32];
	uint64_t type = 0, code = 0;
	uint8_t named;
	size_t i;

	if (named_find(names, count, text, &named)) {
		type = named;
	} else {
		if (!isdigit((unsigned char)text[0]) ||
		    (dot ? (size_t)(dot - text) : strlen(text)) >= sizeof(type_text)) {
			for (i = 0; i < count; i++)
				suggestion_try(&s, names[i].name);
			if (!strcasecmp(text, "ping") || !strcasecmp(text, "echo"))
				s.best = "echo-request";
			if (s.best)
				return error_set(err, EINVAL, "'%.40s' is no ICMP type%s", text,
						 suggestion_text(&s, near, sizeof(near)));
			return error_set(err, EINVAL,
					 "'%.40s' is no ICMP type; use a name as in echo-request, a type as in 3, or "
					 "type.code as in 3.4",
					 text);
		}
		memcpy(type_text, text, dot ? (size_t)(dot - text) : strlen(text));
		if (value_number("ICMP type", type_text, 0, 255, &type, err) ||
		    (dot && value_number("ICMP code", dot + 1, 0, 255, &code, err)))
			return -EINVAL;
	}
	item->dest_first = (uint16_t)(type << 8 | code);
	item->dest_last = (uint16_t)(type << 8 | (dot ? code : 255));
	return 0;
}

static bool protocol_named(const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (strlen(protocols[i].name) == length && !strncasecmp(protocols[i].name, text, length))
			return true;
	}
	return false;
}

/* Shapes that an item has elsewhere: "443/tcp", "tcp:443", "tcp 443", "tcp/80,443". 0: none of them. */
static int item_shape_refuse(const char *text, struct error *err)
{
	size_t digits = strspn(text, "0123456789-"), word = strcspn(text, "/: ,");
	const char *rest = text + word;

	if (digits && text[digits] == '/' && protocol_named(text + digits + 1, strlen(text + digits + 1)))
		return error_set(err, EINVAL, "'%.40s' is the wrong way round; write %.20s/%.*s", text,
				 text + digits + 1, (int)min(digits, (size_t)20), text);
	if (*rest && *rest != '/' && protocol_named(text, word) && isdigit((unsigned char)rest[1]))
		return error_set(err, EINVAL, "'%.40s' is no item; write %.*s/%.20s", text, (int)word, text, rest + 1);
	rest = strpbrk(text, ",;");
	if (rest && rest > text && rest[1])
		return error_set(err, EINVAL, "'%.60s' is more than one item; write a list, as in [tcp/80, tcp/443]",
				 text);
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
	r = item_shape_refuse(text, err);
	if (r)
		return r;
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

/* ------------------------------------------------------------------------ to text */

static const char *named_text(const struct named_number *names, size_t count, uint8_t number)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (names[i].number == number)
			return names[i].name;
	}
	return NULL;
}

const char *value_protocol_text(uint8_t protocol, char buf[VALUE_ITEM_LEN])
{
	const char *name = named_text(protocols, ARRAY_SIZE(protocols), protocol);

	if (name)
		return name;
	snprintf(buf, VALUE_ITEM_LEN, "%u", protocol);
	return buf;
}

const char *value_ports_text(uint16_t first, uint16_t last, char buf[VALUE_ITEM_LEN])
{
	/* Port 0 alone is only understood as a range. */
	if (first == last && first)
		snprintf(buf, VALUE_ITEM_LEN, "%u", first);
	else
		snprintf(buf, VALUE_ITEM_LEN, "%u-%u", first, last);
	return buf;
}

bool value_item_is_protocol(const struct policy_item *item)
{
	return !item->dest_first && item->dest_last == 65535;
}

bool value_item_any_source(const struct policy_item *item)
{
	return !item->source_first && item->source_last == 65535;
}

static void icmp_text(const struct policy_item *item, char buf[VALUE_ITEM_LEN])
{
	bool v4 = item->protocol == IPPROTO_ICMP;
	uint8_t type = (uint8_t)(item->dest_first >> 8);
	const char *name = v4 ? named_text(icmp_types, ARRAY_SIZE(icmp_types), type)
			      : named_text(icmpv6_types, ARRAY_SIZE(icmpv6_types), type);
	const char *protocol = v4 ? "icmp" : "icmpv6";

	if (item->dest_first == item->dest_last)
		snprintf(buf, VALUE_ITEM_LEN, "%s/%u.%u", protocol, type, item->dest_first & 255);
	else if (name)
		snprintf(buf, VALUE_ITEM_LEN, "%s/%s", protocol, name);
	else
		snprintf(buf, VALUE_ITEM_LEN, "%s/%u", protocol, type);
}

const char *value_item_text(const struct policy_item *item, char buf[VALUE_ITEM_LEN])
{
	char number[VALUE_ITEM_LEN], ports[VALUE_ITEM_LEN];
	size_t n;

	if (item->any_protocol) {
		snprintf(buf, VALUE_ITEM_LEN, "any");
		return buf;
	}
	if (value_item_is_protocol(item))
		snprintf(buf, VALUE_ITEM_LEN, "%.40s", value_protocol_text(item->protocol, number));
	else if (value_protocol_has_ports(item->protocol))
		snprintf(buf, VALUE_ITEM_LEN, "%.20s/%.20s", value_protocol_text(item->protocol, number),
			 value_ports_text(item->dest_first, item->dest_last, ports));
	else
		icmp_text(item, buf);
	n = strlen(buf);
	if (!value_item_any_source(item))
		snprintf(buf + n, VALUE_ITEM_LEN - n, " from port%s %.20s",
			 item->source_first == item->source_last ? "" : "s",
			 value_ports_text(item->source_first, item->source_last, ports));
	return buf;
}
