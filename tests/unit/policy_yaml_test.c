// SPDX-License-Identifier: Apache-2.0
/*
 * Policies as text: what is read, and for what is wrong the place, the fact and the remedy. Rows are whole policies
 * with all diagnostics that they get, so that a diagnostic too many or too few fails as well.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/model.h"

struct row {
	const char *text;
	const char *found; /* lines as policy_diagnostics_print() writes them */
};

static char *load(const char *text, int *ret_r)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(policy_freep) struct policy *p = NULL;
	char *found = NULL;
	size_t length;
	FILE *out = open_memstream(&found, &length);

	*ret_r = policy_load_text("t.yaml", text, strlen(text), &d, &p);
	cr_assert_eq(*ret_r == 0, p != NULL);
	cr_assert_eq(*ret_r == -EINVAL, d.errors > 0);
	policy_diagnostics_print(&d, out);
	fclose(out);
	return found;
}

static void rows_check(const struct row *rows, size_t count)
{
	size_t i;
	int r;

	for (i = 0; i < count; i++) {
		_cleanup_free_ char *found = load(rows[i].text, &r);

		cr_expect(!strcmp(found, rows[i].found), "policy:\n%s\nfound:\n%s\nexpected:\n%s", rows[i].text, found,
			  rows[i].found);
	}
}

#define E(place, text) "t.yaml:" place ": error: " text "\n"
#define W(place, text) "t.yaml:" place ": warning: " text "\n"

