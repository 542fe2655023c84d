/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: the table row, the options before the command, and exit statuses. */
#ifndef SLUICE_CLI_CLI_H
#define SLUICE_CLI_CLI_H

#include <stdbool.h>

#include "base/error.h"
#include "dataplane/dataplane.h"
#include "policy/policy.h"

/* docs: "Exit status". */
enum cli_exit {
	EXIT_FINE = 0,
	EXIT_NO = 1,	 /* the answer is no: differences, a failed case */
	EXIT_USAGE = 2,	 /* wrong usage, or a rejected policy */
	EXIT_SYSTEM = 3, /* the kernel or the system refused */
};

/* Options before the command. */
struct cli_options {
	const char *root;      /* pinned folder; DATAPLANE_ROOT by default */
	const char *state_dir; /* folder of histories; NULL: the usual one */
	bool verbose;
};
extern struct cli_options cli_options;

/* argv[0] is the command's name; returns an enum cli_exit. */
typedef int (*cli_fn)(int argc, char **argv);

struct cli_command {
	const char *name;
	cli_fn run;
	const char *usage; /* what follows the name */
	const char *line;  /* one-line help */
	const char *text;  /* long help; NULL: it has subcommands and explains itself with --help */
};

/* The table, ended by a row without a name; main.c. */
extern const struct cli_command cli_commands[];
const struct cli_command *cli_find(const char *name);

/* "sluice: COMMAND: text" and the usage line on standard error; returns EXIT_USAGE. */
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints the error on standard error and returns the status that r (-errno) means: EINVAL and E2BIG are usage. */
int cli_fail(const char *command, int r, const struct error *err);

/*
 * Loads a policy; diagnostics go to standard error, or their number where there are too many warnings to read. Returns
 * 0 or an exit status.
 */
int cli_load_policy(const char *command, const char *path, struct policy **ret_policy);

int cmd_check(int argc, char **argv);
int cmd_apply(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_confirm(int argc, char **argv);
int cmd_rollback(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_flows(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);
int cmd_target(int argc, char **argv);
int cmd_io(int argc, char **argv);

#endif
