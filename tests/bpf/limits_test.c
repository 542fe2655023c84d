// SPDX-License-Identifier: Apache-2.0
/*
 * Limits. What passes is counted exactly, on a clock that the test sets: that of a replay, which runs the same
 * programs. What an apply does to limits, and what several CPUs do to one, is seen on the live programs.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"
#include "policy/policy.h"

#include "judge.h"

#define XDP SLUICE_HOOK_XDP

#define MS 1000000ull

#define PLAIN "interfaces: [{name: a}]\n"

/* ------------------------------------------------------------------- a clock of our own */

static struct clocked {
	struct policy *policy;
	struct policy_tables *tables;
	struct dataplane_replay *replay;
	uint64_t now_ns;
} clocked;

static void clocked_end(void)
{
	dataplane_replay_close(clocked.replay);
	policy_tables_free(clocked.tables);
	policy_free(clocked.policy);
	memset(&clocked, 0, sizeof(clocked));
}

__attribute__((noreturn)) static void bench_broken(const char *why)
{
	printf("not ok - limits: bench: %s\n", why);
	exit(1);
}

/* The policy from now on; full buckets, and no flow. It begins in 2023, as captures do. */
static void clocked_begin(const char *head, const char *rules)
{
	struct dataplane_replay_options options = {};
	struct policy_diagnostics diagnostics = {};
	struct error err = {};
	char text[4096];

	clocked_end();
	snprintf(text, sizeof(text), "sluice: 1\nfailsafe: []\n%srules:\n%s", head, rules);
	if (policy_load_text("limits.yaml", text, strlen(text), &diagnostics, &clocked.policy)) {
		policy_diagnostics_print(&diagnostics, stdout);
		bench_broken("policy rejected");
	}
	policy_diagnostics_done(&diagnostics);
	if (policy_compile(clocked.policy, &err, &clocked.tables))
		bench_broken(err.text);
	options.policy = clocked.policy;
	options.tables = clocked.tables;
	if (dataplane_replay_open(&options, &err, &clocked.replay))
		bench_broken(err.text);
	clocked.now_ns = 1700000000 * NSEC_PER_SEC;
}

static struct sluice_replay_result send_frame(const struct frame *f)
{
	const struct dataplane_replay_packet packet = {
		.time_ns = clocked.now_ns, .frame = f->byte, .length = f->length, .wire_length = f->length};
	struct sluice_replay_result result = {};
	struct error err = {};

	if (dataplane_replay_packet(clocked.replay, &packet, &err, &result))
		bench_broken(err.text);
	return result;
}

/* How many of `count` packets pass, each `gap_ns` after the one before; -1: one got neither verdict that it should. */
static int passed(const struct packet *p, int count, uint64_t gap_ns)
{
	static struct frame frame;
	int pass = 0, i;

	packet_build(&frame, p);
	for (i = 0; i < count; i++, clocked.now_ns += gap_ns) {
		struct sluice_replay_result r = send_frame(&frame);

		if (r.verdict == SLUICE_PASS)
			pass++;
		else if (r.reason != SLUICE_R_RATE_LIMITED || r.slot == SLUICE_NO_RULE)
			return -1;
	}
	return pass;
}

static void check_passes(const char *name, const struct packet *p, int count, uint64_t gap_ns, int low, int high)
{
	int pass = passed(p, count, gap_ns);

	judge_check(name, pass >= low && pass <= high, "%d of %d passed, not %d to %d", pass, count, low, high);
}

#define ONCE 0

/* ------------------------------------------------------------------- bursts and rates */

#define RULES(action, limit)                                                                                           \
	"  - {name: r, from: any, to: any, service: udp, action: allow" action ", limit: {" limit "}}\n"

static const struct packet one = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53};
static const struct packet two = {.from = "10.1.0.2", .to = "10.2.0.1", .dport = 53};
static const struct packet one_back = {.from = "10.2.0.1", .to = "10.1.0.1", .sport = 53, .dport = 40000};
static const struct packet one_6 = {.from = "fd01::1", .to = "fd02::1", .dport = 53};
static const struct packet two_6 = {.from = "fd01::2", .to = "fd02::1", .dport = 53};

