// SPDX-License-Identifier: Apache-2.0
/*
 * policy_write(): what is written reads back to the same policy. The judge is the digest, which covers everything that
 * a policy says, and the second writing, which must be the same text.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/policy.h"
#include "reference.h"

static struct policy *load(const char *text)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	struct policy *p = NULL;
	int r = policy_load_text("t.yaml", text, strlen(text), &d, &p);

	if (r)
		policy_diagnostics_print(&d, stderr);
	cr_assert_eq(r, 0, "refused:\n%s", text);
	return p;
}

static char *write_text(const struct policy *p)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	cr_assert_eq(policy_write(p, out), 0);
	cr_assert_eq(fclose(out), 0);
	return text;
}

static void digest_of(const struct policy *p, const char *text, uint8_t ret_digest[32])
{
	_cleanup_(policy_tables_freep) struct policy_tables *t = NULL;
	struct error err = {};

	cr_assert_eq(policy_compile(p, &err, &t), 0, "%s:\n%s", err.text, text);
	memcpy(ret_digest, t->head.digest, 32);
}

/* Returns what was written. */
static char *round_trip(const char *text)
{
	_cleanup_(policy_freep) struct policy *p = load(text), *again = NULL;
	_cleanup_free_ char *second = NULL;
	uint8_t before[32], after[32];
	char *first = write_text(p);

	again = load(first);
	digest_of(p, text, before);
	digest_of(again, first, after);
	cr_assert(!memcmp(before, after, sizeof(before)), "another digest:\n%s\nis written as:\n%s", text, first);
	second = write_text(again);
	cr_assert_str_eq(first, second);
	return first;
}

/* Every construct, in its canonical form. */
static const char everything[] =
	"sluice: 1\n"
	"name: everything\n"
	"mode: audit\n"
	"default: allow\n"
	"tenants: [red, blue]\n"
	"failsafe: [tcp/22, icmpv6/router-solicitation, udp/68]\n"
	"\n"
	"interfaces:\n"
	"  - name: \"eth*\"\n"
	"    attach: tc\n"
	"    tenant: red\n"
	"    vlans: {100: red, 7: blue}\n"
	"    vnis: {16777215: red, 7001: blue}\n"
	"    antispoof: [a, u]\n"
	"  - name: eth1\n"
	"\n"
	"segments:\n"
	"  a: [10.0.0.0/8, \"fd00:10::/32\", 0.0.0.0/0, 10.1.1.1]\n"
	"  h:\n"
	"    include: [10.20.0.0/24]\n"
	"    except: [10.20.0.99]\n"
	"    tenant: red\n"
	"  u:\n"
	"    segments: [a]\n"
	"    include: [\"fe80::1\"]\n"
	"  v:\n"
	"    segments: [h, u]\n"
	"  empty: []\n"
	"\n"
	"services:\n"
	"  s: [tcp/80, udp/5000-5999, sctp, icmp/echo-request, icmp/3.4, icmp/77, gre, 99, any]\n"
	"  o: [{protocol: udp, ports: 1-2, source-ports: 1024-65535}, tcp/0-5, icmpv6]\n"
	"  tcp: [tcp/1]\n"
	"\n"
	"rules:\n"
	"  - name: r\n"
	"    tenant: red\n"
	"    from: [a, v, 1.2.3.4, \"fd00::/8\"]\n"
	"    to: any\n"
	"    service: [s, o, tcp/1]\n"
	"    action: allow\n"
	"    stateful: false\n"
	"    log: {every: 90s}\n"
	"\n"
	"  - name: q\n"
	"    from: any\n"
	"    to: 10.0.0.0/9\n"
	"    service: [tcp, {protocol: tcp}, udp]\n"
	"    action: deny\n"
	"    mode: audit\n"
	"    log: true\n"
	"\n"
	"conntrack:\n"
	"  max: 2M\n"
	"  on-full: stateless\n"
	"  pickup: 0\n"
	"  udp: 1500ms\n"
	"  syn-cookies: never\n"
	"  syn-threshold: 10k\n"
	"  syn-per-source: 7\n"
	"\n"
	"storage:\n"
	"  portals:\n"
	"    - {address: \"::1\", port: 4420}\n"
	"    - {address: 10.0.0.1, port: 4420, tls: allowed}\n"
	"    - {address: 10.0.0.1, port: 4421, tls: required}\n"
	"  steering: none\n"
	"  reactors: [3, 0]\n"
	"  transport: {in-capsule: 0, max-h2c-data: 20KiB, r2t: 4KiB, r2ts: 8, alignment: 128}\n"
	"  subsystems:\n"
	"    - nqn: \"nqn.2026-11.io.example:d\"\n"
	"      hosts: [\"nqn.2026-11.io.example:h\"]\n"
	"      namespaces:\n"
	"        - {id: 1, backend: file, path: /x, size: 10GiB, block: 512, readonly: true}\n"
	"        - {id: 2, backend: memory, size: 4097KiB, block: 512}\n"
	"    - nqn: \"nqn.2026-11.io.example:e\"\n"
	"      hosts:\n"
	"        - {nqn: \"nqn.2026-11.io.example:h\"}\n"
	"        - {nqn: \"nqn.2026-11.io.example:i\", dhchap-key: /etc/i.key}\n"
	"        - {nqn: \"nqn.2026-11.io.example:k\", psk: /etc/k.psk}\n"
	"        - {nqn: \"nqn.2026-11.io.example:g\", dhchap-key: /etc/g.key, psk: generated}\n"
	"        - {nqn: \"nqn.2026-11.io.example:j\", dhchap-key: /etc/j.key, dhchap-controller-key: \"/etc/a b\"}\n"
	"      namespaces: []\n"
	"    - nqn: \"nqn.2026-11.io.example:f\"\n"
	"      namespaces: []\n"
	"  limits:\n"
	"    - name: tenant-red\n"
	"      from: [a, v, 1.2.3.4, \"fd00::/8\"]\n"
	"      iops: 50k\n"
	"      bandwidth: 1GiB/s\n"
	"    - name: d1\n"
	"      hosts: [\"nqn.2026-11.io.example:h\", \"nqn.2026-11.io.example:i\"]\n"
	"      subsystem: \"nqn.2026-11.io.example:d\"\n"
	"      namespace: 1\n"
	"      bandwidth: 5000/s\n";

