// SPDX-License-Identifier: Apache-2.0
/*
 * Denials that are kept at the door (bpf/door.h): that they answer, that they count as if the rules had been asked, and
 * that whatever could make them wrong makes them void at once. Malformed frames after a denial are in frames_test.
 */
#include <sched.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "judge.h"

#define XDP SLUICE_HOOK_XDP

#define A "10.1.0.1"
#define B "10.2.0.1"

static const char policy[] = "default: deny\n"
			     "failsafe: [udp/68]\n"
			     "conntrack: {pickup: 0s}\n"
			     "rules:\n"
			     "  - {name: no-telnet, from: any, to: any, service: tcp/23, action: deny}\n"
			     "  - {name: logged, from: any, to: any, service: tcp/24, action: deny, log: true}\n"
			     "  - {name: watched, from: any, to: any, service: tcp/25, action: deny, mode: audit}\n"
			     "  - {name: back, from: 10.2.0.0/16, to: 10.1.0.0/16, service: udp/7, action: allow}\n";

#define TELNET .from = A, .to = B, .tcp = TCP_F_SYN, .sport = 1000, .dport = 23

/* ------------------------------------------------------------- what is kept */

/* struct door_set of bpf/door.h, by its 64-bit words. */
enum { SETS = 4096, SET_WORDS = 13, DENIAL_WORDS = 6, GENERATION = 3, SLOT = 4 };

/* Calls `fn` on every denial that is kept, on any CPU, and writes back what it changed. The number of them. */
static unsigned int denials_visit(void (*fn)(uint64_t *denial))
{
	int cpus = libbpf_num_possible_cpus(), fd = judge_map("door");
	uint64_t sets[64 * SET_WORDS];
	unsigned int found = 0;
	uint32_t number;

	for (number = 0; number < SETS; number++) {
		if (cpus > 64 || bpf_map_lookup_elem(fd, &number, sets)) {
			judge_check("denials can be read", false, "%s", strerror(errno));
			return 0;
		}
		for (int i = 0; i < 2 * cpus; i++) {
			uint64_t *denial = sets + i / 2 * SET_WORDS + i % 2 * DENIAL_WORDS;

			if (!denial[GENERATION])
				continue;
			found++;
			if (fn)
				fn(denial);
		}
		if (fn && bpf_map_update_elem(fd, &number, sets, BPF_ANY))
			judge_check("denials can be written", false, "%s", strerror(errno));
	}
	return found;
}

static void denial_forget(uint64_t *denial)
{
	memset(denial, 0, DENIAL_WORDS * sizeof(*denial));
}

static uint32_t other_slot;

static void denial_blame_other(uint64_t *denial)
{
	denial[SLOT] = (denial[SLOT] & 0xffffffff) | (uint64_t)other_slot << 32;
}

/* How many denials are kept of a packet that is judged now. */
static unsigned int kept_of(const struct packet *p)
{
	denials_visit(denial_forget);
	judge_flows_clear();
	judge_set_door(64);
	judge_run(XDP, p);
	return denials_visit(NULL);
}

static void expect_kept(const char *name, const struct packet *p, unsigned int expected)
{
	unsigned int kept = kept_of(p);

	judge_check(name, kept == expected, "%u denials kept, expected %u", kept, expected);
}

static void test_kept(void)
{
	judge_apply(policy);
	expect_kept("kept: denied by a rule", &(struct packet){TELNET}, 1);
	expect_kept("kept: denied by default", &(struct packet){.from = A, .to = B, .dport = 9}, 1);
	expect_kept("kept: a stray denied by a rule", &(struct packet){.from = A, .to = B, .tcp = TCP_F_ACK, .dport = 23}, 1);
	expect_kept("not kept: of a rule that logs",
		    &(struct packet){.from = A, .to = B, .tcp = TCP_F_SYN, .dport = 24}, 0);
	expect_kept("not kept: counted by an audit rule",
		    &(struct packet){.from = A, .to = B, .tcp = TCP_F_SYN, .dport = 25}, 0);
	expect_kept("not kept: allowed", &(struct packet){.from = B, .to = A, .dport = 7}, 0);
	expect_kept("not kept: IPv6", &(struct packet){.from = "fd01::1", .to = "fd02::1", .dport = 9}, 0);
	expect_kept("not kept: tagged", &(struct packet){TELNET, .vlan = 5}, 0);
	expect_kept("not kept: options", &(struct packet){TELNET, .options = 4}, 0);
	expect_kept("not kept: first fragment", &(struct packet){TELNET, .more_fragments = 1}, 0);
	expect_kept("not kept: ICMP", &(struct packet){.from = A, .to = B, .icmp = 0x10800}, 0);
	judge_apply("mode: audit\ndefault: deny\nfailsafe: []\n");
	expect_kept("not kept: in audit mode", &(struct packet){TELNET}, 0);
}

