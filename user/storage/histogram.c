// SPDX-License-Identifier: Apache-2.0
/*
 * Reading of latency histograms; adding is inline in histogram.h because it is on the I/O path. Called by the target's
 * statistics and by `sluice io bench`. The percentile counts what the buckets hold, not h->count, so that a copy taken
 * while another thread adds never runs past its last bucket.
 */
#include "storage/histogram.h"

static uint64_t relaxed(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* The largest value that falls into bucket i. */
static uint64_t bucket_edge(unsigned int i)
{
	unsigned int shift;

	if (i < (1u << HISTOGRAM_SUB_BITS))
		return i;
	shift = (i >> HISTOGRAM_SUB_BITS) - 1;
	return (((uint64_t)(i - (shift << HISTOGRAM_SUB_BITS)) + 1) << shift) - 1;
}

void histogram_merge(struct histogram *dst, const struct histogram *src)
{
	uint64_t v;

	dst->count += relaxed(&src->count);
	dst->sum += relaxed(&src->sum);
	v = relaxed(&src->max);
	if (v > dst->max)
		dst->max = v;
	v = relaxed(&src->min_inverse);
	if (v > dst->min_inverse)
		dst->min_inverse = v;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		dst->bucket[i] += relaxed(&src->bucket[i]);
}

uint64_t histogram_percentile(const struct histogram *h, unsigned int permille_of_percent)
{
	uint64_t total = 0, seen = 0, rank;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += h->bucket[i];
	if (!total)
		return 0;
	/* the smallest rank whose share is not below what was asked; 128 bits, for counts near 2^64 */
	rank = (uint64_t)(((unsigned __int128)total * permille_of_percent + 99999) / 100000);
	if (!rank)
		rank = 1;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank) {
			uint64_t edge = i == HISTOGRAM_BUCKETS - 1 ? h->max : bucket_edge(i);

			return edge < h->max ? edge : h->max;
		}
	}
	return h->max;
}

double histogram_mean(const struct histogram *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

uint64_t histogram_min(const struct histogram *h)
{
	return h->count ? UINT64_MAX - h->min_inverse : 0;
}
