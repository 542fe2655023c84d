// SPDX-License-Identifier: Apache-2.0
/*
 * Policies on trial: in force at once, taken back by the kernel's own timer, kept or withdrawn by hand, and exactly one
 * of the three ends a trial. Also what the programs do on interfaces that the live policy does not name, because a
 * trial leaves such interfaces attached.
 */
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"

#define MSEC  1000000ull
#define RACES 60

#define ALLOW	  "rules: [{name: web, from: any, to: any, service: tcp/443, action: allow}]\n"
#define DENY	  "rules: [{name: none, from: any, to: any, service: tcp/443, action: deny}]\n"
#define PEER_ONLY "sluice: 1\nname: peer\ninterfaces: [{name: sj1}]\n" DENY
#define VLANS	  "sluice: 1\nname: vlans\ntenants: [red]\ninterfaces: [{name: " JUDGE_DEV ", vlans: {100: red}}]\n" ALLOW

#define WEB .from = "10.1.0.1", .to = "10.2.0.1", .dport = 443
static const struct packet web_syn = {WEB, .tcp = TCP_F_SYN};
static const struct packet web_ack = {WEB, .tcp = TCP_F_ACK};

/* ------------------------------------------------------------------- looking */

static struct dataplane_trial trial(void)
{
	struct dataplane_live live = {};
	struct dataplane_trial t = {};
	struct error err = {};

	if (!dataplane_live(judge_dataplane(), &err, &live))
		t = live.trial;
	dataplane_live_done(&live);
	return t;
}

static uint64_t generation(void)
{
	struct sluice_control control;
	uint32_t zero = 0;

	return bpf_map_lookup_elem(judge_map("control"), &zero, &control) ? UINT64_MAX : control.generation;
}

/* The event that is waited for is a word in the kernel: looked at every millisecond, bounded. */
static bool generation_becomes(uint64_t wanted, unsigned int within_ms)
{
	static const struct timespec pause = {.tv_nsec = (long)MSEC};

	for (; generation() != wanted && within_ms; within_ms--)
		nanosleep(&pause, NULL);
	return generation() == wanted;
}

static int try_for(const char *yaml, uint64_t ns)
{
	struct dataplane_apply_options options = {.confirm_ns = ns};
	struct error err = {};
	int r = judge_apply_with(yaml, &options, &err);

	if (r)
		judge_check("a trial begins", false, "%s", err.text);
	return r;
}

/* ------------------------------------------------------------------- cases */

/* The very first policy goes back to none at all. */
static void test_first(void)
{
	if (try_for(DENY, 8 * NSEC_PER_SEC))
		return;
	judge_case("on trial, the policy is in force at once", SLUICE_HOOK_XDP, &web_syn, DROPS(DENY_RULE));
	judge_check("it is pending", trial().state == DATAPLANE_TRIAL_PENDING && trial().previous == 0, "state %d",
		    trial().state);
	judge_check("unconfirmed, the first policy goes", generation_becomes(0, 30000), "generation %llu",
		    (unsigned long long)generation());
	judge_case("and everything passes again", SLUICE_HOOK_XDP, &web_syn, PASSES(PASS_NO_POLICY));
	judge_check("and that is told", trial().state == DATAPLANE_TRIAL_EXPIRED && trial().generation == 1,
		    "state %d, generation %llu", trial().state, (unsigned long long)trial().generation);
}

/* A flow that the old policy allowed and the trial denied, and the other way round. */
static void test_expiry(void)
{
	uint64_t before;

	judge_apply(DENY);
	before = generation();
	judge_check("a generation that was taken back is not used again", before == 3, "generation %llu",
		    (unsigned long long)before);
	if (try_for(ALLOW, 300 * MSEC))
		return;
	judge_case("a trial lets a connection begin", SLUICE_HOOK_XDP, &web_syn, PASSES(PASS_RULE));
	judge_case("and go on", SLUICE_HOOK_XDP, &web_ack, PASSES(PASS_FLOW));
	judge_check("time runs out", generation_becomes(before, 10000), "generation %llu",
		    (unsigned long long)generation());
	judge_case("its connection is cut", SLUICE_HOOK_XDP, &web_ack, DROPS(STALE_DENY));
	judge_case("and does not begin again", SLUICE_HOOK_XDP, &web_syn, DROPS(DENY_RULE));
	judge_flows_clear();
}

