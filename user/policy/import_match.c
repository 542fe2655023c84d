// SPDX-License-Identifier: Apache-2.0
/*
 * Conditions on packets and what two of them have in common: needed to inline chains and to put several conditions of
 * one rule together. Prefixes nest or are disjoint, so the common part of two lists is a list again.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/import_internal.h"
#include "policy/ranges.h"
#include "policy/values.h"

/* Lists up to this length are kept free of prefixes that add nothing; to look would cost too much in longer ones. */
#define TIDY_MAX 256

struct import_match import_match_any(unsigned int families)
{
	return (struct import_match){
		.side = {{.any = true}, {.any = true}},
		.any_service = true,
		.families = families,
		.states = IMPORT_STATES,
	};
}

bool import_match_is_any(const struct import_match *m)
{
	return m->side[IMPORT_FROM].any && m->side[IMPORT_TO].any && m->any_service;
}

static bool prefixes_equal(const struct policy_prefix *a, size_t n_a, const struct policy_prefix *b, size_t n_b)
{
	size_t i;

	if (n_a != n_b)
		return false;
	for (i = 0; i < n_a; i++)
		if (a[i].ipv4 != b[i].ipv4 || a[i].length != b[i].length || memcmp(a[i].addr, b[i].addr, 16))
			return false;
	return true;
}

static bool sides_equal(const struct import_side *a, const struct import_side *b)
{
	return a->any == b->any && prefixes_equal(a->include, a->n_include, b->include, b->n_include) &&
	       prefixes_equal(a->except, a->n_except, b->except, b->n_except);
}

static bool items_equal(const struct policy_item *a, const struct policy_item *b)
{
	return a->any_protocol == b->any_protocol && a->protocol == b->protocol && a->dest_first == b->dest_first &&
	       a->dest_last == b->dest_last && a->source_first == b->source_first && a->source_last == b->source_last;
}

bool import_match_equal(const struct import_match *a, const struct import_match *b)
{
	size_t i;

	if (a->families != b->families || a->states != b->states || a->any_service != b->any_service ||
	    a->n_items != b->n_items || !sides_equal(&a->side[0], &b->side[0]) ||
	    !sides_equal(&a->side[1], &b->side[1]))
		return false;
	for (i = 0; i < a->n_items; i++)
		if (!items_equal(&a->items[i], &b->items[i]))
			return false;
	return true;
}

/* ------------------------------------------------------------------------- sides */

static bool prefix_covers(const struct policy_prefix *outer, const struct policy_prefix *inner)
{
	return outer->ipv4 == inner->ipv4 && outer->length <= inner->length &&
	       policy_prefix_contains(outer, inner->addr);
}

static bool family_fits(const struct policy_prefix *p, unsigned int families)
{
	return families & (p->ipv4 ? IMPORT_IPV4 : IMPORT_IPV6);
}

static void prefix_append(struct import *im, struct policy_prefix **list, size_t *count, const struct policy_prefix *p)
{
	struct policy_prefix *slot;
	size_t i;

	for (i = 0; i < *count && *count < TIDY_MAX; i++)
		if (prefix_covers(&(*list)[i], p))
			return;
	slot = import_add(im, list, count, sizeof(*slot));
	if (slot)
		*slot = *p;
}

static void includes_both(struct import *im, const struct import_side *a, const struct import_side *b,
			  struct import_side *ret)
{
	const struct policy_prefix *x, *y;

	for (x = a->include; a->n_include && x < a->include + a->n_include; x++) {
		for (y = b->include; b->n_include && y < b->include + b->n_include; y++) {
			if (prefix_covers(x, y))
				prefix_append(im, &ret->include, &ret->n_include, y);
			else if (prefix_covers(y, x))
				prefix_append(im, &ret->include, &ret->n_include, x);
		}
	}
}

/* Keeps of an `except` what takes something away from `include`; false: it takes all of it. */
static bool excepts_trim(struct import *im, const struct policy_prefix *except, size_t count, struct import_side *side)
{
	const struct policy_prefix *x;
	size_t i, kept = 0;
	bool touches;

	for (x = except; count && x < except + count; x++) {
		touches = false;
		for (i = 0, kept = 0; i < side->n_include; i++) {
			touches |= prefix_covers(&side->include[i], x);
			if (!prefix_covers(x, &side->include[i]))
				side->include[kept++] = side->include[i];
		}
		side->n_include = kept;
		if (touches)
			prefix_append(im, &side->except, &side->n_except, x);
	}
	return side->n_include;
}

