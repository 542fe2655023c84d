/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One NVMe/TCP connection, that is one queue, and its commands. A connection belongs to the reactor that accepted it;
 * only that thread touches it. conn.c owns its life, conn_receive.c what comes in, conn_send.c what goes out,
 * conn_command.c the commands between the two.
 *
 * Nothing is allocated per I/O: commands are made at Connect for the size of the queue, data lie in the reactor's pool
 * or in the backend's own memory. What is short makes its user wait, in order: commands on reactor.waiting, and a whole
 * connection (blocked) where the stream itself cannot go on.
 */
#ifndef SLUICE_STORAGE_CONN_H
#define SLUICE_STORAGE_CONN_H

#include <sys/socket.h>
#include <sys/uio.h>

#include <sluice/abi.h>

#include "nvme/command.h"
#include "nvme/pdu.h"
#include "storage/backend.h"
#include "storage/buffer.h"
#include "storage/conn_auth.h"
#include "storage/conn_tls.h"
#include "storage/controller.h"
#include "storage/range_lock.h"
#include "storage/ring.h"
#include "storage/target_counters.h"

struct reactor;
struct namespace;
struct portal;

enum conn_state {
	CONN_ICREQ,   /* accepted */
	CONN_CONNECT, /* PDUs negotiated, no controller yet */
	CONN_LIVE,
	CONN_TERM,    /* a C2HTermReq is on its way */
	CONN_LINGER,  /* it is out: nothing more is said, the peer's rest is thrown away until it closes */
	CONN_CLOSING, /* shut down; waits for what the kernel still holds, then goes */
};

enum command_state {
	COMMAND_FREE,
	COMMAND_CAPSULE,  /* in-capsule data are coming */
	COMMAND_LIMITED,  /* for its turn under a limit */
	COMMAND_WAITING,  /* for a buffer, a slot or scratch */
	COMMAND_H2C,	  /* asked for data, which are coming */
	COMMAND_FUSED,	  /* for the other half of its pair */
	COMMAND_LOCKED,	  /* for its blocks */
	COMMAND_BACKEND,  /* an SQE is under way */
	COMMAND_PARKED,	  /* Asynchronous Event Request */
	COMMAND_ABORTING, /* Abort: another reactor was asked */
	COMMAND_REPLY,	  /* its answer is queued, or being sent */
};

#define CONN_R2TS_MAX  POLICY_R2TS_MAX
#define CONN_TAG_SHIFT 10 /* a transfer tag is a command's index and, above it, the number of the R2T */

_Static_assert(CONTROLLER_MAX_ENTRIES <= 1 << CONN_TAG_SHIFT, "a command's index is part of its transfer tags");
_Static_assert(BUFFER_MAX_LEN / 4096 <= 1 << (16 - CONN_TAG_SHIFT), "R2Ts of 4096 bytes have tags of their own");

/* How far a command of several backend operations is. */
struct command_walk {
	uint32_t step;	     /* operations begun */
	uint32_t n_ranges;   /* Copy: of its data */
	uint32_t range;	     /* Dataset Management, Copy: the next */
	uint32_t fill;	     /* Copy: bytes in the scratch, not yet written */
	uint64_t range_done; /* Copy: bytes read of `range` */
	uint64_t done;	     /* bytes of the extent */
};

/* Work for a reactor's thread from another one; the caller's until run() is called. */
struct reactor_call {
	struct reactor_call *next;
	void (*run)(struct reactor *r, struct reactor_call *call);
};

