/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decision diagrams: functions from a key to a number, as reduced ordered graphs of multi-way nodes (Bryant,
 * "Graph-Based Algorithms for Boolean Function Manipulation", 1986, with digits for bits). Equal subgraphs exist once,
 * so equal functions have equal references, and two functions are combined in the time that their differing parts take.
 * Internal to user/policy: decide.c builds the planes of a policy with it.
 */
#ifndef SLUICE_POLICY_DAG_H
#define SLUICE_POLICY_DAG_H

#include "policy/compile.h"

#define DAG_LEVELS_MAX 16
#define DAG_NODE       0x80000000u /* a reference: set: a node of its level; clear: a leaf, the value */

/* What a pair of leaves becomes. Must be commutative, associative, idempotent, and leave a value alone that meets none. */
typedef int (*dag_combine_fn)(void *arg, uint32_t a, uint32_t b, uint32_t *ret_leaf);

struct dag {
	struct dag_level {
		unsigned int stride; /* bits of the key that the level takes */
		uint32_t *refs;	     /* nodes of 1 << stride references each */
		size_t count;	     /* nodes */
		size_t refs_capacity;
		struct dag_extent {
			uint32_t low; /* least and greatest leaf below a node */
			uint32_t high;
		} * extents;
		size_t extents_capacity;
		struct hash_index by_refs;
		uint32_t *words; /* trie word of each node once it is emitted, or 0 */
	} level[DAG_LEVELS_MAX];
	unsigned int levels;
	uint32_t none;		/* the leaf of keys that nothing was said of */
	bool minimum;		/* combine is the minimum and none the greatest leaf: whole subgraphs can be skipped */
	dag_combine_fn combine; /* unless `minimum` */
	void *arg;
	size_t n_refs; /* of all nodes */
	size_t refs_max;
	struct dag_memo *memo; /* results of dag_apply() */
	uint32_t memo_slots;   /* a power of two */
	uint32_t *scratch; /* one node a level */
};

/* A set of keys of some levels: ascending numbers, or all. */
struct dag_keys {
	const uint32_t *items;
	size_t count;
	bool all;
};

/*
 * strides[levels]; about as many functions as will be combined; at most `refs_max` references before -E2BIG.
 * dag_done() in any case.
 */
int dag_begin(struct dag *d, const unsigned int *strides, unsigned int levels, size_t functions, size_t refs_max);
void dag_done(struct dag *d);

/*
 * The function of levels [level, end) that is `inside`, a function of the levels from `end`, on the keys and `none`
 * elsewhere. The keys are numbers of as many bits as these levels take.
 */
int dag_keys(struct dag *d, unsigned int level, unsigned int end, const struct dag_keys *keys, uint32_t inside,
	     uint32_t *ret_ref);

/* Leaf by leaf combination of two functions of the levels from `level`. */
int dag_apply(struct dag *d, unsigned int level, uint32_t a, uint32_t b, uint32_t *ret_ref);

/* What a function of level 0 becomes when the levels before `end` have taken `key`. */
uint32_t dag_at(const struct dag *d, unsigned int end, uint32_t ref, uint32_t key);

/*
 * Writes what `ref`, a function of the levels from `level`, reaches into c->words, in the form of abi.h, "Tries"; what is there already is shared. `leaf_word`
 * gives the word of a leaf; NULL: itself.
 */
int dag_emit(struct dag *d, struct compiler *c, const uint32_t *leaf_word, unsigned int level, uint32_t ref,
	     uint32_t *ret_word);

/* Adds a skip to c->words; *ret_word leads to it. */
int dag_skip_add(struct compiler *c, const struct sluice_skip *skip, uint32_t *ret_word);

#endif
