// SPDX-License-Identifier: Apache-2.0
/*
 * SYN floods: bpf/syn.h. A real listener in the bench's namespace, SYNs by test run, and every byte of the SYN-ACK that
 * comes out. That the kernel takes the connections that this begins is shown by tests/e2e/56-syn.sh.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "dataplane/dataplane.h"

#include "judge.h"

#define HOST4	 "10.9.0.1"
#define HOST6	 "fd09::1"
#define PORT	 80
#define NO_ONE	 81 /* allowed, but nobody listens */
#define FULL_MSS 1460

#define RULES "rules: [{name: web, from: any, to: any, service: [tcp/80, tcp/81], action: allow}]\n"
#define RED                                                                                                            \
	"sluice: 1\nname: judge\ntenants: [red]\ninterfaces: [{name: " JUDGE_DEV ", vlans: {100: red}}]\n"              \
	"conntrack: {pickup: 0s, syn-threshold: 4}\n"                                                                            \
	"rules: [{name: web, from: any, to: any, service: [tcp/80, tcp/81], action: allow}]\n"

/* ------------------------------------------------------------------ segments */

/* What struct packet does not say of a segment, put in by segment_put(). */
static struct segment {
	uint32_t seq, ack;
	uint8_t options[40];
	size_t n_options; /* multiple of 4; the packet has as much more payload */
} segment;

static void segment_put(struct frame *f)
{
	struct tcphdr *tcp = (void *)(f->byte + f->l4);

	tcp->seq = htonl(segment.seq);
	tcp->ack_seq = htonl(segment.ack);
	tcp->doff = 5 + segment.n_options / 4;
	memcpy(tcp + 1, segment.options, segment.n_options);
}

static const uint8_t mss_1460[] = {2, 4, 5, 180};

static void segment_set(uint32_t seq, uint32_t ack, const void *options, size_t n_options)
{
	segment.seq = seq;
	segment.ack = ack;
	memcpy(segment.options, options, n_options);
	segment.n_options = n_options;
}

static struct packet syn(const char *from, const char *to, uint16_t sport, uint16_t dport)
{
	segment_set(0x11223344, 0, mss_1460, sizeof(mss_1460));
	return (struct packet){.from = from, .to = to, .sport = sport, .dport = dport, .tcp = TCP_F_SYN, .payload = 4,
			       .mutate = segment_put};
}

static struct packet plain(const char *from, const char *to, uint16_t sport, uint16_t dport, uint16_t flags)
{
	return (struct packet){.from = from, .to = to, .sport = sport, .dport = dport, .tcp = flags};
}

/* ------------------------------------------------------------------ the bench */

static void listen_on(uint16_t port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0; /* stays open until the process ends */

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 128)) {
		judge_check("a listener", false, "%s", strerror(errno));
		exit(1);
	}
}

static void shell(const char *command)
{
	if (system(command)) {
		judge_check(command, false, "it failed");
		exit(1);
	}
}

static void sysctl_set(const char *name, const char *value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	f = fopen(path, "we");
	if (!f || fputs(value, f) < 0 || fclose(f)) {
		judge_check(name, false, "%s: %s", path, strerror(errno));
		exit(1);
	}
}

/* Half-open flows of as many sources, 192.0.2.1 and on, to where no cookie is made. */
static void flood(unsigned int count)
{
	char from[32];
	struct packet p;
	unsigned int i;

	for (i = 1; i <= count; i++) {
		snprintf(from, sizeof(from), "192.0.2.%u", i);
		p = syn(from, HOST4, 1000, NO_ONE);
		if (judge_run(SLUICE_HOOK_XDP, &p).reason != SLUICE_R_PASS_RULE)
			judge_check("a half-open flow more", false, "number %u was refused", i);
	}
}

/* Lets this host be seen to answer a SYN from `to`. */
static void show(const char *from, const char *to, uint16_t vlan)
{
	struct packet p = syn(from, to, 999, PORT), answer = plain(to, from, PORT, 999, TCP_F_SYN | TCP_F_ACK);

	p.vlan = answer.vlan = vlan;
	judge_run(SLUICE_HOOK_XDP, &p);
	judge_run(SLUICE_HOOK_TC_EGRESS, &answer);
}

