// SPDX-License-Identifier: Apache-2.0
/*
 * Sections that say what the network is: tenants, segments, services, failsafe, interfaces. Called by yaml.c in the
 * order of its table: tenants, then the names of segments, then everything that refers to them.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/reader.h"
#include "policy/values.h"

/* ---------------------------------------------------------------------- tenants */

void read_tenants(struct reader *r, const struct node *node)
{
	char **slot;
	size_t i;

	if (!reader_is_list(r, node, "tenants"))
		return;
	for (i = 0; i < node->n_children; i++) {
		if (!reader_declare(r, NAME_TENANT, &node->children[i], r->policy->n_tenants))
			continue;
		slot = reader_add(r, &r->policy->tenants, &r->policy->n_tenants, sizeof(*slot));
		if (slot)
			*slot = reader_strdup(r, node->children[i].text);
	}
}

/* --------------------------------------------------------------------- segments */

void reader_add_prefix(struct reader *r, const struct node *node, struct policy_prefix **prefixes, size_t *count)
{
	struct policy_prefix prefix, *slot;
	struct error err;

	if (value_prefix(node->text, &prefix, &err)) {
		reader_error(r, node, "%s", err.text);
		return;
	}
	slot = reader_add(r, prefixes, count, sizeof(*slot));
	if (slot)
		*slot = prefix;
}

static bool sections_named(struct reader *r, const struct node *node, const char *what, const char *example)
{
	if (node->kind == NODE_MAPPING)
		return true;
	if (node->kind == NODE_SCALAR && *node->text)
		reader_error(r, node, "'%.40s' is no mapping, and %s must be one; write %s", node->text, what, example);
	else if (node->kind == NODE_SCALAR)
		reader_error(r, node, "%s is empty; write %s, or remove the key", what, example);
	else
		reader_error(r, node, "%s must be a mapping; write %s", what, example);
	return false;
}

void declare_segments(struct reader *r, const struct node *node)
{
	struct policy_segment *segment;
	size_t i;

	if (!sections_named(r, node, "segments", "name: [10.0.0.0/8]"))
		return;
	for (i = 0; i < node->n_children; i += 2) {
		if (!reader_declare(r, NAME_SEGMENT, &node->children[i], r->policy->n_segments))
			continue;
		segment = reader_add(r, &r->policy->segments, &r->policy->n_segments, sizeof(*segment));
		if (!segment)
			return;
		segment->name = reader_strdup(r, node->children[i].text);
		segment->place = node->children[i].place;
		segment->tenant = POLICY_TENANT_UNSAID;
	}
}

static void prefixes_read(struct reader *r, const struct node *node, const char *what, struct policy_prefix **prefixes,
			  size_t *count)
{
	const struct node *child;
	size_t i;

	if (!reader_is_list(r, node, what))
		return;
	for (i = 0; i < node->n_children; i++) {
		child = &node->children[i];
		if (!reader_scalar(r, child, "a prefix"))
			continue;
		if (!*child->text)
			reader_error(r, child, "a prefix is empty; write it, or remove the ','");
		else if (!value_looks_like_prefix(child->text) && strchr(child->text, '.'))
			reader_error(r, child,
				     "'%.63s' is no prefix, and names of hosts are not looked up; write its address",
				     child->text);
		else if (!value_looks_like_prefix(child->text))
			reader_error(r, child, "'%.63s' is no prefix; to unite segments write {segments: [%.63s]}",
				     child->text, child->text);
		else
			reader_add_prefix(r, child, prefixes, count);
	}
}

static void include_read(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	struct policy_segment *s = at;

	prefixes_read(r, value, f->key, &s->include, &s->n_include);
}

static void except_read(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	struct policy_segment *s = at;

	prefixes_read(r, value, f->key, &s->except, &s->n_except);
}

/* The number of a segment where only a name may stand, or NAME_UNDEFINED with an error. */
static size_t segment_named(struct reader *r, const struct node *node, const char *what, const char *remedy)
{
	if (value_looks_like_prefix(node->text))
		reader_error(r, node, "'%.63s' is a prefix, but '%s' lists names of segments; %s", node->text, what,
			     remedy);
	else if (!strcasecmp(node->text, "any"))
		reader_error(r, node,
			     "'any' is no segment, and '%s' lists names of segments; name one, or remove the key",
			     what);
	else
		return reader_find(r, NAME_SEGMENT, node);
	return NAME_UNDEFINED;
}

