// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io command`: the I/O commands beside Read and Write, on a range of a namespace, Dataset Management on
 * several, one command at a time. Called by io.c. One function a command goes over the range in pieces that the target
 * takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/io.h"
#include "cli/table.h"

#define RANGES_MAX 64 /* of one Copy, here */

struct work {
	const struct io_options *o;
	struct multipath *m;
	struct lane *lane;
	struct nvme_ns_view ns;
	uint32_t nsid, xfer;	      /* bytes of one command with data */
	const struct io_span *ranges; /* Dataset Management: those of --ranges, or the one below */
	unsigned int n_ranges;
	struct io_span range;
	uint64_t length;
	uint8_t *data, *expect; /* of --file, --expect: length bytes each */
	uint64_t commands, bytes;
	bool differs;
	uint64_t differs_at; /* the first byte of the command that found it */
};

static uint64_t to_blocks(const struct work *w, uint64_t bytes)
{
	return bytes >> w->ns.block_shift;
}

static int execute(struct work *w, struct path_io *io, uint64_t bytes, struct error *err)
{
	int r = lane_execute(w->lane, io, err);

	if (r)
		return r;
	w->commands++;
	w->bytes += bytes;
	return 0;
}

/* ---- one function a kind ---- */

/* Commands on blocks alone, without data. */
static int run_blocks(struct work *w, uint8_t opcode, struct error *err)
{
	uint32_t len;
	int r = 0;

	for (uint64_t at = 0; at < w->length && !r; at += len) {
		struct path_io io = {0};

		len = (uint32_t)min((uint64_t)w->xfer, w->length - at);
		io.io.sqe =
			nvme_sqe_rw(opcode, 0, w->nsid, to_blocks(w, w->o->offset + at), (uint32_t)to_blocks(w, len));
		r = execute(w, &io, len, err);
	}
	return r;
}

static bool miscompared(const struct path_io *io)
{
	return !io->io.error && (io->io.status & NVME_STATUS_CODE) == NVME_ST_COMPARE_FAILED;
}

static int run_compare(struct work *w, struct error *err)
{
	uint32_t len;
	int r = 0;

	for (uint64_t at = 0; at < w->length && !r; at += len) {
		struct path_io io = {0};

		len = (uint32_t)min((uint64_t)w->xfer, w->length - at);
		io.io.sqe = nvme_sqe_rw(NVME_IO_COMPARE, 0, w->nsid, to_blocks(w, w->o->offset + at),
					(uint32_t)to_blocks(w, len));
		io.io.data = w->data + at;
		io.io.len = len;
		r = execute(w, &io, len, err);
		if (r && miscompared(&io)) {
			w->differs = true;
			w->differs_at = w->o->offset + at;
		}
	}
	return r;
}

static int run_compare_write(struct work *w, struct error *err)
{
	uint64_t slba = to_blocks(w, w->o->offset);
	uint32_t blocks = (uint32_t)to_blocks(w, w->length), len = (uint32_t)w->length;
	struct path_io first = {
		.io = {.sqe = nvme_sqe_rw(NVME_IO_COMPARE, 0, w->nsid, slba, blocks), .data = w->expect, .len = len}};
	struct path_io second = {
		.io = {.sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, w->nsid, slba, blocks), .data = w->data, .len = len}};
	int r;

	if (w->length > w->xfer)
		return error_set(err, EINVAL, "compare-write is one command each: at most %u bytes here, not %" PRIu64,
				 w->xfer, w->length);
	r = lane_execute_pair(w->lane, &first, &second, err);
	if (r && miscompared(&first)) {
		w->differs = true;
		w->differs_at = w->o->offset;
	}
	w->commands += r ? 0 : 2;
	w->bytes += r ? 0 : w->length;
	return r;
}

