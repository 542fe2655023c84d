// SPDX-License-Identifier: Apache-2.0
/*
 * One entry of the history as a file: comment lines that say what the YAML does not, then the policy. So a person can
 * read it, and `sluice apply FILE` can too. Called by history.c, which holds the folder's lock when it writes. What
 * always holds: under its final name a file is complete, because it is written under another one, synced, renamed.
 */
#include "control/history_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define TEMPORARY "new" /* one is enough: writers exclude each other */
#define MAGIC	  "# sluice history 1\n"

int (*history_fault)(enum history_step step);

int history_step(enum history_step step)
{
	return history_fault ? history_fault(step) : 0;
}

struct history_file history_file(const struct history *h, uint64_t number)
{
	struct history_file f;

	snprintf(f.path, sizeof(f.path), "%.*s/%016" PRIu64 HISTORY_SUFFIX, PATH_MAX - 1, h->path, number);
	return f;
}

/* ------------------------------------------------------------------- writing */

static void hex_write(FILE *out, const uint8_t *bytes, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		fprintf(out, "%02x", bytes[i]);
}

/* A path may hold anything, a comment line must not end early. */
static void escaped_write(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (iscntrl((unsigned char)*text) || *text == '%')
			fprintf(out, "%%%02X", (unsigned char)*text);
		else
			fputc(*text, out);
	}
}

static void head_write(FILE *out, const struct history_about *about)
{
	time_t now = time(NULL);
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	fprintf(out, MAGIC "# generation: %" PRIu64 "\n# digest: ", (uint64_t)about->head->generation);
	hex_write(out, about->head->digest, sizeof(about->head->digest));
	fprintf(out, "\n# applied: %lld (%s)\n# rules: %u\n# name: ", (long long)now, text, about->head->rules - 1);
	escaped_write(out, about->head->name);
	fputs("\n# source: ", out);
	escaped_write(out, about->source);
	fputs("\n", out);
}

/* -errno of whatever failed first. */
static int text_write(int fd, const struct policy *p, const struct history_about *about)
{
	FILE *out = fdopen(fd, "w");
	int r;

	if (!out)
		return -errno;
	head_write(out, about);
	r = policy_write(p, out);
	if (!r)
		r = history_step(HISTORY_SYNC);
	if (!r && (fflush(out) || fsync(fd)))
		r = -errno;
	if (fclose(out) && !r)
		r = -errno;
	return r;
}

static int temporary_write(const char *path, const struct policy *p, const struct history_about *about)
{
	int r = history_step(HISTORY_CREATE), fd;

	if (r)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = history_step(HISTORY_WRITE);
	if (!r)
		return text_write(fd, p, about);
	close(fd);
	return r;
}

static int folder_sync(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) ? -errno : 0;
}

int history_file_write(const struct history *h, uint64_t number, const struct policy *p,
		       const struct history_about *about, struct error *err)
{
	struct history_file final = history_file(h, number), fresh;
	int r;

	snprintf(fresh.path, sizeof(fresh.path), "%.*s/" TEMPORARY, PATH_MAX - 1, h->path);
	r = temporary_write(fresh.path, p, about);
	if (!r)
		r = history_step(HISTORY_RENAME);
	if (!r && rename(fresh.path, final.path))
		r = -errno;
	if (r) {
		unlink(fresh.path);
		return error_system(err, -r,
				    "%s: cannot keep the policy for `rollback` and `show`; make room or the folder "
				    "writable, then apply again",
				    h->path);
	}
	r = history_step(HISTORY_SYNC_FOLDER);
	if (!r)
		r = folder_sync(h->path);
	return r ? error_system(err, -r, "%s: the kept policy may not survive a power loss; apply again", h->path) : 0;
}

/* ------------------------------------------------------------------- reading */

static void unescape(char *text)
{
	char *out = text, hex[3] = "";

	for (; *text; text++) {
		if (*text == '%' && isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2])) {
			memcpy(hex, text + 1, 2);
			*out++ = (char)strtoul(hex, NULL, 16);
			text += 2;
		} else {
			*out++ = *text;
		}
	}
	*out = 0;
}

static int digest_read(const char *text, uint8_t ret[32])
{
	char hex[3] = "";
	size_t i;

	if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
		return -EBADMSG;
	for (i = 0; i < 32; i++) {
		memcpy(hex, text + 2 * i, 2);
		ret[i] = (uint8_t)strtoul(hex, NULL, 16);
	}
	return 0;
}

/* One "# key: value" line. `seen` counts the keys that an entry must have. */
static int line_read(char *line, struct history_entry *e, unsigned int *seen)
{
	char *value = strstr(line, ": ");

	if (strncmp(line, "# ", 2) || !value)
		return 0;
	*value = 0;
	value += 2;
	value[strcspn(value, "\n")] = 0;
	line += 2;
	*seen += !strcmp(line, "generation") || !strcmp(line, "digest") || !strcmp(line, "source");
	if (!strcmp(line, "generation"))
		e->generation = strtoull(value, NULL, 10);
	else if (!strcmp(line, "applied"))
		e->applied = strtoull(value, NULL, 10);
	else if (!strcmp(line, "rules"))
		e->rules = strtoull(value, NULL, 10);
	else if (!strcmp(line, "digest"))
		return digest_read(value, e->digest);
	unescape(value);
	if (!strcmp(line, "name"))
		snprintf(e->name, sizeof(e->name), "%s", value);
	if (strcmp(line, "source"))
		return 0;
	free(e->source);
	e->source = strdup(value);
	return e->source ? 0 : -ENOMEM;
}

int history_head_read(const struct history *h, uint64_t number, struct history_entry *ret_entry)
{
	_cleanup_fclose_ FILE *in = fopen(history_file(h, number).path, "re");
	struct history_entry e = {.file = number};
	_cleanup_free_ char *line = NULL;
	unsigned int seen = 0;
	size_t room = 0;
	int r;

	if (!in)
		return -errno;
	r = getline(&line, &room, in) > 0 && !strcmp(line, MAGIC) ? 0 : -EBADMSG;
	while (!r && getline(&line, &room, in) > 0 && line[0] == '#')
		r = line_read(line, &e, &seen);
	if (!r && seen != 3)
		r = -EBADMSG;
	if (r) {
		free(e.source);
		return r;
	}
	*ret_entry = e;
	return 0;
}
