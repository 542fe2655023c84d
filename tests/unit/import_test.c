// SPDX-License-Identifier: Apache-2.0
/*
 * ClassBench sets and iptables-save output as policies: what a packet gets is what the original gives it, and what
 * cannot be carried over is named. Differential tests hold the policy against the original walked line by line.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "classbench.h"
#include "importing.h"
#include "reference.h"

/* ----------------------------------------------------------------------- classbench */

static char *set_write(const struct classbench_rule *rules, size_t count)
{
	char *text = NULL;
	size_t length, i;
	FILE *out = open_memstream(&text, &length);

	cr_assert(out != NULL);
	for (i = 0; i < count; i++)
		classbench_write_rule(&rules[i], out);
	fclose(out);
	return text;
}

static void query_of(const struct classbench_header *h, struct policy_query *q)
{
	unsigned int i;

	*q = (struct policy_query){.protocol = h->protocol, .source_port = h->port[0], .dest_port = h->port[1]};
	q->source[10] = q->source[11] = q->dest[10] = q->dest[11] = 0xff;
	for (i = 0; i < 4; i++) {
		q->source[12 + i] = (uint8_t)(h->address[0] >> (24 - 8 * i));
		q->dest[12 + i] = (uint8_t)(h->address[1] >> (24 - 8 * i));
	}
	if (h->protocol != 6 && h->protocol != 17)
		q->source_port = q->dest_port = 0;
}

static const char *set_verdict(const struct classbench_rule *rules, size_t count, struct classbench_header *h)
{
	size_t i;

	if (h->protocol != 6 && h->protocol != 17)
		h->port[0] = h->port[1] = 0;
	for (i = 0; i < count; i++)
		if (classbench_matches(&rules[i], h))
			return i % 2 ? "deny" : "allow";
	return "deny";
}

static void differ(const char *seed, size_t count, uint64_t random, unsigned int packets)
{
	const struct import_options o = {.file = "set", .name = "set", .action = IMPORT_ALTERNATE};
	const struct classbench_options options = {classbench_seed_find(seed), count, 0, random};
	_cleanup_free_ struct classbench_rule *rules = NULL;
	_cleanup_free_ char *text = NULL;
	struct classbench_header h;
	uint64_t state = random;
	struct policy_query q;
	struct importing i;
	const char *is, *expected;

	cr_assert_eq(classbench_generate(&options, &rules), 0);
	text = set_write(rules, count);
	importing_begin(&i, &o, text);
	cr_assert_eq(i.r, 0, "%s", i.err.text);
	cr_assert_eq(i.result.lines, count);
	cr_assert_eq(i.result.carried, count);
	for (; packets; packets--) {
		classbench_header(rules, count, &state, &h);
		expected = set_verdict(rules, count, &h);
		query_of(&h, &q);
		is = importing_query(&i, &q);
		cr_assert_str_eq(is, expected, "%s, random %llu: %s instead of %s for %u > %u ports %u %u protocol %u",
				 seed, (unsigned long long)random, is, expected, h.address[0], h.address[1], h.port[0],
				 h.port[1], h.protocol);
	}
	importing_done(&i);
}

Test(import, classbench_sets_judge_as_their_lines_do)
{
	static const char *const seeds[] = {"acl", "fw", "ipc"};
	uint64_t random = reference_seed();
	size_t i;

	for (i = 0; i < 12; i++)
		differ(seeds[i % 3], 20 + i * 40, random + i, 1500);
}

