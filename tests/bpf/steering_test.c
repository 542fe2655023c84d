// SPDX-License-Identifier: Apache-2.0
/*
 * Steering: which packets move to another CPU, which stay, and that each is counted once, where it was processed.
 * Decisions by test run; the move itself by frames sent over the veth, since the kernel runs no cpumap program in a
 * test run.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/util.h"

#include "judge.h"

#define HERE	  0 /* the CPU that this test runs on */
#define ELSEWHERE 1
#define SLOT	  17
#define FRAMES	  200

static const struct packet to_portal = {.from = "10.1.0.1", .to = "10.9.0.1", .tcp = TCP_F_ACK, .dport = 4420};
static const struct packet to_portal6 = {.from = "fd01::1", .to = "fd09::1", .tcp = TCP_F_ACK, .dport = 4420};
static const struct packet other_port = {
	.from = "10.1.0.1", .to = "10.9.0.1", .tcp = TCP_F_ACK, .sport = 40001, .dport = 4420};
static const struct packet denied = {.from = "10.1.0.1", .to = "10.9.0.1", .tcp = TCP_F_ACK, .dport = 4421};

/* Stateless rules: each packet is judged alone, so that the cases need no handshakes. */
static const char policy[] =
	"default: deny\n"
	"failsafe: []\n"
	"rules:\n  - {name: portal, from: any, to: any, service: tcp/4420, action: allow, stateful: false}\n";

static void steer(const struct packet *p, uint32_t cpu, uint32_t redirect)
{
	struct sluice_steer value = {.cpu = cpu, .slot = SLOT, .redirect = redirect};
	struct sluice_steer_key key = {.source_port = htons(p->sport ? p->sport : 40000), .dest_port = htons(p->dport)};

	packet_address(p->from, key.source);
	packet_address(p->to, key.dest);
	judge_check("bench: entry in the steering map",
		    !bpf_map_update_elem(judge_map("steering"), &key, &value, BPF_ANY), "%s", strerror(errno));
}

static void cpu_enters(const char *name, uint32_t cpu, int program)
{
	struct bpf_cpumap_val value = {.qsize = 256, .bpf_prog.fd = program};
	_cleanup_close_ int table = -1;
	uint32_t zero = 0, id = 0;
	int r;

	bpf_map_lookup_elem(judge_map("cpus"), &zero, &id);
	table = bpf_map_get_fd_by_id(id);
	r = bpf_map_update_elem(table, &cpu, &value, BPF_ANY);
	judge_check(name, !r, "%s", strerror(-r));
}

/* Packets of SLOT on `cpu`, or on all CPUs if that is negative. */
static uint64_t counted(int cpu)
{
	int n = libbpf_num_possible_cpus();
	_cleanup_free_ struct sluice_queue_packets *q = calloc((size_t)n, sizeof(*q));
	uint32_t slot = SLOT;
	uint64_t sum = 0;

	if (!q || bpf_map_lookup_elem(judge_map("queue_packets"), &slot, q))
		return UINT64_MAX;
	for (int i = 0; i < n; i++)
		if (cpu < 0 || i == cpu)
			sum += q[i].packets;
	return sum;
}

/* One frame; expects it to move or stay, and to be counted here or not. */
static void expect(const char *name, enum sluice_hook hook, const struct packet *p, int action, uint64_t count)
{
	uint64_t before = counted(-1), after;
	int got = judge_run(hook, p).action;

	after = counted(-1);
	judge_check(name, got == action && after - before == count,
		    "action %d, counted %llu times; expected %d and %llu", got, (unsigned long long)(after - before),
		    action, (unsigned long long)count);
}

enum { XDP_DROPS = 1, XDP_PASSES = 2, XDP_REDIRECTS = 4 };

static void test_decisions(void)
{
	expect("no entry: stays, uncounted", SLUICE_HOOK_XDP, &to_portal, XDP_PASSES, 0);
	steer(&to_portal, HERE, 1);
	expect("reactor on this CPU: stays, counted", SLUICE_HOOK_XDP, &to_portal, XDP_PASSES, 1);
	expect("other connection: uncounted", SLUICE_HOOK_XDP, &other_port, XDP_PASSES, 0);
	steer(&to_portal, ELSEWHERE, 0);
	expect("redirect off: stays, counted", SLUICE_HOOK_XDP, &to_portal, XDP_PASSES, 1);
	steer(&to_portal, ELSEWHERE, 1);
	expect("CPU without cpumap entry: stays, counted", SLUICE_HOOK_XDP, &to_portal, XDP_PASSES, 1);
	expect("at TC: stays, counted", SLUICE_HOOK_TC_INGRESS, &to_portal, -1 /* next program */, 1);
	steer(&denied, ELSEWHERE, 1);
	expect("denied: dropped, uncounted", SLUICE_HOOK_XDP, &denied, XDP_DROPS, 0);
	cpu_enters("bench: cpumap entry without program", ELSEWHERE, 0);
	expect("reactor elsewhere: moves, not counted here", SLUICE_HOOK_XDP, &to_portal, XDP_REDIRECTS, 0);
	steer(&to_portal6, ELSEWHERE, 1);
	expect("ipv6: moves", SLUICE_HOOK_XDP, &to_portal6, XDP_REDIRECTS, 0);
}

/* Sends frames out of the peer; they enter at JUDGE_DEV on this CPU. */
static int send_frames(const struct packet *p, int n)
{
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("sj1"), .sll_halen = 6};
	static struct frame frame;

	packet_build(&frame, p);
	for (int i = 0; i < n; i++)
		if (sendto(fd, frame.byte, frame.length, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return -errno;
	return 0;
}

/* Waits until `n` more packets are counted on `cpu`. */
static bool arrive(int cpu, uint64_t n)
{
	uint64_t deadline = time_now_ns() + 5 * NSEC_PER_SEC;
	struct timespec pause = {.tv_nsec = 1000000};

	while (counted(cpu) < n && time_now_ns() < deadline)
		nanosleep(&pause, NULL); /* a per-CPU counter wakes nobody */
	return counted(cpu) == n;
}

static void test_live(void)
{
	uint64_t here = counted(HERE), elsewhere = counted(ELSEWHERE);
	int program = judge_map("programs/sluice_cpumap"), r;

	steer(&to_portal, ELSEWHERE, 1);
	cpu_enters("bench: cpumap entry with sluice_cpumap", ELSEWHERE, program);
	r = send_frames(&to_portal, FRAMES);
	judge_check("live: frames sent", !r, "%s", strerror(-r));
	judge_check("live: all are processed on the reactor's CPU", arrive(ELSEWHERE, elsewhere + FRAMES), "%llu of %d",
		    (unsigned long long)(counted(ELSEWHERE) - elsewhere), FRAMES);
	judge_check("live: none is counted where it came in", counted(HERE) == here, "%llu",
		    (unsigned long long)counted(HERE));
	r = send_frames(&denied, FRAMES);
	r = r ? r : send_frames(&to_portal, 1);
	judge_check("live: denied frames do not move", !r && arrive(ELSEWHERE, elsewhere + FRAMES + 1), "%llu of 1",
		    (unsigned long long)(counted(ELSEWHERE) - elsewhere - FRAMES));
}

static bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

int main(void)
{
	if (libbpf_num_possible_cpus() < 2 || !run_on(ELSEWHERE) || !run_on(HERE)) {
		printf("skip - steering: needs two CPUs\n");
		return 77;
	}
	judge_start("steering", 64);
	judge_apply(policy);
	test_decisions();
	test_live();
	return judge_end();
}
