// SPDX-License-Identifier: Apache-2.0
/* Wires and forwarding in the policy language: what is refused and how, and that both ends of a wire are in the model.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "policy/policy.h"

#define E(place, text) "t.yaml:" place ": error: " text "\n"

static struct policy *load(const char *text, char **ret_found)
{
	_cleanup_(policy_diagnostics_done) struct policy_diagnostics d = {};
	struct policy *p = NULL;
	size_t size;
	FILE *out = open_memstream(ret_found, &size);
	int r = policy_load_text("t.yaml", text, strlen(text), &d, &p);

	cr_expect_eq(r, d.errors ? -EINVAL : 0, "%s", text);
	policy_diagnostics_print(&d, out);
	fclose(out);
	return p;
}

Test(policy_ports, errors)
{
	static const struct {
		const char *interfaces;
		const char *found;
	} rows[] = {
		{"[{name: p0, wire: p1}]", ""},
		{"[{name: p0, wire: p1}, {name: p1}]", ""},
		{"[{name: p0, wire: p1}, {name: p1, wire: p0}]", ""},
		{"[{name: p1}, {name: p0, wire: p1}]", ""},
		{"[{name: p0, wire: p1}, {name: \"p*\"}]", ""},
		{"[{name: p0, wire: p1, attach: xdp-generic}]", ""},
		{"[{name: p0, forward: xdp}, {name: \"p*\", forward: kernel}]", ""},
		{"[{name: p0, wire: p0}]", E("2:31", "'p0' is wired to itself; name the interface at the other end")},
		{"[{name: p0, wire: p2}, {name: p1, wire: p2}]",
		 E("2:53", "'p2' is wired to 'p0' already (t.yaml:2); a wire has two ends, remove one of the two")},
		{"[{name: p0, wire: p1}, {name: p1, wire: p2}]",
		 E("2:31", "'p1' is wired to 'p2' already (t.yaml:2); a wire has two ends, remove one of the two")},
		{"[{name: \"p*\", wire: p1}]",
		 E("2:33",
		   "'p*' may be several interfaces, and a wire has two ends; write an entry a wire, with names")},
		{"[{name: p0, wire: \"p*\"}]",
		 E("2:31", "wire: 'p*' is not the name of one interface; write one, as in eth1")},
		{"[{name: p0, wire: [p1]}]",
		 E("2:31", "wire must be a single value, not a list; write it without brackets")},
		{"[{name: \"p*\"}, {name: p0, wire: q0}]",
		 E("2:21",
		   "'p*' stands before 'p0' (t.yaml:2), which is an end of a wire, and takes it; put it after")},
		{"[{name: \"q*\"}, {name: p0, wire: q0}]",
		 E("2:21",
		   "'q*' stands before 'q0' (t.yaml:2), which is an end of a wire, and takes it; put it after")},
		{"[{name: p0, wire: p1, attach: tc}]",
		 E("2:21", "'p0' has attach: tc, and a wire is done in XDP; use attach: auto")},
		{"[{name: p0, wire: p1}, {name: p1, attach: tc}]",
		 E("2:43", "'p1' has attach: tc, and a wire is done in XDP; use attach: auto")},
		{"[{name: p0, forward: xdp, attach: tc}]",
		 E("2:21", "'p0' has attach: tc, and forward: xdp is done in XDP; use attach: auto")},
		{"[{name: p0, forward: fast}]", E("2:34", "forward cannot be 'fast'; choose kernel | xdp")},
		{"[{name: p0, forward: xdp, wire: p1}]",
		 E("2:21", "'p0' is an end of a wire, which routes nothing; remove 'forward' or 'wire'")},
		{"[{name: p0, wire: p1, tenant: red}, {name: p1}]",
		 E("2:21", "'p0' is of tenant red and 'p1', the other end of its wire, of (the host's) (t.yaml:2); "
			   "give both the same")},
		{"[{name: p0, wire: p1, vlans: {7: red, 8: blue}}, {name: p1, vlans: {8: red, 7: red}}]",
		 E("2:21", "VLAN 8 is of tenant blue at 'p0' and of red at 'p1', the other end of its wire (t.yaml:2); "
			   "give it one tenant")},
		{"[{name: p0, wire: p1, vlans: {7: red, 8: blue}}, {name: p1, vlans: {8: blue, 7: red}}]", ""},
		{"[{name: p0, wire: p1, vlans: {7: red, 8: blue}}, {name: p1, vlans: {8: blue}}]",
		 E("2:69", "VLAN 7 is listed at 'p0' (t.yaml:2) and not here, at the other end of its wire; list it at "
			   "both ends or none")},
		{"[{name: p0, wire: p1, vlans: {7: red, 8: blue}}, {name: p1, vlans: {7: red}}]",
		 E("2:69", "VLAN 8 is listed at 'p0' (t.yaml:2) and not here, at the other end of its wire; list it at "
			   "both ends or none")},
		{"[{name: p0, wire: p1, vlans: {7: red, 8: blue}}, {name: p1, vlans: {7: red, 8: blue, 9: red}}]",
		 E("2:21", "VLAN 9 is listed at 'p1' (t.yaml:2) and not here, at the other end of its wire; list it at "
			   "both ends or none")},
		{"[{name: p0, wire: p1, tenant: red, vnis: {7: blue}}, {name: p1, tenant: red}]",
		 E("2:73", "VNI 7 is listed at 'p0' (t.yaml:2) and not here, at the other end of its wire; list it at "
			   "both ends or none")},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(policy_freep) struct policy *p = NULL;
		_cleanup_free_ char *text = NULL, *found = NULL;

		cr_assert_geq(asprintf(&text, "sluice: 1\ninterfaces: %s\n%s", rows[i].interfaces,
				       strstr(rows[i].interfaces, "red") || strstr(rows[i].interfaces, "blue")
					       ? "tenants: [red, blue]\n"
						 "segments: {r: {include: [10.0.0.0/8], tenant: red}}\n"
					       : ""),
			      0);
		p = load(text, &found);
		if (!*rows[i].found) {
			cr_expect(p, "%s: %s", text, found);
			continue;
		}
		cr_expect_str_eq(found, rows[i].found, "%s%s", text, found);
	}
}

/* The end that is not listed: behind the one that names it, for the same tenants, attached alike, open to all. */
Test(policy_ports, the_other_end)
{
	_cleanup_free_ char *found = NULL;
	_cleanup_(policy_freep) struct policy *p = load(
		"sluice: 1\ntenants: [red, blue]\nsegments: {a: [10.0.0.0/8]}\n"
		"interfaces:\n"
		"  - {name: p0, wire: p1, tenant: red, vlans: {7: blue}, vnis: {9: red}, antispoof: [a], attach: xdp}\n"
		"  - {name: \"p*\", tenant: blue}\n",
		&found);
	const struct policy_interface *end;

	cr_assert(p, "%s", found);
	cr_assert_eq(p->n_interfaces, 3);
	end = &p->interfaces[1];
	cr_expect_str_eq(p->interfaces[0].wire, "p1");
	cr_expect_str_eq(end->name, "p1");
	cr_expect_str_eq(end->wire, "p0");
	cr_expect_str_eq(p->interfaces[2].name, "p*");
	cr_expect_null(p->interfaces[2].wire);
	cr_expect_eq(end->tenant, 1);
	cr_expect_eq(end->attach, POLICY_ATTACH_XDP);
	cr_expect_not(end->antispoof);
	cr_assert_eq(end->n_vlans, 1);
	cr_expect(end->vlans[0].id == 7 && end->vlans[0].tenant == 2);
	cr_assert_eq(end->n_vnis, 1);
	cr_expect(end->vnis[0].id == 9 && end->vnis[0].tenant == 1);
}

