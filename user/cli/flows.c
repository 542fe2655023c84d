// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice flows`: pictures of the live flow table, and the end of flows that somebody does not want. Every picture
 * takes the live policy's names anew, so that it is right across an apply; a flow that lives throughout is in it
 * exactly once.
 */
#include "cli/flows.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/table.h"

#define LINES_AROUND 3 /* titles, totals, and the cursor */

/* ------------------------------------------------------------------- a picture */

struct picture {
	const struct flows_options *options;
	const struct flow_names *names;
	struct flow_memory *memory;
	struct flow_list list;
	struct flow_totals totals;
	struct flows_text *text; /* NULL: as JSON, or only counted */
};

static void picture_done(struct picture *p)
{
	flow_list_done(&p->list);
	flows_text_freep(&p->text);
}

static void picture_row(struct picture *p, const struct flow_row *row)
{
	if (p->options->json)
		flows_json_row(p->names, row, p->memory->now_ns, !p->totals.shown);
	else
		flows_text_row(p->text, row);
	p->totals.shown++;
}

static int picture_flow(void *arg, const struct dataplane_flow *flow)
{
	struct picture *p = arg;
	struct flow_row row = {.flow = *flow};
	int r;

	p->totals.live++;
	if (!flow_filter_matches(&p->options->filter, p->names, flow))
		return 0;
	p->totals.matched++;
	if (p->options->count || (!p->list.order && p->totals.shown == p->list.limit))
		return 0;
	r = flow_memory_rate(p->memory, p->options->watch_ns, flow, &row.rate);
	if (r)
		return r;
	if (p->list.order)
		return flow_list_add(&p->list, &row);
	picture_row(p, &row);
	return ferror(stdout) ? -EIO : 0;
}

/* What a watched terminal shows fits on it, unless it was said how many are wanted. */
static uint64_t picture_limit(const struct flows_options *o)
{
	unsigned int lines = o->watch_ns && o->limit == FLOWS_ALL && !o->json ? flows_text_lines() : 0;

	return !lines ? o->limit : lines > LINES_AROUND ? lines - LINES_AROUND : 1;
}

static int picture_begin(struct picture *p)
{
	const struct flows_options *o = p->options;
	const struct flows_text_options text = {
		.rate = o->watch_ns || (o->order && o->order == flow_order_find("rate")),
		.redraw = o->watch_ns && flows_text_lines(),
		.watch_ns = o->watch_ns,
	};

	flow_memory_next(p->memory, time_now_ns());
	p->list = (struct flow_list){
		.order = o->order, .reverse = o->reverse, .limit = picture_limit(o), .now_ns = p->memory->now_ns};
	if (o->count)
		return 0;
	if (!o->json)
		return flows_text_begin(p->names, &text, p->memory->now_ns, &p->text);
	flows_json_begin(p->names);
	return 0;
}

static void picture_end(struct picture *p)
{
	const struct flows_options *o = p->options;
	size_t i;

	flow_list_finish(&p->list);
	for (i = 0; i < p->list.count; i++)
		picture_row(p, &p->list.rows[i]);
	if (o->count && o->json)
		flows_json_count(p->names, &p->totals);
	else if (o->count)
		printf("%llu\n", (unsigned long long)p->totals.matched);
	else if (o->json)
		flows_json_end(&p->totals);
	else
		flows_text_end(p->text, &p->totals);
	fflush(stdout);
}

static int names_bind(struct dataplane *dp, struct flows_options *o, struct error *err, struct flow_names *names)
{
	int r = flow_names_get(dp, o->filter.kinds & 1u << FLOW_TEST_SEGMENT, err, names);

	return r ? r : flow_filter_bind(&o->filter, names, err);
}

static int picture_take(struct dataplane *dp, struct flows_options *o, struct flow_memory *memory, struct error *err)
{
	_cleanup_(flow_names_done) struct flow_names names = {};
	_cleanup_(picture_done) struct picture p = {.options = o, .names = &names, .memory = memory};
	int r = names_bind(dp, o, err, &names);

	if (!r)
		r = picture_begin(&p);
	if (!r)
		r = dataplane_flows(dp, picture_flow, &p, err);
	if (r == -ENOMEM && !err->text[0])
		return error_set(err, ENOMEM, "flows: out of memory; --limit N needs less");
	if (r)
		return r;
	picture_end(&p);
	return ferror(stdout) ? error_set(err, EIO, "standard output cannot be written") : 0;
}

