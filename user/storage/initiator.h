/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe/TCP host: connects to a controller, asks what it has, and drives I/O queues, each over an io_uring of its
 *own.
 *
 *	initiator_open()		admin queue: ICReq, Connect, enable, Identify
 *	initiator_namespace() ...	what is there
 *	initiator_queue_open()		one I/O queue; the calling thread drives it from then on
 *	initiator_queue_submit()	queues one command; nothing is sent yet
 *	initiator_queue_poll()		sends, receives, calls io->done for what has completed
 *	initiator_close()
 *
 * Nothing is allocated per command, and data are received straight into the caller's buffer where they are long. Every
 * wait is bounded by options.timeout_ms. Specification: NVM Express TCP Transport 1.0 and Base 2.0.
 */
#ifndef SLUICE_STORAGE_INITIATOR_H
#define SLUICE_STORAGE_INITIATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"
#include "nvme/command.h"
#include "nvme/dhchap.h"
#include "nvme/fabrics.h"
#include "nvme/identify.h"
#include "nvme/tls_psk.h"

#define INITIATOR_PORT		 4420
#define INITIATOR_DISCOVERY_PORT 8009
#define INITIATOR_DEPTH_MAX	 1024
#define INITIATOR_TRANSFER_MAX	 (1u << 20) /* most bytes of one command, whatever the controller allows */

struct initiator_addr {
	struct sockaddr_storage sa;
	socklen_t len;
	char text[64]; /* "10.0.0.1:4420", "[fd00::1]:4420" */
};

/* "A.B.C.D[:PORT]", "[IPV6][:PORT]" or a bare IPv6 address; numeric, no name is resolved. -EINVAL with remedy. */
int initiator_addr_parse(const char *text, uint16_t default_port, struct initiator_addr *ret_addr, struct error *err);

/* What authenticates this host, and the controller to it. */
struct initiator_auth {
	struct dhchap_key host;
	struct dhchap_key controller; /* len 0: the controller need not prove itself */
	unsigned int hashes, groups;  /* offered: DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, or fewer */
	/*
	 * Secure channel concatenation: initiator_open() authenticates on a connection without TLS, which makes a key,
	 * and then connects by TLS with that. So does each initiator anew; a key is never used for another.
	 */
	bool concat;
	int psk_version; /* with concat: of the TLS identity, as initiator_tls.version */
};

/* The key for TLS, and which form of identity the target is told (0: every target knows it, 1). */
struct initiator_tls {
	struct tls_psk_key key;
	int version;
};

struct initiator_options {
	struct initiator_addr addr;
	char subnqn[NVME_NQN_MAX + 1];
	char hostnqn[NVME_NQN_MAX + 1];
	uint8_t hostid[16];
	bool header_digest, data_digest; /* asked for; the controller may decline, see initiator_queue_info() */
	uint8_t hpda;			 /* alignment of received data: 0-based dwords, at most PDU_PDA_MAX */
	uint32_t timeout_ms;		 /* connecting, and each command */
	uint32_t kato_ms;		 /* keep-alive timeout that the controller is told; 0: none */
	/* NULL: none. The caller's, until all queues are closed */
	const struct initiator_auth *auth;
	const struct initiator_tls *tls;
	const struct tls_psk *psk; /* instead of tls: the key itself. initiator_open() sets it in its copy for concat */
};

/*
 * This host's NQN and identifier: /etc/nvme/hostnqn and hostid where they are valid, else derived from
 * /etc/machine-id, so that they stay the same; on a machine without one, from the kernel's boot_id, which lasts until
 * the next boot. -ENOENT when there is none of them.
 */
int initiator_identity(char ret_hostnqn[NVME_NQN_MAX + 1], uint8_t ret_hostid[16], struct error *err);

/* Host identifier for an NQN that the user chose: the uuid in it, else one derived from it. */
void initiator_hostid(const char *hostnqn, uint8_t ret_hostid[16]);

/* ---- one command ---- */

/* The caller's, from submit until done. Data go the way that the opcode says. */
struct initiator_io {
	struct nvme_sqe sqe; /* from nvme_sqe_*(); the queue sets cid and sgl */
	void *data;	     /* len bytes; 8-byte aligned is best */
	uint32_t len;
	uint32_t timeout_ms; /* 0: options.timeout_ms */
	/*
	 * Called once from initiator_queue_poll(), also when the connection is lost. May submit, to this queue too;
	 * must not close or poll it. NULL: the caller looks at `finished`.
	 */
	void (*done)(struct initiator_io *io);
	void *owner; /* the caller's */

