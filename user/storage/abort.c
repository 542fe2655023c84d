// SPDX-License-Identifier: Apache-2.0
/*
 * Abort (Base 2.0, section 5.1). The command to stop may be on a queue of another reactor: then the question goes there
 * as a call, and the answer comes back as one; meanwhile the Abort is in state COMMAND_ABORTING. What can be stopped: a
 * parked event request, and a command that waits for room. One that a backend works on is told to stop; whether it
 * does is seen from its own status, so the Abort says "not aborted" (bit 0 of its result), as it does of a command
 * whose data are on their way, or that is not there. An aborted command is answered before the Abort is.
 */
#include <stdlib.h>

#include "base/util.h"
#include "storage/reactor.h"

struct question {
	struct reactor_call call;
	struct reactor *from; /* who asked: a command of its conn, while conn and command are what they were */
	uint16_t conn_slot;
	uint32_t conn_gen;
	uint16_t index;
	uint16_t cntlid, qid, cid; /* what to stop */
	bool aborted;
};

/* Takes it off the list of its connection's commands that wait. */
static void unwait(struct conn *c, struct command *cmd)
{
	struct command **link = &c->waiting;

	while (*link && *link != cmd)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = cmd->next;
	if (!cmd->next)
		c->waiting_tail = link;
}

/* Whether it is aborted now. */
static bool stop(struct conn *c, struct command *cmd)
{
	switch (cmd->state) {
	case COMMAND_PARKED:
		c->n_parked--;
		c->controller->events--;
		break;
	case COMMAND_LIMITED:
		limits_withdraw(cmd);
		break;
	case COMMAND_WAITING:
		unwait(c, cmd);
		if (cmd->fuse)
			fused_refused(cmd);
		break;
	case COMMAND_FUSED:
		command_fail(cmd, NVME_ST_ABORTED);
		return true;
	case COMMAND_BACKEND:
		if (cmd->io.ring)
			ring_cancel(&c->reactor->ring, cmd->io.token);
		return false;
	default:
		return false;
	}
	if (cmd->fuse)
		fused_refused(cmd);
	command_reply(cmd, NVME_ST_ABORTED);
	return true;
}

static bool stop_cid(struct conn *c, uint16_t cid)
{
	unsigned int i;

	for (i = 0; i < c->n_commands; i++) {
		struct command *cmd = conn_command(c, i);

		if (cmd->state != COMMAND_FREE && le16toh(cmd->sqe.cid) == cid && stop(c, cmd))
			return true;
	}
	return false;
}

static struct conn *find_queue(struct reactor *r, uint16_t cntlid, uint16_t qid)
{
	unsigned int i;

	for (i = 0; i < REACTOR_MAX_CONNS; i++) {
		struct conn *c = r->conns[i];

		if (c && c->state == CONN_LIVE && c->controller && c->controller->cntlid == cntlid && c->qid == qid)
			return c;
	}
	return NULL;
}

/* On the reactor that asked. */
static void answered(struct reactor *r, struct reactor_call *call)
{
	struct question *q = (struct question *)call;
	struct conn *c = r->conns[q->conn_slot];
	struct command *cmd;

	if (c && c->gen == q->conn_gen && c->state < CONN_TERM) {
		cmd = conn_command(c, q->index);
		cmd->result = !q->aborted;
		c->controller->aborts--;
		command_reply(cmd, NVME_ST_SUCCESS);
	}
	free(q);
}

/* On the reactor that has the queue. */
static void asked(struct reactor *r, struct reactor_call *call)
{
	struct question *q = (struct question *)call;
	struct conn *c = find_queue(r, q->cntlid, q->qid);

	q->aborted = c && stop_cid(c, q->cid);
	q->call.run = answered;
	reactor_post(q->from, &q->call);
}

/* The reactor that has the queue, or NULL. */
static struct reactor *reactor_of(struct target *t, uint16_t cntlid, uint16_t qid)
{
	struct reactor *found = NULL;
	const struct queue *q;

	pthread_mutex_lock(&t->mutex);
	for (q = t->queues; q && !found; q = q->next)
		if (q->cntlid == cntlid && q->qid == qid)
			found = t->reactors[q->reactor];
	pthread_mutex_unlock(&t->mutex);
	return found;
}

bool controller_abort(struct conn *conn, struct command *cmd)
{
	struct controller *c = conn->controller;
	uint32_t cdw10 = le32toh(cmd->sqe.cdw10);
	uint16_t qid = cdw10 & 0xffff;
	struct reactor *r;
	struct question *q;

	cmd->result = 1;
	if (c->aborts == CONTROLLER_MAX_ABORTS) {
		cmd->status = NVME_ST_ABORT_LIMIT;
		return false;
	}
	r = reactor_of(c->target, c->cntlid, qid);
	q = r ? calloc(1, sizeof(*q)) : NULL;
	if (!q)
		return false;
	*q = (struct question){
		.call.run = asked,
		.from = conn->reactor,
		.conn_slot = conn->slot,
		.conn_gen = conn->gen,
		.index = cmd->index,
		.cntlid = c->cntlid,
		.qid = qid,
		.cid = cdw10 >> 16,
	};
	c->aborts++;
	cmd->state = COMMAND_ABORTING;
	reactor_post(r, &q->call);
	return true;
}