/* All ranges, in as few commands as the controllers' limits allow. */
static int run_deallocate(struct work *w, struct error *err)
{
	const struct nvme_dsm_limits limits = multipath_dsm_limits(w->m);
	struct nvme_dsm_range ranges[NVME_DSM_RANGES_MAX];
	struct nvme_dsm_span spans[IO_RANGES_MAX];
	struct nvme_dsm_cursor cursor = {0};
	__u64 blocks;
	uint32_t n;
	int r = 0;

	for (unsigned int k = 0; k < w->n_ranges; k++)
		spans[k] = (struct nvme_dsm_span){to_blocks(w, w->ranges[k].offset), to_blocks(w, w->ranges[k].length)};
	while (!r && (n = nvme_dsm_next(spans, w->n_ranges, &limits, &cursor, ranges, &blocks))) {
		struct path_io io = {.io = {.sqe = nvme_sqe_deallocate(0, w->nsid, n),
					    .data = ranges,
					    .len = n * (uint32_t)sizeof(ranges[0])}};

		r = execute(w, &io, blocks << w->ns.block_shift, err);
	}
	return r;
}

/* As many ranges as one Copy may have, beginning at byte `at` of the length. Bytes covered. */
static uint64_t fill_ranges(const struct work *w, uint64_t at, struct nvme_copy_range *ranges, unsigned int *ret_n)
{
	uint64_t left = to_blocks(w, w->length - at), slba = to_blocks(w, w->o->from + at), all = 0;
	unsigned int n = 0, most = min((unsigned int)w->ns.copy_ranges, (unsigned int)RANGES_MAX);

	left = min(left, (uint64_t)w->ns.copy_blocks);
	for (; left && n < most; n++) {
		uint32_t blocks = (uint32_t)min(left, (uint64_t)w->ns.copy_range_blocks);

		ranges[n] =
			(struct nvme_copy_range){.slba = htole64(slba + all), .nlb = htole16((uint16_t)(blocks - 1))};
		all += blocks;
		left -= blocks;
	}
	*ret_n = n;
	return all << w->ns.block_shift;
}

static int run_copy(struct work *w, struct error *err)
{
	struct nvme_copy_range ranges[RANGES_MAX];
	uint64_t len;
	unsigned int n;
	int r = 0;

	if (w->o->from < w->o->offset + w->length && w->o->offset < w->o->from + w->length)
		return error_set(err, EINVAL,
				 "copy: source and copy overlap; choose --from, --offset and --length so "
				 "that they do not");
	if (!w->ns.copy_blocks || !w->ns.copy_range_blocks)
		return error_set(err, ENOTSUP, "the namespace states no limits for Copy: it does not have it");
	for (uint64_t at = 0; at < w->length && !r; at += len) {
		struct path_io io = {0};

		len = fill_ranges(w, at, ranges, &n);
		io.io = (struct initiator_io){.sqe = nvme_sqe_copy(0, w->nsid, to_blocks(w, w->o->offset + at), n),
					      .data = ranges,
					      .len = n * (uint32_t)sizeof(ranges[0])};
		r = execute(w, &io, len, err);
	}
	return r;
}

static int run_flush(struct work *w, struct error *err)
{
	struct path_io io = {.io.sqe = nvme_sqe_flush(0, w->nsid)};

	return execute(w, &io, 0, err);
}

static int run(struct work *w, struct error *err)
{
	switch (w->o->subject) {
	case RANGE_COMPARE:
		return run_compare(w, err);
	case RANGE_COMPARE_WRITE:
		return run_compare_write(w, err);
	case RANGE_COPY:
		return run_copy(w, err);
	case RANGE_VERIFY:
		return run_blocks(w, NVME_IO_VERIFY, err);
	case RANGE_ZERO:
		return run_blocks(w, NVME_IO_WRITE_ZEROES, err);
	case RANGE_DEALLOCATE:
		return run_deallocate(w, err);
	case RANGE_UNCORRECTABLE:
		return run_blocks(w, NVME_IO_WRITE_UNCOR, err);
	default:
		return 0; /* the flush alone */
	}
}

/* ---- what it needs ---- */

static bool writes(unsigned int what)
{
	return what != RANGE_COMPARE && what != RANGE_VERIFY;
}

