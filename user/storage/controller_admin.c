// SPDX-License-Identifier: Apache-2.0
/*
 * Admin and Fabrics commands of one controller. They come from conn_command.c on the thread of the admin queue, with
 * their data whole and a zeroed buffer for what they answer; a handler sets cmd->status and cmd->result. One table says
 * which opcodes are served: what is not in it is an invalid opcode. Discovery controllers serve the same ones.
 */
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reservations.h"

#define INVALID_FIELD (NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)

/* ---- Identify ---- */

static void describe_ctrl(const struct controller *c, struct nvme_ctrl_desc *ret_desc)
{
	const struct subsystem *s = c->subsystem;
	bool ana = s && subsystem_now(s)->ana;

	*ret_desc = (struct nvme_ctrl_desc){
		.discovery = !s,
		.subnqn = s ? s->nqn : NVME_DISCOVERY_NQN,
		.firmware = SLUICE_VERSION,
		.cntlid = c->cntlid,
		.nn = s ? TARGET_MAX_NSID : 0,
		.max_transfer = BUFFER_MAX_LEN,
		.in_capsule = c->target->transport.in_capsule,
		.max_cmds = CONTROLLER_MAX_ENTRIES - 1,
		.kas_100ms = CONTROLLER_KAS,
		.crdt_100ms = CONTROLLER_CRDT,
		.aborts = CONTROLLER_MAX_ABORTS,
		.events = CONTROLLER_MAX_EVENTS,
		.errors = ERROR_LOG_ENTRIES,
		.oaes = !s ? NVME_OAES_DISCOVERY : CONTROLLER_OAES | (ana ? CONTROLLER_OAES_ANA : 0),
		.ana_groups = ana ? POLICY_ANA_GROUPS : 0,
		.ana_transition = ANA_TRANSITION_S,
		.write_cache = s && __atomic_load_n(&c->target->write_cache, __ATOMIC_RELAXED),
		.write_uncor = s && subsystem_spoils(s),
	};
}

static void describe_ns(const struct namespace *ns, struct nvme_ns_desc *ret_desc)
{
	*ret_desc = (struct nvme_ns_desc){
		.subnqn = ns->subsystem->nqn,
		.nsid = ns->config->id,
		.blocks = ns->space.blocks,
		.block_shift = ns->space.block_shift,
		.readonly = ns->space.readonly,
		.zeroes = ns->backend->zeroes,
		.max_transfer = BUFFER_MAX_LEN,
		.atomic = BUFFER_MAX_LEN,
		.ana_group = ns->group,
		.ptpl = ns->reservations->can_persist,
	};
}

static uint16_t active_list(const struct controller *c, void *out, uint32_t after)
{
	const struct subsystem_state *s = subsystem_now(c->subsystem);
	__u32 nsids[1024];
	unsigned int i, n = 0;

	/* Only ids above `after` count towards the 1024 that an answer holds. */
	for (i = 0; i < s->n_namespaces && n < ARRAY_SIZE(nsids); i++)
		if (s->namespaces[i]->config->id > after)
			nsids[n++] = s->namespaces[i]->config->id;
	return nvme_identify_active(out, nsids, n, after);
}

/* What is asked of a namespace. An id that could exist and does not is "inactive": zeros where the format has them. */
static uint16_t identify_ns(const struct controller *c, uint8_t cns, uint32_t nsid, void *out)
{
	const struct namespace *ns = subsystem_namespace(c->subsystem, nsid);
	struct nvme_ns_desc desc;

	if (!ns && (!nsid || nsid > TARGET_MAX_NSID))
		return NVME_ST_INVALID_NS | NVME_STATUS_DNR;
	if (!ns)
		return cns == NVME_CNS_NS || cns == NVME_CNS_NS_ALLOCATED ? NVME_ST_SUCCESS : INVALID_FIELD;
	describe_ns(ns, &desc);
	switch (cns) {
	case NVME_CNS_NS:
	case NVME_CNS_NS_ALLOCATED:
		nvme_identify_ns(out, &desc);
		if (ns->group && ana_status(c, ns->group))
			((struct nvme_id_ns *)out)->nuse = 0; /* not known by this path */
		return NVME_ST_SUCCESS;
	case NVME_CNS_NS_DESCS:
		nvme_identify_descs(out, &desc);
		return NVME_ST_SUCCESS;
	case NVME_CNS_NS_INDEP:
		nvme_identify_ns_indep(out, &desc);
		return NVME_ST_SUCCESS;
	default: /* NVME_CNS_CSI_NS, and of an allocated one */
		nvme_identify_csi_ns(out);
		return NVME_ST_SUCCESS;
	}
}