static void test_burst(const char *kind, const char *rules)
{
	char name[64];

	clocked_begin(PLAIN, rules);
#define CASE(text, ...)                                                                                                \
	snprintf(name, sizeof(name), "%s: " text, kind);                                                               \
	check_passes(name, __VA_ARGS__)
	CASE("a burst, and no more", &one, 15, ONCE, 10, 10);
	clocked.now_ns += 1 * MS;
	CASE("one is back a millisecond later", &one, 3, ONCE, 1, 1);
	clocked.now_ns += 4 * MS + MS / 2;
	CASE("four after four and a half", &one, 9, ONCE, 4, 4);
	clocked.now_ns += MS / 2;
	CASE("the half was not lost", &one, 9, ONCE, 1, 1);
	clocked.now_ns += 3600 * NSEC_PER_SEC;
	CASE("after an hour a burst, and no more", &one, 15, ONCE, 10, 10);
	clocked.now_ns += 3600 * NSEC_PER_SEC;
	CASE("10 s at half the rate: all", &one, 5000, 2 * MS, 5000, 5000);
	clocked.now_ns += 3600 * NSEC_PER_SEC;
	CASE("10 s at three times the rate: the rate", &one, 30000, MS / 3, 10005, 10012);
#undef CASE
}

static void test_sums(void)
{
	clocked_begin(PLAIN, RULES("", "rate: 1k pps, burst: 10"));
	check_passes("per rule: one takes all", &one, 15, ONCE, 10, 10);
	check_passes("per rule: nothing is left for another", &two, 5, ONCE, 0, 0);
	check_passes("per rule: nor in the other family", &one_6, 5, ONCE, 0, 0);

	clocked_begin(PLAIN, RULES("", "rate: 1k pps, burst: 10, per: source"));
	check_passes("per source: one takes its own", &one, 15, ONCE, 10, 10);
	check_passes("per source: another has its own", &two, 15, ONCE, 10, 10);
	check_passes("per source: IPv6", &one_6, 15, ONCE, 10, 10);
	check_passes("per source: IPv6, another", &two_6, 15, ONCE, 10, 10);

	clocked_begin(
		PLAIN,
		"  - {name: a, from: any, to: any, service: udp/53, action: allow, limit: {rate: 1k pps, burst: 10, "
		"per: source}}\n" RULES("", "rate: 1k pps, burst: 10, per: source"));
	check_passes("two rules: the first", &one, 15, ONCE, 10, 10);
	check_passes("two rules: the same source in the second",
		     &(struct packet){.from = "10.1.0.1", .to = "10.2.0.1", .dport = 54}, 15, ONCE, 10, 10);

	clocked_begin(PLAIN, RULES("", "rate: 20 pps"));
	check_passes("default burst: ten packets at least", &one, 30, ONCE, 10, 10);
	clocked_begin(PLAIN, RULES("", "rate: 1k pps"));
	check_passes("default burst: a tenth of a second", &one, 300, ONCE, 100, 100);
}

/* A source is an address in a tenant. */
static void test_tenants(void)
{
	static const struct packet red = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .vlan = 5};
	static const struct packet blue = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .vlan = 6};

	clocked_begin("tenants: [red, blue]\ninterfaces: [{name: a, vlans: {5: red, 6: blue}}]\n",
		      RULES("", "rate: 1k pps, burst: 10, per: source"));
	check_passes("tenants: a host of red", &red, 15, ONCE, 10, 10);
	check_passes("tenants: the same address in blue", &blue, 15, ONCE, 10, 10);
}

/* ------------------------------------------------------------------- flows */

