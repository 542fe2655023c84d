// SPDX-License-Identifier: Apache-2.0
/*
 * See reservation.h. Called by reservation_command.c with the namespace's mutex held, and by tests. What always holds:
 * no host is registered twice; `holder` is a registered host where the type has one; a reservation of all registrants
 * has at least one.
 */
#include "storage/reservation.h"

#include <string.h>

#include <sluice/nvme_tcp.h>

#define CONFLICT (NVME_ST_RESERVATION_CONFLICT | NVME_STATUS_DNR)
#define INVALID	 (NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)
#define NOBODY	 RESERVATION_HOSTS

/* ---- questions ---- */

static bool is_all(enum reservation_type type)
{
	return type == RESERVATION_WRITE_ALL || type == RESERVATION_ACCESS_ALL;
}

/* Those of which registrants profit: their end is told to them. */
static bool is_shared(enum reservation_type type)
{
	return type >= RESERVATION_WRITE_REGISTRANTS;
}

static bool is_type(unsigned int type)
{
	return type > RESERVATION_NONE && type < RESERVATION_TYPES;
}

static bool same(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, RESERVATION_HOST_LEN);
}

static unsigned int find(const struct reservation *r, const uint8_t *host)
{
	unsigned int i;

	for (i = 0; i < r->n_hosts; i++)
		if (same(r->hosts[i].id, host))
			return i;
	return NOBODY;
}

bool reservation_holds(const struct reservation *r, unsigned int i)
{
	return r->type && (is_all(r->type) || r->holder == i);
}

bool reservation_allows(const struct reservation *r, const uint8_t *host, bool writes)
{
	bool reads_are_free = r->type == RESERVATION_WRITE_EXCLUSIVE || r->type == RESERVATION_WRITE_REGISTRANTS ||
			      r->type == RESERVATION_WRITE_ALL;
	unsigned int i;

	if (!r->type || (!writes && reads_are_free))
		return true;
	i = find(r, host);
	return i != NOBODY && (is_shared(r->type) || r->holder == i);
}

/* The registration that the command may act by; NOBODY: none, or its key is another. */
static unsigned int claim(const struct reservation *r, const struct reservation_command *cmd)
{
	unsigned int i = find(r, cmd->host);

	return i != NOBODY && (cmd->ignore_key || r->hosts[i].key == cmd->current_key) ? i : NOBODY;
}

/* ---- changes ---- */

static void tell(struct reservation_outcome *o, const uint8_t *host, enum reservation_notice notice, bool abort)
{
	memcpy(o->hosts[o->n].id, host, RESERVATION_HOST_LEN);
	o->hosts[o->n].notice = notice;
	o->hosts[o->n++].abort = abort;
}

/* All that are registered, but for `host`. */
static void tell_others(const struct reservation *r, const uint8_t *host, enum reservation_notice notice,
			struct reservation_outcome *o)
{
	unsigned int i;

	for (i = 0; i < r->n_hosts; i++)
		if (!same(r->hosts[i].id, host))
			tell(o, r->hosts[i].id, notice, false);
}

/* The holder's going ends a reservation of one, the last registrant's one of all. */
static void unregister(struct reservation *r, unsigned int i)
{
	bool held = reservation_holds(r, i);

	r->hosts[i] = r->hosts[--r->n_hosts];
	if (held && (!is_all(r->type) || !r->n_hosts))
		r->type = RESERVATION_NONE;
	else if (r->holder == r->n_hosts)
		r->holder = i;
}

static void hold(struct reservation *r, const uint8_t *host, enum reservation_type type)
{
	r->type = type;
	r->holder = find(r, host);
}

/* ---- Register ---- */

static uint16_t register_new(struct reservation *r, const struct reservation_command *cmd)
{
	unsigned int i = find(r, cmd->host);

	if (i != NOBODY)
		return r->hosts[i].key == cmd->new_key ? NVME_ST_SUCCESS : CONFLICT;
	if (r->n_hosts == RESERVATION_HOSTS)
		return NVME_ST_INTERNAL | NVME_STATUS_DNR;
	memcpy(r->hosts[r->n_hosts].id, cmd->host, RESERVATION_HOST_LEN);
	r->hosts[r->n_hosts++].key = cmd->new_key;
	return NVME_ST_SUCCESS;
}

static uint16_t unregister_own(struct reservation *r, const struct reservation_command *cmd,
			       struct reservation_outcome *o)
{
	enum reservation_type before = r->type;
	unsigned int i = claim(r, cmd);

	if (i == NOBODY)
		return CONFLICT;
	unregister(r, i);
	if (!r->type && is_shared(before))
		tell_others(r, cmd->host, RESERVATION_RELEASED, o);
	return NVME_ST_SUCCESS;
}

static uint16_t replace_key(struct reservation *r, const struct reservation_command *cmd)
{
	unsigned int i = claim(r, cmd);

	if (i == NOBODY)
		return CONFLICT;
	r->hosts[i].key = cmd->new_key;
	return NVME_ST_SUCCESS;
}

uint16_t reservation_register(struct reservation *r, const struct reservation_command *cmd, bool can_persist,
			      struct reservation_outcome *ret_outcome)
{
	uint16_t status;

