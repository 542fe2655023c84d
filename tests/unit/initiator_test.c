// SPDX-License-Identifier: Apache-2.0
/*
 * The initiator's queue against a fake target that answers rightly, slowly, or not at all. Nothing may hang: every test
 * ends within a timeout of its own.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "initiator_frame.h"

TestSuite(initiator, .init = frame_setup, .timeout = 30);

/* ---- right answers ---- */

static void script_read_success(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	for (int i = 0; i < 3; i++) {
		fake_command(f, &sqe, remote);
		fake_c2h(f, sqe.cid, 0, truth, 4096, PDU_F_LAST | PDU_F_SUCCESS);
	}
}

Test(initiator, read_with_success_flag)
{
	start(script_read_success);
	for (int i = 0; i < 3; i++) {
		memset(buffer, 0, 4096);
		expect_fine(read_io(4096));
	}
	stop();
}

Test(initiator, read_with_digests)
{
	start_digests(script_read_success);
	for (int i = 0; i < 3; i++)
		expect_fine(read_io(4096));
	stop();
}

static void script_read_pieces(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	for (uint32_t at = 0; at < BIG; at += BIG / 4)
		fake_c2h(f, sqe.cid, at, truth + at, BIG / 4, at + BIG / 4 == BIG ? PDU_F_LAST : 0);
	fake_respond(f, sqe.cid, 0);
}

Test(initiator, long_read_is_received_into_place)
{
	struct initiator_queue_info info;

	start(script_read_pieces);
	expect_fine(read_io(BIG));
	initiator_queue_info(q, &info);
	cr_assert_gt(info.bytes_placed, BIG / 2, "%lu of %u", info.bytes_placed, BIG);
	cr_assert_eq(info.bytes_placed + info.bytes_copied, BIG);
	stop();
}

Test(initiator, long_read_with_digests_and_alignment)
{
	struct initiator_options options;

	fake_start(&fake, script_read_pieces);
	options = fake_options(&fake);
	options.header_digest = options.data_digest = true;
	options.hpda = PDU_PDA_MAX;
	start_with(options);
	expect_fine(read_io(BIG));
	stop();
}

static void script_slow_bytes(struct fake *f)
{
	uint8_t bytes[PDU_ENCODE_MAX + 512];
	struct nvme_sqe sqe;
	size_t n;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	n = pdu_encode_c2h_data(bytes, &f->framing, sqe.cid, 0, 512, PDU_F_LAST | PDU_F_SUCCESS);
	memcpy(bytes + n, truth, 512);
	for (size_t i = 0; i < n + 512; i++) {
		fake_write(f, bytes + i, 1);
		usleep(100); /* so that bytes arrive one by one; nothing is waited for */
	}
}

Test(initiator, bytes_one_by_one)
{
	start(script_slow_bytes);
	expect_fine(read_io(512));
	stop();
}

static void script_in_capsule(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 31, true, 65536);
	if (fake_command(f, &sqe, remote) != IN_CAPSULE || memcmp(remote, truth, IN_CAPSULE))
		f->failed = true;
	if (sqe.sgl.id != NVME_SGL_IN_CAPSULE)
		f->failed = true;
	fake_respond(f, sqe.cid, 0);
}

Test(initiator, short_write_goes_in_the_capsule)
{
	start(script_in_capsule);
	expect_fine(write_io(IN_CAPSULE));
	stop();
}

Test(initiator, short_write_with_digests)
{
	start_digests(script_in_capsule);
	expect_fine(write_io(IN_CAPSULE));
	stop();
}

