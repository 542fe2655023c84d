// SPDX-License-Identifier: Apache-2.0
/*
 * What a target tells its hosts when it changes: namespaces and subsystems that come, go and grow while it serves, the
 * events of that, and the logs behind the events. What a policy says next is built here by hand, as target_update()
 * takes it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage_client.h"

static struct fixture fixture;

static void start(void)
{
	fixture_start(&fixture, 2, 0);
}

static void stop(void)
{
	fixture_stop(&fixture);
}

TestSuite(storage_admin, .init = start, .fini = stop, .timeout = 60);

/* ---- policies ---- */

/* A deep copy of what the fixture exports, in memory that policy_storage_done() frees. */
static struct policy_storage storage_copy(const struct policy_storage *from)
{
	struct policy_storage to = *from;
	size_t i, k;

	to.portals = calloc(to.n_portals, sizeof(*to.portals));
	for (i = 0; i < to.n_portals; i++) {
		to.portals[i] = from->portals[i];
		to.portals[i].address = strdup(from->portals[i].address);
	}
	to.subsystems = calloc(to.n_subsystems + 2, sizeof(*to.subsystems));
	for (i = 0; i < to.n_subsystems; i++) {
		struct policy_subsystem *s = &to.subsystems[i];

		*s = from->subsystems[i];
		s->nqn = strdup(s->nqn);
		s->hosts = calloc(s->n_hosts + 1, sizeof(*s->hosts));
		for (k = 0; k < s->n_hosts; k++)
			s->hosts[k].nqn = strdup(from->subsystems[i].hosts[k].nqn);
		s->namespaces = calloc(s->n_namespaces + 4, sizeof(*s->namespaces));
		for (k = 0; k < s->n_namespaces; k++) {
			s->namespaces[k] = from->subsystems[i].namespaces[k];
			if (s->namespaces[k].path)
				s->namespaces[k].path = strdup(s->namespaces[k].path);
		}
	}
	return to;
}

static struct policy_namespace *ns_of(struct policy_storage *s, uint32_t nsid)
{
	size_t i;

	for (i = 0; i < s->subsystems[0].n_namespaces; i++)
		if (s->subsystems[0].namespaces[i].id == nsid)
			return &s->subsystems[0].namespaces[i];
	return NULL;
}

static void ns_add(struct policy_storage *s, uint32_t nsid, uint64_t size)
{
	s->subsystems[0].namespaces[s->subsystems[0].n_namespaces++] = (struct policy_namespace){
		.id = nsid, .backend = POLICY_BACKEND_MEMORY, .size = size, .block = NS_BLOCK};
}

static void ns_remove(struct policy_storage *s, uint32_t nsid)
{
	struct policy_namespace *ns = ns_of(s, nsid);
	size_t after = &s->subsystems[0].namespaces[s->subsystems[0].n_namespaces] - ns - 1;

	free(ns->path);
	memmove(ns, ns + 1, after * sizeof(*ns));
	s->subsystems[0].n_namespaces--;
}

/* The update's changes as one text: "added 5, removed 2". */
static const char *update(struct policy_storage s)
{
	static char text[512];
	struct json_object *account = NULL, *list;
	struct error err = {};
	size_t i, n = 0;

	text[0] = 0;
	if (target_update(fixture.target, &s, &account, &err)) {
		snprintf(text, sizeof(text), "%s", err.text);
		policy_storage_done(&s);
		return text;
	}
	list = json_object_object_get(account, "changes");
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		n += snprintf(text + n, sizeof(text) - n, "%s%s %d", i ? ", " : "",
			      json_object_get_string(json_object_object_get(o, "change")),
			      json_object_get_int(json_object_object_get(o, "nsid")));
	}
	json_object_put(account);
	policy_storage_done(&s);
	return text;
}

/* ---- hosts ---- */

static void park(struct client *c, uint16_t cid)
{
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, cid, 0, 0, 0);

	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
}

static void configure(struct client *c, uint32_t config)
{
	cr_assert_eq(client_run(c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_ASYNC_EVENT, config), NULL, 0,
				false, NULL),
		     0);
}

#define EVENT_NS   (2 | 0x00 << 8 | NVME_LID_CHANGED_NS << 16)
#define EVENT_DISC (2 | 0xf0 << 8 | NVME_LID_DISCOVERY << 16)
#define NO_EVENT   UINT32_MAX

