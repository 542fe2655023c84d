/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel half as userspace sees it. The only folder that knows skeletons, maps and descriptors of BPF objects.
 *
 * A `dataplane` is one pinned folder (default /sys/fs/bpf/sluice): programs, links and maps that outlive this process.
 * Opening adopts what is pinned if the ABI matches; applying loads the spare bank and flips the generation.
 */
#ifndef SLUICE_DATAPLANE_DATAPLANE_H
#define SLUICE_DATAPLANE_DATAPLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/abi.h>
#include <sluice/replay.h>

#include "base/error.h"
#include "policy/policy.h"

#define DATAPLANE_ROOT "/sys/fs/bpf/sluice"

struct dataplane;

/*
 * Adopts the pinned folder. -ENOENT: nothing is applied here. -EPROTO: pinned by another ABI version (err says which
 * and what to do). -EPERM, -errno: the kernel refused.
 */
int dataplane_open(const char *root, struct error *err, struct dataplane **ret_dp);

/* Adopts, or loads and pins afresh with room for `max_flows` flows. Mounts bpffs if /sys/fs/bpf is none. */
int dataplane_open_or_load(const char *root, uint32_t max_flows, struct error *err, struct dataplane **ret_dp);

/*
 * Hash of the kernel object in this binary. An adopted folder whose control.build differs goes on running the programs that
 * it was loaded with.
 */
uint64_t dataplane_build(void);

void dataplane_close(struct dataplane *dp); /* descriptors only: what is pinned stays in force */
void dataplane_closep(struct dataplane **dp);

/* What an apply did. */
struct dataplane_applied {
	uint64_t generation;
	uint64_t previous; /* generation that was live before; 0: none */
	uint64_t load_ns;  /* filling the spare bank */
	uint64_t flip_ns;  /* the flip and the wait for packets under way */
	size_t rules_kept; /* rules that kept slot and counters */
	size_t rules_new;
	size_t interfaces; /* attached in this network namespace now */
};

/*
 * Loads `tables` into the spare bank, assigns counter slots by name and identity, resolves the policy's interfaces in
 * the caller's network namespace, flips, waits until no packet uses the old bank, attaches new interfaces and detaches
 * those that the policy no longer names. On failure before the flip nothing has changed.
 */
int dataplane_apply(struct dataplane *dp, const struct policy *p, struct policy_tables *tables, struct error *err,
		    struct dataplane_applied *ret_applied);

struct dataplane_apply_options {
	/* Not 0: on trial. After so long the kernel itself goes back to the policy before, unless dataplane_confirm() or
	 * dataplane_withdraw() comes first. Interfaces that the new policy no longer names stay attached until then. */
	uint64_t confirm_ns;
	/* Called once, when nothing has changed yet and nothing but the flip and hooks can fail any more, with the tables'
	 * head as it will be in force. Nobody else applies meanwhile. May be NULL. */
	void (*before_flip)(void *arg, const struct policy_tables *tables);
	void *arg;
};

/* dataplane_apply() with options. -EBUSY: a policy is on trial; err says which and what to do. */
int dataplane_apply_with(struct dataplane *dp, const struct policy *p, struct policy_tables *tables,
			 const struct dataplane_apply_options *options, struct error *err,
			 struct dataplane_applied *ret_applied);

/* A policy on trial, or one whose trial has ended with the live policy. */
enum dataplane_trial_state {
	DATAPLANE_TRIAL_NONE,
	DATAPLANE_TRIAL_PENDING, /* `generation` is live for another left_ns */
	DATAPLANE_TRIAL_EXPIRED, /* nobody confirmed `generation`: `previous` is live again since ago_ns */
};
struct dataplane_trial {
	enum dataplane_trial_state state;
	uint64_t generation;
	uint64_t previous; /* 0: no policy */
	uint64_t left_ns;
	uint64_t ago_ns;
};

