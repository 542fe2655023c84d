// SPDX-License-Identifier: Apache-2.0
/*
 * Questions and case files; see cases.h. Called by `sluice check`, `sluice explain` and the unit test of the example
 * policies. Pure but for reading the file.
 */
#include "policy/cases.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/diagnostics.h"
#include "policy/document.h"
#include "policy/model.h"

static int read_port(const char *text, uint16_t *ret_port, struct error *err)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || port > 65535)
		return error_set(err, EINVAL, "source port %s; use 0-65535", text);
	*ret_port = (uint16_t)port;
	return 0;
}

static int check_families(const struct question *q, const struct policy_query *query, struct error *err)
{
	bool from = policy_address_is_ipv4(query->source), to = policy_address_is_ipv4(query->dest);

	if (from == to)
		return 0;
	return error_set(err, EINVAL, "'%.60s' is %s and '%.60s' is %s; a packet has both of one family", q->from,
			 from ? "IPv4" : "IPv6", q->to, to ? "IPv4" : "IPv6");
}

int question_read(const struct question *q, const struct policy *p, struct policy_query *ret_query, struct error *err)
{
	struct policy_query query = {};
	int r = policy_query_address(q->from, query.source, err);

	if (!r)
		r = policy_query_address(q->to, query.dest, err);
	if (!r)
		r = check_families(q, &query, err);
	if (!r)
		r = policy_query_service(q->service, &query, err);
	if (!r && q->source_port)
		r = read_port(q->source_port, &query.source_port, err);
	if (!r && q->tenant)
		r = policy_query_tenant(p, q->tenant, &query.tenant, err);
	if (!r)
		*ret_query = query;
	return r;
}

/* ------------------------------------------------------------------- case files */

struct case_words {
	struct question question;
	const char *name;
	const char *verdict;
	const char *rule;
};

static const struct case_key {
	const char *name;
	size_t offset;
	bool required;
} case_keys[] = {
	{"from", offsetof(struct case_words, question.from), true},
	{"to", offsetof(struct case_words, question.to), true},
	{"service", offsetof(struct case_words, question.service), true},
	{"verdict", offsetof(struct case_words, verdict), true},
	{"source-port", offsetof(struct case_words, question.source_port), false},
	{"tenant", offsetof(struct case_words, question.tenant), false},
	{"rule", offsetof(struct case_words, rule), false},
	{"name", offsetof(struct case_words, name), false},
};

static const char *const verdicts[] = {
	[SLUICE_ACTION_DENY] = "deny",
	[SLUICE_ACTION_ALLOW] = "allow",
	[SLUICE_ACTION_REJECT] = "reject",
};

static int refuse(struct policy_diagnostics *d, const struct node *at, const char *fact)
{
	diagnostics_add(d, POLICY_ERROR, at->place, "%s", fact);
	return -EINVAL;
}

static int read_pair(const struct node *key, const struct node *value, struct policy_diagnostics *d,
		     struct case_words *w)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(case_keys); i++) {
		if (key->kind != NODE_SCALAR || strcmp(key->text, case_keys[i].name))
			continue;
		if (value->kind != NODE_SCALAR)
			return refuse(d, value, "a case's values are plain words");
		*(const char **)((char *)w + case_keys[i].offset) = value->text;
		return 0;
	}
	return refuse(
		d, key,
		"unknown key; a case has from, to, service, verdict, and may have source-port, tenant, rule, name");
}

static int read_words(const struct node *node, struct policy_diagnostics *d, struct case_words *ret)
{
	struct case_words w = {};
	size_t i;
	int r = 0, s;

	if (node->kind != NODE_MAPPING)
		return refuse(d, node, "a case is a mapping: {from: ..., to: ..., service: ..., verdict: ...}");
	for (i = 0; i + 1 < node->n_children; i += 2) {
		s = read_pair(&node->children[i], &node->children[i + 1], d, &w);
		r = r ? r : s;
	}
	for (i = 0; !r && i < ARRAY_SIZE(case_keys); i++)
		if (case_keys[i].required && !*(const char **)((char *)&w + case_keys[i].offset))
			return refuse(d, node, "a case needs from, to, service and verdict");
	for (i = 0; !r && i < ARRAY_SIZE(verdicts) && strcmp(w.verdict, verdicts[i]); i++)
		;
	if (!r && i == ARRAY_SIZE(verdicts))
		return refuse(d, node, "verdict is one of allow, deny, reject");
	*ret = w;
	return r;
}