/* However the wire is written, and as `sluice show` writes it, it is one policy; another wire, or none, is another. */
Test(policy_ports, one_digest)
{
	static const struct {
		const char *interfaces;
		bool same;
	} rows[] = {
		{"[{name: p0, wire: p1}]", true},
		{"[{name: p0, wire: p1}, {name: p1}]", true},
		{"[{name: p0}, {name: p1, wire: p0}]", true},
		{"[{name: p0, wire: p1}, {name: p1, wire: p0, attach: auto}]", true},
		{"[{name: p1, wire: p0}]", false},
		{"[{name: p0}, {name: p1}]", false},
		{"[{name: p0, forward: xdp}, {name: p1}]", false},
	};
	struct sluice_policy first = {};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL, *again_tables = NULL;
		_cleanup_(policy_freep) struct policy *p = NULL, *again = NULL;
		_cleanup_free_ char *text = NULL, *found = NULL, *written = NULL, *found_again = NULL;
		struct error err = {};
		size_t size;
		FILE *out;

		cr_assert_geq(asprintf(&text, "sluice: 1\ninterfaces: %s\n", rows[i].interfaces), 0);
		p = load(text, &found);
		cr_assert(p && !policy_compile(p, &err, &tables), "%s: %s%s", text, found, err.text);
		if (!i)
			first = tables->head;
		cr_expect_eq(!memcmp(tables->head.digest, first.digest, sizeof(first.digest)), rows[i].same, "%s",
			     text);
		cr_expect_eq(!!(tables->head.flags & SLUICE_HAS_PORTS), i != 5, "%s", text);
		out = open_memstream(&written, &size);
		cr_assert_not(policy_write(p, out));
		fclose(out);
		again = load(written, &found_again);
		cr_assert(again && !policy_compile(again, &err, &again_tables), "%s: %s%s", written, found_again,
			  err.text);
		cr_expect_arr_eq(again_tables->head.digest, tables->head.digest, sizeof(first.digest), "%s", written);
	}
}
