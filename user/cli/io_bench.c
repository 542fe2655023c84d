// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io bench`: one thread a queue keeps its commands outstanding; the main thread opens, starts all of them
 * together, sends keep-alives, shows progress, stops and adds up. Threads share nothing but the flags of struct bench;
 * each writes its own struct bench_queue.
 */
#include "cli/io_bench.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"

#define PROGRESS_NS NSEC_PER_SEC

struct space {
	uint32_t nsid;
	uint8_t block_shift;
	uint64_t first, blocks; /* in units of --block-size */
};

struct bench {
	const struct io_options *o;
	struct multipath *m;
	struct space spaces[IO_NAMESPACES_MAX];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int opened, ended; /* threads that have connected or failed to; that have finished */
	bool go;
	bool stop; /* atomic */
};

struct worker {
	struct bench *b;
	pthread_t thread;
	bool started, connected;
	struct lane *lane;
	struct path_io *ios;
	uint8_t *buffers;
	uint64_t random, position, left; /* left: commands still to submit, with --count */
	struct bench_queue result;
};

/* ---- what to do next ---- */

/* xorshift64*: a few cycles, good enough to spread addresses; never 0. */
static uint64_t next_random(struct worker *w)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return w->random * 0x2545f4914f6cdd1dull;
}

/* A number below n, from the high bits; n < 2^64. */
static uint64_t random_below(struct worker *w, uint64_t n)
{
	return (uint64_t)((unsigned __int128)next_random(w) * n >> 64);
}

static struct pattern pattern_of(const struct worker *w, const struct space *space)
{
	return (struct pattern){.seed = w->b->o->seed, .nsid = space->nsid, .block = 1u << space->block_shift};
}

static const struct space *pick_space(struct worker *w)
{
	const struct bench *b = w->b;

	if (b->o->n_nsids == 1)
		return &b->spaces[0];
	return &b->spaces[b->o->sequential ? w->position % b->o->n_nsids : random_below(w, b->o->n_nsids)];
}

/* In sequence: each queue starts at its own share of the range and goes round it. */
static uint64_t pick_block(struct worker *w, const struct space *space)
{
	uint64_t share, at;

	if (!w->b->o->sequential)
		return space->first + random_below(w, space->blocks);
	share = space->blocks / w->b->o->queues * (w->result.qid - 1u);
	at = w->position++ / w->b->o->n_nsids;
	return space->first + (share + at) % space->blocks;
}

static bool pick_read(struct worker *w)
{
	unsigned int percent = w->b->o->read_percent;

	return percent == 100 || (percent && random_below(w, 100) < percent);
}

static void build(struct worker *w, struct path_io *p)
{
	const struct io_options *o = w->b->o;
	const struct space *space = pick_space(w);
	unsigned int shift = space->block_shift;
	uint64_t offset = pick_block(w, space) * o->block_size;
	bool read = pick_read(w);
	struct initiator_io *io = &p->io;

	p->ns = (unsigned int)(space - w->b->spaces);
	io->sqe = nvme_sqe_rw(read ? NVME_IO_READ : NVME_IO_WRITE, 0, space->nsid, offset >> shift,
			      o->block_size >> shift);
	if (!read && o->verify) {
		const struct pattern pattern = pattern_of(w, space);

		pattern_fill(&pattern, offset, io->data, io->len);
	}
}

/* ---- completions ---- */

static void count_error(struct bench_queue *r, const struct initiator_io *io)
{
	uint16_t status = io->error ? 0 : io->status & NVME_STATUS_CODE;

	histogram_bump(&r->errors, 1);
	for (struct bench_status *s = r->statuses; s < r->statuses + BENCH_STATUSES; s++) {
		if (s->count && (s->status != status || s->error != io->error))
			continue;
		s->status = status;
		s->error = io->error;
		s->count++;
		return;
	}
}