/* Two R2Ts of half each, outstanding together; MAXH2CDATA 4096 cuts each into many PDUs. */
static void script_r2ts(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 3, true, 4096);
	if (fake_command(f, &sqe, remote) || sqe.sgl.id != NVME_SGL_TRANSPORT)
		f->failed = true;
	fake_r2t(f, sqe.cid, 11, 0, BIG / 2);
	fake_r2t(f, sqe.cid, 12, BIG / 2, BIG / 2);
	for (uint32_t at = 0; at < BIG && !f->failed; at += 4096) {
		struct pdu_data h2c = fake_h2c(f, remote);
		bool last = at % (BIG / 2) == BIG / 2 - 4096;

		if (le32toh(h2c.offset) != at || le32toh(h2c.len) != 4096 || h2c.cccid != sqe.cid ||
		    le16toh(h2c.ttag) != (at < BIG / 2 ? 11 : 12) || !(h2c.ch.flags & PDU_F_LAST) == last)
			f->failed = true;
	}
	if (memcmp(remote, truth, BIG))
		f->failed = true;
	fake_respond(f, sqe.cid, 0);
}

Test(initiator, long_write_by_r2t)
{
	start(script_r2ts);
	expect_fine(write_io(BIG));
	stop();
}

Test(initiator, long_write_by_r2t_with_digests)
{
	start_digests(script_r2ts);
	expect_fine(write_io(BIG));
	stop();
}

/* Answers DEPTH reads in reverse order. */
static void script_reverse(struct fake *f)
{
	struct nvme_sqe sqe[DEPTH];

	fake_ic(f, 0, true, 65536);
	for (int i = 0; i < DEPTH; i++)
		fake_command(f, &sqe[i], remote);
	for (int i = DEPTH - 1; i >= 0; i--) {
		fake_c2h(f, sqe[i].cid, 0, truth + i * 512, 512, PDU_F_LAST);
		fake_respond(f, sqe[i].cid, 0);
	}
}

Test(initiator, answers_in_any_order)
{
	struct initiator_io ios[DEPTH], extra = read_io(512);

	start(script_reverse);
	for (int i = 0; i < DEPTH; i++) {
		ios[i] = read_io(512);
		ios[i].data = buffer + i * 512;
		cr_assert_eq(initiator_queue_submit(q, &ios[i]), 0);
	}
	cr_assert_eq(initiator_queue_submit(q, &extra), -EAGAIN);
	while (initiator_queue_outstanding(q))
		cr_assert_eq(initiator_queue_poll(q, true, &err), 0, "%s", err.text);
	cr_assert_arr_eq(buffer, truth, DEPTH * 512);
	stop();
}

static void script_status(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_respond(f, sqe.cid, NVME_ST_LBA_RANGE | NVME_STATUS_DNR);
	fake_command(f, &sqe, remote);
	fake_c2h(f, sqe.cid, 0, truth, 512, PDU_F_LAST | PDU_F_SUCCESS);
}

Test(initiator, an_error_status_is_words_and_the_queue_goes_on)
{
	struct initiator_io io = read_io(512);

	start(script_status);
	cr_assert_eq(initiator_queue_execute(q, &io, &err), -EIO);
	cr_assert(strstr(err.text, "Read") && strstr(err.text, "0x080") && strstr(err.text, "past the namespace"), "%s",
		  err.text);
	expect_fine(read_io(512));
	stop();
}

/*
 * The answer comes before the data that were asked for have left. The buffer is the caller's again only when they have:
 * it is spoilt in done(), and the target must not see that.
 */
static void script_early_answer(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_r2t(f, sqe.cid, 1, 0, BIG);
	fake_respond(f, sqe.cid, NVME_ST_INTERNAL);
	for (uint32_t at = 0; at < BIG && !f->failed; at += 65536)
		fake_h2c(f, remote);
	if (memcmp(remote, truth, BIG))
		f->failed = true;
	fake_expect_term(f);
}

static void spoil(struct initiator_io *io)
{
	memset(io->data, 0xee, io->len);
}

Test(initiator, the_buffer_is_handed_back_after_its_last_byte_has_left)
{
	struct initiator_io io = write_io(BIG);

	start(script_early_answer);
	memcpy(buffer, truth, BIG);
	io.data = buffer;
	io.done = spoil;
	cr_assert_eq(initiator_queue_submit(q, &io), 0);
	while (!io.finished)
		cr_assert_eq(initiator_queue_poll(q, true, &err), 0, "%s", err.text);
	cr_assert_eq(io.status & NVME_STATUS_CODE, NVME_ST_INTERNAL);
	stop();
}

