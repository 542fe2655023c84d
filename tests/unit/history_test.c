// SPDX-License-Identifier: Apache-2.0
/*
 * The history of applied policies: what is kept, what counts, and that neither a death at any step nor a failing disk
 * costs an entry that counted before.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "control/history.h"

#define ROOT	   "/sys/fs/bpf/sluice-unit"
#define CRASHED	   42
#define WRITERS	   4
#define PER_WRITER 25

static char folder[] = "/tmp/sluice-unit-history.XXXXXX";

static void setup(void)
{
	cr_assert(mkdtemp(folder) != NULL);
}

static void clear(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s/*", folder);
	cr_assert(!system(command));
}

static void teardown(void)
{
	history_fault = NULL;
	clear();
	cr_assert(!rmdir(folder));
}

TestSuite(history, .init = setup, .fini = teardown);

/* ------------------------------------------------------------------- policies */

struct made {
	struct policy *policy;
	struct policy_tables *tables;
};

static void made_done(struct made *m)
{
	policy_tables_free(m->tables);
	policy_free(m->policy);
}

/* Policy number n, as it would be in force as `generation`. */
static void make(struct made *m, unsigned int n, uint64_t generation)
{
	struct policy_diagnostics d = {};
	struct error err = {};
	char text[512];

	snprintf(text, sizeof(text),
		 "sluice: 1\nname: p%u\ninterfaces: [{name: eth0}]\n"
		 "rules: [{name: r, from: any, to: any, service: tcp/%u, action: allow}]\n",
		 n, n + 1);
	cr_assert(!policy_load_text("t.yaml", text, strlen(text), &d, &m->policy));
	cr_assert(!policy_compile(m->policy, &err, &m->tables));
	m->tables->head.generation = generation;
	policy_diagnostics_done(&d);
}

static struct history *store(void)
{
	struct history *h = NULL;
	struct error err = {};

	cr_assert(!history_open(folder, ROOT, &err, &h));
	return h;
}

static struct history_live live_of(const struct made *m)
{
	struct history_live live = {.generation = m->tables->head.generation};

	memcpy(live.digest, m->tables->head.digest, sizeof(live.digest));
	return live;
}

static int add(struct history *h, const struct history_live *live, const struct made *m, struct error *err)
{
	struct history_about about = {.head = &m->tables->head, .source = "/etc/sluice/a b%\n.yaml"};

	return history_add(h, live, m->policy, &about, err);
}

/* Policy n comes into force as `generation`, the whole way. */
static void apply(struct history *h, struct history_live *live, unsigned int n, uint64_t generation)
{
	_cleanup_(made_done) struct made m = {};
	struct error err = {};

	make(&m, n, generation);
	cr_assert(!add(h, live, &m, &err), "%s", err.text);
	*live = live_of(&m);
	cr_assert(!history_prune(h, live, &err), "%s", err.text);
}

/* "p3 p2 p1": the list for `live`, the live one in brackets. */
static const char *listed(struct history *h, const struct history_live *live)
{
	static char text[512];
	struct history_list l = {};
	struct error err = {};
	size_t i, n = 0;

	cr_assert(!history_list(h, live, &err, &l), "%s", err.text);
	*text = 0;
	for (i = 0; i < l.count; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, !i && l.has_live ? "[%s]" : " %s", l.items[i].name);
	history_list_done(&l);
	return text;
}

static size_t files(struct history *h)
{
	DIR *dir = opendir(history_path(h));
	struct dirent *e;
	size_t n = 0;

	while (dir && (e = readdir(dir)))
		n += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

/* ------------------------------------------------------------------- what is kept */

Test(history, empty)
{
	_cleanup_(history_closep) struct history *h = store();
	struct history_live live = {};
	struct history_entry e;
	struct error err = {};

	cr_expect_str_eq(listed(h, &live), "");
	cr_expect_eq(history_find(h, live.digest, &err, &e), -ENOENT);
	cr_expect(!history_prune(h, &live, &err));
}

Test(history, ten_before_the_live_one)
{
	_cleanup_(history_closep) struct history *h = store();
	struct history_list l = {};
	struct history_live live = {};
	struct error err = {};
	unsigned int n;

	for (n = 1; n <= 13; n++)
		apply(h, &live, n, n);
	cr_expect_str_eq(listed(h, &live), "[p13] p12 p11 p10 p9 p8 p7 p6 p5 p4 p3");
	cr_expect_eq(files(h), HISTORY_KEPT + 1);
	cr_assert(!history_list(h, &live, &err, &l));
	cr_expect_str_eq(history_back(&l, 0)->name, "p13");
	cr_expect_str_eq(history_back(&l, 1)->name, "p12");
	cr_expect_str_eq(history_back(&l, 10)->name, "p3");
	cr_expect_null(history_back(&l, 11));
	history_list_done(&l);
}

/* All that is told of an entry comes back, whatever is in the path. */
Test(history, entry)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(history_closep) struct history *h = store();
	_cleanup_(made_done) struct made m = {};
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct history_live live = {};
	struct history_entry e = {};
	struct error err = {};

	make(&m, 7, 70);
	cr_assert(!add(h, &live, &m, &err));
	cr_assert(!history_find(h, m.tables->head.digest, &err, &e), "%s", err.text);
	cr_expect(e.generation == 70 && e.rules == 1 && e.applied > 1700000000);
	cr_expect_str_eq(e.name, "p7");
	cr_expect_str_eq(e.source, "/etc/sluice/a b%\n.yaml");
	cr_assert(!history_load(h, &e, &err, &p, &tables), "%s", err.text);
	cr_expect(!memcmp(tables->head.digest, m.tables->head.digest, 32));
	cr_expect_str_eq(p->name, "p7");
	free(e.source);
}

