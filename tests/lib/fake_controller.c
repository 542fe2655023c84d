// SPDX-License-Identifier: Apache-2.0
/* The fake controller; see fake_controller.h. Used by tests of the initiator's paths only. */
#include "fake_controller.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nvme/command.h"
#include "nvme/fabrics.h"
#include "nvme/identify.h"

#define CMIC_ANA (1 << 3)

/* ---- answers ---- */

static void answer_fabrics(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	const struct nvme_property_sqe *property = (const void *)sqe;
	const struct nvme_connect_sqe *connect = (const void *)sqe;
	uint16_t status = 0;
	uint64_t value = 0;

	if (property->fctype == NVME_FC_CONNECT) {
		n->c->connects++;
		value = 5;
		if (connect->qid && n->c->refuses_queues)
			status = NVME_ST_CONNECT_BUSY;
	} else if (property->fctype == NVME_FC_PROPERTY_GET) {
		if (le32toh(property->offset) == NVME_PROP_CAP)
			value = 127 | 1ull << 24 | NVME_CAP_CSS_NVM;
		else
			value = le32toh(property->offset) == NVME_PROP_VS ? NVME_VS_1_4 : NVME_CSTS_RDY;
	}
	fake_respond_with(&n->fake, sqe->cid, status, value);
}

static void answer_identify(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	const struct nvme_ctrl_desc ctrl = {
		.subnqn = n->c->subnqn,
		.firmware = "1",
		.cntlid = 5,
		.nn = 1,
		.max_transfer = 65536,
		.in_capsule = 4096,
		.max_cmds = 64,
		.aborts = n->c->aborts_at_once ? n->c->aborts_at_once : 1,
		.events = 1,
		.errors = 1,
		.oaes = n->c->ana ? NVME_OAES_ANA : 0,
	};
	const struct nvme_ns_desc ns = {.subnqn = n->c->identity, .nsid = 1, .blocks = FAKE_BLOCKS, .block_shift = 9};
	uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8))) = {0};
	struct nvme_id_ctrl *id = (void *)page;

	switch (le32toh(sqe->cdw10)) {
	case NVME_CNS_CTRL:
		nvme_identify_ctrl(page, &ctrl);
		id->cmic = n->c->ana ? CMIC_ANA : 0;
		id->anatt = n->c->anatt;
		id->crdt[0] = id->crdt[1] = htole16(n->c->crdt);
		id->ctratt = htole32(n->c->ctratt);
		break;
	case NVME_CNS_CSI_CTRL:
		if (n->c->no_csi) {
			fake_respond(&n->fake, sqe->cid, NVME_ST_INVALID_FIELD | NVME_STATUS_DNR);
			return;
		}
		memcpy(page, &n->c->limits, sizeof(n->c->limits));
		break;
	case NVME_CNS_NS_DESCS:
		nvme_identify_descs(page, &ns);
		break;
	default:
		nvme_identify_ns(page, &ns);
	}
	fake_c2h(&n->fake, sqe->cid, 0, page, sizeof(page), PDU_F_LAST | PDU_F_SUCCESS);
}

/* Two groups: an empty one, and that of the namespace. */
static void answer_log(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	uint8_t page[4096] = {0};

	page[0] = 1;
	page[8] = 2;
	page[16] = 1;
	page[16 + 16] = NVME_ANA_INACCESSIBLE;
	page[48] = 2;
	page[48 + 4] = 1;
	page[48 + 16] = n->c->state;
	page[48 + 32] = 1;
	n->c->logs++;
	fake_c2h(&n->fake, sqe->cid, 0, page, (uint32_t)nvme_log_len(sqe), PDU_F_LAST | PDU_F_SUCCESS);
}

static void take_behavior(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	uint8_t behavior[NVME_BEHAVIOR_LEN] = {0};

	fake_r2t(&n->fake, sqe->cid, 1, 0, sizeof(behavior));
	fake_h2c(&n->fake, behavior);
	n->c->acre = behavior[0];
}