/* The Changed Namespace List as text: "2 5". */
static const char *changed(struct client *c, bool retain)
{
	static uint8_t page[NVME_LOG_CHANGED_LEN] __attribute__((aligned(8)));
	struct nvme_sqe sqe = nvme_sqe_get_log(0, NVME_LID_CHANGED_NS, 0, sizeof(page));
	static char text[256];
	const __le32 *list = (const __le32 *)page;
	size_t i, n = 0;

	if (retain)
		sqe.cdw10 |= htole32(NVME_LOG_RAE);
	cr_assert_eq(client_run(c, sqe, page, sizeof(page), false, NULL), 0);
	text[0] = 0;
	for (i = 0; list[i] && n < sizeof(text); i++)
		n += snprintf(text + n, sizeof(text) - n, "%s%u", i ? " " : "", le32toh(list[i]));
	return text;
}

static uint64_t blocks(struct client *c, uint32_t nsid)
{
	static uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ns_view ns;

	cr_assert_eq(client_run(c, nvme_sqe_identify(0, NVME_CNS_NS, nsid), page, sizeof(page), false, NULL), 0);
	cr_assert_eq(nvme_ns_read(page, &ns), 0);
	return ns.blocks;
}

/* ---- namespaces ---- */

Test(storage_admin, namespaces_come_and_go)
{
	static uint8_t out[4096] = "here", in[4096];
	struct policy_storage next = storage_copy(&fixture.storage);
	struct client admin, io;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	configure(&admin, NVME_OAES_NS_ATTR);
	park(&admin, 100);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, 7, 0, 1, out, sizeof(out), false), NVME_ST_INVALID_NS);
	ns_add(&next, 7, NS_SIZE);
	cr_expect_str_eq(update(next), "added 7");
	cr_expect_eq(client_event(&admin), EVENT_NS);
	cr_expect_str_eq(changed(&admin, false), "7");
	cr_expect_str_eq(changed(&admin, false), "");
	cr_expect_eq(blocks(&admin, 7), NS_SIZE / NS_BLOCK);
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, 7, 0, 1, out, sizeof(out), false), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, 7, 0, 1, in, sizeof(in), false), 0);
	cr_expect_arr_eq(in, out, sizeof(in));
	park(&admin, 101);
	next = storage_copy(&fixture.storage);
	ns_remove(&next, NS_MEMORY);
	cr_expect_str_eq(update(next), "removed 2, removed 7");
	cr_expect_eq(client_event(&admin), EVENT_NS);
	cr_expect_str_eq(changed(&admin, false), "2 7");
	cr_expect_eq(blocks(&admin, 7), 0);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, 7, 0, 1, in, sizeof(in), false), NVME_ST_INVALID_NS);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_MEMORY, 0, 8, in, sizeof(in), false), NVME_ST_INVALID_NS);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 0, 1, in, sizeof(in), false), 0, "the others stay");
	client_close(&io);
	client_close(&admin);
}

Test(storage_admin, namespaces_change_size)
{
	static const uint32_t kinds[] = {NS_NULL, NS_MEMORY, NS_FILE};
	static uint8_t out[4096] = "kept", in[4096], zero[4096];
	struct policy_storage next;
	struct client admin, io;
	size_t i;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint32_t id = kinds[i], block = id == NS_MEMORY ? 512 : NS_BLOCK, n = 4096 / block;
		uint64_t end = NS_SIZE / block;
		char text[32];

		snprintf(text, sizeof(text), "resized %u", id);
		cr_expect_eq(client_rw(&io, NVME_IO_WRITE, id, end - n, n, out, 4096, false), 0);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, id, end, n, in, 4096, false), NVME_ST_LBA_RANGE);
		next = storage_copy(&fixture.storage);
		ns_of(&next, id)->size = 2 * NS_SIZE;
		cr_expect_str_eq(update(next), text);
		cr_expect_eq(blocks(&admin, id), 2 * end);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, id, end, n, in, 4096, false), 0);
		cr_expect_arr_eq(in, zero, 4096, "what it grew by is empty");
		cr_expect_eq(client_rw(&io, NVME_IO_READ, id, end - n, n, in, 4096, false), 0);
		cr_expect(id == NS_NULL || !memcmp(in, out, 4096), "what was there stays");
		cr_expect_eq(client_rw(&io, NVME_IO_WRITE, id, 2 * end - n, n, out, 4096, false), 0);
		next = storage_copy(&fixture.storage);
		cr_expect_str_eq(update(next), text, "smaller again");
		cr_expect_eq(client_rw(&io, NVME_IO_READ, id, end, n, in, 4096, false), NVME_ST_LBA_RANGE);
		cr_expect_eq(client_rw(&io, NVME_IO_READ, id, end - n, n, in, 4096, false), 0);
	}
	cr_expect_str_eq(update(storage_copy(&fixture.storage)), "", "the same again changes nothing");
	client_close(&io);
	client_close(&admin);
}

