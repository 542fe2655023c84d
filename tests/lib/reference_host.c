// SPDX-License-Identifier: Apache-2.0
/*
 * The reference with a memory; see reference_host.h. Called by tests of the kernel programs. Written from the policy
 * language, not from bpf/.
 */
#include "reference_host.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define one_in reference_one_in
#define below  reference_below

enum { ICMP4 = 1, TCP = 6, UDP = 17, ICMP6 = 58, SCTP = 132 };

/* ------------------------------------------------------------------------- packets */

static bool packet_is_ipv4(const struct reference_packet *p)
{
	return reference_is_ipv4(p->query.source);
}

/* ICMP in the other family is a protocol like any other, without types. */
static bool packet_is_icmp(const struct reference_packet *p)
{
	return p->query.protocol == (packet_is_ipv4(p) ? ICMP4 : ICMP6);
}

static bool packet_is_echo(const struct reference_packet *p)
{
	unsigned int type = p->query.dest_port >> 8;

	return packet_is_icmp(p) && (packet_is_ipv4(p) ? type == 8 || type == 0 : type == 128 || type == 129);
}

/* From the end that asks, whatever its code. */
static bool packet_asks(const struct reference_packet *p)
{
	return packet_is_icmp(p) && p->query.dest_port >> 8 == (packet_is_ipv4(p) ? 8 : 128);
}

/* The one kind of ICMP message that makes a flow. */
static bool packet_is_echo_request(const struct reference_packet *p)
{
	return packet_is_icmp(p) && p->query.dest_port == (packet_is_ipv4(p) ? 8 : 128) << 8;
}

static bool packet_is_icmp_error(const struct reference_packet *p)
{
	unsigned int type = p->query.dest_port >> 8;

	if (!packet_is_icmp(p))
		return false;
	return packet_is_ipv4(p) ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

static bool packet_opens(const struct reference_packet *p)
{
	return p->query.protocol != TCP || (p->tcp & (TCP_F_SYN | TCP_F_ACK | TCP_F_RST)) == TCP_F_SYN;
}

bool reference_packet_exists(const struct reference_packet *p)
{
	static const uint8_t extensions[] = {0, 43, 44, 51, 59, 60, 135, 139, 140, 253, 254};

	if (packet_is_ipv4(p) != reference_is_ipv4(p->query.dest) ||
	    !p->query.protocol) /* packet.h has no protocol 0 */
		return false;
	return packet_is_ipv4(p) || !memchr(extensions, p->query.protocol, sizeof(extensions));
}

static void address_text(const uint8_t addr[16], char text[INET6_ADDRSTRLEN])
{
	bool ipv4 = reference_is_ipv4(addr);

	if (!inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? addr + 12 : addr, text, INET6_ADDRSTRLEN))
		abort();
}

void reference_packet_build(const struct reference_packet *p, struct frame *ret_frame)
{
	const struct policy_query *q = &p->query;
	uint16_t ports[2] = {htons(q->source_port), htons(q->dest_port)};
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	struct packet packet = {.from = from, .to = to, .protocol = q->protocol, .vlan = q->tenant};

	address_text(q->source, from);
	address_text(q->dest, to);
	if (q->protocol == TCP)
		packet.tcp = p->tcp;
	else if (packet_is_icmp(p))
		packet.icmp = 0x10000 | q->dest_port;
	else if (q->protocol != UDP)
		packet.payload = 12; /* the size of an SCTP header */
	packet.icmp_id = p->icmp_id;
	packet_build(ret_frame, &packet);
	if (q->protocol == TCP || q->protocol == UDP || q->protocol == SCTP)
		memcpy(ret_frame->byte + ret_frame->l4, ports, sizeof(ports));
}

/* The other way round: the answer to a packet. */
static struct reference_packet packet_back(const struct reference_packet *p)
{
	struct reference_packet back = *p;

	memcpy(back.query.source, p->query.dest, 16);
	memcpy(back.query.dest, p->query.source, 16);
	if (p->query.protocol == TCP || p->query.protocol == UDP || p->query.protocol == SCTP) {
		back.query.source_port = p->query.dest_port;
		back.query.dest_port = p->query.source_port;
	}
	if (packet_is_echo_request(p))
		back.query.dest_port = (uint16_t)((packet_is_ipv4(p) ? 0 : 129) << 8);
	if (p->query.protocol == TCP)
		back.tcp = TCP_F_SYN | TCP_F_ACK;
	return back;
}