/* Until SIGINT or SIGTERM, which wait for the picture to be whole. */
static int watch(struct dataplane *dp, struct flows_options *o, struct flow_memory *memory, struct error *err)
{
	struct timespec pause = {(time_t)(o->watch_ns / NSEC_PER_SEC), (long)(o->watch_ns % NSEC_PER_SEC)};
	sigset_t ends;
	int r;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	if (flows_text_lines() && !o->json && !o->count)
		printf("\033[2J");
	do {
		r = picture_take(dp, o, memory, err);
	} while (!r && sigtimedwait(&ends, NULL, &pause) < 0);
	return r;
}

static int list(struct dataplane *dp, struct flows_options *o, struct error *err)
{
	_cleanup_(flow_memory_done) struct flow_memory memory = {};

	return o->watch_ns ? watch(dp, o, &memory, err) : picture_take(dp, o, &memory, err);
}

/* ------------------------------------------------------------------- cutting */

struct cutter {
	const struct flows_options *options;
	const struct flow_names *names;
	struct dataplane *dp;
	struct error *err;
	uint64_t matched, cut, ended;
};

static int cut_flow(void *arg, const struct dataplane_flow *flow)
{
	struct cutter *c = arg;
	int r;

	if (dataplane_flow_state(flow) == FLOW_CUT || !flow_filter_matches(&c->options->filter, c->names, flow))
		return 0;
	c->matched++;
	if (c->options->dry_run)
		return 0;
	r = dataplane_cut(c->dp, flow, c->err);
	c->cut += !r;
	c->ended += r == -ENOENT;
	return r == -ENOENT ? 0 : r;
}

static void cut_json(const struct cutter *c)
{
	struct json_object *o = json_object_new_object();

	json_add(o, "dry_run", json_object_new_boolean(c->options->dry_run));
	json_add(o, "matched", json_number(c->matched));
	json_add(o, "cut", json_number(c->cut));
	json_add(o, "ended", json_number(c->ended));
	json_print(o);
}

static void cut_text(const struct cutter *c)
{
	const char *flows = c->matched == 1 ? "flow" : "flows";

	if (!c->matched)
		printf("no flow matches\n");
	else if (c->options->dry_run)
		printf("%s %s would be cut\n", number_text(c->matched).text, flows);
	else if (c->ended)
		printf("%s %s cut; %s had ended meanwhile\n", number_text(c->cut).text, flows,
		       number_text(c->ended).text);
	else
		printf("%s %s cut\n", number_text(c->cut).text, flows);
}

static int cut(struct dataplane *dp, struct flows_options *o, struct error *err, int *ret_status)
{
	_cleanup_(flow_names_done) struct flow_names names = {};
	struct cutter c = {.options = o, .names = &names, .dp = dp, .err = err};
	int r = names_bind(dp, o, err, &names);

	if (!r)
		r = dataplane_flows(dp, cut_flow, &c, err);
	if (r)
		return r;
	(o->json ? cut_json : cut_text)(&c);
	*ret_status = c.matched ? EXIT_FINE : EXIT_NO;
	return 0;
}

/* ------------------------------------------------------------------- the command */

static void options_done(struct flows_options *o)
{
	flow_filter_done(&o->filter);
}

int cmd_flows(int argc, char **argv)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	_cleanup_(options_done) struct flows_options o = {};
	int status = EXIT_FINE, r;
	struct error err = {};

	if (flows_options_parse(argc, argv, &o, &err))
		return cli_usage("flows", "%s", err.text);
	r = dataplane_open(cli_options.root, &err, &dp);
	if (!r)
		r = o.cut ? cut(dp, &o, &err, &status) : list(dp, &o, &err);
	return r ? json_fail(o.json, "flows", r, &err) : status;
}
