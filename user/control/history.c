// SPDX-License-Identifier: Apache-2.0
/*
 * Which policies were applied, and which of them count. Called by apply (add, then prune), rollback, show and plan.
 * What always holds: nothing is removed that a list for the live policy would show, so a crash anywhere costs no
 * history.
 */
#include "control/history_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"

#define BPFFS "/sys/fs/bpf/"

static void diagnostics_done(struct policy_diagnostics *d)
{
	policy_diagnostics_done(d);
}

/* ------------------------------------------------------------------- where */

/*
 * A folder's name from the pinned folder's path, one to one: what follows /sys/fs/bpf/, with slashes (and the percent
 * sign itself, and a leading dot) as percent and two digits; a path elsewhere keeps its leading slash.
 */
static void root_name(const char *path, char *ret, size_t size)
{
	char plain[PATH_MAX], *root = plain;
	size_t n = 0;

	for (; *path && n + 1 < sizeof(plain); path++)
		if (*path != '/' || (path[1] && path[1] != '/')) /* doubled, or at the end: means nothing */
			plain[n++] = *path;
	plain[n] = 0;
	if (!strncmp(root, BPFFS, strlen(BPFFS)))
		root += strlen(BPFFS);
	for (n = 0; *root && n + 4 < size; root++) {
		if (*root == '/' || *root == '%' || (*root == '.' && !n))
			n += (size_t)snprintf(ret + n, size - n, "%%%02X", (unsigned char)*root);
		else
			ret[n++] = *root;
	}
	ret[n] = 0;
}

int history_open(const char *state_dir, const char *root, struct error *err, struct history **ret_history)
{
	const char *dir = state_dir ? state_dir : secure_getenv("SLUICE_STATE_DIR");
	_cleanup_free_ struct history *h = calloc(1, sizeof(*h));
	char name[PATH_MAX];

	if (!h)
		return error_set(err, ENOMEM, "history: out of memory");
	root_name(root, name, sizeof(name));
	if ((size_t)snprintf(h->path, sizeof(h->path), "%s/%s", dir && *dir ? dir : HISTORY_DIR, name) >=
	    sizeof(h->path))
		return error_set(err, ENAMETOOLONG, "%s: path too long for a history", root);
	*ret_history = TAKE_PTR(h);
	return 0;
}

void history_close(struct history *h)
{
	free(h);
}

void history_closep(struct history **h)
{
	history_close(*h);
}

const char *history_path(const struct history *h)
{
	return h->path;
}

static int folders_make(const char *path)
{
	char part[PATH_MAX];
	char *slash;

	snprintf(part, sizeof(part), "%s", path);
	for (slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(part, 0755) && errno != EEXIST && errno != EROFS)
			return -errno;
		*slash = '/';
	}
	return mkdir(part, 0700) && errno != EEXIST ? -errno : 0;
}

