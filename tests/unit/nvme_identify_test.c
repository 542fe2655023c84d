// SPDX-License-Identifier: Apache-2.0
/*
 * Identify data and log pages: every field that initiators look at, at the byte the specification
 * gives it, and that the reading side understands the filling side and refuses nonsense.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "nvme/identify.h"

#define SUBNQN	"nqn.2026-11.io.example:datasets"
#define DNR(status)	((status) | NVME_STATUS_DNR)

#define AT(type, field, offset)							\
	_Static_assert(offsetof(struct type, field) == (offset),		\
		       #field " is not where hosts read it")

AT(nvme_id_ctrl, sn, 4);
AT(nvme_id_ctrl, mn, 24);
AT(nvme_id_ctrl, fr, 64);
AT(nvme_id_ctrl, cmic, 76);
AT(nvme_id_ctrl, mdts, 77);
AT(nvme_id_ctrl, cntlid, 78);
AT(nvme_id_ctrl, ver, 80);
AT(nvme_id_ctrl, oaes, 92);
AT(nvme_id_ctrl, ctratt, 96);
AT(nvme_id_ctrl, cntrltype, 111);
AT(nvme_id_ctrl, fguid, 112);
AT(nvme_id_ctrl, crdt, 128);
AT(nvme_id_ctrl, oacs, 256);
AT(nvme_id_ctrl, acl, 258);
AT(nvme_id_ctrl, aerl, 259);
AT(nvme_id_ctrl, frmw, 260);
AT(nvme_id_ctrl, lpa, 261);
AT(nvme_id_ctrl, wctemp, 266);
AT(nvme_id_ctrl, tnvmcap, 280);
AT(nvme_id_ctrl, kas, 320);
AT(nvme_id_ctrl, sqes, 512);
AT(nvme_id_ctrl, cqes, 513);
AT(nvme_id_ctrl, maxcmd, 514);
AT(nvme_id_ctrl, nn, 516);
AT(nvme_id_ctrl, oncs, 520);
AT(nvme_id_ctrl, vwc, 525);
AT(nvme_id_ctrl, sgls, 536);
AT(nvme_id_ctrl, subnqn, 768);
AT(nvme_id_ctrl, ioccsz, 1792);
AT(nvme_id_ctrl, iorcsz, 1796);
AT(nvme_id_ctrl, icdoff, 1800);
AT(nvme_id_ctrl, fcatt, 1802);
AT(nvme_id_ctrl, msdbd, 1803);
AT(nvme_id_ctrl, ofcs, 1804);
AT(nvme_id_ctrl, psd, 2048);
AT(nvme_id_ctrl, vs, 3072);
AT(nvme_id_ns, nsfeat, 24);
AT(nvme_id_ns, flbas, 26);
AT(nvme_id_ns, nmic, 30);
AT(nvme_id_ns, dlfeat, 33);
AT(nvme_id_ns, nvmcap, 48);
AT(nvme_id_ns, npwg, 64);
AT(nvme_id_ns, nows, 72);
AT(nvme_id_ns, anagrpid, 92);
AT(nvme_id_ns, nsattr, 99);
AT(nvme_id_ns, nguid, 104);
AT(nvme_id_ns, eui64, 120);
AT(nvme_id_ns, lbaf, 128);

static const struct nvme_ctrl_desc io_ctrl = {
	.subnqn = SUBNQN, .firmware = "0.1.0", .cntlid = 7, .nn = 3, .max_transfer = 131072,
	.in_capsule = 8192, .max_cmds = 128, .kas_100ms = 10, .crdt_100ms = 3, .aborts = 4, .events = 4,
	.oaes = NVME_OAES_NS_ATTR, .write_cache = true,
};

static const struct nvme_ns_desc ns1 = {
	.subnqn = SUBNQN,
	.nsid = 1,
	.blocks = 262144,
	.block_shift = 12,
	.readonly = true,
	.zeroes = true,
	.max_transfer = 131072,
};

Test(nvme_identify, controller_bytes)
{
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));

	memset(id, 0xee, sizeof(id));
	nvme_identify_ctrl(id, &io_ctrl);
	cr_expect(!memcmp(id + 24, "sluice NVMe/TCP target                  ", 40));
	cr_expect(!memcmp(id + 64, "0.1.0   ", 8));
	cr_expect(!memchr(id + 4, ' ', 20) && !memchr(id + 4, 0, 20), "serial fills its field");
	cr_expect(id[77] == 5, "MDTS: 4 KiB << 5");
	cr_expect(id[78] == 7);
	cr_expect(id[76] & 2, "several controllers");
	cr_expect(id[93] == 1, "namespace attribute notices");
	cr_expect(id[96] & 1, "128-bit host identifiers");
	cr_expect(id[111] == 1);
	cr_expect(id[258] == 3 && id[259] == 3, "limits are 0-based");
	cr_expect(id[320] == 10);
	cr_expect(id[512] == 0x66 && id[513] == 0x44);
	cr_expect(id[514] == 128 && id[516] == 3);
	cr_expect(id[520] == 0xfd && id[521] == 1, "all but Write Uncorrectable");
	cr_expect(id[522] == 1 && id[534] == 1, "fused Compare and Write, Copy format 0");
	cr_expect(id[525] == 5, "volatile cache, no broadcast Flush");
	cr_expect(id[536] == 1 && id[538] == 0x30);
	cr_expect(!strcmp((char *)id + 768, SUBNQN));
	cr_expect(id[1792] == (64 + 8192) / 16 % 256 && id[1793] == (64 + 8192) / 16 / 256);
	cr_expect(id[1796] == 1 && id[1800] == 0 && id[1803] == 1);
	cr_expect(id[1804] == 1, "Disconnect");
	cr_expect(id[4095] == 0);
}

Test(nvme_identify, controller_read_back)
{
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ctrl_view got;

	nvme_identify_ctrl(id, &io_ctrl);
	cr_assert(nvme_ctrl_read(id, &got) == 0);
	cr_expect_str_eq(got.model, "sluice NVMe/TCP target");
	cr_expect_str_eq(got.firmware, "0.1.0");
	cr_expect_str_eq(got.subnqn, SUBNQN);
	cr_expect(strlen(got.serial) == 20);
	cr_expect(got.cntlid == 7 && got.nn == 3 && got.type == NVME_CNTRLTYPE_IO);
	cr_expect(got.version == NVME_VS_2_0);
	cr_expect(got.max_transfer == 131072 && got.in_capsule == 8192 && got.max_cmds == 128);
	cr_expect(got.write_cache && got.dsm && got.write_zeroes);
	cr_expect(got.crdt[0] == 3 && !got.crdt[1] && !got.tbkas && !got.ana);
	cr_expect(got.oncs & NVME_ONCS_COPY && got.fuses == NVME_FUSES_COMPARE_WRITE);
}

Test(nvme_identify, discovery_controller)
{
	struct nvme_ctrl_desc desc = io_ctrl;
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ctrl_view got;

	desc.discovery = true;
	desc.oaes = NVME_OAES_DISCOVERY;
	nvme_identify_ctrl(id, &desc);
	cr_assert(nvme_ctrl_read(id, &got) == 0);
	cr_expect(got.type == NVME_CNTRLTYPE_DISCOVERY);
	cr_expect(got.nn == 0 && got.in_capsule == 0 && !got.dsm && !got.write_cache);
	cr_expect(id[95] == 0x80, "discovery log change notices");
	cr_expect(id[261] & 4, "offsets into log pages");
}

Test(nvme_identify, controller_nonsense)
{
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ctrl_view got = { .nn = 42 };

	nvme_identify_ctrl(id, &io_ctrl);
	memset(id + 1792, 0, 4);
	cr_expect(nvme_ctrl_read(id, &got) == -EPROTO, "no capsule");
	id[1792] = 3;
	cr_expect(nvme_ctrl_read(id, &got) == -EPROTO, "capsule under 64 bytes");
	memset(id + 1792, 0xff, 4);
	cr_expect(nvme_ctrl_read(id, &got) == -EPROTO, "capsule of 64 GiB");
	cr_expect(got.nn == 42, "outputs untouched");

	memset(id, 0xff, sizeof(id));
	memset(id + 1792, 0, 4);
	id[1793] = 1;
	cr_expect(nvme_ctrl_read(id, &got) == 0);
	cr_expect(got.max_transfer == 0, "MDTS 255 is no limit");
	cr_expect(strlen(got.subnqn) == NVME_NQN_MAX, "an unterminated NQN is cut");
}

Test(nvme_identify, namespace_bytes)
{
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ns_view got;

	nvme_identify_ns(id, &ns1);
	cr_expect(id[2] == 4 && id[10] == 4 && id[18] == 4, "262144 blocks");
	cr_expect(id[25] == 0 && id[26] == 0, "one format");
	cr_expect(id[30] == 1, "shared");
	cr_expect(id[33] == 9, "deallocated blocks read as zeroes");
	cr_expect(id[51] == 0x40, "1 GiB");
	cr_expect(id[64] == 0 && id[72] == 31, "one page, 32 blocks");
	cr_expect(id[99] == 1, "write protected");
	cr_expect(id[128] == 0 && id[129] == 0 && id[130] == 12, "4096 bytes, no metadata");
	cr_expect(id[134] == 0, "no second format");
	cr_assert(nvme_ns_read(id, &got) == 0);
	cr_expect(got.blocks == 262144 && got.block_shift == 12 && got.readonly && !got.metadata);
	cr_expect(!memcmp(got.nguid, id + 104, 16));
}

Test(nvme_identify, namespace_of_512_bytes)
{
	struct nvme_ns_desc desc = ns1;
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));

	desc.block_shift = 9;
	desc.max_transfer = 1 << 26;
	nvme_identify_ns(id, &desc);
	cr_expect(id[64] == 7 && id[66] == 7, "4096 bytes are 8 blocks");
	cr_expect(id[72] == 0xff && id[73] == 0xff, "as much as the field holds");
	cr_expect(id[130] == 9);
}

Test(nvme_identify, namespace_inactive_and_nonsense)
{
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	struct nvme_ns_view got;

	memset(id, 0xee, sizeof(id));
	nvme_identify_ns(id, NULL);
	cr_assert(nvme_ns_read(id, &got) == 0);
	cr_expect(got.blocks == 0);

	nvme_identify_ns(id, &ns1);
	id[130] = 8;
	cr_expect(nvme_ns_read(id, &got) == -EPROTO, "256-byte blocks");
	id[130] = 63;
	cr_expect(nvme_ns_read(id, &got) == -EPROTO, "2^63-byte blocks");
	id[130] = 12;
	id[134] = 12;
	id[26] = 1;
	cr_expect(nvme_ns_read(id, &got) == -EPROTO, "format that does not exist");
	id[26] = 0;
	memset(id, 0xff, 8);
	cr_expect(nvme_ns_read(id, &got) == -EPROTO, "size over 64 bits");
}

Test(nvme_identify, identifiers)
{
	__u8 id[NVME_IDENTIFY_LEN], a[16], b[16], eui64[8];

	nvme_ns_uuid(SUBNQN, 1, a);
	nvme_ns_uuid(SUBNQN, 1, b);
	cr_expect_arr_eq(a, b, 16);
	cr_expect((a[6] & 0xf0) == 0x80 && (a[8] & 0xc0) == 0x80, "version 8, variant of RFC 9562");
	nvme_ns_uuid(SUBNQN, 2, b);
	cr_expect_arr_neq(a, b, 16);
	nvme_ns_uuid(SUBNQN "2", 1, b);
	cr_expect_arr_neq(a, b, 16);
	nvme_ns_nguid(SUBNQN, 1, b);
	cr_expect_arr_neq(a, b, 16);
	cr_expect((b[8] & 3) == 2, "locally administered, no group");

	memset(id, 0xee, sizeof(id));
	nvme_identify_descs(id, &ns1);
	nvme_ns_eui64(SUBNQN, 1, eui64);
	cr_expect((eui64[0] & 3) == 2, "locally administered, no group");
	cr_expect(id[0] == 1 && id[1] == 8 && !memcmp(id + 4, eui64, 8), "EUI64 first");
	cr_expect(id[12] == 2 && id[13] == 16 && !memcmp(id + 16, b, 16), "NGUID then");
	cr_expect(id[32] == 3 && id[33] == 16, "then UUID");
	cr_expect(id[52] == 4 && id[53] == 1 && id[56] == 0, "then the command set");
	cr_expect(id[57] == 0 && id[58] == 0, "then the end");
	cr_expect(nvme_descs_uuid(id, b) == 0);
	cr_expect_arr_eq(a, b, 16);
}

/*
 * Pinned values: hosts remember namespaces by these, so a changed derivation would look like new
 * disks.
 */
