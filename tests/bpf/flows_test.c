// SPDX-License-Identifier: Apache-2.0
/*
 * Flows: what makes one, what follows it, what ends it. TCP, UDP, ICMP and its errors, both address families, policy
 * changes under live flows, pickup of connections older than sluice, a full table, and expiry by the kernel's own
 * timers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#include "judge.h"

#define XDP SLUICE_HOOK_XDP

#define MAX_FLOWS 64

#define S  TCP_F_SYN
#define A  TCP_F_ACK
#define SA (TCP_F_SYN | TCP_F_ACK)
#define FA (TCP_F_FIN | TCP_F_ACK)
#define RS TCP_F_RST

/* The two ends of every conversation here, once in each family. */
struct ends {
	const char *family;
	const char *client;
	const char *server;
};

static const struct ends ends[] = {
	{"ipv4", "10.1.0.1", "10.2.0.1"},
	{"ipv4, server below", "10.3.0.1", "10.2.0.1"},
	{"ipv6", "fd01::1", "fd02::1"},
	{"ipv6, server below", "fd03::1", "fd02::1"},
};

#define N_ENDS ARRAY_SIZE(ends)

static struct packet there(const struct ends *e, uint16_t tcp)
{
	return (struct packet){.from = e->client, .to = e->server, .tcp = tcp, .dport = 4420};
}

static struct packet back(const struct ends *e, uint16_t tcp)
{
	return (struct packet){.from = e->server, .to = e->client, .tcp = tcp, .sport = 4420, .dport = 40000};
}

static const char *label(const struct ends *e, const char *what)
{
	static char text[8][160];
	static int turn;

	turn = (turn + 1) % 8;
	snprintf(text[turn], sizeof(text[turn]), "%s: %s", e->family, what);
	return text[turn];
}

/* Servers take tcp/4420, udp/53 and pings from clients; the other way round nothing is allowed. */
#define RULES                                                                                                          \
	"segments:\n"                                                                                                  \
	"  clients: [10.1.0.0/16, 10.3.0.0/16, \"fd01::/32\", \"fd03::/32\"]\n"                                        \
	"  servers: [10.2.0.0/16, \"fd02::/32\"]\n"                                                                    \
	"rules:\n"                                                                                                     \
	"  - name: service\n"                                                                                          \
	"    from: clients\n"                                                                                          \
	"    to: servers\n"                                                                                            \
	"    service: [tcp/4420, udp/53, icmp/echo-request, icmpv6/echo-request]\n"                                    \
	"    action: allow\n"

static const char base_policy[] = "default: deny\nfailsafe: []\nconntrack: {pickup: 0s}\n" RULES;

/* ------------------------------------------------------------------- TCP */

struct step {
	const char *name;
	bool from_server;
	uint16_t tcp;
	enum sluice_verdict verdict;
	enum sluice_reason reason;
};

static const struct step tcp_life[] = {
	{"no-flow: ACK before any SYN", false, A, DROPS(TCP_NO_FLOW)},
	{"no-flow: SYN+ACK before any SYN", false, SA, DROPS(TCP_NO_FLOW)},
	{"no-flow: FIN+ACK before any SYN", false, FA, DROPS(TCP_NO_FLOW)},
	{"no-flow: RST before any SYN", false, RS, DROPS(TCP_NO_FLOW)},
	{"server cannot open", true, S, DROPS(DENY_DEFAULT)},
	{"SYN opens", false, S, PASSES(PASS_RULE)},
	{"SYN again", false, S, PASSES(PASS_FLOW)},
	{"SYN+ACK follows", true, SA, PASSES(PASS_FLOW)},
	{"ACK follows", false, A, PASSES(PASS_FLOW)},
	{"data back", true, A | TCP_F_PSH, PASSES(PASS_FLOW)},
	{"data there", false, A | TCP_F_PSH, PASSES(PASS_FLOW)},
	{"FIN", false, FA, PASSES(PASS_FLOW)},
	{"data in the half-closed connection", true, A | TCP_F_PSH, PASSES(PASS_FLOW)},
	{"FIN back", true, FA, PASSES(PASS_FLOW)},
	{"last ACK", false, A, PASSES(PASS_FLOW)},
	{"SYN on the closed connection opens anew", false, S, PASSES(PASS_RULE)},
	{"RST", true, RS | A, PASSES(PASS_FLOW)},
	{"SYN after RST opens anew", false, S, PASSES(PASS_RULE)},
};

