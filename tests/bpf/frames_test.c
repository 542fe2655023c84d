// SPDX-License-Identifier: Apache-2.0
/*
 * Steps 1 to 5 of "What a packet gets", at the XDP and the TC ingress hook: what is malformed and why, what passes
 * without being IP, whose packet it is, who may send it, and fragments. The default is allow, so that whatever is not
 * caught passes as `default-allow`.
 */
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "base/util.h"

#include "judge.h"

#define A4 "10.1.0.1"
#define B4 "10.2.0.1"
#define A6 "fd01::1"
#define B6 "fd02::1"

static struct iphdr *ip4(struct frame *f)
{
	return (struct iphdr *)(f->byte + f->l3);
}

static struct ipv6hdr *ip6(struct frame *f)
{
	return (struct ipv6hdr *)(f->byte + f->l3);
}

static struct tcphdr *tcp(struct frame *f)
{
	return (struct tcphdr *)(f->byte + f->l4);
}

static struct udphdr *udp(struct frame *f)
{
	return (struct udphdr *)(f->byte + f->l4);
}

static void cut_in_ip(struct frame *f)
{
	f->length = f->l3 + 12;
}

static void cut_in_vlan(struct frame *f)
{
	f->length = 16;
}

static void cut_in_tcp(struct frame *f)
{
	f->length = f->l4 + 10;
	ip4(f)->tot_len = htons((uint16_t)(f->length - f->l3));
	frame_checksum_ip(f);
}

static void ihl_4(struct frame *f)
{
	ip4(f)->ihl = 4;
	frame_checksum_ip(f);
}

static void ihl_15(struct frame *f)
{
	ip4(f)->ihl = 15;
}

static void version_6(struct frame *f)
{
	ip4(f)->version = 6;
	frame_checksum_ip(f);
}

static void version_4(struct frame *f)
{
	ip6(f)->version = 4;
}

static void total_beyond(struct frame *f)
{
	ip4(f)->tot_len = htons((uint16_t)(f->length - f->l3 + 1));
	frame_checksum_ip(f);
}

static void total_below_header(struct frame *f)
{
	ip4(f)->tot_len = htons(19);
	frame_checksum_ip(f);
}

static void total_zero(struct frame *f)
{
	ip4(f)->tot_len = 0;
	frame_checksum_ip(f);
}

static void payload_beyond(struct frame *f)
{
	ip6(f)->payload_len = htons((uint16_t)(ntohs(ip6(f)->payload_len) + 1));
}

static void payload_zero(struct frame *f)
{
	ip6(f)->payload_len = 0;
}

static void checksum_off(struct frame *f)
{
	ip4(f)->check ^= htons(1);
}

static void ttl_changed(struct frame *f)
{
	ip4(f)->ttl--;
}

static void option_changed(struct frame *f)
{
	f->byte[f->l3 + 39] ^= 0x10;
}

static void doff_4(struct frame *f)
{
	tcp(f)->doff = 4;
}

static void doff_beyond(struct frame *f)
{
	tcp(f)->doff = 6;
}

static void udp_longer(struct frame *f)
{
	udp(f)->len = htons((uint16_t)(ntohs(udp(f)->len) + 1));
}

static void udp_shorter(struct frame *f)
{
	udp(f)->len = htons((uint16_t)(ntohs(udp(f)->len) - 1));
}

static void udp_below_header(struct frame *f)
{
	udp(f)->len = htons(7);
}

static void from_port_0(struct frame *f)
{
	f->byte[f->l4] = f->byte[f->l4 + 1] = 0;
}

/* Writes over the options, which are at least so long. */
static void options_write(struct frame *f, const char *bytes, size_t n)
{
	memcpy(f->byte + f->l3 + 20, bytes, n);
	frame_checksum_ip(f);
}

static void option_loose(struct frame *f)
{
	options_write(f, "\x83\x07\x04\x0a\x02\x00\x01\x00", 8);
}