Test(policy_write, every_construct_in_its_canonical_form)
{
	_cleanup_free_ char *written = round_trip(everything);

	cr_assert_str_eq(written, everything);
}

Test(policy_write, defaults_are_left_out)
{
	_cleanup_free_ char *written = round_trip(
		"sluice: 1\nmode: enforce\nfailsafe: [tcp/22, udp/68, udp/546, icmpv6/133, icmpv6/134, icmpv6/135, "
		"icmpv6/136, icmpv6/137]\ninterfaces: [{name: e, attach: auto}]\n"
		"rules: [{name: r, from: any, to: 10.0.0.0/8, service: any, action: allow, stateful: true, mode: "
		"enforce, "
		"log: false}]\nconntrack: {max: 1048576, udp: 30s}\n");

	cr_assert_str_eq(written, "sluice: 1\ndefault: deny\n\ninterfaces:\n  - name: e\n\nrules:\n  - name: r\n"
				  "    from: any\n    to: 10.0.0.0/8\n    action: allow\n");
}

Test(policy_write, no_failsafe_is_not_the_default_one)
{
	_cleanup_free_ char *written = round_trip("sluice: 1\nfailsafe: []\n");

	cr_assert_str_eq(written, "sluice: 1\ndefault: deny\nfailsafe: []\n");
}

/* Quotes, backslashes, controls, what YAML takes for line breaks, and text of other alphabets. */
Test(policy_write, text_survives_whatever_it_holds)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	_cleanup_free_ char *written = round_trip(
		"sluice: 1\ninterfaces: [{name: \"a\\\"b\\\\\\x01\\u0085#:ü\\u2028🐙\"}]\n"
		"storage:\n  portals: [{address: 10.0.0.1}]\n  subsystems:\n    - nqn: nqn.2026-11.io.example:x\n"
		"      namespaces: [{id: 1, backend: file, path: \" /a b/ü\\n\\tz: #\\uFEFF\\u007f \"}]\n");

	p = load(written);
	cr_assert_str_eq(p->interfaces[0].name, "a\"b\\\x01\xc2\x85#:ü\xe2\x80\xa8🐙");
	cr_assert_str_eq(p->storage.subsystems[0].namespaces[0].path, " /a b/ü\n\tz: #\xef\xbb\xbf\x7f ");
}

Test(policy_write, long_lists_wrap)
{
	char text[65536], *c = text;
	const char *line, *end;
	int i;

	c += sprintf(c, "sluice: 1\nsegments:\n  s: [");
	for (i = 0; i < 500; i++)
		c += sprintf(c, "%s10.%d.%d.0/24, \"fd00:%x::/48\"", i ? ", " : "", i / 256, i % 256, i);
	sprintf(c, "]\n");
	{
		_cleanup_free_ char *written = round_trip(text);

		for (line = written; *line; line = end + 1) {
			end = strchr(line, '\n');
			cr_assert_leq(end - line, 104);
		}
	}
}

Test(policy_write, examples_come_back)
{
	glob_t found;
	size_t i;

	cr_assert_eq(glob("policies/*.yaml", 0, NULL, &found), 0,
		     "no policies here; run in the root of the repository");
	cr_assert_eq(glob("tests/fuzz/corpus/fuzz_policy/*.yaml", GLOB_APPEND, NULL, &found), 0);
	for (i = 0; i < found.gl_pathc; i++) {
		_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
		_cleanup_(policy_freep) struct policy *p = NULL;
		_cleanup_free_ char *text = NULL, *again = NULL;

		if (strstr(found.gl_pathv[i], ".cases.yaml"))
			continue;
		cr_assert_eq(policy_load(found.gl_pathv[i], &d, &p), 0, "%s", found.gl_pathv[i]);
		text = write_text(p);
		again = round_trip(text);
		cr_assert_str_eq(text, again, "%s", found.gl_pathv[i]);
	}
	globfree(&found);
}

Test(policy_write, random_policies_come_back)
{
	uint64_t state = reference_seed();
	int i;

	for (i = 0; i < 1000; i++) {
		_cleanup_(reference_done) struct reference_policy reference;
		_cleanup_free_ char *text = NULL, *written = NULL;

		reference_generate(&reference, &state);
		text = reference_yaml(&reference);
		written = round_trip(text);
	}
}

Test(policy_write, a_full_disk_is_an_error)
{
	_cleanup_(policy_freep) struct policy *p = load("sluice: 1\nsegments: {a: [1::1]}\n");
	_cleanup_fclose_ FILE *full = fopen("/dev/full", "w");
	char small[8];
	FILE *out = fmemopen(small, sizeof(small), "w");

	cr_assert_eq(policy_write(p, full), -ENOSPC);
	setbuf(out, NULL);
	cr_assert_lt(policy_write(p, out), 0);
	fclose(out);
}
