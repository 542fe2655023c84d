// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice apply` killed at random moments, hundreds of times, under traffic. Two policies give eight packets opposite
 * verdicts, by rules of their own behind an audit rule of their own. What must hold:
 *
 *   - after each kill the live policy is one of the two, and all eight packets say so;
 *   - the next apply succeeds, and its policy says so;
 *   - at no time does a packet get a third verdict: a thread judges packets on another CPU all the while, and of each
 *     the verdict, the deciding rule, the audit rule and the generation belong to one policy;
 *   - rules that both policies have, and a flow that both allow, count every packet.
 *
 * SLUICE_KILLS asks for another number of kills. Run a failure again with the SLUICE_SEED that is printed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"
#include "reference.h"

#ifdef __SANITIZE_ADDRESS__ /* an apply takes several times as long */
#define KILLS 60
#else
#define KILLS 300
#endif
#define PROBES	  8
#define SPORT_OWN 7 /* of the main thread; the traffic thread's are above 1024 */
#define SLOTS	  8192

enum which { A, B, POLICIES };

/* The second is so much larger that tables are made anew when one follows the other in a bank. */
static const unsigned int paddings[POLICIES] = {150, 900};

static struct {
	char sluice[PATH_MAX];
	char folder[64]; /* policy files, history */
	char file[POLICIES][96];
	int program; /* XDP */
	/* Which policy's rule a counter slot is of, and which rule: 0..7 a probe's, AUDIT. */
	struct {
		int policy; /* -1: of both or none */
		int rule;
	} slot[SLOTS];
	uint32_t common_slot, flow_slot;
} bench;

enum { AUDIT = PROBES };

static atomic_uint_fast64_t common_sent, flow_sent;

/* --------------------------------------------------------------------------- policies */

static bool allows(enum which policy, unsigned int probe)
{
	return probe % 2 == policy;
}

static void padding_write(FILE *out, enum which policy)
{
	unsigned int i;

	for (i = 0; i < paddings[policy]; i++)
		fprintf(out, "  - {name: pad-%c-%u, from: 10.%u.%u.0/24, to: 10.50.%u.%u, service: tcp/%u, action: deny}\n",
			'a' + policy, i, 60 + policy, i % 256, i / 256, i % 256, 1 + i);
}

/* The order differs as well, so that no number means the same in both. */
static void policy_write_file(enum which policy)
{
	char letter = (char)('a' + policy);
	_cleanup_fclose_ FILE *out = NULL;
	unsigned int i, probe;

	snprintf(bench.file[policy], sizeof(bench.file[policy]), "%s/%c.yaml", bench.folder, letter);
	out = fopen(bench.file[policy], "we");
	if (!out)
		abort();
	fprintf(out, "sluice: 1\nname: %c\ndefault: deny\nfailsafe: []\ninterfaces: [{name: " JUDGE_DEV "}]\n"
		"conntrack: {max: 4096}\nrules:\n",
		letter);
	fprintf(out, "  - {name: audit-%c, from: 10.1.0.0/24, to: 10.2.0.0/16, action: deny, mode: audit, log: true}\n",
		letter);
	if (policy == B)
		padding_write(out, policy);
	fprintf(out, "  - {name: common, from: 10.3.0.1, to: 10.2.0.9, service: udp/99, action: allow, stateful: false}\n");
	fprintf(out, "  - {name: flow, from: 10.3.0.2, to: 10.2.0.9, service: tcp/99, action: allow}\n");
	if (policy == A)
		padding_write(out, policy);
	for (i = 0; i < PROBES; i++) {
		probe = policy == A ? i : PROBES - 1 - i;
		fprintf(out, "  - {name: %c-%u, from: 10.1.0.%u, to: 10.2.0.9, service: udp/%u, action: %s, log: true}\n",
			letter, probe, probe + 1, 1000 + probe, allows(policy, probe) ? "allow, stateful: false" : "deny");
	}
}

static void paths_find(void)
{
	ssize_t n = readlink("/proc/self/exe", bench.sluice, sizeof(bench.sluice) - 32);
	char *end = NULL;
	int i;

	for (i = 0; n > 0 && i < 3; i++) { /* tests/bpf/NAME */
		bench.sluice[n] = '\0';
		end = strrchr(bench.sluice, '/');
		n = end - bench.sluice;
	}
	strcpy(end, "/sluice");
	strcpy(bench.folder, "/tmp/sluice-test-apply-kill.XXXXXX");
	if (!mkdtemp(bench.folder) || access(bench.sluice, X_OK)) {
		judge_check("bench", false, "%s: %s", bench.sluice, strerror(errno));
		exit(1);
	}
}

