// SPDX-License-Identifier: Apache-2.0
/*
 * The command line from outside: the built binary is run and its exit status, output and complaints are looked at. Only
 * commands that need neither root nor a kernel.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/sluice-unit-cli.XXXXXX";
static char binary[PATH_MAX];

static const char policy[] = "sluice: 1\n"
			     "name: unit\n"
			     "interfaces: [{name: eth0, vlans: {100: red}}]\n"
			     "tenants: [red]\n"
			     "segments:\n"
			     "  a: [10.1.0.0/16]\n"
			     "  b: [10.2.0.0/16]\n"
			     "  c: {include: [10.1.0.0/16], tenant: red}\n"
			     "rules:\n"
			     "  - {name: web, from: a, to: b, service: tcp/443, action: allow}\n"
			     "  - {name: no, from: b, to: a, service: udp/53, action: deny}\n"
			     "  - {name: red, tenant: red, from: c, to: any, service: tcp/1, action: allow}\n";

static void write_file(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	cr_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

/* The binary lies two folders above this program. */
static void setup(void)
{
	ssize_t n = readlink("/proc/self/exe", binary, sizeof(binary) - 1);
	int i;

	cr_assert(n > 0);
	binary[n] = 0;
	for (i = 0; i < 3; i++)
		*strrchr(binary, '/') = 0;
	strcat(binary, "/sluice");
	cr_assert(!access(binary, X_OK), "%s is not built", binary);
	cr_assert(mkdtemp(folder) != NULL);
	write_file("policy.yaml", policy);
}

static void teardown(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert(!system(command));
}

TestSuite(cli, .init = setup, .fini = teardown);

/* Runs `cd folder && sluice ARGUMENTS` and returns the exit status; both outputs together in `text`. */
static char text[65536];

static int sluice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sluice(const char *fmt, ...)
{
	char arguments[1024], command[8192];
	va_list ap;
	FILE *f;
	size_t n;
	int status;

	va_start(ap, fmt);
	vsnprintf(arguments, sizeof(arguments), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "cd %s && %s %s 2>&1", folder, binary, arguments);
	f = popen(command, "r");
	cr_assert(f != NULL);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	status = pclose(f);
	cr_assert(WIFEXITED(status), "sluice %s was ended by a signal", arguments);
	return WEXITSTATUS(status);
}

#define SAYS(part) cr_assert(strstr(text, part), "it does not say '%s' but: %s", part, text)

Test(cli, wrong_usage_is_two)
{
	static const char *const rows[] = {"",
					   "nonsense",
					   "check",
					   "check a b",
					   "check --nonsense policy.yaml",
					   "explain policy.yaml",
					   "apply",
					   "status extra",
					   "detach extra",
					   "events extra",
					   "version extra --x",
					   "help nonsense",
					   "--nonsense",
					   "io",
					   "io nonsense",
					   "target"};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(sluice("%s", rows[i]) == 2, "sluice %s: %s", rows[i], text);
}

Test(cli, unknown_command_suggests_the_nearest)
{
	sluice("stats");
	SAYS("did you mean status?");
	sluice("qqqqqqqq");
	SAYS("sluice help");
}

Test(cli, every_command_has_help)
{
	static const char *const rows[] = {"check",  "apply",  "status", "explain", "events", "import",
					   "detach", "target", "io",	 "version", "help"};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_expect(sluice("help %s", rows[i]) == 0, "help %s", rows[i]);
		SAYS(rows[i]);
		SAYS("usage: sluice ");
		cr_expect(sluice("%s --help", rows[i]) == 0, "%s --help", rows[i]);
		SAYS("usage: sluice ");
	}
	cr_expect(sluice("help") == 0);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		SAYS(rows[i]);
}

Test(cli, check_accepts)
{
	cr_expect(sluice("check policy.yaml") == 0, "%s", text);
	SAYS("unit");
}

