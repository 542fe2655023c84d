// SPDX-License-Identifier: Apache-2.0
/*
 * Authentication on live queues: our initiator against our target with good and wrong keys, what a queue may do before
 * it is authenticated, malformed Authentication commands with their status, time limits, and the files that keys come
 * from.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "nvme/identify.h"
#include "storage/host_keys.h"
#include "storage_client.h"
#include "target_frame.h"

#define KEYED "nqn.2026-11.io.example:keyed" /* its hosts: ONE with a key, BOTH with two, OPEN with none */
#define ONE   "nqn.2026-11.io.example:one"
#define BOTH  "nqn.2026-11.io.example:both"
#define OPEN  "nqn.2026-11.io.example:open-host"

#define KEY_ONE	  "DHHC-1:01:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"
#define KEY_OTHER "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"

static char folder[] = "/tmp/auth_test.XXXXXX";
static struct policy_host hosts[3];
static struct policy_namespace namespace = {.id = 1, .backend = POLICY_BACKEND_MEMORY, .size = 1 << 20, .block = 4096};
static struct policy_subsystem subsystems[2];
static struct policy_portal portal = {.address = (char *)"127.0.0.1"};
static struct policy_storage storage;
static struct initiator_auth auth;

static int start_with(unsigned int auth_timeout_ms, struct error *err)
{
	unsigned int cpus[TARGET_MAX_REACTORS], n;
	struct target_options options = {.storage = &storage, .cpus = cpus, .auth_timeout_ms = auth_timeout_ms};

	cr_assert_eq(target_cpus(&storage, cpus, &n, err), 0, "%s", err->text);
	options.n_cpus = min(n, 2u);
	return target_start(&options, err, &target);
}

static void describe(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	cr_assert(mkdtemp(folder));
	hosts[0] = (struct policy_host){.nqn = (char *)ONE,
					.dhchap_key.path = put_file(folder, "one", KEY_ONE "\n", 0600)};
	hosts[1] = (struct policy_host){.nqn = (char *)BOTH,
					.dhchap_key.path = put_file(folder, "both", KEY_ONE, 0400),
					.dhchap_controller_key.path = put_file(folder, "controller", KEY_OTHER, 0600)};
	hosts[2] = (struct policy_host){.nqn = (char *)OPEN};
	subsystems[0] = (struct policy_subsystem){
		.nqn = (char *)KEYED, .hosts = hosts, .n_hosts = 3, .namespaces = &namespace, .n_namespaces = 1};
	subsystems[1] = (struct policy_subsystem){
		.nqn = (char *)TEST_SUBNQN, .any_host = true, .namespaces = &namespace, .n_namespaces = 1};
	storage = (struct policy_storage){.present = true,
					  .portals = &portal,
					  .n_portals = 1,
					  .reactors_auto = true,
					  .subsystems = subsystems,
					  .n_subsystems = 2};
	auth = (struct initiator_auth){.hashes = DHCHAP_ALL_HASHES, .groups = DHCHAP_ALL_GROUPS};
}

static void setup(void)
{
	struct error err = {};

	describe();
	cr_assert_eq(start_with(1500, &err), 0, "%s", err.text);
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}

static void teardown(void)
{
	target_stop(target, 1000);
	remove_folder();
}

TestSuite(auth_target, .init = setup, .fini = teardown, .timeout = 60);

static struct initiator_options options_for(const char *subnqn, const char *hostnqn)
{
	struct initiator_options o = portal_options(0, subnqn, hostnqn);

	o.auth = &auth;
	return o;
}

/* ---- both ends ---- */

static int read_one(struct initiator_queue *q, struct error *err)
{
	static uint8_t data[4096] __attribute__((aligned(4096)));
	struct initiator_io io = {.sqe = nvme_sqe_rw(NVME_IO_READ, 0, 1, 0, 1), .data = data, .len = sizeof(data)};

	return initiator_queue_execute(q, &io, err);
}

static void works(const struct initiator_options *o)
{
	struct initiator_queue *q;
	struct initiator *i = open_with_queues(o, 1);
	struct error err = {};

	cr_assert_eq(initiator_queue_open(i, 1, 4, &q, &err), 0, "%s", err.text);
	cr_expect_eq(read_one(q, &err), 0, "%s", err.text);
	initiator_queue_close(q);
	initiator_close(i);
}