static bool side_both(struct import *im, const struct import_side *a, const struct import_side *b,
		      struct import_side *ret)
{
	struct import_side both = {};

	if (a->any || b->any) {
		*ret = a->any ? *b : *a;
		return true;
	}
	includes_both(im, a, b, &both);
	if (!excepts_trim(im, a->except, a->n_except, &both) || !excepts_trim(im, b->except, b->n_except, &both))
		return false;
	if (sides_equal(a, &both))
		both.name = a->name;
	else if (sides_equal(b, &both))
		both.name = b->name;
	*ret = both;
	return true;
}

/* Sides whose family the match cannot have lose those prefixes; the match loses families that a side has not. */
static bool families_settle(struct import *im, struct import_match *m)
{
	unsigned int side, has, before;
	struct import_side *s;
	size_t i, kept;

	do {
		before = m->families;
		for (side = 0; side < 2; side++) {
			s = &m->side[side];
			if (s->any)
				continue;
			for (i = 0, kept = 0, has = 0; i < s->n_include; i++)
				if (family_fits(&s->include[i], m->families))
					kept++, has |= s->include[i].ipv4 ? IMPORT_IPV4 : IMPORT_IPV6;
			if (kept < s->n_include) {
				struct policy_prefix *fit = import_alloc(im, max(kept, (size_t)1) * sizeof(*fit));

				for (i = 0, kept = 0; fit && i < s->n_include; i++)
					if (family_fits(&s->include[i], m->families))
						fit[kept++] = s->include[i];
				s->include = fit;
				s->n_include = fit ? kept : 0;
				s->name = NULL;
			}
			m->families &= has;
		}
	} while (m->families != before);
	return m->families;
}

bool import_match_side(struct import *im, struct import_match *m, unsigned int side,
		       const struct policy_prefix *prefixes, size_t count, bool negated, const char *name)
{
	static const struct policy_prefix all[] = {{.addr = {[10] = 0xff, [11] = 0xff}, .ipv4 = true}, {}};
	struct import_side added = {.name = negated ? NULL : name};
	size_t i;

	if (negated) {
		/* Whoever is not in a list of IPv4 addresses is an IPv4 address: that is how the filters read it. */
		for (i = 0; i < ARRAY_SIZE(all); i++)
			if (count && all[i].ipv4 == prefixes[0].ipv4)
				prefix_append(im, &added.include, &added.n_include, &all[i]);
		if (!excepts_trim(im, prefixes, count, &added))
			return false;
	}
	for (i = 0; !negated && i < count; i++)
		prefix_append(im, &added.include, &added.n_include, &prefixes[i]);
	return added.n_include && side_both(im, &m->side[side], &added, &m->side[side]) && families_settle(im, m);
}

/* ------------------------------------------------------------------------- items */

static bool item_both(const struct policy_item *a, const struct policy_item *b, struct policy_item *ret)
{
	*ret = (struct policy_item){
		.any_protocol = a->any_protocol && b->any_protocol,
		.protocol = a->any_protocol ? b->protocol : a->protocol,
		.dest_first = max(a->dest_first, b->dest_first),
		.dest_last = min(a->dest_last, b->dest_last),
		.source_first = max(a->source_first, b->source_first),
		.source_last = min(a->source_last, b->source_last),
	};
	return (a->any_protocol || b->any_protocol || a->protocol == b->protocol) &&
	       ret->dest_first <= ret->dest_last && ret->source_first <= ret->source_last;
}

bool import_match_items(struct import *im, struct import_match *m, const struct policy_item *items, size_t count)
{
	static const struct policy_item everything = {.any_protocol = true, .dest_last = 65535, .source_last = 65535};
	const struct policy_item *own = m->any_service ? &everything : m->items;
	size_t n_own = m->any_service ? 1 : m->n_items, i, k, n = 0;
	struct policy_item *both = NULL, one, *slot;

	for (i = 0; i < n_own; i++) {
		for (k = 0; k < count; k++) {
			if (!item_both(&own[i], &items[k], &one))
				continue;
			slot = import_add(im, &both, &n, sizeof(*slot));
			if (slot)
				*slot = one;
		}
	}
	m->any_service = false;
	m->items = both;
	m->n_items = n;
	return n;
}

static int dest_compare(const void *a, const void *b)
{
	const struct policy_item *x = a, *y = b;

	return x->dest_first < y->dest_first ? -1 : x->dest_first > y->dest_first;
}

