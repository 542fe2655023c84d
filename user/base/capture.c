// SPDX-License-Identifier: Apache-2.0
/*
 * Capture files; see capture.h. Called by `sluice replay` and a fuzzer. What always holds: a frame that is handed out
 * lies in libpcap's buffer or, if its link header was exchanged for an Ethernet header, in `frame`; both are good until
 * the next packet.
 */
#include "base/capture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "base/cleanup.h"
#include "base/util.h"

#define ETHERNET_HEADER 14
#define ETHERTYPE_AT	12
#define ETHERTYPE_IPV4	0x0800
#define ETHERTYPE_IPV6	0x86dd

/* What a link header of another kind tells. */
struct link_facts {
	uint16_t ethertype;
	uint16_t hardware;     /* ARPHRD_*; 0: not said */
	uint8_t direction;     /* PACKET_*, as in linux/if_packet.h */
	const uint8_t *source; /* 6 bytes; NULL: not said */
};

#define DIRECTION_BROADCAST 1
#define DIRECTION_MULTICAST 2
#define DIRECTION_OUTGOING  4

struct link_type {
	int type;						     /* DLT_* */
	size_t header;						     /* bytes before the network layer */
	void (*read)(const uint8_t *header, struct link_facts *ret); /* NULL: it is Ethernet */
};

struct capture {
	pcap_t *pcap;
	char *name;
	const struct link_type *link;
	uint64_t packets;
	uint8_t *frame;
	size_t room;
};

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* ------------------------------------------------------------------- link headers */

/* No header at all: the first half byte is the IP version. What is neither 4 nor 6 is left to the programs' parser. */
static void read_raw(const uint8_t *header, struct link_facts *ret)
{
	ret->ethertype = header[0] >> 4 == 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
}

static void read_ipv4(const uint8_t *header, struct link_facts *ret)
{
	ret->ethertype = ETHERTYPE_IPV4;
}

static void read_ipv6(const uint8_t *header, struct link_facts *ret)
{
	ret->ethertype = ETHERTYPE_IPV6;
}

/* An address family as 32 bits, in the order of the machine that captured; AF_INET6 has four numbers in the world. */
static void read_loopback(const uint8_t *header, struct link_facts *ret)
{
	uint8_t family = header[0] ? header[0] : header[3];

	if (family == 2)
		ret->ethertype = ETHERTYPE_IPV4;
	else if (family == 10 || family == 24 || family == 28 || family == 30)
		ret->ethertype = ETHERTYPE_IPV6;
}

static void read_cooked(const uint8_t *header, struct link_facts *ret)
{
	ret->direction = header[1];
	ret->hardware = be16(header + 2);
	ret->source = be16(header + 4) == 6 ? header + 6 : NULL;
	ret->ethertype = be16(header + 14);
}

static void read_cooked2(const uint8_t *header, struct link_facts *ret)
{
	ret->ethertype = be16(header);
	ret->hardware = be16(header + 8);
	ret->direction = header[10];
	ret->source = header[11] == 6 ? header + 12 : NULL;
}

static const struct link_type link_types[] = {
	{DLT_EN10MB, ETHERNET_HEADER, NULL},
	{DLT_RAW, 0, read_raw},
	{DLT_IPV4, 0, read_ipv4},
	{DLT_IPV6, 0, read_ipv6},
	{DLT_NULL, 4, read_loopback},
	{DLT_LOOP, 4, read_loopback},
	{DLT_LINUX_SLL, 16, read_cooked},
	{DLT_LINUX_SLL2, 20, read_cooked2},
};

/* Devices whose cooked "protocol" is no ethertype: 802.11 in its three dresses, netlink. */
static bool hardware_is_foreign(uint16_t hardware)
{
	return (hardware >= 801 && hardware <= 803) || hardware == 824;
}

static void header_write(uint8_t *header, const struct link_facts *facts)
{
	memset(header, 0, ETHERNET_HEADER);
	if (facts->direction == DIRECTION_BROADCAST)
		memset(header, 0xff, 6);
	else if (facts->direction == DIRECTION_MULTICAST)
		header[0] = 0x01;
	if (facts->source)
		memcpy(header + 6, facts->source, 6);
	header[ETHERTYPE_AT] = (uint8_t)(facts->ethertype >> 8);
	header[ETHERTYPE_AT + 1] = (uint8_t)facts->ethertype;
}