Test(policy_yaml, top_level)
{
	static const struct row rows[] = {
		{"sluice: 1\n", ""},
		{"sluice: 2\n", E("1:9", "language version '2' is not known here; this sluice reads 'sluice: 1'")},
		{"name: x\n", E("1:1", "the policy has no 'sluice'; begin with 'sluice: 1'")},
		{"sluice: 1\ndefualt: deny\n",
		 E("2:1", "unknown key 'defualt' in the policy; did you mean 'default'?")},
		{"sluice: 1\ndefault: reject\n", E("2:10", "default cannot be 'reject'; choose deny | allow")},
		{"sluice: 1\nmode: audti\n",
		 E("2:7", "mode cannot be 'audti'; choose enforce | audit; did you mean 'audit'?")},
		{"sluice: 1\nname: [a]\n",
		 E("2:7", "name must be a single value, not a list; write it without brackets")},
		{"sluice: 1\nname: a b\n",
		 E("2:7", "policy name 'a b' is not usable; begin with a letter, then letters, digits, - _ .")},
		{"sluice: 1\nname: a\nname: b\n", E("3:1", "'name' is here twice, first on line 2; remove one")},
		{"[sluice]\n", E("1:1", "the policy must be a mapping, not a list; write key: value")},
		{"", E("1:1", "the file is empty; begin with 'sluice: 1'")},
		{"sluice: 1\nrules: {}\n",
		 E("2:8", "rules must be a list, not a mapping; begin each of its entries with '- '")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_yaml, yaml_that_is_refused)
{
	static const struct row rows[] = {
		{"sluice: 1\nname: &a x\n",
		 E("2:7", "anchors (&name) are not part of the policy language; write the value out")},
		{"sluice: 1\nname: *a\n", E("2:7", "aliases (*name) are not part of the policy language; write the "
						   "value out, or put a name that begins with * in quotes")},
		{"sluice: !!int 1\n", E("1:9", "tags (!name) are not part of the policy language; remove it, or use "
					       "'except' of a segment to leave addresses out")},
		{"sluice: 1\n---\nsluice: 1\n", E("2:1", "a second document; put it into a file of its own")},
		{"sluice: 1\nname: \"a\\0b\"\n", E("2:7", "text with a NUL character; remove it")},
		{"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n",
		 E("1:19", "nested too deep; a policy needs no more than 7 levels")},
		{"sluice: 1\nrules: [\n", E("3:1", "the file ends inside [...] or {...}; close every bracket")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_yaml, network)
{
	static const struct row rows[] = {
		{"sluice: 1\nsegments:\n  a: [10.0.0.1/8, 10.0.0.0/40]\n",
		 E("3:7", "prefix 10.0.0.1/8 has host bits set; write 10.0.0.0/8")
			 E("3:19", "prefix length 40 is out of range; use 0-32")},
		{"sluice: 1\nsegments:\n  a: [b]\n",
		 E("3:7", "'b' is no prefix; to unite segments write {segments: [b]}")},
		{"sluice: 1\nsegments:\n  a: [1::1]\n  a: [1::2]\n",
		 E("4:3", "segment 'a' is defined twice, first at t.yaml:3; rename or remove one")},
		{"sluice: 1\nsegments:\n  any: [1::1]\n",
		 E("3:3", "segment cannot be named 'any', which means everything; choose another name")},
		{"sluice: 1\nsegments:\n  a: {segments: [b]}\n  b: {segments: [a]}\n",
		 E("4:3", "segment 'b' unites 'a', which unites it in turn; break the circle")},
		{"sluice: 1\nsegments:\n  a: {segments: [a]}\n",
		 E("3:3", "segment 'a' unites 'a', which unites it in turn; break the circle")},
		{"sluice: 1\nsegments:\n  trainers: [1::1]\n  a: {segments: [trianers]}\n",
		 E("4:18", "segment 'trianers' is not defined; did you mean 'trainers'?")},
		{"sluice: 1\nsegments:\n  a: {except: [1::1]}\n",
		 E("3:6", "'except' is taken from 'include', which is not here; add it, or remove 'except'")},
		{"sluice: 1\nsegments:\n  a: [1::1]\n", W("3:3", "segment 'a' is used nowhere; use or remove it")},
		{"sluice: 1\nservices:\n  a: [tcp/70000, tpc]\n",
		 E("3:7", "port 70000 is out of range; use 1-65535")
			 E("3:18", "'tpc' is no protocol; did you mean 'tcp'?")},
		{"sluice: 1\nservices:\n  a: [{protocol: gre, ports: 1}]\n",
		 E("3:30", "only tcp, udp and sctp have ports; remove this key")},
		{"sluice: 1\nservices:\n  a: [{ports: 1}]\n", E("3:7", "service item has no 'protocol'; add it")},
		{"sluice: 1\nfailsafe: [any]\n",
		 E("2:12", "'any' would let everything pass this host's door; name the protocols")},
		{"sluice: 1\ninterfaces:\n  - {name: eth0, vlans: {4095: red, 7: red}}\n",
		 E("3:26", "VLAN 4095 is out of range; use 1-4094")
			 E("3:40", "tenant 'red' is not defined; add it to 'tenants'")},
		{"sluice: 1\ninterfaces:\n  - {name: eth0, vnis: {1: red}}\n",
		 E("3:28", "tenant 'red' is not defined; add it to 'tenants'")},
		{"sluice: 1\ntenants: [red]\ninterfaces: [{name: e, vnis: {16777215: red, 0: red, 16777216: red}}]\n",
		 E("3:46", "VNI 0 is out of range; use 1-16777215")
			 E("3:54", "VNI 16777216 is out of range; use 1-16777215")},
		{"sluice: 1\ntenants: [red]\ninterfaces: [{name: e, vnis: {7: red, 7: red}, vlans: {8: red, 8: "
		 "red}}]\n",
		 E("3:39", "VNI 7 is here twice; remove one") E("3:64", "VLAN 8 is here twice; remove one")},
		{"sluice: 1\ntenants: [red]\ninterfaces: [{name: e, vnis: [7]}]\n",
		 E("3:30", "vnis must be a mapping; write 7001: red")},
		{"sluice: 1\ntenants: [red]\ninterfaces: [{name: e, vnis: {7: red}}]\n", ""},
		{"sluice: 1\ninterfaces: [{name: a}, {name: a}]\n",
		 E("2:32", "interface 'a' is defined twice, first at t.yaml:2; remove one")},
		{"sluice: 1\ninterfaces: [{attach: tcx}]\n",
		 E("2:14", "interface has no 'name'; add it")
			 E("2:23", "attach cannot be 'tcx'; choose auto | xdp | xdp-generic | tc; did you mean 'tc'?")},
		{"sluice: 1\ntenants: [red, red]\ninterfaces: [{name: a, tenant: red}]\n",
		 E("2:16", "tenant 'red' is defined twice, first at t.yaml:2; rename or remove one")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

#define RULE(text) "sluice: 1\nsegments: {a: [1::1]}\nrules:\n  - {" text "}\n"

Test(policy_yaml, rules)
{
	static const struct row rows[] = {
		{RULE("name: r, from: a, to: any, action: allow"), ""},
		{RULE("name: r, from: a, to: any"), E("4:5", "rule has no 'action'; add it")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 1 pps}"), ""},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 10 Gbit/s, burst: 13k, per: source}"), ""},
		{RULE("name: r, from: a, to: any, action: allow, limit: 10k pps"),
		 E("4:55", "limit must be a mapping, not a single value; write {rate: 10k pps}")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {burst: 5}"),
		 E("4:55", "limit has no 'rate'; add it")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 5k}"),
		 E("4:62", "rate: '5k' has no unit; write 5k pps or 5k bit/s")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 5 pps, burst: 0}"),
		 E("4:76", "a burst of 0 packets lets nothing through; write 1 or more")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 5 pps, burst: 18001}"),
		 E("4:76", "a burst of 18001 packets is more than passes in an hour; write 18000 or less")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 5k bit/s, burst: 12k}"),
		 E("4:79", "a burst of 12k bits has no room for a frame of 1514 bytes; write 12112 or more")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 5 pps, burst: many}"),
		 E("4:76", "burst: 'many' is no count; write a whole number, or one with k, M or G, as in 10k")},
		{RULE("name: r, from: a, to: any, action: allow, limit: {rate: 5 pps, per: sauce}"),
		 E("4:74", "per cannot be 'sauce'; choose rule | source")},
		{RULE("name: r, from: a, to: any, action: deny, limit: {rate: 5 pps}"),
		 E("4:54", "'limit' has a meaning on 'action: allow' only; remove it")},
		{RULE("name: r, from: a, to: any, action: allow, mode: audit, limit: {rate: 5 pps}"),
		 E("4:68", "'limit' has no meaning with 'mode: audit', where the rule decides nothing; remove one")},
		{RULE("name: r, from: a, to: any, action: allow, cross-tenant: true"),
		 E("4:48", "'cross-tenant' is not in this version of sluice; remove it")},
		{RULE("name: r, from: a, to: any, action: reject"), ""},
		{RULE("name: r, from: a, to: any, action: reject, stateful: false"),
		 E("4:59", "'stateful' has a meaning on 'action: allow' only; remove it")},
		{RULE("name: default, from: a, to: any, action: allow"),
		 E("4:12", "'default' is what the end of the rules is called; choose another name")},
		{RULE("name: r, from: b, to: [], action: allow"),
		 E("4:21", "segment 'b' is not defined; add it to 'segments'")
			 E("4:28", "to is an empty list; name at least one")},
		{RULE("name: r, from: [any, a], to: 10.0.0.0/33, action: allow"),
		 E("4:21", "'from' lists any beside others; write 'any' alone, or remove it")
			 E("4:35", "prefix length 33 is out of range; use 0-32")},
		{RULE("name: r, from: a, to: any, action: deny, stateful: false"),
		 E("4:57", "'stateful' has a meaning on 'action: allow' only; remove it")},
		{RULE("name: r, from: a, to: any, action: deny, log: {every: 0s}"),
		 E("4:60", "every: 0s is out of range; use more than 0 and at most 12d")},
		{RULE("name: r, from: a, to: any, action: deny, log: yes"), E("4:52", "log is 'yes'; write true")},
		{RULE("name: r, from: a, to: any, action: deny, service: wbe}\n  - {name: r, from: a, to: a, action: "
		      "deny"),
		 E("4:56", "service 'wbe' is not defined; add it to 'services', or write an item as in tcp/443")
			 E("5:12", "rule 'r' is defined twice, first at t.yaml:4; rename or remove one")},
		{RULE("name: r, from: a, to: any, action: deny}\n  - {name: q, from: a, to: 1::2, service: tcp/80, "
		      "action: allow"),
		 W("5:5", "rule 'q' never matches: it contradicts rule 'r' (t.yaml:4), which denies all that it would "
			  "allow; reorder or remove one")},
		{RULE("name: r, from: a, to: any, action: deny, mode: audit}\n  - {name: q, from: a, to: 1::2, action: "
		      "allow"),
		 ""},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

#define TENANTS                                                                                                        \
	"sluice: 1\ntenants: [red, blue]\ninterfaces: [{name: e, vlans: {1: red, 2: blue}}]\n"                         \
	"segments: {r: {include: [1::1], tenant: red}, b: {include: [1::2], tenant: blue}, p: [1::3]}\nrules:\n"

Test(policy_yaml, tenants_of_rules)
{
	static const struct row rows[] = {
		{TENANTS "  - {name: x, from: [r, p], to: b, action: allow}\n",
		 E("6:33", "rule 'x' goes from tenant red to tenant blue; a rule never crosses tenants, split it")},
		{TENANTS "  - {name: x, tenant: blue, from: [r, p, b], to: any, action: allow}\n",
		 E("6:35",
		   "'from' of rule 'x' has a segment of tenant red, but the rule is of tenant blue; a rule never "
		   "crosses tenants")},
		{TENANTS "  - {name: x, from: [r, b], to: [b, r, p], action: allow}\n", ""},
		{TENANTS "  - {name: x, tenant: rde, from: [r, b], to: [b, r, p], action: allow}\n",
		 E("6:23", "tenant 'rde' is not defined; did you mean 'red'?")},
		{"sluice: 1\ntenants: [red]\n",
		 W("1:1",
		   "tenant 'red' has no interface, VLAN or VNI, so it has no traffic; give it one or remove it")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

#define STORAGE(text)	"sluice: 1\nstorage:\n  portals: [{address: 10.0.0.1}]\n  " text "\n"
#define SUBSYSTEM(text) STORAGE("subsystems: [{nqn: nqn.2026-11.io.example:x, namespaces: [" text "]}]")

#define LIMITS(text)                                                                                                   \
	SUBSYSTEM("{id: 2, backend: null, size: 1TiB}") "  limits: [" text "]\n"

Test(policy_yaml, conntrack)
{
	static const struct row rows[] = {
		{"sluice: 1\nconntrack: {max: 0, udp: 30, on-full: evict, syn-cookies: on}\n",
		 E("2:18", "max: 0 is out of range; use 1-67108864")
			 E("2:26", "udp: '30' is no duration; write a whole number and us, ms, s, m, h or d, as in 30s")
				 E("2:39", "on-full cannot be 'evict'; choose drop | stateless") E(
					 "2:59", "syn-cookies cannot be 'on'; choose auto | always | never")},
		{"sluice: 1\nconntrack: {syn-threshold: 0, syn-per-source: many}\n",
		 E("2:28", "syn-threshold: 0 is out of range; use 1-67108864")
			 E("2:47", "syn-per-source: 'many' is no count; write a whole number, or one with k, M or G, as in 10k")},
		{"sluice: 1\nconntrack: {max: 1M, pickup: 0s, syn-cookies: auto}\n", ""},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_yaml, storage)
{
	static const struct row rows[] = {
		{SUBSYSTEM("{id: 3, backend: null, size: 1TiB}"), ""},
		{SUBSYSTEM("{id: 0, backend: null, size: 1TiB}"), E("4:66", "id 0 is out of range; use 1-1024")},
		{SUBSYSTEM("{id: 1, backend: file}"),
		 E("4:61", "namespace has no 'path', and its backend is a file; add it")},
		{SUBSYSTEM("{id: 1, backend: memory}"),
		 E("4:61", "namespace has no 'size', and its backend has none of its own; add it")},
		{SUBSYSTEM("{id: 1, backend: memory, size: 5000}"),
		 E("4:92", "size must be a multiple of the block size 4096, and not 0; change one")},
		{STORAGE("access: []\n  limits: []\n  subsystems: []"),
		 E("4:3", "'access' is not in this version of sluice; remove it")},
		{STORAGE("steering: fast\n  reactors: [0, 0]\n  subsystems: []"),
		 E("4:13", "steering cannot be 'fast'; choose auto | reuseport | cpumap | none")
			 E("5:17", "CPU 0 is here twice; remove one")},
		{STORAGE("transport: {in-capsule: 3000, r2ts: 9, alignment: 6, r2t: 0, max-h2c-data: much}\n  subsystems: []"),
		 E("4:27", "in-capsule: 3000 is not usable; use a multiple of 4096 from 0 to 262144")
			 E("4:39", "r2ts 9 is out of range; use 1-8")
				 E("4:53", "alignment: 6 is not usable; use a multiple of 4 from 4 to 128") E(
					 "4:61", "r2t: 0 is not usable; use a multiple of 4096 from 4096 to 262144")
					 E("4:78", "max-h2c-data: 'much' is no size; write a whole number and B, KiB, MiB, "
						   "GiB or TiB, as in 10GiB")},
		{STORAGE("transport: {in-capsule: 0, r2ts: 1, alignment: 128, r2t: 4KiB, max-h2c-data: 256KiB}\n  "
			 "subsystems: []"),
		 ""},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_yaml, storage_limits)
{
	static const struct row rows[] = {
		{LIMITS("{name: a, iops: 1k}, {name: b, bandwidth: 10MiB/s, from: [10.0.0.0/8], hosts: any},\n"
			"    {name: c, iops: 1, bandwidth: 1TiB/s, hosts: ['nqn.2026-11.io.example:h'], namespace: 2,\n"
			"    subsystem: nqn.2026-11.io.example:x}"),
		 ""},
		{LIMITS("{iops: 1}, {name: a}, {name: a, iops: 0, bandwidth: 10MiB},\n"
			"    {name: b, iops: 11M, bandwidth: 1KiB/s, hosts: [], from: x},\n"
			"    {name: c, rate: 1, iops: 1, subsystem: nqn.2026-11.io.example:y, namespace: 0},\n"
			"    {name: d, iops: many, subsystem: nqn.2026-11.io.example:x, namespace: 3},\n"
			"    {name: e, bandwidth: /s, subsystem: nqn.2026-11.io.example:y, hosts: [q]}"),
		 E("5:12",
		   "limit has no 'name'; add it")
		 E("5:23",
		   "limit has neither 'iops' nor 'bandwidth', so it limits nothing; add one")
		 E("5:41",
		   "limit 'a' is here twice, first on line 5; give it another name")
		 E("5:50",
		   "iops: 0 is out of range; use 1-10000000")
		 E("5:64",
		   "bandwidth '10MiB' is none; write bytes a second, as in 100MiB/s")
		 E("6:21",
		   "iops: 11M is out of range; use 1-10000000")
		 E("6:37",
		   "bandwidth: 1KiB/s is out of range; use 4KiB/s-1TiB/s")
		 E("6:52",
		   "hosts must be 'any' or a list of host NQNs")
		 E("6:62",
		   "segment 'x' is not defined; add it to 'segments'")
		 E("7:15",
		   "unknown key 'rate' in limit; known are name, from, hosts, subsystem, namespace, iops, bandwidth")
		 E("7:44",
		   "no subsystem of this policy is 'nqn.2026-11.io.example:y'; name one of 'subsystems'")
		 E("7:81",
		   "namespace 0 is out of range; use 1-1024")
		 E("8:5",
		   "no subsystem that it concerns has a namespace 3; name one of 'subsystems'")
		 E("8:21",
		   "iops: 'many' is no count; write a whole number, or one with k, M or G, as in 10k")
		 E("9:26",
		   "bandwidth '/s' is none; write bytes a second, as in 100MiB/s")
		 E("9:41",
		   "no subsystem of this policy is 'nqn.2026-11.io.example:y'; name one of 'subsystems'")
		 E("9:75",
		   "host 'q' is no NQN; write it as in nqn.2026-11.io.example:name, at most 223 characters")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_yaml, storage_tls)
{
	static const struct row rows[] = {
		{STORAGE("subsystems: [{nqn: nqn.2026-11.io.example:a, namespaces: [],\n"
			 "    hosts: [{nqn: nqn.2026-11.io.example:h, psk: /k}]}]"),
		 E("5:50", "psk is for TLS, which no portal has; add 'tls: allowed' or 'tls: required' to one")},
		{"sluice: 1\ninterfaces: []\nstorage:\n  portals: [{address: 10.0.0.1}, {address: '::1', tls: required}]\n"
		 "  subsystems: [{nqn: nqn.2026-11.io.example:a, namespaces: []}]\n",
		 E("4:34", "portal has 'tls', and no host has a 'psk' to come with; add one, or remove 'tls'")},
		{STORAGE("subsystems: [{nqn: nqn.2026-11.io.example:a, namespaces: [],\n"
			 "    hosts: [{nqn: nqn.2026-11.io.example:h, dhchap-key: /k, psk: generated}]}]"),
		 E("5:66", "psk is for TLS, which no portal has; add 'tls: allowed' or 'tls: required' to one")},
		{"sluice: 1\ninterfaces: []\nstorage:\n  portals: [{address: 10.0.0.1}, {address: '::1', tls: required}]\n"
		 "  subsystems: [{nqn: nqn.2026-11.io.example:a, namespaces: [], hosts: [{nqn: nqn.2026-11.io.example:g,\n"
		 "    psk: /k}, {nqn: nqn.2026-11.io.example:h, dhchap-key: /k, psk: generated}]}]\n",
		 E("6:68", "psk: generated is made on a connection without TLS, which every portal with 'tls' refuses; "
			   "write 'tls: allowed' at one")},
		{"sluice: 1\ninterfaces: []\nstorage:\n  portals: [{address: 10.0.0.1, tls: allowed}]\n"
		 "  subsystems: [{nqn: nqn.2026-11.io.example:a, namespaces: [], hosts: [\n"
		 "    {nqn: nqn.2026-11.io.example:g, psk: generated},\n"
		 "    {nqn: nqn.2026-11.io.example:h, psk: retained}]}]\n",
		 E("6:42", "psk: generated is a key that authentication makes; add 'dhchap-key'")
			 E("7:42", "psk 'retained' is no absolute path; write it from / on, or 'generated'")},
		{"sluice: 1\ninterfaces: []\nstorage:\n  portals: [{address: 10.0.0.1, tls: perhaps}]\n  subsystems: []\n",
		 E("4:38", "tls cannot be 'perhaps'; choose none | allowed | required")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

Test(policy_yaml, storage_hosts)
{
	static const struct row rows[] = {
		{STORAGE("subsystems: [{nqn: nqn.2026-11.io.example:a, namespaces: [],\n"
			 "    hosts: [nqn.2026-11.io.example:h, {nqn: nqn.2026-11.io.example:h},\n"
			 "      {nqn: nqn.2026-11.io.example:i, dhchap-key: 'DHHC-1:00:abc:'},\n"
			 "      {nqn: nqn.2026-11.io.example:j, dhchap-key: keys/j},\n"
			 "      {nqn: nqn.2026-11.io.example:k, dhchap-controller-key: /k},\n"
			 "      {dhchap-key: /k}, {nqn: nqn.2026-11.io.example:l, key: /l}]}]"),
		 E("5:45", "host 'nqn.2026-11.io.example:h' is here twice, first on line 5; remove one")
			 E("6:51", "dhchap-key is the secret itself, and policies are no secret; put it in a file of "
				   "mode 0600 and write the file's name here")
			 E("7:51", "dhchap-key 'keys/j' is no absolute path; write it from / on")
			 E("8:62", "dhchap-controller-key is asked for by hosts that prove themselves; add "
				   "'dhchap-key'")
			 E("9:7", "host has no 'nqn'; add it")
			 E("9:57", "unknown key 'key' in host; known are nqn, dhchap-key, dhchap-controller-key, psk")},
		{STORAGE("subsystems: [{nqn: x, hosts: [y], namespaces: []}]"),
		 E("4:22", "nqn 'x' is no NQN; write it as in nqn.2026-11.io.example:name, at most 223 characters")
			 E("4:33",
			   "host 'y' is no NQN; write it as in nqn.2026-11.io.example:name, at most 223 characters")},
	};

	rows_check(rows, ARRAY_SIZE(rows));
}

/* --------------------------------------------------------------- what a good one becomes */

static struct policy *load_good(const char *text)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	struct policy *p = NULL;
	int r = policy_load_text("t.yaml", text, strlen(text), &d, &p);

	if (r)
		policy_diagnostics_print(&d, stderr);
	cr_assert_eq(r, 0);
	return p;
}

Test(policy_yaml, defaults)
{
	_cleanup_(policy_freep) struct policy *p = load_good("sluice: 1\n");

	cr_assert(!p->audit && !p->default_allow);
	cr_assert_eq(p->n_tenants, 1);
	cr_assert_eq(p->failsafe->n_items, 8);
	cr_assert_eq(p->conntrack.max, SLUICE_FLOWS_DEFAULT);
	cr_assert_eq(p->conntrack.timeout_ns[SLUICE_T_TCP_ESTABLISHED], 3600 * NSEC_PER_SEC);
	cr_assert(!p->storage.present);
}

Test(policy_yaml, an_empty_failsafe_switches_it_off)
{
	_cleanup_(policy_freep) struct policy *p = load_good("sluice: 1\nfailsafe: []\n");

	cr_assert_eq(p->failsafe->n_items, 0);
}

Test(policy_yaml, interfaces_and_storage)
{
	_cleanup_(policy_freep) struct policy *p = load_good(
		"sluice: 1\nmode: audit\ntenants: [red]\nsegments: {s: [1::1]}\ninterfaces:\n"
		"  - {name: 'eth*', attach: tc, tenant: red, vlans: {100: red}, antispoof: [s]}\n"
		"storage:\n  portals: [{address: 10.0.0.1}, {address: '::1', port: 99}]\n  steering: cpumap\n  "
		"reactors: [3, 1]\n"
		"  subsystems:\n    - nqn: nqn.2026-11.io.example:a\n      hosts: [nqn.2026-11.io.example:h]\n"
		"      namespaces: [{id: 2, backend: file, path: /x, readonly: true, block: 512}]\n");

	cr_assert(p->audit);
	cr_assert(p->interfaces[0].is_glob && p->interfaces[0].attach == POLICY_ATTACH_TC &&
		  p->interfaces[0].tenant == 1);
	cr_assert(p->interfaces[0].n_vlans == 1 && p->interfaces[0].vlans[0].id == 100);
	cr_assert(p->interfaces[0].antispoof && p->interfaces[0].n_antispoof_segments == 1);
	cr_assert(p->storage.present && p->storage.portals[0].port == 4420 && p->storage.portals[1].port == 99);
	cr_assert(!p->storage.reactors_auto && p->storage.reactors[0] == 3 && p->storage.reactors[1] == 1);
	cr_assert(p->storage.steering == POLICY_STEER_CPUMAP && !p->storage.subsystems[0].any_host);
	cr_assert(p->storage.subsystems[0].namespaces[0].readonly &&
		  p->storage.subsystems[0].namespaces[0].block == 512);
}
