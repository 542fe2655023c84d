// SPDX-License-Identifier: Apache-2.0
/* The layout of table `words`; see image.h. Called by bank.c once a load, when counter slots are assigned. */
#include "dataplane/image.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/util.h"

/* Parts begin at multiples of this: no class, skip node or line lies across two pages. */
#define PART_WORDS     SLUICE_LINE_WORDS
#define FAILSAFE_WORDS (65536 / 32)

static uint32_t place(struct image *image, size_t bytes)
{
	size_t first = (image->words + PART_WORDS - 1) / PART_WORDS * PART_WORDS;

	image->words = first + bytes / sizeof(uint32_t);
	return (uint32_t)first;
}

static void failsafe_plan(struct image *image)
{
	size_t i;

	for (i = 0; i < image->head.failsafes; i++) {
		uint32_t *at = &image->failsafe[image->head.failsafe[i].protocol];

		if (image->head.failsafe[i].any_port)
			*at = SLUICE_NO_TABLE;
		else if (!*at)
			*at = place(image, FAILSAFE_WORDS * sizeof(uint32_t));
	}
}

void image_plan(const struct policy_tables *t, struct image *ret_image)
{
	struct image image = {.tables = t, .head = t->head, .words = t->words.words};

	image.head.protocols_at = place(&image, sizeof(t->protocols));
	image.head.tenants_at = place(&image, t->n_tenants * 2 * sizeof(uint32_t));
	image.head.classes_at = place(&image, t->n_classes * sizeof(*t->classes));
	image.head.rules_at = place(&image, t->n_rules * sizeof(struct sluice_rule_head));
	failsafe_plan(&image);
	image.head.lines_at = place(&image, t->lines.words * sizeof(*t->lines.word)); /* last: it may be large */
	*ret_image = image;
}

static void failsafe_write(const struct image *image, uint32_t *to)
{
	uint32_t at, port;
	size_t i;

	for (i = 0; i < image->head.failsafes; i++) {
		at = image->failsafe[image->head.failsafe[i].protocol];
		if (at == SLUICE_NO_TABLE)
			continue;
		for (port = ntohs(image->head.failsafe[i].port); port <= ntohs(image->head.failsafe[i].port_last); port++)
			to[at + port / 32] |= 1u << port % 32;
	}
}

static void protocols_write(const struct image *image, uint32_t *to)
{
	struct sluice_protocol protocols[ARRAY_SIZE(image->tables->protocols)];
	size_t i;

	memcpy(protocols, image->tables->protocols, sizeof(protocols));
	for (i = 0; i < ARRAY_SIZE(protocols); i++)
		protocols[i].failsafe = image->failsafe[i];
	memcpy(to + image->head.protocols_at, protocols, sizeof(protocols));
}

static void rules_write(const struct image *image, uint32_t *to)
{
	const struct sluice_rule *rule;
	struct sluice_rule_head head;
	size_t i;

	for (i = 0; i < image->tables->n_rules; i++) {
		rule = &image->tables->rules[i];
		head = (struct sluice_rule_head){(uint16_t)rule->action, (uint16_t)rule->flags, rule->slot};
		memcpy(to + image->head.rules_at + i * 2, &head, sizeof(head));
	}
}

void image_write(const struct image *image, uint32_t *to)
{
	const struct policy_tables *t = image->tables;
	size_t i;

	memcpy(to, t->words.word, t->words.words * sizeof(*to));
	if (t->lines.words)
		memcpy(to + image->head.lines_at, t->lines.word, t->lines.words * sizeof(*to));
	memcpy(to + image->head.classes_at, t->classes, t->n_classes * sizeof(*t->classes));
	for (i = 0; i < t->n_tenants; i++) {
		to[image->head.tenants_at + 2 * i] = t->tenants[i].root4;
		to[image->head.tenants_at + 2 * i + 1] = t->tenants[i].root6;
	}
	protocols_write(image, to);
	rules_write(image, to);
	failsafe_write(image, to);
}
