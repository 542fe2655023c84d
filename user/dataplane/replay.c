// SPDX-License-Identifier: Apache-2.0
/*
 * The real programs on captured frames: a private instance of the kernel object with maps of its own, of which nothing
 * is pinned and nothing attached, so that it goes with the process and what is live never notices. Called by
 * `sluice replay`.
 *
 * The policy's tables lie in bank 1, generation 1. Frames arrive by test run, which gives them the loopback device:
 * it takes the part of the interface that was chosen. Time, length and this host's addresses go to the programs in
 * `replay_state`, and what became of a packet comes back in it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <sluice/replay.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "bpf/sluice.skel.h"
#include "dataplane/internal.h"

#define GENERATION	 1
#define BANK		 (GENERATION & 1)
#define LOOPBACK_IFINDEX 1 /* in every network namespace */

#define SWEEP_PERIOD_NS 1000000000ull

#define ETHERNET_HEADER 14
#define VLAN_TAG	4

/* What the kernel takes in a test run: XDP as many pages as a frame may have fragments, TC a part of one page. */
#define XDP_BYTES_MAX 65536
#define TC_BYTES_MAX  3072
#define TC_BYTES_MIN  (ETHERNET_HEADER + 1)

struct dataplane_replay {
	struct sluice_bpf *skel;
	struct dataplane dp; /* descriptors are the skeleton's */
	struct sluice_replay *state;
	int xdp, egress, sweep; /* programs */
	bool audit;
	bool started;
	uint64_t now_ns;
	uint64_t swept_ns;
	uint32_t max_flows;
	const struct sluice_flow_totals *totals; /* mmapped */
};

/* ------------------------------------------------------------------- open */

/* Slots are given to this policy's rules only: the kernel takes 0.1 s to make counters for as many as there may be. */
static int replay_size(struct dataplane_replay *r, size_t n_rules)
{
	int s = bpf_map__set_max_entries(r->skel->maps.rule_counters, (__u32)n_rules);

	return s ? s : bpf_map__set_max_entries(r->skel->maps.rule_logs, (__u32)n_rules);
}

static int totals_map(struct dataplane_replay *r, struct error *err)
{
	void *p = mmap(NULL, sizeof(*r->totals), PROT_READ, MAP_SHARED, r->dp.map[MAP_flow_totals], 0);

	if (p == MAP_FAILED)
		return error_system(err, errno, "replay: cannot count the flows");
	r->totals = p;
	return 0;
}

static int replay_load(struct dataplane_replay *r, const struct dataplane_replay_options *o, struct error *err)
{
	int s = object_open(NULL, (struct flow_table_shape){.max_flows = o->policy->conntrack.max}, err, &r->skel);

	if (s)
		return s;
	s = replay_size(r, o->tables->n_rules);
	if (s)
		return error_system(err, -s, "replay: cannot size the maps");
	r->skel->rodata->replay = true;
	bpf_program__set_autoload(r->skel->progs.sluice_xdp, true);
	bpf_program__set_autoload(r->skel->progs.sluice_tc_egress, true);
	bpf_program__set_autoload(r->skel->progs.sluice_sweep, true);
	s = sluice_bpf__load(r->skel);
	if (s)
		return error_system(err, -s,
				    "replay: the kernel refused the programs; root and kernel 6.1 or later are "
				    "needed, --verbose shows the verifier's log");
	r->state = &r->skel->bss->replay_state;
	r->xdp = bpf_program__fd(r->skel->progs.sluice_xdp);
	r->egress = bpf_program__fd(r->skel->progs.sluice_tc_egress);
	r->sweep = bpf_program__fd(r->skel->progs.sluice_sweep);
#define M(name) r->dp.map[MAP_##name] = bpf_map__fd(r->skel->maps.name);
	DATAPLANE_MAPS(M)
#undef M
#define T(name, type, entries) r->dp.table[TABLE_##name] = bpf_map__fd(r->skel->maps.name);
	SLUICE_BANK_TABLES(T)
#undef T
	snprintf(r->dp.root, sizeof(r->dp.root), "replay");
	return totals_map(r, err);
}

