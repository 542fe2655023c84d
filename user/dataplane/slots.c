// SPDX-License-Identifier: Apache-2.0
/*
 * Counter slots: a rule that says the same under the same name keeps its slot, and so its counters, across policies; a
 * new one gets a slot that no live rule uses, zeroed before the flip, and full buckets if it has a limit. When all free ones are gone, slots of rules that
 * end with this flip are taken and zeroed after it. Called by apply.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

#define ZERO_BATCH 1024

static int rule_compare(const void *a, const void *b)
{
	const struct sluice_rule *x = *(const struct sluice_rule *const *)a, *y = *(const struct sluice_rule *const *)b;

	if (x->identity != y->identity)
		return x->identity < y->identity ? -1 : 1;
	return strncmp(x->name, y->name, sizeof(x->name));
}

/* The live rules, sorted for search. */
struct live_rules {
	struct table_view view;
	const struct sluice_rule **sorted;
	size_t count;
};

static void live_rules_done(struct live_rules *l)
{
	free(l->sorted);
	table_unview(&l->view);
}

static int live_rules_get(const struct dataplane *dp, struct live_rules *l)
{
	unsigned int bank = dp->control->generation & 1;
	struct table_view head = {};
	size_t i;
	int r;

	if (!dp->control->generation)
		return 0;
	r = table_view(dp, TABLE_policy, bank, PROT_READ, &head);
	if (!r)
		r = table_view(dp, TABLE_rules, bank, PROT_READ, &l->view);
	if (!r) {
		l->count = min((size_t)((const struct sluice_policy *)head.address)->rules, l->view.count);
		l->sorted = calloc(l->count + 1, sizeof(*l->sorted));
		r = l->sorted ? 0 : -ENOMEM;
	}
	table_unview(&head);
	for (i = 0; !r && i < l->count; i++)
		l->sorted[i] = (const struct sluice_rule *)l->view.address + i;
	if (!r)
		qsort(l->sorted, l->count, sizeof(*l->sorted), rule_compare);
	return r;
}

static const struct sluice_rule *live_rules_find(const struct live_rules *l, const struct sluice_rule *rule)
{
	const struct sluice_rule **found =
		l->count ? bsearch(&rule, l->sorted, l->count, sizeof(*l->sorted), rule_compare) : NULL;

	return found ? *found : NULL;
}

enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_TAKEN };

#define SLOT_UNASSIGNED 0xffffffffu

/* First the kept ones: only then is known what else is taken. */
static size_t slots_keep(struct policy_tables *t, const struct live_rules *live, uint8_t *state)
{
	const struct sluice_rule *before;
	size_t i, kept = 0;

	for (i = 0; i < live->count; i++)
		if (live->sorted[i]->slot < SLUICE_MAX_RULES)
			state[live->sorted[i]->slot] = SLOT_LIVE;
	for (i = 0; i < t->n_rules; i++) {
		before = live_rules_find(live, &t->rules[i]);
		if (before && before->slot < SLUICE_MAX_RULES && state[before->slot] == SLOT_LIVE) {
			t->rules[i].slot = before->slot;
			state[before->slot] = SLOT_TAKEN;
			kept++;
		} else {
			t->rules[i].slot = SLOT_UNASSIGNED;
		}
	}
	return kept;
}

/* Gives slots in state `from`, lowest first, to rules without one; the slots given, in order, into `given`. */
static size_t slots_give(struct policy_tables *t, uint8_t *state, enum slot_state from, uint32_t *given)
{
	size_t i, count = 0;
	uint32_t slot = 0;

	for (i = 0; i < t->n_rules; i++) {
		if (t->rules[i].slot != SLOT_UNASSIGNED)
			continue;
		while (slot < SLUICE_MAX_RULES && state[slot] != from)
			slot++;
		if (slot == SLUICE_MAX_RULES)
			break;
		state[slot] = SLOT_TAKEN;
		t->rules[i].slot = slot;
		given[count++] = slot;
	}
	return count;
}

static int slots_zero(const struct dataplane *dp, const uint32_t *slots, size_t count, struct error *err)
{
	_cleanup_free_ struct sluice_rule_counter *zeroes = calloc(ZERO_BATCH * (size_t)dp->n_cpus, sizeof(*zeroes));
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 part;

	if (!zeroes)
		return error_set(err, ENOMEM, "rule counters: out of memory");
	for (; count; count -= part, slots += part) {
		part = (__u32)min(count, (size_t)ZERO_BATCH);
		if (bpf_map_update_batch(dp->map[MAP_rule_counters], slots, zeroes, &part, &opts))
			return error_system(err, errno, "rule counters: cannot zero");
	}
	return 0;
}

/* A new rule begins with counters at 0 and full buckets. */
int slots_begin(const struct dataplane *dp, const uint32_t *slots, size_t count, struct error *err)
{
	int r = slots_zero(dp, slots, count, err);

	return r ? r : limits_fill(dp, slots, count, err);
}

int slots_assign(struct dataplane *dp, struct policy_tables *t, struct error *err, size_t *ret_kept,
		 struct late_slots *ret_late)
{
	_cleanup_(live_rules_done) struct live_rules live = {};
	_cleanup_free_ uint8_t *state = calloc(SLUICE_MAX_RULES, 1);
	_cleanup_free_ uint32_t *given = calloc(t->n_rules + 1, sizeof(*given));
	_cleanup_free_ uint32_t *late = calloc(t->n_rules + 1, sizeof(*late));
	size_t kept, fresh, n_late;
	int r = state && given && late ? live_rules_get(dp, &live) : -ENOMEM;

	if (r)
		return error_system(err, -r, "%s: cannot read the live rules", dp->root);
	if (t->n_rules > SLUICE_MAX_RULES)
		return error_set(err, E2BIG, "%zu rules, the kernel table holds %d; merge rules", t->n_rules,
				 SLUICE_MAX_RULES);
	kept = slots_keep(t, &live, state);
	fresh = slots_give(t, state, SLOT_FREE, given);
	n_late = slots_give(t, state, SLOT_LIVE, late);
	r = slots_begin(dp, given, fresh, err);
	if (r)
		return r;
	*ret_kept = kept;
	*ret_late = (struct late_slots){TAKE_PTR(late), n_late};
	return 0;
}
