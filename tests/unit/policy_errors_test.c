// SPDX-License-Identifier: Apache-2.0
/*
 * Policies as people write them wrong the first time: every row is a whole policy and all that is said of it, which
 * must be enough to mend it without the manual: place, fact, remedy.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/policy.h"

#define E(place, text) "t.yaml:" place ": error: " text "\n"
#define W(place, text) "t.yaml:" place ": warning: " text "\n"

static char *findings(const char *text, size_t length)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	_cleanup_(policy_freep) struct policy *p = NULL;
	char *found = NULL;
	size_t size;
	FILE *out = open_memstream(&found, &size);
	int r = policy_load_text("t.yaml", text, length, &d, &p);

	cr_expect_eq(r, d.errors ? -EINVAL : 0, "%s", text);
	policy_diagnostics_print(&d, out);
	fclose(out);
	return found;
}

Test(policy_errors, of_newcomers)
{
	static const struct {
		const char *text;
		const char *found;
	} rows[] = {
		{"sluice: 1\n"
		 "segments:\n"
		 "\ta: [10.0.0.0/8]\n",
		 E("3:1", "a tab indents this line; YAML takes only spaces, replace it")},
		{"sluice: 1\n"
		 "name pod\n"
		 "rules: []\n",
		 E("2:1", "'name pod' has no ':'; write 'key: value'")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a [10.0.0.0/8]\n",
		 E("3:3", "'a [10.0.0.0/8]' is no mapping, and segments must be one; write name: [10.0.0.0/8]")},
		{"sluice: 1\n"
		 "name:pod\n",
		 E("2:5", "a space is missing behind ':'; write 'name: pod'")},
		{"sluice:1\n", E("1:1", "a space is missing behind ':'; write 'sluice: 1'")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - name: a\n"
		 "     from: any\n"
		 "    to: any\n"
		 "    action: allow\n",
		 E("4:6", "this line begins in column 6, which fits nothing above; begin it in column 5, as 'name' in "
			  "line 3, or with a '-' in column 3")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - name: a\n"
		 "   from: any\n"
		 "    to: any\n"
		 "    action: allow\n",
		 E("4:4", "this line begins in column 4, which fits nothing above; begin it in column 5, as 'name' in "
			  "line 3, or with a '-' in column 3")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, port: 80, action: allow}\n",
		 E("3:35", "unknown key 'port' in rule; protocol and port go into 'service', as in service: tcp/80")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, protocol: tcp, action: allow}\n",
		 E("3:35",
		   "unknown key 'protocol' in rule; protocol and port go into 'service', as in service: tcp/80")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, action: accept}\n",
		 E("3:43", "action cannot be 'accept'; choose allow | deny | reject; did you mean 'allow'?")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, action: drop}\n",
		 E("3:43", "action cannot be 'drop'; choose allow | deny | reject; did you mean 'deny'?")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, src: any, dst: any, action: deny}\n",
		 E("3:15", "unknown key 'src' in rule; it is called 'from' here")
			 E("3:25", "unknown key 'dst' in rule; it is called 'to' here")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: 10\n",
		 E("3:6", "a segment must be a list; write [10]")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: 10.0.0.0/8\n",
		 E("3:6", "a segment must be a list; write [10.0.0.0/8]")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [fd00::1, ::1]\n",
		 E("3:16", "inside [...] and {...}, IPv6 addresses need quotes; write them as in \"fd00::1\"")},
		{"sluice: 1\n"
		 "services:\n"
		 "  a: [tcp/443-80]\n",
		 E("3:7", "port range 443-80 ends before it begins; write 80-443")},
		{"sluice: 1\n"
		 "services:\n"
		 "  a: [443]\n",
		 E("3:7", "'443' is no IP protocol, which is a number 0-255; a port is written with its protocol, as "
			  "in tcp/443")},
		{"sluice: 1\n"
		 "services:\n"
		 "  a: [tcp:443]\n",
		 E("3:7", "'tcp:443' is no item; write tcp/443")},
		{"sluice: 1\n"
		 "services:\n"
		 "  a: [\"443/tcp\", http]\n",
		 E("3:7", "'443/tcp' is the wrong way round; write tcp/443")
			 E("3:18", "'http' is no protocol; write tcp/80")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  a:\n"
		 "    from: any\n"
		 "    to: any\n"
		 "    action: allow\n",
		 E("3:3", "rules must be a list, not a mapping; begin each of its entries with '- '")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - from: any\n"
		 "    to: any\n"
		 "    action: allow\n",
		 E("3:5", "rule has no 'name'; add it")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [10.0.0.0/8\n"
		 "rules: []\n",
		 E("3:6", "'[' opens here and is not closed before line 4; add ']', or the ',' that is missing")},
		{"sluice: 1\n"
		 "name: \"pod\n"
		 "rules: []\n",
		 E("2:7", "the quote that opens here is not closed; add the other one")},
		{"sluice: 1\n"
		 "name: p\xff"
		 "\n",
		 E("2:8", "byte 0xff is not UTF-8; save the file as UTF-8")},
		{"sluice: 1\n"
		 "interfaces:\n"
		 "  - name: *\n",
		 E("3:11", "a value cannot begin with '*' in YAML; put it in quotes, as in \"*...\"")},
		{"sluice: 1\n"
		 "interfaces:\n"
		 "  - name: eth*\n"
		 "  - {name: \"*\"}\n"
		 "  - eth0\n",
		 E("5:5", "interface must be a mapping, not a single value; write {name: eth0}")},
		{"sluice: 1\n"
		 "name: %pod\n",
		 E("2:7", "a value cannot begin with '%' in YAML; put it in quotes, as in \"%...\"")},
		{"sluice: 1\n"
		 "name: @pod\n",
		 E("2:7", "a value cannot begin with '@' in YAML; put it in quotes, as in \"@...\"")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  -name: a\n"
		 "   from: any\n",
		 E("3:3", "a space is missing behind '-'; write '- name: a'")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, action: allow, log: on, stateful: no}\n",
		 E("3:55", "log is 'on'; write true") E("3:69", "stateful is 'no'; write false")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, tenant: red, from: any, to: any, action: allow}\n",
		 E("3:23", "tenant 'red' is not defined; add it to 'tenants'")},
		{"sluice: 1\n"
		 "segments: {trainers: [10.0.0.0/8]}\n"
		 "rules:\n"
		 "  - {name: a, from: trainer, to: any, action: allow}\n",
		 E("4:21", "segment 'trainer' is not defined; did you mean 'trainers'?")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, service: http, action: allow}\n",
		 E("3:44", "service 'http' is not defined; write tcp/80, or add it to 'services'")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, service: 443, action: allow}\n",
		 E("3:44", "'443' is no IP protocol, which is a number 0-255; a port is written with its protocol, as "
			   "in tcp/443")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, service: 80, action: allow}\n",
		 W("3:44", "80 alone is IP protocol 80, not port 80; for the port write tcp/80 or udp/80, for the "
			   "protocol {protocol: 80}")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [10.0.0.256, 10.0.0, 10.0.0.0/255.0.0.0, 10.0.0.1-10.0.0.9, host.example.com]\n",
		 E("3:7", "'10.0.0.256' is no address or prefix; write it as in 10.0.0.0/8 or fd00::/64")
			 E("3:19", "'10.0.0' is no address or prefix; write it as in 10.0.0.0/8 or fd00::/64") E(
				 "3:27", "prefix 10.0.0.0/255.0.0.0 has a netmask; write 10.0.0.0/8")
				 E("3:47", "'10.0.0.1-10.0.0.9' is a range; write the prefixes that it is made of")
					 E("3:66", "'host.example.com' is no prefix, and names of hosts are not looked "
						   "up; write its address")},
		{"sluice: 1\n"
		 "base: &b {from: any}\n"
		 "rules:\n"
		 "  - {<<: *b, name: a, to: any, action: allow}\n",
		 E("2:7", "anchors (&name) are not part of the policy language; write the value out")},
		{"rules: []\n", E("1:1", "the policy has no 'sluice'; begin with 'sluice: 1'")},
		{"version: 1\n"
		 "rules: []\n",
		 E("1:1", "unknown key 'version' in the policy; it is called 'sluice' here")},
		{"sluice: 1.0\n", E("1:9", "language version '1.0' is not known here; this sluice reads 'sluice: 1'")},
		{"# nothing\n", E("2:1", "the file is empty; begin with 'sluice: 1'")},
		{"sluice: 1\n"
		 "rules:\n"
		 "segments:\n",
		 E("2:7", "rules is empty; write a list, as in [a, b], or remove the key")
			 E("3:10", "segments is empty; write name: [10.0.0.0/8], or remove the key")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a:\n"
		 "  b: [10.0.0.0/8]\n",
		 E("3:5", "a segment is empty; write a list, as in [a, b], or remove the key")},
		{"sluice: 1\n"
		 "rules: []\n"
		 "rules: []\n",
		 E("3:1", "'rules' is here twice, first on line 2; remove one")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [[10.0.0.0/8]]\n",
		 E("3:7", "a prefix must be a single value, not a list; write it without brackets")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  my seg: [10.0.0.0/8]\n"
		 "  9a: [10.0.0.0/8]\n",
		 E("3:3", "segment name 'my seg' is not usable; begin with a letter, then letters, digits, - _ .")
			 E("4:3", "segment name '9a' is not usable; begin with a letter, then letters, digits, - _ .")},
		{"sluice: 1\n"
		 "name: a\x01"
		 "b\n",
		 E("2:8", "control character 0x01; remove it")},
		{"sluice: 1\n"
		 "conntrack: {udp: 30, max: 1m}\n",
		 E("2:18", "udp: '30' is no duration; write a whole number and us, ms, s, m, h or d, as in 30s")
			 E("2:27", "max: '1m' is no count; write a whole number, or one with k, M or G, as in 10k")},
		{"sluice: 1\n"
		 "interfaces: eth0\n",
		 E("2:13", "interfaces must be a list; write [eth0]")},
		{"sluice: 1\n"
		 "interfaces: [eth0, eth1]\n",
		 E("2:14", "interface must be a mapping, not a single value; write {name: eth0}")
			 E("2:20", "interface must be a mapping, not a single value; write {name: eth1}")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - name: a: b\n"
		 "    from: any\n",
		 E("3:12", "a second ': ' in one line; put a value that has one in quotes, or begin a new line")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - name: a\n"
		 "    from: any\n"
		 "    to: any\n"
		 "  action: allow\n",
		 E("6:3", "this line begins in column 3, which fits nothing above; begin it in column 5, as line 5, or "
			  "in that of the line it belongs to")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: 10.0.0.0/8, 10.1.0.0/16, to: any, action: allow}\n",
		 E("3:33",
		   "'10.1.0.0/16' stands where a key of rule should; put several values in brackets, as in [a, b]")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, action: refuse}\n",
		 E("3:43", "action cannot be 'refuse'; choose allow | deny | reject")},
		{"sluice: 1\n"
		 "services:\n"
		 "  a: [icmp/ping, icmp/echo, icmp, icmp/300, icmpv6/echo-request.1, tcp/, /80, \"tcp 443\", "
		 "TCP/443]\n",
		 E("3:7", "'ping' is no ICMP type; did you mean 'echo-request'?") E(
			 "3:18", "'echo' is no ICMP type; did you mean 'echo-request'?")
			 E("3:35", "ICMP type 300 is out of range; use 0-255") E(
				 "3:45", "'echo-request.1' is no ICMP type; did you mean 'echo-request'?")
				 E("3:68",
				   "nothing stands behind '/': '' is no port; use 1-65535, or a range as in 8000-8999")
					 E("3:74", "'' is no protocol; use tcp, udp, sctp, icmp, icmpv6, gre, esp or a "
						   "number 0-255") E("3:79", "'tcp 443' is no item; write tcp/443")
						 E("3:90", "'TCP' is no protocol; did you mean 'tcp'?")},
		{"sluice: 1\n"
		 "interfaces: [{name: e, antispoof: [10.0.0.0/8]}]\n",
		 E("2:36",
		   "'10.0.0.0/8' is a prefix, but 'antispoof' lists names of segments; define a segment that has it")},
		{"sluice: 1\n"
		 "interfaces: [{name: e, antispoof: true}]\n",
		 E("2:35", "antispoof must be a list; write [true]")},
		{"sluice: 1\n"
		 "interfaces: [{name: e, vlans: [100, 101]}]\n",
		 E("2:31", "vlans must be a mapping; write 100: red")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, action: [allow, deny]}\n",
		 E("3:43", "action must be a single value, not a list; write it without brackets")},
		{"Sluice: 1\n"
		 "Rules: []\n",
		 E("1:1", "unknown key 'Sluice' in the policy; did you mean 'sluice'?")
			 E("2:1", "unknown key 'Rules' in the policy; did you mean 'rules'?")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: Any, to: ANY, action: Allow, service: Any}\n",
		 E("3:21", "segment 'Any' is not defined; did you mean 'any'?")
			 E("3:30", "segment 'ANY' is not defined; did you mean 'any'?")
				 E("3:43", "action cannot be 'Allow'; choose allow | deny | reject; did you mean 'allow'?")
					 E("3:59", "service 'Any' is not defined; did you mean 'any'?")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [10.0.0.0/8; 10.1.0.0/16]\n",
		 E("3:7",
		   "'10.0.0.0/8; 10.1.0.0/16' is more than one prefix; write a list, as in [10.0.0.0/8, 10.1.2.3]")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [10.0.0.0/8 10.1.0.0/16]\n",
		 E("3:7",
		   "'10.0.0.0/8 10.1.0.0/16' is more than one prefix; write a list, as in [10.0.0.0/8, 10.1.2.3]")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: 10.0.0.0/8, 11.0.0.0/8\n",
		 E("3:6", "a segment must be a list; write [10.0.0.0/8, 11.0.0.0/8]")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: any, to: any, action: allow\n"
		 "  - {name: b, from: any, to: any, action: allow}\n",
		 E("3:5", "'{' opens here and is not closed before line 4; add '}', or the ',' that is missing")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: {prefixes: [10.0.0.0/8], exclude: [10.1.0.0/16]}\n",
		 E("3:7", "unknown key 'prefixes' in segment; it is called 'include' here")
			 E("3:31", "unknown key 'exclude' in segment; it is called 'except' here")},
		{"sluice: 1\n"
		 "segments: {t: [10.0.0.0/8]}\n"
		 "rules:\n"
		 "  - {name: a, from: !t, to: any, action: allow}\n"
		 "  - {name: b, from: \"!t\", to: any, action: allow}\n",
		 E("4:21", "tags (!name) are not part of the policy language; remove it, or use 'except' of a segment "
			   "to leave addresses out")},
		{"sluice: 1\n"
		 "services:\n"
		 "  web: tcp/80\n",
		 E("3:8", "a service must be a list; write [tcp/80]")},
		{"sluice: 1\n"
		 "services:\n"
		 "  web: [tcp/80,443]\n",
		 E("3:16", "'443' is no IP protocol, which is a number 0-255; a port is written with its protocol, as "
			   "in tcp/443")},
		{"sluice: 1\n"
		 "services:\n"
		 "  web: [\"tcp/80,443\"]\n",
		 E("3:9", "'tcp/80,443' is more than one item; write a list, as in [tcp/80, tcp/443]")},
		{"? a\n"
		 ": b\n",
		 E("1:1", "the policy has no 'sluice'; begin with 'sluice: 1'")
			 E("1:3", "unknown key 'a' in the policy; known are sluice, name, mode, default, interfaces, "
				  "tenants, failsafe, segments, services, rules, conntrack, storage")},
		{"hello\n", E("1:1", "the policy must be a mapping, not a single value; begin with 'sluice: 1'")},
		{"- sluice: 1\n", E("1:1", "the policy must be a mapping, not a list; write key: value")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - name: a\n"
		 "    from: any\n"
		 "  - name: b\n"
		 "   to: any\n",
		 E("6:4", "this line begins in column 4, which fits nothing above; begin it in column 5, as 'name' in "
			  "line 5, or with a '-' in column 3")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [10.0.0.0/8]\n"
		 " b: [1::1]\n",
		 E("4:2", "this line begins in column 2, which fits nothing above; begin it in column 3, as line 3, or "
			  "in that of the line it belongs to")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [10.0.0.0/8]\n"
		 "   b: [\"1::1\"]\n",
		 E("4:4", "this line begins in column 4, which fits nothing above; begin it in column 3, as line 3, or "
			  "in that of the line it belongs to")},
		{"sluice: 1\n"
		 "segments:\n"
		 "  a: [fd00::, 10.0.0.0/8]\n",
		 E("3:12", "inside [...] and {...}, IPv6 addresses need quotes; write them as in \"fd00::1\"")},
		{"sluice: 1\n"
		 "rules:\n"
		 "  - {name: a, from: fd00::, to: any, action: allow}\n"
		 "  - {name: b, from: any, to: fd00::}\n",
		 E("3:26", "inside [...] and {...}, IPv6 addresses need quotes; write them as in \"fd00::1\"")},
		{"sluice: 1\n"
		 "rules:\n"
		 "- name: a\n"
		 "  from: any\n"
		 "  to: any\n"
		 "    service: tcp/80\n"
		 "  action: allow\n",
		 E("6:5", "this line begins in column 5, which fits nothing above; begin it in column 3, as line 5, or "
			  "in that of the line it belongs to")},
		{"sluice: 1\n"
		 "name: a\\\n",
		 E("2:7", "policy name 'a\\' is not usable; begin with a letter, then letters, digits, - _ .")},
		{"sluice: 1\n"
		 "name: \"a\\q\"\n",
		 E("2:9", "unknown escape behind '\\'; write '\\\\' for a backslash, or use single quotes")},
		{"sluice: 1\n"
		 "rules: [\n",
		 E("3:1", "the file ends inside [...] or {...}; close every bracket")},
		{"sluice: 1\n"
		 "segments: {a: [10.0.0.0/8], b: [11.0.0.0/8]\n",
		 E("2:11", "'{' opens here and is not closed before line 3; add '}', or the ',' that is missing")},
		{"sluice: 1\n"
		 "---\n",
		 E("2:1", "a second document; put it into a file of its own")},
		{"%YAML 9.9\n"
		 "sluice: 1\n",
		 E("1:1", "not YAML: found incompatible YAML document; check indentation, brackets and quotes")},
		{"sluice: 1\n"
		 "name: > \n"
		 "  a\n"
		 " rules: []\n",
		 E("4:2", "this line begins in column 2, which fits nothing above; begin it in column 3, as line 3, or "
			  "in that of the line it belongs to")},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *found = findings(rows[i].text, strlen(rows[i].text));

		cr_expect(!strcmp(found, rows[i].found), "policy:\n%s\nfound:\n%s\nexpected:\n%s", rows[i].text, found,
			  rows[i].found);
	}
}

Test(policy_errors, other_encodings_and_accepted_oddities)
{
	static const char utf16[] = "\xff\xfes\0l\0u\0";
	static const char long_name[] =
		"sluice: 1\ntenants: [aääääääääääääääääääääääääääää]\nmode: aääääääääääääääääääääääääääääää\n";
	static const char *const fine[] = {"\xef\xbb\xbfsluice: 1\n", "sluice: 1\r\nname: pod\r\n", "sluice: \"1\"\n",
					   "{\"sluice\": 1, \"rules\": [{\"name\": \"a\", \"from\": \"any\", \"to\": "
					   "\"any\", \"action\": \"allow\",}]}"};
	_cleanup_free_ char *found = findings(utf16, sizeof(utf16) - 1);
	_cleanup_free_ char *cut = findings(long_name, sizeof(long_name) - 1);
	size_t i;

	/* A quotation that is cut in the middle of a character stays UTF-8. */
	cr_expect(strstr(cut, "äää?'") || strstr(cut, "äää'"), "%s", cut);
	cr_expect(!strstr(cut, "\xc3'"), "%s", cut);
	cr_expect_str_eq(found, E("1:1", "the file is in UTF-16; save it as UTF-8"));
	for (i = 0; i < ARRAY_SIZE(fine); i++) {
		_cleanup_free_ char *nothing = findings(fine[i], strlen(fine[i]));

		cr_expect_str_eq(nothing, "", "%s", fine[i]);
	}
}

