// SPDX-License-Identifier: Apache-2.0
/* Decision diagrams; see dag.h. What always holds: no two nodes of a level are equal, and no node has only one leaf. */
#include "policy/dag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define MEMO_SLOTS_MIN (1u << 10)
#define MEMO_SLOTS_MAX (1u << 21)

/* Results of dag_apply(), by the pair; a newer one takes the place of an older. */
struct dag_memo {
	uint32_t a;
	uint32_t b;
	uint32_t result;
	uint32_t level; /* + 1; 0: free */
};

int dag_begin(struct dag *d, const unsigned int *strides, unsigned int levels, size_t functions, size_t refs_max)
{
	unsigned int i, widest = 0;

	d->memo_slots = MEMO_SLOTS_MIN;
	while (d->memo_slots < MEMO_SLOTS_MAX && d->memo_slots < functions * 16)
		d->memo_slots *= 2;
	d->levels = levels;
	d->refs_max = refs_max;
	for (i = 0; i < levels; i++) {
		d->level[i].stride = strides[i];
		widest = max(widest, strides[i]);
	}
	d->memo = calloc(d->memo_slots, sizeof(*d->memo));
	d->scratch = calloc((size_t)levels << widest, sizeof(*d->scratch));
	return d->memo && d->scratch ? 0 : -ENOMEM;
}

void dag_done(struct dag *d)
{
	unsigned int i;

	for (i = 0; i < d->levels; i++) {
		free(d->level[i].refs);
		free(d->level[i].extents);
		free(d->level[i].words);
		hash_index_done(&d->level[i].by_refs);
	}
	free(d->memo);
	free(d->scratch);
	*d = (struct dag){};
}

/* Room for one node of the level, there until a node of the same level is made. */
static uint32_t *scratch_of(struct dag *d, unsigned int level)
{
	size_t at = 0;
	unsigned int i;

	for (i = 0; i < level; i++)
		at += (size_t)1 << d->level[i].stride;
	return d->scratch + at;
}

static const uint32_t *node_refs(const struct dag_level *l, uint32_t ref)
{
	return l->refs + ((size_t)(ref & ~DAG_NODE) << l->stride);
}

static struct dag_extent extent_of(const struct dag *d, unsigned int level, uint32_t ref)
{
	return ref & DAG_NODE ? d->level[level].extents[ref & ~DAG_NODE] : (struct dag_extent){ref, ref};
}

static bool refs_are(const void *level, const void *refs, uint32_t id)
{
	const struct dag_level *l = level;

	return !memcmp(node_refs(l, id), refs, sizeof(uint32_t) << l->stride);
}

static int node_add(struct dag *d, unsigned int level, const uint32_t *refs, uint64_t hash, uint32_t *ret_ref)
{
	struct dag_level *l = &d->level[level];
	struct dag_extent child, extent = {UINT32_MAX, 0};
	size_t i, n = (size_t)1 << l->stride;

	d->n_refs += n;
	if (d->n_refs > d->refs_max)
		return -E2BIG;
	if (array_reserve(&l->refs, &l->refs_capacity, l->count << l->stride, n, sizeof(*l->refs)) ||
	    array_reserve(&l->extents, &l->extents_capacity, l->count, 1, sizeof(*l->extents)) ||
	    hash_index_add(&l->by_refs, hash, (uint32_t)l->count))
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		child = extent_of(d, level + 1, refs[i]);
		extent.low = min(extent.low, child.low);
		extent.high = max(extent.high, child.high);
	}
	memcpy(l->refs + (l->count << l->stride), refs, n * sizeof(*refs));
	l->extents[l->count] = extent;
	*ret_ref = DAG_NODE | (uint32_t)l->count++;
	return 0;
}

/* The node with these references: the leaf that they all are, one that exists, or a new one. */
static int node_make(struct dag *d, unsigned int level, const uint32_t *refs, uint32_t *ret_ref)
{
	struct dag_level *l = &d->level[level];
	size_t i, n = (size_t)1 << l->stride;
	uint64_t hash;
	uint32_t id;

	for (i = 1; i < n && refs[i] == refs[0]; i++)
		;
	if (i == n && !(refs[0] & DAG_NODE)) {
		*ret_ref = refs[0];
		return 0;
	}
	hash = hash_bytes(refs, n * sizeof(*refs));
	id = hash_index_find(&l->by_refs, hash, refs_are, l, refs);
	if (id == HASH_NONE)
		return node_add(d, level, refs, hash, ret_ref);
	*ret_ref = DAG_NODE | id;
	return 0;
}

/* -------------------------------------------------------------------------- keys */

