// SPDX-License-Identifier: Apache-2.0
/*
 * What lookups cost by test run, in ns over an empty program that does all the rest; run.sh calls it once a size.
 *
 *   lookup prefix 4|6 COUNT     class of an address in COUNT prefixes, beside the kernel's LPM trie with the same ones
 *   lookup classify SEED COUNT  first matching rule of COUNT rules in the manner of ClassBench's SEED; then the whole of
 *                               sluice_xdp for packets that the rules allow, making a flow each, and for denied ones
 *
 * Tuples are LOOKUP_TUPLES, in random order: more than caches of verdicts and of the CPU hold. Prints tab-separated
 * medians of ROUNDS rounds, the candidates of a round one after the other.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <sluice/replay.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "classbench.h"
#include "judge.h"
#include "lookup.h"
#include "reference.h"
#include "tests/bench/lookup.skel.h"

#define ROUNDS 7
#define RUNS   (4 * LOOKUP_TUPLES / LOOKUP_BATCH)
#define HEAD   "sluice: 1\nname: lookup\ndefault: deny\nfailsafe: []\nconntrack: {max: 200k}\ninterfaces: [{name: " JUDGE_DEV "}]\n"

/* struct tuple of bpf/pkt.h. */
struct tuple {
	uint8_t source[16];
	uint8_t dest[16];
	__be16 source_port;
	__be16 dest_port;
	uint16_t tenant;
	uint8_t protocol;
	uint8_t version;
	uint32_t bank;
};

struct bench {
	struct lookup_bpf *skel;
	struct tuple *tuples;
	uint64_t random;
	uint32_t bank;
};

static void die(const char *what, int err)
{
	fprintf(stderr, "lookup: %s: %s\n", what, strerror(err));
	judge_end();
	exit(1);
}

/* ------------------------------------------------------------------------- the bench */

/* The kernel object over the pinned tables of the applied policy; what it does not use of them is not made. */
static void bench_open(struct bench *b)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = judge_root());
	static const char *const used[] = {"words", "policy", "tuples", "trie4", "trie6", "jump"};
	struct bpf_map *map;
	size_t i;

	b->skel = lookup_bpf__open_opts(&opts);
	if (!b->skel)
		die("lookup.bpf.o", errno);
	bpf_object__for_each_map(map, b->skel->obj) {
		for (i = 0; i < ARRAY_SIZE(used) && strcmp(bpf_map__name(map), used[i]); i++)
			;
		if (i == ARRAY_SIZE(used) && !bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, false);
	}
	if (lookup_bpf__load(b->skel))
		die("lookup.bpf.o", errno);
}

static void tuples_fill(struct bench *b)
{
	uint32_t keys[LOOKUP_TUPLES / 64], i, k, part;

	for (i = 0; i < LOOKUP_TUPLES; i += part) {
		part = ARRAY_SIZE(keys);
		for (k = 0; k < part; k++) {
			keys[k] = i + k;
			b->tuples[i + k].bank = b->bank;
		}
		if (bpf_map_update_batch(bpf_map__fd(b->skel->maps.tuples), keys, b->tuples + i, &part, NULL))
			die("tuples", errno);
	}
}

/* ns a lookup. */
static double batch_measure(const struct bpf_program *program)
{
	uint8_t frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame), .repeat = RUNS);

	if (bpf_prog_test_run_opts(bpf_program__fd(program), &opts))
		die("test run", errno);
	return (double)opts.duration / LOOKUP_BATCH;
}

static int double_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof(*values), double_compare);
	return values[ROUNDS / 2];
}

/* -------------------------------------------------------------------------- prefixes */

struct prefix {
	uint8_t address[16]; /* IPv4 in the first four */
	unsigned int length;
};

static void prefix_draw(struct bench *b, bool ipv4, struct prefix *p)
{
	static const unsigned int lengths[2][5] = {{48, 56, 64, 64, 128}, {24, 28, 32, 32, 32}};
	uint64_t words[2] = {reference_random(&b->random), reference_random(&b->random)};
	unsigned int i;

	memset(p, 0, sizeof(*p));
	p->length = lengths[ipv4][reference_random(&b->random) % 5];
	memcpy(p->address, words, ipv4 ? 4 : 16);
	if (ipv4)
		p->address[0] = (uint8_t)(1 + p->address[0] % 223); /* unicast */
	else
		p->address[0] = 0x20;
	for (i = p->length; i < (ipv4 ? 32u : 128u); i++)
		p->address[i / 8] &= (uint8_t)~(0x80 >> i % 8);
}