static void members_read(struct reader *r, const struct field *f, const struct node *value, void *at)
{
	struct policy_segment *s = at;
	size_t i, id, *slot;

	if (!reader_is_list(r, value, "segments"))
		return;
	for (i = 0; i < value->n_children; i++) {
		if (!reader_scalar(r, &value->children[i], "a segment"))
			continue;
		id = segment_named(r, &value->children[i], "segments", "put it into 'include'");
		slot = id == NAME_UNDEFINED ? NULL : reader_add(r, &s->members, &s->n_members, sizeof(*slot));
		if (!slot)
			continue;
		*slot = id;
		r->policy->segments[id].used = true;
	}
}

static const struct field segment_fields[] = {FIELD_WHOLE("include", include_read),
					      FIELD_WHOLE("except", except_read),
					      FIELD_WHOLE("segments", members_read),
					      FIELD("tenant", read_tenant, struct policy_segment, tenant),
					      {}};

void read_segments(struct reader *r, const struct node *node)
{
	struct policy_segment *s;
	const struct node *value;
	size_t i, id;

	for (i = 0; node->kind == NODE_MAPPING && i < node->n_children; i += 2) {
		id = reader_declared(r, NAME_SEGMENT, &node->children[i]);
		if (id == NAME_UNDEFINED)
			continue;
		s = &r->policy->segments[id];
		value = &node->children[i + 1];
		if (value->kind != NODE_MAPPING)
			prefixes_read(r, value, "a segment", &s->include, &s->n_include);
		else if (reader_mapping(r, value, "segment", segment_fields, s) && s->n_except && !s->n_include)
			reader_error(r, value,
				     "'except' is taken from 'include', which is not here; add it, or remove 'except'");
	}
}

/* --------------------------------------------------------------------- services */

struct item_text {
	const struct node *protocol, *ports, *source_ports;
};

static const struct field item_fields[] = {FIELD("protocol", read_node, struct item_text, protocol, REQUIRED),
					   FIELD("ports", read_node, struct item_text, ports),
					   FIELD("source-ports", read_node, struct item_text, source_ports),
					   {}};

static void ports_read(struct reader *r, const struct node *node, const struct policy_item *item, uint16_t *first,
		       uint16_t *last)
{
	struct error err;

	if (!node || !reader_scalar(r, node, "ports"))
		return;
	if (!value_protocol_has_ports(item->protocol))
		reader_error(r, node, "only tcp, udp and sctp have ports; remove this key");
	else if (value_ports(node->text, first, last, &err))
		reader_error(r, node, "%s", err.text);
}

/* {protocol: udp, ports: 5000-5999, source-ports: 1024-65535} */
static bool item_mapping_read(struct reader *r, const struct node *node, struct policy_item *item)
{
	struct item_text text = {};
	struct error err;

	reader_mapping(r, node, "service item", item_fields, &text);
	if (!text.protocol || !reader_scalar(r, text.protocol, "protocol"))
		return false;
	if (value_protocol(text.protocol->text, &item->protocol, &err)) {
		reader_error(r, text.protocol, "%s", err.text);
		return false;
	}
	item->dest_last = 65535;
	item->source_last = 65535;
	ports_read(r, text.ports, item, &item->dest_first, &item->dest_last);
	ports_read(r, text.source_ports, item, &item->source_first, &item->source_last);
	return true;
}

/* A number alone is an IP protocol; who writes one of some most likely means a port. */
static void number_suspect(struct reader *r, const struct node *node)
{
	char text[256];
	const char *n = node->text;

	if (!value_item_suspect(n))
		return;
	snprintf(text, sizeof(text),
		 "%s alone is IP protocol %s, not port %s; for the port write tcp/%s or udp/%s, for the protocol "
		 "{protocol: %s}",
		 n, n, n, n, n, n);
	reader_warning(r, node, text);
}

void reader_add_item(struct reader *r, const struct node *node, struct policy_item **items, size_t *count)
{
	struct policy_item item = {}, *slot;
	struct error err;

	if (node->kind == NODE_MAPPING) {
		if (!item_mapping_read(r, node, &item))
			return;
	} else if (!reader_scalar(r, node, "a service item")) {
		return;
	} else if (value_item(node->text, &item, &err)) {
		reader_error(r, node, "%s", err.text);
		return;
	}
	if (node->kind == NODE_SCALAR)
		number_suspect(r, node);
	slot = reader_add(r, items, count, sizeof(*slot));
	if (slot)
		*slot = item;
}

