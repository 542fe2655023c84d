// SPDX-License-Identifier: Apache-2.0
/*
 * Looks after what conn_receive.c promises: a connection that does not receive waits for something, which statistics
 * name. And after what nobody here can promise: that a receive which the kernel holds brings what is in the socket. One
 * that does not is told of and begun again. A connection on which nothing moves though commands are open is told of
 * with all that is known, so that a stall explains itself. Called at the end of turns and once a tick.
 */
#include <linux/sockios.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

#define LOOKS_PER_STALL 15 /* in the time after which a peer counts as stalled: every 2 s */
#define TELL_PER_STALL	3
#define TELL_GAP_NS	NSEC_PER_SEC /* a stalled backend is told of by some of its connections, not by thousands */

/* ---- words ---- */

const char *conn_receive_name(unsigned int receive)
{
	static const char *const names[] = {
		[CONN_RECEIVES] = "receives",
		[CONN_WAITS_COMMAND] = "waits for its answers to leave",
		[CONN_WAITS_CAPSULE] = "waits for a buffer for in-capsule data",
		[CONN_WAITS_TURN] = "waits for its turn under a limit",
		[CONN_STOPS] = "the target stops",
		[CONN_ENDS] = "ends",
	};

	return receive < ARRAY_SIZE(names) ? names[receive] : "?";
}

static enum conn_receive reason(const struct conn *c)
{
	if (c->state >= CONN_TERM || c->ended)
		return CONN_ENDS;
	return c->is_blocked ? c->blocked_by : CONN_RECEIVES;
}

void conn_note(struct conn *c)
{
	__atomic_store_n(&c->queue->receive, reason(c), __ATOMIC_RELAXED);
	__atomic_store_n(&c->queue->n_open, c->n_open, __ATOMIC_RELAXED);
}

static int waiting_bytes(const struct conn *c, unsigned long what)
{
	int n = 0;

	return ioctl(c->fd, what, &n) ? 0 : n;
}

static void add(char *text, size_t len, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add(char *text, size_t len, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, len - used, format, args);
	va_end(args);
}

/* Commands by state; n_states of them. */
static void count_commands(const struct conn *c, unsigned int *ret_counts)
{
	unsigned int i;

	memset(ret_counts, 0, (COMMAND_REPLY + 1) * sizeof(*ret_counts));
	for (i = 0; i < c->n_commands; i++)
		ret_counts[conn_command(c, i)->state]++;
}

void conn_describe(const struct conn *c, char *ret_text, size_t len)
{
	static const char *const names[] = {
		[COMMAND_CAPSULE] = "in the stream",	 [COMMAND_LIMITED] = "under a limit",
		[COMMAND_WAITING] = "want a buffer",	 [COMMAND_H2C] = "want data of the host",
		[COMMAND_FUSED] = "want their other half", [COMMAND_LOCKED] = "want their blocks",
		[COMMAND_BACKEND] = "in the backend",	 [COMMAND_PARKED] = "event requests",
		[COMMAND_ABORTING] = "Aborts",		 [COMMAND_REPLY] = "answered",
	};
	unsigned int counts[COMMAND_REPLY + 1], i;

	ret_text[0] = 0;
	add(ret_text, len, "%s%s; commands:", conn_receive_name(reason(c)),
	    reason(c) == CONN_RECEIVES && !c->receiving ? " (not begun)" : "");
	count_commands(c, counts);
	for (i = COMMAND_FREE + 1; i <= COMMAND_REPLY; i++)
		if (counts[i])
			add(ret_text, len, " %u %s,", counts[i], names[i]);
	if (c->sending)
		add(ret_text, len, " sends for %llu ms,",
		    (unsigned long long)(c->reactor->now_ns - c->send_ns) / 1000000);
	add(ret_text, len, " last received %llu ms ago; socket: %d bytes unread, %d unsent",
	    (unsigned long long)(c->reactor->now_ns - c->rx_ns) / 1000000, waiting_bytes(c, SIOCINQ),
	    waiting_bytes(c, SIOCOUTQ));
}

/* ---- looks ---- */

static void tell(const struct conn *c, const char *what)
{
	char text[512];

	conn_describe(c, text, sizeof(text));
	log_warn(c->name, "%s: it %s", what, text);
}

/* Neither receives nor waits: a fault of this program. */
static void look_idle(struct conn *c)
{
	if (c->receiving || c->is_blocked || c->is_dirty || c->ended)
		return;
	tell(c, "does not receive, and waits for nothing");
	conn_mark(c);
}

/* Data came at least a look ago, and the receive does not bring them. */
static void look_deaf(struct conn *c, uint64_t last_look_ns)
{
	if (!c->receiving || c->rx_ns >= last_look_ns || waiting_bytes(c, SIOCINQ) <= 0) {
		c->n_sightings = 0;
		return;
	}
	switch (c->n_sightings++) {
	case 0: /* they may have come since this turn began */
		return;
	case 1:
		tell(c, "its receive does not bring what has come; another one is begun");
		stats_add(&c->reactor->lost_receives, 1);
		c->cancelling = false;
		conn_recv_again(c);
		return;
	default:
		conn_reset(c, "its receive cannot be ended");
	}
}

/* Whoever waits for its turn under a limit does not stand still. */
static void look_still(struct conn *c)
{
	uint64_t still_ns = c->reactor->target->options.stall_timeout_ms * 1000000ull / TELL_PER_STALL;
	uint64_t now = c->reactor->now_ns;
	unsigned int counts[COMMAND_REPLY + 1];

	if (c->n_open <= c->n_parked || now - max(c->rx_ns, c->moved_ns) < still_ns) {
		c->is_told = false;
		return;
	}
	count_commands(c, counts);
	if (c->is_told || counts[COMMAND_LIMITED] || now - c->reactor->told_ns < TELL_GAP_NS)
		return;
	c->is_told = true;
	c->reactor->told_ns = now;
	tell(c, "stands still");
}

void conn_watch(struct conn *c)
{
	uint64_t now = c->reactor->now_ns, last = c->watch_ns;
	uint64_t period_ns = c->reactor->target->options.stall_timeout_ms * 1000000ull / LOOKS_PER_STALL;

	conn_note(c);
	if (!c->is_blocked)
		c->receives_singly = false;
	if (c->state >= CONN_TERM || now - last < period_ns)
		return;
	c->watch_ns = now;
	look_idle(c);
	look_deaf(c, last);
	look_still(c);
}
