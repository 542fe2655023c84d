// SPDX-License-Identifier: Apache-2.0
/*
 * Limits of rules: rates as people write them, what is filled in, and what the kernel gets. That it lets through what
 * it should is limits_test.c of tests/bpf.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/diff.h"
#include "policy/values.h"

#define TICKS(seconds) ((double)(seconds)*1e9 * (1 << SLUICE_LIMIT_TICK_SHIFT))

Test(policy_limit, rates)
{
	static const struct {
		const char *text;
		uint64_t rate; /* 0: refused */
		bool bits;
		const char *said;
	} rows[] = {
		{"10k pps", 10000, false, NULL},
		{"1 pps", 1, false, NULL},
		{"10 kpps", 10000, false, NULL},
		{"10kpps", 10000, false, NULL},
		{"1G pps", 1000000000, false, NULL},
		{"1G bit/s", 1000000000, true, NULL},
		{"100 Gbit/s", 100000000000, true, NULL},
		{"1000G bit/s", 1000000000000, true, NULL},
		{"1k bit/s", 1000, true, NULL},
		{"1500 bit/s", 1500, true, NULL},
		{"0 pps", 0, false, "0 pps is out of range; use 1 pps to 1G pps"},
		{"2G pps", 0, false, "2G pps is out of range; use 1 pps to 1G pps"},
		{"999 bit/s", 0, false, "999 bit/s is out of range; use 1k bit/s to 1000G bit/s"},
		{"1001G bit/s", 0, false, "1001G bit/s is out of range; use 1k bit/s to 1000G bit/s"},
		{"18446744073709551615G bit/s", 0, false,
		 "18446744073709551615G bit/s is out of range; use 1k bit/s to 1000G bit/s"},
		{"10k", 0, false, "'10k' has no unit; write 10k pps or 10k bit/s"},
		{"10", 0, false, "'10' has no unit; write 10 pps or 10 bit/s"},
		{"10 MB/s", 0, false, "'10 MB/s' is in bytes; write eight times as many bit/s"},
		{"10 Mbps", 0, false, "'10 Mbps' is no rate; write it as in 10k pps or 1M bit/s"},
		{"pps", 0, false, "'pps' is no rate; write it as in 10k pps or 1M bit/s"},
		{"1.5M bit/s", 0, false, "'1.5M bit/s' is no rate; write it as in 10k pps or 1M bit/s"},
		{"-1 pps", 0, false, "'-1 pps' is no rate; write it as in 10k pps or 1M bit/s"},
		{"1K pps", 0, false, "'1K pps' is no rate; write it as in 10k pps or 1M bit/s"},
		{"10k pps x", 0, false, "'10k pps x' is no rate; write it as in 10k pps or 1M bit/s"},
		{"", 0, false, "'' is no rate; write it as in 10k pps or 1M bit/s"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = {};
		uint64_t rate = 77;
		bool bits = false;
		int r = value_rate(rows[i].text, &rate, &bits, &err);

		if (rows[i].said) {
			cr_expect_eq(r, -EINVAL, "'%s' was taken", rows[i].text);
			cr_expect_str_eq(err.text, rows[i].said);
			cr_expect_eq(rate, 77, "'%s' changed the output", rows[i].text);
			continue;
		}
		cr_expect_eq(r, 0, "'%s': %s", rows[i].text, err.text);
		cr_expect(rate == rows[i].rate && bits == rows[i].bits, "'%s' is %llu", rows[i].text,
			  (unsigned long long)rate);
	}
}

/* ------------------------------------------------------------------- in a rule */

#define POLICY(limit)                                                                                                  \
	"sluice: 1\ninterfaces: [{name: a}]\nrules:\n  - name: r\n    from: any\n    to: any\n    action: allow\n"     \
	"    limit: {" limit "}\n"

static struct policy *load(const char *text)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	struct policy *p = NULL;

	cr_assert_eq(policy_load_text("t.yaml", text, strlen(text), &d, &p), 0, "%s: %s", text,
		     d.count ? d.items[0].text : "?");
	return p;
}

