// SPDX-License-Identifier: Apache-2.0
/*
 * Changes what a running target exports: target_update(), called by the thread that answers the control socket. All
 * that can fail is done first, beside what is in force. Then each reactor learns of new namespaces, the new tables are
 * published, and each reactor learns that the old ones have gone: it fails commands that have not begun and keeps hold
 * of a namespace as long as others are under way. Only then controllers are ended and hosts told. Reactors never wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "storage/reactor.h"

#define DRAIN_NS (2 * NSEC_PER_SEC) /* how long an update waits for commands of namespaces that went */

/* One subsystem before and after. */
struct turnover {
	struct subsystem *subsystem;
	struct subsystem_state *old, *new;
	uint64_t changed[TARGET_MAX_NSID / 64 + 1]; /* nsids: appeared, went, or look different */
	bool hosts;				    /* who may connect */
	bool regrouped;				    /* a namespace has another ANA group */
};

struct update {
	struct target *target;
	struct storage_version *version;
	struct turnover turnovers[TARGET_MAX_SUBSYSTEMS];
	unsigned int n_turnovers;
	struct namespace **fresh; /* opened for this */
	unsigned int n_fresh, max_fresh;
	struct namespace **gone; /* of the old states, not of the new */
	unsigned int n_gone;
	struct limit_table *limits;
	bool discovery;
	unsigned int pending; /* calls that reactors have not run; under the target's mutex */
	struct json_object *changes;
};

struct update_call {
	struct reactor_call call;
	struct update *update;
	struct retiring **retiring; /* this reactor's, n_gone of them */
};

/* ---- the account ---- */

static void tell(struct update *u, const char *change, const char *nqn, uint32_t nsid, uint64_t bytes)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "change", json_object_new_string(change));
	json_object_object_add(o, "subsystem", json_object_new_string(nqn));
	if (nsid)
		json_object_object_add(o, "nsid", json_object_new_int64(nsid));
	if (bytes)
		json_object_object_add(o, "bytes", json_object_new_int64(bytes));
	json_object_array_add(u->changes, o);
	if (nsid)
		log_info("target", "%s namespace %u: %s", nqn, nsid, change);
	else
		log_info("target", "%s: %s", nqn, change);
}

static void tell_limit(void *arg, const char *change, const char *name)
{
	struct json_object *o = json_object_new_object();
	struct update *u = arg;

	json_object_object_add(o, "change", json_object_new_string(change));
	json_object_object_add(o, "limit", json_object_new_string(name));
	json_object_array_add(u->changes, o);
	log_info("target", "%s: %s", name, change);
}

static uint64_t bytes_of(const struct namespace *ns)
{
	return ns->space.blocks << ns->space.block_shift;
}

static void mark(struct turnover *to, uint32_t nsid)
{
	to->changed[nsid / 64] |= 1ull << nsid % 64;
}

/* ---- beside what is in force ---- */

static struct namespace *find(const struct subsystem_state *state, uint32_t nsid)
{
	unsigned int i;

	for (i = 0; i < state->n_namespaces; i++)
		if (state->namespaces[i]->config->id == nsid)
			return state->namespaces[i];
	return NULL;
}

static bool is_same(const struct namespace *a, const struct namespace *b)
{
	return a->space.blocks == b->space.blocks && a->space.readonly == b->space.readonly && a->group == b->group;
}

