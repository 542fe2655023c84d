// SPDX-License-Identifier: Apache-2.0
/*
 * Life of a connection: accepted, negotiated, connected, ended. Reactors call in; conn_set_state() alone writes the
 * state. A connection is freed in one place, conn_settle(), when the kernel holds nothing of it any more, so that every
 * other function may go on using it after closing it.
 */
#include "storage/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

#define TERM_TIMEOUT_NS (1 * NSEC_PER_SEC) /* for a C2HTermReq to get out, and for the peer to close then */

/* ---- state ---- */

static const char *const state_names[] = {
	[CONN_ICREQ] = "icreq", [CONN_CONNECT] = "connect", [CONN_LIVE] = "live",
	[CONN_TERM] = "term",	[CONN_LINGER] = "linger",   [CONN_CLOSING] = "closing",
};

/* Bit n: the state n may follow. A state never comes back. */
static const unsigned int state_edges[] = {
	[CONN_ICREQ] = 1 << CONN_CONNECT | 1 << CONN_TERM | 1 << CONN_CLOSING,
	[CONN_CONNECT] = 1 << CONN_LIVE | 1 << CONN_TERM | 1 << CONN_CLOSING,
	[CONN_LIVE] = 1 << CONN_TERM | 1 << CONN_CLOSING,
	[CONN_TERM] = 1 << CONN_LINGER | 1 << CONN_CLOSING,
	[CONN_LINGER] = 1 << CONN_CLOSING,
	[CONN_CLOSING] = 0,
};

void conn_set_state(struct conn *c, enum conn_state state)
{
	assert(state_edges[c->state] & 1 << state);
	log_debug(c->name, "%s -> %s", state_names[c->state], state_names[state]);
	c->state = state;
	c->since_ns = c->reactor->now_ns;
}

/* ---- opening ---- */

static void address_to_key(const struct sockaddr_storage *from, uint8_t ret_addr[16], __be16 *ret_port)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;

	if (from->ss_family == AF_INET) {
		memset(ret_addr, 0, 10);
		memset(ret_addr + 10, 0xff, 2);
		memcpy(ret_addr + 12, &v4->sin_addr, 4);
		*ret_port = v4->sin_port;
	} else {
		memcpy(ret_addr, &v6->sin6_addr, 16);
		*ret_port = v6->sin6_port;
	}
}

static int conn_address(struct conn *c)
{
	struct sockaddr_storage peer = {0}, local = {0};
	socklen_t peer_len = sizeof(peer), local_len = sizeof(local);
	char text[INET6_ADDRSTRLEN];

	if (getpeername(c->fd, (void *)&peer, &peer_len) || getsockname(c->fd, (void *)&local, &local_len))
		return -errno;
	address_to_key(&peer, c->key.source, &c->key.source_port);
	address_to_key(&local, c->key.dest, &c->key.dest_port);
	if (IN6_IS_ADDR_V4MAPPED((struct in6_addr *)c->key.source))
		inet_ntop(AF_INET, c->key.source + 12, text, sizeof(text));
	else
		inet_ntop(AF_INET6, c->key.source, text, sizeof(text));
	snprintf(c->name, sizeof(c->name), "conn %s port %u", text, ntohs(c->key.source_port));
	return 0;
}

/* One more chunk: as many commands as there are, or the first 32. */
static int add_chunk(struct conn *c)
{
	unsigned int n = c->n_commands ? c->n_commands : CONTROLLER_ADMIN_ENTRIES, k = 0, i;

	while (c->chunks[k])
		k++;
	c->chunks[k] = calloc(n, sizeof(struct command));
	if (!c->chunks[k])
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		struct command *cmd = &c->chunks[k][i];

		cmd->conn = c;
		cmd->index = c->n_commands + i;
		cmd->next = c->free;
		c->free = cmd;
	}
	c->n_commands += n;
	return 0;
}

int conn_commands_grow(struct conn *c, unsigned int n)
{
	int ret = 0;

	while (c->n_commands < n && !ret)
		ret = add_chunk(c);
	return ret;
}

static void conn_destroy(struct conn *c)
{
	unsigned int i;

	if (c->fd >= 0)
		close(c->fd);
	for (i = 0; i < CONN_CHUNKS; i++)
		free(c->chunks[i]);
	free(c->queue);
	tls_free(c->tls);
	free(c);
}

