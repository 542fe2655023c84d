// SPDX-License-Identifier: Apache-2.0
/*
 * Sends frames that no socket would send: tagged, torn, lying about their length. The end-to-end tests put them on a
 * real wire and look which reason the dataplane counts.
 *
 *   frames list                                        name and expected reason of every frame, one a line
 *   frames send DEVICE DEST-MAC COUNT NAME [PORT]      from 10.10.1.10 / fd00:10:1::10 to 10.20.0.5 / fd00:20::5
 *   frames raw DEVICE HEX                              these bytes, from the destination address on
 *
 * A frame starts as a sound TCP SYN (v4 or v6) and a function spoils one thing of it; checksums are then made right again unless
 * they are what was spoilt.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define FRAME_MAX    512
#define SEND_SECONDS 10
#define SOURCE4	     "10.10.1.10"
#define DEST4	     "10.20.0.5"
#define SOURCE6	     "fd00:10:1::10"
#define DEST6	     "fd00:20::5"

struct frame {
	uint8_t bytes[FRAME_MAX];
	size_t length;
	size_t l3, l4; /* offsets */
	bool keep_checksums;
};

static struct iphdr *frame_ip(struct frame *f)
{
	return (void *)(f->bytes + f->l3);
}

static struct ip6_hdr *frame_ip6(struct frame *f)
{
	return (void *)(f->bytes + f->l3);
}

static struct tcphdr *frame_tcp(struct frame *f)
{
	return (void *)(f->bytes + f->l4);
}

static bool frame_is_v4(struct frame *f)
{
	return frame_ip(f)->version == 4;
}

/* Makes room for `count` zeroed bytes at `at`. */
static void *frame_insert(struct frame *f, size_t at, size_t count)
{
	memmove(f->bytes + at + count, f->bytes + at, f->length - at);
	memset(f->bytes + at, 0, count);
	f->length += count;
	return f->bytes + at;
}

/* ------------------------------------------------------------------ the sound frame */

static void tcp_fill(struct tcphdr *tcp, uint16_t port)
{
	*tcp = (struct tcphdr){.doff = 5, .syn = 1};
	tcp->source = htons(40000);
	tcp->dest = htons(port);
	tcp->seq = htonl(1);
	tcp->window = htons(1024);
}

static void frame_syn4(struct frame *f, uint16_t port)
{
	struct iphdr *ip = (void *)(f->bytes + ETH_HLEN);

	*f = (struct frame){.l3 = ETH_HLEN, .l4 = ETH_HLEN + sizeof(*ip)};
	((struct ether_header *)f->bytes)->ether_type = htons(ETHERTYPE_IP);
	f->length = f->l4 + sizeof(struct tcphdr);
	*ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP};
	ip->tot_len = htons(f->length - f->l3);
	inet_pton(AF_INET, SOURCE4, &ip->saddr);
	inet_pton(AF_INET, DEST4, &ip->daddr);
	tcp_fill(frame_tcp(f), port);
}

static void frame_syn6(struct frame *f, uint16_t port)
{
	struct ip6_hdr *ip = (void *)(f->bytes + ETH_HLEN);

	*f = (struct frame){.l3 = ETH_HLEN, .l4 = ETH_HLEN + sizeof(*ip)};
	((struct ether_header *)f->bytes)->ether_type = htons(ETHERTYPE_IPV6);
	f->length = f->l4 + sizeof(struct tcphdr);
	ip->ip6_flow = htonl(6u << 28);
	ip->ip6_plen = htons(sizeof(struct tcphdr));
	ip->ip6_nxt = IPPROTO_TCP;
	ip->ip6_hops = 64;
	inet_pton(AF_INET6, SOURCE6, &ip->ip6_src);
	inet_pton(AF_INET6, DEST6, &ip->ip6_dst);
	tcp_fill(frame_tcp(f), port);
}

/* ------------------------------------------------------------------ what spoils it */

