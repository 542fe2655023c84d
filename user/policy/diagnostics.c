// SPDX-License-Identifier: Apache-2.0
/*
 * What is wrong with a policy: the list, its printing, and near-miss suggestions. Filled by document.c, reader.c,
 * yaml.c, check.c and shadow.c; shown by the CLI. The list owns every string that it points to.
 */
#include "policy/diagnostics.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/array.h"

/* d's own copy of a file name. */
static const char *file_intern(struct policy_diagnostics *d, const char *file)
{
	char **slot, *copy;
	size_t i;

	for (i = 0; i < d->n_files; i++) {
		if (!strcmp(d->files[i], file))
			return d->files[i];
	}
	copy = strdup(file);
	slot = copy ? array_add(&d->files, &d->n_files, sizeof(*slot)) : NULL;
	if (!slot) {
		free(copy);
		return NULL;
	}
	*slot = copy;
	return copy;
}

/* How many bytes the UTF-8 character at text has; 0: none is there, as behind a quotation that was cut short. */
static size_t character_length(const char *text)
{
	unsigned char c = (unsigned char)*text;
	size_t i, length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	for (i = 1; i < length; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}

/* Quoted parts of a hostile file must not move the reader's cursor, and JSON takes UTF-8 only. */
static void text_sanitise(char *text)
{
	size_t length;

	while (*text) {
		length = character_length(text);
		if (!length || iscntrl((unsigned char)*text))
			*text = '?';
		text += length ? length : 1;
	}
}

int diagnostics_add(struct policy_diagnostics *d, enum policy_severity severity, struct policy_place place,
		    const char *fmt, ...)
{
	struct policy_diagnostic *item;
	const char *file;
	char *text;
	va_list ap;
	int n;

	if (!d)
		return 0;
	d->errors += severity == POLICY_ERROR;
	if (d->count > DIAGNOSTICS_MAX)
		return 0;
	if (d->count == DIAGNOSTICS_MAX)
		fmt = "too many findings; the rest is not shown, mend these first";
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	file = file_intern(d, place.file);
	item = file ? array_add(&d->items, &d->count, sizeof(*item)) : NULL;
	if (!item) {
		free(text);
		return -ENOMEM;
	}
	text_sanitise(text);
	*item = (struct policy_diagnostic){severity, {file, place.line, place.column}, text};
	return 0;
}

static int diagnostic_compare(const void *a, const void *b)
{
	const struct policy_diagnostic *x = a, *y = b;
	int r = strcmp(x->place.file, y->place.file);

	if (r)
		return r;
	if (x->place.line != y->place.line)
		return x->place.line < y->place.line ? -1 : 1;
	if (x->place.column != y->place.column)
		return x->place.column < y->place.column ? -1 : 1;
	return strcmp(x->text, y->text);
}

void diagnostics_sort(struct policy_diagnostics *d)
{
	if (d && d->count)
		qsort(d->items, d->count, sizeof(*d->items), diagnostic_compare);
}

void policy_diagnostics_done(struct policy_diagnostics *d)
{
	size_t i;

	for (i = 0; i < d->count; i++)
		free(d->items[i].text);
	for (i = 0; i < d->n_files; i++)
		free(d->files[i]);
	free(d->items);
	free(d->files);
	*d = (struct policy_diagnostics){};
}

void policy_diagnostics_print(const struct policy_diagnostics *d, FILE *out)
{
	const struct policy_diagnostic *item;
	size_t i;

	for (i = 0; i < d->count; i++) {
		item = &d->items[i];
		fprintf(out, "%s:", item->place.file);
		if (item->place.line)
			fprintf(out, "%u:%u:", item->place.line, item->place.column);
		fprintf(out, " %s: %s\n", item->severity == POLICY_ERROR ? "error" : "warning", item->text);
	}
}

/* ----------------------------------------------------------------- suggestions */

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b, case aside; both shorter than SLUICE_NAME_LEN. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[3][SLUICE_NAME_LEN + 1];
	size_t i, j, n = strlen(b);

	for (j = 0; j <= n; j++)
		row[0][j] = j;
	for (i = 1; a[i - 1]; i++) {
		size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

		now[0] = i;
		for (j = 1; j <= n; j++) {
			now[j] = min(last[j] + 1, now[j - 1] + 1);
			now[j] = min(now[j], last[j - 1] + !same(a[i - 1], b[j - 1]));
			if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
				now[j] = min(now[j], before[j - 2] + 1);
		}
	}
	return row[(i - 1) % 3][n];
}

void suggestion_try(struct suggestion *s, const char *candidate)
{
	size_t length = strlen(s->word), distance;

	if (!candidate || length >= SLUICE_NAME_LEN || strlen(candidate) >= SLUICE_NAME_LEN)
		return;
	distance = edit_distance(s->word, candidate);
	if (distance > max(length / 3, (size_t)1) || distance >= strlen(candidate))
		return;
	if (s->best && s->distance <= distance)
		return;
	s->best = candidate;
	s->distance = distance;
}

const char *suggestion_text(const struct suggestion *s, char *buf, size_t size)
{
	if (s->best)
		snprintf(buf, size, "; did you mean '%s'?", s->best);
	else
		buf[0] = '\0';
	return buf;
}
