// SPDX-License-Identifier: Apache-2.0
/*
 * The pinned folder as files: where things lie, the file system they lie on, the lock that keeps two writers apart, and
 * the removal of it all. Called by every writer of this folder before it touches a map. bpffs knows directories and
 * pins only, and reserves dots in names.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "dataplane/internal.h"

#define BPFFS	 "/sys/fs/bpf"
#define LOCK_DIR "/run/sluice"

struct pin_path pin_path(const char *root, const char *sub, const char *name)
{
	struct pin_path p;

	snprintf(p.text, sizeof(p.text), "%.*s%s%s%s%s", PATH_MAX / 2, root, sub ? "/" : "", sub ? sub : "",
		 name ? "/" : "", name ? name : "");
	return p;
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

/*
 * `ip netns exec` gives its command a mount namespace of its own with a fresh /sys: pins made there would die with the
 * command while the programs stay attached.
 */
static bool mounts_are_private(void)
{
	char self[64], init[64];
	ssize_t n = readlink("/proc/self/ns/mnt", self, sizeof(self));
	ssize_t m = readlink("/proc/1/ns/mnt", init, sizeof(init));

	return n > 0 && m > 0 && (n != m || memcmp(self, init, (size_t)n) != 0);
}

static int mount_bpffs(struct error *err)
{
	if (is_bpffs(BPFFS))
		return 0;
	if (mounts_are_private())
		return error_set(err, ENODEV,
				 BPFFS
				 ": no bpffs in this mount namespace, and pins made in it would not last; enter the "
				 "network namespace with `nsenter --net=/run/netns/NAME` instead of `ip netns exec`");
	if (mount("bpffs", BPFFS, "bpf", 0, "mode=0700"))
		return error_system(err, errno, BPFFS ": cannot mount bpffs");
	log_info("dataplane", "mounted bpffs at " BPFFS);
	return 0;
}

int folder_prepare(const char *root, struct error *err)
{
	char path[PATH_MAX / 2];
	char *slash;
	int r = 0;

	if (strlen(root) >= sizeof(path) || root[0] != '/')
		return error_set(err, EINVAL, "%s: the pinned folder must be an absolute path below " BPFFS, root);
	if (!strncmp(root, BPFFS "/", strlen(BPFFS "/")))
		r = mount_bpffs(err);
	if (r)
		return r;
	snprintf(path, sizeof(path), "%s", root);
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (mkdir(path, 0700) && errno != EEXIST && errno != EROFS && errno != EACCES && errno != EPERM)
			return error_system(err, errno, "%s: mkdir", path);
		*slash = '/';
	}
	*strrchr(path, '/') = 0;
	if (!is_bpffs(path))
		return error_set(err, EINVAL, "%s: not on a bpffs; choose a folder below " BPFFS " or mount one there",
				 root);
	return 0;
}

/* Not on bpffs itself: libxdp locks that mount while it attaches, and a folder there would be a leftover after detach.
 */
static struct pin_path lock_path(const char *root)
{
	struct pin_path path = pin_path(LOCK_DIR "/lock", NULL, NULL);
	size_t i = strlen(path.text);

	snprintf(path.text + i, sizeof(path.text) - i, "%.*s", PATH_MAX / 2, root);
	for (; path.text[i]; i++)
		if (path.text[i] == '/')
			path.text[i] = '_';
	return path;
}

static int lock_take(const char *root, const char *path, struct error *err, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_system(err, errno, "%s: open", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return error_system(err, errno, "%s: lock", path);
		log_info("dataplane", "waiting for another sluice that changes %s", root);
		if (TEMP_FAILURE_RETRY(flock(fd, LOCK_EX)))
			return error_system(err, errno, "%s: lock", path);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Its last owner may have removed the file while we waited: only a lock on the file that bears the name counts. */
int folder_lock(const char *root, struct error *err, int *ret_fd)
{
	struct pin_path path = lock_path(root);
	struct stat named, held;
	int r;

	if (mkdir(LOCK_DIR, 0755) && errno != EEXIST)
		return error_system(err, errno, LOCK_DIR ": mkdir");
	for (;;) {
		_cleanup_close_ int fd = -1;

		r = lock_take(root, path.text, err, &fd);
		if (r)
			return r;
		if (fstat(fd, &held))
			return error_system(err, errno, "%s: stat", path.text);
		if (!stat(path.text, &named) && named.st_ino == held.st_ino && named.st_dev == held.st_dev) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
	}
}

void folder_lock_remove(const char *root)
{
	unlink(lock_path(root).text);
}

static void dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

int folder_remove(const char *path)
{
	_cleanup_(dir_closep) DIR *dir = opendir(path);
	struct dirent *entry;
	char child[PATH_MAX];
	int r = 0, s;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(child, sizeof(child), "%.*s/%s", PATH_MAX - 260, path, entry->d_name);
		if (entry->d_type == DT_DIR)
			s = folder_remove(child);
		else
			s = unlink(child) && errno != ENOENT ? -errno : 0;
		r = r ? r : s;
	}
	if (!r && rmdir(path) && errno != ENOENT)
		r = -errno;
	return r;
}

int folder_make(const struct dataplane *dp, const char *sub, struct error *err)
{
	struct pin_path path = pin_path(dp->root, sub, NULL);

	if (mkdir(path.text, 0700) && errno != EEXIST)
		return error_system(err, errno, "%s: mkdir", path.text);
	return 0;
}
