// SPDX-License-Identifier: Apache-2.0
/*
 * Flows for people, one a line. Rows are printed in batches, as wide as the widest so far, so that a million of them
 * need no more memory than a thousand. On a terminal that is watched, each picture is drawn over the last one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/flows.h"
#include "cli/status.h"
#include "cli/table.h"
#include "policy/values.h"

#define BATCH 1024
#define CELL  80

enum column {
	COLUMN_TENANT,
	COLUMN_PROTOCOL,
	COLUMN_FROM,
	COLUMN_TO,
	COLUMN_STATE,
	COLUMN_RULE,
	COLUMN_AGE,
	COLUMN_IDLE,
	COLUMN_PACKETS,
	COLUMN_BYTES,
	COLUMN_PACKETS_BACK,
	COLUMN_BYTES_BACK,
	COLUMN_RATE,
	COLUMN_FLAGS,
	COLUMNS
};

static const struct {
	const char *title;
	bool right;
} columns[COLUMNS] = {
	[COLUMN_TENANT] = {"tenant", false},	  [COLUMN_PROTOCOL] = {"proto", false},
	[COLUMN_FROM] = {"from", false},	  [COLUMN_TO] = {"to", false},
	[COLUMN_STATE] = {"state", false},	  [COLUMN_RULE] = {"rule", false},
	[COLUMN_AGE] = {"age", true},		  [COLUMN_IDLE] = {"idle", true},
	[COLUMN_PACKETS] = {"packets", true},	  [COLUMN_BYTES] = {"bytes", true},
	[COLUMN_PACKETS_BACK] = {"back", true},	  [COLUMN_BYTES_BACK] = {"bytes", true},
	[COLUMN_RATE] = {"rate", true},		  [COLUMN_FLAGS] = {"flags", false},
};

struct line {
	char cell[COLUMNS][CELL];
};

struct flows_text {
	const struct flow_names *names;
	struct flows_text_options options;
	uint64_t now_ns;
	size_t width[COLUMNS];
	bool begun; /* the titles are out */
	unsigned int terminal_width;
	size_t count;
	struct line line[BATCH];
};

/* ------------------------------------------------------------------- the terminal */

unsigned int flows_text_lines(void)
{
	struct winsize size = {};

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row)
		return 24;
	return size.ws_row;
}

static unsigned int terminal_width(void)
{
	struct winsize size = {};

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
}

/* One line of a picture: never wrapped where it is drawn over the last one. */
static void print_line(const struct flows_text *t, const char *text)
{
	if (t->options.redraw)
		printf("%.*s\033[K\n", (int)t->terminal_width, text);
	else
		printf("%s\n", text);
}

/* ------------------------------------------------------------------- cells */

static struct short_text time_text(uint64_t ns)
{
	uint64_t s = ns / NSEC_PER_SEC;
	struct short_text out;

	if (s < 60)
		snprintf(out.text, sizeof(out.text), "%llu.%llus", (unsigned long long)s,
			 (unsigned long long)(ns % NSEC_PER_SEC / (NSEC_PER_SEC / 10)));
	else if (s < 3600)
		snprintf(out.text, sizeof(out.text), "%llum%02llus", (unsigned long long)(s / 60),
			 (unsigned long long)(s % 60));
	else if (s < 86400)
		snprintf(out.text, sizeof(out.text), "%lluh%02llum", (unsigned long long)(s / 3600),
			 (unsigned long long)(s % 3600 / 60));
	else
		snprintf(out.text, sizeof(out.text), "%llud%02lluh", (unsigned long long)(s / 86400),
			 (unsigned long long)(s % 86400 / 3600));
	return out;
}

/* One end; of protocols without ports only the address, of an echo its identifier with who asks. */
static void end_cell(char cell[CELL], const struct sluice_flow_key *key, unsigned int end)
{
	bool icmp = key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6;

	if ((icmp && key->port[end]) || value_protocol_has_ports(key->protocol))
		snprintf(cell, CELL, "%s", status_end(key->addr[end], key->port[end]).text);
	else
		inet_ntop(key->version == 4 ? AF_INET : AF_INET6, key->addr[end] + (key->version == 4 ? 12 : 0), cell,
			  CELL);
}

static void flags_cell(char cell[CELL], const struct flow_names *n, const struct dataplane_flow *flow)
{
	const struct {
		bool set;
		const char *name;
	} flags[] = {
		{flow->seen & SLUICE_FLOW_PICKED_UP, "picked-up"},
		{flow->seen & SLUICE_FLOW_AUDIT_DENY, "audit-deny"},
		{flow_is_stale(n, flow), "stale"},
	};
	size_t i, used = 0;

	cell[0] = 0;
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].set)
			used += (size_t)snprintf(cell + used, CELL - used, "%s%s", used ? "," : "", flags[i].name);
}

static void rule_cell(char cell[CELL], const struct flow_names *n, const struct dataplane_flow *flow)
{
	const struct sluice_rule *rule = flow_rule(n, flow);

	if (!rule)
		snprintf(cell, CELL, "(gone)");
	else if (rule->flags & SLUICE_RULE_DEFAULT)
		snprintf(cell, CELL, "(default)");
	else
		snprintf(cell, CELL, "%.*s", SLUICE_NAME_LEN, rule->name);
}

