// SPDX-License-Identifier: Apache-2.0
/*
 * Commands that are not answered in time are called back: aborted, and sent again or given back; only a controller that
 * does not answer after an Abort either loses its connection. And the library's Abort itself.
 */
#include "paths_frame.h"

TestSuite(multipath_abort, .init = setup, .timeout = 60);

#define TIMEOUT_MS 1000

static void start_hanging(unsigned int paths, unsigned int commands, uint8_t opcode)
{
	options.target.timeout_ms = TIMEOUT_MS;
	start(paths);
	fakes[0].hang_opcode = opcode;
	fake_controller_set(&fakes[0], hang, commands);
}

/* The path's thread hears of the Abort's answer when it does: perhaps after the lane of the command's. */
static void expect_aborted(unsigned int n)
{
	for (unsigned int k = 0; info(0).aborted < n; k++) {
		cr_assert_lt(k, 5000, "%u", (unsigned int)info(0).aborted);
		usleep(1000);
	}
	cr_assert_eq(info(0).aborted, n);
}

Test(multipath_abort, called_back_and_sent_again)
{
	start_hanging(1, 1, NVME_IO_WRITE);
	write_and_read(1);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * IOS + 1);
	cr_assert_eq(fakes[0].aborts, 1);
	cr_assert_eq(info(0).aborts, 1);
	expect_aborted(1);
	cr_assert_eq(info(0).reconnects, 0);
	lane_close(lane); /* its counts are the path's from then on */
	lane = NULL;
	cr_assert_eq(info(0).resubmitted, 1);
	cr_assert(info(0).retries[0].status == NVME_ST_ABORTED && info(0).retries[0].count == 1);
	stop();
}

/* More than the controller takes Aborts at a time, which is one. */
Test(multipath_abort, all_of_a_queue)
{
	start_hanging(1, DEPTH, 0);
	write_and_read(2);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * IOS + DEPTH);
	cr_assert_eq(info(0).aborts, DEPTH);
	expect_aborted(DEPTH);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

Test(multipath_abort, by_another_path)
{
	start_hanging(2, 1, 0);
	cr_assert_eq(run(NVME_IO_READ, 1), 0, "%s", err.text);
	cr_assert_eq(ios[0].io.status, 0);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 1);
	cr_assert_eq(fake_controller_commands(&fakes[1]), 1);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

Test(multipath_abort, what_may_not_be_repeated_is_given_back)
{
	start_hanging(1, 1, 0);
	prepare(&ios[0], NVME_IO_COMPARE, 0);
	cr_assert_eq(lane_execute(lane, &ios[0], &err), -EIO);
	cr_assert_eq(ios[0].io.status, NVME_ST_ABORTED);
	cr_assert(ios[0].io.called_back);
	cr_assert(strstr(err.text, "not answered in time"), "%s", err.text);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 1);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

/* By an Abort that was meant for another one, which had the same identifier before. */
Test(multipath_abort, what_was_aborted_by_mistake_is_sent_again)
{
	start(1);
	fakes[0].io_status_left = 1;
	fake_controller_set(&fakes[0], io_status, NVME_ST_ABORTED);
	write_and_read(4);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2 * IOS + 1);
	cr_assert_eq(info(0).aborts, 0);
	stop();
}

Test(multipath_abort, not_for_ever)
{
	start_hanging(1, 100, 0);
	prepare(&ios[0], NVME_IO_READ, 0);
	cr_assert_eq(lane_execute(lane, &ios[0], &err), -EIO);
	cr_assert_eq(ios[0].io.status, NVME_ST_ABORTED);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 1 + MULTIPATH_RETRIES);
	expect_aborted(1 + MULTIPATH_RETRIES);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

