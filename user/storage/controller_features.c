// SPDX-License-Identifier: Apache-2.0
/*
 * Get and Set Features (Base 2.0, section 5.27). Called from controller_admin.c on the admin queue's thread. One table
 * says what there is. Nothing is saveable, so that the saved value is the default, and every controller begins with
 * defaults and goes back to them at a reset. What nothing here depends on is kept only where hosts must find it.
 */
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reservations.h"

#define INVALID_FIELD  (NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)
#define EVENTS_SMART   0xffu /* warnings, none of which ever comes */
#define TEMPERATURE    0x157 /* 343 K, the usual default of the threshold */
#define BURST_NO_LIMIT 7
#define RECOVERY_DULBE (1u << 16)
#define TIMESTAMP_LEN  8
#define TIMESTAMP_MASK 0xffffffffffffull
#define TIMESTAMP_SET  1 /* origin: the host has set it */

enum select { SELECT_CURRENT, SELECT_DEFAULT, SELECT_SAVED, SELECT_CAPABILITIES };

#define CAPABILITY_NAMESPACE  2u
#define CAPABILITY_CHANGEABLE 4u

/* ---- numbers that are kept, in one place each ---- */

void controller_features_reset(struct controller *c)
{
	__atomic_store_n(&c->acre, false, __ATOMIC_RELAXED);
	c->features = (struct controller_features){
		.arbitration = BURST_NO_LIMIT,
		.temperature = TEMPERATURE,
	};
	c->event_config = 0;
	__atomic_store_n(&c->granted, 0, __ATOMIC_RELAXED);
}

/* Round robin only: the burst is a hint for it, weights are of an arbitration that CAP does not offer. */
static uint16_t get_arbitration(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = current ? c->features.arbitration : BURST_NO_LIMIT;
	return NVME_ST_SUCCESS;
}

static uint16_t set_arbitration(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	c->features.arbitration = cdw11 & 7;
	return NVME_ST_SUCCESS;
}

/* Power state 0 is the only one. */
static uint16_t get_power(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = 0;
	return NVME_ST_SUCCESS;
}

static uint16_t set_power(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	return cdw11 & 0x1f ? INVALID_FIELD : NVME_ST_SUCCESS;
}

static uint16_t get_temperature(struct controller *c, struct command *cmd, bool current)
{
	/* Only the over-temperature threshold of the composite sensor is kept. */
	if (le32toh(cmd->sqe.cdw11) >> 16)
		cmd->result = 0;
	else
		cmd->result = current ? c->features.temperature : TEMPERATURE;
	return NVME_ST_SUCCESS;
}

static uint16_t set_temperature(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	if (!(cdw11 >> 16))
		c->features.temperature = cdw11 & 0xffff;
	return NVME_ST_SUCCESS;
}

/* A time limit of recovery means nothing here; errors of deallocated blocks do not exist. */
static uint16_t get_recovery(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = current ? c->features.recovery : 0;
	return NVME_ST_SUCCESS;
}

static uint16_t set_recovery(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	if (cdw11 & RECOVERY_DULBE)
		return INVALID_FIELD;
	c->features.recovery = cdw11 & 0xffff;
	return NVME_ST_SUCCESS;
}

static uint16_t get_atomicity(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = current && c->features.atomicity_off;
	return NVME_ST_SUCCESS;
}

static uint16_t set_atomicity(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	c->features.atomicity_off = cdw11 & 1;
	return NVME_ST_SUCCESS;
}

/* ---- queues, keep alive, events ---- */

static uint16_t get_queues(struct controller *c, struct command *cmd, bool current)
{
	uint32_t n = current && c->granted ? c->granted : CONTROLLER_MAX_QUEUES;

	cmd->result = (n - 1) << 16 | (n - 1);
	return NVME_ST_SUCCESS;
}

/* Once there are I/O queues the number stands (Base 2.0, section 5.27.1.5). */
static uint16_t set_queues(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	uint32_t nsq = (cdw11 & 0xffff) + 1, ncq = (cdw11 >> 16) + 1;
	uint32_t n = min(nsq, ncq);

	if (nsq > 0xffff || ncq > 0xffff)
		return INVALID_FIELD;
	if (controller_has_io_queues(c))
		return NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	n = min(n, (uint32_t)CONTROLLER_MAX_QUEUES);
	__atomic_store_n(&c->granted, n, __ATOMIC_RELAXED);
	return get_queues(c, cmd, true);
}