Test(cli, check_reports_all_errors_with_places)
{
	write_file("bad.yaml", "sluice: 1\nname: bad\ninterfaces: [{name: eth0}]\nrules:\n"
			       "  - {name: x, from: nowhere, to: any, action: maybe}\n  - {name: y, from: 10.0.0.0/8, "
			       "to: any, service: tcp/70000, "
			       "action: allow}\n");
	cr_expect(sluice("check bad.yaml") == 2);
	SAYS("bad.yaml:5:");
	SAYS("bad.yaml:6:");
	cr_expect(sluice("check missing.yaml") == 2);
	SAYS("missing.yaml");
}

static struct json_object *parsed(void)
{
	struct json_object *o = json_tokener_parse(text);

	cr_assert(o != NULL, "no JSON: %s", text);
	return o;
}

static const char *field(struct json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

Test(cli, cases_pass_fail_and_are_refused)
{
	struct json_object *o, *list;

	write_file("good.cases.yaml",
		   "cases:\n"
		   "  - {from: 10.1.0.1, to: 10.2.0.1, service: tcp/443, verdict: allow, rule: web}\n"
		   "  - {name: dns, from: 10.2.0.1, to: 10.1.0.1, service: udp/53, source-port: 5, verdict: deny}\n"
		   "  - {from: 10.1.0.1, to: 10.9.0.1, service: tcp/1, tenant: red, verdict: allow, rule: red}\n"
		   "  - {from: 10.1.0.1, to: 10.9.0.1, service: tcp/1, verdict: deny, rule: default}\n");
	cr_expect(sluice("check policy.yaml --cases good.cases.yaml") == 0, "%s", text);
	SAYS("4 cases, 0 failed");

	write_file("wrong.cases.yaml",
		   "cases:\n"
		   "  - {from: 10.1.0.1, to: 10.2.0.1, service: tcp/443, verdict: deny}\n"
		   "  - {from: 10.1.0.1, to: 10.2.0.1, service: tcp/443, verdict: allow, rule: no}\n"
		   "  - {from: 10.1.0.1, to: 10.2.0.1, service: tcp/443, verdict: allow}\n");
	cr_expect(sluice("check policy.yaml --cases wrong.cases.yaml") == 1);
	SAYS("wrong.cases.yaml:2:");
	SAYS("wrong.cases.yaml:3:");
	SAYS("3 cases, 2 failed");
	cr_expect(sluice("check policy.yaml --cases wrong.cases.yaml --json") == 1);
	o = parsed();
	list = json_object_object_get(o, "cases");
	cr_expect(json_object_array_length(list) == 3);
	cr_expect(!json_object_get_boolean(json_object_object_get(json_object_array_get_idx(list, 0), "ok")));
	cr_expect(json_object_get_boolean(json_object_object_get(json_object_array_get_idx(list, 2), "ok")));
	json_object_put(o);
}

Test(cli, case_files_are_refused_with_places)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", "cases"},
		{"cases: 5\n", "cases:1:"},
		{"cases:\n  - 5\n", ":2:"},
		{"cases:\n  - {from: 10.0.0.1}\n", "needs from"},
		{"cases:\n  - {from: 10.0.0.1, to: 10.0.0.2, service: tcp/1, verdict: maybe}\n", "allow, deny, reject"},
		{"cases:\n  - {from: x, to: 10.0.0.2, service: tcp/1, verdict: deny}\n", ":2:"},
		{"cases:\n  - {from: 10.0.0.1, to: 10.0.0.2, service: tcp/99999, verdict: deny}\n", ":2:"},
		{"cases:\n  - {from: 10.0.0.1, to: 10.0.0.2, service: tcp/1, tenant: pink, verdict: deny}\n", "pink"},
		{"cases:\n  - {from: 10.0.0.1, to: 10.0.0.2, service: tcp/1, verdict: deny, source-port: 65536}\n",
		 "65535"},
		{"cases:\n  - {from: [10.0.0.1], to: 10.0.0.2, service: tcp/1, verdict: deny}\n", "plain words"},
		{"cases:\n  - {from: 10.0.0.1, to: 10.0.0.2, service: tcp/1, verdict: deny, colour: red}\n",
		 "unknown key"},
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		write_file("cases", rows[i].text);
		cr_expect(sluice("check policy.yaml --cases cases") == 2, "row %zu: %s", i, text);
		cr_expect(strstr(text, rows[i].says), "row %zu does not say '%s' but: %s", i, rows[i].says, text);
	}
}

