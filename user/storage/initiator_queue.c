// SPDX-License-Identifier: Apache-2.0
/*
 * The life of an initiator's queue: TCP connection, ICReq and ICResp, commands in their slots, timeouts, failure, end.
 * Called by initiator_admin.c and by whoever drives I/O. Sending and receiving are in initiator_tx.c and
 * initiator_rx.c.
 *
 * What always holds: a slot with an io is a command of the caller's that has not been handed back; its buffer is
 * handed back only when no operation of the ring can touch it any more; q->state goes to QUEUE_DEAD in queue_fail()
 * alone, and the commands of a dead queue are handed back by bring_down() alone, after the ring is quiet.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "base/util.h"
#include "storage/initiator_internal.h"
#include "storage/initiator_private.h"

#define TICK_MS 100

/* ---- failure ---- */

int queue_fail(struct initiator_queue *q, int errnum, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	if (q->state == QUEUE_DEAD)
		return -errnum;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	q->state = QUEUE_DEAD;
	q->fault_errno = errnum;
	return error_set(&q->fault, errnum, "%s: %s", q->place, text);
}

static void fail_io(struct initiator_queue *q, uint16_t slot)
{
	struct initiator_io *io = q->slots[slot].io;

	q->slots[slot].io = NULL;
	q->free_slots[q->n_free++] = slot;
	io->error = -q->fault_errno;
	io->lost = true;
	io->finished_ns = q->now_ns;
	io->finished = true;
	if (io->done)
		io->done(io);
}

static int dispatch(struct initiator_queue *q);

/* Quiets the ring, so that no buffer is touched any more, then hands every command back. */
static void bring_down(struct initiator_queue *q)
{
	shutdown(q->fd, SHUT_RDWR);
	if (q->connecting)
		ring_cancel(&q->ring, (struct token){.op = OP_CONNECT});
	if (q->rx.busy)
		ring_cancel(&q->ring, (struct token){.op = OP_RECV});
	if (q->tx.busy)
		ring_cancel(&q->ring, (struct token){.op = OP_SEND});
	while ((q->connecting || q->rx.busy || q->tx.busy) && !ring_wait(&q->ring, -1)) {
		tx_submitted(q);
		dispatch(q);
	}
	for (unsigned int slot = 0; slot < q->depth; slot++) {
		struct slot *s = &q->slots[slot];

		s->tx_refs = 0;
		if (s->io && s->responded)
			queue_finish(q, (uint16_t)slot); /* the answer had come; only its last bytes were on the way */
		else if (s->io)
			fail_io(q, (uint16_t)slot);
	}
}

/* ---- commands ---- */

void queue_finish(struct initiator_queue *q, uint16_t slot)
{
	struct slot *s = &q->slots[slot];
	struct initiator_io *io = s->io;
	bool from_target = nvme_direction(&io->sqe) == NVME_DIR_C2H;

	if (s->tx_refs)
		return;
	io->status = nvme_cqe_status(&s->cqe);
	io->result = le64toh(s->cqe.result);
	io->error = 0;
	if (s->digest_bad)
		io->error = -EBADMSG;
	else if (!io->status && io->len && from_target && s->received != io->len)
		io->error = -EPROTO;
	else if (!io->status && io->len && !from_target && io->sqe.sgl.id != NVME_SGL_IN_CAPSULE &&
		 s->requested != io->len)
		io->error = -EPROTO;
	s->io = NULL;
	s->generation++;
	q->free_slots[q->n_free++] = slot;
	q->now_ns = time_now_ns();
	io->finished_ns = q->now_ns;
	io->finished = true;
	if (io->done)
		io->done(io);
}

int initiator_queue_submit(struct initiator_queue *q, struct initiator_io *io)
{
	bool to_target = nvme_direction(&io->sqe) == NVME_DIR_H2C && io->len;
	struct slot *s;
	uint16_t slot;

	if (q->state != QUEUE_READY)
		return -ENOTCONN;
	if (!q->n_free)
		return -EAGAIN;
	slot = q->free_slots[--q->n_free];
	s = &q->slots[slot];
	*s = (struct slot){.io = io, .generation = s->generation};
	io->sqe.cid = slot_cid(q, slot);
	/* Connect's data always go in the capsule (TCP Transport 1.0, section 3.4) */
	if (to_target && (io->len <= q->in_capsule || io->sqe.opcode == NVME_FABRICS))
		io->sqe.sgl = nvme_sgl_in_capsule(io->len);
	else
		io->sqe.sgl = nvme_sgl_transport(io->len);
	io->finished = io->lost = io->called_back = false;
	io->submitted_ns = q->dispatching ? q->now_ns : time_now_ns();
	tx_put(q, (struct tx_item){.slot = slot});
	return 0;
}

