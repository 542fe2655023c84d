// SPDX-License-Identifier: Apache-2.0
/* Prints what `sluice io bench` measured: tables for people, JSON with stable names for scripts, a line of progress. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cli/io_bench.h"
#include "cli/table.h"

static const struct {
	const char *name; /* in JSON */
	unsigned int rank;
} percentiles[] = {{"p50", 50000}, {"p90", 90000}, {"p99", 99000}, {"p999", 99900}};

/* Reads, writes, both: static because three of 8 KiB are much for a stack. */
struct parts {
	struct histogram read, write, total;
	uint64_t errors, bad_blocks;
};

static void add_up(const struct bench_result *result, struct parts *p)
{
	memset(p, 0, sizeof(*p));
	for (unsigned int k = 0; k < result->o->queues; k++) {
		const struct bench_queue *q = &result->queues[k];

		histogram_merge(&p->read, &q->reads);
		histogram_merge(&p->write, &q->writes);
		p->errors += q->errors;
		p->bad_blocks += q->bad_blocks;
	}
	histogram_merge(&p->total, &p->read);
	histogram_merge(&p->total, &p->write);
}

bool bench_failed(const struct bench_result *result)
{
	for (unsigned int k = 0; k < result->o->queues; k++) {
		const struct bench_queue *q = &result->queues[k];

		if (q->errors || q->bad_blocks || *q->failure.text)
			return true;
	}
	return false;
}

void bench_progress(const struct bench_result *now, uint64_t ios, uint64_t errors, double seconds)
{
	double rate = (double)ios / seconds;

	fprintf(stderr, "\r%10.0f IOPS %9.1f MiB/s", rate, rate * now->o->block_size / (1 << 20));
	if (errors)
		fprintf(stderr, "  %" PRIu64 " errors", errors);
	fprintf(stderr, "\033[K");
	fflush(stderr);
}

static const char *status_text(const struct bench_status *s)
{
	return s->error ? strerror(-s->error) : nvme_status_name(s->status);
}

/* The statuses of all queues together; returns how many. */
static size_t merge_statuses(const struct bench_result *result, struct bench_status *all, size_t max)
{
	size_t n = 0;

	for (unsigned int k = 0; k < result->o->queues; k++) {
		for (size_t i = 0; i < BENCH_STATUSES && result->queues[k].statuses[i].count; i++) {
			const struct bench_status *s = &result->queues[k].statuses[i];
			size_t at = 0;

			while (at < n && (all[at].status != s->status || all[at].error != s->error))
				at++;
			if (at == n && n < max)
				all[n++] = (struct bench_status){.status = s->status, .error = s->error};
			if (at < n)
				all[at].count += s->count;
		}
	}
	return n;
}

/* ---- for people ---- */

static void add_row(struct table *t, const char *name, const struct histogram *h, const struct bench_result *r)
{
	double rate = r->seconds > 0 ? (double)h->count / r->seconds : 0;

	if (!h->count)
		return;
	table_row(t, "%s", name);
	table_cell(t, "%.0f", rate);
	table_cell(t, "%.1f", rate * r->o->block_size / (1 << 20));
	table_cell(t, "%.1f", histogram_mean(h) / 1000);
	for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
		table_cell(t, "%.1f", (double)histogram_percentile(h, percentiles[i].rank) / 1000);
	table_cell(t, "%.1f", (double)h->max / 1000);
}

static void print_failures(const struct bench_result *result, const struct parts *p)
{
	struct bench_status all[4 * BENCH_STATUSES];
	size_t n = merge_statuses(result, all, ARRAY_SIZE(all));
	char text[192];

	if (p->errors)
		printf("\n%" PRIu64 " commands FAILED\n", p->errors);
	for (size_t i = 0; i < n; i++)
		printf("  %10" PRIu64 "  %s\n", all[i].count, status_text(&all[i]));
	if (p->bad_blocks)
		printf("\n%" PRIu64 " BAD BLOCKS\n", p->bad_blocks);
	for (unsigned int k = 0; k < result->o->queues; k++) {
		if (result->queues[k].bad_blocks)
			printf("  queue %u: %s\n", k + 1,
			       pattern_fault_text(&result->queues[k].fault, text, sizeof(text)));
		if (*result->queues[k].failure.text)
			printf("\nqueue %u ended early: %s\n", k + 1, result->queues[k].failure.text);
	}
}

