// SPDX-License-Identifier: Apache-2.0
/*
 * TLS on live connections: our initiator and our target on portals that require, allow and know no TLS; hosts with and
 * without a key; who claims to be another than its key says; handshakes that stop, and what follows a damaged record.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/host_keys.h"
#include "storage/tls.h"
#include "storage_client.h"
#include "target_frame.h"

#define KEYED "nqn.2026-11.io.example:keyed" /* its hosts: SHORT and LONG with a key each, OPEN with none */
#define SHORT "nqn.2026-11.io.example:short"
#define LONG  "nqn.2026-11.io.example:long"
#define OPEN  "nqn.2026-11.io.example:open-host"

#define PSK_SHORT "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:"
#define PSK_LONG  "NVMeTLSkey-1:02:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwP/w0S89ELi3W2LxIcLXVsDn8kXZQ==:"
#define PSK_PLAIN "NVMeTLSkey-1:00:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:"
#define KEY_HOST  "DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"

enum { REQUIRED, ALLOWED, NONE, PORTALS };

static char folder[] = "/tmp/tls_test.XXXXXX";
static struct policy_host hosts[3];
static struct policy_namespace namespace = {.id = 1, .backend = POLICY_BACKEND_MEMORY, .size = 8 << 20, .block = 4096};
static struct policy_subsystem subsystems[2];
static struct policy_portal portals[PORTALS];
static struct policy_storage storage;
static struct initiator_tls tls;

static void setup(void)
{
	int i;

	log_set_level(LOG_LEVEL_ERROR);
	cr_assert(mkdtemp(folder));
	hosts[0] =
		(struct policy_host){.nqn = (char *)SHORT, .psk.path = put_file(folder, "short", PSK_SHORT "\n", 0600)};
	hosts[1] = (struct policy_host){.nqn = (char *)LONG,
					.psk.path = put_file(folder, "long", PSK_LONG, 0600),
					.dhchap_key.path = put_file(folder, "host", KEY_HOST, 0600)};
	hosts[2] = (struct policy_host){.nqn = (char *)OPEN};
	subsystems[0] = (struct policy_subsystem){
		.nqn = (char *)KEYED, .hosts = hosts, .n_hosts = 3, .namespaces = &namespace, .n_namespaces = 1};
	subsystems[1] = (struct policy_subsystem){
		.nqn = (char *)TEST_SUBNQN, .any_host = true, .namespaces = &namespace, .n_namespaces = 1};
	for (i = 0; i < PORTALS; i++)
		portals[i] = (struct policy_portal){.address = (char *)"127.0.0.1",
						    .tls = i == REQUIRED  ? POLICY_TLS_REQUIRED
							   : i == ALLOWED ? POLICY_TLS_ALLOWED
									  : POLICY_TLS_NONE};
	storage = (struct policy_storage){.present = true,
					  .portals = portals,
					  .n_portals = PORTALS,
					  .reactors_auto = true,
					  .subsystems = subsystems,
					  .n_subsystems = 2};
	target_begin((struct target_options){.storage = &storage, .connect_timeout_ms = 1500});
}

static void teardown(void)
{
	char command[64];

	target_stop(target, 1000);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(tls_target, .init = setup, .fini = teardown, .timeout = 60);

static void use_key(const char *text, int version)
{
	struct error err;

	cr_assert_eq(tls_psk_parse(text, &tls.key, &err), 0, "%s", err.text);
	tls.version = version;
}

static struct initiator_options options_for(unsigned int portal, const char *hostnqn, bool with_tls)
{
	struct initiator_options o = portal_options(portal, KEYED, hostnqn);

	o.timeout_ms = 3000;
	o.tls = with_tls ? &tls : NULL;
	return o;
}

/* ---- both ends ---- */

static void transfer(struct initiator_queue *q, uint8_t opcode, uint8_t *data, uint32_t len)
{
	struct initiator_io io = {.sqe = nvme_sqe_rw(opcode, 0, 1, 3, len / 4096), .data = data, .len = len};
	struct error err = {};

	cr_expect_eq(initiator_queue_execute(q, &io, &err), 0, "%s", err.text);
}

/* What is written comes back: in the capsule, by R2T, in several C2HData. */
static void works(const struct initiator_options *o)
{
	static const uint32_t sizes[] = {4096, 8192, 65536, 256 << 10};
	static uint8_t out[256 << 10] __attribute__((aligned(4096))), in[256 << 10] __attribute__((aligned(4096)));
	struct initiator_queue *q;
	struct initiator *i = open_with_queues(o, 1);
	struct error err = {};

	cr_assert_eq(initiator_queue_open(i, 1, 4, &q, &err), 0, "%s", err.text);
	for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
		for (uint32_t b = 0; b < sizes[k]; b++)
			out[b] = (uint8_t)(b * 7 + k);
		transfer(q, NVME_IO_WRITE, out, sizes[k]);
		memset(in, 0, sizes[k]);
		transfer(q, NVME_IO_READ, in, sizes[k]);
		cr_expect_arr_eq(in, out, sizes[k]);
	}
	initiator_queue_close(q);
	initiator_close(i);
}