static void test_flows(const char *per)
{
	char rules[200], name[80];
	uint64_t flows = 99;
	struct error err;

	snprintf(rules, sizeof(rules), RULES("", "rate: 1k pps, burst: 10, per: %s"), per);
	clocked_begin(PLAIN, rules);
	snprintf(name, sizeof(name), "flow, per %s: there", per);
	check_passes(name, &one, 6, ONCE, 6, 6);
	snprintf(name, sizeof(name), "flow, per %s: and back, of the one limit", per);
	check_passes(name, &one_back, 6, ONCE, 4, 4);
	snprintf(name, sizeof(name), "flow, per %s: and there", per);
	check_passes(name, &one, 6, ONCE, 0, 0);
	snprintf(name, sizeof(name), "flow, per %s: a new one over the limit is none", per);
	check_passes(name, &(struct packet){.from = "10.1.0.1", .to = "10.2.0.1", .sport = 7, .dport = 53}, 3, ONCE, 0,
		     0);
	judge_check(name, !dataplane_replay_flows(clocked.replay, &err, &flows) && flows == 1, "%llu flows",
		    (unsigned long long)flows);
}

static void test_flows_of_one_server(void)
{
	static const struct packet two_back = {.from = "10.2.0.1", .to = "10.1.0.2", .sport = 53, .dport = 40000};
	static const struct packet quote = {.from = "10.9.9.9", .to = "10.1.0.1", .icmp = ICMP(3, 1), .quote = &one};

	clocked_begin(PLAIN, RULES("", "rate: 1k pps, burst: 10, per: source"));
	check_passes("answers: one asks", &one, 1, ONCE, 1, 1);
	check_passes("answers: two asks", &two, 1, ONCE, 1, 1);
	check_passes("answers count for who asked", &one_back, 20, ONCE, 9, 9);
	check_passes("and not for the server, who answers two as well", &two_back, 20, ONCE, 9, 9);
	check_passes("an ICMP error counts for whose flow it quotes", &quote, 2, ONCE, 0, 0);
	clocked.now_ns += 2 * MS;
	check_passes("and passes within the limit", &quote, 3, ONCE, 2, 2);
}

static void test_fragments(void)
{
	static const struct packet first = {.from = "10.1.0.1",
					    .to = "10.2.0.1",
					    .dport = 53,
					    .payload = 24,
					    .more_fragments = 1,
					    .fragment_id = 7};
	static const struct packet later = {.from = "10.1.0.1",
					    .to = "10.2.0.1",
					    .protocol = 17,
					    .payload = 24,
					    .fragment_offset = 32,
					    .fragment_id = 7};

	clocked_begin(PLAIN, RULES(", stateful: false", "rate: 1k pps, burst: 3, per: source"));
	check_passes("fragments: the first", &first, 1, ONCE, 1, 1);
	check_passes("fragments: later ones count too", &later, 5, ONCE, 2, 2);
	check_passes("fragments: for their source", &one, 5, ONCE, 0, 0);
	check_passes("fragments: a first over the limit", &first, 1, ONCE, 0, 0);
	clocked.now_ns += 100 * MS;
	check_passes("fragments: none follows it, whatever time has passed", &later, 1, ONCE, 0, 0);
}

static void test_audit(void)
{
	static struct frame frame;
	struct sluice_replay_result r = {};
	uint64_t flows = 0;
	struct error err;

	clocked_begin(PLAIN "mode: audit\n", RULES("", "rate: 1k pps, burst: 2"));
	check_passes("audit mode: within the limit", &two, 2, ONCE, 2, 2);
	packet_build(&frame, &one);
	r = send_frame(&frame);
	judge_check("audit mode: over it is recorded and passes",
		    r.reason == SLUICE_R_RATE_LIMITED && r.verdict == SLUICE_DROP && r.audited, "reason %s, audited %u",
		    judge_reason(r.reason), r.audited);
	judge_check("audit mode: and has its flow, as it passes",
		    !dataplane_replay_flows(clocked.replay, &err, &flows) && flows == 2, "%llu flows",
		    (unsigned long long)flows);
}

/* ------------------------------------------------------------------- bits */

