// SPDX-License-Identifier: Apache-2.0
/*
 * The initiator against sluice's own target, in one process: every backend, digests on and off, depths 1 and 128,
 * several queues at once. The data are the pattern's, so that a block in the wrong place is as visible as a wrong one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "storage/initiator.h"
#include "storage/pattern.h"
#include "storage/target.h"

#define SUBNQN	  "nqn.2026-11.io.example:t"
#define NS_BYTES  (8u << 20)
#define DEPTH_MAX 128
#define XFER_MAX  (256u << 10)

enum { NS_NULL = 1, NS_MEMORY, NS_FILE, NS_SMALL, NS_READONLY };

static struct target *target;
static char file[] = "/tmp/initiator_target_test.XXXXXX";
static struct error err;

static void setup(void)
{
	static struct policy_namespace namespaces[] = {
		{.id = NS_NULL, .backend = POLICY_BACKEND_NULL, .size = 1ull << 40, .block = 4096},
		{.id = NS_MEMORY, .backend = POLICY_BACKEND_MEMORY, .size = NS_BYTES, .block = 4096},
		{.id = NS_FILE, .backend = POLICY_BACKEND_FILE, .size = NS_BYTES, .block = 4096, .path = file},
		{.id = NS_SMALL, .backend = POLICY_BACKEND_MEMORY, .size = NS_BYTES, .block = 512},
		{.id = NS_READONLY, .backend = POLICY_BACKEND_MEMORY, .size = NS_BYTES, .block = 512, .readonly = true},
	};
	static struct policy_subsystem subsystem = {
		.nqn = SUBNQN,
		.any_host = true,
		.namespaces = namespaces,
		.n_namespaces = ARRAY_SIZE(namespaces),
	};
	static struct policy_portal portals[] = {{.address = "127.0.0.1"}, {.address = "::1"}};
	static struct policy_storage storage = {
		.present = true,
		.portals = portals,
		.n_portals = 2,
		.subsystems = &subsystem,
		.n_subsystems = 1,
		.steering = POLICY_STEER_NONE,
		.reactors_auto = true,
	};
	static unsigned int cpus[TARGET_MAX_REACTORS], n_cpus;
	struct target_options options = {.storage = &storage, .cpus = cpus};
	int fd = mkstemp(file);

	cr_assert(fd >= 0 && !ftruncate(fd, NS_BYTES) && !close(fd));
	cr_assert_eq(target_cpus(&storage, cpus, &n_cpus, &err), 0, "%s", err.text);
	options.n_cpus = min(n_cpus, 2u);
	cr_assert_eq(target_start(&options, &err, &target), 0, "%s", err.text);
}

static void teardown(void)
{
	target_stop(target, 1000);
	unlink(file);
}

TestSuite(initiator_target, .init = setup, .fini = teardown, .timeout = 120);

static struct initiator_options options_for(bool digests)
{
	struct initiator_options o = {
		.subnqn = SUBNQN,
		.hostnqn = "nqn.2026-11.io.example:host",
		.header_digest = digests,
		.data_digest = digests,
		.timeout_ms = 10000,
		.kato_ms = 0, /* nobody tends it while a queue is driven, and a loaded machine may take its time */
	};
	char text[64];

	target_portal_print(target, 0, text, sizeof(text));
	cr_assert_eq(initiator_addr_parse(text, 0, &o.addr, &err), 0, "%s", err.text);
	return o;
}

static struct initiator *open_with(bool digests)
{
	const struct initiator_options o = options_for(digests);
	struct initiator *i;

	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	return i;
}

/* ---- one pass over a range by one queue ---- */

struct worker {
	const struct initiator *i;
	uint16_t qid;
	unsigned int depth;
	uint32_t nsid, block, xfer;
	uint64_t first, end; /* bytes */
	uint8_t opcode;
	bool holds_data; /* what is read must be the pattern */
	/* private */
	struct initiator_queue *q;
	struct initiator_io ios[DEPTH_MAX];
	uint8_t *buffers;
	uint64_t at;
	size_t bad;
	unsigned int failed;
	struct error err;
	int r;
};