/* All are destination ports of one protocol, or all source ports: then the rest is what lies between them. */
struct policy_item *import_items_negate(struct import *im, const struct policy_item *items, size_t *count)
{
	bool source = *count && (items[0].source_first || items[0].source_last != 65535);
	struct policy_item *sorted = import_alloc(im, max(*count, (size_t)1) * sizeof(*sorted)), *rest = NULL, *slot;
	unsigned int next = 0;
	size_t i, n = 0;

	for (i = 0; sorted && i < *count; i++) {
		sorted[i] = items[i];
		if (source) {
			sorted[i].dest_first = items[i].source_first;
			sorted[i].dest_last = items[i].source_last;
		}
	}
	if (sorted)
		qsort(sorted, *count, sizeof(*sorted), dest_compare);
	for (i = 0; sorted && i <= *count; i++) {
		unsigned int first = i < *count ? sorted[i].dest_first : 65536;

		if (first > next) {
			slot = import_add(im, &rest, &n, sizeof(*slot));
			if (!slot)
				break;
			*slot = items[0];
			*(source ? &slot->source_first : &slot->dest_first) = (uint16_t)next;
			*(source ? &slot->source_last : &slot->dest_last) = (uint16_t)(first - 1);
		}
		if (i < *count)
			next = max(next, sorted[i].dest_last + 1u);
	}
	*count = n;
	return rest;
}

bool import_match_both(struct import *im, const struct import_match *a, const struct import_match *b,
		       struct import_match *ret_match)
{
	struct import_match both = *a;

	both.families &= b->families;
	both.states &= b->states;
	if (!both.families || !both.states)
		return false;
	if (!side_both(im, &a->side[0], &b->side[0], &both.side[0]) ||
	    !side_both(im, &a->side[1], &b->side[1], &both.side[1]))
		return false;
	if (!b->any_service && !import_match_items(im, &both, b->items, b->n_items))
		return false;
	if (!families_settle(im, &both))
		return false;
	*ret_match = both;
	return true;
}

/* ------------------------------------------------------------------------ prefixes */

bool import_prefix_read(const char *text, struct policy_prefix *ret_prefix)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	struct policy_prefix p = {};
	char address[INET6_ADDRSTRLEN];
	unsigned int bit;
	char *end;
	unsigned long length;

	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = 0;
	if (inet_pton(AF_INET, address, p.addr + 12) == 1) {
		p.addr[10] = p.addr[11] = 0xff;
		p.ipv4 = true;
	} else if (inet_pton(AF_INET6, address, p.addr) != 1) {
		return false;
	}
	length = p.ipv4 ? 32 : 128;
	if (slash) {
		unsigned long said = strtoul(slash + 1, &end, 10);

		if (end == slash + 1 || *end || said > length || slash[1] < '0' || slash[1] > '9')
			return false;
		length = said;
	}
	p.length = (uint8_t)length;
	for (bit = p.ipv4 ? 96u + p.length : p.length; bit < 128; bit++)
		p.addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	*ret_prefix = p;
	return true;
}

static void address_bytes(address_t number, bool ipv4, uint8_t addr[16])
{
	int i;

	memset(addr, 0, 16);
	for (i = 15; i >= (ipv4 ? 12 : 0); i--, number >>= 8)
		addr[i] = (uint8_t)number;
	if (ipv4)
		addr[10] = addr[11] = 0xff;
}

void import_prefixes_of_range(struct import *im, const uint8_t first[16], const uint8_t last[16],
			      struct policy_prefix **prefixes, size_t *count)
{
	bool ipv4 = policy_address_is_ipv4(first);
	address_t at = address_number(first), end = address_number(last), span;
	struct policy_prefix *slot;
	unsigned int host;

	while (at <= end) {
		/* The largest block that begins here and ends in time. */
		for (host = 0; host < (ipv4 ? 32u : 127u); host++) {
			span = ((address_t)2 << host) - 1;
			if ((at & span) || end - at < span)
				break;
		}
		slot = import_add(im, prefixes, count, sizeof(*slot));
		if (!slot)
			return;
		slot->ipv4 = ipv4;
		slot->length = (uint8_t)((ipv4 ? 32u : 128u) - host);
		address_bytes(at, ipv4, slot->addr);
		span = ((address_t)1 << host) - 1;
		if (end - at <= span)
			return;
		at += span + 1;
	}
}
