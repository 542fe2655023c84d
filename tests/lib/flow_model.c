// SPDX-License-Identifier: Apache-2.0
/*
 * The naive host; see flow_model.h. Called by tests/bpf/flow_model_test.c and frame_fuzz_test.c. Written from the policy
 * language and the RFCs, not from bpf/.
 */
#include "flow_model.h"

#include <stdlib.h>
#include <string.h>

enum { ICMP4 = 1, TCP = 6, UDP = 17, ICMP6 = 58, SCTP = 132 };
enum { FIN = 0x01, SYN = 0x02, RST = 0x04, ACK = 0x10 };

#define UNDECIDED   (-1)
#define FRAGMENT_NS 30000000000ull
#define LARGEST_WINDOW (1u << 30) /* RFC 7323, 2.3 */

/* A packet on its way through the list. */
struct trip {
	const struct model_packet *packet;
	uint16_t tenant;
	bool door; /* came in at the interface, not in a tunnel */
	int rule;
	enum sluice_action action; /* of that rule, where a rule was asked */
};

/* ---------------------------------------------------------------------------- rules */

static bool in_zone(uint8_t version, const uint8_t addr[16], int zone)
{
	if (zone == MODEL_ANY)
		return true;
	return version == 4 ? addr[0] == 10 && addr[1] == zone : addr[0] == 0xfd && addr[1] == zone;
}

static bool rule_takes_service(const struct model_rule *r, const struct model_packet *p, const struct model_way *w)
{
	int port = p && p->icmp ? p->type << 8 | p->code : w->dest_port;

	if (w->protocol == (w->version == 4 ? ICMP4 : ICMP6) && !p) /* asked for a flow: an echo request opened it */
		port = (w->version == 4 ? 8 : 128) << 8;
	if (r->protocol && r->protocol != w->protocol)
		return false;
	return r->low == MODEL_ANY || (port >= r->low && port <= r->high);
}

/* A rule of no tenant that names no segment on either side holds in all of them, any other in the host's. */
static bool rule_is_of(const struct model_rule *r, uint16_t tenant)
{
	if (r->red)
		return tenant == MODEL_RED;
	return !tenant || (r->from == MODEL_ANY && r->to == MODEL_ANY);
}

/* First match, for a packet or, `p` being NULL, for the flow that was opened that way. Returns its action. */
static enum sluice_action rules_ask(const struct model_policy *policy, uint16_t tenant, const struct model_packet *p,
				    const struct model_way *w, int *ret_rule)
{
	unsigned int i;

	for (i = 0; i < policy->n_rules; i++) {
		const struct model_rule *r = &policy->rules[i];

		if (r->audit || !rule_is_of(r, tenant) || !in_zone(w->version, w->source, r->from) ||
		    !in_zone(w->version, w->dest, r->to) || !rule_takes_service(r, p, w))
			continue;
		*ret_rule = (int)i;
		return r->action;
	}
	*ret_rule = (int)policy->n_rules;
	return policy->default_allow ? SLUICE_ACTION_ALLOW : SLUICE_ACTION_DENY;
}

static bool is_default(const struct model_policy *policy, int rule)
{
	return rule == (int)policy->n_rules;
}

static bool is_stateful(const struct model_policy *policy, int rule)
{
	return is_default(policy, rule) || policy->rules[rule].stateful;
}

static int reason_of(const struct model_policy *policy, int rule, enum sluice_action action)
{
	if (action == SLUICE_ACTION_ALLOW)
		return is_default(policy, rule) ? SLUICE_R_PASS_DEFAULT : SLUICE_R_PASS_RULE;
	return is_default(policy, rule) ? SLUICE_R_DENY_DEFAULT : SLUICE_R_DENY_RULE;
}

/* ---------------------------------------------------------------------------- flows */

static void end_set(struct model_end *end, const uint8_t addr[16], uint16_t port)
{
	memcpy(end->addr, addr, 16);
	end->port = port;
}

/*
 * The ends of a conversation, sender first. Of an echo it matters who asks; the contract's flow.h says how a key tells, and
 * so that a request with identifier 65535 and one with 0, from the other end, are one flow: known, and not told apart here.
 */
static void ends_of(const struct model_way *w, struct model_end ret[2])
{
	uint16_t mark = w->echo ? 0 : 65535;

	end_set(&ret[0], w->source, w->asks ? w->echo : w->answers ? mark : w->source_port);
	end_set(&ret[1], w->dest, w->answers ? w->echo : w->asks ? mark : w->dest_port);
}

static bool end_is(const struct model_end *a, const struct model_end *b)
{
	return a->port == b->port && !memcmp(a->addr, b->addr, 16);
}

