// SPDX-License-Identifier: Apache-2.0
/*
 * The conditions of an nftables rule: what is looked at (address, port, protocol, state, interface, or several of them
 * in one), and what it must be (a value, prefix, range, set). Called by import_nft.c.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/import_nft.h"
#include "policy/values.h"

enum key_kind { KEY_UNKNOWN, KEY_ADDRESS, KEY_PORT, KEY_PROTOCOL, KEY_FAMILY, KEY_ICMP, KEY_STATE, KEY_INTERFACE };

struct key {
	enum key_kind kind;
	unsigned int side;     /* of an address or port */
	unsigned int families; /* that it implies */
	bool any_protocol;     /* of a port: "th" */
	uint8_t protocol;      /* of a port or ICMP type */
};

static const char why_broken[] = "has a value that is not understood; write it by hand";

struct json_object *nft_member(struct json_object *o, const char *key)
{
	struct json_object *member = NULL;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &member) ? member : NULL;
}

const char *nft_text(struct json_object *o, const char *key)
{
	struct json_object *member = nft_member(o, key);

	return json_object_is_type(member, json_type_string) ? json_object_get_string(member) : "";
}

static void why_set(struct nft_rule *r, const char *why)
{
	r->why = r->why ?: why;
}

/* -------------------------------------------------------------------------------- keys */

static const struct {
	const char *object, *protocol, *field; /* {"payload": {protocol, field}} or {"meta"|"ct": {"key": field}} */
	struct key key;
} keys[] = {
	{"payload", "ip", "saddr", {.kind = KEY_ADDRESS, .side = IMPORT_FROM, .families = IMPORT_IPV4}},
	{"payload", "ip", "daddr", {.kind = KEY_ADDRESS, .side = IMPORT_TO, .families = IMPORT_IPV4}},
	{"payload", "ip6", "saddr", {.kind = KEY_ADDRESS, .side = IMPORT_FROM, .families = IMPORT_IPV6}},
	{"payload", "ip6", "daddr", {.kind = KEY_ADDRESS, .side = IMPORT_TO, .families = IMPORT_IPV6}},
	{"payload", "tcp", "sport", {.kind = KEY_PORT, .side = 0, .families = 3, .protocol = IPPROTO_TCP}},
	{"payload", "tcp", "dport", {.kind = KEY_PORT, .side = 1, .families = 3, .protocol = IPPROTO_TCP}},
	{"payload", "udp", "sport", {.kind = KEY_PORT, .side = 0, .families = 3, .protocol = IPPROTO_UDP}},
	{"payload", "udp", "dport", {.kind = KEY_PORT, .side = 1, .families = 3, .protocol = IPPROTO_UDP}},
	{"payload", "sctp", "sport", {.kind = KEY_PORT, .side = 0, .families = 3, .protocol = IPPROTO_SCTP}},
	{"payload", "sctp", "dport", {.kind = KEY_PORT, .side = 1, .families = 3, .protocol = IPPROTO_SCTP}},
	{"payload", "th", "sport", {.kind = KEY_PORT, .side = 0, .families = 3, .any_protocol = true}},
	{"payload", "th", "dport", {.kind = KEY_PORT, .side = 1, .families = 3, .any_protocol = true}},
	{"payload", "ip", "protocol", {.kind = KEY_PROTOCOL, .families = IMPORT_IPV4}},
	{"payload", "ip6", "nexthdr", {.kind = KEY_PROTOCOL, .families = IMPORT_IPV6}},
	{"payload", "icmp", "type", {.kind = KEY_ICMP, .families = IMPORT_IPV4, .protocol = IPPROTO_ICMP}},
	{"payload", "icmpv6", "type", {.kind = KEY_ICMP, .families = IMPORT_IPV6, .protocol = IPPROTO_ICMPV6}},
	{"meta", NULL, "l4proto", {.kind = KEY_PROTOCOL, .families = 3}},
	{"meta", NULL, "nfproto", {.kind = KEY_FAMILY, .families = 3}},
	{"meta", NULL, "protocol", {.kind = KEY_FAMILY, .families = 3}},
	{"meta", NULL, "iifname", {.kind = KEY_INTERFACE, .families = 3}},
	{"meta", NULL, "iif", {.kind = KEY_INTERFACE, .families = 3}},
	{"ct", NULL, "state", {.kind = KEY_STATE, .families = 3}},
};