Test(tls_target, admits)
{
	struct initiator_auth auth = {.hashes = DHCHAP_ALL_HASHES, .groups = DHCHAP_ALL_GROUPS};
	struct initiator_options o;
	struct error err;

	for (int version = 0; version < TLS_PSK_VERSIONS; version++) {
		for (int portal = REQUIRED; portal <= ALLOWED; portal++) {
			use_key(PSK_SHORT, version);
			o = options_for(portal, SHORT, true);
			works(&o);
			o.header_digest = o.data_digest = true;
			works(&o);
			use_key(PSK_LONG, version);
			o = options_for(portal, LONG, true);
			cr_assert_eq(dhchap_key_parse(KEY_HOST, &auth.host, &err), 0);
			o.auth = &auth;
			works(&o);
		}
	}
	for (int portal = ALLOWED; portal <= NONE; portal++) {
		o = options_for(portal, OPEN, false);
		works(&o);
	}
}

Test(tls_target, refuses)
{
	struct initiator_options o = options_for(REQUIRED, OPEN, false);

	refused(&o, "does its portal require TLS");
	for (int portal = ALLOWED; portal <= NONE; portal++) {
		o = options_for(portal, SHORT, false);
		refused(&o, "a host with a psk there comes by TLS");
	}
	use_key(PSK_SHORT, 0);
	o = options_for(REQUIRED, OPEN, true);
	refused(&o, "unknown psk identity");
	o = options_for(REQUIRED, LONG, true);
	refused(&o, "unknown psk identity"); /* another hash than its key's */
	use_key(PSK_PLAIN, 0);
	o = options_for(REQUIRED, SHORT, true);
	refused(&o, "TLS: "); /* the same bytes, another key: its identity is the same */
	use_key(PSK_PLAIN, 1);
	refused(&o, "unknown psk identity");
	use_key(PSK_SHORT, 0);
	o = options_for(NONE, SHORT, true);
	refused(&o, "127.0.0.1"); /* a ClientHello where PDUs are spoken */
}

/* ---- who says to be another: TLS by hand ---- */

struct secure {
	int fd;
	struct tls *tls;
	struct pdu_decoder decoder;
	uint8_t plain[8192];
	size_t len;
};

static void flush(struct secure *s)
{
	struct iovec piece;

	while (tls_output(s->tls, &piece))
		cr_assert_eq(send(s->fd, piece.iov_base, piece.iov_len, MSG_NOSIGNAL), (ssize_t)piece.iov_len);
}

/* Receives once. false: the connection has ended. */
static bool listen_to(struct secure *s)
{
	uint8_t in[4096];
	const uint8_t *at = in, *plain;
	size_t left, used, n;
	ssize_t got = recv(s->fd, in, sizeof(in), 0);

	if (got <= 0)
		return false;
	for (left = (size_t)got; tls_receive(s->tls, at, left, &used, &plain, &n) == TLS_DATA;) {
		at += used;
		left -= used;
		cr_assert(s->len + n <= sizeof(s->plain));
		memcpy(s->plain + s->len, plain, n);
		s->len += n;
	}
	return true;
}

