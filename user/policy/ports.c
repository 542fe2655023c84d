// SPDX-License-Identifier: Apache-2.0
/*
 * Wires, and forwarding in XDP: what can be said of them without looking at any device. Called by check.c when every
 * interface was read. Afterwards each wire has two ends in the policy, which name each other and give the same traffic
 * to the same tenant: a flow bears the tenant of the end where its packet entered.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/array.h"
#include "policy/check.h"
#include "policy/diagnostics.h"

struct ports {
	struct policy *policy;
	struct policy_diagnostics *diagnostics;
	bool wrong;
	int failed;
};

static void refuse(struct ports *c, struct policy_place place, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void refuse(struct ports *c, struct policy_place place, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->wrong = true;
	if (diagnostics_add(c->diagnostics, POLICY_ERROR, place, "%s", text))
		c->failed = -ENOMEM;
}

static struct policy_interface *interface_named(const struct policy *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->n_interfaces; i++)
		if (p->interfaces[i].name && !strcmp(p->interfaces[i].name, name))
			return &p->interfaces[i];
	return NULL;
}

/* ------------------------------------------------------------------- the other end */

static void *copy(const void *items, size_t count, size_t size, int *failed)
{
	void *copied = count ? malloc(count * size) : NULL;

	if (count && !copied)
		*failed = -ENOMEM;
	else if (count)
		memcpy(copied, items, count * size);
	return copied;
}

/*
 * The end that is only named, as if it were listed behind interface i: for the same tenants, attached alike, open to
 * every source. Behind it and not at the end, so that a later glob does not take it.
 */
static void end_imply(struct ports *c, size_t i)
{
	struct policy *p = c->policy;
	struct policy_interface end, *last = array_add(&p->interfaces, &p->n_interfaces, sizeof(*last));
	const struct policy_interface *from = &p->interfaces[i];

	if (!last) {
		c->failed = -ENOMEM;
		return;
	}
	end = (struct policy_interface){
		.place = from->wire_place,
		.attach = from->attach == POLICY_ATTACH_TC ? POLICY_ATTACH_AUTO
							   : from->attach, /* refused once is enough */
		.tenant = from->tenant,
		.wire_place = from->place,
	};
	end.name = strdup(from->wire);
	end.wire = strdup(from->name);
	end.vlans = copy(from->vlans, from->n_vlans, sizeof(*end.vlans), &c->failed);
	end.n_vlans = end.vlans ? from->n_vlans : 0;
	end.vnis = copy(from->vnis, from->n_vnis, sizeof(*end.vnis), &c->failed);
	end.n_vnis = end.vnis ? from->n_vnis : 0;
	if (!end.name || !end.wire)
		c->failed = -ENOMEM;
	memmove(&p->interfaces[i + 2], &p->interfaces[i + 1], (p->n_interfaces - i - 2) * sizeof(end));
	p->interfaces[i + 1] = end;
}

static void end_find(struct ports *c, size_t i)
{
	const struct policy_interface *from = &c->policy->interfaces[i];
	struct policy_interface *end = interface_named(c->policy, from->wire);

	if (!strcmp(from->wire, from->name)) {
		refuse(c, from->wire_place, "'%s' is wired to itself; name the interface at the other end", from->name);
	} else if (!end) {
		end_imply(c, i);
	} else if (!end->wire) {
		end->wire = strdup(from->name);
		end->wire_place = end->place;
		if (!end->wire)
			c->failed = -ENOMEM;
	} else if (strcmp(end->wire, from->name)) {
		refuse(c, from->wire_place,
		       "'%s' is wired to '%s' already (%s:%u); a wire has two ends, remove one of the two", end->name,
		       end->wire, end->wire_place.file, end->wire_place.line);
	}
}

/* ------------------------------------------------------------------- both ends alike */

/* A VLAN or VNI and its tenant. */
struct network {
	uint32_t id;
	uint16_t tenant;
};

struct networks {
	struct network *items;
	size_t count;
};

static void networks_done(struct networks *n)
{
	free(n->items);
}

