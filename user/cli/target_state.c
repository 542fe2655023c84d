// SPDX-License-Identifier: Apache-2.0
/* See target_state.h. Called once by `sluice target`, before the target starts. */
#include "cli/target_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define STATE_DIR "/var/lib/sluice"

static int folder_make(const char *path, mode_t mode)
{
	if (mkdir(path, mode) && errno != EEXIST)
		return -errno;
	return access(path, W_OK | X_OK) ? -errno : 0;
}

int target_state_dir(const char *dir, char *ret_path, size_t size, struct error *err)
{
	const char *usual = secure_getenv("SLUICE_STATE_DIR");
	const char *base = dir ? dir : usual && *usual ? usual : STATE_DIR;
	int ret = folder_make(base, 0755);

	if ((size_t)snprintf(ret_path, size, "%s/reservations", base) >= size)
		return error_set(err, ENAMETOOLONG, "--state-dir: path too long");
	if (!ret)
		ret = folder_make(ret_path, 0700);
	if (!ret)
		return 0;
	if (dir)
		return error_system(err, -ret, "--state-dir %s", dir);
	log_warn("target", "%s: %s: reservations end with the target; give --state-dir", ret_path, strerror(-ret));
	ret_path[0] = 0;
	return 0;
}