/* 802.1Q or 802.1ad tag before the ethertype. */
static void tag(struct frame *f, uint16_t ethertype, uint16_t id)
{
	uint16_t *word = frame_insert(f, 2 * ETH_ALEN, 4);

	word[0] = htons(ethertype);
	word[1] = htons(id);
	f->l3 += 4;
	f->l4 += 4;
}

static void spoil_vlan(struct frame *f) { tag(f, ETHERTYPE_VLAN, 100); }
static void spoil_qinq(struct frame *f) { tag(f, ETHERTYPE_VLAN, 100); tag(f, 0x88a8, 200); }
static void spoil_ihl(struct frame *f) { frame_ip(f)->ihl = 4; }
static void spoil_version(struct frame *f) { frame_ip(f)->version = 5; }
static void spoil_length(struct frame *f) { frame_ip(f)->tot_len = htons(1000); }
static void spoil_checksum(struct frame *f) { frame_ip(f)->check = htons(0xbad); f->keep_checksums = true; }
static void spoil_multicast(struct frame *f) { inet_pton(AF_INET, "224.0.0.1", &frame_ip(f)->saddr); }
static void spoil_synfin(struct frame *f) { frame_tcp(f)->fin = 1; }
static void spoil_noflags(struct frame *f) { frame_tcp(f)->syn = 0; }
static void spoil_offset(struct frame *f) { frame_tcp(f)->doff = 4; }
static void spoil_stray(struct frame *f) { frame_tcp(f)->syn = 0; frame_tcp(f)->ack = 1; }
static void spoil_source(struct frame *f) { inet_pton(AF_INET, "10.20.0.99", &frame_ip(f)->saddr); }

static void spoil_short(struct frame *f)
{
	f->length = f->l4 + 8;
	frame_ip(f)->tot_len = htons(f->length - f->l3);
}

static void spoil_tiny(struct frame *f)
{
	spoil_short(f);
	frame_ip(f)->frag_off = htons(IP_MF);
}

static void spoil_later(struct frame *f)
{
	frame_ip(f)->frag_off = htons(100);
	frame_ip(f)->id = htons(4711);
}

static void spoil_udp(struct frame *f)
{
	struct udphdr *udp = (void *)frame_tcp(f);

	frame_ip(f)->protocol = IPPROTO_UDP;
	memset(udp, 0, sizeof(*udp));
	udp->dest = htons(53);
	udp->len = htons(1000);
}

/* "Port unreachable", quoting a datagram that was never sent. */
static void spoil_icmp(struct frame *f)
{
	struct icmphdr *icmp = frame_insert(f, f->l4, sizeof(*icmp) + sizeof(struct iphdr));
	struct iphdr *quoted = (void *)(icmp + 1);

	*quoted = *frame_ip(f);
	quoted->saddr = frame_ip(f)->daddr;
	quoted->daddr = frame_ip(f)->saddr;
	quoted->tot_len = htons(sizeof(*quoted) + sizeof(struct tcphdr));
	icmp->type = ICMP_DEST_UNREACH;
	icmp->code = ICMP_PORT_UNREACH;
	frame_ip(f)->protocol = IPPROTO_ICMP;
	frame_ip(f)->tot_len = htons(f->length - f->l3);
}

/* `count` destination-option headers before TCP; of protocol number `kind`. */
static void extend(struct frame *f, int count, uint8_t kind)
{
	uint8_t *option;

	while (count--) {
		option = frame_insert(f, f->l3 + sizeof(struct ip6_hdr), 8);
		option[0] = frame_ip6(f)->ip6_nxt;
		option[2] = 1; /* PadN, 4 bytes: fills the header */
		option[3] = 4;
		frame_ip6(f)->ip6_nxt = kind;
		f->l4 += 8;
	}
	frame_ip6(f)->ip6_plen = htons(f->length - f->l3 - sizeof(struct ip6_hdr));
}

