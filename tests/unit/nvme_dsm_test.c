// SPDX-License-Identifier: Apache-2.0
/* Spans of blocks as Dataset Management commands: every block once, in order, and nothing beyond a limit. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"

static struct nvme_dsm_range ranges[NVME_DSM_RANGES_MAX];

/* The next command as text: "slba+nlb slba+nlb". */
static const char *next(const struct nvme_dsm_span *spans, size_t n, struct nvme_dsm_limits limits,
			struct nvme_dsm_cursor *cursor)
{
	static char text[256];
	__u64 blocks, sum = 0;
	__u32 used = nvme_dsm_next(spans, n, &limits, cursor, ranges, &blocks);
	size_t at = 0;

	*text = 0;
	for (__u32 k = 0; k < used; k++) {
		sum += le32toh(ranges[k].nlb);
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%llu+%u", k ? " " : "",
				       (unsigned long long)le64toh(ranges[k].slba), le32toh(ranges[k].nlb));
	}
	cr_assert_eq(sum, blocks);
	return text;
}

Test(nvme_dsm, rows)
{
	static const struct {
		const char *name;
		struct nvme_dsm_span spans[4];
		struct nvme_dsm_limits limits;
		const char *commands[5];
	} rows[] = {
		{"all in one", {{0, 8}, {100, 1}, {50, 2}}, NVME_DSM_NO_LIMITS, {"0+8 100+1 50+2"}},
		{"nothing", {{5, 0}}, NVME_DSM_NO_LIMITS, {NULL}},
		{"an empty one between", {{0, 8}, {7, 0}, {50, 2}}, NVME_DSM_NO_LIMITS, {"0+8 50+2"}},
		{"ranges", {{0, 8}, {100, 1}, {50, 2}}, {2, ~0u, ~0ull}, {"0+8 100+1", "50+2"}},
		{"a range's blocks", {{0, 8}, {100, 1}}, {256, 3, ~0ull}, {"0+3 3+3 6+2 100+1"}},
		{"both", {{0, 8}, {100, 1}}, {2, 3, ~0ull}, {"0+3 3+3", "6+2 100+1"}},
		{"a command's blocks", {{0, 8}, {100, 4}}, {256, ~0u, 5}, {"0+5", "5+3 100+2", "102+2"}},
		{"all three", {{0, 8}, {100, 4}}, {2, 4, 5}, {"0+4 4+1", "5+3 100+2", "102+2"}},
		{"one block a command", {{9, 2}, {1, 1}}, {1, 1, 1}, {"9+1", "10+1", "1+1"}},
		{"more than a range holds",
		 {{1, 0x1ffffffffull}},
		 NVME_DSM_NO_LIMITS,
		 {"1+4294967295 4294967296+4294967295 8589934591+1"}},
	};

	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		struct nvme_dsm_cursor cursor = {0};
		size_t n = 0;

		for (; rows[k].commands[n]; n++)
			cr_expect_str_eq(next(rows[k].spans, 4, rows[k].limits, &cursor), rows[k].commands[n],
					 "%s, %zu", rows[k].name, n);
		cr_expect_str_eq(next(rows[k].spans, 4, rows[k].limits, &cursor), "", "%s: more", rows[k].name);
	}
}

/* Against a map of blocks, with spans and limits by chance. */
Test(nvme_dsm, every_block_once_within_the_limits)
{
	enum { BLOCKS = 4096, SPANS = 300 };
	static struct nvme_dsm_span spans[SPANS];
	static int wanted[BLOCKS], got[BLOCKS];

	srand(7);
	for (unsigned int round = 0; round < 200; round++) {
		struct nvme_dsm_limits limits = {1 + rand() % 256, 1 + rand() % 40, 1 + rand() % 400};
		struct nvme_dsm_cursor cursor = {0};
		__u64 blocks;
		__u32 n;

		memset(wanted, 0, sizeof(wanted));
		memset(got, 0, sizeof(got));
		for (unsigned int k = 0; k < SPANS; k++) {
			spans[k] = (struct nvme_dsm_span){(__u64)(rand() % (BLOCKS - 64)), (__u64)(rand() % 64)};
			for (__u64 b = 0; b < spans[k].blocks; b++)
				wanted[spans[k].slba + b]++;
		}
		while ((n = nvme_dsm_next(spans, SPANS, &limits, &cursor, ranges, &blocks))) {
			cr_assert_leq(n, limits.ranges);
			cr_assert_leq(blocks, limits.blocks);
			for (__u32 k = 0; k < n; k++) {
				__u32 nlb = le32toh(ranges[k].nlb);

				cr_assert(nlb && nlb <= limits.range_blocks, "%u", nlb);
				for (__u32 b = 0; b < nlb; b++)
					got[le64toh(ranges[k].slba) + b]++;
			}
		}
		cr_assert_arr_eq(got, wanted, sizeof(wanted), "round %u", round);
	}
}

Test(nvme_dsm, limits_are_read_and_0_is_none)
{
	struct nvme_id_ctrl_nvm id = {0};
	struct nvme_dsm_limits limits, other;

	nvme_dsm_limits_read(&id, &limits);
	cr_assert(limits.ranges == 256 && limits.range_blocks == ~0u && limits.blocks == ~0ull);
	id = (struct nvme_id_ctrl_nvm){
		.vsl = 1, .wzsl = 2, .wusl = 3, .dmrl = 16, .dmrsl = htole32(70000), .dmsl = htole64(5ull << 32)};
	cr_assert_eq(((const __u8 *)&id)[3], 16);
	nvme_dsm_limits_read(&id, &other);
	cr_assert(other.ranges == 16 && other.range_blocks == 70000 && other.blocks == 5ull << 32);
	nvme_dsm_limits_both(&limits, &other);
	cr_assert(limits.ranges == 16 && limits.range_blocks == 70000 && limits.blocks == 5ull << 32);
	other = (struct nvme_dsm_limits){20, 5, 1ull << 40};
	nvme_dsm_limits_both(&limits, &other);
	cr_assert(limits.ranges == 16 && limits.range_blocks == 5 && limits.blocks == 5ull << 32);
}
