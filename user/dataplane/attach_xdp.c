// SPDX-License-Identifier: Apache-2.0
/*
 * The XDP hook of an interface, through libxdp: its dispatcher where the kernel allows one, so that others can share
 * the interface; a single program where not, which libxdp finds out by itself, but for one case (attach_alone()). Called by
 * interfaces.c. What is somebody else's is never replaced.
 *
 * The first attach loads the program, later ones use the pinned one.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>
#include <unistd.h>
#include <sluice/replay.h>
#include <xdp/libxdp.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "bpf/sluice.skel.h"
#include "dataplane/internal.h"

static void program_closep(struct xdp_program **p)
{
	xdp_program__close(*p);
}

static void multiprog_closep(struct xdp_multiprog **mp)
{
	xdp_multiprog__close(*mp);
}

static int hook_ids(uint32_t ifindex, struct xdp_state *state)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int r = bpf_xdp_query((int)ifindex, 0, &query);

	if (r)
		return r;
	state->native = query.drv_prog_id || query.hw_prog_id;
	state->prog_id = query.drv_prog_id   ? query.drv_prog_id
			 : query.skb_prog_id ? query.skb_prog_id
					     : query.hw_prog_id;
	return 0;
}

/* Who sits in the dispatcher, if there is one. Returns the id of our program in it, or 0. */
static uint32_t dispatched_id(const struct dataplane *dp, uint32_t ifindex, bool *ret_dispatcher)
{
	_cleanup_(multiprog_closep) struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex((int)ifindex);
	struct xdp_program *p = NULL;

	if (libxdp_get_error(mp)) {
		mp = NULL;
		return 0;
	}
	*ret_dispatcher = !xdp_multiprog__is_legacy(mp);
	while (*ret_dispatcher && (p = xdp_multiprog__next_prog(p, mp)))
		if (program_is_ours(dp, xdp_program__id(p)))
			return xdp_program__id(p);
	return 0;
}

int xdp_query(const struct dataplane *dp, uint32_t ifindex, struct xdp_state *ret_state)
{
	struct xdp_state state = {};
	uint32_t inner;
	int r = hook_ids(ifindex, &state);

	if (r)
		return r;
	if (program_is_ours(dp, state.prog_id)) {
		state.ours = true;
	} else if (state.prog_id) {
		inner = dispatched_id(dp, ifindex, &state.dispatcher);
		state.ours = inner != 0;
		state.prog_id = inner ? inner : state.prog_id;
	}
	*ret_state = state;
	return 0;
}

bool xdp_refused_by_others(const struct dataplane *dp, uint32_t ifindex, uint32_t *ret_prog_id)
{
	struct xdp_state state;

	if (xdp_query(dp, ifindex, &state) || !state.prog_id || state.ours || state.dispatcher)
		return false;
	*ret_prog_id = state.prog_id;
	return true;
}

static int pin_program(struct dataplane *dp, int fd, bool frags, struct error *err)
{
	struct pin_path path = pin_path(dp->root, "programs", PROGRAM_XDP);
	struct pin_path frags_path = pin_path(dp->root, "programs", PROGRAM_XDP_FRAGS);
	int r = folder_make(dp, "programs", err);

	if (r)
		return r;
	/* The mark first: with the program's own pin there, the mark is taken for complete. */
	if (unlink(frags_path.text) && errno != ENOENT)
		return error_system(err, errno, "%s: unlink", frags_path.text);
	if (frags && bpf_obj_pin(fd, frags_path.text))
		return error_system(err, errno, "%s: pin", frags_path.text);
	if (bpf_obj_pin(fd, path.text) && errno != EEXIST)
		return error_system(err, errno, "%s: pin", path.text);
	return 0;
}

