// SPDX-License-Identifier: Apache-2.0
/*
 * Backends that fail or stall under a target in this process: each error reaches the host as the status that it means,
 * the queue goes on, and who has nothing to do with it is not held up.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "fault_backend.h"
#include "storage_client.h"

static struct fixture fixture;
static struct client admin, io, other;

static void start(void)
{
	fixture_start_as(&fixture, &(struct fixture_options){.reactors = 1, .open_backend = fault_backend_open});
	client_admin(&admin, &fixture, 0);
	client_io(&io, &fixture, &admin, 0, false);
	client_open(&other, fixture.port, 0);
	other.cntlid = admin.cntlid;
	cr_assert_eq(client_connect(&other, &(struct client_connect){.qid = 2}), 0);
}

static void stop(void)
{
	client_close(&other);
	client_close(&io);
	client_close(&admin);
	fixture_stop(&fixture);
}

TestSuite(backend_fault, .init = start, .fini = stop, .timeout = 60);

static uint8_t data[65536];

static int run(uint8_t opcode, uint32_t nsid)
{
	uint32_t blocks = nsid == NS_MEMORY ? 8 : 1;
	bool moves = opcode == NVME_IO_READ || opcode == NVME_IO_WRITE || opcode == NVME_IO_COMPARE;
	struct nvme_dsm_range dsm = {.nlb = htole32(blocks)};
	struct nvme_copy_range copy = {.nlb = htole16(blocks - 1)};

	if (opcode == NVME_IO_FLUSH)
		return client_run(&io, nvme_sqe_flush(0, nsid), NULL, 0, false, NULL);
	if (opcode == NVME_IO_DSM)
		return client_run(&io, nvme_sqe_deallocate(0, nsid, 1), &dsm, sizeof(dsm), true, NULL);
	if (opcode == NVME_IO_COPY)
		return client_run(&io, nvme_sqe_copy(0, nsid, 64, 1), &copy, sizeof(copy), true, NULL);
	return client_rw(&io, opcode, nsid, 0, blocks, moves ? data : NULL, moves ? 4096 : 0, false);
}

Test(backend_fault, statuses)
{
	static const struct {
		uint8_t opcode;
		enum backend_op op;
		int errnum, status;
	} rows[] = {
		{NVME_IO_READ, BACKEND_READ, EIO, NVME_ST_READ_ERROR},
		{NVME_IO_READ, BACKEND_READ, ENODATA, NVME_ST_READ_ERROR},
		{NVME_IO_READ, BACKEND_READ, ENOMEM, NVME_ST_INTERNAL},
		{NVME_IO_COMPARE, BACKEND_READ, EIO, NVME_ST_READ_ERROR},
		{NVME_IO_VERIFY, BACKEND_READ, EIO, NVME_ST_READ_ERROR},
		{NVME_IO_WRITE, BACKEND_WRITE, EIO, NVME_ST_WRITE_FAULT},
		{NVME_IO_WRITE, BACKEND_WRITE, ENOSPC, NVME_ST_CAPACITY},
		{NVME_IO_WRITE, BACKEND_WRITE, EDQUOT, NVME_ST_CAPACITY},
		{NVME_IO_WRITE, BACKEND_WRITE, EROFS, NVME_ST_NS_WRITE_PROTECTED},
		{NVME_IO_WRITE, BACKEND_WRITE, ETIMEDOUT, NVME_ST_WRITE_FAULT},
		{NVME_IO_WRITE_ZEROES, BACKEND_ZERO, EIO, NVME_ST_WRITE_FAULT},
		{NVME_IO_WRITE_ZEROES, BACKEND_ZERO, ENOSPC, NVME_ST_CAPACITY},
		{NVME_IO_DSM, BACKEND_DEALLOCATE, EIO, NVME_ST_WRITE_FAULT},
		{NVME_IO_FLUSH, BACKEND_FLUSH, EIO, NVME_ST_WRITE_FAULT},
		{NVME_IO_FLUSH, BACKEND_FLUSH, ENOSPC, NVME_ST_CAPACITY},
		{NVME_IO_COPY, BACKEND_READ, EIO, NVME_ST_READ_ERROR},
		{NVME_IO_COPY, BACKEND_WRITE, EIO, NVME_ST_WRITE_FAULT},
	};
	static const uint32_t kept[] = {NS_MEMORY, NS_FILE};
	size_t i, n, late;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		for (n = 0; n < ARRAY_SIZE(kept); n++)
			for (late = 0; late < 2; late++) {
				cr_assert_eq(client_rw(&io, NVME_IO_WRITE, kept[n], 0, kept[n] == NS_MEMORY ? 8 : 1,
						       data, 4096, false),
					     0);
				fault_set(rows[i].op, rows[i].errnum, 0, 1, late);
				cr_expect_eq(run(rows[i].opcode, kept[n]), rows[i].status,
					     "row %zu, namespace %u, late %zu", i, kept[n], late);
				cr_expect_eq(fault_clear(), 1);
				cr_expect_eq(run(rows[i].opcode, kept[n]), 0, "row %zu: it works again", i);
			}
}

Test(backend_fault, fused)
{
	static const struct {
		enum backend_op op;
		int status[2];
	} rows[] = {
		{BACKEND_READ, {NVME_ST_READ_ERROR, NVME_ST_FUSED_FAILED}},
		{BACKEND_WRITE, {0, NVME_ST_WRITE_FAULT}},
	};
	struct nvme_sqe sqe[2];
	struct pdu pdu;
	size_t i;
	int n;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		fault_set(rows[i].op, EIO, 0, 1, false);
		for (n = 0; n < 2; n++) {
			sqe[n] = nvme_sqe_rw(n ? NVME_IO_WRITE : NVME_IO_COMPARE, 500 + n, NS_FILE, 3, 1);
			sqe[n].flags |= n + 1;
			sqe[n].sgl = nvme_sgl_in_capsule(4096);
			cr_assert_eq(client_capsule(&io, &sqe[n], data, 4096), 0);
		}
		for (n = 0; n < 2; n++) {
			cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
			cr_expect_eq(le16toh(pdu.header.resp.cqe.cid), 500 + n, "in order");
			cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe) & NVME_STATUS_CODE, rows[i].status[n],
				     "row %zu, half %d", i, n);
		}
		cr_expect_eq(fault_clear(), 1);
	}
	cr_expect_eq(run(NVME_IO_WRITE, NS_FILE), 0);
}

/* Copy says how far it came. */
Test(backend_fault, copy)
{
	struct nvme_copy_range ranges[3];
	uint64_t result = 0;
	unsigned int i;

	/* 384, 256 and 256 KiB: pieces of 256 KiB end within the first, within the second, and in the third. */
	for (i = 0; i < 3; i++)
		ranges[i] = (struct nvme_copy_range){.slba = htole64(i * 96), .nlb = htole16((i ? 64 : 96) - 1)};
	fault_set(BACKEND_WRITE, EIO, 1, 1, false);
	cr_expect_eq(client_run(&io, nvme_sqe_copy(0, NS_FILE, 1024, 3), ranges, sizeof(ranges), true, &result),
		     NVME_ST_WRITE_FAULT);
	cr_expect_eq(result, 0, "the first range was written in part");
	fault_clear();
	fault_set(BACKEND_WRITE, EIO, 2, 1, false);
	cr_expect_eq(client_run(&io, nvme_sqe_copy(0, NS_FILE, 1024, 3), ranges, sizeof(ranges), true, &result),
		     NVME_ST_WRITE_FAULT);
	cr_expect_eq(result, 1, "the first is there");
	fault_clear();
	cr_expect_eq(client_run(&io, nvme_sqe_copy(0, NS_FILE, 1024, 3), ranges, sizeof(ranges), true, &result), 0);
	cr_expect_eq(result, 0);
}

