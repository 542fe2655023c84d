// SPDX-License-Identifier: Apache-2.0
/*
 * The Fabrics commands of authentication (Base 2.0, sections 6.1, 6.2, 8.13) on one queue of the target: they carry the
 * messages of nvme/dhchap_controller.c. Called on the connection's reactor: by controller.c at Connect, by
 * conn_command.c and controller_admin.c for commands, by conn.c for time and end.
 */
#include "storage/conn_auth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

#define FAILED_TIMEOUT_NS (1 * NSEC_PER_SEC)  /* for a host that failed to close */

/* ---- begin and end ---- */

static const struct host_keys *find_keys(const struct subsystem *s, const char *hostnqn)
{
	const struct subsystem_state *state = s ? subsystem_now(s) : NULL;
	size_t i;

	for (i = 0; state && state->keys && i < state->config->n_hosts; i++)
		if (!strcmp(state->config->hosts[i].nqn, hostnqn))
			return state->keys[i].has_host ? &state->keys[i] : NULL;
	return NULL;
}

int conn_auth_begin(struct conn *conn, const struct controller *c, bool *ret_required)
{
	const struct host_keys *keys = find_keys(c->subsystem, c->hostnqn);

	*ret_required = keys;
	if (!keys)
		return 0;
	conn->auth = calloc(1, sizeof(*conn->auth));
	if (!conn->auth)
		return -ENOMEM;
	conn->auth->since_ns = conn->reactor->now_ns;
	conn->auth->keys = *keys; /* the policy may change meanwhile */
	conn->auth->state = (struct dhchap_controller){
		.parties = {.hostnqn = c->hostnqn,
			    .subnqn = c->subsystem->nqn,
			    .host = &conn->auth->keys.host,
			    .controller = keys->has_controller ? &conn->auth->keys.controller : NULL},
		.hashes = DHCHAP_ALL_HASHES,
		.groups = DHCHAP_ALL_GROUPS,
	};
	return 0;
}

void conn_auth_end(struct conn *conn)
{
	if (conn->auth) {
		dhchap_controller_end(&conn->auth->state);
		dhchap_key_wipe(&conn->auth->keys.host);
		dhchap_key_wipe(&conn->auth->keys.controller);
	}
	free(conn->auth);
	conn->auth = NULL;
}

const char *conn_auth_tick(struct conn *conn)
{
	const struct conn_auth *auth = conn->auth;
	uint64_t age, limit_ns = conn->reactor->target->options.auth_timeout_ms * 1000000ull;

	if (!auth)
		return NULL;
	age = conn->reactor->now_ns - auth->since_ns;
	if (auth->state.step == DHCHAP_FAILED)
		return age > FAILED_TIMEOUT_NS ? "authentication failed" : NULL;
	if ((!auth->state.authenticated || dhchap_controller_waits(&auth->state)) && age > limit_ns)
		return "no authentication in time";
	return NULL;
}

/* ---- commands ---- */

/* What both commands say of themselves. The length must be that of the data. */
static uint16_t check(const struct command *cmd)
{
	const struct nvme_auth_sqe *sqe = (const void *)&cmd->sqe;

	if (sqe->secp != NVME_SECP_AUTH || sqe->spsp0 != 1 || sqe->spsp1 != 1 || !sqe->len)
		return NVME_ST_INVALID_FIELD | NVME_STATUS_DNR;
	if (le32toh(sqe->len) != cmd->transfer.len || !cmd->data)
		return NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR;
	return NVME_ST_SUCCESS;
}

/* Says how it went, once it has gone one way or the other. */
static void tell(struct conn *conn, bool was_authenticated)
{
	const struct dhchap_controller *d = &conn->auth->state;

	if (d->step == DHCHAP_FAILURE || d->step == DHCHAP_FAILED)
		log_warn(conn->name, "%s: authentication failed: %s", d->parties.hostnqn, dhchap_fault_name(d->fault));
	else if (d->authenticated && !was_authenticated)
		log_info(conn->name, "%s is authenticated", d->parties.hostnqn);
}

void conn_auth_send(struct conn *conn, struct command *cmd)
{
	struct conn_auth *auth = conn->auth;
	bool before, failed;

	cmd->status = auth ? check(cmd) : NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	if (cmd->status)
		return;
	before = auth->state.authenticated;
	failed = auth->state.step >= DHCHAP_FAILURE && auth->state.step != DHCHAP_DONE;
	dhchap_controller_take(&auth->state, cmd->data, cmd->transfer.len);
	/* A failure's time runs from the first, whatever is said after it. */
	if (!failed) {
		auth->since_ns = conn->reactor->now_ns;
		tell(conn, before);
	}
}

void conn_auth_receive(struct conn *conn, struct command *cmd)
{
	struct conn_auth *auth = conn->auth;
	enum dhchap_step step;
	bool before;
	size_t len;

	cmd->status = auth ? check(cmd) : NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	if (cmd->status)
		return;
	step = auth->state.step;
	before = auth->state.authenticated;
	if (dhchap_controller_give(&auth->state, cmd->data, cmd->transfer.len, &len))
		cmd->status = NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR; /* the message does not fit */
	else if (!len)
		cmd->status = NVME_ST_SEQUENCE | NVME_STATUS_DNR; /* it is the host's turn */
	if (cmd->status)
		return;
	auth->since_ns = conn->reactor->now_ns;
	if (step != DHCHAP_FAILURE)
		tell(conn, before);
}