/*
 * Ends the trial: the policy stays, or goes. Takes the programs off the interfaces that the live policy does not name.
 * -ESTALE: no policy is on trial (any more), and err says so. *ret_trial is the trial as it was.
 */
int dataplane_confirm(struct dataplane *dp, struct error *err, struct dataplane_trial *ret_trial);
int dataplane_withdraw(struct dataplane *dp, struct error *err, struct dataplane_trial *ret_trial);

/* How the kernel can be used; probed, each on its own. For `sluice version`. */
struct dataplane_features {
	bool bpffs;	/* mounted at /sys/fs/bpf */
	bool tcx;	/* TC by link, kernel 6.6; else clsact */
	bool xdp_frags; /* XDP on frames of several buffers, kernel 5.18 */
	bool cpumap;
};
void dataplane_features(struct dataplane_features *ret_features);

/* Detaches everything and removes the pinned folder. Works on a half-made folder and on one of another ABI version. */
int dataplane_detach(const char *root, struct error *err);

/* ----------------------------------------------------------------- reading back */

struct dataplane_rule {
	struct sluice_rule rule;
	struct sluice_rule_counter counter; /* summed over CPUs */
};

struct dataplane_interface {
	char name[16]; /* "#ifindex": not in this network namespace */
	uint32_t ifindex;
	char mode[24];	 /* "xdp native", "xdp native, frags", "xdp generic", "tcx", "clsact" ... as it is really
			  * attached; "not attached"; "in another namespace": ask from there */
	bool dispatcher; /* libxdp's dispatcher is in use */
	bool egress;	 /* TC egress program attached */
	char egress_mode[16];
	char wire[16]; /* the interface at the other end, "#ifindex" if it is gone; empty: no wire */
	bool forward;  /* forward: xdp */
	char cookies[16]; /* how SYN cookies leave: "xdp", "xdp redirect", "tc"; empty: none do */
	char trouble[160]; /* why frames cannot pass here as the policy says, and what to do; empty: nothing is known */
};

/* What SYN floods depend on, beside the policy. */
struct dataplane_syn {
	int tcp_syncookies; /* net.ipv4 settings of this network namespace; -1: unknown, or not of this kernel */
	int tcp_timestamps;
};

struct dataplane_status {
	struct sluice_control control;
	struct sluice_policy policy;
	struct dataplane_rule *rules; /* live bank, the default last; owned */
	size_t n_rules;
	struct sluice_reason_counter reasons[SLUICE_REASON_COUNT]; /* summed over CPUs */
	struct dataplane_interface *interfaces;			   /* owned */
	size_t n_interfaces;
	struct dataplane_trial trial;
	bool ports; /* some interface is wired or forwards in XDP */
	uint64_t forwards[SLUICE_FORWARD_COUNT]; /* packets, summed over CPUs */
	uint32_t flows;	    /* live entries */
	uint32_t half_open; /* of these TCP with an unfinished handshake */
	uint32_t max_flows; /* that the table was sized for; policy.max_flows is what the policy allows, at most that */
	uint64_t lost_events; /* logged verdicts that found the ring full */
	struct sluice_answers answers; /* to rejected packets */
	struct dataplane_syn syn;
};

/* Of enum sluice_forward: its name, what became of such packets ("sent", "dropped", "kernel", "noted"), and in words. */
const char *forward_name(enum sluice_forward f);
const char *forward_what(enum sluice_forward f);
const char *forward_text(enum sluice_forward f);

int dataplane_status(struct dataplane *dp, struct error *err, struct dataplane_status *ret_status);
void dataplane_status_done(struct dataplane_status *s);

/* What the live bank says of its policy, without counters. Of one generation throughout. */
struct dataplane_live {
	uint64_t generation; /* 0: no policy, and nothing else is set */
	struct sluice_policy head;
	struct sluice_rule *rules; /* the default last; owned */
	size_t n_rules;
	struct sluice_tenant *tenants; /* by number; owned */
	size_t n_tenants;
	struct dataplane_trial trial;
};

