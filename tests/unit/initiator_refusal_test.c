// SPDX-License-Identifier: Apache-2.0
/*
 * The initiator's queue against a fake target that answers wrongly. Each wrong answer must end in the expected error
 * and, where the specification asks for it, in an H2CTermReq with the right FES and FEI.
 */
#include "initiator_frame.h"

TestSuite(initiator_refusal, .init = frame_setup, .timeout = 30);

/* ---- wrong answers to a command, which the queue survives ---- */

static void script_wrong_data_digest(struct fake *f)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct nvme_sqe sqe;
	__le32 wrong = 0x12345678;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_write(f, buf, pdu_encode_c2h_data(buf, &f->framing, sqe.cid, 0, 512, PDU_F_LAST | PDU_F_SUCCESS));
	fake_write(f, truth, 512);
	fake_write(f, &wrong, sizeof(wrong));
	fake_command(f, &sqe, remote);
	fake_c2h(f, sqe.cid, 0, truth, 512, PDU_F_LAST | PDU_F_SUCCESS);
}

Test(initiator_refusal, wrong_data_digest_fails_the_command_only)
{
	struct initiator_io io = read_io(512);

	start_digests(script_wrong_data_digest);
	cr_assert_eq(initiator_queue_execute(q, &io, &err), -EBADMSG, "%s", err.text);
	cr_assert(strstr(err.text, "data digest"), "%s", err.text);
	expect_fine(read_io(512));
	stop();
}

static void script_success_without_data(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	for (int i = 0; i < 2; i++) {
		fake_command(f, &sqe, remote);
		fake_respond(f, sqe.cid, 0);
	}
}

Test(initiator_refusal, success_without_all_data_is_an_error)
{
	struct initiator_io io = read_io(512);

	start(script_success_without_data);
	cr_assert_eq(initiator_queue_execute(q, &io, &err), -EPROTO, "%s", err.text);
	io = write_io(IN_CAPSULE + 512);
	cr_assert_eq(initiator_queue_execute(q, &io, &err), -EPROTO, "%s", err.text);
	stop();
}

/* ---- wrong answers that end the connection ---- */

static void script_unknown_cid_data(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_c2h(f, htole16(le16toh(sqe.cid) + 1), 0, truth, 512, PDU_F_LAST);
	fake_expect_term(f);
}

Test(initiator_refusal, data_for_an_unknown_command)
{
	start(script_unknown_cid_data);
	expect_fatal(read_io(512), EPROTO, "no outstanding command");
	expect_term(FES_INVALID_HEADER, offsetof(struct pdu_data, cccid));
}

static void script_unknown_cid_response(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_respond(f, htole16(0x7777), 0);
	fake_expect_term(f);
}

Test(initiator_refusal, response_to_an_unknown_command)
{
	start(script_unknown_cid_response);
	expect_fatal(read_io(512), EPROTO, "no outstanding command");
	expect_term(FES_INVALID_HEADER, offsetof(struct pdu_capsule_resp, cqe.cid));
}

static void script_answers_twice(struct fake *f)
{
	struct nvme_sqe first, second;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &first, remote);
	fake_respond(f, first.cid, NVME_ST_INTERNAL);
	fake_command(f, &second, remote);
	fake_respond(f, first.cid, 0);
	fake_expect_term(f);
}

Test(initiator_refusal, a_late_second_answer_is_not_taken_for_the_next_command)
{
	struct initiator_io io = read_io(512);

	start(script_answers_twice);
	cr_assert_eq(initiator_queue_execute(q, &io, &err), -EIO);
	expect_fatal(read_io(512), EPROTO, "no outstanding command");
	expect_term(FES_INVALID_HEADER, offsetof(struct pdu_capsule_resp, cqe.cid));
}

static void script_data_beyond(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_c2h(f, sqe.cid, 0, truth, 512, 0);
	fake_c2h(f, sqe.cid, 512, truth, 1024, PDU_F_LAST);
	fake_expect_term(f);
}

Test(initiator_refusal, data_beyond_the_buffer)
{
	memset(buffer, 0xee, sizeof(buffer));
	start(script_data_beyond);
	expect_fatal(read_io(1024), EPROTO, "beyond the end");
	for (size_t i = 1024; i < 4096; i++)
		cr_assert_eq(buffer[i], 0xee);
	expect_term(FES_OUT_OF_RANGE, 0);
}

