// SPDX-License-Identifier: Apache-2.0
/*
 * Fuzzes a live target: a real one with its reactor thread, backends and sockets, on 127.0.0.1. An input is a program
 * of steps for up to four connections: negotiate, Connect, commands, answers to R2Ts, raw bytes, ends; and changes to
 * be made to what the next step sends: bits turned over, a cut with a pause, several PDUs in one segment. So a few
 * bytes reach deep states, and every input is a session.
 *
 * Aborts when the target crashes (it runs under AddressSanitizer and UBSan), sends what a host's decoder refuses, no
 * longer answers an undisturbed connection, or keeps connections that have ended.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "storage_client.h"

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno));           \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

#define CONNS	    4
#define STEPS_MAX   64 /* of one input */
#define R2TS_MAX    64 /* kept of one connection */
#define STREAM_MAX  (256 << 10)
#define SWEEP_EVERY 200 /* inputs between two counts of connections */
#define WAIT_MS	    10000

/* ---- the input ---- */

struct input {
	const uint8_t *at, *end;
};

static uint8_t take8(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static uint16_t take16(struct input *in)
{
	uint16_t low = take8(in);

	return low | take8(in) << 8;
}

/* Small numbers mostly, and those at the edges of what fits. */
static uint32_t take_number(struct input *in)
{
	uint8_t how = take8(in);

	switch (how >> 6) {
	case 0:
		return how;
	case 1:
		return 1u << (how & 31);
	case 2:
		return (1u << (how & 31)) - 1;
	default:
		return take16(in) | (uint32_t)take16(in) << 16;
	}
}

/* ---- connections ---- */

struct link {
	int fd; /* -1: none */
	struct pdu_decoder decoder;
	struct pdu_framing framing; /* of what is sent */
	uint8_t dgst, hpda;
	bool sane; /* ICReq went out unchanged: what comes can be decoded */
	uint16_t cid, connect_cid;
	struct pdu_data r2ts[R2TS_MAX];
	unsigned int n_r2ts;
};

/* What is to be done to the bytes that the next step sends. */
struct change {
	uint32_t at; /* of the first byte to change */
	uint8_t bits;
	uint32_t cut;  /* bytes after which a pause is made; 0: none */
	uint32_t drop; /* bytes that are left out at the end */
	bool hold;     /* nothing is sent yet: the next step's bytes follow in the same segment */
	bool again;    /* sent twice */
};

static struct fixture fixture;
static struct client healthy; /* an undisturbed admin queue */
static struct link links[CONNS];
static struct change change;
static uint8_t stream[STREAM_MAX];
static size_t stream_len;
static uint16_t last_cntlid;

static void link_close(struct link *l, bool reset)
{
	const struct linger now = {.l_onoff = 1};

	if (l->fd < 0)
		return;
	if (reset)
		setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(l->fd);
	l->fd = -1;
}

/* The target has been round its loop, and is well. */
static void barrier(void)
{
	CHECK(!client_run(&healthy, nvme_sqe_keep_alive(0), NULL, 0, false, NULL));
}

static void flush(struct link *l)
{
	size_t done = 0;

	while (l->fd >= 0 && done < stream_len) {
		size_t n = change.cut && done < change.cut ? min(change.cut - done, stream_len) : stream_len - done;
		ssize_t sent = send(l->fd, stream + done, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent <= 0)
			break; /* closed, or full because the target has blocked this connection */
		done += sent;
		if (done < stream_len)
			barrier();
	}
	stream_len = 0;
	change = (struct change){0};
}

static void emit(struct link *l, const void *bytes, size_t len)
{
	size_t start = stream_len;

	len = min(len, STREAM_MAX - stream_len);
	memcpy(stream + stream_len, bytes, len);
	stream_len += len;
	if (change.bits && change.at < len)
		stream[start + change.at] ^= change.bits;
	stream_len -= min((size_t)change.drop, len);
	if (change.again && STREAM_MAX - stream_len >= len) {
		memmove(stream + stream_len, stream + start, len);
		stream_len += len;
	}
}

/* The end of a step that sends. */
static void emitted(struct link *l)
{
	if (change.hold)
		change = (struct change){.hold = false};
	else
		flush(l);
}

/* ---- receiving ---- */

static void received(struct link *l, const struct pdu *pdu)
{
	if (pdu->type == PDU_ICRESP)
		pdu_decoder_ready(&l->decoder,
				  &(struct pdu_framing){l->framing.hdgst, l->framing.ddgst, pdu_align(l->hpda)}, 0, 0);
	else if (pdu->type == PDU_R2T && l->n_r2ts < R2TS_MAX)
		l->r2ts[l->n_r2ts++] = pdu->header.data;
	else if (pdu->type == PDU_CAPSULE_RESP && !nvme_cqe_status(&pdu->header.resp.cqe) &&
		 pdu->header.resp.cqe.cid == htole16(l->connect_cid))
		last_cntlid = le64toh(pdu->header.resp.cqe.result);
}

static void decode(struct link *l, const uint8_t *in, size_t len)
{
	struct pdu_decoder *d = &l->decoder;
	enum pdu_result result;
	struct pdu pdu;
	size_t n;

	while (len) {
		if (pdu_data_left(d)) {
			n = min(len, (size_t)pdu_data_left(d));
			pdu_data_take(d, in, n);
		} else if (pdu_digest_left(d)) {
			n = pdu_digest_take(d, in, len);
			CHECK(pdu_digest_left(d) || pdu_digest_ok(d));
		} else {
			result = pdu_decode(d, in, len, &n, &pdu);
			CHECK(result != PDU_BAD);
			if (result == PDU_MORE)
				return;
			received(l, &pdu);
		}
		in += n;
		len -= n;
	}
}

static void drain(struct link *l)
{
	static uint8_t in[64 << 10];
	ssize_t n;

	while (l->fd >= 0 && (n = recv(l->fd, in, sizeof(in), MSG_DONTWAIT)) > 0)
		if (l->sane)
			decode(l, in, n);
}

/* ---- steps ---- */

static void step_dial(struct link *l, struct input *in)
{
	uint8_t buf[PDU_ENCODE_MAX], how = take8(in);
	struct client c;

	link_close(l, false);
	client_dial(&c, fixture.port);
	*l = (struct link){.fd = c.fd, .dgst = how & 3, .hpda = how >> 2 & PDU_PDA_MAX};
	l->sane = !change.bits && !change.drop && !change.again && !stream_len && !change.hold;
	l->framing.align = pdu_align(0);
	pdu_decoder_init(&l->decoder, PDU_ROLE_HOST);
	emit(l, buf, pdu_encode_icreq(buf, l->hpda, l->dgst, how & 0x80 ? take_number(in) : 3));
	l->framing.hdgst = l->dgst & PDU_DGST_HEADER;
	l->framing.ddgst = l->dgst & PDU_DGST_DATA;
	emitted(l);
}

static void emit_data(struct link *l, const void *data, uint32_t len)
{
	__le32 digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, len));
	const struct change kept = change;

	/* Changes are counted from the header. */
	change = (struct change){.drop = kept.drop};
	if (kept.bits && kept.at >= 128)
		change = (struct change){.at = kept.at - 128, .bits = kept.bits, .drop = kept.drop};
	emit(l, data, len);
	if (pdu_has_ddgst(&l->framing, len))
		emit(l, &digest, sizeof(digest));
	change = kept;
}

