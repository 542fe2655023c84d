/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice status`: what it gathers (status.c) and the two ways of saying it (status_text.c, status_json.c). */
#ifndef SLUICE_CLI_STATUS_H
#define SLUICE_CLI_STATUS_H

#include <json-c/json.h>
#include <netinet/in.h>

#include "cli/cli.h"

struct status_report {
	struct dataplane_status dataplane;
	struct dataplane_queue *queues; /* owned */
	size_t n_queues;
	struct json_object *targets; /* array of what running targets answer, owned */
};

void status_text(const struct status_report *r);
int status_json(const struct status_report *r); /* -ENOMEM */

/* Words that both use; static. */
const char *status_action(uint32_t action);
const char *status_cookies(const struct dataplane_status *s); /* as in the policy: "auto", "always", "never" */
/* How many flows there may be: as the live policy says, or what the table was made for. */
uint32_t status_max_flows(const struct dataplane_status *s);
const char *status_reason_verdict(enum sluice_reason reason);
/* "10.0.0.1:4420", "[fd00::1]:4420" */
struct end_text {
	char text[INET6_ADDRSTRLEN + 10];
};
struct end_text status_end(const uint8_t addr[16], __be16 port);

#endif
