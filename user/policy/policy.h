/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy from text to tables: parse (yaml.c) → model (this file) → check (check.c) → compile (compile.c), and the
 * questions asked of it (explain.c, lookup.c). Pure: no descriptors but the files that are read, no root, no kernel.
 * The language is docs/policy-language.md.
 */
#ifndef SLUICE_POLICY_POLICY_H
#define SLUICE_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <sluice/abi.h>

#include "base/error.h"

/* ----------------------------------------------------------------- diagnostics */

/* A place in a policy file; line and column count from 1; file is owned by the policy or the diagnostics. */
struct policy_place {
	const char *file;
	unsigned int line;
	unsigned int column;
};

enum policy_severity { POLICY_ERROR, POLICY_WARNING };

struct policy_diagnostic {
	enum policy_severity severity;
	struct policy_place place;
	char *text; /* fact and remedy, without the place; owned */
};

/* All that is wrong with a policy, not just the first. Zero-initialise; policy_diagnostics_done() frees the contents.
 */
struct policy_diagnostics {
	struct policy_diagnostic *items;
	size_t count;
	size_t errors;
	char **files; /* names that the places point into */
	size_t n_files;
};

void policy_diagnostics_done(struct policy_diagnostics *d);

/* Writes "file:line:column: error: text" lines. */
void policy_diagnostics_print(const struct policy_diagnostics *d, FILE *out);

/* ----------------------------------------------------------------------- model */

/* A prefix; addr is IPv4-mapped for IPv4, and `length` counts in the family's own bits (0..32, 0..128). Host bits are
 * 0. */
struct policy_prefix {
	uint8_t addr[16];
	uint8_t length;
	bool ipv4;
};

enum policy_attach { POLICY_ATTACH_AUTO, POLICY_ATTACH_XDP, POLICY_ATTACH_XDP_GENERIC, POLICY_ATTACH_TC };

struct policy_vlan {
	uint16_t id;
	uint16_t tenant; /* number, index into policy.tenants */
};

/* A VXLAN or Geneve network identifier: 24 bits, 1..16777215. */
struct policy_vni {
	uint32_t id;
	uint16_t tenant; /* number, index into policy.tenants */
};

struct policy_interface {
	struct policy_place place;
	char *name; /* exact, or a glob if is_glob */
	bool is_glob;
	enum policy_attach attach;
	uint16_t tenant; /* of untagged traffic */
	struct policy_vlan *vlans;
	size_t n_vlans;
	struct policy_vni *vnis; /* of tunnels that end here; each id once */
	size_t n_vnis;
	bool antispoof; /* only the segments of the policy's antispoof list may enter: compiled into slot's class bits
			 */
	/* The interface at the other end of a wire, or NULL: a name, not a glob. After check.c both ends have it. */
	char *wire;
	struct policy_place wire_place;
	bool forward; /* packets of established flows that are routed to another such interface leave in XDP */
	size_t *antispoof_segments; /* indices into policy.segments */
	size_t n_antispoof_segments;
};

enum policy_syn_cookies { POLICY_COOKIES_AUTO, POLICY_COOKIES_ALWAYS, POLICY_COOKIES_NEVER };

struct policy_conntrack {
	uint32_t max; /* flows */
	bool on_full_stateless;
	enum policy_syn_cookies syn_cookies;
	uint32_t syn_threshold;	 /* half-open flows: more are a flood */
	uint32_t syn_per_source; /* half-open flows of one source in a flood */
	uint64_t timeout_ns[SLUICE_TIMEOUT_COUNT];
};

enum policy_steering { POLICY_STEER_AUTO, POLICY_STEER_REUSEPORT, POLICY_STEER_CPUMAP, POLICY_STEER_NONE };

enum policy_tls { POLICY_TLS_NONE, POLICY_TLS_ALLOWED, POLICY_TLS_REQUIRED };

struct policy_portal {
	struct policy_place place;
	char *address; /* literal IPv4 or IPv6 */
	uint16_t port;
	enum policy_tls tls;
	char *name; /* for `ana`; NULL: none */
};

/* Another discovery service that hosts are told of. */
struct policy_referral {
	struct policy_place place;
	char *address; /* literal IPv4 or IPv6 */
	uint16_t port;
};

