// SPDX-License-Identifier: Apache-2.0
/*
 * Commands that are not answered in time, called back: a lane says which, the path's thread, which has the admin queue,
 * sends the Aborts. What comes of it the lane sees by the command's own answer. Called by multipath_lane.c and
 * multipath_path.c.
 *
 * What always holds: a request belongs to one connection, by its generation; those of connections that are gone are
 * dropped.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/util.h"
#include "storage/multipath_private.h"

bool path_abort(struct path *p, unsigned int generation, uint16_t qid, uint16_t cid)
{
	bool taken;

	pthread_mutex_lock(&p->m->lock);
	taken = p->state == PATH_LIVE && p->generation == generation && !p->failed && p->n_requests < ABORTS_MAX;
	if (taken)
		p->requests[p->n_requests++] = (struct abort_request){generation, qid, cid};
	pthread_mutex_unlock(&p->m->lock);
	if (taken)
		eventfd_write(p->wake, 1);
	return taken;
}

static void abort_done(struct initiator_abort *a)
{
	struct path *p = a->owner;

	a->owner = NULL;
	pthread_mutex_lock(&p->m->lock);
	p->aborted += a->aborted;
	pthread_mutex_unlock(&p->m->lock);
}

static struct initiator_abort *free_abort(struct path *p)
{
	for (unsigned int k = 0; k < ABORTS_MAX; k++)
		if (!p->aborts[k].owner)
			return &p->aborts[k];
	return NULL;
}

/* The oldest request of this connection, if the controller takes it now. Whether it was sent. */
static bool send_one(struct path *p)
{
	struct initiator_abort *a = free_abort(p);
	const struct abort_request *request = p->requests;
	bool old = request->generation != p->generation;

	if (!old && (!a || initiator_abort_submit(p->i, a, request->qid, request->cid)))
		return false; /* when one of those under way is answered */
	if (!old) {
		a->done = abort_done;
		a->owner = p;
		p->aborts_sent++;
	}
	memmove(p->requests, p->requests + 1, --p->n_requests * sizeof(p->requests[0]));
	return true;
}

void path_send_aborts(struct path *p)
{
	pthread_mutex_lock(&p->m->lock);
	while (p->n_requests && send_one(p))
		;
	pthread_mutex_unlock(&p->m->lock);
}
