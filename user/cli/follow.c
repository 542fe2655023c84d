// SPDX-License-Identifier: Apache-2.0
/*
 * The asking end of what `sluice target` answers about its policy: see follow.h. A target follows the file or folder
 * that it was started with, by its real path; another one is not its business, and it says so.
 */
#include "cli/follow.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/json.h"
#include "cli/table.h"
#include "control/control.h"

#define TIMEOUT_MS 30000 /* a target opens files and waits for commands under way */

struct asking {
	const char *request;
	struct json_object *targets;
};

static int ask(void *arg, const char *path)
{
	struct asking *a = arg;
	_cleanup_free_ char *answer = NULL;
	struct json_object *o;
	struct error err = {};
	int r = control_request(path, a->request, TIMEOUT_MS, &answer, &err);

	if (r == -ECONNREFUSED || r == -ENOENT || r == -ECONNRESET)
		return 0; /* a dead process's socket */
	o = r ? NULL : json_tokener_parse(answer);
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		o = json_object_new_object();
		json_add(o, "error", json_object_new_string(r ? err.text : "the answer is no JSON object"));
	}
	if (!json_object_object_get(o, "changes") && !json_object_object_get(o, "error")) {
		json_object_put(o); /* follows another policy */
		return 0;
	}
	json_add(o, "socket", json_object_new_string(path));
	json_object_array_add(a->targets, o);
	return 0;
}

struct json_object *follow_request(const char *request, const char *path)
{
	char real[PATH_MAX], text[PATH_MAX + 16];
	struct asking a = {.request = text, .targets = json_object_new_array()};
	int r;

	if (!realpath(path, real))
		return a.targets; /* whatever it was, no target can read it now */
	snprintf(text, sizeof(text), "%s%s", request, real);
	r = control_list("target", ask, &a);
	if (r)
		log_warn("targets", "%s: %s", control_run_dir(), strerror(-r));
	return a.targets;
}

static void print_change(struct json_object *o)
{
	const char *change = json_object_get_string(json_object_object_get(o, "change"));
	const char *limit = json_object_get_string(json_object_object_get(o, "limit"));
	const char *nqn = json_object_get_string(json_object_object_get(o, "subsystem"));
	uint64_t bytes = json_object_get_int64(json_object_object_get(o, "bytes"));
	int nsid = json_object_get_int(json_object_object_get(o, "nsid"));

	printf("  storage     %s", limit ? limit : nqn);
	if (nsid)
		printf(" namespace %d", nsid);
	printf(": %s", change);
	if (bytes)
		printf(", %s", bytes_text(bytes).text);
	printf("\n");
}

int follow_failures(struct json_object *targets)
{
	size_t i;
	int n = 0;

	for (i = 0; i < json_object_array_length(targets); i++)
		n += json_object_object_get(json_object_array_get_idx(targets, i), "error") != NULL;
	return n;
}

int follow_print(const char *command, struct json_object *targets)
{
	size_t i, k;

	for (i = 0; i < json_object_array_length(targets); i++) {
		struct json_object *o = json_object_array_get_idx(targets, i), *list;
		const char *socket = json_object_get_string(json_object_object_get(o, "socket"));
		struct json_object *error = json_object_object_get(o, "error");

		if (error) {
			fprintf(stderr, "sluice: %s: %s: %s\n", command, socket, json_object_get_string(error));
			continue;
		}
		list = json_object_object_get(o, "changes");
		if (!json_object_array_length(list))
			printf("  storage     %s: as before\n", socket);
		for (k = 0; k < json_object_array_length(list); k++)
			print_change(json_object_array_get_idx(list, k));
		list = json_object_object_get(o, "later");
		for (k = 0; list && k < json_object_array_length(list); k++)
			fprintf(stderr, "sluice: %s: warning: %s: new %s wait for a restart of the target\n", command,
				socket, json_object_get_string(json_object_array_get_idx(list, k)));
	}
	return follow_failures(targets);
}
