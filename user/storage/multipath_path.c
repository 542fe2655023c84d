// SPDX-License-Identifier: Apache-2.0
/*
 * One path's thread: it connects the admin queue, compares what it finds with what is known, and then waits for events,
 * keep-alives and the reports of lanes; when the connection is lost it connects again. Called by multipath.c, which
 * starts it; lanes take the controller for as long as they open a queue, which is what `users` counts.
 *
 * What always holds: only this thread touches the admin queue; p->i is set while the state is PATH_LIVE, and is
 * released only after no lane uses it.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "storage/multipath_private.h"

#define ANA_REREAD_NS (500 * 1000000ull) /* of a state that is expected to change; there may be no event for it */
#define ANA_LOG_MAX   (1u << 20)
#define LOG_PIECE     4096u
#define EVENT_NS      0x00 /* Asynchronous Event Information of notices */
#define EVENT_ANA     0x03
#define EVENT_NOTICE  2

static bool stopped(const struct path *p)
{
	return __atomic_load_n(&p->m->stop, __ATOMIC_ACQUIRE);
}

/* ---- ANA ---- */

/* At least `need` bytes of the log, the first reading's last piece included, into p->log. */
static int read_log(struct path *p, struct initiator *i, size_t from, size_t need, struct error *err)
{
	size_t end = (need + LOG_PIECE - 1) / LOG_PIECE * LOG_PIECE;
	uint8_t *more;
	int r = 0;

	if (end > ANA_LOG_MAX)
		return error_set(err, EPROTO, "%s: the ANA log has more than %u bytes", p->options.addr.text,
				 ANA_LOG_MAX);
	if (end > p->log_size) {
		more = realloc(p->log, end);
		if (!more)
			return error_set(err, ENOMEM, "%s: no memory for the ANA log", p->options.addr.text);
		p->log = more;
		p->log_size = end;
	}
	for (size_t at = from; at < end && !r; at += LOG_PIECE)
		r = initiator_log(i, NVME_LID_ANA, at, p->log + at, LOG_PIECE, err);
	return r;
}

/* One namespace's state, reading on as far as it takes. */
static int find_state(struct path *p, struct initiator *i, size_t *have, uint32_t nsid, uint8_t *ret_state,
		      struct error *err)
{
	size_t need;
	int r;

	for (;;) {
		r = nvme_ana_find(p->log, *have, nsid, ret_state, &need);
		if (r == -ENOENT) { /* of no group: what a controller without ANA would say */
			*ret_state = NVME_ANA_OPTIMIZED;
			return 0;
		}
		if (r == -EPROTO)
			return error_set(err, EPROTO, "%s: the ANA log contradicts itself", p->options.addr.text);
		if (!r)
			return 0;
		r = read_log(p, i, *have, need, err);
		if (r)
			return r;
		*have = (need + LOG_PIECE - 1) / LOG_PIECE * LOG_PIECE;
	}
}

static bool settled(uint8_t state)
{
	return state != NVME_ANA_CHANGE && state != ANA_STALE;
}

static int read_ana(struct path *p, struct initiator *i, struct error *err)
{
	const struct multipath_options *o = &p->m->options;
	bool ana = initiator_controller(i)->ana, changed = false, changing = false;
	uint8_t state = NVME_ANA_OPTIMIZED;
	size_t have = 0;
	int r;

	p->ana_read_ns = time_now_ns();
	p->ana_unsettled = false;
	for (unsigned int k = 0; k < o->n_nsids; k++) {
		r = ana ? find_state(p, i, &have, o->nsids[k], &state, err) : 0;
		if (r)
			return r;
		p->ana_unsettled |= !settled(state);
		changing |= state == NVME_ANA_CHANGE;
		changed |= __atomic_exchange_n(&p->ana[k], state, __ATOMIC_RELAXED) != state;
	}
	p->change_ns = !changing ? 0 : p->change_ns ? p->change_ns : p->ana_read_ns;
	if (changed) {
		pthread_mutex_lock(&p->m->lock);
		multipath_changed(p->m);
		pthread_mutex_unlock(&p->m->lock);
	}
	return 0;
}

