// SPDX-License-Identifier: Apache-2.0
/*
 * What rules do to a packet: first match, default, audit rules and audit mode, stateless rules, the failsafe, egress,
 * counters and events. The policies are text; what they mean is taken from the language's description, not from the
 * compiler.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <bpf/libbpf.h>

#include "base/util.h"

#include "judge.h"

#define XDP    SLUICE_HOOK_XDP
#define EGRESS SLUICE_HOOK_TC_EGRESS

/* Every row starts from an empty flow table: rules are asked anew. */
static void rows_run(const char *family, enum sluice_hook hook, const struct row *rows, size_t n)
{
	char name[160];

	for (size_t i = 0; i < n; i++) {
		judge_flows_clear();
		snprintf(name, sizeof(name), "%s: %s", family, rows[i].name);
		judge_case(name, hook, &rows[i].packet, rows[i].verdict, rows[i].reason);
	}
}

#define ROWS_RUN(family, hook, rows) rows_run(family, hook, rows, ARRAY_SIZE(rows))

/* ------------------------------------------------------------------- first match */

static const char first_policy[] =
	"default: deny\n"
	"failsafe: []\n"
	"segments:\n"
	"  trainers: [10.1.0.0/16, \"fd01::/64\"]\n"
	"  quarantine: [10.1.66.0/24, \"fd01::66:0/112\"]\n"
	"  storage: {include: [10.2.0.0/24, \"fd02::/64\"], except: [10.2.0.99]}\n"
	"services:\n"
	"  nvme: [tcp/4420, tcp/8009]\n"
	"  high: [{protocol: udp, ports: 5000-5999, source-ports: 1024-65535}]\n"
	"rules:\n"
	"  - {name: quarantine, from: quarantine, to: any, action: deny}\n"
	"  - {name: storage, from: trainers, to: storage, service: nvme, action: allow}\n"
	"  - {name: high, from: trainers, to: storage, service: high, action: allow}\n"
	"  - {name: ping, from: trainers, to: any, service: [icmp/echo-request, icmpv6/echo-request], action: allow}\n"
	"  - {name: gre, from: trainers, to: storage, service: gre, action: allow}\n"
	"  - {name: sctp, from: trainers, to: storage, service: sctp/3868, action: allow}\n"
	"  - {name: shadowed, from: 10.1.66.7, to: storage, service: nvme, action: allow}\n";

#define SYN .tcp = TCP_F_SYN

static const struct row first[] = {
	{"allowed", {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 4420}, PASSES(PASS_RULE)},
	{"allowed, ipv6", {.from = "fd01::1", .to = "fd02::1", SYN, .dport = 8009}, PASSES(PASS_RULE)},
	{"last address of the prefix",
	 {.from = "10.1.255.255", .to = "10.2.0.255", SYN, .dport = 4420},
	 PASSES(PASS_RULE)},
	{"one address past the prefix",
	 {.from = "10.2.0.0", .to = "10.2.0.1", SYN, .dport = 4420},
	 DROPS(DENY_DEFAULT)},
	{"excepted destination", {.from = "10.1.0.1", .to = "10.2.0.99", SYN, .dport = 4420}, DROPS(DENY_DEFAULT)},
	{"other port", {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 4421}, DROPS(DENY_DEFAULT)},
	{"other protocol", {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 4420}, DROPS(DENY_DEFAULT)},
	{"earlier deny wins", {.from = "10.1.66.7", .to = "10.2.0.1", SYN, .dport = 4420}, DROPS(DENY_RULE)},
	{"earlier deny wins, ipv6", {.from = "fd01::66:1", .to = "fd02::1", SYN, .dport = 4420}, DROPS(DENY_RULE)},
	{"first of a port range",
	 {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 5000, .sport = 1024},
	 PASSES(PASS_RULE)},
	{"last of a port range",
	 {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 5999, .sport = 65535},
	 PASSES(PASS_RULE)},
	{"past a port range",
	 {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 6000, .sport = 2000},
	 DROPS(DENY_DEFAULT)},
	{"source port out of range",
	 {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 5000, .sport = 1023},
	 DROPS(DENY_DEFAULT)},
	{"echo request", {.from = "10.1.0.1", .to = "10.7.0.1", .icmp = ICMP(8, 0), .icmp_id = 7}, PASSES(PASS_RULE)},
	{"timestamp request", {.from = "10.1.0.1", .to = "10.7.0.1", .icmp = ICMP(13, 0)}, DROPS(DENY_DEFAULT)},
	{"echo request, ipv6",
	 {.from = "fd01::1", .to = "fd07::1", .icmp = ICMP(128, 0), .icmp_id = 7},
	 PASSES(PASS_RULE)},
	{"GRE", {.from = "10.1.0.1", .to = "10.2.0.1", .protocol = 47, .payload = 8}, PASSES(PASS_RULE)},
	{"ESP", {.from = "10.1.0.1", .to = "10.2.0.1", .protocol = 50, .payload = 8}, DROPS(DENY_DEFAULT)},
	{"unrelated protocol",
	 {.from = "10.1.0.1", .to = "10.2.0.1", .protocol = 200, .payload = 8},
	 DROPS(DENY_DEFAULT)},
};

