// SPDX-License-Identifier: Apache-2.0
/*
 * Where passing frames go, by test run, with every byte of what would be sent out compared: through a wire unchanged,
 * but for checksums that were left to a device; routed as the kernel would route them, or left to it, and why.
 *
 *   sj0 (10.9.0.1, fd09::1) ── frames enter here          sj2 (10.8.0.1, fd08::1) ── the other end, the way out
 *   sj4 (10.7.0.1): neither wired nor forwarding
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <xdp/libxdp.h>

#include "base/util.h"
#include "judge.h"

enum { DROP = 1, PASS = 2, REDIRECT = 4 };

#define OUT_MAC	 "02:00:00:00:00:22" /* of sj2 */
#define NEXT_MAC "02:00:00:00:00:88" /* of the neighbours behind it */
static const uint8_t out_mac[] = {2, 0, 0, 0, 0, 0x22}, next_mac[] = {2, 0, 0, 0, 0, 0x88};

static void shell(const char *command)
{
	if (system(command))
		judge_check(command, false, "failed");
}

static void devices_make(void)
{
	shell("ip link set " JUDGE_DEV " address 02:00:00:00:00:02"); /* whom frames are for: packet.h */
	shell("ip link add sj2 address " OUT_MAC
	      " type veth peer name sj3 && ip link set sj2 up && ip link set sj3 up");
	shell("ethtool -K sj3 gro on >/dev/null"); /* or the kernel hands sj2 no redirected frames */
	shell("ip link add sj4 type veth peer name sj5 && ip link set sj4 up && ip link set sj5 up");
	shell("ip addr add 10.8.0.1/24 dev sj2 && ip addr add fd08::1/64 dev sj2 nodad && ip addr add 10.7.0.1/24 dev "
	      "sj4");
	shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	shell("ip neigh add 10.8.0.9 lladdr " NEXT_MAC " dev sj2 && ip neigh add fd08::9 lladdr " NEXT_MAC " dev sj2");
	shell("ip neigh add 10.7.0.9 lladdr " NEXT_MAC " dev sj4 && ip neigh add 10.9.0.77 lladdr " NEXT_MAC
	      " dev " JUDGE_DEV);
	shell("ip route add blackhole 10.66.0.0/24 && ip route add unreachable 10.67.0.0/24");
}

/* ------------------------------------------------------------------ runs */

static struct {
	int action;
	size_t length;
	uint8_t byte[PACKET_MAX + 256];
	uint64_t counted[SLUICE_FORWARD_COUNT]; /* by this run */
} ran;

static void forwards_read(uint64_t *ret)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t values[1024] = {};

	for (uint32_t f = 0; f < SLUICE_FORWARD_COUNT; f++) {
		ret[f] = 0;
		if (cpus > 1024 || bpf_map_lookup_elem(judge_map("forwards"), &f, values)) {
			judge_check("map forwards is readable", false, "%s", strerror(errno));
			exit(1);
		}
		for (int i = 0; i < cpus; i++)
			ret[f] += values[i];
	}
}

static void run(const struct frame *f)
{
	struct xdp_md md = {.data_end = (__u32)f->length, .ingress_ifindex = judge_ifindex()};
	struct xdp_program *program = xdp_program__from_fd(judge_map("programs/sluice_xdp"));
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->byte, .data_size_in = (uint32_t)f->length,
		    .data_out = ran.byte, .data_size_out = sizeof(ran.byte), .ctx_in = &md, .ctx_size_in = sizeof(md),
		    .repeat = 1);
	int r = (int)libxdp_get_error(program);

	if (!r)
		r = xdp_program__test_run(program, &opts, 0);
	if (r) {
		judge_check("test run", false, "%s", strerror(-r));
		exit(1);
	}
	xdp_program__close(program);
	ran.action = (int)opts.retval;
	ran.length = opts.data_size_out;
}

static void run_counted(const struct frame *f)
{
	uint64_t before[SLUICE_FORWARD_COUNT];

	forwards_read(before);
	run(f);
	forwards_read(ran.counted);
	for (int i = 0; i < SLUICE_FORWARD_COUNT; i++)
		ran.counted[i] -= before[i];
}

static const char *const outcome_names[] = {
#define F(NAME, name, what, text) name,
	SLUICE_FORWARDS(F)
#undef F
};

