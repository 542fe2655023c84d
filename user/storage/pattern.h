/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data that prove where they belong: each block carries a magic number, its byte address, its namespace, a seed and a
 * CRC32C over itself, and a body that follows from seed, namespace and address. So a block that was lost, torn,
 * misdirected, left over from an earlier run, or flipped in transit is told apart from the others, and every write of a
 * block writes the same bytes, whatever the order. Pure.
 *
 * A block, little endian: magic 8, address 8, seed 8, namespace 4, CRC32C of all the rest 4, body.
 */
#ifndef SLUICE_STORAGE_PATTERN_H
#define SLUICE_STORAGE_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_BLOCK_MIN 64

struct pattern {
	uint64_t seed;
	uint32_t nsid;
	uint32_t block; /* bytes: a multiple of 8, at least PATTERN_BLOCK_MIN */
};

enum pattern_kind {
	PATTERN_GOOD,
	PATTERN_ZERO,	   /* all zeroes: never written, or a backend that keeps nothing */
	PATTERN_FOREIGN,   /* no magic number: not written by this pattern */
	PATTERN_MISPLACED, /* a block of another address */
	PATTERN_NAMESPACE, /* a block of another namespace */
	PATTERN_SEED,	   /* a block of another seed: an earlier run */
	PATTERN_DAMAGED,   /* right header, other bytes are not what was written */
};

/* The first bad block. */
struct pattern_fault {
	enum pattern_kind kind;
	uint64_t address;      /* byte address of the block */
	uint64_t found;	       /* MISPLACED: the address, SEED: the seed, NAMESPACE: the namespace found */
	uint32_t first, bytes; /* DAMAGED: offset in the block of the first wrong byte, and number of wrong bytes */
};

/* Fills len bytes (whole blocks) that stand at byte `address` of the namespace. buf is 8-byte aligned. */
void pattern_fill(const struct pattern *p, uint64_t address, void *buf, size_t len);

/* Checks len bytes (whole blocks); returns the number of bad blocks and, if any, sets *ret_fault to the first. */
size_t pattern_check(const struct pattern *p, uint64_t address, const void *buf, size_t len,
		     struct pattern_fault *ret_fault);

/* One sentence about a fault, for people; returns text. */
const char *pattern_fault_text(const struct pattern_fault *fault, char *text, size_t size);

#endif
