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
#include "base/secret.h"
#include "base/util.h"
#include "storage/reactor.h"

#define FAILED_TIMEOUT_NS (1 * NSEC_PER_SEC) /* for a host that failed to close */

/* ---- begin and end ---- */

const struct host_keys *conn_auth_keys(const struct subsystem *s, const char *hostnqn)
{
	const struct subsystem_state *state = s ? subsystem_now(s) : NULL;
	size_t i;

	for (i = 0; state && state->keys && i < state->config->n_hosts; i++)
		if (!strcmp(state->config->hosts[i].nqn, hostnqn))
			return &state->keys[i];
	return NULL;
}

/* Whether it came by a key that its host's authentication made: that has proved who it is. */
static bool came_by_generated(const struct conn *conn)
{
	return conn->tls && tls_client(conn->tls)->generated;
}

/* What the host may ask for, as bits. */
static unsigned int concatenations(const struct conn *conn, const struct host_keys *keys)
{
	if (!keys->generated || conn->qid)
		return 1u << DHCHAP_NOSC;
	return came_by_generated(conn) ? 1u << DHCHAP_NOSC | 1u << DHCHAP_REPLACETLSPSK : 1u << DHCHAP_NEWTLSPSK;
}

static int hold_key(struct conn *conn)
{
	if (!came_by_generated(conn) || conn->qid)
		return 0;
	conn->auth->key = generated_keys_take(&conn->reactor->target->generated, tls_client(conn->tls)->psk.identity,
					      conn->reactor->now_ns);
	return conn->auth->key ? 0 : -ENOKEY;
}

int conn_auth_begin(struct conn *conn, const struct controller *c, __u64 *ret_requires)
{
	const struct host_keys *keys = conn_auth_keys(c->subsystem, c->hostnqn);

	*ret_requires = 0;
	if (!keys || !keys->has_host)
		return 0;
	if (!came_by_generated(conn))
		*ret_requires = NVME_CONNECT_ATR | (keys->generated ? NVME_CONNECT_ASCR : 0);
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
		.concatenations = concatenations(conn, keys),
		.authenticated = came_by_generated(conn),
	};
	return hold_key(conn);
}

void conn_auth_end(struct conn *conn)
{
	if (conn->auth) {
		dhchap_controller_end(&conn->auth->state);
		dhchap_key_wipe(&conn->auth->keys.host);
		dhchap_key_wipe(&conn->auth->keys.controller);
		generated_keys_give(&conn->reactor->target->generated, conn->auth->key);
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
	if (auth->made_ns && conn->reactor->now_ns - auth->made_ns > limit_ns)
		return "its host has not come back by TLS in time";
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
	else if (d->authenticated && conn->auth->made_ns)
		log_info(conn->name, "%s is authenticated, and is to come back by TLS", d->parties.hostnqn);
	else if (d->authenticated && !was_authenticated)
		log_info(conn->name, "%s is authenticated", d->parties.hostnqn);
}

/* Keeps the PSK that an authentication has just made, if it has. false: it cannot be kept, and all was in vain. */
static bool keep_psk(struct conn *conn)
{
	struct generated_keys *all = &conn->reactor->target->generated;
	struct conn_auth *auth = conn->auth;
	struct dhchap_controller *d = &auth->state;
	int r;

	if (!d->psk.len)
		return true;
	if (auth->key)
		r = generated_keys_replace(all, &auth->key, &d->psk, conn->reactor->now_ns);
	else
		r = generated_keys_make(all, &d->psk, d->parties.hostnqn, d->parties.subnqn, conn->reactor->now_ns);
	secret_wipe(&d->psk, sizeof(d->psk));
	if (!r && !auth->key && !auth->made_ns)
		auth->made_ns = conn->reactor->now_ns;
	if (!r)
		return true;
	log_warn(conn->name, "%s: its key for TLS cannot be kept: %s", d->parties.hostnqn, strerror(-r));
	d->fault = DHCHAP_REJECTED;
	d->step = DHCHAP_FAILED;
	d->authenticated = false;
	return false;
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
	if (!keep_psk(conn))
		cmd->status = NVME_ST_INTERNAL;
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
	else if (!keep_psk(conn))
		cmd->status = NVME_ST_INTERNAL;
	if (cmd->status)
		return;
	auth->since_ns = conn->reactor->now_ns;
	if (step != DHCHAP_FAILURE)
		tell(conn, before);
}
