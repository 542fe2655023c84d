// SPDX-License-Identifier: Apache-2.0
/*
 * NVMe over Fabrics: NQNs, Connect (each refusal with the place it points at), properties,
 * discovery records.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "nvme/command.h"
#include "nvme/fabrics.h"

#define DNR(status)	((status) | NVME_STATUS_DNR)
#define SUBNQN		"nqn.2026-11.io.example:datasets"
#define HOSTNQN		"nqn.2014-08.org.nvmexpress:uuid:0f8fad5b-d9cb-469f-a165-70867728950e"

struct nqn_row {
	const char	*nqn;
	const char	*fault;	/* part of what is said, NULL: valid */
};

static const struct nqn_row nqn_rows[] = {
	{ SUBNQN, NULL },
	{ HOSTNQN, NULL },
	{ NVME_DISCOVERY_NQN, NULL },
	{ "nqn.2014-08.org.nvmexpress:NVMf:uuid:0f8fad5b", NULL },
	{ "nqn.2016-06.io.spdk:cnode1", NULL },
	{ "", "nqn." },
	{ "iqn.2026-11.io.example:x", "nqn." },
	{ "nqn.2026-13.io.example:x", "date" },
	{ "nqn.2026-00.io.example:x", "date" },
	{ "nqn.26-11.io.example:x", "date" },
	{ "nqn.2026-11", "date" },
	{ "nqn.2026-11.", "no domain" },
	{ "nqn.2026-11.:x", "no domain" },
	{ "nqn.2026-11.io_example:x", "domain of" },
	{ "nqn.2026-11.io.example:", "ends in" },
	{ "nqn.2026-11.io.example:a b", "space" },
	{ "nqn.2026-11.io.example:a\n", "control" },
	{ "nqn.2014-08.org.nvmexpress:uuid:0f8fad5b-d9cb-469f-a165-70867728950", "UUID" },
	{ "nqn.2014-08.org.nvmexpress:uuid:0f8fad5b-d9cb-469f-a165-70867728950e0", "UUID" },
	{ "nqn.2014-08.org.nvmexpress:uuid:0f8fad5bxd9cb-469f-a165-70867728950e", "UUID" },
};

Test(nvme_fabrics, nqn)
{
	for (size_t i = 0; i < sizeof(nqn_rows) / sizeof(nqn_rows[0]); i++) {
		const char *fault = nvme_nqn_fault(nqn_rows[i].nqn);

		if (!nqn_rows[i].fault)
			cr_expect(!fault, "%s: %s", nqn_rows[i].nqn, fault);
		else
			cr_expect(fault && strstr(fault, nqn_rows[i].fault), "%s: %s",
				  nqn_rows[i].nqn, fault ? fault : "accepted");
	}
}

Test(nvme_fabrics, nqn_length)
{
	char field[NVME_NQN_FIELD], nqn[NVME_NQN_MAX + 1];

	memset(field, 'x', sizeof(field));
	memcpy(field, SUBNQN, strlen(SUBNQN));
	cr_expect(nvme_nqn_read(field, nqn) == -EINVAL, "not terminated");
	field[224] = 0;
	cr_expect(nvme_nqn_read(field, nqn) == -EINVAL, "224 bytes");
	field[223] = 0;
	cr_expect(nvme_nqn_read(field, nqn) == 0 && strlen(nqn) == 223, "223 bytes");
}

static struct nvme_connect connect_make(__u16 qid)
{
	struct nvme_connect connect = {
		.qid = qid,
		.entries = 32,
		.cntlid = qid ? 5 : NVME_CNTLID_DYNAMIC,
		.kato_ms = qid ? 0 : 120000,
		.hostid = { 1, 2, 3 },
		.subnqn = SUBNQN,
		.hostnqn = HOSTNQN,
	};

	return connect;
}

