// SPDX-License-Identifier: Apache-2.0
/*
 * Steering: which CPU a storage queue's packets are processed on. Called by a running target only: it opens, puts its
 * listening sockets under the sk_reuseport program, and adds and removes its queues in the pinned table, from any of
 * its threads. The program lives and dies with the target; what is pinned stays, and entries that a killed target has
 * left towards a portal go when that portal is listened on again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "bpf/reuseport.skel.h"
#include "dataplane/internal.h"

#define PORTALS_MAX    16
#define REACTORS_MAX   256
#define CPUMAP_PACKETS 2048 /* a CPU's queue: two full NAPI rounds of 1024 descriptors */

struct dataplane_steering {
	struct dataplane *dp; /* the caller's; NULL: none */
	enum policy_steering mode;
	uint32_t reactors;
	unsigned int cpus[REACTORS_MAX];
	struct reuseport_bpf *portals[PORTALS_MAX];
	pthread_mutex_t lock; /* over used */
	uint8_t used[SLUICE_MAX_QUEUES];
	struct sluice_steer_key keys[SLUICE_MAX_QUEUES]; /* of our own entries, to remove them at the end */
};

/* used[]: also slots of other processes' entries, as seen when we began. */
enum { SLOT_NOBODYS, SLOT_OURS, SLOT_OTHERS };

/* ------------------------------------------------------------------- choosing */

static bool driver_is_veth(const char *name)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_data = (void *)&info};

	memcpy(request.ifr_name, name, strnlen(name, sizeof(request.ifr_name) - 1));
	return fd >= 0 && !ioctl(fd, SIOCETHTOOL, &request) && !strcmp(info.driver, "veth");
}

/* Counts the attached interfaces that run native XDP, and those of them that are one end of a veth pair. */
static int count_native(const struct dataplane *dp, size_t *ret_native, size_t *ret_veth)
{
	_cleanup_free_ uint32_t *ifindex = NULL;
	struct xdp_state state;
	char name[IF_NAMESIZE];
	size_t count = 0, i;
	int r = interfaces_of_bank(dp, dp->control->generation & 1, &ifindex, &count);

	if (r)
		return r;
	*ret_native = *ret_veth = 0;
	for (i = 0; i < count; i++) {
		if (xdp_query(dp, ifindex[i], &state) || !state.ours || !state.native)
			continue;
		++*ret_native;
		*ret_veth += if_indextoname(ifindex[i], name) && driver_is_veth(name);
	}
	return 0;
}

static int cpumap_program(const struct dataplane *dp)
{
	return program_get(dp, PROGRAM_CPUMAP);
}

static enum policy_steering choose_auto(const struct dataplane *dp, const char **ret_why)
{
	_cleanup_close_ int program = -1;
	size_t native = 0, veth = 0;

	if (!dp) {
		*ret_why = "auto: no programs are pinned for this network namespace";
		return POLICY_STEER_REUSEPORT;
	}
	program = cpumap_program(dp);
	if (program < 0 || count_native(dp, &native, &veth) || !native) {
		*ret_why = "auto: no interface runs native XDP with a cpumap program";
		return POLICY_STEER_REUSEPORT;
	}
	if (veth) {
		*ret_why = "auto: a veth's packets are processed on the CPU that sends them, and moving them loses "
			   "their unfinished "
			   "checksums";
		return POLICY_STEER_REUSEPORT;
	}
	*ret_why = "auto: native XDP can move packets to the reactor's CPU";
	return POLICY_STEER_CPUMAP;
}

static int choose_cpumap(const struct dataplane *dp, struct error *err, const char **ret_why)
{
	_cleanup_close_ int program = dp ? cpumap_program(dp) : -1;
	size_t native = 0, veth = 0;

	if (!dp)
		return error_set(err, EINVAL,
				 "steering: cpumap needs the kernel programs; `sluice apply POLICY` in this network "
				 "namespace first, or use `steering: reuseport`");
	if (program < 0)
		return error_set(err, EOPNOTSUPP,
				 "steering: the cpumap program is not loaded (the kernel refused it, or no "
				 "interface uses XDP); use `steering: reuseport`");
	count_native(dp, &native, &veth);
	*ret_why = veth ? "as the policy says; on veth the peer must have its transmit checksum offload off "
			  "(ethtool -K PEER tx off), or moved packets are dropped for their checksums"
			: "as the policy says";
	return 0;
}

