/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe/TCP target: portals, subsystems, reactors. This is all that user/cli needs to know of user/storage.
 *
 * target_start() opens backends and listening sockets in the calling thread, then starts one pinned thread a reactor.
 * What serves I/O afterwards never locks: subsystems, namespaces and portals are immutable, a connection belongs to one
 * reactor. The controller table and the list of queues have one mutex, taken by Connect, teardown and statistics.
 */
#ifndef SLUICE_STORAGE_TARGET_H
#define SLUICE_STORAGE_TARGET_H

#include <stdint.h>
#include <stdio.h>

#include <json-c/json.h>

#include <sluice/abi.h>

#include "base/error.h"
#include "policy/policy.h"

#define TARGET_MAX_PORTALS  16
#define TARGET_MAX_REACTORS 64
#define TARGET_MAX_NSID	    1024 /* as in policies */

/*
 * How the outside (steering) learns of sockets. Every member is optional; a non-zero answer of on_listen ends the
 * start. on_listen comes from the thread of target_start(); the others from reactor threads, several at a time.
 */
struct target_hooks {
	void *arg;
	int (*on_listen)(void *arg, unsigned int portal, unsigned int reactor, int fd, struct error *err);
	/* A connection was accepted. *ret_slot names it to the others; left alone when it is not followed. */
	void (*on_queue_open)(void *arg, const struct sluice_steer_key *key, unsigned int reactor, uint32_t *ret_slot);
	void (*on_queue_close)(void *arg, const struct sluice_steer_key *key, uint32_t slot);
	/* Adds what it knows of a queue to its statistics object. */
	void (*on_queue_stats)(void *arg, uint32_t slot, unsigned int reactor, struct json_object *queue);
};

#define TARGET_NO_SLOT UINT32_MAX

struct backend;

struct target_options {
	const struct policy_storage *storage; /* outlives the target */
	const unsigned int *cpus;	      /* CPU of each reactor */
	unsigned int n_cpus;		      /* number of reactors: 1 .. TARGET_MAX_REACTORS */
	struct target_hooks hooks;
	unsigned int spin_us; /* how long a busy reactor looks for more work before it sleeps; 0: not at all */
	unsigned int connect_timeout_ms; /* from accept to Connect; 0: 10 s */
	/*
	 * A peer is closed that takes nothing of what is sent for so long, or that holds buffers which others wait for
	 * and sends nothing of the data asked for. 0: 30 s.
	 */
	unsigned int stall_timeout_ms;
	/*
	 * For tests: what the rings are not to use (enum ring_without), receive buffers a reactor (0: 256), how many
	 * times fewer data buffers (0: 1), entries of a ring's submission queue (0: 1024), and REACTOR_KEPT_MAX (0).
	 */
	unsigned int ring_without, rx_buffers, pool_part, ring_entries, kept_max;
	/* What opens the backend of a namespace; NULL: backend_open(). */
	int (*open_backend)(const struct policy_namespace *config, struct error *err, struct backend **ret_backend);
	const char *state_dir; /* folder for reservations that outlive the target, made if need be; NULL: none do */
	unsigned int auth_timeout_ms; /* for each message of a host that must authenticate; 0: 30 s */
};

struct target;

/* err: place, fact, remedy. On failure nothing is left open. */
int target_start(const struct target_options *options, struct error *err, struct target **ret_target);

/*
 * Closes the listeners, lets commands under way finish (drain_ms at most), closes every connection, joins the threads,
 * closes the backends, frees.
 */
void target_stop(struct target *t, unsigned int drain_ms);

/* The CPUs that `reactors:` of the policy means for this process. -EINVAL: one of them is not allowed to it. */
int target_cpus(const struct policy_storage *storage, unsigned int *ret_cpus, unsigned int *ret_n, struct error *err);

/*
 * From now on exports what this storage section says: subsystems and namespaces come, go, change size, and hosts are
 * told. `storage` becomes the target's own whether or not it can be done; on failure, which err explains, nothing has
 * changed. Any thread but a reactor's. *ret_account is the caller's, json_object_put():
 * {"changes": [{"change", "subsystem" or "limit", "nsid"?, "bytes"?}], "later": [what only a restart brings into force]}.
 */
int target_update(struct target *t, struct policy_storage *storage, struct json_object **ret_account,
		  struct error *err);

unsigned int target_portals(const struct target *t);
/* Port that portal i listens on: the policy's, or what the system chose where that is 0. */
uint16_t target_portal_port(const struct target *t, unsigned int i);
/* "192.0.2.1:4420" or "[2001:db8::1]:4420" */
void target_portal_print(const struct target *t, unsigned int i, char *ret_text, size_t len);

/* What reactor 0's ring was granted, and what each backend uses, as lines for the log. */
void target_describe(struct target *t, void (*line)(void *arg, const char *text), void *arg);

/* ---- statistics: may be asked for at any time, by any thread ---- */

/*
 * {"reactors": [{"index", "cpu", "connections", "cpu_seconds", "turns", "sleeps", "no_buffer", "no_rx_buffer",
 *	"blocked", "lost_receives"}],
 *  "namespaces": [{"subsystem", "nsid", "backend", "bytes", "block", STATS}],
 *  "limits": [{"name", "iops"?, "bandwidth"?, "commands", "bytes", "throttled", "waiting", "commands_per_second",
 *	"bytes_per_second"}],
 *  "queues": [{"host", "subsystem", "cntlid", "qid", "reactor", "cpu", "peer", "portal", "tls", "receive", "open",
 *	STATS, and what hooks add}]}
 * "tls": null, or where its key is from: "retained", "generated".
 * STATS: "commands": {"read", "write", "flush", "write_zeroes", "dsm", "other"}, "read_bytes", "written_bytes",
 * "errors", "latency_us": {"count", "mean", "p50", "p99", "p999", "max"}: capsule received to answer handed to the
 * socket. Counters only grow; they are read while reactors write them, so that sums may be off by the I/O of that
 * moment.
 */
struct json_object *target_stats(struct target *t); /* the caller's: json_object_put() */

/* The same as text, for control_handler_fn. -ENOMEM. */
int target_stats_text(struct target *t, char **ret_text);

#endif
