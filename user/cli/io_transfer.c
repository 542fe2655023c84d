// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice io read`, `write` and `verify`: one range of one namespace, passed over from front to back with several
 * commands outstanding. The engine, transfer_run(), finishes commands in the order of their addresses, so that a pass
 * can be fed from a pipe or go to one; what the passes differ in are two functions, prepare and finish.
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
#include "storage/pattern.h"

struct session {
	const struct io_options *o;
	struct multipath *m;
	struct lane *lane;
	struct nvme_ns_view ns;
	uint32_t nsid, xfer; /* bytes per command */
	uint64_t offset, length;
	uint8_t *buffers; /* depth * xfer */
	struct path_io *ios;
};

struct pass {
	uint8_t opcode;
	/* Fills a buffer; *ret_len 0: there is no more. Optional. */
	int (*prepare)(struct pass *p, uint64_t offset, void *buf, uint32_t len, uint32_t *ret_len, struct error *err);
	/* Takes what was read. Optional. */
	int (*finish)(struct pass *p, uint64_t offset, const void *buf, uint32_t len, struct error *err);
	int fd;
	const char *name; /* of the file, for messages */
	struct pattern pattern;
	uint64_t bytes, blocks, bad_blocks;
	struct pattern_fault fault;
	double seconds;
};

/* ---- the engine ---- */

static int submit(struct session *s, struct pass *p, struct path_io *io, uint64_t offset, uint32_t len)
{
	*io = (struct path_io){0};
	io->io = (struct initiator_io){
		.sqe = nvme_sqe_rw(p->opcode, 0, s->nsid, offset >> s->ns.block_shift, len >> s->ns.block_shift),
		.data = s->buffers + (size_t)(io - s->ios) * s->xfer,
		.len = len,
	};
	return lane_submit(s->lane, io);
}

/* Commands from `done` to `next` (in commands) are outstanding; each has the slot of its number modulo depth. */
static int fill(struct session *s, struct pass *p, uint64_t done, uint64_t *next, uint64_t *at, bool *end,
		struct error *err)
{
	int r;

	while (!*end && *next - done < s->o->depth) {
		struct path_io *io = &s->ios[*next % s->o->depth];
		uint32_t len = (uint32_t)min((uint64_t)s->xfer, s->offset + s->length - *at);

		if (len && p->prepare) {
			r = p->prepare(p, *at, s->buffers + (size_t)(io - s->ios) * s->xfer, len, &len, err);
			if (r)
				return r;
		}
		if (!len) {
			*end = true;
			return 0;
		}
		r = submit(s, p, io, *at, len);
		if (r == -ENOTCONN)
			return lane_poll(s->lane, false, err);
		if (r)
			return error_system(err, -r, "submit");
		*at += len;
		++*next;
	}
	return 0;
}

static int finish(struct session *s, struct pass *p, const struct initiator_io *io, struct error *err)
{
	const struct nvme_rw_sqe *rw = (const void *)&io->sqe;
	uint64_t offset = le64toh(rw->slba) << s->ns.block_shift;
	struct error why = {0};
	int r = initiator_io_check(io, s->o->target.addr.text, false, &why);

	if (r)
		return error_set(err, -r, "%.380s (namespace %u, byte %" PRIu64 ")", why.text, s->nsid, offset);
	p->bytes += io->len;
	return p->finish ? p->finish(p, offset, io->data, io->len, err) : 0;
}

static int flush(struct session *s, struct error *err)
{
	struct path_io io = {.io.sqe = nvme_sqe_flush(0, s->nsid)};

	return lane_execute(s->lane, &io, err);
}

static int transfer_run(struct session *s, struct pass *p, struct error *err)
{
	uint64_t next = 0, done = 0, at = s->offset, started = time_now_ns();
	bool end = false;
	int r;

	for (;;) {
		r = fill(s, p, done, &next, &at, &end, err);
		if (r)
			return r;
		if (done == next)
			break;
		r = lane_poll(s->lane, true, err);
		while (!r && done < next && s->ios[done % s->o->depth].io.finished)
			r = finish(s, p, &s->ios[done++ % s->o->depth].io, err);
		if (r)
			return r;
	}
	if (p->opcode == NVME_IO_WRITE && p->bytes)
		r = flush(s, err);
	p->seconds = (double)(time_now_ns() - started) / 1e9;
	return r;
}

/* ---- a session ---- */

static void session_close(struct session *s)
{
	lane_close(s->lane);
	multipath_close(s->m);
	free(s->buffers);
	free(s->ios);
}

