/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder share: the adopted folder's descriptors, and each file's verbs. Nobody else includes
 * this.
 */
#ifndef SLUICE_DATAPLANE_INTERNAL_H
#define SLUICE_DATAPLANE_INTERNAL_H

#include <limits.h>
#include <net/if.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "dataplane/dataplane.h"

/* Every pinned map that is not a bank table, by its name in bpf/maps.h. */
/* clang-format off */
#define DATAPLANE_MAPS(M)  \
	M(control)         \
	M(interfaces)      \
	M(untagged)        \
	M(tunnels)         \
	M(ports)           \
	M(forwards)        \
	M(flow_marks)      \
	M(confirm)         \
	M(flows)           \
	M(flow_totals)     \
	M(fragments)       \
	M(limits)          \
	M(limit_buckets)   \
	M(limit_sources)   \
	M(rule_counters)   \
	M(reason_counters) \
	M(rule_logs)       \
	M(events)          \
	M(lost_events)     \
	M(answers)         \
	M(steering)        \
	M(queue_packets)   \
	M(cpus)
/* clang-format on */

enum dataplane_map {
#define M(name) MAP_##name,
	DATAPLANE_MAPS(M)
#undef M
	MAP_COUNT
};

enum bank_table {
#define T(name, type, entries) TABLE_##name,
	SLUICE_BANK_TABLES(T)
#undef T
	TABLE_COUNT
};

struct dataplane {
	char root[PATH_MAX / 2];
	int map[MAP_COUNT];	/* descriptors */
	int table[TABLE_COUNT]; /* outer maps */
	uint32_t control_id;	/* kernel id of `control`: a program that uses it is ours */
	struct sluice_control *control; /* mmapped, read and write */
	int n_cpus;			/* possible CPUs: values a per-CPU lookup returns */
	int cut;			/* descriptor of the program that cuts flows; -1: not asked for yet */
};

#define PROGRAM_XDP "sluice_xdp"
/* A second pin of the XDP program, there if it was loaded with xdp.frags. */
#define PROGRAM_XDP_FRAGS  "sluice_xdp_frags"
#define PROGRAM_TC_INGRESS "sluice_tc_ingress"
#define PROGRAM_TC_EGRESS  "sluice_tc_egress"
#define PROGRAM_ANSWER	   "sluice_answer"
#define PROGRAM_CPUMAP	   "sluice_cpumap"
#define PROGRAM_CONFIRM	   "sluice_confirm"
#define PROGRAM_CUT	   "sluice_cut"

/* ------------------------------------------------------------------------- folder.c */

/* ROOT/sub/name, sub or name may be NULL. Never truncates: root is at most PATH_MAX / 2. */
struct pin_path {
	char text[PATH_MAX];
};
struct pin_path pin_path(const char *root, const char *sub, const char *name);

int folder_prepare(const char *root, struct error *err);	   /* bpffs mounted, parent folders there */
int folder_lock(const char *root, struct error *err, int *ret_fd); /* close to unlock */
void folder_lock_remove(const char *root); /* by its owner: the file, not the lock */
int folder_remove(const char *path); /* with all it holds; -errno of the first that failed; none there: 0 */
int folder_make(const struct dataplane *dp, const char *sub, struct error *err);

/* ------------------------------------------------------------------------- netns.c */

/* -EXDEV: the folder is in force in another live network namespace. */
int netns_check(const char *root, struct error *err);
int netns_claim(const struct dataplane *dp, struct error *err); /* also makes it the caller's */

/* ------------------------------------------------------------------------- programs.c */

struct sluice_bpf;

/*
 * Opens the kernel object with maps pinned under, or reused from, `root` (NULL: not pinned at all); no program is
 * selected for loading.
 * Close with sluice_bpf__destroy().
 */
/* What the flow table is made with: of the folder's control map, once that is there. */
struct flow_table_shape {
	uint32_t max_flows;
	uint64_t seed;
};
struct flow_table_shape flow_table_shape(const struct dataplane *dp);

int object_open(const char *root, struct flow_table_shape flows, struct error *err, struct sluice_bpf **ret_skel);
void object_closep(struct sluice_bpf **skel);
struct bpf_object *object_of(struct sluice_bpf *skel);

/* Loads and pins the TC programs unless they are pinned. */
int programs_load_tc(struct dataplane *dp, struct error *err);
/*
 * The program that runs behind cpumap; fits the XDP program that is loaded. Its absence only rules out steering by
 * cpumap.
 */
