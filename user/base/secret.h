/* SPDX-License-Identifier: Apache-2.0 */
/* A secret in a file that nobody else may read: one line of text. */
#ifndef SLUICE_BASE_SECRET_H
#define SLUICE_BASE_SECRET_H

#include <stddef.h>

#include "base/error.h"

#define SECRET_MAX 512 /* bytes of the line, its NUL included */

/*
 * Reads the first line, without white space at its ends. Refused unless the file is a regular one, belongs to root or
 * to the user of this process, and has no permission for group and others. err: fact and remedy, with the path and
 * never a byte of the contents. The caller wipes ret_text with secret_wipe(); on failure it is wiped already.
 */
int secret_read(const char *path, char ret_text[SECRET_MAX], struct error *err);

/* Overwrites memory, and is not optimised away. */
void secret_wipe(void *memory, size_t len);

#endif
