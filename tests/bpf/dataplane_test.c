// SPDX-License-Identifier: Apache-2.0
/*
 * The dataplane against this machine's kernel: load, apply, adopt, die in the middle, detach. Runs in a network
 * namespace of its own with one veth pair, and pins under its own folder. Tables are made by hand, so that a failure
 * here is the dataplane's.
 *
 * Lines: "ok - NAME", "not ok - NAME: WHY". Exit 0 if all are ok, 1 if not, 77 if this machine cannot run it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "dataplane/dataplane.h"

#define ROOT	"/sys/fs/bpf/sluice-test-dataplane"
#define LOCK	"/run/sluice/lock_sys_fs_bpf_sluice-test-dataplane"
#define DEV	"sdp0"
#define PEER	"sdp1"
#define KILLS	30
#define FLOWS	4096
#define N_RULES 200

static int failures;

static void result(const char *name, const char *why_format, ...)
{
	va_list ap;

	if (!why_format) {
		printf("ok - dataplane: %s\n", name);
		return;
	}
	failures++;
	printf("not ok - dataplane: %s: ", name);
	va_start(ap, why_format);
	vprintf(why_format, ap);
	va_end(ap);
	printf("\n");
}

/* In a case: states what must hold, else reports the case and returns. */
#define MUST(condition, ...)                                                                                           \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			result(name, __VA_ARGS__);                                                                     \
			return;                                                                                        \
		}                                                                                                      \
	} while (0)

/* ------------------------------------------------------------------- policies by hand */

static const uint32_t zero_page[SLUICE_PAGE_WORDS];

struct fixture {
	struct policy policy;
	struct policy_interface interfaces[2];
	struct policy_tables tables;
	struct sluice_tenant tenant;
	struct sluice_class class;
	struct sluice_rule rules[N_RULES + 1];
};

static void words_set(struct policy_words *w)
{
	w->word = (uint32_t *)zero_page;
	w->words = SLUICE_PAGE_WORDS;
}

/* Rules "rule-0" to "rule-(n-1)" and the default. The identity of rule i is i plus `salt`. */
static void fixture_make(struct fixture *f, const char *policy_name, const char *interface, size_t n, uint64_t salt)
{
	struct policy_tables *t = &f->tables;
	size_t i;

	memset(f, 0, sizeof(*f));
	f->interfaces[0].name = (char *)interface;
	f->policy.name = (char *)policy_name;
	f->policy.interfaces = f->interfaces;
	f->policy.n_interfaces = interface ? 1 : 0;
	f->class.antispoof = ~0ull;
	t->tenants = &f->tenant;
	t->n_tenants = 1;
	t->classes = &f->class;
	t->n_classes = 1;
	words_set(&t->words);
	for (i = 0; i < 256; i++)
		t->protocols[i] = (struct sluice_protocol){SLUICE_NO_TABLE, SLUICE_NO_TABLE, 0, 0};
	t->rules = f->rules;
	t->n_rules = n + 1;
	for (i = 0; i < n; i++) {
		snprintf(f->rules[i].name, sizeof(f->rules[i].name), "rule-%zu", i);
		f->rules[i].identity = salt + i;
		f->rules[i].action = SLUICE_ACTION_ALLOW;
	}
	snprintf(f->rules[n].name, sizeof(f->rules[n].name), "default");
	f->rules[n].flags = SLUICE_RULE_DEFAULT;
	t->head.rules = (uint32_t)n + 1;
	t->head.planes = 1;
	snprintf(t->head.name, sizeof(t->head.name), "%s", policy_name);
}

static int apply(struct fixture *f, struct error *err, struct dataplane_applied *ret)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	int r = dataplane_open_or_load(ROOT, FLOWS, err, &dp);

	return r ? r : dataplane_apply(dp, &f->policy, &f->tables, err, ret);
}

static int read_status(struct error *err, struct dataplane_status *ret)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	int r = dataplane_open(ROOT, err, &dp);

	return r ? r : dataplane_status(dp, err, ret);
}

/* The kernel's own word on what the interface carries. */
static uint32_t xdp_id(const char *dev)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);

	return bpf_xdp_query((int)if_nametoindex(dev), 0, &q) ? 0 : q.prog_id ? q.prog_id : q.drv_prog_id;
}

static void add_rule_count(uint32_t slot, uint64_t packets)
{
	int fd = bpf_obj_get(ROOT "/rule_counters"), n = libbpf_num_possible_cpus();
	struct sluice_rule_counter *values = calloc((size_t)n, sizeof(*values));

	values[n - 1].packets = packets;
	bpf_map_update_elem(fd, &slot, values, BPF_ANY);
	free(values);
	close(fd);
}

