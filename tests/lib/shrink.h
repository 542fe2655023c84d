/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a failing case small: from a random policy and a packet to those parts of both without which the failure goes
 * away (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), then to the simplest values.
 */
#ifndef SLUICE_TESTS_SHRINK_H
#define SLUICE_TESTS_SHRINK_H

#include "reference.h"

/* Whether the case still fails. Parts may be off, and the text may not load any more: then it does not. */
typedef bool (*shrink_fails_fn)(void *arg, const struct reference_policy *p, const struct policy_query *q);

/* The case must fail. Changes both in place; returns how often `fails` was asked. */
unsigned int shrink(struct reference_policy *p, struct policy_query *q, shrink_fails_fn fails, void *arg);

/* Parts that are still on: rules, segments, prefixes, items and names in lists. */
struct shrink_size {
	unsigned int rules, segments, services, prefixes, items, names;
};
void shrink_measure(const struct reference_policy *p, struct shrink_size *ret);

#endif
