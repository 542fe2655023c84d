// SPDX-License-Identifier: Apache-2.0
/*
 * What was acknowledged as durable is durable. Twice: against a model of a loss of power over the file backend, at
 * every single answer; and with the real binary, killed in the midst of writes and started again, when not even a write
 * that was acknowledged without that promise may be missing. Blocks carry their number and a version that grows, so
 * that a lost, an old, a misplaced and a torn block are told apart.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "cut_backend.h"
#include "storage_client.h"

#define WORKERS 2
#define OWN	(CUT_BLOCKS / WORKERS) /* blocks of a worker: only it writes them */
#define RUN_MAX 8		       /* blocks of one write */

/* Of each block; grows. */
static struct {
	uint32_t issued;   /* last version sent */
	uint32_t acked;	   /* last that was acknowledged */
	uint32_t promised; /* last that was acknowledged as durable: by FUA, or by a flush sent later */
} blocks[CUT_BLOCKS];

static struct worker {
	pthread_t thread;
	struct client client;
	unsigned int number;
	unsigned int writes, flushes, broken; /* broken: a promise that a cut would break */
	bool model;			      /* ask it at every answer */
	unsigned int rounds;
	uint32_t random;
} workers[WORKERS];

static sem_t written; /* once for each write that was acknowledged */

static uint32_t load(const uint32_t *v)
{
	return __atomic_load_n(v, __ATOMIC_ACQUIRE);
}

static void raise_to(uint32_t *v, uint32_t value)
{
	uint32_t seen = load(v);

	while (seen < value && !__atomic_compare_exchange_n(v, &seen, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

static uint32_t draw(struct worker *w, uint32_t below)
{
	w->random = w->random * 1664525 + 1013904223;
	return (w->random >> 8) % below;
}

/* ---- blocks ---- */

static void block_fill(uint32_t *words, unsigned int block, uint32_t version)
{
	unsigned int i;

	for (i = 0; i < CUT_BLOCK / 4; i++)
		words[i] = i % 2 ? block : version;
}

/* The version that a block holds; UINT32_MAX: torn, or another block. A block that was never written holds version 0.
 */
static uint32_t block_version(const uint32_t *words, unsigned int block)
{
	unsigned int i;

	for (i = 0; i < CUT_BLOCK / 4; i++)
		if (words[i] != (i % 2 ? (words[0] ? block : 0) : words[0]))
			return UINT32_MAX;
	return words[0];
}

/* ---- a worker: one command at a time ---- */

static void check_model(struct worker *w)
{
	unsigned int i, block;

	for (i = 0; w->model && i < 16; i++) {
		uint32_t promised;

		block = draw(w, CUT_BLOCKS);
		promised = load(&blocks[block].promised);
		if (cut_survives(block) < promised)
			w->broken++;
	}
}

static int write_run(struct worker *w)
{
	static __thread uint32_t data[RUN_MAX * CUT_BLOCK / 4];
	unsigned int n = 1 + draw(w, RUN_MAX), first = w->number * OWN + draw(w, OWN - n), i;
	bool fua = !draw(w, 4);
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_FILE, first, n);
	int r;

	((struct nvme_rw_sqe *)&sqe)->control = htole16(fua ? NVME_RW_FUA : 0);
	for (i = 0; i < n; i++) {
		uint32_t version = blocks[first + i].issued + 1;

		__atomic_store_n(&blocks[first + i].issued, version, __ATOMIC_RELEASE);
		block_fill(data + i * CUT_BLOCK / 4, first + i, version);
	}
	r = client_run(&w->client, sqe, data, n * CUT_BLOCK, n <= 2, NULL);
	for (i = 0; i < n && !r; i++) {
		__atomic_store_n(&blocks[first + i].acked, blocks[first + i].issued, __ATOMIC_RELEASE);
		if (fua)
			raise_to(&blocks[first + i].promised, blocks[first + i].issued);
	}
	w->writes += !r;
	if (!r)
		sem_post(&written);
	return r;
}

static int flush(struct worker *w)
{
	static __thread uint32_t before[CUT_BLOCKS];
	unsigned int i;
	int r;

	/* What was acknowledged to anybody when it was sent. */
	for (i = 0; i < CUT_BLOCKS; i++)
		before[i] = load(&blocks[i].acked);
	r = client_run(&w->client, nvme_sqe_flush(0, NS_FILE), NULL, 0, false, NULL);
	for (i = 0; i < CUT_BLOCKS && !r; i++)
		raise_to(&blocks[i].promised, before[i]);
	w->flushes += !r;
	return r;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int i;

	for (i = 0; i < w->rounds; i++) {
		if (draw(w, 10) ? write_run(w) : flush(w))
			break;
		check_model(w);
	}
	return NULL;
}

static void connect_workers(uint16_t port, struct client *admin)
{
	unsigned int i;

	client_open(admin, port, 0);
	cr_assert_eq(client_connect(admin, &(struct client_connect){}), 0);
	cr_assert_eq(client_enable(admin), 0);
	cr_assert_eq(client_run(admin, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 3 << 16 | 3),
				NULL, 0, false, NULL),
		     0);
	for (i = 0; i < WORKERS; i++) {
		workers[i].number = i;
		client_open(&workers[i].client, port, 0);
		workers[i].client.cntlid = admin->cntlid;
		cr_assert_eq(client_connect(&workers[i].client, &(struct client_connect){.qid = i + 1}), 0);
	}
}

static void start_workers(unsigned int rounds, bool model, uint32_t seed)
{
	unsigned int i;

	for (i = 0; i < WORKERS; i++) {
		workers[i].rounds = rounds;
		workers[i].model = model;
		workers[i].random = seed + i;
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
}

static unsigned int join_workers(void)
{
	unsigned int i, broken = 0;

	for (i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		broken += workers[i].broken;
		client_close(&workers[i].client);
	}
	return broken;
}

/* ---- a loss of power at every answer ---- */

static struct fixture fixture;

static unsigned int run_model(bool lies_fua, bool lies_flush)
{
	struct client admin;
	unsigned int broken;

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 2, .open_backend = cut_backend_open});
	cut_lie(lies_fua, lies_flush);
	connect_workers(fixture.port, &admin);
	start_workers(400, true, 1);
	broken = join_workers();
	cr_expect_gt(workers[0].writes, 100);
	cr_expect_gt(workers[0].flushes, 10);
	client_close(&admin);
	fixture_stop(&fixture);
	return broken;
}

