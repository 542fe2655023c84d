// SPDX-License-Identifier: Apache-2.0
/*
 * One thread, one CPU, one ring: accepts, receives, serves, sends. A turn takes all completions there are, then
 * settles: commands that waited, connections that were blocked, then one flush a connection, so that all answers of a
 * turn leave together. With nothing to do the thread sleeps in the kernel; with no connections it has no timer either.
 *
 * target.c starts reactors and wakes them through an eventfd; nothing else is shared while they run.
 */
#include "storage/reactor.h"

#include "storage/reservations.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

#define RING_ENTRIES 1024
#define RING_FILES   (REACTOR_MAX_CONNS + 512)
#define RX_GROUP     1
#define GAP_MAX_NS   (1000 * 1000)

/* ---- I/O slots ---- */

bool reactor_io_take(struct reactor *r, struct command *cmd)
{
	uint16_t slot;

	if (!r->n_free_ios)
		return false;
	slot = r->free_ios[--r->n_free_ios];
	r->ios[slot] = cmd;
	cmd->io_slot = slot;
	cmd->io.ring = &r->ring;
	cmd->io.token = (struct token){.op = REACTOR_OP_IO, .slot = slot, .gen = ++r->io_gens[slot]};
	cmd->io.file = &r->namespaces[cmd->ns->index].file;
	cmd->conn->backend_ios++;
	return true;
}

void reactor_io_give(struct reactor *r, struct command *cmd)
{
	r->ios[cmd->io_slot] = NULL;
	r->free_ios[r->n_free_ios++] = cmd->io_slot;
	cmd->io.ring = NULL;
	r->pool.given = true; /* somebody may wait for it */
	cmd->conn->backend_ios--;
	conn_mark(cmd->conn);
}

/*
 * What is submitted together reaches the device together, when the kernel has prepared the last of it. So a device that has
 * nothing to do gets the first operation at once, and then twice as many each time.
 */
void reactor_io_queued(struct reactor *r)
{
	unsigned int under_way = r->n_operations++ - r->n_unsubmitted++;

	if (r->n_unsubmitted < under_way)
		return;
	ring_submit(&r->ring);
	r->n_unsubmitted = 0;
}

/* ---- namespaces that come and go ---- */

/* The first backend that does I/O through the ring wants it; where locked memory is limited it is refused for good. */
static void register_pool(struct reactor *r)
{
	struct iovec pool = {.iov_base = r->pool.memory, .iov_len = r->pool.len};

	if (!r->pool_tried)
		r->pool_registered = !io_uring_register_buffers(&r->ring.uring, &pool, 1);
	r->pool_tried = true;
}

void reactor_namespace_add(struct reactor *r, const struct namespace *ns)
{
	struct reactor_namespace *local = &r->namespaces[ns->index];

	memset(local, 0, sizeof(*local));
	local->file = (struct ring_file){.fd = -1, .index = -1};
	if (!ns->backend->ops->descriptor)
		return;
	ring_file_add(&r->ring, ns->backend->ops->descriptor(ns->backend), &local->file);
	register_pool(r);
}

void reactor_namespace_remove(struct reactor *r, const struct namespace *ns)
{
	ring_file_remove(&r->ring, &r->namespaces[ns->index].file);
}

static bool is_used(const struct reactor *r, const struct namespace *ns)
{
	unsigned int i, k;

	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		for (k = 0; r->conns[i] && k < r->conns[i]->n_commands; k++) {
			const struct command *cmd = conn_command(r->conns[i], k);

			if (cmd->state != COMMAND_FREE && cmd->ns == ns)
				return true;
		}
	return false;
}

void reactor_retire(struct reactor *r)
{
	struct retiring **link = &r->retiring, *one;
	bool any = false;

	while ((one = *link)) {
		if (is_used(r, one->ns)) {
			link = &one->next;
			continue;
		}
		__atomic_store_n(link, one->next, __ATOMIC_RELAXED); /* drain() looks whether there is one */
		if (one->whole)
			reactor_namespace_remove(r, one->ns);
		namespace_put(one->ns);
		free(one);
		any = true;
	}
	if (!any)
		return;
	pthread_mutex_lock(&r->target->mutex);
	pthread_cond_broadcast(&r->target->changed);
	pthread_mutex_unlock(&r->target->mutex);
}

/* ---- commands that have their blocks now ---- */

static void run_grant(struct reactor *r, struct reactor_call *call)
{
	io_granted((struct command *)((char *)call - offsetof(struct command, grant)));
}

void reactor_grant(struct reactor *r, struct command *cmd, struct reactor *by)
{
	if (r != by) {
		cmd->grant.run = run_grant;
		reactor_post(r, &cmd->grant);
		return;
	}
	cmd->next = NULL;
	*r->granted.tail = cmd;
	r->granted.tail = &cmd->next;
}