/* One try in one mode. A failed attach may have loaded the object, so every try opens its own. */
static int attach_fresh(struct dataplane *dp, uint32_t ifindex, enum xdp_attach_mode mode, struct error *err)
{
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .prog_name = PROGRAM_XDP);
	_cleanup_(object_closep) struct sluice_bpf *skel = NULL;
	_cleanup_(program_closep) struct xdp_program *program = NULL;
	int r = object_open(dp->root, flow_table_shape(dp), err, &skel);

	if (r)
		return r;
	opts.obj = object_of(skel);
	program = xdp_program__create(&opts);
	if (libxdp_get_error(program)) {
		r = (int)libxdp_get_error(program);
		program = NULL;
		return error_system(err, -r, "%s: libxdp cannot take the program", PROGRAM_XDP);
	}
	/* libxdp asks the kernel and takes the flag back where it has no frags. */
	xdp_program__set_xdp_frags_support(program, true);
	r = xdp_program__attach(program, (int)ifindex, mode, 0);
	if (r)
		return error_system(err, -r, "libxdp attach");
	return pin_program(dp, xdp_program__fd(program), xdp_program__xdp_frags_support(program), err);
}

static int attach_single(int fd, uint32_t ifindex, enum xdp_attach_mode mode, struct error *err)
{
	__u32 flags = XDP_FLAGS_UPDATE_IF_NOEXIST | (mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int r = bpf_xdp_attach((int)ifindex, fd, flags, NULL);

	return r ? error_system(err, -r, "attach") : 0;
}

/*
 * The one case: kernels from 6.13, and older ones that took the change over (Debian's 6.12), let a program that moves the ends of a
 * packet take only the place of a function that does so too, and the functions of libxdp's dispatcher do from 1.5.5 on. An older
 * libxdp finds the kernel fit for its dispatcher and then fails with EINVAL.
 */
static int attach_alone(struct dataplane *dp, uint32_t ifindex, enum xdp_attach_mode mode, struct error *err)
{
	_cleanup_(object_closep) struct sluice_bpf *skel = NULL;
	int r = object_open(dp->root, flow_table_shape(dp), err, &skel), fd;

	if (r)
		return r;
	bpf_program__set_autoload(skel->progs.sluice_xdp, true);
	bpf_program__set_flags(skel->progs.sluice_xdp, BPF_F_XDP_HAS_FRAGS);
	r = sluice_bpf__load(skel);
	if (r)
		return error_system(err, -r, "%s: the kernel refused it as the only program", PROGRAM_XDP);
	fd = bpf_program__fd(skel->progs.sluice_xdp);
	r = attach_single(fd, ifindex, mode, err);
	return r ? r : pin_program(dp, fd, true, err);
}

static bool loaded_alone(int fd)
{
	struct bpf_prog_info info = {};
	__u32 length = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &length) && info.type == BPF_PROG_TYPE_XDP;
}

static int attach_pinned(int fd, uint32_t ifindex, enum xdp_attach_mode mode, struct error *err)
{
	_cleanup_(program_closep) struct xdp_program *program = xdp_program__from_fd(fd);
	int r;

	if (libxdp_get_error(program)) {
		r = (int)libxdp_get_error(program);
		program = NULL;
		return error_system(err, -r, "%s: libxdp cannot take the pinned program", PROGRAM_XDP);
	}
	r = xdp_program__attach(program, (int)ifindex, mode, 0);
	return r ? error_system(err, -r, "libxdp attach") : 0;
}

static int attach_in_mode(struct dataplane *dp, uint32_t ifindex, enum xdp_attach_mode mode, struct error *err)
{
	_cleanup_close_ int fd = program_get(dp, PROGRAM_XDP);
	struct error alone = {};
	int r;

	if (fd >= 0)
		return loaded_alone(fd) ? attach_single(fd, ifindex, mode, err) : attach_pinned(fd, ifindex, mode, err);
	r = attach_fresh(dp, ifindex, mode, err);
	if (r != -EINVAL || attach_alone(dp, ifindex, mode, &alone))
		return r;
	log_info(PROGRAM_XDP, "libxdp's dispatcher does not take it on this kernel (libxdp before 1.5.5): attached alone");
	return 0;
}

