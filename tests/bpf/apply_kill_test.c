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
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "judge.h"
#include "reference.h"
#include "witness.h"

#ifdef __SANITIZE_ADDRESS__ /* an apply takes several times as long */
#define KILLS 60
#else
#define KILLS 300
#endif

static struct {
	char sluice[PATH_MAX];
	char folder[64]; /* policy files, history */
	char file[WITNESS_POLICIES][96];
} bench;

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

static pid_t apply_start(enum witness_policy policy)
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
	execl(bench.sluice, "sluice", "--root", judge_root(), "--state-dir", bench.folder, "apply", bench.file[policy],
	      NULL);
	_exit(127);
}

static int apply_wait(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
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

static struct state state_read(void)
{
	struct state s = {.generation = generation_live()};

	s.spare = head_generation((unsigned int)(s.generation + 1) & 1);
	s.policy = witness_policy_live(false);
	return s;
}

/* ------------------------------------------------------------------------------ kills */

/* Nanoseconds from the start of an apply. */
struct phases {
	uint64_t load, flip, end;
};

static struct phases phases_measure(enum witness_policy policy)
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
	/* Who looks may be kept from it for a while, and see the flip before the load, or neither. */
	p.flip = p.flip ? p.flip : p.end;
	p.load = p.load ? min(p.load, p.flip) : p.flip;
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
		return between(state, p->flip - min(margin, p->flip), p->flip + margin);
	default:
		return between(state, p->load - min(margin, p->load), p->flip + margin);
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
	int asked = witness_ask();

	if (s->policy < 0 || asked != s->policy)
		wrong(t, "kill %u, %s: generation %llu is policy %d by name, and %d by what packets get", t->kills,
		      when, (unsigned long long)s->generation, s->policy, asked);
}

static void kill_one(struct tally *t, enum witness_policy policy, const struct phases *p, uint64_t *random)
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
	if (after.generation != before.generation &&
	    (after.generation < before.generation || after.policy != (int)policy))
		wrong(t, "kill %u: generation %llu after %llu, policy %d", t->kills,
		      (unsigned long long)after.generation, (unsigned long long)before.generation, after.policy);
	if (after.generation == before.generation && after.policy != before.policy)
		wrong(t, "kill %u: another policy under the same generation", t->kills);
	state_check(t, &after, "killed");
}

static void apply_whole(struct tally *t, enum witness_policy policy)
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

static void phases_typical(struct phases p[WITNESS_POLICIES])
{
	struct phases one;
	int i;

	for (i = 0; i < 6; i++) {
		one = phases_measure(i % 2 ? WITNESS_A : WITNESS_B);
		if (i < 2 || one.end < p[i % 2 ? WITNESS_A : WITNESS_B].end)
			p[i % 2 ? WITNESS_A : WITNESS_B] = one;
	}
}

static void kills_run(struct tally *t, unsigned int kills, uint64_t *random)
{
	struct phases p[WITNESS_POLICIES];
	unsigned int i, policy;

	phases_typical(p);
	for (i = 0; i < WITNESS_POLICIES; i++)
		fprintf(stderr, "# apply of %c: load from %.1f ms, flip at %.1f ms, end at %.1f ms\n", 'a' + (int)i,
			(double)p[i].load / 1e6, (double)p[i].flip / 1e6, (double)p[i].end / 1e6);
	while (t->kills < kills && !t->wrong[0]) {
		policy = reference_below(random, WITNESS_POLICIES);
		kill_one(t, (enum witness_policy)policy, &p[policy], random);
		if (reference_one_in(random, 5))
			apply_whole(t, (enum witness_policy)reference_below(random, WITNESS_POLICIES));
	}
	apply_whole(t, WITNESS_A);
	apply_whole(t, WITNESS_B);
}

/* ------------------------------------------------------------------------------- main */

/* Both policies once in each bank: from now on every rule has its slot for good. */
static void slots_learn(struct tally *t)
{
	int i;

	for (i = 0; i < 2 * WITNESS_POLICIES; i++) {
		if (apply_wait(apply_start((enum witness_policy)(i % WITNESS_POLICIES))))
			wrong(t, "the first applies fail");
		if (witness_policy_live(true) != i % WITNESS_POLICIES)
			wrong(t, "apply of %c leaves something else live", 'a' + i % WITNESS_POLICIES);
	}
}

static void kills_say(const struct tally *t, unsigned int kills)
{
	judge_check("every kill leaves one policy whole, and the next apply succeeds", !t->wrong[0], "%s", t->wrong);
	judge_check("as many kills as wanted", t->kills >= kills, "%u", t->kills);
	judge_check("kills fell before the load, into it, and after the flip",
		    t->before_load > 3 && t->in_load > kills / 20 && t->after_flip > kills / 20, "%u, %u, %u",
		    t->before_load, t->in_load, t->after_flip);
}

static void witness_say(const struct witness_account *a, unsigned int kills)
{
	judge_check("no packet gets a third verdict", !a->mixtures && !a->strange,
		    "%llu of %llu do: %s; %llu for other reasons", (unsigned long long)a->mixtures,
		    (unsigned long long)a->packets, a->first, (unsigned long long)a->strange);
	judge_check("the witness has seen both policies come and go", a->changes > kills / 20 && a->packets > 1000,
		    "%llu changes, %llu packets", (unsigned long long)a->changes, (unsigned long long)a->packets);
	judge_check("every packet has met its audit rule and its own rule", !a->unseen, "%llu of %llu events missing",
		    (unsigned long long)a->unseen, (unsigned long long)(2 * a->packets));
	judge_check("a rule of both policies has counted every packet", a->common_counted == a->common, "%llu of %llu",
		    (unsigned long long)a->common_counted, (unsigned long long)a->common);
	judge_check("a flow that both allow has counted every packet", a->flow_counted == a->flow, "%llu of %llu",
		    (unsigned long long)a->flow_counted, (unsigned long long)a->flow);
}

static void bench_begin(struct tally *t)
{
	int i;

	judge_start("apply-kill", 4096);
	judge_apply("default: deny\n");
	paths_find();
	for (i = 0; i < WITNESS_POLICIES; i++) {
		snprintf(bench.file[i], sizeof(bench.file[i]), "%s/%c.yaml", bench.folder, 'a' + i);
		witness_policy_write((enum witness_policy)i, bench.file[i]);
	}
	witness_open();
	slots_learn(t);
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
	struct witness_account account;
	struct tally t = {};

	prctl(PR_SET_TIMERSLACK, 1);
	bench_begin(&t);
	witness_start();
	kills_run(&t, kills, &random);
	witness_stop(&account);
	fprintf(stderr,
		"# %u kills in %.1f s: %u before the load, %u in it, %u after the flip; %u applies ended before their "
		"kill, %u whole ones; %llu packets meanwhile, %llu changes of policy\n",
		t.kills, (double)(time_now_ns() - start) / 1e9, t.before_load, t.in_load, t.after_flip, t.ended,
		t.applies, (unsigned long long)account.packets, (unsigned long long)account.changes);
	kills_say(&t, kills);
	witness_say(&account, kills);
	bench_end();
	return judge_end();
}
