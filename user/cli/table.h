/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables that a person can read: columns as wide as their widest cell, numbers to the right. Cells are copied. Used by
 *every command that prints one.
 *
 *	struct table t;
 *	table_start(&t, (const struct table_column[]){{"rule"}, {"packets", .right = true}, {}});
 *	table_row(&t, "%s", name); table_cell(&t, "%s", number_text(n).text);
 *	table_print(&t, stdout); table_done(&t);
 */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS 16

struct table_column {
	const char *title; /* NULL ends the list */
	bool right;
};

struct table {
	struct table_column columns[TABLE_COLUMNS];
	size_t n_columns;
	char **cells; /* row after row; NULL: empty */
	size_t n_cells;
	bool failed; /* out of memory: printing says so */
};

void table_start(struct table *t, const struct table_column *columns);
/* Begins a row with its first cell, then adds cells; missing ones stay empty, too many are ignored. */
void table_row(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Two spaces of indent; nothing at all if there is no row. */
void table_print(const struct table *t, FILE *out);
void table_done(struct table *t);

/* A short text by value, so that several fit into one call. */
struct short_text {
	char text[48];
};
struct short_text number_text(uint64_t n);    /* 1,234,567 */
struct short_text bytes_text(uint64_t n);     /* 1.2 GiB */
struct short_text duration_text(uint64_t ns); /* 1.24 ms */

#endif
