/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the compiler share. In order: sets (what addresses and services rules name) → classes and lines
 * (each tenant's addresses), services (ports) → decide (what rules say of classes). Internal to user/policy.
 */
#ifndef SLUICE_POLICY_COMPILE_H
#define SLUICE_POLICY_COMPILE_H

#include "policy/array.h"
#include "policy/ranges.h"

#define COMPILE_WORDS_MAX   (64u << 20)	/* of table `words`: 256 MiB a bank */
#define COMPILE_MEMBERS_MAX (128u << 20) /* entries of lists: memory of the compiler, not of the tables */
#define COMPILE_REFS_MAX    (192u << 20) /* of one plane's diagram, likewise */

#define WORDS_NODE 8 /* trie nodes begin at multiples of this */

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

/*
 * One distinct service: items in normal form, and from services.c the classes of ports that it is made of: the union of
 * its pieces, each all pairs of a destination port class and a source port class. Classes are ascending.
 */
struct service_set {
	struct policy_item *items;
	size_t n_items;
	uint8_t digest[32];
	struct service_piece {
		uint32_t *ports;
		size_t n_ports;
		uint32_t *sources;
		size_t n_sources;
		bool all_sources;
	} * pieces;
	size_t n_pieces;
};

struct service_sets {
	struct service_set *items;
	size_t count;
	struct hash_index by_digest;
	uint32_t *of_service; /* the set of each service alone, or SET_NONE; SET_ANY if it has an item `any` */
};

/* Lists of numbers, one after the other in `members`. */
struct lists {
	uint32_t *members;
	size_t n_members;
	size_t members_capacity;
	struct list_span {
		size_t first;
		size_t count;
	} * spans;
	size_t count;
};

/*
 * The addresses that a tenant's rules name on one side. Elements are the distinct sets, numbered in order of first use;
 * a class is a set of elements.
 */
struct role {
	uint32_t *element; /* of each rule of the tenant, by its place in tenant_classes.rules; or SET_ANY */
	uint32_t *sets;	   /* address set of each element */
	size_t n_elements;
	struct lists classes; /* of each class: its elements */
};

struct tenant_classes {
	uint32_t *rules; /* that hold in the tenant: ascending indices into policy.rules */
	size_t n_rules;
	struct role from;
	struct role to;
	size_t first_source; /* number of its first source class among those of all tenants */
};

/* Table `words` under construction. */
struct words {
	uint32_t *items;
	size_t count;
	size_t capacity;
};

struct digest;

/* Where things come to lie; all 0 but in tests, which want to see the rare places too. */
struct compile_shape {
	unsigned int layout; /* of planes: the first that is tried, decide.c */
	size_t padding;	     /* words before all others, a multiple of WORDS_NODE: tables lie in, and across, later pages */
};

struct compiler {
	const struct policy *policy;
	struct error *err;
	size_t words_max;
	struct compile_shape shape;
	struct policy_tables *tables;
	struct address_sets addresses;
	struct service_sets services;
	uint32_t *rule_service; /* service set of each rule, or SET_ANY */
	uint64_t *rule_hash;	/* identity so far */
	struct tenant_classes *tenants;
	size_t n_pairs; /* of a rule and a tenant that it holds in */
	size_t n_sources;
	size_t n_dests; /* destination classes: the most that any tenant has */
	size_t n_ports;	       /* destination port classes, over all protocols */
	size_t n_source_ports; /* source port classes: the most that any protocol has */
	size_t classes_capacity;
	struct words words;
	struct words lines; /* of addresses, likewise: whole lines of SLUICE_LINE_WORDS */
	struct digest *digest; /* of the whole policy */
};

/* policy_compile() with another limit, for tests and the fuzzer. */
int policy_compile_limited(const struct policy *p, size_t words_max, struct error *err,
			   struct policy_tables **ret_tables);

/* policy_compile() in another shape, for tests. -ERANGE: there is no such layout. */
int policy_compile_shaped(const struct policy *p, const struct compile_shape *shape, struct error *err,
			  struct policy_tables **ret_tables);

/* Appends `more` zero words; *ret_first is the first. -E2BIG with c->err, -ENOMEM. */
int words_add(struct compiler *c, size_t more, size_t *ret_first);
/* The same for a trie node: *ret_first is a multiple of WORDS_NODE. */
int words_node(struct compiler *c, size_t more, size_t *ret_first);

/* Appends zero lines to c->lines; *ret_first is the number of the first. Both count together against the same limit. */
int lines_add(struct compiler *c, size_t more, size_t *ret_first);

/* sets.c */
int sets_begin(struct compiler *c);
void sets_done(struct compiler *c);
int address_set_add(struct compiler *c, const size_t *segments, size_t count, uint16_t tenant, uint32_t *ret_set);
int service_set_add(struct compiler *c, const struct policy_rule *rule, uint32_t *ret_set);

/* lists.c */
int lists_add(struct compiler *c, struct lists *l, const uint32_t *members, size_t count);
/* For every member, the numbers of the lists that have it, ascending; members are below `members`. */
int lists_invert(const struct lists *l, size_t members, struct lists *ret_inverse);
void lists_done(struct lists *l);

/* classes.c: addresses of one tenant → classes, tries. sluice_class.reserved holds the source class until decide.c. */
int classes_compile(struct compiler *c, uint16_t tenant);
void tenant_classes_done(struct tenant_classes *t);

/* services.c: → protocols, port tables, service_set.pieces. */
int services_compile(struct compiler *c);
void service_set_done(struct service_set *set);

/* decide.c: → the planes of decision tries, audit lists, the rows of `classes`. */
int decide_compile(struct compiler *c);

/* lines.c */
struct interval {
	address_t last; /* the first follows from the interval before */
	uint32_t class;
};

/* Intervals cover the whole family in ascending order; *ret_root is a class, or a child in c->lines. */
int lines_build(struct compiler *c, const struct interval *intervals, size_t count, unsigned int bits,
		uint32_t *ret_root);

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
