/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of tests of our initiator against our target: included by each such test program, which so has its own
 * copies. A test starts the target by a section, opens initiators by options for one of its portals, and stops it.
 */
#ifndef TESTS_TARGET_FRAME_H
#define TESTS_TARGET_FRAME_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "storage/initiator.h"
#include "storage/target.h"

static struct target *target;

/* Starts the target on at most two reactors; cpus are chosen here. */
__attribute__((unused)) static void target_begin(struct target_options options)
{
	unsigned int cpus[TARGET_MAX_REACTORS], n;
	struct error err = {};

	cr_assert_eq(target_cpus(options.storage, cpus, &n, &err), 0, "%s", err.text);
	options.cpus = cpus;
	options.n_cpus = min(n, 2u);
	cr_assert_eq(target_start(&options, &err, &target), 0, "%s", err.text);
}

/* Another section from now on, which is the target's own then. */
__attribute__((unused)) static void target_switch(struct policy_storage s)
{
	struct json_object *account = NULL;
	struct error err = {};

	cr_assert_eq(target_update(target, &s, &account, &err), 0, "%s", err.text);
	policy_storage_done(&s);
	json_object_put(account);
}

/* A file of one secret, that only its owner reads; returns its path, which is to be freed. */
__attribute__((unused)) static char *put_file(const char *folder, const char *name, const char *text, mode_t mode)
{
	char *path;
	int fd;

	cr_assert(asprintf(&path, "%s/%s", folder, name) > 0);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	cr_assert(!fchmod(fd, mode) && !close(fd));
	return path;
}

__attribute__((unused)) static struct dhchap_key key(const char *text)
{
	struct dhchap_key k;
	struct error err;

	cr_assert_eq(dhchap_key_parse(text, &k, &err), 0);
	return k;
}

/* Of an initiator that connects to the target's nth portal; 10 s for an answer. */
__attribute__((unused)) static struct initiator_options portal_options(unsigned int portal, const char *subnqn,
								       const char *hostnqn)
{
	struct initiator_options o = {.timeout_ms = 10000, .kato_ms = 30000};
	struct error err;
	char text[64];

	snprintf(o.subnqn, sizeof(o.subnqn), "%s", subnqn);
	snprintf(o.hostnqn, sizeof(o.hostnqn), "%s", hostnqn);
	target_portal_print(target, portal, text, sizeof(text));
	cr_assert_eq(initiator_addr_parse(text, 0, &o.addr, &err), 0, "%s", err.text);
	return o;
}

__attribute__((unused)) static struct initiator *open_with_queues(const struct initiator_options *o, unsigned int n)
{
	struct initiator *i;
	struct error err = {};
	unsigned int granted;

	cr_assert_eq(initiator_open(o, &i, &err), 0, "%s", err.text);
	cr_expect_eq(initiator_set_queues(i, n, &granted, &err), 0, "%s", err.text);
	return i;
}

__attribute__((unused)) static void refused(const struct initiator_options *o, const char *why)
{
	struct initiator *i;
	struct error err = {};

	cr_assert_neq(initiator_open(o, &i, &err), 0, "let in, though: %s", why);
	cr_expect(strstr(err.text, why), "%s, not %s", err.text, why);
}

#endif