static int choose(const struct dataplane_steering_options *o, struct error *err, enum policy_steering *ret_mode,
		  const char **ret_why)
{
	if (o->reactors == 1) {
		*ret_mode = POLICY_STEER_NONE;
		*ret_why = "one reactor: nothing to choose";
		return 0;
	}
	*ret_mode = o->wanted;
	*ret_why = "as the policy says";
	if (o->wanted == POLICY_STEER_AUTO)
		*ret_mode = choose_auto(o->dp, ret_why);
	return o->wanted == POLICY_STEER_CPUMAP ? choose_cpumap(o->dp, err, ret_why) : 0;
}

/* ------------------------------------------------------------------- cpumap entries */

/* Descriptor of the table within the map. */
static int cpu_table(const struct dataplane *dp)
{
	__u32 zero = 0, id;

	return bpf_map_lookup_elem(dp->map[MAP_cpus], &zero, &id) ? -1 : bpf_map_get_fd_by_id(id);
}

static int cpus_enter(struct dataplane_steering *s, struct error *err)
{
	_cleanup_close_ int program = cpumap_program(s->dp), table = cpu_table(s->dp);
	struct bpf_cpumap_val value = {.qsize = CPUMAP_PACKETS, .bpf_prog.fd = program};
	uint32_t i;

	for (i = 0; i < s->reactors; i++)
		if (bpf_map_update_elem(table, &s->cpus[i], &value, BPF_ANY))
			return error_system(err, errno, "steering: the kernel refuses CPU %u as a target of cpumap",
					    s->cpus[i]);
	return 0;
}

static void cpus_leave(struct dataplane_steering *s)
{
	_cleanup_close_ int table = cpu_table(s->dp);
	uint32_t i;

	for (i = 0; i < s->reactors; i++)
		bpf_map_delete_elem(table, &s->cpus[i]);
}

/* ------------------------------------------------------------------- open, close */

static int mark_others(void *arg, const struct dataplane_queue *queue)
{
	struct dataplane_steering *s = arg;

	if (queue->steer.slot < SLUICE_MAX_QUEUES)
		s->used[queue->steer.slot] = SLOT_OTHERS;
	return 0;
}

void dataplane_steering_close(struct dataplane_steering *s)
{
	uint32_t i;

	if (!s)
		return;
	for (i = 0; s->dp && i < SLUICE_MAX_QUEUES; i++)
		if (s->used[i] == SLOT_OURS)
			bpf_map_delete_elem(s->dp->map[MAP_steering], &s->keys[i]);
	if (s->mode == POLICY_STEER_CPUMAP)
		cpus_leave(s);
	for (i = 0; i < PORTALS_MAX; i++)
		reuseport_bpf__destroy(s->portals[i]);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void steering_closep(struct dataplane_steering **s)
{
	dataplane_steering_close(*s);
}

int dataplane_steering_open(const struct dataplane_steering_options *options, struct error *err,
			    struct dataplane_steering **ret_s, enum policy_steering *ret_mode, const char **ret_why)
{
	_cleanup_(steering_closep) struct dataplane_steering *s = NULL;
	enum policy_steering mode;
	const char *why;
	int r;

	if (!options->reactors || options->reactors > REACTORS_MAX)
		return error_set(err, EINVAL, "steering: %u reactors; use 1 to %d", options->reactors, REACTORS_MAX);
	r = choose(options, err, &mode, &why);
	if (r)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "steering: out of memory");
	pthread_mutex_init(&s->lock, NULL);
	s->dp = options->dp;
	s->reactors = options->reactors;
	memcpy(s->cpus, options->cpus, options->reactors * sizeof(s->cpus[0]));
	r = s->dp ? dataplane_queues(s->dp, mark_others, s, err) : 0;
	if (!r && mode == POLICY_STEER_CPUMAP)
		r = cpus_enter(s, err);
	if (r)
		return r;
	s->mode = mode;
	*ret_mode = mode;
	*ret_why = why;
	*ret_s = TAKE_PTR(s);
	return 0;
}

