// SPDX-License-Identifier: Apache-2.0
/*
 * Names of opcodes and statuses for logs and `sluice io`. Tables only; the numbers are those of
 * include/sluice/nvme_tcp.h, whose order they follow.
 */
#include "nvme/command.h"

struct name {
	__u16		code;
	const char	*text;
};

static const struct name admin_names[] = {
	{ NVME_ADM_DELETE_SQ, "Delete I/O Submission Queue" },
	{ NVME_ADM_CREATE_SQ, "Create I/O Submission Queue" },
	{ NVME_ADM_GET_LOG_PAGE, "Get Log Page" },
	{ NVME_ADM_DELETE_CQ, "Delete I/O Completion Queue" },
	{ NVME_ADM_CREATE_CQ, "Create I/O Completion Queue" },
	{ NVME_ADM_IDENTIFY, "Identify" },
	{ NVME_ADM_ABORT, "Abort" },
	{ NVME_ADM_SET_FEATURES, "Set Features" },
	{ NVME_ADM_GET_FEATURES, "Get Features" },
	{ NVME_ADM_ASYNC_EVENT, "Asynchronous Event Request" },
	{ NVME_ADM_NS_MANAGEMENT, "Namespace Management" },
	{ NVME_ADM_FW_COMMIT, "Firmware Commit" },
	{ NVME_ADM_FW_DOWNLOAD, "Firmware Image Download" },
	{ NVME_ADM_SELF_TEST, "Device Self-test" },
	{ NVME_ADM_NS_ATTACH, "Namespace Attachment" },
	{ NVME_ADM_KEEP_ALIVE, "Keep Alive" },
	{ NVME_ADM_DIRECTIVE_SEND, "Directive Send" },
	{ NVME_ADM_DIRECTIVE_RECV, "Directive Receive" },
	{ NVME_ADM_FORMAT_NVM, "Format NVM" },
	{ NVME_ADM_SECURITY_SEND, "Security Send" },
	{ NVME_ADM_SECURITY_RECV, "Security Receive" },
	{ NVME_ADM_SANITIZE, "Sanitize" },
	{ 0, NULL },
};

static const struct name io_names[] = {
	{ NVME_IO_FLUSH, "Flush" },
	{ NVME_IO_WRITE, "Write" },
	{ NVME_IO_READ, "Read" },
	{ NVME_IO_WRITE_UNCOR, "Write Uncorrectable" },
	{ NVME_IO_COMPARE, "Compare" },
	{ NVME_IO_WRITE_ZEROES, "Write Zeroes" },
	{ NVME_IO_DSM, "Dataset Management" },
	{ NVME_IO_VERIFY, "Verify" },
	{ NVME_IO_RESV_REGISTER, "Reservation Register" },
	{ NVME_IO_RESV_REPORT, "Reservation Report" },
	{ NVME_IO_RESV_ACQUIRE, "Reservation Acquire" },
	{ NVME_IO_RESV_RELEASE, "Reservation Release" },
	{ NVME_IO_COPY, "Copy" },
	{ 0, NULL },
};

static const struct name fabrics_names[] = {
	{ NVME_FC_PROPERTY_SET, "Property Set" },
	{ NVME_FC_CONNECT, "Connect" },
	{ NVME_FC_PROPERTY_GET, "Property Get" },
	{ NVME_FC_AUTH_SEND, "Authentication Send" },
	{ NVME_FC_AUTH_RECV, "Authentication Receive" },
	{ NVME_FC_DISCONNECT, "Disconnect" },
	{ 0, NULL },
};

