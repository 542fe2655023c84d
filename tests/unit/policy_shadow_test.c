// SPDX-License-Identifier: Apache-2.0
/*
 * Warnings of rules that never match. Rows: whole policies with all that is said of them. Then chance: over random
 * policies, the naive reference is asked, and a rule that was warned of must never have a say. Run a failure again with
 * the SLUICE_SEED that is printed.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/policy.h"
#include "reference.h"

static char *findings(const char *text)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(policy_freep) struct policy *p = NULL;
	char *found = NULL;
	size_t length;
	FILE *out = open_memstream(&found, &length);

	policy_load_text("t.yaml", text, strlen(text), &d, &p);
	policy_diagnostics_print(&d, out);
	fclose(out);
	return found;
}

struct row {
	const char *rules;
	const char *found;
};

#define HEAD                                                                                                           \
	"sluice: 1\ntenants: [red, blue]\ninterfaces: [{name: e, vlans: {1: red, 2: blue}}]\n"                         \
	"segments: {r: {include: [10.1.0.0/16], tenant: red}, b: {include: [10.1.0.0/16], tenant: blue}}\nrules:\n"
#define W(place, text) "t.yaml:" place ": warning: " text "\n"
#define USED	       "  - {name: z, from: [r, b], to: any, service: udp/9, action: deny}\n"

static void rows_check(const struct row *rows, size_t count)
{
	char text[4096];
	size_t i;

	for (i = 0; i < count; i++) {
		_cleanup_free_ char *found = NULL;

		snprintf(text, sizeof(text), HEAD "%s" USED, rows[i].rules);
		found = findings(text);
		cr_expect(!strcmp(found, rows[i].found), "rules:\n%s\nfound:\n%s\nexpected:\n%s", rows[i].rules, found,
			  rows[i].found);
	}
}

Test(policy_shadow, one_earlier_rule)
{
	static const struct row rows[] = {
		{"  - {name: a, from: 10.0.0.0/8, to: any, action: deny}\n"
		 "  - {name: c, from: 10.2.0.0/16, to: 10.0.0.1, service: tcp/80, action: allow}\n",
		 W("7:5", "rule 'c' never matches: it contradicts rule 'a' (t.yaml:6), which denies all that it would "
			  "allow; reorder or remove one")},
		{"  - {name: a, from: 10.0.0.0/8, to: any, service: tcp/1-99, action: allow}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, service: [tcp/5, tcp/6-9], action: allow}\n",
		 W("7:5", "rule 'c' never matches: it repeats rule 'a' (t.yaml:6), which allows all that it would; "
			  "remove it, or put it before")},
		{"  - {name: a, from: 10.0.0.0/8, to: any, action: allow, stateful: false}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, action: allow}\n",
		 W("7:5",
		   "rule 'c' never matches: rule 'a' (t.yaml:6) takes all that it would; reorder or remove one")},
		{"  - {name: a, from: 10.0.0.0/8, to: any, action: deny}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, action: allow, mode: audit}\n",
		 W("7:5",
		   "rule 'c' never matches: rule 'a' (t.yaml:6) takes all that it would; reorder or remove one")},
		/* Of the families that the other side leaves out, nothing is asked. */
		{"  - {name: a, from: 10.0.0.0/8, to: 0.0.0.0/0, action: deny}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, action: deny}\n",
		 W("7:5", "rule 'c' never matches: it repeats rule 'a' (t.yaml:6), which denies all that it would; "
			  "remove it, or put it before")},
		/* Tenants with the same addresses, and one rule for all of them. */
		{"  - {name: a, from: any, to: any, service: tcp, action: deny}\n"
		 "  - {name: c, from: r, to: any, service: tcp/1, action: deny}\n",
		 W("7:5", "rule 'c' never matches: it repeats rule 'a' (t.yaml:6), which denies all that it would; "
			  "remove it, or put it before")},
		{"  - {name: a, tenant: red, from: 10.1.0.0/16, to: any, service: tcp, action: deny}\n"
		 "  - {name: c, from: r, to: any, service: tcp/1, action: deny}\n",
		 W("7:5", "rule 'c' never matches: it repeats rule 'a' (t.yaml:6), which denies all that it would; "
			  "remove it, or put it before")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_shadow, what_can_still_match_is_not_warned_of)
{
	static const struct row rows[] = {
		{"  - {name: a, from: 10.0.0.0/8, to: any, action: deny, mode: audit}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, action: allow}\n",
		 ""},
		{"  - {name: a, from: r, to: any, service: tcp, action: deny}\n"
		 "  - {name: c, from: b, to: any, service: tcp, action: deny}\n",
		 ""},
		{"  - {name: a, from: r, to: any, service: tcp, action: deny}\n"
		 "  - {name: c, from: any, to: any, service: tcp, action: deny}\n",
		 ""},
		{"  - {name: a, from: 10.0.0.0/9, to: any, action: deny}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, action: deny}\n",
		 ""},
		{"  - {name: a, from: any, to: any, service: [{protocol: tcp, ports: 80, source-ports: 1-9}], action: "
		 "deny}\n  - {name: c, from: any, to: any, service: tcp/80, action: deny}\n",
		 ""},
		{"  - {name: a, from: 10.0.0.0/8, to: any, action: deny}\n"
		 "  - {name: c, from: [10.0.0.0/8, \"fd00::/8\"], to: any, action: deny}\n",
		 ""},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_shadow, several_earlier_rules_together)
{
	static const struct row rows[] = {
		{"  - {name: a, from: 10.0.0.0/9, to: any, action: deny}\n"
		 "  - {name: c, from: 10.128.0.0/9, to: any, action: allow}\n"
		 "  - {name: d, from: 10.0.0.0/8, to: 1.2.3.4, action: deny}\n",
		 W("8:5", "rule 'd' never matches: rules 'a' (t.yaml:6) and 'c' (t.yaml:7) together take all that it "
			  "would; reorder or remove some")},
		{"  - {name: a, from: 10.0.0.0/8, to: any, service: tcp/1-50, action: deny}\n"
		 "  - {name: c, from: 10.0.0.0/8, to: any, service: [{protocol: tcp, ports: 51-99, source-ports: "
		 "0-5}], action: deny}\n"
		 "  - {name: d, from: 10.0.0.0/8, to: any, service: [{protocol: tcp, ports: 51-99, source-ports: "
		 "6-65535}], action: deny}\n"
		 "  - {name: f, from: \"fd00::/8\", to: any, action: deny}\n"
		 "  - {name: g, from: [\"fd00:1::/64\", 10.9.0.0/16], to: any, service: tcp/40-60, action: deny}\n",
		 W("10:5", "rule 'g' never matches: rules 'a' (t.yaml:6), 'c' (t.yaml:7), 'd' (t.yaml:8) and 1 more "
			   "together take all that it would; reorder or remove some")},
		{"  - {name: a, from: 10.0.0.0/9, to: any, action: deny}\n"
		 "  - {name: c, from: 10.128.0.0/9, to: any, action: allow, mode: audit}\n"
		 "  - {name: d, from: 10.0.0.0/8, to: 1.2.3.4, action: deny}\n",
		 ""},
		/* In each of two tenants by another rule. */
		{"  - {name: a, from: r, to: any, service: tcp, action: deny}\n"
		 "  - {name: c, from: b, to: any, service: tcp, action: deny}\n"
		 "  - {name: d, from: [r, b], to: any, service: tcp/5, action: deny}\n",
		 W("8:5", "rule 'd' never matches: rules 'a' (t.yaml:6) and 'c' (t.yaml:7) together take all that it "
			  "would; reorder or remove some")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_shadow, empty_things)
{
	static const struct {
		const char *text;
		const char *found;
	} rows[] = {
		{"sluice: 1\nsegments: {e: {include: [10.0.0.0/8], except: [10.0.0.0/9, 10.128.0.0/9]}}\n"
		 "rules: [{name: a, from: any, to: e, action: deny}]\n",
		 W("2:12", "segment 'e' contains no address: its 'except' takes all of its 'include'; mend one of them")
			 W("3:34", "rule 'a' never matches: its 'to' contains no address; add one, or remove the "
				   "rule")},
		{"sluice: 1\nsegments: {e: []}\nrules: [{name: a, from: e, to: any, action: deny}]\n",
		 W("2:12", "segment 'e' contains no address, so nothing matches it; add a prefix")
			 W("3:25", "rule 'a' never matches: its 'from' contains no address; add one, or remove the "
				   "rule")},
		{"sluice: 1\nrules: [{name: a, from: 10.0.0.0/8, to: \"fd00::/8\", action: deny}]\n",
		 W("2:41",
		   "rule 'a' never matches: 'from' has no address of the family (IPv4 or IPv6) of those in 'to'; "
		   "add some, or remove the rule")},
		{"sluice: 1\nservices: {s: []}\nrules: [{name: a, from: any, to: any, service: s, action: deny}]\n",
		 W("2:12", "service 's' has no item, so nothing matches it; add one")
			 W("3:9", "rule 'a' never matches: its services have no item; add one, or remove the rule")},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *found = findings(rows[i].text);

		cr_expect_str_eq(found, rows[i].found, "%s\nfound:\n%s\nexpected:\n%s", rows[i].text, found,
				 rows[i].found);
	}
}

/* ------------------------------------------------------------------------- chance */

#define SECONDS 3
#define QUERIES 2000

/* The rules that were warned of. */
static size_t warned_find(const struct policy_diagnostics *d, bool warned[REFERENCE_RULES])
{
	size_t i, count = 0;
	unsigned int rule;

	memset(warned, 0, REFERENCE_RULES * sizeof(*warned));
	for (i = 0; i < d->count; i++) {
		if (!strstr(d->items[i].text, "' never matches: "))
			continue;
		cr_assert_eq(sscanf(d->items[i].text, "rule 'r%u'", &rule), 1, "%s", d->items[i].text);
		cr_assert(!warned[rule], "twice: %s", d->items[i].text);
		warned[rule] = true;
		count++;
	}
	return count;
}

static void query_judge(const struct reference_policy *p, const bool warned[REFERENCE_RULES], uint64_t *state,
			uint64_t seed, const char *yaml)
{
	uint32_t audits[REFERENCE_RULES];
	struct policy_query q;
	unsigned int rule;
	size_t n, i;

	reference_query(p, state, &q);
	rule = reference_lookup(p, &q, audits, &n);
	cr_assert(rule == p->n_rules || !warned[rule], "seed %llu: rule r%u was said to never match, and decides:\n%s",
		  (unsigned long long)seed, rule, yaml);
	for (i = 0; i < n; i++)
		cr_assert(!warned[audits[i]], "seed %llu: rule r%u was said to never match, and counts:\n%s",
			  (unsigned long long)seed, audits[i], yaml);
}

Test(policy_shadow, a_rule_warned_of_decides_nothing)
{
	uint64_t first = reference_seed(), seed, state, end = time_now_ns() + SECONDS * NSEC_PER_SEC;
	size_t count = 0, together = 0, i;
	bool warned[REFERENCE_RULES];

	for (seed = first; time_now_ns() < end || seed == first; seed++) {
		_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
		_cleanup_(policy_freep) struct policy *p = NULL;
		_cleanup_(reference_done) struct reference_policy reference;
		_cleanup_free_ char *yaml = NULL;

		state = seed;
		reference_generate(&reference, &state);
		yaml = reference_yaml(&reference);
		cr_assert_eq(policy_load_text("random.yaml", yaml, strlen(yaml), &d, &p), 0);
		count += warned_find(&d, warned);
		for (i = 0; i < d.count; i++)
			together += strstr(d.items[i].text, "together") != NULL;
		for (i = 0; i < QUERIES; i++)
			query_judge(&reference, warned, &state, seed, yaml);
	}
	cr_log_info("%llu policies, %zu rules warned of, %zu for several others\n", (unsigned long long)(seed - first),
		    count, together);
	cr_assert_gt(count, seed - first, "hardly any rule is warned of: the test is blind");
	cr_assert_gt(together, 0);
}
