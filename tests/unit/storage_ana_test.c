// SPDX-License-Identifier: Apache-2.0
/*
 * Paths: ANA groups and states at two portals, what commands get and hosts are told when they change, and referrals.
 * The policies are texts, so that the language is tried with it; only the ports are the system's choice.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "policy/policy.h"
#include "storage_client.h"
#include "target_frame.h"

#define HEAD                                                                                                           \
	"sluice: 1\nstorage:\n  portals: [{address: 127.0.0.1, name: left}, {address: 127.0.0.2, name: right}]\n"      \
	"  subsystems:\n    - nqn: " TEST_SUBNQN "\n"
#define NAMESPACES                                                                                                     \
	"      namespaces:\n        - {id: 1, backend: null, size: 16MiB}\n"                                           \
	"        - {id: 2, backend: memory, size: 16MiB, ana: 2}\n"
#define BEFORE                                                                                                         \
	HEAD "      ana:\n        - {group: 1, portal: right, state: non-optimized}\n"                                 \
	     "        - {group: 2, state: inaccessible}\n        - {group: 2, portal: right, state: "                  \
	     "optimized}\n" NAMESPACES

static struct policy_storage storage;
static struct fixture sides[2]; /* for client_admin() and client_io(): only the port */

static struct policy *load(const char *text)
{
	struct policy_diagnostics diagnostics = {};
	struct policy *p = NULL;

	if (policy_load_text("test.yaml", text, strlen(text), &diagnostics, &p))
		policy_diagnostics_print(&diagnostics, stderr);
	policy_diagnostics_done(&diagnostics);
	return p;
}

/* The storage section of a policy text. */
static struct policy_storage section(const char *text)
{
	struct policy *p = load(text);
	struct policy_storage s;
	size_t i;

	cr_assert(p);
	policy_storage_take(p, &s);
	policy_free(p);
	for (i = 0; i < s.n_portals; i++)
		s.portals[i].port = 0;
	return s;
}

static void start(void)
{
	unsigned int i;

	storage = section(BEFORE);
	target_begin((struct target_options){.storage = &storage});
	for (i = 0; i < 2; i++)
		sides[i].port = target_portal_port(target, i);
}

static void stop(void)
{
	target_stop(target, 1000);
	policy_storage_done(&storage);
}

TestSuite(storage_ana, .init = start, .fini = stop, .timeout = 60);

static void update(const char *text)
{
	target_switch(section(text));
}

static void open_side(unsigned int side, struct client *admin, struct client *io)
{
	client_address = side ? "127.0.0.2" : "127.0.0.1";
	client_admin(admin, &sides[side], 0);
	client_io(io, &sides[side], admin, 0, false);
	client_address = "127.0.0.1";
}

struct group {
	uint32_t id, n, nsid;
	uint8_t state;
};

/* The ANA log: number of groups; of each its first namespace. */
static unsigned int ana_log(struct client *c, bool groups_only, struct group ret[8])
{
	static uint8_t page[4096] __attribute__((aligned(8)));
	struct nvme_sqe sqe = nvme_sqe_get_log(0, NVME_LID_ANA, 0, sizeof(page));
	unsigned int n, i, k;
	size_t at = 16;

	if (groups_only)
		sqe.cdw10 |= htole32(NVME_LOG_RGO);
	cr_assert_eq(client_run(c, sqe, page, sizeof(page), false, NULL), 0);
	n = le16toh(*(__le16 *)(page + 8));
	for (i = 0; i < n && i < 8; i++) {
		const __le32 *g = (const __le32 *)(page + at);

		k = le32toh(g[1]);
		ret[i] = (struct group){le32toh(g[0]), k, k ? le32toh(g[8]) : 0, page[at + 16]};
		at += 32 + 4 * k;
	}
	return n;
}

static void listen_for(struct client *c, uint32_t config, uint16_t cid)
{
	struct nvme_sqe sqe = nvme_sqe_make(NVME_ADM_ASYNC_EVENT, cid, 0, 0, 0);

	cr_assert_eq(client_run(c, nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_ASYNC_EVENT, config), NULL, 0,
				false, NULL),
		     0);
	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
}

static int read_block(struct client *io, uint32_t nsid)
{
	uint8_t data[4096];

	return client_rw(io, NVME_IO_READ, nsid, 0, 1, data, sizeof(data), false);
}

#define EVENT_ANA_CHANGE (2 | 0x03 << 8 | NVME_LID_ANA << 16)

