// SPDX-License-Identifier: Apache-2.0
/*
 * The conditions of an iptables rule, one option at a time from a table. What the table does not know makes the rule
 * one that is named and left out. Called by import_iptables.c.
 */
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/import_iptables.h"
#include "policy/values.h"

typedef void (*option_fn)(struct iptables_rule *r, char *const values[2]);

void iptables_why(struct iptables_rule *r, const char *why)
{
	r->entry->why = r->entry->why ?: why;
}

/* --------------------------------------------------------------------------- addresses */

static void address_side(struct iptables_rule *r, const char *text, unsigned int side)
{
	struct policy_prefix p;

	if (!import_prefix_read(text, &p))
		iptables_why(r, "has an address with a mask that is no prefix; write the prefixes one by one");
	else if (!p.length && !r->negated)
		return;
	else if (!import_match_side(r->im, &r->entry->match, side, &p, 1, r->negated, NULL))
		iptables_why(r, "matches no address; remove it");
}

static void source(struct iptables_rule *r, char *const values[2])
{
	address_side(r, values[0], IMPORT_FROM);
}

static void dest(struct iptables_rule *r, char *const values[2])
{
	address_side(r, values[0], IMPORT_TO);
}

static void range_side(struct iptables_rule *r, char *text, unsigned int side)
{
	struct policy_prefix first, last, *list = NULL;
	char *dash = strchr(text, '-');
	size_t n = 0;

	if (dash)
		*dash = 0;
	if (!import_prefix_read(text, &first) || !import_prefix_read(dash ? dash + 1 : text, &last) ||
	    first.ipv4 != last.ipv4 || memcmp(first.addr, last.addr, 16) > 0) {
		iptables_why(r, "has a broken address range; write it as in 192.0.2.1-192.0.2.9");
		return;
	}
	import_prefixes_of_range(r->im, first.addr, last.addr, &list, &n);
	if (!import_match_side(r->im, &r->entry->match, side, list, n, r->negated, NULL))
		iptables_why(r, "matches no address; remove it");
}

static void source_range(struct iptables_rule *r, char *const values[2])
{
	range_side(r, values[0], IMPORT_FROM);
}

static void dest_range(struct iptables_rule *r, char *const values[2])
{
	range_side(r, values[0], IMPORT_TO);
}

static void interface_in(struct iptables_rule *r, char *const values[2])
{
	switch (import_interface_holds(r->im, values[0], r->negated)) {
	case IMPORT_HOLDS:
		break;
	case IMPORT_HOLDS_NOT:
		r->entry->elsewhere = true;
		break;
	case IMPORT_HOLDS_SOMEWHERE:
		iptables_why(r, import_why_interface);
		break;
	}
}

static void interface_out(struct iptables_rule *r, char *const values[2])
{
	iptables_why(r, "names the interface that packets leave by, which is not known where sluice judges; name the "
			"addresses behind it");
}

/* ----------------------------------------------------------------------------- services */

static void protocol(struct iptables_rule *r, char *const values[2])
{
	static const struct {
		const char *theirs, *ours;
	} names[] = {{"ipv6-icmp", "icmpv6"}, {"icmp6", "icmpv6"}, {"ipencap", "ipip"}, {"ospf", "ospf"}};
	const char *name = values[0];
	size_t i;

	if (!strcmp(name, "all") || !strcmp(name, "0"))
		return;
	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i].theirs, name))
			name = names[i].ours;
	if (r->negated)
		iptables_why(r, "means every protocol but one; list those that are meant");
	else if (value_protocol(name, &r->protocol, NULL))
		iptables_why(r, "has a protocol that is not known by name; write its number");
	else
		r->has_protocol = true;
}

static bool port_read(char **at, unsigned long *ret)
{
	char *end;

	*ret = strtoul(*at, &end, 10);
	if (end == *at || !isdigit((unsigned char)**at) || *ret > 65535)
		return false;
	*at = end;
	return true;
}

/* "80", "80:90", "1024:", lists with commas; appended as destination ports or, for side 0, as source ports. */
static bool ports_read(struct iptables_rule *r, char *text, unsigned int side, struct policy_item **items,
		       size_t *count)
{
	struct policy_item *slot;
	unsigned long first, last;

	do {
		text += *text == ',';
		first = 0;
		if (*text != ':' && !port_read(&text, &first))
			return false;
		last = first;
		if (*text == ':') {
			last = 65535;
			text++;
			if (isdigit((unsigned char)*text) && !port_read(&text, &last))
				return false;
		}
		slot = first > last ? NULL : import_add(r->im, items, count, sizeof(*slot));
		if (!slot)
			return false;
		*slot = (struct policy_item){.any_protocol = true, .dest_last = 65535, .source_last = 65535};
		*(side ? &slot->dest_first : &slot->source_first) = (uint16_t)first;
		*(side ? &slot->dest_last : &slot->source_last) = (uint16_t)last;
	} while (*text == ',');
	return !*text;
}