static void test_tcp_life(const struct ends *e)
{
	judge_flows_clear();
	for (size_t i = 0; i < ARRAY_SIZE(tcp_life); i++) {
		struct packet p = tcp_life[i].from_server ? back(e, tcp_life[i].tcp) : there(e, tcp_life[i].tcp);

		judge_case(label(e, tcp_life[i].name), XDP, &p, tcp_life[i].verdict, tcp_life[i].reason);
	}
	judge_check(label(e, "one flow, counted once"), judge_flow_count() == 1, "%ld flows are counted",
		    judge_flow_count());
}

static void test_tcp_facts(const struct ends *e)
{
	struct packet syn = there(e, S), synack = back(e, SA), ack = there(e, A), other = there(e, A);
	struct dataplane_flow flow;
	uint32_t shook =
		SLUICE_FLOW_SYN(0) | SLUICE_FLOW_SYN(1) | SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1) | SLUICE_FLOW_REPLIED;

	judge_flows_clear();
	judge_run(XDP, &syn);
	judge_run(XDP, &synack);
	judge_run(XDP, &ack);
	judge_check(label(e, "flow is there under its key"), judge_flow(&syn, 0, &flow), "it is not");
	judge_check(label(e, "handshake is seen"), (flow.seen & ~SLUICE_FLOW_SECOND) == shook,
		    "seen %#x, expected %#x", flow.seen, shook);
	judge_check(label(e, "both directions are counted"),
		    flow.side[0].packets == 2 && flow.side[1].packets == 1 &&
			    flow.side[0].bytes == 2 * flow.side[1].bytes,
		    "%llu there, %llu back", (unsigned long long)flow.side[0].packets,
		    (unsigned long long)flow.side[1].packets);
	judge_check(label(e, "key finds the other direction too"), judge_flow(&synack, 0, NULL), "it does not");
	other.sport = 40001;
	judge_case(label(e, "no-flow: same addresses, other port"), XDP, &other, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "flow is followed at TC ingress"), SLUICE_HOOK_TC_INGRESS, &ack, PASSES(PASS_FLOW));
	judge_case(label(e, "flow is followed at TC egress"), SLUICE_HOOK_TC_EGRESS, &synack, PASSES(PASS_FLOW));
}

/* ------------------------------------------------------------------- UDP, ICMP */

static void test_udp(const struct ends *e)
{
	struct packet q = {.from = e->client, .to = e->server, .dport = 53, .payload = 9};
	struct packet a = {.from = e->server, .to = e->client, .sport = 53, .dport = 40000, .payload = 9};
	struct dataplane_flow flow;

	judge_flows_clear();
	judge_case(label(e, "udp: answer before the question"), XDP, &a, DROPS(DENY_DEFAULT));
	judge_case(label(e, "udp: question"), XDP, &q, PASSES(PASS_RULE));
	judge_check(label(e, "udp: not yet answered"), judge_flow(&q, 0, &flow) && !(flow.seen & SLUICE_FLOW_REPLIED),
		    "seen");
	judge_case(label(e, "udp: answer"), XDP, &a, PASSES(PASS_FLOW));
	judge_check(label(e, "udp: answered"), judge_flow(&q, 0, &flow) && (flow.seen & SLUICE_FLOW_REPLIED),
		    "not seen");
}

static bool is6(const struct ends *e)
{
	return strchr(e->client, ':');
}

static void test_echo(const struct ends *e)
{
	int request = is6(e) ? ICMP(128, 0) : ICMP(8, 0), reply = is6(e) ? ICMP(129, 0) : ICMP(0, 0);
	struct packet q = {.from = e->client, .to = e->server, .icmp = request, .icmp_id = 77};
	struct packet a = {.from = e->server, .to = e->client, .icmp = reply, .icmp_id = 77};

	judge_flows_clear();
	judge_case(label(e, "echo: reply before the request"), XDP, &a, DROPS(DENY_DEFAULT));
	judge_case(label(e, "echo: request"), XDP, &q, PASSES(PASS_RULE));
	judge_case(label(e, "echo: reply"), XDP, &a, PASSES(PASS_FLOW));
	a.icmp_id = 78;
	judge_case(label(e, "echo: reply with another identifier"), XDP, &a, DROPS(DENY_DEFAULT));
}

