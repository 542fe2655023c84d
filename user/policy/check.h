/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a policy as a whole, after every line was understood. Internal to user/policy. */
#ifndef SLUICE_POLICY_CHECK_H
#define SLUICE_POLICY_CHECK_H

#include "policy/policy.h"

/*
 * Fills in what follows from the whole (tenants of segments and rules) and notes errors and warnings. *wrong is set
 * when an error was found, and if it is set already, because some lines were refused, warnings that would only be
 * echoes are kept back. 0, or -ENOMEM.
 */
int policy_check(struct policy *p, struct policy_diagnostics *d, bool *wrong);

/*
 * Completes wires: both ends name each other afterwards, and an end that the policy does not list is added behind the
 * one that names it. Notes what cannot be a wire, or be forwarded, and sets *wrong. 0, or -ENOMEM.
 */
int policy_check_ports(struct policy *p, struct policy_diagnostics *d, bool *wrong);

/* Warns of rules that never match, and says why. 0, or -ENOMEM. */
int policy_check_shadowed(const struct policy *p, struct policy_diagnostics *d);

#endif