/*
 * Whether a change of state takes longer than the controller says (ANATT; Base 2.0, section 8.1): then something is
 * wrong with it, and it is connected again. Commands take another path in any case.
 */
static int check_transition(struct path *p, struct error *err)
{
	unsigned int anatt = initiator_controller(p->i)->anatt;

	if (!p->change_ns || !anatt || time_now_ns() - p->change_ns <= anatt * NSEC_PER_SEC)
		return 0;
	pthread_mutex_lock(&p->m->lock);
	p->ana_timeouts++;
	pthread_mutex_unlock(&p->m->lock);
	return error_set(err, ETIMEDOUT,
			 "%s: a namespace's ANA state is `change` for longer than %u s, the most that the controller "
			 "says it takes",
			 p->options.addr.text, anatt);
}

/* ---- connecting ---- */

static int identify(struct path *p, struct initiator *i, struct error *err)
{
	const struct multipath_options *o = &p->m->options;
	const char *subnqn = initiator_controller(i)->subnqn;
	_cleanup_free_ struct identity *found = calloc(MULTIPATH_NAMESPACES, sizeof(*found));
	int r = 0;

	if (!found)
		return error_set(err, ENOMEM, "%s: no memory for identities", p->options.addr.text);
	if (*subnqn && strcmp(subnqn, p->options.subnqn))
		return error_set(err, ESTALE, "%s: the subsystem there is %s, not %s; check which target listens there",
				 p->options.addr.text, subnqn, p->options.subnqn);
	for (unsigned int k = 0; k < o->n_nsids && !r; k++) {
		r = initiator_namespace(i, o->nsids[k], &found[k].view, err);
		if (!r)
			r = initiator_namespace_uuid(i, o->nsids[k], found[k].uuid, err);
		if (r == -ENOENT && found[k].view.blocks) /* there, but without a UUID */
			r = 0;
	}
	return r ? r : multipath_identify(p->m, p->options.addr.text, found, initiator_max_transfer(i), err);
}

static int read_limits(struct path *p, struct initiator *i, struct error *err)
{
	struct nvme_dsm_limits dsm;
	int r;

	if (!initiator_controller(i)->dsm)
		return 0;
	r = initiator_dsm_limits(i, &dsm, err);
	if (!r)
		multipath_limit(p->m, &dsm);
	return r;
}

static void arm_event(struct path *p, struct initiator *i)
{
	p->event = (struct initiator_io){.sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, 0, 0, 0, 0)};
	p->event_armed = !initiator_queue_submit(initiator_admin(i), &p->event);
}

static int prepare(struct path *p, struct initiator *i, struct error *err)
{
	uint32_t events = initiator_controller(i)->oaes & (NVME_OAES_NS_ATTR | NVME_OAES_ANA);
	unsigned int granted;
	int r = initiator_queue_notify(initiator_admin(i), p->wake, err);

	if (!r)
		r = initiator_set_queues(i, p->m->options.queues, &granted, err);
	if (!r)
		r = identify(p, i, err);
	if (!r)
		r = read_limits(p, i, err);
	if (!r && events)
		r = initiator_set_events(i, events, err);
	if (!r && events)
		arm_event(p, i);
	return r ? r : read_ana(p, i, err);
}

/* One attempt, and whether the path is live then. */
static bool attempt(struct path *p)
{
	struct multipath *m = p->m;
	struct initiator *i = NULL;
	struct error err = {0};
	int r;

	p->event_armed = false;
	p->change_ns = 0;
	r = initiator_open(&p->options, &i, &err);
	if (!r)
		r = prepare(p, i, &err);
	if (r)
		initiator_drop(i);
	pthread_mutex_lock(&m->lock);
	if (r) {
		p->why = err;
		p->why_errno = -r;
		if (r == -ESTALE || (p->tried && !m->options.ctrl_loss_ms))
			p->state = PATH_LOST;
	} else {
		p->why_errno = 0;
		p->why = (struct error){0};
		p->i = i;
		p->failed = p->unusable = false;
		p->live_ns = time_now_ns();
		__atomic_store_n(&m->patience_ms, max(m->patience_ms, initiator_controller(i)->anatt * 1000u),
				 __ATOMIC_RELAXED);
		p->reconnects += p->generation > 0;
		p->generation++;
		p->state = PATH_LIVE;
	}
	p->tried = true;
	multipath_changed(m);
	pthread_mutex_unlock(&m->lock);
	return !r;
}