/* An apply that died between attach and pin left our program on the interface only: it is pinned now. */
static int adopt_attached(struct dataplane *dp, uint32_t prog_id, struct error *err)
{
	_cleanup_close_ int pinned = program_get(dp, PROGRAM_XDP), fd = -1;

	if (pinned >= 0)
		return 0;
	fd = bpf_prog_get_fd_by_id(prog_id);
	if (fd < 0)
		return error_system(err, errno, "%s: the attached program vanished", PROGRAM_XDP);
	return pin_program(dp, fd, !access(pin_path(dp->root, "programs", PROGRAM_XDP_FRAGS).text, F_OK), err);
}

static bool mode_fits(const struct xdp_state *state, enum policy_attach wanted)
{
	return wanted == POLICY_ATTACH_AUTO || state->native == (wanted == POLICY_ATTACH_XDP);
}

int xdp_attach(struct dataplane *dp, const char *ifname, uint32_t ifindex, enum policy_attach wanted, struct error *err)
{
	struct xdp_state state = {};
	struct error first = {};
	int r = xdp_query(dp, ifindex, &state);

	if (r)
		return error_system(err, -r, "%s: cannot ask the kernel for its XDP program", ifname);
	if (state.ours && mode_fits(&state, wanted))
		return adopt_attached(dp, state.prog_id, err);
	if (state.ours) {
		r = xdp_detach(dp, ifindex, err);
		if (r)
			return r;
	} else if (state.prog_id && !state.dispatcher) {
		return error_set(
			err, EBUSY,
			"%s: carries the XDP program %u of somebody else; take it off (`ip link set %s xdp off`) "
			"or use `attach: tc`",
			ifname, state.prog_id, ifname);
	}
	r = wanted == POLICY_ATTACH_XDP_GENERIC ? -EOPNOTSUPP : attach_in_mode(dp, ifindex, XDP_MODE_NATIVE, &first);
	if (r && wanted == POLICY_ATTACH_XDP)
		return error_set(err, -r, "%s: native XDP refused: %s; use `attach: auto` or a driver with XDP", ifname,
				 first.text);
	if (r) {
		if (wanted == POLICY_ATTACH_AUTO)
			log_debug(ifname, "native XDP refused, trying generic: %s", first.text);
		r = attach_in_mode(dp, ifindex, XDP_MODE_SKB, &first);
	}
	if (r)
		return error_set(err, -r, "%s: XDP refused: %s; `attach: tc` may work", ifname, first.text);
	return 0;
}

int xdp_detach(const struct dataplane *dp, uint32_t ifindex, struct error *err)
{
	_cleanup_(program_closep) struct xdp_program *program = NULL;
	struct xdp_state state = {};
	int r = xdp_query(dp, ifindex, &state);

	if (r == -ENODEV || (!r && !state.ours))
		return 0;
	if (r)
		return error_system(err, -r, "ifindex %u: cannot ask the kernel for its XDP program", ifindex);
	if (!state.dispatcher) {
		LIBBPF_OPTS(bpf_xdp_attach_opts, opts);
		_cleanup_close_ int old = bpf_prog_get_fd_by_id(state.prog_id);

		/* Only if it is still ours at the moment of the change. */
		opts.old_prog_fd = old;
		r = bpf_xdp_attach((int)ifindex, -1,
				   XDP_FLAGS_REPLACE | (state.native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE), &opts);
		return r && r != -ENODEV ? error_system(err, -r, "ifindex %u: cannot take the XDP program off", ifindex)
					 : 0;
	}
	program = xdp_program__from_id(state.prog_id);
	if (libxdp_get_error(program)) {
		program = NULL;
		return error_system(err, ENOENT, "ifindex %u: the dispatched program vanished", ifindex);
	}
	r = xdp_program__detach(program, (int)ifindex, XDP_MODE_UNSPEC, 0);
	return r ? error_system(err, -r, "ifindex %u: libxdp cannot take the program off", ifindex) : 0;
}
