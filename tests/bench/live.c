// SPDX-License-Identifier: Apache-2.0
/*
 * The bench's traffic, on one CPU: `live send` measures how many frames a second a receiving interface gets through, `live
 * drop` and `live redirect` put a floor (a bare XDP_DROP, a bare redirect) on an interface. run.sh calls it, once a measurement. `live flood` sends SYNs from
 * random sources for a while, to whatever they are to try; `live catch`, on the sender's device, takes the answers to them.
 *
 * A frame goes generator → sender's veth → peer's NAPI → whatever is under test there, all on the CPU of the caller, so
 * frames a second is one over the cost of generator and receiver together, the same for every candidate. What got through is
 * counted at the receiver, never at the sender: frames that its NAPI took, and frames that reached its UDP socket. Where
 * frames are sent on, the receiver is the device at the end of their way (--count-*), on the same CPU too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/sock_diag.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "live.h"
#include "tests/bench/live.skel.h"

#define BATCH	   64	/* frames between two visits to the receiver's NAPI */
#define CALIBRATE  8192 /* frames that tell how many to send for the time wanted */

struct live_options {
	const char *from_namespace, *from_device;
	const char *to_namespace, *to_device;
	const char *count_namespace, *count_device; /* where frames end; default: where they are sent to */
	const char *out;			    /* redirect: the device that frames leave by */
	const char *source, *dest;
	unsigned int sources, ports; /* powers of two */
	unsigned int port;	     /* destination port */
	double seconds;
	unsigned int frames; /* not 0: exactly so many, and none before them */
	unsigned int flows, first;
	enum live_order order;
	bool mirror;
	bool sink;  /* a UDP socket at the destination, which throws away all it gets */
	bool scatter; /* sources drawn over all prefixes */
	bool syn;     /* SYNs, not UDP */
	bool reply; /* it answers once to each flow, so that a connection tracker takes them for established */
	int cpu;
};

static void die(const char *what, int err)
{
	fprintf(stderr, "live: %s: %s\n", what, strerror(err));
	exit(1);
}

static void namespace_enter(const char *name)
{
	_cleanup_close_ int fd = -1;
	char path[256];

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path, errno);
}

/* Frames that the device's NAPI has taken so far. In the namespace of the caller. Wraps at 32 bits. */
static uint32_t device_received(const char *device)
{
	struct ifaddrs *all, *a;
	uint32_t received = 0;

	if (getifaddrs(&all))
		die("getifaddrs", errno);
	for (a = all; a; a = a->ifa_next)
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_PACKET && a->ifa_data && !strcmp(a->ifa_name, device))
			received = ((struct rtnl_link_stats *)a->ifa_data)->rx_packets;
	freeifaddrs(all);
	return received;
}

static void device_address(const char *device, uint8_t ret_address[ETH_ALEN])
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &ifr))
		die(device, errno);
	memcpy(ret_address, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
}

/* -------------------------------------------------------------------- the sink */

/* A filter that accepts nothing: a frame costs the whole way up to its socket, and no reader is needed to keep it empty. */
static int sink_open(const struct live_options *o)
{
	struct sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
	struct sock_fprog program = {.len = ARRAY_SIZE(nothing), .filter = nothing};
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(o->port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		die("socket filter", errno);
	inet_pton(AF_INET, o->dest, &address.sin_addr);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		die("bind", errno);
	return fd;
}

static uint32_t sink_received(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {};
	socklen_t length = sizeof(info);

	if (fd < 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length))
		die("SO_MEMINFO", errno);
	return info[SK_MEMINFO_DROPS];
}

