// SPDX-License-Identifier: Apache-2.0
/*
 * Secure channel concatenation without a connection: from session key and challenges to the PSK of TLS, by vectors that
 * an independent program made and by those of Linux; both ends of DH-HMAC-CHAP over all that makes a PSK; what is
 * refused; and the list of keys that a target keeps.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dhchap_pair.h"
#include "nvme/dhchap_message.h"
#include "nvme/tls_psk.h"
#include "storage/generated_keys.h"

struct vector {
	uint8_t hash, how;
	const char *ks, *c1, *c2, *r1, *psk, *identities[2], *tls[2];
};

#include "concatenation_vectors.h"

/* ---- vectors ---- */

static struct dhchap_session session_of(uint8_t hash, const void *ks, const void *c1, const void *c2)
{
	struct dhchap_session s = {.hash = hash, .hash_len = (uint8_t)dhchap_hash_len(hash)};

	memcpy(s.secret, ks, s.hash_len);
	memcpy(s.c1, c1, s.hash_len);
	memcpy(s.c2, c2, s.hash_len);
	return s;
}

Test(concatenation, vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct dhchap_key key = {.len = 32};
		struct dhchap_session s = session_of(v->hash, v->ks, v->c1, v->c2);
		uint8_t r1[DHCHAP_HASH_MAX];
		struct dhchap_psk psk;
		struct tls_psk tls;

		memcpy(key.bytes, VECTOR_KEY, 32);
		s.parties = (struct dhchap_parties){VECTOR_HOST, VECTOR_SUBSYSTEM, &key, NULL};
		s.group = DHCHAP_FFDHE2048;
		s.tid = VECTOR_TID;
		s.s1 = VECTOR_S1;
		s.concatenation = v->how;
		cr_assert_eq(dhchap_response_host(&s, r1), 0);
		cr_expect_arr_eq(r1, v->r1, s.hash_len, "R1 of row %zu", i);
		cr_assert_eq(dhchap_psk_make(&s, &psk), 0);
		cr_assert_eq(psk.len, s.hash_len);
		cr_expect_arr_eq(psk.bytes, v->psk, psk.len, "PSK of row %zu", i);
		for (int version = 0; version < TLS_PSK_VERSIONS; version++) {
			cr_assert_eq(
				tls_psk_generated(psk.bytes, psk.len, VECTOR_HOST, VECTOR_SUBSYSTEM, version, &tls), 0);
			cr_expect_str_eq(tls.identity, v->identities[version]);
			cr_expect_eq(tls.hash, v->hash);
			cr_assert_eq(tls.len, psk.len);
			cr_expect_arr_eq(tls.bytes, v->tls[version], tls.len, "row %zu, version %d", i, version);
		}
	}
}