/* Errors of one queue are nothing to the other, on the same thread. */
Test(backend_fault, others_go_on)
{
	unsigned int i;

	fault_set(BACKEND_WRITE, EIO, 0, 1000000, false);
	for (i = 0; i < 200; i++) {
		cr_expect_eq(run(NVME_IO_WRITE, NS_FILE), NVME_ST_WRITE_FAULT);
		cr_expect_eq(client_rw(&other, NVME_IO_READ, NS_FILE, 0, 1, data, 4096, false), 0);
	}
	cr_expect_eq(fault_clear(), 200);
}

static void send_rw(struct client *c, uint8_t opcode, uint16_t cid, uint64_t slba)
{
	struct nvme_sqe sqe = nvme_sqe_rw(opcode, cid, NS_FILE, slba, 1);

	sqe.sgl = opcode == NVME_IO_WRITE ? nvme_sgl_in_capsule(4096) : nvme_sgl_transport(4096);
	cr_assert_eq(client_capsule(c, &sqe, data, opcode == NVME_IO_WRITE ? 4096 : 0), 0);
}

Test(backend_fault, slow)
{
	static uint8_t got[4096];
	unsigned int i;
	struct pdu pdu;

	fault_hold(BACKEND_WRITE);
	for (i = 0; i < 8; i++)
		send_rw(&io, NVME_IO_WRITE, 600 + i, i);
	/* Answers of the other queue show that the target is there all the while. */
	do
		cr_expect_eq(client_rw(&other, NVME_IO_READ, NS_FILE, 100, 1, got, 4096, false), 0, "other blocks");
	while (fault_held() < 8);
	cr_expect_eq(client_rw(&other, NVME_IO_READ, NS_NULL, 0, 1, got, 4096, false), 0, "another namespace");
	cr_expect_eq(client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	/* A read of a block that is being written waits for it, and then finds it. */
	memset(data, 0x77, 4096);
	send_rw(&io, NVME_IO_WRITE, 700, 8);
	while (fault_held() < 9)
		cr_expect_eq(client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	send_rw(&other, NVME_IO_READ, 701, 8);
	fault_release();
	for (i = 0; i < 9; i++) {
		cr_assert_eq(client_receive(&io, &pdu, NULL, 0), 0);
		cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
	}
	cr_assert_eq(client_receive(&other, &pdu, got, sizeof(got)), 0);
	cr_expect(pdu.type == PDU_C2H_DATA && got[0] == 0x77 && got[4095] == 0x77, "what was written before");
	cr_assert_eq(client_receive(&other, &pdu, NULL, 0), 0);
	cr_expect_eq(nvme_cqe_status(&pdu.header.resp.cqe), 0);
}

/* A host that goes while its I/O is stuck takes nothing with it. */
Test(backend_fault, gone_while_slow)
{
	unsigned int i;

	fault_hold(BACKEND_WRITE);
	for (i = 0; i < 4; i++)
		send_rw(&other, NVME_IO_WRITE, 800 + i, 0); /* one is held, the others wait for its block */
	while (fault_held() < 1)
		cr_expect_eq(client_run(&admin, nvme_sqe_keep_alive(0), NULL, 0, false, NULL), 0);
	client_close(&other);
	cr_expect_eq(client_rw(&io, NVME_IO_READ, NS_FILE, 100, 1, data, 4096, false), 0);
	fault_release();
	cr_expect_eq(client_rw(&io, NVME_IO_WRITE, NS_FILE, 0, 1, data, 4096, false), 0, "the block is free again");
	client_open(&other, fixture.port, 0);
}