/* Applied again, a policy moves to the front: all that are listed differ. */
Test(history, again)
{
	_cleanup_(history_closep) struct history *h = store();
	struct history_live live = {};

	apply(h, &live, 1, 1);
	apply(h, &live, 2, 2);
	apply(h, &live, 3, 3);
	apply(h, &live, 1, 4);
	cr_expect_str_eq(listed(h, &live), "[p1] p3 p2");
	apply(h, &live, 1, 5);
	cr_expect_str_eq(listed(h, &live), "[p1] p3 p2");
	cr_expect_eq(files(h), 3);
}

/* On trial nothing is pruned; taken back, the policy before is the live one again, and nothing of it is lost. */
Test(history, trial)
{
	_cleanup_(history_closep) struct history *h = store();
	_cleanup_(made_done) struct made m = {};
	struct history_live live = {}, trial;
	struct error err = {};

	apply(h, &live, 1, 1);
	apply(h, &live, 2, 2);
	make(&m, 1, 3);
	cr_assert(!add(h, &live, &m, &err));
	trial = live_of(&m);
	cr_expect_str_eq(listed(h, &trial), "[p1] p2");
	cr_expect_str_eq(listed(h, &live), "[p2] p1");
	apply(h, &live, 3, 5);
	cr_expect_str_eq(listed(h, &live), "[p3] p2 p1");
}

/* After a detach generations start again, and the history goes on. Applied by other means: all were before. */
Test(history, other_generations)
{
	_cleanup_(history_closep) struct history *h = store();
	struct history_live live = {}, unknown = {.generation = 9, .digest = {1}};

	apply(h, &live, 1, 5);
	apply(h, &live, 2, 6);
	apply(h, &live, 3, 1);
	cr_expect_str_eq(listed(h, &live), "[p3] p2 p1");
	cr_expect_str_eq(listed(h, &unknown), " p3 p2 p1");
	apply(h, &unknown, 4, 11);
	cr_expect_str_eq(listed(h, &unknown), "[p4] p3 p2 p1");
	live.generation = 77; /* what p3 says, but not from here */
	cr_expect_str_eq(listed(h, &live), " p4 p2 p1");
}

/* ------------------------------------------------------------------- damage */

static void entry_edit(struct history *h, const char *sed)
{
	char command[512];

	snprintf(command, sizeof(command), "sed -i '%s' %s/*.yaml", sed, history_path(h));
	cr_assert(!system(command));
}

Test(history, changed_since)
{
	_cleanup_(policy_tables_freep) struct policy_tables *tables = NULL;
	_cleanup_(history_closep) struct history *h = store();
	_cleanup_(policy_freep) struct policy *p = NULL;
	struct history_live live = {};
	struct history_entry e = {};
	struct error err = {};

	apply(h, &live, 1, 1);
	cr_assert(!history_find(h, live.digest, &err, &e));
	entry_edit(h, "s|tcp/2|tcp/3|");
	cr_expect_eq(history_load(h, &e, &err, &p, &tables), -EBADMSG);
	cr_expect(strstr(err.text, "digest differs"), "%s", err.text);
	entry_edit(h, "s|action: allow|action: maybe|");
	cr_expect_eq(history_load(h, &e, &err, &p, &tables), -EINVAL);
	cr_expect(strstr(err.text, "maybe"), "%s", err.text);
	cr_expect(!p && !tables);
	free(e.source);
}

Test(history, head_gone)
{
	_cleanup_(history_closep) struct history *h = store();
	struct history_live live = {};

	apply(h, &live, 1, 1);
	entry_edit(h, "1d");
	cr_expect_str_eq(listed(h, &live), "");
	apply(h, &live, 2, 2);
	cr_expect_str_eq(listed(h, &live), "[p2]");
}

/* ------------------------------------------------------------------- a death at any step, a disk that fails at any */

static enum history_step fault_at;

static int die(enum history_step step)
{
	if (step == fault_at)
		_exit(CRASHED);
	return 0;
}

static int fail(enum history_step step)
{
	return step == fault_at ? -ENOSPC : 0;
}

/* Twelve policies are there and one that never came into force, so that every step is taken. */
static void many(struct history *h, struct history_live *live)
{
	_cleanup_(made_done) struct made m = {};
	struct error err = {};
	unsigned int n;

	for (n = 1; n <= 11; n++)
		apply(h, live, n, n);
	make(&m, 99, 12);
	cr_assert(!add(h, live, &m, &err));
}

