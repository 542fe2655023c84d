/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a strict reader makes of a frame: written from the RFCs and the policy language, not from bpf/, to be held against
 * it. It reads one byte after the other and believes no length. Frames of up to 64 KiB: no super-frames.
 */
#ifndef SLUICE_TESTS_FRAME_MODEL_H
#define SLUICE_TESTS_FRAME_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>

#define MODEL_SOUND (-1) /* a reason is 0 or more */

enum model_fragment { MODEL_WHOLE, MODEL_FIRST, MODEL_LATER };

/* One direction of a conversation. Numbers in host order. */
struct model_way {
	uint8_t version;    /* 4 or 6 */
	uint8_t source[16]; /* IPv4 in the first four bytes, then zeros */
	uint8_t dest[16];
	uint8_t protocol;
	uint16_t source_port; /* 0 where the protocol has none */
	uint16_t dest_port;
	bool asks, answers; /* an echo request, a reply */
	uint16_t echo;	    /* its identifier */
};

struct model_packet {
	int reason; /* enum sluice_reason: malformed; or MODEL_SOUND */
	size_t length;
	uint16_t ethertype; /* behind the tags */
	uint16_t vlan;	    /* the outermost id that is not 0; or 0 */
	bool link_local;
	struct model_way way; /* version 0: not IP */
	enum model_fragment fragment;
	uint8_t fragment_protocol; /* as the IP or fragment header says it */
	uint32_t fragment_id;
	uint32_t before; /* bytes of the datagram before this fragment */
	uint32_t span;	 /* and in it */
	uint8_t tcp;	 /* flags */
	uint32_t seq, ack;
	bool icmp;
	uint8_t type, code;
	bool error;	       /* ICMP: quotes a packet */
	bool quotes;	       /* which can be read and came from where the error goes: */
	struct model_way quote;
	const uint8_t *data; /* of UDP, in the frame */
	size_t data_length;
};

void frame_model_read(const uint8_t *frame, size_t length, struct model_packet *ret);

#endif