#define POLICY_ANA_GROUPS 128 /* the highest group */

/* Asymmetric Namespace Access: how well a group of namespaces is reached by a portal. */
enum policy_ana_state {
	POLICY_ANA_OPTIMIZED,
	POLICY_ANA_NON_OPTIMIZED,
	POLICY_ANA_INACCESSIBLE,
	POLICY_ANA_PERSISTENT_LOSS,
	POLICY_ANA_CHANGE,
};

struct policy_ana {
	struct policy_place place;
	uint32_t group; /* 1 .. POLICY_ANA_GROUPS */
	char *portal;	/* NULL: every portal that no other row of the group names */
	enum policy_ana_state state;
};

enum policy_backend { POLICY_BACKEND_NULL, POLICY_BACKEND_MEMORY, POLICY_BACKEND_FILE };

struct policy_namespace {
	struct policy_place place;
	uint32_t id; /* NSID, 1.. */
	enum policy_backend backend;
	char *path;	/* file: file or block device; else NULL */
	uint64_t size;	/* bytes; 0: the file's own size */
	uint32_t block; /* bytes: 512 or 4096 (default) */
	bool readonly;
	uint32_t ana; /* group, 1 (default) .. POLICY_ANA_GROUPS; 0 is 1 */
};

/* A file with a secret in it. */
struct policy_secret {
	struct policy_place place;
	char *path; /* absolute; NULL: none */
};

/* Who may connect, and by which secrets it proves who it is. */
struct policy_host {
	struct policy_place place;
	char *nqn;
	struct policy_secret dhchap_key;	    /* the host's: it must authenticate */
	struct policy_secret dhchap_controller_key; /* what the target proves itself with, if the host asks */
	struct policy_secret psk;		    /* the host must come by TLS with this key */
	bool psk_generated; /* or, psk.path being NULL, with one that its authentication makes; psk.place is there */
};

struct policy_subsystem {
	struct policy_place place;
	char *nqn;
	bool any_host;
	struct policy_host *hosts; /* allowed, if !any_host */
	size_t n_hosts;
	struct policy_namespace *namespaces;
	size_t n_namespaces;
	bool has_ana; /* hosts are told of groups and states; what no row names is optimized */
	struct policy_ana *ana;
	size_t n_ana;
};

/* `storage: transport:`, what the target negotiates on each NVMe/TCP connection. All in bytes but r2ts. */
struct policy_transport {
	uint32_t in_capsule;   /* most data in a command capsule of an I/O queue (IOCCSZ) */
	uint32_t max_h2c_data; /* most data in one H2CData (MAXH2CDATA); 0: the whole struct is unset */
	uint32_t r2t;	       /* most data that one R2T asks for */
	uint32_t r2ts;	       /* R2Ts of one command outstanding at once; a host's MAXR2T may allow fewer */
	uint32_t alignment;    /* of data that hosts send (CPDA) */
};

#define POLICY_R2TS_MAX 8
#define POLICY_TRANSPORT_DEFAULT                                                                                       \
	((struct policy_transport){                                                                                    \
		.in_capsule = 8192, .max_h2c_data = 256 << 10, .r2t = 256 << 10, .r2ts = 4, .alignment = 4})

/* Addresses in network order, IPv4-mapped, both ends included. */
struct policy_range {
	uint8_t first[16];
	uint8_t last[16];
};

struct policy_side; /* model.h */

/* An entry of `storage: limits:`. What each selector leaves open is any. */
struct policy_storage_limit {
	struct policy_place place;
	char *name; /* unique */
	bool any_host;
	char **hosts; /* NQNs, if !any_host */
	size_t n_hosts;
	char *subsystem; /* NQN, or NULL */
	uint32_t nsid;	 /* or 0 */
	struct policy_side *from;     /* as written; owned; NULL: any */
	struct policy_range *sources; /* the addresses of `from`; check.c */
	size_t n_sources;
	uint64_t iops;	    /* commands a second; 0: no limit */
	uint64_t bandwidth; /* bytes a second; 0: no limit */
};

