// SPDX-License-Identifier: Apache-2.0
/*
 * Secure channel concatenation on live queues: our initiator, and hosts made by hand, against our target on portals
 * that allow, require and know no TLS; who may use a generated key, for how long, and what a queue may do without one.
 * The policy is a text, so that the language is tried with it; only the ports are the system's choice.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "policy/policy.h"
#include "storage_client.h"
#include "target_frame.h"

#define KEYED "nqn.2026-11.io.example:keyed"
#define OTHER "nqn.2026-11.io.example:other"
#define ONE   "nqn.2026-11.io.example:one"   /* a generated key */
#define BOTH  "nqn.2026-11.io.example:both"  /* and the target proves itself */
#define PLAIN "nqn.2026-11.io.example:plain" /* authenticates, without TLS */
#define OPEN  "nqn.2026-11.io.example:open-host"

#define KEY_HOST   "DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"
#define KEY_TARGET "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"
#define KEY_TLS	   "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:"

#define BEFORE	", psk: generated"
#define AUTH_MS 1500

static const char policy_text[] =
	"sluice: 1\nstorage:\n  portals: [{address: 127.0.0.1, tls: allowed}, {address: 127.0.0.2, tls: required},\n"
	"    {address: 127.0.0.3}]\n  subsystems:\n"
	"    - nqn: " KEYED "\n      hosts:\n        - {nqn: " ONE ", dhchap-key: %1$s/host%2$s}\n"
	"        - {nqn: " BOTH ", dhchap-key: %1$s/host, dhchap-controller-key: %1$s/target, psk: generated}\n"
	"        - {nqn: " PLAIN ", dhchap-key: %1$s/host}\n        - {nqn: " OPEN "}\n"
	"      namespaces: [{id: 1, backend: memory, size: 8MiB}]\n"
	"    - nqn: " OTHER "\n      hosts: [{nqn: " ONE ", dhchap-key: %1$s/host, psk: generated}]\n"
	"      namespaces: []\n";

enum { ALLOWED, REQUIRED, NONE };

static char folder[] = "/tmp/concatenation_test.XXXXXX";
static struct policy_storage storage;
static struct initiator_auth auth;

/* one: what ONE says behind its dhchap-key. */
static struct policy_storage section(const char *one)
{
	struct policy_diagnostics diagnostics = {};
	struct policy *p = NULL;
	struct policy_storage s;
	char text[2048];
	size_t i;

	snprintf(text, sizeof(text), policy_text, folder, one);
	if (policy_load_text("test.yaml", text, strlen(text), &diagnostics, &p))
		policy_diagnostics_print(&diagnostics, stderr);
	policy_diagnostics_done(&diagnostics);
	cr_assert(p);
	policy_storage_take(p, &s);
	policy_free(p);
	for (i = 0; i < s.n_portals; i++)
		s.portals[i].port = 0;
	return s;
}

static void start_with(unsigned int auth_timeout_ms)
{
	log_set_level(LOG_LEVEL_ERROR);
	cr_assert(mkdtemp(folder));
	free(put_file(folder, "host", KEY_HOST "\n", 0600));
	free(put_file(folder, "target", KEY_TARGET "\n", 0600));
	free(put_file(folder, "tls", KEY_TLS "\n", 0600));
	storage = section(BEFORE);
	target_begin((struct target_options){.storage = &storage, .auth_timeout_ms = auth_timeout_ms});
	auth = (struct initiator_auth){.host = key(KEY_HOST),
				       .hashes = DHCHAP_ALL_HASHES,
				       .groups = 1 << DHCHAP_NULL | 1 << DHCHAP_FFDHE2048,
				       .concat = true,
				       .psk_version = 1};
}

static void start(void)
{
	start_with(0);
}

static void start_impatient(void)
{
	start_with(AUTH_MS);
}

