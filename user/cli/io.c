// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io`: the NVMe/TCP initiator as a command. This file picks the subcommand, prints help and errors, and has the
 * two that only ask, discover and connect; transfers are in io_transfer.c, the benchmark in io_bench.c.
 */
#include "cli/io.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/io_help.h"
#include "cli/table.h"

static const struct subcommand {
	const char *name;
	enum io_command command;
	int (*run)(const struct io_options *o, struct error *err);
	const char *line, *text;
} subcommands[] = {
	{"discover", IO_DISCOVER, io_discover, "list the subsystems that a target offers", io_help_discover},
	{"connect", IO_CONNECT, io_connect, "connect, say whether it works, and disconnect", io_help_connect},
	{"read", IO_READ, io_read, "copy bytes of a namespace to a file", io_help_read},
	{"write", IO_WRITE, io_write, "copy a file to a namespace", io_help_write},
	{"verify", IO_VERIFY, io_verify, "write a pattern, read it back, check every block", io_help_verify},
	{"bench", IO_BENCH, io_bench, "measure IOPS, bandwidth and latency", io_help_bench},
	{"command", IO_COMMAND, io_command, "compare, copy, zero, deallocate, verify, flush a range", io_help_command},
	{"reserve", IO_RESERVE, io_reserve, "persistent reservations", io_help_reserve},
	{"log", IO_LOG, io_log, "a log page of a controller", io_help_log},
	{"feature", IO_FEATURE, io_feature, "a feature of a controller: read it, set it", io_help_feature},
	{"events", IO_EVENTS, io_events, "asynchronous events as they come", io_help_events},
};

/* ---- discover ---- */

/* What the portal has, as a policy says it. */
static const char *tls_of(const struct nvme_discovery_entry *e)
{
	if (e->sectype == NVME_SECTYPE_NONE)
		return "none";
	return (e->treq & 3) == NVME_TREQ_SECURE ? "required" : "allowed";
}

static void print_entries(const struct io_options *o, const struct nvme_discovery_entry *entries, size_t n,
			  size_t skipped)
{
	static const char *const subtypes[] = {
		[NVME_SUBTYPE_REFERRAL] = "referral",
		[NVME_SUBTYPE_NVM] = "nvm",
		[NVME_SUBTYPE_CURRENT] = "discovery",
	};

	struct table t;

	table_start(&t, (const struct table_column[]){{.title = "type"},
						      {.title = "address"},
						      {"port", .right = true},
						      {.title = "tls"},
						      {.title = "subsystem"},
						      {}});
	for (size_t i = 0; i < n; i++) {
		const char *type = entries[i].subtype < ARRAY_SIZE(subtypes) ? subtypes[entries[i].subtype] : NULL;

		table_row(&t, "%s", type ? type : "unknown");
		table_cell(&t, "%s", entries[i].traddr);
		table_cell(&t, "%s", entries[i].trsvcid);
		table_cell(&t, "%s", tls_of(&entries[i]));
		table_cell(&t, "%s", entries[i].subnqn);
	}
	printf("%zu record%s at %s\n\n", n, n == 1 ? "" : "s", o->target.addr.text);
	table_print(&t, stdout);
	table_done(&t);
	if (skipped)
		printf("\n%zu record%s of other transports than TCP left out\n", skipped, skipped == 1 ? "" : "s");
}

void io_print_json(struct json_object *root)
{
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

void io_print_text(struct json_object *root)
{
	json_object_object_foreach(root, name, value)
	{
		if (!json_object_is_type(value, json_type_array)) {
			printf("%-22s %s\n", name, value ? json_object_get_string(value) : "-");
			continue;
		}
		for (size_t k = 0; k < json_object_array_length(value); k++)
			printf("%-22s %s\n", k ? "" : name,
			       json_object_get_string(json_object_array_get_idx(value, k)));
		if (!json_object_array_length(value))
			printf("%-22s -\n", name);
	}
	json_object_put(root);
}

static void entries_json(const struct nvme_discovery_entry *entries, size_t n, size_t skipped)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "subtype", json_object_new_int(entries[i].subtype));
		json_object_object_add(entry, "address", json_object_new_string(entries[i].traddr));
		json_object_object_add(entry, "port", json_object_new_string(entries[i].trsvcid));
		json_object_object_add(entry, "tls", json_object_new_string(tls_of(&entries[i])));
		json_object_object_add(entry, "subsystem", json_object_new_string(entries[i].subnqn));
		json_object_array_add(list, entry);
	}
	json_object_object_add(root, "records", list);
	json_object_object_add(root, "skipped", json_object_new_int64((int64_t)skipped));
	io_print_json(root);
}

