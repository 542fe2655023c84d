// SPDX-License-Identifier: Apache-2.0
/*
 * See reservation_file.h. Loaded by catalog.c when a namespace is opened; saved by one thread a target, which takes
 * jobs in order, so that the last state of a namespace is the one that stays.
 */
#include "storage/reservation_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "nvme/identify.h"
#include "storage/reactor.h"

#define MAGIC "sluice reservation 1"

struct reservation_saver {
	char dir[3072];
	pthread_t thread;
	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t more;
	struct reservation_saving *first, **last;
	bool stopping;
};

static void file_closep(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* ---- reading ---- */

struct reader {
	FILE *file;
	const char *path;
	unsigned int line;
	char text[512];
};

static int damaged(const struct reader *in, struct error *err, const char *what)
{
	return error_set(err, EINVAL,
			 "%s:%u: %s; restore the file from a backup, or remove it to forget the reservation", in->path,
			 in->line, what);
}

static bool next_line(struct reader *in)
{
	in->line++;
	if (!fgets(in->text, sizeof(in->text), in->file))
		return false;
	in->text[strcspn(in->text, "\n")] = 0;
	return true;
}

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? at - digits : -1;
}

static bool read_id(const char *text, uint8_t *ret_id)
{
	unsigned int i;

	for (i = 0; i < RESERVATION_HOST_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = high < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		ret_id[i] = high << 4 | low;
	}
	return !text[2 * i];
}

/* "host ID key KEY", and " holder" behind one of them where the type has one holder. */
static bool read_host(const char *text, struct reservation *r, bool *ret_holds)
{
	struct reservation_host *h = &r->hosts[r->n_hosts];
	char id[2 * RESERVATION_HOST_LEN + 2], rest[16] = "";
	int n = sscanf(text, "host %33s key %16" SCNx64 " %15s", id, &h->key, rest);

	if (n < 2 || r->n_hosts == RESERVATION_HOSTS || !read_id(id, h->id) || (n == 3 && strcmp(rest, "holder")))
		return false;
	*ret_holds = n == 3;
	r->n_hosts++;
	return true;
}

static int read_hosts(struct reader *in, struct reservation *r, struct error *err)
{
	bool all = r->type == RESERVATION_WRITE_ALL || r->type == RESERVATION_ACCESS_ALL, holds;
	unsigned int holders = 0;

	while (next_line(in) && strcmp(in->text, "end")) {
		if (!read_host(in->text, r, &holds))
			return damaged(in, err, "not a `host` line");
		if (holds)
			r->holder = r->n_hosts - 1;
		holders += holds;
	}
	if (strcmp(in->text, "end"))
		return damaged(in, err, "the file ends before its end");
	if (holders != (r->type && !all ? 1 : 0) || (r->type && !r->n_hosts))
		return damaged(in, err, "the holders do not fit the type");
	return 0;
}

int reservation_load(const char *path, const char *subnqn, uint32_t nsid, struct reservation *ret_reservation,
		     struct error *err)
{
	_cleanup_(file_closep) FILE *file = fopen(path, "re");
	struct reader in = {.file = file, .path = path};
	struct reservation r = {.persists = true};
	char expected[512];
	unsigned int type;
	int ret;

	memset(ret_reservation, 0, sizeof(*ret_reservation));
	if (!file)
		return errno == ENOENT ? 0 : error_system(err, errno, "%s", path);
	snprintf(expected, sizeof(expected), "namespace %s %u", subnqn, nsid);
	if (!next_line(&in) || strcmp(in.text, MAGIC))
		return damaged(&in, err, "not a reservation of this version of sluice");
	if (!next_line(&in) || strcmp(in.text, expected))
		return damaged(&in, err, "of another namespace");
	if (!next_line(&in) || sscanf(in.text, "type %u", &type) != 1 || type >= RESERVATION_TYPES)
		return damaged(&in, err, "not a `type` line");
	r.type = type;
	ret = read_hosts(&in, &r, err);
	if (!ret)
		*ret_reservation = r;
	return ret;
}

/* ---- writing ---- */

