// SPDX-License-Identifier: Apache-2.0
/*
 * What a rejected packet is answered with, byte by byte, at TC; what is not answered; how many answers a second; and how
 * XDP marks a packet that is to be answered behind it. That the answer reaches the sender at every attachment is tested
 * with real sockets, end to end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include "base/util.h"
#include "dataplane/dataplane.h"
#include "judge.h"

#define SEQ 0xfffffff0u /* wraps */
#define ACK 0x0a0b0c0du

#define XDP	"programs/sluice_xdp"
#define INGRESS "programs/sluice_tc_ingress"
#define EGRESS	"programs/sluice_tc_egress"
#define ANSWER	"programs/sluice_answer"

#define QUOTE4 548 /* an answer of 576 bytes */
#define QUOTE6 1232
#define ETHERNET 14

#define LIMIT_AHEAD 95 /* answers at once, as in bpf/reject.h */

static const char policy[] = "default: allow\n"
			     "failsafe: []\n"
			     "conntrack: {pickup: 0s}\n"
			     "rules:\n"
			     "  - {name: no, from: any, to: any, service: [tcp/23, udp/53, gre, sctp], action: reject}\n"
			     "  - {name: no-icmp, from: any, to: any, service: [icmp, icmpv6], action: reject}\n"
			     "  - {name: never, from: any, to: any, service: tcp/24, action: deny}\n";

/* What the program made of a frame. */
static struct run {
	const char *program;
	struct frame in;
	uint8_t out[PACKET_MAX + 256];
	size_t length;
	int action;
} run;

static void frame_run(const char *program, const struct packet *p)
{
	struct __sk_buff skb = {
		.ifindex = judge_ifindex(),
		.ingress_ifindex = strcmp(program, EGRESS) ? judge_ifindex() : 0,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = run.in.byte, .data_out = run.out,
		    .data_size_out = sizeof(run.out), .ctx_in = &skb, .ctx_size_in = sizeof(skb));

	run.program = program;
	packet_build(&run.in, p);
	if (!strcmp(program, XDP)) { /* which may stand behind libxdp's dispatcher: the judge knows how to run that */
		run.action = judge_run_frame(SLUICE_HOOK_XDP, p, run.out, &run.length).action;
		return;
	}
	opts.data_size_in = (uint32_t)run.in.length;
	if (bpf_prog_test_run_opts(judge_map(program), &opts)) {
		printf("not ok - reject: test run of %s: %s\n", program, strerror(errno));
		exit(1);
	}
	run.length = opts.data_size_out;
	run.action = (int)opts.retval;
}

static struct sluice_answer_state answer_state(void)
{
	struct sluice_answer_state state = {};
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(judge_map("answer_state"), &zero, &state)) {
		printf("not ok - reject: answer_state: %s\n", strerror(errno));
		exit(1);
	}
	return state;
}

static void bucket_set(uint64_t full_ns)
{
	struct sluice_answer_state state = answer_state();
	uint32_t zero = 0;

	state.full_ns = full_ns;
	if (bpf_map_update_elem(judge_map("answer_state"), &zero, &state, BPF_ANY)) {
		printf("not ok - reject: answer_state: %s\n", strerror(errno));
		exit(1);
	}
}

static void bucket_fill(void)
{
	bucket_set(0);
}

static struct sluice_answers answers(void)
{
	struct dataplane_status s = {};
	struct sluice_answers a;
	struct error err = {};

	if (dataplane_status(judge_dataplane(), &err, &s)) {
		printf("not ok - reject: status: %s\n", err.text);
		exit(1);
	}
	a = s.answers;
	dataplane_status_done(&s);
	return a;
}

/* ---------------------------------------------------------------------- the answer */

static void numbers(struct frame *f)
{
	struct tcphdr *tcp = (struct tcphdr *)(f->byte + f->l4);

	tcp->seq = htonl(SEQ);
	tcp->ack_seq = htonl(ACK);
}

/* Where it goes and from whom: BACK is to the sender, in the name of the destination. */
enum way { BACK, ON };

