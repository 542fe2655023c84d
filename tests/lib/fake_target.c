// SPDX-License-Identifier: Apache-2.0
/* The fake target's socket and PDUs; see fake_target.h. Used by tests of the initiator only. */
#include "fake_target.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void *run(void *arg)
{
	struct fake *f = arg;

	f->fd = accept(f->listener, NULL, NULL);
	if (f->fd < 0)
		return NULL;
	f->script(f);
	close(f->fd);
	return NULL;
}

void fake_start(struct fake *f, void (*script)(struct fake *f))
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int small = 4096; /* so that sends of the initiator do not fit at once */
	socklen_t len = sizeof(in);
	char text[32];

	*f = (struct fake){.script = script, .framing.align = 4};
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(f->listener >= 0);
	setsockopt(f->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(f->listener, (struct sockaddr *)&in, sizeof(in)) || listen(f->listener, 4) ||
	    getsockname(f->listener, (struct sockaddr *)&in, &len))
		abort();
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	if (initiator_addr_parse(text, 0, &f->addr, NULL) || pthread_create(&f->thread, NULL, run, f))
		abort();
}

void fake_stop(struct fake *f)
{
	shutdown(f->listener, SHUT_RDWR); /* wakes an accept that nobody came to */
	pthread_join(f->thread, NULL);
	close(f->listener);
}

struct initiator_options fake_options(const struct fake *f)
{
	return (struct initiator_options){
		.addr = f->addr,
		.subnqn = "nqn.2026-11.io.example:fake",
		.hostnqn = "nqn.2026-11.io.example:host",
		.timeout_ms = 5000,
	};
}

void fake_read(struct fake *f, void *buf, size_t len)
{
	if (len && recv(f->fd, buf, len, MSG_WAITALL) != (ssize_t)len) {
		f->failed = true;
		memset(buf, 0, len);
	}
}

void fake_write(struct fake *f, const void *buf, size_t len)
{
	if (len && send(f->fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		f->failed = true;
}

void fake_ic(struct fake *f, uint8_t cpda, bool digests, uint32_t maxh2cdata)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct pdu_icreq icreq;

	fake_read(f, &icreq, sizeof(icreq));
	fake_write(f, buf, pdu_encode_icresp(buf, cpda, digests ? icreq.dgst : 0, maxh2cdata));
	f->framing.hdgst = digests && (icreq.dgst & PDU_DGST_HEADER);
	f->framing.ddgst = digests && (icreq.dgst & PDU_DGST_DATA);
	f->framing.align = pdu_align(icreq.hpda);
}

/* Skips what stands between header and data, reads data, checks their digest. */
static size_t read_body(struct fake *f, const struct pdu_ch *ch, void *data, size_t hlen)
{
	uint8_t gap[256];
	size_t at = hlen, len;
	__le32 digest;

	if (!ch->pdo) {
		fake_read(f, gap, le32toh(ch->plen) - at);
		return 0;
	}
	fake_read(f, gap, ch->pdo - at);
	len = le32toh(ch->plen) - ch->pdo - (f->framing.ddgst ? 4 : 0);
	fake_read(f, data, len);
	if (f->framing.ddgst) {
		fake_read(f, &digest, sizeof(digest));
		if (digest != pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, len)))
			f->failed = true;
	}
	return len;
}

size_t fake_command(struct fake *f, struct nvme_sqe *ret_sqe, void *data)
{
	struct pdu_capsule_cmd cmd;

	fake_read(f, &cmd, sizeof(cmd));
	if (cmd.ch.type != PDU_CAPSULE_CMD || f->failed) {
		f->failed = true;
		return 0;
	}
	*ret_sqe = cmd.sqe;
	return read_body(f, &cmd.ch, data, sizeof(cmd));
}

struct pdu_data fake_h2c(struct fake *f, uint8_t *data)
{
	struct pdu_data h2c;

	fake_read(f, &h2c, sizeof(h2c));
	if (h2c.ch.type != PDU_H2C_DATA || f->failed)
		f->failed = true;
	else if (read_body(f, &h2c.ch, data + le32toh(h2c.offset), sizeof(h2c)) != le32toh(h2c.len))
		f->failed = true;
	return h2c;
}

void fake_respond_with(struct fake *f, __le16 cid, uint16_t status, uint64_t result)
{
	struct nvme_cqe cqe = nvme_cqe_make(cid, UINT16_MAX, status, result); /* without flow control no SQHD is told */
	uint8_t buf[PDU_ENCODE_MAX];

	fake_write(f, buf, pdu_encode_capsule_resp(buf, &f->framing, &cqe));
}

void fake_respond(struct fake *f, __le16 cid, uint16_t status)
{
	fake_respond_with(f, cid, status, 0);
}

void fake_c2h(struct fake *f, __le16 cid, uint32_t offset, const void *data, uint32_t len, uint8_t flags)
{
	__le32 digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, len));
	uint8_t buf[PDU_ENCODE_MAX];

	fake_write(f, buf, pdu_encode_c2h_data(buf, &f->framing, cid, offset, len, flags));
	fake_write(f, data, len);
	if (f->framing.ddgst)
		fake_write(f, &digest, sizeof(digest));
}

void fake_r2t(struct fake *f, __le16 cid, uint16_t ttag, uint32_t offset, uint32_t len)
{
	uint8_t buf[PDU_ENCODE_MAX];

	fake_write(f, buf, pdu_encode_r2t(buf, &f->framing, cid, ttag, offset, len));
}

void fake_expect_term(struct fake *f)
{
	uint8_t rest[512];

	if (recv(f->fd, &f->term, sizeof(f->term), MSG_WAITALL) != sizeof(f->term) ||
	    f->term.ch.type != PDU_H2C_TERM_REQ)
		memset(&f->term, 0, sizeof(f->term));
	while (recv(f->fd, rest, sizeof(rest), 0) > 0)
		;
}