static int check_options(const struct io_options *o, struct error *err)
{
	const bool file = o->subject == RANGE_COMPARE || o->subject == RANGE_COMPARE_WRITE;
	const char *what = io_word_of(io_command_words, o->subject);

	if (file != !!o->file)
		return error_set(err, EINVAL, file ? "%s: give the data with --file" : "%s takes no --file", what);
	if ((o->subject == RANGE_COMPARE_WRITE) != !!o->expect)
		return error_set(err, EINVAL, "--expect goes with `compare-write`, which needs it");
	if ((o->subject == RANGE_COPY) != o->has_from)
		return error_set(err, EINVAL, "--from goes with `copy`, which needs it");
	if (o->n_ranges && o->subject != RANGE_DEALLOCATE)
		return error_set(err, EINVAL, "--ranges goes with `deallocate`; %s takes --offset and --length", what);
	if (o->n_ranges && (o->offset || o->length))
		return error_set(err, EINVAL, "--ranges and --offset or --length: give the one or the other");
	if (o->n_ranges)
		return 0;
	if (!o->length && !file && writes(o->subject) && o->subject != RANGE_FLUSH)
		return error_set(err, EINVAL, "%s: say with --length how much; it is not done to all by default", what);
	return 0;
}

/* All of a file. */
static int read_file(const char *name, uint8_t **ret_data, uint64_t *ret_len, struct error *err)
{
	_cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ uint8_t *data = NULL;
	uint64_t have = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return error_system(err, errno, "%s", name);
	if (!S_ISREG(st.st_mode) || !st.st_size || st.st_size > INT32_MAX)
		return error_set(err, EINVAL, "%s: use a regular file of 1 byte to 2 GiB", name);
	data = aligned_alloc(4096, ((size_t)st.st_size + 4095) & ~4095ul);
	if (!data)
		return error_set(err, ENOMEM, "%s: no memory for %jd bytes", name, (intmax_t)st.st_size);
	while (have < (uint64_t)st.st_size) {
		ssize_t n = read(fd, data + have, (size_t)st.st_size - have);

		if (n < 0)
			return error_system(err, errno, "%s: read", name);
		if (!n)
			return error_set(err, ENODATA, "%s became shorter while it was read", name);
		have += (uint64_t)n;
	}
	*ret_len = have;
	*ret_data = TAKE_PTR(data);
	return 0;
}

static int read_files(struct work *w, struct error *err)
{
	uint64_t expected = 0;
	int r = 0;

	w->length = w->o->length;
	if (w->o->file)
		r = read_file(w->o->file, &w->data, &w->length, err);
	if (!r && w->o->expect)
		r = read_file(w->o->expect, &w->expect, &expected, err);
	if (r)
		return r;
	if (w->expect && expected != w->length)
		return error_set(err, EINVAL,
				 "%s has %" PRIu64 " bytes, %s has %" PRIu64 "; they must be of one length",
				 w->o->expect, expected, w->o->file, w->length);
	if (w->data && w->o->length && w->o->length != w->length)
		return error_set(err, EINVAL, "%s has %" PRIu64 " bytes, --length says %" PRIu64 "; leave it out",
				 w->o->file, w->length, w->o->length);
	return 0;
}

static bool past_end(uint64_t offset, uint64_t length, uint64_t size)
{
	return offset > size || length > size - offset;
}

/* --ranges, against what the namespace has. */
static int check_ranges(struct work *w, struct error *err)
{
	uint64_t block = 1ull << w->ns.block_shift, size = w->ns.blocks << w->ns.block_shift;

	w->length = 0;
	for (unsigned int k = 0; k < w->n_ranges; k++) {
		const struct io_span *range = &w->ranges[k];

		if (range->offset % block || range->length % block)
			return error_set(err, EINVAL,
					 "--ranges: range %u, %" PRIu64 "+%" PRIu64
					 ": namespace %u has blocks of %" PRIu64 " bytes; use multiples",
					 k + 1, range->offset, range->length, w->nsid, block);
		if (past_end(range->offset, range->length, size))
			return error_set(err, EINVAL,
					 "--ranges: range %u, %" PRIu64 "+%" PRIu64
					 ", ends past namespace %u, which has "
					 "%" PRIu64 " bytes",
					 k + 1, range->offset, range->length, w->nsid, size);
		w->length += range->length;
	}
	return 0;
}

