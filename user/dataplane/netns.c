// SPDX-License-Identifier: Apache-2.0
/*
 * One pinned folder serves one network namespace: interface numbers mean nothing in another. The folder remembers whose
 * it is as an empty directory ROOT/netns/INODE. Called by apply and detach. A namespace that is gone has taken its
 * hooks with it; a live one is recognised by a tcx link that still has its interface or, where the kernel has no tcx,
 * by a process or a name that still holds it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "dataplane/internal.h"

static void dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* The first entry of ROOT/sub whose file satisfies `wanted` (NULL: any); false: none. */
static bool find_entry(const char *root, const char *sub, bool (*wanted)(const char *path), char name[NAME_MAX + 1])
{
	_cleanup_(dir_closep) DIR *dir = opendir(pin_path(root, sub, NULL).text);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || (wanted && !wanted(pin_path(root, sub, entry->d_name).text)))
			continue;
		snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
		return true;
	}
	return false;
}

static bool link_is_alive(const char *path)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_link_info info = {};
	__u32 length = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &length) && info.xdp.ifindex;
}

static bool names_inode(const char *path, const char *inode)
{
	char number[32];
	struct stat st;

	if (stat(path, &st))
		return false;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)st.st_ino);
	return !strcmp(number, inode);
}

/* Does any FOLDER/x/SUFFIX have this inode number? */
static bool folder_names_inode(const char *folder, const char *suffix, const char *inode)
{
	_cleanup_(dir_closep) DIR *dir = opendir(folder);
	char path[PATH_MAX];
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s%s", folder, entry->d_name, suffix);
		if (entry->d_name[0] != '.' && names_inode(path, inode))
			return true;
	}
	return false;
}

static bool netns_is_alive(const char *root, const char *inode)
{
	char link[NAME_MAX + 1];

	if (find_entry(root, "links", NULL, link))
		return find_entry(root, "links", link_is_alive, link);
	return folder_names_inode("/run/netns", "", inode) || folder_names_inode("/proc", "/ns/net", inode);
}

static int current(char name[32], struct error *err)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st))
		return error_system(err, errno, "/proc/self/ns/net");
	snprintf(name, 32, "%llu", (unsigned long long)st.st_ino);
	return 0;
}

int netns_check(const char *root, struct error *err)
{
	char owner[NAME_MAX + 1], own[32];
	int r = current(own, err);

	if (r || !find_entry(root, "netns", NULL, owner) || !strcmp(owner, own) || !netns_is_alive(root, owner))
		return r;
	return error_set(
		err, EXDEV,
		"%s: in force in another network namespace (inode %s; `lsns -t net` names it); enter it with nsenter, "
		"or choose another folder with --root",
		root, owner);
}

int netns_claim(const struct dataplane *dp, struct error *err)
{
	char owner[NAME_MAX + 1], own[32];
	struct pin_path path;
	int r = netns_check(dp->root, err);

	if (!r)
		r = current(own, err);
	if (r || (find_entry(dp->root, "netns", NULL, owner) && !strcmp(owner, own)))
		return r;
	/* Links of a namespace that has gone hold nothing. */
	r = folder_remove(pin_path(dp->root, "links", NULL).text);
	if (!r)
		r = folder_remove(pin_path(dp->root, "netns", NULL).text);
	if (r)
		return error_system(err, -r, "%s: cannot remove what a gone network namespace left", dp->root);
	r = folder_make(dp, "netns", err);
	path = pin_path(dp->root, "netns", own);
	if (!r && mkdir(path.text, 0700))
		r = error_system(err, errno, "%s: mkdir", path.text);
	return r;
}
