// SPDX-License-Identifier: Apache-2.0
/*
 * Writes a rule set in the manner of ClassBench, as its files are or as a policy, or a trace of packet headers that
 * meet it: `classbench --seed fw --rules 10000 > fw_10k`, and with the same options `--headers 100000 > fw_10k_trace`.
 * The work is in tests/lib/classbench.c.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "classbench.h"

struct options {
	struct classbench_options set;
	size_t headers;
	bool policy;
	enum classbench_action action;
};

static int usage(const char *why)
{
	fprintf(stderr,
		"classbench: %s\n"
		"usage: classbench [--seed acl|fw|ipc] [--rules N] [--prefixes N] [--random SEED]\n"
		"                  [--format classbench|policy] [--action allow|deny|alternate] [--headers N]\n",
		why);
	return 2;
}

static bool number_read(const char *text, size_t least, size_t most, size_t *ret)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text || value < least || value > most)
		return false;
	*ret = value;
	return true;
}

static bool action_read(const char *text, enum classbench_action *ret)
{
	static const char *const names[] = {"allow", "deny", "alternate"};
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (strcmp(text, names[i]))
			continue;
		*ret = (enum classbench_action)i;
		return true;
	}
	return false;
}

static bool option_read(int option, const char *value, struct options *o)
{
	switch (option) {
	case 's':
		o->set.seed = classbench_seed_find(value);
		return o->set.seed;
	case 'r':
		return number_read(value, 1, 10000000, &o->set.rules);
	case 'p':
		return number_read(value, 1, 10000000, &o->set.prefixes);
	case 'R':
		return number_read(value, 0, SIZE_MAX, &o->set.random);
	case 'f':
		o->policy = !strcmp(value, "policy");
		return o->policy || !strcmp(value, "classbench");
	case 'a':
		return action_read(value, &o->action);
	case 'h':
		return number_read(value, 1, SIZE_MAX, &o->headers);
	}
	return false;
}

static void headers_write(const struct options *o, const struct classbench_rule *rules)
{
	uint64_t state = o->set.random + 1;
	struct classbench_header h;
	size_t i, rule;

	for (i = 0; i < o->headers; i++) {
		rule = classbench_header(rules, o->set.rules, &state, &h);
		classbench_write_header(&h, rule < o->set.rules ? rule + 1 : 0, stdout);
	}
}

static void set_write(const struct options *o, const struct classbench_rule *rules)
{
	size_t i;

	if (o->headers)
		headers_write(o, rules);
	else if (o->policy)
		classbench_write_policy(rules, o->set.rules, o->action, o->set.seed->name, stdout);
	else
		for (i = 0; i < o->set.rules; i++)
			classbench_write_rule(&rules[i], stdout);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},	    {"rules", required_argument, NULL, 'r'},
		{"prefixes", required_argument, NULL, 'p'}, {"random", required_argument, NULL, 'R'},
		{"format", required_argument, NULL, 'f'},   {"action", required_argument, NULL, 'a'},
		{"headers", required_argument, NULL, 'h'},  {},
	};
	struct options o = {.set = {.seed = &classbench_seeds[0], .rules = 1000, .random = 1}};
	struct classbench_rule *rules = NULL;
	int option, r;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (option == '?' || !option_read(option, optarg, &o))
			return usage(option == '?' ? "unknown option" : optarg);
	if (optind < argc)
		return usage(argv[optind]);
	r = classbench_generate(&o.set, &rules);
	if (r) {
		fprintf(stderr, "classbench: %s: %s\n", o.set.seed->name,
			r == -ERANGE ? "has no so many distinct rules; ask for fewer, or for more --prefixes"
				     : strerror(-r));
		return 1;
	}
	set_write(&o, rules);
	free(rules);
	return fflush(stdout) || ferror(stdout);
}
