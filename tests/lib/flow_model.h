/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A naive host that judges frames and remembers flows: "What a packet gets" of the policy language, with the states of
 * connections as the RFCs have them and a clock of its own. Written to be held against the kernel programs, and not from
 * them: flows and fragments are lists, nothing is hashed, packed or shared.
 */
#ifndef SLUICE_TESTS_FLOW_MODEL_H
#define SLUICE_TESTS_FLOW_MODEL_H

#include "frame_model.h"

#define MODEL_RULES 8
#define MODEL_ANY   (-1)
#define MODEL_RED   1 /* the tenant of VLAN MODEL_RED_VLAN and VNI MODEL_RED_VNI; 0 is the host's */

#define MODEL_RED_VLAN 100
#define MODEL_RED_VNI  7001

/* 10.N.0.0/16 and fdNN::/16 for zone N: 1 clients, 2 servers, 3 others. */
enum model_zone { ZONE_CLIENTS = 1, ZONE_SERVERS, ZONE_OTHERS };

struct model_rule {
	int from, to;	     /* enum model_zone, or MODEL_ANY */
	uint8_t protocol;    /* 0: any */
	int low, high;	     /* ports, of ICMP type << 8 | code; MODEL_ANY: all */
	const char *service; /* the same, as policies write it */
	enum sluice_action action;
	bool stateful, audit, red;
};

enum model_timeout {
	MODEL_OPENING, /* these two cannot be set */
	MODEL_OTHER,
	MODEL_ESTABLISHED,
	MODEL_CLOSING,
	MODEL_UDP,
	MODEL_STREAM,
	MODEL_ICMP,
	MODEL_TIMEOUTS,
};

struct model_policy {
	struct model_rule rules[MODEL_RULES];
	unsigned int n_rules;
	bool default_allow, audit, full_stateless, failsafe; /* failsafe: tcp/22, to anybody */
	bool red;					     /* the interface has the VLAN and the VNI */
	int antispoof;					     /* enum model_zone, or MODEL_ANY */
	uint32_t max_flows;
	uint64_t pickup_ns;
	uint64_t timeout_ns[MODEL_TIMEOUTS];
};

struct model_verdict {
	enum sluice_verdict verdict; /* what the policy says */
	bool audited;		     /* passes all the same */
	enum sluice_reason reason;
	int rule; /* that the packet counts for; n_rules: the default, -1: none */
};

struct model_end {
	uint8_t addr[16];
	uint16_t port; /* of an echo: the identifier, at who asks */
};

struct model_flow {
	uint16_t tenant;
	uint8_t version, protocol;
	struct model_end end[2]; /* who opened it is the first */
	int rule;
	unsigned int generation;
	bool audit_denied, picked_up, reset;
	bool syn[2], fin[2], acked[2];
	uint32_t ack[2]; /* newest that this end has sent, if acked */
	uint64_t packets[2], bytes[2];
	uint64_t seen_ns;
};

struct model_fragments {
	uint16_t tenant;
	uint8_t source[16], dest[16], protocol, version;
	uint32_t id, end;
	uint64_t seen_ns;
	unsigned int generation;
	struct model_verdict got;
};

struct model_host {
	const struct model_policy *policy;
	unsigned int generation;
	uint64_t now_ns, attached_ns;
	struct model_flow *flows;
	size_t n_flows, flows_room;
	struct model_fragments *firsts;
	size_t n_firsts, firsts_room;
	bool carried; /* the last frame carried another, and both were judged: */
	struct model_verdict outer;
};

/* The policy as YAML for an interface; free(). */
char *model_policy_yaml(const struct model_policy *p, const char *interface);
/*
 * A random one; `virtual`: short and long timeouts and a small table, for a clock that jumps. Its settings follow from
 * its number, so that some twenty in a row have met all of them.
 */
void model_policy_random(struct model_policy *p, unsigned int number, uint64_t *state, bool virtual);

/* From now on this policy, which stays the caller's; the first starts the time of pickup. */
void model_host_apply(struct model_host *h, const struct model_policy *p);
/* The frame at host->now_ns; of one that carries another, what the inner one gets, if the outer passes. */
void model_host_judge(struct model_host *h, const uint8_t *frame, size_t length, struct model_verdict *ret);
void model_host_expire(struct model_host *h); /* forgets what is over */
void model_host_done(struct model_host *h);

#endif
