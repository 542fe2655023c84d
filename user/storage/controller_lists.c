// SPDX-License-Identifier: Apache-2.0
/*
 * Identify's lists of what could be managed (CNS 10h on): namespaces that exist, which are those that are attached;
 * controllers; controllers for virtualization, of which there are none. Called by controller_admin.c on the admin
 * queue's thread for CNS values that it does not serve itself.
 */
#include <string.h>

#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reactor.h"

#define INVALID_FIELD (NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)

/* A controller list: how many, then ids, ascending. */
struct controller_list {
	__le16 n;
	__le16 ids[2047];
};

_Static_assert(sizeof(struct controller_list) == NVME_IDENTIFY_LEN, "hosts read exactly so much");

/* Controllers of the subsystem with ids from `first` on. Every namespace is attached to all of them. */
static void list_controllers(const struct controller *c, uint16_t first, void *out)
{
	struct controller_list *list = out;
	struct target *t = c->target;
	unsigned int i, n = 0;

	pthread_mutex_lock(&t->mutex);
	for (i = first ? first - 1 : 0; i < ARRAY_SIZE(t->controllers) && n < ARRAY_SIZE(list->ids); i++)
		if (t->controllers[i] && t->controllers[i]->subsystem == c->subsystem)
			list->ids[n++] = htole16(i + 1);
	pthread_mutex_unlock(&t->mutex);
	list->n = htole16(n);
}

/* Of a controller without virtual queues or interrupts: its id and zeroes. */
static void primary_capabilities(const struct controller *c, void *out)
{
	*(__le16 *)out = htole16(c->cntlid);
}

uint16_t controller_identify_list(const struct controller *c, const struct nvme_sqe *sqe, void *out)
{
	uint32_t cdw10 = le32toh(sqe->cdw10), nsid = le32toh(sqe->nsid);
	uint16_t first = cdw10 >> 16;

	switch ((uint8_t)cdw10) {
	case NVME_CNS_NS_CTRLS:
		if (!nsid || nsid > TARGET_MAX_NSID)
			return NVME_ST_INVALID_NS | NVME_STATUS_DNR;
		if (subsystem_namespace(c->subsystem, nsid))
			list_controllers(c, first, out);
		return NVME_ST_SUCCESS;
	case NVME_CNS_CTRLS:
		list_controllers(c, first, out);
		return NVME_ST_SUCCESS;
	case NVME_CNS_PRIMARY:
		primary_capabilities(c, out);
		return NVME_ST_SUCCESS;
	case NVME_CNS_SECONDARY: /* none */
		return NVME_ST_SUCCESS;
	default:
		return INVALID_FIELD;
	}
}