	/* set before done() */
	int error;	 /* 0, or -errno: connection lost, data digest wrong (-EBADMSG), data missing (-EPROTO) */
	uint16_t status; /* of the CQE, as enum nvme_status; valid if error is 0 */
	uint64_t result; /* of the CQE */
	uint64_t submitted_ns, finished_ns; /* CLOCK_MONOTONIC */
	bool finished;
	bool lost; /* error is the connection's: whether the command was executed is not known */
	/* It was not answered in time, and an Abort asked for; status NVME_ST_ABORTED is what came of that. */
	bool called_back;
};

/* Whether it went wrong, in words: "Read: LBA out of range (0x080)". 0, or -EIO / io->error with err set. */
int initiator_io_check(const struct initiator_io *io, const char *place, bool admin, struct error *err);

/* ---- a queue ---- */

struct initiator_queue;

struct initiator_queue_info {
	uint16_t qid;
	unsigned int depth; /* commands that may be outstanding */
	bool header_digest, data_digest;
	uint32_t max_h2c;    /* MAXH2CDATA */
	uint32_t in_capsule; /* bytes of in-capsule data */
	uint64_t pdus_in, pdus_out;
	uint64_t bytes_copied, bytes_placed; /* received data: through the staging buffer, straight into place */
	uint64_t waits;			     /* calls into the kernel */
};

void initiator_queue_info(const struct initiator_queue *q, struct initiator_queue_info *ret_info);

/* -EAGAIN: depth commands are outstanding. -ENOTCONN: the queue has failed; io is untouched in both cases. */
int initiator_queue_submit(struct initiator_queue *q, struct initiator_io *io);

/* Commands between submit and done. */
unsigned int initiator_queue_outstanding(const struct initiator_queue *q);

/*
 * Sends what was submitted and handles what has arrived. With wait it blocks until something arrives, at most some 100
 * ms. On a failure of the connection every outstanding command is done with an error and err says why; the queue is
 * then good for initiator_queue_close() alone.
 */
int initiator_queue_poll(struct initiator_queue *q, bool wait, struct error *err);

/*
 * Before it sleeps, a waiting poll looks for up to spin_us microseconds whether something has arrived: saves the
 * wake-up at the price of the CPU. 0, the default: sleep at once.
 */
void initiator_queue_spin(struct initiator_queue *q, unsigned int spin_us);

/*
 * For those who wait for several queues, or for something else besides: counts up this eventfd when there is something
 * for initiator_queue_poll() to do, as long as the queue is armed. It is not if the last poll handled something; then
 * poll again before sleeping. (The ring's own descriptor will not do: a ring with IORING_SETUP_DEFER_TASKRUN wakes
 * nobody who polls it; seen on 6.18.) Once in a queue's life; the eventfd stays the caller's.
 */
int initiator_queue_notify(struct initiator_queue *q, int eventfd, struct error *err);
bool initiator_queue_armed(const struct initiator_queue *q);

/*
 * Who has a command aborted that was not answered within its timeout: called from initiator_queue_poll() with the
 * command's identifier, in host order. True: an Abort is on its way; false: not now, it is asked again soon. The
 * command may then take INITIATOR_ABORT_MS longer, at most its timeout again, before the queue fails. If nobody is set,
 * the queue fails at once.
 */
#define INITIATOR_ABORT_MS 2000u
void initiator_queue_on_timeout(struct initiator_queue *q, bool (*expired)(void *owner, uint16_t cid), void *owner);

/* Submits io and polls until it is done; its done() must be NULL. Error as initiator_io_check(). */
int initiator_queue_execute(struct initiator_queue *q, struct initiator_io *io, struct error *err);

/* NULL is fine. Outstanding commands are done with -ECANCELED; no buffer is touched afterwards. */
void initiator_queue_close(struct initiator_queue *q);

/* ---- a controller ---- */

struct initiator;

/* Connects the admin queue and makes the controller ready. options is copied. */
int initiator_open(const struct initiator_options *options, struct initiator **ret_initiator, struct error *err);

