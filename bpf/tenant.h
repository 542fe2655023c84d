/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages 2 and 3: packets that are not IP; whose packet it is, by interface and VLAN; whether its source may enter
 * there.
 */
#ifndef SLUICE_BPF_TENANT_H
#define SLUICE_BPF_TENANT_H

#include "pkt.h"
#include "prefix.h"

#define ETHERTYPE_ARP	0x0806
#define ETHERTYPE_SLOW	0x8809 /* LACP, marker, OAM */
#define ETHERTYPE_EAPOL 0x888e
#define ETHERTYPE_LLDP	0x88cc
#define ETHERTYPE_MIN	0x0600 /* below: an 802.3 length, an LLC header follows */

static __always_inline bool link_is_control(const struct pkt *pkt)
{
	switch (bpf_ntohs(pkt->ethertype)) {
	case ETHERTYPE_ARP:
	case ETHERTYPE_SLOW:
	case ETHERTYPE_EAPOL:
	case ETHERTYPE_LLDP:
		return true;
	}
	/* Spanning tree: LLC to a group address that bridges do not forward. */
	return bpf_ntohs(pkt->ethertype) < ETHERTYPE_MIN && pkt->link_local;
}

static __always_inline struct sluice_interface *interface_find(__u32 ifindex, __u16 vlan, __u32 bank)
{
	struct sluice_interface_key key = {.ifindex = ifindex, .vlan = vlan, .bank = bank};
	__u32 number = ifindex << 1 | bank;
	struct sluice_interface *interface;

	if (vlan != SLUICE_VLAN_NONE || ifindex >= SLUICE_UNTAGGED)
		return bpf_map_lookup_elem(&interfaces, &key);
	interface = bpf_map_lookup_elem(&untagged, &number);
	return interface && (interface->flags & SLUICE_IF_NAMED) ? interface : NULL;
}

/*
 * The reason, unless the live policy does not name the interface: it has nothing to say there, not even of malformed
 * packets. Interfaces stay attached without being named while a policy is on trial, and after it was taken back.
 * Asked only where a packet is about to be dropped before its tenant is known.
 */
static __noinline int interface_excuse(const struct pkt *pkt, int reason)
{
	if (!pkt->generation || interface_find(pkt->ifindex, SLUICE_VLAN_NONE, pkt->tuple.bank))
		return reason;
	return SLUICE_R_PASS_NO_POLICY;
}

static __always_inline int link_decide(const struct pkt *pkt)
{
	if (pkt->tuple.version)
		return UNDECIDED;
	if (link_is_control(pkt))
		return SLUICE_R_PASS_LINK;
	if (pkt->policy_action == SLUICE_ACTION_ALLOW)
		return SLUICE_R_PASS_NON_IP;
	return interface_excuse(pkt, SLUICE_R_DENY_NON_IP);
}

static __always_inline int antispoof_decide(const struct pkt *pkt, __u32 slot)
{
	const struct sluice_policy *p = policy_live(pkt->tuple.bank);
	const struct sluice_class *class;
	struct words w;

	if (!p)
		return SLUICE_R_INTERNAL;
	words_open(&w, pkt->tuple.bank);
	class = class_get(&w, p, prefix_lookup(&w, p, &pkt->tuple, pkt->tuple.source));
	if (!class)
		return SLUICE_R_INTERNAL;
	return class->antispoof >> (slot & 63) & 1 ? UNDECIDED : SLUICE_R_ANTISPOOF;
}

static __noinline int tenant_decide(struct pkt *pkt)
{
	const struct sluice_interface *interface = interface_find(pkt->ifindex, pkt->vlan, pkt->tuple.bank);

	if (!interface)
		return interface_excuse(pkt, SLUICE_R_UNKNOWN_TENANT);
	pkt->tuple.tenant = interface->tenant;
	pkt->key.tenant = interface->tenant;
	pkt->interface_flags = interface->flags;
	if (pkt->hook == SLUICE_HOOK_TC_EGRESS || !(interface->flags & SLUICE_IF_ANTISPOOF))
		return UNDECIDED;
	return antispoof_decide(pkt, interface->slot);
}

#endif