static uint16_t get_kato(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = current ? c->kato_ms : c->connect_kato_ms;
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

static uint16_t get_events(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = current ? c->event_config : 0;
	return NVME_ST_SUCCESS;
}

static uint16_t set_events(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	uint32_t known = c->subsystem ? EVENTS_SMART | CONTROLLER_OAES | CONTROLLER_OAES_ANA : NVME_OAES_DISCOVERY;

	/* Bits of notices that do not exist here are no error: hosts set what they know. */
	c->event_config = cdw11 & known;
	return NVME_ST_SUCCESS;
}

/* The backends' caches are the kernel's page cache or the disk's: always on where there is one. */
static bool cache_on(const struct controller *c)
{
	return c->subsystem && __atomic_load_n(&c->target->write_cache, __ATOMIC_RELAXED);
}

static uint16_t get_cache(struct controller *c, struct command *cmd, bool current)
{
	cmd->result = cache_on(c);
	return NVME_ST_SUCCESS;
}

static uint16_t set_cache(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	return (cdw11 & 1) == cache_on(c) ? NVME_ST_SUCCESS : NVME_ST_FEATURE_NOT_CHANGEABLE | NVME_STATUS_DNR;
}

/* ---- those with data ---- */

/* Milliseconds since 1970 as the host counts them, or since the controller was made; then where that is from. */
static uint16_t get_timestamp(struct controller *c, struct command *cmd, bool current)
{
	uint64_t now_ms = cmd->conn->reactor->now_ns / 1000000, value = 0;
	__le64 wire;

	if (cmd->transfer.len < TIMESTAMP_LEN)
		return INVALID_FIELD;
	if (current && c->features.timestamp_set)
		value = ((c->features.timestamp_ms + now_ms - c->features.timestamp_at_ms) & TIMESTAMP_MASK) |
			(uint64_t)TIMESTAMP_SET << 49;
	else if (current)
		value = (now_ms - c->started_ns / 1000000) & TIMESTAMP_MASK;
	wire = htole64(value);
	memcpy(cmd->data, &wire, sizeof(wire));
	return NVME_ST_SUCCESS;
}

static uint16_t set_timestamp(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	__le64 wire;

	if (!cmd->data || cmd->transfer.len < TIMESTAMP_LEN)
		return INVALID_FIELD;
	memcpy(&wire, cmd->data, sizeof(wire));
	c->features.timestamp_ms = le64toh(wire) & TIMESTAMP_MASK;
	c->features.timestamp_at_ms = cmd->conn->reactor->now_ns / 1000000;
	c->features.timestamp_set = true;
	return NVME_ST_SUCCESS;
}

/* Given at Connect; over Fabrics it is 16 bytes and cannot be set again. */
static uint16_t get_host_id(struct controller *c, struct command *cmd, bool current)
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

static uint16_t get_behavior(struct controller *c, struct command *cmd, bool current)
{
	if (cmd->transfer.len < sizeof(c->features.behavior))
		return INVALID_FIELD;
	if (current)
		memcpy(cmd->data, c->features.behavior, sizeof(c->features.behavior));
	return NVME_ST_SUCCESS;
}

static uint16_t set_behavior(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	if (!cmd->data || cmd->transfer.len < sizeof(c->features.behavior))
		return INVALID_FIELD;
	memcpy(c->features.behavior, cmd->data, sizeof(c->features.behavior));
	__atomic_store_n(&c->acre, c->features.behavior[0] == NVME_BEHAVIOR_ACRE, __ATOMIC_RELAXED);
	return NVME_ST_SUCCESS;
}

/* Without ACRE there is neither this status nor a delay (Base 2.0, section 5.27.1.18); hosts retry what has no DNR. */
uint16_t controller_interrupted(const struct controller *c)
{
	return __atomic_load_n(&c->acre, __ATOMIC_RELAXED) ? NVME_ST_INTERRUPTED | NVME_STATUS_CRDT1 : NVME_ST_INTERNAL;
}

static uint16_t get_reservation_mask(struct controller *c, struct command *cmd, bool current)
{
	uint32_t mask = 0;
	uint16_t status = reservation_mask_get(c, le32toh(cmd->sqe.nsid), &mask);

	cmd->result = current ? mask : 0;
	return status;
}

static uint16_t set_reservation_mask(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	return reservation_mask_set(c, le32toh(cmd->sqe.nsid), cdw11);
}

static uint16_t get_reservation_persistence(struct controller *c, struct command *cmd, bool current)
{
	const struct namespace *ns = subsystem_namespace(c->subsystem, le32toh(cmd->sqe.nsid));

	if (!ns)
		return NVME_ST_INVALID_NS | NVME_STATUS_DNR;
	pthread_mutex_lock(&ns->reservations->mutex);
	cmd->result = current && ns->reservations->now.persists;
	pthread_mutex_unlock(&ns->reservations->mutex);
	return NVME_ST_SUCCESS;
}

/* Only Reservation Register changes it: that waits for the disk. */
static uint16_t set_reservation_persistence(struct controller *c, struct command *cmd, uint32_t cdw11)
{
	return NVME_ST_FEATURE_NOT_CHANGEABLE | NVME_STATUS_DNR;
}

/* ---- table ---- */

static const struct feature {
	/* !current: the default; answers success where it has one. */
	uint16_t (*get)(struct controller *c, struct command *cmd, bool current);
	uint16_t (*set)(struct controller *c, struct command *cmd, uint32_t cdw11);
	bool io_only; /* not on discovery controllers */
	uint32_t capabilities;
	bool any_nsid; /* one value for all namespaces, whichever is named */
} features[256] = {
	[NVME_FID_ARBITRATION] = {get_arbitration, set_arbitration, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_POWER] = {get_power, set_power, true, 0},
	[NVME_FID_TEMPERATURE] = {get_temperature, set_temperature, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_ERROR_RECOVERY] = {get_recovery, set_recovery, true, CAPABILITY_CHANGEABLE, true},
	[NVME_FID_WRITE_CACHE] = {get_cache, set_cache, true, 0},
	[NVME_FID_NUM_QUEUES] = {get_queues, set_queues, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_WRITE_ATOMIC] = {get_atomicity, set_atomicity, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_ASYNC_EVENT] = {get_events, set_events, false, CAPABILITY_CHANGEABLE},
	[NVME_FID_TIMESTAMP] = {get_timestamp, set_timestamp, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_KATO] = {get_kato, set_kato, false, CAPABILITY_CHANGEABLE},
	[NVME_FID_HOST_BEHAVIOR] = {get_behavior, set_behavior, true, CAPABILITY_CHANGEABLE},
	[NVME_FID_RESV_MASK] = {get_reservation_mask, set_reservation_mask, true,
				CAPABILITY_CHANGEABLE | CAPABILITY_NAMESPACE},
	[NVME_FID_RESV_PERSIST] = {get_reservation_persistence, set_reservation_persistence, true,
				   CAPABILITY_NAMESPACE},
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
		return f->get(c, cmd, true);
	case SELECT_DEFAULT:
	case SELECT_SAVED:
		return f->get(c, cmd, false);
	case SELECT_CAPABILITIES:
		cmd->result = f->capabilities;
		return NVME_ST_SUCCESS;
	default:
		return INVALID_FIELD;
	}
}

uint16_t controller_set_feature(struct controller *c, struct command *cmd)
{
	uint32_t cdw10 = le32toh(cmd->sqe.cdw10), nsid = le32toh(cmd->sqe.nsid);
	const struct feature *f = feature_of(c, cdw10);

	if (!f)
		return INVALID_FIELD;
	if (cdw10 >> 31)
		return NVME_ST_FEATURE_NOT_SAVEABLE | NVME_STATUS_DNR;
	if (nsid && nsid != UINT32_MAX && !f->any_nsid && !(f->capabilities & CAPABILITY_NAMESPACE))
		return NVME_ST_FEATURE_NOT_PER_NS | NVME_STATUS_DNR;
	return f->set(c, cmd, le32toh(cmd->sqe.cdw11));
}

void controller_features_list(const struct controller *c, bool ret_known[256])
{
	unsigned int i;

	for (i = 0; i < 256; i++)
		ret_known[i] = feature_of(c, i);
}
