// SPDX-License-Identifier: Apache-2.0
/*
 * Nodes → struct fields, driven by tables. Called by the yaml_*.c files. Holds: a wrong node is noted once, with its
 * place, and never stops the reading of its neighbours; running out of memory is noted in reader.failed.
 */
#include "policy/reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/diagnostics.h"
#include "policy/values.h"

void reader_warning(struct reader *r, const struct node *at, const char *text)
{
	if (diagnostics_add(r->diagnostics, POLICY_WARNING, at->place, "%s", text))
		r->failed = -ENOMEM;
}

void reader_error(struct reader *r, const struct node *at, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->wrong = true;
	if (diagnostics_add(r->diagnostics, POLICY_ERROR, at->place, "%s", text))
		r->failed = -ENOMEM;
}

void *reader_add(struct reader *r, void *items, size_t *count, size_t size)
{
	void *fresh = array_add(items, count, size);

	if (!fresh)
		r->failed = -ENOMEM;
	return fresh;
}

char *reader_strdup(struct reader *r, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		r->failed = -ENOMEM;
	return copy;
}

static const char *kind_name(const struct node *node)
{
	static const char *const names[] = {"a single value", "a list", "a mapping"};

	return names[node->kind];
}

bool reader_is_list(struct reader *r, const struct node *node, const char *what)
{
	if (node->kind == NODE_LIST)
		return true;
	if (node->kind == NODE_MAPPING)
		reader_error(r, node, "%s must be a list, not a mapping; begin each of its entries with '- '", what);
	else if (!*node->text)
		reader_error(r, node, "%s is empty; write a list, as in [a, b], or remove the key", what);
	else
		reader_error(r, node, "%s must be a list; write [%.63s]", what, node->text);
	return false;
}

const char *reader_scalar(struct reader *r, const struct node *node, const char *what)
{
	if (node->kind == NODE_SCALAR)
		return node->text;
	if (node->kind == NODE_MAPPING && node->n_children && node->children[0].kind == NODE_SCALAR &&
	    value_looks_like_prefix(node->children[0].text))
		reader_error(r, node, "%s must be a single value; an IPv6 address needs quotes here, as in \"fd00::1\"",
			     what);
	else
		reader_error(r, node, "%s must be a single value, not %s; write it without brackets", what,
			     kind_name(node));
	return NULL;
}

const char *reader_address(struct reader *r, const struct node *node, const char *what)
{
	const char *text = reader_scalar(r, node, what);
	struct policy_prefix prefix;

	if (!text || (!strchr(text, '/') && !value_prefix(text, &prefix, NULL)))
		return text;
	reader_error(r, node, "'%.63s' is no address; write it as in 10.20.0.5 or fd00:20::5", text);
	return NULL;
}

/* -------------------------------------------------------------------- mappings */

static const struct field *field_find(const struct field *fields, const char *key)
{
	for (; fields->key; fields++) {
		if (!strcmp(fields->key, key))
			return fields;
	}
	return NULL;
}

/* What other filters call it. */
static const struct synonym {
	const char *word;
	const char *meant; /* the first that the mapping knows is suggested */
} synonyms[] = {
	{"port", "service"},
	{"port", "ports"},
	{"ports", "service"},
	{"dport", "service"},
	{"dport", "ports"},
	{"protocol", "service"},
	{"proto", "service"},
	{"proto", "protocol"},
	{"services", "service"},
	{"sport", "source-ports"},
	{"source-port", "source-ports"},
	{"src", "from"},
	{"source", "from"},
	{"sources", "from"},
	{"dst", "to"},
	{"dest", "to"},
	{"destination", "to"},
	{"verdict", "action"},
	{"target", "action"},
	{"policy", "action"},
	{"policy", "name"},
	{"version", "sluice"},
	{"prefixes", "include"},
	{"prefix", "include"},
	{"cidr", "include"},
	{"cidrs", "include"},
	{"addresses", "include"},
	{"networks", "include"},
	{"networks", "segments"},
	{"hosts", "include"},
	{"exclude", "except"},
	{"without", "except"},
	{"not", "except"},
	{"members", "segments"},
	{"groups", "segments"},
	{"group", "segments"},
	{"zones", "segments"},
	{"applications", "services"},
	{"device", "name"},
	{"dev", "name"},
	{"interface", "name"},
	{"type", "backend"},
	{"file", "path"},
	{"nsid", "id"},
	{"ip", "address"},
};

static const char *synonym_find(const char *word, const struct field *fields)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(synonyms); i++) {
		if (!strcasecmp(synonyms[i].word, word) && field_find(fields, synonyms[i].meant))
			return synonyms[i].meant;
	}
	return NULL;
}

