// SPDX-License-Identifier: Apache-2.0
/*
 * The leaves of a written policy: scalars with the quotes that they need, numbers with units, lists that wrap. Called
 * by write.c. Knows YAML, and nothing of policies.
 */
#include "policy/write.h"

#include <string.h>

#include "base/util.h"
#include "policy/values.h"

#define LINE_COLUMNS 100 /* lists go on in a new line behind this */

/* ---------------------------------------------------------------------- scalars */

static bool scalar_is_plain(const char *text)
{
	const char *c;

	for (c = text; *c; c++) {
		if ((*c < 'a' || *c > 'z') && (*c < 'A' || *c > 'Z') && (*c < '0' || *c > '9') && !strchr("-._/", *c))
			return false;
	}
	return c > text && *text != '-';
}

/* The code point that begins at *text, moved behind it. The text is valid UTF-8: the parser took no other. */
static unsigned int code_point(const unsigned char **text)
{
	const unsigned char *c = *text;
	unsigned int more = *c >= 0xf0 ? 3 : *c >= 0xe0 ? 2 : *c >= 0xc0 ? 1 : 0;
	unsigned int value = more ? *c & (0x3fu >> more) : *c;

	for (c++; more && (*c & 0xc0) == 0x80; more--, c++)
		value = value << 6 | (*c & 0x3f);
	*text = c;
	return value;
}

/* What may not stand for itself between double quotes: controls, line breaks of YAML, what its readers refuse. */
static bool code_point_escaped(unsigned int c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
	       (c & 0xfffe) == 0xfffe;
}

void scalar_write(FILE *out, const char *text)
{
	const unsigned char *c = (const unsigned char *)text, *begin;
	unsigned int value;

	if (scalar_is_plain(text)) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	while (*c) {
		begin = c;
		value = code_point(&c);
		if (value == '"' || value == '\\')
			fprintf(out, "\\%c", (int)value);
		else if (code_point_escaped(value))
			fprintf(out, "\\U%08X", value);
		else
			fwrite(begin, 1, (size_t)(c - begin), out);
	}
	fputc('"', out);
}

/* ------------------------------------------------------------- numbers and units */

void scaled_write(FILE *out, const struct write_unit *units, uint64_t number)
{
	const struct write_unit *u = units;

	while (u->factor > 1 && (!number || number % u->factor))
		u++;
	fprintf(out, "%llu%s", (unsigned long long)(number / u->factor), u->name);
}

void duration_write(FILE *out, const char *before, uint64_t ns, const char *after)
{
	static const struct write_unit units[] = {{"d", 86400 * 1000000ull},
						  {"h", 3600 * 1000000ull},
						  {"m", 60 * 1000000ull},
						  {"s", 1000000},
						  {"ms", 1000},
						  {"us", 1}};

	fputs(before, out);
	if (ns)
		scaled_write(out, units, ns / 1000);
	else
		fputs("0", out);
	fputs(after, out);
}

/* ----------------------------------------------------------------------- lists */

void list_begin(struct list *l, FILE *out, size_t indent, const char *head, const char *brackets)
{
	*l = (struct list){out, strlen(head) + 1, 0, indent, *brackets ? brackets + 1 : brackets};
	fprintf(out, "%s%.1s", head, brackets);
}

void list_end(struct list *l)
{
	fprintf(l->out, "%s\n", l->end);
}

/* Before a part of `length` columns. */
static void list_separate(struct list *l, size_t length)
{
	if (l->count && l->column + length + 2 > LINE_COLUMNS) {
		fprintf(l->out, ",\n%*s", (int)l->indent, "");
		l->column = l->indent;
	} else if (l->count) {
		fputs(", ", l->out);
		l->column += 2;
	}
	l->column += length;
	l->count++;
}

void list_add(struct list *l, const char *text)
{
	list_separate(l, strlen(text));
	fputs(text, l->out);
}

void list_add_scalar(struct list *l, const char *text)
{
	list_separate(l, strlen(text) + 2);
	scalar_write(l->out, text);
}

void list_add_prefixes(struct list *l, const struct policy_prefix *prefixes, size_t count)
{
	char text[VALUE_PREFIX_LEN];
	size_t i;

	for (i = 0; i < count; i++)
		list_add_scalar(l, value_prefix_text(&prefixes[i], text));
}

void list_add_number(struct list *l, unsigned int number, const char *name)
{
	char text[SLUICE_NAME_LEN + 24];

	snprintf(text, sizeof(text), "%u%s%s", number, name ? ": " : "", name ? name : "");
	list_add(l, text);
}
