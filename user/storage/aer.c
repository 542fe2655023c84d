// SPDX-License-Identifier: Apache-2.0
/*
 * Asynchronous events (Base 2.0, section 5.2). Any thread notes that something has happened (controller_notify); the
 * thread of the admin queue tells the host, with one of the requests that it has parked there. An event that was told
 * is not told again until the host has read the log page that belongs to it, and what the host has switched off is
 * forgotten. Parked requests are commands in state COMMAND_PARKED.
 */
#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reactor.h"

enum event_type { TYPE_NOTICE = 2, TYPE_IO = 6 };

static const struct event {
	uint32_t bit;	 /* EVENT_* */
	uint32_t config; /* bit of Asynchronous Event Configuration; 0: always on */
	uint8_t type, info, log;
} events[] = {
	{EVENT_NAMESPACE, NVME_OAES_NS_ATTR, TYPE_NOTICE, 0x00, NVME_LID_CHANGED_NS},
	{EVENT_ANA, NVME_OAES_ANA, TYPE_NOTICE, 0x03, NVME_LID_ANA},
	{EVENT_DISCOVERY, NVME_OAES_DISCOVERY, TYPE_NOTICE, 0xf0, NVME_LID_DISCOVERY},
	{EVENT_RESERVATION, 0, TYPE_IO, 0x00, NVME_LID_RESERVATION},
};

void controller_notify(struct controller *c, uint32_t bits)
{
	__atomic_fetch_or(&c->events_pending, bits, __ATOMIC_RELEASE);
	reactor_wake(c->target->reactors[c->reactor]);
}

/* The next event that the host is to be told of, and marks it told; NULL: none. */
static const struct event *event_take(struct controller *c)
{
	uint32_t pending = __atomic_load_n(&c->events_pending, __ATOMIC_ACQUIRE);
	unsigned int i;

	for (i = 0; pending && i < ARRAY_SIZE(events); i++) {
		const struct event *e = &events[i];

		bool wanted = !e->config || c->event_config & e->config;

		if (!(pending & e->bit))
			continue;
		if (wanted && c->events_told & e->bit)
			continue; /* again once the log page was read */
		__atomic_fetch_and(&c->events_pending, ~e->bit, __ATOMIC_RELAXED);
		if (!wanted)
			continue;
		c->events_told |= e->bit;
		return e;
	}
	return NULL;
}

bool event_now(struct controller *c, __u64 *ret_result)
{
	const struct event *e = event_take(c);

	if (e)
		*ret_result = e->type | (uint32_t)e->info << 8 | (uint32_t)e->log << 16;
	return e;
}

static struct command *parked_take(struct conn *conn)
{
	unsigned int i;

	for (i = 0; i < conn->n_commands; i++) {
		struct command *cmd = conn_command(conn, i);

		if (cmd->state != COMMAND_PARKED)
			continue;
		conn->n_parked--;
		conn->controller->events--;
		return cmd;
	}
	return NULL;
}

void events_deliver(struct conn *conn)
{
	struct controller *c = conn->controller;
	__u64 result;

	while (c->events && event_now(c, &result)) {
		struct command *cmd = parked_take(conn);

		cmd->result = result;
		command_reply(cmd, NVME_ST_SUCCESS);
	}
}

void events_rearm(struct controller *c, uint8_t log)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i].log == log) {
			c->events_told &= ~events[i].bit;
			__atomic_fetch_and(&c->events_pending, ~events[i].bit, __ATOMIC_RELAXED);
		}
}

void events_reset(struct conn *conn)
{
	struct controller *c = conn->controller;
	struct command *cmd;

	while ((cmd = parked_take(conn)))
		command_reply(cmd, NVME_ST_ABORTED);
	c->event_config = c->events_told = 0;
	__atomic_store_n(&c->events_pending, 0, __ATOMIC_RELAXED);
}
