// SPDX-License-Identifier: Apache-2.0
/*
 * The witness of witness.h. One thread runs the programs in bursts, so that a flip seldom finds them idle, and reads
 * what they say of each packet; another may ask meanwhile, with a source port of its own.
 */
#include "witness.h"

#include <errno.h>
#include <linux/if_link.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"

#define PROBES 8
#define AUDIT  PROBES /* the audit rule's number among the rules of a policy */
#define BURST  8
#define SLOTS  8192

static const unsigned int paddings[WITNESS_POLICIES] = {150, 900};

static struct witness {
	int program; /* XDP */
	/* Which policy's rule a counter slot is of, and which rule. */
	struct {
		int policy; /* -1: of both or none */
		int rule;
	} slot[SLOTS];
	uint32_t common_slot, flow_slot;
	uint64_t strange; /* before */
	atomic_bool stop;
	pthread_t thread;
	struct ring_buffer *ring;
	/* The burst under way. */
	uint16_t sport;
	unsigned int probe;
	unsigned int events;
	int last;
	struct witness_account account;
	/* Policy that a generation turned out to be, by its lowest bits. */
	struct {
		uint64_t generation;
		int policy;
	} known[1024];
} witness;

/* --------------------------------------------------------------------------- policies */

static bool allows(int policy, unsigned int probe)
{
	return probe % 2 == (unsigned int)policy;
}

static void padding_write(FILE *out, enum witness_policy policy)
{
	unsigned int i;

	for (i = 0; i < paddings[policy]; i++)
		fprintf(out,
			"  - {name: pad-%c-%u, from: 10.%u.%u.0/24, to: 10.50.%u.%u, service: tcp/%u, action: deny}\n",
			'a' + policy, i, 60 + policy, i % 256, i / 256, i % 256, 1 + i);
}

/* The order differs as well, so that no number means the same in both. */
void witness_policy_write(enum witness_policy policy, const char *path)
{
	_cleanup_fclose_ FILE *out = fopen(path, "we");
	char letter = (char)('a' + policy);
	unsigned int i, probe;

	if (!out)
		abort();
	fprintf(out,
		"sluice: 1\nname: %c\ndefault: deny\nfailsafe: []\ninterfaces: [{name: " JUDGE_DEV "}]\n"
		"conntrack: {max: 4096}\nrules:\n"
		"  - {name: audit-%c, from: 10.1.0.0/24, to: 10.2.0.0/16, action: deny, mode: audit, log: true}\n",
		letter, letter);
	if (policy == WITNESS_B)
		padding_write(out, policy);
	fprintf(out,
		"  - {name: common, from: 10.3.0.1, to: 10.2.0.9, service: udp/99, action: allow, stateful: false}\n"
		"  - {name: flow, from: 10.3.0.2, to: 10.2.0.9, service: tcp/99, action: allow}\n");
	if (policy == WITNESS_A)
		padding_write(out, policy);
	for (i = 0; i < PROBES; i++) {
		probe = policy == WITNESS_A ? i : PROBES - 1 - i;
		fprintf(out,
			"  - {name: %c-%u, from: 10.1.0.%u, to: 10.2.0.9, service: udp/%u, action: %s, log: true}\n",
			letter, probe, probe + 1, 1000 + probe,
			allows((int)policy, probe) ? "allow, stateful: false" : "deny");
		fprintf(out, "  - {name: %c-ask-%u, from: 10.4.0.%u, to: 10.2.0.9, service: udp/%u, action: %s}\n",
			letter, probe, probe + 1, 1000 + probe,
			allows((int)policy, probe) ? "allow, stateful: false" : "deny");
	}
}

/* The slot of one rule of the live policy; false: it is not what it was. */
static bool slot_live(const struct sluice_rule *r, int policy, bool learn)
{
	int rule = AUDIT;
	char letter;

	if (!strcmp(r->name, "common"))
		witness.common_slot = r->slot;
	if (!strcmp(r->name, "flow"))
		witness.flow_slot = r->slot;
	if (strncmp(r->name, "audit-", 6) && (r->name[1] != '-' || sscanf(r->name, "%c-%d", &letter, &rule) != 2))
		return true;
	if (learn) {
		witness.slot[r->slot].policy = policy;
		witness.slot[r->slot].rule = rule;
	}
	return witness.slot[r->slot].policy == policy && witness.slot[r->slot].rule == rule;
}

