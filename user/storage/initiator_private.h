/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an initiator's queue, shared by initiator_queue.c (life), initiator_tx.c and initiator_rx.c only. */
#ifndef SLUICE_STORAGE_INITIATOR_PRIVATE_H
#define SLUICE_STORAGE_INITIATOR_PRIVATE_H

#include <sys/uio.h>

#include "nvme/pdu.h"
#include "storage/initiator.h"
#include "storage/ring.h"
#include "storage/tls.h"

#define SLOT_BITS     10 /* a CID is a slot and, above it, the slot's generation: a stale answer is recognised */
#define SLOT_NONE     UINT16_MAX
#define R2T_MAX	      4		   /* R2Ts outstanding per command, as ICReq says */
#define TX_IOV	      256	   /* pieces of one send */
#define TX_ARENA      (32 * 1024)  /* headers and digests of one send */
#define TX_BATCH_DATA (512 * 1024) /* a send is closed once it carries this much data */
#define RX_STAGE      (64 * 1024)  /* one receive */
#define RX_TAIL	      4096	   /* ... behind data that are received in place: the headers that follow them */
#define RX_PLACE_MIN  (16 * 1024)  /* shorter rests are cheaper to copy than to receive one by one */

_Static_assert(INITIATOR_DEPTH_MAX <= 1 << SLOT_BITS, "a slot's number is part of the CID");

enum queue_op { /* tokens */
		OP_CONNECT = 1,
		OP_SEND,
		OP_RECV,
		OP_TICK,
};

enum queue_state {
	QUEUE_CONNECTING, /* TCP, then ICReq until ICResp */
	QUEUE_READY,
	QUEUE_DEAD, /* queue->fault says why */
};

/* One outstanding command. */
struct slot {
	struct initiator_io *io; /* NULL: free */
	struct nvme_cqe cqe;	 /* once responded */
	uint32_t received;	 /* bytes of C2H data so far; they come in order */
	uint32_t requested;	 /* bytes that R2Ts have asked for so far; they come in order */
	uint16_t generation;
	uint16_t tx_refs; /* pieces of it that are queued or being sent: its buffer is not the caller's yet */
	uint8_t r2ts;	  /* ... of these, H2C_DATA */
	bool responded, digest_bad;
};

/* Something to send: a capsule, or what one R2T asked for (len > 0), which may take several PDUs. */
struct tx_item {
	uint32_t offset, len;
	uint16_t slot;
	uint16_t ttag;
};

struct tx {
	struct tx_item *items; /* ring of n_items (a power of two): depth * (1 + R2T_MAX) fit */
	uint32_t n_items, head, tail;
	/* the send under way */
	bool busy, blocking; /* blocking: it did not fit the socket at once, completes later */
	bool broken;	     /* the peer takes nothing more */
	struct msghdr msg;
	struct iovec iov[TX_IOV];
	unsigned int n_iov, iov_at;
	size_t data_bytes;
	uint16_t *sent; /* slots with a piece in it */
	unsigned int n_sent;
	size_t arena_used;
	uint8_t *arena;
};

struct rx {
	struct pdu_decoder decoder;
	struct pdu pdu;
	bool open;     /* pdu is under way */
	uint16_t slot; /* that pdu's data belong to; SLOT_NONE: nobody's (TermReq) */
	bool busy, more;
	struct msghdr msg;
	struct iovec iov[2];
	uint32_t place; /* bytes of the receive under way that go straight into the caller's buffer */
	uint8_t *stage;
};

struct initiator_queue {
	struct ring ring;
	struct ring_file file;
	int fd;
	enum queue_state state;
	struct initiator_options options;
	uint16_t qid;
	unsigned int depth;
	uint32_t in_capsule;
	uint32_t max_h2c;
	struct pdu_framing framing_out;
	bool connecting, ticking, dispatching;
	uint64_t started_ns;
	struct __kernel_timespec tick;
	uint64_t now_ns; /* read once a completion */
	uint64_t spin_ns;
	struct slot *slots;
	uint16_t *free_slots;
	unsigned int n_free;
	bool (*expired)(void *owner, uint16_t cid);
	void *expired_owner;
	struct tls *tls; /* NULL: plain */
	bool icreq_due;	 /* the handshake is done */
	struct tx tx;
	struct rx rx;
	struct initiator_queue_info info;
	struct error fault;
	int fault_errno;
	char place[128]; /* "10.0.0.1:4420 queue 1" */
};

/* The queue is lost, for this reason; the first reason stays. Always returns -errnum. */
int queue_fail(struct initiator_queue *q, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Hands a command back to its caller, once answered and nothing of it is left to send. */
void queue_finish(struct initiator_queue *q, uint16_t slot);

static inline __le16 slot_cid(const struct initiator_queue *q, uint16_t slot)
{
	return htole16((uint16_t)(slot | q->slots[slot].generation << SLOT_BITS));
}

/* ---- initiator_tx.c ---- */

int tx_open(struct initiator_queue *q);
void tx_close(struct initiator_queue *q);
void tx_put(struct initiator_queue *q, struct tx_item item);
/* Encodes what fits of what is queued, and queues the send to the ring; nothing while one is under way. */
void tx_pump(struct initiator_queue *q);
/* After each submission: a send that did not come back has gone out whole. */
void tx_submitted(struct initiator_queue *q);
void tx_complete(struct initiator_queue *q, int result);
/* TLS: sends what the handshake, or an answer to the peer's, has to say; nothing while a send is under way. */
void tx_tls(struct initiator_queue *q);
/* Sends ICReq as the first bytes of the connection. */
void tx_icreq(struct initiator_queue *q);
/* Tells the controller why the connection ends; best effort, whole or not at all. */
void tx_term(struct initiator_queue *q, const struct pdu_error *error, const void *header, size_t len);

/* ---- initiator_rx.c ---- */

int rx_open(struct initiator_queue *q);
void rx_close(struct initiator_queue *q);
void rx_arm(struct initiator_queue *q);
void rx_complete(struct initiator_queue *q, const struct ring_completion *c);

#endif