/* Space-separated; what is only noted, too. */
static const char *outcomes(void)
{
	static char text[256];
	size_t n = 0;

	text[0] = 0;
	for (int i = 0; i < SLUICE_FORWARD_COUNT; i++)
		if (ran.counted[i])
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "", outcome_names[i]);
	return text;
}

/* One case: that action, those outcomes, and the bytes of `expected`. */
static void check(const char *name, const char *detail, int action, const char *expected_outcomes,
		  const struct frame *expected)
{
	bool same = ran.length == expected->length && !memcmp(ran.byte, expected->byte, ran.length);
	char title[160];
	size_t at = 0;

	snprintf(title, sizeof(title), "%s%s", name, detail);
	while (!same && at < ran.length && at < expected->length && ran.byte[at] == expected->byte[at])
		at++;
	judge_check(title, ran.action == action && !strcmp(outcomes(), expected_outcomes) && (same || action == DROP),
		    "expected %d (%s), got %d (%s)%s, byte %zu of %zu: %02x, not %02x", action, expected_outcomes,
		    ran.action, outcomes(), same ? "" : ", other bytes", at, ran.length, ran.byte[at],
		    expected->byte[at]);
}

/* ------------------------------------------------------------------ checksums */

static uint32_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t sum_add(uint32_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint8_t frame_protocol(const struct frame *f)
{
	return f->byte[f->l3] >> 4 == 4 ? f->byte[f->l3 + 9] : f->byte[f->l3 + 6];
}

static size_t frame_field(const struct frame *f)
{
	return f->l4 + (frame_protocol(f) == IPPROTO_TCP ? 16 : 6);
}

static uint32_t pseudo_sum(const struct frame *f)
{
	bool ip4 = f->byte[f->l3] >> 4 == 4;
	size_t length = ip4 ? ((size_t)f->byte[f->l3 + 2] << 8 | f->byte[f->l3 + 3]) - 20
			    : (size_t)f->byte[f->l3 + 4] << 8 | f->byte[f->l3 + 5];

	return sum_fold(sum_add((uint32_t)length + frame_protocol(f), f->byte + f->l3 + (ip4 ? 12 : 8), ip4 ? 8 : 32));
}

static void field_set(struct frame *f, uint32_t sum)
{
	f->byte[frame_field(f)] = (uint8_t)(sum >> 8);
	f->byte[frame_field(f) + 1] = (uint8_t)sum;
}

/* As a veth peer with checksum offload sends it. */
static void unfinish(struct frame *f)
{
	field_set(f, pseudo_sum(f));
}

/*
 * Makes the last word of the payload such that the right checksum is the very sum of the pseudo header. Even payloads
 * only, and right checksums before.
 */
static void make_ambiguous(struct frame *f)
{
	uint32_t pseudo = pseudo_sum(f), sum;
	size_t last = f->length - 2;

	f->byte[last] = f->byte[last + 1] = 0;
	field_set(f, pseudo);
	sum = sum_fold(sum_add(pseudo, f->byte + f->l4, f->length - f->l4)); /* what the last word must make 0xffff */
	f->byte[last] = (uint8_t)(~sum >> 8);
	f->byte[last + 1] = (uint8_t)~sum;
}

/* ------------------------------------------------------------------ wires */

static const char wire_policy[] = "sluice: 1\nname: wires\ndefault: deny\nconntrack: {pickup: 0s}\ntenants: [red]\n"
				  "interfaces: [{name: " JUDGE_DEV ", wire: sj2, vlans: {7: red}, vnis: {7001: red}}]\n"
				  "segments: {red: {include: [10.9.0.0/24, 10.8.0.0/24], tenant: red}}\n"
				  "rules:\n"
				  "  - {name: some, from: any, to: any, service: [tcp/80, udp/80, udp/4789, "
				  "icmp/echo-request, icmpv6/128], action: allow}\n"
				  "  - {name: red, from: red, to: red, service: tcp/80, action: allow}\n";

#define IN		.from = "10.9.0.9", .to = "10.8.0.9", .dport = 80
#define IN6		.from = "fd09::9", .to = "fd08::9", .dport = 80
#define SYN		.tcp = TCP_F_SYN
#define LINK(type, ...) .ethertype = type, .mac_to = {__VA_ARGS__}, .payload = 46

static const struct wire_row {
	const char *name;
	struct packet packet;
	int action;
	const char *outcomes;
} wire_rows[] = {
	{"TCP", {IN, SYN}, REDIRECT, "wired"},
	{"TCP over IPv6", {IN6, SYN}, REDIRECT, "wired"},
	{"UDP, odd payload", {IN, .payload = 99}, REDIRECT, "wired"},
	{"UDP over IPv6", {IN6, .payload = 1400}, REDIRECT, "wired"},
	{"UDP, a multiple of what is summed at once", {IN, .payload = 120}, REDIRECT, "wired"},
	{"UDP, one more", {IN, .payload = 121}, REDIRECT, "wired"},
	{"UDP, one less", {IN, .payload = 119}, REDIRECT, "wired"},
	{"TCP in a listed VLAN", {IN, SYN, .vlan = 7, .payload = 33}, REDIRECT, "wired"},
	{"as long as the other end sends", {IN, .payload = 1472}, REDIRECT, "wired"},
	{"padded", {IN, SYN, .pad = 6}, REDIRECT, "wired"},
	{"ping", {IN, .icmp = ICMP(8, 0), .icmp_id = 5}, REDIRECT, "wired"},
	{"ping over IPv6", {IN6, .icmp = ICMP(128, 0), .icmp_id = 5}, REDIRECT, "wired"},
	{"ARP", {LINK(0x0806, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)}, REDIRECT, "wired"},
	{"LLDP", {LINK(0x88cc, 1, 0x80, 0xc2, 0, 0, 0xe)}, REDIRECT, "wired"},
	{"LACP", {LINK(0x8809, 1, 0x80, 0xc2, 0, 0, 2)}, REDIRECT, "wired"},
	{"EAPOL", {LINK(0x888e, 1, 0x80, 0xc2, 0, 0, 3)}, REDIRECT, "wired"},
	{"spanning tree", {LINK(0x0026, 1, 0x80, 0xc2, 0, 0, 0)}, REDIRECT, "wired"},
	{"another ethertype", {LINK(0x88b5, 2, 0, 0, 0, 0, 9)}, DROP, ""},
	{"a denied port", {.from = "10.9.0.9", .to = "10.8.0.9", .dport = 81, SYN}, DROP, ""},
	{"ssh to an address of this host: nothing on a wire is for it",
	 {.from = "10.9.0.9", .to = "10.9.0.1", .dport = 22, SYN},
	 DROP,
	 ""},
	{"DHCP to all", {.from = "10.9.0.9", .to = "255.255.255.255", .dport = 68}, DROP, ""},
	{"an unlisted VLAN", {IN, SYN, .vlan = 8}, DROP, ""},
	{"a stray", {IN, .tcp = TCP_F_ACK, .sport = 7777}, DROP, ""},
	{"one byte longer than the other end sends", {IN, .payload = 1477}, DROP, "wire-too-long"},
	{"an unsegmented frame", {IN, .payload = 30000}, DROP, "wire-too-long"},
};

/* A tagged frame may be longer by its tag, and an untagged one by as much: as the kernel has it. */
static void test_wires(void)
{
	static struct frame f, odd;

	for (size_t i = 0; i < ARRAY_SIZE(wire_rows); i++) {
		const struct wire_row *row = &wire_rows[i];

		packet_build(&f, &row->packet);
		run_counted(&f);
		check("wire: ", row->name, row->action, row->outcomes, &f);
		if (row->action != REDIRECT || !row->packet.from || row->packet.icmp)
			continue;
		odd = f;
		unfinish(&odd);
		run_counted(&odd);
		check("wire: checksum left to a device: ", row->name, REDIRECT, "wired checksum-filled", &f);
	}
	packet_build(&f, &(struct packet){IN, .payload = 100});
	make_ambiguous(&f);
	run_counted(&f);
	check("wire: a checksum that is right, and also the sum of the pseudo header", "", REDIRECT, "wired", &f);
	packet_build(&f, &(struct packet){IN, .payload = 100});
	field_set(&f, 0);
	run_counted(&f);
	check("wire: UDP without a checksum", "", REDIRECT, "wired", &f);
	packet_build(&f, &(struct packet){
				 .from = "10.9.0.9", .to = "10.8.0.9", .sport = 80, .dport = 40001, .tcp = TCP_F_ACK});
	run_counted(&f);
	check("wire: an answer without a question", "", DROP, "", &f);
}

static void test_wire_errors(void)
{
	const struct packet sent = {IN, SYN, .sport = 4001};
	static struct frame f;

	packet_build(&f, &sent);
	run_counted(&f);
	check("wire: the packet that a router quotes", "", REDIRECT, "wired", &f);
	packet_build(&f, &(struct packet){.from = "10.5.5.5", .to = "10.9.0.9", .icmp = ICMP(11, 0), .quote = &sent});
	run_counted(&f);
	check("wire: an ICMP error about it", "", REDIRECT, "wired", &f);
	packet_build(&f, &(struct packet){.from = "10.5.5.5",
					  .to = "10.9.0.9",
					  .icmp = ICMP(11, 0),
					  .quote = &(struct packet){IN, SYN, .sport = 4002}});
	run_counted(&f);
	check("wire: an ICMP error about a packet that was never there", "", DROP, "", &f);
	shell("ip link set sj2 mtu 1400");
	packet_build(&f, &(struct packet){IN, .payload = 1400});
	run_counted(&f);
	check("wire: what fits the MTU of the time of apply is not held against a smaller one", "", REDIRECT, "wired",
	      &f);
	judge_apply(wire_policy);
	run_counted(&f);
	check("wire: after the next apply it is", "", DROP, "wire-too-long", &f);
	shell("ip link set sj2 mtu 1500");
	judge_apply(wire_policy);
}

/* ------------------------------------------------------------------ routing */

static const char forward_policy[] =
	"sluice: 1\nname: routes\ndefault: deny\nconntrack: {pickup: 0s}\ntenants: [red]\nfailsafe: []\n"
	"interfaces:\n"
	"  - {name: " JUDGE_DEV ", forward: xdp, vlans: {7: red}}\n"
	"  - {name: sj2, forward: xdp}\n"
	"  - {name: sj4}\n"
	"rules: [{name: all, from: any, to: any, action: allow}]\n";

/* What the kernel would make of the frame: the question to which the programs' answer is compared. */
static void route_by_hand(struct frame *f)
{
	memcpy(f->byte, next_mac, 6);
	memcpy(f->byte + 6, out_mac, 6);
	f->byte[f->l3 + (f->byte[f->l3] >> 4 == 4 ? 8 : 7)]--;
	if (f->byte[f->l3] >> 4 == 4)
		frame_checksum_ip(f);
}

/* Runs until the packet is of a flow, and not the one of many that refreshes neighbours. */
static void run_established(const struct frame *f)
{
	run(f);
	do {
		run_counted(f);
	} while (ran.counted[SLUICE_FORWARD_KERNEL_REFRESH]);
}

static const struct route_row {
	const char *name;
	struct packet packet;
} route_rows[] = {
	{"TCP", {IN, .tcp = TCP_F_ACK, .sport = 2000}},
	{"TCP over IPv6", {IN6, .tcp = TCP_F_ACK, .sport = 2000}},
	{"UDP", {IN, .payload = 99, .sport = 2001}},
	{"UDP over IPv6", {IN6, .payload = 1400, .sport = 2001}},
	{"ping", {IN, .icmp = ICMP(8, 0), .icmp_id = 9}},
	{"ping over IPv6", {IN6, .icmp = ICMP(128, 0), .icmp_id = 9}},
	{"SCTP", {IN, .protocol = IPPROTO_SCTP, .payload = 20}},
	{"GRE", {.from = "10.9.0.9", .to = "10.8.0.9", .protocol = IPPROTO_GRE, .payload = 20}},
	{"as long as the way out sends", {IN, .payload = 1472, .sport = 2002}},
	{"padded", {IN, .tcp = TCP_F_ACK, .pad = 6, .sport = 333}},
};

static void test_routes(void)
{
	static struct frame f, odd, routed;

	for (size_t i = 0; i < ARRAY_SIZE(route_rows); i++) {
		const struct route_row *row = &route_rows[i];
		struct packet p = row->packet, first = p;

		first.tcp = p.tcp ? TCP_F_SYN : 0;
		packet_build(&f, &first);
		run_counted(&f);
		check("route: the first packet: ", row->name, PASS, "first-packets", &f);
		if (p.tcp) {
			run_counted(&f);
			check("route: the SYN once more: ", row->name, PASS, "first-packets", &f);
		}
		packet_build(&f, &p);
		routed = f;
		route_by_hand(&routed);
		run_established(&f);
		check("route: ", row->name, REDIRECT, "routed", &routed);
		if (p.icmp || p.protocol)
			continue;
		odd = f;
		unfinish(&odd);
		run_established(&odd);
		check("route: checksum left to a device: ", row->name, REDIRECT, "checksum-filled routed", &routed);
	}
}

/* Every header checksum there is: RFC 1624 is easily got wrong at its edges. */
static void test_header_checksums(void)
{
	static struct frame f, routed;
	unsigned int wrong = 0, refreshed = 0;
	uint64_t before[SLUICE_FORWARD_COUNT], after[SLUICE_FORWARD_COUNT];

	packet_build(&f, &(struct packet){IN, .sport = 5555});
	run(&f);
	forwards_read(before);
	for (unsigned int id = 0; id <= 0xffff; id++) {
		f.byte[f.l3 + 4] = (uint8_t)(id >> 8);
		f.byte[f.l3 + 5] = (uint8_t)id;
		frame_checksum_ip(&f);
		run(&f);
		routed = f;
		route_by_hand(&routed);
		if (ran.action == PASS)
			refreshed++;
		else
			wrong += ran.action != REDIRECT || memcmp(ran.byte, routed.byte, routed.length);
	}
	forwards_read(after);
	judge_check("route: 65,536 header checksums", !wrong, "%u wrong", wrong);
	judge_check("route: packets that refresh neighbours are few and counted",
		    refreshed < 8192 &&
			    after[SLUICE_FORWARD_KERNEL_REFRESH] - before[SLUICE_FORWARD_KERNEL_REFRESH] == refreshed,
		    "%u", refreshed);
}

/* ------------------------------------------------------------------ answers of the routes, and for how long they hold */

#define OTHER_MAC "02:00:00:00:00:99" /* of 10.8.0.10, another router */
static const uint8_t other_mac[] = {2, 0, 0, 0, 0, 0x99};

static void tick_pass(void)
{
	const struct timespec little = {.tv_nsec = 100000};
	struct timespec before, now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &before);
	do {
		nanosleep(&little, NULL);
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	} while (now.tv_nsec == before.tv_nsec);
}