static void secure_open(struct secure *s, const char *hostnqn, const char *subnqn)
{
	struct tls_psk psk;
	struct client c;

	memset(s, 0, sizeof(*s));
	client_dial(&c, target_portal_port(target, REQUIRED));
	s->fd = c.fd;
	cr_assert_eq(tls_psk_derive(&tls.key, hostnqn, subnqn, tls.version, &psk), 0);
	cr_assert_eq(tls_connect(&psk, &s->tls), 0);
	flush(s);
	while (!tls_ready(s->tls))
		cr_assert(listen_to(s), "no handshake");
	flush(s);
}

static void secure_close(struct secure *s)
{
	tls_free(s->tls);
	close(s->fd);
}

static void secure_send(struct secure *s, const void *bytes, size_t len)
{
	cr_assert_eq(tls_send(s->tls, &(struct iovec){.iov_base = (void *)bytes, .iov_len = len}, 1), 0);
	flush(s);
}

/* ICReq and Connect; the status of Connect. */
static int secure_connect(struct secure *s, const char *hostnqn, const char *subnqn, uint64_t *ret_result)
{
	struct nvme_connect connect = {.entries = 32, .cntlid = NVME_CNTLID_DYNAMIC};
	struct pdu_framing framing = {.align = pdu_align(0)};
	struct nvme_connect_data data;
	uint8_t buf[PDU_ENCODE_MAX];
	struct pdu_capsule_resp resp;
	struct nvme_sqe sqe;

	secure_send(s, buf, pdu_encode_icreq(buf, 0, 0, 0));
	while (s->len < sizeof(struct pdu_icresp))
		cr_assert(listen_to(s));
	cr_assert_eq(s->plain[0], PDU_ICRESP);
	s->len = 0;
	strcpy(connect.subnqn, subnqn);
	strcpy(connect.hostnqn, hostnqn);
	nvme_connect_data_make(&connect, &data);
	sqe = nvme_connect_sqe_make(1, &connect);
	secure_send(s, buf, pdu_encode_capsule_cmd(buf, &framing, &sqe, sizeof(data)));
	secure_send(s, &data, sizeof(data));
	while (s->len < sizeof(resp))
		cr_assert(listen_to(s));
	memcpy(&resp, s->plain, sizeof(resp));
	s->len = 0;
	*ret_result = le64toh(resp.cqe.result);
	return nvme_cqe_status(&resp.cqe) & NVME_STATUS_CODE;
}

Test(tls_target, names_are_those_of_the_key)
{
	static const struct {
		const char *key_host, *key_sub, *host, *sub;
		int status;
		uint64_t place;
	} rows[] = {
		{SHORT, KEYED, SHORT, KEYED, 0, 0},
		{SHORT, NVME_DISCOVERY_NQN, SHORT, NVME_DISCOVERY_NQN, 0, 0},
		{SHORT, KEYED, LONG, KEYED, NVME_ST_CONNECT_PARAM, NVME_REFUSE_DATA(hostnqn)},
		{SHORT, KEYED, OPEN, KEYED, NVME_ST_CONNECT_PARAM, NVME_REFUSE_DATA(hostnqn)},
		{SHORT, KEYED, SHORT, TEST_SUBNQN, NVME_ST_CONNECT_PARAM, NVME_REFUSE_DATA(subnqn)},
		{SHORT, KEYED, SHORT, NVME_DISCOVERY_NQN, NVME_ST_CONNECT_PARAM, NVME_REFUSE_DATA(subnqn)},
		{SHORT, NVME_DISCOVERY_NQN, SHORT, KEYED, NVME_ST_CONNECT_PARAM, NVME_REFUSE_DATA(subnqn)},
	};

	use_key(PSK_SHORT, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct secure s;
		uint64_t result;

		secure_open(&s, rows[i].key_host, rows[i].key_sub);
		cr_expect_eq(secure_connect(&s, rows[i].host, rows[i].sub, &result), rows[i].status, "row %zu", i);
		if (rows[i].status)
			cr_expect_eq(result, rows[i].place, "row %zu", i);
		secure_close(&s);
	}
}

/* ---- discovery ---- */