static void run_granted(struct reactor *r)
{
	struct command *cmd;

	while ((cmd = r->granted.head)) {
		r->granted.head = cmd->next;
		if (!cmd->next)
			r->granted.tail = &r->granted.head;
		io_granted(cmd);
	}
}

/* ---- completions ---- */

void reactor_wake(struct reactor *r)
{
	const uint64_t one = 1;

	if (write(r->wake_fd, &one, sizeof(one)) < 0)
		log_error("target", "reactor %u: cannot be woken: %s", r->index, strerror(errno));
}

/* Every call exactly once, in the order of posting. */
static void run_calls(struct reactor *r)
{
	struct reactor_call *latest = __atomic_exchange_n(&r->calls, NULL, __ATOMIC_ACQ_REL), *first = NULL, *next;

	for (; latest; latest = next) {
		next = latest->next;
		latest->next = first;
		first = latest;
	}
	for (; first; first = next) {
		next = first->next;
		first->run(r, first);
	}
}

void reactor_post(struct reactor *r, struct reactor_call *call)
{
	call->next = __atomic_load_n(&r->calls, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&r->calls, &call->next, call, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	if (atomic_load(&r->gone))
		run_calls(r);
	else
		reactor_wake(r);
}

static void wake_arm(struct reactor *r)
{
	struct io_uring_sqe *sqe = ring_sqe(&r->ring);

	io_uring_prep_read(sqe, r->wake_fd, &r->wake_value, sizeof(r->wake_value), 0);
	ring_push(sqe, (struct token){.op = REACTOR_OP_WAKE});
}

static void accept_arm(struct reactor *r, unsigned int portal)
{
	ring_accept(&r->ring, &r->listener_files[portal], (struct token){.op = REACTOR_OP_ACCEPT, .slot = portal});
}

static void accept_done(struct reactor *r, const struct ring_completion *done)
{
	if (done->result >= 0 && r->stopping)
		close(done->result);
	else if (done->result >= 0)
		conn_open(r, &r->target->portals[done->token.slot], done->result);
	else if (!r->stopping && done->result != -ECONNABORTED && done->result != -EINTR)
		log_error("target", "reactor %u: accept: %s", r->index, strerror(-done->result));
	if (ring_more(done) || r->stopping)
		return;
	/* Out of descriptors or memory it would fail again at once: then the next tick arms it. */
	if (done->result == -EMFILE || done->result == -ENFILE || done->result == -ENOMEM)
		r->listeners_off |= 1u << done->token.slot;
	else
		accept_arm(r, done->token.slot);
}

static void tick(struct reactor *r)
{
	unsigned int i;

	r->tick_ns = r->now_ns;
	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		if (r->conns[i])
			conn_tick(r->conns[i]);
	for (i = 0; r->listeners_off && i < r->target->n_portals; i++)
		if (r->listeners_off & 1u << i && !r->stopping)
			accept_arm(r, i);
	r->listeners_off = 0;
	if (r->retiring)
		reactor_retire(r);
	generated_keys_expire(&r->target->generated, r->now_ns);
}

static void stop(struct reactor *r)
{
	unsigned int i;

	r->stopping = true;
	for (i = 0; i < r->target->n_portals; i++)
		ring_cancel(&r->ring, (struct token){.op = REACTOR_OP_ACCEPT, .slot = i});
	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		if (r->conns[i])
			conn_mark(r->conns[i]);
}

/* Calls come to a reactor that stops, too: that blocks are free, which its last commands may wait for. */
static void wake_done(struct reactor *r)
{
	run_calls(r);
	wake_arm(r);
	if (atomic_load(&r->target->stopping) && !r->stopping)
		stop(r);
	tick(r); /* connections of dead controllers */
}

static struct conn *conn_of(struct reactor *r, struct token t)
{
	struct conn *c = r->conns[t.slot];

	return c && c->gen == t.gen ? c : NULL;
}

static void dispatch(struct reactor *r, const struct ring_completion *done)
{
	struct conn *c;

	switch ((enum reactor_op)done->token.op) {
	case REACTOR_OP_WAKE:
		wake_done(r);
		return;
	case REACTOR_OP_ACCEPT:
		accept_done(r, done);
		return;
	case REACTOR_OP_RECV:
		c = conn_of(r, done->token);
		if (c)
			conn_recv_done(c, done);
		return;
	case REACTOR_OP_SEND:
		c = conn_of(r, done->token);
		if (c)
			conn_send_done(c, done->result);
		return;
	case REACTOR_OP_IO:
		if (r->ios[done->token.slot] && r->io_gens[done->token.slot] == done->token.gen)
			command_io_done(r->ios[done->token.slot], done->result);
		return;
	}
	log_error("target", "reactor %u: a completion of nothing (operation %u)", r->index, done->token.op);
}

/* ---- turns ---- */

/*
 * Connections with commands that wait take turns, one command each, for as long as any of them gets on. Those that do
 * not stay ahead of those that did.
 */
static void retry_waiting(struct reactor *r)
{
	struct conn *stuck = NULL, **stuck_tail = &stuck, *c;

	while ((c = r->waiting)) {
		r->waiting = c->next_waiting;
		if (!r->waiting)
			r->waiting_tail = &r->waiting;
		c->next_waiting = NULL;
		if (!conn_retry(c)) {
			*stuck_tail = c;
			stuck_tail = &c->next_waiting;
		} else if (c->waiting) {
			*r->waiting_tail = c;
			r->waiting_tail = &c->next_waiting;
		} else {
			c->is_waiting = false;
		}
	}
	r->waiting = stuck;
	r->waiting_tail = stuck ? stuck_tail : &r->waiting;
}

static void retry_blocked(struct reactor *r)
{
	struct conn *c = r->blocked, *next;

	r->blocked = NULL;
	for (; c; c = next) {
		next = c->next_blocked;
		c->is_blocked = false;
		conn_resume(c);
	}
}

static bool limits_due(const struct reactor *r)
{
	return r->limits.wake_ns != LIMIT_NEVER && (r->limits.wake_ns <= r->now_ns || r->stopping);
}

static void settle(struct reactor *r)
{
	struct conn *c;

	do {
		r->pool.given = false;
		run_granted(r);
		if (limits_due(r))
			limits_serve(r);
		retry_waiting(r);
		if (r->blocked)
			retry_blocked(r);
		if (r->dirty)
			r->now_ns = time_now_ns(); /* latency ends with the flush */
		while ((c = r->dirty)) {
			r->dirty = c->next_dirty;
			conn_settle(c);
		}
		if (r->preempting)
			reservation_settle(r);
		/* A connection that went has left buffers to those that wait. */
	} while ((r->pool.given && (r->waiting || r->blocked)) || r->granted.head || limits_due(r));
}

/*
 * Sleeping and being woken costs more than many waits last. So a reactor whose work has lately come at short intervals
 * looks for more for a while before it sleeps; one with nothing to do, or with rare work, sleeps at once. Whose turn
 * comes under a limit is no completion: the clock says so.
 */
static bool spin(struct reactor *r)
{
	uint64_t limit_ns = r->target->options.spin_us * 1000ull;

	return r->gap_ns <= limit_ns && ring_spin(&r->ring, min(r->busy_ns + limit_ns, r->limits.wake_ns));
}

/* Submits, and waits only if submitting has completed nothing. */
static int collect(struct reactor *r)
{
	int64_t timeout = -1;

	r->n_unsubmitted = 0;
	if (ring_queued(&r->ring)) {
		int ret = ring_poll(&r->ring);

		if (ret || io_uring_cq_ready(&r->ring.uring))
			return ret;
	}
	if (spin(r))
		return ring_poll(&r->ring);
	if (r->n_conns || r->stopping || r->listeners_off || generated_keys_wait(&r->target->generated))
		timeout = REACTOR_TICK_NS;
	if (r->limits.wake_ns != LIMIT_NEVER) {
		uint64_t now = time_now_ns();

		if (r->limits.wake_ns <= now)
			return ring_poll(&r->ring);
		timeout = min((uint64_t)timeout, r->limits.wake_ns - now);
	}
	stats_add(&r->sleeps, 1);
	return ring_wait(&r->ring, timeout);
}

/* A turn had work: moves the usual interval an eighth of the way. Sends that complete at once are part of their turn.
 */
static void worked(struct reactor *r, uint64_t began_ns)
{
	/* Bounded, so that a reactor that was idle for long is soon itself again. */
	uint64_t gap = min(began_ns - r->busy_ns, (uint64_t)GAP_MAX_NS);

	r->gap_ns += ((int64_t)gap - (int64_t)r->gap_ns) / 8;
	r->busy_ns = r->now_ns;
	stats_add(&r->turns, 1);
}

static void cpu_time(struct reactor *r)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	__atomic_store_n(&r->cpu_ns, ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec, __ATOMIC_RELAXED);
}