Test(storage_ana, states_by_portal)
{
	static uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	const struct nvme_id_ctrl *ctrl = (const void *)page;
	const struct nvme_id_ns *ns = (const void *)page;
	struct client admin[2], io[2];
	struct group g[8];
	unsigned int i;

	for (i = 0; i < 2; i++)
		open_side(i, &admin[i], &io[i]);
	cr_assert_eq(client_run(&admin[0], nvme_sqe_identify(0, NVME_CNS_CTRL, 0), page, sizeof(page), false, NULL), 0);
	cr_expect(ctrl->cmic & 8);
	cr_expect(le32toh(ctrl->oaes) & NVME_OAES_ANA);
	cr_expect_eq(ctrl->anacap & 0x1f, 0x1f);
	cr_expect_eq(le32toh(ctrl->anagrpmax), POLICY_ANA_GROUPS);
	cr_expect_eq(le32toh(ctrl->nanagrpid), POLICY_ANA_GROUPS);
	cr_assert_eq(client_run(&admin[0], nvme_sqe_identify(0, NVME_CNS_NS, 2), page, sizeof(page), false, NULL), 0);
	cr_expect_eq(le32toh(ns->anagrpid), 2);
	cr_expect_eq(ns->nuse, 0, "not known where it is inaccessible");
	cr_expect_eq(le64toh(ns->nsze), 4096);
	cr_assert_eq(ana_log(&admin[0], false, g), 2);
	cr_expect(g[0].id == 1 && g[0].n == 1 && g[0].nsid == 1 && g[0].state == 1);
	cr_expect(g[1].id == 2 && g[1].n == 1 && g[1].nsid == 2 && g[1].state == 3);
	cr_assert_eq(ana_log(&admin[1], false, g), 2);
	cr_expect(g[0].state == 2 && g[1].state == 1);
	cr_assert_eq(ana_log(&admin[1], true, g), 2);
	cr_expect(!g[0].n && !g[1].n && g[1].id == 2, "groups only");
	cr_expect_eq(read_block(&io[0], 1), 0);
	cr_expect_eq(read_block(&io[0], 2), NVME_ST_ANA_INACCESSIBLE);
	cr_expect_eq(read_block(&io[1], 1), 0, "non-optimized serves");
	cr_expect_eq(read_block(&io[1], 2), 0);
	for (i = 0; i < 2; i++) {
		client_close(&io[i]);
		client_close(&admin[i]);
	}
}

Test(storage_ana, a_change_is_told_where_it_is_one)
{
	static const char after[] = HEAD "      ana:\n        - {group: 1, portal: right, state: non-optimized}\n"
					 "        - {group: 2, portal: right, state: optimized}\n" NAMESPACES;
	static const char lost[] = HEAD "      ana:\n        - {group: 1, state: persistent-loss}\n"
					"        - {group: 2, state: change}\n" NAMESPACES;
	struct client admin[2], io[2];
	struct group g[8];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		open_side(i, &admin[i], &io[i]);
		listen_for(&admin[i], NVME_OAES_ANA, 100);
	}
	update(after);
	cr_expect_eq(client_event(&admin[0]), EVENT_ANA_CHANGE);
	cr_expect_eq(client_event(&admin[1]), UINT32_MAX, "nothing has changed at this portal");
	cr_assert_eq(ana_log(&admin[0], false, g), 2);
	cr_expect(g[0].state == 1 && g[1].state == 1);
	cr_expect_eq(read_block(&io[0], 2), 0);
	update(lost);
	cr_expect_eq(client_event(&admin[1]), EVENT_ANA_CHANGE);
	for (i = 0; i < 2; i++) {
		cr_expect_eq(read_block(&io[i], 1), NVME_ST_ANA_PERSISTENT_LOSS);
		cr_expect_eq(read_block(&io[i], 2), NVME_ST_ANA_TRANSITION);
		client_close(&io[i]);
		client_close(&admin[i]);
	}
}

Test(storage_ana, without_ana_nothing_is_said)
{
	static const char plain[] = HEAD "      namespaces: [{id: 1, backend: null, size: 16MiB}]\n";
	static uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8)));
	const struct nvme_id_ctrl *ctrl = (const void *)page;
	struct client admin, io;

	update(plain);
	open_side(0, &admin, &io);
	cr_assert_eq(client_run(&admin, nvme_sqe_identify(0, NVME_CNS_CTRL, 0), page, sizeof(page), false, NULL), 0);
	cr_expect_eq(ctrl->cmic & 8, 0);
	cr_expect_eq(ctrl->anacap, 0);
	cr_expect_eq(client_run(&admin, nvme_sqe_get_log(0, NVME_LID_ANA, 0, 512), page, 512, false, NULL),
		     NVME_ST_INVALID_LOG_PAGE);
	cr_expect_eq(read_block(&io, 1), 0);
	client_close(&io);
	client_close(&admin);
}

