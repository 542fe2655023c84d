// SPDX-License-Identifier: Apache-2.0
/*
 * Statistics as JSON; target.h documents the fields. Called by any thread (control socket, the command at exit).
 * Counters are read while their reactors write them; the list of queues is held still by the target's mutex.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "storage/reactor.h"

static const char *const kind_names[IO_KINDS] = {
	[IO_READ] = "read",	      [IO_WRITE] = "write", [IO_FLUSH] = "flush",
	[IO_ZEROES] = "write_zeroes", [IO_DSM] = "dsm",	    [IO_OTHER] = "other",
};

static void add_int(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_int64(value));
}

static void add_text(struct json_object *o, const char *name, const char *value)
{
	json_object_object_add(o, name, json_object_new_string(value));
}

static void stats_merge(struct io_stats *dst, const struct io_stats *src)
{
	unsigned int i;

	for (i = 0; i < IO_KINDS; i++)
		dst->commands[i] += stats_read(&src->commands[i]);
	dst->read_bytes += stats_read(&src->read_bytes);
	dst->written_bytes += stats_read(&src->written_bytes);
	dst->errors += stats_read(&src->errors);
	histogram_merge(&dst->latency, &src->latency);
}

static struct json_object *latency(const struct histogram *h)
{
	static const struct {
		const char *name;
		unsigned int permille;
	} percentiles[] = {{"p50", 50000}, {"p99", 99000}, {"p999", 99900}};
	struct json_object *o = json_object_new_object();
	unsigned int i;

	add_int(o, "count", h->count);
	json_object_object_add(o, "mean", json_object_new_double(histogram_mean(h) / 1000));
	for (i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
		json_object_object_add(
			o, percentiles[i].name,
			json_object_new_double(histogram_percentile(h, percentiles[i].permille) / 1000.0));
	json_object_object_add(o, "max", json_object_new_double(h->max / 1000.0));
	return o;
}

static void add_stats(struct json_object *o, const struct io_stats *s)
{
	struct json_object *commands = json_object_new_object();
	unsigned int i;

	for (i = 0; i < IO_KINDS; i++)
		add_int(commands, kind_names[i], s->commands[i]);
	json_object_object_add(o, "commands", commands);
	add_int(o, "read_bytes", s->read_bytes);
	add_int(o, "written_bytes", s->written_bytes);
	add_int(o, "errors", s->errors);
	json_object_object_add(o, "latency_us", latency(&s->latency));
}

static struct json_object *reactor_stats(const struct reactor *r)
{
	struct json_object *o = json_object_new_object();

	add_int(o, "index", r->index);
	add_int(o, "cpu", r->cpu);
	add_int(o, "connections", stats_read(&r->connections));
	json_object_object_add(o, "cpu_seconds", json_object_new_double(stats_read(&r->cpu_ns) / 1e9));
	add_int(o, "turns", stats_read(&r->turns));
	add_int(o, "sleeps", stats_read(&r->sleeps));
	add_int(o, "no_buffer", stats_read(&r->no_buffer));
	add_int(o, "no_rx_buffer", stats_read(&r->no_rx_buffer));
	add_int(o, "blocked", stats_read(&r->blockings));
	add_int(o, "lost_receives", stats_read(&r->lost_receives));
	return o;
}

static struct json_object *namespace_stats(const struct target *t, const struct namespace *ns, struct io_stats *sum)
{
	struct json_object *o = json_object_new_object();
	unsigned int i;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < t->n_reactors; i++)
		stats_merge(sum, &t->reactors[i]->namespaces[ns->index].stats);
	add_text(o, "subsystem", ns->subsystem->nqn);
	add_int(o, "nsid", ns->config->id);
	add_text(o, "backend", ns->backend->ops->name);
	add_int(o, "bytes", ns->space.blocks << ns->space.block_shift);
	add_int(o, "block", 1u << ns->space.block_shift);
	add_stats(o, sum);
	return o;
}

static void add_address(struct json_object *o, const char *name, const uint8_t address[16], __be16 port)
{
	char text[INET6_ADDRSTRLEN], whole[INET6_ADDRSTRLEN + 16];
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)address);

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address + 12 : address, text, sizeof(text));
	snprintf(whole, sizeof(whole), v4 ? "%s:%u" : "[%s]:%u", text, ntohs(port));
	add_text(o, name, whole);
}

static struct json_object *queue_stats(const struct target *t, const struct queue *q, struct io_stats *copy)
{
	const struct target_hooks *hooks = &t->options.hooks;
	struct json_object *o = json_object_new_object();

	add_text(o, "host", q->hostnqn);
	add_text(o, "subsystem", q->subnqn);
	add_int(o, "cntlid", q->cntlid);
	add_int(o, "qid", q->qid);
	add_int(o, "reactor", q->reactor);
	add_int(o, "cpu", t->reactors[q->reactor]->cpu);
	add_address(o, "peer", q->key.source, q->key.source_port);
	add_address(o, "portal", q->key.dest, q->key.dest_port);
	json_object_object_add(o, "tls", q->tls ? json_object_new_string(q->tls) : NULL);
	add_text(o, "receive", conn_receive_name(__atomic_load_n(&q->receive, __ATOMIC_RELAXED)));
	add_int(o, "open", __atomic_load_n(&q->n_open, __ATOMIC_RELAXED));
	memset(copy, 0, sizeof(*copy));
	stats_merge(copy, &q->stats);
	add_stats(o, copy);
	if (hooks->on_queue_stats && q->steer_slot != TARGET_NO_SLOT)
		hooks->on_queue_stats(hooks->arg, q->steer_slot, q->reactor, o);
	return o;
}

struct json_object *target_stats(struct target *t)
{
	struct json_object *o = json_object_new_object(), *list;
	struct io_stats sum;
	const struct queue *q;
	unsigned int i, n;

	list = json_object_new_array();
	for (i = 0; i < t->n_reactors; i++)
		json_object_array_add(list, reactor_stats(t->reactors[i]));
	json_object_object_add(o, "reactors", list);

	list = json_object_new_array();
	pthread_mutex_lock(&t->changing);
	for (i = 0; i < t->n_subsystems; i++) {
		const struct subsystem_state *state = subsystem_now(t->subsystems[i]);

		for (n = 0; n < state->n_namespaces; n++)
			json_object_array_add(list, namespace_stats(t, state->namespaces[n], &sum));
	}
	json_object_object_add(o, "limits", limit_stats(t));
	pthread_mutex_unlock(&t->changing);
	json_object_object_add(o, "namespaces", list);

	list = json_object_new_array();
	pthread_mutex_lock(&t->mutex);
	for (q = t->queues; q; q = q->next)
		json_object_array_add(list, queue_stats(t, q, &sum));
	pthread_mutex_unlock(&t->mutex);
	json_object_object_add(o, "queues", list);
	return o;
}

int target_stats_text(struct target *t, char **ret_text)
{
	struct json_object *o = target_stats(t);
	char *text = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));

	json_object_put(o);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}
