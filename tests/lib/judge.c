// SPDX-License-Identifier: Apache-2.0
/*
 * The bench of judge.h. The namespace goes with the process; the pinned folder is removed at start (an aborted run may
 * have left one) and at the end. Reasons are read as the difference that a frame makes in `reason_counters`.
 */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/in.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/dataplane.h"
#include "policy/compile.h"

#include "judge.h"

#define DOOR_CREDIT 64
#define MAPS_MAX 16

static struct {
	const char *name;
	char root[128];
	uint32_t max_flows;
	uint32_t ifindex;
	struct compile_shape shape;
	int n_cpus;
	int failures;
	struct dataplane *dp;
	struct {
		const char *name;
		int fd;
	} map[MAPS_MAX];
} judge;

static const char *const reason_names[] = {
#define R(NAME, name, kind, text) name,
#include <sluice/reasons.def>
#undef R
};

const char *judge_root(void)
{
	return judge.root;
}

const char *judge_reason(enum sluice_reason reason)
{
	if ((int)reason < 0)
		return "(several)";
	return reason < SLUICE_REASON_COUNT ? reason_names[reason] : "(none)";
}

static void clear_folder(void)
{
	struct error err;

	dataplane_detach(judge.root, &err); /* nothing there is the usual answer */
}

__attribute__((format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list ap;

	printf("not ok - %s: bench: ", judge.name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	clear_folder();
	exit(1);
}

static void shell(const char *command)
{
	if (system(command))
		die("'%s' failed", command);
}

static void make_namespace(void)
{
	if (unshare(CLONE_NEWNET))
		die("no network namespace: %s", strerror(errno));
	/*
	 * The kernel's own traffic would be judged and counted too: no solicitations at all, and what multicast membership
	 * has to report is out within milliseconds, long before the first policy.
	 */
	shell("sysctl -qw net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.accept_dad=0 "
	      "net.ipv6.conf.default.dad_transmits=0 net.ipv6.conf.default.mldv2_unsolicited_report_interval=1 "
	      "net.ipv6.conf.default.mldv1_unsolicited_report_interval=1");
	shell("ip link set lo up");
	shell("ip link add " JUDGE_DEV " type veth peer name sj1");
	shell("ip addr add 10.9.0.1/24 dev " JUDGE_DEV " && ip addr add fd09::1/64 dev " JUDGE_DEV " nodad");
	shell("ip link set sj1 up && ip link set " JUDGE_DEV " up");
	judge.ifindex = if_nametoindex(JUDGE_DEV);
}

void judge_name(const char *name)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid()) {
		printf("skip - %s: needs root\n", name);
		exit(77);
	}
	judge.name = name;
}

bool judge_failed(void)
{
	return judge.failures;
}

void judge_start(const char *name, uint32_t max_flows)
{
	judge_name(name);
	judge.max_flows = max_flows;
	judge.n_cpus = libbpf_num_possible_cpus();
	snprintf(judge.root, sizeof(judge.root), "/sys/fs/bpf/sluice-test-%s", name);
	clear_folder();
	make_namespace();
}

int judge_end(void)
{
	dataplane_closep(&judge.dp);
	clear_folder();
	if (!access(judge.root, F_OK))
		judge_check("the pinned folder is gone", false, "%s is still there", judge.root);
	return judge.failures ? 1 : 0;
}

/* ------------------------------------------------------------------- policies */

static const char head[] = "sluice: 1\nname: judge\ninterfaces: [{name: " JUDGE_DEV "}]\n";

void judge_use_shape(const struct compile_shape *shape)
{
	judge.shape = *shape;
}

