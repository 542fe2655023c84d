/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule sets of other filters → a policy in sluice's language. Text in, text out. What cannot be carried over exactly is
 * left out and named; nothing is ever allowed that the original did not allow, with the exceptions that docs/import.md
 * lists and that the result's notes name.
 */
#ifndef SLUICE_POLICY_IMPORT_H
#define SLUICE_POLICY_IMPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum import_format { IMPORT_AUTO, IMPORT_CLASSBENCH, IMPORT_IPTABLES, IMPORT_NFT };

/* What ClassBench rules do: sets have no actions. Alternate: the first of two allows, the second denies. */
enum import_action { IMPORT_ALLOW, IMPORT_DENY, IMPORT_ALTERNATE };

struct import_options {
	enum import_format format;
	enum import_action action;
	const char *file;  /* what the text is called in the policy's head */
	const char *name;  /* of the policy */
	const char *chain; /* base chain to import; NULL: by the documented rule */
	char **interfaces; /* the policy's, and those that rules with an interface are held against */
	size_t n_interfaces;
	char **addresses; /* this host's own, to tell what INPUT judges from what FORWARD does; prefixes */
	size_t n_addresses;
};

/* A line that was left out. Text and why never NULL. */
struct import_dropped {
	unsigned int line; /* from 1 */
	const char *text;
	const char *why; /* fact and remedy */
	bool widens;	 /* it denied or led elsewhere: without it, later rules may allow more than they did */
};

struct import_memory;

/* Zero-initialise; import_result_done() frees all that it points to. */
struct import_result {
	char *policy; /* YAML */
	enum import_format format;
	size_t lines;	/* rules of the input */
	size_t carried; /* of them */
	size_t rules;	/* of the policy */
	struct import_dropped *dropped;
	size_t n_dropped;
	const char **notes; /* what was changed on the way without leaving a line out */
	size_t n_notes;
	struct import_memory *memory;
};

/*
 * -EINVAL: unknown or broken format, or a choice that only the caller can make; err says which. -E2BIG: more rules than
 * a policy can have. -ENOMEM.
 */
int import_text(const struct import_options *o, const char *text, size_t length, struct error *err,
		struct import_result *ret_result);
void import_result_done(struct import_result *r);

/* "classbench", "iptables", "nft". */
const char *import_format_name(enum import_format format);

#endif
