// SPDX-License-Identifier: Apache-2.0
/* `sluice apply`: policy file → tables → kernel, and a short account of what that changed. */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/table.h"

static void print_summary(const struct policy *p, const struct dataplane_applied *a, const struct dataplane_status *s)
{
	size_t i;

	printf("policy %s in force: generation %llu, mode %s\n", p->name, (unsigned long long)a->generation,
	       p->audit ? "audit" : "enforce");
	printf("  rules       %zu kept, %zu new (default included)\n", a->rules_kept, a->rules_new);
	for (i = 0; i < s->n_interfaces; i++)
		printf("  interface   %s: %s%s%s\n", s->interfaces[i].name, s->interfaces[i].mode,
		       s->interfaces[i].egress ? ", egress " : "", s->interfaces[i].egress_mode);
	printf("  time        %s to load, %s to flip\n", duration_text(a->load_ns).text,
	       duration_text(a->flip_ns).text);
}

static int apply(const struct policy *p, struct error *err)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(dataplane_closep) struct dataplane *dp = NULL;
	struct dataplane_applied applied;
	struct dataplane_status status;
	int r;

	r = policy_compile(p, err, &tables);
	if (!r)
		r = dataplane_open_or_load(cli_options.root, p->conntrack.max, err, &dp);
	if (!r)
		r = dataplane_apply(dp, p, tables, err, &applied);
	if (!r)
		r = dataplane_status(dp, err, &status);
	if (r)
		return r;
	print_summary(p, &applied, &status);
	if (status.max_flows != p->conntrack.max)
		fprintf(stderr,
			"sluice: apply: warning: conntrack.max stays %u, the size the flow table was loaded with, "
			"instead of %u; "
			"`sluice detach` first to change it\n",
			status.max_flows, p->conntrack.max);
	if (status.control.build != dataplane_build())
		fprintf(stderr, "sluice: apply: warning: the programs in force are those of another build of sluice and stay; "
				"`sluice detach` first to load this one's\n");
	dataplane_status_done(&status);
	return 0;
}

int cmd_apply(int argc, char **argv)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct error err = {};
	int r;

	if (argc != 2 || argv[1][0] == '-')
		return cli_usage("apply", "takes one policy");
	r = cli_load_policy("apply", argv[1], &p);
	if (r)
		return r;
	if (!p->n_interfaces)
		return cli_usage("apply", "%s names no interface; add `interfaces:`", argv[1]);
	r = apply(p, &err);
	return r ? cli_fail("apply", r, &err) : EXIT_FINE;
}