/* What Linux (drivers/nvme/common) states for a session key of 'A' on, and challenges of 0 on and of 255 down. */
static const struct {
	uint8_t hash;
	const char *psk, *identity, *tls; /* NULL: there is none of this hash */
} of_linux[] = {
	{DHCHAP_SHA256,
	 "\x17\x33\xc5\x9f\xa7\xf4\x8f\xcf\x37\xf5\xf2\x6f\xc4\xff\x02\x68"
	 "\xad\x4f\x78\xe0\x30\xf4\xf3\xb0\xbf\xd1\xd4\x7e\x7b\xb1\x44\x7a",
	 "NVMe1G01 hostnqn subsysnqn OldoKuTfKddMuyCznAZojkWD7P4D9/AtzDzLimtOxqI=",
	 "\x3c\x17\xda\x62\x84\x74\xa0\x4d\x22\x47\xc4\xca\xb4\x79\x68\xc9"
	 "\x15\x38\x81\x93\xf7\xc0\x71\xbd\x94\x89\xcc\x36\x66\xcd\x7c\xc8"},
	{DHCHAP_SHA384,
	 "\xf1\x4b\x2d\xd3\x23\x4c\x45\x96\x94\xd3\xbc\x63\xf8\x96\x8b\xd6"
	 "\xb3\x7c\x2c\x6d\xe8\x49\xe2\x2e\x11\x87\x49\x00\x1c\xe4\xbb\xe8"
	 "\x64\x0b\x9e\x3a\x74\x8c\xb1\x1c\xe4\xb1\xd7\x1d\x35\x9c\xce\x39",
	 "NVMe1G02 hostnqn subsysnqn cffMWk8TSS7HOQebjgYEIkrPrjWPV4JE5cdPB8WhEvY4JBW5YynKyv66XscN4A9n",
	 "\x27\x74\x75\x32\x33\x53\x7b\x3f\xa5\x0e\xb7\xd1\x6a\x8e\x43\x45"
	 "\x7d\x85\xf4\x90\x6c\x00\x5b\x22\x36\x61\x6c\x5d\x80\x93\x9d\x08"
	 "\x98\xff\xf1\x5b\xb8\xb7\x71\x19\xd2\xbe\x0a\xac\x42\x3e\x75\x90"},
	{DHCHAP_SHA512,
	 "\x9c\x9f\x08\x9a\x61\x8b\x47\xd2\xd7\x5f\x4b\x6c\x28\x07\x04\x24"
	 "\x48\x7b\x44\x5d\xd9\x6e\x70\xc4\xc0\x9b\x55\xe8\xb6\x00\x01\x52"
	 "\xa3\x36\x3c\x34\x54\x04\x3f\x38\xf0\xb8\x50\x36\xde\xd4\x06\x55"
	 "\x35\x0a\xa8\x7b\x8b\x6a\x28\x2b\x5c\x1a\xca\xe1\x62\x33\xdd\x5b",
	 NULL, NULL},
};

