// SPDX-License-Identifier: Apache-2.0
/* `sluice flows` without a kernel: its options, what its filters match, its orders and rates, the names of states. */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

/* Not part of the library: only the command line uses them. */
#include "cli/flows_filter.c"
#include "cli/flows_options.c"
#include "cli/flows_order.c"

#include "packet.h"

static struct flows_options o;
static struct error err;

#define PARSE(...)                                                                                                     \
	({                                                                                                             \
		char *words_[] = {"flows", __VA_ARGS__, NULL};                                                         \
		flows_options_parse((int)ARRAY_SIZE(words_) - 1, words_, &o, &err);                                    \
	})

/* ------------------------------------------------------------------- options */

Test(flows, defaults)
{
	char *words[] = {"flows", NULL};

	cr_assert_eq(flows_options_parse(1, words, &o, &err), 0, "%s", err.text);
	cr_assert(!o.filter.count && !o.order && o.limit == FLOWS_ALL && !o.watch_ns && !o.cut && !o.json);
}

Test(flows, everything_at_once)
{
	cr_assert_eq(PARSE("--tenant", "red", "--segment", "store", "--rule", "web", "--state", "one-way", "--address",
			   "10.0.0.0/8", "--port", "8000-8999", "--protocol", "udp", "--sort", "rate", "--reverse",
			   "--limit", "10k", "--watch", "0.5", "--json"),
		     0, "%s", err.text);
	cr_assert_eq(o.filter.count, 7);
	cr_assert_eq(o.filter.kinds, (1u << FLOW_TEST_KINDS) - 1);
	cr_assert_eq(o.limit, 10000);
	cr_assert_eq(o.watch_ns, NSEC_PER_SEC / 2);
	cr_assert(o.json && o.reverse && o.order == flow_order_find("rate"));
	flow_filter_done(&o.filter);
}

Test(flows, watch_takes_seconds_behind_a_space_or_none)
{
	cr_assert_eq(PARSE("--watch"), 0);
	cr_assert_eq(o.watch_ns, 2 * NSEC_PER_SEC);
	cr_assert_eq(PARSE("--watch", "--json"), 0);
	cr_assert(o.watch_ns == 2 * NSEC_PER_SEC && o.json);
	cr_assert_eq(PARSE("--watch", "5", "--json"), 0);
	cr_assert(o.watch_ns == 5 * NSEC_PER_SEC && o.json);
	cr_assert_eq(PARSE("--watch=250ms"), 0);
	cr_assert_eq(o.watch_ns, NSEC_PER_SEC / 4);
}

