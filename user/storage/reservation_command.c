// SPDX-License-Identifier: Apache-2.0
/*
 * Reservation Register, Acquire, Release and Report (Base 2.0, sections 7.2 to 7.5), and whether a reservation lets an
 * I/O command through. Called from io_command.c. A command is answered when all that it asked for is done: what is kept
 * is on disk, and no command of a host that it preempted and aborted is under way. Until then it counts as an I/O under
 * way, and walk.step counts its parts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "nvme/reservation_report.h"
#include "storage/reservations.h"

/* ---- state of a namespace ---- */

int reservations_open(const struct reservation_saver *saver, const char *subnqn, uint32_t nsid, struct error *err,
		      struct reservations **ret_reservations)
{
	_cleanup_free_ struct reservations *r = calloc(1, sizeof(*r));
	int ret = 0;

	if (!r)
		return error_system(err, ENOMEM, "namespace %u", nsid);
	r->can_persist = saver;
	if (saver) {
		ret = reservation_saver_path(saver, subnqn, nsid, r->path, sizeof(r->path));
		ret = ret ? error_system(err, -ret, "namespace %u: its reservation", nsid)
			  : reservation_load(r->path, subnqn, nsid, &r->now, err);
	}
	if (ret)
		return ret;
	r->held = r->now.type;
	pthread_mutex_init(&r->mutex, NULL);
	*ret_reservations = TAKE_PTR(r);
	return 0;
}