/* -------------------------------------------------------------------------- processes */

static pid_t apply_start(enum which policy)
{
	cpu_set_t all;
	pid_t pid = fork();

	if (pid)
		return pid;
	CPU_ZERO(&all);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, &all);
	sched_setaffinity(0, sizeof(all), &all);
	dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
	execl(bench.sluice, "sluice", "--root", judge_root(), "--state-dir", bench.folder, "apply", bench.file[policy], NULL);
	_exit(127);
}

static int apply_wait(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* ---------------------------------------------------------------------------- packets */

static struct frame probe_frame(unsigned int probe, uint16_t sport)
{
	char from[32];
	struct packet p = {.from = from, .to = "10.2.0.9", .sport = sport, .dport = (uint16_t)(1000 + probe)};
	static _Thread_local struct frame f;

	snprintf(from, sizeof(from), "10.1.0.%u", probe + 1);
	packet_build(&f, &p);
	return f;
}

/* Whether the frame passes. */
static bool frame_run(const struct frame *f)
{
	static _Thread_local uint8_t out[2048];
	struct xdp_md md = {.data_end = (uint32_t)f->length, .ingress_ifindex = judge_ifindex()};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->byte, .data_size_in = (uint32_t)f->length, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = 1);

	if (bpf_prog_test_run_opts(bench.program, &opts))
		abort();
	return opts.retval != XDP_DROP;
}

/* Which policy the eight packets tell of; -1: neither. */
static int probes_ask(void)
{
	unsigned int i, passed = 0;
	struct frame f;

	for (i = 0; i < PROBES; i++) {
		f = probe_frame(i, SPORT_OWN);
		passed |= (unsigned int)frame_run(&f) << i;
	}
	return passed == 0x55 ? A : passed == 0xaa ? B : -1;
}

/* ---------------------------------------------------------------------------- traffic */

/* What was seen of the packet under way. */
struct sighting {
	uint16_t sport;
	unsigned int events;
	int policy[4], rule[4];
	uint64_t generation[4];
	uint32_t reason;
};

static struct traffic {
	atomic_bool stop;
	pthread_t thread;
	struct sighting now;
	uint64_t packets, complete, mixtures, changes;
	int last;
	char first_mixture[200];
	/* Policy that a generation turned out to be, by its lowest bits. */
	struct {
		uint64_t generation;
		int policy;
	} known[1024];
} traffic;

static int event_take(void *arg, void *data, size_t size)
{
	const struct sluice_event *e = data;
	struct sighting *s = &traffic.now;

	if (size != sizeof(*e) || ntohs(e->source_port) != s->sport || s->events == ARRAY_SIZE(s->policy))
		return 0;
	s->policy[s->events] = e->rule < SLOTS ? bench.slot[e->rule].policy : -1;
	s->rule[s->events] = e->rule < SLOTS ? bench.slot[e->rule].rule : -1;
	s->generation[s->events] = e->generation;
	s->reason = e->reason;
	s->events++;
	return 0;
}

/* A generation is one policy for ever. */
static bool generation_is(uint64_t generation, int policy)
{
	unsigned int i = generation % ARRAY_SIZE(traffic.known);

	if (traffic.known[i].generation != generation) {
		traffic.known[i].generation = generation;
		traffic.known[i].policy = policy;
	}
	return traffic.known[i].policy == policy;
}

/* NULL: all that was seen of the packet is of the policy that the verdict tells of. */
static const char *sighting_differs(unsigned int probe, int policy)
{
	const struct sighting *s = &traffic.now;
	unsigned int i;

	for (i = 0; i < s->events; i++) {
		if (s->policy[i] != policy)
			return "a rule of the other policy";
		if (s->rule[i] != AUDIT && s->rule[i] != (int)probe)
			return "the rule of another packet";
		if (s->generation[i] != s->generation[0] || !generation_is(s->generation[i], policy))
			return "a generation of the other policy";
	}
	return NULL;
}

static void mixture_note(const char *why, unsigned int probe, bool passes)
{
	if (!traffic.mixtures++)
		snprintf(traffic.first_mixture, sizeof(traffic.first_mixture), "packet %u %s, but %s; last reason %s", probe,
			 passes ? "passes" : "is dropped", why, judge_reason((enum sluice_reason)traffic.now.reason));
}