/* ------------------------------------------------------------------- listeners */

struct local_end {
	uint8_t addr[16]; /* IPv4-mapped */
	bool any;
	__be16 port;
};

static int local_end_get(int fd, struct local_end *ret)
{
	struct sockaddr_storage address = {};
	socklen_t length = sizeof(address);
	struct local_end e = {.addr = {[10] = 0xff, [11] = 0xff}};
	static const uint8_t none[16];

	if (getsockname(fd, (struct sockaddr *)&address, &length))
		return -errno;
	if (address.ss_family == AF_INET) {
		memcpy(e.addr + 12, &((struct sockaddr_in *)&address)->sin_addr, 4);
		e.port = ((struct sockaddr_in *)&address)->sin_port;
		e.any = !memcmp(e.addr + 12, none, 4);
	} else {
		memcpy(e.addr, &((struct sockaddr_in6 *)&address)->sin6_addr, 16);
		e.port = ((struct sockaddr_in6 *)&address)->sin6_port;
		e.any = !memcmp(e.addr, none, 16);
	}
	*ret = e;
	return 0;
}

struct stale {
	struct dataplane_steering *s;
	struct local_end end;
	struct sluice_steer_key keys[SLUICE_MAX_QUEUES];
	uint32_t slots[SLUICE_MAX_QUEUES];
	size_t count;
};

static int collect_stale(void *arg, const struct dataplane_queue *queue)
{
	struct stale *stale = arg;
	uint32_t slot = queue->steer.slot;

	if (queue->key.dest_port != stale->end.port ||
	    (!stale->end.any && memcmp(queue->key.dest, stale->end.addr, sizeof(stale->end.addr)) != 0))
		return 0;
	if (slot >= SLUICE_MAX_QUEUES || stale->s->used[slot] == SLOT_OURS || stale->count == SLUICE_MAX_QUEUES)
		return 0;
	stale->slots[stale->count] = slot;
	stale->keys[stale->count++] = queue->key;
	return 0;
}

/* Entries towards a portal that we begin to listen on, and that are not ours, are of a target that has died. */
static int remove_stale(struct dataplane_steering *s, int fd, struct error *err)
{
	_cleanup_free_ struct stale *stale = calloc(1, sizeof(*stale));
	size_t i;
	int r = stale ? local_end_get(fd, &stale->end) : -ENOMEM;

	if (r)
		return error_system(err, -r, "steering: listening socket");
	stale->s = s;
	r = dataplane_queues(s->dp, collect_stale, stale, err);
	for (i = 0; i < stale->count; i++) {
		bpf_map_delete_elem(s->dp->map[MAP_steering], &stale->keys[i]);
		s->used[stale->slots[i]] = SLOT_NOBODYS;
	}
	return r;
}

static int portal_load(struct dataplane_steering *s, unsigned int portal, int fd, struct error *err)
{
	struct reuseport_bpf *skel = reuseport_bpf__open();
	int program, r;

	if (!skel)
		return error_system(err, errno, "steering: cannot open the built-in reuseport program");
	skel->rodata->reactors = s->reactors;
	r = reuseport_bpf__load(skel);
	program = r ? -1 : bpf_program__fd(skel->progs.sluice_reuseport);
	if (!r && setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &program, sizeof(program)))
		r = -errno;
	if (r) {
		reuseport_bpf__destroy(skel);
		return error_system(err, -r,
				    "steering: the kernel refuses the reuseport program; use `steering: none`");
	}
	s->portals[portal] = skel;
	return 0;
}

int dataplane_steering_listener(struct dataplane_steering *s, unsigned int portal, unsigned int reactor, int fd,
				struct error *err)
{
	uint64_t value = (uint64_t)fd;
	uint32_t key = reactor;
	int r = 0;