int io_discover(const struct io_options *o, struct error *err)
{
	_cleanup_(io_closep) struct initiator *i = NULL;
	_cleanup_free_ struct nvme_discovery_entry *entries = NULL;
	size_t n, skipped;

	if (initiator_open(&o->target, &i, err) || initiator_discover(i, &entries, &n, &skipped, err))
		return EXIT_SYSTEM;
	if (o->json)
		entries_json(entries, n, skipped);
	else
		print_entries(o, entries, n, skipped);
	return EXIT_FINE;
}

/* ---- connect ---- */

struct found {
	uint32_t nsid;
	struct nvme_ns_view view;
	uint8_t uuid[16];
	bool has_uuid;
};

static int find_namespaces(struct initiator *i, struct found **ret_found, size_t *ret_n, struct error *err)
{
	_cleanup_free_ uint32_t *nsids = NULL;
	_cleanup_free_ struct found *found = NULL;
	size_t n;
	int r;

	r = initiator_namespaces(i, &nsids, &n, err);
	if (r)
		return r;
	found = calloc(n + 1, sizeof(*found));
	if (!found)
		return error_set(err, ENOMEM, "no memory for %zu namespaces", n);
	for (size_t k = 0; k < n; k++) {
		found[k].nsid = nsids[k];
		r = initiator_namespace(i, nsids[k], &found[k].view, err);
		if (r)
			return r;
		r = initiator_namespace_uuid(i, nsids[k], found[k].uuid, err);
		if (r && r != -ENOENT)
			return r;
		found[k].has_uuid = !r;
	}
	*ret_found = TAKE_PTR(found);
	*ret_n = n;
	return 0;
}

static const char *uuid_text(const struct found *f, char text[40])
{
	char *at = text;

	if (!f->has_uuid)
		return strcpy(text, "-");
	for (int i = 0; i < 16; i++)
		at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", f->uuid[i]);
	return text;
}

static void print_identify(struct initiator *i, const struct found *found, size_t n)
{
	const struct nvme_ctrl_view *c = initiator_controller(i);
	struct table t;
	char uuid[40];

	printf("\n  controller     %u\n  model          %s\n  serial         %s\n  firmware       %s\n", c->cntlid,
	       c->model, c->serial, c->firmware);
	printf("  NVMe version   %u.%u\n", c->version >> 16, c->version >> 8 & 0xff);
	printf("  max transfer   %s\n", c->max_transfer ? bytes_text(c->max_transfer).text : "no limit");
	printf("  in capsule     %s\n", bytes_text(c->in_capsule).text);
	printf("  queue entries  %" PRIu64 "\n", NVME_CAP_MQES(initiator_cap(i)) + 1);
	table_start(&t, (const struct table_column[]){{"namespace", .right = true},
						      {"size", .right = true},
						      {"block", .right = true},
						      {.title = "access"},
						      {.title = "uuid"},
						      {}});
	for (size_t k = 0; k < n; k++) {
		table_row(&t, "%u", found[k].nsid);
		table_cell(&t, "%s", bytes_text(found[k].view.blocks << found[k].view.block_shift).text);
		table_cell(&t, "%u", 1u << found[k].view.block_shift);
		table_cell(&t, "%s", found[k].view.readonly ? "read-only" : "read-write");
		table_cell(&t, "%s", uuid_text(&found[k], uuid));
	}
	printf("\n");
	table_print(&t, stdout);
	table_done(&t);
}

/* Optional commands that the controller offers. */
static struct json_object *commands_json(const struct nvme_ctrl_view *c)
{
	static const struct io_word oncs[] = {
		{"compare", NVME_ONCS_COMPARE},
		{"write-uncorrectable", NVME_ONCS_WRITE_UNCOR},
		{"dataset-management", NVME_ONCS_DSM},
		{"write-zeroes", NVME_ONCS_WRITE_ZEROES},
		{"reservations", NVME_ONCS_RESERVATIONS},
		{"verify", NVME_ONCS_VERIFY},
		{"copy", NVME_ONCS_COPY},
		{NULL, 0},
	};
	struct json_object *list = json_object_new_array();

	for (const struct io_word *w = oncs; w->name; w++)
		if (c->oncs & w->number)
			json_object_array_add(list, json_object_new_string(w->name));
	if (c->fuses & NVME_FUSES_COMPARE_WRITE)
		json_object_array_add(list, json_object_new_string("compare-and-write"));
	return list;
}

