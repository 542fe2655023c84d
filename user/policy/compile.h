/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the compiler share. In order: sets (what addresses and services rules name) → classes and trie
 * (each tenant's addresses) → services (ports) → verdicts (pairs of classes). Internal to user/policy.
 */
#ifndef SLUICE_POLICY_COMPILE_H
#define SLUICE_POLICY_COMPILE_H

#include "policy/array.h"
#include "policy/ranges.h"

#define COMPILE_WORDS_MAX  (64u << 20) /* words of one table: 256 MiB */
#define COMPILE_BLOCKS_MAX (64u << 20) /* blocks of rule sets: memory of the compiler, not of the tables */

#define SET_ANY	 UINT32_MAX
#define SET_NONE (UINT32_MAX - 1)

/* ------------------------------------------------------------------------ sets */

/* One distinct set of addresses that some rule or antispoof list names. */
struct address_set {
	struct ranges ranges;
	uint8_t digest[32];
};

struct address_sets {
	struct address_set *items;
	size_t count;
	struct hash_index by_digest;
	uint32_t *of_segment; /* the set of each segment alone, or SET_NONE */
};

/* One distinct service: items in normal form, and later the service classes that lie in it. */
struct service_set {
	struct policy_item *items;
	size_t n_items;
	uint8_t digest[32];
	uint32_t *classes; /* ascending */
	size_t n_classes;
};

struct service_sets {
	struct service_set *items;
	size_t count;
	struct hash_index by_digest;
	uint32_t *of_service; /* the set of each service alone, or SET_NONE; SET_ANY if it has an item `any` */
};

/*
 * A set of rules as the non-zero 64-bit blocks of a bitmap, ascending: bit k of `bits` is rule index * 64 + k. All sets
 * of a collection share one array of blocks.
 */
struct rule_block {
	uint32_t index;
	uint64_t bits;
};

struct rule_sets {
	struct rule_block *blocks;
	size_t n_blocks;
	size_t blocks_capacity;
	struct rule_span {
		size_t first; /* in blocks */
		size_t count;
	} * sets;
	size_t count;
};

/* The classes of one tenant's addresses as sources and as destinations, each with the rules that name it there. */
struct tenant_classes {
	struct rule_sets sources;
	struct rule_sets dests;
	size_t first_source; /* number of its first source class among those of all tenants */
};

/* A table of words under construction. */
struct words {
	const char *name;
	uint32_t *items;
	size_t count;
	size_t capacity;
};

struct digest;

struct compiler {
	const struct policy *policy;
	struct error *err;
	size_t words_max;
	struct policy_tables *tables;
	struct address_sets addresses;
	struct service_sets services;
	uint32_t *rule_service; /* service set of each rule, or SET_ANY */
	uint64_t *rule_hash;	/* identity so far */
	struct tenant_classes *tenants;
	size_t n_sources;
	size_t dest_classes; /* the most that any tenant has */
	size_t service_classes;
	size_t classes_capacity;
	struct hash_index pages4, pages6; /* pages of the tries by content */
	struct words prefix4, prefix6, ports, service_words, pairs, verdicts, audits;
	struct digest *digest; /* of the whole policy */
};

/* policy_compile() with another limit, for tests and the fuzzer. */
int policy_compile_limited(const struct policy *p, size_t words_max, struct error *err,
			   struct policy_tables **ret_tables);

/* Appends `more` zero words; *ret_first is the first. -E2BIG with c->err, -ENOMEM. */
int words_add(struct compiler *c, struct words *w, size_t more, size_t *ret_first);

/* sets.c */
int sets_begin(struct compiler *c);
void sets_done(struct compiler *c);
int address_set_add(struct compiler *c, const size_t *segments, size_t count, uint16_t tenant, uint32_t *ret_set);
int service_set_add(struct compiler *c, const struct policy_rule *rule, uint32_t *ret_set);

/* rulesets.c */
/* Appends the set bits of a bitmap of n words as one set. */
int rule_sets_add(struct compiler *c, struct rule_sets *s, const uint64_t *bitmap, size_t n);
int rule_sets_add_blocks(struct compiler *c, struct rule_sets *s, const struct rule_block *blocks, size_t count);
void rule_sets_done(struct rule_sets *s);

/* classes.c: addresses of one tenant → classes, rule sets, tries. */
int classes_compile(struct compiler *c, uint16_t tenant);

/* services.c: → protocols, ports, services, service_set.classes. */
int services_compile(struct compiler *c);

/* verdicts.c: → pairs, verdicts, audits. */
int verdicts_compile(struct compiler *c);

/* trie.c */
struct interval {
	address_t last; /* the first follows from the interval before */
	uint32_t class;
};

/* Intervals cover the whole family in ascending order; *ret_root is a trie word. */
int trie_build(struct compiler *c, struct words *w, struct hash_index *pages, const struct interval *intervals,
	       size_t count, unsigned int bits, uint32_t *ret_root);

/* sweep.c */
struct sweep {
	struct sweep_edge {
		address_t at;
		uint32_t element;
		uint32_t on;
	} * edges;
	size_t count;
	size_t capacity;
};

struct sweep_ops {
	void (*toggle)(void *arg, uint32_t element, bool on);
	/* The toggles so far hold from `first` to `last`. Non-zero ends the sweep. */
	int (*interval)(void *arg, address_t first, address_t last);
};

int sweep_add(struct sweep *s, uint32_t element, struct range range);
int sweep_run(struct sweep *s, address_t last, const struct sweep_ops *ops, void *arg);
void sweep_done(struct sweep *s);

/* The elements that are on, in no order: adding and removing in O(1). */
struct active {
	uint32_t *members;
	uint32_t *position; /* of each element in members */
	uint32_t count;
	struct fingerprint fingerprint;
};

int active_begin(struct active *a, size_t elements);
void active_toggle(struct active *a, uint32_t element, bool on);
void active_done(struct active *a);

/* digest.c: SHA-256 of a sequence of things. A failure is kept and returned by digest_finish(). */
struct digest *digest_new(void);
void digest_free(struct digest *d);
void digest_freep(struct digest **d);
void digest_bytes(struct digest *d, const void *data, size_t length);
void digest_number(struct digest *d, uint64_t number);
void digest_string(struct digest *d, const char *text);
int digest_finish(struct digest *d, uint8_t ret_digest[32]);
/* Everything of a policy that is not in its rules. */
void digest_policy(struct digest *d, const struct policy *p);

#endif