/* A change, and the rest of the tick: for so long an answer may still hold. */
static void change(const char *command)
{
	shell(command);
	tick_pass();
}

static void check_next_hop(const char *name, const struct frame *f, const uint8_t mac[6])
{
	struct frame routed = *f;

	route_by_hand(&routed);
	memcpy(routed.byte, mac, 6);
	run_established(f);
	check("route: ", name, REDIRECT, "routed", &routed);
}

static void test_changes(void)
{
	static struct frame f;

	packet_build(&f, &(struct packet){IN, .sport = 11, .payload = 1400});
	check_next_hop("before anything changes", &f, next_mac);
	change("ip neigh replace 10.8.0.9 lladdr " OTHER_MAC " dev sj2");
	check_next_hop("the neighbour has another address now", &f, other_mac);
	change("ip neigh replace 10.8.0.9 lladdr " NEXT_MAC " dev sj2");
	check_next_hop("and now its former one", &f, next_mac);
	change("ip neigh add 10.8.0.10 lladdr " OTHER_MAC " dev sj2 && ip route add 10.8.0.9/32 via 10.8.0.10");
	check_next_hop("the route leads by another router now", &f, other_mac);
	change("ip route replace 10.8.0.9/32 dev sj2 mtu lock 800");
	run_established(&f);
	check("route: too long for the route now", "", PASS, "too-long", &f);
	change("ip route replace blackhole 10.8.0.9/32");
	run_established(&f);
	check("route: the route is a black hole now", "", PASS, "route", &f);
	change("ip route del blackhole 10.8.0.9/32 && ip link set sj2 mtu 1300");
	run_established(&f);
	check("route: too long for the way out now", "", PASS, "too-long", &f);
	change("ip link set sj2 mtu 1500 && ip neigh del 10.8.0.9 dev sj2");
	run_established(&f);
	check("route: the neighbour is not known any more", "", PASS, "neighbour", &f);
	change("ip neigh add 10.8.0.9 lladdr " NEXT_MAC " dev sj2");
	check_next_hop("after all that", &f, next_mac);
}

