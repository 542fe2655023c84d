// SPDX-License-Identifier: Apache-2.0
/*
 * The live bank as it stands in the kernel, copied: what `plan`, `show` and `rollback` compare with. No counter is
 * read, so that it costs little at 100,000 rules. An apply may flip meanwhile and the next one write into what is being
 * read: a copy counts only if the generation is still the same afterwards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

#define READ_TRIES 8

void dataplane_live_done(struct dataplane_live *live)
{
	free(live->rules);
	free(live->tenants);
	memset(live, 0, sizeof(*live));
}

/* The first `count` entries of a table (fewer if it has fewer); SIZE_MAX: all. */
static int table_copy(const struct dataplane *dp, enum bank_table table, unsigned int bank, size_t size, size_t count,
		      void **ret_copy, size_t *ret_count)
{
	struct table_view view = {};
	int r = table_view(dp, table, bank, PROT_READ, &view);
	void *copy;

	if (r)
		return r;
	count = min(count, view.count);
	copy = calloc(count + 1, size);
	if (copy)
		memcpy(copy, view.address, count * size);
	table_unview(&view);
	if (!copy)
		return -ENOMEM;
	*ret_copy = copy;
	*ret_count = count;
	return 0;
}

static int live_read(const struct dataplane *dp, struct dataplane_live *l)
{
	unsigned int bank = l->generation & 1;
	_cleanup_free_ void *head = NULL;
	void *copy;
	size_t one;
	int r;

	r = table_copy(dp, TABLE_policy, bank, sizeof(l->head), 1, &head, &one);
	if (r)
		return r;
	memcpy(&l->head, head, sizeof(l->head));
	r = table_copy(dp, TABLE_rules, bank, sizeof(*l->rules), l->head.rules, &copy, &l->n_rules);
	if (r)
		return r;
	l->rules = copy;
	r = table_copy(dp, TABLE_tenants, bank, sizeof(*l->tenants), SIZE_MAX, &copy, &l->n_tenants);
	if (!r)
		l->tenants = copy;
	return r;
}

int dataplane_live(struct dataplane *dp, struct error *err, struct dataplane_live *ret_live)
{
	_cleanup_(dataplane_live_done) struct dataplane_live l = {};
	int tries, r = -EAGAIN;

	for (tries = 0; r == -EAGAIN && tries < READ_TRIES; tries++) {
		dataplane_live_done(&l);
		l.generation = __atomic_load_n(&dp->control->generation, __ATOMIC_ACQUIRE);
		r = l.generation ? live_read(dp, &l) : 0;
		if (!r)
			r = trial_read(dp, l.generation, &l.trial);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!r && __atomic_load_n(&dp->control->generation, __ATOMIC_RELAXED) != l.generation)
			r = -EAGAIN;
	}
	if (r)
		return error_system(err, -r, "%s: cannot read the live policy", dp->root);
	*ret_live = l;
	memset(&l, 0, sizeof(l));
	return 0;
}
