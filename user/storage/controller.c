// SPDX-License-Identifier: Apache-2.0
/*
 * The table of controllers, and Connect, which enters it. Reactor threads call in; the target's mutex guards table,
 * reference counts and queue numbers. A controller ends with its admin queue: that marks it dead, and every reactor
 * closes what belongs to it. It is freed with its last connection.
 */
#include "storage/controller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

/* ---- table; the target's mutex is held ---- */

static struct controller *controller_make(struct target *t, const struct subsystem *s,
					  const struct nvme_connect *connect, const struct conn *conn)
{
	unsigned int tries;
	struct controller *c;

	/* Ids are handed out in turn, so that one that has just gone is not soon another's. 0xfff0 on is reserved. */
	for (tries = 0; tries < 0xffef; tries++) {
		t->last_cntlid = t->last_cntlid % 0xffef + 1;
		if (!t->controllers[t->last_cntlid - 1])
			break;
	}
	if (tries == 0xffef)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->target = t;
	c->subsystem = s;
	c->reactor = conn->reactor->index;
	c->portal = conn->portal - t->portals;
	c->secure = conn->tls;
	c->cntlid = t->last_cntlid;
	c->kato_ms = connect->kato_ms;
	c->connect_kato_ms = connect->kato_ms;
	controller_features_reset(c);
	memcpy(c->hostid, connect->hostid, sizeof(c->hostid));
	memcpy(c->hostnqn, connect->hostnqn, sizeof(c->hostnqn));
	c->started_ns = c->alive_ns = time_now_ns();
	nvme_properties_init(&c->props, CONTROLLER_MAX_ENTRIES);
	t->controllers[c->cntlid - 1] = c;
	return c;
}

static bool queue_used(const struct controller *c, uint16_t qid)
{
	return c->queues[qid / 64] >> qid % 64 & 1;
}

bool controller_has_io_queues(struct controller *c)
{
	uint64_t any;
	size_t i;

	pthread_mutex_lock(&c->target->mutex);
	any = c->queues[0] & ~1ull;
	for (i = 1; i < ARRAY_SIZE(c->queues); i++)
		any |= c->queues[i];
	pthread_mutex_unlock(&c->target->mutex);
	return any;
}

/* conn becomes queue qid of c, and appears in the statistics. */
static void bind_queue(struct conn *conn, struct controller *c, const struct nvme_connect *connect)
{
	struct target *t = c->target;
	struct queue *q = conn->queue;

	c->refs++;
	c->queues[connect->qid / 64] |= 1ull << connect->qid % 64;
	conn->controller = c;
	conn->epoch = __atomic_load_n(&c->epoch, __ATOMIC_ACQUIRE);
	conn->qid = connect->qid;
	conn->entries = connect->entries;
	conn->sq_flow = !connect->no_sq_flow;
	q->cntlid = c->cntlid;
	q->qid = connect->qid;
	if (conn->tls)
		q->tls = tls_client(conn->tls)->generated ? "generated" : "retained";
	memcpy(q->hostnqn, connect->hostnqn, sizeof(q->hostnqn));
	memcpy(q->subnqn, connect->subnqn, sizeof(q->subnqn));
	q->next = t->queues;
	t->queues = q;
}

static void unbind_queue(struct conn *conn, struct controller *c)
{
	struct target *t = c->target;
	struct queue **link = &t->queues;

	while (*link != conn->queue)
		link = &(*link)->next;
	*link = conn->queue->next;
	c->queues[conn->qid / 64] &= ~(1ull << conn->qid % 64);
	conn->controller = NULL;
	if (--c->refs)
		return;
	t->controllers[c->cntlid - 1] = NULL;
	free(c);
}

/* ---- Connect ---- */

static uint16_t connect_admin(struct conn *conn, const struct nvme_connect *connect, __u64 *ret_result)
{
	struct target *t = conn->reactor->target;
	const struct subsystem *s = NULL;
	struct controller *c;

	if (strcmp(connect->subnqn, NVME_DISCOVERY_NQN)) {
		s = target_subsystem(t, connect->subnqn);
		if (!s) {
			*ret_result = NVME_REFUSE_DATA(subnqn);
			return NVME_ST_CONNECT_PARAM | NVME_STATUS_DNR;
		}
		if (!subsystem_admits(s, connect->hostnqn))
			return NVME_ST_CONNECT_HOST | NVME_STATUS_DNR;
	}
	pthread_mutex_lock(&t->mutex);
	c = controller_make(t, s, connect, conn);
	if (c) {
		bind_queue(conn, c, connect);
		*ret_result = c->cntlid;
	}
	pthread_mutex_unlock(&t->mutex);
	return c ? NVME_ST_SUCCESS : NVME_ST_CONNECT_BUSY;
}

