// SPDX-License-Identifier: Apache-2.0
/*
 * NQNs, Connect and properties. The target's controllers and the initiator's connection setup call
 * it. Pure. What always holds: a struct nvme_connect that leaves nvme_connect_read() has valid,
 * NUL-terminated NQNs, and a controller's CSTS is always what its CC demands. Discovery records are
 * in discovery.c.
 */
#include "nvme/fabrics.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "nvme/command.h"

#define DNR(status)	((__u16)((status) | NVME_STATUS_DNR))

/*
 * Time in which a controller gets ready, in 500 ms: it is at once, but a loaded host may be slow to
 * ask.
 */
#define CAP_TO		20ULL

#define CC_CSS(cc)	(((cc) >> 4) & 7)
#define CC_MPS(cc)	(((cc) >> 7) & 0xf)

static bool is_uuid(const char *s)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i;

	for (i = 0; form[i]; i++)
		if (form[i] == '-' ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return false;
	return !s[i];
}

/* "yyyy-mm." at s. */
static bool is_date(const char *s)
{
	static const char form[] = "dddd-dd.";
	int month;

	for (size_t i = 0; form[i]; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char)s[i]) : s[i] != form[i])
			return false;
	month = (s[5] - '0') * 10 + s[6] - '0';
	return month >= 1 && month <= 12;
}

const char *nvme_nqn_fault(const char *nqn)
{
	size_t len = strnlen(nqn, NVME_NQN_MAX + 1), domain;
	static const size_t date = sizeof("nqn.") - 1, name = sizeof("nqn.yyyy-mm.") - 1;

	if (len > NVME_NQN_MAX)
		return "longer than 223 bytes";
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)nqn[i] <= ' ' || nqn[i] == 0x7f)
			return "contains a space or control character";
	if (strncmp(nqn, "nqn.", date))
		return "does not start with \"nqn.\"";
	if (!is_date(nqn + date))
		return "has no date \"yyyy-mm.\" behind \"nqn.\"";
	if (!strncmp(nqn, NVME_NQN_UUID_PREFIX, sizeof(NVME_NQN_UUID_PREFIX) - 1) &&
	    !is_uuid(nqn + sizeof(NVME_NQN_UUID_PREFIX) - 1))
		return "has no UUID behind \"uuid:\"";
	for (domain = name; nqn[domain] && nqn[domain] != ':'; domain++)
		if (!isalnum((unsigned char)nqn[domain]) && !strchr(".-", nqn[domain]))
			return "has a domain of more than letters, digits, '.' and '-'";
	if (domain == name)
		return "has no domain behind its date";
	if (nqn[domain] == ':' && !nqn[domain + 1])
		return "ends in ':'";
	return NULL;
}

int nvme_nqn_read(const char field[NVME_NQN_FIELD], char ret_nqn[NVME_NQN_MAX + 1])
{
	if (!memchr(field, 0, NVME_NQN_FIELD) || nvme_nqn_fault(field))
		return -EINVAL;
	memcpy(ret_nqn, field, strlen(field) + 1);
	return 0;
}

/* ---- Connect ---- */

static __u16 connect_refuse(__u64 place, __u64 *ret_result)
{
	*ret_result = place;
	return DNR(NVME_ST_CONNECT_PARAM);
}