static void start(const char *conntrack, unsigned int half_open_flows)
{
	char text[512];

	snprintf(text, sizeof(text), "conntrack: {pickup: 0s, %s}\n%s", conntrack, RULES);
	judge_apply(text);
	judge_flows_clear();
	show("10.9.0.200", HOST4, 0);
	show("fd09::200", HOST6, 0);
	judge_flows_clear();
	flood(half_open_flows);
}

/* ------------------------------------------------------------------ the answer */

static uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

#define TC_ACT_REDIRECT 7

struct answer {
	int action;
	enum sluice_reason reason;
	_Alignas(4) uint8_t align[2]; /* behind an Ethernet header, the others begin at multiples of 4 */
	uint8_t frame[PACKET_MAX];
	size_t length;
	uint32_t cookie;
};

static struct answer answer;

static enum sluice_hook hook = SLUICE_HOOK_XDP; /* that is asked */

static void ask(const struct packet *p)
{
	struct judge_outcome o = judge_run_frame(hook, p, answer.frame, &answer.length);

	answer.action = o.action;
	answer.reason = o.reason;
}

#define EXPECT(condition, ...)                                                                                         \
	if (!(condition)) {                                                                                            \
		judge_check(name, false, __VA_ARGS__);                                                                 \
		return;                                                                                                \
	}

static bool link_is_right(const struct frame *asked, size_t link)
{
	return !memcmp(answer.frame, asked->byte + 6, 6) && !memcmp(answer.frame + 6, asked->byte, 6) &&
	       !memcmp(answer.frame + 12, asked->byte + 12, link - 12);
}

/* The SYN gets a SYN-ACK that is right in every field; its cookie is kept for acknowledge(). */
static void answered(const char *name, const struct packet *p, size_t link, uint16_t mss)
{
	static struct frame asked;
	bool v6 = strchr(p->from, ':');
	const struct iphdr *ip = (const void *)(answer.frame + link);
	const struct ip6_hdr *ip6 = (const void *)(answer.frame + link);
	const struct tcphdr *tcp = (const void *)(answer.frame + link + (v6 ? sizeof(*ip6) : sizeof(*ip)));
	const uint8_t *options = (const void *)(tcp + 1);
	uint8_t from[16], to[16];
	size_t bytes;

	packet_build(&asked, p);
	ask(p);
	EXPECT(answer.action == (hook == SLUICE_HOOK_XDP ? XDP_REDIRECT : TC_ACT_REDIRECT) &&
		       answer.reason == SLUICE_R_PASS_SYN_COOKIE,
	       "action %d, %s", answer.action, judge_reason(answer.reason));
	EXPECT(link_is_right(&asked, link), "Ethernet header or tags wrong");
	bytes = answer.length - link - (v6 ? sizeof(*ip6) : sizeof(*ip));
	EXPECT((answer.length >= 60 || hook != SLUICE_HOOK_XDP) && bytes >= tcp->doff * 4u, "%zu bytes", answer.length);
	bytes = tcp->doff * 4u;
	packet_address(p->from, from);
	packet_address(p->to, to);
	if (v6) {
		EXPECT(ntohl(ip6->ip6_flow) == 6u << 28 && ip6->ip6_nxt == IPPROTO_TCP && ip6->ip6_hlim == 64 &&
			       ntohs(ip6->ip6_plen) == bytes,
		       "IPv6 header wrong");
		EXPECT(!memcmp(&ip6->ip6_src, to, 16) && !memcmp(&ip6->ip6_dst, from, 16), "IPv6 addresses wrong");
	} else {
		EXPECT(ip->version == 4 && ip->ihl == 5 && !ip->tos && !ip->id && ip->frag_off == htons(IP_DF) &&
			       ip->ttl == 64 && ip->protocol == IPPROTO_TCP &&
			       ntohs(ip->tot_len) == sizeof(*ip) + bytes,
		       "IPv4 header wrong");
		EXPECT(!memcmp(&ip->saddr, to + 12, 4) && !memcmp(&ip->daddr, from + 12, 4), "IPv4 addresses wrong");
		EXPECT(sum_add(0, (const void *)ip, sizeof(*ip)) == 0xffff, "IPv4 checksum wrong");
	}
	EXPECT(ntohs(tcp->source) == p->dport && ntohs(tcp->dest) == p->sport, "ports wrong");
	EXPECT(ntohl(tcp->ack_seq) == segment.seq + 1, "acknowledges %#x", ntohl(tcp->ack_seq));
	EXPECT((((const uint8_t *)tcp)[13] & 0xbf) == (TCP_F_SYN | TCP_F_ACK), "flags %#x", ((const uint8_t *)tcp)[13]);
	EXPECT(bytes >= 24 && options[0] == 2 && options[1] == 4 && (options[2] << 8 | options[3]) == mss, "MSS wrong");
	EXPECT(ntohs(tcp->window) >= mss && !tcp->urg_ptr, "window %u", ntohs(tcp->window));
	EXPECT(sum_add(sum_add(sum_add(0, v6 ? (const uint8_t *)&ip6->ip6_src : (const uint8_t *)&ip->saddr, v6 ? 32 : 8),
			       (const uint8_t[]){0, IPPROTO_TCP, bytes >> 8, bytes & 255}, 4),
		       (const void *)tcp, bytes) == 0xffff,
	       "TCP checksum wrong");
	EXPECT(!judge_flow(p, p->vlan ? 1 : 0, NULL), "a flow was made");
	answer.cookie = ntohl(tcp->seq);
	judge_check(name, true, " ");
}