static int replay_fill(struct dataplane_replay *r, const struct dataplane_replay_options *o, struct error *err)
{
	struct resolved_interface door = {.ifindex = LOOPBACK_IFINDEX, .entry = o->interface};
	const struct resolved resolved = {.items = &door, .count = 1};
	int s;

	if (o->n_hosts > SLUICE_REPLAY_HOSTS)
		return error_set(err, EINVAL, "%zu addresses of this host; at most %d", o->n_hosts,
				 SLUICE_REPLAY_HOSTS);
	o->tables->head.generation = GENERATION;
	r->max_flows = o->tables->head.max_flows;
	s = bank_load(&r->dp, BANK, o->tables, err);
	if (!s)
		s = limits_load(&r->dp, BANK, o->tables, err);
	if (!s)
		s = interfaces_write(&r->dp, o->policy, &resolved, BANK, err);
	if (s)
		return s;
	r->state->n_hosts = (__u32)o->n_hosts;
	if (o->n_hosts)
		memcpy(r->state->hosts, o->hosts, o->n_hosts * sizeof(o->hosts[0]));
	r->audit = o->tables->head.flags & SLUICE_MODE_AUDIT;
	return 0;
}

int dataplane_replay_open(const struct dataplane_replay_options *options, struct error *err,
			  struct dataplane_replay **ret_replay)
{
	_cleanup_(dataplane_replay_closep) struct dataplane_replay *r = calloc(1, sizeof(*r));
	int s;

	if (!r)
		return error_set(err, ENOMEM, "replay: out of memory");
	s = replay_load(r, options, err);
	if (!s)
		s = replay_fill(r, options, err);
	if (s)
		return s;
	*ret_replay = TAKE_PTR(r);
	return 0;
}

void dataplane_replay_close(struct dataplane_replay *r)
{
	if (!r)
		return;
	if (r->totals)
		munmap((void *)(uintptr_t)r->totals, sizeof(*r->totals));
	sluice_bpf__destroy(r->skel);
	free(r);
}

void dataplane_replay_closep(struct dataplane_replay **r)
{
	dataplane_replay_close(*r);
}

/* ------------------------------------------------------------------- packets */

/* The first packet is when the programs were attached. */
static int replay_start(struct dataplane_replay *r, struct error *err)
{
	const struct sluice_control control = {
		.magic = SLUICE_ABI_MAGIC,
		.abi_version = SLUICE_ABI_VERSION,
		.generation = GENERATION,
		.attached_ns = r->now_ns,
		.seed = {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f}, /* no secret: the same capture, the same answer */
	};
	__u32 zero = 0;

	if (bpf_map_update_elem(r->dp.map[MAP_control], &zero, &control, BPF_ANY))
		return error_system(err, errno, "replay: cannot write the control word");
	r->started = true;
	return 0;
}

/* IP source of a frame, IPv4-mapped. False: it has none. */
static bool frame_source(const uint8_t *frame, size_t length, uint8_t ret_addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	size_t at = ETHERNET_HEADER;
	uint16_t type = 0;
	int tags;

	for (tags = 0; length >= at; tags++, at += VLAN_TAG) {
		type = (uint16_t)(frame[at - 2] << 8 | frame[at - 1]);
		if ((type != 0x8100 && type != 0x88a8) || tags == 2)
			break;
	}
	if (length >= at + 20 && type == 0x0800) {
		memcpy(ret_addr, mapped, sizeof(mapped));
		memcpy(ret_addr + sizeof(mapped), frame + at + 12, 4);
		return true;
	}
	if (length >= at + 40 && type == 0x86dd) {
		memcpy(ret_addr, frame + at + 8, 16);
		return true;
	}
	return false;
}

static bool packet_leaves(const struct dataplane_replay *r, const struct dataplane_replay_packet *p)
{
	uint8_t source[16];
	__u32 i;

	if (p->outgoing || !r->state->n_hosts || !frame_source(p->frame, p->length, source))
		return p->outgoing;
	for (i = 0; i < r->state->n_hosts; i++)
		if (!memcmp(r->state->hosts[i], source, sizeof(source)))
			return true;
	return false;
}

static int run_xdp(const struct dataplane_replay *r, const struct dataplane_replay_packet *p)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p->frame,
		    .data_size_in = (__u32)min(p->length, (size_t)XDP_BYTES_MAX));

	return bpf_prog_test_run_opts(r->xdp, &opts);
}