static struct conn *conn_make(struct reactor *r, const struct portal *portal, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	const int on = 1;

	if (!c)
		return NULL;
	*c = (struct conn){.reactor = r, .fd = fd, .state = CONN_ICREQ, .since_ns = r->now_ns, .name = "conn"};
	c->portal = portal;
	c->channel = portal->config->tls ? CONN_UNDECIDED : CONN_PLAIN;
	c->batch_bytes = CONN_BATCH_BYTES;
	c->kept_tail = &c->kept;
	c->tx_tail = &c->tx;
	c->waiting_tail = &c->waiting;
	c->tx_framing.align = pdu_align(0);
	c->sq_flow = true;
	c->entries = CONTROLLER_ADMIN_ENTRIES;
	pdu_decoder_init(&c->decoder, PDU_ROLE_CONTROLLER);
	c->queue = calloc(1, sizeof(*c->queue));
	/* Answers leave when they are made; the batch is the coalescing. */
	if (!c->queue || conn_commands_grow(c, CONTROLLER_ADMIN_ENTRIES) || conn_address(c) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))) {
		c->fd = -1;
		conn_destroy(c);
		return NULL;
	}
	return c;
}

void conn_open(struct reactor *r, const struct portal *portal, int fd)
{
	const struct target_hooks *hooks = &r->target->options.hooks;
	struct conn *c = r->n_free_conns ? conn_make(r, portal, fd) : NULL;

	if (!c) {
		/* The peer may be gone already, which is its right; being full is news. */
		if (!r->n_free_conns)
			log_warn("target", "reactor %u: %u connections are its limit; one more was closed", r->index,
				 REACTOR_MAX_CONNS);
		close(fd);
		return;
	}
	c->slot = r->free_conns[--r->n_free_conns];
	c->gen = ++r->conn_gens[c->slot];
	r->conns[c->slot] = c;
	stats_add(&r->connections, 1);
	r->n_conns++;
	ring_file_add(&r->ring, fd, &c->file);
	c->queue->reactor = r->index;
	c->queue->key = c->key;
	c->queue->steer_slot = TARGET_NO_SLOT;
	if (hooks->on_queue_open)
		hooks->on_queue_open(hooks->arg, &c->key, r->index, &c->queue->steer_slot);
	conn_recv_arm(c);
}

/* ---- closing ---- */

/* Its commands that wait do so no longer. */
static void forget_waiting(struct conn *c)
{
	struct reactor *r = c->reactor;
	struct conn **link = &r->waiting;

	limits_leave(c);
	c->waiting = NULL;
	c->waiting_tail = &c->waiting;
	if (!c->is_waiting)
		return;
	while (*link) {
		if (*link == c)
			*link = c->next_waiting;
		else
			link = &(*link)->next_waiting;
	}
	r->waiting_tail = link;
	c->is_waiting = false;
}

void conn_close(struct conn *c, const char *why)
{
	if (c->state == CONN_CLOSING)
		return;
	if (why)
		log_info(c->name, "closing: %s", why);
	conn_set_state(c, CONN_CLOSING);
	/* Ends the receive and the send that the kernel may hold; both then complete. The receive even if it is deaf. */
	shutdown(c->fd, SHUT_RDWR);
	conn_recv_again(c);
	forget_waiting(c);
	conn_drop_kept(c);
	conn_mark(c);
}

void conn_fail(struct conn *c, const struct pdu_error *error, const void *header, size_t len)
{
	if (c->state >= CONN_TERM)
		return;
	log_warn(c->name, "malformed PDU: %s (%s, fei %u)", error->text ? error->text : "?", pdu_fes_name(error->fes),
		 error->fei);
	c->control_len = pdu_encode_term(c->control, PDU_C2H_TERM_REQ, error, header, len);
	conn_set_state(c, CONN_TERM);
	forget_waiting(c);
	conn_mark(c);
}

void conn_abort(struct conn *c)
{
	if (c->state >= CONN_TERM)
		return;
	conn_set_state(c, CONN_TERM);
	forget_waiting(c);
	conn_mark(c);
}