/* An error from a router on the way, quoting what the server has sent to the client or the client to the server. */
/* All that is no echo has no identifier; its key is that of an echo with identifier 0. */
static void test_echo_of_nothing(const struct ends *e)
{
	int request = is6(e) ? ICMP(128, 0) : ICMP(8, 0), reply = is6(e) ? ICMP(129, 0) : ICMP(0, 0);
	struct packet q = {.from = e->client, .to = e->server, .icmp = request};
	struct packet a = {.from = e->server, .to = e->client, .icmp = reply};
	struct packet other = {.from = e->client, .to = e->server, .icmp = is6(e) ? ICMP(137, 0) : ICMP(5, 1)};
	struct packet other_back = {.from = e->server, .to = e->client, .icmp = other.icmp};

	judge_flows_clear();
	judge_case(label(e, "echo with identifier 0: request"), XDP, &q, PASSES(PASS_RULE));
	judge_case(label(e, "echo with identifier 0: reply"), XDP, &a, PASSES(PASS_FLOW));
	judge_case(label(e, "echo with identifier 0: a redirect is not of it"), XDP, &other, DROPS(DENY_DEFAULT));
	judge_case(label(e, "echo with identifier 0: nor one back"), XDP, &other_back, DROPS(DENY_DEFAULT));
}

static void test_icmp_errors(const struct ends *e)
{
	const char *router = is6(e) ? "fd0f::1" : "10.15.0.1";
	int unreachable = is6(e) ? ICMP(1, 4) : ICMP(3, 3), exceeded = is6(e) ? ICMP(3, 0) : ICMP(11, 0);
	int too_big = is6(e) ? ICMP(2, 0) : ICMP(3, 4), redirect = is6(e) ? ICMP(137, 0) : ICMP(5, 0);
	struct packet syn = there(e, S), synack = back(e, SA), stranger = there(e, A);
	struct packet q = {.from = e->client, .to = e->server, .dport = 53, .payload = 9};
	struct packet about_syn = {.from = router, .to = e->client, .icmp = exceeded, .quote = &syn};
	struct packet about_synack = {.from = router, .to = e->server, .icmp = too_big, .quote = &synack};
	struct packet about_q = {.from = e->server, .to = e->client, .icmp = unreachable, .quote = &q};
	struct packet wrong = {.from = router, .to = e->client, .icmp = unreachable, .quote = &stranger};
	struct packet astray = {.from = router, .to = e->server, .icmp = unreachable, .quote = &syn};
	struct packet short_quote = {
		.from = router, .to = e->client, .icmp = unreachable, .quote = &syn, .quote_bytes = 4};
	struct packet empty = {.from = router, .to = e->client, .icmp = unreachable};
	struct packet redirected = {.from = router, .to = e->client, .icmp = redirect, .quote = &syn};

	judge_flows_clear();
	judge_case(label(e, "icmp error: quotes no flow"), XDP, &about_syn, DROPS(ICMP_UNRELATED));
	judge_run(XDP, &syn);
	judge_run(XDP, &q);
	judge_case(label(e, "icmp error: about the client's packet"), XDP, &about_syn, PASSES(PASS_ICMP_RELATED));
	judge_case(label(e, "icmp error: about the server's packet"), XDP, &about_synack, PASSES(PASS_ICMP_RELATED));
	judge_case(label(e, "icmp error: about a datagram"), XDP, &about_q, PASSES(PASS_ICMP_RELATED));
	judge_case(label(e, "icmp error: the same at TC"), SLUICE_HOOK_TC_INGRESS, &about_syn,
		   PASSES(PASS_ICMP_RELATED));
	stranger.sport = 40001;
	judge_case(label(e, "icmp error: other port quoted"), XDP, &wrong, DROPS(ICMP_UNRELATED));
	judge_case(label(e, "icmp error: not sent to the quoted source"), XDP, &astray, DROPS(ICMP_UNRELATED));
	judge_case(label(e, "icmp error: quotation too short"), XDP, &short_quote, DROPS(ICMP_UNRELATED));
	judge_case(label(e, "icmp error: no quotation"), XDP, &empty, DROPS(ICMP_UNRELATED));
	judge_case(label(e, "icmp error: a redirect is none"), XDP, &redirected, DROPS(DENY_DEFAULT));
}

static void test_same_address(void)
{
	static const struct packet q = {.from = "10.1.0.1", .to = "10.2.0.1", .sport = 53, .dport = 53};
	static const struct packet a = {.from = "10.2.0.1", .to = "10.1.0.1", .sport = 53, .dport = 53};

	judge_flows_clear();
	judge_case("equal ports: question", XDP, &q, PASSES(PASS_RULE));
	judge_case("equal ports: answer", XDP, &a, PASSES(PASS_FLOW));
}