static void emit_capsule(struct link *l, const struct nvme_sqe *sqe, const void *data, uint32_t len)
{
	uint8_t buf[PDU_ENCODE_MAX];

	emit(l, buf, pdu_encode_capsule_cmd(buf, &l->framing, sqe, len));
	if (len)
		emit_data(l, data, len);
}

static void step_connect(struct link *l, struct input *in)
{
	uint8_t how = take8(in);
	struct nvme_connect connect = {
		.qid = how & 3,
		.entries = how & 4 ? take_number(in) : 32,
		.cntlid = how & 8   ? take16(in)
			  : how & 3 ? last_cntlid
				    : NVME_CNTLID_DYNAMIC,
		.kato_ms = how & 16 ? take_number(in) : 0,
		.no_sq_flow = how & 32,
		.hostid = {1, 2, 3},
	};
	struct nvme_connect_data data;
	struct nvme_sqe sqe;

	snprintf(connect.subnqn, sizeof(connect.subnqn), "%s", how & 64 ? NVME_DISCOVERY_NQN : TEST_SUBNQN);
	snprintf(connect.hostnqn, sizeof(connect.hostnqn), "%s", TEST_HOSTNQN);
	nvme_connect_data_make(&connect, &data);
	l->connect_cid = l->cid++;
	sqe = nvme_connect_sqe_make(l->connect_cid, &connect);
	if (how & 128)
		((uint8_t *)&data)[take16(in) % sizeof(data)] ^= take8(in);
	emit_capsule(l, &sqe, &data, sizeof(data));
	emitted(l);
	barrier();
	drain(l);
}

