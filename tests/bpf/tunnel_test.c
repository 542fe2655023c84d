// SPDX-License-Identifier: Apache-2.0
/*
 * What VXLAN and Geneve carry: judged in the tenant of the VNI, tracked there, counted beside the outer packet, with both
 * hooks at the door and at egress. Two tenants use the same addresses and have opposite rules.
 */
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/util.h"
#include "judge.h"

#define RED  7001
#define BLUE 7002

static const char policy[] = "sluice: 1\nname: tunnels\ndefault: deny\nfailsafe: []\nconntrack: {pickup: 0s}\n"
			     "tenants: [red, blue]\n"
			     "interfaces: [{name: " JUDGE_DEV ", vnis: {7001: red, 7002: blue}}]\n"
			     "segments:\n"
			     "  vteps: [192.0.2.0/24, \"2001:db8::/64\"]\n"
			     "  red-hosts: {include: [10.0.0.0/24, \"fd00::/64\"], tenant: red}\n"
			     "  blue-hosts: {include: [10.0.0.0/24, \"fd00::/64\"], tenant: blue}\n"
			     "services:\n"
			     "  overlay: [udp/4789, udp/6081]\n"
			     "rules:\n"
			     "  - {name: overlay, from: vteps, to: vteps, service: overlay, action: allow}\n"
			     "  - {name: red-web, from: red-hosts, to: red-hosts, service: [tcp/80, udp/80], action: allow}\n"
			     "  - {name: blue-ssh, from: blue-hosts, to: blue-hosts, service: tcp/22, action: allow}\n";

/* ------------------------------------------------------------------ encapsulation */

struct tunnel {
	const char *from, *to; /* of the outer packet; default: two VTEPs */
	bool geneve;
	uint32_t vni;
	uint8_t first;	   /* of the header, if not 0 */
	unsigned int options; /* Geneve: words of them */
	uint16_t protocol; /* Geneve: if not 0x6558 */
	size_t cut;	   /* bytes to take off the end, lengths outside corrected */
	struct packet inner;
};

static struct {
	const struct tunnel *tunnel;
	struct frame inner;
	size_t header;
} wrap;

/* Puts header and inner frame into the payload of the outer packet. */
static void wrap_mutate(struct frame *f)
{
	const struct tunnel *t = wrap.tunnel;
	uint8_t *h = f->byte + f->l4 + 8;
	size_t room = f->length - f->l4 - 8, header = wrap.header < room ? wrap.header : room;
	uint8_t bytes[8 + 256] = {};

	bytes[0] = t->geneve ? (uint8_t)t->options : 0x08;
	if (t->first)
		bytes[0] = t->first == 0xff ? 0 : t->first;
	if (t->geneve) {
		bytes[2] = (uint8_t)((t->protocol ? t->protocol : 0x6558) >> 8);
		bytes[3] = (uint8_t)(t->protocol ? t->protocol : 0x6558);
	}
	bytes[4] = (uint8_t)(t->vni >> 16);
	bytes[5] = (uint8_t)(t->vni >> 8);
	bytes[6] = (uint8_t)t->vni;
	memcpy(h, bytes, header);
	memcpy(h + header, wrap.inner.byte, room - header);
}

static struct packet wrapped(const struct tunnel *t)
{
	wrap.tunnel = t;
	wrap.header = 8 + 4 * (t->geneve ? t->options : 0);
	packet_build(&wrap.inner, &t->inner);
	return (struct packet){
		.from = t->from ? t->from : "192.0.2.1",
		.to = t->to ? t->to : "192.0.2.2",
		.sport = 50000,
		.dport = t->geneve ? 6081 : 4789,
		.payload = wrap.header + wrap.inner.length - t->cut,
		.mutate = wrap_mutate,
	};
}

/* ---------------------------------------------------------------------- the cases */

struct tunnel_row {
	const char *name;
	struct tunnel tunnel;
	bool drops;
	enum sluice_reason reason; /* of the inner packet, or of the outer where `outer` */
	bool outer;
};

#define HOSTS .from = "10.0.0.1", .to = "10.0.0.2", .sport = 4000
#define HOSTS6 .from = "fd00::1", .to = "fd00::2", .sport = 4000
#define SYN   .tcp = TCP_F_SYN
#define OK(r) false, SLUICE_R_##r, false
#define NO(r) true, SLUICE_R_##r, false

