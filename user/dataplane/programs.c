// SPDX-License-Identifier: Apache-2.0
/*
 * The kernel object and its programs: opened over the pinned maps, loaded once, pinned under ROOT/programs. Called by
 * the attach files and by the first load. Each program is loaded from an object of its own opening, because libxdp
 * decides the XDP program's type only when it attaches it.
 *
 * libbpf and libxdp explain at length what they try and what fails on purpose; all of it goes to the debug log.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/btf.h>
#include <sluice/replay.h>
#include <xdp/libxdp.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "bpf/sluice.skel.h"
#include "dataplane/internal.h"

/* A verifier log is one message of many lines. */
static void log_library(const char *subject, const char *format, va_list ap)
{
	_cleanup_free_ char *text = NULL;
	char *line, *rest;

	if (vasprintf(&text, format, ap) < 0) {
		text = NULL;
		return;
	}
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		log_debug(subject, "%s", line);
}

static int log_libbpf(enum libbpf_print_level level, const char *format, va_list ap)
{
	if (level != LIBBPF_DEBUG)
		log_library("libbpf", format, ap);
	return 0;
}

static int log_libxdp(enum libxdp_print_level level, const char *format, va_list ap)
{
	log_library("libxdp", format, ap);
	return 0;
}

__attribute__((constructor)) static void route_library_logs(void)
{
	libbpf_set_print(log_libbpf);
	libxdp_set_print(log_libxdp);
}

void object_closep(struct sluice_bpf **skel)
{
	sluice_bpf__destroy(*skel);
}

struct bpf_object *object_of(struct sluice_bpf *skel)
{
	return skel->obj;
}

/*
 * The kernel marks a devmap as read-only for programs by itself. libbpf before 1.6 takes that for another map than the
 * object's, and must not be left to find the pinned one.
 */
static int ports_reuse(const char *root, struct bpf_map *map)
{
	_cleanup_close_ int fd = bpf_obj_get(pin_path(root, NULL, "ports").text);
	int r;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = bpf_map__set_pin_path(map, NULL);
	return r ? r : bpf_map__reuse_fd(map, fd);
}

struct flow_table_shape flow_table_shape(const struct dataplane *dp)
{
	return (struct flow_table_shape){dp->control->max_flows, dp->control->seed[0]};
}

/* Whether programs may call that function of the kernel. Asked once a process: the kernel's types take some ms to read. */
static bool kernel_has_context(void)
{
	static int has = -1;
	struct btf *types;

	if (has < 0) {
		types = btf__load_vmlinux_btf();
		has = types && btf__find_by_name_kind(types, "bpf_cast_to_kern_ctx", BTF_KIND_FUNC) > 0;
		btf__free(types);
	}
	return has;
}

int object_open(const char *root, struct flow_table_shape flows, struct error *err, struct sluice_bpf **ret_skel)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = root);
	_cleanup_(object_closep) struct sluice_bpf *skel = sluice_bpf__open_opts(&opts);
	const char *name = root ? root : "kernel object";
	struct bpf_program *program;
	struct bpf_map *map;
	int r;

	if (!skel)
		return error_system(err, errno, "%s: cannot open the built-in kernel object", name);
	bpf_object__for_each_program(program, skel->obj) bpf_program__set_autoload(program, false);
	skel->rodata->flow_buckets = sluice_flow_buckets(flows.max_flows);
	skel->rodata->flow_seed = flows.seed;
	skel->rodata->kernel_context = kernel_has_context();
	r = bpf_map__set_max_entries(skel->maps.flows, skel->rodata->flow_buckets);
	if (!root)
		bpf_object__for_each_map(map, skel->obj) r = r ? r : bpf_map__set_pin_path(map, NULL);
	if (!r && root)
		r = ports_reuse(root, skel->maps.ports);
	if (r)
		return error_system(err, -r, "%s: cannot size the maps", name);
	*ret_skel = TAKE_PTR(skel);
	return 0;
}

uint32_t program_id(int prog_fd)
{
	struct bpf_prog_info info = {};
	__u32 length = sizeof(info);

	return bpf_obj_get_info_by_fd(prog_fd, &info, &length) ? 0 : info.id;
}

int program_get(const struct dataplane *dp, const char *name)
{
	int fd = bpf_obj_get(pin_path(dp->root, "programs", name).text);

	return fd < 0 ? -errno : fd;
}

/* A program is ours if it works on our control map, whoever loaded it and whether or not its pin was made in time. */
bool program_is_ours(const struct dataplane *dp, uint32_t prog_id)
{
	_cleanup_close_ int fd = prog_id ? bpf_prog_get_fd_by_id(prog_id) : -1;
	struct bpf_prog_info info = {};
	__u32 maps[64], length = sizeof(info), i;

	if (fd < 0)
		return false;
	info.nr_map_ids = ARRAY_SIZE(maps);
	info.map_ids = (__u64)(uintptr_t)maps;
	if (bpf_obj_get_info_by_fd(fd, &info, &length))
		return false;
	for (i = 0; i < min(info.nr_map_ids, (__u32)ARRAY_SIZE(maps)); i++)
		if (maps[i] == dp->control_id)
			return true;
	return false;
}

static int program_pin(struct dataplane *dp, int fd, const char *name, struct error *err)
{
	struct pin_path path = pin_path(dp->root, "programs", name);

	if (unlink(path.text) && errno != ENOENT)
		return error_system(err, errno, "%s: unlink", path.text);
	if (bpf_obj_pin(fd, path.text))
		return error_system(err, errno, "%s: pin", path.text);
	return 0;
}