/* Whatever is cut off or spoilt, something is said, and it has a place inside the text. */
Test(policy_errors, every_broken_version_of_a_policy_is_refused_with_a_place)
{
	static const char text[] =
		"sluice: 1\ninterfaces: [{name: e, vlans: {1: red}}]\ntenants: [red]\n"
		"segments:\n  a: [10.0.0.0/8, \"fd00::/8\"]\nrules:\n  - name: r\n    from: a\n    to: any\n"
		"    service: [tcp/80, {protocol: udp, ports: 53}]\n    action: allow\n";
	static const char spoilers[] = "\t:-[]{}\"'*&!%@`\n #,\x01\xff";
	char spoilt[sizeof(text)];
	size_t i, k, n;

	for (i = 0; i < sizeof(text) - 1; i++) {
		for (k = 0; k < sizeof(spoilers); k++) {
			_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
			_cleanup_(policy_freep) struct policy *p = NULL;
			_cleanup_free_ char *exact = NULL;

			memcpy(spoilt, text, sizeof(text));
			spoilt[i] = spoilers[k];
			n = spoilers[k] ? sizeof(text) - 1 : i;
			/* Nothing behind the end may be read. */
			exact = malloc(n ? n : 1);
			memcpy(exact, spoilt, n);
			cr_assert(policy_load_text("t.yaml", exact, n, &d, &p) == 0 || d.errors, "%.*s", (int)n,
				  spoilt);
			for (n = 0; n < d.count; n++) {
				cr_assert(d.items[n].place.line >= 1 && d.items[n].place.line <= 12, "%s\n%s", spoilt,
					  d.items[n].text);
				cr_assert(d.items[n].place.column >= 1 && d.items[n].place.column <= 60, "%s\n%s",
					  spoilt, d.items[n].text);
			}
		}
	}
}
