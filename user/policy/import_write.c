// SPDX-License-Identifier: Apache-2.0
/*
 * Rules → YAML that a person would have written: what is used several times gets a name, what is used once stays where
 * it is used. Called by import.c when a reader is done. What was left out stands at the end as comments.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/array.h"
#include "policy/import_internal.h"
#include "policy/values.h"

enum {
	INLINE_MAX = 6,	 /* longer lists get a name even if they are used once */
	SINGLE_USES = 3, /* a lone prefix gets a name from this many uses */
};

/* Text under construction. */
struct buffer {
	char *text;
	size_t length, capacity;
};

/* A distinct list of addresses or of service items. */
struct list {
	char *text; /* as it stands in YAML, without a name */
	const char *name;
	size_t uses;
	size_t count; /* of prefixes or items */
	bool must;    /* cannot stand in a rule */
};

struct lists {
	struct list *items;
	size_t count;
	struct hash_index index;
};

struct names {
	const char **items;
	size_t count;
	struct hash_index index;
};

struct writer {
	struct import *im;
	FILE *out;
	struct buffer buffer;
	struct lists sides, services;
	struct names segment_names, service_names, rule_names;
	struct refs {
		uint32_t side[2], service; /* HASH_NONE: any */
	} * refs;
};

/* ----------------------------------------------------------------------------- text */

static void put(struct writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct writer *w, const char *fmt, ...)
{
	struct buffer *b = &w->buffer;
	va_list ap;
	int n;

	if (array_reserve(&b->text, &b->capacity, b->length, 160, 1)) {
		w->im->failed = w->im->failed ?: -ENOMEM;
		return;
	}
	va_start(ap, fmt);
	n = vsnprintf(b->text + b->length, 160, fmt, ap);
	va_end(ap);
	b->length += (size_t)min(n, 159);
}

static void put_prefix(struct writer *w, const struct policy_prefix *p)
{
	char text[INET6_ADDRSTRLEN];
	const char *quote = p->ipv4 ? "" : "\"";

	inet_ntop(p->ipv4 ? AF_INET : AF_INET6, p->addr + (p->ipv4 ? 12 : 0), text, sizeof(text));
	if (p->length == (p->ipv4 ? 32 : 128))
		put(w, "%s%s%s", quote, text, quote);
	else
		put(w, "%s%s/%u%s", quote, text, p->length, quote);
}

static void put_prefixes(struct writer *w, const struct policy_prefix *prefixes, size_t count)
{
	size_t i;

	put(w, "[");
	for (i = 0; i < count; i++) {
		put(w, i ? ", " : "");
		put_prefix(w, &prefixes[i]);
	}
	put(w, "]");
}

static void put_ports(struct writer *w, uint16_t first, uint16_t last)
{
	if (first == last && first)
		put(w, "%u", first);
	else
		put(w, "%u-%u", first, last);
}

static const char *protocol_name(uint8_t protocol, char text[4])
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_SCTP:
		return "sctp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	case IPPROTO_GRE:
		return "gre";
	case IPPROTO_ESP:
		return "esp";
	case IPPROTO_AH:
		return "ah";
	default:
		snprintf(text, 4, "%u", protocol);
		return text;
	}
}

static void put_icmp(struct writer *w, const char *protocol, const struct policy_item *item)
{
	unsigned int type = item->dest_first >> 8, code;
	bool echo = (!strcmp(protocol, "icmp") && type == 8) || (!strcmp(protocol, "icmpv6") && type == 128);

	for (; type <= item->dest_last >> 8u; type++) {
		unsigned int from = type == item->dest_first >> 8u ? item->dest_first & 255u : 0;
		unsigned int to = type == item->dest_last >> 8u ? item->dest_last & 255u : 255;

		if (type != item->dest_first >> 8u)
			put(w, ", ");
		if (!from && to == 255 && echo && item->dest_first >> 8 == item->dest_last >> 8)
			put(w, "%s/echo-request", protocol);
		else if (!from && to == 255)
			put(w, "%s/%u", protocol, type);
		for (code = from; code <= to && (from || to != 255); code++)
			put(w, "%s%s/%u.%u", code > from ? ", " : "", protocol, type, code);
	}
}