/* ------------------------------------------------------------------- default allow, stateless */

static const char default_policy[] =
	"default: allow\n"
	"failsafe: []\n"
	"rules:\n"
	"  - {name: no-telnet, from: any, to: any, service: tcp/23, action: deny}\n"
	"  - {name: dns, from: any, to: 10.2.0.53, service: udp/53, action: allow, stateful: false}\n"
	"  - {name: no-dns-back, from: 10.2.0.53, to: any, service: udp, action: deny}\n"
	"  - {name: raw, from: 10.1.0.9, to: any, service: tcp, action: allow, stateful: false}\n";

static const struct row defaults[] = {
	{"no rule matches", {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 80}, PASSES(PASS_DEFAULT)},
	{"rule denies", {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 23}, DROPS(DENY_RULE)},
	{"stateless: this way", {.from = "10.1.0.1", .to = "10.2.0.53", .dport = 53}, PASSES(PASS_RULE)},
	{"stateless: no SYN needed",
	 {.from = "10.1.0.9", .to = "10.2.0.1", .tcp = TCP_F_ACK, .dport = 80},
	 PASSES(PASS_RULE)},
};

static void test_stateless(void)
{
	static const struct packet there = {.from = "10.1.0.1", .to = "10.2.0.53", .sport = 999, .dport = 53};
	static const struct packet back = {.from = "10.2.0.53", .to = "10.1.0.1", .sport = 53, .dport = 999};

	judge_flows_clear();
	judge_run(XDP, &there);
	judge_check("stateless: leaves no flow", !judge_flow(&there, 0, NULL) && !judge_flow_count(), "there is one");
	judge_case("stateless: the way back needs its own rule", XDP, &back, DROPS(DENY_RULE));
}

/* ------------------------------------------------------------------- audit */

static const char audit_rules_policy[] =
	"default: deny\n"
	"failsafe: []\n"
	"rules:\n"
	"  - {name: would-deny, from: 10.1.0.0/16, to: any, action: deny, mode: audit}\n"
	"  - {name: would-allow, from: any, to: 10.2.0.0/16, action: allow, mode: audit}\n"
	"  - {name: web, from: any, to: any, service: tcp/80, action: allow}\n";

static bool counted(const char *rule, uint64_t packets, uint64_t audited)
{
	struct sluice_rule_counter c = judge_rule(rule);

	return c.packets == packets && c.audit_packets == audited;
}

static void test_audit_rules(void)
{
	static const struct packet web = {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 80};
	static const struct packet ssh = {.from = "10.9.9.9", .to = "10.2.0.1", SYN, .dport = 22};

	judge_apply(audit_rules_policy);
	judge_flows_clear();
	judge_case("audit rule: deny is only counted, the next rule decides", XDP, &web, PASSES(PASS_RULE));
	judge_check("audit rule: deny has counted the packet as one that it would have dropped",
		    counted("would-deny", 1, 1), "it has %llu packets",
		    (unsigned long long)judge_rule("would-deny").packets);
	judge_check("audit rule: allow on the way has counted it too", counted("would-allow", 1, 0),
		    "it has %llu packets", (unsigned long long)judge_rule("would-allow").packets);
	judge_case("audit rule: allow does not let through", XDP, &ssh, DROPS(DENY_DEFAULT));
	judge_check("audit rule: only rules that match count",
		    counted("would-deny", 1, 1) && counted("would-allow", 2, 0) && counted("web", 1, 0) &&
			    counted("default", 1, 0),
		    "counters differ");
}

