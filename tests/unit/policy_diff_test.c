// SPDX-License-Identifier: Apache-2.0
/*
 * Differences of policies: a table of rule orders, minimality of moves against exhaustive search, and one difference of
 * every other kind.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/diff.h"

struct side {
	struct policy *policy;
	struct policy_tables *tables;
};

static void side_done(struct side *s)
{
	policy_tables_free(s->tables);
	policy_free(s->policy);
}

static void side_make(struct side *s, const char *text)
{
	struct policy_diagnostics d = {};
	struct error err = {};

	cr_assert(!policy_load_text("test.yaml", text, strlen(text), &d, &s->policy), "%s: %s", text,
		  d.count ? d.items[0].text : "?");
	cr_assert(!policy_compile(s->policy, &err, &s->tables), "%s", err.text);
	policy_diagnostics_done(&d);
}

static struct policy_diff *compare(const struct side *old, const struct side *new, bool with_model)
{
	struct policy_diff_side a = {}, b = {new->policy, &new->tables->head, new->tables->rules};
	struct policy_diff *d = NULL;

	if (old)
		a = (struct policy_diff_side){with_model ? old->policy : NULL, &old->tables->head, old->tables->rules};
	cr_assert(!policy_diff(&a, &b, &d));
	return d;
}

static struct policy_diff *compare_text(const char *before, const char *after)
{
	_cleanup_(side_done) struct side old = {}, new = {};

	side_make(&old, before);
	side_make(&new, after);
	return compare(&old, &new, true);
}

/* ------------------------------------------------------------------- rules */

#define HEAD "sluice: 1\nname: t\ndefault: deny\ninterfaces: [{name: eth0}]\n"

/* A letter is a rule of that name; in upper case it says something else. */
static void rules_make(struct side *s, const char *letters)
{
	char text[4096] = HEAD;
	size_t n = strlen(text);

	n += (size_t)snprintf(text + n, sizeof(text) - n, "rules:%s\n", *letters ? "" : " []");
	for (; *letters; letters++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "  - {name: %c, from: 10.%u.0.0/16, to: any, service: tcp/%u, action: allow}\n",
				      *letters | 0x20, (unsigned int)*letters | 0x20, (unsigned int)*letters);
	side_make(s, text);
}

static const struct rules_case {
	const char *before;
	const char *after;
	size_t changes[POLICY_CHANGES]; /* added, removed, changed, moved */
	const char *entries;		/* sign and name, in order */
} rules_cases[] = {
	{"abc", "abc", {0, 0, 0, 0}, ""},
	{"", "ab", {2, 0, 0, 0}, "+a+b"},
	{"ab", "", {0, 2, 0, 0}, "-a-b"},
	{"abc", "axbc", {1, 0, 0, 0}, "+x"},
	{"abc", "ac", {0, 1, 0, 0}, "-b"},
	{"abc", "aBc", {0, 0, 1, 0}, "~b"},
	{"abcdef", "acdefb", {0, 0, 0, 1}, ">b"},
	{"abcdef", "fabcde", {0, 0, 0, 1}, ">f"},
	{"abcdef", "bcdefa", {0, 0, 0, 1}, ">a"},
	{"ab", "ba", {0, 0, 0, 1}, ">b"},
	{"abcd", "dcba", {0, 0, 0, 3}, ">d>c>b"},
	{"abcdef", "abcfxde", {1, 0, 0, 1}, ">f+x"},
	{"abcdef", "eBcdf", {0, 1, 1, 1}, "-a>e~b"},
	{"abcdef", "Eabcdf", {0, 0, 1, 1}, "~e"}, /* changed and moved: one entry, counted for both */
	{"abc", "xyz", {3, 3, 0, 0}, "-a-b-c+x+y+z"},
	{"abcdefgh", "efghabcd", {0, 0, 0, 4}, NULL},
};