static void stop(void)
{
	char command[64];

	target_stop(target, 1000);
	policy_storage_done(&storage);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(concatenation_target, .init = start, .fini = stop, .timeout = 60);

static struct initiator_options options_for(unsigned int portal, const char *hostnqn)
{
	struct initiator_options o = portal_options(portal, KEYED, hostnqn);

	o.auth = &auth;
	return o;
}

/* ---- both ends ---- */

static int move_block(struct initiator_queue *q, uint8_t opcode, uint8_t *data, struct error *err)
{
	struct initiator_io io = {.sqe = nvme_sqe_rw(opcode, 0, 1, 0, 1), .data = data, .len = 4096};

	return initiator_queue_execute(q, &io, err);
}

/* An I/O queue of it moves data. */
static void serves(struct initiator *i, uint16_t qid)
{
	static uint8_t out[4096] __attribute__((aligned(4096))), in[4096] __attribute__((aligned(4096)));
	struct initiator_queue *q;
	struct error err = {};

	cr_assert_eq(initiator_queue_open(i, qid, 4, &q, &err), 0, "%s", err.text);
	memset(out, ++out[7], sizeof(out));
	cr_expect_eq(move_block(q, NVME_IO_WRITE, out, &err), 0, "%s", err.text);
	cr_expect_eq(move_block(q, NVME_IO_READ, in, &err), 0, "%s", err.text);
	cr_expect_arr_eq(in, out, sizeof(in));
	initiator_queue_close(q);
}

static struct initiator *open_as(const struct initiator_options *o)
{
	return open_with_queues(o, 2);
}

static void works(const struct initiator_options *o)
{
	struct initiator *i = open_as(o);

	serves(i, 1);
	serves(i, 2);
	initiator_close(i);
}

Test(concatenation_target, admits)
{
	struct initiator_options o;

	for (unsigned int group = DHCHAP_FFDHE2048; group < DHCHAP_GROUPS; group++) {
		auth.groups = 1u << group;
		auth.hashes = 1u << (group % 2 ? DHCHAP_SHA256 : DHCHAP_SHA384);
		auth.psk_version = group % 2;
		o = options_for(ALLOWED, ONE);
		works(&o);
		o.header_digest = o.data_digest = group % 2;
		auth.controller = key(KEY_TARGET);
		strcpy(o.hostnqn, BOTH);
		works(&o);
		auth.controller.len = 0;
		works(&o);
	}
	auth.concat = false;
	o = options_for(ALLOWED, PLAIN);
	works(&o);
}

Test(concatenation_target, refuses)
{
	struct initiator_options o = options_for(ALLOWED, PLAIN);

	refused(&o, "it makes no key for TLS for this host: leave --concat out");
	o = options_for(ALLOWED, OPEN);
	refused(&o, "does not ask for authentication, so there is no key for TLS");
	o = options_for(REQUIRED, ONE);
	refused(&o, "does its portal require TLS");
	o = options_for(NONE, ONE);
	refused(&o, "comes by TLS (--psk, or --concat where it is generated)");
	o = options_for(ALLOWED, ONE);
	auth.hashes = 1 << DHCHAP_SHA512;
	refused(&o, "keys for TLS are made with sha256 or sha384");
	auth.hashes = DHCHAP_ALL_HASHES;
	auth.groups = 1 << DHCHAP_NULL;
	refused(&o, "a group that is not null");
	auth.groups = DHCHAP_ALL_GROUPS;
	auth.host = key(KEY_TARGET);
	refused(&o, "does not accept the key of " ONE);
	auth.host = key(KEY_HOST);
	auth.controller = key(KEY_HOST);
	strcpy(o.hostnqn, BOTH);
	refused(&o, "has not the key that --dhchap-controller-key gives");
	auth.concat = false;
	refused(&o, "wants a key for TLS made by authentication; use --concat");
	o.auth = NULL;
	refused(&o, "wants a key for TLS made by authentication; use --concat");
}

/* How often the statistics of the target say so. */
static unsigned int said(const char *what)
{
	unsigned int n = 0;
	char *text, *at;

	cr_assert_eq(target_stats_text(target, &text), 0);
	for (at = text; (at = strstr(at, what)); at++)
		n++;
	free(text);
	return n;
}

/* What has just been closed here is still to be seen there: until ONE has no more than so many queues left. */
static void wait_for_queues(unsigned int most)
{
	uint64_t until = time_now_ns() + 5 * NSEC_PER_SEC;
	unsigned int n;

	do {
		n = said("example:one\"");
		cr_assert(time_now_ns() < until, "%u queues", n);
	} while (n > most);
}

/* ---- by hand ---- */

static int connect_as(struct client *c, unsigned int portal, const struct client_connect *how)
{
	static const char *const addresses[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};

	client_address = addresses[portal];
	client_open(c, target_portal_port(target, portal), 0);
	client_address = addresses[0];
	if (how->cntlid)
		c->cntlid = how->cntlid;
	return client_connect(c, how);
}

/* What Connect of ONE asks for stands in its result, which client_connect() does not tell. */
static uint64_t connect_result(struct client *c)
{
	struct nvme_connect connect = {.entries = 32, .cntlid = NVME_CNTLID_DYNAMIC, .hostid = {1, 2, 3, 0}};
	struct nvme_connect_data data;
	uint64_t result = 0;

	client_open(c, target_portal_port(target, ALLOWED), 0);
	strcpy(connect.subnqn, KEYED);
	strcpy(connect.hostnqn, ONE);
	nvme_connect_data_make(&connect, &data);
	cr_assert_eq(client_run(c, nvme_connect_sqe_make(0, &connect), &data, sizeof(data), true, &result), 0);
	c->cntlid = (uint16_t)result;
	return result;
}

/* Authenticates ONE on a queue that is connected; the failure that it ends with, and the PSK if there is none. */
static uint8_t authenticate(struct client *c, uint8_t how, struct tls_psk *ret_psk)
{
	uint8_t data[4096] __attribute__((aligned(8)));
	struct dhchap_host h = {.parties = {ONE, KEYED, &auth.host, NULL},
				.hashes = 1 << DHCHAP_SHA256,
				.groups = 1 << DHCHAP_FFDHE2048,
				.concatenation = how,
				.tid = 77};
	uint32_t len;

	while (h.step != DHCHAP_DONE && h.step != DHCHAP_FAILED) {
		bool speaks = dhchap_host_speaks(&h);

		len = speaks ? (uint32_t)dhchap_host_give(&h, data) : sizeof(data);
		cr_assert_eq(client_run(c, nvme_auth_sqe_make(speaks ? NVME_FC_AUTH_SEND : NVME_FC_AUTH_RECV, 0, len),
					data, len, speaks, NULL),
			     0);
		if (!speaks)
			dhchap_host_take(&h, data, len);
	}
	if (ret_psk && !h.fault)
		cr_assert_eq(tls_psk_generated(h.psk.bytes, h.psk.len, ONE, KEYED, 1, ret_psk), 0);
	dhchap_host_end(&h);
	return h.fault;
}

/* A key, and the queue without TLS that it was made on gone. */
static struct tls_psk make_psk(void)
{
	struct tls_psk psk;
	struct client c;

	cr_assert_eq(connect_as(&c, ALLOWED, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE}), 0);
	cr_assert_eq(authenticate(&c, DHCHAP_NEWTLSPSK, &psk), 0);
	client_close(&c);
	return psk;
}