struct command {
	struct command *next; /* of the one list that it is on */
	struct conn *conn;
	struct nvme_sqe sqe;
	enum command_state state;
	uint16_t index;	 /* in conn.commands; part of the transfer tags of its R2Ts */
	uint16_t status; /* NVMe, 0 so far */
	__u64 result;	 /* CQE DW0 and DW1 */
	struct nvme_transfer transfer;
	enum nvme_direction direction;
	bool send_r2t;			  /* on the send list for R2Ts, not for its answer */
	bool replied;			  /* the whole answer is in a batch */
	bool owns_cid;			  /* no other open command has its identifier */
	bool held;			  /* its buffer counts in conn.held */
	uint8_t *data;			  /* of the transfer; NULL: none, or nobody wants them */
	void *buffer;			  /* the pool's, to be given back; NULL: none */
	uint32_t received;		  /* H2C bytes so far */
	uint8_t r2ts;			  /* sent for it so far */
	uint8_t r2ts_open;		  /* of these, not yet answered in full */
	uint32_t r2t_left[CONN_R2TS_MAX]; /* bytes missing of R2T n, at n % CONN_R2TS_MAX */
	uint32_t sent;			  /* C2H bytes in batches so far */
	const struct namespace *ns;	  /* NULL: not an I/O command */
	struct nvme_extent extent;
	struct backend_io io;
	uint16_t io_slot; /* while io.ring is set */
	uint8_t fuse;	  /* NVME_SQE_FUSE_* of a half that was accepted */
	bool counts_fused;
	bool is_admitted;	/* by all limits */
	bool is_charged;	/* with what it copies */
	uint16_t limits_passed; /* of conn.limits */
	bool is_holding;     /* its blocks: or waits for them */
	bool hold_exclusive; /* even to read */
	bool hold_whole;     /* the whole extent, until it is answered */
	bool is_yielding;    /* its SQE does nothing */
	uint16_t ends_with;  /* not 0: it was aborted, and begins no more operations */
	uint32_t turn_bytes; /* since it last let others have their turn */
	struct range_hold hold;
	struct reactor_call grant; /* of its blocks, by another reactor */
	struct command *fused;	   /* the other half */
	uint8_t *scratch;	   /* the pool's: BUFFER_MAX_LEN bytes */
	struct command_walk walk;
	uint64_t start_ns;
};

#define CONN_BATCH_IOV	 192
#define CONN_BATCH_ARENA 4096
#define CONN_BATCH_BYTES (512u << 10)
#define CONN_BATCH_TLS	 (128u << 10) /* less, since a sealed batch is a copy */
#define CONN_C2H_MAX	 (128u << 10) /* bytes of data in one C2HData */
#define CONN_KEPT_MAX	 4	      /* pieces that a blocked connection keeps before its receive is cancelled */

/* One sendmsg: headers copied to the arena, data where they lie. Untouched from submission to completion. */
struct conn_batch {
	struct msghdr msg;
	struct iovec iov[CONN_BATCH_IOV];
	unsigned int n_iov;
	size_t bytes;
	unsigned int used;    /* of arena */
	struct command *done; /* answered in full by this batch: freed when it is out */
	bool last;	      /* the C2HTermReq is in it */
	uint8_t arena[CONN_BATCH_ARENA];
};

/* Why a connection receives, or does not. */
enum conn_receive {
	CONN_RECEIVES,
	CONN_WAITS_COMMAND, /* all are in use: answers on their way out free some */
	CONN_WAITS_CAPSULE, /* for a buffer for in-capsule data */
	CONN_WAITS_TURN,    /* its throttled commands hold as many of those as they may */
	CONN_STOPS,	    /* the target takes no more commands */
	CONN_ENDS,
};

/* What statistics know of a queue; outlives nothing, but is read by others under the target's mutex. */
struct queue {
	struct queue *next;
	unsigned int reactor;
	uint32_t steer_slot;
	uint16_t cntlid, qid;
	struct sluice_steer_key key;
	char hostnqn[NVME_NQN_MAX + 1];
	char subnqn[NVME_NQN_MAX + 1];
	const char *tls; /* what its key is: "retained" or "generated"; NULL: it came without TLS */
	struct io_stats stats;
	uint32_t n_open; /* atomic: commands under way */
	uint8_t receive; /* atomic: enum conn_receive */
};

/* Commands lie in chunks of 32, 32, 64, 128 .. 512, so that a queue may grow, and none of them ever moves. */
#define CONN_CHUNKS 6

_Static_assert(CONTROLLER_ADMIN_ENTRIES << (CONN_CHUNKS - 1) == CONTROLLER_MAX_ENTRIES, "all chunks are a full queue");

struct conn {
	struct reactor *reactor;
	struct conn *next_dirty, *next_blocked, *next_waiting;
	uint16_t slot;
	uint32_t gen;
	enum conn_state state;
	int fd;
	struct ring_file file;
	struct sluice_steer_key key;
	char name[80];	   /* "conn 192.0.2.7 port 40000", and the queue once known */
	uint64_t since_ns; /* when the state was entered */
	bool is_dirty, is_blocked, is_waiting;
	bool ended; /* while its C2HTermReq was on its way: the host sends no more */
	const struct portal *portal; /* that accepted it */

