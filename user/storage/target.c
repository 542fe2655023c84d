// SPDX-License-Identifier: Apache-2.0
/*
 * Start and stop of the target: policy → backends, subsystems, portals → reactors. Runs in the thread of its caller
 * (user/cli/target.c, tests). All that is made here is complete before the first reactor starts and is not written
 * until the last has ended.
 */
#include "storage/target.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "storage/reservations.h"

#define LISTEN_BACKLOG	   512
#define CONNECT_TIMEOUT_MS 10000
#define STALL_TIMEOUT_MS   30000
#define AUTH_TIMEOUT_MS	   30000

/* ---- portals ---- */

static int resolve(const struct policy_portal *config, struct portal *ret_portal, struct error *err)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *info;
	char port[8];
	int ret;

	snprintf(port, sizeof(port), "%u", config->port);
	ret = getaddrinfo(config->address, port, &hints, &info);
	if (ret)
		return error_set(err, EINVAL, "portal %s: not an address: %s", config->address, gai_strerror(ret));
	ret_portal->config = config;
	memcpy(&ret_portal->address, info->ai_addr, info->ai_addrlen);
	ret_portal->address_len = info->ai_addrlen;
	freeaddrinfo(info);
	return 0;
}

static int listen_fault(struct error *err, const struct portal *p)
{
	const char *address = p->config->address;
	unsigned int port = p->config->port;

	switch (errno) {
	case EADDRNOTAVAIL:
		return error_set(err, EADDRNOTAVAIL,
				 "portal %s port %u: this host has no such address; "
				 "`ip address` lists those it has",
				 address, port);
	case EADDRINUSE:
		return error_set(err, EADDRINUSE,
				 "portal %s port %u: another program listens there; "
				 "`ss -ltnp` shows which",
				 address, port);
	case EACCES:
		return error_set(err, EACCES, "portal %s port %u: ports below 1024 need root", address, port);
	default:
		return error_system(err, errno, "portal %s port %u", address, port);
	}
}

/* One listening socket; the first of a portal with port 0 settles the port for the others. */
static int listen_one(struct portal *p, struct error *err, int *ret_fd)
{
	_cleanup_close_ int fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(p->address);
	const int on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) ||
	    (p->address.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))) ||
	    bind(fd, (struct sockaddr *)&p->address, p->address_len) || listen(fd, LISTEN_BACKLOG) ||
	    getsockname(fd, (struct sockaddr *)&p->address, &len))
		return listen_fault(err, p);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int open_portals(struct target *t, struct error *err)
{
	const struct target_hooks *hooks = &t->options.hooks;
	unsigned int p, i;
	int ret;

	for (p = 0; p < t->options.storage->n_portals; p++) {
		ret = resolve(&t->options.storage->portals[p], &t->portals[p], err);
		if (ret)
			return ret;
		t->n_portals++;
		for (i = 0; i < t->n_reactors; i++) {
			ret = listen_one(&t->portals[p], err, &t->reactors[i]->listeners[p]);
			if (!ret && hooks->on_listen)
				ret = hooks->on_listen(hooks->arg, p, i, t->reactors[i]->listeners[p], err);
			if (ret)
				return ret;
		}
	}
	return 0;
}

uint16_t target_portal_port(const struct target *t, unsigned int i)
{
	/* Both families have the port at the same place. */
	return be16toh(((const struct sockaddr_in *)&t->portals[i].address)->sin_port);
}

unsigned int target_portals(const struct target *t)
{
	return t->n_portals;
}

void target_portal_print(const struct target *t, unsigned int i, char *ret_text, size_t len)
{
	const struct portal *p = &t->portals[i];

	snprintf(ret_text, len, p->address.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", p->config->address,
		 target_portal_port(t, i));
}

/* ---- reactors ---- */

