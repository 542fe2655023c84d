// SPDX-License-Identifier: Apache-2.0
/*
 * Everything scarce at once, so that what is rare is frequent: 2 receive buffers and a thirty-second of the data
 * buffers a reactor, rings of 16 entries, queues of 16; writes by R2T and in capsules, reads by others than who writes,
 * hosts that are slow, send in pieces, or go in the midst of it, TLS beside plain TCP, and limits that are switched all
 * the while. Every command must complete, and what was written must be read. A watchdog names a host whose commands do
 * not complete, and prints what the target knows of its queues.
 *
 * STRESS_SEED and STRESS_SECONDS (1, and 8) make another run or a longer one; what threads do when is not repeated.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "storage/host_keys.h"
#include "storage/ring.h"
#include "storage_client.h"
#include "target_frame.h"

#define MS	  1000000ull
#define KEYED	  "nqn.2026-11.io.example:keyed"
#define PSK	  "NVMeTLSkey-1:01:VRLbtnN9AQb2WXW3c9+wEf/DRLz0QuLdbYvEhwtdWwNf9LrZ:"
#define HOSTS	  26 /* of which the last two come by TLS */
#define TLS_HOSTS 2
#define DEPTH	  15
#define BLOCK	  4096u
#define WRITE	  (16u << 10) /* by R2T */
#define CAPSULE	  (8u << 10)
#define FOREIGN	  (64u << 10) /* read across what others write */
#define SIZE	  (16u << 20)
#define PATIENCE  (20000 * MS) /* for one command */

TestSuite(storage_stress);

static atomic_bool stopping;
static char folder[] = "/tmp/storage_stress.XXXXXX";
static uint8_t zero_host[16];

/* ---- the target ---- */