static void sink_reply(const struct live_options *o, int fd)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	unsigned int i;

	inet_pton(AF_INET, o->source, &to.sin_addr);
	for (i = 0; i < o->ports; i++) {
		to.sin_port = htons(1024 + i);
		if (sendto(fd, "", 1, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			die("reply", errno);
	}
}

/* --------------------------------------------------------------- the generator */

static uint32_t words_sum(const void *data, size_t length)
{
	uint16_t words[LIVE_FRAME / 2];
	uint32_t sum = 0;
	size_t i;

	memcpy(words, data, length);
	for (i = 0; i < length / 2; i++)
		sum += words[i];
	return sum;
}

static void udp_fill(const struct live_options *o, struct iphdr *ip)
{
	struct udphdr *udp = (void *)(ip + 1);

	ip->protocol = IPPROTO_UDP;
	ip->tot_len = htons(LIVE_FRAME - sizeof(struct ether_header));
	*(o->mirror ? &udp->source : &udp->dest) = htons(o->port);
	udp->len = htons(LIVE_FRAME - sizeof(struct ether_header) - sizeof(*ip)); /* checksum 0: none, as IPv4 permits */
}

static void syn_fill(const struct live_options *o, struct iphdr *ip, struct live_config *c)
{
	static const uint8_t mss[] = {2, 4, 5, 180};
	struct tcphdr *tcp = (void *)(ip + 1);
	size_t length = sizeof(*tcp) + sizeof(mss);

	ip->protocol = IPPROTO_TCP;
	ip->tot_len = htons((uint16_t)(sizeof(*ip) + length));
	tcp->dest = htons(o->port);
	tcp->doff = (uint8_t)(length / 4);
	tcp->syn = 1;
	tcp->window = htons(64240);
	memcpy(tcp + 1, mss, sizeof(mss));
	c->tcp_checksum = words_sum(tcp, length) + words_sum(&ip->daddr, sizeof(ip->daddr)) + htons(IPPROTO_TCP) +
			  htons((uint16_t)length);
}

static void config_fill(const struct live_options *o, unsigned int ifindex, const uint8_t to[ETH_ALEN],
			const uint8_t from[ETH_ALEN], struct live_config *c)
{
	struct ether_header *ethernet = (void *)c->frame;
	struct iphdr *ip = (void *)(c->frame + sizeof(*ethernet));

	memcpy(ethernet->ether_dhost, to, ETH_ALEN);
	memcpy(ethernet->ether_shost, from, ETH_ALEN);
	ethernet->ether_type = htons(ETHERTYPE_IP);
	*ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64};
	inet_pton(AF_INET, o->dest, o->mirror ? &ip->saddr : &ip->daddr);
	if (o->syn)
		syn_fill(o, ip, c);
	else
		udp_fill(o, ip);
	c->checksum = words_sum(ip, sizeof(*ip));
	inet_pton(AF_INET, o->source, &c->source);
	c->source = ntohl(c->source);
	c->source_mask = o->sources - 1;
	c->port = 1024;
	c->port_mask = o->ports - 1;
	c->ifindex = ifindex;
	c->scatter = o->scatter;
	c->flows = o->flows;
	c->order = o->order;
	c->first = o->first;
	c->mirror = o->mirror;
}

/* Returns what the kernel says a frame took, in ns: only good for calibration, as it leaves out work done by ksoftirqd. */
static uint32_t frames_send(int program, uint32_t frames)
{
	uint8_t start[LIVE_FRAME] = {};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = start, .data_size_in = sizeof(start), .repeat = frames,
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
	int r = bpf_prog_test_run_opts(program, &opts);

	if (r)
		die("live-frame test run", -r);
	return max(opts.duration, 1u);
}

/* Setting a live test run up and down waits for RCU, some 20 ms that no frame causes: the time of an empty run. */
static uint64_t frames_overhead(int program)
{
	uint64_t best = UINT64_MAX, start;
	int i;

	for (i = 0; i < 5; i++) {
		start = time_now_ns();
		frames_send(program, 1);
		best = min(best, time_now_ns() - start);
	}
	return best;
}

static struct live_bpf *generator_open(const struct live_options *o, const uint8_t to[ETH_ALEN])
{
	struct live_bpf *skel = live_bpf__open();
	uint8_t from[ETH_ALEN];
	int r;

	if (!skel)
		die("live.bpf.o", errno);
	device_address(o->from_device, from);
	config_fill(o, if_nametoindex(o->from_device), to, from, &skel->bss->shape);
	r = live_bpf__load(skel);
	if (r)
		die("live.bpf.o", -r);
	return skel;
}

/*
 * Warms caches and makes every flow known: what is measured afterwards are established flows. A tracker may refuse some flows of a
 * burst, so this goes on until everything of one burst arrives, for five seconds at most; a loss after that is in the figures.
 */
static void warm_up(const struct live_options *o, int program, int sink)
{
	uint32_t burst = max(o->sources, o->ports) * 2, before;
	uint64_t end = time_now_ns() + 5 * NSEC_PER_SEC;

	do {
		before = sink_received(sink);
		frames_send(program, burst);
	} while (sink >= 0 && sink_received(sink) - before < burst && time_now_ns() < end);
	if (o->reply)
		sink_reply(o, sink);
}

/* How many frames to send; those of which every one counts are preceded by none. */
static uint32_t prepare(const struct live_options *o, int program, int sink)
{
	if (o->frames)
		return o->frames;
	warm_up(o, program, sink);
	return o->seconds * NSEC_PER_SEC / frames_send(program, CALIBRATE);
}

