/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets of hosts, read from the files that a policy names. Of the target; wiped when it ends. */
#ifndef SLUICE_STORAGE_HOST_KEYS_H
#define SLUICE_STORAGE_HOST_KEYS_H

#include <stdbool.h>

#include "base/error.h"
#include "nvme/dhchap.h"
#include "nvme/tls_psk.h"
#include "policy/policy.h"

#define HOST_PSKS (2 * (TLS_PSK_BARE + 1))

/* TLS identities of a host for one subsystem: each version, for the subsystem's NQN and for the discovery NQN. */
struct host_psks {
	struct tls_psk psks[HOST_PSKS];
	bool discovery[HOST_PSKS]; /* which of them are for the discovery NQN */
	unsigned int n;
};

/* Of one host of one subsystem. */
struct host_keys {
	bool has_host, has_controller;
	struct dhchap_key host, controller;
	struct host_psks *tls; /* NULL: it need not come by TLS, or by keys that its authentication makes: */
	bool generated;
};

/*
 * Reads what all hosts of the subsystem name: *ret_keys has as many as s has hosts, and is the caller's, for
 * host_keys_free(); NULL if no host names any. err: place in the policy, fact, remedy.
 */
int host_keys_read(const struct policy_subsystem *s, struct host_keys **ret_keys, struct error *err);

void host_keys_free(struct host_keys *keys, size_t n);

/* A file with a DHHC-1 key, as --dhchap-key and the policy name it. */
int host_key_read_file(const char *path, struct dhchap_key *ret_key, struct error *err);

/* A file with a NVMeTLSkey-1 key, as --psk and the policy name it. */
int host_psk_read_file(const char *path, struct tls_psk_key *ret_key, struct error *err);

#endif
