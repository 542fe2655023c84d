// SPDX-License-Identifier: Apache-2.0
/*
 * The limits themselves: what they count, what of it is shared by reactors, and their statistics. limit_turns.c has the
 * queues that wait. Called by target.c and update.c (tables), limit_turns.c (counting) and target_stats.c.
 *
 * A limit is two words in the manner of GCRA, one for commands and one for bytes: the time at which all that was let
 * through would have been let through at exactly the rate. That may be BURST_NS ahead of now. Any reactor moves the words
 * by compare and swap; none holds a lock, and nobody's share is taken before his turn.
 */
#include "storage/limit_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define BURST_NS  (20 * 1000000ull)  /* what may pass at once after a pause */
#define LATE_NS	  (100 * 1000000ull) /* by how much a reactor may be late before the rate suffers */
#define WINDOW_NS NSEC_PER_SEC	     /* the present rate is that of the last one */

/* ---- counting ---- */

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void add(uint64_t *word, uint64_t by)
{
	__atomic_fetch_add(word, by, __ATOMIC_RELAXED);
}

static void consume(uint64_t *word, uint64_t cost, uint64_t floor)
{
	uint64_t was = load(word), next;

	do
		next = max(was, floor) + cost;
	while (!__atomic_compare_exchange_n(word, &was, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

static uint64_t bytes_cost(const struct limit *l, uint64_t bytes)
{
	return l->bandwidth ? (uint64_t)((double)bytes * NSEC_PER_SEC / l->bandwidth + 0.5) : 0;
}

uint64_t limit_cost(const struct limit *l, uint64_t bytes)
{
	return max(l->command_cost, bytes_cost(l, bytes));
}

uint64_t limit_release(const struct limit *l)
{
	uint64_t ahead = 0;

	if (l->command_cost)
		ahead = load(&l->meter->commands_at);
	if (l->bandwidth)
		ahead = max(ahead, load(&l->meter->bytes_at));
	return ahead > BURST_NS ? ahead - BURST_NS : 0;
}

/* The rates of the window that ends now, by whoever sees first that it does. */
static void note_window(struct limit_meter *m, uint64_t now)
{
	uint64_t began = load(&m->window_ns), commands, bytes;

	if (now - began < WINDOW_NS ||
	    !__atomic_compare_exchange_n(&m->window_ns, &began, now, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	commands = load(&m->commands);
	bytes = load(&m->bytes);
	__atomic_store_n(&m->command_rate, (commands - load(&m->window_commands)) * NSEC_PER_SEC / (now - began),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&m->byte_rate,
			 (uint64_t)((double)(bytes - load(&m->window_bytes)) * NSEC_PER_SEC / (double)(now - began)),
			 __ATOMIC_RELAXED);
	__atomic_store_n(&m->window_commands, commands, __ATOMIC_RELAXED);
	__atomic_store_n(&m->window_bytes, bytes, __ATOMIC_RELAXED);
}

void limit_count(const struct limit *l, uint64_t commands, uint64_t bytes, uint64_t now, bool waited)
{
	struct limit_meter *m = l->meter;
	/* Who waited for a word had been due since it said so: being late is no reason to let through less. */
	uint64_t floor = waited ? now - LATE_NS : now;

	if (l->command_cost)
		consume(&m->commands_at, commands * l->command_cost, floor);
	if (l->bandwidth)
		consume(&m->bytes_at, bytes_cost(l, bytes), floor);
	note_window(m, now);
	add(&m->commands, commands);
	add(&m->bytes, bytes);
}

/* ---- tables ---- */

/* By selectors: what concerns fewest comes first, so that nothing wide is used up by those who wait for the narrow. */
static unsigned int narrowness(const struct policy_storage_limit *config)
{
	return !!config->nsid * 4 + !!config->subsystem * 2 + !config->any_host + !!config->from;
}

static int by_narrowness(const void *a, const void *b)
{
	const struct limit *x = a, *y = b;
	unsigned int p = narrowness(x->config), q = narrowness(y->config);

	return p == q ? (x->config > y->config) - (x->config < y->config) : p < q ? 1 : -1;
}

static struct limit_meter *meter_make(unsigned int n_reactors)
{
	size_t size = sizeof(struct limit_meter) + n_reactors * sizeof(struct limit_line);
	struct limit_meter *m = aligned_alloc(64, (size + 63) / 64 * 64);
	unsigned int i;

	if (!m)
		return NULL;
	memset(m, 0, size);
	m->window_ns = time_now_ns();
	m->users = 1;
	for (i = 0; i < n_reactors; i++)
		m->lines[i].served = LIMIT_NEVER;
	return m;
}

static const struct limit *find(const struct limit_table *table, const char *name)
{
	unsigned int i;

	for (i = 0; table && i < table->n; i++)
		if (!strcmp(table->limits[i].config->name, name))
			return &table->limits[i];
	return NULL;
}

static int limit_init(struct limit *l, const struct policy_storage_limit *config, const struct limit_table *old,
		      unsigned int n_reactors)
{
	const struct limit *before = find(old, config->name);

	l->config = config;
	l->bandwidth = (double)config->bandwidth;
	l->command_cost = config->iops ? (NSEC_PER_SEC + config->iops / 2) / config->iops : 0;
	l->meter = before ? before->meter : meter_make(n_reactors);
	if (before)
		l->meter->users++;
	return l->meter ? 0 : -ENOMEM;
}

static int turns_make(struct limit_table *table, unsigned int n_reactors)
{
	unsigned int i, k;

	for (i = 0; i < n_reactors; i++) {
		table->turns[i] = calloc(table->n + 1, sizeof(struct limit_turns));
		if (!table->turns[i])
			return -ENOMEM;
		for (k = 0; k < table->n; k++)
			table->turns[i][k].limit = &table->limits[k];
	}
	return 0;
}

int limit_table_make(struct target *t, struct storage_version *v, struct limit_table *old,
		     struct limit_table **ret_table)
{
	const struct policy_storage *storage = &v->storage;
	struct limit_table *table = calloc(1, sizeof(*table) + storage->n_limits * sizeof(struct limit));
	int ret = table ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; i < storage->n_limits && !ret; i++) {
		ret = limit_init(&table->limits[i], &storage->limits[i], old, t->options.n_cpus);
		table->n += !ret;
	}
	if (!ret)
		qsort(table->limits, table->n, sizeof(struct limit), by_narrowness);
	if (!ret)
		ret = turns_make(table, t->options.n_cpus);
	if (ret)
		limit_table_free(table);
	else
		*ret_table = table;
	return ret;
}

void limit_table_free(struct limit_table *table)
{
	unsigned int i, k;

	for (i = 0; table && i < TARGET_MAX_REACTORS && table->turns[i]; i++) {
		for (k = 0; k < table->n; k++)
			free(table->turns[i][k].heap);
		free(table->turns[i]);
	}
	for (i = 0; table && i < table->n; i++)
		if (!--table->limits[i].meter->users)
			free(table->limits[i].meter);
	free(table);
}

/* ---- what holds for whom ---- */

static bool names_host(const struct policy_storage_limit *config, const char *hostnqn)
{
	size_t i;

	for (i = 0; i < config->n_hosts; i++)
		if (!strcmp(config->hosts[i], hostnqn))
			return true;
	return config->any_host;
}

static bool has_address(const struct policy_storage_limit *config, const uint8_t address[16])
{
	size_t i;

	for (i = 0; i < config->n_sources; i++)
		if (memcmp(config->sources[i].first, address, 16) <= 0 &&
		    memcmp(address, config->sources[i].last, 16) <= 0)
			return true;
	return !config->from;
}

bool limit_matches(const struct limit *l, const struct queue *q)
{
	const struct policy_storage_limit *config = l->config;

	return names_host(config, q->hostnqn) && (!config->subsystem || !strcmp(config->subsystem, q->subnqn)) &&
	       has_address(config, q->key.source);
}

/* ---- differences ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_config(const struct policy_storage_limit *a, const struct policy_storage_limit *b)
{
	size_t i;

	if (a->any_host != b->any_host || a->n_hosts != b->n_hosts || !same_text(a->subsystem, b->subsystem) ||
	    a->nsid != b->nsid || a->iops != b->iops || a->bandwidth != b->bandwidth || !a->from != !b->from ||
	    a->n_sources != b->n_sources)
		return false;
	for (i = 0; i < a->n_hosts; i++)
		if (strcmp(a->hosts[i], b->hosts[i]))
			return false;
	return !a->n_sources || !memcmp(a->sources, b->sources, a->n_sources * sizeof(a->sources[0]));
}

static const struct policy_storage_limit *config_of(const struct policy_storage *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->n_limits; i++)
		if (!strcmp(s->limits[i].name, name))
			return &s->limits[i];
	return NULL;
}

void limit_changes(const struct policy_storage *old, const struct policy_storage *new,
		   void (*tell)(void *arg, const char *change, const char *name), void *arg)
{
	const struct policy_storage_limit *before;
	size_t i;

	for (i = 0; i < new->n_limits; i++) {
		before = config_of(old, new->limits[i].name);
		if (!before)
			tell(arg, "limit added", new->limits[i].name);
		else if (!same_config(before, &new->limits[i]))
			tell(arg, "limit changed", new->limits[i].name);
	}
	for (i = 0; i < old->n_limits; i++)
		if (!config_of(new, old->limits[i].name))
			tell(arg, "limit removed", old->limits[i].name);
}

/* ---- statistics ---- */

static void add_number(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_int64(value));
}

static struct json_object *stats_of(const struct limit *l, uint64_t now)
{
	struct json_object *o = json_object_new_object();
	const struct limit_meter *m = l->meter;
	uint64_t began = __atomic_load_n(&m->window_ns, __ATOMIC_ACQUIRE), age = now > began ? now - began : 0;
	uint64_t commands = load(&m->commands), bytes = load(&m->bytes);
	bool is_stale = age >= 2 * WINDOW_NS; /* nobody came to end the window */

	json_object_object_add(o, "name", json_object_new_string(l->config->name));
	if (l->config->iops)
		add_number(o, "iops", l->config->iops);
	if (l->config->bandwidth)
		add_number(o, "bandwidth", l->config->bandwidth);
	add_number(o, "commands", commands);
	add_number(o, "bytes", bytes);
	add_number(o, "throttled", load(&m->throttled));
	add_number(o, "waiting", load(&m->waiting));
	add_number(o, "commands_per_second",
		   is_stale ? (commands - load(&m->window_commands)) * NSEC_PER_SEC / age : load(&m->command_rate));
	add_number(o, "bytes_per_second",
		   is_stale ? (uint64_t)((double)(bytes - load(&m->window_bytes)) * NSEC_PER_SEC / (double)age)
			    : load(&m->byte_rate));
	return o;
}

struct json_object *limit_stats(const struct target *t)
{
	struct json_object *list = json_object_new_array();
	const struct policy_storage *storage = &t->version->storage;
	size_t i;

	/* As the policy has them, not as they are passed. */
	for (i = 0; i < storage->n_limits; i++)
		json_object_array_add(list, stats_of(find(t->limits, storage->limits[i].name), time_now_ns()));
	return list;
}
