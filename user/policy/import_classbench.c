// SPDX-License-Identifier: Apache-2.0
/*
 * ClassBench sets: "@source/length destination/length lo : hi lo : hi protocol/mask flags/mask", one rule a line;
 * ports, protocol and flags may be missing. Called by import.c. Two things have no equal and are noted once: conditions
 * on TCP flags (the rule is carried without) and ports of protocols that have none.
 */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/array.h"
#include "policy/import_internal.h"

#define WORDS_MAX 16

struct set {
	struct import *im;
	struct hash_index seen;
	size_t flagged, doubles, any_ports;
};

struct line {
	unsigned int number;
	const char *text;
	size_t length;
	char *words[WORDS_MAX];
	size_t n_words;
};

/* ----------------------------------------------------------------------------- words */

static bool number_read(const char *text, unsigned long most, char **ret_end, unsigned long *ret)
{
	int base = text[0] == '0' && (text[1] | 32) == 'x' ? 16 : 10;
	unsigned long value;

	if (!isxdigit((unsigned char)text[0]))
		return false;
	value = strtoul(text, ret_end, base);
	*ret = value;
	return value <= most;
}

/* "0x06/0xFF" or "6" */
static bool masked_read(const char *text, unsigned long most, unsigned long *ret_value, unsigned long *ret_mask)
{
	char *end;

	*ret_mask = most;
	if (!number_read(text, most, &end, ret_value))
		return false;
	if (*end == '/' && !number_read(end + 1, most, &end, ret_mask))
		return false;
	return !*end;
}

/* "lo : hi" in three words, or "lo:hi" in one; *at moves behind. */
static bool ports_read(const struct line *l, size_t *at, unsigned long *ret_first, unsigned long *ret_last)
{
	char *end;

	if (*at >= l->n_words || !number_read(l->words[*at], 65535, &end, ret_first))
		return false;
	if (*end == ':' && number_read(end + 1, 65535, &end, ret_last) && !*end) {
		*at += 1;
		return *ret_first <= *ret_last;
	}
	if (*end || *at + 2 >= l->n_words || strcmp(l->words[*at + 1], ":") ||
	    !number_read(l->words[*at + 2], 65535, &end, ret_last) || *end)
		return false;
	*at += 3;
	return *ret_first <= *ret_last;
}

static bool has_ports(const struct line *l, size_t at)
{
	return at < l->n_words &&
	       (strchr(l->words[at], ':') || (at + 1 < l->n_words && !strcmp(l->words[at + 1], ":")));
}

/* ----------------------------------------------------------------------------- rules */

static const char *addresses_read(struct set *s, const struct line *l, struct import_match *m)
{
	static const char why[] = "has no source and destination prefix; write @192.0.2.0/24 198.51.100.1/32";
	struct policy_prefix p[2];
	unsigned int side;

	if (l->n_words < 2 || l->words[0][0] != '@' || !import_prefix_read(l->words[0] + 1, &p[0]) ||
	    !import_prefix_read(l->words[1], &p[1]))
		return why;
	if (p[0].ipv4 != p[1].ipv4)
		return "has addresses of both families, which no packet has; remove it";
	m->families = p[0].ipv4 ? IMPORT_IPV4 : IMPORT_IPV6;
	for (side = 0; side < 2; side++)
		if (p[side].length && !import_match_side(s->im, m, side, &p[side], 1, false, NULL))
			return "matches no address; remove it";
	return NULL;
}

static void item_add(struct import *im, struct import_match *m, uint8_t protocol, const struct policy_item *ports)
{
	struct policy_item *slot = import_add(im, &m->items, &m->n_items, sizeof(*slot));

	if (!slot)
		return;
	*slot = *ports;
	slot->any_protocol = false;
	slot->protocol = protocol;
	m->any_service = false;
}

static bool ports_all(const struct policy_item *ports)
{
	return !ports->dest_first && ports->dest_last == 65535 && !ports->source_first && ports->source_last == 65535;
}

