/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference with a memory: what becomes of a packet at a host that has seen others before, through several policies
 * in turn, as the policy language's "What a packet gets" says. Naive like the rest: live flows are a list.
 */
#ifndef SLUICE_TESTS_REFERENCE_HOST_H
#define SLUICE_TESTS_REFERENCE_HOST_H

#include "packet.h"
#include "reference.h"

/* A packet that enters at interface 0. */
struct reference_packet {
	struct policy_query query; /* its tenant is the VLAN; n_tenants and above: one that is not listed */
	uint16_t tcp;		   /* TCP_F_*, of TCP */
	uint16_t icmp_id;	   /* of an echo */
};

struct reference_verdict {
	bool passes;
	bool audited; /* passes, but counts as dropped */
	enum sluice_reason reason;
	int rule; /* that the packet counts for; -1: none */
	uint32_t audits[256];
	size_t n_audits;
};

struct reference_flow {
	struct reference_packet first;
	uint64_t generation; /* that it was decided under */
	int rule;
	bool audit_denied;
};

struct reference_host {
	const struct reference_policy *policy;
	uint64_t generation;
	struct reference_flow *flows;
	size_t n_flows;
	size_t capacity;
};

void reference_host_judge(struct reference_host *h, const struct reference_packet *p, struct reference_verdict *ret);
void reference_host_clear(struct reference_host *h); /* no flow is live; frees */

/* Why a packet that asks this is dropped before anything else is looked at, or -1. */
int reference_malformed(const struct policy_query *q);
/* Whether the frame's bytes can be such a packet at all, and the rules are about it. */
bool reference_packet_exists(const struct reference_packet *p);
void reference_packet_build(const struct reference_packet *p, struct frame *ret_frame);
/* A packet that asks about the policy, or one of or back to an earlier one. */
void reference_packet_random(const struct reference_policy *p, const struct reference_packet *earlier, size_t n,
			     uint64_t *state, struct reference_packet *ret);

#endif