/* ---- ends and silences ---- */

static void script_term(struct fake *f)
{
	const struct pdu_error error = {.fes = FES_UNSUPPORTED, .fei = 9};
	uint8_t buf[PDU_ENCODE_MAX];
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_write(f, buf, pdu_encode_term(buf, PDU_C2H_TERM_REQ, &error, &sqe, 24));
}

Test(initiator, term_request_in_words)
{
	start(script_term);
	expect_fatal(read_io(512), ECONNABORTED, "C2HTermReq): unsupported parameter, byte 9");
	stop();
}

static void script_close_in_data(struct fake *f)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_write(f, buf, pdu_encode_c2h_data(buf, &f->framing, sqe.cid, 0, BIG, PDU_F_LAST));
	fake_write(f, truth, BIG / 2);
	shutdown(f->fd, SHUT_WR);
	fake_expect_term(f);
}

Test(initiator, close_in_the_middle_of_data)
{
	start(script_close_in_data);
	expect_fatal(read_io(BIG), ECONNRESET, "closed the connection");
	stop();
}

static unsigned int n_failed;

static void count_failed(struct initiator_io *io)
{
	n_failed += io->error == -ECONNRESET;
	cr_assert_eq(initiator_queue_submit(q, io), -ENOTCONN);
}

static void script_close_at_once(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	for (int i = 0; i < DEPTH; i++)
		fake_command(f, &sqe, remote);
}

Test(initiator, every_outstanding_command_is_handed_back)
{
	struct initiator_io ios[DEPTH];
	int r = 0;

	start(script_close_at_once);
	for (int i = 0; i < DEPTH; i++) {
		ios[i] = read_io(512);
		ios[i].done = count_failed;
		cr_assert_eq(initiator_queue_submit(q, &ios[i]), 0);
	}
	while (!r)
		r = initiator_queue_poll(q, true, &err);
	cr_assert_eq(r, -ECONNRESET, "%s", err.text);
	cr_assert_eq(n_failed, DEPTH);
	stop();
}

static void script_silence(struct fake *f)
{
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_expect_term(f);
}

static uint64_t elapsed_ms(uint64_t since)
{
	return (time_now_ns() - since) / 1000000;
}

static void start_timeout(void (*script)(struct fake *), uint32_t timeout_ms)
{
	struct initiator_options options;

	fake_start(&fake, script);
	options = fake_options(&fake);
	options.timeout_ms = timeout_ms;
	start_with(options);
}

Test(initiator, silence_ends_in_a_timeout)
{
	uint64_t since;

	start_timeout(script_silence, 200);
	since = time_now_ns();
	expect_fatal(read_io(512), ETIMEDOUT, "no answer to Read within 0.2 s");
	cr_assert(elapsed_ms(since) >= 200 && elapsed_ms(since) < 2000, "%lu ms", elapsed_ms(since));
	stop();
}

/* A byte now and then is no answer. */
static void script_dribble(struct fake *f)
{
	uint8_t buf[PDU_ENCODE_MAX];
	struct nvme_sqe sqe;

	fake_ic(f, 0, true, 65536);
	fake_command(f, &sqe, remote);
	fake_write(f, buf, pdu_encode_c2h_data(buf, &f->framing, sqe.cid, 0, BIG, PDU_F_LAST));
	while (send(f->fd, buf, 1, MSG_NOSIGNAL) == 1)
		usleep(5000);
}

Test(initiator, dribbling_ends_in_a_timeout)
{
	start_timeout(script_dribble, 200);
	expect_fatal(read_io(BIG), ETIMEDOUT, "no answer to Read");
	stop();
}

static void script_no_icresp(struct fake *f)
{
	uint8_t buf[128];

	fake_read(f, buf, sizeof(buf));
	fake_expect_term(f);
}

