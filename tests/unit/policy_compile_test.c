// SPDX-License-Identifier: Apache-2.0
/*
 * The compiler by chosen examples: what it tells apart and what it does not, edges of prefixes and ports, audit chains,
 * identities, limits. That random policies come out right is policy_differential_test.c.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"

struct compiled {
	struct policy *policy;
	struct policy_tables *tables;
};

static void compiled_done(struct compiled *c)
{
	policy_tables_free(c->tables);
	policy_free(c->policy);
}

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

static struct compiled compile(const char *text)
{
	struct compiled c = {.policy = load(text)};
	struct error err = {};

	cr_assert_eq(policy_compile(c.policy, &err, &c.tables), 0, "%s", err.text);
	return c;
}

static struct policy_query query(const char *from, const char *to, const char *service, unsigned int source_port)
{
	struct policy_query q = {.source_port = (uint16_t)source_port};
	struct error err = {};

	cr_assert_eq(policy_query_address(from, q.source, &err), 0, "%s", err.text);
	cr_assert_eq(policy_query_address(to, q.dest, &err), 0, "%s", err.text);
	cr_assert_eq(policy_query_service(service, &q, &err), 0, "%s", err.text);
	return q;
}

struct question {
	const char *from, *to, *service;
	unsigned int source_port;
	const char *rule;
};

static void questions_check(const struct compiled *c, const struct question *rows, size_t count)
{
	struct policy_answer answer;
	struct policy_query q;
	size_t i, rule;

	for (i = 0; i < count; i++) {
		q = query(rows[i].from, rows[i].to, rows[i].service, rows[i].source_port);
		rule = policy_tables_lookup(c->tables, &q);
		cr_assert_str_eq(policy_rule_name(c->policy, rule), rows[i].rule, "%s > %s %s: tables say %s, not %s",
				 rows[i].from, rows[i].to, rows[i].service, policy_rule_name(c->policy, rule),
				 rows[i].rule);
		cr_assert_eq(policy_explain(c->policy, &q, &answer), 0);
		free(answer.earlier);
		cr_assert_str_eq(policy_rule_name(c->policy, answer.rule), rows[i].rule);
	}
}

#define ASK(c, rows) questions_check(c, rows, ARRAY_SIZE(rows))

/* ----------------------------------------------------------------------- addresses */

Test(policy_compile, edges_of_prefixes_in_both_families)
{
	_cleanup_(compiled_done) struct compiled c = compile(
		"sluice: 1\nrules:\n"
		"  - {name: host, from: 10.1.2.3, to: any, action: allow}\n"
		"  - {name: odd, from: 10.1.0.0/17, to: any, action: allow}\n"
		"  - {name: wide, from: 10.0.0.0/8, to: any, action: allow}\n"
		"  - {name: six-host, from: 'fd00::1', to: any, action: allow}\n"
		"  - {name: six-odd, from: 'fd00:0:8000::/33', to: any, action: allow}\n"
		"  - {name: six-last, from: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', to: any, action: allow}\n"
		"  - {name: top, from: 255.255.255.255, to: any, action: allow}\n"
		"  - {name: zero, from: 0.0.0.0, to: any, action: allow}\n");
	static const struct question rows[] = {
		{"10.1.2.3", "1.1.1.1", "gre", 0, "host"},
		{"10.1.2.2", "1.1.1.1", "gre", 0, "odd"},
		{"10.1.2.4", "1.1.1.1", "gre", 0, "odd"},
		{"10.1.127.255", "1.1.1.1", "gre", 0, "odd"},
		{"10.1.128.0", "1.1.1.1", "gre", 0, "wide"},
		{"10.0.0.0", "1.1.1.1", "gre", 0, "wide"},
		{"10.255.255.255", "1.1.1.1", "gre", 0, "wide"},
		{"9.255.255.255", "1.1.1.1", "gre", 0, "default"},
		{"11.0.0.0", "1.1.1.1", "gre", 0, "default"},
		{"255.255.255.255", "1.1.1.1", "gre", 0, "top"},
		{"255.255.255.254", "1.1.1.1", "gre", 0, "default"},
		{"0.0.0.0", "1.1.1.1", "gre", 0, "zero"},
		{"fd00::1", "::1", "gre", 0, "six-host"},
		{"fd00::2", "::1", "gre", 0, "default"},
		{"fd00:0:8000::", "::1", "gre", 0, "six-odd"},
		{"fd00:0:7fff::", "::1", "gre", 0, "default"},
		{"fd00:0:ffff:ffff::", "::1", "gre", 0, "six-odd"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1", "gre", 0, "six-last"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "::1", "gre", 0, "default"},
		{"::", "::1", "gre", 0, "default"},
	};

	ASK(&c, rows);
}

Test(policy_compile, except_is_taken_from_include_only)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\nsegments:\n"
			"  inner: [10.20.0.99]\n"
			"  holed: {include: [10.20.0.0/24], except: [10.20.0.99, 10.20.0.128/25]}\n"
			"  whole: {include: [10.20.0.0/24], except: [10.20.0.99], segments: [inner]}\n"
			"rules:\n"
			"  - {name: holed, from: holed, to: any, action: allow}\n"
			"  - {name: whole, from: whole, to: any, action: allow}\n");
	static const struct question rows[] = {
		{"10.20.0.98", "1.1.1.1", "gre", 0, "holed"},  {"10.20.0.99", "1.1.1.1", "gre", 0, "whole"},
		{"10.20.0.100", "1.1.1.1", "gre", 0, "holed"}, {"10.20.0.128", "1.1.1.1", "gre", 0, "whole"},
		{"10.20.1.0", "1.1.1.1", "gre", 0, "default"},
	};

	ASK(&c, rows);
}

