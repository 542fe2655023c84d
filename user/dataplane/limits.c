// SPDX-License-Identifier: Apache-2.0
/*
 * Limits of rules in the kernel. What a limit is goes with its bank, so it comes into force and goes with the policy;
 * what of it is used up goes with the counter slot, so it stays with a rule that stays. Called by apply and replay.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "dataplane/internal.h"

int limits_load(const struct dataplane *dp, unsigned int bank, const struct policy_tables *t, struct error *err)
{
	const size_t bytes = SLUICE_MAX_RULES * sizeof(struct sluice_limit);
	struct sluice_limit *limits;
	size_t i;

	if (!(t->head.flags & SLUICE_HAS_LIMITS))
		return 0; /* nobody reads them */
	limits = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dp->map[MAP_limits], (off_t)(bank * bytes));
	if (limits == MAP_FAILED)
		return error_system(err, errno, "%s: cannot write the limits of bank %u", dp->root, bank);
	memset(limits, 0, bytes);
	for (i = 0; i < t->n_rules; i++)
		limits[t->rules[i].slot] = policy_limit_compile(&t->rules[i]);
	munmap(limits, bytes);
	return 0;
}

int limits_fill(const struct dataplane *dp, const uint32_t *slots, size_t count, struct error *err)
{
	const size_t bytes = SLUICE_MAX_RULES * sizeof(__u64);
	__u64 *buckets;
	size_t i;

	buckets = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, dp->map[MAP_limit_buckets], 0);
	if (buckets == MAP_FAILED)
		return error_system(err, errno, "%s: cannot fill the buckets of new rules", dp->root);
	for (i = 0; i < count; i++)
		buckets[sluice_limit_bucket(slots[i])] = 0;
	munmap(buckets, bytes);
	return 0;
}
