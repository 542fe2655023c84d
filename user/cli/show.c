// SPDX-License-Identifier: Apache-2.0
/* `sluice show`: the live policy as YAML, from the history, held against the digest in the kernel. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "control/history.h"

/* What is live, and where it came from. */
struct shown {
	struct dataplane_live live;
	struct history_entry entry;
	struct policy *policy;
};

static void shown_done(struct shown *s)
{
	dataplane_live_done(&s->live);
	free(s->entry.source);
	policy_free(s->policy);
}

/* -ENOENT: nothing to show. */
static int shown_get(struct error *err, struct shown *s)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(history_closep) struct history *history = NULL;
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	int r = dataplane_open(cli_options.root, err, &dp);

	if (!r)
		r = dataplane_live(dp, err, &s->live);
	if (!r && !s->live.generation)
		return error_set(err, ENOENT, "%s: no policy is in force", cli_options.root);
	if (!r)
		r = history_open(cli_options.state_dir, cli_options.root, err, &history);
	if (!r)
		r = history_find(history, s->live.head.digest, err, &s->entry);
	return r ? r : history_load(history, &s->entry, err, &s->policy, &tables);
}

static int yaml_get(const struct policy *p, char **ret_text)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	int r = out ? policy_write(p, out) : -ENOMEM;

	if (out && fclose(out) && !r)
		r = -ENOMEM;
	if (!r)
		*ret_text = TAKE_PTR(text);
	return r;
}

static void print_json(const struct shown *s, const char *yaml)
{
	struct json_object *o = json_object_new_object();

	json_add(o, "policy", json_object_new_string(s->live.head.name));
	json_add(o, "generation", json_number(s->live.generation));
	json_add(o, "digest", json_hex(s->live.head.digest, sizeof(s->live.head.digest)));
	json_add(o, "applied", json_number(s->entry.applied));
	json_add(o, "source", json_object_new_string(s->entry.source));
	json_add(o, "rules", json_number(s->live.n_rules ? s->live.n_rules - 1 : 0));
	json_add(o, "yaml", json_object_new_string(yaml));
	json_print(o);
}

int cmd_show(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(shown_done) struct shown s = {};
	_cleanup_free_ char *yaml = NULL;
	struct error err = {};
	bool json = false;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage("show", "unknown option");
		json = true;
	}
	if (optind != argc)
		return cli_usage("show", "takes no argument");
	r = shown_get(&err, &s);
	if (r == -ENOENT)
		return json_refuse(json, "show", &err);
	if (!r)
		r = yaml_get(s.policy, &yaml);
	if (r)
		return json_fail(json, "show", r == -EINVAL ? -EBADMSG : r,
				 &err); /* no policy of the caller's is wrong */
	if (json)
		print_json(&s, yaml);
	else
		fputs(yaml, stdout);
	return EXIT_FINE;
}
