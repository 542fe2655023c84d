// SPDX-License-Identifier: Apache-2.0
/*
 * The list of generated PSKs of a target. Called by conn_auth.c, which makes and holds them, and by conn_tls.c for
 * handshakes. What always holds: a key on the list either waits and is not older than it may be, or is held; it is
 * wiped when it leaves.
 */
#include "storage/generated_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/util.h"

struct generated_key {
	struct generated_key *next;
	unsigned int holders; /* admin queues */
	bool waiting;	      /* for the first of them */
	bool replaced;	      /* off the list, and here only for its holders */
	uint64_t made_ns;
	struct tls_client clients[TLS_PSK_VERSIONS]; /* by version of the identity */
};

/* ---- the list; the mutex is held ---- */

static void key_free(struct generated_key *key)
{
	secret_wipe(key, sizeof(*key));
	free(key);
}

static void waits_no_longer(struct generated_keys *keys, struct generated_key *key)
{
	if (key->waiting)
		__atomic_store_n(&keys->waiting, keys->waiting - 1, __ATOMIC_RELAXED);
	key->waiting = false;
}

static void list_remove(struct generated_keys *keys, struct generated_key *key)
{
	struct generated_key **link = &keys->first;

	while (*link != key)
		link = &(*link)->next;
	*link = key->next;
	waits_no_longer(keys, key);
}

static bool is_of(const struct generated_key *key, const char *hostnqn, const char *subnqn)
{
	return !strcmp(key->clients[0].hostnqn, hostnqn) && !strcmp(key->clients[0].subnqn, subnqn);
}

static void drop_old(struct generated_keys *keys, uint64_t now_ns)
{
	struct generated_key *key, *next;

	for (key = keys->first; key; key = next) {
		next = key->next;
		if (!key->waiting || now_ns <= key->made_ns + GENERATED_KEY_WAIT_NS)
			continue; /* reactors' clocks differ by a turn */
		list_remove(keys, key);
		key_free(key);
	}
}

/* Room for one more of this host's that waits. */
static void drop_oldest(struct generated_keys *keys, const char *hostnqn, const char *subnqn)
{
	struct generated_key *key, *oldest = NULL;
	unsigned int n = 0;

	for (key = keys->first; key; key = key->next) {
		if (!key->waiting || !is_of(key, hostnqn, subnqn))
			continue;
		oldest = key;
		n++;
	}
	if (n < GENERATED_KEYS_WAITING)
		return;
	list_remove(keys, oldest);
	key_free(oldest);
}

/* Newest first: identities of version 0 have no digest, and are the same for all keys of a host. */
static struct generated_key *find(struct generated_keys *keys, const char *identity, size_t len, int *ret_version)
{
	struct generated_key *key;
	int version;

	for (key = keys->first; key; key = key->next) {
		for (version = 0; version < TLS_PSK_VERSIONS; version++) {
			const char *own = key->clients[version].psk.identity;

			if (*own && strlen(own) == len && !memcmp(own, identity, len)) {
				*ret_version = version;
				return key;
			}
		}
	}
	return NULL;
}

/* ---- making ---- */

static int derive(const struct dhchap_psk *psk, const char *hostnqn, const char *subnqn, uint64_t now_ns,
		  struct generated_key **ret_key)
{
	struct generated_key *key = calloc(1, sizeof(*key));
	int version, r = key ? 0 : -ENOMEM;

	for (version = 0; version < TLS_PSK_VERSIONS && !r; version++) {
		struct tls_client *client = &key->clients[version];

		snprintf(client->hostnqn, sizeof(client->hostnqn), "%s", hostnqn);
		snprintf(client->subnqn, sizeof(client->subnqn), "%s", subnqn);
		client->generated = true;
		r = tls_psk_generated(psk->bytes, psk->len, hostnqn, subnqn, version, &client->psk);
		if (r == -ENAMETOOLONG && !version) /* no room for such names; such hosts use 1 */
			r = 0;
	}
	if (r) {
		if (key)
			key_free(key);
		return r;
	}
	key->made_ns = now_ns;
	*ret_key = key;
	return 0;
}

int generated_keys_make(struct generated_keys *keys, const struct dhchap_psk *psk, const char *hostnqn,
			const char *subnqn, uint64_t now_ns)
{
	struct generated_key *key;
	int r = derive(psk, hostnqn, subnqn, now_ns, &key);

	if (r)
		return r;
	key->waiting = true;
	pthread_mutex_lock(&keys->mutex);
	drop_old(keys, now_ns);
	drop_oldest(keys, hostnqn, subnqn);
	key->next = keys->first;
	keys->first = key;
	__atomic_store_n(&keys->waiting, keys->waiting + 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&keys->mutex);
	return 0;
}

int generated_keys_replace(struct generated_keys *keys, struct generated_key **key, const struct dhchap_psk *psk,
			   uint64_t now_ns)
{
	struct generated_key *old = *key, *new;
	int r = derive(psk, old->clients[0].hostnqn, old->clients[0].subnqn, now_ns, &new);

	if (r)
		return r;
	new->holders = 1;
	pthread_mutex_lock(&keys->mutex);
	new->next = keys->first;
	keys->first = new;
	if (!old->replaced)
		list_remove(keys, old);
	old->replaced = true;
	if (!--old->holders)
		key_free(old);
	pthread_mutex_unlock(&keys->mutex);
	*key = new;
	return 0;
}

/* ---- finding, holding ---- */

bool generated_keys_find(struct generated_keys *keys, const char *identity, size_t len, uint64_t now_ns,
			 struct tls_client *ret_client)
{
	struct generated_key *key;
	int version;

	pthread_mutex_lock(&keys->mutex);
	drop_old(keys, now_ns);
	key = find(keys, identity, len, &version);
	if (key)
		*ret_client = key->clients[version];
	pthread_mutex_unlock(&keys->mutex);
	return key;
}

struct generated_key *generated_keys_take(struct generated_keys *keys, const char *identity, uint64_t now_ns)
{
	struct generated_key *key;
	int version;

	pthread_mutex_lock(&keys->mutex);
	drop_old(keys, now_ns);
	key = find(keys, identity, strlen(identity), &version);
	if (key) {
		waits_no_longer(keys, key);
		key->holders++;
	}
	pthread_mutex_unlock(&keys->mutex);
	return key;
}

void generated_keys_give(struct generated_keys *keys, struct generated_key *key)
{
	if (!key)
		return;
	pthread_mutex_lock(&keys->mutex);
	if (!--key->holders) {
		if (!key->replaced)
			list_remove(keys, key);
		key_free(key);
	}
	pthread_mutex_unlock(&keys->mutex);
}

/* ---- ends ---- */

void generated_keys_expire(struct generated_keys *keys, uint64_t now_ns)
{
	if (!generated_keys_wait(keys))
		return;
	pthread_mutex_lock(&keys->mutex);
	drop_old(keys, now_ns);
	pthread_mutex_unlock(&keys->mutex);
}

void generated_keys_clear(struct generated_keys *keys)
{
	struct generated_key *key;

	while ((key = keys->first)) {
		keys->first = key->next;
		key_free(key);
	}
	keys->waiting = 0;
}
