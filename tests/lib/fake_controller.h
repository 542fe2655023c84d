/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole NVMe/TCP controller that goes away, comes back, lies about who it is, and changes its ANA state when a test
 * says so: any number of connections, a thread each, on the codec of fake_target.h. One namespace, id 1, of
 * FAKE_BLOCKS blocks of 512 bytes, in memory that several controllers may share.
 */
#ifndef TESTS_FAKE_CONTROLLER_H
#define TESTS_FAKE_CONTROLLER_H

#include <pthread.h>
#include <stdbool.h>

#include "fake_target.h"
#include "nvme/ana.h"
#include "nvme/identify.h"

#define FAKE_BLOCKS	 1024
#define FAKE_CONNECTIONS 64 /* in the life of one */

struct fake_controller;

/* What became of the last command, if it was a first half. */
enum fake_fused { FUSED_NONE, FUSED_FAILED, FUSED_PASSED };

/* What becomes of an Abort of a command that hangs. */
enum fake_abort {
	ABORT_DONE,    /* the command is answered as aborted */
	ABORT_REFUSED, /* it goes on hanging */
	ABORT_LATE,    /* it is executed and answered just then */
};

/* A command that is not answered. */
struct fake_hanging {
	struct fake_connection *n; /* NULL: no entry */
	struct nvme_sqe sqe;
};

#define FAKE_HANGING 64

struct fake_connection {
	struct fake_controller *c;
	struct fake fake; /* fd and framing only */
	pthread_t thread;
	bool open;
	uint16_t qid;
	enum fake_fused fused;
};

struct fake_controller {
	/* set before fake_controller_start(), or with it locked */
	uint8_t *memory; /* FAKE_BLOCKS * 512 */
	const char *subnqn;   /* that Identify tells */
	const char *identity; /* that the namespace's identifiers are made of */
	bool ana;	      /* says that it reports ANA */
	uint8_t state;	      /* in the log */
	uint8_t anatt;	      /* seconds, that Identify tells */
	uint16_t crdt;	      /* CRDT1 and CRDT2, that Identify tells; units of 100 ms */
	uint16_t ctratt;      /* likewise */
	struct nvme_id_ctrl_nvm limits; /* CNS 06h */
	bool no_csi;		/* it has no such page */
	uint16_t io_status;   /* answer to I/O commands, which are then not executed */
	uint8_t io_status_opcode;    /* to these alone; 0: to all */
	unsigned int io_status_left; /* only so many of them; 0: all */
	unsigned int hang;    /* so many of the next I/O commands are not answered, unless they are aborted */
	uint8_t hang_opcode;  /* of these alone; 0: of all */
	enum fake_abort abort;
	uint8_t aborts_at_once; /* ACL, NOT 0-based; 0: 1 */
	bool mute; /* connections stay, and nothing is answered */
	bool refuses_queues; /* Connect of I/O queues fails */
	unsigned int cut_at;  /* the so many-th I/O command from now is answered by half and all connections end; 0: none */
	bool cut_always;
	/* what it saw */
	unsigned int aborts;
	unsigned int alone; /* halves of pairs without the other right before or behind */
	unsigned int commands, connects, logs, keep_alives;
	uint8_t acre; /* that Host Behavior Support was set to; 0xff: it was not */
	/* its own */
	pthread_mutex_t lock;
	int listener;
	struct initiator_addr addr;
	pthread_t thread;
	struct fake_connection connections[FAKE_CONNECTIONS];
	unsigned int n_connections;
	struct fake_hanging hanging[FAKE_HANGING];
	struct fake_connection *event_conn; /* where a request for events waits */
	__le16 event_cid;
};

void fake_controller_start(struct fake_controller *c);
/* Ends all connections and the listener; the address stays its own for fake_controller_back(). */
void fake_controller_away(struct fake_controller *c);
void fake_controller_back(struct fake_controller *c);
/* Resets all connections; the next ones are taken. */
void fake_controller_cut(struct fake_controller *c);
/* A new ANA state, with the event if the host asked for one. */
void fake_controller_ana(struct fake_controller *c, uint8_t state);
/* Changes a knob. */
#define fake_controller_set(c, field, value)       \
	do {                                       \
		pthread_mutex_lock(&(c)->lock);    \
		(c)->field = (value);              \
		pthread_mutex_unlock(&(c)->lock);  \
	} while (0)
unsigned int fake_controller_commands(struct fake_controller *c);

#endif
