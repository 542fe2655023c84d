// SPDX-License-Identifier: Apache-2.0
/* `sluice events`: one line a logged verdict, for people or as JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/cli.h"

static volatile bool stop;

static const char *const verdict_names[] = {[SLUICE_PASS] = "pass", [SLUICE_DROP] = "drop", [SLUICE_REJECT] = "reject"};
static const char *const hook_names[] = {
	[SLUICE_HOOK_XDP] = "xdp",
	[SLUICE_HOOK_TC_INGRESS] = "tc-ingress",
	[SLUICE_HOOK_TC_EGRESS] = "tc-egress",
};

struct printer {
	const struct dataplane_status *status; /* rule names by slot */
	bool json;
};

static const char *name_of(const char *const *names, size_t count, unsigned int i)
{
	return i < count ? names[i] : "?";
}

static const char *rule_name(const struct dataplane_status *s, uint32_t slot)
{
	size_t i;

	for (i = 0; slot != SLUICE_NO_RULE && i < s->n_rules; i++)
		if (s->rules[i].rule.slot == slot)
			return s->rules[i].rule.name;
	return NULL;
}

static void address_text(const uint8_t addr[16], char text[INET6_ADDRSTRLEN])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (!memcmp(addr, mapped, sizeof(mapped)))
		inet_ntop(AF_INET, addr + 12, text, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, addr, text, INET6_ADDRSTRLEN);
}

static void print_json(const struct printer *p, const struct sluice_event *e, const char *from, const char *to,
		       const char *interface)
{
	const char *rule = rule_name(p->status, e->rule);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "time_ns", json_object_new_uint64(e->time_ns));
	json_object_object_add(o, "generation", json_object_new_uint64(e->generation));
	json_object_object_add(o, "verdict",
			       json_object_new_string(name_of(verdict_names, ARRAY_SIZE(verdict_names), e->verdict)));
	json_object_object_add(o, "audited", json_object_new_boolean(e->audited));
	json_object_object_add(o, "reason", json_object_new_string(reason_name((enum sluice_reason)e->reason)));
	json_object_object_add(o, "rule", rule ? json_object_new_string(rule) : NULL);
	json_object_object_add(o, "interface", json_object_new_string(interface));
	json_object_object_add(o, "hook", json_object_new_string(name_of(hook_names, ARRAY_SIZE(hook_names), e->hook)));
	json_object_object_add(o, "tenant", json_object_new_int(e->tenant));
	json_object_object_add(o, "vlan", e->vlan == SLUICE_VLAN_NONE ? NULL : json_object_new_int(e->vlan));
	json_object_object_add(o, "protocol", json_object_new_int(e->protocol));
	json_object_object_add(o, "source", json_object_new_string(from));
	json_object_object_add(o, "source_port", json_object_new_int(ntohs(e->source_port)));
	json_object_object_add(o, "dest", json_object_new_string(to));
	json_object_object_add(o, "dest_port", json_object_new_int(ntohs(e->dest_port)));
	json_object_object_add(o, "length", json_object_new_int64(e->length));
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

static void print_line(const struct printer *p, const struct sluice_event *e, const char *from, const char *to,
		       const char *interface)
{
	const char *rule = rule_name(p->status, e->rule);
	bool icmp = e->protocol == IPPROTO_ICMP || e->protocol == IPPROTO_ICMPV6;
	bool ports = e->source_port || e->dest_port;

	printf("%llu.%06llu %-6s%s %s %s ", (unsigned long long)(e->time_ns / NSEC_PER_SEC),
	       (unsigned long long)(e->time_ns % NSEC_PER_SEC / 1000),
	       name_of(verdict_names, ARRAY_SIZE(verdict_names), e->verdict), e->audited ? " (audit)" : "", interface,
	       name_of(hook_names, ARRAY_SIZE(hook_names), e->hook));
	if (icmp)
		printf("%s > %s icmp type %u code %u", from, to, ntohs(e->dest_port) >> 8, ntohs(e->dest_port) & 255);
	else if (ports)
		printf("%s port %u > %s port %u protocol %u", from, ntohs(e->source_port), to, ntohs(e->dest_port),
		       e->protocol);
	else
		printf("%s > %s protocol %u", from, to, e->protocol);
	printf(", reason %s%s%s\n", reason_name((enum sluice_reason)e->reason), rule ? ", rule " : "",
	       rule ? rule : "");
}

static int print_event(void *arg, const struct sluice_event *e)
{
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN], interface[IF_NAMESIZE];
	const struct printer *p = arg;

	address_text(e->source, from);
	address_text(e->dest, to);
	if (!if_indextoname(e->ifindex, interface))
		snprintf(interface, sizeof(interface), "#%u", e->ifindex);
	(p->json ? print_json : print_line)(p, e, from, to, interface);
	fflush(stdout);
	return ferror(stdout) ? -EPIPE : 0;
}

static void on_signal(int signal_number)
{
	stop = true;
}

static int read_events(bool follow, bool json, struct error *err)
{
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	struct dataplane_status status;
	struct printer printer = {.status = &status, .json = json};
	struct sigaction action = {.sa_handler = on_signal};
	int r = dataplane_open(cli_options.root, err, &dp);

	if (!r)
		r = dataplane_status(dp, err, &status);
	if (r)
		return r;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	r = dataplane_events(dp, print_event, &printer, follow ? -1 : 0, &stop, err);
	dataplane_status_done(&status);
	return r;
}

int cmd_events(int argc, char **argv)
{
	static const struct option options[] = {
		{"follow", no_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'}, {}};
	bool follow = false, json = false;
	struct error err = {};
	int option, r;

	while ((option = getopt_long(argc, argv, "f", options, NULL)) != -1) {
		if (option != 'f' && option != 'j')
			return cli_usage("events", "unknown option");
		follow |= option == 'f';
		json |= option == 'j';
	}
	if (optind != argc)
		return cli_usage("events", "takes no argument");
	r = read_events(follow, json, &err);
	return r ? cli_fail("events", r, &err) : EXIT_FINE;
}