static int keep_fresh(struct update *u, struct namespace *ns)
{
	if (u->n_fresh == u->max_fresh) {
		unsigned int max = 2 * u->max_fresh + 16;
		struct namespace **more = realloc(u->fresh, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		u->fresh = more;
		u->max_fresh = max;
	}
	u->fresh[u->n_fresh++] = ns;
	return 0;
}

static void drop(struct namespace *ns)
{
	atomic_store(&ns->users, 1);
	namespace_put(ns);
}

/* The namespace of `config` as it is to be from now on: the old one if it looks the same. */
static int namespace_next(struct update *u, struct turnover *to, const struct policy_namespace *config,
			  struct error *err, struct namespace **ret_ns)
{
	struct namespace *old = find(to->old, config->id), *ns = NULL;
	const char *nqn = to->subsystem->nqn;
	int ret;

	if (old)
		ret = namespace_change(old, u->version, config, err, &ns);
	else
		ret = namespace_open(to->subsystem, u->version, config, err, &ns);
	if (ret)
		return ret;
	ns->group = group_of(to->new->config, config);
	if (old && is_same(old, ns)) {
		drop(ns);
		*ret_ns = old;
		return 0;
	}
	if (keep_fresh(u, ns)) {
		drop(ns);
		return error_system(err, ENOMEM, "namespace %u of %s", config->id, nqn);
	}
	mark(to, config->id);
	to->regrouped |= old && old->group != ns->group;
	if (!old)
		tell(u, "added", nqn, config->id, bytes_of(ns));
	else if (old->space.blocks != ns->space.blocks)
		tell(u, "resized", nqn, config->id, bytes_of(ns));
	else if (old->group != ns->group)
		tell(u, "ANA group changed", nqn, config->id, 0);
	else
		tell(u, ns->space.readonly ? "read-only" : "writable", nqn, config->id, 0);
	*ret_ns = ns;
	return 0;
}

static bool same_hosts(const struct policy_subsystem *a, const struct policy_subsystem *b)
{
	size_t i;

	if (!a || !b || a->any_host != b->any_host || a->n_hosts != b->n_hosts)
		return a == b;
	for (i = 0; i < a->n_hosts; i++)
		if (strcmp(a->hosts[i].nqn, b->hosts[i].nqn))
			return false;
	return true;
}

static bool ana_changes(const struct target *t, const struct turnover *to)
{
	unsigned int p;

	for (p = 0; p < t->n_portals; p++)
		if (to->old->config && ana_differs(to->old->ana, to->new->ana, p))
			return true;
	return false;
}

static int subsystem_next(struct update *u, const struct policy_subsystem *config, struct error *err)
{
	struct turnover *to = &u->turnovers[u->n_turnovers];
	size_t i;
	int ret;

	ret = subsystem_add(u->target, config->nqn, err, &to->subsystem);
	if (ret)
		return ret;
	to->old = to->subsystem->state;
	to->new = subsystem_state_make(u->version, config, config->n_namespaces);
	if (!to->new)
		return error_system(err, ENOMEM, "subsystem %s", config->nqn);
	u->n_turnovers++;
	if (!to->old->config)
		tell(u, "added", config->nqn, 0, 0);
	else if (!same_hosts(to->old->config, config))
		tell(u, "hosts changed", config->nqn, 0, 0);
	to->hosts = !same_hosts(to->old->config, config);
	u->discovery |= to->hosts;
	ret = host_keys_read(config, &to->new->keys, err);
	if (ret)
		return ret;
	if (ana_table_make(u->target, &u->version->storage, config, to->old->ana, &to->new->ana))
		return error_system(err, ENOMEM, "subsystem %s", config->nqn);
	if (ana_changes(u->target, to))
		tell(u, "ANA states changed", config->nqn, 0, 0);
	for (i = 0; i < config->n_namespaces; i++) {
		ret = namespace_next(u, to, &config->namespaces[i], err, &to->new->namespaces[i]);
		if (ret)
			return ret;
		to->new->n_namespaces++;
	}
	subsystem_state_sort(to->new);
	return 0;
}

static bool is_next(const struct update *u, const struct subsystem *s)
{
	unsigned int i;

	for (i = 0; i < u->n_turnovers; i++)
		if (u->turnovers[i].subsystem == s)
			return true;
	return false;
}

/* Subsystems that the policy no longer has export nothing. */
static int end_others(struct update *u, struct error *err)
{
	struct target *t = u->target;
	unsigned int i;

	for (i = 0; i < t->n_subsystems; i++) {
		struct turnover *to = &u->turnovers[u->n_turnovers];
		struct subsystem *s = t->subsystems[i];

		if (is_next(u, s) || !s->state->config)
			continue;
		to->subsystem = s;
		to->old = s->state;
		to->new = subsystem_state_make(NULL, NULL, 0);
		if (!to->new)
			return error_system(err, ENOMEM, "subsystem %s", s->nqn);
		u->n_turnovers++;
		to->hosts = u->discovery = true;
		tell(u, "removed", s->nqn, 0, 0);
	}
	return 0;
}

static int note_gone(struct update *u, struct error *err)
{
	unsigned int i, n, total = 0;

	for (i = 0; i < u->n_turnovers; i++)
		total += u->turnovers[i].old->n_namespaces;
	u->gone = calloc(total + 1, sizeof(*u->gone));
	if (!u->gone)
		return error_system(err, ENOMEM, "%u namespaces", total);
	for (i = 0; i < u->n_turnovers; i++) {
		struct turnover *to = &u->turnovers[i];

		for (n = 0; n < to->old->n_namespaces; n++) {
			struct namespace *ns = to->old->namespaces[n], *now = find(to->new, ns->config->id);

			if (now == ns)
				continue;
			u->gone[u->n_gone++] = ns;
			if (now)
				continue;
			mark(to, ns->config->id);
			if (to->new->config)
				tell(u, "removed", to->subsystem->nqn, ns->config->id, 0);
		}
	}
	return 0;
}

static bool same_referrals(const struct policy_storage *a, const struct policy_storage *b)
{
	size_t i;

	if (a->n_referrals != b->n_referrals)
		return false;
	for (i = 0; i < a->n_referrals; i++)
		if (strcmp(a->referrals[i].address, b->referrals[i].address) ||
		    a->referrals[i].port != b->referrals[i].port)
			return false;
	return true;
}

static int prepare(struct update *u, struct error *err)
{
	const struct policy_storage *storage = &u->version->storage;
	size_t i;
	int ret = 0;

	for (i = 0; i < storage->n_subsystems && !ret; i++)
		ret = subsystem_next(u, &storage->subsystems[i], err);
	if (!ret)
		ret = end_others(u, err);
	if (!ret && !same_referrals(&u->target->version->storage, storage)) {
		u->discovery = true;
		tell(u, "referrals changed", NVME_DISCOVERY_NQN, 0, 0);
	}
	if (!ret)
		ret = note_gone(u, err);
	if (!ret && limit_table_make(u->target, u->version, u->target->limits, &u->limits))
		ret = error_system(err, ENOMEM, "limits");
	if (!ret)
		limit_changes(&u->target->version->storage, storage, tell_limit, u);
	return ret;
}

static void give_up(struct update *u)
{
	unsigned int i;

	for (i = 0; i < u->n_fresh; i++)
		drop(u->fresh[i]);
	for (i = 0; i < u->n_turnovers; i++)
		subsystem_state_free(u->turnovers[i].new);
	limit_table_free(u->limits);
}

/* ---- on each reactor ---- */

static void call_done(struct update_call *c)
{
	struct target *t = c->update->target;

	pthread_mutex_lock(&t->mutex);
	c->update->pending--;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
}

static void learn(struct reactor *r, struct reactor_call *call)
{
	struct update_call *c = (struct update_call *)call;
	unsigned int i;

	for (i = 0; i < c->update->n_fresh; i++)
		if (!c->update->fresh[i]->base)
			reactor_namespace_add(r, c->update->fresh[i]);
	call_done(c);
}

/* Commands of namespaces that went and have not reached a backend end with an error; the others end as they do. */
static void forget_in(struct conn *conn)
{
	unsigned int i;

	conn->last_ns = NULL;
	for (i = 0; i < conn->n_commands; i++) {
		struct command *cmd = conn_command(conn, i);
		bool waits = cmd->state == COMMAND_CAPSULE || cmd->state == COMMAND_LIMITED ||
			     cmd->state == COMMAND_WAITING || cmd->state == COMMAND_H2C || cmd->state == COMMAND_FUSED;

		if (waits && cmd->ns && cmd->ns->gone && !cmd->status)
			command_fail(cmd, NVME_ST_INVALID_NS | NVME_STATUS_DNR);
	}
}

static void forget(struct reactor *r, struct reactor_call *call)
{
	struct update_call *c = (struct update_call *)call;
	unsigned int i;

	for (i = 0; i < REACTOR_MAX_CONNS; i++)
		if (r->conns[i])
			forget_in(r->conns[i]);
	limits_switch(r, c->update->limits);
	for (i = 0; i < c->update->n_gone; i++) {
		c->retiring[i]->next = r->retiring;
		r->retiring = c->retiring[i];
	}
	reactor_retire(r);
	call_done(c);
}

/* Runs it on every reactor and waits until all are done. */
static void on_reactors(struct update *u, struct update_call *calls,
			void (*run)(struct reactor *r, struct reactor_call *call))
{
	struct target *t = u->target;
	unsigned int i;

	u->pending = t->n_reactors;
	for (i = 0; i < t->n_reactors; i++) {
		calls[i].call.run = run;
		reactor_post(t->reactors[i], &calls[i].call);
	}
	pthread_mutex_lock(&t->mutex);
	while (u->pending)
		pthread_cond_wait(&t->changed, &t->mutex);
	pthread_mutex_unlock(&t->mutex);
}

static void calls_free(struct update *u, struct update_call *calls, bool whole)
{
	unsigned int i, n;

	for (i = 0; calls && i < u->target->n_reactors; i++) {
		for (n = 0; whole && calls[i].retiring && n < u->n_gone; n++)
			free(calls[i].retiring[n]);
		free(calls[i].retiring);
	}
	free(calls);
}

static struct update_call *calls_make(struct update *u)
{
	struct update_call *calls = calloc(u->target->n_reactors, sizeof(*calls));
	unsigned int i, n;

	for (i = 0; calls && i < u->target->n_reactors; i++) {
		calls[i].update = u;
		calls[i].retiring = calloc(u->n_gone + 1, sizeof(struct retiring *));
		for (n = 0; calls[i].retiring && n < u->n_gone; n++) {
			struct retiring *one = calls[i].retiring[n] = calloc(1, sizeof(struct retiring));

			if (!one)
				break;
			one->ns = u->gone[n];
		}
		if (calls[i].retiring && n == u->n_gone)
			continue;
		calls_free(u, calls, true);
		return NULL;
	}
	return calls;
}

/* ---- afterwards ---- */

static const struct turnover *turnover_of(const struct update *u, const struct controller *c)
{
	unsigned int i;

	for (i = 0; i < u->n_turnovers; i++)
		if (u->turnovers[i].subsystem == c->subsystem)
			return &u->turnovers[i];
	return NULL;
}

/* The target's mutex is held. */
static void tell_controller(const struct update *u, struct controller *c)
{
	const struct turnover *to = c->subsystem ? turnover_of(u, c) : NULL;
	uint64_t any = 0;
	unsigned int i;

	if (!c->subsystem && u->discovery)
		controller_notify(c, EVENT_DISCOVERY);
	if (!to)
		return;
	if (to->hosts && !subsystem_admits(c->subsystem, c->hostnqn)) {
		controller_kill(c, "the policy no longer admits it");
		return;
	}
	for (i = 0; i < ARRAY_SIZE(to->changed); i++) {
		c->changed[i] |= to->changed[i];
		any |= to->changed[i];
	}
	if (any)
		controller_notify(c, EVENT_NAMESPACE);
	if (ana_differs(to->old->ana, to->new->ana, c->portal) || to->regrouped)
		controller_notify(c, EVENT_ANA);
}

static void tell_controllers(struct update *u)
{
	struct target *t = u->target;
	unsigned int i;

	if (u->discovery)
		__atomic_fetch_add(&t->generation, 1, __ATOMIC_RELEASE);
	pthread_mutex_lock(&t->mutex);
	for (i = 0; i < ARRAY_SIZE(t->controllers); i++)
		if (t->controllers[i])
			tell_controller(u, t->controllers[i]);
	pthread_mutex_unlock(&t->mutex);
}

/* Waits until no reactor uses what went, but not for ever: a peer that takes no answer holds its command for long. */
static void drain(struct target *t)
{
	struct timespec until;
	unsigned int i;
	bool busy;
	int ret = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DRAIN_NS / NSEC_PER_SEC;
	pthread_mutex_lock(&t->mutex);
	do {
		for (i = 0, busy = false; i < t->n_reactors; i++)
			busy |= __atomic_load_n(&t->reactors[i]->retiring, __ATOMIC_RELAXED) != NULL;
		if (busy)
			ret = pthread_cond_timedwait(&t->changed, &t->mutex, &until);
	} while (busy && !ret);
	pthread_mutex_unlock(&t->mutex);
	if (busy)
		log_warn("target",
			 "commands of removed namespaces are still under way; the backend closes with the last");
}

static void switch_over(struct update *u, struct update_call *calls)
{
	struct target *t = u->target;
	struct storage_version *before = t->version;
	unsigned int i;

	on_reactors(u, calls, learn);
	for (i = 0; i < u->n_turnovers; i++)
		__atomic_store_n(&u->turnovers[i].subsystem->state, u->turnovers[i].new, __ATOMIC_RELEASE);
	__atomic_store_n(&t->version, u->version, __ATOMIC_RELEASE);
	on_reactors(u, calls, forget);
	tell_controllers(u);
	drain(t);
	for (i = 0; i < u->n_gone; i++)
		namespace_put(u->gone[i]);
	for (i = 0; i < u->n_turnovers; i++)
		subsystem_state_free(u->turnovers[i].old);
	limit_table_free(t->limits);
	t->limits = u->limits;
	storage_version_put(before);
}

/* Marks which of those that went are gone as a whole, so that reactors see it. */
static void mark_gone(struct update *u, struct update_call *calls)
{
	unsigned int i, n, k;

	for (i = 0; i < u->n_turnovers; i++)
		for (n = 0; n < u->n_gone; n++) {
			struct namespace *ns = u->gone[n];

			if (ns->subsystem != u->turnovers[i].subsystem || find(u->turnovers[i].new, ns->config->id))
				continue;
			ns->gone = true;
			for (k = 0; k < u->target->n_reactors; k++)
				calls[k].retiring[n]->whole = true;
		}
}

/* ---- whole ---- */

static bool same_portals(const struct policy_storage *a, const struct policy_storage *b)
{
	size_t i;

	if (a->n_portals != b->n_portals)
		return false;
	for (i = 0; i < a->n_portals; i++)
		if (strcmp(a->portals[i].address, b->portals[i].address) || a->portals[i].port != b->portals[i].port ||
		    a->portals[i].tls != b->portals[i].tls)
			return false;
	return true;
}

static bool same_reactors(const struct policy_storage *a, const struct policy_storage *b)
{
	return a->steering == b->steering && a->reactors_auto == b->reactors_auto && a->n_reactors == b->n_reactors &&
	       (!a->n_reactors || !memcmp(a->reactors, b->reactors, a->n_reactors * sizeof(a->reactors[0])));
}

/* What only a restart brings into force. */
static struct json_object *later(const struct policy_storage *old, const struct policy_storage *new)
{
	struct json_object *list = json_object_new_array();

	if (!same_portals(old, new))
		json_object_array_add(list, json_object_new_string("portals"));
	if (!same_reactors(old, new))
		json_object_array_add(list, json_object_new_string("reactors and steering"));
	if (memcmp(&old->transport, &new->transport, sizeof(old->transport)))
		json_object_array_add(list, json_object_new_string("transport"));
	return list;
}

static int run(struct update *u, struct error *err)
{
	struct update_call *calls;
	int ret = prepare(u, err);

	if (ret)
		return ret;
	calls = calls_make(u);
	if (!calls)
		return error_system(err, ENOMEM, "storage: update");
	mark_gone(u, calls);
	switch_over(u, calls);
	calls_free(u, calls, false);
	return 0;
}

int target_update(struct target *t, struct policy_storage *storage, struct json_object **ret_account, struct error *err)
{
	_cleanup_free_ struct update *u = calloc(1, sizeof(*u));
	struct json_object *account;
	int ret;

	if (!storage->n_subsystems)
		return error_set(err, EINVAL, "storage: no subsystems; stop the target instead");
	if (!u || storage_version_make(storage, false, &u->version))
		return error_system(err, ENOMEM, "storage: update");
	memset(storage, 0, sizeof(*storage));
	pthread_mutex_lock(&t->changing);
	u->target = t;
	u->changes = json_object_new_array();
	account = json_object_new_object();
	json_object_object_add(account, "changes", u->changes);
	json_object_object_add(account, "later", later(&t->version->storage, &u->version->storage));
	ret = run(u, err);
	if (ret) {
		give_up(u);
		storage_version_put(u->version);
		json_object_put(account);
	} else {
		*ret_account = account;
	}
	pthread_mutex_unlock(&t->changing);
	free(u->fresh);
	free(u->gone);
	return ret;
}
