// SPDX-License-Identifier: Apache-2.0
/* See storage_client.h. Aborts, and so fails the test, where it could not go on. */
#include "storage_client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"

/* Not assert(): it stays in every build. */
#define must(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s failed: %s\n", __FILE__, __LINE__, #condition, strerror(errno));    \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* ---- the target ---- */

static void namespace_set(struct policy_namespace *ns, uint32_t id, enum policy_backend backend, uint32_t block)
{
	*ns = (struct policy_namespace){.id = id, .backend = backend, .size = NS_SIZE, .block = block};
}

void fixture_start(struct fixture *f, unsigned int reactors, unsigned int connect_timeout_ms)
{
	fixture_start_as(f, &(struct fixture_options){.reactors = reactors, .connect_timeout_ms = connect_timeout_ms});
}

void fixture_start_as(struct fixture *f, const struct fixture_options *how)
{
	struct target_options options = {.storage = &f->storage,
					 .state_dir = how->state_dir,
					 .open_backend = how->open_backend,
					 .connect_timeout_ms = how->connect_timeout_ms,
					 .stall_timeout_ms = how->stall_timeout_ms,
					 .ring_without = how->ring_without,
					 .rx_buffers = how->rx_buffers,
					 .pool_part = how->pool_part,
					 .kept_max = how->kept_max,
					 .spin_us = how->spin_us};
	unsigned int cpus[TARGET_MAX_REACTORS], n;
	struct error err = {};

	memset(f, 0, sizeof(*f));
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(f->path, sizeof(f->path), "/tmp/storage_test.%d.img", getpid());
	unlink(f->path);
	namespace_set(&f->namespaces[0], NS_NULL, POLICY_BACKEND_NULL, NS_BLOCK);
	namespace_set(&f->namespaces[1], NS_MEMORY, POLICY_BACKEND_MEMORY, 512);
	namespace_set(&f->namespaces[2], NS_FILE, POLICY_BACKEND_FILE, NS_BLOCK);
	namespace_set(&f->namespaces[3], NS_READONLY, POLICY_BACKEND_MEMORY, NS_BLOCK);
	f->namespaces[2].path = f->path;
	f->namespaces[3].readonly = true;
	f->subsystems[0] = (struct policy_subsystem){
		.nqn = (char *)TEST_SUBNQN, .any_host = true, .namespaces = f->namespaces, .n_namespaces = NS_COUNT};
	f->hosts[0] = (struct policy_host){.nqn = (char *)TEST_OTHER};
	f->subsystems[1] = (struct policy_subsystem){.nqn = (char *)TEST_PRIVATE,
						     .hosts = f->hosts,
						     .n_hosts = 1,
						     .namespaces = f->namespaces,
						     .n_namespaces = 1};
	f->portal = (struct policy_portal){.address = (char *)"127.0.0.1"};
	f->storage = (struct policy_storage){.present = true,
					     .portals = &f->portal,
					     .n_portals = 1,
					     .reactors_auto = true,
					     .subsystems = f->subsystems,
					     .n_subsystems = 2,
					     .limits = how->limits,
					     .n_limits = how->n_limits,
					     .transport = how->transport};
	must(!target_cpus(&f->storage, cpus, &n, &err));
	options.cpus = cpus;
	options.n_cpus = min(n, how->reactors);
	if (target_start(&options, &err, &f->target)) {
		fprintf(stderr, "target: %s\n", err.text);
		abort();
	}
	f->port = target_portal_port(f->target, 0);
}

void fixture_stop(struct fixture *f)
{
	target_stop(f->target, 1000);
	unlink(f->path);
}

/* ---- bytes ---- */

const char *client_address = "127.0.0.1";

/*
 * connect(), and its answers. A signal may interrupt it (fuzzers have an alarm): then it goes on by itself and must not
 * be called again (POSIX).
 */
static int connect_through(int fd, const struct sockaddr_in *to)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int n, r = connect(fd, (const struct sockaddr *)to, sizeof(*to));

	if (!r || errno != EINTR)
		return r;
	do
		n = poll(&p, 1, 10000);
	while (n < 0 && errno == EINTR);
	must(n == 1);
	must(!getsockopt(fd, SOL_SOCKET, SO_ERROR, &r, &len));
	errno = r;
	return r ? -1 : 0;
}

