// SPDX-License-Identifier: Apache-2.0
/*
 * The capture reader on files that are written byte by byte here: both formats, both byte orders, both precisions,
 * every link type, and what is damaged. Nothing of libpcap's own writer is used, so that a mistake cannot cancel out.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include <pcap/dlt.h>

#include "base/capture.h"
#include "base/cleanup.h"
#include "base/util.h"

/* On disk; pcap_datalink() says DLT_RAW for the first. */
#define LINKTYPE_RAW 101

#define MAGIC_MICRO 0xa1b2c3d4
#define MAGIC_NANO  0xa1b23c4d

struct file {
	uint8_t byte[8192];
	size_t length;
	bool big; /* byte order */
};

static void put(struct file *f, const void *bytes, size_t length)
{
	cr_assert(f->length + length <= sizeof(f->byte));
	memcpy(f->byte + f->length, bytes, length);
	f->length += length;
}

static void put_number(struct file *f, uint64_t n, size_t size)
{
	uint8_t byte[8];
	size_t i;

	for (i = 0; i < size; i++)
		byte[f->big ? size - 1 - i : i] = (uint8_t)(n >> 8 * i);
	put(f, byte, size);
}

static void put16(struct file *f, uint16_t n)
{
	put_number(f, n, 2);
}

static void put32(struct file *f, uint32_t n)
{
	put_number(f, n, 4);
}

static void pcap_head(struct file *f, uint32_t magic, uint32_t link)
{
	put32(f, magic);
	put16(f, 2);
	put16(f, 4);
	put32(f, 0);
	put32(f, 0);
	put32(f, 262144);
	put32(f, link);
}

static void pcap_packet(struct file *f, uint32_t seconds, uint32_t fraction, const void *bytes, size_t caplen,
			size_t length)
{
	put32(f, seconds);
	put32(f, fraction);
	put32(f, (uint32_t)caplen);
	put32(f, (uint32_t)length);
	put(f, bytes, caplen);
}

static struct capture *open_file(struct file *f)
{
	struct capture *c = NULL;
	struct error err = {};

	cr_assert_eq(capture_open_stream(fmemopen(f->byte, f->length, "r"), "x.pcap", &err, &c), 0, "%s", err.text);
	return c;
}

/* The file is refused, and the message has the name and these words. */
static void refused(struct file *f, const char *words)
{
	struct capture *c = NULL;
	struct error err = {};
	int r = capture_open_stream(fmemopen(f->byte, f->length, "r"), "x.pcap", &err, &c);

	cr_assert_eq(r, -EINVAL);
	cr_assert_null(c);
	cr_assert(strstr(err.text, "x.pcap") && strstr(err.text, words), "said: %s", err.text);
}

static struct capture_packet next(struct capture *c)
{
	struct capture_packet p = {};
	struct error err = {};

	cr_assert_eq(capture_next(c, &err, &p), 1, "%s", err.text);
	return p;
}

static void ends(struct capture *c)
{
	struct capture_packet p = {.number = 77};
	struct error err = {};

	cr_assert_eq(capture_next(c, &err, &p), 0, "%s", err.text);
	cr_assert_eq(p.number, 77, "the output is untouched");
}

static const uint8_t ethernet[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45};

static void check_times(uint32_t magic, bool big, uint64_t expected_ns)
{
	struct file f = {.big = big};
	struct capture_packet p;
	struct capture *c;

	pcap_head(&f, magic, DLT_EN10MB);
	pcap_packet(&f, 1700000000, 123456, ethernet, 60, 60);
	pcap_packet(&f, 1700000001, 0, ethernet, 60, 1514);
	c = open_file(&f);
	p = next(c);
	cr_assert_eq(p.number, 1);
	cr_assert_eq(p.time_ns, expected_ns, "%llu", (unsigned long long)p.time_ns);
	cr_assert_eq(p.length, 60);
	cr_assert_eq(p.wire_length, 60);
	cr_assert_not(p.outgoing);
	cr_assert_arr_eq(p.frame, ethernet, 60);
	p = next(c);
	cr_assert_eq(p.number, 2);
	cr_assert_eq(p.length, 60);
	cr_assert_eq(p.wire_length, 1514, "cut by the capture");
	ends(c);
	capture_close(c);
}

Test(capture, pcap_in_microseconds)
{
	check_times(MAGIC_MICRO, false, 1700000000123456000ull);
}

Test(capture, pcap_in_nanoseconds)
{
	check_times(MAGIC_NANO, false, 1700000000000123456ull);
}

Test(capture, pcap_of_the_other_byte_order)
{
	check_times(MAGIC_MICRO, true, 1700000000123456000ull);
	check_times(MAGIC_NANO, true, 1700000000000123456ull);
}

