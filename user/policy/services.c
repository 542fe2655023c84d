// SPDX-License-Identifier: Apache-2.0
/*
 * Services → service classes. For each protocol, a sweep over destination ports and one over source ports yield port
 * classes; a pair of them is the set of services that it lies in, and each such set, over all protocols, is one service
 * class. Called by compile.c; leaves in every service_set the classes that make it up.
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
	uint32_t *class_of; /* PORTS of them */
	uint32_t n_classes;
	struct list_span *spans; /* of each class: its elements in `elements` */
	size_t n_spans;
	uint32_t *elements;
	size_t n_elements;
	size_t elements_capacity;
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
	const struct policy_item **items;
	uint32_t *service; /* of each item */
	size_t n_items;
	uint32_t *dest_element;	   /* of each item */
	uint32_t *source_element;  /* of each item */
	uint32_t *element_service; /* of each destination element */
	uint32_t *element_source;
	size_t n_dest;
	size_t n_source;
	bool *source_on; /* of each source element, in the cell at hand */
	struct axis dest;
	struct axis source;
};

struct service_walk {
	struct compiler *compiler;
	struct fingerprint_index by_fingerprint; /* service classes */
	uint32_t *mark;				 /* of each service: the last cell that it was seen in */
	uint32_t cells;
	uint32_t *found;  /* scratch: the services of a cell */
	uint32_t *tables; /* first words of the port tables */
	size_t n_tables;
	struct hash_index by_content;
};

/* ------------------------------------------------------------------------- axes */

static int axis_begin(struct axis *a, size_t elements)
{
	a->class_of = calloc(PORTS, sizeof(*a->class_of));
	a->depth = calloc(elements + 1, sizeof(*a->depth));
	return a->class_of && a->depth ? active_begin(&a->active, elements) : -ENOMEM;
}