static char *in_folder(const char *name)
{
	char *path;

	cr_assert(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

static struct policy_namespace *namespaces_make(const char *file)
{
	struct policy_namespace *ns = calloc(2, sizeof(*ns));

	ns[0] = (struct policy_namespace){.id = 1, .backend = POLICY_BACKEND_MEMORY, .size = SIZE, .block = BLOCK};
	ns[1] = (struct policy_namespace){.id = 2, .backend = POLICY_BACKEND_FILE, .size = SIZE, .block = BLOCK};
	ns[1].path = in_folder(file);
	return ns;
}

/* What is exported, with the nth of a few sets of limits. */
static struct policy_storage section(unsigned int nth)
{
	struct policy_storage s = {.present = true, .reactors_auto = true, .n_portals = 2, .n_subsystems = 2};

	s.portals = calloc(2, sizeof(*s.portals));
	s.portals[0].address = strdup("127.0.0.1");
	s.portals[1].address = strdup("127.0.0.1");
	s.portals[1].tls = POLICY_TLS_REQUIRED;
	s.subsystems = calloc(2, sizeof(*s.subsystems));
	s.subsystems[0] = (struct policy_subsystem){.nqn = strdup(TEST_SUBNQN), .any_host = true, .n_namespaces = 2};
	s.subsystems[0].namespaces = namespaces_make("open");
	s.subsystems[1] = (struct policy_subsystem){.nqn = strdup(KEYED), .n_hosts = 1, .n_namespaces = 2};
	s.subsystems[1].namespaces = namespaces_make("keyed");
	s.subsystems[1].hosts = calloc(1, sizeof(struct policy_host));
	s.subsystems[1].hosts[0] = (struct policy_host){.nqn = strdup(TEST_OTHER), .psk.path = in_folder("psk")};
	s.limits = calloc(2, sizeof(*s.limits));
	if (nth & 1)
		s.limits[s.n_limits++] =
			(struct policy_storage_limit){.name = strdup("all"), .any_host = true, .iops = 4000};
	if (nth & 2)
		s.limits[s.n_limits++] = (struct policy_storage_limit){
			.name = strdup("one"), .any_host = true, .nsid = 1 + (nth & 1), .bandwidth = 24 << 20};
	return s;
}

static void target_open(const struct policy_storage *storage, unsigned int without)
{
	target_begin((struct target_options){.storage = storage,
					     .rx_buffers = 2,
					     .pool_part = 32,
					     .ring_entries = 16,
					     .ring_without = without,
					     .spin_us = 20});
}

static void switch_limits(unsigned int nth)
{
	target_switch(section(nth));
}

/* ---- hosts ---- */

struct slot {
	bool busy;
	bool is_known; /* what lies there */
	uint8_t opcode;
	bool is_foreign;
	uint32_t len, known_len;
	uint64_t value, known_value;
	uint8_t *data;
	struct initiator_io io; /* of hosts with TLS */
};

struct host {
	unsigned int index;
	uint64_t random;
	pthread_t thread;
	atomic_ulong done; /* commands */
	char fault[520];   /* "": none so far */
	struct slot slots[DEPTH];
	unsigned int n_busy;
	struct client admin, io;
	unsigned int n_reconnects;
};

static struct host hosts[HOSTS];

static uint64_t next_random(struct host *h, uint64_t below)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return h->random % below;
}

static bool fails(struct host *h, const char *what, long number)
{
	snprintf(h->fault, sizeof(h->fault), "%s (%ld)", what, number);
	return false;
}

static void fill(uint8_t *data, uint32_t len, uint64_t value)
{
	uint32_t i;

	for (i = 0; i < len; i += sizeof(value))
		memcpy(data + i, &value, sizeof(value));
}

static bool is_filled(const uint8_t *data, uint32_t len, uint64_t value)
{
	uint32_t i;

	for (i = 0; i < len; i += sizeof(value))
		if (memcmp(data + i, &value, sizeof(value)))
			return false;
	return true;
}

static uint32_t slot_nsid(const struct host *h, unsigned int i)
{
	return 1 + (h->index + i) % 2;
}

/* What the slot does next; its command without identifier and SGL. */
static struct nvme_sqe prepare(struct host *h, unsigned int i, bool *ret_in_capsule)
{
	struct slot *s = &h->slots[i];
	uint64_t slba = (h->index * DEPTH + i) * (WRITE / BLOCK);
	unsigned int dice = next_random(h, 16);

	s->busy = true;
	s->opcode = dice < 10 || !s->is_known ? NVME_IO_WRITE : NVME_IO_READ;
	s->is_foreign = dice == 15;
	s->len = dice < 6 ? WRITE : CAPSULE;
	s->value = next_random(h, UINT64_MAX);
	*ret_in_capsule = dice >= 6;
	if (s->is_foreign) {
		s->opcode = NVME_IO_READ;
		s->len = FOREIGN;
		slba = next_random(h, (SIZE - FOREIGN) / BLOCK);
	} else if (s->opcode == NVME_IO_READ) {
		s->len = s->known_len;
	}
	if (s->opcode == NVME_IO_WRITE) {
		s->is_known = false;
		fill(s->data, s->len, s->value);
	} else {
		*ret_in_capsule = false;
		memset(s->data, 0, s->len);
	}
	h->n_busy++;
	return nvme_sqe_rw(s->opcode, 0, slot_nsid(h, i), slba, s->len / BLOCK);
}

static bool complete(struct host *h, unsigned int i, uint16_t status)
{
	struct slot *s = &h->slots[i];

	if (!s->busy)
		return fails(h, "an answer to no command", i);
	if (status)
		return fails(h, s->opcode == NVME_IO_READ ? "a Read fails" : "a Write fails", status);
	if (s->opcode == NVME_IO_WRITE) {
		s->is_known = true;
		s->known_len = s->len;
		s->known_value = s->value;
	} else if (!s->is_foreign && !is_filled(s->data, s->len, s->known_value)) {
		return fails(h, "other data than were written", i);
	}
	s->busy = false;
	h->n_busy--;
	atomic_fetch_add(&h->done, 1);
	return true;
}

/* ---- by plain TCP ---- */

static bool submit(struct host *h, unsigned int i)
{
	bool in_capsule;
	struct nvme_sqe sqe = prepare(h, i, &in_capsule);
	struct slot *s = &h->slots[i];
	int r;

	sqe.cid = htole16(i);
	sqe.flags = NVME_SQE_PSDT_SGL;
	sqe.sgl = in_capsule ? nvme_sgl_in_capsule(s->len) : nvme_sgl_transport(s->len);
	r = client_capsule(&h->io, &sqe, s->data, in_capsule ? s->len : 0);
	return !r || fails(h, "cannot send", r);
}

/* One PDU from the target, and what it asks for. */
static bool take(struct host *h)
{
	static __thread uint8_t data[1 << 18];
	uint32_t offset;
	struct pdu pdu;
	unsigned int i;
	int r = client_receive(&h->io, &pdu, data, sizeof(data));

	if (r)
		return fails(h, "nothing comes", r);
	switch (pdu.type) {
	case PDU_R2T:
		i = le16toh(pdu.header.data.cccid);
		r = i < DEPTH ? client_answer_r2t(&h->io, &pdu.header.data, h->slots[i].data, h->slots[i].len)
			      : -EPROTO;
		return !r || fails(h, "an R2T cannot be answered", r);
	case PDU_C2H_DATA:
		i = le16toh(pdu.header.data.cccid);
		offset = le32toh(pdu.header.data.offset);
		if (i >= DEPTH || offset + pdu.data_len > h->slots[i].len)
			return fails(h, "data of nothing", i);
		memcpy(h->slots[i].data + offset, data, pdu.data_len);
		return !(pdu.flags & PDU_F_SUCCESS) || complete(h, i, 0);
	case PDU_CAPSULE_RESP:
		i = le16toh(pdu.header.resp.cqe.cid);
		if (i >= DEPTH)
			return fails(h, "an answer to nothing", i);
		return complete(h, i, nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE);
	default:
		return fails(h, "another PDU", pdu.type);
	}
}

/* The queue's end that was may not be known to the target yet: then it refuses another one, for a moment. */
static bool queue_open(struct host *h)
{
	struct client_connect how = {.qid = 1, .entries = DEPTH + 1, .host = h->index + 1};
	uint64_t end = time_now_ns() + PATIENCE;
	int r;

	how.no_sq_flow = next_random(h, 2);
	do {
		client_open(&h->io, target_portal_port(target, 0), next_random(h, 4));
		h->io.cntlid = h->admin.cntlid;
		h->io.chunk = next_random(h, 4) ? 0 : 500 + next_random(h, 4000);
		r = client_connect(&h->io, &how);
		if (!r)
			return true;
		client_close(&h->io);
		poll(NULL, 0, 5);
	} while (time_now_ns() < end);
	return fails(h, "no queue", r);
}

static bool admin_open(struct host *h)
{
	client_open(&h->admin, target_portal_port(target, 0), 0);
	if (client_connect(&h->admin, &(struct client_connect){.host = h->index + 1}) || client_enable(&h->admin) ||
	    client_run(&h->admin, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 0), NULL, 0, false,
		       NULL))
		return fails(h, "no controller", 0);
	return true;
}

