// SPDX-License-Identifier: Apache-2.0
/* Options of `sluice io`: what they set, what is refused and with which words. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

/* Not part of the library: only the command line uses it. */
#include "cli/io_options.c"
#include "cli/io_values.c"

static struct io_options o;
static struct error err;

#define PARSE(command, ...)                                                                                            \
	({                                                                                                             \
		char *words_[] = {"x", __VA_ARGS__};                                                                   \
		io_options_parse(command, ARRAY_SIZE(words_), words_, &o, &err);                                       \
	})
#define TO  "--to", "10.0.0.1"
#define NQN "--nqn", "nqn.2026-11.io.example:a"

Test(io_options, defaults)
{
	cr_assert_eq(PARSE(IO_BENCH, TO, NQN, "--hostnqn", "nqn.2026-11.io.example:h"), 0, "%s", err.text);
	cr_assert_str_eq(o.target.addr.text, "10.0.0.1:4420");
	cr_assert_eq(o.block_size, 4096);
	cr_assert_eq(o.depth, 32);
	cr_assert_eq(o.queues, 1);
	cr_assert_eq(o.read_percent, 100);
	cr_assert_eq(o.time_ns, 10000000000ull);
	cr_assert_eq(o.target.timeout_ms, 10000);
	cr_assert_eq(o.nsids[0], 1);
	cr_assert_not(o.sequential);
}

Test(io_options, discover_has_its_own_port_and_name)
{
	cr_assert_eq(PARSE(IO_DISCOVER, "--to=[fd00::1]", "--hostnqn=nqn.2026-11.io.example:h"), 0, "%s", err.text);
	cr_assert_str_eq(o.target.addr.text, "[fd00::1]:8009");
	cr_assert_str_eq(o.target.subnqn, NVME_DISCOVERY_NQN);
}

Test(io_options, everything_at_once)
{
	cr_assert_eq(PARSE(IO_BENCH, TO, NQN, "--hostnqn", "nqn.2026-11.io.example:h", "--pattern=sequential",
			   "--read-percent", "70", "--block-size", "8k", "--depth", "128", "--queues", "2", "--time",
			   "500ms", "--namespaces", "1,3-5", "--cpus", "0-1", "--offset", "1MiB", "--length", "1G",
			   "--header-digest", "--data-digest", "--alignment", "128", "--timeout", "2s", "--verify",
			   "--seed", "9", "--json", "--count", "10k", "--spin", "50us"),
		     0, "%s", err.text);
	cr_assert(o.sequential && o.verify && o.json && o.target.header_digest && o.target.data_digest);
	cr_assert_eq(o.read_percent, 70);
	cr_assert_eq(o.block_size, 8192);
	cr_assert_eq(o.time_ns, 500000000);
	cr_assert_eq(o.n_nsids, 4);
	cr_assert_eq(o.nsids[3], 5);
	cr_assert_eq(o.n_cpus, 2);
	cr_assert_eq(o.offset, 1 << 20);
	cr_assert_eq(o.length, 1 << 30);
	cr_assert_eq(o.target.hpda, 31);
	cr_assert_eq(o.target.timeout_ms, 2000);
	cr_assert_eq(o.count, 10000);
	cr_assert_eq(o.spin_us, 50);
}

Test(io_options, what_is_to_be_done)
{
	cr_assert_eq(PARSE(IO_COMMAND, TO, TO, NQN, "--hostnqn=nqn.2026-11.io.example:h", "copy", "--from", "1MiB",
			   "--offset=2MiB", "--length=64k"),
		     0, "%s", err.text);
	cr_assert(o.subject == RANGE_COPY && o.has_from && o.from == 1 << 20 && o.length == 65536 && o.n_addrs == 2);
	cr_assert_eq(PARSE(IO_COMMAND, TO, NQN, "--hostnqn=nqn.2026-11.io.example:h", "deallocate", "--ranges",
			   "0+64KiB,1MiB+4k,4096+512"),
		     0, "%s", err.text);
	cr_assert(o.subject == RANGE_DEALLOCATE && o.n_ranges == 3 && !o.length);
	cr_assert(o.ranges[1].offset == 1 << 20 && o.ranges[1].length == 4096);
	cr_assert(o.ranges[2].offset == 4096 && o.ranges[2].length == 512);
	cr_assert_eq(PARSE(IO_RESERVE, TO, NQN, "--hostnqn=nqn.2026-11.io.example:h", "preempt-abort", "--key=0x10",
			   "--new-key", "18446744073709551615", "--type", "exclusive-access-all", "--ignore-key"),
		     0, "%s", err.text);
	cr_assert(o.subject == RESERVE_PREEMPT_ABORT && o.key == 16 && o.new_key == UINT64_MAX && o.ignore_key);
	cr_assert_eq(o.reservation_type, 6);
	cr_assert_eq(PARSE(IO_FEATURE, TO, NQN, "--hostnqn=nqn.2026-11.io.example:h", "keep-alive",
			   "--value=0x1388", "--keep-alive=0s"),
		     0, "%s", err.text);
	cr_assert(o.subject == NVME_FID_KATO && o.has_value && o.value == 5000 && !o.target.kato_ms);
	cr_assert_eq(PARSE(IO_LOG, TO, NQN, "--hostnqn=nqn.2026-11.io.example:h", "ana"), 0, "%s", err.text);
	cr_assert_eq(o.subject, NVME_LID_ANA);
}

