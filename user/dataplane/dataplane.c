// SPDX-License-Identifier: Apache-2.0
/*
 * The pinned folder as one object: adopt it if it is ours and of this ABI, or make it. Called by every command that
 * touches the kernel. What always holds: a folder under its final name has a complete set of maps and a written control
 * word, because it is made under another name and renamed.
 */
#include "dataplane/dataplane.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "bpf/sluice.skel.h"
#include "dataplane/internal.h"

static const char *const map_names[] = {
#define M(name) #name,
	DATAPLANE_MAPS(M)
#undef M
};

static const char *const table_names[] = {
#define T(name, type, entries) #name,
	SLUICE_BANK_TABLES(T)
#undef T
};

void dataplane_close(struct dataplane *dp)
{
	size_t i;

	if (!dp)
		return;
	if (dp->control)
		munmap(dp->control, sizeof(*dp->control));
	for (i = 0; i < MAP_COUNT; i++)
		base_closep(&dp->map[i]);
	for (i = 0; i < TABLE_COUNT; i++)
		base_closep(&dp->table[i]);
	base_closep(&dp->cut);
	free(dp);
}

void dataplane_closep(struct dataplane **dp)
{
	dataplane_close(*dp);
}

static struct dataplane *dataplane_new(const char *root)
{
	struct dataplane *dp = calloc(1, sizeof(*dp));
	size_t i;

	if (!dp)
		return NULL;
	snprintf(dp->root, sizeof(dp->root), "%s", root);
	for (i = 0; i < MAP_COUNT; i++)
		dp->map[i] = -1;
	for (i = 0; i < TABLE_COUNT; i++)
		dp->table[i] = -1;
	dp->n_cpus = libbpf_num_possible_cpus();
	dp->cut = -1;
	return dp;
}

static int map_adopt(const struct dataplane *dp, const char *name, struct error *err, int *ret_fd)
{
	struct pin_path path = pin_path(dp->root, NULL, name);
	int fd = bpf_obj_get(path.text);

	if (fd < 0)
		return error_system(
			err, errno,
			"%s: pinned map missing or not accessible; `sluice --root %s detach` and apply again",
			path.text, dp->root);
	*ret_fd = fd;
	return 0;
}

static int abi_refuse(const struct dataplane *dp, struct error *err, const char *fact)
{
	return error_set(err, EPROTO,
			 "%s: %s; this sluice has ABI %d: use the sluice that pinned it, or `sluice --root %s detach` "
			 "and apply again",
			 dp->root, fact, SLUICE_ABI_VERSION, dp->root);
}

/* Refuses what another version has pinned, before anything of it is used. */
static int abi_check(struct dataplane *dp, struct error *err)
{
	struct bpf_map_info info = {}, flows = {};
	__u32 length = sizeof(info), flows_length = sizeof(flows);
	struct sluice_control control;
	__u32 zero = 0;
	char fact[160];

	if (bpf_obj_get_info_by_fd(dp->map[MAP_control], &info, &length) ||
	    bpf_obj_get_info_by_fd(dp->map[MAP_flows], &flows, &flows_length))
		return error_system(err, errno, "%s: cannot read map facts", dp->root);
	if (info.value_size != sizeof(control) || bpf_map_lookup_elem(dp->map[MAP_control], &zero, &control))
		return abi_refuse(dp, err, "its control map is not one that sluice knows");
	if (control.magic != SLUICE_ABI_MAGIC)
		return abi_refuse(dp, err, "its control map does not bear sluice's mark");
	if (control.abi_version != SLUICE_ABI_VERSION) {
		snprintf(fact, sizeof(fact), "pinned by a sluice with ABI %u", control.abi_version);
		return abi_refuse(dp, err, fact);
	}
	if (control.bucket_size != sizeof(struct sluice_flow_bucket) || flows.value_size != control.bucket_size ||
	    flows.max_entries != sluice_flow_buckets(control.max_flows))
		return abi_refuse(dp, err, "its flows have another size");
	dp->control_id = info.id;
	return 0;
}