Test(storage_admin, what_cannot_change)
{
	struct policy_storage next = storage_copy(&fixture.storage);
	struct client admin;

	client_admin(&admin, &fixture, 0);
	ns_of(&next, NS_NULL)->backend = POLICY_BACKEND_MEMORY;
	ns_add(&next, 9, NS_SIZE);
	cr_expect(strstr(update(next), "namespace 1 of " TEST_SUBNQN ": `backend` cannot change"));
	cr_expect_eq(blocks(&admin, 9), 0, "and nothing else has happened");
	next = storage_copy(&fixture.storage);
	ns_of(&next, NS_NULL)->block = 512;
	cr_expect(strstr(update(next), "`block` cannot change"));
	next = storage_copy(&fixture.storage);
	ns_add(&next, 9, NS_SIZE);
	ns_of(&next, 9)->backend = POLICY_BACKEND_FILE;
	ns_of(&next, 9)->path = strdup("/nonexistent/file");
	cr_expect(strstr(update(next), "/nonexistent/file"));
	next = storage_copy(&fixture.storage);
	ns_of(&next, NS_MEMORY)->readonly = true;
	cr_expect_str_eq(update(next), "read-only 2");
	cr_expect_str_eq(update(storage_copy(&fixture.storage)), "writable 2");
	client_close(&admin);
}

/* Writes whose data have not come when their namespace goes: the transfer ends, then the command, with an error. */
Test(storage_admin, a_namespace_goes_under_a_write)
{
	static uint8_t data[65536];
	struct policy_storage next = storage_copy(&fixture.storage);
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 500, NS_FILE, 0, 16);
	uint8_t buf[PDU_ENCODE_MAX];
	struct client admin, io;
	struct pdu pdu;
	size_t n;

	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	sqe.sgl = nvme_sgl_transport(sizeof(data));
	cr_assert_eq(client_capsule(&io, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_R2T);
	ns_remove(&next, NS_FILE);
	cr_expect_str_eq(update(next), "removed 3");
	n = pdu_encode_h2c_data(buf, &io.framing, pdu.header.data.cccid, le16toh(pdu.header.data.ttag), 0, sizeof(data),
				PDU_F_LAST);
	cr_assert_eq(client_send(&io, buf, n), 0);
	cr_assert_eq(client_send(&io, data, sizeof(data)), 0);
	cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
	cr_expect_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, NVME_ST_INVALID_NS);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_NULL, 0, 1, data, 4096, false), 0, "and the queue goes on");
	client_close(&io);
	client_close(&admin);
}

/* ---- events ---- */

Test(storage_admin, events_wait_and_are_not_repeated)
{
	struct policy_storage more = storage_copy(&fixture.storage);
	struct client on, off;

	client_admin(&on, &fixture, 0);
	client_admin(&off, &fixture, 0);
	configure(&on, NVME_OAES_NS_ATTR);
	park(&off, 100);
	ns_add(&more, 5, NS_SIZE);
	cr_expect_str_eq(update(more), "added 5");
	park(&on, 100); /* what happened before the request came is told at once */
	cr_expect_eq(client_event(&on), EVENT_NS);
	park(&on, 101);
	cr_expect_str_eq(update(storage_copy(&fixture.storage)), "removed 5");
	cr_expect_eq(client_event(&on), NO_EVENT, "not again before the log was read");
	cr_expect_str_eq(changed(&on, true), "5");
	more = storage_copy(&fixture.storage);
	ns_add(&more, 6, NS_SIZE);
	cr_expect_str_eq(update(more), "added 6");
	cr_expect_eq(client_event(&on), NO_EVENT, "retained");
	cr_expect_str_eq(changed(&on, false), "5 6");
	cr_expect_str_eq(update(storage_copy(&fixture.storage)), "removed 6");
	cr_expect_eq(client_event(&on), EVENT_NS, "the read has armed it again");
	cr_expect_eq(client_event(&off), NO_EVENT, "switched off");
	cr_expect_str_eq(changed(&off, false), "5 6", "but the log knows");
	client_close(&on);
	client_close(&off);
}