static void probe_send(struct ring_buffer *ring, unsigned int probe)
{
	struct frame f;
	const char *why;
	bool passes;
	int policy;

	traffic.now = (struct sighting){.sport = (uint16_t)(1025 + traffic.packets % 60000)};
	f = probe_frame(probe, traffic.now.sport);
	passes = frame_run(&f);
	policy = passes == allows(A, probe) ? A : B;
	ring_buffer__consume(ring);
	why = sighting_differs(probe, policy);
	if (why)
		mixture_note(why, probe, passes);
	traffic.complete += traffic.now.events == 2;
	traffic.changes += policy != traffic.last;
	traffic.last = policy;
}

/* Packets that both policies let pass. */
static void common_send(const struct frame *f, atomic_uint_fast64_t *sent, const char *what)
{
	atomic_fetch_add(sent, 1);
	if (!frame_run(f))
		mixture_note(what, PROBES, false);
}

static void cpu_take(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set); /* best effort: on one CPU they take turns */
}

static void *traffic_run(void *arg)
{
	static const struct packet common = {.from = "10.3.0.1", .to = "10.2.0.9", .dport = 99};
	static const struct packet data = {.from = "10.3.0.2", .to = "10.2.0.9", .dport = 99, .tcp = TCP_F_ACK};
	struct ring_buffer *ring = ring_buffer__new(judge_map("events"), event_take, NULL, NULL);
	static struct frame common_frame, data_frame;

	cpu_take(1);
	packet_build(&common_frame, &common);
	packet_build(&data_frame, &data);
	while (ring && !atomic_load(&traffic.stop)) {
		probe_send(ring, (unsigned int)(traffic.packets % PROBES));
		if (traffic.packets % 4 == 0) {
			common_send(&common_frame, &common_sent, "both policies allow it");
			common_send(&data_frame, &flow_sent, "both policies allow its flow");
		}
		traffic.packets++;
	}
	ring_buffer__free(ring);
	return NULL;
}

/* ------------------------------------------------------------------------------ state */

/* What the kernel says of itself. */
struct state {
	uint64_t generation;
	uint64_t spare; /* generation in the head of the spare bank */
	int policy;	/* by the head's name; -1: neither */
};

static uint64_t head_generation(unsigned int bank)
{
	struct sluice_policy head = {};
	uint32_t key = bank, id = 0, zero = 0;
	_cleanup_close_ int fd = -1;

	if (bpf_map_lookup_elem(judge_map("policy"), &key, &id))
		return 0;
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0 || bpf_map_lookup_elem(fd, &zero, &head))
		return 0;
	return head.generation;
}

static uint64_t generation_live(void)
{
	struct sluice_control control = {};
	uint32_t zero = 0;

	bpf_map_lookup_elem(judge_map("control"), &zero, &control);
	return control.generation;
}

/* Which policy is live, by name; and that its rules have the slots that they always had. */
static int policy_live(bool learn)
{
	struct dataplane_live live = {};
	struct error err = {};
	int policy, rule = 0;
	char letter;
	size_t i;

	if (dataplane_live(judge_dataplane(), &err, &live))
		return -1;
	policy = !strcmp(live.head.name, "a") ? A : !strcmp(live.head.name, "b") ? B : -1;
	for (i = 0; i < live.n_rules && policy >= 0; i++) {
		const struct sluice_rule *r = &live.rules[i];

		if (!strcmp(r->name, "common"))
			bench.common_slot = r->slot;
		if (!strcmp(r->name, "flow"))
			bench.flow_slot = r->slot;
		if (!strncmp(r->name, "audit-", 6))
			rule = AUDIT;
		else if (sscanf(r->name, "%c-%d", &letter, &rule) != 2 || r->name[1] != '-')
			continue;
		if (learn) {
			bench.slot[r->slot].policy = policy;
			bench.slot[r->slot].rule = rule;
		} else if (bench.slot[r->slot].policy != policy || bench.slot[r->slot].rule != rule) {
			policy = -1;
		}
	}
	dataplane_live_done(&live);
	return policy;
}

static struct state state_read(void)
{
	struct state s = {.generation = generation_live()};

	s.spare = head_generation((unsigned int)(s.generation + 1) & 1);
	s.policy = policy_live(false);
	return s;
}

/* ------------------------------------------------------------------------------ kills */

/* Nanoseconds from the start of an apply. */
struct phases {
	uint64_t load, flip, end;
};

static struct phases phases_measure(enum which policy)
{
	uint64_t live = generation_live(), start = time_now_ns(), spare = head_generation((unsigned int)(live + 1) & 1);
	pid_t pid = apply_start(policy);
	struct phases p = {};
	int status;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (!p.load && head_generation((unsigned int)(live + 1) & 1) != spare)
			p.load = time_now_ns() - start;
		if (!p.flip && generation_live() != live)
			p.flip = time_now_ns() - start;
	}
	p.end = time_now_ns() - start;
	return p;
}

