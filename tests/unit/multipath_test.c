// SPDX-License-Identifier: Apache-2.0
/*
 * Paths that go and come back, against controllers that do so when they are told: what was under way is done once and
 * right, what may not be sent again is not, and a target that is another one than before gets no command.
 */
#include "paths_frame.h"
#include "storage/multipath_private.h"

TestSuite(multipath, .init = setup, .timeout = 60);

/* ---- pauses between attempts ---- */

Test(multipath, pauses)
{
	static const struct {
		uint32_t first_ms;
		unsigned int attempts;
		uint64_t ms;
	} rows[] = {{10, 0, 10},	  {10, 1, 20},	       {10, 3, 80},
		    {200, 5, 6400},	  {200, 6, 10000},     {200, 1000000, 10000},
		    {10000, 3, 10000},	  {60000, 0, 60000},   {60000, 9, 60000},
		    {UINT32_MAX, 0, UINT32_MAX}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned int quarter = 0; quarter <= 4; quarter++) {
			uint32_t random = (uint32_t)(UINT32_MAX / 4.0 * quarter);
			double least = rows[i].ms * (0.75 + 0.125 * quarter) - 1,
			       ms = (double)path_pause_ns(rows[i].first_ms, rows[i].attempts, random) / 1e6;

			cr_expect(ms >= least && ms <= least + 2, "%zu: %g of %g ms", i, ms, least);
		}
	}
}

/* ---- one path ---- */

Test(multipath, nothing_happens)
{
	start(1);
	write_and_read(1);
	cr_assert_eq(info(0).reconnects, 0);
	cr_assert_eq(info(0).state, PATH_LIVE);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * IOS);
	stop();
}

Test(multipath, reset_in_the_middle_of_a_write)
{
	start(1);
	fake_controller_set(&fakes[0], cut_at, 20);
	write_and_read(2);
	cr_assert_eq(info(0).reconnects, 1);
	stop();
}

Test(multipath, reset_in_the_middle_of_read_data)
{
	start(1);
	fill(3);
	expect_run(NVME_IO_WRITE);
	memset(data, 0, sizeof(data));
	fake_controller_set(&fakes[0], cut_at, 20);
	expect_run(NVME_IO_READ);
	expect_data(3);
	cr_assert_eq(info(0).reconnects, 1);
	stop();
}

static void *come_back(void *arg)
{
	usleep(300000); /* so that the first attempts are refused */
	fake_controller_back(arg);
	return NULL;
}

Test(multipath, away_for_a_while)
{
	pthread_t thread;

	start(1);
	write_and_read(4);
	fake_controller_away(&fakes[0]);
	cr_assert_eq(pthread_create(&thread, NULL, come_back, &fakes[0]), 0);
	write_and_read(5);
	pthread_join(thread, NULL);
	cr_assert_eq(info(0).reconnects, 1);
	stop();
}

/* How long a run takes that must fail. */
static double failing_run(int expected)
{
	uint64_t before = time_now_ns();
	int r = run(NVME_IO_READ, IOS);

	cr_assert_eq(r, -expected, "%d %s", r, err.text);
	cr_assert(*err.text);
	cr_assert_eq(lane_outstanding(lane), 0);
	cr_assert_eq(lane_submit(lane, &ios[0]), -ENOTCONN);
	return (double)(time_now_ns() - before) / 1e9;
}

/* It connects, and is of no use: as good as away. Attempts grow rarer, and come to an end. */
Test(multipath, connects_without_queues_for_longer_than_the_limit)
{
	double seconds;

	options.ctrl_loss_ms = 1500;
	start(1);
	write_and_read(6);
	fake_controller_set(&fakes[0], refuses_queues, true);
	fake_controller_cut(&fakes[0]);
	seconds = failing_run(EIO);
	cr_assert(seconds >= 1 && seconds < 10, "%g s", seconds);
	cr_assert(strstr(err.text, "Connect"), "%s", err.text);
	cr_assert_eq(info(0).state, PATH_LOST);
	cr_assert_leq(fakes[0].connects, 2 + 2 * 10, "%u", fakes[0].connects); /* after 10, 20, 40 .. ms */
	stop();
}

static void *admit(void *arg)
{
	usleep(300000); /* so that it was refused more than once */
	fake_controller_set((struct fake_controller *)arg, refuses_queues, false);
	return NULL;
}

Test(multipath, connects_without_queues_for_a_while)
{
	pthread_t thread;

	start(1);
	write_and_read(7);
	fake_controller_set(&fakes[0], refuses_queues, true);
	fake_controller_cut(&fakes[0]);
	cr_assert_eq(pthread_create(&thread, NULL, admit, &fakes[0]), 0);
	write_and_read(8);
	pthread_join(thread, NULL);
	cr_assert_gt(info(0).reconnects, 1);
	stop();
}

