// SPDX-License-Identifier: Apache-2.0
/*
 * libyaml's errors in the words of a policy's author. libyaml says what its grammar lacked; the line itself nearly
 * always shows what was meant: a tab, a missing colon, an indentation that fits no neighbour, an open bracket. Called
 * by document.c with the first error of a file. Every translation looks at the text first and is skipped if that does
 * not show it; the last one is libyaml's own words.
 */
#include "policy/syntax.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "policy/diagnostics.h"

struct syntax {
	const yaml_parser_t *yaml;
	const char *file;
	const char *text;
	size_t length;
	struct policy_diagnostics *diagnostics;
};

/* One line of the text, without its end. */
struct line {
	const char *text;
	int length;
	size_t number; /* from 0 */
	int indent;    /* leading spaces */
	int begin;     /* column, from 0, of the first character that is no space and belongs to no "- " */
};

/* ------------------------------------------------------------------------- lines */

#define LINE_MAX_SHOWN 4096

static struct line line_begin(const struct syntax *s, const char *begin, size_t number)
{
	struct line line = {.text = begin, .number = number};
	size_t left = (size_t)(s->text + s->length - begin);
	const char *end = memchr(begin, '\n', left);

	line.length = (int)min(end ? (size_t)(end - begin) : left, (size_t)LINE_MAX_SHOWN);
	while (line.indent < line.length && begin[line.indent] == ' ')
		line.indent++;
	line.begin = line.indent;
	while (line.begin + 1 < line.length && begin[line.begin] == '-' && begin[line.begin + 1] == ' ') {
		line.begin++;
		while (line.begin < line.length && begin[line.begin] == ' ')
			line.begin++;
	}
	return line;
}

static struct line line_at(const struct syntax *s, size_t number)
{
	const char *c = s->text, *end = s->text + s->length, *next;
	size_t i;

	for (i = 0; i < number && c < end; i++) {
		next = memchr(c, '\n', (size_t)(end - c));
		c = next ? next + 1 : end;
	}
	return line_begin(s, c, number);
}

/* Marks count characters, text counts bytes. */
static int line_byte(const struct line *l, size_t column)
{
	int i;

	for (i = 0; i < l->length; i++) {
		if (((unsigned char)l->text[i] & 0xc0) != 0x80 && !column--)
			break;
	}
	return i;
}

static bool line_blank(const struct line *l)
{
	return l->begin >= l->length || l->text[l->begin] == '#' || l->text[l->begin] == '\r';
}

/* The nearest line above `below` that is neither empty nor a comment; false: none. */
static bool line_above(const struct syntax *s, const struct line *below, struct line *ret_line)
{
	const char *c = below->text, *end;
	size_t number = below->number;
	struct line line;

	while (number-- && c > s->text) {
		end = memrchr(s->text, '\n', (size_t)(c - 1 - s->text));
		c = end ? end + 1 : s->text;
		line = line_begin(s, c, number);
		if (line_blank(&line))
			continue;
		*ret_line = line;
		return true;
	}
	return false;
}

/* The column of the first tab among a line's leading white space, or -1. */
static int line_tab(const struct line *l)
{
	int i;

	for (i = 0; i < l->length && isblank((unsigned char)l->text[i]); i++) {
		if (l->text[i] == '\t')
			return i;
	}
	return -1;
}

/* The column of a colon that is followed by no space, outside quotes, with a word before it; or -1. */
static int line_tight_colon(const struct line *l)
{
	int i;

	for (i = l->begin; i < l->length && (isalnum((unsigned char)l->text[i]) || strchr("-_.", l->text[i])); i++)
		;
	if (i == l->begin || i + 1 >= l->length || l->text[i] != ':' || isspace((unsigned char)l->text[i + 1]) ||
	    l->text[i + 1] == ':')
		return -1;
	return i;
}

/* "-name: a": a dash that is stuck to the word behind it. */
static bool line_tight_dash(const struct line *l)
{
	return l->indent + 1 < l->length && l->text[l->indent] == '-' && isalpha((unsigned char)l->text[l->indent + 1]);
}

/* The length of the word that a line begins with. */
static int line_word(const struct line *l)
{
	int i;

	for (i = l->begin; i < l->length && !isspace((unsigned char)l->text[i]) && l->text[i] != ':'; i++)
		;
	return min(i - l->begin, 40);
}