static int network_compare(const void *a, const void *b)
{
	const struct network *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* The VLANs, or the VNIs, in the order of their numbers. */
static int networks_get(const struct policy_interface *interface, bool vnis, struct networks *ret)
{
	size_t i, count = vnis ? interface->n_vnis : interface->n_vlans;
	struct network *items = calloc(count + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		items[i].id = vnis ? interface->vnis[i].id : interface->vlans[i].id;
		items[i].tenant = vnis ? interface->vnis[i].tenant : interface->vlans[i].tenant;
	}
	qsort(items, count, sizeof(*items), network_compare);
	ret->items = items;
	ret->count = count;
	return 0;
}

static const char *tenant_name(const struct policy *p, uint16_t tenant)
{
	return tenant ? p->tenants[tenant] : "(the host's)";
}

/* Says the first difference only: a list that was forgotten differs in every line. */
static void networks_compare(struct ports *c, const struct policy_interface *a, const struct policy_interface *b,
			     bool vnis)
{
	_cleanup_(networks_done) struct networks x = {}, y = {};
	const char *what = vnis ? "VNI" : "VLAN";
	const struct network *at, *other;
	size_t i = 0;

	c->failed = networks_get(a, vnis, &x);
	if (!c->failed)
		c->failed = networks_get(b, vnis, &y);
	if (c->failed)
		return;
	while (i < x.count && i < y.count && x.items[i].id == y.items[i].id && x.items[i].tenant == y.items[i].tenant)
		i++;
	if (i == x.count && i == y.count)
		return;
	at = &x.items[i];
	other = &y.items[i];
	if (i < x.count && i < y.count && at->id == other->id)
		refuse(c, a->place,
		       "%s %u is of tenant %s at '%s' and of %s at '%s', the other end of its wire (%s:%u); "
		       "give it one tenant",
		       what, at->id, tenant_name(c->policy, at->tenant), a->name, tenant_name(c->policy, other->tenant),
		       b->name, b->place.file, b->place.line);
	else if (i == y.count || (i < x.count && at->id < other->id))
		refuse(c, b->place,
		       "%s %u is listed at '%s' (%s:%u) and not here, at the other end of its wire; list it "
		       "at both ends or none",
		       what, at->id, a->name, a->place.file, a->place.line);
	else
		refuse(c, a->place,
		       "%s %u is listed at '%s' (%s:%u) and not here, at the other end of its wire; list it "
		       "at both ends or none",
		       what, other->id, b->name, b->place.file, b->place.line);
}

static void ends_compare(struct ports *c, const struct policy_interface *a, const struct policy_interface *b)
{
	if (a->tenant != b->tenant)
		refuse(c, a->place,
		       "'%s' is of tenant %s and '%s', the other end of its wire, of %s (%s:%u); give both "
		       "the same",
		       a->name, tenant_name(c->policy, a->tenant), b->name, tenant_name(c->policy, b->tenant),
		       b->place.file, b->place.line);
	networks_compare(c, a, b, false);
	if (!c->failed)
		networks_compare(c, a, b, true);
}

/* ------------------------------------------------------------------- one interface */

/* The dataplane gives an interface to the first entry that fits: a glob before a wire's end would take it. */
static void globs_check(struct ports *c, size_t i)
{
	const struct policy_interface *end = &c->policy->interfaces[i], *other;

	for (other = c->policy->interfaces; other < end; other++)
		if (other->is_glob && !fnmatch(other->name, end->name, 0))
			refuse(c, other->place,
			       "'%s' stands before '%s' (%s:%u), which is an end of a wire, and takes "
			       "it; put it after",
			       other->name, end->name, end->place.file, end->place.line);
}

static void port_check(struct ports *c, const struct policy_interface *port)
{
	if (port->wire && port->is_glob)
		refuse(c, port->wire_place,
		       "'%s' may be several interfaces, and a wire has two ends; write an entry a "
		       "wire, with names",
		       port->name);
	if (port->wire && port->forward)
		refuse(c, port->place, "'%s' is an end of a wire, which routes nothing; remove 'forward' or 'wire'",
		       port->name);
	if (port->attach == POLICY_ATTACH_TC)
		refuse(c, port->place, "'%s' has attach: tc, and %s is done in XDP; use attach: auto", port->name,
		       port->wire ? "a wire" : "forward: xdp");
}

int policy_check_ports(struct policy *p, struct policy_diagnostics *d, bool *wrong)
{
	struct ports c = {.policy = p, .diagnostics = d};
	const struct policy_interface *port, *end;
	size_t i;

	for (i = 0; i < p->n_interfaces && !c.failed; i++)
		if (p->interfaces[i].wire && p->interfaces[i].name && !p->interfaces[i].is_glob)
			end_find(&c, i);
	for (i = 0; i < p->n_interfaces && !c.failed; i++) {
		port = &p->interfaces[i];
		if (!port->name || (!port->wire && !port->forward))
			continue;
		port_check(&c, port);
		if (!port->wire || port->is_glob)
			continue;
		globs_check(&c, i);
		end = interface_named(p, port->wire);
		if (end > port && end->wire && !strcmp(end->wire, port->name))
			ends_compare(&c, port, end);
	}
	*wrong |= c.wrong;
	return c.failed;
}