Test(flows, refusals)
{
	static const struct {
		const char *words[6], *place, *remedy;
	} rows[] = {
		{{"--port", "70000"}, "--port: ", "use 1-65535"},
		{{"--port", "http"}, "--port: ", "use 1-65535"},
		{{"--address", "10.0.0.1/8"}, "--address: ", "write 10.0.0.0/8"},
		{{"--address", "store"}, "--address: ", "write it as in 10.0.0.0/8"},
		{{"--state", "establish"}, "--state: ", "did you mean 'established'?"},
		{{"--state", "x"}, "--state: ", "use opening, established,"},
		{{"--protocol", "tpc"}, "--protocol: ", "tcp"},
		{{"--rule", "9"}, "--rule: ", "begin with a letter"},
		{{"--sort", "size"}, "--sort: no order 'size'", "use bytes, packets, age, idle or rate"},
		{{"--limit", "0"}, "--limit: ", "use a number from 1 on"},
		{{"--limit", "many"}, "--limit: ", "as in 10k"},
		{{"--watch", "0"}, "--watch: ", "use 0.1 to 86400 seconds"},
		{{"--watch", "soon"}, "--watch: ", "as in 30s"},
		{{"--port"}, "--port needs a value", ""},
		{{"--colour"}, "--colour is no option", ""},
		{{"10.0.0.1"}, "'10.0.0.1' is no option", "--address 10.0.0.1"},
		{{"--cut"}, "--cut ends every flow", "give one, or --all"},
		{{"--cut", "--all", "--port", "1"}, "--all and a filter", "leave one out"},
		{{"--cut", "--all", "--sort", "age"}, "--cut lists nothing", "leave --sort"},
		{{"--cut", "--all", "--watch"}, "--cut lists nothing", "--watch"},
		{{"--all"}, "--all goes with --cut", ""},
		{{"--dry-run"}, "--dry-run goes with --cut", ""},
		{{"--reverse"}, "--reverse turns an order", "give --sort"},
		{{"--count", "--limit", "3"}, "--count shows no flow", "leave --sort and --limit out"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		char *words[8] = {"flows"};
		int n = 1;

		for (; rows[i].words[n - 1]; n++)
			words[n] = (char *)rows[i].words[n - 1];
		cr_expect_eq(flows_options_parse(n, words, &o, &err), -EINVAL, "row %zu", i);
		cr_expect(strstr(err.text, rows[i].place), "row %zu: %s", i, err.text);
		cr_expect(strstr(err.text, rows[i].remedy), "row %zu: %s", i, err.text);
	}
}

Test(flows, too_many_filters_are_refused)
{
	int i, r = 0;

	memset(&o, 0, sizeof(o));
	for (i = 0; i < FLOW_TESTS_MAX; i++)
		r |= flow_filter_add(&o.filter, FLOW_TEST_PORT, "1", &err);
	cr_assert_eq(r, 0);
	cr_assert_eq(flow_filter_add(&o.filter, FLOW_TEST_PORT, "1", &err), -EINVAL);
	cr_assert(strstr(err.text, "use prefixes, port ranges or segments"), "%s", err.text);
}

/* ------------------------------------------------------------------- filters */

static struct sluice_rule rules[] = {
	{.name = "web", .slot = 7},
	{.name = "dns", .slot = 3},
	{.name = "", .slot = 9, .flags = SLUICE_RULE_DEFAULT},
};
static struct sluice_tenant tenants[] = {{}, {.name = "red"}, {}, {.name = "blue"}};
static uint16_t model_tenants[] = {0, 2, FLOW_NO_TENANT, 1}; /* the model lists blue first */

static struct flow_names names = {
	.live = {.generation = 5, .rules = rules, .n_rules = 3, .tenants = tenants, .n_tenants = 4},
	.model_tenant = model_tenants,
};

static const char text[] = "sluice: 1\nname: unit\n"
			   "interfaces: [{name: eth0, vlans: {100: blue, 101: red}}]\n"
			   "tenants: [blue, red]\n"
			   "segments:\n"
			   "  store: {include: [10.20.0.0/24, \"fd00:20::/64\"], except: [10.20.0.99]}\n"
			   "  rest: {segments: [store], include: [10.30.0.1]}\n"
			   "  reds: {include: [10.1.0.0/16], tenant: red}\n"
			   "rules:\n"
			   "  - {name: web, from: rest, to: store, service: tcp/443, action: allow}\n"
			   "  - {name: red, tenant: red, from: reds, to: any, service: tcp/1, action: allow}\n";

static void setup(void)
{
	struct policy_diagnostics d = {};

	cr_assert_eq(policy_load_text("unit", text, strlen(text), &d, &names.model), 0);
	policy_diagnostics_done(&d);
}

static void teardown(void)
{
	policy_free(names.model);
}

TestSuite(flow_filter, .init = setup, .fini = teardown);

/* From port 40000 to `port`, decided by rule web, established, unless it is changed afterwards. */
static struct dataplane_flow flow_of(const char *from, const char *to, uint8_t protocol, uint16_t port)
{
	struct dataplane_flow f = {.rule = 7, .seen = SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1), .generation = 5};

	packet_address(from, f.key.addr[0]);
	packet_address(to, f.key.addr[1]);
	f.key.port[0] = htons(40000);
	f.key.port[1] = htons(port);
	f.key.protocol = protocol;
	f.key.version = strchr(from, ':') ? 6 : 4;
	return f;
}

