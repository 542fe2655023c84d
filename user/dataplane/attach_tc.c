// SPDX-License-Identifier: Apache-2.0
/*
 * The TC hooks of an interface: a tcx link pinned under ROOT/links where the kernel has tcx (6.6), else a clsact filter
 * with a priority and handle of our own. Called by interfaces.c. One link an interface and hook; filters of others stay
 * in place.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "dataplane/internal.h"

/* Attach types that libbpf 1.1's headers may not know. */
#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS  47

/* `handle`: of the clsact filter, and its priority. Ingress and egress lists are two. */
static const struct place {
	const char *name;
	const char *program;
	__u32 handle;
	bool egress;
} places[] = {
	[TC_INGRESS] = {"ingress", PROGRAM_TC_INGRESS, 0x5c1, false},
	[TC_EGRESS] = {"egress", PROGRAM_TC_EGRESS, 0x5c1, true},
	[TC_ANSWER] = {"answer", PROGRAM_ANSWER, 0x5c2, false},
};

static enum bpf_tc_attach_point clsact_point(enum tc_place place)
{
	return places[place].egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
}

static struct pin_path link_path(const struct dataplane *dp, uint32_t ifindex, enum tc_place place)
{
	char name[64];

	snprintf(name, sizeof(name), "tcx_%s_%u", places[place].name, ifindex);
	return pin_path(dp->root, "links", name);
}

/* The link's interface; 0 if the interface has gone (its number may be another's by now), -errno if it is no live link.
 */
static int link_ifindex(int fd)
{
	/* struct bpf_link_info.tcx begins where .xdp does: the ifindex comes first in both. */
	struct bpf_link_info info = {};
	__u32 length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) ? -errno : (int)info.xdp.ifindex;
}

static void dir_closep(DIR **d)
{
	if (*d)
		closedir(*d);
}

static bool tcx_there(const struct dataplane *dp, uint32_t ifindex, enum tc_place place)
{
	_cleanup_close_ int fd = bpf_obj_get(link_path(dp, ifindex, place).text);

	return fd >= 0 && link_ifindex(fd) == (int)ifindex;
}

static bool clsact_there(const struct dataplane *dp, uint32_t ifindex, enum tc_place place)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = (int)ifindex,
		    .attach_point = clsact_point(place));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = places[place].handle, .priority = places[place].handle);

	return !bpf_tc_query(&where, &opts) && program_is_ours(dp, opts.prog_id);
}

enum tc_kind tc_query(const struct dataplane *dp, uint32_t ifindex, enum tc_place place)
{
	if (tcx_there(dp, ifindex, place))
		return TC_TCX;
	return clsact_there(dp, ifindex, place) ? TC_CLSACT : TC_NONE;
}

/* -EOPNOTSUPP: this kernel has no tcx. */
static int attach_tcx(struct dataplane *dp, int program, uint32_t ifindex, enum tc_place place, struct error *err)
{
	struct pin_path path = link_path(dp, ifindex, place);
	_cleanup_close_ int link = -1;

	if (unlink(path.text) && errno != ENOENT) /* of an interface that had this number before */
		return error_system(err, errno, "%s: unlink", path.text);
	link = bpf_link_create(program, (int)ifindex,
			       (enum bpf_attach_type)(places[place].egress ? ATTACH_TCX_EGRESS : ATTACH_TCX_INGRESS), NULL);
	if (link < 0)
		return errno == EINVAL ? -EOPNOTSUPP : error_system(err, errno, "tcx");
	return bpf_obj_pin(link, path.text) ? error_system(err, errno, "%s: pin", path.text) : 0;
}

static int attach_clsact(int program, uint32_t ifindex, enum tc_place place, struct error *err)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = (int)ifindex,
		    .attach_point = clsact_point(place));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = places[place].handle, .priority = places[place].handle, .prog_fd = program,
		    .flags = BPF_TC_F_REPLACE);
	int r = bpf_tc_hook_create(&where);

	if (r && r != -EEXIST)
		return error_system(err, -r, "clsact");
	r = bpf_tc_attach(&where, &opts);
	return r ? error_system(err, -r, "clsact filter") : 0;
}

int tc_attach(struct dataplane *dp, const char *ifname, uint32_t ifindex, enum tc_place place, struct error *err)
{
	_cleanup_close_ int program = -1;
	struct error why = {};
	int r;

	if (tc_query(dp, ifindex, place) != TC_NONE)
		return 0;
	r = programs_load_tc(dp, err);
	if (!r)
		r = folder_make(dp, "links", err);
	if (r)
		return r;
	program = program_get(dp, places[place].program);
	if (program < 0)
		return error_system(err, -program, "%s: no pinned TC program", dp->root);
	r = attach_tcx(dp, program, ifindex, place, &why);
	if (r == -EOPNOTSUPP)
		r = attach_clsact(program, ifindex, place, &why);
	if (r)
		return error_set(err, -r, "%s: TC %s refused: %s", ifname, places[place].name, why.text);
	return 0;
}

/* Pins of links whose interface has gone hold nothing, and its number may come again. */
int tc_prune(const struct dataplane *dp)
{
	_cleanup_(dir_closep) DIR *dir = opendir(pin_path(dp->root, "links", NULL).text);
	struct dirent *entry;
	int r = 0;

	while (dir && (entry = readdir(dir))) {
		struct pin_path path = pin_path(dp->root, "links", entry->d_name);
		_cleanup_close_ int fd = entry->d_name[0] == '.' ? -1 : bpf_obj_get(path.text);

		if (fd >= 0 && !link_ifindex(fd) && unlink(path.text))
			r = -errno;
	}
	return r;
}

int tc_detach(const struct dataplane *dp, uint32_t ifindex, enum tc_place place, struct error *err)
{
	LIBBPF_OPTS(bpf_tc_hook, where, .ifindex = (int)ifindex,
		    .attach_point = clsact_point(place));
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = places[place].handle, .priority = places[place].handle);
	struct pin_path path = link_path(dp, ifindex, place);
	_cleanup_close_ int link = bpf_obj_get(path.text);
	int r;

	/* Detached by name: dropping the last reference would do it too, but some time later. */
	if (link >= 0 && bpf_link_detach(link) && errno != ENOLINK)
		return error_system(err, errno, "%s: detach", path.text);
	if (unlink(path.text) && errno != ENOENT)
		return error_system(err, errno, "%s: unlink", path.text);
	if (!clsact_there(dp, ifindex, place))
		return 0;
	r = bpf_tc_detach(&where, &opts);
	return r && r != -ENOENT ? error_system(err, -r, "ifindex %u: cannot take the clsact filter off", ifindex) : 0;
}
