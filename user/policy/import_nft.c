// SPDX-License-Identifier: Apache-2.0
/*
 * `nft -j list ruleset` → chains of entries. Called by import.c. This file reads tables, sets, chains, rules and
 * verdicts; conditions are import_nft_match.c. A rule with concatenations or a verdict map becomes one entry for each
 * of their elements, in order. JSON does not keep lines, so they are counted beside the parser.
 */
#include "policy/import_nft.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static const struct {
	const char *name;
	enum import_verdict verdict;
} verdicts[] = {
	{"accept", IMPORT_VERDICT_ACCEPT}, {"drop", IMPORT_VERDICT_DROP}, {"reject", IMPORT_VERDICT_REJECT},
	{"jump", IMPORT_VERDICT_JUMP},	   {"goto", IMPORT_VERDICT_GOTO}, {"return", IMPORT_VERDICT_RETURN},
	{"continue", IMPORT_VERDICT_NONE},
};

static const struct {
	const char *name;
	enum import_verdict verdict; /* what leaving it out is like */
	const char *why;
} unlike[] = {
	{"queue", IMPORT_VERDICT_DROP, "asks a program for a verdict; write the verdict by hand"},
	{"tproxy", IMPORT_VERDICT_DROP, "hands packets to a proxy; sluice does not"},
	{"meter", IMPORT_VERDICT_NONE, "limits a rate by address; write it as `limit: {rate: 10 pps, per: source}`"},
	{"set", IMPORT_VERDICT_NONE, "adds to a set; list the addresses in a segment"},
	{"quota", IMPORT_VERDICT_NONE, "counts against a quota; sluice does not"},
	{"ct count", IMPORT_VERDICT_NONE, "limits connections; sluice does not"},
	{"fib", IMPORT_VERDICT_NONE, "asks the routing table; use antispoof on the interface"},
};

/* Counts, and judges nothing. */
static const char *const silent[] = {"counter", "last"};

/* ------------------------------------------------------------------------------ chains */

static const char *scope_make(struct nft *n, struct json_object *o)
{
	return import_print(n->im, "%s %s", nft_text(o, "family"), nft_text(o, "table")) ?: "";
}

static unsigned int families_of(struct json_object *o)
{
	const char *family = nft_text(o, "family");

	if (!strcmp(family, "ip"))
		return IMPORT_IPV4;
	return !strcmp(family, "ip6") ? IMPORT_IPV6 : IMPORT_BOTH;
}

static void chain_read(struct nft *n, struct json_object *o)
{
	static const struct {
		const char *name;
		enum import_hook hook;
	} hooks[] = {{"input", IMPORT_HOOK_INPUT},     {"forward", IMPORT_HOOK_FORWARD},
		     {"ingress", IMPORT_HOOK_INGRESS}, {"prerouting", IMPORT_HOOK_OTHER},
		     {"output", IMPORT_HOOK_OUTPUT},   {"egress", IMPORT_HOOK_OTHER}};
	struct import_chain *c = import_add(n->im, &n->im->chains, &n->im->n_chains, sizeof(*c));
	const char *family = nft_text(o, "family");
	size_t i;

	if (!c)
		return;
	*c = (struct import_chain){.name = import_print(n->im, "%s", nft_text(o, "name")) ?: "",
				   .scope = scope_make(n, o),
				   .families = families_of(o),
				   .policy = strcmp(nft_text(o, "policy"), "drop") ? IMPORT_VERDICT_ACCEPT
										   : IMPORT_VERDICT_DROP};
	if (strcmp(nft_text(o, "type"), "filter") || !strcmp(family, "arp") || !strcmp(family, "bridge"))
		return;
	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (!strcmp(hooks[i].name, nft_text(o, "hook")))
			c->hook = hooks[i].hook;
}

static void set_read(struct nft *n, struct json_object *o)
{
	struct nft_set *s = import_add(n->im, &n->sets, &n->n_sets, sizeof(*s));
	struct json_object *flags = nft_member(o, "flags");
	size_t i;

	if (!s)
		return;
	*s = (struct nft_set){scope_make(n, o), import_print(n->im, "%s", nft_text(o, "name")) ?: "",
			      nft_member(o, "elem"), false};
	for (i = 0; json_object_is_type(flags, json_type_array) && i < json_object_array_length(flags); i++)
		s->dynamic |= !strcmp(json_object_get_string(json_object_array_get_idx(flags, i)) ?: "", "dynamic");
}