#define ROUTES_KEPT 4096 /* entries of map `routes` */

/* Overwrites the next hop of every answer that is kept with `to`. Returns how many there were. */
static unsigned int answers_forge(uint32_t first, uint32_t last, const uint8_t to[6], uint32_t *ret_last)
{
	static uint8_t values[1024 * 64];
	unsigned int n = 0;
	uint8_t *mac;

	for (uint32_t i = first; i <= last; i++) {
		if (bpf_map_lookup_elem(judge_map("routes"), &i, values))
			return 0;
		for (size_t at = 0; (mac = memmem(values + at, sizeof(values) - at, next_mac, 6)); at = (size_t)(mac - values)) {
			memcpy(mac, to, 6);
			n++;
			*ret_last = i;
		}
		bpf_map_update_elem(judge_map("routes"), &i, values, BPF_ANY);
	}
	return n;
}

/* That an answer is used again is seen by what nobody but this test does: it changes the answer, within the tick. */
static void test_answers_are_kept(void)
{
	static const uint8_t forged[] = {2, 0, 0, 0, 0, 0x77};
	uint32_t place = 0, all = 0;
	unsigned int kept, used = 0;
	static struct frame f;

	packet_build(&f, &(struct packet){IN, .sport = 12});
	run_established(&f);
	answers_forge(0, ROUTES_KEPT - 1, forged, &all);
	for (int i = 0; i < 100 && !used; i++) { /* a tick may end at any moment */
		run_established(&f);
		kept = answers_forge(all, all, forged, &place);
		run(&f);
		used = kept && !memcmp(ran.byte, forged, 6);
	}
	judge_check("route: an answer is used again within the tick", used, "place %u", all);
	tick_pass();
	check_next_hop("and not after it", &f, next_mac);
}