static int control_map(struct dataplane *dp, struct error *err)
{
	void *p = mmap(NULL, sizeof(*dp->control), PROT_READ | PROT_WRITE, MAP_SHARED, dp->map[MAP_control], 0);

	if (p == MAP_FAILED)
		return error_system(err, errno, "%s/control: mmap", dp->root);
	dp->control = p;
	return 0;
}

/* The control map comes first: what another version pinned is called by its name, not "a map is missing". */
static int dataplane_adopt(struct dataplane *dp, struct error *err)
{
	size_t i;
	int r;

	r = map_adopt(dp, "control", err, &dp->map[MAP_control]);
	if (!r)
		r = map_adopt(dp, "flows", err, &dp->map[MAP_flows]);
	if (!r)
		r = abi_check(dp, err);
	for (i = 0; !r && i < MAP_COUNT; i++)
		if (dp->map[i] < 0)
			r = map_adopt(dp, map_names[i], err, &dp->map[i]);
	for (i = 0; !r && i < TABLE_COUNT; i++)
		r = map_adopt(dp, table_names[i], err, &dp->table[i]);
	return r ? r : control_map(dp, err);
}

int dataplane_open(const char *root, struct error *err, struct dataplane **ret_dp)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	struct stat st;
	int r;

	if (strlen(root) >= sizeof(dp->root))
		return error_set(err, ENAMETOOLONG, "%s: path too long", root);
	if (stat(root, &st))
		return errno == ENOENT ? error_set(err, ENOENT,
						   "%s: nothing is applied here; `sluice apply POLICY` first", root)
				       : error_system(err, errno, "%s", root);
	dp = dataplane_new(root);
	if (!dp)
		return error_set(err, ENOMEM, "%s: out of memory", root);
	r = dataplane_adopt(dp, err);
	if (r)
		return r;
	*ret_dp = TAKE_PTR(dp);
	return 0;
}