static bool matches(const struct dataplane_flow *f, const char *const *words)
{
	char *argv[16] = {"flows"};
	int n = 1;
	bool fits;

	for (; words[n - 1]; n++)
		argv[n] = (char *)words[n - 1];
	cr_assert_eq(flows_options_parse(n, argv, &o, &err), 0, "%s", err.text);
	cr_assert_eq(flow_filter_bind(&o.filter, &names, &err), 0, "%s", err.text);
	cr_assert_eq(flow_filter_bind(&o.filter, &names, &err), 0, "a second time: %s", err.text);
	fits = flow_filter_matches(&o.filter, &names, f);
	flow_filter_done(&o.filter);
	return fits;
}

#define MATCHES(f, ...) matches(f, (const char *const[]){__VA_ARGS__, NULL})

Test(flow_filter, addresses_and_ports_are_of_either_end)
{
	struct dataplane_flow f = flow_of("10.1.0.1", "10.20.0.5", IPPROTO_TCP, 443);
	struct dataplane_flow f6 = flow_of("fd00:1::1", "fd00:20::5", IPPROTO_TCP, 443);

	cr_expect(MATCHES(&f, "--address", "10.1.0.1"));
	cr_expect(MATCHES(&f, "--address", "10.20.0.0/16"));
	cr_expect(!MATCHES(&f, "--address", "10.2.0.0/16"));
	cr_expect(MATCHES(&f, "--address", "0.0.0.0/0"));
	cr_expect(!MATCHES(&f, "--address", "::/0"));
	cr_expect(MATCHES(&f6, "--address", "fd00:20::/32"));
	cr_expect(!MATCHES(&f6, "--address", "0.0.0.0/0"));
	cr_expect(MATCHES(&f, "--port", "443"));
	cr_expect(MATCHES(&f, "--port", "39999-40000"));
	cr_expect(!MATCHES(&f, "--port", "444-39999"));
}

Test(flow_filter, one_of_a_kind_and_all_kinds)
{
	struct dataplane_flow f = flow_of("10.1.0.1", "10.20.0.5", IPPROTO_TCP, 443);

	cr_expect(MATCHES(&f, "--port", "1", "--port", "443"));
	cr_expect(MATCHES(&f, "--address", "10.9.0.0/16", "--address", "10.1.0.0/16", "--port", "443"));
	cr_expect(!MATCHES(&f, "--address", "10.1.0.0/16", "--port", "1"));
	cr_expect(!MATCHES(&f, "--address", "10.9.0.0/16", "--port", "443"));
}

Test(flow_filter, an_identifier_is_no_port)
{
	struct dataplane_flow f = flow_of("10.1.0.1", "10.20.0.5", IPPROTO_ICMP, 40000);

	cr_expect(!MATCHES(&f, "--port", "40000"));
	cr_expect(MATCHES(&f, "--protocol", "icmp"));
	cr_expect(!MATCHES(&f, "--protocol", "tcp"));
}

Test(flow_filter, names_of_the_live_policy)
{
	struct dataplane_flow f = flow_of("10.1.0.1", "10.20.0.5", IPPROTO_TCP, 443);

	cr_expect(MATCHES(&f, "--rule", "web"));
	cr_expect(!MATCHES(&f, "--rule", "dns"));
	cr_expect(!MATCHES(&f, "--rule", "default"));
	f.rule = 9;
	cr_expect(MATCHES(&f, "--rule", "default"));
	cr_expect(MATCHES(&f, "--tenant", ""));
	cr_expect(!MATCHES(&f, "--tenant", "red"));
	f.key.tenant = 3;
	cr_expect(MATCHES(&f, "--tenant", "blue"));
	cr_expect(!MATCHES(&f, "--tenant", ""));
}

