/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of one connection of the target, between its receive buffers and its PDUs, and between its batches and the
 * socket. Connections of portals without TLS pay one branch a receive and one a batch.
 */
#ifndef SLUICE_STORAGE_CONN_TLS_H
#define SLUICE_STORAGE_CONN_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#include "base/error.h"
#include "storage/tls.h"

struct conn;
struct target;
struct nvme_connect;
struct policy_storage;

enum conn_channel {
	CONN_PLAIN,
	CONN_UNDECIDED, /* the portal has TLS: the first byte decides */
	CONN_TLS,
};

/* For targets one of whose portals has TLS; else *ret_server is NULL. */
int conn_tls_open(struct target *t, const struct policy_storage *storage, struct tls_server **ret_server,
		  struct error *err);

/* Bytes as they arrived: as conn_stream(), which gets what they say. len may be 0: to go on with what is left. */
size_t conn_tls_arrive(struct conn *c, const uint8_t *in, size_t len);

/* The batch as it stands becomes records. false: the connection is closed. */
bool conn_tls_seal(struct conn *c);

/* Whether a Connect fits the way that it came by; else the status that refuses it. */
uint16_t conn_tls_admits(const struct conn *c, const struct nvme_connect *connect, __u64 *ret_result);

#endif