__u16 nvme_connect_read(const struct nvme_sqe *sqe, const void *data, size_t data_len,
			__u32 max_entries, struct nvme_connect *ret_connect, __u64 *ret_result)
{
	const struct nvme_connect_sqe *cmd = (const struct nvme_connect_sqe *)sqe;
	struct nvme_connect connect = {
		.qid = le16toh(cmd->qid),
		.entries = le16toh(cmd->sqsize) + 1U,
		.kato_ms = le32toh(cmd->kato),
		.no_sq_flow = cmd->cattr & NVME_CATTR_NO_SQ_FLOW,
	};
	struct nvme_connect_data body;

	*ret_result = 0;
	if (cmd->recfmt)
		return DNR(NVME_ST_CONNECT_FORMAT);
	if (data_len != sizeof(body))
		return DNR(NVME_ST_SGL_DATA_LEN);
	memcpy(&body, data, sizeof(body));
	connect.cntlid = le16toh(body.cntlid);
	memcpy(connect.hostid, body.hostid, sizeof(connect.hostid));

	if (connect.entries < 2 || connect.entries > max_entries)
		return connect_refuse(NVME_REFUSE_SQE(sqsize), ret_result);
	if ((connect.cntlid == NVME_CNTLID_DYNAMIC) != !connect.qid)
		return connect_refuse(NVME_REFUSE_DATA(cntlid), ret_result);
	if (nvme_nqn_read(body.subnqn, connect.subnqn))
		return connect_refuse(NVME_REFUSE_DATA(subnqn), ret_result);
	if (nvme_nqn_read(body.hostnqn, connect.hostnqn))
		return connect_refuse(NVME_REFUSE_DATA(hostnqn), ret_result);
	*ret_connect = connect;
	return NVME_ST_SUCCESS;
}

struct nvme_sqe nvme_connect_sqe_make(__u16 cid, const struct nvme_connect *connect)
{
	union {
		struct nvme_connect_sqe cmd;
		struct nvme_sqe sqe;
	} u = {
		.cmd = {
			.opcode = NVME_FABRICS,
			.flags = NVME_SQE_PSDT_SGL,
			.cid = htole16(cid),
			.fctype = NVME_FC_CONNECT,
			.sgl = nvme_sgl_in_capsule(sizeof(struct nvme_connect_data)),
			.qid = htole16(connect->qid),
			.sqsize = htole16(connect->entries - 1),
			.cattr = connect->no_sq_flow ? NVME_CATTR_NO_SQ_FLOW : 0,
			.kato = htole32(connect->kato_ms),
		},
	};

	return u.sqe;
}

void nvme_connect_data_make(const struct nvme_connect *connect, struct nvme_connect_data *ret_data)
{
	*ret_data = (struct nvme_connect_data){ .cntlid = htole16(connect->cntlid) };
	memcpy(ret_data->hostid, connect->hostid, sizeof(ret_data->hostid));
	memcpy(ret_data->subnqn, connect->subnqn, strlen(connect->subnqn));
	memcpy(ret_data->hostnqn, connect->hostnqn, strlen(connect->hostnqn));
}

const char *nvme_connect_fault(__u64 result)
{
	switch (result & (NVME_CONNECT_IATTR_DATA | 0xffff)) {
	case NVME_REFUSE_SQE(qid):
		return "queue id";
	case NVME_REFUSE_SQE(sqsize):
		return "queue size";
	case NVME_REFUSE_SQE(cattr):
		return "connect attributes";
	case NVME_REFUSE_SQE(kato):
		return "keep-alive timeout";
	case NVME_REFUSE_DATA(hostid):
		return "host identifier";
	case NVME_REFUSE_DATA(cntlid):
		return "controller id";
	case NVME_REFUSE_DATA(subnqn):
		return "subsystem NQN";
	case NVME_REFUSE_DATA(hostnqn):
		return "host NQN";
	default:
		return "unnamed parameter";
	}
}

struct nvme_sqe nvme_disconnect_sqe_make(__u16 cid)
{
	/* fctype stands where the low byte of the nsid does; RECFMT is the low half of cdw10. */
	return nvme_sqe_make(NVME_FABRICS, cid, NVME_FC_DISCONNECT, 0, 0);
}

struct nvme_sqe nvme_auth_sqe_make(__u8 fctype, __u16 cid, __u32 len)
{
	union {
		struct nvme_auth_sqe cmd;
		struct nvme_sqe sqe;
	} u = {
		.cmd = {
			.opcode = NVME_FABRICS,
			.flags = NVME_SQE_PSDT_SGL,
			.cid = htole16(cid),
			.fctype = fctype,
			.sgl = nvme_sgl_transport(len),
			.spsp0 = 1,
			.spsp1 = 1,
			.secp = NVME_SECP_AUTH,
			.len = htole32(len),
		},
	};

	return u.sqe;
}

/* ---- properties ---- */