/* Packets by turns, many within a tick: each goes the way that is its own, whatever was asked for the one before. */
static void check_turns(const char *name, const struct frame f[2], const uint8_t mac[2][6])
{
	unsigned int wrong = 0, left = 0;
	char title[160];

	run(&f[0]);
	run(&f[1]);
	for (int i = 0; i < 4000; i++) {
		run(&f[i & 1]);
		if (ran.action == PASS)
			left++;
		else
			wrong += ran.action != REDIRECT || memcmp(ran.byte, mac[i & 1], 6);
	}
	snprintf(title, sizeof(title), "route: by turns: %s", name);
	judge_check(title, !wrong && left < 2000, "%u of 4,000 went wrong, %u were left to the kernel", wrong, left);
}

static void test_turns(void)
{
	static const uint8_t both[2][6] = {{2, 0, 0, 0, 0, 0x88}, {2, 0, 0, 0, 0, 0x99}};
	static struct frame f[2];

	packet_build(&f[0], &(struct packet){IN, .sport = 13});
	packet_build(&f[1], &(struct packet){.from = "10.9.0.9", .to = "10.8.0.10", .dport = 80, .sport = 13});
	check_turns("two destinations", f, both);
	f[1] = f[0];
	f[1].byte[f[1].l3 + 1] = 0x10;
	frame_checksum_ip(&f[1]);
	shell("ip route add 10.8.0.9/32 tos 0x10 via 10.8.0.10");
	check_turns("two types of service", f, both);
	shell("ip route del 10.8.0.9/32 tos 0x10");
	shell("ip route add 10.8.0.9/32 table 77 via 10.8.0.10 && ip rule add from 10.9.0.10 table 77");
	packet_build(&f[1], &(struct packet){.from = "10.9.0.10", .to = "10.8.0.9", .dport = 80, .sport = 13});
	check_turns("two sources, by a rule", f, both);
	shell("ip rule del table 77 && ip rule add ipproto udp dport 81 table 77");
	packet_build(&f[1], &(struct packet){.from = "10.9.0.9", .to = "10.8.0.9", .dport = 81, .sport = 13});
	check_turns("two ports, by a rule", f, both);
	shell("ip rule del table 77 && ip rule add ipproto tcp table 77");
	packet_build(&f[1], &(struct packet){IN, SYN, .sport = 13});
	run(&f[1]);
	packet_build(&f[1], &(struct packet){IN, .tcp = TCP_F_ACK, .sport = 13});
	check_turns("two protocols, by a rule", f, both);
	shell("ip rule del table 77 && ip route flush table 77");
}

