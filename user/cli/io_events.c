// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io events`: asynchronous events of a controller as they come, one line each, with the log page that each
 * names: reading it is also what lets the controller tell the next of the kind. Called by io.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/io.h"

#define ALL_EVENTS (NVME_OAES_NS_ATTR | NVME_OAES_ANA | NVME_OAES_DISCOVERY)

/* By type and information (Base 2.0, figures 146 to 151). */
static const struct io_word event_words[] = {
	{"namespace-changed", 0x0002}, {"firmware-starting", 0x0102},  {"ana-changed", 0x0302},
	{"discovery-changed", 0xf002}, {"reservation-notice", 0x0006}, {NULL, 0},
};

/* The discovery log is what `sluice io discover` prints; here its change alone is told, and a look at it is enough. */
static int read_page(struct initiator *i, uint8_t lid, struct json_object **ret_page, struct error *err)
{
	uint8_t header[1024] __attribute__((aligned(8)));

	*ret_page = NULL;
	if (lid == NVME_LID_DISCOVERY)
		return initiator_log(i, lid, 0, header, sizeof(header), err);
	return io_log_read(i, lid, ret_page, err);
}

static int tell(struct initiator *i, const struct io_options *o, uint32_t result, struct error *err)
{
	const char *name = io_word_of(event_words, result & 0xff07);
	uint8_t lid = result >> 16 & 0xff;
	struct json_object *event, *page;
	int r = read_page(i, lid, &page, err);

	if (r)
		return r;
	event = json_object_new_object();
	json_object_object_add(event, "event", json_object_new_string(name));
	json_object_object_add(event, "type", json_object_new_int(result & 7));
	json_object_object_add(event, "info", json_object_new_int(result >> 8 & 0xff));
	json_object_object_add(event, "lid", json_object_new_int(lid));
	json_object_object_add(event, "page", page);
	if (o->json)
		puts(json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		printf("%s%s%s\n", name, page ? " " : "",
		       page ? json_object_to_json_string_ext(page, JSON_C_TO_STRING_NOSLASHESCAPE) : "");
	fflush(stdout); /* who follows it by a pipe wants it now */
	json_object_put(event);
	return 0;
}

/* One event; 0 also when the time is over, with *ret_told false. */
static int next_event(struct initiator *i, const struct io_options *o, uint64_t until, bool *ret_told,
		      struct error *err)
{
	/* static: it is the queue's until the connection ends, which is after this has returned */
	static struct initiator_io request;
	int r;

	*ret_told = false;
	request = (struct initiator_io){.sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, 0, 0, 0, 0)};
	r = initiator_queue_submit(initiator_admin(i), &request);
	if (r)
		return error_system(err, -r, "submit");
	while (!r && !request.finished && time_now_ns() < until) {
		r = initiator_queue_poll(initiator_admin(i), true, err);
		if (!r)
			r = initiator_tend(i, err);
	}
	if (r || !request.finished)
		return r;
	*ret_told = true;
	r = initiator_io_check(&request, o->target.addr.text, true, err);
	return r ? r : tell(i, o, (uint32_t)request.result, err);
}

int io_events(const struct io_options *o, struct error *err)
{
	_cleanup_(io_closep) struct initiator *i = NULL;
	uint64_t until = time_now_ns() + o->time_ns;
	bool told;
	int r;

	if (initiator_open(&o->target, &i, err) ||
	    initiator_set_events(i, initiator_controller(i)->oaes & ALL_EVENTS, err))
		return EXIT_SYSTEM;
	do
		r = next_event(i, o, until, &told, err);
	while (!r && told);
	return r ? EXIT_NO : EXIT_FINE;
}