int programs_load_cpumap(struct dataplane *dp, struct error *err);
/* The program that policies on trial need. */
int programs_load_confirm(struct dataplane *dp, struct error *err);
/* The program that cuts flows. */
int programs_load_cut(struct dataplane *dp, struct error *err);
int program_get(const struct dataplane *dp, const char *name); /* descriptor or -errno */
bool program_is_ours(const struct dataplane *dp, uint32_t prog_id);
uint32_t program_id(int prog_fd); /* 0 on failure */

/* ------------------------------------------------------------------------- attach_xdp.c, attach_tc.c */

struct xdp_state {
	uint32_t prog_id; /* the program that libxdp or netlink shows; 0: none */
	bool ours;	  /* it is, or libxdp's dispatcher calls, a program of this folder */
	bool native;
	bool dispatcher;
};

int xdp_query(const struct dataplane *dp, uint32_t ifindex, struct xdp_state *ret_state);
int xdp_attach(struct dataplane *dp, const char *ifname, uint32_t ifindex, enum policy_attach wanted,
	       struct error *err);
int xdp_detach(const struct dataplane *dp, uint32_t ifindex, struct error *err); /* ours only; none: 0 */
bool xdp_refused_by_others(const struct dataplane *dp, uint32_t ifindex, uint32_t *ret_prog_id);

enum tc_kind { TC_NONE, TC_TCX, TC_CLSACT };

/* Which of our programs stands at a TC hook. At ingress either the judge stands, or the one that answers for XDP's. */
enum tc_place { TC_INGRESS, TC_EGRESS, TC_ANSWER };

int tc_prune(const struct dataplane *dp); /* forgets links of interfaces that are gone */
enum tc_kind tc_query(const struct dataplane *dp, uint32_t ifindex, enum tc_place place);
int tc_attach(struct dataplane *dp, const char *ifname, uint32_t ifindex, enum tc_place place, struct error *err);
int tc_detach(const struct dataplane *dp, uint32_t ifindex, enum tc_place place, struct error *err); /* none: 0 */

/* ------------------------------------------------------------------------- device.c */

enum device_answer { DEVICE_NO, DEVICE_YES, DEVICE_UNSAID };

struct device_facts {
	uint8_t mac[6];
	uint16_t mtu; /* at most 65535 */
	bool up;
	bool veth;
	bool takes_tags;	     /* takes VLAN tags off before XDP sees the frame */
	enum device_answer redirect; /* takes frames that native XDP redirects to it; UNSAID: kernels before 6.3 */
};
int device_facts(const char *name, uint32_t ifindex, struct device_facts *ret);

/* ------------------------------------------------------------------------- interfaces.c */

struct resolved_interface {
	char name[IF_NAMESIZE];
	uint32_t ifindex;
	size_t entry; /* index into policy.interfaces */
};

struct resolved {
	struct resolved_interface *items;
	size_t count;
};
void resolved_done(struct resolved *r);

int interfaces_resolve(const struct dataplane *dp, const struct policy *p, struct error *err, struct resolved *ret);
/* Replaces the entries of `bank`. */
int interfaces_write(const struct dataplane *dp, const struct policy *p, const struct resolved *r, unsigned int bank,
		     struct error *err);
/* The interfaces that have entries in `bank`: ifindexes, owned by the caller. */
int interfaces_of_bank(const struct dataplane *dp, unsigned int bank, uint32_t **ret_ifindex, size_t *ret_count);
/* The entry of an interface's untagged traffic, read and written. -ENOENT: the bank does not name it. */
int interface_entry(const struct dataplane *dp, uint32_t ifindex, unsigned int bank, struct sluice_interface *ret);
int interface_entry_set(const struct dataplane *dp, uint32_t ifindex, unsigned int bank, const struct sluice_interface *value);

/*
 * Hooks of one interface as the policy wants them; `answers`: its rules may reject. *ret_changed: something was attached
 * by this call.
 */
int interface_attach(struct dataplane *dp, const struct resolved_interface *i, enum policy_attach wanted, bool answers,
		     struct error *err, bool *ret_changed);
/* What answers behind XDP's judge, if that is attached already: before a policy that may reject. */
int interface_answers(struct dataplane *dp, const struct resolved_interface *i, struct error *err);
int interface_detach(const struct dataplane *dp, uint32_t ifindex, struct error *err);
/* Detaches every interface of this network namespace that carries our programs and is not in `keep` (NULL: all). */
int interfaces_detach_others(const struct dataplane *dp, const struct resolved *keep, struct error *err);

/* ------------------------------------------------------------------------- ports.c */

