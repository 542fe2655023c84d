// SPDX-License-Identifier: Apache-2.0
/*
 * How `sluice io` comes by its paths, and what it says of them: from --to, or from the discovery log at the first --to.
 * Called by io_transfer.c, io_bench.c and io_report.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "cli/io.h"
#include "nvme/ana.h"

static void auth_wipe(struct initiator_auth *auth)
{
	secret_wipe(auth, sizeof(*auth));
}

/* Whether a portal can be what the options make of a connection. */
static bool fits(const struct io_options *o, const struct nvme_discovery_entry *e)
{
	bool has_tls = e->sectype != NVME_SECTYPE_NONE, required = (e->treq & 3) == NVME_TREQ_SECURE;

	if (o->auth.concat) /* without TLS first, then by TLS */
		return has_tls && !required;
	return o->target.tls ? has_tls : !required;
}

/* Adds the portals of the subsystem that are not there yet. */
static int add_portals(const struct io_options *o, struct multipath_options *to, struct error *err)
{
	_cleanup_(auth_wipe) struct initiator_auth auth = o->auth; /* longer than i */
	_cleanup_(io_closep) struct initiator *i = NULL;
	_cleanup_free_ struct nvme_discovery_entry *entries = NULL;
	struct initiator_options discovery = o->target;
	size_t n, skipped;
	int r;

	strcpy(discovery.subnqn, NVME_DISCOVERY_NQN);
	auth.concat = false; /* a key is for one subsystem */
	if (discovery.auth)
		discovery.auth = &auth;
	r = initiator_open(&discovery, &i, err);
	if (!r)
		r = initiator_discover(i, &entries, &n, &skipped, err);
	for (size_t k = 0; !r && k < n; k++) {
		char text[sizeof(entries[k].traddr) + sizeof(entries[k].trsvcid) + 4];
		struct initiator_addr addr;
		unsigned int at = 0;

		if (entries[k].subtype != NVME_SUBTYPE_NVM || strcmp(entries[k].subnqn, to->target.subnqn) ||
		    !fits(o, &entries[k]))
			continue;
		snprintf(text, sizeof(text), strchr(entries[k].traddr, ':') ? "[%s]:%s" : "%s:%s", entries[k].traddr,
			 entries[k].trsvcid);
		r = initiator_addr_parse(text, INITIATOR_PORT, &addr, err);
		while (!r && at < to->n_addrs && strcmp(to->addrs[at].text, addr.text))
			at++;
		if (r || at < to->n_addrs)
			continue;
		if (at == MULTIPATH_MAX)
			return error_set(err, E2BIG,
					 "discovery at %s names more than %u portals; choose some of them with --to",
					 o->target.addr.text, MULTIPATH_MAX);
		to->addrs[to->n_addrs++] = addr;
	}
	return r;
}

int io_paths_open(const struct io_options *o, unsigned int queues, struct multipath **ret_multipath, struct error *err)
{
	struct multipath_options options = {
		.target = o->target,
		.n_addrs = o->n_addrs,
		.queues = queues,
		.n_nsids = o->n_nsids,
		.reconnect_delay_ms = o->reconnect_delay_ms,
		.ctrl_loss_ms = o->ctrl_loss_ms,
		.round_robin = o->round_robin,
	};
	int r = 0;

	memcpy(options.addrs, o->addrs, sizeof(options.addrs));
	memcpy(options.nsids, o->nsids, sizeof(options.nsids));
	if (o->all_portals)
		r = add_portals(o, &options, err);
	return r ? r : multipath_open(&options, ret_multipath, err);
}

/* Commands that were sent again because of how they were answered. */
static struct json_object *retries_json(const struct multipath_info *info)
{
	struct json_object *list = json_object_new_array();

	for (const struct retry_count *c = info->retries; c < info->retries + MULTIPATH_STATUSES && c->count; c++) {
		struct json_object *entry = json_object_new_object();

		json_object_object_add(entry, "status", json_object_new_int(c->status));
		json_object_object_add(entry, "name", json_object_new_string(nvme_status_name(c->status)));
		json_object_object_add(entry, "count", json_object_new_int64((int64_t)c->count));
		json_object_array_add(list, entry);
	}
	return list;
}

void io_paths_add_json(struct json_object *to, const struct io_options *o, struct multipath *m)
{
	struct json_object *list = json_object_new_array();
	struct multipath_info info;
	uint64_t reconnects = 0;

	for (unsigned int k = 0; k < multipath_paths(m); k++) {
		struct json_object *path = json_object_new_object(), *ana = json_object_new_array();

		multipath_path_info(m, k, &info);
		reconnects += info.reconnects;
		json_object_object_add(path, "address", json_object_new_string(info.addr));
		json_object_object_add(path, "state", json_object_new_string(path_state_name(info.state)));
		for (unsigned int n = 0; n < o->n_nsids; n++)
			json_object_array_add(ana, json_object_new_string(nvme_ana_name(info.ana[n])));
		json_object_object_add(path, "ana", ana);
		json_object_object_add(path, "reconnects", json_object_new_int64((int64_t)info.reconnects));
		json_object_object_add(path, "commands", json_object_new_int64((int64_t)info.commands));
		json_object_object_add(path, "resubmitted", json_object_new_int64((int64_t)info.resubmitted));
		json_object_object_add(path, "retries", retries_json(&info));
		json_object_object_add(path, "aborts", json_object_new_int64((int64_t)info.aborts));
		json_object_object_add(path, "aborted", json_object_new_int64((int64_t)info.aborted));
		json_object_object_add(path, "ana_timeouts", json_object_new_int64((int64_t)info.ana_timeouts));
		json_object_object_add(path, "why", *info.why.text ? json_object_new_string(info.why.text) : NULL);
		json_object_array_add(list, path);
	}
	json_object_object_add(to, "reconnects", json_object_new_int64((int64_t)reconnects));
	json_object_object_add(to, "paths", list);
}

void io_paths_print(struct multipath *m)
{
	unsigned int n = multipath_paths(m);
	struct multipath_info info;

	for (unsigned int k = 0; k < n; k++) {
		multipath_path_info(m, k, &info);
		if (n == 1 && !info.reconnects && !info.resubmitted && !info.aborts && info.state == PATH_LIVE)
			return; /* nothing has happened that is worth a line */
		printf("%spath %s: %s, %" PRIu64 " commands, %" PRIu64 " reconnects, %" PRIu64 " commands sent again\n",
		       k ? "" : "\n", info.addr, path_state_name(info.state), info.commands, info.reconnects,
		       info.resubmitted);
		for (const struct retry_count *c = info.retries; c < info.retries + MULTIPATH_STATUSES && c->count; c++)
			printf("  %" PRIu64 " of them for: %s (0x%03x)\n", c->count, nvme_status_name(c->status),
			       c->status);
		if (info.aborts)
			printf("  not answered in time: %" PRIu64 " Aborts, %" PRIu64 " commands aborted\n", info.aborts,
			       info.aborted);
		if (*info.why.text)
			printf("  %s\n", info.why.text);
	}
}
