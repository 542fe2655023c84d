// SPDX-License-Identifier: Apache-2.0
/* Parts of the target by themselves: tokens and the ring, buffers, what backends make of their configuration. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "storage/backend.h"
#include "storage/buffer.h"
#include "storage/ring.h"

#include <sluice/nvme_tcp.h>

TestSuite(storage_ring, .timeout = 30);
TestSuite(storage_buffer, .timeout = 30);
TestSuite(storage_backend, .timeout = 30);

/* ---- tokens ---- */

Test(storage_ring, tokens)
{
	static const struct token rows[] = {
		{0, 0, 0}, {255, 65535, UINT32_MAX}, {1, 0, UINT32_MAX}, {0, 65535, 0}, {7, 300, 123456789},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct token t = token_decode(token_encode(rows[i]));

		cr_expect(t.op == rows[i].op && t.slot == rows[i].slot && t.gen == rows[i].gen, "row %zu", i);
	}
}

/* ---- ring ---- */

static void ring_for_test(struct ring *r)
{
	struct error err = {};

	cr_assert_eq(ring_open(r, &(struct ring_options){.entries = 8, .files = 4}, &err), 0, "%s", err.text);
}

Test(storage_ring, features_are_printed)
{
	char text[256], little[8];
	struct ring r;

	ring_for_test(&r);
	ring_features_print(&r, text, sizeof(text));
	cr_expect_not_null(strstr(text, "recv-multishot"));
	ring_features_print(&r, little, sizeof(little));
	cr_expect_lt(strlen(little), sizeof(little));
	ring_close(&r);
}

Test(storage_ring, more_sqes_than_entries)
{
	struct ring_completion c;
	unsigned int i, n = 0;
	struct ring r;

	ring_for_test(&r);
	for (i = 0; i < 30; i++) {
		struct io_uring_sqe *sqe = ring_sqe(&r);

		io_uring_prep_nop(sqe);
		ring_push(sqe, (struct token){.op = i % 2 ? RING_OP_NONE : 5, .slot = i});
	}
	while (n < 15 && !ring_wait(&r, NSEC_PER_SEC)) {
		while (ring_next(&r, &c)) {
			cr_expect_eq(c.token.op, 5);
			cr_expect_eq(c.token.slot, 2 * n);
			n++;
		}
	}
	cr_expect_eq(n, 15, "nobody's completions are swallowed");
	ring_close(&r);
}

Test(storage_ring, wait_ends_at_its_time)
{
	uint64_t begin = time_now_ns();
	struct ring_completion c;
	struct ring r;

	ring_for_test(&r);
	cr_expect_eq(ring_wait(&r, 20000000), 0);
	cr_expect_geq(time_now_ns() - begin, 20000000);
	cr_expect_not(ring_next(&r, &c));
	ring_close(&r);
}

/* Receives through provided buffers until they are used up, then goes on once they are given back. */
Test(storage_ring, receive)
{
	struct ring_buffers b;
	struct ring_completion c;
	unsigned int got = 0, ids = 0;
	struct ring_file f;
	struct ring r;
	int pair[2];

	ring_for_test(&r);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	cr_assert_eq(ring_buffers_open(&r, 3, 2, 64, NULL, &b), 0);
	ring_file_add(&r, pair[0], &f);
	ring_recv(&r, &f, &b, (struct token){.op = 9});
	cr_assert_eq(write(pair[1], "one", 3) + write(pair[1], "two", 3) + write(pair[1], "three", 5), 11);
	while (!ring_wait(&r, NSEC_PER_SEC) && ring_next(&r, &c)) {
		do {
			if (c.result > 0) {
				got += c.result;
				ids |= 1 << ring_buffer_id(&c);
			}
			if (!ring_more(&c))
				cr_expect_eq(c.result, -ENOBUFS, "two buffers were lent: %d", c.result);
		} while (ring_more(&c) && ring_next(&r, &c));
		if (!ring_more(&c))
			break;
	}
	cr_expect_eq(got, 6);
	cr_expect_eq(ids, 3);
	ring_buffer_give(&b, 0);
	ring_buffer_give(&b, 1);
	ring_recv(&r, &f, &b, (struct token){.op = 9});
	cr_assert_eq(ring_wait(&r, NSEC_PER_SEC), 0);
	cr_assert(ring_next(&r, &c));
	cr_expect_eq(c.result, 5);
	cr_expect_arr_eq(ring_buffer_at(&b, ring_buffer_id(&c)), "three", 5);
	ring_file_remove(&r, &f);
	ring_buffers_close(&b);
	ring_close(&r);
	close(pair[0]);
	close(pair[1]);
}

