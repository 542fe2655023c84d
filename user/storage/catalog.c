// SPDX-License-Identifier: Apache-2.0
/*
 * What the target exports: subsystems, their namespaces, and the policy versions that these are read from. Filled by
 * target_start(), changed by update.c, read by reactors without a lock: what they see is immutable, and goes only when
 * each of them has let go of it (struct namespace, struct subsystem_state in reactor.h). A subsystem's name stays while
 * the target runs, since controllers point at it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "storage/reservations.h"

/* ---- versions ---- */

int storage_version_make(const struct policy_storage *storage, bool borrowed, struct storage_version **ret_version)
{
	struct storage_version *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->storage = *storage;
	v->borrowed = borrowed;
	atomic_init(&v->refs, 1);
	*ret_version = v;
	return 0;
}

static struct storage_version *version_take(struct storage_version *v)
{
	if (v)
		atomic_fetch_add(&v->refs, 1);
	return v;
}

void storage_version_put(struct storage_version *v)
{
	if (!v || atomic_fetch_sub(&v->refs, 1) > 1)
		return;
	if (!v->borrowed)
		policy_storage_done(&v->storage);
	free(v);
}

/* ---- questions ---- */

const struct namespace *subsystem_namespace(const struct subsystem *s, uint32_t nsid)
{
	const struct subsystem_state *state = subsystem_now(s);
	unsigned int low = 0, high = state->n_namespaces;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (state->namespaces[mid]->config->id == nsid)
			return state->namespaces[mid];
		if (state->namespaces[mid]->config->id < nsid)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

bool subsystem_spoils(const struct subsystem *s)
{
	const struct subsystem_state *state = subsystem_now(s);
	unsigned int i;

	for (i = 0; i < state->n_namespaces; i++)
		if (state->namespaces[i]->backend->spoils)
			return true;
	return false;
}

bool subsystem_admits(const struct subsystem *s, const char *hostnqn)
{
	const struct policy_subsystem *config = subsystem_now(s)->config;
	size_t i;

	for (i = 0; config && !config->any_host && i < config->n_hosts; i++)
		if (!strcmp(config->hosts[i].nqn, hostnqn))
			return true;
	return config && config->any_host;
}

struct subsystem *target_subsystem(const struct target *t, const char *nqn)
{
	unsigned int i, n = __atomic_load_n(&t->n_subsystems, __ATOMIC_ACQUIRE);

	for (i = 0; i < n; i++)
		if (!strcmp(t->subsystems[i]->nqn, nqn))
			return subsystem_now(t->subsystems[i])->config ? t->subsystems[i] : NULL;
	return NULL;
}

/* ---- namespaces ---- */

static int space_take(struct target *t, unsigned int *ret_index)
{
	unsigned int i;

	for (i = 0; i < REACTOR_MAX_SPACES; i++) {
		uint64_t bit = 1ull << i % 64;

		if (__atomic_load_n(&t->spaces[i / 64], __ATOMIC_ACQUIRE) & bit)
			continue;
		__atomic_fetch_or(&t->spaces[i / 64], bit, __ATOMIC_RELAXED);
		*ret_index = i;
		return 0;
	}
	return -ENOSPC;
}

static void space_give(struct target *t, unsigned int index)
{
	__atomic_fetch_and(&t->spaces[index / 64], ~(1ull << index % 64), __ATOMIC_RELEASE);
}

static struct namespace *namespace_make(struct subsystem *s, struct storage_version *v,
					const struct policy_namespace *config)
{
	struct namespace *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	ns->subsystem = s;
	ns->version = version_take(v);
	ns->config = config;
	ns->space.block_shift = config->block == 512 ? 9 : 12;
	ns->space.readonly = config->readonly;
	atomic_init(&ns->users, s->target->options.n_cpus + 1);
	return ns;
}

/* Whatever the number of users: for one that was never published. */
static void namespace_drop(struct namespace *ns)
{
	atomic_store(&ns->users, 1);
	namespace_put(ns);
}

static int check_size(struct namespace *ns, struct error *err)
{
	ns->space.blocks = ns->backend->size >> ns->space.block_shift;
	if (ns->space.blocks)
		return 0;
	return error_set(err, EINVAL, "namespace %u: %llu bytes are less than one block of %u; give a larger `size`",
			 ns->config->id, (unsigned long long)ns->backend->size, 1u << ns->space.block_shift);
}

int namespace_open(struct subsystem *s, struct storage_version *v, const struct policy_namespace *config,
		   struct error *err, struct namespace **ret_ns)
{
	struct namespace *ns = namespace_make(s, v, config);
	int ret;

	if (!ns)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	if (space_take(s->target, &ns->index)) {
		storage_version_put(ns->version);
		free(ns);
		return error_set(err, E2BIG, "namespace %u of %s: a target serves %u namespaces; remove some",
				 config->id, s->nqn, REACTOR_MAX_SPACES);
	}
	ret = reservations_open(s->target->saver, s->nqn, config->id, err, &ns->reservations);
	if (!ret)
		ret = (s->target->options.open_backend ?: backend_open)(config, err, &ns->backend);
	if (!ret)
		ret = check_size(ns, err);
	if (ret) {
		namespace_drop(ns);
		return ret;
	}
	if (ns->backend->write_cache)
		__atomic_store_n(&s->target->write_cache, true, __ATOMIC_RELAXED);
	*ret_ns = ns;
	return 0;
}

static uint32_t block_of(const struct policy_namespace *config)
{
	return config->block ? config->block : 4096;
}

static int check_change(const struct namespace *old, const struct policy_namespace *new, struct error *err)
{
	const struct policy_namespace *was = old->config;
	const char *what = NULL;

	if (was->backend != new->backend)
		what = "backend";
	else if (was->path && strcmp(was->path, new->path))
		what = "path";
	else if (block_of(was) != block_of(new))
		what = "block";
	else if (new->backend == POLICY_BACKEND_FILE && was->readonly && !new->readonly)
		what = "readonly";
	if (!what)
		return 0;
	return error_set(err, EBUSY,
			 "namespace %u of %s: `%s` cannot change while it is served; give the new one another id, or "
			 "restart the target",
			 new->id, old->subsystem->nqn, what);
}

int namespace_change(struct namespace *old, struct storage_version *v, const struct policy_namespace *config,
		     struct error *err, struct namespace **ret_ns)
{
	struct namespace *base = old->base ? old->base : old, *ns;
	int ret = check_change(old, config, err);

	if (!ret && !base->backend->ops->resize)
		ret = error_set(err, EBUSY,
				"namespace %u of %s: its backend cannot change while it is served; restart "
				"the target",
				config->id, old->subsystem->nqn);
	if (!ret)
		ret = base->backend->ops->resize(base->backend, config, err);
	if (ret)
		return ret;
	ns = namespace_make((struct subsystem *)old->subsystem, v, config);
	if (!ns)
		return error_system(err, ENOMEM, "namespace %u", config->id);
	atomic_fetch_add(&base->users, 1);
	ns->base = base;
	ns->backend = base->backend;
	ns->reservations = base->reservations;
	ns->index = base->index;
	ret = check_size(ns, err);
	if (ret) {
		namespace_drop(ns);
		return ret;
	}
	*ret_ns = ns;
	return 0;
}

void namespace_put(struct namespace *ns)
{
	if (atomic_fetch_sub(&ns->users, 1) > 1)
		return;
	if (ns->base) {
		namespace_put(ns->base);
	} else {
		backend_close(ns->backend);
		reservations_close(ns->reservations);
		space_give(ns->subsystem->target, ns->index);
	}
	storage_version_put(ns->version);
	free(ns);
}

/* ---- states ---- */

struct subsystem_state *subsystem_state_make(struct storage_version *v, const struct policy_subsystem *config,
					     unsigned int n)
{
	struct subsystem_state *state = calloc(1, sizeof(*state) + n * sizeof(struct namespace *));

	if (!state)
		return NULL;
	state->version = version_take(v);
	state->config = config;
	return state;
}

void subsystem_state_free(struct subsystem_state *state)
{
	if (!state)
		return;
	if (state->config)
		host_keys_free(state->keys, state->config->n_hosts);
	storage_version_put(state->version);
	free(state->ana);
	free(state);
}

static int by_nsid(const void *a, const void *b)
{
	uint32_t x = (*(struct namespace *const *)a)->config->id, y = (*(struct namespace *const *)b)->config->id;

	return (x > y) - (x < y);
}

void subsystem_state_sort(struct subsystem_state *state)
{
	qsort(state->namespaces, state->n_namespaces, sizeof(state->namespaces[0]), by_nsid);
}

int subsystem_add(struct target *t, const char *nqn, struct error *err, struct subsystem **ret_subsystem)
{
	struct subsystem *s;
	unsigned int i;

	for (i = 0; i < t->n_subsystems; i++)
		if (!strcmp(t->subsystems[i]->nqn, nqn)) {
			*ret_subsystem = t->subsystems[i];
			return 0;
		}
	if (t->n_subsystems == TARGET_MAX_SUBSYSTEMS)
		return error_set(err, E2BIG,
				 "storage: a target serves %u subsystems, those that were removed included; "
				 "restart it",
				 TARGET_MAX_SUBSYSTEMS);
	s = calloc(1, sizeof(*s));
	if (s)
		s->state = subsystem_state_make(NULL, NULL, 0);
	if (!s || !s->state) {
		free(s);
		return error_system(err, ENOMEM, "subsystem %s", nqn);
	}
	s->target = t;
	snprintf(s->nqn, sizeof(s->nqn), "%s", nqn);
	t->subsystems[t->n_subsystems] = s;
	__atomic_store_n(&t->n_subsystems, t->n_subsystems + 1, __ATOMIC_RELEASE);
	*ret_subsystem = s;
	return 0;
}

static int open_subsystem(struct target *t, struct storage_version *v, const struct policy_subsystem *config,
			  struct error *err)
{
	struct subsystem_state *state;
	struct subsystem *s;
	size_t n;
	int ret = subsystem_add(t, config->nqn, err, &s);

	if (ret)
		return ret;
	state = subsystem_state_make(v, config, config->n_namespaces);
	if (!state)
		return error_system(err, ENOMEM, "subsystem %s", config->nqn);
	subsystem_state_free(s->state);
	s->state = state;
	ret = host_keys_read(config, &state->keys, err);
	if (ret)
		return ret;
	if (ana_table_make(t, &v->storage, config, NULL, &state->ana))
		return error_system(err, ENOMEM, "subsystem %s", config->nqn);
	for (n = 0; n < config->n_namespaces; n++) {
		ret = namespace_open(s, v, &config->namespaces[n], err, &state->namespaces[n]);
		if (ret)
			return ret;
		state->namespaces[n]->group = group_of(config, &config->namespaces[n]);
		state->n_namespaces++;
	}
	subsystem_state_sort(state);
	return 0;
}

int catalog_open(struct target *t, struct error *err)
{
	const struct policy_storage *storage = t->options.storage;
	struct storage_version *v;
	size_t i;
	int ret = storage_version_make(storage, true, &v);

	if (ret)
		return error_system(err, -ret, "subsystems");
	for (i = 0; i < storage->n_subsystems && !ret; i++)
		ret = open_subsystem(t, v, &storage->subsystems[i], err);
	t->version = v;
	t->generation = 1;
	return ret;
}

void catalog_close(struct target *t)
{
	unsigned int i, n;

	for (i = 0; i < t->n_subsystems; i++) {
		struct subsystem_state *state = t->subsystems[i]->state;

		for (n = 0; n < state->n_namespaces; n++)
			namespace_drop(state->namespaces[n]);
		subsystem_state_free(state);
		free(t->subsystems[i]);
	}
	storage_version_put(t->version);
}
