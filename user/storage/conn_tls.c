// SPDX-License-Identifier: Apache-2.0
/*
 * Which connections of the target are TLS, with whose key, and the way of their bytes. Called on the connection's
 * reactor: by conn_receive.c and conn_send.c for bytes, by controller.c at Connect. What always holds: what a
 * connection of CONN_TLS hands to conn_stream() was sent by who has the key of tls_client().
 */
#include "storage/conn_tls.h"

#include <string.h>

#include "base/log.h"
#include "base/secret.h"
#include "base/util.h"
#include "storage/reactor.h"

/* ---- keys ---- */

static bool find_in(const struct subsystem_state *state, const char *identity, size_t len,
		    struct tls_client *ret_client)
{
	size_t i;
	unsigned int k;

	for (i = 0; state->keys && i < state->config->n_hosts; i++) {
		const struct host_psks *own = state->keys[i].tls;

		for (k = 0; own && k < own->n; k++) {
			const struct tls_psk *psk = &own->psks[k];

			if (strlen(psk->identity) != len || memcmp(psk->identity, identity, len))
				continue;
			ret_client->psk = *psk;
			ret_client->generated = false;
			snprintf(ret_client->hostnqn, sizeof(ret_client->hostnqn), "%s", state->config->hosts[i].nqn);
			snprintf(ret_client->subnqn, sizeof(ret_client->subnqn), "%s",
				 own->discovery[k] ? NVME_DISCOVERY_NQN : state->config->nqn);
			return true;
		}
	}
	return false;
}

/* As long as the policy still wants such keys of this host. */
static bool find_generated(struct target *t, const char *identity, size_t len, struct tls_client *ret_client)
{
	const struct host_keys *keys;
	struct tls_client client;
	bool wanted;

	if (!generated_keys_find(&t->generated, identity, len, time_now_ns(), &client))
		return false;
	keys = conn_auth_keys(target_subsystem(t, client.subnqn), client.hostnqn);
	wanted = keys && keys->generated;
	if (wanted)
		*ret_client = client;
	secret_wipe(&client, sizeof(client));
	return wanted;
}

/* Keys belong to what is exported at this moment, and may change with it. */
static bool find_client(void *arg, const char *identity, size_t len, struct tls_client *ret_client)
{
	struct target *t = arg;
	unsigned int i, n = __atomic_load_n(&t->n_subsystems, __ATOMIC_ACQUIRE);

	for (i = 0; i < n; i++)
		if (find_in(subsystem_now(t->subsystems[i]), identity, len, ret_client))
			return true;
	return find_generated(t, identity, len, ret_client);
}

int conn_tls_open(struct target *t, const struct policy_storage *storage, struct tls_server **ret_server,
		  struct error *err)
{
	size_t i;

	*ret_server = NULL;
	for (i = 0; i < storage->n_portals; i++)
		if (storage->portals[i].tls)
			return tls_server_open(find_client, t, ret_server, err);
	return 0;
}

uint16_t conn_tls_admits(const struct conn *c, const struct nvme_connect *connect, __u64 *ret_result)
{
	const struct host_keys *keys =
		conn_auth_keys(target_subsystem(c->reactor->target, connect->subnqn), connect->hostnqn);
	const char *fault = NULL;

	if (c->tls && strcmp(tls_client(c->tls)->hostnqn, connect->hostnqn)) {
		*ret_result = NVME_REFUSE_DATA(hostnqn);
		return NVME_ST_CONNECT_PARAM | NVME_STATUS_DNR;
	}
	if (c->tls && strcmp(tls_client(c->tls)->subnqn, connect->subnqn)) {
		*ret_result = NVME_REFUSE_DATA(subnqn);
		return NVME_ST_CONNECT_PARAM | NVME_STATUS_DNR;
	}
	if (c->tls && keys && tls_client(c->tls)->generated != keys->generated)
		fault = "comes by a key of a kind that it has no longer";
	else if (!c->tls && keys && keys->tls)
		fault = "has a psk and comes without TLS";
	else if (!c->tls && keys && keys->generated && !c->portal->config->tls)
		fault = "is to have a key for TLS generated, and comes to a portal without TLS";
	else if (!c->tls && keys && keys->generated && connect->qid)
		fault = "has a key for TLS generated, and comes without TLS with an I/O queue";
	if (!fault)
		return NVME_ST_SUCCESS;
	log_warn(c->name, "%s %s", connect->hostnqn, fault);
	return NVME_ST_CONNECT_HOST | NVME_STATUS_DNR;
}

/* ---- what comes in ---- */

/* The first byte says what this is. */
static void decide(struct conn *c, uint8_t first)
{
	if (first != TLS_FIRST_BYTE && c->portal->config->tls == POLICY_TLS_REQUIRED) {
		conn_close(c, "it comes without TLS, which its portal requires");
	} else if (first != TLS_FIRST_BYTE) {
		c->channel = CONN_PLAIN;
	} else if (tls_accept(c->reactor->target->tls, &c->tls)) {
		conn_close(c, "no memory for TLS");
	} else {
		c->channel = CONN_TLS;
		c->batch_bytes = CONN_BATCH_TLS;
	}
}

/* Plain bytes that are there; false: blocked before their end. */
static bool work_off(struct conn *c)
{
	size_t n = c->plain_left ? conn_stream(c, c->plain, c->plain_left) : 0;

	c->plain += n;
	c->plain_left -= n;
	return !c->plain_left;
}

static void break_off(struct conn *c)
{
	log_warn(c->name, "TLS: %s", tls_fault(c->tls));
	conn_abort(c);
}

static size_t receive(struct conn *c, const uint8_t *in, size_t len)
{
	size_t pos = 0, used;
	bool was_ready = tls_ready(c->tls);

	while (c->state < CONN_TERM && work_off(c)) {
		enum tls_result result = tls_receive(c->tls, in + pos, len - pos, &used, &c->plain, &c->plain_left);

		pos += used;
		if (!was_ready && tls_ready(c->tls)) {
			was_ready = true;
			log_info(c->name, "TLS with the key of %s for %s", tls_client(c->tls)->hostnqn,
				 tls_client(c->tls)->subnqn);
		}
		if (result == TLS_DATA)
			continue;
		if (result == TLS_END)
			conn_close(c, NULL);
		else if (result == TLS_BAD)
			break_off(c);
		break;
	}
	conn_mark(c); /* there may be something to answer, even to half a record */
	/* From CONN_TERM on what comes is thrown away. */
	return c->state < CONN_TERM ? pos : len;
}

size_t conn_tls_arrive(struct conn *c, const uint8_t *in, size_t len)
{
	if (c->channel == CONN_UNDECIDED && len)
		decide(c, *in);
	if (c->state >= CONN_TERM)
		return len;
	return c->channel == CONN_TLS ? receive(c, in, len) : conn_stream(c, in, len);
}

/* ---- what goes out ---- */

bool conn_tls_seal(struct conn *c)
{
	struct conn_batch *b = &c->batch;

	if (b->bytes && tls_send(c->tls, b->iov, b->n_iov)) {
		conn_close(c, tls_fault(c->tls));
		return false;
	}
	if (c->state == CONN_TERM) {
		tls_finish(c->tls);
		b->last = true;
	}
	b->n_iov = tls_output(c->tls, &b->iov[0]);
	b->bytes = b->n_iov ? b->iov[0].iov_len : 0;
	return true;
}
