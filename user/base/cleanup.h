/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership in the type of a local: a tagged local is released on every way out of its scope; TAKE_PTR and TAKE_FD hand
 * it over and mark the success path.
 */
#ifndef SLUICE_BASE_CLEANUP_H
#define SLUICE_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(base_freep)
#define _cleanup_close_ _cleanup_(base_closep)
#define _cleanup_fclose_ _cleanup_(base_fclosep)

#define TAKE_PTR(p)                      \
	({                               \
		__typeof__(p) *p_ = &(p); \
		__typeof__(p) v_ = *p_;  \
		*p_ = NULL;              \
		v_;                      \
	})

#define TAKE_FD(fd)           \
	({                    \
		int *f_ = &(fd); \
		int v_ = *f_; \
		*f_ = -1;     \
		v_;           \
	})

static inline void base_freep(void *p)
{
	free(*(void **)p);
}

/* A descriptor of -1 is "none". */
static inline void base_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void base_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#endif
