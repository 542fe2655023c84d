/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bench for the real programs: a network namespace of its own with one veth, a pinned folder of its own, policies
 * from text through the real compiler and dataplane, and single frames through BPF_PROG_TEST_RUN.
 *
 * One judge a process. Every case is one line on standard output: "ok - NAME" or "not ok - NAME: WHY". What the harness
 * itself cannot do ends the process with a "not ok" line: no case runs on half a bench.
 */
#ifndef SLUICE_TESTS_JUDGE_H
#define SLUICE_TESTS_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/abi.h>

#include "dataplane/dataplane.h"
#include "packet.h"

#define JUDGE_DEV "sj0" /* the veth end that carries the programs; 10.9.0.1/24 and fd09::1/64 are its addresses */

/* What became of a frame. */
struct judge_outcome {
	int action; /* what the program returned */
	bool dropped;
	bool audited;		   /* counted as a drop, but passed */
	enum sluice_reason reason; /* SLUICE_REASON_COUNT: none was counted, -1: several */
};

/* Exits 77 with a skip line where there is no root. `max_flows`: room in the flow table. */
void judge_start(const char *name, uint32_t max_flows);
/* Only a name for the cases, of a test that needs no bench. Exits 77 with a skip line where there is no root. */
void judge_name(const char *name);
bool judge_failed(void); /* whether a case has failed */
/* Takes everything away again. Returns the exit status: 0 if all cases were ok. */
int judge_end(void);

/*
 * Applies a policy. Of the text the head (`sluice: 1`, name, interfaces of JUDGE_DEV) is written by the judge unless
 * the text begins with "sluice:".
 */
void judge_apply(const char *yaml);

/* Policies are compiled in this shape from now on: policy/compile.h. */
struct compile_shape;
void judge_use_shape(const struct compile_shape *shape);

/* The same with options; a refusal is the caller's to look at: -errno and `err`. */
struct dataplane_apply_options;
struct dataplane;
struct error;
int judge_apply_with(const char *yaml, const struct dataplane_apply_options *options, struct error *err);
struct dataplane *judge_dataplane(void); /* the judge's; NULL before the first apply */

/* The frame through the program of `hook`. */
struct judge_outcome judge_run(enum sluice_hook hook, const struct packet *p);
/* The same, with what it has made of the frame: `ret_frame` has room for PACKET_MAX bytes. */
struct judge_outcome judge_run_frame(enum sluice_hook hook, const struct packet *p, uint8_t *ret_frame,
				     size_t *ret_length);
/* At TC egress, of a packet that came in at `ingress_ifindex`. */
struct judge_outcome judge_run_forwarded(uint32_t ingress_ifindex, const struct packet *p);

/* One case: "ok" if the frame gets that verdict with that reason. */
void judge_case(const char *name, enum sluice_hook hook, const struct packet *p, enum sluice_verdict verdict,
		enum sluice_reason reason);
/* A row of a case table: a frame, and what it gets. */
struct row {
	const char *name;
	struct packet packet;
	enum sluice_verdict verdict;
	enum sluice_reason reason;
};

#define PASSES(r) SLUICE_PASS, SLUICE_R_##r
#define DROPS(r)  SLUICE_DROP, SLUICE_R_##r

/* One case: passes, but counted as a drop for that reason. */
void judge_case_audited(const char *name, enum sluice_hook hook, const struct packet *p, enum sluice_reason reason);
/* One case about anything else. */
void judge_check(const char *name, bool good, const char *why_format, ...) __attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------- maps */

/* Packets and audited packets of every reason so far. */
struct judge_reasons {
	uint64_t packets[SLUICE_REASON_COUNT];
	uint64_t audited[SLUICE_REASON_COUNT];
};
void judge_reasons(struct judge_reasons *ret);

uint32_t judge_ifindex(void);
const char *judge_root(void); /* the pinned folder */
const char *judge_reason(enum sluice_reason reason);
int judge_map(const char *name); /* descriptor, the judge's */

/* Gives the door (bpf/door.h) of every CPU that much credit; 0 closes it. judge_apply*() give 64, as much as it takes. */
void judge_set_door(uint32_t credit);
uint32_t judge_door(void); /* credit of all CPUs together */
bool judge_flow(const struct packet *p, uint16_t tenant,
		struct dataplane_flow *ret_flow); /* the flow of a packet, if live */
bool judge_flow_ends(const struct packet *p, uint16_t tenant, unsigned int within_ms); /* waits for its expiry */
long judge_flow_count(void);
long judge_half_open(void);
void judge_flows_clear(void); /* so that the next case starts from no flow */
/* Counter of a rule of the live policy, by name; "default" for the default. */
struct sluice_rule_counter judge_rule(const char *name);
void judge_set_attached(uint64_t attached_ns); /* control.attached_ns, the start of pickup */

#endif
