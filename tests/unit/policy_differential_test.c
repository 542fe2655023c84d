// SPDX-License-Identifier: Apache-2.0
/*
 * Random policies and packets: the naive reference, the compiled tables in every layout of planes, and explain must
 * agree on every one. A difference is cut down to a minimal policy and packet and printed. Run a failure again with the
 * SLUICE_SEED that is printed; ask for more with SLUICE_DIFFERENTIAL=PACKETS.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"
#include "shrink.h"

#define SECONDS 4
#define LAYOUTS 8 /* at most */

/* A policy, and its tables in every layout. */
struct trial {
	struct policy *policy;
	struct policy_tables *tables[LAYOUTS];
	unsigned int layouts;
	size_t padding;
};

static void trial_end(struct trial *t)
{
	unsigned int i;

	for (i = 0; i < t->layouts; i++)
		policy_tables_free(t->tables[i]);
	policy_free(t->policy);
}

/* -EINVAL: refused, and said in `d`; else what the compiler says. */
static int trial_begin(struct trial *t, const char *yaml, struct policy_diagnostics *d, struct error *err)
{
	struct compile_shape shape = {.padding = t->padding};
	int r = policy_load_text("random.yaml", yaml, strlen(yaml), d, &t->policy);

	while (!r && t->layouts < LAYOUTS) {
		shape.layout = t->layouts;
		r = policy_compile_shaped(t->policy, &shape, err, &t->tables[t->layouts]);
		t->layouts += !r;
	}
	return r == -ERANGE && t->layouts ? 0 : r;
}

/* ------------------------------------------------------------------------ comparing */

/* What differs between the answers to one question; NULL: nothing. The text is static. */
static const char *tables_differ(const struct policy_tables *tables, const struct reference_answer *expected,
				 const struct policy_query *q)
{
	uint32_t rules[SLUICE_AUDITS_MAX + 1];
	const struct sluice_rule *rule;
	static char why[160];
	size_t n = policy_tables_chain(tables, q, rules);

	if (rules[n] != expected->rule || n != expected->n_audits ||
	    memcmp(rules, expected->audits, n * sizeof(*rules))) {
		snprintf(why, sizeof(why),
			 "tables of %u planes say rule number %u after %zu audit rules, not %u after %zu",
			 tables->head.planes, rules[n], n, expected->rule, expected->n_audits);
		return why;
	}
	rule = &tables->rules[rules[n]];
	if (rule->action != expected->action)
		return "the rule's action differs";
	if (expected->action == SLUICE_ACTION_ALLOW && !(rule->flags & SLUICE_RULE_STATEFUL) != !expected->stateful)
		return "the rule is stateful in one and not in the other";
	return NULL;
}

static const char *explain_differs(const struct policy *p, const struct reference_answer *expected,
				   const struct policy_query *q)
{
	_cleanup_free_ enum policy_mismatch *earlier = NULL;
	struct policy_answer answer;
	size_t i, audits = 0;

	if (policy_explain(p, q, &answer))
		return "explain fails";
	earlier = answer.earlier;
	if (answer.rule != expected->rule || answer.action != expected->action)
		return "explain says another rule";
	for (i = 0; i < answer.rule; i++) {
		if (answer.earlier[i] != POLICY_MATCHED_AUDIT)
			continue;
		if (audits == expected->n_audits || expected->audits[audits] != i)
			return "explain says another audit rule";
		audits++;
	}
	return audits == expected->n_audits ? NULL : "explain says fewer audit rules";
}

static const char *antispoof_differs(const struct policy_tables *tables, const struct reference_policy *p,
				     const struct policy_query *q)
{
	unsigned int i;

	for (i = 0; i < p->n_interfaces; i++) {
		if (policy_tables_may_enter(tables, q, i) != reference_may_enter(p, q, i))
			return "antispoof of an interface";
	}
	return policy_tables_may_enter(tables, q, SLUICE_MAX_INTERFACES - 1) ? NULL : "antispoof where there is none";
}

static const char *trial_differs(const struct trial *t, const struct reference_policy *p, const struct policy_query *q,
				 struct reference_answer *ret_expected)
{
	const char *why = NULL;
	unsigned int i;

