// SPDX-License-Identifier: Apache-2.0
/* Scalars of the policy language: what is understood, and what is said of the rest. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "policy/diagnostics.h"
#include "policy/values.h"

#define BAD UINT64_MAX

typedef int (*scaled_fn)(const char *text, uint64_t *ret_value, struct error *err);

static void scaled_check(scaled_fn read, const char *text, uint64_t expected)
{
	struct error err = {};
	uint64_t value = 77;
	int r = read(text, &value, &err);

	if (expected == BAD) {
		cr_assert_eq(r, -EINVAL, "'%s' was taken as %llu", text, (unsigned long long)value);
		cr_assert_eq(value, 77, "'%s' changed the output", text);
		cr_assert_neq(err.text[0], '\0', "'%s': nothing was said", text);
	} else {
		cr_assert_eq(r, 0, "'%s': %s", text, err.text);
		cr_assert_eq(value, expected, "'%s' is %llu", text, (unsigned long long)value);
	}
}

Test(policy_values, durations)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} rows[] = {
		{"30s", 30 * NSEC_PER_SEC},
		{"1h", 3600 * NSEC_PER_SEC},
		{"1ms", 1000000},
		{"5us", 5000},
		{"2m", 120 * NSEC_PER_SEC},
		{"1d", 86400 * NSEC_PER_SEC},
		{"0", 0},
		{"0s", 0},
		{"30", BAD},
		{"s", BAD},
		{"", BAD},
		{"-1s", BAD},
		{"1.5s", BAD},
		{"1 s", BAD},
		{"1S", BAD},
		{"1sec", BAD},
		{"300000d", BAD},
		{"18446744073709551616s", BAD},
		{"99999999999999999999h", BAD},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		scaled_check(value_duration, rows[i].text, rows[i].ns);
}

Test(policy_values, sizes_and_counts)
{
	scaled_check(value_size, "10GiB", 10ull << 30);
	scaled_check(value_size, "1TiB", 1ull << 40);
	scaled_check(value_size, "512", 512);
	scaled_check(value_size, "4KiB", 4096);
	scaled_check(value_size, "10GB", BAD);
	scaled_check(value_size, "10gib", BAD);
	scaled_check(value_size, "17000000TiB", BAD);
	scaled_check(value_count, "1M", 1000000);
	scaled_check(value_count, "10k", 10000);
	scaled_check(value_count, "7", 7);
	scaled_check(value_count, "1K", BAD);
	scaled_check(value_count, "M", BAD);
	scaled_check(value_count, "1e6", BAD);
}

Test(policy_values, prefixes)
{
	static const struct {
		const char *text;
		const char *address; /* NULL: refused */
		unsigned int length;
	} rows[] = {
		{"10.0.0.0/8", "10.0.0.0", 8},
		{"0.0.0.0/0", "0.0.0.0", 0},
		{"10.1.2.3", "10.1.2.3", 32},
		{"fd00::/64", "fd00::", 64},
		{"::/0", "::", 0},
		{"::", "::", 128},
		{"fd00::1", "fd00::1", 128},
		{"255.255.255.255/32", "255.255.255.255", 32},
		{"10.0.0.1/8", NULL, 0},
		{"fd00::1/64", NULL, 0},
		{"10.0.0.0/33", NULL, 0},
		{"::/129", NULL, 0},
		{"10.0.0.0/", NULL, 0},
		{"10.0.0/24", NULL, 0},
		{"10.0.0.0/-1", NULL, 0},
		{"10.0.0.0/8/8", NULL, 0},
		{"::ffff:10.0.0.1", NULL, 0},
		{"::ffff:0:0/96", NULL, 0},
		{"fe80::1%eth0", NULL, 0},
		{"", NULL, 0},
		{"300.0.0.0/8", NULL, 0},
		{"10.0.0.0/08x", NULL, 0},
	};
	struct policy_prefix prefix;
	char shown[INET6_ADDRSTRLEN];
	struct error err;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		r = value_prefix(rows[i].text, &prefix, &err);
		cr_assert_eq(r, rows[i].address ? 0 : -EINVAL, "'%s'", rows[i].text);
		if (r)
			continue;
		cr_assert_eq(prefix.ipv4, !strchr(rows[i].address, ':'), "'%s'", rows[i].text);
		inet_ntop(prefix.ipv4 ? AF_INET : AF_INET6, prefix.addr + (prefix.ipv4 ? 12 : 0), shown, sizeof(shown));
		cr_assert_str_eq(shown, rows[i].address);
		cr_assert_eq(prefix.length, rows[i].length, "'%s'", rows[i].text);
	}
}

Test(policy_values, host_bits_name_the_remedy)
{
	struct policy_prefix prefix;
	struct error err;

	cr_assert_eq(value_prefix("10.10.1.7/16", &prefix, &err), -EINVAL);
	cr_assert_str_eq(err.text, "prefix 10.10.1.7/16 has host bits set; write 10.10.0.0/16");
}