static void test_no_ports(void)
{
	static const struct packet gre = {.from = "10.1.0.1", .to = "10.2.0.1", .protocol = 47, .payload = 8};
	static const struct packet gre_back = {.from = "10.2.0.1", .to = "10.1.0.1", .protocol = 47, .payload = 8};
	static const struct packet neighbour = {.from = "fd01::1", .to = "fd02::1", .icmp = ICMP(135, 0)};

	judge_apply("default: deny\nfailsafe: []\nrules:\n"
		    "  - {name: some, from: [10.1.0.0/16, \"fd01::/32\"], to: any, service: [gre, icmpv6/135], action: "
		    "allow}\n");
	judge_flows_clear();
	judge_case("gre: opens", XDP, &gre, PASSES(PASS_RULE));
	judge_case("gre: back", XDP, &gre_back, PASSES(PASS_FLOW));
	judge_case("icmp that is no echo: allowed", XDP, &neighbour, PASSES(PASS_RULE));
	judge_case("icmp that is no echo: again by the rule", XDP, &neighbour, PASSES(PASS_RULE));
	judge_check("icmp that is no echo: makes no flow", judge_flow_count() == 1, "%ld flows", judge_flow_count());
}

/* ------------------------------------------------------------------- policy changes */

static void flow_open(const struct ends *e)
{
	struct packet syn = there(e, S), synack = back(e, SA), ack = there(e, A);

	judge_run(XDP, &syn);
	judge_run(XDP, &synack);
	judge_run(XDP, &ack);
}

static const char closed_policy[] = "default: deny\nfailsafe: []\nconntrack: {pickup: 0s}\n"
				    "rules:\n  - {name: closed, from: any, to: any, service: tcp/4420, action: deny}\n";

static void test_revocation(const struct ends *e)
{
	struct packet ack = there(e, A), data = back(e, A), syn = there(e, S);
	struct dataplane_flow flow = {};

	judge_apply(base_policy);
	judge_flows_clear();
	flow_open(e);
	judge_apply(base_policy);
	judge_case(label(e, "policy change: still allowed, server's packet first"), XDP, &data, PASSES(PASS_FLOW));
	judge_check(label(e, "policy change: flow has kept its counts"),
		    judge_flow(&ack, 0, &flow) && flow.side[1].packets == 2, "%llu packets",
		    (unsigned long long)flow.side[1].packets);
	judge_apply(closed_policy);
	judge_case(label(e, "policy change: now denied, server's packet first"), XDP, &data, DROPS(STALE_DENY));
	judge_check(label(e, "policy change: flow is gone"), !judge_flow(&ack, 0, NULL) && !judge_flow_count(),
		    "it is there");
	judge_case(label(e, "policy change: next packet is new and denied"), XDP, &ack, DROPS(DENY_RULE));
	judge_apply(base_policy);
	judge_case(label(e, "policy change: allowed again, a new connection"), XDP, &syn, PASSES(PASS_RULE));
}

static void test_change_to_stateless(void)
{
	struct packet ack = there(&ends[0], A), data = back(&ends[0], A);

	judge_apply(base_policy);
	judge_flows_clear();
	flow_open(&ends[0]);
	judge_apply("default: deny\nfailsafe: []\nrules:\n"
		    "  - {name: way, from: 10.1.0.0/16, to: any, service: tcp/4420, action: allow, stateful: false}\n");
	judge_case("policy change: now stateless, this way passes", XDP, &ack, PASSES(PASS_RULE));
	judge_check("policy change: now stateless, flow has ended", !judge_flow(&ack, 0, NULL), "it is there");
	judge_case("policy change: now stateless, way back has no rule", XDP, &data, DROPS(DENY_DEFAULT));
}

static void test_change_in_audit(void)
{
	struct packet ack = there(&ends[0], A), data = back(&ends[0], A);
	struct dataplane_flow flow = {};

	judge_apply(base_policy);
	judge_flows_clear();
	flow_open(&ends[0]);
	judge_apply("mode: audit\ndefault: deny\nfailsafe: []\n");
	judge_case_audited("policy change, audit mode: would be cut", XDP, &ack, SLUICE_R_STALE_DENY);
	judge_case_audited("policy change, audit mode: and every packet says so", XDP, &data, SLUICE_R_STALE_DENY);
	judge_check("policy change, audit mode: flow is kept and marked",
		    judge_flow(&ack, 0, &flow) && (flow.seen & SLUICE_FLOW_AUDIT_DENY), "seen %#x", flow.seen);
	judge_apply(base_policy);
	judge_case("policy change, audit mode: allowed again", XDP, &data, PASSES(PASS_FLOW));
}