static void check_data(struct worker *w, const struct path_io *p)
{
	const struct initiator_io *io = &p->io;
	const struct nvme_rw_sqe *rw = (const void *)&io->sqe;
	const struct space *space = &w->b->spaces[p->ns];
	struct pattern_fault fault;
	struct pattern pattern;
	size_t bad;

	pattern = pattern_of(w, space);
	bad = pattern_check(&pattern, le64toh(rw->slba) << space->block_shift, io->data, io->len, &fault);
	if (bad && !w->result.bad_blocks)
		w->result.fault = fault;
	w->result.bad_blocks += bad;
}

static void submit_next(struct worker *w, struct path_io *io)
{
	if (w->b->o->count ? !w->left : __atomic_load_n(&w->b->stop, __ATOMIC_RELAXED))
		return;
	if (w->left)
		w->left--;
	build(w, io);
	/* -ENOTCONN: no path is left, which lane_poll() reports; there is always room for this one */
	lane_submit(w->lane, io);
}

static void io_done(struct path_io *p)
{
	const struct initiator_io *io = &p->io;
	struct worker *w = p->owner;
	bool read = io->sqe.opcode == NVME_IO_READ;

	if (io->error || io->status & NVME_STATUS_CODE) {
		count_error(&w->result, io);
	} else {
		histogram_add(read ? &w->result.reads : &w->result.writes, io->finished_ns - io->submitted_ns);
		if (read && w->b->o->verify)
			check_data(w, p);
	}
	submit_next(w, p);
}

/* ---- a queue's thread ---- */

static int allocate(struct worker *w, struct error *err)
{
	const struct io_options *o = w->b->o;
	size_t bytes = ((size_t)o->depth * o->block_size + 4095) & ~4095ul;

	w->ios = calloc(o->depth, sizeof(*w->ios));
	w->buffers = aligned_alloc(4096, bytes);
	if (!w->ios || !w->buffers)
		return error_set(err, ENOMEM, "no memory for %u buffers of %u bytes; use a smaller --depth", o->depth,
				 o->block_size);
	memset(w->buffers, 0, bytes); /* touched now, not while it is measured */
	for (unsigned int k = 0; k < o->depth; k++)
		w->ios[k] = (struct path_io){
			.io.data = w->buffers + (size_t)k * o->block_size,
			.io.len = o->block_size,
			.done = io_done,
			.owner = w,
		};
	return 0;
}

