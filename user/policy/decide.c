// SPDX-License-Identifier: Apache-2.0
/*
 * Classes → decisions. What the rules of a source class say is one function from (destination class, port classes) to
 * the first rule that matches: a decision diagram, made of those of the sets that the class lies in by taking minima.
 * Classes that differ in one rule share all the rest. Called by compile.c when all classes are known.
 *
 * Rules are dealt out to planes by how many destination classes they name. In one diagram, a rule of one source and all
 * destinations is a change to each of the destinations that rules of all sources and one destination tell apart: such
 * sets multiply. In diagrams of their own they add up, and the kernel takes the lowest of a fixed number of answers.
 * As few planes are used as fit. Audit rules have a plane of their own, whose leaves are lists.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/dag.h"

/*
 * How rules are dealt out; the first row that fits is used. Of the shares tried on firewall and IP-chain sets of 100,000
 * rules these gave the smallest tables, half of what two planes take.
 */
static const struct layout {
	unsigned int planes;
	size_t refs_max; /* of all diagrams */
	/* A rule goes to the first plane whose share of the destination classes is not less than its own, in 1/4096. */
	unsigned int share[SLUICE_PLANE_AUDIT];
} layouts[] = {
	{1, 28u << 20, {4096}},
	{3, COMPILE_REFS_MAX, {4, 256, 4096}},
};

struct decide {
	struct compiler *compiler;
	unsigned int strides[DAG_LEVELS_MAX];
	unsigned int levels;
	unsigned int first_port;   /* level of destination port classes; before it, destination classes */
	unsigned int first_source; /* level of source port classes */
	uint32_t *rows[SLUICE_PLANES]; /* trie word of each source class */
	struct lists audits;
	struct hash_index by_audits;
};

#define EXCEPTIONS_MAX 2

/*
 * A row under construction: the diagram of a few other classes too, and before it, as skips, what differs for single
 * destinations. Most classes of many are one host that one rule names: a skip is a quarter of the nodes of a path, and
 * one step instead of three.
 */
struct row {
	uint32_t base;
	unsigned int n_exceptions;
	struct exception {
		uint32_t dest;
		uint32_t ref; /* of the levels from first_port */
	} exceptions[EXCEPTIONS_MAX];
};

#define DEST_NONE UINT32_MAX
#define DEST_MANY (UINT32_MAX - 1)

/* One tenant in one plane. */
struct pass {
	struct decide *decide;
	struct dag *dag;
	const struct layout *layout;
	unsigned int plane;
	const struct tenant_classes *tenant;
	const struct lists *dests; /* of each element of `to`: its destination classes */
	uint32_t *element_row;	   /* of each element of `from`: what its own rules say */
	uint32_t *element_dest;	   /* the one destination class that they name, or DEST_NONE, DEST_MANY */
	uint32_t any_row;
};

/* ------------------------------------------------------------------------ the key */

static unsigned int bits_for(size_t numbers)
{
	unsigned int bits = 0;

	while (((size_t)1 << bits) < numbers)
		bits++;
	return bits;
}

/* A key part of up to `single` bits is one level; beyond that, levels of some five bits keep single changes small. */
static void levels_add(struct decide *d, unsigned int bits, unsigned int single)
{
	unsigned int levels = bits <= single ? 1 : (bits + 4) / 5;

	for (; bits; levels--) {
		d->strides[d->levels] = (bits + levels - 1) / levels;
		bits -= d->strides[d->levels++];
	}
}

static void key_plan(struct decide *d)
{
	struct sluice_policy *head = &d->compiler->tables->head;

	head->dest_bits = (uint8_t)bits_for(d->compiler->n_dests);
	head->port_bits = (uint8_t)bits_for(d->compiler->n_ports);
	head->source_bits = (uint8_t)bits_for(d->compiler->n_source_ports);
	levels_add(d, head->dest_bits, 8);
	d->first_port = d->levels;
	levels_add(d, head->port_bits, 6);
	d->first_source = d->levels;
	levels_add(d, head->source_bits, 6);
}

/* -------------------------------------------------------------------- audit lists */