static enum model_timeout flow_state(const struct model_flow *f)
{
	switch (f->protocol) {
	case TCP:
		if (f->reset || (f->fin[0] && f->fin[1])) /* half-closed is open: RFC 9293, 3.6 */
			return MODEL_CLOSING;
		return (f->acked[0] && f->acked[1]) || f->picked_up ? MODEL_ESTABLISHED : MODEL_OPENING;
	case UDP:
		return f->packets[1] ? MODEL_STREAM : MODEL_UDP;
	case SCTP: /* answered: its heartbeats are some 30 s apart, RFC 9260, 8.3 */
		return f->packets[1] ? MODEL_STREAM : MODEL_OTHER;
	case ICMP4:
	case ICMP6:
		return MODEL_ICMP;
	default:
		return MODEL_OTHER;
	}
}

void model_host_expire(struct model_host *h)
{
	size_t i;

	for (i = 0; i < h->n_flows;) {
		if (h->now_ns - h->flows[i].seen_ns >= h->policy->timeout_ns[flow_state(&h->flows[i])])
			h->flows[i] = h->flows[--h->n_flows];
		else
			i++;
	}
	for (i = 0; i < h->n_firsts;) {
		if (h->now_ns - h->firsts[i].seen_ns > FRAGMENT_NS || h->firsts[i].generation != h->generation)
			h->firsts[i] = h->firsts[--h->n_firsts];
		else
			i++;
	}
}

/* The flow between these ends; who of them comes first in `ends` has sent, *ret_dir is its index in the flow. */
static struct model_flow *flow_find(struct model_host *h, uint16_t tenant, const struct model_way *w, int *ret_dir)
{
	struct model_end ends[2];
	size_t i;
	int dir;

	ends_of(w, ends);
	for (i = 0; i < h->n_flows; i++) {
		struct model_flow *f = &h->flows[i];

		if (f->tenant != tenant || f->version != w->version || f->protocol != w->protocol)
			continue;
		for (dir = 0; dir < 2; dir++) {
			if (!end_is(&f->end[dir], &ends[0]) || !end_is(&f->end[!dir], &ends[1]))
				continue;
			*ret_dir = dir;
			return f;
		}
	}
	return NULL;
}

static void flow_remove(struct model_host *h, struct model_flow *f)
{
	*f = h->flows[--h->n_flows];
}

static void flow_see(struct model_host *h, struct model_flow *f, const struct model_packet *p, int dir)
{
	f->seen_ns = h->now_ns;
	f->packets[dir]++;
	f->bytes[dir] += p->length;
	if (f->protocol != TCP)
		return;
	if ((p->tcp & ACK) && (!f->acked[dir] || (int32_t)(p->ack - f->ack[dir]) > 0))
		f->ack[dir] = p->ack;
	f->acked[dir] |= !!(p->tcp & ACK);
	f->syn[dir] |= !!(p->tcp & SYN);
	f->fin[dir] |= (p->tcp & (FIN | ACK)) == (FIN | ACK);
	f->reset |= !!(p->tcp & RST);
}

/* Makes room for one more in a growing list. */
static void *grow(void *list, size_t n, size_t *room, size_t size)
{
	if (n < *room)
		return list;
	*room = 2 * *room + 64;
	list = reallocarray(list, *room, size);
	if (!list)
		abort();
	return list;
}

/* `first`: which of the packet's ends opens the flow, 1 if it is the receiver. */
static void flow_add(struct model_host *h, const struct trip *t, int first, bool picked_up)
{
	struct model_end ends[2];
	struct model_flow *f;

	h->flows = grow(h->flows, h->n_flows, &h->flows_room, sizeof(*h->flows));
	f = &h->flows[h->n_flows++];
	ends_of(&t->packet->way, ends);
	*f = (struct model_flow){
		.tenant = t->tenant,
		.version = t->packet->way.version,
		.protocol = t->packet->way.protocol,
		.end = {ends[first], ends[!first]},
		.rule = t->rule,
		.generation = h->generation,
		.picked_up = picked_up,
	};
	flow_see(h, f, t->packet, first);
}

static bool packet_opens(const struct model_packet *p)
{
	return (p->tcp & (SYN | ACK | RST)) == SYN;
}

/* RFC 9293, 3.6.1, RFC 6191: a SYN may use the ports of a connection anew that is over, or that its sender has closed. */
static bool flow_is_reused(const struct model_flow *f, const struct model_packet *p, int dir)
{
	if (f->protocol != TCP || p->error || !packet_opens(p))
		return false;
	return f->reset || (f->fin[0] && f->fin[1]) || (!dir && (f->fin[0] || f->fin[1]));
}

