// SPDX-License-Identifier: Apache-2.0
/* `sluice import`: the rules of another filter as a policy; what could not be carried over is named. Touches only
 * files. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "policy/import.h"

struct options {
	struct import_options import;
	const char *out; /* NULL: standard output */
	char name[64];
	bool json;
};

/* Comma-separated values may be given in one option or in several. */
static int list_add(char ***list, size_t *count, char *values)
{
	char *value, *rest, **grown;

	for (value = strtok_r(values, ",", &rest); value; value = strtok_r(NULL, ",", &rest)) {
		grown = reallocarray(*list, *count + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		*list = grown;
		grown[(*count)++] = value;
	}
	return 0;
}

static bool word_read(const char *value, const char *const *words, size_t count, int *ret)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (strcmp(words[i], value))
			continue;
		*ret = (int)i;
		return true;
	}
	return false;
}

static int option_read(int option, char *value, struct options *o)
{
	static const char *const formats[] = {"auto", "classbench", "iptables", "nft"};
	static const char *const actions[] = {"allow", "deny", "alternate"};
	int word;

	switch (option) {
	case 'f':
		if (!word_read(value, formats, ARRAY_SIZE(formats), &word))
			return cli_usage("import", "no format %s; use auto, classbench, iptables or nft", value);
		o->import.format = (enum import_format)word;
		return 0;
	case 'a':
		if (!word_read(value, actions, ARRAY_SIZE(actions), &word))
			return cli_usage("import", "no action %s; use allow, deny or alternate", value);
		o->import.action = (enum import_action)word;
		return 0;
	case 'i':
		return list_add(&o->import.interfaces, &o->import.n_interfaces, value) ? EXIT_SYSTEM : 0;
	case 'A':
		return list_add(&o->import.addresses, &o->import.n_addresses, value) ? EXIT_SYSTEM : 0;
	case 'c':
		o->import.chain = value;
		return 0;
	case 'n':
		o->import.name = value;
		return 0;
	case 'o':
		o->out = value;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	default:
		return cli_usage("import", "unknown option");
	}
}

/* A policy that nobody named has the file's name, without what follows the first dot. */
static void name_default(struct options *o)
{
	const char *base = strrchr(o->import.file, '/');

	base = base ? base + 1 : o->import.file;
	snprintf(o->name, sizeof(o->name), "%.*s", (int)strcspn(base, "."), base);
	if (!o->import.name)
		o->import.name = strcmp(o->import.file, "-") && o->name[0] ? o->name : "imported";
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{"format", required_argument, NULL, 'f'},
		{"interface", required_argument, NULL, 'i'},
		{"name", required_argument, NULL, 'n'},
		{"action", required_argument, NULL, 'a'},
		{"chain", required_argument, NULL, 'c'},
		{"address", required_argument, NULL, 'A'},
		{"output", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},
		{},
	};
	int option, status;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		status = option_read(option, optarg, o);
		if (status)
			return status;
	}
	if (optind + 1 != argc)
		return cli_usage("import", "takes one file, or - for standard input");
	o->import.file = argv[optind];
	name_default(o);
	return 0;
}

static int file_read(const char *path, char **ret_text, size_t *ret_length)
{
	_cleanup_fclose_ FILE *in = strcmp(path, "-") ? fopen(path, "re") : fdopen(dup(STDIN_FILENO), "r");
	_cleanup_free_ char *text = NULL;
	size_t length = 0, capacity = 0, n;
	char *grown;

	if (!in)
		return -errno;
	do {
		if (capacity - length < 65536) {
			capacity = max(capacity * 2, (size_t)1 << 20);
			grown = realloc(text, capacity);
			if (!grown)
				return -ENOMEM;
			text = grown;
		}
		n = fread(text + length, 1, capacity - length - 1, in);
		length += n;
	} while (n);
	if (ferror(in))
		return errno ? -errno : -EIO;
	text[length] = 0;
	*ret_text = TAKE_PTR(text);
	*ret_length = length;
	return 0;
}

