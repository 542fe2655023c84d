// SPDX-License-Identifier: Apache-2.0
/*
 * Why one rule did not match, in words: the side that failed and what the rule says there. Called by `sluice explain`
 * for the rules that it shows. Long lists are shortened; nothing is said that is not so.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "policy/values.h"

#define PARTS_MAX 3 /* of a side, of a segment, of a service */

struct text {
	char *buf;
	size_t size;
	size_t used;
};

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->used >= t->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->buf + t->used, t->size - t->used, fmt, ap);
	va_end(ap);
	t->used += n > 0 ? (size_t)n : 0;
}

/* What goes between parts i - 1 and i. */
static void put_comma(struct text *t, size_t i)
{
	put(t, "%s", i ? ", " : "");
}

static void put_rest(struct text *t, size_t count)
{
	if (count > PARTS_MAX)
		put(t, " and %zu more", count - PARTS_MAX);
}

static void put_tenant(struct text *t, const struct policy *p, uint32_t tenant)
{
	if (tenant)
		put(t, "tenant %s", p->tenants[tenant]);
	else
		put(t, "the host's tenant");
}

/* ------------------------------------------------------------------------- sides */

static void put_prefixes(struct text *t, const struct policy_prefix *prefixes, size_t count)
{
	char text[VALUE_PREFIX_LEN];
	size_t i;

	for (i = 0; i < min(count, (size_t)PARTS_MAX); i++) {
		put_comma(t, i);
		put(t, "%s", value_prefix_text(&prefixes[i], text));
	}
	put_rest(t, count);
}

static void put_members(struct text *t, const struct policy *p, const struct policy_segment *s)
{
	size_t i;

	for (i = 0; i < min(s->n_members, (size_t)PARTS_MAX); i++) {
		put_comma(t, i);
		put(t, "%s", p->segments[s->members[i]].name);
	}
	put_rest(t, s->n_members);
}

/* "trainers (10.10.0.0/16, fd00:10::/64)" */
static void put_segment(struct text *t, const struct policy *p, const struct policy_segment *s, uint16_t tenant)
{
	if (!s->name) {
		put_prefixes(t, s->include, s->n_include);
		return;
	}
	put(t, "%s (", s->name);
	if (s->tenant != POLICY_TENANT_UNSAID && s->tenant != tenant)
		put_tenant(t, p, s->tenant);
	else if (s->n_members)
		put_members(t, p, s);
	else if (s->n_include)
		put_prefixes(t, s->include, s->n_include);
	else
		put(t, "empty");
	put(t, ")");
}

static const struct policy_prefix *prefix_over(const struct policy_prefix *prefixes, size_t count,
					       const uint8_t addr[16])
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (policy_prefix_contains(&prefixes[i], addr))
			return &prefixes[i];
	}
	return NULL;
}

/* The prefix of an `except` that keeps an address out of what segment s itself includes, or NULL. */
static const struct policy_prefix *exception_over(const struct policy_segment *s, const uint8_t addr[16])
{
	const struct policy_prefix *except = prefix_over(s->except, s->n_except, addr); /* the short list first */

	return except && prefix_over(s->include, s->n_include, addr) ? except : NULL;
}

/* ", excepted from storage by 10.20.0.99": the likeliest surprise of all. */
static void put_exception(struct text *t, const struct policy *p, const struct policy_side *side,
			  const uint8_t addr[16])
{
	const struct policy_prefix *except;
	const struct policy_segment *s, *part;
	char text[VALUE_PREFIX_LEN];
	size_t i, k;

	for (i = 0; i < side->n_segments; i++) {
		s = &p->segments[side->segments[i]];
		for (k = 0; k <= s->n_members; k++) {
			part = k < s->n_members ? &p->segments[s->members[k]] : s;
			except = exception_over(part, addr);
			if (!except)
				continue;
			put(t, ": %s excepts %s", part->name, value_prefix_text(except, text));
			return;
		}
	}
}