static void axis_done(struct axis *a)
{
	free(a->class_of);
	free(a->spans);
	free(a->elements);
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

static int axis_class_add(struct axis *a)
{
	struct list_span *span = array_add(&a->spans, &a->n_spans, sizeof(*span));

	if (!span ||
	    array_reserve(&a->elements, &a->elements_capacity, a->n_elements, a->active.count, sizeof(*a->elements)))
		return -ENOMEM;
	*span = (struct list_span){a->n_elements, a->active.count};
	if (a->active.count)
		memcpy(a->elements + a->n_elements, a->active.members, a->active.count * sizeof(*a->elements));
	a->n_elements += a->active.count;
	a->n_classes++;
	return 0;
}

static int axis_interval(void *arg, address_t first, address_t last)
{
	struct axis *a = arg;
	uint32_t class = fingerprint_find(&a->by_fingerprint, &a->active.fingerprint);
	uint32_t port;

	if (class == HASH_NONE) {
		class = a->n_classes;
		if (fingerprint_number(&a->by_fingerprint, &a->active.fingerprint) || axis_class_add(a))
			return -ENOMEM;
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
	int r = axis_begin(a, source ? w->n_source : w->n_dest);

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
	free(w->source_on);
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

static int elements_number(struct protocol_walk *w)
{
	struct hash_index sources = {}, dests = {};
	size_t i;
	int r = 0;

	w->dest_element = calloc(w->n_items + 1, sizeof(uint32_t));
	w->source_element = calloc(w->n_items + 1, sizeof(uint32_t));
	w->element_service = calloc(w->n_items + 1, sizeof(uint32_t));
	w->element_source = calloc(w->n_items + 1, sizeof(uint32_t));
	w->source_on = calloc(w->n_items + 1, sizeof(bool));
	if (!w->dest_element || !w->source_element || !w->element_service || !w->element_source || !w->source_on)
		return -ENOMEM;
	for (i = 0; i < w->n_items && !r; i++) {
		r = number_of(&sources, (uint64_t)w->items[i]->source_first << 16 | w->items[i]->source_last,
			      &w->n_source, &w->source_element[i]);
		if (!r)
			r = number_of(&dests, (uint64_t)w->service[i] << 32 | w->source_element[i], &w->n_dest,
				      &w->dest_element[i]);
		if (!r) {
			w->element_service[w->dest_element[i]] = w->service[i];
			w->element_source[w->dest_element[i]] = w->source_element[i];
		}
	}
	hash_index_done(&sources);
	hash_index_done(&dests);
	return r;
}

/* ------------------------------------------------------------------------- cells */

/* Notes in every service of a new class that the class belongs to it. */
static int class_spread(struct service_walk *s, const uint32_t *services, size_t count, uint32_t class)
{
	struct service_set *set;
	uint32_t *slot;
	size_t i;

	for (i = 0; i < count; i++) {
		set = &s->compiler->services.items[services[i]];
		slot = array_add(&set->classes, &set->n_classes, sizeof(*slot));
		if (!slot)
			return -ENOMEM;
		*slot = class;
	}
	return 0;
}

static int class_of_services(struct service_walk *s, const uint32_t *services, size_t count, uint32_t *ret_class)
{
	struct fingerprint f = {};
	uint32_t class;
	size_t i;
	int r;

	for (i = 0; i < count; i++)
		fingerprint_add(&f, services[i]);
	class = fingerprint_find(&s->by_fingerprint, &f);
	if (class == HASH_NONE) {
		class = (uint32_t)s->compiler->service_classes++;
		r = fingerprint_number(&s->by_fingerprint, &f);
		if (!r)
			r = class_spread(s, services, count, class);
		if (r)
			return r;
	}
	*ret_class = class;
	return 0;
}

/* The service class of one pair of port classes. The source axis' elements are marked in source_on. */
static int cell_class(struct service_walk *s, const struct protocol_walk *w, uint32_t dest, uint32_t *ret_class)
{
	const struct list_span *span = &w->dest.spans[dest];
	uint32_t element, service;
	size_t i, count = 0;

	s->cells++;
	for (i = span->first; i < span->first + span->count; i++) {
		element = w->dest.elements[i];
		service = w->element_service[element];
		if (!w->source_on[w->element_source[element]] || s->mark[service] == s->cells)
			continue;
		s->mark[service] = s->cells;
		s->found[count++] = service;
	}
	return class_of_services(s, s->found, count, ret_class);
}

static int cells_fill(struct service_walk *s, struct protocol_walk *w, size_t first)
{
	const struct list_span *span;
	uint32_t dest, source, class;
	size_t i;
	int r;

	for (source = 0; source < w->source.n_classes; source++) {
		span = &w->source.spans[source];
		for (i = span->first; i < span->first + span->count; i++)
			w->source_on[w->source.elements[i]] = true;
		for (dest = 0; dest < w->dest.n_classes; dest++) {
			r = cell_class(s, w, dest, &class);
			if (r)
				return r;
			s->compiler->words.items[first + (size_t)dest * w->source.n_classes + source] = class;
		}
		for (i = span->first; i < span->first + span->count; i++)
			w->source_on[w->source.elements[i]] = false;
	}
	return 0;
}

/* ------------------------------------------------------------------------ tables */

struct table_key {
	const struct words *words;
	const uint32_t *tables; /* first word of each table so far */
};

static bool table_is(const void *key, const void *class_of, uint32_t table)
{
	const struct table_key *k = key;

	return !memcmp(k->words->items + k->tables[table], class_of, PORTS * sizeof(uint32_t));
}

static int table_intern(struct service_walk *s, const struct axis *a, uint32_t *ret_first)
{
	const struct table_key key = {&s->compiler->words, s->tables};
	uint64_t hash = hash_bytes(a->class_of, PORTS * sizeof(*a->class_of));
	uint32_t table = hash_index_find(&s->by_content, hash, table_is, &key, a->class_of);
	uint32_t *slot;
	size_t first;
	int r;

	if (table == HASH_NONE) {
		table = (uint32_t)s->n_tables;
		r = words_add(s->compiler, PORTS, &first);
		if (r)
			return r;
		memcpy(s->compiler->words.items + first, a->class_of, PORTS * sizeof(*a->class_of));
		slot = array_add(&s->tables, &s->n_tables, sizeof(*slot));
		if (!slot || hash_index_add(&s->by_content, hash, table))
			return -ENOMEM;
		*slot = (uint32_t)first;
	}
	*ret_first = s->tables[table];
	return 0;
}

/* A protocol that no service names, as most are: one word, the class of no service. */
static int protocol_unnamed(struct service_walk *s, struct sluice_protocol *p)
{
	uint32_t class;
	size_t first;
	int r = words_add(s->compiler, 1, &first);

	if (!r)
		r = class_of_services(s, s->found, 0, &class);
	if (r)
		return r;
	s->compiler->words.items[first] = class;
	p->service = (uint32_t)first;
	return 0;
}

static int protocol_compile(struct service_walk *s, uint8_t protocol)
{
	struct sluice_protocol *p = &s->compiler->tables->protocols[protocol];
	_cleanup_(protocol_done) struct protocol_walk w = {};
	size_t first;
	int r;

	*p = (struct sluice_protocol){SLUICE_NO_TABLE, SLUICE_NO_TABLE, 0, 1};
	r = items_collect(&s->compiler->services, protocol, &w);
	if (!r && !w.n_items)
		return protocol_unnamed(s, p);
	if (!r)
		r = elements_number(&w);
	if (!r)
		r = axis_build(&w.dest, &w, false);
	if (!r)
		r = axis_build(&w.source, &w, true);
	if (!r)
		r = words_add(s->compiler, (size_t)w.dest.n_classes * w.source.n_classes, &first);
	if (!r)
		r = cells_fill(s, &w, first);
	if (r)
		return r;
	p->service = (uint32_t)first;
	p->source_classes = w.source.n_classes;
	/* A protocol whose ports nothing tells apart needs no tables; source ports are only asked after destination
	 * ports. */
	if (w.source.n_classes > 1)
		r = table_intern(s, &w.source, &p->sports);
	if (!r && w.dest.n_classes * w.source.n_classes > 1)
		r = table_intern(s, &w.dest, &p->dports);
	return r;
}

int services_compile(struct compiler *c)
{
	_cleanup_free_ uint32_t *mark = calloc(c->services.count + 1, sizeof(*mark));
	_cleanup_free_ uint32_t *found = calloc(c->services.count + 1, sizeof(*found));
	struct service_walk s = {.compiler = c, .mark = mark, .found = found};
	unsigned int protocol;
	int r = mark && found ? 0 : -ENOMEM;

	for (protocol = 0; protocol < 256 && !r; protocol++)
		r = protocol_compile(&s, (uint8_t)protocol);
	fingerprint_index_done(&s.by_fingerprint);
	hash_index_done(&s.by_content);
	free(s.tables);
	return r;
}