Test(policy_compile, any_and_all_zero_prefixes_differ)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\nrules:\n"
			"  - {name: four, from: 0.0.0.0/0, to: any, service: tcp/1, action: allow}\n"
			"  - {name: six, from: '::/0', to: any, service: tcp/1, action: allow}\n"
			"  - {name: both, from: any, to: any, service: tcp/2, action: allow}\n");
	static const struct question rows[] = {
		{"1.2.3.4", "1.1.1.1", "tcp/1", 0, "four"},
		{"1::4", "1::", "tcp/1", 0, "six"},
		{"1.2.3.4", "1.1.1.1", "tcp/2", 0, "both"},
		{"1::4", "1::", "tcp/2", 0, "both"},
	};

	ASK(&c, rows);
}

Test(policy_compile, addresses_that_no_rule_tells_apart_share_a_class)
{
	/* 200 prefixes in one segment: inside and outside, for each of the two families the same two classes. */
	_cleanup_free_ char *text = NULL;
	size_t length, i;
	FILE *out = open_memstream(&text, &length);
	struct compiled c;

	fprintf(out, "sluice: 1\nsegments:\n  many: [");
	for (i = 0; i < 100; i++)
		fprintf(out, "10.%zu.0.0/16, 'fd00:%zx::/32', ", 2 * i, 2 * i + 1);
	fprintf(out, "]\nrules: [{name: r, from: many, to: any, action: allow}]\n");
	fclose(out);
	c = compile(text);
	cr_assert_eq(c.tables->n_classes, 2);
	cr_assert_eq(c.tables->head.dest_bits, 0);
	compiled_done(&c);
}

Test(policy_compile, an_empty_policy_has_tables_too)
{
	_cleanup_(compiled_done) struct compiled c = compile("sluice: 1\n");

	cr_assert_geq(c.tables->words.words, 1);
	/* No prefix: the roots are leaves. */
	cr_assert_eq(c.tables->tenants[0].root4 & SLUICE_TRIE_CHILD, 0);
	cr_assert_eq(c.tables->tenants[0].root6 & SLUICE_TRIE_CHILD, 0);
	cr_assert_eq(c.tables->n_rules, 1);
	cr_assert_eq(c.tables->rules[0].flags, SLUICE_RULE_DEFAULT | SLUICE_RULE_STATEFUL);
}

/* ------------------------------------------------------------------------ services */