int dataplane_live(struct dataplane *dp, struct error *err, struct dataplane_live *ret_live);
void dataplane_live_done(struct dataplane_live *live);

/*
 * Calls fn for each logged verdict until it returns non-zero (which is returned), or *stop is set. timeout_ms: -1
 * waits.
 */
typedef int (*dataplane_event_fn)(void *arg, const struct sluice_event *event);
int dataplane_events(struct dataplane *dp, dataplane_event_fn fn, void *arg, int timeout_ms, const volatile bool *stop,
		     struct error *err);

struct dataplane_flow_side {
	uint64_t packets;
	uint64_t bytes; /* frame bytes as seen at the hook, Ethernet header included */
};

struct dataplane_flow {
	struct sluice_flow_key key;
	uint32_t seen;		 /* SLUICE_FLOW_* */
	uint32_t rule;		 /* counter slot of the deciding rule */
	uint32_t generation;	 /* low half of the one under which the rule was decided */
	uint8_t originator;	 /* index in key.addr of the end that sent the first packet */
	uint32_t place;		 /* in the table: no other live flow has it */
	uint32_t begun;		 /* tells it from another flow that has had its key or its place */
	uint64_t first_seen_ns;	 /* CLOCK_MONOTONIC, to 17 ms */
	uint64_t last_seen_ns;	 /* to 0.3 ms */
	struct dataplane_flow_side side[2]; /* 0: originator to responder */
};

/* Calls fn for each live flow, until it returns non-zero, which is returned. */
typedef int (*dataplane_flow_fn)(void *arg, const struct dataplane_flow *flow);
int dataplane_flows(struct dataplane *dp, dataplane_flow_fn fn, void *arg, struct error *err);
/* The live flow with that key; -ENOENT: there is none. */
int dataplane_flow(struct dataplane *dp, const struct sluice_flow_key *key, struct error *err,
		   struct dataplane_flow *ret_flow);

/* What has been seen of a flow amounts to; the same as to the kernel half, which has its timeouts by it. */
enum dataplane_flow_state {
	FLOW_OPENING,	  /* TCP, the handshake is not done */
	FLOW_ESTABLISHED, /* TCP, also one picked up */
	FLOW_CLOSING,	  /* TCP, a FIN was seen */
	FLOW_RESET,	  /* TCP, a RST was seen */
	FLOW_CUT,	  /* TCP, by dataplane_cut(): no packet is of it any more */
	FLOW_ONE_WAY,	  /* anything else, only its originator was heard */
	FLOW_ANSWERED,
	FLOW_STATES
};
enum dataplane_flow_state dataplane_flow_state(const struct dataplane_flow *flow);
const char *dataplane_flow_state_name(enum dataplane_flow_state state); /* "opening", "one-way"; static */

/*
 * Ends a flow as it was read: its next TCP packet belongs to none, unless it is a SYN; any other is judged as new.
 * -ENOENT, without a word in err: it had ended by itself, was cut already, or another has its key.
 */
int dataplane_cut(struct dataplane *dp, const struct dataplane_flow *flow, struct error *err);

/* ------------------------------------------------------------------- test runs */

/*
 * Runs one frame through a program as if it had arrived on (or, for egress, was leaving by) `ifindex`, changing
 * nothing on the wire. Used by tests.
 */
int dataplane_test_run(struct dataplane *dp, enum sluice_hook hook, uint32_t ifindex, const void *frame, size_t length,
		       int *ret_action);

/* The same, with what the program has made of the frame: in `room`, which is the caller's, *ret_length bytes of it. */
int dataplane_test_run_frame(struct dataplane *dp, enum sluice_hook hook, uint32_t ifindex, const void *frame,
			     size_t length, void *room, size_t room_size, int *ret_action, size_t *ret_length);

/* ---------------------------------------------------------------------- replay */

/*
 * A private instance of the programs for captured packets: nothing pinned, nothing attached, nothing live touched. One
 * thread. Flow state is kept from packet to packet, and all times are the packets' own.
 */
