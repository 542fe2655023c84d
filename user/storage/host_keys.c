// SPDX-License-Identifier: Apache-2.0
/*
 * Files of secrets → keys. Called when the target starts or follows a changed policy, and by the initiator's command
 * line. What always holds: texts of secrets live on the stack of one function and are wiped there.
 */
#include "storage/host_keys.h"

#include <errno.h>
#include <stdlib.h>

#include "base/secret.h"
#include "nvme/fabrics.h"

int host_key_read_file(const char *path, struct dhchap_key *ret_key, struct error *err)
{
	char text[SECRET_MAX];
	struct error why = {0};
	int r = secret_read(path, text, err);

	if (r)
		return r;
	r = dhchap_key_parse(text, ret_key, &why);
	secret_wipe(text, sizeof(text));
	return r ? error_set(err, -r, "%s: %s", path, why.text) : 0;
}

int host_psk_read_file(const char *path, struct tls_psk_key *ret_key, struct error *err)
{
	char text[SECRET_MAX];
	struct error why = {0};
	int r = secret_read(path, text, err);

	if (r)
		return r;
	r = tls_psk_parse(text, ret_key, &why);
	secret_wipe(text, sizeof(text));
	return r ? error_set(err, -r, "%s: %s", path, why.text) : 0;
}

/* What went wrong with a policy's secret, behind its place. */
static int fault(const struct policy_secret *secret, const char *name, int r, const struct error *why,
		 struct error *err)
{
	const struct policy_place *at = &secret->place;

	if (at->file)
		return error_set(err, -r, "%s:%u:%u: %s %s", at->file, at->line, at->column, name, why->text);
	return error_set(err, -r, "%s %s", name, why->text);
}

/* One key of a policy. *ret_has stays false where it names none. */
static int key_read(const struct policy_secret *secret, const char *name, struct dhchap_key *ret_key, bool *ret_has,
		    struct error *err)
{
	struct error why = {0};
	int r;

	if (!secret->path)
		return 0;
	r = host_key_read_file(secret->path, ret_key, &why);
	if (r)
		return fault(secret, name, r, &why, err);
	*ret_has = true;
	return 0;
}

static int psks_derive(const struct tls_psk_key *key, const char *hostnqn, const char *subnqn,
		       struct host_psks *ret_psks)
{
	const char *const subnqns[] = {subnqn, NVME_DISCOVERY_NQN};
	int r;

	for (int i = 0; i < 2; i++) {
		for (int version = 0; version <= TLS_PSK_BARE; version++) {
			r = tls_psk_derive(key, hostnqn, subnqns[i], version, &ret_psks->psks[ret_psks->n]);
			if (!r)
				ret_psks->discovery[ret_psks->n++] = i;
			else if (r != -ENAMETOOLONG || version) /* version 0 has no room; such hosts use 1 */
				return r;
		}
	}
	return 0;
}

static int psk_read(const struct policy_secret *secret, const char *hostnqn, const char *subnqn,
		    struct host_psks **ret_psks, struct error *err)
{
	struct error why = {0};
	struct tls_psk_key key;
	int r;

	if (!secret->path)
		return 0;
	r = host_psk_read_file(secret->path, &key, &why);
	if (r)
		return fault(secret, "psk", r, &why, err);
	*ret_psks = calloc(1, sizeof(**ret_psks));
	r = *ret_psks ? psks_derive(&key, hostnqn, subnqn, *ret_psks) : -ENOMEM;
	secret_wipe(&key, sizeof(key));
	return r ? error_system(err, -r, "psk of %s", hostnqn) : 0;
}

static bool names_any(const struct policy_subsystem *s)
{
	bool any = false;

	for (size_t i = 0; i < s->n_hosts; i++)
		any |= s->hosts[i].dhchap_key.path || s->hosts[i].psk.path;
	return any;
}

int host_keys_read(const struct policy_subsystem *s, struct host_keys **ret_keys, struct error *err)
{
	struct host_keys *keys;
	int r = 0;

	*ret_keys = NULL;
	if (!names_any(s))
		return 0;
	keys = calloc(s->n_hosts, sizeof(*keys));
	if (!keys)
		return error_system(err, ENOMEM, "keys of %s", s->nqn);
	for (size_t i = 0; i < s->n_hosts && !r; i++) {
		const struct policy_host *h = &s->hosts[i];

		r = key_read(&h->dhchap_key, "dhchap-key", &keys[i].host, &keys[i].has_host, err);
		if (!r)
			r = key_read(&h->dhchap_controller_key, "dhchap-controller-key", &keys[i].controller,
				     &keys[i].has_controller, err);
		if (!r)
			r = psk_read(&h->psk, h->nqn, s->nqn, &keys[i].tls, err);
		keys[i].generated = h->psk_generated;
	}
	if (r) {
		host_keys_free(keys, s->n_hosts);
		return r;
	}
	*ret_keys = keys;
	return 0;
}

void host_keys_free(struct host_keys *keys, size_t n)
{
	for (size_t i = 0; keys && i < n; i++) {
		if (keys[i].tls)
			secret_wipe(keys[i].tls, sizeof(*keys[i].tls));
		free(keys[i].tls);
	}
	if (keys)
		secret_wipe(keys, n * sizeof(*keys));
	free(keys);
}
