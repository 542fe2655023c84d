// SPDX-License-Identifier: Apache-2.0
/* Policies that are directories of files: what is read in which order, what merges, and where errors are said to be. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/model.h"

static char folder[64];
static const char *written[16];
static size_t n_written;

static void setup(void)
{
	n_written = 0;
	strcpy(folder, "/tmp/policy-directory-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

static void path_of(const char *name, char path[256])
{
	snprintf(path, 256, "%s/%s", folder, name);
}

static void teardown(void)
{
	char path[256];

	while (n_written) {
		path_of(written[--n_written], path);
		remove(path);
	}
	cr_expect_eq(rmdir(folder), 0);
}

TestSuite(policy_directory, .init = setup, .fini = teardown);

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	path_of(name, path);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fputs(text, f);
	fclose(f);
	written[n_written++] = name;
}

/* Loads the folder; findings are given with its name cut off. */
static int load(struct policy **ret_policy, char *found, size_t size)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	int r = policy_load(folder, &d, ret_policy);
	size_t i, n = 0;

	found[0] = '\0';
	for (i = 0; i < d.count && n < size; i++) {
		const char *file = d.items[i].place.file, *text = d.items[i].text;

		cr_assert(!strncmp(file, folder, strlen(folder)), "%s", file);
		file += strlen(folder) + (file[strlen(folder)] == '/');
		n += (size_t)snprintf(found + n, size - n, "%s:%u:%u: %s\n", file, d.items[i].place.line,
				      d.items[i].place.column, text);
	}
	return r;
}

/* As load(), of a folder that must be refused with these findings; FOLDER in them stands for its name. */
static void refused(const char *expected)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	char found[4096], wanted[4096] = "";
	const char *c, *next;

	cr_expect_eq(load(&p, found, sizeof(found)), -EINVAL);
	cr_expect_null(p);
	for (c = expected; (next = strstr(c, "FOLDER")); c = next + strlen("FOLDER")) {
		strncat(wanted, c, (size_t)(next - c));
		strcat(wanted, folder);
	}
	strcat(wanted, c);
	cr_expect(!strcmp(found, wanted), "found:\n%s\nexpected:\n%s", found, wanted);
}

Test(policy_directory, mappings_merge_and_lists_are_appended_in_name_order)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	char found[4096];

	/* Written in another order than that of their names; used before the file that defines them. */
	put("20-b.yaml", "sluice: 1\nrules: [{name: third, from: a, to: c, service: s, action: allow}]\n"
			 "segments: {b: [\"1::2\"]}\ninterfaces: [{name: e1}]\nservices: {s: [tcp/1]}\n"
			 "failsafe: []\ntenants: [blue]\n");
	put("100-c.yaml", "sluice: 1\nrules: [{name: second, from: b, to: a, tenant: blue, action: deny}]\n"
			  "segments: {c: [\"1::3\"]}\ninterfaces: [{name: e9, vlans: {1: blue, 2: red}}]\n");
	put("00-a.yaml", "sluice: 1\nname: n\nmode: audit\ndefault: allow\nsegments: {a: [\"1::1\"]}\ntenants: [red]\n"
			 "rules: [{name: first, from: c, to: a, service: udp, action: deny}]\n");
	cr_assert_eq(load(&p, found, sizeof(found)), 0, "%s", found);
	cr_expect_str_eq(found, "");
	cr_assert_eq(p->n_rules, 3);
	cr_expect_str_eq(policy_rule_name(p, 0), "first");
	cr_expect_str_eq(policy_rule_name(p, 1), "second");
	cr_expect_str_eq(policy_rule_name(p, 2), "third");
	cr_assert_eq(p->n_interfaces, 2);
	cr_expect_str_eq(p->interfaces[0].name, "e9");
	cr_expect_str_eq(p->interfaces[1].name, "e1");
	cr_assert_eq(p->n_tenants, 3);
	cr_expect_str_eq(p->tenants[1], "red");
	cr_expect_str_eq(p->tenants[2], "blue");
	cr_expect(p->audit && p->default_allow && !p->failsafe->n_items);
	cr_expect_str_eq(p->name, "n");
	cr_expect(strstr(policy_rule_place(p, 1).file, "/100-c.yaml"));
}

