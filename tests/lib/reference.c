// SPDX-License-Identifier: Apache-2.0
/*
 * The reference classifier and its random policies; see reference.h. Called by tests. Written for obviousness: every
 * question walks every rule, every segment and every bit.
 */
#include "reference.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* ------------------------------------------------------------------------ chance */

uint64_t reference_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t reference_seed(void)
{
	const char *text = getenv("SLUICE_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : time_now_ns();

	fprintf(stderr, "SLUICE_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static unsigned int below(uint64_t *state, unsigned int n)
{
	return (unsigned int)(reference_random(state) % n);
}

static bool one_in(uint64_t *state, unsigned int n)
{
	return below(state, n) == 0;
}

/* ------------------------------------------------------------------------ policies */

static void bits_clear(uint8_t addr[16], unsigned int from)
{
	for (; from < 128; from++)
		addr[from / 8] &= (uint8_t) ~(0x80 >> from % 8);
}

/* Few distinct bytes, so that prefixes nest, touch and repeat. */
static struct reference_prefix prefix_random(uint64_t *state)
{
	static const uint8_t bytes[] = {0, 1, 127, 128, 254, 255};
	struct reference_prefix p = {.ipv4 = below(state, 2)};
	unsigned int i;

	for (i = 0; i < 16; i++)
		p.addr[i] = bytes[below(state, sizeof(bytes))];
	if (p.ipv4) {
		memset(p.addr, 0, 10);
		memset(p.addr + 10, 0xff, 2);
		p.addr[12] = 10;
		p.addr[13] &= 1;
		p.length = one_in(state, 12) ? below(state, 9) : 8 + below(state, 25);
	} else {
		p.addr[0] = 0xfd;
		p.addr[1] = 0;
		memset(p.addr + 2, 0, 5);
		p.length = one_in(state, 12) ? 8 + below(state, 8) : 48 + below(state, 81);
	}
	bits_clear(p.addr, p.ipv4 ? 96 + p.length : p.length);
	return p;
}

static void prefixes_random(uint64_t *state, struct reference_prefixes *list, unsigned int least)
{
	unsigned int i;

	list->count = least + below(state, REFERENCE_LIST + 1 - least);
	for (i = 0; i < list->count; i++)
		list->items[i] = prefix_random(state);
}

static void segment_random(struct reference_policy *p, unsigned int number, uint64_t *state)
{
	struct reference_segment *s = &p->segments[number];
	unsigned int i, member;

	s->tenant = (int)below(state, REFERENCE_TENANTS);
	if (!s->tenant)
		s->tenant = REFERENCE_UNSAID;
	prefixes_random(state, &s->include, 0);
	if (s->include.count && one_in(state, 2))
		prefixes_random(state, &s->except, 0);
	for (i = 0; number && i < below(state, 3); i++) {
		member = below(state, number);
		if (p->segments[member].tenant == REFERENCE_UNSAID || p->segments[member].tenant == s->tenant)
			s->members[s->n_members++] = member;
	}
}

static unsigned int port_random(uint64_t *state)
{
	static const unsigned int ports[] = {1, 22, 80, 81, 443, 1023, 1024, 4420, 8080, 32768, 65534, 65535};

	return ports[below(state, ARRAY_SIZE(ports))];
}

static void ports_random(uint64_t *state, unsigned int *first, unsigned int *last)
{
	unsigned int a = port_random(state), b = one_in(state, 2) ? a : port_random(state);

	*first = min(a, b);
	*last = max(a, b);
}

static struct reference_item item_random(uint64_t *state)
{
	static const int protocols[] = {6, 6, 6, 17, 17, 132, 1, 58, 47, 50, 99, -1};
	struct reference_item item = {protocols[below(state, ARRAY_SIZE(protocols))], 0, 65535, 0, 65535};
	bool ports = item.protocol == 6 || item.protocol == 17 || item.protocol == 132;
	unsigned int type;

	if (ports && !one_in(state, 8))
		ports_random(state, &item.dest_first, &item.dest_last);
	if (ports && one_in(state, 4))
		ports_random(state, &item.source_first, &item.source_last);
	if ((item.protocol == 1 || item.protocol == 58) && !one_in(state, 4)) {
		type = below(state, 4) * 3;
		item.dest_first = type << 8 | (one_in(state, 2) ? 0 : 4);
		item.dest_last = item.dest_first & 4 ? item.dest_first : type << 8 | 255;
	}
	return item;
}

static void service_random(uint64_t *state, struct reference_service *s)
{
	unsigned int i;

	s->count = 1 + below(state, REFERENCE_LIST);
	for (i = 0; i < s->count; i++)
		s->items[i] = item_random(state);
}

/* A side of a rule in `tenant`; *said: one of its segments names that tenant. */
static void side_random(const struct reference_policy *p, uint64_t *state, int tenant, struct reference_side *side,
			bool *said)
{
	unsigned int i, number;
	int of;

	if (one_in(state, 5)) {
		side->any = true;
		return;
	}
	for (i = 0; i < 3; i++) {
		number = below(state, p->n_segments);
		of = p->segments[number].tenant;
		if (of != REFERENCE_UNSAID && of != tenant)
			continue;
		side->segments[side->n_segments++] = number;
		*said |= of == tenant;
	}
	if (!side->n_segments || one_in(state, 4))
		prefixes_random(state, &side->literals, 1);
}

static void rule_random(const struct reference_policy *p, uint64_t *state, struct reference_rule *rule)
{
	bool from_said = false, to_said = false;
	unsigned int i;

	rule->tenant = (int)below(state, REFERENCE_TENANTS);
	side_random(p, state, rule->tenant, &rule->from, &from_said);
	side_random(p, state, rule->tenant, &rule->to, &to_said);
	rule->tenant_said = rule->tenant && (!(from_said || to_said) || one_in(state, 2));
	if (rule->from.any && rule->to.any && !rule->tenant_said)
		rule->tenant = REFERENCE_UNSAID;
	rule->any_service = one_in(state, 4);
	for (i = 0; !rule->any_service && i < 1 + below(state, 3); i++)
		rule->services[rule->n_services++] = below(state, p->n_services);
	if (!rule->any_service && (one_in(state, 4) || !rule->n_services))
		service_random(state, &rule->items);
	rule->allow = one_in(state, 2);
	rule->audit = one_in(state, 6);
}

static void interface_random(const struct reference_policy *p, uint64_t *state, struct reference_interface *interface)
{
	unsigned int i, number;

	interface->antispoof = one_in(state, 2);
	for (i = 0; interface->antispoof && i < 3; i++) {
		number = below(state, p->n_segments);
		if (p->segments[number].tenant == REFERENCE_UNSAID)
			interface->segments[interface->n_segments++] = number;
	}
	interface->antispoof = interface->n_segments;
}

void reference_generate(struct reference_policy *p, uint64_t *state)
{
	unsigned int i, audits = 0;

	*p = (struct reference_policy){.default_allow = one_in(state, 2)};
	p->n_segments = 1 + below(state, REFERENCE_SEGMENTS);
	p->n_services = 1 + below(state, REFERENCE_SERVICES);
	p->n_rules = below(state, REFERENCE_RULES + 1);
	p->n_interfaces = below(state, REFERENCE_INTERFACES + 1);
	for (i = 0; i < p->n_segments; i++)
		segment_random(p, i, state);
	for (i = 0; i < p->n_services; i++)
		service_random(state, &p->services[i]);
	for (i = 0; i < p->n_rules; i++) {
		rule_random(p, state, &p->rules[i]);
		/* A packet may pass only so many. */
		p->rules[i].audit = p->rules[i].audit && audits++ < SLUICE_AUDITS_MAX;
	}
	for (i = 0; i < p->n_interfaces; i++)
		interface_random(p, state, &p->interfaces[i]);
}

/* ---------------------------------------------------------------------------- yaml */

static void prefix_write(FILE *out, const struct reference_prefix *p)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(p->ipv4 ? AF_INET : AF_INET6, p->addr + (p->ipv4 ? 12 : 0), text, sizeof(text));
	fprintf(out, "\"%s/%u\", ", text, p->length);
}

static void prefixes_write(FILE *out, const struct reference_prefixes *list)
{
	unsigned int i;

	for (i = 0; i < list->count; i++)
		prefix_write(out, &list->items[i]);
}

static void numbers_write(FILE *out, const char *stem, const unsigned int *numbers, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		fprintf(out, "%s%u, ", stem, numbers[i]);
}

static void segments_write(FILE *out, const struct reference_policy *p)
{
	unsigned int i;

	fprintf(out, "segments:\n");
	for (i = 0; i < p->n_segments; i++) {
		fprintf(out, "  s%u: {segments: [", i);
		numbers_write(out, "s", p->segments[i].members, p->segments[i].n_members);
		fprintf(out, "], include: [");
		prefixes_write(out, &p->segments[i].include);
		fprintf(out, "]");
		if (p->segments[i].except.count) {
			fprintf(out, ", except: [");
			prefixes_write(out, &p->segments[i].except);
			fprintf(out, "]");
		}
		if (p->segments[i].tenant > 0)
			fprintf(out, ", tenant: t%d", p->segments[i].tenant);
		fprintf(out, "}\n");
	}
}

static void item_write(FILE *out, const struct reference_item *item)
{
	if (item->protocol == -1)
		fprintf(out, "any, ");
	else if (item->protocol == 1 || item->protocol == 58)
		fprintf(out,
			item->dest_last == 65535	      ? "%s, "
			: item->dest_first != item->dest_last ? "%s/%u, "
							      : "%s/%u.%u, ",
			item->protocol == 1 ? "icmp" : "icmpv6", item->dest_first >> 8, item->dest_first & 255);
	else if (item->source_last == 65535 && item->source_first == 0 && item->dest_first == 0)
		fprintf(out, "%d, ", item->protocol);
	else {
		fprintf(out, "{protocol: %d", item->protocol);
		if (item->dest_first)
			fprintf(out, ", ports: %u-%u", item->dest_first, item->dest_last);
		if (item->source_first)
			fprintf(out, ", source-ports: %u-%u", item->source_first, item->source_last);
		fprintf(out, "}, ");
	}
}

static void items_write(FILE *out, const struct reference_service *s)
{
	unsigned int i;

	for (i = 0; i < s->count; i++)
		item_write(out, &s->items[i]);
}

static void side_write(FILE *out, const char *key, const struct reference_side *side)
{
	fprintf(out, "    %s: [", key);
	if (side->any)
		fprintf(out, "any");
	numbers_write(out, "s", side->segments, side->n_segments);
	prefixes_write(out, &side->literals);
	fprintf(out, "]\n");
}

static bool item_is_any(const struct reference_service *s)
{
	unsigned int i;

	for (i = 0; i < s->count; i++) {
		if (s->items[i].protocol == -1)
			return true;
	}
	return false;
}

/* The language has `any` alone in a rule; among the items of a service it may stand beside others. */
static void rule_service_write(FILE *out, const struct reference_rule *rule)
{
	if (rule->any_service || item_is_any(&rule->items)) {
		fprintf(out, "    service: any\n");
		return;
	}
	fprintf(out, "    service: [");
	numbers_write(out, "svc", rule->services, rule->n_services);
	items_write(out, &rule->items);
	fprintf(out, "]\n");
}

static void rule_write(FILE *out, const struct reference_rule *rule, unsigned int number)
{
	fprintf(out, "  - name: r%u\n", number);
	if (rule->tenant_said)
		fprintf(out, "    tenant: t%d\n", rule->tenant);
	side_write(out, "from", &rule->from);
	side_write(out, "to", &rule->to);
	rule_service_write(out, rule);
	fprintf(out, "    action: %s\n", rule->allow ? "allow" : "deny");
	if (rule->audit)
		fprintf(out, "    mode: audit\n");
}

static void interfaces_write(FILE *out, const struct reference_policy *p)
{
	unsigned int i;

	fprintf(out, "interfaces:\n  - {name: carrier, vlans: {1: t1, 2: t2}}\n");
	for (i = 0; i < p->n_interfaces; i++) {
		fprintf(out, "  - {name: if%u", i);
		if (p->interfaces[i].antispoof) {
			fprintf(out, ", antispoof: [");
			numbers_write(out, "s", p->interfaces[i].segments, p->interfaces[i].n_segments);
			fprintf(out, "]");
		}
		fprintf(out, "}\n");
	}
}

char *reference_yaml(const struct reference_policy *p)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned int i;

	if (!out)
		abort();
	fprintf(out, "sluice: 1\nname: random\ndefault: %s\ntenants: [t1, t2]\n", p->default_allow ? "allow" : "deny");
	interfaces_write(out, p);
	segments_write(out, p);
	fprintf(out, "services:\n");
	for (i = 0; i < p->n_services; i++) {
		fprintf(out, "  svc%u: [", i);
		items_write(out, &p->services[i]);
		fprintf(out, "]\n");
	}
	fprintf(out, p->n_rules ? "rules:\n" : "");
	for (i = 0; i < p->n_rules; i++)
		rule_write(out, &p->rules[i], i);
	if (fclose(out))
		abort();
	return text;
}

/* ------------------------------------------------------------------------- questions */

/* An edge of a prefix, one address beside it, or one inside. */
static void address_near(const struct reference_prefix *prefix, uint64_t *state, uint8_t ret_addr[16])
{
	unsigned int bit, bits = prefix->ipv4 ? 96 + prefix->length : prefix->length, how = below(state, 4);

	memcpy(ret_addr, prefix->addr, 16);
	for (bit = bits; bit < 128; bit++) {
		if (how == 1 || (how == 2 && one_in(state, 2)))
			ret_addr[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
	if (how == 3 && bits > (prefix->ipv4 ? 96u : 8u))
		ret_addr[(bits - 1) / 8] ^= (uint8_t)(0x80 >> (bits - 1) % 8);
}

static void address_random(const struct reference_policy *p, uint64_t *state, bool ipv4, uint8_t ret_addr[16])
{
	const struct reference_segment *s;
	struct reference_prefix prefix;
	unsigned int tries;

	for (tries = 0; tries < 16; tries++) {
		s = &p->segments[below(state, p->n_segments)];
		prefix = s->include.count ? s->include.items[below(state, s->include.count)] : prefix_random(state);
		if (one_in(state, 4) && s->except.count)
			prefix = s->except.items[below(state, s->except.count)];
		if (prefix.ipv4 == ipv4)
			break;
	}
	while (prefix.ipv4 != ipv4)
		prefix = prefix_random(state);
	address_near(&prefix, state, ret_addr);
}

void reference_query(const struct reference_policy *p, uint64_t *state, struct policy_query *ret_query)
{
	bool ipv4 = one_in(state, 2);
	struct reference_item item = item_random(state);

	if (!one_in(state, 4))
		item = p->services[below(state, p->n_services)].items[0];
	*ret_query = (struct policy_query){.tenant = (uint16_t)below(state, REFERENCE_TENANTS)};
	address_random(p, state, ipv4, ret_query->source);
	address_random(p, state, ipv4, ret_query->dest);
	ret_query->protocol = item.protocol == -1 ? (uint8_t)below(state, 256) : (uint8_t)item.protocol;
	if (item.protocol == 6 || item.protocol == 17 || item.protocol == 132) {
		ret_query->dest_port =
			(uint16_t)((one_in(state, 2) ? item.dest_first : item.dest_last) + below(state, 3) - 1);
		ret_query->source_port =
			(uint16_t)((one_in(state, 2) ? item.source_first : item.source_last) + below(state, 3) - 1);
	} else if (item.protocol == 1 || item.protocol == 58) {
		ret_query->dest_port = (uint16_t)(below(state, 12) << 8 | below(state, 6));
	}
}

/* ----------------------------------------------------------------------- the verdict */

static bool prefix_has(const struct reference_prefix *p, const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	unsigned int bit;

	if (p->ipv4 != !memcmp(addr, mapped, sizeof(mapped)))
		return false;
	for (bit = 0; bit < (p->ipv4 ? 96 + p->length : p->length); bit++) {
		if ((p->addr[bit / 8] ^ addr[bit / 8]) & 0x80 >> bit % 8)
			return false;
	}
	return true;
}

static bool prefixes_have(const struct reference_prefixes *list, const uint8_t addr[16])
{
	unsigned int i;

	for (i = 0; i < list->count; i++) {
		if (prefix_has(&list->items[i], addr))
			return true;
	}
	return false;
}

static bool segment_has(const struct reference_policy *p, unsigned int number, const uint8_t addr[16])
{
	const struct reference_segment *s = &p->segments[number];
	unsigned int i;

	for (i = 0; i < s->n_members; i++) {
		if (segment_has(p, s->members[i], addr))
			return true;
	}
	return prefixes_have(&s->include, addr) && !prefixes_have(&s->except, addr);
}

static bool side_has(const struct reference_policy *p, const struct reference_side *side, const uint8_t addr[16])
{
	unsigned int i;

	for (i = 0; i < side->n_segments; i++) {
		if (segment_has(p, side->segments[i], addr))
			return true;
	}
	return side->any || prefixes_have(&side->literals, addr);
}

static bool service_has(const struct reference_service *s, const struct policy_query *q)
{
	const struct reference_item *item;
	unsigned int i;

	for (i = 0; i < s->count; i++) {
		item = &s->items[i];
		if (item->protocol == -1)
			return true;
		if (item->protocol == q->protocol && q->dest_port >= item->dest_first &&
		    q->dest_port <= item->dest_last && q->source_port >= item->source_first &&
		    q->source_port <= item->source_last)
			return true;
	}
	return false;
}

static bool rule_has(const struct reference_policy *p, const struct reference_rule *rule, const struct policy_query *q)
{
	unsigned int i;

	if (rule->tenant != REFERENCE_UNSAID && rule->tenant != q->tenant)
		return false;
	if (!side_has(p, &rule->from, q->source) || !side_has(p, &rule->to, q->dest))
		return false;
	for (i = 0; i < rule->n_services; i++) {
		if (service_has(&p->services[rule->services[i]], q))
			return true;
	}
	return rule->any_service || service_has(&rule->items, q);
}

unsigned int reference_lookup(const struct reference_policy *p, const struct policy_query *q, uint32_t *ret_audits,
			      size_t *ret_n)
{
	unsigned int i;

	*ret_n = 0;
	for (i = 0; i < p->n_rules; i++) {
		if (!rule_has(p, &p->rules[i], q))
			continue;
		if (!p->rules[i].audit)
			return i;
		ret_audits[(*ret_n)++] = i;
	}
	return p->n_rules;
}

bool reference_may_enter(const struct reference_policy *p, const struct policy_query *q, unsigned int interface)
{
	unsigned int i;

	if (!p->interfaces[interface].antispoof)
		return true;
	for (i = 0; i < p->interfaces[interface].n_segments; i++) {
		if (segment_has(p, p->interfaces[interface].segments[i], q->source))
			return true;
	}
	return false;
}