static void test_audit_mode(void)
{
	static const struct packet spoofed = {.from = "224.0.0.1", .to = "10.2.0.1", .dport = 9};
	static const struct packet denied = {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 23};
	static const struct packet none = {.from = "10.1.0.1", .to = "10.2.0.1", SYN, .dport = 80};
	static const struct packet stray = {.from = "10.1.0.1", .to = "10.2.0.1", .tcp = TCP_F_ACK, .dport = 443};

	judge_apply("mode: audit\n"
		    "default: deny\n"
		    "conntrack: {pickup: 0s}\n"
		    "rules:\n"
		    "  - {name: no-telnet, from: any, to: any, service: tcp/23, action: deny}\n"
		    "  - {name: tls, from: any, to: any, service: tcp/443, action: allow}\n");
	judge_flows_clear();
	judge_case_audited("audit mode: malformed", XDP, &spoofed, SLUICE_R_IP_SOURCE);
	judge_case_audited("audit mode: rule denies", XDP, &denied, SLUICE_R_DENY_RULE);
	judge_case_audited("audit mode: default denies", XDP, &none, SLUICE_R_DENY_DEFAULT);
	judge_case_audited("audit mode: TCP stray", XDP, &stray, SLUICE_R_TCP_NO_FLOW);
	judge_case_audited("audit mode: at egress", EGRESS, &denied, SLUICE_R_DENY_RULE);
	judge_check("audit mode: rules count what they would have dropped", counted("no-telnet", 2, 2),
		    "counters differ");
	judge_check("audit mode: what is denied makes no flow", !judge_flow_count(), "there are %ld",
		    judge_flow_count());
}

/* ------------------------------------------------------------------- failsafe */

#define HOST4 "10.9.0.1"
#define HOST6 "fd09::1"

static const char failsafe_policy[] = "default: deny\nfailsafe: [tcp/22, udp/67-68, icmpv6/135]\n";

static const struct row failsafe_in[] = {
	{"ssh to this host", {.from = "10.1.0.1", .to = HOST4, SYN, .dport = 22}, PASSES(PASS_FAILSAFE)},
	{"ssh to this host, mid-stream",
	 {.from = "10.1.0.1", .to = HOST4, .tcp = TCP_F_ACK, .dport = 22},
	 PASSES(PASS_FAILSAFE)},
	{"ssh to this host, ipv6", {.from = "fd09::2", .to = HOST6, SYN, .dport = 22}, PASSES(PASS_FAILSAFE)},
	{"ssh to another host", {.from = "10.1.0.1", .to = "10.9.0.2", SYN, .dport = 22}, DROPS(DENY_DEFAULT)},
	{"ssh to another host, ipv6", {.from = "fd09::2", .to = "fd09::3", SYN, .dport = 22}, DROPS(DENY_DEFAULT)},
	{"other port of this host", {.from = "10.1.0.1", .to = HOST4, SYN, .dport = 23}, DROPS(DENY_DEFAULT)},
	{"from port 22", {.from = "10.1.0.1", .to = HOST4, SYN, .sport = 22, .dport = 99}, DROPS(DENY_DEFAULT)},
	{"DHCP broadcast",
	 {.from = "0.0.0.0", .to = "255.255.255.255", .sport = 68, .dport = 67},
	 PASSES(PASS_FAILSAFE)},
	{"neighbour solicitation to a group",
	 {.from = "fd09::2", .to = "ff02::1:ff00:1", .icmp = ICMP(135, 0)},
	 PASSES(PASS_FAILSAFE)},
	{"malformed comes first", {.from = "10.1.0.1", .to = HOST4, .tcp = TCP_F_NONE, .dport = 22}, DROPS(TCP_FLAGS)},
};

static const struct row failsafe_out[] = {
	{"ssh answer of this host",
	 {.from = HOST4, .to = "10.1.0.1", .tcp = TCP_F_ACK, .sport = 22, .dport = 999},
	 PASSES(PASS_FAILSAFE)},
	{"ssh request of this host", {.from = HOST4, .to = "10.1.0.1", SYN, .dport = 22}, DROPS(DENY_DEFAULT)},
	{"neighbour solicitation of this host",
	 {.from = HOST6, .to = "ff02::1:ff00:2", .icmp = ICMP(135, 0)},
	 PASSES(PASS_FAILSAFE)},
};

static void sysctl_set(const char *setting)
{
	char command[128];

	snprintf(command, sizeof(command), "sysctl -qw %s", setting);
	judge_check(setting, !system(command), "sysctl failed");
}

static void test_failsafe(void)
{
	judge_apply(failsafe_policy);
	sysctl_set("net.ipv4.ip_forward=1"); /* where nothing is forwarded everything is for this host */
	ROWS_RUN("failsafe in", XDP, failsafe_in);
	ROWS_RUN("failsafe in, tc", SLUICE_HOOK_TC_INGRESS, failsafe_in);
	ROWS_RUN("failsafe out", EGRESS, failsafe_out);
	judge_check("failsafe: makes no flow", !judge_flow_count(), "there are %ld", judge_flow_count());
	sysctl_set("net.ipv4.ip_forward=0");
	judge_case("failsafe: no router, all is for this host", XDP,
		   &(struct packet){.from = "10.1.0.1", .to = "10.9.0.2", SYN, .dport = 22}, PASSES(PASS_FAILSAFE));
	judge_apply("default: deny\nfailsafe: []\n");
	judge_case("failsafe: switched off", XDP, &failsafe_in[0].packet, DROPS(DENY_DEFAULT));
}