Test(io_options, a_default_host_name_is_a_valid_one)
{
	int r = PARSE(IO_CONNECT, TO, NQN);

	/* a machine without any identity is told so; any other gets a name */
	if (r)
		cr_assert(strstr(err.text, "--hostnqn"), "%s", err.text);
	else
		cr_assert_null(nvme_nqn_fault(o.target.hostnqn));
}

Test(io_options, refusals)
{
	static const struct {
		enum io_command command;
		const char *option, *value, *words;
	} rows[] = {
		{IO_BENCH, "--depth", "0", "--depth"},
		{IO_BENCH, "--depth", "1025", "--depth"},
		{IO_BENCH, "--depth", "x", "--depth"},
		{IO_BENCH, "--read-percent", "101", "--read-percent"},
		{IO_BENCH, "--block-size", "1000", "multiple of 512"},
		{IO_BENCH, "--block-size", "2MiB", "up to 1MiB"},
		{IO_BENCH, "--pattern", "zigzag", "random or sequential"},
		{IO_BENCH, "--namespaces", "0", "from 1 on"},
		{IO_BENCH, "--namespaces", "3-1", "from 1 on"},
		{IO_BENCH, "--namespaces", "1,,2", "no number"},
		{IO_BENCH, "--namespaces", "1-65", "more than 64"},
		{IO_BENCH, "--time", "10", "--time"},
		{IO_BENCH, "--time", "0", "1ms or more"},
		{IO_BENCH, "--file", "x", "no such option"},
		{IO_READ, "--namespace", "1,2", "more than 1"},
		{IO_READ, "--queues", "2", "no such option"},
		{IO_READ, "--length", "0", "nothing to do"},
		{IO_READ, "--to", "example.org", "not an IPv4 or IPv6 address"},
		{IO_READ, "--nqn", "foo", "'foo'"},
		{IO_READ, "--alignment", "6", "multiple of 4"},
		{IO_READ, "--timeout", "0", "1ms-1h"},
		{IO_READ, "--timeout", NULL, "give a value"},
		{IO_READ, "--data-digest=1", NULL, "takes no value"},
		{IO_COMMAND, "format", NULL, "compare-write"},
		{IO_COMMAND, "--depth", "2", "no such option"},
		{IO_COMMAND, "--ranges", "0+4k,8k", "range 2, '8k': no '+'"},
		{IO_COMMAND, "--ranges", "0+4k,", "range 2, '': no '+'"},
		{IO_COMMAND, "--ranges", "0+0", "range 1, '0+0': length 0"},
		{IO_COMMAND, "--ranges", "x+4k", "range 1, 'x+4k'"},
		{IO_COMMAND, "--ranges", "0+9223372036854775807,1+9223372036854775807", "range 2"},
		{IO_READ, "--ranges", "0+4k", "no such option"},
		{IO_COMMAND, "--length", "1k", "say what: `COMMAND`"},
		{IO_RESERVE, "--type", "exclusive", "exclusive-access-all"},
		{IO_RESERVE, "--key", "x", "no number of 64 bits"},
		{IO_RESERVE, "--key", "0x10000000000000000", "no number of 64 bits"},
		{IO_LOG, "7", NULL, "reservation"},
		{IO_LOG, "ana", "smart", "all else is options"},
		{IO_LOG, "--json", NULL, "say what: `PAGE`"},
		{IO_FEATURE, "--value", "0x100000000", "more than 32 bits"},
		{IO_FEATURE, "--value", "1", "say what: `FEATURE`"},
		{IO_READ, "stray", NULL, "all else is options"},
		{IO_READ, "--nonsense", NULL, "no such option"},
	};

	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		char *words[] = {"read",
				 "--to",
				 "10.0.0.1",
				 "--nqn",
				 "nqn.2026-11.io.example:a",
				 (char *)rows[k].option,
				 (char *)rows[k].value};
		int r = io_options_parse(rows[k].command, rows[k].value ? 7 : 6, words, &o, &err);

		cr_assert_eq(r, -EINVAL, "%s %s was taken", rows[k].option, rows[k].value ? rows[k].value : "");
		cr_assert(strstr(err.text, rows[k].words), "%s: %s", rows[k].option, err.text);
	}
}

Test(io_options, ranges_are_counted)
{
	char text[IO_RANGES_MAX * 6 + 8] = "0+512";

	for (unsigned int k = 1; k < IO_RANGES_MAX; k++)
		strcat(text, ",0+512");
	cr_assert_eq(io_ranges_parse(text, o.ranges, &o.n_ranges, &err), 0, "%s", err.text);
	cr_assert_eq(o.n_ranges, IO_RANGES_MAX);
	strcat(text, ",0+512");
	cr_assert_eq(io_ranges_parse(text, o.ranges, &o.n_ranges, &err), -EINVAL);
	cr_assert(strstr(err.text, "more than 256"), "%s", err.text);
}

Test(io_options, what_is_missing_is_named)
{
	cr_assert_eq(PARSE(IO_READ, NQN), -EINVAL);
	cr_assert(strstr(err.text, "--to is missing"), "%s", err.text);
	cr_assert_eq(PARSE(IO_READ, TO), -EINVAL);
	cr_assert(strstr(err.text, "--nqn is missing"), "%s", err.text);
	cr_assert_eq(PARSE(IO_READ, "--help"), 0, "%s", err.text);
	cr_assert(o.help);
}
