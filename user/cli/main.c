// SPDX-License-Identifier: Apache-2.0
/*
 * The command line: options before the command, the table of commands, and what all commands say alike. Only files of
 * this folder print to standard output.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "cli/cli.h"
#include "policy/diagnostics.h"

struct cli_options cli_options = {.root = DATAPLANE_ROOT};

const struct cli_command cli_commands[] = {
	{"check", cmd_check, "POLICY [--cases FILE] [--json]", "read a policy, report all that is wrong with it",
	 "Reads POLICY, a YAML file or a folder of them, and says everything that is wrong, each with place,\n"
	 "fact and remedy. Needs neither root nor a kernel.\n"
	 "\n"
	 "  --cases FILE   also judge the packets listed in FILE (POLICY.cases.yaml): each is\n"
	 "                 {from, to, service, verdict} and may have source-port, tenant, rule, name\n"
	 "  --json         one JSON document: {path, policy, ok, rules, diagnostics, error, cases}\n"
	 "\n"
	 "Exit status: 0 fine, 1 a case failed, 2 the policy is rejected.\n"},
	{"plan", cmd_plan, "POLICY [--json]", "what applying a policy would change",
	 "Compares POLICY with the live one: rules added (+), removed (-), changed (~) and moved (>), segments with\n"
	 "their prefixes, services, interfaces, tenants, settings; and asks the live flow table which connections\n"
	 "would be cut, by which rule. Changes nothing. The live policy's text comes from the history; where it is\n"
	 "not there, rules, mode and default are compared alone.\n"
	 "\n"
	 "  --json   one JSON document: {policy, digest, live, different, rules_only, rules, segments, services,\n"
	 "           interfaces, tenants, settings, flows}\n"
	 "\n"
	 "Exit status: 0 no difference, 1 a difference, 2 the policy is rejected, 3 cannot be compared.\n"},
	{"apply", cmd_apply, "POLICY [--confirm TIME] [--json]", "put a policy in force",
	 "Compiles POLICY, loads it into the spare bank of the kernel tables, flips, and moves the programs to the\n"
	 "interfaces that it names, in this network namespace. Until the flip nothing changes; a refused policy\n"
	 "changes nothing at all. Rules that stay the same keep their counters.\n"
	 "\n"
	 "  --confirm TIME   on trial, 1s to 24h: unless `sluice confirm` follows in time, the kernel itself goes back\n"
	 "                   to the policy before, whatever has become of this process, its shell and its connection.\n"
	 "                   Interfaces that the new policy no longer names stay attached until then, unjudged.\n"
	 "                   `sluice rollback` ends the trial at once; another apply is refused meanwhile\n"
	 "  --json           one JSON document: {policy, generation, previous, digest, mode, rules, flows,\n"
	 "                   interfaces, load_ns, flip_ns, confirm, warnings, targets}\n"
	 "\n"
	 "A running `sluice target POLICY` reads it again and adds, removes and resizes what it exports; its hosts are\n"
	 "told. A policy that names no interface is for targets alone. On trial, `sluice confirm` tells them.\n"
	 "\n"
	 "Exit status: 0 in force, 2 the policy is rejected, 3 the kernel refused.\n"},
	{"confirm", cmd_confirm, "[--json]", "keep the policy that is on trial",
	 "Ends the trial that `apply --confirm` began: the policy stays in force, and the programs come off the\n"
	 "interfaces that it does not name.\n"
	 "\n"
	 "  --json   one JSON document: {confirmed, generation, previous}\n"
	 "\n"
	 "Exit status: 0 it stays, 1 none is on trial, or its time was over.\n"},
	{"rollback", cmd_rollback, "[N] [--confirm TIME] [--list] [--json]", "go back to an earlier policy",
	 "Ends a trial at once, if there is one. Else applies the policy that was in force before the live one, or\n"
	 "the Nth before it: the last ten are kept, each once, below /var/lib/sluice.\n"
	 "\n"
	 "  --confirm TIME   on trial, as with apply\n"
	 "  --list           only say which there are\n"
	 "  --json           one JSON document: that of apply and {back, withdrawn}; with --list {folder, policies}\n"
	 "\n"
	 "Exit status: 0 in force, 1 no such policy is kept, 3 the kernel refused.\n"},
	{"show", cmd_show, "[--json]", "the live policy as YAML",
	 "Prints the live policy as it was applied, in canonical form: `sluice check` accepts it, and it has the same\n"
	 "digest. The text comes from the history and is held against the digest in the kernel.\n"
	 "\n"
	 "  --json   one JSON document: {policy, generation, digest, applied, source, rules, yaml}\n"
	 "\n"
	 "Exit status: 0 shown, 1 no policy is in force or the history does not have it, 3 it is not what was applied.\n"},
	{"status", cmd_status, "[--json]", "what is in force, and what it has counted",
	 "Shows the live policy, interfaces with the way the programs are attached, rules and reasons with counters,\n"
	 "flows, steered storage queues with the share of packets processed on the reactor's CPU, and running\n"
	 "targets.\n"
	 "\n"
	 "  --json   one JSON document: {root, abi, generation, policy, confirm, interfaces, rules, reasons, forwards, flows,\n"
	 "           answers, lost_events, queues, targets}\n"},
	{"flows", cmd_flows,
	 "[FILTER...] [--sort KEY] [--reverse] [--limit N] [--watch [SECONDS]] [--count] [--json]\n"
	 "       sluice flows --cut FILTER...|--all [--dry-run] [--json]",
	 "live flows: list, watch or end them",
	 "One line a live flow: who opened it to whom, its state, the rule that decided it, how long it has been there\n"
	 "and without a packet, and what it has counted both ways.\n"
	 "\n"
	 "Filters; of the same kind one has to fit, of different kinds all:\n"
	 "  --tenant T          \"\" is the host's\n"
	 "  --segment NAME      either end is in that segment of the live policy\n"
	 "  --rule NAME         that decided it; default: none did\n"
	 "  --state STATE       TCP: opening, established, closing (a FIN was seen), reset, cut; the others: one-way,\n"
	 "                      answered\n"
	 "  --address ADDRESS   or a prefix: of either end\n"
	 "  --port PORT         or a range, as 8000-8999: of either end\n"
	 "  --protocol NAME     tcp, udp, sctp, icmp, icmpv6, gre, 47\n"
	 "\n"
	 "  --sort KEY          bytes, packets, age, idle, rate: the highest first; otherwise as they lie in the table\n"
	 "  --reverse           the lowest first\n"
	 "  --limit N           at most so many; the last line says how many there are\n"
	 "  --watch [SECONDS]   again and again (2): a terminal is drawn over, as many as fit. The rate is that since the\n"
	 "                      last picture, otherwise that over the flow's life\n"
	 "  --count             only how many match\n"
	 "  --json              {generation, flows: [...], live, matched, shown}; with --watch one after the other\n"
	 "\n"
	 "  --cut               end the flows that match: the next TCP packet of one belongs to no flow, unless it is a\n"
	 "                      SYN; any other packet is judged as the first of a new one. Needs a filter, or --all\n"
	 "  --dry-run           only say how many\n"
	 "\n"
	 "Exit status: 0 fine, 1 there was nothing to cut, 2 wrong usage, or no such tenant, rule or segment, 3 the kernel\n"
	 "refused.\n"},
	{"explain", cmd_explain,
	 "POLICY --from ADDRESS --to ADDRESS --service ITEM [--source-port N] [--tenant T] [--all] [--json]",
	 "why a flow passes or drops",
	 "Says what POLICY does with a new flow, which rule decides, where that rule stands, and why each earlier\n"
	 "rule does not match. Needs neither root nor a kernel.\n"
	 "\n"
	 "  --service ITEM    tcp/4420, udp/53, icmp/echo-request, icmp/3.4, icmpv6/128, gre, 47\n"
	 "  --source-port N   of the packet, for rules that look at it; default 0\n"
	 "  --tenant T        the tenant that the packet is of; default the host's\n"
	 "  --all             every earlier rule; without it, of more than 24 rules those are shown whose source and\n"
	 "                    destination fit, and the others are counted by reason\n"
	 "  --json            one JSON document: {rule, file, line, from, to, service, action, default, mode,\n"
	 "                    earlier: [{rule, file, line, mismatch, why}]}, with every earlier rule; mismatch is\n"
	 "                    tenant, source, destination, service or audit (matches, but only counts)\n"
	 "\n"
	 "Exit status: 0 whatever the verdict is, 2 wrong usage or a rejected policy.\n"},
	{"replay", cmd_replay, "POLICY FILE.pcap [--interface NAME] [--host ADDRESS]... [--summary] [--json]",
	 "what a policy does with the packets of a capture",
	 "Runs every packet of FILE (pcap or pcapng; - is standard input) through the real kernel programs by test "
	 "run,\n"
	 "in order, with flow state kept between packets and time taken from the capture. Nothing live is changed or\n"
	 "needed: programs and tables are a private instance that ends with the command. Needs root.\n"
	 "\n"
	 "  --interface NAME   the policy's interface where the packets enter (default: its first)\n"
	 "  --host ADDRESS     an address of the host that the policy is for; repeat it for each. What it sends is\n"
	 "                     judged as leaving, and failsafe services are this host's only. Without it every packet\n"
	 "                     enters, unless the capture says that it left, and failsafe services are any host's\n"
	 "  --summary          no line a packet\n"
	 "  --json             one JSON object a line: {packet, verdict, reason, rule, tenant} in order, then "
	 "{summary}\n"
	 "\n"
	 "The conntrack pickup begins with the first packet. Of a packet that the capture has cut short only what is\n"
	 "there is judged, against the length it had.\n"
	 "\n"
	 "Exit status: 0 whatever the verdicts are, 2 wrong usage, a rejected policy or an unreadable capture, 3 the\n"
	 "kernel refused.\n"},
	{"import", cmd_import,
	 "FILE [--format F] [--interface NAMES] [--name NAME] [--chain C] [--address A] [--action A] [-o OUT] [--json]",
	 "turn rules of iptables, nftables or ClassBench into a policy",
	 "Reads FILE (- is standard input), writes a policy in YAML, and names every line that it could not carry\n"
	 "over, with the reason and what to do, on standard error and at the end of the policy. Never allows what\n"
	 "the original did not; docs/import.md says how each thing is carried.\n"
	 "\n"
	 "  --format F         auto, classbench, iptables (iptables-save, ip6tables-save), nft (nft -j list ruleset)\n"
	 "  --interface NAMES  the policy's interfaces; rules of one interface are carried if it is all of these\n"
	 "  --name NAME        of the policy; default: the file's\n"
	 "  --chain C          the base chain to import; default: the one at the input or forward hook that has rules\n"
	 "  --address A        this host's addresses: import INPUT for them and FORWARD for the rest\n"
	 "  --action A         of ClassBench rules, which have none: allow (default), deny, alternate\n"
	 "  -o OUT             write the policy there, not to standard output\n"
	 "  --json             {format, policy, rules, lines, carried, dropped: [{line, text, why, widens}], notes}\n"
	 "\n"
	 "Exit status: 0 all carried over, 1 something was not, 2 unreadable or no format known.\n"},
	{"events", cmd_events, "[-f] [--json]", "verdicts of rules that log",
	 "Prints logged verdicts, one line each: those waiting in the ring, or with -f also those to come.\n"
	 "Readers of one instance share the ring: each event goes to one of them.\n"
	 "\n"
	 "  --json   one JSON object a line\n"},
	{"detach", cmd_detach, "[--json]", "take all programs off and remove the pinned folder",
	 "Takes sluice's programs off every interface of this network namespace and removes the pinned folder,\n"
	 "counters and flows with it. Traffic passes unjudged from then on.\n"
	 "\n"
	 "  --json   one JSON document: {root, detached}\n"},
	{"target", cmd_target, "POLICY [--reactors LIST] [--spin DURATION] [--run-dir DIR] [--state-dir DIR] [--ready-fd N]",
	 "serve NVMe/TCP as the policy's storage section says",
	 "Serves the subsystems of POLICY's `storage:` on its portals, one pinned io_uring thread a reactor, until\n"
	 "SIGINT or SIGTERM. Where programs are applied in this network namespace, its queues are steered and\n"
	 "counted there. It follows POLICY: `sluice apply POLICY` and SIGHUP make it read it again.\n"
	 "\n"
	 "  --reactors LIST   \"2\": so many; \"0,2\" or \"2,\": these CPUs\n"
	 "  --spin DURATION   an idle reactor polls so long before it sleeps: lower latency for CPU time\n"
	 "  --run-dir DIR     folder of the control socket that `sluice status` asks\n"
	 "  --state-dir DIR   folder that keeps reservations across restarts (default SLUICE_STATE_DIR or\n"
	 "                    /var/lib/sluice)\n"
	 "  --ready-fd N      writes \"ready\" to descriptor N once it listens\n"},
	{"io", cmd_io, "SUBCOMMAND --to ADDRESS[:PORT] ...",
	 "an NVMe/TCP initiator: discover, connect, read, write, verify, bench", NULL},
	{"version", cmd_version, "[--json]", "versions, and what this kernel offers",
	 "Prints version, ABI, kernel, and probed features.\n"},
	{"help", cmd_help, "[COMMAND]", "this list, or all about a command",
	 "Explains COMMAND, or lists all commands.\n"},
	{},
};

const struct cli_command *cli_find(const char *name)
{
	const struct cli_command *c;

	for (c = cli_commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

int cli_usage(const char *command, const char *fmt, ...)
{
	const struct cli_command *c = cli_find(command);
	va_list ap;

	fprintf(stderr, "sluice: %s: ", command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (c)
		fprintf(stderr, "usage: sluice %s %s\n", c->name, c->usage);
	return EXIT_USAGE;
}

int cli_fail(const char *command, int r, const struct error *err)
{
	fprintf(stderr, "sluice: %s: %s\n", command, err && err->text[0] ? err->text : strerror(-r));
	if (r == -EPERM || r == -EACCES)
		fprintf(stderr, "sluice: %s: are you root?\n", command);
	return r == -EINVAL || r == -E2BIG || r == -ENODEV ? EXIT_USAGE : EXIT_SYSTEM;
}

static void diagnostics_done(struct policy_diagnostics *d)
{
	policy_diagnostics_done(d);
}

/* More than this would push the command's own answer out of sight. */
#define WARNINGS_MAX 16