	/* The kernel holds: */
	bool receiving;	 /* a receive */
	bool cancelling; /* that is being cancelled */
	bool sending;	 /* a send of batch */
	unsigned int backend_ios;

	/* receive */
	struct pdu_decoder decoder;
	struct pdu pdu;		       /* current */
	bool pdu_pending;	       /* its header stands in pdu but could not be handled yet */
	struct command *rx_command;    /* that the current PDU's data are for; NULL: they are thrown away */
	uint32_t rx_at;		       /* where in the command's data the next byte goes */
	uint64_t rx_ns;		       /* when something was last received */
	enum conn_receive blocked_by;  /* while is_blocked */
	struct kept *kept, **kept_tail; /* received and not worked off */
	unsigned int n_kept;
	bool receives_singly; /* it was blocked with much at once lately */

	/* conn_watch.c */
	uint64_t watch_ns;	 /* when it was last looked at */
	uint64_t moved_ns;	 /* when it was last settled */
	unsigned int n_sightings; /* looks in a row that found unread data and nothing received in between */
	bool is_told;		 /* that nothing moves */

	/* between the socket and the PDUs */
	enum conn_channel channel;
	struct tls *tls;      /* CONN_TLS */
	const uint8_t *plain; /* decrypted and not worked off */
	size_t plain_left;

	/* send */
	struct pdu_framing tx_framing;
	uint8_t control[PDU_ENCODE_MAX]; /* ICResp or C2HTermReq, sent before all else */
	unsigned int control_len;
	struct command *tx, **tx_tail;
	uint64_t send_ns;   /* when batch was submitted */
	size_t batch_bytes; /* CONN_BATCH_BYTES or CONN_BATCH_TLS */
	struct conn_batch batch;

	/* queue */
	struct controller *controller; /* NULL until Connect */
	uint32_t epoch;		       /* controller's, when the queue was made */
	bool disconnecting;	       /* the host has said Disconnect */
	uint16_t qid;
	uint32_t entries; /* NOT 0-based */
	bool sq_flow;	  /* SQHD means something */
	uint16_t sqhd;
	struct command *chunks[CONN_CHUNKS]; /* the first from the start, others from a Connect on that needs them */
	unsigned int n_commands, n_busy, n_parked;
	unsigned int n_open;	     /* commands that the host has no answer to */
	unsigned int n_h2c;	     /* of these, those whose data are asked for */
	unsigned int r2ts;	     /* that one command may have outstanding */
	size_t held;		     /* bytes of the reactor's pool, but for in-capsule data */
	struct command *fused_first; /* Compare that waits for its Write; the next command is that, or there is none */
	bool fused_failed;	     /* the command before was a first half and was refused */
	unsigned int n_fused;	     /* first halves under way */
	struct command *free;
	struct command *waiting, **waiting_tail; /* for a buffer or an I/O slot, in order of arrival */
	uint64_t cids[(UINT16_MAX + 1) / 64];	 /* identifiers of open commands */
	const struct namespace *last_ns;
	struct conn_limits *limits;		 /* NULL: none holds for it */
	struct conn_auth *auth; /* NULL: the host need not authenticate */
	struct queue *queue;	/* statistics; on the target's list once connected */
};

/* ---- conn.c ---- */

/* Takes over fd. On failure it is closed, and the reason logged. */
void conn_open(struct reactor *r, const struct portal *portal, int fd);
void conn_set_state(struct conn *c, enum conn_state state);
/* Closes as soon as the kernel has let go of everything. */
void conn_close(struct conn *c, const char *why);
/* Sends a C2HTermReq that quotes `header`, then closes. */
void conn_fail(struct conn *c, const struct pdu_error *error, const void *header, size_t len);
/* Closes with a RST: the kernel, too, forgets what this peer would not take. */
void conn_reset(struct conn *c, const char *why);
/* Ends it when what waits to be sent is out, without a word of ours. */
void conn_abort(struct conn *c);
/* Timeouts; once a tick. */
void conn_tick(struct conn *c);
/* After each turn, if marked: resumes, sends, closes. */
void conn_settle(struct conn *c);
void conn_mark(struct conn *c); /* conn_settle() is due */
/* Makes at least n commands (<= CONTROLLER_MAX_ENTRIES), for a queue of so many entries. -ENOMEM. */
int conn_commands_grow(struct conn *c, unsigned int n);

