// SPDX-License-Identifier: Apache-2.0
/*
 * Random iptables rulesets with jumps, gotos, returns and negations, walked as the kernel walks them and asked of the
 * policy that they become. What was carried over whole must judge alike; what was not must never allow more.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "importing.h"
#include "reference.h"

enum { CHAINS = 4, RULES = 6, PACKETS = 60, SECONDS = 2 };
enum target { ACCEPT, DROP, RETURN, JUMP, GOTO, NEXT };

static const char *const target_names[] = {"ACCEPT", "DROP", "RETURN"};
static const char *const chain_names[] = {"INPUT", "one", "two", "three"};

/* 10.0.0.0/(24 + n); addresses in packets are 10.0.0.x. */
struct side {
	bool present, negated;
	unsigned int first, length;
};

struct rule {
	struct side side[2];
	unsigned int protocol; /* 0, 6 or 17 */
	unsigned int first, last;
	bool ports, ports_negated;
	enum target target;
	unsigned int chain;
};

struct ruleset {
	struct rule rules[CHAINS][RULES];
	bool accepts; /* the policy */
};

struct packet {
	unsigned int host[2], protocol, port;
};

static unsigned int below(uint64_t *state, unsigned int limit)
{
	return (unsigned int)(reference_random(state) % limit);
}

static void rule_generate(struct rule *r, unsigned int chain, uint64_t *state)
{
	unsigned int i;

	*r = (struct rule){.target = (enum target)below(state, 5)};
	for (i = 0; i < 2; i++) {
		r->side[i].present = below(state, 2);
		r->side[i].negated = !below(state, 4);
		r->side[i].length = 1 + below(state, 3);
		r->side[i].first = below(state, 256) & (0xffu << (8 - r->side[i].length)) & 0xff;
	}
	r->protocol = below(state, 3) ? (below(state, 2) ? 6 : 17) : 0;
	r->ports = r->protocol && below(state, 2);
	r->ports_negated = !below(state, 4);
	r->first = 1 + below(state, 8);
	r->last = r->first + below(state, 4);
	if (r->target == RETURN && below(state, 3)) /* too many of them, and nothing would be carried */
		r->target = ACCEPT;
	r->chain = chain + 1 + below(state, CHAINS);
	if (r->target >= JUMP && r->chain >= CHAINS)
		r->target = DROP;
}

static void side_write(FILE *out, const struct side *s, const char *option)
{
	if (s->present)
		fprintf(out, "%s %s 10.0.0.%u/%u", s->negated ? " !" : "", option, s->first, 24 + s->length);
}

static void rule_write(FILE *out, const struct rule *r, unsigned int chain)
{
	fprintf(out, "-A %s", chain_names[chain]);
	side_write(out, &r->side[0], "-s");
	side_write(out, &r->side[1], "-d");
	if (r->protocol)
		fprintf(out, " -p %s", r->protocol == 6 ? "tcp" : "udp");
	if (r->ports)
		fprintf(out, " -m %s%s --dport %u:%u", r->protocol == 6 ? "tcp" : "udp", r->ports_negated ? " !" : "",
			r->first, r->last);
	fprintf(out, " %s %s\n", r->target == GOTO ? "-g" : "-j",
		r->target >= JUMP ? chain_names[r->chain] : target_names[r->target]);
}

static char *ruleset_write(const struct ruleset *s)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	unsigned int c, i;

	cr_assert(out != NULL);
	fprintf(out, "*filter\n:INPUT %s [0:0]\n:one - [0:0]\n:two - [0:0]\n:three - [0:0]\n",
		s->accepts ? "ACCEPT" : "DROP");
	fprintf(out, "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
	for (c = 0; c < CHAINS; c++)
		for (i = 0; i < RULES; i++)
			rule_write(out, &s->rules[c][i], c);
	fprintf(out, "COMMIT\n");
	fclose(out);
	return text;
}

static bool rule_fits(const struct rule *r, const struct packet *p)
{
	unsigned int i;
	bool inside;

	for (i = 0; i < 2; i++) {
		inside = (p->host[i] & 0xff & (0xffu << (8 - r->side[i].length))) == r->side[i].first;
		if (r->side[i].present && inside == r->side[i].negated)
			return false;
	}
	if (r->protocol && r->protocol != p->protocol)
		return false;
	return !r->ports || (p->port >= r->first && p->port <= r->last) != r->ports_negated;
}

/* ACCEPT, DROP, or RETURN: the chain ended without either. */
static enum target chain_walk(const struct ruleset *s, unsigned int chain, const struct packet *p)
{
	enum target verdict;
	unsigned int i;

	for (i = 0; i < RULES; i++) {
		const struct rule *r = &s->rules[chain][i];

		if (!rule_fits(r, p))
			continue;
		if (r->target <= RETURN)
			return r->target;
		verdict = chain_walk(s, r->chain, p);
		if (verdict != RETURN || r->target == GOTO)
			return verdict;
	}
	return RETURN;
}

static const char *ruleset_verdict(const struct ruleset *s, const struct packet *p)
{
	enum target verdict = chain_walk(s, 0, p);

	return verdict == ACCEPT || (verdict == RETURN && s->accepts) ? "allow" : "deny";
}

static void ruleset_compare(const struct ruleset *s, uint64_t seed, uint64_t *state, size_t *exact)
{
	const struct import_options o = {.file = "x", .name = "x"};
	_cleanup_free_ char *text = ruleset_write(s);
	const char *expected, *is;
	char from[32], to[32], service[32];
	struct importing i;
	struct packet p;
	int n;

	importing_begin(&i, &o, text);
	cr_assert_eq(i.r, 0, "seed %llu: %s\n%s", (unsigned long long)seed, i.err.text, text);
	*exact += !i.result.n_dropped;
	for (n = 0; n < PACKETS; n++) {
		p = (struct packet){
			{below(state, 256), below(state, 256)}, below(state, 2) ? 6 : 17, 1 + below(state, 14)};
		snprintf(from, sizeof(from), "10.0.0.%u", p.host[0]);
		snprintf(to, sizeof(to), "10.0.0.%u", p.host[1]);
		snprintf(service, sizeof(service), "%s/%u", p.protocol == 6 ? "tcp" : "udp", p.port);
		expected = ruleset_verdict(s, &p);
		is = importing_verdict(&i, from, to, service, 1000);
		cr_assert(!strcmp(is, expected) || (i.result.n_dropped && !strcmp(expected, "allow")),
			  "seed %llu: %s > %s %s is %s there and %s here\n%s\n%s", (unsigned long long)seed, from, to,
			  service, expected, is, text, i.result.policy);
	}
	importing_done(&i);
}

Test(import_chains, never_allow_more_and_judge_alike_if_carried_whole)
{
	uint64_t first = reference_seed(), seed, state, end = time_now_ns() + SECONDS * NSEC_PER_SEC;
	unsigned int c, i;
	struct ruleset s;
	size_t exact = 0;

	for (seed = first; time_now_ns() < end || seed < first + 20; seed++) {
		state = seed;
		s.accepts = below(&state, 2);
		for (c = 0; c < CHAINS; c++)
			for (i = 0; i < RULES; i++)
				rule_generate(&s.rules[c][i], c, &state);
		ruleset_compare(&s, seed, &state, &exact);
	}
	cr_log_info("%llu rulesets, %zu carried whole\n", (unsigned long long)(seed - first), exact);
	cr_expect_gt(exact, 0, "no ruleset was carried whole: nothing was compared exactly");
}
