// SPDX-License-Identifier: Apache-2.0
/*
 * Random policies and packets through the real dataplane and the kernel programs: verdict, reason, deciding rule and
 * audit rules of every packet are those of the reference, flows and their decision anew after a change of policy
 * included. All counters are compared after each packet, so that one that moves without need is found too.
 *
 * A difference is cut down to a minimal policy and packet, if one packet shows it, and printed. Run a failure again
 * with the SLUICE_SEED that is printed; ask for more with SLUICE_DIFFERENTIAL=PACKETS.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"
#include "policy/compile.h"
#include "reference_host.h"
#include "shrink.h"

#define PACKETS 20000 /* unless asked for more */
#define CHAIN	3     /* policies in turn over the same flows */
#define SLOTS	4096  /* counter slots that are looked at */

static struct bench {
	int xdp, tc; /* programs */
	int n_cpus;
	uint32_t keys[SLOTS];
	struct sluice_rule_counter *rule_values;
	struct sluice_reason_counter *reason_values;
} bench;

/* What the kernel has counted; what it should have. */
struct counts {
	struct {
		uint64_t packets, audited;
	} rule[SLOTS], reason[SLUICE_REASON_COUNT];
};

struct totals {
	uint64_t policies, packets, flows, again, by_rule, reasons[SLUICE_REASON_COUNT];
};

/* One policy in force. */
struct trial {
	uint64_t seed;
	struct reference_policy policy;
	struct compile_shape shape;
	uint32_t *slots; /* of each rule, the default last */
	uint32_t n_rules;
	uint32_t n_slots; /* above all of them */
	struct counts counts;
};

static bool failed;
static unsigned int planes_met; /* one bit a number of them */
static uint64_t straddling;	/* policies */

/* ------------------------------------------------------------------------ counters */

static void map_read(int map, uint32_t count, void *values)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t next, n = count;

	if ((bpf_map_lookup_batch(map, NULL, &next, bench.keys, values, &n, &opts) && errno != ENOENT) || n != count) {
		printf("not ok - differential: counters: %s\n", strerror(errno));
		exit(1);
	}
}

static void counts_read(uint32_t n_slots, struct counts *ret)
{
	uint32_t i;
	int cpu;

	map_read(judge_map("rule_counters"), n_slots, bench.rule_values);
	map_read(judge_map("reason_counters"), SLUICE_REASON_COUNT, bench.reason_values);
	memset(ret->rule, 0, n_slots * sizeof(ret->rule[0]));
	memset(ret->reason, 0, sizeof(ret->reason));
	for (i = 0; i < n_slots * (uint32_t)bench.n_cpus; i++) {
		ret->rule[bench.keys[i / (uint32_t)bench.n_cpus]].packets += bench.rule_values[i].packets;
		ret->rule[bench.keys[i / (uint32_t)bench.n_cpus]].audited += bench.rule_values[i].audit_packets;
	}
	for (i = 0; i < SLUICE_REASON_COUNT; i++) {
		for (cpu = 0; cpu < bench.n_cpus; cpu++) {
			ret->reason[i].packets +=
				bench.reason_values[i * (uint32_t)bench.n_cpus + (uint32_t)cpu].packets;
			ret->reason[i].audited +=
				bench.reason_values[i * (uint32_t)bench.n_cpus + (uint32_t)cpu].audit_packets;
		}
	}
}

/* What a packet with this verdict adds. */
static void counts_expect(struct trial *t, const struct reference_verdict *v)
{
	const struct reference_rule *rule;
	unsigned int i, k, number = 0;

	t->counts.reason[v->reason].packets++;
	t->counts.reason[v->reason].audited += v->audited;
	if (v->rule >= 0) {
		t->counts.rule[t->slots[v->rule]].packets++;
		t->counts.rule[t->slots[v->rule]].audited += v->audited;
	}
	for (i = 0; i < t->policy.n_rules; i++) {
		rule = &t->policy.rules[i];
		for (k = 0; !rule->off && k < v->n_audits; k++) {
			if (v->audits[k] != number)
				continue;
			t->counts.rule[t->slots[number]].packets++;
			t->counts.rule[t->slots[number]].audited += rule->action != SLUICE_ACTION_ALLOW;
		}
		number += !rule->off;
	}
}

