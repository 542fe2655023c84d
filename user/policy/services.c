// SPDX-License-Identifier: Apache-2.0
/*
 * Services → classes of ports. For each protocol, a sweep over destination ports and one over source ports yield port
 * classes: ports that no service tells apart. Destination port classes are numbered over all protocols, so that one
 * number says protocol and port; source port classes are numbered in each protocol. Called by compile.c; leaves in every
 * service_set the products of classes that make it up.
 *
 * The two are not joined into one class of services: sets that name both ends would need the product of their ranges.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/compile.h"

#define PORTS 65536

/* One axis, destination or source ports, of one protocol. */
struct axis {
	struct compiler *compiler;
	uint32_t *class_of;   /* PORTS of them */
	struct lists classes; /* of each class: its elements */
	struct active active;
	uint32_t *depth; /* how many ranges of an element are on */
	struct fingerprint_index by_fingerprint;
};

/*
 * One protocol. Elements of the source axis are the distinct ranges of source ports; elements of the destination axis
 * are the distinct pairs of a service and such a range: an element fits a packet if its destination port lies in the
 * element and its source port in that range.
 */
struct protocol_walk {
	struct compiler *compiler;
	const struct policy_item **items;
	uint32_t *service; /* of each item */
	size_t n_items;
	uint32_t *dest_element;	   /* of each item */
	uint32_t *source_element;  /* of each item */
	uint32_t *element_service; /* of each destination element */
	uint32_t *element_source;
	bool *source_is_all; /* of each source element */
	size_t n_dest;
	size_t n_source;
	struct axis dest;
	struct axis source;
};

/* ------------------------------------------------------------------------- axes */

static int axis_begin(struct axis *a, struct compiler *c, size_t elements)
{
	a->compiler = c;
	a->class_of = calloc(PORTS, sizeof(*a->class_of));
	a->depth = calloc(elements + 1, sizeof(*a->depth));
	return a->class_of && a->depth ? active_begin(&a->active, elements) : -ENOMEM;
}

static void axis_done(struct axis *a)
{
	free(a->class_of);
	lists_done(&a->classes);
	free(a->depth);
	active_done(&a->active);
	fingerprint_index_done(&a->by_fingerprint);
}

static void axis_toggle(void *arg, uint32_t element, bool on)
{
	struct axis *a = arg;

	if (on ? a->depth[element]++ == 0 : --a->depth[element] == 0)
		active_toggle(&a->active, element, on);
}

static int axis_interval(void *arg, address_t first, address_t last)
{
	struct axis *a = arg;
	uint32_t class = fingerprint_find(&a->by_fingerprint, &a->active.fingerprint);
	uint32_t port;
	int r;

	if (class == HASH_NONE) {
		class = (uint32_t)a->classes.count;
		r = lists_add(a->compiler, &a->classes, a->active.members, a->active.count);
		if (!r)
			r = fingerprint_number(&a->by_fingerprint, &a->active.fingerprint);
		if (r)
			return r;
	}
	for (port = (uint32_t)first; port <= (uint32_t)last; port++)
		a->class_of[port] = class;
	return 0;
}

static int axis_build(struct axis *a, const struct protocol_walk *w, bool source)
{
	static const struct sweep_ops ops = {axis_toggle, axis_interval};
	_cleanup_(sweep_done) struct sweep sweep = {};
	const struct policy_item *item;
	size_t i;
	int r = axis_begin(a, w->compiler, source ? w->n_source : w->n_dest);

	for (i = 0; i < w->n_items && !r; i++) {
		item = w->items[i];
		if (source)
			r = sweep_add(&sweep, w->source_element[i],
				      (struct range){item->source_first, item->source_last});
		else
			r = sweep_add(&sweep, w->dest_element[i], (struct range){item->dest_first, item->dest_last});
	}
	return r ? r : sweep_run(&sweep, PORTS - 1, &ops, a);
}

/* --------------------------------------------------------------------- protocols */

static void protocol_done(struct protocol_walk *w)
{
	free(w->items);
	free(w->service);
	free(w->dest_element);
	free(w->source_element);
	free(w->element_service);
	free(w->element_source);
	free(w->source_is_all);
	axis_done(&w->dest);
	axis_done(&w->source);
}

static int items_collect(const struct service_sets *sets, uint8_t protocol, struct protocol_walk *w)
{
	const struct policy_item **item;
	size_t i, k, n;
	uint32_t *service;

	for (i = 0; i < sets->count; i++) {
		for (k = 0; k < sets->items[i].n_items; k++) {
			if (sets->items[i].items[k].protocol != protocol)
				continue;
			n = w->n_items;
			service = array_add(&w->service, &n, sizeof(*service));
			item = array_add(&w->items, &w->n_items, sizeof(*item));
			if (!service || !item)
				return -ENOMEM;
			*service = (uint32_t)i;
			*item = &sets->items[i].items[k];
		}
	}
	return 0;
}

/* The number of a key, the next free one if it is new. Keys are below 2^64 and hash_mix() is a bijection: exact. */
static int number_of(struct hash_index *index, uint64_t key, size_t *count, uint32_t *ret_number)
{
	uint32_t number = hash_index_find(index, hash_mix(key), NULL, NULL, NULL);

	if (number == HASH_NONE) {
		number = (uint32_t)(*count)++;
		if (hash_index_add(index, hash_mix(key), number))
			return -ENOMEM;
	}
	*ret_number = number;
	return 0;
}