static void total_beyond(struct frame *f)
{
	f->byte[f->l3 + 2] = 0x40;
}

static void checksum_off(struct frame *f)
{
	f->byte[f->l3 + 10] ^= 1;
}

static const struct packet quoted = {HOSTS, SYN, .dport = 80};

static const struct tunnel_row rows[] = {
	{"red web", {.vni = RED, .inner = {HOSTS, SYN, .dport = 80}}, OK(PASS_RULE)},
	{"red ssh", {.vni = RED, .inner = {HOSTS, SYN, .dport = 22}}, NO(DENY_DEFAULT)},
	{"blue ssh, the same addresses", {.vni = BLUE, .inner = {HOSTS, SYN, .dport = 22}}, OK(PASS_RULE)},
	{"blue web", {.vni = BLUE, .inner = {HOSTS, SYN, .dport = 80}}, NO(DENY_DEFAULT)},
	{"red web, IPv6", {.vni = RED, .inner = {HOSTS6, SYN, .dport = 80}}, OK(PASS_RULE)},
	{"blue web, IPv6", {.vni = BLUE, .inner = {HOSTS6, SYN, .dport = 80}}, NO(DENY_DEFAULT)},
	{"red web over IPv6",
	 {.from = "2001:db8::1", .to = "2001:db8::2", .vni = RED, .inner = {HOSTS, SYN, .dport = 80}},
	 OK(PASS_RULE)},
	{"IPv6 over IPv6",
	 {.from = "2001:db8::1", .to = "2001:db8::2", .vni = RED, .inner = {HOSTS6, .dport = 80}},
	 OK(PASS_RULE)},
	{"IPv6 with an extension header",
	 {.vni = RED, .inner = {HOSTS6, .dport = 80, .extension = {60}, .n_extensions = 1}},
	 OK(PASS_RULE)},
	{"a tag inside is stepped over", {.vni = RED, .inner = {HOSTS, SYN, .dport = 80, .vlan = 9}}, OK(PASS_RULE)},
	{"a VNI that is not listed", {.vni = 7003, .inner = {HOSTS, SYN, .dport = 80}}, NO(UNKNOWN_TENANT)},
	{"a VNI that shares the low bits", {.vni = RED + 65536, .inner = {HOSTS, SYN, .dport = 80}}, NO(UNKNOWN_TENANT)},
	{"ARP", {.vni = RED, .inner = {.ethertype = 0x0806}}, OK(PASS_LINK)},
	{"IPX", {.vni = RED, .inner = {.ethertype = 0x8137}}, NO(DENY_NON_IP)},
	{"a stray", {.vni = RED, .inner = {HOSTS, .tcp = TCP_F_ACK, .dport = 80}}, NO(TCP_NO_FLOW)},
	{"no I flag", {.vni = RED, .first = 0xff, .inner = {HOSTS, SYN, .dport = 80}}, NO(TUNNEL_HEADER)},
	{"bits beside the I flag", {.vni = RED, .first = 0x88, .inner = {HOSTS, SYN, .dport = 80}}, OK(PASS_RULE)},
	{"inner IP checksum", {.vni = RED, .inner = {HOSTS, SYN, .dport = 80, .mutate = checksum_off}}, NO(IP_CHECKSUM)},
	{"inner IP length", {.vni = RED, .inner = {HOSTS, SYN, .dport = 80, .mutate = total_beyond}}, NO(IP_LENGTH)},
	{"inner TCP without flags", {.vni = RED, .inner = {HOSTS, .tcp = TCP_F_NONE, .dport = 80}}, NO(TCP_FLAGS)},
	{"inner from multicast", {.vni = RED, .inner = {.from = "224.0.0.5", .to = "10.0.0.2", .dport = 80}}, NO(IP_SOURCE)},
	{"cut in the inner TCP header", {.vni = RED, .cut = 4, .inner = {HOSTS, SYN, .dport = 80}}, NO(IP_LENGTH)},
	{"cut in the inner Ethernet header", {.vni = RED, .cut = 44, .inner = {HOSTS, SYN, .dport = 80}}, NO(SHORT)},
	{"cut in the tunnel header", {.vni = RED, .cut = 58, .inner = {HOSTS, SYN, .dport = 80}}, NO(TUNNEL_HEADER)},
	{"a tunnel in the tunnel is not looked into",
	 {.vni = RED, .inner = {HOSTS, .dport = 4789, .payload = 50}},
	 NO(DENY_DEFAULT)},
	{"ICMP error that quotes no flow",
	 {.vni = RED, .inner = {.from = "10.0.0.9", .to = "10.0.0.1", .icmp = 0x10301, .quote = &quoted}},
	 NO(ICMP_UNRELATED)},
	{"first fragment", {.vni = RED, .inner = {HOSTS, .dport = 80, .payload = 24, .more_fragments = 1, .fragment_id = 5}},
	 OK(PASS_RULE)},
	{"Geneve: red web", {.geneve = true, .vni = RED, .inner = {HOSTS, SYN, .dport = 80}}, OK(PASS_RULE)},
	{"Geneve: blue web", {.geneve = true, .vni = BLUE, .inner = {HOSTS, SYN, .dport = 80}}, NO(DENY_DEFAULT)},
	{"Geneve: options", {.geneve = true, .options = 5, .vni = RED, .inner = {HOSTS, SYN, .dport = 80}}, OK(PASS_RULE)},
	{"Geneve: most options", {.geneve = true, .options = 63, .vni = RED, .inner = {HOSTS, SYN, .dport = 80}}, OK(PASS_RULE)},
	{"Geneve: options past the end",
	 {.geneve = true, .first = 63, .vni = RED, .inner = {HOSTS, SYN, .dport = 80}},
	 NO(TUNNEL_HEADER)},
	{"Geneve: version 1", {.geneve = true, .first = 0x40, .vni = RED, .inner = {HOSTS, SYN, .dport = 80}}, NO(TUNNEL_HEADER)},
	{"Geneve: not Ethernet", {.geneve = true, .protocol = 0x0800, .vni = RED, .inner = {HOSTS, SYN, .dport = 80}}, NO(DENY_NON_IP)},
	{"Geneve: a VNI that is not listed", {.geneve = true, .vni = 1, .inner = {HOSTS, SYN, .dport = 80}}, NO(UNKNOWN_TENANT)},
};