static void items_read(struct reader *r, const struct node *node, const char *what, struct policy_service *service)
{
	size_t i;

	if (!reader_is_list(r, node, what))
		return;
	for (i = 0; i < node->n_children; i++)
		reader_add_item(r, &node->children[i], &service->items, &service->n_items);
}

void read_services(struct reader *r, const struct node *node)
{
	struct policy_service *service;
	size_t i;

	if (!sections_named(r, node, "services", "name: [tcp/443]"))
		return;
	for (i = 0; i < node->n_children; i += 2) {
		if (!reader_declare(r, NAME_SERVICE, &node->children[i], r->policy->n_services))
			continue;
		service = reader_add(r, &r->policy->services, &r->policy->n_services, sizeof(*service));
		if (!service)
			return;
		service->name = reader_strdup(r, node->children[i].text);
		service->place = node->children[i].place;
		items_read(r, &node->children[i + 1], "a service", service);
	}
}

/* The kernel compares failsafe packets with a destination only: see sluice_policy.failsafe. */
void read_failsafe(struct reader *r, const struct node *node)
{
	struct policy_service *f = r->policy->failsafe;
	const struct policy_item *item;
	size_t i, before;

	f->place = node->place;
	if (!reader_is_list(r, node, "failsafe"))
		return;
	for (i = 0; i < node->n_children; i++) {
		before = f->n_items;
		reader_add_item(r, &node->children[i], &f->items, &f->n_items);
		if (f->n_items == before)
			continue;
		item = &f->items[before];
		if (item->any_protocol)
			reader_error(r, &node->children[i],
				     "'any' would let everything pass this host's door; name the protocols");
		else if (item->source_first || item->source_last != 65535)
			reader_error(r, &node->children[i],
				     "failsafe cannot tell source ports apart; remove 'source-ports'");
	}
}

/* ------------------------------------------------------------------- interfaces */

struct interface_text {
	const struct node *name, *wire, *vlans, *vnis, *antispoof;
	int attach, forward;
	uint32_t tenant;
};

static const struct choice attach_choices[] = {{"auto", POLICY_ATTACH_AUTO},
					       {"xdp", POLICY_ATTACH_XDP},
					       {"xdp-generic", POLICY_ATTACH_XDP_GENERIC},
					       {"tc", POLICY_ATTACH_TC},
					       {}};

static const struct choice forward_choices[] = {{"kernel", false}, {"xdp", true}, {}};

static const struct field interface_fields[] = {
	FIELD("name", read_node, struct interface_text, name, REQUIRED),
	FIELD("attach", read_choice, struct interface_text, attach, .arg = attach_choices),
	FIELD("tenant", read_tenant, struct interface_text, tenant),
	FIELD("vlans", read_node, struct interface_text, vlans),
	FIELD("vnis", read_node, struct interface_text, vnis),
	FIELD("antispoof", read_node, struct interface_text, antispoof),
	FIELD("wire", read_node, struct interface_text, wire),
	FIELD("forward", read_choice, struct interface_text, forward, .arg = forward_choices),
	{}};

/*
 * One pair of `vlans` or `vnis`: an id of 1..last that may stand there once, and the tenant it belongs to. Every id
 * that was read is in `seen`.
 */
static bool network_read(struct reader *r, const struct node *key, const struct node *value, const char *noun,
			 uint64_t last, struct hash_index *seen, uint32_t *ret_id, uint16_t *ret_tenant)
{
	struct error err;
	size_t tenant;
	uint64_t id;

	if (!reader_scalar(r, key, noun) || !reader_scalar(r, value, "a tenant"))
		return false;
	if (value_number(noun, key->text, 1, last, &id, &err)) {
		reader_error(r, key, "%s", err.text);
		return false;
	}
	if (hash_index_find(seen, hash_mix(id), NULL, NULL, NULL) != HASH_NONE)
		reader_error(r, key, "%s %s is here twice; remove one", noun, key->text);
	else if (hash_index_add(seen, hash_mix(id), (uint32_t)id))
		r->failed = -ENOMEM;
	tenant = reader_find(r, NAME_TENANT, value);
	*ret_id = (uint32_t)id;
	*ret_tenant = (uint16_t)tenant;
	return tenant != NAME_UNDEFINED;
}

#define VLAN_LAST 4094
#define VNI_LAST  0xffffff

