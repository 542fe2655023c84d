// SPDX-License-Identifier: Apache-2.0
/*
 * Fused Compare and Write (Base 2.0, section 3.4.2; NVM Command Set 1.0, section 2.1.5.1): finds the two halves in a
 * queue's stream, and holds the first until the second is there. conn_command.c calls in as commands begin, arrive and
 * fail. The Compare drives both: the pair runs as a Compare that ends with the Write, under one hold of their blocks.
 *
 * Who is linked (fused) has no status yet. A Write that is refused leaves its Compare a plain one, whose answer does
 * not depend on it; a Compare that is refused takes its Write along.
 */
#include <errno.h>

#include "storage/reactor.h"

/*
 * First halves under way. Each may hold a buffer while its second waits for one, so they must be fewer than there are
 * buffers of any size; more may be sent again.
 */
#define FUSED_MAX_CONN	  16
#define FUSED_MAX_REACTOR 64

#define FAILED	(NVME_ST_FUSED_FAILED | NVME_STATUS_DNR)
#define MISSING (NVME_ST_FUSED_MISSING | NVME_STATUS_DNR)
#define INVALID (NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)

/* Ends a half that was accepted: now if its data are there, else when they are. */
static void fail(struct command *cmd, uint16_t status)
{
	cmd->fused = NULL;
	cmd->fuse = 0;
	command_fail(cmd, status);
}

/* The Compare goes on without its Write. */
static void alone(struct command *first)
{
	first->fused = NULL;
	first->fuse = 0;
	if (first->state == COMMAND_FUSED)
		command_proceed(first);
}

static bool same_blocks(const struct nvme_sqe *a, const struct nvme_sqe *b)
{
	const struct nvme_rw_sqe *x = (const struct nvme_rw_sqe *)a, *y = (const struct nvme_rw_sqe *)b;

	return x->nsid == y->nsid && x->slba == y->slba && x->nlb == y->nlb;
}

static void pair(struct command *first, struct command *second)
{
	if (second->sqe.opcode != NVME_IO_WRITE || !same_blocks(&first->sqe, &second->sqe)) {
		second->status = INVALID;
		fail(first, INVALID);
	} else if (second->status) {
		alone(first);
	} else {
		first->fused = second;
		second->fused = first;
		second->fuse = NVME_SQE_FUSE_SECOND;
	}
}

static void begin_first(struct conn *c, struct command *cmd)
{
	struct reactor *r = c->reactor;

	if (!cmd->status && cmd->sqe.opcode != NVME_IO_COMPARE)
		cmd->status = INVALID;
	else if (!cmd->status && (c->n_fused == FUSED_MAX_CONN || r->n_fused == FUSED_MAX_REACTOR))
		cmd->status = controller_interrupted(c->controller);
	if (cmd->status) {
		c->fused_failed = true;
		return;
	}
	c->fused_first = cmd;
	cmd->fuse = NVME_SQE_FUSE_FIRST;
	cmd->counts_fused = true;
	c->n_fused++;
	r->n_fused++;
}

void fused_begin(struct conn *c, struct command *cmd)
{
	struct command *first = c->fused_first;
	uint8_t fuse = nvme_fuse(&cmd->sqe);
	bool failed = c->fused_failed;

	c->fused_first = NULL;
	c->fused_failed = false;
	if (first && fuse != NVME_SQE_FUSE_SECOND)
		fail(first, MISSING);
	switch (fuse) {
	case 0:
		return;
	case NVME_SQE_FUSE_FIRST:
		begin_first(c, cmd);
		return;
	case NVME_SQE_FUSE_SECOND:
		if (first)
			pair(first, cmd);
		else
			cmd->status = failed ? FAILED : MISSING;
		return;
	default: /* reserved */
		cmd->status = INVALID;
	}
}

void fused_undo(struct conn *c, struct command *cmd)
{
	if (cmd->fuse == NVME_SQE_FUSE_SECOND) {
		c->fused_first = cmd->fused;
		c->fused_first->fused = NULL;
	} else if (c->fused_first == cmd) {
		c->fused_first = NULL;
	}
}

bool fused_run(struct command *cmd)
{
	struct command *other = cmd->fused;

	cmd->state = COMMAND_FUSED;
	if (!other || other->state != COMMAND_FUSED)
		return true; /* for the other half */
	if (cmd->fuse == NVME_SQE_FUSE_FIRST) {
		other->state = COMMAND_BACKEND; /* nobody ends it alone any more */
		if (io_run(cmd))
			return true;
		other->state = COMMAND_FUSED;
		return false;
	}
	command_proceed(other);
	return true;
}

/*
 * Both halves come in one go (Base 2.0, section 3.4.2). Nothing received for so long, while the connection was read,
 * means that there is no second; if it comes after all, it fails as its first did.
 */
void fused_tick(struct conn *c)
{
	uint64_t stall_ns = c->reactor->target->options.stall_timeout_ms * 1000000ull;
	struct command *first = c->fused_first;

	if (!first || first->state != COMMAND_FUSED || c->is_blocked || c->reactor->now_ns - c->rx_ns <= stall_ns)
		return;
	c->fused_first = NULL;
	c->fused_failed = true;
	fail(first, MISSING);
}

void fused_refused(struct command *cmd)
{
	struct conn *c = cmd->conn;
	struct command *other = cmd->fused;

	if (c->fused_first == cmd) {
		c->fused_first = NULL;
		c->fused_failed = true;
	} else if (other && cmd->fuse == NVME_SQE_FUSE_FIRST) {
		fail(other, FAILED);
	} else if (other) {
		alone(other);
	}
	cmd->fused = NULL;
	cmd->fuse = 0;
}

void fused_finish(struct command *first, uint16_t status)
{
	struct command *second = first->fused;
	bool compared = first->io.op == BACKEND_WRITE;

	first->fused = second->fused = NULL;
	command_reply(first, compared ? NVME_ST_SUCCESS : status);
	command_reply(second, compared ? status : FAILED);
}

void fused_forget(struct command *cmd)
{
	if (!cmd->counts_fused)
		return;
	cmd->counts_fused = false;
	cmd->conn->n_fused--;
	cmd->conn->reactor->n_fused--;
}
