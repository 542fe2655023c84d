/* SPDX-License-Identifier: Apache-2.0 */
/* What apply and rollback share: the options that both take, and the account that both give. */
#ifndef SLUICE_CLI_APPLY_H
#define SLUICE_CLI_APPLY_H

#include <json-c/json.h>

#include "cli/cli.h"
#include "control/rollout.h"

/* TIME of --confirm: 1s to 24h. -EINVAL with err. */
int apply_confirm_time(const char *text, uint64_t *ret_ns, struct error *err);

void apply_text(const char *command, const struct rollout *r);
struct json_object *apply_json(const struct rollout *r);

#endif