/* --offset and --length, against what the namespace has. */
static int check_range(struct work *w, struct error *err)
{
	const struct io_options *o = w->o;
	uint64_t block = 1ull << w->ns.block_shift, size = w->ns.blocks << w->ns.block_shift;

	if (!w->length)
		w->length = o->offset < size ? size - o->offset : 0;
	if (o->offset % block || o->from % block || w->length % block)
		return error_set(err, EINVAL,
				 "namespace %u has blocks of %" PRIu64 " bytes; all sizes must be multiples", w->nsid,
				 block);
	if (!w->length || past_end(o->offset, w->length, size) || past_end(o->from, w->length, size))
		return error_set(err, EINVAL, "the range ends past the namespace, which has %" PRIu64 " bytes", size);
	w->range = (struct io_span){o->offset, w->length};
	w->ranges = &w->range;
	w->n_ranges = 1;
	return 0;
}

static int check(struct work *w, struct error *err)
{
	int r;

	w->ranges = w->o->ranges;
	w->n_ranges = w->o->n_ranges;
	r = w->n_ranges ? check_ranges(w, err) : check_range(w, err);
	if (!r && w->ns.readonly && writes(w->o->subject))
		r = error_set(err, EROFS, "namespace %u is read-only", w->nsid);
	return r;
}

/* ---- the command ---- */

static void work_close(struct work *w)
{
	lane_close(w->lane);
	multipath_close(w->m);
	free(w->data);
	free(w->expect);
}

static void print(const struct work *w)
{
	struct json_object *root = json_object_new_object();
	const char *what = io_word_of(io_command_words, w->o->subject);

	if (!w->o->json) {
		printf("%s: %" PRIu64 " commands, %s%s\n", what, w->commands, bytes_text(w->bytes).text,
		       w->differs ? "; DIFFERENT" : "");
		io_paths_print(w->m);
		json_object_put(root);
		return;
	}
	json_object_object_add(root, "command", json_object_new_string(what));
	json_object_object_add(root, "nsid", json_object_new_int64(w->nsid));
	json_object_object_add(root, "offset", json_object_new_int64((int64_t)w->ranges[0].offset));
	json_object_object_add(root, "length", json_object_new_int64((int64_t)w->length));
	json_object_object_add(root, "ranges", json_object_new_int64(w->n_ranges));
	json_object_object_add(root, "commands", json_object_new_int64((int64_t)w->commands));
	json_object_object_add(root, "bytes", json_object_new_int64((int64_t)w->bytes));
	json_object_object_add(root, "differs_at", w->differs ? json_object_new_int64((int64_t)w->differs_at) : NULL);
	io_paths_add_json(root, w->o, w->m);
	io_print_json(root);
}

int io_command(const struct io_options *o, struct error *err)
{
	_cleanup_(work_close) struct work w = {.o = o, .nsid = o->nsids[0]};
	int r;

	if (check_options(o, err) || read_files(&w, err))
		return EXIT_USAGE;
	if (io_paths_open(o, 1, &w.m, err) || lane_open(w.m, 0, 2, 0, &w.lane, err))
		return EXIT_SYSTEM;
	w.ns = *multipath_namespace(w.m, 0);
	w.xfer = multipath_max_transfer(w.m);
	if (check(&w, err))
		return EXIT_USAGE;
	r = run(&w, err);
	if (!r && writes(o->subject))
		r = run_flush(&w, err);
	if (r && !w.differs)
		return r == -EINVAL || r == -ENOTSUP ? EXIT_USAGE : EXIT_NO;
	lane_close(TAKE_PTR(w.lane)); /* its counts are the paths' from then on */
	print(&w);
	return r ? EXIT_NO : EXIT_FINE;
}
