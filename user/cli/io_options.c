// SPDX-License-Identifier: Apache-2.0
/*
 * The options of `sluice io`: one table says for each what it is called, which subcommands take it, what it sets and
 * what the help says. Called by io.c. After a successful parse every value is in range and the target is complete.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/util.h"
#include "cli/io.h"
#include "policy/values.h"
#include "storage/host_keys.h"

#define ALL	 (IO_DISCOVER | IO_CONNECT | PATHS | ASK)
#define DATA	 (IO_READ | IO_WRITE | IO_VERIFY)
#define TRANSFER (DATA | IO_BENCH)
#define PATHS	 (TRANSFER | IO_COMMAND | IO_RESERVE) /* by one path or several */
#define ASK	 (IO_LOG | IO_FEATURE | IO_EVENTS)    /* of one controller */

struct option_row {
	const char *name;
	const char *argument; /* NULL: a flag */
	int (*set)(struct io_options *o, const char *text, struct error *err);
	unsigned int commands;
	const char *help;
};

/* ---- setters ---- */

static int set_to(struct io_options *o, const char *text, struct error *err)
{
	uint16_t port = o->command == IO_DISCOVER ? INITIATOR_DISCOVERY_PORT : INITIATOR_PORT;

	if (o->n_addrs == (o->command & PATHS ? MULTIPATH_MAX : 1))
		return error_set(err, EINVAL, "more than %u; this takes no more addresses", o->n_addrs);
	return initiator_addr_parse(text, port, &o->addrs[o->n_addrs++], err);
}

static int set_nqn(char *field, const char *text, struct error *err)
{
	const char *fault = nvme_nqn_fault(text);

	if (fault)
		return error_set(err, EINVAL, "'%s': %s", text, fault);
	strcpy(field, text);
	return 0;
}

static int set_subnqn(struct io_options *o, const char *text, struct error *err)
{
	return set_nqn(o->target.subnqn, text, err);
}

static int set_hostnqn(struct io_options *o, const char *text, struct error *err)
{
	return set_nqn(o->target.hostnqn, text, err);
}

static int set_dhchap_key(struct io_options *o, const char *text, struct error *err)
{
	int r = host_key_read_file(text, &o->auth.host, err);

	if (!r)
		o->has_key = true;
	return r;
}

static int set_dhchap_controller_key(struct io_options *o, const char *text, struct error *err)
{
	return host_key_read_file(text, &o->auth.controller, err);
}

static int set_psk(struct io_options *o, const char *text, struct error *err)
{
	return host_psk_read_file(text, &o->tls.key, err);
}

static int set_psk_identity(struct io_options *o, const char *text, struct error *err)
{
	unsigned int version = 0;
	int r = io_number_parse(text, 0, TLS_PSK_VERSIONS - 1, &version, err);

	o->psk_identity = (int)version;
	return r;
}

static int set_concat(struct io_options *o, const char *text, struct error *err)
{
	o->auth.concat = true;
	return 0;
}

static int set_dhchap_hash(struct io_options *o, const char *text, struct error *err)
{
	return io_names_parse(text, dhchap_hash_number, "sha256, sha384, sha512", &o->auth.hashes, err);
}

static int set_dhchap_group(struct io_options *o, const char *text, struct error *err)
{
	return io_names_parse(text, dhchap_group_number, "null, ffdhe2048, ffdhe3072, ffdhe4096, ffdhe6144, ffdhe8192",
			      &o->auth.groups, err);
}

static int set_timeout(struct io_options *o, const char *text, struct error *err)
{
	return io_ms_parse(text, false, &o->target.timeout_ms, err);
}

static int set_keep_alive(struct io_options *o, const char *text, struct error *err)
{
	return io_ms_parse(text, true, &o->target.kato_ms, err);
}

static int set_reconnect_delay(struct io_options *o, const char *text, struct error *err)
{
	return io_ms_parse(text, false, &o->reconnect_delay_ms, err);
}

static int set_ctrl_loss_timeout(struct io_options *o, const char *text, struct error *err)
{
	return io_ms_parse(text, true, &o->ctrl_loss_ms, err);
}

static int set_all_portals(struct io_options *o, const char *text, struct error *err)
{
	o->all_portals = true;
	return 0;
}

static int set_round_robin(struct io_options *o, const char *text, struct error *err)
{
	o->round_robin = true;
	return 0;
}

static int set_header_digest(struct io_options *o, const char *text, struct error *err)
{
	o->target.header_digest = true;
	return 0;
}

