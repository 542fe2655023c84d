// SPDX-License-Identifier: Apache-2.0
/* `sluice status`: gathers from the pinned folder and from the control sockets of running targets, then says it. */
#include "cli/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "control/control.h"

#define TARGET_TIMEOUT_MS 2000

const char *status_cookies(const struct dataplane_status *s)
{
	if (s->policy.flags & SLUICE_SYN_ALWAYS)
		return "always";
	return s->policy.flags & SLUICE_SYN_COOKIES ? "auto" : "never";
}

const char *status_action(uint32_t action)
{
	static const char *const names[] = {
		[SLUICE_ACTION_DENY] = "deny",
		[SLUICE_ACTION_ALLOW] = "allow",
		[SLUICE_ACTION_REJECT] = "reject",
	};

	return action < ARRAY_SIZE(names) ? names[action] : "?";
}

uint32_t status_max_flows(const struct dataplane_status *s)
{
	return s->policy.generation ? s->policy.max_flows : s->max_flows;
}

const char *status_reason_verdict(enum sluice_reason reason)
{
	return reason_drops(reason) ? "drop" : "pass";
}

struct end_text status_end(const uint8_t addr[16], __be16 port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	bool v4 = !memcmp(addr, mapped, sizeof(mapped));
	char address[INET6_ADDRSTRLEN];
	struct end_text end;

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? addr + 12 : addr, address, sizeof(address));
	snprintf(end.text, sizeof(end.text), v4 ? "%s:%u" : "[%s]:%u", address, ntohs(port));
	return end;
}

static int add_queue(void *arg, const struct dataplane_queue *queue)
{
	struct status_report *r = arg;
	struct dataplane_queue *queues = reallocarray(r->queues, r->n_queues + 1, sizeof(*queues));

	if (!queues)
		return -ENOMEM;
	r->queues = queues;
	r->queues[r->n_queues++] = *queue;
	return 0;
}

/* A socket whose process is dead says nothing and is not worth a word. */
static int add_target(void *arg, const char *path)
{
	struct json_object *targets = arg, *target;
	_cleanup_free_ char *answer = NULL;
	struct error err = {};
	int r = control_request(path, "stats", TARGET_TIMEOUT_MS, &answer, &err);

	if (r) {
		if (r != -ECONNREFUSED && r != -ENOENT && r != -ECONNRESET)
			log_warn("status", "%s", err.text);
		return 0;
	}
	target = json_tokener_parse(answer);
	if (!json_object_is_type(target, json_type_object)) {
		log_warn("status", "%s: the answer is no JSON object", path);
		json_object_put(target);
		return 0;
	}
	json_object_object_add(target, "socket", json_object_new_string(path));
	json_object_array_add(targets, target);
	return 0;
}

static void report_done(struct status_report *r)
{
	dataplane_status_done(&r->dataplane);
	free(r->queues);
	json_object_put(r->targets);
}

static int report_gather(struct status_report *r, struct error *err)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	int s = dataplane_open(cli_options.root, err, &dp);

	if (!s)
		s = dataplane_status(dp, err, &r->dataplane);
	if (!s)
		s = dataplane_queues(dp, add_queue, r, err);
	if (s)
		return s;
	r->targets = json_object_new_array();
	return r->targets ? control_list("target", add_target, r->targets) : -ENOMEM;
}

int cmd_status(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(report_done) struct status_report report = {};
	struct error err = {};
	bool json = false;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'j')
			return cli_usage("status", "unknown option");
		json = true;
	}
	if (optind != argc)
		return cli_usage("status", "takes no argument");
	r = report_gather(&report, &err);
	if (r)
		return cli_fail("status", r, &err);
	if (!json) {
		status_text(&report);
		return EXIT_FINE;
	}
	r = status_json(&report);
	return r ? cli_fail("status", r, NULL) : EXIT_FINE;
}