/* Counters of the reasons before and after: the outer packet counts as a flow or a rule, the inner one for its own. */
static void row_run(const char *family, enum sluice_hook hook, const struct tunnel_row *row)
{
	uint64_t rule = judge_rule("overlay").packets;
	struct packet p = wrapped(&row->tunnel);
	struct judge_reasons before, after;
	struct judge_outcome o;
	char name[160];

	judge_flows_clear();
	judge_reasons(&before);
	o = judge_run(hook, &p);
	judge_reasons(&after);
	snprintf(name, sizeof(name), "%s: %s", family, row->name);
	judge_check(name,
		    o.dropped == row->drops &&
			    after.packets[row->reason] - before.packets[row->reason] ==
				    1 + (row->reason == SLUICE_R_PASS_RULE) &&
			    judge_rule("overlay").packets == rule + 1,
		    "%s; %llu for %s, overlay counted %llu", o.dropped ? "dropped" : "passed",
		    (unsigned long long)(after.packets[row->reason] - before.packets[row->reason]),
		    judge_reason(row->reason), (unsigned long long)(judge_rule("overlay").packets - rule));
}

static void test_rows(enum sluice_hook hook, const char *family)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		row_run(family, hook, &rows[i]);
}

/* The flow is the inner packets', in their tenant, whoever carries them. */
static void test_flow(void)
{
	struct tunnel there = {.vni = RED, .inner = {HOSTS, .dport = 80}};
	struct tunnel back = {.from = "192.0.2.2", .to = "192.0.2.1", .vni = RED,
			      .inner = {.from = "10.0.0.2", .to = "10.0.0.1", .sport = 80, .dport = 4000}};
	struct tunnel stranger = back;
	struct tunnel error = {.vni = RED, .inner = {.from = "10.0.0.9", .to = "10.0.0.1", .icmp = 0x10301, .quote = &there.inner}};
	struct dataplane_flow flow;
	struct packet p;

	judge_apply(policy);
	judge_flows_clear();
	p = wrapped(&back);
	judge_check("flow: the answer alone is denied", judge_run(SLUICE_HOOK_XDP, &p).dropped, "passed");
	p = wrapped(&there);
	judge_check("flow: the question passes", !judge_run(SLUICE_HOOK_XDP, &p).dropped, "dropped");
	judge_check("flow: it is in tenant red", judge_flow(&there.inner, 1, &flow), "no such flow");
	judge_check("flow: and in no other", !judge_flow(&there.inner, 0, &flow) && !judge_flow(&there.inner, 2, &flow),
		    "there is one");
	p = wrapped(&back);
	judge_check("flow: the answer passes", !judge_run(SLUICE_HOOK_XDP, &p).dropped, "dropped");
	back.geneve = true;
	p = wrapped(&back);
	judge_check("flow: also by Geneve", !judge_run(SLUICE_HOOK_XDP, &p).dropped, "dropped");
	stranger.vni = BLUE;
	p = wrapped(&stranger);
	judge_check("flow: the same packet of blue does not", judge_run(SLUICE_HOOK_XDP, &p).dropped, "passed");
	p = wrapped(&error);
	judge_check("flow: an ICMP error that quotes it passes", !judge_run(SLUICE_HOOK_XDP, &p).dropped, "dropped");
}