static void entries_text(const struct policy_diff_list *l, char *ret, size_t size)
{
	size_t i, n = 0;

	*ret = 0;
	for (i = 0; i < l->count; i++)
		n += (size_t)snprintf(ret + n, size - n, "%c%s", "+-~>"[l->entries[i].change], l -> entries[i].name);
}

Test(policy_diff, rules)
{
	const struct rules_case *c;
	char text[256];

	for (c = rules_cases; c < rules_cases + ARRAY_SIZE(rules_cases); c++) {
		_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
		_cleanup_(side_done) struct side old = {}, new = {};

		rules_make(&old, c->before);
		rules_make(&new, c->after);
		d = compare(&old, &new, true);
		entries_text(&d->part[POLICY_DIFF_RULES], text, sizeof(text));
		cr_expect(!memcmp(d->part[POLICY_DIFF_RULES].changes, c->changes, sizeof(c->changes)), "%s to %s: %s",
			  c->before, c->after, text);
		if (c->entries)
			cr_expect_str_eq(text, c->entries, "%s to %s: %s", c->before, c->after, text);
		cr_expect_eq(policy_diff_is_empty(d), !strcmp(c->before, c->after));
	}
}

/* Places, and the notes that say what changed. */
Test(policy_diff, rule_entry)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
	_cleanup_(side_done) struct side old = {}, new = {};
	const struct policy_diff_entry *e;

	rules_make(&old, "abcdef");
	rules_make(&new, "Eabcdf");
	d = compare(&old, &new, true);
	e = &d->part[POLICY_DIFF_RULES].entries[0];
	cr_expect(e->moved && e->before == 4 && e->after == 0);
	cr_assert_eq(e->n_notes, 2);
	cr_expect_str_eq(e->notes[0], "-service: tcp/101");
	cr_expect_str_eq(e->notes[1], "+service: tcp/69");
}

/* The longest subsequence that keeps its order, by trying all. */
static size_t longest(const char *after, size_t n)
{
	unsigned int set, i;
	size_t best = 0, count;
	char last;

	for (set = 0; set < 1u << n; set++) {
		for (i = 0, last = 0, count = 0; i < n; i++) {
			if (!(set >> i & 1))
				continue;
			if (after[i] < last)
				break;
			last = after[i];
			count++;
		}
		if (i == n)
			best = max(best, count);
	}
	return best;
}

Test(policy_diff, moves_are_fewest)
{
	const size_t n = 8;
	unsigned int seed = 20261121, round, i, k;
	_cleanup_(side_done) struct side old = {};
	char after[] = "abcdefgh", swap;

	rules_make(&old, "abcdefgh");
	for (round = 0; round < 200; round++) {
		_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
		_cleanup_(side_done) struct side new = {};

		for (i = 0; i < n; i++) {
			k = (unsigned int)rand_r(&seed) % n;
			swap = after[i];
			after[i] = after[k];
			after[k] = swap;
		}
		rules_make(&new, after);
		d = compare(&old, &new, false);
		cr_expect_eq(d->part[POLICY_DIFF_RULES].changes[POLICY_MOVED], n - longest(after, n), "%s", after);
	}
}

/* ------------------------------------------------------------------- everything else */

#define BASE                                                                                                           \
	"sluice: 1\nname: t\ntenants: [red, blue]\ninterfaces: [{name: eth0, vlans: {100: red}}]\n"                    \
	"segments:\n  a: [10.1.0.0/16]\n  b: {include: [10.2.0.0/16], except: [10.2.0.1]}\n  u: {segments: [a]}\n"     \
	"services:\n  web: [tcp/80, tcp/443]\n"                                                                        \
	"rules:\n  - {name: r, from: [a, b, u], to: any, service: web, action: allow}\n"

/* Replaces `from` by `to` once. */
static void text_with(char *ret, size_t size, const char *from, const char *to)
{
	const char *at = strstr(BASE, from);

	cr_assert(at, "%s", from);
	snprintf(ret, size, "%.*s%s%s", (int)(at - BASE), BASE, to, at + strlen(from));
}

