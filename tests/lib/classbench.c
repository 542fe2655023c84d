// SPDX-License-Identifier: Apache-2.0
/*
 * Rule sets from a seed's statistics; see classbench.h. A prefix is a walk down a binary tree that is never stored:
 * a hash of the node says whether it has one child or two and how traffic leans between them. So prefixes crowd
 * together and nest as real ones do, at no memory. A rule is a pair of lengths, a prefix a side (new, or one used
 * before), and a service.
 */
#include "classbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/array.h"
#include "reference.h"

enum {
	ATTEMPTS = 64,	     /* walks for one new prefix */
	REDRAWS = 2000,	     /* times that a rule is drawn again because it is there already */
	OWN_PORTS = 40,	     /* services that are in no table: see range_draw() */
	RANDOM_HEADERS = 10, /* one header in so many is drawn from all addresses and ports */
};

/* The prefixes of one side and length; the first `drawn` of them are in rules. */
struct pool {
	uint32_t *items;
	size_t count;
	size_t drawn;
};

struct generator {
	const struct classbench_options *options;
	uint64_t state;
	double fresh[2]; /* likelihood that a side takes a new prefix */
	struct pool pools[2][33];
	struct hash_index used[2]; /* prefixes of the pools; the hash is all that is looked at */
	struct classbench_rule *rules;
	size_t count;
	struct hash_index seen;
};

static uint64_t below(uint64_t *state, uint64_t limit)
{
	return reference_random(state) % limit;
}

static double unit(uint64_t *state)
{
	return (double)(reference_random(state) >> 11) / (double)(1ull << 53);
}

/* ----------------------------------------------------------------------- prefixes */

static bool branch(struct generator *g, unsigned int tree, uint32_t address, unsigned int depth)
{
	uint64_t node = hash_mix(hash_mix(g->options->random * 2 + tree) ^ ((uint64_t)address << 8 | depth));
	unsigned int two = g->options->seed->trees[tree].branching[depth / 8];
	unsigned int lean = 200 + (node >> 40) % 600; /* of 1000, towards 1 */

	if (node % 1000 < two)
		return below(&g->state, 1000) < lean;
	return node >> 20 & 1;
}

static uint32_t walk(struct generator *g, unsigned int tree, unsigned int length)
{
	uint32_t address = 0;
	unsigned int depth;

	for (depth = 0; depth < length; depth++)
		if (branch(g, tree, address, depth))
			address |= 0x80000000u >> depth;
	return address;
}

/* ----------------------------------------------------------------- rows of a seed */

#define WEIGHTED(table, state)                                                                                         \
	({                                                                                                             \
		const __typeof__((table)[0]) *row_ = (table);                                                          \
		uint64_t sum_ = 0;                                                                                     \
		for (; row_->weight; row_++)                                                                           \
			sum_ += row_->weight;                                                                          \
		sum_ = below(state, sum_);                                                                             \
		for (row_ = (table); sum_ >= row_->weight; row_++)                                                     \
			sum_ -= row_->weight;                                                                          \
		row_;                                                                                                  \
	})

static void lengths_draw(struct generator *g, struct classbench_rule *rule)
{
	const struct classbench_lengths *row = WEIGHTED(g->options->seed->lengths, &g->state);
	unsigned int side;

	for (side = 0; side < 2; side++)
		rule->length[side] =
			(uint8_t)(row->length[side] - row->step * below(&g->state, row->spread[side] + 1u));
}

static struct classbench_port range_draw(struct generator *g, bool exact)
{
	const struct classbench_seed *seed = g->options->seed;
	uint16_t first, length;
	uint64_t own;

	if (below(&g->state, 1000) >= seed->own_ports)
		return *WEIGHTED(exact ? seed->exact : seed->ranges, &g->state);
	/* A site has so many services of its own, however many rules: acl1 names 96 ports at 1,000 and 108 at 100,000. */
	own = 1 + below(&g->state, OWN_PORTS);
	first = (uint16_t)(1 + below(&own, 60000));
	length = (uint16_t)(exact ? 0 : 1 + below(&own, 5000));
	return (struct classbench_port){.first = first, .last = (uint16_t)(first + length)};
}