	reference_ask(p, q, ret_expected);
	for (i = 0; !why && i < t->layouts; i++) {
		why = tables_differ(t->tables[i], ret_expected, q);
		if (!why)
			why = antispoof_differs(t->tables[i], p, q);
	}
	return why ? why : explain_differs(t->policy, ret_expected, q);
}

/* ------------------------------------------------------------------------ shrinking */

static bool case_fails(void *arg, const struct reference_policy *p, const struct policy_query *q)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	const size_t *padding = arg;
	_cleanup_(trial_end) struct trial t = {.padding = padding ? *padding : 0};
	_cleanup_free_ char *yaml = reference_yaml(p);
	struct reference_answer expected;
	struct error err = {};

	return q->tenant < p->n_tenants && !trial_begin(&t, yaml, &d, &err) && trial_differs(&t, p, q, &expected);
}

static void failure_print(struct reference_policy *p, struct policy_query q, size_t padding, uint64_t seed,
			  const char *why)
{
	unsigned int asked = shrink(p, &q, case_fails, &padding);
	_cleanup_free_ char *yaml = reference_yaml(p), *command = reference_command(&q);

	cr_assert(false, "seed %llu: %s; the same after %u steps of shrinking:\n%s\n%s", (unsigned long long)seed, why,
		  asked, yaml, command);
}

/* ----------------------------------------------------------------------- the tests */

struct totals {
	uint64_t policies, packets, by_rule, by_audits, paged, kinds[REFERENCE_KINDS], planes[SLUICE_PLANES];
};

/* How many questions a policy is worth: compiling a large one takes long. */
static unsigned int questions_of(const struct reference_policy *p, enum reference_kind kind)
{
	return kind == REFERENCE_MIXED || kind == REFERENCE_NESTED ? 600 : kind == REFERENCE_FIREWALL ? 1200 : 2500;
}

static void trial_run(uint64_t seed, struct totals *totals)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(reference_done) struct reference_policy p;
	_cleanup_(trial_end) struct trial t = {};
	_cleanup_free_ char *yaml = NULL;
	struct reference_answer expected;
	uint64_t state = seed;
	enum reference_kind kind = reference_generate_any(&p, &state);
	struct policy_query q;
	struct error err = {};
	const char *why;
	unsigned int i;

	yaml = reference_yaml(&p);
	t.padding = reference_padding(&state);
	if (trial_begin(&t, yaml, &d, &err)) {
		policy_diagnostics_print(&d, stderr);
		cr_assert(false, "seed %llu: refused: %s\n%s", (unsigned long long)seed, err.text, yaml);
	}
	for (i = 0; i < t.layouts; i++)
		totals->planes[t.tables[i]->head.planes]++;
	totals->paged += t.tables[0]->words.words > SLUICE_PAGE_WORDS;
	for (i = questions_of(&p, kind); i; i--) {
		reference_query(&p, &state, &q);
		why = trial_differs(&t, &p, &q, &expected);
		if (why)
			failure_print(&p, q, t.padding, seed, why);
		totals->packets++;
		totals->by_rule += !!expected.decides;
		totals->by_audits += expected.n_audits > 0;
	}
	totals->policies++;
	totals->kinds[kind]++;
}

Test(policy_differential, tables_and_explain_agree_with_the_reference)
{
	uint64_t first = reference_seed(), wanted = reference_packets(), seed,
		 end = time_now_ns() + SECONDS * NSEC_PER_SEC;
	struct totals t = {};
	unsigned int i;

	for (seed = first; wanted ? t.packets < wanted : time_now_ns() < end || seed == first; seed++)
		trial_run(seed, &t);
	fprintf(stderr,
		"policy_differential: seed %llu: %llu policies, %llu packets, no difference; by rules %llu, "
		"%llu policies over several pages\n",
		(unsigned long long)first, (unsigned long long)t.policies, (unsigned long long)t.packets,
		(unsigned long long)t.by_rule, (unsigned long long)t.paged);
	cr_assert_gt(t.by_rule * 5, t.packets, "defaults decide nearly all: the test is blind");
	cr_assert_gt(t.by_audits * 200, t.packets, "hardly any audit rule is met");
	for (i = 0; i < REFERENCE_KINDS; i++)
		cr_assert(t.policies < 200 || t.kinds[i], "no policy of kind %u", i);
	cr_assert(t.policies < 100 || t.paged, "no policy lies across the end of a page");
	cr_assert(t.planes[1] && t.planes[SLUICE_PLANE_AUDIT], "not every layout was tried");
}

