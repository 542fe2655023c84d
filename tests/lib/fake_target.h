/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A target that does what a test's script says, right or wrong: a thread with one blocking socket. The script reads and
 * writes whole PDUs with the project's codec, or any bytes at all.
 */
#ifndef TESTS_FAKE_TARGET_H
#define TESTS_FAKE_TARGET_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nvme/pdu.h"
#include "storage/initiator.h"

struct fake {
	int listener;
	pthread_t thread;
	void (*script)(struct fake *f);
	struct initiator_addr addr;
	/* the script's */
	int fd;
	struct pdu_framing framing; /* of what is sent; fake_ic() sets it */
	bool failed;		    /* the initiator went away when something was expected of it */
	struct pdu_term term;	    /* what fake_expect_term() got; hlen 0: nothing */
};

/* Listens on the loopback; the thread accepts one connection and runs the script. */
void fake_start(struct fake *f, void (*script)(struct fake *f));
/* Waits for the script's end. */
void fake_stop(struct fake *f);

/* Options that reach the fake: no digests, short timeout. */
struct initiator_options fake_options(const struct fake *f);

/* ---- for scripts ---- */

void fake_read(struct fake *f, void *buf, size_t len);
void fake_write(struct fake *f, const void *buf, size_t len);
/* ICReq and ICResp; what the initiator asked for is granted if `digests`. */
void fake_ic(struct fake *f, uint8_t cpda, bool digests, uint32_t maxh2cdata);
/* A command capsule; its data, if any, go to data (room of at least 8192). Returns their length. */
size_t fake_command(struct fake *f, struct nvme_sqe *ret_sqe, void *data);
/* H2C_DATA: its data go to where its offset says in `data`. Returns the header; checks the data digest. */
struct pdu_data fake_h2c(struct fake *f, uint8_t *data);
void fake_respond(struct fake *f, __le16 cid, uint16_t status);
void fake_respond_with(struct fake *f, __le16 cid, uint16_t status, uint64_t result);
void fake_c2h(struct fake *f, __le16 cid, uint32_t offset, const void *data, uint32_t len, uint8_t flags);
void fake_r2t(struct fake *f, __le16 cid, uint16_t ttag, uint32_t offset, uint32_t len);
/* Reads until the end of the stream; remembers a TermReq that comes whole. */
void fake_expect_term(struct fake *f);

#endif
