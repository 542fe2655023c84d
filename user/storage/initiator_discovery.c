// SPDX-License-Identifier: Apache-2.0
/*
 * Log pages as an initiator reads them, and the one that initiators live by: the discovery log, which is read again
 * when it changes under the reader. Called by the command line and by paths, in the thread that has the admin queue.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "storage/initiator_internal.h"

#define DISCOVERY_RETRIES 3
#define DISCOVERY_MAX	  4096 /* entries; more is a broken controller */

int initiator_log(struct initiator *i, uint8_t lid, uint64_t offset, void *buf, uint32_t len, struct error *err)
{
	struct initiator_io io = {.sqe = nvme_sqe_get_log(0, lid, offset, len), .data = buf, .len = len};

	return initiator_execute(i, &io, err);
}

/* The log's generation and number of entries. */
static int discovery_header(struct initiator *i, uint64_t *ret_generation, uint64_t *ret_n, struct error *err)
{
	const struct nvme_discovery_header *header = (const void *)i->page;
	int r = initiator_log(i, NVME_LID_DISCOVERY, 0, i->page, sizeof(*header), err);

	if (r)
		return r;
	if (le16toh(header->recfmt) || le64toh(header->numrec) > DISCOVERY_MAX)
		return error_set(err, EPROTO,
				 "%s: discovery log: format %u with %" PRIu64 " records; sluice reads format 0 "
				 "with at most %u",
				 i->options.addr.text, le16toh(header->recfmt), (uint64_t)le64toh(header->numrec),
				 DISCOVERY_MAX);
	*ret_generation = le64toh(header->genctr);
	*ret_n = le64toh(header->numrec);
	return 0;
}

static int discovery_read(struct initiator *i, struct nvme_discovery_entry *entries, size_t n, size_t *ret_n,
			  size_t *ret_skipped, struct error *err)
{
	const struct nvme_discovery_wire *wire = (const void *)i->page;
	size_t kept = 0, skipped = 0;
	int r;

	for (size_t k = 0; k < n; k++) {
		r = initiator_log(i, NVME_LID_DISCOVERY, nvme_discovery_log_len(k), i->page, sizeof(*wire), err);
		if (r)
			return r;
		r = nvme_discovery_decode(wire, &entries[kept]);
		if (r == -EPROTONOSUPPORT)
			skipped++;
		else if (r)
			return error_set(err, EPROTO, "%s: discovery log: record %zu is broken", i->options.addr.text,
					 k);
		else
			kept++;
	}
	*ret_n = kept;
	*ret_skipped = skipped;
	return 0;
}

int initiator_discover(struct initiator *i, struct nvme_discovery_entry **ret_entries, size_t *ret_n,
		       size_t *ret_skipped, struct error *err)
{
	uint64_t generation = 0, after = 0, n = 0, n_after = 0;
	int r = discovery_header(i, &generation, &n, err);

	/* a log that changes while it is read is read again (Base 2.0, section 5.16.1.23) */
	for (int attempt = 0; !r && attempt < DISCOVERY_RETRIES; attempt++) {
		_cleanup_free_ struct nvme_discovery_entry *entries = calloc(n + 1, sizeof(*entries));
		size_t kept = 0, skipped = 0;

		if (!entries)
			return error_set(err, ENOMEM, "%s: no memory for %" PRIu64 " records", i->options.addr.text, n);
		r = discovery_read(i, entries, n, &kept, &skipped, err);
		if (!r)
			r = discovery_header(i, &after, &n_after, err);
		if (r)
			return r;
		if (after == generation && n_after == n) {
			*ret_entries = TAKE_PTR(entries);
			*ret_n = kept;
			*ret_skipped = skipped;
			return 0;
		}
		generation = after;
		n = n_after;
	}
	return r ? r
		 : error_set(err, EAGAIN, "%s: the discovery log changed during each of %d attempts; try again",
			     i->options.addr.text, DISCOVERY_RETRIES);
}