static void option_strict_last(struct frame *f)
{
	options_write(f, "\x94\x04\x00\x00\x01\x89\x03\x04", 8);
}

static void option_record(struct frame *f)
{
	options_write(f, "\x07\x07\x04\x00\x00\x00\x00\x00", 8);
}

static void option_after_end(struct frame *f)
{
	options_write(f, "\x01\x00\x83\x07\x04\x0a\x02\x00", 8);
}

static void option_long(struct frame *f)
{
	options_write(f, "\x01\x44\x08\x00\x00\x00\x00\x00", 8);
}

static void option_length_1(struct frame *f)
{
	options_write(f, "\x44\x01\x01\x01", 4);
}

static void option_no_length(struct frame *f)
{
	options_write(f, "\x01\x01\x01\x44", 4);
}

static void route_0(struct frame *f)
{
	f->byte[f->l3 + 40 + 2] = 0; /* type; its segments left are 4 */
}

static void route_0_done(struct frame *f)
{
	f->byte[f->l3 + 40 + 2] = f->byte[f->l3 + 40 + 3] = 0;
}

static void extension_beyond(struct frame *f)
{
	f->byte[f->l3 + 40 + 1] = 200;
}

#define IP4  .from = A4, .to = B4
#define IP6  .from = A6, .to = B6
#define TCP4 .from = A4, .to = B4, .tcp = TCP_F_SYN, .dport = 80
#define TCP6 .from = A6, .to = B6, .tcp = TCP_F_SYN, .dport = 80
#define UDP4 .from = A4, .to = B4, .dport = 53, .payload = 20
#define UDP6 .from = A6, .to = B6, .dport = 53, .payload = 20