Test(multipath_abort, an_answer_that_comes_after_all_counts)
{
	fakes[0].abort = ABORT_LATE;
	start_hanging(1, 1, 0);
	memset(memory, 7, XFER);
	prepare(&ios[0], NVME_IO_READ, 0);
	cr_assert_eq(lane_execute(lane, &ios[0], &err), 0, "%s", err.text);
	cr_assert_eq(data[0][XFER - 1], 7);
	cr_assert_geq(ios[0].io.finished_ns - ios[0].io.submitted_ns, TIMEOUT_MS * 1000000ull);
	cr_assert_eq(info(0).aborts, 1);
	cr_assert_eq(info(0).aborted, 0);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

/* What cannot be aborted, and is not answered either: as before there were Aborts. */
Test(multipath_abort, then_the_connection_is_lost)
{
	uint64_t before;
	double seconds;

	fakes[0].abort = ABORT_REFUSED;
	start_hanging(1, 1, 0);
	before = time_now_ns();
	write_and_read(3);
	seconds = (double)(time_now_ns() - before) / 1e9;
	cr_assert_geq(seconds, 2 * TIMEOUT_MS / 1000.0);
	cr_assert_eq(info(0).aborts, 1);
	cr_assert_eq(info(0).aborted, 0);
	cr_assert_eq(info(0).reconnects, 1);
	stop();
}

Test(multipath_abort, why_it_was_lost_is_said)
{
	options.ctrl_loss_ms = 0;
	fakes[0].abort = ABORT_REFUSED;
	start_hanging(1, 1, 0);
	prepare(&ios[0], NVME_IO_READ, 0);
	cr_assert_eq(lane_execute(lane, &ios[0], &err), -ETIMEDOUT, "%s", err.text);
	cr_assert(strstr(info(0).why.text, "nor after an Abort"), "%s", info(0).why.text);
	stop();
}

/* ---- pairs ---- */

static struct path_io first, second;

static int run_pair(void)
{
	memset(data[0], 0, XFER);
	memset(data[1], 1, XFER);
	prepare(&first, NVME_IO_COMPARE, 0);
	prepare(&second, NVME_IO_WRITE, 0);
	second.io.data = data[1];
	return lane_execute_pair(lane, &first, &second, &err);
}

Test(multipath_abort, a_pair_whose_first_half_is_aborted_is_sent_again)
{
	start_hanging(1, 1, NVME_IO_COMPARE);
	cr_assert_eq(run_pair(), 0, "%s", err.text);
	cr_assert_eq(memory[XFER - 1], 1);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 4);
	cr_assert_eq(fakes[0].alone, 0);
	cr_assert_eq(info(0).reconnects, 0);
	stop();
}

/* Its data may be there in part. */
Test(multipath_abort, a_pair_whose_second_half_is_aborted_is_not)
{
	start_hanging(1, 1, NVME_IO_WRITE);
	cr_assert_eq(run_pair(), -EIO);
	cr_assert_eq(first.io.status, 0);
	cr_assert_eq(second.io.status, NVME_ST_ABORTED);
	cr_assert_eq(fake_controller_commands(&fakes[0]), 2);
	stop();
}

/* ---- the command itself ---- */

static struct initiator *controller;
static struct initiator_queue *queue;

static void open_controller(uint8_t at_once)
{
	fakes[0].aborts_at_once = at_once;
	fake_controller_start(&fakes[0]);
	options.target.addr = fakes[0].addr;
	cr_assert_eq(initiator_open(&options.target, &controller, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_queue_open(controller, 1, DEPTH, &queue, &err), 0, "%s", err.text);
}

static void close_controller(void)
{
	initiator_queue_close(queue);
	initiator_close(controller);
	fake_controller_away(&fakes[0]);
}

Test(multipath_abort, of_a_command_that_is_outstanding)
{
	bool aborted = false;

	open_controller(1);
	fake_controller_set(&fakes[0], hang, 1);
	prepare(&ios[0], NVME_IO_READ, 0);
	cr_assert_eq(initiator_queue_submit(queue, &ios[0].io), 0);
	while (!fake_controller_commands(&fakes[0]))
		cr_assert_eq(initiator_queue_poll(queue, true, &err), 0, "%s", err.text);
	cr_assert_eq(initiator_abort(controller, 1, (uint16_t)(le16toh(ios[0].io.sqe.cid) + 1), &aborted, &err), 0);
	cr_assert_not(aborted, "another one was");
	cr_assert_eq(initiator_abort(controller, 1, le16toh(ios[0].io.sqe.cid), &aborted, &err), 0, "%s", err.text);
	cr_assert(aborted);
	while (!ios[0].io.finished)
		cr_assert_eq(initiator_queue_poll(queue, true, &err), 0, "%s", err.text);
	cr_assert_eq(ios[0].io.status, NVME_ST_ABORTED);
	close_controller();
}

Test(multipath_abort, no_more_at_once_than_the_controller_takes)
{
	static struct initiator_abort aborts[4];
	bool aborted;

	open_controller(3);
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int k = 0; k < 4; k++)
			cr_assert_eq(initiator_abort_submit(controller, &aborts[k], 1, (uint16_t)k),
				     k < 3 ? 0 : -EAGAIN, "%u", k);
		cr_assert_eq(initiator_abort(controller, 1, 9, &aborted, &err), -EAGAIN);
		cr_assert(strstr(err.text, "of 3 that the controller takes"), "%s", err.text);
		for (unsigned int k = 0; k < 3; k++)
			while (!aborts[k].io.finished)
				cr_assert_eq(initiator_queue_poll(initiator_admin(controller), true, &err), 0);
	}
	cr_assert_eq(fakes[0].aborts, 6);
	close_controller();
}
