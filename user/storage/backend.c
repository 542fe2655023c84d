// SPDX-License-Identifier: Apache-2.0
/* Which backends there are, and what their failures mean to a host. Called by target.c and the command path. */
#include "storage/backend.h"

#include <errno.h>

#include <sluice/nvme_tcp.h>

#include "base/util.h"

static const struct backend_ops *const backends[] = {
	[POLICY_BACKEND_NULL] = &backend_null,
	[POLICY_BACKEND_MEMORY] = &backend_memory,
	[POLICY_BACKEND_FILE] = &backend_file,
};

int backend_open(const struct policy_namespace *config, struct error *err, struct backend **ret_backend)
{
	struct backend *b;
	int ret;

	if ((size_t)config->backend >= ARRAY_SIZE(backends))
		return error_set(err, EINVAL, "namespace %u: unknown backend %d", config->id, config->backend);
	ret = backends[config->backend]->open(config, err, &b);
	if (ret)
		return ret;
	if (b->keeps && range_locks_make(&b->locks)) {
		backend_close(b);
		return error_system(err, ENOMEM, "namespace %u", config->id);
	}
	*ret_backend = b;
	return 0;
}

void backend_close(struct backend *b)
{
	struct range_locks *locks = b ? b->locks : NULL;

	if (b)
		b->ops->close(b);
	range_locks_free(locks);
}

uint16_t backend_status(enum backend_op op, int errnum)
{
	switch (errnum) {
	case 0:
		return NVME_ST_SUCCESS;
	case ENOSPC:
	case EDQUOT:
		return NVME_ST_CAPACITY | NVME_STATUS_DNR;
	case EROFS:
	case EPERM:
		return NVME_ST_NS_WRITE_PROTECTED | NVME_STATUS_DNR;
	case ECANCELED:
		return NVME_ST_ABORTED;
	case ENOMEM:
	case EAGAIN:
		return NVME_ST_INTERNAL; /* may be tried again */
	default:
		return op == BACKEND_READ ? NVME_ST_READ_ERROR : NVME_ST_WRITE_FAULT;
	}
}
