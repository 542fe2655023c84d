// SPDX-License-Identifier: Apache-2.0
/*
 * Reading back what is in force: nothing here comes from memory, all from the pinned maps and from what the kernel says
 * is attached. Called by `sluice status` and tests. Counters are sums over CPUs, each read once: a packet under way may
 * be in one and not yet in another.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

void dataplane_status_done(struct dataplane_status *s)
{
	free(s->rules);
	free(s->interfaces);
	memset(s, 0, sizeof(*s));
}

/* ------------------------------------------------------------------- counters */

static int sum_rule(const struct dataplane *dp, uint32_t slot, struct sluice_rule_counter *values,
		    struct sluice_rule_counter *ret)
{
	struct sluice_rule_counter sum = {};
	int i;

	if (bpf_map_lookup_elem(dp->map[MAP_rule_counters], &slot, values))
		return -errno;
	for (i = 0; i < dp->n_cpus; i++) {
		sum.packets += values[i].packets;
		sum.bytes += values[i].bytes;
		sum.audit_packets += values[i].audit_packets;
		sum.limited_packets += values[i].limited_packets;
	}
	*ret = sum;
	return 0;
}

static int read_reasons(const struct dataplane *dp, struct dataplane_status *s)
{
	_cleanup_free_ struct sluice_reason_counter *values = calloc((size_t)dp->n_cpus, sizeof(*values));
	uint32_t reason;
	int i;

	if (!values)
		return -ENOMEM;
	for (reason = 0; reason < SLUICE_REASON_COUNT; reason++) {
		if (bpf_map_lookup_elem(dp->map[MAP_reason_counters], &reason, values))
			return -errno;
		s->reasons[reason].reason = (enum sluice_reason)reason;
		for (i = 0; i < dp->n_cpus; i++) {
			s->reasons[reason].packets += values[i].packets;
			s->reasons[reason].bytes += values[i].bytes;
			s->reasons[reason].audit_packets += values[i].audit_packets;
		}
	}
	return 0;
}

static int sum_words(const struct dataplane *dp, int fd, uint32_t entry, uint64_t *ret_sum)
{
	_cleanup_free_ uint64_t *values = calloc((size_t)dp->n_cpus, sizeof(*values));
	uint64_t sum = 0;
	int i;

	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &entry, values))
		return -errno;
	for (i = 0; i < dp->n_cpus; i++)
		sum += values[i];
	*ret_sum = sum;
	return 0;
}

static int read_answers(const struct dataplane *dp, struct sluice_answers *ret)
{
	_cleanup_free_ struct sluice_answers *values = calloc((size_t)dp->n_cpus, sizeof(*values));
	struct sluice_answers sum = {};
	uint32_t zero = 0;
	int i;

	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(dp->map[MAP_answers], &zero, values))
		return -errno;
	for (i = 0; i < dp->n_cpus; i++) {
		sum.sent += values[i].sent;
		sum.suppressed += values[i].suppressed;
	}
	*ret = sum;
	return 0;
}

static int read_totals(const struct dataplane *dp, struct dataplane_status *s)
{
	struct sluice_flow_totals t;
	uint32_t zero = 0, i;
	int r = 0;

	if (bpf_map_lookup_elem(dp->map[MAP_flow_totals], &zero, &t))
		return -errno;
	s->flows = t.flows;
	s->half_open = (int32_t)t.half_open > 0 ? t.half_open : 0; /* of a moment: its additions may come in any order */
	s->max_flows = dp->control->max_flows;
	for (i = 0; !r && i < SLUICE_FORWARD_COUNT; i++)
		r = sum_words(dp, dp->map[MAP_forwards], i, &s->forwards[i]);
	if (!r)
		r = read_answers(dp, &s->answers);
	return r ? r : sum_words(dp, dp->map[MAP_lost_events], 0, &s->lost_events);
}

/* ------------------------------------------------------------------- the live bank */

static int copy_rules(const struct dataplane *dp, const struct table_view *rules, struct dataplane_status *s)
{
	_cleanup_free_ struct sluice_rule_counter *values = calloc((size_t)dp->n_cpus, sizeof(*values));
	_cleanup_free_ struct dataplane_rule *copy = NULL;
	size_t count = min((size_t)s->policy.rules, rules->count), i;
	int r;

	copy = calloc(count + 1, sizeof(*copy));
	if (!copy || !values)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		copy[i].rule = ((const struct sluice_rule *)rules->address)[i];
		r = sum_rule(dp, copy[i].rule.slot, values, &copy[i].counter);
		if (r)
			return r;
	}
	s->rules = TAKE_PTR(copy);
	s->n_rules = count;
	return 0;
}