Test(capture, an_empty_capture_ends_at_once)
{
	struct file f = {};
	struct capture *c;

	pcap_head(&f, MAGIC_MICRO, DLT_EN10MB);
	c = open_file(&f);
	ends(c);
	ends(c);
	capture_close(c);
}

/* ------------------------------------------------------------------- pcapng */

static void pcapng_block(struct file *f, uint32_t type, const struct file *body)
{
	put32(f, type);
	put32(f, (uint32_t)body->length + 12);
	put(f, body->byte, body->length);
	put32(f, (uint32_t)body->length + 12);
}

static void pcapng_section(struct file *f)
{
	struct file body = {.big = f->big};

	put32(&body, 0x1a2b3c4d);
	put16(&body, 1);
	put16(&body, 0);
	put_number(&body, UINT64_MAX, 8);
	pcapng_block(f, 0x0a0d0d0a, &body);
}

/* tsresol 0: not said, so microseconds. */
static void pcapng_interface(struct file *f, uint16_t link, uint8_t tsresol)
{
	const uint8_t value[4] = {tsresol};
	struct file body = {.big = f->big};

	put16(&body, link);
	put16(&body, 0);
	put32(&body, 262144);
	if (tsresol) {
		put16(&body, 9);
		put16(&body, 1);
		put(&body, value, 4);
		put32(&body, 0);
	}
	pcapng_block(f, 1, &body);
}

static void pcapng_packet(struct file *f, uint32_t interface, uint64_t time, const void *bytes, size_t caplen,
			  size_t length)
{
	static const uint8_t pad[4];
	struct file body = {.big = f->big};

	put32(&body, interface);
	put32(&body, (uint32_t)(time >> 32));
	put32(&body, (uint32_t)time);
	put32(&body, (uint32_t)caplen);
	put32(&body, (uint32_t)length);
	put(&body, bytes, caplen);
	put(&body, pad, -caplen & 3);
	pcapng_block(f, 6, &body);
}

static void check_pcapng(uint8_t tsresol, bool big, uint64_t time, uint64_t expected_ns)
{
	struct file f = {.big = big};
	struct capture_packet p;
	struct capture *c;

	pcapng_section(&f);
	pcapng_interface(&f, DLT_EN10MB, tsresol);
	pcapng_packet(&f, 0, time, ethernet, 59, 600);
	c = open_file(&f);
	p = next(c);
	cr_assert_eq(p.time_ns, expected_ns, "%llu", (unsigned long long)p.time_ns);
	cr_assert_eq(p.length, 59);
	cr_assert_eq(p.wire_length, 600);
	cr_assert_arr_eq(p.frame, ethernet, 59);
	ends(c);
	capture_close(c);
}

Test(capture, pcapng)
{
	check_pcapng(0, false, 1700000000123456ull, 1700000000123456000ull);
	check_pcapng(0, true, 1700000000123456ull, 1700000000123456000ull);
	check_pcapng(9, false, 1700000000123456789ull, 1700000000123456789ull);
	check_pcapng(3, false, 1700000000123ull, 1700000000123000000ull);
	check_pcapng(0x80 | 10, false, 1700000000ull << 10 | 512, 1700000000500000000ull);
}

Test(capture, pcapng_interfaces_of_one_link_type)
{
	struct file f = {};
	struct capture *c;

	pcapng_section(&f);
	pcapng_interface(&f, DLT_EN10MB, 0);
	pcapng_interface(&f, DLT_EN10MB, 9);
	pcapng_packet(&f, 0, 1000000, ethernet, 60, 60);
	pcapng_packet(&f, 1, 2000000000, ethernet, 60, 60);
	c = open_file(&f);
	cr_assert_eq(next(c).time_ns, 1000000000);
	cr_assert_eq(next(c).time_ns, 2000000000);
	ends(c);
	capture_close(c);
}

/* ------------------------------------------------------------------- link types */

static const uint8_t ip4[20] = {0x45, 0, 0, 20};
static const uint8_t ip6[40] = {0x60};

