// SPDX-License-Identifier: Apache-2.0
/*
 * An initiator's controller: Connect, properties, Identify, features, keep-alive, shutdown. Called by the command
 * line and by paths, one command at a time on the admin queue; the I/O queues are opened from here too, because their
 * Connect needs what the admin queue learned. Log pages are read in initiator_discovery.c. After initiator_open() the
 * controller is ready and identified.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "base/util.h"
#include "storage/initiator.h"
#include "storage/initiator_internal.h"

#define ADMIN_DEPTH    31
#define REOPEN_MS      1000u /* for a queue whose last connection the target has not yet let go */
#define NAMESPACES_MAX 65536 /* active ones; more is a broken controller */

/* ---- what went wrong, in words ---- */

static const struct {
	uint16_t status;
	const char *remedy;
} status_remedies[] = {
	{NVME_ST_CONNECT_HOST, "add this host's NQN to the subsystem's hosts, or use --hostnqn; a host with a psk "
			       "there comes by TLS (--psk, or --concat where it is generated)"},
	{NVME_ST_CONNECT_BUSY, "the target is out of controllers or queues; try again later"},
	{NVME_ST_AUTH_REQUIRED, "the target wants authentication; give the host's key with --dhchap-key"},
	{NVME_ST_ABORTED, "it was not answered in time, and was called back; raise --timeout if the target is slow"},
	{NVME_ST_INVALID_NS, "`sluice io connect --identify` lists the namespaces"},
	{NVME_ST_LBA_RANGE, "the range ends past the namespace; `sluice io connect --identify` shows its size"},
	{NVME_ST_NS_WRITE_PROTECTED, "the namespace is read-only"},
	{NVME_ST_ACCESS_DENIED, "the target's access rules do not allow it to this host"},
	{NVME_ST_TRANSIENT_TRANSPORT, "data were damaged on the way to the target"},
};

static const char *io_error_text(int error)
{
	switch (error) {
	case -EBADMSG:
		return "the data digest is wrong: data were damaged on the way here";
	case -EPROTO:
		return "the target reports success, but not all data were transferred";
	default:
		return strerror(-error);
	}
}

int initiator_io_check(const struct initiator_io *io, const char *place, bool admin, struct error *err)
{
	const char *name = nvme_opcode_name(&io->sqe, admin);
	uint16_t code = io->status & NVME_STATUS_CODE;

	if (io->error)
		return error_set(err, -io->error, "%s: %s: %s", place, name, io_error_text(io->error));
	if (!code)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(status_remedies); i++) {
		if (status_remedies[i].status == code)
			return error_set(err, EIO, "%s: %s: %s (status 0x%03x); %s", place, name,
					 nvme_status_name(code), code, status_remedies[i].remedy);
	}
	return error_set(err, EIO, "%s: %s: %s (status 0x%03x)", place, name, nvme_status_name(code), code);
}

/* ---- one admin command ---- */

uint32_t initiator_admin_limit_ms(const struct initiator *i)
{
	const struct initiator_options *o = &i->options;

	return o->kato_ms && o->kato_ms < o->timeout_ms ? o->kato_ms : 0;
}

int initiator_execute(struct initiator *i, struct initiator_io *io, struct error *err)
{
	i->last_admin_ns = time_now_ns();
	if (!io->timeout_ms)
		io->timeout_ms = initiator_admin_limit_ms(i);
	return initiator_queue_execute(i->admin, io, err);
}

/* A status is no failure, but an answer: *ret_done says which of the two it was. */
static int execute_if_known(struct initiator *i, struct initiator_io *io, bool *ret_done, struct error *err)
{
	struct error refused = {0};
	int r = initiator_execute(i, io, &refused);

	if (r && (!io->finished || io->error))
		return error_set(err, -r, "%s", refused.text);
	*ret_done = !r;
	return 0;
}

static int property_get(struct initiator *i, uint32_t offset, uint8_t size, uint64_t *ret_value, struct error *err)
{
	struct initiator_io io = {.sqe = nvme_property_get_make(0, offset, size)};
	int r = initiator_execute(i, &io, err);

	if (!r)
		*ret_value = size == 8 ? io.result : io.result & UINT32_MAX;
	return r;
}

static int property_set(struct initiator *i, uint32_t offset, uint32_t value, struct error *err)
{
	const struct nvme_property property = {.offset = offset, .size = 4, .value = value};
	struct initiator_io io = {.sqe = nvme_property_set_make(0, &property)};

	return initiator_execute(i, &io, err);
}