static int read_bank(const struct dataplane *dp, struct dataplane_status *s)
{
	unsigned int bank = s->control.generation & 1;
	struct table_view head = {}, rules = {};
	int r;

	if (!s->control.generation)
		return 0;
	r = table_view(dp, TABLE_policy, bank, PROT_READ, &head);
	if (!r) {
		s->policy = *(const struct sluice_policy *)head.address;
		r = table_view(dp, TABLE_rules, bank, PROT_READ, &rules);
	}
	if (!r)
		r = copy_rules(dp, &rules, s);
	table_unview(&head);
	table_unview(&rules);
	return r;
}

/* ------------------------------------------------------------------- interfaces */

static const char *const tc_words[] = {[TC_NONE] = "", [TC_TCX] = "tcx", [TC_CLSACT] = "clsact"};

static void describe_xdp(const struct dataplane *dp, const struct xdp_state *state, struct dataplane_interface *i)
{
	bool frags = !access(pin_path(dp->root, "programs", PROGRAM_XDP_FRAGS).text, F_OK);

	snprintf(i->mode, sizeof(i->mode), "xdp %s%s", state->native ? "native" : "generic", frags ? ", frags" : "");
	i->dispatcher = state->dispatcher;
}

/* `here`: the folder is in force in this network namespace, so that the number means something. */
static void describe_interface(const struct dataplane *dp, uint32_t ifindex, bool here, struct dataplane_interface *i)
{
	struct xdp_state state = {};
	enum tc_kind kind;

	i->ifindex = ifindex;
	if (!here) {
		snprintf(i->name, sizeof(i->name), "#%u", ifindex);
		snprintf(i->mode, sizeof(i->mode), "in another namespace");
		return;
	}
	if (!if_indextoname(ifindex, i->name))
		snprintf(i->name, sizeof(i->name), "#%u", ifindex);
	if (!xdp_query(dp, ifindex, &state) && state.ours)
		describe_xdp(dp, &state, i);
	else
		snprintf(i->mode, sizeof(i->mode), "%s", tc_words[tc_query(dp, ifindex, TC_INGRESS)]);
	if (!i->mode[0])
		snprintf(i->mode, sizeof(i->mode), "not attached");
	kind = tc_query(dp, ifindex, TC_EGRESS);
	i->egress = kind != TC_NONE;
	snprintf(i->egress_mode, sizeof(i->egress_mode), "%s", tc_words[kind]);
}

static int read_interfaces(const struct dataplane *dp, struct dataplane_status *s)
{
	_cleanup_free_ uint32_t *ifindex = NULL;
	bool here = !netns_check(dp->root, NULL);
	struct sluice_interface entry;
	size_t count = 0, i;
	int r = interfaces_of_bank(dp, s->control.generation & 1, &ifindex, &count);

	if (r)
		return r;
	s->interfaces = calloc(count + 1, sizeof(*s->interfaces));
	if (!s->interfaces)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		describe_interface(dp, ifindex[i], here, &s->interfaces[i]);
		if (here && !interface_entry(dp, ifindex[i], s->control.generation & 1, &entry)) {
			port_describe(dp, &entry, &s->interfaces[i]);
			cookie_describe(&s->policy, &entry, &s->interfaces[i]);
		}
		s->ports |= s->interfaces[i].forward || s->interfaces[i].wire[0];
	}
	s->n_interfaces = count;
	cookies_read(here, &s->syn);
	return 0;
}

int dataplane_status(struct dataplane *dp, struct error *err, struct dataplane_status *ret_status)
{
	struct dataplane_status s = {};
	int r;

	memcpy(&s.control, dp->control, sizeof(s.control));
	r = read_bank(dp, &s);
	if (!r)
		r = read_reasons(dp, &s);
	if (!r)
		r = read_totals(dp, &s);
	if (!r)
		r = read_interfaces(dp, &s);
	if (!r)
		r = trial_read(dp, s.control.generation, &s.trial);
	if (r) {
		dataplane_status_done(&s);
		return error_system(err, -r, "%s: cannot read the pinned maps", dp->root);
	}
	*ret_status = s;
	return 0;
}