static const struct name status_names[] = {
	{ NVME_ST_SUCCESS, "success" },
	{ NVME_ST_INVALID_OPCODE, "invalid command opcode" },
	{ NVME_ST_INVALID_FIELD, "invalid field in command" },
	{ NVME_ST_CID_CONFLICT, "command identifier conflict" },
	{ NVME_ST_DATA_TRANSFER, "data transfer error" },
	{ NVME_ST_POWER_LOSS, "aborted due to power loss" },
	{ NVME_ST_INTERNAL, "internal error" },
	{ NVME_ST_ABORTED, "command abort requested" },
	{ NVME_ST_ABORTED_SQ_DELETED, "aborted, submission queue deleted" },
	{ NVME_ST_FUSED_FAILED, "aborted, fused command failed" },
	{ NVME_ST_FUSED_MISSING, "aborted, fused command missing" },
	{ NVME_ST_INVALID_NS, "invalid namespace or format" },
	{ NVME_ST_SEQUENCE, "command sequence error" },
	{ NVME_ST_SGL_INVALID_LAST, "invalid SGL segment descriptor" },
	{ NVME_ST_SGL_INVALID_COUNT, "invalid number of SGL descriptors" },
	{ NVME_ST_SGL_DATA_LEN, "data SGL length invalid" },
	{ NVME_ST_SGL_META_LEN, "metadata SGL length invalid" },
	{ NVME_ST_SGL_TYPE, "SGL descriptor type invalid" },
	{ NVME_ST_SGL_OFFSET, "SGL offset invalid" },
	{ NVME_ST_HOSTID_FORMAT, "host identifier inconsistent format" },
	{ NVME_ST_KATO_EXPIRED, "keep-alive timer expired" },
	{ NVME_ST_KATO_INVALID, "keep-alive timeout invalid" },
	{ NVME_ST_ABORTED_PREEMPT, "aborted due to preempt and abort" },
	{ NVME_ST_NS_WRITE_PROTECTED, "namespace is write protected" },
	{ NVME_ST_TRANSIENT_TRANSPORT, "transient transport error" },
	{ NVME_ST_LBA_RANGE, "LBA out of range" },
	{ NVME_ST_CAPACITY, "capacity exceeded" },
	{ NVME_ST_NS_NOT_READY, "namespace not ready" },
	{ NVME_ST_RESERVATION_CONFLICT, "reservation conflict" },
	{ NVME_ST_INVALID_QID, "invalid queue identifier" },
	{ NVME_ST_QUEUE_SIZE, "invalid queue size" },
	{ NVME_ST_ABORT_LIMIT, "abort command limit exceeded" },
	{ NVME_ST_AER_LIMIT, "asynchronous event request limit exceeded" },
	{ NVME_ST_INVALID_LOG_PAGE, "invalid log page" },
	{ NVME_ST_INVALID_FORMAT, "invalid format" },
	{ NVME_ST_FEATURE_NOT_SAVEABLE, "feature identifier not saveable" },
	{ NVME_ST_FEATURE_NOT_CHANGEABLE, "feature not changeable" },
	{ NVME_ST_FEATURE_NOT_PER_NS, "feature not namespace specific" },
	{ NVME_ST_CONNECT_FORMAT, "connect: incompatible format" },
	{ NVME_ST_CONNECT_BUSY, "connect: controller busy" },
	{ NVME_ST_CONNECT_PARAM, "connect: invalid parameters" },
	{ NVME_ST_CONNECT_RESTART, "connect: restart discovery" },
	{ NVME_ST_CONNECT_HOST, "connect: invalid host" },
	{ NVME_ST_INVALID_QUEUE_TYPE, "invalid queue type" },
	{ NVME_ST_DISCOVERY_RESTART, "discover restart" },
	{ NVME_ST_AUTH_REQUIRED, "authentication required" },
	{ NVME_ST_WRITE_FAULT, "write fault" },
	{ NVME_ST_READ_ERROR, "unrecovered read error" },
	{ NVME_ST_COMPARE_FAILED, "compare failure" },
	{ NVME_ST_ACCESS_DENIED, "access denied" },
	{ NVME_ST_PATH_INTERNAL, "internal path error" },
	{ NVME_ST_HOST_ABORTED, "command aborted by host" },
	{ 0, NULL },
};

static const char *name_find(const struct name *names, __u16 code, const char *otherwise)
{
	for (; names->text; names++)
		if (names->code == code)
			return names->text;
	return otherwise;
}

const char *nvme_opcode_name(const struct nvme_sqe *sqe, bool admin)
{
	__u8 fctype = ((const struct nvme_fabrics_sqe *)sqe)->fctype;

	if (sqe->opcode == NVME_FABRICS)
		return name_find(fabrics_names, fctype, "unknown Fabrics command");
	if (admin)
		return name_find(admin_names, sqe->opcode, "unknown admin command");
	return name_find(io_names, sqe->opcode, "unknown I/O command");
}

const char *nvme_status_name(__u16 status)
{
	return name_find(status_names, status & NVME_STATUS_CODE, "unknown status");
}
