// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice rollback`: a policy of the history, applied again by the normal path; and the end of a trial, which needs
 * none of that, because the policy before it is still loaded.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/apply.h"
#include "cli/follow.h"
#include "cli/json.h"
#include "cli/table.h"

struct rollback {
	bool json;
	bool list;
	size_t back;
	uint64_t confirm_ns;
	struct dataplane *dp;
	struct dataplane_live live;
	struct history *history;
	struct history_list past;
};

static void rollback_done(struct rollback *b)
{
	dataplane_live_done(&b->live);
	history_list_done(&b->past);
	history_close(b->history);
	dataplane_close(b->dp);
}

static int rollback_open(struct rollback *b, struct error *err)
{
	struct history_live live = {};
	int r = dataplane_open(cli_options.root, err, &b->dp);

	if (!r)
		r = dataplane_live(b->dp, err, &b->live);
	if (!r)
		r = history_open(cli_options.state_dir, cli_options.root, err, &b->history);
	if (r)
		return r;
	live.generation = b->live.generation;
	memcpy(live.digest, b->live.head.digest, sizeof(live.digest));
	return history_list(b->history, &live, err, &b->past);
}

/* ------------------------------------------------------------------- the list */

static struct short_text digest_text(const uint8_t digest[32])
{
	struct short_text t;
	size_t i;

	for (i = 0; i < 6; i++)
		snprintf(t.text + 2 * i, 3, "%02x", digest[i]);
	return t;
}

static struct short_text time_text(uint64_t seconds)
{
	time_t when = (time_t)seconds;
	struct short_text t = {"?"};
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(t.text, sizeof(t.text), "%Y-%m-%d %H:%M:%S", &tm);
	return t;
}

static void list_text(const struct rollback *b)
{
	const struct history_entry *e;
	struct table t;
	size_t back;

	table_start(&t,
		    (const struct table_column[]){
			    {"back", 1}, {"applied", 0}, {"policy", 0}, {"rules", 1}, {"digest", 0}, {"from", 0}, {}});
	for (back = 0; back <= HISTORY_KEPT; back++) {
		e = history_back(&b->past, back);
		if (!e)
			continue;
		table_row(&t, back ? "%zu" : "live", back);
		table_cell(&t, "%s", time_text(e->applied).text);
		table_cell(&t, "%s", e->name);
		table_cell(&t, "%s", number_text(e->rules).text);
		table_cell(&t, "%s", digest_text(e->digest).text);
		table_cell(&t, "%s", e->source);
	}
	if (!t.n_cells)
		printf("%s holds no policy\n", history_path(b->history));
	table_print(&t, stdout);
	table_done(&t);
}

static struct json_object *entry_object(const struct history_entry *e, size_t back)
{
	struct json_object *o = json_object_new_object();

	json_add(o, "back", json_number(back));
	json_add(o, "policy", json_object_new_string(e->name));
	json_add(o, "generation", json_number(e->generation));
	json_add(o, "digest", json_hex(e->digest, sizeof(e->digest)));
	json_add(o, "applied", json_number(e->applied));
	json_add(o, "rules", json_number(e->rules));
	json_add(o, "source", json_object_new_string(e->source));
	return o;
}

static void list_json(const struct rollback *b)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	const struct history_entry *e;
	size_t back;

	for (back = 0; back <= HISTORY_KEPT; back++) {
		e = history_back(&b->past, back);
		if (e)
			json_object_array_add(list, entry_object(e, back));
	}
	json_add(o, "folder", json_object_new_string(history_path(b->history)));
	json_add(o, "policies", list);
	json_print(o);
}

/* ------------------------------------------------------------------- going back */

