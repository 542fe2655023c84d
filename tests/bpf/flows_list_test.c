// SPDX-License-Identifier: Apache-2.0
/*
 * `sluice flows` over a large table, which is filled from here as the kernel half would have: every flow is listed
 * once, filters and orders hold over all of them, in little memory, and cutting many ends just those. SLUICE_FLOWS says
 * how many, 100,000 if it does not.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>

#include "base/util.h"
#include "judge.h"

#define POLICY                                                                                                         \
	"default: deny\nfailsafe: []\nconntrack: {max: 2M, tcp-established: 1h, pickup: 0s}\n"                          \
	"rules: [{name: web, from: 10.0.0.0/8, to: any, service: tcp/443, action: allow}]\n"

/* KiB that the command may have for itself: nothing of what is asked here needs memory for every flow. */
#ifdef __SANITIZE_ADDRESS__
#define MEMORY "unlimited" /* shadow memory counts, too */
#else
#define MEMORY "16384"
#endif

static char binary[4096];

/* ------------------------------------------------------------------- the table */

/* Flow i: from 10.x.y.z, i being x.y.z, to 192.0.2.1:443; i + 1 frames there, i bytes each way. */
static void flow_fill(uint32_t i, uint64_t now_ns, struct sluice_flow_key *key, struct sluice_flow *flow)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint32_t from = htonl(10u << 24 | i), to = htonl(0xc0000201);

	*key = (struct sluice_flow_key){.port = {htons(40000), htons(443)}, .protocol = IPPROTO_TCP, .version = 4};
	memcpy(key->addr[0], mapped, sizeof(mapped));
	memcpy(key->addr[1], mapped, sizeof(mapped));
	memcpy(key->addr[0] + 12, &from, 4);
	memcpy(key->addr[1] + 12, &to, 4);
	*flow = (struct sluice_flow){
		.state = SLUICE_FLOW_ACK(0) | SLUICE_FLOW_ACK(1) | SLUICE_FLOW_REPLIED, /* slot 0: rule web */
		.generation = 1,
		.first = (uint32_t)(now_ns >> SLUICE_FLOW_FIRST_SHIFT),
		.last = (uint32_t)(now_ns >> SLUICE_FLOW_LAST_SHIFT),
		.side = {{.traffic = 1ull << SLUICE_FLOW_BYTES | i}, {.traffic = i}},
	};
}

static bool flow_put(struct sluice_flow_bucket *buckets, uint32_t count, uint64_t seed, uint32_t i, uint64_t now_ns)
{
	struct sluice_flow_probe probe;
	struct sluice_flow_key key;
	struct sluice_flow flow;
	int home, unit;

	flow_fill(i, now_ns, &key, &flow);
	sluice_flow_probe(&key, seed, count, &probe);
	memcpy(&flow, probe.word, sizeof(probe.word));
	for (home = 0; home < SLUICE_FLOW_PLACES; home++)
		for (unit = SLUICE_FLOW_UNITS - 1; unit >= 0; unit--) {
			struct sluice_flow_bucket *b = &buckets[probe.bucket[home]];

			if (b->tag[unit])
				continue;
			b->unit[unit].flow = flow;
			b->tag[unit] = probe.tag | (home ? SLUICE_TAG_AWAY : 0);
			buckets[probe.bucket[0]].away += home != 0;
			return true;
		}
	return false;
}

/* How many there was room for: all, if the table is as large as it says. */
static uint32_t table_fill(uint32_t n)
{
	uint32_t count = sluice_flow_buckets(n), zero = 0, i, put = 0;
	struct sluice_flow_totals totals;
	struct sluice_control control;
	uint64_t now = time_now_ns();
	struct sluice_flow_bucket *b;

	b = mmap(NULL, (size_t)count * sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED, judge_map("flows"), 0);
	if (b == MAP_FAILED || bpf_map_lookup_elem(judge_map("control"), &zero, &control))
		return 0;
	for (i = 0; i < n; i++)
		put += flow_put(b, count, control.seed[0], i, now);
	munmap(b, (size_t)count * sizeof(*b));
	totals = (struct sluice_flow_totals){.flows = put};
	bpf_map_update_elem(judge_map("flow_totals"), &zero, &totals, BPF_ANY);
	return put;
}

