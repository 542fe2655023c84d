// SPDX-License-Identifier: Apache-2.0
/*
 * Get Log Page, and what discovery tells. Called from controller_admin.c on the admin queue's thread. Pages are made
 * whole on the stack and the part that was asked for is copied, so that any offset and length is answered alike.
 */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "nvme/identify.h"
#include "storage/reservations.h"

/* ---- SMART ---- */

/* Traffic of the subsystem, over all reactors. */
static void usage(const struct controller *c, struct nvme_usage *ret_usage)
{
	const struct subsystem_state *s = subsystem_now(c->subsystem);
	const struct target *t = c->target;
	struct nvme_usage u = {
		.uptime_hours = (time_now_ns() - c->started_ns) / NSEC_PER_SEC / 3600,
		.media_errors = __atomic_load_n(&c->subsystem->media_errors, __ATOMIC_RELAXED),
		.error_entries = error_log_count(&c->errors),
	};
	unsigned int i, n;

	for (i = 0; i < t->n_reactors; i++)
		for (n = 0; n < s->n_namespaces; n++) {
			const struct io_stats *io = &t->reactors[i]->namespaces[s->namespaces[n]->index].stats;

			u.read_bytes += stats_read(&io->read_bytes);
			u.write_bytes += stats_read(&io->written_bytes);
			u.read_cmds += stats_read(&io->commands[IO_READ]);
			u.write_cmds += stats_read(&io->commands[IO_WRITE]);
		}
	*ret_usage = u;
}

/* ---- discovery ---- */

/* Whether the portal is bound to every address of its family: then a host is told the address that it came to. */
static bool is_wildcard(const struct sockaddr_storage *a)
{
	static const struct in6_addr any = IN6ADDR_ANY_INIT;

	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr == INADDR_ANY;
	return !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &any, sizeof(any));
}

/*
 * Without TLS nothing is said about secure channels: initiators with libnvme 1.3 (Debian 12) ask for TLS as soon as something is, and
 * `nvme connect-all` connects to nothing then.
 */
static uint8_t discovery_treq(enum policy_tls tls)
{
	if (!tls)
		return NVME_TREQ_UNSPECIFIED;
	return tls == POLICY_TLS_REQUIRED ? NVME_TREQ_SECURE : NVME_TREQ_NO_SECURE;
}

static int discovery_entry(const struct target *t, unsigned int portal, const struct conn *conn, const char *nqn,
			   struct nvme_discovery_entry *ret_entry)
{
	enum policy_tls tls = t->portals[portal].config->tls;
	struct nvme_discovery_entry e = {
		.subtype = strcmp(nqn, NVME_DISCOVERY_NQN) ? NVME_SUBTYPE_NVM : NVME_SUBTYPE_CURRENT,
		.treq = discovery_treq(tls),
		.sectype = tls ? NVME_SECTYPE_TLS13 : NVME_SECTYPE_NONE,
		.portid = portal,
		.cntlid = NVME_CNTLID_DYNAMIC,
		.asqsz = CONTROLLER_ADMIN_ENTRIES,
	};
	struct sockaddr_storage address = t->portals[portal].address;
	socklen_t len = t->portals[portal].address_len;

	/* The port stays: the wildcard portal is reached at this address as well. */
	if (is_wildcard(&address) && getsockname(conn->fd, (struct sockaddr *)&address, &len))
		return -errno;
	if (getnameinfo((struct sockaddr *)&address, len, e.traddr, sizeof(e.traddr), NULL, 0, NI_NUMERICHOST))
		return -EINVAL;
	e.adrfam = address.ss_family == AF_INET ? NVME_ADRFAM_IPV4 : NVME_ADRFAM_IPV6;
	snprintf(e.trsvcid, sizeof(e.trsvcid), "%u", target_portal_port(t, portal));
	snprintf(e.subnqn, sizeof(e.subnqn), "%s", nqn);
	*ret_entry = e;
	return 0;
}

