// SPDX-License-Identifier: Apache-2.0
/*
 * A segment as a set of addresses that somebody outside the compiler asks, as `sluice flows` does a million times. Owns
 * its ranges, not the policy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/diagnostics.h"
#include "policy/ranges.h"

struct policy_addresses {
	const struct policy *policy;
	size_t segment;
	struct ranges ranges;
};

static int segment_find(const struct policy *p, const char *name, struct error *err, size_t *ret_segment)
{
	struct suggestion s = {.word = name};
	char near[SLUICE_NAME_LEN + 32];
	size_t i;

	for (i = 0; i < p->n_segments; i++) {
		if (!p->segments[i].name)
			continue;
		if (!strcmp(p->segments[i].name, name)) {
			*ret_segment = i;
			return 0;
		}
		suggestion_try(&s, p->segments[i].name);
	}
	return error_set(err, EINVAL, "policy %s has no segment '%.63s'%s", p->name, name,
			 s.best ? suggestion_text(&s, near, sizeof(near)) : "; `sluice show` lists them");
}

int policy_addresses_of(const struct policy *p, const char *segment, struct error *err,
			struct policy_addresses **ret_addresses)
{
	_cleanup_(policy_addresses_freep) struct policy_addresses *a = calloc(1, sizeof(*a));
	int r = a ? segment_find(p, segment, err, &a->segment) : -ENOMEM;

	if (!r) {
		a->policy = p;
		r = ranges_of_segment(p, a->segment, &a->ranges);
	}
	if (r)
		return r == -ENOMEM ? error_set(err, ENOMEM, "segment %.63s: out of memory", segment) : r;
	*ret_addresses = TAKE_PTR(a);
	return 0;
}

static bool list_has(const struct range_list *list, address_t address)
{
	size_t low = 0, high = list->count, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (list->items[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < list->count && list->items[low].first <= address;
}

bool policy_addresses_have(const struct policy_addresses *a, uint16_t tenant, const uint8_t addr[16])
{
	const struct range_list *list = policy_address_is_ipv4(addr) ? &a->ranges.v4 : &a->ranges.v6;

	return policy_segment_in_tenant(a->policy, a->segment, tenant) && list_has(list, address_number(addr));
}

void policy_addresses_free(struct policy_addresses *a)
{
	if (!a)
		return;
	ranges_done(&a->ranges);
	free(a);
}

void policy_addresses_freep(struct policy_addresses **a)
{
	policy_addresses_free(*a);
}