/* ------------------------------------------------------------------- pickup */

static const char pickup_policy[] = "default: deny\nfailsafe: []\nconntrack: {pickup: 30s}\n" RULES;

static void test_pickup(const struct ends *e)
{
	struct packet ack = there(e, A), data = back(e, A), rst = there(e, RS), synack = there(e, SA);
	struct dataplane_flow flow = {};

	judge_apply(pickup_policy);
	judge_set_attached(time_now_ns());
	judge_flows_clear();
	judge_case(label(e, "pickup: RST picks nothing up"), XDP, &rst, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "pickup: SYN+ACK picks nothing up"), XDP, &synack, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "pickup: client's packet"), XDP, &ack, PASSES(PASS_RULE));
	judge_case(label(e, "pickup: then the server's"), XDP, &data, PASSES(PASS_FLOW));
	judge_flows_clear();
	judge_case(label(e, "pickup: server's packet"), XDP, &data, PASSES(PASS_RULE));
	judge_case(label(e, "pickup: then the client's"), XDP, &ack, PASSES(PASS_FLOW));
	judge_check(label(e, "pickup: client is the originator"),
		    judge_flow(&ack, 0, &flow) && (flow.seen & SLUICE_FLOW_PICKED_UP) && flow.side[0].packets == 1 &&
			    flow.side[1].packets == 1,
		    "seen %#x, %llu there", flow.seen, (unsigned long long)flow.side[0].packets);
	judge_set_attached(time_now_ns() - 31 * NSEC_PER_SEC);
	judge_flows_clear();
	judge_case(label(e, "pickup: over"), XDP, &ack, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "pickup: over, server's packet"), XDP, &data, DROPS(DENY_DEFAULT));
}

/* ------------------------------------------------------------------- a full table */

static void fill_table(void)
{
	for (uint16_t i = 0; i < MAX_FLOWS; i++) {
		struct packet p = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .sport = (uint16_t)(1000 + i)};

		judge_run(XDP, &p);
	}
}

static void test_full(void)
{
	static const struct packet one_more = {.from = "10.1.0.1", .to = "10.2.0.1", .dport = 53, .sport = 9999};
	static const struct packet live = {.from = "10.2.0.1", .to = "10.1.0.1", .sport = 53, .dport = 1000};
	struct judge_outcome o;

	judge_apply(base_policy);
	judge_flows_clear();
	fill_table();
	judge_check("table full: as many as it holds", judge_flow_count() == MAX_FLOWS, "%ld", judge_flow_count());
	judge_case("table full: one more", XDP, &one_more, DROPS(CONNTRACK_FULL));
	judge_case("table full: live flows go on", XDP, &live, PASSES(PASS_FLOW));
	judge_apply("default: deny\nfailsafe: []\nconntrack: {on-full: stateless}\n" RULES);
	o = judge_run(XDP, &one_more);
	judge_check("table full: on-full stateless lets it pass", !o.dropped && o.reason == SLUICE_R_PASS_RULE,
		    "got %s (%s)", o.dropped ? "drop" : "pass", judge_reason(o.reason));
	judge_check("table full: and no live flow had to go", judge_flow_count() == MAX_FLOWS, "%ld",
		    judge_flow_count());
}

/* ------------------------------------------------------------------- expiry */

#define SHORT_TIMES                                                                                                    \
	"default: deny\nfailsafe: []\n"                                                                                \
	"conntrack: {pickup: 0s, tcp-established: 400ms, tcp-closing: 50ms, udp: 50ms, udp-stream: 400ms, icmp: "      \
	"50ms}\n" RULES

#define SLACK_MS 2000 /* a loaded machine's timer softirq may be late; what must not be is a flow that stays */

static uint64_t alive_ms(const struct packet *p, uint64_t start)
{
	return judge_flow_ends(p, 0, SLACK_MS) ? (time_now_ns() - start) / 1000000 : UINT64_MAX;
}

#define TICK_MS 10 /* the time of a packet may be that much older, see pkt_now() */