#define WAYS_FLOWS 32

/* Flows that the kernel spreads over two routers by their ports: each keeps the one that it was given first. */
static void test_ways(void)
{
	unsigned int wrong = 0, other = 0;
	static uint8_t way[WAYS_FLOWS][6];
	static struct frame f[WAYS_FLOWS];

	shell("sysctl -qw net.ipv4.fib_multipath_hash_policy=1");
	shell("ip route add 10.11.0.0/24 nexthop via 10.8.0.9 nexthop via 10.8.0.10");
	for (int i = 0; i < WAYS_FLOWS; i++) {
		packet_build(&f[i], &(struct packet){
					    .from = "10.9.0.9", .to = "10.11.0.1", .dport = 80, .sport = (uint16_t)(100 + i)});
		run_established(&f[i]);
		memcpy(way[i], ran.byte, 6);
		other += !memcmp(way[i], other_mac, 6);
	}
	for (int i = 0; i < 100 * WAYS_FLOWS; i++) {
		run(&f[i * 7 % WAYS_FLOWS]);
		wrong += ran.action == REDIRECT && memcmp(ran.byte, way[i * 7 % WAYS_FLOWS], 6);
	}
	judge_check("route: flows keep their ways where the kernel has two", !wrong && other && other < WAYS_FLOWS,
		    "%u packets went the other way, %u of %d flows by the second", wrong, other, WAYS_FLOWS);
	shell("ip route del 10.11.0.0/24 && sysctl -qw net.ipv4.fib_multipath_hash_policy=0");
}