/* Fills i->page. */
static int identify(struct initiator *i, uint8_t cns, uint32_t nsid, struct error *err)
{
	struct initiator_io io = {
		.sqe = nvme_sqe_identify(0, cns, nsid),
		.data = i->page,
		.len = NVME_IDENTIFY_LEN,
	};

	return initiator_execute(i, &io, err);
}

/* ---- Connect ---- */

/* Names what a refused Connect's result points at, and the remedy for the two that are the user's. */
static int connect_refused(const struct initiator_options *o, const struct initiator_io *io, struct error *err)
{
	const char *field = nvme_connect_fault(io->result);

	if (io->result == NVME_REFUSE_DATA(subnqn))
		return error_set(err, EIO,
				 "%s: Connect: no subsystem '%s' there for this host; `sluice io discover --to "
				 "%s` lists what there is",
				 o->addr.text, o->subnqn, o->addr.text);
	if (io->result == NVME_REFUSE_DATA(hostnqn))
		return error_set(err, EIO, "%s: Connect: the target refuses host '%s'; use --hostnqn", o->addr.text,
				 o->hostnqn);
	return error_set(err, EIO, "%s: Connect: the target refuses parameter %s", o->addr.text, field);
}

/* Connect alone: what it asks for is still to be done. */
static int connect_only(const struct initiator_options *o, struct initiator_queue *q,
			const struct nvme_connect *connect, uint64_t *ret_result, uint16_t *ret_status,
			struct error *err)
{
	struct nvme_connect_data data;
	struct initiator_io io = {.sqe = nvme_connect_sqe_make(0, connect), .data = &data, .len = sizeof(data)};
	int r;

	nvme_connect_data_make(connect, &data);
	r = initiator_queue_execute(q, &io, err);
	*ret_status = io.error ? 0 : io.status & NVME_STATUS_CODE;
	if (r && *ret_status == NVME_ST_CONNECT_PARAM)
		return connect_refused(o, &io, err);
	if (!r)
		*ret_result = io.result;
	return r;
}

static int fabrics_connect(const struct initiator_options *o, struct initiator_queue *q, struct nvme_connect *connect,
			   uint64_t *ret_result, uint16_t *ret_status, struct error *err)
{
	int r = connect_only(o, q, connect, ret_result, ret_status, err);

	return r ? r : queue_authenticate(o, q, *ret_result, err);
}

static void connect_fill(const struct initiator_options *o, uint16_t qid, unsigned int depth, uint16_t cntlid,
			 struct nvme_connect *ret_connect)
{
	*ret_connect = (struct nvme_connect){
		.qid = qid,
		.entries = depth + 1, /* a full queue of n entries holds n - 1 commands */
		.cntlid = cntlid,
		.kato_ms = qid ? 0 : o->kato_ms,
		.no_sq_flow = true, /* commands are counted here; and it lets the target leave responses out */
	};
	memcpy(ret_connect->hostid, o->hostid, sizeof(ret_connect->hostid));
	strcpy(ret_connect->subnqn, o->subnqn);
	strcpy(ret_connect->hostnqn, o->hostnqn);
}

/* ---- a key for TLS by authentication ---- */

/* On an admin queue without TLS, which is of no other use: what it makes is for all queues from now on. */
static int generate_psk(struct initiator *i, struct error *err)
{
	const struct initiator_options *o = &i->options;
	struct initiator_queue *q = NULL;
	struct nvme_connect connect;
	uint64_t result;
	uint16_t status;
	int r = queue_connect(o, 0, ADMIN_DEPTH, 0, &q, err);

	connect_fill(o, 0, ADMIN_DEPTH, NVME_CNTLID_DYNAMIC, &connect);
	if (!r)
		r = connect_only(o, q, &connect, &result, &status, err);
	if (!r && !(result & (NVME_CONNECT_ATR | NVME_CONNECT_ASCR)))
		r = error_set(err, EACCES,
			      "%s: the target does not ask for authentication, so there is no key for TLS; give it "
			      "the host's key, or leave --concat out",
			      o->addr.text);
	if (!r)
		r = queue_concatenate(o, q, DHCHAP_NEWTLSPSK, &i->generated, err);
	if (!r)
		i->options.psk = &i->generated;
	initiator_queue_close(q);
	return r;
}

/* ---- bring-up ---- */

