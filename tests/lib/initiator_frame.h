/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of tests of one initiator queue against one fake target: included by each such test program, which so has
 * its own copies. A test starts a script, runs commands, and ends with stop(), expect_term() or fake_stop().
 */
#ifndef TESTS_INITIATOR_FRAME_H
#define TESTS_INITIATOR_FRAME_H

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "fake_target.h"
#include "storage/initiator_internal.h"

#define DEPTH	   8
#define IN_CAPSULE 8192
#define BIG	   (1 << 20)

static struct fake fake;
static struct initiator_queue *q;
static struct error err;
static uint8_t buffer[BIG], remote[BIG], truth[BIG];

/* .init of the suite */
__attribute__((unused)) static void frame_setup(void)
{
	for (size_t i = 0; i < BIG; i++)
		truth[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + 1);
}

__attribute__((unused)) static void start_with(struct initiator_options options)
{
	int r = queue_connect(&options, 1, DEPTH, IN_CAPSULE, &q, &err);

	cr_assert_eq(r, 0, "%s", err.text);
}

__attribute__((unused)) static void start(void (*script)(struct fake *))
{
	fake_start(&fake, script);
	start_with(fake_options(&fake));
}

__attribute__((unused)) static void start_digests(void (*script)(struct fake *))
{
	struct initiator_options options;

	fake_start(&fake, script);
	options = fake_options(&fake);
	options.header_digest = options.data_digest = true;
	start_with(options);
}

__attribute__((unused)) static void stop(void)
{
	initiator_queue_close(q);
	fake_stop(&fake);
	cr_assert(!fake.failed, "the script met something unexpected");
}

__attribute__((unused)) static struct initiator_io read_io(uint32_t len)
{
	return (struct initiator_io){.sqe = nvme_sqe_rw(NVME_IO_READ, 0, 1, 0, len / 512), .data = buffer, .len = len};
}

__attribute__((unused)) static struct initiator_io write_io(uint32_t len)
{
	return (struct initiator_io){.sqe = nvme_sqe_rw(NVME_IO_WRITE, 0, 1, 0, len / 512), .data = truth, .len = len};
}

/* Runs io, which must end the connection in this way. */
__attribute__((unused)) static void expect_fatal(struct initiator_io io, int errnum, const char *words)
{
	int r = initiator_queue_execute(q, &io, &err);

	cr_assert_eq(r, -errnum, "%d: %s", r, err.text);
	cr_assert(strstr(err.text, words), "%s", err.text);
	cr_assert(strstr(err.text, "127.0.0.1"), "no place in: %s", err.text);
	cr_assert(io.finished);
	cr_assert_eq(initiator_queue_outstanding(q), 0);
	cr_assert_eq(initiator_queue_submit(q, &io), -ENOTCONN);
}

__attribute__((unused)) static void expect_term(uint16_t fes, uint32_t fei)
{
	__le32 got;

	stop();
	memcpy(&got, &fake.term.fei, sizeof(got));
	cr_assert_eq(le16toh(fake.term.fes), fes, "FES %u", le16toh(fake.term.fes));
	cr_assert_eq(le32toh(got), fei, "FEI %u", le32toh(got));
}

__attribute__((unused)) static void expect_fine(struct initiator_io io)
{
	cr_assert_eq(initiator_queue_execute(q, &io, &err), 0, "%s", err.text);
	if (io.sqe.opcode == NVME_IO_READ)
		cr_assert_arr_eq(buffer, truth, io.len);
}

#endif