/* RFC 9293, 3.5.2: a reset counts only within the window of who gets it. */
static bool reset_is_astray(const struct model_flow *f, const struct model_packet *p, int dir)
{
	if (f->protocol != TCP || !(p->tcp & RST) || !f->acked[!dir])
		return false;
	return p->seq - f->ack[!dir] > LARGEST_WINDOW;
}

/* The policy has changed since the flow was decided: UNDECIDED, and the flow goes on or is gone; or it is cut. */
static int flow_again(struct model_host *h, struct model_flow *f, struct trip *t, bool *ret_gone)
{
	struct model_way w = {
		.version = f->version,
		.protocol = f->protocol,
		.source_port = f->end[0].port,
		.dest_port = f->end[1].port,
	};
	enum sluice_action action;
	int rule;

	memcpy(w.source, f->end[0].addr, 16);
	memcpy(w.dest, f->end[1].addr, 16);
	action = rules_ask(h->policy, f->tenant, NULL, &w, &rule);
	*ret_gone = action == SLUICE_ACTION_ALLOW ? !is_stateful(h->policy, rule) : !h->policy->audit;
	if (*ret_gone)
		flow_remove(h, f);
	if (*ret_gone && action == SLUICE_ACTION_ALLOW)
		return UNDECIDED;
	if (*ret_gone) {
		t->rule = rule;
		t->action = action;
		return SLUICE_R_STALE_DENY;
	}
	f->generation = h->generation;
	f->rule = rule;
	f->audit_denied = action != SLUICE_ACTION_ALLOW;
	return UNDECIDED;
}

/* Step 6. */
static int judge_flow(struct model_host *h, struct trip *t)
{
	const struct model_packet *p = t->packet;
	int none = p->error ? SLUICE_R_ICMP_UNRELATED : UNDECIDED, dir, reason;
	struct model_flow *f;
	bool gone = false;

	if (p->error ? !p->quotes : p->icmp && !p->way.asks && !p->way.answers)
		return none;
	f = flow_find(h, t->tenant, p->error ? &p->quote : &p->way, &dir);
	if (f && flow_is_reused(f, p, dir)) {
		flow_remove(h, f);
		f = NULL;
	}
	if (!f)
		return none;
	if (f->generation != h->generation) {
		reason = flow_again(h, f, t, &gone);
		if (gone)
			return reason == UNDECIDED ? none : reason;
	}
	t->rule = f->rule;
	if (f->audit_denied)
		return SLUICE_R_STALE_DENY;
	if (p->error)
		return SLUICE_R_PASS_ICMP_RELATED;
	if (reset_is_astray(f, p, dir))
		return SLUICE_R_TCP_RST;
	flow_see(h, f, p, dir);
	return SLUICE_R_PASS_FLOW;
}

/* ------------------------------------------------------------------------------ new */

/* Makes the flow that rule t->rule allows. */
static int flow_make(struct model_host *h, struct trip *t, int first, bool picked_up)
{
	const struct model_packet *p = t->packet;
	bool query = p->way.asks && !p->code;

	if (p->icmp ? !query : p->way.protocol == ICMP4 || p->way.protocol == ICMP6)
		return reason_of(h->policy, t->rule, SLUICE_ACTION_ALLOW);
	if (h->n_flows >= h->policy->max_flows && !h->policy->full_stateless) {
		t->rule = -1;
		return SLUICE_R_CONNTRACK_FULL;
	}
	if (h->n_flows < h->policy->max_flows)
		flow_add(h, t, first, picked_up);
	return reason_of(h->policy, t->rule, SLUICE_ACTION_ALLOW);
}

static bool allows_flow(const struct model_policy *policy, enum sluice_action action, int rule)
{
	return action == SLUICE_ACTION_ALLOW && is_stateful(policy, rule);
}

/* A connection older than sluice, whose receiver would have been allowed to open it. */
static bool pick_up_reverse(struct model_host *h, struct trip *t)
{
	struct model_way back = t->packet->way;
	enum sluice_action action;
	int rule;

	memcpy(back.source, t->packet->way.dest, 16);
	memcpy(back.dest, t->packet->way.source, 16);
	back.source_port = t->packet->way.dest_port;
	back.dest_port = t->packet->way.source_port;
	action = rules_ask(h->policy, t->tenant, t->packet, &back, &rule);
	if (!allows_flow(h->policy, action, rule))
		return false;
	t->rule = rule;
	t->action = action;
	return true;
}

