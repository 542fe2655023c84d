/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histogram: log-linear buckets, 32 to the octave, so that a percentile is at most 3.2 % above the truth. 8
 * KiB, no allocation; zeroed memory is an empty histogram. Values are nanoseconds (any unit works). From 2^36 ns (68.7
 * s) on values share the last bucket; the maximum stays exact.
 *
 * One thread writes. Others may read at the same time through histogram_merge(): every counter is whole, but the
 * copy may miss the last values. Counters only grow.
 */
#ifndef SLUICE_STORAGE_HISTOGRAM_H
#define SLUICE_STORAGE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_BUCKETS  1024

struct histogram {
	uint64_t count; /* values added */
	uint64_t sum;	/* of all values, for the mean */
	uint64_t max;
	uint64_t min_inverse; /* UINT64_MAX - minimum: so that zeroed memory is empty */
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

/* The bucket of a value: itself below 32, then 32 buckets to each power of two. */
static inline unsigned int histogram_bucket(uint64_t value)
{
	unsigned int shift;

	if (value < (1u << HISTOGRAM_SUB_BITS))
		return (unsigned int)value;
	shift = 63 - (unsigned int)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	if (shift > HISTOGRAM_BUCKETS / (1u << HISTOGRAM_SUB_BITS) - 2)
		return HISTOGRAM_BUCKETS - 1;
	return (shift << HISTOGRAM_SUB_BITS) + (unsigned int)(value >> shift);
}

/* Relaxed atomic: plain instructions, and a reader of another thread sees whole counters. */
static inline void histogram_bump(uint64_t *counter, uint64_t by)
{
	__atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	histogram_bump(&h->bucket[histogram_bucket(value)], 1);
	histogram_bump(&h->count, 1);
	histogram_bump(&h->sum, value);
	if (value > h->max)
		__atomic_store_n(&h->max, value, __ATOMIC_RELAXED);
	if (UINT64_MAX - value > h->min_inverse)
		__atomic_store_n(&h->min_inverse, UINT64_MAX - value, __ATOMIC_RELAXED);
}

/* Adds all that is in src to dst. src may be written by another thread meanwhile; dst is the caller's. */
void histogram_merge(struct histogram *dst, const struct histogram *src);

/*
 * The value that `permille_of_percent` / 1000 percent of all values do not exceed: 50000 is the median, 99900 is p99.9.
 * The upper edge of the bucket, never above the maximum; 0 when empty.
 */
uint64_t histogram_percentile(const struct histogram *h, unsigned int permille_of_percent);

/* Arithmetic mean, 0 when empty. Exact. */
double histogram_mean(const struct histogram *h);

/* Smallest value, exact; 0 when empty. */
uint64_t histogram_min(const struct histogram *h);

#endif