static void spoil_extensions(struct frame *f) { extend(f, 9, IPPROTO_DSTOPTS); }
static void spoil_extension(struct frame *f) { extend(f, 1, 254); }
static void spoil_source6(struct frame *f) { inet_pton(AF_INET6, "fd00:66::1", &frame_ip6(f)->ip6_src); }
static void spoil_multicast6(struct frame *f) { inet_pton(AF_INET6, "ff02::1", &frame_ip6(f)->ip6_src); }
static void spoil_land(struct frame *f) { frame_ip(f)->saddr = frame_ip(f)->daddr; }
static void spoil_land6(struct frame *f) { frame_ip6(f)->ip6_src = frame_ip6(f)->ip6_dst; }
static void spoil_mapped6(struct frame *f) { inet_pton(AF_INET6, "::ffff:10.66.0.1", &frame_ip6(f)->ip6_src); }
static void spoil_port(struct frame *f) { frame_tcp(f)->dest = 0; }
static void spoil_length6(struct frame *f) { frame_ip6(f)->ip6_plen = htons(1000); }

static const struct {
	const char *name;
	const char *reason; /* name in reasons.def of what the policy language promises for it */
	void (*base)(struct frame *f, uint16_t port);
	void (*spoil)(struct frame *f);
} frames[] = {
	{"vlan-tag-unlisted", "unknown-tenant", frame_syn4, spoil_vlan},
	{"vlan-qinq-unlisted", "unknown-tenant", frame_syn4, spoil_qinq},
	{"vlan-tag-unlisted-v6", "unknown-tenant", frame_syn6, spoil_vlan},
	{"ip-header-length-4", "ip-ihl", frame_syn4, spoil_ihl},
	{"ip-version-5", "ip-version", frame_syn4, spoil_version},
	{"ip-length-past-end", "ip-length", frame_syn4, spoil_length},
	{"ip-checksum-wrong", "ip-checksum", frame_syn4, spoil_checksum},
	{"ip-source-multicast", "ip-source", frame_syn4, spoil_multicast},
	{"tcp-syn-and-fin", "tcp-flags", frame_syn4, spoil_synfin},
	{"tcp-no-flags", "tcp-flags", frame_syn4, spoil_noflags},
	{"tcp-offset-4", "tcp-offset", frame_syn4, spoil_offset},
	{"tcp-header-short", "header-short", frame_syn4, spoil_short},
	{"tcp-ack-without-flow", "tcp-no-flow", frame_syn4, spoil_stray},
	{"udp-length-past-end", "udp-length", frame_syn4, spoil_udp},
	{"fragment-first-tiny", "fragment-tiny", frame_syn4, spoil_tiny},
	{"fragment-later-unknown", "fragment-unknown", frame_syn4, spoil_later},
	{"icmp-error-unrelated", "icmp-unrelated", frame_syn4, spoil_icmp},
	{"source-forged", "antispoof", frame_syn4, spoil_source},
	{"source-forged-v6", "antispoof", frame_syn6, spoil_source6},
	{"ip6-source-multicast", "ip-source", frame_syn6, spoil_multicast6},
	{"ip6-length-past-end", "ip-length", frame_syn6, spoil_length6},
	{"ip6-nine-extensions", "ip6-extension", frame_syn6, spoil_extensions},
	{"ip6-extension-unknown", "ip6-extension", frame_syn6, spoil_extension},
	{"source-is-destination", "land", frame_syn4, spoil_land},
	{"source-is-destination-v6", "land", frame_syn6, spoil_land6},
	{"ip6-source-mapped", "ip6-mapped", frame_syn6, spoil_mapped6},
	{"tcp-port-0", "port-zero", frame_syn4, spoil_port},
	{"tcp-port-0-v6", "port-zero", frame_syn6, spoil_port},
	{"tcp-syn-and-fin-v6", "tcp-flags", frame_syn6, spoil_synfin},
	{"tcp-ack-without-flow-v6", "tcp-no-flow", frame_syn6, spoil_stray},
};

/* ------------------------------------------------------------------------ checksums */

