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
#include "storage/ana.h"
#include "storage/backend.h"
#include "storage/buffer.h"
#include "storage/conn.h"
#include "storage/controller.h"
#include "storage/generated_keys.h"
#include "storage/host_keys.h"
#include "storage/limit.h"
#include "storage/ring.h"
#include "storage/target.h"
#include "storage/target_counters.h"

#define REACTOR_MAX_CONNS     8192
#define REACTOR_MAX_SPACES    4096 /* namespaces of all subsystems together */
#define TARGET_MAX_SUBSYSTEMS 256
#define REACTOR_MAX_IOS	      4096 /* backend I/Os with an SQE under way */
#define REACTOR_RX_COUNT      256  /* receive buffers at most, a power of two */
#define REACTOR_RX_SIZE	      16384
#define REACTOR_KEPT_MAX      (32u << 20) /* bytes that connections which cannot go on keep, but for the first piece of each */
#define REACTOR_TICK_NS	      (250 * 1000000ull)  /* timeouts are looked at this often, while there are connections */

/* One policy's storage section while something is served by it; catalog.c. */
struct storage_version {
	atomic_uint refs;
	struct policy_storage storage;
	bool borrowed; /* of target_options: not ours to free */
};

/*
 * A namespace as hosts see it: never written once published. Another size or access makes another one of these, which
 * shares the backend and the statistics of its `base`. It goes, and its backend is closed, with its last user: the
 * published table is one, and each reactor until it has no command of it.
 */
struct namespace
{
	const struct subsystem *subsystem;
	struct storage_version *version; /* that config is part of; held */
	const struct policy_namespace *config;
	struct backend *backend; /* base's, if there is one */
	struct nvme_space space;
	struct reservations *reservations; /* base's, if there is one */
	unsigned int index;	/* in struct reactor's namespaces: base's, if there is one */
	struct namespace *base; /* held; NULL: this one owns backend and index */
	atomic_uint users;
	uint8_t group; /* of ANA; 0: its subsystem has none */
	bool gone;     /* written before reactors are told: none of its kind is left */
};

/* What a subsystem exports just now. Immutable; freed when every reactor has seen the next one. */
struct subsystem_state {
	struct storage_version *version;
	const struct policy_subsystem *config; /* NULL: not exported any more */
	unsigned int n_namespaces;
	struct ana_table *ana; /* NULL: hosts are told of no groups */
	struct host_keys *keys; /* one a host of config; NULL: none needs one */
	struct namespace *namespaces[]; /* by nsid, ascending */
};

/* A name that was ever exported while the target runs: controllers point at it. Freed with the target. */
struct subsystem {
	struct target *target;
	char nqn[NVME_NQN_MAX + 1];
	struct subsystem_state *state; /* subsystem_now() */
	uint64_t media_errors;	       /* atomic */
};

/* Valid until this reactor's turn is over, or for as long as the target's `changing` mutex is held. */
static inline const struct subsystem_state *subsystem_now(const struct subsystem *s)
{
	return __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
}

/* ---- catalog.c: what is exported ---- */

/* The group of a namespace as struct namespace has it. */
static inline uint8_t group_of(const struct policy_subsystem *s, const struct policy_namespace *ns)
{
	return s->has_ana ? (ns->ana ? ns->ana : 1) : 0;
}

/* NULL: there is no such namespace. */
const struct namespace *subsystem_namespace(const struct subsystem *s, uint32_t nsid);
/* Whether some namespace takes Write Uncorrectable. */
bool subsystem_spoils(const struct subsystem *s);
bool subsystem_admits(const struct subsystem *s, const char *hostnqn);
/* NULL: nothing of this name is exported. Any thread. */
struct subsystem *target_subsystem(const struct target *t, const char *nqn);

/* All that options.storage exports, at the start. */
int catalog_open(struct target *t, struct error *err);
/* No reactor runs any more. */
void catalog_close(struct target *t);

int storage_version_make(const struct policy_storage *storage, bool borrowed, struct storage_version **ret_version);
void storage_version_put(struct storage_version *v);
/* Opens the backend and takes an index; users: those of a namespace that is about to be published. */
int namespace_open(struct subsystem *s, struct storage_version *v, const struct policy_namespace *config,
		   struct error *err, struct namespace **ret_ns);
/* The same namespace by another policy: -EBUSY if it cannot become that while it is served. *ret_ns may be `old`. */
int namespace_change(struct namespace *old, struct storage_version *v, const struct policy_namespace *config,
		     struct error *err, struct namespace **ret_ns);
void namespace_put(struct namespace *ns);
/* A state with room for n namespaces; holds v. NULL: out of memory. */
struct subsystem_state *subsystem_state_make(struct storage_version *v, const struct policy_subsystem *config,
					     unsigned int n);
void subsystem_state_free(struct subsystem_state *state); /* not its namespaces */
void subsystem_state_sort(struct subsystem_state *state);
/* A new name, not exported yet. -E2BIG, -ENOMEM. */
int subsystem_add(struct target *t, const char *nqn, struct error *err, struct subsystem **ret_subsystem);

struct portal {
	const struct policy_portal *config;
	struct sockaddr_storage address; /* as bound */
	socklen_t address_len;
};

/* A namespace that went while this reactor had commands of it. */
struct retiring {
	struct retiring *next;
	struct namespace *ns;
	bool whole; /* not just one version of it: its index goes, too */
};

