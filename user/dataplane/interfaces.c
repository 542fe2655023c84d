// SPDX-License-Identifier: Apache-2.0
/*
 * Interfaces: from the policy's names and globs to those of the caller's network namespace, their entries in the banked
 * `interfaces` map, and which hooks each one carries. Called by apply and detach. An interface that the policy names
 * first keeps that entry, though a later glob may match it too.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "dataplane/internal.h"

typedef struct if_nameindex nameindex;

static void nameindex_freep(nameindex **list)
{
	if (*list)
		if_freenameindex(*list);
}

void resolved_done(struct resolved *r)
{
	free(r->items);
	r->items = NULL;
	r->count = 0;
}

static bool resolved_has(const struct resolved *r, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < r->count; i++)
		if (r->items[i].ifindex == ifindex)
			return true;
	return false;
}

static int resolved_add(struct resolved *r, const nameindex *i, size_t entry)
{
	struct resolved_interface *items = reallocarray(r->items, r->count + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	r->items = items;
	items += r->count++;
	snprintf(items->name, sizeof(items->name), "%s", i->if_name);
	items->ifindex = i->if_index;
	items->entry = entry;
	return 0;
}

static int missing(const struct policy_interface *wanted, const nameindex *list, struct error *err)
{
	char names[256] = "";
	size_t used = 0;

	for (; list->if_index && used < sizeof(names) - 20; list++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", list->if_name);
	return error_set(err, ENODEV, "%s:%u: no interface %s here; there are: %s%s",
			 wanted->place.file ? wanted->place.file : "policy", wanted->place.line, wanted->name, names,
			 list->if_index ? ", ..." : "");
}

static int resolve_entry(const struct policy *p, size_t entry, const nameindex *list, struct error *err,
			 struct resolved *r)
{
	const struct policy_interface *wanted = &p->interfaces[entry];
	const nameindex *i;
	bool found = false;

	for (i = list; i->if_index; i++) {
		if (wanted->is_glob ? fnmatch(wanted->name, i->if_name, 0) : strcmp(wanted->name, i->if_name))
			continue;
		found = true;
		if (!resolved_has(r, i->if_index) && resolved_add(r, i, entry))
			return error_set(err, ENOMEM, "interfaces: out of memory");
	}
	if (!found && !wanted->is_glob)
		return missing(wanted, list, err);
	if (!found)
		log_warn("interfaces", "%s:%u: %s matches no interface now; apply again when there is one",
			 wanted->place.file ? wanted->place.file : "policy", wanted->place.line, wanted->name);
	return 0;
}

static int check_others(const struct dataplane *dp, const struct policy *p, const struct resolved *r, struct error *err)
{
	uint32_t other;
	size_t i;

	for (i = 0; i < r->count; i++)
		if (p->interfaces[r->items[i].entry].attach != POLICY_ATTACH_TC &&
		    xdp_refused_by_others(dp, r->items[i].ifindex, &other))
			return error_set(
				err, EBUSY,
				"%s: carries the XDP program %u of somebody else; take it off (`ip link set %s xdp "
				"off`) or use `attach: tc`",
				r->items[i].name, other, r->items[i].name);
	return 0;
}

int interfaces_resolve(const struct dataplane *dp, const struct policy *p, struct error *err, struct resolved *ret)
{
	_cleanup_(nameindex_freep) nameindex *list = if_nameindex();
	struct resolved found = {};
	size_t i;
	int r = 0;

	if (!list)
		return error_system(err, errno, "interfaces: cannot list them");
	for (i = 0; !r && i < p->n_interfaces; i++)
		r = resolve_entry(p, i, list, err, &found);
	if (!r)
		r = check_others(dp, p, &found, err);
	if (r) {
		resolved_done(&found);
		return r;
	}
	*ret = found;
	return 0;
}

/* ------------------------------------------------------------------- the banked map */

static int collect_keys(const struct dataplane *dp, unsigned int bank, struct sluice_interface_key **ret_keys,
			size_t *ret_count)
{
	_cleanup_free_ struct sluice_interface_key *keys = NULL;
	struct sluice_interface_key key, *last = NULL, *grown;
	size_t count = 0;

	while (!bpf_map_get_next_key(dp->map[MAP_interfaces], last, &key)) {
		last = &key;
		if (key.bank != bank)
			continue;
		grown = reallocarray(keys, count + 1, sizeof(*keys));
		if (!grown)
			return -ENOMEM;
		keys = grown;
		keys[count++] = key;
	}
	if (errno != ENOENT)
		return -errno;
	*ret_keys = TAKE_PTR(keys);
	*ret_count = count;
	return 0;
}