static void ports_draw(struct generator *g, enum classbench_ports class, uint16_t *ret_first, uint16_t *ret_last)
{
	struct classbench_port ports = {.first = 0, .last = 65535};

	if (class == PORTS_HIGH)
		ports.first = 1024;
	else if (class == PORTS_LOW)
		ports.last = 1023;
	else if (class != PORTS_ALL)
		ports = range_draw(g, class == PORTS_EXACT);
	*ret_first = ports.first;
	*ret_last = ports.last;
}

static void service_draw(struct generator *g, struct classbench_rule *rule)
{
	const struct classbench_service *row = WEIGHTED(g->options->seed->services, &g->state);
	unsigned int side;

	rule->protocol = row->protocol;
	rule->protocol_mask = row->protocol_mask;
	for (side = 0; side < 2; side++)
		ports_draw(g, row->ports[side], &rule->first[side], &rule->last[side]);
	if (row->protocol != IPPROTO_TCP || below(&g->state, 1000) >= g->options->seed->flagged)
		return;
	rule->flags_mask = below(&g->state, 2) ? 0x0200 : 0x1000;
	rule->flags = rule->flags_mask & 0x1000;
}

/* -------------------------------------------------------------------------- pools */

static uint64_t prefix_hash(uint32_t address, unsigned int length)
{
	return hash_mix((uint64_t)(length ? address >> (32 - length) : 0) << 8 | length);
}

static bool is_used(const struct generator *g, unsigned int side, uint32_t address, unsigned int length)
{
	return hash_index_find(&g->used[side], prefix_hash(address, length), NULL, NULL, NULL) != HASH_NONE;
}

/* How many prefixes that are there already cover this one. */
static unsigned int covers(const struct generator *g, unsigned int side, uint32_t address, unsigned int length)
{
	unsigned int n, count = 0;

	for (n = 0; n < length; n++)
		count += is_used(g, side, address, n);
	return count;
}