int cli_load_policy(const char *command, const char *path, struct policy **ret_policy)
{
	_cleanup_(diagnostics_done) struct policy_diagnostics diagnostics = {};
	int r = policy_load(path, &diagnostics, ret_policy);

	if (!r && diagnostics.count > WARNINGS_MAX)
		fprintf(stderr, "sluice: %s: %s: %zu%s warnings; `sluice check` shows them\n", command, path,
			min(diagnostics.count, (size_t)DIAGNOSTICS_MAX),
			diagnostics.count > DIAGNOSTICS_MAX ? "+" : "");
	else
		policy_diagnostics_print(&diagnostics, stderr);
	if (!r)
		return 0;
	if (!diagnostics.count)
		fprintf(stderr, "sluice: %s: %s: %s\n", command, path, strerror(-r));
	return r == -ENOMEM ? EXIT_SYSTEM : EXIT_USAGE;
}

/* ------------------------------------------------------------------- the command */

static int unknown(const char *name)
{
	struct suggestion suggestion = {.word = name};
	const struct cli_command *c;

	for (c = cli_commands; c->name; c++)
		suggestion_try(&suggestion, c->name);
	if (suggestion.best)
		fprintf(stderr, "sluice: no command %s; did you mean %s?\n", name, suggestion.best);
	else
		fprintf(stderr, "sluice: no command %s; `sluice help` lists them\n", name);
	return EXIT_USAGE;
}

