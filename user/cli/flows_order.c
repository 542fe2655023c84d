// SPDX-License-Identifier: Apache-2.0
/*
 * Flows in an order, and how fast they are. The list keeps the first so many of however many are added, in room for
 * twice that. The memory holds what every place of the flow table had counted in the picture before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli/flows.h"

/* ------------------------------------------------------------------- keys */

static uint64_t since(uint64_t then_ns, uint64_t now_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

static uint64_t key_bytes(const struct flow_row *r, uint64_t now_ns)
{
	return r->flow.side[0].bytes + r->flow.side[1].bytes;
}

static uint64_t key_packets(const struct flow_row *r, uint64_t now_ns)
{
	return r->flow.side[0].packets + r->flow.side[1].packets;
}

static uint64_t key_age(const struct flow_row *r, uint64_t now_ns)
{
	return since(r->flow.first_seen_ns, now_ns);
}

static uint64_t key_idle(const struct flow_row *r, uint64_t now_ns)
{
	return since(r->flow.last_seen_ns, now_ns);
}

static uint64_t key_rate(const struct flow_row *r, uint64_t now_ns)
{
	return r->rate;
}

struct flow_order {
	const char *name;
	uint64_t (*key)(const struct flow_row *row, uint64_t now_ns);
};

/* The highest first. */
static const struct flow_order orders[] = {
	{"bytes", key_bytes}, {"packets", key_packets}, {"age", key_age}, {"idle", key_idle}, {"rate", key_rate},
};

const struct flow_order *flow_order_find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(orders); i++)
		if (!strcmp(orders[i].name, name))
			return &orders[i];
	return NULL;
}

const char *flow_order_names(void)
{
	return "bytes, packets, age, idle or rate";
}

/* ------------------------------------------------------------------- the list */

/* Equal ones as they lie in the table, so that pictures of the same flows look the same. */
static int row_compare(const void *a, const void *b, void *list)
{
	const struct flow_row *x = a, *y = b;
	const struct flow_list *l = list;
	uint64_t i = l->order->key(x, l->now_ns), k = l->order->key(y, l->now_ns);

	if (i != k)
		return (i > k) != l->reverse ? -1 : 1;
	return x->flow.place < y->flow.place ? -1 : x->flow.place > y->flow.place;
}

void flow_list_finish(struct flow_list *l)
{
	if (l->count)
		qsort_r(l->rows, l->count, sizeof(*l->rows), row_compare, l);
	l->count = (size_t)min((uint64_t)l->count, l->limit);
}

int flow_list_add(struct flow_list *l, const struct flow_row *row)
{
	struct flow_row *rows;
	size_t capacity;

	if (l->limit != FLOWS_ALL && l->count / 2 >= l->limit)
		flow_list_finish(l);
	if (l->count == l->capacity) {
		capacity = max(2 * l->capacity, (size_t)1024);
		rows = reallocarray(l->rows, capacity, sizeof(*rows));
		if (!rows)
			return -ENOMEM;
		l->rows = rows;
		l->capacity = capacity;
	}
	l->rows[l->count++] = *row;
	return 0;
}

void flow_list_done(struct flow_list *l)
{
	free(l->rows);
	l->rows = NULL;
	l->count = l->capacity = 0;
}

/* ------------------------------------------------------------------- rates */

void flow_memory_next(struct flow_memory *m, uint64_t now_ns)
{
	m->last_ns = m->now_ns;
	m->now_ns = now_ns;
	m->picture++;
}

static int memory_grow(struct flow_memory *m, uint32_t place)
{
	size_t count = max(2 * m->count, (size_t)place + 1024);
	struct flow_memory_item *items = reallocarray(m->items, count, sizeof(*items));

	if (!items)
		return -ENOMEM;
	memset(items + m->count, 0, (count - m->count) * sizeof(*items));
	m->items = items;
	m->count = count;
	return 0;
}

static uint64_t per_second(uint64_t bytes, uint64_t ns)
{
	return ns ? (uint64_t)((double)bytes * (double)NSEC_PER_SEC / (double)ns) : 0;
}

int flow_memory_rate(struct flow_memory *m, bool remember, const struct dataplane_flow *flow, uint64_t *ret_rate)
{
	uint64_t bytes = flow->side[0].bytes + flow->side[1].bytes, life = since(flow->first_seen_ns, m->now_ns);
	struct flow_memory_item *item;

	/* When it began is known to 17 ms: of a younger one nothing is said. */
	*ret_rate = life >> SLUICE_FLOW_FIRST_SHIFT ? per_second(bytes, life) : 0;
	if (!remember)
		return 0;
	if (flow->place >= m->count && memory_grow(m, flow->place))
		return -ENOMEM;
	item = &m->items[flow->place];
	if (item->seen && item->seen + 1 == m->picture && item->begun == flow->begun && bytes >= item->bytes)
		*ret_rate = per_second(bytes - item->bytes, m->now_ns - m->last_ns);
	*item = (struct flow_memory_item){bytes, flow->begun, m->picture};
	return 0;
}

void flow_memory_done(struct flow_memory *m)
{
	free(m->items);
	memset(m, 0, sizeof(*m));
}
