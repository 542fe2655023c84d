// SPDX-License-Identifier: Apache-2.0
/*
 * Which flows a command is about. A filter is a list of tests, each of one kind; kinds are joined by "and", tests of
 * the same kind by "or". Reading an option needs no kernel; what names a part of the live policy is looked up
 * afterwards, and again for every picture, since policies change.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "cli/flows.h"
#include "policy/diagnostics.h"
#include "policy/model.h"
#include "policy/values.h"

/* ------------------------------------------------------------------- reading */

static int read_state(const char *text, struct flow_test *t, struct error *err)
{
	struct suggestion s = {.word = text};
	char near[64];
	int i;

	for (i = 0; i < FLOW_STATES; i++) {
		const char *name = dataplane_flow_state_name((enum dataplane_flow_state)i);

		if (!strcmp(text, name)) {
			t->number = (uint32_t)i;
			return 0;
		}
		suggestion_try(&s, name);
	}
	return error_set(err, EINVAL,
			 "no state '%.40s'%s; use opening, established, closing, reset, cut, one-way or answered", text,
			 suggestion_text(&s, near, sizeof(near)));
}

static int read_address(const char *text, struct flow_test *t, struct error *err)
{
	return value_prefix(text, &t->prefix, err);
}

static int read_port(const char *text, struct flow_test *t, struct error *err)
{
	return value_ports(text, &t->port[0], &t->port[1], err);
}

static int read_protocol(const char *text, struct flow_test *t, struct error *err)
{
	uint8_t protocol;
	int r = value_protocol(text, &protocol, err);

	if (!r)
		t->number = protocol;
	return r;
}

/* The host's tenant has no name. */
static int read_tenant(const char *text, struct flow_test *t, struct error *err)
{
	return *text ? value_name("tenant", text, err) : 0;
}

static int read_rule(const char *text, struct flow_test *t, struct error *err)
{
	return value_name("rule", text, err);
}

static int read_segment(const char *text, struct flow_test *t, struct error *err)
{
	return value_name("segment", text, err);
}

int flow_filter_add(struct flow_filter *f, enum flow_test_kind kind, const char *text, struct error *err)
{
	static int (*const readers[FLOW_TEST_KINDS])(const char *, struct flow_test *, struct error *) = {
		[FLOW_TEST_TENANT] = read_tenant,   [FLOW_TEST_SEGMENT] = read_segment,
		[FLOW_TEST_RULE] = read_rule,	    [FLOW_TEST_STATE] = read_state,
		[FLOW_TEST_ADDRESS] = read_address, [FLOW_TEST_PORT] = read_port,
		[FLOW_TEST_PROTOCOL] = read_protocol,
	};
	struct flow_test t = {.kind = kind, .text = text};
	int r = readers[kind](text, &t, err);

	if (r)
		return r;
	if (f->count == FLOW_TESTS_MAX)
		return error_set(err, EINVAL, "more than %d filters; use prefixes, port ranges or segments",
				 FLOW_TESTS_MAX);
	f->test[f->count++] = t;
	f->kinds |= 1u << kind;
	return 0;
}

/* ------------------------------------------------------------------- looking up */

static int bind_tenant(struct flow_test *t, const struct flow_names *n, struct error *err)
{
	struct suggestion s = {.word = t->text};
	char near[SLUICE_NAME_LEN + 32];
	size_t i;

	t->number = 0;
	if (!*t->text)
		return 0;
	for (i = 1; i < n->live.n_tenants; i++) {
		if (!*n->live.tenants[i].name)
			continue;
		if (!strncmp(n->live.tenants[i].name, t->text, SLUICE_NAME_LEN)) {
			t->number = (uint32_t)i;
			return 0;
		}
		suggestion_try(&s, n->live.tenants[i].name);
	}
	return error_set(err, EINVAL, "the live policy has no tenant '%.63s'%s", t->text,
			 s.best ? suggestion_text(&s, near, sizeof(near)) : "; an empty one means the host's");
}

