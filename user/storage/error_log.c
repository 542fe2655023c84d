// SPDX-License-Identifier: Apache-2.0
/*
 * A ring of entries without a lock: a writer takes the next number, and with it an entry, marks the entry as being
 * written, fills it, and gives it its number. A reader copies an entry between two looks at its number and leaves out
 * one that was written meanwhile. A writer that finds its entry being written, 64 errors behind, gives up.
 */
#include "storage/error_log.h"

#include <endian.h>
#include <string.h>

#include "nvme/fabrics.h"
#include "storage/reactor.h"

#define WRITING	    UINT64_MAX
#define NO_LOCATION 0xffff
#define LOG_VERSION 1 /* command set and opcode are given */

/* As in the log page. */
struct entry {
	__le64 count;
	__le16 sqid;
	__le16 cid;
	__le16 status; /* bit 0 is the phase */
	__le16 location;
	__le64 lba;
	__le32 nsid;
	__u8 vendor;
	__u8 trtype;
	__u8 csi;
	__u8 opcode;
	__le64 specific;
	__le16 transport;
	__u8 reserved[21];
	__u8 version;
};

_Static_assert(sizeof(struct entry) == ERROR_LOG_WORDS * sizeof(uint64_t), "hosts read entries of 64 bytes");

/* Where the command begins, if it is of those that say so. */
static __le64 first_block(const struct command *cmd)
{
	static const bool has[256] = {
		[NVME_IO_WRITE] = true,	  [NVME_IO_READ] = true,	 [NVME_IO_WRITE_UNCOR] = true,
		[NVME_IO_COMPARE] = true, [NVME_IO_WRITE_ZEROES] = true, [NVME_IO_VERIFY] = true,
	};

	return cmd->conn->qid && has[cmd->sqe.opcode] ? ((const struct nvme_rw_sqe *)&cmd->sqe)->slba : 0;
}

static struct entry entry_make(uint64_t count, const struct command *cmd)
{
	return (struct entry){
		.count = htole64(count),
		.sqid = htole16(cmd->conn->qid),
		.cid = cmd->sqe.cid,
		.status = htole16((uint16_t)(cmd->status << 1)),
		.location = htole16(NO_LOCATION),
		.lba = first_block(cmd),
		.nsid = cmd->sqe.opcode == NVME_FABRICS ? 0 : cmd->sqe.nsid,
		.trtype = NVME_TRTYPE_TCP,
		.opcode = cmd->sqe.opcode,
		.version = LOG_VERSION,
	};
}

bool error_log_add(struct error_log *log, const struct command *cmd)
{
	uint64_t n = __atomic_add_fetch(&log->count, 1, __ATOMIC_RELAXED), words[ERROR_LOG_WORDS];
	struct entry entry = entry_make(n, cmd);
	unsigned int slot = n % ERROR_LOG_ENTRIES, i;

	if (__atomic_exchange_n(&log->entries[slot].sequence, WRITING, __ATOMIC_ACQUIRE) == WRITING)
		return false;
	memcpy(words, &entry, sizeof(words));
	for (i = 0; i < ERROR_LOG_WORDS; i++)
		__atomic_store_n(&log->entries[slot].words[i], words[i], __ATOMIC_RELAXED);
	__atomic_store_n(&log->entries[slot].sequence, n, __ATOMIC_RELEASE);
	return true;
}

void error_log_read(const struct error_log *log, void *out)
{
	uint64_t n = error_log_count(log), *to = out, words[ERROR_LOG_WORDS];
	unsigned int i, k;

	memset(out, 0, ERROR_LOG_ENTRIES * sizeof(struct entry));
	for (i = 0; i < ERROR_LOG_ENTRIES && n; i++, n--) {
		unsigned int slot = n % ERROR_LOG_ENTRIES;

		if (__atomic_load_n(&log->entries[slot].sequence, __ATOMIC_ACQUIRE) != n)
			continue;
		for (k = 0; k < ERROR_LOG_WORDS; k++)
			words[k] = __atomic_load_n(&log->entries[slot].words[k], __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&log->entries[slot].sequence, __ATOMIC_RELAXED) != n)
			continue;
		memcpy(to, words, sizeof(words));
		to += ERROR_LOG_WORDS;
	}
}
