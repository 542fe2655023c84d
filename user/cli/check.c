// SPDX-License-Identifier: Apache-2.0
/* `sluice check`: a policy read, compiled and, with --cases, questioned. Nothing but files is touched. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "policy/cases.h"

/* All that a check finds out. */
struct check {
	struct policy_diagnostics diagnostics;
	struct policy *policy;
	struct policy_tables *tables;
	struct case_results cases;
	struct error err;
	bool has_cases;
};

static void check_done(struct check *c)
{
	policy_diagnostics_done(&c->diagnostics);
	case_results_done(&c->cases);
	policy_tables_free(c->tables);
	policy_free(c->policy);
}

static int check_run(struct check *c, const char *path, const char *cases)
{
	int r = policy_load(path, &c->diagnostics, &c->policy);

	if (!r)
		r = policy_compile(c->policy, &c->err, &c->tables);
	if (!r && cases) {
		c->has_cases = true;
		r = cases_run(cases, c->policy, c->tables, &c->diagnostics, &c->err, &c->cases);
	}
	return r;
}

static void print_text(const struct check *c, const char *path, int r)
{
	size_t i;

	policy_diagnostics_print(&c->diagnostics, stderr);
	if (c->err.text[0])
		fprintf(stderr, "sluice: check: %s\n", c->err.text);
	else if (r && !c->diagnostics.count)
		fprintf(stderr, "sluice: check: %s: %s\n", path, strerror(-r));
	if (r)
		return;
	for (i = 0; i < c->cases.count; i++) {
		const struct case_result *one = &c->cases.items[i];

		if (one->ok)
			continue;
		printf("%s:%u: %s: expected %s, got %s\n", one->place.file, one->place.line, one->name, one->expected,
		       one->happened);
	}
	printf("%s: policy%s%s is fine: %zu rules, %zu address classes, %zu interfaces\n", path,
	       *c->policy->name ? " " : "", c->policy->name, c->policy->n_rules, c->tables->n_classes,
	       c->policy->n_interfaces);
	if (c->has_cases)
		printf("%zu cases, %zu failed\n", c->cases.count, c->cases.failed);
}

static struct json_object *diagnostic_object(const struct policy_diagnostic *d)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "severity",
			       json_object_new_string(d->severity == POLICY_ERROR ? "error" : "warning"));
	json_object_object_add(o, "file", d->place.file ? json_object_new_string(d->place.file) : NULL);
	json_object_object_add(o, "line", json_object_new_int64(d->place.line));
	json_object_object_add(o, "column", json_object_new_int64(d->place.column));
	json_object_object_add(o, "text", json_object_new_string(d->text));
	return o;
}

static struct json_object *case_object(const struct case_result *c)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(c->name));
	json_object_object_add(o, "line", json_object_new_int64(c->place.line));
	json_object_object_add(o, "expected", json_object_new_string(c->expected));
	json_object_object_add(o, "happened", json_object_new_string(c->happened));
	json_object_object_add(o, "ok", json_object_new_boolean(c->ok));
	return o;
}

static void print_json(const struct check *c, const char *path, int r)
{
	struct json_object *o = json_object_new_object(), *diagnostics = json_object_new_array();
	struct json_object *cases = json_object_new_array();
	size_t i;

	json_object_object_add(o, "path", json_object_new_string(path));
	json_object_object_add(o, "policy", c->policy ? json_object_new_string(c->policy->name) : NULL);
	json_object_object_add(o, "ok", json_object_new_boolean(!r && !c->cases.failed));
	json_object_object_add(o, "rules", c->policy ? json_object_new_uint64(c->policy->n_rules) : NULL);
	for (i = 0; i < c->diagnostics.count; i++)
		json_object_array_add(diagnostics, diagnostic_object(&c->diagnostics.items[i]));
	json_object_object_add(o, "diagnostics", diagnostics);
	json_object_object_add(o, "error",
			       r && !c->diagnostics.errors
				       ? json_object_new_string(c->err.text[0] ? c->err.text : strerror(-r))
				       : NULL);
	for (i = 0; i < c->cases.count; i++)
		json_object_array_add(cases, case_object(&c->cases.items[i]));
	json_object_object_add(o, "cases", cases);
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{"cases", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(check_done) struct check check = {};
	const char *cases = NULL;
	bool json = false;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			cases = optarg;
		else if (option == 'j')
			json = true;
		else
			return cli_usage("check", "unknown option");
	}
	if (optind + 1 != argc)
		return cli_usage("check", "takes one policy");
	r = check_run(&check, argv[optind], cases);
	(json ? print_json : print_text)(&check, argv[optind], r);
	if (r)
		return r == -ENOMEM ? EXIT_SYSTEM : EXIT_USAGE;
	return check.cases.failed ? EXIT_NO : EXIT_FINE;
}
