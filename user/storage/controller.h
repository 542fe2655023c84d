/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controllers: what Connect on an admin queue makes and I/O queues join. The table is under the target's mutex; a
 * controller lives as long as a connection refers to it. Its admin state (properties, features, events) belongs to the
 * thread of its admin queue alone; the flags `ready` and `dead` are how I/O queues on other reactors learn of it.
 */
#ifndef SLUICE_STORAGE_CONTROLLER_H
#define SLUICE_STORAGE_CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "nvme/fabrics.h"
#include "storage/error_log.h"

#define CONTROLLER_MAX_QUEUES	 128  /* I/O queues a controller */
#define CONTROLLER_MAX_ENTRIES	 1024 /* commands a queue; CAP.MQES + 1 */
#define CONTROLLER_ADMIN_ENTRIES 32
#define CONTROLLER_MAX_ABORTS	 4    /* Abort commands under way */
#define CONTROLLER_MAX_EVENTS	 4    /* Asynchronous Event Requests outstanding */
#define CONTROLLER_NSIDS	 1024 /* the highest namespace id */
#define CONTROLLER_KAS		 10   /* keep-alive granularity in 100 ms */
#define CONTROLLER_CRDT		 1    /* CRDT1 in 100 ms: pause of a host whose command there was no room for */

struct conn;
struct command;
struct target;
struct subsystem;

/* What hosts have set; controller_features.c. */
struct controller_features {
	uint8_t arbitration;  /* burst */
	uint16_t temperature; /* threshold, kelvin: nothing here is warm */
	uint16_t recovery;    /* time limit, 100 ms */
	bool atomicity_off;
	bool timestamp_set;
	uint64_t timestamp_ms, timestamp_at_ms; /* what the host set, and when */
	uint8_t behavior[512];			/* Host Behavior Support */
};

/* Events that I/O controllers send, NVME_OAES_*. */
#define CONTROLLER_OAES	    NVME_OAES_NS_ATTR
#define CONTROLLER_OAES_ANA NVME_OAES_ANA /* where namespaces have groups */

/* Reservation notices that the host has not read, and which it does not want. Under the target's mutex. */
struct controller_notices {
	uint64_t count; /* since Connect */
	unsigned int first, n;
	struct {
		uint32_t nsid;
		uint8_t type; /* enum reservation_notice */
	} entries[64];
	uint8_t masks[CONTROLLER_NSIDS + 1]; /* by nsid; bit n: no notice of type n */
};

struct controller {
	struct target *target;
	const struct subsystem *subsystem; /* NULL: discovery */
	uint16_t cntlid;
	bool secure; /* its admin queue came by TLS: so must the others */
	char hostnqn[NVME_NQN_MAX + 1];
	uint8_t hostid[16];

	/* Under the target's mutex. */
	unsigned int refs;				 /* connections */
	uint64_t queues[CONTROLLER_MAX_QUEUES / 64 + 1]; /* qids in use */
	uint64_t changed[CONTROLLER_NSIDS / 64 + 1];	 /* nsids for the Changed Namespace List */
	struct controller_notices notices;

	/* Any thread; relaxed atomics. */
	bool ready;		 /* CSTS.RDY: I/O is served */
	bool dead;		 /* every connection of it is to be closed */
	bool acre;		 /* the host takes "command interrupted" and a delay (Host Behavior Support) */
	uint16_t granted;	 /* I/O queues that Set Features allowed */
	uint32_t epoch;		 /* I/O queues of an earlier one are closed: there was a reset or shutdown */
	uint32_t events_pending; /* EVENT_*: happened, and not told yet */
	unsigned int reactor;	 /* of the admin queue; written once */
	unsigned int portal;	 /* that it came to; written once */

	/* The admin queue's thread. */
	struct nvme_properties props;
	enum { LEAVING_NOT, LEAVING_RESET, LEAVING_SHUTDOWN } leaving; /* until its I/O queues are gone */
	unsigned int aborts;					       /* under way */
	uint32_t kato_ms;
	uint32_t connect_kato_ms; /* what Connect said: the default */
	uint64_t alive_ns;	  /* last Keep Alive */
	uint64_t started_ns;
	uint32_t event_config;
	uint32_t events_told; /* EVENT_*: not again until the log page was read */
	unsigned int events;  /* parked Asynchronous Event Requests */
	struct controller_features features;

	struct error_log errors;
};

/* Whether there are queues beside the admin queue. */
bool controller_has_io_queues(struct controller *c);

/* Connect: answers the command's status and result, and binds conn to its controller. */
uint16_t controller_connect(struct conn *conn, const struct command *cmd, __u64 *ret_result);

/* conn no longer refers to its controller. An admin queue's end is the controller's. */
void controller_leave(struct conn *conn);

/* Marks it dead and wakes every reactor, so that its connections are closed. */
void controller_kill(struct controller *c, const char *why);

/* Status of a command that is to be sent again, there being no room for it now, in words that its host has learned. */
uint16_t controller_interrupted(const struct controller *c);

/* An admin or Fabrics command whose data, if any, are whole. Sets status and result; true: no answer yet (parked). */
bool controller_admin(struct conn *conn, struct command *cmd);

/* Abort; as above. abort.c */
bool controller_abort(struct conn *conn, struct command *cmd);

/* A Fabrics command on an I/O queue. */
void controller_fabrics_io(struct conn *conn, struct command *cmd);

/* ---- aer.c: asynchronous events ---- */

enum { EVENT_NAMESPACE = 1 << 0, EVENT_ANA = 1 << 1, EVENT_DISCOVERY = 1 << 2, EVENT_RESERVATION = 1 << 3 };

/* Any thread that holds the target's mutex, so that the controller stays: these EVENT_* have happened. */
void controller_notify(struct controller *c, uint32_t events);
/* The rest is the admin queue's thread's. An event to tell just now: the result of an Asynchronous Event Request. */
bool event_now(struct controller *c, __u64 *ret_result);
/* Answers parked requests with what has happened. */
void events_deliver(struct conn *conn);
/* The host has read this log page. */
void events_rearm(struct controller *c, uint8_t log);
/* A reset: answers all requests, forgets all events and their configuration. */
void events_reset(struct conn *conn);

/* Get/Set Features and Get Log Page: their own files. */
uint16_t controller_get_feature(struct controller *c, struct command *cmd);
uint16_t controller_set_feature(struct controller *c, struct command *cmd);
/* All features as a controller has them after Connect and after a reset. */
void controller_features_reset(struct controller *c);
void controller_features_list(const struct controller *c, bool ret_known[256]);
/* Identify: CNS values of controller_lists.c. */
uint16_t controller_identify_list(const struct controller *c, const struct nvme_sqe *sqe, void *out);
uint16_t controller_log_page(struct conn *conn, struct command *cmd);

#endif
