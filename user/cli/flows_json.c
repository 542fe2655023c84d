// SPDX-License-Identifier: Apache-2.0
/*
 * Flows for programs; docs/json.md. Field names are part of the interface: added to, never changed. Written as they
 * come, since a document of a million flows need not be in memory first.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/flows.h"
#include "policy/values.h"

/* Names are made of letters, digits and -_. where they are read; what came into the kernel otherwise is escaped. */
static void put_text(const char *text, size_t most)
{
	const char *c;

	putchar('"');
	for (c = text; c < text + most && *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == '"' || *c == '\\')
			printf("\\u%04x", (unsigned char)*c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void put_end(const char *name, const struct sluice_flow_key *key, unsigned int end)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(key->version == 4 ? AF_INET : AF_INET6, key->addr[end] + (key->version == 4 ? 12 : 0), text,
		  sizeof(text));
	printf(", \"%s\": \"%s\", \"%s_port\": %u", name, text, name, ntohs(key->port[end]));
}

static void put_rule(const struct flow_names *n, const struct dataplane_flow *flow)
{
	const struct sluice_rule *rule = flow_rule(n, flow);
	bool named = rule && !(rule->flags & SLUICE_RULE_DEFAULT);

	printf(", \"rule\": ");
	if (named)
		put_text(rule->name, SLUICE_NAME_LEN);
	else
		printf("null");
	printf(", \"decided_by\": \"%s\"", named ? "rule" : rule ? "default" : "gone");
}

static const char *truth(bool yes)
{
	return yes ? "true" : "false";
}

static void put_counts(const struct flow_row *row, uint64_t now_ns)
{
	const struct dataplane_flow *f = &row->flow;

	printf(", \"age_seconds\": %.3f, \"idle_seconds\": %.3f",
	       (double)(now_ns - min(now_ns, f->first_seen_ns)) / 1e9,
	       (double)(now_ns - min(now_ns, f->last_seen_ns)) / 1e9);
	printf(", \"packets\": %llu, \"bytes\": %llu, \"packets_back\": %llu, \"bytes_back\": %llu, "
	       "\"bytes_per_second\": %llu",
	       (unsigned long long)f->side[0].packets, (unsigned long long)f->side[0].bytes,
	       (unsigned long long)f->side[1].packets, (unsigned long long)f->side[1].bytes,
	       (unsigned long long)row->rate);
}

void flows_json_row(const struct flow_names *n, const struct flow_row *row, uint64_t now_ns, bool first)
{
	const struct dataplane_flow *f = &row->flow;
	char number[VALUE_ITEM_LEN];

	printf("%s\n  {\"tenant\": ", first ? "" : ",");
	put_text(flow_tenant(n, f), SLUICE_NAME_LEN);
	printf(", \"protocol\": \"%s\"", value_protocol_text(f->key.protocol, number));
	put_end("source", &f->key, f->originator);
	put_end("dest", &f->key, !f->originator);
	printf(", \"state\": \"%s\"", dataplane_flow_state_name(dataplane_flow_state(f)));
	put_rule(n, f);
	put_counts(row, now_ns);
	printf(", \"picked_up\": %s, \"audit_deny\": %s, \"stale\": %s}", truth(f->seen & SLUICE_FLOW_PICKED_UP),
	       truth(f->seen & SLUICE_FLOW_AUDIT_DENY), truth(flow_is_stale(n, f)));
}

void flows_json_begin(const struct flow_names *n)
{
	printf("{\"generation\": %llu, \"flows\": [", (unsigned long long)n->live.generation);
}

void flows_json_end(const struct flow_totals *totals)
{
	printf("%s], \"live\": %llu, \"matched\": %llu, \"shown\": %llu}\n", totals->shown ? "\n" : "",
	       (unsigned long long)totals->live, (unsigned long long)totals->matched,
	       (unsigned long long)totals->shown);
}

void flows_json_count(const struct flow_names *n, const struct flow_totals *totals)
{
	printf("{\"generation\": %llu, \"live\": %llu, \"matched\": %llu}\n", (unsigned long long)n->live.generation,
	       (unsigned long long)totals->live, (unsigned long long)totals->matched);
}
