// SPDX-License-Identifier: Apache-2.0
/*
 * Persistent reservations as hosts see them, against a target in this process: which I/O each type refuses to whom,
 * Report, notices and their events, Preempt and Abort, and what is kept across a restart. The rules themselves are in
 * reservation_test.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reservation_file.h"
#include "storage_client.h"

#define EDS	  1
#define PERSIST	  (3u << 30)
#define FORGET	  (2u << 30)
#define KEY(host) (0x1000u + (host))

enum { REGISTER, UNREGISTER, REPLACE };
enum { ACQUIRE, PREEMPT, PREEMPT_ABORT };

static struct fixture fixture;
static char state_dir[64];

/* A host with a controller. */
static struct peer {
	struct client admin, io;
	uint8_t host;
} a, b, c;

static void peer_open_as(struct peer *p, uint8_t host, const char *hostnqn)
{
	p->host = host;
	client_open(&p->admin, fixture.port, 0);
	cr_assert_eq(client_connect(&p->admin, &(struct client_connect){.host = host, .hostnqn = hostnqn}), 0);
	cr_assert_eq(client_enable(&p->admin), 0);
	cr_assert_eq(client_run(&p->admin,
				nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES, 3 << 16 | 3), NULL, 0,
				false, NULL),
		     0);
	client_open(&p->io, fixture.port, 0);
	p->io.cntlid = p->admin.cntlid;
	cr_assert_eq(client_connect(&p->io, &(struct client_connect){.qid = 1, .host = host, .hostnqn = hostnqn}), 0);
}

static void peer_open(struct peer *p, uint8_t host)
{
	peer_open_as(p, host, NULL);
}

static void peer_close(struct peer *p)
{
	client_close(&p->io);
	client_close(&p->admin);
}

static void serve(void)
{
	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 2, .state_dir = state_dir});
	peer_open(&a, 1);
	peer_open(&b, 2);
	peer_open(&c, 3);
}

static void unserve(void)
{
	peer_close(&a);
	peer_close(&b);
	peer_close(&c);
	fixture_stop(&fixture);
}

static void start(void)
{
	snprintf(state_dir, sizeof(state_dir), "/tmp/reservation_test.%d", getpid());
	serve();
}

static void stop(void)
{
	char command[128];

	unserve();
	snprintf(command, sizeof(command), "rm -r %s", state_dir);
	cr_assert_eq(system(command), 0);
}

TestSuite(reservation_target, .init = start, .fini = stop, .timeout = 60);

/* ---- commands ---- */

static int reserve(struct peer *p, uint8_t opcode, uint32_t cdw10, uint64_t first, uint64_t second)
{
	__le64 keys[2] = {htole64(first), htole64(second)};

	return client_run(&p->io, nvme_sqe_make(opcode, 0, NS_MEMORY, cdw10, 0), keys,
			  opcode == NVME_IO_RESV_RELEASE ? 8 : 16, p->host % 2, NULL);
}

static int join(struct peer *p)
{
	return reserve(p, NVME_IO_RESV_REGISTER, REGISTER, 0, KEY(p->host));
}

static int acquire(struct peer *p, uint32_t type)
{
	return reserve(p, NVME_IO_RESV_ACQUIRE, ACQUIRE | type << 8, KEY(p->host), 0);
}

static int preempt(struct peer *p, uint32_t action, uint32_t type, struct peer *other)
{
	return reserve(p, NVME_IO_RESV_ACQUIRE, action | type << 8, KEY(p->host), KEY(other->host));
}

static int clear(struct peer *p)
{
	return reserve(p, NVME_IO_RESV_RELEASE, 1, KEY(p->host), 0);
}

static int rw(struct peer *p, uint8_t opcode, uint32_t nsid)
{
	static uint8_t data[4096];
	bool moves = opcode == NVME_IO_READ || opcode == NVME_IO_WRITE || opcode == NVME_IO_COMPARE;

	return client_rw(&p->io, opcode, nsid, 0, nsid == NS_MEMORY ? 8 : 1, moves ? data : NULL,
			 moves ? sizeof(data) : 0, false);
}