/*
 * Generator and candidate share a CPU; what else runs on it would be counted as theirs. The kernel still keeps a twentieth of each
 * second for others (sched_rt_runtime_us), of every candidate alike.
 */
static void keep_cpu(void)
{
	const struct sched_param parameter = {.sched_priority = 10};

	if (sched_setscheduler(0, SCHED_FIFO, &parameter))
		die("real-time priority", errno);
}

/* Prints: seconds, frames sent, frames taken by the receiving device, frames that reached the socket. */
static void send_measured(const struct live_options *o)
{
	uint8_t to[ETH_ALEN];
	struct live_bpf *skel;
	uint32_t device, socket_;
	uint64_t start, overhead, spent;
	uint32_t frames;
	int sink = -1, program;

	namespace_enter(o->to_namespace);
	device_address(o->to_device, to);
	if (o->sink)
		sink = sink_open(o);
	namespace_enter(o->from_namespace);
	skel = generator_open(o, to);
	program = bpf_program__fd(skel->progs.generate);

	keep_cpu();
	frames = prepare(o, program, sink);
	overhead = frames_overhead(program);
	namespace_enter(o->count_namespace);
	device = device_received(o->count_device);
	socket_ = sink_received(sink);
	namespace_enter(o->from_namespace);
	start = time_now_ns();
	frames_send(program, frames);
	spent = time_now_ns() - start;
	spent -= min(overhead, spent / 2);
	namespace_enter(o->count_namespace);
	device = device_received(o->count_device) - device;
	socket_ = sink_received(sink) - socket_;
	printf("%.6f %u %u %u\n", (double)spent / NSEC_PER_SEC, frames, device, socket_);
	live_bpf__destroy(skel);
}

/* ---------------------------------------------------------------------- the flood */

#define FLOOD_CHUNK (NSEC_PER_SEC / 4)

/* Prints: seconds, frames sent, frames taken by the receiving device. */
static void flood(const struct live_options *o)
{
	uint64_t start, end, sent = 0;
	uint8_t to[ETH_ALEN];
	struct live_bpf *skel;
	uint32_t device, chunk, frame_ns;
	int program;

	namespace_enter(o->to_namespace);
	device_address(o->to_device, to);
	device = device_received(o->to_device);
	namespace_enter(o->from_namespace);
	skel = generator_open(o, to);
	program = bpf_program__fd(skel->progs.generate_syn);
	start = time_now_ns();
	end = start + o->seconds * NSEC_PER_SEC;
	for (chunk = CALIBRATE; time_now_ns() < end; chunk = max(FLOOD_CHUNK / frame_ns, (uint64_t)BATCH)) {
		frame_ns = frames_send(program, chunk);
		sent += chunk;
	}
	namespace_enter(o->to_namespace);
	printf("%.6f %llu %u\n", (double)(time_now_ns() - start) / NSEC_PER_SEC, (unsigned long long)sent,
	       device_received(o->to_device) - device);
	live_bpf__destroy(skel);
}

/* ---------------------------------------------------------------------- the floor */

/* Stays attached after this process: the namespace's end takes it away. */
static void program_attach(const struct live_options *o, const char *verb)
{
	bool catch = !strcmp(verb, "catch"), redirect = !strcmp(verb, "redirect");
	struct live_bpf *skel = live_bpf__open();
	__u32 zero = 0, out;
	int program, r;

	if (!skel)
		die("live.bpf.o", errno);
	if (catch)
		inet_pton(AF_INET, o->dest, &skel->bss->shape.own);
	r = live_bpf__load(skel);
	if (r)
		die("live.bpf.o", -r);
	namespace_enter(o->to_namespace);
	out = redirect ? if_nametoindex(o->out) : 0;
	if (redirect && bpf_map_update_elem(bpf_map__fd(skel->maps.way_out), &zero, &out, BPF_ANY))
		die(o->out, errno);
	program = bpf_program__fd(catch ? skel->progs.catch : redirect ? skel->progs.redirect : skel->progs.drop);
	r = bpf_xdp_attach(if_nametoindex(o->to_device), program, XDP_FLAGS_DRV_MODE, NULL);
	if (r)
		die(o->to_device, -r);
	live_bpf__destroy(skel);
}