/* ------------------------------------------------------------------- the command */

/* The number that `sluice flows ARGUMENTS | FILTER` prints; -1: it failed. */
static long flows(const char *filter, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static long flows(const char *filter, const char *fmt, ...)
{
	char arguments[256], command[8192], text[64] = "";
	uint64_t began = time_now_ns();
	va_list ap;
	FILE *f;
	int status;

	va_start(ap, fmt);
	vsnprintf(arguments, sizeof(arguments), fmt, ap);
	va_end(ap);
	snprintf(command, sizeof(command), "(ulimit -d " MEMORY "; exec %s --root %s flows %s)%s%s", binary,
		 judge_root(), arguments, *filter ? " | " : "", filter);
	f = popen(command, "r");
	if (!f || !fgets(text, sizeof(text), f))
		text[0] = 0;
	status = f ? pclose(f) : -1;
	printf("flows %s%s%s: %.2f s\n", arguments, *filter ? " | " : "", filter,
	       (double)(time_now_ns() - began) / 1e9);
	return status || !*text ? -1 : strtol(text, NULL, 10);
}

static void check(const char *name, long got, long expected)
{
	judge_check(name, got == expected, "%ld, expected %ld", got, expected);
}

/* The binary lies two folders above this program. */
static bool find_binary(void)
{
	ssize_t n = readlink("/proc/self/exe", binary, sizeof(binary) - 16);
	int i;

	binary[n > 0 ? n : 0] = 0;
	for (i = 0; i < 3 && strrchr(binary, '/'); i++)
		*strrchr(binary, '/') = 0;
	strcat(binary, "/sluice");
	return !access(binary, X_OK);
}

static void run(uint32_t n)
{
	uint32_t in16 = n < 65536 ? n : 65536;

	check("the table takes as many as it is for", table_fill(n), n);
	check("all are counted", flows("", "--count"), n);
	check("all are listed, each once", flows("sort -u | grep -c established", "--port 443"), n);
	check("one a line, with titles and a total", flows("wc -l", "--protocol tcp"), n + 2);
	check("a document is as many lines", flows("wc -l", "--json"), n + 2);
	check("all are in the document, each once", flows("jq '.flows | map(.source) | unique | length'", "--json"), n);
	check("a filter finds its own", flows("", "--count --address 10.0.0.0/16"), in16);
	check("and one that is alone", flows("", "--count --address 10.0.1.2"), 1);
	check("the most bytes first, of all", flows("jq '.flows[0].bytes'", "--sort bytes --limit 5 --json"), n - 1);
	check("and in order", flows("jq '[.flows[].bytes] | if . == (sort | reverse) then length else -1 end'",
				     "--sort bytes --limit 1000 --json"),
	      1000);
	check("the fewest", flows("jq '.flows[-1].bytes'", "--sort bytes --reverse --limit 5 --json"), 4);
	check("what is left out is said", flows("jq '.matched - .shown'", "--limit 10 --json"), n - 10);
	check("many are cut", flows("jq .cut", "--cut --address 10.0.0.0/16 --json"), in16);
	check("and just those", flows("", "--count"), n - in16);
	judge_check("and are counted no more", judge_flow_count() == (long)(n - in16), "%ld", judge_flow_count());
}

int main(void)
{
	const char *wanted = getenv("SLUICE_FLOWS");
	uint32_t n = wanted ? (uint32_t)strtoul(wanted, NULL, 10) : 100000;

	judge_start("flows-list", n);
	judge_check("the binary is there", find_binary(), "%s is not", binary);
	judge_apply(POLICY);
	run(n);
	return judge_end();
}