static void key_unknown(struct reader *r, const struct node *key, const struct node *value, const char *what,
			const struct field *fields)
{
	const char *meant = synonym_find(key->text, fields);
	struct suggestion s = {.word = key->text};
	char known[256] = "", near[SLUICE_NAME_LEN + 32];
	const struct field *f;
	size_t n = 0;

	for (f = fields; f->key; f++) {
		if (f->read)
			suggestion_try(&s, f->key);
		if (f->read && n < sizeof(known))
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "", f->key);
	}
	if (meant && !strcmp(meant, "service"))
		reader_error(r, key,
			     "unknown key '%.63s' in %s; protocol and port go into 'service', as in service: tcp/80",
			     key->text, what);
	else if (meant)
		reader_error(r, key, "unknown key '%.63s' in %s; it is called '%s' here", key->text, what, meant);
	else if (!s.best && value->kind == NODE_SCALAR && !*value->text)
		reader_error(r, key,
			     "'%.63s' stands where a key of %s should; put several values in brackets, as in [a, b]",
			     key->text, what);
	else if (s.best)
		reader_error(r, key, "unknown key '%.63s' in %s%s", key->text, what,
			     suggestion_text(&s, near, sizeof(near)));
	else
		reader_error(r, key, "unknown key '%.63s' in %s; known are %s", key->text, what, known);
}

/* The earlier key of the same text in a mapping, or NULL. Quadratic, so only for the small mappings that have a table.
 */
static const struct node *key_earlier(const struct node *node, size_t i)
{
	size_t k;

	for (k = 0; k < i; k += 2) {
		if (node->children[k].kind == NODE_SCALAR && !strcmp(node->children[k].text, node->children[i].text))
			return &node->children[k];
	}
	return NULL;
}

static void key_read(struct reader *r, const struct node *node, size_t i, const char *what, const struct field *fields,
		     void *at)
{
	const struct node *key = &node->children[i], *earlier;
	const struct field *f;

	if (!reader_scalar(r, key, "a key"))
		return;
	f = field_find(fields, key->text);
	if (!f) {
		key_unknown(r, key, &node->children[i + 1], what, fields);
		return;
	}
	earlier = key_earlier(node, i);
	if (earlier)
		reader_error(r, key, "'%s' is here twice, first on line %u; remove one", key->text,
			     earlier->place.line);
	else if (!f->read)
		reader_error(r, key, "'%s' is not in this version of sluice; remove it", key->text);
	else
		f->read(r, f, &node->children[i + 1], (char *)at + f->offset);
}

static void mapping_missing(struct reader *r, const struct node *node, const char *what, const struct field *fields)
{
	const char *colon = node->kind == NODE_SCALAR ? strchr(node->text, ':') : NULL;

	if (node->kind == NODE_LIST)
		reader_error(r, node, "%s must be a mapping, not a list; write key: value", what);
	else if (!*node->text)
		reader_error(r, node, "%s is empty; write key: value", what);
	else if (colon && colon[1] && colon[1] != ':')
		reader_error(r, node, "a space is missing behind ':'; write '%.*s: %.40s'",
			     (int)min(colon - node->text, (ptrdiff_t)40), node->text, colon + 1);
	else if (!strcmp(fields->key, "sluice"))
		reader_error(r, node, "%s must be a mapping, not a single value; begin with 'sluice: 1'", what);
	else if (fields->required)
		reader_error(r, node, "%s must be a mapping, not a single value; write {%s: %.63s}", what, fields->key,
			     node->text);
	else
		reader_error(r, node, "%s must be a mapping, not a single value; write key: value", what);
}

/* Whether a key is that of field f, or is so nearly that whoever mends it needs not be told that f is missing. */
static bool key_stands_for(const struct node *key, const struct field *fields, const struct field *f)
{
	struct suggestion s = {.word = key->text};
	const char *meant;

	if (key->kind != NODE_SCALAR)
		return false;
	if (field_find(fields, key->text))
		return !strcmp(key->text, f->key);
	meant = synonym_find(key->text, fields);
	suggestion_try(&s, f->key);
	return meant ? !strcmp(meant, f->key) : s.best != NULL;
}

static void required_check(struct reader *r, const struct node *node, const char *what, const struct field *fields,
			   const struct field *f)
{
	size_t i;

	for (i = 0; i < node->n_children; i += 2) {
		if (key_stands_for(&node->children[i], fields, f))
			return;
	}
	reader_error(r, node, "%s has no '%s'; %s", what, f->key,
		     !strcmp(f->key, "sluice") ? "begin with 'sluice: 1'" : "add it");
}