Test(auth_target, admits)
{
	struct initiator_options o = options_for(KEYED, ONE);

	auth.host = key(KEY_ONE);
	works(&o);
	o = options_for(KEYED, BOTH);
	works(&o);
	auth.controller = key(KEY_OTHER);
	works(&o);
	for (unsigned int group = 0; group < DHCHAP_GROUPS; group++) {
		auth.groups = 1u << group;
		auth.hashes = 1u << (DHCHAP_SHA256 + group % 3);
		works(&o);
	}
	o = options_for(KEYED, OPEN);
	o.auth = NULL;
	works(&o);
	o = options_for(TEST_SUBNQN, ONE);
	o.auth = NULL;
	works(&o);
}

Test(auth_target, refuses)
{
	struct initiator_options o = options_for(KEYED, ONE);

	o.auth = NULL;
	refused(&o, "wants authentication; give the host's key with --dhchap-key");
	o.auth = &auth;
	auth.host = key(KEY_OTHER);
	refused(&o, "does not accept the key of " ONE);
	auth.host = key(KEY_ONE);
	auth.controller = key(KEY_OTHER);
	refused(&o, "the target does not accept the key"); /* it has none of its own for this host */
	o = options_for(KEYED, BOTH);
	auth.controller = key(KEY_ONE);
	refused(&o, "has not the key that --dhchap-controller-key gives");
	o = options_for(TEST_SUBNQN, BOTH);
	refused(&o, "does not ask for authentication, so it does not prove who it is");
}

Test(auth_target, again)
{
	struct initiator_options o = options_for(KEYED, BOTH);
	struct initiator_queue *q;
	struct initiator *i;
	struct error err = {};
	unsigned int granted;

	auth.host = key(KEY_ONE);
	auth.controller = key(KEY_OTHER);
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	cr_expect_eq(initiator_set_queues(i, 1, &granted, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_queue_open(i, 1, 4, &q, &err), 0, "%s", err.text);
	cr_expect_eq(initiator_authenticate(i, initiator_admin(i), &err), 0, "%s", err.text);
	cr_expect_eq(initiator_authenticate(i, q, &err), 0, "%s", err.text);
	cr_expect_eq(read_one(q, &err), 0, "%s", err.text);
	auth.host = key(KEY_OTHER);
	cr_expect_neq(initiator_authenticate(i, q, &err), 0);
	cr_expect_neq(read_one(q, &err), 0, "served, though authentication failed");
	initiator_queue_close(q);
	initiator_close(i);
}

/* ---- what a queue may do before ---- */

static uint16_t port(void)
{
	return target_portal_port(target, 0);
}

static void connect_as(struct client *c, const char *hostnqn)
{
	client_open(c, port(), 0);
	cr_assert_eq(client_connect(c, &(struct client_connect){.subnqn = KEYED, .hostnqn = hostnqn}), 0);
}

Test(auth_target, nothing_before)
{
	uint8_t page[4096];
	struct client c;
	uint64_t value;

	connect_as(&c, ONE);
	cr_expect_eq(client_property_get(&c, NVME_PROP_CAP, 8, &value), NVME_ST_AUTH_REQUIRED);
	cr_expect_eq(client_property_set(&c, NVME_PROP_CC, 0x460001), NVME_ST_AUTH_REQUIRED);
	cr_expect_eq(client_run(&c, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), page, sizeof(page), false, NULL),
		     NVME_ST_AUTH_REQUIRED);
	cr_expect_eq(client_run(&c, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), NVME_ST_AUTH_REQUIRED);
	client_close(&c);
}