unsigned int initiator_queue_outstanding(const struct initiator_queue *q)
{
	return q->depth - q->n_free;
}

/* ---- time ---- */

static void arm_tick(struct initiator_queue *q)
{
	struct io_uring_sqe *sqe;

	if (q->ticking || q->state == QUEUE_DEAD)
		return;
	sqe = ring_sqe(&q->ring);
	io_uring_prep_timeout(sqe, &q->tick, 0, 0);
	ring_push(sqe, (struct token){.op = OP_TICK});
	q->ticking = true;
}

/* An Asynchronous Event Request is answered when there is an event: perhaps never. */
static bool waits_for_event(const struct initiator_queue *q, const struct initiator_io *io)
{
	return !q->qid && io->sqe.opcode == NVME_ADM_ASYNC_EVENT;
}

/*
 * A command that is not answered in time is called back, if there is somebody who does it; what is not answered then
 * either ends the connection.
 */
static void check_slot(struct initiator_queue *q, uint16_t slot)
{
	const struct slot *s = &q->slots[slot];
	struct initiator_io *io = s->io;
	uint32_t limit_ms = io->timeout_ms ? io->timeout_ms : q->options.timeout_ms;
	uint64_t limit_ns = limit_ms * 1000000ull, more_ns = min(limit_ms, INITIATOR_ABORT_MS) * 1000000ull;
	uint64_t waited_ns = q->now_ns - io->submitted_ns;

	if (waits_for_event(q, io) || waited_ns <= limit_ns)
		return;
	if (q->expired && !s->responded && waited_ns <= limit_ns + more_ns) {
		if (!io->called_back)
			io->called_back = q->expired(q->expired_owner, le16toh(io->sqe.cid));
		return;
	}
	queue_fail(q, ETIMEDOUT, "no answer to %s within %g s%s; raise --%s if the target is slow",
		   nvme_opcode_name(&io->sqe, !q->qid), limit_ms / 1000.0,
		   io->called_back ? ", nor after an Abort" : "", io->timeout_ms ? "keep-alive" : "timeout");
}

/* Whether something has waited for longer than the timeout. */
static void check_timeouts(struct initiator_queue *q)
{
	double seconds = q->options.timeout_ms / 1000.0;

	q->now_ns = time_now_ns();
	if (q->state == QUEUE_CONNECTING && q->now_ns - q->started_ns > q->options.timeout_ms * 1000000ull) {
		queue_fail(q, ETIMEDOUT,
			   q->tls && !q->connecting && !tls_ready(q->tls)
				   ? "connected, but no answer to the TLS handshake within %g s; has the portal `tls`?"
			   : q->connecting
				   ? "no answer to the TCP connection within %g s; check the address, and whether "
				     "a firewall drops it"
				   : "connected, but no ICResp within %g s; is this an NVMe/TCP portal?",
			   seconds);
		return;
	}
	for (unsigned int slot = 0; slot < q->depth && q->state == QUEUE_READY; slot++)
		if (q->slots[slot].io)
			check_slot(q, (uint16_t)slot);
}

void initiator_queue_on_timeout(struct initiator_queue *q, bool (*expired)(void *owner, uint16_t cid), void *owner)
{
	q->expired = expired;
	q->expired_owner = owner;
}

/* ---- the loop ---- */

static const struct {
	int errnum;
	const char *text;
} connect_remedies[] = {
	{ECONNREFUSED, "connection refused: nothing listens there; start `sluice target`, or check address and port"},
	{EHOSTUNREACH, "host unreachable; check the address, the route (ip route get) and the policy (sluice explain)"},
	{ENETUNREACH, "network unreachable; check the address and the route (ip route get)"},
	{ETIMEDOUT, "no answer; check the address, and whether a firewall drops the connection"},
	{ECONNRESET, "connection reset; a firewall or the target refuses this host"},
	{EACCES, "a local firewall refuses the connection"},
};