static char *words(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *words(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : text;
}

/* What the policy says, and whether rules and tables say the same. */
static int judge(const struct case_words *w, const struct policy *p, const struct policy_tables *t,
		 const struct policy_query *q, struct case_result *c)
{
	struct policy_answer answer = {};
	size_t compiled = policy_tables_lookup(t, q);
	const char *rule;
	int r = policy_explain(p, q, &answer);

	if (r)
		return r;
	free(answer.earlier);
	rule = policy_rule_name(p, answer.rule);
	c->name =
		w->name ? strdup(w->name) : words("%s > %s %s", w->question.from, w->question.to, w->question.service);
	c->expected = w->rule ? words("%s by %s", w->verdict, w->rule) : words("%s", w->verdict);
	if (compiled != answer.rule)
		c->happened = words("rules as written say %s, the compiled tables %s: a bug, please report", rule,
				    policy_rule_name(p, compiled));
	else
		c->happened = words("%s by %s", verdicts[answer.action], rule);
	c->ok = compiled == answer.rule && !strcmp(w->verdict, verdicts[answer.action]) &&
		(!w->rule || !strcmp(w->rule, rule));
	return c->name && c->expected && c->happened ? 0 : -ENOMEM;
}

static int run_case(const struct node *node, const struct policy *p, const struct policy_tables *t,
		    struct policy_diagnostics *d, struct case_results *results)
{
	struct case_result *items;
	struct policy_query query;
	struct case_words w;
	struct error why = {};
	int r = read_words(node, d, &w);

	if (r)
		return r;
	if (question_read(&w.question, p, &query, &why))
		return refuse(d, node, why.text);
	items = reallocarray(results->items, results->count + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	results->items = items;
	items += results->count++;
	memset(items, 0, sizeof(*items));
	items->place = node->place;
	r = judge(&w, p, t, &query, items);
	results->failed += !items->ok;
	return r;
}

void case_results_done(struct case_results *r)
{
	size_t i;

	for (i = 0; i < r->count; i++) {
		free(r->items[i].name);
		free(r->items[i].expected);
		free(r->items[i].happened);
	}
	free(r->items);
	memset(r, 0, sizeof(*r));
}

static int read_file(const char *path, struct error *err, char **ret_text, size_t *ret_length)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *text = NULL;
	size_t room = 0;
	ssize_t n;

	if (!f)
		return error_system(err, errno, "%s", path);
	n = getdelim(&text, &room, 0, f); /* to the end: the file is text */
	if (n < 0 && ferror(f))
		return error_system(err, errno, "%s", path);
	if (n < 0)
		return error_set(err, EINVAL, "%s: empty; it needs a list `cases:`", path);
	*ret_text = TAKE_PTR(text);
	*ret_length = (size_t)n;
	return 0;
}

static const struct node *find_cases(const struct node *root)
{
	if (root->kind != NODE_MAPPING || root->n_children != 2 || root->children[0].kind != NODE_SCALAR ||
	    strcmp(root->children[0].text, "cases") || root->children[1].kind != NODE_LIST)
		return NULL;
	return &root->children[1];
}

int cases_run(const char *path, const struct policy *p, const struct policy_tables *t, struct policy_diagnostics *d,
	      struct error *err, struct case_results *ret)
{
	_cleanup_(document_free) struct node root = {};
	_cleanup_free_ char *text = NULL;
	struct case_results results = {};
	const struct node *list;
	size_t length = 0, i;
	int r, s;

	r = read_file(path, err, &text, &length);
	if (!r)
		r = document_parse(path, text, length, d, &root);
	if (r)
		return r;
	list = find_cases(&root);
	if (!list)
		return refuse(d, &root, "a file of cases has one key, `cases:`, with a list");
	for (i = 0; i < list->n_children; i++) {
		s = run_case(&list->children[i], p, t, d, &results);
		r = r ? r : s;
	}
	if (r) {
		case_results_done(&results);
		return r;
	}
	*ret = results;
	return 0;
}
