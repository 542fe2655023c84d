// SPDX-License-Identifier: Apache-2.0
/*
 * The core of persistent reservations, as tables: which commands each type lets through, and scripts of reservation
 * commands from several hosts with the status, the state and the notices that the specification wants of each.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include <sluice/nvme_tcp.h>

#include "base/util.h"
#include "storage/reservation.h"

#define CONFLICT (NVME_ST_RESERVATION_CONFLICT | NVME_STATUS_DNR)
#define INVALID	 (NVME_ST_INVALID_FIELD | NVME_STATUS_DNR)

/* Hosts are letters. */
static const uint8_t *host(char name)
{
	static uint8_t ids[26][RESERVATION_HOST_LEN];

	ids[name - 'a'][RESERVATION_HOST_LEN - 1] = name;
	return ids[name - 'a'];
}

/* ---- the table of Base 2.0, section 8.19, "command behavior in the presence of a reservation" ---- */

Test(reservation, what_types_allow)
{
	static const struct {
		enum reservation_type type;
		bool stranger_reads, stranger_writes, registrant_reads, registrant_writes;
	} rows[] = {
		{RESERVATION_NONE, true, true, true, true},
		{RESERVATION_WRITE_EXCLUSIVE, true, false, true, false},
		{RESERVATION_EXCLUSIVE_ACCESS, false, false, false, false},
		{RESERVATION_WRITE_REGISTRANTS, true, false, true, true},
		{RESERVATION_ACCESS_REGISTRANTS, false, false, true, true},
		{RESERVATION_WRITE_ALL, true, false, true, true},
		{RESERVATION_ACCESS_ALL, false, false, true, true},
	};
	struct reservation r = {.n_hosts = 2, .holder = 1};
	size_t i;

	memcpy(r.hosts[0].id, host('r'), RESERVATION_HOST_LEN);
	memcpy(r.hosts[1].id, host('h'), RESERVATION_HOST_LEN);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		r.type = rows[i].type;
		cr_expect_eq(reservation_allows(&r, host('s'), false), rows[i].stranger_reads, "type %d", r.type);
		cr_expect_eq(reservation_allows(&r, host('s'), true), rows[i].stranger_writes, "type %d", r.type);
		cr_expect_eq(reservation_allows(&r, host('r'), false), rows[i].registrant_reads, "type %d", r.type);
		cr_expect_eq(reservation_allows(&r, host('r'), true), rows[i].registrant_writes, "type %d", r.type);
		cr_expect(reservation_allows(&r, host('h'), false), "type %d: the holder reads", r.type);
		cr_expect(reservation_allows(&r, host('h'), true), "type %d: the holder writes", r.type);
	}
}

/* ---- scripts ---- */

enum kind { END, REG, UNREG, REPL, ACQ, PRE, ABORT, REL, CLEAR };

struct step {
	char host;
	enum kind kind;
	uint64_t current_key, new_key;
	unsigned int type;
	int status;
	/* "a=1 b=2*, type 3": registrants with keys, holders starred, sorted; NULL: as before. */
	const char *state;
	/* "b:preempted c:released", sorted by host; NULL: none. */
	const char *notices;
	bool ignore_key;
};

static uint16_t run(struct reservation *r, const struct step *s, struct reservation_outcome *o)
{
	struct reservation_command cmd = {.host = host(s->host),
					  .ignore_key = s->ignore_key,
					  .type = s->type,
					  .current_key = s->current_key,
					  .new_key = s->new_key};

	switch (s->kind) {
	case REG:
	case UNREG:
	case REPL:
		cmd.action = s->kind - REG;
		return reservation_register(r, &cmd, true, o);
	case ACQ:
	case PRE:
	case ABORT:
		cmd.action = s->kind - ACQ;
		return reservation_acquire(r, &cmd, o);
	default:
		cmd.action = s->kind - REL;
		return reservation_release(r, &cmd, o);
	}
}

static void describe(const struct reservation *r, char *text, size_t len)
{
	size_t used = 0;
	unsigned int i;
	char name;

	text[0] = 0;
	for (name = 'a'; name <= 'z'; name++)
		for (i = 0; i < r->n_hosts; i++)
			if (r->hosts[i].id[RESERVATION_HOST_LEN - 1] == name)
				used += snprintf(text + used, len - used, "%s%c=%llu%s", used ? " " : "", name,
						 (unsigned long long)r->hosts[i].key,
						 reservation_holds(r, i) ? "*" : "");
	snprintf(text + used, len - used, "%stype %d", used ? ", " : "", r->type);
}

