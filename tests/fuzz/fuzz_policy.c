// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer: any text as a policy. What loads is written back, which must load as the same, then compiled and asked:
 * the tables and the rules as written must agree. Tables are kept small, so that a refusal for size is met as well and
 * a run stays fast.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/compile.h"

#define TEXT_MAX  (64 << 10)
#define WORDS_MAX (1 << 20)

static const char *const addresses[] = {"0.0.0.0", "10.0.0.1",	 "10.20.0.5", "255.255.255.255",
					"::",	   "fd00:10::1", "fe80::1"};
static const char *const services[] = {"tcp/22", "tcp/4420", "udp/53", "icmp/echo-request", "icmpv6/135", "gre", "47"};

static void ask(const struct policy *p, const struct policy_tables *t, const char *from, const char *to,
		const char *service)
{
	struct policy_query q = {.source_port = 1024};
	struct policy_answer answer;

	if (policy_query_address(from, q.source, NULL) || policy_query_address(to, q.dest, NULL) ||
	    policy_query_service(service, &q, NULL) || policy_explain(p, &q, &answer))
		abort();
	if (policy_tables_lookup(t, &q) != answer.rule)
		abort();
	free(answer.earlier);
}

static void ask_all(const struct policy *p, const struct policy_tables *t)
{
	size_t i, k, n = sizeof(addresses) / sizeof(addresses[0]), m = sizeof(services) / sizeof(services[0]);

	for (i = 0; i < n; i++) {
		for (k = 0; k < m; k++)
			ask(p, t, addresses[i], addresses[(i + k) % n], services[k]);
	}
}

/* Caller frees. */
static char *write_text(const struct policy *p, size_t *ret_length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_length);

	if (!out || policy_write(p, out) || fclose(out))
		abort();
	return text;
}

/* What is written loads, and is written the same again. */
static void write_back(const struct policy *p)
{
	struct policy *again = NULL;
	size_t length, second_length;
	char *text = write_text(p, &length), *second;

	if (policy_load_text("written.yaml", text, length, NULL, &again))
		abort();
	second = write_text(again, &second_length);
	if (length != second_length || memcmp(text, second, length))
		abort();
	policy_free(again);
	free(second);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy_diagnostics d = {};
	struct policy_tables *t = NULL;
	struct policy *p = NULL;
	struct error err = {};
	int r;

	if (size > TEXT_MAX)
		return 0;
	r = policy_load_text("fuzz.yaml", (const char *)data, size, &d, &p);
	if ((r == 0) != (p != NULL) || (r == -EINVAL && !d.errors) || (r == 0 && d.errors))
		abort();
	if (!r) {
		write_back(p);
		r = policy_compile_limited(p, WORDS_MAX, &err, &t);
		if (r && !err.text[0])
			abort();
		if (!r)
			ask_all(p, t);
	}
	policy_tables_free(t);
	policy_free(p);
	policy_diagnostics_done(&d);
	return 0;
}