static int set_data_digest(struct io_options *o, const char *text, struct error *err)
{
	o->target.data_digest = true;
	return 0;
}

static int set_hpda(struct io_options *o, const char *text, struct error *err)
{
	unsigned int align;
	int r = io_number_parse(text, 4, 128, &align, err);

	if (r)
		return r;
	if (align % 4)
		return error_set(err, EINVAL, "'%s' is no multiple of 4", text);
	o->target.hpda = (uint8_t)(align / 4 - 1);
	return 0;
}

static int set_namespaces(struct io_options *o, const char *text, struct error *err)
{
	return io_list_parse("namespaces", text, 1, o->nsids, o->command == IO_BENCH ? IO_NAMESPACES_MAX : 1,
			     &o->n_nsids, err);
}

static int set_offset(struct io_options *o, const char *text, struct error *err)
{
	return io_size_parse(text, &o->offset, err);
}

static int set_length(struct io_options *o, const char *text, struct error *err)
{
	int r = io_size_parse(text, &o->length, err);

	return !r && !o->length ? error_set(err, EINVAL, "nothing to do for 0 bytes; leave it out for all") : r;
}

static int set_ranges(struct io_options *o, const char *text, struct error *err)
{
	return io_ranges_parse(text, o->ranges, &o->n_ranges, err);
}

static int set_file(struct io_options *o, const char *text, struct error *err)
{
	o->file = strcmp(text, "-") ? text : NULL;
	return 0;
}

static int set_read_only(struct io_options *o, const char *text, struct error *err)
{
	o->read_only = true;
	return 0;
}

static int set_seed(struct io_options *o, const char *text, struct error *err)
{
	return value_number("seed", text, 0, UINT64_MAX, &o->seed, err);
}

static int set_block_size(struct io_options *o, const char *text, struct error *err)
{
	uint64_t bytes;
	int r = io_size_parse(text, &bytes, err);

	if (r)
		return r;
	if (bytes < 512 || bytes > INITIATOR_TRANSFER_MAX || bytes % 512)
		return error_set(err, EINVAL, "'%s'; use a multiple of 512 up to 1MiB", text);
	o->block_size = (uint32_t)bytes;
	o->has_block_size = true;
	return 0;
}

static int set_depth(struct io_options *o, const char *text, struct error *err)
{
	return io_number_parse(text, 1, INITIATOR_DEPTH_MAX, &o->depth, err);
}

static int set_queues(struct io_options *o, const char *text, struct error *err)
{
	return io_number_parse(text, 1, IO_QUEUES_MAX, &o->queues, err);
}

static int set_pattern(struct io_options *o, const char *text, struct error *err)
{
	o->sequential = !strcmp(text, "sequential");
	if (!o->sequential && strcmp(text, "random"))
		return error_set(err, EINVAL, "'%s'; use random or sequential", text);
	return 0;
}

static int set_read_percent(struct io_options *o, const char *text, struct error *err)
{
	return io_number_parse(text, 0, 100, &o->read_percent, err);
}

static int set_time(struct io_options *o, const char *text, struct error *err)
{
	int r = value_duration(text, &o->time_ns, err);

	return !r && !o->time_ns ? error_set(err, EINVAL, "'%s'; use 1ms or more", text) : r;
}

static int set_count(struct io_options *o, const char *text, struct error *err)
{
	int r = value_count(text, &o->count, err);

	return !r && !o->count ? error_set(err, EINVAL, "'%s'; use 1 or more", text) : r;
}

static int set_cpus(struct io_options *o, const char *text, struct error *err)
{
	return io_list_parse("cpus", text, 0, o->cpus, IO_CPUS_MAX, &o->n_cpus, err);
}

static int set_spin(struct io_options *o, const char *text, struct error *err)
{
	uint64_t ns;
	int r = value_duration(text, &ns, err);

	if (r)
		return r;
	if (ns > NSEC_PER_SEC)
		return error_set(err, EINVAL, "'%s'; use 0-1s", text);
	o->spin_us = (unsigned int)(ns / 1000);
	return 0;
}

static int set_verify(struct io_options *o, const char *text, struct error *err)
{
	o->verify = true;
	return 0;
}

static int set_identify(struct io_options *o, const char *text, struct error *err)
{
	o->identify = true;
	return 0;
}

static int set_from(struct io_options *o, const char *text, struct error *err)
{
	o->has_from = true;
	return io_size_parse(text, &o->from, err);
}

static int set_expect(struct io_options *o, const char *text, struct error *err)
{
	o->expect = text;
	return 0;
}

static int set_key(struct io_options *o, const char *text, struct error *err)
{
	return io_key_parse(text, &o->key, err);
}