static bool finished(struct reactor *r)
{
	unsigned int i;

	if (!r->stopping)
		return false;
	if (r->now_ns > r->target->drain_until_ns)
		for (i = 0; i < REACTOR_MAX_CONNS; i++)
			if (r->conns[i])
				conn_close(r->conns[i], "the target stops");
	return !r->n_conns;
}

static int serve(struct reactor *r)
{
	struct ring_completion done;
	uint64_t began_ns;
	bool any;
	int ret;

	while (!finished(r)) {
		began_ns = r->now_ns;
		for (any = false; ring_next(&r->ring, &done); any = true)
			dispatch(r, &done);
		if (r->now_ns - r->tick_ns >= REACTOR_TICK_NS) {
			tick(r);
			cpu_time(r);
		}
		settle(r);
		if (any)
			worked(r, began_ns);
		ret = collect(r);
		if (ret)
			return ret;
		r->now_ns = time_now_ns();
	}
	return 0;
}

/* ---- start ---- */

static void tables_init(struct reactor *r)
{
	unsigned int i;

	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		r->free_conns[i] = REACTOR_MAX_CONNS - 1 - i;
	for (i = 0; i < REACTOR_MAX_IOS; i++)
		r->free_ios[i] = REACTOR_MAX_IOS - 1 - i;
	r->n_free_conns = REACTOR_MAX_CONNS;
	r->n_free_ios = REACTOR_MAX_IOS;
	r->granted.tail = &r->granted.head;
	r->waiting_tail = &r->waiting;
}

