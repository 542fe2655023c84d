// SPDX-License-Identifier: Apache-2.0
/*
 * Interfaces by which the programs send frames out: wires, and `forward: xdp`. What their entries in the banked map
 * `interfaces` say beside the rest, and map `ports`, which has the interfaces of both banks, so that a flip finds them
 * there. Called by apply.c, interfaces.c and status.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "dataplane/internal.h"

/* ------------------------------------------------------------------- entries */

/* A capture's interface has no other end. */
static void wire_fill(const struct policy_interface *i, const struct resolved *r, struct sluice_interface *entry)
{
	struct device_facts facts;
	size_t k;

	entry->flags |= SLUICE_IF_WIRE;
	for (k = 0; k < r->count; k++) {
		if (strcmp(r->items[k].name, i->wire))
			continue;
		entry->peer = r->items[k].ifindex;
		if (!device_facts(i->wire, entry->peer, &facts))
			entry->peer_mtu = facts.mtu;
	}
}

static bool is_port(const struct policy_interface *i)
{
	return i->wire || i->forward;
}

/* Frames of a veth come with unfinished checksums, which the program must finish in native mode and only there. */
static bool sees_unfinished(const struct dataplane *dp, uint32_t ifindex, const struct device_facts *facts)
{
	struct xdp_state state = {};

	return facts->veth && !xdp_query(dp, ifindex, &state) && state.ours && state.native;
}

void port_fill(const struct dataplane *dp, const struct policy_interface *i, const struct resolved *r,
	       const struct resolved_interface *of, struct sluice_interface *entry)
{
	struct device_facts facts = {};

	if (!is_port(i))
		return;
	if (i->wire)
		wire_fill(i, r, entry);
	if (i->forward)
		entry->flags |= SLUICE_IF_FORWARD;
	if (device_facts(of->name, of->ifindex, &facts)) /* a capture's */
		return;
	memcpy(entry->mac, facts.mac, sizeof(entry->mac));
	if (i->attach != POLICY_ATTACH_XDP_GENERIC && sees_unfinished(dp, of->ifindex, &facts))
		entry->flags |= SLUICE_IF_UNFINISHED;
}

int ports_settle(const struct dataplane *dp, const struct policy *p, const struct resolved *r, unsigned int bank,
		 struct error *err)
{
	struct sluice_interface entry;
	struct device_facts facts;
	__u16 before;
	size_t i;
	int s;

	for (i = 0; i < r->count; i++) {
		if (!is_port(&p->interfaces[r->items[i].entry]))
			continue;
		s = interface_entry(dp, r->items[i].ifindex, bank, &entry);
		if (!s)
			s = device_facts(r->items[i].name, r->items[i].ifindex, &facts);
		if (s)
			return error_system(err, -s, "%s: cannot ask for it", r->items[i].name);
		before = entry.flags;
		entry.flags &= (__u16)~SLUICE_IF_UNFINISHED;
		if (sees_unfinished(dp, r->items[i].ifindex, &facts))
			entry.flags |= SLUICE_IF_UNFINISHED;
		if (entry.flags != before)
			s = interface_entry_set(dp, r->items[i].ifindex, bank, &entry);
		if (s)
			return error_system(err, -s, "%s: cannot write the kernel table", r->items[i].name);
	}
	return 0;
}

/* ------------------------------------------------------------------- map `ports` */

static int port_add(const struct dataplane *dp, const struct resolved_interface *of, struct error *err)
{
	if (!bpf_map_update_elem(dp->map[MAP_ports], &of->ifindex, &of->ifindex, BPF_ANY))
		return 0;
	if (errno == E2BIG)
		return error_set(err, E2BIG, "interfaces: more than %d are wired or forward; name fewer", SLUICE_PORTS);
	return error_system(err, errno, "%s: the kernel does not take it as a target of XDP", of->name);
}

/* What is routed can go by the kernel where a driver takes no redirected frames; what is wired has no other way. */
static bool kernel_must_forward(const struct policy_interface *i, const struct resolved_interface *of)
{
	struct device_facts facts;

	return !i->wire && !device_facts(of->name, of->ifindex, &facts) && facts.redirect == DEVICE_NO;
}

int ports_add(const struct dataplane *dp, const struct policy *p, const struct resolved *r, struct error *err)
{
	const struct policy_interface *interface;
	size_t i;
	int s = 0;

	for (i = 0; i < r->count && !s; i++) {
		interface = &p->interfaces[r->items[i].entry];
		if (!is_port(interface))
			continue;
		if (!kernel_must_forward(interface, &r->items[i]))
			s = port_add(dp, &r->items[i], err);
		else if (bpf_map_delete_elem(dp->map[MAP_ports], &r->items[i].ifindex) && errno != ENOENT)
			s = error_system(err, errno, "%s: cannot write the kernel table", r->items[i].name);
	}
	return s;
}

static bool port_in_use(const struct dataplane *dp, uint32_t ifindex)
{
	struct sluice_interface entry;
	unsigned int bank;

	for (bank = 0; bank < 2; bank++)
		if (!interface_entry(dp, ifindex, bank, &entry) && (entry.flags & (SLUICE_IF_WIRE | SLUICE_IF_FORWARD)))
			return true;
	return false;
}

