/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the target: what is shared after start and never written (struct target, subsystem, namespace), and what
 * one reactor thread owns (struct reactor). Only user/storage includes this.
 */
#ifndef SLUICE_STORAGE_REACTOR_H
#define SLUICE_STORAGE_REACTOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "nvme/command.h"
#include "storage/backend.h"
#include "storage/buffer.h"
#include "storage/conn.h"
#include "storage/controller.h"
#include "storage/host_keys.h"
#include "storage/ring.h"
#include "storage/target.h"
#include "storage/target_counters.h"

#define REACTOR_MAX_CONNS     1024
#define REACTOR_MAX_IOS	      4096 /* backend I/Os with an SQE under way */
#define REACTOR_RX_COUNT      256  /* receive buffers, a power of two */
#define REACTOR_RX_SIZE	      16384
#define REACTOR_TICK_NS	      (250 * 1000000ull)  /* timeouts are looked at this often, while there are connections */
#define REACTOR_SEND_STALL_NS (30 * NSEC_PER_SEC) /* a peer that takes nothing for so long is closed */

struct namespace
{
	const struct subsystem *subsystem;
	const struct policy_namespace *config;
	struct backend *backend;
	struct nvme_space space;
	unsigned int index; /* over the whole target: names it in struct reactor */
};

struct subsystem {
	const struct policy_subsystem *config;
	struct namespace *namespaces; /* by nsid, ascending */
	unsigned int n_namespaces;
	struct host_keys *keys; /* one a host of config; NULL: none needs one */
};

/* NULL: there is no such namespace. */
const struct namespace *subsystem_namespace(const struct subsystem *s, uint32_t nsid);
bool subsystem_admits(const struct subsystem *s, const char *hostnqn);

struct portal {
	const struct policy_portal *config;
	struct sockaddr_storage address; /* as bound */
	socklen_t address_len;
};

/* A namespace on one reactor. */
struct reactor_namespace {
	struct ring_file file;
	struct io_stats stats;
};

struct reactor {
	struct target *target;
	unsigned int index;
	unsigned int cpu;
	pthread_t thread;
	bool started;
	struct error error; /* why it did not start */
	int wake_fd;	    /* eventfd: stop, or connections of dead controllers */
	uint64_t wake_value;
	int listeners[TARGET_MAX_PORTALS]; /* -1: none */
	struct ring_file listener_files[TARGET_MAX_PORTALS];

	/* The rest is the thread's own. */
	struct ring ring;
	struct ring_buffers rx;
	unsigned int rx_held; /* receive buffers that conns keep */
	struct {	      /* of a kept receive buffer */
		uint16_t next;
		uint32_t offset, len;
	} rx_kept[REACTOR_RX_COUNT];
	struct buffer_pool pool;
	bool pool_registered; /* with the ring, as buffer 0 */
	uint64_t now_ns;      /* of this turn */
	uint64_t tick_ns;     /* when timeouts were last looked at */
	uint64_t busy_ns;     /* end of the last turn that had work */
	uint64_t gap_ns;      /* usual time from one turn with work to the next */
	bool stopping;
	uint32_t listeners_off; /* bit n: portal n accepts again at the next tick */
	struct reactor_namespace *namespaces;

	struct conn *conns[REACTOR_MAX_CONNS]; /* by slot */
	uint32_t conn_gens[REACTOR_MAX_CONNS];
	uint16_t free_conns[REACTOR_MAX_CONNS];
	unsigned int n_free_conns;
	unsigned int n_conns;
	struct conn *dirty;   /* to look at when this turn's completions are done */
	struct conn *blocked; /* cannot go on receiving for want of a buffer or a command */

	struct command *ios[REACTOR_MAX_IOS]; /* by token slot */
	uint32_t io_gens[REACTOR_MAX_IOS];
	uint16_t free_ios[REACTOR_MAX_IOS];
	unsigned int n_free_ios;
	struct command *waiting, **waiting_tail; /* for a data buffer or an I/O slot, in order of arrival */

	/* Statistics: written here, read by anyone. */
	uint64_t turns, sleeps, no_buffer, connections, cpu_ns;
};

struct queue;

struct target {
	struct target_options options;
	struct portal portals[TARGET_MAX_PORTALS];
	unsigned int n_portals;
	struct subsystem *subsystems;
	unsigned int n_subsystems;
	unsigned int n_namespaces; /* in all */
	bool write_cache;	   /* of any backend */
	struct reactor *reactors[TARGET_MAX_REACTORS];
	unsigned int n_reactors;
	atomic_bool stopping;
	uint64_t drain_until_ns; /* written before stopping */

	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t started;
	unsigned int n_started;
	struct controller *controllers[UINT16_MAX]; /* by cntlid - 1 */
	uint16_t last_cntlid;
	struct queue *queues;
};

/* Token operations of a reactor's ring. */
enum reactor_op {
	REACTOR_OP_WAKE = RING_OP_NONE + 1,
	REACTOR_OP_ACCEPT, /* slot: portal */
	REACTOR_OP_RECV,   /* slot, gen: conn */
	REACTOR_OP_SEND,   /* slot, gen: conn */
	REACTOR_OP_IO,	   /* slot, gen: command */
};

/* Starts the thread, which then opens its ring; reactor_start() waits for the outcome. */
int reactor_start(struct reactor *r, struct error *err);
void reactor_wake(struct reactor *r); /* any thread */

/* Binds an I/O slot and fills the ring's part of cmd->io; false: all are in use. */
bool reactor_io_take(struct reactor *r, struct command *cmd);
void reactor_io_give(struct reactor *r, struct command *cmd);

/* Portals as discovery sees them: records that `hostnqn` may see. *ret_entries is the caller's, free(). */
int target_discovery(struct target *t, const struct conn *conn, const char *hostnqn,
		     struct nvme_discovery_entry **ret_entries, size_t *ret_n);

#endif