static void cut(struct fake_controller *c)
{
	const struct linger reset = {.l_onoff = 1};

	for (unsigned int k = 0; k < c->n_connections; k++) {
		if (!c->connections[k].open)
			continue;
		setsockopt(c->connections[k].fake.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		shutdown(c->connections[k].fake.fd, SHUT_RDWR);
	}
	c->event_conn = NULL;
}

/* Executed, but the answer never comes whole. */
static void answer_half(struct fake_connection *n, const struct nvme_sqe *sqe, const uint8_t *data, uint32_t len)
{
	uint8_t buf[PDU_ENCODE_MAX];

	if (sqe->opcode == NVME_IO_READ) {
		fake_write(&n->fake, buf,
			   pdu_encode_c2h_data(buf, &n->fake.framing, sqe->cid, 0, len, PDU_F_LAST | PDU_F_SUCCESS));
		fake_write(&n->fake, data, len / 2);
	}
	cut(n->c);
}

/* Counts halves that are alone. Whether this is a second half whose first failed. */
static bool fused_over(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	bool second = nvme_fuse(sqe) == NVME_SQE_FUSE_SECOND;

	n->c->alone += second != (n->fused != FUSED_NONE);
	return second && n->fused == FUSED_FAILED;
}

static void answer_io(struct fake_connection *n, const struct nvme_sqe *sqe, const uint8_t *data)
{
	const struct nvme_rw_sqe *rw = (const void *)sqe;
	uint8_t *at = n->c->memory + le64toh(rw->slba) * 512;
	uint32_t len = (le16toh(rw->nlb) + 1u) * 512;

	n->c->commands++;
	if (fused_over(n, sqe)) {
		n->fused = FUSED_NONE;
		fake_respond(&n->fake, sqe->cid, NVME_ST_FUSED_FAILED | NVME_STATUS_DNR);
		return;
	}
	n->fused = nvme_fuse(sqe) == NVME_SQE_FUSE_FIRST ? FUSED_FAILED : FUSED_NONE;
	if (n->c->io_status && (!n->c->io_status_opcode || n->c->io_status_opcode == sqe->opcode)) {
		fake_respond_with(&n->fake, sqe->cid, n->c->io_status, 0);
		if (n->c->io_status_left && !--n->c->io_status_left)
			n->c->io_status = 0;
		return;
	}
	if (sqe->opcode == NVME_IO_COMPARE && memcmp(at, data, len)) {
		fake_respond(&n->fake, sqe->cid, NVME_ST_COMPARE_FAILED);
		return;
	}
	if (n->fused)
		n->fused = FUSED_PASSED;
	if (sqe->opcode == NVME_IO_WRITE)
		memcpy(at, data, len);
	if (n->c->cut_always || (n->c->cut_at && !--n->c->cut_at))
		answer_half(n, sqe, at, len);
	else if (sqe->opcode == NVME_IO_READ)
		fake_c2h(&n->fake, sqe->cid, 0, at, len, PDU_F_LAST | PDU_F_SUCCESS);
	else
		fake_respond_with(&n->fake, sqe->cid, 0, 0);
}

/* Whether the command is one that is not answered; it is kept. */
static bool hangs(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	struct fake_hanging *h = n->c->hanging;

	if (!n->c->hang || (n->c->hang_opcode && n->c->hang_opcode != sqe->opcode))
		return false;
	n->c->hang--;
	n->c->commands++;
	while (h->n)
		h++;
	if (h == n->c->hanging + FAKE_HANGING)
		abort();
	*h = (struct fake_hanging){n, *sqe};
	n->fused = nvme_fuse(sqe) == NVME_SQE_FUSE_FIRST ? FUSED_FAILED : FUSED_NONE;
	return true;
}

/* Answered as aborted before the Abort is, as sluice's target does. */
static void answer_abort(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	uint32_t cdw10 = le32toh(sqe->cdw10);
	struct fake_controller *c = n->c;
	uint64_t result = 1;

	c->aborts++;
	for (struct fake_hanging *h = c->hanging; h < c->hanging + FAKE_HANGING; h++) {
		if (!h->n || h->n->qid != (cdw10 & 0xffff) || le16toh(h->sqe.cid) != cdw10 >> 16 ||
		    c->abort == ABORT_REFUSED)
			continue;
		result = c->abort == ABORT_LATE;
		if (c->abort == ABORT_LATE)
			answer_io(h->n, &h->sqe, NULL);
		else
			fake_respond(&h->n->fake, h->sqe.cid, NVME_ST_ABORTED);
		h->n = NULL;
	}
	fake_respond_with(&n->fake, sqe->cid, 0, result);
}

static void answer_admin(struct fake_connection *n, const struct nvme_sqe *sqe)
{
	switch (sqe->opcode) {
	case NVME_ADM_IDENTIFY:
		answer_identify(n, sqe);
		break;
	case NVME_ADM_GET_LOG_PAGE:
		answer_log(n, sqe);
		break;
	case NVME_ADM_ASYNC_EVENT:
		n->c->event_conn = n;
		n->c->event_cid = sqe->cid;
		break;
	case NVME_ADM_ABORT:
		answer_abort(n, sqe);
		break;
	case NVME_ADM_KEEP_ALIVE:
		n->c->keep_alives++;
		fake_respond(&n->fake, sqe->cid, 0);
		break;
	default: /* Set Features */
		if ((le32toh(sqe->cdw10) & 0xff) == NVME_FID_HOST_BEHAVIOR)
			take_behavior(n, sqe);
		fake_respond_with(&n->fake, sqe->cid, 0, 7 << 16 | 7);
	}
}

/* ---- connections ---- */

static void *serve(void *arg)
{
	struct fake_connection *n = arg;
	bool io = false;
	uint8_t data[8192];
	struct nvme_sqe sqe;

	fake_ic(&n->fake, 0, false, 65536);
	for (;;) {
		fake_command(&n->fake, &sqe, data);
		if (n->fake.failed)
			break;
		pthread_mutex_lock(&n->c->lock);
		if (n->c->mute) {
			/* it hears, that is all */
		} else if (sqe.opcode == NVME_FABRICS) {
			const struct nvme_connect_sqe *connect = (const void *)&sqe;

			if (connect->fctype == NVME_FC_CONNECT)
				n->qid = le16toh(connect->qid);
			io = n->qid;
			answer_fabrics(n, &sqe);
		} else if (io) {
			if (!hangs(n, &sqe))
				answer_io(n, &sqe, data);
		} else {
			answer_admin(n, &sqe);
		}
		pthread_mutex_unlock(&n->c->lock);
	}
	pthread_mutex_lock(&n->c->lock);
	if (n->c->event_conn == n)
		n->c->event_conn = NULL;
	for (unsigned int k = 0; k < FAKE_HANGING; k++)
		if (n->c->hanging[k].n == n)
			n->c->hanging[k].n = NULL;
	n->open = false;
	close(n->fake.fd);
	pthread_mutex_unlock(&n->c->lock);
	return NULL;
}

static void *take(void *arg)
{
	struct fake_controller *c = arg;

	for (;;) {
		int fd = accept(c->listener, NULL, NULL);
		struct fake_connection *n;

		if (fd < 0)
			return NULL;
		pthread_mutex_lock(&c->lock);
		if (c->n_connections == FAKE_CONNECTIONS)
			abort();
		n = &c->connections[c->n_connections++];
		*n = (struct fake_connection){.c = c, .fake = {.fd = fd, .framing.align = 4}, .open = true};
		if (pthread_create(&n->thread, NULL, serve, n))
			abort();
		pthread_mutex_unlock(&c->lock);
	}
}

static void listen_at(struct fake_controller *c, struct sockaddr_in *in)
{
	const int on = 1;

	c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (c->listener < 0 || bind(c->listener, (struct sockaddr *)in, sizeof(*in)) || listen(c->listener, 16) ||
	    pthread_create(&c->thread, NULL, take, c))
		abort();
}

void fake_controller_start(struct fake_controller *c)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	char text[32];

	pthread_mutex_init(&c->lock, NULL);
	listen_at(c, &in);
	if (getsockname(c->listener, (struct sockaddr *)&in, &len))
		abort();
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
	if (initiator_addr_parse(text, 0, &c->addr, NULL))
		abort();
}