static bool macs_are_right(enum way way)
{
	struct sluice_answer_state own = answer_state();
	const uint8_t *dest = run.in.byte, *source = run.in.byte + 6;

	if (way == ON)
		return !memcmp(run.out, dest, 6) && !memcmp(run.out + 6, source, 6);
	return !memcmp(run.out, source, 6) && !memcmp(run.out + 6, strcmp(run.program, EGRESS) ? dest : own.mac, 6);
}

/* NULL, or what is wrong. */
static const char *head_differs(bool v6, enum way way)
{
	size_t header = v6 ? 40 : 20, at = ETHERNET + (v6 ? 8 : 12), size = v6 ? 16 : 4;
	const uint8_t *ip = run.out + ETHERNET;
	uint8_t ends[32];

	memcpy(ends + (way == ON ? 0 : size), run.in.byte + at, size);
	memcpy(ends + (way == ON ? size : 0), run.in.byte + at + size, size);
	if (run.length < ETHERNET + header)
		return "too short";
	if (!macs_are_right(way))
		return "MAC addresses";
	if (memcmp(run.out + 12, v6 ? "\x86\xdd" : "\x08\x00", 2) || ip[0] != (v6 ? 0x60 : 0x45))
		return "ethertype or version";
	if (memcmp(run.out + at, ends, 2 * size))
		return "IP addresses";
	if (ip[v6 ? 7 : 8] != 64)
		return "hop limit";
	return frame_checksums(run.out, run.length);
}

static const char *rst_differs(bool v6, enum way way, uint8_t flags, uint32_t seq, uint32_t ack)
{
	const struct tcphdr *asked = (const struct tcphdr *)(run.in.byte + run.in.l4);
	const char *why = head_differs(v6, way);
	struct tcphdr tcp;

	if (why)
		return why;
	if (run.length != ETHERNET + (v6 ? 40 : 20) + sizeof(tcp))
		return "length";
	memcpy(&tcp, run.out + run.length - sizeof(tcp), sizeof(tcp));
	if (run.out[ETHERNET + (v6 ? 6 : 9)] != IPPROTO_TCP || ((uint8_t *)&tcp)[13] != flags || tcp.doff != 5)
		return "not such a segment";
	if (tcp.source != (way == ON ? asked->source : asked->dest) || tcp.dest != (way == ON ? asked->dest : asked->source))
		return "ports";
	if (ntohl(tcp.seq) != seq || ntohl(tcp.ack_seq) != ack)
		return "sequence numbers";
	return NULL;
}

