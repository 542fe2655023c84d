// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io reserve`: persistent reservations (Base 2.0, section 8.19) from a host's side: one Register, Acquire or
 * Release, and then, always, the Report of what is in force. Called by io.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/io.h"
#include "cli/table.h"
#include "nvme/reservation_report.h"

#define REPORT_LEN  65536 /* 1,023 registered controllers */
#define IGNORE_KEY  8	  /* cdw10 */
#define CPTPL_CLEAR (2u << 30)
#define CPTPL_SET   (3u << 30)

/* What each is on the wire. */
static const struct row {
	uint8_t opcode, action;
	bool typed, persists;
} rows[] = {
	[RESERVE_REGISTER] = {NVME_IO_RESV_REGISTER, 0, false, true},
	[RESERVE_REPLACE] = {NVME_IO_RESV_REGISTER, 2, false, true},
	[RESERVE_UNREGISTER] = {NVME_IO_RESV_REGISTER, 1, false, false},
	[RESERVE_ACQUIRE] = {NVME_IO_RESV_ACQUIRE, 0, true, false},
	[RESERVE_PREEMPT] = {NVME_IO_RESV_ACQUIRE, 1, true, false},
	[RESERVE_PREEMPT_ABORT] = {NVME_IO_RESV_ACQUIRE, 2, true, false},
	[RESERVE_RELEASE] = {NVME_IO_RESV_RELEASE, 0, true, false},
	[RESERVE_CLEAR] = {NVME_IO_RESV_RELEASE, 1, false, false},
};

static int check_options(const struct io_options *o, struct error *err)
{
	const char *what = io_word_of(io_reserve_words, o->subject);
	bool typed = o->subject != RESERVE_REPORT && rows[o->subject].typed;

	if (typed != !!o->reservation_type)
		return error_set(err, EINVAL, typed ? "%s: give the reservation's --type" : "%s takes no --type", what);
	if (o->persist && (o->subject == RESERVE_REPORT || !rows[o->subject].persists))
		return error_set(err, EINVAL, "--persist goes with register and replace");
	return 0;
}

static int change(const struct io_options *o, struct lane *lane, struct error *err)
{
	const struct row *row = &rows[o->subject];
	__le64 keys[2] = {htole64(o->key), htole64(o->new_key)};
	uint32_t cdw10 = row->action | (o->ignore_key ? IGNORE_KEY : 0) | o->reservation_type << 8;
	struct path_io io = {0};

	if (row->persists)
		cdw10 |= o->persist ? CPTPL_SET : CPTPL_CLEAR;
	io.io.sqe = nvme_sqe_make(row->opcode, 0, o->nsids[0], cdw10, 0);
	io.io.data = keys;
	io.io.len = row->opcode == NVME_IO_RESV_RELEASE ? sizeof(keys[0]) : sizeof(keys);
	return lane_execute(lane, &io, err);
}

/* ---- what is in force ---- */

struct report {
	struct report_header header;
	struct report_controller
		controllers[(REPORT_LEN - sizeof(struct report_header)) / sizeof(struct report_controller)];
};

static unsigned int registered(const struct report *report)
{
	unsigned int n = report->header.n_controllers[0] | report->header.n_controllers[1] << 8;

	return min(n, (unsigned int)ARRAY_SIZE(report->controllers));
}

static int read_report(const struct io_options *o, struct lane *lane, uint32_t len, struct report *report,
		       struct error *err)
{
	struct path_io io = {
		.io = {.sqe = nvme_sqe_make(NVME_IO_RESV_REPORT, 0, o->nsids[0], len / 4 - 1, RESERVATION_REPORT_EDS),
		       .data = report,
		       .len = len}};

	return lane_execute(lane, &io, err);
}

static const char *type_name(const struct report *report)
{
	return report->header.type ? io_word_of(io_reserve_types, report->header.type) : "none";
}

static void hex(const uint8_t *bytes, size_t n, char *ret_text)
{
	for (size_t i = 0; i < n; i++)
		sprintf(ret_text + 2 * i, "%02x", bytes[i]);
}

static void print_report(const struct io_options *o, const struct report *report)
{
	struct table t;
	char host[33];

	printf("namespace %u: reservation %s, generation %u, %s a restart\n", o->nsids[0], type_name(report),
	       le32toh(report->header.generation), report->header.persists ? "survives" : "ends with");
	table_start(&t, (const struct table_column[]){{"controller", .right = true},
						      {.title = "holds"},
						      {"key", .right = true},
						      {.title = "host"},
						      {}});
	for (unsigned int k = 0; k < registered(report); k++) {
		const struct report_controller *c = &report->controllers[k];

		hex(c->hostid, sizeof(c->hostid), host);
		if (le16toh(c->cntlid) == NVME_CNTLID_DYNAMIC)
			table_row(&t, "away");
		else
			table_row(&t, "%u", le16toh(c->cntlid));
		table_cell(&t, "%s", c->holds & 1 ? "yes" : "no");
		table_cell(&t, "0x%" PRIx64, (uint64_t)le64toh(c->key));
		table_cell(&t, "%s", host);
	}
	table_print(&t, stdout);
	table_done(&t);
}

static struct json_object *report_json(const struct io_options *o, const struct report *report)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	char host[33], key[24];

	json_object_object_add(root, "nsid", json_object_new_int64(o->nsids[0]));
	json_object_object_add(root, "type", json_object_new_string(type_name(report)));
	json_object_object_add(root, "generation", json_object_new_int64(le32toh(report->header.generation)));
	json_object_object_add(root, "persists", json_object_new_boolean(report->header.persists));
	for (unsigned int k = 0; k < registered(report); k++) {
		const struct report_controller *c = &report->controllers[k];
		struct json_object *entry = json_object_new_object();

		hex(c->hostid, sizeof(c->hostid), host);
		snprintf(key, sizeof(key), "0x%" PRIx64, (uint64_t)le64toh(c->key));
		json_object_object_add(entry, "cntlid", json_object_new_int(le16toh(c->cntlid)));
		json_object_object_add(entry, "holds", json_object_new_boolean(c->holds & 1));
		json_object_object_add(entry, "key", json_object_new_string(key));
		json_object_object_add(entry, "hostid", json_object_new_string(host));
		json_object_array_add(list, entry);
	}
	json_object_object_add(root, "registered", list);
	return root;
}

/* ---- the command ---- */

struct work {
	struct multipath *m;
	struct lane *lane;
	struct report *report;
};

static void work_close(struct work *w)
{
	lane_close(w->lane);
	multipath_close(w->m);
	free(w->report);
}

int io_reserve(const struct io_options *o, struct error *err)
{
	_cleanup_(work_close) struct work w = {.report = calloc(1, sizeof(*w.report))};
	uint32_t len;

	if (!w.report) {
		error_set(err, ENOMEM, "no memory for a report");
		return EXIT_SYSTEM;
	}
	if (check_options(o, err))
		return EXIT_USAGE;
	if (io_paths_open(o, 1, &w.m, err) || lane_open(w.m, 0, 1, 0, &w.lane, err))
		return EXIT_SYSTEM;
	if (o->subject != RESERVE_REPORT && change(o, w.lane, err))
		return EXIT_NO;
	len = min((uint32_t)sizeof(*w.report), multipath_max_transfer(w.m));
	if (read_report(o, w.lane, len, w.report, err))
		return EXIT_NO;
	if (o->json)
		io_print_json(report_json(o, w.report));
	else
		print_report(o, w.report);
	return EXIT_FINE;
}