static const char *service_make(struct set *s, unsigned long protocol, unsigned long mask,
				const struct policy_item *ports, struct import_match *m)
{
	static const uint8_t with_ports[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
	unsigned int p;
	size_t i;

	if (!mask && ports_all(ports))
		return NULL;
	for (i = 0; !mask && i < ARRAY_SIZE(with_ports); i++)
		item_add(s->im, m, with_ports[i], ports);
	s->any_ports += !mask;
	for (p = 0; mask && p < 256; p++) {
		if ((p & mask) != (protocol & mask))
			continue;
		if (!ports_all(ports) && p != IPPROTO_TCP && p != IPPROTO_UDP && p != IPPROTO_SCTP)
			return "has ports for a protocol without them; say 0 : 65535 twice";
		item_add(s->im, m, (uint8_t)p, ports);
	}
	return NULL;
}

static const char *service_read(struct set *s, const struct line *l, struct import_match *m, bool *ret_flagged)
{
	unsigned long first[2] = {0, 0}, last[2] = {65535, 65535}, protocol = 0, mask = 0, flags, flags_mask = 0;
	struct policy_item ports;
	size_t at = 2;

	if (has_ports(l, at) && (!ports_read(l, &at, &first[0], &last[0]) || !ports_read(l, &at, &first[1], &last[1])))
		return "has broken ports; write two ranges as in 0 : 65535";
	if (at < l->n_words && !masked_read(l->words[at++], 255, &protocol, &mask))
		return "has a broken protocol; write it as in 0x06/0xFF";
	if (at < l->n_words && !masked_read(l->words[at++], 65535, &flags, &flags_mask))
		return "has broken flags; write them as in 0x0000/0x0200";
	if (at < l->n_words)
		return "has more columns than addresses, ports, protocol and flags; remove them";
	*ret_flagged = flags_mask;
	ports = (struct policy_item){.source_first = (uint16_t)first[0],
				     .source_last = (uint16_t)last[0],
				     .dest_first = (uint16_t)first[1],
				     .dest_last = (uint16_t)last[1]};
	return service_make(s, protocol, mask, &ports, m);
}

static uint64_t match_hash(const struct import_match *m)
{
	uint64_t hash = hash_mix(m->families);
	unsigned int side;
	size_t i;

	for (side = 0; side < 2; side++) {
		hash = hash_mix(hash ^ side);
		for (i = 0; i < m->side[side].n_include; i++)
			hash = hash_mix(hash ^ hash_bytes(m->side[side].include[i].addr, 16) ^
					m->side[side].include[i].length);
	}
	for (i = 0; i < m->n_items; i++)
		hash = hash_mix(hash ^ m->items[i].protocol ^ (uint64_t)m->items[i].dest_first << 8 ^
				(uint64_t)m->items[i].dest_last << 24 ^ (uint64_t)m->items[i].source_first << 40) ^
		       m->items[i].source_last;
	return hash;
}

static bool match_is(const void *arg, const void *key, uint32_t id)
{
	const struct set *s = arg;

	return import_match_equal(&s->im->rules[id].match, key);
}

static void rule_add(struct set *s, const struct line *l, const struct import_match *m)
{
	enum import_action action = s->im->options->action;
	uint64_t hash = match_hash(m);
	bool deny = action == IMPORT_DENY || (action == IMPORT_ALTERNATE && !(s->im->lines % 2));

	if (hash_index_find(&s->seen, hash, match_is, s, m) != HASH_NONE) {
		s->doubles++;
		return;
	}
	if (import_rule_add(s->im, m, deny ? SLUICE_ACTION_DENY : SLUICE_ACTION_ALLOW,
			    import_print(s->im, "r%u", l->number), l->number) &&
	    hash_index_add(&s->seen, hash, (uint32_t)s->im->n_rules - 1))
		s->im->failed = -ENOMEM;
}

static void line_read(struct set *s, struct line *l)
{
	bool deny = s->im->options->action != IMPORT_ALLOW, flagged = false;
	struct import_match m = import_match_any(IMPORT_BOTH);
	const char *why;

	s->im->lines++;
	why = addresses_read(s, l, &m);
	if (!why)
		why = service_read(s, l, &m, &flagged);
	if (why) {
		import_drop(s->im, l->number, import_copy(s->im, l->text, l->length), why, deny);
		return;
	}
	s->flagged += flagged;
	rule_add(s, l, &m);
}

/* ------------------------------------------------------------------------------- text */

static void words_split(char *text, struct line *l)
{
	char *word, *rest;

	l->n_words = 0;
	for (word = strtok_r(text, " \t\r", &rest); word && l->n_words < WORDS_MAX;
	     word = strtok_r(NULL, " \t\r", &rest))
		l->words[l->n_words++] = word;
}

static void notes_add(struct set *s)
{
	struct import *im = s->im;

	if (s->flagged)
		import_note(
			im,
			import_print(
				im,
				"%zu rules had a condition on TCP flags, which the language has not; they are carried "
				"without it",
				s->flagged));
	if (s->any_ports)
		import_note(
			im,
			import_print(
				im,
				"%zu rules had ports and any protocol; they are carried for tcp, udp and sctp, which "
				"have ports",
				s->any_ports));
	if (s->doubles)
		import_note(im, import_print(im,
					     "%zu rules were the same as an earlier one; they never decided anything "
					     "and are left out",
					     s->doubles));
}

void import_classbench_read(struct import *im, const char *text, size_t length)
{
	const char *end = text + length, *line = text, *stop;
	struct set s = {.im = im};
	struct line l = {};
	char copy[512];

	for (; line < end && !im->failed; line = stop + 1) {
		stop = memchr(line, '\n', (size_t)(end - line)) ?: end;
		l.number++;
		l.text = line;
		l.length = (size_t)(stop - line);
		if (!l.length || *line == '#')
			continue;
		memcpy(copy, line, min(l.length, sizeof(copy) - 1));
		copy[min(l.length, sizeof(copy) - 1)] = 0;
		words_split(copy, &l);
		if (l.n_words)
			line_read(&s, &l);
	}
	hash_index_done(&s.seen);
	notes_add(&s);
}

bool import_classbench_is(const char *text, size_t length)
{
	const char *at = text, *end = text + length;

	while (at < end && (isspace((unsigned char)*at) || *at == '#'))
		at = *at == '#' ? (const char *)memchr(at, '\n', (size_t)(end - at)) ?: end : at + 1;
	return at < end && *at == '@';
}
