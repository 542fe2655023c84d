/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets of hosts, read from the files that a policy names. Of the target; wiped when it ends. */
#ifndef SLUICE_STORAGE_HOST_KEYS_H
#define SLUICE_STORAGE_HOST_KEYS_H

#include <stdbool.h>

#include "base/error.h"
#include "nvme/dhchap.h"
#include "policy/policy.h"

/* Of one host of one subsystem. */
struct host_keys {
	bool has_host, has_controller;
	struct dhchap_key host, controller;
};

/*
 * Reads what all hosts of the subsystem name: *ret_keys has as many as s has hosts, and is the caller's, for
 * host_keys_free(); NULL if no host names any. err: place in the policy, fact, remedy.
 */
int host_keys_read(const struct policy_subsystem *s, struct host_keys **ret_keys, struct error *err);

void host_keys_free(struct host_keys *keys, size_t n);

/* A file with a DHHC-1 key, as --dhchap-key and the policy name it. */
int host_key_read_file(const char *path, struct dhchap_key *ret_key, struct error *err);

#endif