static struct key key_find(struct json_object *left)
{
	struct json_object *o;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		o = nft_member(left, keys[i].object);
		if (o && (!keys[i].protocol || !strcmp(nft_text(o, "protocol"), keys[i].protocol)) &&
		    !strcmp(nft_text(o, keys[i].protocol ? "field" : "key"), keys[i].field))
			return keys[i].key;
	}
	return (struct key){.kind = KEY_UNKNOWN};
}

static const char *key_why(struct nft_rule *r, struct json_object *left)
{
	return import_print(r->nft->im, "looks at %.200s, which the language does not; write it by hand",
			    json_object_to_json_string_ext(left, JSON_C_TO_STRING_PLAIN));
}

/* ------------------------------------------------------------------------------ values */

/* The values of a condition as they are written: a lone one, or the elements of a set. */
struct values {
	struct json_object **items;
	size_t count;
	const char *name; /* of a named set */
};

static struct json_object *element_value(struct json_object *o)
{
	struct json_object *element = nft_member(o, "elem");

	return element ? nft_member(element, "val") : o;
}

static void value_add(struct nft_rule *r, struct values *v, struct json_object *o)
{
	struct json_object **slot = import_add(r->nft->im, &v->items, &v->count, sizeof(struct json_object *));

	if (slot)
		*slot = o;
}

static void list_add(struct nft_rule *r, struct values *v, struct json_object *list)
{
	size_t i;

	for (i = 0; list && i < json_object_array_length(list); i++)
		value_add(r, v, json_object_array_get_idx(list, i));
}

static const struct nft_set *set_find(struct nft_rule *r, const char *name)
{
	size_t i;

	for (i = 0; i < r->nft->n_sets; i++)
		if (!strcmp(r->nft->sets[i].scope, r->scope) && !strcmp(r->nft->sets[i].name, name))
			return &r->nft->sets[i];
	return NULL;
}

static void values_list(struct nft_rule *r, struct json_object *right, struct values *v)
{
	const char *text = json_object_is_type(right, json_type_string) ? json_object_get_string(right) : "";
	struct json_object *list = nft_member(right, "set");
	const struct nft_set *set;

	if (*text == '@') {
		set = set_find(r, text + 1);
		if (!set || set->dynamic)
			why_set(r, "asks a set that packets add to, or that is not here; write its addresses into a "
				   "segment");
		else
			list_add(r, v, set->elements);
		v->name = import_print(r->nft->im, "%s", text + 1);
	} else if (list || (list = nft_member(right, "|"))) {
		list_add(r, v, list);
	} else if (json_object_is_type(right, json_type_array)) {
		list_add(r, v, right);
	} else {
		value_add(r, v, right);
	}
}

/* ------------------------------------------------------------------- values by their kind */

/* Applied to one match; false: nothing is left of it. */
typedef bool (*apply_fn)(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
			 bool negated);

static bool prefixes_read(struct nft_rule *r, struct json_object *o, struct policy_prefix **list, size_t *count)
{
	struct json_object *prefix = nft_member(o, "prefix"), *range = nft_member(o, "range");
	struct policy_prefix p, last, *slot;
	char text[64];

	if (range && json_object_array_length(range) == 2) {
		if (!import_prefix_read(json_object_get_string(json_object_array_get_idx(range, 0)), &p) ||
		    !import_prefix_read(json_object_get_string(json_object_array_get_idx(range, 1)), &last) ||
		    p.ipv4 != last.ipv4)
			return false;
		import_prefixes_of_range(r->nft->im, p.addr, last.addr, list, count);
		return true;
	}
	if (prefix)
		snprintf(text, sizeof(text), "%s/%d", nft_text(prefix, "addr"),
			 json_object_get_int(nft_member(prefix, "len")));
	else
		snprintf(text, sizeof(text), "%s", json_object_get_string(o) ?: "");
	if (!import_prefix_read(text, &p))
		return false;
	slot = import_add(r->nft->im, list, count, sizeof(*slot));
	if (slot)
		*slot = p;
	return true;
}