/* By TLS with a key that is at hand, and with that alone unless `again`. */
static struct initiator_options options_by(unsigned int portal, const struct tls_psk *psk, bool again)
{
	struct initiator_options o = options_for(portal, ONE);

	auth.concat = false;
	if (!again)
		o.auth = NULL;
	o.psk = psk;
	return o;
}

/* Reading and writing is what TLS is for; but Linux asks the controller who it is before it comes back. */
Test(concatenation_target, without_tls_there_are_admin_commands_alone)
{
	struct initiator_options o;
	uint8_t page[4096];
	struct tls_psk psk;
	struct initiator *i;
	struct client c, io;

	cr_expect_eq(connect_result(&c) >> 16, (NVME_CONNECT_ATR | NVME_CONNECT_ASCR) >> 16);
	cr_expect_eq(client_enable(&c), NVME_ST_AUTH_REQUIRED);
	cr_expect_eq(authenticate(&c, DHCHAP_NEWTLSPSK, &psk), 0);
	cr_expect_eq(client_enable(&c), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), page, sizeof(page), false, NULL), 0);
	cr_expect_eq(client_run(&c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 0), NULL, 0, false,
				NULL),
		     0);
	cr_expect_eq(
		connect_as(&io, ALLOWED,
			   &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE, .qid = 1, .cntlid = c.cntlid}),
		NVME_ST_CONNECT_HOST, "an I/O queue without TLS");
	client_close(&io);
	/* Nor does one by TLS join a controller that is not. */
	o = options_by(ALLOWED, &psk, false);
	i = open_as(&o);
	serves(i, 1);
	cr_expect_eq(connect_as(&io, ALLOWED,
				&(struct client_connect){.subnqn = KEYED,
							 .hostnqn = ONE,
							 .qid = 1,
							 .cntlid = initiator_controller(i)->cntlid}),
		     NVME_ST_CONNECT_HOST, "an I/O queue without TLS of a controller by TLS");
	client_close(&io);
	initiator_close(i);
	client_close(&c);
}