static uint16_t identify_fill(const struct controller *c, const struct nvme_sqe *sqe, void *out)
{
	uint8_t cns = le32toh(sqe->cdw10), csi = le32toh(sqe->cdw11) >> 24;
	struct nvme_ctrl_desc desc;

	describe_ctrl(c, &desc);
	if (cns == NVME_CNS_CTRL) {
		nvme_identify_ctrl(out, &desc);
		return NVME_ST_SUCCESS;
	}
	if (!c->subsystem)
		return INVALID_FIELD;
	switch (cns) {
	case NVME_CNS_CSI_ACTIVE_NS:
	case NVME_CNS_CSI_NS:
	case NVME_CNS_CSI_CTRL:
	case NVME_CNS_CSI_ALLOCATED_NS:
	case NVME_CNS_CSI_NS_ALLOCATED:
		if (csi) /* the NVM command set is 0 */
			return INVALID_FIELD;
	}
	switch (cns) {
	case NVME_CNS_ACTIVE_NS:
	case NVME_CNS_CSI_ACTIVE_NS:
	case NVME_CNS_ALLOCATED_NS: /* every namespace is attached to every controller */
	case NVME_CNS_CSI_ALLOCATED_NS:
		return active_list(c, out, le32toh(sqe->nsid));
	case NVME_CNS_NS:
	case NVME_CNS_NS_ALLOCATED:
	case NVME_CNS_NS_DESCS:
	case NVME_CNS_NS_INDEP:
	case NVME_CNS_CSI_NS_ALLOCATED:
	case NVME_CNS_CSI_NS:
		return identify_ns(c, cns, le32toh(sqe->nsid), out);
	case NVME_CNS_CSI_CTRL:
		nvme_identify_csi_ctrl(out);
		return NVME_ST_SUCCESS;
	case NVME_CNS_COMMAND_SETS:
		nvme_identify_command_sets(out);
		return NVME_ST_SUCCESS;
	default:
		return controller_identify_list(c, sqe, out);
	}
}

static bool identify(struct conn *conn, struct command *cmd)
{
	uint8_t page[NVME_IDENTIFY_LEN] __attribute__((aligned(8))) = {0};

	/* A host that asks for less gets the beginning. */
	cmd->status = cmd->transfer.len ? identify_fill(conn->controller, &cmd->sqe, page) : INVALID_FIELD;
	if (!cmd->status)
		memcpy(cmd->data, page, min((size_t)cmd->transfer.len, sizeof(page)));
	return false;
}

/* ---- features, logs: their own files ---- */

static bool get_features(struct conn *conn, struct command *cmd)
{
	cmd->status = controller_get_feature(conn->controller, cmd);
	return false;
}

static bool set_features(struct conn *conn, struct command *cmd)
{
	cmd->status = controller_set_feature(conn->controller, cmd);
	return false;
}

static bool get_log_page(struct conn *conn, struct command *cmd)
{
	cmd->status = controller_log_page(conn, cmd);
	return false;
}

/* ---- events, abort, keep alive ---- */

static bool async_event(struct conn *conn, struct command *cmd)
{
	struct controller *c = conn->controller;

	if (c->events == CONTROLLER_MAX_EVENTS) {
		cmd->status = NVME_ST_AER_LIMIT | NVME_STATUS_DNR;
		return false;
	}
	if (event_now(c, &cmd->result))
		return false;
	c->events++;
	return true;
}

static bool keep_alive(struct conn *conn, struct command *cmd)
{
	conn->controller->alive_ns = conn->reactor->now_ns;
	return false;
}

/* ---- Fabrics ---- */

/* A reset or shutdown is over when the I/O queues are gone, on whichever reactors they are. */
static void leave_if_alone(struct controller *c)
{
	if (c->leaving != LEAVING_NOT && !controller_has_io_queues(c))
		c->leaving = LEAVING_NOT;
}

