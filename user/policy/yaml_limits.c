// SPDX-License-Identifier: Apache-2.0
/*
 * `storage: limits:`: commands and bytes a second of hosts, subsystems and namespaces. Called by yaml_storage.c when
 * the subsystems are known. The addresses of `from` are filled in by check.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/reader.h"
#include "policy/values.h"

#define LIMITS_MAX    256
#define IOPS_MAX      10000000u
#define BANDWIDTH_MIN 4096ull
#define BANDWIDTH_MAX (1ull << 40)
#define NSID_MAX      1024

struct limit_text {
	const struct node *name, *from, *hosts, *subsystem, *iops, *bandwidth;
	uint32_t nsid;
};

static const struct bounds nsid_bounds = {1, NSID_MAX};

static const struct field limit_fields[] = {
	FIELD("name", read_node, struct limit_text, name, REQUIRED),
	FIELD("from", read_node, struct limit_text, from),
	FIELD("hosts", read_node, struct limit_text, hosts),
	FIELD("subsystem", read_node, struct limit_text, subsystem),
	FIELD("namespace", read_number, struct limit_text, nsid, .arg = &nsid_bounds),
	FIELD("iops", read_node, struct limit_text, iops),
	FIELD("bandwidth", read_node, struct limit_text, bandwidth),
	{}};

static void name_read(struct reader *r, const struct node *node, const struct policy_storage *storage,
		      struct policy_storage_limit *l)
{
	struct error err;
	size_t i;

	if (!node || !reader_scalar(r, node, "name"))
		return;
	if (value_name("limit", node->text, &err)) {
		reader_error(r, node, "%s", err.text);
		return;
	}
	for (i = 0; i + 1 < storage->n_limits; i++)
		if (storage->limits[i].name && !strcmp(storage->limits[i].name, node->text))
			reader_error(r, node, "limit '%s' is here twice, first on line %u; give it another name",
				     node->text, storage->limits[i].place.line);
	l->name = reader_strdup(r, node->text);
}

static void host_read(struct reader *r, const struct node *node, struct policy_storage_limit *l)
{
	char **slot;
	size_t i;

	if (!reader_nqn(r, node, "host"))
		return;
	for (i = 0; i < l->n_hosts; i++)
		if (!strcmp(l->hosts[i], node->text))
			reader_error(r, node, "host '%s' is here twice; remove one", node->text);
	slot = reader_add(r, &l->hosts, &l->n_hosts, sizeof(*slot));
	if (slot)
		*slot = reader_strdup(r, node->text);
}

static void hosts_read(struct reader *r, const struct node *node, struct policy_storage_limit *l)
{
	size_t i;

	l->any_host = !node || (node->kind == NODE_SCALAR && !strcmp(node->text, "any"));
	if (l->any_host)
		return;
	if (node->kind != NODE_LIST || !node->n_children) {
		reader_error(r, node, "hosts must be 'any' or a list of host NQNs");
		return;
	}
	for (i = 0; i < node->n_children; i++)
		host_read(r, &node->children[i], l);
}

/* Of the limit's subsystem, or of any where it names none. */
static bool has_namespace(const struct policy_storage *storage, const struct policy_storage_limit *l)
{
	size_t i, k;

	for (i = 0; i < storage->n_subsystems; i++) {
		const struct policy_subsystem *s = &storage->subsystems[i];

		if (l->subsystem && (!s->nqn || strcmp(s->nqn, l->subsystem)))
			continue;
		for (k = 0; k < s->n_namespaces; k++)
			if (!l->nsid || s->namespaces[k].id == l->nsid)
				return true;
		if (!l->nsid)
			return true;
	}
	return false;
}

/* A limit on something that is not there is a mistake: it would hold for nobody. */
static void place_read(struct reader *r, const struct node *at, const struct limit_text *text,
		       const struct policy_storage *storage, struct policy_storage_limit *l)
{
	l->nsid = text->nsid;
	if (text->subsystem && !reader_nqn(r, text->subsystem, "subsystem"))
		return;
	if (text->subsystem)
		l->subsystem = reader_strdup(r, text->subsystem->text);
	if ((!text->subsystem && !l->nsid) || has_namespace(storage, l))
		return;
	if (!l->nsid)
		reader_error(r, text->subsystem, "no subsystem of this policy is '%.63s'; name one of 'subsystems'",
			     text->subsystem->text);
	else
		reader_error(r, at, "no subsystem that it concerns has a namespace %u; name one of 'subsystems'", l->nsid);
}

static void from_read(struct reader *r, const struct node *node, struct policy_storage_limit *l)
{
	struct policy_side *side;

	if (!node)
		return;
	side = calloc(1, sizeof(*side));
	if (!side) {
		r->failed = -ENOMEM;
		return;
	}
	read_side(r, node, "from", side);
	l->from = side;
	if (side->any) {
		free(side->segments);
		free(side);
		l->from = NULL;
	}
}

static void iops_read(struct reader *r, const struct node *node, struct policy_storage_limit *l)
{
	struct error err;
	uint64_t count;

	if (!node || !reader_scalar(r, node, "iops"))
		return;
	if (value_count(node->text, &count, &err))
		reader_error(r, node, "iops: %s", err.text);
	else if (!count || count > IOPS_MAX)
		reader_error(r, node, "iops: %s is out of range; use 1-%u", node->text, IOPS_MAX);
	else
		l->iops = count;
}

/* A size with /s behind it. */
static void bandwidth_read(struct reader *r, const struct node *node, struct policy_storage_limit *l)
{
	char text[32] = "";
	struct error err;
	uint64_t bytes;
	size_t length;

	if (!node || !reader_scalar(r, node, "bandwidth"))
		return;
	length = strlen(node->text);
	if (length > 2 && length < sizeof(text) && !strcmp(node->text + length - 2, "/s"))
		memcpy(text, node->text, length - 2);
	if (!text[0] || value_size(text, &bytes, &err))
		reader_error(r, node, "bandwidth '%.40s' is none; write bytes a second, as in 100MiB/s", node->text);
	else if (bytes < BANDWIDTH_MIN || bytes > BANDWIDTH_MAX)
		reader_error(r, node, "bandwidth: %s is out of range; use 4KiB/s-1TiB/s", node->text);
	else
		l->bandwidth = bytes;
}

static void limit_read(struct reader *r, const struct node *node, struct policy_storage *storage)
{
	struct policy_storage_limit *l = reader_add(r, &storage->limits, &storage->n_limits, sizeof(*l));
	struct limit_text text = {};

	if (!l || !reader_mapping(r, node, "limit", limit_fields, &text))
		return;
	l->place = node->place;
	name_read(r, text.name, storage, l);
	hosts_read(r, text.hosts, l);
	place_read(r, node, &text, storage, l);
	from_read(r, text.from, l);
	iops_read(r, text.iops, l);
	bandwidth_read(r, text.bandwidth, l);
	if (!text.iops && !text.bandwidth)
		reader_error(r, node, "limit has neither 'iops' nor 'bandwidth', so it limits nothing; add one");
}

void read_limits(struct reader *r, const struct node *node)
{
	struct policy_storage *storage = &r->policy->storage;
	size_t i;

	if (!reader_is_list(r, node, "limits"))
		return;
	if (node->n_children > LIMITS_MAX)
		reader_error(r, node, "%zu limits are more than a target takes; use at most %u", node->n_children,
			     LIMITS_MAX);
	for (i = 0; i < node->n_children && i < LIMITS_MAX; i++)
		limit_read(r, &node->children[i], storage);
}
