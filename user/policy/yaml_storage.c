// SPDX-License-Identifier: Apache-2.0
/*
 * Sections `conntrack` and `storage`: what the flow table keeps, and what `sluice target` serves. Called by yaml.c.
 * Storage refers to nothing outside itself, but `from` of its limits to segments.
 */
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/reader.h"
#include "policy/values.h"

/* -------------------------------------------------------------------- conntrack */

#define FLOWS_MAX (64u << 20)

static void flows_read(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	const char *text = reader_scalar(r, value, f->key);
	struct error err;
	uint64_t count;

	if (!text)
		return;
	if (value_count(text, &count, &err))
		reader_error(r, value, "%s: %s", f->key, err.text);
	else if (!count || count > FLOWS_MAX)
		reader_error(r, value, "%s: %s is out of range; use 1-%u", f->key, text, FLOWS_MAX);
	else
		*(uint32_t *)at = (uint32_t)count;
}

struct conntrack_text {
	struct policy_conntrack conntrack;
	int on_full;
	int syn_cookies;
};

#define TIMEOUT(key, index, ...)                                                                                       \
	FIELD(key, read_duration, struct conntrack_text, conntrack.timeout_ns[index], ##__VA_ARGS__)

static const struct choice full_choices[] = {{"drop", false}, {"stateless", true}, {}};
static const struct choice cookie_choices[] = {{"auto", POLICY_COOKIES_AUTO},
					       {"always", POLICY_COOKIES_ALWAYS},
					       {"never", POLICY_COOKIES_NEVER},
					       {}};
static const bool zero_is_fine = true;

static const struct field conntrack_fields[] = {
	FIELD("max", flows_read, struct conntrack_text, conntrack.max),
	FIELD("on-full", read_choice, struct conntrack_text, on_full, .arg = full_choices),
	TIMEOUT("pickup", SLUICE_T_PICKUP, .arg = &zero_is_fine),
	TIMEOUT("tcp-established", SLUICE_T_TCP_ESTABLISHED),
	TIMEOUT("tcp-closing", SLUICE_T_TCP_CLOSING),
	TIMEOUT("udp", SLUICE_T_UDP),
	TIMEOUT("udp-stream", SLUICE_T_UDP_STREAM),
	TIMEOUT("icmp", SLUICE_T_ICMP),
	FIELD("syn-cookies", read_choice, struct conntrack_text, syn_cookies, .arg = cookie_choices),
	FIELD("syn-threshold", flows_read, struct conntrack_text, conntrack.syn_threshold),
	FIELD("syn-per-source", flows_read, struct conntrack_text, conntrack.syn_per_source),
	{}};

void read_conntrack(struct reader *r, const struct node *node)
{
	struct conntrack_text text = {.conntrack = r->policy->conntrack};

	reader_mapping(r, node, "conntrack", conntrack_fields, &text);
	r->policy->conntrack = text.conntrack;
	r->policy->conntrack.on_full_stateless = text.on_full;
	r->policy->conntrack.syn_cookies = (enum policy_syn_cookies)text.syn_cookies;
}

/* ------------------------------------------------------------------- namespaces */

#define BLOCK_DEFAULT  4096
#define NAMESPACES_MAX 1024 /* of one subsystem */
#define PORT_DEFAULT   4420

struct namespace_text {
	struct policy_namespace ns;
	const struct node *id, *path, *size;
	int backend;
	int block;
};

static const struct choice backend_choices[] = {
	{"file", POLICY_BACKEND_FILE}, {"memory", POLICY_BACKEND_MEMORY}, {"null", POLICY_BACKEND_NULL}, {}};
static const struct choice block_choices[] = {{"512", 512}, {"4096", 4096}, {}};

static const struct bounds ana_bounds = {1, POLICY_ANA_GROUPS};
static const struct field namespace_fields[] = {
	FIELD("id", read_node, struct namespace_text, id, REQUIRED),
	FIELD("backend", read_choice, struct namespace_text, backend, REQUIRED, .arg = backend_choices),
	FIELD("path", read_node, struct namespace_text, path),
	FIELD("size", read_node, struct namespace_text, size),
	FIELD("block", read_choice, struct namespace_text, block, .arg = block_choices),
	FIELD("readonly", read_bool, struct namespace_text, ns.readonly),
	FIELD("ana", read_number, struct namespace_text, ns.ana, .arg = &ana_bounds),
	{}};

static void namespace_id_read(struct reader *r, const struct node *node, const struct policy_subsystem *s,
			      struct policy_namespace *ns)
{
	struct error err;
	uint64_t id;
	size_t i;

	if (!node || !reader_scalar(r, node, "id"))
		return;
	if (value_number("id", node->text, 1, NAMESPACES_MAX, &id, &err)) {
		reader_error(r, node, "%s", err.text);
		return;
	}
	for (i = 0; i + 1 < s->n_namespaces; i++) {
		if (s->namespaces[i].id == id)
			reader_error(r, node, "namespace %u is here twice, first on line %u; give it another id",
				     (unsigned int)id, s->namespaces[i].place.line);
	}
	ns->id = (uint32_t)id;
}

static void namespace_size_read(struct reader *r, const struct namespace_text *text, const struct node *at,
				struct policy_namespace *ns)
{
	struct error err;

	if (!text->size) {
		if (ns->backend != POLICY_BACKEND_FILE)
			reader_error(r, at, "namespace has no 'size', and its backend has none of its own; add it");
		return;
	}
	if (!reader_scalar(r, text->size, "size"))
		return;
	if (value_size(text->size->text, &ns->size, &err))
		reader_error(r, text->size, "%s", err.text);
	else if (!ns->size || ns->size % ns->block)
		reader_error(r, text->size, "size must be a multiple of the block size %u, and not 0; change one",
			     ns->block);
}

static void namespace_path_read(struct reader *r, const struct namespace_text *text, const struct node *at,
				struct policy_namespace *ns)
{
	static const struct field f = {.key = "path"};

	if (ns->backend == POLICY_BACKEND_FILE && !text->path)
		reader_error(r, at, "namespace has no 'path', and its backend is a file; add it");
	else if (ns->backend != POLICY_BACKEND_FILE && text->path)
		reader_error(r, text->path, "only 'backend: file' has a path; remove it");
	else if (text->path)
		read_text(r, &f, text->path, &ns->path);
}

static void namespace_read(struct reader *r, const struct node *node, struct policy_subsystem *s)
{
	struct namespace_text text = {.ns.ana = 1, .block = BLOCK_DEFAULT};
	struct policy_namespace *ns = reader_add(r, &s->namespaces, &s->n_namespaces, sizeof(*ns));

	if (!ns || !reader_mapping(r, node, "namespace", namespace_fields, &text))
		return;
	*ns = text.ns;
	ns->place = node->place;
	ns->backend = (enum policy_backend)text.backend;
	ns->block = (uint32_t)text.block;
	namespace_id_read(r, text.id, s, ns);
	namespace_size_read(r, &text, node, ns);
	namespace_path_read(r, &text, node, ns);
}

/* ------------------------------------------------------------------- subsystems */

struct subsystem_text {
	const struct node *nqn, *hosts, *namespaces, *ana;
};

static const struct field subsystem_fields[] = {
	FIELD("nqn", read_node, struct subsystem_text, nqn, REQUIRED),
	FIELD("hosts", read_node, struct subsystem_text, hosts),
	FIELD("namespaces", read_node, struct subsystem_text, namespaces, REQUIRED),
	FIELD("ana", read_node, struct subsystem_text, ana),
	{}};

static void nqn_read(struct reader *r, const struct node *node, const struct policy_storage *storage,
		     struct policy_subsystem *s)
{
	size_t i;

	if (!node || !reader_nqn(r, node, "nqn"))
		return;
	for (i = 0; i + 1 < storage->n_subsystems; i++) {
		if (storage->subsystems[i].nqn && !strcmp(storage->subsystems[i].nqn, node->text))
			reader_error(r, node, "subsystem '%s' is here twice, first on line %u; remove one", node->text,
				     storage->subsystems[i].place.line);
	}
	s->nqn = reader_strdup(r, node->text);
}

static void subsystem_read(struct reader *r, const struct node *node, struct policy_storage *storage)
{
	struct policy_subsystem *s = reader_add(r, &storage->subsystems, &storage->n_subsystems, sizeof(*s));
	struct subsystem_text text = {};
	size_t i;

	if (!s || !reader_mapping(r, node, "subsystem", subsystem_fields, &text))
		return;
	s->place = node->place;
	nqn_read(r, text.nqn, storage, s);
	read_hosts(r, text.hosts, s);
	read_ana(r, text.ana, storage, s);
	if (!text.namespaces || !reader_is_list(r, text.namespaces, "namespaces"))
		return;
	for (i = 0; i < text.namespaces->n_children; i++)
		namespace_read(r, &text.namespaces->children[i], s);
	check_ana(r, text.namespaces, s);
}

/* ---------------------------------------------------------------------- storage */

struct portal_text {
	const struct node *address, *name;
	uint32_t port;
	int tls;
};

static const struct bounds port_bounds = {1, 65535};
static const struct choice tls_choices[] = {
	{"none", POLICY_TLS_NONE}, {"allowed", POLICY_TLS_ALLOWED}, {"required", POLICY_TLS_REQUIRED}, {}};
static const struct field portal_fields[] = {FIELD("address", read_node, struct portal_text, address, REQUIRED),
					     FIELD("port", read_number, struct portal_text, port, .arg = &port_bounds),
					     FIELD("name", read_node, struct portal_text, name),
					     FIELD("tls", read_choice, struct portal_text, tls, .arg = tls_choices),
					     {}};

static void portal_read(struct reader *r, const struct node *node, struct policy_storage *storage)
{
	struct portal_text text = {.port = PORT_DEFAULT};
	struct policy_portal *portal;

	if (!reader_mapping(r, node, "portal", portal_fields, &text) || !text.address ||
	    !reader_address(r, text.address, "address"))
		return;
	portal = reader_add(r, &storage->portals, &storage->n_portals, sizeof(*portal));
	if (!portal)
		return;
	*portal = (struct policy_portal){.place = node->place,
					 .address = reader_strdup(r, text.address->text),
					 .port = (uint16_t)text.port,
					 .tls = (enum policy_tls)text.tls};
	read_portal_name(r, text.name, storage, portal);
}

#define CPUS_MAX 4096

static void reactors_read(struct reader *r, const struct node *node, struct policy_storage *storage)
{
	struct error err;
	unsigned int *slot;
	uint64_t cpu;
	size_t i, k;

	if (!node || (node->kind == NODE_SCALAR && !strcmp(node->text, "auto")))
		return;
	storage->reactors_auto = false;
	if (node->kind != NODE_LIST || !node->n_children) {
		reader_error(r, node, "reactors must be 'auto' or a list of CPU numbers, as in [0, 1]");
		return;
	}
	for (i = 0; i < node->n_children; i++) {
		if (!reader_scalar(r, &node->children[i], "a CPU"))
			continue;
		if (value_number("CPU", node->children[i].text, 0, CPUS_MAX - 1, &cpu, &err)) {
			reader_error(r, &node->children[i], "%s", err.text);
			continue;
		}
		for (k = 0; k < storage->n_reactors; k++) {
			if (storage->reactors[k] == cpu)
				reader_error(r, &node->children[i], "CPU %u is here twice; remove one",
					     (unsigned int)cpu);
		}
		slot = reader_add(r, &storage->reactors, &storage->n_reactors, sizeof(*slot));
		if (slot)
			*slot = (unsigned int)cpu;
	}
}

struct storage_text {
	const struct node *portals, *reactors, *transport, *subsystems, *referrals, *limits;
	int steering;
};

static const struct choice steering_choices[] = {{"auto", POLICY_STEER_AUTO},
						 {"reuseport", POLICY_STEER_REUSEPORT},
						 {"cpumap", POLICY_STEER_CPUMAP},
						 {"none", POLICY_STEER_NONE},
						 {}};

static const struct field storage_fields[] = {
	FIELD("portals", read_node, struct storage_text, portals, REQUIRED),
	FIELD("steering", read_choice, struct storage_text, steering, .arg = steering_choices),
	FIELD("reactors", read_node, struct storage_text, reactors),
	FIELD("transport", read_node, struct storage_text, transport),
	FIELD("subsystems", read_node, struct storage_text, subsystems, REQUIRED),
	FIELD("referrals", read_node, struct storage_text, referrals),
	FIELD_NOT_YET("access"),
	FIELD("limits", read_node, struct storage_text, limits),
	{}};

void read_storage(struct reader *r, const struct node *node)
{
	struct policy_storage *storage = &r->policy->storage;
	struct storage_text text = {.steering = POLICY_STEER_AUTO};
	size_t i;

	storage->present = true;
	if (!reader_mapping(r, node, "storage", storage_fields, &text))
		return;
	storage->steering = (enum policy_steering)text.steering;
	reactors_read(r, text.reactors, storage);
	if (text.transport)
		read_transport(r, text.transport);
	if (text.portals && reader_is_list(r, text.portals, "portals")) {
		for (i = 0; i < text.portals->n_children; i++)
			portal_read(r, &text.portals->children[i], storage);
	}
	if (text.subsystems && reader_is_list(r, text.subsystems, "subsystems")) {
		for (i = 0; i < text.subsystems->n_children; i++)
			subsystem_read(r, &text.subsystems->children[i], storage);
	}
	read_referrals(r, text.referrals, storage);
	check_tls(r, storage);
	if (text.limits)
		read_limits(r, text.limits);
}