/* What makes a fresh controller serve: CC, and queues. */
static void step_enable(struct link *l, struct input *in)
{
	const struct nvme_property cc = {.offset = NVME_PROP_CC, .size = 4, .value = NVME_CC_EN | 6 << 16 | 4 << 20};
	struct nvme_sqe sqe = nvme_property_set_make(l->cid++, &cc);

	emit_capsule(l, &sqe, NULL, 0);
	sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, l->cid++, NVME_FID_NUM_QUEUES, 3 << 16 | 3);
	emit_capsule(l, &sqe, NULL, 0);
	emitted(l);
	barrier();
	drain(l);
}

#define FIRST_ADMIN 13 /* from here on they are an admin queue's */

static const uint8_t opcodes[] = {
	NVME_IO_READ,
	NVME_IO_WRITE,
	NVME_IO_FLUSH,
	NVME_IO_WRITE_ZEROES,
	NVME_IO_DSM,
	0x05 /* Compare */,
	0x04 /* Write Uncorrectable */,
	0x0c /* Verify */,
	0x19 /* Copy */,
	0x0d,
	0x0e,
	0x11,
	0x15 /* reservations */,
	NVME_ADM_IDENTIFY,
	NVME_ADM_GET_LOG_PAGE,
	NVME_ADM_ABORT,
	NVME_ADM_SET_FEATURES,
	NVME_ADM_GET_FEATURES,
	NVME_ADM_ASYNC_EVENT,
	NVME_ADM_KEEP_ALIVE,
	NVME_FABRICS,
};

/* A command with data in its capsule or not, of a few blocks; `times` of it. */
static void emit_commands(struct link *l, struct input *in, unsigned int times)
{
	static const uint8_t data[8192];
	uint8_t which = take8(in), how = take8(in);
	uint8_t opcode = which < 128 ? opcodes[which % ARRAY_SIZE(opcodes)] : which;
	struct nvme_sqe sqe = nvme_sqe_make(opcode, 0, how & 7, 0, 0);
	uint32_t blocks = (how >> 3 & 7) + 1, len = blocks * ((how & 7) == NS_MEMORY ? 512 : NS_BLOCK);
	bool in_capsule = how & 64 && len <= sizeof(data);

	/* What is asked for: a feature, a log page, a kind of Identify. */
	if (which % ARRAY_SIZE(opcodes) >= FIRST_ADMIN)
		sqe.cdw10 = htole32(take8(in) | 0xff << 16);
	else
		sqe.cdw12 = htole32(blocks - 1);
	sqe.sgl = in_capsule ? nvme_sgl_in_capsule(len) : nvme_sgl_transport(len);
	if (how & 128) {
		sqe.cdw10 = htole32(take_number(in));
		sqe.cdw11 = htole32(take_number(in));
		sqe.cdw12 = htole32(take_number(in));
		sqe.flags = take8(in);
		sqe.sgl.len = htole32(take_number(in));
	}
	while (times--) {
		sqe.cid = htole16(l->cid++);
		emit_capsule(l, &sqe, data, in_capsule ? len : 0);
	}
}

static void step_command(struct link *l, struct input *in)
{
	emit_commands(l, in, 1);
	emitted(l);
}

/* More than a segment takes, or a queue has. */
static void step_flood(struct link *l, struct input *in)
{
	uint8_t times = take8(in);
	struct input kept = *in;
	unsigned int i;

	for (i = 0; i < times; i += 16) {
		*in = kept;
		emit_commands(l, in, min(times - i, 16u));
		flush(l);
	}
}

/* 64 bytes of SQE as they stand in the input. */
static void step_raw_command(struct link *l, struct input *in)
{
	static const uint8_t data[8192];
	uint32_t len = take8(in) * 32;
	struct nvme_sqe sqe;
	size_t i;

	for (i = 0; i < sizeof(sqe); i++)
		((uint8_t *)&sqe)[i] = take8(in);
	emit_capsule(l, &sqe, data, len);
	emitted(l);
}