/* What a kernel without multishot gets: one piece an SQE. */
Test(storage_ring, receive_once)
{
	struct ring_buffers b;
	struct ring_completion c;
	struct ring_file f;
	struct ring r;
	int pair[2], i;

	ring_for_test(&r);
	r.features.recv_multishot = false;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(ring_buffers_open(&r, 3, 2, 64, NULL, &b), 0);
	ring_file_add(&r, pair[0], &f);
	for (i = 0; i < 5; i++) {
		ring_recv(&r, &f, &b, (struct token){.op = 9});
		cr_assert_eq(write(pair[1], "piece", 5), 5);
		cr_assert_eq(ring_wait(&r, NSEC_PER_SEC), 0);
		cr_assert(ring_next(&r, &c));
		cr_expect_eq(c.result, 5);
		cr_expect_not(ring_more(&c));
		cr_expect_arr_eq(ring_buffer_at(&b, ring_buffer_id(&c)), "piece", 5);
		ring_buffer_give(&b, ring_buffer_id(&c));
	}
	ring_buffers_close(&b);
	ring_close(&r);
	close(pair[0]);
	close(pair[1]);
}

Test(storage_ring, cancel)
{
	struct ring_buffers b;
	struct ring_completion c;
	struct ring_file f;
	struct ring r;
	int pair[2];

	ring_for_test(&r);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(ring_buffers_open(&r, 3, 2, 64, NULL, &b), 0);
	ring_file_add(&r, pair[0], &f);
	ring_recv(&r, &f, &b, (struct token){.op = 9, .slot = 1, .gen = 2});
	ring_cancel(&r, (struct token){.op = 9, .slot = 1, .gen = 2});
	cr_assert_eq(ring_wait(&r, NSEC_PER_SEC), 0);
	cr_assert(ring_next(&r, &c));
	cr_expect_eq(c.result, -ECANCELED);
	cr_expect_not(ring_more(&c));
	ring_buffers_close(&b);
	ring_close(&r);
	close(pair[0]);
	close(pair[1]);
}

Test(storage_ring, file_table_runs_out)
{
	struct ring_file f[5];
	struct ring r;
	size_t i;

	ring_for_test(&r);
	for (i = 0; i < 5; i++)
		ring_file_add(&r, STDIN_FILENO, &f[i]);
	if (!r.features.registered_files) { /* before 6.13 */
		for (i = 0; i < 5; i++)
			cr_expect_eq(f[i].index, -1);
		ring_close(&r);
		return;
	}
	cr_expect_eq(f[3].index, 3);
	cr_expect_eq(f[4].index, -1, "the table has four places");
	cr_expect_eq(ring_file_fd(&f[4]), STDIN_FILENO);
	ring_file_remove(&r, &f[2]);
	ring_file_add(&r, STDIN_FILENO, &f[4]);
	cr_expect_eq(f[4].index, 2);
	ring_close(&r);
}