static void put_item(struct writer *w, const struct policy_item *item)
{
	bool source = item->source_first || item->source_last != 65535;
	bool dest = item->dest_first || item->dest_last != 65535;
	char number[4];
	const char *protocol = protocol_name(item->protocol, number);

	if (!value_protocol_has_ports(item->protocol)) {
		if (dest && (item->protocol == IPPROTO_ICMP || item->protocol == IPPROTO_ICMPV6))
			put_icmp(w, protocol, item);
		else
			put(w, "%s", protocol);
	} else if (source) {
		put(w, "{protocol: %s, source-ports: ", protocol);
		put_ports(w, item->source_first, item->source_last);
		if (dest) {
			put(w, ", ports: ");
			put_ports(w, item->dest_first, item->dest_last);
		}
		put(w, "}");
	} else {
		put(w, "%s", protocol);
		if (dest) {
			put(w, "/");
			put_ports(w, item->dest_first, item->dest_last);
		}
	}
}

/* ----------------------------------------------------------------------------- names */

static bool name_is(const void *arg, const void *key, uint32_t id)
{
	return !strcmp(((const struct names *)arg)->items[id], key);
}

static bool name_taken(const struct names *names, const char *name)
{
	return !strcmp(name, "any") || !strcmp(name, "default") ||
	       hash_index_find(&names->index, hash_string(name), name_is, names, name) != HASH_NONE;
}

/* A name that the language takes and that nothing else has; `wanted` may be anything. */
static const char *name_make(struct writer *w, struct names *names, const char *wanted)
{
	char base[SLUICE_NAME_LEN - 12], name[SLUICE_NAME_LEN], *slot;
	unsigned int twin = 1;
	const char **entry;
	size_t n = 0;

	if (!isalpha((unsigned char)wanted[0]) && wanted[0] != '_')
		base[n++] = 'r';
	for (; *wanted && n < sizeof(base) - 1; wanted++) {
		if (isalnum((unsigned char)*wanted) || strchr("_.-", *wanted))
			base[n++] = *wanted;
		else if (n && base[n - 1] != '-')
			base[n++] = '-';
	}
	while (n > 1 && base[n - 1] == '-')
		n--;
	base[n] = 0;
	snprintf(name, sizeof(name), "%s", base);
	while (name_taken(names, name)) {
		twin = twin < 16 ? twin + 1 : (unsigned int)names->count + twin; /* thousands may want one name */
		snprintf(name, sizeof(name), "%s-%u", base, twin);
	}
	slot = import_copy(w->im, name, strlen(name));
	entry = slot ? import_add(w->im, &names->items, &names->count, sizeof(*entry)) : NULL;
	if (!entry)
		return "";
	*entry = slot;
	if (hash_index_add(&names->index, hash_string(slot), (uint32_t)names->count - 1))
		w->im->failed = -ENOMEM;
	return slot;
}

/* ----------------------------------------------------------------------------- lists */

static bool list_is(const void *arg, const void *key, uint32_t id)
{
	return !strcmp(((const struct lists *)arg)->items[id].text, key);
}

/* What the buffer holds, as a list; the same text is the same list. */
static uint32_t list_take(struct writer *w, struct lists *lists, size_t count, bool must, const char *name)
{
	const char *text = w->buffer.text;
	uint64_t hash;
	uint32_t id;
	struct list *l;

	if (w->im->failed || !text)
		return HASH_NONE;
	hash = hash_bytes(text, w->buffer.length);
	id = hash_index_find(&lists->index, hash, list_is, lists, text);
	if (id == HASH_NONE) {
		l = import_add(w->im, &lists->items, &lists->count, sizeof(*l));
		if (!l || hash_index_add(&lists->index, hash, (uint32_t)lists->count - 1)) {
			w->im->failed = -ENOMEM;
			return HASH_NONE;
		}
		*l = (struct list){import_copy(w->im, text, w->buffer.length), name, 0, count, must};
		id = (uint32_t)lists->count - 1;
	}
	lists->items[id].uses++;
	lists->items[id].name = lists->items[id].name ?: name;
	return id;
}

static uint32_t side_take(struct writer *w, const struct import_side *s)
{
	if (s->any)
		return HASH_NONE;
	w->buffer.length = 0;
	if (s->n_except) {
		put(w, "{include: ");
		put_prefixes(w, s->include, s->n_include);
		put(w, ", except: ");
		put_prefixes(w, s->except, s->n_except);
		put(w, "}");
	} else if (s->n_include == 1) {
		put_prefix(w, s->include);
	} else {
		put_prefixes(w, s->include, s->n_include);
	}
	return list_take(w, &w->sides, s->n_include + s->n_except, s->n_except, s->name);
}