static void handle_connect(struct initiator_queue *q, int result)
{
	q->connecting = false;
	if (q->state == QUEUE_DEAD)
		return;
	if (!result) {
		if (q->tls)
			tx_tls(q); /* ICReq follows the handshake */
		else
			tx_icreq(q);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(connect_remedies); i++) {
		if (connect_remedies[i].errnum == -result) {
			queue_fail(q, -result, "%s", connect_remedies[i].text);
			return;
		}
	}
	queue_fail(q, -result, "connect: %s", strerror(-result));
}

static int dispatch(struct initiator_queue *q)
{
	struct ring_completion c;

	q->dispatching = true;
	while (ring_next(&q->ring, &c)) {
		switch (c.token.op) {
		case OP_CONNECT:
			handle_connect(q, c.result);
			break;
		case OP_SEND:
			tx_complete(q, c.result);
			break;
		case OP_RECV:
			rx_complete(q, &c);
			break;
		case OP_TICK:
			q->ticking = false;
			check_timeouts(q);
			break;
		}
	}
	q->dispatching = false;
	return 0;
}

/* Submits, and spins and sleeps until there is a completion. */
static int submit_and_wait(struct initiator_queue *q, bool wait)
{
	int r;

	q->info.waits++;
	if (!wait)
		return ring_poll(&q->ring);
	if (!q->spin_ns)
		return ring_wait(&q->ring, -1);
	if (ring_queued(&q->ring)) {
		r = ring_poll(&q->ring);
		if (r || io_uring_cq_ready(&q->ring.uring))
			return r;
	}
	return ring_spin(&q->ring, time_now_ns() + q->spin_ns) ? ring_poll(&q->ring) : ring_wait(&q->ring, -1);
}

int initiator_queue_poll(struct initiator_queue *q, bool wait, struct error *err)
{
	int r;

	if (q->state != QUEUE_DEAD) {
		tx_pump(q);
		rx_arm(q);
		arm_tick(q);
		r = submit_and_wait(q, wait);
		if (r)
			queue_fail(q, -r, "io_uring: %s", strerror(-r));
		tx_submitted(q);
		dispatch(q);
		if (q->state == QUEUE_DEAD)
			bring_down(q);
	}
	if (q->state == QUEUE_DEAD)
		return error_set(err, q->fault_errno, "%s", q->fault.text);
	return 0;
}

void initiator_queue_spin(struct initiator_queue *q, unsigned int spin_us)
{
	q->spin_ns = spin_us * 1000ull;
}

int initiator_queue_execute(struct initiator_queue *q, struct initiator_io *io, struct error *err)
{
	int r = initiator_queue_submit(q, io);

	while (!r && !io->finished)
		r = initiator_queue_poll(q, true, err);
	if (r == -ENOTCONN)
		return error_set(err, q->fault_errno, "%s", q->fault.text);
	if (r == -EAGAIN)
		return error_set(err, EAGAIN, "%s: %u commands are outstanding already", q->place, q->depth);
	return r ? r : initiator_io_check(io, q->place, !q->qid, err);
}

int initiator_queue_notify(struct initiator_queue *q, int eventfd, struct error *err)
{
	int r = io_uring_register_eventfd(&q->ring.uring, eventfd);

	return r ? error_system(err, -r, "%s: io_uring: eventfd", q->place) : 0;
}

bool initiator_queue_armed(const struct initiator_queue *q)
{
	bool to_send = q->tx.head != q->tx.tail && !q->tx.busy && !q->tx.broken;

	return q->ticking && q->rx.busy && !to_send && !ring_queued(&q->ring);
}

void initiator_queue_info(const struct initiator_queue *q, struct initiator_queue_info *ret_info)
{
	*ret_info = q->info;
	ret_info->qid = q->qid;
	ret_info->depth = q->depth;
	ret_info->header_digest = q->framing_out.hdgst;
	ret_info->data_digest = q->framing_out.ddgst;
	ret_info->max_h2c = q->max_h2c;
	ret_info->in_capsule = q->in_capsule;
}

/* ---- opening and closing ---- */

void initiator_queue_close(struct initiator_queue *q)
{
	if (!q)
		return;
	if (q->ring.uring.sq.sqes && q->fd >= 0 && q->slots) {
		if (q->state != QUEUE_DEAD)
			queue_fail(q, ECANCELED, "closed");
		bring_down(q);
	}
	ring_file_remove(&q->ring, &q->file);
	ring_close(&q->ring);
	tx_close(q);
	rx_close(q);
	tls_free(q->tls);
	if (q->fd >= 0)
		close(q->fd);
	free(q->slots);
	free(q->free_slots);
	free(q);
}

