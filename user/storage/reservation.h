/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent reservations of one namespace (Base 2.0, section 8.19): who is registered, who holds it, and what follows
 * from a command. Pure: values in, values out; no locks, no clocks, no files. A host is its 128-bit identifier,
 * whichever of its controllers a command comes from. reservation_command.c puts this behind NVMe commands,
 * reservation_file.c on disk.
 */
#ifndef SLUICE_STORAGE_RESERVATION_H
#define SLUICE_STORAGE_RESERVATION_H

#include <stdbool.h>
#include <stdint.h>

#define RESERVATION_HOSTS    256 /* registered with one namespace */
#define RESERVATION_HOST_LEN 16

enum reservation_type {
	RESERVATION_NONE,
	RESERVATION_WRITE_EXCLUSIVE,
	RESERVATION_EXCLUSIVE_ACCESS,
	RESERVATION_WRITE_REGISTRANTS,	/* Write Exclusive, Registrants Only */
	RESERVATION_ACCESS_REGISTRANTS, /* Exclusive Access, Registrants Only */
	RESERVATION_WRITE_ALL,		/* Write Exclusive, All Registrants: each of them holds it */
	RESERVATION_ACCESS_ALL,		/* Exclusive Access, All Registrants */
	RESERVATION_TYPES,
};

struct reservation_host {
	uint8_t id[RESERVATION_HOST_LEN];
	uint64_t key;
};

struct reservation {
	enum reservation_type type; /* NONE: nobody holds it */
	bool persists;		    /* kept across a restart of the target */
	uint32_t generation;	    /* of the registrants; wraps */
	unsigned int holder;	    /* in hosts; for types with one holder */
	unsigned int n_hosts;
	struct reservation_host hosts[RESERVATION_HOSTS];
};

/* As in the Reservation Notification log page. */
enum reservation_notice {
	RESERVATION_NO_NOTICE,
	RESERVATION_REGISTRATION_PREEMPTED,
	RESERVATION_RELEASED,
	RESERVATION_PREEMPTED,
};

/* What a command means to other hosts than the one that sent it. */
struct reservation_outcome {
	bool changed; /* anything that a persistent reservation keeps */
	unsigned int n;
	struct {
		uint8_t id[RESERVATION_HOST_LEN];
		enum reservation_notice notice;
		bool abort; /* its commands */
	} hosts[RESERVATION_HOSTS];
};

enum reservation_register { RESERVATION_REGISTER, RESERVATION_UNREGISTER, RESERVATION_REPLACE };
enum reservation_acquire { RESERVATION_ACQUIRE, RESERVATION_PREEMPT, RESERVATION_PREEMPT_ABORT };
enum reservation_release { RESERVATION_RELEASE, RESERVATION_CLEAR };
enum reservation_persist { RESERVATION_KEEP, RESERVATION_PERSIST_RESERVED, RESERVATION_FORGET, RESERVATION_PERSIST };

/* A command as it came; numbers unchecked. */
struct reservation_command {
	const uint8_t *host;  /* who sent it */
	unsigned int action;  /* of its kind, above */
	bool ignore_key;      /* IEKEY */
	unsigned int type;    /* Acquire, Release */
	unsigned int persist; /* Register: CPTPL */
	uint64_t current_key; /* CRKEY */
	uint64_t new_key;     /* Register: NRKEY; Acquire: PRKEY */
};

/*
 * Each answers the NVMe status; other than 0, nothing has changed and *ret_outcome is empty. can_persist: there is a
 * place to keep it.
 */
uint16_t reservation_register(struct reservation *r, const struct reservation_command *cmd, bool can_persist,
			      struct reservation_outcome *ret_outcome);
uint16_t reservation_acquire(struct reservation *r, const struct reservation_command *cmd,
			     struct reservation_outcome *ret_outcome);
uint16_t reservation_release(struct reservation *r, const struct reservation_command *cmd,
			     struct reservation_outcome *ret_outcome);

/* Whether a command of the host's that writes (or only reads) may be run. */
bool reservation_allows(const struct reservation *r, const uint8_t *host, bool writes);
/* Whether hosts[i] holds the reservation. */
bool reservation_holds(const struct reservation *r, unsigned int i);

#endif
