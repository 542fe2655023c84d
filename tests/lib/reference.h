/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The naive classifier that the compiler is held against: random policies as plain structs, written out as YAML, and
 * judged here rule by rule and prefix by prefix. Shares no code with user/policy.
 */
#ifndef SLUICE_TESTS_REFERENCE_H
#define SLUICE_TESTS_REFERENCE_H

#include "policy/policy.h"

enum {
	REFERENCE_TENANTS = 3, /* 0 is the host's */
	REFERENCE_SEGMENTS = 12,
	REFERENCE_SERVICES = 6,
	REFERENCE_RULES = 24,
	REFERENCE_INTERFACES = 4,
	REFERENCE_LIST = 5, /* longest list of anything */
};

#define REFERENCE_UNSAID (-1)

struct reference_prefix {
	bool ipv4;
	uint8_t addr[16];    /* IPv4-mapped */
	unsigned int length; /* in the family's bits */
};

struct reference_prefixes {
	struct reference_prefix items[REFERENCE_LIST];
	unsigned int count;
};

struct reference_segment {
	int tenant; /* or REFERENCE_UNSAID */
	struct reference_prefixes include;
	struct reference_prefixes except;
	unsigned int members[REFERENCE_LIST]; /* lower numbers only */
	unsigned int n_members;
};

struct reference_item {
	int protocol; /* -1: any */
	unsigned int dest_first, dest_last, source_first, source_last;
};

struct reference_service {
	struct reference_item items[REFERENCE_LIST];
	unsigned int count;
};

struct reference_side {
	bool any;
	unsigned int segments[REFERENCE_LIST];
	unsigned int n_segments;
	struct reference_prefixes literals;
};

struct reference_rule {
	int tenant;	  /* what it holds in; REFERENCE_UNSAID: all */
	bool tenant_said; /* written as a key */
	struct reference_side from, to;
	bool any_service;
	unsigned int services[REFERENCE_LIST];
	unsigned int n_services;
	struct reference_service items;
	bool allow, audit;
};

struct reference_interface {
	bool antispoof;
	unsigned int segments[REFERENCE_LIST];
	unsigned int n_segments;
};

struct reference_policy {
	struct reference_segment segments[REFERENCE_SEGMENTS];
	unsigned int n_segments;
	struct reference_service services[REFERENCE_SERVICES];
	unsigned int n_services;
	struct reference_rule rules[REFERENCE_RULES];
	unsigned int n_rules;
	struct reference_interface interfaces[REFERENCE_INTERFACES];
	unsigned int n_interfaces;
	bool default_allow;
};

/* A small generator with its whole state in one word; the same seed gives the same policies everywhere. */
uint64_t reference_random(uint64_t *state);

/* From the environment's SLUICE_SEED, or from the clock; printed, so that a failure can be run again. */
uint64_t reference_seed(void);

void reference_generate(struct reference_policy *p, uint64_t *state);

/* The policy as YAML; free(). */
char *reference_yaml(const struct reference_policy *p);

/* A question near the edges of what the policy names. */
void reference_query(const struct reference_policy *p, uint64_t *state, struct policy_query *ret_query);

/* The deciding rule (n_rules: default); audit rules passed on the way go to ret_audits, their number to *ret_n. */
unsigned int reference_lookup(const struct reference_policy *p, const struct policy_query *q, uint32_t *ret_audits,
			      size_t *ret_n);
bool reference_may_enter(const struct reference_policy *p, const struct policy_query *q, unsigned int interface);

#endif