static void test_bits(void)
{
	static const struct packet kilobyte = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .payload = 1000 - 42};
	static const struct packet small = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .payload = 100 - 42};
	static const struct packet super = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .payload = 50000 - 42};

	/* 1,000 bytes a millisecond; the frame as it is, Ethernet header included. */
	clocked_begin(PLAIN, RULES("", "rate: 8M bit/s, burst: 40k"));
	check_passes("bits: a burst of 5,000 bytes", &kilobyte, 9, ONCE, 5, 5);
	clocked.now_ns += 1 * MS;
	check_passes("bits: a small frame is a tenth", &small, 20, ONCE, 10, 10);
	clocked.now_ns += 1 * MS - 1000;
	check_passes("bits: a long one waits until there is room for all of it", &kilobyte, 1, ONCE, 0, 0);
	clocked.now_ns += 1000;
	check_passes("bits: and then passes", &kilobyte, 2, ONCE, 1, 1);
	clocked.now_ns += 3600 * NSEC_PER_SEC;
	check_passes("bits: a super-frame passes a full bucket that it does not fit into", &super, 1, ONCE, 1, 1);
	clocked.now_ns += 45 * MS;
	check_passes("bits: and is paid for", &small, 1, ONCE, 0, 0);
	clocked.now_ns += 1 * MS;
	check_passes("bits: in full", &small, 20, ONCE, 10, 10);
	clocked.now_ns += 3600 * NSEC_PER_SEC;
	check_passes("bits: 10 s at three times the rate", &kilobyte, 30000, MS / 3, 10000, 10012);
	clocked.now_ns += 3600 * NSEC_PER_SEC;
	check_passes("bits: 10 s of super-frames at twice the rate", &super, 400, 25 * MS, 200, 203);
	clocked_begin(PLAIN, RULES("", "rate: 1000G bit/s, burst: 13k"));
	check_passes("bits: 1 Tbit/s, three times", &kilobyte, 30000, 3, 10000 * 98 / 100 * 9 / 8, 30000);
}

/* ------------------------------------------------------------------- many sources */

/* Writes source number `i` into the frame of `one`, with its checksum. */
static void source_set(struct frame *f, uint32_t i)
{
	uint32_t address = htonl(0x0b000000 + i);

	memcpy(f->byte + f->l3 + 12, &address, sizeof(address));
	frame_checksum_ip(f);
	memset(f->byte + f->l4 + 6, 0, 2); /* no UDP checksum */
}

#define CROWD (4 * SLUICE_LIMIT_SETS * SLUICE_LIMIT_WAYS)

/*
 * An attacker with many addresses. At one instant nothing flows back: each source may have 3, the table knows so many,
 * (a set that few hash to later than others), and more than that must not pass, nor may a source that has had its 3 get
 * any by the crowd.
 */
static void test_crowd(void)
{
	uint32_t pass = 0, last = 0, i;
	static struct frame frame;

	clocked_begin(PLAIN, RULES(", stateful: false", "rate: 1 pps, burst: 3, per: source"));
	check_passes("crowd: a source has its burst", &one, 5, ONCE, 3, 3);
	packet_build(&frame, &one);
	for (i = 0; i < CROWD; i++) {
		bool passes;

		source_set(&frame, i);
		passes = send_frame(&frame).verdict == SLUICE_PASS;
		pass += passes;
		last += passes && i >= CROWD - CROWD / 8;
	}
	judge_check("crowd: all that the table holds passes, and no more",
		    pass <= 3 * SLUICE_LIMIT_SETS * SLUICE_LIMIT_WAYS &&
			    pass > 2 * SLUICE_LIMIT_SETS * SLUICE_LIMIT_WAYS,
		    "%u of %u", pass, CROWD);
	judge_check("crowd: who comes after that is limited with the others", last < CROWD / 8 / 20,
		    "%u of the last %u", last, CROWD / 8);
	check_passes("crowd: nobody gets a second burst by it", &one, 5, ONCE, 0, 0);
	clocked.now_ns += 3 * NSEC_PER_SEC;
	check_passes("crowd: when it is gone, all is as before", &one, 5, ONCE, 3, 3);
	check_passes("crowd: for newcomers too", &two, 5, ONCE, 3, 3);
}

/* ------------------------------------------------------------------- live: applies */

/* Real time goes on: at 1 pps, one more may pass a second, and here it takes less than ten. */
#define SLACK 10