static void test_pending_refuses(void)
{
	struct dataplane_apply_options none = {};
	struct dataplane_trial ended = {};
	uint64_t before = generation(), tried;
	struct error err = {};
	int r;

	if (try_for(ALLOW, 3600 * NSEC_PER_SEC))
		return;
	tried = generation();
	r = judge_apply_with(DENY, &none, &err);
	judge_check("another apply is refused meanwhile", r == -EBUSY && strstr(err.text, "sluice confirm"), "%d: %s",
		    r, err.text);
	judge_check("which changes nothing", generation() == tried && tried != before, "generation %llu",
		    (unsigned long long)generation());
	judge_check("time left is known", trial().left_ns / NSEC_PER_SEC >= 3590, "%llu ns left",
		    (unsigned long long)trial().left_ns);
	r = dataplane_withdraw(judge_dataplane(), &err, &ended);
	judge_check("withdrawn, the policy before is back", !r && generation() == before && ended.previous == before,
		    "%d: %s", r, err.text);
	r = dataplane_withdraw(judge_dataplane(), &err, &ended);
	judge_check("a second time nothing is on trial", r == -ESTALE, "%d: %s", r, err.text);
	judge_case("its verdicts are back", SLUICE_HOOK_XDP, &web_syn, DROPS(DENY_RULE));
}

static void test_confirm(void)
{
	struct dataplane_trial ended = {};
	uint64_t before = generation();
	struct error err = {};
	int r;

	if (try_for(ALLOW, 400 * MSEC))
		return;
	r = dataplane_confirm(judge_dataplane(), &err, &ended);
	judge_check("confirmed", !r && ended.generation == generation(), "%d: %s", r, err.text);
	judge_check("it outlasts its time", !generation_becomes(before, 600), "it went back");
	r = dataplane_confirm(judge_dataplane(), &err, &ended);
	judge_check("nothing is left to confirm", r == -ESTALE && strstr(err.text, "no policy is on trial"), "%d: %s",
		    r, err.text);
	judge_apply(DENY);
}

/* The process that began the trial is killed; nobody of us holds anything for it. */
static void test_killed(void)
{
	uint64_t before = generation();
	int status, ready[2];
	char byte = 0;
	pid_t pid;

	if (pipe(ready))
		return judge_check("pipe", false, "%s", strerror(errno));
	pid = fork();
	if (!pid) {
		byte = try_for(ALLOW, 500 * MSEC) != 0;
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	judge_check("another process begins a trial", read(ready[0], &byte, 1) == 1 && !byte, "it failed");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ready[0]);
	judge_check("it is in force when the process is dead", generation() > before, "generation %llu",
		    (unsigned long long)generation());
	judge_check("and goes back all the same", generation_becomes(before, 10000), "generation %llu",
		    (unsigned long long)generation());
}

/* Confirmation and timer meet: whoever wins, what is said is what is in force. */
static void test_race(void)
{
	unsigned int i, kept = 0, expired = 0, wrong = 0;
	struct dataplane_trial ended;
	struct error err = {};
	uint64_t before, now;
	int r;

	for (i = 0; i < RACES; i++) {
		before = generation();
		if (try_for(i % 2 ? ALLOW : DENY, (1 + 3 * i) * MSEC)) /* beginning takes some of that */
			return;
		r = dataplane_confirm(judge_dataplane(), &err, &ended);
		now = generation();
		kept += !r && now != before;
		expired += r == -ESTALE && now == before;
		wrong += !((!r && now != before) || (r == -ESTALE && now == before));
		generation_becomes(before, 5 + 3 * i); /* a timer that was not stopped would strike now */
		wrong += generation() != now;
	}
	judge_check("of confirmation and timer one wins", !wrong, "%u wrong, %u kept, %u expired", wrong, kept,
		    expired);
	judge_check("either won at times", kept > 0 && expired > 0, "%u kept, %u expired", kept, expired);
	judge_apply(DENY);
}

