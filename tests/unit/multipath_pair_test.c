// SPDX-License-Identifier: Apache-2.0
/*
 * Fused pairs by paths that fail: sent again as pairs while it is certain that nothing was written, and not when it is
 * not. Against fake controllers, which count halves that come alone, and against the target with more pairs than it
 * takes.
 */
#include "paths_frame.h"
#include "storage_client.h"

TestSuite(multipath_pair, .init = setup, .timeout = 60);

static struct path_io first, second;

static void make_pair(struct path_io *a, struct path_io *b, uint64_t slba, void *expected, void *wanted)
{
	*a = (struct path_io){
		.io = {.sqe = nvme_sqe_rw(NVME_IO_COMPARE, 0, 1, slba, XFER / 512), .data = expected, .len = XFER}};
	*b = (struct path_io){
		.io = {.sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, 1, slba, XFER / 512), .data = wanted, .len = XFER}};
}

/* Ones in place of zeroes. */
static int run_pair(void)
{
	memset(data[0], 0, XFER);
	memset(data[1], 1, XFER);
	make_pair(&first, &second, 8, data[0], data[1]);
	return lane_execute_pair(lane, &first, &second, &err);
}

static void expect_memory(uint8_t byte)
{
	for (unsigned int k = 0; k < XFER; k++)
		cr_assert_eq(memory[8 * 512 + k], byte, "byte %u", k);
}

/* All that fakes[0] got were whole pairs, so many. */
static void expect_pairs(unsigned int n)
{
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * n, "%u commands", fake_controller_commands(&fakes[0]));
	cr_assert_eq(fakes[0].alone, 0);
}

static struct multipath_info info_closed(unsigned int path)
{
	lane_close(lane); /* its counts are the path's from then on */
	lane = NULL;
	return info(path);
}

static void fail_with(uint16_t status, uint8_t opcode, unsigned int times)
{
	fakes[0].io_status_opcode = opcode;
	fakes[0].io_status_left = times;
	fake_controller_set(&fakes[0], io_status, status);
}

Test(multipath_pair, written)
{
	start(1);
	cr_assert_eq(run_pair(), 0, "%s", err.text);
	expect_memory(1);
	expect_pairs(1);
	cr_assert_eq(nvme_fuse(&first.io.sqe), NVME_SQE_FUSE_FIRST);
	cr_assert_eq(nvme_fuse(&second.io.sqe), NVME_SQE_FUSE_SECOND);
	cr_assert(first.io.submitted_ns && second.io.submitted_ns && !first.other && !second.other);
	cr_assert_eq(info_closed(0).commands, 2);
	stop();
}

Test(multipath_pair, a_difference_is_the_callers_at_once)
{
	memory[8 * 512 + 5] = 9;
	start(1);
	cr_assert_eq(run_pair(), -EIO);
	cr_assert_eq(first.io.status & NVME_STATUS_CODE, NVME_ST_COMPARE_FAILED);
	cr_assert_eq(second.io.status & NVME_STATUS_CODE, NVME_ST_FUSED_FAILED);
	cr_assert_eq(memory[8 * 512], 0);
	expect_pairs(1);
	stop();
}

/* ---- statuses ---- */

static const struct row {
	const char *name;
	uint16_t status;
	uint8_t opcode;
	bool again;
} rows[] = {
	{"the first, whatever passes", NVME_ST_INTERRUPTED, NVME_IO_COMPARE, true},
	{"the first, with an error on the way", NVME_ST_TRANSIENT_TRANSPORT, NVME_IO_COMPARE, true},
	{"the first, with DNR", NVME_ST_INTERRUPTED | NVME_STATUS_DNR, NVME_IO_COMPARE, false},
	{"the first, what does not pass", NVME_ST_READ_ERROR, NVME_IO_COMPARE, false},
	{"the second, not begun", NVME_ST_NS_NOT_READY, NVME_IO_WRITE, true},
	{"the second, perhaps begun", NVME_ST_INTERRUPTED, NVME_IO_WRITE, false},
	{"the second, its data perhaps there in part", NVME_ST_TRANSIENT_TRANSPORT, NVME_IO_WRITE, false},
	{"the second, not begun, but DNR", NVME_ST_NS_NOT_READY | NVME_STATUS_DNR, NVME_IO_WRITE, false},
};

static void check_row(const struct row *row)
{
	struct multipath_info i;
	int r;

	setup();
	memset(memory, 0, sizeof(memory));
	start(1);
	fail_with(row->status, row->opcode, 2);
	r = run_pair();
	cr_expect_eq(r, row->again ? 0 : -EIO, "%s: %d %s", row->name, r, err.text);
	cr_expect_eq(fake_controller_commands(&fakes[0]), row->again ? 6 : 2, "%s: %u commands", row->name,
		     fake_controller_commands(&fakes[0]));
	cr_expect_eq(fakes[0].alone, 0, "%s", row->name);
	cr_expect_eq(memory[8 * 512], row->again, "%s", row->name);
	i = info_closed(0);
	cr_expect_eq(i.commands, 2, "%s", row->name);
	cr_expect_eq(i.resubmitted, row->again ? 4 : 0, "%s", row->name);
	cr_expect_eq(i.retries[0].count, row->again ? 2 : 0, "%s", row->name);
	cr_expect_eq(i.reconnects, 0, "%s", row->name);
	stop();
}