static int wait_ready(struct initiator *i, struct error *err)
{
	uint64_t to_ms = NVME_CAP_TO(i->cap) * 500, limit_ms = max(to_ms, (uint64_t)i->options.timeout_ms);
	uint64_t until = time_now_ns() + limit_ms * 1000000;
	struct timespec pause = {.tv_nsec = 1000000};
	uint64_t csts;
	int r;

	for (;;) {
		r = property_get(i, NVME_PROP_CSTS, 4, &csts, err);
		if (r)
			return r;
		if (csts & NVME_CSTS_CFS)
			return error_set(err, EIO,
					 "%s: the controller reports a fatal status (CSTS 0x%" PRIx64 "); reset "
					 "or restart the target",
					 i->options.addr.text, csts);
		if (csts & NVME_CSTS_RDY)
			return 0;
		if (time_now_ns() > until)
			return error_set(err, ETIMEDOUT, "%s: the controller is not ready after %" PRIu64 " ms",
					 i->options.addr.text, limit_ms);
		/* readiness comes with no event; a property is the only way to learn of it */
		nanosleep(&pause, NULL);
		pause.tv_nsec = min(pause.tv_nsec * 2, 50000000l);
	}
}

/*
 * Lets the controller name the time after which a command is to be sent again, if it can. A controller that does not
 * take it after all does not name any.
 */
static int enable_retry(struct initiator *i, struct error *err)
{
	struct initiator_io io = {
		.sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_HOST_BEHAVIOR, 0),
		.data = i->page,
		.len = NVME_BEHAVIOR_LEN,
	};
	bool done;
	int r;

	if (!i->view.crdt[0])
		return 0;
	memset(i->page, 0, NVME_BEHAVIOR_LEN);
	i->page[0] = NVME_BEHAVIOR_ACRE;
	r = execute_if_known(i, &io, &done, err);
	if (!r && !done)
		memset(i->view.crdt, 0, sizeof(i->view.crdt));
	return r;
}

static int bring_up(struct initiator *i, struct error *err)
{
	const uint32_t cc = NVME_CC_EN | 6 << 16 | 4 << 20; /* entries of 64 and 16 bytes */
	struct nvme_connect connect;
	uint64_t result, vs;
	uint16_t status;
	int r;

	i->last_alive_ns = time_now_ns(); /* Connect starts the controller's timer, a little later */
	connect_fill(&i->options, 0, ADMIN_DEPTH, NVME_CNTLID_DYNAMIC, &connect);
	r = fabrics_connect(&i->options, i->admin, &connect, &result, &status, err);
	if (r)
		return r;
	i->cntlid = (uint16_t)result;
	r = property_get(i, NVME_PROP_CAP, 8, &i->cap, err);
	if (!r)
		r = property_get(i, NVME_PROP_VS, 4, &vs, err);
	if (!r)
		r = property_set(i, NVME_PROP_CC, cc, err);
	if (!r)
		r = wait_ready(i, err);
	if (!r)
		r = identify(i, NVME_CNS_CTRL, 0, err);
	if (r)
		return r;
	if (nvme_ctrl_read(i->page, &i->view))
		return error_set(err, EPROTO, "%s: Identify controller: the data contradict the specification",
				 i->options.addr.text);
	return enable_retry(i, err);
}

int initiator_open(const struct initiator_options *options, struct initiator **ret_initiator, struct error *err)
{
	struct initiator *i;
	const char *fault = nvme_nqn_fault(options->subnqn);
	int r;

	if (fault)
		return error_set(err, EINVAL, "subsystem NQN '%s': %s", options->subnqn, fault);
	fault = nvme_nqn_fault(options->hostnqn);
	if (fault)
		return error_set(err, EINVAL, "host NQN '%s': %s", options->hostnqn, fault);
	i = aligned_alloc(64, (sizeof(*i) + 63) & ~63ul);
	if (!i)
		return error_set(err, ENOMEM, "%s: no memory for a controller", options->addr.text);
	memset(i, 0, sizeof(*i));
	i->options = *options;
	r = options->auth && options->auth->concat ? generate_psk(i, err) : 0;
	if (!r)
		r = queue_connect(&i->options, 0, ADMIN_DEPTH, 0, &i->admin, err);
	if (!r)
		r = bring_up(i, err);
	if (r) {
		initiator_drop(i);
		return r;
	}
	*ret_initiator = i;
	return 0;
}

void initiator_close(struct initiator *i)
{
	if (!i)
		return;
	/* the target frees the controller when the connection ends; a notification that fails changes nothing */
	property_set(i, NVME_PROP_CC, NVME_CC_EN | 6 << 16 | 4 << 20 | NVME_CC_SHN_NORMAL, NULL);
	initiator_drop(i);
}