Test(policy_directory, what_two_files_define_is_named_with_both_places)
{
	put("a.yaml",
	    "sluice: 1\nname: n\nsegments: {s: [\"1::1\"]}\nservices: {v: [tcp/1]}\ntenants: [t]\n"
	    "interfaces: [{name: e}]\nrules: [{name: r, from: s, to: any, service: v, action: deny}]\n"
	    "conntrack: {}\nfailsafe: []\nmode: audit\ndefault: deny\nstorage: {portals: [], subsystems: []}\n");
	put("b.yaml",
	    "sluice: 1\nname: m\nsegments: {s: [\"1::1\"]}\nservices: {v: [tcp/1]}\ntenants: [t]\n"
	    "interfaces: [{name: e}]\nrules: [{name: r, from: s, to: any, service: v, action: deny}]\n"
	    "conntrack: {}\nfailsafe: []\nmode: audit\ndefault: deny\nstorage: {portals: [], subsystems: []}\n");
	refused("b.yaml:2:7: 'name' is also in FOLDER/a.yaml:2; keep one\n"
		"b.yaml:3:12: segment 's' is defined twice, first at FOLDER/a.yaml:3; rename or remove one\n"
		"b.yaml:4:12: service 'v' is defined twice, first at FOLDER/a.yaml:4; rename or remove one\n"
		"b.yaml:5:11: tenant 't' is defined twice, first at FOLDER/a.yaml:5; rename or remove one\n"
		"b.yaml:6:21: interface 'e' is defined twice, first at FOLDER/a.yaml:6; remove one\n"
		"b.yaml:7:16: rule 'r' is defined twice, first at FOLDER/a.yaml:7; rename or remove one\n"
		"b.yaml:8:12: 'conntrack' is also in FOLDER/a.yaml:8; keep one\n"
		"b.yaml:9:11: 'failsafe' is also in FOLDER/a.yaml:9; keep one\n"
		"b.yaml:10:7: 'mode' is also in FOLDER/a.yaml:10; keep one\n"
		"b.yaml:11:10: 'default' is also in FOLDER/a.yaml:11; keep one\n"
		"b.yaml:12:10: 'storage' is also in FOLDER/a.yaml:12; keep one\n");
}

Test(policy_directory, errors_of_every_file_are_reported_at_once)
{
	put("a.yaml", "sluice: 1\nsegments: [\n");
	put("b.yaml", "sluice: 1\nrlues: []\nrules: [{name: r, from: defined-in-a, to: any, action: alow}]\n");
	put("c.yaml", "");
	put("d.yaml", "# nothing but words\n");
	put("e.yaml", "rules: []\n");
	put("f.yaml", "sluice: 1\nsegments: {x: [10.0.0.1/8]}\n");
	refused("a.yaml:3:1: the file ends inside [...] or {...}; close every bracket\n"
		"b.yaml:2:1: unknown key 'rlues' in the policy; did you mean 'rules'?\n"
		"b.yaml:3:56: action cannot be 'alow'; choose allow | deny | reject; did you mean 'allow'?\n"
		"c.yaml:1:1: the file is empty; begin with 'sluice: 1'\n"
		"d.yaml:2:1: the file is empty; begin with 'sluice: 1'\n"
		"e.yaml:1:1: the policy has no 'sluice'; begin with 'sluice: 1'\n"
		"f.yaml:2:16: prefix 10.0.0.1/8 has host bits set; write 10.0.0.0/8\n");
}

Test(policy_directory, a_name_that_no_file_defines_is_an_error_of_the_file_that_uses_it)
{
	put("a.yaml",
	    "sluice: 1\nsegments: {trainers: [\"1::1\"]}\nrules: [{name: q, from: trainers, to: any, action: deny}]\n");
	put("b.yaml", "sluice: 1\nrules: [{name: r, from: trianers, to: any, action: allow}]\n");
	refused("b.yaml:2:25: segment 'trianers' is not defined; did you mean 'trainers'?\n");
}

Test(policy_directory, other_files_are_left_out)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	char found[4096];

	put("a.yaml", "sluice: 1\nname: n\n");
	put("a.cases.yaml", "not a policy");
	put(".hidden.yaml", "not a policy");
	put("README.md", "not a policy");
	put("a.yaml.bak", "not a policy");
	put("b.yml", "not a policy");
	put(".yaml", "not a policy");
	cr_assert_eq(load(&p, found, sizeof(found)), 0, "%s", found);
	cr_expect_str_eq(found,
			 "b.yml:0:0: not read: the files of a policy are called *.yaml; rename it or move it away\n");
}

Test(policy_directory, one_without_a_policy_is_refused)
{
	put("README.md", "not a policy");
	put("a.yml", "sluice: 1\n");
	refused(":0:0: no *.yaml file in this directory; name a policy\n"
		"a.yml:0:0: not read: the files of a policy are called *.yaml; rename it or move it away\n");
}

Test(policy_directory, a_directory_that_is_called_like_a_file_is_an_error)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	char found[4096], path[256];

	put("a.yaml", "sluice: 1\n");
	path_of("b.yaml", path);
	cr_assert_eq(mkdir(path, 0700), 0);
	written[n_written++] = "b.yaml";
	cr_expect_eq(load(&p, found, sizeof(found)), -EISDIR);
	cr_expect_str_eq(found, "b.yaml:0:0: Is a directory\n");
}

Test(policy_directory, a_missing_file_is_named)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(policy_freep) struct policy *p = NULL;

	cr_assert_eq(policy_load("/nowhere/p.yaml", &d, &p), -ENOENT);
	cr_assert_eq(d.errors, 1);
	cr_assert_str_eq(d.items[0].place.file, "/nowhere/p.yaml");
}