/* ---- while it is away ---- */

/* Until then, a report, or the end. */
static void pause_until(struct path *p, uint64_t until)
{
	struct pollfd fd = {.fd = p->wake, .events = POLLIN};
	uint64_t now = time_now_ns();
	eventfd_t ignored;

	while (now < until && !stopped(p)) {
		if (poll(&fd, 1, (int)((until - now) / 1000000) + 1) > 0)
			eventfd_read(p->wake, &ignored);
		now = time_now_ns();
	}
}

uint64_t path_pause_ns(uint32_t first_ms, unsigned int attempts, uint32_t random)
{
	uint64_t ms = first_ms, most = max(ms, (uint64_t)MULTIPATH_DELAY_MAX_MS);

	for (unsigned int k = 0; k < attempts && ms < most; k++)
		ms *= 2;
	ms = min(ms, most);
	return ms * 750000 + (ms * random >> 32) * 500000;
}

static uint64_t pause_ns(const struct path *p)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = 1u << 31; /* the middle; before the kernel has any randomness */
	return path_pause_ns(p->m->options.reconnect_delay_ms, p->attempts, random);
}

static void give_up(struct path *p)
{
	struct multipath *m = p->m;

	pthread_mutex_lock(&m->lock);
	p->state = PATH_LOST;
	multipath_changed(m);
	pthread_mutex_unlock(&m->lock);
}

/* Pauses and tries, until it is live again, given up, or the end. */
static void reconnect(struct path *p)
{
	uint64_t end = p->lost_ns + p->m->options.ctrl_loss_ms * 1000000ull;

	while (p->state == PATH_CONNECTING && !stopped(p)) {
		pause_until(p, min(time_now_ns() + pause_ns(p), end));
		p->attempts++;
		if (stopped(p) || attempt(p))
			return;
		if (p->state == PATH_CONNECTING && time_now_ns() >= end)
			give_up(p);
	}
}

/* ---- while it is live ---- */

/*
 * Whether it may be tried again. One that has just come back, and had no queue for a lane, is away for as long as
 * before; lanes ask for queues at once, and know after a timeout.
 */
static bool may_return(struct path *p)
{
	const struct multipath_options *o = &p->m->options;
	uint64_t now = time_now_ns(), new_ns = ((uint64_t)o->target.timeout_ms + MULTIPATH_DELAY_MAX_MS) * 1000000;

	if (!p->unusable || now - p->live_ns > new_ns) {
		p->lost_ns = now;
		p->attempts = 0;
	}
	return p->why_errno != ESTALE && now - p->lost_ns < o->ctrl_loss_ms * 1000000ull;
}

/* Takes the connection down, once no lane opens a queue of it any more. */
static void lose(struct path *p, int errnum, const struct error *why)
{
	struct multipath *m = p->m;
	struct initiator *i;

	pthread_mutex_lock(&m->lock);
	i = TAKE_PTR(p->i);
	if (!p->failed) { /* else a lane has said why */
		p->why = *why;
		p->why_errno = errnum;
	}
	p->state = may_return(p) ? PATH_CONNECTING : PATH_LOST;
	multipath_changed(m);
	while (p->users)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
	initiator_drop(i);
}