/* Whether an address with "::" stands in the line outside quotes. */
static bool line_bare_ipv6(const struct line *l)
{
	char quote = 0;
	int i;

	for (i = 0; i + 1 < l->length; i++) {
		if (l->text[i] == '"' || l->text[i] == '\'')
			quote = quote == l->text[i] ? 0 : quote ? quote : l->text[i];
		if (!quote && l->text[i] == ':' && l->text[i + 1] == ':')
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------------- saying */

static int say(struct syntax *s, size_t line, size_t column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int say(struct syntax *s, size_t line, size_t column, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int r;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r = diagnostics_add(s->diagnostics, POLICY_ERROR,
			    (struct policy_place){s->file, (unsigned int)line + 1, (unsigned int)column + 1}, "%s",
			    text);
	return r ? r : -EINVAL;
}

/* --------------------------------------------------------------------- bytes at all */

static int bytes_refuse(struct syntax *s)
{
	size_t i, line = 0, column = 0, at = min(s->yaml->problem_offset, s->length);
	unsigned int byte = at < s->length ? (unsigned char)s->text[at] : 0;

	for (i = 0; i < at; i++) {
		column = s->text[i] == '\n' ? 0 : column + (((unsigned char)s->text[i] & 0xc0) != 0x80);
		line += s->text[i] == '\n';
	}
	if (s->length > 1 && (!memcmp(s->text, "\xff\xfe", 2) || !memcmp(s->text, "\xfe\xff", 2)))
		return say(s, 0, 0, "the file is in UTF-16; save it as UTF-8");
	if (byte < 0x80)
		return say(s, line, column, "control character 0x%02x; remove it", byte);
	return say(s, line, column, "byte 0x%02x is not UTF-8; save the file as UTF-8", byte);
}

/* ------------------------------------------------------------------------ heuristics */

/*
 * Each looks at the lines that libyaml points to; 0: this is not it. `at` is the line of the problem, `from` that of
 * the construct it is in.
 */
typedef int (*guess_fn)(struct syntax *s, const struct line *at, const struct line *from);

static int guess_tab(struct syntax *s, const struct line *at, const struct line *from)
{
	struct line above;
	int column = line_tab(at);

	if (column >= 0)
		return say(s, at->number, (size_t)column,
			   "a tab indents this line; YAML takes only spaces, replace it");
	if ((s->yaml->context && strstr(s->yaml->context, "flow")) || !line_above(s, at, &above))
		return 0;
	column = line_tab(&above);
	if (column < 0)
		return 0;
	return say(s, above.number, (size_t)column, "a tab indents this line; YAML takes only spaces, replace it");
}

static int guess_quote(struct syntax *s, const struct line *at, const struct line *from)
{
	size_t column = s->yaml->context_mark.column;

	if (!s->yaml->context || !strstr(s->yaml->context, "quoted scalar"))
		return 0;
	if (strstr(s->yaml->problem, "escape"))
		return say(s, at->number, s->yaml->problem_mark.column,
			   "unknown escape behind '\\'; write '\\\\' for a backslash, or use single quotes");
	return say(s, from->number, column, "the quote that opens here is not closed; add the other one");
}

static int guess_special(struct syntax *s, const struct line *at, const struct line *from)
{
	size_t column = s->yaml->problem_mark.column;
	bool alias = s->yaml->context && (strstr(s->yaml->context, "alias") || strstr(s->yaml->context, "anchor"));
	bool tag = s->yaml->context && (strstr(s->yaml->context, "tag") || strstr(s->yaml->context, "directive"));
	int i;

	if (alias || tag)
		column = s->yaml->context_mark.column;
	else if (!strstr(s->yaml->problem, "cannot start any token"))
		return 0;
	i = line_byte(at, column);
	if (i >= at->length || !isgraph((unsigned char)at->text[i]))
		return 0;
	return say(s, at->number, column, "a value cannot begin with '%c' in YAML; put it in quotes, as in \"%c...\"",
		   at->text[i], at->text[i]);
}

static int guess_ipv6(struct syntax *s, const struct line *at, const struct line *from)
{
	bool flow = s->yaml->context && strstr(s->yaml->context, "flow");

	if ((!flow && !strstr(s->yaml->problem, "unexpected ':'")) || !line_bare_ipv6(at))
		return 0;
	return say(s, at->number, s->yaml->problem_mark.column,
		   "inside [...] and {...}, IPv6 addresses need quotes; write them as in \"fd00::1\"");
}

static int guess_bracket(struct syntax *s, const struct line *at, const struct line *from)
{
	bool list = s->yaml->context && strstr(s->yaml->context, "flow sequence");
	bool mapping = s->yaml->context && strstr(s->yaml->context, "flow mapping");

	if (!list && !mapping)
		return 0;
	if (at->number == from->number)
		return say(s, at->number, s->yaml->problem_mark.column, "'%s' or ',' is missing here; add it",
			   list ? "]" : "}");
	return say(s, from->number, s->yaml->context_mark.column,
		   "'%s' opens here and is not closed before line %zu; add '%s', or the ',' that is missing",
		   list ? "[" : "{", at->number + 1, list ? "]" : "}");
}

static int guess_open_end(struct syntax *s, const struct line *at, const struct line *from)
{
	if (!s->yaml->context || !strstr(s->yaml->context, "flow node"))
		return 0;
	if (s->yaml->problem_mark.index >= s->length || line_blank(at))
		return say(s, at->number, s->yaml->problem_mark.column,
			   "the file ends inside [...] or {...}; close every bracket");
	return say(s, at->number, s->yaml->problem_mark.column,
		   "a value is missing here; write it, in quotes if it begins with a sign");
}

static int guess_dash(struct syntax *s, const struct line *at, const struct line *from)
{
	struct line above;

	if (line_tight_dash(at))
		above = *at;
	else if (!line_above(s, at, &above) || !line_tight_dash(&above))
		return 0;
	return say(s, above.number, (size_t)above.indent, "a space is missing behind '-'; write '- %.*s'",
		   min(above.length - above.indent - 1, 40), above.text + above.indent + 1);
}

static int guess_colon(struct syntax *s, const struct line *at, const struct line *from)
{
	int colon, length;

	if (!strstr(s->yaml->problem, "could not find expected ':'"))
		return 0;
	colon = line_tight_colon(from);
	length = (int)min(from->length - from->begin, 60);
	while (length && isspace((unsigned char)from->text[from->begin + length - 1]))
		length--;
	if (colon >= 0)
		return say(s, from->number, (size_t)colon, "a space is missing behind ':'; write '%.*s: %.*s'",
			   colon - from->begin, from->text + from->begin, from->begin + length - colon - 1,
			   from->text + colon + 1);
	return say(s, from->number, (size_t)from->begin, "'%.*s' has no ':'; write 'key: value'", length,
		   from->text + from->begin);
}

/* "name: a: b": only where a word and a colon stand before the one that libyaml stumbled over. */
static int guess_second_colon(struct syntax *s, const struct line *at, const struct line *from)
{
	int i, column = line_byte(at, s->yaml->problem_mark.column);

	if (!strstr(s->yaml->problem, "mapping values are not allowed"))
		return 0;
	for (i = at->begin; i + 1 < column; i++) {
		if (at->text[i] == ':' && at->text[i + 1] == ' ')
			return say(
				s, at->number, (size_t)column,
				"a second ': ' in one line; put a value that has one in quotes, or begin a new line");
	}
	return 0;
}

/* What is left when a line begins in a column of its own. */
static int guess_indent(struct syntax *s, const struct line *at, const struct line *from)
{
	bool block = s->yaml->context && strstr(s->yaml->context, "block");
	struct line above;

	if ((!block && !strstr(s->yaml->problem, "mapping values are not allowed")) || !line_above(s, at, &above) ||
	    line_blank(at))
		return 0;
	if (above.begin == above.indent && above.begin == at->begin)
		return 0;
	if (above.begin != above.indent)
		return say(
			s, at->number, (size_t)at->indent,
			"this line begins in column %d, which fits nothing above; begin it in column %d, as '%.*s' in "
			"line %zu, or with a '-' in column %d",
			at->begin + 1, above.begin + 1, line_word(&above), above.text + above.begin, above.number + 1,
			above.indent + 1);
	return say(s, at->number, (size_t)at->indent,
		   "this line begins in column %d, which fits nothing above; begin it in column %d, as line %zu, or in "
		   "that of the line it belongs to",
		   at->begin + 1, above.begin + 1, above.number + 1);
}

int syntax_refuse(const yaml_parser_t *yaml, const char *file, const char *text, size_t length,
		  struct policy_diagnostics *d)
{
	static const guess_fn guesses[] = {guess_tab,	       guess_quote, guess_special, guess_ipv6,
					   guess_dash,	       guess_colon, guess_bracket, guess_open_end,
					   guess_second_colon, guess_indent};
	struct syntax s = {yaml, file, text, length, d};
	const char *problem = yaml->problem ? yaml->problem : "unreadable";
	struct line at, from;
	size_t i;
	int r;

	if (yaml->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (yaml->error == YAML_READER_ERROR || !yaml->problem)
		return bytes_refuse(&s);
	at = line_at(&s, yaml->problem_mark.line);
	from = line_at(&s, yaml->context ? yaml->context_mark.line : yaml->problem_mark.line);
	for (i = 0; i < ARRAY_SIZE(guesses); i++) {
		r = guesses[i](&s, &at, &from);
		if (r)
			return r;
	}
	return say(&s, yaml->problem_mark.line, yaml->problem_mark.column,
		   "not YAML: %s; check indentation, brackets and quotes", problem);
}