static const struct link_case {
	const char *name;
	uint32_t link;
	size_t header;
	uint8_t bytes[20];
	const uint8_t *payload;
	size_t payload_length;
	uint16_t ethertype;
	bool outgoing;
	uint8_t macs[12];
} link_cases[] = {
	{"raw IPv4", LINKTYPE_RAW, 0, {}, ip4, 20, 0x0800, false, {}},
	{"raw IPv6", LINKTYPE_RAW, 0, {}, ip6, 40, 0x86dd, false, {}},
	{"IPv4", DLT_IPV4, 0, {}, ip4, 20, 0x0800, false, {}},
	{"IPv6", DLT_IPV6, 0, {}, ip6, 40, 0x86dd, false, {}},
	{"loopback, little endian IPv4", DLT_NULL, 4, {2, 0, 0, 0}, ip4, 20, 0x0800, false, {}},
	{"loopback, big endian IPv4", DLT_NULL, 4, {0, 0, 0, 2}, ip4, 20, 0x0800, false, {}},
	{"loopback, IPv6 of Linux", DLT_NULL, 4, {10, 0, 0, 0}, ip6, 40, 0x86dd, false, {}},
	{"loopback, IPv6 of macOS", DLT_NULL, 4, {30, 0, 0, 0}, ip6, 40, 0x86dd, false, {}},
	{"loopback, IPv6 of FreeBSD", DLT_NULL, 4, {0, 0, 0, 28}, ip6, 40, 0x86dd, false, {}},
	{"loopback, something else", DLT_NULL, 4, {7, 0, 0, 0}, ip4, 20, 0, false, {}},
	{"OpenBSD loopback", DLT_LOOP, 4, {0, 0, 0, 24}, ip6, 40, 0x86dd, false, {}},
	{"cooked, to us",
	 DLT_LINUX_SLL,
	 16,
	 {0, 0, 0, 1, 0, 6, 2, 3, 4, 5, 6, 7, 0, 0, 0x08, 0x00},
	 ip4,
	 20,
	 0x0800,
	 false,
	 {0, 0, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7}},
	{"cooked, from us, no address",
	 DLT_LINUX_SLL,
	 16,
	 {0, 4, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd},
	 ip6,
	 40,
	 0x86dd,
	 true,
	 {}},
	{"cooked, broadcast ARP",
	 DLT_LINUX_SLL,
	 16,
	 {0, 1, 0, 1, 0, 6, 2, 3, 4, 5, 6, 7, 0, 0, 0x08, 0x06},
	 ip4,
	 20,
	 0x0806,
	 false,
	 {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 3, 4, 5, 6, 7}},
	{"cooked 2, from us",
	 DLT_LINUX_SLL2,
	 20,
	 {0x08, 0x00, 0, 0, 0, 0, 0, 5, 0, 1, 4, 6, 2, 3, 4, 5, 6, 7, 0, 0},
	 ip4,
	 20,
	 0x0800,
	 true,
	 {0, 0, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7}},
	{"cooked 2, multicast",
	 DLT_LINUX_SLL2,
	 20,
	 {0x86, 0xdd, 0, 0, 0, 0, 0, 5, 0, 1, 2, 6, 2, 3, 4, 5, 6, 7, 0, 0},
	 ip6,
	 40,
	 0x86dd,
	 false,
	 {1, 0, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7}},
};

static void check_link(const struct link_case *l)
{
	struct file f = {}, packet = {};
	struct capture_packet p;
	struct capture *c;

	put(&packet, l->bytes, l->header);
	put(&packet, l->payload, l->payload_length);
	pcap_head(&f, MAGIC_MICRO, l->link);
	pcap_packet(&f, 1, 0, packet.byte, packet.length, packet.length + 100);
	c = open_file(&f);
	p = next(c);
	cr_assert_eq(p.length, 14 + l->payload_length, "%s: %zu bytes", l->name, p.length);
	cr_assert_eq(p.wire_length, p.length + 100, "%s: %zu bytes on the wire", l->name, p.wire_length);
	cr_assert_eq(p.frame[12] << 8 | p.frame[13], l->ethertype, "%s: ethertype %02x%02x", l->name, p.frame[12],
		     p.frame[13]);
	cr_assert_eq(p.outgoing, l->outgoing, "%s", l->name);
	cr_assert_arr_eq(p.frame, l->macs, 12, "%s: addresses", l->name);
	cr_assert_arr_eq(p.frame + 14, l->payload, l->payload_length, "%s: payload", l->name);
	ends(c);
	capture_close(c);
}

Test(capture, link_headers_become_ethernet)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(link_cases); i++)
		check_link(&link_cases[i]);
}

Test(capture, a_packet_cut_in_its_link_header_keeps_nothing)
{
	static const uint8_t cooked[16];
	struct file f = {};
	struct capture_packet p;
	struct capture *c;

	pcap_head(&f, MAGIC_MICRO, DLT_LINUX_SLL);
	pcap_packet(&f, 1, 0, cooked, 15, 116);
	pcap_packet(&f, 1, 0, cooked, 0, 0);
	c = open_file(&f);
	p = next(c);
	cr_assert_eq(p.length, 0);
	cr_assert_eq(p.wire_length, 114);
	p = next(c);
	cr_assert_eq(p.length, 0);
	cr_assert_eq(p.wire_length, 0);
	ends(c);
	capture_close(c);
}