/* ------------------------------------------------------------------ what is left to the kernel */

static void ttl_1(struct frame *f)
{
	f->byte[f->l3 + (f->byte[f->l3] >> 4 == 4 ? 8 : 7)] = 1;
	if (f->byte[f->l3] >> 4 == 4)
		frame_checksum_ip(f);
}

static void ttl_0(struct frame *f)
{
	ttl_1(f);
	f->byte[f->l3 + (f->byte[f->l3] >> 4 == 4 ? 8 : 7)] = 0;
	if (f->byte[f->l3] >> 4 == 4)
		frame_checksum_ip(f);
}

static const struct kernel_row {
	const char *name;
	struct packet packet;
	const char *outcomes;
} kernel_rows[] = {
	{"time to live 1", {IN, .mutate = ttl_1, .sport = 1}, "ttl"},
	{"time to live 0", {IN, .mutate = ttl_0, .sport = 1}, "ttl"},
	{"hop limit 1", {IN6, .mutate = ttl_1, .sport = 1}, "ttl"},
	{"hop limit 0", {IN6, .mutate = ttl_0, .sport = 1}, "ttl"},
	{"options", {IN, .options = 4, .sport = 2}, "unusual"},
	{"an extension header", {IN6, .extension = {60}, .n_extensions = 1, .sport = 2}, "unusual"},
	{"a first fragment", {IN, .more_fragments = 1, .payload = 64, .sport = 3}, "unusual"},
	{"a tag", {IN, .vlan = 7, .sport = 4}, "unusual"},
	{"a tag of priority only", {IN, .vlan = 0x8000, .sport = 5}, "unusual"},
	{"a frame for somebody else", {IN, .mac_to = {2, 0, 0, 0, 0, 3}, .sport = 6}, "unusual"},
	{"a broadcast frame", {IN, .mac_to = {255, 255, 255, 255, 255, 255}, .sport = 6}, "unusual"},
	{"to a multicast group", {.from = "10.9.0.9", .to = "239.1.1.1", .dport = 80}, "unusual"},
	{"to a multicast group over IPv6", {.from = "fd09::9", .to = "ff0e::1", .dport = 80}, "unusual"},
	{"to everybody", {.from = "10.9.0.9", .to = "255.255.255.255", .dport = 80}, "unusual"},
	{"to a link-local address", {.from = "fd09::9", .to = "fe80::9", .dport = 80}, "unusual"},
	{"from a link-local address", {.from = "fe80::9", .to = "fd08::9", .dport = 80}, "unusual"},
	{"from a loopback address", {.from = "127.0.0.1", .to = "10.8.0.9", .dport = 80}, "unusual"},
	{"from the loopback address of IPv6", {.from = "::1", .to = "fd08::9", .dport = 80}, "unusual"},
	{"from no address", {.from = "0.0.0.0", .to = "10.8.0.9", .dport = 80}, "unusual"},
	{"longer than the way out sends", {IN, .payload = 1473, .sport = 7}, "too-long"},
	{"longer than the way out sends, IPv6", {IN6, .payload = 1473, .sport = 7}, "too-long"},
	{"an unsegmented frame", {IN, .payload = 30000, .sport = 8}, "too-long"},
	{"for this host", {.from = "10.9.0.9", .to = "10.9.0.1", .dport = 80}, "route"},
	{"for this host's other address", {.from = "10.9.0.9", .to = "10.8.0.1", .dport = 80}, "route"},
	{"for this host over IPv6", {.from = "fd09::9", .to = "fd09::1", .dport = 80}, "route"},
	{"to a directed broadcast", {.from = "10.9.0.9", .to = "10.8.0.255", .dport = 80}, "route"},
	{"to nowhere", {.from = "10.9.0.9", .to = "192.0.2.1", .dport = 80}, "route"},
	{"into a black hole", {.from = "10.9.0.9", .to = "10.66.0.1", .dport = 80}, "route"},
	{"to what a route calls unreachable", {.from = "10.9.0.9", .to = "10.67.0.1", .dport = 80}, "route"},
	{"back where it came from", {.from = "10.9.0.9", .to = "10.9.0.77", .dport = 80}, "route"},
	{"to a neighbour that is not known", {.from = "10.9.0.9", .to = "10.8.0.50", .dport = 80}, "neighbour"},
	{"to a neighbour that is not known, IPv6", {.from = "fd09::9", .to = "fd08::50", .dport = 80}, "neighbour"},
	{"out by an interface without forward: xdp",
	 {.from = "10.9.0.9", .to = "10.7.0.9", .dport = 80},
	 "other-interface"},
};

