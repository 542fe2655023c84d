// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io log`: a log page of a controller, read and taken apart; also what `sluice io events` reads after an event.
 * Called by io.c and io_events.c. Fields are read at the offsets of the specification (Base 2.0, section 5.16.1), and a
 * page that contradicts itself is an error.
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
#include "nvme/ana.h"

#define PIECE	 4096u
#define PAGE_MAX (1u << 20) /* more is a broken log */

/* ---- reading ---- */

struct page {
	struct initiator *i;
	uint8_t lid;
	uint8_t *data;
	size_t len;
};

static void page_free(struct page *p)
{
	free(p->data);
}

/* Reads on until there are at least n bytes. */
static int page_need(struct page *p, size_t n, struct error *err)
{
	int r = 0;

	if (n > PAGE_MAX)
		return error_set(err, EPROTO, "log page 0x%02x has more than %u bytes", p->lid, PAGE_MAX);
	while (p->len < n && !r) {
		uint8_t *more = realloc(p->data, p->len + PIECE);

		if (!more)
			return error_set(err, ENOMEM, "no memory for a log page of %zu bytes", n);
		p->data = more;
		r = initiator_log(p->i, p->lid, p->len, p->data + p->len, PIECE, err);
		p->len += PIECE;
	}
	return r;
}

/* A little-endian number of up to 8 bytes; the upper half of those of 16 is 0 in this universe. */
static uint64_t number_at(const struct page *p, size_t at, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int k = 0; k < bytes; k++)
		v |= (uint64_t)p->data[at + k] << 8 * k;
	return v;
}

static void add(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_int64((int64_t)min(value, (uint64_t)INT64_MAX)));
}

/* ---- pages of fields ---- */

struct field {
	const char *name;
	unsigned int offset, bytes;
};

static const struct field smart_fields[] = {
	{"critical_warning", 0, 1}, {"temperature_kelvin", 1, 2}, {"spare_percent", 3, 1},
	{"used_percent", 5, 1},	    {"units_read", 32, 8},	  {"units_written", 48, 8},
	{"host_reads", 64, 8},	    {"host_writes", 80, 8},	  {"busy_minutes", 96, 8},
	{"power_cycles", 112, 8},   {"power_on_hours", 128, 8},	  {"unsafe_shutdowns", 144, 8},
	{"media_errors", 160, 8},   {"error_entries", 176, 8},	  {NULL, 0, 0},
};
static const struct field reservation_fields[] = {
	{"count", 0, 8}, {"type", 8, 1}, {"available", 9, 1}, {"nsid", 12, 4}, {NULL, 0, 0},
};
static const struct field error_fields[] = {
	{"count", 0, 8}, {"qid", 8, 2},	  {"cid", 10, 2}, {"location", 14, 2},
	{"lba", 16, 8},	 {"nsid", 24, 4}, {NULL, 0, 0},
};

static void add_fields(struct json_object *o, const struct page *p, size_t at, const struct field *fields)
{
	for (const struct field *f = fields; f->name; f++)
		add(o, f->name, number_at(p, at + f->offset, f->bytes));
}

static int read_smart(struct page *p, struct json_object *o, struct error *err)
{
	add_fields(o, p, 0, smart_fields);
	return 0;
}

static int read_reservation(struct page *p, struct json_object *o, struct error *err)
{
	add_fields(o, p, 0, reservation_fields);
	return 0;
}

static int read_firmware(struct page *p, struct json_object *o, struct error *err)
{
	char text[9] = "";

	add(o, "active_slot", p->data[0] & 7);
	memcpy(text, p->data + 8, 8);
	for (char *c = text; *c; c++)
		*c = *c < ' ' || *c > '~' ? '?' : *c;
	json_object_object_add(o, "slot_1", json_object_new_string(text));
	return 0;
}

/* ---- pages of lists ---- */

static int read_errors(struct page *p, struct json_object *o, struct error *err)
{
	struct json_object *list = json_object_new_array();

	json_object_object_add(o, "entries", list);
	for (size_t at = 0; at + 64 <= PIECE && number_at(p, at, 8); at += 64) {
		struct json_object *entry = json_object_new_object();
		uint16_t status = (uint16_t)(number_at(p, at + 12, 2) >> 1);

		add_fields(entry, p, at, error_fields);
		add(entry, "status", status & NVME_STATUS_CODE);
		json_object_object_add(entry, "name", json_object_new_string(nvme_status_name(status)));
		json_object_array_add(list, entry);
	}
	return 0;
}

