// SPDX-License-Identifier: Apache-2.0
/*
 * What comes back with a status that passes is sent again, as often, where and when the specification says; what does
 * not pass is the caller's at once. A controller that falls silent is noticed by its keep-alive.
 */
#include "nvme/retry.h"
#include "paths_frame.h"

TestSuite(multipath_retry, .init = setup, .timeout = 60);

/* ---- the table ---- */

static const uint16_t crdt[3] = {2, 30, 65535};

#define CRD(n) ((n) << 11)

Test(multipath_retry, statuses)
{
	static const struct {
		uint16_t status;
		unsigned int attempts;
		enum nvme_retry_where where;
		uint32_t pause_ms;
	} rows[] = {
		{NVME_ST_SUCCESS, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_SUCCESS | CRD(1), 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_DATA_TRANSFER, 0, NVME_RETRY_HERE, 0},
		{NVME_ST_POWER_LOSS, 0, NVME_RETRY_ELSEWHERE, 0},
		{NVME_ST_INTERNAL, 0, NVME_RETRY_HERE, 20},
		{NVME_ST_INTERNAL, 2, NVME_RETRY_HERE, 80},
		{NVME_ST_INTERNAL, 100, NVME_RETRY_HERE, 640},
		{NVME_ST_INTERNAL | NVME_STATUS_DNR, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_INTERNAL | NVME_STATUS_MORE, 0, NVME_RETRY_HERE, 20},
		{NVME_ST_ABORTED, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_ABORTED_SQ_DELETED, 0, NVME_RETRY_ELSEWHERE, 0},
		{NVME_ST_FUSED_FAILED, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_FUSED_MISSING, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_ABORTED_PREEMPT, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_INVALID_FIELD, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_INTERRUPTED, 0, NVME_RETRY_HERE, 1},
		{NVME_ST_INTERRUPTED | CRD(1), 0, NVME_RETRY_HERE, 200},
		{NVME_ST_INTERRUPTED | CRD(2), 4, NVME_RETRY_HERE, 3000},
		{NVME_ST_INTERRUPTED | CRD(3), 0, NVME_RETRY_HERE, 6553500},
		{NVME_ST_INTERRUPTED | CRD(1) | NVME_STATUS_DNR, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_TRANSIENT_TRANSPORT, 2, NVME_RETRY_HERE, 0},
		{NVME_ST_TRANSIENT_TRANSPORT, 3, NVME_RETRY_ELSEWHERE, 0},
		{NVME_ST_NS_NOT_READY, 0, NVME_RETRY_HERE, 50},
		{NVME_ST_NS_NOT_READY | CRD(1), 0, NVME_RETRY_HERE, 200},
		{NVME_ST_RESERVATION_CONFLICT, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_READ_ERROR, 0, NVME_RETRY_NEVER, 0},
		{NVME_ST_READ_ERROR | CRD(1), 0, NVME_RETRY_HERE, 200},
		{NVME_ST_PATH_INTERNAL, 0, NVME_RETRY_ELSEWHERE, 0},
		{NVME_ST_PATH_INTERNAL | CRD(1), 0, NVME_RETRY_ELSEWHERE, 0},
		{NVME_ST_ANA_PERSISTENT_LOSS, 0, NVME_RETRY_ANA, 0},
		{NVME_ST_ANA_INACCESSIBLE, 0, NVME_RETRY_ANA, 0},
		{NVME_ST_ANA_TRANSITION, 9, NVME_RETRY_ANA, 0},
		{NVME_ST_ANA_TRANSITION | NVME_STATUS_DNR, 0, NVME_RETRY_NEVER, 0},
		{0x360, 0, NVME_RETRY_ELSEWHERE, 0},
		{NVME_ST_HOST_ABORTED, 0, NVME_RETRY_ELSEWHERE, 0},
	};

	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		struct nvme_retry got = nvme_retry_of(rows[k].status, rows[k].attempts, crdt);

		cr_expect_eq(got.where, rows[k].where, "%zu: 0x%x", k, rows[k].status);
		cr_expect_eq(got.pause_ms, rows[k].pause_ms, "%zu: 0x%x: %u", k, rows[k].status, got.pause_ms);
	}
}

Test(multipath_retry, without_delay_times_the_field_says_nothing)
{
	static const uint16_t none[3];

	cr_expect_eq(nvme_retry_of(NVME_ST_READ_ERROR | CRD(1), 0, none).where, NVME_RETRY_NEVER);
	cr_expect_eq(nvme_retry_of(NVME_ST_INTERRUPTED | CRD(1), 0, none).pause_ms, 1);
}

/* ---- on the way ---- */

static uint64_t retried(unsigned int path, uint16_t status)
{
	struct multipath_info i;
	uint64_t n = 0;

	lane_close(lane); /* its counts are the path's from then on */
	lane = NULL;
	i = info(path);
	for (unsigned int k = 0; k < MULTIPATH_STATUSES; k++)
		n += i.retries[k].status == status ? i.retries[k].count : 0;
	return n;
}