static int deallocate(struct peer *p)
{
	struct nvme_dsm_range range = {.nlb = htole32(1)};

	return client_run(&p->io, nvme_sqe_deallocate(0, NS_MEMORY, 1), &range, sizeof(range), true, NULL);
}

static int copy(struct peer *p)
{
	struct nvme_copy_range range = {};

	return client_run(&p->io, nvme_sqe_copy(0, NS_MEMORY, 8, 1), &range, sizeof(range), true, NULL);
}

/* ---- which I/O is refused ---- */

static void expect(struct peer *p, const char *who, uint32_t type, bool reads, bool writes)
{
	static const uint8_t reading[] = {NVME_IO_READ, NVME_IO_COMPARE, NVME_IO_VERIFY};
	static const uint8_t writing[] = {NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_WRITE_UNCOR, NVME_IO_WRITE};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(writing); i++)
		cr_expect_eq(rw(p, writing[i], NS_MEMORY), writes ? 0 : NVME_ST_RESERVATION_CONFLICT,
			     "type %u, %s: %02x", type, who, writing[i]);
	cr_expect_eq(deallocate(p), writes ? 0 : NVME_ST_RESERVATION_CONFLICT, "type %u, %s: deallocate", type, who);
	cr_expect_eq(copy(p), writes ? 0 : NVME_ST_RESERVATION_CONFLICT, "type %u, %s: copy", type, who);
	cr_expect_eq(client_run(&p->io, nvme_sqe_flush(0, NS_MEMORY), NULL, 0, false, NULL),
		     writes ? 0 : NVME_ST_RESERVATION_CONFLICT, "type %u, %s: flush", type, who);
	for (i = 0; i < ARRAY_SIZE(reading); i++)
		cr_expect_eq(rw(p, reading[i], NS_MEMORY), reads ? 0 : NVME_ST_RESERVATION_CONFLICT,
			     "type %u, %s: %02x", type, who, reading[i]);
	cr_expect_eq(rw(p, NVME_IO_WRITE, NS_FILE), 0, "another namespace");
}

Test(reservation_target, io)
{
	static const struct {
		bool stranger_reads, registrant_reads, registrant_writes;
	} rows[] = {[1] = {true, true, false}, [2] = {false, false, false}, [3] = {true, true, true},
		    [4] = {false, true, true}, [5] = {true, true, true},    [6] = {false, true, true}};
	uint32_t type;

	for (type = 1; type < ARRAY_SIZE(rows); type++) {
		cr_assert_eq(join(&a), 0);
		cr_assert_eq(join(&b), 0);
		cr_assert_eq(acquire(&a, type), 0);
		expect(&a, "holder", type, true, true);
		expect(&b, "registrant", type, rows[type].registrant_reads, rows[type].registrant_writes);
		expect(&c, "stranger", type, rows[type].stranger_reads, false);
		cr_assert_eq(clear(&b), 0);
		expect(&c, "anybody", 0, true, true);
	}
}

Test(reservation_target, refusals)
{
	__le64 keys[2] = {};

	cr_expect_eq(acquire(&a, 1), NVME_ST_RESERVATION_CONFLICT);
	cr_expect_eq(clear(&a), NVME_ST_RESERVATION_CONFLICT);
	cr_expect_eq(join(&a), 0);
	cr_expect_eq(acquire(&a, 7), NVME_ST_INVALID_FIELD);
	cr_expect_eq(reserve(&a, NVME_IO_RESV_REGISTER, REGISTER | 1u << 30, 0, KEY(1)), NVME_ST_INVALID_FIELD);
	cr_expect_eq(client_run(&a.io, nvme_sqe_make(NVME_IO_RESV_REGISTER, 0, NS_MEMORY, 0, 0), keys, 8, true, NULL),
		     NVME_ST_SGL_DATA_LEN);
	cr_expect_eq(client_run(&a.io, nvme_sqe_make(NVME_IO_RESV_REGISTER, 0, 99, 0, 0), keys, 16, true, NULL),
		     NVME_ST_INVALID_NS);
}

