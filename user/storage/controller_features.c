// SPDX-License-Identifier: Apache-2.0
/*
 * Get and Set Features (Base 2.0, section 5.27). Called from controller_admin.c on the admin queue's thread. A feature
 * that nothing here depends on (arbitration, power states, ...) is an invalid field rather than a number that is kept
 * and means nothing.
 */
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reactor.h"

#define INVALID_FIELD	(NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)
#define EVENTS_SMART	0xffu /* warnings, none of which ever comes */

enum select { SELECT_CURRENT, SELECT_DEFAULT, SELECT_SAVED, SELECT_CAPABILITIES };

#define CAPABILITY_CHANGEABLE 4u

/* ---- one pair of functions a feature ---- */

static uint16_t get_queues(struct controller *c, struct command *cmd)
{
	uint32_t n = c->granted ? c->granted : CONTROLLER_MAX_QUEUES;

	cmd->result = (n - 1) << 16 | (n - 1);
	return NVME_ST_SUCCESS;
}

static uint16_t set_queues(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	uint32_t nsq = (cdw11 & 0xffff) + 1, ncq = (cdw11 >> 16) + 1;
	uint32_t n = min(nsq, ncq);

	if (nsq > 0xffff || ncq > 0xffff)
		return INVALID_FIELD;
	n = min(n, (uint32_t)CONTROLLER_MAX_QUEUES);
	__atomic_store_n(&c->granted, n, __ATOMIC_RELAXED);
	return get_queues(c, cmd);
}

static uint16_t get_kato(struct controller *c, struct command *cmd)
{
	cmd->result = c->kato_ms;
	return NVME_ST_SUCCESS;
}

static uint16_t set_kato(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	uint32_t unit = CONTROLLER_KAS * 100;

	if (cdw11 > UINT32_MAX - unit)
		return NVME_ST_KATO_INVALID | NVME_STATUS_DNR;
	c->kato_ms = (cdw11 + unit - 1) / unit * unit;
	c->alive_ns = cmd->conn->reactor->now_ns;
	return NVME_ST_SUCCESS;
}

static uint16_t get_events(struct controller *c, struct command *cmd)
{
	cmd->result = c->event_config;
	return NVME_ST_SUCCESS;
}

static uint16_t set_events(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	uint32_t known = c->subsystem ? EVENTS_SMART | NVME_OAES_NS_ATTR : NVME_OAES_DISCOVERY;

	/* Bits of notices that do not exist here are no error: hosts set what they know. */
	c->event_config = cdw11 & known;
	return NVME_ST_SUCCESS;
}

/* The backends' caches are the kernel's page cache or the disk's: always on where there is one. */
static bool cache_on(const struct controller *c)
{
	return c->subsystem && __atomic_load_n(&c->target->write_cache, __ATOMIC_RELAXED);
}

static uint16_t get_cache(struct controller *c, struct command *cmd)
{
	cmd->result = cache_on(c);
	return NVME_ST_SUCCESS;
}

static uint16_t set_cache(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	return (cdw11 & 1) == cache_on(c) ? NVME_ST_SUCCESS : NVME_ST_FEATURE_NOT_CHANGEABLE | NVME_STATUS_DNR;
}

static uint16_t get_temperature(struct controller *c, struct command *cmd)
{
	/* Only the over-temperature threshold of the composite sensor is kept. */
	cmd->result = le32toh(cmd->sqe.cdw11) >> 16 ? 0 : c->temperature;
	return NVME_ST_SUCCESS;
}

static uint16_t set_temperature(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	if (!(cdw11 >> 16))
		c->temperature = cdw11 & 0xffff;
	return NVME_ST_SUCCESS;
}

/* Given at Connect; over Fabrics it is 16 bytes and cannot be set again. */
static uint16_t get_host_id(struct controller *c, struct command *cmd)
{
	if (!(le32toh(cmd->sqe.cdw11) & 1) || cmd->transfer.len < sizeof(c->hostid))
		return INVALID_FIELD;
	memcpy(cmd->data, c->hostid, sizeof(c->hostid));
	return NVME_ST_SUCCESS;
}

static uint16_t set_host_id(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	return NVME_ST_SEQUENCE | NVME_STATUS_DNR;
}

static uint16_t get_behavior(struct controller *c, struct command *cmd)
{
	if (cmd->transfer.len < sizeof(c->behavior))
		return INVALID_FIELD;
	memcpy(cmd->data, c->behavior, sizeof(c->behavior));
	return NVME_ST_SUCCESS;
}

static uint16_t set_behavior(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	if (!cmd->data || cmd->transfer.len < sizeof(c->behavior))
		return INVALID_FIELD;
	memcpy(c->behavior, cmd->data, sizeof(c->behavior));
	return NVME_ST_SUCCESS;
}

/* ---- table ---- */

static const struct feature {
	uint16_t (*get)(struct controller *c, struct command *cmd);
	uint16_t (*set)(struct controller *c, struct command *cmd, uint32_t cdw11);
	bool io_only; /* not on discovery controllers */
	uint32_t capabilities;
} features[256] = {
	[NVME_FID_TEMPERATURE] = {get_temperature, set_temperature, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_WRITE_CACHE] = {get_cache, set_cache, true, 0},
	[NVME_FID_NUM_QUEUES] = {get_queues, set_queues, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_ASYNC_EVENT] = {get_events, set_events, false, CAPABILITY_CHANGEABLE},
	[NVME_FID_KATO] = {get_kato, set_kato, false, CAPABILITY_CHANGEABLE},
	[NVME_FID_HOST_BEHAVIOR] = {get_behavior, set_behavior, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_HOST_ID] = {get_host_id, set_host_id, true, 0},
};

static const struct feature *feature_of(const struct controller *c, uint8_t fid)
{
	const struct feature *f = &features[fid];

	return f->get && (c->subsystem || !f->io_only) ? f : NULL;
}

uint16_t controller_get_feature(struct controller *c, struct command *cmd)
{
	uint32_t cdw10 = le32toh(cmd->sqe.cdw10);
	const struct feature *f = feature_of(c, cdw10);

	if (!f)
		return INVALID_FIELD;
	switch (cdw10 >> 8 & 7) {
	case SELECT_CURRENT:
		return f->get(c, cmd);
	case SELECT_CAPABILITIES:
		cmd->result = f->capabilities;
		return NVME_ST_SUCCESS;
	default: /* nothing is saved, and defaults are not told apart from the current value */
		return INVALID_FIELD;
	}
}

uint16_t controller_set_feature(struct controller *c, struct command *cmd)
{
	uint32_t cdw10 = le32toh(cmd->sqe.cdw10);
	const struct feature *f = feature_of(c, cdw10);

	if (!f)
		return INVALID_FIELD;
	if (cdw10 >> 31)
		return NVME_ST_FEATURE_NOT_SAVEABLE | NVME_STATUS_DNR;
	return f->set(c, cmd, le32toh(cmd->sqe.cdw11));
}
