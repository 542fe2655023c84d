// SPDX-License-Identifier: Apache-2.0
/*
 * Flows cut by hand: what their next packets get, that none comes back by pickup, that all bookkeeping follows, and
 * that a flow which has taken the place of the one that was meant is left alone. Also the names of states, which are to
 * say what the kernel half makes of the same facts.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"

#define XDP SLUICE_HOOK_XDP

#define S  TCP_F_SYN
#define A  TCP_F_ACK
#define SA (TCP_F_SYN | TCP_F_ACK)
#define FA (TCP_F_FIN | TCP_F_ACK)
#define RS TCP_F_RST

#define ROUNDS 3000 /* of the race: connections that are opened while others are cut */

#define RULES                                                                                                          \
	"failsafe: []\ndefault: deny\n"                                                                                \
	"rules:\n"                                                                                                     \
	"  - {name: service, from: [10.1.0.0/16, \"fd01::/32\"], to: any, action: allow,\n"                              \
	"     service: [tcp/4420, udp/53, icmp/echo-request, icmpv6/echo-request]}\n"
#define NO_PICKUP   "conntrack: {pickup: 0s}\n" RULES
#define WITH_PICKUP "conntrack: {pickup: 1h}\n" RULES

struct ends {
	const char *family, *client, *server;
};

static const struct ends ends[] = {
	{"ipv4", "10.1.0.1", "10.2.0.1"},
	{"ipv4, server below", "10.1.0.1", "10.0.0.1"},
	{"ipv6", "fd01::1", "fd02::1"},
};

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
	static char text[160];

	snprintf(text, sizeof(text), "%s: %s", e->family, what);
	return text;
}

static void shake_hands(const struct ends *e)
{
	struct packet syn = there(e, S), synack = back(e, SA), ack = there(e, A);

	judge_run(XDP, &syn);
	judge_run(XDP, &synack);
	judge_run(XDP, &ack);
}

static int cut(const struct packet *p)
{
	struct dataplane_flow flow;
	struct error err = {};
	int r;

	if (!judge_flow(p, 0, &flow))
		return -ESRCH;
	r = dataplane_cut(judge_dataplane(), &flow, &err);
	if (err.text[0])
		fprintf(stderr, "%s\n", err.text);
	return r;
}

/* ------------------------------------------------------------------- cases */

static void test_tcp(const struct ends *e)
{
	struct packet syn = there(e, S), ack = there(e, A), ack_back = back(e, A), reset = back(e, RS | A);
	struct dataplane_flow flow = {};
	struct error err = {};
	int r;

	judge_flows_clear();
	shake_hands(e);
	judge_flow(&syn, 0, &flow);
	flow.begun++;
	r = dataplane_cut(judge_dataplane(), &flow, &err);
	judge_check(label(e, "a flow that has begun since is left alone"), r == -ENOENT && judge_flow_count() == 1,
		    "%d, %ld flows", r, judge_flow_count());
	flow.begun--;
	r = dataplane_cut(judge_dataplane(), &flow, &err);
	judge_check(label(e, "an established flow is cut"), !r, "%d: %s", r, err.text);
	judge_check(label(e, "and is gone"), !judge_flow(&syn, 0, NULL) && !judge_flow_count(), "%ld flows",
		    judge_flow_count());
	r = dataplane_cut(judge_dataplane(), &flow, &err);
	judge_check(label(e, "a second time there is nothing to cut"), r == -ENOENT && !err.text[0], "%d: %s", r,
		    err.text);
	judge_case(label(e, "its next packet belongs to no flow"), XDP, &ack, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "nor one back"), XDP, &ack_back, DROPS(DENY_DEFAULT));
	judge_case(label(e, "nor a RST"), XDP, &reset, DROPS(DENY_DEFAULT));
	judge_case(label(e, "a SYN opens anew"), XDP, &syn, PASSES(PASS_RULE));
	judge_check(label(e, "which is half open"), judge_half_open() == 1, "%ld", judge_half_open());
	judge_check(label(e, "a half-open flow is cut"), !cut(&syn), "it is not");
	judge_check(label(e, "and counted no more"), !judge_half_open() && !judge_flow_count(),
		    "%ld half open, %ld flows", judge_half_open(), judge_flow_count());
}