Test(flow_filter, segments)
{
	struct dataplane_flow f = flow_of("10.1.0.1", "10.20.0.5", IPPROTO_TCP, 443);
	struct dataplane_flow f6 = flow_of("fd00:20::5", "fd00:1::1", IPPROTO_TCP, 443);
	struct dataplane_flow excepted = flow_of("10.1.0.1", "10.20.0.99", IPPROTO_TCP, 443);

	cr_expect(MATCHES(&f, "--segment", "store"));
	cr_expect(MATCHES(&f6, "--segment", "store"));
	cr_expect(MATCHES(&f, "--segment", "rest"), "a member's");
	cr_expect(!MATCHES(&excepted, "--segment", "store"));
	cr_expect(!MATCHES(&f, "--segment", "reds"), "of the host's tenant");
	f.key.tenant = 1;
	cr_expect(MATCHES(&f, "--segment", "reds"), "of tenant red, whose numbers differ");
	f.key.tenant = 3;
	cr_expect(!MATCHES(&f, "--segment", "reds"), "of tenant blue");
	f.key.tenant = 2;
	cr_expect(!MATCHES(&f, "--segment", "store"), "of a tenant that the policy has no more");
}

Test(flow_filter, unknown_names)
{
	static const struct {
		const char *option, *value, *fact, *remedy;
	} rows[] = {
		{"--tenant", "rad", "no tenant 'rad'", "did you mean 'red'?"},
		{"--tenant", "nobody", "no tenant 'nobody'", "an empty one means the host's"},
		{"--rule", "wep", "no rule 'wep'", "did you mean 'web'?"},
		{"--rule", "nothing-of-it", "no rule", "`sluice status` lists them"},
		{"--segment", "stores", "no segment 'stores'", "did you mean 'store'?"},
		{"--segment", "nothing-of-it", "no segment", "`sluice show` lists them"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_assert_eq(PARSE((char *)rows[i].option, (char *)rows[i].value), 0, "%s", err.text);
		cr_expect_eq(flow_filter_bind(&o.filter, &names, &err), -EINVAL, "row %zu", i);
		cr_expect(strstr(err.text, rows[i].fact) && strstr(err.text, rows[i].remedy), "row %zu: %s", i,
			  err.text);
		flow_filter_done(&o.filter);
	}
}

/* ------------------------------------------------------------------- states */

Test(flows, states)
{
	static const struct {
		uint8_t protocol;
		uint32_t seen;
		const char *name;
	} rows[] = {
		{IPPROTO_TCP, SLUICE_FLOW_SYN(0), "opening"},
		{IPPROTO_TCP, SLUICE_FLOW_SYN(0) | SLUICE_FLOW_SYN(1) | SLUICE_FLOW_ACK(1), "opening"},
		{IPPROTO_TCP, SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1), "established"},
		{IPPROTO_TCP, SLUICE_FLOW_PICKED_UP | SLUICE_FLOW_ACK(0), "established"},
		{IPPROTO_TCP, SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1) | SLUICE_FLOW_FIN(0), "closing"},
		{IPPROTO_TCP, SLUICE_FLOW_FIN(1) | SLUICE_FLOW_PICKED_UP, "closing"},
		{IPPROTO_TCP, SLUICE_FLOW_FIN(0) | SLUICE_FLOW_RST, "reset"},
		{IPPROTO_TCP, SLUICE_FLOW_RST | SLUICE_FLOW_CUT, "cut"},
		{IPPROTO_UDP, SLUICE_FLOW_SECOND, "one-way"},
		{IPPROTO_UDP, SLUICE_FLOW_REPLIED, "answered"},
		{IPPROTO_ICMP, 0, "one-way"},
		{IPPROTO_ICMPV6, SLUICE_FLOW_REPLIED, "answered"},
		{47, SLUICE_FLOW_AUDIT_DENY, "one-way"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct dataplane_flow f = {.key.protocol = rows[i].protocol, .seen = rows[i].seen};

		cr_expect_str_eq(dataplane_flow_state_name(dataplane_flow_state(&f)), rows[i].name, "row %zu", i);
	}
}

/* ------------------------------------------------------------------- orders */