static uint32_t service_take(struct writer *w, const struct import_match *m)
{
	size_t i;

	if (m->any_service)
		return HASH_NONE;
	w->buffer.length = 0;
	for (i = 0; i < m->n_items; i++) {
		put(w, i ? ", " : "");
		put_item(w, &m->items[i]);
	}
	return list_take(w, &w->services, m->n_items, false, NULL);
}

/* "host-192.0.2.1", "net-10.0.0.0-8", "not-10.0.0.0-8": what a lone prefix is called, or all but one. */
static const char *prefix_name(struct writer *w, const struct list *l)
{
	const char *except = l->must ? strstr(l->text, "except: [") : NULL;
	const char *text = except ? except + strlen("except: [") : l->text;
	char *name = import_print(w->im, "%s-%s",
				  except	      ? "not"
				  : strchr(text, '/') ? "net"
						      : "host",
				  text + (text[0] == '"'));
	char *c;

	for (c = name; c && *c; c++)
		*c = *c == ':' ? '_' : *c == '/' ? '-' : *c == '"' || *c == ']' ? 0 : *c;
	return name ?: "";
}

static bool is_all_but_one(const struct list *l)
{
	return l->must && l->count == 2 && (strstr(l->text, "[0.0.0.0/0]") || strstr(l->text, "[\"::/0\"]"));
}

static bool side_named(const struct list *l)
{
	return l->must || l->name || l->uses >= (l->count == 1 ? SINGLE_USES : 2) || l->count > INLINE_MAX;
}

static bool service_named(const struct list *l)
{
	return l->count > 1 && (l->uses > 1 || l->count > INLINE_MAX);
}

/* ---------------------------------------------------------------------------- sections */

static void wrapped(FILE *out, const char *text)
{
	/* Long lists break after a comma near the 120th column. */
	size_t column = 0;

	for (; *text; text++) {
		if (*text == ' ' && column > 100 && text[-1] == ',') {
			fputs("\n     ", out);
			column = 5;
		}
		putc(*text, out);
		column++;
	}
}

static void segments_write(struct writer *w)
{
	struct list *l;
	bool any = false;

	for (l = w->sides.items; w->sides.count && l < w->sides.items + w->sides.count; l++) {
		if (!side_named(l)) {
			l->name = NULL;
			continue;
		}
		fputs(any ? "" : "segments:\n", w->out);
		any = true;
		l->name = name_make(w, &w->segment_names,
				    l->name					       ? l->name
				    : (l->count == 1 && !l->must) || is_all_but_one(l) ? prefix_name(w, l)
										       : "group");
		fprintf(w->out, "  %s: ", l->name);
		wrapped(w->out, l->count == 1 && !l->must ? import_print(w->im, "[%s]", l->text) ?: "" : l->text);
		putc('\n', w->out);
	}
}

static void services_write(struct writer *w)
{
	struct list *l;
	bool any = false;

	for (l = w->services.items; w->services.count && l < w->services.items + w->services.count; l++) {
		if (!service_named(l))
			continue;
		fputs(any ? "" : "services:\n", w->out);
		any = true;
		l->name = name_make(w, &w->service_names, "service-1");
		fprintf(w->out, "  %s: [", l->name);
		wrapped(w->out, l->text);
		fputs("]\n", w->out);
	}
}

static void side_write(struct writer *w, const char *key, uint32_t id, const char *any)
{
	const struct list *l = id == HASH_NONE ? NULL : &w->sides.items[id];

	fprintf(w->out, ", %s: %s", key, !l ? any : l->name ? l->name : l->text);
}

static void service_write(struct writer *w, uint32_t id)
{
	const struct list *l;

	if (id == HASH_NONE)
		return;
	l = &w->services.items[id];
	if (l->name)
		fprintf(w->out, ", service: %s", l->name);
	else
		fprintf(w->out, l->count == 1 && !strpbrk(l->text, "{,") ? ", service: %s" : ", service: [%s]",
			l->text);
}

static void rule_write(struct writer *w, const struct import_rule *rule, const struct refs *refs)
{
	static const char *const actions[] = {
		[SLUICE_ACTION_ALLOW] = "allow", [SLUICE_ACTION_DENY] = "deny", [SLUICE_ACTION_REJECT] = "reject"};
	const char *family = rule->match.families == IMPORT_IPV4   ? "0.0.0.0/0"
			     : rule->match.families == IMPORT_IPV6 ? "\"::/0\""
								   : "any";

	fprintf(w->out, "  - {name: %s", name_make(w, &w->rule_names, rule->name ?: "rule"));
	side_write(w, "from", refs->side[IMPORT_FROM], refs->side[IMPORT_TO] == HASH_NONE ? family : "any");
	side_write(w, "to", refs->side[IMPORT_TO], "any");
	service_write(w, refs->service);
	fprintf(w->out, ", action: %s", actions[rule->action]);
	fputs(rule->stateless ? ", stateful: false" : "", w->out);
	fputs(rule->audit ? ", mode: audit" : "", w->out);
	if (rule->log && rule->log_every)
		fprintf(w->out, ", log: {every: %us}", rule->log_every);
	else if (rule->log)
		fputs(", log: true", w->out);
	fputs("}\n", w->out);
}