/* `quoted`: bytes of the packet. */
static const char *icmp_differs(bool v6, size_t quoted)
{
	const uint8_t *icmp = run.out + ETHERNET + (v6 ? 40 : 20);
	const char *why = head_differs(v6, BACK);

	if (why)
		return why;
	if (run.length != (size_t)(icmp - run.out) + 8 + quoted)
		return "length";
	if (run.out[ETHERNET + (v6 ? 6 : 9)] != (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return "not ICMP";
	if (icmp[0] != (v6 ? 1 : 3) || icmp[1] != (v6 ? 1 : 13) || memcmp(icmp + 4, "\0\0\0", 4))
		return "not administratively prohibited";
	return memcmp(icmp + 8, run.in.byte + ETHERNET, quoted) ? "what it quotes" : NULL;
}

enum answer { NONE, RST, RST_ACK, ICMP_ERROR };
#define NOTHING NONE, 0

struct row_answer {
	const char *name;
	struct packet packet;
	enum answer answer;
	uint32_t number; /* RST: its seq, RST_ACK: its ack, ICMP_ERROR: bytes quoted */
};

static void row_run(const char *program, const struct row_answer *row)
{
	bool v6 = row->packet.from && strchr(row->packet.from, ':');
	struct sluice_answers before = answers(), after;
	const char *why = NULL;
	char name[160];

	bucket_fill();
	judge_flows_clear();
	frame_run(program, &row->packet);
	after = answers();
	if (row->answer == NONE)
		why = run.action == TC_ACT_SHOT ? NULL : "not just dropped";
	else if (run.action != TC_ACT_REDIRECT)
		why = "not sent";
	else if (row->answer == ICMP_ERROR)
		why = icmp_differs(v6, row->number);
	else
		why = row->answer == RST ? rst_differs(v6, BACK, TCP_F_RST, row->number, 0)
					 : rst_differs(v6, BACK, TCP_F_RST | TCP_F_ACK, 0, row->number);
	if (!why && after.sent - before.sent != (row->answer != NONE))
		why = "not counted as sent";
	snprintf(name, sizeof(name), "%s: %s", program + strlen("programs/"), row->name);
	judge_check(name, !why, "%s", why);
}

#define V4 .from = "10.1.0.1", .to = "10.2.0.1"
#define V6 .from = "fd01::1", .to = "fd02::1"
#define T  .dport = 23, .mutate = numbers

static const struct packet udp4 = {V4, .dport = 53};
static const struct packet udp6 = {V6, .dport = 53};

static const struct row_answer rows[] = {
	{"SYN", {V4, T, .tcp = TCP_F_SYN}, RST_ACK, SEQ + 1},
	{"SYN, IPv6", {V6, T, .tcp = TCP_F_SYN}, RST_ACK, SEQ + 1},
	{"SYN with data", {V4, T, .tcp = TCP_F_SYN, .payload = 100}, RST_ACK, SEQ + 101},
	{"SYN with data, IPv6", {V6, T, .tcp = TCP_F_SYN, .payload = 101}, RST_ACK, SEQ + 102},
	{"SYN in a padded frame", {V4, T, .tcp = TCP_F_SYN, .pad = 6}, RST_ACK, SEQ + 1},
	{"SYN with IP options", {V4, T, .tcp = TCP_F_SYN, .options = 12}, RST_ACK, SEQ + 1},
	{"SYN behind an extension header",
	 {V6, T, .tcp = TCP_F_SYN, .extension = {60}, .n_extensions = 1},
	 RST_ACK,
	 SEQ + 1},
	{"FIN without ACK", {V4, T, .tcp = TCP_F_FIN, .payload = 3}, RST_ACK, SEQ + 4},
	{"data", {V4, T, .tcp = TCP_F_ACK | TCP_F_PSH, .payload = 1000}, RST, ACK},
	{"data, IPv6", {V6, T, .tcp = TCP_F_ACK, .payload = 1}, RST, ACK},
	{"SYN and ACK", {V4, T, .tcp = TCP_F_SYN | TCP_F_ACK}, RST, ACK},
	{"FIN and ACK", {V4, T, .tcp = TCP_F_FIN | TCP_F_ACK}, RST, ACK},
	{"RST", {V4, T, .tcp = TCP_F_RST}, NOTHING},
	{"RST and ACK, IPv6", {V6, T, .tcp = TCP_F_RST | TCP_F_ACK}, NOTHING},
	{"first fragment of a segment", {V4, T, .tcp = TCP_F_SYN, .payload = 16, .more_fragments = 1}, NOTHING},
	{"datagram", {V4, .dport = 53}, ICMP_ERROR, 28},
	{"datagram, IPv6", {V6, .dport = 53}, ICMP_ERROR, 48},
	{"datagram of odd length", {V4, .dport = 53, .payload = 21}, ICMP_ERROR, 49},
	{"datagram of odd length, IPv6", {V6, .dport = 53, .payload = 7}, ICMP_ERROR, 55},
	{"datagram of a piece of the sum", {V4, .dport = 53, .payload = 512 - 8 - 28}, ICMP_ERROR, 504},
	{"of two bytes more", {V4, .dport = 53, .payload = 512 - 8 - 26}, ICMP_ERROR, 506},
	{"datagram of as much as is quoted", {V4, .dport = 53, .payload = QUOTE4 - 28}, ICMP_ERROR, QUOTE4},
	{"a byte more", {V4, .dport = 53, .payload = QUOTE4 - 27}, ICMP_ERROR, QUOTE4},
	{"a byte less", {V4, .dport = 53, .payload = QUOTE4 - 29}, ICMP_ERROR, QUOTE4 - 1},
	{"long datagram", {V4, .dport = 53, .payload = 1400}, ICMP_ERROR, QUOTE4},
	{"datagram of two pieces of the sum, IPv6", {V6, .dport = 53, .payload = 1024 - 8 - 48}, ICMP_ERROR, 1016},
	{"datagram of as much as is quoted, IPv6", {V6, .dport = 53, .payload = QUOTE6 - 48}, ICMP_ERROR, QUOTE6},
	{"a byte more, IPv6", {V6, .dport = 53, .payload = QUOTE6 - 47}, ICMP_ERROR, QUOTE6},
	{"a byte less, IPv6", {V6, .dport = 53, .payload = QUOTE6 - 49}, ICMP_ERROR, QUOTE6 - 1},
	{"long datagram, IPv6", {V6, .dport = 53, .payload = 1400}, ICMP_ERROR, QUOTE6},
	{"datagram in a padded frame", {V4, .dport = 53, .pad = 18}, ICMP_ERROR, 28},
	{"datagram in a padded frame, IPv6", {V6, .dport = 53, .pad = 3}, ICMP_ERROR, 48},
	{"first fragment of a datagram",
	 {V4, .dport = 53, .payload = 16, .more_fragments = 1, .fragment_id = 7},
	 ICMP_ERROR,
	 44},
	{"later fragment of that",
	 {V4, .payload = 16, .fragment_offset = 24, .fragment_id = 7},
	 NOTHING},
	{"echo request", {V4, .icmp = ICMP(8, 0), .icmp_id = 9}, ICMP_ERROR, 28},
	{"echo request, IPv6", {V6, .icmp = ICMP(128, 0)}, ICMP_ERROR, 48},
	{"timestamp request", {V4, .icmp = ICMP(13, 0), .payload = 12}, ICMP_ERROR, 40},
	{"redirect", {V4, .icmp = ICMP(5, 1), .payload = 28}, NOTHING},
	{"source quench", {V4, .icmp = ICMP(4, 0), .payload = 28}, NOTHING},
	{"redirect, IPv6", {V6, .icmp = ICMP(137, 0), .payload = 32}, NOTHING},
	{"error of a kind not known, IPv6", {V6, .icmp = ICMP(100, 0), .payload = 32}, NOTHING},
	{"ICMP error", {V4, .icmp = ICMP(3, 1), .quote = &udp4}, NOTHING},
	{"ICMP error, IPv6", {V6, .icmp = ICMP(1, 3), .quote = &udp6}, NOTHING},
	{"GRE", {V4, .protocol = 47, .payload = 20}, ICMP_ERROR, 40},
	{"GRE, IPv6", {V6, .protocol = 47, .payload = 20}, ICMP_ERROR, 60},
	{"SCTP", {V4, .protocol = 132, .dport = 9, .payload = 20}, ICMP_ERROR, 40},
	{"to a group", {.from = "10.1.0.1", .to = "224.0.0.251", .dport = 53}, NOTHING},
	{"to all", {.from = "10.1.0.1", .to = "255.255.255.255", .dport = 53}, NOTHING},
	{"to a group, IPv6", {.from = "fd01::1", .to = "ff02::fb", .dport = 53}, NOTHING},
	{"to all on the link", {V4, .dport = 53, .mac_to = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, NOTHING},
	{"from this network", {.from = "0.0.0.5", .to = "10.2.0.1", .dport = 53}, NOTHING},
	{"from loopback", {.from = "127.0.0.1", .to = "10.2.0.1", .dport = 53}, NOTHING},
	{"from class E", {.from = "250.1.1.1", .to = "10.2.0.1", .dport = 53}, NOTHING},
	{"from nobody, IPv6", {.from = "::", .to = "fd02::1", .dport = 53}, NOTHING},
	{"from loopback, IPv6", {.from = "::1", .to = "fd02::1", .dport = 53}, NOTHING},
	{"denied", {V4, .dport = 24, .tcp = TCP_F_SYN}, NOTHING},
};

/* ---------------------------------------------------------------------- XDP */

/* What is to be answered goes on with a mark before it, and to its sender's own MAC address: no stack takes it. */
static void test_xdp(void)
{
	const struct packet syn = {V4, T, .tcp = TCP_F_SYN}, rst = {V4, T, .tcp = TCP_F_RST};
	const uint8_t *frame;
	size_t mark;

	bucket_fill();
	frame_run(XDP, &syn);
	mark = run.length - run.in.length;
	frame = run.out + mark;
	judge_check("xdp: goes on to be answered", run.action == 2 && run.length > run.in.length, "action %d, %zu bytes",
		    run.action, run.length);
	judge_check("xdp: nobody's but for the mark",
		    !memcmp(frame, run.in.byte + 6, 6) && !memcmp(frame + 6, run.in.byte + 6, run.in.length - 6),
		    "the frame");
	frame_run(XDP, &rst);
	judge_check("xdp: what is not answered is dropped", run.action == 1, "action %d", run.action);
	frame_run(ANSWER, &syn);
	judge_check("xdp: what is not marked passes behind it, untouched",
		    run.action == -1 && run.length == run.in.length && !memcmp(run.out, run.in.byte, run.length),
		    "action %d", run.action);
}

/* ---------------------------------------------------------------------- how many, and when not */

static void test_limit(void)
{
	const struct packet syn = {V4, T, .tcp = TCP_F_SYN};
	struct sluice_answers before = answers(), after;
	uint64_t start = time_now_ns(), ns, most;
	unsigned int sent = 0, i;

	bucket_fill();
	for (i = 0; i < 3000; i++) {
		frame_run(INGRESS, &syn);
		sent += run.action == TC_ACT_REDIRECT;
	}
	ns = time_now_ns() - start;
	most = 100 + ns * 900 / 1000000000;
	after = answers();
	judge_check("limit: not more than 1,000 a second", sent <= most && sent >= 50, "%u in %llu ms", sent,
		    (unsigned long long)ns / 1000000);
	judge_check("limit: sent and suppressed are counted",
		    after.sent - before.sent == sent && after.suppressed - before.suppressed == 3000 - sent,
		    "%llu and %llu", (unsigned long long)(after.sent - before.sent),
		    (unsigned long long)(after.suppressed - before.suppressed));
	bucket_fill();
}

/* The clock of the programs. */
static uint64_t coarse_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The same, just after it has ticked. */
static uint64_t tick_ns(void)
{
	uint64_t first = coarse_ns(), now;

	do
		now = coarse_ns();
	while (now == first);
	return now;
}

/*
 * A live connection, then the policy that rejects it, then this packet of it while `left` answers are left. Once more if
 * the clock has ticked meanwhile, as it does on a slow machine: then there were more. Returns how many were sent.
 */
static uint64_t cut(const char *program, const struct packet *opens, const struct packet *next, unsigned int left)
{
	const uint64_t answer_ns = 1000000000 / 900;
	struct sluice_answers before;
	uint64_t tick;
	int tries = 20;

	do {
		judge_apply("default: allow\nfailsafe: []\n");
		judge_flows_clear();
		frame_run(program, opens);
		judge_apply(policy);
		before = answers();
		tick = tick_ns();
		bucket_set(tick + (LIMIT_AHEAD - left) * answer_ns);
		frame_run(program, next);
	} while (coarse_ns() != tick && --tries);
	return answers().sent - before.sent;
}

static void test_cut_tcp(const char *program, const char *name, const struct packet *opens, const struct packet *next)
{
	uint64_t sent = cut(program, opens, next, 2);
	bool v6 = strchr(opens->from, ':');
	const char *why;
	char text[100];

	snprintf(text, sizeof(text), "%s: cut: %s: goes on as a reset, and back", program + strlen("programs/"), name);
	why = run.action != -1 ? "does not go on" : rst_differs(v6, ON, TCP_F_RST | TCP_F_ACK, SEQ, ACK);
	if (!why && sent != 2)
		why = "not counted as two";
	judge_check(text, !why, "%s", why);
	cut(program, opens, next, 1);
	snprintf(text, sizeof(text), "%s: cut: %s: back only when one answer is left", program + strlen("programs/"), name);
	why = run.action != TC_ACT_REDIRECT ? "not sent" : rst_differs(v6, BACK, TCP_F_RST, ACK, 0);
	judge_check(text, !why, "%s", why);
}

static void test_cut(void)
{
	static const char *const programs[] = {INGRESS, EGRESS};
	const struct packet syn4 = {V4, T, .tcp = TCP_F_SYN}, data4 = {V4, T, .tcp = TCP_F_ACK, .payload = 1200};
	const struct packet syn6 = {V6, T, .tcp = TCP_F_SYN}, ack6 = {V6, T, .tcp = TCP_F_ACK};
	const struct packet rst4 = {V4, T, .tcp = TCP_F_RST | TCP_F_ACK};
	const char *why;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(programs); i++) {
		test_cut_tcp(programs[i], "data", &syn4, &data4);
		test_cut_tcp(programs[i], "an ACK, IPv6", &syn6, &ack6);
		cut(programs[i], &syn4, &rst4, 2);
		judge_check("cut: by a RST: dropped", run.action == TC_ACT_SHOT, "action %d", run.action);
		cut(programs[i], &udp4, &udp4, 2);
		why = run.action != TC_ACT_REDIRECT ? "not sent" : icmp_differs(false, 28);
		judge_check("cut: a datagram: prohibited", !why, "%s", why);
	}
}

/* ---------------------------------------------------------------------- what this host has put in itself */

static void from_us(struct frame *f)
{
	struct sluice_answer_state own = answer_state();

	memcpy(f->byte + 6, own.mac, 6);
}

static void from_almost_us(struct frame *f)
{
	from_us(f);
	f->byte[11] ^= 1;
}

static void test_arrival(void)
{
	static const struct {
		const char *program;
		int pass, drop;
	} doors[] = {{XDP, 2, 1}, {INGRESS, -1, TC_ACT_SHOT}};
	const struct packet ours = {V4, .dport = 4000, .tcp = TCP_F_RST | TCP_F_ACK, .mutate = from_us};
	const struct packet strange = {V4, .dport = 4000, .tcp = TCP_F_RST | TCP_F_ACK, .mutate = from_almost_us};
	size_t i;

	judge_flows_clear();
	for (i = 0; i < ARRAY_SIZE(doors); i++) {
		frame_run(doors[i].program, &ours);
		judge_check("an answer of this host passes its own door", run.action == doors[i].pass, "%s: action %d",
			    doors[i].program, run.action);
		frame_run(doors[i].program, &strange);
		judge_check("nobody else's does", run.action == doors[i].drop, "%s: action %d", doors[i].program, run.action);
	}
}

static void test_audit(void)
{
	const struct packet syn = {V4, T, .tcp = TCP_F_SYN};
	struct sluice_answers before, after;
	char text[sizeof(policy) + 20];

	snprintf(text, sizeof(text), "mode: audit\n%s", policy);
	judge_apply(text);
	judge_flows_clear();
	before = answers();
	frame_run(INGRESS, &syn);
	judge_check("audit: passes", run.action == -1 && run.length == run.in.length, "action %d", run.action);
	frame_run(XDP, &syn);
	judge_check("audit: passes XDP, unmarked", run.action == 2 && run.length == run.in.length, "action %d", run.action);
	after = answers();
	judge_check("audit: nothing is answered", after.sent == before.sent && after.suppressed == before.suppressed,
		    "something is");
}

int main(void)
{
	size_t i;

	judge_start("reject", 4096);
	judge_apply(policy);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		row_run(INGRESS, &rows[i]);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		row_run(EGRESS, &rows[i]);
	test_xdp();
	test_limit();
	test_cut();
	test_arrival();
	test_audit();
	return judge_end();
}
