/* SPDX-License-Identifier: Apache-2.0 */
/* Where `sluice target` keeps what outlives it. */
#ifndef SLUICE_CLI_TARGET_STATE_H
#define SLUICE_CLI_TARGET_STATE_H

#include <stddef.h>

#include "base/error.h"

/*
 * The folder for reservations, below `dir` (--state-dir), SLUICE_STATE_DIR or /var/lib/sluice, which are made if need
 * be. Where the usual place cannot be written, *ret_path is "": nothing is kept then, and the log says so. A place that
 * was asked for must do: -errno.
 */
int target_state_dir(const char *dir, char *ret_path, size_t size, struct error *err);

#endif
