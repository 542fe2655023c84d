// SPDX-License-Identifier: Apache-2.0
/*
 * A namespace in a file or on a block device, by io_uring. O_DIRECT where the file allows it, which is found out by
 * trying: then data go between device and the reactor's buffers, and there is no second copy in the page cache. A write
 * is durable after Flush (fdatasync) or with FUA (RWF_DSYNC). Shared by all reactors; but for `lost`, what was found
 * out at open is only read. `step` of an I/O counts the ways tried to zero a range, from cheap to sure.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "storage/backend.h"
#include "storage/buffer.h"

struct file {
	struct backend base;
	int fd;
	/* A flush has failed. Only the first one is told of what was lost (fsync(2)), so none succeeds any more. */
	bool lost;
};

/* Source of written zeroes; never written. */
static uint8_t zeroes[BUFFER_MAX_LEN] __attribute__((aligned(BUFFER_ALIGN)));

static struct file *file_of(const struct backend *b)
{
	return (struct file *)b;
}

/* ---- open ---- */

static int open_path(const struct policy_namespace *config, bool *ret_created)
{
	int fd = open(config->path, (config->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);

	*ret_created = false;
	if (fd >= 0 || errno != ENOENT || !config->size)
		return fd;
	/* The creator needs to write even if hosts may not. */
	fd = open(config->path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
	*ret_created = fd >= 0;
	return fd;
}

/* A file that was made just now, and its name: or a write that is durable would be in no file. */
static int make_durable(int fd, const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int folder = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	return folder < 0 || fsync(fd) || fsync(folder) ? -1 : 0;
}

static int file_size(int fd, const struct policy_namespace *config, const struct stat *st, bool created,
		     struct error *err, uint64_t *ret_size)
{
	uint64_t size = st->st_size;

	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, &size))
		return error_system(err, errno, "%s: size of the device", config->path);
	if (created) {
		if (ftruncate(fd, config->size))
			return error_system(err, errno, "%s: cannot be made %llu bytes long", config->path,
					    (unsigned long long)config->size);
		size = config->size;
		if (make_durable(fd, config->path))
			return error_system(err, errno, "%s: cannot be made durable", config->path);
	}
	if (config->size > size)
		return error_set(err, EINVAL,
				 "%s: has %llu bytes, `size` wants %llu; enlarge it (truncate -s) or drop `size`",
				 config->path, (unsigned long long)size, (unsigned long long)config->size);
	size = config->size ? config->size : size;
	*ret_size = size / config->block * config->block;
	if (!*ret_size)
		return error_set(err, EINVAL,
				 "%s: is empty; give `size` and a path that does not exist yet, or fill it",
				 config->path);
	return 0;
}

static int set_direct(int fd, bool direct)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT);
}

/* Whether direct I/O of single blocks works on this descriptor: an answer that no flag gives. */
static bool direct_works(int fd, uint32_t block)
{
	static const size_t len = BUFFER_ALIGN;
	_cleanup_free_ void *buffer = aligned_alloc(BUFFER_ALIGN, len);

	return buffer && pread(fd, buffer, block, 0) >= 0;
}

/*
 * O_DIRECT if that works, without if not. It is asked for after the opening: some file systems make the file first and
 * refuse the flag then.
 */
static int open_best(const struct policy_namespace *config, struct error *err, bool *ret_created, bool *ret_direct)
{
	_cleanup_close_ int fd = open_path(config, ret_created);

	if (fd < 0)
		return error_system(err, errno,
				    errno == ENOENT ? "%s: no such file; create it, or give `size` to have it made"
						    : "%s: cannot be opened",
				    config->path);
	*ret_direct = !set_direct(fd, true) && direct_works(fd, config->block);
	if (!*ret_direct && set_direct(fd, false))
		return error_system(err, errno, "%s: cannot be used without direct I/O", config->path);
	return TAKE_FD(fd);
}

/* Asks for a hole behind the end, which changes nothing. */
static bool punches_holes(int fd, off_t end)
{
	return !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096);
}

static int file_open(const struct policy_namespace *given, struct error *err, struct backend **ret_backend)
{
	_cleanup_free_ struct file *f = calloc(1, sizeof(*f));
	struct policy_namespace config = *given;
	_cleanup_close_ int fd = -1;
	bool created, direct;
	struct stat st;
	uint64_t size;
	int ret;

	if (!f)
		return error_system(err, ENOMEM, "namespace %u", config.id);
	config.block = config.block ? config.block : 4096;
	fd = open_best(&config, err, &created, &direct);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return error_system(err, errno, "%s", config.path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, EINVAL, "%s: neither a file nor a block device", config.path);
	ret = file_size(fd, &config, &st, created, err, &size);
	if (ret)
		return ret;
	f->base = (struct backend){
		.ops = &backend_file,
		.size = size,
		.write_cache = true,
		.keeps = true,
		.details = direct ? "direct I/O" : "through the page cache (the file allows no direct I/O)",
	};
	/* A hole of a file reads as zeroes; what a device makes of it is not known. */
	f->base.zeroes = S_ISREG(st.st_mode) && !config.readonly && punches_holes(fd, st.st_size);
	f->fd = TAKE_FD(fd);
	*ret_backend = &TAKE_PTR(f)->base;
	return 0;
}

static void file_close(struct backend *b)
{
	close(file_of(b)->fd);
	free(b);
}

