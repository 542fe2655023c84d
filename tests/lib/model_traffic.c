// SPDX-License-Identifier: Apache-2.0
/* Random frames; see model_traffic.h. Built by packet.h, and what that does not offer is written over. */
#include "model_traffic.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "frame_model.h"
#include "packet.h"
#include "reference.h"

#define one_in reference_one_in
#define below  reference_below

/* ---------------------------------------------------------------------------- hosts */

static const char *const hosts[2][6] = {
	{"10.1.0.1", "10.1.0.1", "10.1.0.2", "10.3.0.1", "10.2.0.9", "10.1.0.1"},
	{"fd01::1", "fd01::1", "fd01::2", "fd03::1", "fd02::9", "fd01::1"},
};
static const char *const servers[2][3] = {{"10.2.0.1", "10.2.0.1", "10.2.0.2"}, {"fd02::1", "fd02::1", "fd02::2"}};

/* ----------------------------------------------------------------------- one packet */

static uint16_t tcp_draw(uint64_t *state)
{
	static const uint16_t flags[] = {
		TCP_F_SYN, TCP_F_SYN, TCP_F_SYN, TCP_F_SYN | TCP_F_ACK, TCP_F_SYN | TCP_F_ACK,
		TCP_F_ACK, TCP_F_ACK, TCP_F_ACK, TCP_F_ACK | TCP_F_PSH, TCP_F_ACK | TCP_F_PSH | TCP_F_URG,
		TCP_F_FIN | TCP_F_ACK, TCP_F_FIN | TCP_F_ACK, TCP_F_RST, TCP_F_RST | TCP_F_ACK};
	static const uint16_t odd[] = {TCP_F_FIN, TCP_F_FIN | TCP_F_PSH | TCP_F_URG, TCP_F_NONE, TCP_F_SYN | TCP_F_RST,
				       TCP_F_SYN | TCP_F_FIN, TCP_F_PSH, TCP_F_FIN | TCP_F_RST | TCP_F_ACK,
				       TCP_F_SYN | TCP_F_URG, TCP_F_URG};

	return one_in(state, 20) ? odd[below(state, ARRAY_SIZE(odd))] : flags[below(state, ARRAY_SIZE(flags))];
}

static void icmp_draw(struct packet *p, bool v6, uint64_t *state)
{
	static const uint8_t types[2][8] = {{8, 8, 8, 0, 0, 13, 5, 3}, {128, 128, 128, 129, 129, 135, 137, 1}};

	p->icmp = ICMP(types[v6][below(state, 8)], one_in(state, 20) ? 1 : 0);
	p->icmp_id = (uint16_t)below(state, 3);
}

static void kind_draw(struct packet *p, bool v6, uint64_t *state)
{
	unsigned int kind = below(state, 20);

	p->sport = (uint16_t)(1000 + below(state, 2));
	p->dport = one_in(state, 8) ? 22 : (uint16_t)(80 + below(state, 2));
	p->payload = one_in(state, 2) ? 0 : below(state, 40);
	if (kind < 10)
		p->tcp = tcp_draw(state);
	else if (kind < 13)
		p->protocol = 17;
	else if (kind < 16)
		icmp_draw(p, v6, state);
	else if (kind < 18)
		p->protocol = 132;
	else
		p->protocol = 47;
	if (p->protocol == 132)
		p->payload = 12 + p->payload;
}

static void turn(struct packet *p)
{
	const char *from = p->from;
	uint16_t port = p->sport;

	p->from = p->to;
	p->to = from;
	p->sport = p->dport;
	p->dport = port;
}

/* Mostly between the same two hosts: later fragments shall find their first. */
static void pieces_draw(struct packet *p, uint64_t *state)
{
	static const uint16_t offsets[] = {8, 16, 24, 64, 72, 80, 96, 128, 1480, 65528 - 40};
	bool v6 = p->from && strchr(p->from, ':');

	if (p->from && !one_in(state, 4)) {
		p->from = hosts[v6][0];
		p->to = servers[v6][0];
	}
	p->fragment_id = 1 + below(state, 2);
	p->more_fragments = 1;
	if (one_in(state, 3)) {
		p->payload += 8;
		return;
	}
	p->fragment_offset = offsets[below(state, ARRAY_SIZE(offsets))];
	p->more_fragments = one_in(state, 2);
	p->payload = 8 + below(state, 40);
}

static void packet_draw(struct packet *p, uint64_t *state)
{
	bool v6 = one_in(state, 2);

	*p = (struct packet){.from = hosts[v6][below(state, 6)], .to = servers[v6][below(state, 3)]};
	kind_draw(p, v6, state);
	if (one_in(state, 3))
		turn(p);
	if (one_in(state, 40))
		p->to = p->from;
}

/* ------------------------------------------------------------------------- the frame */

/* Numbers on both sides of the edges of windows. */
static void numbers_set(struct frame *f, uint64_t *state)
{
	static const uint32_t numbers[] = {0, 1, 2, 1000, 1u << 30, (1u << 30) + 1, (1u << 30) + 2, 1u << 31, 0xffffffff,
					   0xfffffff0, 0xc0000000};
	uint32_t seq = htonl(numbers[below(state, ARRAY_SIZE(numbers))]);
	uint32_t ack = htonl(numbers[below(state, one_in(state, 3) ? ARRAY_SIZE(numbers) : 4)]);

	memcpy(f->byte + f->l4 + 4, &seq, sizeof(seq));
	memcpy(f->byte + f->l4 + 8, &ack, sizeof(ack));
}

