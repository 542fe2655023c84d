// SPDX-License-Identifier: Apache-2.0
/*
 * What this kernel offers, found out by trying: small programs of two instructions are loaded, and attached nowhere but
 * to the loopback device's tcx hook for a moment, where they say "next". Called by `sluice version`.
 */
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/internal.h"

#define ATTACH_TCX_EGRESS 47

static int probe_load(enum bpf_prog_type type, __u32 flags, enum bpf_attach_type attach, int answer)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = answer},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = flags, .expected_attach_type = attach);

	return bpf_prog_load(type, "probe", "GPL", insns, 2, &opts);
}

static bool probe_tcx(void)
{
	_cleanup_close_ int program = probe_load(BPF_PROG_TYPE_SCHED_CLS, 0, 0, -1);
	unsigned int loopback = if_nametoindex("lo");
	_cleanup_close_ int link = -1;

	if (program < 0 || !loopback)
		return false;
	link = bpf_link_create(program, (int)loopback, (enum bpf_attach_type)ATTACH_TCX_EGRESS, NULL);
	return link >= 0;
}

static bool probe_cpumap(void)
{
	_cleanup_close_ int map =
		bpf_map_create(BPF_MAP_TYPE_CPUMAP, "probe", sizeof(__u32), sizeof(struct bpf_cpumap_val), 1, NULL);
	_cleanup_close_ int program = probe_load(BPF_PROG_TYPE_XDP, 0, BPF_XDP_CPUMAP, 2);
	struct bpf_cpumap_val value = {.qsize = 64, .bpf_prog.fd = program};
	__u32 zero = 0;

	return map >= 0 && program >= 0 && !bpf_map_update_elem(map, &zero, &value, BPF_ANY);
}

void dataplane_features(struct dataplane_features *ret_features)
{
	_cleanup_close_ int frags = probe_load(BPF_PROG_TYPE_XDP, BPF_F_XDP_HAS_FRAGS, BPF_XDP, 2);
	struct statfs fs;

	ret_features->bpffs = !statfs("/sys/fs/bpf", &fs) && fs.f_type == BPF_FS_MAGIC;
	ret_features->xdp_frags = frags >= 0;
	ret_features->tcx = probe_tcx();
	ret_features->cpumap = probe_cpumap();
}
