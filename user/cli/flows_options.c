// SPDX-License-Identifier: Apache-2.0
/* The command line of `sluice flows`: what may be said, and what makes no sense together. Called by flows.c. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli/flows.h"
#include "policy/values.h"

#define WATCH_DEFAULT_NS (2 * NSEC_PER_SEC)
#define WATCH_MIN_NS	 (NSEC_PER_SEC / 10)
#define WATCH_MAX_NS	 (86400 * NSEC_PER_SEC)

enum {
	OPTION_TENANT = 256, /* in the order of enum flow_test_kind */
	OPTION_SORT = OPTION_TENANT + FLOW_TEST_KINDS,
	OPTION_REVERSE,
	OPTION_LIMIT,
	OPTION_WATCH,
	OPTION_COUNT,
	OPTION_JSON,
	OPTION_CUT,
	OPTION_ALL,
	OPTION_DRY_RUN,
};

static const struct option options[] = {
	{"tenant", required_argument, NULL, OPTION_TENANT + FLOW_TEST_TENANT},
	{"segment", required_argument, NULL, OPTION_TENANT + FLOW_TEST_SEGMENT},
	{"rule", required_argument, NULL, OPTION_TENANT + FLOW_TEST_RULE},
	{"state", required_argument, NULL, OPTION_TENANT + FLOW_TEST_STATE},
	{"address", required_argument, NULL, OPTION_TENANT + FLOW_TEST_ADDRESS},
	{"port", required_argument, NULL, OPTION_TENANT + FLOW_TEST_PORT},
	{"protocol", required_argument, NULL, OPTION_TENANT + FLOW_TEST_PROTOCOL},
	{"sort", required_argument, NULL, OPTION_SORT},
	{"reverse", no_argument, NULL, OPTION_REVERSE},
	{"limit", required_argument, NULL, OPTION_LIMIT},
	{"watch", optional_argument, NULL, OPTION_WATCH},
	{"count", no_argument, NULL, OPTION_COUNT},
	{"json", no_argument, NULL, OPTION_JSON},
	{"cut", no_argument, NULL, OPTION_CUT},
	{"all", no_argument, NULL, OPTION_ALL},
	{"dry-run", no_argument, NULL, OPTION_DRY_RUN},
	{},
};

static int set_sort(struct flows_options *o, const char *text, struct error *err)
{
	o->order = flow_order_find(text);
	return o->order ? 0 : error_set(err, EINVAL, "no order '%.40s'; use %s", text, flow_order_names());
}

static int set_limit(struct flows_options *o, const char *text, struct error *err)
{
	uint64_t n;
	int r = value_count(text, &n, err);

	if (!r && !n)
		return error_set(err, EINVAL, "0 shows nothing; use a number from 1 on, or --count");
	if (!r)
		o->limit = n;
	return r;
}

/* A bare number is seconds. */
static int set_watch(struct flows_options *o, const char *text, struct error *err)
{
	uint64_t ns = WATCH_DEFAULT_NS;
	char *end;
	double seconds;

	if (text) {
		seconds = strtod(text, &end);
		if (end != text && !*end && seconds >= 0 && seconds < 1e9)
			ns = (uint64_t)(seconds * (double)NSEC_PER_SEC);
		else if (value_duration(text, &ns, err))
			return -EINVAL;
	}
	if (ns < WATCH_MIN_NS || ns > WATCH_MAX_NS)
		return error_set(err, EINVAL, "'%.40s' is out of range; use 0.1 to 86400 seconds", text);
	o->watch_ns = ns;
	return 0;
}

static int set_option(struct flows_options *o, int option, const char *text, struct error *err)
{
	bool *const flags[] = {
		[OPTION_REVERSE - OPTION_SORT] = &o->reverse, [OPTION_COUNT - OPTION_SORT] = &o->count,
		[OPTION_JSON - OPTION_SORT] = &o->json,	      [OPTION_CUT - OPTION_SORT] = &o->cut,
		[OPTION_ALL - OPTION_SORT] = &o->all,	      [OPTION_DRY_RUN - OPTION_SORT] = &o->dry_run,
	};

	if (option < OPTION_SORT)
		return flow_filter_add(&o->filter, (enum flow_test_kind)(option - OPTION_TENANT), text, err);
	switch (option) {
	case OPTION_SORT:
		return set_sort(o, text, err);
	case OPTION_LIMIT:
		return set_limit(o, text, err);
	case OPTION_WATCH:
		return set_watch(o, text, err);
	}
	*flags[option - OPTION_SORT] = true;
	return 0;
}

static int check_together(const struct flows_options *o, struct error *err)
{
	bool listing = o->order || o->reverse || o->limit != FLOWS_ALL || o->watch_ns || o->count;

	if (!o->cut && (o->all || o->dry_run))
		return error_set(err, EINVAL, "%s goes with --cut", o->all ? "--all" : "--dry-run");
	if (o->cut && !o->all && !o->filter.count)
		return error_set(err, EINVAL, "--cut ends every flow that the filters match, and there is none; "
					      "give one, or --all");
	if (o->cut && o->all && o->filter.count)
		return error_set(err, EINVAL, "--all and a filter contradict each other; leave one out");
	if (o->cut && listing)
		return error_set(err, EINVAL, "--cut lists nothing; leave --sort, --reverse, --limit, --watch and "
					      "--count out, or --cut");
	if (o->reverse && !o->order)
		return error_set(err, EINVAL, "--reverse turns an order round; give --sort, too");
	if (o->count && (o->order || o->limit != FLOWS_ALL))
		return error_set(err, EINVAL, "--count shows no flow; leave --sort and --limit out");
	return 0;
}

/* The seconds of --watch may stand behind a space: nothing else here is not an option. */
static const char *watch_argument(int argc, char **argv)
{
	if (optarg || optind >= argc || argv[optind][0] == '-')
		return optarg;
	return argv[optind++];
}

static int read_option(struct flows_options *o, int option, int argc, char **argv, struct error *err)
{
	const char *text = option == OPTION_WATCH ? watch_argument(argc, argv) : optarg;
	struct error why = {};
	size_t i = 0;
	int r = set_option(o, option, text, &why);

	if (!r)
		return 0;
	while (options[i].val != option)
		i++;
	return error_set(err, -r, "--%s: %s", options[i].name, why.text);
}

int flows_options_parse(int argc, char **argv, struct flows_options *o, struct error *err)
{
	int option, r = 0;

	*o = (struct flows_options){.limit = FLOWS_ALL};
	opterr = 0;
	optind = 0;
	while (!r && (option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		if (option == ':')
			r = error_set(err, EINVAL, "%s needs a value", argv[optind - 1]);
		else if (option == '?')
			r = error_set(err, EINVAL, "%s is no option of this command, or takes no value",
				      argv[optind - 1]);
		else
			r = read_option(o, option, argc, argv, err);
	}
	if (r)
		return r;
	if (optind < argc)
		return error_set(err, EINVAL, "'%.60s' is no option; filters have names, as in --address %.60s",
				 argv[optind], argv[optind]);
	return check_together(o, err);
}
