// SPDX-License-Identifier: Apache-2.0
/*
 * iptables-save and ip6tables-save → chains of entries. Called by import.c. This file reads lines, chains and targets;
 * the conditions of a rule are import_iptables_match.c. Only the filter table judges packets as sluice does; rules of
 * the others are named.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/import_iptables.h"

static const struct target {
	const char *name;
	enum import_verdict verdict;
	const char *why;
} targets[] = {
	{"ACCEPT", IMPORT_VERDICT_ACCEPT, NULL},
	{"DROP", IMPORT_VERDICT_DROP, NULL},
	{"REJECT", IMPORT_VERDICT_REJECT, NULL},
	{"RETURN", IMPORT_VERDICT_RETURN, NULL},
	{"LOG", IMPORT_VERDICT_LOG, NULL},
	{"NFLOG", IMPORT_VERDICT_LOG, NULL},
	{"QUEUE", IMPORT_VERDICT_DROP, "asks a program for a verdict; write the verdict by hand"},
	{"NFQUEUE", IMPORT_VERDICT_DROP, "asks a program for a verdict; write the verdict by hand"},
	{"TARPIT", IMPORT_VERDICT_DROP, "answers slowly; deny it instead"},
	{"MARK", IMPORT_VERDICT_NONE, "marks packets, which sluice does not"},
	{"CONNMARK", IMPORT_VERDICT_NONE, "marks packets, which sluice does not"},
	{"TCPMSS", IMPORT_VERDICT_NONE, "changes packets, which sluice does not"},
	{"SET", IMPORT_VERDICT_NONE, "adds to an ipset; list the addresses in a segment"},
};

/* ----------------------------------------------------------------------------- lines */

/* Splits off one word, with quotes and backslashes undone; the end of the line: NULL. */
static char *word_next(char **at)
{
	char *from = *at, *to, *word;
	bool quoted = false;

	while (*from == ' ' || *from == '\t' || *from == '\r')
		from++;
	if (!*from)
		return NULL;
	for (word = to = from; *from && (quoted || (*from != ' ' && *from != '\t' && *from != '\r')); from++) {
		if (*from == '"')
			quoted = !quoted;
		else if (*from == '\\' && from[1])
			*to++ = *++from;
		else
			*to++ = *from;
	}
	*at = *from ? from + 1 : from;
	*to = 0;
	return word;
}

static struct import_chain *chain_get(struct iptables *t, const char *name)
{
	struct import *im = t->im;
	struct import_chain *c;
	size_t i;

	for (i = im->n_chains; i > 0; i--)
		if (!strcmp(im->chains[i - 1].name, name) && !strcmp(im->chains[i - 1].scope, t->scope))
			return &im->chains[i - 1];
	c = import_add(im, &im->chains, &im->n_chains, sizeof(*c));
	if (!c)
		return NULL;
	*c = (struct import_chain){.name = import_copy(im, name, strlen(name)),
				   .scope = t->scope,
				   .families = t->families,
				   .policy = IMPORT_VERDICT_ACCEPT};
	if (!strcmp(name, "INPUT"))
		c->hook = IMPORT_HOOK_INPUT;
	else if (!strcmp(name, "FORWARD"))
		c->hook = IMPORT_HOOK_FORWARD;
	else if (!strcmp(name, "OUTPUT"))
		c->hook = IMPORT_HOOK_OUTPUT;
	return c;
}

static void policy_read(struct iptables *t, char *text)
{
	char *name = word_next(&text), *policy = name ? word_next(&text) : NULL;
	struct import_chain *c;

	if (!t->filter || !policy)
		return;
	c = chain_get(t, name);
	if (c && !strcmp(policy, "DROP"))
		c->policy = IMPORT_VERDICT_DROP;
}

/* ---------------------------------------------------------------------------- targets */

void iptables_target(struct iptables_rule *r, const char *name)
{
	struct import_entry *e = r->entry;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		if (strcmp(targets[i].name, name))
			continue;
		e->verdict = targets[i].verdict;
		if (targets[i].why)
			iptables_why(r, targets[i].why);
		return;
	}
	e->verdict = IMPORT_VERDICT_JUMP;
	e->target = import_copy(r->im, name, strlen(name));
}