static int set_new_key(struct io_options *o, const char *text, struct error *err)
{
	return io_key_parse(text, &o->new_key, err);
}

static int set_type(struct io_options *o, const char *text, struct error *err)
{
	return io_word_parse(text, io_reserve_types, &o->reservation_type, err);
}

static int set_persist(struct io_options *o, const char *text, struct error *err)
{
	o->persist = true;
	return 0;
}

static int set_ignore_key(struct io_options *o, const char *text, struct error *err)
{
	o->ignore_key = true;
	return 0;
}

static int set_value(struct io_options *o, const char *text, struct error *err)
{
	uint64_t value;
	int r = io_key_parse(text, &value, err);

	if (!r && value > UINT32_MAX)
		return error_set(err, EINVAL, "'%s' has more than 32 bits", text);
	o->value = (uint32_t)value;
	o->has_value = true;
	return r;
}

static int set_json(struct io_options *o, const char *text, struct error *err)
{
	o->json = true;
	return 0;
}

static int set_help(struct io_options *o, const char *text, struct error *err)
{
	o->help = true;
	return 0;
}

static const struct option_row options[] = {
	{"to", "ADDR[:PORT]", set_to, ALL,
	 "where the target listens: 10.0.0.1:4420 or [fd00::1]:4420; required (port: 4420, discover: 8009); for "
	 "transfers up to 8 times, one path each, the preferred one first"},
	{"all-portals", NULL, set_all_portals, PATHS,
	 "use every portal that discovery at --to names for the subsystem, too"},
	{"round-robin", NULL, set_round_robin, TRANSFER,
	 "take the best paths in turn (default: the first of them, the others when it fails)"},
	{"reconnect-delay", "DURATION", set_reconnect_delay, PATHS,
	 "first pause before a lost connection is tried again, doubled each time up to 10s (default 200ms)"},
	{"ctrl-loss-timeout", "DURATION", set_ctrl_loss_timeout, PATHS,
	 "how long to go on trying; 0s: a lost connection is an error at once (default 60s)"},
	{"value", "N", set_value, IO_FEATURE, "set it to that (Set Features, command dword 11) before it is read"},
	{"from", "SIZE", set_from, IO_COMMAND, "copy: first byte of the source; --offset is the first of the copy"},
	{"expect", "FILE", set_expect, IO_COMMAND, "compare-write: what must be there for --file to be written"},
	{"key", "N", set_key, IO_RESERVE, "this host's key as it is registered; 0x... or decimal (default 0)"},
	{"new-key", "N", set_new_key, IO_RESERVE,
	 "register, replace: the key to be; preempt: the key to be pushed out"},
	{"type", "NAME", set_type, IO_RESERVE, "acquire, preempt, release: the reservation's type"},
	{"persist", NULL, set_persist, IO_RESERVE, "register, replace: keep it across a restart of the target"},
	{"ignore-key", NULL, set_ignore_key, IO_RESERVE, "whatever key is registered now"},
	{"nqn", "NQN", set_subnqn, ALL & ~IO_DISCOVER, "the subsystem; required (`sluice io discover` lists them)"},
	{"namespace", "N", set_namespaces, DATA | IO_COMMAND | IO_RESERVE | IO_FEATURE, "namespace id (default 1)"},
	{"namespaces", "LIST", set_namespaces, IO_BENCH, "namespace ids, as 1 or 1,3-5; spread evenly (default 1)"},
	{"offset", "SIZE", set_offset, TRANSFER | IO_COMMAND, "first byte, a multiple of the block size (default 0)"},
	{"length", "SIZE", set_length, TRANSFER | IO_COMMAND,
	 "bytes, a multiple of the block size (default: to the end; write: all input)"},
	{"ranges", "LIST", set_ranges, IO_COMMAND,
	 "deallocate: these instead of --offset and --length: OFFSET+LENGTH,... as 0+64KiB,1MiB+4KiB; up to 256"},
	{"file", "FILE", set_file, IO_READ | IO_WRITE | IO_COMMAND, "a file instead of standard output or input"},
	{"read-only", NULL, set_read_only, IO_VERIFY,
	 "write nothing: verify what an earlier run with the same seed wrote"},
	{"seed", "N", set_seed, IO_VERIFY | IO_BENCH, "of the pattern (default 1)"},
	{"identify", NULL, set_identify, IO_CONNECT, "also print controller and namespaces"},
	{"pattern", "random|sequential", set_pattern, IO_BENCH, "order of addresses (default random)"},
	{"read-percent", "N", set_read_percent, IO_BENCH, "share of reads, the rest are writes (default 100)"},
	{"block-size", "SIZE", set_block_size, TRANSFER, "bytes per command (default: bench 4k, others 128k)"},
	{"depth", "N", set_depth, TRANSFER, "commands outstanding in each queue, 1-1024 (default 32)"},
	{"queues", "N", set_queues, IO_BENCH, "I/O queues, a thread and a ring each (default 1)"},
	{"time", "DURATION", set_time, IO_BENCH | IO_EVENTS, "how long (default 10s)"},
	{"count", "N", set_count, IO_BENCH, "so many commands instead of a time"},
	{"cpus", "LIST", set_cpus, IO_BENCH, "pin the queues' threads to these CPUs, in turn"},
	{"spin", "DURATION", set_spin, TRANSFER, "look for answers that long before sleeping; costs CPU (default 0)"},
	{"verify", NULL, set_verify, IO_BENCH,
	 "write the pattern of --seed, check it in what is read (fill the range with `sluice io verify` first)"},
	{"json", NULL, set_json, ALL & ~(IO_READ | IO_WRITE), "one JSON object on standard output"},
	{"hostnqn", "NQN", set_hostnqn, ALL,
	 "this host's name (default: /etc/nvme/hostnqn, else from /etc/machine-id, else boot_id)"},
	{"dhchap-key", "FILE", set_dhchap_key, ALL,
	 "this host's key, where the target asks for authentication; a file of mode 0600, as of nvme gen-dhchap-key"},
	{"dhchap-controller-key", "FILE", set_dhchap_controller_key, ALL, "the target must prove to have this key"},
	{"dhchap-hash", "LIST", set_dhchap_hash, ALL, "offer these only: sha256,sha384,sha512"},
	{"dhchap-group", "LIST", set_dhchap_group, ALL,
	 "offer these only: null, ffdhe2048 and on (3072, 4096, 6144, 8192)"},
	{"psk", "FILE", set_psk, ALL, "connect by TLS 1.3 with this key; a file of mode 0600, as of nvme gen-tls-key"},
	{"psk-identity", "N", set_psk_identity, ALL,
	 "form of the identity for TLS: 0 or 1 (default: 0 with --psk, 1 with --concat)"},
	{"concat", NULL, set_concat, ALL & ~IO_DISCOVER,
	 "connect by TLS 1.3 with a key that authentication makes (--dhchap-key), a new one for each connection"},
	{"header-digest", NULL, set_header_digest, ALL, "ask for CRC32C over headers"},
	{"data-digest", NULL, set_data_digest, ALL, "ask for CRC32C over data"},
	{"alignment", "BYTES", set_hpda, ALL, "of received data within PDUs, 4-128 (HPDA; default 4)"},
	{"keep-alive", "DURATION", set_keep_alive, ALL,
	 "a controller that says nothing for so long is lost, and so is this host to it; 0s: none (default 30s)"},
	{"timeout", "DURATION", set_timeout, ALL, "most time for connecting and for each command, which is then aborted (default 10s)"},
	{"help", NULL, set_help, ALL, "this text"},
};

