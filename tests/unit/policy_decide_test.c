// SPDX-License-Identifier: Apache-2.0
/*
 * user/policy/decide.c by chosen policies: how rules are dealt out to planes, and what that is good for. That the
 * answers are right in every layout is what policy_differential_test.c shows with random policies.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"

#define SIDE 96 /* rules of one source, and rules of one destination */

static struct policy *load(const char *text)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	struct policy *p = NULL;
	int r = policy_load_text("t.yaml", text, strlen(text), &d, &p);

	if (r)
		policy_diagnostics_print(&d, stderr);
	cr_assert_eq(r, 0);
	return p;
}

/* Any source to one destination, and one source to any destination, in turns. */
static struct policy *grid_load(void)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	int i;

	fprintf(out, "sluice: 1\nrules:\n");
	for (i = 0; i < SIDE; i++) {
		fprintf(out, "  - {name: to%d, from: any, to: 10.2.0.%d, service: tcp/%d, action: allow}\n", i, i,
			1 + i % 7);
		fprintf(out, "  - {name: from%d, from: 10.1.0.%d, to: any, service: tcp/%d, action: deny}\n", i, i,
			1 + i % 5);
	}
	fclose(out);
	return load(text);
}

static struct policy_tables *compile(const struct policy *p, unsigned int layout)
{
	struct policy_tables *t = NULL;
	struct error err = {};
	int r = policy_compile_shaped(p, &(struct compile_shape){.layout = layout}, &err, &t);

	cr_assert(!r || r == -ERANGE, "%s", err.text);
	return t;
}

/* Words up to the last that is used: tables are padded to whole pages. */
static size_t words_used(const struct policy_tables *t)
{
	size_t n = t->words.words;

	while (n && !t->words.word[n - 1])
		n--;
	return n;
}

static void grid_check(const struct policy *p, const struct policy_tables *t)
{
	struct policy_query q = {.protocol = 6};
	struct policy_answer answer;
	int i, k;

	memset(q.source + 10, 0xff, 2);
	memset(q.dest + 10, 0xff, 2);
	memcpy(q.source + 12, (uint8_t[]){10, 1, 0}, 3);
	memcpy(q.dest + 12, (uint8_t[]){10, 2, 0}, 3);
	for (i = 0; i <= SIDE; i++) {
		for (k = 0; k <= SIDE; k++) {
			q.source[15] = (uint8_t)i;
			q.dest[15] = (uint8_t)k;
			q.dest_port = (uint16_t)(1 + (i + k) % 8);
			cr_assert_eq(policy_explain(p, &q, &answer), 0);
			free(answer.earlier);
			cr_assert_eq(policy_tables_lookup(t, &q), answer.rule, "source %d, destination %d", i, k);
		}
	}
}

Test(policy_decide, sets_that_multiply_in_one_plane_add_up_in_several)
{
	_cleanup_(policy_freep) struct policy *p = grid_load();
	_cleanup_(policy_tables_freep) struct policy_tables *one = compile(p, 0), *several = compile(p, 1);
	_cleanup_(policy_tables_freep) struct policy_tables *usual = NULL;
	struct error err = {};

	cr_assert_eq(one->head.planes, 1);
	cr_assert_gt(several->head.planes, 1);
	cr_assert_leq(several->head.planes, SLUICE_PLANE_AUDIT);
	cr_assert_lt(words_used(several) * 2, words_used(one), "%zu and %zu words", words_used(several),
		     words_used(one));
	grid_check(p, one);
	grid_check(p, several);
	cr_assert_eq(policy_compile(p, &err, &usual), 0);
	cr_assert_eq(usual->head.planes, 1, "more planes than needed: each costs a packet a walk");
}

Test(policy_decide, a_layout_that_there_is_not_is_an_error)
{
	_cleanup_(policy_freep) struct policy *p = load("sluice: 1\n");
	struct policy_tables *t = NULL;
	struct error err = {};

	cr_assert_eq(policy_compile_shaped(p, &(struct compile_shape){.layout = 1000}, &err, &t), -ERANGE);
	cr_assert_null(t);
}

/* The words of all rows together, without port tables and the like. */
static size_t rows_distinct(const struct policy_tables *t, unsigned int plane)
{
	size_t i, k, n = 0;

	for (i = 0; i < t->n_classes; i++) {
		for (k = 0; k < i && t->classes[k].row[plane] != t->classes[i].row[plane]; k++)
			;
		n += k == i;
	}
	return n;
}

Test(policy_decide, sources_of_which_the_rules_say_the_same_share_a_row)
{
	_cleanup_(policy_freep) struct policy *p =
		load("sluice: 1\nsegments:\n  a: [10.1.0.0/24]\n  b: [10.2.0.0/24]\n  both: {segments: [a, b]}\n"
		     "rules:\n"
		     "  - {name: all, from: both, to: any, service: tcp/80, action: allow}\n"
		     "  - {name: too-late, from: a, to: any, service: tcp/80, action: deny}\n");
	_cleanup_(policy_tables_freep) struct policy_tables *t = compile(p, 0);

	/* Neither, b, a and b: but rule too-late changes nothing. */
	cr_assert_eq(rows_distinct(t, 0), 2);
}

Test(policy_decide, no_audit_rule_no_audit_plane)
{
	_cleanup_(policy_freep) struct policy *without =
		load("sluice: 1\nrules: [{name: a, from: any, to: any, action: deny}]\n");
	_cleanup_(policy_freep) struct policy *with =
		load("sluice: 1\nrules: [{name: a, from: any, to: any, action: deny, mode: audit}]\n");
	_cleanup_(policy_tables_freep) struct policy_tables *x = compile(without, 0), *y = compile(with, 0);

	cr_assert_eq(x->head.flags & SLUICE_HAS_AUDITS, 0);
	cr_assert_neq(y->head.flags & SLUICE_HAS_AUDITS, 0);
}