Test(storage_admin, discovery_changes)
{
	static uint8_t page[1024] __attribute__((aligned(8)));
	const struct nvme_discovery_header *header = (const void *)page;
	struct policy_storage next = storage_copy(&fixture.storage);
	struct client c, gone, other;
	uint64_t before;

	client_open(&other, fixture.port, 0);
	cr_assert_eq(client_connect(&other, &(struct client_connect){.subnqn = TEST_PRIVATE, .hostnqn = TEST_OTHER}),
		     0);
	client_admin(&gone, &fixture, 0);
	client_open(&c, fixture.port, 0);
	cr_assert_eq(client_connect(&c, &(struct client_connect){.subnqn = NVME_DISCOVERY_NQN}), 0);
	cr_assert_eq(client_enable(&c), 0);
	configure(&c, NVME_OAES_DISCOVERY);
	park(&c, 100);
	cr_assert_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_DISCOVERY, 0, 1024), page, 1024, false, NULL), 0);
	before = le64toh(header->genctr);
	cr_expect_eq(le64toh(header->numrec), 2);
	next.subsystems[0].any_host = false;
	cr_expect_str_eq(update(next), "hosts changed 0");
	cr_expect_eq(client_event(&c), EVENT_DISC);
	cr_assert_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_DISCOVERY, 0, 1024), page, 1024, false, NULL), 0);
	cr_expect_eq(le64toh(header->genctr), before + 1);
	cr_expect_eq(le64toh(header->numrec), 1);
	cr_expect_lt(client_property_set(&gone, NVME_PROP_CC, 0), 0, "who is not admitted any more is cut off");
	cr_expect_eq(client_property_set(&other, NVME_PROP_CC, 0), 0, "others are not");
	client_close(&gone);
	client_open(&gone, fixture.port, 0);
	cr_expect_eq(client_connect(&gone, &(struct client_connect){}), NVME_ST_CONNECT_HOST);
	client_close(&gone);
	cr_expect_str_eq(update(storage_copy(&fixture.storage)), "hosts changed 0");
	client_open(&gone, fixture.port, 0);
	cr_expect_eq(client_connect(&gone, &(struct client_connect){}), 0);
	client_close(&gone);
	client_close(&other);
	client_close(&c);
}

Test(storage_admin, subsystems_come_and_go)
{
	static const char *const nqn = "nqn.2026-11.io.example:later";
	struct policy_storage next = storage_copy(&fixture.storage);
	struct client c;

	next.subsystems[next.n_subsystems] =
		(struct policy_subsystem){.nqn = strdup(nqn),
					  .any_host = true,
					  .namespaces = calloc(1, sizeof(struct policy_namespace)),
					  .n_namespaces = 1};
	next.subsystems[next.n_subsystems++].namespaces[0] = (struct policy_namespace){
		.id = 1, .backend = POLICY_BACKEND_MEMORY, .size = NS_SIZE, .block = NS_BLOCK};
	cr_expect_str_eq(update(next), "added 0, added 1");
	client_open(&c, fixture.port, 0);
	cr_assert_eq(client_connect(&c, &(struct client_connect){.subnqn = nqn}), 0);
	cr_assert_eq(client_enable(&c), 0);
	cr_expect_eq(blocks(&c, 1), NS_SIZE / NS_BLOCK);
	cr_expect_str_eq(update(storage_copy(&fixture.storage)), "removed 0");
	cr_expect_lt(client_property_set(&c, NVME_PROP_CC, 0), 0);
	client_close(&c);
	client_open(&c, fixture.port, 0);
	cr_expect_eq(client_connect(&c, &(struct client_connect){.subnqn = nqn}), NVME_ST_CONNECT_PARAM);
	client_close(&c);
}
