// SPDX-License-Identifier: Apache-2.0
/*
 * Classes → verdicts. For every pair of a source and a destination class of one tenant: the rules that name both, up to
 * the first that takes every service; each distinct such set of rules is judged once, for all service classes, and
 * equal rows of verdicts are stored once. Called by compile.c when all classes are known.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/compile.h"

#define UNDECIDED UINT32_MAX

/* Audit rules that a packet passed, newest first: chains are shared, and 0 is the empty one. */
struct passed {
	uint32_t earlier;
	uint32_t rule;
	uint32_t length;
};

struct judge {
	struct compiler *compiler;
	uint64_t *terminal;	   /* bitmap: rules after which nothing is left to match */
	struct rule_block *common; /* scratch: the intersection at hand */
	struct rule_sets distinct; /* sets of rules judged so far */
	struct hash_index by_rules;
	uint32_t *pair_of; /* pair class of each distinct set */
	size_t pair_of_count;
	struct hash_index by_row;
	uint32_t *row;	 /* scratch: a verdict word for each service class */
	uint32_t *chain; /* scratch: what each service class has passed so far */
	uint32_t undecided;
	struct passed *passed;
	size_t n_passed;
	struct hash_index by_passed;
	struct hash_index by_chain; /* (passed, deciding rule) → place in audits */
};

static void judge_done(struct judge *j)
{
	free(j->terminal);
	free(j->common);
	rule_sets_done(&j->distinct);
	hash_index_done(&j->by_rules);
	free(j->pair_of);
	hash_index_done(&j->by_row);
	free(j->row);
	free(j->chain);
	free(j->passed);
	hash_index_done(&j->by_passed);
	hash_index_done(&j->by_chain);
}

static int judge_begin(struct judge *j, struct compiler *c)
{
	size_t i, blocks = (c->policy->n_rules + 63) / 64;
	const struct policy_rule *rule;

	j->compiler = c;
	j->terminal = calloc(blocks + 1, sizeof(*j->terminal));
	j->common = calloc(blocks + 1, sizeof(*j->common));
	j->row = calloc(c->service_classes + 1, sizeof(*j->row));
	j->chain = calloc(c->service_classes + 1, sizeof(*j->chain));
	if (!j->terminal || !j->common || !j->row || !j->chain ||
	    !array_add(&j->passed, &j->n_passed, sizeof(*j->passed)))
		return -ENOMEM;
	for (i = 0; i < c->policy->n_rules; i++) {
		rule = &c->policy->rules[i];
		if (c->rule_service[i] == SET_ANY && !rule->audit)
			j->terminal[i / 64] |= 1ull << i % 64;
	}
	return 0;
}

/* ------------------------------------------------------------------ intersections */