Test(multipath, away_for_longer_than_the_limit)
{
	double seconds;

	options.ctrl_loss_ms = 500;
	start(1);
	fake_controller_away(&fakes[0]);
	seconds = failing_run(ECONNREFUSED);
	cr_assert(seconds > 0.4 && seconds < 5, "%g s", seconds);
	cr_assert_eq(info(0).state, PATH_LOST);
	for (unsigned int k = 0; k < DEPTH; k++)
		cr_assert(ios[k].io.finished && ios[k].io.error, "%u", k);
	options.n_addrs = 0;
	stop();
}

Test(multipath, no_limit_means_at_once)
{
	double seconds;

	options.ctrl_loss_ms = 0;
	start(1);
	fake_controller_set(&fakes[0], cut_at, 3);
	seconds = failing_run(ECONNRESET);
	cr_assert(seconds < 0.9, "%g s", seconds);
	cr_assert_eq(fakes[0].connects, 2);
	stop();
}

Test(multipath, a_command_is_not_sent_for_ever)
{
	start(1);
	fake_controller_set(&fakes[0], cut_always, true);
	cr_assert_eq(run(NVME_IO_READ, 1), 0, "%s", err.text);
	cr_assert(ios[0].io.error);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 1 + MULTIPATH_RETRIES);
	fake_controller_set(&fakes[0], cut_always, false);
	write_and_read(6);
	stop();
}

static void expect_not_repeated(struct nvme_sqe sqe)
{
	unsigned int before = fake_controller_commands(&fakes[0]);

	fake_controller_set(&fakes[0], cut_at, 1);
	prepare(&ios[0], NVME_IO_COMPARE, 0);
	ios[0].io.sqe = sqe;
	cr_assert_lt(lane_execute(lane, &ios[0], &err), 0);
	cr_assert(ios[0].io.lost);
	cr_assert_eq(fake_controller_commands(&fakes[0]), before + 1);
}

Test(multipath, what_may_not_be_repeated_is_not)
{
	struct nvme_sqe fused = nvme_sqe_rw(NVME_IO_WRITE, 0, 1, 0, XFER / 512);

	start(1);
	expect_not_repeated(nvme_sqe_rw(NVME_IO_COMPARE, 0, 1, 0, XFER / 512));
	write_and_read(7);
	fused.flags |= NVME_SQE_FUSE_SECOND;
	expect_not_repeated(fused);
	write_and_read(8);
	cr_assert_eq(info(0).reconnects, 2);
	stop();
}

/* ---- another one than before ---- */

static void expect_stranger(const char *word)
{
	unsigned int commands = fake_controller_commands(&fakes[0]);

	fake_controller_cut(&fakes[0]);
	failing_run(ESTALE);
	cr_assert(strstr(err.text, word), "%s", err.text);
	cr_assert_eq(fake_controller_commands(&fakes[0]), commands);
	cr_assert_eq(info(0).state, PATH_LOST);
	stop();
}

Test(multipath, another_namespace_is_refused)
{
	start(1);
	fake_controller_set(&fakes[0], identity, "nqn.2026-11.io.example:other");
	expect_stranger("UUID");
}

Test(multipath, another_subsystem_is_refused)
{
	start(1);
	fake_controller_set(&fakes[0], subnqn, "nqn.2026-11.io.example:other");
	expect_stranger("subsystem");
}

Test(multipath, paths_to_different_data_are_refused)
{
	for (unsigned int k = 0; k < 2; k++) {
		fake_controller_start(&fakes[k]);
		options.addrs[k] = fakes[k].addr;
	}
	options.n_addrs = 2;
	fakes[1].identity = "nqn.2026-11.io.example:other";
	cr_assert_eq(multipath_open(&options, &m, &err), -ESTALE, "%s", err.text);
	lane = NULL;
	m = NULL;
	stop();
}

/* ---- two paths ---- */

Test(multipath, the_first_of_two_is_used)
{
	start(2);
	write_and_read(9);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * IOS);
	cr_assert_eq(fake_controller_commands(&fakes[1]), 0);
	stop();
}

Test(multipath, round_robin_takes_turns)
{
	options.round_robin = true;
	start(2);
	write_and_read(10);
	cr_assert_eq(fake_controller_commands(&fakes[0]), IOS);
	cr_assert_eq(fake_controller_commands(&fakes[1]), IOS);
	stop();
}

Test(multipath, a_lost_path_hands_over_and_comes_back)
{
	start(2);
	fake_controller_set(&fakes[0], cut_at, 20);
	write_and_read(11);
	fake_controller_away(&fakes[0]);
	expect_moves_to(1, 12);
	fake_controller_back(&fakes[0]);
	expect_moves_to(0, 13);
	stop();
}