Test(concatenation, as_linux)
{
	uint8_t ks[DHCHAP_HASH_MAX], c1[DHCHAP_HASH_MAX], c2[DHCHAP_HASH_MAX];

	for (int i = 0; i < DHCHAP_HASH_MAX; i++) {
		ks[i] = (uint8_t)('A' + i);
		c1[i] = (uint8_t)i;
		c2[i] = (uint8_t)(0xff - i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(of_linux); i++) {
		struct dhchap_session s = session_of(of_linux[i].hash, ks, c1, c2);
		struct tls_psk tls = {.len = 99};
		struct dhchap_psk psk;
		int r;

		cr_assert_eq(dhchap_psk_make(&s, &psk), 0);
		cr_expect_arr_eq(psk.bytes, of_linux[i].psk, psk.len, "row %zu", i);
		r = tls_psk_generated(psk.bytes, psk.len, "hostnqn", "subsysnqn", 1, &tls);
		if (!of_linux[i].tls) {
			cr_expect_eq(r, -EINVAL, "no cipher suite goes with SHA-512");
			cr_expect_eq(tls.len, 99, "touched on failure");
			continue;
		}
		cr_assert_eq(r, 0);
		cr_expect_str_eq(tls.identity, of_linux[i].identity);
		cr_expect_arr_eq(tls.bytes, of_linux[i].tls, tls.len, "row %zu", i);
	}
}

/* ---- both ends ---- */

#define NEW	(1u << DHCHAP_NEWTLSPSK)
#define REPLACE (1u << DHCHAP_REPLACETLSPSK)
#define NONE	(1u << DHCHAP_NOSC)

static void pair_make(struct pair *p, unsigned int hashes, unsigned int groups, uint8_t how, unsigned int taken)
{
	*p = (struct pair){.host_key = {.len = 32, .bytes = "one"}, .controller_key = {.len = 32, .bytes = "two"}};
	p->controller.parties =
		(struct dhchap_parties){VECTOR_HOST, VECTOR_SUBSYSTEM, &p->host_key, &p->controller_key};
	p->controller.hashes = DHCHAP_ALL_HASHES;
	p->controller.groups = DHCHAP_ALL_GROUPS;
	p->controller.concatenations = taken;
	p->host.parties = p->controller.parties;
	p->host.parties.controller = NULL;
	p->host.hashes = hashes;
	p->host.groups = groups;
	p->host.concatenation = how;
	p->host.tid = 0x1234;
}

Test(concatenation, agree_on_a_key)
{
	uint8_t last[DHCHAP_HASH_MAX] = {0};

	for (unsigned int hash = DHCHAP_SHA256; hash <= DHCHAP_SHA384; hash++) {
		for (unsigned int group = DHCHAP_FFDHE2048; group < DHCHAP_GROUPS; group++) {
			for (int mutual = 0; mutual < 2; mutual++) {
				uint8_t how = group % 2 ? DHCHAP_NEWTLSPSK : DHCHAP_REPLACETLSPSK;
				struct pair p;

				pair_make(&p, 1u << hash, 1u << group, how, NEW | REPLACE);
				if (mutual)
					p.host.parties.controller = &p.controller_key;
				cr_expect_eq(pair_run(&p), mutual ? 5 : 4, "SUCCESS2 is for an R2 alone");
				cr_assert(p.host.step == DHCHAP_DONE && p.controller.step == DHCHAP_DONE &&
						  p.controller.authenticated,
					  "%s %s", dhchap_hash_name((uint8_t)hash), dhchap_group_name((uint8_t)group));
				cr_assert_eq(p.host.psk.len, dhchap_hash_len((uint8_t)hash));
				cr_assert_eq(p.controller.psk.len, p.host.psk.len);
				cr_expect_arr_eq(p.controller.psk.bytes, p.host.psk.bytes, p.host.psk.len);
				cr_expect_neq(memcmp(last, p.host.psk.bytes, 32), 0, "the same key twice");
				memcpy(last, p.host.psk.bytes, 32);
				pair_end(&p);
				cr_expect_eq(p.host.psk.len | p.controller.psk.len, 0, "not wiped");
			}
		}
	}
}

static const struct {
	const char *name;
	unsigned int hashes, groups;
	uint8_t how;
	unsigned int taken;
	uint8_t fault; /* DHCHAP_FINE: it succeeds */
} choices[] = {
	{"none, and none is wanted", DHCHAP_ALL_HASHES, 1 << DHCHAP_NULL, DHCHAP_NOSC, 0, DHCHAP_FINE},
	{"none, where one must be", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, DHCHAP_NOSC, NEW, DHCHAP_NO_CONCATENATION},
	{"none, where one may be", DHCHAP_ALL_HASHES, 1 << DHCHAP_NULL, DHCHAP_NOSC, NONE | REPLACE, DHCHAP_FINE},
	{"one, where none is made", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, DHCHAP_NEWTLSPSK, 0, DHCHAP_NO_CONCATENATION},
	{"new, by TLS", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, DHCHAP_NEWTLSPSK, NONE | REPLACE,
	 DHCHAP_NO_CONCATENATION},
	{"replaced, without TLS", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, DHCHAP_REPLACETLSPSK, NEW,
	 DHCHAP_NO_CONCATENATION},
	{"obsolete", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, 1, NONE | NEW | REPLACE, DHCHAP_NO_CONCATENATION},
	{"reserved", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, 4, ~0u, DHCHAP_NO_CONCATENATION},
	{"reserved, beyond all bits", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, 0xff, ~0u, DHCHAP_NO_CONCATENATION},
	{"a hash without a cipher suite", 1 << DHCHAP_SHA512, DHCHAP_ALL_GROUPS, DHCHAP_NEWTLSPSK, NEW, DHCHAP_NO_HASH},
	{"the null group", DHCHAP_ALL_HASHES, 1 << DHCHAP_NULL, DHCHAP_NEWTLSPSK, NEW, DHCHAP_NO_GROUP},
	{"all that Linux offers", DHCHAP_ALL_HASHES, DHCHAP_ALL_GROUPS, DHCHAP_NEWTLSPSK, NEW, DHCHAP_FINE},
};

Test(concatenation, choices)
{
	for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
		struct pair p;

		pair_make(&p, choices[i].hashes, choices[i].groups, choices[i].how, choices[i].taken);
		pair_step(&p);
		cr_expect_eq(p.controller.session.hash == DHCHAP_SHA384,
			     choices[i].how && choices[i].fault == DHCHAP_FINE, "%s: the best hash that a key can have",
			     choices[i].name);
		pair_run(&p);
		cr_expect_eq(p.controller.authenticated, !choices[i].fault, "%s", choices[i].name);
		cr_expect_eq(p.controller.fault, choices[i].fault, "%s: %s", choices[i].name,
			     dhchap_fault_name(p.controller.fault));
		cr_expect(p.host.fault == choices[i].fault && p.host.fault_is_theirs == !!choices[i].fault, "%s",
			  choices[i].name);
		cr_expect_eq(!!p.controller.psk.len, choices[i].how && !choices[i].fault, "%s", choices[i].name);
		pair_end(&p);
	}
}