/* The first of n blocks from `at` on whose index is not below `index`: doubling steps, then halving. */
static size_t blocks_seek(const struct rule_block *blocks, size_t at, size_t n, uint32_t index)
{
	size_t step = 1, low = at, high;

	while (low + step < n && blocks[low + step].index < index) {
		low += step;
		step *= 2;
	}
	high = low + step < n ? low + step : n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (blocks[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Intersects two sets into j->common up to the first terminal rule, and returns the number of blocks. */
static size_t rules_common(struct judge *j, const struct rule_sets *a, size_t x, const struct rule_sets *b, size_t y)
{
	const struct rule_block *left = a->blocks + a->sets[x].first, *right = b->blocks + b->sets[y].first;
	size_t i = 0, k = 0, count = 0, n = a->sets[x].count, m = b->sets[y].count;
	uint64_t bits, last;

	while (i < n && k < m) {
		if (left[i].index < right[k].index) {
			i = blocks_seek(left, i, n, right[k].index);
			continue;
		}
		if (right[k].index < left[i].index) {
			k = blocks_seek(right, k, m, left[i].index);
			continue;
		}
		bits = left[i].bits & right[k].bits;
		last = bits & j->terminal[left[i].index];
		if (last) {
			last &= -last;
			bits &= last | (last - 1);
		}
		if (bits)
			j->common[count++] = (struct rule_block){left[i].index, bits};
		if (last)
			break;
		i++;
		k++;
	}
	return count;
}

/* ------------------------------------------------------------------- audit chains */

static int passed_add(struct judge *j, uint32_t earlier, uint32_t rule, uint32_t *ret_passed)
{
	uint64_t key = hash_mix((uint64_t)earlier << 32 | rule);
	uint32_t id = hash_index_find(&j->by_passed, key, NULL, NULL, NULL);
	struct passed *p;

	if (id == HASH_NONE) {
		if (j->passed[earlier].length == SLUICE_AUDITS_MAX)
			return error_set(
				j->compiler->err, E2BIG,
				"rule '%s' would be audit rule number %d on the way of one packet, of at most %d; give "
				"some of them narrower services or segments",
				policy_rule_name(j->compiler->policy, rule), SLUICE_AUDITS_MAX + 1, SLUICE_AUDITS_MAX);
		id = (uint32_t)j->n_passed;
		p = array_add(&j->passed, &j->n_passed, sizeof(*p));
		if (!p || hash_index_add(&j->by_passed, key, id))
			return -ENOMEM;
		*p = (struct passed){earlier, rule, j->passed[earlier].length + 1};
	}
	*ret_passed = id;
	return 0;
}

/* The verdict word of a packet that passed audit rules and was then decided: a chain in `audits`. */
static int chain_word(struct judge *j, uint32_t passed, uint32_t rule, uint32_t *ret_word)
{
	uint64_t key = hash_mix((uint64_t)passed << 32 | rule);
	uint32_t at = hash_index_find(&j->by_chain, key, NULL, NULL, NULL);
	size_t first, i;
	int r;

	if (at == HASH_NONE) {
		r = words_add(j->compiler, &j->compiler->audits, j->passed[passed].length + 1, &first);
		if (r)
			return r;
		at = (uint32_t)first;
		i = first + j->passed[passed].length;
		j->compiler->audits.items[i] = rule;
		for (; passed; passed = j->passed[passed].earlier)
			j->compiler->audits.items[--i] = SLUICE_VERDICT_CHAIN | j->passed[passed].rule;
		if (hash_index_add(&j->by_chain, key, at))
			return -ENOMEM;
	}
	*ret_word = SLUICE_VERDICT_CHAIN | at;
	return 0;
}

/* -------------------------------------------------------------------------- rows */

/* A rule meets one service class that no earlier rule has decided. */
static int class_judge(struct judge *j, uint32_t rule, uint32_t class)
{
	if (j->row[class] != UNDECIDED)
		return 0;
	if (rule < j->compiler->policy->n_rules && j->compiler->policy->rules[rule].audit)
		return passed_add(j, j->chain[class], rule, &j->chain[class]);
	j->undecided--;
	if (j->chain[class])
		return chain_word(j, j->chain[class], rule, &j->row[class]);
	j->row[class] = rule;
	return 0;
}

static int rule_judge(struct judge *j, uint32_t rule)
{
	const struct compiler *c = j->compiler;
	uint32_t service = rule < c->policy->n_rules ? c->rule_service[rule] : SET_ANY;
	const struct service_set *set;
	uint32_t class;
	size_t i;
	int r = 0;

	if (service == SET_ANY) {
		for (class = 0; class < c->service_classes && !r; class ++)
			r = class_judge(j, rule, class);
		return r;
	}
	set = &c->services.items[service];
	for (i = 0; i < set->n_classes && !r; i++)
		r = class_judge(j, rule, set->classes[i]);
	return r;
}

static bool row_is(const void *judge, const void *row, uint32_t pair)
{
	const struct compiler *c = ((const struct judge *)judge)->compiler;

	return !memcmp(c->verdicts.items + (size_t)pair * c->service_classes, row,
		       c->service_classes * sizeof(uint32_t));
}

static int row_intern(struct judge *j, uint32_t *ret_pair)
{
	struct compiler *c = j->compiler;
	size_t first, bytes = c->service_classes * sizeof(uint32_t);
	uint64_t hash = hash_bytes(j->row, bytes);
	uint32_t pair = hash_index_find(&j->by_row, hash, row_is, j, j->row);
	int r;

	if (pair == HASH_NONE) {
		r = words_add(c, &c->verdicts, c->service_classes, &first);
		if (r)
			return r;
		memcpy(c->verdicts.items + first, j->row, bytes);
		pair = (uint32_t)(first / c->service_classes);
		if (hash_index_add(&j->by_row, hash, pair))
			return -ENOMEM;
	}
	*ret_pair = pair;
	return 0;
}

/* Judges the set of rules in j->common for every service class. */
static int rules_judge(struct judge *j, size_t blocks, uint32_t *ret_pair)
{
	const struct compiler *c = j->compiler;
	uint64_t bits;
	size_t i;
	int r = 0;

	memset(j->row, 0xff, c->service_classes * sizeof(*j->row));
	memset(j->chain, 0, c->service_classes * sizeof(*j->chain));
	j->undecided = (uint32_t)c->service_classes;
	for (i = 0; i < blocks && j->undecided; i++) {
		for (bits = j->common[i].bits; bits && !r && j->undecided; bits &= bits - 1)
			r = rule_judge(j, j->common[i].index * 64 + (uint32_t)__builtin_ctzll(bits));
		if (r)
			return r;
	}
	r = rule_judge(j, (uint32_t)c->policy->n_rules);
	return r ? r : row_intern(j, ret_pair);
}

/* ------------------------------------------------------------------------- pairs */

struct common_key {
	const struct rule_block *blocks;
	size_t count;
};

static bool blocks_equal(const struct rule_block *a, const struct rule_block *b, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (a[i].index != b[i].index || a[i].bits != b[i].bits)
			return false;
	}
	return true;
}

static bool rules_are(const void *sets, const void *key, uint32_t i)
{
	const struct rule_sets *s = sets;
	const struct common_key *k = key;

	return s->sets[i].count == k->count && blocks_equal(s->blocks + s->sets[i].first, k->blocks, k->count);
}

static uint64_t blocks_hash(const struct rule_block *blocks, size_t count)
{
	uint64_t hash = hash_mix(count);
	size_t i;

	for (i = 0; i < count; i++)
		hash = hash_mix(hash_mix(hash ^ blocks[i].index) ^ blocks[i].bits);
	return hash;
}

static int pair_judge(struct judge *j, size_t blocks, uint32_t *ret_pair)
{
	struct common_key key = {j->common, blocks};
	uint64_t hash = blocks_hash(j->common, blocks);
	uint32_t id = hash_index_find(&j->by_rules, hash, rules_are, &j->distinct, &key);
	uint32_t *slot, pair = 0;
	int r;

	if (id != HASH_NONE) {
		*ret_pair = j->pair_of[id];
		return 0;
	}
	r = rules_judge(j, blocks, &pair);
	if (r)
		return r;
	slot = array_add(&j->pair_of, &j->pair_of_count, sizeof(*slot));
	if (!slot || hash_index_add(&j->by_rules, hash, (uint32_t)j->distinct.count))
		return -ENOMEM;
	*slot = pair;
	*ret_pair = pair;
	return rule_sets_add_blocks(j->compiler, &j->distinct, j->common, blocks);
}

static int tenant_judge(struct judge *j, const struct tenant_classes *t)
{
	struct compiler *c = j->compiler;
	size_t source, dest;
	uint32_t *row;
	int r;

	for (source = 0; source < t->sources.count; source++) {
		row = c->pairs.items + (t->first_source + source) * c->dest_classes;
		for (dest = 0; dest < t->dests.count; dest++) {
			r = pair_judge(j, rules_common(j, &t->sources, source, &t->dests, dest), &row[dest]);
			if (r)
				return r;
		}
	}
	return 0;
}

int verdicts_compile(struct compiler *c)
{
	_cleanup_(judge_done) struct judge j = {};
	size_t i, first;
	int r;

	r = words_add(c, &c->pairs, c->n_sources * c->dest_classes, &first);
	if (!r)
		r = judge_begin(&j, c);
	for (i = 0; i < c->policy->n_tenants && !r; i++)
		r = tenant_judge(&j, &c->tenants[i]);
	return r;
}