/* A hook that cannot be attached ends the trial before it has begun for anybody. */
static void test_attach_fails(void)
{
	struct dataplane_apply_options options = {.confirm_ns = 3600 * NSEC_PER_SEC};
	uint64_t before = generation();
	struct error err = {};
	int r;

	r = judge_apply_with("sluice: 1\nname: lo\ninterfaces: [{name: lo, attach: xdp}]\n" ALLOW, &options, &err);
	judge_check("a trial whose hooks fail is over", r < 0 && generation() == before, "%d, generation %llu", r,
		    (unsigned long long)generation());
	judge_check("and not pending", trial().state == DATAPLANE_TRIAL_NONE, "state %d", trial().state);
}

static uint32_t xdp_program(void)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	return bpf_xdp_query((int)judge_ifindex(), 0, &q) ? 0 : q.prog_id ? q.prog_id : q.drv_prog_id;
}

static void ihl_4(struct frame *f)
{
	f->byte[f->l3] = 0x44;
}

static const struct row unnamed[] = {
	{"unnamed interface: a packet", {WEB, .tcp = TCP_F_SYN}, PASSES(PASS_NO_POLICY)},
	{"unnamed interface: a tagged one", {WEB, .tcp = TCP_F_SYN, .vlan = 100}, PASSES(PASS_NO_POLICY)},
	{"unnamed interface: a malformed one", {WEB, .tcp = TCP_F_SYN, .mutate = ihl_4}, PASSES(PASS_NO_POLICY)},
	{"unnamed interface: not IP", {.ethertype = 0x88b5}, PASSES(PASS_NO_POLICY)},
	{"unnamed interface: ARP", {.ethertype = 0x0806}, PASSES(PASS_LINK)},
};
static const struct row named[] = {
	{"named interface: a listed VLAN", {WEB, .tcp = TCP_F_SYN, .vlan = 100}, PASSES(PASS_RULE)},
	{"named interface: an unlisted VLAN", {WEB, .tcp = TCP_F_SYN, .vlan = 101}, DROPS(UNKNOWN_TENANT)},
	{"named interface: a malformed packet", {WEB, .tcp = TCP_F_SYN, .mutate = ihl_4}, DROPS(IP_IHL)},
	{"named interface: not IP", {.ethertype = 0x88b5}, DROPS(DENY_NON_IP)},
};

static void run_rows(const struct row *rows, size_t count)
{
	static const enum sluice_hook hooks[] = {SLUICE_HOOK_XDP, SLUICE_HOOK_TC_INGRESS, SLUICE_HOOK_TC_EGRESS};
	size_t i, h;

	for (i = 0; i < count; i++)
		for (h = 0; h < ARRAY_SIZE(hooks); h++) {
			judge_flows_clear();
			judge_case(rows[i].name, hooks[h], &rows[i].packet, rows[i].verdict, rows[i].reason);
		}
}

static void test_interfaces(void)
{
	struct dataplane_trial ended;
	struct error err = {};
	int r;

	if (try_for(PEER_ONLY, 3600 * NSEC_PER_SEC))
		return;
	judge_check("an interface that a trial does not name stays attached", xdp_program(), "no program");
	run_rows(unnamed, ARRAY_SIZE(unnamed));
	r = dataplane_confirm(judge_dataplane(), &err, &ended);
	judge_check("confirmed, it is detached", !r && !xdp_program(), "%d: %s", r, err.text);
	judge_apply(VLANS);
	run_rows(named, ARRAY_SIZE(named));
}

int main(void)
{
	judge_start("confirm", 1024);
	test_first();
	test_expiry();
	test_pending_refuses();
	test_confirm();
	test_killed();
	test_race();
	test_attach_fails();
	test_interfaces();
	return judge_end();
}