static void register_backends(struct reactor *r)
{
	struct target *t = r->target;
	unsigned int i, n;

	for (i = 0; i < t->n_subsystems; i++) {
		const struct subsystem_state *state = subsystem_now(t->subsystems[i]);

		for (n = 0; n < state->n_namespaces; n++)
			reactor_namespace_add(r, state->namespaces[n]);
	}
}

static int open_all(struct reactor *r)
{
	const struct target_options *options = &r->target->options;
	const struct ring_options ring = {
		.entries = options->ring_entries ? options->ring_entries : RING_ENTRIES,
		.files = RING_FILES,
		.without = options->ring_without};
	unsigned int rx_buffers = options->rx_buffers ? options->rx_buffers : REACTOR_RX_COUNT;
	cpu_set_t set;
	unsigned int i;
	int ret;

	CPU_ZERO(&set);
	CPU_SET(r->cpu, &set);
	ret = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	if (ret)
		return error_system(&r->error, ret, "reactor %u: CPU %u is not allowed to this process; see `reactors`",
				    r->index, r->cpu);
	ret = ring_open(&r->ring, &ring, &r->error);
	if (!ret)
		ret = ring_buffers_open(&r->ring, RX_GROUP, rx_buffers, REACTOR_RX_SIZE, &r->error, &r->rx);
	if (ret)
		return ret;
	ret = buffer_pool_open(r->target->transport.in_capsule, max(options->pool_part, 1u), &r->pool);
	if (ret)
		return error_system(&r->error, -ret, "reactor %u: data buffers", r->index);
	tables_init(r);
	register_backends(r);
	r->limits.wake_ns = LIMIT_NEVER;
	limits_switch(r, r->target->limits);
	r->now_ns = r->tick_ns = r->busy_ns = time_now_ns();
	r->gap_ns = GAP_MAX_NS;
	wake_arm(r);
	for (i = 0; i < r->target->n_portals; i++) {
		ring_file_add(&r->ring, r->listeners[i], &r->listener_files[i]);
		accept_arm(r, i);
	}
	return 0;
}

static void close_all(struct reactor *r)
{
	ring_buffers_close(&r->rx);
	ring_close(&r->ring);
	buffer_pool_close(&r->pool);
}

static void *reactor_thread(void *arg)
{
	struct reactor *r = arg;
	struct target *t = r->target;
	int ret = open_all(r);

	pthread_mutex_lock(&t->mutex);
	r->started = !ret;
	t->n_started++;
	pthread_cond_signal(&t->started);
	pthread_mutex_unlock(&t->mutex);
	if (!ret) {
		ret = serve(r);
		if (ret)
			log_error("target", "reactor %u: its ring failed: %s", r->index, strerror(-ret));
	}
	atomic_store(&r->gone, true);
	run_calls(r);
	close_all(r);
	return NULL;
}

int reactor_start(struct reactor *r, struct error *err)
{
	struct target *t = r->target;
	unsigned int before = t->n_started;
	int ret;

	r->wake_fd = eventfd(0, EFD_CLOEXEC); /* blocking: a ring reads it */
	if (r->wake_fd < 0)
		return error_system(err, errno, "reactor %u: eventfd", r->index);
	ret = pthread_create(&r->thread, NULL, reactor_thread, r);
	if (ret)
		return error_system(err, ret, "reactor %u: thread", r->index);
	pthread_mutex_lock(&t->mutex);
	while (t->n_started == before)
		pthread_cond_wait(&t->started, &t->mutex);
	pthread_mutex_unlock(&t->mutex);
	if (r->started)
		return 0;
	pthread_join(r->thread, NULL);
	if (err)
		*err = r->error;
	return -EIO;
}