static uint32_t sum_add(uint32_t sum, const void *data, size_t length)
{
	const uint8_t *p = data;
	size_t i;

	for (i = 0; i < length; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void frame_checksum(struct frame *f)
{
	struct iphdr *ip = frame_ip(f);
	size_t l4_length = f->length - f->l4;
	uint32_t sum;

	if (f->keep_checksums)
		return;
	if (frame_is_v4(f) || ip->version == 5)
		ip->check = sum_fold(sum_add(0, ip, sizeof(*ip)));
	if (frame_is_v4(f) && ip->protocol == IPPROTO_ICMP) {
		struct icmphdr *icmp = (void *)(f->bytes + f->l4);

		icmp->checksum = sum_fold(sum_add(0, icmp, l4_length));
	} else if (l4_length >= sizeof(struct tcphdr) && !(frame_is_v4(f) && ip->protocol == IPPROTO_UDP)) {
		sum = frame_is_v4(f) ? sum_add(0, &ip->saddr, 8) : sum_add(0, &frame_ip6(f)->ip6_src, 32);
		frame_tcp(f)->check = sum_fold(sum_add(sum + IPPROTO_TCP + l4_length, frame_tcp(f), l4_length));
	}
}

/* ------------------------------------------------------------------------------ main */

/*
 * A full queue of the device loses the frame (ENOBUFS; a veth's is emptied by a CPU that may have other things to do),
 * and nothing tells when it has room: the frame is sent again for as long as SEND_SECONDS.
 */
static int frame_send_once(int fd, const struct frame *f, const struct sockaddr_ll *to)
{
	uint64_t deadline = 0;

	while (sendto(fd, f->bytes, f->length, 0, (const struct sockaddr *)to, sizeof(*to)) < 0) {
		if (errno != ENOBUFS || (deadline && time_now_ns() > deadline))
			return -errno;
		if (!deadline)
			deadline = time_now_ns() + SEND_SECONDS * NSEC_PER_SEC;
		sched_yield();
	}
	return 0;
}

static int frame_send(const char *device, const char *mac, unsigned int count, const struct frame *f)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = ETH_ALEN, .sll_ifindex = if_nametoindex(device)};
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct frame copy = *f;
	int r;

	if (fd < 0 || !to.sll_ifindex || !ether_aton_r(mac, (struct ether_addr *)copy.bytes)) {
		fprintf(stderr, "frames: %s, %s: %s\n", device, mac, strerror(errno));
		return 1;
	}
	copy.bytes[ETH_ALEN] = 2; /* some locally administered sender */
	while (count--) {
		r = frame_send_once(fd, &copy, &to);
		if (r) {
			fprintf(stderr, "frames: send on %s: %s\n", device, strerror(-r));
			return 1;
		}
	}
	return 0;
}

static int frame_from_hex(const char *hex, struct frame *f)
{
	size_t i;

	f->length = strlen(hex) / 2;
	for (i = 0; i < f->length && i < sizeof(f->bytes); i++)
		if (sscanf(hex + 2 * i, "%2hhx", &f->bytes[i]) != 1)
			return -1;
	return strlen(hex) % 2 || f->length < ETH_HLEN || f->length > sizeof(f->bytes) ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct frame f;
	size_t i;

	if (argc == 4 && !strcmp(argv[1], "raw")) {
		char mac[18];

		if (frame_from_hex(argv[3], &f)) {
			fprintf(stderr, "frames: %s: no frame in hex\n", argv[3]);
			return 2;
		}
		return frame_send(argv[2], ether_ntoa_r((struct ether_addr *)f.bytes, mac), 1, &f);
	}

	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (i = 0; i < ARRAY_SIZE(frames); i++)
			printf("%s %s\n", frames[i].name, frames[i].reason);
		return 0;
	}
	for (i = 0; argc >= 6 && !strcmp(argv[1], "send") && i < ARRAY_SIZE(frames); i++) {
		if (strcmp(argv[5], frames[i].name))
			continue;
		frames[i].base(&f, argc > 6 ? atoi(argv[6]) : 4420);
		frames[i].spoil(&f);
		frame_checksum(&f);
		return frame_send(argv[2], argv[3], atoi(argv[4]), &f);
	}
	fprintf(stderr, "usage: frames list | frames send DEVICE DEST-MAC COUNT NAME [PORT] | frames raw DEVICE HEX\n");
	return 2;
}