	if (portal >= PORTALS_MAX || reactor >= s->reactors)
		return error_set(err, EINVAL, "steering: portal %u of reactor %u; at most %d portals and %u reactors",
				 portal, reactor, PORTALS_MAX, s->reactors);
	if (s->dp && !reactor)
		r = remove_stale(s, fd, err);
	if (r || s->mode == POLICY_STEER_NONE)
		return r;
	if (!s->portals[portal])
		r = portal_load(s, portal, fd, err);
	if (!r && bpf_map_update_elem(bpf_map__fd(s->portals[portal]->maps.listeners), &key, &value, BPF_ANY))
		r = error_system(
			err, errno,
			"steering: the kernel refuses the listening socket of reactor %u; it must be bound with "
			"SO_REUSEPORT and listening",
			reactor);
	return r;
}

/* ------------------------------------------------------------------- queues */

static int slot_take(struct dataplane_steering *s, const struct sluice_steer_key *key, uint32_t *ret_slot)
{
	uint32_t slot;

	pthread_mutex_lock(&s->lock);
	for (slot = 0; slot < SLUICE_MAX_QUEUES && s->used[slot] != SLOT_NOBODYS; slot++)
		;
	if (slot < SLUICE_MAX_QUEUES) {
		s->used[slot] = SLOT_OURS;
		s->keys[slot] = *key;
	}
	pthread_mutex_unlock(&s->lock);
	if (slot == SLUICE_MAX_QUEUES)
		return -ENOSPC;
	*ret_slot = slot;
	return 0;
}

static void slot_give(struct dataplane_steering *s, uint32_t slot)
{
	pthread_mutex_lock(&s->lock);
	s->used[slot] = SLOT_NOBODYS;
	pthread_mutex_unlock(&s->lock);
}

static int entry_write(struct dataplane_steering *s, const struct sluice_steer_key *key, unsigned int reactor,
		       uint32_t slot)
{
	_cleanup_free_ struct sluice_queue_packets *zeroes = calloc((size_t)s->dp->n_cpus, sizeof(*zeroes));
	struct sluice_steer value = {
		.cpu = s->cpus[reactor],
		.slot = slot,
		.redirect = s->mode == POLICY_STEER_CPUMAP,
	};

	if (!zeroes)
		return -ENOMEM;
	__atomic_store_n(&s->dp->control->steered, 1, __ATOMIC_SEQ_CST); /* before there is anything to be found */
	if (bpf_map_update_elem(s->dp->map[MAP_queue_packets], &slot, zeroes, BPF_ANY) ||
	    bpf_map_update_elem(s->dp->map[MAP_steering], key, &value, BPF_ANY))
		return -errno;
	return 0;
}

int dataplane_steering_add(struct dataplane_steering *s, const struct sluice_steer_key *key, unsigned int reactor,
			   uint32_t *ret_slot)
{
	uint32_t slot;
	int r;

	if (reactor >= s->reactors)
		return -EINVAL;
	r = slot_take(s, key, &slot);
	if (r)
		return r;
	r = s->dp ? entry_write(s, key, reactor, slot) : 0;
	if (r) {
		slot_give(s, slot);
		return r;
	}
	*ret_slot = slot;
	return 0;
}

void dataplane_steering_remove(struct dataplane_steering *s, const struct sluice_steer_key *key, uint32_t slot)
{
	if (s->dp && bpf_map_delete_elem(s->dp->map[MAP_steering], key) && errno != ENOENT)
		log_warn("steering", "cannot remove a queue: %s", strerror(errno));
	slot_give(s, slot);
}

int dataplane_steering_packets(struct dataplane_steering *s, uint32_t slot, unsigned int cpu, uint64_t *ret_there,
			       uint64_t *ret_all)
{
	_cleanup_free_ struct sluice_queue_packets *values = NULL;
	uint64_t all = 0, there = 0;
	int i;

	if (!s->dp)
		return -ENODATA;
	values = calloc((size_t)s->dp->n_cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	if (bpf_map_lookup_elem(s->dp->map[MAP_queue_packets], &slot, values))
		return -errno;
	for (i = 0; i < s->dp->n_cpus; i++) {
		all += values[i].packets;
		if ((unsigned int)i == cpu)
			there = values[i].packets;
	}
	*ret_there = there;
	*ret_all = all;
	return 0;
}