/* "default" is what decides where no rule does, unless a rule has taken the name. */
static int bind_rule(struct flow_test *t, const struct flow_names *n, struct error *err)
{
	const struct sluice_rule *rule, *otherwise = NULL;
	struct suggestion s = {.word = t->text};
	char near[SLUICE_NAME_LEN + 32];
	size_t i;

	for (i = 0; i < n->live.n_rules; i++) {
		rule = &n->live.rules[i];
		if (rule->flags & SLUICE_RULE_DEFAULT) {
			otherwise = rule;
		} else if (!strncmp(rule->name, t->text, SLUICE_NAME_LEN)) {
			t->number = rule->slot;
			return 0;
		} else {
			suggestion_try(&s, rule->name);
		}
	}
	if (!otherwise || strcmp(t->text, "default"))
		return error_set(err, EINVAL, "the live policy has no rule '%.63s'%s", t->text,
				 s.best ? suggestion_text(&s, near, sizeof(near)) : "; `sluice status` lists them");
	t->number = otherwise->slot;
	return 0;
}

static int bind_segment(struct flow_test *t, const struct flow_names *n, struct error *err)
{
	policy_addresses_free(t->addresses);
	t->addresses = NULL;
	return policy_addresses_of(n->model, t->text, err, &t->addresses);
}

int flow_filter_bind(struct flow_filter *f, const struct flow_names *n, struct error *err)
{
	static int (*const binders[FLOW_TEST_KINDS])(struct flow_test *, const struct flow_names *, struct error *) = {
		[FLOW_TEST_TENANT] = bind_tenant,
		[FLOW_TEST_SEGMENT] = bind_segment,
		[FLOW_TEST_RULE] = bind_rule,
	};
	size_t i;
	int r = 0;

	for (i = 0; !r && i < f->count; i++)
		if (binders[f->test[i].kind])
			r = binders[f->test[i].kind](&f->test[i], n, err);
	return r;
}

void flow_filter_done(struct flow_filter *f)
{
	size_t i;

	for (i = 0; i < f->count; i++)
		if (f->test[i].kind == FLOW_TEST_SEGMENT)
			policy_addresses_free(f->test[i].addresses);
	memset(f, 0, sizeof(*f));
}

/* ------------------------------------------------------------------- matching */

static bool segment_has(const struct flow_test *t, const struct flow_names *n, const struct sluice_flow_key *key)
{
	uint16_t tenant = key->tenant < n->live.n_tenants ? n->model_tenant[key->tenant] : FLOW_NO_TENANT;

	return tenant != FLOW_NO_TENANT && (policy_addresses_have(t->addresses, tenant, key->addr[0]) ||
					    policy_addresses_have(t->addresses, tenant, key->addr[1]));
}

/* The identifier of an echo is no port. */
static bool ports_fit(const struct flow_test *t, const struct sluice_flow_key *key)
{
	uint16_t a = ntohs(key->port[0]), b = ntohs(key->port[1]);

	return value_protocol_has_ports(key->protocol) &&
	       ((a >= t->port[0] && a <= t->port[1]) || (b >= t->port[0] && b <= t->port[1]));
}

static bool test_fits(const struct flow_test *t, const struct flow_names *n, const struct dataplane_flow *flow)
{
	const struct sluice_flow_key *key = &flow->key;

	switch (t->kind) {
	case FLOW_TEST_TENANT:
		return key->tenant == t->number;
	case FLOW_TEST_SEGMENT:
		return segment_has(t, n, key);
	case FLOW_TEST_RULE:
		return flow->rule == t->number;
	case FLOW_TEST_STATE:
		return dataplane_flow_state(flow) == t->number;
	case FLOW_TEST_ADDRESS:
		return policy_prefix_contains(&t->prefix, key->addr[0]) ||
		       policy_prefix_contains(&t->prefix, key->addr[1]);
	case FLOW_TEST_PORT:
		return ports_fit(t, key);
	case FLOW_TEST_PROTOCOL:
		return key->protocol == t->number;
	case FLOW_TEST_KINDS:
		break;
	}
	return false;
}

bool flow_filter_matches(const struct flow_filter *f, const struct flow_names *n, const struct dataplane_flow *flow)
{
	uint32_t fitting = 0;
	size_t i;

	for (i = 0; i < f->count; i++)
		if (!(fitting & 1u << f->test[i].kind) && test_fits(&f->test[i], n, flow))
			fitting |= 1u << f->test[i].kind;
	return fitting == f->kinds;
}