/* Step 7. */
static int judge_new(struct model_host *h, struct trip *t)
{
	const struct model_packet *p = t->packet;
	bool stray = p->way.protocol == TCP && !packet_opens(p);
	bool pickup = stray && (p->tcp & (SYN | RST | ACK)) == ACK &&
		      h->now_ns < h->attached_ns + h->policy->pickup_ns;

	t->action = rules_ask(h->policy, t->tenant, p, &p->way, &t->rule);
	if (t->action != SLUICE_ACTION_ALLOW && pickup && pick_up_reverse(h, t))
		return flow_make(h, t, 1, true);
	if (!allows_flow(h->policy, t->action, t->rule))
		return reason_of(h->policy, t->rule, t->action);
	if (stray && !pickup) {
		t->rule = -1;
		return SLUICE_R_TCP_NO_FLOW;
	}
	return flow_make(h, t, 0, stray);
}

/* ------------------------------------------------------------------------ fragments */

static bool fragments_are(const struct model_fragments *f, const struct trip *t)
{
	const struct model_packet *p = t->packet;

	return f->tenant == t->tenant && f->version == p->way.version && f->protocol == p->fragment_protocol &&
	       f->id == p->fragment_id && !memcmp(f->source, p->way.source, 16) && !memcmp(f->dest, p->way.dest, 16);
}

static struct model_fragments *fragments_find(struct model_host *h, const struct trip *t)
{
	size_t i;

	for (i = 0; i < h->n_firsts; i++)
		if (fragments_are(&h->firsts[i], t))
			return &h->firsts[i];
	return NULL;
}

static void fragments_keep(struct model_host *h, const struct trip *t, int reason, bool drops)
{
	struct model_fragments *f = fragments_find(h, t);

	if (!f) {
		h->firsts = grow(h->firsts, h->n_firsts, &h->firsts_room, sizeof(*h->firsts));
		f = &h->firsts[h->n_firsts++];
	}
	*f = (struct model_fragments){
		.tenant = t->tenant,
		.version = t->packet->way.version,
		.protocol = t->packet->fragment_protocol,
		.id = t->packet->fragment_id,
		.end = t->packet->span,
		.seen_ns = h->now_ns,
		.generation = h->generation,
		.got = {.verdict = drops ? SLUICE_DROP : SLUICE_PASS, .reason = (enum sluice_reason)reason, .rule = t->rule},
	};
	memcpy(f->source, t->packet->way.source, 16);
	memcpy(f->dest, t->packet->way.dest, 16);
}

/* Step 5. */
static int judge_later(struct model_host *h, struct trip *t)
{
	const struct model_fragments *f = fragments_find(h, t);

	if (!f)
		return SLUICE_R_FRAGMENT_UNKNOWN;
	if (t->packet->before < f->end)
		return SLUICE_R_FRAGMENT_OVERLAP;
	t->rule = f->got.rule;
	return f->got.verdict == SLUICE_PASS ? SLUICE_R_PASS_FRAGMENT : (int)f->got.reason;
}

/* ------------------------------------------------------------------------- the list */

/* Step 2. */
static int judge_link(const struct model_host *h, const struct model_packet *p)
{
	if (p->way.version)
		return UNDECIDED;
	if (p->ethertype == 0x0806 || p->ethertype == 0x8809 || p->ethertype == 0x888e || p->ethertype == 0x88cc ||
	    (p->ethertype < 0x0600 && p->link_local))
		return SLUICE_R_PASS_LINK;
	return h->policy->default_allow ? SLUICE_R_PASS_NON_IP : SLUICE_R_DENY_NON_IP;
}

static bool to_tunnel(const struct trip *t)
{
	return t->packet->way.version && t->packet->way.protocol == UDP &&
	       (t->packet->way.dest_port == 4789 || t->packet->way.dest_port == 6081);
}

/* Step 3, and that no tunnel comes in pieces. */
static int judge_door(const struct model_host *h, struct trip *t)
{
	const struct model_packet *p = t->packet;

	if (p->vlan && (p->vlan != MODEL_RED_VLAN || !h->policy->red))
		return SLUICE_R_UNKNOWN_TENANT;
	t->tenant = p->vlan ? MODEL_RED : 0;
	if (!in_zone(p->way.version, p->way.source, h->policy->antispoof))
		return SLUICE_R_ANTISPOOF;
	if (h->policy->red && to_tunnel(t) && p->fragment == MODEL_FIRST)
		return SLUICE_R_TUNNEL_HEADER;
	return UNDECIDED;
}

static bool is_failsafe(const struct model_host *h, const struct trip *t)
{
	return t->door && h->policy->failsafe && t->packet->way.protocol == TCP && t->packet->way.dest_port == 22 &&
	       t->packet->fragment != MODEL_LATER;
}

