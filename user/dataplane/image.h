/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Table `words` of a bank as the kernel reads it: the words that the compiler made, then classes, protocols, roots of
 * tenants, failsafe ports, heads of rules and the lines of addresses, each at the place that the head of the policy says. Internal to user/dataplane.
 */
#ifndef SLUICE_DATAPLANE_IMAGE_H
#define SLUICE_DATAPLANE_IMAGE_H

#include "policy/policy.h"

struct image {
	const struct policy_tables *tables;
	struct sluice_policy head; /* of the policy, places filled in */
	uint32_t failsafe[256];	   /* place of each protocol's ports, see struct sluice_protocol */
	size_t words;
};

/* Plans the places. */
void image_plan(const struct policy_tables *t, struct image *ret_image);

/* Writes all of it; `to` has room for image->words words, which are zero. */
void image_write(const struct image *image, uint32_t *to);

#endif