static void expect_passes(uint16_t status)
{
	start(1);
	fakes[0].io_status_left = 3;
	fake_controller_set(&fakes[0], io_status, status);
	write_and_read(1);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * IOS + 3);
	cr_assert_eq(info(0).reconnects, 0);
	cr_assert_eq(retried(0, status), 3);
	stop();
}

Test(multipath_retry, interrupted_passes)
{
	expect_passes(NVME_ST_INTERRUPTED);
}
Test(multipath_retry, not_ready_passes)
{
	expect_passes(NVME_ST_NS_NOT_READY);
}
Test(multipath_retry, internal_error_passes)
{
	expect_passes(NVME_ST_INTERNAL);
}
Test(multipath_retry, transient_transport_error_passes)
{
	expect_passes(NVME_ST_TRANSIENT_TRANSPORT);
}

static void expect_given_back(uint16_t status, unsigned int sent)
{
	start(1);
	fake_controller_set(&fakes[0], io_status, status);
	cr_assert_eq(run(NVME_IO_READ, 1), 0, "%s", err.text);
	cr_assert_eq(ios[0].io.status, status, "0x%x", ios[0].io.status);
	cr_assert_eq(fake_controller_commands(&fakes[0]), sent);
	cr_assert_eq(retried(0, status & NVME_STATUS_CODE), sent - 1);
	stop();
}

Test(multipath_retry, not_for_ever)
{
	expect_given_back(NVME_ST_NS_NOT_READY, 1 + MULTIPATH_RETRIES);
}
Test(multipath_retry, nor_by_a_path_of_its_own)
{
	expect_given_back(NVME_ST_PATH_INTERNAL, 1 + MULTIPATH_RETRIES);
}
Test(multipath_retry, not_with_dnr)
{
	expect_given_back(NVME_ST_INTERRUPTED | NVME_STATUS_DNR, 1);
}

Test(multipath_retry, fused_commands_are_the_callers)
{
	start(1);
	fake_controller_set(&fakes[0], io_status, NVME_ST_INTERRUPTED);
	prepare(&ios[0], NVME_IO_COMPARE, 0);
	ios[0].io.sqe.flags |= NVME_SQE_FUSE_FIRST;
	cr_assert_eq(lane_execute(lane, &ios[0], &err), -EIO);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 1);
	stop();
}

/* Both halves say when they were sent, as any command does. */
Test(multipath_retry, pairs_are_timed)
{
	uint64_t before = time_now_ns();

	start(1);
	fake_controller_set(&fakes[0], io_status, NVME_ST_INTERNAL | NVME_STATUS_DNR);
	prepare(&ios[0], NVME_IO_COMPARE, 0);
	prepare(&ios[1], NVME_IO_WRITE, 0);
	cr_assert_eq(lane_execute_pair(lane, &ios[0], &ios[1], &err), -EIO, "%s", err.text);
	for (unsigned int k = 0; k < 2; k++) {
		cr_expect_geq(ios[k].io.submitted_ns, before, "%u: %llu", k, (unsigned long long)ios[k].io.submitted_ns);
		cr_expect_leq(ios[k].io.submitted_ns, ios[k].io.finished_ns);
	}
	stop();
}

/* ---- delays that the controller names ---- */

static double timed_run(void)
{
	uint64_t before = time_now_ns();

	cr_assert_eq(run(NVME_IO_READ, 1), 0, "%s", err.text);
	return (double)(time_now_ns() - before) / 1e9;
}

Test(multipath_retry, the_controller_names_the_delay)
{
	double seconds;

	fakes[0].crdt = 4;
	fakes[0].acre = 0xff;
	start(1);
	cr_assert_eq(fakes[0].acre, NVME_BEHAVIOR_ACRE, "%x", fakes[0].acre);
	fakes[0].io_status_left = 2;
	fake_controller_set(&fakes[0], io_status, NVME_ST_INTERRUPTED | CRD(2));
	seconds = timed_run();
	cr_assert_eq(ios[0].io.status, 0);
	cr_assert(seconds >= 0.8 && seconds < 5, "%g s", seconds);
	stop();
}

Test(multipath_retry, a_controller_without_delays_is_not_asked)
{
	fakes[0].acre = 0xff;
	start(1);
	cr_assert_eq(fakes[0].acre, 0xff);
	fakes[0].io_status_left = 1;
	fake_controller_set(&fakes[0], io_status, NVME_ST_INTERRUPTED | CRD(2));
	cr_assert_lt(timed_run(), 2);
	stop();
}

Test(multipath_retry, a_delay_beyond_all_patience_is_the_callers)
{
	options.ctrl_loss_ms = 500;
	fakes[0].crdt = 600;
	start(1);
	fake_controller_set(&fakes[0], io_status, NVME_ST_INTERRUPTED | CRD(1));
	cr_assert_lt(timed_run(), 2);
	cr_assert_eq(ios[0].io.status & NVME_STATUS_CODE, NVME_ST_INTERRUPTED);
	stop();
}

