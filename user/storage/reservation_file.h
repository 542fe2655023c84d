/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations that outlive the target (PTPL): a text file a namespace, and a thread that writes them, since a reactor
 * must not wait for a disk. A file is replaced whole, and durable when its writing is reported.
 *
 *	sluice reservation 1
 *	namespace nqn.2026-11.io.example:datasets 1
 *	type 3
 *	host 00112233445566778899aabbccddeeff key 0000000000000001 holder
 *	host ffeeddccbbaa99887766554433221100 key 0000000000000002
 *	end
 */
#ifndef SLUICE_STORAGE_RESERVATION_FILE_H
#define SLUICE_STORAGE_RESERVATION_FILE_H

#include "base/error.h"
#include "storage/conn.h"
#include "storage/reservation.h"

/* What is kept at path, which may be nothing: then *ret is zeroed. -EINVAL: the file is damaged, err says where. */
int reservation_load(const char *path, const char *subnqn, uint32_t nsid, struct reservation *ret_reservation,
		     struct error *err);
/* Writes r, or removes the file if r does not persist. -errno. */
int reservation_save(const char *path, const char *subnqn, uint32_t nsid, const struct reservation *r);

struct reservation_saver;

/* `dir` is made if it is not there. */
int reservation_saver_start(const char *dir, struct error *err, struct reservation_saver **ret_saver);
/* Waits for what is to be written; no reactor runs any more. NULL is fine. */
void reservation_saver_stop(struct reservation_saver *s);
/* The path of a namespace's file, which is named by its NGUID. -ENAMETOOLONG. */
int reservation_saver_path(const struct reservation_saver *s, const char *subnqn, uint32_t nsid, char *ret_path,
			   size_t size);

/* To be written; made by its user, freed by saved(). */
struct reservation_saving {
	struct reactor_call call; /* saved(), on the reactor's thread */
	struct reservation_saving *next;
	struct reactor *reactor;
	struct command *cmd;
	char path[4096];
	char subnqn[NVME_NQN_MAX + 1];
	uint32_t nsid;
	struct reservation copy;
	int result; /* 0 or -errno */
};

/* In the order of these calls. */
void reservation_saver_queue(struct reservation_saver *s, struct reservation_saving *saving);

#endif