struct audit_key {
	const uint32_t *rules;
	size_t count;
};

static bool audits_are(const void *lists, const void *key, uint32_t id)
{
	const struct lists *l = lists;
	const struct audit_key *k = key;

	return l->spans[id].count == k->count &&
	       !memcmp(l->members + l->spans[id].first, k->rules, k->count * sizeof(*k->rules));
}

static int audits_intern(struct decide *d, const uint32_t *rules, size_t count, uint32_t *ret_leaf)
{
	const struct audit_key key = {rules, count};
	uint64_t hash = hash_bytes(rules, count * sizeof(*rules));
	uint32_t id = hash_index_find(&d->by_audits, hash, audits_are, &d->audits, &key);
	int r;

	if (count > SLUICE_AUDITS_MAX)
		return error_set(d->compiler->err, E2BIG,
				 "rule '%s' would be audit rule number %d that matches one packet, of at most %d; give "
				 "some of them narrower services or segments",
				 policy_rule_name(d->compiler->policy, rules[SLUICE_AUDITS_MAX]), SLUICE_AUDITS_MAX + 1,
				 SLUICE_AUDITS_MAX);
	if (id == HASH_NONE) {
		id = (uint32_t)d->audits.count;
		r = lists_add(d->compiler, &d->audits, rules, count);
		if (!r)
			r = hash_index_add(&d->by_audits, hash, id);
		if (r)
			return r;
	}
	*ret_leaf = id;
	return 0;
}

/* The union of two ascending lists. */
static int audits_combine(void *arg, uint32_t a, uint32_t b, uint32_t *ret_leaf)
{
	uint32_t rules[2 * SLUICE_AUDITS_MAX];
	struct decide *d = arg;
	const uint32_t *x = d->audits.members + d->audits.spans[a].first, *x_end = x + d->audits.spans[a].count;
	const uint32_t *y = d->audits.members + d->audits.spans[b].first, *y_end = y + d->audits.spans[b].count;
	size_t count = 0;

	while (x < x_end || y < y_end) {
		uint32_t next = y == y_end || (x < x_end && *x < *y) ? *x : *y;

		rules[count++] = next;
		x += x < x_end && *x == next;
		y += y < y_end && *y == next;
	}
	return audits_intern(d, rules, count, ret_leaf);
}

/* Writes the lists into `words`; *ret_words[list] is the place of each. */
static int audits_emit(struct decide *d, uint32_t **ret_words)
{
	_cleanup_free_ uint32_t *words = calloc(d->audits.count + 1, sizeof(*words));
	const struct list_span *span;
	size_t i, first;
	int r;

	if (!words)
		return -ENOMEM;
	for (i = 1; i < d->audits.count; i++) { /* 0: the empty one */
		span = &d->audits.spans[i];
		r = words_add(d->compiler, span->count + 1, &first);
		if (r)
			return r;
		words[i] = (uint32_t)first;
		d->compiler->words.items[first] = (uint32_t)span->count;
		memcpy(d->compiler->words.items + first + 1, d->audits.members + span->first,
		       span->count * sizeof(uint32_t));
	}
	*ret_words = TAKE_PTR(words);
	return 0;
}

/* -------------------------------------------------------------------------- rules */

static bool pass_has_rule(const struct pass *p, size_t k)
{
	const struct compiler *c = p->decide->compiler;
	size_t width, dests = p->tenant->to.classes.count;
	unsigned int plane;

	if (c->policy->rules[p->tenant->rules[k]].audit || !p->layout)
		return c->policy->rules[p->tenant->rules[k]].audit && !p->layout;
	width = p->tenant->to.element[k] == SET_ANY ? dests : p->dests->spans[p->tenant->to.element[k]].count;
	for (plane = 0; width > 1 && width * 4096 > p->layout->share[plane] * dests; plane++)
		;
	return plane == p->plane;
}

