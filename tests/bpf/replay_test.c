// SPDX-License-Identifier: Apache-2.0
/*
 * Replay: scripts of packets with times, written to a capture by libpcap, read back, and run through the private
 * instance. Times are the capture's, so that an hour passes in a microsecond. What is live here has a policy of its own
 * and must not notice.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/capture.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"

#include "capture_write.h"
#include "judge.h"

#define S  TCP_F_SYN
#define A  TCP_F_ACK
#define SA (TCP_F_SYN | TCP_F_ACK)
#define FA (TCP_F_FIN | TCP_F_ACK)

#define START_NS 1700000000000000000ull

struct step {
	const char *name;
	double seconds; /* after the start */
	struct packet packet;
	enum sluice_verdict verdict; /* what the policy says; audited: the packet passes all the same */
	enum sluice_reason reason;
	const char *rule; /* NULL: none, "default": the default */
	size_t keep;	  /* not 0: the capture has so many bytes of it */
	uint16_t tenant;
	bool audited;
	const char *counted; /* the audit rule that it matches on its way */
	bool runt;	     /* keep is all that the frame ever had */
};

struct script {
	const char *name;
	const char *policy;
	size_t interface;
	const char *hosts[3];
	const struct step *steps; /* ended by one without a name */
	uint64_t flows;		  /* live at the end */
};

#define REJECTS(r) SLUICE_REJECT, SLUICE_R_##r

/* ------------------------------------------------------------------- running a script */

static void steps_write(const struct step *steps, char **ret_bytes, size_t *ret_length)
{
	struct capture_writer *w = capture_write_begin(open_memstream(ret_bytes, ret_length));
	static struct frame frame;

	for (; steps->name; steps++) {
		packet_build(&frame, &steps->packet);
		capture_write(w, START_NS + (uint64_t)(steps->seconds * 1e9), frame.byte,
			      steps->keep ? steps->keep : frame.length, steps->runt ? steps->keep : frame.length);
	}
	capture_write_end(w);
}

struct run {
	struct policy *policy;
	struct policy_tables *tables;
	struct dataplane_replay *replay;
	struct capture *capture;
	char *bytes;
};

static void run_end(struct run *r)
{
	capture_close(r->capture);
	dataplane_replay_close(r->replay);
	policy_tables_free(r->tables);
	policy_free(r->policy);
	free(r->bytes);
}

/* Whether or not the language has `action: reject`, the tables do. */
static void tables_reject(struct policy_tables *t, const char *rule)
{
	size_t i;

	for (i = 0; i < t->n_rules; i++)
		if (!strcmp(t->rules[i].name, rule))
			t->rules[i].action = SLUICE_ACTION_REJECT;
}

static bool run_begin(const struct script *s, struct run *r)
{
	struct dataplane_replay_options options = {.interface = s->interface};
	struct policy_diagnostics diagnostics = {};
	struct error err = {};
	uint8_t hosts[3][16];
	size_t length;
	int e;

	for (; options.n_hosts < 3 && s->hosts[options.n_hosts]; options.n_hosts++)
		packet_address(s->hosts[options.n_hosts], hosts[options.n_hosts]);
	steps_write(s->steps, &r->bytes, &length);
	e = policy_load_text("replay.yaml", s->policy, strlen(s->policy), &diagnostics, &r->policy);
	policy_diagnostics_print(&diagnostics, stdout);
	policy_diagnostics_done(&diagnostics);
	if (!e)
		e = policy_compile(r->policy, &err, &r->tables);
	if (!e)
		tables_reject(r->tables, "answer");
	options.policy = r->policy;
	options.tables = r->tables;
	options.hosts = hosts;
	if (!e)
		e = dataplane_replay_open(&options, &err, &r->replay);
	if (!e)
		e = capture_open_stream(fmemopen(r->bytes, length, "r"), "script.pcap", &err, &r->capture);
	judge_check(s->name, !e, "cannot begin: %s", err.text);
	return !e;
}