static const struct option long_options[] = {
	{"from-namespace", required_argument, NULL, 'n'},
	{"from-device", required_argument, NULL, 'd'},
	{"to-namespace", required_argument, NULL, 'N'},
	{"to-device", required_argument, NULL, 'D'},
	{"source", required_argument, NULL, 's'},
	{"dest", required_argument, NULL, 'a'},
	{"sources", required_argument, NULL, 'S'},
	{"ports", required_argument, NULL, 'P'},
	{"port", required_argument, NULL, 'p'},
	{"seconds", required_argument, NULL, 't'},
	{"cpu", required_argument, NULL, 'c'},
	{"sink", no_argument, NULL, 'k'},
	{"reply", no_argument, NULL, 'r'},
	{"scatter", no_argument, NULL, 'x'},
	{"count-namespace", required_argument, NULL, 'm'},
	{"count-device", required_argument, NULL, 'M'},
	{"out", required_argument, NULL, 'o'},
	{"frames", required_argument, NULL, 'f'},
	{"flows", required_argument, NULL, 'F'},
	{"first", required_argument, NULL, 'i'},
	{"random", no_argument, NULL, 'R'},
	{"new", no_argument, NULL, 'w'},
	{"mirror", no_argument, NULL, 'y'},
	{},
};

static int option_take(struct live_options *o, int option)
{
	switch (option) {
	case 'n': o->from_namespace = optarg; return 0;
	case 'd': o->from_device = optarg; return 0;
	case 'N': o->to_namespace = optarg; return 0;
	case 'D': o->to_device = optarg; return 0;
	case 's': o->source = optarg; return 0;
	case 'a': o->dest = optarg; return 0;
	case 'S': o->sources = atoi(optarg); return 0;
	case 'P': o->ports = atoi(optarg); return 0;
	case 'p': o->port = atoi(optarg); return 0;
	case 't': o->seconds = atof(optarg); return 0;
	case 'c': o->cpu = atoi(optarg); return 0;
	case 'k': o->sink = true; return 0;
	case 'r': o->reply = true; return 0;
	case 'x': o->scatter = true; return 0;
	case 'm': o->count_namespace = optarg; return 0;
	case 'M': o->count_device = optarg; return 0;
	case 'o': o->out = optarg; return 0;
	case 'f': o->frames = atoi(optarg); return 0;
	case 'F': o->flows = atoi(optarg); return 0;
	case 'i': o->first = atoi(optarg); return 0;
	case 'R': o->order = LIVE_AT_RANDOM; return 0;
	case 'w': o->order = LIVE_EACH_NEW; o->flows = 1; return 0;
	case 'y': o->mirror = true; return 0;
	default: return -EINVAL;
	}
}

static bool options_complete(const struct live_options *o, const char *verb)
{
	if (!o->to_namespace || !o->to_device || !o->count_namespace != !o->count_device)
		return false;
	if (!strcmp(verb, "drop"))
		return true;
	if (!strcmp(verb, "catch"))
		return o->dest;
	if (!strcmp(verb, "redirect"))
		return o->out;
	return (!strcmp(verb, "send") || o->syn) && o->from_namespace && o->from_device && o->source && o->dest && o->port &&
	       o->sources && !(o->sources & (o->sources - 1)) && o->ports && !(o->ports & (o->ports - 1)) &&
	       (o->sink || !o->reply) && (o->flows || !o->mirror);
}

int main(int argc, char **argv)
{
	struct live_options o = {.sources = 1, .ports = 1, .seconds = 1, .cpu = 0};
	const char *verb = argc > 1 ? argv[1] : "";
	cpu_set_t cpus;
	int option, r = 0;

	o.syn = !strcmp(verb, "flood");
	while (!r && (option = getopt_long(argc - 1, argv + 1, "", long_options, NULL)) != -1)
		r = option_take(&o, option);
	if (r || !options_complete(&o, verb)) {
		fprintf(stderr, "usage: live drop --to-namespace NS --to-device DEV\n"
				"       live redirect --to-namespace NS --to-device DEV --out DEV\n"
				"       live send --from-namespace NS --from-device DEV --to-namespace NS --to-device DEV\n"
				"                 --source ADDRESS --dest ADDRESS --port N [--sources 2^N] [--ports 2^N]\n"
				"                 [--flows N [--random] [--mirror] | --new] [--first N]\n"
				"                 [--seconds S | --frames N] [--cpu N] [--sink [--reply]] [--scatter]\n"
				"                 [--count-namespace NS --count-device DEV]\n"
				"       live flood, as send: SYNs from random ones of the sources and ports\n"
				"       live catch --to-namespace NS --to-device DEV --dest OWN-ADDRESS\n");
		return 2;
	}
	if (!o.count_namespace) {
		o.count_namespace = o.to_namespace;
		o.count_device = o.to_device;
	}
	CPU_ZERO(&cpus);
	CPU_SET(o.cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("cpu", errno);
	if (o.syn)
		flood(&o);
	else if (!strcmp(verb, "send"))
		send_measured(&o);
	else
		program_attach(&o, verb);
	return 0;
}