/* The first counter that differs, as text; NULL: none does. */
static const char *counts_differ(const struct trial *t, const struct counts *seen)
{
	static char why[200];
	uint32_t i;

	for (i = 0; i < SLUICE_REASON_COUNT; i++) {
		if (memcmp(&t->counts.reason[i], &seen->reason[i], sizeof(seen->reason[i]))) {
			snprintf(why, sizeof(why), "reason %s: %llu packets (%llu audited), not %llu (%llu)",
				 judge_reason((enum sluice_reason)i), (unsigned long long)seen->reason[i].packets,
				 (unsigned long long)seen->reason[i].audited,
				 (unsigned long long)t->counts.reason[i].packets,
				 (unsigned long long)t->counts.reason[i].audited);
			return why;
		}
	}
	for (i = 0; i < t->n_rules; i++) {
		if (memcmp(&t->counts.rule[t->slots[i]], &seen->rule[t->slots[i]], sizeof(seen->rule[0]))) {
			snprintf(why, sizeof(why), "rule number %u: %llu packets (%llu audited), not %llu (%llu)", i,
				 (unsigned long long)seen->rule[t->slots[i]].packets,
				 (unsigned long long)seen->rule[t->slots[i]].audited,
				 (unsigned long long)t->counts.rule[t->slots[i]].packets,
				 (unsigned long long)t->counts.rule[t->slots[i]].audited);
			return why;
		}
	}
	return memcmp(t->counts.rule, seen->rule, t->n_slots * sizeof(seen->rule[0])) ? "the counter of no rule moved"
										      : NULL;
}

/* ------------------------------------------------------------------------- programs */

static int program_open(uint32_t ifindex)
{
	uint32_t id = 0;

	if (bpf_xdp_query_id((int)ifindex, 0, &id) || !id) {
		printf("not ok - differential: no XDP program is attached\n");
		exit(1);
	}
	return bpf_prog_get_fd_by_id(id);
}

/*
 * Whether the frame passes; the attached program itself, or what TC would run. A rejected one is marked by XDP, and turned
 * into a reset that goes on by TC.
 */
static bool frame_run(bool tc, const struct frame *f)
{
	static uint8_t out[PACKET_MAX + 256];
	struct xdp_md md = {.data_end = (uint32_t)f->length, .ingress_ifindex = judge_ifindex()};
	struct __sk_buff skb = {.ifindex = judge_ifindex(), .ingress_ifindex = judge_ifindex()};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->byte, .data_size_in = (uint32_t)f->length, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = 1);

	opts.ctx_in = tc ? (void *)&skb : (void *)&md;
	opts.ctx_size_in = tc ? sizeof(skb) : sizeof(md);
	if (bpf_prog_test_run_opts(tc ? bench.tc : bench.xdp, &opts)) {
		printf("not ok - differential: test run of %zu bytes: %s\n", f->length, strerror(errno));
		exit(1);
	}
	if (opts.data_size_out != f->length || memcmp(out, f->byte, f->length))
		return false;
	return tc ? (int)opts.retval == -1 /* TC_ACT_UNSPEC */ : opts.retval != XDP_DROP;
}

/* --------------------------------------------------------------------------- policy */

static bool slots_get(struct trial *t, uint64_t *ret_generation)
{
	struct dataplane_live live = {};
	struct error err = {};
	size_t i;

	if (dataplane_live(judge_dataplane(), &err, &live))
		return false;
	t->n_rules = (uint32_t)live.n_rules;
	t->slots = calloc(live.n_rules, sizeof(*t->slots));
	for (i = 0; i < live.n_rules; i++) {
		t->slots[i] = live.rules[i].slot;
		t->n_slots = max(t->n_slots, live.rules[i].slot + 1);
	}
	*ret_generation = live.generation;
	dataplane_live_done(&live);
	return t->n_slots <= SLOTS;
}

/* Puts the trial's policy in force; false: it is none. */
static bool trial_apply(struct trial *t, struct reference_host *host)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(policy_freep) struct policy *p = NULL;
	_cleanup_free_ char *yaml = reference_yaml(&t->policy);
	struct error err = {};

	if (policy_load_text("random.yaml", yaml, strlen(yaml), &d, &p) ||
	    policy_compile_shaped(p, &t->shape, &err, &tables))
		return false;
	judge_use_shape(&t->shape);
	judge_apply(yaml);
	planes_met |= 1u << tables->head.planes;
	straddling += tables->words.words > SLUICE_PAGE_WORDS;
	host->policy = &t->policy;
	if (!slots_get(t, &host->generation)) {
		printf("not ok - differential: more counter slots than expected\n");
		exit(1);
	}
	counts_read(t->n_slots, &t->counts);
	return true;
}