/* Why the queue may not join c, or 0. */
static uint16_t join_fault(const struct conn *conn, const struct controller *c, const struct nvme_connect *connect,
			   __u64 *ret_result)
{
	const char *subnqn = c && c->subsystem ? c->subsystem->nqn : NVME_DISCOVERY_NQN;

	if (!c || __atomic_load_n(&c->dead, __ATOMIC_ACQUIRE) || c->secure != (conn->tls != NULL)) {
		*ret_result = NVME_REFUSE_DATA(cntlid);
	} else if (strcmp(subnqn, connect->subnqn)) {
		*ret_result = NVME_REFUSE_DATA(subnqn);
	} else if (strcmp(c->hostnqn, connect->hostnqn)) {
		*ret_result = NVME_REFUSE_DATA(hostnqn);
	} else if (memcmp(c->hostid, connect->hostid, sizeof(c->hostid))) {
		*ret_result = NVME_REFUSE_DATA(hostid);
	} else if (!c->subsystem || connect->qid > CONTROLLER_MAX_QUEUES ||
		   connect->qid > __atomic_load_n(&c->granted, __ATOMIC_RELAXED)) {
		*ret_result = NVME_REFUSE_SQE(qid);
	} else if (!__atomic_load_n(&c->ready, __ATOMIC_RELAXED) || queue_used(c, connect->qid)) {
		return NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	} else {
		return NVME_ST_SUCCESS;
	}
	return NVME_ST_CONNECT_PARAM | NVME_STATUS_DNR;
}

static uint16_t connect_io(struct conn *conn, const struct nvme_connect *connect, __u64 *ret_result)
{
	struct target *t = conn->reactor->target;
	struct controller *c = NULL;
	uint16_t status;

	pthread_mutex_lock(&t->mutex);
	if (connect->cntlid && connect->cntlid <= 0xffef)
		c = t->controllers[connect->cntlid - 1];
	status = join_fault(conn, c, connect, ret_result);
	if (!status) {
		bind_queue(conn, c, connect);
		*ret_result = c->cntlid;
	}
	pthread_mutex_unlock(&t->mutex);
	return status;
}

uint16_t controller_connect(struct conn *conn, const struct command *cmd, __u64 *ret_result)
{
	struct nvme_connect connect;
	__u64 requires;
	uint16_t status;
	int r;

	if (conn->state != CONN_CONNECT)
		return NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	status = nvme_connect_read(&cmd->sqe, cmd->data, cmd->data ? cmd->transfer.len : 0, CONTROLLER_MAX_ENTRIES,
				   &connect, ret_result);
	if (!status)
		status = conn_tls_admits(conn, &connect, ret_result);
	/* Commands are made before any lock; a queue that is then refused keeps them until it closes. */
	if (!status && conn_commands_grow(conn, connect.entries))
		status = NVME_ST_CONNECT_BUSY;
	if (!status)
		status = connect.qid ? connect_io(conn, &connect, ret_result)
				     : connect_admin(conn, &connect, ret_result);
	if (status) {
		log_warn(conn->name, "Connect refused: %s (%s)", nvme_status_name(status),
			 nvme_connect_fault(*ret_result));
		return status;
	}
	snprintf(conn->name + strlen(conn->name), sizeof(conn->name) - strlen(conn->name), " queue %u:%u",
		 conn->controller->cntlid, conn->qid);
	if (conn->qid)
		conn->decoder.max_in_capsule = conn->reactor->target->transport.in_capsule;
	else
		log_info(conn->name, "%s connected to %s", connect.hostnqn, connect.subnqn);
	conn_set_state(conn, CONN_LIVE);
	if (conn->qid && limits_join(conn)) {
		conn_close(conn, "no memory for its limits");
		return NVME_ST_CONNECT_BUSY;
	}
	r = conn_auth_begin(conn, conn->controller, &requires);
	if (r) {
		conn_close(conn, r == -ENOKEY ? "the key that it came by has gone meanwhile"
					      : "no memory to authenticate its host");
		return NVME_ST_CONNECT_BUSY;
	}
	*ret_result |= requires;
	return NVME_ST_SUCCESS;
}

/* ---- ends ---- */

void controller_kill(struct controller *c, const char *why)
{
	struct target *t = c->target;
	unsigned int i;

	if (__atomic_exchange_n(&c->dead, true, __ATOMIC_ACQ_REL))
		return;
	__atomic_store_n(&c->ready, false, __ATOMIC_RELAXED);
	if (why)
		log_warn("target", "controller %u of %s ends: %s", c->cntlid, c->hostnqn, why);
	for (i = 0; i < t->n_reactors; i++)
		reactor_wake(t->reactors[i]);
}

void controller_leave(struct conn *conn)
{
	struct controller *c = conn->controller;

	if (!c)
		return;
	if (!conn->qid)
		controller_kill(c, NULL);
	pthread_mutex_lock(&c->target->mutex);
	unbind_queue(conn, c);
	pthread_mutex_unlock(&conn->reactor->target->mutex);
}
