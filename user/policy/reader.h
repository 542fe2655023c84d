/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading nodes into structs by tables of fields: every unknown key, wrong type and value out of range becomes a
 * diagnostic, and reading goes on. Internal to user/policy.
 */
#ifndef SLUICE_POLICY_READER_H
#define SLUICE_POLICY_READER_H

#include "policy/array.h"
#include "policy/document.h"
#include "policy/model.h"

enum name_kind { NAME_TENANT, NAME_SEGMENT, NAME_SERVICE, NAME_RULE, NAME_KINDS };

/* Names of one kind, over all files. The nodes that declare them own the text. */
struct name_table {
	struct hash_index index;
	struct name_entry {
		const struct node *node;
		size_t id;
	} * entries;
	size_t n_entries;
};

struct reader {
	struct policy *policy;
	struct policy_diagnostics *diagnostics;
	bool wrong;	 /* an error was found: the policy must not be used */
	int failed;	 /* -ENOMEM once memory ran out, else 0 */
	bool incomplete; /* a file was unreadable: what is undefined here may be defined there, and is not reported */
	struct name_table names[NAME_KINDS];
};

void reader_done(struct reader *r);

/* Notes an error at a node. */
void reader_error(struct reader *r, const struct node *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void reader_warning(struct reader *r, const struct node *at, const char *text);

/* array_add() that notes a lack of memory in r->failed. */
void *reader_add(struct reader *r, void *items, size_t *count, size_t size);
char *reader_strdup(struct reader *r, const char *text);

struct field;
typedef void (*field_read_fn)(struct reader *r, const struct field *f, const struct node *value, void *at);

/* One key of a mapping. */
struct field {
	const char *key;
	field_read_fn read; /* NULL: POLICY.md has it, this version has not; refused */
	size_t offset;	    /* of what `at` points to, in the struct that is filled */
	bool required;
	const void *arg; /* of the read function */
};

/* A key whose value goes to a member; further designated initialisers may follow. */
#define FIELD(name, function, type, member, ...)                                                                       \
	{                                                                                                              \
		.key = name, .read = function, .offset = offsetof(type, member), ##__VA_ARGS__                         \
	}
#define REQUIRED .required = true
/* A key whose read function gets the whole struct; a key that is refused. */
#define FIELD_WHOLE(name, function)                                                                                    \
	{                                                                                                              \
		.key = name, .read = function                                                                          \
	}
#define FIELD_NOT_YET(name)                                                                                            \
	{                                                                                                              \
		.key = name                                                                                            \
	}

/*
 * Reads a mapping by a table that ends with a NULL key. `what` is its noun ("rule"). False: not a mapping at all,
 * nothing was read.
 */
bool reader_mapping(struct reader *r, const struct node *node, const char *what, const struct field *fields, void *at);

/* False, with an error, unless the node is of that kind. `what` is the noun. */
bool reader_is_list(struct reader *r, const struct node *node, const char *what);
/* The text of a scalar, or NULL with an error. */
const char *reader_scalar(struct reader *r, const struct node *node, const char *what);
/* The text of an IPv4 or IPv6 address, or NULL with an error. */
const char *reader_address(struct reader *r, const struct node *node, const char *what);

/* Read functions for struct field. */
void read_node(struct reader *r, const struct field *f, const struct node *value, void *at);   /* const struct node * */
void read_bool(struct reader *r, const struct field *f, const struct node *value, void *at);   /* bool */
void read_choice(struct reader *r, const struct field *f, const struct node *value, void *at); /* int; arg: choices */
void read_number(struct reader *r, const struct field *f, const struct node *value,
		 void *at); /* uint32_t; arg: bounds */
void read_duration(struct reader *r, const struct field *f, const struct node *value, void *at); /* uint64_t, ns */
void read_text(struct reader *r, const struct field *f, const struct node *value, void *at);	 /* char *, owned */

void read_tenant(struct reader *r, const struct field *f, const struct node *value, void *at); /* uint32_t */

struct choice {
	const char *name; /* NULL ends the table */
	int value;	  /* CHOICE_NOT_YET: known to the language, not to this version */
};
#define CHOICE_NOT_YET (-1)

struct bounds {
	uint64_t low;
	uint64_t high;
};

/*
 * One thing or a list of them, as in `from: a` and `from: [a, b]`: calls each() for every scalar (or every mapping, if
 * mappings is true). Nothing is called for an empty list, which is an error.
 */
typedef void (*each_fn)(struct reader *r, const struct node *node, void *arg);
void reader_each(struct reader *r, const struct node *node, const char *what, bool mappings, each_fn each, void *arg);

#define NAME_UNDEFINED SIZE_MAX

/* Makes the text of a node the name of number `id`; false, with an error, if it is no name or taken. */
bool reader_declare(struct reader *r, enum name_kind kind, const struct node *at, size_t id);

/* The number that this very node declared, or NAME_UNDEFINED. */
size_t reader_declared(const struct reader *r, enum name_kind kind, const struct node *at);

bool reader_knows(const struct reader *r, enum name_kind kind, const char *name);

/* The number that a scalar refers to, or NAME_UNDEFINED with an error that suggests a near name. */
size_t reader_find(struct reader *r, enum name_kind kind, const struct node *at);

/* Parts of the language: yaml_network.c, yaml_rules.c, yaml_storage.c, yaml_hosts.c, yaml_limits.c. */
void read_tenants(struct reader *r, const struct node *node);
void declare_segments(struct reader *r, const struct node *node);
void read_segments(struct reader *r, const struct node *node);
void read_services(struct reader *r, const struct node *node);
void read_failsafe(struct reader *r, const struct node *node);
void read_interfaces(struct reader *r, const struct node *node);
void read_rules(struct reader *r, const struct node *node);
void read_conntrack(struct reader *r, const struct node *node);
void read_storage(struct reader *r, const struct node *node);
void read_transport(struct reader *r, const struct node *node); /* a mapping under storage: */
/* yaml_ana.c: names of portals, `ana` of a subsystem, `referrals`. */
void read_portal_name(struct reader *r, const struct node *node, const struct policy_storage *storage,
		      struct policy_portal *portal);
void read_ana(struct reader *r, const struct node *node, const struct policy_storage *storage,
	      struct policy_subsystem *s);
void check_ana(struct reader *r, const struct node *node, const struct policy_subsystem *s);
void read_referrals(struct reader *r, const struct node *node, struct policy_storage *storage);
void read_hosts(struct reader *r, const struct node *node, struct policy_subsystem *s);
/* Keys and portals of TLS are of no use without each other. */
void check_tls(struct reader *r, const struct policy_storage *storage);
void read_limits(struct reader *r, const struct node *node); /* likewise */

/* `from` or `to`, as `what` says: names of segments and literals. */
void read_side(struct reader *r, const struct node *node, const char *what, struct policy_side *side);

/* False, with an error, unless the node is an NQN. `what` is the key. */
bool reader_nqn(struct reader *r, const struct node *node, const char *what);

/* A prefix or service item from a node into the array; errors are noted. */
void reader_add_prefix(struct reader *r, const struct node *node, struct policy_prefix **prefixes, size_t *count);
void reader_add_item(struct reader *r, const struct node *node, struct policy_item **items, size_t *count);

#endif