void fake_controller_away(struct fake_controller *c)
{
	shutdown(c->listener, SHUT_RDWR);
	pthread_join(c->thread, NULL);
	close(c->listener);
	fake_controller_cut(c);
	for (unsigned int k = 0; k < c->n_connections; k++)
		pthread_join(c->connections[k].thread, NULL);
	c->n_connections = 0;
}

void fake_controller_back(struct fake_controller *c)
{
	struct sockaddr_in in;

	memcpy(&in, &c->addr.sa, sizeof(in));
	listen_at(c, &in);
}

void fake_controller_cut(struct fake_controller *c)
{
	pthread_mutex_lock(&c->lock);
	cut(c);
	pthread_mutex_unlock(&c->lock);
}

void fake_controller_ana(struct fake_controller *c, uint8_t state)
{
	pthread_mutex_lock(&c->lock);
	c->state = state;
	if (c->event_conn)
		fake_respond_with(&c->event_conn->fake, c->event_cid, 0, 2 | 0x03 << 8 | NVME_LID_ANA << 16);
	c->event_conn = NULL;
	pthread_mutex_unlock(&c->lock);
}

unsigned int fake_controller_commands(struct fake_controller *c)
{
	unsigned int n;

	pthread_mutex_lock(&c->lock);
	n = c->commands;
	pthread_mutex_unlock(&c->lock);
	return n;
}
