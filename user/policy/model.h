/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a policy that nobody outside user/policy touches: segments, services, rules. Names are resolved to
 * indices while reading (yaml.c); check.c fills in the tenants.
 */
#ifndef SLUICE_POLICY_MODEL_H
#define SLUICE_POLICY_MODEL_H

#include "policy/policy.h"

/* Of a segment that names no tenant: it holds in whatever tenant the rule or interface that uses it is in. */
#define POLICY_TENANT_UNSAID UINT32_MAX

/* How deep segments may unite segments. */
#define POLICY_SEGMENT_DEPTH 32

struct policy_segment {
	struct policy_place place;
	char *name;	 /* NULL: nameless, the literals of one rule's from or to */
	uint32_t tenant; /* number, or POLICY_TENANT_UNSAID; after check.c also inherited from members */
	struct policy_prefix *include;
	size_t n_include;
	struct policy_prefix *except; /* taken from `include` only */
	size_t n_except;
	size_t *members; /* segments that this one unites; indices into policy.segments; after check.c all below it */
	size_t n_members;
	bool used;
};

/*
 * One protocol and its ports, ends inclusive, host order. For ICMP and ICMPv6 the destination "port" is type << 8 |
 * code and the source ports are all.
 */
struct policy_item {
	bool any_protocol; /* everything; the rest is unused */
	uint8_t protocol;
	uint16_t dest_first;
	uint16_t dest_last;
	uint16_t source_first;
	uint16_t source_last;
};

struct policy_service {
	struct policy_place place;
	char *name; /* NULL: nameless, the items of one rule, or failsafe */
	struct policy_item *items;
	size_t n_items;
	bool used;
};

/* The from or to of a rule. */
struct policy_side {
	struct policy_place place;
	bool any;
	size_t *segments; /* indices into policy.segments; the nameless one included */
	size_t n_segments;
};

struct policy_rule {
	struct policy_place place;
	char *name;
	struct policy_side from;
	struct policy_side to;
	bool any_service;
	size_t *services; /* indices into policy.services; the nameless one included */
	size_t n_services;
	enum sluice_action action;
	bool stateful;
	bool audit;
	bool log;
	uint64_t log_period_ns;
	struct policy_limit limit;
	uint32_t tenant; /* as written, or POLICY_TENANT_UNSAID */
	struct policy_place tenant_place;
	bool all_tenants;
	uint16_t *tenants; /* ascending, if !all_tenants; from check.c */
	size_t n_tenants;
};

/* Bounds of a limit. The burst is at most what the rate lets through in an hour. */
#define POLICY_RATE_MIN_BITS  1000
#define POLICY_RATE_MAX	      1000000000ull /* packets a second */
#define POLICY_RATE_MAX_BITS  1000000000000ull
#define POLICY_BURST_MIN_BITS (1514 * 8) /* the longest frame of an ordinary Ethernet */
#define POLICY_BURST_MAX_S    3600

/* The burst of a limit that names none: a tenth of a second's worth, at least 10 packets or long frames. */
uint64_t policy_burst_default(const struct policy_limit *limit);

/* Whether `rule` holds in tenant number `tenant`, and whether segment i has something to say there. */
bool policy_rule_in_tenant(const struct policy_rule *rule, uint16_t tenant);
bool policy_segment_in_tenant(const struct policy *p, size_t i, uint16_t tenant);

/* By the prefixes as written, without compiled sets. `addr` is IPv4-mapped. */
bool policy_segment_contains(const struct policy *p, size_t i, const uint8_t addr[16]);
bool policy_side_contains(const struct policy *p, const struct policy_side *side, uint16_t tenant,
			  const uint8_t addr[16]);
bool policy_item_matches(const struct policy_item *item, const struct policy_query *q);
bool policy_rule_serves(const struct policy *p, const struct policy_rule *rule, const struct policy_query *q);

bool policy_prefix_contains(const struct policy_prefix *prefix, const uint8_t addr[16]);
bool policy_address_is_ipv4(const uint8_t addr[16]);

/* An empty policy with every default of the language set, tenant 0 included; NULL: no memory. */
struct policy *policy_new(void);
/* Adds the items that are always let in where a policy has no `failsafe`. 0 or -ENOMEM. */
int policy_failsafe_default(struct policy_service *failsafe);
void policy_service_freep(struct policy_service **service);

#endif