/* What a router has to say about another packet of these hosts. */
static void error_draw(struct packet *p, struct packet *quoted, uint64_t *state)
{
	static const int types[2][5] = {{ICMP(3, 3), ICMP(3, 4), ICMP(11, 0), ICMP(12, 0), ICMP(5, 0)},
					{ICMP(1, 4), ICMP(2, 0), ICMP(3, 0), ICMP(4, 1), ICMP(137, 0)}};
	bool v6;

	packet_draw(quoted, state);
	if (one_in(state, 20))
		pieces_draw(quoted, state);
	v6 = strchr(quoted->from, ':');
	*p = (struct packet){.from = v6 ? "fd03::99" : "10.3.0.99", .to = quoted->from, .quote = quoted};
	p->icmp = types[v6][below(state, 5)];
	if (one_in(state, 3))
		p->from = quoted->to;
	if (one_in(state, 12))
		p->to = quoted->to;
	if (one_in(state, 12))
		p->quote_bytes = 4;
	if (quoted->protocol == 132 || quoted->protocol == 47)
		quoted->payload = 20;
}

static void link_draw(struct packet *p, uint64_t *state)
{
	static const uint16_t types[] = {0x0806, 0x88cc, 0x8137, 38, 0x8100};

	*p = (struct packet){.ethertype = types[below(state, ARRAY_SIZE(types))]};
	if (one_in(state, 2))
		memcpy(p->mac_to, "\x01\x80\xc2\0\0\0", 6);
}

static void frame_build(const struct packet *p, uint64_t *state, struct frame *f)
{
	packet_build(f, p);
	if (!p->from || p->fragment_offset)
		return;
	if (p->protocol == 17 && p->sport == 1001 && one_in(state, 4))
		memset(f->byte + f->l4, 0, 2);
	if (p->protocol == 17 && p->dport == 1001 && one_in(state, 4))
		memset(f->byte + f->l4 + 2, 0, 2);
	if (p->tcp)
		numbers_set(f, state);
}

void traffic_draw(uint64_t *state, struct traffic_frame *ret)
{
	static struct frame f;
	struct packet p, quoted;
	unsigned int kind = below(state, 40);

	if (kind == 0)
		link_draw(&p, state);
	else if (kind < 6)
		error_draw(&p, &quoted, state);
	else
		packet_draw(&p, state);
	if (kind > 33)
		pieces_draw(&p, state);
	if (one_in(state, 8))
		p.vlan = one_in(state, 8) ? 99 : one_in(state, 6) ? 0x8000 : 100;
	if (p.vlan && one_in(state, 8))
		p.vlan_outer = one_in(state, 2) ? 0x8000 : 100;
	if (one_in(state, 8))
		p.pad = below(state, 20);
	frame_build(&p, state, &f);
	if (f.length > TRAFFIC_MAX)
		abort();
	memcpy(ret->byte, f.byte, f.length);
	ret->length = f.length;
}

void traffic_wrap(uint64_t *state, struct traffic_frame *f)
{
	static const uint8_t vxlan[8] = {8, 0, 0, 0, 0, 7001 >> 8, 7001 & 255, 0};
	static const uint8_t geneve[8] = {1, 0, 0x65, 0x58, 0, 7001 >> 8, 7001 & 255, 0}; /* and a word of options */
	bool v6 = one_in(state, 3), is_geneve = one_in(state, 2);
	struct packet outer = {.from = hosts[v6][0], .to = servers[v6][0], .dport = is_geneve ? 6081 : 4789, .sport = 1000};
	static struct frame frame;
	size_t header = is_geneve ? 12 : 8;
	uint8_t *tunnel;

	outer.payload = header + f->length;
	if (f->length + 120 > TRAFFIC_MAX)
		return;
	if (one_in(state, 10))
		outer.more_fragments = 1;
	packet_build(&frame, &outer);
	tunnel = frame.byte + frame.length - outer.payload;
	memset(tunnel, 0, header);
	memcpy(tunnel, is_geneve ? geneve : vxlan, 8);
	if (one_in(state, 10))
		tunnel[below(state, 8)] ^= (uint8_t)(1u << below(state, 8));
	memcpy(tunnel + header, f->byte, f->length);
	memcpy(f->byte, frame.byte, frame.length);
	f->length = frame.length;
}

/* ----------------------------------------------------------------------------- text */

static void way_text(const struct model_way *w, char *to, size_t room)
{
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	int family = w->version == 4 ? AF_INET : AF_INET6;

	inet_ntop(family, w->source, a, sizeof(a));
	inet_ntop(family, w->dest, b, sizeof(b));
	if (w->asks || w->answers)
		snprintf(to, room, "%s > %s echo %s %u", a, b, w->asks ? "request" : "reply", w->echo);
	else
		snprintf(to, room, "%s %u > %s %u protocol %u", a, w->source_port, b, w->dest_port, w->protocol);
}

const char *traffic_text(const uint8_t *frame, size_t length)
{
	static char text[400];
	char way[160] = "", quote[160] = "";
	struct model_packet p;
	size_t n;

	frame_model_read(frame, length, &p);
	if (p.way.version)
		way_text(&p.way, way, sizeof(way));
	if (p.quotes)
		way_text(&p.quote, quote, sizeof(quote));
	n = (size_t)snprintf(text, sizeof(text), "%zu bytes, vlan %u, ethertype %#x, %s", length, p.vlan, p.ethertype, way);
	if (p.way.protocol == 6 && p.fragment != MODEL_LATER)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " flags %#x seq %u ack %u", p.tcp, p.seq, p.ack);
	if (p.icmp)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " type %u.%u", p.type, p.code);
	if (p.error)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " quotes [%s]", quote);
	if (p.fragment != MODEL_WHOLE)
		snprintf(text + n, sizeof(text) - n, " fragment %u of %u: %u+%u", p.fragment_id, p.fragment_protocol,
			 p.before, p.span);
	return text;
}
