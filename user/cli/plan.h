/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice plan`: the question (plan.c), and two ways of saying the answer (plan_text.c, plan_json.c). */
#ifndef SLUICE_CLI_PLAN_H
#define SLUICE_CLI_PLAN_H

#include <json-c/json.h>

#include "cli/cli.h"
#include "control/plan.h"

/* Whether applying would change anything. */
bool plan_differs(const struct plan *plan);

void plan_text(const struct plan *plan, const struct policy_tables *tables);
struct json_object *plan_json(const struct plan *plan, const struct policy_tables *tables);
/* "1 added, 2 removed", or "no change". */
struct plan_counts {
	char text[96];
};
struct plan_counts plan_counts(const struct policy_diff_list *l);

/* The rule of the new policy that cuts, or why none does. */
const char *plan_flow_rule(const struct policy_tables *tables, size_t rule);

#endif