Test(durability, power_cut)
{
	cr_expect_eq(run_model(false, false), 0, "promises that a cut would break");
}

Test(durability, a_disk_that_ignores_fua_is_found)
{
	cr_expect_gt(run_model(true, false), 0);
}

Test(durability, a_disk_that_ignores_flushes_is_found)
{
	cr_expect_gt(run_model(false, true), 0);
}

/* FUA of every command that has it reaches the backend, and nobody else's does. */
Test(durability, fua)
{
	static uint8_t data[4096];
	struct nvme_copy_range range = {};
	struct cut_counts counts;
	struct nvme_sqe sqe[2];
	struct client admin, *io = &workers[0].client;
	struct pdu pdu;
	unsigned int fua, n;

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .open_backend = cut_backend_open});
	connect_workers(fixture.port, &admin);
	for (fua = 0; fua < 2; fua++) {
		sqe[0] = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_FILE, 0, 1);
		sqe[0].cdw12 |= htole32(fua ? NVME_RW_FUA << 16 : 0);
		cr_expect_eq(client_run(io, sqe[0], data, 4096, true, NULL), 0);
		sqe[0].opcode = NVME_IO_WRITE_ZEROES;
		cr_expect_eq(client_run(io, sqe[0], NULL, 0, false, NULL), 0);
		sqe[0].cdw12 |= htole32(NVME_RW_DEAC << 16);
		cr_expect_eq(client_run(io, sqe[0], NULL, 0, false, NULL), 0);
		sqe[0] = nvme_sqe_copy(0, NS_FILE, 1, 1);
		sqe[0].cdw12 |= htole32(fua ? NVME_COPY_FUA : 0);
		cr_expect_eq(client_run(io, sqe[0], &range, sizeof(range), true, NULL), 0);
		for (n = 0; n < 2; n++) {
			sqe[n] = nvme_sqe_rw(n ? NVME_IO_WRITE : NVME_IO_COMPARE, 800 + n, NS_FILE, 3, 1);
			sqe[n].flags |= n + 1;
			sqe[n].sgl = nvme_sgl_in_capsule(4096);
			sqe[n].cdw12 |= htole32(fua && n ? NVME_RW_FUA << 16 : 0);
			cr_assert_eq(client_capsule(io, &sqe[n], data, 4096), 0);
		}
		for (n = 0; n < 2; n++) {
			cr_assert_eq(client_receive(io, &pdu, NULL, 0), 0);
			cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
		}
		counts = cut_counts();
		cr_expect_eq(counts.plain[0], 3);
		cr_expect_eq(counts.plain[1], 2);
		cr_expect_eq(counts.fua[0], fua ? 3 : 0);
		cr_expect_eq(counts.fua[1], fua ? 2 : 0);
	}
	for (n = 0; n < WORKERS; n++)
		client_close(&workers[n].client);
	client_close(&admin);
	fixture_stop(&fixture);
}