Test(initiator, no_icresp)
{
	struct initiator_options options;

	fake_start(&fake, script_no_icresp);
	options = fake_options(&fake);
	options.timeout_ms = 200;
	cr_assert_eq(queue_connect(&options, 1, DEPTH, IN_CAPSULE, &q, &err), -ETIMEDOUT, "%s", err.text);
	cr_assert(strstr(err.text, "no ICResp within 0.2 s"), "%s", err.text);
	fake_stop(&fake);
}

static void script_digests_unasked(struct fake *f)
{
	struct pdu_icreq icreq;
	uint8_t buf[PDU_ENCODE_MAX];

	fake_read(f, &icreq, sizeof(icreq));
	fake_write(f, buf, pdu_encode_icresp(buf, 0, PDU_DGST_HEADER, 65536));
	fake_expect_term(f);
}

static void script_not_nvme(struct fake *f)
{
	static const char banner[] = "220 mail.example.org ready, this is no storage at all\r\n";

	fake_write(f, banner, sizeof(banner) - 1);
	fake_expect_term(f);
}

Test(initiator, something_else_listens)
{
	struct initiator_options options;

	fake_start(&fake, script_not_nvme);
	options = fake_options(&fake);
	cr_assert_eq(queue_connect(&options, 1, DEPTH, IN_CAPSULE, &q, &err), -EPROTO, "%s", err.text);
	cr_assert(strstr(err.text, "is this an NVMe/TCP portal?"), "%s", err.text);
	fake_stop(&fake);
}

Test(initiator, digests_that_were_not_asked_for)
{
	struct initiator_options options;

	fake_start(&fake, script_digests_unasked);
	options = fake_options(&fake);
	cr_assert_eq(queue_connect(&options, 1, DEPTH, IN_CAPSULE, &q, &err), -EPROTO, "%s", err.text);
	fake_stop(&fake);
	cr_assert_eq(le16toh(fake.term.fes), FES_INVALID_HEADER);
}

Test(initiator, connection_refused)
{
	struct initiator_options options;

	fake_start(&fake, script_silence);
	options = fake_options(&fake);
	fake_stop(&fake);
	cr_assert_eq(queue_connect(&options, 1, DEPTH, IN_CAPSULE, &q, &err), -ECONNREFUSED, "%s", err.text);
	cr_assert(strstr(err.text, options.addr.text) && strstr(err.text, "start `sluice target`"), "%s", err.text);
}

/* A listener whose queue is full drops SYNs, as a firewall would. */
Test(initiator, unanswered_connection_ends_in_a_timeout)
{
	struct initiator_options options = {.timeout_ms = 300};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fds[4];
	struct sockaddr_storage *sa = &options.addr.sa;
	uint64_t since;

	cr_assert_eq(initiator_addr_parse("127.0.0.1", 1, &options.addr, &err), 0);
	((struct sockaddr_in *)sa)->sin_port = 0;
	cr_assert_eq(bind(listener, (struct sockaddr *)sa, options.addr.len), 0);
	cr_assert_eq(listen(listener, 0), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)sa, &options.addr.len), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fds[i], (struct sockaddr *)sa, options.addr.len); /* in progress is as good as connected */
	}
	since = time_now_ns();
	cr_assert_eq(queue_connect(&options, 1, DEPTH, IN_CAPSULE, &q, &err), -ETIMEDOUT, "%s", err.text);
	cr_assert(strstr(err.text, "no answer to the TCP connection within 0.3 s"), "%s", err.text);
	cr_assert_lt(elapsed_ms(since), 2000);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	close(listener);
}

Test(initiator, closing_with_commands_outstanding)
{
	struct initiator_io io = read_io(BIG);

	start(script_close_in_data);
	cr_assert_eq(initiator_queue_submit(q, &io), 0);
	cr_assert_eq(initiator_queue_poll(q, true, &err), 0, "%s", err.text);
	stop();
	cr_assert(io.finished);
	cr_assert_lt(io.error, 0);
}
