// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice replay`: a capture through the programs, one packet after the other. All that can be wrong with policy,
 * options and the head of the file is found before the kernel is asked for anything.
 */
#include "cli/replay.h"

#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void report_done(struct replay_report *r)
{
	free(r->rules);
	free(r->audits);
}

enum sluice_verdict replay_verdict(const struct sluice_replay_result *r)
{
	return r->audited ? SLUICE_PASS : (enum sluice_verdict)r->verdict;
}

/* The entry that a live interface of this name would get; a glob may also be named as it is written. */
static int interface_find(const struct policy *p, const char *name, struct error *err, size_t *ret_interface)
{
	char names[256] = "";
	size_t used = 0, i;

	for (i = 0; i < p->n_interfaces; i++) {
		const struct policy_interface *one = &p->interfaces[i];

		if (!name || !strcmp(one->name, name) || (one->is_glob && !fnmatch(one->name, name, 0))) {
			*ret_interface = i;
			return 0;
		}
		if (used < sizeof(names) - 80)
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%.64s", i ? ", " : "",
						 one->name);
	}
	if (!p->n_interfaces)
		return error_set(err, EINVAL, "policy %s names no interface; add `interfaces:`", p->name);
	return error_set(err, EINVAL, "policy %s has no interface %s; it has: %s", p->name, name, names);
}

static void report_add(struct replay_report *report, const struct capture_packet *p,
		       const struct sluice_replay_result *r)
{
	uint32_t i;

	if (!report->packets++)
		report->first_ns = p->time_ns;
	report->last_ns = p->time_ns > report->last_ns ? p->time_ns : report->last_ns;
	report->bytes += p->wire_length;
	report->verdicts[replay_verdict(r)]++;
	report->audited += r->audited;
	report->truncated += p->length < p->wire_length;
	report->reasons[r->reason]++;
	if (r->slot < report->tables->n_rules)
		report->rules[r->slot]++;
	for (i = 0; i < r->n_audits; i++)
		report->audits[r->audits[i]]++;
}

static int replay_packets(struct dataplane_replay *replay, struct capture *capture, const struct replay_options *o,
			  struct replay_report *report, struct error *err)
{
	struct sluice_replay_result result;
	struct capture_packet p;
	int more, r = 0;

	while (!r && (more = capture_next(capture, err, &p)) > 0) {
		const struct dataplane_replay_packet packet = {
			.time_ns = p.time_ns,
			.frame = p.frame,
			.length = p.length,
			.wire_length = p.wire_length,
			.outgoing = p.outgoing,
		};

		r = dataplane_replay_packet(replay, &packet, err, &result);
		if (r)
			break;
		report_add(report, &p, &result);
		if (!o->summary)
			(o->json ? replay_print_json : replay_print_text)(report, &p, &result);
	}
	if (!r)
		r = more;
	return r ? r : dataplane_replay_flows(replay, err, &report->flows);
}

static int replay(const struct policy *p, const struct replay_options *o, struct error *err)
{
	_cleanup_(dataplane_replay_closep) struct dataplane_replay *instance = NULL;
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(capture_closep) struct capture *capture = NULL;
	_cleanup_(report_done) struct replay_report report = {.policy = p, .file = o->file, .has_hosts = o->n_hosts};
	struct dataplane_replay_options options = {.policy = p, .hosts = o->hosts, .n_hosts = o->n_hosts};
	int r;

	r = interface_find(p, o->interface, err, &options.interface);
	if (!r)
		r = capture_open(o->file, err, &capture);
	if (!r)
		r = policy_compile(p, err, &tables);
	if (r)
		return r;
	options.tables = tables;
	report.tables = tables;
	report.interface = p->interfaces[options.interface].name;
	report.rules = calloc(tables->n_rules, sizeof(*report.rules));
	report.audits = calloc(tables->n_rules, sizeof(*report.audits));
	if (!report.rules || !report.audits)
		return error_set(err, ENOMEM, "%s: out of memory", o->file);
	r = dataplane_replay_open(&options, err, &instance);
	if (!r)
		r = replay_packets(instance, capture, o, &report, err);
	if (!r)
		(o->json ? replay_summary_json : replay_summary_text)(&report);
	return r;
}

static int host_add(struct replay_options *o, const char *text)
{
	struct error err = {};

	if (o->n_hosts == SLUICE_REPLAY_HOSTS)
		return cli_usage("replay", "at most %d addresses with --host", SLUICE_REPLAY_HOSTS);
	if (policy_query_address(text, o->hosts[o->n_hosts], &err))
		return cli_usage("replay", "--host: %s", err.text);
	o->n_hosts++;
	return 0;
}

static int parse_options(int argc, char **argv, struct replay_options *o)
{
	static const struct option options[] = {
		{"interface", required_argument, NULL, 'i'},
		{"host", required_argument, NULL, 'h'},
		{"summary", no_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{},
	};
	int option, r = 0;

	while (!r && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			o->interface = optarg;
			break;
		case 'h':
			r = host_add(o, optarg);
			break;
		case 's':
			o->summary = true;
			break;
		case 'j':
			o->json = true;
			break;
		default:
			r = cli_usage("replay", "unknown option");
		}
	}
	if (!r && optind + 2 != argc)
		r = cli_usage("replay", "takes a policy and a capture");
	if (r)
		return r;
	o->policy = argv[optind];
	o->file = argv[optind + 1];
	return 0;
}

int cmd_replay(int argc, char **argv)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct replay_options o = {};
	struct error err = {};
	int r = parse_options(argc, argv, &o);

	if (r)
		return r;
	r = cli_load_policy("replay", o.policy, &p);
	if (r)
		return r;
	r = replay(p, &o, &err);
	return r ? cli_fail("replay", r, &err) : EXIT_FINE;
}