/* While one command waits, others go on, and the lane does not spin. */
Test(multipath_retry, who_waits_holds_up_nobody)
{
	fakes[0].crdt = 5;
	options.round_robin = true;
	start(2);
	fakes[0].io_status_left = 1;
	fake_controller_set(&fakes[0], io_status, NVME_ST_INTERRUPTED | CRD(1));
	prepare(&ios[IOS - 1], NVME_IO_READ, IOS - 1);
	cr_assert_eq(lane_submit(lane, &ios[IOS - 1]), 0);
	while (fake_controller_commands(&fakes[0]) < 1)
		cr_assert_eq(lane_poll(lane, true, &err), 0);
	cr_assert_eq(run(NVME_IO_READ, IOS - 2), 0);
	cr_assert(!ios[IOS - 1].io.finished, "the others took longer than its pause");
	while (!ios[IOS - 1].io.finished)
		cr_assert_eq(lane_poll(lane, true, &err), 0);
	cr_assert_eq(ios[IOS - 1].io.status, 0);
	stop();
}

/* ---- states that do not settle ---- */

Test(multipath_retry, an_answer_against_the_log_is_given_back_in_time)
{
	double seconds;

	options.ctrl_loss_ms = 1000;
	fakes[0].ana = true;
	start(1);
	fake_controller_set(&fakes[0], io_status, NVME_ST_ANA_TRANSITION);
	seconds = timed_run();
	cr_assert(seconds >= 1 && seconds < 10, "%g s", seconds);
	cr_assert_eq(ios[0].io.status, NVME_ST_ANA_TRANSITION);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

Test(multipath_retry, a_change_that_does_not_end_connects_again)
{
	fakes[0].ana = fakes[1].ana = true;
	fakes[0].anatt = 1;
	fakes[1].state = NVME_ANA_NON_OPTIMIZED;
	start(2);
	write_and_read(2);
	fake_controller_ana(&fakes[0], NVME_ANA_CHANGE);
	expect_moves_to(1, 3);
	for (unsigned int k = 0; !info(0).ana_timeouts; k++) {
		cr_assert_lt(k, 1000);
		usleep(10000); /* ANATT is in seconds, and the path's thread has no event for a test */
	}
	fake_controller_ana(&fakes[0], NVME_ANA_OPTIMIZED);
	expect_moves_to(0, 4);
	cr_assert_geq(info(0).reconnects, 1);
	cr_assert_eq(info(1).reconnects, 0);
	stop();
}

/* ---- keep-alive ---- */

#define KATO_MS 600

Test(multipath_retry, a_silent_controller_is_noticed_by_its_keep_alive)
{
	uint64_t before;
	double seconds;

	options.target.timeout_ms = 30000; /* of commands: much later */
	options.target.kato_ms = KATO_MS;
	options.reconnect_delay_ms = 60000;
	start(2);
	write_and_read(5);
	fake_controller_set(&fakes[0], mute, true);
	before = time_now_ns();
	write_and_read(6);
	seconds = (double)(time_now_ns() - before) / 1e9;
	cr_assert_lt(seconds, KATO_MS / 1000.0 + 0.6, "%g s", seconds); /* and what a loaded machine takes */
	cr_assert_eq(info(0).state, PATH_CONNECTING);
	cr_assert(strstr(info(0).why.text, "Keep Alive"), "%s", info(0).why.text);
	cr_assert_eq(info(1).state, PATH_LIVE);
	stop();
}

static void *find_words(void *arg)
{
	usleep(1000000); /* so that connecting again finds it silent, too */
	fake_controller_cut(arg);
	fake_controller_set((struct fake_controller *)arg, mute, false);
	return NULL;
}

Test(multipath_retry, a_silent_controller_is_connected_again)
{
	pthread_t thread;

	options.target.timeout_ms = 30000;
	options.target.kato_ms = KATO_MS;
	start(1);
	write_and_read(7);
	fake_controller_set(&fakes[0], mute, true);
	cr_assert_eq(pthread_create(&thread, NULL, find_words, &fakes[0]), 0);
	write_and_read(8);
	pthread_join(thread, NULL);
	cr_assert_eq(info(0).reconnects, 1);
	stop();
}

/* Admin commands come all the time here: a state that changes is looked at every half second. */
static unsigned int keep_alives_beside_admin_commands(uint16_t ctratt)
{
	unsigned int logs, n;

	fakes[0].ana = true;
	fakes[0].state = NVME_ANA_CHANGE;
	fakes[0].ctratt = ctratt;
	options.target.kato_ms = 2000;
	start(1);
	for (logs = 0; logs < 8; usleep(10000)) {
		pthread_mutex_lock(&fakes[0].lock);
		logs = fakes[0].logs;
		pthread_mutex_unlock(&fakes[0].lock);
	}
	n = fakes[0].keep_alives;
	stop();
	return n;
}

Test(multipath_retry, other_commands_do_not_replace_keep_alives)
{
	unsigned int n = keep_alives_beside_admin_commands(0);

	cr_assert_geq(n, 3, "%u", n);
}

Test(multipath_retry, but_do_where_any_traffic_counts)
{
	unsigned int n = keep_alives_beside_admin_commands(NVME_CTRATT_TBKAS);

	cr_assert_eq(n, 0, "%u", n);
}