/* Shutdown notification (bounded), then the connection ends. Close the I/O queues first. NULL is fine. */
void initiator_close(struct initiator *i);

/* The same without a word to the controller: its connection is lost, or what it says is not wanted. NULL is fine. */
void initiator_drop(struct initiator *i);

const struct nvme_ctrl_view *initiator_controller(const struct initiator *i);
struct initiator_queue *initiator_admin(struct initiator *i);
uint64_t initiator_cap(const struct initiator *i); /* CAP property */

/* Bytes that one command of a queue may carry: MDTS, and at most INITIATOR_TRANSFER_MAX. */
uint32_t initiator_max_transfer(const struct initiator *i);

/* Asks for `wanted` I/O queues; -EIO if not a single one is granted. Also checks that they are enough. */
int initiator_set_queues(struct initiator *i, unsigned int wanted, unsigned int *ret_granted, struct error *err);

/* Active namespaces, ascending; *ret_nsids is the caller's to free. */
int initiator_namespaces(struct initiator *i, uint32_t **ret_nsids, size_t *ret_n, struct error *err);

/* -ENOENT: not active. Namespaces with metadata are refused. */
int initiator_namespace(struct initiator *i, uint32_t nsid, struct nvme_ns_view *ret_ns, struct error *err);

/* UUID of a namespace; -ENOENT: it has none. */
int initiator_namespace_uuid(struct initiator *i, uint32_t nsid, uint8_t ret_uuid[16], struct error *err);

/* What one Dataset Management command may carry; a controller that says nothing of it has no limits. */
int initiator_dsm_limits(struct initiator *i, struct nvme_dsm_limits *ret_limits, struct error *err);

/* len (whole dwords, at most 4096) bytes of a log page. */
int initiator_log(struct initiator *i, uint8_t lid, uint64_t offset, void *buf, uint32_t len, struct error *err);

/* Set Features 0Bh: which asynchronous events the controller may send, NVME_OAES_*. */
int initiator_set_events(struct initiator *i, uint32_t events, struct error *err);

/* The discovery log of a discovery controller; *ret_entries is the caller's to free. Entries of other transports
 * than TCP are left out and counted in *ret_skipped. */
int initiator_discover(struct initiator *i, struct nvme_discovery_entry **ret_entries, size_t *ret_n,
		       size_t *ret_skipped, struct error *err);

/* One Abort: the caller's, from submit until done. */
struct initiator_abort {
	/* Called once, while the admin queue is polled, also when it is lost; may submit another. NULL: see io.finished. */
	void (*done)(struct initiator_abort *a);
	void *owner;	 /* the caller's, as done */
	bool aborted;	 /* set before done(): the command is answered as aborted, or just was */
	struct initiator_io io;
	struct initiator *i;
};

/*
 * Asks the controller to abort a command of queue qid, cid in host order; by the thread that has the admin queue.
 * -EAGAIN: the controller takes no more Aborts just now (ACL), or the queue no command; -ENOTCONN: the queue has
 * failed.
 */
int initiator_abort_submit(struct initiator *i, struct initiator_abort *a, uint16_t qid, uint16_t cid);

/* The same, until it is answered. The command itself is done as always, by polling its queue. */
int initiator_abort(struct initiator *i, uint16_t qid, uint16_t cid, bool *ret_aborted, struct error *err);

/*
 * Authenticates a queue of this initiator's again, as a host may at any time. A failure ends the connection. With
 * concat, and of the admin queue, it makes a new key, by which queues are opened from then on; none while it runs.
 * -ENOKEY: options.auth is NULL.
 */
int initiator_authenticate(struct initiator *i, struct initiator_queue *q, struct error *err);

/*
 * Sends a Keep Alive when half of options.kato_ms has passed since the last one, or, where any traffic counts (TBKAS),
 * since the last admin command, and waits for the answer at most the other half: a controller that is gone is noticed
 * within kato_ms. Call it at least that often.
 */
int initiator_tend(struct initiator *i, struct error *err);

/*
 * Opens I/O queue qid (from 1) for `depth` outstanding commands (at most INITIATOR_DEPTH_MAX, and what CAP.MQES
 * allows). Only the calling thread may use it. Different threads may open queues of one initiator at the same time.
 */
int initiator_queue_open(const struct initiator *i, uint16_t qid, unsigned int depth,
			 struct initiator_queue **ret_queue, struct error *err);

#endif
