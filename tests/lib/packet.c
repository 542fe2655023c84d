// SPDX-License-Identifier: Apache-2.0
/*
 * Builds frames for tests, benches and scripts. Headers are appended front to back with what is known; lengths and
 * checksums are filled in back to front once everything stands. Nothing of user/ or bpf/ is used: a bug there shall not
 * hide here.
 */
#include <arpa/inet.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"

static void *append(struct frame *f, size_t n)
{
	void *at = f->byte + f->length;

	if (f->length + n > PACKET_MAX) {
		fprintf(stderr, "packet: %zu bytes do not fit into %d\n", f->length + n, PACKET_MAX);
		abort();
	}
	memset(at, 0, n);
	f->length += n;
	return at;
}

static int is_ipv6(const struct packet *p)
{
	return p->from && strchr(p->from, ':');
}

static void address_parse(int family, const char *literal, void *ret)
{
	if (!literal || inet_pton(family, literal, ret) != 1) {
		fprintf(stderr, "packet: '%s' is no address of that family\n", literal ? literal : "(null)");
		abort();
	}
}

void packet_address(const char *literal, uint8_t ret_addr[16])
{
	if (strchr(literal, ':')) {
		address_parse(AF_INET6, literal, ret_addr);
		return;
	}
	memset(ret_addr, 0, 10);
	ret_addr[10] = ret_addr[11] = 0xff;
	address_parse(AF_INET, literal, ret_addr + 12);
}

static uint8_t protocol_of(const struct packet *p)
{
	if (p->protocol)
		return p->protocol;
	if (p->tcp)
		return IPPROTO_TCP;
	if (p->icmp)
		return is_ipv6(p) ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	return IPPROTO_UDP;
}

/* ---- checksums (RFC 1071) ---- */

