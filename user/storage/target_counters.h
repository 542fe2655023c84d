/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of a queue or of a namespace on one reactor. One writer; others read whole numbers, perhaps a moment old. */
#ifndef SLUICE_STORAGE_TARGET_COUNTERS_H
#define SLUICE_STORAGE_TARGET_COUNTERS_H

#include <stdint.h>

#include "storage/histogram.h"

/* IO_OTHER is 0: every opcode that a table does not name. */
enum io_kind { IO_OTHER, IO_READ, IO_WRITE, IO_FLUSH, IO_ZEROES, IO_DSM, IO_KINDS };

struct io_stats {
	uint64_t commands[IO_KINDS];
	uint64_t read_bytes;
	uint64_t written_bytes;
	uint64_t errors;
	struct histogram latency; /* nanoseconds */
};

static inline uint64_t stats_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void stats_add(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

#endif