Test(import, classbench_lines_of_every_shape)
{
	static const char text[] = "# a comment\n"
				   "@10.1.2.3/8\t192.0.2.0/24\t0 : 65535\t80 : 80\t0x06/0xFF\t0x0000/0x0200\t\n"
				   "@10.0.0.0/8\t192.0.2.0/24\t0 : 65535\t80 : 80\t0x06/0xFF\n"
				   "@2001:db8::/32 2001:db8:1::/48 0 : 65535 443 : 443 0x06/0xFF\n"
				   "@0.0.0.0/0 198.51.100.0/24 0 : 65535 0 : 1023\n"
				   "@0.0.0.0/0 203.0.113.1/32\n"
				   "@0.0.0.0/0 203.0.113.2/32 0 : 65535 0 : 65535 0x06/0xFE\n"
				   "@0.0.0.0/0 203.0.113.3/32 0:65535 5:9 17\n"
				   "@0.0.0.0/0 0.0.0.0/0 0 : 65535 0 : 65535 0x01/0xFF\n";
	const struct import_options o = {.file = "set", .name = "set"};
	struct importing i;

	importing_begin(&i, &o, text);
	cr_assert_eq(i.r, 0, "%s", i.err.text);
	cr_expect_eq(i.result.n_dropped, 0);
	cr_expect_eq(i.result.lines, 8);
	cr_expect_eq(i.result.rules, 7, "the second is the first without its flags");
	cr_expect_eq(i.result.n_notes, 3);
	cr_expect_str_eq(importing_verdict(&i, "10.9.9.9", "192.0.2.7", "tcp/80", 5), "allow");
	cr_expect_str_eq(importing_verdict(&i, "11.9.9.9", "192.0.2.7", "tcp/80", 5), "deny");
	cr_expect_str_eq(importing_verdict(&i, "2001:db8::1", "2001:db8:1::1", "tcp/443", 5), "allow");
	cr_expect_str_eq(importing_verdict(&i, "2001:db9::1", "2001:db8:1::1", "tcp/443", 5), "deny");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "198.51.100.9", "udp/1023", 5), "allow");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "198.51.100.9", "udp/1024", 5), "deny");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "203.0.113.1", "gre", 0), "allow");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "203.0.113.2", "7", 0), "allow");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "203.0.113.2", "8", 0), "deny");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "203.0.113.3", "udp/9", 3), "allow");
	cr_expect_str_eq(importing_verdict(&i, "1.1.1.1", "9.9.9.9", "icmp/echo-request", 0), "allow");
	cr_expect_str_eq(importing_verdict(&i, "2001:db8::1", "2001:db8::2", "icmp/echo-request", 0), "deny",
			 "an IPv4 wildcard means IPv4");
	importing_done(&i);
}

Test(import, classbench_lines_that_are_left_out_are_named)
{
	static const char text[] = "@10.0.0.0/8 192.0.2.0/24 0 : 65535 80 : 80 0x06/0xFF 0x0000/0x0000\n"
				   "@10.0.0.0/33 192.0.2.0/24 0 : 65535 80 : 80 0x06/0xFF\n"
				   "@10.0.0.0/8 192.0.2.0/24 0 : 65535 80 : 8 0x06/0xFF\n"
				   "@10.0.0.0/8 192.0.2.0/24 0 : 65535 80 : 80 0x01/0xFF\n"
				   "@10.0.0.0/8 2001:db8::/32 0 : 65535 80 : 80 0x06/0xFF\n"
				   "@10.0.0.0/8 192.0.2.0/24 0 : 65535 80 : 80 tcp\n"
				   "@10.0.0.0/8 192.0.2.0/24 0 : 65535 80 : 80 0x06/0xFF 0x0/0x0 more\n"
				   "nonsense\n";
	const struct import_options o = {.file = "set", .name = "set", .action = IMPORT_DENY};
	struct importing i;
	unsigned int line;

	importing_begin(&i, &o, text);
	cr_assert_eq(i.r, 0, "%s", i.err.text);
	cr_expect_eq(i.result.lines, 8);
	cr_expect_eq(i.result.carried, 1);
	for (line = 2; line <= 8; line++) {
		cr_assert(importing_dropped(&i, line), "line %u is not named", line);
		cr_expect(importing_dropped(&i, line)->widens);
		cr_expect(strchr(importing_dropped(&i, line)->why, ';'), "line %u: no remedy", line);
	}
	cr_expect(strstr(i.result.policy, "#     nonsense\n"), "%s", i.result.policy);
	importing_done(&i);
}

Test(import, what_is_no_known_format_is_refused)
{
	static const char *const rows[] = {"", "\n", "hello\n", "{}", "[1, 2]", "*filter\nCOMMIT\n", "sluice: 1\n"};
	const struct import_options o = {.file = "x", .name = "x"};
	struct importing i;
	size_t n;

	for (n = 0; n < ARRAY_SIZE(rows); n++) {
		importing_begin(&i, &o, rows[n]);
		cr_expect_eq(i.r, -EINVAL, "row %zu: %d", n, i.r);
		cr_expect(i.err.text[0], "row %zu", n);
		importing_done(&i);
	}
}

Test(import, classbench_of_100000_rules)
{
	const struct classbench_options options = {classbench_seed_find("fw"), 100000, 0, 1};
	const struct import_options o = {.file = "set", .name = "set"};
	_cleanup_free_ struct classbench_rule *rules = NULL;
	_cleanup_(import_result_done) struct import_result result = {};
	_cleanup_free_ char *text = NULL;
	struct error err = {};

	cr_assert_eq(classbench_generate(&options, &rules), 0);
	text = set_write(rules, options.rules);
	cr_assert_eq(import_text(&o, text, strlen(text), &err, &result), 0, "%s", err.text);
	cr_expect_eq(result.carried, options.rules);
}

