// SPDX-License-Identifier: Apache-2.0
/*
 * `hosts:` of a subsystem: who may connect, and the files with the secrets by which they prove who they are. Called by
 * yaml_storage.c. Only names of files are read here: what is in them is the target's, and no part of a policy.
 */
#include <string.h>

#include "policy/reader.h"

#define NVME_NQN_MAX 223 /* bytes without the NUL: NVMe Base 2.0, 4.5 */

struct host_text {
	const struct node *nqn, *dhchap_key, *dhchap_controller_key, *psk;
};

static const struct field host_fields[] = {
	FIELD("nqn", read_node, struct host_text, nqn, REQUIRED),
	FIELD("dhchap-key", read_node, struct host_text, dhchap_key),
	FIELD("dhchap-controller-key", read_node, struct host_text, dhchap_controller_key),
	FIELD("psk", read_node, struct host_text, psk),
	{}};

bool reader_nqn(struct reader *r, const struct node *node, const char *what)
{
	if (!reader_scalar(r, node, what))
		return false;
	if (!strncmp(node->text, "nqn.", 4) && strlen(node->text) <= NVME_NQN_MAX && !strchr(node->text, ' '))
		return true;
	reader_error(r, node, "%s '%.63s' is no NQN; write it as in nqn.2026-11.io.example:name, at most %d characters",
		     what, node->text, NVME_NQN_MAX);
	return false;
}

/*
 * The name of a file with a secret. What looks like the secret itself is refused, and not said again. other: what might
 * stand there instead, for the remedy.
 */
static void secret_read(struct reader *r, const char *key, const struct node *node, const char *other,
			struct policy_secret *ret_secret)
{
	if (!node || !reader_scalar(r, node, key))
		return;
	if (!strncmp(node->text, "DHHC-1:", 7) || !strncmp(node->text, "NVMeTLSkey-1:", 13)) {
		reader_error(r, node,
			     "%s is the secret itself, and policies are no secret; put it in a file of mode 0600 and "
			     "write the file's name here",
			     key);
	} else if (node->text[0] != '/') {
		reader_error(r, node, "%s '%.63s' is no absolute path; write it from / on%s", key, node->text, other);
	} else {
		ret_secret->place = node->place;
		ret_secret->path = reader_strdup(r, node->text);
	}
}

/* A file, or `generated`: a key that the host's authentication makes. */
static void psk_read(struct reader *r, const struct node *node, struct policy_host *host)
{
	if (!node || node->kind != NODE_SCALAR || strcmp(node->text, "generated")) {
		secret_read(r, "psk", node, ", or 'generated'", &host->psk);
		return;
	}
	host->psk_generated = true;
	host->psk.place = node->place;
}

static void host_read(struct reader *r, const struct node *node, struct policy_subsystem *s)
{
	struct host_text text = {.nqn = node};
	struct policy_host *host;
	size_t i;

	if (node->kind == NODE_MAPPING) {
		text.nqn = NULL;
		if (!reader_mapping(r, node, "host", host_fields, &text))
			return;
	}
	if (!text.nqn || !reader_nqn(r, text.nqn, "host"))
		return;
	for (i = 0; i < s->n_hosts; i++) {
		if (!strcmp(s->hosts[i].nqn, text.nqn->text))
			reader_error(r, text.nqn, "host '%s' is here twice, first on line %u; remove one",
				     text.nqn->text, s->hosts[i].place.line);
	}
	host = reader_add(r, &s->hosts, &s->n_hosts, sizeof(*host));
	if (!host)
		return;
	host->place = text.nqn->place;
	host->nqn = reader_strdup(r, text.nqn->text);
	secret_read(r, "dhchap-key", text.dhchap_key, "", &host->dhchap_key);
	secret_read(r, "dhchap-controller-key", text.dhchap_controller_key, "", &host->dhchap_controller_key);
	psk_read(r, text.psk, host);
	if (text.dhchap_controller_key && !text.dhchap_key)
		reader_error(r, text.dhchap_controller_key,
			     "dhchap-controller-key is asked for by hosts that prove themselves; add 'dhchap-key'");
	if (host->psk_generated && !text.dhchap_key)
		reader_error(r, text.psk, "psk: generated is a key that authentication makes; add 'dhchap-key'");
}

/* The first psk of any host, or the first generated one; NULL: there is none. */
static const struct policy_secret *any_psk(const struct policy_storage *storage, bool generated)
{
	size_t i, k;

	for (i = 0; i < storage->n_subsystems; i++) {
		for (k = 0; k < storage->subsystems[i].n_hosts; k++) {
			const struct policy_host *host = &storage->subsystems[i].hosts[k];

			if (host->psk_generated || (host->psk.path && !generated))
				return &host->psk;
		}
	}
	return NULL;
}

void check_tls(struct reader *r, const struct policy_storage *storage)
{
	const struct policy_secret *psk = any_psk(storage, false), *generated = any_psk(storage, true);
	const struct policy_portal *portal = NULL;
	bool allowed = false;
	struct node at = {};
	size_t i;

	if (r->wrong)
		return; /* what is missing may be what is wrong */

	for (i = 0; i < storage->n_portals; i++) {
		if (storage->portals[i].tls && !portal)
			portal = &storage->portals[i];
		allowed |= storage->portals[i].tls == POLICY_TLS_ALLOWED;
	}
	if (portal && !psk) {
		at.place = portal->place;
		reader_error(r, &at,
			     "portal has 'tls', and no host has a 'psk' to come with; add one, or remove 'tls'");
	} else if (psk && !portal) {
		at.place = psk->place;
		reader_error(r, &at,
			     "psk is for TLS, which no portal has; add 'tls: allowed' or 'tls: required' to one");
	} else if (generated && !allowed) {
		at.place = generated->place;
		reader_error(r, &at,
			     "psk: generated is made on a connection without TLS, which every portal with 'tls' "
			     "refuses; write 'tls: allowed' at one");
	}
}

void read_hosts(struct reader *r, const struct node *node, struct policy_subsystem *s)
{
	size_t i;

	s->any_host = !node || (node->kind == NODE_SCALAR && !strcmp(node->text, "any"));
	if (s->any_host)
		return;
	if (node->kind != NODE_LIST) {
		reader_error(r, node, "hosts must be 'any' or a list of host NQNs");
		return;
	}
	for (i = 0; i < node->n_children; i++)
		host_read(r, &node->children[i], s);
}