static void script_data_out_of_order(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_c2h(f, sqe.cid, 512, truth, 512, PDU_F_LAST);
	fake_expect_term(f);
}

Test(initiator_refusal, data_out_of_order)
{
	start(script_data_out_of_order);
	expect_fatal(read_io(1024), EPROTO, "out of order");
	expect_term(FES_INVALID_HEADER, offsetof(struct pdu_data, offset));
}

static void script_data_for_a_write(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_c2h(f, sqe.cid, 0, truth, 512, PDU_F_LAST);
	fake_expect_term(f);
}

Test(initiator_refusal, data_for_a_write)
{
	start(script_data_for_a_write);
	expect_fatal(write_io(512), EPROTO, "takes no data");
	expect_term(FES_SEQUENCE, 0);
}

static void script_r2t_unknown(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_r2t(f, htole16(le16toh(sqe.cid) ^ 1), 1, 0, 512);
	fake_expect_term(f);
}

Test(initiator_refusal, r2t_for_an_unknown_command)
{
	start(script_r2t_unknown);
	expect_fatal(write_io(16384), EPROTO, "wrong R2T: no outstanding command");
	expect_term(FES_INVALID_HEADER, offsetof(struct pdu_data, cccid));
}

static void script_r2t_for_any(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_r2t(f, sqe.cid, 1, 0, 512);
	fake_expect_term(f);
}

Test(initiator_refusal, r2t_for_a_read)
{
	start(script_r2t_for_any);
	expect_fatal(read_io(512), EPROTO, "no data to ask for");
	expect_term(FES_SEQUENCE, 0);
}

Test(initiator_refusal, r2t_for_data_that_went_in_the_capsule)
{
	start(script_r2t_for_any);
	expect_fatal(write_io(512), EPROTO, "no data to ask for");
	expect_term(FES_SEQUENCE, 0);
}

static void script_r2t_beyond(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_r2t(f, sqe.cid, 1, 0, 16384 + 4);
	fake_expect_term(f);
}

Test(initiator_refusal, r2t_beyond_the_buffer)
{
	start(script_r2t_beyond);
	expect_fatal(write_io(16384), EPROTO, "beyond the end");
	expect_term(FES_OUT_OF_RANGE, 0);
}

/* Five R2Ts in one write, so that none can be answered in between. */
static void script_r2t_flood(struct fake *f)
{
	uint8_t bytes[5 * PDU_ENCODE_MAX];
	struct nvme_sqe sqe;
	size_t n = 0;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	for (uint32_t i = 0; i < 5; i++)
		n += pdu_encode_r2t(bytes + n, &f->framing, sqe.cid, (uint16_t)i, i * 512, 512);
	fake_write(f, bytes, n);
	fake_expect_term(f);
}

Test(initiator_refusal, more_r2ts_than_allowed)
{
	start(script_r2t_flood);
	expect_fatal(write_io(16384), EPROTO, "more R2Ts");
	expect_term(FES_LIMIT, 0);
}

static void script_header_digest(struct fake *f)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct nvme_cqe cqe;
	struct nvme_sqe sqe;
	size_t n;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	cqe = nvme_cqe_make(sqe.cid, 0, 0, 0);
	n = pdu_encode_capsule_resp(buf, &f->framing, &cqe);
	memset(buf + n - 4, 0x11, 4);
	fake_write(f, buf, n);
	fake_expect_term(f);
}

Test(initiator_refusal, wrong_header_digest)
{
	start_digests(script_header_digest);
	expect_fatal(read_io(512), EPROTO, "digest");
	expect_term(FES_HEADER_DIGEST, 0x11111111);
}

static void script_garbage(struct fake *f)
{
	struct nvme_sqe sqe;
	uint8_t garbage[64];

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	memset(garbage, 0x5a, sizeof(garbage));
	fake_write(f, garbage, sizeof(garbage));
	fake_expect_term(f);
}

Test(initiator_refusal, garbage)
{
	start(script_garbage);
	expect_fatal(read_io(512), EPROTO, "cannot be read");
	fake_stop(&fake);
	initiator_queue_close(q);
}