Test(nvme_identify, identifiers_are_stable)
{
	static const __u8 uuid[16] = {
		0x82, 0xc6, 0x52, 0xbe, 0xa8, 0xd4, 0x8b, 0x2e, 0xa7, 0x47, 0x11, 0x55,
		0xc4, 0x4a, 0x4b, 0xae,
	};
	__u8 got[16];

	nvme_ns_uuid(SUBNQN, 1, got);
	cr_expect_arr_eq(got, uuid, 16);
}

Test(nvme_identify, descriptors_broken)
{
	__u8 id[NVME_IDENTIFY_LEN] = { 0 }, uuid[16];

	cr_expect(nvme_descs_uuid(id, uuid) == -ENOENT, "empty");
	id[0] = 3;
	id[1] = 8;
	cr_expect(nvme_descs_uuid(id, uuid) == -EPROTO, "UUID of 8 bytes");
	memset(id, 0, sizeof(id));
	for (size_t at = 0; at + 20 <= sizeof(id); at += 20) {
		id[at] = 2;
		id[at + 1] = 16;
	}
	cr_expect(nvme_descs_uuid(id, uuid) == -ENOENT, "full, none");
	id[4080 + 1] = 200;
	cr_expect(nvme_descs_uuid(id, uuid) == -EPROTO, "past the end");
}

