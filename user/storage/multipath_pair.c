// SPDX-License-Identifier: Apache-2.0
/*
 * Fused pairs, Compare and Write, of a lane. They go by one queue, one right behind the other, and come back together:
 * pair_done() is called by multipath_lane.c for each half, and decides when both are there.
 *
 * A pair is sent again as a pair, both halves anew, never one of them: and only when a status came that says that
 * nothing was written. A Write that was executed, and then sent again, would find its own data and call them another's:
 * so the outcome of a pair whose connection was lost before the Write was answered is not known, and the caller is told
 * so.
 */
#include <errno.h>

#include "base/util.h"
#include "nvme/retry.h"
#include "storage/multipath_lane.h"

static bool succeeded(const struct initiator_io *io)
{
	return !io->error && !(io->status & NVME_STATUS_CODE);
}

/* With a status of its own: not for want of an answer. */
static bool failed(const struct initiator_io *io)
{
	return !io->error && io->status & NVME_STATUS_CODE;
}

/*
 * The answer that says that nothing was written; NULL: there is none. When the first half fails, the second is aborted
 * (Base 2.0, section 3.4.2), whether its own answer came or not. When the second fails alone, its data may be there in
 * part or whole, unless the status says that it was not begun.
 */
static const struct initiator_io *unwritten(const struct initiator_io *first, const struct initiator_io *second)
{
	if (succeeded(second))
		return NULL;
	if (failed(first))
		return first;
	return succeeded(first) && failed(second) && nvme_retry_unbegun(second->status) ? second : NULL;
}

static bool again(struct lane *lane, struct path_io *first, const struct path_io *second, uint64_t *ret_pause_ns)
{
	const struct initiator_io *said = unwritten(&first->io, &second->io);

	if (lane->dead || lane->closing || !said)
		return false;
	*ret_pause_ns = 0;
	if (lane_aborted(said))
		return lane_again_aborted(lane, first);
	return lane_again_status(lane, first, said->status, ret_pause_ns);
}

void pair_done(struct lane *lane, struct path_io *half)
{
	bool is_first = nvme_fuse(&half->io.sqe) == NVME_SQE_FUSE_FIRST;
	struct path_io *first = is_first ? half : half->other, *second = first->other;
	uint64_t pause_ns;

	if (!first->io.finished || !second->io.finished)
		return;
	if (again(lane, first, second, &pause_ns)) {
		lane->paths[first->path].resubmitted += 2;
		lane_wait(lane, first, pause_ns);
		return;
	}
	lane->paths[first->path].commands += 2;
	lane_finish(lane, first);
}

int lane_submit_pair(struct lane *lane, struct path_io *first, struct path_io *second)
{
	if (lane->dead)
		return -ENOTCONN;
	if (lane->outstanding + 2 > lane->depth)
		return -EAGAIN;
	first->io.sqe.flags |= NVME_SQE_FUSE_FIRST;
	second->io.sqe.flags |= NVME_SQE_FUSE_SECOND;
	lane_begin(lane, first);
	lane_begin(lane, second);
	first->other = second;
	second->other = first;
	if (!lane_send(lane, first))
		return 0;
	first->first_ns = second->first_ns = time_now_ns();
	lane_wait(lane, first, 0);
	return 0;
}

int lane_pair_check(const struct lane *lane, const struct path_io *first, const struct path_io *second,
		    struct error *err)
{
	const char *place = lane->m->paths[first->path].options.addr.text;
	const struct initiator_io *a = &first->io, *b = &second->io;

	if (succeeded(b))
		return 0; /* written, whether or not the answer to the Compare came */
	if (b->lost && !failed(a))
		return error_set(err, -b->error,
				 "%s: the connection was lost before the answer to Compare and Write: whether the data "
				 "were written is not known, so it is not sent again; compare to find out",
				 place);
	return initiator_io_check(succeeded(a) ? b : a, place, false, err);
}

int lane_execute_pair(struct lane *lane, struct path_io *first, struct path_io *second, struct error *err)
{
	int r = lane_submit_pair(lane, first, second);

	if (r)
		return lane_refuse(lane, r, err);
	while (first->other && !lane_poll(lane, true, err))
		;
	return lane_pair_check(lane, first, second, err);
}