static const struct row malformed[] = {
	{"ipv4 tcp", {TCP4}, PASSES(PASS_DEFAULT)},
	{"ipv6 tcp", {TCP6}, PASSES(PASS_DEFAULT)},
	{"ipv4 udp", {UDP4}, PASSES(PASS_DEFAULT)},
	{"ipv6 udp", {UDP6}, PASSES(PASS_DEFAULT)},
	{"ipv4 with 40 bytes of options", {TCP4, .options = 40, .sport = 1}, PASSES(PASS_DEFAULT)},
	{"ethernet padding behind a short packet", {TCP4, .pad = 6, .sport = 2}, PASSES(PASS_DEFAULT)},
	{"frame ends in the TCP header", {TCP4, .mutate = cut_in_tcp}, DROPS(SHORT)},
	{"ipv6 packet ends in the UDP header", {UDP6, .cut_transport = 1 + 7}, DROPS(SHORT)},
	{"ICMP of 7 bytes", {.from = A4, .to = B4, .icmp = ICMP(8, 0), .cut_transport = 1 + 7}, DROPS(SHORT)},
	{"SCTP of 11 bytes", {.from = A4, .to = B4, .protocol = 132, .payload = 11}, DROPS(SHORT)},
	{"transport header only in the padding", {UDP4, .cut_transport = 1 + 4, .pad = 30}, DROPS(SHORT)},
	{"IHL of 4 words", {TCP4, .mutate = ihl_4}, DROPS(IP_IHL)},
	{"IHL past the end", {TCP4, .mutate = ihl_15}, DROPS(SHORT)},
	{"version 6 in an IPv4 ethertype", {TCP4, .mutate = version_6}, DROPS(IP_VERSION)},
	{"version 4 in an IPv6 ethertype", {TCP6, .mutate = version_4}, DROPS(IP_VERSION)},
	{"total length past the frame", {TCP4, .mutate = total_beyond}, DROPS(IP_LENGTH)},
	{"total length below the header", {TCP4, .mutate = total_below_header}, DROPS(IP_LENGTH)},
	{"total length zero in a small frame", {TCP4, .mutate = total_zero}, DROPS(IP_LENGTH)},
	{"payload length past the frame", {TCP6, .mutate = payload_beyond}, DROPS(IP_LENGTH)},
	{"payload length zero in a small frame", {TCP6, .mutate = payload_zero}, DROPS(IP_LENGTH)},
	{"header checksum off by one", {TCP4, .mutate = checksum_off}, DROPS(IP_CHECKSUM)},
	{"TTL changed without the checksum", {UDP4, .mutate = ttl_changed}, DROPS(IP_CHECKSUM)},
	{"last option changed without the checksum",
	 {TCP4, .options = 20, .mutate = option_changed},
	 DROPS(IP_CHECKSUM)},
	{"source 224.0.0.1", {.from = "224.0.0.1", .to = B4, .dport = 53}, DROPS(IP_SOURCE)},
	{"source 239.255.255.255", {.from = "239.255.255.255", .to = B4, .dport = 53}, DROPS(IP_SOURCE)},
	{"source 255.255.255.255", {.from = "255.255.255.255", .to = B4, .dport = 53}, DROPS(IP_SOURCE)},
	{"source ff02::1", {.from = "ff02::1", .to = B6, .dport = 53}, DROPS(IP_SOURCE)},
	{"source 223.255.255.255 is fine", {.from = "223.255.255.255", .to = B4, .dport = 53}, PASSES(PASS_DEFAULT)},
	{"TCP data offset 4", {TCP4, .mutate = doff_4}, DROPS(TCP_OFFSET)},
	{"TCP data offset past the end", {TCP4, .mutate = doff_beyond}, DROPS(TCP_OFFSET)},
	{"TCP SYN and FIN", {IP4, .dport = 80, .tcp = TCP_F_SYN | TCP_F_FIN}, DROPS(TCP_FLAGS)},
	{"TCP SYN, FIN and ACK", {IP4, .dport = 80, .tcp = TCP_F_SYN | TCP_F_FIN | TCP_F_ACK}, DROPS(TCP_FLAGS)},
	{"TCP without flags", {IP4, .dport = 80, .tcp = TCP_F_NONE}, DROPS(TCP_FLAGS)},
	{"ipv6 TCP without flags", {IP6, .dport = 80, .tcp = TCP_F_NONE}, DROPS(TCP_FLAGS)},
	{"TCP SYN and RST", {IP4, .dport = 80, .tcp = TCP_F_SYN | TCP_F_RST}, DROPS(TCP_FLAGS)},
	{"TCP SYN with data is fine", {TCP4, .payload = 100, .sport = 20}, PASSES(PASS_DEFAULT)},
	{"TCP to port 0", {IP4, .tcp = TCP_F_SYN}, DROPS(PORT_ZERO)},
	{"TCP from port 0", {TCP6, .mutate = from_port_0}, DROPS(PORT_ZERO)},
	{"UDP to port 0", {IP6, .payload = 20}, DROPS(PORT_ZERO)},
	{"UDP from port 0 is fine", {UDP4, .mutate = from_port_0}, PASSES(PASS_DEFAULT)},
	{"SCTP to port 0", {.from = A4, .to = B4, .protocol = 132, .payload = 12}, DROPS(PORT_ZERO)},
	{"source is the destination", {.from = A4, .to = A4, .tcp = TCP_F_SYN, .dport = 80, .sport = 80}, DROPS(LAND)},
	{"source is the destination, other port", {.from = A4, .to = A4, .dport = 53}, DROPS(LAND)},
	{"ipv6 source is the destination", {.from = A6, .to = A6, .tcp = TCP_F_SYN, .dport = 80}, DROPS(LAND)},
	{"127.0.0.1 to itself is fine", {.from = "127.0.0.1", .to = "127.0.0.1", .dport = 53}, PASSES(PASS_DEFAULT)},
	{"::1 to itself is fine", {.from = "::1", .to = "::1", .dport = 53}, PASSES(PASS_DEFAULT)},
	{"IPv4-mapped source", {.from = "::ffff:10.1.0.1", .to = B6, .dport = 53}, DROPS(IP6_MAPPED)},
	{"IPv4-mapped destination", {.from = A6, .to = "::ffff:10.2.0.1", .dport = 53}, DROPS(IP6_MAPPED)},
	{"IPv4-mapped as the IPv4 flow above",
	 {.from = "::ffff:10.1.0.1", .to = "::ffff:10.2.0.1", .dport = 53},
	 DROPS(IP6_MAPPED)},
	{"IPv4-compatible addresses are IPv6's own",
	 {.from = "::10.1.0.1", .to = "::10.2.0.1", .dport = 53},
	 PASSES(PASS_DEFAULT)},
	{"loose source route", {TCP4, .options = 8, .mutate = option_loose}, DROPS(SOURCE_ROUTE)},
	{"strict source route, last of three", {UDP4, .options = 8, .mutate = option_strict_last}, DROPS(SOURCE_ROUTE)},
	{"record route is fine", {TCP4, .options = 8, .sport = 21, .mutate = option_record}, PASSES(PASS_DEFAULT)},
	{"source route behind the end of the list",
	 {TCP4, .options = 8, .sport = 22, .mutate = option_after_end},
	 PASSES(PASS_DEFAULT)},
	{"option past the header", {TCP4, .options = 8, .mutate = option_long}, DROPS(IP_OPTIONS)},
	{"option of one byte", {TCP4, .options = 4, .mutate = option_length_1}, DROPS(IP_OPTIONS)},
	{"option without a length", {TCP4, .options = 4, .mutate = option_no_length}, DROPS(IP_OPTIONS)},
	{"UDP length above", {UDP4, .mutate = udp_longer}, DROPS(UDP_LENGTH)},
	{"UDP length below", {UDP4, .mutate = udp_shorter}, DROPS(UDP_LENGTH)},
	{"UDP length 7", {UDP6, .mutate = udp_below_header}, DROPS(UDP_LENGTH)},
};

