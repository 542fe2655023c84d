// SPDX-License-Identifier: Apache-2.0
/*
 * Random sequences of packets through the attached programs, at XDP and TC ingress, over a few policies in turn, and through
 * an independent model of a host that remembers flows (tests/lib/flow_model.h): the reason of every packet, and in the
 * end every live flow with its ends, facts, packets and bytes. Flows decided anew are compared here; what depends on time is in
 * flow_model_test.c.
 *
 * A difference is shrunk and printed. Run it again with the SLUICE_SEED that is printed; ask for more with
 * SLUICE_DIFFERENTIAL=PACKETS.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "judge.h"
#include "model_sequence.h"
#include "reference.h"

#define PACKETS 20000 /* unless asked for more */
#define CHAIN	3     /* policies in turn */

static void key_of(const struct model_flow *f, struct sluice_flow_key *ret, int *ret_first)
{
	uint16_t port[2] = {f->end[0].port, f->end[1].port};
	uint8_t addr[2][16] = {};
	int i, second;

	*ret = (struct sluice_flow_key){.tenant = f->tenant, .protocol = f->protocol, .version = f->version};
	for (i = 0; i < 2; i++) {
		memcpy(addr[i], f->end[i].addr, 16);
		if (f->version == 4) {
			memset(addr[i], 0, 12);
			addr[i][10] = addr[i][11] = 0xff;
			memcpy(addr[i] + 12, f->end[i].addr, 4);
		}
	}
	second = memcmp(addr[0], addr[1], 16);
	second = second ? second > 0 : port[0] > port[1];
	for (i = 0; i < 2; i++) {
		memcpy(ret->addr[i ^ second], addr[i], 16);
		ret->port[i ^ second] = htons(port[i]);
	}
	*ret_first = second;
}

static uint32_t facts_of(const struct model_flow *f)
{
	uint32_t facts = (f->packets[1] ? SLUICE_FLOW_REPLIED : 0) | (f->reset ? SLUICE_FLOW_RST : 0) |
			 (f->picked_up ? SLUICE_FLOW_PICKED_UP : 0) | (f->audit_denied ? SLUICE_FLOW_AUDIT_DENY : 0);
	unsigned int i;

	for (i = 0; i < 2; i++)
		facts |= (f->syn[i] ? SLUICE_FLOW_SYN(i) : 0) | (f->acked[i] ? SLUICE_FLOW_ACK(i) : 0) |
			 (f->fin[i] ? SLUICE_FLOW_FIN(i) : 0);
	return facts;
}

/* What differs between a flow of the model and the kernel's. */
static const char *flow_differs(const struct model_flow *f)
{
	struct dataplane_flow got;
	struct sluice_flow_key key;
	struct error err = {};
	static char why[160];
	int first, i;

	key_of(f, &key, &first);
	if (dataplane_flow(judge_dataplane(), &key, &err, &got))
		return "a flow is not there";
	if (got.originator != first)
		return "a flow has the wrong originator";
	if ((got.seen & SLUICE_FLOW_FACTS & ~SLUICE_FLOW_SECOND) != facts_of(f)) {
		snprintf(why, sizeof(why), "facts of a flow are %#x, not %#x", got.seen, facts_of(f));
		return why;
	}
	for (i = 0; i < 2; i++)
		if (got.side[i].packets != f->packets[i] || got.side[i].bytes != f->bytes[i])
			return "packets or bytes of a flow";
	return NULL;
}

static const char *flows_differ(const struct model_host *h)
{
	const char *why = NULL;
	size_t i;

	if (judge_flow_count() != (long)h->n_flows)
		return "the number of flows";
	for (i = 0; i < h->n_flows && !why; i++)
		why = flow_differs(&h->flows[i]);
	return why;
}

