// SPDX-License-Identifier: Apache-2.0
/*
 * A policy into the kernel and out of it: the order of steps is the whole point of this file. Everything that can be
 * refused is asked first, the spare bank is filled, one store flips, then hooks follow. A process that dies in any line
 * leaves one whole policy in force, and the next apply starts from there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "dataplane/internal.h"

/* The pickup period of conntrack begins with the first attach, not with each apply. */
static void mark_first_attach(struct dataplane *dp)
{
	__u64 none = 0;

	__atomic_compare_exchange_n(&dp->control->attached_ns, &none, time_now_ns(), false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}

static bool tables_reject(const struct policy_tables *t)
{
	size_t i;

	for (i = 0; i < t->n_rules; i++)
		if (t->rules[i].action == SLUICE_ACTION_REJECT)
			return true;
	return false;
}

/*
 * What answers has to be there before the flip: a connection is cut by one packet, and if that is not answered, none will
 * be. Where nothing is attached yet, nothing is judged, and attach_all() keeps the order.
 */
static int answers_attach(struct dataplane *dp, const struct policy *p, const struct policy_tables *t,
			  const struct resolved *r, struct error *err)
{
	bool answers = tables_reject(t);
	size_t i;
	int s = 0;

	for (i = 0; !s && i < r->count; i++)
		if (answers || cookies_need_tc(p, &r->items[i]))
			s = interface_answers(dp, &r->items[i], err);
	return s;
}

/* Attaches what the policy names; on failure takes off what this call has put on. */
static int attach_all(struct dataplane *dp, const struct policy *p, const struct policy_tables *t,
		      const struct resolved *r, struct error *err)
{
	_cleanup_free_ bool *changed = calloc(r->count + 1, sizeof(*changed));
	bool answers = tables_reject(t);
	size_t i;
	int s = changed ? 0 : error_set(err, ENOMEM, "interfaces: out of memory");

	for (i = 0; !s && i < r->count; i++)
		s = interface_attach(dp, &r->items[i], p->interfaces[r->items[i].entry].attach,
				     answers || cookies_need_tc(p, &r->items[i]), err, &changed[i]);
	if (!s)
		return 0;
	while (changed && i--)
		if (changed[i] && interface_detach(dp, r->items[i].ifindex, NULL))
			log_error(r->items[i].name, "could not take the programs off again; `sluice detach` will");
	return s;
}

/* One apply under way. */
struct apply {
	struct dataplane *dp;
	const struct policy *policy;
	struct policy_tables *tables;
	const struct dataplane_apply_options *options;
	struct resolved found;
	struct late_slots late;
	uint64_t before;
	uint64_t next;
};

static void apply_done(struct apply *a)
{
	resolved_done(&a->found);
	free(a->late.slot);
}

static int flip(const struct apply *a, struct error *err)
{
	mark_first_attach(a->dp);
	if (a->options->confirm_ns)
		return trial_begin(a->dp, a->next, a->before, a->options->confirm_ns, err);
	return bank_flip(a->dp, a->next, err);
}

/*
 * Back to the bank that was live. The number of the failed generation is never used again, so that flows which were
 * decided under it are decided again.
 */
static void flip_back(const struct apply *a)
{
	struct error err = {};
	int r;

	if (a->options->confirm_ns)
		r = trial_take_back(a->dp, a->next, &err);
	else
		r = bank_flip(a->dp, a->before, &err);
	if (r)
		log_error("bank", "%s", err.text);
}

/* No policy can count on more flows than the table was sized for. */
static void table_fit(struct sluice_policy *head, uint32_t max_flows)
{
	uint32_t half = max(max_flows / 2, 1u);

	head->max_flows = min(head->max_flows, max_flows);
	head->syn_max = min(head->syn_max, half);
	head->syn_threshold = min(head->syn_threshold, half);
}

static int load_spare(struct apply *a, struct error *err)
{
	_cleanup_(numbered_done) struct numbered n = {};
	unsigned int bank = a->next & 1;
	int r;

	a->tables->head.generation = a->next;
	a->tables->head.rmem_max = cookies_rmem_max();
	table_fit(&a->tables->head, a->dp->control->max_flows);
	r = tenants_number(a->dp, a->policy, a->tables, err, &n);
	if (!r)
		r = bank_load(a->dp, bank, &n.tables, err);
	if (!r)
		r = limits_load(a->dp, bank, &n.tables, err);
	if (!r)
		r = interfaces_write(a->dp, &n.policy, &a->found, bank, err);
	return r ? r : ports_add(a->dp, a->policy, &a->found, err);
}

/* Everything that can be refused, and the spare bank; nothing has changed for any packet. */
static int apply_prepare(struct apply *a, struct error *err, size_t *ret_kept)
{
	struct dataplane *dp = a->dp;
	int r = trial_refuse(dp, err); /* it also waits: an apply that died at its flip has not */

	if (r)
		return r;
	a->before = dp->control->generation;
	a->next = bank_next_generation(dp);
	r = netns_claim(dp, err);
	if (!r)
		r = interfaces_resolve(dp, a->policy, err, &a->found);
	if (!r && a->options->confirm_ns)
		r = trial_prepare(dp, err);
	if (!r)
		r = slots_assign(dp, a->tables, err, ret_kept, &a->late);
	if (!r)
		r = load_spare(a, err);
	return r ? r : answers_attach(dp, a->policy, a->tables, &a->found, err);
}

/* After the flip and the hooks. On trial, the interfaces of the policy before keep theirs. */
static int apply_tidy(struct apply *a, struct error *err)
{
	int r = 0;

	if (!a->options->confirm_ns)
		r = interfaces_detach_others(a->dp, &a->found, err);
	if (!r)
		r = ports_prune(a->dp, err);
	if (!r && tc_prune(a->dp))
		log_warn("dataplane", "%s/links: cannot remove links of interfaces that are gone", a->dp->root);
	if (!r && a->late.count)
		r = slots_begin(a->dp, a->late.slot, a->late.count, err);
	return r;
}

static int apply_locked(struct apply *a, struct error *err, struct dataplane_applied *ret)
{
	uint64_t start = time_now_ns(), loaded, flipped;
	size_t kept = 0;
	int r = apply_prepare(a, err, &kept);

	if (r)
		return r;
	loaded = time_now_ns();
	if (a->options->before_flip)
		a->options->before_flip(a->options->arg, a->tables);
	flipped = time_now_ns();
	r = flip(a, err);
	ret->flip_ns = time_now_ns() - flipped;
	if (!r)
		r = attach_all(a->dp, a->policy, a->tables, &a->found, err);
	if (!r)
		r = ports_settle(a->dp, a->policy, &a->found, a->next & 1, err);
	if (r) {
		flip_back(a);
		return r;
	}
	ret->generation = a->next;
	ret->previous = a->before;
	ret->load_ns = loaded - start;
	ret->rules_kept = kept;
	ret->rules_new = a->tables->n_rules - kept;
	ret->interfaces = a->found.count;
	return apply_tidy(a, err);
}

int dataplane_apply_with(struct dataplane *dp, const struct policy *p, struct policy_tables *tables,
			 const struct dataplane_apply_options *options, struct error *err,
			 struct dataplane_applied *ret_applied)
{
	_cleanup_(apply_done) struct apply a = {.dp = dp, .policy = p, .tables = tables, .options = options};
	struct dataplane_applied applied = {};
	_cleanup_close_ int lock = -1;
	struct error ignored;
	bool fresh;
	int r = folder_lock(dp->root, err, &lock);

	if (r)
		return r;
	fresh = !dp->control->attached_ns; /* no policy was ever in force, nothing is attached */
	r = apply_locked(&a, err, &applied);
	if (r && fresh && !dp->control->generation &&
	    folder_remove(dp->root)) /* made for this apply: nothing stays of it */
		log_warn("dataplane", "%s: cannot be removed; `sluice --root %s detach` will", dp->root, dp->root);
	if (r)
		return r;
	if (programs_load_cpumap(dp, &ignored))
		log_debug("dataplane", "no steering by cpumap: %s", ignored.text);
	*ret_applied = applied;
	return 0;
}

int dataplane_apply(struct dataplane *dp, const struct policy *p, struct policy_tables *tables, struct error *err,
		    struct dataplane_applied *ret_applied)
{
	static const struct dataplane_apply_options none;

	return dataplane_apply_with(dp, p, tables, &none, err, ret_applied);
}

/*
 * Works from the outside in: hooks first, then pins. A folder that cannot be adopted (half made, another ABI) still
 * says which control map is its own, and that is all that detaching needs.
 */
static int detach_hooks(const char *root, struct error *err)
{
	struct bpf_map_info info = {};
	__u32 length = sizeof(info);
	_cleanup_free_ struct dataplane *dp = calloc(1, sizeof(*dp));
	_cleanup_close_ int control = bpf_obj_get(pin_path(root, NULL, "control").text);

	if (!dp)
		return error_set(err, ENOMEM, "%s: out of memory", root);
	strncpy(dp->root, root, sizeof(dp->root) - 1);
	if (control >= 0 && !bpf_obj_get_info_by_fd(control, &info, &length))
		dp->control_id = info.id;
	return interfaces_detach_others(dp, NULL, err);
}

int dataplane_detach(const char *root, struct error *err)
{
	_cleanup_close_ int lock = -1;
	char fresh[PATH_MAX / 2];
	struct stat st;
	int r;

	if (strlen(root) + 4 >= sizeof(fresh))
		return error_set(err, ENAMETOOLONG, "%s: path too long", root);
	strcpy(fresh, root);
	strcat(fresh, "-new");
	r = folder_lock(root, err, &lock);
	if (r)
		return r;
	if (stat(root, &st) && errno == ENOENT && access(fresh, F_OK)) {
		folder_lock_remove(root);
		return error_set(err, ENOENT, "%s: nothing is applied here", root);
	}
	r = netns_check(root, err);
	if (!r)
		r = detach_hooks(root, err);
	if (r)
		return r;
	r = folder_remove(fresh);
	if (!r)
		r = folder_remove(root);
	if (r)
		return error_system(err, -r, "%s: cannot remove", root);
	folder_lock_remove(root);
	return 0;
}