static void packet_draw(const struct reference_policy *p, uint64_t *state, struct reference_packet *ret)
{
	static const uint16_t flags[] = {
		TCP_F_SYN, TCP_F_SYN, TCP_F_SYN, TCP_F_ACK, TCP_F_SYN | TCP_F_ACK, TCP_F_PSH | TCP_F_ACK};

	do {
		*ret = (struct reference_packet){.tcp = flags[below(state, ARRAY_SIZE(flags))]};
		reference_query(p, state, &ret->query);
	} while (!reference_packet_exists(ret));
	if ((ret->query.protocol == ICMP4 || ret->query.protocol == ICMP6) && !packet_is_icmp(ret))
		ret->query.dest_port = 0;
	if (packet_is_echo(ret))
		ret->icmp_id = (uint16_t)below(state, 3);
	if (one_in(state, 64))
		ret->query.tenant = (uint16_t)(p->n_tenants + below(state, 3));
}

void reference_packet_random(const struct reference_policy *p, const struct reference_packet *earlier, size_t n,
			     uint64_t *state, struct reference_packet *ret)
{
	if (!n || !one_in(state, 4)) {
		packet_draw(p, state, ret);
		return;
	}
	*ret = earlier[below(state, (unsigned int)n)];
	if (ret->query.protocol == TCP && one_in(state, 2))
		ret->tcp = TCP_F_ACK;
	if (packet_is_icmp(ret) && one_in(state, 2)) /* another message between the same two hosts */
		ret->query.dest_port = (uint16_t)(below(state, 16) << 8 | (packet_is_ipv4(ret) ? 0 : 0x8000));
	if (one_in(state, 2))
		*ret = packet_back(ret);
}

/* ---------------------------------------------------------------------------- flows */

static bool ends_equal(const struct policy_query *a, const struct policy_query *b)
{
	return !memcmp(a->source, b->source, 16) && !memcmp(a->dest, b->dest, 16);
}

static bool flow_is(const struct reference_flow *f, const struct reference_packet *p)
{
	const struct policy_query *a = &f->first.query, *b = &p->query;
	struct reference_packet back = packet_back(p);

	if (a->tenant != b->tenant || a->protocol != b->protocol)
		return false;
	if (packet_is_icmp(p) && (!packet_is_echo(p) || p->icmp_id != f->first.icmp_id))
		return false;
	if (packet_is_icmp(p))
		return packet_asks(p) ? ends_equal(a, b) : ends_equal(a, &back.query);
	return (ends_equal(a, b) && a->source_port == b->source_port && a->dest_port == b->dest_port) ||
	       (ends_equal(a, &back.query) && a->source_port == back.query.source_port &&
		a->dest_port == back.query.dest_port);
}

static struct reference_flow *flow_find(struct reference_host *h, const struct reference_packet *p)
{
	size_t i;

	for (i = 0; i < h->n_flows; i++) {
		if (flow_is(&h->flows[i], p))
			return &h->flows[i];
	}
	return NULL;
}

static void flow_add(struct reference_host *h, const struct reference_packet *p, int rule)
{
	if (h->n_flows == h->capacity) {
		h->capacity = 2 * h->capacity + 64;
		h->flows = reallocarray(h->flows, h->capacity, sizeof(*h->flows));
		if (!h->flows)
			abort();
	}
	h->flows[h->n_flows++] = (struct reference_flow){*p, h->generation, rule, false};
}

static void flow_remove(struct reference_host *h, struct reference_flow *f)
{
	*f = h->flows[--h->n_flows];
}

void reference_host_clear(struct reference_host *h)
{
	free(h->flows);
	h->flows = NULL;
	h->n_flows = h->capacity = 0;
}

/* ------------------------------------------------------------------------- verdicts */

static void verdict_set(const struct reference_host *h, struct reference_verdict *v, bool drops,
			enum sluice_reason reason, int rule)
{
	v->audited = drops && h->policy->audit;
	v->passes = !drops || v->audited;
	v->reason = reason;
	v->rule = rule;
}

static void verdict_audits(struct reference_verdict *v, const struct reference_answer *a)
{
	v->n_audits = a->n_audits;
	memcpy(v->audits, a->audits, a->n_audits * sizeof(*v->audits));
}