/* The `storage:` section; what `sluice target` serves. */
struct policy_storage {
	bool present;
	struct policy_portal *portals;
	size_t n_portals;
	enum policy_steering steering;
	bool reactors_auto;
	unsigned int *reactors; /* CPU numbers, if !reactors_auto */
	size_t n_reactors;
	struct policy_subsystem *subsystems;
	size_t n_subsystems;
	struct policy_referral *referrals;
	size_t n_referrals;
	struct policy_storage_limit *limits;
	size_t n_limits;
	struct policy_transport transport;
};

struct policy_segment; /* model.h */
struct policy_service;
struct policy_rule;

struct policy {
	char *name;
	bool audit;
	bool default_allow;
	char **tenants; /* [0] is "" : the host's */
	size_t n_tenants;
	struct policy_interface *interfaces;
	size_t n_interfaces;
	struct policy_segment *segments;
	size_t n_segments;
	struct policy_service *services;
	size_t n_services;
	struct policy_rule *rules;
	size_t n_rules;
	struct policy_service *failsafe; /* one nameless service */
	struct policy_conntrack conntrack;
	struct policy_storage storage;
	char **files; /* names that places point into */
	size_t n_files;
};

/*
 * Reads one file, or all *.yaml of a directory in name order, parses and checks. On success *ret_policy is the
 * caller's (policy_free) and `diagnostics` may hold warnings. -EINVAL: rejected, diagnostics has at least one error.
 * -errno of the file system: could not be read, and diagnostics says which file.
 */
int policy_load(const char *path, struct policy_diagnostics *diagnostics, struct policy **ret_policy);

/* The same for text in memory; `name` stands for the file in places. Used by tests and the fuzzer. */
int policy_load_text(const char *name, const char *text, size_t length, struct policy_diagnostics *diagnostics,
		     struct policy **ret_policy);

/*
 * Writes a loaded policy as one canonical YAML document: names resolved, defaults left out, prefixes and items in their
 * shortest form. What is written reads back to a policy with the same digest and the same storage section. 0, or -errno
 * of the stream (-EIO if it does not say).
 */
int policy_write(const struct policy *p, FILE *out);

void policy_free(struct policy *p);

/*
 * Moves the storage section out of a policy, which then has none. It is the caller's, policy_storage_done(); places in
 * it name files only as long as the policy lives.
 */
void policy_storage_take(struct policy *p, struct policy_storage *ret_storage);
void policy_storage_done(struct policy_storage *s);
void policy_freep(struct policy **p);

/* --------------------------------------------------------------------- tables */

/*
 * A compiled policy: what a bank holds, see abi.h for the meaning of each table. The dataplane adds the parts after
 * `words` to it and says in the head where they are. Deterministic: the same policy gives the same bytes on every
 * machine. rules[i].slot is i until the dataplane assigns slots.
 */
struct policy_words {
	uint32_t *word;
	size_t words;
};

struct policy_tables {
	struct sluice_policy head; /* generation 0 until loaded */
	struct sluice_tenant *tenants;
	size_t n_tenants;
	struct policy_words words;
	struct policy_words lines; /* of addresses; places in them count from the first */
	struct sluice_class *classes;
	size_t n_classes;
	struct sluice_protocol protocols[256];
	struct sluice_rule *rules; /* the default last */
	size_t n_rules;
};

/*
 * -E2BIG: does not fit; err says which limit and by how much. -ENOMEM. Interface i of the policy has antispoof slot i.
 */
int policy_compile(const struct policy *p, struct error *err, struct policy_tables **ret_tables);
void policy_tables_free(struct policy_tables *t);
void policy_tables_freep(struct policy_tables **t);

/* What classification asks about: one packet's addresses (IPv4-mapped) and service, ports in host order. */
struct policy_query {
	uint8_t source[16];
	uint8_t dest[16];
	uint16_t tenant;
	uint8_t protocol;
	uint16_t source_port; /* 0 for ICMP */
	uint16_t dest_port;   /* ICMP: type << 8 | code */
};

/* The userspace twin of bpf/classify.h: same tables, same steps. Returns the index of the deciding rule. */
size_t policy_tables_lookup(const struct policy_tables *t, const struct policy_query *q);

/*
 * The same with the audit rules passed on the way: ret_rules[0..n-1] are they, in order, ret_rules[n] decides. Returns
 * n.
 */
size_t policy_tables_chain(const struct policy_tables *t, const struct policy_query *q,
			   uint32_t ret_rules[SLUICE_AUDITS_MAX + 1]);