/* The ACK to the last answer, `off` beside its cookie. */
static void acknowledge(const char *name, const struct packet *p, uint32_t off, enum sluice_verdict verdict,
			enum sluice_reason reason)
{
	struct packet ack = plain(p->from, p->to, p->sport, p->dport, TCP_F_ACK);

	segment_set(segment.seq + 1, answer.cookie + 1 + off, "", 0);
	ack.mutate = segment_put;
	ack.vlan = p->vlan;
	judge_case(name, hook, &ack, verdict, reason);
	segment.seq--;
}

static void flow_is_complete(const char *name, const struct packet *p, uint16_t tenant)
{
	const uint32_t all = SLUICE_FLOW_SYN(0) | SLUICE_FLOW_SYN(1) | SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1);
	struct packet data = plain(p->to, p->from, p->dport, p->sport, TCP_F_ACK | TCP_F_PSH);
	long before = judge_half_open();
	struct dataplane_flow flow;

	EXPECT(judge_flow(p, tenant, &flow), "no flow");
	EXPECT((flow.seen & all) == all, "seen %#x", flow.seen);
	EXPECT(before == judge_half_open(), "half-open flows changed");
	data.vlan = p->vlan;
	judge_case(name, SLUICE_HOOK_TC_EGRESS, &data, PASSES(PASS_FLOW));
}

/* ------------------------------------------------------------------ cases */