/* ---- Report ---- */

static int report(struct peer *p, uint8_t *page, uint32_t len)
{
	return client_run(&p->io, nvme_sqe_make(NVME_IO_RESV_REPORT, 0, NS_MEMORY, len / 4 - 1, EDS), page, len, false,
			  NULL);
}

Test(reservation_target, report)
{
	static uint8_t page[256];
	struct client second;

	cr_expect_eq(client_run(&a.io, nvme_sqe_make(NVME_IO_RESV_REPORT, 0, NS_MEMORY, 15, 0), page, 64, false, NULL),
		     NVME_ST_HOSTID_FORMAT, "64-bit host identifiers");
	cr_expect_eq(
		client_run(&a.io, nvme_sqe_make(NVME_IO_RESV_REPORT, 0, NS_MEMORY, 63, EDS), page, 64, false, NULL),
		NVME_ST_SGL_DATA_LEN);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(join(&a), 0);
	cr_assert_eq(acquire(&a, 3), 0);
	/* A second controller of host a. */
	client_open(&second, fixture.port, 0);
	cr_assert_eq(client_connect(&second, &(struct client_connect){.host = 1}), 0);
	cr_assert_eq(report(&c, page, sizeof(page)), 0, "everybody may ask");
	cr_expect(page[0] == 2 && page[4] == 3 && page[5] == 3 && page[9] == 0, "%u %u %u", page[0], page[4], page[5]);
	cr_expect(page[64] == b.admin.cntlid % 256 && page[66] == 0 && page[72] == 2 && page[73] == 0x10);
	cr_expect(page[80] == 1 && page[83] == 2, "host identifier");
	cr_expect(page[128 + 2] == 1 && page[192 + 2] == 1, "the holder has two controllers");
	cr_expect_neq(page[128], page[192]);
	client_close(&second);
	memset(page, 0xee, sizeof(page));
	cr_assert_eq(report(&a, page, 68), 0);
	cr_expect(page[64] == b.admin.cntlid && page[5] >= 2 && page[68] == 0xee, "as much as was asked for");
	/* A host without a controller stays registered. */
	peer_close(&b);
	do
		cr_assert_eq(report(&a, page, 128), 0);
	while (page[64] != 0xff || page[65] != 0xff);
	cr_expect_eq(page[80 + 3], 2);
	peer_open(&b, 2);
	cr_expect_eq(join(&b), 0, "it is the same host again");
}

Test(reservation_target, identify)
{
	static struct nvme_id_ctrl ctrl;
	static struct nvme_id_ns ns;

	cr_assert_eq(client_run(&a.admin, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), &ctrl, sizeof(ctrl), false, NULL), 0);
	cr_expect(le16toh(ctrl.oncs) & NVME_ONCS_RESERVATIONS);
	cr_assert_eq(client_run(&a.admin, nvme_sqe_identify(0, NVME_CNS_NS, NS_MEMORY), &ns, sizeof(ns), false, NULL),
		     0);
	cr_expect_eq(ns.rescap, 0xff);
	cr_expect(ns.nmic & 1);
}

/* ---- notices ---- */

static void park_event(struct peer *p, uint16_t cid)
{
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, cid, 0, 0, 0);

	cr_assert_eq(client_capsule(&p->admin, &sqe, NULL, 0), 0);
}

static void expect_event(struct peer *p, uint16_t cid)
{
	struct pdu pdu;

	cr_assert_eq(client_receive(&p->admin, &pdu, NULL, 0), 0);
	cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), cid);
	cr_expect_eq(le64toh(pdu.header.resp.cqe.result), 0x800006, "I/O command set event, log page 80h");
}