/* The range, against what the namespace has. Wrong usage if it does not fit. */
static int check_range(struct session *s, struct error *err)
{
	const struct io_options *o = s->o;
	uint64_t block = 1ull << s->ns.block_shift, size = s->ns.blocks << s->ns.block_shift;

	if (o->offset % block || o->length % block)
		return error_set(err, EINVAL,
				 "namespace %u has blocks of %" PRIu64 " bytes; --offset and --length must be "
				 "multiples of that",
				 s->nsid, block);
	if (o->offset >= size || o->length > size - o->offset)
		return error_set(err, EINVAL, "the range ends past the namespace, which has %" PRIu64 " bytes", size);
	if (o->block_size % block)
		return error_set(err, EINVAL,
				 "--block-size %u: namespace %u has blocks of %" PRIu64 " bytes; use a multiple",
				 o->block_size, s->nsid, block);
	s->offset = o->offset;
	s->length = o->length ? o->length : size - o->offset;
	s->xfer = min(o->block_size, multipath_max_transfer(s->m));
	return 0;
}

static int session_open(struct session *s, const struct io_options *o, struct error *err)
{
	*s = (struct session){.o = o, .nsid = o->nsids[0]};
	if (io_paths_open(o, 1, &s->m, err) || lane_open(s->m, 0, o->depth, o->spin_us, &s->lane, err))
		return EXIT_SYSTEM;
	s->ns = *multipath_namespace(s->m, 0);
	if (check_range(s, err))
		return EXIT_USAGE;
	s->ios = calloc(o->depth, sizeof(*s->ios));
	s->buffers = aligned_alloc(4096, ((size_t)o->depth * s->xfer + 4095) & ~4095ul);
	if (!s->ios || !s->buffers) {
		error_set(err, ENOMEM, "no memory for %u buffers of %u bytes; use a smaller --depth", o->depth,
			  s->xfer);
		return EXIT_SYSTEM;
	}
	return EXIT_FINE;
}

/* ---- read ---- */

