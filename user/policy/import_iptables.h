/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the iptables reader share: lines and targets, and conditions. */
#ifndef SLUICE_POLICY_IMPORT_IPTABLES_H
#define SLUICE_POLICY_IMPORT_IPTABLES_H

#include "policy/import_internal.h"

/* Where the reader stands. */
struct iptables {
	struct import *im;
	unsigned int families;
	unsigned int line;
	bool filter; /* in table filter */
	const char *table;
	const char *scope; /* table and family */
};

enum iptables_flags {
	IPTABLES_FLAGS_NONE,
	IPTABLES_FLAGS_SYN, /* a first packet */
	IPTABLES_FLAGS_NOT_SYN,
	IPTABLES_FLAGS_MALFORMED, /* none at all, or SYN and FIN */
	IPTABLES_FLAGS_OTHER,
};

/* A rule while its words are read; the service is put together at the end. */
struct iptables_rule {
	struct import *im;
	struct import_entry *entry;
	unsigned int families;
	char *word;   /* the option */
	bool negated; /* a "!" stood before it */
	bool has_protocol;
	uint8_t protocol;
	struct policy_item *ports[2]; /* conditions on source and destination ports (or types), or NULL */
	size_t n_ports[2];
	struct policy_item *either; /* --ports: source or destination */
	size_t n_either;
	enum iptables_flags flags;
	bool limited;
};

typedef char *(*iptables_word_fn)(char **at);

/* Handles rule->word, taking further words as the option needs them. */
void iptables_option(struct iptables_rule *r, char **at, iptables_word_fn next);
/* The target of -j; import_iptables.c. */
void iptables_target(struct iptables_rule *r, const char *name);
/* Puts protocol and ports into the match; false: they exclude each other. */
bool iptables_service(struct iptables_rule *r);
/* Says why the rule cannot be carried over; the first reason stays. */
void iptables_why(struct iptables_rule *r, const char *why);

#endif