static void put_side(struct text *t, const struct policy *p, const struct policy_side *side, uint16_t tenant,
		     const uint8_t addr[16])
{
	struct policy_prefix address = {.length = 128};
	char text[VALUE_PREFIX_LEN];
	size_t i;

	memcpy(address.addr, addr, 16);
	if (policy_address_is_ipv4(addr))
		address = (struct policy_prefix){.ipv4 = true, .length = 32};
	memcpy(address.addr, addr, 16);
	put(t, "%s is not in ", value_prefix_text(&address, text));
	for (i = 0; i < min(side->n_segments, (size_t)PARTS_MAX); i++) {
		put_comma(t, i);
		put_segment(t, p, &p->segments[side->segments[i]], tenant);
	}
	put_rest(t, side->n_segments);
	put_exception(t, p, side, addr);
}

/* ----------------------------------------------------------------------- service */

static struct policy_item query_item(const struct policy_query *q, bool with_source)
{
	bool icmp = q->protocol == IPPROTO_ICMP || q->protocol == IPPROTO_ICMPV6;
	struct policy_item item = {.protocol = q->protocol, .dest_last = 65535, .source_last = 65535};

	if (icmp || value_protocol_has_ports(q->protocol)) {
		item.dest_first = q->dest_port;
		item.dest_last = q->dest_port;
	}
	/* Code 0 is what a type means by itself. */
	if (icmp && !(q->dest_port & 255))
		item.dest_last = q->dest_port | 255;
	if (with_source && value_protocol_has_ports(q->protocol)) {
		item.source_first = q->source_port;
		item.source_last = q->source_port;
	}
	return item;
}

static void put_items(struct text *t, const struct policy_service *s)
{
	char text[VALUE_ITEM_LEN];
	size_t i;

	for (i = 0; i < min(s->n_items, (size_t)PARTS_MAX); i++) {
		put_comma(t, i);
		put(t, "%s", value_item_text(&s->items[i], text));
	}
	put_rest(t, s->n_items);
}

/* Whether the rule looks at source ports at all; then the question's is worth telling. */
static bool rule_asks_source(const struct policy *p, const struct policy_rule *rule)
{
	const struct policy_service *s;
	size_t i, k;

	for (i = 0; i < rule->n_services; i++) {
		s = &p->services[rule->services[i]];
		for (k = 0; k < s->n_items; k++) {
			if (!value_item_any_source(&s->items[k]))
				return true;
		}
	}
	return false;
}

static void put_service(struct text *t, const struct policy *p, const struct policy_rule *rule,
			const struct policy_query *q)
{
	struct policy_item asked = query_item(q, rule_asks_source(p, rule));
	const struct policy_service *s;
	char text[VALUE_ITEM_LEN];
	size_t i;

	put(t, "%s is not ", value_item_text(&asked, text));
	for (i = 0; i < min(rule->n_services, (size_t)PARTS_MAX); i++) {
		s = &p->services[rule->services[i]];
		put_comma(t, i);
		if (s->name)
			put(t, "%s (", s->name);
		put_items(t, s);
		if (s->name)
			put(t, ")");
	}
	put_rest(t, rule->n_services);
}

/* ------------------------------------------------------------------------- tenant */

static void put_tenants(struct text *t, const struct policy *p, const struct policy_rule *rule, uint16_t tenant)
{
	size_t i;

	put(t, "holds in ");
	for (i = 0; i < min(rule->n_tenants, (size_t)PARTS_MAX); i++) {
		put_comma(t, i);
		put_tenant(t, p, rule->tenants[i]);
	}
	put_rest(t, rule->n_tenants);
	put(t, ", not in ");
	put_tenant(t, p, tenant);
}

const char *policy_explain_text(const struct policy *p, const struct policy_query *q, size_t i,
				enum policy_mismatch mismatch, char *buf, size_t size)
{
	const struct policy_rule *rule = &p->rules[i];
	struct text t = {.buf = buf, .size = size};

	buf[0] = '\0';
	switch (mismatch) {
	case POLICY_MATCHED:
		put(&t, "matches");
		break;
	case POLICY_MATCHED_AUDIT:
		put(&t, "matches, but only counts (mode: audit)");
		break;
	case POLICY_MISMATCH_TENANT:
		put_tenants(&t, p, rule, q->tenant);
		break;
	case POLICY_MISMATCH_SOURCE:
		put_side(&t, p, &rule->from, q->tenant, q->source);
		break;
	case POLICY_MISMATCH_DEST:
		put_side(&t, p, &rule->to, q->tenant, q->dest);
		break;
	case POLICY_MISMATCH_SERVICE:
		put_service(&t, p, rule, q);
		break;
	}
	return buf;
}
