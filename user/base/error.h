/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong, for a person: place, fact, remedy in one line. Functions that can fail for reasons that a number does
 * not tell take a `struct error *` beside returning -errno. Every function here accepts err == NULL.
 */
#ifndef SLUICE_BASE_ERROR_H
#define SLUICE_BASE_ERROR_H

#include <stddef.h>

struct error {
	char text[512]; /* empty: nothing was said */
};

/* Sets the text and returns -errnum, so that a caller can `return error_set(err, ENOENT, "...")`. errnum > 0. */
int error_set(struct error *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like error_set() and adds ": " and the system's text for errnum. */
int error_system(struct error *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