/* ------------------------------------------------------------------------ generator */

Test(import, generator_is_deterministic_and_orders_by_scope)
{
	const struct classbench_options o = {classbench_seed_find("ipc"), 2000, 0, 7};
	_cleanup_free_ struct classbench_rule *a = NULL, *b = NULL;
	size_t i;

	cr_assert_eq(classbench_generate(&o, &a), 0);
	cr_assert_eq(classbench_generate(&o, &b), 0);
	cr_assert(!memcmp(a, b, o.rules * sizeof(*a)));
	for (i = 1; i < o.rules; i++)
		cr_assert(memcmp(&a[i - 1], &a[i], sizeof(*a)), "rule %zu stands twice", i);
}

Test(import, generator_headers_match_the_rule_they_were_drawn_from)
{
	const struct classbench_options o = {classbench_seed_find("fw"), 500, 0, 9};
	_cleanup_free_ struct classbench_rule *rules = NULL;
	struct classbench_header h;
	uint64_t state = 3;
	size_t i, rule, random = 0;

	cr_assert_eq(classbench_generate(&o, &rules), 0);
	for (i = 0; i < 5000; i++) {
		rule = classbench_header(rules, o.rules, &state, &h);
		random += rule == o.rules;
		cr_assert(rule == o.rules || classbench_matches(&rules[rule], &h), "header %zu, rule %zu", i, rule);
	}
	cr_expect(random > 300 && random < 700, "%zu random ones", random);
}

/* ------------------------------------------------------------------------- iptables */

static void text_import(struct importing *i, const char *chain, const char *text)
{
	const struct import_options o = {.file = "x", .name = "x", .chain = chain};

	importing_begin(i, &o, text);
	cr_assert_eq(i->r, 0, "%s", i->err.text);
}

static void file_import(struct importing *i, const struct import_options *o, const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "r");
	static char text[1 << 20];
	size_t n;

	cr_assert(f != NULL, "%s: run in the root of the repository", path);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	importing_begin(i, o, text);
	cr_assert_eq(i->r, 0, "%s", i->err.text);
}

struct question {
	const char *from, *to, *service;
	unsigned int source_port;
	const char *verdict;
};

static void questions_ask(const struct importing *i, const struct question *q, size_t count)
{
	size_t n;

	for (n = 0; n < count; n++)
		cr_expect_str_eq(importing_verdict(i, q[n].from, q[n].to, q[n].service, q[n].source_port), q[n].verdict,
				 "%s > %s %s is not %s in\n%s", q[n].from, q[n].to, q[n].service, q[n].verdict,
				 i->result.policy);
}

Test(import, iptables_of_a_host)
{
	static const struct question rows[] = {
		{"203.0.113.9", "192.0.2.1", "tcp/80", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "tcp/80", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "tcp/8099", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "tcp/8100", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "icmp/echo-request", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "icmp/3.1", 0, "deny"},
		{"10.1.2.3", "192.0.2.1", "tcp/22", 0, "allow"},
		{"10.2.2.3", "192.0.2.1", "tcp/22", 0, "deny"},
		{"10.3.2.3", "192.0.2.1", "tcp/22", 0, "deny"}, /* behind a RETURN: left out, never wider */
		{"9.9.9.9", "192.0.2.1", "udp/1024", 53, "allow"},
		{"9.9.9.9", "192.0.2.1", "udp/1023", 53, "deny"},
		{"192.0.2.20", "192.0.2.1", "tcp/5432", 0, "allow"},
		{"192.0.2.21", "192.0.2.1", "tcp/5432", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "tcp/3306", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "udp/161", 53, "reject"},
		{"2001:db8::1", "2001:db8::2", "tcp/80", 0, "deny"},
	};
	static const unsigned int named[] = {4, 22, 23, 24, 27, 29, 30};
	const struct import_options o = {.file = "host", .name = "host"};
	struct importing i;
	size_t n;

	file_import(&i, &o, "tests/unit/import/host.iptables");
	questions_ask(&i, rows, ARRAY_SIZE(rows));
	for (n = 0; n < ARRAY_SIZE(named); n++)
		cr_expect(importing_dropped(&i, named[n]), "line %u is not named", named[n]);
	cr_expect_eq(i.result.n_dropped, ARRAY_SIZE(named));
	cr_expect(importing_dropped(&i, 22)->widens, "a set that denies");
	cr_expect(!importing_dropped(&i, 23)->widens);
	cr_expect(strstr(i.result.policy, "name: abuse-ticket-12,"));
	cr_expect(strstr(i.result.policy, "log: {every: 12s}"));
	importing_done(&i);
}

