/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of tests of several paths against fake controllers: included by each such test program, which so has its
 * own copies. A test sets options and fakes[], starts so many of them with one lane, runs commands, and stops.
 */
#ifndef TESTS_PATHS_FRAME_H
#define TESTS_PATHS_FRAME_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "fake_controller.h"
#include "storage/multipath.h"

#define SUBNQN "nqn.2026-11.io.example:paths"
#define DEPTH  8
#define XFER   4096
#define IOS    64 /* of XFER bytes: less than the namespace */

static uint8_t memory[FAKE_BLOCKS * 512], data[IOS][XFER] __attribute__((aligned(8)));
static struct fake_controller fakes[2];
static struct multipath_options options;
static struct multipath *m;
static struct lane *lane;
static struct path_io ios[IOS];
static struct error err;

/* .init of the suite */
__attribute__((unused)) static void setup(void)
{
	options = (struct multipath_options){
		.target = {.subnqn = SUBNQN, .hostnqn = "nqn.2026-11.io.example:host", .timeout_ms = 5000},
		.queues = 1,
		.nsids = {1},
		.n_nsids = 1,
		.reconnect_delay_ms = 10,
		.ctrl_loss_ms = 20000,
	};
	for (unsigned int k = 0; k < ARRAY_SIZE(fakes); k++)
		fakes[k] = (struct fake_controller){
			.memory = memory, .subnqn = SUBNQN, .identity = SUBNQN, .state = NVME_ANA_OPTIMIZED};
}

__attribute__((unused)) static void start(unsigned int n)
{
	for (unsigned int k = 0; k < n; k++) {
		fake_controller_start(&fakes[k]);
		options.addrs[k] = fakes[k].addr;
	}
	options.n_addrs = n;
	cr_assert_eq(multipath_open(&options, &m, &err), 0, "%s", err.text);
	/* one more than run() takes, for a command of the test's own */
	cr_assert_eq(lane_open(m, 0, DEPTH + 1, 0, &lane, &err), 0, "%s", err.text);
}

__attribute__((unused)) static void stop(void)
{
	lane_close(lane);
	multipath_close(m);
	for (unsigned int k = 0; k < options.n_addrs; k++)
		fake_controller_away(&fakes[k]);
}

__attribute__((unused)) static struct multipath_info info(unsigned int path)
{
	struct multipath_info i;

	multipath_path_info(m, path, &i);
	return i;
}

__attribute__((unused)) static void prepare(struct path_io *io, uint8_t opcode, unsigned int k)
{
	*io = (struct path_io){
		.io = {.sqe = nvme_sqe_rw(opcode, 0, 1, k * (XFER / 512), XFER / 512), .data = data[k], .len = XFER}};
}

/* Commands 0 .. n - 1 of one kind, DEPTH at a time. */
__attribute__((unused)) static int run(uint8_t opcode, unsigned int n)
{
	unsigned int next = 0, done = 0;
	int r = 0;

	while (!r && done < n) {
		while (next < n && next - done < DEPTH) {
			prepare(&ios[next], opcode, next);
			r = lane_submit(lane, &ios[next]);
			if (r)
				return r;
			next++;
		}
		r = lane_poll(lane, true, &err);
		while (done < next && ios[done].io.finished)
			done++;
	}
	return r;
}

__attribute__((unused)) static void expect_run(uint8_t opcode)
{
	cr_assert_eq(run(opcode, IOS), 0, "%s", err.text);
	for (unsigned int k = 0; k < IOS; k++)
		cr_assert(!ios[k].io.error && !ios[k].io.status, "%u: %d %x", k, ios[k].io.error, ios[k].io.status);
}

__attribute__((unused)) static void fill(uint8_t salt)
{
	for (unsigned int k = 0; k < IOS; k++)
		memset(data[k], (int)(k + salt), XFER);
}

__attribute__((unused)) static void expect_data(uint8_t salt)
{
	for (unsigned int k = 0; k < IOS; k++)
		for (unsigned int b = 0; b < XFER; b++)
			cr_assert_eq(data[k][b], (uint8_t)(k + salt), "command %u, byte %u", k, b);
}

__attribute__((unused)) static void write_and_read(uint8_t salt)
{
	fill(salt);
	expect_run(NVME_IO_WRITE);
	memset(data, 0, sizeof(data));
	expect_run(NVME_IO_READ);
	expect_data(salt);
}

/* Runs until all of a run goes to one path. */
__attribute__((unused)) static void expect_moves_to(unsigned int path, uint8_t salt)
{
	unsigned int before[2], rounds = 0;

	do {
		cr_assert_lt(rounds++, 100);
		for (unsigned int k = 0; k < 2; k++)
			before[k] = fake_controller_commands(&fakes[k]);
		write_and_read(salt);
		usleep(10000); /* an event is on its way, and nothing here says when it has come */
	} while (fake_controller_commands(&fakes[path]) - before[path] != 2 * IOS ||
		 fake_controller_commands(&fakes[!path]) != before[!path]);
}

#endif