static void property_get(struct conn *conn, struct command *cmd)
{
	struct controller *c = conn->controller;
	struct nvme_property property;

	cmd->status = nvme_property_read(&cmd->sqe, &property);
	if (!cmd->status)
		cmd->status = nvme_properties_get(&c->props, &property, &cmd->result);
	if (cmd->status || property.offset != NVME_PROP_CSTS)
		return;
	leave_if_alone(c);
	if (c->leaving == LEAVING_RESET)
		cmd->result |= NVME_CSTS_RDY;
	else if (c->leaving == LEAVING_SHUTDOWN)
		cmd->result = (cmd->result & ~(__u64)NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_BUSY;
}

/*
 * CC.EN was cleared or a shutdown notified: I/O queues end, wherever they are. After a reset the controller is as after
 * Connect, but for the admin queue, its number and its keep-alive timeout (Base 2.0, section 3.7.2).
 */
static void leave(struct conn *conn, bool reset)
{
	struct controller *c = conn->controller;
	unsigned int i;

	c->leaving = reset ? LEAVING_RESET : LEAVING_SHUTDOWN;
	__atomic_store_n(&c->ready, false, __ATOMIC_RELAXED);
	__atomic_fetch_add(&c->epoch, 1, __ATOMIC_RELEASE);
	if (reset) {
		events_reset(conn);
		controller_features_reset(c);
		c->kato_ms = c->connect_kato_ms;
	}
	for (i = 0; i < c->target->n_reactors; i++)
		reactor_wake(c->target->reactors[i]);
}

static void property_set(struct conn *conn, struct command *cmd)
{
	struct controller *c = conn->controller;
	uint32_t before = c->props.cc, now;
	struct nvme_property property;

	leave_if_alone(c);
	cmd->status = nvme_property_read(&cmd->sqe, &property);
	/* A host waits for CSTS.RDY to go before it enables again. */
	if (!cmd->status && c->leaving == LEAVING_RESET && property.value & NVME_CC_EN)
		cmd->status = NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	if (!cmd->status)
		cmd->status = nvme_properties_set(&c->props, &property);
	if (cmd->status)
		return;
	now = c->props.cc;
	c->alive_ns = conn->reactor->now_ns; /* enabling starts the keep-alive timer anew */
	if (before & ~now & NVME_CC_EN)
		leave(conn, true);
	else if (now & NVME_CC_SHN_MASK && !(before & NVME_CC_SHN_MASK))
		leave(conn, false);
	else if (!(now & NVME_CC_SHN_MASK))
		__atomic_store_n(&c->ready, nvme_properties_ready(&c->props), __ATOMIC_RELAXED);
}

static bool fabrics(struct conn *conn, struct command *cmd)
{
	uint8_t fctype = ((struct nvme_fabrics_sqe *)&cmd->sqe)->fctype;

	if (fctype == NVME_FC_CONNECT)
		cmd->status = controller_connect(conn, cmd, &cmd->result);
	else if (!conn->controller)
		cmd->status = NVME_ST_SEQUENCE | NVME_STATUS_DNR;
	else if (fctype == NVME_FC_AUTH_SEND)
		conn_auth_send(conn, cmd);
	else if (fctype == NVME_FC_AUTH_RECV)
		conn_auth_receive(conn, cmd);
	else if (!conn_auth_passed(conn->auth))
		cmd->status = NVME_ST_AUTH_REQUIRED | NVME_STATUS_DNR;
	else if (fctype == NVME_FC_DISCONNECT)
		cmd->status = NVME_ST_INVALID_QUEUE_TYPE | NVME_STATUS_DNR;
	else if (fctype == NVME_FC_PROPERTY_GET)
		property_get(conn, cmd);
	else if (fctype == NVME_FC_PROPERTY_SET)
		property_set(conn, cmd);
	else
		cmd->status = NVME_ST_INVALID_OPCODE | NVME_STATUS_DNR;
	return false;
}

/* The queue ends once this and what was before it is answered; its connection with it (Base 2.0, section 6.4). */
static void disconnect(struct conn *conn, struct command *cmd)
{
	if (!conn_auth_passed(conn->auth))
		cmd->status = NVME_ST_AUTH_REQUIRED | NVME_STATUS_DNR;
	else if (((struct nvme_disconnect_sqe *)&cmd->sqe)->recfmt)
		cmd->status = NVME_ST_CONNECT_FORMAT | NVME_STATUS_DNR;
	else
		conn->disconnecting = true;
}

void controller_fabrics_io(struct conn *conn, struct command *cmd)
{
	uint8_t fctype = ((struct nvme_fabrics_sqe *)&cmd->sqe)->fctype;

	if (fctype == NVME_FC_AUTH_SEND)
		conn_auth_send(conn, cmd);
	else if (fctype == NVME_FC_AUTH_RECV)
		conn_auth_receive(conn, cmd);
	else if (fctype == NVME_FC_DISCONNECT)
		disconnect(conn, cmd);
	else
		cmd->status = fctype == NVME_FC_CONNECT ? NVME_ST_SEQUENCE | NVME_STATUS_DNR
							: NVME_ST_INVALID_OPCODE | NVME_STATUS_DNR;
}

/* ---- the table ---- */

static const struct {
	bool (*run)(struct conn *conn, struct command *cmd); /* true: no answer yet */
	bool enabled;					     /* only once CC.EN is set */
} handlers[256] = {
	[NVME_ADM_GET_LOG_PAGE] = {get_log_page, true}, [NVME_ADM_IDENTIFY] = {identify, true},
	[NVME_ADM_ABORT] = {controller_abort, true},	[NVME_ADM_SET_FEATURES] = {set_features, true},
	[NVME_ADM_GET_FEATURES] = {get_features, true}, [NVME_ADM_ASYNC_EVENT] = {async_event, true},
	[NVME_ADM_KEEP_ALIVE] = {keep_alive, false},	[NVME_FABRICS] = {fabrics, false},
};

bool controller_admin(struct conn *conn, struct command *cmd)
{
	const struct controller *c = conn->controller;
	uint8_t opcode = cmd->sqe.opcode;

	if (!handlers[opcode].run) {
		cmd->status = NVME_ST_INVALID_OPCODE | NVME_STATUS_DNR;
		return false;
	}
	if (handlers[opcode].enabled && !nvme_properties_ready(&c->props)) {
		cmd->status = NVME_ST_SEQUENCE | NVME_STATUS_DNR;
		return false;
	}
	return handlers[opcode].run(conn, cmd);
}
