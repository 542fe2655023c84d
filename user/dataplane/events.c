// SPDX-License-Identifier: Apache-2.0
/*
 * The stream of logged verdicts. The ring has one reader position for all readers: two `sluice events` share the stream
 * rather than each seeing all of it. Called by `sluice events` and tests.
 */
#include <errno.h>

#include "base/log.h"
#include "dataplane/internal.h"

struct reader {
	dataplane_event_fn fn;
	void *arg;
	const volatile bool *stop;
	int result; /* what fn returned */
};

#define STOPPED (-ECANCELED)

static int on_record(void *arg, void *data, size_t size)
{
	struct reader *r = arg;

	if (size < sizeof(struct sluice_event))
		return 0;
	r->result = r->fn(r->arg, data);
	return r->result || (r->stop && *r->stop) ? STOPPED : 0;
}

int dataplane_events(struct dataplane *dp, dataplane_event_fn fn, void *arg, int timeout_ms, const volatile bool *stop,
		     struct error *err)
{
	struct reader reader = {.fn = fn, .arg = arg, .stop = stop};
	struct ring_buffer *ring = ring_buffer__new(dp->map[MAP_events], on_record, &reader, NULL);
	int n;

	if (!ring)
		return error_system(err, errno, "%s/events: cannot read the ring", dp->root);
	do {
		n = timeout_ms ? ring_buffer__poll(ring, timeout_ms) : ring_buffer__consume(ring);
	} while ((n >= 0 || n == -EINTR) && timeout_ms < 0 && !(stop && *stop));
	ring_buffer__free(ring);
	if (reader.result)
		return reader.result;
	if (n < 0 && n != STOPPED && n != -EINTR)
		return error_system(err, -n, "%s/events: poll", dp->root);
	return 0;
}