/* Writes an entry, or with NULL removes it, in `interfaces` and, where it is of untagged traffic, in `untagged`. */
static int entry_write(const struct dataplane *dp, const struct sluice_interface_key *key,
		       const struct sluice_interface *value)
{
	static const struct sluice_interface none;
	__u32 number = key->ifindex << 1 | key->bank;

	if (value ? bpf_map_update_elem(dp->map[MAP_interfaces], key, value, BPF_ANY)
		  : bpf_map_delete_elem(dp->map[MAP_interfaces], key) && errno != ENOENT)
		return -errno;
	if (key->vlan != SLUICE_VLAN_NONE || key->ifindex >= SLUICE_UNTAGGED)
		return 0;
	return bpf_map_update_elem(dp->map[MAP_untagged], &number, value ? value : &none, BPF_ANY) ? -errno : 0;
}

/* Removes the VNIs of a bank. */
static int tunnels_purge(const struct dataplane *dp, unsigned int bank)
{
	struct sluice_tunnel_key key, next, *last = NULL;
	bool more;

	/* A key is removed only when its successor is known: a removed one has none. */
	for (more = !bpf_map_get_next_key(dp->map[MAP_tunnels], NULL, &key); more; key = next) {
		last = &key;
		more = !bpf_map_get_next_key(dp->map[MAP_tunnels], last, &next);
		if (!more && errno != ENOENT)
			return -errno;
		if ((key.vni_bank & 0xff) == bank && bpf_map_delete_elem(dp->map[MAP_tunnels], &key) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int tunnels_write(const struct dataplane *dp, uint32_t ifindex, const struct policy_interface *i,
			 unsigned int bank)
{
	struct sluice_tunnel_key key = {.ifindex = ifindex};
	struct sluice_tunnel value = {};
	size_t v;

	for (v = 0; v < i->n_vnis; v++) {
		key.vni_bank = i->vnis[v].id << 8 | bank;
		value.tenant = i->vnis[v].tenant;
		if (bpf_map_update_elem(dp->map[MAP_tunnels], &key, &value, BPF_ANY))
			return -errno;
	}
	return 0;
}

static int interfaces_purge(const struct dataplane *dp, unsigned int bank)
{
	_cleanup_free_ struct sluice_interface_key *keys = NULL;
	size_t count = 0, i;
	int r = collect_keys(dp, bank, &keys, &count);

	for (i = 0; !r && i < count; i++)
		r = entry_write(dp, &keys[i], NULL);
	return r;
}

int interface_entry(const struct dataplane *dp, uint32_t ifindex, unsigned int bank, struct sluice_interface *ret)
{
	const struct sluice_interface_key key = {.ifindex = ifindex, .vlan = SLUICE_VLAN_NONE, .bank = (__u16)bank};

	return bpf_map_lookup_elem(dp->map[MAP_interfaces], &key, ret) ? -errno : 0;
}

int interface_entry_set(const struct dataplane *dp, uint32_t ifindex, unsigned int bank, const struct sluice_interface *value)
{
	const struct sluice_interface_key key = {.ifindex = ifindex, .vlan = SLUICE_VLAN_NONE, .bank = (__u16)bank};

	return entry_write(dp, &key, value);
}

static bool limits_any(const struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_rules; i++)
		if (policy_rule_limit(p, i).rate)
			return true;
	return false;
}

static int interface_write(const struct dataplane *dp, const struct resolved *resolved,
			   const struct resolved_interface *of, const struct policy_interface *i, __u16 limits,
			   unsigned int bank)
{
	struct sluice_interface_key key = {.ifindex = of->ifindex, .vlan = SLUICE_VLAN_NONE, .bank = (__u16)bank};
	struct sluice_interface value = {
		.slot = (__u32)of->entry,
		.tenant = i->tenant,
		.flags = SLUICE_IF_NAMED | (i->antispoof ? SLUICE_IF_ANTISPOOF : 0) |
			 (i->n_vnis ? SLUICE_IF_TUNNELS : 0) | cookie_way(of->name, of->ifindex, i->attach) | limits,
	};
	size_t v;
	int r;

	port_fill(dp, i, resolved, of, &value);
	r = entry_write(dp, &key, &value);

	for (v = 0; v < i->n_vlans && !r; v++) {
		key.vlan = i->vlans[v].id;
		value.tenant = i->vlans[v].tenant;
		r = entry_write(dp, &key, &value);
	}
	return r ? r : tunnels_write(dp, of->ifindex, i, bank);
}

int interfaces_write(const struct dataplane *dp, const struct policy *p, const struct resolved *r, unsigned int bank,
		     struct error *err)
{
	size_t i;
	__u16 limits = limits_any(p) ? SLUICE_IF_LIMITS : 0;
	int s = interfaces_purge(dp, bank);

	if (!s)
		s = tunnels_purge(dp, bank);
	for (i = 0; !s && i < r->count; i++)
		s = interface_write(dp, r, &r->items[i], &p->interfaces[r->items[i].entry], limits, bank);
	if (s == -E2BIG)
		return error_set(err, E2BIG,
				 "interfaces: too many interfaces, VLANs and VNIs for the kernel tables; name fewer");
	return s ? error_system(err, -s, "interfaces: cannot write the kernel table") : 0;
}

int interfaces_of_bank(const struct dataplane *dp, unsigned int bank, uint32_t **ret_ifindex, size_t *ret_count)
{
	_cleanup_free_ struct sluice_interface_key *keys = NULL;
	_cleanup_free_ uint32_t *ifindex = NULL;
	size_t count = 0, i, n = 0;
	int r = collect_keys(dp, bank, &keys, &count);

	if (r)
		return r;
	ifindex = calloc(count + 1, sizeof(*ifindex));
	if (!ifindex)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		if (keys[i].vlan == SLUICE_VLAN_NONE)
			ifindex[n++] = keys[i].ifindex;
	*ret_ifindex = TAKE_PTR(ifindex);
	*ret_count = n;
	return 0;
}

/* ------------------------------------------------------------------- hooks */

/*
 * What stands behind XDP's judge stays until the interface is let go: a policy taken back may reject again, and a packet
 * that is not marked passes it in some nanoseconds.
 */
static int attach_behind_xdp(struct dataplane *dp, const struct resolved_interface *i, bool answers, struct error *err)
{
	return answers ? tc_attach(dp, i->name, i->ifindex, TC_ANSWER, err) : 0;
}

int interface_answers(struct dataplane *dp, const struct resolved_interface *i, struct error *err)
{
	struct xdp_state now = {};

	xdp_query(dp, i->ifindex, &now);
	return attach_behind_xdp(dp, i, now.ours, err);
}

int interface_attach(struct dataplane *dp, const struct resolved_interface *i, enum policy_attach wanted, bool answers,
		     struct error *err, bool *ret_changed)
{
	struct xdp_state before = {};
	bool had_egress = tc_query(dp, i->ifindex, TC_EGRESS) != TC_NONE;
	bool had_ingress = tc_query(dp, i->ifindex, TC_INGRESS) != TC_NONE;
	int r;

	xdp_query(dp, i->ifindex, &before);
	*ret_changed = !had_egress || (!before.ours && !had_ingress);
	r = tc_attach(dp, i->name, i->ifindex, TC_EGRESS, err);
	if (r)
		return r;
	/* The new ingress hook goes on before the old one comes off: twice judged for a moment rather than not at all.
	 */
	if (wanted == POLICY_ATTACH_TC) {
		r = tc_attach(dp, i->name, i->ifindex, TC_INGRESS, err);
		if (!r)
			r = xdp_detach(dp, i->ifindex, err);
		return r ? r : tc_detach(dp, i->ifindex, TC_ANSWER, err);
	}
	r = attach_behind_xdp(dp, i, answers, err);
	if (!r)
		r = xdp_attach(dp, i->name, i->ifindex, wanted, err);
	return r ? r : tc_detach(dp, i->ifindex, TC_INGRESS, err);
}

int interface_detach(const struct dataplane *dp, uint32_t ifindex, struct error *err)
{
	static const enum tc_place places[] = {TC_INGRESS, TC_EGRESS, TC_ANSWER};
	int r = xdp_detach(dp, ifindex, err), s;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		s = tc_detach(dp, ifindex, places[i], err);
		r = r ? r : s;
	}
	return r;
}

int interfaces_detach_others(const struct dataplane *dp, const struct resolved *keep, struct error *err)
{
	_cleanup_(nameindex_freep) nameindex *list = if_nameindex();
	const nameindex *i;
	int r = 0, s;

	if (!list)
		return error_system(err, errno, "interfaces: cannot list them");
	for (i = list; i->if_index; i++) {
		if (keep && resolved_has(keep, i->if_index))
			continue;
		s = interface_detach(dp, i->if_index, err);
		r = r ? r : s;
	}
	return r;
}