int judge_apply_with(const char *yaml, const struct dataplane_apply_options *options, struct error *err)
{
	struct policy_diagnostics diagnostics = {};
	struct policy_tables *tables = NULL;
	struct dataplane_applied applied;
	struct policy *policy = NULL;
	_cleanup_free_ char *text = NULL;
	int r;

	if (asprintf(&text, "%s%s", strncmp(yaml, "sluice:", 7) ? head : "", yaml) < 0)
		die("out of memory");
	if (policy_load_text("judge.yaml", text, strlen(text), &diagnostics, &policy)) {
		policy_diagnostics_print(&diagnostics, stdout);
		die("policy rejected");
	}
	if (policy_compile_shaped(policy, &judge.shape, err, &tables))
		die("policy does not compile: %s", err->text);
	if (!judge.dp && dataplane_open_or_load(judge.root, judge.max_flows, err, &judge.dp))
		die("%s", err->text);
	r = dataplane_apply_with(judge.dp, policy, tables, options, err, &applied);
	if (!r)
		judge_set_door(DOOR_CREDIT);
	policy_tables_free(tables);
	policy_free(policy);
	policy_diagnostics_done(&diagnostics);
	return r;
}

void judge_apply(const char *yaml)
{
	static const struct dataplane_apply_options none;
	struct error err = {};

	if (judge_apply_with(yaml, &none, &err))
		die("%s", err.text);
}

struct dataplane *judge_dataplane(void)
{
	return judge.dp;
}

/* ------------------------------------------------------------------- maps */

uint32_t judge_ifindex(void)
{
	return judge.ifindex;
}

int judge_map(const char *name)
{
	char path[256];
	size_t i;

	for (i = 0; i < MAPS_MAX && judge.map[i].name; i++)
		if (!strcmp(judge.map[i].name, name))
			return judge.map[i].fd;
	snprintf(path, sizeof(path), "%s/%s", judge.root, name);
	if (i == MAPS_MAX)
		die("too many maps");
	judge.map[i].name = name;
	judge.map[i].fd = bpf_obj_get(path);
	if (judge.map[i].fd < 0)
		die("%s: %s", path, strerror(errno));
	return judge.map[i].fd;
}

/* struct door_watch of bpf/door.h. */
struct door_watch {
	uint32_t credit;
	uint32_t packets;
};

void judge_set_door(uint32_t credit)
{
	_cleanup_free_ struct door_watch *watches = calloc((size_t)judge.n_cpus, sizeof(*watches));
	uint32_t zero = 0;
	int i;

	for (i = 0; watches && i < judge.n_cpus; i++)
		watches[i].credit = credit;
	if (!watches || bpf_map_update_elem(judge_map("door_watch"), &zero, watches, BPF_ANY))
		die("door_watch: %s", strerror(errno));
}

uint32_t judge_door(void)
{
	_cleanup_free_ struct door_watch *watches = calloc((size_t)judge.n_cpus, sizeof(*watches));
	uint32_t zero = 0, sum = 0;
	int i;

	if (!watches || bpf_map_lookup_elem(judge_map("door_watch"), &zero, watches))
		die("door_watch: %s", strerror(errno));
	for (i = 0; i < judge.n_cpus; i++)
		sum += watches[i].credit;
	return sum;
}

/* Sum over CPUs of the first `n_words` 64-bit words of a per-CPU value of `size` bytes. */
static void percpu_sum(const char *map, uint32_t key, size_t size, size_t n_words, uint64_t *ret_words)
{
	_cleanup_free_ uint64_t *values = calloc((size_t)judge.n_cpus, size);

	if (!values || bpf_map_lookup_elem(judge_map(map), &key, values))
		die("%s: no entry %u", map, key);
	memset(ret_words, 0, n_words * sizeof(*ret_words));
	for (int cpu = 0; cpu < judge.n_cpus; cpu++)
		for (size_t i = 0; i < n_words; i++)
			ret_words[i] += values[(size_t)cpu * size / 8 + i];
}

void judge_reasons(struct judge_reasons *ret)
{
	uint64_t words[3];

	for (uint32_t i = 0; i < SLUICE_REASON_COUNT; i++) {
		percpu_sum("reason_counters", i, sizeof(struct sluice_reason_counter), 3, words);
		ret->packets[i] = words[0];
		ret->audited[i] = words[2];
	}
}

