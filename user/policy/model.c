// SPDX-License-Identifier: Apache-2.0
/*
 * The model of a policy: making, freeing, and the membership questions that follow the text as written. Filled by
 * yaml.c, completed by check.c, read by everything else. Never changes after policy_load().
 */
#include "policy/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/array.h"
#include "policy/values.h"

static const uint64_t default_timeouts[SLUICE_TIMEOUT_COUNT] = {
	[SLUICE_T_TCP_OPENING] = 30 * NSEC_PER_SEC, [SLUICE_T_TCP_ESTABLISHED] = 3600 * NSEC_PER_SEC,
	[SLUICE_T_TCP_CLOSING] = 10 * NSEC_PER_SEC, [SLUICE_T_UDP] = 30 * NSEC_PER_SEC,
	[SLUICE_T_UDP_STREAM] = 180 * NSEC_PER_SEC, [SLUICE_T_ICMP] = 10 * NSEC_PER_SEC,
	[SLUICE_T_OTHER] = 30 * NSEC_PER_SEC,	    [SLUICE_T_PICKUP] = 30 * NSEC_PER_SEC,
};

#define SYN_THRESHOLD_DEFAULT  4096
#define SYN_PER_SOURCE_DEFAULT 64

struct policy *policy_new(void)
{
	_cleanup_(policy_freep) struct policy *p = calloc(1, sizeof(*p));
	char **host;

	if (!p)
		return NULL;
	host = array_add(&p->tenants, &p->n_tenants, sizeof(*host));
	if (!host)
		return NULL;
	*host = strdup("");
	p->name = strdup("");
	p->failsafe = calloc(1, sizeof(*p->failsafe));
	if (!*host || !p->name || !p->failsafe)
		return NULL;
	p->conntrack.max = SLUICE_FLOWS_DEFAULT;
	p->conntrack.syn_threshold = SYN_THRESHOLD_DEFAULT;
	p->conntrack.syn_per_source = SYN_PER_SOURCE_DEFAULT;
	memcpy(p->conntrack.timeout_ns, default_timeouts, sizeof(default_timeouts));
	p->storage.reactors_auto = true;
	p->storage.transport = POLICY_TRANSPORT_DEFAULT;
	return TAKE_PTR(p);
}

static const char *const default_failsafe[] = {"tcp/22",     "udp/68",	   "udp/546",	 "icmpv6/133",
					       "icmpv6/134", "icmpv6/135", "icmpv6/136", "icmpv6/137"};

int policy_failsafe_default(struct policy_service *failsafe)
{
	struct policy_item *item;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(default_failsafe); i++) {
		item = array_add(&failsafe->items, &failsafe->n_items, sizeof(*item));
		if (!item)
			return -ENOMEM;
		value_item(default_failsafe[i], item, NULL);
	}
	return 0;
}

static void strings_free(char **strings, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		free(strings[i]);
	free(strings);
}

static void interfaces_free(struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_interfaces; i++) {
		free(p->interfaces[i].name);
		free(p->interfaces[i].vlans);
		free(p->interfaces[i].vnis);
		free(p->interfaces[i].wire);
		free(p->interfaces[i].antispoof_segments);
	}
	free(p->interfaces);
}

static void segments_free(struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_segments; i++) {
		free(p->segments[i].name);
		free(p->segments[i].include);
		free(p->segments[i].except);
		free(p->segments[i].members);
	}
	free(p->segments);
}

static void rules_free(struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_rules; i++) {
		free(p->rules[i].name);
		free(p->rules[i].from.segments);
		free(p->rules[i].to.segments);
		free(p->rules[i].services);
		free(p->rules[i].tenants);
	}
	free(p->rules);
}

static void host_done(struct policy_host *host)
{
	free(host->nqn);
	free(host->dhchap_key.path);
	free(host->dhchap_controller_key.path);
	free(host->psk.path);
}

static void storage_limit_done(struct policy_storage_limit *l)
{
	free(l->name);
	strings_free(l->hosts, l->n_hosts);
	free(l->subsystem);
	if (l->from)
		free(l->from->segments);
	free(l->from);
	free(l->sources);
}

void policy_storage_take(struct policy *p, struct policy_storage *ret_storage)
{
	*ret_storage = p->storage;
	memset(&p->storage, 0, sizeof(p->storage));
}

void policy_storage_done(struct policy_storage *s)
{
	size_t i, k;

	for (i = 0; i < s->n_limits; i++)
		storage_limit_done(&s->limits[i]);
	free(s->limits);
	for (i = 0; i < s->n_portals; i++) {
		free(s->portals[i].address);
		free(s->portals[i].name);
	}
	for (i = 0; i < s->n_referrals; i++)
		free(s->referrals[i].address);
	free(s->referrals);
	for (i = 0; i < s->n_subsystems; i++) {
		free(s->subsystems[i].nqn);
		for (k = 0; k < s->subsystems[i].n_hosts; k++)
			host_done(&s->subsystems[i].hosts[k]);
		free(s->subsystems[i].hosts);
		for (k = 0; k < s->subsystems[i].n_namespaces; k++)
			free(s->subsystems[i].namespaces[k].path);
		free(s->subsystems[i].namespaces);
		for (k = 0; k < s->subsystems[i].n_ana; k++)
			free(s->subsystems[i].ana[k].portal);
		free(s->subsystems[i].ana);
	}
	free(s->portals);
	free(s->reactors);
	free(s->subsystems);
}