/* An answer to an R2T that came, whole or in part, right or not. */
static void step_data(struct link *l, struct input *in)
{
	static const uint8_t data[32 << 10];
	uint8_t buf[PDU_ENCODE_MAX], how = take8(in);
	struct pdu_data r2t;
	uint32_t offset, len;

	barrier();
	drain(l);
	if (!l->n_r2ts)
		return;
	r2t = l->r2ts[how & 16 ? l->n_r2ts - 1 : 0];
	offset = le32toh(r2t.offset) + (how & 1 ? take_number(in) : 0);
	len = how & 2 ? take_number(in) % sizeof(data) + 1 : min(le32toh(r2t.len), (uint32_t)sizeof(data));
	emit(l, buf,
	     pdu_encode_h2c_data(buf, &l->framing, how & 4 ? take16(in) : r2t.cccid,
				 le16toh(r2t.ttag) + (how & 8 ? take8(in) : 0), offset, len,
				 how & 32 ? 0 : PDU_F_LAST));
	emit_data(l, data, len);
	if (!(how & 64)) {
		if (!(how & 16))
			memmove(l->r2ts, l->r2ts + 1, --l->n_r2ts * sizeof(r2t));
		else
			l->n_r2ts--;
	}
	emitted(l);
}

static void step_raw(struct link *l, struct input *in)
{
	uint8_t buf[64], n = take8(in) % sizeof(buf);
	unsigned int i;

	for (i = 0; i < n; i++)
		buf[i] = take8(in);
	emit(l, buf, n);
	emitted(l);
}

static void step_term(struct link *l, struct input *in)
{
	const struct pdu_error error = {.fes = take8(in), .fei = take_number(in)};
	uint8_t buf[PDU_ENCODE_MAX], header[128] = {0};

	emit(l, buf, pdu_encode_term(buf, PDU_H2C_TERM_REQ, &error, header, take8(in) % sizeof(header)));
	emitted(l);
}

static void step_close(struct link *l, struct input *in)
{
	uint8_t how = take8(in) % 3;

	if (how == 2)
		shutdown(l->fd, SHUT_WR);
	else
		link_close(l, how);
}

static void step_read(struct link *l, struct input *in)
{
	barrier();
	drain(l);
}

static void step_change(struct link *l, struct input *in)
{
	uint8_t how = take8(in);

	if (how & 1) {
		change.at = how & 128 ? take16(in) : take8(in) % 140;
		change.bits = take8(in);
	}
	if (how & 2)
		change.cut = take16(in) % 9000;
	if (how & 4)
		change.drop = take8(in);
	change.hold |= !!(how & 8);
	change.again |= !!(how & 16);
}

static void (*const steps[])(struct link *l, struct input *in) = {
	step_dial, step_connect, step_enable, step_command, step_command, step_data,   step_data,   step_raw_command,
	step_raw,  step_term,	 step_close,  step_read,    step_read,	  step_change, step_change, step_flood,
};

/* ---- runs ---- */

static int64_t connections(void)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "reactors");
	int64_t n = json_object_get_int64(json_object_object_get(json_object_array_get_idx(list, 0), "connections"));

	json_object_put(all);
	return n;
}

/* All but the undisturbed connection have ended, so the target has but one. */
static void sweep(void)
{
	int waited;

	for (waited = 0; connections() != 1; waited += 10) {
		CHECK(waited < WAIT_MS);
		barrier();
		poll(NULL, 0, 10);
	}
}

static void finish(void)
{
	sweep();
	client_close(&healthy);
	fixture_stop(&fixture);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;
	unsigned int i;

	/* So that R2Ts are several, and buffers for in-capsule data few. */
	transport.r2t = 4096;
	transport.in_capsule = 256 << 10;
	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .transport = transport});
	log_set_level(LOG_LEVEL_ERROR);
	client_admin(&healthy, &fixture, 0);
	for (i = 0; i < CONNS; i++)
		links[i].fd = -1;
	atexit(finish);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct input in = {bytes, bytes + len};
	static unsigned int runs;
	unsigned int n, i;

	change = (struct change){0};
	stream_len = 0;
	for (n = 0; n < STEPS_MAX && in.at < in.end; n++) {
		uint8_t step = take8(&in);
		struct link *l = &links[step >> 4 & (CONNS - 1)];

		if (l->fd >= 0 || steps[step & 15] == step_dial || steps[step & 15] == step_change)
			steps[step & 15](l, &in);
	}
	barrier();
	for (i = 0; i < CONNS; i++) {
		drain(&links[i]);
		link_close(&links[i], i & 1);
	}
	if (++runs % SWEEP_EVERY == 0)
		sweep();
	return 0;
}