static void flow_key(const struct packet *p, uint16_t tenant, struct sluice_flow_key *ret)
{
	uint8_t from[16], to[16];
	uint16_t sport = p->sport ? p->sport : 40000, dport = p->dport;
	bool asks = p->icmp == 0x10800 || p->icmp == 0x18000;
	int order;

	memset(ret, 0, sizeof(*ret));
	ret->version = strchr(p->from, ':') ? 6 : 4;
	packet_address(p->from, from);
	packet_address(p->to, to);
	if (p->icmp) {
		sport = asks ? p->icmp_id : p->icmp_id ? 0 : 0xffff;
		dport = !asks ? p->icmp_id : p->icmp_id ? 0 : 0xffff;
	}
	ret->protocol = p->protocol	       ? p->protocol
			: p->tcp	       ? IPPROTO_TCP
			: !p->icmp	       ? IPPROTO_UDP
			: strchr(p->from, ':') ? IPPROTO_ICMPV6
					       : IPPROTO_ICMP;
	if (ret->protocol == IPPROTO_GRE)
		sport = dport = 0;
	ret->tenant = tenant;
	order = memcmp(from, to, 16);
	if (!order)
		order = sport < dport ? -1 : sport > dport;
	memcpy(ret->addr[order > 0], from, 16);
	memcpy(ret->addr[order <= 0], to, 16);
	ret->port[order > 0] = htons(sport);
	ret->port[order <= 0] = htons(dport);
}

bool judge_flow(const struct packet *p, uint16_t tenant, struct dataplane_flow *ret_flow)
{
	struct dataplane_flow ignored;
	struct sluice_flow_key key;
	struct error err;
	int r;

	flow_key(p, tenant, &key);
	r = dataplane_flow(judge.dp, &key, &err, ret_flow ? ret_flow : &ignored);
	if (r && r != -ENOENT)
		die("%s", err.text);
	return !r;
}

bool judge_flow_ends(const struct packet *p, uint16_t tenant, unsigned int within_ms)
{
	uint64_t deadline = time_now_ns() + within_ms * 1000000ull;
	struct timespec pause = {.tv_nsec = 2000000};

	while (judge_flow(p, tenant, NULL)) {
		if (time_now_ns() > deadline)
			return false;
		nanosleep(&pause, NULL); /* the kernel tells nobody when the timer has ended a flow */
	}
	return true;
}

static struct sluice_flow_totals flow_totals(void)
{
	struct sluice_flow_totals t;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(judge_map("flow_totals"), &zero, &t))
		die("flow_totals: %s", strerror(errno));
	return t;
}

long judge_flow_count(void)
{
	return (int32_t)flow_totals().flows;
}

long judge_half_open(void)
{
	return (int32_t)flow_totals().half_open;
}

/* The table, mapped; die() if that fails. */
static struct sluice_flow_bucket *flow_buckets(size_t *ret_bytes)
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);
	void *p;

	if (bpf_obj_get_info_by_fd(judge_map("flows"), &info, &length))
		die("flows: %s", strerror(errno));
	*ret_bytes = (size_t)info.max_entries * info.value_size;
	p = mmap(NULL, *ret_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, judge_map("flows"), 0);
	if (p == MAP_FAILED)
		die("flows: mmap: %s", strerror(errno));
	return p;
}

/* No packet is under way: between test runs nobody else writes the table but the timer, which knows empty units. */
void judge_flows_clear(void)
{
	const struct sluice_flow_totals none = {};
	struct sluice_flow_bucket *b;
	uint32_t zero = 0;
	size_t bytes;

	if (!flow_totals().flows)
		return;
	b = flow_buckets(&bytes);
	memset(b, 0, bytes);
	munmap(b, bytes);
	bpf_map_update_elem(judge_map("flow_totals"), &zero, &none, BPF_ANY);
}

struct sluice_rule_counter judge_rule(const char *name)
{
	struct sluice_rule_counter counter = {};
	struct dataplane_status status = {};
	struct error err;
	bool found = false;

	if (dataplane_status(judge.dp, &err, &status))
		die("%s", err.text);
	for (size_t i = 0; i < status.n_rules; i++) {
		bool is_default = status.rules[i].rule.flags & SLUICE_RULE_DEFAULT;

		if (strcmp(name, "default") ? !strcmp(status.rules[i].rule.name, name) : is_default) {
			counter = status.rules[i].counter;
			found = true;
		}
	}
	dataplane_status_done(&status);
	if (!found)
		die("the live policy has no rule %s", name);
	return counter;
}

