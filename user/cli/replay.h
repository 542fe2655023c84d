/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice replay`: what it counts (replay.c) and the two ways of saying it (replay_print.c). */
#ifndef SLUICE_CLI_REPLAY_H
#define SLUICE_CLI_REPLAY_H

#include "base/capture.h"
#include "cli/cli.h"

struct replay_options {
	const char *policy;
	const char *file;
	const char *interface; /* NULL: the first */
	uint8_t hosts[SLUICE_REPLAY_HOSTS][16];
	size_t n_hosts;
	bool summary; /* no line a packet */
	bool json;
};

struct replay_report {
	const struct policy *policy;
	const struct policy_tables *tables;
	const char *file;
	const char *interface; /* name or glob as the policy has it */
	bool has_hosts;
	uint64_t packets;
	uint64_t bytes;			      /* on the wire */
	uint64_t verdicts[SLUICE_REJECT + 1]; /* what packets got: audited ones passed */
	uint64_t audited;
	uint64_t truncated;
	uint64_t reasons[SLUICE_REASON_COUNT];
	uint64_t *rules;  /* packets decided, by index in the tables, the default last; owned */
	uint64_t *audits; /* packets that matched as audit rule, likewise */
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t flows; /* live at the end */
};

/* What a packet got: passed if it was audited. */
enum sluice_verdict replay_verdict(const struct sluice_replay_result *r);

void replay_print_text(const struct replay_report *report, const struct capture_packet *p,
		       const struct sluice_replay_result *r);
void replay_print_json(const struct replay_report *report, const struct capture_packet *p,
		       const struct sluice_replay_result *r);
void replay_summary_text(const struct replay_report *report);
void replay_summary_json(const struct replay_report *report);

#endif
