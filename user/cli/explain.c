// SPDX-License-Identifier: Apache-2.0
/* `sluice explain`: one question to a policy, asked of the model; no root, no kernel. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/json.h"
#include "cli/status.h"
#include "cli/table.h"
#include "policy/cases.h"

static const char *const mismatch_names[] = {
	[POLICY_MATCHED] = "matched",	       [POLICY_MISMATCH_TENANT] = "tenant",
	[POLICY_MISMATCH_SOURCE] = "source",   [POLICY_MISMATCH_DEST] = "destination",
	[POLICY_MISMATCH_SERVICE] = "service", [POLICY_MATCHED_AUDIT] = "audit",
};

struct explain_options {
	struct question question;
	bool json;
	bool all;
};

/* Up to so many earlier rules are all shown; of more, those that nearly matched, and numbers for the rest. */
#define SHOWN_MAX 24

static void print_place(char *text, size_t size, struct policy_place place)
{
	snprintf(text, size, "%s:%u", place.file ? place.file : "?", place.line);
}

static void print_decision(const struct policy *p, const struct question *q, const struct policy_answer *a)
{
	const struct policy_limit limit = policy_rule_limit(p, a->rule);
	char place[512], text[POLICY_LIMIT_LEN];

	printf("%s > %s %s: %s%s\n", q->from, q->to, q->service, status_action(a->action),
	       p->audit ? " (the policy is in audit mode: it passes, and is counted)" : "");
	if (a->by_default) {
		printf("  no rule matches; default decides\n");
	} else {
		print_place(place, sizeof(place), policy_rule_place(p, a->rule));
		printf("  rule %s at %s decides\n", policy_rule_name(p, a->rule), place);
	}
	if (limit.rate)
		printf("  limit %s: what is over it is dropped\n", policy_limit_text(&limit, text));
}

/* A rule that only its service kept from matching, or that matched and only counts: what a reader looks for. */
static bool nearly_matched(enum policy_mismatch mismatch)
{
	return mismatch == POLICY_MISMATCH_SERVICE || mismatch == POLICY_MATCHED_AUDIT;
}

/* "3,412 rules: source is not in `from`", one line a reason, for the rules that are not shown. */
static void print_fold(const struct policy_answer *a)
{
	static const char *const texts[] = {
		[POLICY_MISMATCH_TENANT] = "hold in other tenants",
		[POLICY_MISMATCH_SOURCE] = "source is not in `from`",
		[POLICY_MISMATCH_DEST] = "source fits, destination is not in `to`",
	};
	size_t i, counts[POLICY_MATCHED_AUDIT + 1] = {};

	for (i = 0; i < a->rule; i++)
		counts[a->earlier[i]]++;
	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		if (texts[i] && counts[i])
			printf("  %s %s %s\n", number_text(counts[i]).text,
			       counts[i] == 1 ? "earlier rule:" : "earlier rules:", texts[i]);
	}
	counts[0] = counts[POLICY_MISMATCH_SERVICE] + counts[POLICY_MATCHED_AUDIT];
	if (counts[0] > SHOWN_MAX)
		printf("  %s earlier rules: source and destination fit; the last %d of them follow\n",
		       number_text(counts[0]).text, SHOWN_MAX);
	printf("  (--all shows every rule)\n");
}

/* The first rule to show, so that at most SHOWN_MAX near misses follow: the nearest to the one that decides. */
static size_t fold_begin(const struct policy_answer *a)
{
	size_t i = a->rule, shown = 0;

	while (i && shown < SHOWN_MAX)
		shown += nearly_matched(a->earlier[--i]);
	return i;
}

static void print_text(const struct policy *p, const struct explain_options *o, const struct policy_query *query,
		       const struct policy_answer *a)
{
	bool fold = a->rule > SHOWN_MAX && !o->all;
	char place[512], why[POLICY_EXPLAIN_LEN];
	struct table t;
	size_t i;

	print_decision(p, &o->question, a);
	if (fold)
		print_fold(a);
	table_start(&t,
		    (const struct table_column[]){{"earlier rule", 0}, {"at", 0}, {"does not decide because", 0}, {}});
	for (i = fold ? fold_begin(a) : 0; i < a->rule; i++) {
		if (fold && !nearly_matched(a->earlier[i]))
			continue;
		print_place(place, sizeof(place), policy_rule_place(p, i));
		table_row(&t, "%s", policy_rule_name(p, i));
		table_cell(&t, "%s", place);
		table_cell(&t, "%s", policy_explain_text(p, query, i, a->earlier[i], why, sizeof(why)));
	}
	table_print(&t, stdout);
	table_done(&t);
}