static int frame_room(struct capture *c, size_t length)
{
	uint8_t *frame;

	if (length <= c->room)
		return 0;
	frame = realloc(c->frame, length);
	if (!frame)
		return -ENOMEM;
	c->frame = frame;
	c->room = length;
	return 0;
}

/* Exchanges the link header for an Ethernet header. A packet cut within its link header keeps nothing. */
static int frame_convert(struct capture *c, const uint8_t *bytes, struct error *err, struct capture_packet *p)
{
	const struct link_type *link = c->link;
	struct link_facts facts = {};
	size_t payload;

	p->wire_length = p->wire_length < link->header ? 0 : p->wire_length - link->header + ETHERNET_HEADER;
	if (p->length < link->header || !p->length) {
		p->length = 0;
		return 0;
	}
	payload = p->length - link->header;
	if (frame_room(c, ETHERNET_HEADER + payload))
		return error_set(err, ENOMEM, "%s: out of memory", c->name);
	link->read(bytes, &facts);
	if (hardware_is_foreign(facts.hardware))
		return error_set(
			err, EINVAL,
			"%s: packet %llu: comes from a wireless monitor or netlink device; capture on one that "
			"carries Ethernet or IP",
			c->name, (unsigned long long)p->number);
	header_write(c->frame, &facts);
	memcpy(c->frame + ETHERNET_HEADER, bytes + link->header, payload);
	p->frame = c->frame;
	p->length = ETHERNET_HEADER + payload;
	p->outgoing = facts.direction == DIRECTION_OUTGOING;
	return 0;
}

/* ------------------------------------------------------------------- files */

static int link_find(struct capture *c, struct error *err)
{
	int type = pcap_datalink(c->pcap);
	const char *name = pcap_datalink_val_to_name(type);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(link_types); i++)
		if (link_types[i].type == type)
			c->link = &link_types[i];
	if (c->link)
		return 0;
	return error_set(
		err, EINVAL,
		"%s: link type %s (%d); use a capture of Ethernet, raw IP, Linux cooked or BSD loopback packets",
		c->name, name ? name : "unknown", type);
}

static int capture_start(struct capture *c, FILE *stream, struct error *err)
{
	char why[PCAP_ERRBUF_SIZE] = "";

	c->pcap = pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_NANO, why);
	if (c->pcap)
		return link_find(c, err);
	fclose(stream);
	return error_set(err, EINVAL, "%s: %s; a pcap or pcapng file is needed", c->name, why);
}

int capture_open_stream(FILE *stream, const char *name, struct error *err, struct capture **ret_capture)
{
	_cleanup_(capture_closep) struct capture *c = calloc(1, sizeof(*c));
	int r;

	if (!c || !(c->name = strdup(name))) {
		fclose(stream);
		return error_set(err, ENOMEM, "%s: out of memory", name);
	}
	r = capture_start(c, stream, err);
	if (r)
		return r;
	*ret_capture = TAKE_PTR(c);
	return 0;
}

int capture_open(const char *path, struct error *err, struct capture **ret_capture)
{
	bool standard = !strcmp(path, "-");
	FILE *stream = standard ? stdin : fopen(path, "re");

	if (!stream) {
		error_system(err, errno, "%s", path);
		return -EINVAL;
	}
	return capture_open_stream(stream, standard ? "standard input" : path, err, ret_capture);
}

int capture_next(struct capture *c, struct error *err, struct capture_packet *ret_packet)
{
	struct capture_packet p = {.number = c->packets + 1};
	struct pcap_pkthdr *header;
	const u_char *bytes;
	int r = pcap_next_ex(c->pcap, &header, &bytes);

	if (r == PCAP_ERROR_BREAK)
		return 0;
	if (r != 1)
		return error_set(err, EINVAL, "%s: packet %llu: %s; the file is damaged from here on", c->name,
				 (unsigned long long)p.number, pcap_geterr(c->pcap));
	p.time_ns = (uint64_t)header->ts.tv_sec * NSEC_PER_SEC + (uint64_t)header->ts.tv_usec; /* really nanoseconds */
	p.frame = bytes;
	p.length = header->caplen;
	p.wire_length = max(header->len, header->caplen);
	r = c->link->read ? frame_convert(c, bytes, err, &p) : 0;
	if (r)
		return r;
	c->packets++;
	*ret_packet = p;
	return 1;
}

void capture_close(struct capture *c)
{
	if (!c)
		return;
	if (c->pcap)
		pcap_close(c->pcap);
	free(c->frame);
	free(c->name);
	free(c);
}

void capture_closep(struct capture **c)
{
	capture_close(*c);
}
