// SPDX-License-Identifier: Apache-2.0
/*
 * The strict reader; see frame_model.h. Called by the flow model and the tests that hold the kernel programs against it.
 * Nothing here is read past its end: every header is taken from a span of bytes that knows how many are left.
 */
#include "frame_model.h"

#include <string.h>

enum { ICMP4 = 1, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44, AUTH = 51, ICMP6 = 58, NONE = 59, SCTP = 132 };

struct span {
	const uint8_t *at;
	size_t left;
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* The next `n` bytes, or NULL. */
static const uint8_t *take(struct span *s, size_t n)
{
	const uint8_t *p = s->at;

	if (s->left < n)
		return NULL;
	s->at += n;
	s->left -= n;
	return p;
}

static void skip(struct span *s, size_t n)
{
	n = n < s->left ? n : s->left;
	s->at += n;
	s->left -= n;
}

/* ---------------------------------------------------------------------- transport */

/* A first fragment that ends in its transport header is an attack, any other packet is cut short. */
static int too_short(const struct model_packet *p)
{
	return p->fragment == MODEL_FIRST ? SLUICE_R_FRAGMENT_TINY : SLUICE_R_SHORT;
}

/* RFC 9293, 3.1. */
static int read_tcp(struct span s, struct model_packet *p)
{
	size_t all = s.left, header;
	const uint8_t *h = take(&s, 20);

	if (!h)
		return too_short(p);
	header = (h[12] >> 4) * 4u;
	if (header < 20)
		return SLUICE_R_TCP_OFFSET;
	if (header > all)
		return p->fragment == MODEL_FIRST ? SLUICE_R_FRAGMENT_TINY : SLUICE_R_TCP_OFFSET;
	p->tcp = h[13] & 0x3f;
	if (!p->tcp || ((p->tcp & 0x02) && (p->tcp & 0x05))) /* nothing; SYN with FIN or RST */
		return SLUICE_R_TCP_FLAGS;
	p->way.source_port = get16(h);
	p->way.dest_port = get16(h + 2);
	p->seq = get32(h + 4);
	p->ack = get32(h + 8);
	return p->way.source_port && p->way.dest_port ? MODEL_SOUND : SLUICE_R_PORT_ZERO;
}

/* RFC 768. */
static int read_udp(struct span s, struct model_packet *p)
{
	size_t all = s.left;
	const uint8_t *h = take(&s, 8);

	if (!h)
		return too_short(p);
	if (p->fragment == MODEL_FIRST ? get16(h + 4) < 8 : get16(h + 4) != all)
		return SLUICE_R_UDP_LENGTH;
	p->way.source_port = get16(h);
	p->way.dest_port = get16(h + 2);
	p->data = s.at;
	p->data_length = s.left;
	return p->way.dest_port ? MODEL_SOUND : SLUICE_R_PORT_ZERO;
}

/* RFC 9260, 3.1. */
static int read_sctp(struct span s, struct model_packet *p)
{
	const uint8_t *h = take(&s, 12);

	if (!h)
		return too_short(p);
	p->way.source_port = get16(h);
	p->way.dest_port = get16(h + 2);
	return p->way.source_port && p->way.dest_port ? MODEL_SOUND : SLUICE_R_PORT_ZERO;
}

static void read_echo(uint8_t version, const uint8_t *h, struct model_way *way)
{
	way->asks = h[0] == (version == 4 ? 8 : 128);
	way->answers = h[0] == (version == 4 ? 0 : 129);
	if (way->asks || way->answers)
		way->echo = get16(h + 4);
}

static bool has_ports(uint8_t protocol)
{
	return protocol == TCP || protocol == UDP || protocol == SCTP;
}

static bool is_extension(uint8_t next)
{
	return next == 0 || next == ROUTING || next == FRAGMENT || next == AUTH || next == 60;
}

static size_t extension_size(uint8_t kind, const uint8_t *h)
{
	if (kind == FRAGMENT)
		return 8;
	return kind == AUTH ? (h[1] + 2u) * 4 : (h[1] + 1u) * 8;
}

/* The quoted IPv6 header and what is chained to it. */
static bool quote_headers6(struct span *s, struct model_way *way)
{
	const uint8_t *h = take(s, 40);
	int n;

	if (!h || h[0] >> 4 != 6)
		return false;
	memcpy(way->source, h + 8, 16);
	memcpy(way->dest, h + 24, 16);
	way->protocol = h[6];
	for (n = 0; n < 8 && is_extension(way->protocol); n++) {
		h = s->left < 8 ? NULL : s->at;
		if (!h || (way->protocol == FRAGMENT && get16(h + 2) & 0xfff8))
			return false;
		skip(s, extension_size(way->protocol, h)); /* a quotation may end anywhere */
		way->protocol = h[0];
	}
	return !is_extension(way->protocol);
}

static bool quote_headers4(struct span *s, struct model_way *way)
{
	const uint8_t *h = take(s, 20);

	if (!h || h[0] >> 4 != 4 || (h[0] & 15) < 5 || get16(h + 6) & 0x1fff)
		return false;
	memcpy(way->source, h + 12, 4);
	memcpy(way->dest, h + 16, 4);
	way->protocol = h[9];
	skip(s, (h[0] & 15) * 4u - 20);
	return true;
}

/* RFC 792, RFC 4443, 2.4: an error quotes the packet it is about, and goes to who has sent that. */
static bool read_quote(struct span s, const struct model_packet *p, struct model_way *ret)
{
	uint8_t icmp = p->way.version == 4 ? ICMP4 : ICMP6;

	*ret = (struct model_way){.version = p->way.version};
	if (!(ret->version == 4 ? quote_headers4(&s, ret) : quote_headers6(&s, ret)))
		return false;
	if (memcmp(ret->source, p->way.dest, 16))
		return false;
	if (!has_ports(ret->protocol) && ret->protocol != ICMP4 && ret->protocol != ICMP6)
		return true;
	if (s.left < 8)
		return false;
	if (has_ports(ret->protocol)) {
		ret->source_port = get16(s.at);
		ret->dest_port = get16(s.at + 2);
		return true;
	}
	if (ret->protocol == icmp)
		read_echo(ret->version, s.at, ret);
	return ret->asks || ret->answers;
}

static int read_icmp(struct span s, struct model_packet *p)
{
	const uint8_t *h = take(&s, 8);

	if (!h)
		return too_short(p);
	p->icmp = true;
	p->type = h[0];
	p->code = h[1];
	read_echo(p->way.version, h, &p->way);
	p->error = p->way.version == 4 ? p->type == 3 || p->type == 11 || p->type == 12 : p->type >= 1 && p->type <= 4;
	p->quotes = p->error && read_quote(s, p, &p->quote);
	return MODEL_SOUND;
}

static int read_transport(struct span s, struct model_packet *p)
{
	if (p->fragment == MODEL_LATER)
		return MODEL_SOUND;
	if (p->way.protocol == TCP)
		return read_tcp(s, p);
	if (p->way.protocol == UDP)
		return read_udp(s, p);
	if (p->way.protocol == SCTP)
		return read_sctp(s, p);
	if (p->way.protocol == (p->way.version == 4 ? ICMP4 : ICMP6))
		return read_icmp(s, p);
	return MODEL_SOUND;
}

/* ------------------------------------------------------------------------- network */

/* RFC 1858, RFC 3128; no datagram is longer than 65535 bytes. */
static int check_later(const struct model_packet *p)
{
	size_t header = p->fragment_protocol == TCP ? 20 : p->fragment_protocol == SCTP ? 12 : 0;

	if (p->before < header)
		return SLUICE_R_FRAGMENT_TINY;
	return p->before + p->span > 65535 ? SLUICE_R_FRAGMENT_OVERLAP : MODEL_SOUND;
}

static uint16_t ones_sum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < n; i += 2)
		sum += get16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* RFC 791, 3.1. A list that is sound, and no source route in it. */