Test(cli, explain_names_rule_and_mismatches)
{
	struct json_object *o, *earlier;

	cr_expect(sluice("explain policy.yaml --from 10.2.0.1 --to 10.1.0.1 --service udp/53") == 0, "%s", text);
	SAYS("deny");
	SAYS("rule no at policy.yaml:11");
	cr_expect(sluice("explain policy.yaml --from 10.1.0.1 --to 10.2.0.1 --service tcp/80 --json") == 0);
	o = parsed();
	cr_expect_str_eq(field(o, "action"), "deny");
	cr_expect(json_object_get_boolean(json_object_object_get(o, "default")));
	earlier = json_object_object_get(o, "earlier");
	cr_expect(json_object_array_length(earlier) == 3);
	cr_expect_str_eq(field(json_object_array_get_idx(earlier, 0), "mismatch"), "service");
	cr_expect_str_eq(field(json_object_array_get_idx(earlier, 1), "mismatch"), "source");
	cr_expect_str_eq(field(json_object_array_get_idx(earlier, 2), "mismatch"), "tenant");
	json_object_put(o);
	cr_expect(sluice("explain policy.yaml --from 10.1.0.1 --to 10.9.9.9 --service tcp/1 --tenant red --json") == 0);
	o = parsed();
	cr_expect_str_eq(field(o, "rule"), "red");
	json_object_put(o);
	cr_expect(sluice("explain policy.yaml --from ten --to 10.9.9.9 --service tcp/1") == 2);
	cr_expect(sluice("explain policy.yaml --from 10.1.0.1 --to 10.9.9.9 --service nonsense") == 2);
}

/* 3,000 rules of which some match but for the service: a screenful, and --all and --json have every one. */
Test(cli, explain_folds_thousands_of_rules)
{
	static char policy_text[1 << 20];
	char *c = policy_text;
	struct json_object *o;
	size_t i, lines = 0;

	c += sprintf(c, "sluice: 1\nrules:\n");
	for (i = 0; i < 3000; i++)
		c += sprintf(c, "  - {name: r%zu, from: %s, to: 10.%zu.0.0/16, service: tcp/%zu, action: allow}\n", i,
			     i % 3 ? "10.1.0.0/16" : "10.2.0.0/16", i % 50, i + 1);
	write_file("many.yaml", policy_text);
	cr_expect(sluice("explain many.yaml --from 10.1.0.1 --to 10.7.0.1 --service udp/1") == 0, "%s", text);
	for (i = 0; text[i]; i++)
		lines += text[i] == '\n';
	cr_expect_leq(lines, 40, "%s", text);
	SAYS("1,000 earlier rules: source is not in `from`");
	SAYS("1,960 earlier rules: source fits, destination is not in `to`");
	SAYS("40 earlier rules: source and destination fit; the last 24 of them follow");
	SAYS("udp/1 is not tcp/2958");
	cr_expect(sluice("explain many.yaml --all --from 10.1.0.1 --to 10.7.0.1 --service udp/1 | wc -l") == 0);
	cr_expect_eq(atoi(text), 3003, "%s", text);
	cr_expect(sluice("explain many.yaml --json --from 10.1.0.1 --to 10.7.0.1 --service udp/1 >all.json; jq -c "
			 "'{n: (.earlier | length), why: .earlier[2].why}' all.json") == 0);
	o = parsed();
	cr_expect_eq(json_object_get_int(json_object_object_get(o, "n")), 3000);
	cr_expect_str_eq(field(o, "why"), "10.7.0.1 is not in 10.2.0.0/16");
	json_object_put(o);
}

Test(cli, nothing_applied_is_three)
{
	cr_expect(sluice("--root /sys/fs/bpf/sluice-unit-cli status") == 3, "%s", text);
	SAYS("nothing is applied");
	cr_expect(sluice("--root /sys/fs/bpf/sluice-unit-cli events") == 3);
}