/* Whatever the ring does with files: who closes one that it has removed is not kept waiting by another's operation. */
Test(storage_ring, removed_file_is_closed)
{
	struct ring_file waits, goes;
	struct ring_buffers b;
	struct ring r;
	struct pollfd end;
	int still[2], gone[2];

	ring_for_test(&r);
	cr_assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, still) && !socketpair(AF_UNIX, SOCK_STREAM, 0, gone));
	cr_assert_eq(ring_buffers_open(&r, 3, 2, 64, NULL, &b), 0);
	ring_file_add(&r, still[0], &waits);
	ring_recv(&r, &waits, &b, (struct token){.op = 9});
	cr_assert_eq(ring_poll(&r), 0);
	ring_file_add(&r, gone[0], &goes);
	ring_file_remove(&r, &goes);
	close(gone[0]);
	cr_assert_eq(ring_poll(&r), 0);
	end = (struct pollfd){.fd = gone[1], .events = POLLIN};
	cr_expect_eq(poll(&end, 1, 1000), 1, "registered files: %d", r.features.registered_files);
	ring_buffers_close(&b);
	ring_close(&r);
	close(still[0]);
	close(still[1]);
	close(gone[1]);
}

/* ---- buffers ---- */

Test(storage_buffer, sizes_and_alignment)
{
	static const size_t lens[] = {1, 512, 4096, 4097, 32768, 32769, BUFFER_MAX_LEN};
	struct buffer_pool p;
	size_t i;

	cr_assert_eq(buffer_pool_open(BUFFER_CAPSULE_LEN, 1, &p), 0);
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		uint8_t *a = buf_take(&p, lens[i]), *b = buf_take(&p, lens[i]);

		cr_assert(a && b && a != b);
		cr_expect_eq((uintptr_t)a % BUFFER_ALIGN, 0);
		cr_expect_geq((size_t)(a > b ? a - b : b - a), lens[i], "they do not overlap");
		memset(a, 1, lens[i]);
		buf_give(&p, a);
		cr_expect_eq(buf_take(&p, lens[i]), a, "the last given is the first taken");
	}
	buffer_pool_close(&p);
}

Test(storage_buffer, running_out)
{
	void *all[4096], *capsule;
	struct buffer_pool p;
	unsigned int n = 0, i;

	cr_assert_eq(buffer_pool_open(BUFFER_CAPSULE_LEN, 1, &p), 0);
	while (n < ARRAY_SIZE(all) && (all[n] = buf_take(&p, 1)))
		n++;
	cr_expect_eq(n, 2048 + 512 + 128, "small requests take larger buffers, never the capsules'");
	capsule = buf_take_capsule(&p);
	cr_expect_not_null(capsule);
	buf_give(&p, capsule);
	for (i = 0; i < n; i++)
		buf_give(&p, all[i]);
	cr_expect(p.given);
	for (i = 0; i < 128; i++)
		cr_expect_not_null(buf_take(&p, BUFFER_MAX_LEN));
	cr_expect_null(buf_take(&p, BUFFER_MAX_LEN));
	buffer_pool_close(&p);
}

/* ---- backends ---- */

static const char *path_of_test(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/tmp/storage_parts_test.%d.img", getpid());
	unlink(path);
	return path;
}

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_EXCL, 0600);

	cr_assert(fd >= 0 && !ftruncate(fd, size));
	close(fd);
}

Test(storage_backend, refusals)
{
	const char *path = path_of_test();
	const struct {
		const char *name;
		struct policy_namespace config;
		const char *says;
	} rows[] = {
		{"null without size", {.id = 1, .backend = POLICY_BACKEND_NULL}, "give `size`"},
		{"memory without size", {.id = 1, .backend = POLICY_BACKEND_MEMORY}, "give `size`"},
		{"memory beyond all", {.id = 1, .backend = POLICY_BACKEND_MEMORY, .size = 1ull << 62}, "smaller"},
		{"absent file without size",
		 {.id = 1, .backend = POLICY_BACKEND_FILE, .path = (char *)path},
		 "no such file"},
		{"a directory",
		 {.id = 1, .backend = POLICY_BACKEND_FILE, .path = (char *)"/tmp", .readonly = true},
		 "neither a file"},
		{"absent folder",
		 {.id = 1, .backend = POLICY_BACKEND_FILE, .path = (char *)"/nowhere/x", .size = 4096},
		 "no such file"},
	};
	struct backend *b = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error err = {};

		cr_expect_lt(backend_open(&rows[i].config, &err, &b), 0, "%s", rows[i].name);
		cr_expect_not_null(strstr(err.text, rows[i].says), "%s: %s", rows[i].name, err.text);
		cr_expect_null(b, "%s", rows[i].name);
	}
}