static inline struct command *conn_command(const struct conn *c, unsigned int index)
{
	unsigned int high = index / CONTROLLER_ADMIN_ENTRIES, chunk = high ? 32 - __builtin_clz(high) : 0;

	return &c->chunks[chunk][chunk ? index - (CONTROLLER_ADMIN_ENTRIES << (chunk - 1)) : index];
}

/* ---- conn_receive.c ---- */

/* Works off bytes of PDUs and answers how many; fewer than len only if the connection is now blocked. */
size_t conn_stream(struct conn *c, const uint8_t *in, size_t len);
void conn_recv_done(struct conn *c, const struct ring_completion *done);
void conn_recv_arm(struct conn *c);
/* The receive that the kernel has, if any, ends soon, and another one begins. */
void conn_recv_again(struct conn *c);
/* Works off what was kept. */
void conn_resume(struct conn *c);
void conn_drop_kept(struct conn *c);

/* ---- conn_watch.c ---- */

/* Statistics see whether and why it receives. */
void conn_note(struct conn *c);
/* Once a tick: whether it stands still, and why. */
void conn_watch(struct conn *c);
const char *conn_receive_name(unsigned int receive);
/* "receives; commands: 3 want data, 12 in the backend; ...", NUL-terminated, cut to len. */
void conn_describe(const struct conn *c, char *ret_text, size_t len);

/* ---- conn_send.c ---- */

/* Queues the command's answer, or its R2T where send_r2t is set. */
void conn_queue(struct conn *c, struct command *cmd);
void conn_flush(struct conn *c);
void conn_send_done(struct conn *c, int32_t result);

/* ---- conn_command.c ---- */

/* A capsule's header stands in c->pdu. false: no command is free or no buffer, try again when one is given back. */
bool command_begin(struct conn *c);
/* Its capsule is whole. */
void command_capsule(struct command *cmd, bool digest_ok);
/* A H2CData of its, `len` bytes in answer to R2T number r2t, is whole. */
void command_h2c(struct command *cmd, unsigned int r2t, uint32_t len, bool digest_ok);
/* Bytes that R2T number r2t of it asks for. */
uint32_t command_r2t_len(const struct command *cmd, unsigned int r2t);
/* Another R2T may be sent for it. */
bool command_wants_r2t(const struct command *cmd);
/* On the send list for an R2T that is not to be sent any more: the place is its answer's, with the status it has. */
void command_abandon(struct command *cmd);
/* It is answered: from now on its identifier may come again. */
void command_answered(struct command *cmd);
/* Tries again the command that has waited longest; false: it waits on. */
bool conn_retry(struct conn *c);
/* Takes it as far as it goes, or makes it wait. Its capsule is whole. */
void command_proceed(struct command *cmd);
/* Ends it before it could run: now, or when the data that were asked for are there. */
void command_fail(struct command *cmd, uint16_t status);
/* Gives back what it has of the pool's. */
void command_drop(struct command *cmd);
/* And itself. */
void command_free(struct command *cmd);
void command_reply(struct command *cmd, uint16_t status);
/* Place for transfer.len bytes: borrowed from the backend, or a buffer; false: none is free. */
bool command_place(struct command *cmd, enum backend_op op);

/* ---- io_command.c ---- */

/* An I/O command on a live I/O queue: namespace, range, lengths. Answers its status. */
uint16_t io_check(struct conn *c, struct command *cmd);
/* Its data are whole: takes it as far as it goes. false: it must wait for a buffer, a slot or scratch. */
bool io_run(struct command *cmd);
/* It has its blocks. */
void io_granted(struct command *cmd);
/* Whether the backend's own memory serves as place for the data: then there is nothing to allocate. */
bool io_borrow(struct command *cmd, enum backend_op op);
/* Its SQE has completed. */
void command_io_done(struct command *cmd, int32_t result);

/* ---- fused.c ---- */

/* A command of an I/O queue begins, and was checked: what fused commands say of it. May set its status. */
void fused_begin(struct conn *c, struct command *cmd);
/* It will begin again. */
void fused_undo(struct conn *c, struct command *cmd);
/* The data of a half are whole. As io_run(). */
bool fused_run(struct command *cmd);
/* Once a tick: a first half whose second does not come is not waited for without end. */
void fused_tick(struct conn *c);
/* A half fails before it could run. */
void fused_refused(struct command *cmd);
/* The pair has run: status is the Compare's, or, once that has succeeded, the Write's. */
void fused_finish(struct command *first, uint16_t status);
void fused_forget(struct command *cmd);

#endif