static void expect_notice(struct peer *p, uint64_t count, uint8_t type, uint8_t more)
{
	static uint8_t page[64] __attribute__((aligned(8)));

	cr_assert_eq(client_run(&p->admin, nvme_sqe_get_log(0, NVME_LID_RESERVATION, 0, 64), page, 64, false, NULL), 0);
	cr_expect(page[0] == count && page[8] == type && page[9] == more, "%u, type %u, %u more", page[0], page[8],
		  page[9]);
	cr_expect_eq(page[12], type ? NS_MEMORY : 0);
}

Test(reservation_target, notices)
{
	struct nvme_sqe mask = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_RESV_MASK, 1 << 3);
	uint64_t value = 0;

	cr_assert_eq(join(&a), 0);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(join(&c), 0);
	cr_assert_eq(acquire(&b, 4), 0);
	park_event(&b, 7001);
	cr_assert_eq(preempt(&a, PREEMPT, 4, &b), 0);
	expect_event(&b, 7001);
	expect_notice(&b, 1, 3, 0); /* reservation preempted */
	expect_notice(&b, 0, 0, 0);
	expect_notice(&c, 0, 0, 0);
	/* Two notices, one event, until the page was read. */
	cr_assert_eq(reserve(&a, NVME_IO_RESV_RELEASE, 4 << 8, KEY(1), 0), 0);
	cr_assert_eq(preempt(&a, PREEMPT, 4, &c), 0);
	park_event(&c, 7002);
	expect_event(&c, 7002);
	expect_notice(&c, 1, 2, 1); /* released */
	expect_notice(&c, 2, 1, 0); /* registration preempted */
	/* What a host has masked it is not told. */
	mask.nsid = htole32(NS_MEMORY);
	cr_assert_eq(client_run(&b.admin, mask, NULL, 0, false, NULL), 0);
	mask = nvme_sqe_features(NVME_ADM_GET_FEATURES, 0, NVME_FID_RESV_MASK, 0);
	mask.nsid = htole32(NS_MEMORY);
	cr_assert_eq(client_run(&b.admin, mask, NULL, 0, false, &value), 0);
	cr_expect_eq(value, 1 << 3);
	mask.nsid = htole32(77);
	cr_expect_eq(client_run(&b.admin, mask, NULL, 0, false, NULL), NVME_ST_INVALID_NS);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(clear(&a), 0);
	expect_notice(&b, 0, 0, 0);
}

/* ---- Preempt and Abort ---- */