static int check_options(struct span s)
{
	const uint8_t *option;

	while ((option = take(&s, 1)) && *option) {
		if (*option == 131 || *option == 137)
			return SLUICE_R_SOURCE_ROUTE;
		if (*option == 1)
			continue;
		if (!s.left || *s.at < 2 || *s.at - 1u > s.left)
			return SLUICE_R_IP_OPTIONS;
		take(&s, *s.at - 1u);
	}
	return MODEL_SOUND;
}

static void fragment_set4(struct model_packet *p, const uint8_t *h, size_t span)
{
	uint16_t word = get16(h + 6);

	p->fragment = word & 0x1fff ? MODEL_LATER : word & 0x2000 ? MODEL_FIRST : MODEL_WHOLE;
	p->fragment_id = get16(h + 4);
	p->fragment_protocol = h[9];
	p->before = (word & 0x1fff) * 8u;
	p->span = (uint32_t)span;
}

static int read_ipv4(struct span s, struct model_packet *p)
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};
	size_t room = s.left, header, total;
	const uint8_t *h = take(&s, 20);
	int reason = MODEL_SOUND;

	if (!h)
		return SLUICE_R_SHORT;
	if (h[0] >> 4 != 4)
		return SLUICE_R_IP_VERSION;
	header = (h[0] & 15) * 4u;
	total = get16(h + 2);
	if (header < 20)
		return SLUICE_R_IP_IHL;
	if (header > room)
		return SLUICE_R_SHORT;
	if (total < header || total > room)
		return SLUICE_R_IP_LENGTH;
	if (ones_sum(h, header) != 0xffff)
		return SLUICE_R_IP_CHECKSUM;
	p->way.version = 4;
	memcpy(p->way.source, h + 12, 4);
	memcpy(p->way.dest, h + 16, 4);
	p->way.protocol = h[9];
	fragment_set4(p, h, total - header);
	if (h[12] >> 4 == 14 || !memcmp(h + 12, broadcast, 4))
		return SLUICE_R_IP_SOURCE;
	if (!memcmp(h + 12, h + 16, 4) && h[12] != 127)
		return SLUICE_R_LAND;
	if (p->fragment == MODEL_LATER)
		reason = check_later(p);
	if (reason == MODEL_SOUND)
		reason = check_options((struct span){h + 20, header - 20});
	return reason == MODEL_SOUND ? read_transport((struct span){h + header, total - header}, p) : reason;
}