#define LIVE(limit) "failsafe: []\ndefault: deny\nrules:\n" RULES("", limit)
#define OTHER	    "  - {name: other, from: any, to: any, service: tcp/1, action: allow}\n"

/* Sends 100 through the live programs: `expected` pass, and what does not is over the limit. */
static int check_live(const char *name, enum sluice_hook hook, const struct packet *p, int expected)
{
	int pass = 0, other = 0, i;

	for (i = 0; i < 100; i++) {
		struct judge_outcome o = judge_run(hook, p);

		pass += !o.dropped;
		other += o.dropped && o.reason != SLUICE_R_RATE_LIMITED;
	}
	judge_check(name, pass >= expected && pass < expected + SLACK && !other,
		    "%d of 100 passed, not %d; %d dropped otherwise", pass, expected, other);
	return pass;
}

static void test_apply(void)
{
	struct sluice_rule_counter c;
	int pass;

	judge_apply(LIVE("rate: 1 pps, burst: 50"));
	judge_flows_clear();
	pass = check_live("live: a burst", XDP, &one, 50);
	c = judge_rule("r");
	judge_check("live: the rule counts what it has limited",
		    c.packets == 100 && c.limited_packets == 100 - (uint64_t)pass && !c.audit_packets,
		    "%llu packets, %llu limited", (unsigned long long)c.packets, (unsigned long long)c.limited_packets);
	judge_apply(LIVE("rate: 1 pps, burst: 50") OTHER);
	check_live("apply: an unchanged limit stays used up", XDP, &one, 0);
	judge_apply(LIVE("rate: 1 pps, burst: 70"));
	check_live("apply: a changed one begins full, for live flows too", XDP, &one, 70);
	judge_apply("failsafe: []\ndefault: deny\nrules:\n  - {name: r, from: any, to: any, service: udp, action: "
		    "allow}\n");
	check_live("apply: without a limit all passes", XDP, &one, 100);
	judge_apply(LIVE("rate: 1 pps, burst: 50, per: source"));
	check_live("apply: per source", XDP, &one, 50);
	check_live("apply: per source, another", SLUICE_HOOK_TC_INGRESS, &two, 50);
	check_live("hooks share the bucket of a source", SLUICE_HOOK_TC_EGRESS, &one, 0);
	judge_apply(LIVE("rate: 1 pps, burst: 50, per: source") OTHER);
	check_live("apply: an unchanged limit per source stays used up", XDP, &one, 0);
	judge_apply(LIVE("rate: 2 pps, burst: 50, per: source"));
	check_live("apply: a changed one begins full for each source", XDP, &two, 50);
}

static void test_trial(void)
{
	static const struct dataplane_apply_options trial = {.confirm_ns = 60 * NSEC_PER_SEC};
	struct dataplane_trial ended;
	struct error err = {};

	judge_apply(LIVE("rate: 1 pps, burst: 50"));
	check_live("trial: before it", XDP, &one, 50);
	if (judge_apply_with(LIVE("rate: 1 pps, burst: 70"), &trial, &err))
		bench_broken(err.text);
	check_live("trial: the limit on trial", XDP, &one, 70);
	if (dataplane_withdraw(judge_dataplane(), &err, &ended))
		bench_broken(err.text);
	check_live("trial: the limit before is back, and what was used up of it", XDP, &one, 0);
}

static void test_door(void)
{
	static const struct packet denied = {.from = "10.1.0.1", .to = "10.2.0.1", .tcp = TCP_F_SYN, .dport = 53};

	judge_apply(LIVE("rate: 1k pps, burst: 1"));
	judge_flows_clear();
	judge_case("door: a packet within the limit", XDP, &one, PASSES(PASS_RULE));
	for (int i = 0; i < 3; i++)
		judge_run(XDP, &one);
	judge_case("door: a denial is kept there", XDP, &denied, DROPS(DENY_DEFAULT));
	for (uint64_t until = time_now_ns() + 2 * MS; time_now_ns() < until;)
		;
	judge_case("door: a packet over the limit is not: it passes again in time", XDP, &one, PASSES(PASS_FLOW));
}

