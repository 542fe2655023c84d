// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a lane takes it on itself to send a command again: because its connection was lost, because of how it was
 * answered (a table, nvme/retry.c), or because it was not, and was called back. Called by multipath_lane.c and
 * multipath_pair.c. What always holds: a command is sent again MULTIPATH_RETRIES times at most, or as long as a path
 * may be away.
 */
#include <errno.h>

#include "base/util.h"
#include "nvme/retry.h"
#include "storage/multipath_lane.h"

/* Whether it may be sent again though nobody knows whether it was executed. */
static bool repeatable(const struct nvme_sqe *sqe)
{
	static const bool opcodes[256] = {
		[NVME_IO_READ] = true,	       [NVME_IO_WRITE] = true, [NVME_IO_FLUSH] = true,
		[NVME_IO_WRITE_ZEROES] = true, [NVME_IO_DSM] = true,   [NVME_IO_VERIFY] = true,
		[NVME_IO_WRITE_UNCOR] = true,
	};

	return opcodes[sqe->opcode];
}

bool lane_again_status(struct lane *lane, struct path_io *io, uint16_t status, uint64_t *ret_pause_ns)
{
	struct lane_path *lp = &lane->paths[io->path];
	struct nvme_retry retry = nvme_retry_of(status, io->retries, lp->crdt);
	uint64_t now = time_now_ns(), pause_ns = retry.pause_ms * 1000000ull;

	if (retry.where == NVME_RETRY_NEVER || pause_ns > lane_patience_ns(lane))
		return false;
	if (retry.where == NVME_RETRY_ANA) {
		io->ana_ns = io->ana_ns ? io->ana_ns : now;
		if (now - io->ana_ns > lane_patience_ns(lane))
			return false;
	} else if (io->retries++ >= MULTIPATH_RETRIES) {
		return false;
	}
	if (retry.where != NVME_RETRY_HERE)
		path_stale(&lane->m->paths[io->path], io->ns);
	io->elsewhere = retry.where == NVME_RETRY_ELSEWHERE;
	multipath_count(lp->retries, status & NVME_STATUS_CODE, 1);
	*ret_pause_ns = pause_ns;
	return true;
}

/*
 * Not only those that were called back: an Abort may come so late that its command was answered meanwhile, and the
 * identifier is another one's; there are 64 of a slot, which a fast queue goes through within a millisecond.
 */
bool lane_aborted(const struct initiator_io *io)
{
	return !io->error && (io->status & (NVME_STATUS_CODE | NVME_STATUS_DNR)) == NVME_ST_ABORTED;
}

bool lane_again_aborted(struct lane *lane, struct path_io *io)
{
	struct lane_path *lp = &lane->paths[io->path];

	if (io->retries++ >= MULTIPATH_RETRIES)
		return false;
	io->elsewhere = true;
	multipath_count(lp->retries, NVME_ST_ABORTED, 1);
	return true;
}

bool lane_again(struct lane *lane, struct path_io *io, uint64_t *ret_pause_ns)
{
	*ret_pause_ns = 0;
	if (lane->dead || lane->closing || nvme_fuse(&io->io.sqe))
		return false;
	if (io->io.lost)
		return repeatable(&io->io.sqe) && io->retries++ < MULTIPATH_RETRIES;
	if (io->io.error && io->io.error != -EBADMSG)
		return false;
	if (lane_aborted(&io->io))
		return repeatable(&io->io.sqe) && lane_again_aborted(lane, io);
	return lane_again_status(lane, io, io->io.error ? NVME_ST_TRANSIENT_TRANSPORT : io->io.status, ret_pause_ns);
}