static int write_text(FILE *f, const char *subnqn, uint32_t nsid, const struct reservation *r)
{
	bool all = r->type == RESERVATION_WRITE_ALL || r->type == RESERVATION_ACCESS_ALL;
	unsigned int i, n;

	fprintf(f, MAGIC "\nnamespace %s %u\ntype %u\n", subnqn, nsid, r->type);
	for (i = 0; i < r->n_hosts; i++) {
		fprintf(f, "host ");
		for (n = 0; n < RESERVATION_HOST_LEN; n++)
			fprintf(f, "%02x", r->hosts[i].id[n]);
		fprintf(f, " key %016" PRIx64 "%s\n", r->hosts[i].key,
			reservation_holds(r, i) && !all ? " holder" : "");
	}
	fprintf(f, "end\n");
	return fflush(f) || fsync(fileno(f)) ? -errno : 0;
}

static int write_file(const char *path, const char *subnqn, uint32_t nsid, const struct reservation *r)
{
	_cleanup_(file_closep) FILE *file = NULL;
	char temporary[4200];
	int ret;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	file = fopen(temporary, "we");
	if (!file)
		return -errno;
	ret = write_text(file, subnqn, nsid, r);
	if (!ret && rename(temporary, path))
		ret = -errno;
	return ret;
}

int reservation_save(const char *path, const char *subnqn, uint32_t nsid, const struct reservation *r)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int dir = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int ret = 0;

	if (dir < 0)
		return -errno;
	if (r->persists)
		ret = write_file(path, subnqn, nsid, r);
	else if (unlink(path) && errno != ENOENT)
		ret = -errno;
	return ret ? ret : fsync(dir) ? -errno : 0;
}

/* ---- the thread ---- */

static struct reservation_saving *saving_take(struct reservation_saver *s)
{
	struct reservation_saving *one;

	pthread_mutex_lock(&s->mutex);
	while (!s->first && !s->stopping)
		pthread_cond_wait(&s->more, &s->mutex);
	one = s->first;
	if (one)
		s->first = one->next;
	if (!s->first)
		s->last = &s->first;
	pthread_mutex_unlock(&s->mutex);
	return one;
}

static void *save_all(void *arg)
{
	struct reservation_saver *s = arg;
	struct reservation_saving *one;

	while ((one = saving_take(s))) {
		one->result = reservation_save(one->path, one->subnqn, one->nsid, &one->copy);
		if (one->result)
			log_error("target", "%s: the reservation cannot be kept: %s", one->path,
				  strerror(-one->result));
		reactor_post(one->reactor, &one->call);
	}
	return NULL;
}

int reservation_saver_start(const char *dir, struct error *err, struct reservation_saver **ret_saver)
{
	struct reservation_saver *s;
	int ret;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return error_system(err, errno, "%s: reservations cannot be kept there", dir);
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_system(err, ENOMEM, "reservations");
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	s->last = &s->first;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->more, NULL);
	ret = pthread_create(&s->thread, NULL, save_all, s);
	if (ret) {
		free(s);
		return error_system(err, ret, "reservations: thread");
	}
	*ret_saver = s;
	return 0;
}

void reservation_saver_stop(struct reservation_saver *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	s->stopping = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->mutex);
	pthread_join(s->thread, NULL);
	pthread_mutex_destroy(&s->mutex);
	pthread_cond_destroy(&s->more);
	free(s);
}

int reservation_saver_path(const struct reservation_saver *s, const char *subnqn, uint32_t nsid, char *ret_path,
			   size_t size)
{
	char name[2 * 16 + 1];
	__u8 nguid[16];
	unsigned int i;

	nvme_ns_nguid(subnqn, nsid, nguid);
	for (i = 0; i < sizeof(nguid); i++)
		snprintf(name + 2 * i, 3, "%02x", nguid[i]);
	return (size_t)snprintf(ret_path, size, "%s/%s", s->dir, name) < size ? 0 : -ENAMETOOLONG;
}

void reservation_saver_queue(struct reservation_saver *s, struct reservation_saving *saving)
{
	saving->next = NULL;
	pthread_mutex_lock(&s->mutex);
	*s->last = saving;
	s->last = &saving->next;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->mutex);
}