/* ------------------------------------------------------------------- cases */

/* Even the folder that a refused first apply needed is gone again. */
static void test_fresh_refused(const char *name)
{
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	struct stat st;
	int r;

	fixture_make(&f, "wrong", "no-such-dev", 2, 500);
	r = apply(&f, &err, &a);
	MUST(r == -ENODEV && strstr(err.text, "no-such-dev"), "returned %d and said: %s", r, err.text);
	MUST(stat(ROOT, &st) && errno == ENOENT, "a folder stays");
	result(name, NULL);
}

static void test_fresh(const char *name)
{
	struct dataplane_status s = {};
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;

	fixture_make(&f, "one", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(a.generation == 1 && a.rules_new == 4 && a.rules_kept == 0 && a.interfaces == 1,
	     "generation %llu, %zu new, %zu kept, %zu interfaces", (unsigned long long)a.generation, a.rules_new,
	     a.rules_kept, a.interfaces);
	MUST(!read_status(&err, &s), "%s", err.text);
	MUST(!strcmp(s.policy.name, "one") && s.n_rules == 4 && s.max_flows == FLOWS && s.n_interfaces == 1,
	     "status differs");
	MUST(xdp_id(DEV) && !strncmp(s.interfaces[0].mode, "xdp native", 10), "mode is '%s'", s.interfaces[0].mode);
	MUST(s.interfaces[0].egress, "no TC egress program");
	MUST(s.control.attached_ns, "attached_ns is not set");
	dataplane_status_done(&s);
	result(name, NULL);
}

static void test_slots(const char *name)
{
	struct dataplane_status before = {}, after = {};
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	size_t i;

	MUST(!read_status(&err, &before), "%s", err.text);
	for (i = 0; i < before.n_rules; i++)
		add_rule_count(before.rules[i].rule.slot, 1000000 * (i + 1));
	fixture_make(&f, "two", DEV, 5, 100);
	memmove(&f.rules[1], &f.rules[0], 3 * sizeof(f.rules[0])); /* "rule-0" twice, the second keeps; order changes */
	f.rules[0].identity = 7777;
	snprintf(f.rules[0].name, sizeof(f.rules[0].name), "fresh");
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(a.rules_kept == 4 && a.rules_new == 2, "%zu kept, %zu new, wanted 4 and 2", a.rules_kept, a.rules_new);
	MUST(!read_status(&err, &after), "%s", err.text);
	for (i = 0; i < 3; i++)
		MUST(after.rules[i + 1].counter.packets / 1000000 == i + 1, "%s lost its counter: %llu",
		     after.rules[i + 1].rule.name, (unsigned long long)after.rules[i + 1].counter.packets);
	MUST(after.rules[0].counter.packets < 1000, "the new rule inherited a counter");
	dataplane_status_done(&before);
	dataplane_status_done(&after);
	result(name, NULL);
}

static void test_apply_twice(const char *name)
{
	struct dataplane_applied a, b;
	struct error err = {};
	struct fixture f;
	uint32_t program;

	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	program = xdp_id(DEV);
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &b), "%s", err.text);
	MUST(b.generation == a.generation + 1, "generation went from %llu to %llu", (unsigned long long)a.generation,
	     (unsigned long long)b.generation);
	MUST(b.rules_new == 0 && b.rules_kept == 4, "%zu rules are new though nothing changed", b.rules_new);
	MUST(xdp_id(DEV) == program, "the program was loaded again");
	result(name, NULL);
}

static void test_adoption(const char *name)
{
	struct error err = {};
	struct dataplane_status s = {};
	int status;
	pid_t pid = fork();

	if (!pid) {
		_exit(read_status(&err, &s) || strcmp(s.policy.name, "twice") ? 1 : 0);
	}
	waitpid(pid, &status, 0);
	MUST(WIFEXITED(status) && !WEXITSTATUS(status), "a second process does not see the policy");
	result(name, NULL);
}

static void test_missing_interface(const char *name)
{
	struct dataplane_status s = {};
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	int r;

	fixture_make(&f, "wrong", "no-such-dev", 2, 500);
	r = apply(&f, &err, &a);
	MUST(r == -ENODEV && strstr(err.text, DEV), "returned %d and said: %s", r, err.text);
	MUST(!read_status(&err, &s), "%s", err.text);
	MUST(!strcmp(s.policy.name, "twice") && xdp_id(DEV), "policy '%s' is in force now", s.policy.name);
	dataplane_status_done(&s);
	result(name, NULL);
}

