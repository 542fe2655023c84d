// SPDX-License-Identifier: Apache-2.0
/*
 * Random policies and packets: the naive reference, the compiled tables and explain must agree on every one. Run a
 * failure again with the SLUICE_SEED that is printed.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/policy.h"
#include "reference.h"

#define SECONDS 2
#define QUERIES 400

struct trial {
	uint64_t seed;
	struct reference_policy reference;
	char *yaml;
	struct policy *policy;
	struct policy_tables *tables;
};

static void trial_begin(struct trial *t, uint64_t seed, uint64_t *state)
{
	struct policy_diagnostics d = {};
	struct error err = {};

	*t = (struct trial){.seed = seed};
	reference_generate(&t->reference, state);
	t->yaml = reference_yaml(&t->reference);
	if (policy_load_text("random.yaml", t->yaml, strlen(t->yaml), &d, &t->policy)) {
		policy_diagnostics_print(&d, stderr);
		cr_assert(false, "seed %llu: refused:\n%s", (unsigned long long)seed, t->yaml);
	}
	policy_diagnostics_done(&d);
	if (policy_compile(t->policy, &err, &t->tables))
		cr_assert(false, "seed %llu: %s:\n%s", (unsigned long long)seed, err.text, t->yaml);
}

static void trial_end(struct trial *t)
{
	policy_tables_free(t->tables);
	policy_free(t->policy);
	free(t->yaml);
}

static void lookup_compare(const struct trial *t, const struct policy_query *q)
{
	uint32_t audits[SLUICE_AUDITS_MAX], rules[SLUICE_AUDITS_MAX + 1];
	size_t n, expected_n;
	unsigned int expected = reference_lookup(&t->reference, q, audits, &expected_n);
	struct policy_answer answer;

	n = policy_tables_chain(t->tables, q, rules);
	if (rules[n] != expected || n != expected_n || memcmp(rules, audits, n * sizeof(*audits)))
		cr_assert(false,
			  "seed %llu: tables say rule %u after %zu audit rules, reference says %u after %zu:\n%s",
			  (unsigned long long)t->seed, rules[n], n, expected, expected_n, t->yaml);
	cr_assert_eq(policy_explain(t->policy, q, &answer), 0);
	free(answer.earlier);
	if (answer.rule != expected)
		cr_assert(false, "seed %llu: explain says rule %zu, reference says %u:\n%s",
			  (unsigned long long)t->seed, answer.rule, expected, t->yaml);
}

/* Interface 0 is the carrier of the tenants' VLANs and has no antispoof. */
static void antispoof_compare(const struct trial *t, const struct policy_query *q)
{
	unsigned int i;

	for (i = 0; i < t->reference.n_interfaces; i++) {
		if (policy_tables_may_enter(t->tables, q, i + 1) != reference_may_enter(&t->reference, q, i))
			cr_assert(false, "seed %llu: antispoof of interface if%u differs:\n%s",
				  (unsigned long long)t->seed, i, t->yaml);
	}
	cr_assert(policy_tables_may_enter(t->tables, q, 0));
	cr_assert(policy_tables_may_enter(t->tables, q, SLUICE_MAX_INTERFACES - 1));
}

Test(policy_differential, tables_and_explain_agree_with_the_reference)
{
	uint64_t first = reference_seed(), seed, state, end = time_now_ns() + SECONDS * NSEC_PER_SEC;
	struct policy_query q;
	struct trial t;
	int i;

	for (seed = first; time_now_ns() < end || seed == first; seed++) {
		state = seed;
		trial_begin(&t, seed, &state);
		for (i = 0; i < QUERIES; i++) {
			reference_query(&t.reference, &state, &q);
			lookup_compare(&t, &q);
			antispoof_compare(&t, &q);
		}
		trial_end(&t);
	}
	cr_log_info("%llu policies\n", (unsigned long long)(seed - first));
}

static bool words_equal(const struct policy_words *a, const struct policy_words *b)
{
	return a->words == b->words && !memcmp(a->word, b->word, a->words * sizeof(*a->word));
}

Test(policy_differential, compiling_twice_gives_the_same_bytes)
{
	uint64_t seed = reference_seed(), state = seed;
	struct trial a, b;
	int i;

	for (i = 0; i < 10; i++) {
		uint64_t again = state;

		trial_begin(&a, seed, &state);
		trial_begin(&b, seed, &again);
		cr_assert(!memcmp(&a.tables->head, &b.tables->head, sizeof(a.tables->head)));
		cr_assert(!memcmp(a.tables->rules, b.tables->rules, a.tables->n_rules * sizeof(*a.tables->rules)));
		cr_assert(words_equal(&a.tables->words, &b.tables->words));
		cr_assert_eq(a.tables->n_classes, b.tables->n_classes);
		cr_assert(!memcmp(a.tables->classes, b.tables->classes,
				  a.tables->n_classes * sizeof(*a.tables->classes)));
		trial_end(&a);
		trial_end(&b);
	}
}