void bench_print(const struct bench_result *result)
{
	static struct parts p;
	const struct io_options *o = result->o;
	struct table t;

	add_up(result, &p);
	table_start(&t, (const struct table_column[]){{.title = ""},
						      {"IOPS", .right = true},
						      {"MiB/s", .right = true},
						      {"mean us", .right = true},
						      {"p50", .right = true},
						      {"p90", .right = true},
						      {"p99", .right = true},
						      {"p99.9", .right = true},
						      {"max", .right = true},
						      {}});
	add_row(&t, "read", &p.read, result);
	add_row(&t, "write", &p.write, result);
	if (p.read.count && p.write.count)
		add_row(&t, "total", &p.total, result);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	printf("%s, %u %% reads, %s blocks, depth %u, %u queue%s: %" PRIu64 " commands in %.2f s, %.2f s of CPU\n\n",
	       o->sequential ? "sequential" : "random", o->read_percent, bytes_text(o->block_size).text, o->depth,
	       o->queues, o->queues == 1 ? "" : "s", p.total.count, result->seconds, result->cpu_seconds);
	table_print(&t, stdout);
	table_done(&t);
	print_failures(result, &p);
	io_paths_print(result->m);
}

/* ---- for scripts ---- */

static void add_number(struct json_object *to, const char *name, double v)
{
	char text[40];

	/* three decimals: json-c's own form of a double has seventeen digits */
	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(to, name, json_object_new_double_s(v, text));
}

static void add_count(struct json_object *to, const char *name, uint64_t v)
{
	json_object_object_add(to, name, json_object_new_int64((int64_t)v));
}

static void add_part(struct json_object *to, const char *name, const struct histogram *h, const struct bench_result *r)
{
	struct json_object *part = json_object_new_object(), *latency = json_object_new_object();
	double rate = r->seconds > 0 ? (double)h->count / r->seconds : 0;

	add_count(part, "ios", h->count);
	add_count(part, "bytes", h->count * r->o->block_size);
	add_number(part, "iops", rate);
	add_number(part, "mib_per_s", rate * r->o->block_size / (1 << 20));
	add_number(latency, "mean", histogram_mean(h) / 1000);
	add_number(latency, "min", (double)histogram_min(h) / 1000);
	for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
		add_number(latency, percentiles[i].name, (double)histogram_percentile(h, percentiles[i].rank) / 1000);
	add_number(latency, "max", (double)h->max / 1000);
	json_object_object_add(part, "latency_us", latency);
	json_object_object_add(to, name, part);
}

static void add_statuses(struct json_object *to, const struct bench_result *result)
{
	struct json_object *list = json_object_new_array();
	struct bench_status all[4 * BENCH_STATUSES];
	size_t n = merge_statuses(result, all, ARRAY_SIZE(all));

	for (size_t i = 0; i < n; i++) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "status",
				       json_object_new_int(all[i].error ? all[i].error : all[i].status));
		json_object_object_add(entry, "name", json_object_new_string(status_text(&all[i])));
		add_count(entry, "count", all[i].count);
		json_object_array_add(list, entry);
	}
	json_object_object_add(to, "statuses", list);
}

static void add_queues(struct json_object *to, const struct bench_result *result)
{
	struct json_object *queues = json_object_new_array(), *failures = json_object_new_array();

	for (unsigned int k = 0; k < result->o->queues; k++) {
		const struct bench_queue *q = &result->queues[k];
		struct json_object *entry = json_object_new_object();
		uint64_t ios = q->reads.count + q->writes.count;

		json_object_object_add(entry, "qid", json_object_new_int(q->qid));
		json_object_object_add(entry, "cpu", json_object_new_int(q->cpu));
		add_count(entry, "ios", ios);
		add_number(entry, "iops", result->seconds > 0 ? (double)ios / result->seconds : 0);
		json_object_array_add(queues, entry);
		if (*q->failure.text)
			json_object_array_add(failures, json_object_new_string(q->failure.text));
	}
	json_object_object_add(to, "failures", failures);
	json_object_object_add(to, "per_queue", queues);
}

void bench_json(const struct bench_result *result)
{
	static struct parts p;
	const struct io_options *o = result->o;
	struct json_object *root = json_object_new_object();

	add_up(result, &p);
	json_object_object_add(root, "target", json_object_new_string(o->target.addr.text));
	json_object_object_add(root, "subsystem", json_object_new_string(o->target.subnqn));
	json_object_object_add(root, "pattern", json_object_new_string(o->sequential ? "sequential" : "random"));
	add_count(root, "read_percent", o->read_percent);
	add_count(root, "block_size", o->block_size);
	add_count(root, "depth", o->depth);
	add_count(root, "queues", o->queues);
	add_number(root, "seconds", result->seconds);
	add_number(root, "cpu_seconds", result->cpu_seconds);
	add_part(root, "total", &p.total, result);
	add_part(root, "read", &p.read, result);
	add_part(root, "write", &p.write, result);
	add_count(root, "errors", p.errors);
	add_count(root, "bad_blocks", p.bad_blocks);
	add_statuses(root, result);
	add_queues(root, result);
	io_paths_add_json(root, o, result->m);
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}