static void queue_closep(struct initiator_queue **q)
{
	initiator_queue_close(*q);
}

static int allocate(struct initiator_queue *q, struct error *err)
{
	q->slots = calloc(q->depth, sizeof(*q->slots));
	q->free_slots = calloc(q->depth, sizeof(*q->free_slots));
	if (!q->slots || !q->free_slots || tx_open(q) || rx_open(q))
		return error_set(err, ENOMEM, "%s: no memory for %u commands", q->place, q->depth);
	/* the lowest slot is taken first: a shallow queue then stays within few cache lines */
	while (q->n_free < q->depth) {
		q->free_slots[q->n_free] = (uint16_t)(q->depth - 1 - q->n_free);
		q->n_free++;
	}
	return 0;
}

static int open_socket(struct initiator_queue *q, struct error *err)
{
	const int on = 1;

	q->fd = socket(q->options.addr.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (q->fd < 0)
		return error_system(err, errno, "%s: socket", q->place);
	if (setsockopt(q->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return error_system(err, errno, "%s: TCP_NODELAY", q->place);
	return 0;
}

static int open_tls(struct initiator_queue *q, struct error *err)
{
	const struct initiator_options *o = &q->options;
	struct tls_psk psk;
	int r;

	if (o->psk) {
		r = tls_connect(o->psk, &q->tls);
		return r ? error_system(err, -r, "%s: TLS", q->place) : 0;
	}
	if (!o->tls)
		return 0;
	r = tls_psk_derive(&o->tls->key, o->hostnqn, o->subnqn, o->tls->version, &psk);
	if (r == -ENAMETOOLONG)
		return error_set(
			err, EINVAL,
			"%s: TLS identities of version 0 have no room for NQNs as long as these; use --psk-identity 1",
			q->place);
	if (!r)
		r = tls_connect(&psk, &q->tls);
	secret_wipe(&psk, sizeof(psk));
	return r ? error_system(err, -r, "%s: TLS", q->place) : 0;
}

/* TCP and ICReq; bounded by the timeout. */
static int establish(struct initiator_queue *q, struct error *err)
{
	struct io_uring_sqe *sqe = ring_sqe(&q->ring);
	int r = 0;

	q->started_ns = time_now_ns();
	q->connecting = true;
	io_uring_prep_connect(sqe, ring_file_fd(&q->file), (struct sockaddr *)&q->options.addr.sa, q->options.addr.len);
	ring_file_flag(sqe, &q->file);
	ring_push(sqe, (struct token){.op = OP_CONNECT});
	while (!r && q->state != QUEUE_READY)
		r = initiator_queue_poll(q, true, err);
	return r;
}

int queue_connect(const struct initiator_options *options, uint16_t qid, unsigned int depth, uint32_t in_capsule,
		  struct initiator_queue **ret_queue, struct error *err)
{
	const struct ring_options ring_options = {.entries = 16, .files = 1};
	_cleanup_(queue_closep) struct initiator_queue *q = calloc(1, sizeof(*q));
	uint32_t shortest_ms = options->kato_ms ? min(options->timeout_ms, options->kato_ms) : options->timeout_ms;
	unsigned int tick_ms = min((unsigned int)TICK_MS, shortest_ms / 4 + 1);
	int r;

	if (!q)
		return error_set(err, ENOMEM, "%s: no memory for a queue", options->addr.text);
	*q = (struct initiator_queue){
		.fd = -1,
		.file = {.fd = -1, .index = -1},
		.options = *options,
		.qid = qid,
		.depth = depth,
		.in_capsule = in_capsule,
		.tick = {.tv_nsec = tick_ms * 1000000ll},
	};
	snprintf(q->place, sizeof(q->place), qid ? "%s queue %u" : "%s", options->addr.text, qid);
	r = ring_open(&q->ring, &ring_options, err);
	if (!r)
		r = allocate(q, err);
	if (!r)
		r = open_socket(q, err);
	if (!r)
		r = open_tls(q, err);
	if (r)
		return r;
	ring_file_add(&q->ring, q->fd, &q->file);
	r = establish(q, err);
	if (r)
		return r;
	*ret_queue = TAKE_PTR(q);
	return 0;
}
