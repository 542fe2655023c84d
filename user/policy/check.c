// SPDX-License-Identifier: Apache-2.0
/*
 * What can only be judged when every line has been read: the tenants of segments and rules, circles of segments, names
 * that nothing uses. Called once by yaml.c. Afterwards every segment and rule knows its tenants, and the members of a
 * segment are flat: all segments below it, each once, itself not among them.
 */
#include "policy/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/array.h"
#include "policy/diagnostics.h"
#include "policy/model.h"
#include "policy/ranges.h"

struct checker {
	struct policy *policy;
	struct policy_diagnostics *diagnostics;
	bool wrong;
	int failed;
	unsigned char *height; /* of each segment above its deepest member, or one of HEIGHT_* */
};

enum { HEIGHT_UNSEEN = 0, HEIGHT_WALKING = 255 }; /* between them: levels, from 1 */

static void note(struct checker *c, enum policy_severity severity, struct policy_place place, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void note(struct checker *c, enum policy_severity severity, struct policy_place place, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->wrong |= severity == POLICY_ERROR;
	if (diagnostics_add(c->diagnostics, severity, place, "%s", text))
		c->failed = -ENOMEM;
}

static const char *tenant_name(const struct policy *p, uint32_t tenant)
{
	return tenant ? p->tenants[tenant] : "(the host's)";
}

/* --------------------------------------------------------------------- segments */

static void segment_inherit(struct checker *c, struct policy_segment *s, const struct policy_segment *member)
{
	if (member->tenant == POLICY_TENANT_UNSAID)
		return;
	if (s->tenant == POLICY_TENANT_UNSAID)
		s->tenant = member->tenant;
	else if (s->tenant != member->tenant)
		note(c, POLICY_ERROR, s->place,
		     "segment '%s' is of tenant %s, but unites '%s' of tenant %s; unite segments of one tenant",
		     s->name, tenant_name(c->policy, s->tenant), member->name, tenant_name(c->policy, member->tenant));
}

static int index_compare(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

static size_t indices_unique(size_t *indices, size_t count)
{
	size_t i, kept = 0;

	if (count)
		qsort(indices, count, sizeof(*indices), index_compare);
	for (i = 0; i < count; i++) {
		if (!kept || indices[i] != indices[kept - 1])
			indices[kept++] = indices[i];
	}
	return kept;
}

struct index_list {
	size_t *items;
	size_t count;
};

/* Adds `member` and everything below it, which is flat already. */
static void member_add(struct checker *c, struct index_list *flat, size_t member)
{
	const struct policy_segment *m = &c->policy->segments[member];
	size_t k, *slot;

	for (k = 0; k <= m->n_members; k++) {
		slot = array_add(&flat->items, &flat->count, sizeof(*slot));
		if (!slot) {
			c->failed = -ENOMEM;
			return;
		}
		*slot = k < m->n_members ? m->members[k] : member;
	}
}

static void segment_walk(struct checker *c, size_t i, unsigned int depth);

/* Walks one member of segment i; false: it cannot be one. */
static bool member_walk(struct checker *c, size_t i, size_t member, unsigned int depth)
{
	const struct policy_segment *s = &c->policy->segments[i];

	if (c->height[member] == HEIGHT_WALKING) {
		note(c, POLICY_ERROR, s->place, "segment '%s' unites '%s', which unites it in turn; break the circle",
		     s->name, c->policy->segments[member].name);
		return false;
	}
	if (c->height[member] == HEIGHT_UNSEEN && depth < POLICY_SEGMENT_DEPTH)
		segment_walk(c, member, depth + 1);
	if (c->height[member] != HEIGHT_UNSEEN && c->height[member] < POLICY_SEGMENT_DEPTH)
		return true;
	note(c, POLICY_ERROR, s->place, "segment '%s' unites segments more than %d levels deep; flatten it", s->name,
	     POLICY_SEGMENT_DEPTH);
	return false;
}

static void segment_walk(struct checker *c, size_t i, unsigned int depth)
{
	struct policy_segment *s = &c->policy->segments[i];
	struct index_list flat = {};
	unsigned char height = 1;
	size_t k;

	c->height[i] = HEIGHT_WALKING;
	s->n_members = indices_unique(s->members, s->n_members);
	for (k = 0; k < s->n_members; k++) {
		if (!member_walk(c, i, s->members[k], depth))
			continue;
		if (height <= c->height[s->members[k]])
			height = (unsigned char)(c->height[s->members[k]] + 1);
		segment_inherit(c, s, &c->policy->segments[s->members[k]]);
		member_add(c, &flat, s->members[k]);
	}
	free(s->members);
	s->members = flat.items;
	s->n_members = indices_unique(flat.items, flat.count);
	c->height[i] = height;
}

static void segments_check(struct checker *c)
{
	size_t i;

	for (i = 0; i < c->policy->n_segments && !c->failed; i++) {
		if (c->height[i] == HEIGHT_UNSEEN)
			segment_walk(c, i, 1);
	}
}

/* ------------------------------------------------------------------------ rules */

static int tenant_compare(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

struct tenant_list {
	uint16_t *items;
	size_t count;
};

static void tenants_free(struct tenant_list *list)
{
	free(list->items);
}

/* The tenants that the segments of a side name, ascending, each once. */
static void side_tenants(struct checker *c, const struct policy_side *side, struct tenant_list *list)
{
	size_t i, kept = 0;
	uint16_t *slot;
	uint32_t tenant;

	for (i = 0; i < side->n_segments; i++) {
		tenant = c->policy->segments[side->segments[i]].tenant;
		if (tenant == POLICY_TENANT_UNSAID)
			continue;
		slot = array_add(&list->items, &list->count, sizeof(*slot));
		if (!slot) {
			c->failed = -ENOMEM;
			return;
		}
		*slot = (uint16_t)tenant;
	}
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), tenant_compare);
	for (i = 0; i < list->count; i++) {
		if (!kept || list->items[i] != list->items[kept - 1])
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
}

static bool tenants_equal(const struct tenant_list *a, const struct tenant_list *b)
{
	return a->count == b->count && !memcmp(a->items, b->items, a->count * sizeof(*a->items));
}

static void side_tenant_check(struct checker *c, const struct policy_rule *rule, const struct policy_side *side,
			      const char *what, const struct tenant_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++) {
		if (list->items[i] != rule->tenant)
			note(c, POLICY_ERROR, side->place,
			     "'%s' of rule '%s' has a segment of tenant %s, but the rule is of tenant %s; a rule never "
			     "crosses tenants",
			     what, rule->name, tenant_name(c->policy, list->items[i]),
			     tenant_name(c->policy, rule->tenant));
	}
}

static void rule_tenant_set(struct checker *c, struct policy_rule *rule, uint16_t tenant)
{
	uint16_t *slot = array_add(&rule->tenants, &rule->n_tenants, sizeof(*slot));

	if (slot)
		*slot = tenant;
	else
		c->failed = -ENOMEM;
}

static void rule_check(struct checker *c, struct policy_rule *rule)
{
	_cleanup_(tenants_free) struct tenant_list from = {}, to = {};
	const struct tenant_list *said;
	size_t i;

	side_tenants(c, &rule->from, &from);
	side_tenants(c, &rule->to, &to);
	if (rule->tenant != POLICY_TENANT_UNSAID) {
		side_tenant_check(c, rule, &rule->from, "from", &from);
		side_tenant_check(c, rule, &rule->to, "to", &to);
		rule_tenant_set(c, rule, (uint16_t)rule->tenant);
		return;
	}
	if (from.count && to.count && !tenants_equal(&from, &to))
		note(c, POLICY_ERROR, rule->to.place,
		     "rule '%s' goes from tenant %s to tenant %s; a rule never crosses tenants, split it", rule->name,
		     tenant_name(c->policy, from.items[0]), tenant_name(c->policy, to.items[to.count - 1]));
	said = from.count ? &from : &to;
	for (i = 0; i < said->count; i++)
		rule_tenant_set(c, rule, said->items[i]);
	if (!said->count && rule->from.any && rule->to.any)
		rule->all_tenants = true;
	else if (!said->count)
		rule_tenant_set(c, rule, 0);
}

/* ------------------------------------------------------------------- interfaces */

static bool interface_carries(const struct policy_interface *interface, uint32_t tenant)
{
	size_t i;

	if (interface->tenant == tenant)
		return true;
	for (i = 0; i < interface->n_vlans; i++) {
		if (interface->vlans[i].tenant == tenant)
			return true;
	}
	for (i = 0; i < interface->n_vnis; i++) {
		if (interface->vnis[i].tenant == tenant)
			return true;
	}
	return false;
}

static void antispoof_check(struct checker *c, const struct policy_interface *interface)
{
	const struct policy_segment *s;
	size_t i;

	for (i = 0; i < interface->n_antispoof_segments; i++) {
		s = &c->policy->segments[interface->antispoof_segments[i]];
		if (s->tenant != POLICY_TENANT_UNSAID && !interface_carries(interface, s->tenant))
			note(c, POLICY_ERROR, interface->place,
			     "antispoof of interface '%s' lists '%s' of tenant %s, whose traffic it does not carry; "
			     "remove it",
			     interface->name, s->name, tenant_name(c->policy, s->tenant));
	}
}

/* ----------------------------------------------------------------------- limits */

static void address_bytes(address_t number, bool ipv4, uint8_t ret_addr[16])
{
	int i;

	for (i = 15; i >= 0; i--, number >>= 8)
		ret_addr[i] = (uint8_t)number;
	if (ipv4)
		ret_addr[10] = ret_addr[11] = 0xff;
}

static void sources_add(struct checker *c, struct policy_storage_limit *l, const struct range_list *list, bool ipv4)
{
	struct policy_range *slot;
	size_t i;

	for (i = 0; i < list->count; i++) {
		slot = array_add(&l->sources, &l->n_sources, sizeof(*slot));
		if (!slot) {
			c->failed = -ENOMEM;
			return;
		}
		address_bytes(list->items[i].first, ipv4, slot->first);
		address_bytes(list->items[i].last, ipv4, slot->last);
	}
}

/* The addresses of `from`: what a target is asked of a host's, which comes in no tenant. */
static void limit_check(struct checker *c, struct policy_storage_limit *l)
{
	const struct policy_side *from = l->from;
	struct ranges ranges = {};
	size_t i;

	for (i = 0; from && i < from->n_segments && !c->failed; i++) {
		if (ranges_of_segment(c->policy, from->segments[i], &ranges))
			c->failed = -ENOMEM;
		sources_add(c, l, &ranges.v4, true);
		sources_add(c, l, &ranges.v6, false);
		ranges_done(&ranges);
		ranges = (struct ranges){};
	}
}

/* ----------------------------------------------------------------- useless things */

static void segment_useless(struct checker *c, size_t i)
{
	const struct policy_segment *s = &c->policy->segments[i];
	struct ranges ranges = {};

	if (!s->used)
		note(c, POLICY_WARNING, s->place, "segment '%s' is used nowhere; use or remove it", s->name);
	if (!s->name)
		return;
	if (ranges_of_segment(c->policy, i, &ranges))
		c->failed = -ENOMEM;
	else if (!ranges.v4.count && !ranges.v6.count)
		note(c, POLICY_WARNING, s->place,
		     s->n_include ? "segment '%s' contains no address: its 'except' takes all of its 'include'; mend "
				    "one of them"
				  : "segment '%s' contains no address, so nothing matches it; add a prefix",
		     s->name);
	ranges_done(&ranges);
}

static void tenants_useless(struct checker *c)
{
	size_t i, t;
	bool carried;

	for (t = 1; t < c->policy->n_tenants; t++) {
		carried = false;
		for (i = 0; i < c->policy->n_interfaces && !carried; i++)
			carried = interface_carries(&c->policy->interfaces[i], (uint32_t)t);
		if (!carried)
			note(c, POLICY_WARNING, policy_rule_place(c->policy, SIZE_MAX),
			     "tenant '%s' has no interface, VLAN or VNI, so it has no traffic; give it one or remove "
			     "it",
			     c->policy->tenants[t]);
	}
}

static void useless_warn(struct checker *c)
{
	const struct policy_service *service;
	size_t i;

	for (i = 0; i < c->policy->n_segments; i++)
		segment_useless(c, i);
	for (i = 0; i < c->policy->n_services; i++) {
		service = &c->policy->services[i];
		if (!service->used)
			note(c, POLICY_WARNING, service->place, "service '%s' is used nowhere; use or remove it",
			     service->name);
		else if (!service->n_items)
			note(c, POLICY_WARNING, service->place,
			     "service '%s' has no item, so nothing matches it; add one",
			     service->name ? service->name : "");
	}
	tenants_useless(c);
}

int policy_check(struct policy *p, struct policy_diagnostics *d, bool *wrong)
{
	_cleanup_free_ unsigned char *height = calloc(p->n_segments + 1, 1);
	struct checker c = {.policy = p, .diagnostics = d, .height = height};
	size_t i;

	if (!height)
		return -ENOMEM;
	segments_check(&c);
	for (i = 0; i < p->n_rules && !c.failed; i++)
		rule_check(&c, &p->rules[i]);
	for (i = 0; i < p->n_interfaces && !c.failed; i++)
		antispoof_check(&c, &p->interfaces[i]);
	for (i = 0; i < p->storage.n_limits && !c.failed; i++)
		limit_check(&c, &p->storage.limits[i]);
	if (!c.failed)
		c.failed = policy_check_ports(p, d, &c.wrong);
	if (!c.failed && !c.wrong && !*wrong) {
		useless_warn(&c);
		if (!c.failed)
			c.failed = policy_check_shadowed(p, d);
	}
	*wrong |= c.wrong;
	return c.failed;
}