int target_cpus(const struct policy_storage *storage, unsigned int *ret_cpus, unsigned int *ret_n, struct error *err)
{
	unsigned int i, n = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return error_system(err, errno, "CPUs of this process");
	if (storage->reactors_auto) {
		for (i = 0; i < CPU_SETSIZE && n < TARGET_MAX_REACTORS; i++)
			if (CPU_ISSET(i, &set))
				ret_cpus[n++] = i;
		*ret_n = n;
		return 0;
	}
	if (!storage->n_reactors || storage->n_reactors > TARGET_MAX_REACTORS)
		return error_set(err, EINVAL, "reactors: %zu CPUs; use 1 to %u, or auto", storage->n_reactors,
				 TARGET_MAX_REACTORS);
	for (i = 0; i < storage->n_reactors; i++) {
		if (storage->reactors[i] >= CPU_SETSIZE || !CPU_ISSET(storage->reactors[i], &set))
			return error_set(err, EINVAL,
					 "reactors: CPU %u is not there or not allowed to this process; "
					 "use others or auto",
					 storage->reactors[i]);
		ret_cpus[i] = storage->reactors[i];
	}
	*ret_n = storage->n_reactors;
	return 0;
}

static int make_reactors(struct target *t, struct error *err)
{
	unsigned int i, p;

	for (i = 0; i < t->options.n_cpus; i++) {
		struct reactor *r = aligned_alloc(64, (sizeof(*r) + 63) / 64 * 64);

		if (!r)
			return error_system(err, ENOMEM, "reactor %u", i);
		memset(r, 0, sizeof(*r));
		r->target = t;
		r->index = i;
		r->cpu = t->options.cpus[i];
		r->wake_fd = -1;
		for (p = 0; p < TARGET_MAX_PORTALS; p++)
			r->listeners[p] = -1;
		t->reactors[t->n_reactors++] = r;
		r->namespaces = calloc(REACTOR_MAX_SPACES, sizeof(*r->namespaces));
		if (!r->namespaces)
			return error_system(err, ENOMEM, "reactor %u", i);
	}
	return 0;
}

static int start_reactors(struct target *t, struct error *err)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < t->n_reactors && !ret; i++)
		ret = reactor_start(t->reactors[i], err);
	return ret;
}

/* ---- whole ---- */

/* What a reactor still used when it ended. */
static void retire_all(struct reactor *r)
{
	struct retiring *next;

	for (; r->retiring; r->retiring = next) {
		next = r->retiring->next;
		namespace_put(r->retiring->ns);
		free(r->retiring);
	}
}

static void target_free(struct target *t)
{
	unsigned int i, p;

	reservation_saver_stop(t->saver); /* it may just be waking a reactor, which has gone meanwhile */
	for (i = 0; i < t->n_reactors; i++) {
		retire_all(t->reactors[i]);
		for (p = 0; p < TARGET_MAX_PORTALS; p++)
			base_closep(&t->reactors[i]->listeners[p]);
		base_closep(&t->reactors[i]->wake_fd);
		free(t->reactors[i]->namespaces);
		free(t->reactors[i]);
	}
	limit_table_free(t->limits);
	catalog_close(t);
	tls_server_close(t->tls);
	generated_keys_clear(&t->generated);
	pthread_mutex_destroy(&t->generated.mutex);
	pthread_mutex_destroy(&t->changing);
	pthread_mutex_destroy(&t->mutex);
	pthread_cond_destroy(&t->started);
	pthread_cond_destroy(&t->changed);
	free(t);
}

static int check_options(const struct target_options *options, struct error *err)
{
	const struct policy_storage *s = options->storage;

	if (!s->n_portals || s->n_portals > TARGET_MAX_PORTALS)
		return error_set(err, EINVAL, "storage: %zu portals; give 1 to %u", s->n_portals, TARGET_MAX_PORTALS);
	if (!s->n_subsystems)
		return error_set(err, EINVAL, "storage: no subsystems; there is nothing to serve");
	if (!options->n_cpus || options->n_cpus > TARGET_MAX_REACTORS)
		return error_set(err, EINVAL, "storage: %u reactors; use 1 to %u", options->n_cpus,
				 TARGET_MAX_REACTORS);
	return 0;
}

