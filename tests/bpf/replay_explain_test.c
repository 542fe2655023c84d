// SPDX-License-Identifier: Apache-2.0
/*
 * What replay says of the first packet of a flow, and what explain says of that flow, must be the same: random policies
 * and questions, the rules walked as written on one side, the compiled tables and the real programs on the other. Run a
 * failure again with the SLUICE_SEED that is printed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"

#include "judge.h"
#include "reference_host.h"

#define POLICIES  6
#define QUESTIONS 3000
#define APART_NS  (7200 * NSEC_PER_SEC) /* longer than any flow lasts: every packet is the first of its flow */

struct trial {
	uint64_t seed;
	struct reference_policy reference;
	char *yaml;
	struct policy *policy;
	struct policy_tables *tables;
	struct dataplane_replay *replay;
	uint64_t packets;
	uint64_t rules; /* decided by one, not by the default */
};

static void trial_end(struct trial *t)
{
	dataplane_replay_close(t->replay);
	policy_tables_free(t->tables);
	policy_free(t->policy);
	reference_done(&t->reference);
	free(t->yaml);
}

static int trial_begin(struct trial *t, uint64_t *state, struct error *err)
{
	struct dataplane_replay_options options = {};
	struct policy_diagnostics diagnostics = {};
	int r;

	reference_generate(&t->reference, state);
	t->yaml = reference_yaml(&t->reference);
	r = policy_load_text("random.yaml", t->yaml, strlen(t->yaml), &diagnostics, &t->policy);
	if (r)
		policy_diagnostics_print(&diagnostics, stdout);
	policy_diagnostics_done(&diagnostics);
	if (!r)
		r = policy_compile(t->policy, err, &t->tables);
	options.policy = t->policy;
	options.tables = t->tables;
	return r ? r : dataplane_replay_open(&options, err, &t->replay);
}

static bool address_is_ipv4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

static void address_text(const uint8_t addr[16], char text[INET6_ADDRSTRLEN])
{
	bool ipv4 = address_is_ipv4(addr);

	if (!inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? addr + 12 : addr, text, INET6_ADDRSTRLEN))
		abort();
}

/* Questions that no packet asks, or that something before the rules decides. */
static bool never_reaches_rules(const struct policy_query *q)
{
	static const uint8_t extensions[] = {0, 43, 44, 51, 59, 60, 135, 139, 140, 253, 254};
	bool ipv4 = address_is_ipv4(q->source);
	uint8_t type = (uint8_t)(q->dest_port >> 8);

	if (ipv4 != address_is_ipv4(q->dest) || !q->protocol) /* packet.h has no protocol 0 */
		return true;
	if (reference_malformed(q) >= 0)
		return true;
	if (!ipv4 && memchr(extensions, q->protocol, sizeof(extensions)))
		return true;
	if (q->protocol == IPPROTO_ICMP)
		return !ipv4 || type == 3 || type == 11 || type == 12;
	if (q->protocol == IPPROTO_ICMPV6)
		return ipv4 || (type >= 1 && type <= 4);
	return false;
}

static void frame_make(const struct policy_query *q, struct frame *f)
{
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	uint16_t ports[2] = {htons(q->source_port), htons(q->dest_port)};
	struct packet p = {.from = from, .to = to, .protocol = q->protocol, .vlan = q->tenant}; /* reference.c */

	address_text(q->source, from);
	address_text(q->dest, to);
	if (q->protocol == IPPROTO_TCP)
		p.tcp = TCP_F_SYN;
	else if (q->protocol == IPPROTO_ICMP || q->protocol == IPPROTO_ICMPV6)
		p.icmp = 0x10000 | q->dest_port;
	else if (q->protocol != IPPROTO_UDP)
		p.payload = 12;
	packet_build(f, &p);
	if (q->protocol == IPPROTO_TCP || q->protocol == IPPROTO_UDP || q->protocol == IPPROTO_SCTP)
		memcpy(f->byte + f->l4, ports, sizeof(ports));
}

/* 0: they agree, 1: they do not, and it is said. */
static int question_compare(struct trial *t, const struct policy_query *q, uint64_t time_ns)
{
	static const enum sluice_verdict verdicts[] = {
		[SLUICE_ACTION_DENY] = SLUICE_DROP,
		[SLUICE_ACTION_ALLOW] = SLUICE_PASS,
		[SLUICE_ACTION_REJECT] = SLUICE_REJECT,
	};
	static struct frame frame;
	struct sluice_replay_result r = {};
	struct policy_answer answer;
	struct error err = {};

	frame_make(q, &frame);
	if (policy_explain(t->policy, q, &answer) ||
	    dataplane_replay_packet(t->replay,
				    &(struct dataplane_replay_packet){.time_ns = time_ns,
								      .frame = frame.byte,
								      .length = frame.length,
								      .wire_length = frame.length},
				    &err, &r))
		abort();
	free(answer.earlier);
	t->packets++;
	t->rules += !answer.by_default;
	if (r.slot == answer.rule && r.verdict == verdicts[answer.action] && r.tenant == q->tenant)
		return 0;
	judge_check("replay agrees with explain", false,
		    "seed %llu, %s, tenant %u, protocol %u, ports %u > %u: explain says rule %zu, replay says slot %u, "
		    "%s:\n%s",
		    (unsigned long long)t->seed, address_is_ipv4(q->source) ? "IPv4" : "IPv6", q->tenant, q->protocol,
		    q->source_port, q->dest_port, answer.rule, r.slot, judge_reason((enum sluice_reason)r.reason),
		    t->yaml);
	return 1;
}

static void trial_run(uint64_t seed, uint64_t *ret_rules)
{
	_cleanup_(trial_end) struct trial t = {.seed = seed};
	struct error err = {};
	struct policy_query q;
	uint64_t state = seed, time_ns = 0;
	char name[64];
	int i, bad = 0;

	snprintf(name, sizeof(name), "policy of seed %llu", (unsigned long long)seed);
	if (trial_begin(&t, &state, &err)) {
		judge_check(name, false, "%s\n%s", err.text, t.yaml);
		return;
	}
	for (i = 0; !bad && i < QUESTIONS; i++, time_ns += APART_NS) {
		reference_query(&t.reference, &state, &q);
		if (!never_reaches_rules(&q))
			bad = question_compare(&t, &q, time_ns);
	}
	*ret_rules += t.rules;
	judge_check(name, bad || t.packets > QUESTIONS / 4, "only %llu of %d questions were packets",
		    (unsigned long long)t.packets, QUESTIONS);
}

int main(void)
{
	uint64_t first = reference_seed(), rules = 0, i;

	judge_start("replay-explain", 64);
	for (i = 0; i < POLICIES; i++)
		trial_run(first + i, &rules);
	judge_check("rules decided, not only defaults", rules > POLICIES * QUESTIONS / 20, "%llu packets",
		    (unsigned long long)rules);
	return judge_end();
}