/* Another discovery service, which a host then asks itself. */
static void referral_entry(const struct policy_referral *referral, unsigned int portid,
			   struct nvme_discovery_entry *ret_entry)
{
	*ret_entry = (struct nvme_discovery_entry){
		.subtype = NVME_SUBTYPE_REFERRAL,
		.treq = NVME_TREQ_NO_SECURE,
		.adrfam = strchr(referral->address, ':') ? NVME_ADRFAM_IPV6 : NVME_ADRFAM_IPV4,
		.portid = portid,
		.cntlid = NVME_CNTLID_DYNAMIC,
		.asqsz = CONTROLLER_ADMIN_ENTRIES,
		.subnqn = NVME_DISCOVERY_NQN,
	};
	snprintf(ret_entry->trsvcid, sizeof(ret_entry->trsvcid), "%u", referral->port);
	snprintf(ret_entry->traddr, sizeof(ret_entry->traddr), "%s", referral->address);
}

int target_discovery(struct target *t, const struct conn *conn, const char *hostnqn,
		     struct nvme_discovery_entry **ret_entries, size_t *ret_n)
{
	unsigned int n_subsystems = __atomic_load_n(&t->n_subsystems, __ATOMIC_ACQUIRE);
	const struct policy_storage *storage = &__atomic_load_n(&t->version, __ATOMIC_ACQUIRE)->storage;
	size_t max = (size_t)t->n_portals * (n_subsystems + 1) + storage->n_referrals, n = 0;
	_cleanup_free_ struct nvme_discovery_entry *entries = calloc(max, sizeof(*entries));
	unsigned int p, s;

	if (!entries)
		return -ENOMEM;
	for (p = 0; p < t->n_portals; p++) {
		if (discovery_entry(t, p, conn, NVME_DISCOVERY_NQN, &entries[n]))
			continue; /* the connection is gone: nobody will read this */
		n++;
		for (s = 0; s < n_subsystems; s++)
			if (subsystem_admits(t->subsystems[s], hostnqn) &&
			    !discovery_entry(t, p, conn, t->subsystems[s]->nqn, &entries[n]))
				n++;
	}
	for (p = 0; p < storage->n_referrals; p++)
		referral_entry(&storage->referrals[p], t->n_portals + p, &entries[n++]);
	*ret_entries = TAKE_PTR(entries);
	*ret_n = n;
	return 0;
}

static uint16_t log_discovery(struct conn *conn, struct command *cmd, uint64_t offset, uint64_t len)
{
	uint64_t generation = __atomic_load_n(&conn->reactor->target->generation, __ATOMIC_ACQUIRE);
	_cleanup_free_ struct nvme_discovery_entry *entries = NULL;
	size_t n;

	if (target_discovery(conn->reactor->target, conn, conn->controller->hostnqn, &entries, &n))
		return NVME_ST_INTERNAL;
	nvme_discovery_log_read(entries, n, generation, offset, cmd->data, len);
	return NVME_ST_SUCCESS;
}

/* ---- namespaces that changed ---- */

/* The list, which is empty afterwards unless it is retained. */
static size_t log_changed(struct controller *c, uint8_t *page, bool retain)
{
	__le32 *list = (__le32 *)page;
	unsigned int nsid, n = 0;

	memset(page, 0, NVME_LOG_CHANGED_LEN);
	pthread_mutex_lock(&c->target->mutex);
	for (nsid = 1; nsid <= CONTROLLER_NSIDS; nsid++)
		if (c->changed[nsid / 64] >> nsid % 64 & 1)
			list[n++] = htole32(nsid);
	if (!retain)
		memset(c->changed, 0, sizeof(c->changed));
	pthread_mutex_unlock(&c->target->mutex);
	return NVME_LOG_CHANGED_LEN;
}

/* ---- Get Log Page ---- */

struct page {
	struct controller *controller;
	bool retain; /* the host did: what it reads stays */
	uint32_t cdw10;
	uint8_t *data;
};

static size_t log_supported(const struct page *p);

static size_t log_errors(const struct page *p)
{
	error_log_read(&p->controller->errors, p->data);
	return ERROR_LOG_ENTRIES * ERROR_LOG_WORDS * sizeof(uint64_t);
}

static size_t log_smart(const struct page *p)
{
	struct nvme_usage u;

	usage(p->controller, &u);
	nvme_log_smart(p->data, &u);
	return NVME_LOG_SMART_LEN;
}

