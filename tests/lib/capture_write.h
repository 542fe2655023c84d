/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes captures of Ethernet frames with libpcap: pcap, nanoseconds. Kept apart from whoever uses it, since libpcap's
 * header and the kernel's define the same names.
 */
#ifndef SLUICE_TESTS_CAPTURE_WRITE_H
#define SLUICE_TESTS_CAPTURE_WRITE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct capture_writer;

/* Aborts when it cannot. The stream is the writer's from then on. */
struct capture_writer *capture_write_begin(FILE *stream);
/* The first `kept` bytes of a frame that had `length`. */
void capture_write(struct capture_writer *w, uint64_t time_ns, const void *frame, size_t kept, size_t length);
void capture_write_end(struct capture_writer *w); /* closes the stream */

#endif