/* Whether the query's source may enter at the interface of antispoof slot `slot`. */
bool policy_tables_may_enter(const struct policy_tables *t, const struct policy_query *q, unsigned int slot);

/* --------------------------------------------------------------------- limits */

/* What of a rule's packets passes; the `limit` of a rule. */
struct policy_limit {
	uint64_t rate;	/* packets or bits a second; 0: no limit */
	uint64_t burst; /* packets or bits at once, out of a full bucket */
	bool bits;
	bool per_source; /* a bucket for each end that opens conversations under the rule */
};

/* The limit of rule i of a model, and of a rule of a bank. */
struct policy_limit policy_rule_limit(const struct policy *p, size_t i);
struct policy_limit policy_limit_of(const struct sluice_rule *rule);

/* As in "10k pps, burst 20k, per source". Returns buf. */
#define POLICY_LIMIT_LEN 80
const char *policy_limit_text(const struct policy_limit *limit, char buf[POLICY_LIMIT_LEN]);

/* The same for the kernel; all 0 for a rule without one. */
struct sluice_limit policy_limit_compile(const struct sluice_rule *rule);

/* ------------------------------------------------------------------- questions */

/* Why an earlier rule did not match, in evaluation order; the first thing that failed. */
enum policy_mismatch {
	POLICY_MATCHED,
	POLICY_MISMATCH_TENANT,
	POLICY_MISMATCH_SOURCE,
	POLICY_MISMATCH_DEST,
	POLICY_MISMATCH_SERVICE,
	POLICY_MATCHED_AUDIT, /* matched, only counts, matching went on */
};

struct policy_answer {
	size_t rule; /* index of the deciding rule; policy.n_rules: the default */
	enum sluice_action action;
	bool by_default;
	enum policy_mismatch *earlier; /* one per rule before `rule`; owned, free() */
};

/* Walks the rules of the model (not the tables), so that it also checks the compiler. -EINVAL, -ENOMEM. */
int policy_explain(const struct policy *p, const struct policy_query *q, struct policy_answer *ret_answer);

/*
 * What the rule says where it failed, as in "10.9.9.9 is not in trainers (10.10.0.0/16, fd00:10::/64)"; long lists are
 * shortened. `mismatch` is what policy_explain() found for rule i. Returns buf.
 */
#define POLICY_EXPLAIN_LEN 1024
const char *policy_explain_text(const struct policy *p, const struct policy_query *q, size_t i,
				enum policy_mismatch mismatch, char *buf, size_t size);

/* Name of rule i, "default" for n_rules; owned by the policy. And where it stands. */
const char *policy_rule_name(const struct policy *p, size_t i);
struct policy_place policy_rule_place(const struct policy *p, size_t i);

/*
 * Parses what `explain --service` takes (one item: tcp/4420, udp/53, icmp/echo-request, icmp/3.4, gre, 47) and an
 * address literal into the query's fields. -EINVAL with err saying what is understood.
 */
int policy_query_service(const char *text, struct policy_query *q, struct error *err);
int policy_query_address(const char *text, uint8_t ret_addr[16], struct error *err);
/* The number of a tenant by name; the host's tenant 0 has none. */
int policy_query_tenant(const struct policy *p, const char *name, uint16_t *ret_tenant, struct error *err);

/*
 * The addresses of one segment, to be asked often: made once, then a binary search a question. The policy must outlive
 * it. -EINVAL: no segment of that name, and err says which is near.
 */
struct policy_addresses;
int policy_addresses_of(const struct policy *p, const char *segment, struct error *err,
			struct policy_addresses **ret_addresses);
/* Whether the segment holds in `tenant` (a number of that policy) and contains the address, IPv4-mapped. */
bool policy_addresses_have(const struct policy_addresses *a, uint16_t tenant, const uint8_t addr[16]);
void policy_addresses_free(struct policy_addresses *a);
void policy_addresses_freep(struct policy_addresses **a);

/* Name and text of a reason ("antispoof", "source address may not ..."), and whether it drops; from reasons.def. */
const char *reason_name(enum sluice_reason r);
const char *reason_text(enum sluice_reason r);
bool reason_drops(enum sluice_reason r);

#endif
