// SPDX-License-Identifier: Apache-2.0
/* `sluice apply`: policy file → tables → kernel, and a short account of what that changed. */
#include "cli/apply.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "cli/follow.h"
#include "cli/json.h"
#include "cli/plan.h"
#include "cli/table.h"
#include "policy/values.h"

#define CONFIRM_MIN_NS (1 * NSEC_PER_SEC)
#define CONFIRM_MAX_NS (24 * 3600 * NSEC_PER_SEC)

int apply_confirm_time(const char *text, uint64_t *ret_ns, struct error *err)
{
	uint64_t ns;
	int r = value_duration(text, &ns, err);

	if (!r && (ns < CONFIRM_MIN_NS || ns > CONFIRM_MAX_NS))
		r = error_set(err, EINVAL, "%s is out of range; use 1s to 24h", text);
	if (!r)
		*ret_ns = ns;
	return r;
}

/* ------------------------------------------------------------------- the account */

static void print_trial(const struct dataplane_trial *t)
{
	if (t->state == DATAPLANE_TRIAL_EXPIRED) {
		printf("  confirm     its time is over already: generation %llu is in force again\n",
		       (unsigned long long)t->previous);
		return;
	}
	if (t->state != DATAPLANE_TRIAL_PENDING)
		return;
	printf("  confirm     on trial for %llu s: `sluice confirm` keeps it, `sluice rollback` ends it, else ",
	       (unsigned long long)(t->left_ns / NSEC_PER_SEC));
	if (t->previous)
		printf("generation %llu comes back by itself\n", (unsigned long long)t->previous);
	else
		printf("it ends by itself and everything passes\n");
}

static void print_changes(const struct rollout *r)
{
	if (!r->plan.diff)
		return;
	printf("  changes     rules: %s; %s of %s live flows cut\n",
	       plan_counts(&r->plan.diff->part[POLICY_DIFF_RULES]).text, number_text(r->plan.cuts.cut).text,
	       number_text(r->plan.cuts.asked).text);
}

void apply_text(const char *command, const struct rollout *r)
{
	const struct dataplane_status *s = &r->status;
	const struct dataplane_applied *a = &r->applied;
	size_t i;

	printf("policy %s in force: generation %llu, mode %s\n", r->name, (unsigned long long)a->generation,
	       r->audit ? "audit" : "enforce");
	print_changes(r);
	printf("  rules       %zu kept, %zu new (default included)\n", a->rules_kept, a->rules_new);
	for (i = 0; i < s->n_interfaces; i++)
		printf("  interface   %s: %s%s%s%s%s\n", s->interfaces[i].name, s->interfaces[i].mode,
		       s->interfaces[i].egress ? ", egress " : "", s->interfaces[i].egress_mode,
		       s->interfaces[i].wire[0]	 ? ", wire to "
		       : s->interfaces[i].forward ? ", forwards in xdp"
						  : "",
		       s->interfaces[i].wire);
	printf("  time        %s to load, %s to flip\n", duration_text(a->load_ns).text,
	       duration_text(a->flip_ns).text);
	print_trial(&s->trial);
	for (i = 0; i < r->n_warnings; i++)
		fprintf(stderr, "sluice: %s: warning: %s\n", command, r->warnings[i].text);
}

static struct json_object *rules_object(const struct rollout *r)
{
	struct json_object *o = json_object_new_object();
	size_t i;

	for (i = 0; i < POLICY_CHANGES; i++)
		json_add(o, policy_change_name((enum policy_change)i),
			 r->plan.diff ? json_number(r->plan.diff->part[POLICY_DIFF_RULES].changes[i]) : NULL);
	json_add(o, "kept", json_number(r->applied.rules_kept));
	json_add(o, "new", json_number(r->applied.rules_new));
	return o;
}

static struct json_object *flows_object(const struct rollout *r)
{
	struct json_object *o = json_object_new_object();

	json_add(o, "live", r->plan.diff ? json_number(r->plan.cuts.asked) : NULL);
	json_add(o, "cut", r->plan.diff ? json_number(r->plan.cuts.cut) : NULL);
	return o;
}

static struct json_object *interfaces_array(const struct dataplane_status *s)
{
	struct json_object *list = json_object_new_array(), *o;
	size_t i;

