/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the nftables reader share: tables, chains and verdicts; and conditions. */
#ifndef SLUICE_POLICY_IMPORT_NFT_H
#define SLUICE_POLICY_IMPORT_NFT_H

#include <json-c/json.h>

#include "policy/import_internal.h"

/* A set or map of the ruleset. */
struct nft_set {
	const char *scope;
	const char *name;
	struct json_object *elements; /* NULL: none */
	bool dynamic;		      /* packets add to it */
};

struct nft {
	struct import *im;
	struct nft_set *sets;
	size_t n_sets;
};

/* A rule while its expressions are read: each alternative is a match of its own, one of them must fit. */
struct nft_rule {
	struct nft *nft;
	const char *scope;
	struct nft_alternative {
		struct import_match match;
		struct json_object *verdict; /* of a verdict map */
	} * alternatives;
	size_t n_alternatives;
	const char *why; /* NULL: can be carried over so far */
	bool elsewhere;
};

/* {op, left, right} narrows every alternative. */
void nft_match(struct nft_rule *r, struct json_object *match);
/* {key, data}: every element of the map makes an alternative of each. */
void nft_verdict_map(struct nft_rule *r, struct json_object *map);

/* The member `key` of an object, or NULL. */
struct json_object *nft_member(struct json_object *o, const char *key);
const char *nft_text(struct json_object *o, const char *key);

#endif
