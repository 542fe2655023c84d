// SPDX-License-Identifier: Apache-2.0
/*
 * Log pages of the target other than discovery (discovery.c). Controllers fill a page here and then
 * answer the part that Get Log Page asks for. Pure. What always holds: a page says only what sluice
 * knows; what no sensor or counter stands behind is zero.
 */
#include <endian.h>
#include <string.h>

#include "nvme/identify.h"

#define DNR(status)	((__u16)((status) | NVME_STATUS_DNR))

#define LSUPP		(1 << 0)	/* log page supported */
#define FSUPP		(1 << 0)	/* feature supported */
#define FSCOPE_NAMESPACE (1U << 20)
#define FSCOPE_CONTROLLER (1 << 21)

#define CSUPP		(1 << 0)	/* command supported */
#define LBCC		(1 << 1)	/* it may change logical block content */

#define DATA_UNIT	512000		/* SMART counts thousands of 512 bytes, rounded up */

struct smart {
	__u8	critical_warning;
	__u8	temperature[2];
	__u8	spare;
	__u8	spare_threshold;
	__u8	used;
	__u8	endurance_warning;
	__u8	reserved7[25];
	__u8	units_read[16];
	__u8	units_written[16];
	__u8	host_reads[16];
	__u8	host_writes[16];
	__u8	busy_minutes[16];
	__u8	power_cycles[16];
	__u8	power_on_hours[16];
	__u8	unsafe_shutdowns[16];
	__u8	media_errors[16];
	__u8	error_entries[16];
	__u8	reserved192[320];
};

_Static_assert(sizeof(struct smart) == NVME_LOG_SMART_LEN,
	       "hosts read SMART counters at fixed offsets");

void nvme_log_supported(void *out, const __u8 *lids, size_t n)
{
	__le32 *page = out;

	memset(out, 0, NVME_LOG_SUPPORTED_LEN);
	for (size_t i = 0; i < n; i++)
		page[lids[i]] = htole32(LSUPP);
}

void nvme_log_features(void *out, const bool known[256])
{
	__le32 *page = out;

	memset(out, 0, NVME_LOG_FEATURES_LEN);
	for (size_t i = 0; i < 256; i++)
		if (known[i])
			page[i] = htole32(FSUPP | (i == NVME_FID_RESV_MASK || i == NVME_FID_RESV_PERSIST
							   ? FSCOPE_NAMESPACE
							   : FSCOPE_CONTROLLER));
}

/* The low half of a 128-bit counter. */
static void counter_put(__u8 field[16], __u64 value)
{
	__le64 low = htole64(value);

	memcpy(field, &low, sizeof(low));
}

static __u64 data_units(__u64 bytes)
{
	return bytes / DATA_UNIT + !!(bytes % DATA_UNIT);
}

void nvme_log_smart(void *out, const struct nvme_usage *usage)
{
	struct smart smart = { .spare = 100, .spare_threshold = 10 };

	counter_put(smart.units_read, data_units(usage->read_bytes));
	counter_put(smart.units_written, data_units(usage->write_bytes));
	counter_put(smart.host_reads, usage->read_cmds);
	counter_put(smart.host_writes, usage->write_cmds);
	counter_put(smart.power_on_hours, usage->uptime_hours);
	counter_put(smart.media_errors, usage->media_errors);
	counter_put(smart.error_entries, usage->error_entries);
	memcpy(out, &smart, sizeof(smart));
}

void nvme_log_firmware(void *out, const char *firmware)
{
	__u8 *page = out;

	memset(page, 0, NVME_LOG_FIRMWARE_LEN);
	page[0] = 1;	/* slot 1 is active */
	memset(page + 8, ' ', 8);
	memcpy(page + 8, firmware, strnlen(firmware, 8));
}

void nvme_log_effects(void *out, bool discovery, bool write_uncor)
{
	static const __u8 admin[] = {
		NVME_ADM_GET_LOG_PAGE, NVME_ADM_IDENTIFY, NVME_ADM_ABORT, NVME_ADM_SET_FEATURES,
		NVME_ADM_GET_FEATURES, NVME_ADM_ASYNC_EVENT, NVME_ADM_KEEP_ALIVE,
	};
	static const __u8 reading[] = { NVME_IO_FLUSH, NVME_IO_READ, NVME_IO_COMPARE, NVME_IO_VERIFY,
				      NVME_IO_RESV_REGISTER, NVME_IO_RESV_REPORT, NVME_IO_RESV_ACQUIRE,
				      NVME_IO_RESV_RELEASE };
	static const __u8 writing[] = { NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM, NVME_IO_COPY };
	__le32 *page = out, *io = page + 256;

	memset(out, 0, NVME_LOG_EFFECTS_LEN);
	for (size_t i = 0; i < sizeof(admin); i++)
		page[admin[i]] = htole32(CSUPP);
	if (discovery)
		return;
	for (size_t i = 0; i < sizeof(reading); i++)
		io[reading[i]] = htole32(CSUPP);
	for (size_t i = 0; i < sizeof(writing); i++)
		io[writing[i]] = htole32(CSUPP | LBCC);
	if (write_uncor)
		io[NVME_IO_WRITE_UNCOR] = htole32(CSUPP | LBCC);
}

__u16 nvme_log_slice(const void *page, size_t page_len, __u64 offset, void *dst, size_t len)
{
	size_t n;

	if (offset > page_len)
		return DNR(NVME_ST_INVALID_FIELD);
	n = page_len - offset < len ? page_len - offset : len;
	memcpy(dst, (const __u8 *)page + offset, n);
	memset((__u8 *)dst + n, 0, len - n);
	return NVME_ST_SUCCESS;
}