	for (i = 0; i < s->n_interfaces; i++) {
		o = json_object_new_object();
		json_add(o, "name", json_object_new_string(s->interfaces[i].name));
		json_add(o, "mode", json_object_new_string(s->interfaces[i].mode));
		json_add(o, "egress_mode", json_name(s->interfaces[i].egress_mode));
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *apply_json(const struct rollout *r)
{
	struct json_object *o = json_object_new_object(), *warnings = json_object_new_array();
	size_t i;

	json_add(o, "policy", json_object_new_string(r->name));
	json_add(o, "generation", json_number(r->applied.generation));
	json_add(o, "previous", json_number(r->applied.previous));
	json_add(o, "digest", json_hex(r->digest, sizeof(r->digest)));
	json_add(o, "mode", json_object_new_string(r->audit ? "audit" : "enforce"));
	json_add(o, "rules", rules_object(r));
	json_add(o, "flows", flows_object(r));
	json_add(o, "interfaces", interfaces_array(&r->status));
	json_add(o, "load_ns", json_number(r->applied.load_ns));
	json_add(o, "flip_ns", json_number(r->applied.flip_ns));
	json_add(o, "confirm", json_trial(&r->status.trial));
	for (i = 0; i < r->n_warnings; i++)
		json_object_array_add(warnings, json_object_new_string(r->warnings[i].text));
	json_add(o, "warnings", warnings);
	return o;
}

/* ------------------------------------------------------------------- targets */

/* What a policy on trial exports is for `sluice confirm` to tell: a target cannot go back by itself. */
static struct json_object *tell_targets(const struct policy *p, const char *path, uint64_t confirm_ns)
{
	if (!p->storage.present)
		return json_object_new_array();
	return follow_request(confirm_ns ? FOLLOW_ASK : FOLLOW_UPDATE, path);
}

static void print_targets(struct json_object *targets, uint64_t confirm_ns)
{
	if (!confirm_ns)
		follow_print("apply", targets);
	else if (json_object_array_length(targets))
		printf("  storage     what targets export changes with `sluice confirm`\n");
}

/* ------------------------------------------------------------------- the command */

static int apply(const struct policy *p, const char *path, uint64_t confirm_ns, bool json)
{
	const struct rollout_options options = {
		.root = cli_options.root,
		.state_dir = cli_options.state_dir,
		.source = path,
		.confirm_ns = confirm_ns,
	};
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(rollout_done) struct rollout rolled = {};
	struct error err = {};
	int r = policy_compile(p, &err, &tables), failures;
	struct json_object *targets, *o;

	if (!r)
		r = rollout(p, tables, &options, &err, &rolled);
	if (r)
		return json_fail(json, "apply", r, &err);
	targets = tell_targets(p, path, confirm_ns);
	failures = follow_failures(targets);
	if (json) {
		o = apply_json(&rolled);
		json_add(o, "targets", targets);
		json_print(o);
	} else {
		apply_text("apply", &rolled);
		print_targets(targets, confirm_ns);
		json_object_put(targets);
	}
	return failures ? EXIT_SYSTEM : EXIT_FINE;
}

/* A policy without interfaces has nothing to do in the kernel, but a target may follow it. */
static int apply_storage(const struct policy *p, const char *path, bool json)
{
	struct json_object *targets = tell_targets(p, path, 0), *o;
	bool none = !json_object_array_length(targets);
	int failures = follow_failures(targets);
	struct error err = {};

	if (none) {
		json_object_put(targets);
		error_set(&err, ENOENT,
			  "%s: names no interface, and no running target follows it; add `interfaces:`, or start "
			  "`sluice target %s`",
			  path, path);
		return json_refuse(json, "apply", &err);
	}
	if (json) {
		o = json_object_new_object();
		json_add(o, "policy", json_object_new_string(p->name));
		json_add(o, "targets", targets);
		json_print(o);
	} else {
		printf("policy %s names no interface: nothing changes in the kernel\n", p->name);
		print_targets(targets, 0);
		json_object_put(targets);
	}
	return failures ? EXIT_SYSTEM : EXIT_FINE;
}

int cmd_apply(int argc, char **argv)
{
	static const struct option options[] = {
		{"confirm", required_argument, NULL, 'c'}, {"json", no_argument, NULL, 'j'}, {}};
	_cleanup_(policy_freep) struct policy *p = NULL;
	uint64_t confirm_ns = 0;
	struct error err = {};
	bool json = false;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			json = true;
		else if (option != 'c')
			return cli_usage("apply", "unknown option");
		else if (apply_confirm_time(optarg, &confirm_ns, &err))
			return cli_usage("apply", "--confirm: %s", err.text);
	}
	if (optind + 1 != argc)
		return cli_usage("apply", "takes one policy");
	r = cli_load_policy("apply", argv[optind], &p);
	if (r)
		return json ? json_rejected(argv[optind], r) : r;
	if (!p->n_interfaces && p->storage.present && !confirm_ns)
		return apply_storage(p, argv[optind], json);
	if (!p->n_interfaces)
		return cli_usage("apply", "%s names no interface; add `interfaces:`", argv[optind]);
	return apply(p, argv[optind], confirm_ns, json);
}