static size_t log_firmware(const struct page *p)
{
	nvme_log_firmware(p->data, SLUICE_VERSION);
	return NVME_LOG_FIRMWARE_LEN;
}

static size_t log_changed_namespaces(const struct page *p)
{
	return log_changed(p->controller, p->data, p->retain);
}

static size_t log_effects(const struct page *p)
{
	const struct subsystem *s = p->controller->subsystem;

	nvme_log_effects(p->data, !s, s && subsystem_spoils(s));
	return NVME_LOG_EFFECTS_LEN;
}

static size_t log_reservation(const struct page *p)
{
	reservation_log(p->controller, p->data);
	return NVME_LOG_RESERVATION_LEN;
}

static size_t log_features(const struct page *p)
{
	bool known[256];

	controller_features_list(p->controller, known);
	nvme_log_features(p->data, known);
	return NVME_LOG_FEATURES_LEN;
}

_Static_assert(ANA_LOG_MAX <= NVME_LOG_MAX_LEN, "the page is made in a buffer of that size");

static size_t log_ana(const struct page *p)
{
	return ana_log(p->controller, p->cdw10 & NVME_LOG_RGO, p->data);
}

/* Each fills its page, at most NVME_LOG_MAX_LEN bytes, and answers its length. */
static const struct log_page {
	size_t (*fill)(const struct page *p);
	bool io_only; /* not on discovery controllers */
} pages[256] = {
	[NVME_LID_SUPPORTED] = {log_supported},
	[NVME_LID_ERROR] = {log_errors},
	[NVME_LID_SMART] = {log_smart, .io_only = true},
	[NVME_LID_FIRMWARE] = {log_firmware, .io_only = true},
	[NVME_LID_CHANGED_NS] = {log_changed_namespaces, .io_only = true},
	[NVME_LID_EFFECTS] = {log_effects},
	[NVME_LID_ANA] = {log_ana, .io_only = true},
	[NVME_LID_FEATURES] = {log_features},
	[NVME_LID_RESERVATION] = {log_reservation, .io_only = true},
};

static bool has_page(const struct controller *c, uint8_t lid)
{
	if (lid == NVME_LID_DISCOVERY)
		return !c->subsystem;
	if (lid == NVME_LID_ANA)
		return c->subsystem && subsystem_now(c->subsystem)->ana;
	return pages[lid].fill && (c->subsystem || !pages[lid].io_only);
}

static size_t log_supported(const struct page *p)
{
	unsigned int lid, n = 0;
	__u8 lids[256];

	for (lid = 0; lid < 256; lid++)
		if (has_page(p->controller, lid))
			lids[n++] = lid;
	nvme_log_supported(p->data, lids, n);
	return NVME_LOG_SUPPORTED_LEN;
}

/* Of the whole controller only: no page is one namespace's. */
static bool names_namespace(const struct command *cmd)
{
	return cmd->sqe.nsid && cmd->sqe.nsid != htole32(UINT32_MAX);
}

uint16_t controller_log_page(struct conn *conn, struct command *cmd)
{
	uint64_t offset = nvme_log_offset(&cmd->sqe), len = nvme_log_len(&cmd->sqe);
	uint8_t data[NVME_LOG_MAX_LEN] __attribute__((aligned(8)));
	struct controller *c = conn->controller;
	struct page page = {.controller = c, .cdw10 = le32toh(cmd->sqe.cdw10), .retain = le32toh(cmd->sqe.cdw10) & NVME_LOG_RAE, .data = data};
	uint8_t lid = le32toh(cmd->sqe.cdw10);

	if (offset % 4 || names_namespace(cmd))
		return NVME_ST_INVALID_FIELD | NVME_STATUS_DNR;
	if (len > cmd->transfer.len)
		return NVME_ST_SGL_DATA_LEN | NVME_STATUS_DNR;
	if (!has_page(c, lid))
		return NVME_ST_INVALID_LOG_PAGE | NVME_STATUS_DNR;
	/* First, so that what changes from here on is an event again. */
	if (!page.retain)
		events_rearm(c, lid);
	if (lid == NVME_LID_DISCOVERY)
		return log_discovery(conn, cmd, offset, len);
	return nvme_log_slice(data, pages[lid].fill(&page), offset, cmd->data, len);
}
