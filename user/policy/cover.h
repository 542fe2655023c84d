/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sets contain which, for many sets at once and without comparing all pairs: what shadow.c asks of addresses and
 * of services. Internal to user/policy.
 */
#ifndef SLUICE_POLICY_COVER_H
#define SLUICE_POLICY_COVER_H

#include "policy/array.h"
#include "policy/ranges.h"

/* A range of one coordinate (addresses of one family; protocol << 16 | destination port) and, across, source ports. */
struct box {
	address_t first;
	address_t last; /* inclusive */
	uint32_t low;
	uint32_t high; /* inclusive */
};

/* How many elementary steps may still be done; 0: what is asked is no longer looked for. */
struct work {
	size_t left;
};

static inline bool work_take(struct work *w, size_t steps)
{
	w->left = w->left > steps ? w->left - steps : 0;
	return w->left;
}

/* Distinct sets of boxes, numbered in order of first sight. Zero-initialise; cover_space_done(). */
struct cover_space {
	bool disjoint; /* the boxes of one set never overlap */
	struct box *boxes;
	size_t n_boxes;
	size_t boxes_capacity;
	struct box_span {
		size_t first;
		size_t count;
	} * sets;
	size_t n_sets;
	struct hash_index index;
	uint32_t *covers; /* after cover_space_relate(): the sets that contain set i, itself among them, */
	size_t n_covers;
	size_t covers_capacity;
	size_t *covers_first; /* are covers[covers_first[i]..covers_first[i + 1]) */
};

/* The number of a set; boxes ascend by `first`, and there is at least one. 0 or -ENOMEM. */
int cover_space_intern(struct cover_space *s, const struct box *boxes, size_t count, uint32_t *ret_set);

/*
 * Finds for every set those that contain it (box by box: a box that only several boxes together contain is not found).
 * Stops early, with lists of itself only, when the work is used up. 0 or -ENOMEM.
 */
int cover_space_relate(struct cover_space *s, struct work *work);
void cover_space_done(struct cover_space *s);

#endif
