// SPDX-License-Identifier: Apache-2.0
/* `sluice detach`: the kernel as it was before the first apply. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"

static void print_json(bool detached)
{
	struct json_object *o = json_object_new_object();

	json_add(o, "root", json_object_new_string(cli_options.root));
	json_add(o, "detached", json_object_new_boolean(detached));
	json_print(o);
}

int cmd_detach(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	struct error err = {};
	bool json = false;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage("detach", "unknown option");
		json = true;
	}
	if (optind != argc)
		return cli_usage("detach", "takes no argument");
	r = dataplane_detach(cli_options.root, &err);
	if (r && r != -ENOENT)
		return json_fail(json, "detach", r, &err);
	if (json)
		print_json(!r);
	else if (r) /* what was asked for is so already */
		printf("%s\n", err.text);
	else
		printf("%s: detached\n", cli_options.root);
	return EXIT_FINE;
}