static bool asks_for_help(int argc, char **argv)
{
	return argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"));
}

static int run(int argc, char **argv)
{
	const struct cli_command *c = cli_find(argv[0]);

	if (!c)
		return unknown(argv[0]);
	if (asks_for_help(argc, argv))
		return cmd_help(2, (char *[]){(char *)"help", (char *)c->name, NULL});
	optind = 0; /* the command parses its own options from the start */
	return c->run(argc, argv);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'},
		{"state-dir", required_argument, NULL, 's'},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	int option, status;

	while ((option = getopt_long(argc, argv, "+vVh", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			cli_options.root = optarg;
			break;
		case 's':
			cli_options.state_dir = optarg;
			break;
		case 'v':
			cli_options.verbose = true;
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		case 'V':
			return cmd_version(1, (char *[]){(char *)"version", NULL});
		case 'h':
			return cmd_help(1, (char *[]){(char *)"help", NULL});
		default:
			fprintf(stderr,
				"usage: sluice [--root DIR] [--state-dir DIR] [--verbose] COMMAND ...; `sluice help` lists commands\n");
			return EXIT_USAGE;
		}
	}
	if (optind == argc) {
		cmd_help(1, (char *[]){(char *)"help", NULL});
		return EXIT_USAGE;
	}
	status = run(argc - optind, argv + optind);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "sluice: standard output: %s\n", strerror(errno));
		return EXIT_SYSTEM;
	}
	return status;
}