static struct json_object *rule_object(const struct policy *p, size_t rule)
{
	struct json_object *o = json_object_new_object();
	struct policy_place place = policy_rule_place(p, rule);

	json_object_object_add(o, "rule", json_object_new_string(policy_rule_name(p, rule)));
	json_object_object_add(o, "file", place.file ? json_object_new_string(place.file) : NULL);
	json_object_object_add(o, "line", json_object_new_int64(place.line));
	return o;
}

static void print_json(const struct policy *p, const struct explain_options *options, const struct policy_query *query,
		       const struct policy_answer *a)
{
	const struct question *q = &options->question;
	const struct policy_limit limit = policy_rule_limit(p, a->rule);
	char why[POLICY_EXPLAIN_LEN];
	struct json_object *o = a->by_default ? json_object_new_object() : rule_object(p, a->rule);
	struct json_object *earlier = json_object_new_array(), *rule;
	size_t i;

	if (a->by_default)
		json_object_object_add(o, "rule", NULL);
	json_object_object_add(o, "from", json_object_new_string(q->from));
	json_object_object_add(o, "to", json_object_new_string(q->to));
	json_object_object_add(o, "service", json_object_new_string(q->service));
	json_object_object_add(o, "action", json_object_new_string(status_action(a->action)));
	json_object_object_add(o, "default", json_object_new_boolean(a->by_default));
	json_object_object_add(o, "mode", json_object_new_string(p->audit ? "audit" : "enforce"));
	json_object_object_add(o, "limit", json_limit(&limit));
	for (i = 0; i < a->rule; i++) {
		rule = rule_object(p, i);
		json_object_object_add(rule, "mismatch", json_object_new_string(mismatch_names[a->earlier[i]]));
		policy_explain_text(p, query, i, a->earlier[i], why, sizeof(why));
		json_object_object_add(rule, "why", json_object_new_string(why));
		json_object_array_add(earlier, rule);
	}
	json_object_object_add(o, "earlier", earlier);
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static int parse_options(int argc, char **argv, struct explain_options *o)
{
	static const struct option options[] = {
		{"from", required_argument, NULL, 'f'},	   {"to", required_argument, NULL, 't'},
		{"service", required_argument, NULL, 's'}, {"source-port", required_argument, NULL, 'p'},
		{"tenant", required_argument, NULL, 'T'},  {"json", no_argument, NULL, 'j'},
		{"all", no_argument, NULL, 'a'},	   {},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			o->question.from = optarg;
			break;
		case 't':
			o->question.to = optarg;
			break;
		case 's':
			o->question.service = optarg;
			break;
		case 'p':
			o->question.source_port = optarg;
			break;
		case 'T':
			o->question.tenant = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'a':
			o->all = true;
			break;
		default:
			return cli_usage("explain", "unknown option");
		}
	}
	if (optind + 1 != argc || !o->question.from || !o->question.to || !o->question.service)
		return cli_usage("explain", "needs a policy, --from, --to and --service");
	return 0;
}

static int explain(const struct policy *p, const struct explain_options *o, struct error *err)
{
	struct policy_answer answer = {};
	struct policy_query query;
	int r = question_read(&o->question, p, &query, err);

	if (!r)
		r = policy_explain(p, &query, &answer);
	if (r)
		return r;
	(o->json ? print_json : print_text)(p, o, &query, &answer);
	free(answer.earlier);
	return 0;
}

int cmd_explain(int argc, char **argv)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct explain_options o = {};
	struct error err = {};
	int r = parse_options(argc, argv, &o);

	if (r)
		return r;
	r = cli_load_policy("explain", argv[optind], &p);
	if (r)
		return r;
	r = explain(p, &o, &err);
	if (r == -EINVAL)
		return cli_usage("explain", "%s", err.text);
	return r ? cli_fail("explain", r, &err) : EXIT_FINE;
}