static void service_done(struct policy_service *service)
{
	free(service->name);
	free(service->items);
}

void policy_service_freep(struct policy_service **service)
{
	if (*service)
		service_done(*service);
	free(*service);
}

void policy_free(struct policy *p)
{
	size_t i;

	if (!p)
		return;
	free(p->name);
	strings_free(p->tenants, p->n_tenants);
	interfaces_free(p);
	segments_free(p);
	for (i = 0; i < p->n_services; i++)
		service_done(&p->services[i]);
	free(p->services);
	rules_free(p);
	policy_service_freep(&p->failsafe);
	policy_storage_done(&p->storage);
	strings_free(p->files, p->n_files);
	free(p);
}

void policy_freep(struct policy **p)
{
	policy_free(*p);
}

/* ------------------------------------------------------------------ membership */

bool policy_address_is_ipv4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(addr, mapped, sizeof(mapped));
}

bool policy_prefix_contains(const struct policy_prefix *prefix, const uint8_t addr[16])
{
	unsigned int bits = prefix->ipv4 ? 96u + prefix->length : prefix->length;
	unsigned int bytes = bits / 8;
	uint8_t mask = (uint8_t)(0xff00 >> bits % 8);

	if (prefix->ipv4 != policy_address_is_ipv4(addr))
		return false;
	if (memcmp(prefix->addr, addr, bytes))
		return false;
	return bits % 8 == 0 || (prefix->addr[bytes] & mask) == (addr[bytes] & mask);
}

static bool prefixes_contain(const struct policy_prefix *prefixes, size_t count, const uint8_t addr[16])
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (policy_prefix_contains(&prefixes[i], addr))
			return true;
	}
	return false;
}

static bool segment_own_contains(const struct policy_segment *s, const uint8_t addr[16])
{
	return prefixes_contain(s->include, s->n_include, addr) && !prefixes_contain(s->except, s->n_except, addr);
}

bool policy_segment_contains(const struct policy *p, size_t i, const uint8_t addr[16])
{
	const struct policy_segment *s = &p->segments[i];
	size_t k;

	if (segment_own_contains(s, addr))
		return true;
	for (k = 0; k < s->n_members; k++) {
		if (segment_own_contains(&p->segments[s->members[k]], addr))
			return true;
	}
	return false;
}

bool policy_segment_in_tenant(const struct policy *p, size_t i, uint16_t tenant)
{
	return p->segments[i].tenant == POLICY_TENANT_UNSAID || p->segments[i].tenant == tenant;
}

bool policy_side_contains(const struct policy *p, const struct policy_side *side, uint16_t tenant,
			  const uint8_t addr[16])
{
	size_t i;

	if (side->any)
		return true;
	for (i = 0; i < side->n_segments; i++) {
		if (policy_segment_in_tenant(p, side->segments[i], tenant) &&
		    policy_segment_contains(p, side->segments[i], addr))
			return true;
	}
	return false;
}

bool policy_rule_in_tenant(const struct policy_rule *rule, uint16_t tenant)
{
	size_t i;

	if (rule->all_tenants)
		return true;
	for (i = 0; i < rule->n_tenants; i++) {
		if (rule->tenants[i] == tenant)
			return true;
	}
	return false;
}

bool policy_item_matches(const struct policy_item *item, const struct policy_query *q)
{
	if (item->any_protocol)
		return true;
	return item->protocol == q->protocol && item->dest_first <= q->dest_port && q->dest_port <= item->dest_last &&
	       item->source_first <= q->source_port && q->source_port <= item->source_last;
}

bool policy_rule_serves(const struct policy *p, const struct policy_rule *rule, const struct policy_query *q)
{
	const struct policy_service *service;
	size_t i, k;

	if (rule->any_service)
		return true;
	for (i = 0; i < rule->n_services; i++) {
		service = &p->services[rule->services[i]];
		for (k = 0; k < service->n_items; k++) {
			if (policy_item_matches(&service->items[k], q))
				return true;
		}
	}
	return false;
}

const char *policy_rule_name(const struct policy *p, size_t i)
{
	return i < p->n_rules ? p->rules[i].name : "default";
}

struct policy_place policy_rule_place(const struct policy *p, size_t i)
{
	return i < p->n_rules ? p->rules[i].place : (struct policy_place){p->n_files ? p->files[0] : "", 1, 1};
}