static uint16_t receive_status(struct client *client, uint16_t cid)
{
	struct pdu pdu;

	cr_assert_eq(client_receive(client, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_assert_eq(le16toh(pdu.header.resp.cqe.cid), cid);
	return nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE;
}

Test(reservation_target, preempt_and_abort)
{
	static uint8_t data[512], got[4096], zero[4096];
	struct nvme_sqe write = nvme_sqe_rw(NVME_IO_WRITE, 9000, NS_MEMORY, 0, 1);
	struct nvme_sqe compare = nvme_sqe_rw(NVME_IO_COMPARE, 9001, NS_MEMORY, 0, 1);
	struct pdu pdu;

	memset(data, 0xaa, sizeof(data));
	cr_assert_eq(join(&a), 0);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(acquire(&b, 1), 0);
	/* b has a write whose data are asked for, and half of a pair. */
	write.sgl = nvme_sgl_transport(512);
	cr_assert_eq(client_capsule(&b.io, &write, NULL, 0), 0);
	cr_assert_eq(client_receive(&b.io, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_R2T);
	compare.flags |= NVME_SQE_FUSE_FIRST;
	compare.sgl = nvme_sgl_in_capsule(512);
	cr_assert_eq(client_capsule(&b.io, &compare, data, 512), 0);
	/* So that the half is there for certain before it is aborted. */
	cr_assert_eq(client_run(&b.admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	cr_assert_eq(preempt(&a, PREEMPT_ABORT, 1, &b), 0);
	cr_expect_eq(rw(&a, NVME_IO_READ, NS_MEMORY), 0);
	cr_assert_eq(client_answer_r2t(&b.io, &pdu.header.data, data, 512), 0);
	/* In whichever order; the half may have come too late, and then is refused by what it finds. */
	cr_assert_eq(client_receive(&b.io, &pdu, NULL, 0), 0);
	if (le16toh(pdu.header.resp.cqe.cid) == 9001) {
		uint16_t status = nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE;

		cr_expect(status == NVME_ST_ABORTED_PREEMPT || status == NVME_ST_RESERVATION_CONFLICT, "%x", status);
		cr_expect_eq(receive_status(&b.io, 9000), NVME_ST_ABORTED_PREEMPT);
	} else {
		cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_ABORTED_PREEMPT);
	}
	cr_expect_eq(client_rw(&a.io, NVME_IO_READ, NS_MEMORY, 0, 8, got, sizeof(got), false), 0);
	cr_expect_arr_eq(got, zero, sizeof(got), "nothing of it was written");
}

/* A long Verify of the preempted host is ended; the command that does so waits for it. */
Test(reservation_target, preempt_and_abort_under_way)
{
	struct nvme_sqe verify = nvme_sqe_rw(NVME_IO_VERIFY, 9100, NS_MEMORY, 0, NS_SIZE / 512);
	uint16_t status;

	cr_assert_eq(join(&a), 0);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(client_capsule(&b.io, &verify, NULL, 0), 0);
	cr_assert_eq(preempt(&a, PREEMPT_ABORT, 1, &b), 0);
	status = receive_status(&b.io, 9100);
	cr_expect(!status || status == NVME_ST_ABORTED_PREEMPT, "%x", status);
	cr_expect_eq(rw(&b, NVME_IO_WRITE, NS_MEMORY), 0, "nobody holds a reservation");
}

static int64_t throttled_commands(void)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "limits");
	int64_t n = json_object_get_int64(json_object_object_get(json_object_array_get_idx(list, 0), "waiting"));

	json_object_put(all);
	return n;
}

/* Nor does a command outlive it that waits for its turn under a limit: its host may be back by then. */
Test(reservation_throttled, preempt_and_abort, .timeout = 60)
{
	char *throttled = (char *)TEST_OTHER;
	struct policy_storage_limit limit = {
		.name = (char *)"slow", .bandwidth = 64, .hosts = &throttled, .n_hosts = 1}; /* a block a minute */
	struct nvme_sqe write = nvme_sqe_rw(NVME_IO_WRITE, 9000, NS_MEMORY, 0, 1);
	static uint8_t data[4096];

	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 2, .limits = &limit, .n_limits = 1});
	peer_open(&a, 1);
	peer_open_as(&b, 2, TEST_OTHER);
	cr_assert_eq(join(&a), 0);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(rw(&b, NVME_IO_READ, NS_MEMORY), 0);
	write.sgl = nvme_sgl_in_capsule(512);
	cr_assert_eq(client_capsule(&b.io, &write, data, 512), 0);
	while (!throttled_commands())
		;
	cr_assert_eq(preempt(&a, PREEMPT_ABORT, 1, &b), 0);
	cr_expect_eq(receive_status(&b.io, 9000), NVME_ST_ABORTED_PREEMPT);
	cr_expect_eq(throttled_commands(), 0);
	peer_close(&a);
	peer_close(&b);
	fixture_stop(&fixture);
}

/* ---- kept ---- */