/* A test run at TC takes neither more than a page nor less than an IP header. */
static const struct row xdp_only[] = {
	{"frame ends in a VLAN tag", {TCP4, .vlan = 5, .mutate = cut_in_vlan}, DROPS(SHORT)},
	{"frame ends in the IPv4 header", {TCP4, .mutate = cut_in_ip}, DROPS(SHORT)},
	{"frame ends in the IPv6 header", {TCP6, .mutate = cut_in_ip}, DROPS(SHORT)},
	{"frame of several pages", {TCP4, .payload = 9000, .sport = 3}, PASSES(PASS_DEFAULT)},
	{"ipv4 super-frame of 64 KiB", {TCP4, .payload = 65535 - 40, .sport = 4}, PASSES(PASS_DEFAULT)},
	{"ipv6 super-frame of 64 KiB", {TCP6, .payload = 65535 - 20, .sport = 4}, PASSES(PASS_DEFAULT)},
	{"ipv4 super-frame above 64 KiB", {TCP4, .payload = 68000, .sport = 5}, PASSES(PASS_DEFAULT)},
	{"ipv6 super-frame above 64 KiB", {TCP6, .payload = 68000, .sport = 5}, PASSES(PASS_DEFAULT)},
	{"length past the end of a frame of several pages",
	 {TCP4, .payload = 9000, .mutate = total_beyond},
	 DROPS(IP_LENGTH)},
};