/* A REPLY, one thing of it changed; offsets as in struct dhchap_reply. */
static const struct {
	const char *name;
	size_t offset;
	uint8_t value;
	uint8_t fault;
} replies[] = {
	{"no C2", 8, 0, DHCHAP_BAD_PAYLOAD},
	{"C2 perhaps", 8, 2, DHCHAP_BAD_PAYLOAD},
	{"S2: an R2 is wanted after all", 12, 7, DHCHAP_FINE},
	{"another R1", 16, 0, DHCHAP_REJECTED},
};

Test(concatenation, replies)
{
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct pair p;
		uint8_t *at;

		pair_make(&p, 1 << DHCHAP_SHA256, 1 << DHCHAP_FFDHE2048, DHCHAP_NEWTLSPSK, NEW);
		pair_step(&p);
		pair_step(&p);
		p.len = dhchap_host_give(&p.host, p.message);
		at = p.message + replies[i].offset;
		cr_assert(p.message[8] == 1 && !p.message[12] && !p.message[13], "C2 without S2");
		*at = *at == replies[i].value ? (uint8_t)~replies[i].value : replies[i].value;
		dhchap_controller_take(&p.controller, p.message, p.len);
		cr_expect_eq(p.controller.fault, replies[i].fault, "%s", replies[i].name);
		cr_expect_eq(p.controller.psk.len, 0, "%s: a key before SUCCESS1", replies[i].name);
		pair_end(&p);
	}
}

/* The controller's own challenge as C2 would be a PSK that it chose alone. */
Test(concatenation, reflected)
{
	struct pair p;

	pair_make(&p, 1 << DHCHAP_SHA256, 1 << DHCHAP_FFDHE2048, DHCHAP_NEWTLSPSK, NEW);
	pair_step(&p);
	pair_step(&p);
	p.len = dhchap_host_give(&p.host, p.message);
	memcpy(p.message + 16 + 32, p.controller.session.c1, 32);
	dhchap_controller_take(&p.controller, p.message, p.len);
	cr_expect_eq(p.controller.fault, DHCHAP_REJECTED);
	pair_end(&p);
}

/* The host must prove that it wants this very kind: what it asked for is part of R1. */
Test(concatenation, downgraded)
{
	struct pair p;

	pair_make(&p, 1 << DHCHAP_SHA256, 1 << DHCHAP_FFDHE2048, DHCHAP_NEWTLSPSK, NONE | NEW);
	p.len = dhchap_host_give(&p.host, p.message);
	p.message[6] = DHCHAP_NOSC; /* by who sits between the two */
	dhchap_controller_take(&p.controller, p.message, p.len);
	pair_run(&p);
	cr_expect_eq(p.controller.fault, DHCHAP_REJECTED);
	cr_expect_not(p.controller.authenticated);
	pair_end(&p);
}

