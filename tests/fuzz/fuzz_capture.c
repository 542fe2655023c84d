// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer: any bytes as a capture file. Every byte of every frame is read, so that a frame that is not wholly there
 * shows, and what capture.h promises of a packet is held against it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/capture.h"

#define FILE_MAX (64 << 10)

static volatile uint8_t sum; /* so that no read is left out */

static void packet_check(const struct capture_packet *p, uint64_t number)
{
	size_t i;

	if (p->number != number || p->length > p->wire_length)
		abort();
	for (i = 0; i < p->length; i++)
		sum = (uint8_t)(sum + p->frame[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct capture *c = NULL;
	struct capture_packet p;
	struct error err = {};
	uint64_t number = 0;
	FILE *stream;
	int r;

	if (!size || size > FILE_MAX)
		return 0;
	stream = fmemopen((void *)(uintptr_t)data, size, "r");
	if (!stream)
		abort();
	r = capture_open_stream(stream, "fuzz", &err, &c);
	while (!r && (r = capture_next(c, &err, &p)) == 1) {
		packet_check(&p, ++number);
		r = 0;
	}
	if (r && !err.text[0])
		abort();
	capture_close(c);
	return 0;
}
