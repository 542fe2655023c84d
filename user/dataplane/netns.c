// SPDX-License-Identifier: Apache-2.0
/*
 * One pinned folder serves one network namespace: interface numbers mean nothing in another. The folder remembers whose it is
 * as an empty directory ROOT/netns/INODE. Called by apply and detach. A namespace that is gone has taken its hooks with it; a
 * live one is recognised by a tcx link that still has its interface.
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
	char owner[NAME_MAX + 1], link[NAME_MAX + 1], own[32];
	int r = current(own, err);

	if (r || !find_entry(root, "netns", NULL, owner) || !strcmp(owner, own) ||
	    !find_entry(root, "links", link_is_alive, link))
		return r;
	return error_set(err, EXDEV, "%s: in force in another network namespace (inode %s; `lsns -t net` names it); enter it with nsenter, "
				     "or choose another folder with --root", root, owner);
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