Test(nvme_identify, active_list)
{
	static const __u32 nsids[] = { 1, 2, 5, 0x01020304 };
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	__u32 got[1024], many[1100];

	memset(id, 0xee, sizeof(id));
	cr_expect(nvme_identify_active(id, nsids, 4, 0) == 0);
	cr_expect(nvme_active_read(id, got, 1024) == 4);
	cr_expect_arr_eq(got, nsids, sizeof(nsids));
	cr_expect(id[12] == 4 && id[15] == 1, "little endian");
	cr_expect(nvme_identify_active(id, nsids, 4, 2) == 0);
	cr_expect(nvme_active_read(id, got, 1024) == 2 && got[0] == 5);
	cr_expect(nvme_identify_active(id, nsids, 4, 0xfffffffe) == DNR(NVME_ST_INVALID_NS));
	for (__u32 i = 0; i < 1100; i++)
		many[i] = i + 1;
	cr_expect(nvme_identify_active(id, many, 1100, 0) == 0);
	cr_expect(nvme_active_read(id, got, 1024) == 1024 && got[1023] == 1024);
	cr_expect(nvme_identify_active(id, many, 1100, 1024) == 0);
	cr_expect(nvme_active_read(id, got, 1024) == 76);
}

Test(nvme_identify, command_sets)
{
	__u8 id[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));

	nvme_identify_command_sets(id);
	cr_expect(id[0] == 1 && id[8] == 0);
	nvme_identify_ns_indep(id, &ns1);
	cr_expect(id[1] == 1 && id[8] == 1 && id[14] == 1, "shared, protected, ready");
}