/* Flow i has (i * 7) % n bytes: all different. */
static void fill(struct flow_list *l, uint32_t n)
{
	struct flow_row row = {};
	uint32_t i;

	for (i = 0; i < n; i++) {
		row.flow.place = i;
		row.flow.side[i & 1].bytes = (uint64_t)i * 7 % n;
		row.flow.side[!(i & 1)].bytes = 0;
		cr_assert_eq(flow_list_add(l, &row), 0);
	}
}

static void sorted(const char *order, bool reverse, uint64_t limit, uint32_t n)
{
	struct flow_list l = {.order = flow_order_find(order), .reverse = reverse, .limit = limit};
	uint64_t i, bytes, expected = limit < n ? limit : n;

	fill(&l, n);
	cr_expect(limit == FLOWS_ALL || l.count <= 2 * limit + 1, "%zu rows are held", l.count);
	flow_list_finish(&l);
	cr_assert_eq(l.count, expected);
	for (i = 0; i < l.count; i++) {
		bytes = l.rows[i].flow.side[0].bytes + l.rows[i].flow.side[1].bytes;
		cr_assert_eq(bytes, reverse ? i : n - 1 - i, "%llu is in place %llu", (unsigned long long)bytes,
			     (unsigned long long)i);
	}
	flow_list_done(&l);
}

Test(flow_order, the_first_so_many_of_all)
{
	sorted("bytes", false, FLOWS_ALL, 5000);
	sorted("bytes", true, FLOWS_ALL, 5000);
	sorted("bytes", false, 10, 5000);
	sorted("bytes", true, 10, 5000);
	sorted("bytes", false, 1, 5000);
	sorted("bytes", false, 6000, 5000);
}

Test(flow_order, equal_ones_as_they_lie)
{
	struct flow_list l = {.order = flow_order_find("packets"), .limit = FLOWS_ALL};
	size_t i;

	fill(&l, 100);
	flow_list_finish(&l);
	for (i = 0; i < l.count; i++)
		cr_assert_eq(l.rows[i].flow.place, i);
	flow_list_done(&l);
}

Test(flow_order, keys)
{
	const struct flow_row row = {
		.flow = {.first_seen_ns = 10, .last_seen_ns = 70, .side = {{3, 300}, {5, 700}}}, .rate = 42};
	static const struct {
		const char *order;
		uint64_t key;
	} rows[] = {{"bytes", 1000}, {"packets", 8}, {"age", 90}, {"idle", 30}, {"rate", 42}};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		cr_expect_eq(flow_order_find(rows[i].order)->key(&row, 100), rows[i].key, "%s", rows[i].order);
	cr_expect_null(flow_order_find("size"));
}

static uint64_t rate(struct flow_memory *m, bool remember, const struct dataplane_flow *f)
{
	uint64_t rate;

	cr_assert_eq(flow_memory_rate(m, remember, f, &rate), 0);
	return rate;
}

Test(flow_order, rates)
{
	struct dataplane_flow f = {
		.place = 5000, .begun = 1, .first_seen_ns = NSEC_PER_SEC, .side = {{1, 600}, {1, 400}}};
	struct flow_memory m = {};

	flow_memory_next(&m, 5 * NSEC_PER_SEC);
	cr_expect_eq(rate(&m, true, &f), 250, "over its life");
	f.side[0].bytes += 5000;
	flow_memory_next(&m, 7 * NSEC_PER_SEC);
	cr_expect_eq(rate(&m, false, &f), 1000, "over its life");
	cr_expect_eq(rate(&m, true, &f), 2500, "since the last picture");
	f.begun = 2;
	flow_memory_next(&m, 9 * NSEC_PER_SEC);
	cr_expect_eq(rate(&m, true, &f), 750, "another flow in its place");
	flow_memory_next(&m, 10 * NSEC_PER_SEC);
	flow_memory_next(&m, 11 * NSEC_PER_SEC);
	cr_expect_eq(rate(&m, true, &f), 600, "not in the last picture");
	f.first_seen_ns = 11 * NSEC_PER_SEC;
	f.place = 3;
	cr_expect_eq(rate(&m, true, &f), 0, "too young to say");
	flow_memory_done(&m);
}
