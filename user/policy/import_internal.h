/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the import share. A reader of one format (import_classbench.c, import_iptables.c, import_nft.c)
 * makes rules, or chains of entries that import_chain.c flattens to rules; import_write.c writes rules as YAML. All
 * memory belongs to the struct import and goes with it; a failure to get some is kept in `failed`, so that readers need
 * not pass it on.
 */
#ifndef SLUICE_POLICY_IMPORT_INTERNAL_H
#define SLUICE_POLICY_IMPORT_INTERNAL_H

#include <stdint.h>

#include "policy/import.h"
#include "policy/model.h"

enum { IMPORT_IPV4 = 1, IMPORT_IPV6 = 2, IMPORT_BOTH = 3 };

enum import_state {
	IMPORT_NEW = 1,
	IMPORT_ESTABLISHED = 2,
	IMPORT_RELATED = 4,
	IMPORT_INVALID = 8,
	IMPORT_UNTRACKED = 16,
	IMPORT_STATES = 31,
};

enum { IMPORT_FROM, IMPORT_TO };

/* A set of addresses: any, or the prefixes of `include` less those of `except`. */
struct import_side {
	bool any;
	struct policy_prefix *include;
	size_t n_include;
	struct policy_prefix *except;
	size_t n_except;
	const char *name; /* what the original called it, or NULL */
};

/* A condition on a packet: all of it must hold. */
struct import_match {
	struct import_side side[2];
	bool any_service;
	struct policy_item *items; /* one of them must fit; any_protocol with ports is possible here */
	size_t n_items;
	unsigned int families;
	unsigned int states; /* enum import_state */
};

struct import_rule {
	struct import_match match;
	const char *name; /* wanted; made usable and unique by the writer */
	unsigned int line;
	enum sluice_action action;
	bool stateless;
	bool log;
	bool audit;
	unsigned int log_every; /* seconds; 0: every packet */
};

enum import_verdict {
	IMPORT_VERDICT_NONE, /* counts, or sets something that judges nothing */
	IMPORT_VERDICT_ACCEPT,
	IMPORT_VERDICT_DROP,
	IMPORT_VERDICT_REJECT,
	IMPORT_VERDICT_JUMP,
	IMPORT_VERDICT_GOTO,
	IMPORT_VERDICT_RETURN,
	IMPORT_VERDICT_LOG,
};

struct import_entry {
	struct import_match match;
	unsigned int line;
	const char *text;
	const char *name; /* comment, or NULL */
	enum import_verdict verdict;
	const char *target; /* chain of a jump or goto */
	bool log;
	unsigned int log_every;
	const char *why; /* not NULL: cannot be carried over */
	bool syn;	 /* only packets that begin a TCP connection */
	bool built_in;	 /* sluice does it by itself */
	bool elsewhere;	 /* holds on an interface that the policy does not judge */
	bool visited;
	bool named;
};

enum import_hook {
	IMPORT_HOOK_NONE,
	IMPORT_HOOK_INPUT,
	IMPORT_HOOK_FORWARD,
	IMPORT_HOOK_INGRESS,
	IMPORT_HOOK_OUTPUT,
	IMPORT_HOOK_OTHER
};

struct import_chain {
	const char *name;  /* as --chain says it */
	const char *scope; /* table: jumps stay inside */
	enum import_hook hook;
	enum import_verdict policy;
	unsigned int families;
	struct import_entry *entries;
	size_t n_entries;
	bool on_path; /* while flattening */
};

struct import {
	const struct import_options *options;
	struct error *err;
	struct import_memory *memory;
	int failed; /* -errno, the first */
	struct import_rule *rules;
	size_t n_rules;
	struct import_chain *chains;
	size_t n_chains;
	struct import_dropped *dropped;
	size_t n_dropped;
	const char **notes;
	size_t n_notes;
	size_t lines;
	bool default_allow;
};

/* import.c: memory that lives as long as the import; NULL after a failure, which is kept. */
void *import_alloc(struct import *im, size_t size);
char *import_copy(struct import *im, const char *text, size_t length);
char *import_print(struct import *im, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *import_add(struct import *im, void *items, size_t *count, size_t size); /* array_add() that keeps the failure */
/* As error_set(); the first failure is kept. */
void import_fail(struct import *im, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void import_drop(struct import *im, unsigned int line, const char *text, const char *why, bool widens);
void import_note(struct import *im, const char *note);
struct import_rule *import_rule_add(struct import *im, const struct import_match *match, enum sluice_action action,
				    const char *name, unsigned int line);

/* import_match.c */
struct import_match import_match_any(unsigned int families);
bool import_match_is_any(const struct import_match *m); /* whatever the family */
bool import_match_equal(const struct import_match *a, const struct import_match *b);
/* What both hold for; false: nothing. */
bool import_match_both(struct import *im, const struct import_match *a, const struct import_match *b,
		       struct import_match *ret_match);
/* Adds a condition to a match; false: nothing is left. `prefixes` are copied. */
bool import_match_side(struct import *im, struct import_match *m, unsigned int side,
		       const struct policy_prefix *prefixes, size_t count, bool negated, const char *name);
bool import_match_items(struct import *im, struct import_match *m, const struct policy_item *items, size_t count);
/* Items whose ports are none of these. */
struct policy_item *import_items_negate(struct import *im, const struct policy_item *items, size_t *count);
/* A prefix whose host bits may be set; they are cleared. False: no prefix. */
bool import_prefix_read(const char *text, struct policy_prefix *ret_prefix);
/* Prefixes that cover first to last (IPv4-mapped, one family) exactly, appended. */
void import_prefixes_of_range(struct import *im, const uint8_t first[16], const uint8_t last[16],
			      struct policy_prefix **prefixes, size_t *count);

/* import_chain.c: chains → rules, unvisited lines → dropped. */
void import_flatten(struct import *im);
/* What a rule on interface `name` (a trailing + or * is a wildcard) means for the policy's interfaces. */
enum import_holds { IMPORT_HOLDS, IMPORT_HOLDS_NOT, IMPORT_HOLDS_SOMEWHERE };
enum import_holds import_interface_holds(const struct import *im, const char *name, bool negated);
extern const char import_why_interface[];

/* The readers. */
bool import_classbench_is(const char *text, size_t length);
void import_classbench_read(struct import *im, const char *text, size_t length);
bool import_iptables_is(const char *text, size_t length);
void import_iptables_read(struct import *im, const char *text, size_t length);
bool import_nft_is(const char *text, size_t length);
void import_nft_read(struct import *im, const char *text, size_t length);

/* import_write.c; *ret_text is free()d by the caller. */
int import_write(struct import *im, enum import_format format, char **ret_text);

#endif