Test(concatenation_target, asks_for_what_is_due)
{
	static const uint8_t wrong[] = {DHCHAP_NOSC, DHCHAP_REPLACETLSPSK};
	struct client c;

	for (size_t k = 0; k < ARRAY_SIZE(wrong); k++) {
		cr_assert_eq(connect_as(&c, ALLOWED, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE}), 0);
		cr_expect_eq(authenticate(&c, wrong[k], NULL), DHCHAP_NO_CONCATENATION);
		cr_expect_eq(client_enable(&c), NVME_ST_AUTH_REQUIRED);
		client_close(&c);
	}
	cr_expect_eq(connect_as(&c, NONE, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE}),
		     NVME_ST_CONNECT_HOST, "no TLS there to come back by");
	client_close(&c);
}

/* Who has authenticated and stays without TLS is shown out. */
Test(concatenation_patience, shows_out_who_stays, .init = start_impatient, .fini = stop, .timeout = 60)
{
	uint64_t began, ms;
	struct client c;

	cr_assert_eq(connect_as(&c, ALLOWED, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE}), 0);
	cr_expect_eq(authenticate(&c, DHCHAP_NEWTLSPSK, NULL), 0);
	began = time_now_ns();
	cr_expect(client_is_closed(&c));
	ms = (time_now_ns() - began) / 1000000;
	cr_expect(ms >= AUTH_MS - 600 && ms <= AUTH_MS + 2500, "after %llu ms", (unsigned long long)ms);
	client_close(&c);
}

/* Nor does it help to begin to authenticate again, and again. */
Test(concatenation_patience, shows_out_who_begins_again, .init = start_impatient, .fini = stop, .timeout = 60)
{
	uint8_t data[4096] __attribute__((aligned(8)));
	uint64_t began, ms;
	struct client c;
	int r = 0;

	cr_assert_eq(connect_as(&c, ALLOWED, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE}), 0);
	cr_expect_eq(authenticate(&c, DHCHAP_NEWTLSPSK, NULL), 0);
	for (began = time_now_ns(), ms = 0; !r && ms < 4 * AUTH_MS; ms = (time_now_ns() - began) / 1000000) {
		struct dhchap_host h = {.parties = {ONE, KEYED, &auth.host, NULL},
					.hashes = 1 << DHCHAP_SHA256,
					.groups = 1 << DHCHAP_FFDHE2048,
					.concatenation = DHCHAP_NEWTLSPSK};
		uint32_t len = (uint32_t)dhchap_host_give(&h, data);

		r = client_run(&c, nvme_auth_sqe_make(NVME_FC_AUTH_SEND, 0, len), data, len, true, NULL);
		dhchap_host_end(&h);
		usleep(AUTH_MS * 1000 / 5); /* well within the time for a message */
	}
	cr_expect(r < 0 && ms <= AUTH_MS + 2500, "%d after %llu ms", r, (unsigned long long)ms);
	client_close(&c);
}