bool reader_mapping(struct reader *r, const struct node *node, const char *what, const struct field *fields, void *at)
{
	const struct field *f;
	size_t i;

	if (node->kind != NODE_MAPPING) {
		mapping_missing(r, node, what, fields);
		return false;
	}
	for (i = 0; i < node->n_children; i += 2)
		key_read(r, node, i, what, fields, at);
	for (f = fields; f->key; f++) {
		if (f->required)
			required_check(r, node, what, fields, f);
	}
	return true;
}

/* -------------------------------------------------------------- field functions */

void read_node(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	*(const struct node **)at = value;
}

void read_bool(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const char *text = reader_scalar(r, value, f->key);

	if (!text)
		return;
	if (!strcasecmp(text, "yes") || !strcasecmp(text, "on"))
		reader_error(r, value, "%s is '%.40s'; write true", f->key, text);
	else if (!strcasecmp(text, "no") || !strcasecmp(text, "off"))
		reader_error(r, value, "%s is '%.40s'; write false", f->key, text);
	else if (!strcmp(text, "true"))
		*(bool *)at = true;
	else if (!strcmp(text, "false"))
		*(bool *)at = false;
	else
		reader_error(r, value, "%s is '%.40s'; write true or false", f->key, text);
}

/* What other filters call a choice. */
static const struct synonym choice_synonyms[] = {
	{"accept", "allow"},	    {"pass", "allow"},	     {"permit", "allow"}, {"drop", "deny"},
	{"block", "deny"},	    {"discard", "deny"},     {"on", "enforce"},	  {"off", "audit"},
	{"monitor", "audit"},	    {"permissive", "audit"}, {"native", "xdp"},	  {"skb", "xdp-generic"},
	{"generic", "xdp-generic"}, {"ram", "memory"},	     {"none", "null"},
};

static void choice_synonym(struct suggestion *s, const char *text, const struct choice *c)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(choice_synonyms); i++) {
		if (strcasecmp(choice_synonyms[i].word, text) || strcmp(choice_synonyms[i].meant, c->name))
			continue;
		s->best = c->name;
		s->distance = 0;
	}
}

void read_choice(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const char *text = reader_scalar(r, value, f->key);
	char known[128] = "", near[SLUICE_NAME_LEN + 32];
	struct suggestion s = {.word = text};
	const struct choice *c;
	size_t n = 0;

	if (!text)
		return;
	for (c = f->arg; c->name; c++) {
		if (!strcmp(c->name, text)) {
			if (c->value == CHOICE_NOT_YET)
				reader_error(r, value, "'%s: %s' is not in this version of sluice; choose another",
					     f->key, text);
			else
				*(int *)at = c->value;
			return;
		}
		if (c->value == CHOICE_NOT_YET)
			continue;
		suggestion_try(&s, c->name);
		choice_synonym(&s, text, c);
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? " | " : "", c->name);
	}
	reader_error(r, value, "%s cannot be '%.40s'; choose %s%s", f->key, text, known,
		     suggestion_text(&s, near, sizeof(near)));
}

void read_number(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const char *text = reader_scalar(r, value, f->key);
	const struct bounds *b = f->arg;
	struct error err;
	uint64_t number;

	if (!text)
		return;
	if (value_number(f->key, text, b->low, b->high, &number, &err))
		reader_error(r, value, "%s", err.text);
	else
		*(uint32_t *)at = (uint32_t)number;
}

#define DURATION_MAX SLUICE_TIMEOUT_MAX_NS

void read_duration(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const char *text = reader_scalar(r, value, f->key);
	struct error err;
	uint64_t ns;

	if (!text)
		return;
	if (value_duration(text, &ns, &err))
		reader_error(r, value, "%s: %s", f->key, err.text);
	else if (ns > DURATION_MAX || (!ns && !f->arg))
		reader_error(r, value, "%s: %.40s is out of range; use more than 0 and at most 12d", f->key, text);
	else
		*(uint64_t *)at = ns;
}

void read_text(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const char *text = reader_scalar(r, value, f->key);

	if (!text)
		return;
	if (!*text)
		reader_error(r, value, "%s is empty; write it or remove the key", f->key);
	else
		*(char **)at = reader_strdup(r, text);
}

void reader_each(struct reader *r, const struct node *node, const char *what, bool mappings, each_fn each, void *arg)
{
	const struct node *one = node->kind == NODE_LIST ? node->children : node;
	size_t i, n = node->kind == NODE_LIST ? node->n_children : 1;

	if (!n)
		reader_error(r, node, "%s is an empty list; name at least one", what);
	for (i = 0; i < n; i++) {
		if (one[i].kind == NODE_MAPPING && mappings)
			each(r, &one[i], arg);
		else if (reader_scalar(r, &one[i], what))
			each(r, &one[i], arg);
	}
}