uint64_t dataplane_build(void)
{
	const uint64_t prime = 0x100000001b3ull; /* FNV-1a, 64 bits */
	uint64_t hash = 0xcbf29ce484222325ull;
	const uint8_t *bytes;
	size_t i, length;

	bytes = sluice_bpf__elf_bytes(&length);
	for (i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * prime;
	return hash;
}

/* Each counter bears its reason's name on every CPU, for whoever reads the map with bpftool. */
static int reasons_name(struct sluice_bpf *skel, struct error *err)
{
	_cleanup_free_ struct sluice_reason_counter *values = NULL;
	int fd = bpf_map__fd(skel->maps.reason_counters), n_cpus = libbpf_num_possible_cpus(), cpu;
	__u32 reason;

	if (n_cpus < 0)
		return error_system(err, -n_cpus, "cannot count the possible CPUs");
	values = calloc((size_t)n_cpus, sizeof(*values));
	if (!values)
		return error_set(err, ENOMEM, "reason_counters: out of memory");
	for (reason = 0; reason < SLUICE_REASON_COUNT; reason++) {
		for (cpu = 0; cpu < n_cpus; cpu++)
			values[cpu].reason = reason;
		if (bpf_map_update_elem(fd, &reason, values, BPF_ANY))
			return error_system(err, errno, "reason_counters: write");
	}
	return 0;
}

static int control_write(const char *folder, struct flow_table_shape flows, struct error *err)
{
	struct sluice_control control = {
		.magic = SLUICE_ABI_MAGIC,
		.abi_version = SLUICE_ABI_VERSION,
		.bucket_size = sizeof(struct sluice_flow_bucket),
		.build = dataplane_build(),
		.seed = {flows.seed},
		.max_flows = flows.max_flows,
	};
	_cleanup_close_ int fd = bpf_obj_get(pin_path(folder, NULL, "control").text);
	__u32 zero = 0;

	if (getrandom(&control.seed[1], sizeof(control.seed[1]), 0) != sizeof(control.seed[1]))
		return error_system(err, errno, "%s: no random numbers", folder);
	if (fd < 0 || bpf_map_update_elem(fd, &zero, &control, BPF_ANY))
		return error_system(err, errno, "%s/control: write", folder);
	return 0;
}

/* The MAC address by which programs know what this host has answered to itself: one host's, and locally administered. */
static int answers_prepare(const char *folder, struct error *err)
{
	_cleanup_close_ int fd = bpf_obj_get(pin_path(folder, NULL, "answer_state").text);
	struct sluice_answer_state state = {};
	__u32 zero = 0;

	if (getrandom(state.mac, sizeof(state.mac), 0) != (ssize_t)sizeof(state.mac))
		return error_system(err, errno, "getrandom");
	state.mac[0] = (__u8)((state.mac[0] & 0xfc) | 0x02);
	if (fd < 0 || bpf_map_update_elem(fd, &zero, &state, BPF_ANY))
		return error_system(err, errno, "%s/answer_state: write", folder);
	return 0;
}

/* Programs may enter the table of CPUs as long as no other program names it: bpf/maps.h. */
static int cpus_make(struct sluice_bpf *skel, struct error *err)
{
	_cleanup_close_ int fd = bpf_map_create(BPF_MAP_TYPE_CPUMAP, "cpu_table", sizeof(__u32), sizeof(struct bpf_cpumap_val),
						(__u32)libbpf_num_possible_cpus(), NULL);
	__u32 zero = 0;

	if (fd < 0 || bpf_map_update_elem(bpf_map__fd(skel->maps.cpus), &zero, &fd, BPF_ANY))
		return error_system(err, errno, "cpus: cannot make the table of CPUs");
	return 0;
}

/* Makes the folder as ROOT-new and renames it: an interrupted load leaves nothing that looks whole. */
static int folder_load(const char *root, uint32_t max_flows, struct error *err)
{
	_cleanup_(object_closep) struct sluice_bpf *skel = NULL;
	struct flow_table_shape flows = {.max_flows = max_flows};
	char fresh[PATH_MAX / 2];
	int r;

	if (getrandom(&flows.seed, sizeof(flows.seed), 0) != sizeof(flows.seed))
		return error_system(err, errno, "%s: no random number for the flow table", root);
	if ((size_t)snprintf(fresh, sizeof(fresh), "%s-new", root) >= sizeof(fresh))
		return error_set(err, ENAMETOOLONG, "%s: path too long", root);
	r = folder_remove(fresh);
	if (r)
		return error_system(err, -r, "%s: cannot remove what an interrupted load left", fresh);
	if (mkdir(fresh, 0700))
		return error_system(err, errno, "%s: mkdir", fresh);
	r = object_open(fresh, flows, err, &skel);
	if (r)
		return r;
	r = sluice_bpf__load(skel);
	if (r)
		return error_system(err, -r, "%s: the kernel refused the maps; root and kernel 6.1 or later are needed",
				    root);
	r = reasons_name(skel, err);
	if (!r)
		r = cpus_make(skel, err);
	if (!r)
		r = control_write(fresh, flows, err);
	if (!r)
		r = answers_prepare(fresh, err);
	if (r)
		return r;
	return rename(fresh, root) ? error_system(err, errno, "%s: rename", fresh) : 0;
}

int dataplane_open_or_load(const char *root, uint32_t max_flows, struct error *err, struct dataplane **ret_dp)
{
	_cleanup_close_ int lock = -1;
	struct stat st;
	int r;

	r = folder_prepare(root, err);
	if (!r)
		r = folder_lock(root, err, &lock);
	if (!r && stat(root, &st))
		r = errno == ENOENT ? folder_load(root, max_flows, err) : error_system(err, errno, "%s", root);
	return r ? r : dataplane_open(root, err, ret_dp);
}