static int write_out(struct pass *p, uint64_t offset, const void *buf, uint32_t len, struct error *err)
{
	const uint8_t *at = buf;

	while (len) {
		ssize_t n = write(p->fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_system(err, errno, "%s: write", p->name);
		at += n;
		len -= (uint32_t)n;
	}
	return 0;
}

int io_read(const struct io_options *o, struct error *err)
{
	_cleanup_(session_close) struct session s = {0};
	_cleanup_close_ int file = -1;
	struct pass p = {.opcode = NVME_IO_READ, .finish = write_out, .fd = STDOUT_FILENO, .name = "standard output"};
	int status = session_open(&s, o, err);

	if (status)
		return status;
	if (o->file) {
		file = open(o->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (file < 0) {
			error_system(err, errno, "%s: cannot be created", o->file);
			return EXIT_SYSTEM;
		}
		p.fd = file;
		p.name = o->file;
	}
	return transfer_run(&s, &p, err) ? EXIT_NO : EXIT_FINE;
}

/* ---- write ---- */

/* As much input as fits; whole blocks only. */
static int read_in(struct pass *p, uint64_t offset, void *buf, uint32_t len, uint32_t *ret_len, struct error *err)
{
	uint32_t have = 0;

	while (have < len) {
		ssize_t n = read(p->fd, (uint8_t *)buf + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_system(err, errno, "%s: read", p->name);
		if (!n)
			break;
		have += (uint32_t)n;
	}
	if (have % p->pattern.block)
		return error_set(err, EINVAL,
				 "%s ends in the middle of a block of %u bytes, at byte %" PRIu64 "; pad it", p->name,
				 p->pattern.block, offset + have);
	*ret_len = have;
	return 0;
}

/* What is known of the input beforehand: refused before the first byte is written. */
static int check_input(const struct session *s, const struct pass *p, struct error *err)
{
	struct stat st;

	if (s->ns.readonly)
		return error_set(err, EROFS, "namespace %u is read-only", s->nsid);
	if (fstat(p->fd, &st))
		return error_system(err, errno, "%s", p->name);
	if (!S_ISREG(st.st_mode))
		return 0;
	if (s->o->length && (uint64_t)st.st_size < s->o->length)
		return error_set(err, EINVAL, "%s has %jd bytes, --length asks for more; leave it out to write all",
				 p->name, (intmax_t)st.st_size);
	if (!s->o->length && (uint64_t)st.st_size > s->length)
		return error_set(err, EINVAL,
				 "%s has %jd bytes, from --offset on the namespace has room for %" PRIu64
				 "; give --length for a part",
				 p->name, (intmax_t)st.st_size, s->length);
	if (!s->o->length && st.st_size % p->pattern.block)
		return error_set(err, EINVAL, "%s has %jd bytes, which is no multiple of the block, %u bytes; pad it",
				 p->name, (intmax_t)st.st_size, p->pattern.block);
	return 0;
}

/* Whether the input has ended as well; reads one byte more. */
static int check_input_end(const struct session *s, const struct pass *p, struct error *err)
{
	char c;

	if (s->o->length || p->bytes < s->length || read(p->fd, &c, 1) <= 0)
		return 0;
	return error_set(err, ENOSPC, "%s goes on after the end of the namespace; %" PRIu64 " bytes were written",
			 p->name, p->bytes);
}

int io_write(const struct io_options *o, struct error *err)
{
	_cleanup_(session_close) struct session s = {0};
	_cleanup_close_ int file = -1;
	struct pass p = {.opcode = NVME_IO_WRITE, .prepare = read_in, .fd = STDIN_FILENO, .name = "standard input"};
	int status;

	if (o->file) {
		file = open(o->file, O_RDONLY | O_CLOEXEC);
		if (file < 0) {
			error_system(err, errno, "%s", o->file);
			return EXIT_USAGE;
		}
		p.fd = file;
		p.name = o->file;
	}
	status = session_open(&s, o, err);
	if (status)
		return status;
	p.pattern.block = 1u << s.ns.block_shift;
	if (check_input(&s, &p, err))
		return EXIT_USAGE;
	if (transfer_run(&s, &p, err) || check_input_end(&s, &p, err))
		return EXIT_NO;
	if (o->length && p.bytes < o->length) {
		error_set(err, ENODATA, "%s ended after %" PRIu64 " of %" PRIu64 " bytes", p.name, p.bytes, o->length);
		return EXIT_NO;
	}
	return EXIT_FINE;
}

/* ---- verify ---- */

static int make_pattern(struct pass *p, uint64_t offset, void *buf, uint32_t len, uint32_t *ret_len, struct error *err)
{
	pattern_fill(&p->pattern, offset, buf, len);
	*ret_len = len;
	return 0;
}

static int check_pattern(struct pass *p, uint64_t offset, const void *buf, uint32_t len, struct error *err)
{
	struct pattern_fault fault;
	size_t bad = pattern_check(&p->pattern, offset, buf, len, &fault);

	p->blocks += len / p->pattern.block;
	if (bad && !p->bad_blocks)
		p->fault = fault;
	p->bad_blocks += bad;
	return 0;
}

static void verify_json(const struct session *s, const struct pass *written, const struct pass *checked, const char *fault)
{
	struct json_object *root = json_object_new_object();

	json_object_object_add(root, "blocks", json_object_new_int64((int64_t)checked->blocks));
	json_object_object_add(root, "bad_blocks", json_object_new_int64((int64_t)checked->bad_blocks));
	json_object_object_add(root, "block", json_object_new_int64(checked->pattern.block));
	json_object_object_add(root, "bytes", json_object_new_int64((int64_t)checked->bytes));
	json_object_object_add(root, "first_fault", checked->bad_blocks ? json_object_new_string(fault) : NULL);
	json_object_object_add(root, "write_seconds", json_object_new_double(written->seconds));
	json_object_object_add(root, "read_seconds", json_object_new_double(checked->seconds));
	io_paths_add_json(root, s->o, s->m);
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

static void verify_print(const struct session *s, const struct pass *written, const struct pass *checked, const char *fault)
{
	if (written->bytes)
		printf("wrote    %s in %.3f s\n", bytes_text(written->bytes).text, written->seconds);
	printf("verified %s, %" PRIu64 " blocks of %u bytes, in %.3f s: ", bytes_text(checked->bytes).text,
	       checked->blocks, checked->pattern.block, checked->seconds);
	if (checked->bad_blocks)
		printf("%" PRIu64 " BAD\n%s\n", checked->bad_blocks, fault);
	else
		printf("all good\n");
	io_paths_print(s->m);
}

int io_verify(const struct io_options *o, struct error *err)
{
	_cleanup_(session_close) struct session s = {0};
	struct pass written = {.opcode = NVME_IO_WRITE, .prepare = make_pattern};
	struct pass checked = {.opcode = NVME_IO_READ, .finish = check_pattern};
	int status = session_open(&s, o, err);
	char fault[192] = "";

	if (status)
		return status;
	written.pattern = checked.pattern =
		(struct pattern){.seed = o->seed, .nsid = s.nsid, .block = 1u << s.ns.block_shift};
	if (!o->read_only && s.ns.readonly) {
		error_set(err, EROFS, "namespace %u is read-only; use --read-only", s.nsid);
		return EXIT_USAGE;
	}
	if (!o->read_only && transfer_run(&s, &written, err))
		return EXIT_NO;
	if (transfer_run(&s, &checked, err))
		return EXIT_NO;
	if (checked.bad_blocks)
		pattern_fault_text(&checked.fault, fault, sizeof(fault));
	lane_close(TAKE_PTR(s.lane)); /* its counts are the paths' from then on */
	if (o->json)
		verify_json(&s, &written, &checked, fault);
	else
		verify_print(&s, &written, &checked, fault);
	return checked.bad_blocks ? EXIT_NO : EXIT_FINE;
}