Test(policy_compile, ports_of_both_ends)
{
	_cleanup_(compiled_done) struct compiled c = compile(
		"sluice: 1\nservices:\n"
		"  ntp: [{protocol: udp, ports: 123, source-ports: 123}]\n"
		"  high: [{protocol: udp, ports: 5000-5999, source-ports: 1024-65535}]\n"
		"  mixed: [tcp/80, tcp/8000-8999, sctp]\n"
		"rules:\n"
		"  - {name: ntp, from: any, to: any, service: ntp, action: allow}\n"
		"  - {name: high, from: any, to: any, service: [high, udp/53], action: allow}\n"
		"  - {name: mixed, from: any, to: any, service: [mixed, gre, icmp/3.4, icmp/8], action: allow}\n");
	static const struct question rows[] = {
		{"1.1.1.1", "1.1.1.1", "udp/123", 123, "ntp"},
		{"1.1.1.1", "1.1.1.1", "udp/123", 124, "default"},
		{"1.1.1.1", "1.1.1.1", "udp/5000", 1024, "high"},
		{"1.1.1.1", "1.1.1.1", "udp/5999", 65535, "high"},
		{"1.1.1.1", "1.1.1.1", "udp/5000", 1023, "default"},
		{"1.1.1.1", "1.1.1.1", "udp/6000", 1024, "default"},
		{"1.1.1.1", "1.1.1.1", "udp/53", 1, "high"},
		{"1.1.1.1", "1.1.1.1", "tcp/80", 1, "mixed"},
		{"1.1.1.1", "1.1.1.1", "tcp/79", 1, "default"},
		{"1.1.1.1", "1.1.1.1", "tcp/8999", 1, "mixed"},
		{"1.1.1.1", "1.1.1.1", "tcp/9000", 1, "default"},
		{"1.1.1.1", "1.1.1.1", "sctp/1", 1, "mixed"},
		{"1.1.1.1", "1.1.1.1", "gre", 0, "mixed"},
		{"1.1.1.1", "1.1.1.1", "esp", 0, "default"},
		{"1.1.1.1", "1.1.1.1", "icmp/3.4", 0, "mixed"},
		{"1.1.1.1", "1.1.1.1", "icmp/3.3", 0, "default"},
		{"1.1.1.1", "1.1.1.1", "icmp/8.9", 0, "mixed"},
		{"1.1.1.1", "1.1.1.1", "icmpv6/3.4", 0, "default"},
	};

	ASK(&c, rows);
	/* gre tells no ports apart; tcp has no source ports; udp has both. */
	cr_assert_eq(c.tables->protocols[47].dports, SLUICE_NO_TABLE);
	cr_assert_eq(c.tables->protocols[132].dports, SLUICE_NO_TABLE);
	cr_assert_neq(c.tables->protocols[6].dports, SLUICE_NO_TABLE);
	cr_assert_eq(c.tables->protocols[6].sports, SLUICE_NO_TABLE);
	cr_assert_neq(c.tables->protocols[17].sports, SLUICE_NO_TABLE);
	cr_assert_eq(c.tables->protocols[1].sports, SLUICE_NO_TABLE);
}

/* ------------------------------------------------------------------------- tenants */

Test(policy_compile, tenants_have_their_own_addresses)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\ntenants: [red, blue]\ninterfaces: [{name: e, vlans: {1: red, 2: blue}}]\n"
			"segments: {r: {include: [10.0.0.0/8], tenant: red}, b: {include: [10.0.0.0/8], tenant: blue}, "
			"plain: [10.0.0.0/8]}\n"
			"rules:\n"
			"  - {name: red-only, from: r, to: any, service: tcp/1, action: allow}\n"
			"  - {name: both, from: [r, b], to: any, service: tcp/2, action: allow}\n"
			"  - {name: host, from: plain, to: any, service: tcp/3, action: allow}\n"
			"  - {name: blue-plain, tenant: blue, from: plain, to: plain, service: tcp/4, action: allow}\n"
			"  - {name: all, from: any, to: any, service: tcp/5, action: allow}\n");
	static const struct {
		const char *service;
		const char *rules[3]; /* of the host's tenant, red, blue */
	} rows[] = {
		{"tcp/1", {"default", "red-only", "default"}},
		{"tcp/2", {"default", "both", "both"}},
		{"tcp/3", {"host", "default", "default"}},
		{"tcp/4", {"default", "default", "blue-plain"}},
		{"tcp/5", {"all", "all", "all"}},
	};
	struct policy_query q;
	size_t i, tenant;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		for (tenant = 0; tenant < 3; tenant++) {
			q = query("10.1.1.1", "10.2.2.2", rows[i].service, 0);
			q.tenant = (uint16_t)tenant;
			cr_assert_str_eq(policy_rule_name(c.policy, policy_tables_lookup(c.tables, &q)),
					 rows[i].rules[tenant], "%s in tenant %zu", rows[i].service, tenant);
		}
	}
}

