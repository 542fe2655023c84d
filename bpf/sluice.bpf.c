// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The kernel half: five programs that share their stages and, being one object, their maps. Attached by
 * user/dataplane/, pinned, at work with or without a daemon.
 *
 *   sluice_xdp         every frame that enters at an interface, before the stack sees it
 *   sluice_cpumap      frames that sluice_xdp has moved to another CPU, on that CPU
 *   sluice_tc_ingress  the same as sluice_xdp where an interface is attached with `attach: tc`
 *   sluice_tc_egress   frames that leave and were not judged at a door: those that this host itself sends
 *   sluice_answer      behind sluice_xdp, where a policy rejects: answers what that has marked
 *
 * Three more see no packets: sluice_confirm and sluice_cut do what commands ask of them, and sluice_sweep is loaded by
 * `sluice replay` only, which runs the others on captured frames.
 *
 * Each reads as a table of contents: start, parse, judge, account, act. Before it, sluice_xdp asks door.h whether just such
 * a packet was denied a moment ago. What a packet gets, and in which order, is
 * the policy language's "What a packet gets"; judge() is that list.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <sluice/abi.h>

#include "account.h"
#include "classify.h"
#include "config.h"
#include "confirm.h"
#include "cut.h"
#include "door.h"
#include "failsafe.h"
#include "flow.h"
#include "forward.h"
#include "fragment.h"
#include "lane.h"
#include "lane6.h"
#include "limit.h"
#include "maps.h"
#include "parse.h"
#include "pkt.h"
#include "reject.h"
#include "replay.h"
#include "steer.h"
#include "syn.h"
#include "tenant.h"
#include "tunnel.h"

#define OFFSET_MASK 0x7ff /* no header that is looked at begins later: for the verifier */

/*
 * Step 1 of the list, once a context type, of the frame that begins at `offset`. Global: verified once, not once a
 * caller.
 */
__noinline int parse_xdp(struct xdp_md *ctx, struct pkt *pkt, __u32 offset)
{
	if (!pkt)
		return SLUICE_R_INTERNAL;
	return parse_frame(ctx, SLUICE_HOOK_XDP, (void *)(long)ctx->data, offset & OFFSET_MASK, (void *)(long)ctx->data_end, pkt);
}

__noinline int parse_skb(struct __sk_buff *ctx, struct pkt *pkt, __u32 offset)
{
	if (!pkt)
		return SLUICE_R_INTERNAL;
	return parse_frame(ctx, SLUICE_HOOK_TC_INGRESS, (void *)(long)ctx->data, offset & OFFSET_MASK, (void *)(long)ctx->data_end, pkt);
}

/*
 * Steps 5 to 8, of a packet whose tenant is known. A packet over the limit makes no flow, unless it passes all the same:
 * in audit mode, where what follows it must find its flow. No `ctx`: what came in a tunnel.
 */
static __always_inline int judge_in_tenant(void *ctx, enum sluice_hook hook, struct pkt *pkt)
{
	int reason = fragment_decide(pkt), limit = UNDECIDED;

	if (reason == UNDECIDED)
		reason = flow_decide(pkt);
	if (reason == UNDECIDED)
		reason = syn_decide(ctx, hook, pkt, classify_decide(pkt));
	if ((pkt->policy_flags & SLUICE_HAS_LIMITS) && limit_applies(pkt, reason))
		limit = limit_decide(pkt);
	if (limit != UNDECIDED && !(pkt->policy_flags & SLUICE_MODE_AUDIT))
		reason = limit;
	if (reason == UNDECIDED)
		reason = syn_reason(pkt, flow_create(pkt));
	if (limit != UNDECIDED && !reason_drops(reason))
		reason = limit;
	fragment_remember(pkt, reason);
	return reason;
}

/* Steps 2 to 8. `ctx` serves what the kernel is asked: routes and listeners. `hook` is a constant. */
static __always_inline int judge(void *ctx, enum sluice_hook hook, struct pkt *pkt)
{
	int reason = link_decide(pkt);

	if (reason == UNDECIDED)
		reason = tenant_decide(pkt);
	if (reason == UNDECIDED && tunnel_is_split(pkt))
		reason = SLUICE_R_TUNNEL_HEADER;
	if (reason != UNDECIDED)
		return reason;
	reason = failsafe_decide(ctx, pkt);
	if (reason == UNDECIDED)
		return judge_in_tenant(ctx, hook, pkt);
	fragment_remember(pkt, reason);
	return reason;
}