Test(nvme_identify, smart)
{
	struct nvme_usage usage = { .read_bytes = 512001, .write_bytes = 512000, .read_cmds = 258 };
	__u8 page[NVME_LOG_SMART_LEN];

	memset(page, 0xee, sizeof(page));
	nvme_log_smart(page, &usage);
	cr_expect(page[0] == 0 && page[3] == 100 && page[4] == 10);
	cr_expect(page[32] == 2, "rounded up");
	cr_expect(page[48] == 1);
	cr_expect(page[64] == 2 && page[65] == 1);
	cr_expect(page[511] == 0);
}

Test(nvme_identify, effects)
{
	__u8 page[NVME_LOG_EFFECTS_LEN] __attribute__((aligned(8)));

	nvme_log_effects(page, false, false);
	cr_expect(page[6 * 4] == 1, "Identify");
	cr_expect(page[0x80 * 4] == 0, "no Format");
	cr_expect(page[1024 + 2 * 4] == 1, "Read");
	cr_expect(page[1024 + 1 * 4] == 3, "Write changes content");
	cr_expect(page[1024 + 4 * 4] == 0, "no Write Uncorrectable here");
	cr_expect(page[1024 + 5 * 4] == 1 && page[1024 + 12 * 4] == 1, "Compare, Verify");
	cr_expect(page[1024 + 0x19 * 4] == 3, "Copy changes content");
	nvme_log_effects(page, false, true);
	cr_expect(page[1024 + 4 * 4] == 3, "Write Uncorrectable");
	nvme_log_effects(page, true, false);
	cr_expect(page[1024 + 2 * 4] == 0, "a discovery controller reads nothing");
}

Test(nvme_identify, log_slices)
{
	static const __u8 page[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	__u8 got[8];

	memset(got, 0xee, sizeof(got));
	cr_expect(nvme_log_slice(page, 8, 6, got, 4) == 0);
	cr_expect(got[0] == 7 && got[1] == 8 && got[2] == 0 && got[3] == 0 && got[4] == 0xee);
	cr_expect(nvme_log_slice(page, 8, 8, got, 4) == 0 && got[0] == 0);
	cr_expect(nvme_log_slice(page, 8, 9, got, 4) == DNR(NVME_ST_INVALID_FIELD));
	cr_expect(nvme_log_slice(page, 8, ~0ULL, got, 4) == DNR(NVME_ST_INVALID_FIELD));
}

Test(nvme_identify, firmware)
{
	__u8 page[NVME_LOG_FIRMWARE_LEN];

	memset(page, 0xee, sizeof(page));
	nvme_log_firmware(page, "0.1.0");
	cr_expect(page[0] == 1 && !memcmp(page + 8, "0.1.0   ", 8) && page[16] == 0);
}