Test(import, iptables_interface_rules_hold_where_the_policy_stands)
{
	static char *eth1[] = {(char *)"eth1"}, *eth0[] = {(char *)"eth0"};
	struct import_options o = {.file = "host", .name = "host", .interfaces = eth1, .n_interfaces = 1};
	struct importing i;

	file_import(&i, &o, "tests/unit/import/host.iptables");
	cr_expect_str_eq(importing_verdict(&i, "9.9.9.9", "192.0.2.1", "tcp/3306", 0), "allow");
	cr_expect(!importing_dropped(&i, 23));
	importing_done(&i);
	o.interfaces = eth0;
	file_import(&i, &o, "tests/unit/import/host.iptables");
	cr_expect_str_eq(importing_verdict(&i, "9.9.9.9", "192.0.2.1", "tcp/3306", 0), "deny");
	cr_expect(!importing_dropped(&i, 23), "it holds on another interface: nothing is lost");
	importing_done(&i);
}

Test(import, iptables_without_conntrack_is_stateless)
{
	struct importing i;

	text_import(&i, NULL,
		    "*filter\n:INPUT DROP [0:0]\n"
		    "-A INPUT -s 10.0.0.0/8 -p tcp --dport 80 -j ACCEPT\n"
		    "-A INPUT -s 10.0.0.0/8 -p tcp --dport 81 -m state --state NEW -j ACCEPT\nCOMMIT\n");
	cr_expect_str_eq(importing_verdict(&i, "10.0.0.1", "10.0.0.2", "tcp/80", 0), "allow-stateless");
	cr_expect_str_eq(importing_verdict(&i, "10.0.0.1", "10.0.0.2", "tcp/81", 0), "deny");
	cr_expect(importing_dropped(&i, 4), "first packets alone make no connection");
	cr_expect_eq(i.result.n_notes, 2);
	importing_done(&i);
}

Test(import, iptables_input_and_forward_need_the_hosts_address)
{
	static const char text[] = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n"
				   ":OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp --dport 25 -j DROP\n"
				   "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
				   "-A INPUT -p tcp --dport 22 -j ACCEPT\n"
				   "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
				   "-A FORWARD -p tcp --dport 23 -j DROP\nCOMMIT\n";
	static char *addresses[] = {(char *)"192.0.2.1"};
	struct import_options o = {.file = "x", .name = "x"};
	static const struct question rows[] = {
		{"9.9.9.9", "192.0.2.1", "tcp/22", 0, "allow"}, {"9.9.9.9", "192.0.2.1", "tcp/23", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "tcp/80", 0, "deny"},	{"9.9.9.9", "192.0.2.2", "tcp/23", 0, "deny"},
		{"9.9.9.9", "192.0.2.2", "tcp/80", 0, "allow"}, {"192.0.2.1", "9.9.9.9", "tcp/25", 0, "deny"},
		{"192.0.2.1", "9.9.9.9", "tcp/23", 0, "allow"}, {"2001:db8::1", "2001:db8::2", "tcp/80", 0, "deny"},
	};
	struct importing i;

	importing_begin(&i, &o, text);
	cr_expect_eq(i.r, -EINVAL);
	cr_expect(strstr(i.err.text, "--address"), "%s", i.err.text);
	importing_done(&i);
	o.addresses = addresses;
	o.n_addresses = 1;
	importing_begin(&i, &o, text);
	cr_assert_eq(i.r, 0, "%s", i.err.text);
	cr_expect_eq(i.result.n_dropped, 0);
	questions_ask(&i, rows, ARRAY_SIZE(rows));
	importing_done(&i);
}

Test(import, iptables_and_ip6tables_in_one_file)
{
	struct importing i;

	text_import(&i, NULL,
		    "# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP [0:0]\n"
		    "-A INPUT -m state --state ESTABLISHED -j ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"
		    "# Generated by ip6tables-save v1.8.9\n*filter\n:INPUT DROP [0:0]\n"
		    "-A INPUT -m state --state ESTABLISHED -j ACCEPT\n"
		    "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT\nCOMMIT\n");
	cr_expect_eq(i.result.n_dropped, 0);
	cr_expect_str_eq(importing_verdict(&i, "9.9.9.9", "9.9.9.8", "tcp/22", 0), "allow");
	cr_expect_str_eq(importing_verdict(&i, "2001:db8::1", "2001:db8::2", "tcp/22", 0), "deny");
	cr_expect_str_eq(importing_verdict(&i, "2001:db8::1", "2001:db8::2", "icmpv6/echo-request", 0), "allow");
	importing_done(&i);
}