static void ports_side(struct iptables_rule *r, char *text, unsigned int side)
{
	if (!ports_read(r, text, side, &r->ports[side], &r->n_ports[side]))
		iptables_why(r, "has ports that are no numbers; give the output of iptables-save as it is");
	else if (r->negated)
		r->ports[side] = import_items_negate(r->im, r->ports[side], &r->n_ports[side]);
}

static void source_ports(struct iptables_rule *r, char *const values[2])
{
	ports_side(r, values[0], 0);
}

static void dest_ports(struct iptables_rule *r, char *const values[2])
{
	ports_side(r, values[0], 1);
}

static void either_ports(struct iptables_rule *r, char *const values[2])
{
	char *again = import_copy(r->im, values[0], strlen(values[0]));

	if (r->negated)
		iptables_why(r, "excludes ports on both ends; write the ports that are meant");
	else if (!again || !ports_read(r, values[0], 0, &r->either, &r->n_either) ||
		 !ports_read(r, again, 1, &r->either, &r->n_either))
		iptables_why(r, "has ports that are no numbers; give the output of iptables-save as it is");
}

static void icmp_type(struct iptables_rule *r, char *const values[2])
{
	struct policy_item item, *slot;
	char text[64], *c;

	if (!strcmp(values[0], "any"))
		return;
	if (r->negated) {
		iptables_why(r, "means every ICMP type but one; list those that are meant");
		return;
	}
	snprintf(text, sizeof(text), "%s/%s", r->families == IMPORT_IPV4 ? "icmp" : "icmpv6", values[0]);
	for (c = strchr(text, '/') + 1; *c; c++)
		*c = *c == '/' ? '.' : *c; /* type/code there, type.code here */
	if (value_item(text, &item, NULL)) {
		iptables_why(r, "has an ICMP type that is not known by name; write its number");
		return;
	}
	slot = import_add(r->im, &r->ports[1], &r->n_ports[1], sizeof(*slot));
	if (slot)
		*slot = item;
}

bool iptables_service(struct iptables_rule *r)
{
	const struct policy_item only = {.protocol = r->protocol, .dest_last = 65535, .source_last = 65535};
	struct import_match *m = &r->entry->match;
	bool fits = true;
	unsigned int side;

	if (r->has_protocol)
		fits = import_match_items(r->im, m, &only, 1);
	for (side = 0; side < 2 && fits; side++)
		if (r->ports[side])
			fits = import_match_items(r->im, m, r->ports[side], r->n_ports[side]);
	if (fits && r->either)
		fits = import_match_items(r->im, m, r->either, r->n_either);
	return fits;
}

/* ------------------------------------------------------------------------------- states */