Test(nvme_fabrics, connect_round_trip)
{
	for (__u16 qid = 0; qid < 2; qid++) {
		struct nvme_connect sent = connect_make(qid), got;
		struct nvme_sqe sqe = nvme_connect_sqe_make(3, &sent);
		struct nvme_connect_data data;
		struct nvme_transfer transfer;
		__u64 result;

		nvme_connect_data_make(&sent, &data);
		cr_expect(nvme_transfer_read(&sqe, sizeof(data), 0, &transfer) == 0);
		cr_expect(transfer.in_capsule && transfer.len == 1024);
		memset(&got, 0, sizeof(got));
		cr_assert(nvme_connect_read(&sqe, &data, sizeof(data), 128, &got, &result) == 0);
		cr_expect(got.qid == qid && got.entries == 32 && got.cntlid == sent.cntlid);
		cr_expect(got.kato_ms == sent.kato_ms);
		cr_expect(!memcmp(got.hostid, sent.hostid, 16));
		cr_expect_str_eq(got.subnqn, SUBNQN);
		cr_expect_str_eq(got.hostnqn, HOSTNQN);
	}
}

struct connect_row {
	const char	*name;
	__u16		qid;
	int		sqe_offset;	/* one byte of the SQE or of the data is overwritten */
	int		data_offset;
	__u8		value;
	size_t		data_len;
	__u16		status;
	__u64		result;
};

#define PARAM	DNR(NVME_ST_CONNECT_PARAM)

static const struct connect_row connect_rows[] = {
	{ "RECFMT 1", 0, 40, -1, 1, 1024, DNR(NVME_ST_CONNECT_FORMAT), 0 },
	{ "short data", 0, -1, -1, 0, 1023, DNR(NVME_ST_SGL_DATA_LEN), 0 },
	{ "no data", 0, -1, -1, 0, 0, DNR(NVME_ST_SGL_DATA_LEN), 0 },
	{ "SQSIZE 0", 0, 44, -1, 0, 1024, PARAM, 44 },
	{ "SQSIZE 128, one too many", 0, 44, -1, 128, 1024, PARAM, 44 },
	{ "admin queue with a static cntlid", 0, -1, 16, 1, 1024, PARAM, 0x10000 | 16 },
	{ "subsystem NQN broken", 0, -1, 256, 'x', 1024, PARAM, 0x10000 | 256 },
	{ "host NQN broken", 0, -1, 512, 'x', 1024, PARAM, 0x10000 | 512 },
	{ "host NQN empty", 0, -1, 512, 0, 1024, PARAM, 0x10000 | 512 },
};

Test(nvme_fabrics, connect_refusals)
{
	for (size_t i = 0; i < sizeof(connect_rows) / sizeof(connect_rows[0]); i++) {
		const struct connect_row *row = &connect_rows[i];
		struct nvme_connect sent = connect_make(row->qid), got;
		struct nvme_sqe sqe = nvme_connect_sqe_make(3, &sent);
		struct nvme_connect_data data;
		__u64 result = ~0ULL;
		__u16 status;

		nvme_connect_data_make(&sent, &data);
		if (row->sqe_offset >= 0)
			((__u8 *)&sqe)[row->sqe_offset] = row->value;
		if (row->data_offset >= 0)
			((__u8 *)&data)[row->data_offset] = row->value;
		memset(&got, 0x77, sizeof(got));
		status = nvme_connect_read(&sqe, &data, row->data_len, 128, &got, &result);
		cr_expect(status == row->status, "%s: status %x", row->name, status);
		cr_expect(result == row->result, "%s: result %llx", row->name, result);
		cr_expect(got.qid == 0x7777, "%s: output touched", row->name);
	}
}

Test(nvme_fabrics, connect_io_queue_needs_a_controller)
{
	struct nvme_connect sent = connect_make(1), got;
	struct nvme_sqe sqe = nvme_connect_sqe_make(3, &sent);
	struct nvme_connect_data data;
	__u64 result;

	sent.cntlid = NVME_CNTLID_DYNAMIC;
	nvme_connect_data_make(&sent, &data);
	cr_expect(nvme_connect_read(&sqe, &data, sizeof(data), 128, &got, &result) == PARAM);
	cr_expect(result == NVME_REFUSE_DATA(cntlid));
	cr_expect_str_eq(nvme_connect_fault(result), "controller id");
	cr_expect_str_eq(nvme_connect_fault(NVME_REFUSE_SQE(sqsize)), "queue size");
}