static void describe_notices(const struct reservation_outcome *o, char *text, size_t len)
{
	static const char *const names[] = {"none", "unregistered", "released", "preempted"};
	size_t used = 0;
	unsigned int i;
	char name;

	text[0] = 0;
	for (name = 'a'; name <= 'z'; name++)
		for (i = 0; i < o->n; i++)
			if (o->hosts[i].id[RESERVATION_HOST_LEN - 1] == name)
				used += snprintf(text + used, len - used, "%s%c:%s%s", used ? " " : "", name,
						 names[o->hosts[i].notice], o->hosts[i].abort ? "!" : "");
}

static void play(const char *name, const struct step *steps)
{
	static struct reservation r;
	static struct reservation_outcome o;
	char state[256] = "type 0", was[256], notices[256];
	uint16_t status;
	unsigned int i;

	memset(&r, 0, sizeof(r));
	for (i = 0; steps[i].kind; i++) {
		snprintf(was, sizeof(was), "%s", state);
		status = run(&r, &steps[i], &o);
		describe(&r, state, sizeof(state));
		describe_notices(&o, notices, sizeof(notices));
		cr_expect_eq(status, steps[i].status, "%s, step %u: status %x", name, i, status);
		cr_expect_str_eq(state, steps[i].state ? steps[i].state : was, "%s, step %u: %s", name, i, state);
		cr_expect_str_eq(notices, steps[i].notices ? steps[i].notices : "", "%s, step %u: %s", name, i,
				 notices);
	}
}

Test(reservation, registering)
{
	static const struct step steps[] = {
		{'a', REG, 0, 1, 0, 0, "a=1, type 0", NULL, false},
		{'a', REG, 0, 1, 0, 0, NULL, NULL, false},		/* again */
		{'a', REG, 0, 2, 0, CONFLICT, NULL, NULL, false},	/* with another key */
		{'b', REPL, 1, 2, 0, CONFLICT, NULL, NULL, false},	/* who is not registered */
		{'b', UNREG, 1, 0, 0, CONFLICT, NULL, NULL, false},	/* likewise */
		{'b', REG, 7, 1, 0, 0, "a=1 b=1, type 0", NULL, false}, /* keys need not differ; CRKEY is ignored */
		{'b', REPL, 9, 2, 0, CONFLICT, NULL, NULL, false},	/* wrong key */
		{'b', REPL, 1, 2, 0, 0, "a=1 b=2, type 0", NULL, false},
		{'b', REPL, 9, 3, 0, 0, "a=1 b=3, type 0", NULL, true}, /* IEKEY */
		{'a', UNREG, 3, 0, 0, CONFLICT, NULL, NULL, false},
		{'a', UNREG, 1, 0, 0, 0, "b=3, type 0", NULL, false},
		{'b', UNREG, 9, 0, 0, 0, "type 0", NULL, true},
		{},
	};

	play("registering", steps);
}