static int read_changed(struct page *p, struct json_object *o, struct error *err)
{
	struct json_object *list = json_object_new_array();

	json_object_object_add(o, "namespaces", list);
	for (size_t at = 0; at < PIECE && number_at(p, at, 4); at += 4)
		json_object_array_add(list, json_object_new_int64((int64_t)number_at(p, at, 4)));
	return 0;
}

/* Numbers 0 to 255 whose dword has bit 0. */
static struct json_object *supported(const struct page *p, size_t at)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int k = 0; k < 256; k++)
		if (p->data[at + 4 * k] & 1)
			json_object_array_add(list, json_object_new_int((int)k));
	return list;
}

static int read_supported(struct page *p, struct json_object *o, struct error *err)
{
	json_object_object_add(o, "supported", supported(p, 0));
	return 0;
}

static int read_effects(struct page *p, struct json_object *o, struct error *err)
{
	json_object_object_add(o, "admin_opcodes", supported(p, 0));
	json_object_object_add(o, "io_opcodes", supported(p, 1024));
	return 0;
}

static int read_ana(struct page *p, struct json_object *o, struct error *err)
{
	struct json_object *list = json_object_new_array();
	unsigned int groups = (unsigned int)number_at(p, 8, 2);
	size_t at = 16, n;
	int r;

	add(o, "changes", number_at(p, 0, 8));
	json_object_object_add(o, "groups", list);
	for (unsigned int g = 0; g < groups; g++, at += 32 + 4 * n) {
		struct json_object *group = json_object_new_object(), *nsids = json_object_new_array();

		json_object_array_add(list, group);
		json_object_object_add(group, "namespaces", nsids);
		r = page_need(p, at + 32, err);
		n = r ? 0 : (size_t)number_at(p, at + 4, 4);
		if (!r)
			r = page_need(p, at + 32 + 4 * n, err);
		if (r)
			return r;
		add(group, "group", number_at(p, at, 4));
		json_object_object_add(group, "state", json_object_new_string(nvme_ana_name(p->data[at + 16] & 0xf)));
		for (size_t k = 0; k < n; k++)
			json_object_array_add(nsids, json_object_new_int64((int64_t)number_at(p, at + 32 + 4 * k, 4)));
	}
	return 0;
}

/* ---- the command ---- */

static const struct reader {
	uint8_t lid;
	int (*read)(struct page *p, struct json_object *o, struct error *err);
} readers[] = {
	{NVME_LID_SUPPORTED, read_supported},
	{NVME_LID_ERROR, read_errors},
	{NVME_LID_SMART, read_smart},
	{NVME_LID_FIRMWARE, read_firmware},
	{NVME_LID_CHANGED_NS, read_changed},
	{NVME_LID_EFFECTS, read_effects},
	{NVME_LID_ANA, read_ana},
	{NVME_LID_FEATURES, read_supported},
	{NVME_LID_RESERVATION, read_reservation},
};

int io_log_read(struct initiator *i, uint8_t lid, struct json_object **ret_page, struct error *err)
{
	_cleanup_(page_free) struct page p = {.i = i, .lid = lid};
	struct json_object *o;
	int r = page_need(&p, PIECE, err);

	if (r)
		return r;
	o = json_object_new_object();
	json_object_object_add(o, "page", json_object_new_string(io_word_of(io_log_words, lid)));
	json_object_object_add(o, "lid", json_object_new_int(lid));
	for (size_t k = 0; k < ARRAY_SIZE(readers) && !r; k++)
		if (readers[k].lid == lid)
			r = readers[k].read(&p, o, err);
	if (r) {
		json_object_put(o);
		return r;
	}
	*ret_page = o;
	return 0;
}

int io_log(const struct io_options *o, struct error *err)
{
	_cleanup_(io_closep) struct initiator *i = NULL;
	struct json_object *page = NULL;

	if (initiator_open(&o->target, &i, err))
		return EXIT_SYSTEM;
	if (io_log_read(i, (uint8_t)o->subject, &page, err))
		return EXIT_NO;
	if (o->json)
		io_print_json(page);
	else
		io_print_text(page);
	return EXIT_FINE;
}