void client_dial(struct client *c, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	const struct timeval limit = {.tv_sec = 10};
	const int on = 1;

	memset(c, 0, sizeof(*c));
	must(inet_pton(AF_INET, client_address, &to.sin_addr) == 1);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(c->fd >= 0);
	must(!setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	must(!setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
	must(!setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	must(!connect_through(c->fd, &to));
	pdu_decoder_init(&c->decoder, PDU_ROLE_HOST);
	c->framing.align = pdu_align(0);
}

void client_close(struct client *c)
{
	close(c->fd);
	c->fd = -1;
}

int client_send(struct client *c, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len) {
		ssize_t n = send(c->fd, p, c->chunk ? min(c->chunk, len) : len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

/* Exactly len bytes. */
static int receive(struct client *c, void *bytes, size_t len)
{
	size_t have = 0;
	ssize_t n;

	while (have < len) {
		n = recv(c->fd, (uint8_t *)bytes + have, len - have, MSG_WAITALL);
		if (!n)
			return -ECONNRESET;
		if (n < 0 && errno != EINTR) /* fuzzers have an alarm */
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		have += n > 0 ? n : 0;
	}
	return 0;
}

bool client_is_closed(struct client *c)
{
	uint8_t sink[4096];
	ssize_t n;

	do
		n = recv(c->fd, sink, sizeof(sink), 0);
	while (n > 0);
	return !n || errno == ECONNRESET;
}

int client_receive(struct client *c, struct pdu *ret_pdu, void *data, size_t max)
{
	enum pdu_result result = PDU_MORE;
	uint8_t byte;
	size_t n;
	int r;

	while (result == PDU_MORE) {
		r = receive(c, &byte, 1);
		if (r)
			return r;
		result = pdu_decode(&c->decoder, &byte, 1, &n, ret_pdu);
	}
	if (result == PDU_BAD || ret_pdu->data_len > max)
		return -EPROTO;
	r = receive(c, data, ret_pdu->data_len);
	if (r)
		return r;
	if (ret_pdu->data_len)
		pdu_data_take(&c->decoder, data, ret_pdu->data_len);
	while (pdu_digest_left(&c->decoder)) {
		r = receive(c, &byte, 1);
		if (r)
			return r;
		pdu_digest_take(&c->decoder, &byte, 1);
	}
	return pdu_digest_ok(&c->decoder) ? 0 : -EPROTO;
}

void client_open(struct client *c, uint16_t port, uint8_t dgst)
{
	struct pdu_icresp icresp;

	client_open_as(c, port, dgst, 0, 0, &icresp);
}

void client_open_as(struct client *c, uint16_t port, uint8_t dgst, uint8_t hpda, uint32_t maxr2t,
		    struct pdu_icresp *ret_icresp)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct pdu pdu;

	client_dial(c, port);
	must(!client_send(c, buf, pdu_encode_icreq(buf, hpda, dgst, maxr2t)));
	must(!client_receive(c, &pdu, NULL, 0));
	must(pdu.type == PDU_ICRESP && pdu.header.icresp.dgst == dgst);
	c->framing.hdgst = dgst & PDU_DGST_HEADER;
	c->framing.ddgst = dgst & PDU_DGST_DATA;
	c->framing.align = pdu_align(pdu.header.icresp.cpda);
	pdu_decoder_ready(&c->decoder, &(struct pdu_framing){c->framing.hdgst, c->framing.ddgst, pdu_align(hpda)}, 0,
			  0);
	*ret_icresp = pdu.header.icresp;
}

/* ---- commands ---- */

/* Data behind a header that stands in buf, with their digest. */
static int send_pdu(struct client *c, const void *header, size_t header_len, const void *data, uint32_t len)
{
	__le32 digest = pdu_ddgst_final(pdu_crc_update(PDU_CRC_INIT, data, len));
	int r = client_send(c, header, header_len);

	if (!r && len)
		r = client_send(c, data, len);
	if (!r && pdu_has_ddgst(&c->framing, len))
		r = client_send(c, &digest, sizeof(digest));
	return r;
}

uint32_t client_event(struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	struct pdu pdu;

	if (poll(&p, 1, 700) != 1)
		return UINT32_MAX;
	must(!client_receive(c, &pdu, NULL, 0));
	must(pdu.type == PDU_CAPSULE_RESP);
	must(!nvme_cqe_status(&pdu.header.resp.cqe));
	return (uint32_t)le64toh(pdu.header.resp.cqe.result);
}

int client_capsule(struct client *c, const struct nvme_sqe *sqe, const void *data, uint32_t len)
{
	uint8_t buf[PDU_ENCODE_MAX];

	return send_pdu(c, buf, pdu_encode_capsule_cmd(buf, &c->framing, sqe, len), data, len);
}

int client_answer_r2t(struct client *c, const struct pdu_data *r2t, const uint8_t *data, uint32_t len)
{
	uint32_t offset = le32toh(r2t->offset), n = le32toh(r2t->len), done = 0;
	uint8_t buf[PDU_ENCODE_MAX];
	int r = 0;

	if (offset > len || n > len - offset)
		return -EPROTO;
	/* In pieces, so that more than one H2CData answers a larger R2T. */
	while (done < n && !r) {
		uint32_t piece = min(n - done, 32768u);
		size_t header = pdu_encode_h2c_data(buf, &c->framing, r2t->cccid, le16toh(r2t->ttag), offset + done,
						    piece, done + piece == n ? PDU_F_LAST : 0);

		r = send_pdu(c, buf, header, data + offset + done, piece);
		done += piece;
	}
	return r;
}

/* PDUs until the command is answered. */
static int complete(struct client *c, uint8_t *data, uint32_t len, uint64_t *ret_result)
{
	static __thread uint8_t piece[1 << 20];
	struct pdu pdu;
	int r;

	for (;;) {
		r = client_receive(c, &pdu, piece, sizeof(piece));
		if (r)
			return r;
		if (pdu.type == PDU_R2T) {
			r = client_answer_r2t(c, &pdu.header.data, data, len);
			if (r)
				return r;
		} else if (pdu.type == PDU_C2H_DATA) {
			uint32_t offset = le32toh(pdu.header.data.offset);

			if (offset > len || pdu.data_len > len - offset)
				return -EPROTO;
			memcpy(data + offset, piece, pdu.data_len);
			c->c2h_pdus++;
			if (pdu.flags & PDU_F_SUCCESS) {
				c->success_flags++;
				return 0;
			}
		} else if (pdu.type == PDU_CAPSULE_RESP) {
			if (ret_result)
				*ret_result = le64toh(pdu.header.resp.cqe.result);
			c->sqhd = le16toh(pdu.header.resp.cqe.sqhd);
			if (le16toh(pdu.header.resp.cqe.cid) != c->cid)
				return -EPROTO;
			return nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE;
		} else {
			return -EPROTO;
		}
	}
}

int client_run(struct client *c, struct nvme_sqe sqe, void *data, uint32_t len, bool in_capsule, uint64_t *ret_result)
{
	int r;

	sqe.cid = htole16(++c->cid);
	sqe.flags = NVME_SQE_PSDT_SGL;
	sqe.sgl = in_capsule ? nvme_sgl_in_capsule(len) : nvme_sgl_transport(len);
	r = client_capsule(c, &sqe, data, in_capsule ? len : 0);
	return r ? r : complete(c, data, len, ret_result);
}

int client_connect(struct client *c, const struct client_connect *how)
{
	struct nvme_connect connect = {
		.qid = how->qid,
		.entries = how->entries ? how->entries : 32,
		.cntlid = how->cntlid ? how->cntlid
			  : how->qid  ? c->cntlid
				      : NVME_CNTLID_DYNAMIC,
		.kato_ms = how->kato_ms,
		.no_sq_flow = how->no_sq_flow,
		.hostid = {1, 2, 3, how->host},
	};
	struct nvme_connect_data data;
	uint64_t result = 0;
	int r;

	snprintf(connect.subnqn, sizeof(connect.subnqn), "%s", how->subnqn ? how->subnqn : TEST_SUBNQN);
	snprintf(connect.hostnqn, sizeof(connect.hostnqn), "%s", how->hostnqn ? how->hostnqn : TEST_HOSTNQN);
	nvme_connect_data_make(&connect, &data);
	r = client_run(c, nvme_connect_sqe_make(0, &connect), &data, sizeof(data), true, &result);
	if (!r)
		c->cntlid = result;
	return r;
}

int client_property_set(struct client *c, uint32_t offset, uint64_t value)
{
	const struct nvme_property property = {.offset = offset, .size = 4, .value = value};

	return client_run(c, nvme_property_set_make(0, &property), NULL, 0, false, NULL);
}

int client_property_get(struct client *c, uint32_t offset, uint8_t size, uint64_t *ret_value)
{
	return client_run(c, nvme_property_get_make(0, offset, size), NULL, 0, false, ret_value);
}

int client_enable(struct client *c)
{
	uint64_t csts = 0;
	int r = client_property_set(c, NVME_PROP_CC, NVME_CC_EN | 6 << 16 | 4 << 20);

	if (!r)
		r = client_property_get(c, NVME_PROP_CSTS, 4, &csts);
	if (!r && !(csts & NVME_CSTS_RDY))
		r = -EAGAIN;
	return r;
}

void client_admin(struct client *c, const struct fixture *f, uint8_t dgst)
{
	client_open(c, f->port, dgst);
	must(!client_connect(c, &(struct client_connect){}));
	must(!client_enable(c));
	must(!client_run(c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 3 << 16 | 3), NULL, 0,
			 false, NULL));
}

void client_io(struct client *c, const struct fixture *f, const struct client *admin, uint8_t dgst, bool no_sq_flow)
{
	client_open(c, f->port, dgst);
	c->cntlid = admin->cntlid;
	must(!client_connect(c, &(struct client_connect){.qid = 1, .no_sq_flow = no_sq_flow}));
}

int client_rw(struct client *c, uint8_t opcode, uint32_t nsid, uint64_t slba, uint32_t blocks, void *data, uint32_t len,
	      bool in_capsule)
{
	return client_run(c, nvme_sqe_rw(opcode, 0, nsid, slba, blocks), data, len, in_capsule, NULL);
}