/* What only all conditions and the target together tell. */
static void rule_finish(struct iptables_rule *r)
{
	struct import_entry *e = r->entry;

	if (r->flags == IPTABLES_FLAGS_MALFORMED && e->verdict == IMPORT_VERDICT_DROP)
		e->built_in = true; /* never gets as far as the rules */
	else if (r->flags == IPTABLES_FLAGS_NOT_SYN && e->verdict == IMPORT_VERDICT_DROP &&
		 !(e->match.states & IMPORT_ESTABLISHED))
		e->built_in = true; /* a connection that begins in the middle has no flow */
	else if (r->flags == IPTABLES_FLAGS_SYN)
		e->syn = true;
	else if (r->flags)
		iptables_why(r,
			     "has a condition on TCP flags, which the language has not; connections begin with a SYN, "
			     "and malformed flags are always dropped");
	if (r->limited && e->verdict != IMPORT_VERDICT_LOG)
		iptables_why(r, "limits a rate; write it as `limit: {rate: 10 pps}` on a rule");
	if (!iptables_service(r))
		iptables_why(r, "matches nothing; remove it");
}

static void rule_read(struct iptables *t, char *text, const char *line, size_t length)
{
	struct iptables_rule r = {.im = t->im, .families = t->families};
	char *chain = word_next(&text);
	struct import_chain *c = chain ? chain_get(t, chain) : NULL;

	r.entry = c ? import_add(t->im, &c->entries, &c->n_entries, sizeof(*r.entry)) : NULL;
	if (!r.entry)
		return;
	*r.entry = (struct import_entry){
		.match = import_match_any(t->families), .line = t->line, .text = import_copy(t->im, line, length)};
	while ((r.word = word_next(&text)))
		iptables_option(&r, &text, word_next);
	rule_finish(&r);
}

/* ------------------------------------------------------------------------------- text */

static void table_begin(struct iptables *t, const char *name)
{
	t->filter = !strncmp(name, "filter", 6);
	t->table = import_copy(t->im, name, strcspn(name, " \t\r"));
	t->scope = import_print(t->im, "%s/%u", t->table ?: "", t->families) ?: "";
}

static void other_table(struct iptables *t, const char *line, size_t length)
{
	char *text = import_copy(t->im, line, length);

	if (text)
		import_drop(
			t->im, t->line, text,
			import_print(t->im, "stands in table %s; only filter judges packets as sluice does", t->table),
			strstr(text, "-j DROP"));
}

static void line_read(struct iptables *t, char *text, const char *line, size_t length)
{
	if (*text == '[') /* counters */
		text = strchr(text, ']') ? strchr(text, ']') + 1 : text;
	while (*text == ' ')
		text++;
	if (*text == '#' && strstr(text, "ip6tables-save"))
		t->families = IMPORT_IPV6;
	else if (*text == '#' && strstr(text, "iptables-save"))
		t->families = IMPORT_IPV4;
	else if (*text == '*')
		table_begin(t, text + 1);
	else if (*text == ':')
		policy_read(t, text + 1);
	else if (!strncmp(text, "-A ", 3)) {
		t->im->lines++;
		if (t->filter)
			rule_read(t, text + 3, line, length);
		else
			other_table(t, line, length);
	} else if (*text && *text != '#' && strncmp(text, "COMMIT", 6)) {
		t->im->lines++;
		import_drop(t->im, t->line, import_copy(t->im, line, length),
			    "is no line of iptables-save; give its whole output, unchanged", false);
	}
}

/* Without a comment that says who wrote it, addresses tell. */
static unsigned int families_guess(const char *text, size_t length)
{
	bool six = memmem(text, length, "::", 2) || memmem(text, length, "ipv6-icmp", 9) ||
		   memmem(text, length, "icmp6-", 6);

	return six ? IMPORT_IPV6 : IMPORT_IPV4;
}

void import_iptables_read(struct import *im, const char *text, size_t length)
{
	struct iptables t = {.im = im, .families = families_guess(text, length), .table = "", .scope = ""};
	const char *end = text + length, *line = text, *stop;
	char *copy;

	for (; line < end && !im->failed; line = stop + 1) {
		stop = memchr(line, '\n', (size_t)(end - line)) ?: end;
		t.line++;
		copy = import_copy(im, line, (size_t)(stop - line));
		if (copy)
			line_read(&t, copy, line, (size_t)(stop - line));
	}
	if (!im->failed && im->lines)
		import_flatten(im);
}

bool import_iptables_is(const char *text, size_t length)
{
	const char *at = text, *end = text + length;

	for (; at < end; at = (const char *)memchr(at, '\n', (size_t)(end - at)) ?: end, at += at < end)
		if (*at != '#' && *at != '\n')
			return *at == '*' && end - at > 4 && at[1] >= 'a' && at[1] <= 'z';
	return false;
}
