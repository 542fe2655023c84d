/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target in this process on 127.0.0.1, and a blocking NVMe/TCP host to talk to it: what the tests of user/storage
 * share. The host is made of the codec of user/nvme and of plain sockets; every wait ends after a few seconds with an
 * error.
 */
#ifndef SLUICE_TESTS_STORAGE_CLIENT_H
#define SLUICE_TESTS_STORAGE_CLIENT_H

#include "nvme/command.h"
#include "nvme/fabrics.h"
#include "nvme/pdu.h"
#include "storage/target.h"

#define TEST_SUBNQN  "nqn.2026-11.io.example:open"
#define TEST_PRIVATE "nqn.2026-11.io.example:private"
#define TEST_HOSTNQN "nqn.2026-11.io.example:host"
#define TEST_OTHER   "nqn.2026-11.io.example:other-host"

/* Namespaces of TEST_SUBNQN. */
enum { NS_NULL = 1, NS_MEMORY = 2, NS_FILE = 3, NS_READONLY = 4, NS_COUNT = 4 };
#define NS_SIZE	 (16u << 20) /* bytes of each */
#define NS_BLOCK 4096	     /* bytes; NS_MEMORY: 512 */

struct fixture {
	struct target *target;
	struct policy_storage storage;
	struct policy_portal portal;
	struct policy_subsystem subsystems[2];
	struct policy_namespace namespaces[NS_COUNT];
	struct policy_host hosts[2];
	char path[64]; /* of the file namespace; unlinked at the end */
	uint16_t port;
};

struct fixture_options {
	/* As of the target; NULL: the real ones. */
	int (*open_backend)(const struct policy_namespace *config, struct error *err, struct backend **ret_backend);
	const char *state_dir; /* as of the target; NULL: none */
	unsigned int reactors;	      /* one a CPU, at most so many as there are */
	unsigned int spin_us;	      /* as of the target */
	unsigned int connect_timeout_ms, stall_timeout_ms; /* 0: the target's own */
	struct policy_transport transport;		   /* all 0: the usual */
	unsigned int ring_without, rx_buffers, pool_part, kept_max; /* as in target_options */
	struct policy_storage_limit *limits;		   /* the caller's */
	size_t n_limits;
};
void fixture_start_as(struct fixture *f, const struct fixture_options *how); /* asserts */

/* Starts with one reactor a CPU of `reactors` (at most so many as there are). Asserts. */
void fixture_start(struct fixture *f, unsigned int reactors, unsigned int connect_timeout_ms);
void fixture_stop(struct fixture *f);

struct client {
	int fd;
	struct pdu_decoder decoder;
	struct pdu_framing framing; /* of what is sent; header and data digests as asked for */
	size_t chunk;		    /* bytes a send; 0: all at once */
	uint16_t cid;		    /* of the last command */
	uint16_t cntlid;
	uint16_t sqhd;			      /* of the last response */
	unsigned int c2h_pdus, success_flags; /* counted */
};

extern const char *client_address; /* that clients dial; 127.0.0.1 */

/* Connected socket only. Asserts. */
void client_dial(struct client *c, uint16_t port);
/* And ICReq, ICResp. */
void client_open(struct client *c, uint16_t port, uint8_t dgst);
/* The same with what ICReq says of alignment and R2Ts (0-based both), and ICResp for the caller. */
void client_open_as(struct client *c, uint16_t port, uint8_t dgst, uint8_t hpda, uint32_t maxr2t,
		    struct pdu_icresp *ret_icresp);
void client_close(struct client *c);

int client_send(struct client *c, const void *bytes, size_t len); /* 0 or -errno */

/* Whether the target closes, whatever it sends before. */
bool client_is_closed(struct client *c);

/* Receives one PDU and its data (at most max). 0, -ECONNRESET at the end of the stream, -ETIMEDOUT, -EPROTO. */
int client_receive(struct client *c, struct pdu *ret_pdu, void *data, size_t max);

/* The result of the asynchronous event that comes next, or UINT32_MAX for none within a moment. Asserts that it is one. */
uint32_t client_event(struct client *c);

/* Sends a capsule with data in it (len may be 0). */
int client_capsule(struct client *c, const struct nvme_sqe *sqe, const void *data, uint32_t len);

/* Sends what an R2T asks for out of the command's data. 0, -EPROTO if it asks for more than that, -errno. */
int client_answer_r2t(struct client *c, const struct pdu_data *r2t, const uint8_t *data, uint32_t len);

/*
 * One command from capsule to response, R2T and C2HData included. in_capsule: data go in the capsule. Returns the NVMe
 * status without DNR, or -errno. *ret_result may be NULL.
 */
int client_run(struct client *c, struct nvme_sqe sqe, void *data, uint32_t len, bool in_capsule, uint64_t *ret_result);

struct client_connect {
	const char *subnqn, *hostnqn; /* NULL: the usual */
	uint16_t qid, cntlid;	      /* cntlid 0: dynamic for qid 0, else client.cntlid */
	uint8_t host;		      /* tells host identifiers apart */
	uint32_t entries, kato_ms;    /* entries 0: 32 */
	bool no_sq_flow;
};
int client_connect(struct client *c, const struct client_connect *how);
int client_property_set(struct client *c, uint32_t offset, uint64_t value);
int client_property_get(struct client *c, uint32_t offset, uint8_t size, uint64_t *ret_value);
int client_enable(struct client *c); /* CC.EN, and waits for CSTS.RDY */

/* Admin queue: open, Connect, enable, four I/O queues allowed. Asserts. */
void client_admin(struct client *c, const struct fixture *f, uint8_t dgst);
/* I/O queue 1 of admin's controller. Asserts. */
void client_io(struct client *c, const struct fixture *f, const struct client *admin, uint8_t dgst, bool no_sq_flow);

int client_rw(struct client *c, uint8_t opcode, uint32_t nsid, uint64_t slba, uint32_t blocks, void *data, uint32_t len,
	      bool in_capsule);

#endif