/* Bits of the key that levels [level, end) take. */
static unsigned int bits_between(const struct dag *d, unsigned int level, unsigned int end)
{
	unsigned int bits = 0;

	for (; level < end; level++)
		bits += d->level[level].stride;
	return bits;
}

/* Takes the keys whose next digit is `digit` off the front of `keys`. */
static struct dag_keys keys_take(struct dag_keys *keys, unsigned int below, unsigned int stride, uint32_t digit)
{
	struct dag_keys part = {.items = keys->items, .all = keys->all};

	while (keys->count && (keys->items[0] >> below & ((1u << stride) - 1)) == digit) {
		keys->items++;
		keys->count--;
		part.count++;
	}
	return part;
}

static int keys_build(struct dag *d, unsigned int level, unsigned int end, struct dag_keys keys, uint32_t inside,
		      uint32_t *ret_ref)
{
	unsigned int below, stride;
	struct dag_keys part;
	uint32_t *refs, i;
	int r;

	if (!keys.all && !keys.count) {
		*ret_ref = d->none;
		return 0;
	}
	if (level == end) {
		*ret_ref = inside;
		return 0;
	}
	stride = d->level[level].stride;
	below = bits_between(d, level + 1, end);
	refs = scratch_of(d, level);
	for (i = 0; i < 1u << stride; i++) {
		part = keys_take(&keys, below, stride, i);
		if (part.all && i) {
			refs[i] = refs[0];
			continue;
		}
		r = keys_build(d, level + 1, end, part, inside, &refs[i]);
		if (r)
			return r;
	}
	return node_make(d, level, refs, ret_ref);
}

int dag_keys(struct dag *d, unsigned int level, unsigned int end, const struct dag_keys *keys, uint32_t inside,
	     uint32_t *ret_ref)
{
	return keys_build(d, level, end, *keys, inside, ret_ref);
}

/* ------------------------------------------------------------------------- apply */

/* Whether the answer is known without looking inside. */
static bool apply_is_trivial(const struct dag *d, unsigned int level, uint32_t a, uint32_t b, uint32_t *ret_ref)
{
	struct dag_extent x, y;

	if (a == b || b == d->none) {
		*ret_ref = a;
		return true;
	}
	if (a == d->none) {
		*ret_ref = b;
		return true;
	}
	if (!d->minimum)
		return false;
	x = extent_of(d, level, a);
	y = extent_of(d, level, b);
	if (x.high > y.low && y.high > x.low)
		return false;
	*ret_ref = x.high <= y.low ? a : b;
	return true;
}

/* Of two functions that are not trivial to combine. */
static int apply(struct dag *d, unsigned int level, uint32_t a, uint32_t b, uint32_t *ret_ref)
{
	struct dag_memo *memo;
	uint32_t *refs, i, result, before[2] = {};
	int r = 0;

	if (!((a | b) & DAG_NODE))
		return d->combine(d->arg, a, b, ret_ref);
	if (a > b) {
		uint32_t swap = a;

		a = b;
		b = swap;
	}
	memo = &d->memo[hash_mix(hash_mix((uint64_t)a << 32 | b) + level) & (d->memo_slots - 1)];
	if (memo->a == a && memo->b == b && memo->level == level + 1) {
		*ret_ref = memo->result;
		return 0;
	}
	refs = scratch_of(d, level);
	for (i = 0; i < 1u << d->level[level].stride && !r; i++) {
		/* Nodes move when others are made: looked up anew each time. */
		uint32_t x = a & DAG_NODE ? node_refs(&d->level[level], a)[i] : a;
		uint32_t y = b & DAG_NODE ? node_refs(&d->level[level], b)[i] : b;

		if (i && x == before[0] && y == before[1]) { /* long runs are the rule */
			refs[i] = refs[i - 1];
			continue;
		}
		before[0] = x;
		before[1] = y;
		if (!apply_is_trivial(d, level + 1, x, y, &refs[i]))
			r = apply(d, level + 1, x, y, &refs[i]);
	}
	if (!r)
		r = node_make(d, level, refs, &result);
	if (r)
		return r;
	*memo = (struct dag_memo){a, b, result, level + 1};
	*ret_ref = result;
	return 0;
}

int dag_apply(struct dag *d, unsigned int level, uint32_t a, uint32_t b, uint32_t *ret_ref)
{
	return apply_is_trivial(d, level, a, b, ret_ref) ? 0 : apply(d, level, a, b, ret_ref);
}

uint32_t dag_at(const struct dag *d, unsigned int end, uint32_t ref, uint32_t key)
{
	unsigned int level, below = bits_between(d, 0, end);

	for (level = 0; level < end && ref & DAG_NODE; level++) {
		below -= d->level[level].stride;
		ref = node_refs(&d->level[level], ref)[key >> below & ((1u << d->level[level].stride) - 1)];
	}
	return ref;
}

