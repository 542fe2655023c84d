// SPDX-License-Identifier: Apache-2.0
/*
 * Values of options of `sluice io`: numbers, sizes, times, lists, ranges, words and keys; and which words there are.
 * Called by io_options.c, and for the words by the subcommands. Pure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli/io.h"
#include "policy/values.h"

/* ---- words ---- */

const struct io_word io_command_words[] = {
	{"compare", RANGE_COMPARE},
	{"compare-write", RANGE_COMPARE_WRITE},
	{"copy", RANGE_COPY},
	{"verify", RANGE_VERIFY},
	{"zero", RANGE_ZERO},
	{"deallocate", RANGE_DEALLOCATE},
	{"uncorrectable", RANGE_UNCORRECTABLE},
	{"flush", RANGE_FLUSH},
	{NULL, 0},
};

const struct io_word io_reserve_words[] = {
	{"register", RESERVE_REGISTER},	    {"replace", RESERVE_REPLACE},
	{"unregister", RESERVE_UNREGISTER}, {"acquire", RESERVE_ACQUIRE},
	{"preempt", RESERVE_PREEMPT},	    {"preempt-abort", RESERVE_PREEMPT_ABORT},
	{"release", RESERVE_RELEASE},	    {"clear", RESERVE_CLEAR},
	{"report", RESERVE_REPORT},	    {NULL, 0},
};

const struct io_word io_reserve_types[] = {
	{"write-exclusive", 1},
	{"exclusive-access", 2},
	{"write-exclusive-registrants", 3},
	{"exclusive-access-registrants", 4},
	{"write-exclusive-all", 5},
	{"exclusive-access-all", 6},
	{NULL, 0},
};

const struct io_word io_log_words[] = {
	{"supported", NVME_LID_SUPPORTED},
	{"error", NVME_LID_ERROR},
	{"smart", NVME_LID_SMART},
	{"firmware", NVME_LID_FIRMWARE},
	{"changed", NVME_LID_CHANGED_NS},
	{"effects", NVME_LID_EFFECTS},
	{"ana", NVME_LID_ANA},
	{"features", NVME_LID_FEATURES},
	{"reservation", NVME_LID_RESERVATION},
	{NULL, 0},
};

const struct io_word io_feature_words[] = {
	{"arbitration", NVME_FID_ARBITRATION},	    {"power", NVME_FID_POWER},
	{"temperature", NVME_FID_TEMPERATURE},	    {"error-recovery", NVME_FID_ERROR_RECOVERY},
	{"write-cache", NVME_FID_WRITE_CACHE},	    {"queues", NVME_FID_NUM_QUEUES},
	{"write-atomicity", NVME_FID_WRITE_ATOMIC}, {"events", NVME_FID_ASYNC_EVENT},
	{"timestamp", NVME_FID_TIMESTAMP},	    {"keep-alive", NVME_FID_KATO},
	{"behavior", NVME_FID_HOST_BEHAVIOR},	    {"host-id", NVME_FID_HOST_ID},
	{"reservation-mask", NVME_FID_RESV_MASK},   {"reservation-persistence", NVME_FID_RESV_PERSIST},
	{"write-protect", NVME_FID_WRITE_PROTECT},  {NULL, 0},
};

/* ---- values ---- */

int io_number_parse(const char *text, uint64_t low, uint64_t high, unsigned int *ret_value, struct error *err)
{
	uint64_t v;
	int r = value_number("value", text, low, high, &v, err);

	if (!r)
		*ret_value = (unsigned int)v;
	return r;
}

int io_size_parse(const char *text, uint64_t *ret_bytes, struct error *err)
{
	size_t n = strlen(text);
	char longer[40];

	/* "4k" is what other tools of this kind take; here it means 4KiB */
	if (n && n < 32 && strchr("kKmMgGtT", text[n - 1])) {
		snprintf(longer, sizeof(longer), "%.*s%ciB", (int)n - 1, text,
			 text[n - 1] == 'k' ? 'K' : text[n - 1] & ~32);
		text = longer;
	}
	return value_size(text, ret_bytes, err);
}

