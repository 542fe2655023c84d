// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice target`: reads the policy's storage section, starts the target, and is where storage and dataplane meet:
 * storage knows only hooks, and these put its sockets and queues under dataplane's steering. Answers "stats" on the
 * control socket until SIGINT or SIGTERM. The signals are blocked before any thread exists, so that the main thread
 * alone takes them.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/util.h"
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/target_state.h"
#include "control/control.h"
#include "policy/values.h"
#include "storage/target.h"

#define DRAIN_MS 2000 /* for commands under way when the target is told to stop */
#define SPIN_US	 50   /* about what a sleep and its wake-up cost in a virtual machine */

struct serving {
	struct policy *policy;
	char path[PATH_MAX]; /* its real path, "" if it has none */
	unsigned int cpus[TARGET_MAX_REACTORS];
	unsigned int n_cpus;
	struct dataplane *dp;
	struct dataplane_steering *steering;
	struct target *target;
	struct control_server *server;
};

struct target_arguments {
	const char *policy;
	const char *root;
	char *reactors; /* NULL: as the policy says */
	int ready_fd;	/* -1: none */
	unsigned int spin_us;
	const char *run_dir;
	const char *state_dir; /* NULL: the usual one */
};

/* ---- arguments ---- */

/* "2" (so many, of the allowed CPUs) or "0,2,3" (these; "2," is CPU 2). */
static int choose_cpus(struct serving *s, char *list, struct error *err)
{
	struct policy_storage wanted = {.reactors_auto = true};
	unsigned int cpus[TARGET_MAX_REACTORS];
	char *word, *save, *end;
	unsigned long number;
	int r;

	if (!list)
		return target_cpus(&s->policy->storage, s->cpus, &s->n_cpus, err);
	if (!strchr(list, ',')) {
		number = strtoul(list, &end, 10);
		r = target_cpus(&wanted, s->cpus, &s->n_cpus, err);
		if (r)
			return r;
		if (*end || !number || number > s->n_cpus)
			return error_set(err, EINVAL, "--reactors %s: give 1 to %u, or CPUs as \"0,1\"", list,
					 s->n_cpus);
		s->n_cpus = number;
		return 0;
	}
	wanted = (struct policy_storage){.reactors = cpus};
	for (word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		number = strtoul(word, &end, 10);
		if (*end || wanted.n_reactors == TARGET_MAX_REACTORS)
			return error_set(err, EINVAL, "--reactors: \"%s\" is not a CPU number", word);
		cpus[wanted.n_reactors++] = number;
	}
	return target_cpus(&wanted, s->cpus, &s->n_cpus, err);
}

static int parse_arguments(int argc, char **argv, struct target_arguments *a)
{
	static const struct option options[] = {
		{"root", required_argument, NULL, 'r'},
		{"reactors", required_argument, NULL, 'n'},
		{"ready-fd", required_argument, NULL, 'f'},
		{"run-dir", required_argument, NULL, 'd'},
		{"state-dir", required_argument, NULL, 'k'},
		{"verbose", no_argument, NULL, 'v'},
		{"spin", required_argument, NULL, 's'},
		{},
	};
	struct error err = {};
	uint64_t spin_ns;
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			a->root = optarg;
			break;
		case 'n':
			a->reactors = optarg;
			break;
		case 'f':
			a->ready_fd = strtol(optarg, &end, 10);
			if (*end || a->ready_fd < 0)
				return cli_usage("target", "--ready-fd %s: not a descriptor number", optarg);
			break;
		case 's':
			if (value_duration(optarg, &spin_ns, &err))
				return cli_usage("target", "--spin: %s", err.text);
			if (spin_ns > NSEC_PER_SEC)
				return cli_usage("target", "--spin: '%s'; use 0s-1s", optarg);
			a->spin_us = (unsigned int)(spin_ns / 1000);
			break;
		case 'd':
			a->run_dir = optarg;
			break;
		case 'k':
			a->state_dir = optarg;
			break;
		case 'v':
			cli_options.verbose = true;
			log_set_level(LOG_LEVEL_DEBUG);
			break;
		default:
			return cli_usage("target", "unknown option");
		}
	}
	if (optind + 1 != argc)
		return cli_usage("target", "takes one policy");
	a->policy = argv[optind];
	return 0;
}

/* ---- steering ---- */

static int on_listen(void *arg, unsigned int portal, unsigned int reactor, int fd, struct error *err)
{
	struct serving *s = arg;

	return dataplane_steering_listener(s->steering, portal, reactor, fd, err);
}

static void on_queue_open(void *arg, const struct sluice_steer_key *key, unsigned int reactor, uint32_t *ret_slot)
{
	struct serving *s = arg;
	int r = dataplane_steering_add(s->steering, key, reactor, ret_slot);

	/* The queue works all the same, only on whatever CPU its packets land. */
	if (r)
		log_debug("steering", "a queue of reactor %u is not followed: %s", reactor, strerror(-r));
}

