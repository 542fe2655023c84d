/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a loss of power may take, over the file backend. Blocks of 4096 bytes begin with their version (32 bits,
 * growing); this keeps, for each, the least version that a cut at this moment must leave: one that was written with
 * FUA, or that a flush which began after its write has covered. Everything else may be lost, whatever the real file
 * does.
 */
#ifndef SLUICE_TESTS_CUT_BACKEND_H
#define SLUICE_TESTS_CUT_BACKEND_H

#include "storage/backend.h"

#define CUT_BLOCKS 512 /* from the start of a namespace; those behind are not followed */
#define CUT_BLOCK  4096

/* For target_options.open_backend: file namespaces are followed, others are what they are. */
int cut_backend_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend);

/* The version of a block that survives a cut just now. Any thread. */
uint32_t cut_survives(unsigned int block);

/* A disk that lies: FUA, or flushes, are dropped from now on. For the test of the test. */
void cut_lie(bool about_fua, bool about_flush);

/* Operations that have come with FUA, and without, of WRITE and ZERO. */
struct cut_counts {
	unsigned int fua[2], plain[2], flushes;
};
struct cut_counts cut_counts(void);

#endif