static const char *rule_name(const struct run *run, uint32_t slot)
{
	if (slot >= run->tables->n_rules)
		return NULL;
	return slot == run->tables->n_rules - 1 ? "default" : run->tables->rules[slot].name;
}

static void step_judge(const struct run *run, const struct script *s, const struct step *step)
{
	struct sluice_replay_result r = {};
	struct capture_packet p = {};
	struct error err = {};
	const char *rule, *counted;
	char name[160];
	int e = capture_next(run->capture, &err, &p);

	snprintf(name, sizeof(name), "%s: %s", s->name, step->name);
	if (e == 1)
		e = dataplane_replay_packet(run->replay,
					    &(struct dataplane_replay_packet){.time_ns = p.time_ns,
									      .frame = p.frame,
									      .length = p.length,
									      .wire_length = p.wire_length},
					    &err, &r);
	else
		e = -1;
	rule = rule_name(run, r.slot);
	counted = r.n_audits == 1 ? rule_name(run, r.audits[0]) : r.n_audits ? "(several)" : "";
	judge_check(name,
		    !e && r.verdict == step->verdict && r.reason == step->reason && r.audited == step->audited &&
			    r.tenant == step->tenant && !strcmp(counted, step->counted ? step->counted : "") &&
			    (!rule || !step->rule ? rule == step->rule : !strcmp(rule, step->rule)),
		    "verdict %u, %s, rule %s, counted by '%s', tenant %u%s %s; expected %u, %s, rule %s", r.verdict,
		    judge_reason((enum sluice_reason)r.reason), rule ? rule : "(none)", counted, r.tenant,
		    r.audited ? ", audited" : "", err.text, step->verdict, judge_reason(step->reason),
		    step->rule ? step->rule : "(none)");
}

static void script_run(const struct script *s)
{
	_cleanup_(run_end) struct run run = {};
	const struct step *step;
	struct error err = {};
	uint64_t flows = 0;
	char name[160];
	int r;

	if (!run_begin(s, &run))
		return;
	for (step = s->steps; step->name; step++)
		step_judge(&run, s, step);
	r = dataplane_replay_flows(run.replay, &err, &flows);
	snprintf(name, sizeof(name), "%s: flows at the end", s->name);
	judge_check(name, !r && flows == s->flows, "%llu, expected %llu; %s", (unsigned long long)flows,
		    (unsigned long long)s->flows, err.text);
}

/* ------------------------------------------------------------------- scripts */

#define HEAD "sluice: 1\nname: replay\ninterfaces: [{name: wire}]\ndefault: deny\nfailsafe: []\n"
#define RULES                                                                                                          \
	"rules:\n"                                                                                                     \
	"  - {name: web, from: [10.1.0.0/16, \"fd01::/32\"], to: [10.2.0.0/16, \"fd02::/32\"], "                       \
	"service: [tcp/443, udp/53, udp/443, icmp/echo-request, icmpv6/echo-request], action: allow}\n"                \
	"  - {name: alone, from: 10.1.0.0/16, to: 10.3.0.0/16, service: udp/9, action: allow, stateful: false}\n"      \
	"  - {name: no-ssh, from: any, to: any, service: tcp/22, action: deny}\n"                                      \
	"  - {name: answer, from: any, to: any, service: tcp/113, action: deny}\n"

#define C4 "10.1.0.1"
#define S4 "10.2.0.1"
#define C6 "fd01::1"
#define S6 "fd02::1"

#define OUT4 .from = C4, .to = S4
#define IN4  .from = S4, .to = C4
#define OUT6 .from = C6, .to = S6
#define IN6  .from = S6, .to = C6

#define QUERY                                                                                                          \
	{                                                                                                              \
		OUT4, .dport = 53, .payload = 20                                                                       \
	}
#define QUERY6                                                                                                         \
	{                                                                                                              \
		OUT6, .dport = 53, .payload = 20                                                                       \
	}

static const struct packet query = QUERY;
static const struct packet query6 = QUERY6;