Test(policy_limit, what_is_not_said)
{
	static const struct {
		const char *text;
		const char *limit;
		const char *written; /* as it stands in the canonical text */
	} rows[] = {
		{POLICY("rate: 10k pps, burst: 20k, per: source"), "10k pps, burst 20k, per source",
		 "    limit: {rate: 10k pps, burst: 20k, per: source}\n"},
		{POLICY("rate: 10k pps"), "10k pps, burst 1k, per rule", "    limit: {rate: 10k pps}\n"},
		{POLICY("rate: 10000 pps, burst: 1k, per: rule"), "10k pps, burst 1k, per rule",
		 "    limit: {rate: 10k pps}\n"},
		{POLICY("rate: 7 pps"), "7 pps, burst 10, per rule", "    limit: {rate: 7 pps}\n"},
		{POLICY("rate: 7 pps, burst: 1"), "7 pps, burst 1, per rule", "    limit: {rate: 7 pps, burst: 1}\n"},
		{POLICY("rate: 1 Gbit/s"), "1G bit/s, burst 100M, per rule", "    limit: {rate: 1G bit/s}\n"},
		{POLICY("rate: 1M bit/s"), "1M bit/s, burst 121120, per rule", "    limit: {rate: 1M bit/s}\n"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(policy_freep) struct policy *p = load(rows[i].text);
		const struct policy_limit limit = policy_rule_limit(p, 0);
		_cleanup_free_ char *written = NULL;
		char text[POLICY_LIMIT_LEN];
		size_t length;
		FILE *out = open_memstream(&written, &length);

		cr_expect_str_eq(policy_limit_text(&limit, text), rows[i].limit);
		cr_assert(!policy_write(p, out) && !fclose(out));
		cr_expect(strstr(written, rows[i].written), "%s is written as\n%s", rows[i].text, written);
		cr_expect_eq(policy_rule_limit(p, 1).rate, 0, "the default has a limit");
	}
}

struct compiled {
	struct policy *policy;
	struct policy_tables *tables;
};

static void compiled_done(struct compiled *c)
{
	policy_tables_free(c->tables);
	policy_free(c->policy);
}

static struct compiled compile(const char *text)
{
	struct compiled c = {.policy = load(text)};
	struct error err = {};

	cr_assert_eq(policy_compile(c.policy, &err, &c.tables), 0, "%s", err.text);
	return c;
}

Test(policy_limit, another_limit_is_another_rule)
{
	static const char *const texts[] = {
		POLICY("rate: 10k pps"),
		POLICY("rate: 20k pps, burst: 1k"),
		POLICY("rate: 10k pps, burst: 2k"),
		POLICY("rate: 10k pps, per: source"),
		POLICY("rate: 10k bit/s"),
		POLICY("rate: 1M bit/s"),
	};
	_cleanup_(compiled_done) struct compiled first = compile(POLICY("rate: 10000 pps, burst: 1000"));
	const struct policy_diff_side a = {first.policy, &first.tables->head, first.tables->rules};
	size_t i;

	cr_expect(first.tables->head.flags & SLUICE_HAS_LIMITS);
	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(compiled_done) struct compiled c = compile(texts[i]);
		const struct policy_diff_side b = {c.policy, &c.tables->head, c.tables->rules};
		_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
		const struct policy_diff_list *rules;
		bool same = i == 0;

		cr_assert(!policy_diff(&a, &b, &d));
		rules = &d->part[POLICY_DIFF_RULES];
		cr_expect_eq(c.tables->rules[0].identity == first.tables->rules[0].identity, same, "%s", texts[i]);
		cr_expect_eq(!memcmp(c.tables->head.digest, first.tables->head.digest, 32), same, "%s", texts[i]);
		cr_expect_eq(rules->changes[POLICY_CHANGED], !same, "%s", texts[i]);
		if (!same)
			cr_expect(rules->entries[0].n_notes == 2 &&
					  !strcmp(rules->entries[0].notes[0], "-limit: {rate: 10k pps}"),
				  "%s", rules->entries[0].notes[0]);
	}
}

/* ------------------------------------------------------------------- for the kernel */

static void near(const char *what, double value, double expected, double part)
{
	cr_expect(value >= expected * (1 - part) && value <= expected * (1 + part), "%s: %.9g, not %.9g", what, value,
		  expected);
}

Test(policy_limit, for_the_kernel)
{
	static const struct {
		uint64_t rate, burst;
		uint32_t flags;
	} rows[] = {
		{1, 10, 0},
		{1, POLICY_BURST_MAX_S, 0},
		{3, 1, SLUICE_RULE_LIMIT_SOURCE},
		{10000, 20000, SLUICE_RULE_LIMIT_SOURCE},
		{33333333, 1000, 0},
		{POLICY_RATE_MAX, POLICY_RATE_MAX * POLICY_BURST_MAX_S, 0},
		{POLICY_RATE_MIN_BITS, POLICY_RATE_MIN_BITS * POLICY_BURST_MAX_S, SLUICE_RULE_LIMIT_BITS},
		{1000000000, 100000000, SLUICE_RULE_LIMIT_BITS},
		{POLICY_RATE_MAX_BITS, POLICY_RATE_MAX_BITS * POLICY_BURST_MAX_S, SLUICE_RULE_LIMIT_BITS},
		{POLICY_RATE_MAX_BITS, POLICY_BURST_MIN_BITS, SLUICE_RULE_LIMIT_BITS},
	};
	const struct sluice_rule none = {.flags = SLUICE_RULE_STATEFUL};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct sluice_rule rule = {
			.limit_rate = rows[i].rate, .limit_burst = rows[i].burst, .flags = rows[i].flags};
		struct sluice_limit l = policy_limit_compile(&rule);
		bool bits = rows[i].flags & SLUICE_RULE_LIMIT_BITS;
		uint64_t most = UINT64_MAX / l.cost;

		cr_expect(l.bytes == bits && l.per_source == !!(rows[i].flags & SLUICE_RULE_LIMIT_SOURCE));
		near("cost", (double)l.cost,
		     TICKS(bits ? 8 : 1) / (double)rows[i].rate * (1 << SLUICE_LIMIT_COST_SHIFT), 1e-4);
		near("burst", (double)l.burst, TICKS(1) * (double)rows[i].burst / (double)rows[i].rate, 1e-3);
		cr_expect(!bits || most >= SLUICE_LIMIT_BYTES_MAX, "the longest frame overflows at %llu bit/s",
			  (unsigned long long)rows[i].rate);
		cr_expect(l.burst < SLUICE_LIMIT_FAR && (!bits || (SLUICE_LIMIT_BYTES_MAX * l.cost >>
								   SLUICE_LIMIT_COST_SHIFT) < SLUICE_LIMIT_FAR),
			  "a debt looks like a leftover at %llu", (unsigned long long)rows[i].rate);
	}
	cr_expect_eq(policy_limit_compile(&none).cost, 0);
}
