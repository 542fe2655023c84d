// SPDX-License-Identifier: Apache-2.0
/* Histogram: the buckets cover all values in order, percentiles stay within their promised error, merging adds. */
#include <criterion/criterion.h>

#include "base/util.h"
#include "storage/histogram.h"

Test(histogram, empty_reads_zero)
{
	static struct histogram h;

	cr_assert_eq(histogram_percentile(&h, 50000), 0);
	cr_assert_eq(histogram_min(&h), 0);
	cr_assert_eq(histogram_mean(&h), 0);
}

Test(histogram, buckets_grow_with_values_and_never_overrun)
{
	unsigned int last = 0;

	for (uint64_t v = 0; v < (1 << 20); v++) {
		unsigned int b = histogram_bucket(v);

		cr_assert(b == last || b == last + 1, "value %lu skips from bucket %u to %u", v, last, b);
		last = b;
	}
	cr_assert_eq(histogram_bucket((1ull << 36) - 1), HISTOGRAM_BUCKETS - 1);
	cr_assert_eq(histogram_bucket(1ull << 36), HISTOGRAM_BUCKETS - 1);
	cr_assert_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
	cr_assert_eq(histogram_bucket((1ull << 36) - (1ull << 30) - 1), HISTOGRAM_BUCKETS - 2);
}

Test(histogram, percentiles_of_a_ramp)
{
	static struct histogram h;
	static const struct {
		unsigned int p;
		uint64_t truth;
	} rows[] = {{0, 1}, {50000, 500000}, {90000, 900000}, {99000, 990000}, {99900, 999000}, {100000, 1000000}};

	for (uint64_t v = 1; v <= 1000000; v++)
		histogram_add(&h, v);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = histogram_percentile(&h, rows[i].p);

		cr_assert(got >= rows[i].truth && got <= rows[i].truth + rows[i].truth / 31 + 1, "p%u is %lu, want %lu",
			  rows[i].p, got, rows[i].truth);
	}
	cr_assert_eq(h.max, 1000000);
	cr_assert_eq(histogram_min(&h), 1);
	cr_assert_float_eq(histogram_mean(&h), 500000.5, 1e-6);
}

Test(histogram, a_single_value_is_every_percentile)
{
	static struct histogram h;

	histogram_add(&h, 12345);
	cr_assert_eq(histogram_percentile(&h, 0), 12345);
	cr_assert_eq(histogram_percentile(&h, 50000), 12345);
	cr_assert_eq(histogram_percentile(&h, 99900), 12345);
}

Test(histogram, huge_values_keep_the_maximum)
{
	static struct histogram h;

	histogram_add(&h, 1ull << 40);
	histogram_add(&h, 10);
	cr_assert_eq(histogram_percentile(&h, 50000), 10);
	cr_assert_eq(histogram_percentile(&h, 99000), 1ull << 40);
}

Test(histogram, merge_adds)
{
	static struct histogram a, b, all;

	for (uint64_t v = 0; v < 1000; v++) {
		histogram_add(v % 3 ? &a : &b, v * 97);
		histogram_add(&all, v * 97);
	}
	histogram_merge(&a, &b);
	cr_assert_arr_eq(&a, &all, sizeof(a));
}