static void cookies(void)
{
	struct packet p;

	start("syn-threshold: 4", 3);
	p = syn("10.9.0.2", HOST4, 2000, PORT);
	judge_case("under the threshold a SYN passes", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("10.9.0.3", HOST4, 2000, PORT);
	answered("from the threshold on it is answered", &p, ETH_HLEN, FULL_MSS);
	acknowledge("16 beside the cookie", &p, 16, DROPS(TCP_NO_FLOW));
	acknowledge("another's MSS in the cookie", &p, 0x1000000, DROPS(TCP_NO_FLOW));
	judge_check("no flow by them", !judge_flow(&p, 0, NULL), "there is one");
	acknowledge("the cookie opens the connection", &p, 0, PASSES(PASS_COOKIE_ACK));
	flow_is_complete("and its flow is complete", &p, 0);
	acknowledge("the ACK once more is of that flow", &p, 0, PASSES(PASS_FLOW));

	p = syn("fd09::3", HOST6, 2000, PORT);
	answered("IPv6", &p, ETH_HLEN, FULL_MSS - 20);
	acknowledge("IPv6: 16 beside the cookie", &p, 16, DROPS(TCP_NO_FLOW));
	acknowledge("IPv6: the cookie opens the connection", &p, 0, PASSES(PASS_COOKIE_ACK));
	flow_is_complete("IPv6: and its flow is complete", &p, 0);
}

static void not_for_all(void)
{
	struct packet p;

	start("syn-threshold: 4", 4);
	p = syn("10.9.0.4", HOST4, 2000, NO_ONE);
	judge_case("no listener, no cookie", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("10.9.0.4", "10.9.0.77", 2000, PORT);
	judge_case("no address that this host has shown, no cookie", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("10.9.0.5", HOST4, 2000, PORT);
	p.mac_to[0] = 1;
	judge_case("sent to a group of stations, no cookie", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("10.9.0.4", HOST4, 2000, 82);
	judge_case("what the rules deny gets none", SLUICE_HOOK_XDP, &p, DROPS(DENY_DEFAULT));
	sysctl_set("tcp_syncookies", "1");
	p = syn("10.9.0.4", HOST4, 2001, PORT);
	judge_case("syncookies=1 and room in the listener's queue: none", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	sysctl_set("tcp_syncookies", "0");
	p = syn("10.9.0.4", HOST4, 2002, PORT);
	judge_case("syncookies=0: none", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	sysctl_set("tcp_syncookies", "2");
}

static void odd_segments(void)
{
	static const uint8_t fast_open[] = {2, 4, 5, 180, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1};
	static const uint8_t zero_mss[] = {2, 4, 0, 0}, broken[] = {2, 40, 0, 0};
	struct packet p;

	start("syn-threshold: 4", 4);
	p = syn("10.9.0.10", HOST4, 2000, PORT);
	segment.n_options = 0;
	p.payload = 0;
	answered("a SYN without options", &p, ETH_HLEN, FULL_MSS);
	p = syn("10.9.0.10", HOST4, 2001, PORT);
	p.payload = 604;
	answered("a SYN with data: not acknowledged", &p, ETH_HLEN, FULL_MSS);
	acknowledge("and the cookie fits", &p, 0, PASSES(PASS_COOKIE_ACK));
	p = syn("10.9.0.10", HOST4, 2002, PORT);
	segment_set(7, 0, fast_open, sizeof(fast_open));
	p.payload = sizeof(fast_open) + 100;
	answered("Fast Open is not taken", &p, ETH_HLEN, FULL_MSS);
	p = syn("10.9.0.10", HOST4, 2003, PORT);
	segment_set(7, 0, zero_mss, sizeof(zero_mss));
	answered("MSS 0 is none", &p, ETH_HLEN, FULL_MSS);
	p = syn("10.9.0.10", HOST4, 2004, PORT);
	segment_set(7, 0, broken, sizeof(broken));
	answered("an option longer than the header", &p, ETH_HLEN, FULL_MSS);
	p = syn("10.9.0.10", HOST4, 2005, PORT);
	p.options = 8;
	answered("IPv4 options are not sent back", &p, ETH_HLEN, FULL_MSS);
	acknowledge("and the cookie fits", &p, 0, PASSES(PASS_COOKIE_ACK));
	p = syn("fd09::10", HOST6, 2006, PORT);
	p.n_extensions = 2;
	p.extension[0] = IPPROTO_HOPOPTS;
	p.extension[1] = IPPROTO_DSTOPTS;
	answered("nor IPv6 extension headers", &p, ETH_HLEN, FULL_MSS - 20);
	p = syn("10.9.0.10", HOST4, 2007, PORT);
	p.more_fragments = 1;
	judge_case("a fragmented SYN gets no cookie", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
}

/* The scale of windows that the kernel takes for announced: see tcp_select_initial_window(). */
static unsigned int our_scale(void)
{
	unsigned long most = 0, rmem_max = 0;
	unsigned int scale = 0;
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_rmem", "re");

	if (!f || fscanf(f, "%*u %*u %lu", &most) != 1) {
		judge_check("tcp_rmem", false, "%s", strerror(errno));
		exit(1);
	}
	fclose(f);
	f = fopen("/proc/sys/net/core/rmem_max", "re");
	if (f && fscanf(f, "%lu", &rmem_max) == 1)
		most = max(most, rmem_max);
	if (f)
		fclose(f);
	for (most >>= 16; most && scale < 14; most >>= 1)
		scale++;
	return scale;
}

/* What the answer says beside the MSS. `stamp_bits`: the lowest 6 of the time stamp; -1: it has none. */
static void stamped(const char *name, int stamp_bits, const uint8_t *echoed)
{
	const struct tcphdr *tcp = (const void *)(answer.frame + ETH_HLEN + sizeof(struct iphdr));
	const uint8_t *o = (const uint8_t *)(tcp + 1);
	bool sack = stamp_bits & 0x10, scaled = (stamp_bits & 15) != 15;
	uint32_t now = (uint32_t)(time_now_ns() / 1000000), stamp;
	bool ece = ((const uint8_t *)tcp)[13] & 0x40;

	if (stamp_bits < 0) {
		judge_check(name, tcp->doff == 6 && !ece, "%u words, ECE %u", tcp->doff, ece);
		return;
	}
	EXPECT(tcp->doff == (scaled ? 10 : 9), "%u words", tcp->doff);
	EXPECT(o[4] == (sack ? 4 : 1) && o[5] == (sack ? 2 : 1) && o[6] == 8 && o[7] == 10, "no time stamp");
	memcpy(&stamp, o + 8, 4);
	stamp = ntohl(stamp);
	EXPECT((int)(stamp & 63) == stamp_bits, "it says %#x", stamp & 63);
	EXPECT(now - stamp < 500, "it is off by %d ms", (int)(now - stamp));
	EXPECT(!memcmp(o + 12, echoed, 4), "the echo is wrong");
	EXPECT(!scaled || (o[16] == 1 && o[17] == 3 && o[18] == 3 && o[19] == our_scale()), "scale %u, not %u", o[19],
	       our_scale());
	judge_check(name, ece == !!(stamp_bits & 0x20), "ECE %u", ece);
}

static void offers(const char *name, uint16_t sport, const uint8_t *options, size_t n, uint8_t flags, int stamp_bits)
{
	struct packet p = syn("10.9.0.40", HOST4, sport, PORT);
	char told[128];

	segment_set(0xfffffffe, 0, options, n);
	p.payload = n;
	p.tcp = TCP_F_SYN | flags;
	answered(name, &p, ETH_HLEN, FULL_MSS);
	snprintf(told, sizeof(told), "%s: options", name);
	stamped(told, stamp_bits, options + 8);
}

static void time_stamps(void)
{
	static const uint8_t full[] = {2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7};
	static const uint8_t bare[] = {2, 4, 5, 180, 1, 1, 8, 10, 9, 8, 7, 6, 0, 0, 0, 0};
	static const uint8_t wide[] = {2, 4, 5, 180, 1, 1, 8, 10, 9, 8, 7, 6, 0, 0, 0, 0, 1, 3, 3, 200};
	static const uint8_t unstamped[] = {2, 4, 5, 180, 4, 2, 1, 1, 1, 3, 3, 7, 0, 0, 0, 0};
	static const uint8_t cut[] = {2, 4, 5, 180, 1, 1, 8, 10, 9, 8, 7, 6}; /* the header ends within the option */
	const uint8_t ecn = 0xc0; /* ECE and CWR */

	start("syn-threshold: 4", 4);
	offers("time stamps with an offset", 2000, full, sizeof(full), ecn, -1);
	sysctl_set("tcp_timestamps", "2");
	offers("time stamps without", 2001, full, sizeof(full), 0, 0x17);
	offers("with ECN", 2002, full, sizeof(full), ecn, 0x37);
	offers("no SACK, no scale", 2003, bare, sizeof(bare), 0, 0x0f);
	offers("more scale than there is", 2004, wide, sizeof(wide), 0, 0x0e);
	offers("SACK and scale without time stamp", 2005, unstamped, sizeof(unstamped), ecn, -1);
	offers("half an option", 2006, cut, sizeof(cut), 0, -1);
	sysctl_set("tcp_sack", "0");
	offers("SACK switched off here", 2007, full, sizeof(full), 0, 0x07);
	sysctl_set("tcp_sack", "1");
	sysctl_set("tcp_window_scaling", "0");
	offers("scaling switched off here", 2008, full, sizeof(full), 0, 0x1f);
	sysctl_set("tcp_window_scaling", "1");
	sysctl_set("tcp_ecn", "0");
	offers("ECN switched off here", 2009, full, sizeof(full), ecn, 0x17);
	sysctl_set("tcp_ecn", "2");
	sysctl_set("tcp_timestamps", "1");
}

static void tags(void)
{
	struct packet p;

	judge_apply(RED);
	judge_flows_clear();
	show("10.9.0.200", HOST4, 100);
	flood(4);
	p = syn("10.9.0.3", HOST4, 3000, PORT);
	p.vlan = 100;
	answered("VLAN: the tag comes back", &p, ETH_HLEN + 4, FULL_MSS);
	acknowledge("VLAN: the cookie opens the connection", &p, 0, PASSES(PASS_COOKIE_ACK));
	flow_is_complete("VLAN: and its flow is complete", &p, 1);
}

static void sources(void)
{
	struct packet p;

	start("syn-threshold: 4, syn-per-source: 2", 4);
	p = syn("198.51.100.1", HOST4, 1, NO_ONE);
	judge_case("a source's first", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("198.51.100.1", HOST4, 2, NO_ONE);
	judge_case("a source's second", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("198.51.100.1", HOST4, 3, NO_ONE);
	judge_case("a source's third", SLUICE_HOOK_XDP, &p, DROPS(HALF_OPEN));
	p = syn("198.51.100.2", HOST4, 3, NO_ONE);
	judge_case("another source's first", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = plain(HOST4, "198.51.100.1", NO_ONE, 2, TCP_F_SYN | TCP_F_ACK);
	judge_run(SLUICE_HOOK_TC_EGRESS, &p);
	p = plain("198.51.100.1", HOST4, 2, NO_ONE, TCP_F_ACK);
	judge_case("a handshake is completed", SLUICE_HOOK_XDP, &p, PASSES(PASS_FLOW));
	p = syn("198.51.100.1", HOST4, 3, NO_ONE);
	judge_case("and gives room for another", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("198.51.100.1", HOST4, 4, NO_ONE);
	judge_case("for one", SLUICE_HOOK_XDP, &p, DROPS(HALF_OPEN));
	p = syn("2001:db8::1", HOST6, 1, NO_ONE);
	judge_case("IPv6: a network's first", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("2001:db8::2", HOST6, 1, NO_ONE);
	judge_case("IPv6: a network's second", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("2001:db8::3", HOST6, 1, NO_ONE);
	judge_case("IPv6: a network's third", SLUICE_HOOK_XDP, &p, DROPS(HALF_OPEN));
	p = syn("2001:db8:0:1::3", HOST6, 1, NO_ONE);
	judge_case("IPv6: another network's first", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = plain(HOST4, "198.51.100.9", 40000, PORT, TCP_F_SYN);
	judge_case("this host's own are not limited", SLUICE_HOOK_TC_EGRESS, &p, PASSES(PASS_RULE));
	judge_flows_clear();
	p = syn("198.51.100.1", HOST4, 9, NO_ONE);
	judge_case("nor anybody's without a flood", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
}

static void all_together(void)
{
	struct packet p;

	start("max: 16, syn-threshold: 4", 8);
	judge_check("half of the table is half-open", judge_half_open() == 8, "%ld are", judge_half_open());
	p = syn("198.51.100.1", HOST4, 1, NO_ONE);
	judge_case("then no other is made", SLUICE_HOOK_XDP, &p, DROPS(HALF_OPEN));
	p = syn("198.51.100.1", HOST4, 1, PORT);
	answered("but cookies are", &p, ETH_HLEN, FULL_MSS);
	acknowledge("and open connections", &p, 0, PASSES(PASS_COOKIE_ACK));
}

static void choices(void)
{
	struct packet p;

	start("syn-cookies: never, syn-threshold: 4", 4);
	p = syn("10.9.0.20", HOST4, 2000, PORT);
	judge_case("never: no cookie", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = plain("10.9.0.21", HOST4, 2000, PORT, TCP_F_ACK);
	judge_case("never: an ACK is not looked at", SLUICE_HOOK_XDP, &p, DROPS(TCP_NO_FLOW));
	start("syn-cookies: always", 0);
	p = syn("10.9.0.22", HOST4, 2000, PORT);
	answered("always: also without a flood", &p, ETH_HLEN, FULL_MSS);
	judge_apply("mode: audit\nconntrack: {syn-threshold: 4, syn-per-source: 1}\n" RULES);
	p = syn("10.9.0.23", HOST4, 2000, PORT);
	judge_flows_clear();
	flood(4);
	judge_case("audit: it passes", SLUICE_HOOK_XDP, &p, PASSES(PASS_RULE));
	p = syn("10.9.0.23", HOST4, 2001, PORT);
	judge_case_audited("audit: what would be limited is counted", SLUICE_HOOK_XDP, &p, SLUICE_R_HALF_OPEN);
}

/* What becomes of a SYN that is to get a cookie, by what the interface can. */
static void ways(void)
{
	struct packet p = syn("10.9.0.30", HOST4, 2000, PORT);
	static struct frame asked;

	hook = SLUICE_HOOK_XDP;
	shell("ethtool -K sj1 gro off");
	start("syn-threshold: 4", 4);
	packet_build(&asked, &p);
	ask(&p);
	judge_check("nobody takes XDP frames: it goes on, to sluice_answer",
		    answer.action == XDP_PASS && answer.reason == SLUICE_R_PASS_SYN_COOKIE &&
			    answer.length > asked.length && /* the mark lies before it */
			    !memcmp(answer.frame + answer.length - asked.length, asked.byte + 6, 6),
		    "action %d, %s", answer.action, judge_reason(answer.reason));
	shell("ethtool -K sj1 gro on");
	hook = SLUICE_HOOK_TC_INGRESS;
	start("syn-threshold: 4", 4);
	p = syn("10.9.0.31", HOST4, 2000, PORT);
	answered("TC ingress: it is answered", &p, ETH_HLEN, FULL_MSS);
	acknowledge("TC ingress: 16 beside the cookie", &p, 16, DROPS(TCP_NO_FLOW));
	acknowledge("TC ingress: the cookie opens the connection", &p, 0, PASSES(PASS_COOKIE_ACK));
	flow_is_complete("TC ingress: and its flow is complete", &p, 0);
	p = syn("fd09::31", HOST6, 2000, PORT);
	p.payload = 700;
	answered("TC ingress: IPv6, with data", &p, ETH_HLEN, FULL_MSS - 20);
	acknowledge("TC ingress: IPv6: the cookie opens the connection", &p, 0, PASSES(PASS_COOKIE_ACK));
}

/* Whether XDP answers on this veth: from 6.3 on the kernel says that its other end takes frames. Otherwise TC answers. */
static bool xdp_answers(void)
{
	struct dataplane_status s = {};
	struct error err = {};
	bool does;

	start("syn-threshold: 4", 0);
	if (dataplane_status(judge_dataplane(), &err, &s)) {
		judge_check("status", false, "%s", err.text);
		exit(1);
	}
	does = !strcmp(s.interfaces[0].cookies, "xdp redirect");
	judge_check("status says who answers", does || !strcmp(s.interfaces[0].cookies, "tc"), "'%s'",
		    s.interfaces[0].cookies);
	dataplane_status_done(&s);
	return does;
}

int main(void)
{
	judge_start("syn", 4096);
	shell("ethtool -K sj1 gro on"); /* so that it takes what XDP redirects to it */
	listen_on(PORT);
	if (!xdp_answers()) {
		printf("# this kernel does not say whether a veth takes what XDP sends: the answers are those of TC\n");
		hook = SLUICE_HOOK_TC_INGRESS;
	}
	sysctl_set("tcp_syncookies", "2");
	cookies();
	not_for_all();
	odd_segments();
	time_stamps();
	if (hook == SLUICE_HOOK_XDP)
		tags();
	else
		printf("# tagged SYNs are left out: a test run at TC has no tag where the stack keeps it\n");
	sources();
	all_together();
	choices();
	ways();
	return judge_end();
}
