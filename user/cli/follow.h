/* SPDX-License-Identifier: Apache-2.0 */
/* Running targets that were started with a policy, and that follow it: what apply and confirm share. */
#ifndef SLUICE_CLI_FOLLOW_H
#define SLUICE_CLI_FOLLOW_H

#include <json-c/json.h>

/* Requests on a target's control socket; the policy's real path follows. */
#define FOLLOW_ASK    "follows "
#define FOLLOW_UPDATE "update "

/*
 * Asks every target that follows the policy at `path`. FOLLOW_UPDATE: to read it again and export what it says now;
 * FOLLOW_ASK: only whether it follows it. The answer, json_object_put(), is a list with one object a target:
 * {"socket", "changes", "later"} as target_update() gives, or {"socket", "error"}.
 */
struct json_object *follow_request(const char *request, const char *path);

/* The account for people, on standard output; errors on standard error. How many targets have failed. */
int follow_print(const char *command, struct json_object *targets);
int follow_failures(struct json_object *targets);

#endif