Test(storage_ana, referrals)
{
	static const char with[] = "sluice: 1\nstorage:\n  portals: [{address: 127.0.0.1}, {address: 127.0.0.2}]\n"
				   "  referrals: [{address: 192.0.2.9}, {address: \"2001:db8::9\", port: 9000}]\n"
				   "  subsystems:\n    - nqn: " TEST_SUBNQN "\n"
				   "      namespaces: [{id: 1, backend: null, size: 16MiB}]\n";
	static uint8_t page[8192] __attribute__((aligned(8)));
	const struct nvme_discovery_header *header = (const void *)page;
	struct nvme_discovery_entry entry;
	struct client c;

	client_open(&c, sides[0].port, 0);
	cr_assert_eq(client_connect(&c, &(struct client_connect){.subnqn = NVME_DISCOVERY_NQN}), 0);
	cr_assert_eq(client_enable(&c), 0);
	listen_for(&c, NVME_OAES_DISCOVERY, 100);
	update(with);
	cr_expect_eq(client_event(&c), (2 | 0xf0 << 8 | NVME_LID_DISCOVERY << 16));
	cr_assert_eq(client_run(&c, nvme_sqe_get_log(0, NVME_LID_DISCOVERY, 0, 8192), page, 8192, false, NULL), 0);
	cr_assert_eq(le64toh(header->numrec), 6, "two portals, each with discovery and subsystem, and two referrals");
	cr_assert_eq(nvme_discovery_decode((void *)(page + 5 * 1024), &entry), 0);
	cr_expect_eq(entry.subtype, NVME_SUBTYPE_REFERRAL);
	cr_expect_str_eq(entry.traddr, "192.0.2.9");
	cr_expect_str_eq(entry.trsvcid, "8009");
	cr_expect_str_eq(entry.subnqn, NVME_DISCOVERY_NQN);
	cr_assert_eq(nvme_discovery_decode((void *)(page + 6 * 1024), &entry), 0);
	cr_expect_eq(entry.adrfam, NVME_ADRFAM_IPV6);
	cr_expect_str_eq(entry.trsvcid, "9000");
	client_close(&c);
}

static char *write_back(const struct policy *p)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	cr_assert(p && out);
	cr_assert_eq(policy_write(p, out), 0);
	fclose(out);
	return text;
}

/* What is written reads back the same; what is wrong is refused with its place. */
Test(storage_ana_language, texts)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{HEAD "      ana: [{group: 1, portal: middle, state: optimized}]\n" NAMESPACES,
		 "no portal is named 'middle'"},
		{HEAD "      ana: [{group: 200, state: optimized}]\n" NAMESPACES, "group"},
		{HEAD "      ana: [{group: 1, state: best}]\n" NAMESPACES, "state"},
		{HEAD "      ana: [{group: 1, state: change}, {group: 1, state: change}]\n" NAMESPACES, "given twice"},
		{HEAD NAMESPACES, "but the subsystem has no `ana`"},
		{"sluice: 1\nstorage:\n  portals: [{address: 127.0.0.1, name: a}, {address: 127.0.0.2, name: a}]\n"
		 "  subsystems: []\n",
		 "portal 'a' is here twice"},
		{"sluice: 1\nstorage:\n  portals: []\n  subsystems: []\n  referrals: [{address: host.example}]\n",
		 "is no address"},
	};
	struct policy_diagnostics diagnostics;
	struct policy *p = load(BEFORE "  referrals: [{address: 192.0.2.9, port: 8010}]\n");
	char *text = write_back(p), *twice;
	size_t i;

	cr_expect(strstr(text, "name: left") && strstr(text, "port: 8010"));
	cr_expect(strstr(text, "{group: 2, portal: right, state: optimized}"));
	cr_expect(strstr(text, "ana: 2}"));
	policy_free(p);
	p = load(text);
	twice = write_back(p);
	cr_expect_str_eq(twice, text);
	policy_free(p);
	free(twice);
	free(text);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		diagnostics = (struct policy_diagnostics){};
		p = NULL;
		cr_expect_eq(policy_load_text("t.yaml", rows[i].text, strlen(rows[i].text), &diagnostics, &p), -EINVAL,
			     "row %zu", i);
		cr_expect(diagnostics.count && strstr(diagnostics.items[0].text, rows[i].says), "row %zu: %s", i,
			  diagnostics.count ? diagnostics.items[0].text : "nothing");
		policy_diagnostics_done(&diagnostics);
		policy_free(p);
	}
}