static uint32_t sum_add(uint32_t sum, const uint8_t *at, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	if (n & 1)
		sum += (uint32_t)at[n - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint16_t sum_end(uint32_t sum)
{
	return htons((uint16_t)~sum);
}

void frame_checksum_ip(struct frame *f)
{
	struct iphdr *ip = (struct iphdr *)(f->byte + f->l3);

	ip->check = 0;
	ip->check = sum_end(sum_add(0, (uint8_t *)ip, ip->ihl * 4u));
}

static uint32_t pseudo_sum(const struct frame *f, int v6, uint8_t protocol, size_t length)
{
	const uint8_t *ip = f->byte + f->l3;
	uint32_t sum = v6 ? sum_add(0, ip + 8, 32) : sum_add(0, ip + 12, 8);

	sum += protocol + (uint32_t)(length >> 16) + (uint32_t)(length & 0xffff);
	return sum_add(sum, NULL, 0);
}

/* ---- link ---- */

static void tag_append(struct frame *f, uint16_t ethertype, uint16_t id)
{
	uint16_t *tag = append(f, 4);

	tag[-1] = htons(ethertype);
	tag[0] = htons(id & 0xfff);
}

static void ethernet_append(struct frame *f, const struct packet *p)
{
	static const uint8_t to[6] = {2, 0, 0, 0, 0, 2}, from[6] = {2, 0, 0, 0, 0, 1}, none[6];
	struct ethhdr *eth = append(f, sizeof(*eth));

	memcpy(eth->h_dest, memcmp(p->mac_to, none, 6) ? p->mac_to : to, 6);
	memcpy(eth->h_source, from, 6);
	if (p->vlan_outer)
		tag_append(f, ETH_P_8021AD, p->vlan_outer);
	if (p->vlan)
		tag_append(f, ETH_P_8021Q, p->vlan);
	*(uint16_t *)(f->byte + f->length - 2) = htons(!p->from ? p->ethertype : is_ipv6(p) ? ETH_P_IPV6 : ETH_P_IP);
}

/* ---- network ---- */

static void ipv4_append(struct frame *f, const struct packet *p)
{
	struct iphdr *ip;

	f->l3 = f->length;
	ip = append(f, sizeof(*ip) + p->options);
	memset(ip + 1, 1, p->options); /* no-operation */
	ip->version = 4;
	ip->ihl = (uint8_t)(5 + p->options / 4) & 15;
	ip->ttl = 64;
	ip->id = htons((uint16_t)p->fragment_id);
	ip->frag_off = htons((uint16_t)(p->fragment_offset / 8 | (p->more_fragments ? 0x2000 : 0)));
	ip->protocol = protocol_of(p);
	address_parse(AF_INET, p->from, &ip->saddr);
	address_parse(AF_INET, p->to, &ip->daddr);
}

static void extension_append(struct frame *f, const struct packet *p, uint8_t number, uint8_t next)
{
	uint8_t *extension = append(f, 8);
	uint16_t fragment;
	uint32_t id = htonl(p->fragment_id);

	extension[0] = next;
	if (number == IPPROTO_FRAGMENT) {
		fragment = htons((uint16_t)((p->fragment_offset & ~7) | (p->more_fragments ? 1 : 0)));
		memcpy(extension + 2, &fragment, 2);
		memcpy(extension + 4, &id, 4);
	} else {
		extension[2] = 1; /* PadN over the rest */
		extension[3] = 4;
	}
}

static void ipv6_append(struct frame *f, const struct packet *p)
{
	size_t n = p->n_extensions, i;
	uint8_t chain[14];
	struct ipv6hdr *ip;

	memcpy(chain, p->extension, n);
	if (p->fragment_offset || p->more_fragments)
		chain[n++] = IPPROTO_FRAGMENT;
	chain[n] = protocol_of(p);
	f->l3 = f->length;
	ip = append(f, sizeof(*ip));
	ip->version = 6;
	ip->hop_limit = 64;
	ip->nexthdr = chain[0];
	address_parse(AF_INET6, p->from, &ip->saddr);
	address_parse(AF_INET6, p->to, &ip->daddr);
	for (i = 0; i < n; i++)
		extension_append(f, p, chain[i], chain[i + 1]);
}

static void lengths_set(struct frame *f, int v6)
{
	if (v6) {
		struct ipv6hdr *ip = (struct ipv6hdr *)(f->byte + f->l3);
		size_t length = f->length - f->l3 - sizeof(*ip);

		ip->payload_len = htons((uint16_t)(length > 65535 ? 0 : length));
	} else {
		struct iphdr *ip = (struct iphdr *)(f->byte + f->l3);
		size_t length = f->length - f->l3;

		ip->tot_len = htons((uint16_t)(length > 65535 ? 0 : length));
		frame_checksum_ip(f);
	}
}

/* ---- transport ---- */

static void tcp_append(struct frame *f, const struct packet *p)
{
	struct tcphdr *tcp = append(f, sizeof(*tcp));

	tcp->source = htons(p->sport ? p->sport : 40000);
	tcp->dest = htons(p->dport);
	tcp->seq = htonl(1);
	tcp->doff = 5;
	tcp->window = htons(65535);
	((uint8_t *)tcp)[13] = (uint8_t)p->tcp;
	append(f, p->payload);
}

static void udp_append(struct frame *f, const struct packet *p)
{
	struct udphdr *udp = append(f, sizeof(*udp));
	size_t length = sizeof(*udp) + p->payload;

	udp->source = htons(p->sport ? p->sport : 40000);
	udp->dest = htons(p->dport);
	udp->len = htons((uint16_t)(length > 65535 ? 0 : length));
	append(f, p->payload);
}

/* Behind an error comes the quoted packet's IP header and the start of its transport. */
static void quote_append(struct frame *f, const struct packet *p)
{
	struct frame *quoted = malloc(sizeof(*quoted));
	size_t length;

	if (!quoted)
		abort();
	packet_build(quoted, p->quote);
	length = quoted->l4 - quoted->l3 + (p->quote_bytes ? p->quote_bytes : 8);
	memcpy(append(f, length), quoted->byte + quoted->l3, length);
	free(quoted);
}

static void icmp_append(struct frame *f, const struct packet *p)
{
	struct icmphdr *icmp = append(f, sizeof(*icmp));

	icmp->type = (uint8_t)(p->icmp >> 8);
	icmp->code = (uint8_t)p->icmp;
	icmp->un.echo.id = htons(p->icmp_id);
	if (p->quote)
		quote_append(f, p);
	append(f, p->payload);
}

/* Of SCTP the payload is its header, too. */
static void bare_append(struct frame *f, const struct packet *p)
{
	uint16_t *ports = append(f, p->payload);

	if (protocol_of(p) != IPPROTO_SCTP || p->payload < 12)
		return;
	ports[0] = htons(p->sport ? p->sport : 40000);
	ports[1] = htons(p->dport);
}

static void transport_append(struct frame *f, const struct packet *p)
{
	uint8_t protocol = protocol_of(p);

	f->l4 = f->length;
	if (p->fragment_offset)
		append(f, p->payload);
	else if (protocol == IPPROTO_TCP)
		tcp_append(f, p);
	else if (protocol == IPPROTO_UDP)
		udp_append(f, p);
	else if (p->icmp)
		icmp_append(f, p);
	else
		bare_append(f, p);
}

static void checksum_transport(struct frame *f, const struct packet *p)
{
	size_t length = f->length - f->l4;
	uint8_t protocol = protocol_of(p), *l4 = f->byte + f->l4;
	int v6 = is_ipv6(p);
	uint32_t sum = v6 || protocol != IPPROTO_ICMP ? pseudo_sum(f, v6, protocol, length) : 0;
	uint16_t *check = NULL;

	if (p->fragment_offset || p->cut_transport)
		return;
	if (protocol == IPPROTO_TCP)
		check = &((struct tcphdr *)l4)->check;
	else if (protocol == IPPROTO_UDP)
		check = &((struct udphdr *)l4)->check;
	else if (p->icmp)
		check = &((struct icmphdr *)l4)->checksum;
	if (!check)
		return;
	*check = 0;
	*check = sum_end(sum_add(sum, l4, length));
}

void packet_build(struct frame *ret_frame, const struct packet *p)
{
	struct frame *f = ret_frame;

	f->length = f->l3 = f->l4 = 0;
	ethernet_append(f, p);
	if (!p->from) {
		append(f, p->payload ? p->payload : 46);
	} else {
		if (is_ipv6(p))
			ipv6_append(f, p);
		else
			ipv4_append(f, p);
		transport_append(f, p);
		if (p->cut_transport)
			f->length = f->l4 + p->cut_transport - 1;
		lengths_set(f, is_ipv6(p));
		checksum_transport(f, p);
	}
	append(f, p->pad);
	if (p->mutate)
		p->mutate(f);
}

const char *frame_checksums(const uint8_t *frame, size_t length)
{
	const uint8_t *ip = frame + 14, *l4;
	bool v6 = frame[12] == 0x86;
	size_t header = v6 ? 40 : (ip[0] & 15) * 4u, left;
	uint8_t protocol = v6 ? ip[6] : ip[9];
	uint32_t sum = 0;

	if (length < 14 + header)
		return "frame too short";
	left = v6 ? (size_t)ip[4] << 8 | ip[5] : ((size_t)ip[2] << 8 | ip[3]) - header;
	if (14 + header + left > length)
		return "IP length past the end";
	if (!v6 && sum_add(0, ip, header) != 0xffff)
		return "IPv4 header checksum";
	l4 = ip + header;
	if (protocol != IPPROTO_ICMP) /* the pseudo header: addresses, length, protocol */
		sum = sum_add((uint32_t)left + protocol, v6 ? ip + 8 : ip + 12, v6 ? 32 : 8);
	return sum_add(sum, l4, left) == 0xffff ? NULL : "transport checksum";
}
