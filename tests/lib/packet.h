/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames from a description. A test says what matters to it and gets a correct frame, lengths and checksums included:
 *
 *	packet_build(&frame, &(struct packet){.from = "10.1.0.1", .to = "10.2.0.1", .tcp = TCP_F_SYN, .dport = 443});
 *
 * What is wrong about a frame is put in afterwards by its `mutate` hook, so that exactly one thing is.
 */
#ifndef SLUICE_TESTS_PACKET_H
#define SLUICE_TESTS_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define PACKET_MAX 70000

#define TCP_F_FIN  0x01
#define TCP_F_SYN  0x02
#define TCP_F_RST  0x04
#define TCP_F_PSH  0x08
#define TCP_F_ACK  0x10
#define TCP_F_URG  0x20
#define TCP_F_NONE 0x100 /* TCP without any flag */

struct frame {
	_Alignas(4) uint16_t head_room; /* puts what follows the 14 bytes of Ethernet, tags or not, on a multiple of 4 */
	uint8_t byte[PACKET_MAX];
	size_t length;
	size_t l3; /* offset of the IP header; 0: none */
	size_t l4; /* offset of what follows IP and its options or extension headers */
};

/* All numbers in host order; what is 0 or NULL is absent or takes the default named. */
struct packet {
	const char *from; /* IP literals of one family; NULL: a bare Ethernet frame of `ethertype` */
	const char *to;
	uint16_t ethertype;
	uint8_t mac_to[6];     /* default 02:00:00:00:00:02 */
	uint16_t vlan;	       /* one 802.1Q tag; 0x8000 | id also gives the tag for id 0 */
	uint16_t vlan_outer;   /* an 802.1ad tag before it */
	uint8_t protocol;      /* default: TCP if `tcp`, ICMP or ICMPv6 if `icmp`, else UDP */
	uint16_t sport, dport; /* default source port 40000 */
	uint16_t tcp;	       /* TCP_F_* */
	int icmp;	       /* 0: no; else 0x10000 | type << 8 | code, see ICMP() */
	uint16_t icmp_id;
	const struct packet *quote; /* ICMP error: the packet it quotes */
	size_t quote_bytes;	    /* of its transport header and data; default 8 */
	size_t options;		    /* bytes of IPv4 options, multiple of 4 */
	uint8_t extension[12];	    /* IPv6 extension headers by number, in order, 8 bytes each; see n_extensions */
	size_t n_extensions;
	size_t payload;		  /* bytes after the transport header; of SCTP and others with it: 12 or more have ports */
	uint16_t fragment_offset; /* bytes, multiple of 8; not 0: later fragment, has `payload` bytes and no transport
				     header */
	int more_fragments;
	uint32_t fragment_id;
	size_t cut_transport; /* 1 + the number of bytes of the transport header and payload to keep */
	size_t pad;	      /* bytes of Ethernet padding */
	void (*mutate)(struct frame *f);
};

#define ICMP(type, code) (0x10000 | (type) << 8 | (code))

/* Fills `ret_frame`. Aborts on a description that is no packet (bad address, too long): a mistake in the test. */
void packet_build(struct frame *ret_frame, const struct packet *p);

/* Sets the IPv4 header checksum again, for mutations before it. */
void frame_checksum_ip(struct frame *f);

/*
 * Whether the checksums of an untagged frame without extension headers are right: of the IPv4 header, and of TCP, UDP,
 * ICMP or ICMPv6 over all that the IP length says. NULL, or what is wrong.
 */
const char *frame_checksums(const uint8_t *frame, size_t length);

/* Bytes of an address, IPv4-mapped for IPv4, as keys hold it. */
void packet_address(const char *literal, uint8_t ret_addr[16]);

#endif