/* Everything of the connection's that the reactor lent or knows. */
static void conn_free(struct conn *c)
{
	const struct target_hooks *hooks = &c->reactor->target->options.hooks;
	struct reactor *r = c->reactor;
	unsigned int i;

	for (i = 0; i < c->n_commands; i++)
		command_drop(conn_command(c, i));
	conn_auth_end(c);
	controller_leave(c);
	if (hooks->on_queue_close && c->queue->steer_slot != TARGET_NO_SLOT)
		hooks->on_queue_close(hooks->arg, &c->key, c->queue->steer_slot);
	ring_file_remove(&r->ring, &c->file);
	r->conns[c->slot] = NULL;
	r->free_conns[r->n_free_conns++] = c->slot;
	r->n_conns--;
	stats_add(&r->connections, -1);
	conn_destroy(c);
}

/* ---- turns and ticks ---- */

void conn_mark(struct conn *c)
{
	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->next_dirty = c->reactor->dirty;
	c->reactor->dirty = c;
}

void conn_settle(struct conn *c)
{
	struct reactor *r = c->reactor;

	c->is_dirty = false;
	c->moved_ns = r->now_ns;
	assert(!c->kept || c->is_blocked || c->state >= CONN_TERM);
	if (c->state < CONN_CLOSING)
		conn_flush(c);
	/* Graceful stop, or the host's Disconnect: nothing new is begun, and what was has been answered. */
	if ((r->stopping || c->disconnecting) && !c->sending && c->n_busy == c->n_parked)
		conn_close(c, NULL);
	if (c->state < CONN_CLOSING) {
		if (!c->receiving && !c->is_blocked)
			conn_recv_arm(c);
		conn_note(c);
		return;
	}
	/* conn_close() may have marked it again: then this is called once more. */
	if (!c->is_dirty && !c->receiving && !c->sending && !c->backend_ios && !c->is_blocked)
		conn_free(c);
}

static void keep_alive_tick(struct conn *c)
{
	struct controller *ctrl = c->controller;
	uint64_t limit_ns = (uint64_t)ctrl->kato_ms * 1000000;

	if (ctrl->kato_ms && c->reactor->now_ns > ctrl->alive_ns + limit_ns)
		controller_kill(ctrl, "keep-alive timeout");
}

static void admin_tick(struct conn *c)
{
	keep_alive_tick(c);
	events_deliver(c);
}

void conn_reset(struct conn *c, const char *why)
{
	const struct linger now = {.l_onoff = 1};

	if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)))
		log_warn(c->name, "no reset: %s", strerror(errno));
	conn_close(c, why);
}

static bool others_wait(const struct conn *c)
{
	const struct reactor *r = c->reactor;

	return r->waiting && (r->waiting != c || c->next_waiting);
}

void conn_tick(struct conn *c)
{
	uint64_t now = c->reactor->now_ns, age = now - c->since_ns;
	const struct target_options *options = &c->reactor->target->options;
	uint64_t stall_ns = options->stall_timeout_ms * 1000000ull;

	if (c->state == CONN_CLOSING)
		return;
	if (c->state < CONN_LIVE && age > options->connect_timeout_ms * 1000000ull)
		conn_close(c, "no Connect in time");
	else if (c->state >= CONN_TERM && age > TERM_TIMEOUT_NS)
		conn_close(c, NULL);
	else if (c->sending && now - c->send_ns > stall_ns)
		conn_reset(c, "the peer takes no data");
	else if (c->n_h2c && now - c->rx_ns > stall_ns && others_wait(c))
		conn_reset(c, "the peer does not send what it was asked for, and others wait for its buffers");
	else if (c->state == CONN_LIVE && conn_auth_tick(c))
		conn_close(c, conn_auth_tick(c));
	if (c->controller && !c->qid && c->state == CONN_LIVE)
		admin_tick(c);
	/* A target that stops closes idle admin queues at once, and lets commands of the others finish all the same. */
	if (c->controller && __atomic_load_n(&c->controller->dead, __ATOMIC_ACQUIRE) &&
	    !atomic_load(&c->reactor->target->stopping))
		conn_close(c, "its controller is gone");
	else if (c->controller && c->qid && c->epoch != __atomic_load_n(&c->controller->epoch, __ATOMIC_ACQUIRE))
		conn_close(c, "its controller was reset or shut down");
	fused_tick(c);
	conn_watch(c);
}
