// SPDX-License-Identifier: Apache-2.0
/*
 * The userspace twin of bpf/classify.h: the same tables in the same steps, four array walks and no rule. Called by
 * tests, which hold it against explain.c, and by whoever wants a verdict of compiled tables without a kernel.
 */
#include <netinet/in.h>

#include "policy/model.h"

/* Walks 8 bits a step from byte `at` of the address, after a root of 16 bits. */
static uint32_t trie_lookup(const struct policy_words *words, uint32_t word, const uint8_t *byte)
{
	if (!(word & SLUICE_TRIE_CHILD))
		return word;
	word = words->word[((size_t)(word & ~SLUICE_TRIE_CHILD) + byte[0]) * SLUICE_PAGE_WORDS + byte[1]];
	for (byte += 2; word & SLUICE_TRIE_CHILD; byte++)
		word = words->word[(size_t)(word & ~SLUICE_TRIE_CHILD) * SLUICE_PAGE_WORDS + *byte];
	return word;
}

static const struct sluice_class *address_class(const struct policy_tables *t, uint16_t tenant, const uint8_t addr[16])
{
	const struct sluice_tenant *tenants = &t->tenants[tenant];

	if (policy_address_is_ipv4(addr))
		return &t->classes[trie_lookup(&t->prefix4, tenants->root4, addr + 12)];
	return &t->classes[trie_lookup(&t->prefix6, tenants->root6, addr)];
}

static uint32_t service_class(const struct policy_tables *t, const struct policy_query *q)
{
	const struct sluice_protocol *p = &t->protocols[q->protocol];
	size_t dest = 0, source = 0;

	if (p->dport_table != SLUICE_NO_TABLE)
		dest = t->ports.word[(size_t)p->dport_table << 16 | q->dest_port];
	if (p->sport_table != SLUICE_NO_TABLE)
		source = t->ports.word[(size_t)p->sport_table << 16 | q->source_port];
	return t->services.word[p->service + dest * p->source_classes + source];
}

size_t policy_tables_chain(const struct policy_tables *t, const struct policy_query *q,
			   uint32_t ret_rules[SLUICE_AUDITS_MAX + 1])
{
	const struct sluice_class *source = address_class(t, q->tenant, q->source);
	const struct sluice_class *dest = address_class(t, q->tenant, q->dest);
	size_t pair = t->pairs.word[(size_t)source->source * t->head.dest_classes + dest->dest];
	uint32_t word = t->verdicts.word[pair * t->head.service_classes + service_class(t, q)];
	const uint32_t *audit;
	size_t n = 0;

	if (word & SLUICE_VERDICT_CHAIN) {
		audit = &t->audits.word[word & ~SLUICE_VERDICT_CHAIN];
		for (; *audit & SLUICE_VERDICT_CHAIN; audit++)
			ret_rules[n++] = *audit & ~SLUICE_VERDICT_CHAIN;
		word = *audit;
	}
	ret_rules[n] = word;
	return n;
}

size_t policy_tables_lookup(const struct policy_tables *t, const struct policy_query *q)
{
	uint32_t rules[SLUICE_AUDITS_MAX + 1];
	size_t n = policy_tables_chain(t, q, rules);

	return rules[n];
}

bool policy_tables_may_enter(const struct policy_tables *t, const struct policy_query *q, unsigned int slot)
{
	return address_class(t, q->tenant, q->source)->antispoof >> slot & 1;
}
