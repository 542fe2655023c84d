// SPDX-License-Identifier: Apache-2.0
/*
 * A subsystem by several paths: opening, closing, and what all paths must agree on. Called by the command line;
 * paths are driven by multipath_path.c, commands by multipath_lane.c. What always holds: an identity, once known, does
 * not change; a path whose namespaces differ from it never becomes live.
 */
#include "storage/multipath.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "storage/multipath_private.h"

/* ---- identity ---- */

static bool same_id(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, 16);
}

static int compare(const struct identity *known, const struct identity *found, const char *place, uint32_t nsid,
		   struct error *err)
{
	const char *what = NULL;

	if (!same_id(known->uuid, found->uuid))
		what = "UUID";
	else if (!same_id(known->view.nguid, found->view.nguid))
		what = "NGUID";
	else if (memcmp(known->view.eui64, found->view.eui64, sizeof(found->view.eui64)))
		what = "EUI64";
	else if (known->view.block_shift != found->view.block_shift)
		what = "block size";
	if (!what)
		return 0;
	return error_set(err, ESTALE,
			 "%s: namespace %u has another %s than the one that was connected first: not the same data, so "
			 "this path is not used; check which target listens there",
			 place, nsid, what);
}

int multipath_identify(struct multipath *m, const char *place, const struct identity *found, uint32_t max_transfer,
		       struct error *err)
{
	const struct multipath_options *o = &m->options;
	int r = 0;

	pthread_mutex_lock(&m->lock);
	if (!m->known) {
		memcpy(m->identities, found, sizeof(m->identities));
		m->max_transfer = max_transfer;
		m->known = true;
	}
	for (unsigned int k = 0; k < o->n_nsids && !r; k++)
		r = compare(&m->identities[k], &found[k], place, o->nsids[k], err);
	if (!r && max_transfer < m->max_transfer)
		r = error_set(
			err, ESTALE,
			"%s: takes %u bytes a command, the path that was connected first %u; put the smaller first",
			place, max_transfer, m->max_transfer);
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* ---- what is known ---- */

const struct nvme_ns_view *multipath_namespace(const struct multipath *m, unsigned int ns)
{
	return &m->identities[ns].view;
}

uint32_t multipath_max_transfer(const struct multipath *m)
{
	return m->max_transfer;
}

void multipath_limit(struct multipath *m, const struct nvme_dsm_limits *dsm)
{
	pthread_mutex_lock(&m->lock);
	nvme_dsm_limits_both(&m->dsm, dsm);
	pthread_mutex_unlock(&m->lock);
}

struct nvme_dsm_limits multipath_dsm_limits(struct multipath *m)
{
	struct nvme_dsm_limits limits;

	pthread_mutex_lock(&m->lock);
	limits = m->dsm;
	pthread_mutex_unlock(&m->lock);
	return limits;
}

unsigned int multipath_paths(const struct multipath *m)
{
	return m->options.n_addrs;
}

const char *path_state_name(enum path_state state)
{
	static const char *const names[] = {
		[PATH_CONNECTING] = "connecting", [PATH_LIVE] = "live", [PATH_LOST] = "lost"};

	return names[state];
}

void multipath_path_info(struct multipath *m, unsigned int path, struct multipath_info *ret_info)
{
	const struct path *p = &m->paths[path];

	pthread_mutex_lock(&m->lock);
	*ret_info = (struct multipath_info){
		.addr = p->options.addr.text,
		.state = p->state,
		.reconnects = p->reconnects,
		.commands = p->commands,
		.resubmitted = p->resubmitted,
		.aborts = p->aborts_sent,
		.aborted = p->aborted,
		.ana_timeouts = p->ana_timeouts,
		.why = p->why,
	};
	memcpy(ret_info->retries, p->retries, sizeof(ret_info->retries));
	for (unsigned int k = 0; k < m->options.n_nsids; k++)
		ret_info->ana[k] = path_ana(p, k);
	pthread_mutex_unlock(&m->lock);
}

void multipath_count(struct retry_count counts[MULTIPATH_STATUSES], uint16_t status, uint64_t n)
{
	struct retry_count *c = counts;

	while (c->count && c->status != status && c < counts + MULTIPATH_STATUSES - 1)
		c++;
	if (!c->count)
		c->status = status;
	c->count += n;
}

void multipath_changed(struct multipath *m)
{
	__atomic_fetch_add(&m->version, 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&m->changed);
}

/* ---- opening and closing ---- */

void multipath_close(struct multipath *m)
{
	if (!m)
		return;
	__atomic_store_n(&m->stop, true, __ATOMIC_RELEASE);
	for (unsigned int k = 0; k < m->options.n_addrs; k++)
		if (m->paths[k].started)
			eventfd_write(m->paths[k].wake, 1);
	for (unsigned int k = 0; k < m->options.n_addrs; k++) {
		if (m->paths[k].started)
			pthread_join(m->paths[k].thread, NULL);
		if (m->paths[k].wake >= 0)
			close(m->paths[k].wake);
		free(m->paths[k].log);
	}
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static void multipath_closep(struct multipath **m)
{
	multipath_close(*m);
}

static int start(struct path *p, struct error *err)
{
	int r;

	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake < 0)
		return error_system(err, errno, "%s: eventfd", p->options.addr.text);
	r = pthread_create(&p->thread, NULL, path_main, p);
	if (r)
		return error_system(err, r, "%s: thread", p->options.addr.text);
	p->started = true;
	return 0;
}

/* Until each path has tried once. 0 if one is live and none leads elsewhere. */
static int wait_tried(struct multipath *m, struct error *err)
{
	const struct path *failed = NULL;
	bool live = false;

	pthread_mutex_lock(&m->lock);
	for (unsigned int k = 0; k < m->options.n_addrs; k++) {
		const struct path *p = &m->paths[k];

		while (!p->tried)
			pthread_cond_wait(&m->changed, &m->lock);
		live |= p->state == PATH_LIVE;
		if (p->why_errno && (!failed || (p->why_errno == ESTALE && failed->why_errno != ESTALE)))
			failed = p;
	}
	pthread_mutex_unlock(&m->lock);
	if (failed && (!live || failed->why_errno == ESTALE))
		return error_set(err, failed->why_errno, "%s", failed->why.text);
	return 0;
}

int multipath_open(const struct multipath_options *options, struct multipath **ret_multipath, struct error *err)
{
	_cleanup_(multipath_closep) struct multipath *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;
	int r = 0;

	if (!m)
		return error_set(err, ENOMEM, "no memory for %u paths", options->n_addrs);
	m->options = *options;
	m->dsm = (struct nvme_dsm_limits)NVME_DSM_NO_LIMITS;
	m->patience_ms = max(options->ctrl_loss_ms, PATIENCE_MS);
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* that of time_now_ns() */
	pthread_cond_init(&m->changed, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned int k = 0; k < options->n_addrs; k++) {
		m->paths[k].m = m;
		m->paths[k].wake = -1;
		m->paths[k].options = options->target;
		m->paths[k].options.addr = options->addrs[k];
	}
	for (unsigned int k = 0; k < options->n_addrs && !r; k++)
		r = start(&m->paths[k], err);
	if (!r)
		r = wait_tried(m, err);
	if (r)
		return r;
	*ret_multipath = TAKE_PTR(m);
	return 0;
}