static const struct row extensions[] = {
	{"hop-by-hop, destination, routing",
	 {UDP6, .sport = 11, .extension = {0, 60, 43}, .n_extensions = 3},
	 PASSES(PASS_DEFAULT)},
	{"eight headers",
	 {UDP6, .sport = 12, .extension = {0, 60, 60, 60, 60, 60, 60, 60}, .n_extensions = 8},
	 PASSES(PASS_DEFAULT)},
	{"nine headers",
	 {UDP6, .extension = {0, 60, 60, 60, 60, 60, 60, 60, 60}, .n_extensions = 9},
	 DROPS(IP6_EXTENSION)},
	{"hop-by-hop not first", {UDP6, .extension = {60, 0}, .n_extensions = 2}, DROPS(IP6_EXTENSION)},
	{"mobility header", {UDP6, .extension = {135}, .n_extensions = 1}, DROPS(IP6_EXTENSION)},
	{"mobility header behind another", {UDP6, .extension = {60, 135}, .n_extensions = 2}, DROPS(IP6_EXTENSION)},
	{"experiment 253", {.from = A6, .to = B6, .protocol = 253, .payload = 8}, DROPS(IP6_EXTENSION)},
	{"header past the end", {UDP6, .extension = {60}, .n_extensions = 1, .mutate = extension_beyond}, DROPS(SHORT)},
	{"routing header 0", {UDP6, .extension = {43}, .n_extensions = 1, .mutate = route_0}, DROPS(SOURCE_ROUTE)},
	{"routing header 0, nothing left",
	 {UDP6, .sport = 14, .extension = {43}, .n_extensions = 1, .mutate = route_0_done},
	 PASSES(PASS_DEFAULT)},
	{"two fragment headers", {UDP6, .extension = {44, 44}, .n_extensions = 2}, DROPS(IP6_EXTENSION)},
	{"no next header", {.from = A6, .to = B6, .protocol = 59}, PASSES(PASS_DEFAULT)},
	{"fragment header of a whole packet",
	 {UDP6, .sport = 13, .extension = {44}, .n_extensions = 1},
	 PASSES(PASS_DEFAULT)},
};

static const struct row link_layer[] = {
	{"ARP", {.ethertype = 0x0806}, PASSES(PASS_LINK)},
	{"ARP on an unlisted VLAN", {.ethertype = 0x0806, .vlan = 99}, PASSES(PASS_LINK)},
	{"LLDP", {.ethertype = 0x88cc}, PASSES(PASS_LINK)},
	{"LACP", {.ethertype = 0x8809}, PASSES(PASS_LINK)},
	{"EAPOL", {.ethertype = 0x888e}, PASSES(PASS_LINK)},
	{"STP", {.ethertype = 38, .mac_to = {1, 0x80, 0xc2, 0, 0, 0}}, PASSES(PASS_LINK)},
};

static const struct row link_allow[] = {
	{"IPX, default allow", {.ethertype = 0x8137}, PASSES(PASS_NON_IP)},
	{"802.3 frame to a station, default allow", {.ethertype = 38}, PASSES(PASS_NON_IP)},
};

static const struct row link_deny[] = {
	{"IPX, default deny", {.ethertype = 0x8137}, DROPS(DENY_NON_IP)},
	{"802.3 frame to a station, default deny", {.ethertype = 38}, DROPS(DENY_NON_IP)},
	{"third VLAN tag, default deny", {.ethertype = 0x8100, .vlan = 100, .vlan_outer = 101}, DROPS(DENY_NON_IP)},
	{"ARP, default deny", {.ethertype = 0x0806}, PASSES(PASS_LINK)},
};

#define TO_RED	.to = "10.2.0.1", .dport = 1000, .payload = 1
#define TO_BLUE .to = "10.3.0.1", .dport = 1000, .payload = 1

/* The same addresses in three tenants; only red may reach 10.2, only blue 10.3, the host's own neither. */
static const char tenants_policy[] = "sluice: 1\n"
				     "name: tenants\n"
				     "default: deny\n"
				     "tenants: [red, blue]\n"
				     "interfaces: [{name: " JUDGE_DEV ", vlans: {100: red, 101: blue}}]\n"
				     "segments:\n"
				     "  red-servers: {include: [10.2.0.0/16], tenant: red}\n"
				     "  blue-servers: {include: [10.3.0.0/16], tenant: blue}\n"
				     "rules:\n"
				     "  - {name: red, tenant: red, from: any, to: red-servers, action: allow}\n"
				     "  - {name: blue, tenant: blue, from: any, to: blue-servers, action: allow}\n";

