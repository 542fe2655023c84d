// SPDX-License-Identifier: Apache-2.0
/*
 * The one writer to standard error. A line is composed first and written with one call, so that lines of several
 * threads never mix.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static enum log_level max_level = LOG_LEVEL_INFO;

static const char *const level_prefix[] = {
	[LOG_LEVEL_ERROR] = "error: ",
	[LOG_LEVEL_WARN] = "warning: ",
	[LOG_LEVEL_INFO] = "",
	[LOG_LEVEL_DEBUG] = "debug: ",
};

void log_set_level(enum log_level level)
{
	max_level = level;
}

void log_at(enum log_level level, const char *subject, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (level > max_level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "sluice: %s: %s%s\n", subject, level_prefix[level], text);
}