/* RFC 8200, 4. Mobility, HIP, shim6 and experiments are not walked. */
static bool is_unknown(uint8_t next)
{
	return next == 135 || next == 139 || next == 140 || next == 253 || next == 254;
}

static void fragment_set6(struct model_packet *p, const uint8_t *h, size_t span)
{
	uint16_t word = get16(h + 2);

	p->fragment = word & 0xfff8 ? MODEL_LATER : word & 1 ? MODEL_FIRST : MODEL_WHOLE; /* RFC 6946: atomic is whole */
	p->fragment_id = get32(h + 4);
	p->fragment_protocol = h[0];
	p->before = word & 0xfff8;
	p->span = (uint32_t)span;
}

/* Moves to the transport header, or past the fragment header of a later fragment. */
static int walk_extensions(struct span *s, struct model_packet *p)
{
	bool fragmented = false;
	const uint8_t *h;
	uint8_t kind;
	int n;

	for (n = 0; is_extension(p->way.protocol); n++) {
		kind = p->way.protocol;
		if (n == 8)
			return SLUICE_R_IP6_EXTENSION;
		h = s->at;
		if (s->left < 8 || !take(s, extension_size(kind, h)))
			return SLUICE_R_SHORT;
		if ((kind == 0 && n) || (kind == FRAGMENT && fragmented))
			return SLUICE_R_IP6_EXTENSION;
		if (kind == ROUTING && h[2] == 0 && h[3]) /* RFC 5095 */
			return SLUICE_R_SOURCE_ROUTE;
		p->way.protocol = h[0];
		if (kind != FRAGMENT)
			continue;
		fragmented = true;
		fragment_set6(p, h, s->left);
		if (p->fragment == MODEL_LATER)
			return check_later(p);
	}
	return is_unknown(p->way.protocol) ? SLUICE_R_IP6_EXTENSION : MODEL_SOUND;
}

static bool is_mapped(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

static int read_ipv6(struct span s, struct model_packet *p)
{
	static const uint8_t loopback[16] = {[15] = 1};
	const uint8_t *h = take(&s, 40);
	size_t left;
	int reason;

	if (!h)
		return SLUICE_R_SHORT;
	if (h[0] >> 4 != 6)
		return SLUICE_R_IP_VERSION;
	left = get16(h + 4);
	if (left > s.left || (!left && h[6] != NONE))
		return SLUICE_R_IP_LENGTH;
	s.left = left;
	p->way.version = 6;
	memcpy(p->way.source, h + 8, 16);
	memcpy(p->way.dest, h + 24, 16);
	p->way.protocol = p->fragment_protocol = h[6];
	if (h[8] == 0xff)
		return SLUICE_R_IP_SOURCE;
	if (is_mapped(h + 8) || is_mapped(h + 24))
		return SLUICE_R_IP6_MAPPED;
	if (!memcmp(h + 8, h + 24, 16) && memcmp(h + 8, loopback, 16))
		return SLUICE_R_LAND;
	reason = walk_extensions(&s, p);
	return reason == MODEL_SOUND ? read_transport(s, p) : reason;
}

/* ---------------------------------------------------------------------------- link */

static int read_frame(const uint8_t *frame, size_t length, struct model_packet *p)
{
	static const uint8_t bridges[5] = {0x01, 0x80, 0xc2, 0, 0};
	struct span s = {frame, length};
	const uint8_t *h = take(&s, 14);
	int tags, reason = MODEL_SOUND;

	if (!h)
		return SLUICE_R_SHORT;
	p->link_local = !memcmp(h, bridges, sizeof(bridges)) && h[5] < 16;
	p->ethertype = get16(h + 12);
	for (tags = 0; tags < 2 && (p->ethertype == 0x8100 || p->ethertype == 0x88a8); tags++) {
		h = take(&s, 4);
		if (!h)
			return SLUICE_R_SHORT;
		if (!p->vlan)
			p->vlan = get16(h) & 0xfff;
		p->ethertype = get16(h + 2);
	}
	if (p->ethertype == 0x0800)
		reason = read_ipv4(s, p);
	else if (p->ethertype == 0x86dd)
		reason = read_ipv6(s, p);
	return reason;
}

void frame_model_read(const uint8_t *frame, size_t length, struct model_packet *ret)
{
	*ret = (struct model_packet){.length = length};
	ret->reason = read_frame(frame, length, ret);
}
