// SPDX-License-Identifier: Apache-2.0
/* What explain says of each earlier rule: the side that failed, and what the rule says there. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/cases.h"

static const char policy_text[] =
	"sluice: 1\n"
	"tenants: [red, blue]\n"
	"interfaces: [{name: e, vlans: {1: red, 2: blue}}]\n"
	"segments:\n"
	"  trainers: [10.10.0.0/16, \"fd00:10::/64\"]\n"
	"  many: [10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 10.5.0.0/16]\n"
	"  store: {include: [10.20.0.0/24], except: [10.20.0.96/28]}\n"
	"  both: {segments: [trainers, store]}\n"
	"  reds: {include: [10.0.0.0/8], tenant: red}\n"
	"services:\n"
	"  nvme-tcp: [tcp/4420, tcp/8009]\n"
	"  wide: [tcp/1, tcp/2, tcp/3-4, udp]\n"
	"rules:\n"
	"  - {name: source, from: trainers, to: any, action: allow}\n"
	"  - {name: long, from: [many, 1.2.3.4, 1.2.3.5], to: any, action: allow}\n"
	"  - {name: excepted, from: store, to: any, action: allow}\n"
	"  - {name: member, from: both, to: any, action: allow}\n"
	"  - {name: tenant, from: reds, to: any, action: allow}\n"
	"  - {name: to, from: any, to: [trainers, \"fd00::1\"], service: tcp, action: allow}\n"
	"  - {name: service, from: any, to: any, tenant: blue, service: tcp, action: allow}\n"
	"  - {name: items, from: 10.0.0.0/8, to: any, service: [nvme-tcp, wide, gre], action: allow}\n"
	"  - {name: ports, from: 10.0.0.0/8, to: any, service: {protocol: tcp, ports: 443, source-ports: 9-99}, "
	"action: "
	"allow}\n"
	"  - {name: audited, from: 10.0.0.0/8, to: any, mode: audit, action: deny}\n";

#define Q(a, b, c, ...)                                                                                                \
	{                                                                                                              \
		.from = (a), .to = (b), .service = (c), ##__VA_ARGS__                                                  \
	}

static struct policy *policy;

static void setup(void)
{
	struct policy_diagnostics d = {};

	policy_load_text("t.yaml", policy_text, strlen(policy_text), &d, &policy);
	if (!policy)
		policy_diagnostics_print(&d, stderr);
	policy_diagnostics_done(&d);
	cr_assert_not_null(policy);
}

static void teardown(void)
{
	policy_free(policy);
}

TestSuite(policy_explain, .init = setup, .fini = teardown);

static void says(const struct question *question, const char *rule, const char *expected)
{
	char text[POLICY_EXPLAIN_LEN];
	struct policy_answer answer;
	struct policy_query query;
	struct error err = {};
	size_t i;

	cr_assert_eq(question_read(question, policy, &query, &err), 0, "%s", err.text);
	cr_assert_eq(policy_explain(policy, &query, &answer), 0);
	for (i = 0; i < answer.rule && strcmp(policy_rule_name(policy, i), rule); i++)
		;
	cr_assert_lt(i, answer.rule, "rule %s is not among the earlier ones", rule);
	policy_explain_text(policy, &query, i, answer.earlier[i], text, sizeof(text));
	cr_expect_str_eq(text, expected, "rule %s: it says '%s', not '%s'", rule, text, expected);
	free(answer.earlier);
}

Test(policy_explain, each_reason_is_concrete)
{
	static const struct {
		struct question question;
		const char *rule;
		const char *expected;
	} rows[] = {
		{Q("10.9.9.9", "10.1.1.1", "tcp/443"), "source",
		 "10.9.9.9 is not in trainers (10.10.0.0/16, fd00:10::/64)"},
		{Q("fd00:11::1", "fd00:1::1", "tcp/443"), "source",
		 "fd00:11::1 is not in trainers (10.10.0.0/16, fd00:10::/64)"},
		{Q("10.9.9.9", "10.1.1.1", "tcp/443"), "long",
		 "10.9.9.9 is not in many (10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 2 more), 1.2.3.4, 1.2.3.5"},
		{Q("10.20.0.99", "10.1.1.1", "tcp/443"), "excepted",
		 "10.20.0.99 is not in store (10.20.0.0/24): store excepts 10.20.0.96/28"},
		{Q("10.20.0.99", "10.1.1.1", "tcp/443"), "member",
		 "10.20.0.99 is not in both (trainers, store): store excepts 10.20.0.96/28"},
		{Q("10.9.9.9", "10.1.1.1", "tcp/443"), "tenant", "holds in tenant red, not in the host's tenant"},
		{Q("10.9.9.9", "10.1.1.1", "tcp/443", .tenant = "blue"), "source",
		 "holds in the host's tenant, not in tenant blue"},
		{Q("10.9.9.9", "10.1.1.1", "tcp/443"), "to",
		 "10.1.1.1 is not in trainers (10.10.0.0/16, fd00:10::/64), fd00::1"},
		{Q("10.9.9.9", "10.1.1.1", "icmp/echo-request", .tenant = "blue"), "service",
		 "icmp/echo-request is not tcp"},
		{Q("10.9.9.9", "10.1.1.1", "icmp/3.4"), "items",
		 "icmp/3.4 is not nvme-tcp (tcp/4420, tcp/8009), wide (tcp/1, tcp/2, tcp/3-4 and 1 more), gre"},
		{Q("10.9.9.9", "10.1.1.1", "esp"), "ports", "esp is not tcp/443 from ports 9-99"},
		{Q("10.9.9.9", "10.1.1.1", "tcp/443", .source_port = "100"), "ports",
		 "tcp/443 from port 100 is not tcp/443 from ports 9-99"},
		{Q("10.9.9.9", "10.1.1.1", "tcp/443"), "audited", "matches, but only counts (mode: audit)"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		says(&rows[i].question, rows[i].rule, rows[i].expected);
}

/* The answer does not depend on how much of it fits. */
Test(policy_explain, a_short_buffer_is_not_overrun)
{
	const struct question question = Q("10.9.9.9", "10.1.1.1", "tcp/443");
	struct policy_query query;
	char text[16], whole[POLICY_EXPLAIN_LEN];

	cr_assert_eq(question_read(&question, policy, &query, NULL), 0);
	policy_explain_text(policy, &query, 0, POLICY_MISMATCH_SOURCE, text, sizeof(text));
	policy_explain_text(policy, &query, 0, POLICY_MISMATCH_SOURCE, whole, sizeof(whole));
	cr_expect(!strncmp(text, whole, sizeof(text) - 1) && strlen(text) == sizeof(text) - 1);
}

Test(policy_explain, questions_that_no_packet_can_be)
{
	static const struct {
		struct question question;
		const char *says;
	} rows[] = {
		{Q("10.0.0.1", "fd00::1", "tcp/1"),
		 "'10.0.0.1' is IPv4 and 'fd00::1' is IPv6; a packet has both of one family"},
		{Q("10.0.0.1", "10.0.0.2", "tcp/1", .tenant = "rde"),
		 "tenant 'rde' is not defined in this policy; did you mean 'red'?"},
		{Q("10.0.0.1", "10.0.0.2", "tcp/1", .source_port = "-1"), "source port -1; use 0-65535"},
		{Q("10.0.0.1/8", "10.0.0.2", "tcp/1"),
		 "'10.0.0.1/8' is no address; write it as in 10.10.1.1 or fd00:10::1"},
	};
	struct policy_query query;
	struct error err;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_assert_eq(question_read(&rows[i].question, policy, &query, &err), -EINVAL);
		cr_expect_str_eq(err.text, rows[i].says, "%s", err.text);
	}
}