/* Mutual, and the controller is another: the host has no key, and neither has the controller. */
Test(concatenation, wrong_controller)
{
	struct pair p;

	pair_make(&p, 1 << DHCHAP_SHA384, 1 << DHCHAP_FFDHE3072, DHCHAP_NEWTLSPSK, NEW);
	p.host.parties.controller = &p.host_key;
	pair_run(&p);
	cr_expect_eq(p.host.step, DHCHAP_FAILED);
	cr_expect_eq(p.host.psk.len | p.controller.psk.len, 0);
	cr_expect_not(p.controller.authenticated);
	pair_end(&p);
}

/* ---- the target's list ---- */

#define SECOND 1000000000ull
#define SUB    "nqn.2026-11.io.example:s"

static struct generated_keys keys;

static void keys_begin(void)
{
	keys = (struct generated_keys){.mutex = PTHREAD_MUTEX_INITIALIZER};
}

static void keys_end(void)
{
	generated_keys_clear(&keys);
}

TestSuite(generated_keys, .init = keys_begin, .fini = keys_end);

static struct dhchap_psk psk_of(uint8_t number)
{
	return (struct dhchap_psk){.bytes = {number}, .len = number % 2 ? 32 : 48};
}

static void make(uint8_t number, const char *hostnqn, uint64_t now_ns)
{
	struct dhchap_psk psk = psk_of(number);

	cr_assert_eq(generated_keys_make(&keys, &psk, hostnqn, SUB, now_ns), 0);
}

static struct tls_psk identity_of(uint8_t number, const char *hostnqn, int version)
{
	struct dhchap_psk psk = psk_of(number);
	struct tls_psk tls;

	cr_assert_eq(tls_psk_generated(psk.bytes, psk.len, hostnqn, SUB, version, &tls), 0);
	return tls;
}

static bool there(uint8_t number, const char *hostnqn, uint64_t now_ns)
{
	struct tls_psk tls = identity_of(number, hostnqn, 1);
	struct tls_client client;

	if (!generated_keys_find(&keys, tls.identity, strlen(tls.identity), now_ns, &client))
		return false;
	cr_expect(client.generated);
	cr_expect_str_eq(client.hostnqn, hostnqn);
	cr_expect_str_eq(client.subnqn, SUB);
	cr_expect_eq(client.psk.len, tls.len);
	cr_expect_arr_eq(client.psk.bytes, tls.bytes, tls.len);
	return true;
}

static struct generated_key *take(uint8_t number, const char *hostnqn, uint64_t now_ns)
{
	return generated_keys_take(&keys, identity_of(number, hostnqn, 1).identity, now_ns);
}

Test(generated_keys, wait_and_go)
{
	make(1, "h", 10 * SECOND);
	make(2, "h", 20 * SECOND);
	cr_expect(generated_keys_wait(&keys));
	cr_expect(there(1, "h", 40 * SECOND) && there(2, "h", 40 * SECOND));
	cr_expect(there(1, "h", 9 * SECOND), "the clock of another reactor is a little behind");
	cr_expect_not(there(1, "other", 10 * SECOND));
	cr_expect_not(there(3, "h", 10 * SECOND));
	generated_keys_expire(&keys, 41 * SECOND);
	cr_expect_not(there(1, "h", 30 * SECOND));
	cr_expect(there(2, "h", 50 * SECOND));
	cr_expect_not(there(2, "h", 51 * SECOND), "found, though nobody has cleaned up");
	cr_expect_not(generated_keys_wait(&keys));
	cr_expect_null(take(2, "h", 51 * SECOND));
}

