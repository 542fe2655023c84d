// SPDX-License-Identifier: Apache-2.0
/*
 * What `sluice replay` says, for people and as JSON lines (docs/json.md). A line is out before the next packet is read:
 * a capture may be longer than memory.
 */
#include <arpa/inet.h>
#include <json-c/json.h>
#include <stdio.h>

#include "base/util.h"
#include "cli/replay.h"
#include "cli/status.h"
#include "cli/table.h"
#include "policy/values.h"

static const char *const verdict_names[] = {[SLUICE_PASS] = "pass", [SLUICE_DROP] = "drop", [SLUICE_REJECT] = "reject"};

/* NULL: no rule decided, or the default did. */
static const char *rule_name(const struct replay_report *report, uint32_t slot)
{
	if (slot >= report->tables->n_rules || report->tables->rules[slot].flags & SLUICE_RULE_DEFAULT)
		return NULL;
	return report->tables->rules[slot].name;
}

static const char *tenant_name(const struct replay_report *report, uint16_t tenant)
{
	return tenant < report->policy->n_tenants ? report->policy->tenants[tenant] : "?";
}

static bool is_truncated(const struct capture_packet *p)
{
	return p->length < p->wire_length;
}

static const char *text_or(const char *text, const char *none)
{
	return text && *text ? text : none;
}

/* ------------------------------------------------------------------- text */

static void print_end(const struct sluice_replay_result *r, const uint8_t addr[16], __be16 port)
{
	char text[INET6_ADDRSTRLEN];
	bool ipv4 = r->version == 4;

	if (r->protocol == IPPROTO_TCP || r->protocol == IPPROTO_UDP || r->protocol == IPPROTO_SCTP)
		printf("%s", status_end(addr, port).text);
	else if (inet_ntop(ipv4 ? AF_INET : AF_INET6, ipv4 ? addr + 12 : addr, text, sizeof(text)))
		printf("%s", text);
}

static void print_ends(const struct sluice_replay_result *r)
{
	char number[VALUE_ITEM_LEN];

	if (!r->version)
		return;
	print_end(r, r->source, r->source_port);
	printf(" > ");
	print_end(r, r->dest, r->dest_port);
	printf(" %s", value_protocol_text(r->protocol, number));
	if (r->protocol == IPPROTO_ICMP || r->protocol == IPPROTO_ICMPV6)
		printf("/%u.%u", ntohs(r->dest_port) >> 8, ntohs(r->dest_port) & 255);
}

void replay_print_text(const struct replay_report *report, const struct capture_packet *p,
		       const struct sluice_replay_result *r)
{
	uint64_t since = p->time_ns > report->first_ns ? p->time_ns - report->first_ns : 0;
	uint32_t i;

	if (report->packets == 1)
		printf("%8s %14s  %-6s  %-17s %-24s %-12s %s\n", "packet", "seconds", "gets", "reason", "rule",
		       "tenant", "from > to");
	printf("%8llu %4llu.%09llu  %-6s  %-17s %-24s %-12s ", (unsigned long long)p->number,
	       (unsigned long long)(since / NSEC_PER_SEC), (unsigned long long)(since % NSEC_PER_SEC),
	       verdict_names[replay_verdict(r)], reason_name((enum sluice_reason)r->reason),
	       text_or(rule_name(report, r->slot), "-"), text_or(tenant_name(report, r->tenant), "-"));
	print_ends(r);
	for (i = 0; i < r->n_audits; i++)
		printf("  (audit rule %s)", text_or(rule_name(report, r->audits[i]), "?"));
	printf("%s%s%s\n", r->audited ? "  (audited)" : "", r->judged > 1 ? "  (inner)" : "",
	       is_truncated(p) ? "  (truncated)" : "");
}

/* What a reader should know before he believes the verdicts. */
static void print_caveats(const struct replay_report *r)
{
	if (!r->has_hosts && r->reasons[SLUICE_R_PASS_FAILSAFE])
		printf("  failsafe services were taken as this host's, whoever they were for; --host ADDRESS says "
		       "which host it is\n");
	if (r->reasons[SLUICE_R_ANTISPOOF])
		printf("  antispoof judges every packet as one that enters; if the capture has both directions, --host "
		       "ADDRESS "
		       "says whose packets leave\n");
	if (r->truncated)
		printf("  %s packets were cut by the capture; what is missing was not judged\n",
		       number_text(r->truncated).text);
}

static void print_reasons(const struct replay_report *report)
{
	struct table t;
	int i;

	table_start(&t, (const struct table_column[]){{"reason", 0}, {"packets", 1}, {"", 0}, {}});
	for (i = 0; i < SLUICE_REASON_COUNT; i++) {
		if (!report->reasons[i])
			continue;
		table_row(&t, "%s", reason_name((enum sluice_reason)i));
		table_cell(&t, "%s", number_text(report->reasons[i]).text);
		table_cell(&t, "%s", reason_text((enum sluice_reason)i));
	}
	table_print(&t, stdout);
	table_done(&t);
}

