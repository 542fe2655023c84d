// SPDX-License-Identifier: Apache-2.0
/*
 * What a storage section says of paths: names of portals, `ana:` of a subsystem (the state of a group of namespaces at
 * a portal), and `referrals:` to other discovery services. Called by yaml_storage.c, portals first.
 */
#include <string.h>

#include "policy/reader.h"
#include "policy/values.h"

#define REFERRALS_MAX	64
#define DISCOVERY_PORT	8009
#define PORTAL_NAME_MAX 31

/* ---- portals ---- */

void read_portal_name(struct reader *r, const struct node *node, const struct policy_storage *storage,
		      struct policy_portal *portal)
{
	size_t i;

	if (!node || !reader_scalar(r, node, "name"))
		return;
	if (!node->text[0] || strlen(node->text) > PORTAL_NAME_MAX) {
		reader_error(r, node, "a portal's name has 1 to %d characters; shorten it", PORTAL_NAME_MAX);
		return;
	}
	for (i = 0; i < storage->n_portals; i++)
		if (&storage->portals[i] != portal && storage->portals[i].name &&
		    !strcmp(storage->portals[i].name, node->text))
			reader_error(r, node, "portal '%s' is here twice, first on line %u; give it another name",
				     node->text, storage->portals[i].place.line);
	portal->name = reader_strdup(r, node->text);
}

static bool portal_exists(const struct policy_storage *storage, const char *name)
{
	size_t i;

	for (i = 0; i < storage->n_portals; i++)
		if (storage->portals[i].name && !strcmp(storage->portals[i].name, name))
			return true;
	return false;
}

/* ---- ana ---- */

struct ana_text {
	const struct node *portal;
	uint32_t group;
	int state;
};

static const struct bounds group_bounds = {1, POLICY_ANA_GROUPS};
static const struct choice state_choices[] = {{"optimized", POLICY_ANA_OPTIMIZED},
					      {"non-optimized", POLICY_ANA_NON_OPTIMIZED},
					      {"inaccessible", POLICY_ANA_INACCESSIBLE},
					      {"persistent-loss", POLICY_ANA_PERSISTENT_LOSS},
					      {"change", POLICY_ANA_CHANGE},
					      {}};
static const struct field ana_fields[] = {
	FIELD("group", read_number, struct ana_text, group, REQUIRED, .arg = &group_bounds),
	FIELD("portal", read_node, struct ana_text, portal),
	FIELD("state", read_choice, struct ana_text, state, REQUIRED, .arg = state_choices),
	{}};

static bool same_portal(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static void row_read(struct reader *r, const struct node *node, const struct policy_storage *storage,
		     struct policy_subsystem *s)
{
	struct policy_ana *row;
	struct ana_text text = {};
	size_t i;

	if (!reader_mapping(r, node, "ana", ana_fields, &text))
		return;
	if (text.portal && !reader_scalar(r, text.portal, "portal"))
		return;
	if (text.portal && !portal_exists(storage, text.portal->text))
		reader_error(r, text.portal, "no portal is named '%.63s'; give one of `portals` this `name`",
			     text.portal->text);
	row = reader_add(r, &s->ana, &s->n_ana, sizeof(*row));
	if (!row)
		return;
	*row = (struct policy_ana){node->place, text.group, NULL, (enum policy_ana_state)text.state};
	if (text.portal)
		row->portal = reader_strdup(r, text.portal->text);
	for (i = 0; i + 1 < s->n_ana; i++)
		if (s->ana[i].group == row->group && same_portal(s->ana[i].portal, row->portal))
			reader_error(r, node,
				     "the state of group %u there is given twice, first on line %u; remove one",
				     row->group, s->ana[i].place.line);
}

void read_ana(struct reader *r, const struct node *node, const struct policy_storage *storage,
	      struct policy_subsystem *s)
{
	size_t i;

	if (!node || !reader_is_list(r, node, "ana"))
		return;
	s->has_ana = true;
	for (i = 0; i < node->n_children; i++)
		row_read(r, &node->children[i], storage, s);
}

/* Groups mean something only to hosts that are told of them. */
void check_ana(struct reader *r, const struct node *node, const struct policy_subsystem *s)
{
	size_t i;

	for (i = 0; i < s->n_namespaces && !s->has_ana; i++)
		if (s->namespaces[i].ana > 1)
			reader_error(
				r, node,
				"namespace %u is of ANA group %u, but the subsystem has no `ana`; add it (`ana: []` "
				"for all optimized)",
				s->namespaces[i].id, s->namespaces[i].ana);
}

/* ---- referrals ---- */

struct referral_text {
	const struct node *address;
	uint32_t port;
};

static const struct bounds port_bounds = {1, 65535};
static const struct field referral_fields[] = {
	FIELD("address", read_node, struct referral_text, address, REQUIRED),
	FIELD("port", read_number, struct referral_text, port, .arg = &port_bounds),
	{}};

static void referral_read(struct reader *r, const struct node *node, struct policy_storage *storage)
{
	struct referral_text text = {.port = DISCOVERY_PORT};
	struct policy_referral *referral;

	if (!reader_mapping(r, node, "referral", referral_fields, &text) || !text.address ||
	    !reader_address(r, text.address, "address"))
		return;
	if (storage->n_referrals == REFERRALS_MAX) {
		reader_error(r, node, "more than %d referrals; remove some", REFERRALS_MAX);
		return;
	}
	referral = reader_add(r, &storage->referrals, &storage->n_referrals, sizeof(*referral));
	if (referral)
		*referral = (struct policy_referral){node->place, reader_strdup(r, text.address->text),
						     (uint16_t)text.port};
}

void read_referrals(struct reader *r, const struct node *node, struct policy_storage *storage)
{
	size_t i;

	if (!node || !reader_is_list(r, node, "referrals"))
		return;
	for (i = 0; i < node->n_children; i++)
		referral_read(r, &node->children[i], storage);
}
