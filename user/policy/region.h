/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of addresses with the intervals that cover them, and the fewest prefixes that say the same as a few intervals.
 * For lines.c. Internal to user/policy.
 */
#ifndef SLUICE_POLICY_REGION_H
#define SLUICE_POLICY_REGION_H

#include "policy/compile.h"

/* The 2^bits addresses from `first`; intervals[low..high] cover them. */
struct region {
	address_t first;
	unsigned int bits;
	size_t low;
	size_t high;
};

/*
 * Prefixes within a region, the first that fits decides; only SLUICE_MATCH_TAILS, and these the first, are more than
 * SLUICE_MATCH_BITS longer than the region. The interval `low` of each says its class.
 */
struct cover {
	uint32_t other; /* class where none fits */
	size_t count;
	struct region prefix[SLUICE_MATCH_PREFIXES];
};

static inline address_t interval_first(const struct interval *intervals, size_t i)
{
	return i ? intervals[i - 1].last + 1 : 0;
}

/* Narrows low and high, which may be too far apart, to the intervals that the addresses lie in. */
void region_narrow(const struct interval *intervals, struct region *r);

/*
 * The smallest block that holds all that is not uniform, if around it there is one class; at most `longer` bits longer
 * than the region, which is not uniform itself. False: it is the region, or there are two classes around it.
 */
bool region_core(const struct interval *intervals, const struct region *r, unsigned int longer,
		 struct region *ret_core);

/* False: there are more prefixes than a line holds, or too many intervals to look. */
bool cover_find(const struct interval *intervals, const struct region *r, struct cover *ret_cover);

#endif
