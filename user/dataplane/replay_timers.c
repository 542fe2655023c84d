// SPDX-License-Identifier: Apache-2.0
/* See replay_timers.h. A binary heap, so that a capture of any length costs each packet the logarithm of its flows. */
#include "dataplane/replay_timers.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 1024

static int grow(struct replay_timers *t)
{
	size_t room = t->room ? 2 * t->room : ROOM_FIRST;
	struct replay_timer *items;

	if (t->count < t->room)
		return 0;
	items = reallocarray(t->items, room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	t->items = items;
	t->room = room;
	return 0;
}

int replay_timers_add(struct replay_timers *t, uint64_t end_ns, const struct sluice_flow_key *key)
{
	const struct replay_timer timer = {end_ns, *key};
	int r = grow(t);
	size_t i;

	if (r)
		return r;
	for (i = t->count++; i && t->items[(i - 1) / 2].end_ns > end_ns; i = (i - 1) / 2)
		t->items[i] = t->items[(i - 1) / 2];
	t->items[i] = timer;
	return 0;
}

/* The last item takes the place of the first and sinks to where it belongs. */
static void remove_first(struct replay_timers *t)
{
	struct replay_timer last = t->items[--t->count];
	size_t i = 0, child;

	for (child = 1; child < t->count; child = 2 * i + 1) {
		if (child + 1 < t->count && t->items[child + 1].end_ns < t->items[child].end_ns)
			child++;
		if (t->items[child].end_ns >= last.end_ns)
			break;
		t->items[i] = t->items[child];
		i = child;
	}
	if (t->count)
		t->items[i] = last;
}

bool replay_timers_take(struct replay_timers *t, uint64_t now_ns, struct sluice_flow_key *ret_key)
{
	if (!t->count || t->items[0].end_ns > now_ns)
		return false;
	*ret_key = t->items[0].key;
	remove_first(t);
	return true;
}

void replay_timers_done(struct replay_timers *t)
{
	free(t->items);
}