static void submit_next(struct worker *w, struct initiator_io *io)
{
	const struct pattern pattern = {.seed = 3, .nsid = w->nsid, .block = w->block};
	uint32_t len = (uint32_t)min((uint64_t)w->xfer, w->end - w->at);

	if (!len)
		return;
	io->len = len;
	io->sqe = nvme_sqe_rw(w->opcode, 0, w->nsid, w->at / w->block, len / w->block);
	if (w->opcode == NVME_IO_WRITE)
		pattern_fill(&pattern, w->at, io->data, len);
	else
		memset(io->data, 0xdb, len);
	w->at += len;
	if (initiator_queue_submit(w->q, io))
		w->failed++;
}

static void io_done(struct initiator_io *io)
{
	const struct nvme_rw_sqe *rw = (const void *)&io->sqe;
	struct worker *w = io->owner;
	const struct pattern pattern = {.seed = 3, .nsid = w->nsid, .block = w->block};
	struct pattern_fault fault;

	if (io->error || io->status)
		w->failed++;
	else if (io->sqe.opcode == NVME_IO_READ && w->holds_data)
		w->bad += pattern_check(&pattern, le64toh(rw->slba) * w->block, io->data, io->len, &fault);
	submit_next(w, io);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	w->buffers = aligned_alloc(4096, (size_t)w->depth * w->xfer);
	w->at = w->first;
	w->r = w->buffers ? initiator_queue_open(w->i, w->qid, w->depth, &w->q, &w->err) : -ENOMEM;
	if (!w->r) {
		for (unsigned int k = 0; k < w->depth; k++) {
			w->ios[k] = (struct initiator_io){
				.data = w->buffers + (size_t)k * w->xfer, .done = io_done, .owner = w};
			submit_next(w, &w->ios[k]);
		}
		while (!w->r && initiator_queue_outstanding(w->q))
			w->r = initiator_queue_poll(w->q, true, &w->err);
		initiator_queue_close(w->q);
	}
	free(w->buffers);
	return NULL;
}

/* Each of n queues takes its share; all must succeed and every block must be good. */
static void pass(const struct initiator *i, unsigned int n, struct worker how, uint64_t bytes)
{
	static struct worker workers[4];
	pthread_t threads[4];

	for (unsigned int k = 0; k < n; k++) {
		workers[k] = how;
		workers[k].i = i;
		workers[k].qid = (uint16_t)(k + 1);
		workers[k].first = bytes / n * k;
		workers[k].end = bytes / n * (k + 1);
		cr_assert_eq(pthread_create(&threads[k], NULL, run, &workers[k]), 0);
	}
	for (unsigned int k = 0; k < n; k++)
		pthread_join(threads[k], NULL);
	for (unsigned int k = 0; k < n; k++) {
		const struct worker *w = &workers[k];

		cr_assert(!w->r && !w->failed && !w->bad && w->at == w->end,
			  "ns %u depth %u xfer %u op %u queue %u: %d %s, %u failed, %zu bad", w->nsid, w->depth,
			  w->xfer, w->opcode, k + 1, w->r, w->err.text, w->failed, w->bad);
	}
}

static void write_and_read(bool digests, unsigned int queues)
{
	static const uint32_t xfers[] = {4096, 12288, 65536, XFER_MAX};
	static const unsigned int depths[] = {1, DEPTH_MAX};
	static const struct {
		uint32_t nsid, block;
	} spaces[] = {{NS_MEMORY, 4096}, {NS_FILE, 4096}, {NS_SMALL, 512}, {NS_NULL, 4096}};
	struct initiator *i = open_with(digests);
	unsigned int granted;

	cr_assert_eq(initiator_set_queues(i, queues, &granted, &err), 0, "%s", err.text);
	for (size_t s = 0; s < ARRAY_SIZE(spaces); s++) {
		for (size_t d = 0; d < ARRAY_SIZE(depths) * ARRAY_SIZE(xfers); d++) {
			struct worker how = {
				.nsid = spaces[s].nsid,
				.block = spaces[s].block,
				.holds_data = spaces[s].nsid != NS_NULL,
				.depth = depths[d / ARRAY_SIZE(xfers)],
				.xfer = xfers[d % ARRAY_SIZE(xfers)],
			};

			how.opcode = NVME_IO_WRITE;
			pass(i, queues, how, NS_BYTES);
			how.opcode = NVME_IO_READ;
			pass(i, queues, how, NS_BYTES);
		}
	}
	initiator_close(i);
}

Test(initiator_target, every_backend)
{
	write_and_read(false, 1);
}