static bool address_apply(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
			  bool negated)
{
	struct policy_prefix *list = NULL;
	size_t i, n = 0;

	for (i = 0; i < v->count; i++) {
		if (!prefixes_read(r, element_value(v->items[i]), &list, &n)) {
			why_set(r, why_broken);
			return true;
		}
	}
	if (!n) /* an empty set: nobody is in it */
		return negated;
	return import_match_side(r->nft->im, m, k->side, list, n, negated, v->name);
}

static bool number_of(struct json_object *o, unsigned long *ret)
{
	const char *text = json_object_get_string(o);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	*ret = strtoul(text, &end, 10);
	return !*end && *ret <= 65535;
}

static bool ports_read(const struct key *k, struct json_object *o, struct policy_item *ret)
{
	struct json_object *range = nft_member(o, "range");
	unsigned long first, last;

	if (range && json_object_array_length(range) == 2) {
		if (!number_of(json_object_array_get_idx(range, 0), &first) ||
		    !number_of(json_object_array_get_idx(range, 1), &last))
			return false;
	} else if (!number_of(o, &first)) {
		return false;
	} else {
		last = first;
	}
	*ret = (struct policy_item){
		.any_protocol = k->any_protocol, .protocol = k->protocol, .dest_last = 65535, .source_last = 65535};
	*(k->side ? &ret->dest_first : &ret->source_first) = (uint16_t)first;
	*(k->side ? &ret->dest_last : &ret->source_last) = (uint16_t)last;
	return true;
}

static bool icmp_read(const struct key *k, struct json_object *o, struct policy_item *ret)
{
	static const struct {
		const char *theirs, *ours;
	} names[] = {
		{"nd-router-solicit", "133"},	   {"nd-router-advert", "134"},	    {"nd-neighbor-solicit", "135"},
		{"nd-neighbor-advert", "136"},	   {"nd-redirect", "137"},	    {"mld-listener-query", "130"},
		{"mld-listener-report", "131"},	   {"mld-listener-done", "132"},    {"mld2-listener-report", "143"},
		{"mld-listener-reduction", "132"}, {"ind-neighbor-solicit", "141"}, {"ind-neighbor-advert", "142"},
		{"router-renumbering", "138"},	   {"source-quench", "4"},	    {"router-advertisement", "9"},
		{"router-solicitation", "10"}};
	const char *type = json_object_get_string(o) ?: "";
	char text[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i].theirs, type) && (i < 13) == (k->protocol == IPPROTO_ICMPV6))
			type = names[i].ours;
	snprintf(text, sizeof(text), "%s/%s", k->protocol == IPPROTO_ICMP ? "icmp" : "icmpv6", type);
	return *type && !strpbrk(type, "./") && !value_item(text, ret, NULL);
}

static bool protocol_read(const struct key *k, struct json_object *o, struct policy_item *ret)
{
	const char *name = json_object_get_string(o) ?: "";

	if (!strcmp(name, "ipv6-icmp"))
		name = "icmpv6";
	*ret = (struct policy_item){.dest_last = 65535, .source_last = 65535};
	return !value_protocol(name, &ret->protocol, NULL);
}

static bool items_apply(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
			bool negated)
{
	bool (*read)(const struct key *, struct json_object *, struct policy_item *) = k->kind == KEY_PORT ? ports_read
										       : k->kind == KEY_ICMP
											       ? icmp_read
											       : protocol_read;
	struct policy_item *items = NULL, *slot;
	size_t i, n = 0;

	for (i = 0; i < v->count; i++) {
		slot = import_add(r->nft->im, &items, &n, sizeof(*slot));
		if (!slot || !read(k, element_value(v->items[i]), slot)) {
			why_set(r, why_broken);
			return true;
		}
	}
	if (negated && k->kind == KEY_PROTOCOL) {
		why_set(r, "means every protocol but some; list those that are meant");
		return true;
	}
	if (negated)
		items = import_items_negate(r->nft->im, items, &n);
	return n && import_match_items(r->nft->im, m, items, n);
}

