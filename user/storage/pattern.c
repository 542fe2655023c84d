// SPDX-License-Identifier: Apache-2.0
/*
 * Fills and checks self-describing blocks; see pattern.h. Called by `sluice io verify` and `bench --verify`. Checking
 * is the CRC when all is well (fast, in place); only a block that fails it is generated again to say what differs.
 */
#include "storage/pattern.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nvme/pdu.h"

#define PATTERN_MAGIC 0x6b636f6c42756c53ull /* "SluBlock" */

struct block_header {
	__le64 magic;
	__le64 address;
	__le64 seed;
	__le32 nsid;
	__le32 crc; /* over the block with this field left out */
};

/* SplitMix64: one multiply-xor chain a word, no state to carry, every word depends on all of the seed. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint32_t block_crc(const struct block_header *header, uint32_t block)
{
	uint32_t crc = pdu_crc_update(PDU_CRC_INIT, header, offsetof(struct block_header, crc));

	return ~pdu_crc_update(crc, header + 1, block - sizeof(*header));
}

static void fill_block(const struct pattern *p, uint64_t address, void *buf)
{
	struct block_header *header = buf;
	uint64_t *body = (uint64_t *)(header + 1);
	uint64_t x = mix(p->seed + mix(address + ((uint64_t)p->nsid << 48)));

	header->magic = htole64(PATTERN_MAGIC);
	header->address = htole64(address);
	header->seed = htole64(p->seed);
	header->nsid = htole32(p->nsid);
	for (size_t i = 0; i < (p->block - sizeof(*header)) / sizeof(*body); i++)
		body[i] = htole64(mix(x += 0x9e3779b97f4a7c15ull));
	header->crc = htole32(block_crc(header, p->block));
}

void pattern_fill(const struct pattern *p, uint64_t address, void *buf, size_t len)
{
	for (size_t done = 0; done < len; done += p->block)
		fill_block(p, address + done, (uint8_t *)buf + done);
}

static int is_zero(const uint8_t *buf, size_t len)
{
	return !buf[0] && !memcmp(buf, buf + 1, len - 1);
}

/* Where a block whose header is right but whose CRC is not differs from what was written: word by word. */
static void locate_damage(const struct pattern *p, const uint8_t *buf, struct pattern_fault *fault)
{
	const struct block_header *header = (const void *)buf;
	uint64_t x = mix(p->seed + mix(fault->address + ((uint64_t)p->nsid << 48)));
	struct block_header good = *header;

	fault->first = offsetof(struct block_header, crc);
	fault->bytes = 0;
	for (size_t at = sizeof(good); at < p->block; at += sizeof(uint64_t)) {
		uint64_t word = htole64(mix(x += 0x9e3779b97f4a7c15ull));

		for (size_t i = 0; i < sizeof(word); i++) {
			if (buf[at + i] == ((const uint8_t *)&word)[i])
				continue;
			if (!fault->bytes++)
				fault->first = (uint32_t)(at + i);
		}
	}
	if (!fault->bytes)
		fault->bytes = sizeof(good.crc);
}

static enum pattern_kind judge(const struct pattern *p, uint64_t address, const uint8_t *buf, uint64_t *ret_found)
{
	const struct block_header *header = (const void *)buf;

	if (le64toh(header->magic) != PATTERN_MAGIC)
		return is_zero(buf, p->block) ? PATTERN_ZERO : PATTERN_FOREIGN;
	if (le64toh(header->address) != address) {
		*ret_found = le64toh(header->address);
		return PATTERN_MISPLACED;
	}
	if (le32toh(header->nsid) != p->nsid) {
		*ret_found = le32toh(header->nsid);
		return PATTERN_NAMESPACE;
	}
	if (le64toh(header->seed) != p->seed) {
		*ret_found = le64toh(header->seed);
		return PATTERN_SEED;
	}
	return le32toh(header->crc) == block_crc(header, p->block) ? PATTERN_GOOD : PATTERN_DAMAGED;
}

size_t pattern_check(const struct pattern *p, uint64_t address, const void *buf, size_t len,
		     struct pattern_fault *ret_fault)
{
	size_t bad = 0;

	for (size_t done = 0; done < len; done += p->block) {
		const uint8_t *block = (const uint8_t *)buf + done;
		struct pattern_fault fault = {.address = address + done};

		fault.kind = judge(p, address + done, block, &fault.found);
		if (fault.kind == PATTERN_GOOD || bad++)
			continue;
		if (fault.kind == PATTERN_DAMAGED)
			locate_damage(p, block, &fault);
		*ret_fault = fault;
	}
	return bad;
}

const char *pattern_fault_text(const struct pattern_fault *fault, char *text, size_t size)
{
	static const char *const kinds[] = {
		[PATTERN_GOOD] = "good",
		[PATTERN_ZERO] = "all zeroes: it was never written, or the backend keeps no data",
		[PATTERN_FOREIGN] = "not written by verify",
	};
	int n = snprintf(text, size, "block at byte %" PRIu64 ": ", fault->address);
	char *at = text + n;

	size = n >= 0 && (size_t)n < size ? size - (size_t)n : 0;
	switch (fault->kind) {
	case PATTERN_MISPLACED:
		snprintf(at, size, "holds the block that belongs at byte %" PRIu64, fault->found);
		break;
	case PATTERN_NAMESPACE:
		snprintf(at, size, "holds the block of namespace %" PRIu64, fault->found);
		break;
	case PATTERN_SEED:
		snprintf(at, size, "holds an earlier run's data, seed %" PRIu64, fault->found);
		break;
	case PATTERN_DAMAGED:
		snprintf(at, size, "damaged: %u wrong bytes, the first at byte %u of the block", fault->bytes,
			 fault->first);
		break;
	default:
		snprintf(at, size, "%s", kinds[fault->kind]);
	}
	return text;
}
