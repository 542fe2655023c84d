// SPDX-License-Identifier: Apache-2.0
/* `sluice detach`: the kernel as it was before the first apply. */
#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"

int cmd_detach(int argc, char **argv)
{
	struct error err = {};
	int r;

	if (argc != 1)
		return cli_usage("detach", "takes no argument");
	r = dataplane_detach(cli_options.root, &err);
	if (r == -ENOENT) { /* what was asked for is so already */
		printf("%s\n", err.text);
		return EXIT_FINE;
	}
	if (r)
		return cli_fail("detach", r, &err);
	printf("%s: detached\n", cli_options.root);
	return EXIT_FINE;
}