int target_start(const struct target_options *options, struct error *err, struct target **ret_target)
{
	struct target *t;
	int ret = check_options(options, err);

	if (ret)
		return ret;
	/* Here and now, not in the turn of the reactor that first identifies a namespace: it reads files. */
	if (!OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL))
		return error_set(err, ENOMEM, "OpenSSL cannot be initialised; see its configuration (openssl.cnf)");
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_system(err, ENOMEM, "target");
	t->options = *options;
	if (!t->options.connect_timeout_ms)
		t->options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
	if (!t->options.stall_timeout_ms)
		t->options.stall_timeout_ms = STALL_TIMEOUT_MS;
	if (!t->options.auth_timeout_ms)
		t->options.auth_timeout_ms = AUTH_TIMEOUT_MS;
	if (!t->options.kept_max)
		t->options.kept_max = REACTOR_KEPT_MAX;
	t->transport = options->storage->transport;
	if (!t->transport.max_h2c_data)
		t->transport = POLICY_TRANSPORT_DEFAULT;
	pthread_mutex_init(&t->changing, NULL);
	pthread_mutex_init(&t->mutex, NULL);
	pthread_mutex_init(&t->generated.mutex, NULL);
	pthread_cond_init(&t->changed, NULL);
	pthread_cond_init(&t->started, NULL);
	if (options->state_dir)
		ret = reservation_saver_start(options->state_dir, err, &t->saver);
	if (!ret)
		ret = catalog_open(t, err);
	if (!ret && limit_table_make(t, t->version, NULL, &t->limits))
		ret = error_system(err, ENOMEM, "limits");
	if (!ret)
		ret = conn_tls_open(t, options->storage, &t->tls, err);
	if (!ret)
		ret = make_reactors(t, err);
	if (!ret)
		ret = open_portals(t, err);
	if (!ret)
		ret = start_reactors(t, err);
	if (ret) {
		target_stop(t, 0);
		return ret;
	}
	*ret_target = t;
	return 0;
}

void target_stop(struct target *t, unsigned int drain_ms)
{
	unsigned int i;

	t->drain_until_ns = time_now_ns() + drain_ms * 1000000ull;
	atomic_store(&t->stopping, true);
	for (i = 0; i < t->n_reactors; i++)
		if (t->reactors[i]->started)
			reactor_wake(t->reactors[i]);
	for (i = 0; i < t->n_reactors; i++)
		if (t->reactors[i]->started)
			pthread_join(t->reactors[i]->thread, NULL);
	target_free(t);
}

/* What connections can make the target take, at most; the kernel's socket buffers come on top (net.ipv4.tcp_mem). */
static void describe_memory(const struct target *t, void (*line)(void *arg, const char *text), void *arg)
{
	size_t conn = sizeof(struct conn) + sizeof(struct queue);
	char text[256];

	snprintf(text, sizeof(text),
		 "memory: data and receive buffers %zu MiB a reactor, of which a connection has a quarter at most; "
		 "a connection %zu KiB and %zu bytes an entry; at most %u connections a reactor",
		 (t->reactors[0]->pool.len + (size_t)REACTOR_RX_COUNT * REACTOR_RX_SIZE) >> 20, (conn + 1023) >> 10,
		 sizeof(struct command), REACTOR_MAX_CONNS);
	line(arg, text);
	snprintf(text, sizeof(text),
		 "memory: of what a connection has sent and cannot be worked off yet, %u KiB are kept, and %u MiB more "
		 "a reactor",
		 REACTOR_RX_SIZE >> 10, REACTOR_KEPT_MAX >> 20);
	line(arg, text);
	if (t->tls)
		line(arg, "memory: by TLS, a connection takes 90 KiB more, and twice 160 KiB at most for what it sends");
}

void target_describe(struct target *t, void (*line)(void *arg, const char *text), void *arg)
{
	char features[256], text[512];
	unsigned int i, n;

	ring_features_print(&t->reactors[0]->ring, features, sizeof(features));
	snprintf(text, sizeof(text), "io_uring: %s%s", features,
		 t->reactors[0]->pool_registered ? " registered-buffers" : "");
	line(arg, text);
	describe_memory(t, line, arg);
	pthread_mutex_lock(&t->changing);
	for (i = 0; i < t->n_subsystems; i++) {
		const struct subsystem_state *state = subsystem_now(t->subsystems[i]);

		for (n = 0; n < state->n_namespaces; n++) {
			const struct namespace *ns = state->namespaces[n];

			snprintf(text, sizeof(text), "%s namespace %u: %s, %s, %llu bytes in blocks of %u%s",
				 ns->subsystem->nqn, ns->config->id, ns->backend->ops->name, ns->backend->details,
				 (unsigned long long)ns->space.blocks << ns->space.block_shift,
				 1u << ns->space.block_shift, ns->space.readonly ? ", read-only" : "");
			line(arg, text);
		}
	}
	pthread_mutex_unlock(&t->changing);
}