/* Goes without a word, and comes back: what it wrote last may be there or not. */
static bool churn(struct host *h)
{
	unsigned int i;

	client_close(&h->io);
	for (i = 0; i < DEPTH; i++)
		h->slots[i].busy = false;
	h->n_busy = 0;
	h->n_reconnects++;
	return queue_open(h);
}

static void *host_run(void *arg)
{
	struct host *h = arg;
	bool good = admin_open(h) && queue_open(h);
	unsigned int i;

	while (good && (h->n_busy || !atomic_load(&stopping))) {
		for (i = 0; i < DEPTH && good && !atomic_load(&stopping); i++)
			if (!h->slots[i].busy && next_random(h, 8))
				good = submit(h, i);
		if (!next_random(h, 100))
			poll(NULL, 0, 1 + next_random(h, 30)); /* this is a slow host */
		if (good && h->n_busy)
			good = take(h);
		if (good && !next_random(h, 1000))
			good = churn(h);
	}
	client_close(&h->io);
	client_close(&h->admin);
	return NULL;
}

/* ---- by TLS ---- */

static bool tls_submit(struct host *h, struct initiator_queue *q, unsigned int i)
{
	struct slot *s = &h->slots[i];
	bool in_capsule;
	int r;

	s->io = (struct initiator_io){.sqe = prepare(h, i, &in_capsule), .data = s->data, .len = s->len};
	r = initiator_queue_submit(q, &s->io);
	return !r || fails(h, "cannot be submitted", r);
}