static __u16 cc_set(struct nvme_properties *props, __u32 cc)
{
	struct nvme_property property = { .offset = NVME_PROP_CC, .size = 4, .value = cc }, got;
	struct nvme_sqe sqe = nvme_property_set_make(1, &property);

	cr_assert(nvme_property_read(&sqe, &got) == 0);
	return nvme_properties_set(props, &got);
}

static __u64 property_get(const struct nvme_properties *props, __u32 offset, __u8 size,
			  __u16 *ret_status)
{
	struct nvme_sqe sqe = nvme_property_get_make(1, offset, size);
	struct nvme_property got;
	__u64 value = 0;

	cr_assert(nvme_property_read(&sqe, &got) == 0);
	*ret_status = nvme_properties_get(props, &got, &value);
	return value;
}

#define CC_ENABLE	(NVME_CC_EN | 6 << 16 | 4 << 20)

Test(nvme_fabrics, controller_life)
{
	struct nvme_properties props;
	__u16 status;

	nvme_properties_init(&props, 128);
	cr_expect(NVME_CAP_MQES(property_get(&props, NVME_PROP_CAP, 8, &status)) == 127 && !status);
	cr_expect(property_get(&props, NVME_PROP_VS, 4, &status) == NVME_VS_2_0 && !status);
	cr_expect(property_get(&props, NVME_PROP_CSTS, 4, &status) == 0 && !status);
	cr_expect(!nvme_properties_ready(&props));

	cr_expect(cc_set(&props, CC_ENABLE) == 0);
	cr_expect(nvme_properties_ready(&props));
	cr_expect(property_get(&props, NVME_PROP_CC, 4, &status) == CC_ENABLE && !status);

	cr_expect(cc_set(&props, CC_ENABLE | NVME_CC_SHN_NORMAL) == 0);
	cr_expect((props.csts & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_DONE);

	cr_expect(cc_set(&props, 0) == 0);
	cr_expect(props.csts == 0, "disabling clears ready and shutdown");
	cr_expect(cc_set(&props, CC_ENABLE) == 0 && nvme_properties_ready(&props), "and again");
}

Test(nvme_fabrics, properties_refused)
{
	struct nvme_properties props;
	struct nvme_property property = { .offset = NVME_PROP_CSTS, .size = 4, .value = 1 }, got;
	struct nvme_sqe sqe = nvme_property_get_make(1, NVME_PROP_CAP, 8);
	__u16 status;

	nvme_properties_init(&props, 128);
	property_get(&props, NVME_PROP_CAP, 4, &status);
	cr_expect(status == DNR(NVME_ST_INVALID_FIELD), "CAP in 4 bytes");
	property_get(&props, NVME_PROP_CC, 8, &status);
	cr_expect(status == DNR(NVME_ST_INVALID_FIELD), "CC in 8 bytes");
	property_get(&props, 0x30, 4, &status);
	cr_expect(status == DNR(NVME_ST_INVALID_FIELD), "no such property");
	cr_expect(nvme_properties_set(&props, &property) == DNR(NVME_ST_INVALID_FIELD), "CSTS");
	cr_expect(cc_set(&props, NVME_CC_EN | 7 << 16 | 4 << 20) == DNR(NVME_ST_INVALID_FIELD),
		  "SQE");
	cr_expect(cc_set(&props, CC_ENABLE | 1 << 7) == DNR(NVME_ST_INVALID_FIELD), "8 KiB pages");
	cr_expect(cc_set(&props, CC_ENABLE | 1 << 4) == DNR(NVME_ST_INVALID_FIELD),
		  "command set 1");
	cr_expect(props.cc == 0 && props.csts == 0, "nothing changed");
	((struct nvme_property_sqe *)&sqe)->attrib = 2;
	cr_expect(nvme_property_read(&sqe, &got) == DNR(NVME_ST_INVALID_FIELD), "16-byte property");
}

Test(nvme_fabrics, disconnect_bytes)
{
	struct nvme_sqe sqe = nvme_disconnect_sqe_make(0x0201);
	static const __u8 wire[64] = { 0x7f, 0x40, 1, 2, 8, [39] = 0x5a };

	cr_expect_arr_eq(&sqe, wire, 64);
}

static const struct nvme_discovery_entry entries[] = {
	{
		.adrfam = NVME_ADRFAM_IPV4,
		.subtype = NVME_SUBTYPE_CURRENT,
		.portid = 1,
		.cntlid = NVME_CNTLID_DYNAMIC,
		.asqsz = 32,
		.trsvcid = "8009",
		.traddr = "10.20.0.5",
		.subnqn = NVME_DISCOVERY_NQN,
	},
	{
		.adrfam = NVME_ADRFAM_IPV6,
		.subtype = NVME_SUBTYPE_NVM,
		.treq = NVME_TREQ_NO_SECURE,
		.portid = 2,
		.cntlid = NVME_CNTLID_DYNAMIC,
		.asqsz = 128,
		.trsvcid = "4420",
		.traddr = "fd00::5",
		.subnqn = SUBNQN,
	},
};

Test(nvme_fabrics, discovery_round_trip)
{
	for (size_t i = 0; i < 2; i++) {
		struct nvme_discovery_wire wire;
		struct nvme_discovery_entry got;

		nvme_discovery_encode(&entries[i], &wire);
		memset(&got, 0, sizeof(got));
		cr_assert(nvme_discovery_decode(&wire, &got) == 0);
		cr_expect(!memcmp(&got, &entries[i], sizeof(got)), "entry %zu", i);
	}
}

Test(nvme_fabrics, discovery_hostile)
{
	struct nvme_discovery_wire wire;
	struct nvme_discovery_entry got;

	nvme_discovery_encode(&entries[1], &wire);
	memset(wire.traddr, 'a', sizeof(wire.traddr));
	cr_expect(nvme_discovery_decode(&wire, &got) == 0 && strlen(got.traddr) == 256);
	wire.traddr[3] = '\n';
	cr_expect(nvme_discovery_decode(&wire, &got) == -EPROTO);
	memset(wire.traddr, ' ', sizeof(wire.traddr));
	cr_expect(nvme_discovery_decode(&wire, &got) == -EPROTO);
	wire.trtype = 1;
	cr_expect(nvme_discovery_decode(&wire, &got) == -EPROTONOSUPPORT);
}

Test(nvme_fabrics, discovery_log_in_pieces)
{
	static const size_t steps[] = { 1, 7, 16, 1000, 1024, 1025, 4096 };
	__u8 whole[4096], parts[4096 + 4096];

	memset(whole, 0xee, sizeof(whole));
	nvme_discovery_log_read(entries, 2, 77, 0, whole, sizeof(whole));
	cr_expect(nvme_discovery_log_len(2) == 3072);
	cr_expect(whole[0] == 77 && whole[8] == 2 && whole[16] == 0);
	cr_expect(whole[1024] == NVME_TRTYPE_TCP && whole[2048 + 1] == NVME_ADRFAM_IPV6);
	cr_expect(!memcmp(whole + 1024 + 256, NVME_DISCOVERY_NQN, sizeof(NVME_DISCOVERY_NQN)));
	cr_expect(!memcmp(whole + 2048 + 512, "fd00::5 ", 8));
	cr_expect(!memcmp(whole + 2048 + 32, "4420 ", 5));
	cr_expect(whole[3072] == 0 && whole[4095] == 0, "zeros behind the end");
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (size_t at = 0; at < sizeof(whole); at += steps[i])
			nvme_discovery_log_read(entries, 2, 77, at, parts + at, steps[i]);
		cr_expect(!memcmp(whole, parts, sizeof(whole)), "steps of %zu", steps[i]);
	}
}