static void test_remove_interface(const char *name)
{
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;

	fixture_make(&f, "moved", PEER, 2, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(!xdp_id(DEV) && xdp_id(PEER), "%s has program %u, %s has %u", DEV, xdp_id(DEV), PEER, xdp_id(PEER));
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(xdp_id(DEV) && !xdp_id(PEER), "did not move back");
	result(name, NULL);
}

/* TC is tcx, and before kernel 6.6 a clsact filter. */
static bool mode_is(const char *mode, const char *wanted)
{
	return !strncmp(mode, wanted, strlen(wanted)) || (!strcmp(wanted, "tc") && !strcmp(mode, "clsact"));
}

static void test_modes(const char *name)
{
	static const struct {
		enum policy_attach wanted;
		const char *mode;
	} rows[] = {
		{POLICY_ATTACH_XDP_GENERIC, "xdp generic"},
		{POLICY_ATTACH_TC, "tc"},
		{POLICY_ATTACH_XDP, "xdp native"},
	};
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct dataplane_status s = {};

		fixture_make(&f, "modes", DEV, 3, 100);
		f.interfaces[0].attach = rows[i].wanted;
		MUST(!apply(&f, &err, &a), "%s: %s", rows[i].mode, err.text);
		MUST(!read_status(&err, &s), "%s", err.text);
		MUST(mode_is(s.interfaces[0].mode, rows[i].mode) && s.interfaces[0].egress,
		     "wanted %s, the kernel has %s", rows[i].mode, s.interfaces[0].mode);
		dataplane_status_done(&s);
	}
	result(name, NULL);
}

static int foreign_program(void)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", pass, 2, NULL);
}

static void test_foreign(const char *name)
{
	int fd = foreign_program(), peer = (int)if_nametoindex(PEER), r;
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	uint32_t before;

	MUST(fd >= 0 && !bpf_xdp_attach(peer, fd, 0, NULL), "cannot attach a program of our own");
	before = xdp_id(PEER);
	fixture_make(&f, "foreign", PEER, 3, 100);
	r = apply(&f, &err, &a);
	MUST(r == -EBUSY && strstr(err.text, PEER), "returned %d and said: %s", r, err.text);
	MUST(xdp_id(PEER) == before && xdp_id(DEV), "something was replaced");
	MUST(!dataplane_detach(ROOT, &err), "%s", err.text);
	MUST(xdp_id(PEER) == before, "detach took somebody else's program off");
	bpf_xdp_attach(peer, -1, 0, NULL);
	close(fd);
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "apply after detach: %s", err.text);
	result(name, NULL);
}

/* A new interface that cannot be attached after the flip: the old policy is back, and its number is not used again. */
static void test_attach_fails(const char *name)
{
	struct dataplane_status s = {};
	struct dataplane_applied a;
	struct error err = {};
	uint64_t before;
	struct fixture f;
	int r;

	MUST(!read_status(&err, &s), "%s", err.text);
	before = s.control.generation;
	dataplane_status_done(&s);
	fixture_make(&f, "dummy", DEV, 3, 900);
	f.interfaces[1].name = (char *)"lo";
	f.interfaces[1].attach = POLICY_ATTACH_XDP; /* loopback has no native XDP */
	f.policy.n_interfaces = 2;
	r = apply(&f, &err, &a);
	MUST(r < 0 && strstr(err.text, "lo: native"), "returned %d and said: %s", r, err.text);
	MUST(!read_status(&err, &s), "%s", err.text);
	MUST(s.control.generation == before && !strcmp(s.policy.name, "twice"), "generation %llu, policy %s",
	     (unsigned long long)s.control.generation, s.policy.name);
	dataplane_status_done(&s);
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(a.generation == before + 3, "generation %llu was used twice", (unsigned long long)a.generation);
	result(name, NULL);
}

static void test_abi(const char *name)
{
	int fd = bpf_obj_get(ROOT "/control"), r;
	struct sluice_control control;
	struct dataplane *dp = NULL;
	struct error err = {};
	uint32_t zero = 0;

	MUST(fd >= 0 && !bpf_map_lookup_elem(fd, &zero, &control), "cannot read the control map");
	control.abi_version = SLUICE_ABI_VERSION + 1;
	bpf_map_update_elem(fd, &zero, &control, BPF_ANY);
	r = dataplane_open(ROOT, &err, &dp);
	MUST(r == -EPROTO && strstr(err.text, "ABI"), "returned %d and said: %s", r, err.text);
	r = dataplane_open_or_load(ROOT, FLOWS, &err, &dp);
	MUST(r == -EPROTO, "open_or_load returned %d", r);
	control.abi_version = SLUICE_ABI_VERSION;
	bpf_map_update_elem(fd, &zero, &control, BPF_ANY);
	close(fd);
	result(name, NULL);
}