Test(multipath_pair, statuses)
{
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
		check_row(&rows[k]);
}

Test(multipath_pair, not_for_ever)
{
	start(1);
	fail_with(NVME_ST_INTERRUPTED, NVME_IO_COMPARE, 0);
	cr_assert_eq(run_pair(), -EIO);
	cr_assert_eq(first.io.status, NVME_ST_INTERRUPTED);
	cr_assert(strstr(err.text, "Compare"), "%s", err.text);
	expect_pairs(1 + MULTIPATH_RETRIES);
	stop();
}

Test(multipath_pair, by_another_path_as_a_pair)
{
	start(2);
	fail_with(NVME_ST_PATH_INTERNAL, NVME_IO_COMPARE, 0);
	cr_assert_eq(run_pair(), 0, "%s", err.text);
	expect_memory(1);
	expect_pairs(1);
	cr_assert_eq(fake_controller_commands(&fakes[1]), 2);
	cr_assert_eq(fakes[1].alone, 0);
	stop();
}

Test(multipath_pair, waits_for_a_path_no_longer_than_others)
{
	options.ctrl_loss_ms = 1000;
	fakes[0].ana = true;
	start(1);
	fail_with(NVME_ST_ANA_INACCESSIBLE, NVME_IO_WRITE, 0);
	cr_assert_eq(run_pair(), -EIO);
	cr_assert_eq(second.io.status, NVME_ST_ANA_INACCESSIBLE);
	expect_memory(0);
	cr_assert_geq(fake_controller_commands(&fakes[0]), 4);
	cr_assert_eq(fakes[0].alone, 0);
	stop();
}

/* ---- lost connections ---- */

/* The so many-th half is executed, and not answered. */
static void expect_unknown(unsigned int cut_at)
{
	start(1);
	fake_controller_set(&fakes[0], cut_at, cut_at);
	cr_assert_lt(run_pair(), 0);
	cr_assert(strstr(err.text, "is not known"), "%s", err.text);
	cr_assert(first.io.finished && second.io.finished && second.io.lost);
	expect_run(NVME_IO_READ); /* the path is back */
	cr_assert_leq(fake_controller_commands(&fakes[0]), 2 + IOS);
	cr_assert_eq(info(0).reconnects, 1);
	stop();
}

Test(multipath_pair, lost_before_the_first_answer)
{
	expect_unknown(1); /* the second may have been on its way, and executed, or not */
}
Test(multipath_pair, lost_before_the_second_answer)
{
	expect_unknown(2);
	expect_memory(1);
}

/* ---- a real target ---- */

#define PAIRS 48 /* more than one connection may have under way: some come back as interrupted */

static struct path_io pairs[PAIRS][2];
static uint8_t zeroes[NS_BLOCK] __attribute__((aligned(8))), ones[NS_BLOCK] __attribute__((aligned(8)));
static unsigned int good;

static void pair_finished(struct path_io *io)
{
	cr_assert_eq(lane_pair_check(lane, io, io + 1, &err), 0, "%s", err.text);
	good++;
}

Test(multipath_pair, more_than_the_target_takes_at_once)
{
	uint64_t resubmitted = 0;
	struct fixture f;
	char text[32];

	fixture_start(&f, 1, 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", f.port);
	cr_assert_eq(initiator_addr_parse(text, 0, &options.addrs[0], &err), 0);
	strcpy(options.target.subnqn, TEST_SUBNQN);
	strcpy(options.target.hostnqn, TEST_HOSTNQN);
	options.n_addrs = 1;
	options.nsids[0] = NS_FILE;
	cr_assert_eq(multipath_open(&options, &m, &err), 0, "%s", err.text);
	memset(ones, 1, sizeof(ones));
	for (unsigned int round = 0; round < 50 && !resubmitted; round++) {
		cr_assert_eq(lane_open(m, 0, 2 * PAIRS, 0, &lane, &err), 0, "%s", err.text);
		good = 0;
		for (unsigned int k = 0; k < PAIRS; k++) {
			make_pair(&pairs[k][0], &pairs[k][1], round * PAIRS + k, zeroes, ones);
			for (unsigned int h = 0; h < 2; h++) {
				pairs[k][h].io.sqe =
					nvme_sqe_rw(pairs[k][h].io.sqe.opcode, 0, NS_FILE, round * PAIRS + k, 1);
				pairs[k][h].io.len = NS_BLOCK;
			}
			pairs[k][1].done = NULL;
			pairs[k][0].done = pair_finished;
			cr_assert_eq(lane_submit_pair(lane, &pairs[k][0], &pairs[k][1]), 0);
		}
		while (lane_outstanding(lane))
			cr_assert_eq(lane_poll(lane, true, &err), 0, "%s", err.text);
		cr_assert_eq(good, PAIRS);
		resubmitted = info_closed(0).resubmitted;
	}
	cr_assert_gt(resubmitted, 0, "the target took all pairs at once: this test shows nothing");
	cr_assert_eq(info(0).reconnects, 0);
	multipath_close(m);
	fixture_stop(&f);
}