/* ----------------------------------------------------------------------- names */

/* Looking for near names costs a walk over all names: worth it only while a person still reads the list of errors. */
#define SUGGESTIONS_MAX 64

static const struct {
	const char *noun;
	const char *remedy;
} name_kinds[NAME_KINDS] = {
	[NAME_TENANT] = {"tenant", "add it to 'tenants'"},
	[NAME_SEGMENT] = {"segment", "add it to 'segments'"},
	[NAME_SERVICE] = {"service", "add it to 'services', or write an item as in tcp/443"},
	[NAME_RULE] = {"rule", ""},
};

static bool entry_is(const void *table, const void *name, uint32_t i)
{
	return !strcmp(((const struct name_table *)table)->entries[i].node->text, name);
}

static const struct name_entry *entry_find(const struct name_table *table, const char *name)
{
	uint32_t i = hash_index_find(&table->index, hash_string(name), entry_is, table, name);

	return i == HASH_NONE ? NULL : &table->entries[i];
}

bool reader_declare(struct reader *r, enum name_kind kind, const struct node *at, size_t id)
{
	struct name_table *table = &r->names[kind];
	const struct name_entry *first;
	struct name_entry *entry;
	struct error err;

	if (!reader_scalar(r, at, "a name"))
		return false;
	if (value_name(name_kinds[kind].noun, at->text, &err)) {
		reader_error(r, at, "%s", err.text);
		return false;
	}
	first = entry_find(table, at->text);
	if (first) {
		reader_error(r, at, "%s '%s' is defined twice, first at %s:%u; rename or remove one",
			     name_kinds[kind].noun, at->text, first->node->place.file, first->node->place.line);
		return false;
	}
	entry = reader_add(r, &table->entries, &table->n_entries, sizeof(*entry));
	if (!entry)
		return false;
	*entry = (struct name_entry){at, id};
	if (hash_index_add(&table->index, hash_string(at->text), (uint32_t)table->n_entries - 1))
		r->failed = -ENOMEM;
	return true;
}

size_t reader_declared(const struct reader *r, enum name_kind kind, const struct node *at)
{
	const struct name_entry *entry = at->kind == NODE_SCALAR ? entry_find(&r->names[kind], at->text) : NULL;

	return entry && entry->node == at ? entry->id : NAME_UNDEFINED;
}

bool reader_knows(const struct reader *r, enum name_kind kind, const char *name)
{
	return entry_find(&r->names[kind], name) != NULL;
}

size_t reader_find(struct reader *r, enum name_kind kind, const struct node *at)
{
	const struct name_table *table = &r->names[kind];
	const struct name_entry *entry = entry_find(table, at->text);
	struct suggestion s = {.word = at->text};
	char near[SLUICE_NAME_LEN + 32];
	size_t i;

	if (entry)
		return entry->id;
	if (r->incomplete)
		return NAME_UNDEFINED;
	if (r->diagnostics && r->diagnostics->errors < SUGGESTIONS_MAX) {
		for (i = 0; i < table->n_entries; i++)
			suggestion_try(&s, table->entries[i].node->text);
		if ((kind == NAME_SEGMENT || kind == NAME_SERVICE) && !strcasecmp(at->text, "any"))
			s.best = "any";
	}
	if (kind == NAME_SERVICE && !s.best && value_item_usual(at->text))
		reader_error(r, at, "service '%.63s' is not defined; write %s, or add it to 'services'", at->text,
			     value_item_usual(at->text));
	else if (s.best)
		reader_error(r, at, "%s '%.63s' is not defined%s", name_kinds[kind].noun, at->text,
			     suggestion_text(&s, near, sizeof(near)));
	else
		reader_error(r, at, "%s '%.63s' is not defined; %s", name_kinds[kind].noun, at->text,
			     kind == NAME_SEGMENT && at->text[0] == '!'
				     ? "to leave addresses out use 'except' in a segment"
				     : name_kinds[kind].remedy);
	return NAME_UNDEFINED;
}

void reader_done(struct reader *r)
{
	size_t kind;

	for (kind = 0; kind < NAME_KINDS; kind++) {
		hash_index_done(&r->names[kind].index);
		free(r->names[kind].entries);
	}
}

void read_tenant(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	size_t id = reader_scalar(r, value, f->key) ? reader_find(r, NAME_TENANT, value) : NAME_UNDEFINED;

	if (id != NAME_UNDEFINED)
		*(uint32_t *)at = (uint32_t)id;
}