Test(import, chains_that_loop_are_named)
{
	struct importing i;

	text_import(&i, NULL,
		    "*filter\n:INPUT DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n"
		    "-A INPUT -j a\n-A a -j b\n-A a -p tcp -j ACCEPT\n-A b -j a\n-A b -j nowhere\nCOMMIT\n");
	cr_expect(importing_dropped(&i, 8) && strstr(importing_dropped(&i, 8)->why, "loop"));
	cr_expect(importing_dropped(&i, 9) && strstr(importing_dropped(&i, 9)->why, "not here"));
	cr_expect_str_eq(importing_verdict(&i, "9.9.9.9", "9.9.9.8", "tcp/22", 0), "allow-stateless");
	importing_done(&i);
}

/* ------------------------------------------------------------------------------ nft */

/* fw.nft.json is what nft 1.0.6 says of fw.nft, one element a line. */
Test(import, nft_ruleset)
{
	static const struct question rows[] = {
		{"2001:db8:bad::1", "2001:db8::2", "tcp/80", 0, "deny"},
		{"2001:db8:bad::3", "2001:db8::2", "tcp/80", 0, "allow"},
		{"10.9.8.7", "192.0.2.1", "tcp/22", 0, "allow"},
		{"10.9.8.8", "192.0.2.1", "tcp/22", 0, "deny"},
		{"10.9.8.8", "192.0.2.1", "tcp/23", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "tcp/443", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "icmp/3.4", 0, "allow"},
		{"2001:db8::1", "2001:db8::2", "icmpv6/136", 0, "allow"},
		{"2001:db8::1", "2001:db8::2", "icmpv6/137", 0, "deny"},
		{"9.9.9.9", "192.0.2.1", "udp/53", 0, "deny"},
		{"10.9.9.9", "192.0.2.1", "udp/53", 0, "allow"},
		{"2001:db8::1", "2001:db8::2", "udp/5100", 0, "allow"}, /* `ip saddr !=` is about IPv4 alone */
		{"10.1.0.1", "192.0.2.1", "tcp/5432", 0, "allow"},
		{"10.1.0.2", "192.0.2.1", "tcp/5432", 0, "deny"},
		{"10.1.0.2", "192.0.2.1", "tcp/6379", 0, "allow"},
		{"10.3.9.9", "192.0.2.7", "tcp/9", 0, "allow"},
		{"10.4.0.1", "192.0.2.7", "udp/7", 0, "allow"},
		{"10.4.0.1", "192.0.2.199", "tcp/7", 0, "deny"},
		{"10.4.0.1", "192.0.2.200", "tcp/7", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "udp/5353", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "tcp/3000", 20, "allow"},
		{"9.9.9.9", "192.0.2.1", "tcp/3000", 21, "deny"},
		{"9.9.9.9", "192.0.2.1", "tcp/8443", 0, "deny"},
		{"2001:db8::1", "2001:db8::2", "tcp/8443", 0, "allow"},
		{"9.9.9.9", "192.0.2.1", "tcp/25", 0, "deny"},
	};
	static const char *const named[] = {"handle 28:", "handle 29:", "handle 30:", "handle 35:"};
	const struct import_options o = {.file = "fw", .name = "fw"};
	struct importing i;
	size_t n;

	file_import(&i, &o, "tests/unit/import/fw.nft.json");
	questions_ask(&i, rows, ARRAY_SIZE(rows));
	cr_assert_eq(i.result.n_dropped, ARRAY_SIZE(named));
	for (n = 0; n < ARRAY_SIZE(named); n++)
		cr_expect(strstr(i.result.dropped[n].text, named[n]), "%s", i.result.dropped[n].text);
	cr_expect_eq(i.result.dropped[0].line, 25, "the line of its element, not %u", i.result.dropped[0].line);
	cr_expect(strstr(i.result.policy, "  admins: ["), "a named set keeps its name");
	importing_done(&i);
}

Test(import, nft_that_is_broken_is_refused_with_its_place)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"nftables\": [", "byte"},
		{"{\"nftables\": 5}", "no ruleset"},
		{"{\"nftables\": []}", "no rule"},
	};
	const struct import_options o = {.file = "x", .name = "x"};
	struct importing i;
	size_t n;

	for (n = 0; n < ARRAY_SIZE(rows); n++) {
		importing_begin(&i, &o, rows[n].text);
		cr_expect_eq(i.r, -EINVAL);
		cr_expect(strstr(i.err.text, rows[n].says), "row %zu: %s", n, i.err.text);
		importing_done(&i);
	}
}