/* A frame of a bare header is too short for a socket buffer: it gets one byte more, which is not in its length. */
static int run_egress(const struct dataplane_replay *r, const struct dataplane_replay_packet *p)
{
	uint8_t bare[TC_BYTES_MIN] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p->frame,
		    .data_size_in = (__u32)min(p->length, (size_t)TC_BYTES_MAX));

	if (p->length < sizeof(bare)) {
		memcpy(bare, p->frame, p->length);
		opts.data_in = bare;
		opts.data_size_in = sizeof(bare);
	}
	return bpf_prog_test_run_opts(r->egress, &opts);
}

/* Ends the flows whose time is over. */
static int sweep_at(struct dataplane_replay *r, uint64_t now_ns, struct error *err)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int s;

	r->state->now_ns = r->swept_ns = now_ns;
	s = bpf_prog_test_run_opts(r->sweep, &opts);
	return s ? error_system(err, -s, "replay: cannot end flows") : 0;
}

/* The time of a flow has 32 bits: over a longer pause it takes two looks on the way to end them all. */
static int sweep(struct dataplane_replay *r, struct error *err)
{
	uint64_t pause = r->now_ns - r->swept_ns;
	int s = 0;

	if (pause > SLUICE_TIMEOUT_MAX_NS)
		s = sweep_at(r, r->swept_ns + SLUICE_TIMEOUT_MAX_NS / 2, err);
	if (!s && pause > SLUICE_TIMEOUT_MAX_NS)
		s = sweep_at(r, r->swept_ns + SLUICE_TIMEOUT_MAX_NS / 2, err);
	return s ? s : sweep_at(r, r->now_ns, err);
}

/*
 * A packet that meets a flow whose time is over treats it as ended. So the sweep matters for how many there are: once a
 * second as in the kernel, and before every packet while there is no room for two more: what it carries has a flow, too.
 */
static int sweep_if_due(struct dataplane_replay *r, struct error *err)
{
	if (r->now_ns - r->swept_ns < SWEEP_PERIOD_NS && r->totals->flows + 2 <= r->max_flows)
		return 0;
	return sweep(r, err);
}

static int replay_run(struct dataplane_replay *r, const struct dataplane_replay_packet *p, struct error *err)
{
	bool leaves = packet_leaves(r, p);
	int s;

	memset(&r->state->result, 0, sizeof(r->state->result));
	r->state->now_ns = r->now_ns;
	r->state->length = (__u32)p->wire_length;
	s = leaves ? run_egress(r, p) : run_xdp(r, p);
	if (s)
		return error_system(err, -s, "replay: test run of a frame of %zu bytes", p->length);
	if (!r->state->result.judged)
		return error_set(err, EPROTO, "replay: a frame of %zu bytes was not judged: a bug, please report",
				 p->length);
	return 0;
}

/* No test run takes less than an Ethernet header, and the programs would say just this. */
static struct sluice_replay_result runt_result(const struct dataplane_replay *r)
{
	return (struct sluice_replay_result){
		.judged = 1,
		.reason = SLUICE_R_SHORT,
		.verdict = SLUICE_DROP,
		.audited = r->audit,
		.slot = SLUICE_NO_RULE,
	};
}

int dataplane_replay_packet(struct dataplane_replay *r, const struct dataplane_replay_packet *packet, struct error *err,
			    struct sluice_replay_result *ret_result)
{
	int s = 0;

	r->now_ns = max(r->now_ns, packet->time_ns);
	if (!r->started)
		s = replay_start(r, err);
	if (s)
		return s;
	s = sweep_if_due(r, err);
	if (!s && packet->length < ETHERNET_HEADER) {
		*ret_result = runt_result(r);
		return 0;
	}
	if (!s)
		s = replay_run(r, packet, err);
	if (!s)
		*ret_result = r->state->result;
	return s;
}

int dataplane_replay_flows(struct dataplane_replay *r, struct error *err, uint64_t *ret_flows)
{
	int s = sweep(r, err);

	if (s)
		return s;
	*ret_flows = r->totals->flows;
	return 0;
}