	ret_outcome->n = 0;
	ret_outcome->changed = false;
	if (cmd->persist == RESERVATION_PERSIST_RESERVED || (cmd->persist == RESERVATION_PERSIST && !can_persist))
		return INVALID;
	switch (cmd->action) {
	case RESERVATION_REGISTER:
		status = register_new(r, cmd);
		break;
	case RESERVATION_UNREGISTER:
		status = unregister_own(r, cmd, ret_outcome);
		break;
	case RESERVATION_REPLACE:
		status = replace_key(r, cmd);
		break;
	default:
		return INVALID;
	}
	if (status)
		return status;
	if (cmd->persist)
		r->persists = cmd->persist == RESERVATION_PERSIST;
	r->generation++;
	ret_outcome->changed = true;
	return NVME_ST_SUCCESS;
}

/* ---- Acquire ---- */

static uint16_t acquire(struct reservation *r, const struct reservation_command *cmd, unsigned int own,
			struct reservation_outcome *o)
{
	if (r->type) /* its holder may ask again for what it has */
		return reservation_holds(r, own) && r->type == cmd->type ? NVME_ST_SUCCESS : CONFLICT;
	hold(r, cmd->host, cmd->type);
	o->changed = true;
	return NVME_ST_SUCCESS;
}

/* Ends the registrations with the preempted key, or all; the sender's own only where `own_too`. How many they were. */
static unsigned int expel(struct reservation *r, const struct reservation_command *cmd, bool all, bool own_too,
			  struct reservation_outcome *o)
{
	bool abort = cmd->action == RESERVATION_PREEMPT_ABORT;
	enum reservation_type type = r->type;
	unsigned int i = r->n_hosts, n = 0;
	uint8_t holder[RESERVATION_HOST_LEN];
	bool lost;

	if (type && !is_all(type))
		memcpy(holder, r->hosts[r->holder].id, sizeof(holder));
	while (i--) {
		bool own = same(r->hosts[i].id, cmd->host);

		if ((!all && r->hosts[i].key != cmd->new_key) || (own && !own_too))
			continue;
		lost = type && (is_all(type) ? all : same(r->hosts[i].id, holder));
		if (!own)
			tell(o, r->hosts[i].id, lost ? RESERVATION_PREEMPTED : RESERVATION_REGISTRATION_PREEMPTED,
			     abort);
		unregister(r, i);
		n++;
	}
	return n;
}

/* The sender takes the reservation from who has it. Who stays registered is told if what it had of that has ended. */
static uint16_t take_over(struct reservation *r, const struct reservation_command *cmd, bool all,
			  struct reservation_outcome *o)
{
	enum reservation_type before = r->type;

	expel(r, cmd, all, false, o);
	if (is_shared(before) && before != cmd->type)
		tell_others(r, cmd->host, RESERVATION_RELEASED, o);
	hold(r, cmd->host, cmd->type);
	return NVME_ST_SUCCESS;
}

static uint16_t preempt(struct reservation *r, const struct reservation_command *cmd, struct reservation_outcome *o)
{
	uint64_t key = cmd->new_key;

	if (r->type && is_all(r->type) && !key)
		return take_over(r, cmd, true, o);
	if (r->type && !is_all(r->type) && r->hosts[r->holder].key == key)
		return take_over(r, cmd, false, o);
	if (r->type && !is_all(r->type) && !key)
		return INVALID;
	/* Registrations alone; if all who shared the reservation go, it does. */
	return expel(r, cmd, false, true, o) ? NVME_ST_SUCCESS : CONFLICT;
}

uint16_t reservation_acquire(struct reservation *r, const struct reservation_command *cmd,
			     struct reservation_outcome *ret_outcome)
{
	unsigned int own;
	uint16_t status;

	ret_outcome->n = 0;
	ret_outcome->changed = false;
	if (cmd->ignore_key || !is_type(cmd->type) || cmd->action > RESERVATION_PREEMPT_ABORT)
		return INVALID;
	own = claim(r, cmd);
	if (own == NOBODY)
		return CONFLICT;
	if (cmd->action == RESERVATION_ACQUIRE)
		return acquire(r, cmd, own, ret_outcome);
	status = preempt(r, cmd, ret_outcome);
	if (status)
		return status;
	r->generation++;
	ret_outcome->changed = true;
	return NVME_ST_SUCCESS;
}

/* ---- Release ---- */

static uint16_t release(struct reservation *r, const struct reservation_command *cmd, unsigned int own,
			struct reservation_outcome *o)
{
	if (!reservation_holds(r, own))
		return NVME_ST_SUCCESS;
	if (r->type != cmd->type)
		return INVALID;
	if (is_shared(r->type))
		tell_others(r, cmd->host, RESERVATION_RELEASED, o);
	r->type = RESERVATION_NONE;
	o->changed = true;
	return NVME_ST_SUCCESS;
}

uint16_t reservation_release(struct reservation *r, const struct reservation_command *cmd,
			     struct reservation_outcome *ret_outcome)
{
	unsigned int own;

	ret_outcome->n = 0;
	ret_outcome->changed = false;
	if (cmd->ignore_key || cmd->action > RESERVATION_CLEAR)
		return INVALID;
	own = claim(r, cmd);
	if (own == NOBODY)
		return CONFLICT;
	if (cmd->action == RESERVATION_RELEASE)
		return release(r, cmd, own, ret_outcome);
	tell_others(r, cmd->host, RESERVATION_PREEMPTED, ret_outcome);
	r->type = RESERVATION_NONE;
	r->n_hosts = 0;
	r->generation++;
	ret_outcome->changed = true;
	return NVME_ST_SUCCESS;
}
