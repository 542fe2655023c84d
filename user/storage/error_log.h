/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Error Information log of one controller (Base 2.0, section 5.16.1.2): commands that failed, the latest ones. Any
 * reactor that has a queue of the controller writes, the admin queue's thread reads; nobody ever waits.
 */
#ifndef SLUICE_STORAGE_ERROR_LOG_H
#define SLUICE_STORAGE_ERROR_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ERROR_LOG_ENTRIES 64
#define ERROR_LOG_WORDS	  8 /* of 64 bits: an entry as it stands on the wire */

struct command;

struct error_log {
	uint64_t count; /* errors since Connect */
	struct {
		uint64_t sequence; /* of the error that stands in words, 0: none or just being written */
		uint64_t words[ERROR_LOG_WORDS];
	} entries[ERROR_LOG_ENTRIES];
};

/* cmd has failed. False: it is not in the log, another thread was writing the same entry. */
bool error_log_add(struct error_log *log, const struct command *cmd);

/* ERROR_LOG_ENTRIES entries of 64 bytes at out, the latest first, zeroes behind the last. */
void error_log_read(const struct error_log *log, void *out);

static inline uint64_t error_log_count(const struct error_log *log)
{
	return __atomic_load_n(&log->count, __ATOMIC_RELAXED);
}

#endif
