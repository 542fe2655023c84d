/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authentication of one queue of the target: between its Connect and all else, and again whenever the host asks. Only
 * queues of hosts for which the policy names a key have one; others have NULL and pay nothing.
 */
#ifndef SLUICE_STORAGE_CONN_AUTH_H
#define SLUICE_STORAGE_CONN_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "nvme/dhchap.h"
#include "storage/host_keys.h"

struct conn;
struct command;
struct controller;

struct conn_auth {
	struct dhchap_controller state;
	struct host_keys keys; /* a copy, wiped at the end */
	uint64_t since_ns; /* when the host was last told to go on */
};

/*
 * The connection has just become a queue of c. *ret_required: whether its host must authenticate; then conn->auth is
 * there. -ENOMEM.
 */
int conn_auth_begin(struct conn *conn, const struct controller *c, bool *ret_required);

/* Whether commands other than Connect, Authentication Send and Receive may be served. auth may be NULL. */
static inline bool conn_auth_passed(const struct conn_auth *auth)
{
	return !auth || auth->state.authenticated;
}

/* Authentication Send and Receive; set the command's status. */
void conn_auth_send(struct conn *conn, struct command *cmd);
void conn_auth_receive(struct conn *conn, struct command *cmd);

/* Once a tick. Why the connection must end now, or NULL. */
const char *conn_auth_tick(struct conn *conn);

void conn_auth_end(struct conn *conn);

#endif