/* What bpftool shows of a counter that has counted nothing yet, and which build made the folder. */
static void test_names(const char *name)
{
	int fd = bpf_obj_get(ROOT "/reason_counters"), n_cpus = libbpf_num_possible_cpus(), cpu;
	struct sluice_reason_counter values[256] = {};
	struct dataplane_status s;
	struct error err = {};
	uint32_t reason;

	MUST(fd >= 0 && n_cpus > 0 && n_cpus <= 256, "cannot open reason_counters for %d CPUs", n_cpus);
	for (reason = 0; reason < SLUICE_REASON_COUNT; reason++) {
		MUST(!bpf_map_lookup_elem(fd, &reason, values), "no entry for reason %u", reason);
		for (cpu = 0; cpu < n_cpus; cpu++)
			MUST(values[cpu].reason == reason, "reason %u is called %u on CPU %d", reason,
			     values[cpu].reason, cpu);
	}
	close(fd);
	MUST(!read_status(&err, &s), "%s", err.text);
	MUST(s.control.build && s.control.build == dataplane_build(), "the folder does not name this build");
	dataplane_status_done(&s);
	result(name, NULL);
}

/* A policy is whole if head, rules and interface entries tell the same story. */
static const char *incoherent(const struct dataplane_status *s)
{
	static char why[200];
	size_t i, n = 0;
	uint64_t salt = 0;

	if (sscanf(s->policy.name, "kill-%zu", &n) != 1 && strcmp(s->policy.name, "twice")) {
		snprintf(why, sizeof(why), "policy '%s'", s->policy.name);
		return why;
	}
	if (s->policy.generation != s->control.generation)
		return "the head bears another generation";
	if (n && s->n_rules != n + 1)
		return "the number of rules differs from the head's name";
	for (i = 0; n && i < s->n_rules - 1; i++) {
		salt = s->rules[i].rule.identity - i;
		if (salt != n)
			return "a rule of another policy";
	}
	return s->n_interfaces == 1 ? NULL : "interface entries missing";
}

static void kill_once(const char *name, unsigned int round, uint64_t span_ns)
{
	struct timespec pause = {.tv_nsec = (long)((uint64_t)rand() % span_ns)};
	struct dataplane_status s = {};
	struct dataplane_applied a;
	struct error err = {};
	char policy_name[32];
	struct fixture f;
	const char *why;
	size_t n = 1 + round * 6;
	pid_t pid;

	snprintf(policy_name, sizeof(policy_name), "kill-%zu", n);
	fixture_make(&f, policy_name, DEV, n, n);
	pid = fork();
	if (!pid)
		_exit(apply(&f, &err, &a) ? 1 : 0);
	nanosleep(&pause, NULL); /* the point of the kill is random on purpose */
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	MUST(!read_status(&err, &s), "after kill %u: %s", round, err.text);
	why = incoherent(&s);
	MUST(!why, "after kill %u at %ld us: %s", round, pause.tv_nsec / 1000, why);
	dataplane_status_done(&s);
}

static void test_kill(const char *name)
{
	int before = failures;
	struct dataplane_status s = {};
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	uint64_t start = time_now_ns(), span;
	unsigned int i;

	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	span = min(time_now_ns() - start + 2000000, (uint64_t)900000000);
	for (i = 0; i < KILLS && failures == before; i++)
		kill_once(name, i, span);
	if (failures != before)
		return;
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "apply after the kills: %s", err.text);
	MUST(!read_status(&err, &s) && !strcmp(s.policy.name, "twice"), "status after the kills");
	dataplane_status_done(&s);
	result(name, NULL);
}