int ports_prune(const struct dataplane *dp, struct error *err)
{
	uint32_t key, next, *last = NULL;
	bool more;

	/* A key is removed only when its successor is known: a removed one has none. */
	for (more = !bpf_map_get_next_key(dp->map[MAP_ports], NULL, &key); more; key = next) {
		last = &key;
		more = !bpf_map_get_next_key(dp->map[MAP_ports], last, &next);
		if (!more && errno != ENOENT)
			return error_system(err, errno, "ports: cannot read the kernel table");
		if (!port_in_use(dp, key) && bpf_map_delete_elem(dp->map[MAP_ports], &key) && errno != ENOENT)
			return error_system(err, errno, "ports: cannot write the kernel table");
	}
	return 0;
}

/* ------------------------------------------------------------------- status */

static const char *const names[] = {
#define F(NAME, name, what, text) name,
	SLUICE_FORWARDS(F)
#undef F
};

static const char *const texts[] = {
#define F(NAME, name, what, text) text,
	SLUICE_FORWARDS(F)
#undef F
};

static const char *const whats[] = {
#define SENT			  "sent"
#define DROPPED			  "dropped"
#define KERNEL			  "kernel"
#define NOTED			  "noted"
#define F(NAME, name, what, text) what,
	SLUICE_FORWARDS(F)
#undef F
};

const char *forward_name(enum sluice_forward f)
{
	return names[f];
}

const char *forward_what(enum sluice_forward f)
{
	return whats[f];
}

const char *forward_text(enum sluice_forward f)
{
	return texts[f];
}

__attribute__((format(printf, 2, 3))) static void trouble(struct dataplane_interface *i, const char *format, ...)
{
	va_list ap;

	if (i->trouble[0])
		return;
	va_start(ap, format);
	vsnprintf(i->trouble, sizeof(i->trouble), format, ap);
	va_end(ap);
}

/* Whether frames that are redirected to the device arrive. Generic mode hands them over as the stack would. */
static void describe_target(const char *name, const struct device_facts *facts, struct dataplane_interface *i)
{
	if (!facts->up)
		trouble(i, "%s is down; frames for it are dropped", name);
	if (strncmp(i->mode, "xdp native", 10) || facts->redirect != DEVICE_NO)
		return;
	if (facts->veth)
		trouble(i, "veth %s takes no redirected frames; on its far end say `ethtool -K DEVICE gro on`", name);
	else
		trouble(i,
			"the driver of %s takes no redirected frames; use attach: xdp-generic for what is sent to it",
			name);
}

static void describe_wire(const struct dataplane *dp, const struct sluice_interface *entry,
			  struct dataplane_interface *i)
{
	struct device_facts facts;
	uint32_t port;

	if (!if_indextoname(entry->peer, i->wire)) {
		snprintf(i->wire, sizeof(i->wire), "#%u", entry->peer);
		trouble(i, "the other end is gone, and frames for it are dropped; apply again when it is back");
		return;
	}
	if (bpf_map_lookup_elem(dp->map[MAP_ports], &entry->peer, &port))
		trouble(i, "%s left the kernel's table of ports; apply again", i->wire);
	if (device_facts(i->wire, entry->peer, &facts))
		return;
	describe_target(i->wire, &facts, i);
	if (facts.mtu < entry->peer_mtu)
		trouble(i, "the MTU of %s has been %u, and frames above %u are dropped uncounted; apply again", i->wire,
			entry->peer_mtu, facts.mtu);
}

static void describe_forward(const struct dataplane *dp, const struct sluice_interface *entry,
			     const struct device_facts *facts, struct dataplane_interface *i)
{
	uint32_t port;

	i->forward = true;
	if (memcmp(facts->mac, entry->mac, sizeof(facts->mac)))
		trouble(i, "its address has changed and the kernel forwards instead; apply again");
	describe_target(i->name, facts, i);
	if (bpf_map_lookup_elem(dp->map[MAP_ports], &i->ifindex, &port))
		trouble(i,
			"took no redirected frames when the policy was applied, and the kernel forwards instead; apply "
			"again");
}

void port_describe(const struct dataplane *dp, const struct sluice_interface *entry, struct dataplane_interface *i)
{
	struct device_facts facts;

	if (!(entry->flags & (SLUICE_IF_WIRE | SLUICE_IF_FORWARD)))
		return;
	if (strncmp(i->mode, "xdp", 3))
		trouble(i, "no XDP program here any more; apply again");
	if (entry->flags & SLUICE_IF_WIRE)
		describe_wire(dp, entry, i);
	if (device_facts(i->name, i->ifindex, &facts))
		return;
	if (entry->flags & SLUICE_IF_FORWARD)
		describe_forward(dp, entry, &facts, i);
	if (facts.takes_tags && !facts.veth && !strncmp(i->mode, "xdp native", 10))
		trouble(i, "VLAN tags are taken off before XDP sees them; `ethtool -K %s rxvlan off`", i->name);
}
