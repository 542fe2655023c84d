/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent reservations as the target serves them: the state of each namespace (reservation.h) behind its mutex, the
 * commands, what they ask of other commands and hosts. A namespace without a reservation costs its I/O one load.
 */
#ifndef SLUICE_STORAGE_RESERVATIONS_H
#define SLUICE_STORAGE_RESERVATIONS_H

#include "storage/reactor.h"
#include "storage/reservation.h"
#include "storage/reservation_file.h"

struct reservations {
	pthread_mutex_t mutex; /* of all but `held`; taken before the target's */
	bool held;	       /* relaxed: now.type is one; others have to look */
	struct reservation now;
	struct reservation_outcome outcome; /* of the command that is being run */
	bool can_persist;
	char path[4096]; /* where it is kept, if it can be */
};

/* Of a namespace that is being opened, with what was kept of it. saver NULL: nothing can be kept. */
int reservations_open(const struct reservation_saver *saver, const char *subnqn, uint32_t nsid, struct error *err,
		      struct reservations **ret_reservations);
void reservations_close(struct reservations *r); /* NULL is fine */

/* ---- reservation_command.c: on the thread of the command's reactor ---- */

bool reservation_is_command(uint8_t opcode);
/* A reservation command whose header has come. Answers its status. */
uint16_t reservation_check(const struct command *cmd);
/* Its data are whole. false: it must wait for a buffer. */
bool reservation_run(struct command *cmd);
/* Whether an I/O command may be run, as things stand. */
bool reservation_admits_held(const struct command *cmd);

static inline bool reservation_admits(const struct command *cmd)
{
	return !__atomic_load_n(&cmd->ns->reservations->held, __ATOMIC_RELAXED) || reservation_admits_held(cmd);
}

/* A part of the command that others did is done; the last answers it. */
void reservation_part_done(struct command *cmd);

/* ---- reservation_notice.c ---- */

/* Tells the hosts of an outcome. The mutex of the reservations is held. */
void reservation_tell(const struct command *cmd, const struct reservation_outcome *outcome);
/* Aborts the commands of hosts that an outcome says so of, on all reactors: a part of cmd. -ENOMEM. */
int reservation_abort(struct command *cmd, const struct reservation_outcome *outcome);
/* On a reactor's thread, after each turn: preemptions that wait for commands. */
void reservation_settle(struct reactor *r);

/* The oldest notice of the controller's, as the Reservation Notification log page (64 bytes at page). */
void reservation_log(struct controller *c, void *page);
/* Feature Reservation Notification Mask of one namespace, or of all (0xffffffff). */
uint16_t reservation_mask_get(struct controller *c, uint32_t nsid, uint32_t *ret_mask);
uint16_t reservation_mask_set(struct controller *c, uint32_t nsid, uint32_t mask);

#endif
