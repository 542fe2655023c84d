// SPDX-License-Identifier: Apache-2.0
/*
 * Files of secrets → keys. Called once at the target's start, and by the initiator's command line. What always holds:
 * texts of secrets live on the stack of one function and are wiped there.
 */
#include "storage/host_keys.h"

#include <errno.h>
#include <stdlib.h>

#include "base/secret.h"

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

/* One key of a policy. *ret_has stays false where it names none. */
static int key_read(const struct policy_secret *secret, const char *name, struct dhchap_key *ret_key, bool *ret_has,
		    struct error *err)
{
	const struct policy_place *at = &secret->place;
	struct error why = {0};
	int r;

	if (!secret->path)
		return 0;
	r = host_key_read_file(secret->path, ret_key, &why);
	if (r && at->file)
		return error_set(err, -r, "%s:%u:%u: %s %s", at->file, at->line, at->column, name, why.text);
	if (r)
		return error_set(err, -r, "%s %s", name, why.text);
	*ret_has = true;
	return 0;
}

static bool names_any(const struct policy_subsystem *s)
{
	bool any = false;

	for (size_t i = 0; i < s->n_hosts; i++)
		any |= s->hosts[i].dhchap_key.path != NULL;
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
	if (keys)
		secret_wipe(keys, n * sizeof(*keys));
	free(keys);
}
