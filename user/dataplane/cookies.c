// SPDX-License-Identifier: Apache-2.0
/*
 * SYN cookies, seen from userspace: which way an interface's answers take (bpf/syn.h asks for it), and what status says.
 * Called by apply.c, interfaces.c and status.c. No setting of the system is changed here or anywhere.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "dataplane/internal.h"

/*
 * XDP_TX on a veth is lost without a word unless the other end runs an XDP program, which may be in a namespace out of
 * sight. The kernel, from 6.3 on, says of the device whether a redirect to it arrives, which holds with GRO on the other
 * end too. In generic mode, and on every other device, XDP_TX sends.
 */
__u16 cookie_way(const char *name, uint32_t ifindex, enum policy_attach attach)
{
	struct device_facts facts = {};

	if (attach == POLICY_ATTACH_TC || device_facts(name, ifindex, &facts)) /* a capture's interface has no device */
		return 0;
	if (!facts.veth || attach == POLICY_ATTACH_XDP_GENERIC)
		return SLUICE_IF_BACK;
	return facts.redirect == DEVICE_YES ? SLUICE_IF_BOUNCE : 0;
}

bool cookies_need_tc(const struct policy *p, const struct resolved_interface *i)
{
	const struct policy_interface *interface = &p->interfaces[i->entry];

	if (p->conntrack.syn_cookies == POLICY_COOKIES_NEVER || interface->attach == POLICY_ATTACH_TC || interface->wire)
		return false;
	return !cookie_way(i->name, i->ifindex, interface->attach);
}

/* ------------------------------------------------------------------- status */

void cookie_describe(const struct sluice_policy *policy, const struct sluice_interface *entry,
		     struct dataplane_interface *i)
{
	const char *way = "tc";

	if (!(policy->flags & SLUICE_SYN_COOKIES) || (entry->flags & SLUICE_IF_WIRE))
		return;
	if (!strncmp(i->mode, "xdp", 3) && (entry->flags & SLUICE_IF_BACK))
		way = "xdp";
	else if (!strncmp(i->mode, "xdp", 3) && (entry->flags & SLUICE_IF_BOUNCE))
		way = "xdp redirect";
	snprintf(i->cookies, sizeof(i->cookies), "%s", way);
}

/* -1: this kernel has no such setting. */
static int setting_read(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	int value;

	return f && fscanf(f, "%d", &value) == 1 ? value : -1;
}

uint32_t cookies_rmem_max(void)
{
	int value = setting_read("/proc/sys/net/core/rmem_max");

	return value > 0 ? (uint32_t)value : 0;
}

void cookies_read(bool here, struct dataplane_syn *ret)
{
	ret->tcp_syncookies = here ? setting_read("/proc/sys/net/ipv4/tcp_syncookies") : -1;
	ret->tcp_timestamps = here ? setting_read("/proc/sys/net/ipv4/tcp_timestamps") : -1;
}