/* A prefix that is new and nests no deeper than the seed's do; after some attempts the pool does without. */
static int prefix_add(struct generator *g, unsigned int side, unsigned int length)
{
	struct pool *pool = &g->pools[side][length];
	unsigned int tree, attempt, limit;
	uint32_t address = 0, *slot;

	/* Short ones leave levels to the long ones, or nothing would fit beneath them. */
	limit = g->options->seed->nesting - (length <= 20) - (length <= 12);
	for (attempt = 0; attempt < ATTEMPTS; attempt++) {
		tree = side && below(&g->state, 1000) < g->options->seed->same_tree ? 0 : side;
		address = walk(g, tree, length);
		if (!is_used(g, side, address, length) && covers(g, side, address, length) < limit)
			break;
	}
	if (attempt == ATTEMPTS && pool->count)
		return 0;
	slot = array_add(&pool->items, &pool->count, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = address;
	return hash_index_add(&g->used[side], prefix_hash(address, length), 0);
}

/* Short ones first, so that looking upwards is enough to know how deep a prefix nests. */
static int pools_fill(struct generator *g)
{
	size_t rules[2][33] = {}, i, wanted;
	struct classbench_rule rule;
	unsigned int side, length;
	int r = 0;

	for (i = 0; i < g->options->rules; i++) {
		lengths_draw(g, &rule);
		for (side = 0; side < 2; side++)
			rules[side][rule.length[side]]++;
	}
	for (length = 0; length <= 32; length++) {
		for (side = 0; side < 2; side++) {
			wanted = (size_t)ceil((double)rules[side][length] * g->fresh[side]);
			wanted = length < 16 ? min(wanted, (size_t)1 << length / 2) : wanted;
			for (i = 0; i < max(wanted, (size_t)1) && !r; i++)
				r = prefix_add(g, side, length);
		}
	}
	return r;
}

static uint32_t prefix_draw(struct generator *g, unsigned int side, unsigned int length)
{
	struct pool *pool = &g->pools[side][length];
	double u = unit(&g->state);

	if (pool->drawn < pool->count && unit(&g->state) < g->fresh[side])
		return pool->items[pool->drawn++];
	/* The older, the more popular: a few servers carry most rules. */
	return pool->items[(size_t)((double)max(pool->drawn, (size_t)1) * u * u * u)];
}

/* -------------------------------------------------------------------------- rules */

static bool rule_equal(const void *arg, const void *key, uint32_t id)
{
	const struct generator *g = arg;

	return !memcmp(&g->rules[id], key, sizeof(g->rules[id]));
}

/* Memory is compared, so a rule must have no byte unset. */
_Static_assert(sizeof(struct classbench_rule) == 24, "a rule has no padding, so that equal rules are equal bytes");

static int rule_draw(struct generator *g)
{
	struct classbench_rule rule = {};
	unsigned int side;
	uint64_t hash;

	lengths_draw(g, &rule);
	for (side = 0; side < 2; side++)
		rule.address[side] = prefix_draw(g, side, rule.length[side]);
	service_draw(g, &rule);
	hash = hash_bytes(&rule, sizeof(rule));
	if (hash_index_find(&g->seen, hash, rule_equal, g, &rule) != HASH_NONE)
		return -EEXIST;
	g->rules[g->count++] = rule;
	return hash_index_add(&g->seen, hash, (uint32_t)g->count - 1);
}

/* How much of the space of headers a rule covers, as a logarithm: a rule that covers another covers more. */
static double rule_scope(const struct classbench_rule *rule)
{
	double scope =
		64.0 - rule->length[0] - rule->length[1] + (rule->protocol_mask ? 0 : 8) - (rule->flags_mask ? 0.5 : 0);
	unsigned int side;

	for (side = 0; side < 2; side++)
		scope += log2(rule->last[side] - rule->first[side] + 1.0);
	return scope;
}

struct scoped {
	double scope;
	size_t position;
};

static int scope_compare(const void *a, const void *b)
{
	const struct scoped *x = a, *y = b;

	if (x->scope != y->scope)
		return x->scope < y->scope ? -1 : 1;
	return x->position < y->position ? -1 : 1;
}

static int rules_order(struct generator *g)
{
	struct classbench_rule *ordered = reallocarray(NULL, g->count, sizeof(*ordered));
	struct scoped *order = reallocarray(NULL, g->count, sizeof(*order));
	size_t i;

	for (i = 0; ordered && order && i < g->count; i++)
		order[i] = (struct scoped){rule_scope(&g->rules[i]), i};
	if (ordered && order) {
		qsort(order, g->count, sizeof(*order), scope_compare);
		for (i = 0; i < g->count; i++)
			ordered[i] = g->rules[order[i].position];
	}
	free(order);
	if (!ordered || i < g->count) {
		free(ordered);
		return -ENOMEM;
	}
	free(g->rules);
	g->rules = ordered;
	return 0;
}

static void generator_begin(struct generator *g, const struct classbench_options *o)
{
	const struct classbench_tree *trees = o->seed->trees;
	double scale = 1;

	g->options = o;
	g->state = hash_mix(o->random);
	if (o->prefixes)
		scale = (double)o->prefixes / ((double)o->rules * (trees[0].distinct + trees[1].distinct));
	g->fresh[0] = trees[0].distinct * scale;
	g->fresh[1] = trees[1].distinct * scale;
}

static void generator_done(struct generator *g)
{
	unsigned int side, length;

	for (side = 0; side < 2; side++)
		for (length = 0; length <= 32; length++)
			free(g->pools[side][length].items);
	for (side = 0; side < 2; side++)
		hash_index_done(&g->used[side]);
	hash_index_done(&g->seen);
	free(g->rules);
}

int classbench_generate(const struct classbench_options *o, struct classbench_rule **ret_rules)
{
	struct generator g = {};
	unsigned int redraws = 0;
	int r;

	generator_begin(&g, o);
	g.rules = calloc(o->rules, sizeof(*g.rules));
	r = g.rules ? pools_fill(&g) : -ENOMEM;
	while (g.count < o->rules && (!r || r == -EEXIST)) {
		r = rule_draw(&g);
		redraws = r == -EEXIST ? redraws + 1 : 0;
		if (redraws == REDRAWS)
			r = -ERANGE;
	}
	if (!r)
		r = rules_order(&g);
	if (!r) {
		*ret_rules = g.rules;
		g.rules = NULL;
	}
	generator_done(&g);
	return r;
}

/* ------------------------------------------------------------------------ headers */

bool classbench_matches(const struct classbench_rule *rule, const struct classbench_header *h)
{
	unsigned int side;

	if ((h->protocol & rule->protocol_mask) != (rule->protocol & rule->protocol_mask))
		return false;
	for (side = 0; side < 2; side++) {
		if (rule->length[side] && (h->address[side] ^ rule->address[side]) >> (32 - rule->length[side]))
			return false;
		if (h->port[side] < rule->first[side] || h->port[side] > rule->last[side])
			return false;
	}
	return true;
}

size_t classbench_header(const struct classbench_rule *rules, size_t count, uint64_t *state,
			 struct classbench_header *ret_header)
{
	static const struct classbench_rule anything = {.last = {65535, 65535}};
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_TCP};
	const struct classbench_rule *rule = &anything;
	size_t drawn = count;
	unsigned int side;

	if (count && below(state, RANDOM_HEADERS)) {
		/* The rank is Pareto distributed (alpha 1); the hash spreads ranks over the set. */
		drawn = hash_mix((uint64_t)(1 / (1 - unit(state)))) % count;
		rule = &rules[drawn];
	}
	for (side = 0; side < 2; side++) {
		ret_header->address[side] =
			rule->address[side] | (uint32_t)below(state, 1ull << (32 - rule->length[side]));
		ret_header->port[side] =
			(uint16_t)(rule->first[side] + below(state, rule->last[side] - rule->first[side] + 1u));
	}
	ret_header->protocol = rule->protocol_mask ? rule->protocol : protocols[below(state, ARRAY_SIZE(protocols))];
	return drawn;
}