/* A service with a leaf, as a function of port classes. */
static int service_row(const struct pass *p, const struct service_set *set, uint32_t leaf, uint32_t *ret_row)
{
	const struct decide *d = p->decide;
	const struct service_piece *piece;
	uint32_t sources, part, row = p->dag->none;
	size_t i;
	int r = 0;

	for (i = 0; i < set->n_pieces && !r; i++) {
		piece = &set->pieces[i];
		r = dag_keys(p->dag, d->first_source, d->levels,
			     &(struct dag_keys){piece->sources, piece->n_sources, piece->all_sources}, leaf, &sources);
		if (!r)
			r = dag_keys(p->dag, d->first_port, d->first_source,
				     &(struct dag_keys){piece->ports, piece->n_ports, false}, sources, &part);
		if (!r)
			r = dag_apply(p->dag, d->first_port, row, part, &row);
	}
	*ret_row = row;
	return r;
}

/* What one rule says, as a function of the key. */
static int rule_row(const struct pass *p, size_t k, uint32_t *ret_row)
{
	const struct compiler *c = p->decide->compiler;
	uint32_t rule = p->tenant->rules[k], element = p->tenant->to.element[k], service = c->rule_service[rule];
	uint32_t inside = rule;
	struct dag_keys dests = {.all = element == SET_ANY};
	int r = 0;

	if (!dests.all) {
		dests.items = p->dests->members + p->dests->spans[element].first;
		dests.count = p->dests->spans[element].count;
	}
	if (!p->layout)
		r = audits_intern(p->decide, &rule, 1, &inside);
	if (!r && service != SET_ANY)
		r = service_row(p, &c->services.items[service], inside, &inside);
	return r ? r : dag_keys(p->dag, 0, p->decide->first_port, &dests, inside, ret_row);
}

/* The one destination class that a rule and those before it of its element name. */
static uint32_t dest_narrow(const struct pass *p, size_t k, uint32_t dest)
{
	uint32_t element = p->tenant->to.element[k], only;
	const struct list_span *span;

	if (element == SET_ANY || dest == DEST_MANY)
		return DEST_MANY;
	span = &p->dests->spans[element];
	if (!span->count)
		return dest;
	only = p->dests->members[span->first];
	return span->count == 1 && (dest == DEST_NONE || dest == only) ? only : DEST_MANY;
}

static int rules_fold(struct pass *p)
{
	uint32_t row, element, *to;
	size_t k;
	int r = 0;

	for (k = 0; k < p->tenant->n_rules && !r; k++) {
		if (!pass_has_rule(p, k))
			continue;
		element = p->tenant->from.element[k];
		to = element == SET_ANY ? &p->any_row : &p->element_row[element];
		if (element != SET_ANY)
			p->element_dest[element] = dest_narrow(p, k, p->element_dest[element]);
		r = rule_row(p, k, &row);
		if (!r)
			r = dag_apply(p->dag, 0, *to, row, to);
	}
	return r;
}

/* --------------------------------------------------------------------------- rows */

/* Elements of many classes first: what comes of them is the same for many classes, and found in the memo. */
static int width_compare(const void *a, const void *b, void *arg)
{
	const struct list_span *widths = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	if (widths[x].count != widths[y].count)
		return widths[x].count > widths[y].count ? -1 : 1;
	return x < y ? -1 : x > y;
}

static int members_sort(struct tenant_classes *t)
{
	_cleanup_(lists_done) struct lists inverse = {};
	size_t i;
	int r = lists_invert(&t->from.classes, t->from.n_elements, &inverse);

	for (i = 0; i < t->from.classes.count && !r; i++)
		qsort_r(t->from.classes.members + t->from.classes.spans[i].first, t->from.classes.spans[i].count,
			sizeof(uint32_t), width_compare, inverse.spans);
	return r;
}

/* Makes what the rules of an element say of its one destination part of a row. */
static int exception_add(const struct pass *p, struct row *row, uint32_t element)
{
	uint32_t dest = p->element_dest[element], first = p->decide->first_port, before, after;
	struct exception *e = row->exceptions;
	int r;

	while (e < row->exceptions + row->n_exceptions && e->dest != dest)
		e++;
	before = e < row->exceptions + row->n_exceptions ? e->ref : dag_at(p->dag, first, row->base, dest);
	r = dag_apply(p->dag, first, before, dag_at(p->dag, first, p->element_row[element], dest), &after);
	if (r || after == before)
		return r;
	*e = (struct exception){dest, after};
	row->n_exceptions = max(row->n_exceptions, (unsigned int)(e - row->exceptions) + 1);
	return 0;
}