int witness_policy_live(bool learn)
{
	struct dataplane_live live = {};
	struct error err = {};
	int policy = -1;
	size_t i;

	if (dataplane_live(judge_dataplane(), &err, &live))
		return -1;
	if (!strcmp(live.head.name, "a") || !strcmp(live.head.name, "b"))
		policy = live.head.name[0] - 'a';
	for (i = 0; i < live.n_rules && policy >= 0; i++) {
		if (live.rules[i].slot >= SLOTS || !slot_live(&live.rules[i], policy, learn))
			policy = -1;
	}
	dataplane_live_done(&live);
	return policy;
}

/* ---------------------------------------------------------------------------- packets */

/* `network`: 1 for the thread's, which are logged; 4 for those of witness_ask(), which must not stand in their way. */
static void probe_frame(unsigned int network, unsigned int probe, uint16_t sport, struct frame *ret)
{
	char from[32];
	struct packet p = {.from = from, .to = "10.2.0.9", .sport = sport, .dport = (uint16_t)(1000 + probe)};

	snprintf(from, sizeof(from), "10.%u.0.%u", network, probe + 1);
	packet_build(ret, &p);
}

/* Whether the frame passes, the last of so many times. */
static bool frame_run(const struct frame *f, unsigned int times)
{
	uint8_t out[2048];
	struct xdp_md md = {.data_end = (uint32_t)f->length, .ingress_ifindex = judge_ifindex()};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->byte, .data_size_in = (uint32_t)f->length, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = (int)times);

	if (bpf_prog_test_run_opts(witness.program, &opts))
		abort();
	return opts.retval != XDP_DROP;
}

int witness_ask(void)
{
	static struct frame f;
	unsigned int i, passed = 0;

	for (i = 0; i < PROBES; i++) {
		probe_frame(4, i, 1025, &f);
		passed |= (unsigned int)frame_run(&f, 1) << i;
	}
	return passed == 0x55 ? WITNESS_A : passed == 0xaa ? WITNESS_B : -1;
}

/* ---------------------------------------------------------------------------- events */

/* A generation is one policy for ever. */
static bool generation_is(uint64_t generation, int policy)
{
	unsigned int i = generation % ARRAY_SIZE(witness.known);

	if (witness.known[i].generation != generation) {
		witness.known[i].generation = generation;
		witness.known[i].policy = policy;
		witness.account.changes += policy != witness.last;
		witness.last = policy;
	}
	return witness.known[i].policy == policy;
}

static void mixture_note(unsigned int probe, const char *what)
{
	if (!witness.account.mixtures++)
		snprintf(witness.account.first, sizeof(witness.account.first), "packet %u: %s", probe, what);
}

static int event_take(void *arg, void *data, size_t size)
{
	const struct sluice_event *e = data;
	int policy, rule;

	if (size != sizeof(*e) || ntohs(e->source_port) != witness.sport)
		return 0;
	witness.events++;
	policy = e->rule < SLOTS ? witness.slot[e->rule].policy : -1;
	rule = e->rule < SLOTS ? witness.slot[e->rule].rule : -1;
	if (policy < 0)
		mixture_note(witness.probe, "a rule that is of neither policy");
	else if (!generation_is(e->generation, policy))
		mixture_note(witness.probe, "a rule of one policy under a generation of the other");
	else if (rule != AUDIT && rule != (int)witness.probe)
		mixture_note(witness.probe, "the rule of another packet");
	else if (rule != AUDIT && (e->verdict == SLUICE_PASS) != allows(policy, witness.probe))
		mixture_note(witness.probe, "the rule's own policy says the opposite");
	return 0;
}

/* ---------------------------------------------------------------------------- traffic */

