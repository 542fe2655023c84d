// SPDX-License-Identifier: Apache-2.0
/* Where control sockets lie and how they are found. No state; called by servers, `sluice status` and tests. */
#include "control/control.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

const char *control_run_dir(void)
{
	const char *dir = secure_getenv("SLUICE_RUN_DIR");

	return dir && *dir ? dir : CONTROL_RUN_DIR;
}

int control_default_path(const char *kind, pid_t pid, char *ret_path, size_t size)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/%s-%d.sock", control_run_dir(), kind, (int)pid);

	if (n < 0 || (size_t)n >= sizeof(path) || (size_t)n >= size)
		return -ENAMETOOLONG;
	memcpy(ret_path, path, (size_t)n + 1);
	return 0;
}

static bool name_matches(const char *name, const char *kind)
{
	size_t kind_len = strlen(kind), len = strlen(name);

	return len > kind_len + 6 && !strncmp(name, kind, kind_len) && name[kind_len] == '-' &&
	       !strcmp(name + len - 5, ".sock");
}

static void dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

int control_list(const char *kind, control_path_fn fn, void *arg)
{
	_cleanup_(dir_closep) DIR *dir = opendir(control_run_dir());
	struct dirent *entry;
	char path[4096];
	int r;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir))) {
		if (!name_matches(entry->d_name, kind))
			continue;
		snprintf(path, sizeof(path), "%s/%s", control_run_dir(), entry->d_name);
		r = fn(arg, path);
		if (r)
			return r;
	}
	return 0;
}
