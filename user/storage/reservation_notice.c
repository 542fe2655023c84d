// SPDX-License-Identifier: Apache-2.0
/*
 * What reservation commands mean to other hosts: notices in the logs of their controllers, and the end of their
 * commands where they were preempted and aborted. The logs are under the target's mutex, since any reactor writes them.
 * Preempt and Abort posts a call to every reactor; each ends what waits there, and tells when what cannot be ended any
 * more has finished.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/reservations.h"

#define ALL_NAMESPACES 0xffffffff

/* ---- notices ---- */

static void log_put(struct controller *c, enum reservation_notice notice, uint32_t nsid)
{
	struct controller_notices *log = &c->notices;

	/* The oldest make way; the count says how many there were. */
	if (log->n == ARRAY_SIZE(log->entries)) {
		log->first = (log->first + 1) % ARRAY_SIZE(log->entries);
		log->n--;
	}
	log->entries[(log->first + log->n) % ARRAY_SIZE(log->entries)].nsid = nsid;
	log->entries[(log->first + log->n) % ARRAY_SIZE(log->entries)].type = notice;
	log->n++;
	log->count++;
	controller_notify(c, EVENT_RESERVATION);
}

static void tell_controller(struct controller *c, const struct reservation_outcome *o, uint32_t nsid)
{
	unsigned int i;

	for (i = 0; i < o->n; i++)
		if (!memcmp(c->hostid, o->hosts[i].id, sizeof(c->hostid)) &&
		    !(c->notices.masks[nsid] >> o->hosts[i].notice & 1))
			log_put(c, o->hosts[i].notice, nsid);
}

void reservation_tell(const struct command *cmd, const struct reservation_outcome *outcome)
{
	struct target *t = cmd->conn->reactor->target;
	unsigned int i;

	if (!outcome->n)
		return;
	pthread_mutex_lock(&t->mutex);
	for (i = 0; i < ARRAY_SIZE(t->controllers); i++)
		if (t->controllers[i] && t->controllers[i]->subsystem == cmd->ns->subsystem)
			tell_controller(t->controllers[i], outcome, cmd->ns->config->id);
	pthread_mutex_unlock(&t->mutex);
}

struct notice_page {
	__le64 count;
	uint8_t type;
	uint8_t more; /* pages that are there besides */
	uint8_t reserved10[2];
	__le32 nsid;
	uint8_t reserved16[48];
};

_Static_assert(sizeof(struct notice_page) == 64, "Reservation Notification log page");

void reservation_log(struct controller *c, void *page)
{
	struct notice_page out = {};
	struct controller_notices *log = &c->notices;

	pthread_mutex_lock(&c->target->mutex);
	if (log->n) {
		out.count = htole64(log->count - log->n + 1);
		out.type = log->entries[log->first].type;
		out.nsid = htole32(log->entries[log->first].nsid);
		log->first = (log->first + 1) % ARRAY_SIZE(log->entries);
		out.more = --log->n;
	}
	pthread_mutex_unlock(&c->target->mutex);
	memcpy(page, &out, sizeof(out));
}

uint16_t reservation_mask_get(struct controller *c, uint32_t nsid, uint32_t *ret_mask)
{
	if (!subsystem_namespace(c->subsystem, nsid))
		return NVME_ST_INVALID_NS | NVME_STATUS_DNR;
	pthread_mutex_lock(&c->target->mutex);
	*ret_mask = c->notices.masks[nsid];
	pthread_mutex_unlock(&c->target->mutex);
	return NVME_ST_SUCCESS;
}

uint16_t reservation_mask_set(struct controller *c, uint32_t nsid, uint32_t mask)
{
	static const uint32_t known =
		1 << RESERVATION_REGISTRATION_PREEMPTED | 1 << RESERVATION_RELEASED | 1 << RESERVATION_PREEMPTED;

	if (nsid != ALL_NAMESPACES && !subsystem_namespace(c->subsystem, nsid))
		return NVME_ST_INVALID_NS | NVME_STATUS_DNR;
	pthread_mutex_lock(&c->target->mutex);
	if (nsid == ALL_NAMESPACES)
		memset(c->notices.masks, mask & known, sizeof(c->notices.masks));
	else
		c->notices.masks[nsid] = mask & known;
	pthread_mutex_unlock(&c->target->mutex);
	return NVME_ST_SUCCESS;
}

