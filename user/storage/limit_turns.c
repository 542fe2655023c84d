// SPDX-License-Identifier: Apache-2.0
/*
 * Queues that wait for their turn under a limit: start-time fair queueing. Each queue's line is its own; the line whose
 * queue was served least is next, and what it takes (in time of the limit: a large command takes more) counts as
 * served. A queue that was not there begins with what the one served last had, so that it gets its share from now on and
 * nothing for the past. Reactors each have their own lines and tell one another in the limit's meter who is next there:
 * a reactor leaves the turn to another whose queue has had less.
 *
 * Called by conn_command.c (admission), the reactor (turns, switching) and conn.c (ends), on the reactor's thread.
 * A throttled command is on one line, in state COMMAND_LIMITED, and holds nothing but in-capsule data.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/limit_internal.h"

#define FAIR_NS	    (50 * 1000ull)   /* what a queue may have had more than one on another reactor */
#define PATIENCE_NS (2 * 1000000ull) /* who does not take his turn for so long loses it */
#define AGAIN_NS    (100 * 1000ull)  /* after leaving a turn to another reactor */

/* ---- the heap ---- */

static void put(struct limit_turns *t, unsigned int at, struct limit_entry *e)
{
	t->heap[at] = e;
	e->place = at;
}

static void sift(struct limit_turns *t, struct limit_entry *e, unsigned int at)
{
	unsigned int child;

	while (at && t->heap[(at - 1) / 2]->served > e->served) {
		put(t, at, t->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	while ((child = 2 * at + 1) < t->n) {
		if (child + 1 < t->n && t->heap[child + 1]->served < t->heap[child]->served)
			child++;
		if (t->heap[child]->served >= e->served)
			break;
		put(t, at, t->heap[child]);
		at = child;
	}
	put(t, at, e);
}

/* Others see who is next here. */
static void publish(const struct reactor *r, const struct limit_turns *t)
{
	__atomic_store_n(&t->limit->meter->lines[r->index].served, t->n ? t->heap[0]->served : LIMIT_NEVER,
			 __ATOMIC_RELAXED);
}

static void heap_add(struct limit_entry *e)
{
	struct limit_turns *t = e->turns;

	assert(t->n < t->room);
	t->n++;
	sift(t, e, t->n - 1);
}

static void heap_remove(struct limit_entry *e)
{
	struct limit_turns *t = e->turns;
	struct limit_entry *last = t->heap[--t->n];

	if (last != e)
		sift(t, last, e->place);
}

/* ---- lines ---- */

static void waits(const struct limit_entry *e, int64_t by)
{
	__atomic_fetch_add(&e->turns->limit->meter->waiting, by, __ATOMIC_RELAXED);
}

static void hold_capsule(struct command *cmd, int by)
{
	if (!cmd->buffer)
		return;
	cmd->conn->limits->n_capsules += by;
	cmd->conn->reactor->limits.n_capsules += by;
}

static uint64_t bytes_of(const struct command *cmd)
{
	return cmd->sqe.opcode == NVME_IO_VERIFY ? cmd->extent.len : cmd->transfer.len;
}

/* A queue that was away has what the one served last had. */
static void catch_up(struct limit_entry *e)
{
	uint64_t now = __atomic_load_n(&e->turns->limit->meter->served, __ATOMIC_RELAXED);

	e->served = max(e->served, now);
}

static void line_add(struct limit_entry *e, struct command *cmd)
{
	struct reactor *r = cmd->conn->reactor;
	uint64_t release = limit_release(e->turns->limit);

	cmd->state = COMMAND_LIMITED;
	cmd->next = NULL;
	hold_capsule(cmd, 1);
	waits(e, 1);
	if (e->head) {
		*e->tail = cmd;
		e->tail = &cmd->next;
		return;
	}
	e->head = cmd;
	e->tail = &cmd->next;
	catch_up(e);
	heap_add(e);
	publish(r, e->turns);
	r->limits.wake_ns = min(r->limits.wake_ns, release);
}

static void line_remove(struct limit_entry *e, struct command *cmd)
{
	struct command **link = &e->head;

	while (*link != cmd)
		link = &(*link)->next;
	*link = cmd->next;
	if (!cmd->next)
		e->tail = link;
	hold_capsule(cmd, -1);
	waits(e, -1);
	cmd->state = COMMAND_WAITING;
	if (!e->head)
		heap_remove(e);
	publish(cmd->conn->reactor, e->turns);
}

/* ---- passing ---- */

static void pass(struct limit_entry *e, struct command *cmd, bool waited)
{
	const struct limit *l = e->turns->limit;
	uint64_t bytes = bytes_of(cmd);

	limit_count(l, 1, bytes, cmd->conn->reactor->now_ns, waited);
	__atomic_store_n(&l->meter->served, e->served, __ATOMIC_RELAXED);
	e->served += limit_cost(l, bytes);
}

static bool applies(const struct limit_entry *e, const struct command *cmd)
{
	uint32_t nsid = e->turns->limit->config->nsid;

	return !nsid || nsid == cmd->ns->config->id;
}

/* Who finds nobody waiting and the limit not reached goes on at once. */
static bool pass_now(struct limit_entry *e, struct command *cmd)
{
	const struct limit *l = e->turns->limit;

	if (__atomic_load_n(&l->meter->waiting, __ATOMIC_RELAXED) || limit_release(l) > cmd->conn->reactor->now_ns)
		return false;
	catch_up(e);
	pass(e, cmd, false);
	return true;
}

bool limits_admit(struct command *cmd)
{
	struct conn_limits *limits = cmd->conn->limits;

	/* Nobody waits for the answers of a connection that ends, and a target that stops is done with sharing. */
	if (!cmd->ns || cmd->is_admitted || cmd->conn->state >= CONN_TERM || cmd->conn->reactor->stopping)
		return true;
	for (; cmd->limits_passed < limits->n; cmd->limits_passed++) {
		struct limit_entry *e = &limits->entries[cmd->limits_passed];

		if (!applies(e, cmd) || pass_now(e, cmd))
			continue;
		__atomic_fetch_add(&e->turns->limit->meter->throttled, 1, __ATOMIC_RELAXED);
		line_add(e, cmd);
		return false;
	}
	cmd->is_admitted = true;
	return true;
}

void limits_withdraw(struct command *cmd)
{
	line_remove(&cmd->conn->limits->entries[cmd->limits_passed], cmd);
}

void limits_charge(struct command *cmd, uint64_t bytes)
{
	struct conn_limits *limits = cmd->conn->limits;
	unsigned int i;

	for (i = 0; i < limits->n; i++) {
		struct limit_entry *e = &limits->entries[i];

		if (!applies(e, cmd))
			continue;
		limit_count(e->turns->limit, 0, bytes, cmd->conn->reactor->now_ns, false);
		e->served += limit_cost(e->turns->limit, bytes);
		if (e->head)
			sift(e->turns, e, e->place);
		publish(cmd->conn->reactor, e->turns);
	}
}

/*
 * In-capsule data cannot wait in the stream once their command has been taken from it. So a connection is no longer
 * read when its throttled commands hold a sixteenth of such buffers, or any while all throttled ones hold half: the
 * other half is for those who are under no limit.
 */
bool limits_full(const struct conn *conn)
{
	const struct reactor *r = conn->reactor;
	unsigned int all = r->pool.class[BUFFER_CAPSULE].count, mine = conn->limits->n_capsules;

	return mine >= all / 16 || r->limits.n_capsules >= (mine ? all / 2 : all - all / 4);
}

/* ---- turns ---- */

/* Whether a queue on another reactor comes first, which has not let its turn go by. */
static bool others_first(const struct reactor *r, const struct limit_turns *t, uint64_t release)
{
	const struct limit_meter *m = t->limit->meter;
	unsigned int i;

	if (r->now_ns - release > PATIENCE_NS)
		return false;
	for (i = 0; i < r->target->n_reactors; i++) {
		uint64_t theirs = __atomic_load_n(&m->lines[i].served, __ATOMIC_RELAXED);

		if (i != r->index && theirs != LIMIT_NEVER && theirs + FAIR_NS < t->heap[0]->served)
			return true;
	}
	return false;
}

/* When the first of those who wait may go on; now or before: it is its turn. */
static uint64_t turn_at(const struct reactor *r, const struct limit_turns *t)
{
	uint64_t release = limit_release(t->limit);

	if (r->stopping || release > r->now_ns)
		return r->stopping ? 0 : release;
	return others_first(r, t, release) ? r->now_ns + AGAIN_NS : release;
}

static void serve_first(struct limit_turns *t)
{
	struct limit_entry *e = t->heap[0];
	struct command *cmd = e->head;

	pass(e, cmd, true);
	sift(t, e, 0);
	line_remove(e, cmd);
	cmd->limits_passed++;
	command_proceed(cmd);
}

void limits_serve(struct reactor *r)
{
	unsigned int i;
	uint64_t at;

	r->limits.wake_ns = LIMIT_NEVER;
	for (i = 0; i < r->limits.n_turns; i++) {
		struct limit_turns *t = &r->limits.turns[i];

		while (t->n) {
			at = turn_at(r, t);
			if (at > r->now_ns) {
				r->limits.wake_ns = min(r->limits.wake_ns, at);
				break;
			}
			serve_first(t);
		}
	}
}

/* ---- joining and leaving ---- */

static int turns_reserve(struct limit_turns *t)
{
	unsigned int room = 2 * t->room + 16;
	struct limit_entry **heap;

	if (t->n_entries < t->room)
		return 0;
	heap = realloc(t->heap, room * sizeof(struct limit_entry *));
	if (!heap)
		return -ENOMEM;
	t->heap = heap;
	t->room = room;
	return 0;
}

static int entry_add(struct conn *conn, struct limit_turns *t)
{
	struct limit_entry *e = &conn->limits->entries[conn->limits->n];

	if (turns_reserve(t))
		return -ENOMEM;
	t->n_entries++;
	conn->limits->n++;
	*e = (struct limit_entry){.conn = conn, .turns = t, .tail = &e->head};
	return 0;
}

int limits_join(struct conn *conn)
{
	struct reactor_limits *local = &conn->reactor->limits;
	unsigned int i, n = 0;
	int ret = 0;

	for (i = 0; i < local->n_turns; i++)
		n += limit_matches(local->turns[i].limit, conn->queue);
	if (!n)
		return 0;
	conn->limits = calloc(1, sizeof(*conn->limits) + n * sizeof(struct limit_entry));
	if (!conn->limits)
		return -ENOMEM;
	for (i = 0; i < local->n_turns && !ret; i++)
		if (limit_matches(local->turns[i].limit, conn->queue))
			ret = entry_add(conn, &local->turns[i]);
	if (ret)
		limits_leave(conn);
	/* From now on one buffer at a time. */
	conn_recv_again(conn);
	return ret;
}

void limits_leave(struct conn *conn)
{
	unsigned int i;

	for (i = 0; conn->limits && i < conn->limits->n; i++) {
		struct limit_entry *e = &conn->limits->entries[i];

		while (e->head)
			line_remove(e, e->head);
		e->turns->n_entries--;
	}
	free(conn->limits);
	conn->limits = NULL;
}

/* ---- other limits ---- */

/* Takes all out that wait, as one list in the order of their lines. */
static struct command *unthrottle(struct conn *conn)
{
	struct command *all = NULL, **tail = &all, *cmd;
	unsigned int i;

	for (i = 0; conn->limits && i < conn->limits->n; i++)
		while ((cmd = conn->limits->entries[i].head)) {
			line_remove(&conn->limits->entries[i], cmd);
			cmd->next = NULL;
			*tail = cmd;
			tail = &cmd->next;
		}
	return all;
}

/* Commands that were admitted before stay so; those whose capsule is still coming, and those in line, are not. */
static void admit_running(struct conn *conn)
{
	unsigned int i;

	for (i = 0; i < conn->n_commands; i++) {
		struct command *cmd = conn_command(conn, i);

		if (cmd->state != COMMAND_FREE && cmd->state != COMMAND_CAPSULE && cmd->state != COMMAND_LIMITED)
			cmd->is_admitted = true;
	}
}

static void conn_switch(struct conn *conn)
{
	struct command *all = unthrottle(conn), *next;

	admit_running(conn);
	limits_leave(conn);
	if (limits_join(conn)) {
		conn_close(conn, "no memory for its limits");
		return;
	}
	for (; all && conn->state == CONN_LIVE; all = next) {
		next = all->next;
		all->limits_passed = 0;
		command_proceed(all);
	}
}

void limits_switch(struct reactor *r, struct limit_table *table)
{
	unsigned int i;

	/* Before any connection leaves the old ones: those it joins must all be new. */
	r->limits.turns = table->turns[r->index];
	r->limits.n_turns = table->n;
	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		if (r->conns[i] && r->conns[i]->state == CONN_LIVE && r->conns[i]->qid)
			conn_switch(r->conns[i]);
	/* Old lines that became empty have said so in meters that both tables share. */
	for (i = 0; i < table->n; i++)
		publish(r, &r->limits.turns[i]);
	if (r->limits.wake_ns != LIMIT_NEVER)
		r->limits.wake_ns = r->now_ns;
}
