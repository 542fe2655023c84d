// SPDX-License-Identifier: Apache-2.0
/*
 * SHA-256 over what a policy says, in a form that does not depend on how it was written: names of segments and services
 * do not enter, their contents do. Called by sets.c and compile.c.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "policy/compile.h"

struct digest {
	EVP_MD_CTX *evp;
	bool failed;
};

struct digest *digest_new(void)
{
	struct digest *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->evp = EVP_MD_CTX_new();
	if (d->evp && EVP_DigestInit_ex(d->evp, EVP_sha256(), NULL))
		return d;
	digest_free(d);
	return NULL;
}

void digest_free(struct digest *d)
{
	if (d)
		EVP_MD_CTX_free(d->evp);
	free(d);
}

void digest_freep(struct digest **d)
{
	digest_free(*d);
}

void digest_bytes(struct digest *d, const void *data, size_t length)
{
	if (!EVP_DigestUpdate(d->evp, data, length))
		d->failed = true;
}

/* Little endian, so that every machine gets the same digest. */
void digest_number(struct digest *d, uint64_t number)
{
	uint8_t bytes[8];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(number >> 8 * i);
	digest_bytes(d, bytes, sizeof(bytes));
}

void digest_string(struct digest *d, const char *text)
{
	digest_number(d, strlen(text));
	digest_bytes(d, text, strlen(text));
}

int digest_finish(struct digest *d, uint8_t ret_digest[32])
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (!EVP_DigestFinal_ex(d->evp, digest, NULL))
		d->failed = true;
	/* Ready for the next one. */
	if (!EVP_DigestInit_ex(d->evp, EVP_sha256(), NULL) || d->failed)
		return -ENOMEM;
	memcpy(ret_digest, digest, 32);
	return 0;
}

static void digest_interfaces(struct digest *d, const struct policy *p)
{
	const struct policy_interface *interface;
	size_t i, k;

	digest_number(d, p->n_interfaces);
	for (i = 0; i < p->n_interfaces; i++) {
		interface = &p->interfaces[i];
		digest_string(d, interface->name);
		digest_number(d, interface->attach);
		digest_number(d, interface->tenant);
		digest_number(d, interface->antispoof);
		digest_number(d, interface->n_vlans);
		for (k = 0; k < interface->n_vlans; k++)
			digest_number(d, (uint64_t)interface->vlans[k].id << 16 | interface->vlans[k].tenant);
		/* In one number, so that policies without them keep the digest that they always had. */
		digest_number(d, interface->n_vnis | (uint64_t)!!interface->wire << 32 | (uint64_t)interface->forward << 33);
		for (k = 0; k < interface->n_vnis; k++)
			digest_number(d, (uint64_t)interface->vnis[k].id << 16 | interface->vnis[k].tenant);
		if (interface->wire)
			digest_string(d, interface->wire);
	}
}

static void digest_items(struct digest *d, const struct policy_service *service)
{
	const struct policy_item *item;
	size_t i;

	digest_number(d, service->n_items);
	for (i = 0; i < service->n_items; i++) {
		item = &service->items[i];
		digest_number(d, (uint64_t)item->protocol << 32 | (uint32_t)item->dest_first << 16 | item->dest_last);
	}
}

static void digest_host(struct digest *d, const struct policy_host *h)
{
	const char *const secrets[] = {h->dhchap_key.path, h->dhchap_controller_key.path,
				       h->psk_generated ? "generated" : h->psk.path}; /* others are absolute */
	size_t i;

	digest_string(d, h->nqn);
	for (i = 0; i < ARRAY_SIZE(secrets); i++)
		digest_string(d, secrets[i] ? secrets[i] : "");
}

static void digest_subsystem(struct digest *d, const struct policy_subsystem *s)
{
	size_t i;

	digest_string(d, s->nqn);
	digest_number(d, s->any_host);
	digest_number(d, s->n_hosts);
	for (i = 0; i < s->n_hosts; i++)
		digest_host(d, &s->hosts[i]);
	digest_number(d, s->n_namespaces);
	for (i = 0; i < s->n_namespaces; i++) {
		digest_number(d, (uint64_t)s->namespaces[i].id << 32 | s->namespaces[i].block);
		digest_number(d, (uint64_t)s->namespaces[i].backend << 1 | s->namespaces[i].readonly);
		digest_number(d, s->namespaces[i].size);
		digest_string(d, s->namespaces[i].path ? s->namespaces[i].path : "");
	}
}

static void digest_limit(struct digest *d, const struct policy_storage_limit *l)
{
	size_t i;

	digest_string(d, l->name);
	digest_number(d, l->any_host);
	digest_number(d, l->n_hosts);
	for (i = 0; i < l->n_hosts; i++)
		digest_string(d, l->hosts[i]);
	digest_string(d, l->subsystem ? l->subsystem : "");
	digest_number(d, (uint64_t)l->nsid << 1 | !l->from);
	digest_number(d, l->iops);
	digest_number(d, l->bandwidth);
	digest_number(d, l->n_sources);
	for (i = 0; i < l->n_sources; i++)
		digest_bytes(d, &l->sources[i], sizeof(l->sources[i]));
}

static void digest_storage(struct digest *d, const struct policy_storage *s)
{
	size_t i;

	digest_number(d, s->n_portals);
	for (i = 0; i < s->n_portals; i++) {
		digest_string(d, s->portals[i].address);
		digest_number(d, (uint64_t)s->portals[i].tls << 16 | s->portals[i].port);
	}
	digest_number(d, s->steering);
	digest_number(d, s->reactors_auto);
	digest_number(d, s->n_reactors);
	for (i = 0; i < s->n_reactors; i++)
		digest_number(d, s->reactors[i]);
	digest_number(d, (uint64_t)s->transport.in_capsule << 32 | s->transport.max_h2c_data);
	digest_number(d, (uint64_t)s->transport.r2t << 32 | s->transport.r2ts << 16 | s->transport.alignment);
	digest_number(d, s->n_subsystems);
	for (i = 0; i < s->n_subsystems; i++)
		digest_subsystem(d, &s->subsystems[i]);
	/* Nothing at all where there are none, so that policies without them keep the digest that they always had. */
	for (i = 0; i < s->n_limits; i++)
		digest_limit(d, &s->limits[i]);
}

void digest_policy(struct digest *d, const struct policy *p)
{
	size_t i;

	digest_string(d, p->name);
	digest_number(d, p->audit);
	digest_number(d, p->default_allow);
	digest_number(d, p->n_tenants);
	for (i = 0; i < p->n_tenants; i++)
		digest_string(d, p->tenants[i]);
	digest_interfaces(d, p);
	digest_items(d, p->failsafe);
	digest_number(d, p->conntrack.max);
	digest_number(d, p->conntrack.on_full_stateless);
	digest_number(d, p->conntrack.syn_cookies);
	digest_number(d, p->conntrack.syn_threshold);
	digest_number(d, p->conntrack.syn_per_source);
	for (i = 0; i < SLUICE_TIMEOUT_COUNT; i++)
		digest_number(d, p->conntrack.timeout_ns[i]);
	digest_storage(d, &p->storage);
}