struct dataplane_replay;

struct dataplane_replay_options {
	const struct policy *policy;  /* needed while opening only, like the tables */
	struct policy_tables *tables; /* of that policy; their generation is set */
	size_t interface;	      /* index into policy->interfaces: where packets enter and leave */
	/* Addresses of this host, IPv4-mapped: what they send is judged as leaving, and failsafe services are theirs
	 * only. None: every packet enters, and every one is for this host. At most SLUICE_REPLAY_HOSTS. */
	const uint8_t (*hosts)[16];
	size_t n_hosts;
};

struct dataplane_replay_packet {
	uint64_t time_ns;     /* any clock; before an earlier packet's time: that time is taken */
	const uint8_t *frame; /* from the Ethernet header on */
	size_t length;	      /* bytes that are there */
	size_t wire_length;   /* bytes that the frame had */
	bool outgoing;	      /* leaves, whatever its source is */
};

/* -EPERM, -errno: the kernel refused. The conntrack pickup begins with the first packet. */
int dataplane_replay_open(const struct dataplane_replay_options *options, struct error *err,
			  struct dataplane_replay **ret_replay);
/* A rule's slot is its index in the tables. The result of a frame shorter than an Ethernet header is header-short. */
int dataplane_replay_packet(struct dataplane_replay *r, const struct dataplane_replay_packet *packet, struct error *err,
			    struct sluice_replay_result *ret_result);
/* Flows that are live at the time of the last packet. */
int dataplane_replay_flows(struct dataplane_replay *r, struct error *err, uint64_t *ret_flows);
void dataplane_replay_close(struct dataplane_replay *r);
void dataplane_replay_closep(struct dataplane_replay **r);

/* -------------------------------------------------------------------- steering */

/* Owned by a running target: the sk_reuseport program, its socket array, and entries of the pinned steering map. */
struct dataplane_steering;

struct dataplane_steering_options {
	uint32_t reactors;	     /* listeners a portal has, at most 256 */
	const unsigned int *cpus;    /* CPU of each reactor */
	enum policy_steering wanted; /* what the policy says */
	struct dataplane *dp;	     /* NULL: no pinned programs in this namespace, only reuseport is possible */
};

/* `ret_mode` is what was chosen and `ret_why` (a static text) the reason, for status and the log. */
int dataplane_steering_open(const struct dataplane_steering_options *options, struct error *err,
			    struct dataplane_steering **ret_s, enum policy_steering *ret_mode, const char **ret_why);
void dataplane_steering_close(struct dataplane_steering *s); /* also removes its queues from the pinned map */

/* Puts reactor's listening socket of portal number `portal` (0..15) under the program. */
int dataplane_steering_listener(struct dataplane_steering *s, unsigned int portal, unsigned int reactor, int fd,
				struct error *err);

/* Adds and removes a connection; thread-safe. `ret_slot` names it in dataplane_steering_packets(). */
int dataplane_steering_add(struct dataplane_steering *s, const struct sluice_steer_key *key, unsigned int reactor,
			   uint32_t *ret_slot);
void dataplane_steering_remove(struct dataplane_steering *s, const struct sluice_steer_key *key, uint32_t slot);

/* A steered queue as any process sees it in the pinned maps. */
struct dataplane_queue {
	struct sluice_steer_key key;
	struct sluice_steer steer;
	uint64_t packets_there; /* processed on the reactor's CPU */
	uint64_t packets_all;
	uint64_t bytes_all;
};

/* Calls fn for each steered queue until it returns non-zero, which is returned. */
typedef int (*dataplane_queue_fn)(void *arg, const struct dataplane_queue *queue);
int dataplane_queues(struct dataplane *dp, dataplane_queue_fn fn, void *arg, struct error *err);

/* Packets of a queue on the given CPU and on all CPUs. */
int dataplane_steering_packets(struct dataplane_steering *s, uint32_t slot, unsigned int cpu, uint64_t *ret_there,
			       uint64_t *ret_all);

#endif