Test(reservation_target, kept_across_restart)
{
	static uint8_t page[256];

	cr_assert_eq(reserve(&a, NVME_IO_RESV_REGISTER, REGISTER | PERSIST, 0, KEY(1)), 0);
	cr_assert_eq(join(&b), 0);
	cr_assert_eq(acquire(&a, 2), 0);
	unserve();
	serve();
	cr_expect_eq(rw(&b, NVME_IO_READ, NS_MEMORY), NVME_ST_RESERVATION_CONFLICT);
	cr_expect_eq(rw(&a, NVME_IO_WRITE, NS_MEMORY), 0);
	cr_assert_eq(report(&c, page, sizeof(page)), 0);
	cr_expect(page[4] == 2 && page[5] == 2 && page[9] == 1);
	cr_expect_eq(acquire(&a, 2), 0, "the key is still the same");
	cr_assert_eq(reserve(&a, NVME_IO_RESV_REGISTER, REPLACE | FORGET, KEY(1), KEY(1)), 0);
	unserve();
	serve();
	cr_expect_eq(rw(&b, NVME_IO_WRITE, NS_MEMORY), 0, "it was to be kept no longer");
	cr_assert_eq(report(&c, page, sizeof(page)), 0);
	cr_expect(page[4] == 0 && page[5] == 0);
	/* Without a word about it, it goes with the target. */
	cr_assert_eq(join(&a), 0);
	cr_assert_eq(acquire(&a, 1), 0);
	unserve();
	serve();
	cr_expect_eq(rw(&b, NVME_IO_WRITE, NS_MEMORY), 0);
}

Test(reservation_file, damaged)
{
	static const struct {
		const char *text, *wants;
	} rows[] = {
		{"", ":1: not a reservation"},
		{"sluice reservation 2\n", ":1: not a reservation"},
		{"sluice reservation 1\nnamespace nqn.2026-11.io.example:a 2\n", ":2: of another namespace"},
		{"sluice reservation 1\nnamespace nqn.2026-11.io.example:a 1\ntype 9\n", ":3: not a `type`"},
		{"sluice reservation 1\nnamespace nqn.2026-11.io.example:a 1\ntype 0\n", ":4: the file ends"},
		{"sluice reservation 1\nnamespace nqn.2026-11.io.example:a 1\ntype 1\nend\n", ":4: the holders"},
		{"sluice reservation 1\nnamespace nqn.2026-11.io.example:a 1\ntype 1\nhost 12 key 1 holder\nend\n",
		 ":4: not a `host`"},
		{"sluice reservation 1\nnamespace nqn.2026-11.io.example:a 1\ntype 5\n"
		 "host 00000000000000000000000000000001 key 1 holder\nend\n",
		 ":5: the holders"},
	};
	struct reservation r = {.type = 1, .persists = true, .holder = 1, .n_hosts = 2}, got;
	struct error err = {};
	char path[64];
	size_t i;
	FILE *f;

	snprintf(path, sizeof(path), "/tmp/reservation_file.%d", getpid());
	cr_expect_eq(reservation_load(path, "nqn.2026-11.io.example:a", 1, &got, &err), 0, "there is none");
	cr_expect(!got.persists && !got.type);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		f = fopen(path, "w");
		fputs(rows[i].text, f);
		fclose(f);
		cr_expect_eq(reservation_load(path, "nqn.2026-11.io.example:a", 1, &got, &err), -EINVAL, "row %zu", i);
		cr_expect_not_null(strstr(err.text, rows[i].wants), "row %zu: %s", i, err.text);
	}
	r.hosts[0].key = UINT64_MAX;
	r.hosts[1].id[0] = 0xfe;
	cr_expect_eq(reservation_save(path, "nqn.2026-11.io.example:a", 1, &r), 0);
	cr_expect_eq(reservation_load(path, "nqn.2026-11.io.example:a", 1, &got, &err), 0, "%s", err.text);
	cr_expect(got.type == 1 && got.n_hosts == 2 && got.holder == 1 && got.persists);
	cr_expect(got.hosts[0].key == UINT64_MAX && got.hosts[1].id[0] == 0xfe);
	r.persists = false;
	cr_expect_eq(reservation_save(path, "nqn.2026-11.io.example:a", 1, &r), 0);
	cr_expect_eq(access(path, F_OK), -1);
}