Test(policy_values, items)
{
	static const struct {
		const char *text;
		int protocol; /* -1: refused, 256: any */
		unsigned int first, last;
	} rows[] = {
		{"tcp/443", 6, 443, 443},
		{"udp/5000-5999", 17, 5000, 5999},
		{"sctp/3868", 132, 3868, 3868},
		{"tcp", 6, 0, 65535},
		{"icmp/echo-request", 1, 0x0800, 0x08ff},
		{"icmp/3.4", 1, 0x0304, 0x0304},
		{"icmpv6/128", 58, 0x8000, 0x80ff},
		{"icmpv6/neighbour-solicitation", 58, 0x8700, 0x87ff},
		{"gre", 47, 0, 65535},
		{"esp", 50, 0, 65535},
		{"47", 47, 0, 65535},
		{"6/80", 6, 80, 80},
		{"any", 256, 0, 65535},
		{"tcp/0", -1, 0, 0},
		{"tcp/0-1023", 6, 0, 1023},
		{"tcp/70000", -1, 0, 0},
		{"tcp/90-80", -1, 0, 0},
		{"tcp/80-", -1, 0, 0},
		{"tcp/", -1, 0, 0},
		{"tcp/http", -1, 0, 0},
		{"gre/1", -1, 0, 0},
		{"256", -1, 0, 0},
		{"icmp/256", -1, 0, 0},
		{"icmp/3.256", -1, 0, 0},
		{"icmp/3.", -1, 0, 0},
		{"icmp/echo", -1, 0, 0},
		{"icmp/1000000000", -1, 0, 0},
		{"tpc/80", -1, 0, 0},
		{"TCP/80", -1, 0, 0},
		{"", -1, 0, 0},
	};
	struct policy_item item;
	struct error err;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		r = value_item(rows[i].text, &item, &err);
		cr_assert_eq(r, rows[i].protocol < 0 ? -EINVAL : 0, "'%s'", rows[i].text);
		if (r)
			continue;
		cr_assert_eq(item.any_protocol, rows[i].protocol == 256, "'%s'", rows[i].text);
		cr_assert(item.any_protocol || item.protocol == rows[i].protocol, "'%s'", rows[i].text);
		cr_assert_eq(item.dest_first, rows[i].first, "'%s'", rows[i].text);
		cr_assert_eq(item.dest_last, rows[i].last, "'%s'", rows[i].text);
	}
}

Test(policy_values, queries_name_one_packet)
{
	struct policy_query q = {};
	uint8_t addr[16];
	struct error err;

	cr_assert_eq(policy_query_service("tcp/4420", &q, &err), 0);
	cr_assert(q.protocol == 6 && q.dest_port == 4420);
	cr_assert_eq(policy_query_service("icmp/echo-request", &q, &err), 0);
	cr_assert(q.protocol == 1 && q.dest_port == 0x0800);
	cr_assert_eq(policy_query_service("47", &q, &err), 0);
	cr_assert(q.protocol == 47 && q.dest_port == 0);
	cr_assert_eq(policy_query_service("tcp", &q, &err), -EINVAL);
	cr_assert_eq(policy_query_service("icmp", &q, &err), -EINVAL);
	cr_assert_eq(policy_query_service("tcp/80-81", &q, &err), -EINVAL);
	cr_assert_eq(policy_query_service("any", &q, &err), -EINVAL);
	cr_assert_eq(policy_query_address("10.0.0.1", addr, &err), 0);
	cr_assert(addr[10] == 0xff && addr[12] == 10 && addr[15] == 1);
	cr_assert_eq(policy_query_address("10.0.0.0/8", addr, &err), -EINVAL);
	cr_assert_eq(policy_query_address("trainers", addr, &err), -EINVAL);
}

Test(policy_values, suggestions)
{
	static const struct {
		const char *word, *candidate;
		bool near;
	} rows[] = {
		{"trianers", "trainers", true},
		{"trainer", "trainers", true},
		{"storge", "storage", true},
		{"web", "storage", false},
		{"a", "b", false},
		{"from", "form", true},
		{"acton", "action", true},
		{"tenants", "segments", false},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct suggestion s = {.word = rows[i].word};

		suggestion_try(&s, rows[i].candidate);
		cr_assert_eq(s.best != NULL, rows[i].near, "%s and %s", rows[i].word, rows[i].candidate);
	}
}

Test(policy_values, every_reason_has_a_name_and_a_text)
{
	unsigned int i;

	for (i = 0; i < SLUICE_REASON_COUNT; i++) {
		cr_assert_not_null(reason_name(i));
		cr_assert_not_null(reason_text(i));
	}
	cr_assert_str_eq(reason_name(SLUICE_R_ANTISPOOF), "antispoof");
	cr_assert(reason_drops(SLUICE_R_DENY_DEFAULT));
	cr_assert(!reason_drops(SLUICE_R_PASS_RULE));
	cr_assert_str_eq(reason_name(9999), "unknown");
}
