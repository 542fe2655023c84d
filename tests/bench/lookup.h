/* SPDX-License-Identifier: Apache-2.0 */
/* What lookup.c and lookup.bpf.c agree upon. */
#ifndef SLUICE_BENCH_LOOKUP_H
#define SLUICE_BENCH_LOOKUP_H

#define LOOKUP_TUPLES 65536 /* far more than any cache of verdicts holds */
#define LOOKUP_BATCH  64

#endif