/* An I/O queue is authenticated on its own, though its controller is already. */
Test(auth_target, nothing_before_on_an_io_queue)
{
	struct initiator_options o = options_for(KEYED, ONE);
	struct initiator *i;
	struct error err = {};
	unsigned int granted;
	struct client io;
	uint8_t data[4096];

	auth.host = key(KEY_ONE);
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	cr_expect_eq(initiator_set_queues(i, 1, &granted, &err), 0, "%s", err.text);
	client_open(&io, port(), 0);
	io.cntlid = initiator_controller(i)->cntlid;
	cr_expect_eq(client_connect(&io, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE, .qid = 1}),
		     NVME_ST_CONNECT_PARAM, "another host identifier");
	memcpy(o.hostid, (uint8_t[16]){1, 2, 3}, 16);
	client_close(&io);
	initiator_close(i);
	cr_assert_eq(initiator_open(&o, &i, &err), 0, "%s", err.text);
	cr_expect_eq(initiator_set_queues(i, 1, &granted, &err), 0, "%s", err.text);
	client_open(&io, port(), 0);
	io.cntlid = initiator_controller(i)->cntlid;
	cr_assert_eq(client_connect(&io, &(struct client_connect){.subnqn = KEYED, .hostnqn = ONE, .qid = 1}), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, 1, 0, 1, data, sizeof(data), false), NVME_ST_AUTH_REQUIRED);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, 1, 0, 1, data, sizeof(data), true), NVME_ST_AUTH_REQUIRED);
	cr_expect_eq(client_run(&io, nvme_sqe_flush(0, 1), NULL, 0, false, NULL), NVME_ST_AUTH_REQUIRED);
	client_close(&io);
	initiator_close(i);
}

/* ---- malformed commands ---- */

static int auth_command(struct client *c, uint8_t fctype, uint32_t said, void *data, uint32_t len)
{
	return client_run(c, nvme_auth_sqe_make(fctype, 0, said), data, len, fctype == NVME_FC_AUTH_SEND, NULL);
}

/* One byte of the SQE changed. */
static int damaged_command(struct client *c, size_t offset, uint8_t value)
{
	struct nvme_sqe sqe = nvme_auth_sqe_make(NVME_FC_AUTH_SEND, 0, 72);
	uint8_t message[72] = {0};

	((uint8_t *)&sqe)[offset] = value;
	return client_run(c, sqe, message, sizeof(message), true, NULL);
}

Test(auth_target, malformed_commands)
{
	uint8_t data[4096] = {0};
	struct client c;

	connect_as(&c, ONE);
	cr_expect_eq(damaged_command(&c, 43, 0xe8), NVME_ST_INVALID_FIELD, "SECP");
	cr_expect_eq(damaged_command(&c, 41, 0), NVME_ST_INVALID_FIELD, "SPSP0");
	cr_expect_eq(damaged_command(&c, 42, 2), NVME_ST_INVALID_FIELD, "SPSP1");
	cr_expect_eq(damaged_command(&c, 44, 71), NVME_ST_SGL_DATA_LEN, "TL");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 0, data, 0), NVME_ST_INVALID_FIELD, "no TL");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 8, NULL, 0), NVME_ST_SGL_DATA_LEN, "no data");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 0, data, 0), NVME_ST_INVALID_FIELD, "no AL");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 512, data, 4096), NVME_ST_SGL_DATA_LEN, "AL");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4096, data, 4096), NVME_ST_SEQUENCE, "nothing is due");
	client_close(&c);
	connect_as(&c, OPEN);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4096, data, 4096), NVME_ST_SEQUENCE, "none is wanted");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 72, data, 72), NVME_ST_SEQUENCE, "none is wanted");
	client_close(&c);
	client_open(&c, port(), 0);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 72, data, 72), NVME_ST_SEQUENCE, "before Connect");
	client_close(&c);
}

static void expect_end(struct client *c, uint64_t least_ms, uint64_t most_ms)
{
	uint64_t began = time_now_ns(), ms;
	uint8_t byte;
	struct pdu pdu;
	int r = client_receive(c, &pdu, &byte, 1);

	ms = (time_now_ns() - began) / 1000000;
	cr_expect_eq(r, -ECONNRESET, "%d", r);
	cr_expect(ms >= least_ms && ms <= most_ms, "after %llu ms", (unsigned long long)ms);
	client_close(c);
}