/* ------------------------------------------------------------------------- output */

static const char *dotted(uint32_t address, char text[INET_ADDRSTRLEN])
{
	return inet_ntop(AF_INET, &(struct in_addr){htonl(address)}, text, INET_ADDRSTRLEN);
}

void classbench_write_rule(const struct classbench_rule *rule, FILE *out)
{
	char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];

	fprintf(out, "@%s/%u\t%s/%u\t%u : %u\t%u : %u\t0x%02X/0x%02X\t0x%04X/0x%04X\t\n",
		dotted(rule->address[0], from), rule->length[0], dotted(rule->address[1], to), rule->length[1],
		rule->first[0], rule->last[0], rule->first[1], rule->last[1], rule->protocol, rule->protocol_mask,
		rule->flags, rule->flags_mask);
}

void classbench_write_header(const struct classbench_header *h, size_t rule, FILE *out)
{
	fprintf(out, "%u\t%u\t%u\t%u\t%u\t%zu\n", h->address[0], h->address[1], h->port[0], h->port[1], h->protocol,
		rule);
}

static void service_write(const struct classbench_rule *rule, FILE *out)
{
	bool all[2];
	unsigned int side;

	for (side = 0; side < 2; side++)
		all[side] = !rule->first[side] && rule->last[side] == 65535;
	if (!rule->protocol_mask)
		fputs("any", out);
	else if (all[0] && all[1])
		fprintf(out, "%u", rule->protocol);
	else if (all[0])
		fprintf(out, "%u/%u-%u", rule->protocol, rule->first[1], rule->last[1]);
	else
		fprintf(out, "[{protocol: %u, source-ports: %u-%u, ports: %u-%u}]", rule->protocol, rule->first[0],
			rule->last[0], rule->first[1], rule->last[1]);
}

void classbench_write_policy(const struct classbench_rule *rules, size_t count, enum classbench_action action,
			     const char *name, FILE *out)
{
	char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];
	size_t i;

	fprintf(out, "sluice: 1\nname: %s\ndefault: deny\nrules:\n", name);
	for (i = 0; i < count; i++) {
		fprintf(out, "  - {name: r%zu, from: %s/%u, to: %s/%u, service: ", i + 1,
			dotted(rules[i].address[0], from), rules[i].length[0], dotted(rules[i].address[1], to),
			rules[i].length[1]);
		service_write(&rules[i], out);
		fprintf(out, ", action: %s}\n",
			action == CLASSBENCH_DENY || (action == CLASSBENCH_ALTERNATE && i % 2) ? "deny" : "allow");
	}
}
