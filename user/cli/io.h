/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice io`, shared by its files: options, and one function a subcommand. */
#ifndef SLUICE_CLI_IO_H
#define SLUICE_CLI_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "storage/multipath.h"

struct json_object;

#define IO_NAMESPACES_MAX MULTIPATH_NAMESPACES
#define IO_CPUS_MAX	  256
#define IO_QUEUES_MAX	  256
#define IO_RANGES_MAX	  256 /* as many as one Dataset Management command may have */

enum io_command { /* bits: which subcommands take an option */
		  IO_DISCOVER = 1 << 0,
		  IO_CONNECT = 1 << 1,
		  IO_READ = 1 << 2,
		  IO_WRITE = 1 << 3,
		  IO_VERIFY = 1 << 4,
		  IO_BENCH = 1 << 5,
		  IO_COMMAND = 1 << 6,
		  IO_RESERVE = 1 << 7,
		  IO_LOG = 1 << 8,
		  IO_FEATURE = 1 << 9,
		  IO_EVENTS = 1 << 10,
};

/* A word and what it stands for; a row without a name ends a list. */
struct io_word {
	const char *name;
	unsigned int number;
};

/* What follows `command`, and `reserve`. */
enum io_range {
	RANGE_COMPARE,
	RANGE_COMPARE_WRITE,
	RANGE_COPY,
	RANGE_VERIFY,
	RANGE_ZERO,
	RANGE_DEALLOCATE,
	RANGE_UNCORRECTABLE,
	RANGE_FLUSH,
};

enum io_reservation {
	RESERVE_REGISTER,
	RESERVE_REPLACE,
	RESERVE_UNREGISTER,
	RESERVE_ACQUIRE,
	RESERVE_PREEMPT,
	RESERVE_PREEMPT_ABORT,
	RESERVE_RELEASE,
	RESERVE_CLEAR,
	RESERVE_REPORT,
};

/* What may follow `command`, `reserve`, `log` and `feature`, and --type. */
extern const struct io_word io_command_words[], io_reserve_words[], io_reserve_types[], io_log_words[],
	io_feature_words[];

struct io_span {
	uint64_t offset, length; /* bytes */
};

struct io_options {
	enum io_command command;
	struct initiator_options target; /* target.auth: below, where --dhchap-key is given */
	struct initiator_addr addrs[MULTIPATH_MAX]; /* --to; target.addr is the first */
	unsigned int n_addrs;
	bool all_portals, round_robin;
	uint32_t reconnect_delay_ms, ctrl_loss_ms;
	struct initiator_auth auth;
	struct initiator_tls tls;
	bool has_key;
	int psk_identity; /* -1: not given */
	bool help, json, identify, read_only, sequential, verify;
	uint32_t nsids[IO_NAMESPACES_MAX];
	unsigned int n_nsids;
	uint64_t offset, length; /* bytes; length 0: to the end */
	struct io_span ranges[IO_RANGES_MAX]; /* instead of offset and length; n_ranges 0: not given */
	unsigned int n_ranges;
	const char *file;	 /* NULL: standard input or output */
	uint64_t seed;
	unsigned int read_percent;
	uint32_t block_size;
	bool has_block_size;
	unsigned int depth, queues;
	uint64_t time_ns, count; /* count 0: by time */
	unsigned int cpus[IO_CPUS_MAX], n_cpus;
	unsigned int spin_us;
	unsigned int subject; /* the word after the subcommand: a number of its list below */
	bool has_subject;
	uint64_t from;		     /* Copy: first byte of the source */
	const char *expect;	     /* file that a fused Compare and Write compares with */
	uint64_t key, new_key;	     /* reservations */
	unsigned int reservation_type;
	bool has_from, persist, ignore_key;
	uint32_t value; /* of a feature */
	bool has_value;
};

static inline void io_closep(struct initiator **i)
{
	initiator_close(*i);
}

/*
 * argv[0] is the subcommand. Fills in defaults, also this host's identity. -EINVAL with err: wrong usage. With --help
 * only `help` is meaningful.
 */
int io_options_parse(enum io_command command, int argc, char **argv, struct io_options *ret_options, struct error *err);

/* Wipes the keys. */
void io_options_done(struct io_options *o);

/* The option part of a subcommand's help, on standard output. */
void io_options_help(enum io_command command);

/* "4k", "1MiB", "4096" → bytes. -EINVAL. */
int io_size_parse(const char *text, uint64_t *ret_bytes, struct error *err);

/* "1", "1,3-5" → numbers, at most max of them. -EINVAL. */
int io_list_parse(const char *what, const char *text, uint32_t lowest, uint32_t *ret_list, unsigned int max,
		  unsigned int *ret_n, struct error *err);

/* A number from low to high, which fit. -EINVAL. */
int io_number_parse(const char *text, uint64_t low, uint64_t high, unsigned int *ret_value, struct error *err);

/* "a,b" → bits by their numbers; names, for -EINVAL, are all that there are. */
int io_names_parse(const char *text, int (*number_of)(const char *name), const char *names, unsigned int *ret_set,
		   struct error *err);

/* 1 ms to 1 h; 0 too where it means something. */
int io_ms_parse(const char *text, bool zero, uint32_t *ret_ms, struct error *err);

/* "0+64KiB,1MiB+4KiB"; each has a length and ends below 2^63. -EINVAL names the range. */
int io_ranges_parse(const char *text, struct io_span ret_ranges[IO_RANGES_MAX], unsigned int *ret_n, struct error *err);

/* A word of a list; -EINVAL names them. */
int io_word_parse(const char *text, const struct io_word *words, unsigned int *ret_number, struct error *err);
/* "unknown" for a number that is in none of them. */
const char *io_word_of(const struct io_word *words, unsigned int number);
/* "4711", "0x1267" → a reservation's key. */
int io_key_parse(const char *text, uint64_t *ret_key, struct error *err);

/* One JSON object on standard output, and frees it; as text: a line a field. */
void io_print_json(struct json_object *root);
void io_print_text(struct json_object *root);

/* io_log.c: a log page read and taken apart, the caller's. */
int io_log_read(struct initiator *i, uint8_t lid, struct json_object **ret_page, struct error *err);

/* io_paths.c: the subsystem by all its paths, with so many lanes. */
int io_paths_open(const struct io_options *o, unsigned int queues, struct multipath **ret_multipath, struct error *err);
/* "reconnects" and "paths"; the lanes are closed. */
void io_paths_add_json(struct json_object *to, const struct io_options *o, struct multipath *m);
void io_paths_print(struct multipath *m);

/* Each opens, works, closes, prints; returns an enum cli_exit. An error is printed by the caller if err has a text. */
int io_discover(const struct io_options *o, struct error *err);
int io_connect(const struct io_options *o, struct error *err);
int io_read(const struct io_options *o, struct error *err);
int io_write(const struct io_options *o, struct error *err);
int io_verify(const struct io_options *o, struct error *err);
int io_bench(const struct io_options *o, struct error *err);
int io_command(const struct io_options *o, struct error *err);
int io_reserve(const struct io_options *o, struct error *err);
int io_log(const struct io_options *o, struct error *err);
int io_feature(const struct io_options *o, struct error *err);
int io_events(const struct io_options *o, struct error *err);

#endif