Test(reservation, acquiring)
{
	static const struct step steps[] = {
		{'a', ACQ, 1, 0, 1, CONFLICT, NULL, NULL, false}, /* not registered */
		{'a', REG, 0, 1, 0, 0, "a=1, type 0", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1 b=2, type 0", NULL, false},
		{'a', ACQ, 2, 0, 1, CONFLICT, NULL, NULL, false}, /* wrong key */
		{'a', ACQ, 1, 0, 0, INVALID, NULL, NULL, false},
		{'a', ACQ, 1, 0, 7, INVALID, NULL, NULL, false},
		{'a', ACQ, 1, 0, 1, INVALID, NULL, NULL, true}, /* IEKEY */
		{'a', ACQ, 1, 0, 1, 0, "a=1* b=2, type 1", NULL, false},
		{'a', ACQ, 1, 0, 1, 0, NULL, NULL, false},	  /* has it */
		{'a', ACQ, 1, 0, 2, CONFLICT, NULL, NULL, false}, /* with another type */
		{'b', ACQ, 2, 0, 1, CONFLICT, NULL, NULL, false}, /* another's */
		{'b', REL, 2, 0, 1, 0, NULL, NULL, false},	  /* not the holder: nothing happens */
		{'a', REL, 2, 0, 1, CONFLICT, NULL, NULL, false}, /* wrong key */
		{'a', REL, 1, 0, 2, INVALID, NULL, NULL, false},  /* wrong type */
		{'a', REL, 1, 0, 1, 0, "a=1 b=2, type 0", NULL, false},
		{'a', REL, 1, 0, 1, 0, NULL, NULL, false}, /* there is none */
		{'b', ACQ, 2, 0, 2, 0, "a=1 b=2*, type 2", NULL, false},
		{'b', UNREG, 2, 0, 0, 0, "a=1, type 0", NULL, false}, /* goes with its holder; nobody profited */
		{},
	};

	play("acquiring", steps);
}

Test(reservation, registrants_only)
{
	static const struct step steps[] = {
		{'a', REG, 0, 1, 0, 0, "a=1, type 0", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1 b=2, type 0", NULL, false},
		{'c', REG, 0, 3, 0, 0, "a=1 b=2 c=3, type 0", NULL, false},
		{'b', ACQ, 2, 0, 3, 0, "a=1 b=2* c=3, type 3", NULL, false},
		{'b', REL, 2, 0, 3, 0, "a=1 b=2 c=3, type 0", "a:released c:released", false},
		{'b', ACQ, 2, 0, 4, 0, "a=1 b=2* c=3, type 4", NULL, false},
		{'b', UNREG, 2, 0, 0, 0, "a=1 c=3, type 0", "a:released c:released", false},
		{},
	};

	play("registrants only", steps);
}

Test(reservation, all_registrants)
{
	static const struct step steps[] = {
		{'a', REG, 0, 1, 0, 0, "a=1, type 0", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1 b=2, type 0", NULL, false},
		{'a', ACQ, 1, 0, 5, 0, "a=1* b=2*, type 5", NULL, false},
		{'b', ACQ, 2, 0, 5, 0, NULL, NULL, false},
		{'b', ACQ, 2, 0, 6, CONFLICT, NULL, NULL, false},
		{'c', REG, 0, 3, 0, 0, "a=1* b=2* c=3*, type 5", NULL, false}, /* who registers holds it, too */
		{'a', UNREG, 1, 0, 0, 0, "b=2* c=3*, type 5", NULL, false},
		{'c', PRE, 3, 2, 6, 0, "c=3*, type 5", "b:unregistered", false}, /* a registration alone */
		{'c', PRE, 3, 9, 6, CONFLICT, NULL, NULL, false},
		{'a', REG, 0, 1, 0, 0, "a=1* c=3*, type 5", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1* b=2* c=3*, type 5", NULL, false},
		{'a', PRE, 1, 0, 2, 0, "a=1*, type 2", "b:preempted c:preempted", false}, /* all of it */
		{'a', REL, 1, 0, 2, 0, "a=1, type 0", NULL, false},
		{'a', ACQ, 1, 0, 6, 0, "a=1*, type 6", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1* b=2*, type 6", NULL, false},
		{'b', REL, 2, 0, 6, 0, "a=1 b=2, type 0", "a:released", false}, /* each of them may */
		{'b', ACQ, 2, 0, 6, 0, "a=1* b=2*, type 6", NULL, false},
		{'a', UNREG, 1, 0, 0, 0, "b=2*, type 6", NULL, false},
		{'b', UNREG, 2, 0, 0, 0, "type 0", NULL, false}, /* the last */
		{},
	};

	play("all registrants", steps);
}

Test(reservation, preempting)
{
	static const struct step steps[] = {
		{'a', REG, 0, 1, 0, 0, "a=1, type 0", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1 b=2, type 0", NULL, false},
		{'c', REG, 0, 2, 0, 0, "a=1 b=2 c=2, type 0", NULL, false},
		{'d', PRE, 1, 2, 1, CONFLICT, NULL, NULL, false}, /* not registered */
		{'a', PRE, 1, 9, 1, CONFLICT, NULL, NULL, false}, /* nobody has this key */
		{'b', ACQ, 2, 0, 1, 0, "a=1 b=2* c=2, type 1", NULL, false},
		{'a', PRE, 1, 0, 1, INVALID, NULL, NULL, false}, /* key 0, and the holder's is another */
		{'a', PRE, 1, 2, 9, INVALID, NULL, NULL, false}, /* no such type */
		{'a', PRE, 1, 2, 2, 0, "a=1*, type 2", "b:preempted c:unregistered", false},
		{'b', REG, 0, 2, 0, 0, "a=1* b=2, type 2", NULL, false},
		{'c', REG, 0, 3, 0, 0, "a=1* b=2 c=3, type 2", NULL, false},
		{'b', PRE, 2, 3, 1, 0, "a=1* b=2, type 2", "c:unregistered", false}, /* not the holder's: it keeps it */
		{'a', PRE, 1, 1, 3, 0, "a=1* b=2, type 3", NULL, false}, /* oneself: another type, at once */
		{'c', REG, 0, 3, 0, 0, "a=1* b=2 c=3, type 3", NULL, false},
		{'b', PRE, 2, 1, 4, 0, "b=2* c=3, type 4", "a:preempted c:released", false},
		{'c', PRE, 3, 3, 4, 0, "b=2*, type 4", NULL, false}, /* its own registration */
		{'a', REG, 0, 1, 0, 0, "a=1 b=2*, type 4", NULL, false},
		{'a', ABORT, 1, 2, 4, 0, "a=1*, type 4", "b:preempted!", false},
		{},
	};

	play("preempting", steps);
}

Test(reservation, clearing)
{
	static const struct step steps[] = {
		{'a', CLEAR, 1, 0, 0, CONFLICT, NULL, NULL, false},
		{'a', REG, 0, 1, 0, 0, "a=1, type 0", NULL, false},
		{'b', REG, 0, 2, 0, 0, "a=1 b=2, type 0", NULL, false},
		{'b', ACQ, 2, 0, 2, 0, "a=1 b=2*, type 2", NULL, false},
		{'a', CLEAR, 1, 0, 0, INVALID, NULL, NULL, true},
		{'a', CLEAR, 2, 0, 0, CONFLICT, NULL, NULL, false},
		{'a', CLEAR, 1, 0, 0, 0, "type 0", "b:preempted", false},
		{},
	};

	play("clearing", steps);
}

Test(reservation, generation_and_persistence)
{
	static struct reservation r;
	static struct reservation_outcome o;
	struct reservation_command cmd = {.host = host('a'), .new_key = 1, .persist = RESERVATION_PERSIST};

	cr_expect_eq(reservation_register(&r, &cmd, false, &o), INVALID, "there is no place to keep it");
	cr_expect_eq(r.n_hosts, 0);
	cr_expect_eq(reservation_register(&r, &cmd, true, &o), 0);
	cr_expect(r.persists && o.changed && r.generation == 1);
	cmd.persist = RESERVATION_PERSIST_RESERVED;
	cr_expect_eq(reservation_register(&r, &cmd, true, &o), INVALID);
	cmd.persist = RESERVATION_FORGET;
	cr_expect_eq(reservation_register(&r, &cmd, true, &o), 0);
	cr_expect(!r.persists && r.generation == 2);
	cmd = (struct reservation_command){.host = host('a'), .current_key = 1, .type = 1};
	cr_expect_eq(reservation_acquire(&r, &cmd, &o), 0);
	cr_expect_eq(r.generation, 2, "the registrants are the same");
	cmd.action = 3;
	cr_expect_eq(reservation_acquire(&r, &cmd, &o), INVALID);
	cmd.action = 2;
	cr_expect_eq(reservation_release(&r, &cmd, &o), INVALID);
	cmd.action = 3;
	cr_expect_eq(reservation_register(&r, &cmd, true, &o), INVALID);
	cr_expect_eq(r.generation, 2);
}

Test(reservation, full)
{
	static struct reservation r;
	static struct reservation_outcome o;
	uint8_t id[RESERVATION_HOST_LEN] = {};
	struct reservation_command cmd = {.host = id, .new_key = 5};
	unsigned int i;

	for (i = 0; i < RESERVATION_HOSTS; i++) {
		id[0] = i;
		id[1] = i >> 8;
		cr_assert_eq(reservation_register(&r, &cmd, true, &o), 0);
	}
	id[1] = 1;
	cr_expect_eq(reservation_register(&r, &cmd, true, &o), NVME_ST_INTERNAL | NVME_STATUS_DNR);
	id[0] = 17;
	id[1] = 0;
	cmd = (struct reservation_command){
		.host = id, .action = RESERVATION_PREEMPT, .type = 1, .current_key = 5, .new_key = 5};
	cr_expect_eq(reservation_acquire(&r, &cmd, &o), 0, "everybody, itself included, and no reservation");
	cr_expect_eq(r.n_hosts, 0);
	cr_expect_eq(o.n, RESERVATION_HOSTS - 1);
}
