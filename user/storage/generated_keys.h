/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PSKs that authentications of hosts made (secure channel concatenation), for the target to know them again when the
 * host comes back by TLS. A key waits for its first queue for GENERATED_KEY_WAIT_NS, then lives as long as an admin
 * queue that came by it. One key serves all queues of a controller, and more controllers if the host likes. Any thread.
 */
#ifndef SLUICE_STORAGE_GENERATED_KEYS_H
#define SLUICE_STORAGE_GENERATED_KEYS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvme/dhchap.h"
#include "storage/tls.h"

#define GENERATED_KEY_WAIT_NS (30ull * 1000 * 1000 * 1000)
/* Of one host for one subsystem; more are those of paths that the host does not follow up: the oldest one goes. */
#define GENERATED_KEYS_WAITING 8

struct generated_key;

/* Zeros, but for the mutex. */
struct generated_keys {
	pthread_mutex_t mutex;
	struct generated_key *first; /* the newest */
	unsigned int waiting;	     /* atomic: how many wait for their first queue */
};

/* -ENOMEM, -EIO. */
int generated_keys_make(struct generated_keys *keys, const struct dhchap_psk *psk, const char *hostnqn,
			const char *subnqn, uint64_t now_ns);

/* For tls_find_fn. */
bool generated_keys_find(struct generated_keys *keys, const char *identity, size_t len, uint64_t now_ns,
			 struct tls_client *ret_client);

/* An admin queue came by the key of this identity, which now stays until given back. NULL: it has gone meanwhile. */
struct generated_key *generated_keys_take(struct generated_keys *keys, const char *identity, uint64_t now_ns);
void generated_keys_give(struct generated_keys *keys, struct generated_key *key); /* NULL is fine */

/*
 * The host has replaced *key, which it came by: nobody comes by it any more, and the holder has the new one instead. On
 * failure nothing has changed. -ENOMEM, -EIO.
 */
int generated_keys_replace(struct generated_keys *keys, struct generated_key **key, const struct dhchap_psk *psk,
			   uint64_t now_ns);

/* Whether there are some for generated_keys_expire(), which drops those that have waited for too long. */
static inline bool generated_keys_wait(const struct generated_keys *keys)
{
	return __atomic_load_n(&keys->waiting, __ATOMIC_RELAXED);
}

void generated_keys_expire(struct generated_keys *keys, uint64_t now_ns);

/* Nobody holds one any more. */
void generated_keys_clear(struct generated_keys *keys);

#endif
