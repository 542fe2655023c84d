// SPDX-License-Identifier: Apache-2.0
/*
 * Abort from the host's side (Base 2.0, section 5.1): asks a controller to call a command back, at most as many at a
 * time as it says that it takes. Called by the thread that has the admin queue. Whether the command was aborted is in
 * the answer, and then in the command's own, which comes by its own queue.
 */
#include <errno.h>

#include "base/util.h"
#include "storage/initiator_internal.h"

static void abort_done(struct initiator_io *io)
{
	struct initiator_abort *a = io->owner;

	a->i->aborts--;
	a->aborted = !io->error && !(io->status & NVME_STATUS_CODE) && !(io->result & 1);
	if (a->done)
		a->done(a);
}

int initiator_abort_submit(struct initiator *i, struct initiator_abort *a, uint16_t qid, uint16_t cid)
{
	int r;

	if (i->aborts >= i->view.aborts)
		return -EAGAIN;
	a->i = i;
	a->aborted = false;
	a->io = (struct initiator_io){
		.sqe = nvme_sqe_abort(0, qid, cid),
		.timeout_ms = initiator_admin_limit_ms(i),
		.done = abort_done,
		.owner = a,
	};
	r = initiator_queue_submit(i->admin, &a->io);
	if (r)
		return r;
	i->aborts++;
	i->last_admin_ns = time_now_ns();
	return 0;
}

int initiator_abort(struct initiator *i, uint16_t qid, uint16_t cid, bool *ret_aborted, struct error *err)
{
	struct initiator_abort a = {0};
	int r = initiator_abort_submit(i, &a, qid, cid);

	if (r == -EAGAIN)
		return error_set(err, EAGAIN, "%s: %u Aborts are under way already, of %u that the controller takes",
				 i->options.addr.text, i->aborts, i->view.aborts);
	while (!r && !a.io.finished)
		r = initiator_queue_poll(i->admin, true, err);
	if (r == -ENOTCONN && !a.io.finished)
		return initiator_queue_poll(i->admin, false, err); /* which says why */
	if (!r)
		r = initiator_io_check(&a.io, i->options.addr.text, true, err);
	if (!r)
		*ret_aborted = a.aborted;
	return r;
}
