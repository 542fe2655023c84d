/* SPDX-License-Identifier: Apache-2.0 */
/* YAML text → a tree of nodes that know where they stand. Knows nothing of policies. Internal to user/policy. */
#ifndef SLUICE_POLICY_DOCUMENT_H
#define SLUICE_POLICY_DOCUMENT_H

#include "policy/policy.h"

#define DOCUMENT_DEPTH_MAX 16		/* levels of nesting; the language needs 7 */
#define DOCUMENT_BYTES_MAX (256u << 20) /* of one file */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAPPING };

/* Children are in file order; a mapping has its keys at even, their values at odd positions. */
struct node {
	enum node_kind kind;
	struct policy_place place;
	char *text; /* of a scalar, unescaped, never NULL there */
	struct node *children;
	size_t n_children;
};

/*
 * Parses one document. `file` must outlive the tree. On a syntax error, an anchor, alias, tag or a second document:
 * -EINVAL, and diagnostics has the places. -ENOMEM.
 */
int document_parse(const char *file, const char *text, size_t length, struct policy_diagnostics *d,
		   struct node *ret_root);
void document_free(struct node *root);

#endif
