// SPDX-License-Identifier: Apache-2.0
/*
 * Questions for a policy of the reference; see reference.h. Mostly about one rule: an address at an edge of what it
 * names, or one beside it, a port at an edge of a range, or one beside it; the rest about anything.
 */
#include <string.h>

#include "base/util.h"
#include "reference.h"

#define one_in reference_one_in
#define below  reference_below

/* ----------------------------------------------------------------------- addresses */

/* The next or the previous address; wraps within the family. */
static void address_step(uint8_t addr[16], bool ipv4, bool up)
{
	int i = 15, end = ipv4 ? 12 : 0;

	for (; i >= end; i--) {
		addr[i] = (uint8_t)(addr[i] + (up ? 1 : 255));
		if (addr[i] != (up ? 0 : 255))
			return;
	}
}

enum place { PLACE_FIRST, PLACE_LAST, PLACE_INSIDE, PLACE_BEFORE, PLACE_AFTER, PLACE_SIBLING, PLACES };

/* An edge of a prefix, one address beside it, one inside, or the same edge of the prefix beside it. */
static void address_near(const struct reference_prefix *prefix, uint64_t *state, uint8_t ret_addr[16])
{
	unsigned int bit, family = prefix->ipv4 ? 96 : 0, bits = family + prefix->length;
	enum place place = (enum place)below(state, PLACES);

	memcpy(ret_addr, prefix->addr, 16);
	for (bit = bits; bit < 128; bit++) {
		if (place == PLACE_LAST || place == PLACE_AFTER || (place == PLACE_INSIDE && one_in(state, 2)))
			ret_addr[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
	if (place == PLACE_BEFORE || place == PLACE_AFTER)
		address_step(ret_addr, prefix->ipv4, place == PLACE_AFTER);
	if (place == PLACE_SIBLING && bits > family)
		ret_addr[(bits - 1) / 8] ^= (uint8_t)(0x80 >> (bits - 1) % 8);
	if (!prefix->ipv4 && reference_is_ipv4(ret_addr))
		ret_addr[10] = 0; /* no IPv6 address of the wire */
}

/* Some prefix of a list, of the family if it has one. */
static bool prefix_pick(const struct reference_prefixes *list, uint64_t *state, bool ipv4, struct reference_prefix *ret)
{
	unsigned int tries;

	for (tries = 0; list->count && tries < 8; tries++) {
		*ret = list->items[below(state, list->count)];
		if (ret->ipv4 == ipv4)
			return true;
	}
	return false;
}

static bool segment_pick(const struct reference_policy *p, unsigned int number, uint64_t *state, bool ipv4,
			 struct reference_prefix *ret)
{
	const struct reference_segment *s = &p->segments[number];

	while (s->members.count && one_in(state, 3))
		s = &p->segments[s->members.items[below(state, s->members.count)].number];
	if (one_in(state, 4) && prefix_pick(&s->except, state, ipv4, ret))
		return true;
	return prefix_pick(&s->include, state, ipv4, ret);
}

static void address_random(const struct reference_policy *p, uint64_t *state, bool ipv4, uint8_t ret_addr[16])
{
	struct reference_prefix prefix;
	unsigned int tries;

	for (tries = 0; tries < 4; tries++) {
		if (segment_pick(p, below(state, p->n_segments), state, ipv4, &prefix)) {
			address_near(&prefix, state, ret_addr);
			return;
		}
	}
	do {
		prefix = reference_prefix_random(state);
	} while (prefix.ipv4 != ipv4);
	address_near(&prefix, state, ret_addr);
}

static void address_of_side(const struct reference_policy *p, const struct reference_side *side, uint64_t *state,
			    bool ipv4, uint8_t ret_addr[16])
{
	const struct reference_names *names = &side->segments;
	struct reference_prefix prefix;
	bool found = prefix_pick(&side->literals, state, ipv4, &prefix);

	if (names->count && (!found || one_in(state, 2)))
		found = segment_pick(p, names->items[below(state, names->count)].number, state, ipv4, &prefix);
	if (found)
		address_near(&prefix, state, ret_addr);
	else
		address_random(p, state, ipv4, ret_addr);
}

/* ------------------------------------------------------------------------- service */

static uint16_t port_near(unsigned int first, unsigned int last, uint64_t *state)
{
	unsigned int port = one_in(state, 3)   ? first + below(state, last - first + 1)
			    : one_in(state, 2) ? first + below(state, 3) - 1
					       : last + below(state, 3) - 1;

	return port == 4789 || port == 6081 ? 4790 : (uint16_t)port;
}

static void service_ask(const struct reference_item *item, uint64_t *state, struct policy_query *q)
{
	q->protocol = item->protocol == -1 ? (uint8_t)below(state, 256) : (uint8_t)item->protocol;
	switch (q->protocol) {
	case 6:
	case 17:
	case 132:
		q->dest_port = port_near(item->dest_first, item->dest_last, state);
		q->source_port = port_near(item->source_first, item->source_last, state);
		return;
	case 1:
	case 58:
		q->dest_port = (uint16_t)(item->dest_first + (one_in(state, 2) ? below(state, 3) - 1 : 0));
		if (one_in(state, 3))
			q->dest_port = (uint16_t)(below(state, 16) << 8 | below(state, 6));
		return;
	}
}

static struct reference_item item_pick(const struct reference_policy *p, const struct reference_rule *rule,
				       uint64_t *state)
{
	const struct reference_service *s = rule ? &rule->items : &p->services[below(state, p->n_services)];

	if (rule && rule->services.count && (!s->count || one_in(state, 2)))
		s = &p->services[rule->services.items[below(state, rule->services.count)].number];
	return s->count && !one_in(state, 6) ? s->items[below(state, s->count)] : reference_item_random(state);
}

/* ----------------------------------------------------------------------- questions */

static uint16_t tenant_pick(const struct reference_policy *p, const struct reference_rule *rule, uint64_t *state)
{
	unsigned int tenant = below(state, p->n_tenants), tries, in = rule ? reference_rule_tenants(p, rule) : ~0u;

	for (tries = 0; tries < 32 && !(in >> tenant & 1); tries++)
		tenant = below(state, p->n_tenants);
	return (uint16_t)tenant;
}

void reference_query(const struct reference_policy *p, uint64_t *state, struct policy_query *ret_query)
{
	const struct reference_rule *rule =
		p->n_rules && !one_in(state, 4) ? &p->rules[below(state, p->n_rules)] : NULL;
	struct reference_item item = item_pick(p, rule, state);
	bool ipv4 = item.protocol == 1	  ? !one_in(state, 16)
		    : item.protocol == 58 ? one_in(state, 16)
					  : one_in(state, 2);

	*ret_query = (struct policy_query){.tenant = tenant_pick(p, one_in(state, 8) ? NULL : rule, state)};
	if (rule) {
		address_of_side(p, &rule->from, state, ipv4, ret_query->source);
		address_of_side(p, &rule->to, state, ipv4, ret_query->dest);
	} else {
		address_random(p, state, ipv4, ret_query->source);
		address_random(p, state, ipv4, ret_query->dest);
	}
	service_ask(&item, state, ret_query);
}