static const struct row tenants[] = {
	{"vlan 100 is red", {.from = A4, TO_RED, .vlan = 100}, PASSES(PASS_RULE)},
	{"vlan 101 is blue", {.from = A4, TO_BLUE, .vlan = 101}, PASSES(PASS_RULE)},
	{"red does not reach blue's servers", {.from = A4, TO_BLUE, .vlan = 100}, DROPS(DENY_DEFAULT)},
	{"blue does not reach red's servers", {.from = A4, TO_RED, .vlan = 101}, DROPS(DENY_DEFAULT)},
	{"untagged is the host's", {.from = A4, TO_RED}, DROPS(DENY_DEFAULT)},
	{"unlisted vlan", {.from = A4, TO_RED, .vlan = 102}, DROPS(UNKNOWN_TENANT)},
	{"outer tag decides", {.from = A4, TO_RED, .vlan = 101, .vlan_outer = 100, .sport = 5}, PASSES(PASS_RULE)},
	{"outer tag decides, other way round",
	 {.from = A4, TO_RED, .vlan = 100, .vlan_outer = 101},
	 DROPS(DENY_DEFAULT)},
	{"priority tag is no VLAN", {.from = A4, TO_RED, .vlan = 0x8000}, DROPS(DENY_DEFAULT)},
	{"tag behind a priority tag",
	 {.from = A4, TO_RED, .vlan = 100, .vlan_outer = 0x8000, .sport = 6},
	 PASSES(PASS_RULE)},
	{"a red flow is not blue's",
	 {.from = "10.2.0.1", .to = A4, .sport = 1000, .dport = 40000, .payload = 1, .vlan = 101},
	 DROPS(DENY_DEFAULT)},
	{"a red flow's answer",
	 {.from = "10.2.0.1", .to = A4, .sport = 1000, .dport = 40000, .payload = 1, .vlan = 100},
	 PASSES(PASS_FLOW)},
};

static const char antispoof_policy[] = "sluice: 1\n"
				       "name: antispoof\n"
				       "default: allow\n"
				       "interfaces: [{name: " JUDGE_DEV ", antispoof: [here]}]\n"
				       "segments:\n"
				       "  here: {include: [10.1.0.0/16, \"fd01::/64\"], except: [10.1.9.0/24]}\n";

static const struct row antispoof[] = {
	{"source of the segment", {UDP4}, PASSES(PASS_DEFAULT)},
	{"ipv6 source of the segment", {UDP6}, PASSES(PASS_DEFAULT)},
	{"source of elsewhere", {.from = "10.8.0.1", .to = B4, .dport = 53}, DROPS(ANTISPOOF)},
	{"source in the exception", {.from = "10.1.9.1", .to = B4, .dport = 53}, DROPS(ANTISPOOF)},
	{"source beside the exception", {.from = "10.1.10.1", .to = B4, .dport = 53}, PASSES(PASS_DEFAULT)},
	{"ipv6 source of elsewhere", {.from = "fd01:0:0:1::1", .to = B6, .dport = 53}, DROPS(ANTISPOOF)},
	{"failsafe service does not help",
	 {.from = "10.8.0.1", .to = "10.9.0.1", .tcp = TCP_F_SYN, .dport = 22},
	 DROPS(ANTISPOOF)},
};

static const char fragments_policy[] = "default: deny\n"
				       "rules:\n"
				       "  - {name: dns, from: any, to: any, service: udp/53, action: allow}\n"
				       "  - {name: no-ntp, from: any, to: any, service: udp/123, action: deny}\n";

/* 10.9.0.1 is this host's. */
#define TO_SSH .from = A4, .to = "10.9.0.1", .tcp = TCP_F_ACK, .dport = 22, .payload = 60, .fragment_id = 22
#define FIRST4(n) .from = A4, .to = B4, .payload = 64, .more_fragments = 1, .fragment_id = (n)
#define PART4(n, at) .from = A4, .to = B4, .payload = 64, .fragment_offset = (at), .fragment_id = (n)
#define LATER4(n) PART4(n, 72)
#define FIRST6(n) .from = A6, .to = B6, .payload = 64, .more_fragments = 1, .fragment_id = (n)
#define PART6(n, at) .from = A6, .to = B6, .payload = 64, .fragment_offset = (at), .fragment_id = (n)
#define LATER6(n) PART6(n, 72)

