// SPDX-License-Identifier: Apache-2.0
/*
 * Tenants across policies: a connection is found again in its tenant, wherever the new policy lists it, and never in
 * another one of the same addresses.
 */
#include "base/util.h"
#include "judge.h"

#define POLICY(tenants, vlans, rules)                                                                                  \
	"sluice: 1\nname: t\ntenants: [" tenants "]\ninterfaces: [{name: " JUDGE_DEV ", vlans: {" vlans "}}]\n"        \
	"segments: {all: [10.0.0.0/8]}\nrules:\n" rules

#define RULE(tenant) "  - {name: " tenant ", tenant: " tenant ", from: all, to: all, service: tcp/443, action: allow}\n"
#define RED_BLUE     "100: red, 101: blue"

#define FLOW .from = "10.1.0.1", .to = "10.2.0.1", .dport = 443

static const struct packet red_syn = {FLOW, .vlan = 100, .tcp = TCP_F_SYN};
static const struct packet red_ack = {FLOW, .vlan = 100, .tcp = TCP_F_ACK};
static const struct packet blue_ack = {FLOW, .vlan = 101, .tcp = TCP_F_ACK};
static const struct packet green_ack = {FLOW, .vlan = 102, .tcp = TCP_F_ACK};

static void test_order(void)
{
	judge_apply(POLICY("red, blue", RED_BLUE, RULE("red")));
	judge_set_attached(1); /* no pickup: a stray is nobody's */
	judge_case("red connects", SLUICE_HOOK_XDP, &red_syn, PASSES(PASS_RULE));
	judge_case("blue has no such connection", SLUICE_HOOK_XDP, &blue_ack, DROPS(DENY_DEFAULT));

	judge_apply(POLICY("blue, red", RED_BLUE, RULE("red") RULE("blue")));
	judge_case("the other way round, red goes on", SLUICE_HOOK_XDP, &red_ack, PASSES(PASS_FLOW));
	judge_case("and blue has none still", SLUICE_HOOK_XDP, &blue_ack, DROPS(TCP_NO_FLOW));

	judge_apply(POLICY("green, blue, red", RED_BLUE ", 102: green", RULE("red") RULE("blue") RULE("green")));
	judge_case("with one more before it, red goes on", SLUICE_HOOK_XDP, &red_ack, PASSES(PASS_FLOW));
	judge_case("the new one has none", SLUICE_HOOK_XDP, &green_ack, DROPS(TCP_NO_FLOW));
}

static void test_gone(void)
{
	judge_apply(POLICY("red", "100: red", RULE("red")));
	judge_case("alone, red goes on", SLUICE_HOOK_XDP, &red_ack, PASSES(PASS_FLOW));
	judge_apply(POLICY("blue, red", RED_BLUE, RULE("red") RULE("blue")));
	judge_case("blue comes back, red goes on", SLUICE_HOOK_XDP, &red_ack, PASSES(PASS_FLOW));
	judge_apply(POLICY("blue", "101: blue", RULE("blue")));
	judge_case("without red its VLAN is nobody's", SLUICE_HOOK_XDP, &red_ack, DROPS(UNKNOWN_TENANT));
	judge_case("blue does not inherit from it", SLUICE_HOOK_XDP, &blue_ack, DROPS(TCP_NO_FLOW));
}

int main(void)
{
	judge_start("tenants", 1024);
	test_order();
	test_gone();
	return judge_end();
}
