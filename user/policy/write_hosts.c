// SPDX-License-Identifier: Apache-2.0
/*
 * `hosts:` of a subsystem as write.c writes it: what yaml_hosts.c reads back. Names of files only, never what is in
 * them.
 */
#include "policy/write.h"

static void secret_write(FILE *out, const char *key, const struct policy_secret *secret)
{
	if (!secret->path)
		return;
	fprintf(out, ", %s: ", key);
	scalar_write(out, secret->path);
}

/* A host with its files takes a line of its own; without them hosts are a list on one. */
void hosts_write(FILE *out, const struct policy_subsystem *s)
{
	bool plain = true;
	struct list l;
	size_t i;

	for (i = 0; i < s->n_hosts; i++)
		plain &= !s->hosts[i].dhchap_key.path && !s->hosts[i].psk.path;
	if (plain) {
		list_begin(&l, out, 8, "      hosts: ", "[]");
		for (i = 0; i < s->n_hosts; i++)
			list_add_scalar(&l, s->hosts[i].nqn);
		list_end(&l);
		return;
	}
	fputs("      hosts:\n", out);
	for (i = 0; i < s->n_hosts; i++) {
		fputs("        - {nqn: ", out);
		scalar_write(out, s->hosts[i].nqn);
		secret_write(out, "dhchap-key", &s->hosts[i].dhchap_key);
		secret_write(out, "dhchap-controller-key", &s->hosts[i].dhchap_controller_key);
		secret_write(out, "psk", &s->hosts[i].psk);
		if (s->hosts[i].psk_generated)
			fputs(", psk: generated", out);
		fputs("}\n", out);
	}
}