/* -ENOENT: no history. Close to unlock. */
static int folder_lock(const struct history *h, int *ret_fd)
{
	_cleanup_close_ int fd = open(h->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || TEMP_FAILURE_RETRY(flock(fd, LOCK_EX)))
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ------------------------------------------------------------------- which there are */

void history_list_done(struct history_list *l)
{
	size_t i;

	for (i = 0; i < l->count; i++)
		free(l->items[i].source);
	free(l->items);
	memset(l, 0, sizeof(*l));
}

static void dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

static bool file_number(const char *name, uint64_t *ret_number)
{
	if (strspn(name, "0123456789") != 16 || strcmp(name + 16, HISTORY_SUFFIX))
		return false;
	*ret_number = strtoull(name, NULL, 10);
	return true;
}

static int list_add(const struct history *h, uint64_t number, struct history_list *l)
{
	struct history_entry *items = reallocarray(l->items, l->count + 1, sizeof(*items));
	int r;

	if (!items)
		return -ENOMEM;
	l->items = items;
	r = history_head_read(h, number, &items[l->count]);
	if (!r)
		l->count++;
	if (r == -EBADMSG) {
		log_warn("history", "%s: damaged, left out; remove it", history_file(h, number).path);
		r = 0;
	}
	return r == -ENOENT ? 0 : r; /* pruned meanwhile */
}

static int later_first(const void *a, const void *b)
{
	const struct history_entry *x = a, *y = b;

	return x->file < y->file ? 1 : x->file > y->file ? -1 : 0;
}

/* All entries, later ones first; no folder: none. */
static int entries_read(const struct history *h, struct history_list *ret)
{
	_cleanup_(dir_closep) DIR *dir = opendir(h->path);
	struct history_list l = {};
	struct dirent *entry;
	uint64_t number;
	int r = 0;

	if (!dir && errno != ENOENT)
		return -errno;
	while (dir && !r && (entry = readdir(dir)))
		if (file_number(entry->d_name, &number))
			r = list_add(h, number, &l);
	if (r) {
		history_list_done(&l);
		return r;
	}
	if (l.count)
		qsort(l.items, l.count, sizeof(*l.items), later_first);
	*ret = l;
	return 0;
}

/* ------------------------------------------------------------------- which of them count */

static bool entry_is_live(const struct history_entry *e, const struct history_live *live)
{
	return live->generation && e->generation == live->generation && !memcmp(e->digest, live->digest, 32);
}

/* Place of the live policy among the entries, or their count. */
static size_t live_place(const struct history_list *l, const struct history_live *live)
{
	size_t i;

	for (i = 0; i < l->count && !entry_is_live(&l->items[i], live); i++)
		;
	return i;
}

static bool shown_before(const struct history_list *l, const bool *shown, size_t i)
{
	size_t k;

	for (k = 0; k < i; k++)
		if (shown[k] && !memcmp(l->items[k].digest, l->items[i].digest, 32))
			return true;
	return false;
}

/*
 * Marks what a list for `live` shows: the live entry and those before it, each policy once, as it was applied last.
 * What comes after it was never flipped or was taken back. Without a live entry all were applied before, and what says
 * the same as the live policy is left out.
 */
static void entries_mark(const struct history_list *l, const struct history_live *live, bool *shown)
{
	size_t place = live_place(l, live), i = place < l->count ? place : 0, count = 0;
	size_t most = place < l->count ? HISTORY_KEPT + 1 : HISTORY_KEPT;

	for (; i < l->count && count < most; i++) {
		if (shown_before(l, shown, i))
			continue;
		if (place == l->count && live->generation && !memcmp(l->items[i].digest, live->digest, 32))
			continue;
		shown[i] = true;
		count++;
	}
}

int history_list(const struct history *h, const struct history_live *live, struct error *err,
		 struct history_list *ret_list)
{
	_cleanup_(history_list_done) struct history_list all = {};
	_cleanup_free_ bool *shown = NULL;
	size_t i, n = 0;
	int r = entries_read(h, &all);

	if (r)
		return error_system(err, -r, "%s: cannot read the history", h->path);
	shown = calloc(all.count + 1, sizeof(*shown));
	if (!shown)
		return error_set(err, ENOMEM, "%s: out of memory", h->path);
	entries_mark(&all, live, shown);
	ret_list->has_live = live_place(&all, live) < all.count;
	for (i = 0; i < all.count; i++) {
		if (shown[i])
			all.items[n++] = all.items[i];
		else
			free(all.items[i].source);
	}
	ret_list->items = TAKE_PTR(all.items);
	ret_list->count = n;
	all.count = 0;
	return 0;
}

const struct history_entry *history_back(const struct history_list *l, size_t back)
{
	if (!l->has_live && !back--)
		return NULL;
	return back < l->count ? &l->items[back] : NULL;
}

int history_find(const struct history *h, const uint8_t digest[32], struct error *err, struct history_entry *ret_entry)
{
	_cleanup_(history_list_done) struct history_list all = {};
	size_t i;
	int r = entries_read(h, &all);

	if (r)
		return error_system(err, -r, "%s: cannot read the history", h->path);
	for (i = 0; i < all.count; i++) {
		if (memcmp(all.items[i].digest, digest, 32))
			continue;
		*ret_entry = all.items[i];
		all.items[i].source = NULL;
		return 0;
	}
	return error_set(err, ENOENT, "%s: the live policy is not there; it was applied by other means", h->path);
}

/* ------------------------------------------------------------------- writing */

static int entry_remove(const struct history *h, const struct history_entry *e, enum history_step step)
{
	int r = history_step(step);

	return r ? r : unlink(history_file(h, e->file).path) && errno != ENOENT ? -errno : 0;
}

/* What was written after the live entry never came into force, or was taken back. */
static int entries_clean(const struct history *h, const struct history_list *all, const struct history_live *live)
{
	size_t place = live_place(all, live), i;
	int r = 0;

	for (i = 0; !r && place < all->count && i < place; i++)
		r = entry_remove(h, &all->items[i], HISTORY_CLEAN);
	return r;
}

int history_add(struct history *h, const struct history_live *live, const struct policy *p,
		const struct history_about *about, struct error *err)
{
	_cleanup_(history_list_done) struct history_list all = {};
	_cleanup_close_ int lock = -1;
	int r = folders_make(h->path);

	if (!r)
		r = folder_lock(h, &lock);
	if (!r)
		r = entries_read(h, &all);
	if (!r)
		r = entries_clean(h, &all, live);
	if (r)
		return error_system(err, -r,
				    "%s: cannot keep the policy for `rollback` and `show`; make the folder "
				    "writable, then apply again",
				    h->path);
	return history_file_write(h, all.count ? all.items[0].file + 1 : 1, p, about, err);
}

int history_prune(struct history *h, const struct history_live *live, struct error *err)
{
	_cleanup_(history_list_done) struct history_list all = {};
	_cleanup_free_ bool *shown = NULL;
	_cleanup_close_ int lock = -1;
	size_t i;
	int r = folder_lock(h, &lock);

	if (r == -ENOENT)
		return 0;
	if (!r)
		r = entries_read(h, &all);
	shown = calloc(all.count + 1, sizeof(*shown));
	if (!r && !shown)
		r = -ENOMEM;
	if (!r)
		entries_mark(&all, live, shown);
	/* Later than the live one: perhaps written by an apply that is about to flip. Without a live entry: all stay.
	 */
	for (i = live_place(&all, live); !r && i < all.count; i++)
		if (!shown[i])
			r = entry_remove(h, &all.items[i], HISTORY_PRUNE);
	return r ? error_system(err, -r, "%s: cannot remove old entries", h->path) : 0;
}

/* ------------------------------------------------------------------- the policy itself */

int history_load(const struct history *h, const struct history_entry *entry, struct error *err,
		 struct policy **ret_policy, struct policy_tables **ret_tables)
{
	struct history_file file = history_file(h, entry->file);
	_cleanup_(diagnostics_done) struct policy_diagnostics diagnostics = {};
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(policy_freep) struct policy *p = NULL;
	int r = policy_load(file.path, &diagnostics, &p);

	if (r)
		return error_set(err, -r, "%s: cannot be read as a policy: %s", file.path,
				 diagnostics.count ? diagnostics.items[0].text : strerror(-r));
	r = policy_compile(p, err, &tables);
	if (r)
		return r;
	if (memcmp(tables->head.digest, entry->digest, sizeof(entry->digest)))
		return error_set(err, EBADMSG, "%s: is not what was applied: its digest differs; it was changed since",
				 file.path);
	*ret_policy = TAKE_PTR(p);
	*ret_tables = TAKE_PTR(tables);
	return 0;
}
