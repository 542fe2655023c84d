// SPDX-License-Identifier: Apache-2.0
/*
 * The initiator's way to a ready controller against a fake one whose answers a table row bends; and who and where:
 * addresses and host identity.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "fake_target.h"

TestSuite(initiator_admin, .timeout = 30);

static struct fake fake;
static struct error err;

/* ---- a controller that answers by the book, unless told otherwise ---- */

static struct bend {
	uint16_t connect_status;
	uint64_t connect_result;
	uint32_t csts;	    /* what CSTS says once enabled */
	unsigned int polls; /* how often it says 0 before */
	uint16_t identify_status;
	uint64_t queues; /* result of Set Features */
	uint32_t nsids[3];
	bool endless; /* after each namespace there are more */
} bend;

static void answer_fabrics(struct fake *f, const struct nvme_sqe *sqe)
{
	const struct nvme_property_sqe *property = (const void *)sqe;
	uint32_t offset = le32toh(property->offset);

	if (property->fctype == NVME_FC_CONNECT)
		fake_respond_with(f, sqe->cid, bend.connect_status, bend.connect_result);
	else if (property->fctype == NVME_FC_PROPERTY_SET)
		fake_respond_with(f, sqe->cid, 0, 0);
	else if (offset == NVME_PROP_CAP)
		fake_respond_with(f, sqe->cid, 0, 127 | 1ull << 24 | NVME_CAP_CSS_NVM);
	else if (offset == NVME_PROP_VS)
		fake_respond_with(f, sqe->cid, 0, NVME_VS_1_4);
	else
		fake_respond_with(f, sqe->cid, 0, bend.polls && bend.polls-- ? 0 : bend.csts);
}

static void answer_identify(struct fake *f, const struct nvme_sqe *sqe)
{
	const struct nvme_ctrl_desc ctrl = {
		.subnqn = "nqn.2026-11.io.example:fake",
		.firmware = "1",
		.cntlid = 5,
		.nn = 3,
		.max_transfer = 65536,
		.in_capsule = 4096,
		.max_cmds = 64,
	};
	const struct nvme_ns_desc ns = {.subnqn = ctrl.subnqn, .nsid = 1, .blocks = 1000, .block_shift = 9};
	uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8))) = {0};
	uint32_t nsid = le32toh(sqe->nsid);

	if (bend.identify_status) {
		fake_respond_with(f, sqe->cid, bend.identify_status, 0);
		return;
	}
	if (le32toh(sqe->cdw10) == NVME_CNS_CTRL)
		nvme_identify_ctrl(page, &ctrl);
	else if (le32toh(sqe->cdw10) == NVME_CNS_ACTIVE_NS && bend.endless)
		for (uint32_t k = 0, *list = (uint32_t *)page; k < sizeof(page) / sizeof(*list); k++)
			list[k] = htole32(nsid + 1 + k);
	else if (le32toh(sqe->cdw10) == NVME_CNS_ACTIVE_NS)
		memcpy(page, bend.nsids, sizeof(bend.nsids));
	else
		nvme_identify_ns(page, nsid == 1 ? &ns : NULL);
	fake_c2h(f, sqe->cid, 0, page, sizeof(page), PDU_F_LAST | PDU_F_SUCCESS);
}

static void script_controller(struct fake *f)
{
	uint8_t data[8192];
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	for (;;) {
		fake_command(f, &sqe, data);
		if (f->failed)
			break; /* the initiator has gone: the test is over */
		if (sqe.opcode == NVME_FABRICS)
			answer_fabrics(f, &sqe);
		else if (sqe.opcode == NVME_ADM_IDENTIFY)
			answer_identify(f, &sqe);
		else if (sqe.opcode == NVME_ADM_SET_FEATURES)
			fake_respond_with(f, sqe.cid, 0, bend.queues);
		else
			fake_respond_with(f, sqe.cid, NVME_ST_INVALID_OPCODE, 0);
	}
}

static int open_bent(struct bend how, uint32_t timeout_ms, struct initiator **ret_initiator)
{
	struct initiator_options options;

	bend = how;
	fake_start(&fake, script_controller);
	options = fake_options(&fake);
	options.timeout_ms = timeout_ms;
	return initiator_open(&options, ret_initiator, &err);
}

/* ---- rows ---- */

Test(initiator_admin, comes_up_and_describes)
{
	struct initiator *i;
	struct nvme_ns_view ns;
	uint32_t *nsids;
	unsigned int granted;
	size_t n;

	cr_assert_eq(open_bent((struct bend){.connect_result = 5,
					     .csts = NVME_CSTS_RDY,
					     .polls = 3,
					     .queues = 0x00030003,
					     .nsids = {htole32(1), htole32(7)}},
			       5000, &i),
		     0, "%s", err.text);
	cr_assert_eq(initiator_controller(i)->cntlid, 5);
	cr_assert_eq(initiator_max_transfer(i), 65536);
	cr_assert_eq(initiator_set_queues(i, 4, &granted, &err), 0, "%s", err.text);
	cr_assert_eq(granted, 4);
	cr_assert_eq(initiator_set_queues(i, 5, &granted, &err), -EIO);
	cr_assert(strstr(err.text, "--queues 4"), "%s", err.text);
	cr_assert_eq(initiator_namespaces(i, &nsids, &n, &err), 0, "%s", err.text);
	cr_assert_eq(n, 2);
	cr_assert_eq(nsids[1], 7);
	free(nsids);
	cr_assert_eq(initiator_namespace(i, 1, &ns, &err), 0, "%s", err.text);
	cr_assert_eq(ns.blocks, 1000);
	cr_assert_eq(initiator_namespace(i, 2, &ns, &err), -ENOENT);
	cr_assert(strstr(err.text, "not active"), "%s", err.text);
	initiator_close(i);
	fake_stop(&fake);
}