static void trial_end(struct trial *t)
{
	free(t->slots);
	t->slots = NULL;
	t->n_slots = 0;
}

/* -------------------------------------------------------------------------- packets */

/* What differs for one packet; NULL: nothing. */
static const char *packet_differs(struct trial *t, struct reference_host *host, const struct reference_packet *p,
				  bool tc, struct reference_verdict *ret_expected)
{
	static struct counts seen;
	static struct frame frame;
	static char why[300];
	const char *counter;
	bool passes;

	reference_packet_build(p, &frame);
	reference_host_judge(host, p, ret_expected);
	passes = frame_run(tc, &frame);
	counts_expect(t, ret_expected);
	counts_read(t->n_slots, &seen);
	counter = counts_differ(t, &seen);
	if (passes == ret_expected->passes && !counter)
		return NULL;
	snprintf(why, sizeof(why), "%s: %s, where the reference %s it (%s); %s", tc ? "tc" : "xdp",
		 passes ? "passes" : "dropped", ret_expected->passes ? "passes" : "drops",
		 judge_reason(ret_expected->reason), counter ? counter : "counters agree");
	return why;
}

/* The same packet, alone, with no flow live. */
struct lone {
	const struct reference_packet *packet;
	struct compile_shape shape;
	bool tc;
};

static bool lone_fails(void *arg, const struct reference_policy *p, const struct policy_query *q)
{
	const struct lone *lone = arg;
	struct reference_packet packet = *lone->packet;
	_cleanup_(reference_host_clear) struct reference_host host = {};
	static struct trial t;
	struct reference_verdict expected;
	bool differs = false;

	t = (struct trial){.policy = *p, .shape = lone->shape};
	packet.query = *q;
	if (!reference_packet_exists(&packet))
		return false;
	judge_flows_clear();
	if (trial_apply(&t, &host))
		differs = packet_differs(&t, &host, &packet, lone->tc, &expected);
	trial_end(&t);
	return differs;
}

static void failure_print(struct trial *t, const struct reference_packet *p, bool tc, const char *why)
{
	struct lone lone = {p, t->shape, tc};
	struct policy_query q = p->query;
	_cleanup_free_ char *yaml = NULL, *command = NULL, *first = strdup(why);
	bool alone = lone_fails(&lone, &t->policy, &q);

	if (alone)
		shrink(&t->policy, &q, lone_fails, &lone);
	yaml = reference_yaml(&t->policy);
	command = reference_command(&q);
	printf("# %s\n%s\n%s, TCP flags 0x%x, identifier %u, VLAN %u\n",
	       alone ? "minimal:" : "not by this packet alone: it depends on those before it", yaml, command, p->tcp,
	       p->icmp_id, q.tenant);
	failed = true;
	judge_check("kernel agrees with the reference", false, "seed %llu: %s", (unsigned long long)t->seed, first);
}

/* ----------------------------------------------------------------------- the chain */

struct chain {
	struct reference_host host;
	struct reference_packet *sent;
	size_t n_sent;
	size_t capacity;
};

static void chain_remember(struct chain *c, const struct reference_packet *p)
{
	if (c->n_sent == c->capacity) {
		c->capacity = 2 * c->capacity + 64;
		c->sent = reallocarray(c->sent, c->capacity, sizeof(*c->sent));
		if (!c->sent)
			abort();
	}
	c->sent[c->n_sent++] = *p;
}

static void trial_run(struct trial *t, struct chain *c, unsigned int packets, uint64_t *state, struct totals *totals)
{
	struct reference_verdict expected;
	struct reference_packet p;
	const char *why;
	bool tc;

	for (; packets && !failed; packets--) {
		reference_packet_random(&t->policy, c->sent, c->n_sent, state, &p);
		tc = reference_one_in(state, 3);
		why = packet_differs(t, &c->host, &p, tc, &expected);
		chain_remember(c, &p);
		totals->packets++;
		totals->by_rule += expected.rule >= 0 && (uint32_t)expected.rule + 1 < t->n_rules;
		totals->reasons[expected.reason]++;
		if (why)
			failure_print(t, &p, tc, why);
	}
	totals->policies++;
}

/* The carrier's antispoof, and the mode: not in every random policy, for they hide the rest. */
static void policy_draw(struct reference_policy *p, uint64_t *state)
{
	struct reference_interface *door;
	unsigned int i;

	reference_generate_any(p, state);
	p->device = JUDGE_DEV;
	p->n_interfaces = 1;
	p->audit = reference_one_in(state, 8);
	door = &p->interfaces[0];
	for (i = 0; i < 3 && reference_one_in(state, 5); i++) {
		door->segments.items[door->segments.count++].number = reference_below(state, p->n_segments);
		door->antispoof = true;
	}
}