/*
 * Runs nothing in between: only the timer can end the flow. At least `least_ms` after its last packet, and then soon.
 */
static void expect_end(const char *name, const struct packet *p, uint64_t start, uint64_t least_ms)
{
	uint64_t ms = alive_ms(p, start);

	judge_check(name, ms != UINT64_MAX && ms + 2 + TICK_MS >= least_ms, "ended after %lld ms, expected %llu or a little more",
		    (long long)ms, (unsigned long long)least_ms);
}

static void test_expiry(const struct ends *e)
{
	struct packet q = {.from = e->client, .to = e->server, .dport = 53};
	struct packet a = {.from = e->server, .to = e->client, .sport = 53, .dport = 40000};
	struct packet ping = {
		.from = e->client, .to = e->server, .icmp = is6(e) ? ICMP(128, 0) : ICMP(8, 0), .icmp_id = 5};
	struct packet syn = there(e, S), fin = there(e, FA), fin_back = back(e, FA), rst = back(e, RS);
	uint64_t start;

	judge_apply(SHORT_TIMES);
	judge_flows_clear();
	start = time_now_ns();
	judge_run(XDP, &q);
	expect_end(label(e, "expiry: unanswered datagram"), &q, start, 50);
	start = time_now_ns();
	judge_run(XDP, &q);
	judge_run(XDP, &a);
	expect_end(label(e, "expiry: answered datagram, later"), &q, start, 400);
	start = time_now_ns();
	judge_run(XDP, &ping);
	expect_end(label(e, "expiry: ping"), &ping, start, 50);
	start = time_now_ns();
	flow_open(e);
	expect_end(label(e, "expiry: idle connection"), &syn, start, 400);
	flow_open(e);
	start = time_now_ns();
	judge_run(XDP, &fin);
	expect_end(label(e, "expiry: half-closed connection"), &syn, start, 400);
	flow_open(e);
	start = time_now_ns();
	judge_run(XDP, &fin);
	judge_run(XDP, &fin_back);
	expect_end(label(e, "expiry: closed connection, sooner"), &syn, start, 50);
	flow_open(e);
	start = time_now_ns();
	judge_run(XDP, &rst);
	expect_end(label(e, "expiry: reset connection, sooner"), &syn, start, 50);
	judge_check(label(e, "expiry: none is left, none is counted"), !judge_flow_count(), "%ld", judge_flow_count());
}

/* A packet now and then keeps a flow alive well past one timeout. */
static void test_keeping_alive(void)
{
	struct packet syn = there(&ends[0], S), ack = there(&ends[0], A);
	uint64_t start = time_now_ns(), last = start;
	bool alive = true;

	judge_flows_clear();
	flow_open(&ends[0]);
	while (alive && last - start < NSEC_PER_SEC) {
		last = time_now_ns();
		alive = judge_run(XDP, &ack).reason == SLUICE_R_PASS_FLOW;
	}
	judge_check("expiry: a busy connection stays", alive, "it ended after %llu ms",
		    (unsigned long long)((time_now_ns() - start) / 1000000));
	expect_end("expiry: and ends when it falls silent", &syn, last, 398);
}

/* A shorter timeout of a new policy reaches a live flow with its next packet. */
static void test_shorter_by_policy(void)
{
	struct packet syn = there(&ends[0], S), ack = there(&ends[0], A);
	uint64_t start;

	judge_apply(base_policy);
	judge_flows_clear();
	flow_open(&ends[0]);
	judge_apply(SHORT_TIMES);
	start = time_now_ns();
	judge_run(XDP, &ack);
	expect_end("expiry: new policy's shorter timeout", &syn, start, 400);
}

int main(void)
{
	judge_start("flows", MAX_FLOWS);
	judge_apply(base_policy);
	for (size_t i = 0; i < N_ENDS; i++) {
		judge_apply(base_policy);
		test_tcp_life(&ends[i]);
		test_tcp_facts(&ends[i]);
		test_udp(&ends[i]);
		test_echo(&ends[i]);
		test_echo_of_nothing(&ends[i]);
		test_icmp_errors(&ends[i]);
		test_revocation(&ends[i]);
		test_pickup(&ends[i]);
		test_expiry(&ends[i]);
	}
	test_same_address();
	test_no_ports();
	test_change_to_stateless();
	test_change_in_audit();
	test_full();
	test_shorter_by_policy();
	judge_apply(SHORT_TIMES);
	test_keeping_alive();
	return judge_end();
}