/* --------------------------------------------------------------------------- statements */

static bool verdict_read(struct nft *n, const char *name, struct json_object *value, struct import_entry *e)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(verdicts); i++) {
		if (strcmp(verdicts[i].name, name))
			continue;
		e->verdict = verdicts[i].verdict;
		if (e->verdict == IMPORT_VERDICT_JUMP || e->verdict == IMPORT_VERDICT_GOTO)
			e->target = import_print(n->im, "%s", nft_text(value, "target"));
		return true;
	}
	return false;
}

static void limit_read(struct json_object *o, struct import_entry *e)
{
	static const struct {
		const char *per;
		unsigned int seconds;
	} units[] = {{"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", 86400}, {"week", 604800}};
	int rate = json_object_get_int(nft_member(o, "rate"));
	size_t i;

	for (i = 0; i < ARRAY_SIZE(units); i++)
		if (rate > 0 && !strcmp(nft_text(o, "per"), units[i].per))
			e->log_every = max(units[i].seconds / (unsigned int)rate, 1u);
}

static bool is_silent(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(silent); i++)
		if (!strcmp(silent[i], name))
			return true;
	return false;
}

static void other_read(struct nft_rule *r, const char *name, struct import_entry *e)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unlike); i++) {
		if (strcmp(unlike[i].name, name))
			continue;
		r->why = r->why ?: unlike[i].why;
		e->verdict = e->verdict ?: unlike[i].verdict;
		return;
	}
	r->why = r->why
			 ?: import_print(r->nft->im, "has the statement `%s`, which has no equal; write it by hand",
					 name);
}

static void statement_read(struct nft_rule *r, const char *name, struct json_object *value, struct import_entry *e,
			   bool *limited)
{
	if (!strcmp(name, "match")) {
		nft_match(r, value);
	} else if (!strcmp(name, "vmap")) {
		nft_verdict_map(r, value);
	} else if (!strcmp(name, "log")) {
		e->log = true;
	} else if (!strcmp(name, "limit")) {
		*limited = true;
		limit_read(value, e);
	} else if (!is_silent(name) && !verdict_read(r->nft, name, value, e)) {
		other_read(r, name, e);
	}
}

static void statements_read(struct nft_rule *r, struct json_object *expressions, struct import_entry *e)
{
	struct json_object *one;
	bool limited = false;
	size_t i;

	for (i = 0; i < json_object_array_length(expressions); i++) {
		one = json_object_array_get_idx(expressions, i);
		if (!json_object_is_type(one, json_type_object))
			continue;
		json_object_object_foreach(one, name, value)
		{
			statement_read(r, name, value, e, &limited);
		}
	}
	if (e->log && !e->verdict)
		e->verdict = IMPORT_VERDICT_LOG;
	if (limited && e->verdict != IMPORT_VERDICT_LOG)
		r->why = r->why ?: "limits a rate; write it as `limit: {rate: 10 pps}` on a rule";
}

/* -------------------------------------------------------------------------------- rules */

/* "th dport 53" without a protocol: those that have ports. */
static void ports_settle(struct import *im, struct import_match *m)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	struct policy_item *items = NULL, *slot;
	size_t i, k, n = 0;

	for (i = 0; i < m->n_items; i++) {
		for (k = 0; k < (m->items[i].any_protocol ? ARRAY_SIZE(protocols) : 1); k++) {
			slot = import_add(im, &items, &n, sizeof(*slot));
			if (!slot)
				return;
			*slot = m->items[i];
			if (slot->any_protocol)
				slot->protocol = protocols[k];
			slot->any_protocol = false;
		}
	}
	m->items = items;
	m->n_items = n;
}

static void entry_add(struct nft_rule *r, struct import_chain *c, const struct import_entry *from,
		      const struct nft_alternative *a)
{
	struct import_entry *e = import_add(r->nft->im, &c->entries, &c->n_entries, sizeof(*e));

	if (!e)
		return;
	*e = *from;
	e->why = r->why;
	e->elsewhere = r->elsewhere && !r->why;
	if (!a)
		return;
	e->match = a->match;
	ports_settle(r->nft->im, &e->match);
	if (!a->verdict)
		return;
	json_object_object_foreach(a->verdict, name, value)
	{
		if (!verdict_read(r->nft, name, value, e))
			e->why = e->why ?: "has a verdict that is not understood; write it by hand";
	}
}

static struct import_chain *chain_find(struct nft *n, struct json_object *o)
{
	const char *scope = scope_make(n, o), *name = nft_text(o, "chain");
	size_t i;