/* All of it for what a tunnel carries, which takes the place of the outer packet in `pkt`. 1: drop, 0: pass. */
static __always_inline int tunnel_judge(struct pkt *pkt, int reason)
{
	pkt->key.tenant = pkt->tuple.tenant;
	if (reason == UNDECIDED)
		reason = link_decide(pkt);
	if (reason == UNDECIDED)
		reason = judge_in_tenant(NULL, SLUICE_HOOK_XDP, pkt);
	return account(pkt, reason);
}

static __always_inline int tunnel_xdp(struct xdp_md *ctx, struct pkt *pkt)
{
	int reason = tunnel_open_xdp(ctx, pkt);

	if (reason == UNDECIDED && pkt->payload)
		reason = parse_xdp(ctx, pkt, pkt->payload);
	return tunnel_judge(pkt, reason);
}

static __always_inline int tunnel_skb(struct __sk_buff *ctx, struct pkt *pkt)
{
	int reason = tunnel_open_skb(ctx, pkt);

	if (reason == UNDECIDED && pkt->payload)
		reason = parse_skb(ctx, pkt, pkt->payload);
	return tunnel_judge(pkt, reason);
}

/* Where a packet that passes goes: a branch that is never taken, in a policy without wires and forwarding. */
static __always_inline int forward_xdp(struct xdp_md *ctx, struct pkt *pkt, int reason)
{
	return pkt->policy_flags & SLUICE_HAS_PORTS ? forward_move(ctx, pkt, reason) : XDP_PASS;
}

SEC("xdp.frags")
int sluice_xdp(struct xdp_md *ctx)
{
	struct pkt pkt;
	int reason, verdict, action;
	enum door_answer door;

	door = door_ask(ctx, &pkt);
	if (door == DOOR_DENIED)
		return XDP_DROP;
	action = LANE_NONE;
	if (door == DOOR_PLAIN)
		action = lane_ask(ctx, (void *)&pkt);
	else if (door == DOOR_PLAIN6)
		action = lane6_ask(ctx);
	if (action != LANE_NONE)
		return action;
	reason = pkt_start(&pkt, SLUICE_HOOK_XDP, ctx->ingress_ifindex, bpf_xdp_get_buff_len(ctx));
	if (reason == UNDECIDED)
		reason = parse_xdp(ctx, &pkt, 0);
	reason = reason == UNDECIDED ? judge(ctx, SLUICE_HOOK_XDP, &pkt) : interface_excuse(&pkt, reason);
	if (reason_drops(reason) && answer_arrives(ctx->data, ctx->data_end))
		return XDP_PASS;
	verdict = account(&pkt, reason);
	if (verdict != SLUICE_PASS) {
		door_keep(ctx, &pkt, reason);
		return verdict == SLUICE_REJECT ? reject_xdp(ctx, &pkt, reason) : XDP_DROP;
	}
	if (reason == SLUICE_R_PASS_SYN_COOKIE)
		return syn_send_xdp(ctx, &pkt);
	if (tunnel_carries(&pkt))
		return tunnel_xdp(ctx, &pkt) ? XDP_DROP : forward_xdp(ctx, &pkt, reason);
	action = forward_xdp(ctx, &pkt, reason);
	return action == XDP_PASS ? steer_move(&pkt) : action;
}

/* Judged already, before the move: only counted where it arrived. */
SEC("xdp.frags/cpumap")
int sluice_cpumap(struct xdp_md *ctx)
{
	struct pkt pkt;
	int reason;

	reason = pkt_start(&pkt, SLUICE_HOOK_XDP, ctx->ingress_ifindex, bpf_xdp_get_buff_len(ctx));
	if (reason == UNDECIDED)
		reason = parse_xdp(ctx, &pkt, 0);
	if (reason == UNDECIDED)
		steer_stay(&pkt);
	return XDP_PASS;
}

/* The tag that a device or the stack has already taken off the frame is its outermost. */
static __always_inline int skb_start(struct __sk_buff *ctx, struct pkt *pkt, enum sluice_hook hook)
{
	int reason = pkt_start(pkt, hook, ctx->ifindex, ctx->len);

	if (ctx->vlan_present && (ctx->vlan_tci & VLAN_ID_MASK))
		pkt->vlan = ctx->vlan_tci & VLAN_ID_MASK;
	pkt->from_here = hook == SLUICE_HOOK_TC_EGRESS && !ctx->ingress_ifindex;
	return reason;
}

/*
 * Headers may lie outside the linear part, where parsers cannot look. They seldom do, and a locally sent segment has
 * exactly its headers there: so parse first and pull only if that falls short.
 */