static bool words_equal(const struct policy_words *a, const struct policy_words *b)
{
	return a->words == b->words && !memcmp(a->word, b->word, a->words * sizeof(*a->word));
}

static void tables_equal(const struct policy_tables *a, const struct policy_tables *b)
{
	cr_assert(!memcmp(&a->head, &b->head, sizeof(a->head)));
	cr_assert(!memcmp(a->rules, b->rules, a->n_rules * sizeof(*a->rules)));
	cr_assert(!memcmp(a->tenants, b->tenants, a->n_tenants * sizeof(*a->tenants)));
	cr_assert(!memcmp(a->protocols, b->protocols, sizeof(a->protocols)));
	cr_assert(words_equal(&a->words, &b->words));
	cr_assert_eq(a->n_classes, b->n_classes);
	cr_assert(!memcmp(a->classes, b->classes, a->n_classes * sizeof(*a->classes)));
}

Test(policy_differential, compiling_twice_gives_the_same_bytes)
{
	uint64_t state = reference_seed();
	unsigned int i, k;

	for (i = 0; i < 30; i++) {
		_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
		_cleanup_(trial_end) struct trial a = {}, b = {};
		_cleanup_(reference_done) struct reference_policy p;
		_cleanup_free_ char *yaml = NULL;
		struct error err = {};

		reference_generate_any(&p, &state);
		yaml = reference_yaml(&p);
		cr_assert_eq(trial_begin(&a, yaml, &d, &err), 0);
		cr_assert_eq(trial_begin(&b, yaml, &d, &err), 0);
		for (k = 0; k < a.layouts; k++)
			tables_equal(a.tables[k], b.tables[k]);
	}
}

/* ------------------------------------------------------------- the test of the test */

static bool case_found(struct reference_policy *p, uint64_t seed, struct policy_query *ret_query)
{
	uint64_t state = seed;
	unsigned int i;

	reference_generate_kind(p, (enum reference_kind)(seed % REFERENCE_KINDS), &state);
	p->reversed = true;
	for (i = 0; i < 200; i++) {
		struct reference_answer right, wrong;

		reference_query(p, &state, ret_query);
		reference_ask(p, ret_query, &wrong);
		p->reversed = false;
		reference_ask(p, ret_query, &right);
		p->reversed = true;
		if (wrong.rule != right.rule)
			return true;
	}
	return false;
}

/*
 * A reference in which the last match decides: two rules and a packet tell it from the compiler, and they need no
 * address, service or segment to do so.
 */
Test(policy_differential, a_difference_is_shrunk_to_two_rules)
{
	uint64_t seed = reference_seed(), end = seed + 4 * REFERENCE_KINDS;
	unsigned int found = 0;

	for (; seed < end; seed++) {
		_cleanup_(reference_done) struct reference_policy p;
		struct shrink_size before, after;
		_cleanup_free_ char *yaml = NULL;
		struct policy_query q;

		if (!case_found(&p, seed, &q))
			continue;
		found++;
		cr_assert(case_fails(NULL, &p, &q), "seed %llu: the fault is not noticed", (unsigned long long)seed);
		shrink_measure(&p, &before);
		shrink(&p, &q, case_fails, NULL);
		shrink_measure(&p, &after);
		yaml = reference_yaml(&p);
		cr_assert(case_fails(NULL, &p, &q));
		cr_assert(after.rules == 2 && !after.segments && !after.services && !after.prefixes && !after.items,
			  "seed %llu: not minimal:\n%s", (unsigned long long)seed, yaml);
		cr_assert(!q.tenant && !q.dest_port && !q.source_port);
	}
	cr_assert_gt(found, 3, "hardly any policy has two rules for one packet");
}
