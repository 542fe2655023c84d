// SPDX-License-Identifier: Apache-2.0
/*
 * The import's frame: recognises the format, lets its reader make rules, has them written, and hands over what was left
 * out. Called by `sluice import` and the tests. Holds all memory of an import in chunks that go with the result.
 */
#include "policy/import_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/array.h"

#define CHUNK_BYTES    (256u << 10)
#define TEXT_BYTES_MAX (1u << 30)

struct import_memory {
	struct import_memory *next;
	size_t used, size;
	_Alignas(16) char bytes[];
};

/* ------------------------------------------------------------------------- memory */

static struct import_memory *chunk_add(struct import *im, size_t size)
{
	size_t bytes = max(size, (size_t)CHUNK_BYTES);
	struct import_memory *chunk = calloc(1, sizeof(*chunk) + bytes);

	if (!chunk) {
		im->failed = im->failed ?: -ENOMEM;
		return NULL;
	}
	chunk->size = bytes;
	chunk->next = im->memory;
	im->memory = chunk;
	return chunk;
}

void *import_alloc(struct import *im, size_t size)
{
	struct import_memory *chunk = im->memory;
	void *at;

	size = (size + 15) & ~(size_t)15;
	if (!chunk || chunk->size - chunk->used < size)
		chunk = chunk_add(im, size);
	if (!chunk)
		return NULL;
	at = chunk->bytes + chunk->used;
	chunk->used += size;
	return at;
}

char *import_copy(struct import *im, const char *text, size_t length)
{
	char *copy = import_alloc(im, length + 1);

	if (copy)
		memcpy(copy, text, length);
	return copy;
}

char *import_print(struct import *im, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return import_copy(im, text, strlen(text));
}

void *import_add(struct import *im, void *items, size_t *count, size_t size)
{
	void **array = items, *grown;

	/* As array_add(), in the import's memory: what is outgrown stays until the end, at most as much again. */
	if ((*count & (*count - 1)) == 0) {
		grown = import_alloc(im, (*count ? *count * 2 : 1) * size);
		if (!grown)
			return NULL;
		if (*count)
			memcpy(grown, *array, *count * size);
		*array = grown;
	}
	return (char *)*array + (*count)++ * size;
}

/* ------------------------------------------------------------------------ findings */

void import_fail(struct import *im, int errnum, const char *fmt, ...)
{
	char text[sizeof(im->err->text)];
	va_list ap;

	if (im->failed)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	im->failed = error_set(im->err, errnum, "%s", text);
}

void import_drop(struct import *im, unsigned int line, const char *text, const char *why, bool widens)
{
	struct import_dropped *d = import_add(im, &im->dropped, &im->n_dropped, sizeof(*d));

	if (d)
		*d = (struct import_dropped){line, text ?: "", why ?: "", widens};
}

void import_note(struct import *im, const char *note)
{
	const char **slot = note ? import_add(im, &im->notes, &im->n_notes, sizeof(*slot)) : NULL;

	if (slot)
		*slot = note;
}

struct import_rule *import_rule_add(struct import *im, const struct import_match *match, enum sluice_action action,
				    const char *name, unsigned int line)
{
	struct import_rule *rule;

	if (im->n_rules >= SLUICE_MAX_RULES - 1) {
		import_fail(im, E2BIG, "more than %u rules; import a part of them", SLUICE_MAX_RULES - 1);
		return NULL;
	}
	rule = import_add(im, &im->rules, &im->n_rules, sizeof(*rule));
	if (rule)
		*rule = (struct import_rule){.match = *match, .action = action, .name = name, .line = line};
	return rule;
}

/* ------------------------------------------------------------------------- formats */

static const struct format {
	const char *name;
	bool (*is)(const char *text, size_t length);
	void (*read)(struct import *im, const char *text, size_t length);
} formats[] = {
	[IMPORT_CLASSBENCH] = {"classbench", import_classbench_is, import_classbench_read},
	[IMPORT_IPTABLES] = {"iptables", import_iptables_is, import_iptables_read},
	[IMPORT_NFT] = {"nft", import_nft_is, import_nft_read},
};

const char *import_format_name(enum import_format format)
{
	return format == IMPORT_AUTO ? "auto" : formats[format].name;
}

static enum import_format format_find(const struct import_options *o, const char *text, size_t length)
{
	size_t i;

	if (o->format != IMPORT_AUTO)
		return o->format;
	for (i = IMPORT_CLASSBENCH; i < ARRAY_SIZE(formats); i++)
		if (formats[i].is(text, length))
			return (enum import_format)i;
	return IMPORT_AUTO;
}

static int dropped_compare(const void *a, const void *b)
{
	const struct import_dropped *x = a, *y = b;

	return x->line < y->line ? -1 : x->line > y->line;
}

static void result_take(struct import *im, enum import_format format, char *policy, struct import_result *ret_result)
{
	*ret_result = (struct import_result){
		.policy = policy,
		.format = format,
		.lines = im->lines,
		.carried = im->lines - min(im->lines, im->n_dropped),
		.rules = im->n_rules,
		.dropped = im->dropped,
		.n_dropped = im->n_dropped,
		.notes = im->notes,
		.n_notes = im->n_notes,
		.memory = im->memory,
	};
}

int import_text(const struct import_options *o, const char *text, size_t length, struct error *err,
		struct import_result *ret_result)
{
	enum import_format format = format_find(o, text, length);
	struct import im = {.options = o, .err = err};
	struct import_result result = {};
	char *policy = NULL;

	if (format == IMPORT_AUTO)
		return error_set(err, EINVAL,
				 "is no ClassBench set, iptables-save output or `nft -j list ruleset`; say --format");
	if (length > TEXT_BYTES_MAX || memchr(text, 0, length))
		return error_set(err, EINVAL, "is not text, or has more than 1 GiB");
	formats[format].read(&im, text, length);
	if (!im.failed && !im.lines)
		import_fail(&im, EINVAL, "has no rule in it; is it %s?", formats[format].name);
	if (im.n_dropped)
		qsort(im.dropped, im.n_dropped, sizeof(*im.dropped), dropped_compare);
	if (!im.failed)
		im.failed = import_write(&im, format, &policy);
	result_take(&im, format, policy, &result);
	if (im.failed) {
		import_result_done(&result);
		return im.failed;
	}
	*ret_result = result;
	return 0;
}

void import_result_done(struct import_result *r)
{
	struct import_memory *chunk, *next;

	for (chunk = r->memory; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(r->policy);
	*r = (struct import_result){};
}
