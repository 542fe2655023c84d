// SPDX-License-Identifier: Apache-2.0
/* Small parts of JSON documents, and how a command that was asked for JSON fails. */
#include "cli/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/cli.h"

struct json_object *json_number(uint64_t n)
{
	return json_object_new_uint64(n);
}

struct json_object *json_hex(const uint8_t *bytes, size_t count)
{
	char text[65] = "";
	size_t i;

	for (i = 0; i < count && i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return json_object_new_string(text);
}

struct json_object *json_name(const char *text)
{
	return text && *text ? json_object_new_string(text) : NULL;
}

void json_add(struct json_object *o, const char *key, struct json_object *value)
{
	json_object_object_add(o, key, value);
}

void json_print(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

struct json_object *json_trial(const struct dataplane_trial *t)
{
	struct json_object *o;
	bool pending = t->state == DATAPLANE_TRIAL_PENDING;

	if (t->state == DATAPLANE_TRIAL_NONE)
		return NULL;
	o = json_object_new_object();
	json_add(o, "state", json_object_new_string(pending ? "pending" : "expired"));
	json_add(o, "generation", json_number(t->generation));
	json_add(o, "previous", json_number(t->previous));
	json_add(o, "seconds_left", pending ? json_object_new_double((double)t->left_ns / NSEC_PER_SEC) : NULL);
	json_add(o, "seconds_ago", pending ? NULL : json_object_new_double((double)t->ago_ns / NSEC_PER_SEC));
	return o;
}

struct json_object *json_limit(const struct policy_limit *limit)
{
	struct json_object *o;

	if (!limit->rate)
		return NULL;
	o = json_object_new_object();
	json_add(o, "rate", json_number(limit->rate));
	json_add(o, "unit", json_object_new_string(limit->bits ? "bit/s" : "pps"));
	json_add(o, "burst", json_number(limit->burst));
	json_add(o, "per", json_object_new_string(limit->per_source ? "source" : "rule"));
	return o;
}

static void error_print(const char *text)
{
	struct json_object *o = json_object_new_object();

	json_add(o, "error", json_object_new_string(text));
	json_print(o);
}

int json_fail(bool json, const char *command, int r, const struct error *err)
{
	if (json)
		error_print(err && err->text[0] ? err->text : strerror(-r));
	return cli_fail(command, r, err);
}

int json_refuse(bool json, const char *command, const struct error *err)
{
	if (json)
		error_print(err->text);
	fprintf(stderr, "sluice: %s: %s\n", command, err->text);
	return EXIT_NO;
}

int json_rejected(const char *path, int status)
{
	struct error err;

	error_set(&err, EINVAL, "%s: rejected; `sluice check --json` lists what is wrong with it", path);
	error_print(err.text);
	return status;
}