static void print_rules(const struct replay_report *report)
{
	struct table t;
	size_t i;

	table_start(&t, (const struct table_column[]){{"rule", 0}, {"packets", 1}, {}});
	for (i = 0; i < report->tables->n_rules; i++) {
		const char *name = text_or(rule_name(report, (uint32_t)i), "(default)");

		if (!report->rules[i] && !report->audits[i])
			continue;
		table_row(&t, "%s%s", name, report->audits[i] ? " (audit)" : "");
		table_cell(&t, "%s", number_text(report->rules[i] + report->audits[i]).text);
	}
	table_print(&t, stdout);
	table_done(&t);
}

void replay_summary_text(const struct replay_report *r)
{
	printf("%s: %s packets, %s, over %s; policy %s, mode %s, interface %s\n", r->file, number_text(r->packets).text,
	       bytes_text(r->bytes).text, duration_text(r->last_ns - r->first_ns).text, r->policy->name,
	       r->policy->audit ? "audit" : "enforce", r->interface);
	printf("  %s passed, %s dropped, %s rejected; %s passed in audit mode only; %s flows live at the end\n",
	       number_text(r->verdicts[SLUICE_PASS]).text, number_text(r->verdicts[SLUICE_DROP]).text,
	       number_text(r->verdicts[SLUICE_REJECT]).text, number_text(r->audited).text, number_text(r->flows).text);
	print_caveats(r);
	print_reasons(r);
	print_rules(r);
}

/* ------------------------------------------------------------------- JSON */

static struct json_object *text_object(const char *text)
{
	return text ? json_object_new_string(text) : NULL;
}

static void print_object(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

void replay_print_json(const struct replay_report *report, const struct capture_packet *p,
		       const struct sluice_replay_result *r)
{
	struct json_object *o = json_object_new_object(), *audits = r->n_audits ? json_object_new_array() : NULL;
	uint32_t i;

	json_object_object_add(o, "packet", json_object_new_uint64(p->number));
	json_object_object_add(o, "verdict", text_object(verdict_names[replay_verdict(r)]));
	json_object_object_add(o, "reason", text_object(reason_name((enum sluice_reason)r->reason)));
	json_object_object_add(o, "rule", text_object(rule_name(report, r->slot)));
	json_object_object_add(o, "tenant", text_object(tenant_name(report, r->tenant)));
	for (i = 0; i < r->n_audits; i++)
		json_object_array_add(audits, text_object(rule_name(report, r->audits[i])));
	if (audits)
		json_object_object_add(o, "audits", audits);
	if (r->audited)
		json_object_object_add(o, "audited", json_object_new_boolean(true));
	if (r->judged > 1)
		json_object_object_add(o, "inner", json_object_new_boolean(true));
	if (is_truncated(p))
		json_object_object_add(o, "truncated", json_object_new_boolean(true));
	print_object(o);
}

static struct json_object *number(uint64_t n)
{
	return json_object_new_uint64(n);
}

static struct json_object *reasons_object(const struct replay_report *report)
{
	struct json_object *o = json_object_new_object();
	int i;

	for (i = 0; i < SLUICE_REASON_COUNT; i++)
		if (report->reasons[i])
			json_object_object_add(o, reason_name((enum sluice_reason)i), number(report->reasons[i]));
	return o;
}

/* The default has no name that a rule could not have, and so a field of its own. */
static struct json_object *rules_object(const struct replay_report *report, const uint64_t *packets)
{
	struct json_object *o = json_object_new_object();
	size_t i;

	for (i = 0; i + 1 < report->tables->n_rules; i++)
		if (packets[i])
			json_object_object_add(o, report->tables->rules[i].name, number(packets[i]));
	return o;
}

void replay_summary_json(const struct replay_report *r)
{
	struct json_object *o = json_object_new_object(), *summary = json_object_new_object();

	json_object_object_add(summary, "capture", text_object(r->file));
	json_object_object_add(summary, "policy", text_object(r->policy->name));
	json_object_object_add(summary, "mode", text_object(r->policy->audit ? "audit" : "enforce"));
	json_object_object_add(summary, "interface", text_object(r->interface));
	json_object_object_add(summary, "packets", number(r->packets));
	json_object_object_add(summary, "bytes", number(r->bytes));
	json_object_object_add(summary, "first_ns", number(r->first_ns));
	json_object_object_add(summary, "last_ns", number(r->last_ns));
	json_object_object_add(summary, "pass", number(r->verdicts[SLUICE_PASS]));
	json_object_object_add(summary, "drop", number(r->verdicts[SLUICE_DROP]));
	json_object_object_add(summary, "reject", number(r->verdicts[SLUICE_REJECT]));
	json_object_object_add(summary, "audited", number(r->audited));
	json_object_object_add(summary, "truncated", number(r->truncated));
	json_object_object_add(summary, "flows", number(r->flows));
	json_object_object_add(summary, "reasons", reasons_object(r));
	json_object_object_add(summary, "rules", rules_object(r, r->rules));
	json_object_object_add(summary, "audits", rules_object(r, r->audits));
	json_object_object_add(summary, "default", number(r->rules[r->tables->n_rules - 1]));
	json_object_object_add(o, "summary", summary);
	print_object(o);
}
