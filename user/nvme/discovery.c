// SPDX-License-Identifier: Apache-2.0
/*
 * Discovery records, written for the target's discovery controller and read for `sluice io
 * discover`. Pure. What always holds: strings of a decoded entry are NUL-terminated and its
 * subsystem NQN is valid.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "nvme/fabrics.h"

void nvme_discovery_encode(const struct nvme_discovery_entry *entry,
			   struct nvme_discovery_wire *ret_wire)
{
	*ret_wire = (struct nvme_discovery_wire){
		.trtype = NVME_TRTYPE_TCP,
		.adrfam = entry->adrfam,
		.subtype = entry->subtype,
		.treq = entry->treq,
		.portid = htole16(entry->portid),
		.cntlid = htole16(entry->cntlid),
		.asqsz = htole16(entry->asqsz),
		.tsas = { entry->sectype },
	};
	/* Text is padded with spaces, an NQN with NUL (Base 2.0, sections 1.4.2 and 4.5). */
	memset(ret_wire->trsvcid, ' ', sizeof(ret_wire->trsvcid));
	memcpy(ret_wire->trsvcid, entry->trsvcid,
	       strnlen(entry->trsvcid, sizeof(ret_wire->trsvcid)));
	memset(ret_wire->traddr, ' ', sizeof(ret_wire->traddr));
	memcpy(ret_wire->traddr, entry->traddr, strnlen(entry->traddr, sizeof(ret_wire->traddr)));
	memcpy(ret_wire->subnqn, entry->subnqn, strlen(entry->subnqn));
}

/* A padded text field as a string; -EPROTO if empty or with bytes that are not printable. */
static int text_read(const char *field, size_t size, char *ret_text)
{
	size_t len = strnlen(field, size);

	while (len && field[len - 1] == ' ')
		len--;
	if (!len)
		return -EPROTO;
	for (size_t i = 0; i < len; i++)
		if (field[i] <= ' ' || field[i] == 0x7f)
			return -EPROTO;
	memcpy(ret_text, field, len);
	ret_text[len] = 0;
	return 0;
}

int nvme_discovery_decode(const struct nvme_discovery_wire *wire,
			  struct nvme_discovery_entry *ret_entry)
{
	struct nvme_discovery_entry entry = {
		.adrfam = wire->adrfam,
		.subtype = wire->subtype,
		.treq = wire->treq,
		.portid = le16toh(wire->portid),
		.cntlid = le16toh(wire->cntlid),
		.asqsz = le16toh(wire->asqsz),
		.sectype = wire->tsas[0],
	};

	if (wire->trtype != NVME_TRTYPE_TCP ||
	    (wire->adrfam != NVME_ADRFAM_IPV4 && wire->adrfam != NVME_ADRFAM_IPV6))
		return -EPROTONOSUPPORT;
	if (text_read(wire->trsvcid, sizeof(wire->trsvcid), entry.trsvcid) ||
	    text_read(wire->traddr, sizeof(wire->traddr), entry.traddr) ||
	    nvme_nqn_read(wire->subnqn, entry.subnqn))
		return -EPROTO;
	*ret_entry = entry;
	return 0;
}

/* Record i of the log page as it stands there: 0 is the header. */
static void record_make(const struct nvme_discovery_entry *entries, size_t n, __u64 genctr,
			size_t i, void *ret_record)
{
	if (i)
		nvme_discovery_encode(&entries[i - 1], ret_record);
	else
		*(struct nvme_discovery_header *)ret_record = (struct nvme_discovery_header){
			.genctr = htole64(genctr),
			.numrec = htole64(n),
		};
}

void nvme_discovery_log_read(const struct nvme_discovery_entry *entries, size_t n, __u64 genctr,
			     __u64 offset, void *dst, size_t len)
{
	union {
		struct nvme_discovery_header header;
		struct nvme_discovery_wire wire;
		__u8 bytes[1024];
	} record;
	__u8 *to = dst;

	while (len && offset < nvme_discovery_log_len(n)) {
		size_t skip = offset % sizeof(record);
		size_t part = sizeof(record) - skip < len ? sizeof(record) - skip : len;

		record_make(entries, n, genctr, offset / sizeof(record), &record);
		memcpy(to, record.bytes + skip, part);
		to += part;
		offset += part;
		len -= part;
	}
	memset(to, 0, len);
}
