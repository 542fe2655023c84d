/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DH-HMAC-CHAP messages as they stand on the wire (Base 2.0, section 8.13.5.3 on), and reading them: what leaves here
 * has lengths that agree with the message's. Shared by dhchap_controller.c and dhchap_host.c only.
 */
#ifndef SLUICE_NVME_DHCHAP_MESSAGE_H
#define SLUICE_NVME_DHCHAP_MESSAGE_H

#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

#include "nvme/dhchap.h"

#define DHCHAP_TYPE_COMMON 0x00 /* negotiation and failures */
#define DHCHAP_TYPE_DHCHAP 0x01
#define DHCHAP_PROTOCOL	   0x01 /* identifier of DH-HMAC-CHAP in NEGOTIATE */
#define DHCHAP_REASON	   0x01 /* the one reason code there is: authentication failure */

enum dhchap_id {
	DHCHAP_ID_NEGOTIATE = 0x00,
	DHCHAP_ID_CHALLENGE = 0x01,
	DHCHAP_ID_REPLY = 0x02,
	DHCHAP_ID_SUCCESS1 = 0x03,
	DHCHAP_ID_SUCCESS2 = 0x04,
	DHCHAP_ID_FAILURE2 = 0xf0,
	DHCHAP_ID_FAILURE1 = 0xf1,
};

struct dhchap_head {
	__u8 type; /* DHCHAP_TYPE_* */
	__u8 id;   /* enum dhchap_id */
	__le16 reserved;
	__le16 tid;
};

struct dhchap_descriptor {
	__u8 protocol; /* DHCHAP_PROTOCOL */
	__u8 reserved;
	__u8 n_hashes, n_groups;
	__u8 hashes[30], groups[30];
};

struct dhchap_negotiate {
	struct dhchap_head head;
	__u8 concatenation; /* enum dhchap_concatenation */
	__u8 n_descriptors;
	struct dhchap_descriptor descriptors[1]; /* as many as it says */
};

struct dhchap_challenge {
	struct dhchap_head head;
	__u8 hash_len;
	__u8 reserved7;
	__u8 hash, group;
	__le16 dh_len;
	__le32 s1;
	__u8 values[]; /* C1: hash_len, then g^y: dh_len */
};

struct dhchap_reply {
	struct dhchap_head head;
	__u8 hash_len;
	__u8 reserved7;
	__u8 has_c2;
	__u8 reserved9;
	__le16 dh_len;
	__le32 s2;     /* 0: C2 is for a PSK alone, no R2 is wanted */
	__u8 values[]; /* R1: hash_len, C2: hash_len even if there is none, g^x: dh_len */
};

struct dhchap_success1 {
	struct dhchap_head head;
	__u8 hash_len;
	__u8 reserved7;
	__u8 has_r2;
	__u8 reserved9[7];
	__u8 values[]; /* R2: hash_len even if there is none */
};

struct dhchap_success2 {
	struct dhchap_head head;
	__u8 reserved[10];
};

struct dhchap_failure {
	struct dhchap_head head;
	__u8 reason;	  /* DHCHAP_REASON */
	__u8 explanation; /* enum dhchap_fault */
};

_Static_assert(sizeof(struct dhchap_head) == 6, "AUTH messages: what is the type's own starts at byte 6");
_Static_assert(sizeof(struct dhchap_descriptor) == 64, "NEGOTIATE: descriptors lie 64 bytes apart");
_Static_assert(offsetof(struct dhchap_negotiate, descriptors) == 8, "NEGOTIATE: descriptors start at byte 8");
_Static_assert(offsetof(struct dhchap_challenge, values) == 16, "CHALLENGE: values start at byte 16");
_Static_assert(offsetof(struct dhchap_reply, values) == 16, "REPLY: values start at byte 16");
_Static_assert(offsetof(struct dhchap_success1, values) == 16, "SUCCESS1: values start at byte 16");
_Static_assert(sizeof(struct dhchap_success2) == 16, "SUCCESS2 is 16 bytes");
_Static_assert(sizeof(struct dhchap_failure) == 8, "FAILURE1, FAILURE2 are 8 bytes");

/* ---- cryptography: dhchap_crypto.c; -EIO: OpenSSL failed ---- */

/* Fresh private value of s->group as s->dh; nothing for DHCHAP_NULL. */
int dhchap_dh_make(struct dhchap_session *s);
/* Bytes of the group's values: its prime's. 0 for DHCHAP_NULL. */
size_t dhchap_dh_len(uint8_t group);
/* The public value, dhchap_dh_len() bytes, big endian, with leading zeros. */
int dhchap_dh_public(const struct dhchap_session *s, void *ret_value);
/* s->secret, from the peer's public value; s->dh is gone then. -EINVAL: the value is not one of the group's. */
int dhchap_dh_agree(struct dhchap_session *s, const void *peer, size_t len);

/* R1 and R2: s->hash_len bytes. */
int dhchap_response_host(const struct dhchap_session *s, uint8_t ret_response[DHCHAP_HASH_MAX]);
int dhchap_response_controller(const struct dhchap_session *s, uint8_t ret_response[DHCHAP_HASH_MAX]);

/* Of a session of concatenation that has all its values. */
int dhchap_psk_make(const struct dhchap_session *s, struct dhchap_psk *ret_psk);

/* A random challenge, and a sequence number, which is never 0. */
int dhchap_random(void *ret_bytes, size_t len);
int dhchap_sequence(uint32_t *ret_number);

bool dhchap_same(const void *a, const void *b, size_t len); /* in constant time */
void dhchap_session_wipe(struct dhchap_session *s);

/* ---- messages ---- */

struct dhchap_head dhchap_head_make(uint8_t type, uint8_t id, uint16_t tid);
/* Returns its length. */
size_t dhchap_failure_make(uint8_t id, uint16_t tid, uint8_t fault, void *buf);

#endif