static void probes_send(uint64_t turn)
{
	static struct frame f;

	witness.probe = (unsigned int)(turn % PROBES);
	witness.sport = (uint16_t)(1025 + turn % 60000);
	witness.events = 0;
	probe_frame(1, witness.probe, witness.sport, &f);
	frame_run(&f, BURST);
	ring_buffer__consume(witness.ring);
	witness.account.packets += BURST;
	witness.account.unseen += 2 * BURST - min(witness.events, 2u * BURST);
}

/* Packets that both policies let pass. */
static void common_send(const struct frame *f, uint64_t *sent, const char *what)
{
	*sent += 1;
	if (!frame_run(f, 1))
		mixture_note(PROBES, what);
}

static void cpu_take(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set); /* where there is one CPU only they take turns */
}

static void *traffic_run(void *arg)
{
	static const struct packet common = {.from = "10.3.0.1", .to = "10.2.0.9", .dport = 99};
	static const struct packet data = {.from = "10.3.0.2", .to = "10.2.0.9", .dport = 99, .tcp = TCP_F_ACK};
	static struct frame common_frame, data_frame;
	uint64_t turn;

	cpu_take(1);
	packet_build(&common_frame, &common);
	packet_build(&data_frame, &data);
	for (turn = 0; !atomic_load(&witness.stop); turn++) {
		probes_send(turn);
		common_send(&common_frame, &witness.account.common, "dropped, and both policies allow it");
		common_send(&data_frame, &witness.account.flow, "dropped, and both policies allow its flow");
	}
	return NULL;
}

/* --------------------------------------------------------------------------- counters */

static uint64_t counter_packets(const char *map, uint32_t key, size_t size)
{
	int i, n = libbpf_num_possible_cpus();
	_cleanup_free_ uint8_t *values = calloc((size_t)n, size);
	uint64_t sum = 0, one;

	if (!values || bpf_map_lookup_elem(judge_map(map), &key, values))
		abort();
	for (i = 0; i < n; i++) {
		memcpy(&one, values + (size_t)i * size, sizeof(one)); /* `packets` comes first */
		sum += one;
	}
	return sum;
}

/* Of reasons that none of these packets has under either policy. */
static uint64_t strange_packets(void)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < SLUICE_REASON_COUNT; i++) {
		if (i != SLUICE_R_PASS_RULE && i != SLUICE_R_DENY_RULE && i != SLUICE_R_PASS_FLOW)
			sum += counter_packets("reason_counters", i, sizeof(struct sluice_reason_counter));
	}
	return sum;
}

void witness_open(void)
{
	uint32_t id = 0;
	int i;

	for (i = 0; i < SLOTS; i++)
		witness.slot[i].policy = witness.slot[i].rule = -1;
	if (bpf_xdp_query_id((int)judge_ifindex(), 0, &id) || !id)
		abort();
	witness.program = bpf_prog_get_fd_by_id(id);
	witness.last = -1;
}

void witness_start(void)
{
	static const struct packet syn = {.from = "10.3.0.2", .to = "10.2.0.9", .dport = 99, .tcp = TCP_F_SYN};
	static struct frame f;

	witness.strange = strange_packets();
	packet_build(&f, &syn);
	common_send(&f, &witness.account.flow, "the flow does not open");
	witness.ring = ring_buffer__new(judge_map("events"), event_take, NULL, NULL);
	cpu_take(0);
	if (!witness.ring || pthread_create(&witness.thread, NULL, traffic_run, NULL))
		abort();
}

void witness_stop(struct witness_account *ret)
{
	const size_t size = sizeof(struct sluice_rule_counter);

	atomic_store(&witness.stop, true);
	pthread_join(witness.thread, NULL);
	ring_buffer__free(witness.ring);
	witness.account.common_counted = counter_packets("rule_counters", witness.common_slot, size);
	witness.account.flow_counted = counter_packets("rule_counters", witness.flow_slot, size);
	witness.account.strange = strange_packets() - witness.strange;
	*ret = witness.account;
}
