/* SPDX-License-Identifier: Apache-2.0 */
/* A benchmark's results, made by io_bench.c and printed by io_report.c. */
#ifndef SLUICE_CLI_IO_BENCH_H
#define SLUICE_CLI_IO_BENCH_H

#include "cli/io.h"
#include "storage/histogram.h"
#include "storage/pattern.h"

#define BENCH_STATUSES 8 /* distinct error statuses counted by name; all are in errors */

struct bench_status {
	uint16_t status;
	int error; /* when not 0, status means nothing */
	uint64_t count;
};

/* What one queue has done. Written by its thread alone; histograms may be read meanwhile. */
struct bench_queue {
	uint16_t qid;
	int cpu; /* -1: not pinned */
	struct histogram reads, writes;
	uint64_t errors, bad_blocks;
	struct bench_status statuses[BENCH_STATUSES];
	struct pattern_fault fault; /* the first, if bad_blocks */
	struct error failure;	    /* why it ended early; empty: it did not */
};

struct bench_result {
	const struct io_options *o;
	const struct bench_queue *queues;
	struct multipath *m; /* its lanes are closed */
	double seconds, cpu_seconds;
};

/* Both print to standard output. */
void bench_print(const struct bench_result *result);
void bench_json(const struct bench_result *result);

/* One line on standard error over the last one: what has happened in the last `seconds`. */
void bench_progress(const struct bench_result *now, uint64_t ios, uint64_t errors, double seconds);

/* What makes the exit status 1. */
bool bench_failed(const struct bench_result *result);

#endif