static void on_queue_close(void *arg, const struct sluice_steer_key *key, uint32_t slot)
{
	struct serving *s = arg;

	dataplane_steering_remove(s->steering, key, slot);
}

static void on_queue_stats(void *arg, uint32_t slot, unsigned int reactor, struct json_object *queue)
{
	struct serving *s = arg;
	uint64_t there, all;

	if (dataplane_steering_packets(s->steering, slot, s->cpus[reactor], &there, &all))
		return;
	json_object_object_add(queue, "packets", json_object_new_int64(all));
	json_object_object_add(queue, "packets_on_cpu", json_object_new_int64(there));
}

static int open_steering(struct serving *s, const char *root, struct error *err)
{
	struct dataplane_steering_options options = {
		.reactors = s->n_cpus, .cpus = s->cpus, .wanted = s->policy->storage.steering};
	static const char *const names[] = {[POLICY_STEER_AUTO] = "auto",
					    [POLICY_STEER_REUSEPORT] = "reuseport",
					    [POLICY_STEER_CPUMAP] = "cpumap",
					    [POLICY_STEER_NONE] = "none"};
	enum policy_steering mode;
	const char *why;
	int r;

	r = dataplane_open(root, err, &s->dp);
	if (r && r != -ENOENT && options.wanted != POLICY_STEER_AUTO && options.wanted != POLICY_STEER_NONE)
		return r;
	if (r)
		log_info("steering",
			 "nothing is pinned at %s: queues are spread by reuseport, their packets are not moved", root);
	options.dp = s->dp;
	r = dataplane_steering_open(&options, err, &s->steering, &mode, &why);
	if (r && options.wanted != POLICY_STEER_AUTO && options.wanted != POLICY_STEER_NONE)
		return r;
	if (r)
		log_warn("steering", "none, the kernel's own choice of a listener stands: %s", err->text);
	else
		log_info("steering", "%s (%s)", names[mode], why);
	err->text[0] = 0;
	return 0;
}

/* ---- serving ---- */

/* Reads the policy again: what target_update() did, or {"error"}. */
static struct json_object *update(struct serving *s)
{
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct json_object *account = NULL;
	struct policy_storage storage;
	struct error err = {};

	if (!s->path[0])
		error_set(&err, EINVAL, "its policy came from a pipe and cannot be read again; restart the target");
	else if (cli_load_policy("target", s->path, &p))
		error_set(&err, EINVAL, "%s: rejected; the target's log says why", s->path);
	else if (!p->storage.present)
		error_set(&err, EINVAL, "%s: has no `storage` section any more; stop the target instead", s->path);
	if (!err.text[0]) {
		policy_storage_take(p, &storage);
		if (target_update(s->target, &storage, &account, &err))
			log_error("target", "goes on as before: %s", err.text);
		policy_storage_done(&storage);
	}
	if (account)
		return account;
	account = json_object_new_object();
	json_add(account, "error", json_object_new_string(err.text));
	return account;
}

/* The answer to FOLLOW_*: an empty object where the path is another policy's. */
static struct json_object *answer_follow(struct serving *s, const char *path, bool change)
{
	struct json_object *o;

	if (strcmp(path, s->path))
		return json_object_new_object();
	if (change)
		return update(s);
	o = json_object_new_object();
	json_add(o, "changes", json_object_new_array());
	return o;
}

static int answer(void *arg, const char *command, char **ret_answer)
{
	struct serving *s = arg;
	struct json_object *o;

	if (!strcmp(command, "stats"))
		return target_stats_text(s->target, ret_answer);
	if (!strncmp(command, FOLLOW_UPDATE, strlen(FOLLOW_UPDATE)))
		o = answer_follow(s, command + strlen(FOLLOW_UPDATE), true);
	else if (!strncmp(command, FOLLOW_ASK, strlen(FOLLOW_ASK)))
		o = answer_follow(s, command + strlen(FOLLOW_ASK), false);
	else
		return -ENOENT;
	*ret_answer = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	return *ret_answer ? 0 : -ENOMEM;
}

static int open_control(struct serving *s, const char *run_dir, struct error *err)
{
	char path[256];
	int r;

	if (run_dir && setenv("SLUICE_RUN_DIR", run_dir, 1))
		return error_system(err, errno, "--run-dir %s", run_dir);
	r = control_default_path("target", getpid(), path, sizeof(path));
	if (r)
		return error_system(err, -r, "control socket in %s", control_run_dir());
	return control_server_start(path, answer, s, err, &s->server);
}

static void say(void *arg, const char *text)
{
	log_info("target", "%s", text);
}