/* What an interface's entry says of wire and forwarding, beside what it says already. */
void port_fill(const struct dataplane *dp, const struct policy_interface *i, const struct resolved *r,
	       const struct resolved_interface *of, struct sluice_interface *entry);
/* Before the flip: frames can be sent out by the policy's wired and forwarding interfaces. */
int ports_add(const struct dataplane *dp, const struct policy *p, const struct resolved *r, struct error *err);
/* After the programs were attached: what the entries of `bank` say of the way they are. */
int ports_settle(const struct dataplane *dp, const struct policy *p, const struct resolved *r, unsigned int bank,
		 struct error *err);
/* Forgets interfaces by which neither bank sends anything. */
int ports_prune(const struct dataplane *dp, struct error *err);
/* Fills the forwarding part of an interface's status. */
void port_describe(const struct dataplane *dp, const struct sluice_interface *entry, struct dataplane_interface *i);

/* ------------------------------------------------------------------------- cookies.c */

/* SLUICE_IF_BACK, SLUICE_IF_BOUNCE, or 0: by TC. */
__u16 cookie_way(const char *name, uint32_t ifindex, enum policy_attach attach);
/* Whether SYN cookies need sluice_answer behind XDP. */
bool cookies_need_tc(const struct policy *p, const struct resolved_interface *i);
void cookie_describe(const struct sluice_policy *policy, const struct sluice_interface *entry,
		     struct dataplane_interface *i);
/* `here`: the folder is in force in this network namespace. */
void cookies_read(bool here, struct dataplane_syn *ret);
uint32_t cookies_rmem_max(void); /* net.core.rmem_max; 0: not told in this network namespace */

/* ------------------------------------------------------------------------- bank.c */

/* The inner array of a table in a bank, mapped. `count` is its length; NULL address: none there. */
struct table_view {
	void *address;
	size_t bytes;
	size_t count;
};
int table_view(const struct dataplane *dp, enum bank_table table, unsigned int bank, int prot, struct table_view *ret);
void table_unview(struct table_view *v);

int bank_load(struct dataplane *dp, unsigned int bank, const struct policy_tables *t, struct error *err);
/* Waits until no program that has begun before still runs. */
int bank_settle(struct dataplane *dp, struct error *err);
/* One store; then waits until no program can still use the other bank. */
int bank_flip(struct dataplane *dp, uint64_t generation, struct error *err);
/* The next generation number whose bank is the spare one, never used before. */
uint64_t bank_next_generation(const struct dataplane *dp);

/* ------------------------------------------------------------------------- confirm.c */

/* -EBUSY: a policy is on trial, and both banks are needed. Else both banks are at rest. */
int trial_refuse(struct dataplane *dp, struct error *err);
int trial_prepare(struct dataplane *dp, struct error *err); /* all that may fail: nothing has changed */
/* The flip to `generation` on trial, like bank_flip(). */
int trial_begin(struct dataplane *dp, uint64_t generation, uint64_t previous, uint64_t delay_ns, struct error *err);
int trial_take_back(struct dataplane *dp, uint64_t generation, struct error *err);
/* What concerns the generation that is live. */
int trial_read(const struct dataplane *dp, uint64_t live, struct dataplane_trial *ret);

/* ------------------------------------------------------------------------- tenants.c */

/* A policy and its tables with the tenant numbers that they are loaded with: shallow copies, but for what has numbers. */
struct numbered {
	struct policy policy;
	struct policy_tables tables;
};
/* On failure too *ret is to be done with. */
int tenants_number(const struct dataplane *dp, const struct policy *p, const struct policy_tables *t, struct error *err,
		   struct numbered *ret);
void numbered_done(struct numbered *n);

/* ------------------------------------------------------------------------- limits.c */

/* The limits of `t`, which has its slots, into the part of `bank`. */
int limits_load(const struct dataplane *dp, unsigned int bank, const struct policy_tables *t, struct error *err);
/* Full buckets for rules that begin with these slots. */
int limits_fill(const struct dataplane *dp, const uint32_t *slots, size_t count, struct error *err);

/* ------------------------------------------------------------------------- slots.c */

/* Slots taken over from rules that end with the flip: zeroed after it, since they still count until then. */
struct late_slots {
	uint32_t *slot;
	size_t count;
};
int slots_assign(struct dataplane *dp, struct policy_tables *t, struct error *err, size_t *ret_kept,
		 struct late_slots *ret_late);
int slots_begin(const struct dataplane *dp, const uint32_t *slots, size_t count, struct error *err);

#endif