/* ------------------------------------------------------------------- what is refused */

Test(capture, another_link_type_is_named)
{
	struct file f = {};

	pcap_head(&f, MAGIC_MICRO, 105);
	refused(&f, "IEEE802_11 (105); use a capture of Ethernet");
}

Test(capture, a_netlink_packet_is_refused_by_number)
{
	static const uint8_t cooked[16] = {0, 0, 824 >> 8, 824 & 255};
	struct capture_packet p;
	struct error err = {};
	struct file f = {};
	struct capture *c;

	pcap_head(&f, MAGIC_MICRO, DLT_LINUX_SLL);
	pcap_packet(&f, 1, 0, cooked, 16, 16);
	c = open_file(&f);
	cr_assert_eq(capture_next(c, &err, &p), -EINVAL);
	cr_assert(strstr(err.text, "x.pcap: packet 1: comes from a wireless monitor or netlink device"), "said: %s",
		  err.text);
	capture_close(c);
}

Test(capture, pcapng_interfaces_of_different_link_types_are_refused)
{
	struct capture_packet p;
	struct error err = {};
	struct file f = {};
	struct capture *c;

	pcapng_section(&f);
	pcapng_interface(&f, DLT_EN10MB, 0);
	pcapng_packet(&f, 0, 1, ethernet, 60, 60);
	pcapng_interface(&f, LINKTYPE_RAW, 0);
	pcapng_packet(&f, 1, 1, ip4, 20, 20);
	c = open_file(&f);
	next(c);
	cr_assert_eq(capture_next(c, &err, &p), -EINVAL);
	cr_assert(strstr(err.text, "x.pcap: packet 2:"), "said: %s", err.text);
	capture_close(c);
}

Test(capture, garbage_is_no_capture)
{
	struct file f = {};

	put(&f, "this is no capture, not at all", 30);
	refused(&f, "pcap or pcapng file is needed");
	f.length = 1;
	refused(&f, "pcap or pcapng file is needed");
}

Test(capture, a_file_that_is_not_there)
{
	struct capture *c = NULL;
	struct error err = {};

	cr_assert_eq(capture_open("/nonexistent/x.pcap", &err, &c), -EINVAL);
	cr_assert(strstr(err.text, "/nonexistent/x.pcap: No such file"), "said: %s", err.text);
	cr_assert_eq(capture_open("/", &err, &c), -EINVAL);
	cr_assert_null(c);
}

/* Cut at every length: the whole packets before the cut are read, then an end or an error, never a wrong packet. */
static void check_cut(const struct file *whole, size_t length, const size_t ends_at[2])
{
	struct file f = *whole;
	struct capture_packet p;
	struct capture *c = NULL;
	struct error err = {};
	uint64_t expected = (length >= ends_at[0]) + (length >= ends_at[1]), packets = 0;
	int r;

	f.length = length;
	r = capture_open_stream(fmemopen(f.byte, f.length, "r"), "x.pcap", &err, &c);
	if (r) {
		cr_assert_eq(expected, 0);
		return;
	}
	while ((r = capture_next(c, &err, &p)) == 1) {
		packets++;
		cr_assert_arr_eq(p.frame, ethernet, 60);
	}
	cr_assert_eq(packets, expected, "cut at %zu: %llu packets", length, (unsigned long long)packets);
	cr_assert(r == 0 || (r == -EINVAL && strstr(err.text, "the file is damaged from here on")), "cut at %zu: %s",
		  length, err.text);
	if (r == 0)
		cr_assert(length == whole->length || length == ends_at[0] || !packets, "cut at %zu goes unsaid",
			  length);
	capture_close(c);
}

Test(capture, a_cut_file_is_read_as_far_as_it_goes)
{
	struct file f = {}, ng = {};
	size_t ends_at[2], i;

	pcap_head(&f, MAGIC_MICRO, DLT_EN10MB);
	pcap_packet(&f, 1, 0, ethernet, 60, 60);
	ends_at[0] = f.length;
	pcap_packet(&f, 2, 0, ethernet, 60, 60);
	ends_at[1] = f.length;
	for (i = 1; i <= f.length; i++)
		check_cut(&f, i, ends_at);

	pcapng_section(&ng);
	pcapng_interface(&ng, DLT_EN10MB, 0);
	pcapng_packet(&ng, 0, 1, ethernet, 60, 60);
	ends_at[0] = ng.length;
	pcapng_packet(&ng, 0, 2, ethernet, 60, 60);
	ends_at[1] = ng.length;
	for (i = 1; i <= ng.length; i++)
		check_cut(&ng, i, ends_at);
}