static int start(struct serving *s, const struct target_arguments *a, struct error *err)
{
	struct target_options options = {.storage = &s->policy->storage, .spin_us = a->spin_us};
	char text[128], state[4096];
	unsigned int i;
	int r;

	if (!s->policy->storage.present)
		return error_set(err, EINVAL,
				 "%s: has no `storage` section, so there is nothing to serve; see "
				 "docs/policy-language.md",
				 a->policy);
	r = choose_cpus(s, a->reactors, err);
	if (!r)
		r = open_steering(s, a->root, err);
	if (!r)
		r = target_state_dir(a->state_dir, state, sizeof(state), err);
	if (r)
		return r;
	options.state_dir = *state ? state : NULL;
	options.cpus = s->cpus;
	options.n_cpus = s->n_cpus;
	if (s->steering)
		options.hooks = (struct target_hooks){s, on_listen, on_queue_open, on_queue_close, on_queue_stats};
	r = target_start(&options, err, &s->target);
	if (!r)
		r = open_control(s, a->run_dir, err);
	if (r)
		return r;
	target_describe(s->target, say, NULL);
	for (i = 0; i < target_portals(s->target); i++) {
		target_portal_print(s->target, i, text, sizeof(text));
		log_info("target", "listening on %s, %u reactor%s", text, s->n_cpus, s->n_cpus == 1 ? "" : "s");
	}
	return 0;
}

static void tell_ready(int fd)
{
	if (fd < 0)
		return;
	if (write(fd, "ready\n", 6) != 6)
		log_warn("target", "--ready-fd %d: %s", fd, strerror(errno));
	close(fd);
}

/* ---- the table at the end ---- */

static uint64_t number(struct json_object *o, const char *name)
{
	return json_object_get_int64(json_object_object_get(o, name));
}

static void print_namespaces(struct target *t)
{
	static const struct table_column columns[] = {
		{.title = "subsystem"},	   {"nsid", .right = true},
		{"reads", .right = true},  {"writes", .right = true},
		{"read", .right = true},   {"written", .right = true},
		{"errors", .right = true}, {"p50 µs", .right = true},
		{"p99 µs", .right = true}, {},
	};
	struct json_object *all = target_stats(t), *list = json_object_object_get(all, "namespaces");
	struct table table;
	size_t i;

	table_start(&table, columns);
	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *ns = json_object_array_get_idx(list, i);
		struct json_object *commands = json_object_object_get(ns, "commands");
		struct json_object *latency = json_object_object_get(ns, "latency_us");

		table_row(&table, "%s", json_object_get_string(json_object_object_get(ns, "subsystem")));
		table_cell(&table, "%s", number_text(number(ns, "nsid")).text);
		table_cell(&table, "%s", number_text(number(commands, "read")).text);
		table_cell(&table, "%s", number_text(number(commands, "write")).text);
		table_cell(&table, "%s", bytes_text(number(ns, "read_bytes")).text);
		table_cell(&table, "%s", bytes_text(number(ns, "written_bytes")).text);
		table_cell(&table, "%s", number_text(number(ns, "errors")).text);
		table_cell(&table, "%.1f", json_object_get_double(json_object_object_get(latency, "p50")));
		table_cell(&table, "%.1f", json_object_get_double(json_object_object_get(latency, "p99")));
	}
	table_print(&table, stdout);
	table_done(&table);
	json_object_put(all);
}

/* ---- the command ---- */

static void serving_done(struct serving *s)
{
	control_server_stopp(&s->server);
	if (s->target && cli_options.verbose)
		print_namespaces(s->target);
	if (s->target)
		target_stop(s->target, DRAIN_MS);
	dataplane_steering_close(s->steering);
	dataplane_closep(&s->dp);
	policy_freep(&s->policy);
}

/* As many connections as the administrator allows, not as the shell does. */
static void raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_warn("target", "the limit of open files stays: %s", strerror(errno));
}

int cmd_target(int argc, char **argv)
{
	_cleanup_(serving_done) struct serving s = {};
	struct target_arguments a = {.root = cli_options.root, .ready_fd = -1, .spin_us = SPIN_US};
	struct error err = {};
	sigset_t signals;
	int r, signal;

	r = parse_arguments(argc, argv, &a);
	if (!r)
		r = cli_load_policy("target", a.policy, &s.policy);
	if (r)
		return r;
	if (!realpath(a.policy, s.path))
		s.path[0] = 0; /* a pipe: what it said cannot be read again */
	raise_files();
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = start(&s, &a, &err);
	if (r)
		return cli_fail("target", r, &err);
	tell_ready(a.ready_fd);
	while (!sigwait(&signals, &signal) && signal == SIGHUP)
		json_object_put(update(&s));
	log_info("target", "%s: stopping", strsignal(signal));
	return EXIT_FINE;
}
