// SPDX-License-Identifier: Apache-2.0
/*
 * Why a packet gets its verdict: a walk over the rules as written, first match wins. Called by `sluice explain` and the
 * cases, and by tests as the judge of the compiler; so it shares nothing with compiled tables. Also reads the arguments
 * of such a question.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/diagnostics.h"
#include "policy/values.h"

/* Which segments contain the question's addresses, found once however many rules name them. */
struct asked {
	const struct policy *policy;
	const struct policy_query *query;
	uint8_t *source; /* of each segment */
	uint8_t *dest;
};

enum { MEMBER_UNKNOWN, MEMBER_NO, MEMBER_YES };

static bool side_contains(const struct asked *a, const struct policy_side *side, uint8_t *known, const uint8_t addr[16])
{
	size_t i, segment;

	for (i = 0; i < side->n_segments; i++) {
		segment = side->segments[i];
		if (!policy_segment_in_tenant(a->policy, segment, a->query->tenant))
			continue;
		if (known[segment] == MEMBER_UNKNOWN)
			known[segment] = policy_segment_contains(a->policy, segment, addr) ? MEMBER_YES : MEMBER_NO;
		if (known[segment] == MEMBER_YES)
			return true;
	}
	return side->any;
}

static enum policy_mismatch rule_compare(const struct asked *a, const struct policy_rule *rule)
{
	const struct policy_query *q = a->query;

	if (!policy_rule_in_tenant(rule, q->tenant))
		return POLICY_MISMATCH_TENANT;
	if (!side_contains(a, &rule->from, a->source, q->source))
		return POLICY_MISMATCH_SOURCE;
	if (!side_contains(a, &rule->to, a->dest, q->dest))
		return POLICY_MISMATCH_DEST;
	if (!policy_rule_serves(a->policy, rule, q))
		return POLICY_MISMATCH_SERVICE;
	return rule->audit ? POLICY_MATCHED_AUDIT : POLICY_MATCHED;
}

int policy_explain(const struct policy *p, const struct policy_query *q, struct policy_answer *ret_answer)
{
	_cleanup_free_ uint8_t *source = calloc(p->n_segments + 1, 1), *dest = calloc(p->n_segments + 1, 1);
	const struct asked asked = {p, q, source, dest};
	_cleanup_free_ enum policy_mismatch *earlier = NULL;
	enum policy_mismatch mismatch;
	size_t i;

	if (q->tenant >= p->n_tenants)
		return -EINVAL;
	earlier = calloc(p->n_rules + 1, sizeof(*earlier));
	if (!earlier || !source || !dest)
		return -ENOMEM;
	for (i = 0; i < p->n_rules; i++) {
		mismatch = rule_compare(&asked, &p->rules[i]);
		if (mismatch == POLICY_MATCHED)
			break;
		earlier[i] = mismatch;
	}
	ret_answer->rule = i;
	ret_answer->by_default = i == p->n_rules;
	if (i < p->n_rules)
		ret_answer->action = p->rules[i].action;
	else
		ret_answer->action = p->default_allow ? SLUICE_ACTION_ALLOW : SLUICE_ACTION_DENY;
	ret_answer->earlier = TAKE_PTR(earlier);
	return 0;
}

/* --------------------------------------------------------------------- questions */

/* An item is a question only if it names one packet: a protocol with ports needs exactly one of them. */
static int item_to_query(const char *text, const struct policy_item *item, struct policy_query *q, struct error *err)
{
	bool typed = item->protocol == IPPROTO_ICMP || item->protocol == IPPROTO_ICMPV6;
	bool one = item->dest_first == item->dest_last || (typed && item->dest_last - item->dest_first == 255);

	if (item->any_protocol)
		return error_set(err, EINVAL,
				 "'%s' is not one service; ask for one, as in tcp/4420, icmp/echo-request or gre",
				 text);
	if (value_protocol_has_ports(item->protocol) && !one)
		return error_set(err, EINVAL, "'%s' is not one port; ask for one, as in %s/4420", text,
				 item->protocol == IPPROTO_TCP	 ? "tcp"
				 : item->protocol == IPPROTO_UDP ? "udp"
								 : "sctp");
	if (typed && !one)
		return error_set(err, EINVAL, "'%s' is not one ICMP type; ask for one, as in %s/echo-request", text,
				 text);
	q->protocol = item->protocol;
	q->dest_port = value_protocol_has_ports(item->protocol) || typed ? item->dest_first : 0;
	return 0;
}

int policy_query_service(const char *text, struct policy_query *q, struct error *err)
{
	struct policy_item item;
	int r = value_item(text, &item, err);

	return r ? r : item_to_query(text, &item, q, err);
}

int policy_query_address(const char *text, uint8_t ret_addr[16], struct error *err)
{
	struct policy_prefix prefix;

	if (strchr(text, '/') || value_prefix(text, &prefix, NULL))
		return error_set(err, EINVAL, "'%.60s' is no address; write it as in 10.10.1.1 or fd00:10::1", text);
	memcpy(ret_addr, prefix.addr, 16);
	return 0;
}

int policy_query_tenant(const struct policy *p, const char *name, uint16_t *ret_tenant, struct error *err)
{
	struct suggestion s = {.word = name};
	char near[SLUICE_NAME_LEN + 32];
	size_t i;

	for (i = 1; i < p->n_tenants; i++) {
		if (!strcmp(p->tenants[i], name)) {
			*ret_tenant = (uint16_t)i;
			return 0;
		}
		suggestion_try(&s, p->tenants[i]);
	}
	if (s.best)
		return error_set(err, EINVAL, "tenant '%.63s' is not defined in this policy%s", name,
				 suggestion_text(&s, near, sizeof(near)));
	return error_set(err, EINVAL, "tenant '%.63s' is not defined in this policy; leave it out for the host's",
			 name);
}