void reservations_close(struct reservations *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

/* ---- other commands ---- */

static bool is_reading(uint8_t opcode)
{
	return opcode == NVME_IO_READ || opcode == NVME_IO_COMPARE || opcode == NVME_IO_VERIFY;
}

bool reservation_admits_held(const struct command *cmd)
{
	struct reservations *r = cmd->ns->reservations;
	bool admits;

	pthread_mutex_lock(&r->mutex);
	/* A fused Compare answers for its Write, too. */
	admits = reservation_allows(&r->now, cmd->conn->controller->hostid, !is_reading(cmd->sqe.opcode) || cmd->fused);
	pthread_mutex_unlock(&r->mutex);
	return admits;
}

/* ---- checks ---- */

bool reservation_is_command(uint8_t opcode)
{
	return opcode == NVME_IO_RESV_REGISTER || opcode == NVME_IO_RESV_REPORT || opcode == NVME_IO_RESV_ACQUIRE ||
	       opcode == NVME_IO_RESV_RELEASE;
}

/* Bytes that Report asks for. */
static uint64_t report_len(const struct command *cmd)
{
	return ((uint64_t)le32toh(cmd->sqe.cdw10) + 1) * 4;
}

uint16_t reservation_check(const struct command *cmd)
{
	uint64_t wanted = cmd->sqe.opcode == NVME_IO_RESV_RELEASE ? 8 : 16;

	if (cmd->sqe.opcode == NVME_IO_RESV_REPORT) {
		if (!(le32toh(cmd->sqe.cdw11) & RESERVATION_REPORT_EDS))
			return NVME_ST_HOSTID_FORMAT | NVME_STATUS_DNR;
		wanted = report_len(cmd);
	}
	return cmd->transfer.len < wanted ? NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR : NVME_ST_SUCCESS;
}

/* ---- Report ---- */

struct report {
	uint8_t *data;
	uint64_t len, used;
	unsigned int n;
};

/* What does not fit is left out, and counted all the same. */
static void report_put(struct report *out, const void *part, size_t len)
{
	size_t n = out->used < out->len ? min(out->len - out->used, (uint64_t)len) : 0;

	memcpy(out->data + out->used, part, n);
	out->used += n;
}

static void report_controller(struct report *out, const struct reservation *r, unsigned int host, uint16_t cntlid)
{
	struct report_controller entry = {
		.cntlid = htole16(cntlid), .holds = reservation_holds(r, host), .key = htole64(r->hosts[host].key)};

	memcpy(entry.hostid, r->hosts[host].id, sizeof(entry.hostid));
	report_put(out, &entry, sizeof(entry));
	out->n++;
}

/* Each controller of each registered host; a host that has none just now is told of once. */
static void report_hosts(struct report *out, const struct reservation *r, struct target *t, const struct subsystem *s)
{
	unsigned int host, i, before;

	pthread_mutex_lock(&t->mutex);
	for (host = 0; host < r->n_hosts; host++) {
		before = out->n;
		for (i = 0; i < ARRAY_SIZE(t->controllers); i++) {
			const struct controller *c = t->controllers[i];

			if (c && c->subsystem == s && !memcmp(c->hostid, r->hosts[host].id, sizeof(c->hostid)))
				report_controller(out, r, host, c->cntlid);
		}
		if (out->n == before)
			report_controller(out, r, host, NVME_CNTLID_DYNAMIC);
	}
	pthread_mutex_unlock(&t->mutex);
}

static bool run_report(struct command *cmd)
{
	struct report out = {.len = report_len(cmd)};
	struct reservations *r = cmd->ns->reservations;
	struct report_header header = {};

	if (!cmd->data && !command_place(cmd, BACKEND_FLUSH))
		return false;
	out.data = cmd->data;
	memset(cmd->data, 0, cmd->transfer.len);
	report_put(&out, &header, sizeof(header)); /* its place */
	pthread_mutex_lock(&r->mutex);
	report_hosts(&out, &r->now, cmd->conn->reactor->target, cmd->ns->subsystem);
	header.generation = htole32(r->now.generation);
	header.type = r->now.type;
	header.persists = r->now.persists;
	pthread_mutex_unlock(&r->mutex);
	header.n_controllers[0] = out.n;
	header.n_controllers[1] = out.n >> 8;
	out.used = 0;
	report_put(&out, &header, sizeof(header));
	command_reply(cmd, NVME_ST_SUCCESS);
	return true;
}

/* ---- Register, Acquire, Release ---- */

static uint64_t key_at(const struct command *cmd, unsigned int offset)
{
	__le64 key;

	memcpy(&key, cmd->data + offset, sizeof(key));
	return le64toh(key);
}

static uint16_t change(const struct command *cmd, struct reservations *r)
{
	uint32_t cdw10 = le32toh(cmd->sqe.cdw10);
	struct reservation_command what = {
		.host = cmd->conn->controller->hostid,
		.action = cdw10 & 7,
		.ignore_key = cdw10 & 8,
		.type = cdw10 >> 8 & 0xff,
		.persist = cdw10 >> 30,
		.current_key = key_at(cmd, 0),
	};

	if (cmd->sqe.opcode == NVME_IO_RESV_RELEASE)
		return reservation_release(&r->now, &what, &r->outcome);
	what.new_key = key_at(cmd, 8);
	if (cmd->sqe.opcode == NVME_IO_RESV_ACQUIRE)
		return reservation_acquire(&r->now, &what, &r->outcome);
	return reservation_register(&r->now, &what, r->can_persist, &r->outcome);
}

static void saved(struct reactor *r, struct reactor_call *call)
{
	struct reservation_saving *s = (struct reservation_saving *)call;

	if (s->result && !s->cmd->status)
		s->cmd->status = NVME_ST_INTERNAL | NVME_STATUS_DNR;
	reservation_part_done(s->cmd);
	free(s);
}

/* What the state is now goes to disk: a part of the command. */
static int save(struct command *cmd, const struct reservations *r)
{
	struct reservation_saving *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->call.run = saved;
	s->reactor = cmd->conn->reactor;
	s->cmd = cmd;
	s->nsid = cmd->ns->config->id;
	s->copy = r->now;
	s->result = 0;
	memcpy(s->path, r->path, sizeof(s->path));
	memcpy(s->subnqn, cmd->ns->subsystem->nqn, sizeof(s->subnqn));
	cmd->walk.step++;
	reservation_saver_queue(s->reactor->target->saver, s);
	return 0;
}

void reservation_part_done(struct command *cmd)
{
	if (--cmd->walk.step)
		return;
	cmd->conn->backend_ios--;
	conn_mark(cmd->conn);
	command_reply(cmd, cmd->status);
}

bool reservation_run(struct command *cmd)
{
	struct reservations *r = cmd->ns->reservations;
	bool persisted;

	if (cmd->sqe.opcode == NVME_IO_RESV_REPORT)
		return run_report(cmd);
	cmd->state = COMMAND_BACKEND;
	cmd->conn->backend_ios++;
	cmd->walk.step = 1; /* this */
	pthread_mutex_lock(&r->mutex);
	persisted = r->now.persists;
	cmd->status = change(cmd, r);
	__atomic_store_n(&r->held, r->now.type != RESERVATION_NONE, __ATOMIC_RELAXED);
	if (!cmd->status) {
		reservation_tell(cmd, &r->outcome);
		if (reservation_abort(cmd, &r->outcome) ||
		    (r->outcome.changed && (persisted || r->now.persists) && save(cmd, r)))
			cmd->status = NVME_ST_INTERNAL | NVME_STATUS_DNR;
	}
	pthread_mutex_unlock(&r->mutex);
	reservation_part_done(cmd);
	return true;
}
