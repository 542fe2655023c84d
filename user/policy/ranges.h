/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of addresses as sorted, disjoint, non-touching ranges: the normal form of segments. Internal to user/policy. */
#ifndef SLUICE_POLICY_RANGES_H
#define SLUICE_POLICY_RANGES_H

#include "policy/model.h"

/* An address as a number: 32 significant bits for IPv4, 128 for IPv6; the family is known from context. */
typedef unsigned __int128 address_t;

#define ADDRESS_MAX4 ((address_t)UINT32_MAX)
#define ADDRESS_MAX6 (~(address_t)0)

struct range {
	address_t first;
	address_t last; /* inclusive */
};

struct range_list {
	struct range *items;
	size_t count;
	size_t capacity;
};

struct ranges {
	struct range_list v4;
	struct range_list v6;
};

/* Of 16 bytes as in policy_query; an IPv4-mapped address gives its 32 bits. */
address_t address_number(const uint8_t addr[16]);

/* The addresses of a segment, in normal form. 0 or -ENOMEM; ranges_done() in any case. */
int ranges_of_segment(const struct policy *p, size_t segment, struct ranges *ranges);
/* The union over those segments that hold in `tenant`. */
int ranges_of_segments(const struct policy *p, const size_t *segments, size_t count, uint16_t tenant,
		       struct ranges *ranges);
void ranges_done(struct ranges *ranges);

/* Whether every address of `inner` is in `outer`; both in normal form. */
bool ranges_cover(const struct ranges *outer, const struct ranges *inner);

#endif
