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

static void late_slots_done(struct late_slots *l)
{
	free(l->slot);
}

/* The pickup period of conntrack begins with the first attach, not with each apply. */
static void mark_first_attach(struct dataplane *dp)
{
	__u64 none = 0;

	__atomic_compare_exchange_n(&dp->control->attached_ns, &none, time_now_ns(), false, __ATOMIC_RELEASE,
				    __ATOMIC_RELAXED);
}

/* Attaches what the policy names; on failure takes off what this call has put on. */
static int attach_all(struct dataplane *dp, const struct policy *p, const struct resolved *r, struct error *err)
{
	_cleanup_free_ bool *changed = calloc(r->count + 1, sizeof(*changed));
	size_t i;
	int s = changed ? 0 : error_set(err, ENOMEM, "interfaces: out of memory");

	for (i = 0; !s && i < r->count; i++)
		s = interface_attach(dp, &r->items[i], p->interfaces[r->items[i].entry].attach, err, &changed[i]);
	if (!s)
		return 0;
	while (changed && i--)
		if (changed[i] && interface_detach(dp, r->items[i].ifindex, NULL))
			log_error(r->items[i].name, "could not take the programs off again; `sluice detach` will");
	return s;
}

/* Back to the bank that was live. The number of the failed generation is never used again. */
static void flip_back(struct dataplane *dp, uint64_t before)
{
	struct error err = {};

	if (bank_flip(dp, before, &err))
		log_error("bank", "%s", err.text);
}

static int load_spare(struct dataplane *dp, const struct policy *p, struct policy_tables *t, const struct resolved *r,
		      uint64_t generation, struct error *err)
{
	int s;

	t->head.generation = generation;
	s = bank_load(dp, generation & 1, t, err);
	return s ? s : interfaces_write(dp, p, r, generation & 1, err);
}

static int apply_locked(struct dataplane *dp, const struct policy *p, struct policy_tables *t, struct error *err,
			struct dataplane_applied *ret)
{
	_cleanup_(late_slots_done) struct late_slots late = {};
	_cleanup_(resolved_done) struct resolved found = {};
	uint64_t before = dp->control->generation, next, start = time_now_ns(), loaded;
	size_t kept = 0;
	int r;

	next = bank_next_generation(dp);
	r = netns_claim(dp, err);
	if (!r)
		r = interfaces_resolve(dp, p, err, &found);
	if (!r) /* an apply that died at its flip has not waited */
		r = bank_settle(dp, err);
	if (!r)
		r = slots_assign(dp, t, err, &kept, &late);
	if (!r)
		r = load_spare(dp, p, t, &found, next, err);
	if (r)
		return r;
	loaded = time_now_ns();
	mark_first_attach(dp);
	r = bank_flip(dp, next, err);
	ret->flip_ns = time_now_ns() - loaded;
	if (!r)
		r = attach_all(dp, p, &found, err);
	if (r) {
		flip_back(dp, before);
		return r;
	}
	r = interfaces_detach_others(dp, &found, err);
	if (!r && tc_prune(dp))
		log_warn("dataplane", "%s/links: cannot remove links of interfaces that are gone", dp->root);
	if (!r && late.count)
		r = slots_zero(dp, late.slot, late.count, err);
	ret->generation = next;
	ret->load_ns = loaded - start;
	ret->rules_kept = kept;
	ret->rules_new = t->n_rules - kept;
	ret->interfaces = found.count;
	return r;
}

int dataplane_apply(struct dataplane *dp, const struct policy *p, struct policy_tables *tables, struct error *err,
		    struct dataplane_applied *ret_applied)
{
	struct dataplane_applied applied = {};
	_cleanup_close_ int lock = -1;
	struct error ignored;
	int r = folder_lock(dp->root, err, &lock);

	if (r)
		return r;
	r = apply_locked(dp, p, tables, err, &applied);
	if (r && !dp->control->generation && folder_remove(dp->root)) /* made for this apply: nothing stays of it */
		log_warn("dataplane", "%s: cannot be removed; `sluice --root %s detach` will", dp->root, dp->root);
	if (r)
		return r;
	if (programs_load_cpumap(dp, &ignored))
		log_debug("dataplane", "no steering by cpumap: %s", ignored.text);
	*ret_applied = applied;
	return 0;
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