/* ------------------------------------------------------------------- egress */

static void test_egress(void)
{
	static const struct packet out = {.from = HOST4, .to = "10.2.0.1", SYN, .dport = 4420};
	static const struct packet denied = {.from = HOST4, .to = "10.2.0.1", SYN, .dport = 80};
	static const struct packet back = {
		.from = "10.2.0.1", .to = HOST4, .tcp = TCP_F_SYN | TCP_F_ACK, .sport = 4420, .dport = 40000};
	struct judge_outcome o;

	judge_apply("default: deny\nrules:\n  - {name: nvme, from: any, to: 10.2.0.0/16, service: tcp/4420, action: "
		    "allow}\n");
	judge_flows_clear();
	judge_case("egress: own packet, allowed", EGRESS, &out, PASSES(PASS_RULE));
	judge_case("egress: own packet, denied", EGRESS, &denied, DROPS(DENY_DEFAULT));
	judge_case("egress: its answer enters as of the flow", XDP, &back, PASSES(PASS_FLOW));
	o = judge_run_forwarded(judge_ifindex(), &denied);
	judge_check("egress: judged at the door, passes uncounted", !o.dropped && o.reason == SLUICE_REASON_COUNT,
		    "got %s (%s)", o.dropped ? "drop" : "pass", judge_reason(o.reason));
	o = judge_run_forwarded(1, &denied);
	judge_check("egress: came in by an unguarded interface, judged", o.dropped && o.reason == SLUICE_R_DENY_DEFAULT,
		    "got %s (%s)", o.dropped ? "drop" : "pass", judge_reason(o.reason));
}

/* ------------------------------------------------------------------- events */

struct seen {
	size_t count;
	struct sluice_event last;
};

static int event_take(void *arg, void *data, size_t size)
{
	struct seen *seen = arg;

	if (size != sizeof(seen->last))
		return -1;
	seen->count++;
	memcpy(&seen->last, data, size);
	return 0;
}

static void test_events(void)
{
	static const struct packet logged = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 1000, .payload = 10};
	static const struct packet silent = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 2000};
	static const struct packet rare = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 3000};
	struct ring_buffer *ring;
	struct seen seen = {};
	uint8_t source[16];

	judge_apply("default: allow\n"
		    "rules:\n"
		    "  - {name: logged, from: any, to: any, service: udp/1000, action: deny, log: true}\n"
		    "  - {name: silent, from: any, to: any, service: udp/2000, action: deny}\n"
		    "  - {name: rare, from: any, to: any, service: udp/3000, action: deny, log: {every: 1h}}\n");
	judge_flows_clear();
	ring = ring_buffer__new(judge_map("events"), event_take, &seen, NULL);
	ring_buffer__consume(ring);
	seen.count = 0;
	for (int i = 0; i < 5; i++)
		judge_run(XDP, &logged);
	ring_buffer__consume(ring);
	judge_check("events: one a packet", seen.count == 5, "%zu for 5 packets", seen.count);
	packet_address("10.1.0.1", source);
	judge_check("events: say what was judged",
		    !memcmp(seen.last.source, source, 16) && seen.last.dest_port == htons(1000) &&
			    seen.last.protocol == 17 && seen.last.reason == SLUICE_R_DENY_RULE &&
			    seen.last.verdict == SLUICE_DROP && !seen.last.audited &&
			    seen.last.ifindex == judge_ifindex() && seen.last.length == 14 + 20 + 8 + 10 &&
			    seen.last.vlan == SLUICE_VLAN_NONE && seen.last.hook == XDP,
		    "a field differs");
	seen.count = 0;
	for (int i = 0; i < 5; i++)
		judge_run(XDP, &silent);
	ring_buffer__consume(ring);
	judge_check("events: none without log", !seen.count, "%zu", seen.count);
	for (int i = 0; i < 5; i++)
		judge_run(XDP, &rare);
	ring_buffer__consume(ring);
	judge_check("events: one a period", seen.count == 1, "%zu in one hour", seen.count);
	ring_buffer__free(ring);
}

int main(void)
{
	judge_start("rules", 4096);
	/* Before there is a policy: routers are members of groups, and the kernel's reports of that would be counted. */
	sysctl_set("net.ipv6.conf.all.forwarding=1");
	judge_apply(first_policy);
	ROWS_RUN("first match", XDP, first);
	ROWS_RUN("first match, tc", SLUICE_HOOK_TC_INGRESS, first);
	judge_apply(default_policy);
	ROWS_RUN("default", XDP, defaults);
	test_stateless();
	test_audit_rules();
	test_audit_mode();
	test_failsafe();
	test_egress();
	test_events();
	return judge_end();
}