static char *prefixes_policy(const struct prefix *prefixes, size_t count, bool ipv4)
{
	char address[INET6_ADDRSTRLEN], *text;
	size_t length, i;
	FILE *out = open_memstream(&text, &length);

	fprintf(out, HEAD "segments:\n");
	for (int s = 0; s < 4; s++) { /* four classes and more, where they overlap */
		fprintf(out, "  s%d: [", s);
		for (i = (size_t)s; i < count; i += 4)
			fprintf(out, "\"%s/%u\", ", inet_ntop(ipv4 ? AF_INET : AF_INET6, prefixes[i].address, address, sizeof(address)),
				prefixes[i].length);
		fprintf(out, "]\n");
	}
	fprintf(out, "rules:\n");
	for (int s = 0; s < 4 && (size_t)s < count; s++)
		fprintf(out, "  - {name: r%d, from: s%d, to: any, service: tcp/%d, action: allow}\n", s, s, 80 + s);
	fclose(out);
	return text;
}

static void tries_fill(struct bench *b, const struct prefix *prefixes, size_t count, bool ipv4)
{
	int fd = bpf_map__fd(ipv4 ? b->skel->maps.trie4 : b->skel->maps.trie6);
	struct {
		uint32_t length;
		uint8_t address[16];
	} key;
	uint32_t value = 1;
	size_t i;

	for (i = 0; i < count; i++) {
		key.length = prefixes[i].length;
		memcpy(key.address, prefixes[i].address, 16);
		if (bpf_map_update_elem(fd, &key, &value, BPF_ANY))
			die("LPM trie", errno);
	}
}

/* Random addresses within random prefixes. */
static void tuples_in_prefixes(struct bench *b, const struct prefix *prefixes, size_t count, bool ipv4)
{
	const struct prefix *p;
	struct tuple *t;
	unsigned int bit;
	size_t i;

	for (i = 0; i < LOOKUP_TUPLES; i++) {
		p = &prefixes[reference_random(&b->random) % count];
		t = &b->tuples[i];
		t->version = ipv4 ? 4 : 6;
		memcpy(t->source + (ipv4 ? 12 : 0), p->address, ipv4 ? 4 : 16);
		for (bit = p->length; bit < (ipv4 ? 32u : 128u); bit++)
			t->source[(ipv4 ? 12 : 0) + bit / 8] |= (uint8_t)((reference_random(&b->random) & 1) << (7 - bit % 8));
	}
}

static void bench_prefix(struct bench *b, bool ipv4, size_t count)
{
	_cleanup_free_ struct prefix *prefixes = calloc(count, sizeof(*prefixes));
	_cleanup_free_ char *text = NULL;
	double empty[ROUNDS], ours[ROUNDS], lpm[ROUNDS], base;
	size_t i;

	for (i = 0; prefixes && i < count; i++)
		prefix_draw(b, ipv4, &prefixes[i]);
	text = prefixes ? prefixes_policy(prefixes, count, ipv4) : NULL;
	if (!text)
		die("memory", ENOMEM);
	judge_apply(text);
	bench_open(b);
	tuples_in_prefixes(b, prefixes, count, ipv4);
	tuples_fill(b);
	tries_fill(b, prefixes, count, ipv4);
	for (i = 0; i < ROUNDS; i++) {
		empty[i] = batch_measure(b->skel->progs.empty);
		ours[i] = batch_measure(b->skel->progs.prefix);
		lpm[i] = batch_measure(ipv4 ? b->skel->progs.lpm4 : b->skel->progs.lpm6);
	}
	base = median(empty);
	printf("%d\t%zu\t%.1f\t%.1f\t%.1f\n", ipv4 ? 4 : 6, count, base, median(ours) - base, median(lpm) - base);
}

/* ------------------------------------------------------------------- classification */

static void tuple_set(struct tuple *t, const struct classbench_header *h)
{
	__be32 source = htonl(h->address[0]), dest = htonl(h->address[1]);

	*t = (struct tuple){.protocol = h->protocol, .version = 4};
	t->source[10] = t->source[11] = t->dest[10] = t->dest[11] = 0xff;
	memcpy(t->source + 12, &source, 4);
	memcpy(t->dest + 12, &dest, 4);
	t->source_port = htons(h->port[0]);
	t->dest_port = htons(h->port[1]);
}

/* A header as a packet that can be sent: TCP or UDP, from unicast. */
static bool header_is_usual(const struct classbench_header *h)
{
	return (h->protocol == IPPROTO_TCP || h->protocol == IPPROTO_UDP) && h->address[0] >> 28 < 14;
}

/* Distinct enough: drawn uniformly over the rules, so that no few rules stay in the CPU's caches. */
static void tuples_from_rules(struct bench *b, const struct classbench_rule *rules, size_t count)
{
	struct classbench_header h;
	size_t i;

	for (i = 0; i < LOOKUP_TUPLES; i++) {
		do {
			classbench_header(rules, count, &b->random, &h);
		} while (!header_is_usual(&h));
		tuple_set(&b->tuples[i], &h);
		if (rules[0].first[0] == 0) /* source ports of their own, or flows would meet */
			b->tuples[i].source_port = (uint16_t)i;
	}
}