Test(generated_keys, live_as_long_as_they_are_held)
{
	struct generated_key *a, *b;

	make(1, "h", 0);
	a = take(1, "h", SECOND);
	cr_assert_not_null(a);
	cr_expect_not(generated_keys_wait(&keys));
	cr_expect(there(1, "h", 1000 * SECOND));
	b = take(1, "h", 1000 * SECOND);
	cr_expect_eq(a, b);
	generated_keys_give(&keys, a);
	cr_expect(there(1, "h", 1001 * SECOND));
	generated_keys_give(&keys, b);
	cr_expect_not(there(1, "h", 1001 * SECOND));
	generated_keys_give(&keys, NULL);
}

Test(generated_keys, are_replaced)
{
	struct dhchap_psk psk = psk_of(2), next = psk_of(3);
	struct generated_key *a, *b;

	make(1, "h", 0);
	a = take(1, "h", 0);
	b = take(1, "h", 0);
	cr_assert_eq(generated_keys_replace(&keys, &a, &psk, SECOND), 0);
	cr_expect_not(there(1, "h", SECOND), "the old one still does");
	cr_expect(there(2, "h", 1000 * SECOND));
	/* Who came by the old one, too, goes on; and may replace it on its own. */
	cr_assert_eq(generated_keys_replace(&keys, &b, &next, SECOND), 0);
	cr_expect(there(2, "h", SECOND) && there(3, "h", SECOND));
	generated_keys_give(&keys, a);
	generated_keys_give(&keys, b);
	cr_expect_not(there(2, "h", SECOND) || there(3, "h", SECOND));
	cr_expect_null(keys.first);
}

/* More than may wait: the oldest of the same host goes, and no other's. */
Test(generated_keys, are_bounded)
{
	struct generated_key *held;

	make(100, "other", 0);
	make(1, "h", 0);
	held = take(1, "h", 0);
	for (uint8_t i = 2; i < 2 + GENERATED_KEYS_WAITING; i++)
		make(i, "h", i);
	cr_expect(there(2, "h", SECOND), "a held one does not count");
	make(50, "h", 60);
	cr_expect_not(there(2, "h", SECOND));
	for (uint8_t i = 3; i < 2 + GENERATED_KEYS_WAITING; i++)
		cr_expect(there(i, "h", SECOND), "key %d", i);
	cr_expect(there(50, "h", SECOND) && there(1, "h", SECOND) && there(100, "other", SECOND));
	cr_expect_eq(keys.waiting, GENERATED_KEYS_WAITING + 1);
	generated_keys_give(&keys, held);
}

/* Version 0 of the identity says nothing of the key: it is the newest one's. */
Test(generated_keys, version_0_is_the_newest)
{
	struct tls_psk old = identity_of(1, "h", 0), new = identity_of(3, "h", 0);
	struct tls_client client;

	cr_expect_str_eq(old.identity, new.identity);
	make(1, "h", 0);
	make(3, "h", 1);
	cr_assert(generated_keys_find(&keys, old.identity, strlen(old.identity), 2, &client));
	cr_expect_arr_eq(client.psk.bytes, new.bytes, new.len);
	cr_expect_not(generated_keys_find(&keys, old.identity, strlen(old.identity) - 1, 2, &client));
	cr_expect_not(generated_keys_find(&keys, "", 0, 2, &client));
}

/* Names too long for version 0 have version 1 alone, and nothing is found by an empty identity. */
Test(generated_keys, long_names)
{
	struct dhchap_psk psk = psk_of(1);
	char host[224] = {0}, sub[224] = {0};
	struct tls_client client;
	struct tls_psk tls;

	memset(host, 'h', 223);
	memset(sub, 's', 223);
	cr_assert_eq(generated_keys_make(&keys, &psk, host, sub, 0), 0);
	cr_assert_eq(tls_psk_generated(psk.bytes, psk.len, host, sub, 1, &tls), 0);
	cr_expect(generated_keys_find(&keys, tls.identity, strlen(tls.identity), 0, &client));
	cr_expect_not(generated_keys_find(&keys, "", 0, 0, &client));
	psk.len = 64;
	cr_expect_eq(generated_keys_make(&keys, &psk, host, sub, 0), -EINVAL, "SHA-512");
}