static const struct step both_directions[] = {
	{"SYN", 0, {OUT4, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "web"},
	{"SYN+ACK", 0.001, {IN4, .tcp = SA, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{"ACK", 0.002, {OUT4, .tcp = A, .dport = 443, .payload = 100}, PASSES(PASS_FLOW), .rule = "web"},
	{"a port of nobody", 0.003, {OUT4, .tcp = S, .dport = 80}, DROPS(DENY_DEFAULT), .rule = "default"},
	{"a rule that denies", 0.004, {OUT4, .tcp = S, .dport = 22}, DROPS(DENY_RULE), .rule = "no-ssh"},
	{"a rule that rejects", 0.005, {OUT4, .tcp = S, .dport = 113}, REJECTS(DENY_RULE), .rule = "answer"},
	{"the other way round", 0.006, {IN4, .tcp = S, .dport = 443}, DROPS(DENY_DEFAULT), .rule = "default"},
	{"IPv6 query", 0.007, {OUT6, .dport = 53}, PASSES(PASS_RULE), .rule = "web"},
	{"IPv6 answer", 0.008, {IN6, .sport = 53, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{"ping", 0.009, {OUT4, .icmp = ICMP(8, 0), .icmp_id = 7}, PASSES(PASS_RULE), .rule = "web"},
	{"pong", 0.010, {IN4, .icmp = ICMP(0, 0), .icmp_id = 7}, PASSES(PASS_FLOW), .rule = "web"},
	{"stateless", 0.011, {.from = C4, .to = "10.3.0.1", .dport = 9}, PASSES(PASS_RULE), .rule = "alone"},
	{"stateless has no answer",
	 0.012,
	 {.from = "10.3.0.1", .to = C4, .sport = 9, .dport = 40000},
	 DROPS(DENY_DEFAULT),
	 .rule = "default"},
	{"malformed", 0.013, {OUT4, .tcp = TCP_F_NONE, .dport = 443}, DROPS(TCP_FLAGS), .rule = NULL},
	{"ARP", 0.014, {.ethertype = 0x0806}, PASSES(PASS_LINK), .rule = NULL},
	{"IPX", 0.015, {.ethertype = 0x8137}, DROPS(DENY_NON_IP), .rule = NULL},
	{},
};

static const struct step icmp_errors[] = {
	{"no flow yet", 0, {IN4, .icmp = ICMP(3, 1), .quote = &query}, DROPS(ICMP_UNRELATED), .rule = NULL},
	{"query", 1, QUERY, PASSES(PASS_RULE), .rule = "web"},
	{"unreachable", 1.1, {IN4, .icmp = ICMP(3, 1), .quote = &query}, PASSES(PASS_ICMP_RELATED), .rule = "web"},
	{"from a router",
	 1.2,
	 {.from = "10.9.9.9", .to = C4, .icmp = ICMP(11, 0), .quote = &query},
	 PASSES(PASS_ICMP_RELATED),
	 .rule = "web"},
	{"to somebody else",
	 1.3,
	 {.from = S4, .to = "10.1.0.9", .icmp = ICMP(3, 1), .quote = &query},
	 DROPS(ICMP_UNRELATED),
	 .rule = NULL},
	{"IPv6 query", 2, QUERY6, PASSES(PASS_RULE), .rule = "web"},
	{"IPv6 too big", 2.1, {IN6, .icmp = ICMP(2, 0), .quote = &query6}, PASSES(PASS_ICMP_RELATED), .rule = "web"},
	{"after the flow has ended",
	 40,
	 {IN4, .icmp = ICMP(3, 1), .quote = &query},
	 DROPS(ICMP_UNRELATED),
	 .rule = NULL},
	{},
};

/* udp 30 s, answered 180 s, tcp established 1 h, closing 10 s; pickup is over at once. */
static const struct step expiry[] = {
	{"query", 0, QUERY, PASSES(PASS_RULE), .rule = "web"},
	{"29.999999 s later", 29.999999, QUERY, PASSES(PASS_FLOW), .rule = "web"},
	{"its time counts anew", 59.999998, QUERY, PASSES(PASS_FLOW), .rule = "web"},
	{"30 s after that it is new", 89.999998, QUERY, PASSES(PASS_RULE), .rule = "web"},
	{"answered", 100, {IN4, .sport = 53, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{"an answered one lasts longer", 279, QUERY, PASSES(PASS_FLOW), .rule = "web"},
	{"but not for ever", 459, {IN4, .sport = 53, .dport = 40000}, DROPS(DENY_DEFAULT), .rule = "default"},
	{"SYN", 1000, {OUT4, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "web"},
	{"SYN+ACK", 1000.1, {IN4, .tcp = SA, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{"ACK", 1000.2, {OUT4, .tcp = A, .dport = 443}, PASSES(PASS_FLOW), .rule = "web"},
	{"almost an hour later", 4600, {OUT4, .tcp = A, .dport = 443}, PASSES(PASS_FLOW), .rule = "web"},
	{"FIN", 4601, {OUT4, .tcp = FA, .dport = 443}, PASSES(PASS_FLOW), .rule = "web"},
	{"still closing", 4610, {IN4, .tcp = FA, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{"closed", 4620, {OUT4, .tcp = A, .dport = 443}, DROPS(TCP_NO_FLOW), .rule = NULL},
	{"a clock that goes back stands still", 10, {OUT4, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "web"},
	{"and goes on", 4620.5, {IN4, .tcp = SA, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{},
};

static const struct step pickup[] = {
	{"first packet of all", 0, {.ethertype = 0x0806}, PASSES(PASS_LINK), .rule = NULL},
	{"a stray as if it had opened", 29, {OUT4, .tcp = A, .dport = 443}, PASSES(PASS_RULE), .rule = "web"},
	{"is a flow", 29.5, {IN4, .tcp = A, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "web"},
	{"a stray answer", 29.6, {IN4, .tcp = A, .sport = 443, .dport = 40001}, PASSES(PASS_RULE), .rule = "web"},
	{"too late", 30, {OUT4, .tcp = A, .sport = 40002, .dport = 443}, DROPS(TCP_NO_FLOW), .rule = NULL},
	{},
};

#define FRAGMENT(id, offset, ...)                                                                                      \
	OUT4, .dport = 443, .fragment_id = id, .fragment_offset = offset, .payload = 64, __VA_ARGS__

static const struct step fragments[] = {
	{"later first", 0, {FRAGMENT(1, 72, .protocol = 17)}, DROPS(FRAGMENT_UNKNOWN), .rule = NULL},
	{"first", 1, {FRAGMENT(1, 0, .more_fragments = 1)}, PASSES(PASS_RULE), .rule = "web"},
	{"later", 1.1, {FRAGMENT(1, 72, .protocol = 17)}, PASSES(PASS_FRAGMENT), .rule = "web"},
	{"of another datagram", 1.2, {FRAGMENT(2, 72, .protocol = 17)}, DROPS(FRAGMENT_UNKNOWN), .rule = NULL},
	{"30 s later", 31, {FRAGMENT(1, 144, .protocol = 17)}, PASSES(PASS_FRAGMENT), .rule = "web"},
	{"and a bit", 31.000001, {FRAGMENT(1, 144, .protocol = 17)}, DROPS(FRAGMENT_UNKNOWN), .rule = NULL},
	{"first that is denied",
	 32,
	 {OUT4, .dport = 9, .fragment_id = 3, .more_fragments = 1, .payload = 64},
	 DROPS(DENY_DEFAULT),
	 .rule = "default"},
	{"later of it", 32.1, {FRAGMENT(3, 72, .protocol = 17)}, DROPS(DENY_DEFAULT), .rule = "default"},
	{},
};

#define TENANTS                                                                                                        \
	"sluice: 1\nname: tenants\ndefault: deny\nfailsafe: []\ntenants: [red, blue]\n"                                \
	"interfaces:\n"                                                                                                \
	"  - {name: trunk, vlans: {100: red, 101: blue}, antispoof: [inside]}\n"                                       \
	"  - {name: access, tenant: blue}\n"                                                                           \
	"segments: {inside: [10.0.0.0/8]}\n"                                                                           \
	"rules:\n"                                                                                                     \
	"  - {name: red-web, tenant: red, from: any, to: any, service: tcp/443, action: allow}\n"                      \
	"  - {name: blue-web, tenant: blue, from: any, to: any, service: tcp/80, action: allow}\n"

static const struct step trunk[] = {
	{"red may", 0, {OUT4, .vlan = 100, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "red-web", .tenant = 1},
	{"the same ends in blue may not",
	 0.1,
	 {OUT4, .vlan = 101, .tcp = S, .dport = 443},
	 DROPS(DENY_DEFAULT),
	 .rule = "default",
	 .tenant = 2},
	{"blue's answer is no answer in red",
	 0.2,
	 {IN4, .vlan = 101, .tcp = SA, .sport = 443, .dport = 40000},
	 DROPS(DENY_DEFAULT),
	 .rule = "default",
	 .tenant = 2},
	{"red's answer",
	 0.3,
	 {IN4, .vlan = 100, .tcp = SA, .sport = 443, .dport = 40000},
	 PASSES(PASS_FLOW),
	 .rule = "red-web",
	 .tenant = 1},
	{"a VLAN of nobody", 0.4, {OUT4, .vlan = 102, .tcp = S, .dport = 443}, DROPS(UNKNOWN_TENANT), .rule = NULL},
	{"the host's own", 0.5, {OUT4, .tcp = S, .dport = 443}, DROPS(DENY_DEFAULT), .rule = "default"},
	{"a forged source",
	 0.6,
	 {.from = "192.0.2.1", .to = S4, .vlan = 100, .tcp = S, .dport = 443},
	 DROPS(ANTISPOOF),
	 .rule = NULL,
	 .tenant = 1},
	{},
};

static const struct step access_port[] = {
	{"untagged is blue's", 0, {OUT4, .tcp = S, .dport = 80}, PASSES(PASS_RULE), .rule = "blue-web", .tenant = 2},
	{"any source",
	 0.1,
	 {.from = "192.0.2.1", .to = S4, .tcp = S, .dport = 80},
	 PASSES(PASS_RULE),
	 .rule = "blue-web",
	 .tenant = 2},
	{"no VLANs here", 0.2, {OUT4, .vlan = 100, .tcp = S, .dport = 443}, DROPS(UNKNOWN_TENANT), .rule = NULL},
	{},
};

static const struct step audit[] = {
	{"allowed", 0, {OUT4, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "web"},
	{"denied by a rule", 0.1, {OUT4, .tcp = S, .dport = 22}, DROPS(DENY_RULE), .rule = "no-ssh", .audited = true},
	{"rejected", 0.2, {OUT4, .tcp = S, .dport = 113}, REJECTS(DENY_RULE), .rule = "answer", .audited = true},
	{"denied by default",
	 0.3,
	 {OUT4, .tcp = S, .dport = 80},
	 DROPS(DENY_DEFAULT),
	 .rule = "default",
	 .audited = true},
	{"malformed", 0.4, {OUT4, .tcp = TCP_F_NONE, .dport = 443}, DROPS(TCP_FLAGS), .rule = NULL, .audited = true},
	{"less than a header",
	 0.5,
	 {OUT4, .tcp = S, .dport = 443},
	 DROPS(SHORT),
	 .rule = NULL,
	 .keep = 10,
	 .runt = true,
	 .audited = true},
	{},
};

#define TRIED                                                                                                          \
	HEAD "rules:\n"                                                                                                \
	     "  - {name: tried, from: any, to: any, service: udp/53, action: deny, mode: audit}\n"                     \
	     "  - {name: dns, from: any, to: any, service: udp/53, action: allow}\n"                                   \
	     "  - {name: after, from: any, to: any, action: deny, mode: audit}\n"

static const struct step audit_rules[] = {
	{"matches two rules", 0, QUERY, PASSES(PASS_RULE), .rule = "dns", .counted = "tried"},
	{"its flow is not asked again", 1, QUERY, PASSES(PASS_FLOW), .rule = "dns"},
	{"matches the last", 2, {OUT4, .dport = 54}, DROPS(DENY_DEFAULT), .rule = "default", .counted = "after"},
	{},
};

#define OWN                                                                                                            \
	"sluice: 1\nname: own\ninterfaces: [{name: wire, antispoof: [outside]}]\ndefault: deny\nfailsafe: [tcp/22]\n"  \
	"conntrack: {pickup: 0s}\nsegments: {outside: [10.1.0.0/16, \"fd01::/32\"]}\n"                                 \
	"rules: [{name: out, from: 10.2.0.1, to: any, service: tcp/443, action: allow}]\n"

#define WIRED                                                                                                          \
	"sluice: 1\nname: wired\ninterfaces: [{name: p0, wire: p1}]\ndefault: deny\nfailsafe: [tcp/22]\n"             \
	"rules: [{name: out, from: any, to: any, service: tcp/443, action: allow}]\n"

/* A capture taken at one end of a wire: both directions, nothing for this host. */
static const struct step wired[] = {
	{"ssh is not for this host", 0, {OUT4, .tcp = S, .dport = 22}, DROPS(DENY_DEFAULT), .rule = "default"},
	{"SYN", 0.1, {OUT4, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "out"},
	{"SYN+ACK", 0.2, {IN4, .tcp = SA, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "out"},
	{"ARP", 0.3, {.ethertype = 0x0806}, PASSES(PASS_LINK), .rule = NULL},
	{},
};

static const struct step own_known[] = {
	{"ssh to this host", 0, {OUT4, .tcp = S, .dport = 22}, PASSES(PASS_FAILSAFE), .rule = NULL},
	{"its answer leaves", 0.1, {IN4, .tcp = SA, .sport = 22, .dport = 40000}, PASSES(PASS_FAILSAFE), .rule = NULL},
	{"ssh to another host",
	 0.2,
	 {.from = C4, .to = "10.2.0.2", .tcp = S, .dport = 22},
	 DROPS(DENY_DEFAULT),
	 .rule = "default"},
	{"ssh to this host's other address", 0.3, {OUT6, .tcp = S, .dport = 22}, PASSES(PASS_FAILSAFE), .rule = NULL},
	{"its answer", 0.4, {IN6, .tcp = SA, .sport = 22, .dport = 40000}, PASSES(PASS_FAILSAFE), .rule = NULL},
	{"this host opens", 0.5, {IN4, .tcp = S, .dport = 443}, PASSES(PASS_RULE), .rule = "out"},
	{"and is answered", 0.6, {OUT4, .tcp = SA, .sport = 443, .dport = 40000}, PASSES(PASS_FLOW), .rule = "out"},
	{"tagged, it leaves too", 0.7, {IN4, .vlan = 5, .tcp = S, .dport = 443}, DROPS(UNKNOWN_TENANT), .rule = NULL},
	{"a forged source enters",
	 0.8,
	 {.from = "10.2.0.2", .to = S4, .tcp = S, .dport = 443},
	 DROPS(ANTISPOOF),
	 .rule = NULL},
	{"a long frame leaves", 0.9, {IN4, .tcp = A, .dport = 443, .payload = 60000}, PASSES(PASS_FLOW), .rule = "out"},
	{},
};

static const struct step own_unknown[] = {
	{"ssh to anybody", 0, {OUT4, .tcp = S, .dport = 22}, PASSES(PASS_FAILSAFE), .rule = NULL},
	{"ssh to anybody else",
	 0.1,
	 {.from = C4, .to = "10.2.0.2", .tcp = S, .dport = 22},
	 PASSES(PASS_FAILSAFE),
	 .rule = NULL},
	{"all packets enter", 0.2, {IN4, .tcp = S, .dport = 443}, DROPS(ANTISPOOF), .rule = NULL},
	{},
};

#define HEADERS_4 (14 + 20 + 20)

static const struct step truncated[] = {
	{"payload missing", 0, {OUT4, .dport = 443, .payload = 1400}, PASSES(PASS_RULE), .rule = "web", .keep = 60},
	{"all but the headers missing",
	 0.1,
	 {OUT4, .tcp = S, .dport = 443, .payload = 60000},
	 PASSES(PASS_RULE),
	 .rule = "web",
	 .keep = HEADERS_4},
	{"IPv6",
	 0.2,
	 {OUT6, .tcp = S, .dport = 443, .payload = 1000},
	 PASSES(PASS_RULE),
	 .rule = "web",
	 .keep = 14 + 40 + 20},
	{"a header cut",
	 0.3,
	 {OUT4, .tcp = S, .dport = 443, .payload = 100},
	 DROPS(SHORT),
	 .rule = NULL,
	 .keep = HEADERS_4 - 1},
	{"no Ethernet header", 0.4, {OUT4, .tcp = S, .dport = 443}, DROPS(SHORT), .rule = NULL, .keep = 13},
	{"an Ethernet header", 0.5, {OUT4, .tcp = S, .dport = 443}, DROPS(SHORT), .rule = NULL, .keep = 14},
	{"a whole super-frame",
	 0.6,
	 {OUT4, .tcp = A, .dport = 443, .payload = 65000},
	 PASSES(PASS_FLOW),
	 .rule = "web"},
	{"a frame longer than IPv4 can say",
	 0.7,
	 {OUT4, .tcp = A, .dport = 443, .payload = 69000},
	 PASSES(PASS_FLOW),
	 .rule = "web"},
	{"a length field that lies",
	 0.8,
	 {OUT4, .dport = 443, .payload = 100},
	 DROPS(IP_LENGTH),
	 .rule = NULL,
	 .keep = 100,
	 .runt = true},
	{},
};

/* 64 flows fit (the least a policy may say); 30 s later they have ended, unmet by any packet. */
#define FULL 64

static struct step full[FULL + 6] = {
	[FULL] = {"full", 1, {OUT4, .sport = 1, .dport = 53}, DROPS(CONNTRACK_FULL), .rule = NULL},
	{"still full", 29.9, {OUT4, .sport = 1, .dport = 53}, DROPS(CONNTRACK_FULL), .rule = NULL},
	{"room for one", 30, {OUT4, .sport = 1, .dport = 53}, PASSES(PASS_RULE), .rule = "web"},
	{"and no more", 30, {OUT4, .sport = 2, .dport = 53}, DROPS(CONNTRACK_FULL), .rule = NULL},
	{"room for all", 31, {OUT4, .sport = 2, .dport = 53}, PASSES(PASS_RULE), .rule = "web"},
	{},
};

static struct step full_stateless[FULL + 5] = {
	[FULL] = {"full", 1, {OUT4, .sport = 1, .dport = 53}, PASSES(PASS_RULE), .rule = "web"},
	{"no flow, no answer", 1.1, {IN4, .sport = 53, .dport = 1}, DROPS(DENY_DEFAULT), .rule = "default"},
	{"room for one", 30, {OUT4, .sport = 1, .dport = 53}, PASSES(PASS_RULE), .rule = "web"},
	{"which has an answer", 30.1, {IN4, .sport = 53, .dport = 1}, PASSES(PASS_FLOW), .rule = "web"},
	{},
};

static void full_fill(struct step *steps)
{
	static char name[FULL][32];
	size_t i;

	for (i = 0; i < FULL; i++) {
		snprintf(name[i], sizeof(name[i]), "flow %zu", i + 1);
		steps[i] = (struct step){name[i], 0.001 * (double)i, QUERY, PASSES(PASS_RULE), .rule = "web"};
		steps[i].packet.sport = (uint16_t)(1000 + i);
	}
}

static const struct script scripts[] = {
	{"both directions", HEAD RULES, .steps = both_directions, .flows = 3},
	{"ICMP errors", HEAD RULES, .steps = icmp_errors},
	{"expiry", HEAD "conntrack: {pickup: 0s}\n" RULES, .steps = expiry, .flows = 1},
	{"pickup", HEAD RULES, .steps = pickup, .flows = 2},
	{"fragments", HEAD RULES, .steps = fragments},
	{"trunk", TENANTS, .steps = trunk, .flows = 1},
	{"access", TENANTS, .interface = 1, .steps = access_port, .flows = 2},
	{"audit", "mode: audit\n" HEAD RULES, .steps = audit, .flows = 1},
	{"audit rules", TRIED, .steps = audit_rules, .flows = 1},
	{"host known", OWN, .hosts = {S4, S6}, .steps = own_known, .flows = 1},
	{"host unknown", OWN, .steps = own_unknown},
	{"wire", WIRED, .steps = wired, .flows = 1},
	{"truncated", HEAD RULES, .steps = truncated, .flows = 3},
	{"full table", HEAD "conntrack: {max: 64}\n" RULES, .steps = full, .flows = 2},
	{"on-full: stateless", HEAD "conntrack: {max: 64, on-full: stateless}\n" RULES, .steps = full_stateless,
	 .flows = 1},
};

/* ------------------------------------------------------------------- what is live */

static unsigned int entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* Real time passes, capture time does not: the flow stays. */
static void real_time_is_nothing(void)
{
	static const struct step steps[] = {
		{"query", 0, QUERY, PASSES(PASS_RULE), .rule = "web"},
		{"10 ms of real time later", 0.0009, QUERY, PASSES(PASS_FLOW), .rule = "web"},
		{"1 ms of capture time later", 0.002, QUERY, PASSES(PASS_RULE), .rule = "web"},
		{}};
	const struct script s = {"real time", HEAD "conntrack: {udp: 1ms}\n" RULES, .steps = steps, .flows = 1};
	_cleanup_(run_end) struct run run = {};
	uint64_t until;

	if (!run_begin(&s, &run))
		return;
	step_judge(&run, &s, &steps[0]);
	for (until = time_now_ns() + 10 * 1000000; time_now_ns() < until;)
		;
	step_judge(&run, &s, &steps[1]);
	step_judge(&run, &s, &steps[2]);
}

static void check_live(void)
{
	const struct packet ping = {.from = "10.9.0.9", .to = "10.9.0.1", .icmp = ICMP(8, 0), .icmp_id = 1};
	struct sluice_rule_counter counter;

	judge_case("the live policy drops as before", SLUICE_HOOK_XDP, &ping, DROPS(DENY_RULE));
	counter = judge_rule("live");
	judge_check("and has counted nothing else", counter.packets == 1 && !judge_flow_count(),
		    "%llu packets, %ld flows", (unsigned long long)counter.packets, judge_flow_count());
}

int main(void)
{
	unsigned int pins;
	size_t i;

	judge_start("replay", 64);
	full_fill(full);
	full_fill(full_stateless);
	script_run(&scripts[0]); /* nothing is live yet */
	judge_check("no pin with nothing live", !entries("/sys/fs/bpf/sluice-test-replay"), "there is a folder");
	judge_apply("default: deny\nrules: [{name: live, from: 10.9.0.9, to: any, action: deny}]\n");
	pins = entries("/sys/fs/bpf");
	for (i = 0; i < ARRAY_SIZE(scripts); i++)
		script_run(&scripts[i]);
	real_time_is_nothing();
	judge_check("no pin", entries("/sys/fs/bpf") == pins, "%u entries, before %u", entries("/sys/fs/bpf"), pins);
	check_live();
	return judge_end();
}