/* ---------------------------------------------------------------- what answers */

static void test_answers(void)
{
	struct sluice_rule_counter before, after;

	judge_apply(policy);
	denials_visit(denial_forget);
	before = judge_rule("no-telnet");
	for (int i = 0; i < 5; i++)
		judge_case("answers: denied each time, for the same reason", XDP, &(struct packet){TELNET}, DROPS(DENY_RULE));
	after = judge_rule("no-telnet");
	judge_check("answers: the rule counts every packet", after.packets - before.packets == 5, "%llu of 5",
		    (unsigned long long)(after.packets - before.packets));
	judge_check("answers: and its bytes", (after.bytes - before.bytes) % 5 == 0 && after.bytes - before.bytes >= 5 * 54,
		    "%llu bytes", (unsigned long long)(after.bytes - before.bytes));

	/* Proof that it is the door that answers: it blames whom we have put there. */
	for (other_slot = 0; other_slot < 8; other_slot++) {
		denials_visit(denial_blame_other);
		before = judge_rule("logged");
		judge_run(XDP, &(struct packet){TELNET});
		if (judge_rule("logged").packets != before.packets)
			break;
	}
	judge_check("answers: without asking the rules", other_slot < 8, "no slot of eight was blamed");
}

/* ----------------------------------------------------------------- what makes void */

static void test_flow_from_the_other_end(void)
{
	struct packet there = {.from = A, .to = B, .sport = 7, .dport = 4000};
	struct packet back = {.from = B, .to = A, .sport = 4000, .dport = 7};

	judge_apply(policy);
	judge_flows_clear();
	judge_case("flow: denied", XDP, &there, DROPS(DENY_DEFAULT));
	judge_case("flow: denied at the door", XDP, &there, DROPS(DENY_DEFAULT));
	judge_case("flow: the other end opens it", XDP, &back, PASSES(PASS_RULE));
	judge_case("flow: the next packet is of it", XDP, &there, PASSES(PASS_FLOW));
	judge_flows_clear();
	judge_case("flow: ended, denied again", XDP, &there, DROPS(DENY_DEFAULT));
	judge_case("flow: and again", XDP, &there, DROPS(DENY_DEFAULT));
}

static void test_policy_change(void)
{
	judge_apply(policy);
	judge_case("apply: denied", XDP, &(struct packet){TELNET}, DROPS(DENY_RULE));
	judge_apply("default: allow\nfailsafe: []\n");
	judge_case("apply: allowed with the next packet", XDP, &(struct packet){TELNET}, PASSES(PASS_DEFAULT));
	judge_flows_clear();
	judge_apply(policy);
	judge_case("apply: denied with the next packet", XDP, &(struct packet){TELNET}, DROPS(DENY_RULE));
}

static void test_what_tells_packets_apart(void)
{
	static const struct row rows[] = {
		{"denied", {TELNET}, DROPS(DENY_RULE)},
		{"another source", {.from = "10.1.0.2", .to = B, .tcp = TCP_F_SYN, .sport = 1000, .dport = 22}, PASSES(PASS_RULE)},
		{"another destination", {.from = A, .to = "10.3.0.1", .tcp = TCP_F_SYN, .sport = 1000, .dport = 23}, PASSES(PASS_RULE)},
		{"another port", {.from = A, .to = B, .tcp = TCP_F_SYN, .sport = 1000, .dport = 80}, PASSES(PASS_RULE)},
		{"another source port", {.from = A, .to = B, .tcp = TCP_F_SYN, .sport = 999, .dport = 23}, PASSES(PASS_RULE)},
		{"another protocol", {.from = A, .to = B, .sport = 1000, .dport = 23}, PASSES(PASS_RULE)},
		{"a stray of it", {.from = A, .to = B, .tcp = TCP_F_ACK, .sport = 1000, .dport = 23}, DROPS(DENY_RULE)},
		{"denied still", {TELNET}, DROPS(DENY_RULE)},
	};
	char name[120];

	judge_apply("default: deny\nfailsafe: []\nconntrack: {pickup: 0s}\nrules:\n"
		    "  - {name: no, from: 10.1.0.1, to: 10.2.0.1, service: [{protocol: tcp, ports: 23, source-ports: 1000}], "
		    "action: deny}\n"
		    "  - {name: all, from: any, to: any, action: allow}\n");
	judge_run(XDP, &rows[0].packet);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(name, sizeof(name), "apart: %s", rows[i].name);
		judge_case(name, XDP, &rows[i].packet, rows[i].verdict, rows[i].reason);
	}
}