static bool pinned(const struct dataplane *dp, const char *name)
{
	return !access(pin_path(dp->root, "programs", name).text, F_OK);
}

static int programs_load(struct dataplane *dp, const char *const *names, size_t count, __u32 flags, struct error *err)
{
	_cleanup_(object_closep) struct sluice_bpf *skel = NULL;
	struct bpf_program *program;
	size_t i;
	int r;

	r = object_open(dp->root, flow_table_shape(dp), err, &skel);
	for (i = 0; !r && i < count; i++) {
		program = bpf_object__find_program_by_name(skel->obj, names[i]);
		if (!program)
			return error_set(err, ENOENT, "%s: the kernel object has no such program", names[i]);
		bpf_program__set_autoload(program, true);
		if (bpf_program__type(program) == BPF_PROG_TYPE_XDP)
			bpf_program__set_flags(program, flags);
	}
	if (r)
		return r;
	r = sluice_bpf__load(skel);
	if (r)
		return error_system(err, -r, "%s: the kernel refused program %s; --verbose shows the verifier's log",
				    dp->root, names[0]);
	r = folder_make(dp, "programs", err);
	for (i = 0; !r && i < count; i++)
		r = program_pin(dp, bpf_program__fd(bpf_object__find_program_by_name(skel->obj, names[i])), names[i],
				err);
	return r;
}

int programs_load_tc(struct dataplane *dp, struct error *err)
{
	static const char *const names[] = {PROGRAM_TC_INGRESS, PROGRAM_TC_EGRESS, PROGRAM_ANSWER};

	if (pinned(dp, names[0]) && pinned(dp, names[1]) && pinned(dp, names[2]))
		return 0;
	return programs_load(dp, names, ARRAY_SIZE(names), 0, err);
}

/* With frags where sluice_xdp has them: then what it moves may be of several parts. */
int programs_load_cpumap(struct dataplane *dp, struct error *err)
{
	static const char *const names[] = {PROGRAM_CPUMAP};

	if (pinned(dp, names[0]))
		return 0;
	return programs_load(dp, names, 1, pinned(dp, PROGRAM_XDP_FRAGS) ? BPF_F_XDP_HAS_FRAGS : 0, err);
}

int programs_load_confirm(struct dataplane *dp, struct error *err)
{
	static const char *const names[] = {PROGRAM_CONFIRM};

	return pinned(dp, names[0]) ? 0 : programs_load(dp, names, 1, 0, err);
}

int programs_load_cut(struct dataplane *dp, struct error *err)
{
	static const char *const names[] = {PROGRAM_CUT};

	return pinned(dp, names[0]) ? 0 : programs_load(dp, names, 1, 0, err);
}

/* ------------------------------------------------------------------- test runs */

static int test_run_skb(int fd, uint32_t ifindex, struct bpf_test_run_opts *opts)
{
	struct __sk_buff skb = {.ifindex = ifindex};

	opts->ctx_in = &skb;
	opts->ctx_size_in = sizeof(skb);
	return bpf_prog_test_run_opts(fd, opts);
}

/* libxdp runs a program that was loaded for its dispatcher inside one. */
static int test_run_xdp(int fd, uint32_t ifindex, size_t length, struct bpf_test_run_opts *opts)
{
	struct xdp_md md = {.data_end = (__u32)length, .ingress_ifindex = ifindex, .rx_queue_index = 0};
	struct xdp_program *program = xdp_program__from_fd(fd);
	int r;

	if (libxdp_get_error(program))
		return (int)libxdp_get_error(program);
	opts->ctx_in = &md;
	opts->ctx_size_in = sizeof(md);
	r = xdp_program__test_run(program, opts, 0);
	xdp_program__close(program);
	return r;
}

int dataplane_test_run_frame(struct dataplane *dp, enum sluice_hook hook, uint32_t ifindex, const void *frame,
			     size_t length, void *room, size_t room_size, int *ret_action, size_t *ret_length)
{
	static const char *const names[] = {
		[SLUICE_HOOK_XDP] = PROGRAM_XDP,
		[SLUICE_HOOK_TC_INGRESS] = PROGRAM_TC_INGRESS,
		[SLUICE_HOOK_TC_EGRESS] = PROGRAM_TC_EGRESS,
	};
	_cleanup_close_ int fd = program_get(dp, names[hook]);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (__u32)length, .data_out = room,
		    .data_size_out = (__u32)room_size, .repeat = 1);
	int r;

	if (fd < 0)
		return fd;
	r = hook == SLUICE_HOOK_XDP ? test_run_xdp(fd, ifindex, length, &opts) : test_run_skb(fd, ifindex, &opts);
	if (r)
		return r;
	*ret_action = (int)opts.retval;
	*ret_length = opts.data_size_out;
	return 0;
}

int dataplane_test_run(struct dataplane *dp, enum sluice_hook hook, uint32_t ifindex, const void *frame, size_t length,
		       int *ret_action)
{
	_cleanup_free_ unsigned char *room = malloc(length + 256);
	size_t after;

	if (!room)
		return -ENOMEM;
	return dataplane_test_run_frame(dp, hook, ifindex, frame, length, room, length + 256, ret_action, &after);
}