static uint64_t between(uint64_t *state, uint64_t first, uint64_t last)
{
	return first + reference_random(state) % (last > first ? last - first : 1);
}

/* One in four anywhere; else while loading or shortly after the flip. */
static uint64_t moment_draw(uint64_t *state, const struct phases *p)
{
	uint64_t margin = (p->flip - p->load) / 4 + 200000;

	switch (reference_below(state, 4)) {
	case 0:
		return between(state, 0, p->end + p->end / 10);
	case 1:
		return between(state, p->flip - margin, p->flip + margin);
	default:
		return between(state, p->load - margin, p->flip + margin);
	}
}

static void sleep_until(uint64_t ns)
{
	struct timespec at = {.tv_sec = (time_t)(ns / NSEC_PER_SEC), .tv_nsec = (long)(ns % NSEC_PER_SEC)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

struct tally {
	unsigned int kills, ended, before_load, in_load, after_flip, applies;
	char wrong[200]; /* the first thing that was not as it must be */
};

__attribute__((format(printf, 2, 3))) static void wrong(struct tally *t, const char *format, ...)
{
	va_list ap;

	if (t->wrong[0])
		return;
	va_start(ap, format);
	vsnprintf(t->wrong, sizeof(t->wrong), format, ap);
	va_end(ap);
}

/* The policy that is in force by name is the one that packets get. */
static void state_check(struct tally *t, const struct state *s, const char *when)
{
	int asked = probes_ask();

	if (s->policy < 0 || asked != s->policy)
		wrong(t, "kill %u, %s: generation %llu is policy %d by name, and %d by what packets get", t->kills, when,
		      (unsigned long long)s->generation, s->policy, asked);
}

static void kill_one(struct tally *t, enum which policy, const struct phases *p, uint64_t *random)
{
	struct state before = state_read(), after;
	uint64_t moment = moment_draw(random, p), start = time_now_ns();
	pid_t pid = apply_start(policy);
	int status;

	sleep_until(start + moment);
	kill(pid, SIGKILL);
	status = apply_wait(pid);
	if (!WIFSIGNALED(status)) {
		t->ended++;
		if (status)
			wrong(t, "apply ended with status 0x%x", status);
	} else {
		t->kills++;
	}
	after = state_read();
	if (WIFSIGNALED(status) && after.generation != before.generation)
		t->after_flip++;
	else if (WIFSIGNALED(status) && after.spare != before.spare)
		t->in_load++;
	else if (WIFSIGNALED(status))
		t->before_load++;
	if (after.generation != before.generation && (after.generation < before.generation || after.policy != (int)policy))
		wrong(t, "kill %u: generation %llu after %llu, policy %d", t->kills, (unsigned long long)after.generation,
		      (unsigned long long)before.generation, after.policy);
	if (after.generation == before.generation && after.policy != before.policy)
		wrong(t, "kill %u: another policy under the same generation", t->kills);
	state_check(t, &after, "killed");
}

static void apply_whole(struct tally *t, enum which policy)
{
	uint64_t before = generation_live();
	int status = apply_wait(apply_start(policy));
	struct state s = state_read();

	t->applies++;
	if (status || s.generation <= before || s.policy != (int)policy)
		wrong(t, "the apply after kill %u: status 0x%x, generation %llu, policy %d", t->kills, status,
		      (unsigned long long)s.generation, s.policy);
	state_check(t, &s, "applied");
}

static void phases_typical(struct phases p[POLICIES])
{
	struct phases one;
	int i;

	for (i = 0; i < 6; i++) {
		one = phases_measure(i % 2 ? A : B);
		if (i < 2 || one.end < p[i % 2 ? A : B].end)
			p[i % 2 ? A : B] = one;
	}
}

static void kills_run(struct tally *t, unsigned int kills, uint64_t *random)
{
	struct phases p[POLICIES];
	unsigned int i, policy;

	phases_typical(p);
	for (i = 0; i < POLICIES; i++)
		fprintf(stderr, "# apply of %c: load from %.1f ms, flip at %.1f ms, end at %.1f ms\n", 'a' + (int)i,
			(double)p[i].load / 1e6, (double)p[i].flip / 1e6, (double)p[i].end / 1e6);
	while (t->kills < kills && !t->wrong[0]) {
		policy = reference_below(random, POLICIES);
		kill_one(t, (enum which)policy, &p[policy], random);
		if (reference_one_in(random, 3))
			apply_whole(t, (enum which)reference_below(random, POLICIES));
	}
	apply_whole(t, A);
	apply_whole(t, B);
}

/* ------------------------------------------------------------------------------- main */

/* Both policies once in each bank: from now on every rule has its slot for good. */
static void slots_learn(struct tally *t)
{
	int i;

	for (i = 0; i < SLOTS; i++)
		bench.slot[i].policy = bench.slot[i].rule = -1;
	for (i = 0; i < 2 * POLICIES; i++) {
		if (apply_wait(apply_start((enum which)(i % POLICIES))))
			wrong(t, "the first applies fail");
		if (policy_live(true) != i % POLICIES)
			wrong(t, "apply of %c leaves something else live", 'a' + i % POLICIES);
	}
}

static uint64_t slot_packets(uint32_t slot)
{
	int i, n = libbpf_num_possible_cpus();
	_cleanup_free_ struct sluice_rule_counter *values = calloc((size_t)n, sizeof(*values));
	uint64_t sum = 0;

	if (!values || bpf_map_lookup_elem(judge_map("rule_counters"), &slot, values))
		return 0;
	for (i = 0; i < n; i++)
		sum += values[i].packets;
	return sum;
}

static void results_say(const struct tally *t, unsigned int kills)
{
	judge_check("every kill leaves one policy whole, and the next apply succeeds", !t->wrong[0], "%s", t->wrong);
	judge_check("as many kills as wanted", t->kills >= kills, "%u", t->kills);
	judge_check("kills fell before the load, into it, and after the flip",
		    t->before_load > 3 && t->in_load > kills / 10 && t->after_flip > kills / 20, "%u, %u, %u",
		    t->before_load, t->in_load, t->after_flip);
	judge_check("no packet gets a third verdict", !traffic.mixtures, "%llu of %llu do: %s",
		    (unsigned long long)traffic.mixtures, (unsigned long long)traffic.packets, traffic.first_mixture);
	judge_check("traffic has seen both policies come and go", traffic.changes > kills / 20 && traffic.packets > 1000,
		    "%llu changes, %llu packets", (unsigned long long)traffic.changes, (unsigned long long)traffic.packets);
	judge_check("nearly every packet was seen whole", traffic.complete * 10 > traffic.packets * 9, "%llu of %llu",
		    (unsigned long long)traffic.complete, (unsigned long long)traffic.packets);
	judge_check("a rule of both policies has counted every packet", slot_packets(bench.common_slot) == common_sent,
		    "%llu of %llu", (unsigned long long)slot_packets(bench.common_slot),
		    (unsigned long long)common_sent);
	judge_check("a flow that both allow has counted every packet", slot_packets(bench.flow_slot) == flow_sent,
		    "%llu of %llu", (unsigned long long)slot_packets(bench.flow_slot), (unsigned long long)flow_sent);
}

static int program_open(void)
{
	uint32_t id = 0;

	if (bpf_xdp_query_id((int)judge_ifindex(), 0, &id) || !id)
		abort();
	return bpf_prog_get_fd_by_id(id);
}

static void bench_begin(struct tally *t)
{
	static const struct packet syn = {.from = "10.3.0.2", .to = "10.2.0.9", .dport = 99, .tcp = TCP_F_SYN};
	static struct frame f;

	judge_start("apply-kill", 4096);
	judge_apply("default: deny\n");
	paths_find();
	policy_write_file(A);
	policy_write_file(B);
	bench.program = program_open();
	slots_learn(t);
	judge_map("events"); /* opened before there are threads */
	packet_build(&f, &syn);
	common_send(&f, &flow_sent, "the flow does not open");
}

static void bench_end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", bench.folder);
	if (system(command))
		judge_check("bench", false, "'%s' failed", command);
}

int main(void)
{
	const char *text = getenv("SLUICE_KILLS");
	unsigned int kills = text ? (unsigned int)strtoul(text, NULL, 0) : KILLS;
	uint64_t random = reference_seed(), start = time_now_ns();
	struct tally t = {};

	prctl(PR_SET_TIMERSLACK, 1);
	bench_begin(&t);
	cpu_take(0);
	if (pthread_create(&traffic.thread, NULL, traffic_run, NULL))
		abort();
	kills_run(&t, kills, &random);
	atomic_store(&traffic.stop, true);
	pthread_join(traffic.thread, NULL);
	fprintf(stderr,
		"# %u kills in %.1f s: %u before the load, %u in it, %u after the flip; %u applies ended before their kill, %u "
		"whole ones; %llu packets meanwhile, %llu changes of policy\n",
		t.kills, (double)(time_now_ns() - start) / 1e9, t.before_load, t.in_load, t.after_flip, t.ended, t.applies,
		(unsigned long long)traffic.packets, (unsigned long long)traffic.changes);
	results_say(&t, kills);
	bench_end();
	return judge_end();
}