static unsigned int layouts_count(void)
{
	static const char text[] = "sluice: 1\n";
	struct policy_diagnostics d = {};
	struct policy_tables *tables = NULL;
	struct policy *p = NULL;
	struct error err = {};
	unsigned int n = 0;

	if (policy_load_text("empty.yaml", text, sizeof(text) - 1, &d, &p))
		abort();
	for (; !policy_compile_shaped(p, &(struct compile_shape){.layout = n}, &err, &tables); n++)
		policy_tables_free(tables);
	policy_free(p);
	policy_diagnostics_done(&d);
	return n;
}

/* A few policies in turn over the same connections. */
static void chain_run(uint64_t seed, unsigned int layouts, struct totals *totals)
{
	static struct trial t;
	struct chain c = {};
	uint64_t state = seed;
	unsigned int i;

	judge_flows_clear();
	for (i = 0; i < CHAIN && !failed; i++) {
		t = (struct trial){.seed = seed, .shape.layout = reference_below(&state, layouts)};
		t.shape.padding = reference_padding(&state);
		policy_draw(&t.policy, &state);
		if (trial_apply(&t, &c.host)) {
			trial_run(&t, &c, 150 + reference_below(&state, 400), &state, totals);
		} else {
			judge_check("policy", false, "seed %llu: refused", (unsigned long long)seed);
			failed = true;
		}
		totals->flows += c.host.n_flows;
		trial_end(&t);
		reference_done(&t.policy);
	}
	reference_host_clear(&c.host);
	free(c.sent);
}

/* Reasons that random packets meet; a test that misses one has gone blind. */
static void reasons_check(const struct totals *t)
{
	static const enum sluice_reason met[] = {
		SLUICE_R_PASS_FLOW,    SLUICE_R_PASS_RULE,  SLUICE_R_PASS_DEFAULT,   SLUICE_R_DENY_RULE,
		SLUICE_R_DENY_DEFAULT, SLUICE_R_ANTISPOOF,  SLUICE_R_UNKNOWN_TENANT, SLUICE_R_ICMP_UNRELATED,
		SLUICE_R_TCP_NO_FLOW,  SLUICE_R_STALE_DENY,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(met); i++)
		judge_check(judge_reason(met[i]), t->reasons[met[i]], "no packet had this reason");
}

int main(void)
{
	uint64_t first = reference_seed(), wanted = reference_packets(), seed, start;
	unsigned int layouts = layouts_count();
	struct totals t = {};
	double seconds;

	judge_start("differential", 65536);
	judge_apply("default: deny\n");
	bench.xdp = program_open(judge_ifindex());
	bench.tc = judge_map("programs/sluice_tc_ingress");
	bench.n_cpus = libbpf_num_possible_cpus();
	bench.rule_values = calloc((size_t)bench.n_cpus * SLOTS, sizeof(*bench.rule_values));
	bench.reason_values = calloc((size_t)bench.n_cpus * SLUICE_REASON_COUNT, sizeof(*bench.reason_values));
	wanted = wanted ? wanted : PACKETS;
	start = time_now_ns();
	for (seed = first; t.packets < wanted && !failed; seed++)
		chain_run(seed, layouts, &t);
	seconds = (double)(time_now_ns() - start) / 1e9;
	fprintf(stderr, "# seed %llu: %llu policies, %llu packets (%llu by rules) in %.1f s, %.0f a second\n",
		(unsigned long long)first, (unsigned long long)t.policies, (unsigned long long)t.packets,
		(unsigned long long)t.by_rule, seconds, (double)t.packets / seconds);
	if (!failed) {
		judge_check("kernel agrees with the reference", t.policies >= 30, "only %llu policies",
			    (unsigned long long)t.policies);
		judge_check("policies of one plane and of all", planes_met >> 1 & planes_met >> SLUICE_PLANE_AUDIT & 1,
			    "numbers of planes: 0x%x", planes_met);
		judge_check("policies across the end of a page", straddling, "none");
		judge_check("rules decide", t.by_rule * 5 > t.packets, "only %llu packets",
			    (unsigned long long)t.by_rule);
		reasons_check(&t);
	}
	free(bench.rule_values);
	free(bench.reason_values);
	return judge_end();
}
