/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DH-HMAC-CHAP: who is at the other end of a queue (Base 2.0, section 8.13.5; RFC 7919 for the groups). Keys and both
 * sides' state machines as values: messages in, messages out. Knows no connection; the target and the initiator share
 * it. Secrets are compared in constant time and wiped when they are done with. Cryptography is OpenSSL's.
 *
 *	host				controller
 *	NEGOTIATE		->			algorithms that the host offers
 *				<-	CHALLENGE	the two that are taken, C1, g^y
 *	REPLY			->			R1 over C1; C2, if the controller is to prove itself too or a
 *							PSK is to be made; g^x
 *				<-	SUCCESS1	R2 over C2
 *	SUCCESS2		->			only if there was an R2
 *
 * Whatever does not fit is answered with FAILURE1 (by the controller) or FAILURE2 (by the host), and ends it.
 */
#ifndef SLUICE_NVME_DHCHAP_H
#define SLUICE_NVME_DHCHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define DHCHAP_HASH_MAX	   64	/* bytes of the longest hash */
#define DHCHAP_DH_MAX	   1024 /* bytes of the longest Diffie-Hellman value */
#define DHCHAP_MESSAGE_MAX (16 + 2 * DHCHAP_HASH_MAX + DHCHAP_DH_MAX)

/* As on the wire. */
enum dhchap_hash { DHCHAP_SHA256 = 1, DHCHAP_SHA384, DHCHAP_SHA512 };
enum dhchap_group {
	DHCHAP_NULL,
	DHCHAP_FFDHE2048,
	DHCHAP_FFDHE3072,
	DHCHAP_FFDHE4096,
	DHCHAP_FFDHE6144,
	DHCHAP_FFDHE8192,
	DHCHAP_GROUPS,
};

/* Sets of them, as bits 1 << number. */
#define DHCHAP_ALL_HASHES (1 << DHCHAP_SHA256 | 1 << DHCHAP_SHA384 | 1 << DHCHAP_SHA512)
#define DHCHAP_ALL_GROUPS ((1 << DHCHAP_GROUPS) - 1)

/*
 * Secure channel concatenation (SC_C): what a successful authentication makes besides, a PSK for TLS (Base 2.1, section
 * 8.3.4.3). As on the wire; 1 is obsolete.
 */
enum dhchap_concatenation {
	DHCHAP_NOSC = 0,	  /* nothing */
	DHCHAP_NEWTLSPSK = 2,	  /* on an admin queue without TLS: for all queues from then on */
	DHCHAP_REPLACETLSPSK = 3, /* on an admin queue by TLS: instead of the one that it came by */
};

/* A PSK has the length of a hash that TLS cipher suites have, and is made of what Diffie-Hellman agrees on. */
#define DHCHAP_CONCATENATION_HASHES (1 << DHCHAP_SHA256 | 1 << DHCHAP_SHA384)
#define DHCHAP_CONCATENATION_GROUPS (DHCHAP_ALL_GROUPS & ~(1 << DHCHAP_NULL))

/* A generated PSK; for tls_psk_generated(). A secret. */
struct dhchap_psk {
	uint8_t bytes[DHCHAP_HASH_MAX];
	uint8_t len; /* 0: none */
};

/* Why it failed; the "reason code explanation" of FAILURE1 and FAILURE2. */
enum dhchap_fault {
	DHCHAP_FINE = 0x00,
	DHCHAP_REJECTED = 0x01, /* authentication failed: wrong key, or an inner failure */
	DHCHAP_NO_PROTOCOL = 0x02,
	DHCHAP_NO_CONCATENATION = 0x03, /* another secure channel concatenation is due, or none */
	DHCHAP_NO_HASH = 0x04,
	DHCHAP_NO_GROUP = 0x05,
	DHCHAP_BAD_PAYLOAD = 0x06,
	DHCHAP_BAD_MESSAGE = 0x07, /* not the one that was due */
};

/* For logs and errors; never NULL. */
const char *dhchap_fault_name(uint8_t fault);
const char *dhchap_hash_name(uint8_t hash);
const char *dhchap_group_name(uint8_t group);
/* The reverse: "sha256", "null", "ffdhe2048" ...; -EINVAL. */
int dhchap_hash_number(const char *name);
int dhchap_group_number(const char *name);
/* Bytes; 0: there is no such hash. */
size_t dhchap_hash_len(uint8_t hash);

/* ---- keys ---- */

/* A secret; dhchap_key_wipe() when it is no longer needed. */
struct dhchap_key {
	uint8_t bytes[DHCHAP_HASH_MAX];
	uint8_t len;  /* 32, 48 or 64 */
	uint8_t hash; /* that makes an NQN's own key of it; 0: it is used as it stands */
};