/* A garbled message gets FAILURE1, more of them change nothing, and the queue ends if its host does not. */
Test(auth_target, failure_ends_the_queue)
{
	uint8_t data[4096] = {0};
	struct client c;

	connect_as(&c, ONE);
	memset(data, 0x55, 72);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 72, data, 72), 0);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4, data, 4), NVME_ST_SGL_DATA_LEN, "it has 8 bytes");
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4096, data, 4096), 0);
	cr_expect(data[0] == 0 && data[1] == 0xf1 && data[6] == 1 && data[7] == DHCHAP_BAD_MESSAGE, "%d %d", data[1],
		  data[7]);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4096, data, 4096), NVME_ST_SEQUENCE, "said already");
	memset(data, 0, 72);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 72, data, 72), 0);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4096, data, 4096), NVME_ST_SEQUENCE, "no second try");
	expect_end(&c, 0, 3000);
}

Test(auth_target, silence_ends_the_queue)
{
	uint8_t data[4096] = {0};
	struct client c;

	connect_as(&c, ONE);
	expect_end(&c, 1000, 5000);
	connect_as(&c, ONE);
	data[7] = 1;
	data[8] = 1;
	data[10] = data[11] = 1;
	data[12] = DHCHAP_SHA256;
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_SEND, 72, data, 72), 0);
	cr_expect_eq(auth_command(&c, NVME_FC_AUTH_RECV, 4096, data, 4096), 0);
	cr_expect_eq(data[1], 1, "CHALLENGE");
	expect_end(&c, 1000, 5000);
}

/* ---- files ---- */

static void spoil_gone(const char *path)
{
	cr_assert(!unlink(path));
}

static void spoil_fifo(const char *path)
{
	cr_assert(!unlink(path) && !mkfifo(path, 0600));
}

static void spoil_folder(const char *path)
{
	cr_assert(!unlink(path) && !mkdir(path, 0700));
}

static const struct {
	const char *text, *fault;
	mode_t mode;
	void (*spoil)(const char *path);
} files[] = {
	{KEY_ONE, "has mode 0640, so that others may read it; chmod 0600", 0640, NULL},
	{KEY_ONE, "has mode 0604,", 0604, NULL},
	{KEY_ONE, "has mode 0620,", 0620, NULL},
	{KEY_ONE, "has mode 0601,", 0601, NULL},
	{KEY_ONE, "No such file", 0600, spoil_gone},
	{KEY_ONE, "is no regular file", 0600, spoil_fifo},
	{KEY_ONE, "is no regular file", 0600, spoil_folder},
	{"", "is not one line of text", 0600, NULL},
	{"\n\n", "is not one line of text", 0600, NULL},
	{KEY_ONE "\n" KEY_ONE "\n", "is not one line of text", 0600, NULL},
	{"DHHC-1:00:x:", "base64", 0600, NULL},
	{"secret", "does not begin with DHHC-1", 0600, NULL},
};

Test(auth_files, refusals, .init = describe, .fini = remove_folder, .timeout = 60)
{
	hosts[0].dhchap_key.place = (struct policy_place){"web.yaml", 12, 7};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char *path = put_file(folder, "spoiled", files[i].text, files[i].mode);
		struct error err = {};

		if (files[i].spoil)
			files[i].spoil(path);
		hosts[0].dhchap_key.path = path;
		cr_expect_neq(start_with(0, &err), 0, "row %zu: started", i);
		cr_expect(strstr(err.text, files[i].fault), "row %zu: %s", i, err.text);
		cr_expect(!strncmp(err.text, "web.yaml:12:7: dhchap-key /tmp/auth_test.", 41), "row %zu: %s", i,
			  err.text);
		cr_expect_not(strstr(err.text, "ia6z"), "row %zu says the secret", i);
		rmdir(path);
	}
}

/* Longer than any secret; and white space around one is no part of it. */
Test(auth_files, size, .init = describe, .fini = remove_folder)
{
	struct dhchap_key k;
	struct error err = {};
	char text[600];

	memset(text, 'A', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	cr_expect_neq(host_key_read_file(put_file(folder, "long", text, 0600), &k, &err), 0);
	cr_expect(strstr(err.text, "is longer than a secret can be"), "%s", err.text);
	cr_expect_eq(host_key_read_file(put_file(folder, "spaces", " \t" KEY_ONE " \r\n \n", 0600), &k, &err), 0, "%s",
		     err.text);
	cr_expect_eq(k.len, 32);
}