int io_list_parse(const char *what, const char *text, uint32_t lowest, uint32_t *ret_list, unsigned int max,
		  unsigned int *ret_n, struct error *err)
{
	unsigned int n = 0;

	do {
		unsigned long first, last;
		char *end;

		if (*text < '0' || *text > '9')
			return error_set(err, EINVAL, "%s: '%s' is no number; use 1 or 1,3-5", what, text);
		first = last = strtoul(text, &end, 10);
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if ((*end && *end != ',') || first < lowest || last < first || last > UINT32_MAX - 2)
			return error_set(err, EINVAL, "%s: '%s'; use numbers from %u on, as 1 or 1,3-5", what, text,
					 lowest);
		for (; first <= last; first++) {
			if (n == max)
				return error_set(err, EINVAL, "%s: more than %u; use fewer", what, max);
			ret_list[n++] = (uint32_t)first;
		}
		text = *end ? end + 1 : NULL;
	} while (text);
	*ret_n = n;
	return 0;
}

int io_names_parse(const char *text, int (*number_of)(const char *name), const char *names, unsigned int *ret_set,
		   struct error *err)
{
	unsigned int set = 0;
	char copy[128], *rest = copy, *name;
	int n;

	if (strlen(text) >= sizeof(copy))
		return error_set(err, EINVAL, "too long; use of %s", names);
	strcpy(copy, text);
	while ((name = strsep(&rest, ","))) {
		n = number_of(name);
		if (n < 0)
			return error_set(err, EINVAL, "'%s'; use of %s", name, names);
		set |= 1u << n;
	}
	*ret_set = set;
	return 0;
}

int io_ms_parse(const char *text, bool zero, uint32_t *ret_ms, struct error *err)
{
	uint64_t ns;
	int r = value_duration(text, &ns, err);

	if (r)
		return r;
	if ((ns < 1000000 && (ns || !zero)) || ns > 3600 * NSEC_PER_SEC)
		return error_set(err, EINVAL, "'%s'; use 1ms-1h%s", text, zero ? ", or 0s" : "");
	*ret_ms = (uint32_t)(ns / 1000000);
	return 0;
}

/* "OFFSET+LENGTH" of len characters. */
static int range_parse(const char *text, size_t len, struct io_span *ret_range, struct error *err)
{
	char copy[64], *plus;
	int r;

	if (len >= sizeof(copy))
		return error_set(err, EINVAL, "too long");
	memcpy(copy, text, len);
	copy[len] = 0;
	plus = strchr(copy, '+');
	if (!plus)
		return error_set(err, EINVAL, "no '+' between offset and length");
	*plus = 0;
	r = io_size_parse(copy, &ret_range->offset, err);
	if (!r)
		r = io_size_parse(plus + 1, &ret_range->length, err);
	if (!r && !ret_range->length)
		r = error_set(err, EINVAL, "length 0");
	if (!r && ret_range->length > INT64_MAX - min(ret_range->offset, (uint64_t)INT64_MAX))
		r = error_set(err, EINVAL, "it ends past 8 EiB");
	return r;
}

int io_ranges_parse(const char *text, struct io_span ret_ranges[IO_RANGES_MAX], unsigned int *ret_n, struct error *err)
{
	unsigned int n = 0;
	struct error why = {0};

	for (;; text++) {
		size_t len = strcspn(text, ",");

		if (n == IO_RANGES_MAX)
			return error_set(err, EINVAL, "more than %u; use several commands", IO_RANGES_MAX);
		if (range_parse(text, len, &ret_ranges[n++], &why))
			return error_set(err, EINVAL,
					 "range %u, '%.*s': %s; use OFFSET+LENGTH,... as 0+64KiB,1MiB+4KiB", n,
					 (int)min(len, (size_t)64), text, why.text);
		text += len;
		if (!*text)
			break;
	}
	*ret_n = n;
	return 0;
}

int io_word_parse(const char *text, const struct io_word *words, unsigned int *ret_number, struct error *err)
{
	char list[320] = "";
	size_t used = 0;

	for (const struct io_word *w = words; w->name; w++) {
		if (!strcmp(text, w->name)) {
			*ret_number = w->number;
			return 0;
		}
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", w->name);
		if (used >= sizeof(list))
			break;
	}
	return error_set(err, EINVAL, "'%s'; use one of %s", text, list);
}

const char *io_word_of(const struct io_word *words, unsigned int number)
{
	const struct io_word *w = words;

	while (w->name && w->number != number)
		w++;
	return w->name ? w->name : "unknown";
}

int io_key_parse(const char *text, uint64_t *ret_key, struct error *err)
{
	char *end;

	errno = 0;
	*ret_key = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno)
		return error_set(err, EINVAL, "'%s' is no number of 64 bits; use 4711 or 0x1267", text);
	return 0;
}
