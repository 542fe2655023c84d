// SPDX-License-Identifier: Apache-2.0
/*
 * The target with what older kernels give its rings (no shared ring of provided buffers, no multishot, no registered
 * files), and with so few receive buffers that receives end for want of one all the time. In each the same I/O on many
 * connections at once, and every block comes back.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "storage/ring.h"
#include "storage_client.h"

TestSuite(storage_ring_fallback, .timeout = 120);

#define QUEUES 8
#define ROUNDS 6
#define LEN    (64u << 10)

static struct fixture fixture;

static int64_t counter(const char *name)
{
	struct json_object *all = target_stats(fixture.target), *list = json_object_object_get(all, "reactors"), *value;
	int64_t n;

	cr_assert(json_object_object_get_ex(json_object_array_get_idx(list, 0), name, &value));
	n = json_object_get_int64(value);
	json_object_put(all);
	return n;
}

static void write_begin(struct client *c, unsigned int slba, unsigned int cid)
{
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, cid, NS_FILE, slba, LEN / NS_BLOCK);
	struct pdu pdu;

	sqe.sgl = nvme_sgl_transport(LEN);
	cr_assert_eq(client_capsule(c, &sqe, NULL, 0), 0);
	cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_R2T);
	c->cid = le16toh(pdu.header.data.ttag);
}

static void write_send(struct client *c, unsigned int cid, const uint8_t *data)
{
	uint8_t buf[PDU_ENCODE_MAX];
	size_t n = pdu_encode_h2c_data(buf, &c->framing, htole16(cid), c->cid, 0, LEN, PDU_F_LAST);

	cr_assert_eq(client_send(c, buf, n) | client_send(c, data, LEN), 0);
}

static void write_end(struct client *c)
{
	struct pdu pdu;

	cr_assert_eq(client_receive(c, &pdu, NULL, 0), 0);
	cr_assert_eq(pdu.type, PDU_CAPSULE_RESP);
	cr_assert_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
}

/* All queues send at once, so that more pieces arrive in a turn than there are buffers. */
static void traffic(void)
{
	static struct client admins[QUEUES], c[QUEUES];
	static uint8_t data[QUEUES][LEN], back[LEN];
	unsigned int i, round;

	for (i = 0; i < QUEUES; i++) {
		client_admin(&admins[i], &fixture, 0);
		client_io(&c[i], &fixture, &admins[i], 0, false);
	}
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < QUEUES; i++) {
			memset(data[i], round * QUEUES + i + 1, LEN);
			write_begin(&c[i], i * LEN / NS_BLOCK, round);
		}
		for (i = 0; i < QUEUES; i++)
			write_send(&c[i], round, data[i]);
		for (i = 0; i < QUEUES; i++)
			write_end(&c[i]);
		for (i = 0; i < QUEUES; i++) {
			cr_assert_eq(client_rw(&c[i], NVME_IO_READ, NS_FILE, i * LEN / NS_BLOCK, LEN / NS_BLOCK, back,
					       LEN, false),
				     0);
			cr_expect_arr_eq(back, data[i], LEN, "queue %u", i);
		}
	}
	for (i = 0; i < QUEUES; i++) {
		client_close(&c[i]);
		client_close(&admins[i]);
	}
}

Test(storage_ring_fallback, older_kernels)
{
	static const struct {
		const char *name;
		unsigned int without;
		const char *shows; /* the target says so itself: the fallback is really what runs */
	} rows[] = {
		{"nothing missing", 0, ""},
		{"no buffer ring", RING_WITHOUT_BUFFER_RING, "no-buffer-ring"},
		{"no multishot", RING_WITHOUT_MULTISHOT, "no-recv-multishot"},
		{"no registered files", RING_WITHOUT_FILES, "no-registered-files"},
		{"none of them", RING_WITHOUT_BUFFER_RING | RING_WITHOUT_MULTISHOT | RING_WITHOUT_FILES,
		 "no-buffer-ring"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		char features[256];
		struct error err = {};
		struct ring ring;

		cr_assert_eq(ring_open(&ring,
				       &(struct ring_options){.entries = 8, .files = 4, .without = rows[i].without},
				       &err),
			     0, "%s", err.text);
		ring_features_print(&ring, features, sizeof(features));
		cr_expect_not_null(strstr(features, rows[i].shows), "%s: %s", rows[i].name, features);
		ring_close(&ring);
		fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .ring_without = rows[i].without});
		traffic();
		fixture_stop(&fixture);
	}
}

/* Receives end with ENOBUFS and are armed again when buffers are back. */
Test(storage_ring_fallback, few_receive_buffers)
{
	static const unsigned int without[] = {0, RING_WITHOUT_BUFFER_RING};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(without); i++) {
		fixture_start_as(&fixture,
				 &(struct fixture_options){.reactors = 1, .ring_without = without[i], .rx_buffers = 2});
		traffic();
		cr_expect_gt(counter("no_rx_buffer"), 0, "buffers did run out");
		fixture_stop(&fixture);
	}
}

/*
 * More capsules than there are buffers for their data, with few receive buffers: connections block in the middle of
 * the stream, keep what they have received, and go on.
 */
Test(storage_ring_fallback, blocked_streams)
{
	enum { CAPSULES = 400 };
	static const unsigned int without[] = {0, RING_WITHOUT_BUFFER_RING | RING_WITHOUT_MULTISHOT};
	struct nvme_sqe sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, NS_FILE, 0, 2);
	static uint8_t data[2 * NS_BLOCK];
	struct policy_transport transport = POLICY_TRANSPORT_DEFAULT;
	struct client admin, c;
	unsigned int i, k;

	transport.in_capsule = 256 << 10; /* 128 buffers */
	sqe.sgl = nvme_sgl_in_capsule(sizeof(data));
	for (i = 0; i < ARRAY_SIZE(without); i++) {
		fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1,
								     .ring_without = without[i],
								     .rx_buffers = 8,
								     .transport = transport});
		client_admin(&admin, &fixture, 0);
		client_open(&c, fixture.port, 0);
		c.cntlid = admin.cntlid;
		cr_assert_eq(client_connect(&c, &(struct client_connect){.qid = 1, .entries = 1024}), 0);
		for (k = 0; k < CAPSULES; k++) {
			sqe.cid = htole16(k);
			cr_assert_eq(client_capsule(&c, &sqe, data, sizeof(data)), 0);
		}
		for (k = 0; k < CAPSULES; k++)
			write_end(&c);
		client_close(&c);
		client_close(&admin);
		fixture_stop(&fixture);
	}
}