void initiator_drop(struct initiator *i)
{
	if (!i)
		return;
	initiator_queue_close(i->admin);
	secret_wipe(&i->generated, sizeof(i->generated));
	free(i);
}

/* ---- what there is ---- */

const struct nvme_ctrl_view *initiator_controller(const struct initiator *i)
{
	return &i->view;
}

struct initiator_queue *initiator_admin(struct initiator *i)
{
	return i->admin;
}

uint64_t initiator_cap(const struct initiator *i)
{
	return i->cap;
}

uint32_t initiator_max_transfer(const struct initiator *i)
{
	if (!i->view.max_transfer || i->view.max_transfer > INITIATOR_TRANSFER_MAX)
		return INITIATOR_TRANSFER_MAX;
	return (uint32_t)i->view.max_transfer;
}

int initiator_set_queues(struct initiator *i, unsigned int wanted, unsigned int *ret_granted, struct error *err)
{
	struct initiator_io io;
	unsigned int granted;
	int r;

	if (!wanted || wanted > UINT16_MAX - 1)
		return error_set(err, EINVAL, "%s: %u I/O queues; use 1-65534", i->options.addr.text, wanted);
	io = (struct initiator_io){
		.sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_NUM_QUEUES,
					 (wanted - 1) << 16 | (wanted - 1)),
	};
	r = initiator_execute(i, &io, err);
	if (r)
		return r;
	granted = min((unsigned int)(io.result & 0xffff), (unsigned int)(io.result >> 16 & 0xffff)) + 1;
	if (granted < wanted)
		return error_set(err, EIO, "%s: %u I/O queues wanted, the target grants %u; use --queues %u",
				 i->options.addr.text, wanted, granted, granted);
	*ret_granted = granted;
	return 0;
}

int initiator_namespaces(struct initiator *i, uint32_t **ret_nsids, size_t *ret_n, struct error *err)
{
	const size_t page = NVME_IDENTIFY_LEN / sizeof(uint32_t);
	_cleanup_free_ uint32_t *nsids = NULL;
	size_t n = 0, got;
	int r;

	do {
		uint32_t *more;

		if (n > NAMESPACES_MAX)
			return error_set(err, EPROTO,
					 "%s: the controller lists more than %u active namespaces; reset or restart the "
					 "target",
					 i->options.addr.text, NAMESPACES_MAX);
		more = realloc(nsids, (n + page) * sizeof(*nsids));
		if (!more)
			return error_set(err, ENOMEM, "%s: no memory for %zu namespaces", i->options.addr.text, n);
		nsids = more;
		r = identify(i, NVME_CNS_ACTIVE_NS, n ? nsids[n - 1] : 0, err);
		if (r)
			return r;
		got = nvme_active_read(i->page, nsids + n, page);
		for (size_t k = max(n, (size_t)1); k < n + got; k++) {
			if (nsids[k] <= nsids[k - 1])
				return error_set(err, EPROTO, "%s: the list of active namespaces is not in order",
						 i->options.addr.text);
		}
		n += got;
	} while (got == page);
	*ret_nsids = TAKE_PTR(nsids);
	*ret_n = n;
	return 0;
}

int initiator_namespace(struct initiator *i, uint32_t nsid, struct nvme_ns_view *ret_ns, struct error *err)
{
	struct nvme_ns_view ns;
	int r = identify(i, NVME_CNS_NS, nsid, err);

	if (r)
		return r;
	if (nvme_ns_read(i->page, &ns))
		return error_set(err, EPROTO, "%s: namespace %u: Identify data contradict the specification",
				 i->options.addr.text, nsid);
	if (!ns.blocks)
		return error_set(err, ENOENT,
				 "%s: namespace %u is not active; `sluice io connect --identify` lists those "
				 "that are",
				 i->options.addr.text, nsid);
	if (ns.metadata)
		return error_set(err, ENOTSUP,
				 "%s: namespace %u has %u bytes of metadata a block, which sluice io does "
				 "not support; format it without",
				 i->options.addr.text, nsid, ns.metadata);
	*ret_ns = ns;
	return 0;
}

int initiator_namespace_uuid(struct initiator *i, uint32_t nsid, uint8_t ret_uuid[16], struct error *err)
{
	int r = identify(i, NVME_CNS_NS_DESCS, nsid, err);

	if (r)
		return r;
	r = nvme_descs_uuid(i->page, ret_uuid);
	if (r == -EPROTO)
		return error_set(err, EPROTO, "%s: namespace %u: its list of descriptors is broken",
				 i->options.addr.text, nsid);
	return r;
}