/* Within pickup, a stray that its own direction denies may belong to a connection that the other end may open. */
static void test_pickup(void)
{
	struct packet syn = {.from = A, .to = B, .tcp = TCP_F_SYN, .sport = 80, .dport = 5000};
	struct packet stray = syn;

	stray.tcp = TCP_F_ACK;
	judge_apply("default: deny\nfailsafe: []\nconntrack: {pickup: 60s}\nrules:\n"
		    "  - {name: web, from: 10.2.0.0/16, to: 10.1.0.0/16, service: tcp/80, action: allow}\n");
	judge_set_attached(time_now_ns());
	judge_flows_clear();
	judge_case("pickup: a SYN is denied", XDP, &syn, DROPS(DENY_DEFAULT));
	judge_case("pickup: and at the door", XDP, &syn, DROPS(DENY_DEFAULT));
	judge_case("pickup: a stray of the same ports is not", XDP, &stray, PASSES(PASS_RULE));
}

static struct judge_outcome deny_source(unsigned int i)
{
	char from[20];

	snprintf(from, sizeof(from), "10.1.%u.%u", i / 250, 1 + i % 250);
	return judge_run(XDP, &(struct packet){.from = from, .to = B, .tcp = TCP_F_SYN, .dport = 23});
}

/* Each source once: nothing that is kept is of use, and the door closes but for one packet in 16. */
static void test_closes(void)
{
	unsigned int cpus = (unsigned int)libbpf_num_possible_cpus(), kept, i;

	judge_apply(policy);
	denials_visit(denial_forget);
	judge_set_door(1);
	for (i = 0; i < 5000 && judge_door() == cpus; i++)
		deny_source(i);
	judge_check("closes: a miss costs one", i == 1 && judge_door() == cpus - 1, "%u packets, credit %u", i,
		    judge_door());
	judge_set_door(0);
	for (i = 0; i < 4000; i++)
		deny_source(i);
	judge_check("closes: stays so where no source comes again", !judge_door(), "credit %u", judge_door());
	denials_visit(denial_forget);
	for (i = 5000; i < 5800; i++)
		deny_source(i);
	kept = denials_visit(NULL);
	judge_check("closes: one denial in sixteen is still kept", kept >= 25 && kept <= 100, "%u of 800", kept);
}

/* What comes again and again finds it open soon. */
static void test_opens(void)
{
	struct judge_outcome o;
	unsigned int i, wrong = 0;

	judge_apply(policy);
	denials_visit(denial_forget);
	judge_set_door(0);
	for (i = 0; i < 4000 && !judge_door(); i++) {
		o = deny_source(i % 8);
		wrong += !o.dropped || o.reason != SLUICE_R_DENY_RULE;
	}
	judge_check("opens: for sources that come again", judge_door() > 0, "closed after %u packets", i);
	judge_check("opens: and each was denied", !wrong, "%u wrong", wrong);
}

/* More denied sources than the door has room for are denied all the same. */
static void test_many(void)
{
	unsigned int wrong = 0;

	judge_apply(policy);
	for (int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < 3 * SETS; i++) {
			struct judge_outcome o = deny_source(i);

			wrong += !o.dropped || o.reason != SLUICE_R_DENY_RULE;
		}
	}
	judge_check("many: more sources than there is room for", !wrong, "%u wrong", wrong);
}

/* Each CPU has a door of its own: a move between two packets would ask another. */
static void stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	judge_check("stays on one CPU", !sched_setaffinity(0, sizeof(set), &set), "%s", strerror(errno));
}

int main(void)
{
	judge_start("door", 4096);
	stay_on_this_cpu();
	test_kept();
	test_answers();
	test_flow_from_the_other_end();
	test_policy_change();
	test_what_tells_packets_apart();
	test_pickup();
	test_closes();
	test_opens();
	test_many();
	return judge_end();
}