Test(policy_compile, antispoof_bits)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\nsegments: {a: [10.1.0.0/16], b: [10.2.0.0/16, 'fd00::/16']}\ninterfaces:\n"
			"  - {name: free}\n  - {name: a, antispoof: [a]}\n  - {name: ab, antispoof: [a, b]}\n");
	static const struct {
		const char *from;
		unsigned int bits; /* of the slots 0 to 3; 3 is no interface */
	} rows[] = {{"10.1.0.1", 15}, {"10.2.0.1", 13}, {"10.3.0.1", 9}, {"fd00::1", 13}, {"fd01::1", 9}};
	struct policy_query q;
	unsigned int slot;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		q = query(rows[i].from, rows[i].from, "gre", 0);
		for (slot = 0; slot < 4; slot++)
			cr_assert_eq(policy_tables_may_enter(c.tables, &q, slot), rows[i].bits >> slot & 1,
				     "%s at slot %u", rows[i].from, slot);
	}
}

/* -------------------------------------------------------------------------- audits */

Test(policy_compile, audit_rules_are_passed_in_order)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\nrules:\n"
			"  - {name: a, from: any, to: any, action: deny, mode: audit}\n"
			"  - {name: b, from: any, to: any, service: tcp/1-9, action: allow}\n"
			"  - {name: c, from: any, to: any, service: tcp, action: deny, mode: audit}\n");
	uint32_t rules[SLUICE_AUDITS_MAX + 1];
	struct policy_query q = query("1.1.1.1", "1.1.1.1", "tcp/5", 0);

	cr_assert_eq(policy_tables_chain(c.tables, &q, rules), 1);
	cr_assert(rules[0] == 0 && rules[1] == 1);
	q.dest_port = 10;
	cr_assert_eq(policy_tables_chain(c.tables, &q, rules), 2);
	cr_assert(rules[0] == 0 && rules[1] == 2 && rules[2] == 3);
	q.protocol = 17;
	cr_assert_eq(policy_tables_chain(c.tables, &q, rules), 1);
	cr_assert(rules[0] == 0 && rules[1] == 3);
	cr_assert(c.tables->rules[0].flags & SLUICE_RULE_AUDIT);
}

static char *audits_text(unsigned int count)
{
	size_t length;
	unsigned int i;
	char *text;
	FILE *out = open_memstream(&text, &length);

	fprintf(out, "sluice: 1\nrules:\n");
	for (i = 0; i < count; i++)
		fprintf(out, "  - {name: audit-%u, from: any, to: any, action: deny, mode: audit}\n", i);
	fclose(out);
	return text;
}

Test(policy_compile, a_packet_passes_only_so_many_audit_rules)
{
	_cleanup_free_ char *enough = audits_text(SLUICE_AUDITS_MAX), *more = audits_text(SLUICE_AUDITS_MAX + 1);
	_cleanup_(compiled_done) struct compiled fits = compile(enough);
	_cleanup_(policy_freep) struct policy *p = load(more);
	struct policy_tables *t = NULL;
	struct error err = {};

	cr_assert_eq(fits.tables->n_rules, SLUICE_AUDITS_MAX + 1);
	cr_assert_eq(policy_compile(p, &err, &t), -E2BIG);
	cr_assert_null(t);
	cr_assert(strstr(err.text, "audit-16") && strstr(err.text, "at most 16"), "%s", err.text);
}

/* ----------------------------------------------------------------- rules and limits */

