/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The naive classifier that the compiler and the kernel programs are held against: random policies as plain structs,
 * written out as YAML, and judged here rule by rule and prefix by prefix, as the policy language says. Shares no code
 * with user/policy.
 *
 * Whatever stands in a list has a flag `off`: as if it were not written. So a policy is cut down without moving
 * anything, see shrink.h.
 */
#ifndef SLUICE_TESTS_REFERENCE_H
#define SLUICE_TESTS_REFERENCE_H

#include "policy/policy.h"

enum {
	REFERENCE_TENANTS = 6, /* at most; 0 is the host's. Tenant i is VLAN i of interface 0 */
	REFERENCE_RULES = 24,  /* of reference_generate() */
};

#define REFERENCE_UNSAID (-1)

struct reference_prefix {
	bool off;
	bool ipv4;
	uint8_t addr[16];    /* IPv4-mapped */
	unsigned int length; /* in the family's bits */
};

struct reference_prefixes {
	struct reference_prefix *items;
	unsigned int count;
};

/* Names of segments, or of services, by number. */
struct reference_names {
	struct reference_name {
		bool off;
		unsigned int number;
	} * items;
	unsigned int count;
};

struct reference_segment {
	bool off;
	int tenant; /* as written, or REFERENCE_UNSAID */
	struct reference_prefixes include;
	struct reference_prefixes except;
	struct reference_names members; /* lower numbers only */
};

struct reference_item {
	bool off;
	int protocol; /* -1: any */
	unsigned int dest_first, dest_last, source_first, source_last;
};

struct reference_service {
	bool off;
	struct reference_item *items;
	unsigned int count;
};

struct reference_side {
	bool any;
	struct reference_names segments;
	struct reference_prefixes literals;
};

struct reference_rule {
	bool off;
	int tenant; /* as written, or REFERENCE_UNSAID */
	struct reference_side from, to;
	bool any_service;
	struct reference_names services;
	struct reference_service items;
	enum sluice_action action;
	bool audit;
	bool stateless;	  /* on allow only */
	unsigned int log; /* 0: no; 1: every packet; else one in so many seconds */
	unsigned int limit; /* 0: no; else one of those in reference_yaml.c, which nothing here is over */
};

#define REFERENCE_LIMITS 3

struct reference_interface {
	bool antispoof;
	struct reference_names segments;
};

struct reference_policy {
	struct reference_segment *segments;
	unsigned int n_segments;
	struct reference_service *services;
	unsigned int n_services;
	struct reference_rule *rules;
	unsigned int n_rules;
	struct reference_interface *interfaces; /* 0 carries all tenants */
	unsigned int n_interfaces;
	unsigned int n_tenants; /* the host's included */
	bool default_allow;
	bool audit;			/* mode: audit */
	const char *device;		/* name of interface 0 */
	bool reversed;			/* a fault, for tests of tests: the last rule that matches decides */
	struct reference_block *blocks; /* what everything above lies in */
};

/* What a random policy looks like. */
enum reference_kind {
	REFERENCE_MIXED,      /* a little of everything */
	REFERENCE_FIREWALL,   /* rules of any source and one destination, and the reverse */
	REFERENCE_MANY_RULES, /* hundreds */
	REFERENCE_PREFIXES,   /* thousands in a segment */
	REFERENCE_NESTED,     /* prefixes of all lengths within one another and side by side */
	REFERENCE_KINDS,
};

/* A small generator with its whole state in one word; the same seed gives the same policies everywhere. */
uint64_t reference_random(uint64_t *state);
unsigned int reference_below(uint64_t *state, unsigned int n); /* 0..n-1 */
bool reference_one_in(uint64_t *state, unsigned int n);

/* From the environment's SLUICE_SEED, or from the clock; printed, so that a failure can be run again. */
uint64_t reference_seed(void);
/* How many packets the environment's SLUICE_DIFFERENTIAL asks for; 0: nothing asked. */
uint64_t reference_packets(void);

/* reference_done() in any case. */
void reference_generate(struct reference_policy *p, uint64_t *state); /* mixed, of at most REFERENCE_RULES rules */
void reference_generate_kind(struct reference_policy *p, enum reference_kind kind, uint64_t *state);
/* Any kind, the slow ones seldom. */
enum reference_kind reference_generate_any(struct reference_policy *p, uint64_t *state);
void reference_done(struct reference_policy *p);
/* Zeroed, and gone with the policy. */
void *reference_alloc(struct reference_policy *p, size_t count, size_t size);

/* Words before the tables: mostly none, else so many that they lie across the end of a page. */
size_t reference_padding(uint64_t *state);

struct reference_prefix reference_prefix_random(uint64_t *state);
struct reference_item reference_item_random(uint64_t *state);

/* The policy as YAML; free(). */
char *reference_yaml(const struct reference_policy *p);
/* `sluice explain POLICY ...` for a question; free(). */
char *reference_command(const struct policy_query *q);

/* A question near the edges of what the policy names. */
void reference_query(const struct reference_policy *p, uint64_t *state, struct policy_query *ret_query);

/* The numbers of rules below are those of the rules that are not off, in order. */
struct reference_answer {
	unsigned int rule;		      /* that decides; the number of rules: default */
	const struct reference_rule *decides; /* NULL: default */
	enum sluice_action action;
	bool stateful;	      /* allowed with a flow */
	uint32_t audits[256]; /* rules that only count, passed on the way */
	size_t n_audits;
};

void reference_ask(const struct reference_policy *p, const struct policy_query *q, struct reference_answer *ret);
/* reference_ask() in short: the deciding rule; audit rules go to ret_audits, their number to *ret_n. */
unsigned int reference_lookup(const struct reference_policy *p, const struct policy_query *q, uint32_t *ret_audits,
			      size_t *ret_n);
bool reference_may_enter(const struct reference_policy *p, const struct policy_query *q, unsigned int interface);

/* Rules that are not off, and what else a reader of a shrunk policy has before him. */
unsigned int reference_rules_on(const struct reference_policy *p);

/* IPv4-mapped. */
bool reference_is_ipv4(const uint8_t addr[16]);
/* Which tenant a segment belongs to, be it only by what it unites; or REFERENCE_UNSAID. */
int reference_segment_tenant(const struct reference_policy *p, unsigned int number);
/* The tenants that a rule holds in, one bit each. */
unsigned int reference_rule_tenants(const struct reference_policy *p, const struct reference_rule *rule);

#endif