/* A namespace on one reactor. */
struct reactor_namespace {
	struct ring_file file;
	struct io_stats stats;
};

struct command_list {
	struct command *head, **tail;
};

struct reservations;
struct reservation_saver;
struct preemption_part;

struct reactor {
	struct target *target;
	unsigned int index;
	unsigned int cpu;
	pthread_t thread;
	bool started;
	atomic_bool gone;   /* its thread has ended: who posts a call runs it */
	struct error error; /* why it did not start */
	int wake_fd;	    /* eventfd: stop, or connections of dead controllers */
	uint64_t wake_value;
	struct reactor_call *calls;	   /* atomic stack: the latest first */
	int listeners[TARGET_MAX_PORTALS]; /* -1: none */
	struct ring_file listener_files[TARGET_MAX_PORTALS];

	/* The rest is the thread's own. */
	struct ring ring;
	struct ring_buffers rx;
	size_t kept_bytes; /* that connections have received and cannot work off yet, but for the first piece of each */
	struct buffer_pool pool;
	bool pool_registered; /* with the ring, as buffer 0 */
	bool pool_tried;
	uint64_t now_ns;  /* of this turn */
	uint64_t tick_ns; /* when timeouts were last looked at */
	uint64_t busy_ns; /* end of the last turn that had work */
	uint64_t gap_ns;  /* usual time from one turn with work to the next */
	bool stopping;
	uint32_t listeners_off;		      /* bit n: portal n accepts again at the next tick */
	struct reactor_namespace *namespaces; /* REACTOR_MAX_SPACES, by index; untouched ones cost no memory */
	struct retiring *retiring;

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
	unsigned int n_operations; /* of backends, in the ring */
	unsigned int n_unsubmitted; /* of these, queued only */
	struct conn *waiting, **waiting_tail; /* with commands that wait for a data buffer or an I/O slot, in turn */
	struct preemption_part *preempting;	 /* wait for commands to end */
	unsigned int n_fused;			 /* first halves of fused commands under way */

	struct reactor_limits limits;

	struct command_list granted; /* by this thread: have their blocks, and go on at the end of the turn */

	/* Statistics: written here, read by anyone. */
	uint64_t turns, sleeps, no_buffer, no_rx_buffer, blockings, lost_receives, connections, cpu_ns;
	uint64_t told_ns; /* when a connection that stands still was last told of */
};

struct queue;

struct target {
	struct target_options options;
	struct policy_transport transport; /* the policy's, or the usual */
	struct portal portals[TARGET_MAX_PORTALS];
	unsigned int n_portals;
	struct tls_server *tls; /* NULL: no portal has TLS */
	struct generated_keys generated;
	struct subsystem *subsystems[TARGET_MAX_SUBSYSTEMS];
	unsigned int n_subsystems;	 /* atomic; only grows */
	bool write_cache;		 /* atomic: of any backend so far */
	uint64_t generation;		 /* atomic: of what discovery tells */
	struct storage_version *version; /* in force; atomic, and goes like a subsystem's state */
	struct limit_table *limits;	 /* in force; under `changing` */
	struct reservation_saver *saver; /* NULL: reservations go with the target */
	struct reactor *reactors[TARGET_MAX_REACTORS];
	unsigned int n_reactors;
	atomic_bool stopping;
	uint64_t drain_until_ns; /* written before stopping */

	/* Held by whoever changes the catalog, or reads it outside of reactors. Taken before `mutex`. */
	pthread_mutex_t changing;
	uint64_t spaces[REACTOR_MAX_SPACES / 64]; /* indices in use; under `changing`, or atomic when given back */

	pthread_mutex_t mutex;	/* of all below */
	pthread_cond_t changed; /* a reactor has run its call of a change, or let go of a namespace */
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

static inline struct token conn_token(const struct conn *c, enum reactor_op op)
{
	return (struct token){.op = op, .slot = c->slot, .gen = c->gen};
}

/* Starts the thread, which then opens its ring; reactor_start() waits for the outcome. */
int reactor_start(struct reactor *r, struct error *err);
void reactor_wake(struct reactor *r); /* any thread */
/* Any thread: runs call->run() on the reactor's thread soon. */
void reactor_post(struct reactor *r, struct reactor_call *call);
/* On the reactor's thread: the backend's descriptor becomes known to the ring, or no longer. */
void reactor_namespace_add(struct reactor *r, const struct namespace *ns);
void reactor_namespace_remove(struct reactor *r, const struct namespace *ns);
/* On the reactor's thread: lets go of namespaces that went and are no longer used here. */
void reactor_retire(struct reactor *r);

/* Any thread: cmd of reactor r has its blocks. `by`: the reactor of the calling thread. */
void reactor_grant(struct reactor *r, struct command *cmd, struct reactor *by);

/* Binds an I/O slot and fills the ring's part of cmd->io; false: all are in use. */
bool reactor_io_take(struct reactor *r, struct command *cmd);
/* A backend's operation was queued on the ring; it has come back. */
void reactor_io_queued(struct reactor *r);
static inline void reactor_io_back(struct reactor *r)
{
	r->n_operations--;
}
void reactor_io_give(struct reactor *r, struct command *cmd);

/* Portals as discovery sees them: records that `hostnqn` may see. *ret_entries is the caller's, free(). */
int target_discovery(struct target *t, const struct conn *conn, const char *hostnqn,
		     struct nvme_discovery_entry **ret_entries, size_t *ret_n);

#endif
