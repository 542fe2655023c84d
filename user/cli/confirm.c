// SPDX-License-Identifier: Apache-2.0
/* `sluice confirm`: a policy that was applied on trial stays. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "control/rollout.h"

static void print_confirmed(const struct dataplane_trial *t, bool json)
{
	struct json_object *o;

	if (!json) {
		printf("generation %llu stays in force\n", (unsigned long long)t->generation);
		return;
	}
	o = json_object_new_object();
	json_add(o, "confirmed", json_object_new_boolean(true));
	json_add(o, "generation", json_number(t->generation));
	json_add(o, "previous", json_number(t->previous));
	json_print(o);
}

int cmd_confirm(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	struct dataplane_trial trial;
	struct error err = {};
	bool json = false;
	int option, r;

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
	print_confirmed(&trial, json);
	if (rollout_settled(dp, cli_options.root, cli_options.state_dir, &err))
		fprintf(stderr, "sluice: confirm: warning: %s\n", err.text);
	return EXIT_FINE;
}
