/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authentication of one queue of the target: between its Connect and all else, and again whenever the host asks. Only
 * queues of hosts for which the policy names a key have one; others have NULL and pay nothing.
 */
#ifndef SLUICE_STORAGE_CONN_AUTH_H
#define SLUICE_STORAGE_CONN_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/types.h>

#include "nvme/dhchap.h"
#include "storage/host_keys.h"

struct conn;
struct command;
struct controller;
struct subsystem;

struct conn_auth {
	struct dhchap_controller state;
	struct host_keys keys;	   /* a copy, wiped at the end */
	uint64_t since_ns;	   /* when the host was last told to go on */
	uint64_t made_ns;	   /* the first key for TLS, by which the host is to return; 0: none */
	struct generated_key *key; /* that this admin queue came by; held. NULL: another, or none */
};

/* NULL: the policy names none for this host, or s is NULL. Valid like subsystem_now(). */
const struct host_keys *conn_auth_keys(const struct subsystem *s, const char *hostnqn);

/*
 * The connection has just become a queue of c, and has conn->auth if its host has a key. *ret_requires: what its host
 * must do, NVME_CONNECT_ATR and NVME_CONNECT_ASCR. -ENOMEM; -ENOKEY: the generated key that it came by has gone.
 */
int conn_auth_begin(struct conn *conn, const struct controller *c, __u64 *ret_requires);

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