static bool reason_drops(int reason)
{
	switch (reason) {
#define PASS false
#define DROP true
#define R(NAME, name, kind, text)                                                                                      \
	case SLUICE_R_##NAME:                                                                                          \
		return kind;
#include <sluice/reasons.def>
#undef R
#undef DROP
#undef PASS
	}
	abort();
}

static int judge_ip(struct model_host *h, struct trip *t)
{
	int reason = UNDECIDED;

	if (is_failsafe(h, t))
		reason = SLUICE_R_PASS_FAILSAFE;
	if (reason == UNDECIDED && t->packet->fragment == MODEL_LATER)
		reason = judge_later(h, t);
	if (reason == UNDECIDED)
		reason = judge_flow(h, t);
	if (reason == UNDECIDED)
		reason = judge_new(h, t);
	if (t->packet->fragment == MODEL_FIRST)
		fragments_keep(h, t, reason, reason_drops(reason));
	return reason;
}

static void verdict_set(const struct model_host *h, const struct trip *t, int reason, struct model_verdict *ret)
{
	bool drops = reason_drops(reason);

	*ret = (struct model_verdict){
		.verdict = !drops ? SLUICE_PASS : t->action == SLUICE_ACTION_REJECT ? SLUICE_REJECT : SLUICE_DROP,
		.audited = drops && h->policy->audit,
		.reason = (enum sluice_reason)reason,
		.rule = t->rule,
	};
}

/* ------------------------------------------------------------------------- tunnels */

/* RFC 7348, 5; RFC 8926, 3.4. Where the inner frame begins, or 0: no valid header. */
static size_t tunnel_header(const struct model_packet *outer)
{
	const uint8_t *h = outer->data;
	size_t length = 8;

	if (outer->data_length < 8)
		return 0;
	if (outer->way.dest_port == 4789)
		return h[0] & 8 ? 8 : 0;
	length += (h[0] & 0x3f) * 4u;
	return h[0] >> 6 || length > outer->data_length ? 0 : length;
}

/* What a tunnel carries, judged in the tenant of its VNI. */
static void judge_inner(struct model_host *h, const struct model_packet *outer, struct model_verdict *ret)
{
	size_t header = tunnel_header(outer);
	const uint8_t *tunnel = outer->data;
	struct model_packet p = {};
	struct trip t = {.packet = &p, .tenant = MODEL_RED, .rule = -1};
	int reason = SLUICE_R_TUNNEL_HEADER;

	if (header && (tunnel[4] << 16 | tunnel[5] << 8 | tunnel[6]) != MODEL_RED_VNI)
		reason = SLUICE_R_UNKNOWN_TENANT;
	else if (header && outer->way.dest_port == 6081 && (tunnel[2] != 0x65 || tunnel[3] != 0x58)) {
		p.ethertype = (uint16_t)(tunnel[2] << 8 | tunnel[3]);
		reason = judge_link(h, &p);
	} else if (header) {
		frame_model_read(tunnel + header, outer->data_length - header, &p);
		reason = p.reason;
		if (reason == MODEL_SOUND)
			reason = judge_link(h, &p);
		if (reason == UNDECIDED)
			reason = judge_ip(h, &t);
	}
	verdict_set(h, &t, reason, ret);
}

void model_host_judge(struct model_host *h, const uint8_t *frame, size_t length, struct model_verdict *ret)
{
	struct model_packet p;
	struct trip t = {.packet = &p, .door = true, .rule = -1};
	int reason;

	h->carried = false;
	model_host_expire(h);
	frame_model_read(frame, length, &p);
	reason = p.reason;
	if (reason == MODEL_SOUND)
		reason = judge_link(h, &p);
	if (reason == UNDECIDED)
		reason = judge_door(h, &t);
	if (reason == UNDECIDED)
		reason = judge_ip(h, &t);
	verdict_set(h, &t, reason, ret);
	if (h->policy->red && p.reason == MODEL_SOUND && p.fragment == MODEL_WHOLE && to_tunnel(&t) &&
	    (ret->verdict == SLUICE_PASS || ret->audited)) {
		h->carried = true;
		h->outer = *ret;
		judge_inner(h, &p, ret);
	}
}

void model_host_apply(struct model_host *h, const struct model_policy *p)
{
	if (!h->generation)
		h->attached_ns = h->now_ns;
	h->policy = p;
	h->generation++;
}

void model_host_done(struct model_host *h)
{
	free(h->flows);
	free(h->firsts);
	*h = (struct model_host){};
}