__u16 nvme_property_read(const struct nvme_sqe *sqe, struct nvme_property *ret_property)
{
	const struct nvme_property_sqe *cmd = (const struct nvme_property_sqe *)sqe;
	__u8 attrib = cmd->attrib & 7;
	bool set = cmd->fctype == NVME_FC_PROPERTY_SET;
	__u64 value = set ? le64toh(cmd->value) : 0;

	if (attrib > 1)
		return DNR(NVME_ST_INVALID_FIELD);
	*ret_property = (struct nvme_property){
		.offset = le32toh(cmd->offset),
		.size = attrib ? 8 : 4,
		.value = attrib ? value : (__u32)value,
	};
	return NVME_ST_SUCCESS;
}

static struct nvme_sqe property_make(__u16 cid, __u8 fctype, const struct nvme_property *property)
{
	union {
		struct nvme_property_sqe cmd;
		struct nvme_sqe sqe;
	} u = {
		.cmd = {
			.opcode = NVME_FABRICS,
			.flags = NVME_SQE_PSDT_SGL,
			.cid = htole16(cid),
			.fctype = fctype,
			.attrib = property->size == 8,
			.offset = htole32(property->offset),
			.value = htole64(property->value),
		},
	};

	u.sqe.sgl = (struct nvme_sgl){ .id = NVME_SGL_TRANSPORT };
	return u.sqe;
}

struct nvme_sqe nvme_property_get_make(__u16 cid, __u32 offset, __u8 size)
{
	struct nvme_property property = { .offset = offset, .size = size };

	return property_make(cid, NVME_FC_PROPERTY_GET, &property);
}

struct nvme_sqe nvme_property_set_make(__u16 cid, const struct nvme_property *property)
{
	return property_make(cid, NVME_FC_PROPERTY_SET, property);
}

void nvme_properties_init(struct nvme_properties *props, __u32 max_entries)
{
	*props = (struct nvme_properties){
		.cap = (max_entries - 1) | NVME_CAP_CQR | CAP_TO << 24 | NVME_CAP_CSS_NVM | NVME_CAP_CRWMS,
		.vs = NVME_VS_2_0,
	};
}

__u16 nvme_properties_get(const struct nvme_properties *props, const struct nvme_property *property,
			  __u64 *ret_value)
{
	__u8 size = 4;
	__u64 value;

	switch (property->offset) {
	case NVME_PROP_CAP:
		value = props->cap;
		size = 8;
		break;
	case NVME_PROP_VS:
		value = props->vs;
		break;
	case NVME_PROP_CC:
		value = props->cc;
		break;
	case NVME_PROP_CSTS:
		value = props->csts;
		break;
	case NVME_PROP_CRTO: /* CRWMT; CC.CRIME has no effect */
		value = CAP_TO;
		break;
	default:
		return DNR(NVME_ST_INVALID_FIELD);
	}
	if (property->size != size)
		return DNR(NVME_ST_INVALID_FIELD);
	*ret_value = value;
	return NVME_ST_SUCCESS;
}

/* Entry sizes 0 are met from hosts of discovery controllers, which have no I/O queues. */
static bool cc_supported(__u32 cc)
{
	bool sizes = NVME_CC_IOSQES(cc) == 6 && NVME_CC_IOCQES(cc) == 4;
	bool none = !NVME_CC_IOSQES(cc) && !NVME_CC_IOCQES(cc);

	return (sizes || none) && !CC_CSS(cc) && !CC_MPS(cc);
}

__u16 nvme_properties_set(struct nvme_properties *props, const struct nvme_property *property)
{
	__u32 cc = (__u32)property->value;
	bool was_enabled = props->cc & NVME_CC_EN, enabled = cc & NVME_CC_EN;

	if (property->offset != NVME_PROP_CC || property->size != 4)
		return DNR(NVME_ST_INVALID_FIELD);
	if (enabled && !was_enabled && !cc_supported(cc))
		return DNR(NVME_ST_INVALID_FIELD);
	props->cc = cc;
	if (enabled != was_enabled)
		props->csts = enabled ? NVME_CSTS_RDY : 0;
	if (cc & NVME_CC_SHN_MASK)
		props->csts = (props->csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_DONE;
	return NVME_ST_SUCCESS;
}
