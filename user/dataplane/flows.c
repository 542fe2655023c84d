// SPDX-License-Identifier: Apache-2.0
/*
 * Iteration over what grows with traffic: live flows and steered queues. Called by status, plan and tests.
 *
 * The flow table is read through shared memory while the kernel half writes it: a flow counts if its tag was live
 * before and after it was copied. One that lives throughout is seen exactly once, others perhaps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

struct flow_table {
	const struct sluice_flow_bucket *buckets;
	size_t count;
};

static void flow_table_done(struct flow_table *t)
{
	if (t->buckets)
		munmap((void *)(uintptr_t)t->buckets, t->count * sizeof(*t->buckets));
}

static int flow_table_map(const struct dataplane *dp, struct error *err, struct flow_table *ret)
{
	size_t count = sluice_flow_buckets(dp->control->max_flows);
	void *p = mmap(NULL, count * sizeof(struct sluice_flow_bucket), PROT_READ, MAP_SHARED, dp->map[MAP_flows], 0);

	if (p == MAP_FAILED)
		return error_system(err, errno, "%s/flows: mmap", dp->root);
	*ret = (struct flow_table){p, count};
	return 0;
}

static struct dataplane_flow_side side_of(const struct sluice_flow_side *side)
{
	const uint64_t low = (1ull << (64 - SLUICE_FLOW_BYTES)) - 1;
	uint64_t packets = side->traffic >> SLUICE_FLOW_BYTES;

	return (struct dataplane_flow_side){
		.packets = ((uint64_t)side->packets_high * (low + 1)) + packets,
		.bytes = side->traffic & ((1ull << SLUICE_FLOW_BYTES) - 1),
	};
}

/* A past moment, of which the low 32 bits are known in units of 2^shift ns. */
static uint64_t moment(uint32_t low, int shift, uint64_t now_ns)
{
	uint32_t ago = (uint32_t)(now_ns >> shift) - low;

	return ago >> 16 == 0xffff ? now_ns : now_ns - ((uint64_t)ago << shift);
}

static void flow_decode(const struct sluice_flow *f, const uint8_t addresses6[2][16], uint64_t now_ns,
			struct dataplane_flow *ret)
{
	memset(ret, 0, sizeof(*ret));
	sluice_flow_key_of(f, addresses6, &ret->key);
	ret->begun = f->first;
	ret->seen = f->state & SLUICE_FLOW_FACTS;
	ret->rule = f->state >> SLUICE_FLOW_SLOT;
	ret->originator = !!(ret->seen & SLUICE_FLOW_SECOND);
	ret->generation = f->generation;
	ret->last_seen_ns = moment(f->last, SLUICE_FLOW_LAST_SHIFT, now_ns);
	ret->first_seen_ns = min(moment(f->first, SLUICE_FLOW_FIRST_SHIFT, now_ns), ret->last_seen_ns);
	ret->side[0] = side_of(&f->side[0]);
	ret->side[1] = side_of(&f->side[1]);
}

static bool tag_is_live(uint32_t tag)
{
	uint32_t state = tag & SLUICE_TAG_STATE;

	return state == SLUICE_TAG_LIVE || state == SLUICE_TAG_LIVE6;
}

/* The flow of one unit. False: there is none, or it ended while it was read. */
static bool flow_read(const struct sluice_flow_bucket *b, size_t unit, uint64_t now_ns, struct dataplane_flow *ret)
{
	uint32_t tag = __atomic_load_n(&b->tag[unit], __ATOMIC_ACQUIRE);
	uint8_t addresses6[2][16] = {};
	struct sluice_flow flow;

	if (!tag_is_live(tag))
		return false;
	memcpy(&flow, &b->unit[unit].flow, sizeof(flow));
	if ((tag & SLUICE_TAG_STATE) == SLUICE_TAG_LIVE6 && unit + 1 < SLUICE_FLOW_UNITS)
		memcpy(addresses6, b->unit[unit + 1].addr, sizeof(addresses6));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&b->tag[unit], __ATOMIC_RELAXED) != tag)
		return false;
	flow_decode(&flow, addresses6, now_ns, ret);
	return true;
}

int dataplane_flows(struct dataplane *dp, dataplane_flow_fn fn, void *arg, struct error *err)
{
	_cleanup_(flow_table_done) struct flow_table t = {};
	int r = flow_table_map(dp, err, &t);
	struct dataplane_flow flow;
	uint64_t now = time_now_ns();
	size_t i, unit;

	for (i = 0; !r && i < t.count; i++)
		for (unit = 0; !r && unit < SLUICE_FLOW_UNITS; unit++)
			if (flow_read(&t.buckets[i], unit, now, &flow)) {
				flow.place = (uint32_t)(i * SLUICE_FLOW_UNITS + unit);
				r = fn(arg, &flow);
			}
	return r;
}

int dataplane_flow(struct dataplane *dp, const struct sluice_flow_key *key, struct error *err,
		   struct dataplane_flow *ret_flow)
{
	_cleanup_(flow_table_done) struct flow_table t = {};
	struct sluice_flow_probe probe;
	struct dataplane_flow flow;
	int r = flow_table_map(dp, err, &t), i;
	size_t unit;

	if (r)
		return r;
	sluice_flow_probe(key, dp->control->seed[0], (uint32_t)t.count, &probe);
	for (i = 0; i < SLUICE_FLOW_PLACES; i++)
		for (unit = 0; unit < SLUICE_FLOW_UNITS; unit++)
			if (flow_read(&t.buckets[probe.bucket[i]], unit, time_now_ns(), &flow) &&
			    !memcmp(&flow.key, key, sizeof(*key))) {
				flow.place = (uint32_t)(probe.bucket[i] * SLUICE_FLOW_UNITS + unit);
				*ret_flow = flow;
				return 0;
			}
	return -ENOENT;
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