/* Several apply at once: each waits its turn, none fails, generations are never given twice. */
static void test_concurrent(const char *name)
{
	enum { PROCESSES = 4, ROUNDS = 5 };
	struct dataplane_status before = {}, after = {};
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	int i, k, status, wrong = 0;

	MUST(!read_status(&err, &before), "%s", err.text);
	for (i = 0; i < PROCESSES; i++) {
		if (fork())
			continue;
		for (k = 0; k < ROUNDS; k++) {
			fixture_make(&f, i & 1 ? "kill-3" : "kill-7", DEV, i & 1 ? 3 : 7, i & 1 ? 3 : 7);
			if (apply(&f, &err, &a))
				_exit(1);
		}
		_exit(0);
	}
	for (i = 0; i < PROCESSES; i++)
		wrong += wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status);
	MUST(!wrong, "%d of %d processes failed", wrong, PROCESSES);
	MUST(!read_status(&err, &after), "%s", err.text);
	MUST(!incoherent(&after), "%s", incoherent(&after));
	MUST(after.control.generation == before.control.generation + PROCESSES * ROUNDS, "generation %llu after %llu",
	     (unsigned long long)after.control.generation, (unsigned long long)before.control.generation);
	dataplane_status_done(&before);
	dataplane_status_done(&after);
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	result(name, NULL);
}

/* The same from nothing: killed while it loads, pins and attaches for the first time. */
static void test_kill_fresh(const char *name)
{
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	uint64_t start = time_now_ns(), span = 0;
	unsigned int i;
	pid_t pid;

	for (i = 0; i <= KILLS / 3; i++) {
		struct timespec pause = {.tv_nsec = span ? (long)((uint64_t)rand() % span) : 0};

		dataplane_detach(ROOT, NULL);
		fixture_make(&f, "kill-2", DEV, 2, 2);
		if (!span) {
			MUST(!apply(&f, &err, &a), "%s", err.text);
			span = min(time_now_ns() - start + 2000000, (uint64_t)900000000);
			continue;
		}
		pid = fork();
		if (!pid)
			_exit(apply(&f, &err, &a) ? 1 : 0);
		nanosleep(&pause, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		MUST(!apply(&f, &err, &a), "apply after kill %u at %ld us: %s", i, pause.tv_nsec / 1000, err.text);
		MUST(xdp_id(DEV), "no program after kill %u", i);
	}
	result(name, NULL);
}

static int count_flow(void *arg, const struct dataplane_flow *flow)
{
	uint8_t *seen = arg;

	seen[ntohs(flow->key.port[0])] += flow->rule == ntohs(flow->key.port[0]);
	return 0;
}

/* As many flows as may be, each seen exactly once and with its own value. */
static void test_flows(const char *name)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	_cleanup_free_ uint8_t *seen = calloc(65536, 1);
	_cleanup_close_ int fd = bpf_obj_get(ROOT "/flows");
	size_t bytes = sluice_flow_buckets(FLOWS) * sizeof(struct sluice_flow_bucket);
	struct sluice_flow_bucket *table = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct error err = {};
	int r, wrong = 0;
	uint32_t i;

	MUST(table != MAP_FAILED, "cannot map the flow table: %s", strerror(errno));
	for (i = 0; i < FLOWS; i++) {
		table[i / SLUICE_FLOW_UNITS].unit[i % SLUICE_FLOW_UNITS].flow = (struct sluice_flow){
			.port = {htons((uint16_t)i)}, .kind = 17u << 24 | 4, .state = i << SLUICE_FLOW_SLOT};
		table[i / SLUICE_FLOW_UNITS].tag[i % SLUICE_FLOW_UNITS] = SLUICE_TAG_LIVE;
	}
	r = dataplane_open(ROOT, &err, &dp) ?: dataplane_flows(dp, count_flow, seen, &err);
	memset(table, 0, bytes);
	munmap(table, bytes);
	MUST(!r, "%s", err.text);
	for (i = 0; i < FLOWS; i++)
		wrong += seen[i] != 1;
	MUST(!wrong, "%d of %d flows not seen exactly once", wrong, FLOWS);
	result(name, NULL);
}

/* Another network namespace: refused while ours lives, and interfaces of the same number there stay untouched. */
static void test_other_namespace(const char *name)
{
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	int status;
	pid_t pid = fork();

	if (!pid) {
		fixture_make(&f, "elsewhere", "lo", 2, 4000);
		if (unshare(CLONE_NEWNET))
			_exit(1);
		if (apply(&f, &err, &a) != -EXDEV || !strstr(err.text, "namespace"))
			_exit(2);
		_exit(dataplane_detach(ROOT, &err) != -EXDEV ? 3 : 0);
	}
	waitpid(pid, &status, 0);
	MUST(WIFEXITED(status) && !WEXITSTATUS(status), "the other namespace ended with %d", WEXITSTATUS(status));
	MUST(xdp_id(DEV), "our program is gone");
	result(name, NULL);
}