static int pin(const struct worker *w, struct error *err)
{
	cpu_set_t set;
	int r;

	if (w->result.cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET((unsigned int)w->result.cpu, &set);
	r = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	return r ? error_system(err, r, "--cpus: CPU %d", w->result.cpu) : 0;
}

/* Connects, says so, and waits for the start. Whether to go on. */
static bool get_ready(struct worker *w)
{
	struct error *failure = &w->result.failure;
	struct bench *b = w->b;

	w->connected = !pin(w, failure) && !allocate(w, failure) &&
		       !lane_open(b->m, w->result.qid - 1u, b->o->depth, b->o->spin_us, &w->lane, failure);
	pthread_mutex_lock(&b->lock);
	b->opened++;
	pthread_cond_broadcast(&b->changed);
	while (!b->go)
		pthread_cond_wait(&b->changed, &b->lock);
	pthread_mutex_unlock(&b->lock);
	return w->connected && !__atomic_load_n(&b->stop, __ATOMIC_RELAXED);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct bench *b = w->b;
	int r = 0;

	if (get_ready(w)) {
		for (unsigned int k = 0; k < b->o->depth; k++)
			submit_next(w, &w->ios[k]);
		while (!r && lane_outstanding(w->lane))
			r = lane_poll(w->lane, true, &w->result.failure);
	}
	lane_close(w->lane); /* in this thread: it owns the rings */
	pthread_mutex_lock(&b->lock);
	b->ended++;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

/* ---- the main thread ---- */

static uint64_t sum_ios(const struct worker *workers, unsigned int n, uint64_t *ret_errors)
{
	uint64_t ios = 0;

	*ret_errors = 0;
	for (unsigned int k = 0; k < n; k++) {
		ios += __atomic_load_n(&workers[k].result.reads.count, __ATOMIC_RELAXED) +
		       __atomic_load_n(&workers[k].result.writes.count, __ATOMIC_RELAXED);
		*ret_errors += __atomic_load_n(&workers[k].result.errors, __ATOMIC_RELAXED);
	}
	return ios;
}

/* Waits until all have ended, at most until then. Whether they have. */
static bool wait_ended(struct bench *b, uint64_t until)
{
	const struct timespec ts = {.tv_sec = (time_t)(until / NSEC_PER_SEC), .tv_nsec = (long)(until % NSEC_PER_SEC)};
	int r = 0;
	bool ended;

	pthread_mutex_lock(&b->lock);
	while (b->ended < b->o->queues && !r)
		r = pthread_cond_timedwait(&b->changed, &b->lock, &ts);
	ended = b->ended == b->o->queues;
	pthread_mutex_unlock(&b->lock);
	return ended;
}

/* From the start until all queues have ended. */
static void supervise(struct bench *b, struct worker *workers, uint64_t started)
{
	const bool progress = isatty(STDERR_FILENO);
	uint64_t end = b->o->count ? UINT64_MAX : started + b->o->time_ns, next = started, last = started;
	uint64_t before = 0, ios, errors, now;
	const struct bench_result result = {.o = b->o};

	for (;;) {
		next += PROGRESS_NS;
		if (next > end)
			next = end;
		if (wait_ended(b, next))
			return;
		now = time_now_ns();
		if (now >= end) {
			__atomic_store_n(&b->stop, true, __ATOMIC_RELAXED);
			end = UINT64_MAX;
		}
		if (progress) {
			ios = sum_ios(workers, b->o->queues, &errors);
			bench_progress(&result, ios - before, errors, (double)(now - last) / 1e9);
			before = ios;
			last = now;
		}
	}
}

static int start_threads(struct bench *b, struct worker *workers, struct error *err)
{
	const struct io_options *o = b->o;
	int r;

	for (unsigned int k = 0; k < o->queues; k++) {
		struct worker *w = &workers[k];

		*w = (struct worker){
			.b = b,
			.random = o->seed * 0x9e3779b97f4a7c15ull + k + 1,
			.left = o->count / o->queues + (k < o->count % o->queues),
			.result = {.qid = (uint16_t)(k + 1), .cpu = o->n_cpus ? (int)o->cpus[k % o->n_cpus] : -1},
		};
		w->random = w->random ? w->random : 1;
		r = pthread_create(&w->thread, NULL, worker_main, w);
		if (r)
			return error_system(err, r, "thread of queue %u", k + 1);
		w->started = true;
	}
	return 0;
}

/* Lets all begin at once, or, unless all are connected, end. Returns the start time. */
static uint64_t release(struct bench *b, struct worker *workers, bool all_started)
{
	unsigned int n = 0;
	bool fine = all_started;
	uint64_t now;

	for (unsigned int k = 0; k < b->o->queues; k++)
		n += workers[k].started;
	pthread_mutex_lock(&b->lock);
	while (b->opened < n)
		pthread_cond_wait(&b->changed, &b->lock);
	for (unsigned int k = 0; k < n; k++)
		fine &= workers[k].connected;
	if (!fine)
		b->stop = true;
	b->go = true;
	now = time_now_ns();
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
	return fine ? now : 0;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int report(const struct bench *b, const struct worker *workers, double seconds, double cpu)
{
	_cleanup_free_ struct bench_queue *queues = calloc(b->o->queues, sizeof(*queues));
	const struct bench_result result = {.o = b->o, .queues = queues, .m = b->m, .seconds = seconds, .cpu_seconds = cpu};

	if (!queues)
		return EXIT_SYSTEM;
	for (unsigned int k = 0; k < b->o->queues; k++)
		queues[k] = workers[k].result;
	if (b->o->json)
		bench_json(&result);
	else
		bench_print(&result);
	return bench_failed(&result) ? EXIT_NO : EXIT_FINE;
}

static int run(struct bench *b, struct error *err)
{
	_cleanup_free_ struct worker *workers = calloc(b->o->queues, sizeof(*workers));
	double seconds = 0, cpu = cpu_seconds();
	uint64_t started;
	int r, status = EXIT_SYSTEM;

	if (!workers) {
		error_set(err, ENOMEM, "no memory for %u queues", b->o->queues);
		return status;
	}
	r = start_threads(b, workers, err);
	started = release(b, workers, !r);
	if (started) {
		supervise(b, workers, started);
		seconds = (double)(time_now_ns() - started) / 1e9;
	}
	for (unsigned int k = 0; k < b->o->queues; k++) {
		if (workers[k].started)
			pthread_join(workers[k].thread, NULL);
		if (!started && !*err->text && *workers[k].result.failure.text)
			*err = workers[k].result.failure;
	}
	if (started)
		status = report(b, workers, seconds, cpu_seconds() - cpu);
	for (unsigned int k = 0; k < b->o->queues; k++) {
		free(workers[k].ios);
		free(workers[k].buffers);
	}
	return status;
}

/* ---- what to work on ---- */

static int check_space(const struct io_options *o, uint32_t nsid, const struct nvme_ns_view *ns,
		       struct space *ret_space, struct error *err)
{
	uint64_t block = 1ull << ns->block_shift, size = ns->blocks << ns->block_shift;
	uint64_t length = o->length ? o->length : o->offset < size ? size - o->offset : 0;

	if (o->block_size % block)
		return error_set(err, EINVAL,
				 "--block-size %u: namespace %u has blocks of %" PRIu64 " bytes; use a multiple",
				 o->block_size, nsid, block);
	if (o->offset % o->block_size)
		return error_set(err, EINVAL, "--offset: must be a multiple of --block-size, %u", o->block_size);
	if (o->offset > size || length > size - o->offset || length < o->block_size)
		return error_set(err, EINVAL,
				 "namespace %u has %" PRIu64 " bytes; choose --offset, --length and --block-size "
				 "within that",
				 nsid, size);
	if (ns->readonly && o->read_percent < 100)
		return error_set(err, EROFS, "namespace %u is read-only; use --read-percent 100", nsid);
	*ret_space = (struct space){
		.nsid = nsid,
		.block_shift = ns->block_shift,
		.first = o->offset / o->block_size,
		.blocks = length / o->block_size,
	};
	return 0;
}

static int prepare(struct bench *b, struct error *err)
{
	const struct io_options *o = b->o;
	if (io_paths_open(o, o->queues, &b->m, err))
		return EXIT_SYSTEM;
	for (unsigned int k = 0; k < o->n_nsids; k++) {
		if (check_space(o, o->nsids[k], multipath_namespace(b->m, k), &b->spaces[k], err))
			return EXIT_USAGE;
	}
	if (o->block_size > multipath_max_transfer(b->m)) {
		error_set(err, EINVAL, "--block-size %u: the target takes at most %u bytes a command", o->block_size,
			  multipath_max_transfer(b->m));
		return EXIT_USAGE;
	}
	return EXIT_FINE;
}

int io_bench(const struct io_options *o, struct error *err)
{
	struct bench b = {.o = o, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_condattr_t attr;
	int status;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* that of time_now_ns() */
	pthread_cond_init(&b.changed, &attr);
	status = prepare(&b, err);
	if (!status)
		status = run(&b, err);
	multipath_close(b.m);
	pthread_cond_destroy(&b.changed);
	pthread_condattr_destroy(&attr);
	return status;
}