static int item_number(struct protocol_walk *w, size_t i, struct hash_index *sources, struct hash_index *dests)
{
	const struct policy_item *item = w->items[i];
	uint32_t source, dest;
	int r;

	r = number_of(sources, (uint64_t)item->source_first << 16 | item->source_last, &w->n_source, &source);
	if (!r)
		r = number_of(dests, (uint64_t)w->service[i] << 32 | source, &w->n_dest, &dest);
	if (r)
		return r;
	w->source_element[i] = source;
	w->source_is_all[source] = item->source_first == 0 && item->source_last == PORTS - 1;
	w->dest_element[i] = dest;
	w->element_service[dest] = w->service[i];
	w->element_source[dest] = source;
	return 0;
}

static int elements_number(struct protocol_walk *w)
{
	struct hash_index sources = {}, dests = {};
	size_t i;
	int r = 0;

	w->dest_element = calloc(w->n_items + 1, sizeof(uint32_t));
	w->source_element = calloc(w->n_items + 1, sizeof(uint32_t));
	w->element_service = calloc(w->n_items + 1, sizeof(uint32_t));
	w->element_source = calloc(w->n_items + 1, sizeof(uint32_t));
	w->source_is_all = calloc(w->n_items + 1, sizeof(bool));
	if (!w->dest_element || !w->source_element || !w->element_service || !w->element_source || !w->source_is_all)
		return -ENOMEM;
	for (i = 0; i < w->n_items && !r; i++)
		r = item_number(w, i, &sources, &dests);
	hash_index_done(&sources);
	hash_index_done(&dests);
	return r;
}

/* ------------------------------------------------------------------------- pieces */

static struct service_piece *piece_add(struct service_set *set, bool all_sources)
{
	struct service_piece *piece;

	/* What takes every source port is one piece over all protocols. */
	if (all_sources && set->n_pieces && set->pieces[0].all_sources)
		return &set->pieces[0];
	piece = array_add(&set->pieces, &set->n_pieces, sizeof(*piece));
	if (!piece)
		return NULL;
	piece->all_sources = all_sources;
	if (!all_sources || set->n_pieces == 1)
		return piece;
	*piece = set->pieces[0]; /* first place is for that one */
	set->pieces[0] = (struct service_piece){.all_sources = true};
	return &set->pieces[0];
}

static int numbers_add(uint32_t **numbers, size_t *count, const struct lists *l, uint32_t list, uint32_t offset)
{
	const struct list_span *span = &l->spans[list];
	uint32_t *slot;
	size_t i;

	for (i = span->first; i < span->first + span->count; i++) {
		slot = array_add(numbers, count, sizeof(*slot));
		if (!slot)
			return -ENOMEM;
		*slot = l->members[i] + offset;
	}
	return 0;
}

/* Says in every service which classes of this protocol it is made of. `first`: number of its first port class. */
static int pieces_add(const struct protocol_walk *w, uint32_t first)
{
	_cleanup_(lists_done) struct lists ports = {}, sources = {};
	struct service_piece *piece;
	uint32_t element, source;
	int r;

	r = lists_invert(&w->dest.classes, w->n_dest, &ports);
	if (!r)
		r = lists_invert(&w->source.classes, w->n_source, &sources);
	for (element = 0; element < w->n_dest && !r; element++) {
		source = w->element_source[element];
		piece = piece_add(&w->compiler->services.items[w->element_service[element]], w->source_is_all[source]);
		r = piece ? numbers_add(&piece->ports, &piece->n_ports, &ports, element, first) : -ENOMEM;
		if (!r && !piece->all_sources)
			r = numbers_add(&piece->sources, &piece->n_sources, &sources, source, 0);
	}
	return r;
}

void service_set_done(struct service_set *set)
{
	size_t i;

	for (i = 0; i < set->n_pieces; i++) {
		free(set->pieces[i].ports);
		free(set->pieces[i].sources);
	}
	free(set->pieces);
	free(set->items);
}

/* ------------------------------------------------------------------------- tables */

static int table_add(const struct axis *a, uint32_t offset, uint32_t *ret_first)
{
	struct compiler *c = a->compiler;
	size_t first, i;
	int r = words_add(c, PORTS, &first);

	if (r)
		return r;
	for (i = 0; i < PORTS; i++)
		c->words.items[first + i] = a->class_of[i] + offset;
	*ret_first = (uint32_t)first;
	return 0;
}

static int protocol_compile(struct compiler *c, uint8_t protocol)
{
	_cleanup_(protocol_done) struct protocol_walk w = {.compiler = c};
	struct sluice_protocol *p = &c->tables->protocols[protocol];
	int r;

	*p = (struct sluice_protocol){.dports = SLUICE_NO_TABLE, .sports = SLUICE_NO_TABLE};
	r = items_collect(&c->services, protocol, &w);
	if (r || !w.n_items)
		return r; /* that no service names, as most are: class 0 */
	r = elements_number(&w);
	if (!r)
		r = axis_build(&w.dest, &w, false);
	if (!r)
		r = axis_build(&w.source, &w, true);
	if (!r)
		r = pieces_add(&w, (uint32_t)c->n_ports);
	if (r)
		return r;
	p->port_class = (uint32_t)c->n_ports;
	c->n_ports += w.dest.classes.count;
	c->n_source_ports = max(c->n_source_ports, w.source.classes.count);
	/* A protocol whose ports nothing tells apart needs no tables. */
	if (w.source.classes.count > 1)
		r = table_add(&w.source, 0, &p->sports);
	if (!r && w.dest.classes.count > 1)
		r = table_add(&w.dest, p->port_class, &p->dports);
	return r;
}

int services_compile(struct compiler *c)
{
	unsigned int protocol;
	int r = 0;

	c->n_ports = 1; /* class 0: protocols that no service names */
	c->n_source_ports = 1;
	for (protocol = 0; protocol < 256 && !r; protocol++)
		r = protocol_compile(c, (uint8_t)protocol);
	return r;
}