static int class_row(const struct pass *p, size_t class, struct row *row)
{
	const struct list_span *span = &p->tenant->from.classes.spans[class];
	const uint32_t *members = p->tenant->from.classes.members + span->first;
	size_t i, folded = span->count;
	int r = 0;

	/* The narrowest come last. */
	while (p->decide->first_port && folded && span->count - folded < EXCEPTIONS_MAX &&
	       p->element_dest[members[folded - 1]] != DEST_MANY)
		folded--;
	*row = (struct row){.base = p->any_row};
	for (i = 0; i < folded && !r; i++)
		r = dag_apply(p->dag, 0, row->base, p->element_row[members[i]], &row->base);
	for (; i < span->count && !r; i++) {
		if (p->element_dest[members[i]] != DEST_NONE)
			r = exception_add(p, row, members[i]);
	}
	return r;
}

static int tenant_rows(struct pass *p, struct row *rows)
{
	_cleanup_free_ uint32_t *element_row = calloc(p->tenant->from.n_elements + 1, sizeof(*element_row));
	_cleanup_free_ uint32_t *element_dest = calloc(p->tenant->from.n_elements + 1, sizeof(*element_dest));
	_cleanup_(lists_done) struct lists dests = {};
	size_t i;
	int r;

	if (!element_row || !element_dest)
		return -ENOMEM;
	p->element_row = element_row;
	p->element_dest = element_dest;
	p->dests = &dests;
	p->any_row = p->dag->none;
	for (i = 0; i < p->tenant->from.n_elements; i++) {
		element_row[i] = p->dag->none;
		element_dest[i] = DEST_NONE;
	}
	r = lists_invert(&p->tenant->to.classes, p->tenant->to.n_elements, &dests);
	if (!r)
		r = rules_fold(p);
	for (i = 0; i < p->tenant->from.classes.count && !r; i++)
		r = class_row(p, i, &rows[p->tenant->first_source + i]);
	return r;
}

/* ------------------------------------------------------------------------- planes */

/* The trie word of a row: its diagram, and a skip before it for each exception. */
static int row_emit(struct decide *d, struct dag *dag, const uint32_t *leaves, const struct row *row,
		    uint32_t *ret_word)
{
	unsigned int bits = d->compiler->tables->head.dest_bits, i;
	struct sluice_skip skip = {.bits = bits};
	int r = dag_emit(dag, d->compiler, leaves, 0, row->base, ret_word);

	for (i = 0; i < row->n_exceptions && !r; i++) {
		r = dag_emit(dag, d->compiler, leaves, d->first_port, row->exceptions[i].ref, &skip.equal);
		if (r)
			return r;
		skip.other = *ret_word;
		skip.value = (uint64_t)row->exceptions[i].dest << (64 - bits);
		r = dag_skip_add(d->compiler, &skip, ret_word);
	}
	return r;
}

static int plane_build(struct decide *d, struct dag *dag, const struct layout *layout, unsigned int plane)
{
	struct pass p = {.decide = d, .dag = dag, .layout = layout, .plane = plane};
	struct compiler *c = d->compiler;
	_cleanup_free_ struct row *rows = calloc(c->n_sources + 1, sizeof(*rows));
	_cleanup_free_ uint32_t *leaves = NULL;
	size_t i;
	int r = rows ? 0 : -ENOMEM;

	for (i = 0; i < c->policy->n_tenants && !r; i++) {
		p.tenant = &c->tenants[i];
		r = tenant_rows(&p, rows);
	}
	if (!r && !layout)
		r = audits_emit(d, &leaves);
	for (i = 0; i < c->n_sources && !r; i++)
		r = row_emit(d, dag, leaves, &rows[i], &d->rows[plane][i]);
	return r;
}