/* A key serves as long as a controller that came by it is there, on any portal with TLS, and not longer. */
Test(concatenation_target, a_key_goes_with_its_controller)
{
	struct tls_psk psk = make_psk(), later = make_psk();
	struct initiator_options o = options_by(ALLOWED, &psk, false), by = options_by(REQUIRED, &later, false);
	struct initiator *first = open_as(&o), *second, *other = open_as(&by);

	o = options_by(REQUIRED, &psk, false);
	second = open_as(&o);
	serves(first, 1);
	initiator_close(first);
	serves(second, 1);
	serves(second, 2);
	initiator_close(second);
	wait_for_queues(1);
	refused(&o, "unknown psk identity");
	serves(other, 1); /* a newer key of the same host is its own */
	initiator_drop(other);
	wait_for_queues(0);
	refused(&by, "unknown psk identity");
}

/* The names are those of the authentication. */
Test(concatenation_target, a_key_is_for_its_names)
{
	struct tls_psk psk = make_psk();
	struct initiator_options o = options_by(ALLOWED, &psk, false);

	strcpy(o.subnqn, OTHER);
	refused(&o, "no subsystem '" OTHER "' there for this host");
	o = options_by(ALLOWED, &psk, false);
	strcpy(o.hostnqn, BOTH);
	refused(&o, "the target refuses host '" BOTH "'");
	psk.bytes[0] ^= 1;
	o = options_by(ALLOWED, &psk, false);
	refused(&o, "TLS: ");
	psk.bytes[0] ^= 1;
	works(&o);
}

/* By TLS a host may authenticate again, and has a new key then: the old one opens nothing more. */
Test(concatenation_target, replaces_a_key)
{
	struct tls_psk psk = make_psk();
	struct initiator_options o = options_by(ALLOWED, &psk, true), old = options_by(ALLOWED, &psk, false);
	struct initiator_queue *q;
	struct initiator *i, *j;
	struct error err = {};

	o.auth = &auth;
	i = open_as(&o);
	j = open_as(&old);
	serves(i, 1);
	cr_assert_eq(initiator_queue_open(i, 1, 4, &q, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_authenticate(i, q, &err), 0, "%s", err.text); /* an I/O queue: no new key */
	for (int round = 0; round < 3; round++) {
		cr_assert_eq(initiator_authenticate(i, initiator_admin(i), &err), 0, "%s", err.text);
		refused(&old, "unknown psk identity");
		serves(i, 2);
	}
	cr_expect_eq(initiator_tend(j, &err), 0, "who came by it goes on: %s", err.text);
	initiator_close(j);
	initiator_queue_close(q);
	auth.host = key(KEY_TARGET);
	cr_expect_neq(initiator_authenticate(i, initiator_admin(i), &err), 0);
	initiator_close(i);
}

/* Several keys wait at once: hosts come by several paths. */
Test(concatenation_target, many_at_once)
{
	enum { N = 4 };
	struct initiator_options o[N];
	struct tls_psk psks[N];
	struct initiator *i[N];

	for (int k = 0; k < N; k++)
		psks[k] = make_psk();
	for (int k = 0; k < N; k++) {
		o[k] = options_by(k % 2 ? REQUIRED : ALLOWED, &psks[k], false);
		i[k] = open_as(&o[k]);
	}
	cr_expect_eq(said("example:one\""), N);
	cr_expect_eq(said("\"tls\":\"generated\""), N);
	for (int k = 0; k < N; k++) {
		serves(i[k], 1);
		initiator_close(i[k]);
		wait_for_queues(N - 1 - k);
		refused(&o[k], "unknown psk identity");
	}
}

/* ---- another policy ---- */

static void update(const char *one)
{
	target_switch(section(one));
}

Test(concatenation_target, a_policy_takes_keys_back)
{
	struct tls_psk psk = make_psk();
	struct initiator_options o = options_by(ALLOWED, &psk, false);
	char retained[64];

	update("");
	refused(&o, "unknown psk identity");
	update(BEFORE);
	works(&o);
	psk = make_psk();
	snprintf(retained, sizeof(retained), ", psk: %s/tls", folder);
	update(retained);
	refused(&o, "unknown psk identity");
	o.psk = NULL;
	o.auth = &auth;
	auth.concat = true;
	refused(&o, "a host with a psk there comes by TLS");
}
