// SPDX-License-Identifier: Apache-2.0
/* See capture_write.h. Used by the tests of replay. */
#include "capture_write.h"

#include <stdlib.h>

#include <pcap/pcap.h>

#define NSEC_PER_SEC 1000000000ull
#define SNAPLEN	     262144

struct capture_writer {
	pcap_t *pcap;
	pcap_dumper_t *dump;
};

struct capture_writer *capture_write_begin(FILE *stream)
{
	struct capture_writer *w = calloc(1, sizeof(*w));

	if (w && stream)
		w->pcap = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, SNAPLEN, PCAP_TSTAMP_PRECISION_NANO);
	if (w && w->pcap)
		w->dump = pcap_dump_fopen(w->pcap, stream);
	if (!w || !w->dump) {
		fprintf(stderr, "capture_write: cannot begin\n");
		abort();
	}
	return w;
}

void capture_write(struct capture_writer *w, uint64_t time_ns, const void *frame, size_t kept, size_t length)
{
	const struct pcap_pkthdr header = {
		.ts = {.tv_sec = (time_t)(time_ns / NSEC_PER_SEC), .tv_usec = (suseconds_t)(time_ns % NSEC_PER_SEC)},
		.caplen = (bpf_u_int32)kept,
		.len = (bpf_u_int32)length,
	};

	pcap_dump((u_char *)w->dump, &header, frame);
}

void capture_write_end(struct capture_writer *w)
{
	pcap_dump_close(w->dump);
	pcap_close(w->pcap);
	free(w);
}