static int withdraw(struct rollback *b)
{
	struct dataplane_trial trial;
	struct dataplane_live live = {};
	struct error err = {};
	struct json_object *o;
	int r = dataplane_withdraw(b->dp, &err, &trial);

	if (!r)
		r = dataplane_live(b->dp, &err, &live);
	if (r == -ESTALE)
		return json_refuse(b->json, "rollback", &err);
	if (r)
		return json_fail(b->json, "rollback", r, &err);
	if (!b->json) {
		printf("the trial of generation %llu is over: %s%s in force, generation %llu\n",
		       (unsigned long long)trial.generation, live.generation ? "policy " : "no policy is",
		       live.generation ? live.head.name : "", (unsigned long long)live.generation);
	} else {
		o = json_object_new_object();
		json_add(o, "policy", json_name(live.head.name));
		json_add(o, "generation", json_number(live.generation));
		json_add(o, "digest", live.generation ? json_hex(live.head.digest, 32) : NULL);
		json_add(o, "withdrawn", json_number(trial.generation));
		json_print(o);
	}
	dataplane_live_done(&live);
	return EXIT_FINE;
}

/* A target reads the file that it was started with; what the history keeps is none. */
static void warn_of_targets(const struct policy *p, const struct history_entry *e)
{
	struct json_object *targets = p->storage.present ? follow_request(FOLLOW_ASK, e->source) : NULL;

	if (targets && json_object_array_length(targets))
		fprintf(stderr,
			"sluice: rollback: warning: running targets go on exporting what %s said when they last read "
			"it; `sluice apply` of a file tells them\n",
			e->source);
	json_object_put(targets);
}

static int go_back(struct rollback *b, const struct history_entry *e)
{
	const struct rollout_options options = {
		.root = cli_options.root,
		.state_dir = cli_options.state_dir,
		.source = e->source,
		.confirm_ns = b->confirm_ns,
	};
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(rollout_done) struct rollout rolled = {};
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct error err = {};
	struct json_object *o;
	int r = history_load(b->history, e, &err, &p, &tables);

	if (!r)
		r = rollout(p, tables, &options, &err, &rolled);
	if (r)
		return json_fail(b->json, "rollback", r == -EINVAL ? -EBADMSG : r, &err);
	warn_of_targets(p, e);
	if (!b->json) {
		apply_text("rollback", &rolled);
		return EXIT_FINE;
	}
	o = apply_json(&rolled);
	json_add(o, "back", json_number(b->back));
	json_add(o, "withdrawn", NULL);
	json_print(o);
	return EXIT_FINE;
}

static int rollback(struct rollback *b)
{
	const struct history_entry *e;
	struct error err = {};
	int r = rollback_open(b, &err);

	if (r == -ENOENT)
		return json_refuse(b->json, "rollback", &err);
	if (r)
		return json_fail(b->json, "rollback", r, &err);
	if (b->list) {
		(b->json ? list_json : list_text)(b);
		return EXIT_FINE;
	}
	if (b->back == 1 && b->live.trial.state == DATAPLANE_TRIAL_PENDING)
		return withdraw(b);
	e = b->live.generation ? history_back(&b->past, b->back) : NULL;
	if (e)
		return go_back(b, e);
	error_set(&err, ENOENT, "%s: no policy %zu back is kept there; `sluice rollback --list` shows what is",
		  history_path(b->history), b->back);
	return json_refuse(b->json, "rollback", &err);
}

int cmd_rollback(int argc, char **argv)
{
	static const struct option options[] = {{"confirm", required_argument, NULL, 'c'},
						{"json", no_argument, NULL, 'j'},
						{"list", no_argument, NULL, 'l'},
						{}};
	_cleanup_(rollback_done) struct rollback b = {.back = 1};
	struct error err = {};
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			b.json = true;
		else if (option == 'l')
			b.list = true;
		else if (option != 'c')
			return cli_usage("rollback", "unknown option");
		else if (apply_confirm_time(optarg, &b.confirm_ns, &err))
			return cli_usage("rollback", "--confirm: %s", err.text);
	}
	if (optind + 1 < argc)
		return cli_usage("rollback", "takes one number");
	if (optind < argc) {
		b.back = strtoul(argv[optind], &end, 10);
		if (*end || argv[optind][0] < '0' || argv[optind][0] > '9' || !b.back || b.back > HISTORY_KEPT)
			return cli_usage("rollback", "%s: 1 to %d policies back are kept", argv[optind], HISTORY_KEPT);
	}
	return rollback(&b);
}