static bool family_apply(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
			 bool negated)
{
	unsigned int set = 0;
	const char *name;
	size_t i;

	for (i = 0; i < v->count; i++) {
		name = json_object_get_string(element_value(v->items[i])) ?: "";
		if (!strcmp(name, "ipv4") || !strcmp(name, "ip"))
			set |= IMPORT_IPV4;
		else if (!strcmp(name, "ipv6") || !strcmp(name, "ip6"))
			set |= IMPORT_IPV6;
		else
			why_set(r, "is not about IP packets; others pass or drop with `default`");
	}
	m->families &= negated ? IMPORT_BOTH & ~set : set;
	return m->families;
}

static bool state_apply(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
			bool negated)
{
	static const struct {
		const char *name;
		unsigned int state;
	} names[] = {{"new", IMPORT_NEW},
		     {"established", IMPORT_ESTABLISHED},
		     {"related", IMPORT_RELATED},
		     {"invalid", IMPORT_INVALID},
		     {"untracked", IMPORT_UNTRACKED}};
	unsigned int set = 0;
	const char *name;
	size_t i, n;

	for (i = 0; i < v->count; i++) {
		name = json_object_get_string(element_value(v->items[i])) ?: "";
		for (n = 0; n < ARRAY_SIZE(names) && strcmp(names[n].name, name); n++)
			;
		if (n == ARRAY_SIZE(names))
			why_set(r, why_broken);
		else
			set |= names[n].state;
	}
	m->states &= negated ? IMPORT_STATES & ~set : set;
	return m->states;
}

static bool interface_apply(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
			    bool negated)
{
	bool holds = false, somewhere = false;
	size_t i;

	for (i = 0; i < v->count; i++) {
		enum import_holds one = import_interface_holds(
			r->nft->im, json_object_get_string(element_value(v->items[i])) ?: "", false);

		holds |= one == IMPORT_HOLDS;
		somewhere |= one == IMPORT_HOLDS_SOMEWHERE;
	}
	if (!holds && somewhere)
		why_set(r, import_why_interface);
	else if (holds == negated)
		r->elsewhere = true;
	return true;
}

static bool key_apply(struct nft_rule *r, struct import_match *m, const struct key *k, const struct values *v,
		      bool negated)
{
	static const apply_fn apply[] = {
		[KEY_ADDRESS] = address_apply,	   [KEY_PORT] = items_apply, [KEY_PROTOCOL] = items_apply,
		[KEY_FAMILY] = family_apply,	   [KEY_ICMP] = items_apply, [KEY_STATE] = state_apply,
		[KEY_INTERFACE] = interface_apply,
	};
	const struct policy_item carrier = {
		.any_protocol = k->any_protocol, .protocol = k->protocol, .dest_last = 65535, .source_last = 65535};

	m->families &= k->families;
	/* "tcp dport != 80" is a condition on TCP packets still. */
	if (negated && (k->kind == KEY_PORT || k->kind == KEY_ICMP) && !import_match_items(r->nft->im, m, &carrier, 1))
		return false;
	return m->families && apply[k->kind](r, m, k, v, negated);
}

/* -------------------------------------------------------------------------- conditions */

/* One value of a key, or one tuple of a concatenation, narrows a match. */
static bool tuple_apply(struct nft_rule *r, struct import_match *m, struct json_object *left, struct json_object *value)
{
	struct json_object *parts = nft_member(left, "concat"), *values = nft_member(value, "concat"), *part;
	size_t i, n = parts ? json_object_array_length(parts) : 1;
	struct values one;
	struct key k;
	bool left_over = true;

	if (parts && (!values || json_object_array_length(values) != n)) {
		why_set(r, why_broken);
		return true;
	}
	for (i = 0; i < n && left_over && !r->why; i++) {
		part = parts ? json_object_array_get_idx(values, i) : value;
		one = (struct values){};
		values_list(r, part, &one);
		k = key_find(parts ? json_object_array_get_idx(parts, i) : left);
		if (k.kind == KEY_UNKNOWN)
			why_set(r, key_why(r, parts ? json_object_array_get_idx(parts, i) : left));
		else
			left_over = key_apply(r, m, &k, &one, false);
	}
	return left_over;
}