static void side_cells(struct line *line, enum column packets, const struct dataplane_flow_side *side)
{
	snprintf(line->cell[packets], CELL, "%llu", (unsigned long long)side->packets);
	snprintf(line->cell[packets + 1], CELL, "%s", bytes_text(side->bytes).text);
}

static void fill_line(const struct flows_text *t, const struct flow_row *row, struct line *line)
{
	const struct dataplane_flow *f = &row->flow;
	const char *tenant = flow_tenant(t->names, f);
	char number[VALUE_ITEM_LEN];

	snprintf(line->cell[COLUMN_TENANT], CELL, "%s", *tenant ? tenant : "-");
	snprintf(line->cell[COLUMN_PROTOCOL], CELL, "%s", value_protocol_text(f->key.protocol, number));
	end_cell(line->cell[COLUMN_FROM], &f->key, f->originator);
	end_cell(line->cell[COLUMN_TO], &f->key, !f->originator);
	snprintf(line->cell[COLUMN_STATE], CELL, "%s", dataplane_flow_state_name(dataplane_flow_state(f)));
	rule_cell(line->cell[COLUMN_RULE], t->names, f);
	snprintf(line->cell[COLUMN_AGE], CELL, "%s", time_text(t->now_ns - min(t->now_ns, f->first_seen_ns)).text);
	snprintf(line->cell[COLUMN_IDLE], CELL, "%s", time_text(t->now_ns - min(t->now_ns, f->last_seen_ns)).text);
	side_cells(line, COLUMN_PACKETS, &f->side[0]);
	side_cells(line, COLUMN_PACKETS_BACK, &f->side[1]);
	snprintf(line->cell[COLUMN_RATE], CELL, "%s/s", bytes_text(row->rate).text);
	flags_cell(line->cell[COLUMN_FLAGS], t->names, f);
}

/* ------------------------------------------------------------------- lines */

static bool column_is_shown(const struct flows_text *t, size_t c)
{
	return (c != COLUMN_TENANT || t->names->tenants) && (c != COLUMN_RATE || t->options.rate);
}

static void print_cells(const struct flows_text *t, const char *const cells[COLUMNS])
{
	char text[COLUMNS * (CELL + 2)];
	size_t c, used = 0;

	for (c = 0; c < COLUMNS; c++)
		if (column_is_shown(t, c))
			used += (size_t)snprintf(text + used, sizeof(text) - used,
						 columns[c].right ? "%s%*s" : "%s%-*s", used ? "  " : "",
						 (int)t->width[c], cells[c]);
	while (used && text[used - 1] == ' ')
		used--;
	text[used] = 0;
	print_line(t, text);
}

static void print_titles(struct flows_text *t)
{
	const char *cells[COLUMNS];
	size_t c;

	for (c = 0; c < COLUMNS; c++)
		cells[c] = columns[c].title;
	print_cells(t, cells);
	t->begun = true;
}

static void flush_lines(struct flows_text *t)
{
	const char *cells[COLUMNS];
	size_t i, c;

	for (i = 0; i < t->count; i++)
		for (c = 0; c < COLUMNS; c++)
			t->width[c] = max(t->width[c], strlen(t->line[i].cell[c]));
	if (t->count && !t->begun)
		print_titles(t);
	for (i = 0; i < t->count; i++) {
		for (c = 0; c < COLUMNS; c++)
			cells[c] = t->line[i].cell[c];
		print_cells(t, cells);
	}
	t->count = 0;
}

int flows_text_begin(const struct flow_names *n, const struct flows_text_options *o, uint64_t now_ns,
		     struct flows_text **ret_text)
{
	struct flows_text *t = malloc(sizeof(*t));
	size_t c;

	if (!t)
		return -ENOMEM;
	t->names = n;
	t->options = *o;
	t->now_ns = now_ns;
	t->begun = false;
	t->count = 0;
	t->terminal_width = terminal_width();
	for (c = 0; c < COLUMNS; c++)
		t->width[c] = strlen(columns[c].title);
	if (o->redraw)
		printf("\033[H");
	*ret_text = t;
	return 0;
}

void flows_text_row(struct flows_text *t, const struct flow_row *row)
{
	if (t->count == BATCH)
		flush_lines(t);
	fill_line(t, row, &t->line[t->count++]);
}

void flows_text_end(struct flows_text *t, const struct flow_totals *totals)
{
	char text[200];
	size_t used;

	flush_lines(t);
	used = (size_t)snprintf(text, sizeof(text), "%s of %s flows", number_text(totals->matched).text,
				number_text(totals->live).text);
	if (totals->matched > totals->shown)
		used += (size_t)snprintf(text + used, sizeof(text) - used, ", %s of them not shown",
					 number_text(totals->matched - totals->shown).text);
	if (t->options.watch_ns)
		snprintf(text + used, sizeof(text) - used, "; every %.3g s", (double)t->options.watch_ns / 1e9);
	print_line(t, text);
	printf(t->options.redraw ? "\033[J" : t->options.watch_ns ? "\n" : "");
}

void flows_text_freep(struct flows_text **t)
{
	free(*t);
}