/* ---- the real binary, killed ---- */

static char folder[64];

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address, len) &&
		  !getsockname(fd, (struct sockaddr *)&address, &len));
	close(fd);
	return ntohs(address.sin_port);
}

static void write_policy(uint16_t port)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/policy.yaml", folder);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fprintf(f,
		"sluice: 1\nname: durability\ninterfaces: []\nstorage:\n  portals: [{address: 127.0.0.1, port: %u}]\n"
		"  steering: none\n  subsystems:\n    - nqn: %s\n      hosts: any\n      namespaces:\n"
		"        - {id: %u, backend: file, path: %s/disk.img, size: 16MiB, block: 4096}\n",
		port, TEST_SUBNQN, NS_FILE, folder);
	fclose(f);
}

/* Beside this program: BUILD/tests/unit/X, BUILD/sluice. */
static void binary(char ret_path[PATH_MAX])
{
	char self[PATH_MAX] = "", up[PATH_MAX + 32];

	cr_assert_gt(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
	snprintf(up, sizeof(up), "%s/../../sluice", dirname(self));
	cr_assert_not_null(realpath(up, ret_path), "%s", up);
}

/* Runs it until it listens. */
static pid_t target_run(void)
{
	char path[PATH_MAX], policy[128], ready[16], answer[8], log[128];
	struct pollfd wait = {.events = POLLIN};
	int pipe_fds[2];
	pid_t pid;

	binary(path);
	cr_assert_eq(pipe(pipe_fds), 0);
	snprintf(policy, sizeof(policy), "%s/policy.yaml", folder);
	snprintf(ready, sizeof(ready), "%d", pipe_fds[1]);
	pid = fork();
	if (!pid) {
		close(pipe_fds[0]);
		snprintf(log, sizeof(log), "%s/target.log", folder);
		if (!freopen(log, "a", stderr))
			_exit(126);
		execl(path, path, "--root", folder, "target", policy, "--ready-fd", ready, "--run-dir", folder,
		      "--state-dir", folder, NULL);
		_exit(127);
	}
	cr_assert_gt(pid, 0);
	close(pipe_fds[1]);
	wait.fd = pipe_fds[0];
	cr_assert_eq(poll(&wait, 1, 20000), 1, "it does not start");
	cr_assert_eq(read(pipe_fds[0], answer, sizeof(answer)), 6, "it does not start");
	close(pipe_fds[0]);
	return pid;
}

static void target_kill(pid_t pid)
{
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* Every block is what was acknowledged last, or something later that was on its way. */
static void check_blocks(struct client *io)
{
	static uint32_t data[CUT_BLOCK / 4];
	unsigned int block;
	uint32_t version;

	for (block = 0; block < CUT_BLOCKS; block++) {
		cr_assert_eq(client_rw(io, NVME_IO_READ, NS_FILE, block, 1, data, CUT_BLOCK, false), 0);
		version = block_version(data, block);
		cr_expect(version >= blocks[block].acked && version <= blocks[block].issued,
			  "block %u has version %u, not %u (acknowledged) to %u (sent)", block, version,
			  blocks[block].acked, blocks[block].issued);
		/* What is there now stays; the next run goes on from here. */
		blocks[block].acked = blocks[block].issued = version;
	}
}

Test(durability, killed)
{
	char command[128];
	unsigned int round, i;
	struct client admin;
	uint16_t port;
	pid_t pid;

	snprintf(folder, sizeof(folder), "/tmp/durability_test.%d", getpid());
	snprintf(command, sizeof(command), "mkdir %s", folder);
	cr_assert_eq(system(command), 0);
	port = free_port();
	write_policy(port);
	for (round = 0; round < 4; round++) {
		pid = target_run();
		connect_workers(port, &admin);
		check_blocks(&workers[0].client);
		sem_init(&written, 0, 0);
		start_workers(UINT_MAX, false, 100 + round);
		for (i = 0; i < 200 + 37 * round; i++)
			sem_wait(&written);
		target_kill(pid);
		join_workers();
		client_close(&admin);
	}
	pid = target_run();
	connect_workers(port, &admin);
	check_blocks(&workers[0].client);
	target_kill(pid);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}