static const struct row fragments[] = {
	{"later before any first", {LATER4(1)}, DROPS(FRAGMENT_UNKNOWN)},
	{"first, allowed", {FIRST4(1), .dport = 53}, PASSES(PASS_RULE)},
	{"later of it", {LATER4(1)}, PASSES(PASS_FRAGMENT)},
	{"middle of it", {LATER4(1), .more_fragments = 1}, PASSES(PASS_FRAGMENT)},
	{"later of another datagram", {LATER4(2)}, DROPS(FRAGMENT_UNKNOWN)},
	{"later of another protocol", {LATER4(1), .protocol = 6}, DROPS(FRAGMENT_UNKNOWN)},
	{"later from elsewhere",
	 {.from = "10.1.0.2", .to = B4, .payload = 64, .fragment_offset = 72, .fragment_id = 1},
	 DROPS(FRAGMENT_UNKNOWN)},
	{"first, of the flow", {FIRST4(3), .dport = 53}, PASSES(PASS_FLOW)},
	{"later of that", {LATER4(3)}, PASSES(PASS_FRAGMENT)},
	{"first, denied by rule", {FIRST4(4), .dport = 123}, DROPS(DENY_RULE)},
	{"later of that, by the same rule", {LATER4(4)}, DROPS(DENY_RULE)},
	{"first, denied by default", {FIRST4(5), .dport = 99}, DROPS(DENY_DEFAULT)},
	{"later of that, by default", {LATER4(5)}, DROPS(DENY_DEFAULT)},
	{"ipv6 later before any first", {LATER6(1)}, DROPS(FRAGMENT_UNKNOWN)},
	{"ipv6 first, allowed", {FIRST6(1), .dport = 53}, PASSES(PASS_RULE)},
	{"ipv6 later of it", {LATER6(1)}, PASSES(PASS_FRAGMENT)},
	{"ipv6 first behind a destination header",
	 {FIRST6(7), .dport = 53, .sport = 7, .extension = {60}, .n_extensions = 1},
	 PASSES(PASS_RULE)},
	{"ipv6 later of that", {LATER6(7), .extension = {60}, .n_extensions = 1}, PASSES(PASS_FRAGMENT)},
	{"first too short for UDP", {FIRST4(8), .dport = 53, .cut_transport = 1 + 4}, DROPS(FRAGMENT_TINY)},
	{"first too short for TCP",
	 {FIRST4(8), .tcp = TCP_F_SYN, .dport = 53, .cut_transport = 1 + 16},
	 DROPS(FRAGMENT_TINY)},
	{"ipv6 first too short for TCP",
	 {FIRST6(8), .tcp = TCP_F_SYN, .dport = 53, .cut_transport = 1 + 16},
	 DROPS(FRAGMENT_TINY)},
	{"later of a malformed first", {LATER4(8)}, DROPS(FRAGMENT_UNKNOWN)},
	{"later, on the end of the first", {PART4(1, 64)}, DROPS(FRAGMENT_OVERLAP)},
	{"later, on its ports", {PART4(1, 8)}, DROPS(FRAGMENT_OVERLAP)},
	{"ipv6 later, on the end of the first", {PART6(1, 64)}, DROPS(FRAGMENT_OVERLAP)},
	{"later, within a TCP header", {PART4(20, 8), .protocol = 6}, DROPS(FRAGMENT_TINY)},
	{"later, on the end of a TCP header", {PART4(20, 16), .protocol = 6}, DROPS(FRAGMENT_TINY)},
	{"later, behind a TCP header", {PART4(20, 24), .protocol = 6}, DROPS(FRAGMENT_UNKNOWN)},
	{"ipv6 later, within a TCP header", {PART6(20, 8), .protocol = 6}, DROPS(FRAGMENT_TINY)},
	{"later, past 65535 bytes", {PART4(1, 65528)}, DROPS(FRAGMENT_OVERLAP)},
	{"ipv6 later, past 65535 bytes", {PART6(1, 65528)}, DROPS(FRAGMENT_OVERLAP)},
	{"two firsts: allowed", {FIRST4(21), .dport = 53}, PASSES(PASS_FLOW)},
	{"two firsts: then denied", {FIRST4(21), .dport = 99}, DROPS(DENY_DEFAULT)},
	{"two firsts: later of the newer", {LATER4(21)}, DROPS(DENY_DEFAULT)},
	{"two firsts: allowed again", {FIRST4(21), .dport = 53}, PASSES(PASS_FLOW)},
	{"two firsts: later of that", {LATER4(21)}, PASSES(PASS_FRAGMENT)},
	{"first to a failsafe service", {TO_SSH, .more_fragments = 1}, PASSES(PASS_FAILSAFE)},
	{"later of that", {TO_SSH, .fragment_offset = 80}, PASSES(PASS_FRAGMENT)},
};