static bool tls_take(struct host *h, struct initiator_queue *q)
{
	struct error err = {};
	unsigned int i;

	if (initiator_queue_poll(q, true, &err)) {
		snprintf(h->fault, sizeof(h->fault), "%s", err.text);
		return false;
	}
	for (i = 0; i < DEPTH; i++) {
		struct slot *s = &h->slots[i];

		if (!s->busy || !s->io.finished)
			continue;
		if (s->io.error)
			return fails(h, "a command is lost", s->io.error);
		if (!complete(h, i, s->io.status & NVME_STATUS_CODE))
			return false;
	}
	return true;
}

static bool tls_serve(struct host *h, struct initiator_queue *q)
{
	unsigned int i;
	bool good = true;

	while (good && (h->n_busy || !atomic_load(&stopping))) {
		for (i = 0; i < DEPTH && good && !atomic_load(&stopping); i++)
			if (!h->slots[i].busy)
				good = tls_submit(h, q, i);
		if (!next_random(h, 50))
			poll(NULL, 0, 1 + next_random(h, 30));
		good = good && tls_take(h, q);
	}
	return good;
}

static void *tls_run(void *arg)
{
	struct host *h = arg;
	struct initiator_tls tls = {.version = h->index % TLS_PSK_VERSIONS};
	struct initiator_options o = {.timeout_ms = PATIENCE / MS, .tls = &tls, .data_digest = h->index % 2};
	struct initiator *i = NULL;
	struct initiator_queue *q = NULL;
	unsigned int granted;
	struct error err = {};
	char text[64];

	snprintf(o.subnqn, sizeof(o.subnqn), "%s", KEYED);
	snprintf(o.hostnqn, sizeof(o.hostnqn), "%s", TEST_OTHER);
	memcpy(o.hostid, zero_host, sizeof(o.hostid));
	o.hostid[0] = h->index;
	target_portal_print(target, 1, text, sizeof(text));
	if (tls_psk_parse(PSK, &tls.key, &err) || initiator_addr_parse(text, 0, &o.addr, &err) ||
	    initiator_open(&o, &i, &err) || initiator_set_queues(i, 1, &granted, &err) ||
	    initiator_queue_open(i, 1, DEPTH, &q, &err))
		snprintf(h->fault, sizeof(h->fault), "%s", err.text);
	else
		tls_serve(h, q);
	initiator_queue_close(q);
	initiator_close(i);
	return NULL;
}

/* ---- the watchdog ---- */

static void print_queues(void)
{
	struct json_object *all = target_stats(target), *list = json_object_object_get(all, "queues");
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *q = json_object_array_get_idx(list, i);

		fprintf(stderr, "controller %s queue %s reactor %s: %s, %s commands open\n",
			json_object_get_string(json_object_object_get(q, "cntlid")),
			json_object_get_string(json_object_object_get(q, "qid")),
			json_object_get_string(json_object_object_get(q, "reactor")),
			json_object_get_string(json_object_object_get(q, "receive")),
			json_object_get_string(json_object_object_get(q, "open")));
	}
	fprintf(stderr, "%s\n", json_object_to_json_string(json_object_object_get(all, "reactors")));
	json_object_put(all);
}