/* ---------------------------------------------------------------------------- output */

static int output_write(const struct options *o, const char *text)
{
	_cleanup_fclose_ FILE *out = o->out ? fopen(o->out, "we") : NULL;
	FILE *to = o->out ? out : stdout;

	if (to && fputs(text, to) >= 0 && !fflush(to))
		return 0;
	fprintf(stderr, "sluice: import: %s: %s\n", o->out ?: "standard output", strerror(errno));
	return EXIT_SYSTEM;
}

static void print_findings(const struct options *o, const struct import_result *r)
{
	const struct import_dropped *d;
	size_t i;

	for (d = r->dropped; r->n_dropped && d < r->dropped + r->n_dropped; d++) {
		fprintf(stderr, "%s:%u: not carried over: %s\n  %s\n", o->import.file, d->line, d->text, d->why);
		if (d->widens)
			fprintf(stderr, "  WARNING: later rules may now allow what this line kept from them\n");
	}
	for (i = 0; i < r->n_notes; i++)
		fprintf(stderr, "%s: note: %s\n", o->import.file, r->notes[i]);
	fprintf(stderr, "%s: %s, %zu of %zu lines carried over, %zu rules\n", o->import.file,
		import_format_name(r->format), r->carried, r->lines, r->rules);
}

static struct json_object *dropped_object(const struct import_dropped *d)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "line", json_object_new_int64(d->line));
	json_object_object_add(o, "text", json_object_new_string(d->text));
	json_object_object_add(o, "why", json_object_new_string(d->why));
	json_object_object_add(o, "widens", json_object_new_boolean(d->widens));
	return o;
}

static void print_json(const struct import_result *r)
{
	struct json_object *o = json_object_new_object(), *dropped = json_object_new_array();
	struct json_object *notes = json_object_new_array();
	size_t i;

	for (i = 0; i < r->n_dropped; i++)
		json_object_array_add(dropped, dropped_object(&r->dropped[i]));
	for (i = 0; i < r->n_notes; i++)
		json_object_array_add(notes, json_object_new_string(r->notes[i]));
	json_object_object_add(o, "format", json_object_new_string(import_format_name(r->format)));
	json_object_object_add(o, "policy", json_object_new_string(r->policy));
	json_object_object_add(o, "rules", json_object_new_uint64(r->rules));
	json_object_object_add(o, "lines", json_object_new_uint64(r->lines));
	json_object_object_add(o, "carried", json_object_new_uint64(r->carried));
	json_object_object_add(o, "dropped", dropped);
	json_object_object_add(o, "notes", notes);
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static int run(const struct options *o)
{
	_cleanup_(import_result_done) struct import_result result = {};
	_cleanup_free_ char *text = NULL;
	struct error err = {};
	size_t length = 0;
	int r = file_read(o->import.file, &text, &length), status = 0;

	if (r) {
		fprintf(stderr, "sluice: import: %s: %s\n", o->import.file, strerror(-r));
		return r == -ENOMEM ? EXIT_SYSTEM : EXIT_USAGE;
	}
	r = import_text(&o->import, text, length, &err, &result);
	if (r) {
		fprintf(stderr, "sluice: import: %s: %s\n", o->import.file, err.text[0] ? err.text : strerror(-r));
		return r == -ENOMEM ? EXIT_SYSTEM : EXIT_USAGE;
	}
	if (!o->json || o->out)
		status = output_write(o, result.policy);
	if (o->json)
		print_json(&result);
	else
		print_findings(o, &result);
	return status ?: result.n_dropped ? EXIT_NO : EXIT_FINE;
}

int cmd_import(int argc, char **argv)
{
	struct options o = {};
	int status = parse_options(argc, argv, &o);

	if (!status)
		status = run(&o);
	free(o.import.interfaces);
	free(o.import.addresses);
	return status;
}
