// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as rules of another filter: the import says why not, or makes a policy that the parser takes. Every format
 * is tried on every input, with and without addresses of this host.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/import.h"
#include "policy/policy.h"

#define TEXT_MAX 4096

static void policy_examine(const char *text)
{
	struct policy_diagnostics d = {};
	struct policy *p = NULL;

	if (policy_load_text("imported.yaml", text, strlen(text), &d, &p)) {
		policy_diagnostics_print(&d, stderr);
		fputs(text, stderr);
		abort();
	}
	policy_free(p);
	policy_diagnostics_done(&d);
}

static void import_try(const struct import_options *o, const char *text, size_t size)
{
	struct import_result result = {};
	struct error err = {};
	size_t i;
	int r = import_text(o, text, size, &err, &result);

	if (r) {
		if (r == -EINVAL && !err.text[0])
			abort();
		return;
	}
	for (i = 0; i < result.n_dropped; i++)
		if (!result.dropped[i].text || !result.dropped[i].why[0])
			abort();
	policy_examine(result.policy);
	import_result_done(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *addresses[] = {(char *)"192.0.2.1", (char *)"2001:db8::1"}, *interfaces[] = {(char *)"eth0"};
	struct import_options o = {.file = "fuzz", .name = "fuzz", .action = IMPORT_ALTERNATE};
	char *text;

	if (size > TEXT_MAX)
		return 0;
	text = malloc(size + 1);
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	for (o.format = IMPORT_AUTO; o.format <= IMPORT_NFT; o.format++)
		import_try(&o, text, size);
	o.format = IMPORT_AUTO;
	o.addresses = addresses;
	o.n_addresses = 2;
	o.interfaces = interfaces;
	o.n_interfaces = 1;
	import_try(&o, text, size);
	free(text);
	return 0;
}