void judge_set_attached(uint64_t attached_ns)
{
	struct sluice_control control;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(judge_map("control"), &zero, &control))
		die("control: %s", strerror(errno));
	control.attached_ns = attached_ns;
	if (bpf_map_update_elem(judge_map("control"), &zero, &control, BPF_ANY))
		die("control: %s", strerror(errno));
}

/* ------------------------------------------------------------------- frames */

static struct judge_outcome outcome(int action, int drop_action, const struct judge_reasons *before)
{
	struct judge_outcome o = {.action = action, .dropped = action == drop_action, .reason = SLUICE_REASON_COUNT};
	struct judge_reasons after;

	judge_reasons(&after);
	for (int i = 0; i < SLUICE_REASON_COUNT; i++) {
		if (after.packets[i] == before->packets[i])
			continue;
		o.reason = o.reason == SLUICE_REASON_COUNT ? (enum sluice_reason)i : (enum sluice_reason) - 1;
		o.audited = after.audited[i] != before->audited[i];
	}
	return o;
}

struct judge_outcome judge_run(enum sluice_hook hook, const struct packet *p)
{
	static uint8_t out[PACKET_MAX];
	size_t length;

	return judge_run_frame(hook, p, out, &length);
}

struct judge_outcome judge_run_frame(enum sluice_hook hook, const struct packet *p, uint8_t *ret_frame,
				     size_t *ret_length)
{
	static struct frame frame;
	struct judge_reasons before;
	int action, r;

	packet_build(&frame, p);
	judge_reasons(&before);
	r = dataplane_test_run_frame(judge.dp, hook, judge.ifindex, frame.byte, frame.length, ret_frame, PACKET_MAX,
				     &action, ret_length);
	if (r)
		die("test run of %zu bytes: %s", frame.length, strerror(-r));
	return outcome(action, hook == SLUICE_HOOK_XDP ? 1 /* XDP_DROP */ : 2 /* TC_ACT_SHOT */, &before);
}

struct judge_outcome judge_run_forwarded(uint32_t ingress_ifindex, const struct packet *p)
{
	struct __sk_buff skb = {.ifindex = judge.ifindex, .ingress_ifindex = ingress_ifindex};
	static uint8_t out[PACKET_MAX + 256];
	static struct frame frame;
	struct judge_reasons before;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &skb, .ctx_size_in = sizeof(skb), .data_out = out,
		    .data_size_out = sizeof(out));

	packet_build(&frame, p);
	opts.data_in = frame.byte;
	opts.data_size_in = (uint32_t)frame.length;
	judge_reasons(&before);
	if (bpf_prog_test_run_opts(judge_map("programs/sluice_tc_egress"), &opts))
		die("test run of %zu bytes: %s", frame.length, strerror(errno));
	return outcome((int)opts.retval, 2, &before);
}

void judge_check(const char *name, bool good, const char *why_format, ...)
{
	va_list ap;

	if (good) {
		printf("ok - %s: %s\n", judge.name, name);
		return;
	}
	judge.failures++;
	printf("not ok - %s: %s: ", judge.name, name);
	va_start(ap, why_format);
	vprintf(why_format, ap);
	va_end(ap);
	printf("\n");
}

static const char *verdict_text(bool dropped)
{
	return dropped ? "drop" : "pass";
}

void judge_case(const char *name, enum sluice_hook hook, const struct packet *p, enum sluice_verdict verdict,
		enum sluice_reason reason)
{
	struct judge_outcome o = judge_run(hook, p);
	bool drop = verdict != SLUICE_PASS;

	judge_check(name, o.dropped == drop && o.reason == reason && !o.audited, "expected %s (%s), got %s (%s%s)",
		    verdict_text(drop), judge_reason(reason), verdict_text(o.dropped), judge_reason(o.reason),
		    o.audited ? ", audited" : "");
}

void judge_case_audited(const char *name, enum sluice_hook hook, const struct packet *p, enum sluice_reason reason)
{
	struct judge_outcome o = judge_run(hook, p);

	judge_check(name, !o.dropped && o.audited && o.reason == reason, "expected pass (%s, audited), got %s (%s%s)",
		    judge_reason(reason), verdict_text(o.dropped), judge_reason(o.reason),
		    o.audited ? ", audited" : "");
}