/* Every alternative with every value; what nothing is left of goes. */
static void alternatives_multiply(struct nft_rule *r, struct json_object *left, const struct values *v,
				  struct json_object *const *verdicts)
{
	struct nft_alternative *list = NULL, *slot, one;
	size_t count = 0, i, n;

	for (i = 0; i < r->n_alternatives; i++) {
		for (n = 0; n < v->count && !r->why && !r->nft->im->failed; n++) {
			one = r->alternatives[i];
			if (verdicts)
				one.verdict = verdicts[n];
			if (!tuple_apply(r, &one.match, left, element_value(v->items[n])))
				continue;
			slot = import_add(r->nft->im, &list, &count, sizeof(*slot));
			if (slot)
				*slot = one;
		}
	}
	r->alternatives = list;
	r->n_alternatives = count;
}

/* "tcp dport < 1024" */
static void compare_apply(struct nft_rule *r, const struct key *k, const char *op, struct json_object *right)
{
	long number = json_object_get_int(right), first = 0, last = 65535;
	struct policy_item item = {
		.any_protocol = k->any_protocol, .protocol = k->protocol, .dest_last = 65535, .source_last = 65535};
	size_t i, kept = 0;

	if (op[0] == '<')
		last = number - (op[1] != '=');
	else
		first = number + (op[1] != '=');
	if (k->kind != KEY_PORT || !json_object_is_type(right, json_type_int) || first > last || first < 0 ||
	    last > 65535) {
		why_set(r, why_broken);
		return;
	}
	*(k->side ? &item.dest_first : &item.source_first) = (uint16_t)first;
	*(k->side ? &item.dest_last : &item.source_last) = (uint16_t)last;
	for (i = 0; i < r->n_alternatives; i++)
		if (import_match_items(r->nft->im, &r->alternatives[i].match, &item, 1))
			r->alternatives[kept++] = r->alternatives[i];
	r->n_alternatives = kept;
}

void nft_match(struct nft_rule *r, struct json_object *match)
{
	struct json_object *left = nft_member(match, "left"), *right = nft_member(match, "right");
	const char *op = nft_text(match, "op");
	struct key k = key_find(left);
	struct values v = {};
	size_t i, kept = 0;

	if (*op == '<' || *op == '>') {
		compare_apply(r, &k, op, right);
		return;
	}
	values_list(r, right, &v);
	if (r->why)
		return;
	if (nft_member(left, "concat")) {
		if (!strcmp(op, "!="))
			why_set(r, "excludes combinations; list those that are meant");
		else
			alternatives_multiply(r, left, &v, NULL);
		return;
	}
	if (k.kind == KEY_UNKNOWN) {
		why_set(r, key_why(r, left));
		return;
	}
	for (i = 0; i < r->n_alternatives && !r->why; i++)
		if (key_apply(r, &r->alternatives[i].match, &k, &v, !strcmp(op, "!=")))
			r->alternatives[kept++] = r->alternatives[i];
	if (!r->why)
		r->n_alternatives = kept;
}

void nft_verdict_map(struct nft_rule *r, struct json_object *map)
{
	struct values pairs = {}, v = {}, verdicts = {};
	size_t i;

	values_list(r, nft_member(map, "data"), &pairs);
	for (i = 0; i < pairs.count; i++) {
		struct json_object *pair = pairs.items[i];

		if (!json_object_is_type(pair, json_type_array) || json_object_array_length(pair) != 2) {
			why_set(r, why_broken);
			return;
		}
		value_add(r, &v, json_object_array_get_idx(pair, 0));
		value_add(r, &verdicts, json_object_array_get_idx(pair, 1));
	}
	if (!r->why)
		alternatives_multiply(r, nft_member(map, "key"), &v, verdicts.items);
}