Test(initiator_admin, namespaces_out_of_order_are_refused)
{
	struct initiator *i;
	uint32_t *nsids;
	size_t n;

	cr_assert_eq(open_bent((struct bend){.csts = NVME_CSTS_RDY, .nsids = {htole32(7), htole32(1)}}, 5000, &i), 0);
	cr_assert_eq(initiator_namespaces(i, &nsids, &n, &err), -EPROTO, "%s", err.text);
	initiator_close(i);
	fake_stop(&fake);
}

Test(initiator_admin, an_endless_list_of_namespaces_is_refused)
{
	struct initiator *i;
	uint32_t *nsids;
	size_t n;

	cr_assert_eq(open_bent((struct bend){.csts = NVME_CSTS_RDY, .endless = true}, 2000, &i), 0, "%s", err.text);
	cr_assert_eq(initiator_namespaces(i, &nsids, &n, &err), -EPROTO);
	cr_assert(strstr(err.text, "more than 65536 active namespaces"), "%s", err.text);
	initiator_drop(i);
	fake_stop(&fake);
}

Test(initiator_admin, failures_in_words)
{
	static const struct {
		struct bend bend;
		int errnum;
		const char *words;
	} rows[] = {
		{{.connect_status = NVME_ST_CONNECT_PARAM, .connect_result = NVME_REFUSE_DATA(subnqn)},
		 EIO,
		 "no subsystem 'nqn.2026-11.io.example:fake'"},
		{{.connect_status = NVME_ST_CONNECT_PARAM, .connect_result = NVME_REFUSE_DATA(hostnqn)},
		 EIO,
		 "--hostnqn"},
		{{.connect_status = NVME_ST_CONNECT_PARAM, .connect_result = NVME_REFUSE_SQE(sqsize)},
		 EIO,
		 "queue size"},
		{{.connect_status = NVME_ST_CONNECT_HOST}, EIO, "add this host's NQN"},
		{{.connect_result = NVME_CONNECT_ATR | 5}, EACCES, "wants authentication; give the host's key"},
		{{.connect_result = NVME_CONNECT_ASCR | 5}, EACCES, "wants a key for TLS made by authentication; use --concat"},
		{{.csts = NVME_CSTS_CFS}, EIO, "fatal status"},
		{{.csts = 0}, ETIMEDOUT, "not ready after"},
		{{.csts = NVME_CSTS_RDY, .identify_status = NVME_ST_INTERNAL}, EIO, "status 0x006"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		struct initiator *i = NULL;

		cr_assert_eq(open_bent(rows[k].bend, 300, &i), -rows[k].errnum, "row %zu: %s", k, err.text);
		cr_assert(strstr(err.text, rows[k].words), "row %zu: %s", k, err.text);
		cr_assert_null(i);
		fake_stop(&fake);
	}
}

Test(initiator_admin, wrong_names_are_refused_before_anything_is_sent)
{
	struct initiator_options options = {.subnqn = "nonsense", .hostnqn = "nqn.2026-11.io.example:host"};
	struct initiator *i;

	cr_assert_eq(initiator_open(&options, &i, &err), -EINVAL);
	cr_assert(strstr(err.text, "subsystem NQN 'nonsense'"), "%s", err.text);
}

/* ---- addresses ---- */

Test(initiator_admin, addresses)
{
	static const struct {
		const char *text, *canonical;
	} rows[] = {
		{"10.0.0.1", "10.0.0.1:4420"},
		{"10.0.0.1:8009", "10.0.0.1:8009"},
		{"fd00::1", "[fd00::1]:4420"},
		{"[fd00::1]", "[fd00::1]:4420"},
		{"[FD00:0:0::1]:65535", "[fd00::1]:65535"},
		{"localhost", NULL},
		{"10.0.0.1:0", NULL},
		{"10.0.0.1:65536", NULL},
		{"10.0.0.1:", NULL},
		{"10.0.0.1:+1", NULL},
		{"10.0.0.1:12x", NULL},
		{"[fd00::1", NULL},
		{"[fd00::1]x", NULL},
		{"[10.0.0.1]x:1", NULL},
		{"10.0.0", NULL},
		{"", NULL},
		{":4420", NULL},
		{"[]:4420", NULL},
		{"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111", NULL},
	};

	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		struct initiator_addr addr = {.text = "untouched"};
		int r = initiator_addr_parse(rows[k].text, 4420, &addr, &err);

		cr_assert_eq(r, rows[k].canonical ? 0 : -EINVAL, "%s", rows[k].text);
		cr_assert_str_eq(addr.text, rows[k].canonical ? rows[k].canonical : "untouched");
	}
}

/* ---- identity ---- */

Test(initiator_admin, host_identifier_follows_the_name)
{
	static const uint8_t expected[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
					     0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	uint8_t a[16], b[16];

	initiator_hostid(NVME_NQN_UUID_PREFIX "01234567-89ab-cdef-0123-456789ABCDEF", a);
	cr_assert_arr_eq(a, expected, 16);
	initiator_hostid("nqn.2026-11.io.example:one", a);
	initiator_hostid("nqn.2026-11.io.example:two", b);
	cr_assert_neq(memcmp(a, b, 16), 0);
	cr_assert_eq(a[6] >> 4, 8);
	initiator_hostid("nqn.2026-11.io.example:one", b);
	cr_assert_arr_eq(a, b, 16);
}