static __always_inline int skb_parse(struct __sk_buff *ctx, struct pkt *pkt)
{
	__u32 linear = ctx->data_end - ctx->data;
	int reason;

	barrier_var(linear); /* or clang keeps the pointers over the call, 4 bytes of each: kernel 6.18 refuses the spill */
	reason = parse_skb(ctx, pkt, 0);
	if ((reason != SLUICE_R_SHORT && reason != SLUICE_R_FRAGMENT_TINY) || linear >= ctx->len)
		return reason;
	if (bpf_skb_pull_data(ctx, ctx->len < 2048 ? ctx->len : 2048))
		return reason;
	return parse_skb(ctx, pkt, 0);
}

SEC("tc")
int sluice_tc_ingress(struct __sk_buff *ctx)
{
	struct pkt pkt;
	int reason, verdict;

	reason = skb_start(ctx, &pkt, SLUICE_HOOK_TC_INGRESS);
	if (reason == UNDECIDED)
		reason = skb_parse(ctx, &pkt);
	reason = reason == UNDECIDED ? judge(ctx, SLUICE_HOOK_TC_INGRESS, &pkt) : interface_excuse(&pkt, reason);
	if (reason_drops(reason) && answer_arrives(ctx->data, ctx->data_end))
		return TC_ACT_UNSPEC;
	verdict = account(&pkt, reason);
	if (verdict != SLUICE_PASS)
		return verdict == SLUICE_REJECT ? reject_skb(ctx, &pkt, reason) : TC_ACT_SHOT;
	if (reason == SLUICE_R_PASS_SYN_COOKIE)
		return syn_send_skb(ctx, &pkt);
	if (tunnel_carries(&pkt))
		return tunnel_skb(ctx, &pkt) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	steer_stay(&pkt);
	return TC_ACT_UNSPEC;
}

/*
 * A packet is judged once. One that came in at an interface that the live policy names was judged there and passes;
 * what remains are packets of this host itself and those that entered by an interface sluice does not guard.
 */
SEC("tc")
int sluice_tc_egress(struct __sk_buff *ctx)
{
	struct pkt pkt;
	int reason, verdict;

	reason = skb_start(ctx, &pkt, SLUICE_HOOK_TC_EGRESS);
	if (reason == UNDECIDED && interface_find(ctx->ingress_ifindex, SLUICE_VLAN_NONE, pkt.tuple.bank))
		return TC_ACT_UNSPEC;
	if (reason == UNDECIDED)
		reason = skb_parse(ctx, &pkt);
	reason = reason == UNDECIDED ? judge(ctx, SLUICE_HOOK_TC_EGRESS, &pkt) : interface_excuse(&pkt, reason);
	verdict = account(&pkt, reason);
	if (verdict != SLUICE_PASS)
		return verdict == SLUICE_REJECT ? reject_skb(ctx, &pkt, reason) : TC_ACT_SHOT;
	syn_answered(&pkt);
	if (tunnel_carries(&pkt))
		return tunnel_skb(ctx, &pkt) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	return TC_ACT_UNSPEC;
}

/* At TC ingress where sluice_xdp is attached: what that has judged, counted and marked to be answered. */
SEC("tc")
int sluice_answer(struct __sk_buff *ctx)
{
	struct pkt pkt;
	__u32 flags = marks_take(ctx);
	int reason;

	if (!flags)
		return TC_ACT_UNSPEC;
	reason = skb_start(ctx, &pkt, SLUICE_HOOK_TC_INGRESS);
	if (reason == UNDECIDED)
		reason = skb_parse(ctx, &pkt);
	if (reason != UNDECIDED)
		return TC_ACT_SHOT;
	return flags & ANSWER_SYN ? syn_answer_marked(ctx, &pkt) : answer_send(ctx, &pkt, flags);
}

/* Ends all flows whose time is over, at once: for a replay, whose time no timer knows, and for tests. */
SEC("syscall")
int sluice_sweep(void *ctx)
{
	sweep(0, flow_buckets);
	return 0;
}

/* Asked by `apply --confirm`, `confirm` and `rollback`; bpf/confirm.h. */
SEC("syscall")
int sluice_confirm(struct sluice_confirm_call *call)
{
	call->result = confirm_answer(call);
	return 0;
}

/* Asked by `flows --cut`; bpf/cut.h. */
SEC("syscall")
int sluice_cut(struct sluice_cut_call *call)
{
	call->result = cut_answer(call);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