static void vlans_read(struct reader *r, const struct node *node, struct policy_interface *interface)
{
	struct hash_index seen = {};
	struct policy_vlan *vlan;
	uint16_t tenant;
	uint32_t id;
	size_t i;

	for (i = 0; sections_named(r, node, "vlans", "100: red") && i < node->n_children; i += 2) {
		if (!network_read(r, &node->children[i], &node->children[i + 1], "VLAN", VLAN_LAST, &seen, &id,
				  &tenant))
			continue;
		vlan = reader_add(r, &interface->vlans, &interface->n_vlans, sizeof(*vlan));
		if (vlan)
			*vlan = (struct policy_vlan){(uint16_t)id, tenant};
	}
	hash_index_done(&seen);
}

static void vnis_read(struct reader *r, const struct node *node, struct policy_interface *interface)
{
	struct hash_index seen = {};
	struct policy_vni *vni;
	uint16_t tenant;
	uint32_t id;
	size_t i;

	for (i = 0; sections_named(r, node, "vnis", "7001: red") && i < node->n_children; i += 2) {
		if (!network_read(r, &node->children[i], &node->children[i + 1], "VNI", VNI_LAST, &seen, &id, &tenant))
			continue;
		vni = reader_add(r, &interface->vnis, &interface->n_vnis, sizeof(*vni));
		if (vni)
			*vni = (struct policy_vni){id, tenant};
	}
	hash_index_done(&seen);
}

static void antispoof_read(struct reader *r, const struct node *node, void *arg)
{
	struct policy_interface *interface = arg;
	size_t id = segment_named(r, node, "antispoof", "define a segment that has it"), *slot;

	if (id == NAME_UNDEFINED)
		return;
	r->policy->segments[id].used = true;
	slot = reader_add(r, &interface->antispoof_segments, &interface->n_antispoof_segments, sizeof(*slot));
	if (slot)
		*slot = id;
}

/* What a Linux interface can be called, and the characters of globs. */
static bool interface_name_usable(const char *name)
{
	return *name && strlen(name) < SLUICE_NAME_LEN && !strpbrk(name, "/ \t");
}

#define GLOB_CHARACTERS "*?["

static void interface_name_read(struct reader *r, const struct node *node, struct policy_interface *interface)
{
	size_t i;

	if (!reader_scalar(r, node, "name"))
		return;
	if (!interface_name_usable(node->text)) {
		reader_error(r, node,
			     "'%.63s' cannot be the name of an interface; use a name as in eth0 or a glob as in eth*",
			     node->text);
		return;
	}
	for (i = 0; i + 1 < r->policy->n_interfaces; i++) {
		if (r->policy->interfaces[i].name && !strcmp(r->policy->interfaces[i].name, node->text))
			reader_error(r, node, "interface '%s' is defined twice, first at %s:%u; remove one", node->text,
				     r->policy->interfaces[i].place.file, r->policy->interfaces[i].place.line);
	}
	interface->name = reader_strdup(r, node->text);
	interface->is_glob = strpbrk(node->text, GLOB_CHARACTERS) != NULL;
}

static void wire_read(struct reader *r, const struct node *node, struct policy_interface *interface)
{
	if (!reader_scalar(r, node, "wire"))
		return;
	if (!interface_name_usable(node->text) || strpbrk(node->text, GLOB_CHARACTERS)) {
		reader_error(r, node, "wire: '%.63s' is not the name of one interface; write one, as in eth1",
			     node->text);
		return;
	}
	interface->wire = reader_strdup(r, node->text);
	interface->wire_place = node->place;
}

static void interface_read(struct reader *r, const struct node *node)
{
	struct interface_text text = {};
	struct policy_interface *interface;

	interface = reader_add(r, &r->policy->interfaces, &r->policy->n_interfaces, sizeof(*interface));
	if (!interface || !reader_mapping(r, node, "interface", interface_fields, &text))
		return;
	interface->place = text.name ? text.name->place : node->place;
	interface->attach = (enum policy_attach)text.attach;
	interface->tenant = (uint16_t)text.tenant;
	interface->forward = text.forward;
	if (text.name)
		interface_name_read(r, text.name, interface);
	if (text.wire)
		wire_read(r, text.wire, interface);
	if (text.vlans)
		vlans_read(r, text.vlans, interface);
	if (text.vnis)
		vnis_read(r, text.vnis, interface);
	if (text.antispoof && reader_is_list(r, text.antispoof, "antispoof")) {
		interface->antispoof = true;
		reader_each(r, text.antispoof, "antispoof", false, antispoof_read, interface);
	}
}

void read_interfaces(struct reader *r, const struct node *node)
{
	size_t i;

	if (!reader_is_list(r, node, "interfaces"))
		return;
	for (i = 0; i < node->n_children; i++)
		interface_read(r, &node->children[i]);
}