/* ns a packet through sluice_xdp, each tuple once. */
static double drive_measure(struct bench *b, int program)
{
	uint8_t frame[64] = {[12] = 0x08, [13] = 0, [14] = 0x45, [17] = 50};
	struct xdp_md md = {.data_end = sizeof(frame), .ingress_ifindex = judge_ifindex()};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame), .repeat = LOOKUP_TUPLES,
		    .ctx_in = &md, .ctx_size_in = sizeof(md));
	uint32_t zero = 0;

	judge_flows_clear();
	b->skel->bss->position = 0;
	if (program >= 0 ? bpf_map_update_elem(bpf_map__fd(b->skel->maps.jump), &zero, &program, BPF_ANY)
			 : bpf_map_delete_elem(bpf_map__fd(b->skel->maps.jump), &zero) && errno != ENOENT)
		die("jump", errno);
	if (bpf_prog_test_run_opts(bpf_program__fd(b->skel->progs.drive), &opts))
		die("test run", errno);
	return opts.duration;
}

static int program_open(void)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/programs/sluice_xdp", judge_root());
	fd = bpf_obj_get(path);
	if (fd < 0)
		die(path, errno);
	return fd;
}

/* Allowed: what the rules say of their own headers. Denied: the same sources and ports to where no rule leads. */
static void drive_bench(struct bench *b, double *ret_allowed, double *ret_denied)
{
	double empty[ROUNDS], allowed[ROUNDS], denied[ROUNDS];
	_cleanup_close_ int program = program_open();
	size_t i;

	for (i = 0; i < ROUNDS; i++) {
		empty[i] = drive_measure(b, -1);
		allowed[i] = drive_measure(b, program);
	}
	for (i = 0; i < LOOKUP_TUPLES; i++)
		memcpy(b->tuples[i].dest + 12, "\x7f\x00\x00\x01", 4);
	tuples_fill(b);
	for (i = 0; i < ROUNDS; i++)
		denied[i] = drive_measure(b, program);
	*ret_allowed = median(allowed) - median(empty);
	*ret_denied = median(denied) - median(empty);
}

static void bench_classify(struct bench *b, const char *seed, size_t count)
{
	const struct classbench_options o = {classbench_seed_find(seed), count, 0, 1};
	_cleanup_free_ struct classbench_rule *rules = NULL;
	double empty[ROUNDS], ours[ROUNDS], allowed, denied, base;
	_cleanup_free_ char *text = NULL, *body = NULL;
	size_t length, i;
	FILE *out;
	int r = o.seed ? classbench_generate(&o, &rules) : -EINVAL;

	if (r)
		die(seed, -r);
	out = open_memstream(&body, &length);
	classbench_write_policy(rules, count, CLASSBENCH_ALLOW, "lookup", out);
	fclose(out);
	if (asprintf(&text, HEAD "%s", strstr(body, "rules:")) < 0)
		die("memory", ENOMEM);
	judge_apply(text);
	bench_open(b);
	tuples_from_rules(b, rules, count);
	tuples_fill(b);
	for (i = 0; i < ROUNDS; i++) {
		empty[i] = batch_measure(b->skel->progs.empty);
		ours[i] = batch_measure(b->skel->progs.decide);
	}
	base = median(empty);
	drive_bench(b, &allowed, &denied);
	printf("%s\t%zu\t%.1f\t%.1f\t%.1f\t%.1f\n", seed, count, base, median(ours) - base, allowed, denied);
}

int main(int argc, char **argv)
{
	struct bench b = {.random = 1, .bank = 1};
	cpu_set_t cpu;

	if (argc != 4 || (strcmp(argv[1], "prefix") && strcmp(argv[1], "classify"))) {
		fprintf(stderr, "usage: lookup prefix 4|6 COUNT\n       lookup classify acl|fw|ipc COUNT\n");
		return 2;
	}
	CPU_ZERO(&cpu);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		die("cpu", errno);
	b.tuples = calloc(LOOKUP_TUPLES, sizeof(*b.tuples));
	if (!b.tuples)
		die("memory", ENOMEM);
	judge_start("bench-lookup", 200000);
	if (!strcmp(argv[1], "prefix"))
		bench_prefix(&b, argv[2][0] == '4', strtoul(argv[3], NULL, 10));
	else
		bench_classify(&b, argv[2], strtoul(argv[3], NULL, 10));
	lookup_bpf__destroy(b.skel);
	free(b.tuples);
	return judge_end();
}