/* A file that is too short is made longer, as it would have been made at first. */
static int file_resize(struct backend *b, const struct policy_namespace *given, struct error *err)
{
	struct policy_namespace config = *given;
	int fd = file_of(b)->fd, ret;
	uint64_t size;
	struct stat st;

	config.block = config.block ? config.block : 4096;
	if (fstat(fd, &st))
		return error_system(err, errno, "%s", config.path);
	if (S_ISREG(st.st_mode) && !config.readonly && config.size > (uint64_t)st.st_size) {
		if (ftruncate(fd, config.size) || fstat(fd, &st))
			return error_system(err, errno, "%s: cannot be made %llu bytes long", config.path,
					    (unsigned long long)config.size);
	}
	ret = file_size(fd, &config, &st, false, err, &size);
	if (!ret)
		b->size = size;
	return ret;
}

static int file_descriptor(const struct backend *b)
{
	return file_of(b)->fd;
}

/* ---- I/O ---- */

static int push(struct io_uring_sqe *sqe, const struct backend_io *io)
{
	ring_file_flag(sqe, io->file);
	ring_push(sqe, io->token);
	return BACKEND_PENDING;
}

static int queue_rw(struct backend_io *io, uint8_t *data, uint32_t len, bool write, bool registered)
{
	struct io_uring_sqe *sqe = ring_sqe(io->ring);
	uint64_t offset = io->offset + io->progress;
	int fd = ring_file_fd(io->file);

	if (registered && write)
		io_uring_prep_write_fixed(sqe, fd, data, len, offset, io->buffer_index);
	else if (registered)
		io_uring_prep_read_fixed(sqe, fd, data, len, offset, io->buffer_index);
	else if (write)
		io_uring_prep_write(sqe, fd, data, len, offset);
	else
		io_uring_prep_read(sqe, fd, data, len, offset);
	if (write && io->fua)
		sqe->rw_flags = RWF_DSYNC;
	return push(sqe, io);
}

static int queue_fallocate(struct backend_io *io, int mode)
{
	struct io_uring_sqe *sqe = ring_sqe(io->ring);

	io_uring_prep_fallocate(sqe, ring_file_fd(io->file), mode | FALLOC_FL_KEEP_SIZE, io->offset, io->len);
	return push(sqe, io);
}

static int queue_fsync(struct backend_io *io)
{
	struct io_uring_sqe *sqe = ring_sqe(io->ring);

	io_uring_prep_fsync(sqe, ring_file_fd(io->file), IORING_FSYNC_DATASYNC);
	return push(sqe, io);
}

/* What is still to be read or written. */
static int queue_rest(struct backend_io *io)
{
	uint64_t left = io->len - io->progress;

	if (io->op == BACKEND_ZERO)
		return queue_rw(io, zeroes, min(left, (uint64_t)sizeof(zeroes)), true, false);
	return queue_rw(io, io->data + io->progress, left, io->op == BACKEND_WRITE, io->buffer_index >= 0);
}

/* Ways to zero a range, tried in this order as the file refuses them. */
enum zero_step { ZERO_PUNCH, ZERO_RANGE, ZERO_WRITE, ZERO_SYNC };

static int zero_begin(struct backend_io *io)
{
	io->step = io->deallocate ? ZERO_PUNCH : ZERO_RANGE;
	return queue_fallocate(io, io->deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

static int zero_resume(struct backend_io *io, int32_t result)
{
	switch ((enum zero_step)io->step) {
	case ZERO_PUNCH:
	case ZERO_RANGE:
		if (result == -EOPNOTSUPP || result == -EINVAL) {
			io->step++;
			return io->step == ZERO_RANGE ? queue_fallocate(io, FALLOC_FL_ZERO_RANGE) : queue_rest(io);
		}
		if (result < 0 || !io->fua)
			return result;
		io->step = ZERO_SYNC;
		return queue_fsync(io);
	case ZERO_WRITE: /* FUA is in each write */
		if (result <= 0)
			return result ? result : -EIO;
		io->progress += result;
		return io->progress < io->len ? queue_rest(io) : 0;
	case ZERO_SYNC:
		return result;
	}
	return -EIO;
}

static int file_start(struct backend *b, struct backend_io *io)
{
	switch (io->op) {
	case BACKEND_READ:
	case BACKEND_WRITE:
		return queue_rest(io);
	case BACKEND_FLUSH:
		return queue_fsync(io);
	case BACKEND_ZERO:
		return zero_begin(io);
	case BACKEND_DEALLOCATE:
		return queue_fallocate(io, FALLOC_FL_PUNCH_HOLE);
	case BACKEND_SPOIL:
		break;
	}
	return -EOPNOTSUPP;
}

static int rw_resume(struct backend_io *io, int32_t result)
{
	if (result == -EINTR || result == -EAGAIN)
		return queue_rest(io);
	if (result < 0)
		return result;
	if (!result) /* the file has become shorter than it was */
		return -EIO;
	io->progress += result;
	return io->progress < io->len ? queue_rest(io) : 0;
}

static int flush_resume(struct file *f, int32_t result)
{
	if (result < 0)
		__atomic_store_n(&f->lost, true, __ATOMIC_RELAXED);
	return __atomic_load_n(&f->lost, __ATOMIC_RELAXED) ? -EIO : 0;
}

static int file_resume(struct backend *b, struct backend_io *io, int32_t result)
{
	switch (io->op) {
	case BACKEND_READ:
	case BACKEND_WRITE:
		return rw_resume(io, result);
	case BACKEND_ZERO:
		return zero_resume(io, result);
	case BACKEND_DEALLOCATE:
		/* Advice that the file cannot take is not an error. */
		return result == -EOPNOTSUPP || result == -EINVAL ? 0 : result;
	case BACKEND_FLUSH:
		return flush_resume(file_of(b), result);
	case BACKEND_SPOIL:
		break;
	}
	return -EIO;
}

const struct backend_ops backend_file = {
	.name = "file",
	.open = file_open,
	.close = file_close,
	.start = file_start,
	.resume = file_resume,
	.resize = file_resize,
	.descriptor = file_descriptor,
};