/* Something changed at the controller: reads what it names, which lets it tell the next. */
static int handle_event(struct path *p, struct error *err)
{
	uint8_t type = p->event.result & 7, what = p->event.result >> 8 & 0xff, lid = p->event.result >> 16 & 0xff;
	uint8_t page[LOG_PIECE] __attribute__((aligned(8)));
	int r = 0;

	p->event_armed = false;
	if (p->event.error || p->event.status)
		return 0; /* it takes no such requests; the state is read again when a command asks for it */
	if (type == EVENT_NOTICE && what == EVENT_ANA) {
		r = read_ana(p, p->i, err);
	} else if (type == EVENT_NOTICE && what == EVENT_NS) {
		r = initiator_log(p->i, lid, 0, page, sizeof(page), err);
		if (!r)
			r = identify(p, p->i, err);
		if (!r)
			r = read_ana(p, p->i, err);
	}
	if (!r)
		arm_event(p, p->i);
	return r;
}

/* A report of a lane, if there is one. */
static int check_report(struct path *p, bool *ret_stale)
{
	bool failed;

	pthread_mutex_lock(&p->m->lock);
	failed = p->failed;
	pthread_mutex_unlock(&p->m->lock);
	for (unsigned int k = 0; k < p->m->options.n_nsids; k++)
		*ret_stale |= path_ana(p, k) == ANA_STALE;
	return failed ? -ENOTCONN : 0;
}

/* One round: what has arrived, what is due, what lanes say. */
static int attend(struct path *p, struct error *err)
{
	struct pollfd fd = {.fd = p->wake, .events = POLLIN};
	bool unsettled = p->ana_unsettled;
	eventfd_t ignored;
	int r;

	eventfd_read(p->wake, &ignored); /* what is said from here on is not missed */
	do
		r = initiator_queue_poll(initiator_admin(p->i), false, err);
	while (!r && !initiator_queue_armed(initiator_admin(p->i)));
	if (!r && p->event_armed && p->event.finished)
		return handle_event(p, err);
	if (!r)
		r = initiator_tend(p->i, err);
	if (!r)
		r = check_report(p, &unsettled);
	if (!r && unsettled && time_now_ns() - p->ana_read_ns >= ANA_REREAD_NS)
		r = read_ana(p, p->i, err);
	if (!r)
		r = check_transition(p, err);
	if (r)
		return r;
	path_send_aborts(p);
	if (!initiator_queue_armed(initiator_admin(p->i)))
		return 0; /* a command went by meanwhile */
	poll(&fd, 1, -1); /* the queue's own clock ends it after 100 ms */
	return 0;
}

void *path_main(void *arg)
{
	struct path *p = arg;
	struct error err = {0};
	int r;

	p->lost_ns = time_now_ns();
	attempt(p);
	while (!stopped(p) && p->state != PATH_LOST) {
		if (p->state == PATH_CONNECTING) {
			reconnect(p);
			continue;
		}
		r = attend(p, &err);
		if (r)
			lose(p, -r, &err);
	}
	initiator_close(p->i);
	return NULL;
}

/* ---- for lanes ---- */

struct initiator *path_take(struct path *p, unsigned int *ret_generation)
{
	struct initiator *i;

	pthread_mutex_lock(&p->m->lock);
	i = p->state == PATH_LIVE && !p->failed ? p->i : NULL;
	if (i)
		p->users++;
	*ret_generation = p->generation;
	pthread_mutex_unlock(&p->m->lock);
	return i;
}

void path_give(struct path *p)
{
	pthread_mutex_lock(&p->m->lock);
	p->users--;
	pthread_cond_broadcast(&p->m->changed);
	pthread_mutex_unlock(&p->m->lock);
}

void path_report(struct path *p, unsigned int generation, bool unusable, int errnum, const struct error *why)
{
	pthread_mutex_lock(&p->m->lock);
	if (p->state == PATH_LIVE && p->generation == generation && !p->failed) {
		p->failed = true;
		p->unusable = unusable;
		p->why = *why;
		p->why_errno = errnum;
		eventfd_write(p->wake, 1);
	}
	pthread_mutex_unlock(&p->m->lock);
}

void path_stale(struct path *p, unsigned int ns)
{
	if (__atomic_exchange_n(&p->ana[ns], ANA_STALE, __ATOMIC_RELAXED) != ANA_STALE)
		eventfd_write(p->wake, 1);
}