	for (i = 0; i < n->im->n_chains; i++)
		if (!strcmp(n->im->chains[i].scope, scope) && !strcmp(n->im->chains[i].name, name))
			return &n->im->chains[i];
	return NULL;
}

static void rule_read(struct nft *n, struct json_object *o, unsigned int line)
{
	struct nft_rule r = {.nft = n, .scope = scope_make(n, o)};
	struct json_object *expressions = nft_member(o, "expr");
	struct import_chain *c = chain_find(n, o);
	struct import_entry e = {.line = line};
	struct nft_alternative first = {.match = import_match_any(families_of(o))}, *slot;
	size_t i;

	n->im->lines++;
	e.match = first.match;
	e.text = import_print(n->im, "table %s chain %s handle %d: %s", r.scope, nft_text(o, "chain"),
			      json_object_get_int(nft_member(o, "handle")),
			      json_object_to_json_string_ext(expressions, JSON_C_TO_STRING_PLAIN));
	if (*nft_text(o, "comment"))
		e.name = import_print(n->im, "%s", nft_text(o, "comment"));
	slot = import_add(n->im, &r.alternatives, &r.n_alternatives, sizeof(*slot));
	if (!slot)
		return;
	*slot = first;
	if (!c || !json_object_is_type(expressions, json_type_array)) {
		import_drop(n->im, line, e.text, "stands in a chain that is not listed; give the whole ruleset", true);
		return;
	}
	statements_read(&r, expressions, &e);
	if (r.why)
		entry_add(&r, c, &e, NULL);
	for (i = 0; i < r.n_alternatives && !r.why; i++)
		entry_add(&r, c, &e, &r.alternatives[i]);
}

/* -------------------------------------------------------------------------------- text */

/* The line on which each element of the list begins; every element is an object. */
struct lines {
	const char *at, *end;
	unsigned int line, depth;
	bool quoted;
};

static unsigned int lines_next(struct lines *l)
{
	for (; l->at < l->end; l->at++) {
		if (*l->at == '\n')
			l->line++;
		else if (l->quoted && *l->at == '\\')
			l->at++;
		else if (*l->at == '"')
			l->quoted = !l->quoted;
		else if (!l->quoted && (*l->at == '}' || *l->at == ']'))
			l->depth--;
		else if (!l->quoted && (*l->at == '{' || *l->at == '[') && l->depth++ == 2 && l->at++)
			return l->line;
	}
	return l->line;
}

static void list_read(struct nft *n, struct json_object *list, const char *text, size_t length)
{
	struct lines lines = {.at = text, .end = text + length, .line = 1};
	size_t i, pass;
	struct json_object *o, *one;

	/* Chains and sets first: a rule may stand before the set that it asks. */
	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < json_object_array_length(list) && !n->im->failed; i++) {
			unsigned int line = pass ? lines_next(&lines) : 0;

			o = json_object_array_get_idx(list, i);
			if (!pass && (one = nft_member(o, "chain")))
				chain_read(n, one);
			else if (!pass && ((one = nft_member(o, "set")) || (one = nft_member(o, "map"))))
				set_read(n, one);
			else if (pass && (one = nft_member(o, "rule")))
				rule_read(n, one, line);
		}
	}
}

void import_nft_read(struct import *im, const char *text, size_t length)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *root, *list;
	struct nft n = {.im = im};

	if (!tokener || length > INT32_MAX) {
		im->failed = -ENOMEM;
		return;
	}
	root = json_tokener_parse_ex(tokener, text, (int)length);
	list = nft_member(root, "nftables");
	if (!root && json_tokener_get_error(tokener) != json_tokener_success)
		import_fail(im, EINVAL, "is broken JSON at byte %zu: %s; make it with `nft -j list ruleset`",
			    json_tokener_get_parse_end(tokener),
			    json_tokener_error_desc(json_tokener_get_error(tokener)));
	else if (!json_object_is_type(list, json_type_array))
		import_fail(im, EINVAL, "is JSON but no ruleset; make it with `nft -j list ruleset`");
	else
		list_read(&n, list, text, length);
	if (!im->failed && im->lines)
		import_flatten(im);
	json_object_put(root);
	json_tokener_free(tokener);
}

bool import_nft_is(const char *text, size_t length)
{
	size_t blank = strspn(text, " \t\r\n");

	return blank < length && text[blank] == '{' && memmem(text, length, "\"nftables\"", 10);
}