/* From a host to itself, and not within it. */
static bool is_land(const struct policy_query *q)
{
	static const uint8_t loopback[16] = {[15] = 1};

	return !memcmp(q->source, q->dest, 16) && memcmp(q->source, loopback, 16) &&
	       !(reference_is_ipv4(q->source) && q->source[12] == 127);
}

static bool names_port_0(const struct policy_query *q)
{
	return (!q->dest_port && (q->protocol == TCP || q->protocol == UDP || q->protocol == SCTP)) ||
	       (!q->source_port && (q->protocol == TCP || q->protocol == SCTP));
}

int reference_malformed(const struct policy_query *q)
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};
	bool ipv4 = reference_is_ipv4(q->source);

	if (ipv4 ? q->source[12] >> 4 == 14 || !memcmp(q->source + 12, broadcast, 4) : q->source[0] == 255)
		return SLUICE_R_IP_SOURCE;
	if (is_land(q))
		return SLUICE_R_LAND;
	return names_port_0(q) ? SLUICE_R_PORT_ZERO : -1;
}

/* Malformed, of no tenant, or not from here. */
static bool judge_door(const struct reference_host *h, const struct reference_packet *p, struct reference_verdict *v)
{
	int malformed = reference_malformed(&p->query);

	if (malformed >= 0)
		verdict_set(h, v, true, (enum sluice_reason)malformed, -1);
	else if (p->query.tenant >= h->policy->n_tenants)
		verdict_set(h, v, true, SLUICE_R_UNKNOWN_TENANT, -1);
	else if (!reference_may_enter(h->policy, &p->query, 0))
		verdict_set(h, v, true, SLUICE_R_ANTISPOOF, -1);
	else if (packet_is_icmp_error(p)) /* none of ours quotes anything */
		verdict_set(h, v, true, SLUICE_R_ICMP_UNRELATED, -1);
	else
		return false;
	return true;
}

/* The policy has changed since. True: the packet has its verdict. */
static bool flow_again(struct reference_host *h, struct reference_flow *f, struct reference_verdict *v)
{
	struct reference_answer a;

	reference_ask(h->policy, &f->first.query, &a);
	if (a.action == SLUICE_ACTION_ALLOW && !a.stateful) {
		flow_remove(h, f);
		return false;
	}
	if (a.action != SLUICE_ACTION_ALLOW && !h->policy->audit) {
		flow_remove(h, f);
		verdict_audits(v, &a);
		verdict_set(h, v, true, SLUICE_R_STALE_DENY, (int)a.rule);
		return true;
	}
	f->audit_denied = a.action != SLUICE_ACTION_ALLOW;
	f->rule = (int)a.rule;
	f->generation = h->generation;
	return false;
}

static bool judge_flow(struct reference_host *h, const struct reference_packet *p, struct reference_verdict *v)
{
	struct reference_flow *f = flow_find(h, p);

	if (f && f->generation != h->generation && flow_again(h, f, v))
		return true;
	f = flow_find(h, p);
	if (!f)
		return false;
	verdict_set(h, v, f->audit_denied, f->audit_denied ? SLUICE_R_STALE_DENY : SLUICE_R_PASS_FLOW, f->rule);
	return true;
}

static void judge_new(struct reference_host *h, const struct reference_packet *p, struct reference_verdict *v)
{
	struct reference_answer a;

	reference_ask(h->policy, &p->query, &a);
	verdict_audits(v, &a);
	if (a.action != SLUICE_ACTION_ALLOW) {
		verdict_set(h, v, true, a.decides ? SLUICE_R_DENY_RULE : SLUICE_R_DENY_DEFAULT, (int)a.rule);
		return;
	}
	if (a.stateful && !packet_opens(p)) {
		verdict_set(h, v, true, SLUICE_R_TCP_NO_FLOW, -1);
		return;
	}
	verdict_set(h, v, false, a.decides ? SLUICE_R_PASS_RULE : SLUICE_R_PASS_DEFAULT, (int)a.rule);
	if (a.stateful && ((p->query.protocol != ICMP4 && p->query.protocol != ICMP6) || packet_is_echo_request(p)))
		flow_add(h, p, (int)a.rule);
}

void reference_host_judge(struct reference_host *h, const struct reference_packet *p, struct reference_verdict *ret)
{
	*ret = (struct reference_verdict){};
	if (!judge_door(h, p, ret) && !judge_flow(h, p, ret))
		judge_new(h, p, ret);
}
