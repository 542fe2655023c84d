// SPDX-License-Identifier: Apache-2.0
/*
 * Lays out tables and numbers for people; see table.h. No state of its own. A table that ran out of memory says so when
 * printed.
 */
#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void table_start(struct table *t, const struct table_column *columns)
{
	memset(t, 0, sizeof(*t));
	while (t->n_columns < TABLE_COLUMNS && columns[t->n_columns].title) {
		t->columns[t->n_columns] = columns[t->n_columns];
		t->n_columns++;
	}
}

static void add_cell(struct table *t, char *text)
{
	char **cells = reallocarray(t->cells, t->n_cells + 1, sizeof(*cells));

	if (!cells) {
		free(text);
		t->failed = true;
		return;
	}
	t->cells = cells;
	t->cells[t->n_cells++] = text;
}

static void add_formatted(struct table *t, const char *fmt, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0) {
		t->failed = true;
		text = NULL;
	}
	add_cell(t, text);
}

void table_row(struct table *t, const char *fmt, ...)
{
	va_list ap;

	while (t->n_cells % t->n_columns && !t->failed)
		add_cell(t, NULL);
	va_start(ap, fmt);
	add_formatted(t, fmt, ap);
	va_end(ap);
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list ap;

	if (!(t->n_cells % t->n_columns)) /* the row is full */
		return;
	va_start(ap, fmt);
	add_formatted(t, fmt, ap);
	va_end(ap);
}

/* Columns as the terminal counts them: continuation bytes of UTF-8 take no room. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; text && *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, size_t columns, bool right, bool last, FILE *out)
{
	size_t pad = columns - width(text);

	fprintf(out, "  ");
	if (right)
		fprintf(out, "%*s", (int)pad, "");
	fprintf(out, "%s", text ? text : "");
	if (!right && !last)
		fprintf(out, "%*s", (int)pad, "");
}

void table_print(const struct table *t, FILE *out)
{
	size_t widths[TABLE_COLUMNS], c, i;

	if (t->failed)
		fprintf(out, "  (out of memory: the table is incomplete)\n");
	if (!t->n_cells)
		return;
	for (c = 0; c < t->n_columns; c++)
		widths[c] = width(t->columns[c].title);
	for (i = 0; i < t->n_cells; i++)
		widths[i % t->n_columns] = max(widths[i % t->n_columns], width(t->cells[i]));
	for (c = 0; c < t->n_columns; c++)
		print_cell(t->columns[c].title, widths[c], t->columns[c].right, c + 1 == t->n_columns, out);
	for (i = 0; i < t->n_cells; i++) {
		c = i % t->n_columns;
		if (!c)
			fputc('\n', out);
		print_cell(t->cells[i], widths[c], t->columns[c].right, c + 1 == t->n_columns, out);
	}
	fputc('\n', out);
}

void table_done(struct table *t)
{
	size_t i;

	for (i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	memset(t, 0, sizeof(*t));
}

struct short_text number_text(uint64_t n)
{
	struct short_text out;
	char digits[24];
	size_t length = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), i, o = 0;

	for (i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			out.text[o++] = ',';
		out.text[o++] = digits[i];
	}
	out.text[o] = 0;
	return out;
}

struct short_text bytes_text(uint64_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct short_text out;
	double value = (double)n;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(out.text, sizeof(out.text), unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return out;
}

struct short_text duration_text(uint64_t ns)
{
	struct short_text out;

	if (ns < 1000)
		snprintf(out.text, sizeof(out.text), "%llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		snprintf(out.text, sizeof(out.text), "%.1f us", (double)ns / 1e3);
	else if (ns < 10 * NSEC_PER_SEC)
		snprintf(out.text, sizeof(out.text), "%.1f ms", (double)ns / 1e6);
	else
		snprintf(out.text, sizeof(out.text), "%.1f s", (double)ns / 1e9);
	return out;
}
