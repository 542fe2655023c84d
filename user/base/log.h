/* SPDX-License-Identifier: Apache-2.0 */
/* Logs for people who operate sluice: one line an event on standard error, naming the object. Never on standard output. */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO, /* default */
	LOG_LEVEL_DEBUG,
};

/* The least important level that is printed. Set once at start, before threads. */
void log_set_level(enum log_level level);

/* printf-like; a newline is added. `subject` is the object that the line is about ("bank", "conn 3"). Thread-safe. */
void log_at(enum log_level level, const char *subject, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define log_error(subject, ...) log_at(LOG_LEVEL_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...)	log_at(LOG_LEVEL_WARN, subject, __VA_ARGS__)
#define log_info(subject, ...)	log_at(LOG_LEVEL_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...) log_at(LOG_LEVEL_DEBUG, subject, __VA_ARGS__)

#endif
