/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sluice flows`, shared by its files: what is asked for (flows_options.c), which flows that concerns (flows_filter.c,
 * flows_names.c), in which order (flows_order.c), and two ways of saying them (flows_text.c, flows_json.c). flows.c
 * joins these.
 */
#ifndef SLUICE_CLI_FLOWS_H
#define SLUICE_CLI_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "dataplane/dataplane.h"
#include "policy/policy.h"

/* ------------------------------------------------------------------- names */

#define FLOW_NO_TENANT UINT16_MAX

/* What numbers in flows mean under the live policy; flows_names.c. */
struct flow_names {
	struct dataplane_live live;
	uint32_t *rule_of_slot; /* index in live.rules, or SLUICE_NO_RULE; owned */
	struct policy *model;	/* the live policy's text, if it was asked for; owned */
	uint16_t *model_tenant; /* number in the model of each live tenant, or FLOW_NO_TENANT; owned */
	bool tenants;		/* there are others than the host's */
};

/* `model`: also the live policy's text, from the history. */
int flow_names_get(struct dataplane *dp, bool model, struct error *err, struct flow_names *ret_names);
void flow_names_done(struct flow_names *n);
/* The rule that decided the flow; NULL: the live policy has it no more. */
const struct sluice_rule *flow_rule(const struct flow_names *n, const struct dataplane_flow *flow);
const char *flow_tenant(const struct flow_names *n, const struct dataplane_flow *flow); /* "": the host's; "?": gone */
/* Decided under another policy than the live one: the next packet asks that. */
bool flow_is_stale(const struct flow_names *n, const struct dataplane_flow *flow);

/* ------------------------------------------------------------------- filters */

enum flow_test_kind {
	FLOW_TEST_TENANT,
	FLOW_TEST_SEGMENT,
	FLOW_TEST_RULE,
	FLOW_TEST_STATE,
	FLOW_TEST_ADDRESS,
	FLOW_TEST_PORT,
	FLOW_TEST_PROTOCOL,
	FLOW_TEST_KINDS
};

struct flow_test {
	enum flow_test_kind kind;
	const char *text; /* as written */
	union {
		uint32_t number; /* tenant; counter slot of a rule; enum dataplane_flow_state; protocol */
		struct policy_prefix prefix;
		uint16_t port[2]; /* first, last */
		struct policy_addresses *addresses; /* owned */
	};
};

#define FLOW_TESTS_MAX 64

/* A flow matches if of every kind that is here one test does. */
struct flow_filter {
	struct flow_test test[FLOW_TESTS_MAX];
	size_t count;
	uint32_t kinds; /* 1 << kind */
};

/* Adds what an option says. What names something of the live policy is looked up by flow_filter_bind(). -EINVAL. */
int flow_filter_add(struct flow_filter *f, enum flow_test_kind kind, const char *text, struct error *err);
/* Looks up tenants, rules and segments, again if it is called again. -EINVAL: there is none of that name. */
int flow_filter_bind(struct flow_filter *f, const struct flow_names *n, struct error *err);
bool flow_filter_matches(const struct flow_filter *f, const struct flow_names *n, const struct dataplane_flow *flow);
void flow_filter_done(struct flow_filter *f);

/* ------------------------------------------------------------------- options */

/* A flow as it is told: with what it moves. */
struct flow_row {
	struct dataplane_flow flow;
	uint64_t rate; /* bytes a second, both directions: since the last picture, or over the flow's life */
};

struct flow_order; /* flows_order.c */

#define FLOWS_ALL UINT64_MAX

struct flows_options {
	struct flow_filter filter;
	const struct flow_order *order; /* NULL: as they lie in the table */
	bool reverse;
	uint64_t limit;	   /* FLOWS_ALL */
	uint64_t watch_ns; /* 0: once */
	bool count, json, cut, all, dry_run;
};

/* -EINVAL with err: wrong usage. The outcome is the caller's in any case: flow_filter_done(&o->filter). */
int flows_options_parse(int argc, char **argv, struct flows_options *o, struct error *err);

/* ------------------------------------------------------------------- order */

/* By name; NULL: there is none. flow_order_names() is "bytes, packets, ...". */
const struct flow_order *flow_order_find(const char *name);
const char *flow_order_names(void);

/* The first `limit` rows in an order, of all that were added. Never holds more than twice as many. */
struct flow_list {
	const struct flow_order *order;
	bool reverse;
	uint64_t limit;
	uint64_t now_ns;
	struct flow_row *rows; /* owned */
	size_t count, capacity;
};
int flow_list_add(struct flow_list *l, const struct flow_row *row); /* -ENOMEM */
void flow_list_finish(struct flow_list *l); /* what is left is in order, and no more than `limit` */
void flow_list_done(struct flow_list *l);

/* Counters of the last picture, by place; for rates between pictures. */
struct flow_memory {
	struct flow_memory_item {
		uint64_t bytes;
		uint32_t begun; /* of the flow that was there */
		uint32_t seen;	/* number of the picture, from 1 */
	} *items; /* owned */
	size_t count;
	uint32_t picture;
	uint64_t last_ns, now_ns; /* times of the last picture and of this one; 0: none */
};
void flow_memory_next(struct flow_memory *m, uint64_t now_ns); /* a picture begins */
/* The rate of a flow, seen at m->now_ns. `remember`: it is kept for the next picture; else only its life counts. */
int flow_memory_rate(struct flow_memory *m, bool remember, const struct dataplane_flow *flow, uint64_t *ret_rate);
void flow_memory_done(struct flow_memory *m);

/* ------------------------------------------------------------------- saying it */

struct flow_totals {
	uint64_t live;	  /* in the table, when the picture was taken */
	uint64_t matched; /* by the filter */
	uint64_t shown;
};

/* Rows come one by one, and end with the totals. */
struct flows_text;
struct flows_text_options {
	bool rate;	  /* a column for it */
	bool redraw;	  /* on a terminal, from its upper left corner */
	uint64_t watch_ns; /* 0: once */
};
int flows_text_begin(const struct flow_names *n, const struct flows_text_options *o, uint64_t now_ns,
		     struct flows_text **ret_text);
void flows_text_row(struct flows_text *t, const struct flow_row *row);
void flows_text_end(struct flows_text *t, const struct flow_totals *totals);
void flows_text_freep(struct flows_text **t);
unsigned int flows_text_lines(void); /* rows that fit on the terminal; 0: standard output is none */

void flows_json_begin(const struct flow_names *n);
void flows_json_row(const struct flow_names *n, const struct flow_row *row, uint64_t now_ns, bool first);
void flows_json_end(const struct flow_totals *totals);
void flows_json_count(const struct flow_names *n, const struct flow_totals *totals);

#endif