static const char *live_step(struct sequence *s, const struct step *step, struct model_host *h)
{
	struct judge_reasons before, after;
	struct model_verdict want;
	uint64_t count, audited;
	int action, i;

	judge_reasons(&before);
	if (dataplane_test_run(judge_dataplane(), step->tc ? SLUICE_HOOK_TC_INGRESS : SLUICE_HOOK_XDP, judge_ifindex(),
			       step->frame.byte, step->frame.length, &action))
		return "test run failed";
	judge_reasons(&after);
	model_host_judge(h, step->frame.byte, step->frame.length, &want);
	sequence_met(&want);
	count = 1 + (h->carried && h->outer.reason == want.reason);
	audited = want.audited + (h->carried && h->outer.reason == want.reason && h->outer.audited);
	if (after.packets[want.reason] == before.packets[want.reason] + count &&
	    after.audited[want.reason] == before.audited[want.reason] + audited)
		return NULL;
	for (i = 0; i < SLUICE_REASON_COUNT; i++)
		if (after.packets[i] != before.packets[i])
			break;
	snprintf(s->why, sizeof(s->why), "the programs say %s%s, the model %s%s", judge_reason((enum sluice_reason)i),
		 i < SLUICE_REASON_COUNT && after.audited[i] != before.audited[i] ? " (audited)" : "",
		 judge_reason(want.reason), want.audited ? " (audited)" : "");
	return s->why;
}

static void live_apply(const struct model_policy *p, struct model_host *h)
{
	_cleanup_free_ char *yaml = model_policy_yaml(p, JUDGE_DEV);

	judge_apply(yaml);
	model_host_apply(h, p);
}

static bool live_fails(struct sequence *s)
{
	_cleanup_(model_host_done) struct model_host host = {};
	const struct model_policy *in_force = NULL;
	const char *why = NULL;
	size_t i;

	judge_flows_clear();
	for (i = 0; i < STEPS && !why; i++) {
		if (s->steps[i].off)
			continue;
		if (in_force != &s->policies[s->steps[i].policy])
			live_apply(in_force = &s->policies[s->steps[i].policy], &host);
		why = live_step(s, &s->steps[i], &host);
		s->failed = i;
	}
	if (!why && in_force) {
		s->failed = STEPS;
		why = flows_differ(&host);
	}
	if (why && why != s->why)
		snprintf(s->why, sizeof(s->why), "%s", why);
	return why;
}

static bool chain_run(uint64_t seed)
{
	struct model_policy policies[CHAIN];
	static struct sequence s;
	uint64_t state = seed;
	unsigned int i;

	for (i = 0; i < CHAIN; i++)
		model_policy_random(&policies[i], (unsigned int)seed * CHAIN + i, &state, false);
	s.policies = policies;
	s.fails = live_fails;
	sequence_draw(&s, &state);
	for (i = 0; i < STEPS; i++) {
		s.steps[i].tc = s.steps[i].frame.length >= 34 && reference_one_in(&state, 3);
		s.steps[i].policy = i * CHAIN / STEPS;
	}
	return sequence_run(&s, seed);
}

int main(void)
{
	static const enum sluice_reason met[] = {
		SLUICE_R_PASS_FLOW,    SLUICE_R_PASS_RULE,    SLUICE_R_PASS_FRAGMENT, SLUICE_R_PASS_ICMP_RELATED,
		SLUICE_R_DENY_DEFAULT, SLUICE_R_TCP_NO_FLOW,  SLUICE_R_STALE_DENY,    SLUICE_R_TUNNEL_HEADER,
		SLUICE_R_TCP_RST,      SLUICE_R_ICMP_UNRELATED,
	};
	uint64_t seed = reference_seed(), wanted = reference_packets(), start = time_now_ns();
	bool failed = false;

	wanted = wanted ? wanted : PACKETS;
	judge_start("live", 4096);
	judge_apply("default: deny\n");
	for (; sequence_goes_on(wanted, met, ARRAY_SIZE(met)) && !failed; seed++)
		failed = chain_run(seed);
	if (!failed) {
		judge_check("programs agree with the model", true, "%s", "");
		sequence_check(met, ARRAY_SIZE(met));
	}
	printf("# %llu packets, %.1f s\n", (unsigned long long)sequence_totals.packets,
	       (double)(time_now_ns() - start) / 1e9);
	return judge_end();
}
