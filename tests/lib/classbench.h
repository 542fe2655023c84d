/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule sets in the manner of ClassBench's ACL, firewall and IP-chain seeds, and packet headers that meet them. The same
 * options give the same rules on every machine. Used by the generator (tests/bench/classbench.c), tests and benches.
 */
#ifndef SLUICE_TESTS_CLASSBENCH_H
#define SLUICE_TESTS_CLASSBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One line of a set. Addresses and ports are in host order; host bits of addresses are 0. */
struct classbench_rule {
	uint32_t address[2]; /* [0] source, [1] destination */
	uint8_t length[2];
	uint16_t first[2]; /* ports */
	uint16_t last[2];
	uint8_t protocol, protocol_mask;
	uint16_t flags, flags_mask; /* of TCP; written, never judged */
};

struct classbench_header {
	uint32_t address[2];
	uint16_t port[2];
	uint8_t protocol;
};

/* ------------------------------------------------------- seeds, classbench_seeds.c */

/* A length pair: a side's length is `length` less 0 to `spread` steps. Weights are parts of their sum. */
struct classbench_lengths {
	unsigned int weight;
	uint8_t length[2];
	uint8_t spread[2];
	uint8_t step;
};

enum classbench_ports {
	PORTS_ALL,   /* WC: 0 to 65535 */
	PORTS_HIGH,  /* HI: 1024 to 65535 */
	PORTS_LOW,   /* LO: 0 to 1023 */
	PORTS_RANGE, /* AR: one of the seed's ranges, or a range of its own */
	PORTS_EXACT, /* EM: one of the seed's ports, or a port of its own */
};

struct classbench_service {
	unsigned int weight;
	uint8_t protocol, protocol_mask;
	enum classbench_ports ports[2];
};

struct classbench_port {
	unsigned int weight;
	uint16_t first, last;
};

/* One side's address tree: how likely (of 1000) a node has two children, by the byte that it is in. */
struct classbench_tree {
	unsigned int branching[4];
	double distinct; /* distinct prefixes a rule, if nothing else is asked for */
};

struct classbench_seed {
	const char *name;
	const struct classbench_lengths *lengths; /* each table ends with weight 0 */
	const struct classbench_service *services;
	const struct classbench_port *exact;
	const struct classbench_port *ranges;
	unsigned int own_ports; /* of 1000 exact ports and ranges: of the site itself, not from the tables */
	unsigned int same_tree; /* of 1000 destinations: drawn from the tree of the sources */
	unsigned int nesting;	/* prefixes of one side around another, at most */
	unsigned int flagged;	/* of 1000 TCP rules: with a condition on TCP flags */
	struct classbench_tree trees[2];
};

/* acl, fw, ipc; ended by a row without a name. */
extern const struct classbench_seed classbench_seeds[];
const struct classbench_seed *classbench_seed_find(const char *name);

/* ----------------------------------------------------------- rules and headers */

struct classbench_options {
	const struct classbench_seed *seed;
	size_t rules;
	size_t prefixes; /* aim for so many distinct prefixes, sources and destinations together; 0: as the seed has */
	uint64_t random;
};

/*
 * Distinct rules, a rule always before those that cover it wholly. *ret_rules is the caller's (free). -ERANGE: the seed
 * has not that many distinct rules. -ENOMEM.
 */
int classbench_generate(const struct classbench_options *o, struct classbench_rule **ret_rules);

bool classbench_matches(const struct classbench_rule *rule, const struct classbench_header *h);

/*
 * A header: one in ten random in every field, the others inside a rule drawn by a Pareto distribution. Returns the
 * number of the rule that it was drawn from, `count` for a random one. An earlier rule may match it too.
 */
size_t classbench_header(const struct classbench_rule *rules, size_t count, uint64_t *state,
			 struct classbench_header *ret_header);

enum classbench_action { CLASSBENCH_ALLOW, CLASSBENCH_DENY, CLASSBENCH_ALTERNATE };

/* Rules as ClassBench writes them; headers as its trace generator does: decimal fields and the rule from 1, 0 none. */
void classbench_write_rule(const struct classbench_rule *rule, FILE *out);
void classbench_write_header(const struct classbench_header *h, size_t rule, FILE *out);
/* Rule i is called r<i + 1>; allow, deny, or deny for the even ones. The default denies. */
void classbench_write_policy(const struct classbench_rule *rules, size_t count, enum classbench_action action,
			     const char *name, FILE *out);

#endif