/* ---- Preempt and Abort ---- */

struct preemption;

/* What one reactor has to do of it. */
struct preemption_part {
	struct reactor_call call; /* there */
	struct preemption *whole;
	struct preemption_part *next;
};

struct preemption {
	struct reactor_call done; /* on the command's own reactor */
	struct command *cmd;
	atomic_uint left; /* parts */
	unsigned int n_hosts;
	uint8_t hosts[RESERVATION_HOSTS][RESERVATION_HOST_LEN];
	struct preemption_part parts[TARGET_MAX_REACTORS];
};

static bool is_of(const struct preemption *p, const struct command *cmd)
{
	unsigned int i;

	if (cmd == p->cmd || !cmd->ns || cmd->ns->reservations != p->cmd->ns->reservations)
		return false;
	for (i = 0; i < p->n_hosts; i++)
		if (!memcmp(cmd->conn->controller->hostid, p->hosts[i], RESERVATION_HOST_LEN))
			return true;
	return false;
}

/* Ends a command, if that can still be done; true: it is under way. */
static bool end_command(struct command *cmd, bool first)
{
	const uint16_t status = NVME_ST_ABORTED_PREEMPT | NVME_STATUS_DNR;

	switch (cmd->state) {
	case COMMAND_CAPSULE:
	case COMMAND_LIMITED:
	case COMMAND_WAITING:
	case COMMAND_H2C:
	case COMMAND_FUSED:
		if (first && !cmd->status)
			command_fail(cmd, status);
		return false;
	case COMMAND_LOCKED:
	case COMMAND_BACKEND:
		/* What is not begun is not begun any more. A reservation command has done what it does. */
		if (first && !reservation_is_command(cmd->sqe.opcode))
			cmd->ends_with = status;
		return !reservation_is_command(cmd->sqe.opcode);
	default:
		return false;
	}
}

static bool end_commands(struct reactor *r, const struct preemption *p, bool first)
{
	bool under_way = false;
	unsigned int i, n;

	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		for (n = 0; r->conns[i] && r->conns[i]->controller && n < r->conns[i]->n_commands; n++) {
			struct command *cmd = conn_command(r->conns[i], n);

			if (cmd->state != COMMAND_FREE && is_of(p, cmd))
				under_way |= end_command(cmd, first);
		}
	return under_way;
}

static void all_done(struct reactor *r, struct reactor_call *call)
{
	struct preemption *p = (struct preemption *)call;

	reservation_part_done(p->cmd);
	free(p);
}

static void part_done(struct preemption *p)
{
	if (atomic_fetch_sub(&p->left, 1) > 1)
		return;
	p->done.run = all_done;
	reactor_post(p->cmd->conn->reactor, &p->done);
}

static void begin_part(struct reactor *r, struct reactor_call *call)
{
	struct preemption_part *part = (struct preemption_part *)call;

	if (end_commands(r, part->whole, true)) {
		part->next = r->preempting;
		r->preempting = part;
	} else {
		part_done(part->whole);
	}
}

void reservation_settle(struct reactor *r)
{
	struct preemption_part **link = &r->preempting, *part;

	while ((part = *link)) {
		if (end_commands(r, part->whole, false)) {
			link = &part->next;
			continue;
		}
		*link = part->next;
		part_done(part->whole);
	}
}

int reservation_abort(struct command *cmd, const struct reservation_outcome *outcome)
{
	struct target *t = cmd->conn->reactor->target;
	struct preemption *p;
	unsigned int i;

	for (i = 0; i < outcome->n && !outcome->hosts[i].abort; i++)
		;
	if (i == outcome->n)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->cmd = cmd;
	for (; i < outcome->n; i++)
		if (outcome->hosts[i].abort)
			memcpy(p->hosts[p->n_hosts++], outcome->hosts[i].id, RESERVATION_HOST_LEN);
	cmd->walk.step++;
	atomic_init(&p->left, t->n_reactors);
	for (i = 0; i < t->n_reactors; i++) {
		p->parts[i].whole = p;
		p->parts[i].call.run = begin_part;
		reactor_post(t->reactors[i], &p->parts[i].call);
	}
	return 0;
}