/* ---- parsing ---- */

static const struct option_row *find_row(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (strlen(options[i].name) == len && !memcmp(options[i].name, name, len))
			return &options[i];
	}
	return NULL;
}

/* Subcommands that a word follows which says what: the only one that is no option. */
static const struct subject {
	enum io_command command;
	const char *name;
	const struct io_word *words;
} subjects[] = {
	{IO_COMMAND, "COMMAND", io_command_words},
	{IO_RESERVE, "ACTION", io_reserve_words},
	{IO_LOG, "PAGE", io_log_words},
	{IO_FEATURE, "FEATURE", io_feature_words},
};

static const struct subject *find_subject(enum io_command command)
{
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
		if (subjects[i].command == command)
			return &subjects[i];
	}
	return NULL;
}

static int parse_word(struct io_options *o, const char *word, struct error *err)
{
	const struct subject *subject = find_subject(o->command);

	if (!subject || o->has_subject)
		return error_set(err, EINVAL, "'%s': all else is options here; see --help", word);
	o->has_subject = true;
	return io_word_parse(word, subject->words, &o->subject, err);
}

/* "--name value", "--name=value" or "--flag"; takes one or two words. */
static int parse_one(struct io_options *o, int argc, char **argv, int *at, struct error *err)
{
	const char *word = argv[*at], *equals = strchr(word, '='), *value = NULL;
	const struct option_row *row;
	struct error why = {0};
	int r;

	if (!strcmp(word, "-h"))
		word = "--help";
	if (strncmp(word, "--", 2))
		return parse_word(o, word, err);
	row = find_row(word + 2, equals ? (size_t)(equals - word) - 2 : strlen(word + 2));
	if (!row || !(row->commands & o->command))
		return error_set(err, EINVAL, "%.*s: `sluice io %s` has no such option; see --help",
				 equals ? (int)(equals - word) : (int)strlen(word), word, argv[0]);
	if (row->argument) {
		value = equals ? equals + 1 : *at + 1 < argc ? argv[++*at] : NULL;
		if (!value)
			return error_set(err, EINVAL, "--%s: give a value: --%s %s", row->name, row->name,
					 row->argument);
	} else if (equals) {
		return error_set(err, EINVAL, "--%s takes no value", row->name);
	}
	r = row->set(o, value, &why);
	return r ? error_set(err, EINVAL, "--%s: %s", row->name, why.text) : 0;
}

