/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture file as a sequence of Ethernet frames: pcap and pcapng, microseconds and nanoseconds, read with libpcap.
 * Packets captured above the link layer (raw IP, Linux cooked, BSD loopback) get an Ethernet header of which only the
 * ethertype, and what the capture tells of the addresses, is true. Other link types are refused.
 */
#ifndef SLUICE_BASE_CAPTURE_H
#define SLUICE_BASE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

struct capture;

struct capture_packet {
	uint64_t number;      /* from 1 */
	uint64_t time_ns;     /* since 1970 */
	const uint8_t *frame; /* the capture's, until the next packet */
	size_t length;	      /* bytes that are there; may be too few for an Ethernet header */
	size_t wire_length;   /* bytes that the frame had; more than `length`: the capture has cut it */
	bool outgoing;	      /* the capture says that this host sent it (cooked captures only) */
};

/*
 * `path` of "-" is standard input. -EINVAL with err: not readable, not a capture, or of a link type that is none of
 * the above.
 */
int capture_open(const char *path, struct error *err, struct capture **ret_capture);
/* The same of an open stream, which is the capture's from then on, also on failure. `name` is for messages. */
int capture_open_stream(FILE *stream, const char *name, struct error *err, struct capture **ret_capture);
/* 1: a packet; 0: the end; -EINVAL with err: the file is damaged from here on; -ENOMEM. */
int capture_next(struct capture *c, struct error *err, struct capture_packet *ret_packet);
void capture_close(struct capture *c);
void capture_closep(struct capture **c);

#endif