static void rules_write(struct writer *w)
{
	size_t i;

	fputs(w->im->n_rules ? "rules:\n" : "rules: []\n", w->out);
	for (i = 0; i < w->im->n_rules; i++)
		rule_write(w, &w->im->rules[i], &w->refs[i]);
}

/* Comments hold what the input held, which may be anything; YAML wants printable text. */
static void comment_write(FILE *out, const char *indent, const char *text)
{
	fprintf(out, "#%s", indent);
	for (; *text; text++)
		putc(isprint((unsigned char)*text) ? *text : '?', out);
	putc('\n', out);
}

static void dropped_write(struct writer *w)
{
	const struct import *im = w->im;
	const struct import_dropped *d;

	if (im->n_dropped)
		fprintf(w->out, "\n# Not carried over, %zu of %zu:\n", im->n_dropped, im->lines);
	for (d = im->dropped; im->n_dropped && d < im->dropped + im->n_dropped; d++) {
		fprintf(w->out, "#   line %u:\n", d->line);
		comment_write(w->out, "     ", d->text);
		comment_write(w->out, "       ", d->why);
		if (d->widens)
			comment_write(w->out, "       ",
				      "WARNING: later rules may now allow what this line kept from them");
	}
}

static void head_write(struct writer *w, enum import_format format)
{
	const struct import_options *o = w->im->options;
	struct names one = {};
	size_t i;

	fprintf(w->out, "# Made by `sluice import` from %s of %zu rules.\n",
		format == IMPORT_CLASSBENCH ? "a ClassBench set"
		: format == IMPORT_NFT	    ? "an nftables ruleset"
					    : "iptables-save output",
		w->im->lines);
	for (i = 0; i < w->im->n_notes; i++)
		comment_write(w->out, " Note: ", w->im->notes[i]);
	fprintf(w->out, "sluice: 1\nname: %s\ndefault: %s\n", name_make(w, &one, o->name ?: "imported"),
		w->im->default_allow ? "allow" : "deny");
	hash_index_done(&one.index);
	fputs(o->n_interfaces ? "interfaces:\n" : "", w->out);
	for (i = 0; i < o->n_interfaces; i++)
		fprintf(w->out, "  - name: \"%s\"\n", o->interfaces[i]);
}

static void writer_done(struct writer *w)
{
	free(w->buffer.text);
	hash_index_done(&w->sides.index);
	hash_index_done(&w->services.index);
	hash_index_done(&w->segment_names.index);
	hash_index_done(&w->service_names.index);
	hash_index_done(&w->rule_names.index);
}

static void writer_collect(struct writer *w)
{
	const struct import_match *m;
	size_t i;

	w->refs = import_alloc(w->im, max(w->im->n_rules, (size_t)1) * sizeof(*w->refs));
	for (i = 0; i < w->im->n_rules && !w->im->failed; i++) {
		m = &w->im->rules[i].match;
		w->refs[i].side[IMPORT_FROM] = side_take(w, &m->side[IMPORT_FROM]);
		w->refs[i].side[IMPORT_TO] = side_take(w, &m->side[IMPORT_TO]);
		w->refs[i].service = service_take(w, m);
	}
}

int import_write(struct import *im, enum import_format format, char **ret_text)
{
	_cleanup_(writer_done) struct writer w = {.im = im};
	_cleanup_free_ char *text = NULL;
	size_t length = 0;
	bool bad;

	writer_collect(&w);
	if (im->failed)
		return im->failed;
	w.out = open_memstream(&text, &length);
	if (!w.out)
		return -ENOMEM;
	head_write(&w, format);
	segments_write(&w);
	services_write(&w);
	rules_write(&w);
	dropped_write(&w);
	bad = ferror(w.out);
	if (fclose(w.out) || bad || im->failed)
		return im->failed ?: -ENOMEM;
	*ret_text = TAKE_PTR(text);
	return 0;
}
