// SPDX-License-Identifier: Apache-2.0
/* `sluice help`: everything comes from the table of commands. */
#include <stdio.h>

#include "cli/cli.h"

static void print_all(void)
{
	const struct cli_command *c;

	printf("sluice: a software DPU: network policy, flows and NVMe/TCP on the kernel's own offload engine.\n\n"
	       "usage: sluice [--root DIR] [--state-dir DIR] [--verbose] COMMAND ...\n\n"
	       "  --root DIR        pinned folder of the instance, default " DATAPLANE_ROOT "\n"
	       "  --state-dir DIR   folder of the histories of applied policies, default /var/lib/sluice\n"
	       "  --verbose         say what is tried, libraries' messages included\n\n");
	for (c = cli_commands; c->name; c++)
		printf("  %-10s %s\n", c->name, c->line);
	printf("\n`sluice help COMMAND` explains one. Exit status: 0 fine, 1 the answer is no, 2 wrong usage or a "
	       "rejected policy,\n"
	       "3 the kernel or the system refused.\n");
}

int cmd_help(int argc, char **argv)
{
	const struct cli_command *c;

	if (argc > 2)
		return cli_usage("help", "takes one command");
	if (argc < 2) {
		print_all();
		return EXIT_FINE;
	}
	c = cli_find(argv[1]);
	if (!c)
		return cli_usage("help", "no command %s; `sluice help` lists them", argv[1]);
	printf("sluice %s: %s\n\nusage: sluice %s %s\n\n", c->name, c->line, c->name, c->usage);
	if (!c->text)
		return c->run(2, (char *[]){(char *)c->name, (char *)"--help", NULL});
	printf("%s", c->text);
	return EXIT_FINE;
}
