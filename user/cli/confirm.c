// SPDX-License-Identifier: Apache-2.0
/* `sluice confirm`: a policy that was applied on trial stays. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/json.h"
#include "control/rollout.h"

/* The file that the live policy was read from, so that targets which follow it may read it now. */
static struct json_object *tell_targets(struct dataplane *dp)
{
	_cleanup_(history_closep) struct history *history = NULL;
	struct json_object *targets = NULL;
	struct history_live live = {};
	struct dataplane_live now = {};
	struct history_list list = {};
	struct error err = {};

	if (!history_open(cli_options.state_dir, cli_options.root, &err, &history) && !dataplane_live(dp, &err, &now)) {
		live.generation = now.generation;
		memcpy(live.digest, now.head.digest, sizeof(live.digest));
		dataplane_live_done(&now);
		if (!history_list(history, &live, &err, &list) && list.has_live && list.items[0].source)
			targets = follow_request(FOLLOW_UPDATE, list.items[0].source);
		history_list_done(&list);
	}
	if (err.text[0])
		fprintf(stderr, "sluice: confirm: warning: targets were not told: %s\n", err.text);
	return targets ? targets : json_object_new_array();
}

static void print_confirmed(const struct dataplane_trial *t, struct json_object *targets, bool json)
{
	struct json_object *o;

	if (!json) {
		printf("generation %llu stays in force\n", (unsigned long long)t->generation);
		follow_print("confirm", targets);
		json_object_put(targets);
		return;
	}
	o = json_object_new_object();
	json_add(o, "confirmed", json_object_new_boolean(true));
	json_add(o, "generation", json_number(t->generation));
	json_add(o, "previous", json_number(t->previous));
	json_add(o, "targets", targets);
	json_print(o);
}

int cmd_confirm(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	struct dataplane_trial trial;
	struct json_object *targets;
	struct error err = {};
	bool json = false;
	int option, r, failures;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage("confirm", "unknown option");
		json = true;
	}
	if (optind != argc)
		return cli_usage("confirm", "takes no argument");
	r = dataplane_open(cli_options.root, &err, &dp);
	if (!r)
		r = dataplane_confirm(dp, &err, &trial);
	if (r == -ESTALE || r == -ENOENT)
		return json_refuse(json, "confirm", &err);
	if (r)
		return json_fail(json, "confirm", r, &err);
	targets = tell_targets(dp);
	failures = follow_failures(targets);
	print_confirmed(&trial, targets, json);
	if (rollout_settled(dp, cli_options.root, cli_options.state_dir, &err))
		fprintf(stderr, "sluice: confirm: warning: %s\n", err.text);
	return failures ? EXIT_SYSTEM : EXIT_FINE;
}
