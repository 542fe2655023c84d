/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many handshakes are unfinished, in all and of one source, and whether there may be one more: the part of a SYN
 * flood that no cookie answers. Asked by syn.h, told by flow.h of what was finished.
 */
#ifndef SLUICE_BPF_HALF_OPEN_H
#define SLUICE_BPF_HALF_OPEN_H

#include "pkt.h"
#include "table.h"

#define SYN_SOURCES 65536

/*
 * What sources have left unfinished in a flood: an estimate, as a time. A half-open flow moves it syn_step_ns on,
 * and back when it is completed; ahead of now by more than a half-open flow lives, the source is at its limit. One
 * entry by hash; a source that meets another's takes it over, so random sources cannot keep anybody out: whoever
 * loses his entry only begins anew. Written without a lock: two CPUs at once may lose a step. Writer, reader: this
 * file.
 */
struct syn_source {
	__u32 tag;
	__u32 reserved;
	__u64 idle_ns; /* CLOCK_MONOTONIC: when nothing will be left unfinished */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SYN_SOURCES);
	__type(key, __u32);
	__type(value, struct syn_source);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} syn_sources SEC(".maps");

/* Of a moment, CPUs add in any order, and the sum may be below 0. */
static __always_inline __u32 syn_half_open(void)
{
	const struct sluice_flow_totals *t = totals();
	__s32 half_open = t ? *(const volatile __s32 *)&t->half_open : 0;

	return half_open > 0 ? half_open : 0;
}

/* IPv6 sources are taken by their /64: the rest is theirs to choose. */
static __always_inline struct syn_source *syn_source_of(const __u8 addr[16], __u16 tenant, __u8 version, __u32 *ret_tag)
{
	const __u64 *half = (const __u64 *)addr;
	__u64 hash = ((version == 4 ? half[1] : half[0]) ^ (__u64)tenant << 48) * 0x9e3779b97f4a7c15ull;
	__u32 number;

	hash ^= hash >> 32;
	hash *= 0xc2b2ae3d27d4eb4full;
	number = hash >> 48;
	*ret_tag = (__u32)hash | 1;
	return bpf_map_lookup_elem(&syn_sources, &number);
}

/* Whether the packet's source may leave one more unfinished, which is counted then. */
static __always_inline bool syn_source_may(struct pkt *pkt, const struct sluice_policy *p)
{
	__u64 now = pkt_now(pkt), from;
	struct syn_source *s;
	__u32 tag;

	s = syn_source_of(pkt->tuple.source, pkt->tuple.tenant, pkt->tuple.version, &tag);
	if (!s)
		return false;
	if (s->tag != tag) {
		s->tag = tag;
		s->idle_ns = 0;
	}
	from = s->idle_ns > now ? s->idle_ns : now;
	if (from + p->syn_step_ns > now + p->timeout_ns[SLUICE_T_TCP_OPENING])
		return false;
	s->idle_ns = from + p->syn_step_ns;
	return true;
}

/* The handshake of a flow is done: `originator` has one unfinished less. */
static __always_inline void syn_completed(const struct pkt *pkt, const __u8 originator[16])
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);
	struct syn_source *s;
	__u32 tag;

	if (!p || syn_half_open() < p->syn_threshold)
		return;
	s = syn_source_of(originator, pkt->key.tenant, pkt->tuple.version, &tag);
	if (s && s->tag == tag && s->idle_ns > p->syn_step_ns)
		s->idle_ns -= p->syn_step_ns;
}

static __always_inline int syn_limit(struct pkt *pkt)
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);
	__u32 half_open = syn_half_open();

	if (!p || half_open < p->syn_threshold)
		return UNDECIDED;
	if (half_open < p->syn_max && syn_source_may(pkt, p))
		return UNDECIDED;
	pkt->decision.slot = SLUICE_NO_RULE; /* the rule would have let it through: not its doing */
	return SLUICE_R_HALF_OPEN;
}

#endif