Test(tls_target, discovery_tells)
{
	static const struct {
		uint8_t treq, sectype;
	} expected[PORTALS] = {
		[REQUIRED] = {NVME_TREQ_SECURE, NVME_SECTYPE_TLS13},
		[ALLOWED] = {NVME_TREQ_NO_SECURE, NVME_SECTYPE_TLS13},
		[NONE] = {NVME_TREQ_UNSPECIFIED, NVME_SECTYPE_NONE},
	};
	struct initiator_options o;
	struct nvme_discovery_entry *entries;
	struct initiator *i;
	struct error err = {};
	size_t n, skipped, seen = 0;

	use_key(PSK_SHORT, 1);
	o = options_for(REQUIRED, SHORT, true);
	strcpy(o.subnqn, NVME_DISCOVERY_NQN);
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_discover(i, &entries, &n, &skipped, &err), 0, "%s", err.text);
	for (size_t k = 0; k < n; k++) {
		for (int p = 0; p < PORTALS; p++) {
			if (atoi(entries[k].trsvcid) != target_portal_port(target, p))
				continue;
			cr_expect_eq(entries[k].treq, expected[p].treq);
			cr_expect_eq(entries[k].sectype, expected[p].sectype);
			seen++;
		}
	}
	cr_expect_eq(seen, 3 * PORTALS, "each portal with discovery and two subsystems, not %zu", seen);
	free(entries);
	initiator_close(i);
}

/* ---- what goes wrong ---- */

static void expect_end(int fd, const char *what, int most_ms)
{
	uint64_t until = time_now_ns() + most_ms * 1000000ull;
	uint8_t bytes[512];
	ssize_t n = 1;

	while (n > 0 && time_now_ns() < until) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		poll(&p, 1, 100);
		if (p.revents)
			n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	}
	cr_expect(n == 0 || (n < 0 && errno == ECONNRESET), "%s: still open", what);
}

Test(tls_target, handshakes_that_stop)
{
	static const uint8_t hello[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3};
	struct client c;

	for (size_t len = 0; len <= sizeof(hello); len++) {
		client_dial(&c, target_portal_port(target, len % 2 ? REQUIRED : ALLOWED));
		cr_assert(!len || send(c.fd, hello, len, MSG_NOSIGNAL) == (ssize_t)len);
		if (len == 0 || len == 5 || len == sizeof(hello))
			expect_end(c.fd, "half a hello", 8000);
		client_close(&c);
	}
}

/* A record that was changed ends the connection at once; commands that came before it were served. */
Test(tls_target, damaged_record)
{
	struct iovec piece;
	struct secure s;
	uint64_t result;
	uint8_t *copy;

	use_key(PSK_SHORT, 0);
	secure_open(&s, SHORT, KEYED);
	cr_assert_eq(secure_connect(&s, SHORT, KEYED, &result), 0);
	cr_assert_eq(tls_send(s.tls, &(struct iovec){.iov_base = (void *)"nonsense", .iov_len = 8}, 1), 0);
	cr_assert(tls_output(s.tls, &piece));
	copy = malloc(piece.iov_len);
	memcpy(copy, piece.iov_base, piece.iov_len);
	copy[7] ^= 1;
	cr_assert_eq(send(s.fd, copy, piece.iov_len, MSG_NOSIGNAL), (ssize_t)piece.iov_len);
	expect_end(s.fd, "damaged", 4000);
	free(copy);
	secure_close(&s);
}

/* A PDU that is malformed gets its C2HTermReq, sealed. */
Test(tls_target, malformed_pdu)
{
	uint8_t bad[128] = {PDU_ICREQ, 0, 128, 0, 128};
	struct secure s;

	use_key(PSK_LONG, 1);
	secure_open(&s, LONG, KEYED);
	bad[8] = 9; /* PFV */
	secure_send(&s, bad, sizeof(bad));
	while (s.len < sizeof(struct pdu_term))
		cr_assert(listen_to(&s), "no C2HTermReq");
	cr_expect_eq(s.plain[0], PDU_C2H_TERM_REQ);
	expect_end(s.fd, "after a C2HTermReq", 5000);
	secure_close(&s);
}

/* PDUs in records of one byte each. */
Test(tls_target, tiny_records)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct secure s;
	size_t n = pdu_encode_icreq(buf, 0, 0, 0);

	use_key(PSK_LONG, 0);
	secure_open(&s, LONG, KEYED);
	for (size_t i = 0; i < n; i++)
		secure_send(&s, buf + i, 1);
	while (s.len < sizeof(struct pdu_icresp))
		cr_assert(listen_to(&s));
	cr_expect_eq(s.plain[0], PDU_ICRESP);
	secure_close(&s);
}
