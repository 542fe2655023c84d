/* SPDX-License-Identifier: Apache-2.0 */
/* What shadow.c and remainder.c share: rules as products of numbered sets. Internal to user/policy. */
#ifndef SLUICE_POLICY_SHADOW_H
#define SLUICE_POLICY_SHADOW_H

#include "policy/cover.h"

enum { FAMILY_V4, FAMILY_V6, FAMILIES };

#define SHADOW_NONE UINT32_MAX

/* A rule in one tenant: its packets of a family are from × to × service, each a set of a space. */
struct instance {
	uint32_t rule;
	uint32_t tenant; /* number, or shadow.all_tenants */
	uint32_t from[FAMILIES];
	uint32_t to[FAMILIES]; /* SHADOW_NONE: no address of that family */
};

struct shadow {
	const struct policy *policy;
	struct policy_diagnostics *diagnostics;
	struct work work;
	bool partial;	      /* some sets that contain others are not known */
	uint32_t all_tenants; /* stands for every tenant */
	struct cover_space addresses[FAMILIES];
	struct cover_space services;
	uint32_t *service; /* of each rule; SHADOW_NONE: no item */
	struct instance *instances;
	size_t n_instances;
	size_t *first_instance; /* of each rule, and one more */
};

/* shadow_sets.c: fills everything above. 0 or -ENOMEM. */
int shadow_sets_begin(struct shadow *s);
void shadow_sets_done(struct shadow *s);

/* Rules that together take something, each once, in no order. */
struct takers {
	uint32_t *items;
	size_t count;
};

int takers_add(struct takers *t, uint32_t rule);

/* remainder.c: scratch memory for questions of the kind below. */
struct remainder;

struct remainder *remainder_new(void);
void remainder_free(struct remainder *r);

/*
 * Whether nothing of an instance's packets of a family is left when every rule before it that is no audit rule has
 * taken its own. Exact, or false where knowing would cost too much. On true the rules that took some are added.
 */
bool remainder_is_empty(struct remainder *r, const struct shadow *s, const struct instance *in, unsigned int family,
			struct takers *takers);

#endif