static void rows_run(const char *family, enum sluice_hook hook, const struct row *rows, size_t n)
{
	char name[160];

	judge_flows_clear();
	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s %s: %s", hook == SLUICE_HOOK_XDP ? "xdp" : "tc", family, rows[i].name);
		judge_case(name, hook, &rows[i].packet, rows[i].verdict, rows[i].reason);
	}
}

#define ROWS_RUN(family, hook, rows) rows_run(family, hook, rows, ARRAY_SIZE(rows))

/* A policy change forgets what first fragments got. */
static void test_fragments_after_apply(void)
{
	judge_apply(fragments_policy);
	judge_case("fragments: later of a first judged under the old policy", SLUICE_HOOK_XDP,
		   &(struct packet){LATER4(1)}, SLUICE_DROP, SLUICE_R_FRAGMENT_UNKNOWN);
}

/* The sound frame has just been denied, and the denial is kept: what is malformed is still dropped for what it is. */
static void test_malformed_after_denial(void)
{
	char name[160];

	judge_apply("default: deny\nfailsafe: []\n");
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++) {
		struct packet sound = malformed[i].packet;

		if (malformed[i].verdict == SLUICE_PASS)
			continue;
		sound.mutate = NULL;
		judge_run(SLUICE_HOOK_XDP, &sound);
		judge_run(SLUICE_HOOK_XDP, &sound);
		snprintf(name, sizeof(name), "malformed after a denial: %s", malformed[i].name);
		judge_case(name, SLUICE_HOOK_XDP, &malformed[i].packet, malformed[i].verdict, malformed[i].reason);
	}
}

int main(void)
{
	static const enum sluice_hook hooks[] = {SLUICE_HOOK_XDP, SLUICE_HOOK_TC_INGRESS};

	judge_start("frames", 4096);
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		judge_apply("default: allow\nfailsafe: []\n");
		ROWS_RUN("malformed", hooks[i], malformed);
		if (hooks[i] == SLUICE_HOOK_XDP)
			ROWS_RUN("size", hooks[i], xdp_only);
		ROWS_RUN("extensions", hooks[i], extensions);
		ROWS_RUN("link", hooks[i], link_layer);
		ROWS_RUN("link", hooks[i], link_allow);
		judge_apply("default: deny\n");
		ROWS_RUN("link", hooks[i], link_deny);
		judge_apply(tenants_policy);
		ROWS_RUN("tenants", hooks[i], tenants);
		judge_apply(antispoof_policy);
		ROWS_RUN("antispoof", hooks[i], antispoof);
		judge_apply(fragments_policy);
		ROWS_RUN("fragments", hooks[i], fragments);
	}
	test_fragments_after_apply();
	test_malformed_after_denial();
	return judge_end();
}