static void states(struct iptables_rule *r, char *const values[2])
{
	static const struct {
		const char *name;
		unsigned int state;
	} names[] = {{"NEW", IMPORT_NEW},
		     {"ESTABLISHED", IMPORT_ESTABLISHED},
		     {"RELATED", IMPORT_RELATED},
		     {"INVALID", IMPORT_INVALID},
		     {"UNTRACKED", IMPORT_UNTRACKED}};
	unsigned int set = 0;
	char *rest, *name;
	size_t i;

	for (name = strtok_r(values[0], ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		for (i = 0; i < ARRAY_SIZE(names) && strcmp(names[i].name, name); i++)
			;
		if (i == ARRAY_SIZE(names)) {
			iptables_why(r, "asks for a state that sluice does not track, as those of NAT; leave it out");
			return;
		}
		set |= names[i].state;
	}
	r->entry->match.states &= r->negated ? IMPORT_STATES & ~set : set;
}

static void syn(struct iptables_rule *r, char *const values[2])
{
	r->flags = r->negated ? IPTABLES_FLAGS_NOT_SYN : IPTABLES_FLAGS_SYN;
}

static void tcp_flags(struct iptables_rule *r, char *const values[2])
{
	const char *mask = values[0], *set = values[1];
	bool begins = (!strcmp(mask, "FIN,SYN,RST,ACK") || !strcmp(mask, "SYN,RST,ACK,FIN") ||
		       !strcmp(mask, "SYN,RST,ACK") || !strcmp(mask, "FIN,SYN,RST,PSH,ACK,URG")) &&
		      !strcmp(set, "SYN");
	bool none = !strcmp(set, "NONE") && (!strcmp(mask, "ALL") || !strcmp(mask, "FIN,SYN,RST,PSH,ACK,URG"));

	if (begins)
		r->flags = r->negated ? IPTABLES_FLAGS_NOT_SYN : IPTABLES_FLAGS_SYN;
	else if (!r->negated && (none || (strstr(set, "SYN") && strstr(set, "FIN"))))
		r->flags = IPTABLES_FLAGS_MALFORMED;
	else
		r->flags = IPTABLES_FLAGS_OTHER;
}

/* -------------------------------------------------------------------------------- rest */

static void comment(struct iptables_rule *r, char *const values[2])
{
	r->entry->name = import_copy(r->im, values[0], strlen(values[0]));
}

/* "5/min": of a LOG, one event in 12 seconds. */
static void limit(struct iptables_rule *r, char *const values[2])
{
	static const struct {
		const char *unit;
		unsigned int seconds;
	} units[] = {{"/s", 1}, {"/m", 60}, {"/h", 3600}, {"/d", 86400}};
	unsigned long n = strtoul(values[0], NULL, 10);
	size_t i;

	r->limited = true;
	for (i = 0; i < ARRAY_SIZE(units); i++)
		if (n && strstr(values[0], units[i].unit))
			r->entry->log_every = (unsigned int)max(units[i].seconds / n, 1ul);
}

static void jump(struct iptables_rule *r, char *const values[2])
{
	iptables_target(r, values[0]);
}

static void go_to(struct iptables_rule *r, char *const values[2])
{
	r->entry->verdict = IMPORT_VERDICT_GOTO;
	r->entry->target = import_copy(r->im, values[0], strlen(values[0]));
}

static void module(struct iptables_rule *r, char *const values[2])
{
	static const struct {
		const char *name, *why;
	} unlike[] = {
		{"set", "matches an ipset, which iptables-save does not list; write its addresses into a segment"},
		{"addrtype", "asks what kind of address it is; name the addresses"},
		{"hashlimit", "limits a rate by address; write it as `limit: {rate: 10 pps, per: source}` on a rule"},
		{"recent", "remembers addresses; sluice does not: write it by hand"},
		{"connlimit", "limits connections by address; sluice does not"},
		{"physdev", "asks for a bridge port; sluice judges there itself: give the port as --interface"},
		{"owner", "asks who sends; sluice judges what arrives"},
		{"time", "holds at some times only; apply another policy then"},
		{"string", "looks into the payload; sluice does not"},
		{"mark", "asks for a mark, which sluice does not set"},
		{"connmark", "asks for a mark, which sluice does not set"},
		{"mac", "asks for a hardware address; use antispoof on the interface"},
		{"rpfilter", "checks the way back; use antispoof on the interface"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unlike); i++)
		if (!strcmp(unlike[i].name, values[0]))
			iptables_why(r, unlike[i].why);
}

static void nothing(struct iptables_rule *r, char *const values[2])
{
}

static const struct option {
	const char *name;
	unsigned int values;
	option_fn read;
} options[] = {
	{"-s", 1, source},
	{"--source", 1, source},
	{"-d", 1, dest},
	{"--destination", 1, dest},
	{"--src-range", 1, source_range},
	{"--dst-range", 1, dest_range},
	{"-i", 1, interface_in},
	{"-o", 1, interface_out},
	{"-p", 1, protocol},
	{"--sport", 1, source_ports},
	{"--sports", 1, source_ports},
	{"--dport", 1, dest_ports},
	{"--dports", 1, dest_ports},
	{"--ports", 1, either_ports},
	{"--icmp-type", 1, icmp_type},
	{"--icmpv6-type", 1, icmp_type},
	{"--ctstate", 1, states},
	{"--state", 1, states},
	{"--syn", 0, syn},
	{"--tcp-flags", 2, tcp_flags},
	{"--comment", 1, comment},
	{"--limit", 1, limit},
	{"--limit-burst", 1, nothing},
	{"-m", 1, module},
	{"-j", 1, jump},
	{"-g", 1, go_to},
	{"--reject-with", 1, nothing}, /* sluice answers in its own way */
	{"--log-prefix", 1, nothing},
	{"--log-level", 1, nothing},
	{"--log-tcp-options", 0, nothing},
	{"--log-tcp-sequence", 0, nothing},
	{"--log-ip-options", 0, nothing},
	{"--log-uid", 0, nothing},
	{"--nflog-prefix", 1, nothing},
	{"--nflog-group", 1, nothing},
	{"--nflog-size", 1, nothing},
	{"--nflog-threshold", 1, nothing},
};

void iptables_option(struct iptables_rule *r, char **at, iptables_word_fn next)
{
	char *values[2] = {};
	unsigned int n;
	size_t i;

	if (!strcmp(r->word, "!")) {
		r->negated = true;
		return;
	}
	for (i = 0; i < ARRAY_SIZE(options); i++) {
		if (strcmp(options[i].name, r->word))
			continue;
		for (n = 0; n < options[i].values; n++) {
			values[n] = next(at);
			if (!values[n]) {
				iptables_why(r, "ends in the middle of an option");
				return;
			}
		}
		options[i].read(r, values);
		break;
	}
	if (i == ARRAY_SIZE(options) && r->word[0] == '-')
		iptables_why(r, import_print(r->im, "has %s, which has no equal in the language; write it by hand",
					     r->word));
	r->negated = false;
}
