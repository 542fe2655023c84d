/* SPDX-License-Identifier: Apache-2.0 */
/* What history.c (which entries there are, and which count) and history_file.c (one entry as a file) share. */
#ifndef SLUICE_CONTROL_HISTORY_INTERNAL_H
#define SLUICE_CONTROL_HISTORY_INTERNAL_H

#include <limits.h>

#include "control/history.h"

#define HISTORY_SUFFIX ".yaml"

struct history {
	char path[PATH_MAX];
};

/* A file's path by the number in its name. */
struct history_file {
	char path[PATH_MAX + 32];
};
struct history_file history_file(const struct history *h, uint64_t number);

/* Reads the head of an entry; -EBADMSG: it has none. */
int history_head_read(const struct history *h, uint64_t number, struct history_entry *ret_entry);
/* Complete and durable, or absent. */
int history_file_write(const struct history *h, uint64_t number, const struct policy *p,
		       const struct history_about *about, struct error *err);
int history_step(enum history_step step);

#endif