Test(initiator_target, every_backend_with_digests)
{
	write_and_read(true, 1);
}

Test(initiator_target, several_queues_at_once)
{
	write_and_read(false, 4);
}

Test(initiator_target, several_queues_with_digests)
{
	write_and_read(true, 2);
}

/* ---- the rest of a controller ---- */

Test(initiator_target, namespaces_and_identity)
{
	struct initiator *i = open_with(false);
	struct nvme_ns_view ns;
	uint8_t uuid[16];
	uint32_t *nsids;
	size_t n;

	cr_assert_str_eq(initiator_controller(i)->subnqn, SUBNQN);
	cr_assert_eq(initiator_namespaces(i, &nsids, &n, &err), 0, "%s", err.text);
	cr_assert_eq(n, 5);
	free(nsids);
	cr_assert_eq(initiator_namespace(i, NS_SMALL, &ns, &err), 0, "%s", err.text);
	cr_assert_eq(ns.blocks, NS_BYTES / 512);
	cr_assert_eq(ns.block_shift, 9);
	cr_assert_eq(initiator_namespace(i, NS_READONLY, &ns, &err), 0, "%s", err.text);
	cr_assert(ns.readonly);
	cr_assert_eq(initiator_namespace_uuid(i, 1, uuid, &err), 0, "%s", err.text);
	cr_assert_lt(initiator_namespace(i, 99, &ns, &err), 0);
	initiator_close(i);
}

Test(initiator_target, refused_commands_in_words)
{
	static uint8_t block[512] __attribute__((aligned(64)));
	const struct {
		struct nvme_sqe sqe;
		const char *words;
	} rows[] = {
		{nvme_sqe_rw(NVME_IO_READ, 0, NS_SMALL, NS_BYTES / 512, 1), "past the namespace"},
		{nvme_sqe_rw(NVME_IO_WRITE, 0, NS_READONLY, 0, 1), "read-only"},
		{nvme_sqe_rw(NVME_IO_READ, 0, 99, 0, 1), "lists the namespaces"},
	};
	struct initiator *i = open_with(false);
	struct initiator_queue *q;
	unsigned int granted;

	cr_assert_eq(initiator_set_queues(i, 1, &granted, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_queue_open(i, 1, 4, &q, &err), 0, "%s", err.text);
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		struct initiator_io io = {.sqe = rows[k].sqe, .data = block, .len = sizeof(block)};

		cr_assert_eq(initiator_queue_execute(q, &io, &err), -EIO);
		cr_assert(strstr(err.text, rows[k].words), "row %zu: %s", k, err.text);
	}
	initiator_queue_close(q);
	initiator_close(i);
}

Test(initiator_target, discovery)
{
	struct initiator_options o = options_for(false);
	struct nvme_discovery_entry *entries;
	struct initiator *i;
	size_t n, skipped, found = 0;

	strcpy(o.subnqn, NVME_DISCOVERY_NQN);
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_discover(i, &entries, &n, &skipped, &err), 0, "%s", err.text);
	for (size_t k = 0; k < n; k++)
		found += !strcmp(entries[k].subnqn, SUBNQN) && entries[k].subtype == NVME_SUBTYPE_NVM;
	cr_assert_eq(found, 2); /* one a portal */
	cr_assert_eq(skipped, 0);
	free(entries);
	initiator_close(i);
}

Test(initiator_target, keep_alive_keeps_alive)
{
	struct initiator_options o = options_for(false);
	uint64_t until = time_now_ns() + 3 * NSEC_PER_SEC;
	struct nvme_ns_view ns;
	struct initiator *i;

	o.kato_ms = 1000;
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	while (time_now_ns() < until) {
		cr_assert_eq(initiator_tend(i, &err), 0, "%s", err.text);
		usleep(100000);
	}
	cr_assert_eq(initiator_namespace(i, 1, &ns, &err), 0, "%s", err.text);
	initiator_close(i);
}

Test(initiator_target, ipv6)
{
	struct initiator_options o = options_for(true);
	struct initiator *i;
	char text[64];

	target_portal_print(target, 1, text, sizeof(text));
	cr_assert_eq(initiator_addr_parse(text, 0, &o.addr, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s: %s", text, err.text);
	cr_assert_eq(initiator_controller(i)->nn, TARGET_MAX_NSID);
	initiator_close(i);
}
