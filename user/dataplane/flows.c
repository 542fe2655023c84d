// SPDX-License-Identifier: Apache-2.0
/*
 * Iteration over the two hash maps that grow with traffic: live flows and steered queues. Called by status and tests.
 * Entries come and go meanwhile: one that lives throughout is seen exactly once (batches walk whole hash buckets),
 * others perhaps.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "dataplane/internal.h"

#define FLOW_BATCH 4096

struct flow_batch {
	struct sluice_flow_key *keys;
	struct sluice_flow *flows;
	__u32 room;
};

static void flow_batch_done(struct flow_batch *b)
{
	free(b->keys);
	free(b->flows);
}

static int flow_batch_grow(struct flow_batch *b)
{
	__u32 room = b->room ? 2 * b->room : FLOW_BATCH;
	void *keys = reallocarray(b->keys, room, sizeof(*b->keys)), *flows;

	if (!keys)
		return -ENOMEM;
	b->keys = keys;
	flows = reallocarray(b->flows, room, sizeof(*b->flows));
	if (!flows)
		return -ENOMEM;
	b->flows = flows;
	b->room = room;
	return 0;
}

int dataplane_flows(struct dataplane *dp, dataplane_flow_fn fn, void *arg, struct error *err)
{
	_cleanup_(flow_batch_done) struct flow_batch b = {};
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 position = 0, *from = NULL, count, i;
	int r = flow_batch_grow(&b), end = 0;

	while (!r && !end) {
		count = b.room;
		end = bpf_map_lookup_batch(dp->map[MAP_flows], from, &position, b.keys, b.flows, &count, &opts) ? errno
														: 0;
		if (end == ENOSPC) { /* a bucket longer than the batch */
			r = flow_batch_grow(&b);
			end = 0;
			continue;
		}
		if (end && end != ENOENT)
			return error_system(err, end, "%s/flows: read", dp->root);
		for (i = 0; !r && i < count; i++)
			r = fn(arg, &b.keys[i], &b.flows[i]);
		from = &position;
	}
	return r;
}

static int queue_read(const struct dataplane *dp, const struct sluice_steer_key *key,
		      struct sluice_queue_packets *values, struct dataplane_queue *ret)
{
	struct dataplane_queue q = {.key = *key};
	int i;

	if (bpf_map_lookup_elem(dp->map[MAP_steering], key, &q.steer) ||
	    bpf_map_lookup_elem(dp->map[MAP_queue_packets], &q.steer.slot, values))
		return -errno;
	for (i = 0; i < dp->n_cpus; i++) {
		q.packets_all += values[i].packets;
		q.bytes_all += values[i].bytes;
		if ((__u32)i == q.steer.cpu)
			q.packets_there = values[i].packets;
	}
	*ret = q;
	return 0;
}

int dataplane_queues(struct dataplane *dp, dataplane_queue_fn fn, void *arg, struct error *err)
{
	_cleanup_free_ struct sluice_queue_packets *values = calloc((size_t)dp->n_cpus, sizeof(*values));
	struct sluice_steer_key key, *last = NULL;
	struct dataplane_queue queue;
	int r = 0;

	if (!values)
		return error_set(err, ENOMEM, "queues: out of memory");
	while (!r && !bpf_map_get_next_key(dp->map[MAP_steering], last, &key)) {
		last = &key;
		r = queue_read(dp, &key, values, &queue);
		if (r == -ENOENT) { /* closed since */
			r = 0;
			continue;
		}
		if (r)
			return error_system(err, -r, "%s/steering: read", dp->root);
		r = fn(arg, &queue);
	}
	return r;
}