Test(storage_backend, file_is_made)
{
	const char *path = path_of_test();
	struct policy_namespace config = {
		.id = 1, .backend = POLICY_BACKEND_FILE, .path = (char *)path, .size = 1 << 20};
	struct error err = {};
	struct backend *b;
	struct stat st;

	cr_assert_eq(backend_open(&config, &err, &b), 0, "%s", err.text);
	cr_expect_eq(b->size, 1 << 20);
	cr_expect(b->write_cache);
	cr_assert_eq(stat(path, &st), 0);
	cr_expect_eq(st.st_size, 1 << 20);
	cr_expect_eq(st.st_mode & 0777, 0600);
	backend_close(b);
	unlink(path);
}

/* A file system that refuses O_DIRECT, as a tmpfs did before 6.6, has made the file by then. */
Test(storage_backend, file_is_made_without_direct_io)
{
	char folder[] = "/tmp/storage_parts_test.XXXXXX", path[64];
	struct policy_namespace config = {.id = 1, .backend = POLICY_BACKEND_FILE, .path = path, .size = 1 << 20};
	struct error err = {};
	struct backend *b;

	cr_assert(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	cr_assert(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	cr_assert(!mount("ramfs", folder, "ramfs", 0, NULL), "%s", strerror(errno));
	cr_assert_eq(open(path, O_RDONLY | O_CREAT | O_DIRECT, 0600), -1, "a ramfs takes direct I/O");
	cr_assert_eq(unlink(path), 0, "O_CREAT made no file");
	cr_assert_eq(backend_open(&config, &err, &b), 0, "%s", err.text);
	cr_expect_eq(b->size, 1 << 20);
	cr_expect_not_null(strstr(b->details, "page cache"));
	backend_close(b);
	cr_expect(!umount(folder) && !rmdir(folder));
}

Test(storage_backend, file_that_exists)
{
	const char *path = path_of_test();
	struct policy_namespace config = {
		.id = 1, .backend = POLICY_BACKEND_FILE, .path = (char *)path, .readonly = true};
	struct error err = {};
	struct backend *b = NULL;

	make_file(path, (1 << 20) + 100);
	cr_assert_eq(backend_open(&config, &err, &b), 0, "%s", err.text);
	cr_expect_eq(b->size, 1 << 20, "whole blocks");
	backend_close(b);
	config.size = 65536;
	cr_assert_eq(backend_open(&config, &err, &b), 0, "%s", err.text);
	cr_expect_eq(b->size, 65536);
	backend_close(b);
	config.size = 2 << 20;
	cr_expect_eq(backend_open(&config, &err, &b), -EINVAL, "a file is never made larger behind its owner's back");
	cr_expect_not_null(strstr(err.text, "enlarge"), "%s", err.text);
	unlink(path);
}

Test(storage_backend, statuses)
{
	cr_expect_eq(backend_status(BACKEND_READ, EIO), NVME_ST_READ_ERROR);
	cr_expect_eq(backend_status(BACKEND_WRITE, EIO), NVME_ST_WRITE_FAULT);
	cr_expect_eq(backend_status(BACKEND_WRITE, ENOSPC) & NVME_STATUS_CODE, NVME_ST_CAPACITY);
	cr_expect_eq(backend_status(BACKEND_READ, 0), 0);
}