static const struct part_case {
	const char *from;
	const char *to;
	enum policy_diff_part part;
	const char *entry; /* sign and name */
	const char *notes; /* one after the other */
	size_t prefixes_added;
	size_t prefixes_removed;
} part_cases[] = {
	{"[10.1.0.0/16]", "[10.1.0.0/17, 10.3.0.0/16]", POLICY_DIFF_SEGMENTS, "~a",
	 "-10.1.0.0/16+10.1.0.0/17+10.3.0.0/16", 2, 1},
	{"except: [10.2.0.1]", "except: [10.2.0.2]", POLICY_DIFF_SEGMENTS, "~b", "-except 10.2.0.1+except 10.2.0.2", 1,
	 1},
	{"u: {segments: [a]}", "u: {segments: [a, b]}", POLICY_DIFF_SEGMENTS, "~u", "+segment b", 0, 0},
	{"  u: {segments: [a]}\n", "  u: {segments: [a]}\n  v: [10.9.0.0/16]\n", POLICY_DIFF_SEGMENTS, "+v", "", 1, 0},
	{"[tcp/80, tcp/443]", "[tcp/80]", POLICY_DIFF_SERVICES, "~web", "-web: [tcp/80, tcp/443]+web: [tcp/80]", 0, 0},
	{"vlans: {100: red}", "vlans: {100: blue}", POLICY_DIFF_INTERFACES, "~eth0",
	 "-vlans: {100: red}+vlans: {100: blue}", 0, 0},
	{"[{name: eth0", "[{name: eth1}, {name: eth0", POLICY_DIFF_INTERFACES, "+eth1", "", 0, 0},
	{"[red, blue]", "[green, red, blue]", POLICY_DIFF_TENANTS, "+green", "", 0, 0},
	{"[red, blue]", "[red]", POLICY_DIFF_TENANTS, "-blue", "", 0, 0},
	{"name: t\n", "name: u\n", POLICY_DIFF_SETTINGS, "~name", "-t+u", 0, 0},
	{"name: t\n", "name: t\nmode: audit\n", POLICY_DIFF_SETTINGS, "~mode", "-enforce+audit", 0, 0},
	{"name: t\n", "name: t\ndefault: allow\n", POLICY_DIFF_SETTINGS, "~default", "-deny+allow", 0, 0},
	{"name: t\n", "name: t\nfailsafe: []\n", POLICY_DIFF_SETTINGS, "~failsafe", "+failsafe: []", 0, 0},
	{"name: t\n", "name: t\nconntrack: {udp: 31s}\n", POLICY_DIFF_SETTINGS, "~conntrack", "+conntrack:+udp: 31s", 0,
	 0},
	{"[red, blue]", "[blue, red]", POLICY_DIFF_SETTINGS, "~digest", "~the order of tenants, interfaces or items", 0,
	 0},
};

static void notes_text(const struct policy_diff_entry *e, char *ret, size_t size)
{
	size_t i, n = 0;

	*ret = 0;
	for (i = 0; i < e->n_notes; i++)
		n += (size_t)snprintf(ret + n, size - n, "%s", e->notes[i]);
}

Test(policy_diff, parts)
{
	const struct part_case *c;
	char after[2048], text[512];

	for (c = part_cases; c < part_cases + ARRAY_SIZE(part_cases); c++) {
		_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
		const struct policy_diff_list *l;

		text_with(after, sizeof(after), c->from, c->to);
		d = compare_text(BASE, after);
		l = &d->part[c->part];
		entries_text(l, text, sizeof(text));
		cr_expect_str_eq(text, c->entry, "'%s' to '%s': %s", c->from, c->to, text);
		if (!l->count)
			continue;
		notes_text(&l->entries[0], text, sizeof(text));
		cr_expect_str_eq(text, c->notes, "'%s' to '%s': %s", c->from, c->to, text);
		cr_expect(l->entries[0].prefixes_added == c->prefixes_added &&
				  l->entries[0].prefixes_removed == c->prefixes_removed,
			  "'%s' to '%s': +%zu -%zu", c->from, c->to, l->entries[0].prefixes_added,
			  l->entries[0].prefixes_removed);
	}
}