/* ------------------------------------------------------------------- live: several CPUs */

#define CPUS_MAX 16

struct runner {
	pthread_t thread;
	int cpu;
	int program;
	uint64_t until_ns;
	struct frame frame;
};

static void *runner_main(void *arg)
{
	struct runner *r = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(r->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return "no affinity";
	while (time_now_ns() < r->until_ns) {
		struct xdp_md md = {.data_end = (uint32_t)r->frame.length, .ingress_ifindex = judge_ifindex()};
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = r->frame.byte,
			    .data_size_in = (uint32_t)r->frame.length, .ctx_in = &md, .ctx_size_in = sizeof(md),
			    .repeat = 1000);

		if (bpf_prog_test_run_opts(r->program, &opts))
			return "test run";
	}
	return NULL;
}

/* Packets that have passed, and that were over a limit. */
static void cpus_counted(uint64_t *ret_pass, uint64_t *ret_limited)
{
	struct judge_reasons reasons;

	judge_reasons(&reasons);
	*ret_pass = reasons.packets[SLUICE_R_PASS_FLOW] + reasons.packets[SLUICE_R_PASS_RULE];
	*ret_limited = reasons.packets[SLUICE_R_RATE_LIMITED];
}

/* All CPUs send for a second, as fast as they can. NULL, or what went wrong. */
static const char *cpus_run(void)
{
	static struct runner runners[CPUS_MAX];
	int n = min(libbpf_num_possible_cpus(), CPUS_MAX), i;
	void *failed = NULL, *why;

	for (i = 0; i < n; i++) {
		runners[i] = (struct runner){.cpu = i,
					     .program = judge_map("programs/sluice_xdp"),
					     .until_ns = time_now_ns() + NSEC_PER_SEC};
		packet_build(&runners[i].frame, &one);
		if (pthread_create(&runners[i].thread, NULL, runner_main, &runners[i]))
			bench_broken("no thread");
	}
	for (i = 0; i < n; i++) {
		pthread_join(runners[i].thread, &why);
		failed = failed ? failed : why;
	}
	return failed;
}

static void check_cpus(const char *name, const char *policy, uint64_t rate, uint64_t burst)
{
	uint64_t start, end, pass_before, limited_before, pass, limited;
	const char *failed;
	double expected;

	judge_apply(policy);
	judge_flows_clear();
	judge_run(XDP, &one); /* the program is loaded, the flow there */
	cpus_counted(&pass_before, &limited_before);
	start = time_now_ns();
	failed = cpus_run();
	end = time_now_ns();
	cpus_counted(&pass, &limited);
	pass -= pass_before;
	limited -= limited_before;
	expected = (double)rate * (double)(end - start) / 1e9 + (double)burst;
	judge_check(name, !failed && limited > pass && (double)pass > expected * 0.98 && (double)pass < expected * 1.02,
		    "%llu passed, %.0f expected, %llu limited %s", (unsigned long long)pass, expected,
		    (unsigned long long)limited, failed ?: "");
}

int main(void)
{
	judge_start("limits", 4096);
	test_burst("stateless, per rule", RULES(", stateful: false", "rate: 1k pps, burst: 10"));
	test_burst("stateful, per rule", RULES("", "rate: 1k pps, burst: 10"));
	test_burst("stateful, per source", RULES("", "rate: 1k pps, burst: 10, per: source"));
	test_sums();
	test_tenants();
	test_flows("rule");
	test_flows("source");
	test_flows_of_one_server();
	test_fragments();
	test_audit();
	test_bits();
	test_crowd();
	clocked_end();
	test_apply();
	test_trial();
	test_door();
	/* Bursts of two seconds, so that nothing is lost to a CPU that others keep busy meanwhile. */
	check_cpus("all CPUs at one rule: 100k pps", LIVE("rate: 100k pps, burst: 200k"), 100000, 200000);
	check_cpus("all CPUs at one source: 100k pps", LIVE("rate: 100k pps, burst: 200k, per: source"), 100000, 200000);
	return judge_end();
}
