// SPDX-License-Identifier: Apache-2.0
/*
 * Flows one by one: what they are in a word, and ending them by hand. The kernel half alone writes the flow table, so a
 * flow is cut by a program that is asked to (bpf/cut.h), loaded and pinned when it is wanted for the first time. Called
 * by `sluice flows`.
 */
#include <errno.h>
#include <netinet/in.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

/* ------------------------------------------------------------------- states */

#define ANY_PROTOCOL 0

/* The first row that fits: the protocol, and all of the facts. As flow_timeout_kind() of bpf/flow_state.h has it. */
static const struct {
	uint8_t protocol;
	uint32_t facts;
	enum dataplane_flow_state state;
} state_rows[] = {
	{IPPROTO_TCP, SLUICE_FLOW_CUT, FLOW_CUT},
	{IPPROTO_TCP, SLUICE_FLOW_RST, FLOW_RESET},
	{IPPROTO_TCP, SLUICE_FLOW_FIN(0), FLOW_CLOSING},
	{IPPROTO_TCP, SLUICE_FLOW_FIN(1), FLOW_CLOSING},
	{IPPROTO_TCP, SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1), FLOW_ESTABLISHED},
	{IPPROTO_TCP, SLUICE_FLOW_PICKED_UP, FLOW_ESTABLISHED},
	{IPPROTO_TCP, 0, FLOW_OPENING},
	{ANY_PROTOCOL, SLUICE_FLOW_REPLIED, FLOW_ANSWERED},
	{ANY_PROTOCOL, 0, FLOW_ONE_WAY},
};

enum dataplane_flow_state dataplane_flow_state(const struct dataplane_flow *flow)
{
	size_t i = 0;

	while ((state_rows[i].protocol != ANY_PROTOCOL && state_rows[i].protocol != flow->key.protocol) ||
	       (flow->seen & state_rows[i].facts) != state_rows[i].facts)
		i++; /* the last row fits every flow */
	return state_rows[i].state;
}

const char *dataplane_flow_state_name(enum dataplane_flow_state state)
{
	static const char *const names[FLOW_STATES] = {
		[FLOW_OPENING] = "opening", [FLOW_ESTABLISHED] = "established",
		[FLOW_CLOSING] = "closing", [FLOW_RESET] = "reset",
		[FLOW_CUT] = "cut",	    [FLOW_ONE_WAY] = "one-way",
		[FLOW_ANSWERED] = "answered",
	};

	return state < FLOW_STATES ? names[state] : "?";
}

/* ------------------------------------------------------------------- cutting */

static int cut_prepare(struct dataplane *dp, struct error *err)
{
	_cleanup_close_ int lock = -1;
	int r = folder_lock(dp->root, err, &lock);

	if (!r)
		r = programs_load_cut(dp, err);
	if (r)
		return r;
	dp->cut = program_get(dp, PROGRAM_CUT);
	return dp->cut < 0 ? error_system(err, -dp->cut, "%s/programs/" PROGRAM_CUT, dp->root) : 0;
}

int dataplane_cut(struct dataplane *dp, const struct dataplane_flow *flow, struct error *err)
{
	struct sluice_cut_call call = {.key = flow->key, .first = flow->begun};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &call, .ctx_size_in = sizeof(call));
	int r = dp->cut < 0 ? cut_prepare(dp, err) : 0;

	if (r)
		return r;
	if (bpf_prog_test_run_opts(dp->cut, &opts))
		return error_system(err, errno, "%s: cannot cut flows", dp->root);
	if (call.result && call.result != -ENOENT)
		return error_system(err, -call.result, "%s: the kernel refused to cut a flow", dp->root);
	return call.result;
}