Test(policy_compile, identity_follows_the_meaning)
{
	_cleanup_(compiled_done) struct compiled c = compile(
		"sluice: 1\nsegments: {old: [10.0.0.0/9, 10.128.0.0/9], new: [10.0.0.0/8], other: [10.0.0.0/7]}\n"
		"services: {w: [tcp/80-81], v: [tcp/81, tcp/80]}\nrules:\n"
		"  - {name: a, from: old, to: any, service: w, action: allow}\n"
		"  - {name: b, from: new, to: any, service: v, action: allow}\n"
		"  - {name: c, from: other, to: any, service: v, action: allow}\n"
		"  - {name: d, from: any, to: old, service: w, action: allow}\n"
		"  - {name: e, from: old, to: any, service: w, action: deny}\n"
		"  - {name: f, from: old, to: any, service: w, action: allow, stateful: false}\n"
		"  - {name: g, from: old, to: any, service: tcp/80, action: allow}\n"
		"  - {name: h, from: old, to: any, service: w, action: allow, log: true}\n");
	size_t i;

	cr_assert_eq(c.tables->rules[0].identity, c.tables->rules[1].identity);
	for (i = 2; i < c.tables->n_rules; i++)
		cr_assert_neq(c.tables->rules[0].identity, c.tables->rules[i].identity, "rule %zu", i);
}

Test(policy_compile, digest_follows_the_meaning)
{
	_cleanup_(compiled_done) struct compiled a = compile("sluice: 1\nsegments: {x: [10.0.0.0/8]}\n"
							     "rules: [{name: r, from: x, to: any, action: allow}]\n");
	_cleanup_(compiled_done) struct compiled b =
		compile("sluice: 1\nsegments: {y: [10.128.0.0/9, 10.0.0.0/9]}\n"
			"rules: [{name: r, from: y, to: any, action: allow}] # other words\n");
	_cleanup_(compiled_done) struct compiled c = compile("sluice: 1\nsegments: {x: [10.0.0.0/8]}\n"
							     "rules: [{name: r, from: x, to: any, action: deny}]\n");

	cr_assert(!memcmp(a.tables->head.digest, b.tables->head.digest, 32));
	cr_assert(memcmp(a.tables->head.digest, c.tables->head.digest, 32));
}

Test(policy_compile, syn_floods)
{
	_cleanup_(compiled_done) struct compiled usual = compile("sluice: 1\n");
	_cleanup_(compiled_done) struct compiled small =
		compile("sluice: 1\nconntrack: {max: 1000, syn-cookies: always, syn-threshold: 600, syn-per-source: 3}\n");
	_cleanup_(compiled_done) struct compiled never = compile("sluice: 1\nconntrack: {max: 1, syn-cookies: never}\n");

	cr_assert_eq(usual.tables->head.flags, SLUICE_SYN_COOKIES);
	cr_assert_eq(usual.tables->head.syn_threshold, 4096);
	cr_assert_eq(usual.tables->head.syn_max, SLUICE_FLOWS_DEFAULT / 2);
	cr_assert_eq(usual.tables->head.syn_step_ns, 30 * NSEC_PER_SEC / 64);
	cr_assert_eq(small.tables->head.flags, SLUICE_SYN_COOKIES | SLUICE_SYN_ALWAYS);
	cr_assert_eq(small.tables->head.syn_threshold, 500, "never above half of the table");
	cr_assert_eq(small.tables->head.syn_max, 500);
	cr_assert_eq(small.tables->head.syn_step_ns, 10 * NSEC_PER_SEC);
	cr_assert_eq(never.tables->head.flags, 0);
	cr_assert_eq(never.tables->head.syn_max, 1);
}

