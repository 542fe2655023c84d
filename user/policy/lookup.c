// SPDX-License-Identifier: Apache-2.0
/*
 * The userspace twin of bpf/classify.h: the same tables in the same steps, and no rule. Called by tests, which hold it
 * against explain.c, and by whoever wants a verdict of compiled tables without a kernel.
 */
#include <netinet/in.h>
#include <string.h>

#include "policy/model.h"
#include "policy/ranges.h"

static bool skip_fits(const struct sluice_skip *skip, address_t key)
{
	return (uint64_t)(key >> 64) >> (64 - skip->bits) == skip->value >> (64 - skip->bits);
}

/* One step from a skip. */
static uint32_t skip_word(const uint32_t *node, address_t *key)
{
	struct sluice_skip skip;

	memcpy(&skip, node, sizeof(skip));
	if (!skip_fits(&skip, *key))
		return skip.other;
	*key <<= skip.bits;
	return skip.equal;
}

/* Walks from the trie word of a decision to its leaf; the key's bits are used from the top. */
static uint32_t trie_walk(const struct policy_words *words, uint32_t word, address_t key)
{
	const uint32_t *node;
	unsigned int stride;

	while (word & SLUICE_TRIE_CHILD) {
		stride = (word & ~SLUICE_TRIE_CHILD) >> SLUICE_TRIE_STRIDE;
		node = words->word + (size_t)(word & SLUICE_TRIE_PLACE) * 8;
		if (stride) {
			word = node[(size_t)(key >> (128 - stride))];
			key <<= stride;
			continue;
		}
		word = skip_word(node, &key);
	}
	return word;
}

/* ---------------------------------------------------------------------- addresses */

/* Edges at or below the next 15 bits of the key. */
static unsigned int list_place(const struct sluice_line_list *list, address_t key)
{
	uint64_t digit = (uint64_t)(key >> (128 - SLUICE_LIST_BITS));
	unsigned int i, place = 0;

	for (i = 0; i < SLUICE_LIST_EDGES; i++)
		place += (list->edges[i / 4] >> 16 * (i % 4) & 0xffff) <= digit;
	return place;
}

/* The class of the first prefix that fits. */
static uint32_t match_class(const struct sluice_line_match *match, address_t key)
{
	uint64_t bits = (uint64_t)(key >> 64), rest = (uint64_t)(key >> 1);
	unsigned int i;

	for (i = 0; i < SLUICE_MATCH_PREFIXES; i++) {
		if ((bits ^ match->value[i]) >> match->shift[i])
			continue;
		if (i >= SLUICE_MATCH_TAILS || !((rest ^ match->tail[i]) >> match->tail_shift[i] >> 1))
			break;
	}
	return match->class[i];
}

/* The line of a group that the next bits say; they are used up. */
static const uint32_t *group_line(const uint32_t *node, unsigned int bits, address_t *key)
{
	if (bits) {
		node += (size_t)(*key >> (128 - bits)) << SLUICE_LINE_SHIFT;
		*key <<= bits;
	}
	return node;
}

static uint32_t lines_walk(const struct policy_words *lines, uint32_t word, address_t key)
{
	const struct sluice_line_list *list;
	const uint32_t *node;
	unsigned int kind;

	while (word & SLUICE_TRIE_CHILD) {
		kind = (word & ~SLUICE_TRIE_CHILD) >> SLUICE_TRIE_STRIDE;
		node = lines->word + ((size_t)(word & SLUICE_TRIE_PLACE) << SLUICE_LINE_SHIFT);
		if (kind <= SLUICE_STRIDE_MAX) {
			word = node[(size_t)(key >> (128 - kind))];
			key <<= kind;
		} else if (kind < SLUICE_LINE_MATCH) {
			list = (const void *)group_line(node, kind - SLUICE_LINE_LIST, &key);
			word = list->class[list_place(list, key)];
		} else if (kind < SLUICE_LINE_SKIP) {
			node = group_line(node, kind - SLUICE_LINE_MATCH, &key);
			word = match_class((const void *)node, key);
		} else {
			word = skip_word(node, &key);
		}
	}
	return word;
}

static const struct sluice_class *address_class(const struct policy_tables *t, uint16_t tenant, const uint8_t addr[16])
{
	const struct sluice_tenant *tenants = &t->tenants[tenant];

	if (policy_address_is_ipv4(addr))
		return &t->classes[lines_walk(&t->lines, tenants->root4, address_number(addr) << 96)];
	return &t->classes[lines_walk(&t->lines, tenants->root6, address_number(addr))];
}

/* ----------------------------------------------------------------------- decisions */

/* Key of the decision, in its lowest bits. */
static address_t decision_key(const struct policy_tables *t, const struct policy_query *q, uint32_t dest)
{
	const struct sluice_protocol *p = &t->protocols[q->protocol];
	uint32_t port = p->port_class, source = 0;

	if (p->dports != SLUICE_NO_TABLE)
		port = t->words.word[(size_t)p->dports + q->dest_port];
	if (p->sports != SLUICE_NO_TABLE)
		source = t->words.word[(size_t)p->sports + q->source_port];
	return ((address_t)dest << t->head.port_bits | port) << t->head.source_bits | source;
}

/* Appends the audit rules that match before rule `decided`. */
static size_t audits_list(const struct policy_tables *t, uint32_t list, uint32_t decided, uint32_t *ret_rules)
{
	const uint32_t *rules = t->words.word + list;
	size_t i;

	if (!list)
		return 0;
	for (i = 0; i < rules[0] && rules[i + 1] < decided; i++)
		ret_rules[i] = rules[i + 1];
	return i;
}

size_t policy_tables_chain(const struct policy_tables *t, const struct policy_query *q,
			   uint32_t ret_rules[SLUICE_AUDITS_MAX + 1])
{
	const struct sluice_class *source = address_class(t, q->tenant, q->source);
	const struct sluice_class *dest = address_class(t, q->tenant, q->dest);
	unsigned int bits = t->head.dest_bits + t->head.port_bits + t->head.source_bits, plane;
	address_t key = decision_key(t, q, dest->dest);
	uint32_t decided = t->head.rules - 1, rule;
	size_t n = 0;

	key = bits ? key << (128 - bits) : 0;
	for (plane = 0; plane < t->head.planes; plane++) {
		rule = trie_walk(&t->words, source->row[plane], key);
		if (rule < decided)
			decided = rule;
	}
	if (t->head.flags & SLUICE_HAS_AUDITS)
		n = audits_list(t, trie_walk(&t->words, source->row[SLUICE_PLANE_AUDIT], key), decided, ret_rules);
	ret_rules[n] = decided;
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