/* What must be there, and what follows from other options. */
static int complete(struct io_options *o, struct error *err)
{
	const struct subject *subject = find_subject(o->command);
	uint8_t hostid[16];
	char hostnqn[NVME_NQN_MAX + 1];
	int r;

	o->target.addr = o->addrs[0];
	if (!o->n_addrs)
		return error_set(err, EINVAL, "--to is missing: say where the target listens: --to 10.0.0.1:4420");
	if (o->command == IO_DISCOVER)
		strcpy(o->target.subnqn, NVME_DISCOVERY_NQN);
	else if (!*o->target.subnqn)
		return error_set(err, EINVAL,
				 "--nqn is missing: say which subsystem; `sluice io discover --to %s` lists them",
				 o->target.addr.text);
	if (subject && !o->has_subject)
		return error_set(err, EINVAL, "say what: `%s`; see --help", subject->name);
	if (!o->has_key && o->auth.controller.len)
		return error_set(err, EINVAL,
				 "--dhchap-controller-key needs --dhchap-key: who asks proves itself first");
	if (o->auth.concat && !o->has_key)
		return error_set(err, EINVAL, "--concat needs --dhchap-key: authentication makes the key for TLS");
	if (o->auth.concat && o->tls.key.len)
		return error_set(err, EINVAL, "--concat and --psk: the key for TLS is the one or the other; choose");
	o->tls.version = o->psk_identity < 0 ? 0 : o->psk_identity;
	o->auth.psk_version = o->psk_identity < 0 ? 1 : o->psk_identity;
	if (*o->target.hostnqn) {
		initiator_hostid(o->target.hostnqn, o->target.hostid);
		return 0;
	}
	r = initiator_identity(hostnqn, hostid, err);
	if (r)
		return r;
	strcpy(o->target.hostnqn, hostnqn);
	memcpy(o->target.hostid, hostid, sizeof(hostid));
	return 0;
}

int io_options_parse(enum io_command command, int argc, char **argv, struct io_options *ret_options, struct error *err)
{
	struct io_options o = {
		.command = command,
		.target = {.timeout_ms = 10000, .kato_ms = 30000},
		.nsids = {1},
		.n_nsids = 1,
		.seed = 1,
		.read_percent = 100,
		.block_size = command == IO_BENCH ? 4096 : 128 << 10,
		.depth = 32,
		.queues = 1,
		.time_ns = 10 * NSEC_PER_SEC,
		.reconnect_delay_ms = 200,
		.ctrl_loss_ms = 60000,
		.psk_identity = -1,
		.auth = {.hashes = DHCHAP_ALL_HASHES, .groups = DHCHAP_ALL_GROUPS},
	};
	int r = 0;

	for (int at = 1; at < argc && !r; at++)
		r = parse_one(&o, argc, argv, &at, err);
	if (!r && !o.help)
		r = complete(&o, err);
	if (!r) {
		*ret_options = o;
		if (o.has_key)
			ret_options->target.auth = &ret_options->auth;
		if (o.tls.key.len)
			ret_options->target.tls = &ret_options->tls;
	}
	io_options_done(&o);
	return r;
}

void io_options_done(struct io_options *o)
{
	secret_wipe(&o->auth, sizeof(o->auth));
	secret_wipe(&o->tls, sizeof(o->tls));
}

void io_options_help(enum io_command command)
{
	char left[64];

	printf("\noptions:\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!(options[i].commands & command))
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", options[i].name, options[i].argument ? " " : "",
			 options[i].argument ? options[i].argument : "");
		printf("  %-28s %s\n", left, options[i].help);
	}
}