#define BEFORE "[p11] p10 p9 p8 p7 p6 p5 p4 p3 p2 p1"
#define AFTER  "[p50] p11 p10 p9 p8 p7 p6 p5 p4 p3 p2"

static void crash(enum history_step step)
{
	_cleanup_(history_closep) struct history *h = store();
	_cleanup_(made_done) struct made m = {};
	struct history_live live = {}, next;
	struct error err = {};
	int status;
	pid_t pid;

	many(h, &live);
	make(&m, 50, 14);
	next = live_of(&m);
	fault_at = step;
	pid = fork();
	if (!pid) {
		history_fault = die;
		add(h, &live, &m, &err);
		history_prune(h, &next, &err);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == CRASHED, "step %d was not taken", step);
	/* It died before the flip, or after it: either way the store has what the kernel says. */
	cr_expect_str_eq(listed(h, &live), BEFORE, "step %d: %s", step, listed(h, &live));
	if (step == HISTORY_PRUNE)
		cr_expect_str_eq(listed(h, &next), AFTER, "step %d: %s", step, listed(h, &next));
	apply(h, &live, 50, 16);
	cr_expect_str_eq(listed(h, &live), AFTER, "step %d: %s", step, listed(h, &live));
	cr_expect_eq(files(h), HISTORY_KEPT + 1, "step %d left %zu files", step, files(h));
	clear();
}

Test(history, killed_at_every_step)
{
	enum history_step step;

	for (step = HISTORY_CLEAN; step < HISTORY_STEPS; step++)
		crash(step);
}

Test(history, failing_at_every_step)
{
	_cleanup_(history_closep) struct history *h = store();
	_cleanup_(made_done) struct made m = {};
	struct history_live live = {};
	struct error err;

	many(h, &live);
	make(&m, 50, 14);
	history_fault = fail;
	for (fault_at = HISTORY_CLEAN; fault_at <= HISTORY_SYNC_FOLDER; fault_at++) {
		err.text[0] = 0;
		cr_expect_eq(add(h, &live, &m, &err), -ENOSPC, "step %d", fault_at);
		cr_expect(strstr(err.text, "apply again") && strstr(err.text, "No space"), "step %d: %s", fault_at,
			  err.text);
		cr_expect_str_eq(listed(h, &live), BEFORE, "step %d", fault_at);
	}
	fault_at = HISTORY_PRUNE;
	live = live_of(&m);
	cr_expect_eq(history_prune(h, &live, &err), -ENOSPC);
	cr_expect_str_eq(listed(h, &live), AFTER);
}

/* ------------------------------------------------------------------- several at once */

/* Each is told another live policy: none may remove what another has just written, nor use its number. */
Test(history, concurrent)
{
	_cleanup_(history_closep) struct history *h = store();
	struct history_live nobody = {.generation = 1, .digest = {1}};
	unsigned int w, n;
	pid_t pid[WRITERS];
	int status;

	for (w = 0; w < WRITERS; w++) {
		pid[w] = fork();
		if (pid[w])
			continue;
		for (n = 0; n < PER_WRITER; n++) {
			_cleanup_(made_done) struct made m = {};
			struct error err = {};

			make(&m, w * PER_WRITER + n, 1000 + w * PER_WRITER + n);
			if (add(h, &nobody, &m, &err))
				_exit(1);
		}
		_exit(0);
	}
	for (w = 0; w < WRITERS; w++) {
		waitpid(pid[w], &status, 0);
		cr_expect(WIFEXITED(status) && !WEXITSTATUS(status), "writer %u failed", w);
	}
	cr_expect_eq(files(h), WRITERS * PER_WRITER, "%zu files", files(h));
}

/* ------------------------------------------------------------------- names of roots */

Test(history, roots_do_not_mix)
{
	static const char *const roots[] = {
		"/sys/fs/bpf/sluice", "/sys/fs/bpf/a/sluice", "/sys/fs/bpf/a%2Fsluice",
		"/tmp/sluice",	      "/sys/fs/bpf/..",	      "/sys/fs/bpf/tmp/sluice",
	};
	struct history *h[ARRAY_SIZE(roots)], *same;
	struct error err = {};
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(roots); i++) {
		cr_assert(!history_open(folder, roots[i], &err, &h[i]));
		cr_expect(!strchr(history_path(h[i]) + strlen(folder) + 1, '/'), "%s", history_path(h[i]));
		cr_expect(strcmp(history_path(h[i]) + strlen(folder), "/.."), "%s", roots[i]);
		for (k = 0; k < i; k++)
			cr_expect(strcmp(history_path(h[i]), history_path(h[k])), "%s and %s", roots[i], roots[k]);
	}
	cr_assert(!history_open(folder, "/sys//fs/bpf//sluice//", &err, &same));
	cr_expect_str_eq(history_path(same), history_path(h[0]));
	history_close(same);
	for (i = 0; i < ARRAY_SIZE(roots); i++)
		history_close(h[i]);
}
