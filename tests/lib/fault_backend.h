/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend around a real one that fails or stalls when a test says so: what a dying or slow disk is to the target.
 * One set of faults for all of them in this process; any thread may change it.
 */
#ifndef SLUICE_TESTS_FAULT_BACKEND_H
#define SLUICE_TESTS_FAULT_BACKEND_H

#include "storage/backend.h"

/* For target_options.open_backend. */
int fault_backend_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend);

/*
 * Of the operations `op` from now on, lets `after` pass and then fails `times` with errnum: late, once the real one has
 * been done, or at once without it.
 */
void fault_set(enum backend_op op, int errnum, unsigned int after, unsigned int times, bool late);
/* No more faults; how many there were. */
unsigned int fault_clear(void);

/* Operations on namespaces that begin from now on stay under way until fault_release(). How many do. */
void fault_hold(enum backend_op op);
unsigned int fault_held(void);
void fault_release(void);

#endif