/* A namespace that died with its policy applied leaves a folder that the next one takes over. */
static void test_gone_namespace(const char *name)
{
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	int status;
	pid_t pid;

	MUST(!dataplane_detach(ROOT, &err), "%s", err.text);
	pid = fork();
	if (!pid) {
		fixture_make(&f, "gone", DEV, 2, 4000);
		if (unshare(CLONE_NEWNET) || system("ip link add " DEV " type veth peer name " PEER))
			_exit(1);
		if (apply(&f, &err, &a))
			_exit(2);
		_exit(system("ip link del " DEV) ? 3 : 0);
	}
	waitpid(pid, &status, 0);
	MUST(WIFEXITED(status) && !WEXITSTATUS(status), "the other namespace ended with %d", WEXITSTATUS(status));
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(xdp_id(DEV), "no program here");
	result(name, NULL);
}

/* An interface that goes and comes again has another number: it is attached anew, and the old link is forgotten. */
static void test_interface_returns(const char *name)
{
	uint32_t before = if_nametoindex(DEV);
	struct dataplane_applied a;
	struct error err = {};
	struct fixture f;
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), ROOT "/links/tcx_egress_%u", before);
	MUST(!system("ip link del " DEV " && ip link add " DEV " index 4711 type veth peer name " PEER),
	     "cannot make the interface again");
	fixture_make(&f, "twice", DEV, 3, 100);
	MUST(!apply(&f, &err, &a), "%s", err.text);
	MUST(if_nametoindex(DEV) != before && xdp_id(DEV), "no program on the new interface");
	MUST(stat(path, &st) && errno == ENOENT, "%s is still there", path);
	result(name, NULL);
}

static void test_detach(const char *name)
{
	struct error err = {};
	struct stat st;
	int r;

	MUST(!dataplane_detach(ROOT, &err), "%s", err.text);
	MUST(stat(ROOT, &st) && errno == ENOENT, "the folder is still there");
	MUST(!xdp_id(DEV) && !xdp_id(PEER), "a program is still attached");
	MUST(stat(LOCK, &st) && errno == ENOENT, "the lock file is still there");
	r = dataplane_detach(ROOT, &err);
	MUST(r == -ENOENT, "the second detach returned %d", r);
	result(name, NULL);
}

static const struct {
	const char *name;
	void (*run)(const char *name);
} cases[] = {
	{"a refused first apply leaves nothing", test_fresh_refused},
	{"first apply loads, flips and attaches", test_fresh},
	{"an unchanged rule keeps its slot and counter", test_slots},
	{"applying the same again changes the generation only", test_apply_twice},
	{"another process adopts what is pinned", test_adoption},
	{"a missing interface is refused and nothing changes", test_missing_interface},
	{"an interface no longer named is detached", test_remove_interface},
	{"each attach mode is what the kernel reports", test_modes},
	{"somebody else's XDP program is left alone", test_foreign},
	{"a failed attach takes the flip back", test_attach_fails},
	{"counters bear their names, the folder its build", test_names},
	{"another ABI is refused", test_abi},
	{"killed at random points, one policy is in force", test_kill},
	{"several apply at once", test_concurrent},
	{"killed during the first load, the next apply works", test_kill_fresh},
	{"every flow is seen once", test_flows},
	{"another network namespace is kept out", test_other_namespace},
	{"a gone network namespace is taken over", test_gone_namespace},
	{"an interface that returns is attached anew", test_interface_returns},
	{"detach leaves nothing", test_detach},
};

int main(void)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid()) {
		printf("skip - dataplane: needs root\n");
		return 77;
	}
	if (unshare(CLONE_NEWNET)) {
		printf("skip - dataplane: no network namespace: %s\n", strerror(errno));
		return 77;
	}
	log_set_level(LOG_LEVEL_WARN);
	if (getenv("SLUICE_TEST_DEBUG"))
		log_set_level(LOG_LEVEL_DEBUG);
	if (system("ip link add " DEV " type veth peer name " PEER " && ip link set " DEV
		   " addrgenmode none up && ip link set " PEER " addrgenmode none up")) {
		printf("not ok - dataplane: set-up: cannot make a veth pair\n");
		return 1;
	}
	dataplane_detach(ROOT, NULL); /* of an aborted run */
	for (i = 0; i < ARRAY_SIZE(cases); i++)
		cases[i].run(cases[i].name);
	dataplane_detach(ROOT, NULL);
	return failures ? 1 : 0;
}