/* While strays are picked up. */
static void test_pickup(const struct ends *e)
{
	bool is6 = strchr(e->client, ':');
	struct packet syn = there(e, S), ack = there(e, A), ack_back = back(e, A), fin = there(e, FA);
	struct packet other = there(e, A);
	struct packet about = {
		.from = e->server, .to = e->client, .icmp = is6 ? ICMP(1, 4) : ICMP(3, 3), .quote = &ack};
	struct dataplane_flow flow = {};

	judge_flows_clear();
	shake_hands(e);
	judge_check(label(e, "pickup: a flow is cut"), !cut(&syn), "it is not");
	judge_case(label(e, "pickup: its next packet belongs to no flow"), XDP, &ack, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "pickup: nor one back"), XDP, &ack_back, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "pickup: nor a FIN"), XDP, &fin, DROPS(TCP_NO_FLOW));
	judge_case(label(e, "pickup: nor an ICMP error about it"), XDP, &about, DROPS(ICMP_UNRELATED));
	judge_case(label(e, "pickup: the same at TC"), SLUICE_HOOK_TC_EGRESS, &ack, DROPS(TCP_NO_FLOW));
	judge_check(label(e, "pickup: it says that it was cut"),
		    judge_flow(&syn, 0, &flow) && dataplane_flow_state(&flow) == FLOW_CUT && flow.side[0].packets == 2,
		    "state %d, %llu packets", dataplane_flow_state(&flow), (unsigned long long)flow.side[0].packets);
	judge_check(label(e, "pickup: a second time there is nothing to cut"), cut(&syn) == -ENOENT, "there is");
	other.sport = 40001;
	judge_case(label(e, "pickup: another connection's packet is picked up"), XDP, &other, PASSES(PASS_RULE));
	judge_case(label(e, "pickup: a SYN opens anew"), XDP, &syn, PASSES(PASS_RULE));
	judge_check(label(e, "pickup: in its place"), judge_flow_count() == 2 && judge_half_open() == 1,
		    "%ld flows, %ld half open", judge_flow_count(), judge_half_open());
	judge_check(label(e, "pickup: a half-open flow is cut"), !cut(&syn), "it is not");
	judge_check(label(e, "pickup: and not half open any more"), !judge_half_open(), "%ld", judge_half_open());
	judge_case(label(e, "pickup: and no SYN+ACK is of it"), XDP, &ack_back, DROPS(TCP_NO_FLOW));
}

static void test_no_tcp(const struct ends *e)
{
	bool is6 = strchr(e->client, ':');
	struct packet q = {.from = e->client, .to = e->server, .dport = 53, .payload = 9};
	struct packet a = {.from = e->server, .to = e->client, .sport = 53, .dport = 40000, .payload = 9};
	struct packet echo = {
		.from = e->client, .to = e->server, .icmp = is6 ? ICMP(128, 0) : ICMP(8, 0), .icmp_id = 77};

	judge_flows_clear();
	judge_run(XDP, &q);
	judge_run(XDP, &a);
	judge_check(label(e, "a UDP flow is cut"), !cut(&q) && !judge_flow_count(), "%ld flows", judge_flow_count());
	judge_case(label(e, "its answers pass no more"), XDP, &a, DROPS(DENY_DEFAULT));
	judge_case(label(e, "its next question opens a new one"), XDP, &q, PASSES(PASS_RULE));
	judge_run(XDP, &echo);
	judge_check(label(e, "an echo is cut"), !cut(&echo), "it is not");
	judge_case(label(e, "its next request opens a new one"), XDP, &echo, PASSES(PASS_RULE));
}

/* The mark goes with the time of pickup: after it no stray makes a flow anyway. */
static void test_forgotten(void)
{
	struct packet syn = there(&ends[0], S), ack = there(&ends[0], A);

	judge_apply("conntrack: {pickup: 2s}\n" RULES);
	judge_set_attached(time_now_ns());
	judge_flows_clear();
	shake_hands(&ends[0]);
	judge_check("a flow is cut while strays are picked up", !cut(&syn), "it is not");
	judge_case("its packet belongs to no flow", XDP, &ack, DROPS(TCP_NO_FLOW));
	judge_check("the timer forgets it", judge_flow_ends(&syn, 0, 10000) && !judge_flow_count(), "%ld flows",
		    judge_flow_count());
	judge_case("and its packet belongs to no flow still", XDP, &ack, DROPS(TCP_NO_FLOW));
}

static void test_policy_change(void)
{
	struct packet syn = there(&ends[0], S), ack = there(&ends[0], A);

	judge_apply(WITH_PICKUP);
	judge_set_attached(time_now_ns());
	judge_flows_clear();
	shake_hands(&ends[0]);
	cut(&syn);
	judge_apply("failsafe: []\ndefault: deny\n");
	judge_case("denied by a new policy, a cut flow goes for good", XDP, &ack, DROPS(STALE_DENY));
	judge_check("and is counted no more", !judge_flow_count(), "%ld flows", judge_flow_count());
	judge_apply(WITH_PICKUP);
	judge_flows_clear();
	shake_hands(&ends[0]);
	cut(&syn);
	judge_apply("mode: audit\n" WITH_PICKUP);
	judge_case_audited("in audit mode a cut flow's packet passes, counted", XDP, &ack, SLUICE_R_TCP_NO_FLOW);
	judge_apply(WITH_PICKUP);
	judge_case("back in force it does not", XDP, &ack, DROPS(TCP_NO_FLOW));
}