static void test_outer(void)
{
	struct tunnel stranger = {.from = "198.51.100.1", .vni = RED, .inner = {HOSTS, SYN, .dport = 80}};
	struct tunnel red = {.vni = RED, .inner = {HOSTS, SYN, .dport = 22}};
	struct packet p = wrapped(&stranger);

	judge_apply(policy);
	judge_case("outer: denied, whatever is inside", SLUICE_HOOK_XDP, &p, SLUICE_DROP, SLUICE_R_DENY_DEFAULT);
	p = wrapped(&red);
	p.more_fragments = 1;
	judge_case("outer: in pieces", SLUICE_HOOK_XDP, &p, SLUICE_DROP, SLUICE_R_TUNNEL_HEADER);
	p.more_fragments = 0;
	p.fragment_offset = 64;
	p.mutate = NULL;
	judge_case("outer: and the rest of it", SLUICE_HOOK_XDP, &p, SLUICE_DROP, SLUICE_R_FRAGMENT_UNKNOWN);
	judge_apply("sluice: 1\nname: no-vnis\ndefault: deny\nfailsafe: []\ninterfaces: [{name: " JUDGE_DEV "}]\nrules:\n"
		    "  - {name: overlay, from: any, to: any, service: udp/4789, action: allow}\n");
	judge_flows_clear();
	p = wrapped(&red);
	judge_case("outer: not looked into where no VNI is listed", SLUICE_HOOK_XDP, &p, SLUICE_PASS, SLUICE_R_PASS_RULE);
}

static void test_audit(void)
{
	struct tunnel red = {.vni = RED, .inner = {HOSTS, SYN, .dport = 22}};
	static char text[sizeof(policy) + 20];
	struct packet p = wrapped(&red);
	struct judge_reasons before, after;

	snprintf(text, sizeof(text), "%s", policy);
	memcpy(strstr(text, "failsafe: []"), "mode: audit ", 12);
	judge_apply(text);
	judge_flows_clear();
	judge_reasons(&before);
	judge_check("audit: a denied inner packet passes", !judge_run(SLUICE_HOOK_XDP, &p).dropped, "dropped");
	judge_reasons(&after);
	judge_check("audit: and is counted", after.audited[SLUICE_R_DENY_DEFAULT] == before.audited[SLUICE_R_DENY_DEFAULT] + 1,
		    "not counted once");
}

int main(void)
{
	judge_start("tunnel", 4096);
	judge_apply(policy);
	test_rows(SLUICE_HOOK_XDP, "xdp");
	test_rows(SLUICE_HOOK_TC_INGRESS, "tc");
	test_rows(SLUICE_HOOK_TC_EGRESS, "egress");
	test_flow();
	test_outer();
	test_audit();
	return judge_end();
}