/* -------------------------------------------------------------------------- emit */

struct emitter {
	struct dag *dag;
	struct compiler *compiler;
	const uint32_t *leaf_word;
};

/* Whether all references of a node are one leaf but for one, and which. */
static bool node_is_skip(const struct dag_level *l, uint32_t ref, uint32_t *ret_leaf, uint32_t *ret_digit)
{
	const uint32_t *refs = node_refs(l, ref);
	uint32_t n = 1u << l->stride, odd = n, i;
	uint32_t leaf = refs[0] == refs[1] || (n > 2 && refs[0] == refs[2]) ? refs[0] : refs[1];

	if (leaf & DAG_NODE)
		return false;
	for (i = 0; i < n; i++) {
		if (refs[i] == leaf)
			continue;
		if (odd != n)
			return false;
		odd = i;
	}
	*ret_leaf = leaf;
	*ret_digit = odd;
	return odd != n;
}

static int ref_emit(struct emitter *e, unsigned int level, uint32_t ref, uint32_t *ret_word);

static uint32_t leaf_emit(const struct emitter *e, uint32_t leaf)
{
	return e->leaf_word ? e->leaf_word[leaf] : leaf;
}

int dag_skip_add(struct compiler *c, const struct sluice_skip *skip, uint32_t *ret_word)
{
	size_t first;
	int r = words_node(c, sizeof(*skip) / sizeof(uint32_t), &first);

	if (r)
		return r;
	memcpy(c->words.items + first, skip, sizeof(*skip));
	*ret_word = SLUICE_TRIE_CHILD | (uint32_t)(first / WORDS_NODE);
	return 0;
}

/* One skip for as many levels as are skips of the same leaf. */
static int skip_emit(struct emitter *e, unsigned int level, uint32_t ref, uint32_t *ret_word)
{
	struct dag *d = e->dag;
	struct sluice_skip skip = {};
	uint32_t leaf, digit, other;
	int r = 0;

	if (!node_is_skip(&d->level[level], ref, &other, &digit))
		return -ENOENT;
	do {
		skip.bits += d->level[level].stride;
		skip.value |= (uint64_t)digit << (64 - skip.bits);
		ref = node_refs(&d->level[level], ref)[digit];
		level++;
	} while (ref & DAG_NODE && node_is_skip(&d->level[level], ref, &leaf, &digit) && leaf == other &&
		 skip.bits + d->level[level].stride <= 64);
	skip.other = leaf_emit(e, other);
	r = ref_emit(e, level, ref, &skip.equal);
	return r ? r : dag_skip_add(e->compiler, &skip, ret_word);
}

static int branch_emit(struct emitter *e, unsigned int level, uint32_t ref, uint32_t *ret_word)
{
	struct dag_level *l = &e->dag->level[level];
	size_t i, first, n = (size_t)1 << l->stride;
	uint32_t word;
	int r = words_node(e->compiler, n, &first);

	for (i = 0; i < n && !r; i++) {
		r = ref_emit(e, level + 1, node_refs(l, ref)[i], &word);
		if (!r)
			e->compiler->words.items[first + i] = word;
	}
	*ret_word = SLUICE_TRIE_CHILD | l->stride << SLUICE_TRIE_STRIDE | (uint32_t)(first / WORDS_NODE);
	return r;
}

static int ref_emit(struct emitter *e, unsigned int level, uint32_t ref, uint32_t *ret_word)
{
	struct dag_level *l = &e->dag->level[level];
	uint32_t *known;
	int r;

	if (!(ref & DAG_NODE)) {
		*ret_word = leaf_emit(e, ref);
		return 0;
	}
	known = &l->words[ref & ~DAG_NODE];
	if (!*known) {
		r = skip_emit(e, level, ref, known);
		if (r == -ENOENT)
			r = branch_emit(e, level, ref, known);
		if (r)
			return r;
	}
	*ret_word = *known;
	return 0;
}

int dag_emit(struct dag *d, struct compiler *c, const uint32_t *leaf_word, unsigned int level, uint32_t ref,
	     uint32_t *ret_word)
{
	struct emitter e = {d, c, leaf_word};
	unsigned int i;

	for (i = 0; i < d->levels; i++) {
		if (!d->level[i].words)
			d->level[i].words = calloc(d->level[i].count + 1, sizeof(*d->level[i].words));
		if (!d->level[i].words)
			return -ENOMEM;
	}
	return ref_emit(&e, level, ref, ret_word);
}