/* ------------------------------------------------------------------- states */

static const struct {
	bool from_server;
	uint16_t tcp;
	enum dataplane_flow_state state;
} life[] = {
	{false, S, FLOW_OPENING}, {true, SA, FLOW_OPENING}, {false, A, FLOW_ESTABLISHED}, {true, A, FLOW_ESTABLISHED},
	{true, FA, FLOW_CLOSING}, {false, FA, FLOW_CLOSING}, {false, S, FLOW_OPENING}, {true, RS | A, FLOW_RESET},
};

static void test_states(void)
{
	struct packet syn = there(&ends[0], S), q = {.from = ends[0].client, .to = ends[0].server, .dport = 53};
	struct packet a = {.from = ends[0].server, .to = ends[0].client, .sport = 53, .dport = 40000};
	struct dataplane_flow flow = {};
	enum dataplane_flow_state state;
	char name[64];
	size_t i;

	judge_apply(NO_PICKUP);
	judge_flows_clear();
	for (i = 0; i < ARRAY_SIZE(life); i++) {
		struct packet p = life[i].from_server ? back(&ends[0], life[i].tcp) : there(&ends[0], life[i].tcp);

		judge_run(XDP, &p);
		state = judge_flow(&syn, 0, &flow) ? dataplane_flow_state(&flow) : FLOW_STATES;
		snprintf(name, sizeof(name), "step %zu is %s, half open or not", i,
			 dataplane_flow_state_name(life[i].state));
		judge_check(name, state == life[i].state && judge_half_open() == (state == FLOW_OPENING),
			    "%s, %ld half open", dataplane_flow_state_name(state), judge_half_open());
	}
	judge_run(XDP, &q);
	judge_check("a question is one-way", judge_flow(&q, 0, &flow) && dataplane_flow_state(&flow) == FLOW_ONE_WAY,
		    "no");
	judge_run(XDP, &a);
	judge_check("and answered", judge_flow(&q, 0, &flow) && dataplane_flow_state(&flow) == FLOW_ANSWERED, "no");
}

/* ------------------------------------------------------------------- while packets pass */

/* Opens connections under 200 ports, over and over. */
static void open_many(void)
{
	unsigned int i, k;

	for (i = 0; i < ROUNDS; i++) {
		const struct ends *e = &ends[i % ARRAY_SIZE(ends)];
		struct packet p[] = {there(e, S), back(e, SA), there(e, A), there(e, A), there(e, FA)};

		for (k = 0; k < ARRAY_SIZE(p); k++) {
			*(p[k].dport == 4420 ? &p[k].sport : &p[k].dport) = (uint16_t)(50000 + i % 200);
			judge_run(XDP, &p[k]);
		}
	}
}

struct race {
	uint64_t cut, ended;
	int failure;
};

static int race_flow(void *arg, const struct dataplane_flow *flow)
{
	struct race *race = arg;
	struct error err = {};
	int r = dataplane_cut(judge_dataplane(), flow, &err);

	race->cut += !r;
	race->ended += r == -ENOENT;
	race->failure = r && r != -ENOENT ? r : race->failure;
	return 0;
}

static void race_run(const char *name)
{
	struct race race = {};
	struct error err = {};
	int status = 0;
	pid_t pid;

	judge_flows_clear();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		open_many();
		_exit(0);
	}
	while (!waitpid(pid, &status, WNOHANG))
		dataplane_flows(judge_dataplane(), race_flow, &race, &err);
	dataplane_flows(judge_dataplane(), race_flow, &race, &err);
	judge_check(name, pid > 0 && !status && !race.failure && race.cut > 100, "status %d, %d, %llu cut", status,
		    race.failure, (unsigned long long)race.cut);
	judge_check("nothing is half open afterwards", !judge_half_open(), "%ld", judge_half_open());
}

static void test_race(void)
{
	judge_apply(NO_PICKUP);
	judge_set_attached(0);
	race_run("flows are cut while packets pass");
	judge_check("none is left, nor counted", !judge_flow_count(), "%ld", judge_flow_count());
	judge_apply(WITH_PICKUP);
	judge_set_attached(time_now_ns());
	race_run("flows are cut while packets pass and strays are picked up");
	judge_flows_clear();
}

int main(void)
{
	size_t i;

	judge_start("cut", 1024);
	judge_apply(NO_PICKUP);
	for (i = 0; i < ARRAY_SIZE(ends); i++) {
		test_tcp(&ends[i]);
		test_no_tcp(&ends[i]);
	}
	judge_apply(WITH_PICKUP);
	judge_set_attached(time_now_ns());
	for (i = 0; i < ARRAY_SIZE(ends); i++)
		test_pickup(&ends[i]);
	test_forgotten();
	test_policy_change();
	test_states();
	test_race();
	return judge_end();
}