static void identify_json(const struct io_options *o, struct initiator *i, const struct found *found, size_t n)
{
	const struct nvme_ctrl_view *c = initiator_controller(i);
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	char uuid[40];

	json_object_object_add(root, "target", json_object_new_string(o->target.addr.text));
	json_object_object_add(root, "subsystem", json_object_new_string(o->target.subnqn));
	json_object_object_add(root, "cntlid", json_object_new_int(c->cntlid));
	json_object_object_add(root, "model", json_object_new_string(c->model));
	json_object_object_add(root, "serial", json_object_new_string(c->serial));
	json_object_object_add(root, "firmware", json_object_new_string(c->firmware));
	json_object_object_add(root, "max_transfer", json_object_new_int64((int64_t)c->max_transfer));
	json_object_object_add(root, "in_capsule", json_object_new_int64(c->in_capsule));
	json_object_object_add(root, "commands", commands_json(c));
	for (size_t k = 0; k < n; k++) {
		struct json_object *ns = json_object_new_object();

		json_object_object_add(ns, "nsid", json_object_new_int64(found[k].nsid));
		json_object_object_add(ns, "blocks", json_object_new_int64((int64_t)found[k].view.blocks));
		json_object_object_add(ns, "block", json_object_new_int64(1ll << found[k].view.block_shift));
		json_object_object_add(ns, "readonly", json_object_new_boolean(found[k].view.readonly));
		json_object_object_add(ns, "uuid", json_object_new_string(uuid_text(&found[k], uuid)));
		json_object_array_add(list, ns);
	}
	json_object_object_add(root, "namespaces", list);
	io_print_json(root);
}

int io_connect(const struct io_options *o, struct error *err)
{
	_cleanup_(io_closep) struct initiator *i = NULL;
	_cleanup_free_ struct found *found = NULL;
	struct initiator_queue_info info;
	struct initiator_queue *q;
	unsigned int granted;
	size_t n = 0;

	if (initiator_open(&o->target, &i, err) || initiator_set_queues(i, 1, &granted, err) ||
	    initiator_queue_open(i, 1, 1, &q, err))
		return EXIT_SYSTEM;
	initiator_queue_info(q, &info);
	initiator_queue_close(q);
	if ((o->identify || o->json) && find_namespaces(i, &found, &n, err))
		return EXIT_SYSTEM;
	if (o->json) {
		identify_json(o, i, found, n);
		return EXIT_FINE;
	}
	printf("connected to %s at %s, as %s\nadmin queue and one I/O queue work; header digest %s, data digest %s\n",
	       o->target.subnqn, o->target.addr.text, o->target.hostnqn, info.header_digest ? "on" : "off",
	       info.data_digest ? "on" : "off");
	if (o->identify)
		print_identify(i, found, n);
	return EXIT_FINE;
}

/* ---- the command ---- */

static void print_overview(FILE *out)
{
	fprintf(out, "sluice io SUBCOMMAND --to ADDR[:PORT] [options]: an NVMe/TCP initiator\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		fprintf(out, "  %-10s %s\n", subcommands[i].name, subcommands[i].line);
	fprintf(out,
		"\n`sluice io SUBCOMMAND --help` explains one. Nothing is mounted and no kernel module is needed.\n"
		"Exit status: 0 fine, 1 an I/O error or data that do not verify, 2 wrong usage, 3 no connection.\n");
}

static const struct subcommand *find_subcommand(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++) {
		if (!strcmp(subcommands[i].name, name))
			return &subcommands[i];
	}
	return NULL;
}

static int run(const struct subcommand *s, int argc, char **argv)
{
	struct error err = {0};
	struct io_options o;
	int status;

	if (io_options_parse(s->command, argc, argv, &o, &err)) {
		fprintf(stderr, "sluice: io %s: %s\n", s->name, err.text);
		return EXIT_USAGE;
	}
	if (o.help) {
		printf("sluice io %s: %s\n\n%s", s->name, s->line, s->text);
		io_options_help(s->command);
		return EXIT_FINE;
	}
	status = s->run(&o, &err);
	io_options_done(&o);
	if (*err.text)
		fprintf(stderr, "sluice: io %s: %s\n", s->name, err.text);
	return status;
}

int cmd_io(int argc, char **argv)
{
	const struct subcommand *s;

	if (argc < 2) {
		print_overview(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_overview(stdout);
		return EXIT_FINE;
	}
	s = find_subcommand(argv[1]);
	if (!s) {
		fprintf(stderr, "sluice: io: no subcommand '%s'; `sluice io --help` lists them\n", argv[1]);
		return EXIT_USAGE;
	}
	return run(s, argc - 1, argv + 1);
}