static int64_t lost_receives(void)
{
	struct json_object *all = target_stats(target), *list = json_object_object_get(all, "reactors");
	int64_t sum = 0;
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++)
		sum += json_object_get_int64(
			json_object_object_get(json_object_array_get_idx(list, i), "lost_receives"));
	json_object_put(all);
	return sum;
}

/* Until `seconds` are over, or something is wrong, which was then said. */
static bool watch(unsigned int seconds)
{
	uint64_t now, end = time_now_ns() + seconds * 1000 * MS, since[HOSTS] = {};
	unsigned long seen[HOSTS] = {};
	unsigned int i, nth = 0;

	while ((now = time_now_ns()) < end) {
		for (i = 0; i < HOSTS; i++) {
			unsigned long done = atomic_load(&hosts[i].done);

			if (done != seen[i] || !since[i]) {
				seen[i] = done;
				since[i] = now;
			}
			if (!hosts[i].fault[0] && now - since[i] < PATIENCE)
				continue;
			fprintf(stderr, "host %u after %lu commands and %u connections: %s\n", i, done,
				hosts[i].n_reconnects + 1, hosts[i].fault[0] ? hosts[i].fault : "nothing completes");
			print_queues();
			return false;
		}
		poll(NULL, 0, 150);
		switch_limits(++nth % 4);
	}
	return true;
}

static unsigned int setting(const char *name, unsigned int usual)
{
	return getenv(name) ? strtoul(getenv(name), NULL, 0) : usual;
}

static void begin(struct host *h, unsigned int index)
{
	unsigned int i;

	memset(h, 0, sizeof(*h));
	h->index = index;
	h->random = (setting("STRESS_SEED", 1) * HOSTS + index + 1) * 0x9e3779b97f4a7c15ull;
	for (i = 0; i < DEPTH; i++)
		h->slots[i].data = malloc(FOREIGN);
	cr_assert_eq(pthread_create(&h->thread, NULL, index < HOSTS - TLS_HOSTS ? host_run : tls_run, h), 0);
}

static void end(struct host *h)
{
	unsigned int i;

	pthread_join(h->thread, NULL);
	for (i = 0; i < DEPTH; i++)
		free(h->slots[i].data);
	cr_expect_str_eq(h->fault, "", "host %u: %s", h->index, h->fault);
	cr_expect_gt(atomic_load(&h->done), 0);
}

static void key_write(void)
{
	char *path = in_folder("psk");
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && write(fd, PSK, strlen(PSK)) == (ssize_t)strlen(PSK) && !close(fd));
	free(path);
}

static void stress(unsigned int without)
{
	struct policy_storage storage;
	unsigned long n = 0, reconnects = 0;
	unsigned int i;
	char command[64];

	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	cr_assert(mkdtemp(folder));
	key_write();
	log_set_level(LOG_LEVEL_ERROR);
	storage = section(0);
	target_open(&storage, without);
	atomic_store(&stopping, false);
	for (i = 0; i < HOSTS; i++)
		begin(&hosts[i], i);
	if (!watch(setting("STRESS_SECONDS", 8))) {
		fprintf(stderr, "STRESS_SEED=%u\n", setting("STRESS_SEED", 1));
		cr_expect(false, "a host stands still, or is wrong");
	}
	atomic_store(&stopping, true);
	for (i = 0; i < HOSTS; i++) {
		end(&hosts[i]);
		n += atomic_load(&hosts[i].done);
		reconnects += hosts[i].n_reconnects;
	}
	cr_expect_eq(lost_receives(), 0, "receives that had to be begun again: a stall, but for the look after it");
	cr_log_info("%lu commands, %lu connections again", n, reconnects);
	print_queues();
	target_stop(target, 1000);
	policy_storage_done(&storage);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_assert_eq(system(command), 0);
}

Test(storage_stress, all_at_once)
{
	stress(0);
}

Test(storage_stress, without_multishot)
{
	stress(RING_WITHOUT_MULTISHOT | RING_WITHOUT_BUFFER_RING);
}