Test(multipath, both_are_lost_in_turns)
{
	options.round_robin = true;
	start(2);
	for (unsigned int k = 0; k < 6; k++) {
		fake_controller_set(&fakes[k % 2], cut_at, 7);
		write_and_read((uint8_t)(14 + k));
	}
	stop();
}

Test(multipath, optimized_before_non_optimized)
{
	fakes[0].ana = fakes[1].ana = true;
	fakes[0].state = NVME_ANA_NON_OPTIMIZED;
	start(2);
	write_and_read(20);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 0);
	cr_assert_eq(info(0).ana[0], NVME_ANA_NON_OPTIMIZED);
	fake_controller_ana(&fakes[0], NVME_ANA_OPTIMIZED);
	fake_controller_ana(&fakes[1], NVME_ANA_INACCESSIBLE);
	expect_moves_to(0, 21);
	fake_controller_ana(&fakes[0], NVME_ANA_PERSISTENT_LOSS);
	fake_controller_ana(&fakes[1], NVME_ANA_NON_OPTIMIZED);
	expect_moves_to(1, 22);
	stop();
}

/* A path's status and no event: the log is read again because of it. */
static void expect_status_moves(uint16_t status)
{
	unsigned int logs;

	fakes[0].ana = fakes[1].ana = true;
	start(2);
	write_and_read(23);
	logs = fakes[0].logs;
	fake_controller_set(&fakes[0], state, NVME_ANA_INACCESSIBLE);
	fake_controller_set(&fakes[0], io_status, status);
	expect_moves_to(1, 24);
	cr_assert_gt(fakes[0].logs, logs);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

Test(multipath, ana_status_moves_to_the_other_path)
{
	expect_status_moves(0x302);
}

Test(multipath, internal_path_error_moves_to_the_other_path)
{
	expect_status_moves(NVME_ST_PATH_INTERNAL);
}

Test(multipath, other_statuses_are_the_callers)
{
	start(2);
	fake_controller_set(&fakes[0], io_status, NVME_ST_READ_ERROR);
	cr_assert_eq(run(NVME_IO_READ, 1), 0);
	cr_assert_eq(ios[0].io.status & NVME_STATUS_CODE, NVME_ST_READ_ERROR);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 1);
	cr_assert_eq(fake_controller_commands(&fakes[1]), 0);
	stop();
}

static void *become_accessible(void *arg)
{
	usleep(200000); /* so that commands wait */
	fake_controller_ana(arg, NVME_ANA_OPTIMIZED);
	return NULL;
}

Test(multipath, commands_wait_out_a_change_of_state)
{
	pthread_t thread;

	fakes[0].ana = true;
	fakes[0].state = NVME_ANA_CHANGE;
	start(1);
	cr_assert_eq(pthread_create(&thread, NULL, become_accessible, &fakes[0]), 0);
	write_and_read(25);
	pthread_join(thread, NULL);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

/* ---- the log, cut anywhere ---- */

Test(multipath, ana_log_cut_at_every_byte)
{
	uint8_t log[16 + 32 + 32 + 4] = {9, [8] = 2, [16] = 1, [32] = 1, [48] = 2, [52] = 1, [64] = 0xf2, [80] = 7};
	uint8_t state = 0;
	size_t need;

	for (size_t len = 0; len < sizeof(log); len++) {
		cr_assert_eq(nvme_ana_find(log, len, 7, &state, &need), -EAGAIN, "%zu", len);
		cr_assert(need > len && need <= sizeof(log), "%zu: %zu", len, need);
	}
	cr_assert_eq(nvme_ana_find(log, sizeof(log), 7, &state, &need), 0);
	cr_assert_eq(state, NVME_ANA_NON_OPTIMIZED);
	cr_assert_eq(nvme_ana_find(log, sizeof(log), 8, &state, &need), -ENOENT);
	memset(log + 52, 0xff, 4);
	cr_assert_eq(nvme_ana_find(log, sizeof(log), 7, &state, &need), -EPROTO);
}

/* ---- limits ---- */

Test(multipath, what_both_controllers_take)
{
	struct nvme_dsm_limits limits;

	fakes[0].limits = (struct nvme_id_ctrl_nvm){.dmrl = 8, .dmrsl = htole32(100)};
	fakes[1].limits = (struct nvme_id_ctrl_nvm){.dmrl = 16, .dmrsl = htole32(50), .dmsl = htole64(1000)};
	start(2);
	limits = multipath_dsm_limits(m);
	cr_assert(limits.ranges == 8 && limits.range_blocks == 50 && limits.blocks == 1000);
	stop();
}

Test(multipath, a_controller_that_names_no_limits_has_none)
{
	struct nvme_dsm_limits limits;

	fakes[0].no_csi = true;
	start(1);
	limits = multipath_dsm_limits(m);
	cr_assert(limits.ranges == 256 && limits.range_blocks == UINT32_MAX && limits.blocks == UINT64_MAX);
	write_and_read(9);
	stop();
}