/* "DHHC-1:01:BASE64:" as nvme gen-dhchap-key writes it. err: fact and remedy; it never quotes the text. -EINVAL. */
int dhchap_key_parse(const char *text, struct dhchap_key *ret_key, struct error *err);

/* What a key of this NQN's is when used (the "transformed" key). -EIO: OpenSSL failed. */
int dhchap_key_transform(const struct dhchap_key *key, const char *nqn, struct dhchap_key *ret_key);

void dhchap_key_wipe(struct dhchap_key *key);

/* ---- one authentication ---- */

/* Who authenticates. All of it is the caller's and stays. */
struct dhchap_parties {
	const char *hostnqn, *subnqn;
	const struct dhchap_key *host;	     /* not transformed */
	const struct dhchap_key *controller; /* NULL: the controller has none to prove itself with */
};

struct evp_pkey_st;

/* What both ends keep of a transaction. */
struct dhchap_session {
	struct dhchap_parties parties;
	uint16_t tid;
	uint8_t concatenation; /* enum dhchap_concatenation */
	uint8_t hash, group, hash_len;
	uint32_t s1, s2;
	uint8_t c1[DHCHAP_HASH_MAX], c2[DHCHAP_HASH_MAX];
	struct evp_pkey_st *dh;		 /* own private value; NULL: none, or done with */
	uint8_t secret[DHCHAP_HASH_MAX]; /* hash of g^xy */
	bool mutual;			 /* the controller proves itself too */
};

enum dhchap_step {
	DHCHAP_NEGOTIATE, /* nothing yet */
	DHCHAP_CHALLENGE,
	DHCHAP_REPLY,
	DHCHAP_SUCCESS1,
	DHCHAP_SUCCESS2,
	DHCHAP_FAILURE, /* the failure message is to be sent */
	DHCHAP_DONE,
	DHCHAP_FAILED,
};

/* The controller's side. Zero-initialised but for what is said; ended by dhchap_controller_end(). */
struct dhchap_controller {
	struct dhchap_parties parties; /* the caller's to set */
	unsigned int hashes, groups;   /* the caller's to set: which are taken; the best of what the host offers */
	unsigned int concatenations;   /* the caller's to set: which are taken, as bits; 0 is none but DHCHAP_NOSC */
	struct dhchap_psk psk;	       /* of a concatenation, when it has just come to DONE; the caller's to wipe */
	struct dhchap_session session;
	enum dhchap_step step; /* the message that is due next */
	uint8_t fault;	       /* enum dhchap_fault, once step is FAILURE or FAILED */
	/* Once the host has proved itself, and while it does so again; false again as soon as that fails. */
	bool authenticated;
};

/* A message from the host. What is wrong with it shows in `step` and in what is answered. */
void dhchap_controller_take(struct dhchap_controller *c, const void *message, size_t len);

/*
 * The message for the host, at most len bytes. *ret_len: its length, 0: none is due now, which the host ought to know.
 * -EMSGSIZE: len is too small, nothing has changed.
 */
int dhchap_controller_give(struct dhchap_controller *c, void *buf, size_t len, size_t *ret_len);

/* Whether the next move is the host's within a transaction: the time when it may let one wait. */
bool dhchap_controller_waits(const struct dhchap_controller *c);

void dhchap_controller_end(struct dhchap_controller *c);

/* The host's side. */
struct dhchap_host {
	struct dhchap_parties parties; /* the caller's to set; with a key of the controller's it must prove itself */
	unsigned int hashes, groups;   /* the caller's to set: what is offered */
	uint8_t concatenation;	       /* the caller's to set; then hashes, groups: DHCHAP_CONCATENATION_* at most */
	struct dhchap_psk psk;	       /* of a concatenation, once DONE */
	uint16_t tid;		       /* the caller's to set: differs from transaction to transaction of a host */
	struct dhchap_session session;
	uint8_t dh_public[DHCHAP_DH_MAX]; /* what REPLY says */
	enum dhchap_step step;
	uint8_t fault;	      /* once step is FAILURE or FAILED */
	bool fault_is_theirs; /* FAILURE1 said it */
};

/* Whether a message is due from the host (else: whether it waits for one), until step is DONE or FAILED. */
bool dhchap_host_speaks(const struct dhchap_host *h);
/* buf: DHCHAP_MESSAGE_MAX bytes. Returns the message's length. */
size_t dhchap_host_give(struct dhchap_host *h, void *buf);
void dhchap_host_take(struct dhchap_host *h, const void *message, size_t len);
void dhchap_host_end(struct dhchap_host *h);

#endif