static size_t functions_of(const struct decide *d)
{
	return d->compiler->policy->n_rules + d->compiler->n_sources;
}

static int planes_build(struct decide *d, const struct layout *layout)
{
	size_t used = 0;
	unsigned int i;
	int r = 0;

	for (i = 0; i < layout->planes && !r; i++) {
		_cleanup_(dag_done) struct dag dag = {.none = (uint32_t)d->compiler->policy->n_rules, .minimum = true};

		r = dag_begin(&dag, d->strides, d->levels, functions_of(d), layout->refs_max - used);
		if (!r)
			r = plane_build(d, &dag, layout, i);
		used += dag.n_refs;
	}
	return r;
}

/* The layouts in turn, until one fits. */
static int decisions_build(struct decide *d)
{
	struct compiler *c = d->compiler;
	size_t i, before = c->words.count;
	int r = -E2BIG;

	if (c->shape.layout >= ARRAY_SIZE(layouts))
		return -ERANGE;
	for (i = c->shape.layout; i < ARRAY_SIZE(layouts) && r == -E2BIG; i++) {
		c->words.count = before;
		c->err->text[0] = '\0';
		c->tables->head.planes = (uint8_t)layouts[i].planes;
		r = planes_build(d, &layouts[i]);
	}
	if (r == -E2BIG && !c->err->text[0])
		error_set(c->err, E2BIG,
			  "rules overlap in too many ways: over %u words of decisions; name fewer distinct segments in "
			  "rules that share sources or destinations, or split the policy",
			  COMPILE_REFS_MAX);
	return r;
}

static bool policy_has_audits(const struct policy *p)
{
	size_t i;

	for (i = 0; i < p->n_rules; i++) {
		if (p->rules[i].audit)
			return true;
	}
	return false;
}

static int audits_build(struct decide *d)
{
	_cleanup_(dag_done) struct dag dag = {.combine = audits_combine, .arg = d};
	uint32_t none;
	int r;

	if (!policy_has_audits(d->compiler->policy))
		return 0;
	d->compiler->tables->head.flags |= SLUICE_HAS_AUDITS;
	r = dag_begin(&dag, d->strides, d->levels, functions_of(d), COMPILE_REFS_MAX);
	if (!r)
		r = audits_intern(d, NULL, 0, &none); /* number 0 */
	if (!r)
		r = plane_build(d, &dag, NULL, SLUICE_PLANE_AUDIT);
	if (r == -E2BIG && !d->compiler->err->text[0])
		error_set(d->compiler->err, E2BIG,
			  "audit rules overlap in too many ways: over %u words of decisions; use fewer of them",
			  COMPILE_REFS_MAX);
	return r;
}

static void rows_fill(struct decide *d)
{
	struct policy_tables *t = d->compiler->tables;
	unsigned int plane;
	uint32_t source;
	size_t i;

	for (i = 0; i < t->n_classes; i++) {
		source = t->classes[i].reserved;
		t->classes[i].reserved = 0;
		for (plane = 0; plane < SLUICE_PLANES; plane++)
			t->classes[i].row[plane] = d->rows[plane][source];
	}
}

static void decide_done(struct decide *d)
{
	unsigned int i;

	for (i = 0; i < SLUICE_PLANES; i++)
		free(d->rows[i]);
	lists_done(&d->audits);
	hash_index_done(&d->by_audits);
}

int decide_compile(struct compiler *c)
{
	_cleanup_(decide_done) struct decide d = {.compiler = c};
	size_t i;
	int r = 0;

	key_plan(&d);
	for (i = 0; i < SLUICE_PLANES; i++) {
		d.rows[i] = calloc(c->n_sources + 1, sizeof(**d.rows));
		if (!d.rows[i])
			return -ENOMEM;
	}
	for (i = 0; i < c->policy->n_tenants && !r; i++)
		r = members_sort(&c->tenants[i]);
	if (!r)
		r = decisions_build(&d);
	if (!r)
		r = audits_build(&d);
	if (!r)
		rows_fill(&d);
	return r;
}