/* A rule whose text is the same has changed with its segment, and says so. */
Test(policy_diff, contents)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
	const struct policy_diff_list *l;
	char after[2048];

	text_with(after, sizeof(after), "[10.1.0.0/16]", "[10.1.0.0/17]");
	d = compare_text(BASE, after);
	l = &d->part[POLICY_DIFF_RULES];
	cr_assert_eq(l->count, 1);
	cr_expect(l->entries[0].change == POLICY_CHANGED && l->entries[0].n_notes == 1);
	cr_expect_str_eq(l->entries[0].notes[0], "~what its segments or services hold");
}

Test(policy_diff, same)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = compare_text(BASE, BASE);

	cr_expect(policy_diff_is_empty(d) && !d->rules_only);
}

/* Nothing in force: all is new. */
Test(policy_diff, first)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
	_cleanup_(side_done) struct side new = {};

	side_make(&new, BASE);
	d = compare(NULL, &new, true);
	cr_expect(!d->rules_only);
	cr_expect_eq(d->part[POLICY_DIFF_RULES].changes[POLICY_ADDED], 1);
	cr_expect_eq(d->part[POLICY_DIFF_SEGMENTS].changes[POLICY_ADDED], 3);
	cr_expect_eq(d->part[POLICY_DIFF_SERVICES].changes[POLICY_ADDED], 1);
	cr_expect_eq(d->part[POLICY_DIFF_INTERFACES].changes[POLICY_ADDED], 1);
	cr_expect_eq(d->part[POLICY_DIFF_TENANTS].changes[POLICY_ADDED], 2);
	cr_expect_eq(d->part[POLICY_DIFF_SETTINGS].changes[POLICY_ADDED], 3);
}

/* Only the bank is known: rules and the head are compared, and it says that this is all. */
Test(policy_diff, rules_only)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = NULL, *other = NULL;
	_cleanup_(side_done) struct side old = {}, new = {};
	char after[2048];

	side_make(&old, BASE);
	text_with(after, sizeof(after), "name: t\n", "name: t\nconntrack: {udp: 31s}\n");
	side_make(&new, after);
	d = compare(&old, &new, false);
	cr_expect(d->rules_only);
	cr_expect_eq(d->part[POLICY_DIFF_SETTINGS].count, 1);
	cr_expect_str_eq(d->part[POLICY_DIFF_SETTINGS].entries[0].name, "digest");
	other = compare(&old, &old, false);
	cr_expect(policy_diff_is_empty(other));
}

/* A segment that changes by many prefixes lists some and counts all. */
Test(policy_diff, many)
{
	_cleanup_(policy_diff_freep) struct policy_diff *d = NULL;
	const struct policy_diff_entry *e;
	char list[4096], after[8192];
	size_t i, n = 0;

	for (i = 0; i < 100; i++)
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%s10.50.%zu.0/24", i ? ", " : "[10.1.0.0/16, ",
				      i * 2);
	snprintf(list + n, sizeof(list) - n, "]");
	text_with(after, sizeof(after), "[10.1.0.0/16]", list);
	d = compare_text(BASE, after);
	cr_assert_eq(d->part[POLICY_DIFF_SEGMENTS].count, 1);
	e = &d->part[POLICY_DIFF_SEGMENTS].entries[0];
	cr_expect(e->prefixes_added == 100 && !e->prefixes_removed);
	cr_expect(e->n_notes == POLICY_DIFF_NOTES && e->n_unsaid == 100 - POLICY_DIFF_NOTES);
}