int initiator_dsm_limits(struct initiator *i, struct nvme_dsm_limits *ret_limits, struct error *err)
{
	struct initiator_io io = {
		.sqe = nvme_sqe_identify(0, NVME_CNS_CSI_CTRL, 0),
		.data = i->page,
		.len = NVME_IDENTIFY_LEN,
	};
	bool done;
	int r;

	*ret_limits = (struct nvme_dsm_limits)NVME_DSM_NO_LIMITS;
	if (i->view.version < NVME_VS_1_4) /* such controllers have no command sets, nor this page */
		return 0;
	r = execute_if_known(i, &io, &done, err);
	if (!r && done) /* else it does not have the page */
		nvme_dsm_limits_read(i->page, ret_limits);
	return r;
}

int initiator_set_events(struct initiator *i, uint32_t events, struct error *err)
{
	struct initiator_io io = {
		.sqe = nvme_sqe_features(NVME_ADM_SET_FEATURES, 0, NVME_FID_ASYNC_EVENT, events),
	};

	return initiator_execute(i, &io, err);
}

/* ---- keep-alive, I/O queues ---- */

int initiator_authenticate(struct initiator *i, struct initiator_queue *q, struct error *err)
{
	struct tls_psk fresh;
	int r;

	if (!i->options.auth)
		return error_set(err, ENOKEY, "%s: no key to authenticate with; give --dhchap-key",
				 i->options.addr.text);
	if (!i->options.psk || q != i->admin)
		return queue_authenticate(&i->options, q, NVME_CONNECT_ATR, err);
	r = queue_concatenate(&i->options, q, DHCHAP_REPLACETLSPSK, &fresh, err);
	if (!r) {
		i->generated = fresh;
		i->options.psk = &i->generated;
	}
	secret_wipe(&fresh, sizeof(fresh));
	return r;
}

int initiator_tend(struct initiator *i, struct error *err)
{
	uint32_t half_ms = max(i->options.kato_ms / 2, 1u), limit_ms = min(half_ms, i->options.timeout_ms);
	struct initiator_io io = {.sqe = nvme_sqe_keep_alive(0), .timeout_ms = limit_ms};
	uint64_t last_ns = i->view.tbkas ? i->last_admin_ns : i->last_alive_ns, now = time_now_ns();

	if (!i->options.kato_ms || now - last_ns < half_ms * 1000000ull)
		return 0;
	i->last_alive_ns = now;
	return initiator_execute(i, &io, err);
}

/* One attempt; *ret_status is the target's answer to Connect, 0 if it gave none. */
static int open_queue(const struct initiator *i, uint16_t qid, unsigned int depth, struct initiator_queue **ret_queue,
		      uint16_t *ret_status, struct error *err)
{
	struct initiator_queue *q;
	struct nvme_connect connect;
	uint64_t result;
	int r = queue_connect(&i->options, qid, depth, i->view.in_capsule, &q, err);

	*ret_status = 0;
	if (r)
		return r;
	connect_fill(&i->options, qid, depth, i->cntlid, &connect);
	r = fabrics_connect(&i->options, q, &connect, &result, ret_status, err);
	if (r) {
		initiator_queue_close(q);
		return r;
	}
	*ret_queue = q;
	return 0;
}

int initiator_queue_open(const struct initiator *i, uint16_t qid, unsigned int depth,
			 struct initiator_queue **ret_queue, struct error *err)
{
	unsigned int most = min((unsigned int)INITIATOR_DEPTH_MAX, (unsigned int)NVME_CAP_MQES(i->cap));
	uint64_t until = time_now_ns() + min(i->options.timeout_ms, REOPEN_MS) * 1000000ull;
	struct timespec pause = {.tv_nsec = 1000000};
	uint16_t status;
	int r;

	if (i->view.max_cmds)
		most = min(most, (unsigned int)i->view.max_cmds);
	if (!depth || depth > most)
		return error_set(err, EINVAL, "%s: depth %u; the controller and sluice allow 1-%u",
				 i->options.addr.text, depth, most);
	for (;;) {
		r = open_queue(i, qid, depth, ret_queue, &status, err);
		if (status != NVME_ST_SEQUENCE || time_now_ns() > until)
			return r;
		/* the target may not yet have noticed that this queue's last connection ended; no event tells */
		nanosleep(&pause, NULL);
		pause.tv_nsec = min(pause.tv_nsec * 2, 50000000l);
	}
}