static void test_kernel(void)
{
	static struct frame f;

	for (size_t i = 0; i < ARRAY_SIZE(kernel_rows); i++) {
		packet_build(&f, &kernel_rows[i].packet);
		run_established(&f);
		check("kernel: ", kernel_rows[i].name, PASS, kernel_rows[i].outcomes, &f);
	}
	packet_build(&f, &(struct packet){IN, .sport = 9});
	run_established(&f);
	change("sysctl -qw net.ipv4.ip_forward=0");
	run_established(&f);
	check("kernel: a host that does not forward", "", PASS, "route", &f);
	shell("sysctl -qw net.ipv4.ip_forward=1");
}

static void test_kinds_of_passing(void)
{
	static struct frame f;

	packet_build(&f, &(struct packet){IN, .sport = 10});
	judge_apply("sluice: 1\nname: audit\nmode: audit\ndefault: deny\nfailsafe: []\ninterfaces: [{name: " JUDGE_DEV
		    ", forward: xdp}, {name: sj2, forward: xdp}]\n");
	run(&f);
	run_counted(&f);
	check("kernel: what passes for audit only", "", PASS, "first-packets", &f);
	judge_apply("sluice: 1\nname: stateless\ndefault: deny\nfailsafe: []\ninterfaces: [{name: " JUDGE_DEV
		    ", forward: xdp}, {name: sj2, forward: xdp}]\n"
		    "rules: [{name: all, from: any, to: any, action: allow, stateful: false}]\n");
	run(&f);
	run_counted(&f);
	check("kernel: what passes statelessly", "", PASS, "first-packets", &f);
	judge_apply("sluice: 1\nname: none\ndefault: deny\nfailsafe: []\ninterfaces: [{name: " JUDGE_DEV "}]\n"
		    "rules: [{name: all, from: any, to: any, action: allow}]\n");
	run(&f);
	run_counted(&f);
	check("kernel: a policy without forwarding counts nothing", "", PASS, "", &f);
}

int main(void)
{
	judge_start("forward", 4096);
	devices_make();
	judge_apply(wire_policy);
	test_wires();
	test_wire_errors();
	judge_apply(forward_policy);
	test_routes();
	test_header_checksums();
	test_changes();
	test_answers_are_kept();
	test_ways();
	test_turns(); /* after it: rules were there once, and the kernel does not forget that */
	test_kernel();
	test_kinds_of_passing();
	return judge_end();
}