Test(policy_compile, head_and_rules)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\nname: n\nmode: audit\ndefault: allow\nfailsafe: [tcp/22, icmpv6/135, esp]\n"
			"conntrack: {on-full: stateless, udp: 7s}\n"
			"rules: [{name: r, from: any, to: any, service: tcp/1, action: deny, log: {every: 2s}}]\n");
	const struct sluice_policy *head = &c.tables->head;

	cr_assert_eq(head->flags, SLUICE_MODE_AUDIT | SLUICE_ON_FULL_STATELESS | SLUICE_SYN_COOKIES);
	cr_assert_eq(head->default_action, SLUICE_ACTION_ALLOW);
	cr_assert_eq(head->rules, 2);
	cr_assert_str_eq(head->name, "n");
	cr_assert_eq(head->timeout_ns[SLUICE_T_UDP], 7 * NSEC_PER_SEC);
	cr_assert_eq(head->failsafes, 3);
	cr_assert(head->failsafe[0].protocol == 6 && !head->failsafe[0].any_port &&
		  head->failsafe[0].port == htons(22));
	cr_assert(head->failsafe[1].port == htons(0x8700) && head->failsafe[1].port_last == htons(0x87ff));
	cr_assert(head->failsafe[2].protocol == 50 && head->failsafe[2].any_port);
	cr_assert_eq(c.tables->rules[0].flags, SLUICE_RULE_LOG);
	cr_assert_eq(c.tables->rules[0].log_period_ns, 2 * NSEC_PER_SEC);
	cr_assert_str_eq(c.tables->rules[1].name, "default");
	cr_assert_eq(c.tables->rules[1].action, SLUICE_ACTION_ALLOW);
}

Test(policy_compile, limits_say_which_and_by_how_much)
{
	_cleanup_(policy_freep) struct policy *p =
		load("sluice: 1\nrules: [{name: r, from: 10.0.0.0/8, to: any, action: allow}]\n");
	_cleanup_(policy_freep) struct policy *many = NULL;
	_cleanup_free_ char *text = NULL;
	struct policy_tables *t = NULL;
	struct error err = {};
	size_t length, i;
	FILE *out = open_memstream(&text, &length);

	cr_assert_eq(policy_compile_limited(p, 10, &err, &t), -E2BIG);
	cr_assert(strstr(err.text, "words of table space or more, of at most 10"), "%s", err.text);
	fprintf(out, "sluice: 1\ninterfaces:\n");
	for (i = 0; i < SLUICE_MAX_INTERFACES + 3; i++)
		fprintf(out, "  - {name: eth%zu}\n", i);
	fclose(out);
	many = load(text);
	cr_assert_eq(policy_compile(many, &err, &t), -E2BIG);
	cr_assert(strstr(err.text, "67 interfaces are 3 more than the 64 that fit"), "%s", err.text);
	cr_assert_null(t);
}

Test(policy_compile, explain_says_why_not)
{
	_cleanup_(compiled_done) struct compiled c =
		compile("sluice: 1\ntenants: [red]\ninterfaces: [{name: e, tenant: red}]\nrules:\n"
			"  - {name: t, tenant: red, from: any, to: any, action: allow}\n"
			"  - {name: s, from: 10.0.0.0/8, to: 1.1.1.1, service: tcp/9, action: allow}\n"
			"  - {name: d, from: 11.0.0.0/8, to: 1.1.1.2, service: tcp/9, action: allow}\n"
			"  - {name: v, from: 11.0.0.0/8, to: 1.1.1.1, service: tcp/9, action: allow}\n"
			"  - {name: a, from: 11.0.0.0/8, to: 1.1.1.1, action: deny, mode: audit}\n"
			"  - {name: hit, from: 11.0.0.0/8, to: 1.1.1.1, service: tcp/8, action: deny}\n");
	static const enum policy_mismatch expected[] = {POLICY_MISMATCH_TENANT, POLICY_MISMATCH_SOURCE,
							POLICY_MISMATCH_DEST, POLICY_MISMATCH_SERVICE,
							POLICY_MATCHED_AUDIT};
	struct policy_query q = query("11.1.1.1", "1.1.1.1", "tcp/8", 0);
	struct policy_answer answer;

	cr_assert_eq(policy_explain(c.policy, &q, &answer), 0);
	cr_assert(answer.rule == 5 && !answer.by_default && answer.action == SLUICE_ACTION_DENY);
	cr_assert(!memcmp(answer.earlier, expected, sizeof(expected)));
	free(answer.earlier);
	q.tenant = 2;
	cr_assert_eq(policy_explain(c.policy, &q, &answer), -EINVAL);
}
